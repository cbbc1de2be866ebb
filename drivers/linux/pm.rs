// SPDX-License-Identifier: GPL-2.0

//! Sleep, hibernation and the next kernel, as our device has to know of them.

use kernel::{
    bindings,
    ffi::c_int, //
};

use crate::{
    device::screen,
    linux::{
        bindings as bridge_bindings,
        table::Table, //
    }, //
};

static OPERATIONS: Table<bindings::dev_pm_ops> = Table::new(bindings::dev_pm_ops {
    suspend: Some(suspend),
    resume: Some(resume),
    freeze: Some(suspend),
    thaw: Some(resume),
    poweroff: Some(suspend),
    restore: Some(resume),
    // SAFETY: What is not set above is optional functions, for which zeroes are `None`.
    ..unsafe { core::mem::zeroed() }
});

/// Whether what comes next is another kernel.
pub(crate) fn kexec_in_progress() -> bool {
    // SAFETY: It reads a `bool` of kernel/kexec_core.c, which is set before devices are shut down.
    unsafe { bridge_bindings::virtgpu_kexec_in_progress() }
}

/// For a driver of ours.
pub(crate) fn operations() -> *const bindings::dev_pm_ops {
    OPERATIONS.as_ptr()
}

/// # Safety
///
/// Called by the PM core for a device that is bound to us, where sleeping is allowed. It looks at
/// nothing that it is passed.
unsafe extern "C" fn suspend(_: *mut bindings::device) -> c_int {
    screen::suspend();
    0
}

/// # Safety
///
/// As [`suspend`].
unsafe extern "C" fn resume(_: *mut bindings::device) -> c_int {
    screen::resume();
    0
}
