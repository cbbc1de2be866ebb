// SPDX-License-Identifier: GPL-2.0

//! A model of a device for unit tests: registers and memory, both with faults on request.
//!
//! It follows VIRTIO 1.3 and uses none of the driver's code.

use core::{
    cell::Cell,
    sync::atomic::{
        AtomicU32,
        AtomicU8,
        Ordering::Relaxed, //
    },
};

use crate::virtio::{
    queue::QUEUE_BYTES,
    Hal,
    QueueAddresses,
    Registers,
    VirtQueue, //
};

/// The device address of the memory, unequal to its offset.
pub(crate) const BASE: u64 = 0x1_2340_0000;
/// The maximum size of the device's queue.
pub(crate) const QUEUE_SIZE: u16 = 8;

// The device status (section 2.1).
const ACKNOWLEDGE: u8 = 1;
const DRIVER: u8 = 2;
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const FAILED: u8 = 128;

/// Memory that driver and device share. Each test has a static one, as a kernel stack is too small.
pub(crate) struct Memory {
    bytes: [AtomicU8; QUEUE_BYTES],
    kicks: AtomicU32,
}

impl Memory {
    /// Returns zeroed memory.
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [const { AtomicU8::new(0) }; QUEUE_BYTES],
            kicks: AtomicU32::new(0),
        }
    }

    /// Returns how often the driver has notified the device.
    pub(crate) fn kicks(&self) -> u32 {
        self.kicks.load(Relaxed)
    }

    fn load<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.copy_out(at, &mut bytes);
        bytes
    }

    fn at(&self, address: u64) -> usize {
        usize::try_from(address.wrapping_sub(BASE)).unwrap_or(usize::MAX)
    }

    fn addresses(&self) -> Option<QueueAddresses> {
        VirtQueue::addresses(&(self, (|_| ()) as Act), QUEUE_SIZE)
    }

    /// Returns the available index: the number of commands that the driver has made available.
    pub(crate) fn available(&self) -> u16 {
        self.addresses()
            .map_or(0, |addresses| self.load16(self.at(addresses.available) + 2))
    }

    /// Returns the driver's settings for interrupts: the available ring's flags, and `used_event`.
    pub(crate) fn interrupts(&self) -> (u16, u16) {
        self.addresses().map_or((0, 0), |addresses| {
            let at = self.at(addresses.available);
            let event = at + 4 + 2 * usize::from(QUEUE_SIZE);
            (self.load16(at), self.load16(event))
        })
    }

    /// Returns the used index: the number of commands that the device has answered.
    pub(crate) fn used(&self) -> u16 {
        self.addresses()
            .map_or(0, |addresses| self.load16(self.at(addresses.used) + 2))
    }

    /// Sets the used index.
    pub(crate) fn set_used(&self, index: u16) {
        if let Some(addresses) = self.addresses() {
            self.store16(self.at(addresses.used) + 2, index);
        }
    }

    /// Writes the entry of the used ring for `index`.
    pub(crate) fn set_used_entry(&self, index: u16, head: u32, length: u32) {
        if let Some(addresses) = self.addresses() {
            let at = self.at(addresses.used) + 4 + 8 * usize::from(index % QUEUE_SIZE);
            self.store32(at, head);
            self.store32(at + 4, length);
        }
    }

    /// Returns the head of the chain that the driver made available as number `index`.
    pub(crate) fn head(&self, index: u16) -> u16 {
        self.addresses().map_or(u16::MAX, |addresses| {
            self.load16(self.at(addresses.available) + 4 + 2 * usize::from(index % QUEUE_SIZE))
        })
    }

    /// Returns a descriptor: offset into the memory, length, flags, next.
    pub(crate) fn descriptor(&self, index: u16) -> (usize, usize, u16, u16) {
        let at = self.addresses().map_or(0, |addresses| {
            self.at(addresses.descriptors) + 16 * usize::from(index)
        });
        let length = usize::try_from(self.load32(at + 8)).unwrap_or(usize::MAX);
        (
            self.at(u64::from_le_bytes(self.load(at))),
            length,
            self.load16(at + 12),
            self.load16(at + 14),
        )
    }

    /// Answers the oldest command without an answer with a response of type `kind`.
    pub(crate) fn answer(&self, kind: u32) {
        let index = self.used();
        if index == self.available() {
            return;
        }
        let head = self.head(index);
        let (mut at, _, mut flags, mut next) = self.descriptor(head);
        while flags & 1 != 0 {
            (at, _, flags, next) = self.descriptor(next);
        }
        self.copy_in(at, &kind.to_le_bytes());
        self.set_used_entry(index, head.into(), 4);
        self.set_used(index.wrapping_add(1));
    }
}

