// SPDX-License-Identifier: GPL-2.0

//! The layout of text on scanouts: the scanouts that show it, the grid that fits all of them, and
//! the host's resources with their sizes and IDs.

use core::ops::RangeInclusive;

use crate::{
    gpu::protocol::{
        DisplayInfo,
        MemEntry,
        Mode,
        MAX_SCANOUTS, //
    },
    text::{
        Font,
        Grid,
        GridError,
        Limits,
        Scroll,
        Size, //
    }, //
};

/// Bytes of host memory that the resources may take: QEMU's `max_hostmem` by default.
pub(super) const MAX_RESOURCE_BYTES: u64 = 256 << 20;

/// The step from the ID of one of our resources to the next: bit 0 tells the resources of one font
/// from those of the next.
pub(super) const ID_STEP: u32 = 2;

/// The width of a scanout that shows text beside others, in pixels: text is laid out for the
/// smallest one.
const WIDTHS: RangeInclusive<u32> = 320..=16384;

/// The height of such a scanout, in pixels.
const HEIGHTS: RangeInclusive<u32> = 200..=16384;

/// Returns whether a scanout can show text beside others, whatever the font.
pub(crate) fn fits(mode: &Mode) -> bool {
    WIDTHS.contains(&mode.width) && HEIGHTS.contains(&mode.height)
}

/// Returns the scanouts that show text: all that are enabled and [fit](fits), or else the first
/// one, whatever its size.
pub(crate) fn usable(info: &DisplayInfo) -> impl Iterator<Item = Mode> + '_ {
    let any = info.enabled().any(|mode| fits(&mode));
    info.enabled()
        .filter(move |mode| !any || fits(mode))
        .take(if any { MAX_SCANOUTS } else { 1 })
}

/// Returns the smallest width and height of scanouts, and the largest ones.
pub(crate) fn sizes(scanouts: &[Mode]) -> (Size, Size) {
    let side = |of: fn(&Mode) -> u32| {
        let sides = || scanouts.iter().map(of);
        (sides().min().unwrap_or(0), sides().max().unwrap_or(0))
    };
    let ((narrow, wide), (low, high)) = (side(|mode| mode.width), side(|mode| mode.height));
    let size = |width, height| Size { width, height };
    (size(narrow, low), size(wide, high))
}

/// Lays text out on scanouts, with `cells` cells and `band_bytes` bytes of memory for pixels.
///
/// # Errors
///
/// As [`GridError`] says.
pub(crate) fn lay_out(
    scanouts: &[Mode],
    font: &Font<'_>,
    scroll: Scroll,
    cells: usize,
    band_bytes: usize,
) -> Result<Grid, GridError> {
    let limits = Limits {
        cells,
        band_bytes,
        // The list of entries is passed to the device in the band itself.
        entries: band_bytes / size_of::<MemEntry>(),
        resource_bytes: MAX_RESOURCE_BYTES,
    };
    let (smallest, largest) = sizes(scanouts);
    let grid = Grid::for_scanouts(smallest, largest, font.size(), scroll, &limits)?;
    if grid.scroll() == Scroll::Pan || scanouts.len() <= 1 {
        return Ok(grid);
    }
    // Each scanout has a resource of its own.
    let limits = Limits {
        resource_bytes: MAX_RESOURCE_BYTES / scanouts.len() as u64,
        ..limits
    };
    Grid::for_scanouts(smallest, largest, font.size(), Scroll::Repaint, &limits)
}

/// A resource on the host: of all scanouts, or, where nothing pans, of one.
#[derive(Clone, Copy)]
pub(super) struct Resource {
    /// The ID.
    pub(super) id: u32,
    /// The width and the height, in pixels.
    pub(super) size: Size,
}

/// The layout of text on scanouts.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    /// The scanouts that show the text.
    pub(super) scanouts: &'a [Mode],
    /// The layout of the text.
    pub(super) grid: Grid,
    /// The ID of the first resource.
    pub(super) first_id: u32,
}

impl Layout<'_> {
    /// Returns a bit for each of the scanouts.
    pub(super) fn scanout_mask(&self) -> u32 {
        let bit = |mode: &Mode| 1u32.checked_shl(mode.scanout).unwrap_or(0);
        self.scanouts.iter().fold(0, |bits, mode| bits | bit(mode))
    }

    /// Returns the number of resources.
    pub(super) fn resource_count(&self) -> usize {
        match self.grid.scroll() {
            Scroll::Pan => 1,
            Scroll::Repaint => self.scanouts.len(),
        }
    }

    /// Returns the resource of this index.
    pub(super) fn resource(&self, index: usize) -> Resource {
        let size = match (self.grid.scroll(), self.scanouts.get(index)) {
            // The modes may be in memory that the device can overwrite, as the text may.
            (Scroll::Repaint, Some(mode)) => Size {
                width: mode.width.min(*WIDTHS.end()),
                height: mode.height.min(*HEIGHTS.end()),
            },
            _ => self.grid.resource(),
        };
        Resource {
            id: self.first_id.wrapping_add(ID_STEP * index as u32),
            size,
        }
    }

    /// Returns the bytes of host memory that the resources take.
    pub(super) fn host_bytes(&self) -> u64 {
        let bytes = |Resource { size, .. }| u64::from(size.width) * u64::from(size.height) * 4;
        (0..self.resource_count())
            .map(|n| bytes(self.resource(n)))
            .sum()
    }
}
