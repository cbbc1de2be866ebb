// SPDX-License-Identifier: GPL-2.0

//! Memory that the device sees as well, and the clock that ends all waiting.

use core::{
    ptr::NonNull,
    slice,
    sync::atomic::{
        AtomicBool,
        AtomicU64,
        Ordering, //
    },
};

use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    linux::{
        bell::Bell,
        bindings, //
    },
    virtio::Hal,
};

/// How long a device may take for anything, in seconds. A host under load, or a paused one, is slow
/// and not dead.
const PATIENCE: u64 = 3;

/// How long all waits of one use of the screen may take together, in seconds: a device that answers
/// every command, but late, does not keep the console lock from others.
const BUDGET: u64 = 6;

/// What the waits of this use of the screen have taken, in ticks.
static WAITED: AtomicU64 = AtomicU64::new(0);

/// A use of the screen begins: it has all its time.
pub(crate) fn begin_use() {
    WAITED.store(0, Ordering::Relaxed);
}

/// Memory that a device sees as well.
///
/// # Invariants
///
/// `words` begins at a page, is initialised and stays mapped as normal, coherent memory. A device
/// finds it at `address`; nobody else but the owner of this value accesses it. `lent` is set, and
/// says of this memory alone that a device may work on it.
pub(crate) struct Block {
    /// By a pointer: a device that was not reset may still write there.
    words: NonNull<[u32]>,
    address: u64,
    lent: &'static AtomicBool,
}

impl Block {
    /// Memory that a device finds at `address`, in which `lent` is set, until
    /// [`Shared::give_back`].
    ///
    /// # Safety
    ///
    /// `words` begins at a page, is initialised and stays mapped as normal, coherent memory as long
    /// as `lent` is set. A device finds it at `address`; nobody else accesses it. `lent` is set,
    /// and says this of no other memory.
    pub(crate) unsafe fn new(
        words: NonNull<[u32]>,
        address: u64,
        lent: &'static AtomicBool,
    ) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            words,
            address,
            lent,
        }
    }
}

/// The ring's part of the memory shared with a device.
///
/// # Invariants
///
/// `memory` is the start of `length` bytes, aligned to a page, which are initialised, stay mapped,
/// and which nobody but the device and this type (through its copies) accesses, until
/// [`Shared::give_back`]. The device finds them at `address`.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    memory: *mut u8,
    length: usize,
    address: u64,
    lent: &'static AtomicBool,
    bell: &'static Bell,
}

// SAFETY: The memory is mapped in the kernel's part of the address space, for every task and CPU.
// It is reached by volatile accesses. The copies of one ring are used by its owner alone, who has
// the log they are in (`linux::owner`); the bell is `Sync`.
unsafe impl Send for Shared {}

impl Shared {
    /// Takes the first `length` bytes of a block for the ring, as they are, since a device may
    /// still work on them, and returns the rest, all zero. `bell` is the device's.
    pub(crate) fn new(
        block: Block,
        length: usize,
        bell: &'static Bell,
    ) -> (Self, &'static mut [u32]) {
        let (words, all) = (block.words.cast::<u32>().as_ptr(), block.words.len());
        let ring = all.min(length / size_of::<u32>());
        // SAFETY: By the invariants of a block these words are initialised, and stay as long as it
        // is lent, after which by the safety requirement of `give_back()` nobody uses them. They
        // are not the ring's, the only ones to which a device writes, and nobody else has a pointer
        // to them, since the block is ours.
        let rest = unsafe { slice::from_raw_parts_mut(words.wrapping_add(ring), all - ring) };
        rest.fill(0);
        // INVARIANT: By the invariants of a block, the first words of which these are.
        let ring = Self {
            memory: words.cast(),
            length: ring * size_of::<u32>(),
            address: block.address,
            lent: block.lent,
            bell,
        };
        (ring, rest)
    }

    /// The memory is free again, all of its block. Without this it stays as it is for good, because
    /// a device that was not reset may write to it.
    ///
    /// # Safety
    ///
    /// The device works on no queue in the memory any more: it was reset, or its queue was, or it
    /// was never told of the memory. What was made of the block, other copies of this too, is not
    /// used any more.
    pub(crate) unsafe fn give_back(self) {
        self.lent.store(false, Ordering::Release);
    }

