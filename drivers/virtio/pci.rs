// SPDX-License-Identifier: GPL-2.0

//! Virtio over PCI, without the legacy interface (VIRTIO 1.3, section 4.1).

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

/// PCI vendor ID of every virtio device (section 4.1.2).
pub(crate) const VENDOR: u16 = 0x1af4;
/// PCI device ID of a GPU: 0x1040 + 16 (section 4.1.2).
pub(crate) const DEVICE_GPU: u16 = 0x1050;

/// Bytes of the common configuration structure as of version 1.0, up to and with `queue_device`.
const COMMON_BYTES: u32 = 56;
/// The same as of version 1.2, up to and with `queue_reset`.
const COMMON_BYTES_RESET: u32 = 60;

// Type values of `struct virtio_pci_cap` (section 4.1.4).
const CAP_COMMON: u8 = 1;
const CAP_NOTIFY: u8 = 2;
const CAP_DEVICE: u8 = 4;
/// PCI capability ID of vendor-specific ones.
const CAP_VENDOR: u8 = 0x09;
/// A capability is at least 4 bytes and lives in 0x40..0x100, so that there are at most this many.
const CAPS_MAX: u32 = 48;

// Offsets of `struct virtio_pci_common_cfg` (section 4.1.4.3).
const DEVICE_FEATURE_SELECT: usize = 0;
const DEVICE_FEATURE: usize = 4;
const DRIVER_FEATURE_SELECT: usize = 8;
const DRIVER_FEATURE: usize = 12;
const CONFIG_MSIX_VECTOR: usize = 16;
const NUM_QUEUES: usize = 18;
const DEVICE_STATUS: usize = 20;
const QUEUE_SELECT: usize = 22;
const QUEUE_SIZE: usize = 24;
const QUEUE_MSIX_VECTOR: usize = 26;
const QUEUE_ENABLE: usize = 28;
const QUEUE_NOTIFY_OFF: usize = 30;
const QUEUE_DESC: usize = 32;
const QUEUE_DRIVER: usize = 40;
const QUEUE_DEVICE: usize = 48;
const QUEUE_RESET: usize = 58;

/// VIRTIO_MSI_NO_VECTOR: no interrupt by MSI-X, be it of a queue or of the configuration.
const NO_VECTOR: u16 = 0xffff;

/// Why a function's capabilities cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CapabilityError {
    /// The list runs in a circle or out of its space.
    Loop,
    /// The structure of this name is not there, or lies where it cannot be.
    Missing(&'static str),
    /// All structures of one kind are in BARs that cannot be used; the first one is in this BAR.
    Bar(u8),
}

impl fmt::Display for CapabilityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop => f.write_str("its list of PCI capabilities never ends"),
            Self::Missing(name) => write!(
                f,
                "its PCI capabilities have no usable {name} configuration (a legacy device?)"
            ),
            Self::Bar(bar) => write!(f, "its BAR {bar} has no usable address"),
        }
    }
}

/// A piece of one of the device's BARs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which BAR, 0 to 5.
    pub(crate) bar: u8,
    /// Offset into it, in bytes.
    pub(crate) offset: u32,
    /// Length in bytes.
    pub(crate) length: u32,
}

impl Place {
    /// Whether the place lies within a BAR of `size` bytes.
    pub(crate) fn fits(&self, size: u64) -> bool {
        u64::from(self.offset) + u64::from(self.length) <= size
    }
}

/// Where a virtio function has its registers (section 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The common configuration, at least the bytes of version 1.0.
    pub(crate) common: Place,
    /// The doorbells.
    pub(crate) notify: Place,
    /// Bytes between the doorbells of two consecutive `queue_notify_off`.
    pub(crate) notify_multiplier: u32,
    /// The device's own configuration, where it has one that can be used.
    pub(crate) device: Option<Place>,
}

/// The number of BARs of a function that is no bridge.
pub(crate) const BARS: usize = 6;

/// The first usable structure of one kind.
struct Choice<T> {
    name: &'static str,
    first: Option<T>,
    /// The BAR of the first structure that is well-formed but lies in a BAR that cannot be used.
    refused: Option<u8>,
}

impl<T> Choice<T> {
    fn of(name: &'static str) -> Self {
        Self {
            name,
            first: None,
            refused: None,
        }
    }

    /// Takes the structure that `make` returns, if none was taken before and if the driver can
    /// reach `place`, which is what it uses of the structure.
    fn offer(&mut self, bars: &[u64; BARS], place: Place, make: impl FnOnce() -> T) {
        if self.first.is_some() {
            return;
        }
        let size = bars.get(usize::from(place.bar)).copied().unwrap_or(0);
        if size != 0 && place.fits(size) {
            self.first = Some(make());
        } else {
            self.refused.get_or_insert(place.bar);
        }
    }

