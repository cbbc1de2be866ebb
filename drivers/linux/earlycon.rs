// SPDX-License-Identifier: GPL-2.0

//! `earlycon=virtgpu`: what `drivers/tty/serial/earlycon.c` calls, and the console it registers.

use core::{
    ffi::CStr,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    },
};

use kernel::{
    ffi::{
        c_char,
        c_int,
        c_uint, //
    },
    pr_err,
    str::CStrExt, //
};

use crate::{
    console::earlycon,
    device::screen,
    linux::{
        bindings,
        console, //
    }, //
};

/// Our early console, or null.
static CONSOLE: AtomicPtr<bindings::console> = AtomicPtr::new(ptr::null_mut());

/// Sets the early console up; see `EARLYCON_DECLARE()` in `helpers.c`.
///
/// The reason of a failure is in the log by then. ENOENT is the one error that the caller does not
/// call a malformed option.
///
/// # Safety
///
/// Called by drivers/tty/serial/earlycon.c, while early parameters are read, with its
/// `earlycon_device`, which has a console, and a terminated string or null.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_earlycon_setup(
    early: *mut bindings::earlycon_device,
    options: *const c_char,
) -> c_int {
    const ENOENT: c_int = -(kernel::bindings::ENOENT as c_int);
    // SAFETY: It is `early_console_dev` of drivers/tty/serial/earlycon.c, a static, which nobody
    // else uses before its console is registered, after this returns: there is one CPU.
    let early = unsafe { &mut *early };
    let options = if options.is_null() {
        None
    } else {
        // SAFETY: By the safety requirement it is a terminated string. It is part of the command
        // line, which nobody changes before this returns.
        Some(unsafe { CStr::from_char_ptr(options) }.to_bytes())
    };
    // An address on the command line is parsed by the caller.
    let mmio = (early.port.mapbase != 0).then_some(early.port.mapbase);
    let address = if early.port.iobase != 0 {
        pr_err!("earlycon=virtgpu: a virtio device has no I/O ports\n");
        None
    } else {
        earlycon::setup(options, mmio)
    };
    let Some(address) = address else {
        // The caller's device is static: what is in it is taken for the next option's.
        early.port.mapbase = 0;
        early.port.iobase = 0;
        if !early.port.membase.is_null() {
            early.port.membase = ptr::null_mut();
            // SAFETY: The caller has mapped the page for us (`earlycon_map()`), and has no other
            // early console: `setup_earlycon()` takes one.
            unsafe { bindings::virtgpu_unmap_page() };
        }
        return ENOENT;
    };
    // For the line that the caller prints.
    early.port.mapbase = address;
    early.port.iotype = bindings::uart_iotype_UPIO_MEM32;
    // SAFETY: It is `early_con` of the same file, a static, which the caller registers after this
    // returns. Where it is registered already, `setup_earlycon()` does not call this.
    unsafe { (*early.con).write = Some(write) };
    CONSOLE.store(early.con, Ordering::Relaxed);
    0
}

/// Whether the early console prints.
pub(crate) fn is_enabled() -> bool {
    let console = CONSOLE.load(Ordering::Relaxed);
    // SAFETY: If it is not null, it is `early_con` of drivers/tty/serial/earlycon.c, which is
    // static and not in `__init` memory.
    !console.is_null() && unsafe { console::is_enabled(console) }
}

/// Whether a console is ours.
pub(crate) fn is(console: *const bindings::console) -> bool {
    CONSOLE.load(Ordering::Relaxed).cast_const() == console
}

/// Takes the early console from the printk core's list, where somebody else prints on its screen.
pub(crate) fn unregister() {
    let console = CONSOLE.load(Ordering::Relaxed);
    // SAFETY: As in `is_enabled()`. `unregister_console()` (kernel/printk/printk.c) may sleep,
    // which an initcall may, the caller; a console that is not on the list it leaves alone.
    unsafe {
        if !console.is_null() && console::is_enabled(console) {
            bindings::unregister_console(console);
        }
    }
}

/// # Safety
///
/// Called by the printk core as a console's `write()`, with the start of `count` bytes.
unsafe extern "C" fn write(_: *mut bindings::console, text: *const c_char, count: c_uint) {
    // SAFETY: By the safety requirement; `screen::write()` keeps nothing of the text.
    screen::write(unsafe { console::text(text, count) });
}
