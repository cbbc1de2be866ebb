// SPDX-License-Identifier: GPL-2.0

//! Tests of device initialisation, of PCI's capabilities, and of the virtqueue.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_virtio))]
mod virtio {
    use core::cell::Cell;

    use super::super::device::{
        Act,
        Memory,
        MmioRegisters,
        Model,
        PciRegisters,
        BASE,
        QUEUE_SIZE, //
    };
    use crate::gpu::config::displays_changed;
    use crate::virtio::{
        adoption::{
            AdoptionRefusal,
            InitialState, //
        },
        mmio::{
            Mmio,
            MmioError, //
        },
        pci::{
            BarRegion,
            Capabilities,
            CapabilityError,
            Pci,
            DEVICE_GPU,
            VENDOR, //
        },
        queue::{
            QueueError,
            REQUEST_BYTES,
            RESPONSE_BYTES, //
        },
        setup::{
            initialise,
            quiesce,
            reset,
            Addresses,
            Negotiated,
            Requested,
            SetupError, //
        },
        DeviceStatus,
        Features,
        QueueAddresses,
        QueueNotify,
        Registers,
        Transport,
        VirtQueue,
        Width, //
    };

    const VERSION_1: u64 = 1 << 32;
    const ACCESS_PLATFORM: u64 = 1 << 33;
    const EVENT_IDX: u64 = 1 << 29;
    const RING_RESET: u64 = 1 << 40;

    const CAPABILITIES: Capabilities = Capabilities {
        common: BarRegion {
            bar: 4,
            offset: 0,
            length: 0x1000,
        },
        notify: BarRegion {
            bar: 4,
            offset: 0x3000,
            length: 0x1000,
        },
        notify_off_multiplier: 4,
        device: Some(BarRegion {
            bar: 4,
            offset: 0x2000,
            length: 0x1000,
        }),
    };
    const IDENTITY: [u32; 3] = [0x7472_6976, 2, 16];

    fn model(offered: u64) -> Model {
        Model {
            offered,
            queue_size: 64,
            reset_takes: 2,
            notify_off: 3,
            ..Model::default()
        }
    }

    fn queue_addresses(size_max: u16) -> Option<QueueAddresses> {
        static MEMORY: Memory = Memory::new();
        VirtQueue::addresses(&(&MEMORY, nothing as Act), size_max)
    }

    fn nothing(_: &Memory) {}

    fn set_up(
        transport: &mut impl Transport,
        addresses: Addresses,
    ) -> Result<Negotiated, SetupError> {
        set_up_as(transport, addresses, true)
    }

    /// Initialises a device that may or may not be adopted.
    fn set_up_as(
        transport: &mut impl Transport,
        addresses: Addresses,
        adopts: bool,
    ) -> Result<Negotiated, SetupError> {
        static MEMORY: Memory = Memory::new();
        let hal = (&MEMORY, nothing as Act);
        let requested = Requested {
            features: Features::EVENT_IDX,
            addresses,
            adopts,
        };
        initialise(transport, &hal, requested, queue_addresses)
    }

    fn set_up_pci(model: &Model) -> Result<Negotiated, SetupError> {
        set_up(
            &mut Pci::new(PciRegisters(model), &CAPABILITIES),
            Addresses::Physical,
        )
    }

