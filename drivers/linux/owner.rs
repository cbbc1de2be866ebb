// SPDX-License-Identifier: GPL-2.0

//! Exclusive access to the screen that a panic can take over, as the printk core takes over an
//! nbcon console (`CON_NBCON`).
//!
//! ```ignore
//! static SCREEN: Owned<Screen> = Owned::new(Screen::new());
//!
//! // In any context, if nobody uses it.
//! SCREEN.try_with(|screen| screen.draw());
//! // A task that may wait.
//! SCREEN.with(|screen, is_torn| if is_torn { screen.reset() });
//! // A panic.
//! SCREEN.take_over(false, |screen, is_torn| ..);
//! ```

use core::cell::UnsafeCell;

use kernel::{
    sync::atomic::{
        Acquire,
        Atomic,
        AtomicFlag,
        Relaxed,
        Release, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

use crate::linux::{
    bindings,
    clock::{
        begin_use,
        microseconds_since,
        ticks, //
    }, //
};

/// The time in microseconds that a panic waits for another CPU that owns the value, before it goes
/// on without the value.
const PANIC_WAIT_US: u64 = 1_000_000;
/// The time in microseconds that a panic waits at its last line. It is longer than one use of the
/// value may wait for the device; see [`Hal::wait`](crate::virtio::Hal::wait).
const LAST_PANIC_WAIT_US: u64 = 7_000_000;
/// The time in microseconds that [`Owned::with`] sleeps between two attempts.
const RETRY_US: i64 = 500;

/// A value that one context at a time may use, and that a panic can take over.
///
/// An emergency that finds the value owned gives up. A task with the console lock waits for it:
/// only emergencies, panics and the KMS driver, for short times, own the value without that lock.
pub(crate) struct Owned<T> {
    /// 0, [`DEAD`], or the context that owns the value; see [`context`].
    owner: Atomic<usize>,
    value: UnsafeCell<T>,
}

/// The owner has faulted, does not run again, and may have left the value half changed. No context
/// has this number, since it contains the address of a task.
const DEAD: usize = 1;

// SAFETY: `try_with()` and `with()` give the value to one context at a time, on any CPU: one atomic
// operation changes `owner` from 0 or DEAD to the context, and back when the context is done, with
// acquire and release ordering. Another task, and another level of interruption, has another
// number, so code that interrupts the owner does not take itself for the owner.
//
// `take_over()`, in a panic, takes the value at once from code that this CPU has interrupted, which
// does not continue before `take_over()` returns, and from DEAD, which does not continue at all
// (`mark_dead()`). It takes it from any owner as soon as no other CPU runs. A panic prints its
// first lines before it stops the other CPUs (`vpanic()` in kernel/panic.c); an owner on another
// CPU keeps the value then. Not every CPU can be stopped. `take_over()` takes the value from a CPU
// that runs at the panic's last line, after LAST_PANIC_WAIT_US: that CPU has exceeded the time of
// one use, so it hangs.
unsafe impl<T: Send> Sync for Owned<T> {}

impl<T> Owned<T> {
    /// Makes a value without an owner.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            owner: Atomic::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Runs `f` on the value if it has no owner; returns `None` otherwise. In any context.
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.acquire() != 0 {
            return None;
        }
        // SAFETY: `acquire()` has found no owner, and has stored this context as the owner.
        Some(unsafe { self.run(f) })
    }

    /// Waits until the value has no owner, and runs `f` on it. The second argument of `f` is true
    /// if the last owner has faulted, and may have left the value half changed.
    ///
    /// May sleep. The wait is bounded, since each use of the value is; see
    /// [`Hal::wait`](crate::virtio::Hal::wait).
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T, bool) -> R) -> R {
        let is_torn = loop {
            match self.acquire() {
                0 => break false,
                DEAD if self.acquire_from_dead() => break true,
                _ => fsleep(Delta::from_micros(RETRY_US)),
            }
        };
        // SAFETY: `acquire()` has found no owner, or `acquire_from_dead()` a dead one. Either has
        // stored this context as the owner.
        unsafe { self.run(|value| f(value, is_torn)) }
    }

    /// Takes the value over for a panic, and runs `f` on it. The second argument of `f` is true if
    /// the last owner may have left the value half changed.
    ///
    /// Returns `None` if another CPU owns the value and still runs. That CPU has [`PANIC_WAIT_US`]
    /// to finish, once. If this is the panic's `last` line, it has [`LAST_PANIC_WAIT_US`], after
    /// which the value is taken over.
    pub(crate) fn take_over<R>(&self, last: bool, f: impl FnOnce(&mut T, bool) -> R) -> Option<R> {
        static WAITED: AtomicFlag = AtomicFlag::new(false);

        let start = ticks();
        let is_torn = loop {
            let owner = self.acquire();
            // This task, or the code of it that was interrupted, does not continue before this
            // returns.
            let is_interrupted = owner & !LEVEL == context() & !LEVEL;
            if owner == 0 {
                break false;
            }
            let is_stopped = is_interrupted || panic_on_this_cpu() && is_only_cpu();
            if is_stopped || owner == DEAD && self.acquire_from_dead() {
                break true;
            }
            let waited = microseconds_since(start);
            if last && waited > LAST_PANIC_WAIT_US {
                break true;
            }
            if !last && (waited > PANIC_WAIT_US || WAITED.load(Relaxed)) {
                WAITED.store(true, Relaxed);
                return None;
            }
            core::hint::spin_loop();
        };
        self.owner.store(context(), Relaxed);
        // SAFETY: `owner` is this context since the line above. Before that the value had no owner,
        // or one that does not use it any more: see `impl Sync`.
        Some(unsafe { self.run(|value| f(value, is_torn)) })
    }

    /// Marks the owner as dead if it is this context, which has faulted and does not continue.
    /// Returns whether it was.
    pub(crate) fn mark_dead(&self) -> bool {
        (self.owner).cmpxchg(context(), DEAD, Release).is_ok()
    }

    /// Runs `f` on the value, and gives up ownership. It is one use of the screen; see
    /// [`begin_use`].
    ///
    /// # Safety
    ///
    /// `owner` is this context, and an earlier owner does not use the value any more.
    unsafe fn run<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        begin_use();
        // SAFETY: By the safety requirement there is no other reference, and nobody makes one
        // before `owner` is 0 again.
        let result = f(unsafe { &mut *self.value.get() });
        self.owner.store(0, Release);
        result
    }

    /// Makes this context the owner if the owner is dead. Returns whether that was so.
    fn acquire_from_dead(&self) -> bool {
        (self.owner).cmpxchg(DEAD, context(), Acquire).is_ok()
    }

    /// Makes this context the owner if there is none. Returns 0 then, and the other owner
    /// otherwise.
    fn acquire(&self) -> usize {
        let owner = (self.owner).cmpxchg(0, context(), Acquire);
        owner.err().unwrap_or(0)
    }
}

