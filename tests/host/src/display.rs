// SPDX-License-Identifier: GPL-2.0

//! From bytes of a log to the picture that a person sees, through every room and over somebody
//! else's ring, on devices of both readings of a transfer's `offset`.

use std::{
    cell::RefCell,
    rc::Rc, //
};

use proptest::prelude::*;
use zerocopy::FromZeros;

use crate::{
    backend::{
        connect_to,
        Order, //
    },
    cases,
    gpu::{
        protocol::{
            GetDisplayInfo,
            Mode, //
        },
        Control,
        GpuError,
        Origin, //
    },
    guest::{
        Guest,
        Nobody, //
    },
    host::{
        Host,
        Pictures,
        Ways, //
    },
    qemu::Qemu,
    rutabaga::Crosvm,
    scanout::{
        display::{
            Display,
            DisplayError,
            RetainedScanouts,
            RESOURCE_IDS, //
        },
        layout::usable, //
    },
    text::{
        Cell,
        Cursor,
        Font,
        Palette,
        Rows,
        Screen,
        Scroll,
        ATTRIBUTE, //
    },
    used_ring::{
        deeds,
        Liar, //
    },
    virtio::{
        queue::{
            QueueError,
            QUEUE_BYTES, //
        },
        Features,
        VirtQueue, //
    }, //
};

/// What the VT's default colours are on the screen: light grey on black.
const COLOURS: (u32, u32) = (0xaa_aaaa, 0);

/// A font of noise: no two glyphs, and no two rows of one, look alike. The blank is blank.
pub(crate) struct Noise {
    width: u32,
    height: u32,
    data: Vec<u8>,
}

impl Noise {
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let pitch = width.div_ceil(8);
        let glyph_bytes = (pitch * height) as usize;
        let mut seed = 1u32;
        let mut data: Vec<u8> = (0..256 * glyph_bytes)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        data[32 * glyph_bytes..33 * glyph_bytes].fill(0);
        Self {
            width,
            height,
            data,
        }
    }

    /// Whether a glyph has ink at (x, y).
    fn ink(&self, glyph: u8, x: u32, y: u32) -> bool {
        let pitch = self.width.div_ceil(8);
        let at = (u32::from(glyph) * self.height + y) * pitch + x / 8;
        self.data[at as usize] & (0x80 >> (x % 8)) != 0
    }

    /// The same as the driver has it.
    pub(crate) fn font(&self) -> Option<Font<'_>> {
        Font::new(self.width, self.height, 256, &self.data).ok()
    }

    /// The picture of a text, as wide and high as `mode`.
    pub(crate) fn picture(&self, mode: (u32, u32), text: &[Vec<u8>]) -> Vec<u32> {
        let pixel = |x: u32, y: u32| {
            let row = text.get((y / self.height) as usize);
            let glyph = row.and_then(|row| row.get((x / self.width) as usize));
            match glyph {
                Some(&glyph) if self.ink(glyph, x % self.width, y % self.height) => COLOURS.0,
                _ => COLOURS.1,
            }
        };
        (0..mode.1)
            .flat_map(|y| (0..mode.0).map(move |x| pixel(x, y)))
            .collect()
    }
}

/// A screen of characters that does what a terminal does, the slow and simple way.
pub(crate) struct Terminal {
    cols: usize,
    rows: usize,
    text: Vec<Vec<u8>>,
    col: usize,
    /// A newline that waits for what comes next.
    due: bool,
}

impl Terminal {
    pub(crate) fn new(cols: usize, rows: usize) -> Self {
        Self {
            cols,
            rows,
            text: vec![vec![b' '; cols]],
            col: 0,
            due: false,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if std::mem::take(&mut self.due) {
                self.newline();
            }
            match byte {
                b'\n' => self.due = true,
                b'\r' => self.col = 0,
                // At the last column there is nowhere to go; after it, the wrap is still due.
                b'\t' if self.col < self.cols => {
                    self.col = (self.col / 8 * 8 + 8).min(self.cols - 1);
                }
                b'\t' => {}
                8 => self.col = self.col.min(self.cols - 1).saturating_sub(1),
                glyph => {
                    if self.col == self.cols {
                        self.newline();
                    }
                    let row = self.text.len() - 1;
                    self.text[row][self.col] = glyph;
                    self.col += 1;
                }
            }
        }
    }

    fn newline(&mut self) {
        self.col = 0;
        self.text.push(vec![b' '; self.cols]);
        if self.text.len() > self.rows {
            self.text.remove(0);
        }
    }

    /// The rows of the screen from the top; those below the last one are blank.
    pub(crate) fn text(&self) -> &[Vec<u8>] {
        &self.text
    }
}

/// What a screen is made of.
#[derive(Clone, Copy, Debug)]
struct Setting {
    mode: (u32, u32),
    /// More scanouts, those that have a size.
    others: [(u32, u32); 3],
    glyph: (u32, u32),
    scroll: Scroll,
    band: usize,
    cells: usize,
    queue: u16,
    features: Features,
    order: Order,
    /// Something else is shown until there is text.
    keeps: bool,
}

const SETTING: Setting = Setting {
    mode: (160, 96),
    others: [(0, 0); 3],
    glyph: (8, 16),
    scroll: Scroll::Pan,
    band: 96 << 10,
    cells: 1 << 16,
    queue: 64,
    features: Features::EVENT_IDX,
    order: Order::First,
    keeps: false,
};

/// A display and all that is behind it.
struct Rig<P> {
    guest: Guest,
    host: Rc<RefCell<Host<P>>>,
    display: Display<'static, Guest>,
    screen: Screen<'static>,
    terminal: Terminal,
    noise: &'static Noise,
    setting: Setting,
    keeps: bool,
}

