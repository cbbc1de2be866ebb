// SPDX-License-Identifier: GPL-2.0

//! Virtio over the PCI bus, without the legacy interface (VIRTIO 1.3, section 4.1).

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

/// PCI vendor ID of all virtio devices (section 4.1.2).
pub(crate) const VENDOR: u16 = 0x1af4;
/// PCI device ID of a GPU: 0x1040 + 16 (section 4.1.2).
pub(crate) const DEVICE_GPU: u16 = 0x1050;

/// Length in bytes of the common configuration structure of version 1.0, which ends with
/// `queue_device`.
const COMMON_BYTES: u32 = 56;
/// Length in bytes of that of version 1.2, which ends with `queue_reset`.
const COMMON_BYTES_RESET: u32 = 60;

// Values of `cfg_type` in `struct virtio_pci_cap` (section 4.1.4).
const CAP_COMMON: u8 = 1;
const CAP_NOTIFY: u8 = 2;
const CAP_DEVICE: u8 = 4;
/// The capability ID of vendor-specific PCI capabilities.
const CAP_VENDOR: u8 = 0x09;
/// Maximum number of capabilities: each has at least 4 bytes of 0x40..0x100.
const CAPS_MAX: u32 = 48;

// Offsets of `struct virtio_pci_common_cfg` (section 4.1.4.3), in bytes.
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

/// VIRTIO_MSI_NO_VECTOR: no MSI-X interrupt, of a queue or of the configuration (section
/// 4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;

/// Why the capabilities of a PCI function cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CapabilityError {
    /// The list has more capabilities than fit into its space: it has a loop.
    Loop,
    /// The structure of this name does not exist, or is malformed.
    Missing(&'static str),
    /// All structures of one type are in BARs that cannot be used; the first one is in this BAR.
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

/// A region of a BAR, which `struct virtio_pci_cap` describes (section 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BarRegion {
    /// The number of the BAR, 0 to 5.
    pub(crate) bar: u8,
    /// Offset into the BAR, in bytes.
    pub(crate) offset: u32,
    /// Length in bytes.
    pub(crate) length: u32,
}

impl BarRegion {
    /// Returns whether the region lies within a BAR of `size` bytes.
    pub(crate) fn fits(&self, size: u64) -> bool {
        u64::from(self.offset) + u64::from(self.length) <= size
    }
}

/// The regions that have a virtio function's registers (section 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// The common configuration, at least as long as that of version 1.0.
    pub(crate) common: BarRegion,
    /// The notification registers.
    pub(crate) notify: BarRegion,
    /// `notify_off_multiplier`: bytes between the registers of consecutive `queue_notify_off`
    /// (section 4.1.4.4).
    pub(crate) notify_off_multiplier: u32,
    /// The device-specific configuration, if there is one that can be used.
    pub(crate) device: Option<BarRegion>,
}

/// The number of BARs of a function that is not a bridge.
pub(crate) const BARS: usize = 6;

/// A search for the first usable structure of one type.
struct FirstUsable<T> {
    name: &'static str,
    first: Option<T>,
    /// The BAR of the first well-formed structure that cannot be used for its BAR.
    unusable_bar: Option<u8>,
}

impl<T> FirstUsable<T> {
    /// Begins a search for structures of the type `name`.
    fn new(name: &'static str) -> Self {
        Self {
            name,
            first: None,
            unusable_bar: None,
        }
    }

    /// Accepts the structure that `make` returns, if it is the first one and if the driver can
    /// access `region`, the part of the structure that it uses. `bars` is as in
    /// [`Capabilities::read`].
    fn consider(&mut self, bars: &[u64; BARS], region: BarRegion, make: impl FnOnce() -> T) {
        if self.first.is_some() {
            return;
        }
        let size = bars.get(usize::from(region.bar)).copied().unwrap_or(0);
        if size != 0 && region.fits(size) {
            self.first = Some(make());
        } else {
            self.unusable_bar.get_or_insert(region.bar);
        }
    }

    /// Returns the accepted structure.
    ///
    /// # Errors
    ///
    /// [`CapabilityError::Bar`] or [`CapabilityError::Missing`] if there is none.
    fn finish(self) -> Result<T, CapabilityError> {
        self.first.ok_or(match self.unusable_bar {
            Some(bar) => CapabilityError::Bar(bar),
            None => CapabilityError::Missing(self.name),
        })
    }
}

