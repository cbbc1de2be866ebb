// SPDX-License-Identifier: GPL-2.0

//! Reads the text off a screenshot, cell by cell.
//!
//! Every cell must be a glyph of the font on black, in one of the console's colours, and all that
//! lies right of and below the cells must be black. Anything else is a cell that cannot be read.

use crate::font::{Font, Fonts};
use anyhow::{ensure, Context, Result};
use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{BufReader, BufWriter},
    ops::Range,
    path::Path,
};

/// The console's grey on black, 0x00RRGGBB.
#[cfg(test)]
const FOREGROUND: u32 = 0x00aa_aaaa;
const BACKGROUND: u32 = 0;
/// In what else the log can be: by how urgent it is.
const COLOURS: [u32; 6] = [
    0x00aa_aaaa,
    0x0055_5555,
    0x00ff_5555,
    0x00ff_ff55,
    0x00ff_ffff,
    // What drm_log has for the time.
    0x004e_9a06,
];

/// A screen's pixels.
#[derive(Clone, PartialEq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// 0x00RRGGBB, row by row.
    pixels: Vec<u32>,
}

impl Picture {
    /// Decodes a PNG of 8 bits a channel, with or without alpha.
    pub fn read(path: &Path) -> Result<Self> {
        let decode = || -> Result<Self> {
            let mut reader = png::Decoder::new(BufReader::new(File::open(path)?)).read_info()?;
            let mut bytes = vec![0; reader.output_buffer_size().context("too large")?];
            let info = reader.next_frame(&mut bytes)?;
            let channels = info.color_type.samples();
            ensure!(
                info.bit_depth == png::BitDepth::Eight && channels >= 3,
                "not 8-bit RGB"
            );
            let pixels = bytes[..info.buffer_size()]
                .chunks_exact(channels)
                .map(|pixel| u32::from_be_bytes([0, pixel[0], pixel[1], pixel[2]]))
                .collect();
            Ok(Self {
                width: info.width as usize,
                height: info.height as usize,
                pixels,
            })
        };
        decode().with_context(|| format!("cannot read the screenshot {}", path.display()))
    }