    fn take(self) -> Result<T, CapabilityError> {
        self.first.ok_or(match self.refused {
            Some(bar) => CapabilityError::Bar(bar),
            None => CapabilityError::Missing(self.name),
        })
    }
}

impl Capabilities {
    /// Walks the capability list of a function. `read` returns the configuration dword at an offset
    /// that is a multiple of four and below 0x100. `bars` has the size in bytes of each BAR that is
    /// memory and has an address, and 0 for each other one.
    ///
    /// The first structure of each kind that can be used is taken, as section 4.1.4.1 demands. A
    /// device may offer the same structure in an I/O BAR and in a memory BAR, in any order.
    ///
    /// # Errors
    ///
    /// An endless list, a structure that is not there, or one that is only in BARs of no use.
    pub(crate) fn read(
        mut read: impl FnMut(u16) -> u32,
        bars: &[u64; BARS],
    ) -> Result<Self, CapabilityError> {
        let mut common = Choice::of("common");
        let mut notify = Choice::of("notify");
        let mut device = Choice::of("device");
        let [.., status_low, _] = read(0x04).to_le_bytes();
        let [mut at, ..] = read(0x34).to_le_bytes();
        if status_low & (1 << 4) == 0 {
            // No capability list at all (PCI 3.0, section 6.2.3).
            at = 0;
        }
        let mut left = CAPS_MAX;
        loop {
            // The low two bits are reserved (PCI 3.0, section 6.7).
            at &= !3;
            if at < 0x40 {
                break;
            }
            left = left.checked_sub(1).ok_or(CapabilityError::Loop)?;
            let offset = u16::from(at);
            let [id, next, length, kind] = read(offset).to_le_bytes();
            // The multiplier ends at byte 20; a structure that claims to reach past 0x100 is none.
            if id == CAP_VENDOR && length >= 16 && offset + u16::from(length) <= 0x100 {
                let [bar, ..] = read(offset + 4).to_le_bytes();
                let place = Place {
                    bar,
                    offset: read(offset + 8),
                    length: read(offset + 12),
                };
                // Sections 4.1.4.3.1, 4.1.4.4.1 and 4.1.4.6.1.
                let aligned = |align| usize::from(place.bar) < BARS && place.offset % align == 0;
                match kind {
                    CAP_COMMON if aligned(4) && place.length >= COMMON_BYTES => {
                        common.offer(bars, common_window(place), || place);
                    }
                    CAP_NOTIFY if aligned(2) && length >= 20 && place.length >= 2 => {
                        notify.offer(bars, place, || (place, read(offset + 16)));
                    }
                    CAP_DEVICE if aligned(4) => {
                        if let Some(window) = config_window(place) {
                            device.offer(bars, window, || place);
                        }
                    }
                    _ => {}
                }
            }
            at = next;
        }
        let common = common.take()?;
        let (notify, notify_multiplier) = notify.take()?;
        Ok(Self {
            common,
            notify,
            notify_multiplier,
            device: device.first,
        })
    }

    /// What of the common configuration is used: a window on it is as long.
    pub(crate) fn window(&self) -> Place {
        common_window(self.common)
    }

    /// The same of the device's own configuration.
    pub(crate) fn config(&self) -> Option<Place> {
        config_window(self.device?)
    }
}

/// The part of a common configuration that is used.
fn common_window(common: Place) -> Place {
    Place {
        length: common.length.min(COMMON_BYTES_RESET),
        ..common
    }
}

/// The part of the device's own configuration that is used; none if it is too short.
fn config_window(device: Place) -> Option<Place> {
    let length = CONFIG_BYTES as u32;
    (device.length >= length).then_some(Place { length, ..device })
}

/// A virtio PCI function, by its common configuration.
pub(crate) struct Pci<R> {
    common: R,
    /// The device's own, [`CONFIG_BYTES`] of it, where it is reached.
    config: Option<R>,
    /// Whether there is `queue_reset`.
    resets_queues: bool,
    notify: Place,
    notify_multiplier: u32,
}

impl<R: Registers> Pci<R> {
    /// `common` is the window that [`Capabilities::window`] names.
    pub(crate) fn new(common: R, capabilities: &Capabilities) -> Self {
        Self {
            common,
            config: None,
            resets_queues: capabilities.common.length >= COMMON_BYTES_RESET,
            notify: capabilities.notify,
            notify_multiplier: capabilities.notify_multiplier,
        }
    }

    /// Also reaches the device's own configuration, by the window that [`Capabilities::config`]
    /// names.
    pub(crate) fn with_config(self, config: Option<R>) -> Self {
        Self { config, ..self }
    }

