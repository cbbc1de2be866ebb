// SPDX-License-Identifier: GPL-2.0

//! A place for a value, at which a panic may look in the middle of a change.

use core::{
    mem::MaybeUninit,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

/// What an `Option` is, but it never looks full while the value is written, moved or dropped: who
/// is stopped by a panic there leaves nothing, or a whole value.
///
/// # Invariants
///
/// `value` is initialised if `full` is set. That holds at any instant, for whoever looks on this
/// CPU after having interrupted a change, or when the CPU that was at it is stopped.
pub(crate) struct AtomicOption<T> {
    full: AtomicBool,
    value: MaybeUninit<T>,
}

impl<T> AtomicOption<T> {
    /// None.
    pub(crate) const fn none() -> Self {
        // INVARIANT: It is not full.
        Self {
            full: AtomicBool::new(false),
            value: MaybeUninit::uninit(),
        }
    }

    /// Whether there is a value.
    pub(crate) fn is_some(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Whether there is no value.
    pub(crate) fn is_none(&self) -> bool {
        !self.is_some()
    }

    /// Puts a value in; the one before is dropped.
    pub(crate) fn put(&mut self, value: T) {
        self.clear();
        self.value.write(value);
        // INVARIANT: The value is written above; whoever sees the flag sees it, by the release.
        self.full.store(true, Ordering::Release);
    }

    /// Becomes what another one is, which is none then; the value before is dropped. Large values
    /// go this way without being on the stack once more.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        self.clear();
        if other.full.swap(false, Ordering::AcqRel) {
            core::mem::swap(&mut self.value, &mut other.value);
            // INVARIANT: The other value was initialised, as its flag said, and is here now.
            // Neither flag is set while they are swapped.
            self.full.store(true, Ordering::Release);
        }
    }

    /// Takes the value out.
    pub(crate) fn take(&mut self) -> Option<T> {
        // The flag falls before the value moves.
        self.full.swap(false, Ordering::AcqRel).then(|| {
            // SAFETY: The flag was set, so that by the invariants the value is initialised. It is
            // clear now, so that nobody reads or drops it again.
            unsafe { self.value.assume_init_read() }
        })
    }

    /// Drops the value.
    pub(crate) fn clear(&mut self) {
        drop(self.take());
    }

    /// The value.
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
