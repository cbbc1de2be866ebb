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
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// The colours of what is written: the VT's default.
pub(crate) const ATTRIBUTE: u8 = 0x07;

/// Screens with fewer rows keep nothing: what scrolls needs some as well.
const ROWS_TO_KEEP: usize = 16;

/// Decimal digits of a `u64` at most.
const DIGITS: usize = 20;

/// No rows.
const NOTHING: Range<usize> = Range {
    start: MAX_ROWS,
    end: 0,
};

/// Rows of nothing, for glyphs of 8 and of 9 bits.
static BLANKS: [[Cell; MAX_COLS]; 2] = [[Cell::blank(8); MAX_COLS], [Cell::blank(9); MAX_COLS]];

/// Which way text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Towards row 0.
    Up,
    /// Away from row 0.
    Down,
}

/// Where the cursor is, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The row of the screen.
    pub(crate) row: usize,
    /// The column.
    pub(crate) col: usize,
    /// The scanlines of the cell whose colours change places.
    pub(crate) lines: Range<usize>,
}

/// What shows a [`Screen`]. Calls come in this order: any number of [`draw`](Self::draw), at most
/// one [`pan`](Self::pan), one [`finish`](Self::finish); nothing if nothing changed.
pub(crate) trait Surface {
    /// Draws `cells`, from column 0 on, at each of `places`, with the cursor if it is there.
    ///
    /// Columns before `from` are there already, as they are in `cells`; what is right of `cells`
    /// stays. `from` is less than the number of cells.
    fn draw(&mut self, places: Places, cells: &[Cell], from: usize, cursor: Option<&Cursor>);

    /// Moves the scanout to the window whose first text row is `top`.
    fn pan(&mut self, top: u32);

    /// Shows what was drawn: these text rows of the resource, the whole window after a
    /// [`pan`](Self::pan).
    fn finish(&mut self, text_rows: Range<u32>);

    /// Blackens the whole resource, and shows the window whose first text row is `top`.
    fn blacken(&mut self, top: u32);
}

/// What of a row is drawn.
enum What {
    /// All of it, over all that was there.
    Fresh,
    /// What changed since it was drawn there.
    Changes,
    /// From one column to before another; nothing if there are none.
    Columns(u16, u16),
}

/// A row of the screen.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
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

/// What a screen keeps of its rows. It lives where the cells do: a kernel's stack has little room.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Rows {
    /// The rows, from the one that [`Screen::first`] names.
    state: [Row; MAX_ROWS],
    /// The ink that is on the resource, slot by slot (row by row where nothing pans).
    shown: [u16; MAX_SLOTS],
}

/// Rows that stay while others scroll, see [`Screen::keep`].
#[derive(Default)]
struct Kept {
    /// The first row that scrolls.
    top: usize,
    /// Rows that shall not scroll away, the next first.
    marks: [Option<usize>; 2],
    /// Rows that went since `top` was last moved.
    gone: usize,
    /// Records of the log that were gone unread since then.
    dropped: u64,
}

/// A screen full of text, and what of it is on the resource.
pub(crate) struct Screen<'a> {
    grid: Grid,
    /// The bits of a cell that are the glyph's.
    bits: u32,
    /// Row after row, from the one that [`Self::first`] names.
    cells: &'a mut [Cell],
    rows: &'a mut Rows,
    /// Which of the rows in `cells` is the uppermost on the screen.
    first: usize,
    /// The slot of the uppermost row; 0 where nothing pans.
    origin: usize,
    /// Where the next character goes; `col` is the number of columns when it has to wrap.
    col: usize,
    row: usize,
    /// A newline goes before it: the last row is not blanked for what may never come.
    due: bool,
    kept: Kept,
    cursor: Option<Cursor>,
    /// The rows that may have changed since the screen was shown, and how many rows have scrolled
    /// away since.
    changed: Range<usize>,
    scrolled: usize,
    /// Whether the screen is black, whatever the text.
    black: bool,
}

