// SPDX-License-Identifier: GPL-2.0

//! Memory of one type, allocated in pages.

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

/// Pages of memory that this driver has allocated. Firmware has an identity mapping (UEFI 2.10,
/// sections 2.3.4 and 2.3.6), so that pointers are physical addresses.
///
/// # Invariants
///
/// `start` is the first of `count` pages from `boot::allocate_pages()`, which are initialised. Only
/// [`Pages::free`] frees them. While `self` or a borrow of it is used, nothing else writes them,
/// except for a device that shares them, between [`Pages::start`] and the device's reset.
pub(crate) struct Pages {
    start: NonNull<u8>,
    count: usize,
}

impl Pages {
    /// Allocates pages for at least `bytes` bytes, and clears them.
    ///
    /// # Errors
    ///
    /// Firmware's status if there is no such memory.
    pub(crate) fn new(memory_type: MemoryType, bytes: usize) -> Result<Self> {
        let count = bytes.div_ceil(PAGE_SIZE).max(1);
        let start = boot::allocate_pages(AllocateType::AnyPages, memory_type, count)?;
        // SAFETY: `allocate_pages()` has allocated so many pages, and nothing else has their
        // address.
        unsafe { ptr::write_bytes(start.as_ptr(), 0, count * PAGE_SIZE) };
        // INVARIANT: Allocated and initialised above.
        Ok(Self { start, count })
    }

    /// Returns the size in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.count * PAGE_SIZE
    }

    /// Returns the physical addresses.
    pub(crate) fn addresses(&self) -> Range<u64> {
        let start = self.start.as_ptr() as u64;
        start..start + self.bytes() as u64
    }

    /// Returns a pointer to the first byte, to share the pages with a device.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Clears all bytes.
    pub(crate) fn clear(&mut self) {
        // SAFETY: By the invariants so many bytes are allocated. `self` is borrowed mutably, so
        // that there is no reference to them.
        unsafe { ptr::write_bytes(self.start.as_ptr(), 0, self.bytes()) };
    }

    /// Returns the pages as a slice of `count` values of type `T`, [`None`] if they do not fit.
    pub(crate) fn as_mut_slice<T: FromBytes + IntoBytes + Immutable>(
        &mut self,
        count: usize,
    ) -> Option<&mut [T]> {
        const { assert!(align_of::<T>() <= PAGE_SIZE) };
        let bytes = count.checked_mul(size_of::<T>())?;
        if bytes > self.bytes() {
            return None;
        }
        // SAFETY: By the check above so many bytes are in the pages. By the invariants they are
        // initialised, and nothing else writes them. By the assertion above a page is sufficiently
        // aligned for a `T`. Any bytes are a valid `T`, and a `T` consists of initialised bytes.
        // The slice borrows `self`.
        Some(unsafe { slice::from_raw_parts_mut(self.start.as_ptr().cast(), count) })
    }

    /// Frees the pages.
    pub(crate) fn free(self) {
        // SAFETY: By the invariants they were allocated by `allocate_pages()`, with this size.
        // `self` is consumed, so that there is no reference to them, and they are not freed twice.
        // If firmware refuses, they leak.
        let _ = unsafe { boot::free_pages(self.start, self.count) };
    }
}
