// SPDX-License-Identifier: GPL-2.0

//! Memory of a kind, in whole pages.

use core::{
    ops::Range,
    ptr::{
        self,
        NonNull, //
    },
    slice, //
};
use uefi::{
    boot::{
        self,
        AllocateType,
        MemoryType,
        PAGE_SIZE, //
    },
    Result, //
};
use zerocopy::{
    FromBytes,
    Immutable,
    IntoBytes, //
};

/// Pages of memory that are ours. Firmware maps all of it one to one (UEFI 2.10, sections 2.3.4 and
/// 2.3.6), so that addresses are physical ones.
///
/// # Invariants
///
/// `start` is the first of `count` pages that `boot::allocate_pages()` has given, and which are
/// initialised. They are freed by [`Pages::free`] alone. Nobody else writes them while `self`, or
/// what it lends, is used; a device they are shared with does so only between [`Pages::start`] and
/// its reset.
pub(crate) struct Pages {
    start: NonNull<u8>,
    count: usize,
}

impl Pages {
    /// Pages for at least `bytes`, all of them zero.
    ///
    /// # Errors
    ///
    /// Firmware has no such memory.
    pub(crate) fn new(kind: MemoryType, bytes: usize) -> Result<Self> {
        let count = bytes.div_ceil(PAGE_SIZE).max(1);
        let start = boot::allocate_pages(AllocateType::AnyPages, kind, count)?;
        // SAFETY: `allocate_pages()` has given so many pages, of which nobody else knows.
        unsafe { ptr::write_bytes(start.as_ptr(), 0, count * PAGE_SIZE) };
        // INVARIANT: Allocated, and initialised, above.
        Ok(Self { start, count })
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.count * PAGE_SIZE
    }

    /// Where they are.
    pub(crate) fn addresses(&self) -> Range<u64> {
        let start = self.start.as_ptr() as u64;
        start..start + self.bytes() as u64
    }

    /// The first byte, for who shares them with a device.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Makes every byte zero.
    pub(crate) fn clear(&mut self) {
        // SAFETY: By the invariants so many bytes are ours. `self` is borrowed mutably, so that
        // nobody has a reference to them.
        unsafe { ptr::write_bytes(self.start.as_ptr(), 0, self.bytes()) };
    }

    /// The first `count` of as many `T` as fit.
    pub(crate) fn items<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        count: usize,
    ) -> Option<&mut [T]> {
        const { assert!(align_of::<T>() <= PAGE_SIZE) };
        let bytes = count.checked_mul(size_of::<T>())?;
        if bytes > self.bytes() {
            return None;
        }
        // SAFETY: So many bytes are in the pages, by the check above, which by the invariants are
        // initialised and nobody else's. A page is as aligned as any `T`, by the assertion above.
        // Every pattern of bytes is a `T`, and every `T` one of bytes. They are borrowed as `self`
        // is.
        Some(unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast(), count) })
    }

    /// Gives the pages back.
    pub(crate) fn free(self) {
        // SAFETY: By the invariants they were allocated like this. `self` is consumed, so that
        // nobody has a reference to them, or frees them again. Should firmware not want them back,
        // they are lost.
        let _ = unsafe { boot::free_pages(self.start, self.count) };
    }
}
