// SPDX-License-Identifier: GPL-2.0

//! A whole log, from the device that has just been set up to what is seen on its screen, and all
//! that the stages of the boot do with it.

use std::{
    cell::RefCell,
    rc::Rc, //
};

use crate::{
    backend::{
        connect_to,
        Order, //
    },
    display::{
        Noise,
        Terminal, //
    },
    gpu::protocol::Mode,
    guest::{
        Guest,
        Nobody, //
    },
    host::{
        Host,
        Ways, //
    },
    qemu::Qemu,
    scanout::{
        display::{
            RetainedScanouts,
            RESOURCE_IDS, //
        },
        log::{
            Log,
            LogError,
            Memory,
            Options,
            TEXT_WORDS, //
        }, //
    },
    text::{
        Font,
        Palette,
        Scroll,
        ATTRIBUTE, //
    },
    virtio::{
        adoption::InitialState,
        queue::{
            is_drained,
            QUEUE_BYTES, //
        },
        setup::{
            Addresses,
            Negotiated, //
        },
        Features,
        QueueNotify,
        VirtQueue,
        Width, //
    }, //
};

/// How a log is started.
#[derive(Clone, Copy)]
struct Setting {
    modes: &'static [(u32, u32)],
    scroll: Option<Scroll>,
    /// A mode for the first scanout, whatever the host prefers.
    mode: Option<(u32, u32)>,
    offered: Features,
    ways: Ways,
    found: InitialState,
    /// Bytes of memory that the device sees, behind the ring's.
    shared: usize,
    /// Words of memory that the text has for itself; if none, it lives in the other.
    text: usize,
    glyph: (u32, u32),
}

const SETTING: Setting = Setting {
    modes: &[(640, 480)],
    scroll: Some(Scroll::Pan),
    mode: None,
    offered: Features::VERSION_1.union(Features::EVENT_IDX),
    ways: Ways {
        whole: false,
        skips_flushes: false,
        keeps_shown: false,
        one_scanout: false,
    },
    found: InitialState::Idle,
    shared: (240 << 10) - QUEUE_BYTES,
    text: 0,
    glyph: (8, 16),
};

/// The ID of the log's first resource.
const RESOURCE: u32 = 2;

/// A log and all that is behind it.
struct Rig {
    guest: Guest,
    host: Rc<RefCell<Host<Qemu>>>,
    log: Log<'static, Guest>,
    terminal: Terminal,
    noise: &'static Noise,
}

impl Rig {
    fn start(setting: Setting) -> Result<Self, LogError> {
        let host = Host::new(Qemu::default(), setting.modes);
        Self::on(setting, Rc::new(RefCell::new(host)), RESOURCE)
    }

    /// Starts on a device that may have resources already, with IDs below `resource`.
    fn on(
        setting: Setting,
        host: Rc<RefCell<Host<Qemu>>>,
        resource: u32,
    ) -> Result<Self, LogError> {
        let guest = Guest::new(QUEUE_BYTES + setting.shared);
        host.borrow_mut().ways = setting.ways;
        let place = VirtQueue::addresses(&guest, 64).unwrap();
        // Who sets the device up does not keep the ring.
        drop(connect_to(
            &guest,
            64,
            Features::EVENT_IDX,
            Order::First,
            &host,
        ));
        let negotiated = Negotiated {
            offered: setting.offered,
            features: Features::VERSION_1 | Features::EVENT_IDX,
            queue: place,
            queue_notify: QueueNotify {
                offset: 0,
                width: Width::Bits16,
                queue: 0,
            },
            initial_state: setting.found,
        };
        let options = Options {
            scroll: setting.scroll,
            mode: setting.mode.map(|(width, height)| Mode {
                scanout: 0,
                width,
                height,
            }),
            addresses: Addresses::Physical,
            adopts: false,
        };
        let memory = Memory {
            shared: guest.words(QUEUE_BYTES, setting.shared / 4),
            text: vec![0; setting.text].leak(),
        };
        let (width, height) = setting.glyph;
        let noise: &Noise = Box::leak(Box::new(Noise::new(width, height)));
        let font = move |_, _| noise.font();
        let log = Log::start(guest.clone(), &negotiated, options, resource, memory, font)?;
        let terminal = Terminal::new(log.grid().cols(), log.grid().rows());
        Ok(Self {
            guest,
            host,
            log,
            terminal,
            noise,
        })
    }

