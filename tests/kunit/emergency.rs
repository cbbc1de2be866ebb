// SPDX-License-Identifier: GPL-2.0

//! Tests of which records of the log belong to an emergency or a panic.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_emergency))]
mod emergency {
    use crate::console::emergency::{
        is_end_of_panic,
        with_prelude,
        Emergency,
        Records, //
    };

    const INFO: u8 = 6;
    const WARNING: u8 = 4;
    const ALERT: u8 = 1;
    const EMERG: u8 = 0;

    /// A log; `.0` is the number of its first record.
    struct Log(u64, &'static [(u8, &'static str)]);

    impl Log {
        fn newest(&self) -> u64 {
            self.0 + self.1.len() as u64 - 1
        }

        fn record(&self, seq: u64) -> Option<(u8, &'static str)> {
            let at = usize::try_from(seq.checked_sub(self.0)?).ok()?;
            self.1.get(at).copied()
        }
    }

    impl Records for Log {
        fn contains(&self, seq: u64, text: &[u8]) -> bool {
            self.record(seq).is_some_and(|(_, record)| {
                let mut parts = record.as_bytes().windows(text.len());
                parts.any(|part| part == text)
            })
        }

        fn level(&self, seq: u64) -> Option<u8> {
            self.record(seq).map(|(level, _)| level)
        }
    }

    const NONE: Emergency = Emergency {
        first: 0,
        end: 0,
        lagging_at: Emergency::UP_TO_DATE,
    };

    /// Passes records as the printk core does to a console that is up to date.
    fn pass(emergency: Emergency, seq: u64, log: &Log) -> Emergency {
        emergency.add(seq, seq, true, log)
    }

    #[test]
    fn records_that_follow_each_other_are_one_emergency() {
        let log = Log(0, &[(WARNING, ""); 200]);
        let mut emergency = NONE;
        for seq in [100, 101, 102] {
            emergency = pass(emergency, seq, &log);
        }
        assert_eq!((emergency.first, emergency.end), (100, 103));
        // One record twice, and two records of other CPUs between.
        emergency = pass(emergency, 101, &log);
        assert_eq!((emergency.first, emergency.end), (100, 103));
        emergency = pass(emergency, 105, &log);
        assert_eq!((emergency.first, emergency.end), (100, 106));
        // Three records between are too many.
        emergency = pass(emergency, 109, &log);
        assert_eq!((emergency.first, emergency.end), (109, 110));
    }

    #[test]
    fn the_first_record_of_the_log_can_be_an_emergency() {
        let log = Log(0, &[(WARNING, "")]);
        let emergency = pass(NONE, 0, &log);
        assert_eq!((emergency.first, emergency.end), (0, 1));
    }

    #[test]
    fn a_console_that_lags_behind_searches_the_log_for_the_start() {
        let log = Log(
            10,
            &[
                (INFO, "eth0: link is up"),
                (INFO, "random: crng init done"),
                (WARNING, "------------[ cut here ]------------"),
                (WARNING, "WARNING: CPU: 0"),
                (WARNING, "Call trace:"),
                (WARNING, "---[ end trace 0 ]---"),
            ],
        );
        let newest = log.newest();
        let emergency = NONE.add(10, newest, false, &log);
        assert_eq!(
            (emergency.first, emergency.end, emergency.lagging_at),
            (12, 13, 10)
        );
        // The next records belong to it, also after a long time.
        let emergency = emergency.add(11, newest, false, &log);
        assert_eq!(
            (emergency.first, emergency.end, emergency.lagging_at),
            (12, 13, 11)
        );
        let emergency = emergency.add(12, newest, false, &log);
        assert_eq!(
            (emergency.first, emergency.end, emergency.lagging_at),
            (12, 13, 12)
        );
        // After the last record the console is up to date.
        let emergency = emergency.add(13, newest, false, &log);
        assert_eq!(emergency.first, 12);
        assert_eq!(emergency.lagging_at, Emergency::UP_TO_DATE);
    }

    #[test]
    fn a_console_that_lags_behind_begins_at_the_newest_record_if_it_finds_none() {
        let log = Log(0, &[(WARNING, "no start"); 50]);
        let emergency = NONE.add(3, 49, false, &log);
        assert_eq!((emergency.first, emergency.end), (49, 50));
    }

    #[test]
    fn near_records_after_a_long_time_are_another_emergency_if_the_console_lags_behind() {
        let log = Log(0, &[(WARNING, "x"); 50]);
        let emergency = pass(pass(NONE, 9, &log), 10, &log);
        assert_eq!(emergency.add(12, 20, true, &log).first, 9);
        assert_eq!(emergency.add(12, 20, false, &log).first, 20);
        // For a console that is up to date the time does not count.
        assert_eq!(emergency.add(12, 12, false, &log).first, 9);
    }

    #[test]
    fn a_panic_soon_after_an_emergency_begins_with_it() {
        let log = Log(0, &[(INFO, "x"); 60]);
        let emergency = pass(pass(NONE, 20, &log), 21, &log);
        // No record of the log is a panic's: the newest one is the first.
        assert_eq!(emergency.first_of_panic(59, &log), 59);
        assert_eq!(emergency.first_of_panic(25, &log), 20);
        assert_eq!(NONE.first_of_panic(25, &log), 25);
        // The maximum number of records between them.
        assert_eq!(emergency.first_of_panic(37, &log), 20);
        assert_eq!(emergency.first_of_panic(38, &log), 38);
    }

    #[test]
    fn a_panic_begins_with_its_first_line() {
        let log = Log(
            100,
            &[
                (INFO, "x"),
                (EMERG, "Kernel panic - not syncing: test"),
                (EMERG, "CPU: 0"),
                (EMERG, "---[ end Kernel panic - not syncing: test ]---"),
            ],
        );
        // The last line has these words, too.
        assert_eq!(NONE.first_of_panic(102, &log), 101);
        assert!(is_end_of_panic(103, &log));
        assert!(!is_end_of_panic(101, &log) && !is_end_of_panic(500, &log));
    }

    #[test]
    fn alerts_before_an_emergency_belong_to_it() {
        let log = Log(
            0,
            &[
                (INFO, "systemd: x"),
                (ALERT, "Unable to handle kernel paging request"),
                (ALERT, "Mem abort info:"),
                (INFO, "another CPU"),
                (ALERT, "Data abort info:"),
                (EMERG, "Internal error: Oops: 1"),
            ],
        );
        assert_eq!(with_prelude(5, &log), 1);
        // There is no record before the first one of the log, and the limit is 24 records before.
        assert_eq!(with_prelude(1, &log), 1);
        assert_eq!(with_prelude(0, &log), 0);
        let alerts = Log(0, &[(ALERT, "x"); 100]);
        assert_eq!(with_prelude(99, &alerts), 75);
    }

    #[test]
    fn a_bug_begins_with_its_location() {
        let log = Log(
            0,
            &[
                (WARNING, "------------[ cut here ]------------"),
                (WARNING, "---[ end trace 1 ]---"),
                (INFO, "x"),
                (INFO, "------------[ cut here ]------------"),
                (INFO, "kernel BUG at mm/slub.c:1"),
                (EMERG, "Internal error: Oops - BUG: 2"),
            ],
        );
        assert_eq!(with_prelude(5, &log), 3);
        // An earlier warning that has ended does not belong to it.
        let log = Log(
            0,
            &[
                (WARNING, "------------[ cut here ]------------"),
                (WARNING, "---[ end trace 1 ]---"),
                (INFO, "x"),
                (INFO, "y"),
                (INFO, "z"),
                (EMERG, "Internal error: Oops: 1"),
            ],
        );
        assert_eq!(with_prelude(5, &log), 5);
    }
}