impl<'a> Screen<'a> {
    /// A blank screen on a resource that has been cleared, whose scanout is at [`Self::top`]. None
    /// if `cells` are fewer than the grid has. `bits` of a cell are the glyph's.
    pub(crate) fn new(
        cells: &'a mut [Cell],
        rows: &'a mut Rows,
        grid: Grid,
        bits: u32,
    ) -> Option<Self> {
        let mut screen = Self {
            grid,
            bits,
            cells,
            rows,
            first: 0,
            origin: 0,
            col: 0,
            row: 0,
            due: false,
            kept: Kept::default(),
            cursor: None,
            changed: NOTHING,
            scrolled: 0,
            black: false,
        };
        screen.renew(grid, bits).then_some(screen)
    }

    /// Starts again, as [`Self::new`], on another resource, with the cells there are. Returns
    /// whether they are enough.
    pub(crate) fn renew(&mut self, grid: Grid, bits: u32) -> bool {
        let count = grid.cols() * grid.rows();
        let Some(cells) = self.cells.get_mut(..count) else {
            return false;
        };
        cells.fill(Cell::blank(bits));
        (self.grid, self.bits) = (grid, bits);
        self.rows.state.fill(Row::BLANK);
        (self.first, self.origin) = (0, 0);
        self.rows.shown.fill(0);
        self.set_position(0, 0);
        self.kept = Kept::default();
        self.cursor = None;
        (self.changed, self.scrolled) = (NOTHING, 0);
        self.black = false;
        true
    }

    /// The first text row of the window.
    pub(crate) fn top(&self) -> u32 {
        self.grid.top(self.origin)
    }

