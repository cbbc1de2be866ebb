// SPDX-License-Identifier: GPL-2.0

//! What makes user space load the native driver: a virtio device's MODALIAS.
//!
//! While we hold the device there is no virtio device, of which udev, and what plays its part in an
//! initramfs, would learn. A device of a class of ours, below the one that is held, says what the
//! virtio device would.

use core::{
    ffi::CStr,
    ptr,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use kernel::{
    bindings,
    error::{
        to_result,
        Result, //
    },
    ffi::c_int,
    str::CStrExt, //
};

use crate::linux::{
    pci_driver::NAME,
    table::Table, //
};

/// As `drivers/virtio/virtio.c` writes it: device 16 (VIRTIO 1.3, section 5), QEMU's subsystem
/// vendor as virtio-pci has it, which no driver looks at.
const MODALIAS: &CStr = c"MODALIAS=virtio:d00000010v00001AF4";

static CLASS: Table<bindings::class> = Table::new(bindings::class {
    name: NAME.to_bytes_with_nul().as_ptr(),
    dev_uevent: Some(tell),
    // SAFETY: Null pointers, and `None`.
    ..unsafe { core::mem::zeroed() }
});

/// Whether there is a device of the class.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Registers the class.
///
/// # Errors
///
/// As the driver core says.
pub(crate) fn register() -> Result {
    // SAFETY: The class is static, and registered once.
    to_result(unsafe { bindings::class_register(CLASS.as_ptr()) })
}

/// Shows that a driver is wanted for `device`.
pub(crate) fn show(device: *mut bindings::device) {
    if SHOWN.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: A registered class and a valid device; the name has nothing to be formatted. If there
    // is no memory for it, nothing is shown, and taken away.
    unsafe {
        bindings::device_create(
            CLASS.as_ptr(),
            device,
            0,
            ptr::null_mut(),
            NAME.as_char_ptr(),
        )
    };
}

/// Shows nothing any more.
pub(crate) fn hide() {
    if SHOWN.swap(false, Ordering::AcqRel) {
        // SAFETY: A registered class; of one device, or none, with that number.
        unsafe { bindings::device_destroy(CLASS.as_ptr(), 0) };
    }
}

/// # Safety
///
/// Called by the driver core for a device of the class.
unsafe extern "C" fn tell(
    _: *const bindings::device,
    environment: *mut bindings::kobj_uevent_env,
) -> c_int {
    // SAFETY: As it is called; the text has nothing to be formatted.
    unsafe { bindings::add_uevent_var(environment, MODALIAS.as_char_ptr()) }
}
