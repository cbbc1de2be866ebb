// SPDX-License-Identifier: GPL-2.0

//! Cells to pixels: four pixels at a time, from a table of all sixteen.
//!
//! Glyphs of whole bytes a scanline, which are the usual ones, are painted one after the other, so
//! that each is looked up once; other glyphs are painted scanline by scanline.

use super::{
    Band,
    Cell,
    Cursor,
    Font,
    Palette, //
};
use core::ops::Range;
use zerocopy::{
    transmute_mut,
    transmute_ref,
    FromBytes,
    IntoBytes, //
};

/// Eight pixels: a byte of a scanline.
type Octet = [u64; 4];

/// The upper left corner of painted cells in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corner {
    /// The column of the tile at which the first cell is.
    pub(crate) col: usize,
    /// The scanline of the glyphs that is the slot's first.
    pub(crate) scanline: usize,
}

/// A painter of cells into slots of the band.
pub(crate) struct Painter {
    /// The foreground and the background that the table is for.
    colours: (u32, u32),
    /// The four pixels of four bits of a scanline, the highest bit leftmost. Words of two pixels,
    /// because a kernel for arm64 copies no more at once than the alignment allows.
    nibbles: [[u64; 2]; 16],
}

impl Painter {
    /// Creates a painter that has painted nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            // Black on black is right for a table of zeroes.
            colours: (0, 0),
            nibbles: [[0; 2]; 16],
        }
    }

    /// Paints `cells` from a column of the tile on: of them the scanlines that the slot has. Leaves
    /// out what lies beyond the tile.
    ///
    /// `slot` is the memory at [`Band::slot`], in little-endian `B8G8R8X8` pixels; glyphs that are
    /// a multiple of 8 px wide are painted faster where it is aligned to 8 bytes.
    pub(crate) fn paint(
        &mut self,
        font: &Font<'_>,
        palette: &Palette,
        band: &Band,
        cells: &[Cell],
        slot: &mut [u32],
        first: Corner,
    ) {
        let Corner { mut col, scanline } = first;
        let count = band.tile_cols().saturating_sub(col);
        let cells = cells.get(..count).unwrap_or(cells);
        let bits = font.glyph_bits();
        for run in cells.chunk_by(|a, b| a.attribute(bits) == b.attribute(bits)) {
            let attribute = run.first().map_or(0, |cell| cell.attribute(bits));
            self.set_colours(palette.colours(attribute));
            match <[Octet]>::mut_from_bytes(slot.as_mut_bytes()) {
                Ok(octets) if font.size().width % 8 == 0 => {
                    let corner = Corner { col, scanline };
                    // The slot has to hold whole glyphs.
                    let glyphs = font.glyphs_8x16().filter(|_| band.strips == 1);
                    match (glyphs, band.tiles(), font.pitch()) {
                        (Some(glyphs), 1, _) => {
                            self.run_8x16::<1>(octets, band.unit() / 8, run, glyphs, bits, col);
                        }
                        // Wider screens have three tiles.
                        (Some(glyphs), 3, _) => {
                            self.run_8x16::<3>(octets, band.unit() / 8, run, glyphs, bits, col);
                        }
                        (_, _, 1) => self.run_of_bytes::<1>(octets, run, font, band, corner),
                        (_, _, 2) => self.run_of_bytes::<2>(octets, run, font, band, corner),
                        (_, _, 3) => self.run_of_bytes::<3>(octets, run, font, band, corner),
                        _ => self.run_of_bytes::<4>(octets, run, font, band, corner),
                    }
                }
                _ => {
                    for (y, row) in band.pixel_rows(band.unit()).enumerate() {
                        let x = col * font.size().width as usize;
                        let pixels = slot.get_mut(row).and_then(|row| row.get_mut(x..));
                        self.run(pixels.unwrap_or_default(), run, font, scanline + y);
                    }
                }
            }
            col += run.len();
        }
    }

    /// Paints columns `cols` of the tile in one colour, in a slot as [`Self::paint`] has it. Leaves
    /// out what lies beyond the tile.
    pub(crate) fn fill(
        font: &Font<'_>,
        band: &Band,
        colour: u32,
        cols: Range<usize>,
        slot: &mut [u32],
    ) {
        let width = font.size().width as usize;
        let (start, end) = (cols.start * width, cols.end.min(band.tile_cols()) * width);
        for row in band.pixel_rows(band.unit()) {
            let pixels = slot.get_mut(row).and_then(|row| row.get_mut(start..end));
            let pixels = pixels.unwrap_or_default();
            match colour.to_le() {
                // Black is a memset(), far cheaper.
                0 => pixels.fill(0),
                colour => pixels.fill(colour),
            }
        }
    }

    /// Paints the cell under a cursor once more, in the column `cursor.col` of the tile, with its
    /// colours swapped in the scanlines of the cursor. The first scanline of the slot is the cell's
    /// scanline `scanline`.
    pub(crate) fn paint_cursor(
        &mut self,
        font: &Font<'_>,
        palette: &Palette,
        band: &Band,
        (cell, cursor, scanline): (Cell, &Cursor, usize),
        slot: &mut [u32],
    ) {
        let (foreground, background) = palette.colours(cell.attribute(font.glyph_bits()));
        self.set_colours((background, foreground));
        let x = cursor.col * font.size().width as usize;
        for (y, row) in band.pixel_rows(band.unit()).enumerate() {
            if cursor.scanlines.contains(&(scanline + y)) {
                let pixels = slot.get_mut(row).and_then(|row| row.get_mut(x..));
                self.run(pixels.unwrap_or_default(), &[cell], font, scanline + y);
            }
        }
    }

    /// Paints glyphs of `PITCH` whole bytes a scanline, from a corner on. A function of its own,
    /// which takes the stack that it needs only where it is called.
    #[inline(never)]
    fn run_of_bytes<const PITCH: usize>(
        &self,
        octets: &mut [Octet],
        run: &[Cell],
        font: &Font<'_>,
        band: &Band,
        Corner { col, scanline }: Corner,
    ) {
        let (unit, bits) = (band.unit() / 8, font.glyph_bits());
        // The start of each scanline in the slot.
        let (mut rows, mut count) = ([0; Font::MAX_HEIGHT], 0);
        for (to, row) in rows.iter_mut().zip(band.pixel_rows(unit)) {
            *to = row.start as u32;
            count += 1;
        }
        let rows = rows.get(..count).unwrap_or_default();
        for (x, cell) in (col * PITCH..unit).step_by(PITCH).zip(run) {
            let glyph = <[[u8; PITCH]]>::ref_from_bytes(font.glyph(cell.glyph(bits)));
            let octets = octets.get_mut(x..).unwrap_or_default();
            // A scanline is often the same as the one above.
            let glyph = glyph
                .unwrap_or_default()
                .get(scanline..)
                .unwrap_or_default();
            let (mut above, mut pixels) = ([0; PITCH], [self.octet(0); PITCH]);
            for (&bytes, &row) in glyph.iter().zip(rows) {
                if bytes != above {
                    (above, pixels) = (bytes, bytes.map(|byte| self.octet(byte)));
                }
                if let Some(to) = octets.get_mut(row as usize..row as usize + PITCH) {
                    to.copy_from_slice(&pixels);
                }
            }
        }
    }

    /// Paints glyphs of 8x16 px, the usual size, in rows of `TILES` tiles, from column `col` on. A
    /// function of its own, because its loop needs all the registers.
    #[inline(never)]
    fn run_8x16<const TILES: usize>(
        &self,
        octets: &mut [Octet],
        unit: usize,
        run: &[Cell],
        glyphs: &[[u8; 16]],
        bits: u32,
        col: usize,
    ) {
        // Four units at a time, so that bounds are checked once for all four.
        let starts = [0, 1, 2, 3].map(|n| n * unit);
        let four = 4 * unit;
        for (x, cell) in (col..unit).zip(run) {
            let Some(glyph) = glyphs.get(cell.glyph(bits)) else {
                return;
            };
            let offsets = starts.map(|start| start.wrapping_add(x));
            if offsets.iter().any(|&offset| offset >= four) {
                return;
            }
            let (mut above, mut octet) = (0, self.octet(0));
            let mut octets = &mut *octets;
            for n in (0..16).step_by(4) {
                // Unit k n modulo 16 has scanline n, so unit n has scanline n / k, and 1 / k is
                // k^3: for an odd k, k^4 is 1 modulo 16.
                #[expect(clippy::indexing_slicing, reason = "what is left of 16 is below it")]
                let bytes = [n, n + 1, n + 2, n + 3].map(|n| glyph[n * TILES.pow(3) % 16]);
                let Some((units, rest)) = octets.split_at_mut_checked(four) else {
                    return;
                };
                octets = rest;
                for (&offset, byte) in offsets.iter().zip(bytes) {
                    if byte != above {
                        (above, octet) = (byte, self.octet(byte));
                    }
                    if let Some(unit) = units.get_mut(offset) {
                        *unit = octet;
                    }
                }
            }
        }
    }

    /// Returns the eight pixels of a byte.
    #[expect(clippy::indexing_slicing, reason = "four bits are below 16")]
    fn octet(&self, byte: u8) -> Octet {
        let [a, b] = self.nibbles[usize::from(byte >> 4)];
        let [c, d] = self.nibbles[usize::from(byte & 0xf)];
        [a, b, c, d]
    }

    /// Paints one pixel row of glyphs of any size.
    fn run(&self, pixels: &mut [u32], run: &[Cell], font: &Font<'_>, y: usize) {
        let nibbles: &[[u32; 4]; 16] = transmute_ref!(&self.nibbles);
        let (width, bits) = (font.size().width as usize, font.glyph_bits());
        for (pixels, cell) in pixels.chunks_exact_mut(width).zip(run) {
            let mut line = font.scanline(cell.glyph(bits), y);
            let mut fours = pixels.chunks_exact_mut(4);
            let nibble = |line: u32| nibbles.get((line >> 28) as usize).unwrap_or(&[0; 4]);
            for four in fours.by_ref() {
                four.copy_from_slice(nibble(line));
                line <<= 4;
            }
            let rest = fours.into_remainder().iter_mut();
            for (to, from) in rest.zip(nibble(line)) {
                *to = *from;
            }
        }
    }

    /// Makes the table one for these colours.
    fn set_colours(&mut self, colours: (u32, u32)) {
        if self.colours == colours {
            return;
        }
        self.colours = colours;
        let (foreground, background) = (colours.0.to_le(), colours.1.to_le());
        let nibbles: &mut [[u32; 4]; 16] = transmute_mut!(&mut self.nibbles);
        for (bits, nibble) in nibbles.iter_mut().enumerate() {
            *nibble = [8, 4, 2, 1].map(|bit| {
                if bits & bit != 0 {
                    foreground
                } else {
                    background
                }
            });
        }
    }
}
