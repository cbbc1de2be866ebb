// SPDX-License-Identifier: GPL-2.0

//! Where text is on the resource: columns and rows of a mode, and the text rows that hold them.
//!
//! A resource is a stack of *text rows*, each as high as a glyph.
//!
//! [`Scroll::Repaint`]: every scanout has a resource of its own, of exactly its mode's size,
//! because this is for devices that show a whole resource, whatever the scanout's rectangle. Text
//! row n is row n of the screen.
//!
//! [`Scroll::Pan`]: the scanout is a *window* that moves down by a row where text scrolls up by a
//! row. All scanouts show the same resource. Text row 0 is never used: QEMU takes a transfer of
//! offset 0 to x 0, y 0 in the full width for one of the whole backing store. There are N *ring
//! rows*, as many as the screen shows text rows (a part of one counts). Each ring row i is at two
//! text rows, 1 + i and 1 + i + N. So a window of N text rows that starts at any ring row shows all
//! of them in order:
//!
//! ```text
//!   text row    0   1   2   3   4   5   6   7   8      N = 4, the top ring row is 2
//!   ring row    -   0   1   2   3   0   1   2   3
//!                           [------window------]
//! ```
//!
//! A screen that is no multiple of a row high shows the top of one text row more than it has rows.
//! That is the last ring row of the window, which [`Screen`](super::Screen) keeps blank: a ring row
//! that leaves the window at the top comes back in at the bottom, and is blanked when it leaves.
//! The same holds for all ring rows below the rows, where there are too few cells for all rows, or
//! where several screens show the same text: the text fits the smallest of them, and the window the
//! largest.

use super::{
    Band,
    BandError, //
};
use core::{
    fmt,
    iter, //
};

/// The columns that a screen has at most: 8192 px of the usual 8 px glyphs.
pub(super) const MAX_COLS: usize = 1024;

/// The rows that a screen has at most.
pub(super) const MAX_ROWS: usize = 256;

/// The ring rows that a resource has at most: [`MAX_ROWS`] and the part of a row below them.
pub(super) const MAX_RING_ROWS: usize = MAX_ROWS + 1;

/// The longest side of a mode, and of a resource that pans, in pixels: hosts that draw with
/// textures can be expected to take it.
const MAX_SIDE_PX: u32 = 16384;

/// The rows to which a screen of too few cells is reduced before it loses columns.
const MIN_ROWS: usize = 25;

/// A width and a height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Pixels from left to right.
    pub(crate) width: u32,
    /// Pixels from top to bottom.
    pub(crate) height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// How text moves up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scroll {
    /// The scanout moves down over a resource that is twice as high as the screen.
    Pan,
    /// The scanout stays, and rows are drawn again where they differ from the rows before.
    Repaint,
}

/// The memory and the bounds that a grid is built from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Cells of the screen, at most.
    pub(crate) cells: usize,
    /// Bytes of guest memory for the band.
    pub(crate) band_bytes: usize,
    /// Entries of the resource's backing store, at most; more than [`Band::MAX_ENTRIES`] are never
    /// used.
    pub(crate) entries: usize,
    /// Bytes of host memory that the resource has to stay below: QEMU's `max_hostmem` is 256 MiB by
    /// default.
    pub(crate) resource_bytes: u64,
}

/// The reason why there is no grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GridError {
    /// A mode has no pixels, or more than 16384 a side.
    Mode(Size),
    /// Not one glyph of the font fits the mode, or there is no memory for one cell.
    NoCell {
        /// The mode.
        mode: Size,
        /// The size of the font's glyphs.
        glyph: Size,
    },
    /// The resource takes more host memory than there is.
    Resource {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that it has to stay below.
        limit: u64,
    },
    /// The band cannot back the resource.
    Band(BandError),
}

impl From<BandError> for GridError {
    fn from(error: BandError) -> Self {
        Self::Band(error)
    }
}

impl fmt::Display for GridError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mode(mode) => write!(f, "mode {mode} is not 1x1 to {MAX_SIDE_PX}x{MAX_SIDE_PX}"),
            Self::NoCell { mode, glyph } => {
                write!(f, "no cell for a {glyph} px glyph on a screen of {mode}")
            }
            Self::Resource { needed, limit } => write!(
                f,
                "screen takes {needed} bytes of the host's {limit}: choose a smaller mode"
            ),
            Self::Band(error) => error.fmt(f),
        }
    }
}

/// The one or two text rows of the resource at which a row of the screen is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowPositions {
    first: u32,
    again: Option<u32>,
}

impl RowPositions {
    /// Iterates over the text rows.
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        iter::once(self.first).chain(self.again)
    }
}

/// The layout of text in a font on a mode, and of the resource that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// The size of the largest scanout.
    screen: Size,
    glyph: Size,
    cols: usize,
    rows: usize,
    /// The text rows, without row 0, that the scanout shows, the last one perhaps in part.
    window: usize,
    scroll: Scroll,
    band: Band,
}

impl Grid {
    /// Lays out glyphs of `glyph` px on a screen of `mode` px.
    ///
    /// If `limits` or the sides of the resource do not allow [`Scroll::Pan`], the grid has
    /// [`Scroll::Repaint`]: see [`Self::scroll`]. A screen of more cells than there are loses rows
    /// down to 25, then columns; it has 1024 columns and 256 rows at most.
    ///
    /// # Errors
    ///
    /// As [`GridError`] says.
    #[allow(dead_code, reason = "only tests lay out a scanout alone")]
    pub(crate) fn new(
        mode: Size,
        glyph: Size,
        requested: Scroll,
        limits: &Limits,
    ) -> Result<Self, GridError> {
        Self::for_scanouts(mode, mode, glyph, requested, limits)
    }

