// SPDX-License-Identifier: GPL-2.0

//! ACPI's tables: from the RSDP to a table (ACPI 6.5, section 5.2), and the PCI host bridges in the
//! MCFG (PCI Firmware 3.3, section 4.1.2).

use super::{
    read,
    Memory,
    Unreadable, //
};
use crate::pci::config::{
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

/// The Root System Description Pointer (RSDP) of ACPI 1.0 (5.2.5.3).
#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct Rsdp {
    signature: [u8; 8],
    checksum: u8,
    oem_id: [u8; 6],
    revision: u8,
    rsdt_address: U32,
}

/// The RSDP since ACPI 2.0, with a 64-bit address (5.2.5.3).
#[derive(FromBytes, Immutable, IntoBytes)]
#[repr(C)]
struct ExtendedRsdp {
    rsdp: Rsdp,
    length: U32,
    xsdt_address: U64,
    extended_checksum: u8,
    reserved: [u8; 3],
}

/// `DESCRIPTION_HEADER`, the header of every other table (5.2.6).
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

/// An allocation structure of the MCFG: one host bridge.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Allocation {
    base_address: U64,
    segment_group: U16,
    start_bus: u8,
    end_bus: u8,
    reserved: U32,
}

/// The limit for the length of a table. The tables that are read here are far shorter.
const MAX_TABLE_BYTES: u32 = 64 << 10;
/// Bytes of the MCFG before its first allocation structure: the header and eight reserved bytes.
const MCFG_PREFIX_BYTES: u64 = size_of::<Header>() as u64 + 8;

/// The signature of a table: four letters by specification, any four bytes in practice.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Signature(pub(crate) [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

/// The reason why a table was not found or cannot be used, for a log line that begins with
/// `ACPI: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// A table is in memory that cannot be read.
    Unreadable(Unreadable),
    /// There is no signature "RSD PTR " at the address of the RSDP.
    NoRsdp(u64),
    /// The bytes of the RSDP do not add up to zero.
    RsdpChecksum,
    /// The RSDP has an invalid length.
    RsdpLength(u32),
    /// The RSDP has neither the address of an RSDT nor that of an XSDT.
    NoTables,
    /// A table has another signature than expected.
    Signature {
        /// The expected signature.
        expected: Signature,
        /// The signature in memory.
        found: Signature,
    },
    /// A table is too short for its fixed fields, or too long.
    Length(Signature, u32),
    /// The bytes of a table do not add up to zero.
    Checksum(Signature),
    /// The address of a table wraps around.
    Address(Signature, u64),
    /// There is no MCFG.
    NoMcfg,
    /// An allocation structure of the MCFG has invalid buses or addresses.
    Allocation {
        /// `base_address`: physical address of the configuration space of bus 0.
        base: u64,
        /// First bus.
        first: u8,
        /// Last bus.
        last: u8,
    },
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(error) => write!(f, "{error}"),
            Self::NoRsdp(at) => write!(f, "no root pointer at {at:#x}"),
            Self::RsdpChecksum => f.write_str("the root pointer's checksum is wrong"),
            Self::RsdpLength(length) => write!(f, "the root pointer has {length} bytes"),
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

/// A table whose length and checksum have been checked.
#[derive(Clone, Copy)]
pub(super) struct Table {
    /// Physical address.
    pub(super) at: u64,
    /// Length in bytes, with the header.
    length: u32,
}

impl Table {
    /// Finds the table with this `signature` and at least `min_length` bytes, header included.
    /// `rsdp_at` is the physical address of the RSDP. Returns [`None`] if firmware has no such
    /// table.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first problem in the RSDP, in the RSDT or XSDT, or in the table. Other
    /// tables are not checked.
    pub(super) fn find(
        memory: &mut impl Memory,
        rsdp_at: u64,
        signature: Signature,
        min_length: u64,
    ) -> Result<Option<Self>, Error> {
        let rsdp: Rsdp = read(memory, rsdp_at)?;
        if rsdp.signature != *b"RSD PTR " {
            return Err(Error::NoRsdp(rsdp_at));
        }
        if checksum(rsdp.as_bytes()) != 0 {
            return Err(Error::RsdpChecksum);
        }
        let rsdt = u64::from(rsdp.rsdt_address.get());
        let xsdt = match rsdp.revision {
            0 | 1 => 0,
            _ => xsdt_address(memory, rsdp_at)?,
        };
        let table = if xsdt != 0 {
            Self::open(memory, xsdt, Signature(*b"XSDT"))?.find_entry::<U64>(memory, signature)?
        } else if rsdt != 0 {
            Self::open(memory, rsdt, Signature(*b"RSDT"))?.find_entry::<U32>(memory, signature)?
        } else {
            return Err(Error::NoTables);
        };
        match table {
            Some(table) if u64::from(table.length) < min_length => {
                Err(Error::Length(signature, table.length))
            }
            table => Ok(table),
        }
    }

