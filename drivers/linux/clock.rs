// SPDX-License-Identifier: GPL-2.0

//! The measurement of time, and bounded waits.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

use crate::linux::arch;

/// The longest wait for one answer of the device, in seconds. A host under load, or a paused one,
/// is slow and not dead.
const WAIT_LIMIT_S: u64 = 3;

/// The longest time of all waits of one use of the screen, in seconds. A device that answers each
/// command, but late, does not keep the console lock from others.
const USE_LIMIT_S: u64 = 6;

/// The time that the waits of this use of the screen have taken, in ticks.
static WAITED: Atomic<u64> = Atomic::new(0);

/// Starts a use of the screen: its waits may take [`USE_LIMIT_S`] in all.
pub(crate) fn begin_use() {
    WAITED.store(0, Relaxed);
}

/// Waits until `done()` returns true. Returns whether it did within [`WAIT_LIMIT_S`], and within
/// the rest of [`USE_LIMIT_S`].
pub(crate) fn wait(done: &mut dyn FnMut() -> bool) -> bool {
    if done() {
        return true;
    }
    let (start, hz) = (ticks(), arch::counter_hz());
    let left = (USE_LIMIT_S * hz).saturating_sub(WAITED.load(Relaxed));
    let limit = left.min(WAIT_LIMIT_S * hz);
    loop {
        // Read the time first, so that an answer counts which came while this CPU was kept from
        // running.
        let waited = ticks().wrapping_sub(start);
        let is_done = done();
        if is_done || waited > limit {
            WAITED.fetch_add(waited, Relaxed);
            return is_done;
        }
        core::hint::spin_loop();
    }
}

/// Returns the time in ticks of the system counter.
pub(crate) fn ticks() -> u64 {
    arch::counter()
}

/// Returns the microseconds since `start`, an earlier value of [`ticks`].
pub(crate) fn microseconds_since(start: u64) -> u64 {
    ticks().wrapping_sub(start).saturating_mul(1_000_000) / arch::counter_hz()
}
