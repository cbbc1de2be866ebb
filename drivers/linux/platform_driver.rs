// SPDX-License-Identifier: GPL-2.0

//! A driver of the platform bus for the virtio-mmio slot of a GPU. It refuses other slots, which
//! the driver core then offers to virtio-mmio.
//!
//! ```ignore
//! struct Gpu;
//!
//! impl platform_driver::Driver for Gpu {
//!     fn probe(slot: Slot) -> Result { .. }
//!     ..
//! }
//!
//! static DRIVER: platform_driver::Registration<Gpu> = platform_driver::Registration::new();
//!
//! DRIVER.register()?;
//! ```

use core::{
    cell::UnsafeCell,
    fmt,
    marker::PhantomData,
    ptr::NonNull, //
};

use kernel::{
    bindings,
    error::{
        code::ENODEV,
        to_result,
        Result, //
    },
    ffi::{
        c_char,
        c_int, //
    },
    str::CStrExt,
    sync::atomic::{
        Acquire,
        AtomicFlag, //
    }, //
};

use crate::linux::{
    bindings as bridge_bindings,
    pm::{
        self,
        Sleep, //
    },
    table::{
        Table,
        NAME, //
    }, //
};

/// The callbacks of a driver for its slots. The driver core calls these functions with the device's
/// lock held; all may sleep.
pub(crate) trait Driver: Sleep {
    /// Takes a virtio-mmio slot that has no driver, if its device is a GPU.
    ///
    /// # Errors
    ///
    /// Any error makes the driver core ask another driver. Nothing of the slot is used any more
    /// then.
    fn probe(slot: Slot) -> Result;

    /// Gives up a slot that was probed successfully.
    fn remove(slot: Slot);

    /// Prepares a slot that was probed successfully for the end of this kernel.
    fn shutdown(slot: Slot);
}

/// A virtio-mmio slot.
///
/// # Invariants
///
/// A `platform_device` that is registered, and is not freed as long as the value is used: the
/// driver core has a reference from `probe()` to the end of `remove()`, and a
/// [`DeviceRef`](crate::linux::driver_core::DeviceRef) has one for longer.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    device: NonNull<bindings::platform_device>,
    base: u64,
}

// SAFETY: A `platform_device` is bound to no task and no CPU: the driver core's functions may be
// called for it by any.
unsafe impl Send for Slot {}

impl Slot {
    /// Makes a slot from a pointer of the driver core; `None` if that is null, or has no registers.
    ///
    /// # Safety
    ///
    /// `device` is null, or registered, and is not freed as long as the new value is used.
    unsafe fn new(device: *mut bindings::platform_device) -> Option<Self> {
        let device = NonNull::new(device)?;
        // SAFETY: By the safety requirement the device is valid. `platform_get_resource()`
        // (drivers/base/platform.c) returns null, or one of its resources, which do not change
        // while a driver has it, or is probed.
        let resource = unsafe {
            bindings::platform_get_resource(device.as_ptr(), bindings::IORESOURCE_MEM, 0).as_ref()
        }?;
        // INVARIANT: By the safety requirement.
        Some(Self {
            device,
            base: resource.start,
        })
    }

    /// Returns the physical address of its registers.
    pub(crate) fn base(self) -> u64 {
        self.base
    }

