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

// Only the VT needs all of `text`, and there is none in a module.
#![cfg_attr(any(MODULE, not(CONFIG_VT)), allow(dead_code, unused_imports))]

use kernel::prelude::*;

#[cfg(not(MODULE))]
mod firmware;
mod gpu;
mod linux;
mod stages;
mod text;
mod virtio;

#[cfg(all(CONFIG_VIRTGPU_BRIDGE_DYING, not(MODULE)))]
#[path = "../tests/dying/mod.rs"]
mod dying;
#[cfg(all(CONFIG_VIRTGPU_BRIDGE_KUNIT_TEST, not(MODULE)))]
#[path = "../tests/kunit/mod.rs"]
mod kunit;

module! {
    type: Bridge,
    name: "virtgpu_bridge",
    authors: ["The virtgpu_bridge authors"],
    description: "Boot console on virtio-gpu",
    license: "GPL",
}

/// The driver. Built in, all it does began with `earlycon=`, or when consoles were set up.
struct Bridge {
    #[cfg(MODULE)]
    _driver: Driver,
}

impl kernel::Module for Bridge {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(Self {
            #[cfg(MODULE)]
            _driver: {
                // SAFETY: A module begins once, and `Driver` goes with it.
                unsafe { linux::pci_driver::register(_module.as_ptr())? };
                stages::module::registered();
                Driver
            },
        })
    }
}

/// The module's driver, registered as long as this lives.
#[cfg(MODULE)]
struct Driver;

#[cfg(MODULE)]
impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: It was registered.
        unsafe { linux::pci_driver::unregister() };
    }
}
