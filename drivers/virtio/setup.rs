// SPDX-License-Identifier: GPL-2.0

//! Device initialization and reset (VIRTIO 1.3, sections 3.1.1 and 2.4).

use core::fmt;

use crate::virtio::{
    adoption::{
        adopt,
        AdoptionRefusal,
        InitialState, //
    },
    queue,
    DeviceStatus,
    Features,
    Hal,
    QueueAddresses,
    QueueNotify,
    Transport, //
};

/// Why a device could not be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SetupError {
    /// The device did not complete a reset.
    Reset,
    /// The device does not offer VERSION_1.
    Legacy,
    /// The device offers ACCESS_PLATFORM, or runs with it, and the caller has physical addresses
    /// alone.
    AccessPlatform,
    /// The device does not offer ACCESS_PLATFORM, and the caller has the platform's addresses
    /// alone.
    IommuBypass,
    /// The device cleared FEATURES_OK.
    FeaturesRefused,
    /// The control queue does not exist, or takes too few descriptors; their number.
    QueueSize(u16),
    /// The control queue's notification register lies outside of the notification registers.
    QueueNotify,
    /// The device was disconnected meanwhile: its registers read as ones.
    Disconnected,
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
            Self::IommuBypass => f.write_str(
                "the device goes round its IOMMU (no ACCESS_PLATFORM): start it with iommu_platform=on",
            ),
            Self::FeaturesRefused => f.write_str("the device refused FEATURES_OK"),
            Self::QueueSize(size) => {
                write!(f, "the control queue takes {size} descriptors, too few")
            }
            Self::QueueNotify => {
                f.write_str("the doorbell lies outside of the notification registers")
            }
            Self::Disconnected => f.write_str("the device is gone"),
        }
    }
}

/// Stops a device's accesses to memory, for the next driver. Resets its queues alone, so that the
/// device keeps its picture, if it has used all buffers of the queue of `hal` and can be adopted.
/// Resets the device otherwise.
///
/// # Errors
///
/// As [`reset`].
pub(crate) fn quiesce(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
) -> Result<(), SetupError> {
    // A device may still work on a command without a response, even if its queue is reset.
    match queue::is_drained(hal) && adopt(transport, hal, true).is_ok() {
        true => Ok(()),
        false => reset(transport, hal),
    }
}

/// Resets a device and waits until its status is 0 (sections 2.4 and 4.1.4.3.2).
///
/// # Errors
///
/// [`SetupError::Reset`] if the status is not 0 in time, or if the device sets FAILED instead, as
/// those of libkrun's devices do that cannot be reset. Only a driver sets that bit by the
/// specification (section 2.1), so a device that sets it anew needs no more waiting.
pub(crate) fn reset(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
) -> Result<(), SetupError> {
    let had_failed = transport.status().contains(DeviceStatus::FAILED);
    transport.set_status(DeviceStatus::empty());
    let mut status = DeviceStatus::all();
    hal.wait(&mut || {
        status = transport.status();
        status.is_empty() || status.contains(DeviceStatus::FAILED) && !had_failed
    });
    match status.is_empty() {
        true => Ok(()),
        false => Err(SetupError::Reset),
    }
}

/// The result of a device initialization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// The features that the device offers.
    pub(crate) offered: Features,
    /// The negotiated features.
    pub(crate) features: Features,
    /// The size and the addresses of queue 0.
    pub(crate) queue: QueueAddresses,
    /// The notification register of queue 0.
    pub(crate) queue_notify: QueueNotify,
    /// The device's state before the initialization.
    pub(crate) initial_state: InitialState,
}

/// The kind of addresses that a driver has of its memory (section 6.1, ACCESS_PLATFORM).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// Physical addresses: no device with ACCESS_PLATFORM can be driven.
    Physical,
    /// The platform's addresses, which equal the physical ones: any device can be driven.
    Platform,
    /// The platform's addresses behind an IOMMU: the device must have ACCESS_PLATFORM.
    Iommu,
}

/// The features and the addresses that a driver requests of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requested {
    /// The features to accept if they are offered, besides VERSION_1.
    pub(crate) features: Features,
    /// The kind of addresses that the device gets.
    pub(crate) addresses: Addresses,
    /// Whether to adopt a device that runs, if possible, with the features that its last driver
    /// has accepted.
    pub(crate) adopts: bool,
}

