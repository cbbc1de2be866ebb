// SPDX-License-Identifier: GPL-2.0

//! Adoption: taking a device over from a driver that does not run any more, an earlier kernel's or
//! firmware's.
//!
//! A device reset would also clear a GPU's picture. Where RING_RESET was negotiated, a reset of the
//! queues is enough (VIRTIO 1.3, section 2.6.1): after it the device does not access the earlier
//! driver's memory any more, and continues with new queues.

use core::fmt;

use crate::virtio::{
    DeviceStatus,
    Features,
    Hal,
    Transport, //
};

/// The features that an earlier driver may have negotiated. Not among them are other formats of
/// virtqueues, descriptors and notifications. Nor are features by which the device uses more of
/// that driver's memory than its queues, because a reset of the queues does not end that: the host
/// continues to show the guest's pages of a blob (VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB), and the
/// context of a renderer completes its fences later, in the old queue. The pixels of other
/// resources are copies.
const SUPPORTED: Features = Features::GPU
    .difference(Features::VIRGL)
    .difference(Features::RESOURCE_BLOB)
    .difference(Features::CONTEXT_INIT)
    .union(Features::INDIRECT_DESC)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::RING_RESET);

/// Maximum number of queues that are reset; far more than a GPU has, which has two.
const MAX_QUEUES: u16 = 64;

/// The state of a device before its initialization, and its treatment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InitialState {
    /// Its status was 0: no driver used it.
    Idle,
    /// It ran and was adopted: it continues to run, with its picture.
    Adopted,
    /// It ran, could not be adopted, and was reset.
    Reset(AdoptionRefusal),
}

impl fmt::Display for InitialState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("was idle"),
            Self::Adopted => f.write_str("was running, adopted"),
            Self::Reset(reason) => write!(f, "was running, reset: {reason}"),
        }
    }
}

/// Why a device that runs was not adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdoptionRefusal {
    /// The driver has not requested it.
    NotRequested,
    /// The device status is not that of a working device with negotiated features.
    Status(DeviceStatus),
    /// The negotiated features cannot be read.
    UnknownFeatures,
    /// The negotiated features lack VERSION_1 or RING_RESET, or one of them is not supported.
    Features(Features),
    /// ACCESS_PLATFORM was negotiated, and the driver does not have the platform's addresses.
    AccessPlatform,
    /// The device has no queue, or more than [`MAX_QUEUES`]; their number.
    QueueCount(u16),
    /// The queue of this number did not complete its reset.
    QueueReset(u16),
}

impl fmt::Display for AdoptionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRequested => f.write_str("to begin anew"),
            Self::Status(status) => write!(f, "status {:#04x}", status.bits()),
            Self::UnknownFeatures => f.write_str("it does not tell its features"),
            Self::Features(features) if !features.contains(Features::RING_RESET) => {
                write!(f, "features {:#x} without RING_RESET", features.bits())
            }
            Self::Features(features) => write!(f, "features {:#x}", features.bits()),
            Self::AccessPlatform => f.write_str("ACCESS_PLATFORM"),
            Self::QueueCount(queues) => write!(f, "{queues} queues"),
            Self::QueueReset(queue) => write!(f, "queue {queue} does not come to rest"),
        }
    }
}

/// Resets all queues of a device that runs (section 2.6.1). The device keeps its status, its
/// features and its picture. Returns the negotiated features. `platform_dma` says whether the
/// driver can honour ACCESS_PLATFORM.
///
/// # Errors
///
/// As [`AdoptionRefusal`] says. Some of the queues may be reset then, so that the device must be
/// reset.
pub(crate) fn adopt(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    platform_dma: bool,
) -> Result<Features, AdoptionRefusal> {
    let status = transport.status();
    let working = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
    // QEMU clears DRIVER_OK when bus mastering ends.
    if status.difference(DeviceStatus::DRIVER_OK) != working {
        return Err(AdoptionRefusal::Status(status));
    }
    let features = transport
        .driver_features()
        .ok_or(AdoptionRefusal::UnknownFeatures)?;
    let needed = Features::VERSION_1 | Features::RING_RESET;
    if !features.contains(needed)
        || !SUPPORTED.contains(features)
        || !transport.device_features().contains(features)
    {
        return Err(AdoptionRefusal::Features(features));
    }
    if features.contains(Features::ACCESS_PLATFORM) && !platform_dma {
        return Err(AdoptionRefusal::AccessPlatform);
    }
    let queues = transport.num_queues();
    if !(1..=MAX_QUEUES).contains(&queues) {
        return Err(AdoptionRefusal::QueueCount(queues));
    }
    for queue in 0..queues {
        if transport.is_queue_enabled(queue) {
            transport.reset_queue(queue);
            if !hal.wait(&mut || transport.is_queue_reset(queue)) {
                return Err(AdoptionRefusal::QueueReset(queue));
            }
        }
    }
    Ok(features)
}
