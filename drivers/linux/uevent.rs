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
    // SAFETY: What is not set above is pointers and optional functions, for which zeroes are null
    // and `None`.
    ..unsafe { core::mem::zeroed() }
});

/// Whether the class is registered. It stays so.
static REGISTERED: AtomicBool = AtomicBool::new(false);
/// Whether there is a device of the class.
static SHOWN: AtomicBool = AtomicBool::new(false);

/// Registers the class. For one initcall, and where sleeping is allowed.
///
/// # Errors
///
/// As the driver core says.
pub(crate) fn register() -> Result {
    // SAFETY: The class is static and is never written. It is registered once:
    // `hooks::virtgpu_bridge_watch()`, an `arch_initcall`, is the only caller.
    to_result(unsafe { bindings::class_register(CLASS.as_ptr()) })?;
    REGISTERED.store(true, Ordering::Release);
    Ok(())
}

/// Shows that a driver is wanted for `device`. Called where sleeping is allowed.
///
/// # Safety
///
/// `device` is valid and registered with the driver core.
pub(crate) unsafe fn show(device: *mut bindings::device) {
    if !REGISTERED.load(Ordering::Acquire) || SHOWN.swap(true, Ordering::AcqRel) {
        return;
    }
    // SAFETY: The class is registered, as its flag says, and the parent valid by the safety
    // requirement. The name is a format without conversions, so that no argument is read. If the
    // device cannot be made, there is none, and `hide()` finds none.
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

/// Shows nothing any more. Called where sleeping is allowed.
pub(crate) fn hide() {
    if SHOWN.swap(false, Ordering::AcqRel) {
        // SAFETY: `show()` has set the flag, with the class registered. `device_destroy()`
        // (drivers/base/core.c) looks for a device of the class with this number: there is the one
        // that `show()` has made, or none.
        unsafe { bindings::device_destroy(CLASS.as_ptr(), 0) };
    }
}

/// # Safety
///
/// Called by the driver core for a device of the class (`dev_uevent()` in drivers/base/core.c),
/// with an environment that is valid until this returns and that nobody else changes.
unsafe extern "C" fn tell(
    _: *const bindings::device,
    environment: *mut bindings::kobj_uevent_env,
) -> c_int {
    // SAFETY: By the safety requirement. The text is a format without conversions, so that no
    // argument is read.
    unsafe { bindings::add_uevent_var(environment, MODALIAS.as_char_ptr()) }
}
