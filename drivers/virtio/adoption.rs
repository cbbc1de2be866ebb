// SPDX-License-Identifier: GPL-2.0

//! Taking a device over from a driver that is gone: an earlier kernel's, or firmware's.
//!
//! A reset takes everything from a device, and so a GPU's picture. Where both sides have agreed on
//! RING_RESET, its queues can be reset instead (VIRTIO 1.3, section 2.6.1): then it reaches no
//! memory of its last driver's any more, and goes on with queues of ours.

use core::fmt;

use crate::virtio::{
    Features,
    Hal,
    Status,
    Transport, //
};

/// What another driver may have agreed on with the device, and it still speaks with us: other
/// formats of rings, descriptors and doorbells are not among it. Nor is what has the device keep
/// more of that driver's memory than its rings, which a reset of the queues does not give back: a
/// blob is pages that the host goes on showing (VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB), and a context
/// of a renderer completes its fences later, into the old ring. The pixels of other resources have
/// been copied.
const UNDERSTOOD: Features = Features::GPU
    .difference(Features::VIRGL)
    .difference(Features::RESOURCE_BLOB)
    .difference(Features::CONTEXT_INIT)
    .union(Features::INDIRECT_DESC)
    .union(Features::EVENT_IDX)
    .union(Features::VERSION_1)
    .union(Features::ACCESS_PLATFORM)
    .union(Features::RING_RESET);

/// More queues than a GPU has by far, which has two.
const MAX_QUEUES: u16 = 64;

/// What a device was doing when it was found, and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nobody drove it.
    Idle,
    /// It ran, and still does, with what it shows.
    Adopted,
    /// It ran, could not be adopted, and was reset.
    Reset(Why),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("was idle"),
            Self::Adopted => f.write_str("was running, adopted"),
            Self::Reset(why) => write!(f, "was running, reset: {why}"),
        }
    }
}

/// Why a device that runs cannot be adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Whoever takes it does not want to.
    Unwanted,
    /// Its status is not that of a device that is well and knows its features.
    Status(Status),
    /// It does not tell what it has agreed on with its last driver.
    Silent,
    /// What it has agreed on does not contain VERSION_1 and RING_RESET, or something that is not
    /// known.
    Features(Features),
    /// It reaches memory by addresses of the platform's, of which there are none yet.
    Platform,
    /// So many queues are not believed.
    Queues(u16),
    /// The queue of this number does not come to rest.
    Queue(u16),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwanted => f.write_str("to begin anew"),
            Self::Status(status) => write!(f, "status {:#04x}", status.bits()),
            Self::Silent => f.write_str("it does not tell its features"),
            Self::Features(features) if !features.contains(Features::RING_RESET) => {
                write!(f, "features {:#x} without RING_RESET", features.bits())
            }
            Self::Features(features) => write!(f, "features {:#x}", features.bits()),
            Self::Platform => f.write_str("ACCESS_PLATFORM"),
            Self::Queues(queues) => write!(f, "{queues} queues"),
            Self::Queue(queue) => write!(f, "queue {queue} does not come to rest"),
        }
    }
}

/// Takes all queues from a device that runs. It keeps its status, the features that are returned,
/// and what it shows. `platform_dma` says that ACCESS_PLATFORM can be honoured.
///
/// # Errors
///
/// Why that cannot be; some of the queues may be reset then, and the device wants to be.
pub(crate) fn adopt(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    platform_dma: bool,
) -> Result<Features, Why> {
    let status = transport.status();
    let well = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    // QEMU clears DRIVER_OK when bus mastering ends.
    if status.difference(Status::DRIVER_OK) != well {
        return Err(Why::Status(status));
    }
    let features = transport.driver_features().ok_or(Why::Silent)?;
    let needed = Features::VERSION_1 | Features::RING_RESET;
    if !features.contains(needed)
        || !UNDERSTOOD.contains(features)
        || !transport.device_features().contains(features)
    {
        return Err(Why::Features(features));
    }
    if features.contains(Features::ACCESS_PLATFORM) && !platform_dma {
        return Err(Why::Platform);
    }
    let queues = transport.queues();
    if !(1..=MAX_QUEUES).contains(&queues) {
        return Err(Why::Queues(queues));
    }
    for queue in 0..queues {
        if transport.is_enabled(queue) {
            transport.reset_queue(queue);
            if !hal.wait(&mut || transport.is_queue_reset(queue)) {
                return Err(Why::Queue(queue));
            }
        }
    }
    Ok(features)
}
