// SPDX-License-Identifier: GPL-2.0

//! One owner for the screen, whoever comes: the printk core, a bus being scanned, a dying CPU.

use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use crate::linux::bindings;

/// A value that one context at a time may use, and a panicking CPU whatever happens.
///
/// Nobody waits: all but a panic come with the console lock held, so that the value is free for
/// them; who finds it taken goes away again.
pub(crate) struct Owned<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `with()` hands the value to one context at a time. The exception is a CPU in panic: before
// the others are stopped the console lock keeps it out like everybody, and after that whom it took the
// value from does not run again. A CPU that could not be stopped is what a panic has to live with.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// A value that nobody has.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value, if it is free or this CPU panics.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let free = !self.taken.swap(true, Ordering::Acquire);
        // SAFETY: Asking has no requirements.
        if !free && !unsafe { bindings::panic_on_this_cpu() } {
            return None;
        }
        // SAFETY: The value is ours: it was free, or see `impl Sync`.
        let result = f(unsafe { &mut *self.value.get() });
        self.taken.store(false, Ordering::Release);
        Some(result)
    }
}
