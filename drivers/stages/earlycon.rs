// SPDX-License-Identifier: GPL-2.0

//! The first stage: `earlycon=virtgpu`, from the kernel's first line until another console or
//! another driver comes.
//!
//! A device is found in what firmware left ([`crate::firmware`]), or where the command line says. It
//! is ours until a driver binds to it; between, the PCI core may take its registers away and put
//! them elsewhere, and the text waits as long.

use core::{
    fmt,
    ops::ControlFlow,
    sync::atomic::{
        AtomicBool,
        AtomicU64,
        AtomicUsize,
        Ordering, //
    },
};

use kernel::{
    pr_err,
    pr_info,
    pr_warn, //
};

use crate::{
    firmware::{
        acpi::Mcfg,
        cmdline, efi,
        fdt::Tree,
        pci::{
            self,
            bars::Space,
            Address,
            Allocator,
            Ecam,
            Function,
            Numbers,
            Path,
            Windows, //
        },
    },
    linux::{
        bell::Bell,
        early::{
            self,
            EarlyConfig,
            ImageMemory,
            PhysicalMemory,
            Registered, //
        },
        owner::Owned,
        shared::{
            ticks,
            Shared, //
        },
    },
    stages::{
        log::Log,
        start::{
            self,
            Refusal,
            MEMORY_BYTES, //
        },
    },
    text::Scroll,
    virtio::{
        mmio::{
            self,
            Mmio,
            MmioError, //
        },
        pci::{
            Capabilities,
            Pci,
            COMMON_WINDOW, //
        },
        ring::RING_BYTES,
        Doorbell,
        Transport, //
    },
};

static MEMORY: ImageMemory<{ MEMORY_BYTES / 4 }> = ImageMemory::new();
static BELL: Bell = Bell::new();
static STAGE: Owned<Option<Stage>> = Owned::new(None);

// What the hooks ask about every device of a bus, without the lock.
static UP: AtomicBool = AtomicBool::new(false);
static PCI_DEVICE: AtomicUsize = AtomicUsize::new(0);
static MMIO_BASE: AtomicU64 = AtomicU64::new(0);

/// The early console.
struct Stage {
    log: Log<'static, Shared>,
    place: Place,
    doorbell: Doorbell,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The device is ours and its registers are where we think.
    Running,
    /// Its registers are on the move; text is kept.
    Paused,
    /// It has another driver, or cannot be reached any more.
    Stopped,
}

/// Where a device was found.
enum Place {
    Pci {
        function: Address,
        path: Path,
        /// The doorbell's BAR, its address on the bus when we found it, and the offset into it.
        bar: u8,
        address: u64,
        offset: u64,
    },
    Mmio {
        base: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { function, .. } => write!(f, "PCI {function}"),
            Self::Mmio { base } => write!(f, "MMIO {base:#x}"),
        }
    }
}

/// Finds a device and lights its screen. `options` and `mmio` are what the command line says, if it
/// does. Returns the address of the device's doorbell; `None` after it has said why not.
pub(crate) fn setup(options: Option<&[u8]>, mmio: Option<u64>) -> Option<u64> {
    let begun = ticks();
    let mut search = Search {
        scroll: start::scroll(),
        lit: None,
        seen: 0,
    };
    if let Some(base) = mmio {
        search.mmio(base, true);
    } else if let Some(options) = options {
        match cmdline::Place::parse(options) {
            Ok(place) => search.told(&place),
            Err(error) => {
                pr_err!("earlycon=virtgpu: {}\n", format_args!("{error}"));
                return None;
            }
        }
    } else {
        search.everywhere();
    }
    let seen = search.seen;
    let Some((stage, address)) = search.lit else {
        if seen == 0 {
            pr_info!("no virtio-gpu found for earlycon\n");
        }
        return None;
    };
    start::announce(&stage.place, &stage.log, begun);
    if let Place::Mmio { base } = stage.place {
        MMIO_BASE.store(base, Ordering::Relaxed);
    }
    UP.store(true, Ordering::Relaxed);
    STAGE.with(|slot| *slot = Some(stage))?;
    Some(address)
}

