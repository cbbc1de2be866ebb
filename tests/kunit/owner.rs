// SPDX-License-Identifier: GPL-2.0

//! Tests of who has the screen, of how long that is, and of what a panic may look at. They run in
//! the guest alone.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_owner))]
mod owner {
    use core::cell::Cell;

    use crate::linux::{
        arch::hz_or_default,
        atomic_option::AtomicOption,
        clock::{
            begin_use,
            microseconds_since,
            ticks,
            wait, //
        },
        owner::Owned, //
    };

    /// Waits as for a device that answers so many microseconds after it was asked. Returns whether
    /// it was waited for to the end, and for how long.
    fn wait_for_answer_after(time: u64) -> (bool, u64) {
        let asked = ticks();
        let answered = wait(&mut || microseconds_since(asked) >= time);
        (answered, microseconds_since(asked))
    }

    /// The machine of these tests has no GPU, so that nobody else waits meanwhile.
    #[test]
    fn one_use_of_the_screen_waits_for_six_seconds_and_no_more() {
        const LATE: u64 = 2_800_000;
        begin_use();
        assert!(wait_for_answer_after(LATE).0);
        assert!(wait_for_answer_after(LATE).0);
        // Of six seconds 0.4 are left.
        let (answered, time) = wait_for_answer_after(LATE);
        assert!(!answered && time < LATE);
        assert!(!wait_for_answer_after(LATE).0);
        // What is answered already costs nothing.
        assert!(wait_for_answer_after(0).0);
        // Whoever gets the screen next has all of the time.
        let screen = Owned::new(());
        assert_eq!(
            screen.try_with(|()| wait_for_answer_after(LATE).0),
            Some(true)
        );
    }

    #[test]
    fn one_answer_is_waited_for_for_three_seconds() {
        begin_use();
        let (answered, time) = wait_for_answer_after(u64::MAX);
        assert!(!answered && time >= 3_000_000);
        // A second use has as much.
        begin_use();
        assert!(wait_for_answer_after(2_000_000).0);
    }

    #[test]
    fn a_counter_whose_frequency_firmware_did_not_say() {
        assert_eq!(hz_or_default(62_500_000), 62_500_000);
        assert_eq!(hz_or_default(u32::MAX), u64::from(u32::MAX));
        // All waits end, and none at once.
        assert!(hz_or_default(0) > 1_000_000);
    }

    #[test]
    fn who_comes_second_goes_away() {
        let value = Owned::new(1);
        let second = value.try_with(|it| {
            *it = 2;
            value.try_with(|it| *it = 3)
        });
        assert_eq!(second, Some(None));
        // The second one has not given it back in the first one's place.
        assert_eq!(value.try_with(|it| *it), Some(2));
        assert_eq!(value.with(|it, torn| (*it, torn)), (2, false));
        for last in [false, true] {
            assert_eq!(
                value.take_over(last, |it, torn| (*it, torn)),
                Some((2, false))
            );
        }
    }

    #[test]
    fn who_has_nothing_abandons_nothing() {
        let value = Owned::new(());
        assert!(!value.mark_dead());
        assert!(value.try_with(|()| ()).is_some());
        assert!(!value.with(|(), torn| torn));
    }

    #[test]
    fn a_value_that_is_looked_at_any_time() {
        struct Counts<'c>(&'c Cell<u32>);

        impl Drop for Counts<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }

        let dropped = Cell::new(0);
        let (mut one, mut other) = (AtomicOption::none(), AtomicOption::none());
        assert!(one.is_none() && one.as_mut().is_none() && one.take().is_none());
        one.put(Counts(&dropped));
        one.put(Counts(&dropped));
        assert_eq!((dropped.get(), one.is_none()), (1, false));
        other.take_from(&mut one);
        assert!(one.is_none() && other.as_mut().is_some());
        one.clear();
        assert_eq!(dropped.get(), 1);
        other.take_from(&mut one);
        assert_eq!((dropped.get(), other.is_none()), (2, true));
        other.put(Counts(&dropped));
        drop(other.take());
        assert_eq!((dropped.get(), other.is_none()), (3, true));
        other.put(Counts(&dropped));
        drop(other);
        assert_eq!(dropped.get(), 4);
    }
}
