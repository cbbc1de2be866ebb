// SPDX-License-Identifier: GPL-2.0

//! Tests of a device that is disconnected from one register access on: each read returns all ones,
//! and no write arrives (PCI Express 5.0, section 2.3.2).

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_gone))]
mod disconnected {
    use super::super::device::{
        Act,
        Disconnection,
        Memory,
        MmioRegisters,
        Model,
        PciRegisters,
        QUEUE_SIZE, //
    };
    use crate::virtio::{
        mmio::Mmio,
        pci::{
            BarRegion,
            Capabilities,
            Pci, //
        },
        setup::{
            initialise,
            quiesce,
            reset,
            Addresses,
            Requested,
            SetupError, //
        },
        Features,
        Registers,
        Transport,
        VirtQueue, //
    };

    const VERSION_1: u64 = 1 << 32;
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
        device: None,
    };
    const IDENTITY: [u32; 3] = [0x7472_6976, 2, 16];
    /// More accesses than any of the tests takes, with ten reads for each wait.
    const MANY: u32 = 1000;

    /// Registers of a device that is disconnected.
    struct Disconnecting<'f, R>(R, &'f Disconnection);

    macro_rules! accessors {
        ($($read:ident, $write:ident, $type:ty;)*) => {
            impl<R: Registers> Registers for Disconnecting<'_, R> {$(
                fn $read(&self, offset: usize) -> $type {
                    if self.1.arrives() {
                        return self.0.$read(offset);
                    }
                    self.1.seen.set(true);
                    <$type>::MAX
                }

                fn $write(&self, offset: usize, value: $type) {
                    if self.1.arrives() {
                        self.0.$write(offset, value);
                    }
                }
            )*}
        };
    }

    accessors! {
        read8, write8, u8;
        read16, write16, u16;
        read32, write32, u32;
    }

    fn model() -> Model {
        Model {
            offered: VERSION_1 | RING_RESET | 0x13,
            queue_size: QUEUE_SIZE,
            queues: 2,
            reset_takes: 2,
            queue_reset_takes: 2,
            ..Model::default()
        }
    }

    /// Returns a device that another driver has set up.
    fn running() -> Model {
        let running = model();
        running.accepted.set(VERSION_1 | RING_RESET);
        running.status.set(0x0f);
        running.enabled.set(true);
        running.forget_selections();
        running
    }

    fn nothing(_: &Memory) {}

    static MEMORY: Memory = Memory::new();

    fn set_up(transport: &mut dyn Transport) -> Result<(), SetupError> {
        let hal = (&MEMORY, nothing as Act);
        let requested = Requested {
            features: Features::RING_RESET,
            addresses: Addresses::Physical,
            adopts: true,
        };
        let addresses = |size_max| VirtQueue::addresses(&hal, size_max);
        initialise(transport, &hal, requested, addresses).map(|_| ())
    }

    /// Disconnects a device at each register access of `done`. It ends every time, and with an
    /// error if it has read all ones.
    fn disconnects_at_each_access(done: impl Fn(&Disconnection) -> Result<(), SetupError>) {
        let whole = Disconnection::after(u32::MAX);
        assert_eq!(done(&whole), Ok(()));
        let accesses = whole.accesses.get();
        assert!((5..MANY).contains(&accesses));
        for after in 0..accesses {
            let disconnection = Disconnection::after(after);
            let result = done(&disconnection);
            assert!(result.is_err() || !disconnection.seen.get());
            assert!(disconnection.accesses.get() < MANY);
        }
    }

    #[test]
    fn a_device_disconnected_during_initialisation() {
        disconnects_at_each_access(|disconnection| {
            let model = model();
            set_up(&mut Pci::new(
                Disconnecting(PciRegisters(&model), disconnection),
                &CAPABILITIES,
            ))
        });
        disconnects_at_each_access(|disconnection| {
            let (model, identity) = (model(), IDENTITY);
            let model = &model;
            match Mmio::new(Disconnecting(
                MmioRegisters { model, identity },
                disconnection,
            )) {
                Ok(mut mmio) => set_up(&mut mmio),
                // There is no device.
                Err(_) => Err(SetupError::Reset),
            }
        });
    }

    #[test]
    fn a_device_disconnected_during_adoption() {
        disconnects_at_each_access(|disconnection| {
            let model = running();
            set_up(&mut Pci::new(
                Disconnecting(PciRegisters(&model), disconnection),
                &CAPABILITIES,
            ))
        });
    }

    #[test]
    fn a_device_disconnected_during_a_reset() {
        disconnects_at_each_access(|disconnection| {
            let model = running();
            let mut pci = Pci::new(
                Disconnecting(PciRegisters(&model), disconnection),
                &CAPABILITIES,
            );
            reset(&mut pci, &(&MEMORY, nothing as Act))
        });
        disconnects_at_each_access(|disconnection| {
            let model = running();
            let mut pci = Pci::new(
                Disconnecting(PciRegisters(&model), disconnection),
                &CAPABILITIES,
            );
            quiesce(&mut pci, &(&MEMORY, nothing as Act))
        });
    }
}
