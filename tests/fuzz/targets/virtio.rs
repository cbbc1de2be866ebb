// SPDX-License-Identifier: GPL-2.0

//! The split ring and the registers of a device that answers what it likes.
//!
//! An input is a byte that picks one of these:
//! * the ring: its size and features, then what the driver and the device do by turns;
//! * the registers, of PCI or MMIO: what each of them reads as, one after the other.

use super::{
    bytes::{
        is_a_line,
        Bytes, //
    },
    device::Shared, //
};
use crate::{
    gpu::config::displays_changed,
    virtio::{
        mmio::{
            Mmio,
            REGISTER_AND_CONFIG_BYTES, //
        },
        pci::{
            BarRegion,
            Capabilities,
            Pci, //
        },
        queue::{
            QueueError,
            QUEUE_BYTES,
            SLOTS, //
        },
        setup::{
            initialise,
            quiesce,
            Addresses,
            Requested,
            SetupError, //
        },
        DeviceStatus,
        Features,
        Registers,
        Transport,
        VirtQueue,
        CONFIG_BYTES, //
    }, //
};
use std::{
    cell::{
        Cell,
        RefCell, //
    },
    collections::BTreeSet,
    rc::Rc, //
};

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    match bytes.u8() {
        kind if kind & 1 == 0 => ring(kind, bytes),
        kind => registers(kind, bytes),
    }
}

/// Which slots the device has, as the driver's user knows it.
#[derive(Default)]
struct Out(BTreeSet<u16>);

impl Out {
    fn back(&mut self, slot: u16) {
        assert!(
            slot < SLOTS && self.0.remove(&slot),
            "slot {slot} came back"
        );
    }

    fn bits(&self) -> u32 {
        self.0.iter().map(|slot| 1 << slot).sum()
    }
}

fn ring(kind: u8, mut bytes: Bytes<'_>) -> bool {
    let size = bytes.u16();
    let features = match kind & 2 {
        0 => Features::empty(),
        _ => Features::EVENT_IDX,
    };
    let count = usize::from(bytes.u8());
    let steps = bytes.take(count);
    let shared = Shared::new(bytes, QUEUE_BYTES, features);
    let Some(place) = VirtQueue::addresses(&shared, size) else {
        assert!(size < 4);
        return false;
    };
    assert!(place.size.is_power_of_two() && (4..=2 * SLOTS).contains(&place.size));
    shared.plug(&place);
    let mut queue = VirtQueue::new(shared.clone(), place.size, features);
    let mut out = Out::default();
    let mut failed: Option<QueueError> = None;
    let mut calls = 0;
    for step in steps {
        let turns = shared.turns();
        let mut recovers = false;
        let result = match step % 16 {
            0..=5 => queue
                .add(&[0xaa; 56], 24, &mut |_, slot| out.back(slot))
                .map(|slot| {
                    assert!(slot < place.size / 2 && out.0.insert(slot));
                    let mut response = [0; 32];
                    queue.response(slot, &mut response);
                }),
            6 | 7 => {
                queue.kick();
                continue;
            }
            8 | 9 => queue.poll_used(&mut |_, slot| out.back(slot)),
            10 | 11 => {
                let mut response = [0; 408];
                let result = queue.call(&[0xbb; 24], None, &mut response, &mut |_, slot| {
                    out.back(slot)
                });
                calls += usize::from(result.is_ok());
                // On its way to an end it may have got its own slot into the ring.
                if result.is_err() && out.0.is_empty() && queue.in_flight() == 1 {
                    out.0.insert(0);
                }
                result
            }
            12 => {
                recovers = queue.recover(&mut |_, slot| out.back(slot));
                Ok(())
            }
            _ => {
                shared.run();
                continue;
            }
        };
        assert_eq!(queue.in_flight(), out.bits());
        assert!(
            shared.turns() - turns <= 2 * Shared::PATIENCE,
            "without end"
        );
        if step % 16 == 12 {
            assert!(!recovers || failed == Some(QueueError::Stalled) && out.0.is_empty());
            if recovers {
                failed = None;
            } else if failed == Some(QueueError::Stalled) {
                // What was done could not be true.
                failed = queue.poll_used(&mut |_, slot| out.back(slot)).err();
            }
            continue;
        }
        match failed {
            // Nobody is waited for, or believed, again.
            Some(_) => assert_eq!((result.err(), shared.turns()), (failed, turns)),
            None => failed = result.err(),
        }
    }
    calls > 0 && failed.is_none()
}