    /// Finds a table in this RSDT or XSDT, whose entries are `A`s.
    fn find_entry<A>(
        &self,
        memory: &mut impl Memory,
        signature: Signature,
    ) -> Result<Option<Self>, Error>
    where
        A: zerocopy::FromBytes + IntoBytes + Into<u64>,
    {
        let mut at = self.at + size_of::<Header>() as u64;
        let end = self.at + u64::from(self.length);
        while end - at >= size_of::<A>() as u64 {
            let table: u64 = read::<A>(memory, at)?.into();
            // Some firmware has empty entries. ACPICA skips them as well.
            if table != 0 && read::<[u8; 4]>(memory, table)? == signature.0 {
                return Self::open(memory, table, signature).map(Some);
            }
            at += size_of::<A>() as u64;
        }
        Ok(None)
    }

    /// Opens the table at the physical address `at`, which must have the signature `expected`.
    fn open(memory: &mut impl Memory, at: u64, expected: Signature) -> Result<Self, Error> {
        let header: Header = read(memory, at)?;
        if header.signature != expected.0 {
            return Err(Error::Signature {
                expected,
                found: Signature(header.signature),
            });
        }
        let length = header.length.get();
        if length < size_of::<Header>() as u32 || length > MAX_TABLE_BYTES {
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

    /// Adds up all bytes of the table, a chunk at a time, since the stack is small.
    fn sum(&self, memory: &mut impl Memory) -> Result<u8, Unreadable> {
        let mut sum = 0u8;
        let mut chunk = [0; 128];
        let mut at = self.at;
        let mut remaining = self.length as usize;
        while remaining > 0 {
            let (chunk, _) = chunk.split_at_mut(remaining.min(128));
            memory.read(at, chunk)?;
            sum = sum.wrapping_add(checksum(chunk));
            // The end of the RSDP was not checked. If it wraps around, the next read fails.
            at = at.wrapping_add(chunk.len() as u64);
            remaining -= chunk.len();
        }
        Ok(sum)
    }
}

/// Returns the sum of all bytes, which is 0 for a valid table.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The PCI host bridges of the MCFG.
#[derive(Clone, Copy)]
pub(crate) struct Mcfg {
    table: Table,
}

impl Mcfg {
    /// Finds the MCFG. `rsdp_at` is the physical address of the RSDP.
    ///
    /// # Errors
    ///
    /// As [`Table::find`]; [`Error::NoMcfg`] if there is no MCFG.
    pub(crate) fn find(memory: &mut impl Memory, rsdp_at: u64) -> Result<Self, Error> {
        Table::find(memory, rsdp_at, Signature(*b"MCFG"), MCFG_PREFIX_BYTES)?
            .map(|table| Self { table })
            .ok_or(Error::NoMcfg)
    }

    /// Returns the host bridges in the order of the table.
    ///
    /// An item is [`Error::Allocation`] if its buses or addresses are invalid, and
    /// [`Error::Unreadable`] if it cannot be read. The other items are still valid.
    pub(crate) fn host_bridges<'m, M: Memory>(
        &self,
        memory: &'m mut M,
    ) -> impl Iterator<Item = Result<Ecam, Error>> + 'm {
        let first = self.table.at + MCFG_PREFIX_BYTES;
        let size = size_of::<Allocation>() as u64;
        let count = (u64::from(self.table.length) - MCFG_PREFIX_BYTES) / size;
        (0..count).map(move |index| {
            let entry: Allocation = read(memory, first + index * size)?;
            let (base, first, last) = (entry.base_address.get(), entry.start_bus, entry.end_bus);
            let segment = Segment::Mcfg(entry.segment_group.get());
            // `base_address` is the address of bus 0, even if the first bus is another one.
            base.checked_add(Ecam::BUS_BYTES * u64::from(first))
                .and_then(|base| Ecam::new(base, segment, first, last))
                .ok_or(Error::Allocation { base, first, last })
        })
    }
}

/// Checks the RSDP of ACPI 2.0 and returns the address of the XSDT.
fn xsdt_address(memory: &mut impl Memory, at: u64) -> Result<u64, Error> {
    let rsdp: ExtendedRsdp = read(memory, at)?;
    // A later revision may be longer; so far there is none.
    let length = rsdp.length.get();
    if length < size_of::<ExtendedRsdp>() as u32 || length > MAX_TABLE_BYTES {
        return Err(Error::RsdpLength(length));
    }
    match (Table { at, length }).sum(memory)? {
        0 => Ok(rsdp.xsdt_address.get()),
        _ => Err(Error::RsdpChecksum),
    }
}