/// A search for a GPU that shows something.
struct Search {
    scroll: Scroll,
    /// The stage, and the physical address of its doorbell.
    lit: Option<(Stage, u64)>,
    /// GPUs met.
    seen: u32,
}

impl Search {
    fn everywhere(&mut self) {
        let mut chosen = None;
        match Tree::new(early::devicetree()) {
            Ok(tree) => {
                self.devicetree(&tree);
                chosen = tree.chosen().ok();
            }
            Err(error) => pr_warn!("devicetree: {}\n", format_args!("{error}")),
        }
        if self.lit.is_some() {
            return;
        }
        if let Some(chosen) = chosen {
            if let Some(table) = chosen.system_table {
                self.acpi(table, chosen.memory_map);
            }
        }
    }

    fn devicetree(&mut self, tree: &Tree<'_>) {
        for bridge in tree.host_bridges() {
            match bridge {
                Ok(bridge) => self.host_bridge(&bridge.ecam, &bridge.windows, Numbers::Assign),
                Err(error) => pr_warn!("devicetree: {}\n", format_args!("{error}")),
            }
            if self.lit.is_some() {
                return;
            }
        }
        for slot in tree.slots() {
            match slot {
                Ok(slot) => self.mmio(slot.base, false),
                Err(error) => pr_warn!("devicetree: {}\n", format_args!("{error}")),
            }
            if self.lit.is_some() {
                return;
            }
        }
    }

    fn acpi(&mut self, system_table: u64, map: Option<efi::MemoryMap>) {
        let mut memory = PhysicalMemory;
        let root = match efi::acpi_root(&mut memory, system_table, map) {
            Ok(root) => root,
            Err(error) => return pr_info!("EFI: {}\n", format_args!("{error}")),
        };
        let mcfg = match Mcfg::find(&mut memory, root) {
            Ok(mcfg) => mcfg,
            Err(error) => return pr_info!("ACPI: {}\n", format_args!("{error}")),
        };
        for ecam in mcfg.host_bridges(&mut memory) {
            match ecam {
                Ok(ecam) => self.host_bridge(&ecam, &Windows::default(), Numbers::Keep),
                Err(error) => pr_warn!("ACPI: {}\n", format_args!("{error}")),
            }
            if self.lit.is_some() {
                return;
            }
        }
    }

