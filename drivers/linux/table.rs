// SPDX-License-Identifier: GPL-2.0

//! What the kernel reads of us: operations, a class, the names of devices.

/// A structure of the kernel's with pointers in it, for a static.
///
/// # Invariants
///
/// It is never written: there is no access to it but by pointers to constants.
pub(crate) struct Table<T>(T);

// SAFETY: By the invariants it is never written, neither by us nor by the kernel, which is given
// pointers to constants: it may be read by all at once. The pointers in it are to statics.
unsafe impl<T> Sync for Table<T> {}

impl<T> Table<T> {
    /// A table for the kernel.
    pub(crate) const fn new(table: T) -> Self {
        Self(table)
    }

    /// The table, which the kernel is given as constant.
    pub(crate) const fn as_ptr(&'static self) -> *const T {
        &self.0
    }
}
