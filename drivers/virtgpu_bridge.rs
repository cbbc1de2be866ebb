// SPDX-License-Identifier: GPL-2.0

//! A boot console on virtio-gpu, which has no framebuffer that Linux could inherit from firmware:
//! the log from the first line on, then the virtual terminal, and a panic at any time, until the
//! native driver gets the device.
//!
//! | folder | what it does | may use |
//! |---|---|---|
//! | [`console`] | the consoles: earlycon, the VT, nbcon, the module; framebuffers of programs | [`device`], [`scanout`], [`text`], [`firmware`], [`linux`] |
//! | [`device`] | discovery, bring-up, which driver has the device, handover, sleep, kexec | [`scanout`] and all below |
//! | [`scanout`] | text and pictures on scanouts | [`text`], [`gpu`], [`virtio`] |
//! | [`text`] | cells, glyphs and rows: what has changed, as rectangles of pixels | |
//! | [`gpu`] | virtio-gpu: wire structures and typed commands | [`virtio`] |
//! | [`virtio`] | virtio: PCI and MMIO transports, feature negotiation, the virtqueue | |
//! | [`firmware`] | tables of UEFI, ACPI and the devicetree; the boot picture; the command line | [`pci`] |
//! | [`pci`] | PCI before the PCI core: enumeration, BARs, bridges | |
//! | [`linux`] | abstractions for the parts of Linux that the kernel crate does not have yet | pure folders |
//!
//! Imports run downwards only, and `make style` checks that. The kernel calls a trait that a lower
//! folder declares and a higher one implements, or one of the initcalls at the end of this file.
//! `scanout`, `text`, `gpu`, `virtio`, `firmware` and `pci` are pure: no `unsafe`, nothing of the
//! kernel, no allocation. So are `console::emergency` and `device::native`, which make decisions.
//! Pure files are also compiled and tested on the host, and the UEFI driver uses some.
//!
//! # Where to find it
//!
//! | question | place |
//! |---|---|
//! | How does `earlycon=virtgpu` get to a screen? | [`console::earlycon`], then [`device::discovery`], [`device::bring_up`] and [`scanout::log`] |
//! | Where is the offset of a transfer chosen? | `transfer()` in [`scanout::display`], by `offset()` of [`text::band`] if the screen pans, by `strip_offset()` of [`text::strips`] if not |
//! | Does the device pan? | [`gpu::origin`] |
//! | When does virtio_gpu get the device? | `Handover::step()` in [`device::native`] decides when, `offer()` in [`device::handover`] gives it |
//! | What runs in NMI? | `Nbcon::write()` and `died()` in [`console::nbcon`], with all that they call: `take_over()` and `with_reader()` in [`device::active`], [`scanout::log`] and below. In a panic or a debugger also `Early::write()` in [`console::earlycon`] and the callbacks of [`console::vt`], without the console lock |
//! | How does a program draw? | `kms/kms.c`, a DRM driver, then [`console::framebuffer`], `draw_framebuffer()` in [`scanout::log`] and [`scanout::display`] |
//! | Who may draw? | the owner of the screen: [`linux::owner`], with the value in [`device::active`] |
//! | Which memory does the device access? | that of [`linux::queue_memory`], a part of `ImageMemory` in [`linux::early`] or of [`linux::dma_memory`] |
//!
//! # Terms
//!
//! These are the driver's own; all others are those of virtio, DRM, printk, UEFI and PCI.
//!
//! * *Band*: the memory that backs a far larger resource, because the resource lists its pages many
//!   times ([`text::band`]). A *slot* is the part of it that one text row is drawn in.
//! * *Tile*: a text row, or a part of one, that fits into a slot of a screen that pans. *Strip*:
//!   the same on a screen that does not pan, in the full width ([`text::strips`]).
//! * *Pan*: scroll by moving the rectangle of SET_SCANOUT over a resource that is higher than the
//!   screen. *Repaint*: scroll by drawing the rows that differ.
//! * *Ring row*: one of the rows that the text of a panning screen cycles through ([`text::grid`]).
//! * *Adopt*: take over a running device by a reset of its queues alone ([`virtio::adoption`]).
//! * *Handoff*: the table that the UEFI driver passes to the kernel. *Handover*: the change of the
//!   device's driver to virtio_gpu.
//!
//! # Trust
//!
//! | source | what is checked | what is trusted |
//! |---|---|---|
//! | the device: registers, capabilities, responses, the used ring | each value before its use; text, scanouts and all other state are in memory that the device cannot write | it may show something else, or nothing, and take its time up to the bounds below; without an IOMMU it can access all memory, as any device can |
//! | firmware: devicetree, ACPI, tables and memory map of EFI, the picture | lengths, checksums, alignment; that all reads are within a table; that registers are not where RAM is, if a map says where that is; an error ends the discovery there, with one line | that the addresses are those of the devices, as Linux itself trusts |
//! | the command line and sysfs | each word; a wrong one is logged, and the default is used | root may bind a device that another program uses |
//! | an earlier driver or kernel | none of its state is used: the device or its queues are reset first | that it does not drive the device at the same time, which the driver core ensures |
//!
//! | phase | memory for the device | registers |
//! |---|---|---|
//! | `earlycon=`, `console_init()` | 240 KiB of the kernel image, by its physical address, for good: no IOMMU, no bounce buffer, and none at all for a device with ACCESS_PLATFORM | `early_ioremap()`, then `ioremap()` |
//! | bound by the driver core, and the module | the same, or as much from the DMA API, which knows IOMMUs and what private guests share | `pci_iomap_range()`, `ioremap()` |
//! | a panic | the same; nothing is allocated, and nothing is mapped but the page of early consoles, if no other console uses it | as before |
//!
//! A guest with private memory (a realm, a protected guest of KVM) gets its screen when the driver
//! core binds the device. It must not use `earlycon=virtgpu`: Linux parses it before it knows the
//! kind of guest, and until then an access to device registers ends in an abort.
//!
//! # Bounds
//!
//! | what | at most | why |
//! |---|---|---|
//! | the wait for one answer of the device | 3 s | a host under load is slow, and not dead |
//! | all waits of one use of the screen | 6 s | a device that answers late does not keep the console lock from others |
//! | waits for a device that has timed out | none | text costs nothing then; once a second the driver checks whether the device answers |
//! | recoveries of a device | 8 | each may end in another timeout |
//! | the wait of a panic for a running CPU that owns the screen | 1 s, once; 7 s at the last line | a line takes less, and other CPUs are to be stopped soon; a device may keep the owner for 6 s |
//! | restarts of the log by a panic | 2 | one because an interrupted owner was changing the state, one because of a fault of the driver |
//! | commands in the virtqueue | 32 | as many as one line needs, and a power of two; a writer waits for a free slot |
//! | queues that are reset on adoption | 64 | more than any virtio-gpu has; a device with more is reset |
//! | PCI capabilities of a function | 48 | as many as fit into 256 bytes, so a loop ends |
//! | bridges before a device; depth of a devicetree | 8; 16 | the stack has 16 KiB |
//! | an ACPI table; a devicetree | 64 KiB; 2 MiB | larger ones are broken; the limit of arm64 |
//! | EFI tables; entries of the EFI memory map | 256; 4096 | a wrong number must end |
//! | scanouts; the size of one beside others; a cell grid | 16; 320x200 to 16384x16384 px; 65,536 cells, 1024 columns, 256 rows | the limit of virtio-gpu; the memory for rows and cells |
//! | a resource on the host | 256 MiB | the default of QEMU's `max_hostmem` |
//! | repaints of a screen that does not pan | one in 16 ms | 60 frames a second |

