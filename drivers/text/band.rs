// SPDX-License-Identifier: GPL-2.0

//! How a memory of a few text rows backs a resource of hundreds, where the scanout pans. [`strips`]
//! has the other way.
//!
//! [`strips`]: super::strips
//!
//! The device copies pixel row h of a transfer's rectangle from the backing store at `offset` + h
//! S, S being the stride of the *resource* (virtio 1.3, 5.7.6.8, as QEMU reads it). The backing
//! store is a list of memory entries, and one memory may be listed many times.
//!
//! **A slot** is memory for one text row, or for a *tile* of it: H pixel rows of U bytes, H being
//! the height of a glyph. S is k U. With the slot listed over and over, the device finds row h at h
//! k U modulo H U, that is in the slot's *unit* h k mod H. When k and H have no common divisor,
//! every row has a unit of its own. So a text row wider than the memory at hand is drawn as k
//! tiles, one after another. k = 1 is the plain case: the tile is the whole row, and unit h is row
//! h.
//!
//! **Two readings** of `offset` are in use. QEMU's is above; rutabaga (crosvm, rust-vmm) adds the
//! place of the rectangle and reads `offset` + (y + h) S + x * 4. For tile t of text row r that
//! adds r H S, which is whole slots, and t U. Each slot and tile has a *region* of the backing
//! store that is right under both when `offset` is its start:
//!
//! ```text
//!   | slot x k | t U bytes of anything | slot x k (R - 1) |      R text rows in the resource
//!     QEMU       the gap                 rutabaga, r >= 1
//! ```

use super::{
    Limits,
    Size, //
};
use core::{
    fmt,
    ops::Range, //
};

/// Bytes of a pixel.
pub(super) const PIXEL: u32 = 4;

/// Why memory is no band for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BandError {
    /// Too little memory for one slot, however narrow its tiles may be.
    Memory {
        /// Bytes of the smallest slot.
        needed: u64,
        /// Bytes that are there.
        found: usize,
    },
    /// The backing store of one slot takes more entries, or more bytes, than a device addresses.
    Entries(u64),
}

impl fmt::Display for BandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { needed, found } => write!(
                f,
                "a row takes {needed} bytes of memory, {found} are there: choose a smaller mode"
            ),
            Self::Entries(entries) => write!(
                f,
                "backing store of {entries} entries is more than allowed: choose a smaller mode"
            ),
        }
    }
}

/// The layout of the band and of the backing store made from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Band {
    /// Columns of a tile.
    pub(super) tile_cols: u32,
    /// Pixels of a unit, the width of a tile.
    pub(super) unit: u32,
    /// Units of a slot, H.
    pub(super) height: u32,
    /// Tiles side by side in a text row, k.
    pub(super) columns: u32,
    /// Tiles one below the other in a text row: 1 where the scanout pans.
    pub(super) strips: u32,
    pub(super) slots: u32,
    /// Text rows of the resource, where the scanout pans.
    pub(super) text_rows: u32,
}

/// A part of a text row that is painted, and transferred, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Its columns of the text row; the last ones may be beyond the screen.
    pub(crate) cols: Range<usize>,
    /// Its scanlines of the text row.
    pub(crate) lines: Range<u32>,
    /// Its leftmost pixel on the resource.
    pub(crate) x: u32,
}

impl Band {
    /// The entries that QEMU takes for one backing store.
    pub(crate) const MAX_ENTRIES: usize = 16384;

    /// How many rows in flight are worth memory.
    pub(crate) const MAX_SLOTS: usize = 4;

    /// Backs a resource of `text_rows` text rows, at least `width` px wide, from
    /// `limits.band_bytes` of memory: with tiles as wide, and then with slots as many, as fit.
    ///
    /// `width` is not 0, and neither are the sides of `glyph`.
    pub(super) fn new(
        width: u32,
        glyph: Size,
        text_rows: u32,
        limits: &Limits,
    ) -> Result<Self, BandError> {
        let mut smallest = u64::MAX;
        // A gap comes out of one slot: its k - 1 units at most have to be there.
        for tiles in (1..glyph.height.max(2)).filter(|&k| coprime(k, glyph.height)) {
            let tile_cols = width.div_ceil(tiles).div_ceil(glyph.width);
            let mut band = Self {
                tile_cols,
                unit: tile_cols * glyph.width,
                height: glyph.height,
                columns: tiles,
                strips: 1,
                slots: 1,
                text_rows,
            };
            smallest = smallest.min(band.slot_bytes());
            let fit = limits.band_bytes as u64 / band.slot_bytes();
            if fit == 0 {
                continue;
            }
            // Everything about the backing store is as many times as much with more slots.
            let max_entries = limits.entries.min(Self::MAX_ENTRIES) as u64;
            let fit = fit
                .min(max_entries / band.entry_count() as u64)
                // QEMU adds up offsets in 32 bits.
                .min(u64::from(u32::MAX) / band.regions(band.columns))
                .min(Self::MAX_SLOTS as u64);
            if fit == 0 {
                return Err(BandError::Entries(band.entry_count() as u64));
            }
            band.slots = fit as u32;
            return Ok(band);
        }
        Err(BandError::Memory {
            needed: smallest,
            found: limits.band_bytes,
        })
    }

