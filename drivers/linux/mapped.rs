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
/// if there is a `device`, by `ioremap()` otherwise.
pub(crate) struct Mapped {
    device: Option<PciDevice>,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: A mapping is the same everywhere.
unsafe impl Send for Mapped {}

impl Mapped {
    /// Maps a piece of an enabled device's BARs; `None` if it is not within its BAR, or cannot be.
    pub(crate) fn bar(device: PciDevice, piece: &Place) -> Option<Self> {
        let (_, size) = device.memory_bar(piece.bar)?;
        if piece.length == 0 || !piece.fits(size) {
            return None;
        }
        // SAFETY: A valid device and a number below 6.
        let base = unsafe {
            bindings::pci_iomap_range(
                device.as_ptr(),
                piece.bar.into(),
                piece.offset as usize,
                piece.length as usize,
            )
        };
        // INVARIANT: The BAR has that many bytes from `offset` on, so the mapping has as well.
        NonNull::new(base.cast()).map(|base| Self {
            device: Some(device),
            base,
            length: piece.length as usize,
        })
    }

    /// Maps `length` bytes at a physical address where a device has registers; `None` if that
    /// cannot be, as where RAM is. (The PCI core gives no BAR an address there.)
    #[cfg(not(MODULE))]
    pub(crate) fn memory(address: u64, length: usize) -> Option<Self> {
        if address == 0 || address % 2 != 0 {
            return None;
        }
        let last = address.checked_add(length as u64)?.checked_sub(1)?;
        if is_ram(address) || is_ram(last) {
            return None;
        }
        // SAFETY: What is not memory can be mapped as a device.
        let base = unsafe { bindings::ioremap(address, length) };
        // INVARIANT: Mapped as long as it was asked for.
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
        // SAFETY: By the invariants, and the safety requirement.
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
            // SAFETY: Mapped in `bar()`.
            Some(device) => unsafe { bindings::pci_iounmap(device.as_ptr(), base) },
            // SAFETY: Mapped in `memory()`.
            None => unsafe { bindings::iounmap(base) },
        }
    }
}