    /// The device's doorbell.
    pub(crate) fn bell(&self) -> &'static Bell {
        self.bell
    }

    /// The bytes at `at`, naturally aligned, or `None` if they are not all within the memory.
    fn at<T>(&self, at: usize) -> Option<*mut T> {
        let end = at.checked_add(size_of::<T>())?;
        (end <= self.length && at % align_of::<T>() == 0)
            .then(|| self.memory.wrapping_add(at).cast())
    }

    fn load<T: FromBytes + Default>(&self, at: usize) -> T {
        match self.at::<T>(at) {
            // SAFETY: By `at()` and the type's invariants the bytes are mapped, initialised and
            // aligned. The device may write anything meanwhile, which is a `T` as well
            // (`FromBytes`); the access is volatile for that reason.
            Some(from) => unsafe { from.read_volatile() },
            None => T::default(),
        }
    }

    fn store<T: IntoBytes>(&self, at: usize, value: T) {
        if let Some(to) = self.at::<T>(at) {
            // SAFETY: As in `load()`; the value has no padding (`IntoBytes`). Only the owner of the
            // log comes here, so that no other CPU of ours does at the same time.
            unsafe { to.write_volatile(value) }
        }
    }
}

impl Hal for Shared {
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
        #[cfg(all(CONFIG_VIRTGPU_BRIDGE_DYING, not(MODULE)))]
        crate::dying::in_paint();
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
        // SAFETY: It is a barrier instruction, which may be executed in any context.
        unsafe { bindings::virtgpu_dma_wmb() }
    }

    fn read_barrier(&self) {
        // SAFETY: It is a barrier instruction, which may be executed in any context.
        unsafe { bindings::virtgpu_dma_rmb() }
    }

    fn full_barrier(&self) {
        // SAFETY: It is a barrier instruction, which may be executed in any context.
        unsafe { bindings::virtgpu_dma_mb() }
    }

    fn notify(&self) {
        self.bell.ring();
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        wait(done)
    }
}

/// Waits until `done()` says so; returns whether it did before the time was up, of this wait
/// ([`PATIENCE`]) or of all waits of this use of the screen ([`BUDGET`]).
pub(crate) fn wait(done: &mut dyn FnMut() -> bool) -> bool {
    if done() {
        return true;
    }
    let (start, hz) = (ticks(), counter_hz());
    let left = (BUDGET * hz).saturating_sub(WAITED.load(Ordering::Relaxed));
    let patience = left.min(PATIENCE * hz);
    loop {
        // In this order: what happened while we were kept from running counts.
        let waited = ticks().wrapping_sub(start);
        let is_done = done();
        if is_done || waited > patience {
            WAITED.fetch_add(waited, Ordering::Relaxed);
            return is_done;
        }
        core::hint::spin_loop();
    }
}

/// The system counter, which runs from reset on at a known frequency.
pub(crate) fn ticks() -> u64 {
    // SAFETY: It reads a system register (CNTVCT_EL0), in any context.
    unsafe { bindings::virtgpu_counter() }
}

/// Microseconds since an earlier value of [`ticks`].
pub(crate) fn microseconds_since(start: u64) -> u64 {
    ticks().wrapping_sub(start).saturating_mul(1_000_000) / counter_hz()
}

/// Ticks of the system counter in a second.
fn counter_hz() -> u64 {
    // SAFETY: It reads a system register (CNTFRQ_EL0), in any context.
    hz_or_guess(unsafe { bindings::virtgpu_counter_hz() })
}

/// The frequency that CNTFRQ_EL0 says. Firmware has to write it (Arm ARM, D12.1.2); where it did
/// not, the register reads 0, and a frequency between those that machines have has all waits end.
pub(crate) const fn hz_or_guess(cntfrq: u32) -> u64 {
    match cntfrq {
        0 => 100_000_000,
        hz => hz as u64,
    }
}
