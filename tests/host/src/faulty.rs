// SPDX-License-Identifier: GPL-2.0

//! A complete virtio-gpu device with faults: configuration space, the registers of PCI or MMIO, the
//! control queue, and the 2D commands.
//!
//! Without a [`Fault`] it does all that VIRTIO 1.3 requires of a 2D device, so that a correct
//! driver passes. The registers are the model that the KUnit tests use as well
//! (`tests/kunit/device.rs`). [`Host`] executes the commands.

use std::{
    cell::{
        Cell,
        RefCell, //
    },
    io::Read,
    rc::Rc, //
};

use virtio_queue::{
    Queue,
    QueueT, //
};
use vm_memory::{
    Bytes,
    GuestAddress, //
};

use crate::{
    backend::{
        queue_at,
        Backend, //
    },
    guest::{
        Device,
        Memory,
        BASE,
        WAIT_RUNS, //
    },
    host::Host,
    kunit::device::{
        Disconnection,
        MmioRegisters,
        Model,
        PciRegisters, //
    },
    pci::{
        Address,
        Config, //
    },
    qemu::Qemu,
    virtio::{
        queue::QUEUE_BYTES,
        Features,
        QueueAddresses,
        QueueNotify,
        Registers,
        Width, //
    },
    wire::{
        Request,
        ERR_OUT_OF_MEMORY,
        ERR_UNSPEC,
        OK_DISPLAY_INFO, //
    }, //
};

/// The address of the virtio-mmio registers.
pub(crate) const SLOT: u64 = 0x0a00_0000;
/// The PCI function: bus, device, function.
pub(crate) const FUNCTION: (u8, u8, u8) = (0, 1, 0);

// BAR 4 has all registers (64 bits, prefetchable), and BAR 1 the MSI-X table, as in QEMU.
const REGISTERS: u32 = 0x1000_0000;
const REGISTER_BYTES: u32 = 0x4000;
const TABLE: u32 = 0x1001_0000;
const TABLE_BYTES: u32 = 0x1000;

// The offsets of the structures in BAR 4 (VIRTIO 1.3, section 4.1.4).
const COMMON: u32 = 0;
const ISR: u32 = 0x1000;
const DEVICE: u32 = 0x2000;
const NOTIFY: u32 = 0x3000;
const STRUCTURE_BYTES: u32 = 0x1000;

// The offsets of their capabilities in configuration space.
const CAP_COMMON: usize = 0x40;
const CAP_NOTIFY: usize = 0x50;
const CAP_DEVICE: usize = 0x64;
const CAP_ISR: usize = 0x74;

/// `notify_off_multiplier`, and `queue_notify_off` of queue 0.
const MULTIPLIER: u32 = 4;
const NOTIFY_OFF: u16 = 3;

/// The maximum size of the control queue.
const QUEUE_SIZE: u16 = 64;

const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;
const RING_RESET: u64 = 1 << 40;

// The device status (section 2.1).
const DRIVER_OK: u8 = 4;
const NEEDS_RESET: u8 = 64;

