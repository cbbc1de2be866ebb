// SPDX-License-Identifier: GPL-2.0

//! How memory of a few text rows backs a resource of exactly the mode's size, where the scanout
//! does not pan.
//!
//! **A slot** is memory for a *strip*: a text row, or where memory is short an equal part of one, H
//! scanlines in the full width. Strips follow each other on the resource from its top to its
//! bottom. Strip n is always painted in slot n modulo N, N being the number of slots.
//!
//! **Three readings** of a transfer's `offset` are in use (virtio 1.3, 5.7.6.8), for a rectangle at
//! (0, y) of a resource of stride S, whose row h comes from byte
//!
//! * `offset` + h S: QEMU, with and without OpenGL;
//! * `offset` + (y + h) S: rutabaga's 2D device (crosvm, rust-vmm) adds the rectangle's position;
//! * (y + h) S: libkrun and QEMU's `virtio-gpu-rutabaga` ignore `offset`.
//!
//! All three find strip n in its slot if the backing store has these regions, each as long as the
//! resource, and `offset` is the start of the slot's own:
//!
//! ```text
//!   | slots 0, 1, .. N - 1, 0, 1, .. | slot 0 over and over | slot 1 over and over | ..
//!     no offset                        strips of slot 0       strips of slot 1
//! ```
//!
//! With one slot there is one region, with one more strip: `offset` is not 0, because QEMU takes a
//! transfer of offset 0 to x 0, y 0 in the full width for one of the whole backing store.
//! Rectangles begin at x 0, because the readings differ in whether `offset` or the device adds x *
//! 4.

use super::{
    band::PIXEL_BYTES,
    Band,
    BandError,
    Limits,
    Size, //
};

/// The least height of a strip that is made lower to get a second slot, in pixels.
const MIN_HEIGHT_PX: u32 = 8;

impl Band {
    /// Lays out a band that backs resources as large as scanouts of at most `screen` px from
    /// `limits.band_bytes` of memory: with strips as high as fit, and then with as many slots as
    /// fit.
    ///
    /// No side of `screen` or `glyph` is 0.
    ///
    /// # Errors
    ///
    /// [`BandError::Memory`] if a strip of one scanline does not fit the memory,
    /// [`BandError::Entries`] if the backing store of one slot has more entries than `limits` or
    /// QEMU allow.
    pub(super) fn in_strips(screen: Size, glyph: Size, limits: &Limits) -> Result<Self, BandError> {
        let tile_cols = screen.width.div_ceil(glyph.width);
        let mut band = Self {
            tile_cols,
            unit: tile_cols * glyph.width,
            height: glyph.height,
            tiles_across: 1,
            strips: 1,
            slots: 0,
            text_rows: 0,
        };
        let divisors = (1..=glyph.height).filter(|strips| glyph.height % strips == 0);
        for strips in divisors {
            let previous = band;
            (band.strips, band.height) = (strips, glyph.height / strips);
            let fit = limits.band_bytes as u64 / band.slot_bytes();
            band.slots = fit.min(Self::MAX_SLOTS as u64) as u32;
            // A width of which a scanline is no whole unit takes an entry for each scanline. Hosts
            // search the list from its start, so the offset is kept small.
            if screen.width != band.unit {
                band.slots = band.slots.min(1);
            }
            if previous.slots != 0 {
                // Two slots, so that one is painted while the device reads the other.
                let is_better = band.slots > 1
                    && band.height >= MIN_HEIGHT_PX
                    && 2 * band.height >= previous.height;
                if !is_better {
                    band = previous;
                }
                break;
            }
            if band.slots > 1 || band.slots == 1 && strips == glyph.height {
                break;
            }
        }
        if band.slots == 0 {
            return Err(BandError::Memory {
                needed: band.slot_bytes(),
                available: limits.band_bytes,
            });
        }
        while band.strip_entry_count(screen) > limits.entries.min(Self::MAX_ENTRIES) {
            if band.slots == 1 {
                return Err(BandError::Entries(band.strip_entry_count(screen) as u64));
            }
            band.slots -= 1;
        }
        Ok(band)
    }

    /// Returns the slot in which a tile of a text row is painted.
    pub(crate) fn strip_slot(&self, text_row: u32, tile: usize) -> usize {
        (text_row as usize * self.strips as usize + tile) % self.slots().max(1)
    }

    /// Returns the `offset` of a transfer from a slot to a resource of `size` px. If all slots hold
    /// the same, one transfer may take the whole resource.
    pub(crate) fn strip_offset(&self, size: Size, slot: usize) -> u64 {
        let strip = u64::from(size.width * PIXEL_BYTES) * u64::from(self.height);
        match self.slots {
            1 => strip,
            _ => (1 + slot as u64) * u64::from(self.strip_count(size)) * strip,
        }
    }

    /// Returns the entries of the backing store of a resource of `size` px, in order: byte offset
    /// into the band, and bytes.
    pub(crate) fn strip_entries(&self, size: Size) -> impl Iterator<Item = (u32, u32)> {
        let band = *self;
        let (count, slots) = (band.strip_count(size), band.slots);
        let (regions, strips) = match slots {
            1 => (1, count + 1),
            _ => (1 + slots, count),
        };
        let per_strip = band.entries_per_strip(size);
        let bytes = size.width * PIXEL_BYTES * (band.height / per_strip);
        (0..regions).flat_map(move |region| {
            (0..strips).flat_map(move |strip| {
                let slot = match region {
                    0 => strip % slots,
                    region => region - 1,
                };
                let slot = slot * band.slot_bytes() as u32;
                (0..per_strip).map(move |line| (slot + line * band.unit * PIXEL_BYTES, bytes))
            })
        })
    }

    /// Returns how many [`Self::strip_entries`] there are.
    pub(crate) fn strip_entry_count(&self, size: Size) -> usize {
        let strips = match self.slots {
            1 => self.strip_count(size) + 1,
            slots => (1 + slots) * self.strip_count(size),
        };
        strips as usize * self.entries_per_strip(size) as usize
    }

    /// Returns how many strips a resource has, the last of them perhaps in part.
    fn strip_count(&self, size: Size) -> u32 {
        size.height.div_ceil(self.height)
    }

    /// Returns how many entries make a strip: one, or one for each scanline where memory is wider
    /// than the resource.
    fn entries_per_strip(&self, size: Size) -> u32 {
        match size.width == self.unit {
            true => 1,
            false => self.height,
        }
    }
}
