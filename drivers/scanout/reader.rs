// SPDX-License-Identifier: GPL-2.0

//! What of the kernel's log the screen has shown.

/// The size of a formatted record in bytes, at most (PRINTK_MESSAGE_MAX).
const RECORD_BYTES: usize = 2048;

/// A reader of the kernel's log. It belongs to the owner of the screen.
pub(crate) struct LogReader {
    /// The sequence number of the next record, or [`LogReader::UNREAD`].
    pub(crate) next: u64,
    /// The sequence number of the first record of the emergency that was shown last.
    pub(crate) emergency: u64,
    /// Space for a record.
    pub(crate) buffer: [u8; RECORD_BYTES],
}

impl LogReader {
    /// The value of `next` before the first record is read.
    pub(crate) const UNREAD: u64 = u64::MAX;

    /// Makes a reader that has read nothing.
    pub(crate) const fn new() -> Self {
        Self {
            next: Self::UNREAD,
            emergency: 0,
            buffer: [0; RECORD_BYTES],
        }
    }
}
