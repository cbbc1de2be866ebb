// SPDX-License-Identifier: GPL-2.0

//! Mappings of a device's registers, once there is `ioremap()`.

use core::ptr::NonNull;

use kernel::bindings;
#[cfg(not(MODULE))]
use kernel::page::PAGE_SHIFT;

use crate::{
    linux::{
        pci_device::PciDevice,
        registers::Window, //
    },
    virtio::pci::Place, //
};

/// Registers, mapped until this is dropped.
///
/// # Invariants
///
/// `base` is a mapping of at least `length` bytes of a device's registers: by `pci_iomap_range()`
/// if there is a `device`, by `ioremap()` otherwise. Nobody else unmaps it.
pub(crate) struct Mapped {
    device: Option<PciDevice>,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: A mapping in the kernel's part of the address space is the same for every task and on
// every CPU, and any task may unmap it.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Maps a piece of an enabled device's BARs; `None` if it is not within its BAR, or cannot be.
    /// Called where sleeping is allowed, as is dropping it.
    pub(crate) fn bar(device: PciDevice, piece: &Place) -> Option<Self> {
        let (_, size) = device.memory_bar(piece.bar)?;
        if piece.length == 0 || !piece.fits(size) {
            return None;
        }
        // SAFETY: By the invariants of `PciDevice` the device is valid. `memory_bar()` has found
        // the number below 6, and a BAR of memory, which `pci_iomap_range()` (lib/pci_iomap.c) maps
        // by `ioremap()`.
        let base = unsafe {
            bindings::pci_iomap_range(
                device.as_ptr(),
                piece.bar.into(),
                piece.offset as usize,
                piece.length as usize,
            )
        };
        // INVARIANT: `pci_iomap_range()` maps `length` bytes, or up to the end of the BAR, which is
        // not before them by `fits()`.
        NonNull::new(base.cast()).map(|base| Self {
            device: Some(device),
            base,
            length: piece.length as usize,
        })
    }

    /// Maps `length` bytes at a physical address where a device has registers; `None` if that
    /// cannot be, as where RAM is. (The PCI core gives no BAR an address there.) Called where
    /// sleeping is allowed, as is dropping it.
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
        // memory. To map what is not a device does no harm; the caller accesses what firmware says
        // is one.
        let base = unsafe { bindings::ioremap(address, length) };
        // INVARIANT: `ioremap()` maps all of `length` bytes, or nothing.
        NonNull::new(base.cast()).map(|base| Self {
            device: None,
            base,
            length,
        })
    }

    /// The registers.
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

/// Whether Linux uses the page at a physical address as memory. `ioremap()` refuses that as well,
/// but with a warning.
#[cfg(not(MODULE))]
fn is_ram(address: u64) -> bool {
    // SAFETY: Any number will do.
    unsafe { bindings::pfn_is_map_memory((address >> PAGE_SHIFT) as usize) != 0 }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let base = self.base.as_ptr().cast();
        match self.device {
            // SAFETY: By the invariants `pci_iomap_range()` has made the mapping, and nobody else
            // unmaps it; whoever got a window on it does not use that any more. The device is valid
            // by the invariants of `PciDevice`.
            Some(device) => unsafe { bindings::pci_iounmap(device.as_ptr(), base) },
            // SAFETY: As above, by `ioremap()`.
            None => unsafe { bindings::iounmap(base) },
        }
    }
}
