// SPDX-License-Identifier: GPL-2.0

//! The printk core's consoles.

use kernel::ffi::{
    c_char,
    c_uint, //
};

use crate::linux::bindings;

/// Runs `f` with the console lock held, so that no console prints meanwhile.
pub(crate) fn locked<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Called where sleeping is allowed: from initcalls, PCI fixups, probes and work.
    unsafe { bindings::console_lock() };
    let result = f();
    // SAFETY: Taken above.
    unsafe { bindings::console_unlock() };
    result
}

/// The text of a console's `write()` callback.
///
/// # Safety
///
/// As the printk core calls it: `text` is the start of `count` bytes.
pub(crate) unsafe fn text<'t>(text: *const c_char, count: c_uint) -> &'t [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: By the safety requirement.
    unsafe { core::slice::from_raw_parts(text.cast(), count as usize) }
}
