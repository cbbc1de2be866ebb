// SPDX-License-Identifier: GPL-2.0

//! One owner for the screen, whoever comes: the printk core, a bus being scanned, a dying CPU.

use core::{
    cell::UnsafeCell,
    sync::atomic::{
        AtomicUsize,
        Ordering, //
    },
};

#[cfg(not(MODULE))]
use core::sync::atomic::AtomicBool;

#[cfg(not(MODULE))]
use kernel::time::{
    delay::fsleep,
    Delta, //
};

#[cfg(not(MODULE))]
use crate::linux::shared::{
    microseconds_since,
    ticks, //
};
use crate::linux::{
    bindings,
    shared::begin_use, //
};

/// How long a panic waits for another CPU that has the value, in microseconds, before it leaves the
/// value for later.
#[cfg(not(MODULE))]
const PATIENCE: u64 = 1_000_000;
/// How long it waits at its end: for longer than a device is waited for in one use of the value
/// (see [`Hal::wait`](crate::virtio::Hal::wait)).
#[cfg(not(MODULE))]
const LAST_PATIENCE: u64 = 7_000_000;
/// How long somebody sleeps who waits for the value, in microseconds.
#[cfg(not(MODULE))]
const NAP: i64 = 500;

/// A value that one context at a time may use, and a panic whatever happens.
///
/// An emergency goes away again if the value is taken. Who has the console lock, and changes what
/// the value is about, waits for it: only emergencies and panics are not kept out by that lock.
pub(crate) struct Owned<T> {
    /// 0, [`DEAD`], or the context that has the value, see [`context`].
    taken: AtomicUsize,
    value: UnsafeCell<T>,
}

/// Who had the value does not run again, and has left it in the middle of something. No context's
/// number: a task has an address.
#[cfg(not(MODULE))]
const DEAD: usize = 1;

// SAFETY: `with()` and `wait()` hand the value to one context at a time, on any CPU: `taken` goes
// from 0, or DEAD, to the context by one atomic operation, and back when the context is done, with
// acquire and release ordering. Another task or another level of interruption has another number,
// so that what interrupts the owner does not take it for its own.
//
// `seize()`, for a kernel that dies, takes the value at once from what this CPU has interrupted,
// which does not go on before it returns, and from DEAD, who does not go on at all (`abandon()`).
// In a panic it takes it from anybody as soon as no other CPU runs. A panic prints its first lines
// before it stops the others (`vpanic()` in kernel/panic.c); then a CPU that has the value keeps
// it. Not every CPU can be stopped. From one that runs the value is taken at the panic's last line,
// after LAST_PATIENCE: it has not given the value back in the time in which it must, and so hangs.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// A value that nobody has.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value, if it is free.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.take() != 0 {
            return None;
        }
        // SAFETY: `take()` has found the value free, and has written this context to `taken`.
        Some(unsafe { self.run(f) })
    }

    /// As [`Owned::with`], but waits until the value is free. `f` learns whether it is left as it
    /// was in the middle of something, by who has died of it.
    ///
    /// Called where sleeping is allowed. A device bounds how long the value is had; see
    /// [`Hal::wait`](crate::virtio::Hal::wait).
    #[cfg(not(MODULE))]
    pub(crate) fn wait<R>(&self, f: impl FnOnce(&mut T, bool) -> R) -> R {
        let torn = loop {
            match self.take() {
                0 => break false,
                DEAD if self.inherit() => break true,
                _ => fsleep(Delta::from_micros(NAP)),
            }
        };
        // SAFETY: `take()` has found the value free, or `inherit()` has found its owner dead;
        // either has written this context to `taken`.
        unsafe { self.run(|value| f(value, torn)) }
    }

    /// Runs `f` on the value, for a kernel that panics. `f` learns whether the value is left as it
    /// was in the middle of something.
    ///
    /// Returns `None` if another CPU has the value, which still runs. It has a second to give it
    /// back, once; and more of them if this is the `last` time, when the value is taken in the end.
    #[cfg(not(MODULE))]
    pub(crate) fn seize<R>(&self, last: bool, f: impl FnOnce(&mut T, bool) -> R) -> Option<R> {
        static WAITED: AtomicBool = AtomicBool::new(false);

        let begun = ticks();
        let torn = loop {
            let owner = self.take();
            // What this task was doing, or what interrupted it, does not go on before we return.
            let is_below = owner & !LEVEL == context() & !LEVEL;
            if owner == 0 {
                break false;
            }
            let is_over = is_below || is_dying() && is_alone();
            if is_over || owner == DEAD && self.inherit() {
                break true;
            }
            let waited = microseconds_since(begun);
            if last && waited > LAST_PATIENCE {
                break true;
            }
            if !last && (waited > PATIENCE || WAITED.load(Ordering::Relaxed)) {
                WAITED.store(true, Ordering::Relaxed);
                return None;
            }
            core::hint::spin_loop();
        };
        self.taken.store(context(), Ordering::Relaxed);
        // SAFETY: `taken` says so since the line above. Before that the value was free, or was
        // somebody else's: see `impl Sync`.
        Some(unsafe { self.run(|value| f(value, torn)) })
    }

    /// This very context has faulted, and does not go on. If it has the value, others may take that
    /// from now on. Returns whether it has.
    #[cfg(not(MODULE))]
    pub(crate) fn abandon(&self) -> bool {
        (self.taken)
            .compare_exchange(context(), DEAD, Ordering::Release, Ordering::Relaxed)
            .is_ok()
    }

    /// Runs `f` on the value, and gives that back. It is one use of the screen; see [`begin_use`].
    ///
    /// # Safety
    ///
    /// `taken` says that this context has it, and whoever had it before does not use it any more.
    unsafe fn run<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        begin_use();
        // SAFETY: By the safety requirement nobody else has a reference, or makes one before
        // `taken` is 0 again.
        let result = f(unsafe { &mut *self.value.get() });
        self.taken.store(0, Ordering::Release);
        result
    }

    /// Takes the value from the dead.
    #[cfg(not(MODULE))]
    fn inherit(&self) -> bool {
        (self.taken)
            .compare_exchange(DEAD, context(), Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
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
    // SAFETY: `panic_on_this_cpu()` (kernel/panic.c) compares an atomic with this CPU's number, and
    // may be called in any context.
    unsafe { bindings::panic_on_this_cpu() }
}

/// Whether what runs here must not sleep: a panic, or what has interrupted something.
#[cfg(not(MODULE))]
pub(crate) fn must_not_sleep() -> bool {
    is_dying() || context() & LEVEL != 0
}

/// Whether no other CPU runs any more.
#[cfg(not(MODULE))]
pub(crate) fn is_alone() -> bool {
    // SAFETY: It looks at the bits of the CPUs that are online, and may be called in any context.
    unsafe { bindings::virtgpu_alone() }
}

/// Whether the kernel says something urgent: an oops, or a panic on this CPU.
pub(crate) fn is_in_trouble() -> bool {
    // SAFETY: A static of kernel/printk/printk.c: an aligned word, which is read at once. Others
    // may change it meanwhile, and either value will do.
    is_dying() || unsafe { (&raw const bindings::oops_in_progress).read_volatile() } != 0
}

/// The bits of [`context`] that are not the task's.
#[cfg(not(MODULE))]
const LEVEL: usize = 3;

/// The current task, which stays the same on whatever CPU, and what interrupts it: nothing, a
/// softirq, an interrupt or an NMI.
fn context() -> usize {
    // SAFETY: It reads `current` and the preemption count of this CPU, in any context.
    unsafe { bindings::virtgpu_context() as usize }
}
