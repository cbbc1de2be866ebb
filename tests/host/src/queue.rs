// SPDX-License-Identifier: GPL-2.0

//! Our end of the ring against rust-vmm's.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::{
    cases,
    device::{
        connect,
        Backend,
        Order, //
    },
    guest::{
        Guest,
        Memory, //
    },
    virtio::{
        ring::{
            Part,
            RingError,
            REQUEST_BYTES,
            RESPONSE_BYTES,
            RING_BYTES,
            SLOTS, //
        },
        Features,
        Hal,
        Ring, //
    },
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
    Guest::new(2 * RING_BYTES)
}

/// Posts `requests`, publishing after each one that says so, and checks what comes of them.
fn exchange(size: u16, features: Features, order: Order, requests: &[(Vec<u8>, bool)]) {
    let guest = guest();
    let (mut ring, mirror) = connect(&guest, size, features, order, Mirror::default());
    let mut posted = HashMap::new();
    let mut answers = Vec::new();
    for (request, publish) in requests {
        let mut came_back = Vec::new();
        let slot = ring
            .post(request, RESPONSE_BYTES, &mut |ring, slot| {
                let mut response = [0; RESPONSE_BYTES];
                ring.response(slot, &mut response);
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
            ring.publish();
            guest.run();
        }
    }
    ring.publish();
    ring.wait(
        &mut |ring, slot| {
            let mut response = [0; RESPONSE_BYTES];
            ring.response(slot, &mut response);
            answers.push((posted.remove(&slot).unwrap(), response));
        },
        |ring| ring.in_flight() == 0,
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
        let (mut ring, mirror) = connect(&guest, 64, features, Order::Last, Mirror::default());
        let mut done = 0;
        for n in 0..70_000u32 {
            ring.post(&n.to_le_bytes(), 4, &mut |_, _| done += 1)
                .unwrap();
            if n % 7 == 0 {
                ring.publish();
            }
            if n % 50 == 0 {
                guest.run();
            }
        }
        ring.publish();
        ring.wait(&mut |_, _| done += 1, |ring| ring.in_flight() == 0)
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
        let (mut ring, mirror) = connect(
            &guest,
            size,
            Features::empty(),
            Order::First,
            Mirror::default(),
        );
        guest.copy_in(RING_BYTES, b"extra");
        let extra = Part {
            at: RING_BYTES,
            length: 5,
        };
        let mut posted_first = 0;
        ring.post(b"posted", 8, &mut |_, _| ()).unwrap();
        let mut response = [0xff; 16];
        ring.call(b"called", Some(extra), &mut response, &mut |_, _| {
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
    let (mut ring, mirror) = connect(
        &guest,
        256,
        Features::EVENT_IDX,
        Order::First,
        Mirror::default(),
    );
    for n in 0..SLOTS {
        assert_eq!(ring.post(&[0], 4, &mut |_, _| ()), Ok(n));
    }
    assert_eq!(ring.in_flight(), u32::MAX);
    assert_eq!(guest.kicks(), 0);
    let mut completed = 0;
    ring.post(&[1], 4, &mut |_, _| completed += 1).unwrap();
    assert_eq!(completed, u32::from(SLOTS));
    assert_eq!(guest.kicks(), 1);
    assert_eq!(mirror.borrow().0.len(), usize::from(SLOTS));
}

#[test]
fn the_doorbell_rings_once_a_burst_and_not_for_a_device_that_is_awake() {
    // With EVENT_IDX a device asks to be told of the next buffer only when it falls asleep.
    let guest = guest();
    let (mut ring, mirror) = connect(
        &guest,
        64,
        Features::EVENT_IDX,
        Order::First,
        Mirror::default(),
    );
    let post = |ring: &mut Ring<Guest>| ring.post(&[0], 4, &mut |_, _| ()).unwrap();
    for _ in 0..3 {
        post(&mut ring);
    }
    ring.publish();
    ring.publish();
    assert_eq!(guest.kicks(), 1);
    // It has not looked yet: one ring is enough.
    post(&mut ring);
    ring.publish();
    assert_eq!(guest.kicks(), 1);
    guest.run();
    assert_eq!(mirror.borrow().0.len(), 4);
    post(&mut ring);
    ring.publish();
    assert_eq!(guest.kicks(), 2);
}

#[test]
fn the_doorbell_heeds_no_notify() {
    const FLAGS: usize = 0;
    let guest = guest();
    let place = Ring::place(&guest, 64).unwrap();
    let used = usize::try_from(place.used - place.descriptors).unwrap();
    let mut ring = Ring::new(guest.clone(), place.size, Features::empty());
    guest.store16(used + FLAGS, 1);
    ring.post(&[0], 4, &mut |_, _| ()).unwrap();
    ring.publish();
    assert_eq!(guest.kicks(), 0);
    guest.store16(used + FLAGS, 0);
    ring.post(&[0], 4, &mut |_, _| ()).unwrap();
    ring.publish();
    assert_eq!(guest.kicks(), 1);
}

#[test]
fn nobody_answers() {
    let guest = guest();
    let mut ring = Ring::new(guest.clone(), 8, Features::empty());
    for _ in 0..4 {
        ring.post(&[0], 4, &mut |_, _| ()).unwrap();
    }
    assert_eq!(ring.post(&[0], 4, &mut |_, _| ()), Err(RingError::Stalled));
    let kicks = guest.kicks();
    ring.publish();
    assert_eq!(
        ring.call(&[0], None, &mut [0; 4], &mut |_, _| ()),
        Err(RingError::Stalled)
    );
    assert_eq!(guest.kicks(), kicks);
}
