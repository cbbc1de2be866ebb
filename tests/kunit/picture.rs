// SPDX-License-Identifier: GPL-2.0

//! Tests of the boot logo: tables and images of every kind, each with every field damaged in turn.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_picture))]
mod picture {
    use crate::firmware::{
        acpi,
        bgrt::{
            self,
            Bgrt, //
        },
        bmp::{
            self,
            Bmp, //
        },
        picture::{
            Error,
            Picture,
            RowPart, //
        },
        Memory,
        Unreadable, //
    };
    use core::ops::Range;

    // The addresses of tables and image.
    const RSDP: u64 = 0x4f0b_e018;
    const XSDT: u64 = RSDP + 36;
    const OTHER: u64 = XSDT + 52;
    const BGRT: u64 = OTHER + 36;
    const END: u64 = BGRT + 56;
    const IMAGE: u64 = 0x4e12_3456;

    /// The size in bytes of the longest headers.
    const HEADERS: usize = 14 + 124;

    /// The memory that firmware left: tables, and an image with random pixels.
    #[derive(Clone)]
    struct Firmware {
        tables: [u8; (END - RSDP) as usize],
        /// The first bytes of the image, and the number of those that are not random.
        headers: [u8; HEADERS],
        length: usize,
    }

    impl Firmware {
        /// Returns an image of 24 bits, of `width` times `height` px, at 100,50 on the screen.
        fn new(width: i32, height: i32) -> Self {
            let mut firmware = Self {
                tables: [0; (END - RSDP) as usize],
                headers: [0; HEADERS],
                length: 54,
            };
            firmware.put(RSDP, b"RSD PTR ");
            firmware.put(RSDP + 15, &[2]);
            firmware.put(RSDP + 16, &(XSDT as u32).to_le_bytes());
            firmware.put(RSDP + 20, &[36]);
            firmware.put(RSDP + 24, &XSDT.to_le_bytes());
            for (at, name, length) in [
                (XSDT, b"XSDT", BGRT - OTHER + 16),
                (OTHER, b"FACP", 36),
                (BGRT, b"BGRT", END - BGRT),
            ] {
                firmware.put(at, name);
                firmware.put(at + 4, &(length as u32).to_le_bytes());
            }
            firmware.put(XSDT + 36, &OTHER.to_le_bytes());
            firmware.put(XSDT + 44, &BGRT.to_le_bytes());
            firmware.put(BGRT + 36, &[1, 0, 1, 0]);
            firmware.put(BGRT + 40, &IMAGE.to_le_bytes());
            firmware.put(BGRT + 48, &100u32.to_le_bytes());
            firmware.put(BGRT + 52, &50u32.to_le_bytes());
            firmware.seal();

            firmware.headers[..2].copy_from_slice(b"BM");
            firmware
                .word(10, 54)
                .word(14, 40)
                .word(18, width as u32)
                .word(22, height as u32)
                .word(26, 1 | 24 << 16)
                .size()
        }

        fn put(&mut self, at: u64, bytes: &[u8]) {
            self.tables[(at - RSDP) as usize..][..bytes.len()].copy_from_slice(bytes);
        }

        /// Corrects the checksums.
        fn seal(&mut self) {
            for (at, length, sum) in [
                (RSDP, 20, 8),
                (RSDP, 36, 32),
                (XSDT, 52, 9),
                (BGRT, END - BGRT, 9),
            ] {
                let table = &mut self.tables[(at - RSDP) as usize..][..length as usize];
                table[sum] = table
                    .iter()
                    .fold(table[sum], |sum, byte| sum.wrapping_sub(*byte));
            }
        }

        /// Changes bytes of the BGRT.
        fn table(mut self, offset: u64, bytes: &[u8]) -> Self {
            self.put(BGRT + offset, bytes);
            self.seal();
            self
        }

