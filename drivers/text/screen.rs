// SPDX-License-Identifier: GPL-2.0

//! The text itself: it wraps and scrolls, and once a write it has a [`Surface`] draw what changed.

use super::{
    grid::{
        MAX_COLS,
        MAX_RING_ROWS,
        MAX_ROWS, //
    },
    Cell,
    Grid,
    RowPositions,
    Scroll, //
};
use core::ops::Range;
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// The attribute of the kernel's text: the VT's default colours.
pub(crate) const ATTRIBUTE: u8 = 0x07;

/// The rows from which on a screen retains rows: with fewer, too few would be left to scroll.
const MIN_ROWS_TO_RETAIN: usize = 16;

/// The decimal digits of a `u64` at most.
const MAX_DIGITS: usize = 20;

/// An empty range of rows.
const NO_ROWS: Range<usize> = Range {
    start: MAX_ROWS,
    end: 0,
};

/// Blank rows, for glyphs of 8 and of 9 bits.
static BLANK_ROWS: [[Cell; MAX_COLS]; 2] = [[Cell::blank(8); MAX_COLS], [Cell::blank(9); MAX_COLS]];

/// The direction in which text scrolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScrollDirection {
    /// Towards row 0.
    Up,
    /// Away from row 0.
    Down,
}

/// The position and the shape of the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The row of the screen.
    pub(crate) row: usize,
    /// The column.
    pub(crate) col: usize,
    /// The scanlines of the cell that have their colours swapped.
    pub(crate) scanlines: Range<usize>,
}

/// A renderer that shows a [`Screen`]. Calls come in this order: any number of
/// [`draw`](Self::draw), at most one [`pan`](Self::pan), one [`finish`](Self::finish); none if
/// nothing changed.
pub(crate) trait Surface {
    /// Draws `cells`, from column 0 on, at each of `positions`, with the cursor if it is there.
    ///
    /// Columns before `from` are there already, as they are in `cells`; columns right of `cells`
    /// stay. `from` is less than the number of cells.
    fn draw(
        &mut self,
        positions: RowPositions,
        cells: &[Cell],
        from: usize,
        cursor: Option<&Cursor>,
    );

    /// Moves the scanout to the window whose first text row is `top`.
    fn pan(&mut self, top: u32);

    /// Shows what was drawn: these text rows of the resource, the whole window after a
    /// [`pan`](Self::pan).
    fn finish(&mut self, text_rows: Range<u32>);

    /// Blackens the whole resource, and shows the window whose first text row is `top`.
    fn blacken(&mut self, top: u32);
}

/// The columns of a row that are drawn.
enum Extent {
    /// All that are not blank, now or in the row that was drawn there before.
    All,
    /// Those that changed since the row was drawn there.
    Changed,
    /// From one column to before another; none if the first is not before the other.
    Columns(u16, u16),
}

/// The state of a row of the screen.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Row {
    /// Columns, from the left, that may be other than blank.
    text_cols: u16,
    /// The first column that changed since the row was drawn.
    changed_from: u16,
    /// The column after the last one that changed; not more than `changed_from` if none did.
    changed_to: u16,
}

impl Row {
    const BLANK: Self = Self {
        text_cols: 0,
        changed_from: u16::MAX,
        changed_to: 0,
    };
}

/// The state of a screen's rows. It is stored beside the cells, because a kernel's stack is small.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Rows {
    /// The rows, from the one that is at [`Screen::top_index`].
    state: [Row; MAX_ROWS],
    /// Columns, from the left, that may be other than blank on the resource, for each ring row (for
    /// each row where nothing pans).
    drawn_cols: [u16; MAX_RING_ROWS],
}

/// The rows that stay while others scroll, see [`Screen::retain`].
#[derive(Default)]
struct RetainedRows {
    /// The first row that scrolls.
    top: usize,
    /// Rows that must not scroll away, the next first.
    marks: [Option<usize>; 2],
    /// Rows that scrolled away since `top` was last moved.
    left_out: usize,
    /// Records of the log that were dropped unread since then.
    dropped: u64,
}

