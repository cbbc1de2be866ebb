// SPDX-License-Identifier: GPL-2.0

//! Bitmaps as firmware keeps them: the file format of Windows, in the kinds that ACPI 6.5 allows
//! for a boot logo (5.2.23.4), 24 or 32 bits a pixel and not compressed.
//!
//! A row of pixels is padded to four bytes. The bottom row comes first, unless the height is
//! negative. A pixel is blue, green, red and, where it has 32 bits, a byte that means nothing.

use super::{
    read,
    Memory,
    Unreadable, //
};
use core::fmt;
use zerocopy::little_endian::{
    I32,
    U16,
    U32, //
};
use zerocopy_derive::{
    FromBytes,
    IntoBytes, //
};

/// `BITMAPFILEHEADER`.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct FileHeader {
    signature: [u8; 2],
    size: U32,
    reserved: U32,
    pixels: U32,
}

/// `BITMAPINFOHEADER`, with which the later ones begin.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct InfoHeader {
    size: U32,
    width: I32,
    height: I32,
    planes: U16,
    bits: U16,
    compression: U32,
    image_size: U32,
    pixels_per_metre: [I32; 2],
    colours_used: U32,
    colours_important: U32,
}

/// Which bits of a pixel are red, green and blue. They follow a `BITMAPINFOHEADER`, and are the
/// next fields of the later headers: in the same place.
type Masks = [U32; 3];

/// The sizes of `BITMAPINFOHEADER`, `BITMAPV4HEADER` and `BITMAPV5HEADER`.
const HEADER_SIZES: [u32; 3] = [40, 108, 124];
/// Bytes of the file before the masks.
const MASKS: u64 = (size_of::<FileHeader>() + size_of::<InfoHeader>()) as u64;
/// Compression: none (`BI_RGB`).
const RGB: u32 = 0;
/// Compression: none, and masks say where the colours are (`BI_BITFIELDS`).
const BITFIELDS: u32 = 3;
/// The masks of the one order that is read.
const B8G8R8X8: [u32; 3] = [0xff_0000, 0xff00, 0xff];
/// No screen has longer sides.
const MAX_SIDE: u32 = 16384;
/// Bytes that are read at once: the stack is small.
const PIECE: usize = 1024;

/// Why an image is not shown, for a line that begins with `BGRT: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// The headers lie in memory that cannot be read.
    Unreadable(Unreadable),
    /// The file does not begin with "BM".
    Signature([u8; 2]),
    /// The file's address wraps around.
    Address(u64),
    /// The file is too short for what its headers say is in it.
    Size {
        /// Bytes that it has, by its header.
        size: u32,
        /// Bytes that it would have at least.
        needed: u64,
    },
    /// A header of this many bytes is not known.
    Header(u32),
    /// A number of planes other than 1.
    Planes(u16),
    /// Pixels that are not 24 or 32 plain bits.
    Format {
        /// Bits of a pixel.
        bits: u16,
        /// How they are compressed, by the header's number.
        compression: u32,
    },
    /// The masks of red, green and blue are not those of B8G8R8X8.
    Masks([u32; 3]),
    /// A side is none, or longer than any screen's.
    Sides {
        /// Pixels from left to right.
        width: i32,
        /// Pixels from top to bottom; negative if the top row comes first.
        height: i32,
    },
    /// The pixels begin at this byte, inside of the headers.
    Pixels(u32),
}

impl From<Unreadable> for Error {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => why.fmt(f),
            Self::Signature(found) => {
                write!(f, "the image begins with {}, not BM", found.escape_ascii())
            }
            Self::Address(at) => write!(f, "no image can be at {at:#x}"),
            Self::Size { size, needed } => {
                write!(f, "the image has {size} bytes, {needed} are needed")
            }
            Self::Header(size) => write!(f, "an image header of {size} bytes is not known"),
            Self::Planes(planes) => write!(f, "the image has {planes} planes"),
            Self::Format { bits, compression } => write!(
                f,
                "the image has {bits} bits a pixel and compression {compression}, not 24 or 32 and none"
            ),
            Self::Masks([red, green, blue]) => write!(
                f,
                "the image's colours are in {red:#x}, {green:#x} and {blue:#x}"
            ),
            Self::Sides { width, height } => write!(
                f,
                "an image of {width}x{height} is not 1x1 to {MAX_SIDE}x{MAX_SIDE}"
            ),
            Self::Pixels(at) => write!(f, "the image's pixels begin in its header, at byte {at}"),
        }
    }
}