/// A function that acts as the device while the driver waits.
pub(crate) type Act = fn(&Memory);

impl Memory {
    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (byte, from) in into.iter_mut().zip(self.bytes.iter().skip(at)) {
            *byte = from.load(Relaxed);
        }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        for (byte, to) in from.iter().zip(self.bytes.iter().skip(at)) {
            to.store(*byte, Relaxed);
        }
    }

    fn load16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.load(at))
    }

    fn load32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.load(at))
    }

    fn store16(&self, at: usize, value: u16) {
        self.copy_in(at, &value.to_le_bytes());
    }

    fn store32(&self, at: usize, value: u32) {
        self.copy_in(at, &value.to_le_bytes());
    }
}

/// The memory with a device that acts while the driver waits.
impl Hal for (&Memory, Act) {
    fn device_address(&self, at: usize) -> u64 {
        BASE + at as u64
    }

    fn load16(&self, at: usize) -> u16 {
        self.0.load16(at)
    }

    fn load32(&self, at: usize) -> u32 {
        self.0.load32(at)
    }

    fn store16(&self, at: usize, value: u16) {
        self.0.store16(at, value);
    }

    fn store64(&self, at: usize, value: u64) {
        self.copy_in(at, &value.to_le_bytes());
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        self.0.copy_out(at, into);
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.0.copy_in(at, from);
    }

    fn write_barrier(&self) {}

    fn read_barrier(&self) {}

    fn full_barrier(&self) {}

    fn notify(&self) {
        self.0.kicks.fetch_add(1, Relaxed);
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        (0..10).any(|_| {
            self.1(self.0);
            done()
        })
    }
}

/// The state of a device's registers, and its faults.
#[derive(Default)]
pub(crate) struct Model {
    /// The features it offers.
    pub(crate) offered: u64,
    /// The maximum size of queue 0.
    pub(crate) queue_size: u16,
    /// Whether it clears FEATURES_OK.
    pub(crate) refuses: bool,
    /// The number of reads of the status until a reset is done.
    pub(crate) reset_takes: u32,
    /// Whether it sets FAILED at a reset and goes on as before.
    pub(crate) refuses_reset: bool,
    /// `queue_notify_off` of queue 0 (PCI).
    pub(crate) notify_off: u16,
    /// The features that the driver accepted.
    pub(crate) accepted: Cell<u64>,
    /// The device status.
    pub(crate) status: Cell<u8>,
    /// The registers of queue 0 as the driver wrote them: size, descriptors, available, used.
    pub(crate) queue: [Cell<u64>; 4],
    /// The MSI-X vectors of the configuration and of queue 0 (PCI), as an earlier driver left them.
    pub(crate) vectors: [Cell<u16>; 2],
    /// Whether queue 0 is enabled.
    pub(crate) enabled: Cell<bool>,
    /// The number of queues.
    pub(crate) queues: u16,
    /// The other queues that are enabled: a bit for each.
    pub(crate) others: Cell<u64>,
    /// The number of reads of `queue_reset` until a queue's reset is done.
    pub(crate) queue_reset_takes: u32,
    /// The remaining reads of it until the present reset is done.
    pub(crate) queue_resetting: Cell<u32>,
    /// The number of resets of the whole device.
    pub(crate) resets: Cell<u32>,
    /// Whether the driver did something that section 3.1.1 or the register's description forbids.
    pub(crate) fault: Cell<bool>,
    /// The remaining reads of the status until the present reset is done.
    pub(crate) resetting: Cell<u32>,
    /// The number of reads of the status.
    pub(crate) status_reads: Cell<u32>,
    /// Whether FEATURES_OK was set, and the status not read since.
    pub(crate) unconfirmed: Cell<bool>,
    /// The half of the device's features that is read.
    pub(crate) device_half: Cell<u32>,
    /// The half of the driver's features that is written.
    pub(crate) driver_half: Cell<u32>,
    /// The queue that the queue registers are for.
    pub(crate) selected: Cell<u32>,
}

