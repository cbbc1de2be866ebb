// SPDX-License-Identifier: GPL-2.0

//! Bytes for a terminal: every attribute, movement and mode that Linux' VT knows, and long random
//! mixtures of them from a seed.

/// A stream of bytes, and what it is about.
pub struct Stream {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Columns and rows of the screens that the streams are written for.
const COLS: u64 = 80;
const ROWS: u64 = 25;

/// How many random streams there are.
const RANDOM: u64 = 100;

/// Returns all streams, in an order that does not change.
pub fn all() -> Vec<Stream> {
    let mut streams = Vec::new();
    let mut add = |name: String, text: String| {
        streams.push(Stream {
            name,
            bytes: text.into_bytes(),
        });
    };
    attributes(&mut add);
    movements(&mut add);
    characters(&mut add);
    // What a font of 512 glyphs that the tests load has beyond 256.
    let beyond = (0xe020..0xe07f)
        .filter_map(char::from_u32)
        .collect::<String>();
    add(
        "private use E000".into(),
        format!("{beyond}\x1b[1;37;41m{beyond}\x1b[7m{beyond}"),
    );
    // Not UTF-8: 8-bit controls, and bytes that are no character.
    streams.push(Stream {
        name: "8-bit controls".into(),
        bytes: b"\x1b%@a\x9b5Cb\x9b31mred\x84next\x85line\x8dback\x9b0m\xff\xfe\x1b%G\xc3(\xff."
            .to_vec(),
    });
    streams.push(Stream {
        name: "bytes 0xa0 to 0xff without UTF-8".into(),
        bytes: [
            b"\x1b%@".to_vec(),
            (0xa0..=0xff).collect(),
            b"\x1b%G".to_vec(),
        ]
        .concat(),
    });
    for seed in 0..RANDOM {
        streams.push(Stream {
            name: format!("random {seed}"),
            bytes: random(seed, 4000),
        });
    }
    streams
}

fn attributes(add: &mut impl FnMut(String, String)) {
    // Every SGR number alone, and on both of two colours.
    for sgr in (0..=9).chain(21..=29).chain(30..=49).chain(90..=107) {
        let mixed = format!("\x1b[33;44m\x1b[{sgr}mmixed\x1b[0m");
        add(
            format!("SGR {sgr}"),
            format!(
                "plain \x1b[{sgr}mthis\x1b[0m that\r\n{mixed} \x1b[1;{sgr}mbold\x1b[0m\x1b[{sgr}m"
            ),
        );
    }
    for (name, sgr) in [("256 colours", "38;5"), ("256 backgrounds", "48;5")] {
        let all = (0..256).map(|colour| format!("\x1b[{sgr};{colour}m#"));
        add(name.into(), all.collect());
    }
    let rgb = (0..64).map(|i| format!("\x1b[38;2;{};{};{}m#", i * 4, 255 - i * 4, i % 16 * 16));
    add("true colours".into(), rgb.collect());
    let table = (0..128).map(|i| {
        format!(
            "\x1b[0;{}{};{}m {i:3} {}",
            if i & 64 != 0 { "1;" } else { "" },
            30 + i % 8,
            40 + i / 8 % 8,
            if i % 16 == 15 { "\x1b[0m\r\n" } else { "" }
        )
    });
    add("foregrounds on backgrounds".into(), table.collect());
    add(
        "reverse screen".into(),
        "one \x1b[7mtwo\x1b[0m\x1b[?5h three \x1b[31mfour\x1b[0m".into(),
    );
    add(
        "palette".into(),
        "\x1b]P1123456\x1b]P7fedcba\x1b]P0203040\x1b[H\x1b[2J\x1b[31mone \x1b[0mtwo\x1b]R\x1b[H\x1b[2Jthree".into(),
    );
    for shape in 0..9 {
        add(
            format!("cursor shape {shape}"),
            format!("under it\r\x1b[3C\x1b[?{shape}c"),
        );
    }
    add(
        "software cursor".into(),
        "under it\r\x1b[3C\x1b[?17;0;64c".into(),
    );
    add("no cursor".into(), "nothing here\x1b[?25l".into());
}

/// Numbered lines for the whole screen.
fn page() -> String {
    (1..=ROWS)
        .map(|row| {
            let line = format!(
                "{row:02} {}",
                "abcdefghijklmnopqrstuvwxyz0123456789 ".repeat(3)
            );
            format!("\x1b[{row}H\x1b[3{}m{}", row % 8, &line[..COLS as usize])
        })
        .collect::<String>()
        + "\x1b[0m"
}

fn movements(add: &mut impl FnMut(String, String)) {
    let page = page();
    // On a full page, from its middle.
    for (name, bytes) in [
        ("ED 0", "\x1b[12;40H\x1b[J"),
        ("ED 1", "\x1b[12;40H\x1b[1J"),
        ("ED 2", "\x1b[12;40H\x1b[2J"),
        ("ED 3", "\x1b[12;40H\x1b[3J"),
        ("ED coloured", "\x1b[12;40H\x1b[44m\x1b[J"),
        ("EL 0", "\x1b[12;40H\x1b[K"),
        ("EL 1", "\x1b[12;40H\x1b[1K"),
        ("EL 2 coloured", "\x1b[12;40H\x1b[42m\x1b[2K"),
        ("ECH", "\x1b[12;40H\x1b[10X"),
        ("ECH coloured", "\x1b[12;40H\x1b[45m\x1b[99X"),
        ("ICH", "\x1b[12;40H\x1b[5@"),
        ("DCH", "\x1b[12;40H\x1b[5P"),
        ("DCH more than there are", "\x1b[12;40H\x1b[99P"),
        ("IL", "\x1b[12;40H\x1b[3L"),
        ("DL", "\x1b[12;40H\x1b[3M"),
        ("DL more than there are", "\x1b[12;40H\x1b[99M"),
        ("insert mode", "\x1b[12;40H\x1b[4hINSERTED\x1b[4l"),
        ("region up", "\x1b[5;20r\x1b[20H\n\n\nlast"),
        ("region down", "\x1b[5;20r\x1b[5H\x1bM\x1bM\x1bMfirst"),
        ("region of one column of lines", "\x1b[5;6r\x1b[6H\n\n\n\n"),
        ("region, below it", "\x1b[5;20r\x1b[25H\n\nbelow"),
        (
            "region with IL and DL",
            "\x1b[5;20r\x1b[10H\x1b[4L\x1b[12H\x1b[2M",
        ),
        (
            "region and origin mode",
            "\x1b[5;20r\x1b[?6h\x1b[1;1Htop\x1b[99;1Hbottom",
        ),
        ("region coloured", "\x1b[5;20r\x1b[20H\x1b[41m\n\n"),
        ("reverse index at the top", "\x1b[H\x1bM\x1bM\x1bMtop"),
        (
            "a page more",
            "\x1b[25H\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\nend",
        ),
        ("IND and NEL", "\x1b[24H1\x1bD2\x1bE3\x1bD4\x1bE5"),
        (
            "alternate screen",
            "\x1b[?1049h\x1b[H\x1b[2Jalternate\x1b[?1049l",
        ),
        ("alternate screen stays", "\x1b[?1049h\x1b[Halternate"),
        ("DECALN", "\x1b#8"),
        (
            "saved cursor",
            "\x1b[5;5H\x1b7\x1b[31m\x1b[20;20H\x1b8here\x1b[s\x1b[H\x1b[uthere",
        ),
    ] {
        add(name.into(), format!("{page}{bytes}"));
    }
    for (name, bytes) in [
        (
            "CUU, CUD, CUF, CUB",
            "\x1b[10;10Ha\x1b[3Ab\x1b[2Bc\x1b[5Cd\x1b[9De",
        ),
        (
            "CNL, CPL, CHA, VPA",
            "\x1b[10;10Ha\x1b[2Eb\x1b[Fc\x1b[30Gd\x1b[20de",
        ),
        ("HPR, VPR, HPA", "\x1b[5aa\x1b[5eb\x1b[30`c"),
        (
            "beyond all edges",
            "\x1b[99;99Ha\x1b[99A\x1b[99Db\x1b[99B\x1b[99Cc",
        ),
        (
            "tabs",
            "a\tb\tc\td\r\n\x1b[3g\ta\r\n\x1b[5G\x1bH\x1b[20G\x1bH\r\tx\ty\tz",
        ),
        ("back tab", "\t\t\tx\x1b[2Zy"),
        ("backspace", "abc\x08\x08X\r\n\x08\x08y"),
        ("carriage return", "abcdef\rX"),
        ("vertical tab and form feed", "a\x0bb\x0cc"),
        ("rubout", "abc\x7fd\x7f"),
    ] {
        add(name.into(), bytes.into());
    }
    let wide = "0123456789".repeat(8);
    for (name, bytes) in [
        ("a full row", String::new()),
        ("a full row and one", "x".into()),
        ("a full row and a newline", "\r\nx".into()),
        ("a full row and a return", "\rx".into()),
        ("a full row and a backspace", "\x08x".into()),
        ("a full row and a tab", "\tx".into()),
        ("a full row and an erasure", "\x1b[Kx".into()),
        ("no wrap", "\x1b[?7lxyz\x1b[?7h".into()),
        ("a full page", wide.repeat(ROWS as usize)),
    ] {
        add(name.into(), format!("\x1b[2H{wide}{bytes}"));
    }
}

fn characters(add: &mut impl FnMut(String, String)) {
    let range = |from: u32, to: u32| (from..to).filter_map(char::from_u32).collect::<String>();
    for (name, text) in [
        ("ASCII", range(0x20, 0x7f)),
        ("Latin-1", range(0xa0, 0x100)),
        ("Latin Extended", range(0x100, 0x250)),
        ("Greek", range(0x370, 0x400)),
        ("Cyrillic", range(0x400, 0x500)),
        ("punctuation", range(0x2010, 0x2060)),
        ("arrows", range(0x2190, 0x2200)),
        ("mathematics", range(0x2200, 0x2300)),
        ("box drawing", range(0x2500, 0x2580)),
        ("blocks and shapes", range(0x2580, 0x2600)),
        ("dingbats", range(0x2600, 0x2700)),
        ("wide characters", "漢字かな한글 end".into()),
        (
            "combining characters",
            "e\u{301}a\u{308}o\u{302} end".into(),
        ),
        ("zero width", "a\u{200b}b\u{200d}c\u{feff}d".into()),
        ("emoji", "😀🎉🚀 end".into()),
        ("private use", range(0xf000, 0xf100)),
        ("no characters", "a\u{fffe}b\u{ffff}c\u{fffd}d".into()),
    ] {
        add(name.into(), text);
    }
    for (name, bytes) in [
        (
            "DEC graphics",
            "\x1b(0`abcdefghijklmnopqrstuvwxyz{|}~\x1b(B abc",
        ),
        ("DEC graphics by SO", "\x1b)0abc\x0eqqqxxx\x0fabc"),
        (
            "a frame",
            "\x1b(0lqqqqk\r\nx\x1b(B hi \x1b(0x\r\nmqqqqj\x1b(B",
        ),
        ("code page 437", "\x1b(U\x1b%@\u{80}\u{90}\x1b%G\x1b(B"),
        (
            "control characters shown",
            "\x1b[3h\x01\x02\x03\x04\x1b[3l\x01end",
        ),
        ("repeated", "x\x1b[5by"),
        (
            "strings that are not text",
            "a\x1b]0;title\x07b\x1bPq#0\x1b\\c\x1b_x\x1b\\d\x1b^y\x1b\\e",
        ),
        (
            "sequences that are none",
            "a\x1b[?99zb\x1b[1;2;3;4;5yc\x1b[>cd\x1b[!pe\x1b[ qf",
        ),
        ("cancelled", "a\x1b[31\x18b\x1b[3\x1a1mc"),
    ] {
        add(name.into(), bytes.into());
    }
}

/// Numbers that look random and are always the same (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// At least `length` bytes of text and control sequences.
fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut text = String::new();
    while text.len() < length {
        let (row, col) = (1 + dice.below(ROWS + 2), 1 + dice.below(COLS + 2));
        let few = dice.below(6);
        match dice.below(24) {
            0..8 => {
                for _ in 0..dice.below(90) {
                    text.push(char::from(b' ' + dice.below(95) as u8));
                }
            }
            8 => {
                text += ["é", "ß", "─", "│", "█", "→", "Ж", "λ", "漢", "\u{301}"]
                    [dice.below(10) as usize]
            }
            9 | 10 => text += "\r\n",
            11 => text += ["\t", "\r", "\x08", "\n", "\x0b"][dice.below(5) as usize],
            12 => text += &format!("\x1b[{row};{col}H"),
            13 => {
                text += &format!(
                    "\x1b[{few}{}",
                    ["A", "B", "C", "D", "E", "F"][dice.below(6) as usize]
                )
            }
            14 | 15 => {
                let sgr = [0, 1, 2, 3, 4, 5, 7, 22, 24, 25, 27, 30, 39, 40, 49, 90, 100]
                    [dice.below(17) as usize];
                let base = matches!(sgr, 30 | 40 | 90 | 100);
                text += &format!("\x1b[{}m", sgr + if base { dice.below(8) } else { 0 });
            }
            16 => text += &format!("\x1b[{}J", dice.below(3)),
            17 => text += &format!("\x1b[{}K", dice.below(3)),
            18 => {
                text += &format!(
                    "\x1b[{few}{}",
                    ["L", "M", "@", "P", "X"][dice.below(5) as usize]
                )
            }
            19 => {
                let top = 1 + dice.below(ROWS - 1);
                let bottom = top + 1 + dice.below(ROWS - top);
                text += &format!("\x1b[{top};{bottom}r\x1b[{row};{col}H");
            }
            20 => text += "\x1b[r",
            21 => text += ["\x1bM", "\x1bD", "\x1bE"][dice.below(3) as usize],
            22 => {
                let mode = ["4", "?5", "?6", "?7", "?25", "20"][dice.below(6) as usize];
                text += &format!("\x1b[{mode}{}", ["h", "l"][dice.below(2) as usize]);
            }
            _ => {
                text +=
                    ["\x1b7", "\x1b8", "\x1b(0", "\x1b(B", "\x0e", "\x0f"][dice.below(6) as usize]
            }
        }
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_no_two_have_one_name() {
        let streams = all();
        assert!(streams.len() >= 200);
        let mut names: Vec<_> = streams.iter().map(|stream| &stream.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), streams.len());
    }

    #[test]
    fn random_streams_are_always_the_same() {
        assert_eq!(random(1, 500), random(1, 500));
        assert_ne!(random(1, 500), random(2, 500));
    }
}
