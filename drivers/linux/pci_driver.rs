// SPDX-License-Identifier: GPL-2.0

//! A PCI driver for virtio-gpus.
//!
//! `kernel::pci::Driver` differs between kernel versions, and can neither compare drivers nor
//! handle resets; `struct pci_driver` below it is the same in all of them.
//!
//! ```ignore
//! struct Gpu;
//!
//! impl pci_driver::Driver for Gpu {
//!     fn probe(device: PciDevice) -> Result { .. }
//!     ..
//! }
//!
//! static DRIVER: pci_driver::Registration<Gpu> = pci_driver::Registration::new();
//!
//! DRIVER.register()?;
//! ```

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ptr, //
};

use kernel::{
    bindings,
    error::{
        code::ENODEV,
        to_result,
        Result, //
    },
    ffi::c_int,
    pr_warn,
    str::CStrExt,
    sync::atomic::{
        Acquire,
        AtomicFlag,
        Release, //
    }, //
};

use crate::{
    linux::{
        pci_device::PciDevice,
        pm::{
            self,
            Sleep, //
        },
        table::{
            Table,
            NAME, //
        }, //
    },
    virtio::pci::{
        DEVICE_GPU,
        VENDOR, //
    }, //
};

#[cfg(MODULE)]
use kernel::ThisModule;

/// The callbacks of a driver for its devices. The PCI core calls these functions with the device's
/// lock held; all may sleep.
pub(crate) trait Driver {
    /// Takes a virtio-gpu that has no driver.
    ///
    /// # Errors
    ///
    /// Any error makes the PCI core ask another driver. Nothing of the device is used any more
    /// then.
    fn probe(device: PciDevice) -> Result;

    /// Gives up a device that was probed successfully.
    fn remove(device: PciDevice);

    /// Prepares a device that was probed successfully for the end of this kernel.
    fn shutdown(device: PciDevice);
}

/// The callbacks of a driver for a reset of its PCI function.
pub(crate) trait FunctionReset {
    /// Prepares the device for a reset of its function.
    fn reset_prepare();

    /// Sets the device up again after the reset.
    fn reset_done();
}

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

/// The end of a table of IDs.
const NO_ID: bindings::pci_device_id = {
    // SAFETY: The fields are numbers, for which zeroes are valid.
    unsafe { core::mem::zeroed() }
};

/// The registration of a driver with the PCI core, for a static.
pub(crate) struct Registration<T> {
    driver: UnsafeCell<bindings::pci_driver>,
    is_registered: AtomicFlag,
    user: PhantomData<fn() -> T>,
}

// SAFETY: `register()` writes the driver before the PCI core knows it, once at a time by the flag.
// After that only the driver core and the PCI core access it, with locks of their own.
unsafe impl<T> Sync for Registration<T> {}

struct Resets<T>(PhantomData<T>);