impl Model {
    /// Returns the addresses of the queue as the driver wrote them to the registers.
    pub(crate) fn queue_addresses(&self) -> QueueAddresses {
        let [size, descriptors, available, used] = &self.queue;
        QueueAddresses {
            size: size.get() as u16,
            descriptors: descriptors.get(),
            available: available.get(),
            used: used.get(),
        }
    }

    fn fault(&self) -> u32 {
        self.fault.set(true);
        0
    }

    fn expect(&self, right: bool) {
        if !right {
            self.fault();
        }
    }

    fn status(&self) -> u8 {
        self.status_reads.set(self.status_reads.get() + 1);
        self.unconfirmed.set(false);
        match self.resetting.get() {
            0 => self.status.get(),
            remaining => {
                self.resetting.set(remaining - 1);
                0xf
            }
        }
    }

    fn set_status(&self, status: u8) {
        if status == 0 && self.refuses_reset {
            return self.status.set(self.status.get() | FAILED);
        }
        if status == 0 {
            self.resetting.set(self.reset_takes);
            self.status.set(0);
            self.enabled.set(false);
            self.others.set(0);
            self.accepted.set(0);
            self.resets.set(self.resets.get() + 1);
            self.forget_selections();
            return;
        }
        let old = self.status.get();
        // Section 2.1.1: a driver must not clear a bit. Section 3.1.1: one step after the other.
        self.expect(status & old == old);
        self.expect(self.resetting.get() == 0);
        let new = status & !old;
        // The driver may set DRIVER_OK once more on a device that it adopts.
        let again = new == 0 && old == 0xf && self.resets.get() == 0;
        self.expect(again || new == FAILED || [0, ACKNOWLEDGE, 3, 0xb].contains(&old));
        self.expect(again || [ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK, FAILED].contains(&new));
        self.expect(new != DRIVER_OK || self.enabled.get());
        self.unconfirmed.set(new == FEATURES_OK);
        let refused = if self.refuses { FEATURES_OK } else { 0 };
        self.status.set(status & !refused);
    }

    /// Changes all selections. A driver has to select a queue, and a half of the features, before
    /// it uses them: after a reset, or after another driver, any of them may be selected.
    pub(crate) fn forget_selections(&self) {
        self.selected.set(u16::MAX.into());
        self.device_half.set(u32::MAX);
        self.driver_half.set(u32::MAX);
    }

    fn feature_bits(&self) -> u32 {
        self.expect(self.status.get() & DRIVER != 0);
        let [low, high] = [self.offered as u32, (self.offered >> 32) as u32];
        match self.device_half.get() {
            0 => low,
            1 => high,
            _ => self.fault(),
        }
    }

    fn accept(&self, bits: u32) {
        self.expect(self.status.get() == ACKNOWLEDGE | DRIVER);
        let half = self.driver_half.get();
        self.expect(half < 2);
        let accepted = u64::from(bits) << (32 * (half & 1));
        self.expect(accepted & !self.offered == 0);
        self.accepted.set(self.accepted.get() | accepted);
    }

    fn queue_size(&self) -> u32 {
        match self.selected.get() {
            0 => self.queue_size.into(),
            _ => self.fault(),
        }
    }

