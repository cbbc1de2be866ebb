// SPDX-License-Identifier: GPL-2.0

//! Tests of the virtqueue's memory barriers and notifications (VIRTIO 1.3, sections 2.7.10 and
//! 2.7.13) on a machine that reorders all that it may.
//!
//! A store of the driver waits in a buffer, from which the device sees it in any order that the
//! barriers allow; a load returns a value as old as the barriers allow. The device does one access
//! at a time, between any two of the driver's, in the order that the specification requires, and
//! sleeps until it is notified. A seed selects one of these orders.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc, //
};

use crate::virtio::{
    queue::{
        QueueError,
        QUEUE_BYTES,
        REQUEST_BYTES,
        RESPONSE_BYTES, //
    },
    Features,
    Hal,
    QueueAddresses,
    VirtQueue, //
};

/// The device address of the memory.
const BASE: u64 = 0x8000_0000;

/// An operation that the driver needs for the device to see its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    WriteBarrier,
    ReadBarrier,
    FullBarrier,
    Notification,
}

/// Random numbers from a seed (SplitMix64).
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

/// A store of the driver that the device does not see yet.
struct Store {
    at: usize,
    bytes: Vec<u8>,
    /// The number of write barriers before it.
    epoch: u32,
}

impl Store {
    fn overlaps(&self, other: &Self) -> bool {
        self.at < other.at + other.bytes.len() && other.at < self.at + self.bytes.len()
    }
}

/// A value of a byte of memory, from a point in time on.
#[derive(Clone, Copy, Default)]
struct Version {
    since: u64,
    value: u8,
    /// Whether the driver stored it, and so never loads an older one.
    own: bool,
}

/// A byte of memory, 0 at first.
#[derive(Clone, Default)]
struct Byte {
    versions: Vec<Version>,
    /// The time of the newest value that the driver has loaded; it never loads an older one.
    seen: u64,
}

/// The next action of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Waits for a notification.
    Sleep,
    /// Polls the available ring and executes the next command.
    Poll,
    /// Returns a command in the used ring.
    Return,
    /// Enables notifications.
    EnableNotification,
    /// Polls once more, because the driver may not have seen that yet.
    PollAgain,
}

struct Machine {
    random: Random,
    /// The operation that the driver omits, or that has no effect.
    without: Option<Operation>,
    /// The chances, of 16, that a waiting store is committed, and that the device takes a step.
    chances: (u64, u64),

    buffer: Vec<Store>,
    epoch: u32,
    bytes: Vec<Byte>,
    now: u64,
    /// The oldest time from which the next load may take a value.
    floor: u64,
    /// The newest time from which a load took a value.
    newest: u64,

    addresses: QueueAddresses,
    event_idx: bool,
    kicked: bool,
    step: Step,
    /// The number of the next command to be executed.
    next: u16,
    failure: Option<String>,
}

