// SPDX-License-Identifier: GPL-2.0

//! The kernel's log itself, for who missed some of it: read from any context, without a lock.

use core::ptr;

use crate::linux::bindings;

/// Bytes that the printk core makes of a record at most.
pub(crate) const RECORD_BYTES: usize = 2048;

/// A record of the log.
pub(crate) struct Record<'b> {
    /// Its number.
    pub(crate) number: u64,
    text: &'b [u8],
}

impl<'b> Record<'b> {
    /// Reads the first record from `number` on that the log still has, if there is one. Of one that
    /// does not fit the buffer some lines are missing, or all.
    pub(crate) fn read(number: u64, buffer: &'b mut [u8]) -> Option<Self> {
        let mut iter = bindings::kmsg_dump_iter {
            cur_seq: number,
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
            number: iter.cur_seq - 1,
            text: buffer.get(..length).unwrap_or_default(),
        })
    }

    /// Looks at the record `number`, if there is one that is not too long.
    pub(crate) fn look<R>(number: u64, f: impl FnOnce(Record<'_>) -> R) -> Option<R> {
        let mut buffer = [0; 256];
        let record = Record::read(number, &mut buffer)?;
        (record.number == number).then(|| f(record))
    }

    /// Its lines without their ends, and the level of each (`KERN_EMERG` is 0).
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u8, &'b [u8])> {
        let text = self.text.strip_suffix(b"\n").unwrap_or(self.text);
        text.split(|&byte| byte == b'\n').map(parse)
    }

    /// Its level, or [`u8::MAX`] if that is not known.
    pub(crate) fn level(&self) -> u8 {
        self.lines().next().map_or(u8::MAX, |(level, _)| level)
    }
}

/// Divides `<N>text`, where the lower three bits of N are the level.
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

/// The number of the newest record.
pub(crate) fn newest() -> u64 {
    let mut iter = bindings::kmsg_dump_iter {
        cur_seq: 0,
        next_seq: 0,
    };
    // SAFETY: As in `Record::read()`; it writes to `iter` alone.
    unsafe { bindings::kmsg_dump_rewind(&mut iter) };
    iter.next_seq.saturating_sub(1)
}

/// The level from which on records are not for consoles.
pub(crate) fn console_level() -> u8 {
    // SAFETY: `console_printk` is an array of words in kernel/printk/printk.c, whose first one is
    // the level. It is read at once; others may change it meanwhile, and either value will do.
    let level = unsafe {
        (&raw const bindings::console_printk)
            .cast::<i32>()
            .read_volatile()
    };
    level.clamp(0, 8) as u8
}

/// Sets that level, as parameters of the command line do.
pub(crate) fn set_console_level(level: i32) {
    // SAFETY: As in `console_level()`. The early console's `setup()`, the only caller, runs while
    // early parameters are read, some of which write the level as well: on one CPU, one after the
    // other.
    unsafe {
        (&raw mut bindings::console_printk)
            .cast::<i32>()
            .write_volatile(level)
    };
}