/// Initialises a device from any state up to DRIVER_OK (section 3.1.1). Calls `addresses` with the
/// maximum size of queue 0, and enables the queue that it returns. Clears the queue's memory, which
/// is that of `hal`, when the device does not use it any more.
///
/// # Errors
///
/// As [`SetupError`] says. The device has status FAILED then, unless the error is
/// [`SetupError::Reset`]. A device that runs with ACCESS_PLATFORM is left as it is if the driver
/// has physical addresses alone.
pub(crate) fn initialise(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    requested: Requested,
    addresses: impl FnOnce(u16) -> Option<QueueAddresses>,
) -> Result<Negotiated, SetupError> {
    let adopted = match try_adopt(transport, hal, requested) {
        // Leave it as it is, for a driver with other addresses.
        Err(InitialState::Reset(AdoptionRefusal::AccessPlatform)) => {
            return Err(SetupError::AccessPlatform)
        }
        adopted => adopted,
    };
    let result = match adopted {
        Ok(features) => start_queue(transport, hal, features, InitialState::Adopted, addresses),
        Err(state) => {
            reset(transport, hal)?;
            negotiate(transport, requested)
                .and_then(|features| start_queue(transport, hal, features, state, addresses))
        }
    };
    if result.is_err() {
        // Section 2.1.1: a driver does not clear a bit.
        let status = transport.status();
        transport.set_status(status | DeviceStatus::FAILED);
    }
    result
}

/// Adopts a device that runs, if that is requested and possible. Returns its features.
///
/// # Errors
///
/// The state of the device, which must be reset.
fn try_adopt(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    requested: Requested,
) -> Result<Features, InitialState> {
    if transport.status().is_empty() {
        return Err(InitialState::Idle);
    }
    if !requested.adopts {
        return Err(InitialState::Reset(AdoptionRefusal::NotRequested));
    }
    let platform_dma = requested.addresses != Addresses::Physical;
    let features = adopt(transport, hal, platform_dma).map_err(InitialState::Reset)?;
    // Its addresses are of another kind than ours, and only a reset changes that.
    if requested.addresses == Addresses::Iommu && !features.contains(Features::ACCESS_PLATFORM) {
        return Err(InitialState::Reset(AdoptionRefusal::Features(features)));
    }
    Ok(features)
}

/// Negotiates the features: steps 2 to 6 of section 3.1.1. Returns the negotiated ones.
///
/// # Errors
///
/// [`SetupError::Legacy`], [`SetupError::AccessPlatform`], [`SetupError::IommuBypass`] or
/// [`SetupError::FeaturesRefused`].
fn negotiate(
    transport: &mut (impl Transport + ?Sized),
    requested: Requested,
) -> Result<Features, SetupError> {
    let mut status = DeviceStatus::ACKNOWLEDGE;
    transport.set_status(status);
    status |= DeviceStatus::DRIVER;
    transport.set_status(status);

    let offered = transport.device_features();
    if !offered.contains(Features::VERSION_1) {
        return Err(SetupError::Legacy);
    }
    match (
        offered.contains(Features::ACCESS_PLATFORM),
        requested.addresses,
    ) {
        (true, Addresses::Physical) => return Err(SetupError::AccessPlatform),
        (false, Addresses::Iommu) => return Err(SetupError::IommuBypass),
        _ => {}
    }
    let wanted = requested.features | Features::VERSION_1 | Features::ACCESS_PLATFORM;
    let accepted = offered & wanted;
    transport.set_driver_features(accepted);
    status |= DeviceStatus::FEATURES_OK;
    transport.set_status(status);
    if transport.status().contains(DeviceStatus::FEATURES_OK) {
        Ok(accepted)
    } else {
        Err(SetupError::FeaturesRefused)
    }
}

/// Enables queue 0 and sets DRIVER_OK: steps 7 and 8 of section 3.1.1.
///
/// # Errors
///
/// [`SetupError::QueueSize`], [`SetupError::QueueNotify`] or [`SetupError::Disconnected`].
fn start_queue(
    transport: &mut (impl Transport + ?Sized),
    hal: &impl Hal,
    features: Features,
    initial_state: InitialState,
    addresses: impl FnOnce(u16) -> Option<QueueAddresses>,
) -> Result<Negotiated, SetupError> {
    let offered = transport.device_features();
    let size = transport.queue_size_max(0);
    let queue = addresses(size).ok_or(SetupError::QueueSize(size))?;
    // Nothing that can fail comes after the device has our addresses.
    let queue_notify = transport.queue_notify(0).ok_or(SetupError::QueueNotify)?;
    let status = transport.status();
    if status.is_disconnected() {
        return Err(SetupError::Disconnected);
    }
    queue::clear(hal);
    transport.enable_queue(0, &queue);
    transport.set_status(status | DeviceStatus::DRIVER_OK);
    Ok(Negotiated {
        offered,
        features,
        queue,
        queue_notify,
        initial_state,
    })
}