    fn notify_off(&self) -> u16 {
        match self.selected.get() {
            0 => self.notify_off,
            _ => self.fault() as u16,
        }
    }

    /// Checks that a queue may be set up: before DRIVER_OK, or after a reset of the queue (section
    /// 2.6.1).
    fn expect_features_ok(&self) {
        let status = self.status.get();
        self.expect(status & FEATURES_OK != 0);
        // Section 3.1.1, step 6: the device may have cleared it.
        self.expect(!self.unconfirmed.get());
        self.expect(status & DRIVER_OK == 0 || self.accepted.get() & 1 << 40 != 0);
    }

    /// Writes a half of a queue register; `index` 0 is the size, 1 the descriptors and so on.
    fn set_queue(&self, index: usize, high: bool, value: u32) {
        self.expect(self.selected.get() == 0 && !self.enabled.get());
        self.expect_features_ok();
        if let Some(word) = self.queue.get(index) {
            let old = word.get();
            word.set(if high {
                old & 0xffff_ffff | (u64::from(value) << 32)
            } else {
                old & !0xffff_ffff | u64::from(value)
            });
        }
    }

    fn descriptors(&self) -> u64 {
        match self.selected.get() {
            0 => self.queue_addresses().descriptors,
            _ => self.fault().into(),
        }
    }

    fn driver_feature_bits(&self) -> u32 {
        self.expect(self.driver_half.get() < 2);
        (self.accepted.get() >> (32 * (self.driver_half.get() & 1))) as u32
    }

    fn is_enabled(&self) -> u16 {
        match self.selected.get() {
            0 => self.enabled.get().into(),
            queue if queue < self.queues.into() => (self.others.get() >> queue & 1) as u16,
            _ => self.fault() as u16,
        }
    }

    /// Resets a queue; only for an enabled queue, with RING_RESET negotiated (section 4.1.4.3.2).
    fn reset_queue(&self, value: u16) {
        self.expect(value == 1 && self.accepted.get() & 1 << 40 != 0 && self.is_enabled() == 1);
        self.queue_resetting.set(self.queue_reset_takes);
        match self.selected.get() {
            0 => self.enabled.set(false),
            queue => self.others.set(self.others.get() & !(1 << (queue & 63))),
        }
    }

    fn is_resetting(&self) -> u16 {
        let remaining = self.queue_resetting.get();
        self.queue_resetting.set(remaining.saturating_sub(1));
        (remaining != 0).into()
    }

    fn enable(&self, value: u32) {
        self.expect(value == 1 && self.selected.get() == 0);
        self.expect_features_ok();
        let [size, descriptors, available, used] = &self.queue;
        // Section 2.7: alignments, and a size that is a power of two.
        self.expect(size.get().is_power_of_two() && size.get() <= self.queue_size.into());
        self.expect(descriptors.get() % 16 == 0 && available.get() % 2 == 0);
        self.expect(used.get() % 4 == 0 && used.get() != 0);
        self.enabled.set(true);
    }
}

/// The common configuration of virtio-pci (section 4.1.4.3) on a [`Model`].
pub(crate) struct PciRegisters<'a>(pub(crate) &'a Model);

