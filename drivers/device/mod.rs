// SPDX-License-Identifier: GPL-2.0

//! The device: how it is found and brought up, and who has it.

#[cfg(not(MODULE))]
pub(crate) mod boot_picture;
pub(crate) mod bound;
pub(crate) mod bring_up;
#[cfg(not(MODULE))]
pub(crate) mod discovery;
#[cfg(not(MODULE))]
pub(crate) mod handover;
#[cfg(not(MODULE))]
pub(crate) mod screen;
