// SPDX-License-Identifier: GPL-2.0

//! A boot console on virtio-gpu, which has no framebuffer that could be inherited from firmware:
//! the log from the first line on, then the virtual terminal, and a panic at any time, until the
//! native driver gets the device.
//!
//! | room | what lives there |
//! |---|---|
//! | [`stages`] | the boot as the user sees it: Linux on one side, the rooms below on the other |
//! | [`text`] | cells, glyphs, rows on a panning screen: what changes, as rectangles |
//! | [`firmware`] | what firmware left: where the device is, and what was on its screen |
//! | [`gpu`] | speaking virtio-gpu: wire structures and typed commands |
//! | [`virtio`] | reaching a device: PCI, MMIO, features, the split ring |
//! | [`linux`] | what the kernel crate does not wrap yet |
//!
//! Calls run downwards; only what the kernel calls, a console's `write()` or a hook, enters by
//! `linux` and goes up to its stage. `text`, `firmware`, `gpu` and `virtio` are pure: no `unsafe`,
//! no kernel, no allocation, so that they compile, and are tested, anywhere.
//!
//! # What is believed, and by whom it was said
//!
//! | who says it | what is checked | what is left to trust |
//! |---|---|---|
//! | the device: registers, capabilities, responses, the used ring | each value, before it is used; text, scanouts and all other state are in memory that it cannot write | it can show something else, or nothing, and take its time up to the bounds below; without an IOMMU it reaches all memory, as any device does |
//! | firmware: devicetree, ACPI, EFI's tables and memory map, the picture | lengths, sums, alignment, that what is read lies within its table; an error ends the search there, in one line; that registers are not where RAM is, if a map says where that is | that its addresses are those of the devices it names, as Linux itself trusts it to |
//! | the command line and sysfs | each word; a wrong one gets a line, and the default is taken | who is root may bind a device that something else uses |
//! | another driver, another kernel | nothing of theirs: the device is reset, or its queues are, before ours begin | that nobody else drives the device at the same time, which the driver core sees to |
//!
//! | stage | memory that the device is told of | registers |
//! |---|---|---|
//! | `earlycon=`, `console_init()` | 240 KiB of the kernel's image, at its physical address, for good: no IOMMU, no bounce buffer, and none at all for a device that wants ACCESS_PLATFORM | `early_ioremap()`, then `ioremap()` |
//! | bound by the driver core, and the module | that, or the same size from the DMA API, which knows IOMMUs and what private guests share | `pci_iomap_range()`, `ioremap()` |
//! | a kernel that dies | what it had; nothing is allocated or mapped but the page of early consoles, if it is ours | as they were |
//!
//! A guest whose memory is private (a realm of Arm's, a protected guest of KVM's) gets its screen
//! from the driver core. It has to leave `earlycon=virtgpu` out: Linux learns what it is after that
//! is read, and the access to a device's registers ends in an abort until then.
//!
//! # Bounds
//!
//! | what | at most | why |
//! |---|---|---|
//! | one answer of the device | 3 s | a host under load is slow, and not dead |
//! | all waits of one use of the screen | 6 s | a device that answers late does not keep the console lock from others |
//! | a device that was waited for in vain | nothing more | what is written costs nothing; once a second a look whether it answers again |
//! | recoveries of a device, in all | 8 | each may cost a wait again |
//! | a panic's wait for a CPU that runs and has the screen | 1 s, once; 7 s at its last line | a line takes less, so that the others are stopped soon; a device may keep the CPU for 6 s |
//! | times that a panic sets the device up | 2 | once for whoever was in the middle of it, once for a fault of ours |
//! | commands on their way | 32 | what one line needs, and a power of two; who writes waits for a slot |
//! | queues that are reset before ours begin | 64 | more than any virtio-gpu has; a device with more is reset |
//! | PCI capabilities of a function | 48 | as many as fit into its 256 bytes, so that a loop ends |
//! | bridges before a device; nodes of a devicetree above one | 8; 16 | the stack is 16 KiB |
//! | bytes of an ACPI table; of a devicetree | 64 KiB; 2 MiB | larger ones are broken; arm64's own bound |
//! | EFI tables; entries of its memory map | 256; 4096 | so that a wrong number ends |
//! | scanouts; the sides of one beside others; a cell grid | 16; 320x200 to 16384x16384 px; 65,536 cells, 1024 columns, 256 rows | virtio-gpu's own; what rows and cells have memory for |
//! | a resource on the host | 256 MiB | QEMU's `max_hostmem` |
//! | whole repaints, where the screen cannot pan | one in 16 ms | 60 frames a second |

// Only the VT needs all of `text`, and there is none in a module.
#![cfg_attr(any(MODULE, not(CONFIG_VT)), allow(dead_code, unused_imports))]
// What a device, a table, a command line or a user can reach must not panic.
#![warn(clippy::indexing_slicing)]

use kernel::prelude::*;

mod console;
mod device;
#[cfg(not(MODULE))]
mod firmware;
mod gpu;
mod linux;
#[cfg(not(MODULE))]
mod pci;
mod scanout;
mod text;
mod virtio;

#[cfg(all(CONFIG_VIRTGPU_BRIDGE_DYING, not(MODULE)))]
#[path = "../tests/dying/mod.rs"]
#[allow(clippy::indexing_slicing)]
mod dying;
#[cfg(all(CONFIG_VIRTGPU_BRIDGE_KUNIT_TEST, not(MODULE)))]
#[path = "../tests/kunit/mod.rs"]
#[allow(clippy::indexing_slicing)]
mod kunit;

module! {
    type: Bridge,
    name: "virtgpu_bridge",
    authors: ["The virtgpu_bridge authors"],
    description: "Boot console on virtio-gpu",
    license: "GPL",
}

/// The module. Built in, it has nothing to do: the initcalls below do all.
struct Bridge;

impl kernel::Module for Bridge {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        #[cfg(MODULE)]
        console::module::register(_module)?;
        Ok(Self)
    }
}

#[cfg(MODULE)]
impl Drop for Bridge {
    fn drop(&mut self) {
        console::module::unregister();
    }
}

// The initcalls of the driver in the kernel image, in their order; see `hooks.c`. Before them
// `earlycon=virtgpu` calls `console/earlycon.rs`.

/// The `console_initcall`, before that of the VT core. Starts the consoles on a screen.
#[cfg(not(MODULE))]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_console_init() -> kernel::ffi::c_int {
    console::observer::init();
    0
}

/// The `arch_initcall`, when buses exist and have no devices yet. Registers with the driver core.
#[cfg(not(MODULE))]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_arch_init() -> kernel::ffi::c_int {
    device::driver::register();
    console::preferred::finish();
    0
}

/// The `device_initcall_sync`, when built-in drivers are registered. Offers the device to the native
/// driver.
#[cfg(not(MODULE))]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_late_init() -> kernel::ffi::c_int {
    device::driver::built_in_drivers_are_registered();
    0
}
