// SPDX-License-Identifier: GPL-2.0

//! The driver's pure modules, compiled by cargo from the files that the kernel builds, and their
//! tests: those of `tests/kunit`, which run in the guest as well, and those that need an allocator,
//! random numbers or a device made by others:
//!
//! * [`guest`]: memory and a notify register, shared with a device;
//! * [`backend`]: the device side of a virtqueue, on rust-vmm's `virtio-queue`;
//! * [`wire`]: commands decoded by their offsets in the specification;
//! * [`host`]: a 2D device that executes them, on [`qemu`]'s pixels or [`rutabaga`]'s;
//! * [`faulty`]: a complete device, with configuration space and registers, and with faults;
//! * [`order`]: a machine with weak memory ordering, and the virtqueue on it;
//! * [`queue`], [`used_ring`], [`damage`], [`picture`], [`display`], [`log`], [`takeover`]: the
//!   tests, from the virtqueue to the screen and the whole driver.

// The driver uses all that the modules export; here only tests do.
#![allow(dead_code, unused_imports)]

/// The pure file of `console/`.
#[path = "../../../drivers/console"]
pub(crate) mod console {
    pub(crate) mod emergency;
}
/// The pure file of `device/`.
#[path = "../../../drivers/device"]
pub(crate) mod device {
    pub(crate) mod native;
}
#[path = "../../../drivers/firmware/mod.rs"]
pub(crate) mod firmware;
#[path = "../../../drivers/gpu/mod.rs"]
pub(crate) mod gpu;
#[path = "../../../drivers/pci/mod.rs"]
pub(crate) mod pci;
#[path = "../../../drivers/scanout/mod.rs"]
pub(crate) mod scanout;
#[path = "../../../drivers/text/mod.rs"]
pub(crate) mod text;
#[path = "../../../drivers/virtio/mod.rs"]
pub(crate) mod virtio;

#[cfg(test)]
mod backend;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod display;
#[cfg(test)]
mod faulty;
/// The fuzz targets: see `tests/fuzz`.
#[cfg(any(test, feature = "fuzz"))]
#[path = "../../fuzz/targets/mod.rs"]
pub mod fuzz;
#[cfg(test)]
mod guest;
#[cfg(test)]
mod host;
#[cfg(test)]
#[path = "../../kunit/mod.rs"]
mod kunit;
#[cfg(test)]
mod log;
#[cfg(test)]
mod order;
#[cfg(test)]
mod picture;
#[cfg(test)]
mod qemu;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod rutabaga;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod used_ring;
#[cfg(test)]
mod wire;

/// Returns the configuration of a property test with that many random inputs. A failing input is
/// printed, and no file is written.
#[cfg(test)]
fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}
