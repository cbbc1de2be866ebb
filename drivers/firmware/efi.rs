// SPDX-License-Identifier: GPL-2.0

//! The EFI system table, its configuration tables and the memory map (UEFI 2.10, sections 4.3, 4.6
//! and 7.2).

use super::{
    read,
    Memory,
    Unreadable, //
};
use core::{
    fmt,
    ops::Range, //
};
use zerocopy::little_endian::{
    U32,
    U64, //
};
use zerocopy_derive::{
    FromBytes,
    IntoBytes, //
};

/// `EFI_TABLE_HEADER` (4.2) and `EFI_SYSTEM_TABLE` (4.3) of 64-bit firmware.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct SystemTable {
    signature: U64,
    revision: U32,
    header_size: U32,
    crc32: U32,
    reserved: U32,
    firmware_vendor: U64,
    firmware_revision: U32,
    padding: U32,
    console_in_handle: U64,
    con_in: U64,
    console_out_handle: U64,
    con_out: U64,
    standard_error_handle: U64,
    std_err: U64,
    runtime_services: U64,
    boot_services: U64,
    number_of_table_entries: U64,
    configuration_table: U64,
}

/// `EFI_CONFIGURATION_TABLE` (4.6).
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct ConfigurationTable {
    vendor_guid: [u8; 16],
    vendor_table: U64,
}

/// `EFI_MEMORY_DESCRIPTOR` (7.2.3). Firmware may append fields: use the map's descriptor size.
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct MemoryDescriptor {
    memory_type: U32,
    padding: U32,
    physical_start: U64,
    virtual_start: U64,
    number_of_pages: U64,
    attribute: U64,
}

/// `EFI_SYSTEM_TABLE_SIGNATURE`, "IBI SYST".
const SIGNATURE: u64 = u64::from_le_bytes(*b"IBI SYST");
/// `EFI_ACPI_20_TABLE_GUID`, 8868e871-e4f1-11d3-bc22-0080c73c8881.
const ACPI_20: [u8; 16] = [
    0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81,
];
/// `ACPI_TABLE_GUID`, eb9d2d30-2d88-11d3-9a16-0090273fc14d.
const ACPI_10: [u8; 16] = [
    0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11, 0x9a, 0x16, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0x4d,
];
/// `EFI_MEMORY_WB`: the memory can be cached, as RAM can.
const MEMORY_WB: u64 = 1 << 3;
/// `EFI_MEMORY_RUNTIME`: runtime services use the memory.
const MEMORY_RUNTIME: u64 = 1 << 63;
/// `EfiBootServicesData` (7.2.1). Nobody uses this memory between the exit of boot services and the
/// time when Linux has an allocator.
pub(crate) const BOOT_SERVICES_DATA: u32 = 4;
/// `EfiACPIReclaimMemory` (7.2.1). Linux on arm64 does not reuse this memory.
pub(crate) const ACPI_RECLAIM: u32 = 9;
/// `EFI_PAGE_SIZE` as a shift.
const PAGE_SHIFT: u32 = 12;
/// `EFI_PAGE_SIZE` in bytes.
pub(crate) const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;
/// The limit for configuration tables. AAVMF has a dozen.
const MAX_TABLES: u64 = 256;
/// The limit for memory descriptors, more than any firmware has.
const MAX_DESCRIPTORS: u64 = 4096;

/// The memory map that the EFI stub passes in `/chosen` of the devicetree.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MemoryMap {
    /// Physical address, `linux,uefi-mmap-start`.
    pub(crate) start: u64,
    /// Size in bytes, `linux,uefi-mmap-size`.
    pub(crate) size: u32,
    /// Size of a descriptor in bytes, `linux,uefi-mmap-desc-size`.
    pub(crate) descriptor_size: u32,
    /// Version of the descriptors, `linux,uefi-mmap-desc-ver`. The only one is 1.
    pub(crate) descriptor_version: u32,
}