    fn host_bridge(&mut self, ecam: &Ecam, windows: &Windows, numbers: Numbers) {
        let mut config = EarlyConfig::new(ecam);
        let mut allocator = Allocator::new(windows);
        let walk = pci::find(&mut config, ecam, numbers, |config, function, path| {
            // Without windows there is nothing to assign from: firmware has done it.
            let allocator = (!windows.as_slice().is_empty()).then_some(&mut allocator);
            self.pci(config, windows, allocator, function, path);
            if self.lit.is_some() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if let (None, Some((bridge, trouble))) = (&self.lit, walk.trouble) {
            pr_warn!(
                "PCI bridge {} {}\n",
                format_args!("{bridge}"),
                format_args!("{trouble}")
            );
        }
    }

    fn told(&mut self, place: &cmdline::Place) {
        let function = place.function;
        let Some(ecam) = Ecam::new(place.ecam, 0, 0, u8::MAX) else {
            return pr_err!("no configuration space can be at {:#x}\n", place.ecam);
        };
        let mut config = EarlyConfig::new(&ecam);
        // The bridges on the way, which the PCI core may close for a while.
        let mut path = Path::new();
        if function.bus() != 0 {
            pci::find(&mut config, &ecam, Numbers::Keep, |_, found, way| {
                if found == function {
                    path = *way;
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            });
        }
        let id = Function::new(&mut config, function).read32(0);
        let gpu =
            u32::from(crate::virtio::pci::DEVICE_GPU) << 16 | u32::from(crate::virtio::pci::VENDOR);
        if id != gpu {
            return pr_err!(
                "{}: no virtio-gpu there, but {id:#010x}\n",
                format_args!("{function}")
            );
        }
        self.pci(&mut config, &Windows::default(), None, function, &path);
    }

    fn pci(
        &mut self,
        config: &mut EarlyConfig<'_>,
        windows: &Windows,
        allocator: Option<&mut Allocator<'_>>,
        function: Address,
        path: &Path,
    ) {
        self.seen += 1;
        match self.try_pci(config, windows, allocator, function, path) {
            Ok(lit) => self.lit = Some(lit),
            Err(error) => start::refuse(format_args!("PCI {function}"), &error),
        }
    }

    fn try_pci(
        &mut self,
        config: &mut EarlyConfig<'_>,
        windows: &Windows,
        allocator: Option<&mut Allocator<'_>>,
        function: Address,
        path: &Path,
    ) -> Result<(Stage, u64), Refusal> {
        let capabilities =
            Capabilities::read(|offset| Function::new(config, function).read32(offset))
                .map_err(Refusal::Capabilities)?;
        if let Some(allocator) = allocator {
            allocator
                .assign(config, function, path)
                .map_err(Refusal::Room)?;
        }
        let mut place = |piece: &crate::virtio::pci::Place| {
            let mut gpu = Function::new(config, function);
            let bar = gpu.bar(piece.bar).filter(|bar| bar.space != Space::Io);
            let size = gpu.bar_size(piece.bar);
            bar.filter(|bar| bar.address != 0 && piece.fits(size))
                .and_then(|bar| windows.cpu(bar.address, size))
                .map(|base| base + u64::from(piece.offset))
                .ok_or(Refusal::Bar(piece.bar))
        };
        let common_at = place(&capabilities.common)?;
        let notify_at = place(&capabilities.notify)?;
        let address = Function::new(config, function)
            .bar(capabilities.notify.bar)
            .map_or(0, |bar| bar.address);

        // Bridges stay open, whatever comes: others may be behind them.
        for &bridge in path.as_slice() {
            Function::new(config, bridge).enable();
        }
        let mut gpu = Function::new(config, function);
        let command = gpu.enable();
        gpu.disable_interrupts();
        let result = Registered::map(common_at, COMMON_WINDOW)
            .ok_or(Refusal::Map(common_at))
            .and_then(|common| {
                let mut transport = Pci::new(common.window(), &capabilities);
                self.light(&mut transport, |offset| notify_at + offset)
            });
        match result {
            Ok((log, doorbell, bell)) => {
                let place = Place::Pci {
                    function,
                    path: *path,
                    bar: capabilities.notify.bar,
                    address,
                    offset: u64::from(capabilities.notify.offset) + (bell - notify_at),
                };
                Ok((Stage::new(log, place, doorbell), bell))
            }
            Err(error) => {
                // It must not reach the memory that the next one gets.
                gpu.disable(command);
                Err(error)
            }
        }
    }

    /// Looks into a virtio-mmio slot. An empty one is worth a line only if the user named it.
    fn mmio(&mut self, base: u64, told: bool) {
        let result = self.try_mmio(base);
        match result {
            Ok(lit) => {
                self.seen += 1;
                self.lit = Some(lit);
            }
            Err(Refusal::Mmio(MmioError::Empty | MmioError::NotGpu(_))) if !told => {}
            Err(error) => {
                self.seen += 1;
                start::refuse(format_args!("MMIO {base:#x}"), &error);
            }
        }
    }

    fn try_mmio(&mut self, base: u64) -> Result<(Stage, u64), Refusal> {
        let slot = Some(base)
            .filter(|base| base % 4 == 0)
            .and_then(|base| Registered::map(base, mmio::WINDOW))
            .ok_or(Refusal::Map(base))?;
        let mut transport = Mmio::new(slot.window()).map_err(Refusal::Mmio)?;
        let (log, doorbell, bell) = self.light(&mut transport, |offset| base + offset)?;
        Ok((Stage::new(log, Place::Mmio { base }, doorbell), bell))
    }

    /// Sets a device up and starts the log on it. Returns its doorbell as well, and where that is:
    /// `notify` gives the physical address.
    fn light(
        &self,
        transport: &mut impl Transport,
        notify: impl FnOnce(u64) -> u64,
    ) -> Result<(Log<'static, Shared>, Doorbell, u64), Refusal> {
        // SAFETY: What an earlier device was given went with its `Log`. It was reset, or cannot
        // master the bus any more.
        let memory = unsafe { MEMORY.take() };
        let (hal, rest) = Shared::new(memory, RING_BYTES, &BELL);
        let mut place = None;
        let log = start::light(transport, hal, rest, false, self.scroll, |agreement| {
            let bell = notify(agreement.doorbell.offset as u64);
            place = Some((agreement.doorbell, bell));
            if BELL.hang_at(bell, agreement.doorbell) {
                Ok(())
            } else {
                Err(Refusal::Map(bell))
            }
        })?;
        let (doorbell, bell) = place.ok_or(Refusal::Map(0))?;
        Ok((log, doorbell, bell))
    }
}

impl Stage {
    fn new(log: Log<'static, Shared>, place: Place, doorbell: Doorbell) -> Self {
        Self {
            log,
            place,
            doorbell,
            state: State::Running,
        }
    }
}

/// Whether there is an early console, be it paused.
pub(crate) fn is_up() -> bool {
    UP.load(Ordering::Relaxed)
}

/// Whether the PCI device whose `pci_dev` is at this address is ours.
pub(crate) fn is_pci(device: usize) -> bool {
    device != 0 && PCI_DEVICE.load(Ordering::Relaxed) == device
}

/// Whether the virtio-mmio slot at this physical address is ours.
pub(crate) fn is_mmio(base: u64) -> bool {
    base != 0 && MMIO_BASE.load(Ordering::Relaxed) == base
}

/// Writes text to the screen, or keeps it until the screen is there again.
pub(crate) fn write(text: &[u8]) {
    let trouble = STAGE.with(|stage| {
        let stage = stage.as_mut()?;
        match stage.state {
            State::Running => stage.log.write(text),
            State::Paused => stage.log.remember(text),
            State::Stopped => {}
        }
        stage.log.trouble()
    });
    if let Some(Some(trouble)) = trouble {
        start::complain(trouble);
    }
}

/// The PCI core has found the function at `at`, and will now size and move its BARs. `gpu` is the
/// address of its `pci_dev` if it is a virtio-gpu, and `bar` gives the bus address in one of its BARs.
/// Our device, and the bridges before it, cannot be reached for a while.
///
/// The same place behind another host bridge has another address in that BAR.
pub(crate) fn pci_found(at: Address, gpu: Option<usize>, bar: impl Fn(u8) -> u64) {
    STAGE.with(|stage| {
        let Some(stage) = stage.as_mut() else {
            return;
        };
        let Place::Pci {
            function,
            path,
            bar: number,
            address,
            ..
        } = &stage.place
        else {
            return;
        };
        // Once the device is known, bridges have been opened for it.
        if PCI_DEVICE.load(Ordering::Relaxed) != 0 || stage.state == State::Stopped {
            return;
        }
        let device = gpu.filter(|_| *function == at && bar(*number) == *address);
        if let Some(device) = device {
            PCI_DEVICE.store(device, Ordering::Relaxed);
        }
        if device.is_some() || path.as_slice().contains(&at) {
            stage.state = State::Paused;
        }
    });
}

/// Our PCI device's BARs have come to rest; `resource` gives the physical address and the size of
/// each. What was kept is drawn.
pub(crate) fn pci_ready(resource: impl Fn(u8) -> (u64, u64)) {
    STAGE.with(|stage| {
        let Some(stage) = stage.as_mut() else {
            return;
        };
        let (Place::Pci { bar, offset, .. }, State::Paused) = (&stage.place, stage.state) else {
            return;
        };
        let (start, size) = resource(*bar);
        let fits = start != 0 && *offset + 2 <= size;
        if fits && BELL.hang_at(start + offset, stage.doorbell) {
            stage.state = State::Running;
            stage.log.write(&[]);
        } else {
            BELL.take_down();
            stage.state = State::Stopped;
            pr_warn!("BAR {bar} of our device got no address, the screen stops\n");
        }
    });
}

/// Leaves the device alone from now on.
pub(crate) fn stop() {
    STAGE.with(|stage| {
        if let Some(stage) = stage.as_mut() {
            stage.state = State::Stopped;
            BELL.take_down();
        }
    });
    UP.store(false, Ordering::Relaxed);
    PCI_DEVICE.store(0, Ordering::Relaxed);
    MMIO_BASE.store(0, Ordering::Relaxed);
}
