// SPDX-License-Identifier: GPL-2.0

//! Virtio over MMIO, version 2 of the register layout (VIRTIO 1.3, section 4.2).

use core::fmt;

use crate::virtio::{
    halves,
    DeviceStatus,
    Features,
    QueueAddresses,
    QueueNotify,
    Registers,
    Transport,
    Width,
    CONFIG_BYTES, //
};

/// Bytes of registers before the device configuration space.
pub(crate) const REGISTER_BYTES: usize = 0x100;
/// Bytes of registers with the used part of the device configuration space.
pub(crate) const REGISTER_AND_CONFIG_BYTES: usize = REGISTER_BYTES + CONFIG_BYTES;

/// The device ID of a GPU (section 5).
const DEVICE_GPU: u32 = 16;
/// The magic value: "virt" as a little-endian number (section 4.2.2).
const MAGIC: u32 = 0x7472_6976;

// Offsets of the registers (section 4.2.2), in bytes.
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

/// Why there is no GPU that can be driven at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MmioError {
    /// There is no virtio device: the magic value is wrong, or the device ID is 0.
    NoDevice,
    /// The virtio device is not a GPU; its device ID.
    NotGpu(u32),
    /// The version of the register layout is not 2.
    Version(u32),
}

impl fmt::Display for MmioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice => f.write_str("no virtio device there"),
            Self::NotGpu(id) => write!(f, "virtio device {id} is no GPU"),
            Self::Version(1) => f.write_str(
                "a legacy virtio-mmio device (version 1): start QEMU with -global virtio-mmio.force-legacy=false",
            ),
            Self::Version(version) => write!(f, "virtio-mmio version {version} is not known"),
        }
    }
}

/// The transport of a virtio-mmio GPU.
pub(crate) struct Mmio<R> {
    registers: R,
}

impl<R: Registers> Mmio<R> {
    /// Creates the transport, after a check of the magic value, the device ID and the version.
    /// `registers` has at least [`REGISTER_BYTES`] bytes, or [`REGISTER_AND_CONFIG_BYTES`] if
    /// [`Transport::config`] or [`Transport::set_config`] is called.
    ///
    /// # Errors
    ///
    /// As [`MmioError`] says, if this is not a GPU with registers of version 2.
    pub(crate) fn new(registers: R) -> Result<Self, MmioError> {
        if registers.read32(MAGIC_VALUE) != MAGIC {
            return Err(MmioError::NoDevice);
        }
        // Section 4.2.2.2: ID 0 means that there is no device. It does so in all versions, so check
        // it before the version.
        match registers.read32(DEVICE_ID) {
            0 => return Err(MmioError::NoDevice),
            DEVICE_GPU => {}
            id => return Err(MmioError::NotGpu(id)),
        }
        match registers.read32(VERSION) {
            2 => Ok(Self { registers }),
            version => Err(MmioError::Version(version)),
        }
    }

    /// Writes a 64-bit address to two consecutive registers.
    fn write_address(&self, offset: usize, address: u64) {
        let (low, high) = halves(address);
        self.registers.write32(offset, low);
        self.registers.write32(offset + 4, high);
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

    fn status(&mut self) -> DeviceStatus {
        let [status, ..] = self.registers.read32(STATUS).to_le_bytes();
        DeviceStatus::from_bits_retain(status)
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.registers.write32(STATUS, u32::from(status.bits()));
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.registers.write32(QUEUE_SEL, u32::from(queue));
        u16::try_from(self.registers.read32(QUEUE_SIZE_MAX)).unwrap_or(u16::MAX)
    }

    fn enable_queue(&mut self, queue: u16, addresses: &QueueAddresses) {
        self.registers.write32(QUEUE_SEL, u32::from(queue));
        self.registers
            .write32(QUEUE_SIZE, u32::from(addresses.size));
        self.write_address(QUEUE_DESC_LOW, addresses.descriptors);
        self.write_address(QUEUE_DRIVER_LOW, addresses.available);
        self.write_address(QUEUE_DEVICE_LOW, addresses.used);
        self.registers.write32(QUEUE_READY, 1);
    }

    fn queue_notify(&mut self, queue: u16) -> Option<QueueNotify> {
        Some(QueueNotify {
            offset: QUEUE_NOTIFY,
            width: Width::Bits32,
            queue,
        })
    }

    fn config(&mut self, offset: usize) -> Option<u32> {
        Some(self.registers.read32(REGISTER_BYTES + offset))
    }

    fn set_config(&mut self, offset: usize, value: u32) {
        self.registers.write32(REGISTER_BYTES + offset, value);
    }
}
