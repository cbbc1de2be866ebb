// SPDX-License-Identifier: GPL-2.0

//! Reads what our UEFI driver (`drivers/uefi/`) hands over from firmware: the picture that was on
//! the screen, and, where it could light the screen again after firmware's reset, the device, which
//! shows it and has no queue.
//!
//! It is one EFI configuration table (UEFI 2.10, section 4.6) of a GUID of its own, in memory for
//! ACPI's tables. The driver writes it at ExitBootServices(), and the kernel reads it when it looks
//! for the device; both are built from this page.

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
use crate::pci::{
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

/// The table's GUID, 585e675d-dee6-4f22-b455-ef3a668f5bd0.
pub(crate) const GUID: [u8; 16] = [
    0x5d, 0x67, 0x5e, 0x58, 0xe6, 0xde, 0x22, 0x4f, 0xb4, 0x55, 0xef, 0x3a, 0x66, 0x8f, 0x5b, 0xd0,
];

/// The only version that there is.
const VERSION: u16 = 2;
/// Flag: there is a picture in memory.
const PICTURE: u32 = 1 << 0;
/// Flag: the device shows it, and can be adopted.
const LIVE: u32 = 1 << 1;
/// Flag: the device is a PCI function.
const ON_PCI: u32 = 1 << 2;
/// No mode is wider or higher: what fits into 256 MiB as a square, and more.
const MAX_PIXELS: u32 = 16384;
/// VIRTIO_GPU_MAX_SCANOUTS (VIRTIO 1.3, section 5.7.6.8).
const SCANOUTS: u32 = 16;
/// The lower half of a [`mark`]. It is odd, as no address of descriptors is (VIRTIO 1.3, section
/// 2.7).
const MARK: u32 = 0x6d61_726b;
/// Bytes of a pixel.
const PIXEL: u32 = 4;
/// Pixels that are read at once.
const PIECE: usize = 512;

/// The table as it is in memory.
#[derive(Clone, Copy, Default, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub(crate) struct Table {
    signature: [u8; 8],
    version: U16,
    /// Bytes of the table.
    length: U16,
    flags: U32,
    segment: U16,
    bus: u8,
    /// The device in bits 3 to 7, and the function.
    devfn: u8,
    scanout: U32,
    resource: U32,
    width: U32,
    height: U32,
    /// Bytes from one row of the picture to the next.
    pitch: U32,
    /// The [`sum`] of its pixels.
    sum: U32,
    picture: U64,
    /// See [`mark`].
    mark: U64,
    /// The text cursor, and the size of the text that it is in.
    column: U16,
    row: U16,
    columns: U16,
    rows: U16,
    reserved: [u8; 3],
    /// Makes the sum of all bytes 0.
    checksum: u8,
}

const SIGNATURE: [u8; 8] = *b"virtgpu\0";

/// A text cursor, and the size of the text that it is in. Firmware's text fills the screen, about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cursor {
    /// The column, from 0.
    pub(crate) column: u16,
    /// The row, from 0.
    pub(crate) row: u16,
    /// Columns in all.
    pub(crate) columns: u16,
    /// Rows in all.
    pub(crate) rows: u16,
}

/// A picture in memory for boot services: `B8G8R8X8` pixels, row by row.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pixels {
    /// Physical address of the upper left one.
    pub(crate) at: u64,
    /// Bytes from one row to the next.
    pub(crate) pitch: u32,
    /// The [`sum`] of all of them, without what is between the rows.
    pub(crate) sum: u32,
}

/// Adds pixels to the sum by which a picture is known: whoever has the memory by then has changed
/// it.
pub(crate) fn sum(sum: u32, pixels: &[u32]) -> u32 {
    let add = |sum: u32, pixel: &u32| sum.rotate_left(1).wrapping_add(u32::from_le(*pixel));
    pixels.iter().fold(sum, add)
}

/// The mark by which the device is known that shows the picture with this [`sum`]: a number that
/// the UEFI driver leaves in the register of the descriptors' address of queue 0, which is not
/// enabled. A reset of the device clears it, and a driver that gives the queue a place overwrites
/// it.
#[allow(dead_code)]
pub(crate) fn mark(sum: u32) -> u64 {
    (u64::from(sum) << 32) | u64::from(MARK)
}

