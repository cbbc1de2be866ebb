// SPDX-License-Identifier: GPL-2.0

//! A legacy console (`write()` with the console lock held), which gets the log from its start.
//!
//! ```ignore
//! struct Log;
//!
//! impl LegacyConsole for Log {
//!     fn write(text: &[u8]) { .. }
//! }
//!
//! static CONSOLE: Registration<Log> = Registration::new();
//! ```

use core::marker::PhantomData;

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::linux::{
    bindings,
    console::{
        self,
        Console, //
    }, //
};

/// A console that writes text.
pub(crate) trait LegacyConsole {
    /// Writes text, with the console lock held, or without it in a panic or a debugger.
    fn write(text: &[u8]);
}

/// The registration of a console, for a static.
pub(crate) struct Registration<T> {
    console: Console,
    user: PhantomData<fn() -> T>,
}

impl<T: LegacyConsole> Registration<T> {
    /// Makes a console that is not registered.
    pub(crate) const fn new() -> Self {
        Self {
            console: Console::new(),
            user: PhantomData,
        }
    }

    /// Adds the console to the printk core's list. It gets the log so far at once. May sleep.
    ///
    /// # Safety
    ///
    /// The console is not on the list, and nobody else adds it now. The module is unloaded only
    /// after [`Registration::unregister`].
    pub(crate) unsafe fn register(&'static self) {
        // SAFETY: By the safety requirement. The console is static. The printk core alone calls
        // `write()`. The other fields are numbers, pointers and optional functions, for which
        // zeroes are valid.
        unsafe {
            self.console.register(bindings::console {
                write: Some(write::<T>),
                flags: bindings::cons_flags_CON_PRINTBUFFER as c_short,
                ..core::mem::zeroed()
            });
        }
    }

    /// Returns the sequence number of the record that is written now, or written next. It is exact
    /// with the console lock held.
    pub(crate) fn seq(&self) -> u64 {
        self.console.seq()
    }

    /// Removes the console from the list. [`LegacyConsole::write`] does not run any more when this
    /// returns. May sleep.
    pub(crate) fn unregister(&self) {
        self.console.unregister();
    }
}

/// Passes the text to [`LegacyConsole::write`].
///
/// # Safety
///
/// Called by the printk core as a console's `write()`, with the start of `count` bytes.
unsafe extern "C" fn write<T: LegacyConsole>(
    _: *mut bindings::console,
    text: *const c_char,
    count: c_uint,
) {
    // SAFETY: By the safety requirement the bytes do not change before this returns, and
    // `LegacyConsole::write()` cannot keep a reference.
    T::write(unsafe { console::text(text, count) });
}
