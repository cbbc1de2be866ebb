// SPDX-License-Identifier: GPL-2.0

//! What is left for a moment later, from whatever context.

use crate::{
    linux::bindings,
    stages::pace, //
};

/// Whether work that is left for later is done: the kernel schedules, and does not stop.
pub(crate) fn is_possible() -> bool {
    // SAFETY: Asking has no requirements.
    unsafe { bindings::virtgpu_schedules() }
}

/// Has [`pace::wake_up`] called at the end of a frame, by a thread that may wait for anything.
pub(crate) fn later() {
    // SAFETY: An irq_work of the driver's own is queued, which any context may do, NMI as well.
    unsafe { bindings::virtgpu_wake_later() };
}

/// The work of [`later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_wake() {
    pace::wake_up();
}
