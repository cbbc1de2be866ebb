// SPDX-License-Identifier: GPL-2.0

//! The printk core's consoles.

use core::cell::UnsafeCell;

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::linux::bindings;

/// Runs `f` with the console lock held, and the lock of [`lock_screen`]. Meanwhile no console of
/// the older kind (`write()`) prints, the virtual terminal and the early console among them, nor
/// does the thread of ours. Other consoles without the console lock (`CON_NBCON`) go on, and an
/// emergency or a panic may still come to ours ([`nbcon`](crate::linux::nbcon)): whoever uses the
/// screen takes it from its owner ([`owner`](crate::linux::owner)) as well.
///
/// Called where sleeping is allowed.
pub(crate) fn locked<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: `console_lock()` (kernel/printk/printk.c) may sleep, which it may here: callers are
    // initcalls, PCI fixups while a bus is scanned, callbacks of the driver core and the PM core,
    // and work items. None of them has the lock.
    unsafe { bindings::console_lock() };
    #[cfg(not(MODULE))]
    lock_screen();
    let result = f();
    #[cfg(not(MODULE))]
    // SAFETY: `lock_screen()` above has taken it for this task.
    unsafe {
        unlock_screen()
    };
    // SAFETY: `console_lock()` above has taken it for this task.
    unsafe { bindings::console_unlock() };
    result
}

/// Keeps out whoever prints on our console by `write_thread()`, without the console lock. Called
/// where sleeping is allowed.
#[cfg(not(MODULE))]
pub(crate) fn lock_screen() {
    // SAFETY: `virtgpu_lock_screen()` takes a mutex, which may sleep. It may here: the callers are
    // `locked()`, and the printk core's `device_lock()`, which it calls in our console's thread, in
    // `register_console()`, in `unregister_console()`, and when `console_unlock()` may sleep.
    unsafe { bindings::virtgpu_lock_screen() };
}

/// The end of [`lock_screen`].
///
/// # Safety
///
/// This task has called [`lock_screen`], and not this function since.
#[cfg(not(MODULE))]
pub(crate) unsafe fn unlock_screen() {
    // SAFETY: By the safety requirement this task has the mutex, and has disabled migration.
    unsafe { bindings::virtgpu_unlock_screen() };
}

/// A console that the printk core has in its list, or shall have.
pub(crate) struct Console(UnsafeCell<bindings::console>);

// SAFETY: All of it is written by `register()` before the printk core knows it, which nobody else
// calls at the same time by its safety requirement. From `register_console()` on the printk core
// writes it, under the mutex of its list (`console_list_lock()`), the console lock, or by atomic
// operations, until `unregister_console()` has returned. We only read single words of it then, for
// which any value will do that was ever there: see `is_enabled()` and `nbcon::is_wanted()`.
unsafe impl Sync for Console {}

impl Console {
    /// A console that is not registered.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(bindings::console {
            index: -1,
            // SAFETY: The fields are numbers, arrays of them, lists, pointers and optional
            // functions, for which zeroes are valid.
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
    /// It is static, and not on the list, and nobody else adds it now. Sleeping is allowed. The
    /// callbacks in `console` may be called by the printk core as `struct console` says.
    pub(crate) unsafe fn register(&self, mut console: bindings::console) {
        for (to, &from) in console.name.iter_mut().zip(b"virtgpu") {
            *to = from;
        }
        console.flags |= bindings::cons_flags_CON_ENABLED as c_short;
        // SAFETY: By the safety requirement the console is static, the printk core does not know it
        // yet, or not any more, nobody else writes it, and `register_console()`
        // (kernel/printk/printk.c) may sleep.
        unsafe {
            self.0.get().write(console);
            bindings::register_console(self.0.get());
        }
    }

    /// Takes it from the list; nobody is in its callbacks when this returns. If it is not on the
    /// list, nothing happens.
    pub(crate) fn unregister(&self) {
        // SAFETY: `unregister_console()` (kernel/printk/printk.c) leaves a console alone that is
        // not on the list, but for its flag CON_ENABLED. It waits until nobody walks the list any
        // more (`synchronize_srcu()`), and ends the console's thread: so nobody is in a callback.
        // Its `irq_work`, zeroes if it was never used, may be queued still, and is waited for:
        // `register()` writes over it. Both may sleep, which they may where a console goes.
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
/// It points to a console that is not freed before this returns.
#[cfg(not(MODULE))]
pub(crate) unsafe fn is_enabled(console: *const bindings::console) -> bool {
    // SAFETY: By the safety requirement. The printk core may change the flags meanwhile
    // (`console_srcu_write_flags()`): the read is volatile, of an aligned 16-bit word, as
    // `console_srcu_read_flags()` (include/linux/console.h) does it.
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
    // SAFETY: `__add_preferred_console()` (kernel/printk/printk.c) copies the name, which ends with
    // a zero. It keeps the pointer to the options, a static string; a console's `setup()` gets it,
    // and none writes to the empty string. It takes no lock: only initcalls call this, which the
    // boot CPU runs one after the other.
    unsafe {
        let options = c"".as_char_ptr().cast_mut();
        bindings::add_preferred_console(name.as_ptr().cast(), console.index, options.cast());
    }
}

/// Whether there is an early console that is not ours.
#[cfg(not(MODULE))]
pub(crate) fn has_other_early_console() -> bool {
    any(|console| {
        // SAFETY: `any()` keeps the console valid as long as this runs. The flags are read as
        // in `is_enabled()`.
        let flags = unsafe { (&raw const (*console).flags).read_volatile() };
        flags & bindings::cons_flags_CON_BOOT as c_short != 0
            && !crate::linux::earlycon::is(console)
    })
}

/// Whether `f` is true of a console on the list, which `f` gets valid until it returns. From any
/// context.
#[cfg(not(MODULE))]
fn any(mut f: impl FnMut(*const bindings::console) -> bool) -> bool {
    let mut found = false;
    // SAFETY: `console_srcu_read_lock()` (kernel/printk/printk.c) may be called in any context, NMI
    // included (`srcu_read_lock_nmisafe()`), and before SRCU is initialised. Until it is given up,
    // `unregister_console()` does not return, and a console that was on the list is valid. The list
    // is read as `for_each_console_srcu()` (include/linux/console.h) does it: pointers are read
    // once and followed, which arm64 does in this order. A node is part of its console.
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
        // SAFETY: `any()` keeps the console valid as long as this runs. Its name does not change
        // while it is on the list. `seq` may change meanwhile: the read is volatile, of an aligned
        // word, and a value that is old already is none the worse.
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
/// `text` is null, or the start of `count` bytes which do not change as long as `'t`, as the printk
/// core passes them to a console's `write()` (`console_emit_next_record()` in
/// kernel/printk/printk.c).
pub(crate) unsafe fn text<'t>(text: *const c_char, count: c_uint) -> &'t [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: By the safety requirement the bytes are there and initialised, and nobody writes them
    // before the callback returns.
    unsafe { core::slice::from_raw_parts(text.cast(), count as usize) }
}
