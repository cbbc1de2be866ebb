// SPDX-License-Identifier: GPL-2.0

//! The device status field (VIRTIO 1.3, section 2.1).

bitflags::bitflags! {
    /// How far driver and device have come with each other.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Status: u8 {
        /// The guest has noticed the device.
        const ACKNOWLEDGE = 1;
        /// The guest knows how to drive it.
        const DRIVER = 2;
        /// The driver is set up.
        const DRIVER_OK = 4;
        /// The features are agreed on.
        const FEATURES_OK = 8;
        /// The device wants to be reset.
        const DEVICE_NEEDS_RESET = 64;
        /// The driver has given up on the device.
        const FAILED = 128;
    }
}

impl Status {
    /// Whether it is that of a device which is not there any more: its registers read as ones, two
    /// of which are reserved.
    pub(crate) fn is_gone(self) -> bool {
        self.bits() == u8::MAX
    }
}
