// SPDX-License-Identifier: GPL-2.0

//! A text screen on a virtio-gpu with arbitrary displays, rejections and used ring. The device must
//! be able to execute every command that it receives.
//!
//! An input is the start of the driver, its operations, and then the operations of the device.

use super::{
    bytes::{
        is_a_line,
        Bytes, //
    },
    device::{
        Request,
        Shared, //
    }, //
};
use crate::{
    gpu::{
        protocol::{
            Edid,
            GetDisplayInfo,
            GetEdid,
            Mode, //
        },
        Control,
        GpuError,
        Origin, //
    },
    scanout::{
        display::{
            Display,
            DisplayError,
            RetainedScanouts,
            RESOURCE_IDS, //
        },
        layout, //
    },
    text::{
        Cell,
        Cursor,
        Font,
        Palette,
        Rows,
        Screen,
        Scroll,
        Size, //
    },
    virtio::{
        queue::QUEUE_BYTES,
        Features,
        VirtQueue, //
    }, //
};
use std::collections::BTreeMap;
use zerocopy::FromZeros;

/// The number of cells of the screen.
const CELLS: usize = 1024;
/// The size in words of the band.
const BAND: usize = 24 << 10;
/// The ID of the driver's first resource.
const RESOURCE: u32 = 0x100;

/// The resources and scanouts of a device that executes all commands.
#[derive(Default)]
struct ReferenceDevice {
    resources: BTreeMap<u32, Size>,
}

impl ReferenceDevice {
    /// Applies a command.
    ///
    /// # Panics
    ///
    /// If no device could execute it.
    fn check(&mut self, Request { bytes, extra }: &Request) {
        let word = |at: usize| {
            let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
            u32::from_le_bytes(word.expect("a whole command"))
        };
        assert!(
            bytes[4..24].iter().all(|byte| *byte == 0),
            "a fence or a context"
        );
        let within = |size: Size| {
            let end = |start: u32, length: u32| u64::from(start) + u64::from(length);
            let (width, height) = (end(word(24), word(32)), end(word(28), word(36)));
            assert!(word(32) != 0 && word(36) != 0, "an empty rectangle");
            assert!(
                width <= size.width.into() && height <= size.height.into(),
                "command {:#x}: {width}x{height} of {size}",
                word(0)
            );
        };
        let length = match word(0) {
            0x100 => 24,
            0x101 => {
                let size = Size {
                    width: word(32),
                    height: word(36),
                };
                assert!((1..=16384).contains(&size.width) && (1..=16384).contains(&size.height));
                assert!(word(28) == 2 && word(24) != 0);
                let old = self.resources.insert(word(24), size);
                assert!(old.is_none(), "resource {:#x} is there already", word(24));
                40
            }
            // A resource of another driver may exist on the device.
            0x102 => {
                self.resources.remove(&word(24));
                32
            }
            0x103 => {
                assert!(word(40) < 16, "scanout {}", word(40));
                match word(44) {
                    0 => {}
                    id => within(self.resources[&id]),
                }
                48
            }
            0x104 => {
                within(self.resources[&word(40)]);
                48
            }
            0x105 => {
                within(self.resources[&word(48)]);
                56
            }
            0x106 => {
                assert!(self.resources.contains_key(&word(24)));
                assert!((1..=16384).contains(&word(28)));
                match bytes.len() {
                    32 => {
                        assert_eq!(*extra, 16 * word(28) as usize);
                        32
                    }
                    _ => 48,
                }
            }
            0x10a => {
                assert!(word(24) < 16, "scanout {}", word(24));
                32
            }
            command => panic!("command {command:#x}"),
        };
        assert_eq!(bytes.len(), length);
        assert!(*extra == 0 || word(0) == 0x106);
    }
}

/// The glyphs of every font: 512 of 32x64 px. Every second 512 bytes are blank, which includes the
/// space of an 8x16 font.
static GLYPHS: [u8; 512 * 4 * 64] = {
    let mut glyphs = [0x5a; 512 * 4 * 64];
    let mut at = 0;
    while at < glyphs.len() {
        if at & 512 != 0 {
            glyphs[at] = 0;
        }
        at += 1;
    }
    glyphs
};

