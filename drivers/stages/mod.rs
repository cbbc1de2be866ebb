// SPDX-License-Identifier: GPL-2.0

//! The stages of a boot: Linux on one side, the rooms of this crate on the other.

pub(crate) mod display;
#[cfg(not(MODULE))]
pub(crate) mod earlycon;
pub(crate) mod log;
#[cfg(MODULE)]
pub(crate) mod module;
pub(crate) mod start;
