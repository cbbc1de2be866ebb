// SPDX-License-Identifier: GPL-2.0

//! The boot logo on a screen: what of it is where.
//!
//! It is where firmware had it, in pixels from the upper left corner, even if the screen has
//! another mode now; what lies beyond its right and lower edge is cut off.
//!
//! **Orientation.** The table may say that the image is turned, "clockwise from its default
//! orientation", for panels that are mounted on their side. Whether the image in memory is turned
//! already, and which of its corners the offset then is of, ACPI leaves open. efifb draws no such
//! image, and neither do we: a virtual screen is not on its side, and EDK2 never says so.

use super::{
    bgrt::{
        self,
        Bgrt, //
    },
    bmp::{
        self,
        Bmp, //
    },
    Memory,
    Unreadable, //
};
use core::{
    fmt,
    ops::Range, //
};

/// Why there is no picture, for a line that begins with `BGRT: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// Firmware left no image.
    Bgrt(bgrt::Error),
    /// The image cannot be read.
    Bmp(bmp::Error),
    /// The image is turned by so many degrees.
    Turned(u16),
    /// The image is right of the screen or below it.
    Outside {
        /// Pixels from the left edge of the screen.
        x: u32,
        /// Pixels from the top of the screen.
        y: u32,
    },
}

impl From<bgrt::Error> for Error {
    fn from(why: bgrt::Error) -> Self {
        Self::Bgrt(why)
    }
}

impl From<bmp::Error> for Error {
    fn from(why: bmp::Error) -> Self {
        Self::Bmp(why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bgrt(why) => why.fmt(f),
            Self::Bmp(why) => why.fmt(f),
            Self::Turned(degrees) => write!(f, "the image is turned by {degrees} degrees"),
            Self::Outside { x, y } => write!(f, "the image is off the screen, at {x},{y}"),
        }
    }
}

/// What of one pixel row of the screen is the picture's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Part {
    /// Columns of the screen.
    pub(crate) screen: Range<u32>,
    /// The same as columns of the image.
    pub(crate) image: Range<u32>,
    /// The row of the image, counted from its top.
    pub(crate) y: u32,
}

/// The boot logo on a screen, of which one pixel at least can be seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Picture {
    bmp: Bmp,
    columns: Range<u32>,
    rows: Range<u32>,
}

impl Picture {
    /// Puts an image on a screen of `width` times `height` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Turned`] and [`Error::Outside`].
    pub(crate) fn new(bgrt: &Bgrt, bmp: Bmp, width: u32, height: u32) -> Result<Self, Error> {
        if bgrt.orientation != 0 {
            return Err(Error::Turned(bgrt.orientation));
        }
        let (x, y) = (bgrt.x, bgrt.y);
        if x >= width || y >= height {
            return Err(Error::Outside { x, y });
        }
        Ok(Self {
            bmp,
            columns: x..x.saturating_add(bmp.width()).min(width),
            rows: y..y.saturating_add(bmp.height()).min(height),
        })
    }

    /// The pixel columns of the screen that show it.
    pub(crate) fn columns(&self) -> Range<u32> {
        self.columns.clone()
    }

    /// The pixel rows of the screen that show it.
    pub(crate) fn rows(&self) -> Range<u32> {
        self.rows.clone()
    }

    /// What of the screen's pixel row `y` is the picture's, among the columns `within`; [`None`] if
    /// nothing is.
    pub(crate) fn part(&self, y: u32, within: Range<u32>) -> Option<Part> {
        let start = within.start.max(self.columns.start);
        let end = within.end.min(self.columns.end);
        if start >= end || !self.rows.contains(&y) {
            return None;
        }
        Some(Part {
            screen: start..end,
            image: start - self.columns.start..end - self.columns.start,
            y: y - self.rows.start,
        })
    }

    /// Paints the picture over pixels of the screen: those of row `y` from column `x` on, in
    /// little-endian `B8G8R8X8`. Pixels that are not the picture's stay as they are.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] as [`Bmp::row`].
    pub(crate) fn paint(
        &self,
        memory: &mut impl Memory,
        x: u32,
        y: u32,
        pixels: &mut [u32],
    ) -> Result<(), Unreadable> {
        let end = u32::try_from(pixels.len()).map_or(u32::MAX, |length| x.saturating_add(length));
        let Some(part) = self.part(y, x..end) else {
            return Ok(());
        };
        let place = (part.screen.start - x) as usize..(part.screen.end - x) as usize;
        let pixels = pixels.get_mut(place).unwrap_or_default();
        self.bmp.row(memory, part.image.start, part.y, pixels)
    }
}
