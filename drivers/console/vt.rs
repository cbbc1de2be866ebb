// SPDX-License-Identifier: GPL-2.0

//! The second stage: the virtual terminal, from `con_init()` until the native driver's console
//! takes it over, and when that goes.
//!
//! The VT core tells what changes, and when it is done: [`put`], [`scroll`] and [`cursor`] only
//! take notes, [`update`] and a cursor that appears show them.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicU32,
        Ordering, //
    },
};

use kernel::error::{
    code::{
        EINVAL,
        EIO,
        ENODEV, //
    },
    Result, //
};

use crate::{
    console::{
        nbcon,
        pacing, //
    },
    device::screen,
    linux::{
        console,
        consw,
        font::UserFont,
        owner::Owned,
        shared::Shared,
        vc::Vc, //
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
        Size,
        Way, //
    }, //
};

/// The screen's columns and rows, the size of its glyphs, and how many they are; kept while there
/// is no screen. Written with the console lock held.
static COLS: AtomicU32 = AtomicU32::new(80);
static ROWS: AtomicU32 = AtomicU32::new(25);
static WIDTH: AtomicU32 = AtomicU32::new(8);
static HEIGHT: AtomicU32 = AtomicU32::new(16);
static GLYPHS: AtomicU32 = AtomicU32::new(256);

/// The font that the user loaded.
static FONT: Owned<Option<UserFont>> = Owned::new(None);

/// Whether there is a screen, whose size is known then.
pub(crate) fn begin() -> bool {
    screen::begin() && console::locked(|| screen::with_log(measure)).is_some()
}

