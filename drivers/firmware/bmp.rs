// SPDX-License-Identifier: GPL-2.0

//! Bitmap files (BMP), the format of the boot logo: 24 or 32 bits per pixel, not compressed, as
//! ACPI 6.5 allows (5.2.23.4).
//!
//! A row of pixels is padded to four bytes. The bottom row comes first, unless the height is
//! negative. A pixel is blue, green, red and, with 32 bits, an unused byte.

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

/// `BITMAPINFOHEADER`, with which the later headers begin.
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

/// The bit masks of red, green and blue. They follow a `BITMAPINFOHEADER`. The later headers have
/// them as fields at the same offset.
type Masks = [U32; 3];

/// The sizes of `BITMAPINFOHEADER`, `BITMAPV4HEADER` and `BITMAPV5HEADER` in bytes.
const HEADER_SIZES: [u32; 3] = [40, 108, 124];
/// Offset of the masks in the file, in bytes.
const MASKS_OFFSET: u64 = (size_of::<FileHeader>() + size_of::<InfoHeader>()) as u64;
/// Compression: none.
const BI_RGB: u32 = 0;
/// Compression: none, with masks for the colours.
const BI_BITFIELDS: u32 = 3;
/// The masks of the only supported pixel format.
const B8G8R8X8: [u32; 3] = [0xff_0000, 0xff00, 0xff];
/// The limit for the width and the height, in pixels. No screen is larger.
const MAX_SIDE_PIXELS: u32 = 16384;
/// Bytes per read; the stack is small.
const CHUNK_BYTES: usize = 1024;

/// The reason why an image is not shown, for a log line that begins with `BGRT: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// The headers are in memory that cannot be read.
    Unreadable(Unreadable),
    /// The file does not begin with "BM".
    Signature([u8; 2]),
    /// The address of the file wraps around.
    Address(u64),
    /// The file is too short for its headers or its pixels.
    Size {
        /// Size of the file in bytes, from its header.
        size: u32,
        /// Bytes that it needs at least.
        needed: u64,
    },
    /// Unknown header; its size in bytes.
    Header(u32),
    /// A number of planes other than 1.
    Planes(u16),
    /// Pixels that do not have 24 or 32 uncompressed bits.
    Format {
        /// Bits per pixel.
        bits: u16,
        /// The compression, as in the header.
        compression: u32,
    },
    /// The masks of red, green and blue are not those of B8G8R8X8.
    Masks([u32; 3]),
    /// The width or the height is 0 or too large, or the width is negative.
    Dimensions {
        /// Width in pixels.
        width: i32,
        /// Height in pixels; negative if the top row comes first.
        height: i32,
    },
    /// The pixels begin at this byte, inside of the headers.
    PixelOffset(u32),
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => error.fmt(f),
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
            Self::Dimensions { width, height } => write!(
                f,
                "an image of {width}x{height} is not 1x1 to {MAX_SIDE_PIXELS}x{MAX_SIDE_PIXELS}"
            ),
            Self::PixelOffset(at) => {
                write!(f, "the image's pixels begin in its header, at byte {at}")
            }
        }
    }
}

/// An image whose headers have been checked: all of its pixels are in the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bmp {
    /// Physical address of the first row in the file.
    pixels: u64,
    width: u32,
    height: u32,
    /// Bytes per pixel, 3 or 4.
    pixel_bytes: usize,
    /// Bytes from one row to the next.
    pitch: u64,
    /// The first row in the file is the bottom row.
    bottom_up: bool,
}

impl Bmp {
    /// Reads the headers of the file at the physical address `at`.
    ///
    /// Fields that no pixel depends on are ignored, such as the image size in the second header.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first problem. Except for the file header, nothing beyond the file's own
    /// size is read.
    pub(crate) fn read(memory: &mut impl Memory, at: u64) -> Result<Self, Error> {
        let file: FileHeader = read(memory, at)?;
        if file.signature != *b"BM" {
            return Err(Error::Signature(file.signature));
        }
        let size = file.size.get();
        at.checked_add(size.into()).ok_or(Error::Address(at))?;
        let check_size = |needed: u64| match needed <= size.into() {
            true => Ok(()),
            false => Err(Error::Size { size, needed }),
        };

        check_size(MASKS_OFFSET)?;
        let info: InfoHeader = read(memory, at + size_of::<FileHeader>() as u64)?;
        if !HEADER_SIZES.contains(&info.size.get()) {
            return Err(Error::Header(info.size.get()));
        }
        if info.planes.get() != 1 {
            return Err(Error::Planes(info.planes.get()));
        }
        let mut headers = size_of::<FileHeader>() as u64 + u64::from(info.size.get());
        match (info.bits.get(), info.compression.get()) {
            (24 | 32, BI_RGB) => {}
            (32, BI_BITFIELDS) => {
                let end = MASKS_OFFSET + size_of::<Masks>() as u64;
                headers = headers.max(end);
                check_size(end)?;
                let masks = read::<Masks>(memory, at + MASKS_OFFSET)?.map(U32::get);
                if masks != B8G8R8X8 {
                    return Err(Error::Masks(masks));
                }
            }
            (bits, compression) => return Err(Error::Format { bits, compression }),
        }

        let (width, height) = (info.width.get(), info.height.get());
        // A negative width becomes 0, which is refused below.
        let (columns, rows) = (width.max(0).unsigned_abs(), height.unsigned_abs());
        let sides = 1..=MAX_SIDE_PIXELS;
        if !sides.contains(&columns) || !sides.contains(&rows) {
            return Err(Error::Dimensions { width, height });
        }
        let offset = file.pixels.get();
        if u64::from(offset) < headers {
            return Err(Error::PixelOffset(offset));
        }
        let pixel_bytes = usize::from(info.bits.get() / 8);
        let pitch = (u64::from(columns) * pixel_bytes as u64).next_multiple_of(4);
        // Cannot overflow, since width and height are at most 16384.
        check_size(u64::from(offset) + u64::from(rows) * pitch)?;
        Ok(Self {
            pixels: at + u64::from(offset),
            width: columns,
            height: rows,
            pixel_bytes,
            pitch,
            bottom_up: height > 0,
        })
    }

    /// Returns the width in pixels, 1 to 16384.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height in pixels, 1 to 16384.
    pub(crate) fn height(&self) -> u32 {
        self.height
    }

    /// Reads the pixels of row `y`, counted from the top, from column `x` on. `into` is filled with
    /// little-endian `B8G8R8X8` whose last byte is 0. Entries beyond the end of the row are not
    /// changed.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] as [`Memory::read`]; some pixels may have been read already.
    pub(crate) fn read_row(
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
        let mut at =
            self.pixels + u64::from(row) * self.pitch + u64::from(x) * self.pixel_bytes as u64;
        let length = into.len().min((self.width - x) as usize);
        let mut chunk = [0; CHUNK_BYTES];
        let into = into.get_mut(..length).unwrap_or_default();
        for pixels in into.chunks_mut(CHUNK_BYTES / self.pixel_bytes) {
            let length = pixels.len() * self.pixel_bytes;
            let chunk = chunk.get_mut(..length).unwrap_or_default();
            memory.read(at, chunk)?;
            for (pixel, bytes) in pixels.iter_mut().zip(chunk.chunks_exact(self.pixel_bytes)) {
                if let [blue, green, red, ..] = *bytes {
                    *pixel = u32::from_ne_bytes([blue, green, red, 0]);
                }
            }
            at += chunk.len() as u64;
        }
        Ok(())
    }
}
