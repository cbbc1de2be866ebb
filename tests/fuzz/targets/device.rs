// SPDX-License-Identifier: GPL-2.0

//! Memory that a driver shares with a device, and the device: it answers what it is asked, unless
//! the input says otherwise.

use super::bytes::Bytes;
use crate::virtio::{
    queue::QUEUE_BYTES,
    Features,
    Hal,
    QueueAddresses, //
};
use std::{
    cell::{
        Cell,
        RefCell, //
    },
    rc::Rc, //
};

/// Where the memory begins for the device.
const BASE: u64 = 0x4000_0000;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 16;

/// A command as the device got it.
pub(super) struct Request {
    /// The part that is a command.
    pub(super) bytes: Vec<u8>,
    /// Bytes of the parts that follow it.
    pub(super) extra: usize,
}

struct State<'a> {
    /// The ring; beyond it are pixels, of which the device only knows the address.
    memory: RefCell<Vec<u8>>,
    /// Bytes of all the memory.
    size: usize,
    features: Features,
    script: RefCell<Bytes<'a>>,
    place: Cell<Option<QueueAddresses>>,
    /// Commands that were taken from the ring.
    taken: Cell<u16>,
    /// Turns that the device sleeps on.
    sleeps: Cell<u8>,
    turns: Cell<usize>,
    /// The device has written what no device writes: the ring means nothing any more.
    lied: Cell<bool>,
    info: RefCell<Vec<u8>>,
    requests: RefCell<Vec<Request>>,
}

/// A [`Hal`] with a device at its other end. Clones are the same.
#[derive(Clone)]
pub(super) struct Shared<'a>(Rc<State<'a>>);

impl<'a> Shared<'a> {
    /// How often the device gets to run before the driver gives up on it.
    pub(super) const PATIENCE: usize = 100;

    /// Memory of so many bytes, and a device that does what the script says.
    pub(super) fn new(script: Bytes<'a>, size: usize, features: Features) -> Self {
        Self(Rc::new(State {
            memory: RefCell::new(vec![0; QUEUE_BYTES]),
            size,
            features,
            script: RefCell::new(script),
            place: Cell::new(None),
            taken: Cell::new(0),
            sleeps: Cell::new(0),
            turns: Cell::new(0),
            lied: Cell::new(false),
            info: RefCell::default(),
            requests: RefCell::default(),
        }))
    }

    /// Tells the device where its queue is.
    pub(super) fn plug(&self, place: &QueueAddresses) {
        self.0.place.set(Some(*place));
    }

    /// What it answers who asks for its displays.
    pub(super) fn set_info(&self, info: Vec<u8>) {
        *self.0.info.borrow_mut() = info;
    }

    /// How often the device had a turn.
    pub(super) fn turns(&self) -> usize {
        self.0.turns.get()
    }

