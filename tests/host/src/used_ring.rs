// SPDX-License-Identifier: GPL-2.0

//! A device that writes what it likes where it likes: it costs one bounded wait, and nothing else.

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

/// What the device does in one of its turns.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// Answers a command, as it should.
    Answer,
    /// Nothing.
    Sleep,
    /// Moves the used index by so much.
    Jump(u16),
    /// Writes a used entry at the used index plus this, and nothing more.
    Entry(u16, u32),
    /// Answers a command that is not out: its head is this.
    Invent(u32),
    /// Writes eight bytes anywhere.
    Scribble(usize, u64),
}

pub(crate) fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        12 => Just(Deed::Answer),
        2 => Just(Deed::Sleep),
        1 => (0..5u16).prop_map(Deed::Jump),
        1 => any::<u16>().prop_map(Deed::Jump),
        1 => (0..70u16, 0..70u32).prop_map(|(at, head)| Deed::Entry(at, head)),
        1 => prop_oneof![0..70u32, any::<u32>()].prop_map(Deed::Invent),
        1 => (0..QUEUE_BYTES / 8, any::<u64>()).prop_map(|(at, word)| Deed::Scribble(8 * at, word)),
    ];
    prop::collection::vec(deed, 0..120)
}

/// The device.
pub(crate) struct Liar {
    place: QueueAddresses,
    deeds: std::vec::IntoIter<Deed>,
    taken: u16,
}

impl Liar {
    pub(crate) fn new(place: QueueAddresses, deeds: Vec<Deed>) -> Self {
        Self {
            place,
            deeds: deeds.into_iter(),
            taken: 0,
        }
    }

    fn used(&self, memory: &Memory) -> u16 {
        memory.read_obj(GuestAddress(self.place.used + 2)).unwrap()
    }

    fn set_used(&self, memory: &Memory, index: u16) {
        let at = GuestAddress(self.place.used + 2);
        memory.write_obj(index, at).unwrap();
    }

    fn entry(&self, memory: &Memory, index: u16, head: u32) {
        let at = self.place.used + 4 + 8 * u64::from(index % self.place.size);
        memory.write_obj(head, GuestAddress(at)).unwrap();
    }

    fn complete(&self, memory: &Memory, head: u32) {
        let index = self.used(memory);
        self.entry(memory, index, head);
        self.set_used(memory, index.wrapping_add(1));
    }
}

impl Device for Liar {
    fn run(&mut self, memory: &Memory, _: bool) {
        match self.deeds.next() {
            None | Some(Deed::Sleep) => {}
            Some(Deed::Answer) => {
                let available = GuestAddress(self.place.available + 2);
                if self.taken != memory.read_obj::<u16>(available).unwrap() {
                    let entry = 4 + 2 * u64::from(self.taken % self.place.size);
                    let entry = GuestAddress(self.place.available + entry);
                    self.taken = self.taken.wrapping_add(1);
                    self.complete(memory, memory.read_obj::<u16>(entry).unwrap().into());
                }
            }
            Some(Deed::Jump(by)) => self.set_used(memory, self.used(memory).wrapping_add(by)),
            Some(Deed::Entry(at, head)) => {
                self.entry(memory, self.used(memory).wrapping_add(at), head);
            }
            Some(Deed::Invent(head)) => self.complete(memory, head),
            Some(Deed::Scribble(at, word)) => {
                memory
                    .write_obj(word, GuestAddress(BASE + at as u64))
                    .unwrap();
            }
        }
    }
}

/// What the driver does.
#[derive(Clone, Debug)]
enum Step {
    Post,
    Publish,
    Collect,
    Call,
    /// The device has a turn of its own accord.
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Post),
        3 => Just(Step::Publish),
        3 => Just(Step::Collect),
        1 => Just(Step::Call),
        5 => Just(Step::Turn),
    ];
    prop::collection::vec(step, 1..200)
}

/// Which slots the device has, as the driver's user knows it.
#[derive(Default)]
struct Out {
    slots: BTreeSet<u16>,
    /// A slot came back that was not out.
    wrong: bool,
}

impl Out {
    fn back(&mut self, slot: u16) {
        self.wrong |= slot >= SLOTS || !self.slots.remove(&slot);
    }

    fn bits(&self) -> u32 {
        self.slots.iter().map(|slot| 1 << slot).sum()
    }
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn no_lie_is_believed(
        size in prop::sample::select(vec![4u16, 8, 64]),
        features in prop::sample::select(vec![Features::empty(), Features::EVENT_IDX]),
        deeds in deeds(),
        steps in steps(),
    ) {
        let guest = Guest::new(QUEUE_BYTES);
        let place = VirtQueue::addresses(&guest, size).unwrap();
        guest.plug(Liar::new(place, deeds));
        let mut queue = VirtQueue::new(guest.clone(), place.size, features);
        let mut out = Out::default();
        let mut failed: Option<QueueError> = None;
        for step in steps {
            let turns = guest.turns();
            let result = match step {
                Step::Post => queue
                    .add(&[0xaa; 56], 24, &mut |_, slot| out.back(slot))
                    .map(|slot| assert!(slot < place.size / 2 && out.slots.insert(slot))),
                Step::Publish => {
                    queue.kick();
                    continue;
                }
                Step::Collect => queue.poll_used(&mut |_, slot| out.back(slot)),
                Step::Call => {
                    let mut response = [0; 408];
                    let result =
                        queue.call(&[0xbb; 24], None, &mut response, &mut |_, slot| out.back(slot));
                    // On its way to an end it may have got its own slot into the ring.
                    if result.is_err() && out.slots.is_empty() && queue.in_flight() == 1 {
                        out.slots.insert(0);
                    }
                    result
                }
                Step::Turn => {
                    guest.run();
                    continue;
                }
            };
            prop_assert!(!out.wrong);
            prop_assert_eq!(queue.in_flight(), out.bits());
            match failed {
                // Nobody is waited for, or believed, again.
                Some(_) => prop_assert_eq!((result.err(), guest.turns()), (failed, turns)),
                None => failed = result.err(),
            }
        }
    }
}
