// SPDX-License-Identifier: GPL-2.0

//! Where text lives: columns and rows of a mode, and the text rows of the resource that hold them.
//!
//! A resource is a stack of *text rows*, each as high as a glyph.
//!
//! [`Scroll::Repaint`]: every scanout has a resource of its own, of exactly its mode's size,
//! because this is for devices that show a whole resource, whatever the scanout's rectangle. Text
//! row n is row n of the screen.
//!
//! [`Scroll::Pan`]: the scanout is a window that moves down by a row where text scrolls up by one.
//! All scanouts show the same resource. Text row 0 is never used: QEMU takes a transfer of offset 0
//! to x 0, y 0 in the full width for one of the whole backing store. N ring slots, as many as the
//! screen shows text rows (a part of one counts), live at text rows 1 + i and again at 1 + i + N,
//! so that a window of N text rows starting at any slot finds all of them in order:
//!
//! ```text
//!   text row    0   1   2   3   4   5   6   7   8      N = 4, origin = 2
//!   ring slot   -   0   1   2   3   0   1   2   3
//!                           [------window------]
//! ```
//!
//! A screen that is no multiple of a row high shows the top of one text row more than it has rows.
//! That is the last slot of the window, which [`Screen`](super::Screen) keeps blank: a row that
//! leaves at the top comes back in at the bottom, and is blanked when it leaves. The same holds for
//! all that is below the rows where some are given up for want of cells, or where several screens
//! show the same text: it fits the smallest of them, and the window the largest.

use super::{
    Band,
    BandError, //
};
use core::{
    fmt,
    iter, //
};

/// The columns that a screen may have: 8192 px of the usual 8 px glyphs.
pub(super) const MAX_COLS: usize = 1024;

/// The rows that a screen may have.
pub(super) const MAX_ROWS: usize = 256;

/// The slots of the largest ring: [`MAX_ROWS`] and the part of a row below them.
pub(super) const MAX_SLOTS: usize = MAX_ROWS + 1;

/// The longest side of a mode, and of a resource that pans, in pixels: what hosts that draw with
/// textures can be expected to take.
const MAX_SIDE: u32 = 16384;

/// Rows are given up for want of cells before columns are, down to this many.
const FEW_ROWS: usize = 25;

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
    /// The scanout stays, and rows are drawn again where they differ from what was there.
    Repaint,
}

/// What there is to build a grid from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Cells of the screen, at most.
    pub(crate) cells: usize,
    /// Bytes of guest memory for the band.
    pub(crate) band_bytes: usize,
    /// Entries of the resource's backing store, at most; more than [`Band::MAX_ENTRIES`] are never
    /// used.
    pub(crate) entries: usize,
    /// Bytes of host memory that the resource has to stay below: QEMU's `max_hostmem`, 256 MiB
    /// unless told otherwise.
    pub(crate) resource_bytes: u64,
}

/// Why there is no grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GridError {
    /// A mode of no pixels, or of more than 16384 a side.
    Mode(Size),
    /// Not one glyph of the font fits the mode, or there is no memory for one cell.
    NoCell {
        /// The mode.
        mode: Size,
        /// The font's glyphs.
        glyph: Size,
    },
    /// The resource takes more host memory than there is.
    Resource {
        /// Bytes that it takes.
        needed: u64,
        /// Bytes it has to stay below.
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
            Self::Mode(mode) => write!(f, "mode {mode} is not 1x1 to {MAX_SIDE}x{MAX_SIDE}"),
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

/// The one or two text rows of the resource where a row of the screen has to be drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    first: u32,
    again: Option<u32>,
}

impl Places {
    /// The text rows.
    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        iter::once(self.first).chain(self.again)
    }
}

/// Text of a font on a mode, and the resource that holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// The largest screen.
    screen: Size,
    glyph: Size,
    cols: usize,
    rows: usize,
    /// Text rows but 0 that the scanout shows, the last one perhaps in part.
    window: usize,
    scroll: Scroll,
    band: Band,
}

impl Grid {
    /// Lays out glyphs of `glyph` px on a screen of `mode` px.
    ///
    /// A wish for [`Scroll::Pan`] that `limits` or the sides of the resource forbid becomes
    /// [`Scroll::Repaint`]: see [`Self::scroll`]. A screen of more cells than there are gives up
    /// rows down to 25, then columns; it has 1024 columns and 256 rows at most.
    pub(crate) fn new(
        mode: Size,
        glyph: Size,
        wish: Scroll,
        limits: &Limits,
    ) -> Result<Self, GridError> {
        Self::on_several(mode, mode, glyph, wish, limits)
    }