impl Machine {
    /// Returns the current value as all but the driver see it.
    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let value = |byte: &Byte| byte.versions.last().map_or(0, |version| version.value);
        std::array::from_fn(|i| value(&self.bytes[at + i]))
    }

    fn put(&mut self, at: usize, bytes: &[u8], own: bool) {
        self.now += 1;
        let since = self.now;
        for (byte, &value) in self.bytes[at..].iter_mut().zip(bytes) {
            byte.versions.push(Version { since, value, own });
        }
    }

    /// Returns a value that the driver may load.
    fn load<const N: usize>(&mut self, at: usize) -> [u8; N] {
        let oldest = (at..at + N).map(|at| self.bytes[at].seen);
        let oldest = oldest.max().unwrap().max(self.floor);
        let time = oldest + self.random.below(self.now - oldest + 1);
        std::array::from_fn(|i| {
            let waiting = self.buffer.iter().rev().find_map(|store| {
                let i = (at + i).checked_sub(store.at)?;
                store.bytes.get(i).copied()
            });
            if let Some(value) = waiting {
                return value;
            }
            let byte = &mut self.bytes[at + i];
            let versions = byte.versions.iter().rev();
            let version = versions
                .copied()
                .find(|version| version.own || version.since <= time)
                .unwrap_or_default();
            byte.seen = version.since;
            self.newest = self.newest.max(version.since);
            version.value
        })
    }

    fn store(&mut self, at: usize, bytes: &[u8]) {
        for (n, bytes) in bytes.chunks(8).enumerate() {
            self.buffer.push(Store {
                at: at + 8 * n,
                bytes: bytes.to_vec(),
                epoch: self.epoch,
            });
        }
    }

    /// Commits one of the stores that may be committed next.
    fn commit_store(&mut self) {
        let Some(epoch) = self.buffer.iter().map(|store| store.epoch).min() else {
            return;
        };
        let may = |&at: &usize| {
            let (before, store) = (&self.buffer[..at], &self.buffer[at]);
            store.epoch == epoch && !before.iter().any(|before| before.overlaps(store))
        };
        let may: Vec<usize> = (0..self.buffer.len()).filter(may).collect();
        let at = may[self.random.below(may.len() as u64) as usize];
        let Store { at, bytes, .. } = self.buffer.remove(at);
        self.put(at, &bytes, true);
    }

    fn commit_all_stores(&mut self) {
        while !self.buffer.is_empty() {
            self.commit_store();
        }
    }

    /// Does what may happen between two accesses of the driver.
    fn advance(&mut self) {
        let (stores, device) = self.chances;
        // Now and then the driver is interrupted for some time.
        let rounds = if self.random.below(6) == 0 { 24 } else { 1 };
        for _ in 0..rounds {
            if self.random.below(16) < stores {
                self.commit_store();
            }
            if self.random.below(16) < device {
                self.run();
            }
        }
    }

    fn available(&self) -> u16 {
        u16::from_le_bytes(self.get(offset(self.addresses.available) + 2))
    }

    /// Sets whether the device wants a notification for the next command.
    fn set_notification(&mut self, wants: bool) {
        let used = offset(self.addresses.used);
        match (self.event_idx, wants) {
            (true, true) => {
                let event = used + 4 + 8 * usize::from(self.addresses.size);
                self.put(event, &self.next.to_le_bytes(), false);
            }
            (true, false) => {}
            (false, wants) => self.put(used, &u16::from(!wants).to_le_bytes(), false),
        }
    }

    /// Does one step of the device.
    fn run(&mut self) {
        self.step = match self.step {
            Step::Sleep if std::mem::take(&mut self.kicked) => {
                self.set_notification(false);
                Step::Poll
            }
            Step::Sleep => Step::Sleep,
            Step::Poll if self.available() == self.next => Step::EnableNotification,
            Step::Poll => match self.execute() {
                Ok(()) => Step::Return,
                Err(failure) => {
                    self.failure.get_or_insert(failure);
                    self.kicked = false;
                    Step::Sleep
                }
            },
            Step::Return => {
                self.next = self.next.wrapping_add(1);
                let index = offset(self.addresses.used) + 2;
                self.put(index, &self.next.to_le_bytes(), false);
                Step::Poll
            }
            Step::EnableNotification => {
                self.set_notification(true);
                Step::PollAgain
            }
            Step::PollAgain if self.available() == self.next => Step::Sleep,
            Step::PollAgain => {
                self.set_notification(false);
                Step::Poll
            }
        };
    }

    /// Executes a command, and checks that it is the next one.
    fn execute(&mut self) -> Result<(), String> {
        let number = self.next;
        let entry = usize::from(number % self.addresses.size);
        let head = offset(self.addresses.available) + 4 + 2 * entry;
        let head = u16::from_le_bytes(self.get(head));
        let mut request = Vec::new();
        let mut index = head;
        let (at, length) = loop {
            if index >= self.addresses.size {
                return Err(format!("command {number}: descriptor {index}"));
            }
            let descriptor = offset(self.addresses.descriptors) + 16 * usize::from(index);
            let address = u64::from_le_bytes(self.get(descriptor));
            let length = u32::from_le_bytes(self.get(descriptor + 8)) as usize;
            let flags = u16::from_le_bytes(self.get(descriptor + 12));
            let at = address.wrapping_sub(BASE) as usize;
            let is_inside = at < QUEUE_BYTES && length <= QUEUE_BYTES - at;
            if !is_inside || request.len() > REQUEST_BYTES {
                return Err(format!("command {number}: {length} bytes at {address:#x}"));
            }
            match flags {
                1 => request.extend((0..length).map(|i| self.get::<1>(at + i)[0])),
                2 => break (at, length),
                _ => return Err(format!("command {number}: flags {flags:#x}")),
            }
            index = u16::from_le_bytes(self.get(descriptor + 14));
        };
        if request != command(number) {
            return Err(format!("command {number} is {request:x?}"));
        }
        if length != RESPONSE_BYTES {
            return Err(format!("command {number}: {length} bytes for the response"));
        }
        self.put(at, &answer(number), false);
        let used = offset(self.addresses.used) + 4 + 8 * entry;
        self.put(used, &u32::from(head).to_le_bytes(), false);
        self.put(used + 4, &(length as u32).to_le_bytes(), false);
        Ok(())
    }
}

