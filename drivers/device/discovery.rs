// SPDX-License-Identifier: GPL-2.0

//! Discovers a device before the driver core does, by firmware's tables ([`crate::firmware`]) or
//! where the command line says, and brings it up.

use core::{
    fmt,
    ops::ControlFlow, //
};

use kernel::{
    pr_err,
    pr_info,
    pr_warn,
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

use crate::{
    device::bring_up::{
        self,
        BringUpError,
        MEMORY,
        NOTIFY, //
    },
    firmware::{
        acpi::Mcfg,
        cmdline,
        efi,
        fdt::Tree,
        handoff::Handoff,
        ram::RamMap, //
    },
    gpu::protocol::Mode,
    linux::{
        arch::{
            address_bits,
            memory_is_private, //
        },
        atomic_option::AtomicOption,
        early::{
            self,
            EarlyConfig,
            EarlyRegisters,
            PhysicalMemory, //
        },
        io_mapping::IoMapping,
        parameters,
        queue_memory::QueueMemory, //
    },
    pci::{
        self,
        bars::Space,
        Allocator,
        BusNumbers,
        Ecam,
        Function,
        Location,
        Segment,
        Windows, //
    },
    scanout::{
        display::RetainedScanouts,
        log::{
            Log,
            Memory,
            Options, //
        }, //
    },
    text::Scroll,
    virtio::{
        adoption::InitialState,
        mmio::{
            self,
            Mmio,
            MmioError, //
        },
        pci::{
            Capabilities,
            Pci,
            BARS, //
        },
        queue::QUEUE_BYTES,
        setup::{
            Addresses,
            Negotiated, //
        },
        QueueNotify,
        Transport, //
    }, //
};

/// The location of a discovered device.
pub(crate) enum DeviceLocation {
    /// On a PCI bus.
    Pci {
        /// The function.
        at: Location,
        /// The number of the BAR with the notify registers.
        bar: u8,
        /// The bus address of that BAR.
        address: u64,
        /// The offset of the notify registers in that BAR, in bytes.
        notify: u32,
    },
    /// In a virtio-mmio slot.
    Mmio {
        /// The physical address of its registers.
        base: u64,
    },
}

impl fmt::Display for DeviceLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { at, .. } => write!(f, "PCI {at}"),
            Self::Mmio { base } => write!(f, "MMIO {base:#x}"),
        }
    }
}

/// A GPU that was brought up.
pub(crate) struct Discovered {
    /// The location of the GPU.
    pub(crate) location: DeviceLocation,
    /// The notify register of the GPU's queue, within the transport's notify registers.
    pub(crate) notify: QueueNotify,
    /// The mapping of the notify register, if it is not the page of early consoles.
    pub(crate) mapping: Option<IoMapping>,
    /// The physical address of the notify register.
    pub(crate) address: u64,
    /// Set if the device still shows the picture that firmware has handed over.
    pub(crate) shows_handoff: bool,
}

/// A PCI function that is a GPU, with access to it.
struct Candidate<'a, 'c> {
    config: &'a mut EarlyConfig<'c>,
    windows: &'a Windows,
    /// Assigns addresses to BARs without one.
    allocator: Option<&'a mut Allocator<'c>>,
    at: Location,
}

/// The phase of the boot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Early parameters are parsed: there are only early mappings.
    EarlyParameters,
    /// Consoles are initialised: `ioremap()` works.
    ConsoleInit,
}

/// Set when a device did not answer in time.
static TIMED_OUT: AtomicFlag = AtomicFlag::new(false);

/// Returns whether a device did not answer in time. Since each attempt takes seconds, there is no
/// other discovery then. There is a second attempt when the driver core offers the device, if there
/// is memory that the device cannot write to.
pub(crate) fn has_timed_out() -> bool {
    TIMED_OUT.load(Relaxed)
}

/// Logs why a device is not used.
fn report_error(device: impl fmt::Display, error: &BringUpError) {
    if error.is_timeout() {
        TIMED_OUT.store(true, Relaxed);
    }
    bring_up::report_error(device, error);
}

/// Returns the mode that firmware had set.
fn mode(handoff: &Handoff) -> Mode {
    Mode {
        scanout: handoff.scanout,
        width: handoff.width,
        height: handoff.height,
    }
}

/// A discovery, which ends with the first GPU that can be brought up.
pub(crate) struct Discovery {
    phase: Phase,
    scroll: Option<Scroll>,
    /// The table of the UEFI driver, if it has run.
    pub(crate) handoff: Option<Handoff>,
    /// The GPU that was brought up.
    pub(crate) discovered: Option<Discovered>,
    /// The log of that GPU. It is too large for a return value.
    pub(crate) log: AtomicOption<Log<'static, QueueMemory>>,
    /// The number of GPUs that were examined.
    pub(crate) seen: u32,
    ram: RamMap<'static>,
}

