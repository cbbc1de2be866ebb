// SPDX-License-Identifier: GPL-2.0

//! The firmware side of the handoff: a UEFI driver that preserves the screen of a virtio-gpu for
//! the kernel.
//!
//! Firmware draws on a virtio-gpu through `GOP.Blt()`, into memory of its own, and resets the
//! device when the boot loader calls ExitBootServices(). This driver copies the picture before the
//! reset. After the reset, still in ExitBootServices(), it brings the device up again with the same
//! sources as the kernel's driver, has it show the copy, and leaves it running. A configuration
//! table describes the result; [`firmware::handoff`] defines its format.
//!
//! | file          | what it contains                                              |
//! |---------------|---------------------------------------------------------------|
//! | `events.rs`   | the events, from finding the screen to handing it over        |
//! | `screen.rs`   | the screen: a GOP without a framebuffer, and its text cursor  |
//! | `device.rs`   | the virtio-gpu that the screen belongs to                     |
//! | `pci_io.rs`   | access to a PCI function through firmware                     |
//! | `pages.rs`    | pages of memory                                               |
//! | `table.rs`    | the configuration table                                       |
//! | `try_lock.rs` | the lock around the state that the events share               |

#![no_std]
#![no_main]

mod device;
mod events;
mod pages;
mod pci_io;
mod screen;
mod table;
mod try_lock;

// The pure folders of the kernel's driver. This driver does not use all of them.
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
    match events::start() {
        Ok(prepared) => {
            print(format_args!("{prepared}"));
            Status::SUCCESS
        }
        Err(events::StartError::AlreadyLoaded) => {
            print(format_args!("is loaded already"));
            Status::ALREADY_STARTED
        }
        // Stay loaded: some events may exist, and call functions of this image.
        Err(events::StartError::Events(status)) => {
            print(format_args!("cannot know when firmware ends: {status}"));
            Status::SUCCESS
        }
    }
}

/// Prints a line on firmware's console, if there is one.
fn print(what: fmt::Arguments<'_>) {
    let Some(system) = system_table_raw() else {
        return;
    };
    // SAFETY: It is the system table that the entry point got, which is valid as long as boot
    // services are (UEFI 2.10, section 4.3). Firmware does not change it while this function runs.
    if unsafe { system.as_ref() }.stdout.is_null() {
        return;
    }
    // If printing fails, there is no way to report it.
    system::with_stdout(|out| {
        let _ = writeln!(out, "virtgpu_handoff: {what}");
    });
}

/// Loops forever, since no code of firmware can handle a panic. It should never be called: at
/// ExitBootServices() this driver neither indexes nor unwraps, and the assertions of the `uefi`
/// crate about a screen have been found to hold.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