    /// Returns a picture of these pixels, 0x00RRGGBB, row by row.
    pub fn of(width: usize, height: usize, pixels: Vec<u32>) -> Result<Self> {
        let count = pixels.len();
        ensure!(
            count == width * height,
            "{count} pixels for {width}x{height}"
        );
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Writes a PNG of 8 bits a channel.
    pub fn write(&self, path: &Path) -> Result<()> {
        let file = BufWriter::new(File::create(path)?);
        let mut encoder = png::Encoder::new(file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let bytes = self.pixels.iter().flat_map(|pixel| {
            let [_, red, green, blue] = pixel.to_be_bytes();
            [red, green, blue]
        });
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&bytes.collect::<Vec<u8>>())?;
        Ok(writer.finish()?)
    }

    /// Returns how many pixels are not those of another picture, and the first of them.
    pub fn differs(&self, other: &Self) -> Option<(usize, (usize, usize))> {
        if (self.width, self.height) != (other.width, other.height) {
            return Some((usize::MAX, (self.width, self.height)));
        }
        let mut pairs = self.pixels.iter().zip(&other.pixels);
        let first = pairs.position(|(one, two)| one != two)?;
        let rest = pairs.filter(|(one, two)| one != two).count();
        Some((1 + rest, (first % self.width, first / self.width)))
    }

    /// Returns how many colours there are.
    pub fn colours(&self) -> usize {
        self.pixels.iter().collect::<BTreeSet<_>>().len()
    }

    /// Returns whether every pixel is black.
    pub fn is_black(&self) -> bool {
        self.pixels.iter().all(|&pixel| pixel == BACKGROUND)
    }

    /// Returns whether every pixel has the same colour.
    pub fn is_blank(&self) -> bool {
        self.pixels.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// Makes pixels of a row black.
    pub fn blacken(&mut self, columns: Range<usize>, y: usize) {
        self.pixels[y * self.width..][columns].fill(BACKGROUND);
    }

    /// Returns the same in two colours: the commonest one is black.
    pub fn in_two_colours(&self) -> Self {
        let mut counts = HashMap::new();
        for pixel in &self.pixels {
            *counts.entry(*pixel).or_insert(0) += 1;
        }
        let ground = counts.into_iter().max_by_key(|&(_, count)| count);
        let ground = ground.map_or(BACKGROUND, |(pixel, _)| pixel);
        let of = |&pixel: &u32| match pixel == ground {
            true => BACKGROUND,
            false => COLOURS[0],
        };
        let pixels = self.pixels.iter().map(of).collect();
        Self {
            pixels,
            ..self.clone()
        }
    }

    /// Returns a pixel, as 0xRRGGBB.
    pub fn at(&self, x: usize, y: usize) -> u32 {
        self.pixels[y * self.width + x]
    }
}

/// A cell of the screen: the byte shown (see [`Font::lookalike`]), or `None` if it is no text.
pub type Cell = Option<u8>;

/// The text of a screen.
pub struct Screen {
    /// The font it was read with.
    pub font: Font,
    /// Cells in a row.
    pub columns: usize,
    /// Rows of cells, all of them of the same length.
    pub rows: Vec<Vec<Cell>>,
    /// The colour of each row of them, where all that is not black has the same.
    pub colours: Vec<Option<u32>>,
    /// Whether the strips that are too narrow for cells, at the right and at the bottom, are black.
    pub clean_edges: bool,
}

impl Screen {
    /// Reads `picture` with the font the kernel chooses for its size.
    pub fn read(picture: &Picture, fonts: &Fonts) -> Self {
        Self::read_with(picture, fonts.default_for(picture.width, picture.height))
    }

    /// Reads `picture` with `font`.
    pub fn read_with(picture: &Picture, font: &Font) -> Self {
        let (columns, rows) = (picture.width / font.width, picture.height / font.height);
        Self::read_cells(picture, font, columns, rows)
    }

    /// Reads `picture`, where there is no more text than what a part of it, of this size, has room
    /// for.
    pub fn read_part(picture: &Picture, fonts: &Fonts, (width, height): (usize, usize)) -> Self {
        let font = fonts.default_for(width, height);
        Self::read_cells(picture, font, width / font.width, height / font.height)
    }

    fn read_cells(picture: &Picture, font: &Font, columns: usize, rows: usize) -> Self {
        let read_row = |row| {
            (0..columns)
                .map(|column| read_cell(picture, font, column, row))
                .collect()
        };
        let (right, bottom) = (columns * font.width, rows * font.height);
        let clean_edges = (0..picture.height).all(|y| {
            let from = if y < bottom { right } else { 0 };
            (from..picture.width).all(|x| picture.at(x, y) == BACKGROUND)
        });
        let colour_of = |row| {
            let pixels = &picture.pixels[row * font.height * picture.width..];
            let mut foreground = pixels[..font.height * picture.width]
                .iter()
                .filter(|&&pixel| pixel != BACKGROUND);
            let colour = foreground.next()?;
            foreground.all(|pixel| pixel == colour).then_some(*colour)
        };
        Self {
            font: font.clone(),
            columns,
            rows: (0..rows).map(read_row).collect(),
            colours: (0..rows).map(colour_of).collect(),
            clean_edges,
        }
    }

    /// Returns the rows from the first to the last that is not blank.
    pub fn written(&self) -> &[Vec<Cell>] {
        let last = self.rows.iter().rposition(|row| !is_blank(row));
        let end = last.map_or(0, |last| last + 1);
        &self.rows[..end]
    }

    /// Returns the number of cells that are no text.
    pub fn unreadable(&self) -> usize {
        self.rows
            .iter()
            .flatten()
            .filter(|cell| cell.is_none())
            .count()
    }

    /// Returns whether this is a console, written from the first row on. QEMU's own "Display output
    /// is not active." has the same font and colours, but stands in the middle.
    pub fn is_console(&self) -> bool {
        let begun = self.rows.first().is_some_and(|row| !is_blank(row));
        begun && self.unreadable() == 0 && self.clean_edges
    }

    /// Returns the text, a line a row.
    pub fn text(&self) -> String {
        self.written().iter().map(|row| show(row) + "\n").collect()
    }
}

/// Returns a row for people: what is not ASCII as `\xNN`, what is no text as U+FFFD; no blanks at
/// the end.
pub fn show(row: &[Cell]) -> String {
    let text: String = row
        .iter()
        .map(|cell| match cell {
            Some(byte @ b' '..=b'~') => char::from(*byte).to_string(),
            Some(byte) => format!("\\x{byte:02x}"),
            None => char::REPLACEMENT_CHARACTER.to_string(),
        })
        .collect();
    text.trim_end().to_owned()
}

fn is_blank(row: &[Cell]) -> bool {
    row.iter().all(|&cell| cell == Some(b' '))
}

fn read_cell(picture: &Picture, font: &Font, column: usize, row: usize) -> Cell {
    let pitch = font.width.div_ceil(8);
    let mut glyph = vec![0u8; font.height * pitch];
    let mut foreground = None;
    for y in 0..font.height {
        for x in 0..font.width {
            match picture.at(column * font.width + x, row * font.height + y) {
                BACKGROUND => {}
                colour if *foreground.get_or_insert(colour) == colour => {
                    glyph[y * pitch + x / 8] |= 0x80 >> (x % 8);
                }
                _ => return None,
            }
        }
    }
    if foreground.is_some_and(|colour| !COLOURS.contains(&colour)) {
        return None;
    }
    font.byte_of(&glyph)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::font::tests::font;

    /// Returns a screen of 10 x 3 cells and edges of 3 and 2 pixels, with `lines` on it.
    pub(crate) fn paint(lines: &[&[u8]]) -> Picture {
        paint_on(10, lines)
    }

    /// Reads a screen of 30 x 3 cells with `lines` on it.
    pub(crate) fn read_wide(lines: &[&[u8]]) -> Screen {
        read(&paint_on(30, lines))
    }

    fn paint_on(columns: usize, lines: &[&[u8]]) -> Picture {
        let font = font();
        let (width, height) = (columns * font.width + 3, 3 * font.height + 2);
        let mut picture = Picture {
            width,
            height,
            pixels: vec![BACKGROUND; width * height],
        };
        for (row, line) in lines.iter().enumerate() {
            for (column, &byte) in line.iter().enumerate() {
                for (y, bits) in font.glyph(byte).iter().enumerate() {
                    for x in (0..8).filter(|x| bits & (0x80 >> x) != 0) {
                        picture.pixels[(row * font.height + y) * width + column * 8 + x] =
                            FOREGROUND;
                    }
                }
            }
        }
        picture
    }

    pub(crate) fn read(picture: &Picture) -> Screen {
        Screen::read_with(picture, &font())
    }

    #[test]
    fn reads_what_was_painted() {
        let screen = read(&paint(&[b"Booting", b"", b"\x80 ~ end"]));
        assert_eq!((screen.columns, screen.rows.len()), (10, 3));
        assert_eq!(screen.text(), "Booting\n\n\\x80 ~ end\n");
        assert!(screen.is_console());
    }

    #[test]
    fn a_screen_without_a_first_row_is_no_console() {
        assert!(paint(&[]).is_blank());
        assert!(!read(&paint(&[])).is_console());
        assert!(!read(&paint(&[b"", b"inactive"])).is_console());
    }

    #[test]
    fn what_was_written_can_be_read() {
        let picture = paint(&[b"kept"]);
        let path = std::env::temp_dir().join(format!("picture-{}.png", std::process::id()));
        picture.write(&path).unwrap();
        let read = Picture::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(picture.differs(&read).is_none());
        assert!(Picture::of(2, 2, vec![0; 3]).is_err());
    }

    #[test]
    fn every_single_wrong_pixel_is_noticed() {
        let good = paint(&[b"0123456789", b"abcdefghij"]);
        let text = read(&good).text();
        for at in 0..good.pixels.len() {
            for colour in [FOREGROUND, BACKGROUND, 0x00ab_aaaa, 0x0000_0001] {
                let mut bad = good.clone();
                if std::mem::replace(&mut bad.pixels[at], colour) != colour {
                    let screen = read(&bad);
                    assert!(
                        !screen.clean_edges || screen.text() != text,
                        "pixel {at} as {colour:06x}"
                    );
                }
            }
        }
    }

    #[test]
    fn text_moved_by_a_pixel_is_unreadable() {
        let mut picture = paint(&[b"moved"]);
        picture.pixels.rotate_right(1);
        assert!(read(&picture).unreadable() > 0);
    }
}
