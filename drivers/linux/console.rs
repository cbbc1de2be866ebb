// SPDX-License-Identifier: GPL-2.0

//! Consoles of the printk core, and the console lock.

use core::{
    cell::UnsafeCell,
    marker::PhantomData,
    ops::Deref, //
};

use kernel::ffi::{
    c_char,
    c_short,
    c_uint, //
};

use crate::linux::bindings;

/// A proof that the console lock is held.
///
/// # Invariants
///
/// This context holds the console lock as long as the value exists.
pub(crate) struct ConsoleLock(Locked);

impl ConsoleLock {
    /// Makes a proof.
    ///
    /// # Safety
    ///
    /// This context holds the console lock as long as the value exists.
    #[cfg(all(CONFIG_VT, not(MODULE)))]
    pub(crate) unsafe fn new() -> Self {
        // INVARIANT: By the safety requirement.
        Self(Locked(PhantomData))
    }
}

impl Deref for ConsoleLock {
    type Target = Locked;

    fn deref(&self) -> &Locked {
        &self.0
    }
}

/// A proof that the console lock is held, or that nothing else uses the data that it guards.
///
/// # Invariants
///
/// As long as the value exists, one of these holds:
///
/// * This context holds the console lock.
/// * The kernel prints without the lock, in a panic (`console_flush_on_panic()`) or a debugger
///   (`kdb_msg_write()`): the other CPUs are stopped, and the code that this CPU has interrupted
///   does not continue before the value is gone.
pub(crate) struct Locked(PhantomData<*mut ()>);

impl Locked {
    /// Makes a proof.
    ///
    /// # Safety
    ///
    /// The invariants hold as long as the value exists.
    #[cfg(all(CONFIG_VT, not(MODULE)))]
    pub(crate) unsafe fn new() -> Self {
        // INVARIANT: By the safety requirement.
        Self(PhantomData)
    }
}

/// Tries to take the console lock, and runs `f` with it held; returns `None` if another context
/// holds it. Called by tasks only.
#[cfg(not(MODULE))]
pub(crate) fn try_locked<R>(f: impl FnOnce(&ConsoleLock) -> R) -> Option<R> {
    // SAFETY: `console_trylock()` (kernel/printk/printk.c) may be called by a task.
    if unsafe { bindings::console_trylock() } == 0 {
        return None;
    }
    // INVARIANT: The lock is held until `f` returns, and the token does not live longer.
    let result = f(&ConsoleLock(Locked(PhantomData)));
    // SAFETY: `console_trylock()` above has taken it in this task.
    unsafe { bindings::console_unlock() };
    Some(result)
}

/// Runs `f` with the console lock held, and the lock of [`lock_thread`]. Meanwhile no legacy
/// console (with `write()`) prints, the virtual terminal and the early console included, and the
/// thread of the driver's nbcon console does not either. Other nbcon consoles go on, and an
/// emergency or a panic may still call the driver's ([`nbcon`](crate::linux::nbcon)). So users of
/// the screen own it as well ([`owner`](crate::linux::owner)).
///
/// May sleep. The caller does not hold the console lock.
pub(crate) fn locked<R>(f: impl FnOnce(&ConsoleLock) -> R) -> R {
    // SAFETY: `console_lock()` (kernel/printk/printk.c) may sleep. The callers may: they are
    // initcalls, PCI fixups while a bus is scanned, callbacks of the driver core and the PM core,
    // and work items. None of them holds the lock.
    unsafe { bindings::console_lock() };
    #[cfg(not(MODULE))]
    lock_thread();
    // INVARIANT: The lock is held until `f` returns, and the token does not live longer.
    let result = f(&ConsoleLock(Locked(PhantomData)));
    #[cfg(not(MODULE))]
    // SAFETY: `lock_thread()` above has taken it in this task.
    unsafe {
        unlock_thread()
    };
    // SAFETY: `console_lock()` above has taken it in this task.
    unsafe { bindings::console_unlock() };
    result
}

/// Keeps the printk core from calling `write_thread()` of the driver's console, for which it does
/// not take the console lock. May sleep.
#[cfg(not(MODULE))]
pub(crate) fn lock_thread() {
    // SAFETY: The function takes a mutex, which may sleep. The callers may: they are `locked()`,
    // and the console's `device_lock()`, which the printk core calls in the console's thread, in
    // `register_console()`, in `unregister_console()`, and when `console_unlock()` may sleep.
    unsafe { bindings::virtgpu_bridge_lock_thread() };
}

/// Undoes [`lock_thread`].
///
/// # Safety
///
/// This task has called [`lock_thread`], and not this function since.
#[cfg(not(MODULE))]
pub(crate) unsafe fn unlock_thread() {
    // SAFETY: By the safety requirement this task has the mutex, and has disabled migration.
    unsafe { bindings::virtgpu_bridge_unlock_thread() };
}

/// A console of the printk core, for a static.
pub(crate) struct Console(UnsafeCell<bindings::console>);

// SAFETY: `register()` writes it before the printk core knows it; nobody else calls `register()` at
// the same time, by its safety requirement. From `register_console()` on the printk core writes it,
// under the mutex of its list (`console_list_lock()`), the console lock, or by atomic operations,
// until `unregister_console()` has returned. The driver only reads single words of it then, for
// which any earlier value will do: see `is_enabled()` and `nbcon::Registration::is_preferred()`.
unsafe impl Sync for Console {}