/// The number of runs after which a late answer is still in time, and after which it is too late.
const RUNS_IN_TIME: usize = WAIT_RUNS / 2;
const RUNS_TOO_LATE: usize = WAIT_RUNS + WAIT_RUNS / 2;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault of the device.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All faults.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    // Faults of the used ring, when the command of a number is answered.
    /// Returns the ID of another chain than the one that it answers.
    UsedIdOfAnother,
    /// Returns a descriptor that is not the first of its chain.
    UsedIdOdd,
    /// Returns an index beyond the descriptor table.
    UsedIdPastQueue,
    /// Returns an ID of which only the low 16 bits are correct.
    UsedIdTooLarge,
    /// Returns a length of 0.
    UsedLengthZero,
    /// Returns a length of 4 GiB.
    UsedLengthHuge,
    /// Returns a chain twice.
    UsedIdTwice,
    /// Moves the used index far ahead.
    UsedIndexAhead,
    /// Moves the used index back.
    UsedIndexBack,

    // Faults of the answers.
    /// Rejects the command with ERR_UNSPEC.
    ErrorUnspecified,
    /// Rejects the command with ERR_OUT_OF_MEMORY.
    ErrorOutOfMemory,
    /// Answers with an undefined response type.
    ResponseUnknown,
    /// Answers late, but in time.
    ResponseLate,
    /// Answers after the driver's timeout.
    ResponseTooLate,
    /// Answers commands in another order, from this one on.
    ResponsesOutOfOrder,
    /// Does not answer this command.
    ResponseNever,
    /// Answers no command from this one on.
    Silent,

    // Faults of the displays: the answer of a number to GET_DISPLAY_INFO.
    /// All scanouts have size 0.
    DisplayOfZero,
    /// No scanout is enabled.
    DisplayDisabled,
    /// The only scanout has 65536x65536 pixels.
    DisplayOf4GPixels,
    /// The first scanout has the maximum width and height; the other is correct.
    DisplayOfAllOnes,
    /// There are 17 scanouts, in the answer and in the device's configuration.
    Displays17,

    // Faults of the registers.
    /// The configuration's generation changes at each read, and so does the configuration.
    GenerationNeverSettles,
    /// The device offers other features from one read of them on.
    FeaturesChange,
    /// The device clears FEATURES_OK.
    FeaturesRefused,
    /// A reset never finishes.
    ResetNever,
    /// A reset sets FAILED and does nothing else.
    ResetFails,
    /// The device clears DRIVER_OK and stops to process the queue.
    DriverOkDropped,
    /// The device sets DEVICE_NEEDS_RESET and stops to process the queue.
    NeedsReset,
    /// The control queue has size 0.
    QueueOf0,
    /// The control queue has size 1.
    QueueOf1,
    /// The control queue has size 3: too small, and not a power of two.
    QueueOf3,
    /// The control queue has size 48: not a power of two.
    QueueOf48,
    /// The control queue has size 65535.
    QueueOf65535,
    /// The notify register of the queue is outside of the notification structure.
    NotifyOutside,

    // Faults of PCI configuration space; the number says which structure has it.
    /// There is no list of capabilities.
    CapabilitiesNone,
    /// The list of capabilities is a cycle.
    CapabilitiesLoop,
    /// Structures overlap.
    CapabilitiesOverlap,
    /// A structure lies beyond the end of its BAR.
    CapabilityPastBar,
    /// The end of a structure is beyond 4 GiB.
    CapabilityWraps,
    /// The BAR has size 0: it reads as 0 after a write.
    BarOfSize0,
    /// The BAR is read-only, so that it seems larger than it is.
    BarFixed,
    /// The BAR has no address.
    BarWithoutAddress,

    // Faults of the shared memory: the device overwrites it after the command of a number.
    /// The descriptor table.
    DescriptorsOverwritten,
    /// The available ring.
    AvailableOverwritten,
    /// The used ring.
    UsedOverwritten,
    /// The commands and their answers.
    CommandsOverwritten,
    /// All memory after the queue: the pixels, and text that is stored there.
    PixelsOverwritten,
    /// All shared memory.
    MemoryOverwritten,

    // Faults of the whole device.
    /// The device is disconnected after that many accesses to its registers.
    Disconnected,
}

/// A fault and its number: the command, the answer, the read, the structure or the access that has
/// it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    pub(crate) at: usize,
}

/// The transport of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pci,
    Mmio,
}

/// A device's configuration space, registers and planned faults.
pub(crate) struct Bus {
    pub(crate) kind: Kind,
    /// The state of the registers.
    pub(crate) model: RefCell<Model>,
    /// Counts all accesses to registers; the device may be disconnected after some.
    disconnection: RefCell<Disconnection>,
    disconnected_after: Cell<u32>,
    space: RefCell<[u32; 64]>,
    /// The writable bits of the BARs.
    writable: Cell<[u32; 6]>,
    plan: RefCell<Vec<Planned>>,
    /// Whether the driver has written the notify register.
    rung: Cell<bool>,
    /// The numbers of commands received, of answers to GET_DISPLAY_INFO, and of reads of features
    /// and configuration.
    commands: Cell<usize>,
    infos: Cell<usize>,
    feature_reads: Cell<usize>,
    config_reads: Cell<u32>,
    /// Whether the device has overwritten memory, so that the queue is no longer as the driver
    /// wrote it.
    overwrote: Cell<bool>,
    /// The number of accesses to addresses without registers.
    pub(crate) invalid_accesses: Cell<u32>,
}

