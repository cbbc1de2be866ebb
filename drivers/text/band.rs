// SPDX-License-Identifier: GPL-2.0

//! How memory of a few text rows backs a resource of hundreds, where the scanout pans. [`strips`]
//! is for scanouts that do not pan.
//!
//! [`strips`]: super::strips
//!
//! The device copies pixel row h of a transfer's rectangle from the backing store at `offset` + h
//! S, S being the stride of the *resource* (virtio 1.3, 5.7.6.8, as QEMU reads it). The backing
//! store is a list of memory entries, and the same memory may be listed many times.
//!
//! **A slot** is memory for one text row, or for a *tile* of it: H pixel rows of U bytes, H being
//! the height of a glyph. S is k U. With the slot listed over and over, the device finds row h at h
//! k U modulo H U, that is in the slot's *unit* h k mod H. When k and H have no common divisor,
//! every row has a unit of its own. So a text row wider than the memory at hand is drawn as k
//! tiles, one after another. k = 1 is the plain case: the tile is the whole row, and unit h is row
//! h.
//!
//! **Two readings** of `offset` are in use. QEMU's is above; rutabaga (crosvm, rust-vmm) adds the
//! position of the rectangle and reads `offset` + (y + h) S + x * 4. For tile t of text row r that
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
pub(super) const PIXEL_BYTES: u32 = 4;

/// The reason why memory cannot be the band of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BandError {
    /// There is too little memory for one slot, even with the narrowest tiles.
    Memory {
        /// Bytes of the smallest slot.
        needed: u64,
        /// Bytes of the memory.
        available: usize,
    },
    /// The backing store of one slot takes more entries, or more bytes, than a device addresses.
    Entries(u64),
}

impl fmt::Display for BandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { needed, available } => write!(
                f,
                "a row takes {needed} bytes of memory, {available} are there: choose a smaller mode"
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
    /// The columns of a tile.
    pub(super) tile_cols: u32,
    /// The pixels of a unit, which is as wide as a tile.
    pub(super) unit: u32,
    /// The units of a slot, H.
    pub(super) height: u32,
    /// The tiles side by side in a text row, k.
    pub(super) tiles_across: u32,
    /// The tiles one below the other in a text row: 1 where the scanout pans.
    pub(super) strips: u32,
    pub(super) slots: u32,
    /// The text rows of the resource, where the scanout pans; 0 elsewhere.
    pub(super) text_rows: u32,
}

/// A part of a text row that is painted and transferred at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Its columns of the text row; the last ones may be beyond the screen.
    pub(crate) cols: Range<usize>,
    /// Its scanlines of the text row.
    pub(crate) scanlines: Range<u32>,
    /// The x of its leftmost pixel on the resource.
    pub(crate) x: u32,
}

impl Band {
    /// The entries that QEMU takes for one backing store.
    pub(crate) const MAX_ENTRIES: usize = 16384;

    /// The slots that a band has at most: more rows in flight are not worth the memory.
    pub(crate) const MAX_SLOTS: usize = 4;

    /// Lays out a band that backs a resource of `text_rows` text rows, at least `width` px wide,
    /// from `limits.band_bytes` of memory: with tiles as wide as fit, and then with as many slots
    /// as fit.
    ///
    /// `width` is not 0, and neither are the sides of `glyph`.
    ///
    /// # Errors
    ///
    /// [`BandError::Memory`] if not even a slot of the narrowest tiles fits the memory,
    /// [`BandError::Entries`] if the backing store of one slot is more than `limits` or a device
    /// allows.
    pub(super) fn new(
        width: u32,
        glyph: Size,
        text_rows: u32,
        limits: &Limits,
    ) -> Result<Self, BandError> {
        let mut smallest = u64::MAX;
        // A gap is at most k - 1 units of one slot, so a slot must have as many.
        for tiles in (1..glyph.height.max(2)).filter(|&k| coprime(k, glyph.height)) {
            let tile_cols = width.div_ceil(tiles).div_ceil(glyph.width);
            let mut band = Self {
                tile_cols,
                unit: tile_cols * glyph.width,
                height: glyph.height,
                tiles_across: tiles,
                strips: 1,
                slots: 1,
                text_rows,
            };
            smallest = smallest.min(band.slot_bytes());
            let fit = limits.band_bytes as u64 / band.slot_bytes();
            if fit == 0 {
                continue;
            }
            // With n slots, the backing store has n times the entries and bytes that it has with
            // one.
            let max_entries = limits.entries.min(Self::MAX_ENTRIES) as u64;
            let fit = fit
                .min(max_entries / band.entry_count() as u64)
                // QEMU adds up offsets in 32 bits.
                .min(u64::from(u32::MAX) / band.regions_bytes(band.tiles_across))
                .min(Self::MAX_SLOTS as u64);
            if fit == 0 {
                return Err(BandError::Entries(band.entry_count() as u64));
            }
            band.slots = fit as u32;
            return Ok(band);
        }
        Err(BandError::Memory {
            needed: smallest,
            available: limits.band_bytes,
        })
    }