    fn new(setting: Setting) -> Self {
        Self::start(setting).unwrap()
    }

    /// Takes text, of which nothing is shown yet.
    fn append(&mut self, text: &str) {
        self.log.append(text.as_bytes(), ATTRIBUTE, false);
        self.terminal.write(text.as_bytes());
    }

    fn write(&mut self, text: &str) {
        self.append(text);
        self.log.show();
    }

    /// Writes lines of text, one at a time.
    fn write_lines(&mut self, lines: std::ops::Range<usize>) {
        for line in lines {
            self.write(&format!("line {line} {}\n", "-".repeat(line * 7 % 50)));
        }
    }

    /// The picture that should be on a screen of this size.
    fn expected(&self, size: (u32, u32)) -> Vec<u32> {
        self.noise.picture(size, self.terminal.text())
    }

    /// Whether all of the text, and nothing else, is on every screen, without anything being asked
    /// of the log.
    fn is_shown(&self) -> bool {
        let host = self.host.borrow();
        self.log.scanouts().iter().all(|head| {
            let expected = self.expected((head.width, head.height));
            host.shown(head.scanout as usize) == expected
        })
    }

    /// Lets the device finish, and checks that the screens are right.
    fn check(&mut self) {
        self.log.finish();
        assert!(self.is_shown());
        assert_eq!(self.host.borrow().complaints, [""; 0]);
        assert_eq!(self.log.take_error(), None);
    }

    /// How often the device was told anything.
    fn calls(&self) -> (usize, usize) {
        (self.guest.kicks(), self.guest.turns())
    }
}

fn scrolls() -> [Setting; 2] {
    [Scroll::Pan, Scroll::Repaint].map(|scroll| Setting {
        scroll: Some(scroll),
        ..SETTING
    })
}

#[test]
fn a_log_is_on_the_screen_wherever_its_text_lives() {
    for setting in scrolls() {
        for text in [0, TEXT_WORDS] {
            let mut rig = Rig::new(Setting { text, ..setting });
            assert_eq!(rig.log.size(), (640, 480));
            assert_eq!((rig.log.grid().cols(), rig.log.grid().rows()), (80, 30));
            rig.write_lines(0..100);
            rig.check();
        }
    }
}

#[test]
fn the_largest_screen_of_text_fits_the_memory_for_it() {
    let setting = Setting {
        modes: &[(3840, 2160)],
        text: TEXT_WORDS,
        ..SETTING
    };
    let rig = Rig::new(setting);
    assert_eq!((rig.log.grid().cols(), rig.log.grid().rows()), (480, 135));
    // In what the driver brings for all, the text has its full size as well.
    let mut rig = Rig::new(Setting { text: 0, ..setting });
    assert_eq!((rig.log.grid().cols(), rig.log.grid().rows()), (480, 135));
    rig.write_lines(0..150);
    rig.check();
}

#[test]
fn a_larger_font_leaves_cells_for_the_usual_one() {
    for text in [0, TEXT_WORDS] {
        let mut rig = Rig::new(Setting {
            glyph: (16, 32),
            text,
            ..SETTING
        });
        assert_eq!((rig.log.grid().cols(), rig.log.grid().rows()), (40, 15));
        rig.write_lines(0..20);
        rig.check();
        let noise: &Noise = Box::leak(Box::new(Noise::new(8, 16)));
        rig.log.set_font(noise.font().unwrap()).unwrap();
        let grid = *rig.log.grid();
        assert_eq!((grid.cols(), grid.rows()), (80, 30));
        (rig.noise, rig.terminal) = (noise, Terminal::new(80, 30));
        rig.write_lines(0..100);
        rig.check();
    }
}