/// A screen of text, and the state of the resource that shows it.
pub(crate) struct Screen<'a> {
    grid: Grid,
    /// The bits of a cell that are the glyph's.
    glyph_bits: u32,
    /// Row after row, from the one that is at [`Self::top_index`].
    cells: &'a mut [Cell],
    rows: &'a mut Rows,
    /// The index in `cells` of the uppermost row of the screen.
    top_index: usize,
    /// The ring row of the uppermost row; 0 where nothing pans.
    top_ring_row: usize,
    /// The position of the next character; `col` is the number of columns when it has to wrap.
    col: usize,
    row: usize,
    /// A newline comes before the next character. Until then the last row is not blanked, because
    /// that character may never come.
    newline_pending: bool,
    retained: RetainedRows,
    cursor: Option<Cursor>,
    /// The rows that may have changed since the screen was shown, and the number of rows that have
    /// scrolled away since.
    changed: Range<usize>,
    scrolled: usize,
    /// Whether the screen is black, whatever the text.
    black: bool,
}

impl<'a> Screen<'a> {
    /// Creates a blank screen on a resource that has been cleared, whose scanout is at
    /// [`Self::top`]. Returns `None` if `cells` are fewer than the grid has. `glyph_bits` bits of a
    /// cell are the glyph's.
    pub(crate) fn new(
        cells: &'a mut [Cell],
        rows: &'a mut Rows,
        grid: Grid,
        glyph_bits: u32,
    ) -> Option<Self> {
        let mut screen = Self {
            grid,
            glyph_bits,
            cells,
            rows,
            top_index: 0,
            top_ring_row: 0,
            col: 0,
            row: 0,
            newline_pending: false,
            retained: RetainedRows::default(),
            cursor: None,
            changed: NO_ROWS,
            scrolled: 0,
            black: false,
        };
        screen.reinit(grid, glyph_bits).then_some(screen)
    }

    /// Starts again, as [`Self::new`], on another resource, with the same cells. Returns whether
    /// they are enough.
    pub(crate) fn reinit(&mut self, grid: Grid, glyph_bits: u32) -> bool {
        let count = grid.cols() * grid.rows();
        let Some(cells) = self.cells.get_mut(..count) else {
            return false;
        };
        cells.fill(Cell::blank(glyph_bits));
        (self.grid, self.glyph_bits) = (grid, glyph_bits);
        self.rows.state.fill(Row::BLANK);
        (self.top_index, self.top_ring_row) = (0, 0);
        self.rows.drawn_cols.fill(0);
        self.set_write_position(0, 0);
        self.retained = RetainedRows::default();
        self.cursor = None;
        (self.changed, self.scrolled) = (NO_ROWS, 0);
        self.black = false;
        true
    }

    /// Returns the first text row of the window.
    pub(crate) fn top(&self) -> u32 {
        self.grid.top(self.top_ring_row)
    }

