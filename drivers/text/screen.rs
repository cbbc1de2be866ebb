// SPDX-License-Identifier: GPL-2.0

//! The text itself: it wraps, it scrolls, and once a write it says what has to be drawn.

use super::{
    grid::{
        MAX_ROWS,
        MAX_SLOTS, //
    },
    Cell,
    Grid,
    Places,
    Scroll, //
};
use core::ops::Range;

/// What shows a [`Screen`]. Calls come in this order: any number of [`draw`](Self::draw), at most
/// one [`pan`](Self::pan), one [`finish`](Self::finish); nothing if nothing changed.
pub(crate) trait Surface {
    /// Draws `cells`, from column 0 on, at each of `places`.
    ///
    /// Columns before `from` are there already, as they are in `cells`; what is right of `cells` is
    /// blank. `from` is less than the number of cells.
    fn draw(&mut self, places: Places, cells: &[Cell], from: usize);

    /// Moves the scanout to the window whose first text row is `top`.
    fn pan(&mut self, top: u32);

    /// Shows what was drawn: these text rows of the resource, the whole window after a
    /// [`pan`](Self::pan).
    fn finish(&mut self, text_rows: Range<u32>);
}

/// A row of the screen.
#[derive(Clone, Copy)]
struct Row {
    /// Columns, from the left, that may be other than blank.
    ink: u16,
    /// The first column that changed since the row was drawn.
    from: u16,
    /// The column after the last one that did; not more than `from` if none did.
    to: u16,
}

impl Row {
    const BLANK: Self = Self {
        ink: 0,
        from: u16::MAX,
        to: 0,
    };
}

/// A screen full of text, and what of it is on the resource.
pub(crate) struct Screen<'a> {
    grid: Grid,
    /// Row after row, from the one that [`Self::first`] names.
    cells: &'a mut [Cell],
    /// As `cells`.
    state: [Row; MAX_ROWS],
    /// Which of the rows in `cells` is the uppermost on the screen.
    first: usize,
    /// The slot of the uppermost row; 0 where nothing pans.
    origin: usize,
    /// The ink that is on the resource, slot by slot (row by row where nothing pans).
    shown: [u16; MAX_SLOTS],
    /// The cursor; `col` is the number of columns when the next character has to wrap.
    col: usize,
    row: usize,
}

impl<'a> Screen<'a> {
    /// A blank screen on a resource that has been cleared, whose scanout is at [`Self::top`]. None
    /// if `cells` are fewer than the grid has.
    pub(crate) fn new(cells: &'a mut [Cell], grid: Grid) -> Option<Self> {
        let cells = cells.get_mut(..grid.cols() * grid.rows())?;
        cells.fill(Cell::BLANK);
        Some(Self {
            grid,
            cells,
            state: [Row::BLANK; MAX_ROWS],
            first: 0,
            origin: 0,
            shown: [0; MAX_SLOTS],
            col: 0,
            row: 0,
        })
    }

    /// The first text row of the window.
    pub(crate) fn top(&self) -> u32 {
        self.grid.top(self.origin)
    }

    /// Where the next character goes: column and row.
    pub(crate) fn cursor(&self) -> (usize, usize) {
        (self.col, self.row)
    }

    /// Writes text. Newline goes to the start of the next row; carriage return, tab (every 8
    /// columns) and backspace move the cursor; any other byte is the glyph of that number. A row
    /// that is full wraps when one character more comes.
    pub(crate) fn write(&mut self, bytes: &[u8], on: &mut impl Surface) {
        let _ = (bytes, on, Scroll::Pan);
    }

    /// Draws everything, on a resource that has been cleared.
    pub(crate) fn redraw(&mut self, on: &mut impl Surface) {
        let _ = on;
    }
}
