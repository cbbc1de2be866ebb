// SPDX-License-Identifier: GPL-2.0

//! Abstractions for the parts of Linux that the kernel crate does not have yet. Nearly all of the
//! driver's `unsafe` is here. A file that calls the driver back has a trait for its user to
//! implement. Nothing here uses the layers above.
//!
//! | file | what it abstracts |
//! |---|---|
//! | [`arch`] | functions that differ between architectures: the counter, physical addresses, the fixmap |
//! | [`atomic_option`], [`owner`], [`mutex`] | state that a panic may take over; exclusive access |
//! | [`bindings`], [`table`] | bindgen's output, constant tables for the kernel |
//! | [`clock`], [`work`] | bounded waits; work items and timers |
//! | [`console`], [`earlycon`], [`legacy_console`], [`nbcon`] | consoles of the printk core |
//! | [`consw`], [`vc`], [`font`] | the VT core: console drivers, virtual consoles, fonts |
//! | [`driver_core`], [`device_id`], [`notifier`], [`uevent`], [`pm`] | the driver core |
//! | [`pci_driver`], [`pci_device`], [`pci_fixup`], [`platform_driver`] | drivers and devices on a bus |
//! | [`early`], [`io_mapping`], [`registers`], [`notify`] | registers and memory before and after `ioremap()` |
//! | [`queue_memory`], [`dma_memory`] | memory that is shared with the device |
//! | [`kms`] | the KMS driver, which may be a module, and pixels of its framebuffers |
//! | [`kmsg`], [`parameters`], [`spcr`] | the kernel's log, parameters, ACPI's SPCR table |

pub(crate) mod arch;
pub(crate) mod atomic_option;
pub(crate) mod bindings;
pub(crate) mod clock;
pub(crate) mod console;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod consw;
pub(crate) mod device_id;
pub(crate) mod dma_memory;
#[cfg(not(MODULE))]
pub(crate) mod driver_core;
#[cfg(not(MODULE))]
pub(crate) mod early;
#[cfg(not(MODULE))]
pub(crate) mod earlycon;
pub(crate) mod font;
pub(crate) mod io_mapping;
pub(crate) mod kms;
pub(crate) mod kmsg;
#[cfg(MODULE)]
pub(crate) mod legacy_console;
pub(crate) mod mutex;
#[cfg(not(MODULE))]
pub(crate) mod nbcon;
pub(crate) mod notifier;
pub(crate) mod notify;
pub(crate) mod owner;
pub(crate) mod parameters;
pub(crate) mod pci_device;
pub(crate) mod pci_driver;
#[cfg(not(MODULE))]
pub(crate) mod pci_fixup;
#[cfg(not(MODULE))]
pub(crate) mod platform_driver;
pub(crate) mod pm;
pub(crate) mod queue_memory;
pub(crate) mod registers;
#[cfg(not(MODULE))]
pub(crate) mod spcr;
pub(crate) mod table;
#[cfg(not(MODULE))]
pub(crate) mod uevent;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod vc;
pub(crate) mod work;