#[test]
fn a_font_that_is_set_begins_on_a_blank_screen_in_the_colours_there_are() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    let mut palette = Palette::DEFAULT;
    palette.0[0] = 0x123456;
    rig.log.set_palette(palette);
    rig.log.set_font(rig.noise.font().unwrap()).unwrap();
    assert!(rig.log.show());
    rig.log.finish();
    let host = rig.host.borrow();
    assert!(host.shown(0).iter().all(|&pixel| pixel == 0x123456));
    assert_eq!(host.complaints, [""; 0]);
}

#[test]
fn a_palette_is_drawn_once() {
    let mut rig = Rig::new(SETTING);
    rig.write("text\n");
    rig.check();
    // The same one changes nothing.
    rig.log.set_palette(Palette::DEFAULT);
    assert!(!rig.log.show());
    let mut palette = Palette::DEFAULT;
    palette.0[0] = 0x123456;
    rig.log.set_palette(palette);
    assert!(rig.log.show());
    rig.log.finish();
    // Right of the text and below it as well.
    let last = rig.host.borrow().shown(0).last().copied();
    assert_eq!(last, Some(0x123456));
    rig.log.set_palette(palette);
    assert!(!rig.log.show());
}

#[test]
fn a_device_without_a_scanout_or_a_font_shows_no_log() {
    let error = |setting| Rig::start(setting).err();
    let none = Setting {
        modes: &[(0, 0)],
        ..SETTING
    };
    assert_eq!(error(none), Some(LogError::NoScanout));
    let low = Setting {
        modes: &[(640, 15)],
        ..SETTING
    };
    assert!(matches!(error(low), Some(LogError::Display(_))));
    let small = Setting {
        shared: 2048,
        ..SETTING
    };
    assert!(matches!(error(small), Some(LogError::Display(_))));
}

#[test]
fn memory_that_is_too_small_is_an_error() {
    // For the scanouts; and for the text, which has memory of its own or not.
    for (shared, text) in [(8, 0), (16, 0), (SETTING.shared, 1), (SETTING.shared, 5)] {
        let error = Rig::start(Setting {
            shared,
            text,
            ..SETTING
        });
        assert_eq!(error.err(), Some(LogError::NoScanout));
    }
    for text in [100, 500, 1000, 1700] {
        let error = Rig::start(Setting { text, ..SETTING });
        assert_eq!(error.err(), Some(LogError::NoFont));
    }
}

#[test]
fn another_font_needs_no_more_of_the_host_than_it_has() {
    // Two such resources at a time are more.
    let modes: &[(u32, u32)] = &[(4096, 4112)];
    let mut rig = Rig::new(Setting { modes, ..SETTING });
    assert!(!rig.log.repaints());
    rig.log.set_font(rig.noise.font().unwrap()).unwrap();
    rig.log.finish();
    assert!(!rig.log.has_failed());
    // The old resource goes before the new one comes; that it goes once more is no trouble.
    assert_eq!(rig.log.take_error(), None);
    let is_unref = |complaint: &String| complaint.contains("Unref");
    assert!(rig.host.borrow().complaints.iter().all(is_unref));
    assert_eq!(rig.host.borrow().resources(), [RESOURCE ^ 1]);
}

#[test]
fn the_first_scanout_has_the_text_if_all_do_not_fit() {
    // Each one's resource takes a third of what a host gives.
    let large = (4608, 4096);
    let modes: &[(u32, u32)] = Box::leak(Box::new([(640, 480), large, large, large]));
    let mut rig = Rig::new(Setting {
        modes,
        scroll: Some(Scroll::Repaint),
        ..SETTING
    });
    assert_eq!(rig.log.scanouts().len(), 1);
    assert!(!rig.log.scanouts_changed());
    rig.write_lines(0..40);
    rig.check();
    // And all of them, where they do.
    let mut rig = Rig::new(Setting {
        modes: &[(640, 480), (800, 600)],
        scroll: Some(Scroll::Repaint),
        ..SETTING
    });
    assert_eq!(rig.log.scanouts().len(), 2);
    assert_eq!(rig.log.size(), (640, 480));
    rig.write_lines(0..40);
    rig.check();
}

