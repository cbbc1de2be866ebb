// SPDX-License-Identifier: GPL-2.0

//! The driver's parameters, of the module or on the kernel's command line. The driver parses the
//! command line itself before the kernel has parsed all parameters.

use core::ffi::CStr;

use kernel::str::CStrExt;

#[cfg(not(MODULE))]
use crate::firmware::consoles;
use crate::{
    linux::bindings,
    text::Scroll, //
};

/// Returns `virtgpu_bridge.scroll=pan|repaint|auto`; `None` is `auto`, which is the default.
///
/// # Errors
///
/// Fails with the value if it is none of these.
pub(crate) fn scroll() -> Result<Option<Scroll>, &'static str> {
    // SAFETY: The parameter points to a terminated string: its initial value, or one of the command
    // line's or the module loader's (`param_set_charp()` in kernel/params.c). It is set before
    // `console_init()`, and before a module's `init()`. Later nobody can change it, since its mode
    // in sysfs is 0444. The string stays as long as the driver.
    let word = unsafe { CStr::from_char_ptr(bindings::virtgpu_bridge_scroll()) };
    parse(word.to_str().unwrap_or("?"))
}

/// Returns the same as [`scroll`], before the kernel has parsed parameters.
///
/// # Errors
///
/// Fails as [`scroll`] does.
#[cfg(not(MODULE))]
pub(crate) fn early_scroll() -> Result<Option<Scroll>, &'static str> {
    parse(early_word("virtgpu_bridge.scroll=").unwrap_or("auto"))
}

/// Returns whether `virtgpu_bridge.picture=keep`: text covers firmware's picture row by row,
/// instead of clearing the screen first (`clear`, the default). Works before the kernel has parsed
/// parameters.
///
/// # Errors
///
/// Fails as [`scroll`] does.
#[cfg(not(MODULE))]
pub(crate) fn keeps_picture() -> Result<bool, &'static str> {
    match early_word("virtgpu_bridge.picture=").unwrap_or("clear") {
        "clear" => Ok(false),
        "keep" => Ok(true),
        word => Err(word),
    }
}

/// Parses the value of `virtgpu_bridge.scroll=`.
///
/// # Errors
///
/// Fails with the value if it is unknown.
fn parse(word: &'static str) -> Result<Option<Scroll>, &'static str> {
    match word {
        "auto" => Ok(None),
        "pan" => Ok(Some(Scroll::Pan)),
        "repaint" => Ok(Some(Scroll::Repaint)),
        _ => Err(word),
    }
}

/// Returns whether the native driver gets the device when it is ready: with
/// `virtgpu_bridge.handover=auto`, the default, and without `nomodeset`, with which that driver
/// does not probe.
#[cfg(not(MODULE))]
pub(crate) fn hands_over() -> bool {
    // SAFETY: As in `scroll()`.
    let word = unsafe { CStr::from_char_ptr(bindings::virtgpu_bridge_handover()) };
    // SAFETY: `video_firmware_drivers_only()` (drivers/video/nomodeset.c) reads a flag, which is
    // set while the command line is parsed.
    let nomodeset = unsafe { bindings::video_firmware_drivers_only() };
    match word.to_bytes() {
        b"never" => return false,
        b"auto" => {}
        _ => kernel::pr_warn!("virtgpu_bridge.handover= is not auto or never; taking auto\n"),
    }
    !nomodeset
}

/// When there is a KMS device.
#[cfg(not(MODULE))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framebuffer {
    /// When the native driver has had time to come.
    Auto,
    /// As soon as the device is bound.
    Always,
    /// At no time.
    Never,
}

/// Returns `virtgpu_bridge.framebuffer=auto|always|never`; warns of another value, and returns the
/// default, `auto`.
#[cfg(not(MODULE))]
pub(crate) fn framebuffer() -> Framebuffer {
    // SAFETY: As in `scroll()`.
    let word = unsafe { CStr::from_char_ptr(bindings::virtgpu_bridge_framebuffer()) };
    match word.to_bytes() {
        b"always" => return Framebuffer::Always,
        b"never" => return Framebuffer::Never,
        b"auto" => {}
        _ => kernel::pr_warn!(
            "virtgpu_bridge.framebuffer= is not auto, always or never; taking auto\n"
        ),
    }
    Framebuffer::Auto
}

/// Returns the console loglevel that the command line sets, at any position, before the kernel has
/// parsed all parameters: see [`consoles::level`].
#[cfg(not(MODULE))]
pub(crate) fn loglevel() -> Option<i32> {
    consoles::console_loglevel(words(), bindings::CONSOLE_LOGLEVEL_QUIET as i32)
}

/// Returns whether `virtgpu_bridge.console=never`: the driver does not add the screen as a console
/// that the command line does not name (`auto`, the default, does). For initcalls.
#[cfg(not(MODULE))]
pub(crate) fn console_is_never() -> bool {
    early_word("virtgpu_bridge.console=") == Some("never")
}

/// Returns the value of `virtgpu_bridge.console=` if it is neither `auto` nor `never`. For
/// initcalls.
#[cfg(not(MODULE))]
pub(crate) fn unknown_console() -> Option<&'static str> {
    early_word("virtgpu_bridge.console=").filter(|word| !["auto", "never"].contains(word))
}

/// Returns the rest of the last word of the command line that starts with `name`.
#[cfg(not(MODULE))]
fn early_word(name: &str) -> Option<&'static str> {
    words().filter_map(|word| word.strip_prefix(name)).last()
}

/// Returns the words of the command line; "?" for a word that is not UTF-8. Called until initcalls
/// have run.
#[cfg(not(MODULE))]
pub(crate) fn words() -> impl Iterator<Item = &'static str> + Clone {
    line()
        .split(|byte| byte.is_ascii_whitespace())
        // Words after "--" are for init.
        .take_while(|word| *word != b"--")
        .map(|word| core::str::from_utf8(word).unwrap_or("?"))
}

/// Returns the command line, which is `__initdata`. `.ref.text` tells modpost that this is
/// intended: the callers run before `free_initmem()`.
#[cfg(not(MODULE))]
#[link_section = ".ref.text"]
#[inline(never)]
fn line() -> &'static [u8] {
    // The address must not get into callers in other sections by inlining.
    let line = core::hint::black_box(&raw const bindings::boot_command_line);
    // SAFETY: `boot_command_line` (init/main.c) is a terminated string, which
    // `early_init_dt_scan_chosen()` (drivers/of/fdt.c) fills in before any early parameter is
    // parsed, and nobody writes after that. The callers run before `free_initmem()`: the early
    // console's `setup()`, and initcalls.
    unsafe { CStr::from_char_ptr(line.cast()) }.to_bytes()
}