    /// Writes text into the cells, which [`Self::show`] draws. The attribute is as the VT has it:
    /// the foreground in bits 0 to 3, the background in bits 4 to 6. Newline goes to the start of
    /// the next row; carriage return, tab (every 8 columns) and backspace move the position; any
    /// other byte is the glyph of that number. A full row wraps with the next character, as on the
    /// VT. A newline, too, takes effect with the next byte: see [`Self::apply_newline`].
    ///
    /// Rows that scroll away before they are shown are never drawn. The cursor is hidden.
    pub(crate) fn write(&mut self, bytes: &[u8], attribute: u8) {
        self.set_cursor(None);
        let cols = self.grid.cols();
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            let text = core::mem::replace(&mut rest, after);
            self.apply_newline();
            match byte {
                b'\n' => self.newline_pending = true,
                b'\r' => self.col = 0,
                b'\t' if self.col == cols => {}
                b'\t' => self.col = ((self.col | 7) + 1).min(cols - 1),
                0x08 => self.col = self.col.min(cols - 1).saturating_sub(1),
                _ => {
                    if self.col == cols {
                        self.newline();
                    }
                    // As many glyphs as there are, and as the row has columns left.
                    let is_glyph = |byte: &&u8| !matches!(byte, b'\n' | b'\r' | b'\t' | 0x08);
                    let glyphs = text.iter().take(cols - self.col).take_while(is_glyph);
                    let (glyphs, after) = text.split_at(glyphs.count());
                    let glyph_bits = self.glyph_bits;
                    let cells = glyphs
                        .iter()
                        .map(|&byte| Cell::new(byte, attribute, glyph_bits));
                    self.put(self.row, self.col, cells);
                    self.col += glyphs.len();
                    rest = after;
                }
            }
        }
    }

    /// Writes that `records` records of the log were dropped unread: in a row, as the printk core
    /// does, or in the row that counts the rows left out.
    pub(crate) fn write_dropped(&mut self, records: u64, attribute: u8) {
        if let Some(row) = self.retained.top.checked_sub(1) {
            self.retained.dropped = self.retained.dropped.saturating_add(records);
            return self.write_count(row);
        }
        self.write(b"** ", attribute);
        self.write(decimal(records, &mut [0; MAX_DIGITS]), attribute);
        self.write(b" printk messages dropped **\n", attribute);
    }

    /// Blanks all cells, and moves the position to the top. All is drawn again.
    pub(crate) fn clear(&mut self) {
        self.set_cursor(None);
        self.cells.fill(Cell::blank(self.glyph_bits));
        self.set_write_position(0, 0);
        self.retained = RetainedRows::default();
        self.black = false;
        self.redraw();
    }

    /// Retains the row that is written next: once it is the uppermost one, it and some rows after
    /// it stay, a row under them counts the rows that scroll away from then on, and the rest
    /// scrolls. Two rows can be retained so; screens of fewer than 16 rows retain none.
    pub(crate) fn retain(&mut self) {
        if self.grid.rows() < MIN_ROWS_TO_RETAIN {
            return;
        }
        let row = self.row + usize::from(self.newline_pending || self.col == self.grid.cols());
        if let Some(mark) = self.retained.marks.iter_mut().find(|mark| mark.is_none()) {
            *mark = Some(row);
        }
    }

    /// Releases the retained rows: they scroll again.
    pub(crate) fn release(&mut self) {
        self.retained = RetainedRows::default();
    }

    /// Returns a blank cell.
    pub(crate) fn blank_cell(&self) -> Cell {
        Cell::blank(self.glyph_bits)
    }

    /// Goes to the next row, if the byte that was written last is a newline. The cursor is hidden
    /// then, as by all that may scroll.
    pub(crate) fn apply_newline(&mut self) {
        if core::mem::take(&mut self.newline_pending) {
            self.set_cursor(None);
            self.newline();
        }
    }

    /// Returns row and column of the next character of [`Self::write`] after
    /// [`Self::apply_newline`]; the column may be the one after the last.
    pub(crate) fn write_position(&self) -> (usize, usize) {
        (self.row, self.col)
    }

    /// Moves the position of the next character, no further than to the last row and to the column
    /// after the last.
    pub(crate) fn set_write_position(&mut self, row: usize, col: usize) {
        self.row = row.min(self.grid.rows() - 1);
        self.col = col.min(self.grid.cols());
        self.newline_pending = false;
    }

    /// Returns the cells of a row; none if the screen has no such row.
    pub(crate) fn row(&self, row: usize) -> &[Cell] {
        if row >= self.grid.rows() {
            return &[];
        }
        self.cells(self.index(row))
    }

    /// Returns the cells of the row that has this index; none if there is no such row.
    fn cells(&self, index: usize) -> &[Cell] {
        let cols = self.grid.cols();
        let from = self.cells.get(index * cols..).unwrap_or_default();
        from.get(..cols).unwrap_or_default()
    }

    /// Returns these cells, to be changed.
    fn cells_mut(&mut self, index: usize) -> &mut [Cell] {
        let cols = self.grid.cols();
        let from = self.cells.get_mut(index * cols..).unwrap_or_default();
        from.get_mut(..cols).unwrap_or_default()
    }

    /// Returns the state of the row that has this index.
    fn state(&self, index: usize) -> Row {
        self.rows.state.get(index).copied().unwrap_or(Row::BLANK)
    }

    /// Returns the columns, from the left, that may be other than blank in a ring row of the
    /// resource.
    fn drawn_cols(&self, ring_row: usize) -> u16 {
        self.rows.drawn_cols.get(ring_row).copied().unwrap_or(0)
    }

    /// Puts cells into a row from a column on; leaves out what is not on the screen.
    pub(crate) fn put(&mut self, row: usize, col: usize, cells: impl IntoIterator<Item = Cell>) {
        if row >= self.grid.rows() {
            return;
        }
        let (index, cols, blank) = (self.index(row), self.grid.cols(), self.blank_cell());
        let old = self.cells_mut(index).iter_mut().enumerate();
        let (mut from, mut to, mut text_cols) = (cols, 0, 0);
        for ((col, at), cell) in old.skip(col).zip(cells) {
            if *at != cell {
                *at = cell;
                from = from.min(col);
                to = col + 1;
                if cell != blank {
                    text_cols = to;
                }
            }
        }
        if from < to {
            if let Some(state) = self.rows.state.get_mut(index) {
                state.text_cols = state.text_cols.max(text_cols as u16);
            }
            self.mark_changed(row, from..to);
        }
    }

    /// Scrolls `rows` by `count` rows, in their first `cols` columns, and fills the rows that this
    /// frees with `blank`. The cursor is hidden.
    pub(crate) fn scroll(
        &mut self,
        rows: Range<usize>,
        cols: usize,
        direction: ScrollDirection,
        count: usize,
        blank: Cell,
    ) {
        self.set_cursor(None);
        let (start, end) = (rows.start, rows.end.min(self.grid.rows()));
        let cols = cols.min(self.grid.cols());
        let count = count.min(end.saturating_sub(start));
        let all = start == 0 && end == self.grid.rows() && cols == self.grid.cols();
        if all && direction == ScrollDirection::Up {
            for _ in 0..count {
                self.scroll_up();
            }
            if blank == self.blank_cell() {
                return; // They are blank already.
            }
        } else {
            for at in start..end.saturating_sub(count) {
                let (to, from) = match direction {
                    ScrollDirection::Up => (at, at + count),
                    ScrollDirection::Down => {
                        (end - 1 - (at - start), end - 1 - (at - start) - count)
                    }
                };
                let from = self.index(from);
                for col in 0..cols {
                    let cell = self.cells(from).get(col).copied();
                    self.put(to, col, cell);
                }
            }
        }
        let free = match direction {
            ScrollDirection::Up => end.saturating_sub(count)..end,
            ScrollDirection::Down => start..start + count,
        };
        for row in free {
            self.put(row, 0, core::iter::repeat_n(blank, cols));
        }
    }

    /// Shows the cursor, or hides it.
    pub(crate) fn set_cursor(&mut self, cursor: Option<Cursor>) {
        let cursor = cursor.filter(|at| at.row < self.grid.rows() && at.col < self.grid.cols());
        if self.cursor == cursor {
            return;
        }
        let before = core::mem::replace(&mut self.cursor, cursor.clone());
        for cursor in before.into_iter().chain(cursor) {
            self.mark_changed(cursor.row, cursor.col..cursor.col + 1);
        }
    }

    /// Returns the cursor, if it is shown.
    pub(crate) fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Marks every cell as changed, for other colours.
    pub(crate) fn redraw(&mut self) {
        let (rows, cols) = (self.grid.rows(), self.grid.cols() as u16);
        for state in self.rows.state.iter_mut().take(rows) {
            *state = Row {
                text_cols: cols,
                changed_from: 0,
                changed_to: cols,
            };
        }
        self.changed = 0..rows;
    }

    /// Makes the screen black until [`Self::unblank`], whatever is written.
    pub(crate) fn blank(&mut self, surface: &mut impl Surface) {
        if !core::mem::replace(&mut self.black, true) {
            self.rows.drawn_cols.fill(0);
            surface.blacken(self.top());
        }
    }

    /// Shows the text again, with the next [`Self::show`].
    pub(crate) fn unblank(&mut self) {
        if core::mem::take(&mut self.black) {
            self.redraw();
        }
    }

    /// Starts again on a surface that may have lost what was drawn; [`Self::show`] draws all of it.
    pub(crate) fn restore(&mut self, surface: &mut impl Surface) {
        let is_black = core::mem::take(&mut self.black);
        self.blank(surface);
        if !is_black {
            self.unblank();
        }
    }

    /// Marks columns of a row as changed.
    fn mark_changed(&mut self, row: usize, cols: Range<usize>) {
        let index = self.index(row);
        if let Some(state) = self.rows.state.get_mut(index) {
            state.changed_from = state.changed_from.min(cols.start as u16);
            state.changed_to = state.changed_to.max(cols.end as u16);
        }
        self.changed = self.changed.start.min(row)..self.changed.end.max(row + 1);
    }

    /// Goes to the start of the next row.
    fn newline(&mut self) {
        self.col = 0;
        if self.row + 1 < self.grid.rows() {
            self.row += 1;
        } else {
            self.scroll_for_newline();
        }
    }

    /// Scrolls by a row, below the retained rows if there are any, and blanks the last row.
    fn scroll_for_newline(&mut self) {
        let (rows, RetainedRows { top, marks, .. }) = (self.grid.rows(), &self.retained);
        if marks[0] == Some(*top) {
            let height = rows / 4;
            let (mut end, mut next) = (top + height, marks[1]);
            // The second retained row may begin here.
            if let Some(second) = next.filter(|second| *second <= end + 1) {
                end = second + height;
                next = None;
            }
            self.retained = RetainedRows {
                top: end + 1,
                marks: [next, None],
                // The row that the count replaces.
                left_out: 1,
                dropped: 0,
            };
        }
        let top = self.retained.top;
        if top == 0 {
            self.scroll_up();
        } else {
            self.scroll(
                top..rows,
                self.grid.cols(),
                ScrollDirection::Up,
                1,
                self.blank_cell(),
            );
            self.retained.left_out += 1;
            self.write_count(top - 1);
        }
        for mark in self.retained.marks.iter_mut().flatten() {
            *mark = mark.saturating_sub(1).max(top);
        }
    }

    /// Writes into a row how many rows and records are left out.
    fn write_count(&mut self, row: usize) {
        let (cols, glyph_bits) = (self.grid.cols(), self.glyph_bits);
        let (mut rows, mut records) = ([0; MAX_DIGITS], [0; MAX_DIGITS]);
        let rows = decimal(self.retained.left_out as u64, &mut rows);
        let dropped: [&[u8]; 3] = match self.retained.dropped {
            0 => [&[]; 3],
            dropped => [b", ", decimal(dropped, &mut records), b" messages dropped"],
        };
        let [comma, dropped, messages] = dropped;
        let parts = [
            b"... ",
            rows,
            b" rows left out",
            comma,
            dropped,
            messages,
            b" ...",
        ];
        let text = (parts.into_iter().flatten())
            .map(|&byte| Cell::new(byte, ATTRIBUTE, glyph_bits))
            .chain(core::iter::repeat(Cell::blank(glyph_bits)));
        self.put(row, 0, text.take(cols));
    }

    /// Scrolls the whole screen up by a row, and blanks the last one.
    fn scroll_up(&mut self) {
        let (top, blank) = (self.top_index, self.blank_cell());
        let cols = usize::from(self.state(top).text_cols);
        let cells = self.cells_mut(top).iter_mut().take(cols);
        cells.for_each(|cell| *cell = blank);
        if let Some(state) = self.rows.state.get_mut(top) {
            *state = Row::BLANK;
        }
        self.top_index = self.index(1);
        self.scrolled = self.scrolled.saturating_add(1);
        if !self.changed.is_empty() {
            let Range { start, end } = self.changed;
            self.changed = start.saturating_sub(1)..end.saturating_sub(1);
        }
        if self.changed.is_empty() {
            self.changed = NO_ROWS;
        }
    }

    /// Treats all columns of every row as drawn, because the resource shows a picture under the
    /// text: a row covers it as far as there is text, and all of it once it is drawn in the
    /// position of another row.
    pub(crate) fn mark_all_drawn(&mut self) {
        let cols = self.grid.cols() as u16;
        let drawn_cols = self.rows.drawn_cols.iter_mut().take(self.grid.window());
        drawn_cols.for_each(|drawn_cols| *drawn_cols = cols);
    }

    /// Returns the index of a row of the screen in `cells` and `rows`.
    fn index(&self, row: usize) -> usize {
        let (index, rows) = (self.top_index + row, self.grid.rows());
        if index < rows {
            index
        } else {
            index - rows
        }
    }

    /// Returns whether [`Self::show`] draws the whole screen: rows have scrolled, and nothing pans.
    pub(crate) fn needs_repaint(&self) -> bool {
        self.scrolled != 0 && self.grid.scroll() == Scroll::Repaint && !self.black
    }

    /// Draws what changed since it was last called. Returns whether anything did.
    pub(crate) fn show(&mut self, surface: &mut impl Surface) -> bool {
        if self.black {
            return false;
        }
        let changed = core::mem::replace(&mut self.changed, NO_ROWS);
        let scrolled = core::mem::take(&mut self.scrolled);
        let (rows, window) = (self.grid.rows(), self.grid.window());
        let pans = scrolled != 0 && self.grid.scroll() == Scroll::Pan;
        let old_top = self.top_ring_row;
        // From `first_moved` on, rows are drawn where other rows were.
        let (to_check, first_moved) = if scrolled == 0 {
            (changed, rows)
        } else if pans {
            self.top_ring_row = (old_top + scrolled) % window;
            let first_moved = rows.saturating_sub(scrolled);
            (changed.start.min(first_moved)..rows, first_moved)
        } else {
            (0..0, rows)
        };
        let mut drawn: Option<Range<u32>> = None;
        let mut add_drawn = |text_row: u32| {
            let range = drawn.clone().unwrap_or(text_row..text_row + 1);
            drawn = Some(range.start.min(text_row)..range.end.max(text_row + 1));
        };
        for row in to_check {
            let extent = if row >= first_moved {
                Extent::All
            } else {
                Extent::Changed
            };
            if self.draw(row, extent, surface) {
                add_drawn(self.top() + row as u32);
            }
        }
        if scrolled != 0 && !pans {
            // From the bottom up: `extent_after_scroll()` needs the state of the row that was drawn
            // at a position before, which drawing that row changes.
            for row in (0..rows).rev() {
                let extent = self.extent_after_scroll(row, scrolled);
                if self.draw(row, extent, surface) {
                    add_drawn(self.top() + row as u32);
                }
            }
        }
        if pans {
            for ring_row in old_top..old_top + scrolled.min(window) {
                self.blank_ring_row(ring_row % window, surface);
            }
            self.pan(surface);
            return true;
        }
        if let Some(text_rows) = drawn.clone() {
            surface.finish(text_rows);
        }
        drawn.is_some()
    }

    /// Returns the columns to draw of a row, where nothing pans, if the row that is now `scrolled`
    /// rows above it was drawn in its position: those that differ, if all that was drawn there is
    /// known.
    fn extent_after_scroll(&self, row: usize, scrolled: usize) -> Extent {
        let Some(before) = row.checked_sub(scrolled) else {
            return Extent::All;
        };
        let (index, before) = (self.index(row), self.index(before));
        let (now, had) = (self.state(index), self.state(before));
        // That row may have changed since, or more than its text is drawn there.
        if had.changed_from < had.changed_to || self.drawn_cols(row) > had.text_cols {
            return Extent::All;
        }
        let cols = usize::from(now.text_cols.max(now.changed_to).max(had.text_cols));
        let cells = |index: usize| self.cells(index).get(..cols).unwrap_or_default().iter();
        let differ = |(now, had): (&Cell, &Cell)| now != had;
        let mut pairs = cells(index).zip(cells(before));
        match pairs.clone().position(differ) {
            None => Extent::Columns(0, 0),
            Some(from) => {
                let to = pairs.rposition(differ).map_or(0, |last| last + 1);
                Extent::Columns(from as u16, to as u16)
            }
        }
    }

    /// Draws a row. Returns whether there was anything to draw.
    fn draw(&mut self, row: usize, extent: Extent, surface: &mut impl Surface) -> bool {
        let ring_row = (self.top_ring_row + row) % self.grid.window();
        let index = self.index(row);
        let rows = &mut *self.rows;
        let (Some(state), Some(drawn_cols)) =
            (rows.state.get_mut(index), rows.drawn_cols.get_mut(ring_row))
        else {
            return false;
        };
        // A cursor may be right of the text.
        let cursor = self.cursor.as_ref().filter(|at| at.row == row);
        let (from, to) = match extent {
            Extent::All => (0, state.text_cols.max(*drawn_cols).max(state.changed_to)),
            Extent::Changed => (state.changed_from, state.changed_to),
            Extent::Columns(from, to) => match cursor.map(|at| at.col as u16) {
                Some(col) if from < to => (from.min(col), to.max(col + 1)),
                Some(col) => (col, col + 1),
                None => (from, to),
            },
        };
        let before = match extent {
            Extent::All | Extent::Columns(..) => 0,
            Extent::Changed => *drawn_cols,
        };
        *drawn_cols = before
            .max(state.text_cols.max(state.changed_to))
            .max(cursor.map_or(0, |at| at.col as u16 + 1));
        *state = Row {
            text_cols: state.text_cols,
            ..Row::BLANK
        };
        if from >= to {
            return false;
        }
        let cells = self.cells(index).get(..to.into()).unwrap_or_default();
        let cursor = cursor.filter(|at| at.col < cells.len());
        surface.draw(self.grid.positions(ring_row), cells, from.into(), cursor);
        true
    }

    /// Blanks a ring row that left the window at the top, unless it is a row of the screen again:
    /// the window shows the ring rows below the last row, too.
    fn blank_ring_row(&mut self, ring_row: usize, surface: &mut impl Surface) {
        let window = self.grid.window();
        let Some(drawn_cols) = self.rows.drawn_cols.get_mut(ring_row) else {
            return;
        };
        if *drawn_cols != 0 && (ring_row + window - self.top_ring_row) % window >= self.grid.rows()
        {
            let cols = usize::from(core::mem::take(drawn_cols));
            let [of_8_bits, of_9_bits] = &BLANK_ROWS;
            let blanks = match self.glyph_bits {
                9 => of_9_bits,
                _ => of_8_bits,
            };
            let blanks = blanks.get(..cols).unwrap_or_default();
            surface.draw(self.grid.positions(ring_row), blanks, 0, None);
        }
    }

    /// Shows the whole window.
    fn pan(&self, surface: &mut impl Surface) {
        let top = self.top();
        surface.pan(top);
        surface.finish(top..top + self.grid.window() as u32);
    }
}

/// Returns the decimal digits of a number.
fn decimal(mut number: u64, digits: &mut [u8; MAX_DIGITS]) -> &[u8] {
    let mut from = MAX_DIGITS;
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
