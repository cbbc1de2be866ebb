// SPDX-License-Identifier: GPL-2.0

//! Tests of the screen's owner, of the limits of its waits, and of the values that a panic may
//! read. They run in the guest only.

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

    /// Waits for an answer that comes that many microseconds later. Returns whether it came in
    /// time, and the duration of the wait.
    fn wait_for_answer_after(time: u64) -> (bool, u64) {
        let begun = ticks();
        let answered = wait(&mut || microseconds_since(begun) >= time);
        (answered, microseconds_since(begun))
    }

    /// The machine of these tests has no GPU, so that no other code waits meanwhile.
    #[test]
    fn one_use_of_the_screen_waits_for_six_seconds_at_most() {
        const LATE: u64 = 2_800_000;
        begin_use();
        assert!(wait_for_answer_after(LATE).0);
        assert!(wait_for_answer_after(LATE).0);
        // 0.4 of six seconds remain.
        let (answered, time) = wait_for_answer_after(LATE);
        assert!(!answered && time < LATE);
        assert!(!wait_for_answer_after(LATE).0);
        // A condition that is already true needs no wait.
        assert!(wait_for_answer_after(0).0);
        // The next owner of the screen has the full time.
        let screen = Owned::new(());
        assert_eq!(
            screen.try_with(|()| wait_for_answer_after(LATE).0),
            Some(true)
        );
    }

    #[test]
    fn one_wait_takes_three_seconds_at_most() {
        begin_use();
        let (answered, time) = wait_for_answer_after(u64::MAX);
        assert!(!answered && time >= 3_000_000);
        // A second use has the full time.
        begin_use();
        assert!(wait_for_answer_after(2_000_000).0);
    }

    #[test]
    fn a_counter_of_unknown_frequency() {
        assert_eq!(hz_or_default(62_500_000), 62_500_000);
        assert_eq!(hz_or_default(u32::MAX), u64::from(u32::MAX));
        // All waits end, and none at once.
        assert!(hz_or_default(0) > 1_000_000);
    }

    #[test]
    fn a_second_caller_gets_nothing() {
        let value = Owned::new(1);
        let second = value.try_with(|it| {
            *it = 2;
            value.try_with(|it| *it = 3)
        });
        assert_eq!(second, Some(None));
        // The second caller has not released it for the first one.
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
    fn mark_dead_without_an_owner_does_nothing() {
        let value = Owned::new(());
        assert!(!value.mark_dead());
        assert!(value.try_with(|()| ()).is_some());
        assert!(!value.with(|(), torn| torn));
    }

    #[test]
    fn an_atomic_option_drops_each_value_once() {
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