impl Bus {
    /// Returns a device without faults. It pans if the features let the driver probe for that.
    pub(crate) fn new(kind: Kind, indirect: bool) -> Self {
        let indirect = if indirect { INDIRECT_DESC } else { 0 };
        let model = Model {
            offered: VERSION_1 | EVENT_IDX | RING_RESET | indirect,
            queues: 2,
            reset_takes: 2,
            queue_reset_takes: 2,
            ..Model::default()
        };
        let bus = Self {
            kind,
            model: RefCell::new(model),
            disconnection: RefCell::new(Disconnection::after(u32::MAX)),
            disconnected_after: Cell::new(u32::MAX),
            space: RefCell::new([0; 64]),
            writable: Cell::default(),
            plan: RefCell::default(),
            rung: Cell::default(),
            commands: Cell::default(),
            infos: Cell::default(),
            feature_reads: Cell::default(),
            config_reads: Cell::default(),
            overwrote: Cell::default(),
            invalid_accesses: Cell::default(),
        };
        bus.plan(&[]);
        bus
    }

    /// Replaces the planned faults; what runs goes on.
    pub(crate) fn plan(&self, plan: &[Planned]) {
        *self.plan.borrow_mut() = plan.to_vec();
        let after = self
            .at(Fault::Disconnected)
            .map_or(u32::MAX, |at| at as u32);
        self.disconnected_after.set(after);
        *self.disconnection.borrow_mut() = Disconnection::after(after);
        for counter in [&self.commands, &self.infos, &self.feature_reads] {
            counter.set(0);
        }
        self.overwrote.set(false);
        self.invalid_accesses.set(0);
        let has = |fault| self.at(fault).is_some();
        let mut model = self.model.borrow_mut();
        model.queue_size = [
            (Fault::QueueOf0, 0),
            (Fault::QueueOf1, 1),
            (Fault::QueueOf3, 3),
            (Fault::QueueOf48, 48),
            (Fault::QueueOf65535, u16::MAX),
        ]
        .into_iter()
        .find_map(|(fault, size)| has(fault).then_some(size))
        .unwrap_or(QUEUE_SIZE);
        model.notify_off = if has(Fault::NotifyOutside) {
            (STRUCTURE_BYTES / MULTIPLIER) as u16
        } else {
            NOTIFY_OFF
        };
        model.refuses = has(Fault::FeaturesRefused);
        model.refuses_reset = has(Fault::ResetFails);
        model.reset_takes = if has(Fault::ResetNever) { u32::MAX } else { 2 };
        model.resetting.set(0);
        model.fault.set(false);
        drop(model);
        self.write_config_space();
    }

    /// Returns whether any of these faults is planned.
    pub(crate) fn has(&self, faults: &[Fault]) -> bool {
        faults.iter().any(|&fault| self.at(fault).is_some())
    }

    /// Returns how often registers and configuration space were accessed.
    pub(crate) fn accesses(&self) -> u32 {
        self.disconnection.borrow().accesses.get()
    }

    /// Returns the number of planned faults.
    pub(crate) fn faults(&self) -> usize {
        self.plan.borrow().len()
    }

    /// Returns the number of commands received.
    pub(crate) fn commands(&self) -> usize {
        self.commands.get()
    }

    fn at(&self, fault: Fault) -> Option<usize> {
        let plan = self.plan.borrow();
        let planned = plan.iter().find(|planned| planned.fault == fault)?;
        Some(planned.at)
    }

    /// Returns whether a fault is planned at all.
    pub(crate) fn is_planned(&self, fault: Fault) -> bool {
        self.at(fault).is_some()
    }

    /// Returns whether a fault is planned for exactly the number `now`.
    fn is_planned_at(&self, fault: Fault, now: usize) -> bool {
        let plan = self.plan.borrow();
        plan.iter()
            .any(|planned| planned.fault == fault && planned.at == now)
    }

    /// Returns whether a fault is planned for the number `now` or an earlier one.
    fn has_begun(&self, fault: Fault, now: usize) -> bool {
        self.at(fault).is_some_and(|at| at <= now)
    }

    fn is_disconnected(&self) -> bool {
        self.accesses() >= self.disconnected_after.get()
    }

    /// Returns whether the device processes its queue.
    fn works(&self) -> bool {
        // Command register: bus master.
        let masters = self.kind == Kind::Mmio || self.space.borrow()[1] & 4 != 0;
        let status = self.model.borrow().status.get();
        masters && !self.is_disconnected() && status & (DRIVER_OK | NEEDS_RESET) == DRIVER_OK
    }