impl<P: Pictures + 'static> Rig<P> {
    /// `None` where there is no grid for such a setting.
    fn new(setting: Setting, pictures: P) -> Option<Self> {
        let modes: Vec<_> = [setting.mode].into_iter().chain(setting.others).collect();
        let host = Host::new(pictures, &modes);
        Self::on(setting, Rc::new(RefCell::new(host)), setting.keeps)
    }

    /// On the device of another one, whose display has ended.
    fn on(setting: Setting, host: Rc<RefCell<Host<P>>>, keeps: bool) -> Option<Self> {
        let guest = Guest::new(QUEUE_BYTES + setting.band);
        let Setting {
            queue,
            features,
            order,
            ..
        } = setting;
        let ring = connect_to(&guest, queue, features, order, &host);
        let mut control = Control::new(ring);
        let info = control.call(&GetDisplayInfo::new(), None).unwrap();
        let heads = info.enabled().collect::<Vec<_>>().leak();
        let glyph = setting.glyph;
        let noise: &Noise = Box::leak(Box::new(Noise::new(glyph.0, glyph.1)));
        let font = Font::new(glyph.0, glyph.1, 256, &noise.data).unwrap();
        let band = guest.words(QUEUE_BYTES, setting.band / 4);
        let (scroll, cells) = (setting.scroll, setting.cells);
        let resource = host
            .borrow()
            .resources()
            .last()
            .map_or(2, |last| (last + 2 * RESOURCE_IDS) & !1);
        let begin = (resource, keeps);
        let display = match Display::start(control, heads, font, scroll, begin, cells, band) {
            Err(DisplayError::Grid(_)) => return None,
            display => display.unwrap(),
        };
        let grid = *display.grid();
        let cells = vec![Cell::blank(8); grid.cols() * grid.rows()].leak();
        Some(Self {
            guest,
            host,
            display,
            screen: Screen::new(cells, Box::leak(Box::new(Rows::new_zeroed())), grid, 8).unwrap(),
            terminal: Terminal::new(grid.cols(), grid.rows()),
            noise,
            setting,
            keeps,
        })
    }

    /// What the driver does when scanouts came, went, or have another size: it adopts its own
    /// device.
    fn follow(mut self) -> Self {
        let retained = self.display.retain_scanouts();
        self.display.drain().unwrap();
        let mut rig = Self::on(self.setting, self.host, true).unwrap();
        rig.display.adopt_scanouts(retained);
        rig
    }

    fn write(&mut self, bytes: &[u8]) {
        self.screen.write(bytes, ATTRIBUTE);
        self.screen.show(&mut self.display);
        self.terminal.write(bytes);
    }

    /// Lets the device finish, and compares what it shows.
    fn check(&mut self) {
        self.display.drain().unwrap();
        let host = self.host.borrow();
        assert_eq!(host.complaints, [""; 0]);
        assert_eq!(self.display.error_responses(), (0, None));
        for head in self.display.scanouts() {
            let expected = self.expected(head);
            let shown = host.shown(head.scanout as usize);
            let wrong = shown
                .iter()
                .zip(&expected)
                .position(|(is, should)| is != should);
            if let Some(at) = wrong {
                let (x, y) = (at as u32 % head.width, at as u32 / head.width);
                panic!(
                    "pixel ({x}, {y}) of {head:?} is {:#x}, not {:#x}",
                    shown[at], expected[at]
                );
            }
            let nothing_yet = self.keeps && expected.iter().all(|&pixel| pixel == 0);
            if !(nothing_yet && shown.is_empty()) {
                assert_eq!(shown.len(), expected.len());
            }
        }
    }
}

impl<P: Pictures + 'static> Rig<P> {
    /// Fills the first columns of a row with a glyph, and shows it. Returns how often that waited
    /// for the device.
    fn fill(&mut self, row: usize, columns: usize, glyph: u8, attribute: u8) -> usize {
        let turns = self.guest.turns();
        let cell = Cell::new(glyph, attribute, 8);
        self.screen.put(row, 0, vec![cell; columns]);
        self.screen.show(&mut self.display);
        self.guest.turns() - turns
    }

    /// Lets the device finish, and compares what it shows with the cells of every row.
    fn check_cells(&mut self, cells: &[Vec<Cell>]) {
        self.display.drain().unwrap();
        let host = self.host.borrow();
        assert_eq!(host.complaints, [""; 0]);
        let (width, glyph) = (self.setting.mode.0, self.setting.glyph);
        for (at, &seen) in (0..).zip(host.shown(0)) {
            let (x, y) = (at % width, at / width);
            let row = cells.get((y / glyph.1) as usize);
            let cell = row.and_then(|row| row.get((x / glyph.0) as usize));
            let expected = cell.map_or(0, |cell| {
                let (ink, paper) = Palette::DEFAULT.colours(cell.attribute(8));
                let glyph_of = cell.glyph(8) as u8;
                match self.noise.ink(glyph_of, x % glyph.0, y % glyph.1) {
                    true => ink,
                    false => paper,
                }
            });
            assert_eq!(seen, expected, "({x}, {y})");
        }
    }
}

impl<P> Rig<P> {
    /// The picture that should be seen on a scanout.
    fn expected(&self, head: &Mode) -> Vec<u32> {
        let text = self.terminal.text();
        self.noise.picture((head.width, head.height), text)
    }

    /// How many tiles a row has.
    fn tiles(&self) -> usize {
        self.display.grid().band().tiles()
    }
}

