// SPDX-License-Identifier: GPL-2.0

//! The kernel's log, read in any context, without a lock.

use core::ptr;

use crate::linux::bindings;

/// A record of the log.
pub(crate) struct Record<'b> {
    /// The sequence number.
    pub(crate) seq: u64,
    text: &'b [u8],
}

impl<'b> Record<'b> {
    /// Reads the first record from `seq` on that the log still has; `None` if there is none. If it
    /// does not fit the buffer, some of its lines are missing, or all.
    pub(crate) fn read(seq: u64, buffer: &'b mut [u8]) -> Option<Self> {
        let mut iter = bindings::kmsg_dump_iter {
            cur_seq: seq,
            next_seq: 0,
        };
        let mut length = 0;
        // SAFETY: The buffer is as long as said, and `length` a place for what is in it.
        // `kmsg_dump_get_line()` (kernel/printk/printk.c) takes no lock: it reads the ring of
        // records by atomic operations, in any context, NMI included.
        let found = unsafe {
            bindings::kmsg_dump_get_line(
                &mut iter,
                true,
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                ptr::from_mut(&mut length),
            )
        };
        found.then(|| Self {
            seq: iter.cur_seq - 1,
            text: buffer.get(..length).unwrap_or_default(),
        })
    }

    /// Runs `f` on the record `seq`; returns `None` if there is none. Only the first 256 bytes of
    /// the record count.
    pub(crate) fn with<R>(seq: u64, f: impl FnOnce(Record<'_>) -> R) -> Option<R> {
        let mut buffer = [0; 256];
        let record = Record::read(seq, &mut buffer)?;
        (record.seq == seq).then(|| f(record))
    }

    /// Returns the record's lines without newlines, each with its level (`KERN_EMERG` is 0).
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u8, &'b [u8])> {
        let text = self.text.strip_suffix(b"\n").unwrap_or(self.text);
        text.split(|&byte| byte == b'\n').map(parse)
    }

    /// Returns the record's level, or [`u8::MAX`] if that is not known.
    pub(crate) fn level(&self) -> u8 {
        self.lines().next().map_or(u8::MAX, |(level, _)| level)
    }
}

/// Parses `<N>text` into the level, which is the lower three bits of N, and the text. Returns
/// [`u8::MAX`] and the whole line if it has no such start.
fn parse(line: &[u8]) -> (u8, &[u8]) {
    let mut parts = line.splitn(2, |&byte| byte == b'>');
    let number = parts.next().and_then(|number| number.strip_prefix(b"<"));
    match (number, parts.next()) {
        (Some(number), Some(text)) => {
            let number = number.iter().fold(0u32, |number, byte| {
                number.wrapping_mul(10).wrapping_add(u32::from(byte & 0xf))
            });
            ((number & 7) as u8, text)
        }
        _ => (u8::MAX, line),
    }
}

/// Returns the sequence number of the newest record. In any context.
pub(crate) fn newest() -> u64 {
    let mut iter = bindings::kmsg_dump_iter {
        cur_seq: 0,
        next_seq: 0,
    };
    // SAFETY: As in `Record::read()`; it writes to `iter` alone.
    unsafe { bindings::kmsg_dump_rewind(&mut iter) };
    iter.next_seq.saturating_sub(1)
}

/// Returns the console loglevel: records of this level and above are not printed.
pub(crate) fn console_level() -> u8 {
    // SAFETY: `console_printk` is an array of words in kernel/printk/printk.c, of which the first
    // is the level. It is read at once; others may change it meanwhile, and either value will do.
    let level = unsafe {
        (&raw const bindings::console_printk)
            .cast::<i32>()
            .read_volatile()
    };
    level.clamp(0, 8) as u8
}

/// Sets the console loglevel, as parameters on the command line do.
pub(crate) fn set_console_level(level: i32) {
    // SAFETY: As in `console_level()`. The early console's `setup()`, the only caller, runs while
    // early parameters are parsed. Some of these write the level as well, on the same CPU, one
    // after the other.
    unsafe {
        (&raw mut bindings::console_printk)
            .cast::<i32>()
            .write_volatile(level)
    };
}