/// What was handed over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Handoff {
    /// The PCI segment of the device, and where it is in there; `None` if it is no virtio-gpu on
    /// PCI, and then it does not run.
    pub(crate) device: Option<(u16, Address)>,
    /// The scanout that firmware drew on.
    pub(crate) scanout: u32,
    /// Its mode, in pixels.
    pub(crate) width: u32,
    /// The same.
    pub(crate) height: u32,
    /// The resource that the scanout shows, if the device runs.
    pub(crate) live: Option<u32>,
    /// What was on the screen.
    pub(crate) picture: Option<Pixels>,
    /// The text cursor on it, if firmware had one.
    pub(crate) cursor: Option<Cursor>,
    /// The [`mark`] of the device, if it runs; 0 if it does not.
    pub(crate) mark: u64,
}

/// Why what was handed over is not used, for a line that begins with `handoff: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// The table cannot be read.
    Unreadable(Unreadable),
    /// The table is not in memory for ACPI's tables.
    Place(u64),
    /// There was nothing to hand over: the table is empty.
    Nothing,
    /// The table has another signature.
    Signature,
    /// A version that is not known.
    Version(u16),
    /// So many bytes that version does not have.
    Length(u16),
    /// The checksum is wrong.
    Checksum,
    /// Flags that are not known.
    Flags(u32),
    /// There is no mode like that.
    Mode(u32, u32),
    /// There is no scanout of that number.
    Scanout(u32),
    /// The device runs, without a resource.
    Resource,
    /// The picture's rows overlap, or it is not within memory for boot services.
    Picture(u64),
    /// The device runs, and its mark may be the address of a queue.
    Mark(u64),
    /// The cursor is outside of its text.
    Cursor(u16, u16),
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
            Self::Place(at) => write!(f, "no table can be at {at:#x}"),
            Self::Nothing => f.write_str("firmware had nothing to hand over"),
            Self::Signature => f.write_str("the signature is wrong"),
            Self::Version(version) => write!(f, "version {version} is not known, only {VERSION}"),
            Self::Length(length) => write!(f, "no table has {length} bytes"),
            Self::Checksum => f.write_str("the checksum is wrong"),
            Self::Flags(flags) => write!(f, "flags {flags:#x} are not known"),
            Self::Mode(width, height) => write!(f, "no mode has {width}x{height} pixels"),
            Self::Scanout(scanout) => write!(f, "there is no scanout {scanout}"),
            Self::Resource => f.write_str("a device that runs shows a resource"),
            Self::Picture(at) => write!(f, "no picture can be at {at:#x}"),
            Self::Mark(mark) => write!(f, "no mark is {mark:#x}"),
            Self::Cursor(column, row) => {
                write!(f, "the cursor is not in the text, at {column},{row}")
            }
        }
    }
}

