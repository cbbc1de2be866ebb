// SPDX-License-Identifier: GPL-2.0

//! Callbacks that the kernel links into a list of its own.

use core::{
    cell::UnsafeCell,
    ffi::c_void,
    ptr, //
};

use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong, //
    },
};

type Callback = unsafe extern "C" fn(*mut bindings::notifier_block, c_ulong, *mut c_void) -> c_int;

/// A notifier, for a static.
pub(crate) struct Notifier(UnsafeCell<bindings::notifier_block>);

// SAFETY: We never access it after `new()`. Whoever gets it from `as_ptr()` registers it, once;
// then the kernel alone reads and writes it, with the lock of the list that it is in.
unsafe impl Sync for Notifier {}

impl Notifier {
    /// A notifier that is in no list yet.
    pub(crate) const fn new(callback: Callback) -> Self {
        Self(UnsafeCell::new(bindings::notifier_block {
            notifier_call: Some(callback),
            next: ptr::null_mut(),
            priority: 0,
        }))
    }

    /// For the function that registers it, once.
    pub(crate) fn as_ptr(&'static self) -> *mut bindings::notifier_block {
        self.0.get()
    }
}