/// Writes a log to devices of all readings of `offset` and looks at their screens at the end, or
/// after `each` write. Returns whether there was a grid for it.
fn log(setting: Setting, writes: &[Vec<u8>], each: bool) -> bool {
    fn on<P: Pictures + 'static>(
        setting: Setting,
        pictures: P,
        writes: &[Vec<u8>],
        each: bool,
    ) -> bool {
        let Some(mut rig) = Rig::new(setting, pictures) else {
            return false;
        };
        for bytes in writes {
            rig.write(bytes);
            if each {
                rig.check();
            }
        }
        rig.check();
        true
    }
    on(setting, Qemu::default(), writes, each)
        && on(setting, Crosvm::new(), writes, each)
        && (setting.scroll == Scroll::Pan || on(setting, Qemu::without_offset(), writes, each))
}

/// Something like a log: words, lines, and now and then anything at all.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-z0-9:.]{1,30}\n".prop_map(String::into_bytes),
        2 => "[ -~]{0,90}".prop_map(String::into_bytes),
        1 => "[\r\t\n\x08 a]{0,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

fn setting() -> impl Strategy<Value = Setting> {
    (
        (
            (16u32..200, 32u32..130),
            prop::sample::select(vec![0, 0, 0, 1, 2, 3]),
            prop::array::uniform3((16u32..200, 32u32..130)),
        ),
        prop::sample::select(vec![(8u32, 16u32), (6, 10), (5, 7), (12, 22), (16, 32)]),
        prop::sample::select(vec![Scroll::Pan, Scroll::Repaint]),
        prop::sample::select(vec![12usize << 10, 20 << 10, 96 << 10]),
        prop::sample::select(vec![4u16, 16, 64]),
        prop::sample::select(vec![Features::empty(), Features::EVENT_IDX]),
        prop::sample::select(vec![24usize, 1 << 16]),
        any::<bool>(),
    )
        .prop_map(
            |((mode, count, mut others), glyph, scroll, band, queue, features, cells, keeps)| {
                Setting {
                    mode,
                    others: {
                        others[count..].fill((0, 0));
                        others
                    },
                    glyph,
                    scroll,
                    band,
                    queue,
                    features,
                    cells,
                    keeps,
                    ..SETTING
                }
            },
        )
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_log_is_on_the_screen(
        setting in setting(),
        writes in prop::collection::vec(piece(), 1..40),
        each in any::<bool>(),
    ) {
        prop_assume!(log(setting, &writes, each));
    }
}

/// A log of numbered lines, some longer than the screen is wide, in pieces of several lines.
fn numbered(lines: usize, a_piece: usize) -> Vec<Vec<u8>> {
    let line = |n: usize| format!("[{n:>5}] {}\n", "spam and ham, ".repeat(n * 7 % 23 % 12));
    let lines: Vec<usize> = (0..lines).collect();
    let piece = |piece: &[usize]| piece.iter().flat_map(|&n| line(n).into_bytes()).collect();
    lines.chunks(a_piece).map(piece).collect()
}

/// The memory that the driver brings, and the way it divides it.
fn driver(mode: (u32, u32), glyph: (u32, u32), scroll: Scroll) -> Setting {
    let cells = (mode.0 / glyph.0 * (mode.1 / glyph.1)) as usize;
    Setting {
        mode,
        glyph,
        scroll,
        band: ((240 << 10) - QUEUE_BYTES - 2 * cells) & !3,
        cells,
        ..SETTING
    }
}

#[test]
fn usual_modes_in_the_drivers_memory() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        for (mode, tiles) in [
            ((640, 480), 1),
            ((1280, 800), 1),
            ((1366, 768), 1),
            ((1920, 1080), 2),
        ] {
            let setting = driver(mode, (8, 16), scroll);
            let rig = Rig::new(setting, Qemu::default()).unwrap();
            let tiles = if scroll == Scroll::Pan { 1 } else { tiles };
            assert_eq!((rig.tiles(), rig.display.grid().scroll()), (tiles, scroll));
            assert!(log(setting, &numbered(160, 13), false), "{mode:?}");
        }
    }
}

#[test]
fn a_row_that_does_not_fit_is_drawn_in_tiles() {
    let setting = driver((3840, 2160), (8, 16), Scroll::Pan);
    let rig = Rig::new(setting, Qemu::default()).unwrap();
    assert_eq!((rig.tiles(), rig.display.grid().scroll()), (3, Scroll::Pan));
    drop(rig);
    assert!(log(setting, &numbered(300, 60), false));
    // The same on a small screen, for every way a write can go: side by side, and in strips.
    for (scroll, band, tiles) in [
        (Scroll::Pan, 12 << 10, 3),
        (Scroll::Repaint, 26 << 10, 2),
        (Scroll::Repaint, 12 << 10, 4),
        (Scroll::Repaint, 5 << 10, 8),
    ] {
        let setting = Setting {
            band,
            ..driver((400, 150), (8, 16), scroll)
        };
        assert_eq!(Rig::new(setting, Qemu::default()).unwrap().tiles(), tiles);
        for a_piece in [1, 2, 9, 30] {
            assert!(log(setting, &numbered(60, a_piece), true));
        }
    }
}

#[test]
fn lines_wait_only_where_the_band_has_no_room() {
    // Two rows; or four halves.
    for (columns, free) in [(20, 2), (11, 2), (10, 4), (1, 4)] {
        let setting = Setting {
            band: 2 * 160 * 16 * 4,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::default()).unwrap();
        let turns = rig.guest.turns();
        for line in 1..=free + 1 {
            rig.write((line.to_string().repeat(columns) + "\n").as_bytes());
            let waited = rig.guest.turns() - turns;
            assert_eq!(waited, usize::from(line > free), "{columns} columns");
        }
        rig.check();
    }
}

