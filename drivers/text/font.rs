// SPDX-License-Identifier: GPL-2.0

//! Bitmap fonts in the layout of `struct font_desc` (`include/linux/font.h`): glyph after glyph,
//! scanline after scanline, each scanline in whole bytes, its leftmost pixel in the highest bit.

use super::Size;
use core::fmt;
use zerocopy::FromBytes;

/// A font of 256 or 512 glyphs of one size.
#[derive(Clone, Copy)]
pub(crate) struct Font<'a> {
    size: Size,
    /// Bytes of a scanline: 1 to 4.
    pitch: usize,
    /// Bytes of a glyph.
    glyph_bytes: usize,
    data: &'a [u8],
}

/// The reason why data is not a font.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FontError {
    /// Glyphs of this many pixels are not 4..=32 wide and 4..=64 high.
    Size(u32, u32),
    /// A font has 256 or 512 glyphs, not this many.
    Count(usize),
    /// The data ends before the last glyph does.
    Short {
        /// Bytes that the glyphs take.
        needed: usize,
        /// Bytes of the data.
        available: usize,
    },
}

impl fmt::Display for FontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(width, height) => {
                write!(f, "font of {width}x{height} px, not 4x4 to 32x64")
            }
            Self::Count(count) => write!(f, "font of {count} glyphs, not 256 or 512"),
            Self::Short { needed, available } => {
                write!(f, "font data of {available} bytes, {needed} are needed")
            }
        }
    }
}

impl<'a> Font<'a> {
    /// The scanlines that a glyph has at most.
    pub(super) const MAX_HEIGHT: usize = 64;

    /// Creates a font of `count` glyphs of `width` x `height` px from `data`, which may be longer.
    ///
    /// # Errors
    ///
    /// [`FontError::Size`] for another size than 4..=32 x 4..=64 px, [`FontError::Count`] for
    /// another count than 256 or 512, [`FontError::Short`] if `data` is shorter than the glyphs.
    pub(crate) fn new(
        width: u32,
        height: u32,
        count: usize,
        data: &'a [u8],
    ) -> Result<Self, FontError> {
        if !(4..=32).contains(&width) || !(4..=Self::MAX_HEIGHT as u32).contains(&height) {
            return Err(FontError::Size(width, height));
        }
        if count != 256 && count != 512 {
            return Err(FontError::Count(count));
        }
        let pitch = width.div_ceil(8) as usize;
        let glyph_bytes = pitch * height as usize;
        let needed = glyph_bytes * count;
        let data = data.get(..needed).ok_or(FontError::Short {
            needed,
            available: data.len(),
        })?;
        Ok(Self {
            size: Size { width, height },
            pitch,
            glyph_bytes,
            data,
        })
    }

    /// Returns the size of every glyph, in pixels.
    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// Returns how many bits of a cell are the glyph's: 8, or 9 where there are 512 glyphs.
    pub(crate) fn glyph_bits(&self) -> u32 {
        if self.data.len() > 256 * self.glyph_bytes {
            9
        } else {
            8
        }
    }

    /// Returns the bytes that a glyph takes.
    pub(crate) fn glyph_bytes(&self) -> usize {
        self.glyph_bytes
    }

    /// Returns the bytes of all glyphs, glyph after glyph.
    pub(crate) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Returns scanline `y` of a glyph, its leftmost pixel in bit 31; 0 outside the font.
    pub(crate) fn scanline(&self, glyph: usize, y: usize) -> u32 {
        if y >= self.size.height as usize {
            return 0;
        }
        let start = glyph
            .saturating_mul(self.glyph_bytes)
            .saturating_add(y * self.pitch);
        let bytes = self.data.get(start..start.saturating_add(self.pitch));
        let line = bytes
            .unwrap_or_default()
            .iter()
            .fold(0, |line, &byte| (line << 8) | u32::from(byte));
        line << (32 - 8 * self.pitch)
    }

    /// Returns whether a glyph has no pixel set; a glyph outside the font has none.
    pub(crate) fn is_blank(&self, glyph: usize) -> bool {
        self.glyph(glyph).iter().all(|&byte| byte == 0)
    }

    /// Returns the bytes that a scanline takes.
    pub(super) fn pitch(&self) -> usize {
        self.pitch
    }

    /// Returns the bytes of a glyph, scanline after scanline; none outside the font.
    pub(super) fn glyph(&self, glyph: usize) -> &'a [u8] {
        let start = glyph.saturating_mul(self.glyph_bytes);
        let bytes = self.data.get(start..).unwrap_or_default();
        bytes.get(..self.glyph_bytes).unwrap_or_default()
    }

    /// Returns the glyphs, a byte a scanline, if this is a font of 8x16 px.
    pub(super) fn glyphs_8x16(&self) -> Option<&'a [[u8; 16]]> {
        let fits = self.size.width == 8 && self.size.height == 16;
        let glyphs = <[[u8; 16]]>::ref_from_bytes(self.data).ok()?;
        fits.then_some(glyphs)
    }
}
