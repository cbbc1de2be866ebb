// SPDX-License-Identifier: GPL-2.0

//! Tests of the firmware handoff: a table with every field damaged in turn.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_handoff))]
pub(crate) mod handoff {
    use crate::{
        firmware::{
            efi,
            handoff::{
                cookie,
                pixel_checksum,
                Cursor,
                Error,
                Handoff,
                PixelBuffer,
                Table,
                GUID, //
            },
            Memory,
            Unreadable, //
        },
        pci::{
            Address,
            Segment, //
        }, //
    };
    use zerocopy::IntoBytes;

    /// The address of memory for ACPI's tables, sixteen pages.
    const TABLES: u64 = 0x5000_0000;
    /// The address of memory for boot services, sixteen pages.
    const DATA: u64 = 0x6000_0000;
    const PAGES: u64 = 16;
    /// The address of the handoff's table.
    pub(crate) const TABLE: u64 = TABLES + 0x2000;
    const COOKIE: u64 = 0x1234_5678_9abc_def1;
    /// The address of a picture that ends with its memory.
    const PICTURE: u64 = DATA + 0x40;
    const PITCH: u32 = 4096 - 4;
    const SIZE: (u32, u32) = (777, 16);

    const DESCRIPTORS: [(u32, u64, u64); 4] = [
        (7, 0x4000_0000, 256),
        (9, TABLES, PAGES),
        (4, DATA, PAGES),
        (7, DATA + PAGES * 4096, 1),
    ];
    pub(crate) const MAP: efi::MemoryMap = efi::MemoryMap {
        start: 0x4100_0000,
        size: 4 * 48,
        descriptor_size: 48,
        descriptor_version: 1,
    };

    /// The memory that firmware left.
    pub(crate) struct Firmware {
        pub(crate) table: [u8; 96],
        map: [u8; MAP.size as usize],
        /// The position of a pixel that was changed.
        changed: Option<(u32, u32)>,
    }

    impl Firmware {
        pub(crate) fn new(handoff: &Handoff) -> Self {
            let mut firmware = Self {
                table: [0; 96],
                map: [0; MAP.size as usize],
                changed: None,
            };
            let table = Table::new(handoff);
            firmware.table[..size_of::<Table>()].copy_from_slice(table.as_bytes());
            for (at, (kind, start, pages)) in (0..).step_by(48).zip(DESCRIPTORS) {
                firmware.map[at..at + 4].copy_from_slice(&kind.to_le_bytes());
                firmware.map[at + 8..at + 16].copy_from_slice(&start.to_le_bytes());
                firmware.map[at + 24..at + 32].copy_from_slice(&pages.to_le_bytes());
            }
            firmware
        }

        /// Changes bytes of the table, and corrects the checksum.
        pub(crate) fn with(mut self, at: usize, bytes: &[u8]) -> Self {
            self.table[at..at + bytes.len()].copy_from_slice(bytes);
            let last = size_of::<Table>() - 1;
            let others = self.table[..last]
                .iter()
                .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
            self.table[last] = others.wrapping_neg();
            self
        }

        pub(crate) fn read_table(&mut self) -> Result<Handoff, Error> {
            Handoff::read(self, MAP, TABLE)
        }
    }