fn offset(address: u64) -> usize {
    (address - BASE) as usize
}

/// Returns the bytes of a number; no other number has the same.
fn bytes(number: u16, length: u16) -> Vec<u8> {
    (0..length)
        .map(|i| (number.wrapping_mul(31) ^ i.wrapping_mul(7)) as u8)
        .collect()
}

fn command(number: u16) -> Vec<u8> {
    bytes(number, 24 - number % 3)
}

fn answer(number: u16) -> Vec<u8> {
    bytes(!number, RESPONSE_BYTES as u16)
}

/// A [`Hal`] on this machine.
#[derive(Clone)]
struct WeakMemory(Rc<RefCell<Machine>>);

impl WeakMemory {
    fn new(seed: u64, size: u16, event_idx: bool, without: Option<Operation>) -> Self {
        let mut random = Random(seed);
        let chances = (1 + random.below(12), 1 + random.below(12));
        let machine = Machine {
            random,
            without,
            chances,
            buffer: Vec::new(),
            epoch: 0,
            bytes: vec![Byte::default(); QUEUE_BYTES],
            now: 0,
            floor: 0,
            newest: 0,
            addresses: QueueAddresses {
                size,
                descriptors: 0,
                available: 0,
                used: 0,
            },
            event_idx,
            kicked: false,
            step: Step::Sleep,
            next: 0,
            failure: None,
        };
        let hal = Self(Rc::new(RefCell::new(machine)));
        let addresses = VirtQueue::addresses(&hal, size).unwrap();
        hal.0.borrow_mut().addresses = addresses;
        hal
    }

    /// Returns the machine, some time after the driver's last access.
    fn after_a_while(&self) -> std::cell::RefMut<'_, Machine> {
        let mut machine = self.0.borrow_mut();
        machine.advance();
        machine
    }

    /// Returns the same, unless the driver omits that operation.
    fn unless_without(&self, operation: Operation) -> Option<std::cell::RefMut<'_, Machine>> {
        Some(self.after_a_while()).filter(|machine| machine.without != Some(operation))
    }
}

impl Hal for WeakMemory {
    fn device_address(&self, at: usize) -> u64 {
        BASE + at as u64
    }

