// SPDX-License-Identifier: GPL-2.0

//! Tests of a device that writes anything to the shared memory: it costs the driver one bounded
//! wait, and nothing else.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vm_memory::{
    Bytes,
    GuestAddress, //
};

use crate::{
    cases,
    guest::{
        Device,
        Guest,
        Memory,
        BASE, //
    },
    virtio::{
        queue::{
            QueueError,
            QUEUE_BYTES,
            SLOTS, //
        },
        Features,
        QueueAddresses,
        VirtQueue, //
    }, //
};

/// An action of the device in one run.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Answers a command correctly.
    Answer,
    /// Does nothing.
    Sleep,
    /// Adds a number to the used index.
    Jump(u16),
    /// Writes only a used entry at the used index plus this number.
    Entry(u16, u32),
    /// Returns a descriptor index that may not be in flight.
    AnswerUnknown(u32),
    /// Writes eight bytes anywhere in the shared memory.
    Overwrite(usize, u64),
}

pub(crate) fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        12 => Just(Action::Answer),
        2 => Just(Action::Sleep),
        1 => (0..5u16).prop_map(Action::Jump),
        1 => any::<u16>().prop_map(Action::Jump),
        1 => (0..70u16, 0..70u32).prop_map(|(at, head)| Action::Entry(at, head)),
        1 => prop_oneof![0..70u32, any::<u32>()].prop_map(Action::AnswerUnknown),
        1 => (0..QUEUE_BYTES / 8, any::<u64>())
            .prop_map(|(at, word)| Action::Overwrite(8 * at, word)),
    ];
    prop::collection::vec(action, 0..120)
}

/// A device that takes one action from a list in each run.
pub(crate) struct ScriptedDevice {
    addresses: QueueAddresses,
    actions: std::vec::IntoIter<Action>,
    taken: u16,
}

impl ScriptedDevice {
    pub(crate) fn new(addresses: QueueAddresses, actions: Vec<Action>) -> Self {
        Self {
            addresses,
            actions: actions.into_iter(),
            taken: 0,
        }
    }

    fn used(&self, memory: &Memory) -> u16 {
        memory
            .read_obj(GuestAddress(self.addresses.used + 2))
            .unwrap()
    }

    fn set_used(&self, memory: &Memory, index: u16) {
        let at = GuestAddress(self.addresses.used + 2);
        memory.write_obj(index, at).unwrap();
    }

    fn entry(&self, memory: &Memory, index: u16, head: u32) {
        let at = self.addresses.used + 4 + 8 * u64::from(index % self.addresses.size);
        memory.write_obj(head, GuestAddress(at)).unwrap();
    }

    fn complete(&self, memory: &Memory, head: u32) {
        let index = self.used(memory);
        self.entry(memory, index, head);
        self.set_used(memory, index.wrapping_add(1));
    }
}

impl Device for ScriptedDevice {
    fn run(&mut self, memory: &Memory, _: bool) {
        match self.actions.next() {
            None | Some(Action::Sleep) => {}
            Some(Action::Answer) => {
                let available = GuestAddress(self.addresses.available + 2);
                if self.taken != memory.read_obj::<u16>(available).unwrap() {
                    let entry = 4 + 2 * u64::from(self.taken % self.addresses.size);
                    let entry = GuestAddress(self.addresses.available + entry);
                    self.taken = self.taken.wrapping_add(1);
                    self.complete(memory, memory.read_obj::<u16>(entry).unwrap().into());
                }
            }
            Some(Action::Jump(by)) => self.set_used(memory, self.used(memory).wrapping_add(by)),
            Some(Action::Entry(at, head)) => {
                self.entry(memory, self.used(memory).wrapping_add(at), head);
            }
            Some(Action::AnswerUnknown(head)) => self.complete(memory, head),
            Some(Action::Overwrite(at, word)) => {
                memory
                    .write_obj(word, GuestAddress(BASE + at as u64))
                    .unwrap();
            }
        }
    }
}

/// A step of the driver, or of the device.
#[derive(Clone, Debug)]
enum Step {
    Add,
    Kick,
    PollUsed,
    Call,
    /// The device runs without a notification.
    RunDevice,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Add),
        3 => Just(Step::Kick),
        3 => Just(Step::PollUsed),
        1 => Just(Step::Call),
        5 => Just(Step::RunDevice),
    ];
    prop::collection::vec(step, 1..200)
}

/// The slots that the device has, as known from the completions.
#[derive(Default)]
struct InFlight {
    slots: BTreeSet<u16>,
    /// Whether a slot was completed that was not in flight.
    wrong: bool,
}

impl InFlight {
    fn complete(&mut self, slot: u16) {
        self.wrong |= slot >= SLOTS || !self.slots.remove(&slot);
    }

    fn bits(&self) -> u32 {
        self.slots.iter().map(|slot| 1 << slot).sum()
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn invalid_used_entries_are_rejected(
        size in prop::sample::select(vec![4u16, 8, 64]),
        features in prop::sample::select(vec![Features::empty(), Features::EVENT_IDX]),
        actions in actions(),
        steps in steps(),
    ) {
        let guest = Guest::new(QUEUE_BYTES);
        let addresses = VirtQueue::addresses(&guest, size).unwrap();
        guest.plug(ScriptedDevice::new(addresses, actions));
        let mut queue = VirtQueue::new(guest.clone(), addresses.size, features);
        let mut in_flight = InFlight::default();
        let mut failed: Option<QueueError> = None;
        for step in steps {
            let runs = guest.runs();
            let result = match step {
                Step::Add => queue
                    .add(&[0xaa; 56], 24, &mut |_, slot| in_flight.complete(slot))
                    .map(|slot| assert!(slot < addresses.size / 2 && in_flight.slots.insert(slot))),
                Step::Kick => {
                    queue.kick();
                    continue;
                }
                Step::PollUsed => queue.poll_used(&mut |_, slot| in_flight.complete(slot)),
                Step::Call => {
                    let mut response = [0; 408];
                    let result = queue.call(&[0xbb; 24], None, &mut response, &mut |_, slot| {
                        in_flight.complete(slot)
                    });
                    // A call that failed may have added its own slot to the queue.
                    if result.is_err() && in_flight.slots.is_empty() && queue.in_flight() == 1 {
                        in_flight.slots.insert(0);
                    }
                    result
                }
                Step::RunDevice => {
                    guest.run();
                    continue;
                }
            };
            prop_assert!(!in_flight.wrong);
            prop_assert_eq!(queue.in_flight(), in_flight.bits());
            match failed {
                // After an error the driver neither waits nor accepts an entry.
                Some(_) => prop_assert_eq!((result.err(), guest.runs()), (failed, runs)),
                None => failed = result.err(),
            }
        }
    }
}