    impl Memory for Firmware {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
            let unreadable = Err(Unreadable { at });
            let end = DATA + PAGES * 4096;
            if (DATA..end).contains(&at) && into.len() as u64 <= end - at {
                let offset = at.saturating_sub(PICTURE);
                let (x, y) = (offset % u64::from(PITCH) / 4, offset / u64::from(PITCH));
                for (x, to) in (x as u32..).zip(into.chunks_exact_mut(4)) {
                    let mut pixel = pixel(x, y as u32);
                    if self.changed == Some((x, y as u32)) {
                        pixel ^= 0x100;
                    }
                    to.copy_from_slice(&pixel.to_le_bytes());
                }
                return Ok(());
            }
            for (start, bytes) in [(TABLE, &self.table[..]), (MAP.start, &self.map)] {
                let Some(from) = at
                    .checked_sub(start)
                    .filter(|&from| from < bytes.len() as u64)
                else {
                    continue;
                };
                let Some(bytes) = bytes[from as usize..].get(..into.len()) else {
                    return unreadable;
                };
                into.copy_from_slice(bytes);
                return Ok(());
            }
            unreadable
        }
    }

    fn pixel(x: u32, y: u32) -> u32 {
        (y << 10 | x).wrapping_mul(2_654_435_761) >> 8
    }

    /// Returns a handoff with all parts.
    pub(crate) fn whole() -> Handoff {
        let mut all = 0;
        for y in 0..SIZE.1 {
            for x in 0..SIZE.0 {
                all = pixel_checksum(all, &[pixel(x, y).to_le()]);
            }
        }
        Handoff {
            device: Some((2, Address::new(3, 31, 7).unwrap())),
            scanout: 15,
            width: SIZE.0,
            height: SIZE.1,
            resource: Some(0x1234_5678),
            picture: Some(PixelBuffer {
                address: PICTURE,
                pitch: PITCH,
                checksum: all,
            }),
            cursor: Some(Cursor {
                column: 4,
                row: 5,
                columns: 80,
                rows: 25,
            }),
            cookie: COOKIE,
        }
    }

    fn bare() -> Handoff {
        Handoff {
            resource: None,
            picture: None,
            cursor: None,
            cookie: 0,
            ..whole()
        }
    }

    /// The UEFI driver may be of another version than the kernel.
    #[test]
    fn the_checksum_of_a_picture_does_not_change() {
        let picture = [1u32, 2, 0x8000_0000].map(u32::to_le);
        // Rotated left by one bit before each pixel is added: 1, then 4, then this.
        assert_eq!(pixel_checksum(0, &picture), 0x8000_0008);
        assert_eq!(pixel_checksum(0x8000_0000, &[5u32.to_le()]), 6);
    }

    #[test]
    fn the_table_is_known_by_its_guid() {
        // As text; the bytes of the first three parts are in memory in reverse order.
        let text = b"585e675d-dee6-4f22-b455-ef3a668f5bd0";
        let digits = text.iter().filter(|&&digit| digit != b'-');
        let mut digits = digits.map(|&digit| match digit {
            b'0'..=b'9' => digit - b'0',
            _ => digit - b'a' + 10,
        });
        let mut bytes = [0; 16];
        for at in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
            bytes[at] = (digits.next().unwrap_or(0) << 4) | digits.next().unwrap_or(0);
        }
        assert_eq!(GUID, bytes);
    }

    #[test]
    fn all_fields_are_read() {
        for handoff in [
            whole(),
            bare(),
            Handoff {
                picture: whole().picture,
                ..bare()
            },
            Handoff {
                device: None,
                picture: whole().picture,
                ..bare()
            },
            Handoff {
                resource: Some(u32::MAX),
                cookie: cookie(0),
                ..bare()
            },
        ] {
            assert_eq!(Firmware::new(&handoff).read_table(), Ok(handoff));
        }
    }

    #[test]
    fn a_changed_byte_is_detected() {
        for at in 0..size_of::<Table>() {
            for bit in 0..8 {
                let mut firmware = Firmware::new(&whole());
                firmware.table[at] ^= 1 << bit;
                assert!(firmware.read_table().is_err());
            }
        }
    }

    #[test]
    fn a_table_is_in_memory_for_tables() {
        let mut firmware = Firmware::new(&whole());
        for at in [
            0,
            TABLES - 1,
            PICTURE,
            TABLES + PAGES * 4096 - 1,
            u64::MAX - 8,
        ] {
            assert_eq!(
                Handoff::read(&mut firmware, MAP, at),
                Err(Error::TableAddress(at))
            );
        }
        // The map has another type for the same memory.
        firmware.map[3 * 48 + 8..3 * 48 + 16].copy_from_slice(&TABLE.to_le_bytes());
        assert_eq!(firmware.read_table(), Err(Error::TableAddress(TABLE)));
        firmware.map.fill(0xff);
        assert_eq!(firmware.read_table(), Err(Error::TableAddress(TABLE)));
        // The table is not written there.
        let mut nothing = Firmware::new(&whole());
        nothing.table.fill(0);
        assert_eq!(nothing.read_table(), Err(Error::Empty));
    }

    #[test]
    fn every_field_is_validated() {
        let with = |at, bytes: &[u8]| Firmware::new(&whole()).with(at, bytes).read_table();
        assert_eq!(with(0, b"V"), Err(Error::Signature));
        // Version 1 left the device with a queue.
        assert_eq!(with(8, &[1, 0]), Err(Error::Version(1)));
        assert_eq!(with(8, &[0xff, 0xff]), Err(Error::Version(0xffff)));
        assert_eq!(with(10, &[95, 0]), Err(Error::Length(95)));
        assert_eq!(with(10, &[0, 1]), Err(Error::Length(256)));
        assert_eq!(with(12, &[15]), Err(Error::Flags(15)));
        assert_eq!(with(15, &[0x80]), Err(Error::Flags(0x8000_0007)));
        // The device runs, and has no address.
        assert_eq!(with(12, &[3]), Err(Error::Flags(3)));
        assert_eq!(with(20, &[16]), Err(Error::Scanout(16)));
        assert_eq!(with(24, &[0; 4]), Err(Error::Resource));
        for (width, height) in [(0, 16), (777, 0), (16385, 16), (777, 16385), (u32::MAX, 16)] {
            let mut firmware = Firmware::new(&whole())
                .with(28, &u32::to_le_bytes(width))
                .with(32, &u32::to_le_bytes(height));
            assert_eq!(firmware.read_table(), Err(Error::Mode(width, height)));
        }
        // A picture with a pitch below a row, with a pitch of partial pixels, without an end, or
        // elsewhere.
        for pitch in [0, 777 * 4 - 4, PITCH + 1, PITCH + 4, u32::MAX - 3] {
            assert_eq!(with(36, &pitch.to_le_bytes()), Err(Error::Picture(PICTURE)));
        }
        for at in [0, DATA - 4, PICTURE + 1, TABLES, u64::MAX - 3] {
            assert_eq!(with(44, &at.to_le_bytes()), Err(Error::Picture(at)));
        }
        // A value that may be the address of a queue is not a cookie.
        for at in [0, TABLE, COOKIE - 1, u64::MAX - 1] {
            assert_eq!(with(52, &at.to_le_bytes()), Err(Error::Cookie(at)));
        }
        assert_eq!(with(60, &[80, 0]), Err(Error::Cursor(80, 5)));
        assert_eq!(with(62, &[25, 0]), Err(Error::Cursor(4, 25)));
        assert_eq!(with(64, &[0, 0]), Err(Error::Cursor(4, 5)));
        // Without rows there is no cursor, whatever the other fields are.
        assert_eq!(with(66, &[0, 0]).map(|handoff| handoff.cursor), Ok(None));
        assert!(with(68, &[1, 2, 3]).is_ok());
    }

    #[test]
    fn absent_parts_are_not_validated() {
        let mut firmware = Firmware::new(&bare())
            .with(24, &[0; 4])
            .with(36, &[0xff; 24]);
        assert_eq!(firmware.read_table(), Ok(bare()));
    }

    #[test]
    fn a_screen_belongs_to_the_named_device() {
        let there = Address::new(3, 31, 7).unwrap();
        let first = Address::new(0, 0, 0).unwrap();
        for (segment, is_its) in [
            (Segment::Unknown, true),
            (Segment::Mcfg(2), true),
            (Segment::Mcfg(0), false),
            (Segment::Mcfg(3), false),
            // Firmware does not know the segments of a devicetree.
            (Segment::Devicetree(2), true),
            (Segment::Devicetree(3), true),
        ] {
            for handoff in [whole(), bare()] {
                assert_eq!(handoff.names_device(segment, there), is_its);
                assert!(!handoff.names_device(segment, first));
            }
            assert_eq!(whole().is_running(segment, there, Some(COOKIE)), is_its);
        }
        // The device is no virtio-gpu, or not on PCI: it is unknown which one it is.
        let nowhere = Handoff {
            device: None,
            ..whole()
        };
        for device in [there, first] {
            assert!(!nowhere.names_device(Segment::Unknown, device));
            assert!(!nowhere.is_running(Segment::Unknown, device, Some(COOKIE)));
        }
    }

    #[test]
    fn the_cookie_shows_that_the_device_runs() {
        let handoff = whole();
        let there = Address::new(3, 31, 7).unwrap();
        let segment = Segment::Mcfg(2);
        for (at, is_running) in [
            (COOKIE, true),
            (COOKIE - 1, false),
            (TABLE, false),
            (0, false),
        ] {
            assert_eq!(handoff.is_running(segment, there, Some(at)), is_running);
        }
        assert!(!handoff.is_running(segment, there, None));
        assert!(!handoff.is_running(segment, Address::new(3, 31, 6).unwrap(), Some(COOKIE)));
        assert!(!bare().is_running(segment, there, Some(0)));
        // A picture's cookie is neither the address of a queue nor the cookie of another picture.
        assert_ne!(cookie(1), cookie(2));
        for sum in [0, 1, u32::MAX] {
            assert_eq!(cookie(sum) % 16 & 1, 1);
        }
    }

    #[test]
    fn a_changed_picture_is_detected() {
        let handoff = whole();
        let mut firmware = Firmware::new(&handoff);
        assert!(handoff.is_picture_intact(&mut firmware));
        for changed in [(0, 0), (776, 0), (511, 7), (512, 7), (776, 15)] {
            firmware.changed = Some(changed);
            assert!(!handoff.is_picture_intact(&mut firmware));
        }
        // Changes between the rows do not count.
        firmware.changed = Some((777, 3));
        assert!(handoff.is_picture_intact(&mut firmware));
        assert!(!bare().is_picture_intact(&mut firmware));
        let elsewhere = Handoff {
            picture: handoff.picture.map(|picture| PixelBuffer {
                address: 0x100,
                ..picture
            }),
            ..handoff
        };
        assert!(!elsewhere.is_picture_intact(&mut firmware));
    }

    #[test]
    fn a_picture_is_painted_at_its_position() {
        let handoff = whole();
        let mut firmware = Firmware::new(&handoff);
        for (x, y) in [
            (0, 0),
            (100, 15),
            (770, 3),
            (776, 3),
            (777, 3),
            (5000, 3),
            (0, 16),
            (0, 500),
        ] {
            let mut pixels = [1; 16];
            assert_eq!(handoff.paint(&mut firmware, x, y, &mut pixels), Ok(()));
            for (x, seen) in (x..).zip(pixels) {
                let is_there = x < SIZE.0 && y < SIZE.1;
                assert_eq!(seen, if is_there { pixel(x, y).to_le() } else { 1 });
            }
        }
    }

    #[test]
    fn text_begins_below_the_cursor() {
        let at = |row, rows, height| {
            let cursor = Cursor {
                column: 0,
                row,
                columns: 80,
                rows,
            };
            Handoff {
                cursor: Some(cursor),
                height,
                ..bare()
            }
            .text_start_y()
        };
        assert_eq!(bare().text_start_y(), 0);
        assert_eq!(at(0, 42, 800), 20);
        assert_eq!(at(41, 42, 800), 800);
        assert_eq!(at(u16::MAX - 1, u16::MAX, 16384), 16384);
    }
}
