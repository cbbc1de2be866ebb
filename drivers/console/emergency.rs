// SPDX-License-Identifier: GPL-2.0

//! Decides which records of the kernel's log belong to an emergency or a panic. Pure: it reads the
//! log through [`Records`].

/// The kernel's log.
pub(crate) trait Records {
    /// Returns whether the record `seq` contains `text`.
    fn contains(&self, seq: u64, text: &[u8]) -> bool;

    /// Returns the level of the record `seq` (KERN_EMERG is 0); `None` if there is no such record.
    fn level(&self, seq: u64) -> Option<u8>;
}

/// The largest number of records before an emergency that belong to it, such as "Unable to handle
/// kernel paging request". They have level ALERT or EMERG.
const MAX_PRELUDE: u64 = 24;

/// The level of KERN_ALERT.
pub(crate) const ALERT: u8 = 1;

/// The largest difference of the sequence numbers of records that belong together, while other CPUs
/// print as well.
const MAX_DISTANCE: u64 = 16;

/// The largest difference of the sequence numbers of records that follow each other.
const MAX_GAP: u64 = 2;

/// The largest number of records through which the start of an emergency is searched, if other CPUs
/// have printed many since.
const MAX_SEARCH: u64 = 8192;

/// The text at the start of warnings and of BUG().
const CUT_HERE: &[u8] = b"[ cut here ]";

/// The records of the last emergency, by sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emergency {
    /// The first record.
    pub(crate) first: u64,
    /// The record after the last one; 0 if there was no emergency.
    pub(crate) end: u64,
    /// The record that was printed last, if the console lags behind the log;
    /// [`Emergency::UP_TO_DATE`] otherwise.
    pub(crate) lagging_at: u64,
}

impl Emergency {
    /// The value of `lagging_at` if the console does not lag behind.
    pub(crate) const UP_TO_DATE: u64 = u64::MAX;

    /// Returns the emergency after the printk core has passed `seq` to the console as a record of
    /// an emergency: of this one, or of a new one. `newest` is the newest record of the log.
    /// `is_recent` says that the last record of an emergency was passed a short time ago.
    pub(crate) fn add(
        self,
        seq: u64,
        newest: u64,
        is_recent: bool,
        records: &impl Records,
    ) -> Self {
        let lags = seq + MAX_GAP < newest;
        // Other CPUs print as well, and a record may be passed twice. A console that lags behind
        // gets all records one after the other, those before the emergency included.
        let follows = seq != 0 && self.lagging_at == seq - 1;
        let is_near = (self.first..=self.end.saturating_add(MAX_GAP)).contains(&seq);
        let belongs = self.end != 0 && (follows || is_near && (!lags || is_recent));
        let mut last = seq;
        let mut first = self.first;
        if !belongs {
            first = first_record(seq, newest, records);
            last = last.max(first);
        }
        Self {
            first,
            end: self.end.max(last + 1),
            lagging_at: if lags { seq } else { Self::UP_TO_DATE },
        }
    }

    /// Returns the first record of a panic that has just begun to print. `newest` is the newest
    /// record of the log. An emergency belongs to the panic if fewer than [`MAX_DISTANCE`] records
    /// are between them.
    pub(crate) fn first_of_panic(self, newest: u64, records: &impl Records) -> u64 {
        // With threaded consoles all of the panic may be in the log before it is passed.
        let panic = (newest.saturating_sub(MAX_SEARCH)..=newest)
            .rev()
            .find(|&seq| records.contains(seq, b"Kernel panic - not syncing"))
            .unwrap_or(newest);
        let near = self.end..self.end.saturating_add(MAX_DISTANCE);
        if self.end != 0 && near.contains(&panic) {
            self.first
        } else {
            panic
        }
    }
}

/// Returns whether the record `seq` is a panic's last one.
pub(crate) fn is_end_of_panic(seq: u64, records: &impl Records) -> bool {
    records.contains(seq, b"---[ end Kernel panic")
}

/// Returns the first record of a new emergency, of which `seq` is the first that the printk core
/// has passed to the console. The console may lag behind, and `seq` may be a record from before the
/// emergency.
fn first_record(seq: u64, newest: u64, records: &impl Records) -> u64 {
    if seq + MAX_GAP >= newest {
        return seq;
    }
    (seq.max(newest.saturating_sub(MAX_SEARCH))..=newest)
        .rev()
        .find(|&seq| records.contains(seq, CUT_HERE))
        .unwrap_or(newest)
}

/// Returns the first record that is to be shown of an emergency whose first record is `first`: the
/// kernel prints the reason before it declares an emergency.
pub(crate) fn with_prelude(first: u64, records: &impl Records) -> u64 {
    let mut start = first;
    for seq in (first.saturating_sub(MAX_PRELUDE)..first).rev() {
        match records.level(seq) {
            Some(level) if level <= ALERT => start = seq,
            // Skip a record of another CPU.
            Some(_) if start - seq <= MAX_GAP => {}
            _ => break,
        }
    }
    // BUG() prints its source line before it declares an emergency.
    if records.contains(first, b"Internal error: ") {
        return (start.saturating_sub(MAX_DISTANCE)..start)
            .rev()
            .take_while(|&seq| !records.contains(seq, b"---[ end "))
            .find(|&seq| records.contains(seq, CUT_HERE))
            .unwrap_or(start);
    }
    start
}
