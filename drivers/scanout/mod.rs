// SPDX-License-Identifier: GPL-2.0

//! Text and pictures on the device's scanouts.

pub(crate) mod display;
pub(crate) mod log;
pub(crate) mod reader;
