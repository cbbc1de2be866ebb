// SPDX-License-Identifier: GPL-2.0

//! From ACPI's root pointer to a table (ACPI 6.5, section 5.2), and from the MCFG to the PCI host
//! bridges (PCI Firmware 3.3, section 4.1.2).

use super::{
    read,
    Memory,
    Unreadable, //
};
use crate::pci::{
    Ecam,
    Segment, //
};
use core::fmt;
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

/// The Root System Description Pointer of ACPI 1.0 (5.2.5.3).
#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Rsdp {
    signature: [u8; 8],
    checksum: u8,
    oem_id: [u8; 6],
    revision: u8,
    rsdt_address: U32,
}

/// The same since ACPI 2.0, with an address of 64 bits.
#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct ExtendedRsdp {
    rsdp: Rsdp,
    length: U32,
    xsdt_address: U64,
    extended_checksum: u8,
    reserved: [u8; 3],
}

/// What every other table begins with (5.2.6).
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
pub(super) struct Header {
    signature: [u8; 4],
    length: U32,
    revision: u8,
    checksum: u8,
    oem_id: [u8; 6],
    oem_table_id: [u8; 8],
    oem_revision: U32,
    creator_id: U32,
    creator_revision: U32,
}

/// One host bridge in the MCFG.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Allocation {
    base_address: U64,
    segment_group: U16,
    start_bus: u8,
    end_bus: u8,
    reserved: U32,
}

/// A table longer than this is not believed: nothing that is looked for here comes near it.
const MAX_LENGTH: u32 = 64 << 10;
/// Bytes of the MCFG before its first allocation: header and eight reserved.
const MCFG_PREFIX: u64 = size_of::<Header>() as u64 + 8;

/// The name of a table, four letters by specification and four bytes in practice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Signature(pub(crate) [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// Why a table or what it names was not found, for a line that begins with `ACPI: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// A table lies in memory that cannot be read.
    Unreadable(Unreadable),
    /// No "RSD PTR " where the root pointer should be.
    NoRoot(u64),
    /// The root pointer's bytes do not add up to zero.
    RootChecksum,
    /// The length that the root pointer gives itself.
    RootLength(u32),
    /// The root pointer points to no list of tables.
    NoTables,
    /// Another table than the expected one was found.
    Signature {
        /// The table that should have been there.
        expected: Signature,
        /// What was found in its place.
        found: Signature,
    },
    /// A table's length is too short for what every table of its kind has, or absurd.
    Length(Signature, u32),
    /// A table's bytes do not add up to zero.
    Checksum(Signature),
    /// A table's address wraps around.
    Address(Signature, u64),
    /// There is no MCFG.
    NoMcfg,
    /// An allocation in the MCFG whose buses or addresses make no sense.
    Allocation {
        /// `base_address`: physical address of bus 0.
        base: u64,
        /// First bus.
        first: u8,
        /// Last bus.
        last: u8,
    },
}

impl From<Unreadable> for Error {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable(why)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "{why}"),
            Self::NoRoot(at) => write!(f, "no root pointer at {at:#x}"),
            Self::RootChecksum => f.write_str("the root pointer's checksum is wrong"),
            Self::RootLength(length) => write!(f, "the root pointer has {length} bytes"),
            Self::NoTables => f.write_str("the root pointer points to no tables"),
            Self::Signature { expected, found } => {
                write!(f, "{found} where {expected} should be")
            }
            Self::Length(table, length) => write!(f, "{table} cannot have {length} bytes"),
            Self::Checksum(table) => write!(f, "the checksum of {table} is wrong"),
            Self::Address(table, at) => write!(f, "{table} cannot be at {at:#x}"),
            Self::NoMcfg => f.write_str("no MCFG, so no PCI host bridge is named"),
            Self::Allocation { base, first, last } => write!(
                f,
                "MCFG has a host bridge at {base:#x} for buses {first:#04x} to {last:#04x}"
            ),
        }
    }
}

/// A table whose length and checksum were found right.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// Physical address.
    pub(super) at: u64,
    /// Bytes, the header's among them.
    length: u32,
}

impl Table {
    /// Finds a table of at least `least` bytes, header and all, from ACPI's root pointer at the
    /// physical address `root`; [`None`] if firmware has none of this name.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong on the way, see [`Error`]. A table that is not on the way is
    /// not looked at.
    pub(super) fn find(
        memory: &mut impl Memory,
        root: u64,
        wanted: Signature,
        least: u64,
    ) -> Result<Option<Self>, Error> {
        let rsdp: Rsdp = read(memory, root)?;
        if rsdp.signature != *b"RSD PTR " {
            return Err(Error::NoRoot(root));
        }
        if checksum(rsdp.as_bytes()) != 0 {
            return Err(Error::RootChecksum);
        }
        let rsdt = u64::from(rsdp.rsdt_address.get());
        let xsdt = match rsdp.revision {
            0 | 1 => 0,
            _ => extended(memory, root)?,
        };
        let table = if xsdt != 0 {
            Self::open(memory, xsdt, Signature(*b"XSDT"))?.among::<U64>(memory, wanted)?
        } else if rsdt != 0 {
            Self::open(memory, rsdt, Signature(*b"RSDT"))?.among::<U32>(memory, wanted)?
        } else {
            return Err(Error::NoTables);
        };
        match table {
            Some(table) if u64::from(table.length) < least => {
                Err(Error::Length(wanted, table.length))
            }
            table => Ok(table),
        }
    }

