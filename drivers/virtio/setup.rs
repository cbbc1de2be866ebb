// SPDX-License-Identifier: GPL-2.0

//! Device initialisation (VIRTIO 1.3, section 3.1.1).

use core::fmt;

use crate::virtio::{
    adoption::{
        adopt,
        Found,
        Why, //
    },
    ring,
    Doorbell,
    Features,
    Hal,
    QueuePlace,
    Status,
    Transport, //
};

/// Why a device could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetupError {
    /// The device did not finish a reset.
    Reset,
    /// VERSION_1 is not offered.
    Legacy,
    /// ACCESS_PLATFORM is offered and the caller cannot honour it.
    AccessPlatform,
    /// ACCESS_PLATFORM is not offered and the caller's addresses are the platform's alone.
    RoundIommu,
    /// The device took FEATURES_OK back.
    FeaturesRefused,
    /// The control queue is not there, or takes too few descriptors.
    QueueSize(u16),
    /// The control queue's doorbell lies outside of the notification registers.
    Doorbell,
    /// The device went on the way: its registers read as ones.
    Gone,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("the device does not finish a reset"),
            Self::Legacy => f.write_str(
                "a legacy device (no VERSION_1): start it with disable-legacy=on,disable-modern=off",
            ),
            Self::AccessPlatform => f.write_str(
                "the device wants ACCESS_PLATFORM (an IOMMU or encrypted memory), which cannot be set up this early",
            ),
            Self::RoundIommu => f.write_str(
                "the device goes round its IOMMU (no ACCESS_PLATFORM): start it with iommu_platform=on",
            ),
            Self::FeaturesRefused => f.write_str("the device refused FEATURES_OK"),
            Self::QueueSize(size) => {
                write!(f, "the control queue takes {size} descriptors, too few")
            }
            Self::Doorbell => f.write_str("the doorbell lies outside of the notification registers"),
            Self::Gone => f.write_str("the device is gone"),
        }
    }
}

/// Keeps a device from memory, for whoever drives it next: with what it shows, if it has done all
/// that it was told in the ring behind `hal`, and its queues can be reset alone, and without
/// anything otherwise.
///
/// # Errors
///
/// As [`reset`].
pub(crate) fn quiesce(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
) -> Result<(), SetupError> {
    // One that owes an answer may yet work on the command, whatever it says of its queue.
    match ring::is_drained(hal) && adopt(transport, hal, true).is_ok() {
        true => Ok(()),
        false => reset(transport, hal),
    }
}

/// Resets a device and waits until it says that it is done (section 2.1.2 and 4.1.4.3.2).
///
/// # Errors
///
/// [`SetupError::Reset`] if it does not in time, or sets FAILED instead, as libkrun's devices do
/// that cannot be reset. A driver sets that bit (section 2.1), so a device that has not had it says
/// with it that there is nothing to wait for.
pub(crate) fn reset(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
) -> Result<(), SetupError> {
    let had_failed = transport.status().contains(Status::FAILED);
    transport.set_status(Status::empty());
    let mut status = Status::all();
    hal.wait(&mut || {
        status = transport.status();
        status.is_empty() || status.contains(Status::FAILED) && !had_failed
    });
    match status.is_empty() {
        true => Ok(()),
        false => Err(SetupError::Reset),
    }
}

/// What a device and its driver have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// The features that the device offers.
    pub(crate) offered: Features,
    /// The features that both have.
    pub(crate) features: Features,
    /// Where queue 0 is.
    pub(crate) queue: QueuePlace,
    /// The doorbell of queue 0.
    pub(crate) doorbell: Doorbell,
    /// What the device was doing before.
    pub(crate) found: Found,
}

/// The addresses that a driver has of its memory (section 6.1, ACCESS_PLATFORM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Physical ones: ACCESS_PLATFORM cannot be honoured.
    Physical,
    /// The platform's, which are physical ones as well: a device may have either.
    Platform,
    /// The platform's alone, behind an IOMMU: the device has to have ACCESS_PLATFORM.
    Iommu,
}

