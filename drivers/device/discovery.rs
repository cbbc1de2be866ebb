// SPDX-License-Identifier: GPL-2.0

//! Looking for a device before the driver core does, in what firmware left ([`crate::firmware`]) or
//! where the command line says, and lighting its screen.

use core::{
    fmt,
    ops::ControlFlow,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};

use kernel::{
    pr_err,
    pr_info,
    pr_warn, //
};

use crate::{
    device::{
        bring_up::{
            self,
            Refusal, //
        },
        screen::{
            BELL,
            MEMORY, //
        }, //
    },
    firmware::{
        acpi::Mcfg,
        cmdline,
        efi,
        fdt::Tree,
        handoff::Handoff,
        ram::Ram, //
    },
    gpu::protocol::Mode,
    linux::{
        atomic_option::AtomicOption,
        early::{
            self,
            memory_is_private,
            EarlyConfig,
            PhysicalMemory,
            Registered, //
        },
        mapped::Mapped,
        parameters,
        shared::Shared, //
    },
    pci::{
        self,
        bars::Space,
        Allocator,
        Ecam,
        Function,
        Location,
        Numbers,
        Segment,
        Windows, //
    },
    scanout::{
        display::Left,
        log::{
            Log,
            Memory,
            Wish, //
        }, //
    },
    text::Scroll,
    virtio::{
        adoption::Found,
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
        ring::RING_BYTES,
        setup::{
            Addresses,
            Agreement, //
        },
        Doorbell,
        Transport, //
    }, //
};

/// Where a device was found.
pub(crate) enum Place {
    Pci {
        at: Location,
        /// The doorbell's BAR, and its address on the bus when we found it.
        bar: u8,
        address: u64,
        /// Where in it doorbells begin.
        notify: u32,
    },
    Mmio {
        base: u64,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci { at, .. } => write!(f, "PCI {at}"),
            Self::Mmio { base } => write!(f, "MMIO {base:#x}"),
        }
    }
}

/// A GPU whose screen shows the log.
pub(crate) struct Lit {
    pub(crate) place: Place,
    pub(crate) doorbell: Doorbell,
    /// The doorbell's mapping, where it is not the early console's.
    pub(crate) bell: Option<Mapped>,
    /// The physical address of the doorbell.
    pub(crate) address: u64,
    /// Whether it still shows what firmware has handed over.
    pub(crate) live: bool,
}

/// A PCI function that is a GPU, and what it takes to reach it.
struct Candidate<'a, 'c> {
    config: &'a mut EarlyConfig<'c>,
    windows: &'a Windows,
    /// For BARs that nobody has given an address.
    allocator: Option<&'a mut Allocator<'c>>,
    at: Location,
}

/// When the search is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// While early parameters are read: there is nothing but fixed mappings.
    Early,
    /// When consoles are set up: there is `ioremap()`.
    Consoles,
}

/// Whether a device that was found did not answer in time.
static STALLED: AtomicBool = AtomicBool::new(false);

/// Whether a device that was found did not answer in time. Each try takes seconds, so nobody
/// searches again: the driver core offers the device later. Then it has its second try, if there is
/// memory that it cannot write to any more.
pub(crate) fn has_stalled() -> bool {
    STALLED.load(Ordering::Relaxed)
}

/// Says why the device at `place` is not used.
fn refuse(place: impl fmt::Display, refusal: &Refusal) {
    if refusal.is_stall() {
        STALLED.store(true, Ordering::Relaxed);
    }
    bring_up::refuse(place, refusal);
}

/// The mode that firmware had.
fn mode(handoff: &Handoff) -> Mode {
    Mode {
        scanout: handoff.scanout,
        width: handoff.width,
        height: handoff.height,
    }
}

/// A search for a GPU that shows something.
pub(crate) struct Search {
    when: When,
    scroll: Option<Scroll>,
    /// What firmware says of a device.
    pub(crate) handoff: Option<Handoff>,
    /// The GPU that was found, and its log: a large one, which is in no function's result.
    pub(crate) lit: Option<Lit>,
    pub(crate) log: AtomicOption<Log<'static, Shared>>,
    /// GPUs met.
    pub(crate) seen: u32,
    ram: Ram<'static>,
}

impl Search {
    /// A search that has not begun.
    pub(crate) fn new(when: When) -> Self {
        Self {
            when,
            scroll: bring_up::scroll(match when {
                When::Early => parameters::early_scroll(),
                When::Consoles => parameters::scroll(),
            }),
            handoff: None,
            lit: None,
            log: AtomicOption::none(),
            seen: 0,
            ram: Ram::new(Tree::new(early::devicetree()).ok(), early::address_bits()),
        }
    }

