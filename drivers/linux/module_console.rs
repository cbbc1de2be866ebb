// SPDX-License-Identifier: GPL-2.0

//! The module's console: a regular one, which gets the log from its start.

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::{
    linux::{
        bindings,
        console::{
            self,
            Console, //
        },
    },
    stages::module, //
};

static CONSOLE: Console = Console::new();

/// Adds the console to the printk core's list; [`module::write`] gets the log so far at once.
///
/// # Safety
///
/// It is not on the list, and nobody else adds it now.
pub(crate) unsafe fn register() {
    // SAFETY: By the safety requirement; `write()` is sound. Beside what is set, these are numbers,
    // null pointers, and `None`.
    unsafe {
        CONSOLE.register(bindings::console {
            write: Some(write),
            flags: bindings::cons_flags_CON_PRINTBUFFER as c_short,
            ..core::mem::zeroed()
        });
    }
}

/// Takes the console from the list; nobody is in [`module::write`] when this returns.
pub(crate) fn unregister() {
    CONSOLE.unregister();
}

/// # Safety
///
/// Called by the printk core as a console's `write()`.
unsafe extern "C" fn write(_: *mut bindings::console, text: *const c_char, count: c_uint) {
    // SAFETY: As it is called.
    module::write(unsafe { console::text(text, count) });
}