impl<T: FunctionReset> Resets<T> {
    const TABLE: Table<bindings::pci_error_handlers> = Table::new(bindings::pci_error_handlers {
        reset_prepare: Some(reset_prepare::<T>),
        reset_done: Some(reset_done::<T>),
        // SAFETY: The other fields are optional functions, for which zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    });
}

impl<T: Driver + FunctionReset + Sleep> Registration<T> {
    /// Makes a driver that is not registered.
    pub(crate) const fn new() -> Self {
        Self {
            driver: UnsafeCell::new({
                // SAFETY: The fields are numbers, lists, pointers and optional functions, for which
                // zeroes are valid.
                unsafe { core::mem::zeroed() }
            }),
            is_registered: AtomicFlag::new(false),
            user: PhantomData,
        }
    }

    /// Registers the driver of the kernel image, unless it is registered. Devices without a driver
    /// are probed before this returns. May sleep.
    ///
    /// # Errors
    ///
    /// Fails as `__pci_register_driver()` does.
    #[cfg(not(MODULE))]
    pub(crate) fn register(&'static self) -> Result {
        self.register_for(ptr::null_mut())
    }

    /// Registers the driver of a module, unless it is registered. Devices without a driver are
    /// probed before this returns. May sleep.
    ///
    /// # Errors
    ///
    /// Fails as `__pci_register_driver()` does.
    ///
    /// # Safety
    ///
    /// If this succeeds, the module calls [`Registration::unregister`] before it is unloaded.
    #[cfg(MODULE)]
    pub(crate) unsafe fn register(&'static self, owner: &'static ThisModule) -> Result {
        self.register_for(owner.as_ptr())
    }

    /// Registers the driver, unless it is registered. `owner` is the module, or null.
    ///
    /// # Errors
    ///
    /// Fails as `__pci_register_driver()` does.
    fn register_for(&'static self, owner: *mut bindings::module) -> Result {
        if self.is_registered.xchg(true, Acquire) {
            return Ok(());
        }
        let name = NAME.as_char_ptr();
        // SAFETY: The driver is static. By the flag it is registered once, and nobody else accesses
        // it before that. Its name and tables are static, too. The PCI core alone calls the
        // callbacks, as `struct pci_driver` says.
        let result = to_result(unsafe {
            let driver = self.driver.get();
            (*driver).name = name;
            (*driver).id_table = IDS.as_ptr();
            (*driver).probe = Some(probe::<T>);
            (*driver).remove = Some(remove::<T>);
            (*driver).shutdown = Some(shutdown::<T>);
            // Even if the command line asks for asynchronous probes: this driver has to be the
            // first, and the outcome of a probe is examined right after it.
            (*driver).driver.probe_type = bindings::probe_type_PROBE_FORCE_SYNCHRONOUS;
            (*driver).driver.pm = pm::operations::<T>();
            let resets: &'static Table<_> = &Resets::<T>::TABLE;
            (*driver).err_handler = resets.as_ptr();
            bindings::__pci_register_driver(driver, owner, name)
        });
        if result.is_err() {
            self.is_registered.store(false, Release);
        }
        result
    }

    /// Unregisters the driver, if it is registered, which releases its devices. May sleep.
    #[cfg(MODULE)]
    pub(crate) fn unregister(&'static self) {
        if self.is_registered.load(Acquire) {
            // SAFETY: By the flag the PCI core knows the driver. The module's `exit()` is the only
            // caller.
            unsafe { bindings::pci_unregister_driver(self.driver.get()) };
            self.is_registered.store(false, Release);
        }
    }
}

/// Calls `f` on each virtio-gpu that the PCI core knows. May sleep.
#[cfg(MODULE)]
pub(crate) fn for_each_gpu(mut f: impl FnMut(PciDevice)) {
    let mut at = ptr::null_mut();
    loop {
        // SAFETY: `at` is null, or what this returned before, whose reference `pci_get_device()`
        // (drivers/pci/search.c) gives up.
        at = unsafe { bindings::pci_get_device(VENDOR.into(), DEVICE_GPU.into(), at) };
        // SAFETY: The pointer is null, or that of an initialised device with a reference that lasts
        // until the next call; `f` keeps nothing of it.
        let Some(device) = (unsafe { PciDevice::new(at) }) else {
            return;
        };
        f(device);
    }
}

/// Calls [`Driver::probe`] for a virtio-gpu. Returns -ENODEV for any other device.
///
/// # Safety
///
/// Called by the PCI core (`local_pci_probe()` in drivers/pci/pci-driver.c) for a device of `IDS`,
/// or one that the user has chosen, with the device's lock held.
unsafe extern "C" fn probe<T: Driver>(
    device: *mut bindings::pci_dev,
    _: *const bindings::pci_device_id,
) -> c_int {
    // SAFETY: The PCI core passes an initialised device, and has a reference to it as long as it is
    // bound. If this succeeds, it calls `remove()` before it gives that up; if not, nothing of the
    // device is kept.
    let Some(device) = (unsafe { PciDevice::new(device) }) else {
        return ENODEV.to_errno();
    };
    // `new_id` and `driver_override` in sysfs offer any device.
    if !device.is_gpu() {
        pr_warn!("{}: not a virtio-gpu\n", format_args!("{device}"));
        return ENODEV.to_errno();
    }
    T::probe(device).map_or_else(|error| error.to_errno(), |()| 0)
}

/// Calls [`Driver::remove`].
///
/// # Safety
///
/// Called by the PCI core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn remove<T: Driver>(device: *mut bindings::pci_dev) {
    // SAFETY: The device is bound, so the PCI core has a reference to it until this returns.
    if let Some(device) = unsafe { PciDevice::new(device) } {
        T::remove(device);
    }
}

/// Calls [`Driver::shutdown`].
///
/// # Safety
///
/// Called by the PCI core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn shutdown<T: Driver>(device: *mut bindings::pci_dev) {
    // SAFETY: The device is bound, so the PCI core has a reference to it until this returns.
    if let Some(device) = unsafe { PciDevice::new(device) } {
        T::shutdown(device);
    }
}

/// Calls [`FunctionReset::reset_prepare`].
///
/// # Safety
///
/// Called by the PCI core for a device whose `probe()` succeeded, with its lock held.
unsafe extern "C" fn reset_prepare<T: FunctionReset>(_: *mut bindings::pci_dev) {
    T::reset_prepare();
}

/// Calls [`FunctionReset::reset_done`].
///
/// # Safety
///
/// As [`reset_prepare`], which was called before.
unsafe extern "C" fn reset_done<T: FunctionReset>(_: *mut bindings::pci_dev) {
    T::reset_done();
}
