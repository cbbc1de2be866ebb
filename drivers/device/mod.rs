// SPDX-License-Identifier: GPL-2.0

//! The device: how it is discovered and brought up, and which driver has it.
//!
//! | file | what it does |
//! |---|---|
//! | [`discovery`] | discovers a device before the driver core has any |
//! | [`bring_up`] | brings a device up, from its registers to a log on its screen |
//! | [`active`] | the state of the active device, and what changes that |
//! | [`bound`] | the resources of a device that the driver core has bound |
//! | [`driver`] | the driver as the driver core knows it |
//! | [`handover`], [`native`] | gives the device to the native driver, and takes it back; when |
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
