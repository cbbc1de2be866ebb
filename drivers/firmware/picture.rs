// SPDX-License-Identifier: GPL-2.0

//! The boot logo on a screen: the part of it that is visible, and its position.
//!
//! It is at firmware's position, in pixels from the upper left corner, even if the screen has
//! another mode now. The part that is beyond the right or the lower edge is cut off.
//!
//! **Orientation.** The BGRT may say that the image is rotated, "clockwise from its default
//! orientation", for panels that are mounted on their side. ACPI does not define whether the image
//! in memory is rotated already, nor to which corner the offset refers. efifb does not draw such an
//! image, and this driver does not either: a virtual screen is not rotated, and EDK2 never reports
//! it.

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

/// The reason why there is no picture, for a log line that begins with `BGRT: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// There is no image.
    Bgrt(bgrt::Error),
    /// The image cannot be read.
    Bmp(bmp::Error),
    /// The image is rotated by so many degrees.
    Rotated(u16),
    /// The image is right of the screen or below it.
    OffScreen {
        /// Pixels from the left edge of the screen.
        x: u32,
        /// Pixels from the top of the screen.
        y: u32,
    },
}

impl From<bgrt::Error> for Error {
    fn from(error: bgrt::Error) -> Self {
        Self::Bgrt(error)
    }
}

impl From<bmp::Error> for Error {
    fn from(error: bmp::Error) -> Self {
        Self::Bmp(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bgrt(error) => error.fmt(f),
            Self::Bmp(error) => error.fmt(f),
            Self::Rotated(degrees) => write!(f, "the image is turned by {degrees} degrees"),
            Self::OffScreen { x, y } => write!(f, "the image is off the screen, at {x},{y}"),
        }
    }
}

/// The part of one pixel row of the screen that the picture covers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RowPart {
    /// Columns of the screen.
    pub(crate) screen: Range<u32>,
    /// The same columns, as columns of the image.
    pub(crate) image: Range<u32>,
    /// The row of the image, counted from its top.
    pub(crate) y: u32,
}

/// The boot logo on a screen; at least one pixel of it is visible.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Picture {
    bmp: Bmp,
    columns: Range<u32>,
    rows: Range<u32>,
}

impl Picture {
    /// Places an image on a screen of `width` times `height` pixels.
    ///
    /// # Errors
    ///
    /// [`Error::Rotated`] if the image is rotated, [`Error::OffScreen`] if it is right of the
    /// screen or below it.
    pub(crate) fn new(bgrt: &Bgrt, bmp: Bmp, width: u32, height: u32) -> Result<Self, Error> {
        if bgrt.orientation != 0 {
            return Err(Error::Rotated(bgrt.orientation));
        }
        let (x, y) = (bgrt.x, bgrt.y);
        if x >= width || y >= height {
            return Err(Error::OffScreen { x, y });
        }
        Ok(Self {
            bmp,
            columns: x..x.saturating_add(bmp.width()).min(width),
            rows: y..y.saturating_add(bmp.height()).min(height),
        })
    }

    /// Returns the pixel columns of the screen that the picture covers.
    pub(crate) fn columns(&self) -> Range<u32> {
        self.columns.clone()
    }

    /// Returns the pixel rows of the screen that the picture covers.
    pub(crate) fn rows(&self) -> Range<u32> {
        self.rows.clone()
    }

    /// Returns the part of the screen's pixel row `y` that the picture covers, among the columns
    /// `within`. Returns [`None`] if there is no such part.
    pub(crate) fn row_part(&self, y: u32, within: Range<u32>) -> Option<RowPart> {
        let start = within.start.max(self.columns.start);
        let end = within.end.min(self.columns.end);
        if start >= end || !self.rows.contains(&y) {
            return None;
        }
        Some(RowPart {
            screen: start..end,
            image: start - self.columns.start..end - self.columns.start,
            y: y - self.rows.start,
        })
    }

    /// Copies the picture to pixels of the screen: those of row `y` from column `x` on, in
    /// little-endian `B8G8R8X8`. Pixels outside of the picture are not changed.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] as [`Bmp::read_row`].
    pub(crate) fn paint(
        &self,
        memory: &mut impl Memory,
        x: u32,
        y: u32,
        pixels: &mut [u32],
    ) -> Result<(), Unreadable> {
        let end = u32::try_from(pixels.len()).map_or(u32::MAX, |length| x.saturating_add(length));
        let Some(part) = self.row_part(y, x..end) else {
            return Ok(());
        };
        let painted = (part.screen.start - x) as usize..(part.screen.end - x) as usize;
        let pixels = pixels.get_mut(painted).unwrap_or_default();
        self.bmp.read_row(memory, part.image.start, part.y, pixels)
    }
}
