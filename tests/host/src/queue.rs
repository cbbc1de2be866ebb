// SPDX-License-Identifier: GPL-2.0

//! Our end of the ring against rust-vmm's.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::{
    backend::{
        connect,
        Backend,
        Order, //
    },
    cases,
    guest::{
        Guest,
        Memory, //
    },
    virtio::{
        queue::{
            BufferElement,
            QueueError,
            QUEUE_BYTES,
            REQUEST_BYTES,
            RESPONSE_BYTES,
            SLOTS, //
        },
        Features,
        Hal,
        VirtQueue, //
    }, //
};

/// Answers every command with its bytes backwards, and remembers it.
#[derive(Default)]
struct Mirror(Vec<Vec<u8>>);

impl Backend for Mirror {
    fn execute(&mut self, _: &Memory, request: &[u8]) -> Vec<u8> {
        self.0.push(request.to_vec());
        request.iter().rev().copied().collect()
    }
}

const EVENT_IDX: [Features; 2] = [Features::empty(), Features::EVENT_IDX];

fn guest() -> Guest {
    Guest::new(2 * QUEUE_BYTES)
}

/// Posts `requests`, publishing after each one that says so, and checks what comes of them.
fn exchange(size: u16, features: Features, order: Order, requests: &[(Vec<u8>, bool)]) {
    let guest = guest();
    let (mut queue, mirror) = connect(&guest, size, features, order, Mirror::default());
    let mut posted = HashMap::new();
    let mut answers = Vec::new();
    for (request, publish) in requests {
        let mut came_back = Vec::new();
        let slot = queue
            .add(request, RESPONSE_BYTES, &mut |queue, slot| {
                let mut response = [0; RESPONSE_BYTES];
                queue.response(slot, &mut response);
                came_back.push((slot, response));
            })
            .unwrap();
        answers.extend(
            came_back
                .into_iter()
                .map(|(slot, response)| (posted.remove(&slot).unwrap(), response)),
        );
        assert!(posted.insert(slot, request).is_none(), "slot {slot} twice");
        if *publish {
            queue.kick();
            guest.run();
        }
    }
    queue.kick();
    queue
        .wait(
            &mut |queue, slot| {
                let mut response = [0; RESPONSE_BYTES];
                queue.response(slot, &mut response);
                answers.push((posted.remove(&slot).unwrap(), response));
            },
            |queue| queue.in_flight() == 0,
        )
        .unwrap();

    let seen = &mirror.borrow().0;
    assert_eq!(seen.len(), requests.len());
    if let Order::First = order {
        assert!(seen.iter().eq(requests.iter().map(|(request, _)| request)));
    }
    assert_eq!(answers.len(), requests.len());
    for (request, response) in answers {
        let length = request.len().min(RESPONSE_BYTES);
        assert!(request
            .iter()
            .rev()
            .zip(response)
            .take(length)
            .all(|(a, b)| *a == b));
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn every_request_arrives_and_every_answer_returns(
        size in prop::sample::select(vec![4u16, 5, 8, 16, 63, 64, 256]),
        event_idx in prop::sample::select(EVENT_IDX.to_vec()),
        order in prop::sample::select(vec![Order::First, Order::Last]),
        requests in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..=REQUEST_BYTES), any::<bool>()),
            1..150,
        ),
    ) {
        exchange(size, event_idx, order, &requests);
    }
}

#[test]
fn indices_wrap() {
    for features in EVENT_IDX {
        let guest = guest();
        let (mut queue, mirror) = connect(&guest, 64, features, Order::Last, Mirror::default());
        let mut done = 0;
        for n in 0..70_000u32 {
            queue
                .add(&n.to_le_bytes(), 4, &mut |_, _| done += 1)
                .unwrap();
            if n % 7 == 0 {
                queue.kick();
            }
            if n % 50 == 0 {
                guest.run();
            }
        }
        queue.kick();
        queue
            .wait(&mut |_, _| done += 1, |queue| queue.in_flight() == 0)
            .unwrap();
        assert_eq!(done, 70_000);
        let mut seen: Vec<_> = mirror
            .borrow()
            .0
            .iter()
            .map(|request| u32::from_le_bytes(request[..].try_into().unwrap()))
            .collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..70_000));
    }
}

