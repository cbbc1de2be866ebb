// SPDX-License-Identifier: GPL-2.0

//! The module: the log on a virtio-gpu that no other driver has, from `insmod`, or a bind in sysfs,
//! to `rmmod` or an unbind. The first device that can be brought up shows the log, and the KMS
//! driver gets it.

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
    console::{
        framebuffer,
        legacy::{
            self,
            ActiveDevice, //
        }, //
    },
    device::{
        bound::{
            BoundDevice,
            Displays, //
        },
        bring_up::{
            self,
            BringUpError, //
        }, //
    },
    linux::{
        clock::ticks,
        kms,
        pci_device::PciDevice,
        pci_driver::{
            self,
            Driver,
            FunctionReset, //
        },
        pm::Sleep,
        work, //
    }, //
};

static DRIVER: pci_driver::Registration<Module> = pci_driver::Registration::new();
/// Set while a device shows the log, or is about to.
static CLAIMED: AtomicFlag = AtomicFlag::new(false);

/// The PCI driver of the module.
struct Module;

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
    legacy::unregister();
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
                active.announce(device, start);
                // SAFETY: This call has set `CLAIMED`, so there is no other one here. The call that
                // had set it before has stopped the log, in `remove()`, before clearing it, or has
                // not started one. Before the module is unloaded, `unregister()` above calls both.
                unsafe { legacy::start(active) };
                framebuffer::redraw();
                kms::set_device(device);
                kms::start();
                work::poll_device_later();
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
        work::stop_polling_device();
        kms::released();
        legacy::stop(BoundDevice::reset);
        pr_info!("{}: given back\n", format_args!("{device}"));
        CLAIMED.store(false, Release);
    }

    // Keep the picture for the next kernel.
    fn shutdown(_device: PciDevice) {
        work::stop_polling_device();
        legacy::stop(BoundDevice::quiesce);
    }
}

impl FunctionReset for Module {
    // Handle a reset of the function like sleep.
    fn reset_prepare() {
        Self::suspend();
    }

    fn reset_done() {
        Self::resume();
    }
}

impl Sleep for Module {
    fn suspend() {
        legacy::suspend();
    }

    fn resume() {
        legacy::resume(!framebuffer::is_coming());
        framebuffer::redraw();
    }
}

/// Recovers the device and follows changes of its displays, as the work of
/// [`work::poll_device_later`], which goes on until the device is removed.
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_poll_device() {
    if legacy::recover(!framebuffer::is_coming()) {
        framebuffer::redraw();
    }
    match legacy::follow_displays(!framebuffer::is_coming()) {
        Displays::Unchanged => {}
        Displays::Same => framebuffer::displays_changed(),
        Displays::Differ => {
            framebuffer::displays_changed();
            framebuffer::redraw();
        }
    }
    work::poll_device_later();
}
