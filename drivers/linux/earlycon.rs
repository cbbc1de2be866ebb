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
    linux::{
        bindings,
        console, //
    },
    stages::{
        device,
        earlycon, //
    },
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
/// Called by the kernel with its `earlycon_device` and a string or null.
#[no_mangle]
unsafe extern "C" fn virtgpu_bridge_earlycon_setup(
    early: *mut bindings::earlycon_device,
    options: *const c_char,
) -> c_int {
    const ENOENT: c_int = -(kernel::bindings::ENOENT as c_int);
    // SAFETY: The caller's only device, which no one else uses before it is registered.
    let early = unsafe { &mut *early };
    let options = if options.is_null() {
        None
    } else {
        // SAFETY: A terminated string, by the safety requirement.
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
    // SAFETY: A valid console, not registered yet.
    unsafe { (*early.con).write = Some(write) };
    CONSOLE.store(early.con, Ordering::Relaxed);
    0
}

/// Whether the early console prints.
pub(crate) fn is_enabled() -> bool {
    let console = CONSOLE.load(Ordering::Relaxed);
    // SAFETY: The kernel's only one, which is static, if it is not null.
    !console.is_null() && unsafe { console::is_enabled(console) }
}

/// Whether a console is ours.
pub(crate) fn is(console: *const bindings::console) -> bool {
    CONSOLE.load(Ordering::Relaxed).cast_const() == console
}

/// Takes the early console from the printk core's list, where somebody else prints on its screen.
pub(crate) fn unregister() {
    let console = CONSOLE.load(Ordering::Relaxed);
    // SAFETY: The kernel's only one, which is static, if it is not null; called where sleeping is
    // allowed. One that is not on the list is left alone.
    unsafe {
        if !console.is_null() && console::is_enabled(console) {
            bindings::unregister_console(console);
        }
    }
}

/// # Safety
///
/// Called by the printk core as a console's `write()`.
unsafe extern "C" fn write(_: *mut bindings::console, text: *const c_char, count: c_uint) {
    // SAFETY: As it is called.
    device::write(unsafe { console::text(text, count) });
}
