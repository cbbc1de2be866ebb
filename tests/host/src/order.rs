// SPDX-License-Identifier: GPL-2.0

//! The ring's memory barriers and its doorbell (VIRTIO 1.3, sections 2.7.10 and 2.7.13) on a
//! machine that reorders all that it may.
//!
//! What the driver stores waits in a buffer, from which the device sees it in any order that the
//! barriers allow; what the driver loads may be as old as they allow. The device does one access
//! at a time, between any two of the driver's, in the order that the specification wants of it, and
//! sleeps until the doorbell rings. Which of all these orders a run has is up to a seed.

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

/// Where the memory begins for the device.
const BASE: u64 = 0x8000_0000;

/// What a driver has to do so that the device sees what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    WriteBarrier,
    ReadBarrier,
    FullBarrier,
    Doorbell,
}

/// Numbers from a seed (SplitMix64).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

/// A store of the driver's that the device does not see yet.
struct Store {
    at: usize,
    bytes: Vec<u8>,
    /// How many write barriers there were before it.
    epoch: u32,
}

impl Store {
    fn overlaps(&self, other: &Self) -> bool {
        self.at < other.at + other.bytes.len() && other.at < self.at + self.bytes.len()
    }
}

/// What a byte of memory was from some time on.
#[derive(Clone, Copy, Default)]
struct Version {
    since: u64,
    value: u8,
    /// The driver stored it, and so never sees anything older.
    own: bool,
}

/// A byte of memory, which was 0 at first.
#[derive(Clone, Default)]
struct Byte {
    versions: Vec<Version>,
    /// The driver has seen what it was then, and so never sees anything older.
    seen: u64,
}

/// What the device does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It waits for the doorbell.
    Sleep,
    /// Looks for the next command, and executes it.
    Look,
    /// Says that it has executed a command.
    Return,
    /// Asks to be notified.
    Ask,
    /// Looks once more, because the driver may not have seen that yet.
    LookAgain,
}

struct Machine {
    dice: Dice,
    /// What the driver does not do, or in vain.
    without: Option<Duty>,
    /// Of 16 chances, how many a waiting store takes, and how many the device takes.
    paces: (u64, u64),

    buffer: Vec<Store>,
    epoch: u32,
    bytes: Vec<Byte>,
    now: u64,
    /// What is loaded is not older than this.
    floor: u64,
    /// The youngest that was loaded.
    newest: u64,

    place: QueueAddresses,
    event_idx: bool,
    kicked: bool,
    step: Step,
    /// The number of the command that is executed next.
    next: u16,
    complaint: Option<String>,
}

impl Machine {
    /// The value that is there now for everybody but the driver.
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

    /// What the driver loads.
    fn load<const N: usize>(&mut self, at: usize) -> [u8; N] {
        let oldest = (at..at + N).map(|at| self.bytes[at].seen);
        let oldest = oldest.max().unwrap().max(self.floor);
        let time = oldest + self.dice.below(self.now - oldest + 1);
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

    /// The device sees one of the stores that it may see next.
    fn settle(&mut self) {
        let Some(epoch) = self.buffer.iter().map(|store| store.epoch).min() else {
            return;
        };
        let may = |&at: &usize| {
            let (before, store) = (&self.buffer[..at], &self.buffer[at]);
            store.epoch == epoch && !before.iter().any(|before| before.overlaps(store))
        };
        let may: Vec<usize> = (0..self.buffer.len()).filter(may).collect();
        let at = may[self.dice.below(may.len() as u64) as usize];
        let Store { at, bytes, .. } = self.buffer.remove(at);
        self.put(at, &bytes, true);
    }

    fn settle_all(&mut self) {
        while !self.buffer.is_empty() {
            self.settle();
        }
    }

    /// What may happen between two accesses of the driver's.
    fn pass(&mut self) {
        let (stores, device) = self.paces;
        // Now and then the driver is interrupted, and that takes a while.
        let rounds = if self.dice.below(6) == 0 { 24 } else { 1 };
        for _ in 0..rounds {
            if self.dice.below(16) < stores {
                self.settle();
            }
            if self.dice.below(16) < device {
                self.run();
            }
        }
    }

    fn available(&self) -> u16 {
        u16::from_le_bytes(self.get(offset(self.place.available) + 2))
    }

    /// The device's wish: to be notified of the next command, or not.
    fn wish(&mut self, wants: bool) {
        let used = offset(self.place.used);
        match (self.event_idx, wants) {
            (true, true) => {
                let event = used + 4 + 8 * usize::from(self.place.size);
                self.put(event, &self.next.to_le_bytes(), false);
            }
            (true, false) => {}
            (false, wants) => self.put(used, &u16::from(!wants).to_le_bytes(), false),
        }
    }

    /// One step of the device's.
    fn run(&mut self) {
        self.step = match self.step {
            Step::Sleep if std::mem::take(&mut self.kicked) => {
                self.wish(false);
                Step::Look
            }
            Step::Sleep => Step::Sleep,
            Step::Look if self.available() == self.next => Step::Ask,
            Step::Look => match self.execute() {
                Ok(()) => Step::Return,
                Err(complaint) => {
                    self.complaint.get_or_insert(complaint);
                    self.kicked = false;
                    Step::Sleep
                }
            },
            Step::Return => {
                self.next = self.next.wrapping_add(1);
                let index = offset(self.place.used) + 2;
                self.put(index, &self.next.to_le_bytes(), false);
                Step::Look
            }
            Step::Ask => {
                self.wish(true);
                Step::LookAgain
            }
            Step::LookAgain if self.available() == self.next => Step::Sleep,
            Step::LookAgain => {
                self.wish(false);
                Step::Look
            }
        };
    }

    /// Executes a command, which has to be the right one.
    fn execute(&mut self) -> Result<(), String> {
        let number = self.next;
        let entry = usize::from(number % self.place.size);
        let head = offset(self.place.available) + 4 + 2 * entry;
        let head = u16::from_le_bytes(self.get(head));
        let mut request = Vec::new();
        let mut index = head;
        let (at, length) = loop {
            if index >= self.place.size {
                return Err(format!("command {number}: descriptor {index}"));
            }
            let descriptor = offset(self.place.descriptors) + 16 * usize::from(index);
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
        let used = offset(self.place.used) + 4 + 8 * entry;
        self.put(used, &u32::from(head).to_le_bytes(), false);
        self.put(used + 4, &(length as u32).to_le_bytes(), false);
        Ok(())
    }
}

fn offset(address: u64) -> usize {
    (address - BASE) as usize
}

/// Bytes that no other number has.
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

/// A [`Hal`] on such a machine.
#[derive(Clone)]
struct Weak(Rc<RefCell<Machine>>);

impl Weak {
    fn new(seed: u64, size: u16, event_idx: bool, without: Option<Duty>) -> Self {
        let mut dice = Dice(seed);
        let paces = (1 + dice.below(12), 1 + dice.below(12));
        let machine = Machine {
            dice,
            without,
            paces,
            buffer: Vec::new(),
            epoch: 0,
            bytes: vec![Byte::default(); QUEUE_BYTES],
            now: 0,
            floor: 0,
            newest: 0,
            place: QueueAddresses {
                size,
                descriptors: 0,
                available: 0,
                used: 0,
            },
            event_idx,
            kicked: false,
            step: Step::Sleep,
            next: 0,
            complaint: None,
        };
        let hal = Self(Rc::new(RefCell::new(machine)));
        let place = VirtQueue::addresses(&hal, size).unwrap();
        hal.0.borrow_mut().place = place;
        hal
    }

    /// The machine, some time after the driver's last access.
    fn after_a_while(&self) -> std::cell::RefMut<'_, Machine> {
        let mut machine = self.0.borrow_mut();
        machine.pass();
        machine
    }

    /// The same, unless the driver does not do what comes now.
    fn unless_without(&self, duty: Duty) -> Option<std::cell::RefMut<'_, Machine>> {
        Some(self.after_a_while()).filter(|machine| machine.without != Some(duty))
    }
}

