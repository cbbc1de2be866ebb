// SPDX-License-Identifier: GPL-2.0

//! The split virtqueue (VIRTIO 1.3, section 2.7), polled, for short commands.
//!
//! The queue's memory is divided into slots. A slot is two descriptors, a request buffer and a
//! response buffer, so that posting a command is one copy and five stores, and no list of free
//! descriptors is kept: one bit a slot says whether the device has it. Nothing that the device
//! writes is used before it was checked, and nothing that the driver needs is kept where the device
//! could change it.

use core::fmt;

use crate::virtio::{
    Features,
    Hal,
    QueuePlace, //
};

/// Commands that can be with the device at a time.
pub(crate) const SLOTS: u16 = 32;
/// Bytes a posted request may have.
pub(crate) const REQUEST_BYTES: usize = 64;
/// Bytes a posted command's response may have.
pub(crate) const RESPONSE_BYTES: usize = 32;
/// Bytes the response of a [`Ring::call`] may have.
pub(crate) const LARGE_BYTES: usize = 3072;

// How the ring's memory is laid out, in bytes from its start.
const DESCRIPTORS: usize = 0;
const AVAILABLE: usize = DESCRIPTORS + 2 * SLOTS as usize * 16;
const USED: usize = AVAILABLE + 256;
const REQUESTS: usize = 2048;
const RESPONSES: usize = REQUESTS + SLOTS as usize * REQUEST_BYTES;
const LARGE: usize = RESPONSES + SLOTS as usize * RESPONSE_BYTES;
/// Bytes of shared memory that a ring takes, from offset 0 on.
pub(crate) const RING_BYTES: usize = LARGE + LARGE_BYTES;

const _: () = assert!(AVAILABLE + 6 + 2 * 2 * SLOTS as usize <= USED);
const _: () = assert!(USED + 6 + 8 * 2 * SLOTS as usize <= REQUESTS);
const _: () = assert!(RING_BYTES == 8192);

// Offsets within the available and the used ring (sections 2.7.6 and 2.7.8).
const FLAGS: usize = 0;
const INDEX: usize = 2;
const ENTRIES: usize = 4;

/// VIRTQ_DESC_F_NEXT.
const NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE.
const WRITE: u16 = 2;
/// VIRTQ_AVAIL_F_NO_INTERRUPT.
const NO_INTERRUPT: u16 = 1;
/// VIRTQ_USED_F_NO_NOTIFY.
const NO_NOTIFY: u16 = 1;

/// What is wrong with a queue. Either is final: a queue that failed stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RingError {
    /// The device did not give a slot back in time.
    Stalled,
    /// The device's used index or an entry of its used ring cannot be true.
    Corrupt,
    /// A request or response is larger than its buffer (a mistake of the driver's).
    TooLarge,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stalled => "the device does not answer",
            Self::Corrupt => "the device's used ring cannot be true",
            Self::TooLarge => "a command does not fit its buffer",
        })
    }
}

/// A piece of shared memory that a command carries besides its request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Offset into the shared memory, in bytes.
    pub(crate) at: usize,
    /// Length in bytes.
    pub(crate) length: usize,
}

/// Clears the [`RING_BYTES`] bytes of a ring. The device must have been reset, or its queue 0, and
/// that not be enabled yet: a device that works on a ring there may write to it at any time.
pub(crate) fn clear(hal: &impl Hal) {
    for at in (0..RING_BYTES).step_by(size_of::<u64>()) {
        hal.store64(at, 0);
    }
}

/// Whether the device has returned all that was made available to it in the ring behind `hal`.
pub(crate) fn is_drained(hal: &impl Hal) -> bool {
    hal.load16(AVAILABLE + INDEX) == hal.load16(USED + INDEX)
}

/// One split virtqueue, number 0 of its device.
pub(crate) struct Ring<H> {
    hal: H,
    /// Descriptors of the queue, two a slot.
    size: u16,
    event_idx: bool,
    /// The next index of the available ring; ahead of `published` until the device is told.
    next: u16,
    /// The available index that the device was given last.
    published: u16,
    /// The used index up to which completions were collected.
    seen: u16,
    /// A bit for each slot that the device has.
    in_flight: u32,
    failed: Option<RingError>,
}

impl<H: Hal + Clone> Ring<H> {
    /// Where the device finds a ring of at most `size_max` descriptors; `None` if those are too few
    /// to be of use.
    pub(crate) fn place(hal: &H, size_max: u16) -> Option<QueuePlace> {
        let size = size_max.min(2 * SLOTS);
        // Section 2.7: a power of two. Two slots are the least that a `call` needs.
        let size = if size.is_power_of_two() {
            size
        } else {
            size.next_power_of_two() / 2
        };
        (size >= 4).then(|| QueuePlace {
            size,
            descriptors: hal.device_address(DESCRIPTORS),
            available: hal.device_address(AVAILABLE),
            used: hal.device_address(USED),
        })
    }

