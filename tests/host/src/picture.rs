// SPDX-License-Identifier: GPL-2.0

//! Tests of images of every kind and size: each decodes to the original pixels; damaged ones decode
//! to an error or to pixels within the image.

use proptest::prelude::*;

use crate::{
    cases,
    firmware::{
        bgrt::Bgrt,
        bmp::Bmp,
        picture::{
            Error,
            Picture, //
        },
        Memory,
        Unreadable, //
    }, //
};

/// The format of an image file.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// The size in bytes of the second header.
    header: u32,
    bits: u16,
    masks: bool,
    top_down: bool,
    /// The sizes in bytes of the gaps between the headers and the pixels, and after the pixels.
    gaps: (usize, usize),
    /// The value of every unused byte.
    junk: u8,
}

impl Kind {
    /// The format that EDK2 writes.
    pub(crate) const PLAIN: Self = Self {
        header: 40,
        bits: 24,
        masks: false,
        top_down: false,
        gaps: (0, 0),
        junk: 0,
    };

    /// Returns a file of pixels `0x00RRGGBB`, `width` of them in a row.
    pub(crate) fn file(&self, width: usize, pixels: &[u32]) -> Vec<u8> {
        let mut info = Vec::new();
        let height = (pixels.len() / width) as i32;
        info.extend(self.header.to_le_bytes());
        info.extend((width as u32).to_le_bytes());
        info.extend(if self.top_down { -height } else { height }.to_le_bytes());
        info.extend(1u16.to_le_bytes());
        info.extend(self.bits.to_le_bytes());
        info.extend(if self.masks { 3u32 } else { 0 }.to_le_bytes());
        info.resize(40, self.junk);
        if self.masks {
            info.extend([0xff_0000u32, 0xff00, 0xff].map(u32::to_le_bytes).concat());
        }
        info.resize(
            info.len().max(self.header as usize) + self.gaps.0,
            self.junk,
        );

        let mut rows: Vec<Vec<u8>> = pixels
            .chunks(width)
            .map(|row| {
                let mut bytes = Vec::new();
                for pixel in row {
                    bytes.extend(&pixel.to_le_bytes()[..3]);
                    bytes.extend((self.bits == 32).then_some(self.junk));
                }
                bytes.resize(bytes.len().next_multiple_of(4), self.junk);
                bytes
            })
            .collect();
        if !self.top_down {
            rows.reverse();
        }

        let start = 14 + info.len();
        let size = start + rows.concat().len() + self.gaps.1;
        let mut file = b"BM".to_vec();
        file.extend((size as u32).to_le_bytes());
        file.extend([self.junk; 4]);
        file.extend((start as u32).to_le_bytes());
        file.extend(info);
        file.extend(rows.concat());
        file.resize(size, self.junk);
        file
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    (
        prop::sample::select(vec![40, 108, 124]),
        prop::sample::select(vec![(24, false), (32, false), (32, true)]),
        any::<bool>(),
        (0..20usize, 0..20usize),
        any::<u8>(),
    )
        .prop_map(|(header, (bits, masks), top_down, gaps, junk)| Kind {
            header,
            bits,
            masks,
            top_down,
            gaps,
            junk,
        })
}

/// Returns a width, and pixels for some rows of it; a long row needs several reads.
fn pixels() -> impl Strategy<Value = (usize, Vec<u32>)> {
    let sides = prop_oneof![(1..20usize, 1..20usize), (300..1100usize, 1..3usize)];
    sides.prop_flat_map(|(width, height)| {
        let pixels = prop::collection::vec(0..1u32 << 24, width * height);
        (Just(width), pixels)
    })
}

/// A file in memory. Any read outside of it, or of too many bytes, fails.
struct Image {
    at: u64,
    file: Vec<u8>,
}

impl Memory for Image {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        assert!(into.len() <= 4096);
        let end = at.checked_add(into.len() as u64).ok_or(Unreadable { at })?;
        // The file's own size field counts, and that many bytes exist.
        let size = u32::from_le_bytes(self.file[2..6].try_into().unwrap());
        let limit = u128::from(self.at) + u128::from(size.max(14));
        assert!(at >= self.at && u128::from(end) <= limit, "not the image's");
        for (offset, byte) in (at - self.at..).zip(into) {
            *byte = self.file.get(offset as usize).copied().unwrap_or(0x5a);
        }
        Ok(())
    }
}