        /// Changes a word in the image's headers.
        fn word(mut self, at: usize, value: u32) -> Self {
            self.headers[at..at + 4].copy_from_slice(&value.to_le_bytes());
            self
        }

        fn read_word(&self, at: usize) -> u32 {
            let bytes = self.headers[at..at + 4].try_into();
            u32::from_le_bytes(bytes.unwrap_or_default())
        }

        /// Gives the image a second header of `header` bytes and `bits` a pixel, and masks if
        /// `masks` is set.
        fn kind(self, header: u32, bits: u32, masks: bool) -> Self {
            let mut firmware = self
                .word(14, header)
                .word(26, 1 | bits << 16)
                .word(30, if masks { 3 } else { 0 });
            firmware.length = 14 + header as usize;
            if masks {
                firmware.length = firmware.length.max(66);
                for (at, mask) in [(54, 0xff_0000), (58, 0xff00), (62, 0xff)] {
                    firmware = firmware.word(at, mask);
                }
            }
            let length = firmware.length;
            firmware.word(10, length as u32).size()
        }

        /// Corrects the size.
        fn size(self) -> Self {
            let rows = (self.read_word(22) as i32).unsigned_abs();
            let size = u64::from(self.read_word(10)) + u64::from(rows) * self.pitch();
            self.word(2, size as u32)
        }

        fn pitch(&self) -> u64 {
            let bits = self.read_word(18) * (self.read_word(26) >> 16);
            u64::from(bits).div_ceil(32) * 4
        }

        /// Returns the expected pixel, computed as the format defines it.
        fn pixel(&self, x: u32, y: u32) -> u32 {
            let height = self.read_word(22) as i32;
            let row = match height < 0 {
                true => y,
                false => height as u32 - 1 - y,
            };
            let depth = (self.read_word(26) >> 16) / 8;
            let at = u64::from(self.read_word(10))
                + u64::from(row) * self.pitch()
                + u64::from(x * depth);
            let [blue, green, red] = [0, 1, 2].map(|byte| u32::from(self.byte(at + byte)));
            (red << 16 | green << 8 | blue).to_le()
        }

        /// Returns a byte of the image.
        fn byte(&self, at: u64) -> u8 {
            match self.headers[..self.length].get(at as usize) {
                Some(byte) => *byte,
                None => ((at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8,
            }
        }

        fn bmp(&self) -> Result<Bmp, bmp::Error> {
            Bmp::read(&mut self.clone(), IMAGE)
        }

        fn bgrt(&self) -> Result<Bgrt, bgrt::Error> {
            Bgrt::find(&mut self.clone(), RSDP)
        }

        fn picture(&self, width: u32, height: u32) -> Result<Picture, Error> {
            Picture::new(&self.bgrt()?, self.bmp()?, width, height)
        }
    }

    impl Memory for Firmware {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
            let end = at
                .checked_add(into.len() as u64)
                .filter(|_| into.len() <= 4096)
                .ok_or(Unreadable { at })?;
            // Until its size is known, the image ends after the size field.
            let size = self.read_word(2).max(14);
            if at >= RSDP && end <= END {
                let offset = (at - RSDP) as usize;
                into.copy_from_slice(&self.tables[offset..][..into.len()]);
            } else if at >= IMAGE && end <= IMAGE + u64::from(size) {
                for (at, byte) in (at - IMAGE..).zip(into) {
                    *byte = self.byte(at);
                }
            } else {
                return Err(Unreadable { at });
            }
            Ok(())
        }
    }

    /// Returns whether all pixels are read correctly, `step` at a time.
    fn is_read(firmware: &Firmware, step: usize) -> bool {
        let Ok(bmp) = firmware.bmp() else {
            return false;
        };
        let mut memory = firmware.clone();
        let mut pixels = [0; 16];
        (0..bmp.height()).all(|y| {
            (0..bmp.width()).step_by(step).all(|x| {
                let into = &mut pixels[..step.min((bmp.width() - x) as usize)];
                let result = bmp.read_row(&mut memory, x, y, into);
                let same = (x..).zip(into).all(|(x, it)| *it == firmware.pixel(x, y));
                result.is_ok() && same
            })
        })
    }