    /// A ring in the memory behind `hal`, as [`clear`] has left it, with the `size` that
    /// [`Ring::place`] gave.
    pub(crate) fn new(hal: H, size: u16, features: Features) -> Self {
        let event_idx = features.contains(Features::EVENT_IDX);
        if event_idx {
            // Section 2.7.7.1: the flags stay 0. The farthest index is 65535 completions away.
            hal.store16(AVAILABLE + ENTRIES + 2 * usize::from(size), u16::MAX);
        } else {
            hal.store16(AVAILABLE + FLAGS, NO_INTERRUPT);
        }
        Self {
            hal,
            size,
            event_idx,
            next: 0,
            published: 0,
            seen: 0,
            in_flight: 0,
            failed: None,
        }
    }

    /// The memory and the doorbell.
    pub(crate) fn hal(&self) -> &H {
        &self.hal
    }

    /// A bit for each slot whose command the device has not completed, as far as was collected.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Bytes of the request that was posted in `slot`.
    pub(crate) fn request(&self, slot: u16, into: &mut [u8]) {
        let length = into.len().min(REQUEST_BYTES);
        if let Some(into) = into.get_mut(..length) {
            self.hal.copy_out(request_at(slot), into);
        }
    }

    /// Bytes of the response that `slot` last got.
    pub(crate) fn response(&self, slot: u16, into: &mut [u8]) {
        let length = into.len().min(RESPONSE_BYTES);
        if let Some(into) = into.get_mut(..length) {
            self.hal.copy_out(response_at(slot), into);
        }
    }

