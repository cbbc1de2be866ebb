// SPDX-License-Identifier: GPL-2.0

//! The device configuration of a GPU: the events of its displays (VIRTIO 1.3, section 5.7.4).

use crate::virtio::Transport;

// Offsets of `struct virtio_gpu_config`, in bytes.
const EVENTS_READ: usize = 0;
const EVENTS_CLEAR: usize = 4;

/// VIRTIO_GPU_EVENT_DISPLAY: a display was added or removed, or its size has changed.
const EVENT_DISPLAY: u32 = 1;

/// Returns whether a display has changed since the last call, and clears that event. Returns false
/// if the device configuration space cannot be accessed.
pub(crate) fn displays_changed(transport: &mut (impl Transport + ?Sized)) -> bool {
    let events = transport.config(EVENTS_READ).unwrap_or(0);
    let changed = events & EVENT_DISPLAY != 0;
    if changed {
        transport.set_config(EVENTS_CLEAR, EVENT_DISPLAY);
    }
    changed
}
