// SPDX-License-Identifier: GPL-2.0

//! What is left for a moment later, from whatever context.

use crate::{
    console::pacing,
    linux::bindings, //
};

/// Whether work that is left for later is done: the kernel schedules, and does not stop.
pub(crate) fn is_possible() -> bool {
    // SAFETY: It compares `system_state`, a word that may be read in any context.
    unsafe { bindings::virtgpu_schedules() }
}

/// Has [`pacing::wake_up`] called at the end of a frame, by a thread that may wait for anything.
pub(crate) fn later() {
    // SAFETY: It queues an irq_work of the driver's own. `irq_work_queue()` (kernel/irq_work.c) may
    // be called in any context, NMI included.
    unsafe { bindings::virtgpu_wake_later() };
}

/// The work of [`later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_wake() {
    pacing::wake_up();
}
