// SPDX-License-Identifier: GPL-2.0

//! Text and pictures on the device's scanouts.
//!
//! | file | content |
//! |---|---|
//! | `log.rs` | [`log::Log`], the text console: the kernel's log, or a virtual terminal's text |
//! | `display.rs` | [`display::Display`], the renderer: pixels in the band, commands in the queue |
//! | `layout.rs` | scanouts that can show text, the grid for them, resources and their IDs |
//!
//! `log` uses `display`, `display` uses `layout`; all of them use [`crate::text`].

pub(crate) mod display;
pub(crate) mod layout;
pub(crate) mod log;
pub(crate) mod reader;