    /// The commands that the device got since it was asked last.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.requests.take()
    }

    /// Gives the device a turn.
    pub(super) fn run(&self) {
        let state = &*self.0;
        state.turns.set(state.turns.get() + 1);
        let Some(place) = state.place.get() else {
            return;
        };
        if let Some(sleeps) = state.sleeps.get().checked_sub(1) {
            state.sleeps.set(sleeps);
            return;
        }
        if state.script.borrow().is_empty() {
            while self.answer(&place, None) {}
            return;
        }
        let next = || state.script.borrow_mut().u8();
        let next16 = || state.script.borrow_mut().u16();
        let next32 = || state.script.borrow_mut().u32();
        match next() % 16 {
            0..=6 => {
                self.answer(&place, None);
            }
            7 => while self.answer(&place, None) {},
            8 => state.sleeps.set(next()),
            9 => self.lie(&place, u16::from(next() % 5), None),
            10 => self.lie(&place, next16(), None),
            11 => {
                // An entry of the used ring, and nothing more.
                let index = self.used(&place).wrapping_add(u16::from(next()));
                self.put_used(&place, index, next32());
            }
            12 => self.lie(&place, 1, Some(next32())),
            13 => self.lie(&place, 1, Some(u32::from(next()))),
            14 => {
                let answer = next32();
                self.answer(&place, Some(&answer.to_le_bytes()));
            }
            _ => {
                let script = &state.script;
                let count = usize::from(script.borrow_mut().u16() % 512);
                let answer = script.borrow_mut().take(count);
                if answer.len() == 408 || count & 1 == 0 {
                    self.answer(&place, Some(answer));
                } else {
                    // Anywhere in the ring.
                    state.lied.set(true);
                    let mut memory = state.memory.borrow_mut();
                    let at = usize::from(script.borrow_mut().u16()) % QUEUE_BYTES;
                    let end = (at + answer.len()).min(QUEUE_BYTES);
                    memory[at..end].copy_from_slice(&answer[..end - at]);
                }
            }
        }
    }

    fn used(&self, place: &QueueAddresses) -> u16 {
        self.load16(offset(place.used) + 2)
    }

    fn put_used(&self, place: &QueueAddresses, index: u16, head: u32) {
        let at = offset(place.used) + 4 + 8 * usize::from(index % place.size);
        self.0.memory.borrow_mut()[at..at + 4].copy_from_slice(&head.to_le_bytes());
    }

    /// Moves the used index by so much, perhaps with an entry.
    fn lie(&self, place: &QueueAddresses, by: u16, head: Option<u32>) {
        self.0.lied.set(self.0.lied.get() || by != 0);
        let index = self.used(place);
        if let Some(head) = head {
            self.put_used(place, index, head);
        }
        self.store16(offset(place.used) + 2, index.wrapping_add(by));
    }

    /// Answers the next command, with these bytes or as it should. Returns whether there is one.
    fn answer(&self, place: &QueueAddresses, with: Option<&[u8]>) -> bool {
        let state = &*self.0;
        let taken = state.taken.get();
        let available = offset(place.available);
        if taken == self.load16(available + 2) {
            return false;
        }
        let head = self.load16(available + 4 + 2 * usize::from(taken % place.size));
        state.taken.set(taken.wrapping_add(1));
        let (request, response) = match self.parts(place, head) {
            Some(parts) => parts,
            None => {
                assert!(state.lied.get(), "descriptors that no device takes");
                (
                    Request {
                        bytes: Vec::new(),
                        extra: 0,
                    },
                    0..0,
                )
            }
        };
        let is_info = request.bytes.get(..4) == Some(&[0, 1, 0, 0]);
        let mut answer = match with {
            Some(bytes) => bytes.to_vec(),
            None if is_info => state.info.borrow().clone(),
            None => 0x1100u32.to_le_bytes().to_vec(),
        };
        answer.resize(response.len(), 0);
        state.memory.borrow_mut()[response].copy_from_slice(&answer);
        // Where it has written over the driver's commands, they say nothing of the driver.
        if !state.lied.get() {
            state.requests.borrow_mut().push(request);
        }
        let index = self.used(place);
        self.put_used(place, index, head.into());
        self.store16(offset(place.used) + 2, index.wrapping_add(1));
        if state.features.contains(Features::EVENT_IDX) {
            let event = offset(place.used) + 4 + 8 * usize::from(place.size);
            self.store16(event, taken.wrapping_add(1));
        }
        true
    }

    /// The parts that a chain of descriptors has: what is read, and where the answer goes. None if
    /// they are not in memory, or not in this order.
    fn parts(
        &self,
        place: &QueueAddresses,
        head: u16,
    ) -> Option<(Request, core::ops::Range<usize>)> {
        let (mut request, mut response) = (None, None);
        let mut next = Some(head);
        for _ in 0..place.size {
            let Some(index) = next else {
                break;
            };
            if index >= place.size || response.is_some() {
                return None;
            }
            let mut descriptor = [0; DESCRIPTOR];
            self.copy_out(
                offset(place.descriptors) + DESCRIPTOR * usize::from(index),
                &mut descriptor,
            );
            let [address, rest] = [0, 8].map(|at| {
                u64::from_le_bytes(descriptor[at..at + 8].try_into().unwrap_or_default())
            });
            let at = usize::try_from(address.checked_sub(BASE)?).ok()?;
            let length = (rest as u32) as usize;
            let flags = (rest >> 32) as u16;
            next = (flags & 1 != 0).then_some((rest >> 48) as u16);
            let end = at.checked_add(length).filter(|end| *end <= self.0.size)?;
            match (flags & 2 != 0, &mut request) {
                // What the device writes is in the ring, where it does no harm.
                (true, Some(_)) if end <= QUEUE_BYTES => response = Some(at..end),
                (false, Some(Request { extra, .. })) => *extra += length,
                (false, None) if end <= QUEUE_BYTES => {
                    let bytes = self.0.memory.borrow()[at..end].to_vec();
                    request = Some(Request { bytes, extra: 0 });
                }
                _ => return None,
            }
        }
        match next {
            None => request.zip(response),
            Some(_) => None,
        }
    }
}

/// Where an address is in the memory.
fn offset(address: u64) -> usize {
    (address - BASE) as usize
}

impl Hal for Shared<'_> {
    fn device_address(&self, at: usize) -> u64 {
        assert!(at < self.0.size, "an address beyond the memory");
        BASE + at as u64
    }

    fn load16(&self, at: usize) -> u16 {
        assert!(at % 2 == 0);
        let mut bytes = [0; 2];
        self.copy_out(at, &mut bytes);
        u16::from_le_bytes(bytes)
    }

    fn load32(&self, at: usize) -> u32 {
        assert!(at % 4 == 0);
        let mut bytes = [0; 4];
        self.copy_out(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store16(&self, at: usize, value: u16) {
        assert!(at % 2 == 0);
        self.copy_in(at, &value.to_le_bytes());
    }

    fn store64(&self, at: usize, value: u64) {
        assert!(at % 8 == 0);
        self.copy_in(at, &value.to_le_bytes());
    }

    fn copy_out(&self, at: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.0.memory.borrow()[at..at + into.len()]);
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.0.memory.borrow_mut()[at..at + from.len()].copy_from_slice(from);
    }

    fn write_barrier(&self) {}

    fn read_barrier(&self) {}

    fn full_barrier(&self) {}

    fn notify(&self) {}

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        (0..Self::PATIENCE).any(|_| {
            self.run();
            done()
        })
    }
}