    /// Returns the device for the driver core's functions.
    pub(crate) fn as_device(self) -> *mut bindings::device {
        // SAFETY: By the invariants it is allocated; this is a part of it, and no reference is
        // made.
        unsafe { &raw mut (*self.device.as_ptr()).dev }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MMIO {:#x}", self.base)
    }
}

/// The IDs of a slot, in a devicetree and in ACPI.
static COMPATIBLE: Table<[bindings::of_device_id; 2]> = Table::new({
    // SAFETY: The fields are bytes and pointers, for which zeroes are valid.
    let mut ids: [bindings::of_device_id; 2] = unsafe { core::mem::zeroed() };
    ids[0].compatible = chars(b"virtio,mmio");
    ids
});
static HARDWARE_ID: Table<[bindings::acpi_device_id; 2]> = Table::new({
    // SAFETY: The fields are bytes and numbers, for which zeroes are valid.
    let mut ids: [bindings::acpi_device_id; 2] = unsafe { core::mem::zeroed() };
    ids[0].id = chars(b"LNRO0005");
    ids
});

/// Returns `text`, padded with zeroes. The compiler evaluates it, so a text that is too long is an
/// error.
#[expect(clippy::indexing_slicing, reason = "it is done at compile time")]
const fn chars<const LENGTH: usize>(text: &[u8]) -> [c_char; LENGTH] {
    let mut chars = [0; LENGTH];
    let mut at = 0;
    while at < text.len() {
        chars[at] = text[at] as c_char;
        at += 1;
    }
    chars
}

/// The registration of a driver with the platform bus, for a static.
pub(crate) struct Registration<T> {
    driver: UnsafeCell<bindings::platform_driver>,
    is_registered: AtomicFlag,
    user: PhantomData<fn() -> T>,
}

// SAFETY: `register()` writes the driver before the driver core knows it, once by the flag. After
// that only the driver core accesses it, with locks of its own.
unsafe impl<T> Sync for Registration<T> {}

impl<T: Driver> Registration<T> {
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

    /// Registers the driver, for good; a second call does nothing. May sleep.
    ///
    /// # Errors
    ///
    /// Fails as `platform_driver_register()` does.
    pub(crate) fn register(&'static self) -> Result {
        if self.is_registered.xchg(true, Acquire) {
            return Ok(());
        }
        // SAFETY: The driver is static. By the flag it is registered once, and nobody else accesses
        // it before that. Its name and tables are static, too; the tables end with an empty entry.
        // The driver core alone calls the callbacks, as `struct platform_driver` says.
        to_result(unsafe {
            let driver = self.driver.get();
            (*driver).driver.name = NAME.as_char_ptr();
            (*driver).driver.of_match_table = COMPATIBLE.as_ptr().cast();
            (*driver).driver.acpi_match_table = HARDWARE_ID.as_ptr().cast();
            (*driver).driver.pm = pm::operations::<T>();
            // As in `pci_driver::Registration::register_for()`.
            (*driver).driver.probe_type = bindings::probe_type_PROBE_FORCE_SYNCHRONOUS;
            (*driver).probe = Some(probe::<T>);
            (*driver).remove = Some(remove::<T>);
            (*driver).shutdown = Some(shutdown::<T>);
            bridge_bindings::virtgpu_bridge_register_platform_driver(driver.cast())
        })
    }
}

/// Calls [`Driver::probe`]. Returns -ENODEV for a slot without registers.
///
/// # Safety
///
/// Called by the driver core (`platform_probe()` in drivers/base/platform.c) for a device of
/// `COMPATIBLE` or `HARDWARE_ID`, with the device's lock held.
unsafe extern "C" fn probe<T: Driver>(device: *mut bindings::platform_device) -> c_int {
    // SAFETY: The driver core passes a registered device, and has a reference to it as long as it
    // is bound. If this succeeds, it calls `remove()` before it gives that up; if not, nothing of
    // the device is kept.
    let Some(slot) = (unsafe { Slot::new(device) }) else {
        return ENODEV.to_errno();
    };
    T::probe(slot).map_or_else(|error| error.to_errno(), |()| 0)
}

/// Calls [`Driver::remove`].
///
/// # Safety
///
/// Called by the driver core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn remove<T: Driver>(slot: *mut bindings::platform_device) {
    // SAFETY: The device is bound, so the driver core has a reference to it until this returns.
    if let Some(slot) = unsafe { Slot::new(slot) } {
        T::remove(slot);
    }
}

/// Calls [`Driver::shutdown`].
///
/// # Safety
///
/// Called by the driver core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn shutdown<T: Driver>(slot: *mut bindings::platform_device) {
    // SAFETY: The device is bound, so the driver core has a reference to it until this returns.
    if let Some(slot) = unsafe { Slot::new(slot) } {
        T::shutdown(slot);
    }
}
