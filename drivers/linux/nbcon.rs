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
    linux::{
        bindings,
        console::{
            self,
            Console, //
        },
        mutex::Mutex,
        notifier::Notifier, //
    },
    stages::panic::{
        self,
        Urgency, //
    },
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
        // SAFETY: It is not on the list, as the flag says, and the callbacks are sound. Beside what
        // is set, these are numbers, null pointers, and `None`.
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
        // SAFETY: The notifier is static, and registered once.
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
/// Called by `die()`, in the context that has faulted.
unsafe extern "C" fn died(
    _: *mut kernel::bindings::notifier_block,
    _: c_ulong,
    _: *mut c_void,
) -> c_int {
    panic::faulted();
    0
}

/// Whether the command line, or the lack of another console, makes it the log's.
pub(crate) fn is_wanted() -> bool {
    // SAFETY: A number, which is set at registration.
    unsafe { (&raw const (*CONSOLE.as_ptr()).index).read_volatile() >= 0 }
}

/// Writes the record that the printk core has at hand.
///
/// Only what it says of that is read while the console cannot be taken over: the screen has an
/// owner of its own, who is waited for, and can be begun again.
///
/// # Safety
///
/// Called by the printk core with a context that owns the console.
unsafe fn write(context: *mut bindings::nbcon_write_context) {
    // SAFETY: By the safety requirement. If the console was lost, nothing may be done any more.
    if !unsafe { bindings::nbcon_enter_unsafe(context) } {
        return;
    }
    // SAFETY: By the safety requirement.
    let (number, priority) = unsafe { ((*context).ctxt.seq, (*context).ctxt.prio) };
    let urgency = match priority {
        bindings::nbcon_prio_NBCON_PRIO_PANIC => Urgency::Panic,
        bindings::nbcon_prio_NBCON_PRIO_EMERGENCY => Urgency::Emergency,
        _ => Urgency::Normal,
    };
    // SAFETY: As above.
    if unsafe { bindings::nbcon_exit_unsafe(context) } {
        panic::write(urgency, number);
    }
}

/// # Safety
///
/// Called by the printk core with a context that owns the console.
unsafe extern "C" fn write_atomic(
    _: *mut bindings::console,
    context: *mut bindings::nbcon_write_context,
) {
    // SAFETY: As it is called.
    unsafe { write(context) };
}

/// # Safety
///
/// Called by the console's thread with a context that owns the console.
unsafe extern "C" fn write_thread(
    _: *mut bindings::console,
    context: *mut bindings::nbcon_write_context,
) {
    // SAFETY: As it is called.
    unsafe { write(context) };
}

/// Keeps those out who light the screen, or give it away: see [`console::locked`].
extern "C" fn device_lock(_: *mut bindings::console, _: *mut c_ulong) {
    console::lock_screen();
}

/// # Safety
///
/// Called by the printk core after [`device_lock`].
unsafe extern "C" fn device_unlock(_: *mut bindings::console, _: c_ulong) {
    // SAFETY: As it is called.
    unsafe { console::unlock_screen() };
}
