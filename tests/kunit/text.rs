// SPDX-License-Identifier: GPL-2.0

//! Tests of `drivers/text/`: a device shows the text that was written, on screens and in memories
//! small enough to try all cases.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_text))]
mod text {
    use crate::text::{
        Band,
        BandError,
        Cell,
        Corner,
        Cursor,
        Font,
        Grid,
        GridError,
        Limits,
        Painter,
        Palette,
        RowPositions,
        Rows,
        Screen,
        Scroll,
        ScrollDirection,
        Size,
        Surface,
        ATTRIBUTE, //
    };
    use core::ops::Range;
    use zerocopy::FromZeros;

    const PLENTY: Limits = Limits {
        cells: 1 << 20,
        band_bytes: 1 << 20,
        entries: Band::MAX_ENTRIES,
        resource_bytes: 256 << 20,
    };

    /// Glyphs of 16 bytes, all different.
    static GLYPHS: [u8; 4096] = {
        let mut glyphs = [0; 4096];
        let mut i = 0;
        while i < glyphs.len() {
            glyphs[i] = (i.wrapping_mul(0x9e37_79b1) >> 16) as u8 ^ (i >> 4) as u8;
            i += 1;
        }
        glyphs
    };

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    fn grid(mode: Size, glyph: Size, scroll: Scroll) -> Option<Grid> {
        Grid::new(mode, glyph, scroll, &PLENTY).ok()
    }

