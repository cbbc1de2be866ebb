// SPDX-License-Identifier: GPL-2.0

//! Parsers of an input into numbers, pieces of memory, and fields that have to add up.

use crate::firmware::{
    Memory,
    Unreadable, //
};

/// An input, read from its start; all zeroes after its end.
#[derive(Clone)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    /// Takes that many bytes, or the remaining ones.
    pub(super) fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        let mut array = [0; N];
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(super) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Returns whether the input has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A piece of physical memory that counts the reads.
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
    /// The number of reads, and of bytes in all of them.
    pub(super) reads: usize,
    pub(super) total: usize,
}

impl Piece {
    pub(super) fn new(start: u64, bytes: Vec<u8>) -> Self {
        Self {
            start,
            bytes,
            reads: 0,
            total: 0,
        }
    }
}

impl Memory for Piece {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        self.reads += 1;
        self.total += into.len();
        // The kernel's stack is small, so that a read must not be large.
        assert!(into.len() <= 4096, "{} bytes at once", into.len());
        let bytes = at
            .checked_sub(self.start)
            .and_then(|offset| self.bytes.get(usize::try_from(offset).ok()?..))
            .and_then(|bytes| bytes.get(..into.len()));
        into.copy_from_slice(bytes.ok_or(Unreadable { at })?);
        Ok(())
    }
}

/// Sets the byte at `at` of a table, if it exists, such that all bytes add up to zero.
pub(super) fn seal(table: &mut [u8], at: usize) {
    let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    if let Some(byte) = table.get_mut(at) {
        *byte = byte.wrapping_sub(sum);
    }
}

/// Checks that a message for the log is one line of printable ASCII characters.
pub(crate) fn is_a_line(why: impl core::fmt::Display) {
    let why = why.to_string();
    assert!((2..200).contains(&why.len()), "{why}");
    assert!(
        why.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "{why}"
    );
}
