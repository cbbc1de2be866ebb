// SPDX-License-Identifier: GPL-2.0

//! The identity of a device of the driver core.

use kernel::bindings;

/// The address of a `struct device`, which is only compared; it may be null.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceId(usize);

impl DeviceId {
    /// Makes the ID of a device.
    pub(crate) fn of(device: *const bindings::device) -> Self {
        Self(device as usize)
    }

    /// Returns whether there is such a device: the pointer is not null.
    pub(crate) fn is_some(self) -> bool {
        self.0 != 0
    }
}
