// SPDX-License-Identifier: GPL-2.0

//! The Boot Graphics Resource Table (BGRT): where the boot logo is (ACPI 6.5, section 5.2.23).

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
struct RawBgrt {
    header: Header,
    version: U16,
    status: u8,
    image_type: u8,
    image_address: U64,
    image_offset_x: U32,
    image_offset_y: U32,
}

/// The only version. Linux accepts 0 as well, for laptops of 2012.
const VERSION: u16 = 1;
/// Image type: bitmap.
const BITMAP: u8 = 0;

/// The reason why there is no boot logo, for a log line that begins with `BGRT: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// The table cannot be found, or its length or checksum is wrong.
    Acpi(acpi::Error),
    /// There is no BGRT: firmware drew no logo.
    Missing,
    /// Unknown version.
    Version(u16),
    /// The image is no bitmap.
    ImageType(u8),
    /// The address of the image is 0.
    NoImage,
}

impl From<acpi::Error> for Error {
    fn from(error: acpi::Error) -> Self {
        Self::Acpi(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acpi(error) => error.fmt(f),
            Self::Missing => f.write_str("firmware left no boot logo"),
            Self::Version(version) => write!(f, "version {version} is not known, only {VERSION}"),
            Self::ImageType(kind) => write!(f, "an image of type {kind} is no bitmap"),
            Self::NoImage => f.write_str("the image has no address"),
        }
    }
}

/// The position of the boot logo, in memory and on the screen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bgrt {
    /// Physical address of the image, a [`Bmp`](super::bmp::Bmp). It is in memory of type
    /// `EfiBootServicesData`, which Linux reuses unless it reserves it (`efi_bgrt_init()`).
    pub(crate) image: u64,
    /// Pixels between the left edge of the screen and the image.
    pub(crate) x: u32,
    /// Pixels between the top of the screen and the image.
    pub(crate) y: u32,
    /// Degrees clockwise from the image's default orientation: 0, 90, 180 or 270.
    pub(crate) orientation: u16,
}

impl Bgrt {
    /// Finds the table. `rsdp_at` is the physical address of the RSDP.
    ///
    /// Reserved bits of the status are ignored, since they do not move the image. Bit 0 (displayed)
    /// is ignored as well: EDK2 sets it when the boot loader starts, and does not update it. efifb,
    /// which restores the logo, ignores it, too.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first problem in the tables. The image itself is not checked.
    pub(crate) fn find(memory: &mut impl Memory, rsdp_at: u64) -> Result<Self, Error> {
        let min_length = size_of::<RawBgrt>() as u64;
        let table =
            Table::find(memory, rsdp_at, Signature(*b"BGRT"), min_length)?.ok_or(Error::Missing)?;
        let fields: RawBgrt = read(memory, table.at).map_err(acpi::Error::from)?;
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
