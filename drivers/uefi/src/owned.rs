// SPDX-License-Identifier: GPL-2.0

//! What the events share.

use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};

/// A value that one function at a time has for itself.
pub(crate) struct Owned<T> {
    is_taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: Boot services, and all that they call, run on one CPU (UEFI 2.10, sections 2.3.4 and
// 2.3.6): nothing has to be `Send`. Functions can interrupt each other there, at a higher task
// priority level. `is_taken` keeps them apart, by one atomic operation: the one that comes later
// gets nothing.
unsafe impl<T> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// One that nobody has.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Gives the value to `with`, unless somebody has it who was interrupted.
    pub(crate) fn with<R>(&self, with: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.is_taken.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `is_taken` was clear, and has been set here: nobody has a reference, or makes
        // one, until it is cleared below, when this one is gone.
        let result = with(unsafe { &mut *self.value.get() });
        self.is_taken.store(false, Ordering::Release);
        Some(result)
    }
}
