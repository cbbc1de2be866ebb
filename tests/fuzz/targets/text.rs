// SPDX-License-Identifier: GPL-2.0

//! Text and cells on a screen: messages of the kernel with escape sequences, and the VT's
//! operations on its cells. The drawn cells are compared with the expected ones.
//!
//! An input is the size of the screen and of a glyph, and then the operations.

use super::bytes::{
    is_a_line,
    Bytes, //
};
use crate::text::{
    Cell,
    Cursor,
    Grid,
    Limits,
    RowPositions,
    Rows,
    Screen,
    Scroll,
    ScrollDirection,
    Size,
    Surface, //
};
use core::ops::Range;
use zerocopy::FromZeros;

/// The number of cells of the screen.
const CELLS: usize = 1024;

/// The resource, as text rows of cells, and its window.
struct Resource {
    rows: Vec<Vec<Cell>>,
    /// The column of the cursor in a text row.
    cursors: Vec<Option<usize>>,
    cols: usize,
    window: usize,
    top: u32,
    blank: Cell,
    pans: bool,
    /// The text rows drawn since the last flush.
    drawn: Vec<u32>,
    panned: bool,
}

impl Resource {
    fn new(grid: &Grid, bits: u32) -> Self {
        let pans = grid.scroll() == Scroll::Pan;
        let count = match pans {
            true => 1 + 2 * grid.window(),
            false => grid.window(),
        };
        Self {
            rows: vec![vec![Cell::blank(bits); grid.cols()]; count],
            cursors: vec![None; count],
            cols: grid.cols(),
            window: grid.window(),
            top: grid.top(0),
            blank: Cell::blank(bits),
            pans,
            drawn: Vec::new(),
            panned: false,
        }
    }
}

impl Surface for Resource {
    fn draw(
        &mut self,
        positions: RowPositions,
        cells: &[Cell],
        from: usize,
        cursor: Option<&Cursor>,
    ) {
        assert!(!self.panned, "drawn after a pan");
        assert!(from < cells.len() && cells.len() <= self.cols);
        for text_row in positions.iter() {
            self.drawn.push(text_row);
            let row = &mut self.rows[text_row as usize];
            // The cells before the first column are unchanged.
            assert_eq!(row[..from], cells[..from]);
            row[..cells.len()].copy_from_slice(cells);
            let was = self.cursors[text_row as usize];
            if was.is_some_and(|col| col >= from && col < cells.len()) {
                self.cursors[text_row as usize] = None;
            }
            if let Some(cursor) = cursor {
                assert!(cursor.col < cells.len());
                self.cursors[text_row as usize] = Some(cursor.col);
            }
        }
    }

    fn pan(&mut self, top: u32) {
        assert!(self.pans && !self.panned);
        assert!(top >= 1 && top as usize + self.window <= self.rows.len());
        self.top = top;
        self.panned = true;
    }

    fn finish(&mut self, text_rows: Range<u32>) {
        let shown = self.top..self.top + self.window as u32;
        assert!(text_rows.start >= shown.start && text_rows.end <= shown.end);
        if self.panned {
            assert_eq!(text_rows, shown);
        } else {
            assert!(!self.drawn.is_empty(), "nothing was drawn");
            let mut drawn = self.drawn.iter().filter(|row| shown.contains(row));
            assert!(
                drawn.all(|row| text_rows.contains(row)),
                "drawn, but not shown"
            );
        }
        self.drawn.clear();
        self.panned = false;
    }

    fn blacken(&mut self, top: u32) {
        self.top = top;
        self.rows.iter_mut().for_each(|row| row.fill(self.blank));
        self.cursors.fill(None);
        self.drawn.clear();
        self.panned = false;
    }
}