#[test]
fn a_call_carries_an_extra_part_and_returns_what_was_written() {
    for size in [4, 64] {
        let guest = guest();
        let (mut queue, mirror) = connect(
            &guest,
            size,
            Features::empty(),
            Order::First,
            Mirror::default(),
        );
        guest.copy_in(QUEUE_BYTES, b"extra");
        let extra = BufferElement {
            offset: QUEUE_BYTES,
            length: 5,
        };
        let mut posted_first = 0;
        queue.add(b"posted", 8, &mut |_, _| ()).unwrap();
        let mut response = [0xff; 16];
        queue
            .call(b"called", Some(extra), &mut response, &mut |_, _| {
                posted_first += 1;
            })
            .unwrap();
        assert_eq!(posted_first, 1);
        assert_eq!(mirror.borrow().0, [&b"posted"[..], b"calledextra"]);
        assert_eq!(&response, b"artxedellac\0\0\0\0\0");
    }
}

#[test]
fn a_full_ring_is_published_before_it_is_waited_for() {
    let guest = guest();
    let (mut queue, mirror) = connect(
        &guest,
        256,
        Features::EVENT_IDX,
        Order::First,
        Mirror::default(),
    );
    for n in 0..SLOTS {
        assert_eq!(queue.add(&[0], 4, &mut |_, _| ()), Ok(n));
    }
    assert_eq!(queue.in_flight(), u32::MAX);
    assert_eq!(guest.kicks(), 0);
    let mut completed = 0;
    queue.add(&[1], 4, &mut |_, _| completed += 1).unwrap();
    assert_eq!(completed, u32::from(SLOTS));
    assert_eq!(guest.kicks(), 1);
    assert_eq!(mirror.borrow().0.len(), usize::from(SLOTS));
}

#[test]
fn the_doorbell_rings_once_a_burst_and_not_for_a_device_that_is_awake() {
    // With EVENT_IDX a device asks to be told of the next buffer only when it falls asleep.
    let guest = guest();
    let (mut queue, mirror) = connect(
        &guest,
        64,
        Features::EVENT_IDX,
        Order::First,
        Mirror::default(),
    );
    let post = |queue: &mut VirtQueue<Guest>| queue.add(&[0], 4, &mut |_, _| ()).unwrap();
    for _ in 0..3 {
        post(&mut queue);
    }
    queue.kick();
    queue.kick();
    assert_eq!(guest.kicks(), 1);
    // It has not looked yet: one ring is enough.
    post(&mut queue);
    queue.kick();
    assert_eq!(guest.kicks(), 1);
    guest.run();
    assert_eq!(mirror.borrow().0.len(), 4);
    post(&mut queue);
    queue.kick();
    assert_eq!(guest.kicks(), 2);
}

#[test]
fn the_doorbell_heeds_no_notify() {
    const FLAGS: usize = 0;
    let guest = guest();
    let place = VirtQueue::addresses(&guest, 64).unwrap();
    let used = usize::try_from(place.used - place.descriptors).unwrap();
    let mut queue = VirtQueue::new(guest.clone(), place.size, Features::empty());
    guest.store16(used + FLAGS, 1);
    queue.add(&[0], 4, &mut |_, _| ()).unwrap();
    queue.kick();
    assert_eq!(guest.kicks(), 0);
    guest.store16(used + FLAGS, 0);
    queue.add(&[0], 4, &mut |_, _| ()).unwrap();
    queue.kick();
    assert_eq!(guest.kicks(), 1);
}

#[test]
fn nobody_answers() {
    let guest = guest();
    let mut queue = VirtQueue::new(guest.clone(), 8, Features::empty());
    for _ in 0..4 {
        queue.add(&[0], 4, &mut |_, _| ()).unwrap();
    }
    assert_eq!(queue.add(&[0], 4, &mut |_, _| ()), Err(QueueError::Stalled));
    let kicks = guest.kicks();
    queue.kick();
    assert_eq!(
        queue.call(&[0], None, &mut [0; 4], &mut |_, _| ()),
        Err(QueueError::Stalled)
    );
    assert_eq!(guest.kicks(), kicks);
}
