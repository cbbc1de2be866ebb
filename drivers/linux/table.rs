// SPDX-License-Identifier: GPL-2.0

//! Constant tables that the kernel reads: operations, a class, the IDs of devices; and the driver's
//! name in them.

use core::ffi::CStr;

/// The name of the driver, in sysfs and for its resources.
pub(crate) const NAME: &CStr = c"virtgpu_bridge";

/// A structure of the kernel that contains pointers, for a static or a constant.
///
/// # Invariants
///
/// The table is never written: the only access is by pointers to constants.
pub(crate) struct Table<T>(T);

// SAFETY: By the invariants it is never written, neither by the driver nor by the kernel, which
// gets pointers to constants. So all may read it at once. The pointers in it are to statics.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// Makes a table.
    pub(crate) const fn new(table: T) -> Self {
        Self(table)
    }

    /// Returns a pointer to the table, for the kernel.
    pub(crate) const fn as_ptr(&'static self) -> *const T {
        &self.0
    }
}
