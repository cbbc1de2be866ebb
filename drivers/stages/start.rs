// SPDX-License-Identifier: GPL-2.0

//! What the stages have in common: from a device's registers to a log on its screen, what is said
//! about it, and why it may come to nothing.

use core::fmt;

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
        font::default_font,
        pci_device::PciError,
        shared::{
            microseconds_since,
            ticks,
            Shared, //
        },
    },
    stages::log::{
        Log,
        LogError, //
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
        Transport, //
    },
};

#[cfg(not(MODULE))]
use crate::{
    firmware::pci::bars::NoRoom,
    stages::display::DisplayError,
    virtio::{
        mmio::MmioError,
        ring::RingError, //
    }, //
};

/// Bytes of all memory that is shared with the device or holds text.
pub(crate) const MEMORY_BYTES: usize = 240 << 10;

/// The features that we use beside the obligatory ones; the last is for the next kernel, which may adopt
/// the device.
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
    /// No virtio-mmio device that could be used.
    #[cfg(not(MODULE))]
    Mmio(MmioError),
    /// The registers at this physical address cannot be mapped.
    Map(u64),
    /// The PCI core says no.
    Pci(PciError),
    /// The device goes round an IOMMU that the kernel has put before it.
    RoundIommu,
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
            Self::Mmio(error) => error.fmt(f),
            Self::Map(at) => write!(f, "its registers at {at:#x} cannot be mapped"),
            Self::Pci(error) => error.fmt(f),
            Self::RoundIommu => f.write_str(
                "the device goes round its IOMMU (no ACCESS_PLATFORM): start it with iommu_platform=on",
            ),
            Self::Setup(error) => error.fmt(f),
            Self::Log(error) => error.fmt(f),
        }
    }
}

/// How the user wants the screen to scroll, if not as the device allows; another word than there are is
/// complained about.
pub(crate) fn scroll(said: Result<Option<Scroll>, &'static str>) -> Option<Scroll> {
    said.unwrap_or_else(|word| {
        pr_warn!("virtgpu_bridge.scroll={word}: not pan, repaint or auto; taking auto\n");
        None
    })
}

/// How the screen is to be.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    /// How it scrolls; none says that the device decides, see [`crate::gpu::origin`].
    pub(crate) scroll: Option<Scroll>,
    /// The mode of one of its scanouts, whatever the host would rather have.
    pub(crate) mode: Option<Mode>,
}

/// Sets a device up and starts the log on it. `hal` is the ring's part of [`MEMORY_BYTES`] that are
/// shared with the device, and `rest` the rest.
///
/// `platform_dma` says that the memory's address is the platform's, for ACCESS_PLATFORM. `adopts` says
/// that the device was somebody else's, whose picture stays until there is text. `hang` hangs the bell
/// up that was agreed on.
///
/// # Errors
///
/// As [`Refusal`] says; the device has been reset then, or FAILED.
pub(crate) fn light(
    transport: &mut (impl Transport + ?Sized),
    hal: Shared,
    rest: &'static mut [u32],
    platform_dma: bool,
    adopts: bool,
    wish: Wish,
    hang: impl FnOnce(&Agreement) -> Result<(), Refusal>,
) -> Result<Log<'static, Shared>, Refusal> {
    let wishes = Wishes {
        features: WANTED,
        platform_dma,
        adopts,
    };
    let agreement = setup::initialise(transport, &hal, wishes, |size_max| {
        Ring::place(&hal, size_max)
    })?;
    // Nobody before us on this device has begun at the same time.
    let resource = (ticks() as u32 | 1 << 31) & !1;
    let result = hang(&agreement).and_then(|()| {
        Log::start(hal, &agreement, wish, resource, rest, default_font).map_err(Refusal::Log)
    });
    if result.is_err() {
        hal.bell().take_down();
        // A device that does not even do that cannot be helped.
        let _ = setup::reset(transport, &hal);
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