/// Returns a font of any valid size.
fn font(bytes: &mut Bytes<'_>) -> Font<'static> {
    let (width, height) = (bytes.u8(), bytes.u8());
    let count = if width & 0x80 == 0 { 256 } else { 512 };
    let width = match width & 0x7f {
        0 => 8,
        width => 4 + u32::from(width) % 29,
    };
    let height = match height {
        0 => 16,
        height => 4 + u32::from(height) % 61,
    };
    Font::new(width, height, count, &GLYPHS).expect("a font of a size that there can be")
}

fn is_queue_error(error: Option<GpuError>) -> bool {
    matches!(error, Some(GpuError::Queue(_)))
}

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let flags = bytes.u8();
    let features = match flags & 1 {
        0 => Features::empty(),
        _ => Features::EVENT_IDX,
    };
    let size = 4 << (flags >> 1 & 7);
    let mut info = 0x1101u32.to_le_bytes().to_vec();
    info.resize(24, 0);
    for _ in 0..bytes.u8() % 17 {
        let (width, height, enabled) = (bytes.u16(), bytes.u16(), bytes.u8());
        // The position of a scanout has no meaning.
        let one = [7, u32::MAX, width.into(), height.into(), enabled.into(), 0];
        info.extend(one.map(u32::to_le_bytes).concat());
    }
    let offered = Features::from_bits_retain(u64::from(bytes.u32()));
    let mut fonts = bytes.clone();
    bytes.take(4);
    let count = usize::from(bytes.u16() % 1024);
    let mut steps = Bytes(bytes.take(count));

    let shared = Shared::new(bytes, QUEUE_BYTES + 4 * BAND, features);
    shared.set_info(info);
    let Some(addresses) = VirtQueue::addresses(&shared, size) else {
        panic!("a queue of {size}");
    };
    shared.plug(&addresses);
    let mut reference = ReferenceDevice::default();
    let mut check = || shared.requests().iter().for_each(|it| reference.check(it));
    let mut control = Control::new(VirtQueue::new(shared.clone(), addresses.size, features));

    let mut scanouts = [Mode {
        scanout: 0,
        width: 0,
        height: 0,
    }; 16];
    let mut count = 0;
    match control.call(&GetDisplayInfo::new(), None) {
        Ok(info) => {
            for (head, mode) in scanouts.iter_mut().zip(layout::usable(&info)) {
                *head = mode;
                count += 1;
            }
        }
        Err(why) => is_a_line(why),
    }
    let scanouts = &scanouts[..count];
    let Some(first) = scanouts.first() else {
        return false;
    };
    let origin =
        Origin::from_features(offered).probe(&mut control, first.scanout, RESOURCE + RESOURCE_IDS);
    check();
    let scroll = match origin {
        Ok(Origin::Honoured) => Scroll::Pan,
        Ok(_) if flags & 0x10 != 0 => Scroll::Pan,
        Ok(_) => Scroll::Repaint,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    let mut band = vec![0; BAND];
    let begin = (RESOURCE, flags & 0x20 != 0);
    let font_of_all = font(&mut fonts);
    let display = Display::start(
        control,
        scanouts,
        font_of_all,
        scroll,
        begin,
        CELLS,
        &mut band,
    );
    check();
    let mut display = match display {
        Ok(display) => display,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    let mut cells = vec![Cell::blank(8); CELLS];
    let mut rows = Rows::new_zeroed();
    let (grid, bits) = (*display.grid(), display.font().glyph_bits());
    let screen = Screen::new(&mut cells, &mut rows, grid, bits);
    let mut screen = screen.expect("a grid has its cells");
    if flags & 0x40 != 0 {
        display.adopt_scanouts(RetainedScanouts::on(first.scanout, 0x77));
    }

    let mut is_untouched = true;
    for _ in 0..64 {
        if steps.is_empty() {
            break;
        }
        let runs = shared.runs();
        let failed = display.failed();
        let step = steps.u8() % 16;
        // A picture is only shown before all text.
        let is_first = core::mem::replace(&mut is_untouched, false);
        match step {
            0..=5 => {
                let (attribute, count) = (steps.u8(), steps.u8());
                screen.write(steps.take(count.into()), attribute);
                screen.show(&mut display);
            }
            6 => {
                screen.write(&[b'\n'; 40][..usize::from(steps.u8() % 40)], 7);
                screen.show(&mut display);
            }
            7 => {
                let (row, col) = (steps.u8().into(), steps.u8().into());
                let scanlines = 0..usize::from(steps.u8());
                screen.set_cursor(Some(Cursor {
                    row,
                    col,
                    scanlines,
                }));
                screen.show(&mut display);
            }
            8 => display.flush_again(),
            9 => {
                let mut palette = Palette::DEFAULT;
                palette.0[usize::from(steps.u8() % 16)] = steps.u32() & 0xff_ffff;
                *display.palette() = palette;
                screen.redraw();
            }
            10 => {
                let font = font(&mut steps);
                match display.set_font(font, scroll, CELLS) {
                    Ok(()) => {
                        assert!(screen.reinit(*display.grid(), font.glyph_bits()));
                        screen.redraw();
                    }
                    Err(why @ DisplayError::Grid(_)) => is_a_line(why),
                    // The device gets no more commands, and the text's new layout is not used.
                    Err(DisplayError::Gpu(_)) => break,
                }
            }
            11 => {
                if steps.u8() & 1 == 0 {
                    screen.blank(&mut display);
                } else {
                    screen.unblank();
                    screen.show(&mut display);
                }
            }
            12 => {
                if display.recover() {
                    assert!(is_queue_error(failed));
                    screen.restore(&mut display);
                    screen.show(&mut display);
                }
            }
            13 if is_first => {
                let rows = u32::from(steps.u8())..u32::from(steps.u16());
                let keeps = steps.u8() & 1 != 0;
                let grid = *display.grid();
                // Whole rows of glyphs, and whole tiles.
                let height = grid.window() as u32 * grid.glyph().height;
                let width = (grid.band().tiles() * grid.band().unit()) as u32;
                display.show_picture(rows, keeps, |x, y, pixels| {
                    assert!(y < height && x < width, "{x},{y} of {width}x{height}");
                    assert!(pixels.len() <= BAND);
                    pixels.fill(0x12_3456);
                });
                if keeps {
                    screen.mark_all_drawn();
                }
            }
            14 if steps.u8() & 1 != 0 => {
                let (get, mut edid) = (GetEdid::new(first.scanout), Edid::new_zeroed());
                let _ = display.control().call_into(&get, None, &mut edid);
                assert!(edid.edid().len() <= 1024 && edid.edid().len() % 128 == 0);
            }
            14 => {
                let info = display.control().call(&GetDisplayInfo::new(), None);
                if let Ok(info) = info {
                    assert!(layout::usable(&info).count() <= 16);
                }
            }
            _ => {
                let _ = display.drain();
            }
        }
        check();
        // The limit for the commands of one step: each may wait for a slot, and all for the device.
        assert!(
            shared.runs() - runs <= 40_000,
            "{} runs",
            shared.runs() - runs
        );
        if failed.is_some() && failed == display.failed() {
            assert_eq!(shared.runs(), runs, "waits for a device that failed");
        }
        if let Some(why) = display.failed() {
            is_a_line(why);
        }
    }
    display.retain_scanouts();
    check();
    let (count, first) = display.error_responses();
    assert_eq!(count == 0, first.is_none());
    display.failed().is_none() && count == 0
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let seed = |flags: u8, modes: &[(u16, u16)], offered: u32, steps: &[u8], actions: &[u8]| {
        let mut seed = vec![flags, modes.len() as u8];
        for (width, height) in modes {
            seed.extend(width.to_le_bytes());
            seed.extend(height.to_le_bytes());
            seed.push(1);
        }
        seed.extend(offered.to_le_bytes());
        seed.extend([0; 4]);
        seed.extend((steps.len() as u16).to_le_bytes());
        seed.extend(steps);
        seed.extend(actions);
        seed
    };
    let write = |text: &[u8]| [&[0, 7, text.len() as u8], text].concat();
    let line = write(b"[    0.000000] Booting Linux on physical CPU 0x0\n");
    let rest = [
        6, 39, 7, 1, 2, 15, 14, 0, 14, 1, 8, 9, 4, 1, 2, 3, 0, 10, 8, 18, 11, 0, 11, 1, 6, 3, 15,
    ];
    let steps = [&line[..], &line, &rest, &line].concat();
    let picture = [&[13, 0, 90, 0, 0][..], &steps].concat();
    let indirect = 1 << 28;
    vec![
        // All kinds: a device that pans, one that does not, two displays, a small queue.
        seed(
            0x0b,
            &[(640, 480)],
            indirect,
            &steps,
            &[7, 7, 14, 5, 0x12, 0, 0],
        ),
        seed(0x0a, &[(640, 480)], 0, &steps, &[]),
        seed(
            0x1a,
            &[(640, 480), (800, 600)],
            0,
            &picture,
            &[0, 0, 8, 5, 7],
        ),
        seed(0x20, &[(333, 211), (320, 200)], 0, &steps, &[]),
        seed(0x65, &[(1280, 800)], 1, &picture, &[]),
    ]
}