    fn slot(model: &Model, identity: [u32; 3]) -> Result<Mmio<MmioRegisters<'_>>, MmioError> {
        Mmio::new(MmioRegisters { model, identity })
    }

    /// Returns whether a model is in the state after section 3.1.1, with the queue at its
    /// addresses.
    fn is_up(model: &Model) -> bool {
        let addresses = model.queue_addresses();
        !model.fault.get()
            && model.status.get() == 1 | 2 | 4 | 8
            && model.enabled.get()
            && queue_addresses(64) == Some(addresses)
    }

    /// Before the PCI core both are read as one register (PCI 3.0, section 6.2.1).
    #[test]
    fn the_ids_of_a_gpu_are_the_same_in_both_places() {
        let register = u32::from(DEVICE_GPU) << 16 | u32::from(VENDOR);
        assert_eq!(register, crate::pci::VIRTIO_GPU);
    }

    #[test]
    fn pci_comes_up() {
        let model = model(VERSION_1 | EVENT_IDX | 0x13);
        let queue_notify = QueueNotify {
            offset: 12,
            width: Width::Bits16,
            queue: 0,
        };
        let negotiated = set_up_pci(&model);
        assert_eq!(negotiated.map(|it| it.queue_notify), Ok(queue_notify));
        assert_eq!(negotiated.map(|it| Some(it.queue)), Ok(queue_addresses(64)));
        let features = Features::VERSION_1 | Features::EVENT_IDX;
        assert_eq!(negotiated.map(|it| it.features), Ok(features));
        assert_eq!(model.accepted.get(), VERSION_1 | EVENT_IDX);
        assert!(is_up(&model));
    }

    #[test]
    fn mmio_comes_up() {
        let model = model(VERSION_1 | 0x13);
        let queue_notify = QueueNotify {
            offset: 0x50,
            width: Width::Bits32,
            queue: 0,
        };
        let mmio = slot(&model, IDENTITY).ok();
        let negotiated = mmio.and_then(|mut mmio| set_up(&mut mmio, Addresses::Physical).ok());
        assert_eq!(negotiated.map(|it| it.queue_notify), Some(queue_notify));
        assert_eq!(negotiated.map(|it| it.features), Some(Features::VERSION_1));
        assert_eq!(model.accepted.get(), VERSION_1);
        assert!(is_up(&model));
    }

    /// Returns the state that Linux' own driver leaves for the next kernel: QEMU has cleared
    /// DRIVER_OK.
    fn running() -> Model {
        let running = Model {
            queues: 2,
            queue_reset_takes: 2,
            ..model(VERSION_1 | EVENT_IDX | RING_RESET | 0x13)
        };
        running.accepted.set(VERSION_1 | EVENT_IDX | RING_RESET | 2);
        running.status.set(0x0b);
        running.enabled.set(true);
        running.others.set(1 << 1);
        running.forget_selections();
        running
    }

    fn initial_state(model: &Model) -> Result<InitialState, SetupError> {
        set_up_pci(model).map(|it| it.initial_state)
    }

    #[test]
    fn a_device_that_runs_is_adopted() {
        for status in [0x0b, 0x0f] {
            let model = running();
            model.status.set(status);
            let negotiated = set_up_pci(&model);
            assert_eq!(
                negotiated.map(|it| it.initial_state),
                Ok(InitialState::Adopted)
            );
            // With the features of the last driver, not with those that the bridge would negotiate.
            let features = Features::from_bits_retain(VERSION_1 | EVENT_IDX | RING_RESET | 2);
            assert_eq!(negotiated.map(|it| it.features), Ok(features));
            assert_eq!(model.others.get(), 0);
            assert_eq!(model.resets.get(), 0);
            assert!(is_up(&model));
        }
        // And once more, after its queues were reset.
        let model = running();
        static MEMORY: Memory = Memory::new();
        let hal = (&MEMORY, nothing as Act);
        let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
        assert_eq!(quiesce(&mut pci, &hal), Ok(()));
        assert!(!model.enabled.get() && model.status.get() == 0x0b);
        assert_eq!(initial_state(&model), Ok(InitialState::Adopted));
        assert_eq!(model.resets.get(), 0);
        assert!(is_up(&model));
    }

    #[test]
    fn a_device_with_a_command_in_flight_is_reset() {
        static MEMORY: Memory = Memory::new();
        let hal = (&MEMORY, nothing as Act);
        // Available and used index: 0 after 65536 commands, and the number of those returned.
        for (used, is_quiet) in [(0, true), (u16::MAX, false), (1, false)] {
            let model = running();
            MEMORY.set_used(used);
            let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
            assert_eq!(quiesce(&mut pci, &hal), Ok(()));
            let resets = u32::from(!is_quiet);
            assert_eq!(model.resets.get(), resets);
            // In both cases it processes no queue.
            assert!(!model.enabled.get());
        }
    }

    #[test]
    fn writes_of_a_device_before_its_reset_are_cleared() {
        // The last driver's command completes during the reset of the device, or of its queue.
        fn completes(memory: &Memory) {
            memory.set_used_entry(0, 2, 24);
            memory.set_used(memory.used().wrapping_add(1));
        }
        static MEMORY: Memory = Memory::new();
        for model in [model(VERSION_1), running()] {
            model.status.set(0x0b);
            let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
            let requested = Requested {
                features: Features::EVENT_IDX,
                addresses: Addresses::Physical,
                adopts: true,
            };
            let hal = (&MEMORY, completes as Act);
            let negotiated = initialise(&mut pci, &hal, requested, |size| {
                VirtQueue::addresses(&hal, size)
            });
            assert!(negotiated.is_ok() && is_up(&model));
            let mut queue =
                VirtQueue::new((&MEMORY, nothing as Act), QUEUE_SIZE, Features::VERSION_1);
            assert_eq!(MEMORY.used(), 0);
            assert_eq!(queue.poll_used(&mut |_, _| ()), Ok(()));
            assert_eq!(queue.in_flight(), 0);
        }
    }

    #[test]
    fn a_device_in_another_state_is_reset() {
        let why = |change: fn(&mut Model)| {
            let mut model = running();
            change(&mut model);
            let result = initial_state(&model);
            assert!(model.resets.get() == 1 && is_up(&model));
            match result {
                Ok(InitialState::Reset(why)) => Some(why),
                _ => None,
            }
        };
        let status = |bits| {
            Some(AdoptionRefusal::Status(DeviceStatus::from_bits_retain(
                bits,
            )))
        };
        assert_eq!(why(|it| it.status.set(0x03)), status(0x03));
        assert_eq!(why(|it| it.status.set(0x4f)), status(0x4f));
        assert_eq!(why(|it| it.status.set(0x8b)), status(0x8b));
        assert_eq!(why(|it| it.status.set(0x2f)), status(0x2f));
        let features = |bits| Some(AdoptionRefusal::Features(Features::from_bits_retain(bits)));
        assert_eq!(why(|it| it.accepted.set(VERSION_1)), features(VERSION_1));
        assert_eq!(why(|it| it.accepted.set(RING_RESET)), features(RING_RESET));
        // A packed ring; a feature that was never offered.
        let packed = VERSION_1 | RING_RESET | 1 << 34;
        let change = |it: &mut Model| {
            it.offered |= 1 << 34;
            it.accepted.set(VERSION_1 | RING_RESET | 1 << 34);
        };
        assert_eq!(why(change), features(packed));
        let changed = VERSION_1 | RING_RESET | 1 << 28;
        let change = |it: &mut Model| it.accepted.set(VERSION_1 | RING_RESET | 1 << 28);
        assert_eq!(why(change), features(changed));
        // The host may still show pages of the last driver, or complete commands of a renderer.
        for bit in [0, 3, 4] {
            let mut model = running();
            model.offered |= 1 << bit;
            model.accepted.set(model.accepted.get() | 1 << bit);
            let bits = model.accepted.get();
            let expected = AdoptionRefusal::Features(Features::from_bits_retain(bits));
            assert_eq!(initial_state(&model), Ok(InitialState::Reset(expected)));
            assert!(model.resets.get() == 1 && is_up(&model));
        }
        assert_eq!(
            why(|it| it.queues = 0),
            Some(AdoptionRefusal::QueueCount(0))
        );
        assert_eq!(
            why(|it| it.queues = 65),
            Some(AdoptionRefusal::QueueCount(65))
        );
        let never = |it: &mut Model| it.queue_reset_takes = u32::MAX;
        assert_eq!(why(never), Some(AdoptionRefusal::QueueReset(0)));
    }

    #[test]
    fn a_device_without_the_needed_registers_is_not_adopted() {
        // Registers of version 1.0: there is no `queue_reset`.
        let model = running();
        let mut old = CAPABILITIES;
        old.common.length = 56;
        let result = set_up(
            &mut Pci::new(PciRegisters(&model), &old),
            Addresses::Physical,
        );
        assert_eq!(
            result.map(|it| it.initial_state),
            Ok(InitialState::Reset(AdoptionRefusal::UnknownFeatures))
        );
        assert!(model.resets.get() == 1 && is_up(&model));

        // virtio-mmio does not tell which features were negotiated.
        let model = running();
        let mmio = slot(&model, IDENTITY).ok();
        let result = mmio.and_then(|mut mmio| set_up(&mut mmio, Addresses::Physical).ok());
        assert_eq!(
            result.map(|it| it.initial_state),
            Some(InitialState::Reset(AdoptionRefusal::UnknownFeatures))
        );
        assert!(is_up(&model));
    }

    #[test]
    fn a_device_behind_an_iommu_is_left_to_the_dma_api() {
        let model = Model {
            offered: VERSION_1 | ACCESS_PLATFORM | RING_RESET,
            ..running()
        };
        model.accepted.set(VERSION_1 | ACCESS_PLATFORM | RING_RESET);
        assert_eq!(initial_state(&model), Err(SetupError::AccessPlatform));
        assert!(model.status.get() == 0x0b && model.enabled.get());
        let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
        let negotiated = set_up(&mut pci, Addresses::Platform);
        assert_eq!(
            negotiated.map(|it| it.initial_state),
            Ok(InitialState::Adopted)
        );
        assert!(model.resets.get() == 0 && is_up(&model));
    }

    #[test]
    fn a_device_that_runs_is_reset_unless_adoption_is_requested() {
        let initial_state = |model: &Model, adopts| {
            let negotiated = set_up_as(
                &mut Pci::new(PciRegisters(model), &CAPABILITIES),
                Addresses::Physical,
                adopts,
            );
            negotiated.map(|it| it.initial_state)
        };
        let runs = running();
        assert_eq!(
            initial_state(&runs, false),
            Ok(InitialState::Reset(AdoptionRefusal::NotRequested))
        );
        assert!(runs.resets.get() == 1 && is_up(&runs));
        // A device that no driver has used is idle in both cases.
        for adopts in [false, true] {
            let idle = model(VERSION_1);
            assert_eq!(initial_state(&idle, adopts), Ok(InitialState::Idle));
            assert!(is_up(&idle));
        }
    }

    #[test]
    fn a_device_that_bypasses_an_iommu_is_refused() {
        let platform = VERSION_1 | ACCESS_PLATFORM;
        let with = |offered| {
            let model = model(offered);
            let negotiated = set_up(
                &mut Pci::new(PciRegisters(&model), &CAPABILITIES),
                Addresses::Iommu,
            );
            assert!(!model.fault.get());
            (negotiated.map(|it| it.initial_state), model.status.get())
        };
        assert_eq!(with(platform), (Ok(InitialState::Idle), 0xf));
        assert_eq!(with(VERSION_1), (Err(SetupError::IommuBypass), 0x83));
        // A running device has to know that before it starts: it is reset.
        let offered = platform | RING_RESET;
        let runs = |accepted| {
            let model = Model {
                offered,
                ..running()
            };
            model.accepted.set(accepted);
            let negotiated = set_up(
                &mut Pci::new(PciRegisters(&model), &CAPABILITIES),
                Addresses::Iommu,
            );
            assert!(is_up(&model));
            assert_eq!(model.accepted.get() & ACCESS_PLATFORM, ACCESS_PLATFORM);
            negotiated.map(|it| it.initial_state)
        };
        assert_eq!(runs(offered), Ok(InitialState::Adopted));
        let without = VERSION_1 | RING_RESET;
        let why = AdoptionRefusal::Features(Features::from_bits_retain(without));
        assert_eq!(runs(without), Ok(InitialState::Reset(why)));
    }

    #[test]
    fn a_queue_is_selected_before_each_use_of_it() {
        // Sections 4.1.4.3 and 4.2.2: another driver may have selected another queue since.
        let nowhere = QueueAddresses {
            size: 0,
            descriptors: 0,
            available: 0,
            used: 0,
        };
        let addresses = queue_addresses(64).unwrap_or(nowhere);
        let model = running();
        model.enabled.set(false);
        let fresh = || {
            model.forget_selections();
            Pci::new(PciRegisters(&model), &CAPABILITIES)
        };
        assert_eq!(fresh().queue_size_max(0), 64);
        assert!(!fresh().is_queue_enabled(0));
        fresh().enable_queue(0, &addresses);
        assert!(fresh().is_queue_enabled(0));
        assert!(fresh().queue_notify(0).is_some());
        fresh().reset_queue(0);
        for is_reset in [false, false, true] {
            assert_eq!(fresh().is_queue_reset(0), is_reset);
        }
        let accepted = Features::from_bits_retain(VERSION_1 | EVENT_IDX | RING_RESET | 2);
        assert_eq!(fresh().driver_features(), Some(accepted));
        assert!(fresh().device_features().contains(accepted));
        let fresh = || {
            model.forget_selections();
            slot(&model, IDENTITY).ok()
        };
        assert_eq!(fresh().map(|mut mmio| mmio.queue_size_max(0)), Some(64));
        assert!(fresh().is_some_and(|mut mmio| mmio.device_features().contains(accepted)));
        if let Some(mut mmio) = fresh() {
            mmio.enable_queue(0, &addresses);
        }
        assert!(model.enabled.get() && !model.fault.get());
    }

    #[test]
    fn a_slot_without_a_modern_gpu_is_refused() {
        let model = model(VERSION_1);
        let error = |identity| slot(&model, identity).err();
        assert_eq!(error([0, 2, 16]), Some(MmioError::NoDevice));
        assert_eq!(error([u32::MAX; 3]), Some(MmioError::NoDevice));
        assert_eq!(error([0x7472_6976, 2, 0]), Some(MmioError::NoDevice));
        // QEMU's empty slots are of version 1; its other devices may be, too.
        assert_eq!(error([0x7472_6976, 1, 0]), Some(MmioError::NoDevice));
        assert_eq!(error([0x7472_6976, 1, 2]), Some(MmioError::NotGpu(2)));
        assert_eq!(error([0x7472_6976, 1, 16]), Some(MmioError::Version(1)));
        assert_eq!(error([0x7472_6976, 3, 16]), Some(MmioError::Version(3)));
        assert_eq!(model.status.get(), 0);
    }

    #[test]
    fn a_legacy_device_is_refused() {
        let model = model(EVENT_IDX);
        assert_eq!(set_up_pci(&model), Err(SetupError::Legacy));
        assert_eq!(model.status.get() & 0x80, 0x80);
        assert!(!model.fault.get());
    }

    #[test]
    fn access_platform_is_honoured_or_refused() {
        let first = model(VERSION_1 | ACCESS_PLATFORM);
        assert_eq!(set_up_pci(&first), Err(SetupError::AccessPlatform));
        assert!(!first.fault.get());

        let second = model(VERSION_1 | ACCESS_PLATFORM);
        let mut pci = Pci::new(PciRegisters(&second), &CAPABILITIES);
        assert!(set_up(&mut pci, Addresses::Platform).is_ok());
        assert_eq!(second.accepted.get(), VERSION_1 | ACCESS_PLATFORM);
        assert!(is_up(&second));
    }

    #[test]
    fn refused_features_are_detected() {
        let model = Model {
            refuses: true,
            ..model(VERSION_1)
        };
        assert_eq!(set_up_pci(&model), Err(SetupError::FeaturesRefused));
        assert_eq!(model.status.get() & 0x84, 0x80);
        assert!(!model.enabled.get());
        assert!(!model.fault.get());
    }

    #[test]
    fn a_reset_that_never_ends_times_out() {
        let model = Model {
            reset_takes: u32::MAX,
            ..model(VERSION_1)
        };
        static MEMORY: Memory = Memory::new();
        let hal = (&MEMORY, nothing as Act);
        let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
        assert_eq!(reset(&mut pci, &hal), Err(SetupError::Reset));
        assert_eq!(set_up_pci(&model), Err(SetupError::Reset));
        assert_eq!(model.accepted.get(), 0);
        assert!(!model.fault.get());
    }

    #[test]
    fn a_reset_that_is_refused_is_not_waited_for() {
        static MEMORY: Memory = Memory::new();
        let hal = (&MEMORY, nothing as Act);
        let resets = |status: u8| {
            let model = Model {
                refuses_reset: true,
                status: Cell::new(status),
                ..model(VERSION_1)
            };
            let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
            assert_eq!(reset(&mut pci, &hal), Err(SetupError::Reset));
            assert!(model.status.get() & 0x80 != 0 && !model.fault.get());
            model.status_reads.get()
        };
        assert_eq!(resets(0xf), 2);
        // Another driver may have set that bit before: then it does not mean that the reset failed.
        assert!(resets(0x8f) > 2);
    }

    #[test]
    fn a_queue_that_is_missing_or_short_is_refused() {
        for size in [0, 1, 2, 3] {
            let model = Model {
                queue_size: size,
                ..model(VERSION_1)
            };
            assert_eq!(set_up_pci(&model), Err(SetupError::QueueSize(size)));
            assert!(!model.enabled.get());
        }
        let size = |max| queue_addresses(max).map(|addresses| addresses.size);
        assert_eq!(size(4), Some(4));
        assert_eq!(size(7), Some(4));
        assert_eq!(size(64), Some(64));
        assert_eq!(size(100), Some(64));
        assert_eq!(size(1024), Some(64));
        assert_eq!(size(u16::MAX), Some(64));
    }

    #[test]
    fn a_notify_register_outside_of_its_window_is_refused() {
        let fits = |notify_off, multiplier, length| {
            let model = Model {
                notify_off,
                ..model(VERSION_1)
            };
            let mut capabilities = CAPABILITIES;
            capabilities.notify_off_multiplier = multiplier;
            capabilities.notify.length = length;
            let result = set_up(
                &mut Pci::new(PciRegisters(&model), &capabilities),
                Addresses::Physical,
            );
            match result {
                Ok(negotiated) => Some(negotiated.queue_notify.offset),
                Err(error) => {
                    // A device that cannot be notified must never get DRIVER_OK.
                    let refused =
                        error == SetupError::QueueNotify && model.status.get() & 0x84 == 0x80;
                    (!refused).then_some(usize::MAX)
                }
            }
        };
        assert_eq!(fits(1023, 4, 0x1000), Some(0xffc));
        assert_eq!(fits(1024, 4, 0x1000), None);
        assert_eq!(fits(0, 0, 2), Some(0));
        assert_eq!(fits(0, 0, 1), None);
        assert_eq!(fits(9, 0, 2), Some(0));
        assert_eq!(fits(1, u32::MAX, u32::MAX), None);
        assert_eq!(fits(u16::MAX, u32::MAX, u32::MAX), None);
        assert_eq!(fits(1, 3, 0x1000), None);
    }

    /// The configuration space of QEMU 10.0's virtio-gpu-pci before any firmware ran.
    const QEMU: [u32; 42] = [
        0x10501af4, 0x00100000, 0x03800001, 0x00000000, 0x00000000, 0x00000000, 0x00000000,
        0x00000000, 0x0000000c, 0x00000000, 0x00000000, 0x11001af4, 0x00000000, 0x00000098,
        0x00000000, 0x00000100, 0x01100009, 0x00000004, 0x00000000, 0x00001000, 0x03104009,
        0x00000004, 0x00001000, 0x00001000, 0x04105009, 0x00000004, 0x00002000, 0x00001000,
        0x02146009, 0x00000004, 0x00003000, 0x00001000, 0x00000004, 0x05147009, 0x00000000,
        0x00000000, 0x00000000, 0x00000000, 0x00028411, 0x00000001, 0x00000801, 0x00000000,
    ];

    /// A BAR size that contains any structure.
    const BARS: [u64; 6] = [1 << 33; 6];

    /// Returns the capabilities of [`QEMU`]'s function with some dwords changed.
    fn changed(changes: &[(u16, u32)]) -> Result<Capabilities, CapabilityError> {
        in_bars(&BARS, changes)
    }

    /// Returns the same, with BARs of these sizes.
    fn in_bars(bars: &[u64; 6], changes: &[(u16, u32)]) -> Result<Capabilities, CapabilityError> {
        let read = |offset| {
            let change = changes.iter().find(|(at, _)| *at == offset);
            // Reads are limited to the 256 bytes of configuration space.
            match change {
                Some((_, dword)) => *dword,
                None if offset < 0x100 && offset % 4 == 0 => {
                    QEMU.get(usize::from(offset / 4)).copied().unwrap_or(0)
                }
                None => u32::MAX,
            }
        };
        Capabilities::read(read, bars)
    }

    /// A notification structure of 4 bytes at the beginning of BAR 2, before the others, as with
    /// QEMU's `modern-pio-notify=on`.
    const PIO_NOTIFY: [(u16, u32); 6] = [
        (0x34, 0xb0),
        (0xb0, 0x0214_9809),
        (0xb4, 2),
        (0xb8, 0),
        (0xbc, 4),
        (0xc0, 0),
    ];

    #[test]
    fn a_structure_in_an_unusable_bar_is_skipped() {
        let mut bars = [0, 0x1000, 0, 0, 0x4000, 0];
        assert_eq!(in_bars(&bars, &PIO_NOTIFY), Ok(CAPABILITIES));
        // If the I/O BAR is memory, or seems to be, its structure is the first.
        bars[2] = 4;
        let notify = in_bars(&bars, &PIO_NOTIFY).map(|found| found.notify);
        let port = BarRegion {
            bar: 2,
            offset: 0,
            length: 4,
        };
        assert_eq!(notify, Ok(port));
        bars[2] = 3;
        assert_eq!(in_bars(&bars, &PIO_NOTIFY), Ok(CAPABILITIES));
        // If it is the only one, the error names its BAR.
        bars[4] = 0x3fff;
        assert_eq!(in_bars(&bars, &PIO_NOTIFY), Err(CapabilityError::Bar(2)));
        assert_eq!(in_bars(&bars, &[]), Err(CapabilityError::Bar(4)));
        // Only the used part of the common configuration is required.
        bars[4] = 60;
        bars[2] = 4;
        let found = in_bars(&bars, &PIO_NOTIFY);
        assert_eq!(found.map(|found| found.window().length), Ok(60));
        bars[4] = 59;
        assert_eq!(in_bars(&bars, &PIO_NOTIFY), Err(CapabilityError::Bar(4)));
        // The device-specific configuration is optional.
        bars[4] = 0x200f;
        assert_eq!(
            in_bars(&bars, &PIO_NOTIFY).map(|found| found.device),
            Ok(None)
        );
    }

    #[test]
    fn a_missing_or_short_configuration_is_optional() {
        let config = |changes: &[_]| changed(changes).ok().and_then(|found| found.config());
        let region = |length| BarRegion {
            bar: 4,
            offset: 0x2000,
            length,
        };
        assert_eq!(config(&[]), Some(region(16)));
        assert_eq!(config(&[(0x6c, 16)]), Some(region(16)));
        assert_eq!(config(&[(0x6c, 15)]), None);
        // Another type, in BAR 6, at an unaligned offset.
        assert_eq!(config(&[(0x60, 0x0610_5009)]), None);
        assert_eq!(config(&[(0x64, 6)]), None);
        assert_eq!(config(&[(0x68, 0x2002)]), None);
        // The other structures are unchanged.
        let rest = changed(&[(0x60, 0x0610_5009)]).map(|found| found.notify);
        assert_eq!(rest, Ok(CAPABILITIES.notify));
    }

    /// `struct virtio_gpu_config`; the driver does not read the zeroed fields.
    #[derive(Default)]
    struct Config {
        events: Cell<u32>,
        strange: Cell<bool>,
    }

    impl Registers for &Config {
        fn read8(&self, _: usize) -> u8 {
            self.strange.set(true);
            0
        }
        fn read16(&self, _: usize) -> u16 {
            self.strange.set(true);
            0
        }
        fn read32(&self, offset: usize) -> u32 {
            self.strange.set(self.strange.get() || offset != 0);
            self.events.get()
        }
        fn write8(&self, _: usize, _: u8) {
            self.strange.set(true);
        }
        fn write16(&self, _: usize, _: u16) {
            self.strange.set(true);
        }
        fn write32(&self, offset: usize, value: u32) {
            self.strange.set(self.strange.get() || offset != 4);
            self.events.set(self.events.get() & !value);
        }
    }

    #[test]
    fn a_change_of_displays_is_reported_once() {
        let config = Config::default();
        let mut pci = Pci::new(&config, &CAPABILITIES).with_config(Some(&config));
        assert!(!displays_changed(&mut pci));
        // Undefined events are ignored.
        config.events.set(0xffff_ffff);
        assert!(displays_changed(&mut pci));
        assert_eq!(config.events.get(), 0xffff_fffe);
        assert!(!displays_changed(&mut pci));
        assert!(!config.strange.get());
        // Without the registers no change is seen.
        config.events.set(1);
        assert!(!displays_changed(&mut Pci::new(&config, &CAPABILITIES)));
    }

    /// The same configuration at its offset on virtio-mmio, where all registers have 32 bits.
    struct Slot<'a>(&'a Config);

    impl Registers for Slot<'_> {
        fn read8(&self, offset: usize) -> u8 {
            self.0.read8(offset)
        }
        fn read16(&self, offset: usize) -> u16 {
            self.0.read16(offset)
        }
        fn read32(&self, offset: usize) -> u32 {
            match offset {
                0 => IDENTITY[0],
                4 => IDENTITY[1],
                8 => IDENTITY[2],
                _ => self.0.read32(offset.wrapping_sub(0x100)),
            }
        }
        fn write8(&self, offset: usize, value: u8) {
            self.0.write8(offset, value);
        }
        fn write16(&self, offset: usize, value: u16) {
            self.0.write16(offset, value);
        }
        fn write32(&self, offset: usize, value: u32) {
            self.0.write32(offset.wrapping_sub(0x100), value);
        }
    }

    #[test]
    fn a_change_of_displays_is_reported_on_mmio_as_well() {
        // Section 4.2.2: the device-specific configuration begins at 0x100.
        let config = Config::default();
        let changes = [0, 1, 0, 1, 1].map(|event| {
            config.events.set(config.events.get() | event);
            let slot = Mmio::new(Slot(&config)).ok();
            slot.is_some_and(|mut mmio| displays_changed(&mut mmio))
        });
        assert_eq!(changes, [false, true, false, true, true]);
        assert!(config.events.get() == 0 && !config.strange.get());
    }

    #[test]
    fn qemu_has_its_registers_in_bar_4() {
        assert_eq!(changed(&[]), Ok(CAPABILITIES));
        assert!(CAPABILITIES.notify.fits(0x4000));
        assert!(!CAPABILITIES.notify.fits(0x3fff));
        let far = BarRegion {
            bar: 0,
            offset: u32::MAX,
            length: u32::MAX,
        };
        assert!(!far.fits(0xffff_ffff));
        assert!(far.fits(0x1_ffff_fffe));
    }

    #[test]
    fn capabilities_are_only_found_in_a_list() {
        let common = Err(CapabilityError::Missing("common"));
        assert_eq!(changed(&[(0x04, 0)]), common);
        assert_eq!(changed(&[(0x34, 0)]), common);
        // A pointer into the header, where no capability can be; the low two bits are reserved.
        assert_eq!(changed(&[(0x34, 0x3c)]), common);
        assert_eq!(changed(&[(0x34, 0x9b)]), Ok(CAPABILITIES));
        // The value read from an empty slot.
        assert!(Capabilities::read(|_| u32::MAX, &BARS).is_err());
        assert_eq!(Capabilities::read(|_| 0, &BARS), common);
    }

    #[test]
    fn a_cyclic_list_ends() {
        // The last capability points to the first one.
        assert_eq!(changed(&[(0x40, 0x01109809)]), Err(CapabilityError::Loop));
        // A list with the maximum number of capabilities is no cycle.
        let every_dword = |offset: u16| match offset {
            0x04 => 0x0010_0000,
            0x34 => 0x40,
            0xfc => 0x05,
            _ => (u32::from(offset + 4) << 8) | 0x05,
        };
        assert_eq!(
            Capabilities::read(every_dword, &BARS),
            Err(CapabilityError::Missing("common"))
        );
    }

    #[test]
    fn a_structure_that_cannot_be_used_is_missing() {
        let common = Err(CapabilityError::Missing("common"));
        let notify = Err(CapabilityError::Missing("notify"));
        // BARs 6 and above are reserved.
        assert_eq!(changed(&[(0x44, 6)]), common);
        assert_eq!(changed(&[(0x74, 0xff)]), notify);
        // Too short for the registers of version 1.0; unaligned.
        assert_eq!(changed(&[(0x4c, 55)]), common);
        assert!(changed(&[(0x4c, 56)]).is_ok());
        assert_eq!(changed(&[(0x48, 2)]), common);
        assert_eq!(changed(&[(0x7c, 1)]), notify);
        assert_eq!(changed(&[(0x78, 0x3001)]), notify);
        assert!(changed(&[(0x78, 0x3002)]).is_ok());
        // Too short for its own fields.
        assert_eq!(changed(&[(0x40, 0x010f0009)]), common);
        assert_eq!(changed(&[(0x70, 0x02136009)]), notify);
        // Not a vendor-specific capability.
        assert_eq!(changed(&[(0x40, 0x01100005)]), common);
        // Beyond the end of configuration space.
        assert_eq!(changed(&[(0x34, 0xf4), (0xf4, 0x02146009)]), notify);
    }

    #[test]
    fn the_first_of_two_structures_counts() {
        // The ISR structure, which is before it, becomes a common configuration in BAR 1.
        let two = changed(&[(0x50, 0x01104009), (0x54, 1), (0x58, 0x800)]);
        assert_eq!(
            two.map(|two| two.common),
            Ok(BarRegion {
                bar: 1,
                offset: 0x800,
                length: 0x1000,
            })
        );
        // A structure that cannot be used does not count.
        let two = changed(&[(0x50, 0x01104009), (0x54, 7)]);
        assert_eq!(two, Ok(CAPABILITIES));
    }

    #[test]
    fn msi_x_vectors_of_an_earlier_driver_are_removed() {
        for model in [running(), model(VERSION_1)] {
            model.vectors.iter().for_each(|vector| vector.set(1));
            assert!(set_up_pci(&model).is_ok());
            // VIRTIO_MSI_NO_VECTOR (section 4.1.5.1.2).
            assert!(model.vectors.iter().all(|vector| vector.get() == 0xffff));
            assert!(is_up(&model));
        }
    }

    #[test]
    fn queue_desc_has_the_value_that_was_written() {
        let model = running();
        model.enabled.set(false);
        let mut pci = Pci::new(PciRegisters(&model), &CAPABILITIES);
        pci.set_queue_desc(0, 0x0123_4567_89ab_cdef);
        model.forget_selections();
        assert_eq!(pci.queue_desc(0), Some(0x0123_4567_89ab_cdef));
        assert_eq!(model.queue_addresses().descriptors, 0x0123_4567_89ab_cdef);
        assert!(!model.fault.get());
    }

    fn queue(memory: &'static Memory, act: Act) -> VirtQueue<(&'static Memory, Act)> {
        VirtQueue::new((memory, act), QUEUE_SIZE, Features::VERSION_1)
    }

    #[test]
    fn no_interrupt_is_requested() {
        static MEMORY: Memory = Memory::new();
        static WITH_EVENT_IDX: Memory = Memory::new();
        let _ = queue(&MEMORY, nothing);
        assert_eq!(MEMORY.interrupts(), (1, 0));
        // Section 2.7.7.1: with EVENT_IDX the flags are 0, and `used_event` counts.
        let features = Features::VERSION_1 | Features::EVENT_IDX;
        let _ = VirtQueue::new(
            (&WITH_EVENT_IDX, nothing as fn(&Memory)),
            QUEUE_SIZE,
            features,
        );
        assert_eq!(WITH_EVENT_IDX.interrupts(), (0, u16::MAX));
    }

    #[test]
    fn no_interrupt_is_requested_when_responses_arrive() {
        static MEMORY: Memory = Memory::new();
        static WITH_EVENT_IDX: Memory = Memory::new();
        let answers = |memory: &'static Memory, features| {
            let hal = (memory, nothing as fn(&Memory));
            let mut queue = VirtQueue::new(hal, QUEUE_SIZE, features);
            for _ in 0..3 {
                assert!(queue.add(b"command", 24, &mut |_, _| ()).is_ok());
                queue.kick();
                memory.answer(0x1100);
                assert_eq!(queue.poll_used(&mut |_, _| ()), Ok(()));
            }
            memory.interrupts()
        };
        // Section 2.7.7.1: only the flags count, or only `used_event`, which is as far ahead as
        // possible: 65535 answers.
        assert_eq!(answers(&MEMORY, Features::VERSION_1), (1, 0));
        let features = Features::VERSION_1 | Features::EVENT_IDX;
        assert_eq!(answers(&WITH_EVENT_IDX, features), (0, 2));
    }

    #[test]
    fn a_command_is_two_descriptors() {
        static MEMORY: Memory = Memory::new();
        let mut queue = queue(&MEMORY, nothing);
        let slots = [
            queue.add(b"one", 24, &mut |_, _| ()),
            queue.add(b"two!", 24, &mut |_, _| ()),
        ];
        assert_eq!(slots, [Ok(0), Ok(1)]);
        assert_eq!(MEMORY.available(), 0);
        assert_eq!(MEMORY.kicks(), 0);
        queue.kick();
        assert_eq!(MEMORY.available(), 2);
        assert_eq!(MEMORY.kicks(), 1);
        assert_eq!(queue.in_flight(), 0b11);

        for (index, length) in [(0, 3), (1, 4)] {
            let (request, response) = (MEMORY.head(index), MEMORY.head(index) + 1);
            let (at, bytes, flags, next) = MEMORY.descriptor(request);
            assert!(at < 8192 && bytes == length && flags == 1 && next == response);
            let (at, bytes, flags, _) = MEMORY.descriptor(response);
            assert!(at < 8192 && bytes == 24 && flags == 2);
        }
        let mut request = [0; 4];
        queue.request(1, &mut request);
        assert_eq!(request, *b"two!");
    }

    #[test]
    fn responses_are_accepted_in_any_order() {
        static MEMORY: Memory = Memory::new();
        let mut queue = queue(&MEMORY, nothing);
        for _ in 0..3 {
            assert!(queue.add(&[0; 4], 4, &mut |_, _| ()).is_ok());
        }
        queue.kick();
        MEMORY.set_used_entry(0, 4, 0);
        MEMORY.set_used_entry(1, 0, 0);
        MEMORY.set_used(2);
        let mut slots = [u16::MAX; 2];
        let mut free = slots.iter_mut();
        let collected = queue.poll_used(&mut |_, slot| {
            if let Some(completed) = free.next() {
                *completed = slot;
            }
        });
        assert_eq!(collected, Ok(()));
        assert_eq!(slots, [2, 0]);
        assert_eq!(queue.in_flight(), 0b10);
        // A completed slot is used again.
        assert_eq!(queue.add(&[0; 4], 4, &mut |_, _| ()), Ok(0));
    }

    #[test]
    fn a_full_queue_waits_for_a_slot() {
        static MEMORY: Memory = Memory::new();
        let mut queue = queue(&MEMORY, |memory| memory.answer(0x1100));
        let mut back = 0;
        for _ in 0..100 {
            assert!(queue.add(&[0; 8], 24, &mut |_, _| back += 1).is_ok());
        }
        assert_eq!(back, 96);
        assert!(MEMORY.kicks() < 100);
    }

    #[test]
    fn a_request_too_large_for_a_slot_is_refused() {
        static MEMORY: Memory = Memory::new();
        let mut queue = queue(&MEMORY, nothing);
        let too_large = Err(QueueError::TooLarge);
        let request = [0; REQUEST_BYTES + 1];
        assert_eq!(queue.add(&request, 4, &mut |_, _| ()), too_large);
        assert_eq!(
            queue.add(&[0], RESPONSE_BYTES + 1, &mut |_, _| ()),
            too_large
        );
        assert_eq!(
            queue.call(&request, None, &mut [], &mut |_, _| ()),
            Err(QueueError::TooLarge)
        );
        // No part of the request was added, and the queue goes on.
        queue.kick();
        assert_eq!(MEMORY.available(), 0);
        assert_eq!(
            queue.add(&request[1..], RESPONSE_BYTES, &mut |_, _| ()),
            Ok(0)
        );
    }

    #[test]
    fn a_device_that_stalls_costs_one_wait() {
        static MEMORY: Memory = Memory::new();
        let mut queue = queue(&MEMORY, nothing);
        for _ in 0..QUEUE_SIZE / 2 {
            assert!(queue.add(&[0], 4, &mut |_, _| ()).is_ok());
        }
        let stalled = Err(QueueError::Stalled);
        assert_eq!(queue.add(&[0], 4, &mut |_, _| ()), stalled);
        // The queue has failed, even if the device answers later.
        MEMORY.answer(0);
        assert_eq!(queue.add(&[0], 4, &mut |_, _| ()), stalled);
        assert_eq!(queue.poll_used(&mut |_, _| ()), Err(QueueError::Stalled));
    }

    /// Returns the result of a used ring with one entry, while two commands are in flight.
    fn one_entry(memory: &'static Memory, head: u32, index: u16) -> Result<u32, QueueError> {
        let mut queue = queue(memory, nothing);
        for _ in 0..2 {
            queue.add(&[0], 4, &mut |_, _| ())?;
        }
        queue.kick();
        memory.set_used_entry(0, head, 0);
        memory.set_used(index);
        let mut collected = 0;
        queue.poll_used(&mut |_, _| collected += 1)?;
        Ok(collected)
    }

    #[test]
    fn an_invalid_used_ring_ends_the_queue() {
        static MEMORY: Memory = Memory::new();
        assert_eq!(one_entry(&MEMORY, 0, 1), Ok(1));
        assert_eq!(one_entry(&MEMORY, 2, 1), Ok(1));
        let corrupt = Err(QueueError::Corrupt);
        // Not the head of a chain; not in flight; beyond the descriptor table; beyond u16.
        for head in [1, 4, 8, 0x1_0000, u32::MAX] {
            assert_eq!(one_entry(&MEMORY, head, 1), corrupt);
        }
        // The second entry equals the first one (both are zeroed).
        assert_eq!(one_entry(&MEMORY, 0, 2), corrupt);
        // More than are in flight; backwards.
        for index in [3, 0x8000, u16::MAX] {
            assert_eq!(one_entry(&MEMORY, 0, index), corrupt);
        }
    }

    #[test]
    fn a_queue_that_failed_takes_no_more_commands() {
        static MEMORY: Memory = Memory::new();
        let mut queue = queue(&MEMORY, nothing);
        MEMORY.set_used(7);
        assert_eq!(queue.poll_used(&mut |_, _| ()), Err(QueueError::Corrupt));
        assert_eq!(queue.add(&[0], 4, &mut |_, _| ()), Err(QueueError::Corrupt));
        queue.kick();
        assert_eq!(MEMORY.available(), 0);
        assert_eq!(MEMORY.kicks(), 0);
    }

    #[test]
    fn status_bits_are_those_of_section_2_1() {
        assert_eq!(DeviceStatus::ACKNOWLEDGE.bits(), 1);
        assert_eq!(DeviceStatus::DRIVER.bits(), 2);
        assert_eq!(DeviceStatus::DRIVER_OK.bits(), 4);
        assert_eq!(DeviceStatus::FEATURES_OK.bits(), 8);
        assert_eq!(DeviceStatus::DEVICE_NEEDS_RESET.bits(), 64);
        assert_eq!(DeviceStatus::FAILED.bits(), 128);
        assert_eq!(BASE % 16, 0);
    }
}