    /// Returns how many slots there are, 1 to 4: the text rows that can be in flight at once.
    pub(crate) fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Returns how many tiles make a text row.
    pub(crate) fn tiles(&self) -> usize {
        (self.tiles_across * self.strips) as usize
    }

    /// Returns a tile of a text row, counted from the upper left.
    pub(crate) fn tile(&self, tile: usize) -> Tile {
        let (column, strip) = match self.strips {
            1 => (tile, 0),
            _ => (0, tile as u32),
        };
        let cols = self.tile_cols();
        Tile {
            cols: column * cols..(column + 1) * cols,
            scanlines: strip * self.height..(strip + 1) * self.height,
            x: (column as u32).saturating_mul(self.unit),
        }
    }

    /// Returns the columns of a tile; the last tile may reach beyond the screen.
    pub(crate) fn tile_cols(&self) -> usize {
        self.tile_cols as usize
    }

    /// Returns the width of the resource, in pixels.
    pub(super) fn width(&self) -> u32 {
        self.tiles_across * self.unit
    }

    /// Returns the text rows of the resource.
    pub(super) fn text_rows(&self) -> u32 {
        self.text_rows
    }

    /// Returns the width of a tile, in pixels.
    pub(crate) fn unit(&self) -> usize {
        self.unit as usize
    }

    /// Returns the range of a slot in the band, in pixels.
    pub(crate) fn slot(&self, slot: usize) -> Range<usize> {
        let pixels = self.unit() * self.height as usize;
        slot * pixels..(slot + 1) * pixels
    }

    /// Returns the ranges of a tile's pixel rows in a slot, from the uppermost on, in items of
    /// which `unit` make a unit.
    pub(crate) fn pixel_rows(&self, unit: usize) -> impl Iterator<Item = Range<usize>> {
        let (across, height) = (self.tiles_across as usize, self.height as usize);
        (0..height).map(move |row| {
            let start = row * across % height * unit;
            start..start + unit
        })
    }

    /// Returns the `offset` of a transfer from a slot to a tile of any text row but 0.
    ///
    /// From slot 0 and tile 0 a transfer may also take more than one text row, up to all of them
    /// but row 0, in the full width: while the slot holds zeroes, that clears the resource in one
    /// command.
    pub(crate) fn offset(&self, slot: usize, tile: usize) -> u64 {
        let tile = tile as u32;
        u64::from(self.slots) * self.regions_bytes(tile) + slot as u64 * self.region_bytes(tile)
    }

    /// Returns the entries of the backing store, in order: byte offset into the band, and bytes.
    ///
    /// Regions of tile 0 come first, because hosts search an offset from the start of the list.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, u32)> {
        let band = *self;
        let bytes = band.slot_bytes() as u32;
        let (first, rest) = (band.tiles_across, band.tiles_across * (band.text_rows - 1));
        (0..band.tiles_across).flat_map(move |tile| {
            (0..band.slots).flat_map(move |slot| {
                let times = |n| (0..n).map(move |_| (slot * bytes, bytes));
                let gap = (tile != 0).then_some((slot * bytes, tile * band.unit * PIXEL_BYTES));
                times(first).chain(gap).chain(times(rest))
            })
        })
    }

    /// Returns how many [`Self::entries`] there are.
    pub(crate) fn entry_count(&self) -> usize {
        let across = self.tiles_across as usize;
        let copies = across * self.text_rows as usize;
        // Every tile but the first has a gap.
        self.slots() * (across * copies + across - 1)
    }

    /// Returns the bytes of a slot.
    pub(super) fn slot_bytes(&self) -> u64 {
        u64::from(self.unit) * u64::from(PIXEL_BYTES) * u64::from(self.height)
    }

    /// Returns the bytes of the region of a tile.
    fn region_bytes(&self, tile: u32) -> u64 {
        let copies = u64::from(self.tiles_across) * u64::from(self.text_rows);
        copies * self.slot_bytes() + u64::from(tile) * u64::from(self.unit * PIXEL_BYTES)
    }

    /// Returns the bytes of the regions that one slot has for the first `tiles` tiles.
    fn regions_bytes(&self, tiles: u32) -> u64 {
        (0..tiles).map(|tile| self.region_bytes(tile)).sum()
    }
}

fn coprime(a: u32, b: u32) -> bool {
    let mut pair = (a, b);
    while pair.1 != 0 {
        pair = (pair.1, pair.0 % pair.1);
    }
    pair.0 == 1
}