    /// Lays out text as [`Self::new`] does, for several scanouts: none of them is narrower or lower
    /// than `smallest`, nor wider or higher than `screen`. The area right of the text and below it,
    /// for which `smallest` has no room, is black.
    ///
    /// # Errors
    ///
    /// As [`GridError`] says.
    pub(crate) fn for_scanouts(
        smallest: Size,
        screen: Size,
        glyph: Size,
        requested: Scroll,
        limits: &Limits,
    ) -> Result<Self, GridError> {
        let sides = 1..=MAX_SIDE_PX;
        for mode in [smallest, screen] {
            if !sides.contains(&mode.width) || !sides.contains(&mode.height) {
                return Err(GridError::Mode(mode));
            }
        }
        let no_cell = GridError::NoCell {
            mode: smallest,
            glyph,
        };
        let fit = |side: u32, of: u32| side.checked_div(of).filter(|&n| n != 0).ok_or(no_cell);
        let cols = fit(smallest.width, glyph.width)? as usize;
        let rows = fit(smallest.height, glyph.height)? as usize;
        let grid = |scroll| Self::with_scroll(screen, glyph, cols, rows, scroll, limits);
        match requested {
            Scroll::Pan => grid(Scroll::Pan).or_else(|_| grid(Scroll::Repaint)),
            Scroll::Repaint => grid(Scroll::Repaint),
        }
    }

    fn with_scroll(
        screen: Size,
        glyph: Size,
        cols: usize,
        rows: usize,
        scroll: Scroll,
        limits: &Limits,
    ) -> Result<Self, GridError> {
        let window = screen.height.div_ceil(glyph.height);
        let (cols, rows) = limit_to(cols.min(MAX_COLS), rows.min(MAX_ROWS), limits.cells).ok_or(
            GridError::NoCell {
                mode: screen,
                glyph,
            },
        )?;
        let band = match scroll {
            Scroll::Pan => Band::new(screen.width, glyph, 1 + 2 * window, limits)?,
            Scroll::Repaint => Band::in_strips(screen, glyph, limits)?,
        };
        let grid = Self {
            screen,
            glyph,
            cols,
            rows,
            window: window as usize,
            scroll,
            band,
        };
        let resource = grid.resource();
        let needed = u64::from(resource.width) * u64::from(resource.height) * 4;
        // Whole tiles may be wider than the screen.
        let pans = grid.window <= MAX_RING_ROWS
            && resource.width <= MAX_SIDE_PX
            && resource.height <= MAX_SIDE_PX;
        if needed >= limits.resource_bytes || (scroll == Scroll::Pan && !pans) {
            return Err(GridError::Resource {
                needed,
                limit: limits.resource_bytes,
            });
        }
        Ok(grid)
    }

    /// Returns how many characters a row has.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Returns how many rows the screen has.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the size of a glyph, in pixels.
    pub(crate) fn glyph(&self) -> Size {
        self.glyph
    }

    /// Returns how the screen scrolls: as was requested, or [`Scroll::Repaint`].
    pub(crate) fn scroll(&self) -> Scroll {
        self.scroll
    }

    /// Returns the layout of the memory behind the resource.
    pub(crate) fn band(&self) -> &Band {
        &self.band
    }

    /// Returns the size of the largest scanout's rectangle, in pixels: the mode, or as much as
    /// covers the modes of several. Its x is 0, its y is [`Self::y`] of the window's first text
    /// row.
    pub(crate) fn screen(&self) -> Size {
        self.screen
    }

    /// Returns the size of the resource, in pixels; it may be wider than the screen where it pans.
    pub(crate) fn resource(&self) -> Size {
        match self.scroll {
            Scroll::Repaint => self.screen,
            Scroll::Pan => Size {
                width: self.band.width(),
                height: self.y(self.band.text_rows()),
            },
        }
    }

    /// Returns the first pixel row of a text row of the resource.
    pub(crate) fn y(&self, text_row: u32) -> u32 {
        text_row.saturating_mul(self.glyph.height)
    }

    /// Returns how many text rows the scanout shows, the last of them perhaps in part.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// Returns the first text row of a window that starts at a ring row.
    pub(crate) fn top(&self, ring_row: usize) -> u32 {
        let unused = match self.scroll {
            Scroll::Pan => 1,
            Scroll::Repaint => 0,
        };
        unused + (ring_row % self.window) as u32
    }

    /// Returns the text rows at which a ring row is drawn.
    pub(super) fn positions(&self, ring_row: usize) -> RowPositions {
        let first = self.top(ring_row);
        let again = (self.scroll == Scroll::Pan).then_some(first + self.window as u32);
        RowPositions { first, again }
    }
}

/// Returns `cols` and `rows`, reduced so that they make `cells` cells at most; `None` if there is
/// no cell.
fn limit_to(cols: usize, rows: usize, cells: usize) -> Option<(usize, usize)> {
    let rows = rows.min((cells / cols).max(MIN_ROWS)).min(cells);
    let cols = cols.min(cells.checked_div(rows)?);
    Some((cols, rows))
}
