// SPDX-License-Identifier: GPL-2.0

//! The device: how it is discovered and brought up, and which driver has it.
//!
//! | file | what it does |
//! |---|---|
//! | [`discovery`] | discovers a device before the driver core has any |
//! | [`bring_up`] | brings a device up, from its registers to a log on its screen |
//! | [`active`] | the state of the active device, and the events that change it |
//! | [`bound`] | the resources of a device that the driver core has bound |
//! | [`driver`] | the driver's registrations and callbacks |
//! | [`handover`], [`native`] | hands the device over, and takes it back; decides when |
//! | [`boot_picture`] | shows firmware's picture until there is text |

#[cfg(not(MODULE))]
pub(crate) mod active;
#[cfg(not(MODULE))]
pub(crate) mod boot_picture;
pub(crate) mod bound;
pub(crate) mod bring_up;
#[cfg(not(MODULE))]
pub(crate) mod discovery;
#[cfg(not(MODULE))]
pub(crate) mod driver;
#[cfg(not(MODULE))]
pub(crate) mod handover;
#[cfg(not(MODULE))]
pub(crate) mod native;
