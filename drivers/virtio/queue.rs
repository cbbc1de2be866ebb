// SPDX-License-Identifier: GPL-2.0

//! The split virtqueue (VIRTIO 1.3, section 2.7), polled, for short commands.
//!
//! The queue's memory is divided into slots. A slot is two descriptors, a request buffer and a
//! response buffer, so that adding a command is one copy and five stores. There is no list of free
//! descriptors: one bit a slot says whether the device has it. Each value that the device writes is
//! checked before it is used, and the driver's own state is in memory that the device cannot write.

use core::fmt;

use crate::virtio::{
    Features,
    Hal,
    QueueAddresses, //
};

/// Slots of a queue: the maximum number of commands that the device has at a time.
pub(crate) const SLOTS: u16 = 32;
/// Maximum length in bytes of a request.
pub(crate) const REQUEST_BYTES: usize = 64;
/// Maximum length in bytes of the response to a command that [`VirtQueue::add`] adds.
pub(crate) const RESPONSE_BYTES: usize = 32;
/// Maximum length in bytes of the response of a [`VirtQueue::call`].
pub(crate) const LARGE_RESPONSE_BYTES: usize = 3072;

// The layout of the queue's memory: offsets in bytes from its start.
const DESCRIPTORS: usize = 0;
const AVAILABLE: usize = DESCRIPTORS + 2 * SLOTS as usize * 16;
const USED: usize = AVAILABLE + 256;
const REQUESTS: usize = 2048;
const RESPONSES: usize = REQUESTS + SLOTS as usize * REQUEST_BYTES;
const LARGE_RESPONSE: usize = RESPONSES + SLOTS as usize * RESPONSE_BYTES;
/// Bytes of shared memory that a queue takes, from offset 0 on.
pub(crate) const QUEUE_BYTES: usize = LARGE_RESPONSE + LARGE_RESPONSE_BYTES;

const _: () = assert!(AVAILABLE + 6 + 2 * 2 * SLOTS as usize <= USED);
const _: () = assert!(USED + 6 + 8 * 2 * SLOTS as usize <= REQUESTS);
const _: () = assert!(QUEUE_BYTES == 8192);

// Offsets in bytes within the available and the used ring (sections 2.7.6 and 2.7.8).
const FLAGS: usize = 0;
const IDX: usize = 2;
const RING: usize = 4;

/// VIRTQ_DESC_F_NEXT (section 2.7.5).
const DESC_F_NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE (section 2.7.5).
const DESC_F_WRITE: u16 = 2;
/// VIRTQ_AVAIL_F_NO_INTERRUPT (section 2.7.6).
const AVAIL_F_NO_INTERRUPT: u16 = 1;
/// VIRTQ_USED_F_NO_NOTIFY (section 2.7.8).
const USED_F_NO_NOTIFY: u16 = 1;

/// An error of a queue. A queue that has stalled stays failed until [`VirtQueue::recover`], and one
/// that is corrupt for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueError {
    /// The device did not return a slot in time.
    Stalled,
    /// The device's used index, or an entry of its used ring, has a value that it cannot have.
    Corrupt,
    /// A request or response is larger than its buffer (a mistake of the driver's).
    TooLarge,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stalled => "the device does not answer",
            Self::Corrupt => "the device's used ring cannot be true",
            Self::TooLarge => "a command does not fit its buffer",
        })
    }
}

/// A range of shared memory that one descriptor refers to: an element of a buffer (section 2.6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct BufferElement {
    /// Offset into the shared memory, in bytes.
    pub(crate) offset: usize,
    /// Length in bytes.
    pub(crate) length: usize,
}

/// Clears the [`QUEUE_BYTES`] bytes of a queue. The device, or its queue 0, must have been reset,
/// and the queue must not be enabled: a device may write to an enabled queue at any time.
pub(crate) fn clear(hal: &impl Hal) {
    for offset in (0..QUEUE_BYTES).step_by(size_of::<u64>()) {
        hal.store64(offset, 0);
    }
}

/// Returns whether the device has used all buffers that were made available to it in the queue of
/// `hal`.
pub(crate) fn is_drained(hal: &impl Hal) -> bool {
    hal.load16(AVAILABLE + IDX) == hal.load16(USED + IDX)
}