    #[test]
    fn the_table_has_the_address_of_the_image() {
        let good = Bgrt {
            image: IMAGE,
            x: 100,
            y: 50,
            orientation: 0,
        };
        let firmware = Firmware::new(5, 3);
        assert_eq!(firmware.bgrt(), Ok(good));
        for (status, orientation) in [
            // With any value of the displayed bit.
            (0, 0),
            (1, 0),
            (3, 90),
            (4, 180),
            (7, 270),
            // Reserved bits.
            (0xf9, 0),
        ] {
            assert_eq!(
                firmware.clone().table(38, &[status]).bgrt(),
                Ok(Bgrt {
                    orientation,
                    ..good
                })
            );
        }
        let far = firmware.table(40, &[0xff; 16]).bgrt();
        assert_eq!(
            far,
            Ok(Bgrt {
                image: u64::MAX,
                x: u32::MAX,
                y: u32::MAX,
                ..good
            })
        );
    }

    #[test]
    fn the_table_of_the_first_acpi() {
        // An RSDT in place of the XSDT, with the same bytes: the second address is the upper half
        // of the first one.
        let mut firmware = Firmware::new(5, 3);
        firmware.put(RSDP + 15, &[0]);
        firmware.put(XSDT, b"R");
        firmware.put(XSDT + 40, &(BGRT as u32).to_le_bytes());
        firmware.seal();
        assert_eq!(firmware.bgrt().map(|bgrt| bgrt.image), Ok(IMAGE));
    }

    #[test]
    fn damaged_tables() {
        use acpi::Signature;
        use bgrt::Error;
        let firmware = Firmware::new(5, 3);
        let with = |offset, bytes: &[u8]| firmware.clone().table(offset, bytes).bgrt();
        assert_eq!(with(0, b"b"), Err(Error::Missing));
        assert_eq!(with(36, &[0]), Err(Error::Version(0)));
        assert_eq!(with(36, &[2]), Err(Error::Version(2)));
        assert_eq!(with(37, &[1]), Err(Error::Version(0x101)));
        assert_eq!(with(39, &[1]), Err(Error::ImageType(1)));
        assert_eq!(with(40, &[0; 8]), Err(Error::NoImage));

        let name = Signature(*b"BGRT");
        let broken = |offset, bytes: &[u8]| {
            let mut firmware = firmware.clone();
            firmware.put(BGRT + offset, bytes);
            firmware.bgrt()
        };
        let acpi = |why| Err(Error::Acpi(why));
        assert_eq!(broken(48, &[7]), acpi(acpi::Error::Checksum(name)));
        assert_eq!(broken(4, &[35]), acpi(acpi::Error::Length(name, 35)));
        assert_eq!(broken(6, &[1]), acpi(acpi::Error::Length(name, 0x1_0038)));
        // The table ends before the memory does, and after it.
        let mut short = firmware.clone();
        short.put(BGRT + 55, &[0]);
        short.seal();
        let sum = short.tables[(BGRT - RSDP) as usize + 9];
        short.put(BGRT + 4, &[55]);
        short.put(BGRT + 9, &[sum.wrapping_add(1)]);
        assert_eq!(short.bgrt(), acpi(acpi::Error::Length(name, 55)));
        assert_eq!(
            broken(4, &[57]),
            acpi(acpi::Error::Unreadable(Unreadable { at: BGRT }))
        );
        let mut nowhere = firmware.clone();
        nowhere.put(XSDT + 44, &[0xff; 8]);
        nowhere.seal();
        assert_eq!(
            nowhere.bgrt(),
            acpi(acpi::Error::Unreadable(Unreadable { at: u64::MAX }))
        );
    }