/// Fills rows with text, and with blanks of several colours, in an order that `seed` says, and
/// looks at every pixel now and then.
fn colours<P: Pictures + 'static>(setting: Setting, pictures: P, seed: u32) {
    let mut rig = Rig::new(setting, pictures).unwrap();
    let grid = *rig.display.grid();
    let mut cells = vec![vec![Cell::blank(8); grid.cols()]; grid.rows()];
    let mut seed = seed;
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % n
    };
    for _ in 0..40 {
        for _ in 0..=below(3) {
            let row = below(grid.rows());
            let count = [1, grid.cols() / 2, grid.cols() / 2 + 1, grid.cols()][below(4)];
            let attribute = [0x17, 0x27, 0x07][below(3)];
            let is_text = below(3) == 0;
            for cell in &mut cells[row][..count] {
                let glyph = if is_text { 1 + below(31) as u8 } else { b' ' };
                *cell = Cell::new(glyph, attribute, 8);
            }
            rig.screen.put(row, 0, cells[row].iter().copied());
        }
        rig.screen.show(&mut rig.display);
        // Often there is more to paint before the device has read what was.
        if below(2) == 0 {
            rig.check_cells(&cells);
        }
    }
    rig.check_cells(&cells);
}

#[test]
fn rows_of_one_colour_are_of_that_colour() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        // In one tile, and in several; in one slot of the band, and in more.
        for band in [96 << 10, 24 << 10, 12 << 10, 5 << 10] {
            let setting = Setting {
                scroll,
                band,
                ..SETTING
            };
            for seed in 0..3 {
                colours(setting, Qemu::default(), seed);
                colours(setting, Crosvm::new(), seed);
            }
        }
    }
}

#[test]
fn what_is_blank_already_is_not_painted_again() {
    // Two slots of 20 columns, of which one half is painted while the device reads another.
    let rig = |scroll| {
        let setting = Setting {
            scroll,
            band: 2 * 160 * 16 * 4,
            ..SETTING
        };
        Rig::new(setting, Qemu::default()).unwrap()
    };
    const BLUE: u8 = 0x17;
    const GREEN: u8 = 0x27;

    // Three rows of one piece, and text in all others; then a piece has to be waited for.
    for (columns, others) in [(1, 3), (10, 3), (11, 1), (20, 1)] {
        let mut rig = rig(Scroll::Pan);
        for row in 0..3 {
            assert_eq!(rig.fill(row, columns, b' ', BLUE), 0, "{columns} columns");
        }
        for n in 0..=others {
            let waited = rig.fill(3 + n % 3, columns, b'0' + n as u8, BLUE);
            assert_eq!(waited, usize::from(n == others), "{columns} columns");
        }
    }

    // It is not the piece that is painted next, either.
    let mut rig_of_halves = rig(Scroll::Pan);
    rig_of_halves.fill(0, 10, b' ', BLUE);
    for row in 1..4 {
        rig_of_halves.fill(row, 10, b'x', BLUE);
    }
    rig_of_halves.display.drain().unwrap();
    assert_eq!(rig_of_halves.fill(4, 10, b' ', BLUE), 0);
    assert_eq!(rig_of_halves.fill(5, 10, b'x', BLUE), 0);
    assert_eq!(rig_of_halves.fill(1, 10, b' ', BLUE), 0);

    // Where a row has its slot, every other row is of the same one.
    for columns in [1, 5, 10, 11, 20] {
        let mut rig = rig(Scroll::Repaint);
        for row in [0, 2, 4] {
            assert_eq!(rig.fill(row, columns, b' ', BLUE), 0, "{columns} columns");
        }
        for row in [1, 3] {
            assert_eq!(rig.fill(row, columns, b' ', GREEN), 0, "{columns} columns");
        }
        // Other colours, and more columns.
        assert_eq!(rig.fill(5, columns, b' ', BLUE), 1, "{columns} columns");
        if columns < 20 {
            assert_eq!(rig.fill(1, columns + 1, b' ', BLUE), 1, "{columns} columns");
        }
    }
}

#[test]
fn tiles_before_what_has_changed_are_not_drawn_again() {
    let setting = Setting {
        mode: (400, 150),
        band: 24 << 10,
        ..SETTING
    };
    let mut rig = Rig::new(setting, Qemu::default()).unwrap();
    let band = *rig.display.grid().band();
    assert_eq!((band.tiles(), band.tile_cols(), band.slots()), (3, 17, 2));
    let turns = rig.guest.turns();
    for row in 0..4 {
        // There is half a slot for each of them.
        rig.screen.put(row, 17, [Cell::new(b'x', ATTRIBUTE, 8)]);
        rig.screen.show(&mut rig.display);
    }
    assert_eq!(rig.guest.turns(), turns);
}

#[test]
fn messages_that_were_dropped_are_counted() {
    let new = || Rig::new(driver((640, 480), (8, 16), Scroll::Pan), Qemu::default()).unwrap();
    let mut rig = new();
    rig.write(b"before\n");
    rig.screen.write_dropped(1234567890, ATTRIBUTE);
    rig.terminal
        .write(b"** 1234567890 printk messages dropped **\n");
    rig.write(b"after\n");
    rig.check();

    // What was kept is at the top, and the row below it counts.
    let mut rig = new();
    let line = |n: usize| format!("line {n}\n").into_bytes();
    rig.screen.retain();
    for n in 0..40 {
        rig.screen.write(&line(n), ATTRIBUTE);
    }
    rig.screen.write_dropped(7, ATTRIBUTE);
    rig.screen.write_dropped(4096, ATTRIBUTE);
    rig.screen.write(&line(40), ATTRIBUTE);
    rig.screen.show(&mut rig.display);
    let count = b"... 12 rows left out, 4103 messages dropped ...\n".to_vec();
    let rows = (0..7).map(line).chain([count]).chain((19..41).map(line));
    rows.for_each(|row| rig.terminal.write(&row));
    rig.check();
}

