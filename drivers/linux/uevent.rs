// SPDX-License-Identifier: GPL-2.0

//! A uevent that makes user space load the native driver, with the MODALIAS of a virtio device.
//!
//! While this driver has the device, there is no virtio device, so udev does not load virtio_gpu. A
//! device of a class of the driver's own, a child of the bound device, has the same MODALIAS
//! instead.

use core::{
    ffi::CStr,
    ptr, //
};

use kernel::{
    bindings,
    error::{
        to_result,
        Result, //
    },
    ffi::c_int,
    str::CStrExt,
    sync::atomic::{
        Acquire,
        AtomicFlag,
        Full,
        Relaxed,
        Release, //
    }, //
};

use crate::linux::{
    driver_core::Device,
    table::{
        Table,
        NAME, //
    }, //
};

/// The alias of a GPU device as `drivers/virtio/virtio.c` writes it: device ID 16 (virtio 1.3,
/// section 5), and the subsystem vendor ID of QEMU, which no driver compares.
const MODALIAS: &CStr = c"MODALIAS=virtio:d00000010v00001AF4";

static CLASS: Table<bindings::class> = Table::new(bindings::class {
    name: NAME.to_bytes_with_nul().as_ptr(),
    dev_uevent: Some(add_modalias),
    // SAFETY: The other fields are pointers and optional functions, for which zeroes are null and
    // `None`.
    ..unsafe { core::mem::zeroed() }
});

/// Set when the class is registered, which it stays.
static REGISTERED: AtomicFlag = AtomicFlag::new(false);
/// Set while there is a device of the class.
static HAS_DEVICE: AtomicFlag = AtomicFlag::new(false);

/// Registers the class; a second call does nothing. May sleep.
///
/// # Errors
///
/// Fails as `class_register()` does.
pub(crate) fn register() -> Result {
    static CALLED: AtomicFlag = AtomicFlag::new(false);
    if CALLED.xchg(true, Relaxed) {
        return Ok(());
    }
    // SAFETY: The class is static and never written. By the flag it is registered once.
    to_result(unsafe { bindings::class_register(CLASS.as_ptr()) })?;
    REGISTERED.store(true, Release);
    Ok(())
}

/// Adds the child of `device` that user space loads the native driver for, unless there is one. May
/// sleep.
pub(crate) fn add_child(device: &Device) {
    if !REGISTERED.load(Acquire) || HAS_DEVICE.xchg(true, Full) {
        return;
    }
    // SAFETY: The class is registered, as its flag says, and the parent is valid as long as
    // `device` lives. The name is a format without conversions, so no argument is read. If the
    // child cannot be made, there is none, and `remove_child()` finds none.
    unsafe {
        bindings::device_create(
            CLASS.as_ptr(),
            device.as_ptr(),
            0,
            ptr::null_mut(),
            NAME.as_char_ptr(),
        )
    };
}

/// Removes the child, if there is one. May sleep.
pub(crate) fn remove_child() {
    if HAS_DEVICE.xchg(false, Full) {
        // SAFETY: `add_child()` has set the flag, with the class registered. `device_destroy()`
        // (drivers/base/core.c) looks for a device of the class with this number: there is the one
        // that `add_child()` has made, or none.
        unsafe { bindings::device_destroy(CLASS.as_ptr(), 0) };
    }
}

/// Adds [`MODALIAS`] to the environment of a uevent.
///
/// # Safety
///
/// Called by the driver core for a device of the class (`dev_uevent()` in drivers/base/core.c),
/// with an environment that is valid, and not used otherwise, until this returns.
unsafe extern "C" fn add_modalias(
    _: *const bindings::device,
    environment: *mut bindings::kobj_uevent_env,
) -> c_int {
    // SAFETY: By the safety requirement. The text is a format without conversions, so no
    // argument is read.
    unsafe { bindings::add_uevent_var(environment, MODALIAS.as_char_ptr()) }
}