#[test]
fn a_mode_that_is_set_is_used_as_long_as_the_host_wants_the_same() {
    let mut rig = Rig::new(Setting {
        modes: &[(640, 480), (800, 600)],
        mode: Some((720, 400)),
        ..SETTING
    });
    let head = |scanout, width, height| Mode {
        scanout,
        width,
        height,
    };
    assert_eq!(rig.log.scanouts(), [head(0, 720, 400), head(1, 800, 600)]);
    assert_eq!(rig.log.grid().cols(), 90);
    assert!(!rig.log.scanouts_changed());
    rig.host.borrow_mut().set_mode(0, Some((648, 480)));
    assert!(rig.log.scanouts_changed());
}

#[test]
fn scanouts_that_change_are_noticed_but_not_that_all_are_gone() {
    let mut rig = Rig::new(Setting {
        modes: &[(640, 480), (800, 600)],
        ..SETTING
    });
    assert!(!rig.log.scanouts_changed());
    let mut changes = |scanout, mode| {
        rig.host.borrow_mut().set_mode(scanout, mode);
        rig.log.scanouts_changed()
    };
    assert!(changes(0, Some((640, 488))));
    assert!(!changes(0, Some((640, 480))));
    assert!(changes(1, None));
    assert!(changes(2, Some((800, 600))));
    // What has no room for text beside others is none.
    assert!(changes(2, Some((8, 8))));
    assert!(!changes(1, Some((800, 600))));
    assert!(!changes(2, None));
    // Nobody looks any more.
    changes(0, None);
    assert!(!changes(1, None));
    // Nor at what shows no text.
    assert!(!changes(0, Some((8, 8))));
}

#[test]
fn the_device_decides_how_the_log_scrolls_unless_somebody_says() {
    let asked = Setting {
        scroll: None,
        offered: SETTING.offered.union(Features::INDIRECT_DESC),
        ..SETTING
    };
    let mut rig = Rig::new(asked);
    assert!(!rig.log.repaints());
    // It refused to show a pixel, which is no trouble.
    assert_eq!(rig.host.borrow_mut().complaints.split_off(0).len(), 1);
    rig.write_lines(0..40);
    rig.check();
    let whole = Ways {
        whole: true,
        ..Ways::default()
    };
    let mut rig = Rig::new(Setting {
        ways: whole,
        ..asked
    });
    assert!(rig.log.repaints());
    // Scanout 0 cannot show nothing.
    assert_eq!(rig.host.borrow_mut().complaints.split_off(0).len(), 1);
    rig.write_lines(0..40);
    rig.check();
    // What was asked with is not kept.
    assert_eq!(rig.host.borrow().resources(), [RESOURCE]);
    // Of several scanouts it is the first one that is asked.
    let rig = Rig::new(Setting {
        modes: &[(640, 480), (800, 600)],
        ..asked
    });
    let complaints = rig.host.borrow_mut().complaints.split_off(0);
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].contains("scanout: 0,"), "{complaints:?}");
    // Not asked: the features tell, or somebody has said it.
    let mut rig = Rig::new(Setting {
        scroll: None,
        ..SETTING
    });
    assert!(rig.log.repaints());
    rig.check();
    for setting in scrolls() {
        let mut rig = Rig::new(Setting {
            scroll: setting.scroll,
            ..asked
        });
        assert_eq!(rig.log.repaints(), setting.scroll == Some(Scroll::Repaint));
        rig.check();
    }
}

#[test]
fn a_question_is_asked_with_an_id_that_nobody_has() {
    // A device that keeps what it shows keeps what it was asked with, too.
    let rig = Rig::new(Setting {
        scroll: None,
        offered: SETTING.offered.union(Features::INDIRECT_DESC),
        ways: Ways {
            whole: true,
            keeps_shown: true,
            ..Ways::default()
        },
        ..SETTING
    });
    let ids = rig.host.borrow().resources();
    assert_eq!(ids, [RESOURCE, RESOURCE + RESOURCE_IDS]);
}

