// SPDX-License-Identifier: GPL-2.0

//! The driver of the platform bus', by which it knows who has the virtio-mmio slot of our GPU.
//! Other slots are refused, for virtio-mmio to take.

use core::{
    cell::UnsafeCell,
    fmt,
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
    str::CStrExt, //
};

use crate::{
    device::screen::{
        self,
        Device, //
    },
    linux::{
        bindings as bridge_bindings,
        pci_driver::NAME,
        pm,
        table::Table, //
    }, //
};

/// A virtio-mmio slot that is bound to this driver.
///
/// # Invariants
///
/// A `platform_device` that is registered, and is not freed as long as the value is used: the
/// driver core has a reference from `probe()` to the end of `remove()`, and
/// [`holder`](crate::linux::holder) one of its own for longer.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    device: NonNull<bindings::platform_device>,
    base: u64,
}

// SAFETY: A `platform_device` is bound to no task and no CPU: the driver core's functions may be
// called for it by any.
unsafe impl Send for Slot {}

impl Slot {
    /// A slot from the driver core; `None` if it is null, or has no registers.
    ///
    /// # Safety
    ///
    /// It is null, or registered, and is not freed as long as the new value is used.
    unsafe fn new(device: *mut bindings::platform_device) -> Option<Self> {
        let device = NonNull::new(device)?;
        // SAFETY: By the safety requirement the device is valid. `platform_get_resource()`
        // (drivers/base/platform.c) returns null, or one of its resources, which do not change
        // while a driver has it, or is asked.
        let resource = unsafe {
            bindings::platform_get_resource(device.as_ptr(), bindings::IORESOURCE_MEM, 0).as_ref()
        }?;
        // INVARIANT: By the safety requirement.
        Some(Self {
            device,
            base: resource.start,
        })
    }

    /// The physical address of its registers.
    pub(crate) fn base(self) -> u64 {
        self.base
    }

    /// What the driver core calls it by.
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

/// The names of a slot: in a devicetree, and in ACPI.
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

/// Characters, and zeroes behind them. Evaluated by the compiler: text that is too long is an
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

struct Driver(UnsafeCell<bindings::platform_driver>);

// SAFETY: `register()` writes it before the driver core knows it. After that only the driver core
// uses it, with locks of its own; we only compare its address.
unsafe impl Sync for Driver {}

static DRIVER: Driver = Driver(UnsafeCell::new({
    // SAFETY: The fields are numbers, lists, pointers and optional functions, for which zeroes are
    // valid.
    unsafe { core::mem::zeroed() }
}));

/// Registers the driver.
///
/// # Errors
///
/// As the driver core says.
///
/// # Safety
///
/// Called once, where sleeping is allowed.
pub(crate) unsafe fn register() -> Result {
    // SAFETY: The driver is static, and by the safety requirement registered once: before that
    // nobody else accesses it. So are its name and tables, which end with an empty entry. The
    // callbacks are called by the driver core alone, as `struct platform_driver` says.
    to_result(unsafe {
        let driver = DRIVER.0.get();
        (*driver).driver.name = NAME.as_char_ptr();
        (*driver).driver.of_match_table = COMPATIBLE.as_ptr().cast();
        (*driver).driver.acpi_match_table = HARDWARE_ID.as_ptr().cast();
        (*driver).driver.pm = pm::operations();
        // As for PCI.
        (*driver).driver.probe_type = bindings::probe_type_PROBE_FORCE_SYNCHRONOUS;
        (*driver).probe = Some(probe);
        (*driver).remove = Some(remove);
        (*driver).shutdown = Some(shutdown);
        bridge_bindings::virtgpu_register_platform_driver(driver.cast())
    })
}

/// Whether this is our driver.
pub(crate) fn is(driver: *const bindings::device_driver) -> bool {
    // SAFETY: It is the address of a part of a static, which is not read.
    driver == unsafe { &raw const (*DRIVER.0.get()).driver }
}

/// # Safety
///
/// Called by the driver core (`platform_probe()` in drivers/base/platform.c) for a device of
/// `COMPATIBLE` or `HARDWARE_ID`, with the device's lock held.
unsafe extern "C" fn probe(device: *mut bindings::platform_device) -> c_int {
    // SAFETY: The driver core passes a device that is registered, and has a reference of it as long
    // as it is bound. If this succeeds it calls `remove()` before it gives that up; if not, nothing
    // of the device is kept.
    let Some(slot) = (unsafe { Slot::new(device) }) else {
        return ENODEV.to_errno();
    };
    screen::probe(Device::Mmio(slot)).map_or_else(|error| error.to_errno(), |()| 0)
}

/// # Safety
///
/// Called by the driver core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn remove(slot: *mut bindings::platform_device) {
    // SAFETY: The device is bound, so that the driver core has a reference of it until this has
    // returned.
    if let Some(slot) = unsafe { Slot::new(slot) } {
        screen::remove(Device::Mmio(slot));
    }
}

/// # Safety
///
/// Called by the driver core for a device whose `probe()` succeeded, with the device's lock held.
unsafe extern "C" fn shutdown(slot: *mut bindings::platform_device) {
    // SAFETY: The device is bound, so that the driver core has a reference of it until this has
    // returned.
    if let Some(slot) = unsafe { Slot::new(slot) } {
        screen::shutdown(Device::Mmio(slot));
    }
}