#[test]
fn a_larger_font_has_fewer_rows_in_flight() {
    for before in 0..9 {
        let setting = Setting {
            band: 40 << 10,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::default()).unwrap();
        assert_eq!(rig.display.grid().band().slots(), 4);
        for line in numbered(before, 1) {
            rig.write(&line);
        }
        let glyph = (16, 32);
        let noise: &Noise = Box::leak(Box::new(Noise::new(glyph.0, glyph.1)));
        let font = Font::new(glyph.0, glyph.1, 256, &noise.data).unwrap();
        rig.display
            .set_font(font, SETTING.scroll, SETTING.cells)
            .unwrap();
        let grid = *rig.display.grid();
        assert_eq!(grid.band().slots(), 2);
        assert!(rig.screen.reinit(grid, 8));
        (rig.noise, rig.terminal) = (noise, Terminal::new(grid.cols(), grid.rows()));
        for line in 0..9 {
            rig.write(format!("{line}\n").as_bytes());
            rig.check();
        }
    }
}

#[test]
fn refusals_are_counted_and_stop_nothing() {
    let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
    rig.write(b"before\n");
    rig.check();
    rig.host.borrow_mut().patience = Some(0);
    for line in numbered(100, 1) {
        rig.write(&line);
    }
    rig.display.drain().unwrap();
    let complaints = rig.host.borrow().complaints.len();
    let (count, first) = rig.display.error_responses();
    assert_eq!(count as usize, complaints);
    assert!(complaints >= 100);
    // A transfer, and ERR_UNSPEC.
    assert_eq!(
        first.unwrap().to_string(),
        "the device answered command 0x0105 with 0x1200"
    );
    assert_eq!(rig.display.failed(), None);
}

#[test]
fn a_device_that_vanishes_is_waited_for_once() {
    let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
    rig.write(b"before\n");
    rig.guest.plug(Nobody);
    for line in numbered(100, 1) {
        rig.write(&line);
    }
    let stalled = Some(GpuError::Queue(QueueError::Stalled));
    assert_eq!(rig.display.failed(), stalled);
    let (turns, kicks) = (rig.guest.turns(), rig.guest.kicks());
    for line in numbered(100, 1) {
        rig.write(&line);
    }
    assert_eq!((rig.guest.turns(), rig.guest.kicks()), (turns, kicks));
    assert_eq!(rig.display.failed(), stalled);
}

#[test]
fn a_device_that_answers_late_shows_all() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        let setting = Setting { scroll, ..SETTING };
        let mut rig = Rig::new(setting, Qemu::default()).unwrap();
        rig.write(b"before\n");
        rig.guest.stop(true);
        for line in numbered(100, 1) {
            rig.write(&line);
        }
        let stalled = Some(GpuError::Queue(QueueError::Stalled));
        assert_eq!(rig.display.failed(), stalled);
        assert!(!rig.display.recover());
        rig.guest.stop(false);
        rig.guest.run();
        assert!(rig.display.recover());
        rig.screen.restore(&mut rig.display);
        rig.screen.show(&mut rig.display);
        rig.check();
        for line in numbered(100, 1) {
            rig.write(&line);
            rig.check();
        }
    }
}

#[test]
fn what_was_shown_before_stays_until_there_is_text() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        let setting = Setting {
            scroll,
            keeps: true,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::default()).unwrap();
        // A cursor and empty rows are no text.
        let cursor = Cursor {
            row: 1,
            col: 0,
            scanlines: 0..2,
        };
        for blank in [" ", "\n", "\n\n\n\n\n\n\n"] {
            rig.write(blank.as_bytes());
            rig.screen.set_cursor(Some(cursor.clone()));
            rig.screen.show(&mut rig.display);
            rig.display.drain().unwrap();
            assert_eq!(rig.host.borrow().scanout(0), None);
        }
        rig.write(b"text");
        rig.check();
        assert!(rig.host.borrow().scanout(0).is_some());
        rig.write(b"\n\n and more\n");
        rig.check();
    }
}

#[test]
fn a_picture_stays_until_there_is_text() {
    fn on<P: Pictures + 'static>(setting: Setting, pictures: P) {
        let mut rig = Rig::new(setting, pictures).unwrap();
        let (width, height) = setting.mode;
        let pixel = |x: u32, y: u32| x << 12 | y | 1 << 23;
        // Not as wide as the screen, and not at the edges of cells.
        let (columns, rows) = (13..width - 5, 11..height - 3);
        rig.display
            .show_picture(rows.clone(), false, |x, y, pixels| {
                for (x, to) in (x..).zip(pixels) {
                    if columns.contains(&x) && rows.contains(&y) {
                        *to = pixel(x, y);
                    }
                }
            });
        rig.display.drain().unwrap();
        let seen = |rig: &Rig<P>| {
            let host = rig.host.borrow();
            assert_eq!(host.complaints, [""; 0]);
            for (at, &seen) in (0..).zip(host.shown(0)) {
                let (x, y) = (at % width, at / width);
                let there = columns.contains(&x) && rows.contains(&y);
                assert_eq!(seen, if there { pixel(x, y) } else { 0 }, "({x}, {y})");
            }
            assert_eq!(host.shown(0).len() as u32, width * height);
        };
        seen(&rig);
        let cursor = Cursor {
            row: 1,
            col: 0,
            scanlines: 0..2,
        };
        rig.write(b"\n \n");
        rig.screen.set_cursor(Some(cursor));
        rig.screen.show(&mut rig.display);
        rig.display.drain().unwrap();
        seen(&rig);
        rig.screen.set_cursor(None);
        rig.write(b"text");
        rig.check();
        for line in numbered(20, 1) {
            rig.write(&line);
            rig.check();
        }
    }
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        // In one tile, and in several.
        for band in [96 << 10, 12 << 10] {
            let setting = Setting {
                scroll,
                band,
                ..SETTING
            };
            on(setting, Qemu::default());
            on(setting, Crosvm::new());
        }
    }
}

