// SPDX-License-Identifier: GPL-2.0

//! The device status field (VIRTIO 1.3, section 2.1).

bitflags::bitflags! {
    /// The bits of the device status field: the steps of the initialization that are completed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct DeviceStatus: u8 {
        /// The guest has found the device and recognised it as a virtio device.
        const ACKNOWLEDGE = 1;
        /// The guest has a driver for the device.
        const DRIVER = 2;
        /// The driver is set up and ready to drive the device.
        const DRIVER_OK = 4;
        /// The driver has acknowledged the features; the negotiation is complete.
        const FEATURES_OK = 8;
        /// The device has had an error from which only a reset recovers it.
        const DEVICE_NEEDS_RESET = 64;
        /// The driver has given up on the device.
        const FAILED = 128;
    }
}

impl DeviceStatus {
    /// Returns whether this is what a disconnected device reads as: all ones, also in the two bits
    /// that are reserved.
    pub(crate) fn is_disconnected(self) -> bool {
        self.bits() == u8::MAX
    }
}
