// SPDX-License-Identifier: GPL-2.0

//! Where firmware keeps its boot logo: the Boot Graphics Resource Table (ACPI 6.5, section 5.2.23).

use super::{
    acpi::{
        self,
        Header,
        Signature,
        Table, //
    },
    read,
    Memory, //
};
use core::fmt;
use zerocopy::little_endian::{
    U16,
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    IntoBytes, //
};

/// The table as it is in memory.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Fields {
    header: Header,
    version: U16,
    status: u8,
    image_type: u8,
    image_address: U64,
    image_offset_x: U32,
    image_offset_y: U32,
}

/// The only version that there is. Linux takes 0 as well, for laptops of 2012.
const VERSION: u16 = 1;
/// Image type: a bitmap.
const BITMAP: u8 = 0;

/// Why firmware left no boot logo, for a line that begins with `BGRT: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// ACPI's tables do not lead there, or its length or checksum is wrong.
    Acpi(acpi::Error),
    /// There is no such table: firmware drew no logo.
    Missing,
    /// A version that is not known.
    Version(u16),
    /// The image is no bitmap.
    ImageType(u8),
    /// The image's address is 0.
    NoImage,
}

impl From<acpi::Error> for Error {
    fn from(why: acpi::Error) -> Self {
        Self::Acpi(why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acpi(why) => why.fmt(f),
            Self::Missing => f.write_str("firmware left no boot logo"),
            Self::Version(version) => write!(f, "version {version} is not known, only {VERSION}"),
            Self::ImageType(kind) => write!(f, "an image of type {kind} is no bitmap"),
            Self::NoImage => f.write_str("the image has no address"),
        }
    }
}

/// The boot logo's place, in memory and on the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bgrt {
    /// Physical address of the image, a [`Bmp`](super::bmp::Bmp). It is in memory for boot
    /// services, which Linux takes for its own unless it is told to keep it (`efi_bgrt_init()`).
    pub(crate) image: u64,
    /// Pixels between the left edge of the screen and the image.
    pub(crate) x: u32,
    /// Pixels between the top of the screen and the image.
    pub(crate) y: u32,
    /// Degrees clockwise from the image's default orientation: 0, 90, 180 or 270.
    pub(crate) orientation: u16,
}

impl Bgrt {
    /// Finds the table from ACPI's root pointer, at the physical address `root`.
    ///
    /// Bits of the status that are reserved are not looked at: whatever they come to mean, the
    /// image is where it is. Nor is bit 0, that nothing was drawn over it: EDK2 says so when the
    /// boot loader begins and does not look again, and efifb, which restores the logo, does not ask
    /// either.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong on the way, see [`Error`]. The image itself is not looked at.
    pub(crate) fn find(memory: &mut impl Memory, root: u64) -> Result<Self, Error> {
        let least = size_of::<Fields>() as u64;
        let table = Table::find(memory, root, Signature(*b"BGRT"), least)?.ok_or(Error::Missing)?;
        let fields: Fields = read(memory, table.at).map_err(acpi::Error::from)?;
        if fields.version.get() != VERSION {
            return Err(Error::Version(fields.version.get()));
        }
        if fields.image_type != BITMAP {
            return Err(Error::ImageType(fields.image_type));
        }
        if fields.image_address.get() == 0 {
            return Err(Error::NoImage);
        }
        Ok(Self {
            image: fields.image_address.get(),
            x: fields.image_offset_x.get(),
            y: fields.image_offset_y.get(),
            orientation: u16::from((fields.status >> 1) & 3) * 90,
        })
    }
}