    /// Looks for a table in this list of tables, whose addresses are `A`s.
    fn among<A>(&self, memory: &mut impl Memory, wanted: Signature) -> Result<Option<Self>, Error>
    where
        A: zerocopy::FromBytes + IntoBytes + Into<u64>,
    {
        let mut at = self.at + size_of::<Header>() as u64;
        let end = self.at + u64::from(self.length);
        while end - at >= size_of::<A>() as u64 {
            let table: u64 = read::<A>(memory, at)?.into();
            // Some firmware leaves entries empty, which ACPICA passes over as well.
            if table != 0 && read::<[u8; 4]>(memory, table)? == wanted.0 {
                return Self::open(memory, table, wanted).map(Some);
            }
            at += size_of::<A>() as u64;
        }
        Ok(None)
    }

    /// Opens the table at the physical address `at`, which must be an `expected` one.
    fn open(memory: &mut impl Memory, at: u64, expected: Signature) -> Result<Self, Error> {
        let header: Header = read(memory, at)?;
        if header.signature != expected.0 {
            return Err(Error::Signature {
                expected,
                found: Signature(header.signature),
            });
        }
        let length = header.length.get();
        if length < size_of::<Header>() as u32 || length > MAX_LENGTH {
            return Err(Error::Length(expected, length));
        }
        at.checked_add(u64::from(length))
            .ok_or(Error::Address(expected, at))?;
        let table = Self { at, length };
        match table.sum(memory)? {
            0 => Ok(table),
            _ => Err(Error::Checksum(expected)),
        }
    }

    /// Adds up all bytes, a piece at a time: the stack is small and a table need not be.
    fn sum(&self, memory: &mut impl Memory) -> Result<u8, Unreadable> {
        let mut sum = 0u8;
        let mut piece = [0; 128];
        let mut at = self.at;
        let mut left = self.length as usize;
        while left > 0 {
            let (piece, _) = piece.split_at_mut(left.min(128));
            memory.read(at, piece)?;
            sum = sum.wrapping_add(checksum(piece));
            // The end was not checked: where it wraps around, nothing can be read.
            at = at.wrapping_add(piece.len() as u64);
            left -= piece.len();
        }
        Ok(sum)
    }
}

/// The sum that ACPI wants to be zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The PCI host bridges that the MCFG names.
#[derive(Clone, Copy)]
pub(crate) struct Mcfg {
    table: Table,
}

impl Mcfg {
    /// Finds the MCFG from ACPI's root pointer, at the physical address `root`.
    ///
    /// # Errors
    ///
    /// As [`Table::find`], and [`Error::NoMcfg`].
    pub(crate) fn find(memory: &mut impl Memory, root: u64) -> Result<Self, Error> {
        Table::find(memory, root, Signature(*b"MCFG"), MCFG_PREFIX)?
            .map(|table| Self { table })
            .ok_or(Error::NoMcfg)
    }

    /// The host bridges, in the table's order.
    ///
    /// Each is an [`Error::Allocation`] if its numbers make no sense, without harm to the others.
    pub(crate) fn host_bridges<'m, M: Memory>(
        &self,
        memory: &'m mut M,
    ) -> impl Iterator<Item = Result<Ecam, Error>> + 'm {
        let first = self.table.at + MCFG_PREFIX;
        let size = size_of::<Allocation>() as u64;
        let count = (u64::from(self.table.length) - MCFG_PREFIX) / size;
        (0..count).map(move |index| {
            let entry: Allocation = read(memory, first + index * size)?;
            let (base, first, last) = (entry.base_address.get(), entry.start_bus, entry.end_bus);
            let segment = Segment::Mcfg(entry.segment_group.get());
            // The base is that of bus 0, whatever the first bus is.
            base.checked_add(Ecam::OF_ONE_BUS * u64::from(first))
                .and_then(|base| Ecam::new(base, segment, first, last))
                .ok_or(Error::Allocation { base, first, last })
        })
    }
}

/// Checks the root pointer of ACPI 2.0 and gives its address of 64 bits.
fn extended(memory: &mut impl Memory, root: u64) -> Result<u64, Error> {
    let rsdp: ExtendedRsdp = read(memory, root)?;
    // A later revision may be longer; so far none is.
    let length = rsdp.length.get();
    if length < size_of::<ExtendedRsdp>() as u32 || length > MAX_LENGTH {
        return Err(Error::RootLength(length));
    }
    match (Table { at: root, length }).sum(memory)? {
        0 => Ok(rsdp.xsdt_address.get()),
        _ => Err(Error::RootChecksum),
    }
}
