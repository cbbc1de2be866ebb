// SPDX-License-Identifier: GPL-2.0

//! Tests of the driver's side of a virtqueue against rust-vmm's device side.

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

/// Answers every command with its bytes reversed, and stores the command.
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

/// Adds `requests`, notifies the device after each one that says so, and checks all answers.
fn exchange(size: u16, features: Features, order: Order, requests: &[(Vec<u8>, bool)]) {
    let guest = guest();
    let (mut queue, mirror) = connect(&guest, size, features, order, Mirror::default());
    let mut added = HashMap::new();
    let mut answers = Vec::new();
    for (request, kick) in requests {
        let mut completed = Vec::new();
        let slot = queue
            .add(request, RESPONSE_BYTES, &mut |queue, slot| {
                let mut response = [0; RESPONSE_BYTES];
                queue.response(slot, &mut response);
                completed.push((slot, response));
            })
            .unwrap();
        answers.extend(
            completed
                .into_iter()
                .map(|(slot, response)| (added.remove(&slot).unwrap(), response)),
        );
        assert!(added.insert(slot, request).is_none(), "slot {slot} twice");
        if *kick {
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
                answers.push((added.remove(&slot).unwrap(), response));
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
fn a_call_sends_an_extra_part_and_returns_the_response() {
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
        queue.add(b"added", 8, &mut |_, _| ()).unwrap();
        let mut response = [0xff; 16];
        queue
            .call(b"called", Some(extra), &mut response, &mut |_, _| {
                posted_first += 1;
            })
            .unwrap();
        assert_eq!(posted_first, 1);
        assert_eq!(mirror.borrow().0, [&b"added"[..], b"calledextra"]);
        assert_eq!(&response, b"artxedellac\0\0\0\0\0");
    }
}

#[test]
fn a_full_queue_notifies_before_it_waits() {
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
fn a_burst_notifies_once_and_only_a_sleeping_device() {
    // With EVENT_IDX a device asks for a notification of the next buffer only before it sleeps.
    let guest = guest();
    let (mut queue, mirror) = connect(
        &guest,
        64,
        Features::EVENT_IDX,
        Order::First,
        Mirror::default(),
    );
    let add = |queue: &mut VirtQueue<Guest>| queue.add(&[0], 4, &mut |_, _| ()).unwrap();
    for _ in 0..3 {
        add(&mut queue);
    }
    queue.kick();
    queue.kick();
    assert_eq!(guest.kicks(), 1);
    // The device has not run yet: one notification is enough.
    add(&mut queue);
    queue.kick();
    assert_eq!(guest.kicks(), 1);
    guest.run();
    assert_eq!(mirror.borrow().0.len(), 4);
    add(&mut queue);
    queue.kick();
    assert_eq!(guest.kicks(), 2);
}

#[test]
fn no_notify_suppresses_notifications() {
    const FLAGS: usize = 0;
    let guest = guest();
    let addresses = VirtQueue::addresses(&guest, 64).unwrap();
    let used = usize::try_from(addresses.used - addresses.descriptors).unwrap();
    let mut queue = VirtQueue::new(guest.clone(), addresses.size, Features::empty());
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
fn a_device_without_answers_costs_one_wait() {
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
