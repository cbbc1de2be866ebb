// SPDX-License-Identifier: GPL-2.0

//! A lock around the state that the events share.

use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    }, //
};

/// A value that one function at a time can use. Nothing waits for the lock.
pub(crate) struct TryLock<T> {
    is_locked: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: Boot services, and all that they call, run on one CPU (UEFI 2.10, sections 2.3.4 and
// 2.3.6), so that `T` does not have to be `Send`. A function at a higher task priority level can
// interrupt another one there. `is_locked` excludes one of them by an atomic operation: the later
// one gets no reference.
unsafe impl<T> Sync for TryLock<T> {}

impl<T> TryLock<T> {
    /// Creates an unlocked value.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            is_locked: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Calls `with` with the value and returns its result. Returns [`None`] if the lock is held by
    /// a function that this one has interrupted.
    pub(crate) fn with<R>(&self, with: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.is_locked.swap(true, Ordering::Acquire) {
            return None;
        }
        // SAFETY: `is_locked` was clear, and was set above. There is no other reference, and none
        // is created until it is cleared below, after this one has ended.
        let result = with(unsafe { &mut *self.value.get() });
        self.is_locked.store(false, Ordering::Release);
        Some(result)
    }
}
