// SPDX-License-Identifier: GPL-2.0

//! An optional value that a panic may read in the middle of a change.

use core::mem::MaybeUninit;

use kernel::sync::atomic::{
    Acquire,
    AtomicFlag,
    Full,
    Release, //
};

/// An `Option` that is `None` while its value is written, moved or dropped. If a panic stops a CPU
/// in the middle of that, the panic finds no value, or a whole one.
///
/// # Invariants
///
/// `value` is initialised if `full` is set. That holds at any instant, for code that has
/// interrupted a change on this CPU, and for another CPU once the changing CPU is stopped.
pub(crate) struct AtomicOption<T> {
    full: AtomicFlag,
    value: MaybeUninit<T>,
}

impl<T> AtomicOption<T> {
    /// Makes an option without a value.
    pub(crate) const fn none() -> Self {
        // INVARIANT: `full` is not set.
        Self {
            full: AtomicFlag::new(false),
            value: MaybeUninit::uninit(),
        }
    }

    /// Returns whether there is a value.
    pub(crate) fn is_some(&self) -> bool {
        self.full.load(Acquire)
    }

    /// Returns whether there is no value.
    pub(crate) fn is_none(&self) -> bool {
        !self.is_some()
    }

    /// Stores a value, and drops the earlier one.
    pub(crate) fn put(&mut self, value: T) {
        self.clear();
        self.value.write(value);
        // INVARIANT: The value is written above. By the release, a reader of the flag sees it.
        self.full.store(true, Release);
    }

    /// Moves the value of `other` here, and drops the earlier one. A large value is not copied to
    /// the stack.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        self.clear();
        if other.full.xchg(false, Full) {
            core::mem::swap(&mut self.value, &mut other.value);
            // INVARIANT: The other value was initialised, as its flag said, and is here now.
            // Neither flag is set while they are swapped.
            self.full.store(true, Release);
        }
    }

    /// Removes the value, if there is one, and returns it.
    pub(crate) fn take(&mut self) -> Option<T> {
        // Clear the flag before the value moves.
        self.full.xchg(false, Full).then(|| {
            // SAFETY: The flag was set, so that by the invariants the value is initialised. It is
            // clear now, so nobody reads or drops it again.
            unsafe { self.value.assume_init_read() }
        })
    }

    /// Drops the value, if there is one.
    pub(crate) fn clear(&mut self) {
        drop(self.take());
    }

    /// Returns the value, if there is one.
    pub(crate) fn as_mut(&mut self) -> Option<&mut T> {
        if self.is_none() {
            return None;
        }
        // SAFETY: The flag is set, so that by the invariants the value is initialised. It is
        // borrowed as `self` is.
        Some(unsafe { self.value.assume_init_mut() })
    }
}

impl<T> Drop for AtomicOption<T> {
    fn drop(&mut self) {
        self.clear();
    }
}