/// The reason why the system table or the memory map cannot be used, for a log line that begins
/// with `EFI: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// A table is in memory that cannot be read.
    Unreadable(Unreadable),
    /// The system table has another signature.
    Signature(u64),
    /// The header of the system table has a size that is too small.
    HeaderSize(u32),
    /// There are too many configuration tables.
    TableCount(u64),
    /// The address of the configuration tables wraps around.
    TableAddress(u64),
    /// The memory map is too long or wraps around, its descriptors are too short, or their version
    /// is unknown.
    MemoryMap(MemoryMap),
    /// None of the configuration tables is ACPI's RSDP.
    NoAcpi,
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
            Self::Signature(found) => write!(f, "system table has signature {found:#018x}"),
            Self::HeaderSize(size) => write!(f, "system table of only {size} bytes"),
            Self::TableCount(count) => write!(f, "{count} configuration tables are too many"),
            Self::TableAddress(at) => write!(f, "no configuration tables can be at {at:#x}"),
            Self::MemoryMap(map) => write!(
                f,
                "no memory map has {} bytes, descriptors of {} bytes, version {}",
                map.size, map.descriptor_size, map.descriptor_version
            ),
            Self::NoAcpi => f.write_str("firmware has no ACPI tables"),
        }
    }
}

/// Returns the physical address of ACPI's RSDP. ACPI 2.0 has precedence over ACPI 1.0.
///
/// `system_table` is a physical address. `map` is needed after `SetVirtualAddressMap()`.
///
/// # Errors
///
/// [`Error`] for the first problem.
pub(crate) fn rsdp_address(
    memory: &mut impl Memory,
    system_table: u64,
    map: Option<MemoryMap>,
) -> Result<u64, Error> {
    let mut acpi_10 = None;
    let acpi_20 = find_table(memory, system_table, map, |guid, at| match guid {
        ACPI_20 => true,
        ACPI_10 => {
            acpi_10 = Some(at);
            false
        }
        _ => false,
    })?;
    acpi_20.or(acpi_10).ok_or(Error::NoAcpi)
}

/// Returns the physical address of the configuration table with this GUID, [`None`] if there is
/// none. `system_table` and `map` are as for [`rsdp_address`].
///
/// # Errors
///
/// [`Error`] for the first problem.
pub(crate) fn configuration_table(
    memory: &mut impl Memory,
    system_table: u64,
    map: Option<MemoryMap>,
    guid: [u8; 16],
) -> Result<Option<u64>, Error> {
    find_table(memory, system_table, map, |found, _| found == guid)
}

/// Returns the address of the first configuration table for which `wanted` returns true. `wanted`
/// gets the GUID and the address of a table.
fn find_table(
    memory: &mut impl Memory,
    system_table: u64,
    map: Option<MemoryMap>,
    mut wanted: impl FnMut([u8; 16], u64) -> bool,
) -> Result<Option<u64>, Error> {
    let table: SystemTable = read(memory, system_table)?;
    if table.signature.get() != SIGNATURE {
        return Err(Error::Signature(table.signature.get()));
    }
    if u64::from(table.header_size.get()) < size_of::<SystemTable>() as u64 {
        return Err(Error::HeaderSize(table.header_size.get()));
    }
    let count = table.number_of_table_entries.get();
    if count > MAX_TABLES {
        return Err(Error::TableCount(count));
    }
    let mut at = physical_address(memory, table.configuration_table.get(), map)?;
    for _ in 0..count {
        let entry: ConfigurationTable = read(memory, at)?;
        if wanted(entry.vendor_guid, entry.vendor_table.get()) {
            return Ok(Some(entry.vendor_table.get()));
        }
        at = at
            .checked_add(size_of::<ConfigurationTable>() as u64)
            .ok_or(Error::TableAddress(table.configuration_table.get()))?;
    }
    Ok(None)
}

