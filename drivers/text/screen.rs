// SPDX-License-Identifier: GPL-2.0

//! The text itself: it wraps, it scrolls, and once a write it says what has to be drawn.

use super::{
    grid::{
        MAX_COLS,
        MAX_ROWS,
        MAX_SLOTS, //
    },
    Cell,
    Grid,
    Places,
    Scroll, //
};
use core::ops::Range;

/// A row of nothing.
static BLANKS: [Cell; MAX_COLS] = [Cell::BLANK; MAX_COLS];

/// What shows a [`Screen`]. Calls come in this order: any number of [`draw`](Self::draw), at most
/// one [`pan`](Self::pan), one [`finish`](Self::finish); nothing if nothing changed.
pub(crate) trait Surface {
    /// Draws `cells`, from column 0 on, at each of `places`.
    ///
    /// Columns before `from` are there already, as they are in `cells`; what is right of `cells`
    /// stays. `from` is less than the number of cells.
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
    /// The uppermost row that was written since the screen was shown, and how many rows have
    /// scrolled away since.
    touched: usize,
    scrolled: usize,
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
            touched: 0,
            scrolled: 0,
        })
    }

    /// The first text row of the window.
    pub(crate) fn top(&self) -> u32 {
        self.grid.top(self.origin)
    }

    /// Writes text. Newline goes to the start of the next row; carriage return, tab (every 8
    /// columns) and backspace move the cursor; any other byte is the glyph of that number. A row
    /// that is full wraps when one character more comes, as the VT does it.
    ///
    /// Rows that scroll away within the same write are never drawn.
    pub(crate) fn write(&mut self, bytes: &[u8], on: &mut impl Surface) {
        self.remember(bytes);
        self.show(on);
    }

    /// Takes text as [`Self::write`] does, without drawing it; the next write shows it.
    pub(crate) fn remember(&mut self, bytes: &[u8]) {
        let cols = self.grid.cols();
        for &byte in bytes {
            match byte {
                b'\n' => self.newline(),
                b'\r' => self.col = 0,
                b'\t' if self.col == cols => {}
                b'\t' => self.col = ((self.col | 7) + 1).min(cols - 1),
                0x08 => self.col = self.col.min(cols - 1).saturating_sub(1),
                glyph => {
                    if self.col == cols {
                        self.newline();
                    }
                    self.put(Cell::new(glyph, Cell::BLANK.attribute()));
                }
            }
        }
    }

    /// Puts a cell at the cursor, which has a column to be in.
    fn put(&mut self, cell: Cell) {
        let row = self.index(self.row);
        let at = &mut self.cells[row * self.grid.cols() + self.col];
        let (col, state) = (self.col as u16, &mut self.state[row]);
        self.col += 1;
        if *at == cell {
            return;
        }
        *at = cell;
        state.from = state.from.min(col);
        state.to = state.to.max(col + 1);
        if cell != Cell::BLANK {
            state.ink = state.ink.max(col + 1);
        }
    }

    /// Goes to the start of the next row.
    fn newline(&mut self) {
        self.col = 0;
        if self.row + 1 < self.grid.rows() {
            self.row += 1;
            return;
        }
        let (leaves, cols) = (self.first, self.grid.cols());
        let ink = usize::from(self.state[leaves].ink);
        self.cells[leaves * cols..][..ink].fill(Cell::BLANK);
        self.state[leaves] = Row::BLANK;
        self.first = self.index(1);
        self.scrolled = self.scrolled.saturating_add(1);
        self.touched = self.touched.saturating_sub(1);
    }

    /// Where a row of the screen is in `cells` and `state`.
    fn index(&self, row: usize) -> usize {
        let (index, rows) = (self.first + row, self.grid.rows());
        if index < rows {
            index
        } else {
            index - rows
        }
    }

    /// Draws what changed since it was last called.
    fn show(&mut self, on: &mut impl Surface) {
        // The cursor never goes up: what was written is between where it was and where it is.
        let touched = self.touched..self.row + 1;
        let scrolled = core::mem::take(&mut self.scrolled);
        self.touched = self.row;
        let (rows, window) = (self.grid.rows(), self.grid.window());
        let pans = scrolled != 0 && self.grid.scroll() == Scroll::Pan;
        let left = self.origin;
        // From `fresh` on, rows are where others were.
        let (touched, fresh) = if scrolled == 0 {
            (touched, rows)
        } else if pans {
            self.origin = (left + scrolled) % window;
            (touched, rows.saturating_sub(scrolled))
        } else {
            (0..rows, 0)
        };
        let mut changed: Option<Range<u32>> = None;
        for row in touched {
            if self.draw(row, row >= fresh, on) {
                let text_row = self.top() + row as u32;
                let start = changed.map_or(text_row, |range| range.start);
                changed = Some(start..text_row + 1);
            }
        }
        if pans {
            for slot in left..left + scrolled.min(window) {
                self.blank(slot % window, on);
            }
            self.pan(on);
        } else if let Some(text_rows) = changed {
            on.finish(text_rows);
        }
    }

    /// Draws a row: what changed in it, or, if its place is `fresh`, all of it and over all that was
    /// there. Returns whether there was anything to draw.
    fn draw(&mut self, row: usize, fresh: bool, on: &mut impl Surface) -> bool {
        let slot = (self.origin + row) % self.grid.window();
        let index = self.index(row);
        let (state, shown) = (&mut self.state[index], &mut self.shown[slot]);
        let (from, to) = if fresh {
            (0, state.ink.max(*shown))
        } else {
            (state.from, state.to)
        };
        *shown = state.ink;
        *state = Row {
            ink: state.ink,
            ..Row::BLANK
        };
        if from >= to {
            return false;
        }
        let cells = &self.cells[index * self.grid.cols()..][..to.into()];
        on.draw(self.grid.places(slot), cells, from.into());
        true
    }

    /// Blanks a slot that left at the top of the window, unless a row is there by now: what is below
    /// the last row shows in the window.
    fn blank(&mut self, slot: usize, on: &mut impl Surface) {
        let window = self.grid.window();
        let ink = usize::from(self.shown[slot]);
        if ink != 0 && (slot + window - self.origin) % window >= self.grid.rows() {
            self.shown[slot] = 0;
            on.draw(self.grid.places(slot), &BLANKS[..ink], 0);
        }
    }

    /// Shows the whole window.
    fn pan(&self, on: &mut impl Surface) {
        let top = self.top();
        on.pan(top);
        on.finish(top..top + self.grid.window() as u32);
    }
}
