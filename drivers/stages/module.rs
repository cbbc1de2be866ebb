// SPDX-License-Identifier: GPL-2.0

//! The module: the log on a virtio-gpu that no other driver has, from `insmod` or a bind in sysfs
//! to `rmmod` or an unbind.
//!
//! There is one screen: the first device that works is it.

use core::sync::atomic::{
    AtomicBool,
    Ordering, //
};

use kernel::{
    error::{
        code::{
            EBUSY,
            ENODEV, //
        },
        Result, //
    },
    pr_info,
    pr_warn, //
};

use crate::{
    linux::{
        bell::Bell,
        coherent::Coherent,
        console, module_console,
        owner::Owned,
        pci_device::{
            Enabled,
            Mapped,
            PciDevice, //
        },
        pci_driver,
        registers::Window,
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
    virtio::{
        pci::{
            Capabilities,
            Pci,
            Place,
            COMMON_WINDOW, //
        },
        ring::RING_BYTES,
        setup,
        Features, //
    },
};

static BELL: Bell = Bell::new();
static STAGE: Owned<Option<Stage>> = Owned::new(None);
/// Whether a device is the screen, or about to be.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// A device that shows the log. Its parts are given back in their order here.
struct Stage {
    log: Log<'static, Shared>,
    _running: Running,
    _doorbell: Option<Mapped>,
    _common: Mapped,
    _enabled: Enabled,
    _memory: Coherent,
    device: PciDevice,
}

/// A device that works on its queue, until this is dropped.
struct Running {
    transport: Pci<Window<'static>>,
    hal: Shared,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.hal.bell().take_down();
        // One that does not even do that loses the bus next.
        let _ = setup::reset(&mut self.transport, &self.hal);
    }
}

/// What is left to say when the driver is registered: why no device became the screen, if none did
/// and [`probe`] has not said it.
pub(crate) fn registered() {
    if CLAIMED.load(Ordering::Relaxed) {
        return;
    }
    let mut seen = false;
    pci_driver::gpus(|device| {
        seen = true;
        if let Some(driver) = device.driver() {
            pr_warn!(
                "{}: {driver} has it; write its name to /sys/bus/pci/drivers/{driver}/unbind, then to \
                /sys/bus/pci/drivers/virtgpu_bridge/bind\n",
                format_args!("{device}")
            );
        }
    });
    if !seen {
        pr_info!("no virtio-gpu on PCI\n");
    }
}

/// Makes a device the screen, if there is none yet.
///
/// # Errors
///
/// The reason is in the log, and the device as it was.
pub(crate) fn probe(device: PciDevice) -> Result {
    let begun = ticks();
    if CLAIMED.swap(true, Ordering::Acquire) {
        pr_warn!(
            "{}: another device is the screen already\n",
            format_args!("{device}")
        );
        return Err(EBUSY);
    }
    match Stage::new(device) {
        Ok(stage) => {
            start::announce(device, &stage.log, begun);
            console::locked(|| STAGE.with(|slot| *slot = Some(stage)));
            // SAFETY: The claim is ours, and `remove()` has unregistered it before it gave it up.
            unsafe { module_console::register() };
            Ok(())
        }
        Err(refusal) => {
            start::refuse(device, &refusal);
            CLAIMED.store(false, Ordering::Release);
            Err(match refusal {
                Refusal::Pci(error) => error.reason(),
                _ => ENODEV,
            })
        }
    }
}

/// Gives the device back.
pub(crate) fn remove() {
    module_console::unregister();
    // Nobody writes any more: the device can be left while the other consoles print.
    if let Some(Some(mut stage)) = console::locked(|| STAGE.with(Option::take)) {
        stage.log.finish();
        if let Some(trouble) = stage.log.trouble() {
            start::complain(trouble);
        }
        let device = stage.device;
        drop(stage);
        pr_info!("{}: given back\n", format_args!("{device}"));
    }
    CLAIMED.store(false, Ordering::Release);
}

/// Writes text to the screen.
pub(crate) fn write(text: &[u8]) {
    let trouble = STAGE.with(|stage| {
        let log = &mut stage.as_mut()?.log;
        log.write(text);
        log.trouble()
    });
    if let Some(Some(trouble)) = trouble {
        start::complain(trouble);
    }
}

impl Stage {
    fn new(device: PciDevice) -> Result<Self, Refusal> {
        let capabilities =
            Capabilities::read(|offset| device.read32(offset)).map_err(Refusal::Capabilities)?;
        let memory = Coherent::new(device, MEMORY_BYTES).map_err(Refusal::Pci)?;
        let bars = 1 << capabilities.common.bar | 1 << capabilities.notify.bar;
        let enabled = Enabled::new(device, bars).map_err(Refusal::Pci)?;
        let common = map(
            device,
            &Place {
                length: COMMON_WINDOW as u32,
                ..capabilities.common
            },
        )?;
        // SAFETY: The transport is not used after an error, and a stage drops it, with `Running`, before
        // its mappings.
        let mut transport = Pci::new(unsafe { common.window() }, &capabilities);
        // SAFETY: A device does not work on the memory any more when `light()` has failed, nor when a
        // stage drops it: it was reset, and lost the bus.
        let (hal, rest) = Shared::new(unsafe { memory.take() }, RING_BYTES, &BELL);
        let mut doorbell = None;
        let log = start::light(
            &mut transport,
            hal,
            rest,
            true,
            start::scroll(),
            |agreement| {
                if memory.is_behind_iommu()
                    && !agreement.features.contains(Features::ACCESS_PLATFORM)
                {
                    return Err(Refusal::RoundIommu);
                }
                let notify = capabilities.notify;
                let offset = u32::try_from(agreement.doorbell.offset)
                    .ok()
                    .and_then(|offset| offset.checked_add(notify.offset))
                    .ok_or(Refusal::Bar(notify.bar))?;
                let mapped = map(
                    device,
                    &Place {
                        offset,
                        length: 2,
                        ..notify
                    },
                )?;
                // SAFETY: The doorbell is taken down before the mapping goes.
                BELL.hang(unsafe { mapped.window() }, agreement.doorbell);
                doorbell = Some(mapped);
                Ok(())
            },
        )?;
        Ok(Self {
            log,
            _running: Running { transport, hal },
            _doorbell: doorbell,
            _common: common,
            _enabled: enabled,
            _memory: memory,
            device,
        })
    }
}

/// Maps a piece of a device's BARs.
fn map(device: PciDevice, piece: &Place) -> Result<Mapped, Refusal> {
    let (start, _) = device
        .memory_bar(piece.bar)
        .filter(|(_, size)| piece.fits(*size))
        .ok_or(Refusal::Bar(piece.bar))?;
    Mapped::new(device, piece).ok_or(Refusal::Map(start + u64::from(piece.offset)))
}