/// Compares the visible cells with the text.
fn compare(screen: &Screen<'_>, grid: &Grid, on: &Resource) {
    for row in 0..grid.window() {
        let shown = &on.rows[on.top as usize + row];
        let cursor = on.cursors[on.top as usize + row];
        if row < grid.rows() {
            assert_eq!(shown[..], *screen.row(row), "row {row}");
            let at = screen.cursor().filter(|at| at.row == row).map(|at| at.col);
            assert_eq!(cursor, at, "the cursor in row {row}");
        } else {
            assert!(
                shown.iter().all(|cell| *cell == on.blank),
                "text below the last row"
            );
            assert_eq!(cursor, None);
        }
    }
}

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let flags = bytes.u8();
    let (width, height) = (bytes.u16(), bytes.u16());
    let (glyph_width, glyph_height) = (bytes.u8(), bytes.u8());
    let glyph = Size {
        width: u32::from(4 + glyph_width % 29),
        height: u32::from(4 + glyph_height % 61),
    };
    let mode = Size {
        width: u32::from(width),
        height: u32::from(height),
    };
    let least = Size {
        width: mode.width.saturating_sub(u32::from(flags >> 4)),
        height: mode.height.saturating_sub(u32::from(flags >> 4) * 4),
    };
    let wish = match flags & 1 {
        0 => Scroll::Pan,
        _ => Scroll::Repaint,
    };
    let bits = 8 + u32::from(flags >> 1 & 1);
    let limits = Limits {
        cells: CELLS,
        band_bytes: 1 << 17,
        entries: 1 << 13,
        resource_bytes: 1 << 28,
    };
    let grid = match Grid::for_scanouts(least, mode, glyph, wish, &limits) {
        Ok(grid) => grid,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    assert!((1..=1024).contains(&grid.cols()) && (1..=256).contains(&grid.rows()));
    assert!(grid.cols() * grid.rows() <= CELLS);
    let mut cells = [Cell::blank(bits); CELLS];
    let mut rows = Rows::new_zeroed();
    let mut on = Resource::new(&grid, bits);
    let Some(mut screen) = Screen::new(&mut cells, &mut rows, grid, bits) else {
        panic!("a grid of {}x{} has its cells", grid.cols(), grid.rows());
    };
    let mut is_black = false;
    let mut steps = 0;
    while !bytes.is_empty() && steps < 200 {
        steps += 1;
        match bytes.u8() % 16 {
            0..=3 => {
                let (attribute, count) = (bytes.u8(), bytes.u8());
                screen.write(bytes.take(count.into()), attribute);
            }
            4 => {
                let (row, col, count) = (bytes.u8(), bytes.u8(), bytes.u8());
                let text = bytes.take(2 * usize::from(count % 64));
                let cells = text
                    .chunks_exact(2)
                    .map(|cell| Cell(u16::from_le_bytes([cell[0], cell[1]])));
                screen.put(row.into(), col.into(), cells);
            }
            5 | 6 => {
                let (start, end, cols, lines) = (bytes.u8(), bytes.u8(), bytes.u8(), bytes.u8());
                let direction = if lines & 1 == 0 {
                    ScrollDirection::Up
                } else {
                    ScrollDirection::Down
                };
                let blank = match lines & 2 {
                    0 => screen.blank_cell(),
                    _ => Cell(bytes.u16()),
                };
                let (rows, cols) = match lines & 4 {
                    0 => (start.into()..end.into(), cols.into()),
                    // All rows, the VT's most frequent scroll.
                    _ => (0..grid.rows(), grid.cols()),
                };
                screen.scroll(rows, cols, direction, usize::from(lines >> 3), blank);
            }
            7 => {
                let (row, col, start, end) = (bytes.u8(), bytes.u8(), bytes.u8(), bytes.u8());
                let cursor = Cursor {
                    row: row.into(),
                    col: col.into(),
                    scanlines: start.into()..end.into(),
                };
                screen.set_cursor((row != 255).then_some(cursor));
            }
            8 => screen.set_write_position(bytes.u8().into(), bytes.u8().into()),
            9 => screen.retain(),
            10 => match bytes.u8() % 4 {
                0 => screen.release(),
                1 => {
                    screen.clear();
                    is_black = false;
                }
                2 => screen.apply_newline(),
                _ => screen.redraw(),
            },
            11 => {
                let records = bytes.u64();
                screen.write_dropped(records, bytes.u8());
            }
            12 => {
                if bytes.u8() & 1 == 0 {
                    screen.blank(&mut on);
                    is_black = true;
                } else {
                    screen.unblank();
                    is_black = false;
                }
            }
            13 => {
                screen.restore(&mut on);
            }
            _ => {
                let shows = screen.show(&mut on);
                assert!(!(shows && is_black));
                if !is_black {
                    compare(&screen, &grid, &on);
                }
            }
        }
        let (row, col) = screen.write_position();
        assert!(row < grid.rows() && col <= grid.cols());
    }
    screen.unblank();
    screen.show(&mut on);
    compare(&screen, &grid, &on);
    true
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let head = |flags: u8, width: u16, height: u16| {
        let [a, b] = width.to_le_bytes();
        let [c, d] = height.to_le_bytes();
        vec![flags, a, b, c, d, 4, 12]
    };
    let write = |attribute: u8, text: &[u8]| [&[0, attribute, text.len() as u8], text].concat();
    let show = vec![14u8];
    let lines = write(
        7,
        b"[    0.000000] Booting Linux\nLinux version 7.3\n\tone\rtwo\x08\n",
    );
    let colours = write(
        0x1e,
        b"\x1b[31;1m red \x1b[0m\x1b[2J\x1b[10;5H at \xff\x00\n",
    );
    let cells = [vec![4, 1, 2, 4], b"a\x07b\x17c\x07d\x70".to_vec()].concat();
    let mut seeds = Vec::new();
    // A panning screen and one that repaints, of whole rows and of a part of one; 512 glyphs.
    for (flags, width, height) in [(0, 160, 64), (1, 160, 70), (3, 100, 300), (0x30, 333, 401)] {
        let mut seed = head(flags, width, height);
        for _ in 0..4 {
            seed.extend([&lines[..], &show, &colours, &show].concat());
        }
        seed.extend([&cells[..], &[7, 1, 3, 13, 15], &show, &lines, &show].concat());
        // Scrolls of all and of some rows, in both directions.
        seed.extend([
            5, 0, 0, 0, 12, 14, 5, 1, 4, 255, 9, 14, 12, 0, 14, 12, 1, 14,
        ]);
        // Kept rows and dropped messages.
        seed.extend(
            [
                &[9][..],
                &lines,
                &lines,
                &[11, 7, 0, 0, 0, 0, 0, 0, 0, 7],
                &lines,
            ]
            .concat(),
        );
        seed.extend([13, 14, 10, 1, 14]);
        seeds.push(seed);
    }
    seeds
}