/// Registers that read as what comes next in the input. Clones are the same device.
#[derive(Clone)]
struct Fickle<'a> {
    answers: Rc<RefCell<Bytes<'a>>>,
    window: usize,
    accesses: Rc<Cell<usize>>,
    /// What was written to the status last, whose register is at this offset.
    status: Rc<Cell<Option<u8>>>,
    status_at: usize,
}

impl Fickle<'_> {
    fn check(&self, offset: usize, width: usize) {
        assert!(offset % width == 0, "{offset:#x} is not aligned");
        assert!(
            offset + width <= self.window,
            "{offset:#x} is beyond the window"
        );
        self.accesses.set(self.accesses.get() + 1);
    }

    fn note(&self, offset: usize, value: u8) {
        if offset == self.status_at {
            self.status.set(Some(value));
        }
    }
}

impl Registers for Fickle<'_> {
    fn read8(&self, offset: usize) -> u8 {
        self.check(offset, 1);
        self.answers.borrow_mut().u8()
    }

    fn read16(&self, offset: usize) -> u16 {
        self.check(offset, 2);
        self.answers.borrow_mut().u16()
    }

    fn read32(&self, offset: usize) -> u32 {
        self.check(offset, 4);
        self.answers.borrow_mut().u32()
    }

    fn write8(&self, offset: usize, value: u8) {
        self.check(offset, 1);
        self.note(offset, value);
    }

    fn write16(&self, offset: usize, _: u16) {
        self.check(offset, 2);
    }

    fn write32(&self, offset: usize, value: u32) {
        self.check(offset, 4);
        self.note(offset, value as u8);
    }
}

fn registers(kind: u8, mut bytes: Bytes<'_>) -> bool {
    let requested = Requested {
        features: Features::EVENT_IDX,
        addresses: match kind >> 2 & 3 {
            0 => Addresses::Physical,
            1 => Addresses::Platform,
            _ => Addresses::Iommu,
        },
        adopts: kind & 0x10 != 0,
    };
    let (length, multiplier, notify_length) = (bytes.u8(), bytes.u32(), bytes.u32());
    let fickle = Fickle {
        answers: Rc::new(RefCell::new(bytes)),
        window: REGISTER_AND_CONFIG_BYTES,
        accesses: Rc::default(),
        status: Rc::default(),
        status_at: 0x70,
    };
    if kind & 2 != 0 {
        return match Mmio::new(fickle.clone()) {
            Ok(mut mmio) => drive(
                &mut mmio,
                requested,
                &fickle,
                REGISTER_AND_CONFIG_BYTES as u32,
            ),
            Err(why) => {
                is_a_line(why);
                false
            }
        };
    }
    let place = |length| BarRegion {
        bar: 0,
        offset: 0,
        length,
    };
    let capabilities = Capabilities {
        common: place(56 + u32::from(length % 8)),
        notify: place(notify_length),
        notify_off_multiplier: multiplier,
        device: Some(place(CONFIG_BYTES as u32)),
    };
    let common = Fickle {
        window: capabilities.window().length as usize,
        status_at: 20,
        ..fickle.clone()
    };
    let config = Fickle {
        window: CONFIG_BYTES,
        status_at: usize::MAX,
        ..fickle.clone()
    };
    let mut pci = Pci::new(common, &capabilities).with_config(Some(config));
    drive(&mut pci, requested, &fickle, notify_length)
}

