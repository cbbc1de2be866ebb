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
    device::{
        bound::{
            Held,
            Stop, //
        },
        bring_up::{
            self,
            Refusal, //
        }, //
    },
    linux::{
        atomic_option::AtomicOption,
        bell::Bell,
        console,
        module_console,
        owner::{
            is_in_trouble,
            Owned, //
        },
        pci_device::PciDevice,
        pci_driver,
        shared::{
            begin_use,
            ticks,
            Shared, //
        }, //
    },
    scanout::log::Log, //
};

static BELL: Bell = Bell::new();
static STAGE: Owned<Option<Stage>> = Owned::new(None);
/// Whether a device is the screen, or about to be.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// A device that shows the log.
struct Stage {
    log: AtomicOption<Log<'static, Shared>>,
    held: Held,
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
        if let Some(driver) = device.driver(&mut [0; 64]) {
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
        Ok(mut stage) => {
            if let Some(log) = stage.log.as_mut() {
                bring_up::announce(device, log, begun);
            }
            console::locked(|| STAGE.with(|slot| *slot = Some(stage)));
            // SAFETY: `CLAIMED` is set by this very call, so that nobody else comes here. Whoever
            // had it set before has unregistered the console, in `remove()`, before clearing it, or
            // did not register one. A probe may sleep.
            unsafe { module_console::register() };
            Ok(())
        }
        Err(refusal) => {
            bring_up::refuse(device, &refusal);
            CLAIMED.store(false, Ordering::Release);
            Err(match refusal {
                Refusal::Pci(error) => error.reason(),
                _ => ENODEV,
            })
        }
    }
}

/// Gives the device back. There is one that is bound.
pub(crate) fn remove(device: PciDevice) {
    stop(Held::reset);
    pr_info!("{}: given back\n", format_args!("{device}"));
    CLAIMED.store(false, Ordering::Release);
}

/// The machine is about to stop, or to start another kernel, which must find the device quiet. What
/// it shows stays.
pub(crate) fn shutdown(_device: PciDevice) {
    stop(Held::quiesce);
}

/// Ends the log, and has the device stopped.
fn stop(how: Stop) {
    module_console::unregister();
    // Nobody writes any more: the device can be left while the other consoles print.
    begin_use();
    if let Some(Some(mut stage)) = console::locked(|| STAGE.with(Option::take)) {
        let log = stage.log.take();
        if let Some(trouble) = log.and_then(|log| how(&mut stage.held, &BELL, log)) {
            bring_up::complain(trouble);
        }
    }
}

/// Writes text to the screen.
pub(crate) fn write(text: &[u8]) {
    let trouble = STAGE.with(|stage| {
        let log = stage.as_mut()?.log.as_mut()?;
        log.write(text, is_in_trouble());
        log.trouble()
    });
    if let Some(Some(trouble)) = trouble {
        bring_up::complain(trouble);
    }
}

impl Stage {
    fn new(device: PciDevice) -> Result<Self, Refusal> {
        begin_use();
        let mut held = Held::pci(device)?;
        let mut log = AtomicOption::none();
        held.light_mapped(&BELL, &mut log)?;
        Ok(Self { log, held })
    }
}