/// A split virtqueue (section 2.7), number 0 of its device, with the requests and responses of its
/// commands.
pub(crate) struct VirtQueue<H> {
    hal: H,
    /// The queue size: descriptors, two a slot.
    size: u16,
    /// Whether EVENT_IDX was negotiated.
    event_idx: bool,
    /// The next index of the available ring, which is ahead of `kicked_idx` until the next kick.
    avail_idx: u16,
    /// `avail_idx` at the last kick: the index that the device sees.
    kicked_idx: u16,
    /// The used index up to which [`VirtQueue::poll_used`] has read the used ring.
    last_used_idx: u16,
    /// A bit for each slot that the device has.
    in_flight: u32,
    failed: Option<QueueError>,
}

impl<H: Hal + Clone> VirtQueue<H> {
    /// Returns the size and the addresses of a queue in the memory of `hal`, for a device that
    /// takes at most `size_max` descriptors; `None` if those are too few.
    pub(crate) fn addresses(hal: &H, size_max: u16) -> Option<QueueAddresses> {
        let size = size_max.min(2 * SLOTS);
        // Section 2.7: a power of two. A `call` needs at least two slots.
        let size = if size.is_power_of_two() {
            size
        } else {
            size.next_power_of_two() / 2
        };
        (size >= 4).then(|| QueueAddresses {
            size,
            descriptors: hal.device_address(DESCRIPTORS),
            available: hal.device_address(AVAILABLE),
            used: hal.device_address(USED),
        })
    }

    /// Creates a queue in the memory of `hal`, which [`clear`] has cleared, with the `size` that
    /// [`VirtQueue::addresses`] has returned.
    pub(crate) fn new(hal: H, size: u16, features: Features) -> Self {
        Self::drained(hal, size, features.contains(Features::EVENT_IDX), 0)
    }

    /// Creates a queue in the memory of `hal`, of which the device has used all buffers, up to
    /// `idx` in the available and in the used ring.
    fn drained(hal: H, size: u16, event_idx: bool, idx: u16) -> Self {
        if event_idx {
            // Section 2.7.7.1: the flags stay 0. The farthest index is 65535 used buffers away.
            let never = idx.wrapping_sub(1);
            hal.store16(AVAILABLE + RING + 2 * usize::from(size), never);
        } else {
            hal.store16(AVAILABLE + FLAGS, AVAIL_F_NO_INTERRUPT);
        }
        Self {
            hal,
            size,
            event_idx,
            avail_idx: idx,
            kicked_idx: idx,
            last_used_idx: idx,
            in_flight: 0,
            failed: None,
        }
    }

    /// Starts the queue again after an operation on it was interrupted anywhere. The device must
    /// have used all buffers; see [`is_drained`].
    pub(crate) fn restart(&mut self) {
        let idx = self.hal.load16(AVAILABLE + IDX);
        *self = Self::drained(self.hal.clone(), self.size, self.event_idx, idx);
    }

    /// Returns the queue's environment: its memory and its notification.
    pub(crate) fn hal(&self) -> &H {
        &self.hal
    }

    /// Returns a bit for each slot that the device has, as of the last poll.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Copies the first bytes of the last request in `slot`.
    pub(crate) fn request(&self, slot: u16, into: &mut [u8]) {
        let length = into.len().min(REQUEST_BYTES);
        if let Some(into) = into.get_mut(..length) {
            self.hal.copy_out(request_offset(slot), into);
        }
    }

    /// Copies the first bytes of the last response in `slot`.
    pub(crate) fn response(&self, slot: u16, into: &mut [u8]) {
        let length = into.len().min(RESPONSE_BYTES);
        if let Some(into) = into.get_mut(..length) {
            self.hal.copy_out(response_offset(slot), into);
        }
    }

