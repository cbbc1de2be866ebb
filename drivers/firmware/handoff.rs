// SPDX-License-Identifier: GPL-2.0

//! The handoff from our UEFI driver (`drivers/uefi/`): the picture that was on the screen, and the
//! device, if the driver has started it again after firmware's reset. The device then shows the
//! picture and has no queue.
//!
//! It is an EFI configuration table (UEFI 2.10, section 4.6) with a GUID of its own, in memory of
//! type `EfiACPIReclaimMemory`. The UEFI driver writes it at ExitBootServices(), and the kernel
//! reads it when it looks for the device. Both are built from this file.

use super::{
    acpi::checksum,
    efi::{
        self,
        MemoryMap, //
    },
    read,
    Memory,
    Unreadable, //
};
use crate::pci::config::{
    Address,
    Segment, //
};
use core::{
    fmt,
    ops::Range, //
};
use zerocopy::{
    little_endian::{
        U16,
        U32,
        U64, //
    },
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// The GUID of the table, 585e675d-dee6-4f22-b455-ef3a668f5bd0.
pub(crate) const GUID: [u8; 16] = [
    0x5d, 0x67, 0x5e, 0x58, 0xe6, 0xde, 0x22, 0x4f, 0xb4, 0x55, 0xef, 0x3a, 0x66, 0x8f, 0x5b, 0xd0,
];

/// The only version.
const VERSION: u16 = 2;
/// Flag: there is a picture in memory.
const FLAG_PICTURE: u32 = 1 << 0;
/// Flag: the device runs, shows the picture, and can be adopted.
const FLAG_RUNNING: u32 = 1 << 1;
/// Flag: the device is a PCI function.
const FLAG_PCI: u32 = 1 << 2;
/// The limit for the width and the height, in pixels. A square of 256 MiB is smaller.
const MAX_SIDE_PIXELS: u32 = 16384;
/// VIRTIO_GPU_MAX_SCANOUTS (virtio 1.3, section 5.7.6.8).
const MAX_SCANOUTS: u32 = 16;
/// The lower half of a [`cookie`]. It is odd, so that it differs from the address of any descriptor
/// table, which is aligned (virtio 1.3, section 2.7).
const COOKIE_LOW: u32 = 0x6d61_726b;
/// Bytes per pixel.
const PIXEL_BYTES: u32 = 4;
/// Pixels per read.
const CHUNK_PIXELS: usize = 512;

/// The table as it is in memory.
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub(crate) struct Table {
    signature: [u8; 8],
    version: U16,
    /// Size of the table in bytes.
    length: U16,
    flags: U32,
    segment: U16,
    bus: u8,
    /// The device number in bits 3 to 7, the function number in bits 0 to 2.
    devfn: u8,
    scanout: U32,
    resource: U32,
    width: U32,
    height: U32,
    /// Bytes from one row of the picture to the next.
    pitch: U32,
    /// The [`pixel_checksum`] of the picture.
    picture_checksum: U32,
    picture: U64,
    /// The [`cookie`] of the device.
    cookie: U64,
    /// The text cursor, and the size of the text mode.
    column: U16,
    row: U16,
    columns: U16,
    rows: U16,
    reserved: [u8; 3],
    /// The value that makes the sum of all bytes 0.
    checksum: u8,
}

const SIGNATURE: [u8; 8] = *b"virtgpu\0";

/// A text cursor, and the size of the text mode. Firmware's text fills the screen approximately.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cursor {
    /// The column, from 0.
    pub(crate) column: u16,
    /// The row, from 0.
    pub(crate) row: u16,
    /// The number of columns.
    pub(crate) columns: u16,
    /// The number of rows.
    pub(crate) rows: u16,
}

/// A picture in memory of type `EfiBootServicesData`: `B8G8R8X8` pixels, row by row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PixelBuffer {
    /// Physical address of the upper left pixel.
    pub(crate) address: u64,
    /// Bytes from one row to the next.
    pub(crate) pitch: u32,
    /// The [`pixel_checksum`] of all pixels, without the padding between rows.
    pub(crate) checksum: u32,
}