/// Sets a device up, and lets it go again. Returns whether it could be set up.
fn drive(
    transport: &mut impl Transport,
    requested: Requested,
    device: &Fickle<'_>,
    notify_length: u32,
) -> bool {
    let shared = Shared::new(Bytes(&[]), QUEUE_BYTES, Features::empty());
    let place = |size| VirtQueue::addresses(&shared, size);
    let result = initialise(transport, &shared, requested, place);
    let status = device.status.get().map(DeviceStatus::from_bits_retain);
    match result {
        Ok(negotiated) => {
            let size = negotiated.queue.size;
            assert!(size.is_power_of_two() && (4..=2 * SLOTS).contains(&size));
            assert!(negotiated.features.contains(Features::VERSION_1));
            let end = negotiated.queue_notify.offset as u64 + 2;
            assert!(
                end <= notify_length.into(),
                "the doorbell is out of its registers"
            );
            assert!(status.is_some_and(|status| status.contains(DeviceStatus::DRIVER_OK)));
        }
        Err(why) => {
            is_a_line(why);
            match (why, status) {
                (SetupError::Reset, status) => assert_eq!(status, Some(DeviceStatus::empty())),
                // It may have been left as it was.
                (SetupError::AccessPlatform, None) => assert!(requested.adopts),
                (_, status) => assert!(status.is_some_and(|it| it.contains(DeviceStatus::FAILED))),
            }
        }
    }
    displays_changed(transport);
    if let Err(why) = quiesce(transport, &shared) {
        assert_eq!(why, SetupError::Reset);
    }
    // A reset, and each of 64 queues, is waited for.
    let most = 2 * 66 * (4 * Shared::PATIENCE + 8);
    assert!(device.accesses.get() <= most, "without end");
    result.is_ok()
}

/// What a device answers: registers of 8, 16 and 32 bits.
enum Answer {
    Byte(u8),
    Half(u16),
    Word(u32),
}

fn answers(answers: &[Answer]) -> Vec<u8> {
    let bytes = answers.iter().map(|answer| match answer {
        Answer::Byte(value) => value.to_le_bytes().to_vec(),
        Answer::Half(value) => value.to_le_bytes().to_vec(),
        Answer::Word(value) => value.to_le_bytes().to_vec(),
    });
    bytes.flatten().collect()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    use Answer::{Byte, Half, Word};

    let ring = |kind: u8, size: u16, steps: &[u8], deeds: &[u8]| {
        let head = [&[kind][..], &size.to_le_bytes(), &[steps.len() as u8]];
        [&head.concat()[..], steps, deeds].concat()
    };
    let registers = |kind: u8, values: &[Answer]| {
        let head = [&[kind, 4][..], &4u32.to_le_bytes(), &4096u32.to_le_bytes()];
        [head.concat(), answers(values)].concat()
    };
    // EVENT_IDX and VERSION_1; RING_RESET as well.
    let (low, high, resets) = (1 << 29, 1, 1 | 1 << 8);
    vec![
        ring(0, 64, &[0, 0, 0, 6, 13, 8, 10, 0, 10], &[]),
        ring(
            2,
            8,
            &[0, 0, 0, 0, 0, 0, 10, 10],
            &[0, 0, 8, 3, 0, 14, 5, 18, 0, 0, 0],
        ),
        // Waits in vain, and goes on.
        ring(0, 4, &[0, 0, 10, 12, 13, 13, 12, 10], &[8, 99, 0, 0, 0]),
        // PCI: idle, offered features, FEATURES_OK, what is offered once more, size, doorbell.
        registers(
            1,
            &[Byte(0), Byte(0), Byte(0), Word(low), Word(high), Byte(8)]
                .into_iter()
                .chain([Word(low), Word(high)])
                .chain([Half(64), Half(1), Byte(11), Word(1), Byte(0)])
                .collect::<Vec<_>>(),
        ),
        // A device that runs, and is adopted, with one queue.
        registers(
            0x11,
            &[
                Byte(15),
                Byte(15),
                Word(low),
                Word(resets),
                Word(low),
                Word(resets),
            ]
            .into_iter()
            .chain([Half(1), Half(1), Half(0), Half(0), Word(low), Word(resets)])
            .chain([Half(64), Half(0), Byte(11)])
            .collect::<Vec<_>>(),
        ),
        // MMIO: magic, ID, version, and the same.
        registers(
            3,
            &[
                Word(0x7472_6976),
                Word(16),
                Word(2),
                Word(0),
                Word(0),
                Word(0),
            ]
            .into_iter()
            .chain([Word(low), Word(high)])
            .chain([Word(8), Word(low), Word(high), Word(64), Word(11)])
            .collect::<Vec<_>>(),
        ),
    ]
}