#[test]
fn a_picture_scrolls_with_text_that_lies_over_it() {
    fn on<P: Pictures + 'static>(setting: Setting, pictures: P) {
        let mut rig = Rig::new(setting, pictures).unwrap();
        let grid = *rig.display.grid();
        let (width, height) = setting.mode;
        let (glyph, cols) = (setting.glyph, grid.cols());
        let pixel = |x: u32, y: u32| x << 12 | y | 1 << 23;
        rig.display.show_picture(0..height, true, |x, y, pixels| {
            for (x, to) in (x..).zip(pixels) {
                *to = pixel(x, y);
            }
        });
        rig.screen.mark_all_drawn();
        // Of which row of the picture a row of the screen is, and how many columns are covered.
        let window = height.div_ceil(glyph.1) as usize;
        let mut rows: Vec<(Option<u32>, usize)> =
            (0..window as u32).map(|y| (Some(y), 0)).collect();
        // Where there is never text there is no picture.
        rows[grid.rows()..].fill((None, cols));
        let check = |rig: &mut Rig<P>, rows: &[(Option<u32>, usize)]| {
            rig.display.drain().unwrap();
            let text = rig.expected(&rig.display.scanouts()[0]);
            let host = rig.host.borrow();
            assert_eq!(host.complaints, [""; 0]);
            for (at, &seen) in (0..).zip(host.shown(0)) {
                let (x, y) = (at % width, at / width);
                let mut expected = text[at as usize];
                if x < cols as u32 * glyph.0 {
                    let (base, covered) = rows[(y / glyph.1) as usize];
                    if let (Some(base), true) = (base, x >= covered as u32 * glyph.0) {
                        expected = pixel(x, base * glyph.1 + y % glyph.1);
                    }
                }
                assert_eq!(seen, expected, "({x}, {y})");
            }
            assert_eq!(host.shown(0).len() as u32, width * height);
        };
        check(&mut rig, &rows);
        let last = grid.rows() - 1;
        for n in 0..4 * window {
            let line = format!("line {n}{}", "!".repeat(n % 11));
            if n > last && setting.scroll == Scroll::Pan {
                rows.remove(0);
                rows.push((None, cols));
                // It covers what is there, which may have been seen below the last row.
                rows[last].1 = cols;
            } else if n > last {
                rows.fill((None, cols));
            }
            rig.write(line.as_bytes());
            rows[n.min(last)].1 = rows[n.min(last)].1.max(line.len());
            check(&mut rig, &rows);
            // Which waits for what comes next.
            rig.write(b"\n");
            check(&mut rig, &rows);
        }
    }
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        // In one tile, in several; with pixels that are no cell's.
        for (band, mode) in [
            (96 << 10, (160, 96)),
            (12 << 10, (160, 96)),
            (96 << 10, (164, 104)),
        ] {
            let setting = Setting {
                scroll,
                band,
                mode,
                ..SETTING
            };
            on(setting, Qemu::default());
            on(setting, Crosvm::new());
        }
    }
}

#[test]
fn a_picture_goes_with_what_is_more_than_text() {
    let with_picture = || {
        let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
        let (_, height) = SETTING.mode;
        rig.display
            .show_picture(0..height, false, |_, _, pixels| pixels.fill(0xabcdef));
        rig.display.drain().unwrap();
        assert_eq!(rig.host.borrow().shown(0)[0], 0xabcdef);
        rig
    };
    let all = |rig: &mut Rig<Qemu>, pixel| {
        rig.display.drain().unwrap();
        let host = rig.host.borrow();
        assert_eq!(host.complaints, [""; 0]);
        assert!(!host.shown(0).is_empty());
        assert!(host.shown(0).iter().all(|&seen| seen == pixel));
    };

    // Another font has another resource.
    let mut rig = with_picture();
    let font = *rig.display.font();
    rig.display
        .set_font(font, SETTING.scroll, SETTING.cells)
        .unwrap();
    all(&mut rig, 0);

    // The screen is told to be black.
    let mut rig = with_picture();
    rig.screen.blank(&mut rig.display);
    all(&mut rig, 0);

    // Nothing has a colour.
    let mut rig = with_picture();
    rig.display.palette().0[0] = 0x123456;
    rig.screen.redraw();
    rig.screen.show(&mut rig.display);
    all(&mut rig, 0x123456);
}

/// A log on devices that do things otherwise, on one scanout or on several of other sizes.
fn on_another(ways: Ways, after_each: fn(&mut Rig<Qemu>)) {
    for others in [SETTING.others, [(120, 150), (200, 64), (0, 0)]] {
        let setting = Setting {
            scroll: Scroll::Repaint,
            others,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::without_offset()).unwrap();
        rig.host.borrow_mut().ways = ways;
        // The display begins again, on a resource of its own.
        let font = *rig.display.font();
        rig.display
            .set_font(font, setting.scroll, setting.cells)
            .unwrap();
        for line in numbered(40, 3) {
            rig.write(&line);
            after_each(&mut rig);
            rig.check();
        }
        assert_eq!(
            rig.host.borrow().resources().len(),
            rig.display.scanouts().len()
        );
    }
}

#[test]
fn a_device_that_shows_whole_resources_shows_the_text() {
    let ways = Ways {
        whole: true,
        ..Ways::default()
    };
    on_another(ways, |_| {});
}