/// Adds pixels to the checksum of a picture, `sum`, and returns the new one. It detects that the
/// memory of the picture was reused.
pub(crate) fn pixel_checksum(sum: u32, pixels: &[u32]) -> u32 {
    let add = |sum: u32, pixel: &u32| sum.rotate_left(1).wrapping_add(u32::from_le(*pixel));
    pixels.iter().fold(sum, add)
}

/// Returns the number by which the kernel recognises the device that shows the picture with this
/// [`pixel_checksum`]. The UEFI driver writes it to queue_desc of queue 0, which is not enabled. A
/// reset of the device clears it, and a driver that sets the queue up overwrites it.
#[allow(dead_code)]
pub(crate) fn cookie(checksum: u32) -> u64 {
    (u64::from(checksum) << 32) | u64::from(COOKIE_LOW)
}

/// The contents of the table.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Handoff {
    /// The PCI segment of the device, and its address. [`None`] if the device is no virtio-gpu on
    /// PCI; such a device does not run.
    pub(crate) device: Option<(u16, Address)>,
    /// The scanout that firmware drew on.
    pub(crate) scanout: u32,
    /// The width of its mode in pixels.
    pub(crate) width: u32,
    /// The height of its mode in pixels.
    pub(crate) height: u32,
    /// The resource that the scanout shows, [`None`] if the device does not run.
    pub(crate) resource: Option<u32>,
    /// The picture that was on the screen.
    pub(crate) picture: Option<PixelBuffer>,
    /// The text cursor, if firmware had one.
    pub(crate) cursor: Option<Cursor>,
    /// The [`cookie`] of the device if it runs, otherwise 0.
    pub(crate) cookie: u64,
}

/// The reason why the table is not used, for a log line that begins with `handoff: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// The table cannot be read.
    Unreadable(Unreadable),
    /// The table is not in memory of type `EfiACPIReclaimMemory`.
    TableAddress(u64),
    /// The table is all zero: there was nothing to hand over.
    Empty,
    /// The signature is wrong.
    Signature,
    /// Unknown version.
    Version(u16),
    /// The length is not that of the version.
    Length(u16),
    /// The checksum is wrong.
    Checksum,
    /// Unknown flags.
    Flags(u32),
    /// The width or the height is 0 or too large.
    Mode(u32, u32),
    /// There is no such scanout.
    Scanout(u32),
    /// The device runs without a resource.
    Resource,
    /// The picture's rows overlap, or it is not in memory of type `EfiBootServicesData`.
    Picture(u64),
    /// The device runs, and the cookie is even, as the address of a queue is.
    Cookie(u64),
    /// The cursor is outside of the text mode.
    Cursor(u16, u16),
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
            Self::TableAddress(at) => write!(f, "no table can be at {at:#x}"),
            Self::Empty => f.write_str("firmware had nothing to hand over"),
            Self::Signature => f.write_str("the signature is wrong"),
            Self::Version(version) => write!(f, "version {version} is not known, only {VERSION}"),
            Self::Length(length) => write!(f, "no table has {length} bytes"),
            Self::Checksum => f.write_str("the checksum is wrong"),
            Self::Flags(flags) => write!(f, "flags {flags:#x} are not known"),
            Self::Mode(width, height) => write!(f, "no mode has {width}x{height} pixels"),
            Self::Scanout(scanout) => write!(f, "there is no scanout {scanout}"),
            Self::Resource => f.write_str("a device that runs shows a resource"),
            Self::Picture(at) => write!(f, "no picture can be at {at:#x}"),
            Self::Cookie(cookie) => write!(f, "no mark is {cookie:#x}"),
            Self::Cursor(column, row) => {
                write!(f, "the cursor is not in the text, at {column},{row}")
            }
        }
    }
}

