// SPDX-License-Identifier: GPL-2.0

//! When what was written is shown, where nothing pans: then a line that scrolls has the whole
//! screen painted, which costs as much as fifty lines do elsewhere.
//!
//! The first such line is shown at once, and what follows within a frame waits for the frame's end,
//! as long as something can wake up then: before the kernel schedules, and when it is in trouble or
//! stops, every line is shown at once. Whoever has waited is shown under the console lock.
//!
//! After the last of them everything is flushed once more, because a device may answer a flush and
//! do nothing while somebody looks at the last picture.

use core::sync::atomic::{
    AtomicBool,
    AtomicU64,
    Ordering, //
};

use crate::{
    device::screen,
    linux::{
        console,
        owner::is_in_trouble,
        shared::{
            microseconds_since,
            ticks,
            Shared, //
        },
        wake, //
    },
    scanout::log::Log, //
};

/// A frame, in microseconds.
const FRAME: u64 = 16_000;

/// When the whole screen was painted last, in ticks.
static PAINTED: AtomicU64 = AtomicU64::new(0);
/// Whether [`wake_up`] is to be called.
static WAITS: AtomicBool = AtomicBool::new(false);

/// Shows what was written to a log, or sees to it that it is shown soon.
pub(crate) fn show(log: &mut Log<'static, Shared>) {
    if !log.repaints() || !wake::is_possible() || is_in_trouble() {
        log.show();
        return;
    }
    if log.is_to_be_repainted() {
        if microseconds_since(PAINTED.load(Ordering::Relaxed)) < FRAME {
            return wait();
        }
        PAINTED.store(ticks(), Ordering::Relaxed);
    }
    if log.show() {
        wait();
    }
}

/// Has [`wake_up`] called at the end of a frame.
fn wait() {
    if !WAITS.swap(true, Ordering::Relaxed) {
        wake::later();
    }
}

/// A frame is over.
pub(crate) fn wake_up() {
    WAITS.store(false, Ordering::Relaxed);
    console::locked(|| {
        screen::with_log(|log| {
            if log.is_to_be_repainted() {
                show(log);
            } else {
                log.flush_again();
            }
        })
    });
}