#[test]
fn what_an_adopted_device_shows_stays_until_there_is_text() {
    let mut rig = Rig::new(Setting {
        found: InitialState::Adopted,
        ..SETTING
    });
    assert_eq!(rig.log.initial_state(), InitialState::Adopted);
    rig.log.finish();
    assert_eq!(rig.host.borrow().scanout(0), None);
    rig.write("text\n");
    rig.check();
    // One that was not is black at once.
    let mut rig = Rig::new(SETTING);
    assert_eq!(rig.log.initial_state(), InitialState::Idle);
    rig.check();
}

#[test]
fn a_log_that_is_paused_keeps_text_and_lets_the_device_alone() {
    for setting in scrolls() {
        let mut rig = Rig::new(setting);
        rig.write_lines(0..40);
        rig.check();
        let calls = rig.calls();
        assert!(!rig.log.is_paused());
        rig.log.pause();
        assert!(rig.log.is_paused());
        for line in 40..80 {
            rig.append(&format!("line {line}\n"));
            assert!(!rig.log.needs_repaint());
            assert!(!rig.log.show());
        }
        rig.host.borrow_mut().set_mode(0, Some((800, 600)));
        assert!(!rig.log.scanouts_changed());
        rig.host.borrow_mut().set_mode(0, Some((640, 480)));
        rig.log.flush_again();
        rig.log.blank();
        rig.log.finish();
        assert!(!rig.log.recover());
        assert_eq!(rig.log.retain_scanouts(), RetainedScanouts::default());
        assert_eq!(rig.calls(), calls);
        rig.log.resume();
        assert!(!rig.log.is_paused());
        rig.check();
        rig.write_lines(80..90);
        rig.check();
    }
}

#[test]
fn rows_that_scrolled_wait_for_a_frame_where_nothing_pans() {
    for setting in scrolls() {
        let repaints = setting.scroll == Some(Scroll::Repaint);
        let mut rig = Rig::new(setting);
        rig.write_lines(0..30);
        // The last newline waits for what comes next.
        assert!(!rig.log.needs_repaint());
        rig.append("and one more\n");
        assert_eq!(rig.log.needs_repaint(), repaints);
        assert!(rig.log.show());
        assert!(!rig.log.needs_repaint());
        rig.check();
    }
}

#[test]
fn what_waits_for_a_frame_is_shown_before_a_log_ends() {
    let setting = Setting {
        scroll: Some(Scroll::Repaint),
        ..SETTING
    };
    let with_text_due = || {
        let mut rig = Rig::new(setting);
        rig.write_lines(0..40);
        rig.check();
        rig.append("due\n");
        assert!(rig.log.needs_repaint());
        rig
    };
    let mut rig = with_text_due();
    rig.log.finish();
    assert!(rig.is_shown());
    let mut rig = with_text_due();
    assert_ne!(rig.log.retain_scanouts(), RetainedScanouts::default());
    rig.log.finish();
    assert!(rig.is_shown());
}

#[test]
fn a_log_ends_when_all_that_was_shown_is_on_the_screen() {
    let mut rig = Rig::new(SETTING);
    rig.write_lines(0..3);
    assert!(!rig.is_shown());
    let Rig {
        host,
        log,
        terminal,
        noise,
        ..
    } = rig;
    let (_, trouble) = log.end();
    assert_eq!(trouble, None);
    assert!(host.borrow().shown(0) == noise.picture((640, 480), terminal.text()));
}

#[test]
fn the_vt_is_stale_until_it_is_synced() {
    let mut rig = Rig::new(SETTING);
    assert!(!rig.log.is_vt_stale());
    assert!(!rig.log.mark_vt_synced());
    rig.log.append(b"text\n", ATTRIBUTE, false);
    assert!(rig.log.is_vt_stale());
    // What comes next begins in the next row, for the VT as well.
    assert!(rig.log.mark_vt_synced());
    assert_eq!(rig.log.screen().write_position(), (1, 0));
    assert!(!rig.log.is_vt_stale());
    assert!(!rig.log.mark_vt_synced());
    rig.log.append_dropped(7);
    assert!(rig.log.is_vt_stale() && rig.log.mark_vt_synced());
    rig.log.begin_below(64);
    assert!(rig.log.is_vt_stale() && rig.log.mark_vt_synced());
}

