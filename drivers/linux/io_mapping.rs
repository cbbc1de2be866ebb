// SPDX-License-Identifier: GPL-2.0

//! Mappings of a device's registers by `ioremap()`.

use core::ptr::NonNull;

use kernel::bindings;
#[cfg(not(MODULE))]
use kernel::page::PAGE_SHIFT;

use crate::{
    linux::{
        pci_device::PciDevice,
        registers::Window, //
    },
    virtio::pci::BarRegion, //
};

/// A mapping of registers, until this is dropped.
///
/// # Invariants
///
/// `base` is a mapping of at least `length` bytes of a device's registers: by `pci_iomap_range()`
/// if there is a `device`, by `ioremap()` otherwise. Nobody else unmaps it.
pub(crate) struct IoMapping {
    device: Option<PciDevice>,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: A mapping in the kernel's part of the address space is the same for every task and on
// every CPU, and any task may unmap it.
unsafe impl Send for IoMapping {}

impl IoMapping {
    /// Maps a region of an enabled device's BARs; `None` if it is not within its BAR, or cannot be
    /// mapped. May sleep, as may dropping it.
    pub(crate) fn bar(device: PciDevice, region: &BarRegion) -> Option<Self> {
        let (_, size) = device.memory_bar(region.bar)?;
        if region.length == 0 || !region.fits(size) {
            return None;
        }
        // SAFETY: By the invariants of `PciDevice` the device is valid. `memory_bar()` has found
        // the number below 6, and a BAR of memory, which `pci_iomap_range()` (lib/pci_iomap.c) maps
        // by `ioremap()`.
        let base = unsafe {
            bindings::pci_iomap_range(
                device.as_ptr(),
                region.bar.into(),
                region.offset as usize,
                region.length as usize,
            )
        };
        // INVARIANT: `pci_iomap_range()` maps `length` bytes, or up to the end of the BAR, which is
        // not before them by `fits()`.
        NonNull::new(base.cast()).map(|base| Self {
            device: Some(device),
            base,
            length: region.length as usize,
        })
    }

    /// Maps `length` bytes of registers at a physical address; `None` if that is not possible, for
    /// example because RAM is there. (The PCI core assigns no BAR such an address.) May sleep, as
    /// may dropping it.
    #[cfg(not(MODULE))]
    pub(crate) fn memory(address: u64, length: usize) -> Option<Self> {
        if address == 0 || address % 2 != 0 {
            return None;
        }
        let last = address.checked_add(length as u64)?.checked_sub(1)?;
        if is_ram(address) || is_ram(last) {
            return None;
        }
        // SAFETY: `ioremap()` (arch/arm64/mm/ioremap.c) takes any address, and refuses that of
        // memory. Mapping an address without a device does no harm; the caller accesses registers
        // of which firmware says that they are a device's.
        let base = unsafe { bindings::ioremap(address, length) };
        // INVARIANT: `ioremap()` maps all of `length` bytes, or nothing.
        NonNull::new(base.cast()).map(|base| Self {
            device: None,
            base,
            length,
        })
    }

    /// Returns the registers.
    ///
    /// # Safety
    ///
    /// No copy of the window is used after `self` is dropped.
    pub(crate) unsafe fn window(&self) -> Window<'static> {
        // SAFETY: By the invariants it is a mapping of device memory of `length` bytes, made by
        // `ioremap()` in either case. It lasts until `self` is dropped, and by the safety
        // requirement the window is not used after that.
        unsafe { Window::new(self.base.as_ptr(), self.length) }
    }
}

/// Returns whether Linux uses the page at a physical address as memory. `ioremap()` refuses that as
/// well, but prints a warning.
#[cfg(not(MODULE))]
fn is_ram(address: u64) -> bool {
    // SAFETY: Any number will do.
    unsafe { bindings::pfn_is_map_memory((address >> PAGE_SHIFT) as usize) != 0 }
}

impl Drop for IoMapping {
    fn drop(&mut self) {
        let base = self.base.as_ptr().cast();
        match self.device {
            // SAFETY: By the invariants `pci_iomap_range()` has made the mapping, and nobody else
            // unmaps it. Windows on it are not used any more, by the safety requirement of
            // `window()`. The device is valid by the invariants of `PciDevice`.
            Some(device) => unsafe { bindings::pci_iounmap(device.as_ptr(), base) },
            // SAFETY: As above, by `ioremap()`.
            None => unsafe { bindings::iounmap(base) },
        }
    }
}