    /// Adds a command to the queue, in a free slot (section 2.7.13). Waits for one if the device
    /// has them all. Returns the slot. The device sees the command after the next
    /// [`VirtQueue::kick`]. Calls `completed` with each slot that the device returns meanwhile.
    ///
    /// # Errors
    ///
    /// [`QueueError::TooLarge`] if the request or the response does not fit;
    /// [`QueueError::Stalled`] or [`QueueError::Corrupt`] if the queue failed, now or before.
    pub(crate) fn add(
        &mut self,
        request: &[u8],
        response_bytes: usize,
        completed: &mut impl FnMut(&Self, u16),
    ) -> Result<u16, QueueError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if request.len() > REQUEST_BYTES || response_bytes > RESPONSE_BYTES {
            return Err(QueueError::TooLarge);
        }
        let slot = match self.free_slot() {
            Some(slot) => slot,
            None => {
                self.kick();
                self.wait(completed, |queue| queue.free_slot().is_some())?;
                self.free_slot().ok_or(QueueError::Stalled)?
            }
        };
        let response = BufferElement {
            offset: response_offset(slot),
            length: response_bytes,
        };
        self.fill_slot(slot, request, None, response);
        Ok(slot)
    }

    /// Sends a command with an optional second device-readable element, waits for it and copies
    /// what the device wrote into `response`. All commands that were added before have completed
    /// then, too.
    ///
    /// # Errors
    ///
    /// As [`VirtQueue::add`].
    pub(crate) fn call(
        &mut self,
        request: &[u8],
        extra: Option<BufferElement>,
        response: &mut [u8],
        completed: &mut impl FnMut(&Self, u16),
    ) -> Result<(), QueueError> {
        if request.len() > REQUEST_BYTES || response.len() > LARGE_RESPONSE_BYTES {
            return Err(QueueError::TooLarge);
        }
        self.kick();
        self.wait(completed, |queue| queue.in_flight == 0)?;
        // An older response must not pass for the one to this command.
        response.fill(0);
        self.hal.copy_in(LARGE_RESPONSE, response);
        let large = BufferElement {
            offset: LARGE_RESPONSE,
            length: response.len(),
        };
        self.fill_slot(0, request, extra, large);
        self.kick();
        self.wait(&mut |_, _| {}, |queue| queue.in_flight == 0)?;
        self.hal.copy_out(LARGE_RESPONSE, response);
        Ok(())
    }

    /// Makes the added commands available to the device (section 2.7.13.3), and notifies it if it
    /// wants that (section 2.7.10). Does nothing if there are none, or if the queue failed.
    pub(crate) fn kick(&mut self) {
        if self.avail_idx == self.kicked_idx || self.failed.is_some() {
            return;
        }
        self.hal.write_barrier();
        self.hal.store16(AVAILABLE + IDX, self.avail_idx);
        let old = core::mem::replace(&mut self.kicked_idx, self.avail_idx);
        // Section 2.7.13.4.1: the index must be visible before `flags` or `avail_event` is read.
        self.hal.full_barrier();
        let wanted = if self.event_idx {
            let event = self.hal.load16(USED + RING + 8 * usize::from(self.size));
            // Section 2.7.10: did the index pass `avail_event`?
            self.avail_idx.wrapping_sub(event).wrapping_sub(1) < self.avail_idx.wrapping_sub(old)
        } else {
            self.hal.load16(USED + FLAGS) & USED_F_NO_NOTIFY == 0
        };
        if wanted {
            self.hal.notify();
        }
    }

    /// Reads the new entries of the used ring (section 2.7.14) and frees their slots. Calls
    /// `completed` with each slot. Does not wait.
    ///
    /// # Errors
    ///
    /// [`QueueError::Corrupt`] if the used ring is wrong, and whenever the queue is used again;
    /// [`QueueError::Stalled`] if it had stalled before.
    pub(crate) fn poll_used(
        &mut self,
        completed: &mut impl FnMut(&Self, u16),
    ) -> Result<(), QueueError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let used_idx = self.hal.load16(USED + IDX);
        if used_idx == self.last_used_idx {
            return Ok(());
        }
        if u32::from(used_idx.wrapping_sub(self.last_used_idx)) > self.in_flight.count_ones() {
            return self.fail(QueueError::Corrupt);
        }
        self.hal.read_barrier();
        while self.last_used_idx != used_idx {
            let entry = usize::from(self.last_used_idx & (self.size - 1));
            let head = self.hal.load32(USED + RING + 8 * entry);
            let slot = match u16::try_from(head) {
                Ok(head) if head < self.size && head % 2 == 0 => head / 2,
                _ => return self.fail(QueueError::Corrupt),
            };
            if self.in_flight & (1 << slot) == 0 {
                return self.fail(QueueError::Corrupt);
            }
            // In this order: a panic between the two loses a slot, and not the queue.
            self.last_used_idx = self.last_used_idx.wrapping_add(1);
            self.in_flight &= !(1 << slot);
            completed(self, slot);
        }
        if self.event_idx {
            // Ask for the interrupt that is the farthest away (section 2.7.7.1): we poll.
            let never = self.last_used_idx.wrapping_sub(1);
            self.hal
                .store16(AVAILABLE + RING + 2 * usize::from(self.size), never);
        }
        Ok(())
    }

    /// Polls the used ring until `enough` returns true, or until the device has had its time.
    ///
    /// # Errors
    ///
    /// [`QueueError::Stalled`] if the time is over; otherwise as [`VirtQueue::poll_used`].
    pub(crate) fn wait(
        &mut self,
        completed: &mut impl FnMut(&Self, u16),
        enough: impl Fn(&Self) -> bool,
    ) -> Result<(), QueueError> {
        self.poll_used(completed)?;
        if enough(self) {
            return Ok(());
        }
        let hal = self.hal.clone();
        let mut result = Ok(());
        let done = hal.wait(&mut || {
            result = self.poll_used(completed);
            result.is_err() || enough(self)
        });
        result?;
        if done {
            Ok(())
        } else {
            self.fail(QueueError::Stalled)
        }
    }

    /// Makes a queue that has stalled usable again, if the device has completed all commands by
    /// now. Returns whether it did.
    pub(crate) fn recover(&mut self, completed: &mut impl FnMut(&Self, u16)) -> bool {
        let used_idx = self.hal.load16(USED + IDX);
        let done =
            u32::from(used_idx.wrapping_sub(self.last_used_idx)) == self.in_flight.count_ones();
        if self.failed != Some(QueueError::Stalled) || !done {
            return false;
        }
        self.failed = None;
        self.poll_used(completed).is_ok()
    }

    /// Remembers `error` as the queue's state, and returns it.
    fn fail(&mut self, error: QueueError) -> Result<(), QueueError> {
        self.failed = Some(error);
        Err(error)
    }

    /// Returns the first slot that the device does not have.
    fn free_slot(&self) -> Option<u16> {
        // A bit for each slot; there are at most 32.
        let slots = u32::MAX >> (32 - u32::from(self.size / 2));
        let free = !self.in_flight & slots;
        (free != 0).then(|| free.trailing_zeros() as u16)
    }

    /// Writes a request and its descriptor chain to a slot, and the chain's head to the available
    /// ring. An extra element takes the first descriptor of the next slot: only a `call` has one,
    /// while all other slots are free.
    fn fill_slot(
        &mut self,
        slot: u16,
        request: &[u8],
        extra: Option<BufferElement>,
        response: BufferElement,
    ) {
        let head = 2 * slot;
        let offset = request_offset(slot);
        self.hal.copy_in(offset, request);
        let element = BufferElement {
            offset,
            length: request.len(),
        };
        match extra {
            None => self.write_descriptor(head, element, DESC_F_NEXT, head + 1),
            Some(extra) => {
                self.write_descriptor(head, element, DESC_F_NEXT, head + 2);
                self.write_descriptor(head + 2, extra, DESC_F_NEXT, head + 1);
            }
        }
        self.write_descriptor(head + 1, response, DESC_F_WRITE, 0);
        self.in_flight |= 1 << slot;
        let entry = usize::from(self.avail_idx & (self.size - 1));
        self.hal.store16(AVAILABLE + RING + 2 * entry, head);
        self.avail_idx = self.avail_idx.wrapping_add(1);
    }

    /// Writes a descriptor (section 2.7.5): first the address, then length, flags and next in one
    /// store.
    fn write_descriptor(&self, index: u16, element: BufferElement, flags: u16, next: u16) {
        let offset = DESCRIPTORS + 16 * usize::from(index);
        self.hal
            .store64(offset, self.hal.device_address(element.offset));
        let rest = element.length as u64 | (u64::from(flags) << 32) | (u64::from(next) << 48);
        self.hal.store64(offset + 8, rest);
    }
}

/// Returns the offset in bytes of the request buffer of `slot`.
fn request_offset(slot: u16) -> usize {
    REQUESTS + usize::from(slot) * REQUEST_BYTES
}

/// Returns the offset in bytes of the response buffer of `slot`.
fn response_offset(slot: u16) -> usize {
    RESPONSES + usize::from(slot) * RESPONSE_BYTES
}