    // Section 4.1.3.1: 64-bit fields are two 32-bit ones to the driver.
    fn write_address(&self, at: usize, address: u64) {
        let (low, high) = halves(address);
        self.common.write32(at, low);
        self.common.write32(at + 4, high);
    }
}

impl<R: Registers> Transport for Pci<R> {
    fn device_features(&mut self) -> Features {
        self.common.write32(DEVICE_FEATURE_SELECT, 0);
        let low = self.common.read32(DEVICE_FEATURE);
        self.common.write32(DEVICE_FEATURE_SELECT, 1);
        let high = self.common.read32(DEVICE_FEATURE);
        Features::from_bits_retain((u64::from(high) << 32) | u64::from(low))
    }

    fn set_driver_features(&mut self, features: Features) {
        let (low, high) = halves(features.bits());
        self.common.write32(DRIVER_FEATURE_SELECT, 0);
        self.common.write32(DRIVER_FEATURE, low);
        self.common.write32(DRIVER_FEATURE_SELECT, 1);
        self.common.write32(DRIVER_FEATURE, high);
    }

    fn status(&mut self) -> Status {
        Status::from_bits_retain(self.common.read8(DEVICE_STATUS))
    }

    fn set_status(&mut self, status: Status) {
        self.common.write8(DEVICE_STATUS, status.bits());
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.read16(QUEUE_SIZE)
    }

    fn enable_queue(&mut self, queue: u16, place: &QueuePlace) {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.write16(QUEUE_SIZE, place.size);
        self.common.write16(QUEUE_MSIX_VECTOR, NO_VECTOR);
        // An earlier driver may have wanted to know when a display comes or goes.
        self.common.write16(CONFIG_MSIX_VECTOR, NO_VECTOR);
        self.write_address(QUEUE_DESC, place.descriptors);
        self.write_address(QUEUE_DRIVER, place.available);
        self.write_address(QUEUE_DEVICE, place.used);
        self.common.write16(QUEUE_ENABLE, 1);
    }

    fn doorbell(&mut self, queue: u16) -> Option<Doorbell> {
        self.common.write16(QUEUE_SELECT, queue);
        // Section 4.1.4.4: cap.offset + queue_notify_off * notify_off_multiplier.
        let offset = u32::from(self.common.read16(QUEUE_NOTIFY_OFF))
            .checked_mul(self.notify_multiplier)
            .filter(|offset| {
                offset % 2 == 0
                    && offset
                        .checked_add(2)
                        .is_some_and(|end| end <= self.notify.length)
            })?;
        Some(Doorbell {
            offset: usize::try_from(offset).ok()?,
            width: Width::Bits16,
            queue,
        })
    }

    fn driver_features(&mut self) -> Option<Features> {
        self.common.write32(DRIVER_FEATURE_SELECT, 0);
        let low = self.common.read32(DRIVER_FEATURE);
        self.common.write32(DRIVER_FEATURE_SELECT, 1);
        let high = self.common.read32(DRIVER_FEATURE);
        let features = Features::from_bits_retain((u64::from(high) << 32) | u64::from(low));
        (self.resets_queues || !features.contains(Features::RING_RESET)).then_some(features)
    }

    fn queues(&mut self) -> u16 {
        self.common.read16(NUM_QUEUES)
    }

    fn descriptors(&mut self, queue: u16) -> Option<u64> {
        self.common.write16(QUEUE_SELECT, queue);
        let (low, high) = (
            self.common.read32(QUEUE_DESC),
            self.common.read32(QUEUE_DESC + 4),
        );
        Some((u64::from(high) << 32) | u64::from(low))
    }

    fn mark(&mut self, queue: u16, mark: u64) {
        self.common.write16(QUEUE_SELECT, queue);
        self.write_address(QUEUE_DESC, mark);
        self.write_address(QUEUE_DRIVER, 0);
        self.write_address(QUEUE_DEVICE, 0);
    }

    fn is_enabled(&mut self, queue: u16) -> bool {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.read16(QUEUE_ENABLE) != 0
    }

    fn reset_queue(&mut self, queue: u16) {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.write16(QUEUE_RESET, 1);
    }

    fn is_queue_reset(&mut self, queue: u16) -> bool {
        self.common.write16(QUEUE_SELECT, queue);
        // Section 4.1.4.3.2: 1 while it lasts, and the queue is not enabled after it.
        self.common.read16(QUEUE_RESET) == 0 && self.common.read16(QUEUE_ENABLE) == 0
    }

    fn config(&mut self, at: usize) -> Option<u32> {
        Some(self.config.as_ref()?.read32(at))
    }

    fn set_config(&mut self, at: usize, value: u32) {
        if let Some(config) = &self.config {
            config.write32(at, value);
        }
    }
}
