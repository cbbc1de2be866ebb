// SPDX-License-Identifier: GPL-2.0

//! Decides when the native driver, virtio_gpu, gets the device, and when this driver takes it back.
//! Pure: [`handover`](super::handover) carries the decisions out.

use bitflags::bitflags;

bitflags! {
    /// The state of the handover.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Handover: u32 {
        /// The native driver is loaded.
        const NATIVE_LOADED = 1 << 0;
        /// The native driver has refused the device, or has lost it. The device is offered again
        /// when that driver, or a module that makes virtio devices, is loaded again.
        const REFUSED = 1 << 1;
        /// The work item runs.
        const WORKING = 1 << 2;
        /// The device is being offered to the native driver.
        const OFFERING = 1 << 3;
        /// Another driver has the device, or is being offered it.
        const AWAY = 1 << 4;
        /// The device is being taken back.
        const TAKING_BACK = 1 << 5;
        /// The device did not finish a reset, so no other driver can use it.
        const UNRESETTABLE = 1 << 6;
    }
}

/// An event that changes the state of the handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The native driver has been loaded.
    NativeLoaded,
    /// A module that makes virtio devices has been loaded.
    TransportLoaded,
    /// The native driver is being unloaded.
    NativeUnloaded,
    /// The driver core removes the device: a device that it finds later is another one.
    DeviceRemoved,
    /// This driver has bound the device.
    Bound,
    /// The work item starts.
    WorkStarted,
    /// The work item ends.
    WorkEnded,
    /// The device did not finish the reset that precedes a handover.
    ResetFailed,
    /// The device is offered to other drivers from now on.
    Offered,
    /// The offer is over.
    OfferEnded,
    /// The native driver has refused the device, or has lost it.
    Refused,
    /// The device is taken back from now on.
    TakesBack,
    /// Taking the device back has ended, well or not.
    TookBack,
}

/// The kind of the other driver that has the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CurrentDriver {
    /// No driver at all.
    None,
    /// A driver that has made a virtio device of the device; the virtio device has no driver.
    TransportOnly,
    /// Any other driver. If it has made a virtio device, that has a driver, such as the native one.
    Other,
}

/// The next step of the handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Do nothing.
    Wait,
    /// Offer the device to the native driver.
    Offer,
    /// Take the device back.
    TakeBack,
}

impl Handover {
    /// Returns the state after an event.
    pub(crate) fn after(self, event: Event) -> Self {
        match event {
            Event::NativeLoaded => self.union(Self::NATIVE_LOADED).difference(Self::REFUSED),
            Event::TransportLoaded => self.difference(Self::REFUSED),
            Event::NativeUnloaded => self.difference(Self::NATIVE_LOADED),
            Event::DeviceRemoved => self.difference(Self::AWAY.union(Self::REFUSED)),
            Event::Bound => self.difference(Self::AWAY),
            Event::WorkStarted => self.union(Self::WORKING),
            Event::WorkEnded => self.difference(Self::WORKING),
            Event::ResetFailed => self.union(Self::UNRESETTABLE),
            Event::Offered => self.union(Self::AWAY).union(Self::OFFERING),
            Event::OfferEnded => self.difference(Self::OFFERING),
            Event::Refused => self.union(Self::REFUSED),
            Event::TakesBack => self.union(Self::TAKING_BACK).difference(Self::AWAY),
            Event::TookBack => self.difference(Self::TAKING_BACK),
        }
    }

    /// Returns whether the native driver is loaded and has not refused the device.
    fn is_wanted(self) -> bool {
        self.contains(Self::NATIVE_LOADED) && !self.contains(Self::REFUSED)
    }

    /// Returns whether the work item is to run after this driver has bound the device.
    pub(crate) fn needs_work(self) -> bool {
        self.is_wanted() && !self.contains(Self::WORKING)
    }

    /// Returns whether a device that the driver core offers to this driver is for the native
    /// driver: any device during the offer, and any but the active one while another driver has the
    /// active one.
    pub(crate) fn is_for_native(self, is_active: bool) -> bool {
        self.contains(Self::OFFERING) || self.contains(Self::AWAY) && !is_active
    }

    /// Returns whether the device that the driver core offers to this driver is coming back.
    pub(crate) fn is_coming_back(self, is_active: bool) -> bool {
        self.contains(Self::TAKING_BACK) && is_active
    }

    /// Returns the next step. `is_bound` says whether this driver has the device; `current_driver`
    /// is asked while the device is away, and waits for the outcome of a probe; `is_allowed` says
    /// whether the user allows a handover.
    pub(crate) fn step(
        self,
        is_bound: impl FnOnce() -> bool,
        current_driver: impl FnOnce() -> CurrentDriver,
        is_allowed: impl FnOnce() -> bool,
    ) -> Step {
        if self.contains(Self::AWAY) {
            return match current_driver() {
                CurrentDriver::None | CurrentDriver::TransportOnly => Step::TakeBack,
                CurrentDriver::Other => Step::Wait,
            };
        }
        if self.is_wanted() && is_bound() && is_allowed() && !self.contains(Self::UNRESETTABLE) {
            return Step::Offer;
        }
        Step::Wait
    }
}
