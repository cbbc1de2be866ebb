// SPDX-License-Identifier: GPL-2.0

//! The module's console: a regular one, which gets the log from its start.

use core::cell::UnsafeCell;

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::{
    linux::{
        bindings,
        console, //
    },
    stages::module, //
};

struct Console(UnsafeCell<bindings::console>);

// SAFETY: Between `register()` and `unregister()` the printk core uses it, under its own locks;
// otherwise he who calls these two.
unsafe impl Sync for Console {}

static CONSOLE: Console = Console(UnsafeCell::new({
    // SAFETY: Numbers, null pointers, and `None`.
    unsafe { core::mem::zeroed() }
}));

/// Adds the console to the printk core's list; [`module::write`] gets the log so far at once.
///
/// # Safety
///
/// It is not on the list, and nobody else adds it now.
pub(crate) unsafe fn register() {
    let mut name = [0; 16];
    for (to, &from) in name.iter_mut().zip(b"virtgpu") {
        *to = from;
    }
    // SAFETY: Nobody uses it. Beside what is set, these are numbers, null pointers, and `None`.
    unsafe {
        *CONSOLE.0.get() = bindings::console {
            name,
            write: Some(write),
            // Enabled already: nobody has to name it on the command line.
            flags: (bindings::cons_flags_CON_PRINTBUFFER | bindings::cons_flags_CON_ENABLED)
                as c_short,
            ..core::mem::zeroed()
        };
        bindings::register_console(CONSOLE.0.get());
    }
}

/// Takes the console from the list; nobody is in [`module::write`] when this returns.
pub(crate) fn unregister() {
    // SAFETY: If it is not on the list, nothing happens.
    unsafe { bindings::unregister_console(CONSOLE.0.get()) };
}

/// # Safety
///
/// Called by the printk core as a console's `write()`.
unsafe extern "C" fn write(_: *mut bindings::console, text: *const c_char, count: c_uint) {
    // SAFETY: As it is called.
    module::write(unsafe { console::text(text, count) });
}
