// SPDX-License-Identifier: GPL-2.0

//! Text on a screen: bytes in, rows of pixels and their positions on the resource out.
//!
//! ```text
//! bytes -> Screen -> Surface::draw(positions, cells)   what changed, once a write
//!                      cells -> Painter -> a slot of the Band      pixels
//!                      positions (of Grid) -> text rows of the resource
//! ```
//!
//! | file | content |
//! |---|---|
//! | `screen.rs` | [`Screen`]: the text itself; [`Surface`]: the interface to a renderer |
//! | `grid.rs` | [`Grid`]: columns and rows, and the text rows of the resource that hold them |
//! | `band.rs` | [`Band`]: the small guest memory that backs the resource, where the scanout pans |
//! | `strips.rs` | the same where the scanout does not pan |
//! | `cell.rs` | [`Cell`], [`Palette`]: a character and its colours, as the VT stores them |
//! | `font.rs` | [`Font`]: glyphs, as Linux's `struct font_desc` lays them out |
//! | `paint.rs` | [`Painter`]: cells to pixels |
//!
//! The folder does not use the device, the kernel or an allocator. A *text row* is a row of the
//! host's resource as high as a glyph, counted from the top of the resource. A *row* alone is a row
//! of the screen.

mod band;
mod cell;
mod font;
mod grid;
mod paint;
mod screen;
mod strips;

pub(crate) use self::{
    band::{
        Band,
        BandError, //
    },
    cell::{
        Cell,
        Palette, //
    },
    font::Font,
    grid::{
        Grid,
        GridError,
        Limits,
        RowPositions,
        Scroll,
        Size, //
    },
    paint::{
        Corner,
        Painter, //
    },
    screen::{
        Cursor,
        Rows,
        Screen,
        ScrollDirection,
        Surface,
        ATTRIBUTE, //
    },
};
