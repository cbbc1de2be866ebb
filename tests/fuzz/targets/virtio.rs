// SPDX-License-Identifier: GPL-2.0

//! The virtqueue and the registers of a device with arbitrary behaviour.
//!
//! An input is a byte that selects one of these:
//! * the queue: its size and features, then the operations of driver and device in turn;
//! * the registers, of PCI or MMIO: the value of each read, one after the other.

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
        kind if kind & 1 == 0 => queue(kind, bytes),
        kind => registers(kind, bytes),
    }
}

/// The slots that the device has, as known from the completions.
#[derive(Default)]
struct InFlight(BTreeSet<u16>);

impl InFlight {
    fn complete(&mut self, slot: u16) {
        assert!(
            slot < SLOTS && self.0.remove(&slot),
            "slot {slot} came back"
        );
    }

    fn bits(&self) -> u32 {
        self.0.iter().map(|slot| 1 << slot).sum()
    }
}

fn queue(kind: u8, mut bytes: Bytes<'_>) -> bool {
    let size = bytes.u16();
    let features = match kind & 2 {
        0 => Features::empty(),
        _ => Features::EVENT_IDX,
    };
    let count = usize::from(bytes.u8());
    let steps = bytes.take(count);
    let shared = Shared::new(bytes, QUEUE_BYTES, features);
    let Some(addresses) = VirtQueue::addresses(&shared, size) else {
        assert!(size < 4);
        return false;
    };
    assert!(addresses.size.is_power_of_two() && (4..=2 * SLOTS).contains(&addresses.size));
    shared.plug(&addresses);
    let mut queue = VirtQueue::new(shared.clone(), addresses.size, features);
    let mut in_flight = InFlight::default();
    let mut failed: Option<QueueError> = None;
    let mut calls = 0;
    for step in steps {
        let runs = shared.runs();
        let mut recovers = false;
        let result = match step % 16 {
            0..=5 => queue
                .add(&[0xaa; 56], 24, &mut |_, slot| in_flight.complete(slot))
                .map(|slot| {
                    assert!(slot < addresses.size / 2 && in_flight.0.insert(slot));
                    let mut response = [0; 32];
                    queue.response(slot, &mut response);
                }),
            6 | 7 => {
                queue.kick();
                continue;
            }
            8 | 9 => queue.poll_used(&mut |_, slot| in_flight.complete(slot)),
            10 | 11 => {
                let mut response = [0; 408];
                let result = queue.call(&[0xbb; 24], None, &mut response, &mut |_, slot| {
                    in_flight.complete(slot)
                });
                calls += usize::from(result.is_ok());
                // A call that failed may have added its own slot to the queue.
                if result.is_err() && in_flight.0.is_empty() && queue.in_flight() == 1 {
                    in_flight.0.insert(0);
                }
                result
            }
            12 => {
                recovers = queue.recover(&mut |_, slot| in_flight.complete(slot));
                Ok(())
            }
            _ => {
                shared.run();
                continue;
            }
        };
        assert_eq!(queue.in_flight(), in_flight.bits());
        assert!(shared.runs() - runs <= 2 * Shared::WAIT_RUNS, "without end");
        if step % 16 == 12 {
            assert!(!recovers || failed == Some(QueueError::Stalled) && in_flight.0.is_empty());
            if recovers {
                failed = None;
            } else if failed == Some(QueueError::Stalled) {
                // A used index that is not valid fails again.
                failed = queue
                    .poll_used(&mut |_, slot| in_flight.complete(slot))
                    .err();
            }
            continue;
        }
        match failed {
            // After an error the driver neither waits nor accepts an entry.
            Some(_) => assert_eq!((result.err(), shared.runs()), (failed, runs)),
            None => failed = result.err(),
        }
    }
    calls > 0 && failed.is_none()
}

/// Registers whose reads return the next bytes of the input. Clones are the same device.
#[derive(Clone)]
struct ScriptedRegisters<'a> {
    answers: Rc<RefCell<Bytes<'a>>>,
    window: usize,
    accesses: Rc<Cell<usize>>,
    /// The last value written to the status, whose register is at this offset.
    status: Rc<Cell<Option<u8>>>,
    status_at: usize,
}