/// Returns the memory of type `memory_type` that contains the physical address `at`. The type is
/// [`BOOT_SERVICES_DATA`] or [`ACPI_RECLAIM`]. Returns [`None`] if the map has no such memory, if
/// another descriptor overlaps it, or if the map is invalid or cannot be read.
pub(crate) fn memory_range(
    memory: &mut impl Memory,
    map: MemoryMap,
    memory_type: u32,
    at: u64,
) -> Option<Range<u64>> {
    let mut pages = |descriptor| {
        let entry: MemoryDescriptor = read(memory, descriptor).ok()?;
        let start = entry.physical_start.get();
        let bytes = entry.number_of_pages.get().checked_mul(1 << PAGE_SHIFT)?;
        Some((entry.memory_type.get(), start..start.checked_add(bytes)?))
    };
    let mut found = None;
    for descriptor in descriptors(map).ok()? {
        let (found_type, range) = pages(descriptor)?;
        if range.contains(&at) {
            found = (found_type == memory_type).then_some(range);
            break;
        }
    }
    let found: Range<u64> = found?;
    let mut overlaps = 0;
    for descriptor in descriptors(map).ok()? {
        let (_, range) = pages(descriptor)?;
        overlaps += u32::from(range.start < found.end && found.start < range.end);
    }
    // The range itself is one of them.
    (overlaps == 1).then_some(found)
}

/// Passes each range of RAM in firmware's memory map to `found`: memory that Linux may use, and
/// memory that firmware keeps. Reserved memory is left out, since it may be anything.
///
/// # Errors
///
/// [`Error::MemoryMap`] if the map is invalid, [`Error::Unreadable`] if it cannot be read.
pub(crate) fn for_each_ram_range(
    memory: &mut impl Memory,
    map: MemoryMap,
    mut found: impl FnMut(Range<u64>),
) -> Result<(), Error> {
    for descriptor in descriptors(map)? {
        let entry: MemoryDescriptor = read(memory, descriptor)?;
        // EfiLoaderCode to EfiConventionalMemory, EfiACPIReclaimMemory, EfiACPIMemoryNVS and
        // EfiPersistentMemory (7.2.1).
        let is_ram = matches!(entry.memory_type.get(), 1..=7 | ACPI_RECLAIM | 10 | 14)
            && entry.attribute.get() & MEMORY_WB != 0;
        if is_ram {
            let start = entry.physical_start.get();
            let bytes = entry.number_of_pages.get().saturating_mul(PAGE_BYTES);
            found(start..start.saturating_add(bytes));
        }
    }
    Ok(())
}

/// Returns the addresses of the descriptors in a memory map.
///
/// # Errors
///
/// [`Error::MemoryMap`] if the map is invalid.
fn descriptors(map: MemoryMap) -> Result<impl Iterator<Item = u64>, Error> {
    let step = u64::from(map.descriptor_size);
    if map.descriptor_version != 1 || step < size_of::<MemoryDescriptor>() as u64 {
        return Err(Error::MemoryMap(map));
    }
    let count = u64::from(map.size) / step;
    // Cannot overflow: both factors come from 32-bit fields.
    if count > MAX_DESCRIPTORS || map.start.checked_add(count * step).is_none() {
        return Err(Error::MemoryMap(map));
    }
    Ok((0..count).map(move |index| map.start + index * step))
}

/// Converts a pointer of the system table to a physical address, by undoing
/// `SetVirtualAddressMap()` (8.4.1).
///
/// An address that no mapping covers is physical already, as all are if that service was not
/// called.
fn physical_address(
    memory: &mut impl Memory,
    at: u64,
    map: Option<MemoryMap>,
) -> Result<u64, Error> {
    let Some(map) = map else {
        return Ok(at);
    };
    for descriptor in descriptors(map)? {
        let entry: MemoryDescriptor = read(memory, descriptor)?;
        if entry.attribute.get() & MEMORY_RUNTIME == 0 {
            continue;
        }
        if entry.virtual_start.get() == 0 {
            // The stub installs all mappings or none.
            break;
        }
        let Some(offset) = at.checked_sub(entry.virtual_start.get()) else {
            continue;
        };
        if offset >> PAGE_SHIFT < entry.number_of_pages.get() {
            return entry
                .physical_start
                .get()
                .checked_add(offset)
                .ok_or(Error::TableAddress(at));
        }
    }
    Ok(at)
}
