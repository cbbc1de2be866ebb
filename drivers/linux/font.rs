// SPDX-License-Identifier: GPL-2.0

//! The kernel's built-in fonts (`lib/fonts/`).

use core::ptr;

use crate::{
    linux::bindings,
    text::Font, //
};

/// The font that the kernel chooses for a screen of `width` by `height` pixels, as fbcon does.
///
/// `None` if the kernel has none that can be used.
pub(crate) fn default_font(width: u32, height: u32) -> Option<Font<'static>> {
    let (width, height) = (i32::try_from(width).ok()?, i32::try_from(height).ok()?);
    // SAFETY: Null pointers stand for "every size is fine".
    let desc =
        unsafe { bindings::get_default_font(width, height, ptr::null_mut(), ptr::null_mut()) };
    // SAFETY: It is null, or one of the static descriptions in `lib/fonts/`.
    let desc = unsafe { desc.as_ref() }?;
    let pitch = desc.width.div_ceil(8);
    let length = pitch
        .checked_mul(desc.height)?
        .checked_mul(desc.charcount)?;
    if desc.data.is_null() {
        return None;
    }
    // SAFETY: A font's data is static, and as long as its description says.
    let data = unsafe { core::slice::from_raw_parts(desc.data.cast::<u8>(), length as usize) };
    Font::new(desc.width, desc.height, desc.charcount as usize, data).ok()
}
