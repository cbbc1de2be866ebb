// SPDX-License-Identifier: GPL-2.0

//! Brings a device up, from its registers to a log on its screen, and reports the result in the
//! log.

use core::fmt;

use kernel::{
    pr_info,
    pr_warn,
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

use crate::{
    gpu::{
        protocol::Mode,
        GpuError, //
    },
    linux::{
        atomic_option::AtomicOption,
        clock::{
            microseconds_since,
            ticks, //
        },
        font::default_font,
        notify::NotifyRegister,
        pci_device::PciError,
        queue_memory::QueueMemory, //
    },
    scanout::{
        display::DisplayError,
        log::{
            Log,
            LogError,
            Memory,
            Options, //
        }, //
    },
    text::Scroll,
    virtio::{
        pci::CapabilityError,
        queue::QueueError,
        setup::{
            self,
            Negotiated,
            Requested,
            SetupError, //
        },
        DeviceStatus,
        Features,
        Transport,
        VirtQueue, //
    }, //
};

#[cfg(not(MODULE))]
use crate::{
    firmware::ram::RegistersError,
    linux::early::ImageMemory,
    pci::bars::AssignError,
    virtio::mmio::MmioError, //
};

/// The size in bytes of the memory that is shared with the device or holds text.
pub(crate) const MEMORY_BYTES: usize = 240 << 10;

/// The memory for a device before there is an allocator.
#[cfg(not(MODULE))]
pub(crate) static MEMORY: ImageMemory<{ MEMORY_BYTES / 4 }> = ImageMemory::new();

/// The notify register of the one device that is driven.
pub(crate) static NOTIFY: NotifyRegister = NotifyRegister::new();

/// The optional features that the driver uses. RING_RESET is for the next kernel, which may adopt
/// the device, and EDID for programs that draw, on a device of this kernel or the next.
const FEATURES: Features = Features::EVENT_IDX
    .union(Features::RING_RESET)
    .union(Features::EDID);

/// The reason why a device is not used.
pub(crate) enum BringUpError {
    /// The device has no usable virtio capabilities.
    Capabilities(CapabilityError),
    /// The BAR of this number is too small, or has no address.
    Bar(u8),
    /// There is no free address for a BAR.
    #[cfg(not(MODULE))]
    Room(AssignError),
    /// There is RAM at the address of the registers, or the CPU cannot address them.
    #[cfg(not(MODULE))]
    Misplaced(RegistersError),
    /// The virtio-mmio slot has no usable device.
    #[cfg(not(MODULE))]
    Mmio(MmioError),
    /// The registers at this physical address cannot be mapped.
    Map(u64),
    /// The PCI core or the DMA API fails.
    Pci(PciError),
    /// A device that did not finish a reset may still write to the memory.
    Memory,
    /// Devices cannot access the kernel image, the only memory before the DMA API.
    #[cfg(not(MODULE))]
    Private,
    /// The device cannot be initialised.
    Setup(SetupError),
    /// The log cannot be shown.
    Log(LogError),
}

impl BringUpError {
    /// Returns whether the device did not answer in time, so another try would take as long.
    pub(crate) fn is_timeout(&self) -> bool {
        let stalled = GpuError::Queue(QueueError::Stalled);
        match self {
            Self::Setup(error) => *error == SetupError::Reset,
            Self::Log(LogError::Gpu(error) | LogError::Display(DisplayError::Gpu(error))) => {
                *error == stalled
            }
            _ => false,
        }
    }
}

impl From<SetupError> for BringUpError {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

impl fmt::Display for BringUpError {
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

/// Returns the kind of scrolling that the user has chosen; `None` if the device decides it. Warns
/// of an unknown value, but only once: a later caller owns the screen, and must not print.
pub(crate) fn scroll(parameter: Result<Option<Scroll>, &'static str>) -> Option<Scroll> {
    static WARNED: AtomicFlag = AtomicFlag::new(false);

    parameter.unwrap_or_else(|word| {
        if !WARNED.xchg(true, Relaxed) {
            pr_warn!("virtgpu_bridge.scroll={word}: not pan, repaint or auto; taking auto\n");
        }
        None
    })
}

/// Initialises a device (virtio 1.3, section 3.1.1) and starts the log on it. The log is stored in
/// `to`, since it is too large for a return value. `hal` is the virtqueue's memory, and `memory`
/// the log's. `set_master` lets the device access memory; it is called when the device has no queue
/// of an earlier driver any more. `set_notify` maps the notify register.
///
/// # Errors
///
/// Fails for any reason of [`BringUpError`]. The device has been reset then, or has status FAILED.
/// The memory is free again, unless the device does not finish the reset.
pub(crate) fn bring_up(
    transport: &mut (impl Transport + ?Sized),
    hal: QueueMemory,
    memory: Memory<'static>,
    options: Options,
    set_master: impl FnOnce(),
    set_notify: impl FnOnce(&Negotiated) -> Result<(), BringUpError>,
    to: &mut AtomicOption<Log<'static, QueueMemory>>,
) -> Result<(), BringUpError> {
    let requested = Requested {
        features: FEATURES,
        addresses: options.addresses,
        adopts: options.adopts,
    };
    // An earlier driver's queue may be in the same memory.
    let had_queue =
        (transport.status()).intersects(DeviceStatus::FEATURES_OK | DeviceStatus::DRIVER_OK);
    let negotiated = setup::initialise(transport, &hal, requested, |size_max| {
        set_master();
        VirtQueue::addresses(&hal, size_max)
    });
    let negotiated = negotiated.inspect_err(|error| {
        if *error != SetupError::Reset || !had_queue {
            // SAFETY: `setup::initialise()` fails only before it passes the memory's address to the
            // device, and the device was reset, or had no queue. There is no log in the memory, and
            // the caller drops the rest.
            unsafe { hal.release() };
        }
    })?;
    // Earlier drivers of this device have started at another time.
    let resource = (ticks() as u32 | 1 << 31) & !1;
    let result = set_notify(&negotiated).and_then(|()| {
        let log = Log::start(hal, &negotiated, options, resource, memory, default_font);
        log.map(|log| to.put(log)).map_err(BringUpError::Log)
    });
    if result.is_err() {
        NOTIFY.clear();
        if setup::reset(transport, &hal).is_ok() {
            // SAFETY: `setup::reset()` has read status 0: the device has no queue any more.
            // `Log::start()` has dropped its part of the memory, or was not called; `hal` is the
            // last copy.
            unsafe { hal.release() };
        }
    }
    result
}

/// Formats scanouts for the log.
struct Scanouts<'a>(&'a [Mode]);

impl fmt::Display for Scanouts<'_> {
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

/// Logs which device shows the log, and the time that this took since `start` (in ticks).
pub(crate) fn announce(device: impl fmt::Display, log: &Log<'_, QueueMemory>, start: u64) {
    let grid = log.grid();
    pr_info!(
        "{}: {}, {}x{} characters of {}, {}, {} KiB, {} us, {}\n",
        format_args!("{device}"),
        format_args!("{}", Scanouts(log.scanouts())),
        grid.cols(),
        grid.rows(),
        format_args!("{}", grid.glyph()),
        match grid.scroll() {
            Scroll::Pan => "panning",
            Scroll::Repaint => "repainting",
        },
        MEMORY_BYTES >> 10,
        microseconds_since(start),
        format_args!("{}", log.initial_state()),
    );
}

/// Logs why a device is not used.
pub(crate) fn report_error(device: impl fmt::Display, error: &BringUpError) {
    pr_warn!(
        "{}: {}\n",
        format_args!("{device}"),
        format_args!("{error}")
    );
}

/// Logs that the screen does not show all text.
pub(crate) fn report_missing_text(error: GpuError) {
    pr_warn!(
        "text is missing on the screen: {}\n",
        format_args!("{error}")
    );
}