    /// Puts a command into a free slot, which it returns; waits for one if the device has them all.
    /// The device sees it with the next [`Ring::publish`]. `completed` is told of every slot that
    /// came back meanwhile.
    ///
    /// # Errors
    ///
    /// As [`RingError`] says.
    pub(crate) fn post(
        &mut self,
        request: &[u8],
        response_bytes: usize,
        completed: &mut impl FnMut(&Self, u16),
    ) -> Result<u16, RingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if request.len() > REQUEST_BYTES || response_bytes > RESPONSE_BYTES {
            return Err(RingError::TooLarge);
        }
        let slot = match self.free_slot() {
            Some(slot) => slot,
            None => {
                self.publish();
                self.wait(completed, |ring| ring.free_slot().is_some())?;
                self.free_slot().ok_or(RingError::Stalled)?
            }
        };
        let response = Part {
            at: response_at(slot),
            length: response_bytes,
        };
        self.describe(slot, request, None, response);
        Ok(slot)
    }

    /// Posts one command with an optional second readable part, waits for it and copies what the
    /// device wrote into `response`. Commands posted before have completed as well then.
    ///
    /// # Errors
    ///
    /// As [`RingError`] says.
    pub(crate) fn call(
        &mut self,
        request: &[u8],
        extra: Option<Part>,
        response: &mut [u8],
        completed: &mut impl FnMut(&Self, u16),
    ) -> Result<(), RingError> {
        if request.len() > REQUEST_BYTES || response.len() > LARGE_BYTES {
            return Err(RingError::TooLarge);
        }
        self.publish();
        self.wait(completed, |ring| ring.in_flight == 0)?;
        // Nothing of an older answer may pass for this one's.
        response.fill(0);
        self.hal.copy_in(LARGE, response);
        let large = Part {
            at: LARGE,
            length: response.len(),
        };
        self.describe(0, request, extra, large);
        self.publish();
        self.wait(&mut |_, _| {}, |ring| ring.in_flight == 0)?;
        self.hal.copy_out(LARGE, response);
        Ok(())
    }

    /// Shows the device what was posted and rings its doorbell, if it wants to be told.
    pub(crate) fn publish(&mut self) {
        if self.next == self.published || self.failed.is_some() {
            return;
        }
        self.hal.write_barrier();
        self.hal.store16(AVAILABLE + INDEX, self.next);
        let old = core::mem::replace(&mut self.published, self.next);
        // Section 2.7.13.4.1: the index must be visible before the device's wish is read.
        self.hal.full_barrier();
        let wanted = if self.event_idx {
            let event = self.hal.load16(USED + ENTRIES + 8 * usize::from(self.size));
            // Section 2.7.10: did the index pass `avail_event`?
            self.next.wrapping_sub(event).wrapping_sub(1) < self.next.wrapping_sub(old)
        } else {
            self.hal.load16(USED + FLAGS) & NO_NOTIFY == 0
        };
        if wanted {
            self.hal.notify();
        }
    }

    /// Takes back what the device has completed.
    ///
    /// # Errors
    ///
    /// [`RingError::Corrupt`], now and whenever the ring is used again.
    pub(crate) fn collect(
        &mut self,
        completed: &mut impl FnMut(&Self, u16),
    ) -> Result<(), RingError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let used = self.hal.load16(USED + INDEX);
        if used == self.seen {
            return Ok(());
        }
        if u32::from(used.wrapping_sub(self.seen)) > self.in_flight.count_ones() {
            return self.fail(RingError::Corrupt);
        }
        self.hal.read_barrier();
        while self.seen != used {
            let entry = usize::from(self.seen & (self.size - 1));
            let head = self.hal.load32(USED + ENTRIES + 8 * entry);
            let slot = match u16::try_from(head) {
                Ok(head) if head < self.size && head % 2 == 0 => head / 2,
                _ => return self.fail(RingError::Corrupt),
            };
            if self.in_flight & (1 << slot) == 0 {
                return self.fail(RingError::Corrupt);
            }
            // In this order: a panic between the two loses a slot, and not the ring.
            self.seen = self.seen.wrapping_add(1);
            self.in_flight &= !(1 << slot);
            completed(self, slot);
        }
        if self.event_idx {
            // Ask for the interrupt that is the farthest away (section 2.7.7.1): we poll.
            let never = self.seen.wrapping_sub(1);
            self.hal
                .store16(AVAILABLE + ENTRIES + 2 * usize::from(self.size), never);
        }
        Ok(())
    }

    /// Collects until `enough`, or until the device has had its time.
    ///
    /// # Errors
    ///
    /// As [`RingError`] says.
    pub(crate) fn wait(
        &mut self,
        completed: &mut impl FnMut(&Self, u16),
        enough: impl Fn(&Self) -> bool,
    ) -> Result<(), RingError> {
        self.collect(completed)?;
        if enough(self) {
            return Ok(());
        }
        let hal = self.hal.clone();
        let mut result = Ok(());
        let done = hal.wait(&mut || {
            result = self.collect(completed);
            result.is_err() || enough(self)
        });
        result?;
        if done {
            Ok(())
        } else {
            self.fail(RingError::Stalled)
        }
    }

    /// Goes on with a device that stalled, if it has completed all commands by now. Returns whether
    /// it has.
    pub(crate) fn recover(&mut self, completed: &mut impl FnMut(&Self, u16)) -> bool {
        let used = self.hal.load16(USED + INDEX);
        let done = u32::from(used.wrapping_sub(self.seen)) == self.in_flight.count_ones();
        if self.failed != Some(RingError::Stalled) || !done {
            return false;
        }
        self.failed = None;
        self.collect(completed).is_ok()
    }

    fn fail(&mut self, error: RingError) -> Result<(), RingError> {
        self.failed = Some(error);
        Err(error)
    }

    fn free_slot(&self) -> Option<u16> {
        // A bit for each slot; there are at most 32.
        let slots = u32::MAX >> (32 - u32::from(self.size / 2));
        let free = !self.in_flight & slots;
        (free != 0).then(|| free.trailing_zeros() as u16)
    }

    /// Fills a slot, and the first descriptor of its neighbour for an extra part (only a `call`,
    /// which has the ring for itself, has one).
    fn describe(&mut self, slot: u16, request: &[u8], extra: Option<Part>, response: Part) {
        let head = 2 * slot;
        let at = request_at(slot);
        self.hal.copy_in(at, request);
        let part = Part {
            at,
            length: request.len(),
        };
        match extra {
            None => self.descriptor(head, part, NEXT, head + 1),
            Some(extra) => {
                self.descriptor(head, part, NEXT, head + 2);
                self.descriptor(head + 2, extra, NEXT, head + 1);
            }
        }
        self.descriptor(head + 1, response, WRITE, 0);
        self.in_flight |= 1 << slot;
        let entry = usize::from(self.next & (self.size - 1));
        self.hal.store16(AVAILABLE + ENTRIES + 2 * entry, head);
        self.next = self.next.wrapping_add(1);
    }

    /// Writes one descriptor (section 2.7.5): the address, then length, flags and next in one.
    fn descriptor(&self, index: u16, part: Part, flags: u16, next: u16) {
        let at = DESCRIPTORS + 16 * usize::from(index);
        self.hal.store64(at, self.hal.device_address(part.at));
        let rest = part.length as u64 | (u64::from(flags) << 32) | (u64::from(next) << 48);
        self.hal.store64(at + 8, rest);
    }
}

fn request_at(slot: u16) -> usize {
    REQUESTS + usize::from(slot) * REQUEST_BYTES
}

fn response_at(slot: u16) -> usize {
    RESPONSES + usize::from(slot) * RESPONSE_BYTES
}
