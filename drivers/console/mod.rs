// SPDX-License-Identifier: GPL-2.0

//! The consoles, through which the kernel prints.
//!
//! | file | what it does |
//! |---|---|
//! | [`earlycon`] | `earlycon=virtgpu`, from the kernel's first line on |
//! | [`vt`] | the virtual terminal, from `console_init()` until the native driver's |
//! | [`nbcon`], [`emergency`] | emergencies and panics, in any context; which records they show |
//! | [`framebuffer`] | the framebuffer of a KMS client, in place of the text |
//! | [`preferred`] | whether the log is on the screen, with each line once |
//! | [`pacing`] | how often a screen is repainted that cannot pan |
//! | [`module`], [`legacy`] | the driver as a module: its device; the log on it |

#[cfg(not(MODULE))]
pub(crate) mod earlycon;
#[cfg(not(MODULE))]
pub(crate) mod emergency;
pub(crate) mod framebuffer;
#[cfg(MODULE)]
pub(crate) mod legacy;
#[cfg(MODULE)]
pub(crate) mod module;
#[cfg(not(MODULE))]
pub(crate) mod nbcon;
#[cfg(not(MODULE))]
pub(crate) mod observer;
#[cfg(not(MODULE))]
pub(crate) mod pacing;
#[cfg(not(MODULE))]
pub(crate) mod preferred;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod vt;
