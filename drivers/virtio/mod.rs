// SPDX-License-Identifier: GPL-2.0

//! The virtio transports, the device initialization and the virtqueue, written from the Virtual I/O
//! Device (VIRTIO) specification, version 1.3.
//!
//! | file | what it does | VIRTIO 1.3 |
//! |---|---|---|
//! | [`pci`] | finds the registers of a PCI device by its capabilities, and accesses them | 4.1 |
//! | [`mmio`] | recognises an MMIO device and accesses its registers | 4.2 |
//! | [`setup`] | resets a device, negotiates features, enables queue 0 | 2.4, 3.1.1 |
//! | [`adoption`] | takes over a device that runs, by a reset of its queues alone | 2.6.1 |
//! | [`queue`] | adds commands to a split virtqueue and polls for their responses | 2.7 |
//! | [`features`] | names the feature bits | 2.2, 5.7.3, 6 |
//! | [`status`] | names the bits of the device status field | 2.1 |
//!
//! No file depends on an operating system. The environment of the driver (Linux, UEFI, a test)
//! implements [`Registers`] and [`Hal`]. [`Transport`] is the interface that [`pci`] and [`mmio`]
//! have in common.

pub(crate) mod adoption;
pub(crate) mod features;
#[cfg(not(MODULE))]
pub(crate) mod mmio;
pub(crate) mod pci;
pub(crate) mod queue;
pub(crate) mod setup;
pub(crate) mod status;

pub(crate) use self::{
    features::Features,
    queue::VirtQueue,
    status::DeviceStatus, //
};

/// A range of device registers. Offsets are in bytes and naturally aligned. Values are
/// little-endian on the bus (sections 4.1.4.3 and 4.2.2) and native here.
///
/// The caller accesses registers within the range only: each user here has checked its length.
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

/// The environment of a virtqueue: memory that is shared with the device, the barriers between
/// accesses to it, the notification of the device, and a bounded wait.
///
/// `offset` is in bytes from the start of the shared memory. Accesses are naturally aligned and
/// little-endian (section 2.7).
pub(crate) trait Hal {
    /// Returns the device's address of the byte at `offset`.
    fn device_address(&self, offset: usize) -> u64;
    /// Reads 16 bits, in one access.
    fn load16(&self, offset: usize) -> u16;
    /// Reads 32 bits, in one access.
    fn load32(&self, offset: usize) -> u32;
    /// Writes 16 bits, in one access.
    fn store16(&self, offset: usize, value: u16);
    /// Writes 64 bits, in one access.
    fn store64(&self, offset: usize, value: u64);
    /// Copies bytes from the shared memory.
    fn copy_out(&self, offset: usize, into: &mut [u8]);
    /// Copies bytes to the shared memory.
    fn copy_in(&self, offset: usize, from: &[u8]);
    /// Orders stores: the device sees earlier ones before later ones.
    fn write_barrier(&self);
    /// Orders loads: later ones return nothing older than earlier ones.
    fn read_barrier(&self);
    /// Orders all accesses, also earlier stores before later loads.
    fn full_barrier(&self);
    /// Sends an available buffer notification for queue 0 (sections 4.1.5.2 and 4.2.3.3).
    fn notify(&self);
    /// Calls `done` until it returns true, or until a bound on the time (seconds) that no working
    /// device exceeds. Returns what the last call of `done` returned.
    fn wait(&self, done: &mut dyn FnMut() -> bool) -> bool;
}

/// The size of a split virtqueue and the device's addresses of its three parts (section 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueAddresses {
    /// The queue size: the number of descriptors, a power of two.
    pub(crate) size: u16,
    /// The descriptor table ("descriptor area", 16-byte aligned).
    pub(crate) descriptors: u64,
    /// The available ring ("driver area", 2-byte aligned).
    pub(crate) available: u64,
    /// The used ring ("device area", 4-byte aligned).
    pub(crate) used: u64,
}

/// The interface of a transport: what setting up a device needs (sections 4.1 and 4.2).
pub(crate) trait Transport {
    /// Returns the features that the device offers.
    fn device_features(&mut self) -> Features;
    /// Writes the features that the driver accepts.
    fn set_driver_features(&mut self, features: Features);
    /// Reads the device status (section 2.1).
    fn status(&mut self) -> DeviceStatus;
    /// Writes the device status. An empty one resets the device.
    fn set_status(&mut self, status: DeviceStatus);
    /// Returns the maximum size of `queue` in descriptors; 0 if there is no such queue.
    fn queue_size_max(&mut self, queue: u16) -> u16;
    /// Writes the size and the addresses of `queue` and enables it.
    fn enable_queue(&mut self, queue: u16, addresses: &QueueAddresses);
    /// Returns the notification register of `queue`; `None` if it lies outside of the device's
    /// notification registers.
    fn queue_notify(&mut self, queue: u16) -> Option<QueueNotify>;

    // For adoption, and on PCI alone. The driver cannot read the negotiated features from an MMIO
    // device (section 4.2.2: `DriverFeatures` is write-only), so the other functions are not
    // called for one.

    /// Returns the features that the last driver has accepted, if they can be read.
    fn driver_features(&mut self) -> Option<Features> {
        None
    }
    /// Returns the number of queues.
    fn num_queues(&mut self) -> u16 {
        0
    }
    /// Returns the address of the descriptor table of `queue`, if it can be read.
    fn queue_desc(&mut self, _queue: u16) -> Option<u64> {
        None
    }
    /// Returns whether `queue` is enabled.
    fn is_queue_enabled(&mut self, _queue: u16) -> bool {
        false
    }
    /// Writes `value`, which is no address, as the descriptor table's address of a `queue` that is
    /// not enabled, and 0 as its other addresses. The UEFI driver calls this; the kernel only reads
    /// the value.
    #[allow(dead_code)]
    fn set_queue_desc(&mut self, _queue: u16, _value: u64) {}
    /// Begins to reset `queue` alone. RING_RESET must have been negotiated (section 2.6.1).
    fn reset_queue(&mut self, _queue: u16) {}
    /// Returns whether that reset is complete: the device does not use `queue` any more.
    fn is_queue_reset(&mut self, _queue: u16) -> bool {
        false
    }

    /// Reads 32 bits of the device configuration space (section 2.5) at the byte `offset`, which is
    /// below [`CONFIG_BYTES`]; `None` if that space cannot be accessed.
    fn config(&mut self, _offset: usize) -> Option<u32> {
        None
    }
    /// Writes 32 bits there. Does nothing if that space cannot be accessed.
    fn set_config(&mut self, _offset: usize, _value: u32) {}
}

/// Bytes of the device configuration space that are used: those of `struct virtio_gpu_config`
/// (section 5.7.4).
pub(crate) const CONFIG_BYTES: usize = 16;

/// The register to which the driver writes the available buffer notifications of one queue
/// (sections 4.1.5.2 and 4.2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueNotify {
    /// Offset in bytes within the transport's notification registers.
    pub(crate) offset: usize,
    /// Width of the register: 16 bits on PCI (section 4.1.5.2), 32 bits on MMIO (section 4.2.2).
    pub(crate) width: Width,
    /// The number of the queue, which is the value to write.
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

/// Returns the low and the high 32 bits of a 64-bit value, which takes two registers.
fn halves(value: u64) -> (u32, u32) {
    (value as u32, (value >> 32) as u32)
}