impl Capabilities {
    /// Reads the capability list of a function. `read` returns the configuration dword at an offset
    /// that is a multiple of four and below 0x100. `bars` has the size in bytes of each BAR that is
    /// memory and has an address, and 0 for each other one.
    ///
    /// Accepts the first usable structure of each type, as section 4.1.4.1 requires. A device may
    /// offer the same structure in an I/O BAR and in a memory BAR, in any order.
    ///
    /// # Errors
    ///
    /// [`CapabilityError::Loop`] if the list does not end; [`CapabilityError::Missing`] if there is
    /// no common or notification structure; [`CapabilityError::Bar`] if all of one type are in BARs
    /// that cannot be used.
    pub(crate) fn read(
        mut read: impl FnMut(u16) -> u32,
        bars: &[u64; BARS],
    ) -> Result<Self, CapabilityError> {
        let mut common = FirstUsable::new("common");
        let mut notify = FirstUsable::new("notify");
        let mut device = FirstUsable::new("device");
        let [.., status_low, _] = read(0x04).to_le_bytes();
        let [mut at, ..] = read(0x34).to_le_bytes();
        if status_low & (1 << 4) == 0 {
            // There is no capability list (PCI 3.0, section 6.2.3).
            at = 0;
        }
        let mut remaining = CAPS_MAX;
        loop {
            // The low two bits are reserved (PCI 3.0, section 6.7).
            at &= !3;
            if at < 0x40 {
                break;
            }
            remaining = remaining.checked_sub(1).ok_or(CapabilityError::Loop)?;
            let offset = u16::from(at);
            let [id, next, length, kind] = read(offset).to_le_bytes();
            // The multiplier ends at byte 20. A structure must not reach past 0x100.
            if id == CAP_VENDOR && length >= 16 && offset + u16::from(length) <= 0x100 {
                let [bar, ..] = read(offset + 4).to_le_bytes();
                let region = BarRegion {
                    bar,
                    offset: read(offset + 8),
                    length: read(offset + 12),
                };
                // Sections 4.1.4.3.1, 4.1.4.4.1 and 4.1.4.6.1.
                let aligned = |align| usize::from(region.bar) < BARS && region.offset % align == 0;
                match kind {
                    CAP_COMMON if aligned(4) && region.length >= COMMON_BYTES => {
                        common.consider(bars, common_window(region), || region);
                    }
                    CAP_NOTIFY if aligned(2) && length >= 20 && region.length >= 2 => {
                        notify.consider(bars, region, || (region, read(offset + 16)));
                    }
                    CAP_DEVICE if aligned(4) => {
                        if let Some(window) = config_window(region) {
                            device.consider(bars, window, || region);
                        }
                    }
                    _ => {}
                }
            }
            at = next;
        }
        let common = common.finish()?;
        let (notify, notify_off_multiplier) = notify.finish()?;
        Ok(Self {
            common,
            notify,
            notify_off_multiplier,
            device: device.first,
        })
    }

    /// Returns the part of the common configuration that [`Pci::new`] needs.
    pub(crate) fn window(&self) -> BarRegion {
        common_window(self.common)
    }

    /// Returns the part of the device-specific configuration that [`Pci::with_config`] needs, or
    /// `None` if there is no usable one.
    pub(crate) fn config(&self) -> Option<BarRegion> {
        config_window(self.device?)
    }
}

/// Returns the part of a common configuration that is used.
fn common_window(common: BarRegion) -> BarRegion {
    BarRegion {
        length: common.length.min(COMMON_BYTES_RESET),
        ..common
    }
}

/// Returns the part of a device-specific configuration that is used; `None` if it is too short.
fn config_window(device: BarRegion) -> Option<BarRegion> {
    let length = CONFIG_BYTES as u32;
    (device.length >= length).then_some(BarRegion { length, ..device })
}

/// The transport of a virtio PCI function.
pub(crate) struct Pci<R> {
    /// The common configuration.
    common: R,
    /// [`CONFIG_BYTES`] of the device-specific configuration, if it is mapped.
    config: Option<R>,
    /// Whether the common configuration has the field `queue_reset`.
    has_queue_reset: bool,
    notify: BarRegion,
    notify_off_multiplier: u32,
}