    /// Writes configuration space, without the command register and the addresses in BARs.
    fn write_config_space(&self) {
        let mut space = self.space.borrow_mut();
        let command = space[1] & 0xffff;
        space.fill(0);
        space[0] = 0x1050_1af4;
        // Status register: there is a list of capabilities.
        space[1] = command | 0x0010_0000;
        space[0x10 / 4 + 1] = TABLE;
        space[0x10 / 4 + 4] = REGISTERS | 0xc;
        space[0x34 / 4] = CAP_COMMON as u32;
        let mut add = |at: usize, next: usize, length: u32, kind: u32, offset: u32| {
            space[at / 4] = 0x09 | (next as u32) << 8 | length << 16 | kind << 24;
            space[at / 4 + 1] = 4;
            space[at / 4 + 2] = offset;
            space[at / 4 + 3] = STRUCTURE_BYTES;
        };
        add(CAP_COMMON, CAP_NOTIFY, 16, 1, COMMON);
        add(CAP_NOTIFY, CAP_DEVICE, 20, 2, NOTIFY);
        add(CAP_DEVICE, CAP_ISR, 16, 4, DEVICE);
        add(CAP_ISR, 0, 16, 3, ISR);
        space[CAP_NOTIFY / 4 + 4] = MULTIPLIER;
        let mut writable = [0; 6];
        writable[1] = !(TABLE_BYTES - 1);
        (writable[4], writable[5]) = (!(REGISTER_BYTES - 1), u32::MAX);

        let structure = |number: usize| [CAP_COMMON, CAP_NOTIFY, CAP_DEVICE][number % 3] / 4;
        if self.at(Fault::CapabilitiesNone).is_some() {
            space[1] &= 0xffff;
        }
        if let Some(at) = self.at(Fault::CapabilitiesLoop) {
            // After all structures, or before the first that is needed.
            let (from, to) = [(CAP_ISR, CAP_COMMON), (CAP_COMMON, CAP_COMMON)][at % 2];
            space[from / 4] = space[from / 4] & !0xff00 | (to as u32) << 8;
        }
        if let Some(at) = self.at(Fault::CapabilitiesOverlap) {
            let (of, offset) = [
                (CAP_NOTIFY, COMMON),
                (CAP_DEVICE, COMMON),
                (CAP_DEVICE, NOTIFY),
            ][at % 3];
            space[of / 4 + 2] = offset;
        }
        if let Some(at) = self.at(Fault::CapabilityPastBar) {
            // Completely beyond the BAR, or all but its first word.
            let word = if at / 3 % 2 == 0 { 0 } else { 4 };
            space[structure(at) + 2] = REGISTER_BYTES - word;
        }
        if let Some(at) = self.at(Fault::CapabilityWraps) {
            space[structure(at) + 2] = 0u32.wrapping_sub(STRUCTURE_BYTES);
            space[structure(at) + 3] = 2 * STRUCTURE_BYTES;
        }
        if self.at(Fault::BarFixed).is_some() {
            (writable[4], writable[5]) = (0, 0);
        }
        if self.at(Fault::BarWithoutAddress).is_some() {
            space[0x10 / 4 + 4] = 0xc;
        }
        self.writable.set(writable);
    }

    /// Returns the offset in BAR 4 or in the slot that an address belongs to.
    fn decode(&self, address: u64) -> Option<u64> {
        let (start, size) = match self.kind {
            Kind::Mmio => (SLOT, 0x200),
            Kind::Pci => {
                let space = self.space.borrow();
                // Command register: decode memory.
                if space[1] & 2 == 0 {
                    return None;
                }
                let [low, high] = [space[0x10 / 4 + 4] & !0xf, space[0x10 / 4 + 5]];
                (
                    u64::from(high) << 32 | u64::from(low),
                    u64::from(REGISTER_BYTES),
                )
            }
        };
        let offset = address.checked_sub(start)?;
        (offset < size).then_some(offset)
    }

    fn read(&self, address: u64, bytes: usize) -> u32 {
        let Some(offset) = self.decode(address) else {
            self.invalid_accesses.set(self.invalid_accesses.get() + 1);
            return u32::MAX;
        };
        let model = &*self.model.borrow();
        let within = (offset as u32 % STRUCTURE_BYTES) as usize;
        let structure = offset as u32 - within as u32;
        match self.kind {
            Kind::Mmio if within >= 0x100 => self.config(within - 0x100),
            Kind::Mmio if within == 0x010 => self.features(
                MmioRegisters {
                    model,
                    identity: [0x7472_6976, 2, 16],
                }
                .read32(within),
            ),
            Kind::Mmio if within == 0x0fc => self.generation(),
            Kind::Mmio => MmioRegisters {
                model,
                identity: [0x7472_6976, 2, 16],
            }
            .read32(within),
            Kind::Pci if structure == COMMON => {
                let registers = PciRegisters(model);
                match (within, bytes) {
                    (0x04, 4) => self.features(registers.read32(within)),
                    (0x15, 1) => self.generation(),
                    (_, 1) => registers.read8(within).into(),
                    (_, 2) => registers.read16(within).into(),
                    _ => registers.read32(within),
                }
            }
            Kind::Pci if structure == DEVICE => self.config(within),
            Kind::Pci => 0,
        }
    }

