// SPDX-License-Identifier: GPL-2.0

//! Memory that a driver shares with a device, and the device: it answers each command correctly,
//! unless the input says otherwise.

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

/// The device address of the memory.
const BASE: u64 = 0x4000_0000;

/// The size in bytes of a descriptor.
const DESCRIPTOR: usize = 16;

/// A command as the device received it.
pub(super) struct Request {
    /// The command itself.
    pub(super) bytes: Vec<u8>,
    /// The size in bytes of the descriptors that follow it.
    pub(super) extra: usize,
}

struct State<'a> {
    /// The queue; beyond it are pixels, of which the device only knows the address.
    memory: RefCell<Vec<u8>>,
    /// The size in bytes of all memory.
    size: usize,
    features: Features,
    script: RefCell<Bytes<'a>>,
    addresses: Cell<Option<QueueAddresses>>,
    /// The number of commands taken from the queue.
    taken: Cell<u16>,
    /// The number of runs in which the device does nothing.
    sleeps: Cell<u8>,
    runs: Cell<usize>,
    /// Whether the device has written what a correct device does not, so that the queue is
    /// undefined.
    corrupted: Cell<bool>,
    info: RefCell<Vec<u8>>,
    requests: RefCell<Vec<Request>>,
}

/// A [`Hal`] with its device. Clones are the same.
#[derive(Clone)]
pub(super) struct Shared<'a>(Rc<State<'a>>);

impl<'a> Shared<'a> {
    /// The number of runs of the device until the driver's wait times out.
    pub(super) const WAIT_RUNS: usize = 100;

    /// Returns memory of that many bytes, with a device that follows the script.
    pub(super) fn new(script: Bytes<'a>, size: usize, features: Features) -> Self {
        Self(Rc::new(State {
            memory: RefCell::new(vec![0; QUEUE_BYTES]),
            size,
            features,
            script: RefCell::new(script),
            addresses: Cell::new(None),
            taken: Cell::new(0),
            sleeps: Cell::new(0),
            runs: Cell::new(0),
            corrupted: Cell::new(false),
            info: RefCell::default(),
            requests: RefCell::default(),
        }))
    }

    /// Gives the device the addresses of its queue.
    pub(super) fn plug(&self, addresses: &QueueAddresses) {
        self.0.addresses.set(Some(*addresses));
    }

    /// Sets the response to GET_DISPLAY_INFO.
    pub(super) fn set_info(&self, info: Vec<u8>) {
        *self.0.info.borrow_mut() = info;
    }

    /// Returns how often the device was run.
    pub(super) fn runs(&self) -> usize {
        self.0.runs.get()
    }

    /// Returns the commands that the device received since the last call.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.0.requests.take()
    }

    /// Runs the device once.
    pub(super) fn run(&self) {
        let state = &*self.0;
        state.runs.set(state.runs.get() + 1);
        let Some(addresses) = state.addresses.get() else {
            return;
        };
        if let Some(sleeps) = state.sleeps.get().checked_sub(1) {
            state.sleeps.set(sleeps);
            return;
        }
        if state.script.borrow().is_empty() {
            while self.answer(&addresses, None) {}
            return;
        }
        let next = || state.script.borrow_mut().u8();
        let next16 = || state.script.borrow_mut().u16();
        let next32 = || state.script.borrow_mut().u32();
        match next() % 16 {
            0..=6 => {
                self.answer(&addresses, None);
            }
            7 => while self.answer(&addresses, None) {},
            8 => state.sleeps.set(next()),
            9 => self.corrupt(&addresses, u16::from(next() % 5), None),
            10 => self.corrupt(&addresses, next16(), None),
            11 => {
                // An entry of the used ring, without the index.
                let index = self.used(&addresses).wrapping_add(u16::from(next()));
                self.put_used(&addresses, index, next32());
            }
            12 => self.corrupt(&addresses, 1, Some(next32())),
            13 => self.corrupt(&addresses, 1, Some(u32::from(next()))),
            14 => {
                let answer = next32();
                self.answer(&addresses, Some(&answer.to_le_bytes()));
            }
            _ => {
                let script = &state.script;
                let count = usize::from(script.borrow_mut().u16() % 512);
                let answer = script.borrow_mut().take(count);
                if answer.len() == 408 || count & 1 == 0 {
                    self.answer(&addresses, Some(answer));
                } else {
                    // Anywhere in the queue.
                    state.corrupted.set(true);
                    let mut memory = state.memory.borrow_mut();
                    let at = usize::from(script.borrow_mut().u16()) % QUEUE_BYTES;
                    let end = (at + answer.len()).min(QUEUE_BYTES);
                    memory[at..end].copy_from_slice(&answer[..end - at]);
                }
            }
        }
    }

    fn used(&self, addresses: &QueueAddresses) -> u16 {
        self.load16(offset(addresses.used) + 2)
    }

    fn put_used(&self, addresses: &QueueAddresses, index: u16, head: u32) {
        let at = offset(addresses.used) + 4 + 8 * usize::from(index % addresses.size);
        self.0.memory.borrow_mut()[at..at + 4].copy_from_slice(&head.to_le_bytes());
    }

    /// Adds a number to the used index, after it has written an entry, if there is one.
    fn corrupt(&self, addresses: &QueueAddresses, by: u16, head: Option<u32>) {
        self.0.corrupted.set(self.0.corrupted.get() || by != 0);
        let index = self.used(addresses);
        if let Some(head) = head {
            self.put_used(addresses, index, head);
        }
        self.store16(offset(addresses.used) + 2, index.wrapping_add(by));
    }

    /// Answers the next command, with these bytes or correctly. Returns whether there is one.
    fn answer(&self, addresses: &QueueAddresses, with: Option<&[u8]>) -> bool {
        let state = &*self.0;
        let taken = state.taken.get();
        let available = offset(addresses.available);
        if taken == self.load16(available + 2) {
            return false;
        }
        let head = self.load16(available + 4 + 2 * usize::from(taken % addresses.size));
        state.taken.set(taken.wrapping_add(1));
        let (request, response) = match self.parts(addresses, head) {
            Some(parts) => parts,
            None => {
                assert!(state.corrupted.get(), "descriptors that no device takes");
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
        // A command that the device has overwritten says nothing about the driver.
        if !state.corrupted.get() {
            state.requests.borrow_mut().push(request);
        }
        let index = self.used(addresses);
        self.put_used(addresses, index, head.into());
        self.store16(offset(addresses.used) + 2, index.wrapping_add(1));
        if state.features.contains(Features::EVENT_IDX) {
            let event = offset(addresses.used) + 4 + 8 * usize::from(addresses.size);
            self.store16(event, taken.wrapping_add(1));
        }
        true
    }

    /// Returns the request of a chain of descriptors, and the range of its response. `None` if they
    /// are not in memory, or not in this order.
    fn parts(
        &self,
        addresses: &QueueAddresses,
        head: u16,
    ) -> Option<(Request, core::ops::Range<usize>)> {
        let (mut request, mut response) = (None, None);
        let mut next = Some(head);
        for _ in 0..addresses.size {
            let Some(index) = next else {
                break;
            };
            if index >= addresses.size || response.is_some() {
                return None;
            }
            let mut descriptor = [0; DESCRIPTOR];
            self.copy_out(
                offset(addresses.descriptors) + DESCRIPTOR * usize::from(index),
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
                // Responses are in the queue's memory, where a write does no harm.
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

/// Returns the offset of an address in the memory.
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
        (0..Self::WAIT_RUNS).any(|_| {
            self.run();
            done()
        })
    }
}