    /// The same on several screens: none of them is narrower or lower than `least`, nor wider or
    /// higher than `screen`. All is right of and below the text that `least` has no room for.
    pub(crate) fn on_several(
        least: Size,
        screen: Size,
        glyph: Size,
        wish: Scroll,
        limits: &Limits,
    ) -> Result<Self, GridError> {
        let sides = 1..=MAX_SIDE;
        for mode in [least, screen] {
            if !sides.contains(&mode.width) || !sides.contains(&mode.height) {
                return Err(GridError::Mode(mode));
            }
        }
        let no_cell = GridError::NoCell { mode: least, glyph };
        let fit = |side: u32, of: u32| side.checked_div(of).filter(|&n| n != 0).ok_or(no_cell);
        let cols = fit(least.width, glyph.width)? as usize;
        let rows = fit(least.height, glyph.height)? as usize;
        let grid = |scroll| Self::scrolling(screen, glyph, cols, rows, scroll, limits);
        match wish {
            Scroll::Pan => grid(Scroll::Pan).or_else(|_| grid(Scroll::Repaint)),
            Scroll::Repaint => grid(Scroll::Repaint),
        }
    }

    fn scrolling(
        screen: Size,
        glyph: Size,
        cols: usize,
        rows: usize,
        scroll: Scroll,
        limits: &Limits,
    ) -> Result<Self, GridError> {
        let window = screen.height.div_ceil(glyph.height);
        let (cols, rows) =
            cap(cols.min(MAX_COLS), rows.min(MAX_ROWS), limits.cells).ok_or(GridError::NoCell {
                mode: screen,
                glyph,
            })?;
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
        let pans =
            grid.window <= MAX_SLOTS && resource.width <= MAX_SIDE && resource.height <= MAX_SIDE;
        if needed >= limits.resource_bytes || (scroll == Scroll::Pan && !pans) {
            return Err(GridError::Resource {
                needed,
                limit: limits.resource_bytes,
            });
        }
        Ok(grid)
    }

    /// The characters of a row.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// The rows of the screen.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The size of a glyph, in pixels.
    pub(crate) fn glyph(&self) -> Size {
        self.glyph
    }

    /// How the screen scrolls, which may be less than was wished for.
    pub(crate) fn scroll(&self) -> Scroll {
        self.scroll
    }

    /// The memory behind the resource.
    pub(crate) fn band(&self) -> &Band {
        &self.band
    }

    /// The size of the largest scanout's rectangle, in pixels: the mode, or as much as covers those
    /// of several. Its x is 0, its y is [`Self::y`] of the window's first text row.
    pub(crate) fn screen(&self) -> Size {
        self.screen
    }

    /// The size of the resource, in pixels; it may be wider than the screen where it pans.
    pub(crate) fn resource(&self) -> Size {
        match self.scroll {
            Scroll::Repaint => self.screen,
            Scroll::Pan => Size {
                width: self.band.width(),
                height: self.y(self.band.text_rows()),
            },
        }
    }

    /// The first pixel row of a text row of the resource.
    pub(crate) fn y(&self, text_row: u32) -> u32 {
        text_row.saturating_mul(self.glyph.height)
    }

    /// The text rows that the scanout shows, the last of them perhaps in part.
    pub(crate) fn window(&self) -> usize {
        self.window
    }

    /// The first text row of a window that starts at a slot.
    pub(crate) fn top(&self, origin: usize) -> u32 {
        let unused = match self.scroll {
            Scroll::Pan => 1,
            Scroll::Repaint => 0,
        };
        unused + (origin % self.window) as u32
    }

    /// Where a slot is drawn.
    pub(super) fn places(&self, slot: usize) -> Places {
        let first = self.top(slot);
        let again = (self.scroll == Scroll::Pan).then_some(first + self.window as u32);
        Places { first, again }
    }
}

/// Columns and rows that at most `cells` cells make.
fn cap(cols: usize, rows: usize, cells: usize) -> Option<(usize, usize)> {
    let rows = rows.min((cells / cols).max(FEW_ROWS)).min(cells);
    let cols = cols.min(cells.checked_div(rows)?);
    Some((cols, rows))
}
