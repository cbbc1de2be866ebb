// SPDX-License-Identifier: GPL-2.0

//! The virtual terminal, from `con_init()` until the native driver's console takes over, and again
//! when that is removed.
//!
//! [`put`](Consw::put) and [`scroll`](Consw::scroll) only record the changes that the VT core
//! reports. [`update`](Consw::update) and [`cursor`](Consw::cursor) draw them; a cursor that is
//! hidden stays on the screen until the next of these calls.

use core::ops::Range;

use kernel::{
    error::{
        code::{
            EINVAL,
            EIO,
            ENODEV, //
        },
        Result, //
    },
    sync::atomic::{
        Atomic,
        AtomicFlag,
        Relaxed, //
    }, //
};

use crate::{
    console::{
        nbcon,
        pacing, //
    },
    device::active,
    linux::{
        console::{
            self,
            ConsoleLock,
            Locked, //
        },
        consw::{
            self,
            Consw, //
        },
        font::UserFont,
        notifier::{
            Notifier,
            Vt,
            VtNotifier, //
        },
        owner::Owned,
        queue_memory::QueueMemory,
        vc::Vc,
        work, //
    },
    scanout::{
        display::DisplayError,
        log::{
            Log,
            LogError, //
        }, //
    },
    text::{
        Cell,
        Cursor,
        Font,
        ScrollDirection,
        Size, //
    }, //
};

/// The time in milliseconds after which a missed blink of the cursor is tried again.
const BLINK_RETRY_MS: u32 = 200;

/// The time in milliseconds after which a new palette is drawn if the VT core does not report an
/// update.
const PALETTE_DELAY_MS: u32 = 20;

// The size of the screen in columns and rows, the size of its glyphs in pixels, and their number.
// They keep their values while there is no screen. Written with the console lock held.
static COLS: Atomic<u32> = Atomic::new(80);
static ROWS: Atomic<u32> = Atomic::new(25);
static WIDTH: Atomic<u32> = Atomic::new(8);
static HEIGHT: Atomic<u32> = Atomic::new(16);
static GLYPHS: Atomic<u32> = Atomic::new(256);

/// The font that the user has set.
static FONT: Owned<Option<UserFont>> = Owned::new(None);

/// Set while the VT core has the screen blanked.
static IS_BLANK: AtomicFlag = AtomicFlag::new(false);
static DRIVER: consw::Driver<Terminal> = consw::Driver::new();
static UPDATES: Notifier<Vt<Terminal>> = Notifier::new();

/// The console driver.
struct Terminal;

/// Makes this the VT core's first console driver, if there is a screen. For the `console_initcall`.
pub(crate) fn init() {
    let has_screen = console::locked(|_| active::with_log(measure)).is_some();
    if has_screen && DRIVER.set_default() {
        UPDATES.register();
    }
}

