// SPDX-License-Identifier: GPL-2.0

//! Tests from the bytes of a log to the visible picture, through all pure modules and a device made
//! by others, for both interpretations of a transfer's `offset`.

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
        SilentDevice, //
    },
    host::{
        Differences, //
        Host,
        Pictures,
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
        actions,
        ScriptedDevice, //
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

/// The VT's default colours as pixels: light grey on black.
const COLOURS: (u32, u32) = (0xaa_aaaa, 0);

/// A font of random glyphs: no two glyphs, and no two rows of one, are alike. The blank is blank.
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

    /// Returns whether a glyph has foreground at (x, y).
    fn is_foreground(&self, glyph: u8, x: u32, y: u32) -> bool {
        let pitch = self.width.div_ceil(8);
        let at = (u32::from(glyph) * self.height + y) * pitch + x / 8;
        self.data[at as usize] & (0x80 >> (x % 8)) != 0
    }

    /// Returns the same font as the driver has it.
    pub(crate) fn font(&self) -> Option<Font<'_>> {
        Font::new(self.width, self.height, 256, &self.data).ok()
    }

    /// Returns the picture of a text, as wide and high as `mode`.
    pub(crate) fn picture(&self, mode: (u32, u32), text: &[Vec<u8>]) -> Vec<u32> {
        let pixel = |x: u32, y: u32| {
            let row = text.get((y / self.height) as usize);
            let glyph = row.and_then(|row| row.get((x / self.width) as usize));
            match glyph {
                Some(&glyph) if self.is_foreground(glyph, x % self.width, y % self.height) => {
                    COLOURS.0
                }
                _ => COLOURS.1,
            }
        };
        (0..mode.1)
            .flat_map(|y| (0..mode.0).map(move |x| pixel(x, y)))
            .collect()
    }
}

/// A character screen that behaves like a terminal, as a simple reference.
pub(crate) struct Terminal {
    cols: usize,
    rows: usize,
    text: Vec<Vec<u8>>,
    col: usize,
    /// Whether a newline is deferred until the next byte.
    newline_pending: bool,
}

