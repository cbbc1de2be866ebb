// SPDX-License-Identifier: GPL-2.0

//! Fonts: the kernel's built-in ones (`lib/fonts/`), and those that users load.

use core::ptr;

use crate::{
    linux::bindings,
    text::Font, //
};

#[cfg(all(CONFIG_VT, not(MODULE)))]
use kernel::{
    error::{
        code::EINVAL,
        Result, //
    },
    ffi::{
        c_char,
        c_uint, //
    },
    prelude::*, //
};

/// Returns the built-in font that fbcon would choose for a screen of `width` by `height` pixels;
/// `None` if the kernel has none that can be used.
pub(crate) fn default_font(width: u32, height: u32) -> Option<Font<'static>> {
    let (width, height) = (i32::try_from(width).ok()?, i32::try_from(height).ok()?);
    // SAFETY: `get_default_font()` (lib/fonts/fonts.c) takes null pointers for "any size", and
    // reads constants.
    let desc =
        unsafe { bindings::get_default_font(width, height, ptr::null_mut(), ptr::null_mut()) };
    // SAFETY: `get_default_font()` returns null, or one of the static descriptions in lib/fonts/.
    unsafe { described(desc) }
}

/// Makes a font of a description; `None` if it is null or cannot be used.
///
/// # Safety
///
/// `desc` is null, or one of the static descriptions in `lib/fonts/`.
unsafe fn described(desc: *const bindings::font_desc) -> Option<Font<'static>> {
    // SAFETY: By the safety requirement it is null, or a constant.
    let desc = unsafe { desc.as_ref() }?;
    let pitch = desc.width.div_ceil(8);
    let length = pitch
        .checked_mul(desc.height)?
        .checked_mul(desc.charcount)?;
    if desc.data.is_null() {
        return None;
    }
    // SAFETY: The data of the fonts in lib/fonts/ is constant, and has `charcount` glyphs, each of
    // `height` scanlines of whole bytes.
    let data = unsafe { core::slice::from_raw_parts(desc.data.cast::<u8>(), length as usize) };
    Font::new(desc.width, desc.height, desc.charcount as usize, data).ok()
}

/// A font that a user has loaded or chosen.
///
/// # Invariants
///
/// `font` is in `_data`, whose memory neither moves nor changes before this is dropped, or static.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) struct UserFont {
    font: Font<'static>,
    _data: KVVec<u8>,
}

#[cfg(all(CONFIG_VT, not(MODULE)))]
impl UserFont {
    /// Copies a font of the VT core, whose glyphs are `pitch` scanlines apart.
    ///
    /// # Errors
    ///
    /// EINVAL for a font that cannot be used; ENOMEM.
    ///
    /// # Safety
    ///
    /// `data` is null, or has as many glyphs as `charcount` says, `pitch` scanlines of whole bytes
    /// for each, all of them initialised.
    pub(crate) unsafe fn new(from: &bindings::console_font, pitch: c_uint) -> Result<Self> {
        let (row, height) = (from.width.div_ceil(8) as usize, from.height as usize);
        let stride = row * pitch as usize;
        if from.data.is_null() || row * height == 0 || row * height > stride {
            return Err(EINVAL);
        }
        let length = stride.checked_mul(from.charcount as usize).ok_or(EINVAL)?;
        // SAFETY: By the safety requirement, and the check above; the data does not change before
        // this returns, since the caller lends it with `from`.
        let glyphs = unsafe { core::slice::from_raw_parts(from.data, length) };
        let mut data = KVVec::new();
        for glyph in glyphs.chunks_exact(stride) {
            let rows = glyph.get(..row * height).ok_or(EINVAL)?;
            data.extend_from_slice(rows, GFP_KERNEL)?;
        }
        // SAFETY: The vector's memory is initialised, and stays where it is until the vector goes,
        // also if that is moved. Nobody changes it, or the vector, once it is in `_data`. `font` is
        // dropped with it. A user of `font()` replaces its copy before that.
        let kept = unsafe { core::slice::from_raw_parts(data.as_ptr(), data.len()) };
        let font = Font::new(from.width, from.height, from.charcount as usize, kept);
        // INVARIANT: The font is in the memory of `_data`, which has no method that changes it.
        font.map(|font| Self { font, _data: data })
            .map_err(|_| EINVAL)
    }

    /// Returns the font, for a screen that gets another one before this is dropped:
    /// `Terminal::set_font()` in `console::vt` sets the screen's new font before it drops the old
    /// one. Nothing else drops a font that a screen has. The console lock is held there and in
    /// `console::vt::redraw()`.
    pub(crate) fn font(&self) -> Font<'static> {
        self.font
    }
}

/// Returns the built-in font of a name, or the default one for a screen of `pixels` if the name is
/// null; `None` if there is none.
///
/// # Safety
///
/// `name` is null or a terminated string.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) unsafe fn named(name: *const c_char, pixels: (u32, u32)) -> Option<UserFont> {
    let font = if name.is_null() {
        default_font(pixels.0, pixels.1)?
    } else {
        // SAFETY: By the safety requirement the name is a terminated string. `find_font()`
        // (lib/fonts/fonts.c) returns null, or one of the static descriptions in lib/fonts/.
        unsafe { described(bindings::find_font(name.cast())) }?
    };
    // INVARIANT: `described()` gives a font whose data is constant.
    Some(UserFont {
        font,
        _data: KVVec::new(),
    })
}

/// Copies the glyphs of a font to `to`, `pitch` scanlines apart, and fills the gaps with zeroes.
///
/// # Safety
///
/// From `to` on there are so many bytes, initialised, that nobody else accesses: for each glyph of
/// the font, `pitch` scanlines of whole bytes. `pitch` is at least the font's height.
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) unsafe fn export(font: &Font<'_>, to: *mut u8, pitch: c_uint) {
    let (size, bytes) = (font.size(), font.glyph_bytes());
    let stride = size.width.div_ceil(8) as usize * pitch as usize;
    for (at, glyph) in font.data().chunks_exact(bytes).enumerate() {
        // SAFETY: By the safety requirement: there is room for `pitch` scanlines for each glyph, of
        // which this is number `at`.
        let to = unsafe { core::slice::from_raw_parts_mut(to.wrapping_add(at * stride), stride) };
        let (glyph_to, rest) = to.split_at_mut(bytes.min(stride));
        for (to, from) in glyph_to.iter_mut().zip(glyph) {
            *to = *from;
        }
        rest.fill(0);
    }
}