impl Table {
    /// Creates the table for `handoff`. Only the UEFI driver and tests call it; the kernel only
    /// reads.
    #[allow(dead_code)]
    pub(crate) fn new(handoff: &Handoff) -> Self {
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let picture = handoff.picture.unwrap_or_default();
        let cursor = handoff.cursor.unwrap_or_default();
        let mut table = Self {
            signature: SIGNATURE,
            version: U16::new(VERSION),
            length: U16::new(size_of::<Self>() as u16),
            flags: U32::new(
                flag(handoff.picture.is_some(), FLAG_PICTURE)
                    | flag(handoff.resource.is_some(), FLAG_RUNNING)
                    | flag(handoff.device.is_some(), FLAG_PCI),
            ),
            scanout: U32::new(handoff.scanout),
            resource: U32::new(handoff.resource.unwrap_or(0)),
            width: U32::new(handoff.width),
            height: U32::new(handoff.height),
            pitch: U32::new(picture.pitch),
            picture_checksum: U32::new(picture.checksum),
            picture: U64::new(picture.address),
            cookie: U64::new(handoff.cookie),
            column: U16::new(cursor.column),
            row: U16::new(cursor.row),
            columns: U16::new(cursor.columns),
            rows: U16::new(cursor.rows),
            ..Self::default()
        };
        if let Some((segment, address)) = handoff.device {
            table.segment = U16::new(segment);
            table.bus = address.bus();
            table.devfn = (address.device() << 3) | address.function();
        }
        table.checksum = checksum(table.as_bytes()).wrapping_neg();
        table
    }
}

impl Handoff {
    /// Reads the table at the physical address `at`. In firmware's memory map `map`, the table and
    /// the picture must be in memory of their types.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first problem.
    pub(crate) fn read(memory: &mut impl Memory, map: MemoryMap, at: u64) -> Result<Self, Error> {
        let is_within = |memory: &mut _, memory_type, range: &Range<u64>| {
            efi::memory_range(memory, map, memory_type, range.start)
                .is_some_and(|area| range.end <= area.end)
        };
        let end_of_table = at.saturating_add(size_of::<Table>() as u64);
        if !is_within(memory, efi::ACPI_RECLAIM, &(at..end_of_table)) {
            return Err(Error::TableAddress(at));
        }
        let table: Table = read(memory, at)?;
        if table.signature == [0; SIGNATURE.len()] {
            return Err(Error::Empty);
        }
        if table.signature != SIGNATURE {
            return Err(Error::Signature);
        }
        if table.version.get() != VERSION {
            return Err(Error::Version(table.version.get()));
        }
        if usize::from(table.length.get()) != size_of::<Table>() {
            return Err(Error::Length(table.length.get()));
        }
        if checksum(table.as_bytes()) != 0 {
            return Err(Error::Checksum);
        }
        let flags = table.flags.get();
        // A device that is not on PCI cannot be left running.
        if flags & !(FLAG_PICTURE | FLAG_RUNNING | FLAG_PCI) != 0
            || flags & (FLAG_RUNNING | FLAG_PCI) == FLAG_RUNNING
        {
            return Err(Error::Flags(flags));
        }
        let (width, height) = (table.width.get(), table.height.get());
        if !(1..=MAX_SIDE_PIXELS).contains(&width) || !(1..=MAX_SIDE_PIXELS).contains(&height) {
            return Err(Error::Mode(width, height));
        }
        let scanout = table.scanout.get();
        if scanout >= MAX_SCANOUTS {
            return Err(Error::Scanout(scanout));
        }
        let resource = (flags & FLAG_RUNNING != 0).then_some(table.resource.get());
        if resource == Some(0) {
            return Err(Error::Resource);
        }

        let mut picture = None;
        if flags & FLAG_PICTURE != 0 {
            let (at, pitch) = (table.picture.get(), table.pitch.get());
            let end = at.checked_add(u64::from(pitch) * u64::from(height));
            let fits = pitch >= width * PIXEL_BYTES
                && pitch % PIXEL_BYTES == 0
                && end.is_some_and(|end| is_within(memory, efi::BOOT_SERVICES_DATA, &(at..end)));
            if !fits {
                return Err(Error::Picture(at));
            }
            let checksum = table.picture_checksum.get();
            picture = Some(PixelBuffer {
                address: at,
                pitch,
                checksum,
            });
        }

        let cookie = resource.map_or(0, |_| table.cookie.get());
        if resource.is_some() && cookie % 2 == 0 {
            return Err(Error::Cookie(cookie));
        }

        let cursor = Cursor {
            column: table.column.get(),
            row: table.row.get(),
            columns: table.columns.get(),
            rows: table.rows.get(),
        };
        let has_cursor = cursor.rows != 0;
        if has_cursor && (cursor.column >= cursor.columns || cursor.row >= cursor.rows) {
            return Err(Error::Cursor(cursor.column, cursor.row));
        }
        let (device, function) = (table.devfn >> 3, table.devfn & 7);
        // Never fails, since all values of the two fields are valid.
        let address = Address::new(table.bus, device, function).ok_or(Error::Flags(flags))?;
        Ok(Self {
            device: (flags & FLAG_PCI != 0).then_some((table.segment.get(), address)),
            scanout,
            width,
            height,
            resource,
            picture,
            cursor: has_cursor.then_some(cursor),
            cookie,
        })
    }

