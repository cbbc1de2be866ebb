// SPDX-License-Identifier: GPL-2.0

//! Starts virtual machines and reads their screens: what `vm`, `bench` and `stack` share.
//!
//! | file           | what                                                            |
//! |----------------|-----------------------------------------------------------------|
//! | `guests.rs`    | kernels, fonts, initramfs and the machines made of them         |
//! | `config.rs`    | what tests need of a kernel, and what a kernel has              |
//! | `qemu.rs`      | a virtual machine: arguments, process, monitor, serial port     |
//! | `process.rs`   | a program that a machine needs beside it                        |
//! | `window.rs`    | the window of a GPU with OpenGL, on an X server                 |
//! | `vnc.rs`       | a VNC client that resizes the display, or receives all updates  |
//! | `initramfs.rs` | what the guest runs                                             |
//! | `font.rs`      | the kernel's fonts                                              |
//! | `screen.rs`    | a screenshot, read cell by cell                                 |
//! | `painted.rs`   | a screenshot, compared pixel by pixel with what the guest drew   |
//! | `streams.rs`   | bytes for a terminal                                            |
//! | `log.rs`       | the serial port's log, laid out as on a screen and compared     |
//! | `tally.rs`     | counts of results                                               |
//!
//! All of it runs in the project's top folder, inside the tool root (`tests/toolroot`).

pub mod config;
pub mod font;
pub mod guests;
pub mod initramfs;
pub mod log;
pub mod painted;
#[path = "../../guest-kms/src/pattern.rs"]
mod pattern;
mod process;
pub mod qemu;
pub mod screen;
pub mod streams;
pub mod tally;
pub mod vnc;
mod window;
