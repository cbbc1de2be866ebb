// SPDX-License-Identifier: GPL-2.0

//! Pacing of a screen that cannot pan. A line that scrolls repaints all of such a screen, which
//! costs as much as fifty lines elsewhere.
//!
//! The first such line is shown at once. The lines that follow within a frame are shown at its end,
//! by a work item with the console lock. Before work items run, and in an oops or a panic, each
//! line is shown at once.
//!
//! After the last frame the whole screen is flushed once more: a device may answer a flush and skip
//! it while a viewer fetches the last picture.

use kernel::sync::atomic::{
    Atomic,
    AtomicFlag,
    Relaxed, //
};

use crate::{
    device::active,
    linux::{
        clock::{
            microseconds_since,
            ticks, //
        },
        console,
        owner::oops_in_progress,
        queue_memory::QueueMemory,
        work, //
    },
    scanout::log::Log, //
};

/// The length of a frame, in microseconds.
const FRAME_US: u64 = 16_000;

/// The time at which the whole screen was painted last, in ticks.
static LAST_REPAINT: Atomic<u64> = Atomic::new(0);
/// Set while the work item is pending.
static IS_PENDING: AtomicFlag = AtomicFlag::new(false);

/// Shows the text that was written to the log, now or at the end of the frame.
pub(crate) fn show(log: &mut Log<'static, QueueMemory>) {
    if !log.repaints() || !work::is_possible() || oops_in_progress() {
        log.show();
        return;
    }
    if log.needs_repaint() {
        if microseconds_since(LAST_REPAINT.load(Relaxed)) < FRAME_US {
            return show_later();
        }
        LAST_REPAINT.store(ticks(), Relaxed);
    }
    if log.show() {
        show_later();
    }
}

/// Schedules the end of the frame, at which the rest is shown, or all is flushed once more.
fn show_later() {
    if !IS_PENDING.xchg(true, Relaxed) {
        work::show_frame_later();
    }
}

/// Ends the frame, as the work of [`work::show_frame_later`]: shows the rest, or flushes all once
/// more.
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_show_frame() {
    IS_PENDING.store(false, Relaxed);
    console::locked(|_| {
        active::with_log(|log| {
            if log.needs_repaint() {
                show(log);
            } else {
                log.flush_again();
            }
        })
    });
}