// Only the VT uses all of `text`, and a module has no VT.
#![cfg_attr(any(MODULE, not(CONFIG_VT)), allow(dead_code, unused_imports))]
// Input of a device, a table, the command line or a user must not cause a panic.
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

#[cfg(all(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST, not(MODULE)))]
#[path = "../tests/crash_test/mod.rs"]
#[allow(clippy::indexing_slicing)]
mod crash_test;
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

/// The module. Built into the kernel, it does nothing: the initcalls below do all the work.
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

/// Discovers a screen and starts the consoles on it. The `console_initcall`, before that of the VT
/// core.
#[cfg(not(MODULE))]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_console_init() -> kernel::ffi::c_int {
    console::observer::init();
    0
}

/// Registers with the driver core, and completes the choice of consoles. The `arch_initcall`, when
/// buses exist and have no devices yet.
#[cfg(not(MODULE))]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_arch_init() -> kernel::ffi::c_int {
    device::driver::register();
    console::preferred::finish();
    0
}

/// Has `device/handover.rs` offer the device to the native driver. The `device_initcall_sync`, when
/// built-in drivers are registered.
#[cfg(not(MODULE))]
#[no_mangle]
extern "C" fn rust_virtgpu_bridge_late_init() -> kernel::ffi::c_int {
    device::driver::built_in_drivers_are_registered();
    0
}