impl<R: Registers> Pci<R> {
    /// Creates the transport. `common` maps the region that [`Capabilities::window`] returns.
    pub(crate) fn new(common: R, capabilities: &Capabilities) -> Self {
        Self {
            common,
            config: None,
            has_queue_reset: capabilities.common.length >= COMMON_BYTES_RESET,
            notify: capabilities.notify,
            notify_off_multiplier: capabilities.notify_off_multiplier,
        }
    }

    /// Adds the device-specific configuration. `config` maps the region that
    /// [`Capabilities::config`] returns.
    pub(crate) fn with_config(self, config: Option<R>) -> Self {
        Self { config, ..self }
    }

    /// Writes a 64-bit field as two 32-bit ones (section 4.1.3.1).
    fn write_address(&self, offset: usize, address: u64) {
        let (low, high) = halves(address);
        self.common.write32(offset, low);
        self.common.write32(offset + 4, high);
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

    fn status(&mut self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.common.read8(DEVICE_STATUS))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write8(DEVICE_STATUS, status.bits());
    }

    fn queue_size_max(&mut self, queue: u16) -> u16 {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.read16(QUEUE_SIZE)
    }

    fn enable_queue(&mut self, queue: u16, addresses: &QueueAddresses) {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.write16(QUEUE_SIZE, addresses.size);
        self.common.write16(QUEUE_MSIX_VECTOR, NO_VECTOR);
        // An earlier driver may have enabled the interrupt for changed displays.
        self.common.write16(CONFIG_MSIX_VECTOR, NO_VECTOR);
        self.write_address(QUEUE_DESC, addresses.descriptors);
        self.write_address(QUEUE_DRIVER, addresses.available);
        self.write_address(QUEUE_DEVICE, addresses.used);
        self.common.write16(QUEUE_ENABLE, 1);
    }

    fn queue_notify(&mut self, queue: u16) -> Option<QueueNotify> {
        self.common.write16(QUEUE_SELECT, queue);
        // Section 4.1.4.4: cap.offset + queue_notify_off * notify_off_multiplier.
        let offset = u32::from(self.common.read16(QUEUE_NOTIFY_OFF))
            .checked_mul(self.notify_off_multiplier)
            .filter(|offset| {
                offset % 2 == 0
                    && offset
                        .checked_add(2)
                        .is_some_and(|end| end <= self.notify.length)
            })?;
        Some(QueueNotify {
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
        (self.has_queue_reset || !features.contains(Features::RING_RESET)).then_some(features)
    }

    fn num_queues(&mut self) -> u16 {
        self.common.read16(NUM_QUEUES)
    }

    fn queue_desc(&mut self, queue: u16) -> Option<u64> {
        self.common.write16(QUEUE_SELECT, queue);
        let (low, high) = (
            self.common.read32(QUEUE_DESC),
            self.common.read32(QUEUE_DESC + 4),
        );
        Some((u64::from(high) << 32) | u64::from(low))
    }

    fn set_queue_desc(&mut self, queue: u16, value: u64) {
        self.common.write16(QUEUE_SELECT, queue);
        self.write_address(QUEUE_DESC, value);
        self.write_address(QUEUE_DRIVER, 0);
        self.write_address(QUEUE_DEVICE, 0);
    }

    fn is_queue_enabled(&mut self, queue: u16) -> bool {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.read16(QUEUE_ENABLE) != 0
    }

    fn reset_queue(&mut self, queue: u16) {
        self.common.write16(QUEUE_SELECT, queue);
        self.common.write16(QUEUE_RESET, 1);
    }

    fn is_queue_reset(&mut self, queue: u16) -> bool {
        self.common.write16(QUEUE_SELECT, queue);
        // Sections 4.1.4.3.1 and 4.1.4.3.2: `queue_reset` is 1 during the reset, and after it the
        // queue is not enabled.
        self.common.read16(QUEUE_RESET) == 0 && self.common.read16(QUEUE_ENABLE) == 0
    }

    fn config(&mut self, offset: usize) -> Option<u32> {
        Some(self.config.as_ref()?.read32(offset))
    }

    fn set_config(&mut self, offset: usize, value: u32) {
        if let Some(config) = &self.config {
            config.write32(offset, value);
        }
    }
}
