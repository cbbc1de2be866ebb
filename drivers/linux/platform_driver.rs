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
    linux::{
        bindings as bridge_bindings,
        pci_driver::NAME,
        pm,
        table::Table, //
    },
    stages::device::{
        self,
        Device, //
    },
};

/// A virtio-mmio slot that is bound to this driver.
///
/// # Invariants
///
/// A valid `platform_device`, which stays so as long as the value is used.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    device: NonNull<bindings::platform_device>,
    base: u64,
}

// SAFETY: The driver core's functions take a device in any context that may sleep.
unsafe impl Send for Slot {}

impl Slot {
    /// A slot from the driver core; `None` if it is null, or has no registers.
    ///
    /// # Safety
    ///
    /// It is null or valid as long as the new value is used.
    unsafe fn new(device: *mut bindings::platform_device) -> Option<Self> {
        let device = NonNull::new(device)?;
        // SAFETY: A valid device; the resource is null or valid.
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
        // SAFETY: A valid device, of which this is a part.
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
    // SAFETY: Bytes and null pointers.
    let mut ids: [bindings::of_device_id; 2] = unsafe { core::mem::zeroed() };
    ids[0].compatible = chars(b"virtio,mmio");
    ids
});
static HARDWARE_ID: Table<[bindings::acpi_device_id; 2]> = Table::new({
    // SAFETY: Bytes and numbers.
    let mut ids: [bindings::acpi_device_id; 2] = unsafe { core::mem::zeroed() };
    ids[0].id = chars(b"LNRO0005");
    ids
});

/// Characters, and zeroes behind them.
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

// SAFETY: Only the driver core uses it, under its own locks.
unsafe impl Sync for Driver {}

static DRIVER: Driver = Driver(UnsafeCell::new({
    // SAFETY: Numbers, null pointers, and `None`.
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
/// Called once.
pub(crate) unsafe fn register() -> Result {
    // SAFETY: A static driver, registered once, by the safety requirement. Nobody else uses it
    // before.
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
    // SAFETY: A place in a static; the pointer is only compared.
    driver == unsafe { &raw const (*DRIVER.0.get()).driver }
}

/// # Safety
///
/// Called by the driver core for a device of `COMPATIBLE` or `HARDWARE_ID`.
unsafe extern "C" fn probe(device: *mut bindings::platform_device) -> c_int {
    // SAFETY: A valid device, which `remove()` is called for before it goes.
    let Some(slot) = (unsafe { Slot::new(device) }) else {
        return ENODEV.to_errno();
    };
    device::probe(Device::Mmio(slot)).map_or_else(|error| error.to_errno(), |()| 0)
}

/// # Safety
///
/// Called by the driver core for a device whose `probe()` succeeded.
unsafe extern "C" fn remove(slot: *mut bindings::platform_device) {
    // SAFETY: A valid device, until this returns.
    if let Some(slot) = unsafe { Slot::new(slot) } {
        device::remove(Device::Mmio(slot));
    }
}

/// # Safety
///
/// Called by the driver core for a device whose `probe()` succeeded.
unsafe extern "C" fn shutdown(slot: *mut bindings::platform_device) {
    // SAFETY: A valid device, until this returns.
    if let Some(slot) = unsafe { Slot::new(slot) } {
        device::shutdown(Device::Mmio(slot));
    }
}
