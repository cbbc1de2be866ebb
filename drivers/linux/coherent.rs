// SPDX-License-Identifier: GPL-2.0

//! Memory of the DMA API, which a module needs: its own is not contiguous for a device.

use core::{
    ptr::NonNull,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use kernel::{
    bindings,
    error::{
        code::ENOMEM,
        to_result, //
    },
};

use crate::linux::{
    bindings as bridge_bindings,
    pci_device::{
        PciDevice,
        PciError, //
    },
    shared::Block, //
};

/// Whether a device may work on such memory. There is one screen, and so one device that has some.
static LENT: AtomicBool = AtomicBool::new(false);

/// Memory that a device sees as we do, until this is dropped.
///
/// # Invariants
///
/// `base` is the start of `length` bytes that `dma_alloc_attrs()` gave for the device at `address`.
pub(crate) struct Coherent {
    device: PciDevice,
    base: NonNull<u32>,
    length: usize,
    address: u64,
}

// SAFETY: Memory is the same everywhere.
unsafe impl Send for Coherent {}

impl Coherent {
    /// Allocates `length` bytes for a device that can address 64 bits.
    ///
    /// # Errors
    ///
    /// The DMA API has no such memory.
    pub(crate) fn new(device: PciDevice, length: usize) -> Result<Self, PciError> {
        // SAFETY: A valid device, bound to us: nobody else sets its mask.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(device.as_device(), u64::MAX) })
            .map_err(|error| PciError::new("there is no DMA for it", error))?;
        let mut address = 0;
        // SAFETY: A valid device, and a place for the address.
        let base = unsafe {
            bindings::dma_alloc_attrs(
                device.as_device(),
                length,
                &mut address,
                bindings::GFP_KERNEL,
                0,
            )
        };
        // INVARIANT: As it was allocated.
        NonNull::new(base.cast())
            .map(|base| Self {
                device,
                base,
                length,
                address,
            })
            .ok_or(PciError::new("there is no DMA memory for it", ENOMEM))
    }

    /// Whether the device has to go through an IOMMU to reach the memory.
    pub(crate) fn is_behind_iommu(&self) -> bool {
        // SAFETY: A valid device.
        unsafe { bridge_bindings::virtgpu_behind_iommu(self.device.as_device().cast()) }
    }

    /// The memory, all of it; `None` if a device that was not reset may still work on it.
    pub(crate) fn take(&self) -> Option<Block> {
        if LENT.swap(true, Ordering::Acquire) {
            return None;
        }
        let words = self.length / size_of::<u32>();
        // SAFETY: By the invariants; `dma_alloc_attrs()` aligns to a page, and it is not freed as
        // long as the flag is set. That has fallen: what an earlier call returned is not used any
        // more.
        Some(unsafe {
            Block::new(
                core::slice::from_raw_parts_mut(self.base.as_ptr(), words),
                self.address,
                &LENT,
            )
        })
    }
}

impl Drop for Coherent {
    fn drop(&mut self) {
        // A device that was not reset keeps it for good; the next one gets other memory.
        if LENT.swap(false, Ordering::Acquire) {
            return;
        }
        // SAFETY: Allocated in `new()`. It was not lent, so nobody uses it.
        unsafe {
            bindings::dma_free_attrs(
                self.device.as_device(),
                self.length,
                self.base.as_ptr().cast(),
                self.address,
                0,
            )
        }
    }
}
