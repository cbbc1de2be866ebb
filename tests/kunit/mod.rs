// SPDX-License-Identifier: GPL-2.0

//! Tests that run in the guest, under KUnit, and on the host, under `cargo test`.

// A suite is in a module of its room's name, for KUnit's macro wants one with a body.
#![allow(clippy::module_inception)]

mod consoles;
pub(crate) mod device;
mod emergency;
mod firmware;
mod gone;
mod gpu;
pub(crate) mod handoff;
mod handover;
// What it tests is Linux' side.
#[cfg(CONFIG_KUNIT)]
mod owner;
mod picture;
mod text;
mod virtio;
