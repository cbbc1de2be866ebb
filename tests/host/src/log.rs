// SPDX-License-Identifier: GPL-2.0

//! Tests of a whole log, from a device that was just set up to the pictures on its scanouts, with
//! all operations of the driver's phases.

use std::{
    cell::RefCell,
    panic::{
        catch_unwind,
        AssertUnwindSafe, //
    },
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
        SilentDevice, //
    },
    host::{
        edid,
        edid_response,
        Differences,
        Host, //
    },
    qemu::Qemu,
    scanout::{
        display::{
            Area,
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
    },
    wire::ERR_UNSPEC, //
};

/// The parameters of a log.
#[derive(Clone, Copy)]
struct Setting {
    modes: &'static [(u32, u32)],
    scroll: Option<Scroll>,
    /// A mode for the first scanout, which replaces the host's.
    mode: Option<(u32, u32)>,
    offered: Features,
    differences: Differences,
    /// Features that were negotiated besides VERSION_1 and EVENT_IDX.
    features: Features,
    initial_state: InitialState,
    /// The size in bytes of the memory that the device sees, without the queue's.
    shared: usize,
    /// The size in words of memory for the text alone; if 0, the text is in the other memory.
    text: usize,
    glyph: (u32, u32),
}

const SETTING: Setting = Setting {
    modes: &[(640, 480)],
    scroll: Some(Scroll::Pan),
    mode: None,
    offered: Features::VERSION_1.union(Features::EVENT_IDX),
    differences: Differences {
        whole: false,
        skips_flushes: false,
        keeps_shown: false,
        one_scanout: false,
    },
    features: Features::empty(),
    initial_state: InitialState::Idle,
    shared: (240 << 10) - QUEUE_BYTES,
    text: 0,
    glyph: (8, 16),
};

/// The ID of the log's first resource.
const RESOURCE: u32 = 2;

