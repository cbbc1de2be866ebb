// SPDX-License-Identifier: GPL-2.0

//! What the stages have in common: from a device's registers to a log on its screen, what is said
//! about it, and why it may come to nothing.

use core::{
    fmt,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use kernel::{
    pr_info,
    pr_warn, //
};

use crate::{
    gpu::{
        protocol::Mode,
        GpuError, //
    },
    linux::{
        atomic_option::AtomicOption,
        font::default_font,
        pci_device::PciError,
        shared::{
            microseconds_since,
            ticks,
            Shared, //
        }, //
    },
    scanout::log::{
        Log,
        LogError,
        Memory,
        Wish, //
    },
    text::Scroll,
    virtio::{
        pci::CapabilityError,
        setup::{
            self,
            Agreement,
            SetupError,
            Wishes, //
        },
        Features,
        Ring,
        Status,
        Transport, //
    }, //
};

#[cfg(not(MODULE))]
use crate::{
    firmware::ram::Misplaced,
    pci::bars::NoRoom,
    scanout::display::DisplayError,
    virtio::{
        mmio::MmioError,
        ring::RingError, //
    }, //
};

/// Bytes of all memory that is shared with the device or holds text.
pub(crate) const MEMORY_BYTES: usize = 240 << 10;

/// The features that we use beside the obligatory ones; the last is for the next kernel, which may
/// adopt the device.
const WANTED: Features = Features::EVENT_IDX.union(Features::RING_RESET);

/// Why a device that was found is not used.
pub(crate) enum Refusal {
    /// Its registers are not where they should be.
    Capabilities(CapabilityError),
    /// The BAR of this number does not hold what it should, or nobody gave it an address.
    Bar(u8),
    /// There is no address for a BAR.
    #[cfg(not(MODULE))]
    Room(NoRoom),
    /// There can be no registers where they should be.
    #[cfg(not(MODULE))]
    Misplaced(Misplaced),
    /// No virtio-mmio device that could be used.
    #[cfg(not(MODULE))]
    Mmio(MmioError),
    /// The registers at this physical address cannot be mapped.
    Map(u64),
    /// The PCI core says no.
    Pci(PciError),
    /// A device that did not finish a reset may still write to the memory for it.
    Memory,
    /// Devices cannot reach the memory that there is before the DMA API.
    #[cfg(not(MODULE))]
    Private,
    /// The device does not agree.
    Setup(SetupError),
    /// It shows no log.
    Log(LogError),
}

impl Refusal {
    /// Whether the device was waited for in vain, so that another try takes as long.
    #[cfg(not(MODULE))]
    pub(crate) fn is_stall(&self) -> bool {
        let stalled = GpuError::Ring(RingError::Stalled);
        match self {
            Self::Setup(error) => *error == SetupError::Reset,
            Self::Log(LogError::Gpu(error) | LogError::Display(DisplayError::Gpu(error))) => {
                *error == stalled
            }
            _ => false,
        }
    }
}

impl From<SetupError> for Refusal {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capabilities(error) => error.fmt(f),
            Self::Bar(bar) => write!(f, "its BAR {bar} has no usable address"),
            #[cfg(not(MODULE))]
            Self::Room(error) => error.fmt(f),
            #[cfg(not(MODULE))]
            Self::Misplaced(error) => error.fmt(f),
            #[cfg(not(MODULE))]
            Self::Mmio(error) => error.fmt(f),
            Self::Map(at) => write!(f, "its registers at {at:#x} cannot be mapped"),
            Self::Pci(error) => error.fmt(f),
            Self::Memory => {
                f.write_str("a device that was not reset may still write to its memory")
            }
            #[cfg(not(MODULE))]
            Self::Private => f.write_str(
                "the guest's memory is hidden from devices: on PCI the driver core \
                 brings the screen",
            ),
            Self::Setup(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
        }
    }
}