/// An image whose headers were found right: all of its pixels are in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bmp {
    /// Physical address of the row that comes first.
    pixels: u64,
    width: u32,
    height: u32,
    /// Bytes of a pixel, 3 or 4.
    depth: usize,
    /// Bytes between two rows.
    pitch: u64,
    /// The row that comes first is the lowest.
    bottom_up: bool,
}

impl Bmp {
    /// Reads the headers of the file at the physical address `at`.
    ///
    /// What no pixel depends on is not looked at, such as the size that the image has by the second
    /// header.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, see [`Error`]. Nothing beyond the file's own size was read
    /// then, but the header that tells it.
    pub(crate) fn read(memory: &mut impl Memory, at: u64) -> Result<Self, Error> {
        let file: FileHeader = read(memory, at)?;
        if file.signature != *b"BM" {
            return Err(Error::Signature(file.signature));
        }
        let size = file.size.get();
        at.checked_add(size.into()).ok_or(Error::Address(at))?;
        let has = |needed: u64| match needed <= size.into() {
            true => Ok(()),
            false => Err(Error::Size { size, needed }),
        };

        has(MASKS)?;
        let info: InfoHeader = read(memory, at + size_of::<FileHeader>() as u64)?;
        if !HEADER_SIZES.contains(&info.size.get()) {
            return Err(Error::Header(info.size.get()));
        }
        if info.planes.get() != 1 {
            return Err(Error::Planes(info.planes.get()));
        }
        let mut headers = size_of::<FileHeader>() as u64 + u64::from(info.size.get());
        match (info.bits.get(), info.compression.get()) {
            (24 | 32, RGB) => {}
            (32, BITFIELDS) => {
                let end = MASKS + size_of::<Masks>() as u64;
                headers = headers.max(end);
                has(end)?;
                let masks = read::<Masks>(memory, at + MASKS)?.map(U32::get);
                if masks != B8G8R8X8 {
                    return Err(Error::Masks(masks));
                }
            }
            (bits, compression) => return Err(Error::Format { bits, compression }),
        }

        let (width, height) = (info.width.get(), info.height.get());
        // Of a negative width nothing is left.
        let (columns, rows) = (width.max(0).unsigned_abs(), height.unsigned_abs());
        let sides = 1..=MAX_SIDE;
        if !sides.contains(&columns) || !sides.contains(&rows) {
            return Err(Error::Sides { width, height });
        }
        let offset = file.pixels.get();
        if u64::from(offset) < headers {
            return Err(Error::Pixels(offset));
        }
        let depth = usize::from(info.bits.get() / 8);
        let pitch = (u64::from(columns) * depth as u64).next_multiple_of(4);
        // The sides are so short that nothing overflows.
        has(u64::from(offset) + u64::from(rows) * pitch)?;
        Ok(Self {
            pixels: at + u64::from(offset),
            width: columns,
            height: rows,
            depth,
            pitch,
            bottom_up: height > 0,
        })
    }

    /// Pixels from left to right, 1 to 16384.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// Pixels from top to bottom, 1 to 16384.
    pub(crate) fn height(&self) -> u32 {
        self.height
    }

    /// Reads pixels of row `y`, counted from the top, from column `x` on: as many as `into` has
    /// room for, little-endian `B8G8R8X8` with the last byte 0. What lies beyond the row is left as
    /// it was.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] as [`Memory::read`]; some pixels may have been read then.
    pub(crate) fn row(
        &self,
        memory: &mut impl Memory,
        x: u32,
        y: u32,
        into: &mut [u32],
    ) -> Result<(), Unreadable> {
        if x >= self.width || y >= self.height {
            return Ok(());
        }
        let row = match self.bottom_up {
            true => self.height - 1 - y,
            false => y,
        };
        let mut at = self.pixels + u64::from(row) * self.pitch + u64::from(x) * self.depth as u64;
        let length = into.len().min((self.width - x) as usize);
        let mut piece = [0; PIECE];
        let into = into.get_mut(..length).unwrap_or_default();
        for pixels in into.chunks_mut(PIECE / self.depth) {
            let length = pixels.len() * self.depth;
            let piece = piece.get_mut(..length).unwrap_or_default();
            memory.read(at, piece)?;
            for (pixel, bytes) in pixels.iter_mut().zip(piece.chunks_exact(self.depth)) {
                if let [blue, green, red, ..] = *bytes {
                    *pixel = u32::from_ne_bytes([blue, green, red, 0]);
                }
            }
            at += piece.len() as u64;
        }
        Ok(())
    }
}
