// SPDX-License-Identifier: GPL-2.0

//! The device's own configuration (VIRTIO 1.3, section 5.7.4): what happens to its displays.

use crate::virtio::Transport;

// Offsets of `struct virtio_gpu_config`.
const EVENTS_READ: usize = 0;
const EVENTS_CLEAR: usize = 4;

/// VIRTIO_GPU_EVENT_DISPLAY: a display came, went, or has another size.
const EVENT_DISPLAY: u32 = 1;

/// Whether something has happened to a display since this was asked last. Where the configuration
/// cannot be reached, nothing ever does.
pub(crate) fn displays_changed(transport: &mut (impl Transport + ?Sized)) -> bool {
    let events = transport.config(EVENTS_READ).unwrap_or(0);
    let changed = events & EVENT_DISPLAY != 0;
    if changed {
        transport.set_config(EVENTS_CLEAR, EVENT_DISPLAY);
    }
    changed
}