    /// Random numbers, the same in every run: a linear congruential generator.
    struct Random(u32);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.0 >> 8) as usize % n
        }
    }

    #[test]
    fn font_reads_scanlines_from_the_left() -> Result<(), ()> {
        let font = Font::new(10, 8, 256, &GLYPHS).map_err(drop)?;
        let at = |i: usize| u32::from(GLYPHS[i]);
        assert_eq!(font.size(), size(10, 8));
        assert_eq!(font.scanline(0, 0), (at(0) << 24) | (at(1) << 16));
        assert_eq!(font.scanline(3, 5), (at(58) << 24) | (at(59) << 16));
        assert_eq!(font.scanline(255, 7), (at(4094) << 24) | (at(4095) << 16));
        assert_eq!(font.scanline(255, 8), 0);
        assert_eq!(font.scanline(256, 0), 0);
        assert_eq!(font.scanline(usize::MAX, usize::MAX), 0);
        Ok(())
    }

    #[test]
    fn font_refuses_invalid_sizes() {
        let fits = |width, height, count| Font::new(width, height, count, &GLYPHS).is_ok();
        assert!(fits(8, 16, 256));
        assert!(fits(8, 8, 512));
        assert!(fits(4, 4, 256));
        assert!(fits(32, 4, 256));
        assert!(!fits(3, 16, 256));
        assert!(!fits(33, 4, 256));
        assert!(!fits(8, 3, 256));
        assert!(!fits(8, 16, 255));
        assert!(!fits(8, 16, 0));
        // One byte a scanline, and one scanline too many.
        assert!(!fits(8, 17, 256));
        assert!(!fits(9, 16, 256));
        assert!(!fits(8, 16, 512));
        static BLANK: [u8; 256 * 65] = [0; 256 * 65];
        assert!(Font::new(4, 64, 256, &BLANK).is_ok());
        assert!(Font::new(4, 65, 256, &BLANK).is_err());
    }

    #[test]
    fn a_font_of_512_glyphs_has_cells_of_nine_glyph_bits() {
        let bits = |count| Font::new(8, 8, count, &GLYPHS).map(|font| font.glyph_bits());
        assert_eq!(bits(256), Ok(8));
        assert_eq!(bits(512), Ok(9));
    }

    #[test]
    fn cells_are_the_vts() {
        assert_eq!(Cell::blank(8), Cell(0x0720));
        assert_eq!(Cell(0x1f41).glyph(8), 0x41);
        assert_eq!(Cell(0x1f41).attribute(8), 0x1f);
        // With 512 glyphs: nine bits of glyph, four of foreground, three of background.
        assert_eq!(Cell(0xaf41).glyph(9), 0x141);
        assert_eq!(Cell(0xaf41).attribute(9), 0x57);
        assert_eq!(Palette::DEFAULT.colours(0x07), (0xaaaaaa, 0));
        assert_eq!(Palette::DEFAULT.colours(0x4e), (0xffff55, 0xaa0000));
        assert_eq!(Palette::DEFAULT.colours(0x96), (0xaa5500, 0x5555ff));
    }

    #[test]
    fn the_palette_is_vgas() {
        // Bit 0 of a colour is blue, 1 green, 2 red; bit 3 makes all three brighter.
        for (number, &colour) in (0u32..).zip(&Palette::DEFAULT.0) {
            let base = if number & 8 == 0 { 0 } else { 0x55 };
            let part = |bit: u32| base + 0xaa * (number >> bit & 1);
            let expected = match number {
                // Colour 6 is brown instead of dark yellow.
                6 => 0xaa5500,
                _ => part(2) << 16 | part(1) << 8 | part(0),
            };
            assert_eq!(colour, expected);
        }
    }

    #[test]
    fn grid_fits_the_mode() {
        let glyph = size(8, 16);
        let wide = |width, height| {
            let grid = grid(size(width, height), glyph, Scroll::Pan)?;
            Some((grid.cols(), grid.rows(), grid.resource()))
        };
        assert_eq!(wide(1280, 800), Some((160, 50, size(1280, 101 * 16))));
        assert_eq!(wide(1366, 768), Some((170, 48, size(1368, 97 * 16))));
        assert_eq!(wide(1920, 1080), Some((240, 67, size(1920, 137 * 16))));
        assert_eq!(wide(8, 16), Some((1, 1, size(8, 48))));
        assert_eq!(wide(15, 31), Some((1, 1, size(16, 80))));
    }

    #[test]
    fn grid_refuses_invalid_sizes() {
        let glyph = size(8, 16);
        let error = |mode, glyph| Grid::new(mode, glyph, Scroll::Pan, &PLENTY).err();
        for mode in [
            size(0, 600),
            size(800, 0),
            size(16385, 600),
            size(800, u32::MAX),
        ] {
            assert_eq!(error(mode, glyph), Some(GridError::Mode(mode)));
        }
        let mode = size(7, 600);
        assert_eq!(error(mode, glyph), Some(GridError::NoCell { mode, glyph }));
        let mode = size(800, 15);
        assert_eq!(error(mode, glyph), Some(GridError::NoCell { mode, glyph }));
        let (mode, glyph) = (size(800, 600), size(0, 0));
        assert_eq!(error(mode, glyph), Some(GridError::NoCell { mode, glyph }));
    }

    #[test]
    fn grid_on_several_screens_fits_the_smallest_and_covers_the_largest() -> Result<(), GridError> {
        let glyph = size(8, 16);
        let on = |least, most, scroll| Grid::for_scanouts(least, most, glyph, scroll, &PLENTY);
        // One screen is narrower, the other lower.
        let grid = on(size(640, 800), size(1280, 960), Scroll::Pan)?;
        assert_eq!((grid.cols(), grid.rows(), grid.window()), (80, 50, 60));
        assert_eq!(grid.screen(), size(1280, 960));
        assert_eq!(grid.resource(), size(1280, 121 * 16));
        let grid = on(size(640, 800), size(1280, 960), Scroll::Repaint)?;
        assert_eq!((grid.cols(), grid.rows(), grid.window()), (80, 50, 60));
        assert_eq!(grid.resource(), size(1280, 960));
        // Columns and rows that do not fit one screen are on none; a mode of size 0 does not count.
        let (none, mode) = (size(640, 15), size(16385, 16));
        let error = |least, most| on(least, most, Scroll::Pan).err();
        let no_cell = GridError::NoCell { mode: none, glyph };
        assert_eq!(error(none, size(640, 480)), Some(no_cell));
        assert_eq!(error(size(640, 16), mode), Some(GridError::Mode(mode)));
        Ok(())
    }

    #[test]
    fn grid_keeps_to_its_cells() {
        let capped = |mode, cells| {
            let limits = Limits { cells, ..PLENTY };
            let grid = Grid::new(mode, size(8, 16), Scroll::Pan, &limits).ok()?;
            Some((grid.cols(), grid.rows()))
        };
        let mode = size(640, 480);
        assert_eq!(capped(mode, 2400), Some((80, 30)));
        assert_eq!(capped(mode, 2399), Some((80, 29)));
        assert_eq!(capped(mode, 2000), Some((80, 25)));
        assert_eq!(capped(mode, 1999), Some((79, 25)));
        assert_eq!(capped(mode, 25), Some((1, 25)));
        assert_eq!(capped(mode, 3), Some((1, 3)));
        assert_eq!(capped(mode, 0), None);
        assert_eq!(capped(size(16384, 64), 1 << 20), Some((1024, 4)));
        assert_eq!(capped(size(64, 16384), 1 << 20), Some((8, 256)));
    }

    #[test]
    fn grid_repaints_where_it_cannot_pan() {
        let mode = size(1280, 800);
        let with = |limits: Limits| Grid::new(mode, size(8, 16), Scroll::Pan, &limits);
        let bytes = |text_rows: u64| Limits {
            resource_bytes: 1280 * 4 * 16 * text_rows + 1,
            ..PLENTY
        };
        let scroll = |limits| with(limits).map(|grid| (grid.scroll(), grid.resource().height));
        assert_eq!(scroll(bytes(101)), Ok((Scroll::Pan, 101 * 16)));
        assert_eq!(scroll(bytes(100)), Ok((Scroll::Repaint, 50 * 16)));
        assert_eq!(scroll(bytes(50)), Ok((Scroll::Repaint, 50 * 16)));
        let needed = 1280 * 4 * 16 * 50;
        let limit = 1280 * 4 * 16 * 49 + 1;
        assert_eq!(
            with(bytes(49)).err(),
            Some(GridError::Resource { needed, limit })
        );
        // A list of entries too short for the larger resource.
        let entries = 100;
        let short = Limits { entries, ..PLENTY };
        assert_eq!(scroll(short), Ok((Scroll::Repaint, 50 * 16)));
        // Too many text rows for a panning resource, and a resource too high.
        let high = |height| grid(size(64, height), size(8, 16), Scroll::Pan).map(|g| g.scroll());
        assert_eq!(high(4112), Some(Scroll::Pan));
        assert_eq!(high(4113), Some(Scroll::Repaint));
        let high = |height| grid(size(64, height), size(8, 64), Scroll::Pan).map(|g| g.scroll());
        assert_eq!(high(8128), Some(Scroll::Pan));
        assert_eq!(high(8129), Some(Scroll::Repaint));
        // Whole glyphs would make the resource wider than the limit.
        let wide = |glyph| {
            let grid = grid(size(16384, 200), size(glyph, 16), Scroll::Pan);
            grid.map(|grid| (grid.scroll(), grid.resource().width))
        };
        assert_eq!(wide(8), Some((Scroll::Pan, 16384)));
        assert_eq!(wide(6), Some((Scroll::Repaint, 16384)));
    }

    /// The result for a band that is not possible.
    fn no_band<T>() -> Result<T, GridError> {
        let (needed, available) = (0, 0);
        Err(GridError::Band(BandError::Memory { needed, available }))
    }

    #[test]
    fn band_is_as_wide_as_memory_allows() {
        let with = |band_bytes, entries, scroll| {
            let limits = Limits {
                band_bytes,
                entries,
                ..PLENTY
            };
            let grid = Grid::new(size(1280, 800), size(8, 16), scroll, &limits)?;
            let band = grid.band();
            Ok((band.tiles(), band.slots(), band.tile_cols()))
        };
        let with = |bytes, entries, scroll| match with(bytes, entries, scroll) {
            Err(GridError::Band(_)) => no_band(),
            found => found,
        };
        let all = Band::MAX_ENTRIES;
        assert_eq!(with(1 << 20, all, Scroll::Pan), Ok((1, 4, 160)));
        assert_eq!(with(1 << 20, 207, Scroll::Pan), Ok((1, 2, 160)));
        assert_eq!(with(81920, all, Scroll::Pan), Ok((1, 1, 160)));
        assert_eq!(with(81919, all, Scroll::Pan), Ok((3, 2, 54)));
        assert_eq!(with(27647, all, Scroll::Pan), Ok((5, 1, 32)));
        assert_eq!(with(16383, usize::MAX, Scroll::Pan), Ok((7, 1, 23)));
        // The minimum is eleven tiles of fifteen columns, with that many entries; or a scanline, if
        // the screen does not pan.
        let least = 15 * 8 * 4 * 16;
        assert_eq!(with(least, all, Scroll::Pan), Ok((11, 1, 15)));
        assert_eq!(with(least - 1, all, Scroll::Pan), Ok((16, 1, 160)));
        assert_eq!(with(5119, all, Scroll::Repaint), no_band());
        assert_eq!(with(0, all, Scroll::Repaint), no_band());
        // A region for strips without an offset, and one for each of four slots.
        assert_eq!(with(1 << 20, 250, Scroll::Repaint), Ok((1, 4, 160)));
        assert_eq!(with(1 << 20, 249, Scroll::Repaint), Ok((1, 3, 160)));
        assert_eq!(with(1 << 20, 51, Scroll::Repaint), Ok((1, 1, 160)));
        assert_eq!(with(1 << 20, 50, Scroll::Repaint), no_band());
    }

    #[test]
    fn strips_are_as_high_as_memory_allows() {
        let with = |width, height, band_bytes| {
            let limits = Limits {
                band_bytes,
                ..PLENTY
            };
            let mode = size(width, 800);
            let grid = Grid::new(mode, size(8, height), Scroll::Repaint, &limits).ok()?;
            Some((grid.band().tiles(), grid.band().slots()))
        };
        // Whole text rows, in several slots.
        assert_eq!(with(1280, 16, 4 * 81920), Some((1, 4)));
        assert_eq!(with(1280, 16, 2 * 81920), Some((1, 2)));
        // Halves of rows, so that there are two slots; lower strips are not used for a second slot.
        assert_eq!(with(1280, 16, 2 * 81920 - 1), Some((2, 3)));
        assert_eq!(with(1280, 16, 81919), Some((2, 1)));
        assert_eq!(with(1280, 16, 20480), Some((4, 1)));
        assert_eq!(with(1280, 16, 5120), Some((16, 1)));
        assert_eq!(with(1280, 16, 5119), None);
        // Only equal parts.
        assert_eq!(with(1280, 22, 1280 * 4 * 21), Some((2, 1)));
        assert_eq!(with(1280, 13, 1280 * 4 * 12), Some((13, 4)));
        // Scanlines that are not whole cells.
        assert_eq!(with(1366, 16, 1 << 20), Some((1, 1)));
        // Large screens, with the driver's memory.
        assert_eq!(with(3840, 16, 100_000), Some((4, 1)));
    }

    /// The offset in bytes into the backing store from which a device reads pixel `x`, `row` of a
    /// rectangle at `at`.
    type Reading = fn(offset: u64, stride: u64, at: (u64, u64), x: u64, row: u64) -> u64;

    /// QEMU: `hw/display/virtio-gpu.c`, `virtio_gpu_transfer_to_host_2d()`.
    fn qemu(offset: u64, stride: u64, _: (u64, u64), x: u64, row: u64) -> u64 {
        offset + stride * row + 4 * x
    }

    /// rutabaga: `rutabaga_2d.rs`, `transfer_2d()`.
    fn rutabaga(offset: u64, stride: u64, at: (u64, u64), x: u64, row: u64) -> u64 {
        offset + (at.1 + row) * stride + (at.0 + x) * 4
    }

    /// libkrun, and QEMU's `virtio-gpu-rutabaga`: no `offset` at all.
    fn without(_: u64, stride: u64, at: (u64, u64), x: u64, row: u64) -> u64 {
        (at.1 + row) * stride + (at.0 + x) * 4
    }

    /// Returns the pixel of the band that contains a byte of the backing store.
    fn backing(entries: impl Iterator<Item = (u32, u32)>, byte: u64) -> Option<usize> {
        let mut start = 0;
        for (offset, len) in entries {
            if byte < start + u64::from(len) {
                return Some((u64::from(offset) + byte - start) as usize / 4);
            }
            start += u64::from(len);
        }
        None
    }

    /// Checks that both interpretations find every corner of every tile of every text row, with
    /// different contents in every pixel row of every slot, and that the rows of a slot do not
    /// overlap.
    fn reads_back(grid: &Grid) -> bool {
        let band = grid.band();
        let stride = u64::from(grid.resource().width) * 4;
        let height = u64::from(grid.glyph().height);
        let unit = band.unit() as u64;
        let text_rows = u64::from(grid.resource().height) / height;
        let mut right = true;
        for slot in 0..band.slots() {
            let mut units = 0u64;
            for row in 0..height {
                // The expected position: the unit of row 0 of tile 0, moved.
                let first = band.slot(slot).start as u64;
                let expected = first + row * band.tiles() as u64 % height * unit;
                units |= 1 << ((expected - first) / unit);
                for tile in 0..band.tiles() {
                    let offset = band.offset(slot, tile);
                    for text_row in 1..text_rows {
                        let at = (u64::from(band.tile(tile).x), text_row * height);
                        for x in [0, unit - 1] {
                            for reading in [qemu as Reading, rutabaga] {
                                let byte = reading(offset, stride, at, x, row);
                                right &=
                                    backing(band.entries(), byte) == Some((expected + x) as usize);
                            }
                        }
                    }
                }
            }
            right &= units == (1 << height) - 1;
        }
        right
    }

    #[test]
    fn both_readings_find_every_row() -> Result<(), ()> {
        // The height of a glyph, the size of the band, and the resulting tiles and slots of 26 px.
        for (height, band_bytes, tiles, slots) in [
            (4, 448, 1, 1),
            (4, 900, 1, 2),
            (4, 447, 3, 2),
            (8, 895, 3, 2),
            (8, 383, 5, 1),
            (8, 255, 7, 1),
            (9, 431, 4, 1),
            (9, 1007, 2, 1),
        ] {
            let limits = Limits {
                band_bytes,
                ..PLENTY
            };
            let mode = size(26, 2 * height + 1);
            let grid = Grid::new(mode, size(4, height), Scroll::Pan, &limits).map_err(drop)?;
            assert_eq!((grid.band().tiles(), grid.band().slots()), (tiles, slots));
            assert_eq!(grid.band().entry_count(), grid.band().entries().count());
            assert!(grid.resource().width >= 26);
            assert!(reads_back(&grid));
        }
        Ok(())
    }

    /// Checks the same for strips, which all three interpretations find on a resource of `size` px.
    fn strips_read_back(grid: &Grid, size: Size) -> bool {
        let (band, glyph) = (grid.band(), grid.glyph().height);
        let (stride, mut right) = (u64::from(size.width) * 4, true);
        for text_row in 0..size.height.div_ceil(glyph) {
            for tile in 0..band.tiles() {
                let slot = band.strip_slot(text_row, tile);
                let (offset, pixels) = (band.strip_offset(size, slot), band.slot(slot));
                let top = text_row * glyph + band.tile(tile).scanlines.start;
                right &= offset != 0 && band.tile(tile).x == 0;
                for (row, scanline) in
                    (0..size.height.saturating_sub(top)).zip(band.pixel_rows(band.unit()))
                {
                    for x in [0, size.width - 1] {
                        for reading in [qemu as Reading, rutabaga, without] {
                            let at = (0, u64::from(top));
                            let byte = reading(offset, stride, at, x.into(), row.into());
                            let found = backing(band.strip_entries(size), byte);
                            right &= found == Some(pixels.start + scanline.start + x as usize);
                        }
                    }
                }
            }
        }
        right
    }

    #[test]
    fn three_readings_find_every_strip() -> Result<(), ()> {
        // The width, the height of a glyph, the size of the band, and the resulting strips and
        // slots.
        for (width, height, band_bytes, strips, slots) in [
            (28, 4, 448, 1, 1),
            (28, 4, 900, 1, 2),
            (28, 4, 1 << 16, 1, 4),
            (26, 4, 1 << 16, 1, 1),
            (28, 4, 447, 2, 1),
            (28, 16, 1791, 2, 1),
            (28, 16, 1792, 2, 2),
            (26, 16, 1791, 2, 1),
            (28, 9, 500, 3, 1),
        ] {
            let limits = Limits {
                band_bytes,
                ..PLENTY
            };
            let (mode, glyph) = (size(width, 5 * height + 3), size(4, height));
            let grid = Grid::new(mode, glyph, Scroll::Repaint, &limits).map_err(drop)?;
            assert_eq!(grid.resource(), mode);
            let band = grid.band();
            assert_eq!((band.tiles(), band.slots()), (strips, slots));
            // Scanouts beside the largest one have resources of their own size.
            for size in [mode, size(width - 3, height), size(4, 5 * height)] {
                let count = band.strip_entries(size).count();
                assert_eq!(band.strip_entry_count(size), count);
                assert!(strips_read_back(&grid, size));
            }
        }
        Ok(())
    }

    #[test]
    fn one_transfer_clears_all() -> Result<(), ()> {
        for band_bytes in [448, 447] {
            let limits = Limits {
                band_bytes,
                ..PLENTY
            };
            let grid = Grid::new(size(26, 9), size(4, 4), Scroll::Pan, &limits).map_err(drop)?;
            let (resource, slot) = (grid.resource(), grid.band().slot(0));
            let stride = u64::from(resource.width) * 4;
            assert_eq!(grid.band().offset(0, 0), 0);
            for row in 0..u64::from(resource.height) - 4 {
                for x in 0..u64::from(resource.width) {
                    for reading in [qemu as Reading, rutabaga] {
                        let byte = reading(0, stride, (0, 4), x, row);
                        let pixel = backing(grid.band().entries(), byte);
                        assert!(pixel.is_some_and(|pixel| slot.contains(&pixel)));
                    }
                }
            }
        }
        Ok(())
    }

    /// A band with the alignment of the driver's.
    #[repr(align(8))]
    struct Memory([u32; 544]);

    /// Returns whether a device finds `cells`, painted from `first_col` on, in a slot and tile.
    fn shows(font: &Font<'_>, band_bytes: usize, cells: &[Cell], first_col: usize) -> bool {
        let mode = size(4 * font.size().width, 2 * font.size().height);
        let limits = Limits {
            band_bytes,
            ..PLENTY
        };
        let Ok(grid) = Grid::new(mode, font.size(), Scroll::Pan, &limits) else {
            return false;
        };
        let (band, mut memory) = (grid.band(), Memory([0x1234_5678; 544]));
        let slot = band.slot(band.slots() - 1);
        let Some(pixels) = memory.0.get_mut(slot) else {
            return false;
        };
        let first = Corner {
            col: first_col,
            scanline: 0,
        };
        Painter::new().paint(font, &Palette::DEFAULT, band, cells, pixels, first);
        let (width, height) = (font.size().width, font.size().height);
        let stride = u64::from(grid.resource().width) * 4;
        let offset = band.offset(band.slots() - 1, band.tiles() - 1);
        let mut right = true;
        for x in 0..band.unit() as u32 {
            let (col, bit) = ((x / width) as usize, x % width);
            let cell = col.checked_sub(first_col).and_then(|col| cells.get(col));
            for row in 0..height {
                let expected = cell.map_or(0x1234_5678, |cell| {
                    let (ink, paper) = Palette::DEFAULT.colours(cell.attribute(8));
                    let line = font.scanline(cell.glyph(8), row as usize);
                    let set = line << bit >> 31 != 0;
                    u32::to_le(if set { ink } else { paper })
                });
                let byte = qemu(offset, stride, (0, 0), x.into(), row.into());
                let found = backing(band.entries(), byte).and_then(|at| memory.0.get(at).copied());
                right &= found == Some(expected);
            }
        }
        right
    }

    #[test]
    fn a_device_reads_the_painted_cells() -> Result<(), ()> {
        let cells = [
            Cell(0x0741),
            Cell(0x0742),
            Cell(0x1fff),
            Cell(0x9600),
            Cell::blank(8),
        ];
        // Bands for one tile, and for several; widths with and without a fast path.
        for (width, height, bytes, tiled) in [
            (8, 16, 2048, 1024),
            (8, 15, 1920, 960),
            (8, 8, 1024, 384),
            (4, 6, 384, 96),
            (5, 7, 560, 280),
            (6, 11, 1056, 528),
            (10, 8, 1280, 640),
            (13, 5, 1040, 520),
            (16, 8, 2048, 1024),
            (24, 5, 1920, 960),
            (32, 4, 2048, 1024),
        ] {
            let font = Font::new(width, height, 256, &GLYPHS).map_err(drop)?;
            for band_bytes in [bytes, tiled] {
                for count in 0..=cells.len() {
                    for first_col in 0..5 {
                        assert!(shows(&font, band_bytes, &cells[..count], first_col));
                    }
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_first_colours_are_painted_as_all_others() -> Result<(), ()> {
        let font = Font::new(8, 16, 256, &GLYPHS).map_err(drop)?;
        let grid = Grid::new(size(8, 16), size(8, 16), Scroll::Pan, &PLENTY).map_err(drop)?;
        for (ink, paper) in [(0, 0), (1, 0), (0, 1), (0xffffff, 0)] {
            let mut palette = Palette([0x123456; 16]);
            (palette.0[7], palette.0[0]) = (ink, paper);
            let (mut painter, mut pixels) = (Painter::new(), [0x654321; 128]);
            let first = Corner {
                col: 0,
                scanline: 0,
            };
            painter.paint(
                &font,
                &palette,
                grid.band(),
                &[Cell(0x0741)],
                &mut pixels,
                first,
            );
            for (at, pixel) in (0..).zip(pixels) {
                let is_ink = font.scanline(0x41, at / 8) << (at % 8) >> 31 != 0;
                assert_eq!(u32::from_le(pixel), if is_ink { ink } else { paper });
            }
        }
        Ok(())
    }

    #[test]
    fn strips_have_the_scanlines_of_a_whole_row() -> Result<(), ()> {
        let cells = [Cell(0x0741), Cell(0x1fff), Cell(0x9600)];
        let palette = Palette::DEFAULT;
        // Fonts with and without a fast path.
        for (width, height) in [(8, 16), (8, 8), (5, 6), (16, 8), (24, 4)] {
            let font = Font::new(width, height, 256, &GLYPHS).map_err(drop)?;
            let mode = size(3 * width, 2 * height);
            let with = |band_bytes| {
                let limits = Limits {
                    band_bytes,
                    ..PLENTY
                };
                Grid::new(mode, font.size(), Scroll::Repaint, &limits).map_err(drop)
            };
            let bytes = (3 * width * height * 4) as usize;
            let (whole, parts) = (with(2 * bytes)?, with(bytes / 2)?);
            assert_eq!((whole.band().tiles(), parts.band().tiles()), (1, 2));
            let (mut all, mut part) = (Memory([0; 544]), Memory([0; 544]));
            let cursor = Cursor {
                row: 0,
                col: 2,
                scanlines: 1..height as usize - 1,
            };
            let mut painter = Painter::new();
            let mut paint = |grid: &Grid, scanline, pixels: &mut [u32]| {
                let first = Corner { col: 0, scanline };
                painter.paint(&font, &palette, grid.band(), &cells, pixels, first);
                let at = (cells[2], &cursor, scanline);
                painter.paint_cursor(&font, &palette, grid.band(), at, pixels);
            };
            paint(&whole, 0, all.0.get_mut(..bytes / 4).ok_or(())?);
            for tile in 0..2 {
                let band = parts.band();
                let scanline = band.tile(tile).scanlines.start as usize;
                let pixels = part.0.get_mut(band.slot(0)).ok_or(())?;
                paint(&parts, scanline, pixels);
                let from = scanline * band.unit();
                assert_eq!(all.0.get(from..from + pixels.len()), Some(&*pixels));
            }
        }
        Ok(())
    }

    #[test]
    fn filled_pixels_equal_painted_blanks() -> Result<(), ()> {
        static NOTHING: [u8; 4096] = [0; 4096];
        for (width, height, band_bytes) in [(8, 16, 2048), (8, 8, 384), (5, 7, 280), (16, 8, 2048)]
        {
            let font = Font::new(width, height, 256, &NOTHING).map_err(drop)?;
            let mode = size(4 * width, 2 * height);
            let limits = Limits {
                band_bytes,
                ..PLENTY
            };
            let grid = Grid::new(mode, font.size(), Scroll::Repaint, &limits).map_err(drop)?;
            let band = grid.band();
            for (cell, first, count) in [
                (Cell(0x0720), 0, 1),
                (Cell(0x0720), 0, 2),
                (Cell(0x0720), 1, 3),
                (Cell(0x1e20), 0, 2),
                (Cell(0x1e20), 1, 1),
            ] {
                let mut slots = [const { Memory([0x1234_5678; 544]) }; 2];
                let [painted, filled] = &mut slots;
                let cells = &[cell; 3][..count];
                let slot = band.slot(0);
                let palette = Palette::DEFAULT;
                let pixels = painted.0.get_mut(slot.clone()).ok_or(())?;
                let corner = Corner {
                    col: first,
                    scanline: 0,
                };
                Painter::new().paint(&font, &palette, band, cells, pixels, corner);
                let colour = palette.colours(cell.attribute(8)).1;
                let pixels = filled.0.get_mut(slot).ok_or(())?;
                Painter::fill(&font, band, colour, first..first + count, pixels);
                assert!(painted.0 == filled.0);
                let is_filled = filled.0.iter().any(|&pixel| pixel == u32::to_le(colour));
                assert!(is_filled || band.tile_cols() <= first);
            }
        }
        Ok(())
    }

    const COLS: usize = 9;
    /// The maximum number of rows of a screen.
    const ROWS: usize = 25;
    /// The maximum number of text rows of a window.
    const WINDOW: usize = 29;

    /// The bit that a cursor inverts in its cell.
    const CURSOR: u8 = 0x80;

    /// The text of a screen.
    type Text = [[u8; COLS]; WINDOW];

    /// A device and its screen, with a byte for each cell.
    struct Model {
        /// The mask of the glyph in a cell.
        bits: u32,
        window: usize,
        resource: [[u8; COLS]; 1 + 2 * WINDOW],
        /// The first text row that is drawn.
        unused: u32,
        top: usize,
        /// The visible text, which `finish` copies from the resource.
        seen: Text,
        /// The drawn areas since the last finish.
        drawn: [u8; 1 + 2 * WINDOW],
        draws: usize,
        pans: usize,
        /// Whether all calls followed the rules of [`Surface`].
        proper: bool,
    }

    impl Model {
        fn new(grid: &Grid) -> Self {
            Self {
                bits: 8,
                window: grid.window(),
                resource: [[b' '; COLS]; 1 + 2 * WINDOW],
                unused: grid.top(0),
                top: grid.top(0) as usize,
                seen: [[b' '; COLS]; WINDOW],
                drawn: [0; 1 + 2 * WINDOW],
                draws: 0,
                pans: 0,
                proper: true,
            }
        }
    }

    impl Surface for Model {
        fn draw(
            &mut self,
            positions: RowPositions,
            cells: &[Cell],
            from: usize,
            cursor: Option<&Cursor>,
        ) {
            self.proper &= cursor.is_none_or(|at| at.col < cells.len());
            self.proper &= from < cells.len();
            self.draws += 1;
            for text_row in positions.iter() {
                self.drawn[text_row as usize] += 1;
                self.proper &= text_row >= self.unused && self.drawn[text_row as usize] == 1;
                let text = &mut self.resource[text_row as usize];
                for (i, (byte, cell)) in text.iter_mut().zip(cells).enumerate() {
                    self.proper &= cell.attribute(self.bits) == 0x07;
                    let under = cursor.is_some_and(|at| at.col == i);
                    let new = cell.glyph(self.bits) as u8 ^ if under { CURSOR } else { 0 };
                    self.proper &= i >= from || *byte == new;
                    *byte = new;
                }
            }
        }

        fn blacken(&mut self, top: u32) {
            self.proper &= top as usize == self.top;
            self.resource = [[b' '; COLS]; 1 + 2 * WINDOW];
            self.seen = [[b' '; COLS]; WINDOW];
        }

        fn pan(&mut self, top: u32) {
            self.pans += 1;
            self.top = top as usize;
            // Until the window is flushed.
            self.seen = [[0xff; COLS]; WINDOW];
        }

        fn finish(&mut self, text_rows: Range<u32>) {
            let (top, window) = (self.top, self.window);
            self.proper &= text_rows.start >= top as u32 && !text_rows.is_empty();
            for text_row in text_rows {
                let row = text_row as usize - top;
                self.proper &= row < window;
                if let Some(seen) = self.seen.get_mut(row) {
                    *seen = self.resource[text_row as usize];
                }
            }
            self.drawn = [0; 1 + 2 * WINDOW];
        }
    }

    /// The reference screen, in a simple implementation.
    struct Plain {
        text: Text,
        rows: usize,
        col: usize,
        row: usize,
        /// Whether a newline is deferred until the next byte.
        newline_pending: bool,
    }

    impl Plain {
        fn new(grid: &Grid) -> Self {
            Self {
                text: [[b' '; COLS]; WINDOW],
                rows: grid.rows(),
                col: 0,
                row: 0,
                newline_pending: false,
            }
        }

        fn newline(&mut self) {
            self.col = 0;
            self.row += 1;
            if self.row == self.rows {
                self.row -= 1;
                self.text.copy_within(1..self.rows, 0);
                self.text[self.row] = [b' '; COLS];
            }
        }

        fn write(&mut self, bytes: &[u8]) {
            for &byte in bytes {
                if core::mem::take(&mut self.newline_pending) {
                    self.newline();
                }
                match byte {
                    b'\n' => self.newline_pending = true,
                    b'\r' => self.col = 0,
                    b'\t' if self.col < 8 => self.col = 8,
                    b'\t' => {}
                    8 if self.col == COLS => self.col = COLS - 2,
                    8 => self.col = self.col.saturating_sub(1),
                    _ => {
                        if self.col == COLS {
                            self.newline();
                        }
                        self.text[self.row][self.col] = byte;
                        self.col += 1;
                    }
                }
            }
        }
    }

    /// Returns a screen of 9 columns and that many rows, on one that is `below` pixels higher.
    fn small(rows: usize, below: u32, scroll: Scroll) -> Option<Grid> {
        let mode = size(9 * 4 + 3, rows as u32 * 6 + below.min(5));
        let higher = size(99, rows as u32 * 6 + below);
        let grid = Grid::for_scanouts(mode, higher, size(4, 6), scroll, &PLENTY).ok()?;
        let right = grid.cols() == COLS && grid.rows() == rows && grid.scroll() == scroll;
        right.then_some(grid)
    }

    /// Writes text, and shows it.
    fn write(screen: &mut Screen<'_>, bytes: &[u8], on: &mut Model) {
        screen.write(bytes, ATTRIBUTE);
        screen.show(on);
    }

    /// Writes `bytes` to a new screen. Returns whether it shows `expected`, and nothing below.
    fn writes(bytes: &[u8], expected: &[&[u8]]) -> bool {
        let Some(grid) = small(5, 0, Scroll::Pan) else {
            return false;
        };
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let Some(mut screen) = Screen::new(&mut cells, &mut rows, grid, 8) else {
            return false;
        };
        write(&mut screen, bytes, &mut model);
        let mut text = [[b' '; COLS]; WINDOW];
        for (to, from) in text.iter_mut().zip(expected) {
            to[..from.len()].copy_from_slice(from);
        }
        model.proper && model.seen[..5] == text[..5]
    }

    #[test]
    fn characters_are_written_at_the_position() {
        assert!(writes(b"", &[]));
        assert!(writes(b"one\ntwo", &[b"one", b"two"]));
        assert!(writes(b"one\r\ntwo", &[b"one", b"two"]));
        assert!(writes(b"one\rT", &[b"Tne"]));
        assert!(writes(b"a\tb", &[b"a       b"]));
        assert!(writes(b"12345678\t9", &[b"123456789"]));
        assert!(writes(b"\x08a\x08\x08b", &[b"b"]));
        assert!(writes(b"abc\x08", &[b"abc"]));
        assert!(writes(b"abc\x08 \x08", &[b"ab"]));
        assert!(writes(
            b"\xe9\x00\x1b[m\x7f\xff",
            &[b"\xe9\x00\x1b[m\x7f\xff"]
        ));
    }

    #[test]
    fn rows_wrap_when_a_character_comes() {
        assert!(writes(b"123456789", &[b"123456789"]));
        assert!(writes(b"123456789a", &[b"123456789", b"a"]));
        assert!(writes(b"123456789\na", &[b"123456789", b"a"]));
        assert!(writes(b"123456789\n\na", &[b"123456789", b"", b"a"]));
        assert!(writes(b"123456789\ra", &[b"a23456789"]));
        assert!(writes(b"123456789\x08a", &[b"1234567a9"]));
        assert!(writes(b"123456789\ta", &[b"123456789", b"a"]));
    }

    #[test]
    fn text_scrolls_at_the_bottom() {
        let rows: [&[u8]; 5] = [b"2", b"3", b"4", b"5", b"6"];
        assert!(writes(b"1\n2\n3\n4\n5\n6", &rows));
        // The last newline is deferred until the next byte.
        assert!(writes(b"1\n2\n3\n4\n5\n6\n", &rows));
        let rows: [&[u8]; 5] = [b"3", b"4", b"5", b"6", b""];
        assert!(writes(b"1\n2\n3\n4\n5\n6\n\n", &rows));
    }

    /// Writes lines with their numbers in hexadecimal, and keeps those in `marks`. Returns whether
    /// the screen then has the `expected` numbers; 1000 + n is a row that says that n rows are left
    /// out.
    fn keeps(marks: &[usize], lines: usize, expected: &[Range<usize>]) -> bool {
        let hex = |digit: usize| b"0123456789abcdef"[digit % 16];
        let Some(grid) = small(ROWS, 0, Scroll::Pan) else {
            return false;
        };
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let Some(mut screen) = Screen::new(&mut cells, &mut rows, grid, 8) else {
            return false;
        };
        for line in 0..lines {
            if marks.contains(&line) {
                screen.retain();
            }
            write(&mut screen, &[hex(line / 16), hex(line), b'\n'], &mut model);
        }
        screen.apply_newline();
        screen.show(&mut model);
        let mut text = [[b' '; COLS]; WINDOW];
        for (row, line) in expected.iter().cloned().flatten().enumerate() {
            if line < 256 {
                (text[row][0], text[row][1]) = (hex(line / 16), hex(line));
            } else {
                let (tens, ones) = (b'0' + (line / 10 % 10) as u8, b'0' + (line % 10) as u8);
                if tens == b'0' {
                    text[row].copy_from_slice(b"... 0 row");
                    text[row][4] = ones;
                } else {
                    text[row].copy_from_slice(b"... 00 ro");
                    text[row][4..6].copy_from_slice(&[tens, ones]);
                }
            }
        }
        model.proper && model.seen[..ROWS] == text[..ROWS]
    }

    #[test]
    fn kept_rows_do_not_scroll_away() {
        let left_out = |count: usize| 1000 + count..1001 + count;
        // While all rows fit, kept rows are as others.
        assert!(keeps(&[], 60, &[36..60, 0..0]));
        assert!(keeps(&[40], 60, &[36..60, 0..0]));
        assert!(keeps(&[36], 60, &[36..60, 0..0]));
        assert!(keeps(&[36], 61, &[36..42, left_out(2), 44..61]));
        assert!(keeps(&[3], 60, &[3..9, left_out(34), 43..60]));
        // Two rows close to each other, with adjacent parts, and far apart.
        assert!(keeps(&[3, 6], 60, &[3..12, left_out(34), 46..60]));
        assert!(keeps(&[3, 10], 60, &[3..16, left_out(34), 50..60]));
        assert!(keeps(
            &[3, 30],
            60,
            &[3..9, left_out(21), 30..36, left_out(14), 50..60]
        ));
    }

    /// Returns whether a screen with that many rows keeps the first one.
    fn keeps_the_first_of(rows: usize) -> bool {
        let Some(grid) = small(rows, 0, Scroll::Pan) else {
            return false;
        };
        let mut cells = [Cell(0); COLS * ROWS];
        let mut state = Rows::new_zeroed();
        let Some(mut screen) = Screen::new(&mut cells, &mut state, grid, 8) else {
            return false;
        };
        screen.retain();
        screen.write(b"first", ATTRIBUTE);
        screen.write(&[b'\n'; 40], ATTRIBUTE);
        screen.row(0).first() == Some(&Cell::new(b'f', 0x07, 8))
    }

    #[test]
    fn screens_of_less_than_16_rows_keep_nothing() {
        assert!(!keeps_the_first_of(5));
        assert!(!keeps_the_first_of(15));
        assert!(keeps_the_first_of(16));
        assert!(keeps_the_first_of(25));
    }

    #[test]
    fn the_next_written_row_is_kept() -> Result<(), ()> {
        // The text before, and whether its own row is kept then, or the next one.
        let before: [(&[u8], bool); 4] = [
            (b"1", true),
            (b"12345678", true),
            (b"1\n", false),
            (b"123456789", false),
        ];
        for (before, itself) in before {
            let grid = small(ROWS, 0, Scroll::Pan).ok_or(())?;
            let mut cells = [Cell(0); COLS * ROWS];
            let mut rows = Rows::new_zeroed();
            let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
            screen.write(before, ATTRIBUTE);
            screen.retain();
            screen.write(b"x", ATTRIBUTE);
            screen.write(&[b'\n'; 60], ATTRIBUTE);
            let first = if itself { b'1' } else { b'x' };
            assert_eq!(screen.row(0).first(), Some(&Cell::new(first, 0x07, 8)));
        }
        Ok(())
    }

    #[test]
    fn a_third_row_is_not_kept() {
        let left_out = |count: usize| 1000 + count..1001 + count;
        let two: &[Range<usize>] = &[3..16, left_out(34), 50..60];
        assert!(keeps(&[3, 10], 60, two));
        assert!(keeps(&[3, 10, 20], 60, two));
    }

    #[test]
    fn positions_outside_of_the_screen_are_ignored() -> Result<(), ()> {
        let grid = small(5, 0, Scroll::Pan).ok_or(())?;
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
        let x = Cell::new(b'x', 0x07, 8);
        // Rows, columns, and cells beyond the end of a row.
        for row in [5, 6, usize::MAX] {
            screen.put(row, 0, [x]);
            assert_eq!(screen.row(row), &[]);
        }
        for col in [COLS, COLS + 1, usize::MAX] {
            screen.put(4, col, [x]);
        }
        assert!(!screen.show(&mut model));
        screen.put(4, COLS - 1, [x; 3]);
        assert!(screen.show(&mut model));
        assert_eq!(model.seen[4], *b"        x");
        assert_eq!(model.seen[..4], [[b' '; COLS]; 4]);
        // A cursor.
        let cursor = |row, col| Cursor {
            row,
            col,
            scanlines: 0..1,
        };
        for (row, col) in [(5, 0), (0, COLS), (usize::MAX, 0), (0, usize::MAX)] {
            screen.set_cursor(Some(cursor(row, col)));
            assert_eq!(screen.cursor(), None);
        }
        screen.set_cursor(Some(cursor(4, COLS - 1)));
        assert_eq!(screen.cursor(), Some(&cursor(4, COLS - 1)));
        screen.set_cursor(None);
        // The position: the last row, and the column that wraps.
        for (given, taken) in [
            ((4, COLS), (4, COLS)),
            ((5, COLS + 1), (4, COLS)),
            ((usize::MAX, usize::MAX), (4, COLS)),
            ((3, COLS - 1), (3, COLS - 1)),
        ] {
            screen.set_write_position(given.0, given.1);
            assert_eq!(screen.write_position(), taken);
        }
        assert!(model.proper);
        Ok(())
    }

    #[test]
    fn text_begins_at_the_position_that_was_set() -> Result<(), ()> {
        let grid = small(5, 0, Scroll::Pan).ok_or(())?;
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
        // The deferred newline belongs to the old position.
        write(&mut screen, b"one\n", &mut model);
        screen.set_write_position(3, 2);
        write(&mut screen, b"two", &mut model);
        assert_eq!(model.seen[0], *b"one      ");
        assert_eq!(model.seen[3], *b"  two    ");
        Ok(())
    }

    #[test]
    fn scrolled_rows_are_filled_with_the_given_cell() -> Result<(), ()> {
        let x = Cell::new(b'x', 0x07, 8);
        let text = b"1\n2\n3\n4\n5";
        let cases = [
            (
                0..5,
                COLS,
                ScrollDirection::Up,
                1,
                [b"2 ", b"3 ", b"4 ", b"5 ", b"xx"],
            ),
            (
                0..5,
                1,
                ScrollDirection::Up,
                2,
                [b"3 ", b"4 ", b"5 ", b"x ", b"x "],
            ),
            (
                1..4,
                COLS,
                ScrollDirection::Up,
                1,
                [b"1 ", b"3 ", b"4 ", b"xx", b"5 "],
            ),
            (
                1..4,
                COLS,
                ScrollDirection::Down,
                1,
                [b"1 ", b"xx", b"2 ", b"3 ", b"5 "],
            ),
            (
                1..4,
                COLS,
                ScrollDirection::Down,
                9,
                [b"1 ", b"xx", b"xx", b"xx", b"5 "],
            ),
            // Rows and columns beyond the screen.
            (
                3..9,
                99,
                ScrollDirection::Up,
                1,
                [b"1 ", b"2 ", b"3 ", b"5 ", b"xx"],
            ),
            (0..9, 99, ScrollDirection::Up, 9, [b"xx"; 5]),
            (
                2..2,
                COLS,
                ScrollDirection::Up,
                1,
                [b"1 ", b"2 ", b"3 ", b"4 ", b"5 "],
            ),
        ];
        for scroll in [Scroll::Pan, Scroll::Repaint] {
            for (rows, cols, direction, lines, expected) in cases.clone() {
                let grid = small(5, 0, scroll).ok_or(())?;
                let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
                let mut state = Rows::new_zeroed();
                let mut screen = Screen::new(&mut cells, &mut state, grid, 8).ok_or(())?;
                write(&mut screen, text, &mut model);
                screen.scroll(rows, cols, direction, lines, x);
                screen.show(&mut model);
                for (seen, expected) in model.seen.iter().zip(expected) {
                    assert_eq!(seen[..2], expected[..]);
                }
                assert!(model.proper);
            }
        }
        Ok(())
    }

    #[test]
    fn a_blanked_screen_stays_black() -> Result<(), ()> {
        for scroll in [Scroll::Pan, Scroll::Repaint] {
            let grid = small(5, 0, scroll).ok_or(())?;
            let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
            let mut rows = Rows::new_zeroed();
            let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
            write(&mut screen, b"1\n2\n3\n4\n5", &mut model);
            screen.blank(&mut model);
            screen.write(b"\n6", ATTRIBUTE);
            assert!(!screen.needs_repaint());
            assert!(!screen.show(&mut model));
            // Also on a surface that has lost its contents.
            screen.restore(&mut model);
            assert!(!screen.show(&mut model));
            assert_eq!(model.seen[..5], [[b' '; COLS]; 5]);
            screen.unblank();
            assert!(screen.show(&mut model));
            assert_eq!(model.seen[0], *b"2        ");
            assert_eq!(model.seen[4], *b"6        ");
            // It is drawn once only.
            screen.unblank();
            assert!(!screen.show(&mut model));
            // The text is drawn again if the screen was not black.
            screen.restore(&mut model);
            assert!(screen.show(&mut model));
            assert_eq!(model.seen[4], *b"6        ");
            assert!(model.proper);
        }
        Ok(())
    }

    #[test]
    fn a_cleared_screen_is_blank_and_begins_at_its_top() -> Result<(), ()> {
        for scroll in [Scroll::Pan, Scroll::Repaint] {
            let grid = small(ROWS, 0, scroll).ok_or(())?;
            let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
            let mut rows = Rows::new_zeroed();
            let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
            screen.retain();
            write(&mut screen, b"kept\n", &mut model);
            screen.set_cursor(Some(Cursor {
                row: 3,
                col: 3,
                scanlines: 0..1,
            }));
            screen.blank(&mut model);
            screen.clear();
            assert_eq!(screen.write_position(), (0, 0));
            assert_eq!(screen.cursor(), None);
            assert!(screen.show(&mut model));
            assert_eq!(model.seen[..ROWS], [[b' '; COLS]; ROWS]);
            // Kept rows are not kept any more.
            write(&mut screen, b"new\n", &mut model);
            write(&mut screen, &[b'\n'; 40], &mut model);
            assert_eq!(model.seen[..ROWS], [[b' '; COLS]; ROWS]);
            assert!(model.proper);
        }
        Ok(())
    }

    #[test]
    fn a_screen_needs_its_cells() -> Result<(), ()> {
        let grid = small(ROWS, 0, Scroll::Pan).ok_or(())?;
        let mut cells = [Cell(0); COLS * ROWS - 1];
        let mut rows = Rows::new_zeroed();
        assert!(Screen::new(&mut cells, &mut rows, grid, 8).is_none());
        Ok(())
    }

    /// Writes random text. Returns whether the screen is correct after each write, and all rows
    /// below the last one are blank.
    fn survives(grid: Grid, bits: u32, writes: usize, mut random: Random) -> bool {
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        model.bits = bits;
        let mut rows = Rows::new_zeroed();
        let mut plain = Plain::new(&grid);
        let Some(mut screen) = Screen::new(&mut cells, &mut rows, grid, bits) else {
            return false;
        };
        for _ in 0..writes {
            let mut bytes = [0; 64];
            // Usually a line, sometimes a byte, sometimes more than a screen.
            let len = [1, 12, 64][random.below(3)];
            let bytes = &mut bytes[..random.below(len + 1)];
            let bytes_of = [&b"abcdefgh \t\x08\r\n\n"[..], b"a\n"][random.below(2)];
            for byte in bytes.iter_mut() {
                *byte = bytes_of[random.below(bytes_of.len())];
            }
            let (draws, pans) = (model.draws, model.pans);
            plain.write(bytes);
            if random.below(8) == 0 && plain.newline_pending {
                plain.newline_pending = false;
                plain.newline();
                screen.write(bytes, ATTRIBUTE);
                screen.apply_newline();
                continue;
            }
            if random.below(4) == 0 {
                // Shown with a later write.
                screen.write(bytes, ATTRIBUTE);
                continue;
            }
            write(&mut screen, bytes, &mut model);
            if model.draws - draws > model.window || model.pans - pans > 1 {
                return false;
            }
            let shown = model.seen[..model.window] == plain.text[..model.window];
            if !model.proper || !shown || screen.top() as usize != model.top {
                return false;
            }
        }
        true
    }

    impl Plain {
        fn scroll(
            &mut self,
            rows: Range<usize>,
            cols: usize,
            direction: ScrollDirection,
            lines: usize,
        ) {
            let before = self.text;
            let lines = lines.min(rows.len());
            for row in rows.clone() {
                let from = match direction {
                    ScrollDirection::Up => row.checked_add(lines),
                    ScrollDirection::Down => row.checked_sub(lines),
                };
                let from = from.filter(|from| rows.contains(from));
                let blank = [b' '; COLS];
                let from = from.map_or(&blank, |from| &before[from]);
                self.text[row][..cols].copy_from_slice(&from[..cols]);
            }
        }

        /// Returns the text with a cursor.
        fn seen(&self, cursor: Option<&Cursor>) -> Text {
            let mut text = self.text;
            if let Some(at) = cursor {
                text[at.row][at.col] ^= CURSOR;
            }
            text
        }
    }

    /// Does random operations of a VT. Returns whether the visible text is always correct.
    fn survives_a_vt(grid: Grid, rounds: usize, mut random: Random) -> bool {
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut plain = Plain::new(&grid);
        let Some(mut screen) = Screen::new(&mut cells, &mut rows, grid, 8) else {
            return false;
        };
        let (rows, mut black) = (grid.rows(), false);
        for _ in 0..rounds {
            match random.below(8) {
                0..3 => {
                    let (row, col) = (random.below(rows), random.below(COLS));
                    let text = &b"one two  "[..random.below(10)];
                    for (to, from) in plain.text[row][col..].iter_mut().zip(text) {
                        *to = *from;
                    }
                    screen.put(row, col, text.iter().map(|&byte| Cell::new(byte, 0x07, 8)));
                }
                3 | 4 => {
                    let start = if random.below(2) == 0 {
                        0
                    } else {
                        random.below(rows)
                    };
                    let end = start + 1 + random.below(rows - start);
                    let end = if random.below(2) == 0 { rows } else { end };
                    let cols = if random.below(4) == 0 { 5 } else { COLS };
                    let direction = if random.below(2) == 0 {
                        ScrollDirection::Up
                    } else {
                        ScrollDirection::Down
                    };
                    let lines = random.below(end - start + 2);
                    plain.scroll(start..end, cols, direction, lines);
                    screen.scroll(start..end, cols, direction, lines, Cell::blank(8));
                }
                5 => screen.set_cursor(Some(Cursor {
                    row: random.below(rows),
                    col: random.below(COLS),
                    scanlines: 0..1,
                })),
                6 => screen.set_cursor(None),
                _ if random.below(4) == 0 => {
                    black = !black;
                    if black {
                        screen.blank(&mut model);
                    } else {
                        // The VT hides the cursor before it unblanks the screen.
                        screen.set_cursor(None);
                        screen.unblank();
                    }
                }
                _ => screen.redraw(),
            }
            if random.below(4) == 0 {
                // Shown with a later operation.
                continue;
            }
            screen.show(&mut model);
            let expected = if black {
                [[b' '; COLS]; WINDOW]
            } else {
                plain.seen(screen.cursor())
            };
            let row = |row: usize| screen.row(row).iter().map(|cell| cell.glyph(8) as u8);
            if !model.proper
                || model.seen[..model.window] != expected[..model.window]
                || !(0..rows).all(|at| row(at).eq(plain.text[at]))
            {
                return false;
            }
        }
        true
    }

    #[test]
    fn the_screen_follows_a_vt() -> Result<(), ()> {
        for scroll in [Scroll::Pan, Scroll::Repaint] {
            for (rows, below) in [(1, 0), (2, 1), (5, 0), (5, 5), (5, 17), (25, 0), (25, 9)] {
                let grid = small(rows, below, scroll).ok_or(())?;
                for seed in 0..4 {
                    assert!(survives_a_vt(grid, 200, Random(seed)));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_cursor_swaps_the_colours_of_its_lines() -> Result<(), ()> {
        let font = Font::new(8, 16, 256, &GLYPHS).map_err(drop)?;
        let grid = Grid::new(size(16, 16), size(8, 16), Scroll::Pan, &PLENTY).map_err(drop)?;
        let (mut plain, mut under) = ([0; 256], [0; 256]);
        let (cells, palette) = ([Cell(0x1f41), Cell(0x4e42)], Palette::DEFAULT);
        let mut painter = Painter::new();
        let first = Corner {
            col: 0,
            scanline: 0,
        };
        painter.paint(&font, &palette, grid.band(), &cells, &mut plain, first);
        painter.paint(&font, &palette, grid.band(), &cells, &mut under, first);
        let cursor = Cursor {
            row: 0,
            col: 1,
            scanlines: 14..16,
        };
        let at = (cells[1], &cursor, 0);
        painter.paint_cursor(&font, &palette, grid.band(), at, &mut under);
        let (ink, paper) = (0xffff55u32.to_le(), 0xaa0000u32.to_le());
        for (at, (&plain, &under)) in plain.iter().zip(&under).enumerate() {
            let swapped = if plain == ink { paper } else { ink };
            let inside = at / 16 >= 14 && at % 16 >= 8;
            assert_eq!(under, if inside { swapped } else { plain });
        }
        Ok(())
    }

    #[test]
    fn the_window_shows_the_text_and_nothing_else() -> Result<(), ()> {
        // No strip below the rows, strips of every height, and one higher than four rows.
        for scroll in [Scroll::Pan, Scroll::Repaint] {
            for (rows, below) in [
                (1, 0),
                (1, 5),
                (2, 1),
                (5, 0),
                (5, 1),
                (5, 3),
                (5, 5),
                (25, 0),
                (25, 6),
                (25, 8),
                (25, 24),
            ] {
                let grid = small(rows, below, scroll).ok_or(())?;
                // With glyphs of 8 bits, and of 9.
                for bits in [8, 9] {
                    assert!(survives(grid, bits, 200, Random(below)));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn the_scanout_stays_on_the_resource() -> Result<(), ()> {
        for scroll in [Scroll::Pan, Scroll::Repaint] {
            for below in 0..24 {
                let rows = if below < 6 { 5 } else { ROWS };
                let grid = small(rows, below, scroll).ok_or(())?;
                let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
                let mut rows = Rows::new_zeroed();
                let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
                for _ in 0..2 * WINDOW {
                    write(&mut screen, b"\n", &mut model);
                    let bottom = grid.y(screen.top()) + grid.screen().height;
                    assert!(bottom <= grid.resource().height);
                    // Text begins at the top of the window.
                    assert!((screen.top() == 0) == (scroll == Scroll::Repaint));
                }
                assert!(grid.screen().width <= grid.resource().width);
            }
        }
        Ok(())
    }

    #[test]
    fn only_differences_are_painted_again() -> Result<(), ()> {
        let grid = small(5, 3, Scroll::Repaint).ok_or(())?;
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
        write(&mut screen, b"ab\nab\nab\nab\nab", &mut model);
        assert_eq!(model.draws, 5);
        assert!(!screen.needs_repaint());
        // The last row is new; the old contents of the first are unknown; the others are unchanged.
        screen.write(b"\nac", ATTRIBUTE);
        assert!(screen.needs_repaint());
        assert!(screen.show(&mut model));
        assert_eq!((model.draws, model.pans), (7, 0));
        // Rows three and four differ from the old contents: in one column, and in no column before
        // that.
        write(&mut screen, b"\nab", &mut model);
        assert_eq!(model.draws, 10);
        // A row that changes while it scrolls is drawn, and so is the row at its old position.
        screen.put(1, 0, [Cell(0x0778)]);
        write(&mut screen, b"\nab", &mut model);
        assert!(!screen.show(&mut model));
        assert_eq!(model.draws, 14);
        // More rows than the screen has.
        write(&mut screen, b"\n1\n2\n3\n4\n5\n6\n7", &mut model);
        assert_eq!(model.draws, 19);
        assert_eq!(model.pans, 0);
        assert!(model.proper);
        Ok(())
    }

    #[test]
    fn nothing_is_drawn_without_differences() -> Result<(), ()> {
        let grid = small(5, 3, Scroll::Repaint).ok_or(())?;
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
        // Blank rows at the positions of blank rows.
        screen.write(&[b'\n'; 9], ATTRIBUTE);
        screen.apply_newline();
        assert!(screen.needs_repaint());
        assert!(!screen.show(&mut model));
        assert_eq!(model.draws, 0);
        Ok(())
    }

    #[test]
    fn a_cursor_is_drawn_without_other_differences() -> Result<(), ()> {
        let grid = small(5, 3, Scroll::Repaint).ok_or(())?;
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
        write(&mut screen, b"ab\nab\nab\nab\nab", &mut model);
        screen.write(b"\nab", ATTRIBUTE);
        screen.set_cursor(Some(Cursor {
            row: 2,
            col: 5,
            scanlines: 0..2,
        }));
        assert!(screen.show(&mut model));
        for (row, seen) in model.seen[..5].iter().enumerate() {
            let expected = if row == 2 {
                b"ab   \xa0   "
            } else {
                b"ab       "
            };
            assert_eq!(seen, expected);
        }
        assert!(model.proper);
        Ok(())
    }

    #[test]
    fn a_cursor_scrolls_away_with_its_row() -> Result<(), ()> {
        for (below, scroll) in [(0, Scroll::Pan), (3, Scroll::Pan), (3, Scroll::Repaint)] {
            let grid = small(5, below, scroll).ok_or(())?;
            let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
            let mut rows = Rows::new_zeroed();
            let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
            screen.write(b"ab", ATTRIBUTE);
            // After the last character.
            screen.set_cursor(Some(Cursor {
                row: 0,
                col: 7,
                scanlines: 0..2,
            }));
            screen.show(&mut model);
            assert_eq!(model.seen[0], *b"ab     \xa0 ");
            write(&mut screen, b"\n1\n2\n3\n4\n5\n6", &mut model);
            let mut text = [[b' '; COLS]; WINDOW];
            for (row, digit) in text.iter_mut().zip(*b"23456") {
                row[0] = digit;
            }
            assert!(model.seen[..grid.window()] == text[..grid.window()]);
            assert!(model.proper);
        }
        Ok(())
    }

    #[test]
    fn a_line_costs_its_own_cells() -> Result<(), ()> {
        let grid = small(5, 3, Scroll::Pan).ok_or(())?;
        let (mut cells, mut model) = ([Cell(0); COLS * ROWS], Model::new(&grid));
        let mut rows = Rows::new_zeroed();
        let mut screen = Screen::new(&mut cells, &mut rows, grid, 8).ok_or(())?;
        write(&mut screen, b"1\n2\n3\n4\n5", &mut model);
        assert_eq!((model.draws, model.pans), (5, 0));
        // The new row, and the row that left the screen, blanked.
        write(&mut screen, b"\n6", &mut model);
        assert_eq!((model.draws, model.pans), (7, 1));
        // No change: a space on a blank, a letter on itself.
        write(&mut screen, b" \r6 ", &mut model);
        assert_eq!((model.draws, model.pans), (7, 1));
        // A row that scrolls away at once is never drawn: five rows and one blanked.
        write(&mut screen, b"\na\nb\nc\nd\ne\nf\ng\nh\ni\nj", &mut model);
        assert_eq!(model.pans, 2);
        assert!(model.draws <= 7 + 6);
        assert!(model.proper);
        Ok(())
    }
}
