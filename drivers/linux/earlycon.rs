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
    stages::earlycon,
};

/// The console that was registered for us, if one was.
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
    device: *mut bindings::earlycon_device,
    options: *const c_char,
) -> c_int {
    const ENOENT: c_int = -(kernel::bindings::ENOENT as c_int);
    // SAFETY: The caller's only device, which no one else uses before it is registered.
    let device = unsafe { &mut *device };
    let options = if options.is_null() {
        None
    } else {
        // SAFETY: A terminated string, by the safety requirement.
        Some(unsafe { CStr::from_char_ptr(options) }.to_bytes())
    };
    // An address on the command line is parsed by the caller.
    let mmio = (device.port.mapbase != 0).then_some(device.port.mapbase);
    let address = if device.port.iobase != 0 {
        pr_err!("earlycon=virtgpu: a virtio device has no I/O ports\n");
        None
    } else {
        earlycon::setup(options, mmio)
    };
    let Some(address) = address else {
        // The caller's device is static: what is in it is taken for the next option's.
        device.port.mapbase = 0;
        device.port.iobase = 0;
        return ENOENT;
    };
    // For the line that the caller prints.
    device.port.mapbase = address;
    device.port.iotype = bindings::uart_iotype_UPIO_MEM32;
    // SAFETY: A valid console, not registered yet.
    unsafe { (*device.con).write = Some(write) };
    CONSOLE.store(device.con, Ordering::Relaxed);
    0
}

/// # Safety
///
/// Called by the printk core as a console's `write()`.
unsafe extern "C" fn write(_: *mut bindings::console, text: *const c_char, count: c_uint) {
    // SAFETY: As it is called.
    earlycon::write(unsafe { console::text(text, count) });
}

/// Takes the console from the printk core's list, if it is on it.
pub(crate) fn unregister() {
    let console = CONSOLE.swap(ptr::null_mut(), Ordering::Relaxed);
    if console.is_null() {
        return;
    }
    // SAFETY: The kernel's static `early_con`; whoever changes its flags does so in one go.
    let flags = unsafe { (&raw const (*console).flags).read_volatile() };
    // One that is gone already would be called disabled once more.
    if flags & bindings::cons_flags_CON_ENABLED as i16 != 0 {
        // SAFETY: As above. If it was unregistered since, nothing happens.
        unsafe { bindings::unregister_console(console) };
    }
}