/// What a driver wants of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wishes {
    /// The features to be accepted beside VERSION_1, if they are offered.
    pub(crate) features: Features,
    /// Whose addresses the device gets.
    pub(crate) addresses: Addresses,
    /// A device that runs is adopted if possible, with the features that its last driver has
    /// accepted.
    pub(crate) adopts: bool,
}

/// Takes a device from whatever state it is in to DRIVER_OK with queue 0 enabled at the place that
/// `place` returns for the size it is given (the most the device takes). The memory of the ring,
/// behind `hal`, is cleared once the device does not work on it any more, and not before.
///
/// # Errors
///
/// The device is left with status FAILED, unless it did not even finish a reset, and the reason is
/// returned. One that runs and whose ACCESS_PLATFORM cannot be honoured is left as it is.
pub(crate) fn initialise(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    wishes: Wishes,
    place: impl FnOnce(u16) -> Option<QueuePlace>,
) -> Result<Agreement, SetupError> {
    let begun = match begin(transport, hal, wishes) {
        // It stays as it is, for who can honour it.
        Err(Found::Reset(Why::Platform)) => return Err(SetupError::AccessPlatform),
        begun => begun,
    };
    let result = match begun {
        Ok(features) => start(transport, hal, features, Found::Adopted, place),
        Err(found) => {
            reset(transport, hal)?;
            negotiate(transport, wishes)
                .and_then(|features| start(transport, hal, features, found, place))
        }
    };
    if result.is_err() {
        // Section 2.1.1: a driver does not clear a bit.
        let status = transport.status();
        transport.set_status(status | Status::FAILED);
    }
    result
}

/// Adopts a device that runs, if that is wanted and possible; returns its features. Otherwise it is
/// to be reset.
fn begin(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    wishes: Wishes,
) -> Result<Features, Found> {
    if transport.status().is_empty() {
        return Err(Found::Idle);
    }
    if !wishes.adopts {
        return Err(Found::Reset(Why::Unwanted));
    }
    let honours = wishes.addresses != Addresses::Physical;
    let features = adopt(transport, hal, honours).map_err(Found::Reset)?;
    // It has another idea of its addresses than we: it is told of that before it may begin.
    if wishes.addresses == Addresses::Iommu && !features.contains(Features::ACCESS_PLATFORM) {
        return Err(Found::Reset(Why::Features(features)));
    }
    Ok(features)
}

/// The first half of section 3.1.1: features.
fn negotiate(
    transport: &mut (impl Transport + ?Sized),
    wishes: Wishes,
) -> Result<Features, SetupError> {
    let mut status = Status::ACKNOWLEDGE;
    transport.set_status(status);
    status |= Status::DRIVER;
    transport.set_status(status);

    let offered = transport.device_features();
    if !offered.contains(Features::VERSION_1) {
        return Err(SetupError::Legacy);
    }
    match (
        offered.contains(Features::ACCESS_PLATFORM),
        wishes.addresses,
    ) {
        (true, Addresses::Physical) => return Err(SetupError::AccessPlatform),
        (false, Addresses::Iommu) => return Err(SetupError::RoundIommu),
        _ => {}
    }
    let wanted = wishes.features | Features::VERSION_1 | Features::ACCESS_PLATFORM;
    let accepted = offered & wanted;
    transport.set_driver_features(accepted);
    status |= Status::FEATURES_OK;
    transport.set_status(status);
    if transport.status().contains(Status::FEATURES_OK) {
        Ok(accepted)
    } else {
        Err(SetupError::FeaturesRefused)
    }
}

/// The second half: the queue.
fn start(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    features: Features,
    found: Found,
    place: impl FnOnce(u16) -> Option<QueuePlace>,
) -> Result<Agreement, SetupError> {
    let offered = transport.device_features();
    let size = transport.queue_size_max(0);
    let queue = place(size).ok_or(SetupError::QueueSize(size))?;
    // Nothing that can fail comes after the device knows our memory.
    let doorbell = transport.doorbell(0).ok_or(SetupError::Doorbell)?;
    let status = transport.status();
    if status.is_gone() {
        return Err(SetupError::Gone);
    }
    ring::clear(hal);
    transport.enable_queue(0, &queue);
    transport.set_status(status | Status::DRIVER_OK);
    Ok(Agreement {
        offered,
        features,
        queue,
        doorbell,
        found,
    })
}