impl Console {
    /// Makes a console that is not registered.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(bindings::console {
            index: -1,
            // SAFETY: The fields are numbers, arrays of them, lists, pointers and optional
            // functions, for which zeroes are valid.
            ..unsafe { core::mem::zeroed() }
        }))
    }

    /// Returns the console for the printk core's functions.
    pub(crate) fn as_ptr(&self) -> *mut bindings::console {
        self.0.get()
    }

    /// Returns the sequence number of the record that a legacy console prints now, or prints next.
    /// It is exact with the console lock held.
    #[cfg(MODULE)]
    pub(crate) fn seq(&self) -> u64 {
        // SAFETY: The console is allocated. The printk core may change the number meanwhile: the
        // read is volatile, of an aligned word, and any earlier value will do.
        unsafe { (&raw const (*self.0.get()).seq).read_volatile() }
    }

    /// Adds the console to the printk core's list. It is enabled without a `console=` on the
    /// command line.
    ///
    /// # Safety
    ///
    /// The console is static, and not on the list, and nobody else adds it now. Sleeping is
    /// allowed. The printk core may call the callbacks in `console` as `struct console` says.
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

    /// Removes the console from the list, if it is on it. No callback of it runs when this returns.
    /// May sleep.
    pub(crate) fn unregister(&self) {
        // SAFETY: `unregister_console()` (kernel/printk/printk.c) changes only the flag CON_ENABLED
        // of a console that is not on the list. It waits until nobody walks the list any more
        // (`synchronize_srcu()`), and ends the console's thread, so no callback runs. The console's
        // `irq_work`, which is all zero if it was never used, may still be queued; the wait for it
        // lets `register()` write over it. Both may sleep, and so may the caller.
        unsafe {
            bindings::unregister_console(self.0.get());
            bindings::irq_work_sync(&raw mut (*self.0.get()).irq_work);
        }
    }
}

/// Returns whether a console is enabled.
///
/// # Safety
///
/// `console` points to a console that is not freed before this returns.
#[cfg(not(MODULE))]
pub(crate) unsafe fn is_enabled(console: *const bindings::console) -> bool {
    // SAFETY: By the safety requirement. The printk core may change the flags meanwhile
    // (`console_srcu_write_flags()`): the read is volatile, of an aligned 16-bit word, as
    // `console_srcu_read_flags()` (include/linux/console.h) does it.
    let flags = unsafe { (&raw const (*console).flags).read_volatile() };
    flags & bindings::cons_flags_CON_ENABLED as c_short != 0
}

/// Adds a preferred console, as `console=` on the command line does. It is enabled when it is
/// registered, and is `/dev/console` unless another one is added later. For initcalls.
#[cfg(not(MODULE))]
pub(crate) fn add_preferred(console: crate::firmware::consoles::Console<'_>) {
    use kernel::str::CStrExt;

    let mut name = [0; 16];
    let bytes = console.name.as_bytes();
    match name.get_mut(..bytes.len()) {
        // At least one byte is left for the end of the string.
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

/// Returns whether `console` is an early console (CON_BOOT).
///
/// # Safety
///
/// `console` points to a console that is not freed before this returns.
#[cfg(not(MODULE))]
pub(crate) unsafe fn is_early(console: *const bindings::console) -> bool {
    // SAFETY: By the safety requirement. The flags are read as in `is_enabled()`.
    let flags = unsafe { (&raw const (*console).flags).read_volatile() };
    flags & bindings::cons_flags_CON_BOOT as c_short != 0
}

/// Returns whether `f` returns true for a console on the list. The console is valid until `f`
/// returns. In any context.
#[cfg(not(MODULE))]
pub(crate) fn any(mut f: impl FnMut(*const bindings::console) -> bool) -> bool {
    let mut found = false;
    // SAFETY: `console_srcu_read_lock()` (kernel/printk/printk.c) may be called in any context, NMI
    // included (`srcu_read_lock_nmisafe()`), and before SRCU is initialised. Until the unlock,
    // `unregister_console()` does not return, and a console that was on the list is valid. The list
    // is read as `for_each_console_srcu()` (include/linux/console.h) does it: each pointer is read
    // once and followed, which arm64 orders (address dependency). A node is part of its console.
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

/// Returns the sequence number of the record that the virtual terminal's console prints next;
/// `None` if that console is not enabled. In any context.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) fn tty_seq() -> Option<u64> {
    let mut found = None;
    any(|console| {
        // SAFETY: `any()` keeps the console valid as long as this runs. Its name does not change
        // while it is on the list. `seq` may change meanwhile: the read is volatile, of an aligned
        // word, and an old value will do, too.
        unsafe {
            if (*console).name.starts_with(b"tty\0") && is_enabled(console) {
                found = Some((&raw const (*console).seq).read_volatile());
            }
        }
        false
    });
    found
}

/// Returns the text that the printk core passes to a console's `write()`.
///
/// # Safety
///
/// `text` is null, or the start of `count` bytes that do not change during `'t`, as the printk core
/// passes them (`console_emit_next_record()` in kernel/printk/printk.c).
pub(crate) unsafe fn text<'t>(text: *const c_char, count: c_uint) -> &'t [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: By the safety requirement the bytes are initialised, and nobody writes them during
    // `'t`.
    unsafe { core::slice::from_raw_parts(text.cast(), count as usize) }
}
