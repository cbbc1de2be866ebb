// SPDX-License-Identifier: GPL-2.0

//! Our console without the console lock (`CON_NBCON`): what the printk core calls, from any
//! context.

use core::{
    ffi::c_void,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use kernel::ffi::{
    c_int,
    c_short,
    c_ulong, //
};

use crate::{
    console::nbcon::{
        self,
        Urgency, //
    },
    linux::{
        bindings,
        console::{
            self,
            Console, //
        },
        mutex::Mutex,
        notifier::Notifier, //
    }, //
};

static CONSOLE: Console = Console::new();
static REGISTERED: AtomicBool = AtomicBool::new(false);
static DEATHS: Notifier = Notifier::new(died);

/// Adds the console to the printk core's list, if it is not there. `all` wants the log from its
/// start.
pub(crate) fn register(all: bool) {
    let change = Mutex::Console.lock();
    if !REGISTERED.swap(true, Ordering::Relaxed) {
        let all = if all {
            bindings::cons_flags_CON_PRINTBUFFER
        } else {
            0
        };
        // SAFETY: The console is static. It is not on the list, as the flag says, which changes
        // with the mutex held, as it is here; for the same reason nobody else adds it. By that
        // mutex sleeping is allowed. The callbacks are called by the printk core alone. Beside what
        // is set the fields are numbers, pointers and optional functions, for which zeroes are
        // valid.
        unsafe {
            CONSOLE.register(bindings::console {
                write_atomic: Some(write_atomic),
                write_thread: Some(write_thread),
                device_lock: Some(device_lock),
                device_unlock: Some(device_unlock),
                flags: (bindings::cons_flags_CON_NBCON | all) as c_short,
                index: -1,
                ..core::mem::zeroed()
            });
        }
    }
    drop(change);
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: The notifier is static, and by the flag it is registered once.
        // `register_die_notifier()` (kernel/notifier.c) takes the lock of its list.
        unsafe { bindings::register_die_notifier(DEATHS.as_ptr().cast()) };
    }
}

/// Takes the console from the list, if it is there.
pub(crate) fn unregister() {
    let _change = Mutex::Console.lock();
    if REGISTERED.load(Ordering::Relaxed) {
        CONSOLE.unregister();
        REGISTERED.store(false, Ordering::Relaxed);
    }
}

/// # Safety
///
/// Called by `notify_die()`, for which arm64 has one caller: `die()` (arch/arm64/kernel/traps.c),
/// in the context that has faulted. It looks at nothing that it is passed.
unsafe extern "C" fn died(
    _: *mut kernel::bindings::notifier_block,
    _: c_ulong,
    _: *mut c_void,
) -> c_int {
    nbcon::faulted();
    0
}

/// Whether the command line, or the lack of another console, makes it the log's.
///
/// While the console is being registered the answer may be either.
pub(crate) fn is_wanted() -> bool {
    // SAFETY: The console is static. `Console::register()` writes -1 here, and then
    // `register_console()` (kernel/printk/printk.c) a number, if it is wanted, before the console
    // is on the list. No lock is held that would keep them from doing so at this time: the read is
    // volatile, of an aligned 16-bit word, so that it gives one of these values.
    unsafe { (&raw const (*CONSOLE.as_ptr()).index).read_volatile() >= 0 }
}

/// Writes the record that the printk core has at hand.
///
/// Only what it says of that is read while the console cannot be taken over: the screen has an
/// owner of its own, who is waited for, and can be begun again.
///
/// # Safety
///
/// `context` is what the printk core passes to `write_atomic()` or `write_thread()`
/// (`nbcon_emit_next_record()` and `nbcon_kdb_try_acquire()` in kernel/printk/nbcon.c): valid until
/// that returns, used by nobody else, and acquired for our console.
unsafe fn write(context: *mut bindings::nbcon_write_context) {
    // SAFETY: By the safety requirement. It returns false if another CPU has taken the console
    // over; then nothing may be done any more.
    if !unsafe { bindings::nbcon_enter_unsafe(context) } {
        return;
    }
    // SAFETY: By the safety requirement the context is valid, and a variable of this CPU's: who
    // takes the console over does not write to it.
    let (number, priority) = unsafe { ((*context).ctxt.seq, (*context).ctxt.prio) };
    let urgency = match priority {
        bindings::nbcon_prio_NBCON_PRIO_PANIC => Urgency::Panic,
        bindings::nbcon_prio_NBCON_PRIO_EMERGENCY => Urgency::Emergency,
        _ => Urgency::Normal,
    };
    // SAFETY: As above; `nbcon_enter_unsafe()` has returned true.
    if unsafe { bindings::nbcon_exit_unsafe(context) } {
        nbcon::write(urgency, number);
    }
}

/// # Safety
///
/// Called by the printk core, in any context, with a context as for [`write`].
unsafe extern "C" fn write_atomic(
    _: *mut bindings::console,
    context: *mut bindings::nbcon_write_context,
) {
    // SAFETY: By the safety requirement.
    unsafe { write(context) };
}

/// # Safety
///
/// Called by the printk core between [`device_lock`] and [`device_unlock`], with a context as for
/// [`write`].
unsafe extern "C" fn write_thread(
    _: *mut bindings::console,
    context: *mut bindings::nbcon_write_context,
) {
    // SAFETY: By the safety requirement.
    unsafe { write(context) };
}

/// Keeps those out who light the screen, or give it away: see [`console::locked`].
extern "C" fn device_lock(_: *mut bindings::console, _: *mut c_ulong) {
    console::lock_screen();
}

/// # Safety
///
/// Called by the printk core after [`device_lock`], by the same task: it calls both in one function
/// (`nbcon_emit_one()` in kernel/printk/nbcon.c, `register_console()` and
/// `unregister_console_locked()` in kernel/printk/printk.c).
unsafe extern "C" fn device_unlock(_: *mut bindings::console, _: c_ulong) {
    // SAFETY: By the safety requirement this task has the lock.
    unsafe { console::unlock_screen() };
}