#[test]
fn a_device_that_flushes_to_one_scanout_flushes_to_all() {
    let ways = Ways {
        whole: true,
        one_scanout: true,
        ..Ways::default()
    };
    on_another(ways, |_| {});
}

#[test]
fn a_resource_that_is_shown_is_not_forgotten() {
    let ways = Ways {
        whole: true,
        keeps_shown: true,
        ..Ways::default()
    };
    on_another(ways, |_| {});
}

#[test]
fn a_flush_that_was_skipped_is_made_up_for() {
    let ways = Ways {
        whole: true,
        skips_flushes: true,
        ..Ways::default()
    };
    on_another(ways, |rig| {
        rig.display.drain().unwrap();
        rig.host.borrow_mut().idle();
        rig.display.flush_again();
    });
}

#[test]
fn the_device_decides_how_the_screen_scrolls() {
    let asks_on = |scanout, offered, ways: Ways| {
        let guest = Guest::new(QUEUE_BYTES);
        let host = Rc::new(RefCell::new(Host::new(Qemu::default(), &[(640, 480); 2])));
        host.borrow_mut().ways = ways;
        let ring = connect_to(&guest, 64, Features::empty(), Order::First, &host);
        let mut control = Control::new(ring);
        let origin = Origin::from_features(offered)
            .probe(&mut control, scanout, 77)
            .unwrap();
        control.wait(u32::MAX).unwrap();
        assert_eq!(control.errors(), (0, None));
        let host = host.borrow();
        // What is refused is the smallest scanout there can be.
        if let (Origin::Honoured, [refused]) = (origin, &host.complaints[..]) {
            assert!(refused.contains("SetScanout"), "{refused}");
            assert!(refused.contains("width: 1, height: 1"), "{refused}");
        }
        // Nothing stays behind but what some cannot be rid of.
        assert_eq!(
            host.resources(),
            if ways.keeps_shown && scanout == 0 {
                vec![77]
            } else {
                vec![]
            }
        );
        (origin, host.complaints.len(), guest.kicks())
    };
    let asks = |offered, ways| asks_on(0, offered, ways);
    let qemu = Features::VERSION_1 | Features::INDIRECT_DESC | Features::EVENT_IDX;
    let (as_qemu, whole) = (
        Ways::default(),
        Ways {
            whole: true,
            ..Ways::default()
        },
    );
    // Asked, and refused.
    let (origin, complaints, kicks) = asks(qemu, as_qemu);
    assert_eq!((origin, complaints), (Origin::Honoured, 1));
    assert!(kicks <= 3);
    let (origin, ..) = asks(qemu, whole);
    assert_eq!(origin, Origin::Ignored);
    // A device that shows it and does not let go: scanout 0 is not told to show nothing.
    let stubborn = Ways {
        keeps_shown: true,
        ..whole
    };
    assert_eq!(asks(qemu, stubborn).0, Origin::Ignored);
    // All others are.
    let (origin, complaints, _) = asks_on(1, qemu, stubborn);
    assert_eq!((origin, complaints), (Origin::Ignored, 0));
    // Not asked.
    for offered in [
        qemu | Features::VIRGL,
        qemu | Features::CONTEXT_INIT,
        Features::VERSION_1 | Features::EVENT_IDX,
    ] {
        assert_eq!(asks(offered, Ways::default()), (Origin::Ignored, 0, 0));
    }
}

/// What scanouts beside the first one are for.
const TWO: Setting = Setting {
    others: [(0, 0), (120, 150), (0, 0)],
    ..SETTING
};

#[test]
fn several_scanouts_show_the_text_that_all_have_room_for() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        for others in [
            TWO.others,
            [(400, 40), (0, 0), (80, 200)],
            [(160, 96), (160, 96), (160, 96)],
        ] {
            let setting = Setting {
                others,
                scroll,
                ..SETTING
            };
            let rig = Rig::new(setting, Qemu::default()).unwrap();
            let sides =
                |side: fn(&Mode) -> u32| rig.display.scanouts().iter().map(side).min().unwrap();
            let (width, height) = (sides(|mode| mode.width), sides(|mode| mode.height));
            let grid = rig.display.grid();
            assert_eq!(grid.cols() as u32, width / 8);
            assert_eq!(grid.rows() as u32, height / 16);
            assert_eq!(grid.scroll(), scroll);
            for a_piece in [1, 3, 30] {
                assert!(log(setting, &numbered(60, a_piece), true), "{others:?}");
            }
        }
    }
}

#[test]
fn a_line_on_several_scanouts_rings_once() {
    let mut rig = Rig::new(TWO, Qemu::default()).unwrap();
    for line in 0..40 {
        let kicks = rig.guest.kicks();
        rig.write(format!("{line}\n").as_bytes());
        assert_eq!(rig.guest.kicks(), kicks + 1);
        rig.check();
    }
}