impl Table {
    /// The table that hands this over. Firmware's side, and tests, write it; the kernel only reads.
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
                flag(handoff.picture.is_some(), PICTURE)
                    | flag(handoff.live.is_some(), LIVE)
                    | flag(handoff.device.is_some(), ON_PCI),
            ),
            scanout: U32::new(handoff.scanout),
            resource: U32::new(handoff.live.unwrap_or(0)),
            width: U32::new(handoff.width),
            height: U32::new(handoff.height),
            pitch: U32::new(picture.pitch),
            sum: U32::new(picture.sum),
            picture: U64::new(picture.at),
            mark: U64::new(handoff.mark),
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
    /// Reads the table at the physical address `at`. All that it names is where firmware's memory
    /// map `map` has such things.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, see [`Error`].
    pub(crate) fn read(memory: &mut impl Memory, map: MemoryMap, at: u64) -> Result<Self, Error> {
        let is_within = |memory: &mut _, kind, range: &Range<u64>| {
            efi::area(memory, map, kind, range.start).is_some_and(|area| range.end <= area.end)
        };
        let end_of_table = at.saturating_add(size_of::<Table>() as u64);
        if !is_within(memory, efi::ACPI_RECLAIM, &(at..end_of_table)) {
            return Err(Error::Place(at));
        }
        let table: Table = read(memory, at)?;
        if table.signature == [0; SIGNATURE.len()] {
            return Err(Error::Nothing);
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
        // What is not on PCI cannot be left running.
        if flags & !(PICTURE | LIVE | ON_PCI) != 0 || flags & (LIVE | ON_PCI) == LIVE {
            return Err(Error::Flags(flags));
        }
        let (width, height) = (table.width.get(), table.height.get());
        if !(1..=MAX_PIXELS).contains(&width) || !(1..=MAX_PIXELS).contains(&height) {
            return Err(Error::Mode(width, height));
        }
        let scanout = table.scanout.get();
        if scanout >= SCANOUTS {
            return Err(Error::Scanout(scanout));
        }
        let live = (flags & LIVE != 0).then_some(table.resource.get());
        if live == Some(0) {
            return Err(Error::Resource);
        }

        let mut picture = None;
        if flags & PICTURE != 0 {
            let (at, pitch) = (table.picture.get(), table.pitch.get());
            let end = at.checked_add(u64::from(pitch) * u64::from(height));
            let fits = pitch >= width * PIXEL
                && pitch % PIXEL == 0
                && end.is_some_and(|end| is_within(memory, efi::BOOT_SERVICES_DATA, &(at..end)));
            if !fits {
                return Err(Error::Picture(at));
            }
            let sum = table.sum.get();
            picture = Some(Pixels { at, pitch, sum });
        }

        let mark = live.map_or(0, |_| table.mark.get());
        if live.is_some() && mark % 2 == 0 {
            return Err(Error::Mark(mark));
        }

        let cursor = Cursor {
            column: table.column.get(),
            row: table.row.get(),
            columns: table.columns.get(),
            rows: table.rows.get(),
        };
        let is_there = cursor.rows != 0;
        if is_there && (cursor.column >= cursor.columns || cursor.row >= cursor.rows) {
            return Err(Error::Cursor(cursor.column, cursor.row));
        }
        let (device, function) = (table.devfn >> 3, table.devfn & 7);
        // All devices and functions are some.
        let address = Address::new(table.bus, device, function).ok_or(Error::Flags(flags))?;
        Ok(Self {
            device: (flags & ON_PCI != 0).then_some((table.segment.get(), address)),
            scanout,
            width,
            height,
            live,
            picture,
            cursor: is_there.then_some(cursor),
            mark,
        })
    }

    /// Says whether the device at a place on PCI is the one whose screen it was. Where none is
    /// named, no device is: the screen may be that of any other.
    pub(crate) fn is_of(&self, segment: Segment, device: Address) -> bool {
        self.device
            .is_some_and(|(number, at)| at == device && segment.agrees_with_firmware(number))
    }

    /// Says whether the device at a place on PCI is the one and runs, as firmware left it: `queue`
    /// is what it has as the address of the descriptors of queue 0.
    pub(crate) fn is_live(&self, segment: Segment, device: Address, queue: Option<u64>) -> bool {
        self.is_of(segment, device) && self.live.is_some() && queue == Some(self.mark)
    }

    /// Whether the picture is there, as it was: memory of boot services is used again.
    pub(crate) fn has_picture(&self, memory: &mut impl Memory) -> bool {
        let Some(picture) = self.picture else {
            return false;
        };
        let mut found = 0;
        let mut piece = [0; PIECE];
        for y in 0..self.height {
            for x in (0..self.width).step_by(PIECE) {
                let count = PIECE.min((self.width - x) as usize);
                let pixels = piece.get_mut(..count).unwrap_or_default();
                if self.paint(memory, x, y, pixels).is_err() {
                    return false;
                }
                found = sum(found, pixels);
            }
        }
        found == picture.sum
    }

    /// Paints the picture over pixels of the screen: those of row `y` from column `x` on. Pixels
    /// that it does not have stay as they are.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if the memory is.
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
        // Cannot overflow: the whole picture was found to be in memory.
        let at = picture.at + u64::from(picture.pitch) * u64::from(y) + u64::from(PIXEL * x);
        let pixels = pixels.get_mut(..count).unwrap_or_default();
        memory.read(at, pixels.as_mut_bytes())
    }

    /// Pixels from the top of the screen to where text goes on below the cursor.
    pub(crate) fn text_begins(&self) -> u32 {
        self.cursor.map_or(0, |cursor| {
            let rows = u64::from(cursor.row) + 1;
            // No more than the height, which has 32 bits.
            (u64::from(self.height) * rows).div_ceil(u64::from(cursor.rows)) as u32
        })
    }
}