    fn write(&self, address: u64, bytes: usize, value: u32) {
        let Some(offset) = self.decode(address) else {
            return self.invalid_accesses.set(self.invalid_accesses.get() + 1);
        };
        let model = &*self.model.borrow();
        let within = (offset as u32 % STRUCTURE_BYTES) as usize;
        let structure = offset as u32 - within as u32;
        match self.kind {
            Kind::Mmio if within >= 0x100 => {}
            Kind::Mmio if within == 0x050 => self.rung.set(true),
            Kind::Mmio => MmioRegisters {
                model,
                identity: [0; 3],
            }
            .write32(within, value),
            Kind::Pci if structure == COMMON => match bytes {
                1 => PciRegisters(model).write8(within, value as u8),
                2 => PciRegisters(model).write16(within, value as u16),
                _ => PciRegisters(model).write32(within, value),
            },
            Kind::Pci if structure == NOTIFY => {
                let right = within as u32 == u32::from(NOTIFY_OFF) * MULTIPLIER;
                self.rung.set(self.rung.get() || right && bytes == 2);
            }
            Kind::Pci => {}
        }
    }

    /// Changes the device status when the command of a number arrives.
    fn change_status(&self, number: usize) {
        let model = self.model.borrow();
        let status = &model.status;
        if self.is_planned_at(Fault::DriverOkDropped, number) {
            status.set(status.get() & !DRIVER_OK);
        }
        if self.is_planned_at(Fault::NeedsReset, number) {
            status.set(status.get() | NEEDS_RESET);
        }
    }

    fn features(&self, bits: u32) -> u32 {
        let read = self.feature_reads.get();
        self.feature_reads.set(read + 1);
        match self.has_begun(Fault::FeaturesChange, read) {
            // EVENT_IDX and INDIRECT_DESC, or VERSION_1 and RING_RESET.
            true => bits & !0x3000_0101,
            false => bits,
        }
    }

    fn generation(&self) -> u32 {
        if self.at(Fault::GenerationNeverSettles).is_none() {
            return 0;
        }
        self.config_reads.set(self.config_reads.get() + 1);
        self.config_reads.get() & 0xff
    }

    /// Returns a word of the device's configuration (section 5.7.4).
    fn config(&self, at: usize) -> u32 {
        let noise = match self.at(Fault::GenerationNeverSettles) {
            Some(_) => 1 + 2 * self.config_reads.get(),
            None => 0,
        };
        self.config_reads.set(self.config_reads.get() + 1);
        let displays = match self.at(Fault::Displays17) {
            Some(_) => 17,
            None => 16,
        };
        match at {
            0 => noise,
            8 => displays ^ noise,
            _ => 0,
        }
    }

    /// Writes a notify register at the address that the driver has found.
    pub(crate) fn notify(&self, notify: u64, queue_notify: QueueNotify) {
        let address = notify + queue_notify.offset as u64;
        if !self.disconnection.borrow().arrives() {
            return;
        }
        let bytes = match queue_notify.width {
            Width::Bits16 => 2,
            Width::Bits32 => 4,
        };
        self.write(address, bytes, queue_notify.queue.into());
    }
}

/// The configuration space of the only function.
pub(crate) struct ConfigSpace(pub(crate) Rc<Bus>);

impl Config for ConfigSpace {
    fn read32(&mut self, function: Address, offset: u16) -> u32 {
        let (bus, device, number) = FUNCTION;
        let is_there = Address::new(bus, device, number) == Some(function);
        if !self.0.disconnection.borrow().arrives() || !is_there {
            return u32::MAX;
        }
        self.0.space.borrow()[usize::from(offset) / 4]
    }

