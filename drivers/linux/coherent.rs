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

/// Whether a device may work on the memory of the one [`Coherent`] that there is: of one screen.
/// One that is dropped while this is set is never freed, and the flag is the next one's.
static LENT: AtomicBool = AtomicBool::new(false);

/// Memory that a device sees as we do, until this is dropped.
///
/// # Invariants
///
/// `base` is the start of `length` bytes that `dma_alloc_attrs()` gave for the device at `address`,
/// and which are not freed before this is dropped. There is no other `Coherent` whose memory is in
/// use.
pub(crate) struct Coherent {
    device: PciDevice,
    base: NonNull<u32>,
    length: usize,
    address: u64,
}

// SAFETY: The memory is mapped in the kernel's part of the address space, for every task and CPU,
// and any task may free it.
unsafe impl Send for Coherent {}

impl Coherent {
    /// Allocates `length` bytes for a device that can address 64 bits. Called where sleeping is
    /// allowed, as is dropping it.
    ///
    /// # Errors
    ///
    /// The DMA API has no such memory.
    pub(crate) fn new(device: PciDevice, length: usize) -> Result<Self, PciError> {
        // SAFETY: By the invariants of `PciDevice` the device is valid. It is bound to us, so that
        // nobody else sets its mask, and nothing is allocated for it yet.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(device.as_device(), u64::MAX) })
            .map_err(|error| PciError::new("there is no DMA for it", error))?;
        let mut address = 0;
        // SAFETY: The device is valid, as above, has a mask now, and `address` is a place for the
        // address. `dma_alloc_attrs()` (kernel/dma/mapping.c) may sleep with GFP_KERNEL, which the
        // caller may. (`Held::has_dma()` asks for that; in the module it is a probe.)
        let base = unsafe {
            bindings::dma_alloc_attrs(
                device.as_device(),
                length,
                &mut address,
                bindings::GFP_KERNEL,
                0,
            )
        };
        // INVARIANT: As it was allocated. The caller has one screen, and drops what it had before.
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
        // SAFETY: By the invariants of `PciDevice` the device is valid. `use_dma_iommu()`
        // (include/linux/iommu-dma.h) reads a bit that is set before the device is probed.
        unsafe { bridge_bindings::virtgpu_behind_iommu(self.device.as_device().cast()) }
    }

    /// The memory, all of it; `None` if a device that was not reset may still work on it.
    pub(crate) fn take(&self) -> Option<Block> {
        if LENT.swap(true, Ordering::Acquire) {
            return None;
        }
        let words = self.length / size_of::<u32>();
        let words = NonNull::slice_from_raw_parts(self.base, words);
        // SAFETY: By the invariants. `dma_alloc_attrs()` aligns to a page and fills with zeroes
        // (`dma_direct_alloc()` in kernel/dma/direct.c, `iommu_dma_alloc()` in
        // drivers/iommu/dma-iommu.c). While the flag is set, as it is from above on, `drop()` does
        // not free it. The flag was clear: what an earlier call returned was given back, and is not
        // used any more, by the safety requirement of `Shared::give_back()`.
        Some(unsafe { Block::new(words, self.address, &LENT) })
    }
}

impl Drop for Coherent {
    fn drop(&mut self) {
        // A device that was not reset keeps it for good; the next one gets other memory.
        if LENT.swap(false, Ordering::Acquire) {
            return;
        }
        // SAFETY: By the invariants `dma_alloc_attrs()` gave this for the device, which is valid by
        // the invariants of `PciDevice`. It is not lent: no device and no log uses it.
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
