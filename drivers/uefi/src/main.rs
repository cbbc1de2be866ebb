// SPDX-License-Identifier: GPL-2.0

//! The firmware side of the handoff: a UEFI driver that keeps what is on a virtio-gpu's screen for
//! the kernel.
//!
//! Firmware draws on a virtio-gpu through `GOP.Blt()`, into memory of its own, and resets the
//! device when the boot loader calls ExitBootServices(). This driver copies the picture before
//! that, and after it, still in ExitBootServices(), brings the device up again with the rooms that
//! the kernel's driver is built from, has it show the copy, and leaves it running. A configuration
//! table says what is there; its format is [`firmware::handoff`].
//!
//! | file        | what                                                        |
//! |-------------|-------------------------------------------------------------|
//! | `exit.rs`   | the events, from finding the screen to lighting it again    |
//! | `screen.rs` | the screen: a GOP without a framebuffer, and the text on it |
//! | `device.rs` | the virtio-gpu behind it                                    |
//! | `pci_io.rs` | firmware's way to a PCI function                            |
//! | `pages.rs`  | memory of a kind, in whole pages                            |
//! | `table.rs`  | the configuration table                                     |
//! | `owned.rs`  | what the events share                                       |

#![no_std]
#![no_main]

mod device;
mod exit;
mod owned;
mod pages;
mod pci_io;
mod screen;
mod table;

// The rooms, of which this home of theirs does not use all.
#[allow(dead_code, unused_imports)]
#[path = "../../firmware/mod.rs"]
mod firmware;
#[allow(dead_code, unused_imports)]
#[path = "../../gpu/mod.rs"]
mod gpu;
#[allow(dead_code, unused_imports)]
#[path = "../../pci/mod.rs"]
mod pci;
#[allow(dead_code, unused_imports)]
#[path = "../../virtio/mod.rs"]
mod virtio;

use core::{
    fmt::{
        self,
        Write, //
    },
    panic::PanicInfo, //
};
use uefi::{
    entry,
    system,
    table::system_table_raw,
    Status, //
};

#[entry]
fn main() -> Status {
    match exit::start() {
        Ok(prepared) => {
            say(format_args!("{prepared}"));
            Status::SUCCESS
        }
        Err(exit::Refusal::Loaded) => {
            say(format_args!("is loaded already"));
            Status::ALREADY_STARTED
        }
        // It has events then, which are not left without their functions.
        Err(exit::Refusal::Events(status)) => {
            say(format_args!("cannot know when firmware ends: {status}"));
            Status::SUCCESS
        }
    }
}

/// A line on the console, if there is one yet.
fn say(what: fmt::Arguments<'_>) {
    let Some(system) = system_table_raw() else {
        return;
    };
    // SAFETY: It is the system table that the entry point was given, which stays (UEFI 2.10,
    // section 4.3). Firmware waits for us, and does not change it meanwhile.
    if unsafe { system.as_ref() }.stdout.is_null() {
        return;
    }
    // Nobody is told that nobody can be told.
    system::with_stdout(|out| {
        let _ = writeln!(out, "virtgpu_handoff: {what}");
    });
}

/// There is no way back into firmware from here, and nothing should come here: at the end this
/// driver neither indexes nor unwraps, and what the crate asserts about a screen was seen to be so.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