impl Discovery {
    /// Makes a discovery that has not started.
    pub(crate) fn new(phase: Phase) -> Self {
        Self {
            phase,
            scroll: bring_up::scroll(match phase {
                Phase::EarlyParameters => parameters::early_scroll(),
                Phase::ConsoleInit => parameters::scroll(),
            }),
            handoff: None,
            discovered: None,
            log: AtomicOption::none(),
            seen: 0,
            ram: RamMap::new(Tree::new(early::devicetree()).ok(), address_bits()),
        }
    }

    /// Checks that there can be `size` bytes of registers at the physical address `at`. Called
    /// before they are mapped, so that RAM is not written to if a table or a BAR has a wrong
    /// address.
    ///
    /// # Errors
    ///
    /// Fails if there is RAM in that range, or if the CPU cannot address it.
    fn check(&mut self, at: u64, size: u64) -> Result<(), BringUpError> {
        let memory = &mut PhysicalMemory::new();
        self.ram
            .check(memory, at, size)
            .map_err(BringUpError::Misplaced)
    }

    /// Logs which GPU shows the log, if one does, and the time that this took since `start` (in
    /// ticks).
    pub(crate) fn announce(&mut self, start: u64) {
        if let (Some(gpu), Some(log)) = (&self.discovered, self.log.as_mut()) {
            bring_up::announce(&gpu.location, log, start);
        }
    }

    /// Examines all devices that firmware's tables lead to.
    pub(crate) fn scan(&mut self) {
        let mut chosen = None;
        match Tree::new(early::devicetree()) {
            Ok(tree) => {
                self.devicetree(&tree);
                chosen = tree.chosen().ok();
            }
            Err(error) => pr_warn!("devicetree: {}\n", format_args!("{error}")),
        }
        if self.discovered.is_some() {
            return;
        }
        if let Some(chosen) = chosen {
            if let Some(table) = chosen.system_table {
                self.acpi(table, chosen.memory_map);
            }
        }
    }

    /// Examines the host bridges and virtio-mmio slots of the devicetree.
    fn devicetree(&mut self, tree: &Tree<'_>) {
        for bridge in tree.host_bridges() {
            match bridge {
                Ok(bridge) => self.host_bridge(&bridge.ecam, &bridge.windows, BusNumbers::Assign),
                Err(error) => pr_warn!("devicetree: {}\n", format_args!("{error}")),
            }
            if self.discovered.is_some() {
                return;
            }
        }
        for slot in tree.mmio_nodes() {
            match slot {
                Ok(slot) => self.mmio(slot.base, false),
                Err(error) => pr_warn!("devicetree: {}\n", format_args!("{error}")),
            }
            if self.discovered.is_some() {
                return;
            }
        }
    }

    /// Examines the host bridges of ACPI's MCFG table.
    fn acpi(&mut self, system_table: u64, map: Option<efi::MemoryMap>) {
        let mut memory = PhysicalMemory::new();
        let root = match efi::rsdp_address(&mut memory, system_table, map) {
            Ok(root) => root,
            Err(error) => return pr_info!("EFI: {}\n", format_args!("{error}")),
        };
        let mcfg = match Mcfg::find(&mut memory, root) {
            Ok(mcfg) => mcfg,
            Err(error) => return pr_info!("ACPI: {}\n", format_args!("{error}")),
        };
        for ecam in mcfg.host_bridges(&mut memory) {
            match ecam {
                Ok(ecam) => self.host_bridge(&ecam, &Windows::default(), BusNumbers::Keep),
                Err(error) => pr_warn!("ACPI: {}\n", format_args!("{error}")),
            }
            if self.discovered.is_some() {
                return;
            }
        }
    }

