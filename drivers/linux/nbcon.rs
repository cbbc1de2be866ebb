// SPDX-License-Identifier: GPL-2.0

//! A console without the console lock (CON_NBCON), which the printk core calls in any context.
//!
//! ```ignore
//! struct Nbcon;
//!
//! impl NbconConsole for Nbcon {
//!     fn write(priority: Priority, seq: u64) { .. }
//! }
//!
//! static CONSOLE: Registration<Nbcon> = Registration::new();
//!
//! CONSOLE.register(false);
//! ```

use core::marker::PhantomData;

use kernel::{
    ffi::{
        c_short,
        c_ulong, //
    },
    sync::atomic::{
        AtomicFlag,
        Relaxed, //
    }, //
};

use crate::linux::{
    bindings,
    console::{
        self,
        Console, //
    },
    mutex::Mutex, //
};

/// The priority with which the printk core acquires the console (`enum nbcon_prio`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A normal message.
    Normal,
    /// A message of an oops, a warning, a lockup or a stall.
    Emergency,
    /// A message of a panic.
    Panic,
}

/// The callback of a console that is notified of each record.
pub(crate) trait NbconConsole {
    /// Prints the record `seq`, or all records up to it. In any context: with
    /// [`console::lock_thread`] held if the printk core calls the console's thread.
    fn write(priority: Priority, seq: u64);
}

/// The registration of a console, for a static.
pub(crate) struct Registration<T> {
    console: Console,
    is_registered: AtomicFlag,
    user: PhantomData<fn() -> T>,
}

impl<T: NbconConsole> Registration<T> {
    /// Makes a console that is not registered.
    pub(crate) const fn new() -> Self {
        Self {
            console: Console::new(),
            is_registered: AtomicFlag::new(false),
            user: PhantomData,
        }
    }

    /// Adds the console to the printk core's list, unless it is there. `from_start` makes it print
    /// the log from its start. May sleep.
    pub(crate) fn register(&'static self, from_start: bool) {
        let _guard = Mutex::Console.lock();
        if self.is_registered.xchg(true, Relaxed) {
            return;
        }
        let start = match from_start {
            true => bindings::cons_flags_CON_PRINTBUFFER,
            false => 0,
        };
        // SAFETY: The console is static. The flag, which changes only with the mutex held, says
        // that it is not on the list; for the same reason nobody else adds it now. The printk core
        // alone calls the callbacks. The other fields are numbers, pointers and optional functions,
        // for which zeroes are valid.
        unsafe {
            self.console.register(bindings::console {
                write_atomic: Some(write_atomic::<T>),
                write_thread: Some(write_thread::<T>),
                device_lock: Some(device_lock),
                device_unlock: Some(device_unlock),
                flags: (bindings::cons_flags_CON_NBCON | start) as c_short,
                index: -1,
                ..core::mem::zeroed()
            });
        }
    }

    /// Removes the console from the list, if it is there. No callback of it runs when this returns.
    /// May sleep.
    pub(crate) fn unregister(&self) {
        let _guard = Mutex::Console.lock();
        if self.is_registered.load(Relaxed) {
            self.console.unregister();
            self.is_registered.store(false, Relaxed);
        }
    }

    /// Returns whether the console is to print the log, because the command line names it or
    /// because there is no other console. In any context. While the console is being registered,
    /// the result may be either.
    pub(crate) fn is_preferred(&self) -> bool {
        // SAFETY: The console is static. `Console::register()` writes -1 here, and then
        // `register_console()` (kernel/printk/printk.c) a number, if the console is preferred,
        // before it is on the list. No lock keeps them from doing so now: the read is volatile, of
        // an aligned 16-bit word, so it gives one of these values.
        unsafe { (&raw const (*self.console.as_ptr()).index).read_volatile() >= 0 }
    }
}

/// Passes the priority and the sequence number of the current record on to `T`.
///
/// Only these two are read while the console cannot be taken over. The screen has an owner of its
/// own (`linux::owner`), and can be brought up again.
///
/// # Safety
///
/// `context` is the one that the printk core passes to `write_atomic()` or `write_thread()`
/// (`nbcon_emit_next_record()` and `nbcon_kdb_try_acquire()` in kernel/printk/nbcon.c): valid until
/// that returns, used by nobody else, and acquired for this console.
unsafe fn write<T: NbconConsole>(context: *mut bindings::nbcon_write_context) {
    // SAFETY: By the safety requirement. It returns false if another CPU has taken the console
    // over; then nothing may be done any more.
    if !unsafe { bindings::nbcon_enter_unsafe(context) } {
        return;
    }
    // SAFETY: By the safety requirement the context is valid. It is a variable of this CPU's: a CPU
    // that takes the console over does not write to it.
    let (seq, priority) = unsafe { ((*context).ctxt.seq, (*context).ctxt.prio) };
    let priority = match priority {
        bindings::nbcon_prio_NBCON_PRIO_PANIC => Priority::Panic,
        bindings::nbcon_prio_NBCON_PRIO_EMERGENCY => Priority::Emergency,
        _ => Priority::Normal,
    };
    // SAFETY: As above; `nbcon_enter_unsafe()` has returned true.
    if unsafe { bindings::nbcon_exit_unsafe(context) } {
        T::write(priority, seq);
    }
}

/// Prints the current record, in any context.
///
/// # Safety
///
/// Called by the printk core, in any context, with a context as for [`write`].
unsafe extern "C" fn write_atomic<T: NbconConsole>(
    _: *mut bindings::console,
    context: *mut bindings::nbcon_write_context,
) {
    // SAFETY: By the safety requirement.
    unsafe { write::<T>(context) };
}

/// Prints the current record, in the thread of the console.
///
/// # Safety
///
/// Called by the printk core between [`device_lock`] and [`device_unlock`], with a context as for
/// [`write`].
unsafe extern "C" fn write_thread<T: NbconConsole>(
    _: *mut bindings::console,
    context: *mut bindings::nbcon_write_context,
) {
    // SAFETY: By the safety requirement.
    unsafe { write::<T>(context) };
}

/// Excludes tasks that bring the screen up or give it away: see [`console::locked`].
extern "C" fn device_lock(_: *mut bindings::console, _: *mut c_ulong) {
    console::lock_thread();
}

/// Undoes [`device_lock`].
///
/// # Safety
///
/// Called by the printk core after [`device_lock`], by the same task: it calls both in one function
/// (`nbcon_emit_one()` in kernel/printk/nbcon.c, `register_console()` and
/// `unregister_console_locked()` in kernel/printk/printk.c).
unsafe extern "C" fn device_unlock(_: *mut bindings::console, _: c_ulong) {
    // SAFETY: By the safety requirement this task has the lock.
    unsafe { console::unlock_thread() };
}