impl ScriptedRegisters<'_> {
    fn check(&self, offset: usize, width: usize) {
        assert!(offset % width == 0, "{offset:#x} is not aligned");
        assert!(
            offset + width <= self.window,
            "{offset:#x} is beyond the window"
        );
        self.accesses.set(self.accesses.get() + 1);
    }

    fn record(&self, offset: usize, value: u8) {
        if offset == self.status_at {
            self.status.set(Some(value));
        }
    }
}

impl Registers for ScriptedRegisters<'_> {
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
        self.record(offset, value);
    }

    fn write16(&self, offset: usize, _: u16) {
        self.check(offset, 2);
    }

    fn write32(&self, offset: usize, value: u32) {
        self.check(offset, 4);
        self.record(offset, value as u8);
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
    let registers = ScriptedRegisters {
        answers: Rc::new(RefCell::new(bytes)),
        window: REGISTER_AND_CONFIG_BYTES,
        accesses: Rc::default(),
        status: Rc::default(),
        status_at: 0x70,
    };
    if kind & 2 != 0 {
        return match Mmio::new(registers.clone()) {
            Ok(mut mmio) => drive(
                &mut mmio,
                requested,
                &registers,
                REGISTER_AND_CONFIG_BYTES as u32,
            ),
            Err(why) => {
                is_a_line(why);
                false
            }
        };
    }
    let region = |length| BarRegion {
        bar: 0,
        offset: 0,
        length,
    };
    let capabilities = Capabilities {
        common: region(56 + u32::from(length % 8)),
        notify: region(notify_length),
        notify_off_multiplier: multiplier,
        device: Some(region(CONFIG_BYTES as u32)),
    };
    let common = ScriptedRegisters {
        window: capabilities.window().length as usize,
        status_at: 20,
        ..registers.clone()
    };
    let config = ScriptedRegisters {
        window: CONFIG_BYTES,
        status_at: usize::MAX,
        ..registers.clone()
    };
    let mut pci = Pci::new(common, &capabilities).with_config(Some(config));
    drive(&mut pci, requested, &registers, notify_length)
}

/// Initialises a device, and stops it. Returns whether the initialisation succeeded.
fn drive(
    transport: &mut impl Transport,
    requested: Requested,
    device: &ScriptedRegisters<'_>,
    notify_length: u32,
) -> bool {
    let shared = Shared::new(Bytes(&[]), QUEUE_BYTES, Features::empty());
    let addresses = |size| VirtQueue::addresses(&shared, size);
    let result = initialise(transport, &shared, requested, addresses);
    let status = device.status.get().map(DeviceStatus::from_bits_retain);
    match result {
        Ok(negotiated) => {
            let size = negotiated.queue.size;
            assert!(size.is_power_of_two() && (4..=2 * SLOTS).contains(&size));
            assert!(negotiated.features.contains(Features::VERSION_1));
            let end = negotiated.queue_notify.offset as u64 + 2;
            assert!(
                end <= notify_length.into(),
                "the notify register is outside of its structure"
            );
            assert!(status.is_some_and(|status| status.contains(DeviceStatus::DRIVER_OK)));
        }
        Err(why) => {
            is_a_line(why);
            match (why, status) {
                (SetupError::Reset, status) => assert_eq!(status, Some(DeviceStatus::empty())),
                // The device may be unchanged.
                (SetupError::AccessPlatform, None) => assert!(requested.adopts),
                (_, status) => assert!(status.is_some_and(|it| it.contains(DeviceStatus::FAILED))),
            }
        }
    }
    displays_changed(transport);
    if let Err(why) = quiesce(transport, &shared) {
        assert_eq!(why, SetupError::Reset);
    }
    // The driver waits for a reset, and for each of 64 queues.
    let most = 2 * 66 * (4 * Shared::WAIT_RUNS + 8);
    assert!(device.accesses.get() <= most, "without end");
    result.is_ok()
}

/// The values of a device's registers of 8, 16 and 32 bits.
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
        // PCI: idle, offered features, FEATURES_OK, the offered features again, size, notify
        // offset.
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
