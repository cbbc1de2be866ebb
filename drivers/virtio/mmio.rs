// SPDX-License-Identifier: GPL-2.0

//! Virtio over MMIO, version 2 (VIRTIO 1.3, section 4.2).

use core::fmt;

use crate::virtio::{
    halves,
    Doorbell,
    Features,
    QueuePlace,
    Registers,
    Status,
    Transport,
    Width,
    CONFIG_BYTES, //
};

/// Bytes of registers before the device's own configuration space.
pub(crate) const WINDOW: usize = 0x100;
/// The same with what is used of that.
pub(crate) const WINDOW_WITH_CONFIG: usize = WINDOW + CONFIG_BYTES;

/// The device ID of a GPU (section 5).
const DEVICE_GPU: u32 = 16;
/// "virt", read as a little-endian number.
const MAGIC: u32 = 0x7472_6976;

// Offsets of section 4.2.2.
const MAGIC_VALUE: usize = 0x000;
const VERSION: usize = 0x004;
const DEVICE_ID: usize = 0x008;
const DEVICE_FEATURES: usize = 0x010;
const DEVICE_FEATURES_SEL: usize = 0x014;
const DRIVER_FEATURES: usize = 0x020;
const DRIVER_FEATURES_SEL: usize = 0x024;
const QUEUE_SEL: usize = 0x030;
const QUEUE_SIZE_MAX: usize = 0x034;
const QUEUE_SIZE: usize = 0x038;
const QUEUE_READY: usize = 0x044;
const QUEUE_NOTIFY: usize = 0x050;
const STATUS: usize = 0x070;
const QUEUE_DESC_LOW: usize = 0x080;
const QUEUE_DRIVER_LOW: usize = 0x090;
const QUEUE_DEVICE_LOW: usize = 0x0a0;

/// Why a slot does not hold a GPU that can be driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MmioError {
    /// There is no virtio device: the magic value is another one, or the device ID is 0.
    Empty,
    /// A device of another kind; its ID.
    NotGpu(u32),
    /// Another version of the register layout than 2.
    Version(u32),
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("no virtio device there"),
            Self::NotGpu(id) => write!(f, "virtio device {id} is no GPU"),
            Self::Version(1) => f.write_str(
                "a legacy virtio-mmio device (version 1): start QEMU with -global virtio-mmio.force-legacy=false",
            ),
            Self::Version(version) => write!(f, "virtio-mmio version {version} is not known"),
        }
    }
}

/// A virtio-mmio slot that holds a GPU.
pub(crate) struct Mmio<R> {
    registers: R,
}

impl<R: Registers> Mmio<R> {
    /// Looks at a slot of at least [`WINDOW`] bytes, and [`WINDOW_WITH_CONFIG`] for who wants to
    /// know the device's own configuration.
    ///
    /// # Errors
    ///
    /// What is there instead of a GPU with registers of version 2.
    pub(crate) fn new(registers: R) -> Result<Self, MmioError> {
        if registers.read32(MAGIC_VALUE) != MAGIC {
            return Err(MmioError::Empty);
        }
        // Section 4.2.2.2: the ID first, since that of an empty slot is 0 in every version.
        match registers.read32(DEVICE_ID) {
            0 => return Err(MmioError::Empty),
            DEVICE_GPU => {}
            id => return Err(MmioError::NotGpu(id)),
        }
        match registers.read32(VERSION) {
            2 => Ok(Self { registers }),
            version => Err(MmioError::Version(version)),
        }
    }

    fn write_address(&self, at: usize, address: u64) {
        let (low, high) = halves(address);
        self.registers.write32(at, low);
        self.registers.write32(at + 4, high);
    }
}

impl<R: Registers> Transport for Mmio<R> {
    fn device_features(&mut self) -> Features {
        self.registers.write32(DEVICE_FEATURES_SEL, 0);
        let low = self.registers.read32(DEVICE_FEATURES);
        self.registers.write32(DEVICE_FEATURES_SEL, 1);
        let high = self.registers.read32(DEVICE_FEATURES);
        Features::from_bits_retain((u64::from(high) << 32) | u64::from(low))
    }

    fn set_driver_features(&mut self, features: Features) {
        let (low, high) = halves(features.bits());
        self.registers.write32(DRIVER_FEATURES_SEL, 0);
        self.registers.write32(DRIVER_FEATURES, low);
        self.registers.write32(DRIVER_FEATURES_SEL, 1);
        self.registers.write32(DRIVER_FEATURES, high);
    }

    fn status(&mut self) -> Status {
        let [status, ..] = self.registers.read32(STATUS).to_le_bytes();
        Status::from_bits_retain(status)
    }

    fn set_status(&mut self, status: Status) {
        self.registers.write32(STATUS, u32::from(status.bits()));
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.registers.write32(QUEUE_SEL, u32::from(queue));
        u16::try_from(self.registers.read32(QUEUE_SIZE_MAX)).unwrap_or(u16::MAX)
    }

    fn enable_queue(&mut self, queue: u16, place: &QueuePlace) {
        self.registers.write32(QUEUE_SEL, u32::from(queue));
        self.registers.write32(QUEUE_SIZE, u32::from(place.size));
        self.write_address(QUEUE_DESC_LOW, place.descriptors);
        self.write_address(QUEUE_DRIVER_LOW, place.available);
        self.write_address(QUEUE_DEVICE_LOW, place.used);
        self.registers.write32(QUEUE_READY, 1);
    }

    fn doorbell(&mut self, queue: u16) -> Option<Doorbell> {
        Some(Doorbell {
            offset: QUEUE_NOTIFY,
            width: Width::Bits32,
            queue,
        })
    }

    fn config(&mut self, at: usize) -> Option<u32> {
        Some(self.registers.read32(WINDOW + at))
    }

    fn set_config(&mut self, at: usize, value: u32) {
        self.registers.write32(WINDOW + at, value);
    }
}
