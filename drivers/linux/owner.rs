// SPDX-License-Identifier: GPL-2.0

//! One owner for the screen, whoever comes: the printk core, a bus being scanned, a dying CPU.

use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicUsize,
        Ordering, //
    },
};

use crate::linux::{
    bindings,
    shared::{
        microseconds_since,
        ticks, //
    },
};

/// How long somebody waits for another one who has the value, in microseconds.
const PATIENCE: u64 = 1_000_000;

/// A value that one context at a time may use, and a panicking CPU whatever happens.
///
/// An emergency goes away again if the value is taken. Who has the console lock, and changes what the value
/// is about, waits for it: only emergencies and panics are not kept out by that lock.
pub(crate) struct Owned<T> {
    /// 0, or the context that has the value, see [`context`].
    taken: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: `with()` hands the value to one context at a time. A CPU in panic, and `seize()`, take it from
// whom does not run again: what a panic interrupted, a CPU that is stopped by then, the dead. One that
// could not be stopped, nor gave the value back in time, is what a panic has to live with.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// A value that nobody has.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value, if it is free or this CPU panics.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.take() != 0 && !is_dying() {
            return None;
        }
        // SAFETY: The value is ours: it was free, or see `impl Sync`.
        let result = f(unsafe { &mut *self.value.get() });
        self.taken.store(0, Ordering::Release);
        Some(result)
    }

    /// As [`Owned::with`], but others have a second to give the value back.
    #[cfg(not(MODULE))]
    pub(crate) fn wait<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let begun = ticks();
        while self.taken.load(Ordering::Relaxed) != 0 && microseconds_since(begun) <= PATIENCE {
            core::hint::spin_loop();
        }
        self.with(f)
    }

    /// Runs `f` on the value, whoever has it: this CPU panics, or who has it `is_dead`. Others have a
    /// second to give it back. `f` learns whether the value is left as it was in the middle of something.
    pub(crate) fn seize<R>(&self, is_dead: bool, f: impl FnOnce(&mut T, bool) -> R) -> R {
        let begun = ticks();
        let torn = loop {
            let owner = self.take();
            // What this task was doing, or what interrupted it, does not go on before we return.
            let is_below = owner & !LEVEL == context() & !LEVEL;
            if owner == 0 || is_dead || is_below || microseconds_since(begun) > PATIENCE {
                break owner != 0;
            }
            core::hint::spin_loop();
        };
        self.taken.store(context(), Ordering::Relaxed);
        // SAFETY: The value is ours: it was free, or see `impl Sync`.
        let result = f(unsafe { &mut *self.value.get() }, torn);
        self.taken.store(0, Ordering::Release);
        result
    }

    /// Whether this very context has the value: a fault is one of its own.
    #[cfg(not(MODULE))]
    pub(crate) fn is_ours(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == context()
    }

    /// Takes the value if it is free. Returns who has it otherwise.
    fn take(&self) -> usize {
        let taken =
            (self.taken).compare_exchange(0, context(), Ordering::Acquire, Ordering::Relaxed);
        taken.err().unwrap_or(0)
    }
}

/// Whether this CPU panics.
pub(crate) fn is_dying() -> bool {
    // SAFETY: Asking has no requirements.
    unsafe { bindings::panic_on_this_cpu() }
}

/// Whether no other CPU runs any more.
#[cfg(not(MODULE))]
pub(crate) fn is_alone() -> bool {
    // SAFETY: Asking has no requirements.
    unsafe { bindings::virtgpu_alone() }
}

/// Whether the kernel says something urgent: an oops, or a panic on this CPU.
pub(crate) fn is_in_trouble() -> bool {
    // SAFETY: A word, whenever it is read.
    is_dying() || unsafe { (&raw const bindings::oops_in_progress).read_volatile() } != 0
}

/// The bits of [`context`] that are not the task's.
const LEVEL: usize = 3;

/// The current task, which stays the same on whatever CPU, and what interrupts it: nothing, a softirq,
/// an interrupt or an NMI.
fn context() -> usize {
    // SAFETY: Asking has no requirements.
    unsafe { bindings::virtgpu_context() as usize }
}