    #[test]
    fn images_of_every_kind() {
        for header in [40, 108, 124] {
            for (bits, masks) in [(24, false), (32, false), (32, true)] {
                // Every padding, and both orders of rows.
                for width in 1..=5 {
                    for height in [1, -1, 3, -3] {
                        let firmware = Firmware::new(width, height).kind(header, bits, masks);
                        assert!(is_read(&firmware, 16));
                        assert!(is_read(&firmware, 2));
                    }
                }
            }
        }
        // Other bytes between the headers and the pixels, and after the pixels.
        let firmware = Firmware::new(5, 3).word(10, 57).size();
        assert!(is_read(&firmware, 3));
        let size = firmware.read_word(2);
        assert!(is_read(&firmware.word(2, size + 100), 3));
    }

    #[test]
    fn images_of_maximum_size() -> Result<(), bmp::Error> {
        for (bits, masks) in [(24, false), (32, true)] {
            for height in [16384, -16384] {
                let firmware = Firmware::new(16384, height).kind(40, bits, masks);
                let mut memory = firmware.clone();
                let bmp = firmware.bmp()?;
                // Several reads.
                let mut pixels = [0; 400];
                for y in [0, 16383] {
                    for x in [0, 7, 16384 - 400, 16384 - 300] {
                        pixels.fill(1);
                        bmp.read_row(&mut memory, x, y, &mut pixels)?;
                        for (x, &pixel) in (x..).zip(&pixels) {
                            let expected = match x < 16384 {
                                true => firmware.pixel(x, y),
                                false => 1,
                            };
                            assert_eq!(pixel, expected);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rows_and_columns_outside_of_the_image() -> Result<(), bmp::Error> {
        let firmware = Firmware::new(5, 3);
        let bmp = firmware.bmp()?;
        for (x, y) in [(5, 0), (0, 3), (u32::MAX, 0), (0, u32::MAX)] {
            let mut pixels = [1; 4];
            bmp.read_row(&mut firmware.clone(), x, y, &mut pixels)?;
            assert_eq!(pixels, [1; 4]);
        }
        bmp.read_row(&mut firmware.clone(), 0, 0, &mut [])?;
        // Memory that becomes unreadable; its top row is the last.
        let result = bmp.read_row(&mut firmware.word(2, 60), 0, 0, &mut [0; 4]);
        let at = IMAGE + 54 + 2 * 16;
        assert_eq!(result, Err(Unreadable { at }));
        Ok(())
    }

    #[test]
    fn damaged_images() {
        use bmp::Error;
        let firmware = Firmware::new(5, 3);
        let size = firmware.read_word(2);
        let with = |at, value| firmware.clone().word(at, value).bmp();

        assert_eq!(with(0, 0x4d43), Err(Error::Signature(*b"CM")));
        for (size, needed) in [(0, 54), (53, 54), (54, 102), (size - 1, 102)] {
            assert_eq!(with(2, size), Err(Error::Size { size, needed }));
        }
        // Reserved.
        assert!(with(6, u32::MAX).is_ok());
        for at in [0, 53] {
            assert_eq!(with(10, at), Err(Error::PixelOffset(at)));
        }
        for at in [55, u32::MAX] {
            let needed = u64::from(at) + 48;
            assert_eq!(with(10, at), Err(Error::Size { size, needed }));
        }
        for header in [0, 12, 39, 41, 64, u32::MAX] {
            assert_eq!(with(14, header), Err(Error::Header(header)));
        }
        assert_eq!(with(14, 108), Err(Error::PixelOffset(54)));
        for width in [0, 16385, -5, i32::MIN, i32::MAX] {
            let why = Error::Dimensions { width, height: 3 };
            assert_eq!(with(18, width as u32), Err(why));
        }
        for height in [0, 16385, -16385, i32::MIN, i32::MAX] {
            let why = Error::Dimensions { width: 5, height };
            assert_eq!(with(22, height as u32), Err(why));
        }
        for height in [4, -4i32] {
            let why = Error::Size { size, needed: 118 };
            assert_eq!(with(22, height as u32), Err(why));
        }
        for planes in [0, 2, 0xffff] {
            let why = Error::Planes(planes);
            assert_eq!(with(26, u32::from(planes) | 24 << 16), Err(why));
        }
        for (bits, compression) in [
            (0, 0),
            (1, 0),
            (8, 0),
            (16, 0),
            (31, 0),
            (0xffff, 0),
            (8, 1),
            (24, 1),
            (24, 3),
            (16, 3),
            (32, 2),
            (32, 6),
            (32, u32::MAX),
        ] {
            let it = firmware.clone().word(26, 1 | u32::from(bits) << 16);
            let why = Error::Format { bits, compression };
            assert_eq!(it.word(30, compression).bmp(), Err(why));
        }
        // The image's size in the second header, its density and its number of colours.
        for at in [34, 38, 42, 46, 50] {
            assert!(with(at, u32::MAX).is_ok());
        }
    }

    #[test]
    fn damaged_masks() {
        use bmp::Error;
        for header in [40, 108, 124] {
            let firmware = Firmware::new(5, 3).kind(header, 32, true);
            for (index, at) in [54, 58, 62].into_iter().enumerate() {
                let mut masks = [0xff_0000, 0xff00, 0xff];
                masks[index] = 0xff00_0000;
                let why = Error::Masks(masks);
                assert_eq!(firmware.clone().word(at, 0xff00_0000).bmp(), Err(why));
            }
            // The masks are not in the file, or the pixels overlap them.
            let (size, needed) = (65, 66);
            let why = Error::Size { size, needed };
            assert_eq!(firmware.clone().word(2, 65).bmp(), Err(why));
            let inside = header.max(52) + 13;
            assert_eq!(
                firmware.word(10, inside).bmp(),
                Err(Error::PixelOffset(inside))
            );
        }
    }

    #[test]
    fn images_at_invalid_addresses() {
        use bmp::Error;
        /// The image alone, at another address.
        struct Moved(Firmware, u64);

        impl Memory for Moved {
            fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
                let offset = at.checked_sub(self.1).ok_or(Unreadable { at })?;
                self.0
                    .read(IMAGE + offset, into)
                    .map_err(|_| Unreadable { at })
            }
        }
        let firmware = Firmware::new(5, 3);
        let read = |at| Bmp::read(&mut Moved(firmware.clone(), at), at);
        let last = u64::MAX - u64::from(firmware.read_word(2));
        assert!(read(last).is_ok());
        assert_eq!(read(last + 1), Err(Error::Address(last + 1)));
        assert_eq!(read(u64::MAX - 14), Err(Error::Address(u64::MAX - 14)));
        let at = IMAGE - 1;
        assert_eq!(
            Bmp::read(&mut firmware.clone(), at),
            Err(Error::Unreadable(Unreadable { at }))
        );
    }

    fn part(screen: Range<u32>, image: Range<u32>, y: u32) -> Option<RowPart> {
        Some(RowPart { screen, image, y })
    }

    #[test]
    fn pictures_are_at_their_position() -> Result<(), Error> {
        // Of 5x3 px, at 100,50.
        let firmware = Firmware::new(5, 3);
        let picture = firmware.picture(640, 480)?;
        assert_eq!((picture.columns(), picture.rows()), (100..105, 50..53));
        assert_eq!(picture.row_part(49, 0..640), None);
        assert_eq!(picture.row_part(50, 0..640), part(100..105, 0..5, 0));
        assert_eq!(picture.row_part(52, 0..u32::MAX), part(100..105, 0..5, 2));
        assert_eq!(picture.row_part(53, 0..640), None);
        // In tiles.
        assert_eq!(picture.row_part(51, 0..100), None);
        assert_eq!(picture.row_part(51, 0..102), part(100..102, 0..2, 1));
        assert_eq!(picture.row_part(51, 102..104), part(102..104, 2..4, 1));
        assert_eq!(picture.row_part(51, 104..640), part(104..105, 4..5, 1));
        assert_eq!(picture.row_part(51, 105..640), None);
        assert_eq!(picture.row_part(51, 102..102), None);
        Ok(())
    }

    #[test]
    fn pictures_beyond_the_edge() -> Result<(), Error> {
        let firmware = Firmware::new(5, 3);
        let seen = |width, height| {
            let picture = firmware.picture(width, height)?;
            Ok((picture.columns(), picture.rows()))
        };
        assert_eq!(seen(105, 53), Ok((100..105, 50..53)));
        assert_eq!(seen(104, 52), Ok((100..104, 50..52)));
        assert_eq!(seen(101, 51), Ok((100..101, 50..51)));
        let outside = Err(Error::OffScreen { x: 100, y: 50 });
        for (width, height) in [(100, 480), (640, 50), (0, 0)] {
            assert_eq!(seen(width, height), outside);
        }
        let cut = firmware.picture(103, 51)?;
        assert_eq!(cut.row_part(50, 0..640), part(100..103, 0..3, 0));
        assert_eq!(cut.row_part(51, 0..640), None);
        // An offset at which the image would wrap around.
        let far = firmware
            .clone()
            .table(48, &[0xfe, 0xff, 0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]);
        let far = far.picture(u32::MAX, u32::MAX)?;
        let last = u32::MAX - 1;
        assert_eq!(
            (far.columns(), far.rows()),
            (last..u32::MAX, last..u32::MAX)
        );
        assert_eq!(
            far.row_part(last, 0..u32::MAX),
            part(last..u32::MAX, 0..1, 0)
        );
        let mut pixels = [1; 4];
        let result = far.paint(&mut firmware.clone(), last - 1, last, &mut pixels);
        assert_eq!(result, Ok(()));
        assert_eq!(pixels, [1, firmware.pixel(0, 0), 1, 1]);
        Ok(())
    }

    #[test]
    fn rotated_pictures() {
        let firmware = Firmware::new(5, 3);
        for (status, degrees) in [(3, 90), (5, 180), (7, 270)] {
            let turned = firmware.clone().table(38, &[status]);
            assert_eq!(turned.picture(640, 480), Err(Error::Rotated(degrees)));
        }
    }

    #[test]
    fn damaged_pictures() {
        let firmware = Firmware::new(5, 3);
        assert_eq!(
            firmware.clone().table(39, &[1]).picture(640, 480),
            Err(Error::Bgrt(bgrt::Error::ImageType(1)))
        );
        assert_eq!(
            firmware.word(14, 12).picture(640, 480),
            Err(Error::Bmp(bmp::Error::Header(12)))
        );
    }

    #[test]
    fn pictures_are_painted_over_the_screen() -> Result<(), Error> {
        let firmware = Firmware::new(5, 3);
        let mut memory = firmware.clone();
        // Completely, and with its right and lower edges cut off.
        for (width, height) in [(640, 480), (103, 52)] {
            let picture = firmware.picture(width, height)?;
            for y in 48..55 {
                for start in 95..110 {
                    let mut pixels = [1; 7];
                    let result = picture.paint(&mut memory, start, y, &mut pixels);
                    assert_eq!(result, Ok(()));
                    for (x, pixel) in (start..).zip(pixels) {
                        let inside = picture.columns().contains(&x) && picture.rows().contains(&y);
                        let expected = match inside {
                            true => firmware.pixel(x - 100, y - 50),
                            false => 1,
                        };
                        assert_eq!(pixel, expected);
                    }
                }
            }
            assert_eq!(
                picture.paint(&mut memory, u32::MAX, 50, &mut [0; 3]),
                Ok(())
            );
        }
        Ok(())
    }
}