#[test]
fn records_that_were_dropped_are_told_in_the_usual_words() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    rig.log.append_dropped(12);
    rig.terminal.write(b"** 12 printk messages dropped **\n");
    rig.write("after\n");
    rig.check();
}

#[test]
fn any_number_of_dropped_records_is_written_out() {
    let mut rig = Rig::new(SETTING);
    let numbers = [0, 9, 10, 1_000_000, u64::MAX];
    numbers
        .iter()
        .for_each(|&number| rig.log.append_dropped(number));
    let text = rows(&mut rig);
    for (row, number) in text.iter().zip(numbers) {
        assert_eq!(*row, format!("** {number} printk messages dropped **"));
    }
}

#[test]
fn text_begins_below_a_picture() {
    // 33 pixels are two rows and a bit; the screen has thirty rows, of which the last may scroll.
    for (pixels, row) in [(0, 0), (1, 1), (32, 2), (33, 3), (464, 29)] {
        let mut rig = Rig::new(SETTING);
        rig.log.begin_below(pixels);
        assert_eq!(
            rig.log.screen().write_position(),
            (row, 0),
            "{pixels} pixels"
        );
        for _ in 0..row {
            rig.terminal.write(b"\n");
        }
        rig.write("text\n");
        rig.check();
    }
    // A picture as high as the screen scrolls by a row.
    let mut rig = Rig::new(SETTING);
    rig.log.screen().set_write_position(29, 0);
    rig.log.append(b"picture", ATTRIBUTE, false);
    rig.log.begin_below(465);
    rig.terminal.write(&[b'\n'; 28]);
    rig.terminal.write(b"\npicture\n");
    rig.write("text");
    rig.check();
}

#[test]
fn a_picture_that_text_keeps_scrolls_with_it() {
    let shown = |keeps| {
        let mut rig = Rig::new(SETTING);
        let paint = |_, _, pixels: &mut [u32]| pixels.fill(0xabcdef);
        rig.log.show_picture(0..480, keeps, paint);
        rig.log.finish();
        assert_eq!(rig.host.borrow().shown(0)[0], 0xabcdef);
        rig.log.append(b"text", ATTRIBUTE, false);
        rig.log.show();
        rig.log.finish();
        let host = rig.host.borrow();
        (host.shown(0)[640 * 479], host.shown(0)[639])
    };
    assert_eq!(shown(true), (0xabcdef, 0xabcdef));
    assert_eq!(shown(false), (0, 0));
    // What the picture covers is blanked once rows scroll.
    let mut rig = Rig::new(SETTING);
    rig.log
        .show_picture(0..480, true, |_, _, pixels| pixels.fill(0xabcdef));
    rig.write_lines(0..61);
    rig.check();
}

/// The text of all rows of the screen.
fn rows(rig: &mut Rig) -> Vec<String> {
    let screen = rig.log.screen();
    let text = |row: usize| {
        let cells = screen.row(row).iter();
        let bytes: Vec<u8> = cells.map(|cell| cell.glyph(8) as u8).collect();
        String::from_utf8(bytes).unwrap().trim_end().to_owned()
    };
    (0..30).map(text).collect()
}

fn urgent(rig: &mut Rig, text: &str) {
    rig.log.append(text.as_bytes(), ATTRIBUTE, true);
}