impl Registers for PciRegisters<'_> {
    fn read8(&self, offset: usize) -> u8 {
        match offset {
            0x14 => self.0.status(),
            _ => self.0.fault() as u8,
        }
    }

    fn read16(&self, offset: usize) -> u16 {
        match offset {
            0x12 => self.0.queues,
            0x18 => self.0.queue_size() as u16,
            0x1c => self.0.is_enabled(),
            0x1e => self.0.notify_off(),
            0x3a => self.0.is_resetting(),
            _ => self.0.fault() as u16,
        }
    }

    fn read32(&self, offset: usize) -> u32 {
        match offset {
            0x04 => self.0.feature_bits(),
            0x0c => self.0.driver_feature_bits(),
            0x20 => self.0.descriptors() as u32,
            0x24 => (self.0.descriptors() >> 32) as u32,
            _ => self.0.fault(),
        }
    }

    fn write8(&self, offset: usize, value: u8) {
        match offset {
            0x14 => self.0.set_status(value),
            _ => self.0.expect(false),
        }
    }

    fn write16(&self, offset: usize, value: u16) {
        match offset {
            0x10 => {
                self.0.expect(value == 0xffff);
                self.0.vectors[0].set(value);
            }
            0x16 => self.0.selected.set(value.into()),
            0x18 => self.0.set_queue(0, false, value.into()),
            0x1a => {
                self.0.expect(value == 0xffff && self.0.selected.get() == 0);
                self.0.vectors[1].set(value);
            }
            0x1c => self.0.enable(value.into()),
            0x3a => self.0.reset_queue(value),
            _ => self.0.expect(false),
        }
    }

    fn write32(&self, offset: usize, value: u32) {
        match offset {
            0x00 => self.0.device_half.set(value),
            0x08 => self.0.driver_half.set(value),
            0x0c => self.0.accept(value),
            0x20..0x38 => {
                let word = (offset - 0x20) / 4;
                self.0.set_queue(1 + word / 2, word % 2 == 1, value);
            }
            _ => self.0.expect(false),
        }
    }
}

/// The registers of virtio-mmio (section 4.2.2) on a [`Model`].
pub(crate) struct MmioRegisters<'a> {
    /// The device with these registers.
    pub(crate) model: &'a Model,
    /// `Magic`, `Version` and `DeviceID`.
    pub(crate) identity: [u32; 3],
}

impl Registers for MmioRegisters<'_> {
    fn read8(&self, _: usize) -> u8 {
        self.model.fault() as u8
    }

    fn read16(&self, _: usize) -> u16 {
        self.model.fault() as u16
    }

    fn read32(&self, offset: usize) -> u32 {
        let [magic, version, device] = self.identity;
        match offset {
            0x000 => magic,
            0x004 => version,
            0x008 => device,
            0x010 => self.model.feature_bits(),
            0x034 => self.model.queue_size(),
            0x070 => self.model.status().into(),
            _ => self.model.fault(),
        }
    }

    fn write8(&self, _: usize, _: u8) {
        self.model.fault();
    }

    fn write16(&self, _: usize, _: u16) {
        self.model.fault();
    }

    fn write32(&self, offset: usize, value: u32) {
        let model = self.model;
        let queue = |index, base| model.set_queue(index, offset != base, value);
        match offset {
            0x014 => model.device_half.set(value),
            0x020 => model.accept(value),
            0x024 => model.driver_half.set(value),
            0x030 => model.selected.set(value),
            0x038 => queue(0, 0x038),
            0x044 => model.enable(value),
            0x070 => model.set_status(value as u8),
            0x080 | 0x084 => queue(1, 0x080),
            0x090 | 0x094 => queue(2, 0x090),
            0x0a0 | 0x0a4 => queue(3, 0x0a0),
            _ => model.expect(false),
        }
    }
}

/// The disconnection of a device, and the driver's accesses since.
pub(crate) struct Disconnection {
    /// The remaining accesses until the device is disconnected.
    remaining: Cell<u32>,
    /// The number of all accesses.
    pub(crate) accesses: Cell<u32>,
    /// Whether the driver has read all ones since.
    pub(crate) seen: Cell<bool>,
}

impl Disconnection {
    /// Returns a device that is disconnected after that many accesses.
    pub(crate) fn after(accesses: u32) -> Self {
        Self {
            remaining: Cell::new(accesses),
            accesses: Cell::new(0),
            seen: Cell::new(false),
        }
    }

    /// Counts one more access, and returns whether it reaches the device.
    pub(crate) fn arrives(&self) -> bool {
        self.accesses.set(self.accesses.get() + 1);
        let remaining = self.remaining.get();
        self.remaining.set(remaining.saturating_sub(1));
        remaining != 0
    }
}
