// SPDX-License-Identifier: GPL-2.0

//! The module: the log on a virtio-gpu that no other driver has, from `insmod`, or a bind in sysfs,
//! to `rmmod` or an unbind. The first device that can be brought up shows the log.

use kernel::{
    error::{
        code::{
            EBUSY,
            ENODEV, //
        },
        Result, //
    },
    pr_info,
    pr_warn,
    sync::atomic::{
        Acquire,
        AtomicFlag,
        Relaxed,
        Release, //
    },
    ThisModule, //
};

use crate::{
    device::{
        bound::{
            BoundDevice,
            Stop, //
        },
        bring_up::{
            self,
            BringUpError, //
        }, //
    },
    linux::{
        atomic_option::AtomicOption,
        clock::{
            begin_use,
            ticks, //
        },
        console,
        legacy_console::{
            self,
            LegacyConsole, //
        },
        owner::{
            oops_in_progress,
            Owned, //
        },
        pci_device::PciDevice,
        pci_driver::{
            self,
            Driver, //
        },
        queue_memory::QueueMemory, //
    },
    scanout::log::Log, //
};

static DEVICE: Owned<Option<ActiveDevice>> = Owned::new(None);
static DRIVER: pci_driver::Registration<Module> = pci_driver::Registration::new();
static CONSOLE: legacy_console::Registration<Module> = legacy_console::Registration::new();
/// Set while a device shows the log, or is about to.
static CLAIMED: AtomicFlag = AtomicFlag::new(false);

/// The PCI driver and the legacy console of the module.
struct Module;

/// A device that shows the log.
struct ActiveDevice {
    log: AtomicOption<Log<'static, QueueMemory>>,
    device: BoundDevice,
}

/// Registers the driver, which probes devices without a driver, and logs the reason if no device
/// shows the log. May sleep.
///
/// # Errors
///
/// Fails as the PCI core does.
pub(crate) fn register(module: &'static ThisModule) -> Result {
    // SAFETY: `unregister()` is called when the module is dropped, before it is unloaded: see
    // `Bridge` in the crate's root.
    unsafe { DRIVER.register(module)? };
    if CLAIMED.load(Relaxed) {
        return Ok(());
    }
    let mut has_gpu = false;
    pci_driver::for_each_gpu(|device| {
        has_gpu = true;
        if let Some(driver) = device.driver(&mut [0; 64]) {
            pr_warn!(
                "{}: {driver} has it; write its name to /sys/bus/pci/drivers/{driver}/unbind, then to \
                /sys/bus/pci/drivers/virtgpu_bridge/bind\n",
                format_args!("{device}")
            );
        }
    });
    if !has_gpu {
        pr_info!("no virtio-gpu on PCI\n");
    }
    Ok(())
}

/// Unregisters the driver, which releases its device. May sleep.
pub(crate) fn unregister() {
    DRIVER.unregister();
}

impl Driver for Module {
    fn probe(device: PciDevice) -> Result {
        let start = ticks();
        if CLAIMED.xchg(true, Acquire) {
            pr_warn!(
                "{}: another device is the screen already\n",
                format_args!("{device}")
            );
            return Err(EBUSY);
        }
        match ActiveDevice::new(device) {
            Ok(mut active) => {
                if let Some(log) = active.log.as_mut() {
                    bring_up::announce(device, log, start);
                }
                console::locked(|_| DEVICE.try_with(|slot| *slot = Some(active)));
                // SAFETY: This call has set `CLAIMED`, so there is no other one here. The call that
                // had set it before has unregistered the console, in `remove()`, before clearing
                // it, or has not registered one. The module unregisters the driver before it is
                // unloaded, which calls `remove()`.
                unsafe { CONSOLE.register() };
                Ok(())
            }
            Err(error) => {
                bring_up::report_error(device, &error);
                CLAIMED.store(false, Release);
                Err(match error {
                    BringUpError::Pci(error) => error.code(),
                    _ => ENODEV,
                })
            }
        }
    }

    fn remove(device: PciDevice) {
        stop(BoundDevice::reset);
        pr_info!("{}: given back\n", format_args!("{device}"));
        CLAIMED.store(false, Release);
    }

    // Keep the picture for the next kernel.
    fn shutdown(_device: PciDevice) {
        stop(BoundDevice::quiesce);
    }
}

/// Ends the log, and stops the device.
fn stop(how: Stop) {
    CONSOLE.unregister();
    // The console does not write any more, so the device can be stopped while the other consoles
    // print.
    begin_use();
    let active = console::locked(|_| DEVICE.try_with(Option::take)).flatten();
    if let Some(mut active) = active {
        let log = active.log.take();
        if let Some(error) = log.and_then(|log| how(&mut active.device, log)) {
            bring_up::report_missing_text(error);
        }
    }
}

impl LegacyConsole for Module {
    fn write(text: &[u8]) {
        let error = DEVICE.try_with(|active| {
            let log = active.as_mut()?.log.as_mut()?;
            log.write(text, oops_in_progress());
            log.take_error()
        });
        if let Some(Some(error)) = error {
            bring_up::report_missing_text(error);
        }
    }
}

impl ActiveDevice {
    /// Brings a device up.
    ///
    /// # Errors
    ///
    /// Fails if the device cannot be used, and leaves it as it was before.
    fn new(device: PciDevice) -> Result<Self, BringUpError> {
        begin_use();
        let mut device = BoundDevice::pci(device)?;
        let mut log = AtomicOption::none();
        device.bring_up_dma(&mut log)?;
        Ok(Self { log, device })
    }
}