/// A log with its device.
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

    /// Starts a log on a device that may have resources already, with IDs below `resource`.
    fn on(
        setting: Setting,
        host: Rc<RefCell<Host<Qemu>>>,
        resource: u32,
    ) -> Result<Self, LogError> {
        let guest = Guest::new(QUEUE_BYTES + setting.shared);
        host.borrow_mut().differences = setting.differences;
        let addresses = VirtQueue::addresses(&guest, 64).unwrap();
        // The set-up code does not keep the queue.
        drop(connect_to(
            &guest,
            64,
            Features::EVENT_IDX,
            Order::First,
            &host,
        ));
        let negotiated = Negotiated {
            offered: setting.offered,
            features: Features::VERSION_1 | Features::EVENT_IDX | setting.features,
            queue: addresses,
            queue_notify: QueueNotify {
                offset: 0,
                width: Width::Bits16,
                queue: 0,
            },
            initial_state: setting.initial_state,
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

    /// Adds text without showing it.
    fn append(&mut self, text: &str) {
        self.log.append(text.as_bytes(), ATTRIBUTE, false);
        self.terminal.write(text.as_bytes());
    }

    fn write(&mut self, text: &str) {
        self.append(text);
        self.log.show();
    }

    /// Restarts a log that was interrupted, on a blank screen. Returns whether it did.
    fn restart(&mut self) -> bool {
        let noise = self.noise;
        let is_restarted = self.log.restart(|_, _| noise.font());
        if is_restarted {
            self.terminal = Terminal::new(self.log.grid().cols(), self.log.grid().rows());
        }
        is_restarted
    }

    /// Forgets that the host does not know a resource that is to be deleted.
    fn ignore_rejected_unrefs(&self) {
        let is_unref = |rejection: &String| rejection.contains("Unref");
        let rejections = &mut self.host.borrow_mut().rejections;
        rejections.retain(|rejection| !is_unref(rejection));
    }

    /// Writes lines of text, one at a time.
    fn write_lines(&mut self, lines: std::ops::Range<usize>) {
        for line in lines {
            self.write(&format!("line {line} {}\n", "-".repeat(line * 7 % 50)));
        }
    }

    /// Returns the expected picture of a screen of this size.
    fn expected(&self, size: (u32, u32)) -> Vec<u32> {
        self.noise.picture(size, self.terminal.text())
    }

    /// Returns whether all of the text, and nothing else, is on every screen, without a call of the
    /// log.
    fn is_shown(&self) -> bool {
        let host = self.host.borrow();
        self.log.scanouts().iter().all(|mode| {
            let expected = self.expected((mode.width, mode.height));
            host.shown(mode.scanout as usize) == expected
        })
    }

    /// Lets the device finish, and checks that the screens are correct.
    fn check(&mut self) {
        self.log.finish();
        assert!(self.is_shown());
        assert_eq!(self.host.borrow().rejections, [""; 0]);
        assert_eq!(self.log.take_error(), None);
    }

    /// Returns how often the device was notified, and how often it ran.
    fn calls(&self) -> (usize, usize) {
        (self.guest.kicks(), self.guest.runs())
    }
}

fn scrolls() -> [Setting; 2] {
    [Scroll::Pan, Scroll::Repaint].map(|scroll| Setting {
        scroll: Some(scroll),
        ..SETTING
    })
}

#[test]
fn a_log_is_on_the_screen_wherever_its_text_is_stored() {
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
    // In memory that is shared with the band, the text has its full size as well.
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
fn a_new_font_begins_on_a_blank_screen_with_the_current_palette() {
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
    assert_eq!(host.rejections, [""; 0]);
}

#[test]
fn a_palette_is_drawn_once() {
    let mut rig = Rig::new(SETTING);
    rig.write("text\n");
    rig.check();
    // The same palette changes nothing.
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
    // For the scanouts; and for the text, with and without memory of its own.
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
fn a_new_font_needs_no_second_resource_at_a_time() {
    // Two such resources at a time are too large.
    let modes: &[(u32, u32)] = &[(4096, 4112)];
    let mut rig = Rig::new(Setting { modes, ..SETTING });
    assert!(!rig.log.repaints());
    rig.log.set_font(rig.noise.font().unwrap()).unwrap();
    rig.log.finish();
    assert!(!rig.log.has_failed());
    // The old resource is deleted before the new one is made; a second deletion is no error.
    assert_eq!(rig.log.take_error(), None);
    let is_unref = |rejection: &String| rejection.contains("Unref");
    assert!(rig.host.borrow().rejections.iter().all(is_unref));
    assert_eq!(rig.host.borrow().resources(), [RESOURCE ^ 1]);
}

#[test]
fn the_first_scanout_has_the_text_if_all_do_not_fit() {
    // Each resource takes a third of the host's limit.
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
    // All of them get the text where they fit.
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
fn a_mode_option_is_used_until_the_host_changes_the_mode() {
    let mut rig = Rig::new(Setting {
        modes: &[(640, 480), (800, 600)],
        mode: Some((720, 400)),
        ..SETTING
    });
    let mode = |scanout, width, height| Mode {
        scanout,
        width,
        height,
    };
    assert_eq!(rig.log.scanouts(), [mode(0, 720, 400), mode(1, 800, 600)]);
    assert_eq!(rig.log.grid().cols(), 90);
    assert!(!rig.log.scanouts_changed());
    rig.host.borrow_mut().set_mode(0, Some((648, 480)));
    assert!(rig.log.scanouts_changed());
}

#[test]
fn changed_scanouts_are_detected_unless_none_is_enabled() {
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
    // A scanout without enough size for text is not counted beside others.
    assert!(changes(2, Some((8, 8))));
    assert!(!changes(1, Some((800, 600))));
    assert!(!changes(2, None));
    // The last scanout is disabled, which does not count.
    changes(0, None);
    assert!(!changes(1, None));
    // Nor does a scanout that is too small for text.
    assert!(!changes(0, Some((8, 8))));
}

#[test]
fn the_device_decides_how_the_log_scrolls_without_an_option() {
    let probed = Setting {
        scroll: None,
        offered: SETTING.offered.union(Features::INDIRECT_DESC),
        ..SETTING
    };
    let mut rig = Rig::new(probed);
    assert!(!rig.log.repaints());
    // The device rejected a scanout of one pixel, which is no error.
    assert_eq!(rig.host.borrow_mut().rejections.split_off(0).len(), 1);
    rig.write_lines(0..40);
    rig.check();
    let whole = Differences {
        whole: true,
        ..Differences::default()
    };
    let mut rig = Rig::new(Setting {
        differences: whole,
        ..probed
    });
    assert!(rig.log.repaints());
    // Scanout 0 cannot be disabled.
    assert_eq!(rig.host.borrow_mut().rejections.split_off(0).len(), 1);
    rig.write_lines(0..40);
    rig.check();
    // The resource of the probe is deleted.
    assert_eq!(rig.host.borrow().resources(), [RESOURCE]);
    // Of several scanouts the first one is used for the probe.
    let rig = Rig::new(Setting {
        modes: &[(640, 480), (800, 600)],
        ..probed
    });
    let rejections = rig.host.borrow_mut().rejections.split_off(0);
    assert_eq!(rejections.len(), 1);
    assert!(rejections[0].contains("scanout: 0,"), "{rejections:?}");
    // No probe: the features decide, or the user has.
    let mut rig = Rig::new(Setting {
        scroll: None,
        ..SETTING
    });
    assert!(rig.log.repaints());
    rig.check();
    for setting in scrolls() {
        let mut rig = Rig::new(Setting {
            scroll: setting.scroll,
            ..probed
        });
        assert_eq!(rig.log.repaints(), setting.scroll == Some(Scroll::Repaint));
        rig.check();
    }
}

#[test]
fn the_probe_uses_an_unused_resource_id() {
    // A device that cannot delete a resource on a scanout keeps the probe's resource, too.
    let rig = Rig::new(Setting {
        scroll: None,
        offered: SETTING.offered.union(Features::INDIRECT_DESC),
        differences: Differences {
            whole: true,
            keeps_shown: true,
            ..Differences::default()
        },
        ..SETTING
    });
    let ids = rig.host.borrow().resources();
    assert_eq!(ids, [RESOURCE, RESOURCE + RESOURCE_IDS]);
}

#[test]
fn the_picture_of_an_adopted_device_stays_until_there_is_text() {
    let mut rig = Rig::new(Setting {
        initial_state: InitialState::Adopted,
        ..SETTING
    });
    assert_eq!(rig.log.initial_state(), InitialState::Adopted);
    rig.log.finish();
    assert_eq!(rig.host.borrow().scanout(0), None);
    rig.write("text\n");
    rig.check();
    // A device that was not adopted is black at once.
    let mut rig = Rig::new(SETTING);
    assert_eq!(rig.log.initial_state(), InitialState::Idle);
    rig.check();
}

#[test]
fn a_paused_log_keeps_text_and_sends_no_commands() {
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
        assert!(!rig.log.drain());
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
fn scrolled_rows_wait_for_a_frame_on_a_log_that_repaints() {
    for setting in scrolls() {
        let repaints = setting.scroll == Some(Scroll::Repaint);
        let mut rig = Rig::new(setting);
        rig.write_lines(0..30);
        // The last newline is deferred until the next byte.
        assert!(!rig.log.needs_repaint());
        rig.append("and one more\n");
        assert_eq!(rig.log.needs_repaint(), repaints);
        assert!(rig.log.show());
        assert!(!rig.log.needs_repaint());
        rig.check();
    }
}

#[test]
fn deferred_rows_are_shown_before_a_log_ends() {
    let setting = Setting {
        scroll: Some(Scroll::Repaint),
        ..SETTING
    };
    let with_deferred_text = || {
        let mut rig = Rig::new(setting);
        rig.write_lines(0..40);
        rig.check();
        rig.append("due\n");
        assert!(rig.log.needs_repaint());
        rig
    };
    let mut rig = with_deferred_text();
    rig.log.finish();
    assert!(rig.is_shown());
    let mut rig = with_deferred_text();
    assert_ne!(rig.log.retain_scanouts(), RetainedScanouts::default());
    rig.log.finish();
    assert!(rig.is_shown());
}

#[test]
fn a_log_ends_after_the_device_has_executed_all_commands() {
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
    let (_, error) = log.end();
    assert_eq!(error, None);
    assert!(host.borrow().shown(0) == noise.picture((640, 480), terminal.text()));
}

#[test]
fn the_vt_is_stale_until_it_is_synced() {
    let mut rig = Rig::new(SETTING);
    assert!(!rig.log.is_vt_stale());
    assert!(!rig.log.mark_vt_synced());
    rig.log.append(b"text\n", ATTRIBUTE, false);
    assert!(rig.log.is_vt_stale());
    // The next text begins in the next row, for the VT as well.
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
fn dropped_records_are_reported_as_printk_does() {
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
    // 33 pixels are two rows and a part; the screen has thirty rows, of which the last may scroll.
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
    // The area of the picture is blanked after rows scroll.
    let mut rig = Rig::new(SETTING);
    rig.log
        .show_picture(0..480, true, |_, _, pixels| pixels.fill(0xabcdef));
    rig.write_lines(0..61);
    rig.check();
}

/// Returns the text of all rows of the screen.
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

/// Adds numbered lines of urgent text that begin with `word`.
fn urgent_lines(rig: &mut Rig, word: &str, count: usize) {
    for line in 0..count {
        urgent(rig, &format!("{word} {line}\n"));
    }
}

#[test]
fn the_start_and_the_trace_of_urgent_text_stay_on_the_screen() {
    let mut rig = Rig::new(SETTING);
    for line in 0..20 {
        rig.append(&format!("calm {line}\n"));
    }
    urgent_lines(&mut rig, "reason", 40);
    urgent(&mut rig, "Call trace:\n");
    for line in 0..40 {
        urgent(&mut rig, &format!(" function {line}\n"));
        // Only the first one is kept.
        if line == 20 {
            urgent(&mut rig, "Call trace:\n");
        }
    }
    let text = rows(&mut rig);
    // A quarter of the screen each, from their first rows on.
    assert_eq!(text[0], "reason 0");
    assert!(text.contains(&"reason 6".to_owned()));
    let trace = text.iter().position(|row| row == "Call trace:").unwrap();
    assert!((7..10).contains(&trace));
    assert_eq!(text[trace + 1], " function 0");
    assert!(text.iter().any(|row| row.ends_with("rows left out ...")));
    assert_eq!(text[29], " function 39");
}

#[test]
fn the_trace_of_the_first_text_of_a_log_stays_on_the_screen() {
    let mut rig = Rig::new(SETTING);
    urgent_lines(&mut rig, "reason", 40);
    urgent(&mut rig, "Call trace:\n");
    urgent_lines(&mut rig, " function", 40);
    let text = rows(&mut rig);
    assert_eq!(text[0], "reason 0");
    assert!(text.contains(&"Call trace:".to_owned()));
    assert_eq!(text[29], " function 39");
}

#[test]
fn urgent_text_scrolls_away_after_its_end() {
    for how in 0..3 {
        let mut rig = Rig::new(SETTING);
        urgent(&mut rig, "first reason\n");
        urgent(&mut rig, "Call trace:\n");
        match how {
            0 => rig.log.end_urgent(),
            // Other text ends the urgent part as well.
            1 => {}
            _ => rig.log.clear(),
        }
        for line in 0..60 {
            rig.log
                .append(format!("calm {line}\n").as_bytes(), ATTRIBUTE, false);
        }
        assert_eq!(rows(&mut rig)[0], "calm 30");
        // The next urgent text is kept as the first one was.
        urgent(&mut rig, "second reason\n");
        urgent_lines(&mut rig, "more", 60);
        urgent(&mut rig, "Call trace:\n");
        urgent_lines(&mut rig, " function", 60);
        let text = rows(&mut rig);
        assert_eq!(text[0], "second reason");
        assert!(text.contains(&"Call trace:".to_owned()));
        assert_eq!(text[29], " function 59");
    }
}

#[test]
fn the_end_of_ordinary_text_keeps_no_rows() {
    // Only urgent text has marks that could be removed.
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
fn a_cleared_screen_begins_at_its_top() {
    let mut rig = Rig::new(SETTING);
    rig.write_lines(0..40);
    rig.log.clear();
    rig.terminal = Terminal::new(80, 30);
    rig.write("text\n");
    rig.check();
}

#[test]
fn a_screen_is_black_while_it_is_blanked() {
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
fn a_skipped_flush_is_repeated() {
    let mut rig = Rig::new(Setting {
        scroll: Some(Scroll::Repaint),
        differences: Differences {
            whole: true,
            skips_flushes: true,
            ..Differences::default()
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
fn errors_are_reported_once_and_again_after_a_recovery() {
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
    // It has not executed the last command.
    assert!(!rig.log.recover());
    rig.guest.stop(false);
    rig.guest.run();
    assert!(rig.log.recover());
    assert!(!rig.log.has_failed());
    rig.check();
    rig.guest.plug(SilentDevice);
    rig.write_lines(0..100);
    assert!(rig.log.has_failed());
    assert_eq!(rig.log.take_error(), stalled);
    assert_eq!(rig.log.end().1, None);
}

#[test]
fn a_device_that_stalls_during_a_font_change_shows_the_text_later() {
    for setting in scrolls() {
        let mut stalls = 0;
        for runs in 0..100 {
            let mut rig = Rig::new(setting);
            rig.write_lines(0..10);
            rig.check();
            rig.guest.stop_after(runs);
            let noise: &Noise = Box::leak(Box::new(Noise::new(8, 14)));
            let _ = rig.log.set_font(noise.font().unwrap());
            let grid = *rig.log.grid();
            (rig.noise, rig.terminal) = (noise, Terminal::new(grid.cols(), grid.rows()));
            rig.log.finish();
            rig.guest.stop(false);
            (0..100).for_each(|_| rig.guest.run());
            if rig.log.has_failed() {
                stalls += 1;
                assert!(rig.log.recover(), "after {runs}");
                rig.ignore_rejected_unrefs();
            }
            rig.write_lines(10..20);
            rig.check();
        }
        assert!(stalls > 3);
    }
}

#[test]
fn an_abandoned_log_drains_the_queue_if_it_has_not_failed() {
    for fails in [false, true] {
        let mut rig = Rig::new(SETTING);
        rig.write("before\n");
        rig.check();
        // The device sees commands, but does not process them.
        rig.guest.stop(true);
        rig.append("after\n");
        rig.log.show();
        if fails {
            rig.log.finish();
            assert!(rig.log.has_failed());
        } else {
            rig.guest.stop(false);
        }
        let runs = rig.guest.runs();
        let hal = rig.log.abandon();
        // A log that has failed does not wait for the device.
        assert_eq!(rig.guest.runs() == runs, fails);
        assert_eq!(is_drained(&hal), !fails);
    }
}

#[test]
fn a_log_restarts_wherever_it_was_interrupted() {
    for setting in scrolls() {
        let mut rig = Rig::new(Setting {
            modes: &[(160, 64)],
            ..setting
        });
        let noise: &Noise = Box::leak(Box::new(Noise::new(8, 14)));
        let mut interruptions = 0;
        loop {
            rig.write_lines(0..5);
            rig.guest.interrupt_after(interruptions);
            let result = catch_unwind(AssertUnwindSafe(|| {
                rig.log.append(b"one\ntwo\n", ATTRIBUTE, true);
                rig.log.show();
                rig.log.set_font(noise.font().unwrap()).unwrap();
                rig.log.append(b"three\n", ATTRIBUTE, true);
                rig.log.show();
                rig.log.finish();
            }));
            if result.is_ok() {
                break;
            }
            assert!(rig.restart(), "after {interruptions}");
            rig.write("restarted\n");
            rig.log.finish();
            // The resource may have been deleted before the interruption.
            rig.ignore_rejected_unrefs();
            rig.check();
            interruptions += 1;
        }
        assert!(interruptions > 150, "{interruptions}");
    }
}

/// Returns the pixel of a framebuffer at a position.
fn framebuffer_pixel(seed: u32, x: u32, y: u32) -> u32 {
    (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b) ^ seed) & 0xff_ffff
}

/// Draws an area of a framebuffer of `size`, as the KMS driver does.
fn draw_framebuffer(rig: &mut Rig, size: (u32, u32), area: &Area, seed: u32) {
    let mut copy = |x, y, to: &mut [u32]| {
        for (x, pixel) in (x..).zip(to) {
            *pixel = match x < size.0 && y < size.1 {
                true => framebuffer_pixel(seed, x, y),
                false => 0,
            };
        }
    };
    // As much as goes without a wait, again and again.
    let mut left = area.clone();
    let mut tries = 0;
    while let Some(row) = rig.log.draw_framebuffer(&left, false, &mut copy) {
        assert!(left.y.contains(&row));
        tries = if row > left.y.start { 0 } else { tries + 1 };
        assert!(tries < 8, "row {row} of {size:?} is not begun");
        left.y.start = row;
        rig.guest.run();
    }
    rig.log.show_framebuffer(area);
}

#[test]
fn a_framebuffer_is_shown_in_place_of_the_text_and_areas_of_it_change() {
    // The last one has more tiles in a row than the band has slots.
    let modes: [&[(u32, u32)]; 5] = [
        &[(640, 480)],
        &[(643, 487)],
        &[(1920, 1080)],
        &[(640, 480), (800, 600)],
        &[(5120, 512)],
    ];
    // On a device that passes the probe of the origin, areas are exact.
    let probed = Setting {
        scroll: None,
        offered: SETTING.offered.union(Features::INDIRECT_DESC),
        ..SETTING
    };
    for setting in scrolls().into_iter().chain([probed]) {
        for (modes, text) in modes.into_iter().zip([0, TEXT_WORDS, 0, TEXT_WORDS, 0]) {
            let mut rig = Rig::new(Setting {
                modes,
                text,
                ..setting
            });
            // The probe is a command that the host rejects.
            rig.host.borrow_mut().rejections.clear();
            rig.write_lines(0..45);
            rig.check();
            let repaints = setting.scroll == Some(Scroll::Repaint);
            assert!(rig.log.grid().scroll() == Scroll::Pan || repaints || modes.len() > 1);
            let size = modes[0];
            let all = Area {
                x: 0..size.0,
                y: 0..size.1,
            };
            let mut expected = vec![0; (size.0 * size.1) as usize];
            let mut paint = |area: &Area, seed| {
                for y in area.y.clone() {
                    for x in area.x.clone() {
                        expected[(y * size.0 + x) as usize] = framebuffer_pixel(seed, x, y);
                    }
                }
                expected.clone()
            };
            assert!(rig.log.start_framebuffer());
            // Without a framebuffer the text is still there.
            rig.log.finish();
            draw_framebuffer(&mut rig, size, &all, 1);
            paint(&all, 1);
            let areas = [
                (0..size.0, 0..16),
                (5..6, 17..18),
                (size.0 - 7..size.0, size.1 - 3..size.1),
                (100..300, 31..99),
                (330..331, 0..size.1),
            ];
            for (seed, (x, y)) in (2..).zip(areas) {
                // Text that is written meanwhile is not drawn.
                rig.write("hidden\n");
                let area = Area { x, y };
                draw_framebuffer(&mut rig, size, &area, seed);
                rig.log.finish();
                // The model keeps the whole picture: pixels outside of the area are as before.
                let shown = paint(&area, seed);
                let host = rig.host.borrow();
                let scanout = host.shown(0);
                let wrong = scanout
                    .iter()
                    .zip(&shown)
                    .position(|(is, should)| is != should);
                let position = wrong.map(|at| (at as u32 % size.0, at as u32 / size.0));
                assert_eq!(position, None, "{modes:?} {area:?}");
                assert_eq!(host.rejections, [""; 0]);
            }
            rig.log.end_framebuffer();
            assert!(rig.log.show());
            rig.check();
        }
    }
}

#[test]
fn a_log_does_not_restart_on_a_device_that_has_stalled() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    rig.check();
    rig.guest.stop(true);
    rig.write("after\n");
    assert!(!rig.restart());
    assert!(rig.log.has_failed());
    // Neither waits for the device again.
    let runs = rig.guest.runs();
    assert!(!rig.restart());
    rig.log.abandon();
    assert_eq!(rig.guest.runs(), runs);
}

#[test]
fn after_a_restart_the_picture_stays_until_there_is_text() {
    for setting in scrolls() {
        let mut rig = Rig::new(setting);
        rig.write_lines(0..40);
        rig.check();
        let before = rig.host.borrow().shown(0).to_vec();
        assert!(rig.restart());
        assert!(rig.host.borrow().shown(0) == before);
        rig.write_lines(0..3);
        rig.check();
        // The resources from before are gone.
        assert_eq!(rig.host.borrow().resources().len(), 1);
    }
}

#[test]
fn a_restart_ends_a_pause() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    rig.check();
    rig.log.pause();
    rig.log.append(b"interrupted\n", ATTRIBUTE, false);
    assert!(rig.restart());
    assert!(rig.log.is_vt_stale());
    rig.write("after\n");
    rig.check();
}

#[test]
fn a_drained_log_has_no_command_in_flight() {
    let mut rig = Rig::new(SETTING);
    rig.write("before\n");
    assert!(rig.log.drain());
    assert!(rig.is_shown());
    rig.guest.stop(true);
    rig.write("after\n");
    assert!(!rig.log.drain());
    assert!(rig.log.has_failed());
    // It does not wait for the device again.
    let runs = rig.guest.runs();
    assert!(!rig.log.drain());
    assert_eq!(rig.guest.runs(), runs);
}

#[test]
fn a_rejection_is_an_error_and_the_log_goes_on() {
    let mut rig = Rig::new(SETTING);
    rig.host.borrow_mut().commands_left = Some(0);
    rig.write("text\n");
    let (_, error) = {
        rig.log.finish();
        assert!(!rig.log.has_failed());
        rig.log.end()
    };
    assert!(error.is_some());
}

#[test]
fn the_picture_of_a_log_stays_until_the_next_log_has_text() {
    const NEXT: u32 = RESOURCE + RESOURCE_IDS;

    for setting in scrolls() {
        for initial_state in [InitialState::Idle, InitialState::Adopted] {
            let mut rig = Rig::new(setting);
            rig.write("text\n");
            rig.check();
            let before = rig.host.borrow().shown(0).to_vec();
            let retained = rig.log.retain_scanouts();
            rig.log.finish();
            let setting = Setting {
                initial_state,
                ..setting
            };
            let mut next = Rig::on(setting, rig.host, NEXT).unwrap();
            next.log.adopt_scanouts(retained);
            next.log.finish();
            // A log that has reset the device has nothing to adopt.
            let is_retained = initial_state == InitialState::Adopted;
            let host = next.host.borrow();
            assert_eq!(host.resources().contains(&RESOURCE), is_retained);
            assert_eq!(host.shown(0) == before, is_retained);
            drop(host);
            next.write("other text\n");
            next.check();
            assert_eq!(next.host.borrow().resources(), [NEXT]);
        }
    }
}

/// The memory in which an EDID is read, in bytes.
const EDID_MEMORY: usize = 1056;

/// A device with EDID, whose scanout 0 is not enabled.
const WITH_EDID: Setting = Setting {
    modes: &[(0, 0), (640, 480), (800, 600)],
    features: Features::EDID,
    ..SETTING
};

impl Rig {
    fn edid(&mut self) -> Vec<u8> {
        let mut memory = [0x99; EDID_MEMORY];
        let size = self.log.edid(&mut memory);
        memory[..size].to_vec()
    }
}

#[test]
fn the_edid_is_that_of_the_first_scanout_that_shows_the_text() {
    let mut rig = Rig::new(WITH_EDID);
    rig.write("before\n");
    assert_eq!(rig.edid(), edid(1));
    assert_eq!(rig.host.borrow().edid_requests, [1]);
    rig.write("after\n");
    rig.check();
    // It does not fit less memory.
    assert_eq!(rig.log.edid(&mut [0; EDID_MEMORY - 1]), 0);
    assert_eq!(rig.host.borrow().edid_requests, [1]);
}

#[test]
fn no_edid_is_asked_for_that_was_not_negotiated() {
    let offered = SETTING.offered | Features::EDID;
    let mut rig = Rig::new(Setting { offered, ..SETTING });
    let kicks = rig.guest.kicks();
    assert!(rig.edid().is_empty());
    rig.log.finish();
    assert_eq!(rig.guest.kicks(), kicks);
    assert_eq!(rig.host.borrow().edid_requests, [0; 0]);
    // Nor while the device must not be accessed.
    let mut rig = Rig::new(WITH_EDID);
    rig.log.pause();
    assert!(rig.edid().is_empty());
    rig.log.resume();
    assert_eq!(rig.edid(), edid(1));
}

#[test]
fn an_edid_of_an_impossible_size_is_none() {
    let mut rig = Rig::new(WITH_EDID);
    let bytes = [0x77; 1024];
    for (size, length) in [
        (0, 0),
        (1, 0),
        (127, 0),
        (128, 128),
        (129, 0),
        (1024, 1024),
        (1025, 0),
        (1152, 0),
        (1 << 31, 0),
        (u32::MAX, 0),
        (u32::MAX - 127, 0),
    ] {
        rig.host.borrow_mut().edid_response = Some(edid_response(size, &bytes));
        assert_eq!(rig.edid(), bytes[..length].to_vec(), "size {size}");
    }
    rig.write("text\n");
    rig.check();
}

#[test]
fn a_device_that_refuses_an_edid_has_none() {
    let mut rig = Rig::new(WITH_EDID);
    let valid = edid_response(256, &edid(1));
    for kind in [ERR_UNSPEC, 0x1100, 0, u32::MAX] {
        let mut response = valid.clone();
        response[..4].copy_from_slice(&kind.to_le_bytes());
        rig.host.borrow_mut().edid_response = Some(response);
        assert!(rig.edid().is_empty(), "type {kind:#x}");
    }
    // It is no error of the text's.
    rig.write("text\n");
    rig.check();
}

#[test]
fn what_the_device_did_not_write_of_an_edid_is_zero() {
    let mut rig = Rig::new(WITH_EDID);
    let valid = edid_response(256, &edid(1));
    for length in [0, 3, 4, 24, 25, 28, 32, 33, 160, 287, 288] {
        // One that is complete is not what the next one is taken for.
        rig.host.borrow_mut().edid_response = None;
        assert_eq!(rig.edid(), edid(1));
        rig.host.borrow_mut().edid_response = Some(valid[..length].to_vec());
        let expected = match length {
            0..=25 => Vec::new(),
            _ => {
                let mut edid = valid[32..32 + 256].to_vec();
                edid[length.saturating_sub(32).min(256)..].fill(0);
                edid
            }
        };
        assert_eq!(rig.edid(), expected, "{length} bytes");
    }
    rig.write("text\n");
    rig.check();
}

#[test]
fn text_comes_back_after_an_edid_that_comes_late() {
    let mut rig = Rig::new(WITH_EDID);
    rig.guest.stop(true);
    assert!(rig.edid().is_empty());
    rig.write("text\n");
    // A device that has stalled is not asked again.
    assert!(rig.edid().is_empty());
    rig.guest.stop(false);
    rig.guest.run();
    assert!(rig.log.recover());
    rig.log.show();
    assert_eq!(rig.edid(), edid(1));
    rig.check();
}
