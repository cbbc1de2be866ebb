// SPDX-License-Identifier: GPL-2.0

//! Tests that run in the guest, under KUnit, and on the host, under `cargo test`.

// Each file has a module of its own name, as KUnit's macro needs a module with a body.
#![allow(clippy::module_inception)]

mod consoles;
pub(crate) mod device;
mod disconnected;
mod emergency;
mod firmware;
mod gpu;
pub(crate) mod handoff;
mod handover;
// It tests the kernel side of the driver.
#[cfg(CONFIG_KUNIT)]
mod owner;
mod picture;
mod text;
mod virtio;