/// Returns whether a text is a line for the log.
fn is_a_line(why: impl ToString) -> bool {
    let why = why.to_string();
    (8..100).contains(&why.len()) && why.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn images_decode_to_their_pixels(
        kind in kind(),
        (width, pixels) in pixels(),
        at in prop_oneof![1..1u64 << 48, Just(u64::MAX - (1 << 20))],
        (x, y) in (0..40u32, 0..20u32),
        screen in prop_oneof![(1..60u32, 1..40u32), Just((1200, 50))],
        tile in 1..1300usize,
    ) {
        let mut memory = Image { at, file: kind.file(width, &pixels) };
        let bmp = Bmp::read(&mut memory, at).unwrap();
        let height = (pixels.len() / width) as u32;
        prop_assert_eq!((bmp.width(), bmp.height()), (width as u32, height));
        let bgrt = Bgrt { image: at, x, y, orientation: 0 };
        let picture = Picture::new(&bgrt, bmp, screen.0, screen.1);
        let Ok(picture) = picture else {
            prop_assert_eq!(picture, Err(Error::OffScreen { x, y }));
            prop_assert!(x >= screen.0 || y >= screen.1);
            return Ok(());
        };

        const NOTHING: u32 = 0xffff_ffff;
        let mut shown = vec![NOTHING; (screen.0 * screen.1) as usize];
        for (y, row) in (0..).zip(shown.chunks_mut(screen.0 as usize)) {
            for (start, pixels) in (0..).step_by(tile).zip(row.chunks_mut(tile)) {
                picture.paint(&mut memory, start, y, pixels).unwrap();
            }
        }
        for (n, shown) in (0..).zip(shown) {
            let position = (n % screen.0, n / screen.0);
            let image = position.0.checked_sub(x).zip(position.1.checked_sub(y));
            let expected = match image {
                Some((x, y)) if x < width as u32 && y < height => {
                    pixels[y as usize * width + x as usize]
                }
                _ => NOTHING,
            };
            prop_assert_eq!(shown, expected.to_le());
        }
    }

    #[test]
    fn damaged_images(
        kind in kind(),
        (width, pixels) in pixels(),
        at in prop_oneof![
            any::<u64>(),
            (0..3000u64).prop_map(|off| u64::MAX - off),
        ],
        bytes in prop::collection::vec(
            (0..70usize, prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x80), 0..8u8]),
            0..4,
        ),
        // More than a byte, for the fields that all others depend on.
        words in prop::collection::vec(
            (
                prop::sample::select(vec![2usize, 10, 14, 18, 22, 26, 30]),
                prop_oneof![
                    any::<u32>(),
                    0..200u32,
                    (0..200u32).prop_map(|it| it.wrapping_neg()),
                    (0..32u32, 0..3u32).prop_map(|(bit, off)| (1u32 << bit).wrapping_add(off) - 1),
                ],
            ),
            0..3,
        ),
        rows in prop::collection::vec((0..20000u32, 0..20000u32, 0..2000usize), 1..5),
    ) {
        let mut file = kind.file(width, &pixels);
        for (at, byte) in bytes {
            let length = file.len();
            file[at % length] = byte;
        }
        for (at, word) in words {
            file[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        let mut memory = Image { at, file };
        let bmp = match Bmp::read(&mut memory, at) {
            Ok(bmp) => bmp,
            Err(why) => {
                prop_assert!(is_a_line(why), "{}", why);
                return Ok(());
            }
        };
        let (width, height) = (bmp.width(), bmp.height());
        prop_assert!((1..=16384).contains(&width) && (1..=16384).contains(&height));
        let edges = [(0, 0, 16), (width - 1, height - 1, 16), (0, height - 1, 16384)];
        for (x, y, length) in rows.into_iter().chain(edges) {
            let mut into = vec![u32::MAX; length];
            bmp.read_row(&mut memory, x, y, &mut into).unwrap();
            let room = if y < height { width.saturating_sub(x) as usize } else { 0 };
            let (inside, outside) = into.split_at(length.min(room));
            prop_assert!(inside.iter().all(|pixel| pixel.to_le() >> 24 == 0));
            prop_assert!(outside.iter().all(|pixel| *pixel == u32::MAX));
        }
    }

    #[test]
    fn pictures_anywhere(
        (x, y, orientation) in any::<(u32, u32, u8)>(),
        screen in any::<(u32, u32)>(),
        row in any::<u32>(),
        within in any::<(u32, u32)>(),
    ) {
        let mut memory = Image { at: 0x1000, file: Kind::PLAIN.file(7, &[0; 21]) };
        let bmp = Bmp::read(&mut memory, 0x1000).unwrap();
        // Most of them are not rotated.
        let orientation = u16::from(orientation.saturating_sub(252)) * 90;
        let bgrt = Bgrt { image: 0x1000, x, y, orientation };
        let picture = match Picture::new(&bgrt, bmp, screen.0, screen.1) {
            Ok(picture) => picture,
            Err(why) => {
                prop_assert!(is_a_line(why), "{}", why);
                return Ok(());
            }
        };
        let (columns, rows) = (picture.columns(), picture.rows());
        prop_assert!(!columns.is_empty() && columns.end <= screen.0 && columns.len() <= 7);
        prop_assert!(!rows.is_empty() && rows.end <= screen.1 && rows.len() <= 3);
        for row in rows.chain([row]) {
            if let Some(part) = picture.row_part(row, within.0..within.1) {
                prop_assert_eq!(part.screen.len(), part.image.len());
                prop_assert!(part.image.end <= 7 && part.y < 3);
            }
        }
    }
}
