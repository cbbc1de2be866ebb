// SPDX-License-Identifier: GPL-2.0

//! EFI's system table and memory map, and ACPI's tables: the path from `/chosen` to the host
//! bridges in the MCFG, to the BGRT and to the SPCR.
//!
//! An input is a byte of flags, the memory map's numbers, and a piece of memory, which begins at
//! [`LOW`] or ends with the address space. The system table is at its start.

use super::bytes::{
    is_a_line,
    seal,
    Bytes,
    Piece, //
};
use crate::{
    firmware::{
        acpi::Mcfg,
        bgrt::Bgrt,
        consoles::spcr_console,
        efi, //
    },
    pci::Ecam, //
};

/// The start of memory that does not end with the address space.
const LOW: u64 = 0x4000_0000;

/// Flag: the memory ends with the address space.
const HIGH: u8 = 1;
/// Flag: checksums are corrected.
const SEALED: u8 = 2;
/// Flag: there is a memory map.
const MAPPED: u8 = 4;

/// The size in bytes of the input before the memory.
const HEAD: usize = 12;

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let flags = bytes.u8();
    let map_at = u64::from(bytes.u16());
    let (size, descriptor_size) = (bytes.u32(), bytes.u32());
    let descriptor_version = u32::from(bytes.u8());
    let mut content = bytes.0.to_vec();
    if flags & SEALED != 0 {
        seal_all(&mut content);
    }
    let start = match flags & HIGH {
        0 => LOW,
        _ => (content.len() as u64).wrapping_neg(),
    };
    let mut memory = Piece::new(start, content);
    let map = (flags & MAPPED != 0).then_some(efi::MemoryMap {
        start: start.wrapping_add(map_at),
        size,
        descriptor_size,
        descriptor_version,
    });
    for kind in [efi::BOOT_SERVICES_DATA, efi::ACPI_RECLAIM] {
        let at = start.wrapping_add(size.into());
        let area = map.and_then(|map| efi::memory_range(&mut memory, map, kind, at));
        assert!(area.is_none_or(|area| area.contains(&at)));
    }
    // Up to 4096 descriptors of the map, twice.
    assert!(memory.reads <= 4 * 4096);
    memory.reads = 0;

    let root = match efi::rsdp_address(&mut memory, start, map) {
        Ok(root) => root,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    assert!(memory.reads <= 1 + 4096 + 256);
    (memory.reads, memory.total) = (0, 0);
    let found = mcfg(&mut memory, root);
    let found = bgrt(&mut memory, root) || found;
    // For both tables: the root pointer, the list of tables entry by entry, the table. A checksum
    // is computed in pieces of 128 bytes, and a table has 64 KiB at most.
    assert!(
        memory.reads <= 2 * (2 * 16384 + 3 * 512 + 6) + 4096,
        "{}",
        memory.reads
    );
    found
}