    /// Returns whether the table names the device at this PCI address. If the table names no
    /// device, the screen may have been any device's, so the result is false.
    pub(crate) fn names_device(&self, segment: Segment, device: Address) -> bool {
        self.device
            .is_some_and(|(number, at)| at == device && segment.matches_firmware(number))
    }

    /// Returns whether the table names the device at this PCI address, and the device still runs as
    /// firmware left it. `queue` is the value of the device's queue_desc of queue 0.
    pub(crate) fn is_running(&self, segment: Segment, device: Address, queue: Option<u64>) -> bool {
        self.names_device(segment, device) && self.resource.is_some() && queue == Some(self.cookie)
    }

    /// Returns whether the picture is unchanged. Memory of its type is free after the exit of boot
    /// services, so something may have reused it.
    pub(crate) fn is_picture_intact(&self, memory: &mut impl Memory) -> bool {
        let Some(picture) = self.picture else {
            return false;
        };
        let mut found = 0;
        let mut chunk = [0; CHUNK_PIXELS];
        for y in 0..self.height {
            for x in (0..self.width).step_by(CHUNK_PIXELS) {
                let count = CHUNK_PIXELS.min((self.width - x) as usize);
                let pixels = chunk.get_mut(..count).unwrap_or_default();
                if self.paint(memory, x, y, pixels).is_err() {
                    return false;
                }
                found = pixel_checksum(found, pixels);
            }
        }
        found == picture.checksum
    }

    /// Copies row `y` of the picture, from column `x` on, to `pixels`. Pixels outside of the
    /// picture are not changed.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if the memory of the picture cannot be read.
    pub(crate) fn paint(
        &self,
        memory: &mut impl Memory,
        x: u32,
        y: u32,
        pixels: &mut [u32],
    ) -> Result<(), Unreadable> {
        let Some(picture) = self.picture.filter(|_| y < self.height) else {
            return Ok(());
        };
        let count = pixels.len().min(self.width.saturating_sub(x) as usize);
        if count == 0 {
            return Ok(());
        }
        // Cannot overflow: [`Self::read`] has checked that the picture is in memory.
        let at =
            picture.address + u64::from(picture.pitch) * u64::from(y) + u64::from(PIXEL_BYTES * x);
        let pixels = pixels.get_mut(..count).unwrap_or_default();
        memory.read(at, pixels.as_mut_bytes())
    }

    /// Returns the number of pixels from the top of the screen to the text row below the cursor.
    pub(crate) fn text_start_y(&self) -> u32 {
        self.cursor.map_or(0, |cursor| {
            let rows = u64::from(cursor.row) + 1;
            // At most the height, which has 32 bits.
            (u64::from(self.height) * rows).div_ceil(u64::from(cursor.rows)) as u32
        })
    }
}
