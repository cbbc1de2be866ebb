// SPDX-License-Identifier: GPL-2.0

//! Tests of when the native driver gets the device, and when the bridge takes it back.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_handover))]
mod handover {
    use crate::device::native::{
        CurrentDriver,
        Event,
        Handover,
        Step, //
    };

    /// Returns the state after some events.
    fn after(events: &[Event]) -> Handover {
        let first = Handover::empty();
        events
            .iter()
            .fold(first, |state, &event| state.after(event))
    }

    /// Returns the step in a state, where this driver has the device and the user allows a
    /// handover.
    fn step_bound(state: Handover) -> Step {
        state.step(|| true, || panic!("other drivers do not matter"), || true)
    }

    /// Returns the step in a state, where another driver has the device.
    fn step(state: Handover, driver: CurrentDriver) -> Step {
        state.step(|| false, || driver, || true)
    }

    #[test]
    fn the_native_driver_gets_a_device_that_is_bound() {
        let state = after(&[Event::Bound]);
        assert_eq!(step_bound(state), Step::Wait);
        assert!(!state.needs_work());
        let state = state.after(Event::NativeLoaded);
        assert!(state.needs_work());
        assert_eq!(step_bound(state), Step::Offer);
        // Not if it was bound to another driver, nor if the user forbids it.
        for driver in [
            CurrentDriver::None,
            CurrentDriver::Other,
            CurrentDriver::TransportOnly,
        ] {
            assert_eq!(step(state, driver), Step::Wait);
        }
        let refused = state.step(|| true, || CurrentDriver::Other, || false);
        assert_eq!(refused, Step::Wait);
        // Nor after the native driver has been unloaded.
        let state = state.after(Event::NativeUnloaded);
        assert_eq!(step_bound(state), Step::Wait);
    }

    #[test]
    fn a_native_driver_that_refuses_gets_another_offer_after_a_module_is_loaded() {
        let refused = after(&[Event::Bound, Event::NativeLoaded, Event::Refused]);
        assert_eq!(step_bound(refused), Step::Wait);
        assert!(!refused.needs_work());
        for event in [Event::NativeLoaded, Event::TransportLoaded] {
            let state = refused.after(event);
            assert_eq!(step_bound(state), Step::Offer);
        }
        // Another device in its place has not been refused.
        let state = refused.after(Event::DeviceRemoved).after(Event::Bound);
        assert_eq!(step_bound(state), Step::Offer);
    }

    #[test]
    fn a_device_without_a_driver_is_taken_back() {
        let away = after(&[
            Event::Bound,
            Event::NativeLoaded,
            Event::Offered,
            Event::OfferEnded,
        ]);
        assert_eq!(step(away, CurrentDriver::Other), Step::Wait);
        assert_eq!(step(away, CurrentDriver::None), Step::TakeBack);
        assert_eq!(step(away, CurrentDriver::TransportOnly), Step::TakeBack);
        // It is bound again then, and there is no step until a module is loaded.
        let back = away
            .after(Event::Refused)
            .after(Event::TakesBack)
            .after(Event::Bound)
            .after(Event::TookBack);
        assert_eq!(step_bound(back), Step::Wait);
    }

    #[test]
    fn a_device_that_cannot_be_reset_is_never_offered() {
        let state = after(&[Event::Bound, Event::NativeLoaded, Event::ResetFailed]);
        assert_eq!(step_bound(state), Step::Wait);
        let state = state.after(Event::NativeLoaded);
        assert_eq!(step_bound(state), Step::Wait);
    }

    #[test]
    fn devices_offered_during_a_handover() {
        let bound = after(&[Event::Bound, Event::NativeLoaded]);
        assert!(!bound.is_for_native(true) && !bound.is_for_native(false));
        // During the offer any device is for the native driver, after it only other devices.
        let offered = bound.after(Event::Offered);
        assert!(offered.is_for_native(true) && offered.is_for_native(false));
        let away = offered.after(Event::OfferEnded);
        assert!(!away.is_for_native(true) && away.is_for_native(false));
        // While the bridge takes it back, it is this driver's.
        let back = away.after(Event::TakesBack);
        assert!(!back.is_for_native(true) && !back.is_for_native(false));
        assert!(back.is_coming_back(true) && !back.is_coming_back(false));
        assert!(!away.is_coming_back(true));
        assert!(!back.after(Event::TookBack).is_coming_back(true));
    }

    #[test]
    fn no_work_is_queued_while_the_work_item_runs() {
        let state = after(&[Event::NativeLoaded, Event::WorkStarted, Event::Bound]);
        assert!(!state.needs_work());
        assert!(state.after(Event::WorkEnded).needs_work());
    }
}
