// SPDX-License-Identifier: GPL-2.0

//! The module's console: a regular one, which gets the log from its start.

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::{
    console::module,
    linux::{
        bindings,
        console::{
            self,
            Console, //
        }, //
    }, //
};

static CONSOLE: Console = Console::new();

/// Adds the console to the printk core's list; [`module::write`] gets the log so far at once.
///
/// # Safety
///
/// It is not on the list, and nobody else adds it now. Sleeping is allowed.
pub(crate) unsafe fn register() {
    // SAFETY: By the safety requirement; the console is static, and the module goes after
    // `unregister()` has taken it from the list. `write()` is called by the printk core alone.
    // Beside what is set the fields are numbers, pointers and optional functions, for which zeroes
    // are valid.
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
/// Called by the printk core as a console's `write()`, with the start of `count` bytes.
unsafe extern "C" fn write(_: *mut bindings::console, text: *const c_char, count: c_uint) {
    // SAFETY: By the safety requirement; `module::write()` keeps nothing of the text.
    module::write(unsafe { console::text(text, count) });
}
