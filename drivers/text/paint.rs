// SPDX-License-Identifier: GPL-2.0

//! Cells to pixels: four pixels at a time, out of a table of all sixteen.

use super::{
    font::scanline,
    Band,
    Cell,
    Font,
    Palette, //
};

/// Paints cells into a slot of the band.
pub(crate) struct Painter {
    /// The foreground and the background that the table is for.
    colours: (u32, u32),
    /// The pixels of four bits of a scanline, the highest bit leftmost.
    nibbles: [[u32; 4]; 16],
}

impl Painter {
    /// A painter that has painted nothing yet.
    pub(crate) const fn new() -> Self {
        Self {
            // Black on black: right for a table of zeroes.
            colours: (0, 0),
            nibbles: [[0; 4]; 16],
        }
    }

    /// Paints `cells` from column `first_col` of the tile on; what lies beyond the tile is left out.
    ///
    /// `slot` is the memory at [`Band::slot`], in little-endian `B8G8R8X8` pixels.
    pub(crate) fn paint(
        &mut self,
        font: &Font<'_>,
        palette: &Palette,
        band: &Band,
        cells: &[Cell],
        slot: &mut [u32],
        first_col: usize,
    ) {
        let width = font.size().width as usize;
        let mut x = first_col.saturating_mul(width);
        for cell in cells {
            let columns = x..x.saturating_add(width);
            if columns.end > band.unit() {
                return;
            }
            x = columns.end;
            self.choose(palette.colours(cell.attribute()));
            let lines = font.glyph(cell.glyph().into());
            if width == 8 {
                band.each_row(slot, lines, |unit, &line| {
                    if let Some(pixels) = unit[columns.clone()].first_chunk_mut() {
                        self.eight(pixels, line);
                    }
                });
            } else {
                let lines = lines.chunks_exact(font.pitch());
                band.each_row(slot, lines, |unit, line| {
                    self.any(&mut unit[columns.clone()], scanline(line));
                });
            }
        }
    }

    /// Eight pixels, in two copies.
    fn eight(&self, pixels: &mut [u32; 8], line: u8) {
        let (left, right) = pixels.split_at_mut(4);
        left.copy_from_slice(&self.nibbles[usize::from(line >> 4)]);
        right.copy_from_slice(&self.nibbles[usize::from(line & 0xf)]);
    }

    /// Any number of pixels up to 32, out of the highest bits of `line`.
    fn any(&self, pixels: &mut [u32], mut line: u32) {
        for four in pixels.chunks_mut(4) {
            for (to, from) in four.iter_mut().zip(&self.nibbles[(line >> 28) as usize]) {
                *to = *from;
            }
            line <<= 4;
        }
    }

    /// Makes the table one for these colours.
    fn choose(&mut self, colours: (u32, u32)) {
        if self.colours == colours {
            return;
        }
        self.colours = colours;
        let (ink, paper) = (colours.0.to_le(), colours.1.to_le());
        for (bits, pixels) in self.nibbles.iter_mut().enumerate() {
            for (x, pixel) in pixels.iter_mut().enumerate() {
                *pixel = if bits & (8 >> x) != 0 { ink } else { paper };
            }
        }
    }
}
