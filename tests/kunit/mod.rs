// SPDX-License-Identifier: GPL-2.0

//! Tests that run in the guest, under KUnit, and on the host, under `cargo test`.

mod device;
mod firmware;
mod gpu;
mod text;
mod virtio;
