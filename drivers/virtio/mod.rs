// SPDX-License-Identifier: GPL-2.0

//! Reaching a virtio device: its registers, its status, its rings.
//!
//! Written from the Virtual I/O Device (VIRTIO) specification, version 1.3. Two seams keep the room
//! free of any operating system: [`Registers`] and [`Hal`] are what a home of the driver provides
//! (Linux, a UEFI driver, a test); [`Transport`] is what both buses, [`pci`] and [`mmio`], look
//! like to those who set a device up.

pub(crate) mod adoption;
pub(crate) mod features;
#[cfg(not(MODULE))]
pub(crate) mod mmio;
pub(crate) mod pci;
pub(crate) mod ring;
pub(crate) mod setup;
pub(crate) mod status;

pub(crate) use self::{
    features::Features,
    ring::Ring,
    status::Status, //
};

/// A window of device registers. Offsets are in bytes and naturally aligned; values are
/// little-endian on the bus (section 2.2) and native here.
///
/// The caller keeps within the window it asked for: every user here has checked its length.
pub(crate) trait Registers {
    /// Reads the byte at `offset`.
    fn read8(&self, offset: usize) -> u8;
    /// Reads the 16 bits at `offset`.
    fn read16(&self, offset: usize) -> u16;
    /// Reads the 32 bits at `offset`.
    fn read32(&self, offset: usize) -> u32;
    /// Writes the byte at `offset`.
    fn write8(&self, offset: usize, value: u8);
    /// Writes the 16 bits at `offset`.
    fn write16(&self, offset: usize, value: u16);
    /// Writes the 32 bits at `offset`.
    fn write32(&self, offset: usize, value: u32);
}

/// What a virtqueue needs of the system it lives in: memory that the device sees as well, the order
/// of accesses to it, the doorbell, and an end to waiting.
///
/// `at` is an offset in bytes into the shared memory; accesses are naturally aligned and
/// little-endian (section 2.7).
pub(crate) trait Hal {
    /// The address by which the device knows the byte `at`.
    fn device_address(&self, at: usize) -> u64;
    /// Reads 16 bits, once.
    fn load16(&self, at: usize) -> u16;
    /// Reads 32 bits, once.
    fn load32(&self, at: usize) -> u32;
    /// Writes 16 bits, once.
    fn store16(&self, at: usize, value: u16);
    /// Writes 64 bits, once.
    fn store64(&self, at: usize, value: u64);
    /// Copies bytes out.
    fn copy_out(&self, at: usize, into: &mut [u8]);
    /// Copies bytes in.
    fn copy_in(&self, at: usize, from: &[u8]);
    /// What was stored before is seen by the device before what is stored after.
    fn write_barrier(&self);
    /// What is loaded after is no older than what was loaded before.
    fn read_barrier(&self);
    /// Both of the above, and stores before loads.
    fn full_barrier(&self);
    /// Rings the doorbell of queue 0 (sections 4.1.5.2 and 4.2.2).
    fn notify(&self);
    /// Calls `done` until it returns true or the device has had more than enough time (seconds).
    /// Returns what `done` returned last.
    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool;
}

/// Where the device finds the three parts of a split virtqueue (section 2.7), as addresses of its
/// own, and how many descriptors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueuePlace {
    /// Number of descriptors, a power of two.
    pub(crate) size: u16,
    /// The descriptor table (16-byte aligned).
    pub(crate) descriptors: u64,
    /// The available ring, "driver area" (2-byte aligned).
    pub(crate) available: u64,
    /// The used ring, "device area" (4-byte aligned).
    pub(crate) used: u64,
}

/// What both transports offer to set a device up (section 4.1 and 4.2).
pub(crate) trait Transport {
    /// The features the device offers.
    fn device_features(&mut self) -> Features;
    /// Tells the device which features the driver accepts.
    fn set_driver_features(&mut self, features: Features);
    /// The device status (section 2.1).
    fn status(&mut self) -> Status;
    /// Writes the device status; an empty one resets the device.
    fn set_status(&mut self, status: Status);
    /// How many descriptors `queue` can have at most; 0 when there is no such queue.
    fn queue_size_max(&mut self, queue: u16) -> u16;
    /// Gives `queue` its place and enables it.
    fn enable_queue(&mut self, queue: u16, place: &QueuePlace);
    /// Where the doorbell of `queue` is. `None` when the device names a place outside of its
    /// notification registers.
    fn doorbell(&mut self, queue: u16) -> Option<Doorbell>;

    // What it takes to adopt a device. Registers of virtio-mmio do not tell what was agreed on
    // (section 4.2.2: `DriverFeatures` is only written), so that there it never comes to the rest.

    /// The features that the last driver has accepted, if the device tells.
    fn driver_features(&mut self) -> Option<Features> {
        None
    }
    /// How many queues there are.
    fn queues(&mut self) -> u16 {
        0
    }
    /// Where `queue` has its descriptors, if the device tells.
    fn descriptors(&mut self, _queue: u16) -> Option<u64> {
        None
    }
    /// Whether the device works on `queue`.
    fn is_enabled(&mut self, _queue: u16) -> bool {
        false
    }
    /// Leaves a number that is no address where `queue`, which is not enabled, had its descriptors,
    /// and no address elsewhere. The kernel only reads it.
    #[allow(dead_code)]
    fn mark(&mut self, _queue: u16, _mark: u64) {}
    /// Begins to reset `queue` alone, where RING_RESET was agreed on (section 2.6.1).
    fn reset_queue(&mut self, _queue: u16) {}
    /// Whether that has come to its end, and the device works on `queue` no more.
    fn is_queue_reset(&mut self, _queue: u16) -> bool {
        false
    }

    /// The 32 bits at the offset `at`, below [`CONFIG_BYTES`], of the device's own configuration
    /// (section 2.5), if they can be reached.
    fn config(&mut self, _at: usize) -> Option<u32> {
        None
    }
    /// Writes there; without effect if they cannot.
    fn set_config(&mut self, _at: usize, _value: u32) {}
}

/// Bytes of the device's own configuration that are used: those of `struct virtio_gpu_config`
/// (section 5.7.4).
pub(crate) const CONFIG_BYTES: usize = 16;

/// The doorbell of one queue: writing `value` at `address` makes the device look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doorbell {
    /// Offset in bytes within the transport's notification registers.
    pub(crate) offset: usize,
    /// How it is written: 16 bits on PCI (section 4.1.5.2), 32 bits on MMIO (section 4.2.2).
    pub(crate) width: Width,
    /// The number of the queue.
    pub(crate) queue: u16,
}

/// The width of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    /// 16 bits.
    Bits16,
    /// 32 bits.
    #[cfg(not(MODULE))]
    Bits32,
}

/// The low and the high 32 bits of a 64-bit value, for registers that take it in two.
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}
