// SPDX-License-Identifier: GPL-2.0

//! An early console: `earlycon=` as drivers/tty/serial/earlycon.c calls it.
//!
//! ```ignore
//! struct Early;
//!
//! impl Earlycon for Early {
//!     fn setup(options: Option<&[u8]>, mmio: Option<u64>) -> Option<u64> { .. }
//!     fn write(text: &[u8]) { .. }
//! }
//!
//! // The function that `EARLYCON_DECLARE()` in `hooks.c` names.
//! declare_earlycon!(rust_virtgpu_bridge_earlycon_setup, Early);
//! ```

use core::{
    ffi::CStr,
    ptr, //
};

use kernel::{
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    pr_err,
    str::CStrExt,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

use crate::linux::{
    arch,
    bindings,
    console, //
};

/// An early console.
pub(crate) trait Earlycon {
    /// Sets the console up, while early parameters are parsed. `options` are those on the command
    /// line. `mmio` is an address that drivers/tty/serial/earlycon.c has parsed from them, or found
    /// in ACPI or a devicetree. Returns the physical address of the notify register, which the
    /// caller logs; `None` after the reason has been logged.
    fn setup(options: Option<&[u8]>, mmio: Option<u64>) -> Option<u64>;

    /// Writes text, with the console lock held, or without it in a panic or a debugger.
    fn write(text: &[u8]);
}

/// Defines the function of the given name, which sets up the early console of the given type.
macro_rules! declare_earlycon {
    ($name:ident, $type:ty) => {
        /// Sets the early console up; see `EARLYCON_DECLARE()` in `hooks.c`.
        ///
        /// # Safety
        ///
        /// Called by drivers/tty/serial/earlycon.c alone; see
        /// [`setup`](crate::linux::earlycon::setup).
        #[no_mangle]
        unsafe extern "C" fn $name(
            device: *mut $crate::linux::bindings::earlycon_device,
            options: *const kernel::ffi::c_char,
        ) -> kernel::ffi::c_int {
            // SAFETY: By the safety requirement.
            unsafe { $crate::linux::earlycon::setup::<$type>(device, options) }
        }
    };
}
pub(crate) use declare_earlycon;

/// The driver's early console, or null.
static CONSOLE: Atomic<*mut bindings::console> = Atomic::new(ptr::null_mut());

/// Sets the early console up. ENOENT is the only error that the caller does not report as a
/// malformed option.
///
/// # Safety
///
/// Called by drivers/tty/serial/earlycon.c, while early parameters are parsed, with its
/// `earlycon_device`, which has a console, and a terminated string or null.
pub(crate) unsafe fn setup<T: Earlycon>(
    early: *mut bindings::earlycon_device,
    options: *const c_char,
) -> c_int {
    const ENOENT: c_int = -(kernel::bindings::ENOENT as c_int);
    // SAFETY: The pointer is that of `early_console_dev` in drivers/tty/serial/earlycon.c, a
    // static, which nobody else uses before its console is registered, after this returns: there is
    // one CPU.
    let early = unsafe { &mut *early };
    let options = if options.is_null() {
        None
    } else {
        // SAFETY: By the safety requirement it is a terminated string. It is part of the command
        // line, which nobody changes before this returns.
        Some(unsafe { CStr::from_char_ptr(options) }.to_bytes())
    };
    let mmio = (early.port.mapbase != 0).then_some(early.port.mapbase);
    let address = if early.port.iobase != 0 {
        pr_err!("earlycon=virtgpu: a virtio device has no I/O ports\n");
        None
    } else {
        T::setup(options, mmio)
    };
    let Some(address) = address else {
        // The caller's device is static: its contents would be used for the next option.
        early.port.mapbase = 0;
        early.port.iobase = 0;
        if !early.port.membase.is_null() {
            early.port.membase = ptr::null_mut();
            // SAFETY: The caller has mapped the page for this console (`earlycon_map()`), and has
            // no other early console: `setup_earlycon()` accepts one.
            unsafe { arch::unmap_early_console_page() };
        }
        return ENOENT;
    };
    // For the line that the caller prints.
    early.port.mapbase = address;
    early.port.iotype = bindings::uart_iotype_UPIO_MEM32;
    // SAFETY: The console is `early_con` of the same file, a static, which the caller registers
    // after this returns. If it is registered already, `setup_earlycon()` does not call this.
    unsafe { (*early.con).write = Some(write::<T>) };
    CONSOLE.store(early.con, Relaxed);
    0
}

/// Returns whether the driver's early console is enabled. In any context.
pub(crate) fn is_enabled() -> bool {
    let console = CONSOLE.load(Relaxed);
    // SAFETY: If it is not null, it is `early_con` of drivers/tty/serial/earlycon.c, which is
    // static and not in `__init` memory.
    !console.is_null() && unsafe { console::is_enabled(console) }
}

/// Returns whether there is an early console of another driver. In any context.
pub(crate) fn has_other() -> bool {
    let ours = CONSOLE.load(Relaxed).cast_const();
    console::any(|console| {
        // SAFETY: `any()` keeps the console valid until this function returns.
        let is_early = unsafe { console::is_early(console) };
        console != ours && is_early
    })
}

/// Unregisters the driver's early console, if it is enabled. For initcalls.
pub(crate) fn unregister() {
    let console = CONSOLE.load(Relaxed);
    // SAFETY: As in `is_enabled()`. `unregister_console()` (kernel/printk/printk.c) may sleep,
    // which an initcall may; it does nothing to a console that is not on the list.
    unsafe {
        if !console.is_null() && console::is_enabled(console) {
            bindings::unregister_console(console);
        }
    }
}

/// Passes the text to [`Earlycon::write`].
///
/// # Safety
///
/// Called by the printk core as a console's `write()`, with the start of `count` bytes.
unsafe extern "C" fn write<T: Earlycon>(
    _: *mut bindings::console,
    text: *const c_char,
    count: c_uint,
) {
    // SAFETY: By the safety requirement the bytes do not change before this returns, and
    // `Earlycon::write()` cannot keep a reference.
    T::write(unsafe { console::text(text, count) });
}