/// Returns whether this CPU panics.
pub(crate) fn panic_on_this_cpu() -> bool {
    // SAFETY: `panic_on_this_cpu()` (kernel/panic.c) compares an atomic with this CPU's number, and
    // may be called in any context.
    unsafe { bindings::panic_on_this_cpu() }
}

/// Returns whether the current context must not sleep: in a panic, or in an interrupt.
pub(crate) fn must_not_sleep() -> bool {
    panic_on_this_cpu() || context() & LEVEL != 0
}

/// Returns whether no other CPU is online any more.
pub(crate) fn is_only_cpu() -> bool {
    // SAFETY: The function reads the mask of the CPUs that are online, and may be called in any
    // context.
    unsafe { bindings::virtgpu_bridge_is_only_cpu() }
}

/// Returns whether the kernel prints an oops, or panics on this CPU.
pub(crate) fn oops_in_progress() -> bool {
    // SAFETY: `oops_in_progress` is a static of kernel/printk/printk.c: an aligned word, which is
    // read at once. Others may change it meanwhile, and either value will do.
    panic_on_this_cpu() || unsafe { (&raw const bindings::oops_in_progress).read_volatile() } != 0
}

/// The bits of [`context`] for the level of interruption.
const LEVEL: usize = 3;

/// Returns a number of the current context: the current task, which is the same on any CPU, and the
/// level of interruption (none, softirq, hardirq or NMI).
fn context() -> usize {
    // SAFETY: The function reads `current` and the preemption count of this CPU, in any context.
    unsafe { bindings::virtgpu_bridge_context() as usize }
}