#[test]
fn how_urgent_text_begins_and_its_trace_stay_on_the_screen() {
    let mut rig = Rig::new(SETTING);
    for line in 0..20 {
        rig.append(&format!("calm {line}\n"));
    }
    for line in 0..40 {
        urgent(&mut rig, &format!("reason {line}\n"));
    }
    urgent(&mut rig, "Call trace:\n");
    for line in 0..40 {
        urgent(&mut rig, &format!(" function {line}\n"));
        // Only the first one is kept.
        if line == 20 {
            urgent(&mut rig, "Call trace:\n");
        }
    }
    let text = rows(&mut rig);
    // A quarter of the screen each, from their beginnings on.
    assert_eq!(text[0], "reason 0");
    assert!(text.contains(&"reason 6".to_owned()));
    let trace = text.iter().position(|row| row == "Call trace:").unwrap();
    assert!((7..10).contains(&trace));
    assert_eq!(text[trace + 1], " function 0");
    assert!(text.iter().any(|row| row.ends_with("rows left out ...")));
    assert_eq!(text[29], " function 39");
}

#[test]
fn what_was_urgent_may_scroll_away_once_it_is_over() {
    for how in 0..3 {
        let mut rig = Rig::new(SETTING);
        urgent(&mut rig, "first reason\n");
        urgent(&mut rig, "Call trace:\n");
        match how {
            0 => rig.log.end_urgent(),
            // Other text says so as well.
            1 => {}
            _ => rig.log.clear(),
        }
        for line in 0..60 {
            rig.log
                .append(format!("calm {line}\n").as_bytes(), ATTRIBUTE, false);
        }
        assert_eq!(rows(&mut rig)[0], "calm 30");
        // And the next trouble is kept as the first one was.
        urgent(&mut rig, "second reason\n");
        for line in 0..60 {
            urgent(&mut rig, &format!("more {line}\n"));
        }
        urgent(&mut rig, "Call trace:\n");
        for line in 0..60 {
            urgent(&mut rig, &format!(" function {line}\n"));
        }
        let text = rows(&mut rig);
        assert_eq!(text[0], "second reason");
        assert!(text.contains(&"Call trace:".to_owned()));
        assert_eq!(text[29], " function 59");
    }
}

#[test]
fn calm_text_that_is_over_leaves_marks_of_nobody() {
    // Only what was urgent has anything that could be let go.
    let mut rig = Rig::new(SETTING);
    rig.log.screen().retain();
    rig.log.end_urgent();
    for line in 0..60 {
        rig.log
            .append(format!("line {line}\n").as_bytes(), ATTRIBUTE, false);
    }
    assert_eq!(rows(&mut rig)[0], "line 0");
}

#[test]
fn a_screen_that_is_cleared_begins_at_its_top() {
    let mut rig = Rig::new(SETTING);
    rig.write_lines(0..40);
    rig.log.clear();
    rig.terminal = Terminal::new(80, 30);
    rig.write("text\n");
    rig.check();
}

#[test]
fn a_screen_is_black_until_it_is_not_blanked_any_more() {
    let mut rig = Rig::new(SETTING);
    rig.write_lines(0..40);
    rig.log.blank();
    rig.log.finish();
    assert!(rig.host.borrow().shown(0).iter().all(|&pixel| pixel == 0));
    rig.log.screen().unblank();
    rig.log.show();
    rig.check();
}

#[test]
fn a_flush_that_was_skipped_is_made_again() {
    let mut rig = Rig::new(Setting {
        scroll: Some(Scroll::Repaint),
        ways: Ways {
            whole: true,
            skips_flushes: true,
            ..Ways::default()
        },
        ..SETTING
    });
    rig.write_lines(0..3);
    rig.log.finish();
    assert!(!rig.is_shown());
    rig.host.borrow_mut().idle();
    rig.log.flush_again();
    rig.check();
}

#[test]
fn trouble_is_told_once_and_again_after_a_recovery() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    rig.check();
    rig.guest.stop(true);
    rig.write_lines(0..100);
    assert!(rig.log.has_failed());
    let stalled = rig.log.take_error();
    assert_eq!(
        stalled.map(|error| error.to_string()).as_deref(),
        Some("the device does not answer")
    );
    assert_eq!(rig.log.take_error(), None);
    // It has not done what it was told.
    assert!(!rig.log.recover());
    rig.guest.stop(false);
    rig.guest.run();
    assert!(rig.log.recover());
    assert!(!rig.log.has_failed());
    rig.check();
    rig.guest.plug(Nobody);
    rig.write_lines(0..100);
    assert!(rig.log.has_failed());
    assert_eq!(rig.log.take_error(), stalled);
    assert_eq!(rig.log.end().1, None);
}

