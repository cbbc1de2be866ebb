// SPDX-License-Identifier: GPL-2.0

//! A guest: memory that it shares with a device, and a notify register.

use std::{
    cell::{
        Cell,
        RefCell, //
    },
    panic::resume_unwind,
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

/// The device address of the memory, unequal to 0 so that offsets and addresses differ.
pub(crate) const BASE: u64 = 0x4000_0000;

/// The size in bytes of the guard areas before and after the shared memory, which nothing writes.
const GUARD: usize = 4096;
/// The content of the guard areas.
const GUARDED: u8 = 0xc3;

/// The number of runs of the device until the driver's wait times out.
pub(crate) const WAIT_RUNS: usize = 100;

/// A device that processes the queue.
pub(crate) trait Device {
    /// Runs the device; `kicked` says whether the notify register was written since the last run.
    fn run(&mut self, memory: &Memory, kicked: bool);
}

/// A device that does nothing.
pub(crate) struct SilentDevice;

impl Device for SilentDevice {
    fn run(&mut self, _: &Memory, _: bool) {}
}

struct State {
    memory: Memory,
    device: RefCell<Box<dyn Device>>,
    kicked: Cell<bool>,
    kicks: Cell<usize>,
    runs: Cell<usize>,
    /// The number of runs after which the device stops.
    runs_left: Cell<usize>,
    /// The number of accesses of the driver, to the memory and to the notify register, until it is
    /// interrupted.
    accesses_left: Cell<usize>,
    notify_register: RefCell<Option<Box<dyn Fn()>>>,
}

/// A [`Hal`] with memory of its own. Clones are the same guest.
#[derive(Clone)]
pub(crate) struct Guest(Rc<State>);

impl Guest {
    /// Returns a guest with `bytes` bytes of zeroed memory.
    pub(crate) fn new(bytes: usize) -> Self {
        Self::of(Memory::from_ranges(&[(GuestAddress(BASE), bytes)]).unwrap())
    }

    /// Returns the same guest with a guard area on each side of the memory, both in reach of the
    /// device: see [`Guest::are_guards_untouched`].
    pub(crate) fn with_guards(bytes: usize) -> Self {
        let guards = [before(), address(bytes)];
        let [first, last] = guards.map(|at| (at, GUARD));
        let memory = Memory::from_ranges(&[first, (address(0), bytes), last]).unwrap();
        for at in guards {
            memory.write_slice(&[GUARDED; GUARD], at).unwrap();
        }
        Self::of(memory)
    }

    /// Returns whether the guard areas of shared memory of that many bytes are unchanged.
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
            device: RefCell::new(Box::new(SilentDevice)),
            kicked: Cell::new(false),
            kicks: Cell::new(0),
            runs: Cell::new(0),
            runs_left: Cell::new(usize::MAX),
            accesses_left: Cell::new(usize::MAX),
            notify_register: RefCell::new(None),
        }))
    }

    /// Calls `notify` for each notification; the device then gets it through its registers only.
    pub(crate) fn set_notify_register(&self, notify: impl Fn() + 'static) {
        *self.0.notify_register.borrow_mut() = Some(Box::new(notify));
    }

    /// Replaces the device.
    pub(crate) fn plug(&self, device: impl Device + 'static) {
        *self.0.device.borrow_mut() = Box::new(device);
    }

    /// Returns the memory as the device sees it.
    pub(crate) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    /// Returns how often the driver has notified the device.
    pub(crate) fn kicks(&self) -> usize {
        self.0.kicks.get()
    }

    /// Returns how often the device was run.
    pub(crate) fn runs(&self) -> usize {
        self.0.runs.get()
    }

    /// Stops the device, or lets it go on.
    pub(crate) fn stop(&self, stops: bool) {
        self.stop_after(if stops { 0 } else { usize::MAX });
    }

    /// Stops the device after that many runs.
    pub(crate) fn stop_after(&self, runs: usize) {
        self.0.runs_left.set(runs);
    }

    /// Interrupts the driver for good at an access to the memory or to the notify register, after
    /// that many: it unwinds.
    pub(crate) fn interrupt_after(&self, accesses: usize) {
        self.0.accesses_left.set(accesses);
    }

    /// Counts an access of the driver.
    fn access(&self) {
        let left = self.0.accesses_left.get().checked_sub(1);
        self.0.accesses_left.set(left.unwrap_or(usize::MAX));
        if left.is_none() {
            // Unlike a panic, this prints nothing.
            resume_unwind(Box::new("interrupted"));
        }
    }

    /// Runs the device once.
    pub(crate) fn run(&self) {
        self.0.runs.set(self.0.runs.get() + 1);
        let Some(runs_left) = self.0.runs_left.get().checked_sub(1) else {
            return;
        };
        self.0.runs_left.set(runs_left);
        self.0
            .device
            .borrow_mut()
            .run(&self.0.memory, self.0.kicked.take());
    }

    /// Returns the memory from `at` on as the driver's own, in words.
    ///
    /// To be called once for a guest, as the words are the guest's only reference to that memory. A
    /// device reaches it by raw pointers.
    pub(crate) fn words(&self, at: usize, count: usize) -> &'static mut [u32] {
        let host = self.0.memory.get_host_address(address(at)).unwrap();
        self.0
            .memory
            .check_range(address(at), 4 * count)
            .then_some(())
            .unwrap();
        // The mapping outlives every test.
        std::mem::forget(self.clone());
        // SAFETY: `count` words from `host` on are in the mapping, which is never unmapped; they
        // are aligned if `at` is. The caller makes sure that there is no other reference.
        unsafe { std::slice::from_raw_parts_mut(host.cast(), count) }
    }

    fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.copy_out(at, &mut bytes);
        bytes
    }
}

/// Returns the address of the first guard area.
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
        self.access();
        self.0.memory.read_slice(into, address(at)).unwrap();
    }

    fn copy_in(&self, at: usize, from: &[u8]) {
        self.access();
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
        self.access();
        match &*self.0.notify_register.borrow() {
            Some(notify) => notify(),
            None => self.0.kicked.set(true),
        }
        self.0.kicks.set(self.0.kicks.get() + 1);
    }

    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool {
        (0..WAIT_RUNS).any(|_| {
            self.run();
            done()
        })
    }
}
