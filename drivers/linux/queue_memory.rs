// SPDX-License-Identifier: GPL-2.0

//! Memory that is shared with the device: the virtqueue and its requests, and pixels.

use core::{
    ptr::NonNull,
    slice, //
};

use kernel::sync::atomic::{
    AtomicFlag,
    Release, //
};

use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    linux::{
        bindings,
        clock,
        notify::NotifyRegister, //
    },
    virtio::Hal, //
};

/// A block of memory that a device can access.
///
/// # Invariants
///
/// `words` begins at a page, is initialised and stays mapped as normal, coherent memory. A device
/// finds it at `address`. Only the owner of this value accesses it. `in_use` is set, and says of
/// this memory alone that a device may access it.
pub(crate) struct SharedBlock {
    /// A pointer and no reference: a device that was not reset may still write there.
    words: NonNull<[u32]>,
    address: u64,
    in_use: &'static AtomicFlag,
}

impl SharedBlock {
    /// Makes a block of memory that a device finds at `address`. `in_use` is set until
    /// [`QueueMemory::release`].
    ///
    /// # Safety
    ///
    /// `words` begins at a page, is initialised and stays mapped as normal, coherent memory as long
    /// as `in_use` is set. A device finds it at `address`; nobody else accesses it. `in_use` is
    /// set, and says this of no other memory.
    pub(crate) unsafe fn new(
        words: NonNull<[u32]>,
        address: u64,
        in_use: &'static AtomicFlag,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            words,
            address,
            in_use,
        }
    }
}

/// The virtqueue's part of the memory that is shared with a device, and its notify register.
///
/// # Invariants
///
/// `memory` is the start of `length` bytes, aligned to a page, which are initialised and stay
/// mapped. Only the device and this type (by its copies) access them, until
/// [`QueueMemory::release`]. The device finds them at `address`.
#[derive(Clone, Copy)]
pub(crate) struct QueueMemory {
    memory: *mut u8,
    length: usize,
    address: u64,
    in_use: &'static AtomicFlag,
    notify: &'static NotifyRegister,
}

// SAFETY: The memory is mapped in the kernel's part of the address space, for every task and CPU.
// All accesses are volatile. The copies of one value are in one log, and only the owner of the
// screen uses them (`linux::owner`). The notify register is `Sync`.
unsafe impl Send for QueueMemory {}

impl QueueMemory {
    /// Takes the first `length` bytes of a block for the virtqueue, and returns the rest, all zero.
    /// The first bytes stay as they are, since a device may still access them. `notify` is the
    /// device's register.
    pub(crate) fn new(
        block: SharedBlock,
        length: usize,
        notify: &'static NotifyRegister,
    ) -> (Self, &'static mut [u32]) {
        let (words, all) = (block.words.cast::<u32>().as_ptr(), block.words.len());
        let first = all.min(length / size_of::<u32>());
        // SAFETY: By the invariants of a block these words are initialised, and stay as long as it
        // is in use. After that nobody uses them, by the safety requirement of `release()`. They
        // are not the virtqueue's, the only words to which a device writes. Nobody else has a
        // pointer to them, since the block is ours.
        let rest = unsafe { slice::from_raw_parts_mut(words.wrapping_add(first), all - first) };
        rest.fill(0);
        // INVARIANT: By the invariants of a block, of which these are the first words.
        let queue = Self {
            memory: words.cast(),
            length: first * size_of::<u32>(),
            address: block.address,
            in_use: block.in_use,
            notify,
        };
        (queue, rest)
    }

    /// Frees the whole block for another use. Without this call it is never used again, because a
    /// device that was not reset may write to it.
    ///
    /// # Safety
    ///
    /// The device accesses no queue in the memory any more: it was reset, or its queue was, or it
    /// never got the memory's address. Nothing that was made of the block is used any more, other
    /// copies of this value included.
    pub(crate) unsafe fn release(self) {
        self.in_use.store(false, Release);
    }

    /// Returns a pointer to the bytes at `at`, naturally aligned; `None` if they are not all within
    /// the memory.
    fn at<T>(&self, at: usize) -> Option<*mut T> {
        let end = at.checked_add(size_of::<T>())?;
        (end <= self.length && at % align_of::<T>() == 0)
            .then(|| self.memory.wrapping_add(at).cast())
    }

    fn load<T: FromBytes + Default>(&self, at: usize) -> T {
        match self.at::<T>(at) {
            // SAFETY: By `at()` and the type's invariants the bytes are mapped, initialised and
            // aligned. The device may write anything meanwhile. Any bytes are a `T` (`FromBytes`),
            // and the access is volatile.
            Some(from) => unsafe { from.read_volatile() },
            None => T::default(),
        }
    }

    fn store<T: IntoBytes>(&self, at: usize, value: T) {
        if let Some(to) = self.at::<T>(at) {
            // SAFETY: As in `load()`; the value has no padding (`IntoBytes`). Only the owner of the
            // screen calls this, so no other CPU of the guest does at the same time.
            unsafe { to.write_volatile(value) }
        }
    }
}

impl Hal for QueueMemory {
    fn device_address(&self, at: usize) -> u64 {
        self.address.wrapping_add(at as u64)
    }

    fn load16(&self, at: usize) -> u16 {
        u16::from_le(self.load(at))
    }

    fn load32(&self, at: usize) -> u32 {
        u32::from_le(self.load(at))
    }

    fn store16(&self, at: usize, value: u16) {
        self.store(at, value.to_le());
    }

    fn store64(&self, at: usize, value: u64) {
        self.store(at, value.to_le());
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = self.load(at + i);
        }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        #[cfg(all(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST, not(MODULE)))]
        crate::crash_test::in_paint();
        let mut at = at;
        match <[u64]>::ref_from_bytes(from) {
            Ok(words) => {
                for &word in words {
                    self.store(at, word);
                    at += size_of::<u64>();
                }
            }
            Err(_) => {
                for &byte in from {
                    self.store(at, byte);
                    at += 1;
                }
            }
        }
    }

    fn write_barrier(&self) {
        // SAFETY: The function is a barrier instruction, which may be executed in any context.
        unsafe { bindings::virtgpu_bridge_dma_wmb() }
    }

    fn read_barrier(&self) {
        // SAFETY: The function is a barrier instruction, which may be executed in any context.
        unsafe { bindings::virtgpu_bridge_dma_rmb() }
    }

    fn full_barrier(&self) {
        // SAFETY: The function is a barrier instruction, which may be executed in any context.
        unsafe { bindings::virtgpu_bridge_dma_mb() }
    }

    fn notify(&self) {
        self.notify.write();
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        clock::wait(done)
    }
}