#[test]
fn a_device_that_stalls_in_the_middle_of_a_font_shows_the_text_when_it_answers_again() {
    for setting in scrolls() {
        let mut stalls = 0;
        for turns in 0..100 {
            let mut rig = Rig::new(setting);
            rig.write_lines(0..10);
            rig.check();
            rig.guest.stop_after(turns);
            let noise: &Noise = Box::leak(Box::new(Noise::new(8, 14)));
            let _ = rig.log.set_font(noise.font().unwrap());
            let grid = *rig.log.grid();
            (rig.noise, rig.terminal) = (noise, Terminal::new(grid.cols(), grid.rows()));
            rig.log.finish();
            rig.guest.stop(false);
            (0..100).for_each(|_| rig.guest.run());
            if rig.log.has_failed() {
                stalls += 1;
                assert!(rig.log.recover(), "after {turns}");
                // It may not have had what it is told to give up.
                let is_unref = |complaint: &String| complaint.contains("Unref");
                rig.host.borrow_mut().complaints.retain(|it| !is_unref(it));
            }
            rig.write_lines(10..20);
            rig.check();
        }
        assert!(stalls > 3);
    }
}

#[test]
fn a_log_that_is_abandoned_leaves_the_device_nothing_to_do() {
    for fails in [false, true] {
        let mut rig = Rig::new(SETTING);
        rig.write("before\n");
        rig.check();
        // The device is shown commands, and does not come to them.
        rig.guest.stop(true);
        rig.append("after\n");
        rig.log.show();
        if fails {
            rig.log.finish();
            assert!(rig.log.has_failed());
        } else {
            rig.guest.stop(false);
        }
        let turns = rig.guest.turns();
        let hal = rig.log.abandon();
        // One that has failed is not waited for.
        assert_eq!(rig.guest.turns() == turns, fails);
        assert_eq!(is_drained(&hal), !fails);
    }
}

#[test]
fn a_settled_log_has_no_command_with_the_device() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    assert!(rig.log.drain());
    assert!(rig.is_shown());
    rig.guest.stop(true);
    rig.write("after\n");
    assert!(!rig.log.drain());
    assert!(rig.log.has_failed());
    // It is not waited for again.
    let turns = rig.guest.turns();
    assert!(!rig.log.drain());
    assert_eq!(rig.guest.turns(), turns);
}

#[test]
fn a_refusal_is_trouble_that_ends_nothing() {
    let mut rig = Rig::new(SETTING);
    rig.host.borrow_mut().patience = Some(0);
    rig.write("text\n");
    let (_, trouble) = {
        rig.log.finish();
        assert!(!rig.log.has_failed());
        rig.log.end()
    };
    assert!(trouble.is_some());
}

#[test]
fn what_a_log_leaves_stays_until_the_next_one_has_text() {
    const NEXT: u32 = RESOURCE + RESOURCE_IDS;

    for setting in scrolls() {
        for found in [InitialState::Idle, InitialState::Adopted] {
            let mut rig = Rig::new(setting);
            rig.write("text\n");
            rig.check();
            let before = rig.host.borrow().shown(0).to_vec();
            let retained = rig.log.retain_scanouts();
            rig.log.finish();
            let setting = Setting { found, ..setting };
            let mut next = Rig::on(setting, rig.host, NEXT).unwrap();
            next.log.adopt_scanouts(retained);
            next.log.finish();
            // One that has reset the device would have had nothing to inherit.
            let is_left = found == InitialState::Adopted;
            let host = next.host.borrow();
            assert_eq!(host.resources().contains(&RESOURCE), is_left);
            assert_eq!(host.shown(0) == before, is_left);
            drop(host);
            next.write("other text\n");
            next.check();
            assert_eq!(next.host.borrow().resources(), [NEXT]);
        }
    }
}
