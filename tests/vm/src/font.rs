// SPDX-License-Identifier: GPL-2.0

//! The kernel's console fonts, read from its own source (`lib/fonts/font_*.c`).

use anyhow::{ensure, Context, Result};
use std::{fs, path::Path};

/// A console font: 256 glyphs, one for each byte.
#[derive(Clone)]
pub struct Font {
    /// A glyph's width in pixels.
    pub width: usize,
    /// A glyph's height in pixels.
    pub height: usize,
    /// `struct font_desc`'s `pref`: which font wins where several would do.
    pref: i64,
    /// All glyphs one after the other, row by row, the leftmost pixel in the highest bit.
    data: Vec<u8>,
}

impl Font {
    fn read(kernel: &Path, name: &str, width: usize, height: usize, pref: i64) -> Result<Self> {
        let path = kernel.join("lib/fonts").join(name);
        let source = fs::read_to_string(&path)
            .with_context(|| format!("no font {}: is --fonts a kernel source?", path.display()))?;
        let data = hex_bytes(&source);
        let size = 256 * height * width.div_ceil(8);
        ensure!(
            data.len() == size,
            "{}: {} bytes, not {size}",
            path.display(),
            data.len()
        );
        Ok(Self {
            width,
            height,
            pref,
            data,
        })
    }

    /// Returns the pixels of `byte`'s glyph, row by row, packed to bytes.
    pub fn glyph(&self, byte: u8) -> &[u8] {
        let size = self.height * self.width.div_ceil(8);
        &self.data[usize::from(byte) * size..][..size]
    }

    /// Returns a font file (PSF 1) of 512 glyphs: this font's, and the same in black on white,
    /// which stand for U+E000 and what follows; with empty rows below up to `height`. The font is 8
    /// px wide.
    pub fn psf(&self, height: usize) -> Vec<u8> {
        const WITH_512: u8 = 1;
        const WITH_TABLE: u8 = 2;
        let mut file = vec![0x36, 0x04, WITH_512 | WITH_TABLE, height as u8];
        for glyph in 0..512u32 {
            let rows = self.glyph(glyph as u8).iter().copied();
            let rows = rows.chain(std::iter::repeat(0)).take(height);
            file.extend(rows.map(|row| if glyph > 255 { !row } else { row }));
        }
        for glyph in 0..512u16 {
            let character = match glyph {
                0x20..0x7f => Some(glyph),
                256.. => Some(0xe000 + glyph - 256),
                _ => None,
            };
            for word in character.into_iter().chain([0xffff]) {
                file.extend(word.to_le_bytes());
            }
        }
        file
    }

    /// Returns a font file (BDF 2.1) for Xorg, with the name [`Font::BDF`]: the printable ASCII
    /// glyphs. The font is 8 px wide.
    pub fn bdf(&self) -> String {
        let (name, height) = (Self::BDF, self.height);
        // All but the last four rows are above the baseline.
        let descent = height / 4;
        let ascent = height - descent;
        let characters = b' '..=b'~';
        let count = characters.len();
        let mut file = format!(
            "STARTFONT 2.1\nFONT {name}\nSIZE {height} 75 75\n\
            FONTBOUNDINGBOX 8 {height} 0 -{descent}\nSTARTPROPERTIES 3\nSPACING \"C\"\n\
            FONT_ASCENT {ascent}\nFONT_DESCENT {descent}\nENDPROPERTIES\nCHARS {count}\n"
        );
        for byte in characters {
            file += &format!(
                "STARTCHAR {byte}\nENCODING {byte}\nSWIDTH 500 0\nDWIDTH 8 0\n\
                BBX 8 {height} 0 -{descent}\nBITMAP\n"
            );
            for row in self.glyph(byte) {
                file += &format!("{row:02X}\n");
            }
            file += "ENDCHAR\n";
        }
        file + "ENDFONT\n"
    }

    /// The name of [`Font::bdf`].
    pub const BDF: &str = "kernel";