/// How the user wants the screen to scroll, if not as the device allows. Another word than there
/// are is complained about once: later nobody may print, because the screen is being lit under its
/// lock.
pub(crate) fn scroll(said: Result<Option<Scroll>, &'static str>) -> Option<Scroll> {
    static TOLD: AtomicBool = AtomicBool::new(false);

    said.unwrap_or_else(|word| {
        if !TOLD.swap(true, Ordering::Relaxed) {
            pr_warn!("virtgpu_bridge.scroll={word}: not pan, repaint or auto; taking auto\n");
        }
        None
    })
}

/// Sets a device up and starts the log on it, which is put into `to`: it is too large to be
/// returned. `hal` is the ring's part of the memory that is shared with the device, and `memory`
/// the log's. `master` lets the device reach memory, which happens once it works on nobody's.
/// `hang` hangs the bell up that was agreed on.
///
/// # Errors
///
/// As [`Refusal`] says; the device has been reset then, or FAILED. The memory was given back,
/// unless the device does not finish the reset.
pub(crate) fn light(
    transport: &mut (impl Transport + ?Sized),
    hal: Shared,
    memory: Memory<'static>,
    wish: Wish,
    master: impl FnOnce(),
    hang: impl FnOnce(&Agreement) -> Result<(), Refusal>,
    to: &mut AtomicOption<Log<'static, Shared>>,
) -> Result<(), Refusal> {
    let wishes = Wishes {
        features: WANTED,
        addresses: wish.addresses,
        adopts: wish.adopts,
    };
    // An earlier kernel's, perhaps at the same place.
    let had_ring = (transport.status()).intersects(Status::FEATURES_OK | Status::DRIVER_OK);
    let agreement = setup::initialise(transport, &hal, wishes, |size_max| {
        master();
        Ring::place(&hal, size_max)
    });
    let agreement = agreement.inspect_err(|error| {
        if *error != SetupError::Reset || !had_ring {
            // SAFETY: `setup::initialise()` fails, if it does, before it tells the device of the
            // memory, and the device was reset or had none of its own; no log is made of it, and
            // whoever called drops the rest.
            unsafe { hal.give_back() };
        }
    })?;
    // Nobody before us on this device has begun at the same time.
    let resource = (ticks() as u32 | 1 << 31) & !1;
    let result = hang(&agreement).and_then(|()| {
        let log = Log::start(hal, &agreement, wish, resource, memory, default_font);
        log.map(|log| to.put(log)).map_err(Refusal::Log)
    });
    if result.is_err() {
        hal.bell().take_down();
        if setup::reset(transport, &hal).is_ok() {
            // SAFETY: `setup::reset()` has seen the device at status 0: it has no queue any more.
            // `Log::start()` has dropped what it had, or was not called; `hal` is the last copy.
            unsafe { hal.give_back() };
        }
    }
    result
}

/// Scanouts, as they are announced.
struct Heads<'a>(&'a [Mode]);

impl fmt::Display for Heads<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, mode) in self.0.iter().enumerate() {
            let and = if number == 0 { "" } else { ", and " };
            write!(
                f,
                "{and}scanout {}, {}x{}",
                mode.scanout, mode.width, mode.height
            )?;
        }
        Ok(())
    }
}

/// Says what shows the log: the device at `place`, as of `begun` ticks.
pub(crate) fn announce(place: impl fmt::Display, log: &Log<'_, Shared>, begun: u64) {
    let grid = log.grid();
    pr_info!(
        "{}: {}, {}x{} characters of {}, {}, {} KiB, {} us, {}\n",
        format_args!("{place}"),
        format_args!("{}", Heads(log.heads())),
        grid.cols(),
        grid.rows(),
        format_args!("{}", grid.glyph()),
        match grid.scroll() {
            Scroll::Pan => "panning",
            Scroll::Repaint => "repainting",
        },
        MEMORY_BYTES >> 10,
        microseconds_since(begun),
        format_args!("{}", log.found()),
    );
}

/// Says what a device that was found is not used for.
pub(crate) fn refuse(place: impl fmt::Display, refusal: &Refusal) {
    pr_warn!(
        "{}: {}\n",
        format_args!("{place}"),
        format_args!("{refusal}")
    );
}

/// Says that the screen does not show everything.
pub(crate) fn complain(trouble: GpuError) {
    pr_warn!(
        "text is missing on the screen: {}\n",
        format_args!("{trouble}")
    );
}