    /// Checks that there can be `size` bytes of registers at the physical address `at`. Called
    /// before anything there is mapped: whatever a table or a BAR names, RAM is not written to.
    fn check(&mut self, at: u64, size: u64) -> Result<(), Refusal> {
        let memory = &mut PhysicalMemory::new();
        self.ram.check(memory, at, size).map_err(Refusal::Misplaced)
    }

    /// Says what shows the log, if there is such a GPU, as of `begun` ticks.
    pub(crate) fn announce(&mut self, begun: u64) {
        if let (Some(lit), Some(log)) = (&self.lit, self.log.as_mut()) {
            bring_up::announce(&lit.place, log, begun);
        }
    }

    /// Looks where firmware says that there is something.
    pub(crate) fn everywhere(&mut self) {
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
        let mut memory = PhysicalMemory::new();
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
        if let Err(error) = self.check(ecam.base, ecam.size()) {
            return refuse("PCI host bridge", &error);
        }
        let mut config = EarlyConfig::new(ecam);
        let mut allocator = Allocator::new(windows);
        let walk = pci::find(&mut config, ecam, numbers, |config, function, path| {
            // Without windows there is nothing to assign from: firmware has done it.
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

    /// Looks at a PCI function.
    pub(crate) fn told(&mut self, place: &cmdline::Place) {
        let function = place.function;
        // Nobody says of which segment the window is, nor how many buses it has: the one that was
        // named, and those before it.
        let Some(ecam) = Ecam::new(place.ecam, Segment::Unknown, 0, function.bus()) else {
            return pr_err!("no configuration space can be at {:#x}\n", place.ecam);
        };
        if let Err(error) = self.check(ecam.base, ecam.size()) {
            return refuse("PCI host bridge", &error);
        }
        let mut config = EarlyConfig::new(&ecam);
        // The bridges on the way, which the PCI core may close for a while.
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

    fn pci(&mut self, candidate: Candidate<'_, '_>) {
        let at = candidate.at;
        self.seen += 1;
        match self.try_pci(candidate) {
            Ok(lit) => self.lit = Some(lit),
            Err(error) => refuse(format_args!("PCI {at}"), &error),
        }
    }

    fn try_pci(&mut self, candidate: Candidate<'_, '_>) -> Result<Lit, Refusal> {
        let Candidate {
            config,
            windows,
            allocator,
            at,
        } = candidate;
        if let Some(allocator) = allocator {
            allocator
                .assign(config, at.function, &at.path)
                .map_err(Refusal::Room)?;
        }
        let mut gpu = Function::new(config, at.function);
        // Each memory BAR's bus address, its address as the CPU has it, and its size.
        let bars: [Option<(u64, u64, u64)>; BARS] = core::array::from_fn(|index| {
            let index = index as u8;
            let bar = gpu
                .bar(index)
                .filter(|bar| bar.space != Space::Io && bar.address != 0)?;
            let size = gpu.bar_size(index);
            Some((bar.address, windows.cpu(bar.address, size)?, size))
        });
        let sizes = bars.map(|bar| bar.map_or(0, |(_, _, size)| size));
        let capabilities = Capabilities::read(|offset| gpu.read32(offset), &sizes)
            .map_err(Refusal::Capabilities)?;
        let place = |piece: &crate::virtio::pci::Place| {
            let bar = bars.get(usize::from(piece.bar)).copied().flatten();
            bar.map(|(address, base, _)| (address, base + u64::from(piece.offset)))
                .ok_or(Refusal::Bar(piece.bar))
        };
        let (_, common_at) = place(&capabilities.common)?;
        let (address, notify_at) = place(&capabilities.notify)?;
        self.check(notify_at, capabilities.notify.length.into())?;
        self.check(common_at, capabilities.window().length.into())?;

        // Bridges stay open, whatever comes: others may be behind them.
        for &bridge in at.path.as_slice() {
            Function::new(config, bridge).enable();
        }
        let mut gpu = Function::new(config, at.function);
        // Whatever it runs for, it stops.
        gpu.end_mastering();
        let command = gpu.enable_memory();
        gpu.disable_interrupts();
        let place = Place::Pci {
            at,
            bar: capabilities.notify.bar,
            address,
            notify: capabilities.notify.offset,
        };
        let result = Registered::map(common_at, capabilities.window().length as usize)
            .ok_or(Refusal::Map(common_at))
            .and_then(|common| {
                let mut transport = Pci::new(common.window(), &capabilities);
                self.light(&mut transport, place, notify_at, || gpu.enable_master())
            });
        if result.is_err() {
            // It must not reach the memory that the next one gets.
            gpu.disable(command);
        }
        result
    }

    /// Looks into a virtio-mmio slot. An empty one is worth a line only if the user named it.
    pub(crate) fn mmio(&mut self, base: u64, told: bool) {
        let result = self.try_mmio(base);
        match result {
            Ok(lit) => {
                self.seen += 1;
                self.lit = Some(lit);
            }
            Err(Refusal::Mmio(MmioError::Empty | MmioError::NotGpu(_))) if !told => {}
            Err(error) => {
                // A slot where none can be is no GPU that was met.
                self.seen += u32::from(!matches!(error, Refusal::Misplaced(_)));
                refuse(format_args!("MMIO {base:#x}"), &error);
            }
        }
    }

    fn try_mmio(&mut self, base: u64) -> Result<Lit, Refusal> {
        self.check(base, mmio::WINDOW as u64)?;
        let slot = Some(base)
            .filter(|base| base % 4 == 0)
            .and_then(|base| Registered::map(base, mmio::WINDOW))
            .ok_or(Refusal::Map(base))?;
        let mut transport = Mmio::new(slot.window()).map_err(Refusal::Mmio)?;
        self.light(&mut transport, Place::Mmio { base }, base, || ())
    }

    /// Firmware's mode, if its picture goes on to the device at `place` and is still in memory.
    #[inline(never)]
    fn mode_of_picture(&self, place: &Place) -> Option<Mode> {
        let handoff = self.handoff.as_ref()?;
        let is_its = match place {
            Place::Pci { at, .. } => handoff.is_of(at.segment, at.function),
            // What is handed over names no device but one on PCI.
            Place::Mmio { .. } => false,
        };
        let is_there = is_its
            && self.when == When::Early
            && handoff.has_picture(&mut early::PhysicalMemory::new());
        is_there.then(|| mode(handoff))
    }

    /// Sets the device at `place` up, hangs its doorbell up and starts the log on it. Its doorbells
    /// begin at the physical address `notify`.
    fn light(
        &mut self,
        transport: &mut impl Transport,
        place: Place,
        notify: u64,
        master: impl FnOnce(),
    ) -> Result<Lit, Refusal> {
        if memory_is_private() {
            return Err(Refusal::Private);
        }
        let memory = MEMORY.take().ok_or(Refusal::Memory)?;
        let (hal, shared) = Shared::new(memory, RING_BYTES, &BELL);
        let memory = Memory {
            shared,
            text: &mut [],
        };
        // A device that runs shows what somebody has drawn since.
        let earlier = match transport.status().is_empty() {
            true => self.mode_of_picture(&place),
            false => None,
        };
        let Self {
            log,
            handoff,
            scroll,
            when,
            ..
        } = self;
        let mut hung = None;
        let hang = |agreement: &Agreement| {
            let doorbell = agreement.doorbell;
            let address = notify + doorbell.offset as u64;
            let bell = match when {
                When::Early => BELL.hang_at(address, doorbell).then_some(None),
                When::Consoles => Mapped::memory(address, 4).map(Some),
            };
            let bell = bell.ok_or(Refusal::Map(address))?;
            if let Some(bell) = &bell {
                // SAFETY: The mapping goes when the bell is down, or hangs by another one. If the
                // log cannot start, `bring_up::light()` takes the bell down before this function
                // returns. Otherwise it is in `Stage::bell`, which `screen::light()`,
                // `screen::keep()` and `screen::gone()` drop: when the bell is down, or after they
                // have hung it up anew.
                BELL.hang(unsafe { bell.window() }, doorbell);
            }
            hung = Some((doorbell, bell, address));
            Ok(())
        };
        let live = handoff.as_ref().filter(|handoff| match place {
            Place::Pci { at, .. } => {
                handoff.is_live(at.segment, at.function, transport.descriptors(0))
            }
            Place::Mmio { .. } => false,
        });
        let wish = Wish {
            scroll: *scroll,
            mode: live.map(mode).or(earlier),
            addresses: Addresses::Physical,
            adopts: true,
        };
        bring_up::light(transport, hal, memory, wish, master, hang, log)?;
        if let (Some(handoff), Some(log)) = (live, log.as_mut()) {
            if let (Some(resource), Found::Adopted) = (handoff.live, log.found()) {
                log.inherit(Left::on(handoff.scanout, resource));
            }
        }
        let live = live.is_some();
        let (doorbell, bell, address) = hung.ok_or(Refusal::Map(notify))?;
        Ok(Lit {
            place,
            doorbell,
            bell,
            address,
            live,
        })
    }
}
