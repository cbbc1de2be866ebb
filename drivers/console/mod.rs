// SPDX-License-Identifier: GPL-2.0

//! The consoles: what the kernel prints through.

#[cfg(not(MODULE))]
pub(crate) mod earlycon;
#[cfg(MODULE)]
pub(crate) mod module;
#[cfg(not(MODULE))]
pub(crate) mod nbcon;
#[cfg(not(MODULE))]
pub(crate) mod pacing;
#[cfg(not(MODULE))]
pub(crate) mod preferred;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod vt;