impl Terminal {
    pub(crate) fn new(cols: usize, rows: usize) -> Self {
        Self {
            cols,
            rows,
            text: vec![vec![b' '; cols]],
            col: 0,
            newline_pending: false,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if std::mem::take(&mut self.newline_pending) {
                self.newline();
            }
            match byte {
                b'\n' => self.newline_pending = true,
                b'\r' => self.col = 0,
                // At the last column a tab does nothing; after it, the wrap is still pending.
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

    /// Returns the rows of the screen from the top; those below the last one are blank.
    pub(crate) fn text(&self) -> &[Vec<u8>] {
        &self.text
    }
}

/// The parameters of a screen and its device.
#[derive(Clone, Copy, Debug)]
struct Setting {
    mode: (u32, u32),
    /// More scanouts; those with a size are enabled.
    others: [(u32, u32); 3],
    glyph: (u32, u32),
    scroll: Scroll,
    band: usize,
    cells: usize,
    queue: u16,
    features: Features,
    order: Order,
    /// Whether the scanouts keep their previous picture until there is text.
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

/// A display with its screen and its device.
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
    /// Returns a new display, or `None` if there is no grid for these parameters.
    fn new(setting: Setting, pictures: P) -> Option<Self> {
        let modes: Vec<_> = [setting.mode].into_iter().chain(setting.others).collect();
        let host = Host::new(pictures, &modes);
        Self::on(setting, Rc::new(RefCell::new(host)), setting.keeps)
    }

    /// Returns a display on the device of another display, which has ended.
    fn on(setting: Setting, host: Rc<RefCell<Host<P>>>, keeps: bool) -> Option<Self> {
        let guest = Guest::new(QUEUE_BYTES + setting.band);
        let Setting {
            queue,
            features,
            order,
            ..
        } = setting;
        let queue = connect_to(&guest, queue, features, order, &host);
        let mut control = Control::new(queue);
        let info = control.call(&GetDisplayInfo::new(), None).unwrap();
        let scanouts = info.enabled().collect::<Vec<_>>().leak();
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
        let display = match Display::start(control, scanouts, font, scroll, begin, cells, band) {
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

    /// Adopts its own device, as the driver does when scanouts appear, disappear or change size.
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

    /// Lets the device finish, and compares the visible pictures.
    fn check(&mut self) {
        self.display.drain().unwrap();
        let host = self.host.borrow();
        assert_eq!(host.rejections, [""; 0]);
        assert_eq!(self.display.error_responses(), (0, None));
        for scanout in self.display.scanouts() {
            let expected = self.expected(scanout);
            let shown = host.shown(scanout.scanout as usize);
            let wrong = shown
                .iter()
                .zip(&expected)
                .position(|(is, should)| is != should);
            if let Some(at) = wrong {
                let (x, y) = (at as u32 % scanout.width, at as u32 / scanout.width);
                panic!(
                    "pixel ({x}, {y}) of {scanout:?} is {:#x}, not {:#x}",
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
        let runs = self.guest.runs();
        let cell = Cell::new(glyph, attribute, 8);
        self.screen.put(row, 0, vec![cell; columns]);
        self.screen.show(&mut self.display);
        self.guest.runs() - runs
    }

    /// Lets the device finish, and compares the visible picture with the cells of every row.
    fn check_cells(&mut self, cells: &[Vec<Cell>]) {
        self.display.drain().unwrap();
        let host = self.host.borrow();
        assert_eq!(host.rejections, [""; 0]);
        let (width, glyph) = (self.setting.mode.0, self.setting.glyph);
        for (at, &seen) in (0..).zip(host.shown(0)) {
            let (x, y) = (at % width, at / width);
            let row = cells.get((y / glyph.1) as usize);
            let cell = row.and_then(|row| row.get((x / glyph.0) as usize));
            let expected = cell.map_or(0, |cell| {
                let (foreground, background) = Palette::DEFAULT.colours(cell.attribute(8));
                let glyph_of = cell.glyph(8) as u8;
                match self.noise.is_foreground(glyph_of, x % glyph.0, y % glyph.1) {
                    true => foreground,
                    false => background,
                }
            });
            assert_eq!(seen, expected, "({x}, {y})");
        }
    }
}

impl<P> Rig<P> {
    /// Returns the expected picture of a scanout.
    fn expected(&self, scanout: &Mode) -> Vec<u32> {
        let text = self.terminal.text();
        self.noise.picture((scanout.width, scanout.height), text)
    }

    /// Returns the number of tiles in a row.
    fn tiles(&self) -> usize {
        self.display.grid().band().tiles()
    }
}

/// Writes a log to devices of all interpretations of `offset` and checks their screens at the end,
/// or after `each` write. Returns whether there was a grid for it.
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

/// Returns a piece of a log: words, lines, and now and then any bytes.
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

/// Returns numbered lines, some longer than the screen is wide, in pieces of several lines.
fn numbered(lines: usize, lines_a_piece: usize) -> Vec<Vec<u8>> {
    let line = |n: usize| format!("[{n:>5}] {}\n", "spam and ham, ".repeat(n * 7 % 23 % 12));
    let lines: Vec<usize> = (0..lines).collect();
    let piece = |piece: &[usize]| piece.iter().flat_map(|&n| line(n).into_bytes()).collect();
    lines.chunks(lines_a_piece).map(piece).collect()
}

/// Returns the parameters that the driver uses: its amount of memory, and how it divides that.
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
fn usual_modes_fit_the_drivers_memory() {
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
    // The same on a small screen, for every kind of band: tiles side by side, and strips.
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
        for lines_a_piece in [1, 2, 9, 30] {
            assert!(log(setting, &numbered(60, lines_a_piece), true));
        }
    }
}

#[test]
fn lines_only_wait_for_a_full_band() {
    // Two rows, or four halves of rows.
    for (columns, free) in [(20, 2), (11, 2), (10, 4), (1, 4)] {
        let setting = Setting {
            band: 2 * 160 * 16 * 4,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::default()).unwrap();
        let runs = rig.guest.runs();
        for line in 1..=free + 1 {
            rig.write((line.to_string().repeat(columns) + "\n").as_bytes());
            let waited = rig.guest.runs() - runs;
            assert_eq!(waited, usize::from(line > free), "{columns} columns");
        }
        rig.check();
    }
}

/// Fills rows with text, and with blanks of several colours, in an order that depends on `seed`,
/// and checks every pixel now and then.
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
        // Often the driver paints more before the device has read the last commands.
        if below(2) == 0 {
            rig.check_cells(&cells);
        }
    }
    rig.check_cells(&cells);
}

#[test]
fn rows_of_one_colour_are_of_that_colour() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        // In one tile, and in several; in one slot of the band, and in several.
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
fn blank_pieces_are_not_painted_again() {
    // Two slots of 20 columns: the driver paints one while the device reads the other.
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

    // Three rows of one piece, and text in all others; then one piece has to wait.
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

    // Nor is it the piece that is painted next.
    let mut rig_of_halves = rig(Scroll::Pan);
    rig_of_halves.fill(0, 10, b' ', BLUE);
    for row in 1..4 {
        rig_of_halves.fill(row, 10, b'x', BLUE);
    }
    rig_of_halves.display.drain().unwrap();
    assert_eq!(rig_of_halves.fill(4, 10, b' ', BLUE), 0);
    assert_eq!(rig_of_halves.fill(5, 10, b'x', BLUE), 0);
    assert_eq!(rig_of_halves.fill(1, 10, b' ', BLUE), 0);

    // Where a row has its slot, all other rows use the same one.
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
fn tiles_before_the_first_change_are_not_drawn_again() {
    let setting = Setting {
        mode: (400, 150),
        band: 24 << 10,
        ..SETTING
    };
    let mut rig = Rig::new(setting, Qemu::default()).unwrap();
    let band = *rig.display.grid().band();
    assert_eq!((band.tiles(), band.tile_cols(), band.slots()), (3, 17, 2));
    let runs = rig.guest.runs();
    for row in 0..4 {
        // Half a slot is free for each of them.
        rig.screen.put(row, 17, [Cell::new(b'x', ATTRIBUTE, 8)]);
        rig.screen.show(&mut rig.display);
    }
    assert_eq!(rig.guest.runs(), runs);
}

#[test]
fn dropped_messages_are_counted() {
    let new = || Rig::new(driver((640, 480), (8, 16), Scroll::Pan), Qemu::default()).unwrap();
    let mut rig = new();
    rig.write(b"before\n");
    rig.screen.write_dropped(1234567890, ATTRIBUTE);
    rig.terminal
        .write(b"** 1234567890 printk messages dropped **\n");
    rig.write(b"after\n");
    rig.check();

    // The remaining text is at the top, and the row below it has the count.
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
fn rejections_are_counted_and_the_display_goes_on() {
    let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
    rig.write(b"before\n");
    rig.check();
    rig.host.borrow_mut().commands_left = Some(0);
    for line in numbered(100, 1) {
        rig.write(&line);
    }
    rig.display.drain().unwrap();
    let rejections = rig.host.borrow().rejections.len();
    let (count, first) = rig.display.error_responses();
    assert_eq!(count as usize, rejections);
    assert!(rejections >= 100);
    // A transfer, and ERR_UNSPEC.
    assert_eq!(
        first.unwrap().to_string(),
        "the device answered command 0x0105 with 0x1200"
    );
    assert_eq!(rig.display.failed(), None);
}

#[test]
fn a_device_that_stops_costs_one_wait() {
    let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
    rig.write(b"before\n");
    rig.guest.plug(SilentDevice);
    for line in numbered(100, 1) {
        rig.write(&line);
    }
    let stalled = Some(GpuError::Queue(QueueError::Stalled));
    assert_eq!(rig.display.failed(), stalled);
    let (runs, kicks) = (rig.guest.runs(), rig.guest.kicks());
    for line in numbered(100, 1) {
        rig.write(&line);
    }
    assert_eq!((rig.guest.runs(), rig.guest.kicks()), (runs, kicks));
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
fn the_previous_picture_stays_until_there_is_text() {
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        let setting = Setting {
            scroll,
            keeps: true,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::default()).unwrap();
        // A cursor and empty rows are not text.
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
        // Narrower than the screen, and not aligned with cells.
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
            assert_eq!(host.rejections, [""; 0]);
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
        // For each row of the screen, the row of the picture, and the number of covered columns.
        let window = height.div_ceil(glyph.1) as usize;
        let mut rows: Vec<(Option<u32>, usize)> =
            (0..window as u32).map(|y| (Some(y), 0)).collect();
        // Rows that never have text have no picture.
        rows[grid.rows()..].fill((None, cols));
        let check = |rig: &mut Rig<P>, rows: &[(Option<u32>, usize)]| {
            rig.display.drain().unwrap();
            let text = rig.expected(&rig.display.scanouts()[0]);
            let host = rig.host.borrow();
            assert_eq!(host.rejections, [""; 0]);
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
                // It covers the pixels there, which may have been below the last row before.
                rows[last].1 = cols;
            } else if n > last {
                rows.fill((None, cols));
            }
            rig.write(line.as_bytes());
            rows[n.min(last)].1 = rows[n.min(last)].1.max(line.len());
            check(&mut rig, &rows);
            // The newline is deferred until the next byte.
            rig.write(b"\n");
            check(&mut rig, &rows);
        }
    }
    for scroll in [Scroll::Pan, Scroll::Repaint] {
        // In one tile, and in several; with pixels outside of all cells.
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
fn a_new_font_blanking_or_a_palette_removes_the_picture() {
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
        assert_eq!(host.rejections, [""; 0]);
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

    // The screen is blanked.
    let mut rig = with_picture();
    rig.screen.blank(&mut rig.display);
    all(&mut rig, 0);

    // The palette's colours are all black.
    let mut rig = with_picture();
    rig.display.palette().0[0] = 0x123456;
    rig.screen.redraw();
    rig.screen.show(&mut rig.display);
    all(&mut rig, 0x123456);
}

/// Writes a log to devices with other behaviour, on one scanout or on several of different sizes.
fn on_another(differences: Differences, after_each: fn(&mut Rig<Qemu>)) {
    for others in [SETTING.others, [(120, 150), (200, 64), (0, 0)]] {
        let setting = Setting {
            scroll: Scroll::Repaint,
            others,
            ..SETTING
        };
        let mut rig = Rig::new(setting, Qemu::without_offset()).unwrap();
        rig.host.borrow_mut().differences = differences;
        // The display starts again, on a resource of its own.
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
    let differences = Differences {
        whole: true,
        ..Differences::default()
    };
    on_another(differences, |_| {});
}

#[test]
fn a_device_that_flushes_one_scanout_only_shows_the_text_on_all() {
    let differences = Differences {
        whole: true,
        one_scanout: true,
        ..Differences::default()
    };
    on_another(differences, |_| {});
}

#[test]
fn a_device_that_keeps_visible_resources_shows_the_text() {
    let differences = Differences {
        whole: true,
        keeps_shown: true,
        ..Differences::default()
    };
    on_another(differences, |_| {});
}

#[test]
fn a_skipped_flush_is_repeated() {
    let differences = Differences {
        whole: true,
        skips_flushes: true,
        ..Differences::default()
    };
    on_another(differences, |rig| {
        rig.display.drain().unwrap();
        rig.host.borrow_mut().idle();
        rig.display.flush_again();
    });
}

#[test]
fn the_device_decides_how_the_screen_scrolls() {
    let asks_on = |scanout, offered, differences: Differences| {
        let guest = Guest::new(QUEUE_BYTES);
        let host = Rc::new(RefCell::new(Host::new(Qemu::default(), &[(640, 480); 2])));
        host.borrow_mut().differences = differences;
        let queue = connect_to(&guest, 64, Features::empty(), Order::First, &host);
        let mut control = Control::new(queue);
        let origin = Origin::from_features(offered)
            .probe(&mut control, scanout, 77)
            .unwrap();
        control.wait(u32::MAX).unwrap();
        assert_eq!(control.errors(), (0, None));
        let host = host.borrow();
        // The smallest possible scanout is rejected.
        if let (Origin::Honoured, [refused]) = (origin, &host.rejections[..]) {
            assert!(refused.contains("SetScanout"), "{refused}");
            assert!(refused.contains("width: 1, height: 1"), "{refused}");
        }
        // No resource is left but those that some devices cannot delete.
        assert_eq!(
            host.resources(),
            if differences.keeps_shown && scanout == 0 {
                vec![77]
            } else {
                vec![]
            }
        );
        (origin, host.rejections.len(), guest.kicks())
    };
    let asks = |offered, differences| asks_on(0, offered, differences);
    let qemu = Features::VERSION_1 | Features::INDIRECT_DESC | Features::EVENT_IDX;
    let (as_qemu, whole) = (
        Differences::default(),
        Differences {
            whole: true,
            ..Differences::default()
        },
    );
    // The device is asked, and rejects it.
    let (origin, rejections, kicks) = asks(qemu, as_qemu);
    assert_eq!((origin, rejections), (Origin::Honoured, 1));
    assert!(kicks <= 3);
    let (origin, ..) = asks(qemu, whole);
    assert_eq!(origin, Origin::Ignored);
    // A device that accepts it, but cannot disable scanout 0.
    let stubborn = Differences {
        keeps_shown: true,
        ..whole
    };
    assert_eq!(asks(qemu, stubborn).0, Origin::Ignored);
    // All other scanouts can be disabled.
    let (origin, rejections, _) = asks_on(1, qemu, stubborn);
    assert_eq!((origin, rejections), (Origin::Ignored, 0));
    // The device is not asked.
    for offered in [
        qemu | Features::VIRGL,
        qemu | Features::CONTEXT_INIT,
        Features::VERSION_1 | Features::EVENT_IDX,
    ] {
        assert_eq!(
            asks(offered, Differences::default()),
            (Origin::Ignored, 0, 0)
        );
    }
}

/// Two scanouts, for tests of scanouts beside the first one.
const TWO: Setting = Setting {
    others: [(0, 0), (120, 150), (0, 0)],
    ..SETTING
};

#[test]
fn several_scanouts_show_the_text_that_fits_all() {
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
            for lines_a_piece in [1, 3, 30] {
                assert!(
                    log(setting, &numbered(60, lines_a_piece), true),
                    "{others:?}"
                );
            }
        }
    }
}

#[test]
fn a_line_on_several_scanouts_notifies_once() {
    let mut rig = Rig::new(TWO, Qemu::default()).unwrap();
    for line in 0..40 {
        let kicks = rig.guest.kicks();
        rig.write(format!("{line}\n").as_bytes());
        assert_eq!(rig.guest.kicks(), kicks + 1);
        rig.check();
    }
}

#[test]
fn displays_that_change_lose_no_text() {
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
            // Scanout 0 cannot be disabled.
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
            // The old picture is still there, except where nothing is visible any more.
            assert_eq!(resources(&rig), old + own(&rig));
            if scanout != 0 {
                assert!(rig.host.borrow().shown(0) == before);
            }
            if scanout != 0 && mode.is_none() {
                assert_eq!(rig.host.borrow().scanout(scanout), None);
            }
            let refused = std::mem::take(&mut rig.host.borrow_mut().rejections).len();
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
fn a_resource_of_another_driver_is_removed_from_a_scanout() {
    // On a scanout that the driver uses, and on one that it no longer uses.
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
        // The picture stays where there will be text.
        let stays = mode.is_some();
        assert_eq!(rig.host.borrow().scanout(scanout).is_some(), stays);
        assert!(rig.host.borrow().resources().contains(&other));
        rig.write(b"text");
        rig.check();
        assert!(!rig.host.borrow().resources().contains(&other));
    }
}

#[test]
fn a_scanout_without_an_earlier_picture_is_not_disabled() {
    // Scanout 0 comes after the picture, and goes before there is text. It cannot be disabled.
    let setting = Setting {
        mode: (0, 0),
        others: [(120, 150), (0, 0), (0, 0)],
        ..SETTING
    };
    let rig = Rig::new(setting, Qemu::default()).unwrap();
    let host = rig.host.clone();
    let retained = RetainedScanouts::on(1, host.borrow().resources()[0]);
    host.borrow_mut().set_mode(0, Some(SETTING.mode));
    let mut rig = Rig::on(setting, host, true).unwrap();
    assert_eq!(rig.display.scanouts().len(), 2);
    rig.display.adopt_scanouts(retained);
    rig.host.borrow_mut().set_mode(0, None);
    let mut rig = rig.follow();
    assert_eq!(rig.display.scanouts().len(), 1);
    rig.display.drain().unwrap();
    assert_eq!(rig.host.borrow().rejections, [""; 0]);
    assert!(rig.host.borrow().scanout(1).is_some());
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
        assert_eq!(host.rejections, [""; 0]);
        // The picture's resource, and one for the text.
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
fn scanouts_too_small_for_text_are_not_used() {
    let seen = |modes: &[(u32, u32)]| {
        let guest = Guest::new(QUEUE_BYTES);
        let host = Rc::new(RefCell::new(Host::new(Qemu::default(), modes)));
        let queue = connect_to(&guest, 64, Features::empty(), Order::First, &host);
        let info = Control::new(queue)
            .call(&GetDisplayInfo::new(), None)
            .unwrap();
        let scanouts = usable(&info).map(|mode| (mode.scanout, mode.width, mode.height));
        scanouts.collect::<Vec<_>>()
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
fn the_device_has_all_commands_before_a_write_returns() {
    // A guest that dies right after the write neither waits nor notifies again.
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
    fn an_invalid_used_ring_only_stops_the_display(
        actions in actions(),
        writes in prop::collection::vec(piece(), 1..60),
    ) {
        let mut rig = Rig::new(SETTING, Qemu::default()).unwrap();
        rig.display.drain().unwrap();
        let addresses = VirtQueue::addresses(&rig.guest, SETTING.queue).unwrap();
        rig.guest.plug(ScriptedDevice::new(addresses, actions));
        for bytes in &writes {
            let (failed, kicks) = (rig.display.failed(), rig.guest.kicks());
            rig.write(bytes);
            if failed.is_some() {
                prop_assert_eq!((rig.display.failed(), rig.guest.kicks()), (failed, kicks));
            }
        }
    }
}
