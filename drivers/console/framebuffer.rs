// SPDX-License-Identifier: GPL-2.0

//! The framebuffer of a KMS client on the screen, in place of the text.
//!
//! The framebuffer is shown while the CRTC is active, and there is a DRM master or the virtual
//! terminal in the foreground is in graphics mode (KD_GRAPHICS). If a master turns the CRTC off,
//! the screen is black. Otherwise the text is shown, with all that was written meanwhile. A panic,
//! and an emergency that tty0 does not print, take the screen.
//!
//! The text of the module is the log alone, and graphics mode does not matter there. But fbcon may
//! draw the virtual terminals in a framebuffer of its own: from then on that is shown in place of
//! the log, and a panic alone has text of ours on the screen.
//!
//! The KMS driver reports the changes of these conditions with locks of DRM held, under which the
//! console lock must not be taken. So a work item evaluates them.

use core::ops::Range;

use kernel::{
    sync::atomic::{
        Atomic,
        AtomicFlag,
        Relaxed, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

#[cfg(MODULE)]
use crate::console::legacy::{
    self as printer,
    wait_for_log, //
};
#[cfg(all(CONFIG_VT, not(MODULE)))]
use crate::console::vt;
#[cfg(not(MODULE))]
use crate::{
    console::nbcon as printer,
    device::active::wait_for_log, //
};
use crate::{
    linux::{
        console::{
            self,
            Locked, //
        },
        kms::{
            self,
            declare_kms_screen,
            Pixels,
            Screen, //
        },
        mutex::Mutex,
        queue_memory::QueueMemory,
        work, //
    },
    scanout::{
        display::Area,
        log::Log, //
    }, //
};

/// The screen of the KMS driver.
struct Framebuffer;

/// Set while the CRTC is active.
static IS_ACTIVE: AtomicFlag = AtomicFlag::new(false);
/// Set when the CRTC becomes active, until the DRM master changes while it is not.
static WAS_ACTIVE: AtomicFlag = AtomicFlag::new(false);
/// Set while there is a DRM master.
static HAS_MASTER: AtomicFlag = AtomicFlag::new(false);
/// Set from the first frame that fbcon draws on, until the DRM device is gone.
static HAS_CONSOLE: AtomicFlag = AtomicFlag::new(false);
/// Set while the KMS driver draws. Changed with [`Mutex::Framebuffer`] locked.
static IS_DRAWN: AtomicFlag = AtomicFlag::new(false);
/// The size of the screen in pixels, as the KMS driver knows it: the width in the upper half.
static SIZE: Atomic<u64> = Atomic::new(0);
/// The size of the picture in the last full frame, in the same way. Changed with
/// [`Mutex::Framebuffer`] locked.
static MODE: Atomic<u64> = Atomic::new(0);

/// The number of rows of pixels that are drawn at once. A panic waits for one such piece.
const ROWS_AT_ONCE: u32 = 64;

/// The time in microseconds to sleep while the device reads the memory for the next rows.
const SLEEP_US: i64 = 50;

/// The number of times to sleep for one row, before the driver waits for the device.
const MAX_SLEEPS: u32 = 200;

/// Handles displays that have changed, even if the screen has the same size. May sleep.
pub(crate) fn displays_changed() {
    update_size();
    kms::changed();
}

/// Handles a screen that is new, or has another size. May sleep.
pub(crate) fn redraw() {
    if update_size() {
        kms::changed();
    }
    if was_active() || HAS_CONSOLE.load(Relaxed) {
        work::update_framebuffer_later();
    }
}

/// Stores the size of the screen. Returns whether it is another than before. May sleep.
fn update_size() -> bool {
    let size = to_word(with_log(|log| log.size()).unwrap_or((0, 0)));
    SIZE.xchg(size, Relaxed) != size
}

/// Returns a width and a height as one word.
fn to_word((width, height): (u32, u32)) -> u64 {
    u64::from(width) << 32 | u64::from(height)
}

/// Runs `f` on the log, with the console lock; returns `None` if there is none. May sleep.
fn with_log<R>(f: impl FnOnce(&mut Log<'static, QueueMemory>) -> R) -> Option<R> {
    console::locked(|_| wait_for_log(f))
}

/// Shows the framebuffer or the text, as the conditions require: the work of
/// [`work::update_framebuffer_later`].
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_update_framebuffer() {
    // The KMS driver may have kept the console from the screen.
    #[cfg(MODULE)]
    {
        printer::catch_up();
        if printer::owner_has_faulted() {
            return;
        }
    }
    let is_active = IS_ACTIVE.load(Relaxed);
    let is_wanted = console::locked(|lock| is_wanted(lock));
    let mut was_drawn = !(is_wanted && is_active) && set_drawn(false);
    let start_or_end = |log: &mut Log<'static, QueueMemory>| {
        let had = log.has_framebuffer();
        // The owner of the screen alone takes it for an emergency.
        let has = is_wanted && !printer::has_screen() && log.start_framebuffer();
        if !has {
            log.end_framebuffer();
            // Nobody else draws the text.
            if had && cfg!(not(CONFIG_VT)) {
                log.show();
            }
        } else if !is_active {
            log.blacken_framebuffer();
        }
        (had, has)
    };
    let (had, has) = with_log(start_or_end).unwrap_or((false, false));
    if has && is_active {
        if !set_drawn(true) || !had {
            kms::redraw();
        }
        return;
    }
    was_drawn |= set_drawn(false);
    if !has && (had || was_drawn) && !printer::has_screen() {
        printer::redraw();
        #[cfg(all(CONFIG_VT, not(MODULE)))]
        vt::redraw();
    }
}

/// Makes sure that the KMS driver does not own the screen, so that no change of the text is lost,
/// until [`work::update_framebuffer_later`]. May sleep; the caller does not hold the console lock.
pub(crate) fn stop_drawing() {
    set_drawn(false);
}

/// Sets whether the KMS driver draws. If not, it does not own the screen when this returns, and so
/// does not keep it from the terminal, whose text would be lost. Returns whether it drew before.
/// May sleep; the caller does not hold the console lock.
fn set_drawn(is_drawn: bool) -> bool {
    let _guard = Mutex::Framebuffer.lock();
    IS_DRAWN.xchg(is_drawn, Relaxed)
}

/// Returns whether the CRTC is active, or was under the present DRM master.
fn was_active() -> bool {
    IS_ACTIVE.load(Relaxed) || WAS_ACTIVE.load(Relaxed)
}

/// Returns whether the text is not to be shown, because a framebuffer comes in its place.
#[cfg(MODULE)]
pub(crate) fn is_coming() -> bool {
    HAS_CONSOLE.load(Relaxed) || was_active() && HAS_MASTER.load(Relaxed)
}

/// Returns whether a framebuffer is wanted on the screen, or black in its place.
fn is_wanted(lock: &Locked) -> bool {
    HAS_CONSOLE.load(Relaxed) || was_active() && (HAS_MASTER.load(Relaxed) || is_graphics(lock))
}

/// Returns whether the virtual terminal in the foreground is in graphics mode. The module does not
/// learn of such changes.
fn is_graphics(_lock: &Locked) -> bool {
    #[cfg(all(CONFIG_VT, not(MODULE)))]
    if vt::is_graphics(_lock) {
        return true;
    }
    false
}

impl Screen for Framebuffer {
    fn size() -> (u32, u32) {
        let size = SIZE.load(Relaxed);
        ((size >> 32) as u32, size as u32)
    }

    fn edid(memory: &mut [u8]) -> usize {
        with_log(|log| log.edid(memory)).unwrap_or(0)
    }

    fn set_active(is_active: bool) {
        if is_active {
            WAS_ACTIVE.store(true, Relaxed);
        }
        if IS_ACTIVE.xchg(is_active, Relaxed) != is_active {
            work::update_framebuffer_later();
        }
    }

    fn set_master(has_master: bool) {
        WAS_ACTIVE.store(IS_ACTIVE.load(Relaxed), Relaxed);
        HAS_MASTER.store(has_master, Relaxed);
        work::update_framebuffer_later();
    }

    fn set_console(has_console: bool) {
        if HAS_CONSOLE.xchg(has_console, Relaxed) != has_console {
            work::update_framebuffer_later();
        }
    }

    fn draw(pixels: &Pixels, x: Range<u32>, y: Range<u32>) {
        let _guard = Mutex::Framebuffer.lock();
        if !IS_DRAWN.load(Relaxed) {
            return;
        }
        let mut left = Area { x, y };
        // The first frame of a mode is a full one, and blackens what a larger one has left beside
        // it.
        let (width, height) = pixels.size();
        let is_full = left
            == (Area {
                x: 0..width,
                y: 0..height,
            });
        let mode = to_word((width, height));
        if is_full && MODE.xchg(mode, Relaxed) != mode {
            let screen = Self::size();
            (left.x.end, left.y.end) = (width.max(screen.0), height.max(screen.1));
        }
        let all = left.clone();
        let mut sleeps = 0;
        while !left.y.is_empty() {
            let end = left.y.end.min(left.y.start.saturating_add(ROWS_AT_ONCE));
            let part = Area {
                x: left.x.clone(),
                y: left.y.start..end,
            };
            // A device that does not answer is given up as it is for text.
            let waits = sleeps >= MAX_SLEEPS;
            let next = wait_for_log(|log| {
                let next = log.draw_framebuffer(&part, waits, |x, y, to| pixels.copy(x, y, to));
                if next.is_none() && end == all.y.end {
                    log.show_framebuffer(&all);
                }
                next
            });
            match next.flatten() {
                Some(row) => {
                    sleeps = if row == left.y.start { sleeps + 1 } else { 0 };
                    left.y.start = row;
                    fsleep(Delta::from_micros(SLEEP_US));
                }
                None => (left.y.start, sleeps) = (end, 0),
            }
        }
        // It may have found the screen owned.
        #[cfg(not(MODULE))]
        printer::show_missed();
    }
}

declare_kms_screen!(Framebuffer);
