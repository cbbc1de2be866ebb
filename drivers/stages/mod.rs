// SPDX-License-Identifier: GPL-2.0

//! The boot as the user sees it, stage by stage.

#[cfg(not(MODULE))]
pub(crate) mod consoles;
#[cfg(not(MODULE))]
pub(crate) mod device;
pub(crate) mod display;
#[cfg(not(MODULE))]
pub(crate) mod earlycon;
#[cfg(not(MODULE))]
pub(crate) mod handover;
pub(crate) mod held;
pub(crate) mod log;
#[cfg(MODULE)]
pub(crate) mod module;
#[cfg(not(MODULE))]
pub(crate) mod pace;
#[cfg(not(MODULE))]
pub(crate) mod panic;
#[cfg(not(MODULE))]
pub(crate) mod picture;
#[cfg(not(MODULE))]
pub(crate) mod search;
pub(crate) mod start;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod vt;
