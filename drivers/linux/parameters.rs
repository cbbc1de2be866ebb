// SPDX-License-Identifier: GPL-2.0

//! The driver's parameters: of the module, or from the kernel's command line, which has to be read
//! by hand this early.

use core::ffi::CStr;

use kernel::str::CStrExt;

#[cfg(not(MODULE))]
use crate::firmware::consoles;
use crate::{
    linux::bindings,
    text::Scroll, //
};

/// `virtgpu_bridge.scroll=pan|repaint|auto`; none is `auto`.
///
/// # Errors
///
/// Another word than these, for the caller to complain about.
pub(crate) fn scroll() -> Result<Option<Scroll>, &'static str> {
    // SAFETY: The parameter points to a terminated string: the one that it is initialised with, or
    // one of the command line's or the module loader's (`param_set_charp()` in kernel/params.c).
    // That is set before `console_init()`, and before a module's `init()`; later nobody can change
    // it, since its mode in sysfs is 0444, and it stays as long as the driver.
    let word = unsafe { CStr::from_char_ptr(bindings::virtgpu_scroll()) };
    parse(word.to_str().unwrap_or("?"))
}

/// As [`scroll`], before the kernel has looked at parameters.
///
/// # Errors
///
/// As [`scroll`].
#[cfg(not(MODULE))]
pub(crate) fn early_scroll() -> Result<Option<Scroll>, &'static str> {
    parse(early_word("virtgpu_bridge.scroll=").unwrap_or("auto"))
}

/// `virtgpu_bridge.picture=clear|keep`: whether text covers firmware's picture row by row, instead
/// of beginning on a clear screen. Read before the kernel has looked at parameters.
///
/// # Errors
///
/// As [`scroll`].
#[cfg(not(MODULE))]
pub(crate) fn keeps_picture() -> Result<bool, &'static str> {
    match early_word("virtgpu_bridge.picture=").unwrap_or("clear") {
        "clear" => Ok(false),
        "keep" => Ok(true),
        word => Err(word),
    }
}

fn parse(word: &'static str) -> Result<Option<Scroll>, &'static str> {
    match word {
        "auto" => Ok(None),
        "pan" => Ok(Some(Scroll::Pan)),
        "repaint" => Ok(Some(Scroll::Repaint)),
        _ => Err(word),
    }
}

/// Whether the native driver is to get the device when it is ready:
/// `virtgpu_bridge.handover=auto|never`, and not with `nomodeset`, with which it would refuse.
#[cfg(not(MODULE))]
pub(crate) fn hands_over() -> bool {
    // SAFETY: As in `scroll()`.
    let word = unsafe { CStr::from_char_ptr(bindings::virtgpu_handover()) };
    // SAFETY: `video_firmware_drivers_only()` (drivers/video/nomodeset.c) reads a flag that is set
    // while the command line is parsed.
    let nomodeset = unsafe { bindings::video_firmware_drivers_only() };
    match word.to_bytes() {
        b"never" => return false,
        b"auto" => {}
        _ => kernel::pr_warn!("virtgpu_bridge.handover= is not auto or never; taking auto\n"),
    }
    !nomodeset
}

/// Which messages consoles print, as the command line says wherever it says it, before the kernel
/// has looked at all parameters: see [`consoles::level`].
#[cfg(not(MODULE))]
pub(crate) fn level() -> Option<i32> {
    consoles::level(words(), bindings::CONSOLE_LOGLEVEL_QUIET as i32)
}

/// `virtgpu_bridge.console=auto|never`: whether the log is kept off the screen where nobody says
/// that it shall be there. For initcalls.
#[cfg(not(MODULE))]
pub(crate) fn keeps_log_off() -> bool {
    early_word("virtgpu_bridge.console=") == Some("never")
}

/// The same parameter, if it is no word that there is.
#[cfg(not(MODULE))]
pub(crate) fn unknown_console() -> Option<&'static str> {
    early_word("virtgpu_bridge.console=").filter(|word| !["auto", "never"].contains(word))
}

/// What follows the last word of the command line that begins so.
#[cfg(not(MODULE))]
fn early_word(name: &str) -> Option<&'static str> {
    words().filter_map(|word| word.strip_prefix(name)).last()
}

/// The words of the command line, as long as initcalls run; "?" for what is not UTF-8.
#[cfg(not(MODULE))]
pub(crate) fn words() -> impl Iterator<Item = &'static str> + Clone {
    line()
        .split(|byte| byte.is_ascii_whitespace())
        // What is behind "--" is for init.
        .take_while(|word| *word != b"--")
        .map(|word| core::str::from_utf8(word).unwrap_or("?"))
}

/// The command line is `__initdata`: `.ref.text` says that we know, and read it only while it is
/// there.
#[cfg(not(MODULE))]
#[link_section = ".ref.text"]
#[inline(never)]
fn line() -> &'static [u8] {
    // Callers in other sections may not have the address.
    let line = core::hint::black_box(&raw const bindings::boot_command_line);
    // SAFETY: `boot_command_line` (init/main.c) is a terminated string, which
    // `early_init_dt_scan_chosen()` (drivers/of/fdt.c) fills in before any early parameter is
    // looked at, and nobody writes after that. Only code that runs before `free_initmem()` comes
    // here: the early console's `setup()`, and initcalls.
    unsafe { CStr::from_char_ptr(line.cast()) }.to_bytes()
}