/// Runs `f` on the log, unless the screen was taken for what is more urgent.
fn with_log<R>(f: impl FnOnce(&mut Log<'static, Shared>) -> R) -> Option<R> {
    screen::with_log(|log| (!nbcon::has_screen()).then(|| f(log)))?
}

/// There is a screen, perhaps another one than before: all is drawn.
pub(crate) fn lit() {
    console::locked(|| {
        FONT.with(|font| {
            if let Some(font) = font {
                // Where it cannot be used, the kernel's stays.
                let _ = screen::with_log(|log| log.set_font(font.font()));
            }
        });
        screen::with_log(measure)
    });
    consw::take_over();
    console::locked(|| {
        adapt_all();
        update();
    });
}

/// Keeps what consoles have to know of the screen.
fn measure(log: &mut Log<'static, Shared>) {
    let (cols, rows) = (log.grid().cols(), log.grid().rows());
    let Size { width, height } = log.grid().glyph();
    let glyphs = 1 << log.font().glyph_bits();
    let sizes = [cols as u32, rows as u32, width, height, glyphs];
    for (to, size) in [&COLS, &ROWS, &WIDTH, &HEIGHT, &GLYPHS]
        .into_iter()
        .zip(sizes)
    {
        to.store(size, Ordering::Relaxed);
    }
}

/// The columns and rows that a console can have at most.
pub(crate) fn size() -> (usize, usize) {
    let load = |of: &AtomicU32| of.load(Ordering::Relaxed) as usize;
    (load(&COLS), load(&ROWS))
}

/// The screen's pixels, but for those that are no cell's.
pub(crate) fn pixels() -> (u32, u32) {
    let of = |cells: &AtomicU32, glyph: &AtomicU32| {
        cells.load(Ordering::Relaxed) * glyph.load(Ordering::Relaxed)
    };
    (of(&COLS, &WIDTH), of(&ROWS, &HEIGHT))
}

/// Tells a console the size of the screen's glyphs, and how many there are for it.
fn tell_font(vc: &mut Vc, glyphs: u32) {
    let glyph = Size {
        width: WIDTH.load(Ordering::Relaxed),
        height: HEIGHT.load(Ordering::Relaxed),
    };
    vc.set_font(glyph, glyphs as usize);
}

/// Makes a console what the screen is.
fn adapt(vc: &mut Vc) {
    tell_font(vc, GLYPHS.load(Ordering::Relaxed));
    let (cols, rows) = size();
    vc.resize(cols, rows);
}

/// Makes all consoles what the screen is, and has the one in the foreground drawn. The console lock
/// is held.
fn adapt_all() {
    // SAFETY: The console lock is held: `lit()` calls this in `console::locked()`, and `set_font()`
    // in the callbacks `con_font_set` and `con_font_default` of `struct consw`.
    unsafe { Vc::ours(adapt) };
    // SAFETY: As above; `vc` is not used any more when this returns.
    if let Some(mut vc) = unsafe { Vc::foreground() } {
        vc.redraw();
    }
}

/// A console begins, or is ours again.
pub(crate) fn init(vc: &mut Vc, new: bool) {
    tell_font(vc, GLYPHS.load(Ordering::Relaxed));
    let (cols, rows) = size();
    if new {
        vc.set_size(cols, rows);
    } else {
        vc.resize(cols, rows);
        vc.map_unicode();
    }
}

/// A console gets another driver, which begins with 256 glyphs. Its text does not stay on our
/// screen, where it would not change any more.
pub(crate) fn deinit(vc: &mut Vc) {
    tell_font(vc, 256);
    if vc.is_visible() {
        with_log(|log| {
            log.clear();
            pacing::show(log);
        });
    }
}

/// Puts cells on the screen.
pub(crate) fn put(vc: &Vc, row: usize, col: usize, cells: impl Iterator<Item = Cell>) {
    if vc.is_visible() {
        with_log(|log| log.screen().put(row, col, cells));
    }
}

/// Scrolls rows of the screen.
pub(crate) fn scroll(vc: &Vc, rows: Range<usize>, way: Way, lines: usize) {
    let (cols, blank) = (vc.cols(), vc.erased());
    with_log(|log| log.screen().scroll(rows, cols, way, lines, blank));
}

/// Shows the cursor, and all that changed; or hides it, which is shown with what comes next.
pub(crate) fn cursor(vc: &mut Vc, enable: bool) {
    return_to();
    save(vc);
    if !vc.is_visible() {
        return;
    }
    let (row, col) = vc.position();
    let blinks = with_log(|log| {
        log.screen().set_position(row, col);
        if enable {
            let cursor = shape(vc, log);
            log.screen().set_cursor(cursor);
        }
        pacing::show(log);
        if !enable {
            log.screen().set_cursor(None);
        }
    });
    if blinks.is_some() {
        consw::blink_later(vc.blink());
    }
}

/// The cursor as it is to be seen.
fn shape(vc: &Vc, log: &Log<'static, Shared>) -> Option<Cursor> {
    let lines = vc.cursor_lines(log.grid().glyph().height as usize);
    let (row, col) = vc.position();
    let col = col.min(vc.cols().saturating_sub(1));
    (!lines.is_empty() && vc.has_cursor()).then_some(Cursor { row, col, lines })
}

/// Time for the cursor to change. Returns in how many milliseconds it is again.
pub(crate) fn blink(vc: &Vc) -> Option<u32> {
    with_log(|log| {
        let next = match log.screen().cursor() {
            Some(_) => None,
            None => shape(vc, log),
        };
        let blinks = vc.has_cursor() && vc.is_visible();
        if blinks && !log.is_ahead() {
            log.screen().set_cursor(next);
        }
        pacing::show(log);
        blinks.then(|| vc.blink())
    })?
}

/// Shows what changed.
pub(crate) fn update() {
    return_to();
    with_log(pacing::show);
}

/// Has the console in the foreground on the screen again, if that was taken for something urgent.
/// Called by the VT core, or with the console lock held.
fn return_to() {
    if !nbcon::has_screen() {
        return;
    }
    screen::with_log(|log| {
        if !nbcon::give_back() {
            return;
        }
        log.clear();
        log.catch_up();
        // SAFETY: `cursor()` and `update()` call this: in callbacks of the VT core, for which
        // `Vc::new()` says why that is enough, and `lit()` in `console::locked()`. `vc` is not used
        // any more when this returns.
        if let Some(mut vc) = unsafe { Vc::foreground() } {
            for row in 0..vc.rows() {
                let cells = vc.row_mut(row).iter().map(|&cell| Cell(cell));
                log.screen().put(row, 0, cells);
            }
        }
    });
}

/// Takes over into the VT core's buffer what the log wrote past it.
pub(crate) fn save(vc: &mut Vc) {
    if !vc.is_visible() {
        return;
    }
    with_log(|log| {
        if !log.catch_up() {
            return;
        }
        for row in 0..vc.rows() {
            let cells = log.screen().row(row);
            for (to, from) in vc.row_mut(row).iter_mut().zip(cells) {
                *to = from.0;
            }
        }
        let (row, col) = log.screen().position();
        vc.set_position(row, col);
    });
}

/// As [`save`], for the console in the foreground. The console lock is held.
pub(crate) fn save_foreground() {
    // SAFETY: The console lock is held: `screen::stop()` and `screen::quietly()`, the callers, do
    // this in `console::locked()`.
    if let Some(mut vc) = unsafe { Vc::foreground() } {
        save(&mut vc);
    }
}

/// Our screen goes: a framebuffer console that waits for text may have the VT when it has a screen.
pub(crate) fn let_go() {
    console::locked(|| {
        // SAFETY: `console::locked()` holds the console lock until this closure returns.
        if let Some(mut vc) = unsafe { Vc::foreground() } {
            vc.tell_dummy();
        }
    });
}

/// Another console comes into the foreground: what it has no cells for becomes blank.
pub(crate) fn switch(vc: &Vc) {
    let (cols, rows) = (vc.cols(), vc.rows());
    let (all_cols, all_rows) = size();
    with_log(|log| {
        for row in 0..all_rows {
            let from = if row < rows { cols } else { 0 };
            let blanks =
                core::iter::repeat_n(log.screen().nothing(), all_cols.saturating_sub(from));
            log.screen().put(row, from, blanks);
        }
        log.set_palette(vc.palette());
    });
}

/// Blackens the screen, or shows it again when it is drawn next.
pub(crate) fn blank(vc: &Vc, black: bool) {
    if !vc.is_visible() {
        return;
    }
    with_log(|log| {
        if black {
            log.blank();
        } else {
            log.screen().unblank();
        }
    });
}

/// Has everything drawn in the colours of a console.
pub(crate) fn set_palette(vc: &Vc) {
    if vc.is_visible() {
        with_log(|log| log.set_palette(vc.palette()));
        // Not all who change it say that they are done.
        consw::blink_later(20);
    }
}

/// Shows all consoles with another font, be they in the background.
///
/// # Errors
///
/// EINVAL if the screen has no cell for it, ENODEV if there is no screen, EIO if the text does not
/// fit.
pub(crate) fn set_font(vc: &Vc, font: UserFont) -> Result {
    if !vc.is_text() {
        return Err(EINVAL);
    }
    let set = with_log(|log| {
        let result = log.set_font(font.font());
        measure(log);
        result
    });
    let set = set.ok_or(ENODEV)?;
    match set {
        Err(LogError::Display(DisplayError::Grid(_))) => return Err(EINVAL),
        Ok(()) | Err(LogError::Display(DisplayError::Gpu(_))) => {}
        Err(_) => return Err(EIO),
    }
    // The one before is not used any more, even if the device failed on the way. The text has the
    // new one when the device answers again.
    FONT.with(|slot| *slot = Some(font));
    adapt_all();
    Ok(())
}

/// Runs `f` on the font, if there is a screen.
pub(crate) fn with_font<R>(f: impl FnOnce(&Font<'static>) -> R) -> Option<R> {
    with_log(|log| f(log.font()))
}