/// Runs `f` on the log; returns `None` if there is none, or if an emergency or a panic has the
/// screen, or the KMS driver owns it: the end of a framebuffer draws all again.
fn with_log<R>(f: impl FnOnce(&mut Log<'static, QueueMemory>) -> R) -> Option<R> {
    active::with_log(|log| (!nbcon::has_screen()).then(|| f(log)))?
}

/// Runs `f` as [`with_log`] does, but waits while the KMS driver owns the screen. May sleep.
fn wait_for_log<R>(f: impl FnOnce(&mut Log<'static, QueueMemory>) -> R) -> Option<R> {
    active::wait_for_log(|log| (!nbcon::has_screen()).then(|| f(log)))?
}

/// Blanks the screen, or shows its text again.
fn blank_or_unblank(log: &mut Log<'static, QueueMemory>, blank: bool) {
    if blank {
        log.blank();
    } else {
        log.screen().unblank();
    }
}

/// Draws the terminal on a screen that is blank, and perhaps another one than before. May sleep.
pub(crate) fn redraw() {
    console::locked(|_| {
        FONT.try_with(|font| {
            if let Some(font) = font {
                // A screen that cannot show the font keeps the kernel's.
                let _ = active::with_log(|log| log.set_font(font.font()));
            }
        });
        active::with_log(measure)
    });
    console::locked(|lock| {
        if DRIVER.take_over(lock) {
            UPDATES.register();
        }
    });
    console::locked(|lock| {
        adapt_all(lock);
        // That may have been missed while a framebuffer was drawn.
        with_log(|log| blank_or_unblank(log, IS_BLANK.load(Relaxed)));
        Terminal::update(lock);
    });
}

/// Returns whether the console in the foreground is in graphics mode (KD_GRAPHICS).
pub(crate) fn is_graphics(lock: &Locked) -> bool {
    (DRIVER.foreground(lock)).is_some_and(|vc| !vc.is_text())
}

/// Stores the sizes of the screen.
fn measure(log: &mut Log<'static, QueueMemory>) {
    let (cols, rows) = (log.grid().cols(), log.grid().rows());
    let Size { width, height } = log.grid().glyph();
    let glyphs = 1 << log.font().glyph_bits();
    let sizes = [cols as u32, rows as u32, width, height, glyphs];
    for (to, size) in [&COLS, &ROWS, &WIDTH, &HEIGHT, &GLYPHS]
        .into_iter()
        .zip(sizes)
    {
        to.store(size, Relaxed);
    }
}

/// Sets the size of a console's glyphs to the screen's, and their number to `glyphs`.
fn set_glyphs(vc: &mut Vc<'_>, glyphs: u32) {
    let size = Size {
        width: WIDTH.load(Relaxed),
        height: HEIGHT.load(Relaxed),
    };
    vc.set_font(size, glyphs as usize);
}

/// Adapts a console to the screen.
fn adapt(vc: &mut Vc<'_>, lock: &ConsoleLock) {
    set_glyphs(vc, GLYPHS.load(Relaxed));
    let (cols, rows) = Terminal::size();
    vc.resize(lock, cols, rows);
}

/// Adapts all consoles to the screen, and draws the one in the foreground.
fn adapt_all(lock: &ConsoleLock) {
    DRIVER.for_each(lock, |vc| adapt(vc, lock));
    if let Some(mut vc) = DRIVER.foreground(lock) {
        vc.redraw(lock);
    }
}

/// Returns the cursor, if it is visible.
fn cursor(vc: &Vc<'_>, log: &Log<'static, QueueMemory>) -> Option<Cursor> {
    let scanlines = vc.cursor_lines(log.grid().glyph().height as usize);
    let (row, col) = vc.position();
    let col = col.min(vc.cols().saturating_sub(1));
    (!scanlines.is_empty() && vc.has_cursor()).then_some(Cursor {
        row,
        col,
        scanlines,
    })
}

/// Shows the cursor if it is hidden, and hides it if it is shown. Returns the time until the next
/// call in ms; `None` if the cursor does not blink.
fn blink(vc: &Vc<'_>) -> Option<u32> {
    with_log(|log| {
        let next = match log.screen().cursor() {
            Some(_) => None,
            None => cursor(vc, log),
        };
        let blinks = vc.has_cursor() && vc.is_visible();
        if blinks && !log.is_vt_stale() {
            log.screen().set_cursor(next);
        }
        pacing::show(log);
        blinks.then(|| vc.blink_ms())
    })?
}

/// Blinks the cursor of the console in the foreground, as the work of [`work::blink_later`].
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_blink() {
    let delay_ms =
        match console::try_locked(|lock| DRIVER.foreground(lock).as_ref().and_then(blink)) {
            Some(delay_ms) => delay_ms,
            None => Some(BLINK_RETRY_MS),
        };
    if let Some(delay_ms) = delay_ms {
        work::blink_later(delay_ms);
    }
}

/// Gives the screen back to a framebuffer, if an emergency had it that tty0 has printed since. The
/// VT core reports no update of a console in graphics mode, which would do that. May sleep.
pub(crate) fn return_to_graphics() {
    if nbcon::has_screen() {
        console::locked(|lock| {
            if is_graphics(lock) && nbcon::is_printed() {
                restore(lock);
            }
        });
    }
}

/// Draws the console in the foreground again if an emergency had the screen.
fn restore(lock: &Locked) {
    if !nbcon::has_screen() {
        return;
    }
    active::with_log(|log| {
        if !nbcon::return_screen() {
            return;
        }
        log.clear();
        log.mark_vt_synced();
        if let Some(vc) = DRIVER.foreground(lock) {
            for row in 0..vc.rows() {
                log.screen().put(row, 0, vc.row(row));
            }
        }
    });
}

/// Copies text that the early console wrote to the VT core's buffer of the console in the
/// foreground.
pub(crate) fn save_foreground(lock: &Locked) {
    if let Some(mut vc) = DRIVER.foreground(lock) {
        Terminal::save_screen(&mut vc);
    }
}

/// Lets a framebuffer console that waits for text take the terminal over, since this driver has
/// released the device. May sleep.
pub(crate) fn released() {
    console::locked(|lock| {
        if let Some(mut vc) = DRIVER.foreground(lock) {
            vc.notify_dummy(lock);
        }
    });
}

impl VtNotifier for Terminal {
    fn updated(lock: &Locked) {
        Self::update(lock);
    }
}

impl Consw for Terminal {
    fn init(vc: &mut Vc<'_>, lock: &ConsoleLock, is_new: bool) {
        set_glyphs(vc, GLYPHS.load(Relaxed));
        let (cols, rows) = Self::size();
        if is_new {
            vc.set_size(cols, rows);
        } else {
            vc.resize(lock, cols, rows);
            vc.map_unicode(lock);
        }
    }

    // Another driver starts with 256 glyphs. Remove the text, which would not change any more.
    fn deinit(vc: &mut Vc<'_>) {
        set_glyphs(vc, 256);
        if vc.is_visible() {
            with_log(|log| {
                log.clear();
                pacing::show(log);
            });
        }
    }

    fn put(vc: &Vc<'_>, row: usize, col: usize, cells: impl Iterator<Item = Cell>) {
        if vc.is_visible() {
            with_log(|log| log.screen().put(row, col, cells));
        }
    }

    fn scroll(vc: &Vc<'_>, rows: Range<usize>, direction: ScrollDirection, lines: usize) {
        let (cols, blank) = (vc.cols(), vc.erased());
        with_log(|log| log.screen().scroll(rows, cols, direction, lines, blank));
    }

    // The VT core shows the cursor at the end of an update. A cursor that is hidden is erased with
    // the next change.
    fn cursor(vc: &mut Vc<'_>, enable: bool) {
        restore(vc.lock());
        Self::save_screen(vc);
        if !vc.is_visible() {
            return;
        }
        let (row, col) = vc.position();
        let drawn = with_log(|log| {
            log.screen().set_write_position(row, col);
            if enable {
                let cursor = cursor(vc, log);
                log.screen().set_cursor(cursor);
            }
            pacing::show(log);
            if !enable {
                log.screen().set_cursor(None);
            }
        });
        if drawn.is_some() {
            work::blink_later(vc.blink_ms());
        }
    }

    // Cells outside of the console become blank.
    fn switch(vc: &Vc<'_>) {
        let (cols, rows) = (vc.cols(), vc.rows());
        let (all_cols, all_rows) = Self::size();
        with_log(|log| {
            for row in 0..all_rows {
                let from = if row < rows { cols } else { 0 };
                let blanks =
                    core::iter::repeat_n(log.screen().blank_cell(), all_cols.saturating_sub(from));
                log.screen().put(row, from, blanks);
            }
            log.set_palette(vc.palette());
        });
    }

    fn blank(vc: &Vc<'_>, blank: bool, is_mode_switch: bool) {
        if is_mode_switch {
            // The picture stays until a program draws another one, or text comes back.
            work::update_framebuffer_later();
            if blank {
                return;
            }
        }
        if !vc.is_visible() {
            return;
        }
        IS_BLANK.store(blank, Relaxed);
        with_log(|log| blank_or_unblank(log, blank));
    }

    fn set_palette(vc: &Vc<'_>) {
        if vc.is_visible() {
            with_log(|log| log.set_palette(vc.palette()));
            // Some callers report no update.
            work::blink_later(PALETTE_DELAY_MS);
        }
    }

    fn save_screen(vc: &mut Vc<'_>) {
        if !vc.is_visible() {
            return;
        }
        with_log(|log| {
            if !log.mark_vt_synced() {
                return;
            }
            for row in 0..vc.rows() {
                for (col, &cell) in log.screen().row(row).iter().enumerate() {
                    vc.set_cell(row, col, cell);
                }
            }
            let (row, col) = log.screen().write_position();
            vc.set_position(row, col);
        });
    }

    fn update(lock: &Locked) {
        restore(lock);
        with_log(pacing::show);
    }

    // All consoles get the font, those in the background too. EINVAL if the screen has no cell for
    // it, ENODEV if there is no screen, EIO if the text does not fit.
    fn set_font(vc: &Vc<'_>, lock: &ConsoleLock, font: UserFont) -> Result {
        if !vc.is_text() {
            return Err(EINVAL);
        }
        let set = wait_for_log(|log| {
            let result = log.set_font(font.font());
            measure(log);
            result
        });
        // A framebuffer was on the screen before, and is drawn again.
        work::update_framebuffer_later();
        match set.ok_or(ENODEV)? {
            Err(LogError::Display(DisplayError::Grid(_))) => return Err(EINVAL),
            Ok(()) | Err(LogError::Display(DisplayError::Gpu(_))) => {}
            Err(_) => return Err(EIO),
        }
        // The screen does not use the old font any more, even if the device has failed: the text
        // has the new one when the device recovers.
        FONT.try_with(|slot| *slot = Some(font));
        adapt_all(lock);
        Ok(())
    }

    fn with_font<R>(f: impl FnOnce(&Font<'static>) -> R) -> Option<R> {
        wait_for_log(|log| f(log.font()))
    }

    fn size() -> (usize, usize) {
        let load = |of: &Atomic<u32>| of.load(Relaxed) as usize;
        (load(&COLS), load(&ROWS))
    }

    // Pixels that no cell covers do not count.
    fn pixels() -> (u32, u32) {
        let of =
            |cells: &Atomic<u32>, glyph: &Atomic<u32>| cells.load(Relaxed) * glyph.load(Relaxed);
        (of(&COLS, &WIDTH), of(&ROWS, &HEIGHT))
    }
}