    /// Returns the byte that stands for all that look like `byte`; a printable ASCII one where
    /// there is any.
    pub fn lookalike(&self, byte: u8) -> u8 {
        self.byte_of(self.glyph(byte)).unwrap_or(byte)
    }

    /// Returns the byte whose glyph is `glyph`; a printable ASCII one where several look the same.
    pub fn byte_of(&self, glyph: &[u8]) -> Option<u8> {
        (b' '..=b'~')
            .chain(0..=u8::MAX)
            .find(|&byte| self.glyph(byte) == glyph)
    }
}

/// The fonts the guest has.
pub struct Fonts([Font; 2]);

impl Fonts {
    /// No fonts, of a guest that is not started.
    pub const fn none() -> Self {
        const NONE: Font = Font {
            width: 8,
            height: 16,
            pref: 0,
            data: Vec::new(),
        };
        Self([NONE, NONE])
    }

    /// Reads the fonts that `samples/virtgpu_bridge.config` enables, in the order of `fonts.c`.
    pub fn read(kernel: &Path) -> Result<Self> {
        Ok(Self([
            Font::read(kernel, "font_8x16.c", 8, 16, 0)?,
            Font::read(kernel, "font_ter16x32.c", 16, 32, -1)?,
        ]))
    }

    /// Returns the smallest one.
    pub fn first(&self) -> &Font {
        &self.0[0]
    }

    /// Returns what `get_default_font()` chooses for a screen of that many pixels.
    pub fn default_for(&self, width: usize, height: usize) -> &Font {
        let score = |font: &Font| {
            let cells = (width / font.width * (height / font.height) / 1000) as i64;
            font.pref + i64::from((height < 400) == (font.height <= 8)) * 1000 - (cells - 20).max(0)
        };
        let [first, second] = &self.0;
        if score(second) > score(first) {
            second
        } else {
            first
        }
    }
}

/// Returns all `0x…` numbers outside comments from the font's data on.
fn hex_bytes(source: &str) -> Vec<u8> {
    let data = source.find("fontdata_").map_or("", |at| &source[at..]);
    let mut parts = data.split("/*");
    let code = parts
        .next()
        .into_iter()
        .chain(parts.filter_map(|part| Some(part.split_once("*/")?.1)));
    code.flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric()))
        .filter_map(|word| u8::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns a font whose glyphs are told apart by their rows, save 0, 0x20 and 0xff, which are
    /// blank.
    pub(crate) fn font() -> Font {
        let mut data: Vec<u8> = (0..=u8::MAX)
            .flat_map(|byte| [byte, !byte, byte ^ 0x0f, 0x81])
            .collect();
        for blank in [0, 0x20, 0xff] {
            data[blank * 4..][..4].fill(0);
        }
        Font {
            width: 8,
            height: 4,
            pref: 0,
            data,
        }
    }

    #[test]
    fn comments_hold_no_glyphs() {
        let source = "static const struct font_data fontdata_8x16 = {\n{ 0, 0, MAX, 0 }, {\n\
            /* 47 0x2f '/' */\n0x06, /* 00000110 */\n0x0c, /* 42 0x2a '*' */ 0xff,\n} };\n";
        assert_eq!(hex_bytes(source), [0x06, 0x0c, 0xff]);
    }

    #[test]
    fn ascii_wins_among_lookalikes() {
        assert_eq!(font().lookalike(0), b' ');
        assert_eq!(font().lookalike(0xff), b' ');
        assert_eq!(font().lookalike(0x80), 0x80);
    }

    #[test]
    fn big_screens_get_the_big_font() {
        let fonts = Fonts([font_sized(8, 16, 0), font_sized(16, 32, -1)]);
        for (width, height, expected) in [
            (640, 480, 8),
            (1280, 800, 8),
            (1920, 1080, 8),
            (2560, 1600, 16),
            (3840, 2160, 16),
        ] {
            assert_eq!(
                fonts.default_for(width, height).width,
                expected,
                "{width}x{height}"
            );
        }
    }

    fn font_sized(width: usize, height: usize, pref: i64) -> Font {
        Font {
            width,
            height,
            pref,
            data: Vec::new(),
        }
    }
}