    /// Takes text in the colours of an attribute (as the VT has it: the foreground in bits 0 to 3,
    /// the background in bits 4 to 6), which [`Self::show`] draws. Newline goes to the start of the
    /// next row; carriage return, tab (every 8 columns) and backspace move the cursor; any other
    /// byte is the glyph of that number. A row that is full wraps when one character more comes, as
    /// the VT does it, and so waits a newline for what comes after it: see [`Self::settle`].
    ///
    /// Rows that scroll away before they are shown are never drawn. The cursor is not seen any
    /// more.
    pub(crate) fn remember(&mut self, bytes: &[u8], attribute: u8) {
        self.set_cursor(None);
        let cols = self.grid.cols();
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            let text = core::mem::replace(&mut rest, after);
            self.settle();
            match byte {
                b'\n' => self.due = true,
                b'\r' => self.col = 0,
                b'\t' if self.col == cols => {}
                b'\t' => self.col = ((self.col | 7) + 1).min(cols - 1),
                0x08 => self.col = self.col.min(cols - 1).saturating_sub(1),
                _ => {
                    if self.col == cols {
                        self.newline();
                    }
                    // As much as there is, and as the row has room for.
                    let is_glyph = |byte: &&u8| !matches!(byte, b'\n' | b'\r' | b'\t' | 0x08);
                    let glyphs = text.iter().take(cols - self.col).take_while(is_glyph);
                    let (glyphs, after) = text.split_at(glyphs.count());
                    let bits = self.bits;
                    let cells = glyphs.iter().map(|&byte| Cell::new(byte, attribute, bits));
                    self.put(self.row, self.col, cells);
                    self.col += glyphs.len();
                    rest = after;
                }
            }
        }
    }

    /// So many records of the log are gone unread. A row says so, as the printk core does, or the
    /// one that counts the rows which scrolled away.
    pub(crate) fn remember_dropped(&mut self, records: u64, attribute: u8) {
        if let Some(row) = self.kept.top.checked_sub(1) {
            self.kept.dropped = self.kept.dropped.saturating_add(records);
            return self.count(row);
        }
        self.remember(b"** ", attribute);
        self.remember(decimal(records, &mut [0; DIGITS]), attribute);
        self.remember(b" printk messages dropped **\n", attribute);
    }

    /// Blanks the screen, and begins at its top. All is drawn again.
    pub(crate) fn clear(&mut self) {
        self.set_cursor(None);
        self.cells.fill(Cell::blank(self.bits));
        self.set_position(0, 0);
        self.kept = Kept::default();
        self.black = false;
        self.redraw();
    }

    /// The row that is written next shall not scroll away: once it is the uppermost one, it and
    /// some rows after it stay, a row under them counts those that go from then on, and the rest
    /// scrolls. Two rows can be kept so; small screens keep none.
    pub(crate) fn keep(&mut self) {
        if self.grid.rows() < ROWS_TO_KEEP {
            return;
        }
        let row = self.row + usize::from(self.due || self.col == self.grid.cols());
        if let Some(mark) = self.kept.marks.iter_mut().find(|mark| mark.is_none()) {
            *mark = Some(row);
        }
    }

    /// Keeps nothing any more.
    pub(crate) fn let_go(&mut self) {
        self.kept = Kept::default();
    }

    /// A cell of nothing.
    pub(crate) fn nothing(&self) -> Cell {
        Cell::blank(self.bits)
    }

    /// Goes to the next row, if the last that was written is a newline.
    pub(crate) fn settle(&mut self) {
        if core::mem::take(&mut self.due) {
            self.newline();
        }
    }

    /// Row and column where the next character of [`Self::remember`] goes once the screen has
    /// [settled](Self::settle); the column may be the one
    /// after the last.
    pub(crate) fn position(&self) -> (usize, usize) {
        (self.row, self.col)
    }

    /// Moves the position, as far as there are rows and columns.
    pub(crate) fn set_position(&mut self, row: usize, col: usize) {
        self.row = row.min(self.grid.rows() - 1);
        self.col = col.min(self.grid.cols());
        self.due = false;
    }

    /// The cells of a row; none of a row that is not there.
    pub(crate) fn row(&self, row: usize) -> &[Cell] {
        if row >= self.grid.rows() {
            return &[];
        }
        self.cells(self.index(row))
    }

    /// The cells of the row that has this index; none if there is no such row.
    fn cells(&self, index: usize) -> &[Cell] {
        let cols = self.grid.cols();
        let from = self.cells.get(index * cols..).unwrap_or_default();
        from.get(..cols).unwrap_or_default()
    }

    /// The same, to be changed.
    fn cells_mut(&mut self, index: usize) -> &mut [Cell] {
        let cols = self.grid.cols();
        let from = self.cells.get_mut(index * cols..).unwrap_or_default();
        from.get_mut(..cols).unwrap_or_default()
    }

    /// What is kept of the row that has this index.
    fn state(&self, index: usize) -> Row {
        self.rows.state.get(index).copied().unwrap_or(Row::BLANK)
    }

    /// The ink that is on a slot of the resource.
    fn shown(&self, slot: usize) -> u16 {
        self.rows.shown.get(slot).copied().unwrap_or(0)
    }

    /// Puts cells into a row from a column on; what is not on the screen is left out.
    pub(crate) fn put(&mut self, row: usize, col: usize, cells: impl IntoIterator<Item = Cell>) {
        if row >= self.grid.rows() {
            return;
        }
        let (index, cols, blank) = (self.index(row), self.grid.cols(), self.nothing());
        let old = self.cells_mut(index).iter_mut().enumerate();
        let (mut from, mut to, mut ink) = (cols, 0, 0);
        for ((col, at), cell) in old.skip(col).zip(cells) {
            if *at != cell {
                *at = cell;
                from = from.min(col);
                to = col + 1;
                if cell != blank {
                    ink = to;
                }
            }
        }
        if from < to {
            if let Some(state) = self.rows.state.get_mut(index) {
                state.ink = state.ink.max(ink as u16);
            }
            self.touch(row, from..to);
        }
    }

    /// Scrolls rows by a number of `lines`, in their first `cols` columns, and fills those that are
    /// free then with `blank`. The cursor is not seen any more.
    pub(crate) fn scroll(
        &mut self,
        rows: Range<usize>,
        cols: usize,
        way: Way,
        lines: usize,
        blank: Cell,
    ) {
        self.set_cursor(None);
        let (start, end) = (rows.start, rows.end.min(self.grid.rows()));
        let cols = cols.min(self.grid.cols());
        let lines = lines.min(end.saturating_sub(start));
        let all = start == 0 && end == self.grid.rows() && cols == self.grid.cols();
        if all && way == Way::Up {
            for _ in 0..lines {
                self.advance();
            }
            if blank == self.nothing() {
                return; // They are blank already.
            }
        } else {
            for at in start..end.saturating_sub(lines) {
                let (to, from) = match way {
                    Way::Up => (at, at + lines),
                    Way::Down => (end - 1 - (at - start), end - 1 - (at - start) - lines),
                };
                let from = self.index(from);
                for col in 0..cols {
                    let cell = self.cells(from).get(col).copied();
                    self.put(to, col, cell);
                }
            }
        }
        let free = match way {
            Way::Up => end.saturating_sub(lines)..end,
            Way::Down => start..start + lines,
        };
        for row in free {
            self.put(row, 0, core::iter::repeat_n(blank, cols));
        }
    }

    /// Shows the cursor, or none.
    pub(crate) fn set_cursor(&mut self, cursor: Option<Cursor>) {
        let cursor = cursor.filter(|at| at.row < self.grid.rows() && at.col < self.grid.cols());
        if self.cursor == cursor {
            return;
        }
        let before = core::mem::replace(&mut self.cursor, cursor.clone());
        for cursor in before.into_iter().chain(cursor) {
            self.touch(cursor.row, cursor.col..cursor.col + 1);
        }
    }

    /// The cursor, if it is seen.
    pub(crate) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Has every cell drawn again, for other colours.
    pub(crate) fn redraw(&mut self) {
        let (rows, cols) = (self.grid.rows(), self.grid.cols() as u16);
        for state in self.rows.state.iter_mut().take(rows) {
            *state = Row {
                ink: cols,
                from: 0,
                to: cols,
            };
        }
        self.changed = 0..rows;
    }

    /// Makes the screen black until [`Self::unblank`], whatever is written.
    pub(crate) fn blank(&mut self, on: &mut impl Surface) {
        if !core::mem::replace(&mut self.black, true) {
            self.rows.shown.fill(0);
            on.blacken(self.top());
        }
    }

    /// Shows the text again, with the next [`Self::show`].
    pub(crate) fn unblank(&mut self) {
        if core::mem::take(&mut self.black) {
            self.redraw();
        }
    }

    /// Begins again on a surface that may have lost what was drawn; [`Self::show`] draws all of it.
    pub(crate) fn restore(&mut self, on: &mut impl Surface) {
        let is_black = core::mem::take(&mut self.black);
        self.blank(on);
        if !is_black {
            self.unblank();
        }
    }

    /// Has columns of a row drawn again.
    fn touch(&mut self, row: usize, cols: Range<usize>) {
        let index = self.index(row);
        if let Some(state) = self.rows.state.get_mut(index) {
            state.from = state.from.min(cols.start as u16);
            state.to = state.to.max(cols.end as u16);
        }
        self.changed = self.changed.start.min(row)..self.changed.end.max(row + 1);
    }

    /// Goes to the start of the next row.
    fn newline(&mut self) {
        self.col = 0;
        if self.row + 1 < self.grid.rows() {
            self.row += 1;
        } else {
            self.make_room();
        }
    }

    /// Blanks the last row, after the uppermost one that may go has gone.
    fn make_room(&mut self) {
        let (rows, Kept { top, marks, .. }) = (self.grid.rows(), &self.kept);
        if marks[0] == Some(*top) {
            let height = rows / 4;
            let (mut end, mut next) = (top + height, marks[1]);
            // What is kept next may begin here.
            if let Some(second) = next.filter(|second| *second <= end + 1) {
                end = second + height;
                next = None;
            }
            self.kept = Kept {
                top: end + 1,
                marks: [next, None],
                // The row that makes place for the count.
                gone: 1,
                dropped: 0,
            };
        }
        let top = self.kept.top;
        if top == 0 {
            self.advance();
        } else {
            self.scroll(top..rows, self.grid.cols(), Way::Up, 1, self.nothing());
            self.kept.gone += 1;
            self.count(top - 1);
        }
        for mark in self.kept.marks.iter_mut().flatten() {
            *mark = mark.saturating_sub(1).max(top);
        }
    }

    /// Writes into a row how many are gone.
    fn count(&mut self, row: usize) {
        let (cols, bits) = (self.grid.cols(), self.bits);
        let (mut rows, mut records) = ([0; DIGITS], [0; DIGITS]);
        let rows = decimal(self.kept.gone as u64, &mut rows);
        let dropped: [&[u8]; 3] = match self.kept.dropped {
            0 => [&[]; 3],
            dropped => [b", ", decimal(dropped, &mut records), b" messages dropped"],
        };
        let [comma, dropped, what] = dropped;
        let parts = [
            b"... ",
            rows,
            b" rows left out",
            comma,
            dropped,
            what,
            b" ...",
        ];
        let text = (parts.into_iter().flatten())
            .map(|&byte| Cell::new(byte, ATTRIBUTE, bits))
            .chain(core::iter::repeat(Cell::blank(bits)));
        self.put(row, 0, text.take(cols));
    }

    /// Lets the uppermost row go and blanks the last one.
    fn advance(&mut self) {
        let (leaves, blank) = (self.first, self.nothing());
        let ink = usize::from(self.state(leaves).ink);
        let cells = self.cells_mut(leaves).iter_mut().take(ink);
        cells.for_each(|cell| *cell = blank);
        if let Some(state) = self.rows.state.get_mut(leaves) {
            *state = Row::BLANK;
        }
        self.first = self.index(1);
        self.scrolled = self.scrolled.saturating_add(1);
        if !self.changed.is_empty() {
            let Range { start, end } = self.changed;
            self.changed = start.saturating_sub(1)..end.saturating_sub(1);
        }
        if self.changed.is_empty() {
            self.changed = NOTHING;
        }
    }

    /// The resource shows something else, over which text lies: a row covers it as far as there is
    /// text, and all of it once it has the place of another row.
    pub(crate) fn lie_over(&mut self) {
        let cols = self.grid.cols() as u16;
        let shown = self.rows.shown.iter_mut().take(self.grid.window());
        shown.for_each(|shown| *shown = cols);
    }

    /// Where a row of the screen is in `cells` and `rows`.
    fn index(&self, row: usize) -> usize {
        let (index, rows) = (self.first + row, self.grid.rows());
        if index < rows {
            index
        } else {
            index - rows
        }
    }

    /// Whether [`Self::show`] draws the whole screen: rows have scrolled, and nothing pans.
    pub(crate) fn is_to_be_repainted(&self) -> bool {
        self.scrolled != 0 && self.grid.scroll() == Scroll::Repaint && !self.black
    }

    /// Draws what changed since it was last called. Returns whether anything did.
    pub(crate) fn show(&mut self, on: &mut impl Surface) -> bool {
        if self.black {
            return false;
        }
        let changed = core::mem::replace(&mut self.changed, NOTHING);
        let scrolled = core::mem::take(&mut self.scrolled);
        let (rows, window) = (self.grid.rows(), self.grid.window());
        let pans = scrolled != 0 && self.grid.scroll() == Scroll::Pan;
        let left = self.origin;
        // From `fresh` on, rows are where others were.
        let (touched, fresh) = if scrolled == 0 {
            (changed, rows)
        } else if pans {
            self.origin = (left + scrolled) % window;
            let fresh = rows.saturating_sub(scrolled);
            (changed.start.min(fresh)..rows, fresh)
        } else {
            (0..0, rows)
        };
        let mut drawn: Option<Range<u32>> = None;
        let mut note = |text_row: u32| {
            let range = drawn.clone().unwrap_or(text_row..text_row + 1);
            drawn = Some(range.start.min(text_row)..range.end.max(text_row + 1));
        };
        for row in touched {
            let what = if row >= fresh {
                What::Fresh
            } else {
                What::Changes
            };
            if self.draw(row, what, on) {
                note(self.top() + row as u32);
            }
        }
        if scrolled != 0 && !pans {
            // From the bottom up: what a place had before is known while the row that it had is not
            // drawn.
            for row in (0..rows).rev() {
                let what = self.moved(row, scrolled);
                if self.draw(row, what, on) {
                    note(self.top() + row as u32);
                }
            }
        }
        if pans {
            for slot in left..left + scrolled.min(window) {
                self.blank_slot(slot % window, on);
            }
            self.pan(on);
            return true;
        }
        if let Some(text_rows) = drawn.clone() {
            on.finish(text_rows);
        }
        drawn.is_some()
    }

    /// What to draw of a row whose place had the row that is `scrolled` above it now, where nothing
    /// pans: what differs, if it is known what the place had.
    fn moved(&self, row: usize, scrolled: usize) -> What {
        let Some(before) = row.checked_sub(scrolled) else {
            return What::Fresh;
        };
        let (index, before) = (self.index(row), self.index(before));
        let (now, had) = (self.state(index), self.state(before));
        // It may have changed since, or there was more than its text.
        if had.from < had.to || self.shown(row) > had.ink {
            return What::Fresh;
        }
        let cols = usize::from(now.ink.max(now.to).max(had.ink));
        let cells = |index: usize| self.cells(index).get(..cols).unwrap_or_default().iter();
        let differ = |(now, had): (&Cell, &Cell)| now != had;
        let mut pairs = cells(index).zip(cells(before));
        match pairs.clone().position(differ) {
            None => What::Columns(0, 0),
            Some(from) => {
                let to = pairs.rposition(differ).map_or(0, |last| last + 1);
                What::Columns(from as u16, to as u16)
            }
        }
    }

    /// Draws a row. Returns whether there was anything to draw.
    fn draw(&mut self, row: usize, what: What, on: &mut impl Surface) -> bool {
        let slot = (self.origin + row) % self.grid.window();
        let index = self.index(row);
        let rows = &mut *self.rows;
        let (Some(state), Some(shown)) = (rows.state.get_mut(index), rows.shown.get_mut(slot))
        else {
            return false;
        };
        // A cursor may be where there is no ink.
        let cursor = self.cursor.as_ref().filter(|at| at.row == row);
        let (from, to) = match what {
            What::Fresh => (0, state.ink.max(*shown).max(state.to)),
            What::Changes => (state.from, state.to),
            What::Columns(from, to) => match cursor.map(|at| at.col as u16) {
                Some(col) if from < to => (from.min(col), to.max(col + 1)),
                Some(col) => (col, col + 1),
                None => (from, to),
            },
        };
        let before = match what {
            What::Fresh | What::Columns(..) => 0,
            What::Changes => *shown,
        };
        *shown = before
            .max(state.ink.max(state.to))
            .max(cursor.map_or(0, |at| at.col as u16 + 1));
        *state = Row {
            ink: state.ink,
            ..Row::BLANK
        };
        if from >= to {
            return false;
        }
        let cells = self.cells(index).get(..to.into()).unwrap_or_default();
        let cursor = cursor.filter(|at| at.col < cells.len());
        on.draw(self.grid.places(slot), cells, from.into(), cursor);
        true
    }

    /// Blanks a slot that left at the top of the window, unless a row is there by now: what is
    /// below the last row shows in the window.
    fn blank_slot(&mut self, slot: usize, on: &mut impl Surface) {
        let window = self.grid.window();
        let Some(shown) = self.rows.shown.get_mut(slot) else {
            return;
        };
        if *shown != 0 && (slot + window - self.origin) % window >= self.grid.rows() {
            let ink = usize::from(core::mem::take(shown));
            let [of_8_bits, of_9_bits] = &BLANKS;
            let blanks = match self.bits {
                9 => of_9_bits,
                _ => of_8_bits,
            };
            let blanks = blanks.get(..ink).unwrap_or_default();
            on.draw(self.grid.places(slot), blanks, 0, None);
        }
    }

    /// Shows the whole window.
    fn pan(&self, on: &mut impl Surface) {
        let top = self.top();
        on.pan(top);
        on.finish(top..top + self.grid.window() as u32);
    }
}

/// The decimal digits of a number.
fn decimal(mut number: u64, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut from = DIGITS;
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        from = at;
        if number == 0 {
            break;
        }
    }
    digits.get(from..).unwrap_or_default()
}