    fn write32(&mut self, _: Address, offset: u16, value: u32) {
        if !self.0.disconnection.borrow().arrives() {
            return;
        }
        let mut space = self.0.space.borrow_mut();
        let register = &mut space[usize::from(offset) / 4];
        let mask = match offset {
            0x04 => 0x0407,
            0x10..=0x24 => self.0.writable.get()[usize::from(offset - 0x10) / 4],
            _ => 0,
        };
        *register = *register & !mask | value & mask;
        if self.0.has(&[Fault::BarOfSize0]) {
            match offset {
                0x20 => *register &= 0xf,
                0x24 => *register = 0,
                _ => {}
            }
        }
    }
}

/// Registers as the driver has mapped them.
pub(crate) struct Window {
    pub(crate) bus: Rc<Bus>,
    /// The first address.
    pub(crate) start: u64,
    /// The length in bytes.
    pub(crate) length: u64,
}

impl Window {
    fn address(&self, offset: usize, bytes: usize) -> u64 {
        assert_eq!(offset & (bytes - 1), 0, "not aligned");
        let end = (offset + bytes) as u64;
        assert!(end <= self.length, "{offset:#x} is outside of its window");
        self.start + offset as u64
    }
}

macro_rules! accessors {
    ($($read:ident, $write:ident, $type:ty;)*) => {
        impl Registers for Window {$(
            fn $read(&self, offset: usize) -> $type {
                let bytes = size_of::<$type>();
                let address = self.address(offset, bytes);
                match self.bus.disconnection.borrow().arrives() {
                    true => self.bus.read(address, bytes) as $type,
                    false => <$type>::MAX,
                }
            }

            fn $write(&self, offset: usize, value: $type) {
                let bytes = size_of::<$type>();
                let address = self.address(offset, bytes);
                if self.bus.disconnection.borrow().arrives() {
                    self.bus.write(address, bytes, value.into());
                }
            }
        )*}
    };
}

accessors! {
    read8, write8, u8;
    read16, write16, u16;
    read32, write32, u32;
}

/// An answer that is not yet in the used ring.
struct Answer {
    head: u16,
    length: u32,
    /// The number of the command that it answers.
    number: usize,
    /// The number of the run in which it is returned.
    turn: usize,
}

/// The device side of the queue, with the rest of the device.
pub(crate) struct Gpu {
    bus: Rc<Bus>,
    host: Rc<RefCell<Host<Qemu>>>,
    modes: Vec<(u32, u32)>,
    /// The size in bytes of the memory that the driver shares.
    shared: usize,
    queue: Option<(QueueAddresses, Queue)>,
    resets: u32,
    /// Whether the queue is in memory that the driver no longer owns, until the device is reset.
    is_old: bool,
    turn: usize,
    late: Vec<Answer>,
}

impl Gpu {
    /// Returns a device with displays of these sizes, for a driver that shares that many bytes.
    pub(crate) fn new(
        bus: &Rc<Bus>,
        host: &Rc<RefCell<Host<Qemu>>>,
        modes: &[(u32, u32)],
        shared: usize,
    ) -> Self {
        let model = bus.model.borrow();
        Self {
            bus: bus.clone(),
            host: host.clone(),
            modes: modes.to_vec(),
            shared,
            queue: None,
            resets: model.resets.get(),
            is_old: model.enabled.get(),
            turn: 0,
            late: Vec::new(),
        }
    }

    /// Applies what was written to the registers.
    fn follow(&mut self) {
        let model = self.bus.model.borrow();
        if model.resets.get() != self.resets {
            self.resets = model.resets.get();
            *self.host.borrow_mut() = Host::new(Qemu::default(), &self.modes);
            (self.queue, self.is_old) = (None, false);
        }
        if !model.enabled.get() {
            (self.queue, self.is_old) = (None, false);
        } else if self.queue.is_none() && !self.is_old {
            let addresses = model.queue_addresses();
            let features = Features::from_bits_retain(model.accepted.get());
            self.queue = Some((addresses, queue_at(&addresses, features)));
        }
        if self.queue.is_none() {
            self.late.clear();
        }
    }

    /// Returns whether all of these bytes are in memory that the driver shares.
    fn is_shared(&self, address: u64, length: u32) -> bool {
        let shared = BASE..BASE + self.shared as u64;
        shared.contains(&address) && address + u64::from(length) <= shared.end
    }