fn mcfg(memory: &mut Piece, root: u64) -> bool {
    let mcfg = match Mcfg::find(memory, root) {
        Ok(mcfg) => mcfg,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    let mut count = 0;
    for bridge in mcfg.host_bridges(memory) {
        count += 1;
        assert!(count <= 4096, "host bridges without end");
        match bridge {
            Ok(Ecam {
                base,
                first_bus,
                last_bus,
                ..
            }) => {
                let buses = u64::from(last_bus.checked_sub(first_bus).unwrap()) + 1;
                assert!(base.checked_add(buses * Ecam::BUS_BYTES - 1).is_some());
            }
            Err(why) => is_a_line(why),
        }
    }
    true
}

fn bgrt(memory: &mut Piece, root: u64) -> bool {
    match Bgrt::find(memory, root) {
        Ok(bgrt) => {
            assert!(bgrt.image != 0);
            assert!([0, 90, 180, 270].contains(&bgrt.orientation));
            true
        }
        Err(why) => {
            is_a_line(why);
            false
        }
    }
}

/// Corrects the checksums of all tables. An SPCR, which Linux finds, is read as well.
fn seal_all(memory: &mut [u8]) {
    for at in 0..memory.len() {
        let piece = &mut memory[at..];
        if piece.starts_with(b"RSD PTR ") {
            for (length, checksum) in [(20, 8), (36, 32)] {
                if let Some(root) = piece.get_mut(..length) {
                    seal(root, checksum);
                }
            }
        }
        let names = [b"RSDT", b"XSDT", b"MCFG", b"BGRT", b"SPCR"];
        if !names.iter().any(|name| piece.starts_with(*name)) {
            continue;
        }
        let Some((_, length)) = piece.get(..8).and_then(|head| head.split_last_chunk::<4>()) else {
            continue;
        };
        let length = u32::from_le_bytes(*length) as usize;
        if let Some(table) = piece.get_mut(..length) {
            seal(table, 9);
            spcr_console(table);
        }
    }
}

/// Writes bytes at an offset, and extends the memory if needed.
fn put(memory: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    memory.resize(memory.len().max(end), 0);
    memory[at..end].copy_from_slice(bytes);
}

/// Returns a table of this name and content, with a header.
fn table(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut table = name.to_vec();
    table.extend((36 + content.len() as u32).to_le_bytes());
    table.extend([1, 0]);
    table.extend([b' '; 26]);
    table.extend(content);
    table
}

/// The offsets in the memory of a seed.
const TABLES: usize = 0x80;
const ROOT: usize = 0xb0;
const LIST: usize = 0xe0;
const MCFG: usize = 0x140;
const BGRT: usize = 0x190;
const SPCR: usize = 0x1d0;
const END: usize = 0x230;

/// Returns memory with all tables. If it is old, their addresses have 32 bits, as in ACPI 1.0.
fn seed(flags: u8, is_old: bool) -> Vec<u8> {
    // The map has one entry, of memory with a different virtual address.
    let map_at = END;
    let size = END + 64;
    let start = match flags & HIGH {
        0 => LOW,
        _ => (size as u64).wrapping_neg(),
    };
    let address = |at: usize| start + at as u64;
    let mut memory = Vec::new();
    put(&mut memory, 0, b"IBI SYST");
    put(&mut memory, 12, &120u32.to_le_bytes());
    put(&mut memory, 104, &1u64.to_le_bytes());
    let tables = match flags & MAPPED {
        0 => address(TABLES),
        _ => 0x2000_0000 + TABLES as u64,
    };
    put(&mut memory, 112, &tables.to_le_bytes());
    let guid: u128 = match is_old {
        true => 0x4dc1_3f27_9000_169a_11d3_2d88_eb9d_2d30,
        false => 0x8188_3cc7_8000_22bc_11d3_e4f1_8868_e871,
    };
    put(&mut memory, TABLES, &guid.to_le_bytes());
    put(&mut memory, TABLES + 16, &address(ROOT).to_le_bytes());

    put(&mut memory, ROOT, b"RSD PTR ");
    put(&mut memory, ROOT + 15, &[if is_old { 0 } else { 2 }]);
    put(
        &mut memory,
        ROOT + 16,
        &(address(LIST) as u32).to_le_bytes(),
    );
    put(&mut memory, ROOT + 20, &36u32.to_le_bytes());
    put(&mut memory, ROOT + 24, &address(LIST).to_le_bytes());
    let entries = [0, address(SPCR), address(MCFG), address(BGRT)];
    let list: Vec<u8> = match is_old {
        true => entries
            .iter()
            .flat_map(|at| (*at as u32).to_le_bytes())
            .collect(),
        false => entries.iter().flat_map(|at| at.to_le_bytes()).collect(),
    };
    let name = if is_old { b"RSDT" } else { b"XSDT" };
    put(&mut memory, LIST, &table(name, &list));

    let bridge = [0x4010_0000u64, 0xff00_0000, 0]
        .map(u64::to_le_bytes)
        .concat();
    put(
        &mut memory,
        MCFG,
        &table(b"MCFG", &[&[0; 8], &bridge[..16]].concat()),
    );
    let image = [0x4e12_3000u64, 100 | 50 << 32]
        .map(u64::to_le_bytes)
        .concat();
    put(
        &mut memory,
        BGRT,
        &table(b"BGRT", &[&[1, 0, 1, 0], &image[..]].concat()),
    );
    put(&mut memory, SPCR, &table(b"SPCR", &[3; 44]));

    let entry = [0, start, 0x2000_0000, 1, 1 << 63, 0].map(u64::to_le_bytes);
    put(&mut memory, map_at, &entry.concat());
    memory.resize(size, 0);
    seal_all(&mut memory);

    let mut input = vec![flags];
    input.extend((map_at as u16).to_le_bytes());
    input.extend([48u32, 48].map(u32::to_le_bytes).concat());
    input.push(1);
    assert_eq!((input.len(), memory.len()), (HEAD, size));
    input.extend(memory);
    input
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![
        seed(0, true),
        seed(SEALED, false),
        seed(MAPPED, false),
        seed(MAPPED | SEALED, true),
        seed(HIGH, false),
        seed(HIGH | SEALED | MAPPED, false),
    ]
}
