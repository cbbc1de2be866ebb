// SPDX-License-Identifier: GPL-2.0

//! Pictures that firmware left in memory: the boot logo, and the handoff of the UEFI driver.
//!
//! An input is a byte that selects one, and then
//! * for the logo: its position on the screen, the screen's size, and the file of the image;
//! * for the handoff: the address of the table, a memory map, and the table.

use super::bytes::{
    is_a_line,
    seal,
    Bytes,
    Piece, //
};
use crate::{
    firmware::{
        bgrt::Bgrt,
        bmp::Bmp,
        efi,
        handoff::{
            Cursor,
            Handoff,
            PixelBuffer,
            Table, //
        },
        picture::Picture,
        Memory,
        Unreadable, //
    },
    pci::Address, //
};
use core::ops::Range;
use zerocopy::IntoBytes;

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    match bytes.u8() {
        kind if kind & 1 == 0 => logo(kind, bytes),
        kind => handed_over(kind, bytes),
    }
}

/// A file in memory. Any read outside of it fails.
struct File<'a> {
    at: u64,
    file: &'a [u8],
}

impl Memory for File<'_> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        assert!(into.len() <= 4096);
        let end = at.checked_add(into.len() as u64).ok_or(Unreadable { at })?;
        // The file's own size field counts, and that many bytes exist.
        let byte = |offset: usize| self.file.get(offset).copied().unwrap_or(0x5a);
        let size = u32::from_le_bytes([2, 3, 4, 5].map(byte)).max(14);
        let limit = u128::from(self.at) + u128::from(size);
        assert!(at >= self.at && u128::from(end) <= limit, "not the image's");
        for (offset, to) in (at - self.at..).zip(into) {
            *to = byte(offset as usize);
        }
        Ok(())
    }
}

fn logo(kind: u8, mut bytes: Bytes<'_>) -> bool {
    let bgrt = Bgrt {
        image: bytes.u64(),
        x: bytes.u32(),
        y: bytes.u32(),
        orientation: u16::from(kind >> 6) * 90,
    };
    let screen = (bytes.u32(), bytes.u32());
    let (x, y) = (bytes.u32(), bytes.u32());
    let mut memory = File {
        at: bgrt.image,
        file: bytes.0,
    };
    let bmp = match Bmp::read(&mut memory, bgrt.image) {
        Ok(bmp) => bmp,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    let (width, height) = (bmp.width(), bmp.height());
    assert!((1..=16384).contains(&width) && (1..=16384).contains(&height));
    let edges = [(0, 0), (width - 1, height - 1), (0, height - 1), (x, y)];
    for (x, y) in edges {
        let mut pixels = [u32::MAX; 300];
        bmp.read_row(&mut memory, x, y, &mut pixels)
            .expect("all is readable");
        let room = if y < height {
            width.saturating_sub(x) as usize
        } else {
            0
        };
        let (inside, outside) = pixels.split_at(pixels.len().min(room));
        assert!(inside.iter().all(|pixel| pixel.to_le() >> 24 == 0));
        assert!(outside.iter().all(|pixel| *pixel == u32::MAX));
    }

    let picture = match Picture::new(&bgrt, bmp, screen.0, screen.1) {
        Ok(picture) => picture,
        Err(why) => {
            is_a_line(why);
            return true;
        }
    };
    let (columns, rows) = (picture.columns(), picture.rows());
    assert!(!columns.is_empty() && columns.end <= screen.0);
    assert!(!rows.is_empty() && rows.end <= screen.1);
    for y in [0, rows.start, rows.end - 1, rows.end, y, u32::MAX] {
        for x in [
            0,
            columns.start.saturating_sub(7),
            columns.end - 1,
            columns.end,
            x,
        ] {
            let mut pixels = [u32::MAX; 300];
            let painted = picture.paint(&mut memory, x, y, &mut pixels);
            painted.expect("all is readable");
            for (at, pixel) in (u64::from(x)..).zip(pixels) {
                let is_inside = u32::try_from(at).is_ok_and(|at| columns.contains(&at));
                let is_inside = is_inside && rows.contains(&y);
                assert_eq!(pixel != u32::MAX, is_inside, "{at},{y}");
            }
        }
    }
    true
}

/// The address of the handoff's memory map.
const MAP: u64 = 0x1000_0000;
/// The maximum number of descriptors in it.
const DESCRIPTORS: usize = 6;
/// The size in bytes of a descriptor.
const STEP: usize = 48;

/// Memory with a map and a table. The map describes the other memory.
struct Firmware {
    map: Piece,
    table: Piece,
    /// Memory for boot services: start and end of each piece.
    data: Vec<Range<u64>>,
    is_open: bool,
}

impl Memory for Firmware {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let result = self
            .map
            .read(at, into)
            .or_else(|_| self.table.read(at, into));
        // Only these two may be read before the table was validated.
        if self.is_open && result.is_err() {
            let end = at.checked_add(into.len() as u64);
            let end = end.expect("an address in memory");
            let is_data = |data: &Range<u64>| data.start <= at && end <= data.end;
            assert!(self.data.iter().any(is_data), "no memory for boot services");
            into.fill(0x77);
            return Ok(());
        }
        result
    }
}

