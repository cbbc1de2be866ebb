// SPDX-License-Identifier: GPL-2.0

//! A PCI fixup, by which the driver learns that the PCI core is about to size and move BARs.
//!
//! ```ignore
//! struct Fixup;
//!
//! unsafe impl PciFixup for Fixup {
//!     fn early(found: &Enumerated, device: PciDevice, bar: impl FnOnce(u8) -> u64) { .. }
//! }
//!
//! // The function that `DECLARE_PCI_FIXUP_EARLY()` in `hooks.c` names.
//! declare_pci_fixup!(rust_virtgpu_bridge_pci_fixup, Fixup);
//! ```

use kernel::bindings as kernel_bindings;

use crate::{
    linux::{
        bindings,
        pci_device::PciDevice, //
    },
    pci::{
        Address,
        Enumerated, //
    }, //
};

/// The offset of the first BAR in configuration space (PCI 3.0, section 6.2.5.1).
const BAR_0: u8 = 0x10;

/// A fixup for all PCI functions.
///
/// # Safety
///
/// The implementation does not use the device any more after
/// [`BusNotifier::removed`](crate::linux::notifier::BusNotifier::removed) was called for it.
pub(crate) unsafe trait PciFixup {
    /// Returns whether [`PciFixup::early`] is to be called.
    fn is_active() -> bool;

    /// Handles a function before the PCI core sizes its BARs, with memory decoding off. `bar`
    /// returns the bus address in the BAR of a number. May sleep.
    fn early(found: &Enumerated, device: PciDevice, bar: impl FnOnce(u8) -> u64);
}

/// Defines the function of the given name, which calls the fixup of the given type.
macro_rules! declare_pci_fixup {
    ($name:ident, $type:ty) => {
        /// Calls the fixup; see `DECLARE_PCI_FIXUP_EARLY()` in `hooks.c`.
        ///
        /// # Safety
        ///
        /// Called by `pci_setup_device()` (drivers/pci/probe.c) alone; see
        /// [`early`](crate::linux::pci_fixup::early).
        #[no_mangle]
        unsafe extern "C" fn $name(device: *mut kernel::bindings::pci_dev) {
            // SAFETY: By the safety requirement.
            unsafe { $crate::linux::pci_fixup::early::<$type>(device) };
        }
    };
}
pub(crate) use declare_pci_fixup;

/// Describes the function to the fixup.
///
/// # Safety
///
/// Called by `pci_setup_device()` (drivers/pci/probe.c), which may sleep, with a device that nobody
/// else knows yet, and that has a bus and a name.
pub(crate) unsafe fn early<T: PciFixup>(device: *mut kernel_bindings::pci_dev) {
    if !T::is_active() {
        return;
    }
    // SAFETY: By the safety requirement nobody else accesses the device before this returns. Its
    // bus is valid, and so are the buses above it, up to the root bus; their numbers do not change.
    let (bus, devfn, id, first, last) = unsafe {
        let device = &*device;
        let mut root = device.bus;
        while !(*root).parent.is_null() {
            root = (*root).parent;
        }
        (
            (*device.bus).number,
            device.devfn,
            u32::from(device.device) << 16 | u32::from(device.vendor),
            (*root).busn_res.start,
            (*root).busn_res.end,
        )
    };
    let (Ok(devfn), Ok(first), Ok(last)) =
        (u8::try_from(devfn), u8::try_from(first), u8::try_from(last))
    else {
        return;
    };
    let Some(function) = Address::new(bus, devfn >> 3, devfn & 7) else {
        return;
    };
    let found = Enumerated {
        // SAFETY: By the safety requirement; it reads a number of the device's bus.
        domain: unsafe { bindings::virtgpu_bridge_pci_domain(device.cast()) },
        buses: first..=last,
        function,
        id,
    };
    let dword = |offset: u8| {
        let mut value = 0;
        // SAFETY: By the safety requirement the configuration space can be read, and `value` is a
        // place for the result, which is all ones if it cannot be read.
        unsafe { kernel_bindings::pci_read_config_dword(device, offset.into(), &mut value) };
        u64::from(value)
    };
    let bar = |number: u8| {
        let low = dword(BAR_0 + 4 * number);
        // PCI 3.0, section 6.2.5.1: a BAR of type 2 has 64 bits.
        let high = if low & 6 == 4 {
            dword(BAR_0 + 4 * number + 4)
        } else {
            0
        };
        high << 32 | low & !0xf
    };
    // SAFETY: By the safety requirement the device is valid, and `pci_setup_device()` has come to
    // the early fixups. By the safety requirement of `PciFixup` it is not used after it is removed.
    if let Some(device) = unsafe { PciDevice::new(device) } {
        T::early(&found, device, bar);
    }
}