    /// The slots, 1 to 4: text rows that can be in flight at once.
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// How many tiles make a text row.
    pub(crate) fn tiles(&self) -> usize {
        (self.columns * self.strips) as usize
    }

    /// A tile of a text row, counted from its upper left.
    pub(crate) fn tile(&self, tile: usize) -> Tile {
        let (column, strip) = match self.strips {
            1 => (tile, 0),
            _ => (0, tile as u32),
        };
        let cols = self.tile_cols();
        Tile {
            cols: column * cols..(column + 1) * cols,
            lines: strip * self.height..(strip + 1) * self.height,
            x: (column as u32).saturating_mul(self.unit),
        }
    }

    /// The columns of a tile; the last tile may reach beyond the screen.
    pub(crate) fn tile_cols(&self) -> usize {
        self.tile_cols as usize
    }

    /// The width of the resource, in pixels.
    pub(super) fn width(&self) -> u32 {
        self.columns * self.unit
    }

    /// The text rows of the resource.
    pub(super) fn text_rows(&self) -> u32 {
        self.text_rows
    }

    /// The width of a tile, in pixels.
    pub(crate) fn unit(&self) -> usize {
        self.unit as usize
    }

    /// Where a slot is in the band, in pixels.
    pub(crate) fn slot(&self, slot: usize) -> Range<usize> {
        let pixels = self.unit() * self.height as usize;
        slot * pixels..(slot + 1) * pixels
    }

    /// Where the pixel rows of a tile are in a slot, from the uppermost on, in items of which
    /// `unit` make a unit.
    pub(crate) fn rows(&self, unit: usize) -> impl Iterator<Item = Range<usize>> {
        let (columns, height) = (self.columns as usize, self.height as usize);
        (0..height).map(move |row| {
            let start = row * columns % height * unit;
            start..start + unit
        })
    }

    /// The `offset` of a transfer from a slot to a tile of any text row but 0.
    ///
    /// From slot 0 and tile 0 a transfer may also take more than one text row, up to all of them
    /// but row 0, in the full width: while the slot holds zeroes that blanks the resource in one
    /// command.
    pub(crate) fn offset(&self, slot: usize, tile: usize) -> u64 {
        let tile = tile as u32;
        u64::from(self.slots) * self.regions(tile) + slot as u64 * self.region(tile)
    }

    /// The entries of the backing store, in order: byte offset into the band, and bytes.
    ///
    /// Regions of tile 0 come first, because hosts search an offset from the start of the list.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        let band = *self;
        let bytes = band.slot_bytes() as u32;
        let (first, rest) = (band.columns, band.columns * (band.text_rows - 1));
        (0..band.columns).flat_map(move |tile| {
            (0..band.slots).flat_map(move |slot| {
                let times = |n| (0..n).map(move |_| (slot * bytes, bytes));
                let gap = (tile != 0).then_some((slot * bytes, tile * band.unit * PIXEL));
                times(first).chain(gap).chain(times(rest))
            })
        })
    }

    /// How many [`Self::entries`] there are.
    pub(crate) fn entry_count(&self) -> usize {
        let columns = self.columns as usize;
        let copies = columns * self.text_rows as usize;
        // Every tile but the first has a gap.
        self.slots() * (columns * copies + columns - 1)
    }

    /// The bytes of a slot.
    pub(super) fn slot_bytes(&self) -> u64 {
        u64::from(self.unit) * u64::from(PIXEL) * u64::from(self.height)
    }

    /// The bytes of the region of a tile.
    fn region(&self, tile: u32) -> u64 {
        let copies = u64::from(self.columns) * u64::from(self.text_rows);
        copies * self.slot_bytes() + u64::from(tile) * u64::from(self.unit * PIXEL)
    }

    /// The bytes of the regions that one slot has for the first `tiles` tiles.
    fn regions(&self, tiles: u32) -> u64 {
        (0..tiles).map(|tile| self.region(tile)).sum()
    }
}

fn coprime(a: u32, b: u32) -> bool {
    let mut pair = (a, b);
    while pair.1 != 0 {
        pair = (pair.1, pair.0 % pair.1);
    }
    pair.0 == 1
}
