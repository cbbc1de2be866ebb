// SPDX-License-Identifier: GPL-2.0

//! Text on a screen: bytes in, rows of pixels and their places out.
//!
//! ```text
//! bytes -> Screen -> Surface::draw(places, cells)      what changed, once a write
//!                      cells -> Painter -> a slot of the Band      pixels
//!                      places -> Grid -> text rows of the resource
//! ```
//!
//! * [`Font`]: glyphs, as Linux's `struct font_desc` lays them out;
//! * [`Cell`], [`Palette`]: a character and its colours, as the VT stores them;
//! * [`Grid`]: columns, rows, and where each of them lives on the host's resource;
//! * [`Band`]: the small guest memory that backs that resource;
//! * [`Painter`]: cells to pixels;
//! * [`Screen`]: the text itself, wrapping and scrolling.
//!
//! Nothing in here knows the device, the kernel or an allocator. A *text row* is a row of the
//! host's resource as high as a glyph, counted from the top of the resource; a *row* alone is one
//! of the screen's.

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
        Places,
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
        Surface,
        Way,
        ATTRIBUTE, //
    },
};