#[test]
fn displays_come_and_go_without_losing_text() {
    fn on<P: Pictures + 'static>(scroll: Scroll, pictures: P) {
        let setting = Setting { scroll, ..SETTING };
        let mut rig = Rig::new(setting, pictures).unwrap();
        let resources = |rig: &Rig<P>| rig.host.borrow().resources().len();
        let own = |rig: &Rig<P>| match scroll {
            Scroll::Pan => 1,
            Scroll::Repaint => rig.display.scanouts().len(),
        };
        let steps = [
            (1, Some((120, 150))),
            (0, Some((200, 90))),
            (15, Some((160, 64))),
            (1, None),
            // There is no telling the first one to show nothing.
            (0, None),
            (15, Some((320, 200))),
            (0, Some((160, 96))),
            (15, None),
        ];
        for (scanout, mode) in steps {
            for line in numbered(20, 3) {
                rig.write(&line);
                rig.check();
            }
            let before = rig.host.borrow().shown(0).to_vec();
            rig.host.borrow_mut().set_mode(scanout, mode);
            let old = own(&rig);
            rig = rig.follow();
            // What was there still is, but where there is nothing to be seen any more.
            assert_eq!(resources(&rig), old + own(&rig));
            if scanout != 0 {
                assert!(rig.host.borrow().shown(0) == before);
            }
            if scanout != 0 && mode.is_none() {
                assert_eq!(rig.host.borrow().scanout(scanout), None);
            }
            let refused = std::mem::take(&mut rig.host.borrow_mut().complaints).len();
            assert_eq!(refused, usize::from(scanout == 0 && mode.is_none()));
            rig.write(b"text");
            rig.check();
            assert_eq!(resources(&rig), own(&rig));
        }
        let host = rig.host.borrow();
        assert!((1..16).all(|scanout| host.scanout(scanout).is_none()));
    }
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        on(scroll, Qemu::default());
        on(scroll, Crosvm::new());
    }
}

#[test]
fn what_somebody_else_has_left_on_a_scanout_is_taken_away() {
    // On a scanout that is ours, and on one that is not any more.
    for (scanout, mode) in [(1, Some((120, 150))), (1, None), (2, None)] {
        let setting = Setting {
            others: [(120, 150), (120, 150), (0, 0)],
            ..SETTING
        };
        let rig = Rig::new(setting, Qemu::default()).unwrap();
        let host = rig.host.clone();
        let other = host.borrow().resources()[0];
        host.borrow_mut().set_mode(scanout, mode);
        let mut rig = Rig::on(setting, host, true).unwrap();
        rig.display
            .adopt_scanouts(RetainedScanouts::on(scanout as u32, other));
        rig.display.drain().unwrap();
        // It stays where there will be text.
        let stays = mode.is_some();
        assert_eq!(rig.host.borrow().scanout(scanout).is_some(), stays);
        assert!(rig.host.borrow().resources().contains(&other));
        rig.write(b"text");
        rig.check();
        assert!(!rig.host.borrow().resources().contains(&other));
    }
}

#[test]
fn a_picture_survives_displays_that_change() {
    let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
    let (width, height) = SETTING.mode;
    rig.display
        .show_picture(0..height, false, |_, _, pixels| pixels.fill(0xabcdef));
    for step in 0..4 {
        rig.host
            .borrow_mut()
            .set_mode(0, Some((width + 8 * step, height)));
        let mode = (step % 2 == 0).then_some((120, 80));
        rig.host.borrow_mut().set_mode(1, mode);
        rig = rig.follow();
        rig.display.drain().unwrap();
        let host = rig.host.borrow();
        assert_eq!(host.complaints, [""; 0]);
        // The picture's, and one for the text that is to come.
        assert_eq!(host.resources().len(), 2);
        assert!(host.shown(1).is_empty());
        assert_eq!(host.shown(0).len() as u32, width * height);
        assert!(host.shown(0).iter().all(|&pixel| pixel == 0xabcdef));
    }
    rig.write(b"text");
    rig.check();
    assert_eq!(rig.host.borrow().resources().len(), 1);
}

#[test]
fn scanouts_that_leave_no_room_for_text_are_left_out() {
    let seen = |modes: &[(u32, u32)]| {
        let guest = Guest::new(QUEUE_BYTES);
        let host = Rc::new(RefCell::new(Host::new(Qemu::default(), modes)));
        let ring = connect_to(&guest, 64, Features::empty(), Order::First, &host);
        let info = Control::new(ring)
            .call(&GetDisplayInfo::new(), None)
            .unwrap();
        let heads = usable(&info).map(|mode| (mode.scanout, mode.width, mode.height));
        heads.collect::<Vec<_>>()
    };
    assert_eq!(seen(&[]), []);
    assert_eq!(seen(&[(0, 0), (8, 8), (9, 9)]), [(1, 8, 8)]);
    assert_eq!(seen(&[(20000, 600)]), [(0, 20000, 600)]);
    assert_eq!(seen(&[(20000, 600), (320, 200)]), [(1, 320, 200)]);
    assert_eq!(
        seen(&[(319, 600), (640, 480), (0, 0), (640, 199), (16384, 16384)]),
        [(1, 640, 480), (4, 16384, 16384)]
    );
    assert_eq!(seen(&[(640, 480); 16]).len(), 16);
}

#[test]
fn what_was_written_is_with_the_device_before_the_write_returns() {
    // A guest that dies right after: nobody waits, nobody rings again.
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        let setting = Setting { scroll, ..SETTING };
        let mut rig = Rig::new(setting, Crosvm::new()).unwrap();
        for line in numbered(30, 1) {
            rig.write(&line);
        }
        rig.guest.run();
        let expected = rig.expected(&rig.display.scanouts()[0]);
        assert!(rig.host.borrow().shown(0) == expected);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn a_device_that_lies_stops_the_display_and_nothing_else(
        deeds in deeds(),
        writes in prop::collection::vec(piece(), 1..60),
    ) {
        let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
        rig.display.drain().unwrap();
        let place = VirtQueue::addresses(&rig.guest, SETTING.queue).unwrap();
        rig.guest.plug(Liar::new(place, deeds));
        for bytes in &writes {
            let (failed, kicks) = (rig.display.failed(), rig.guest.kicks());
            rig.write(bytes);
            if failed.is_some() {
                prop_assert_eq!((rig.display.failed(), rig.guest.kicks()), (failed, kicks));
            }
        }
    }
}
