// SPDX-License-Identifier: GPL-2.0

//! Character cells and colours as the VT has them (`drivers/tty/vt/vt.c`).

use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// A character of the screen, as in the VT's screen buffer: the glyph in the low byte, the VGA
/// attribute in the high byte (foreground in its low four bits, background in its high four bits).
///
/// Where the font has 512 glyphs, bit 8 is the glyph's too, and the background has three bits left
/// (`vc_hi_font_mask`). [`Font::glyph_bits`](super::Font::glyph_bits) says how many bits are the
/// glyph's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub(crate) struct Cell(pub(crate) u16);

impl Cell {
    /// Returns a space in the VT's default colours, light grey on black; a glyph has `bits` bits.
    pub(crate) const fn blank(bits: u32) -> Self {
        Self::new(b' ', 0x07, bits)
    }

    /// Returns the cell that shows a glyph in the colours of `attribute`; a glyph has `bits` bits.
    pub(crate) const fn new(glyph: u8, attribute: u8, bits: u32) -> Self {
        Self((attribute as u16) << bits | glyph as u16)
    }

    /// Returns the number of the glyph, which has `bits` bits.
    pub(crate) const fn glyph(self, bits: u32) -> usize {
        self.0 as usize & ((1 << bits) - 1)
    }

    /// Returns the attribute, both colours, from above the `bits` bits of the glyph.
    pub(crate) const fn attribute(self, bits: u32) -> u8 {
        let [attribute, _] = (self.0 >> (bits - 8)).to_be_bytes();
        attribute
    }
}

/// The colours of the 16 attribute values, `0x00RRGGBB`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Palette(pub(crate) [u32; 16]);

impl Palette {
    /// The VT's own palette: `default_red[]`, `default_grn[]` and `default_blu[]`, in the order of
    /// `color_table[]`, which is VGA's (bit 0 blue, 1 green, 2 red, 3 bright).
    pub(crate) const DEFAULT: Self = Self([
        0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa, 0xaa5500, 0xaaaaaa, //
        0x555555, 0x5555ff, 0x55ff55, 0x55ffff, 0xff5555, 0xff55ff, 0xffff55, 0xffffff,
    ]);

    /// Returns the foreground and the background of an attribute.
    #[expect(clippy::indexing_slicing, reason = "four bits are below 16")]
    pub(crate) fn colours(&self, attribute: u8) -> (u32, u32) {
        (
            self.0[usize::from(attribute & 0xf)],
            self.0[usize::from(attribute >> 4)],
        )
    }
}