    /// Examines the functions behind a host bridge.
    fn host_bridge(&mut self, ecam: &Ecam, windows: &Windows, numbers: BusNumbers) {
        if let Err(error) = self.check(ecam.base, ecam.size()) {
            return report_error("PCI host bridge", &error);
        }
        let mut config = EarlyConfig::new(ecam);
        let mut allocator = Allocator::new(windows);
        let walk = pci::enumerate(&mut config, ecam, numbers, |config, function, path| {
            // Without windows firmware has assigned all addresses.
            let allocator = (!windows.as_slice().is_empty()).then_some(&mut allocator);
            self.pci(Candidate {
                config,
                windows,
                allocator,
                at: Location {
                    segment: ecam.segment,
                    function,
                    path: *path,
                },
            });
            if self.discovered.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let (None, Some((bridge, trouble))) = (&self.discovered, walk.skipped) {
            pr_warn!(
                "PCI bridge {} {}\n",
                format_args!("{bridge}"),
                format_args!("{trouble}")
            );
        }
    }

    /// Brings the PCI function that the command line names up, and logs why if that fails.
    pub(crate) fn pci_at(&mut self, address: &cmdline::DeviceAddress) {
        let function = address.function;
        // The segment and the last bus are unknown: use the buses up to that of the function.
        let Some(ecam) = Ecam::new(address.ecam, Segment::Unknown, 0, function.bus()) else {
            return pr_err!("no configuration space can be at {:#x}\n", address.ecam);
        };
        if let Err(error) = self.check(ecam.base, ecam.size()) {
            return report_error("PCI host bridge", &error);
        }
        let mut config = EarlyConfig::new(&ecam);
        // The bridges to the function, which the PCI core may disable for a while.
        let path = pci::path_to(&mut config, function);
        let id = Function::new(&mut config, function).read32(0);
        if id != pci::VIRTIO_GPU {
            return pr_err!(
                "{}: no virtio-gpu there, but {id:#010x}\n",
                format_args!("{function}")
            );
        }
        self.pci(Candidate {
            config: &mut config,
            windows: &Windows::default(),
            allocator: None,
            at: Location {
                segment: ecam.segment,
                function,
                path,
            },
        });
    }

    /// Brings a PCI function up, and logs why if that fails.
    fn pci(&mut self, candidate: Candidate<'_, '_>) {
        let at = candidate.at;
        self.seen += 1;
        match self.try_pci(candidate) {
            Ok(gpu) => self.discovered = Some(gpu),
            Err(error) => report_error(format_args!("PCI {at}"), &error),
        }
    }

    /// Brings a PCI function up.
    ///
    /// # Errors
    ///
    /// Fails for the reasons of [`BringUpError`].
    fn try_pci(&mut self, candidate: Candidate<'_, '_>) -> Result<Discovered, BringUpError> {
        let Candidate {
            config,
            windows,
            allocator,
            at,
        } = candidate;
        if let Some(allocator) = allocator {
            allocator
                .assign(config, at.function, &at.path)
                .map_err(BringUpError::Room)?;
        }
        let mut gpu = Function::new(config, at.function);
        // The bus address, the CPU's address and the size of each memory BAR.
        let bars: [Option<(u64, u64, u64)>; BARS] = core::array::from_fn(|index| {
            let index = index as u8;
            let bar = gpu
                .bar(index)
                .filter(|bar| bar.space != Space::Io && bar.address != 0)?;
            let size = gpu.bar_size(index);
            Some((bar.address, windows.cpu_address(bar.address, size)?, size))
        });
        let sizes = bars.map(|bar| bar.map_or(0, |(_, _, size)| size));
        let capabilities = Capabilities::read(|offset| gpu.read32(offset), &sizes)
            .map_err(BringUpError::Capabilities)?;
        let address_of = |region: &crate::virtio::pci::BarRegion| {
            let bar = bars.get(usize::from(region.bar)).copied().flatten();
            bar.map(|(address, base, _)| (address, base + u64::from(region.offset)))
                .ok_or(BringUpError::Bar(region.bar))
        };
        let (_, common_at) = address_of(&capabilities.common)?;
        let (address, notify_at) = address_of(&capabilities.notify)?;
        self.check(notify_at, capabilities.notify.length.into())?;
        self.check(common_at, capabilities.window().length.into())?;

        // Bridges stay enabled if this fails: other devices may be behind them.
        for &bridge in at.path.as_slice() {
            Function::new(config, bridge).enable_forwarding();
        }
        let mut gpu = Function::new(config, at.function);
        // Stop the work of an earlier driver.
        gpu.clear_master();
        let command = gpu.enable_memory();
        gpu.disable_intx();
        let location = DeviceLocation::Pci {
            at,
            bar: capabilities.notify.bar,
            address,
            notify: capabilities.notify.offset,
        };
        let result = EarlyRegisters::map(common_at, capabilities.window().length as usize)
            .ok_or(BringUpError::Map(common_at))
            .and_then(|common| {
                let mut transport = Pci::new(common.window(), &capabilities);
                self.bring_up(&mut transport, location, notify_at, || gpu.set_master())
            });
        if result.is_err() {
            // The GPU must not access the memory, which the next device gets.
            gpu.restore_command(command);
        }
        result
    }

    /// Brings the device of a virtio-mmio slot up, and logs why if that fails. An empty slot is
    /// logged only if the user has named it.
    pub(crate) fn mmio(&mut self, base: u64, is_named: bool) {
        let result = self.try_mmio(base);
        match result {
            Ok(gpu) => {
                self.seen += 1;
                self.discovered = Some(gpu);
            }
            Err(BringUpError::Mmio(MmioError::NoDevice | MmioError::NotGpu(_))) if !is_named => {}
            Err(error) => {
                // There is no slot, and so no GPU, at such an address.
                self.seen += u32::from(!matches!(error, BringUpError::Misplaced(_)));
                report_error(format_args!("MMIO {base:#x}"), &error);
            }
        }
    }

    /// Brings the device of a virtio-mmio slot up.
    ///
    /// # Errors
    ///
    /// Fails if the slot has no GPU, or if that cannot be used.
    fn try_mmio(&mut self, base: u64) -> Result<Discovered, BringUpError> {
        self.check(base, mmio::REGISTER_BYTES as u64)?;
        let slot = Some(base)
            .filter(|base| base % 4 == 0)
            .and_then(|base| EarlyRegisters::map(base, mmio::REGISTER_BYTES))
            .ok_or(BringUpError::Map(base))?;
        let mut transport = Mmio::new(slot.window()).map_err(BringUpError::Mmio)?;
        self.bring_up(&mut transport, DeviceLocation::Mmio { base }, base, || ())
    }

    /// Returns firmware's mode, if its picture is for the device at `location` and still in memory.
    #[inline(never)]
    fn mode_of_picture(&self, location: &DeviceLocation) -> Option<Mode> {
        let handoff = self.handoff.as_ref()?;
        let is_its = match location {
            DeviceLocation::Pci { at, .. } => handoff.names_device(at.segment, at.function),
            // The table names only devices on PCI.
            DeviceLocation::Mmio { .. } => false,
        };
        let is_there = is_its
            && self.phase == Phase::EarlyParameters
            && handoff.is_picture_intact(&mut early::PhysicalMemory::new());
        is_there.then(|| mode(handoff))
    }

    /// Brings the device at `location` up. Its notify registers begin at the physical address
    /// `notify_base`.
    ///
    /// # Errors
    ///
    /// Fails for the reasons of [`BringUpError`].
    fn bring_up(
        &mut self,
        transport: &mut impl Transport,
        location: DeviceLocation,
        notify_base: u64,
        set_master: impl FnOnce(),
    ) -> Result<Discovered, BringUpError> {
        if memory_is_private() {
            return Err(BringUpError::Private);
        }
        let memory = MEMORY.take().ok_or(BringUpError::Memory)?;
        let (hal, shared) = QueueMemory::new(memory, QUEUE_BYTES, &NOTIFY);
        let memory = Memory {
            shared,
            text: &mut [],
        };
        // A device that runs has another picture by now.
        let earlier = match transport.status().is_empty() {
            true => self.mode_of_picture(&location),
            false => None,
        };
        let Self {
            log,
            handoff,
            scroll,
            phase,
            ..
        } = self;
        let mut mapped = None;
        let set_notify = |negotiated: &Negotiated| {
            let notify = negotiated.queue_notify;
            let address = notify_base + notify.offset as u64;
            let mapping = match phase {
                Phase::EarlyParameters => NOTIFY.map_early(address, notify).then_some(None),
                Phase::ConsoleInit => IoMapping::memory(address, 4).map(Some),
            };
            let mapping = mapping.ok_or(BringUpError::Map(address))?;
            if let Some(mapping) = &mapping {
                // SAFETY: The mapping is dropped after `NOTIFY` is cleared or set to another one.
                // If the log cannot start, `bring_up::bring_up()` clears it before this function
                // returns. Otherwise the mapping is in `EarlyDevice::mapping`, which
                // `active::bring_up()`, `active::bind()` and `active::removed()` drop: after they
                // have cleared `NOTIFY`, or set it anew.
                NOTIFY.set(unsafe { mapping.window() }, notify);
            }
            mapped = Some((notify, mapping, address));
            Ok(())
        };
        let live = handoff.as_ref().filter(|handoff| match location {
            DeviceLocation::Pci { at, .. } => {
                handoff.is_running(at.segment, at.function, transport.queue_desc(0))
            }
            DeviceLocation::Mmio { .. } => false,
        });
        let options = Options {
            scroll: *scroll,
            mode: live.map(mode).or(earlier),
            addresses: Addresses::Physical,
            adopts: true,
        };
        bring_up::bring_up(transport, hal, memory, options, set_master, set_notify, log)?;
        if let (Some(handoff), Some(log)) = (live, log.as_mut()) {
            if let (Some(resource), InitialState::Adopted) = (handoff.resource, log.initial_state())
            {
                log.adopt_scanouts(RetainedScanouts::on(handoff.scanout, resource));
            }
        }
        let shows_handoff = live.is_some();
        let (notify, mapping, address) = mapped.ok_or(BringUpError::Map(notify_base))?;
        Ok(Discovered {
            location,
            notify,
            mapping,
            address,
            shows_handoff,
        })
    }
}