    /// Executes a command, unless a fault prevents that, and returns the answer.
    fn execute(&mut self, memory: &Memory, number: usize, command: &[u8]) -> Vec<u8> {
        let bus = &self.bus;
        let refusal = [
            (Fault::ErrorUnspecified, ERR_UNSPEC),
            (Fault::ErrorOutOfMemory, ERR_OUT_OF_MEMORY),
            (Fault::ResponseUnknown, 0xffff_ffff),
        ]
        .into_iter()
        .find(|&(fault, _)| bus.is_planned_at(fault, number));
        if let Some((_, kind)) = refusal {
            let mut answer = vec![0; 24];
            answer[..4].copy_from_slice(&kind.to_le_bytes());
            return answer;
        }
        let request = Request::parse(command);
        if let (Some(Request::Attach { entries, .. }), false) = (&request, bus.overwrote.get()) {
            let shared = |&(address, length): &(u64, u32)| self.is_shared(address, length);
            assert!(entries.iter().all(shared), "memory of somebody else's");
        }
        let mut answer = self.host.borrow_mut().execute(memory, command);
        if let Some(Request::GetDisplayInfo) = request {
            let info = bus.infos.get();
            bus.infos.set(info + 1);
            self.change_info(info, &mut answer);
        }
        answer
    }

    /// Changes the answer of a number to GET_DISPLAY_INFO (section 5.7.6.8).
    fn change_info(&self, number: usize, answer: &mut Vec<u8>) {
        assert_eq!(answer[..4], OK_DISPLAY_INFO.to_le_bytes());
        let is_planned = |fault| self.bus.is_planned_at(fault, number);
        let mut set = |display: usize, word: usize, value: u32| {
            let at = 24 + 24 * display + 4 * word;
            answer.resize(answer.len().max(at + 4), 0);
            answer[at..at + 4].copy_from_slice(&value.to_le_bytes());
        };
        // Words 2 and 3 are width and height, and word 4 says whether the scanout is enabled.
        if is_planned(Fault::DisplayOfZero) {
            (0..32).for_each(|side| set(side / 2, 2 + side % 2, 0));
        }
        if is_planned(Fault::DisplayDisabled) {
            (0..16).for_each(|display| set(display, 4, 0));
        }
        if is_planned(Fault::DisplayOf4GPixels) {
            [2, 3].into_iter().for_each(|word| set(0, word, 1 << 16));
            (1..16).for_each(|display| set(display, 4, 0));
        }
        if is_planned(Fault::DisplayOfAllOnes) {
            [2, 3].into_iter().for_each(|word| set(0, word, u32::MAX));
        }
        if is_planned(Fault::Displays17) {
            for display in 0..17 {
                for (word, value) in [(2, 320), (3, 200), (4, 1), (5, 0)] {
                    set(display, word, value);
                }
            }
        }
    }

    /// Takes the command whose first descriptor is `chain`'s, and answers it, now or later.
    fn serve(&mut self, memory: &Memory, chain: &virtio_queue::DescriptorChain<&Memory>) {
        let bus = self.bus.clone();
        let number = bus.commands.get();
        bus.commands.set(number + 1);
        bus.change_status(number);
        let silent = bus.has_begun(Fault::Silent, number);
        if silent || bus.is_planned_at(Fault::ResponseNever, number) || !bus.works() {
            return;
        }
        let mut command = Vec::new();
        if let Ok(mut reader) = chain.clone().reader(memory) {
            let limit = (self.shared as u64).min(reader.available_bytes() as u64);
            // A chain that cannot be read is no command.
            let _ = reader.by_ref().take(limit).read_to_end(&mut command);
        }
        let answer = self.execute(memory, number, &command);
        let mut rest = &answer[..];
        let mut at_end = 0;
        for part in chain.clone().writable() {
            let count = rest.len().min(part.len() as usize);
            if self.is_shared(part.addr().0, part.len()) {
                memory.write_slice(&rest[..count], part.addr()).unwrap();
            } else {
                assert!(bus.overwrote.get(), "memory of somebody else's");
            }
            rest = &rest[count..];
            at_end = part.addr().0 + count as u64;
        }
        // A faulty device ignores the size of the response buffer.
        if bus.has(&[Fault::Displays17]) && self.is_shared(at_end, rest.len() as u32) {
            memory.write_slice(rest, GuestAddress(at_end)).unwrap();
        }
        let late = [
            (Fault::ResponseLate, RUNS_IN_TIME),
            (Fault::ResponseTooLate, RUNS_TOO_LATE),
        ]
        .into_iter()
        .find(|&(fault, _)| bus.is_planned_at(fault, number));
        self.late.push(Answer {
            head: chain.head_index(),
            length: answer.len() as u32,
            number,
            turn: self.turn + late.map_or(0, |(_, runs)| runs),
        });
    }

