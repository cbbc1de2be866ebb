// SPDX-License-Identifier: GPL-2.0

//! What the kernel crate does not wrap yet, as safe as it can be made: early mappings, registers
//! and memory shared with a device, fonts, consoles and virtual terminals, drivers and the devices
//! that they hold, and the hooks by which the kernel calls us.

pub(crate) mod atomic_option;
pub(crate) mod bell;
pub(crate) mod bindings;
pub(crate) mod coherent;
pub(crate) mod console;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod consw;
#[cfg(not(MODULE))]
pub(crate) mod early;
#[cfg(not(MODULE))]
pub(crate) mod earlycon;
pub(crate) mod font;
#[cfg(not(MODULE))]
pub(crate) mod holder;
#[cfg(not(MODULE))]
pub(crate) mod hooks;
#[cfg(not(MODULE))]
pub(crate) mod kmsg;
pub(crate) mod mapped;
#[cfg(MODULE)]
pub(crate) mod module_console;
#[cfg(not(MODULE))]
pub(crate) mod mutex;
#[cfg(not(MODULE))]
pub(crate) mod nbcon;
#[cfg(not(MODULE))]
pub(crate) mod notifier;
pub(crate) mod owner;
pub(crate) mod parameters;
pub(crate) mod pci_device;
pub(crate) mod pci_driver;
#[cfg(not(MODULE))]
pub(crate) mod platform_driver;
#[cfg(not(MODULE))]
pub(crate) mod pm;
pub(crate) mod registers;
pub(crate) mod shared;
#[cfg(not(MODULE))]
pub(crate) mod spcr;
#[cfg(not(MODULE))]
pub(crate) mod table;
#[cfg(not(MODULE))]
pub(crate) mod uevent;
#[cfg(all(CONFIG_VT, not(MODULE)))]
pub(crate) mod vc;
#[cfg(not(MODULE))]
pub(crate) mod wake;
