// SPDX-License-Identifier: GPL-2.0

//! System sleep, hibernation and kexec, as a device driver sees them.
//!
//! ```ignore
//! impl Sleep for Gpu {
//!     fn suspend() { .. }
//!     fn resume() { .. }
//! }
//!
//! driver.pm = pm::operations::<Gpu>();
//! ```

use core::marker::PhantomData;

use kernel::{
    bindings,
    ffi::c_int, //
};

#[cfg(not(MODULE))]
use crate::linux::bindings as bridge_bindings;
use crate::linux::table::Table;

/// The callbacks of a driver for system sleep.
pub(crate) trait Sleep {
    /// Prepares the bound device for sleep, for hibernation, or for the kernel that is restored.
    /// May sleep.
    fn suspend();

    /// Sets the bound device up again. May sleep.
    fn resume();
}

struct Operations<T>(PhantomData<T>);

impl<T: Sleep> Operations<T> {
    const TABLE: Table<bindings::dev_pm_ops> = Table::new(bindings::dev_pm_ops {
        suspend: Some(suspend::<T>),
        resume: Some(resume::<T>),
        freeze: Some(suspend::<T>),
        thaw: Some(resume::<T>),
        poweroff: Some(suspend::<T>),
        restore: Some(resume::<T>),
        // SAFETY: The other fields are optional functions, for which zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    });
}

/// Returns the operations for `struct device_driver`.
pub(crate) fn operations<T: Sleep>() -> *const bindings::dev_pm_ops {
    let table: &'static Table<_> = &Operations::<T>::TABLE;
    table.as_ptr()
}

/// Calls [`Sleep::suspend`].
///
/// # Safety
///
/// Called by the PM core for a device that is bound to the driver. It does not use its argument.
unsafe extern "C" fn suspend<T: Sleep>(_: *mut bindings::device) -> c_int {
    T::suspend();
    0
}

/// Calls [`Sleep::resume`].
///
/// # Safety
///
/// As [`suspend`].
unsafe extern "C" fn resume<T: Sleep>(_: *mut bindings::device) -> c_int {
    T::resume();
    0
}

/// Returns whether the machine is about to start another kernel by kexec.
#[cfg(not(MODULE))]
pub(crate) fn kexec_in_progress() -> bool {
    // SAFETY: The function reads a `bool` of kernel/kexec_core.c, which is set before devices are
    // shut down.
    unsafe { bridge_bindings::virtgpu_bridge_kexec_in_progress() }
}