fn handed_over(kind: u8, mut bytes: Bytes<'_>) -> bool {
    let at = bytes.u64();
    let mut map = Vec::new();
    let mut data = Vec::new();
    for _ in 0..usize::from(kind >> 1) % (DESCRIPTORS + 1) {
        let (kind, start, pages) = (bytes.u8(), bytes.u64(), bytes.u64());
        map.extend(u64::from(kind).to_le_bytes());
        map.extend(start.to_le_bytes());
        map.extend(0u64.to_le_bytes());
        map.extend(pages.to_le_bytes());
        map.resize(map.len().next_multiple_of(STEP), 0);
        let end = pages
            .checked_mul(4096)
            .and_then(|size| start.checked_add(size));
        if let (4, Some(end)) = (kind, end) {
            data.push(start..end);
        }
    }
    let mut table = bytes.take(size_of::<Table>()).to_vec();
    if kind & 0x80 == 0 && !table.is_empty() {
        let last = table.len() - 1;
        seal(&mut table, last);
    }
    let whole = efi::MemoryMap {
        start: MAP,
        size: map.len() as u32,
        descriptor_size: STEP as u32,
        descriptor_version: 1,
    };
    let mut firmware = Firmware {
        map: Piece::new(MAP, map),
        table: Piece::new(at, table),
        data,
        is_open: false,
    };
    let handoff = match Handoff::read(&mut firmware, whole, at) {
        Ok(handoff) => handoff,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    firmware.is_open = true;
    assert_eq!(handoff.resource.is_some(), handoff.cookie % 2 == 1);
    assert!(handoff.resource != Some(0) && handoff.scanout < 16);
    assert!((1..=16384).contains(&handoff.width) && (1..=16384).contains(&handoff.height));
    assert!(handoff.text_start_y() <= handoff.height);
    if u64::from(handoff.width) * u64::from(handoff.height) <= 4096 {
        handoff.is_picture_intact(&mut firmware);
    }
    let (width, height) = (handoff.width, handoff.height);
    for y in [0, height - 1, height, u32::MAX] {
        for x in [0, width - 1, width, u32::MAX] {
            let mut pixels = [u32::MAX; 40];
            let painted = handoff.paint(&mut firmware, x, y, &mut pixels);
            painted.expect("the picture is in memory");
            let room = width.saturating_sub(x) as usize;
            let room = if y < height && handoff.picture.is_some() {
                room
            } else {
                0
            };
            let outside = pixels.iter().skip(room);
            assert!(outside.copied().all(|pixel| pixel == u32::MAX));
        }
    }
    true
}

/// Returns a file of `height` rows of 5 pixels; a positive height means bottom row first.
fn file(header: u32, bits: u32, compression: u32, height: i32) -> Vec<u8> {
    let masks = [0xff_0000, 0xff00, 0xff];
    let start = 14
        + if compression == 3 {
            header.max(52)
        } else {
            header
        };
    let size = start + height.unsigned_abs() * (5 * bits / 8).next_multiple_of(4);
    let mut file = b"BM".to_vec();
    file.extend([size, 0, start].map(u32::to_le_bytes).concat());
    let info = [header, 5, height as u32, 1 | bits << 16, compression];
    file.extend(info.map(u32::to_le_bytes).concat());
    file.resize(54, 0);
    if compression == 3 {
        file.extend(masks.map(u32::to_le_bytes).concat());
    }
    file.resize(size as usize, 0x12);
    file
}

fn handoff(resource: Option<u32>, pictured: bool) -> Handoff {
    Handoff {
        device: Some((0, Address::new(0, 1, 0).unwrap())),
        scanout: 0,
        width: 60,
        height: 30,
        resource,
        picture: pictured.then_some(PixelBuffer {
            address: 0x6000_0040,
            pitch: 256,
            checksum: 5,
        }),
        cursor: Some(Cursor {
            column: 3,
            row: 4,
            columns: 80,
            rows: 25,
        }),
        cookie: if resource.is_some() { 0x1234_5679 } else { 0 },
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (header, bits, compression, height) in [
        (40, 24, 0, 3),
        (40, 32, 3, -3),
        (108, 32, 0, 300),
        (124, 32, 3, 1),
    ] {
        let mut seed = vec![0];
        seed.extend(0x4e12_3000u64.to_le_bytes());
        seed.extend(
            [100u32, 50, 640, 480, 102, 51]
                .map(u32::to_le_bytes)
                .concat(),
        );
        let file = file(header, bits, compression, height);
        seed.extend(&file[..file.len().min(400)]);
        seeds.push(seed);
    }
    for (resource, pictured) in [(Some(7), true), (None, true), (Some(1), false)] {
        let mut seed = vec![1 | 3 << 1];
        seed.extend(0x5000_2000u64.to_le_bytes());
        for (kind, start, pages) in [(9, 0x5000_0000u64, 16u64), (4, 0x6000_0000, 16), (7, 0, 2)] {
            seed.push(kind);
            seed.extend(start.to_le_bytes());
            seed.extend(pages.to_le_bytes());
        }
        seed.extend(Table::new(&handoff(resource, pictured)).as_bytes());
        seeds.push(seed);
    }
    seeds
}