    fn load16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.after_a_while().load(at))
    }

    fn load32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.after_a_while().load(at))
    }

    fn store16(&self, at: usize, value: u16) {
        self.after_a_while().store(at, &value.to_le_bytes());
    }

    fn store64(&self, at: usize, value: u64) {
        self.after_a_while().store(at, &value.to_le_bytes());
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        for (at, byte) in (at..).zip(into) {
            [*byte] = self.after_a_while().load(at);
        }
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.after_a_while().store(at, from);
    }

    fn write_barrier(&self) {
        if let Some(mut machine) = self.unless_without(Operation::WriteBarrier) {
            machine.epoch += 1;
        }
    }

    fn read_barrier(&self) {
        if let Some(mut machine) = self.unless_without(Operation::ReadBarrier) {
            machine.floor = machine.floor.max(machine.newest);
        }
    }

    fn full_barrier(&self) {
        if let Some(mut machine) = self.unless_without(Operation::FullBarrier) {
            machine.commit_all_stores();
            machine.floor = machine.now;
        }
    }

    fn notify(&self) {
        if let Some(mut machine) = self.unless_without(Operation::Notification) {
            machine.kicked = true;
        }
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        (0..60).any(|round| {
            let mut machine = self.after_a_while();
            // After a long time every store is committed.
            if round >= 20 {
                machine.commit_all_stores();
                machine.floor = machine.now;
                machine.run();
            }
            drop(machine);
            done()
        })
    }
}

/// Sends commands, one or several at a time, and checks that the device executes each one unchanged
/// and that each answer belongs to its command.
fn exchange(seed: u64, without: Option<Operation>) -> Result<(), String> {
    let mut random = Random(!seed);
    let (size, event_idx) = ([4, 8][random.below(2) as usize], random.below(2) != 0);
    let features = match event_idx {
        true => Features::EVENT_IDX,
        false => Features::empty(),
    };
    let hal = WeakMemory::new(seed, size, event_idx, without);
    let mut queue = VirtQueue::new(hal.clone(), size, features);
    let mut sent = HashMap::new();
    let mut wrong = None;
    let stuck = |error: QueueError| format!("{error} ({:?})", hal.0.borrow().step);
    for number in 0..20 {
        let mut completed = |sent: &mut HashMap<u16, u16>, queue: &VirtQueue<WeakMemory>, slot| {
            let mut response = [0; RESPONSE_BYTES];
            queue.response(slot, &mut response);
            match sent.remove(&slot) {
                Some(number) if answer(number) == response => {}
                number => wrong = Some(format!("{number:?} was answered with {response:x?}")),
            }
        };
        let slot = queue
            .add(&command(number), RESPONSE_BYTES, &mut |queue, slot| {
                completed(&mut sent, queue, slot)
            })
            .map_err(stuck)?;
        sent.insert(slot, number);
        let waits = random.below(4) == 0 || number == 19;
        if waits || random.below(2) == 0 {
            queue.kick();
        }
        if waits {
            queue
                .wait(
                    &mut |queue, slot| completed(&mut sent, queue, slot),
                    |queue| queue.in_flight() == 0,
                )
                .map_err(stuck)?;
        }
    }
    let failure = hal.0.borrow_mut().failure.take();
    match wrong.or(failure) {
        None if sent.is_empty() => Ok(()),
        None => Err("a command was never answered".to_owned()),
        Some(wrong) => Err(wrong),
    }
}

const SEEDS: u64 = 1000;

#[test]
fn every_command_arrives_in_any_memory_order() {
    for seed in 0..SEEDS {
        assert_eq!(exchange(seed, None), Ok(()), "seed {seed}");
    }
}

#[test]
fn without_a_barrier_or_a_notification_some_command_is_lost() {
    for operation in [
        Operation::WriteBarrier,
        Operation::ReadBarrier,
        Operation::FullBarrier,
        Operation::Notification,
    ] {
        let lost = (0..SEEDS)
            .filter(|&seed| exchange(seed, Some(operation)).is_err())
            .count();
        // This is not a rare accident.
        assert!(lost >= 10, "{operation:?}");
    }
}