    /// Puts the answers into the used ring that are ready in this run.
    fn complete(&mut self, memory: &Memory) {
        let turn = self.turn;
        let (mut ready, late): (Vec<_>, Vec<_>) =
            self.late.drain(..).partition(|answer| answer.turn <= turn);
        self.late = late;
        let first = ready.first().map_or(0, |answer| answer.number);
        if self.bus.has_begun(Fault::ResponsesOutOfOrder, first) {
            ready.reverse();
        }
        for &Answer {
            head,
            length,
            number,
            ..
        } in &ready
        {
            let is_planned_at = |fault| self.bus.is_planned_at(fault, number);
            let Some((addresses, queue)) = &mut self.queue else {
                return;
            };
            let id = match () {
                () if is_planned_at(Fault::UsedIdOfAnother) => u32::from(head ^ 2),
                () if is_planned_at(Fault::UsedIdOdd) => u32::from(head | 1),
                () if is_planned_at(Fault::UsedIdPastQueue) => addresses.size.into(),
                () if is_planned_at(Fault::UsedIdTooLarge) => u32::from(head) | 1 << 16,
                () => head.into(),
            };
            let length = match () {
                () if is_planned_at(Fault::UsedLengthZero) => 0,
                () if is_planned_at(Fault::UsedLengthHuge) => u32::MAX,
                () => length,
            };
            let times = if is_planned_at(Fault::UsedIdTwice) {
                2
            } else {
                1
            };
            for _ in 0..times {
                let index = queue.next_used();
                let entry = addresses.used + 4 + 8 * u64::from(index % addresses.size);
                memory.write_obj(id, GuestAddress(entry)).unwrap();
                memory.write_obj(length, GuestAddress(entry + 4)).unwrap();
                let by = match () {
                    () if is_planned_at(Fault::UsedIndexAhead) => 1000,
                    () if is_planned_at(Fault::UsedIndexBack) => 0u16.wrapping_sub(2),
                    () => 1,
                };
                let index = index.wrapping_add(by);
                queue.set_next_used(index);
                memory
                    .write_obj(index, GuestAddress(addresses.used + 2))
                    .unwrap();
            }
        }
        for answer in ready {
            self.overwrite(memory, answer.number);
        }
    }

    /// Overwrites memory of the driver with random words.
    fn overwrite(&self, memory: &Memory, number: usize) {
        let Some((addresses, _)) = &self.queue else {
            return;
        };
        let size = u64::from(addresses.size);
        let queue = (BASE, QUEUE_BYTES as u64);
        let all = self.shared as u64;
        let pieces = [
            (
                Fault::DescriptorsOverwritten,
                (addresses.descriptors, 16 * size),
            ),
            (
                Fault::AvailableOverwritten,
                (addresses.available, 6 + 2 * size),
            ),
            (Fault::UsedOverwritten, (addresses.used, 6 + 8 * size)),
            (Fault::CommandsOverwritten, (BASE + 2048, queue.1 - 2048)),
            (Fault::PixelsOverwritten, (BASE + queue.1, all - queue.1)),
            (Fault::MemoryOverwritten, (BASE, all)),
        ];
        for (fault, (start, length)) in pieces {
            if self.bus.is_planned_at(fault, number) {
                self.bus.overwrote.set(true);
                let mut seed = number as u32;
                let noise: Vec<u8> = (0..length)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (seed >> 24) as u8
                    })
                    .collect();
                memory.write_slice(&noise, GuestAddress(start)).unwrap();
            }
        }
    }
}

impl Device for Gpu {
    fn run(&mut self, memory: &Memory, _: bool) {
        self.turn += 1;
        self.follow();
        if !self.bus.works() {
            return;
        }
        self.complete(memory);
        if self.queue.is_none() || !self.bus.rung.take() {
            return;
        }
        loop {
            let mut chains = Vec::new();
            if let Some((_, queue)) = &mut self.queue {
                assert!(self.bus.overwrote.get() || queue.is_valid(memory));
                queue.disable_notification(memory).unwrap();
                while let Some(chain) = queue.pop_descriptor_chain(memory) {
                    chains.push(chain);
                }
            }
            for chain in &chains {
                self.serve(memory, chain);
            }
            self.complete(memory);
            if let Some((_, queue)) = &mut self.queue {
                if chains.is_empty() || !queue.enable_notification(memory).unwrap() {
                    return;
                }
            }
        }
    }
}
