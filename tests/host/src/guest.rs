// SPDX-License-Identifier: GPL-2.0

//! A guest: memory that a device sees as well, and a doorbell.

use std::{
    cell::{
        Cell,
        RefCell, //
    },
    rc::Rc,
    sync::atomic::{
        fence,
        Ordering, //
    },
};

use vm_memory::{
    Bytes,
    GuestAddress,
    GuestMemoryBackend,
    GuestMemoryMmap, //
};

use crate::virtio::Hal;

/// The guest's memory.
pub(crate) type Memory = GuestMemoryMmap<()>;

/// Where the memory begins for the device, so that offsets and addresses differ.
pub(crate) const BASE: u64 = 0x4000_0000;

/// Bytes of memory before and behind the shared one, where nobody has anything to write.
const GUARD: usize = 4096;
/// What is there.
const GUARDED: u8 = 0xc3;

/// How often a device gets to run before the driver gives up on it.
pub(crate) const PATIENCE: usize = 100;

/// What is at the other end of the doorbell.
pub(crate) trait Device {
    /// The device's turn; `kicked` says whether the doorbell rang since the last one.
    fn run(&mut self, memory: &Memory, kicked: bool);
}

/// A device that never does anything.
pub(crate) struct Nobody;

impl Device for Nobody {
    fn run(&mut self, _: &Memory, _: bool) {}
}

struct State {
    memory: Memory,
    device: RefCell<Box<dyn Device>>,
    kicked: Cell<bool>,
    kicks: Cell<usize>,
    turns: Cell<usize>,
    /// So many turns more, and the device stands still.
    left: Cell<usize>,
    doorbell: RefCell<Option<Box<dyn Fn()>>>,
}

/// A [`Hal`] on memory of its own. Clones are the same guest.
#[derive(Clone)]
pub(crate) struct Guest(Rc<State>);

impl Guest {
    /// A guest of `bytes` zeroes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self::of(Memory::from_ranges(&[(GuestAddress(BASE), bytes)]).unwrap())
    }

    /// The same between two guard areas, which the device can reach: see
    /// [`Guest::are_guards_untouched`].
    pub(crate) fn with_guards(bytes: usize) -> Self {
        let guards = [before(), address(bytes)];
        let [first, last] = guards.map(|at| (at, GUARD));
        let memory = Memory::from_ranges(&[first, (address(0), bytes), last]).unwrap();
        for at in guards {
            memory.write_slice(&[GUARDED; GUARD], at).unwrap();
        }
        Self::of(memory)
    }

    /// Whether nobody has written before or behind the shared memory of so many bytes.
    pub(crate) fn are_guards_untouched(&self, bytes: usize) -> bool {
        [before(), address(bytes)].into_iter().all(|at| {
            let mut guard = [0; GUARD];
            self.0.memory.read_slice(&mut guard, at).unwrap();
            guard == [GUARDED; GUARD]
        })
    }

    fn of(memory: Memory) -> Self {
        Self(Rc::new(State {
            memory,
            device: RefCell::new(Box::new(Nobody)),
            kicked: Cell::new(false),
            kicks: Cell::new(0),
            turns: Cell::new(0),
            left: Cell::new(usize::MAX),
            doorbell: RefCell::new(None),
        }))
    }

    /// Has the doorbell be a register of the device: `ring` writes it, and the device is not told
    /// of it otherwise.
    pub(crate) fn hang(&self, ring: impl Fn() + 'static) {
        *self.0.doorbell.borrow_mut() = Some(Box::new(ring));
    }

    /// Plugs a device in, in place of the one before.
    pub(crate) fn plug(&self, device: impl Device + 'static) {
        *self.0.device.borrow_mut() = Box::new(device);
    }

    /// The memory, as the device sees it.
    pub(crate) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// How often the doorbell rang.
    pub(crate) fn kicks(&self) -> usize {
        self.0.kicks.get()
    }

    /// How often the device had a turn.
    pub(crate) fn turns(&self) -> usize {
        self.0.turns.get()
    }

    /// Has the device stand still, or go on.
    pub(crate) fn stop(&self, stops: bool) {
        self.stop_after(if stops { 0 } else { usize::MAX });
    }

    /// Has the device stand still after so many turns.
    pub(crate) fn stop_after(&self, turns: usize) {
        self.0.left.set(turns);
    }

    /// Gives the device a turn.
    pub(crate) fn run(&self) {
        self.0.turns.set(self.0.turns.get() + 1);
        let Some(left) = self.0.left.get().checked_sub(1) else {
            return;
        };
        self.0.left.set(left);
        self.0
            .device
            .borrow_mut()
            .run(&self.0.memory, self.0.kicked.take());
    }

    /// The memory from `at` on as the driver's own, in words.
    ///
    /// For one caller in the life of a guest: the words are the guest's only reference to that
    /// memory. A device reaches it by raw pointers.
    pub(crate) fn words(&self, at: usize, count: usize) -> &'static mut [u32] {
        let host = self.0.memory.get_host_address(address(at)).unwrap();
        self.0
            .memory
            .check_range(address(at), 4 * count)
            .then_some(())
            .unwrap();
        // The mapping outlives every test.
        std::mem::forget(self.clone());
        // SAFETY: `count` words from `host` on are in the mapping, which is never undone; they are
        // aligned if `at` is. That there is no other reference is up to the caller.
        unsafe { std::slice::from_raw_parts_mut(host.cast(), count) }
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.copy_out(at, &mut bytes);
        bytes
    }
}

/// Where the first guard area begins.
fn before() -> GuestAddress {
    GuestAddress(BASE - GUARD as u64)
}

fn address(at: usize) -> GuestAddress {
    GuestAddress(BASE + at as u64)
}

impl Hal for Guest {
    fn device_address(&self, at: usize) -> u64 {
        address(at).0
    }

    fn load16(&self, at: usize) -> u16 {
        assert!(at % 2 == 0);
        u16::from_le_bytes(self.read(at))
    }

    fn load32(&self, at: usize) -> u32 {
        assert!(at % 4 == 0);
        u32::from_le_bytes(self.read(at))
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
        self.0.memory.read_slice(into, address(at)).unwrap();
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.0.memory.write_slice(from, address(at)).unwrap();
    }

    fn write_barrier(&self) {
        fence(Ordering::Release);
    }

    fn read_barrier(&self) {
        fence(Ordering::Acquire);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }

    fn notify(&self) {
        match &*self.0.doorbell.borrow() {
            Some(ring) => ring(),
            None => self.0.kicked.set(true),
        }
        self.0.kicks.set(self.0.kicks.get() + 1);
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        (0..PATIENCE).any(|_| {
            self.run();
            done()
        })
    }
}
