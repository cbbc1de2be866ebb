// SPDX-License-Identifier: GPL-2.0

//! The printk core's consoles.

use core::cell::UnsafeCell;

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::linux::bindings;

/// Runs `f` with the console lock held, so that no console prints meanwhile.
pub(crate) fn locked<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: Called where sleeping is allowed: from initcalls, PCI fixups, probes and work.
    unsafe { bindings::console_lock() };
    #[cfg(not(MODULE))]
    lock_screen();
    let result = f();
    #[cfg(not(MODULE))]
    // SAFETY: Taken above.
    unsafe {
        unlock_screen()
    };
    // SAFETY: Taken above.
    unsafe { bindings::console_unlock() };
    result
}

/// Keeps the thread out that prints without the console lock.
#[cfg(not(MODULE))]
pub(crate) fn lock_screen() {
    // SAFETY: Called where sleeping is allowed.
    unsafe { bindings::virtgpu_lock_screen() };
}

/// The end of [`lock_screen`].
///
/// # Safety
///
/// The caller has called that.
#[cfg(not(MODULE))]
pub(crate) unsafe fn unlock_screen() {
    // SAFETY: By the safety requirement.
    unsafe { bindings::virtgpu_unlock_screen() };
}

/// A console that the printk core has in its list, or shall have.
pub(crate) struct Console(UnsafeCell<bindings::console>);

// SAFETY: Between `register()` and `unregister()` the printk core uses it, under its own locks;
// otherwise he who calls these two.
unsafe impl Sync for Console {}

impl Console {
    /// A console that is not registered.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(bindings::console {
            index: -1,
            // SAFETY: Numbers, null pointers, and `None`.
            ..unsafe { core::mem::zeroed() }
        }))
    }

    /// What the printk core knows it by.
    pub(crate) fn as_ptr(&self) -> *mut bindings::console {
        self.0.get()
    }

    /// Adds it to the printk core's list, enabled already: nobody has to name it on the command
    /// line.
    ///
    /// # Safety
    ///
    /// It is not on the list, and nobody else adds it now. The callbacks in `console` are sound.
    pub(crate) unsafe fn register(&self, mut console: bindings::console) {
        for (to, &from) in console.name.iter_mut().zip(b"virtgpu") {
            *to = from;
        }
        console.flags |= bindings::cons_flags_CON_ENABLED as c_short;
        // SAFETY: By the safety requirements.
        unsafe {
            self.0.get().write(console);
            bindings::register_console(self.0.get());
        }
    }

    /// Takes it from the list; nobody is in its callbacks when this returns. If it is not on the
    /// list, nothing happens.
    pub(crate) fn unregister(&self) {
        // SAFETY: A console that is, or is not, on the list. Its work is done when it can be
        // registered again.
        unsafe {
            bindings::unregister_console(self.0.get());
            bindings::irq_work_sync(&raw mut (*self.0.get()).irq_work);
        }
    }
}

/// Whether a console prints.
///
/// # Safety
///
/// A valid one.
#[cfg(not(MODULE))]
pub(crate) unsafe fn is_enabled(console: *const bindings::console) -> bool {
    // SAFETY: By the safety requirement.
    let flags = unsafe { (&raw const (*console).flags).read_volatile() };
    flags & bindings::cons_flags_CON_ENABLED as c_short != 0
}

/// Names a console, as `console=` on the command line does: it is enabled when it registers, and is
/// `/dev/console` unless another one is named after it. For initcalls, one at a time.
#[cfg(not(MODULE))]
pub(crate) fn name(console: crate::firmware::consoles::Console<'_>) {
    use kernel::str::CStrExt;

    let mut name = [0; 16];
    let bytes = console.name.as_bytes();
    match name.get_mut(..bytes.len()) {
        // One byte at least is left for the end of the string.
        Some(to) if bytes.len() < 16 => to.copy_from_slice(bytes),
        _ => return,
    }
    // SAFETY: The name is a terminated string, which is copied. The options are one that is never
    // written to and stays, and are kept only for a console that was not named before.
    unsafe {
        let options = c"".as_char_ptr().cast_mut();
        bindings::add_preferred_console(name.as_ptr().cast(), console.index, options.cast());
    }
}

/// Whether there is an early console that is not ours.
#[cfg(not(MODULE))]
pub(crate) fn has_other_early_console() -> bool {
    any(|console| {
        // SAFETY: A console on the list.
        let flags = unsafe { (&raw const (*console).flags).read_volatile() };
        flags & bindings::cons_flags_CON_BOOT as c_short != 0
            && !crate::linux::earlycon::is(console)
    })
}

/// Whether `f` is true of a console on the list.
#[cfg(not(MODULE))]
fn any(mut f: impl FnMut(*const bindings::console) -> bool) -> bool {
    let mut found = false;
    // SAFETY: Any context will do. The list is read as `for_each_console_srcu()` does it.
    unsafe {
        let cookie = bindings::console_srcu_read_lock();
        let mut node = (&raw const bindings::console_list.first).read_volatile();
        while !node.is_null() && !found {
            let console = node
                .byte_sub(core::mem::offset_of!(bindings::console, node))
                .cast::<bindings::console>();
            found = f(console);
            node = (&raw const (*node).next).read_volatile();
        }
        bindings::console_srcu_read_unlock(cookie);
    }
    found
}

/// The number of the record that the virtual terminal's console prints next, if there is one.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) fn terminal_is_at() -> Option<u64> {
    let mut found = None;
    any(|console| {
        // SAFETY: A console on the list.
        unsafe {
            if (*console).name.starts_with(b"tty\0") && is_enabled(console) {
                found = Some((&raw const (*console).seq).read_volatile());
            }
        }
        false
    });
    found
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
