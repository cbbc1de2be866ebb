// SPDX-License-Identifier: GPL-2.0

//! The driver of the PCI core's, by which it knows who has a virtio-gpu.
//!
//! `kernel::pci::Driver` is not the same trait from one kernel to the next; the structure below it
//! is.

use core::{
    cell::UnsafeCell,
    ffi::CStr, //
};

#[cfg(MODULE)]
use core::ptr;

use kernel::{
    bindings,
    error::{
        to_result,
        Result, //
    },
    ffi::c_int,
    pr_warn,
    str::CStrExt, //
};

use crate::{
    linux::pci_device::PciDevice,
    virtio::pci::{
        DEVICE_GPU,
        VENDOR, //
    },
};

#[cfg(not(MODULE))]
use crate::{
    device::screen as stage, //
    linux::{
        pm,
        table::Table, //
    },
};

#[cfg(MODULE)]
use crate::console::module as stage;

/// What the driver is called in sysfs.
pub(crate) const NAME: &CStr = c"virtgpu_bridge";

/// Matches any subsystem.
const ANY_ID: u32 = !0;

static IDS: [bindings::pci_device_id; 2] = [
    bindings::pci_device_id {
        vendor: VENDOR as u32,
        device: DEVICE_GPU as u32,
        subvendor: ANY_ID,
        subdevice: ANY_ID,
        ..NO_ID
    },
    NO_ID,
];

/// The end of a table.
const NO_ID: bindings::pci_device_id = {
    // SAFETY: The fields are numbers, for which zeroes are valid.
    unsafe { core::mem::zeroed() }
};

struct Driver(UnsafeCell<bindings::pci_driver>);

// SAFETY: `register()` writes it before the PCI core knows it. After that only the driver core and
// the PCI core use it, with locks of their own; we only compare its address.
unsafe impl Sync for Driver {}

static DRIVER: Driver = Driver(UnsafeCell::new({
    // SAFETY: The fields are numbers, lists, pointers and optional functions, for which zeroes are
    // valid.
    unsafe { core::mem::zeroed() }
}));

/// A reset of the function is a short sleep.
#[cfg(not(MODULE))]
static RESETS: Table<bindings::pci_error_handlers> = Table::new(bindings::pci_error_handlers {
    reset_prepare: Some(reset_prepare),
    reset_done: Some(reset_done),
    // SAFETY: What is not set above is optional functions, for which zeroes are `None`.
    ..unsafe { core::mem::zeroed() }
});

/// Registers the driver; devices that nobody has are probed before this returns. `owner` is the
/// module, or null.
///
/// # Errors
///
/// As the PCI core says.
///
/// # Safety
///
/// Called once, where sleeping is allowed, and the owner calls [`unregister`] before it goes.
pub(crate) unsafe fn register(owner: *mut bindings::module) -> Result {
    let name = NAME.as_char_ptr();
    // SAFETY: The driver is static, and by the safety requirement registered once: before that
    // nobody else accesses it. So are its name and tables. The callbacks are called by the PCI core
    // alone, as `struct pci_driver` says.
    to_result(unsafe {
        let driver = DRIVER.0.get();
        (*driver).name = name;
        (*driver).id_table = IDS.as_ptr();
        (*driver).probe = Some(probe);
        (*driver).remove = Some(remove);
        // Whatever the command line says: we must be first, and who registers the driver, releases
        // a device or takes it back looks at the outcome right after.
        (*driver).driver.probe_type = bindings::probe_type_PROBE_FORCE_SYNCHRONOUS;
        (*driver).shutdown = Some(shutdown);
        #[cfg(not(MODULE))]
        {
            (*driver).driver.pm = pm::operations();
            (*driver).err_handler = RESETS.as_ptr();
        }
        bindings::__pci_register_driver(driver, owner, name)
    })
}

/// Takes the driver from the PCI core, and from its devices.
///
/// # Safety
///
/// [`register`] has returned success, and this was not called since. Sleeping is allowed.
#[cfg(MODULE)]
pub(crate) unsafe fn unregister() {
    // SAFETY: By the safety requirement the PCI core knows the driver.
    unsafe { bindings::pci_unregister_driver(DRIVER.0.get()) };
}

/// Whether this is our driver.
#[cfg(not(MODULE))]
pub(crate) fn is(driver: *const bindings::device_driver) -> bool {
    // SAFETY: It is the address of a part of a static, which is not read.
    driver == unsafe { &raw const (*DRIVER.0.get()).driver }
}

/// Calls `f` on all virtio-gpus that there are.
#[cfg(MODULE)]
pub(crate) fn gpus(mut f: impl FnMut(PciDevice)) {
    let mut at = ptr::null_mut();
    loop {
        // SAFETY: `at` is null, or what this returned before, whose reference `pci_get_device()`
        // (drivers/pci/search.c) gives up. The module's `init()` may sleep.
        at = unsafe { bindings::pci_get_device(VENDOR.into(), DEVICE_GPU.into(), at) };
        // SAFETY: It is null, or a device that is initialised, and of which we have a reference
        // until the next call; `f` keeps nothing of it.
        let Some(device) = (unsafe { PciDevice::new(at) }) else {
            return;
        };
        f(device);
    }
}

/// # Safety
///
/// Called by the PCI core (`local_pci_probe()` in drivers/pci/pci-driver.c) for a device of `IDS`,
/// or one that the user has named, with the device's lock held.
unsafe extern "C" fn probe(
    device: *mut bindings::pci_dev,
    _: *const bindings::pci_device_id,
) -> c_int {
    // SAFETY: The PCI core passes a device that is initialised, and has a reference of it as long
    // as it is bound. If this succeeds it calls `remove()` before it gives that up; if not, nothing
    // of the device is kept.
    let Some(device) = (unsafe { PciDevice::new(device) }) else {
        return kernel::error::code::ENODEV.to_errno();
    };
    // `new_id` and `driver_override` in sysfs offer any device.
    if !device.is_gpu() {
        pr_warn!("{}: not a virtio-gpu\n", format_args!("{device}"));
        return kernel::error::code::ENODEV.to_errno();
    }
    #[cfg(not(MODULE))]
    let device = stage::Device::Pci(device);
    stage::probe(device).map_or_else(|error| error.to_errno(), |()| 0)
}

/// # Safety
///
/// Called by the PCI core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn remove(device: *mut bindings::pci_dev) {
    // SAFETY: The device is bound, so that the PCI core has a reference of it until this has
    // returned.
    if let Some(device) = unsafe { PciDevice::new(device) } {
        #[cfg(not(MODULE))]
        let device = stage::Device::Pci(device);
        stage::remove(device);
    }
}

/// # Safety
///
/// Called by the PCI core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn shutdown(device: *mut bindings::pci_dev) {
    // SAFETY: The device is bound, so that the PCI core has a reference of it until this has
    // returned.
    if let Some(device) = unsafe { PciDevice::new(device) } {
        #[cfg(not(MODULE))]
        let device = stage::Device::Pci(device);
        stage::shutdown(device);
    }
}

/// # Safety
///
/// Called by the PCI core for a device whose `probe()` succeeded, with its lock held.
#[cfg(not(MODULE))]
unsafe extern "C" fn reset_prepare(_: *mut bindings::pci_dev) {
    stage::suspend();
}

/// # Safety
///
/// As [`reset_prepare`], which was called before.
#[cfg(not(MODULE))]
unsafe extern "C" fn reset_done(_: *mut bindings::pci_dev) {
    stage::resume();
}