impl Hal for Weak {
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
        if let Some(mut machine) = self.unless_without(Duty::WriteBarrier) {
            machine.epoch += 1;
        }
    }

    fn read_barrier(&self) {
        if let Some(mut machine) = self.unless_without(Duty::ReadBarrier) {
            machine.floor = machine.floor.max(machine.newest);
        }
    }

    fn full_barrier(&self) {
        if let Some(mut machine) = self.unless_without(Duty::FullBarrier) {
            machine.settle_all();
            machine.floor = machine.now;
        }
    }

    fn notify(&self) {
        if let Some(mut machine) = self.unless_without(Duty::Doorbell) {
            machine.kicked = true;
        }
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        (0..60).any(|round| {
            let mut machine = self.after_a_while();
            // In the long run everybody sees everything.
            if round >= 20 {
                machine.settle_all();
                machine.floor = machine.now;
                machine.run();
            }
            drop(machine);
            done()
        })
    }
}

/// Sends commands, one or some at a time, and checks that the device executes each as it was sent
/// and that each answer is its own.
fn exchange(seed: u64, without: Option<Duty>) -> Result<(), String> {
    let mut dice = Dice(!seed);
    let (size, event_idx) = ([4, 8][dice.below(2) as usize], dice.below(2) != 0);
    let features = match event_idx {
        true => Features::EVENT_IDX,
        false => Features::empty(),
    };
    let hal = Weak::new(seed, size, event_idx, without);
    let mut queue = VirtQueue::new(hal.clone(), size, features);
    let mut sent = HashMap::new();
    let mut wrong = None;
    let stuck = |error: QueueError| format!("{error} ({:?})", hal.0.borrow().step);
    for number in 0..20 {
        let mut completed = |sent: &mut HashMap<u16, u16>, queue: &VirtQueue<Weak>, slot| {
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
        let waits = dice.below(4) == 0 || number == 19;
        if waits || dice.below(2) == 0 {
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
    let complaint = hal.0.borrow_mut().complaint.take();
    match wrong.or(complaint) {
        None if sent.is_empty() => Ok(()),
        None => Err("a command was never answered".to_owned()),
        Some(wrong) => Err(wrong),
    }
}

const SEEDS: u64 = 1000;

#[test]
fn every_command_arrives_whatever_the_machine_reorders() {
    for seed in 0..SEEDS {
        assert_eq!(exchange(seed, None), Ok(()), "seed {seed}");
    }
}

#[test]
fn without_a_barrier_or_the_doorbell_some_command_does_not_arrive() {
    for duty in [
        Duty::WriteBarrier,
        Duty::ReadBarrier,
        Duty::FullBarrier,
        Duty::Doorbell,
    ] {
        let lost = (0..SEEDS)
            .filter(|&seed| exchange(seed, Some(duty)).is_err())
            .count();
        // Not by some rare accident.
        assert!(lost >= 10, "{duty:?}");
    }
}
