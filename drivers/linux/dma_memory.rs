// SPDX-License-Identifier: GPL-2.0

//! Coherent memory of the DMA API. A module needs it, because its own memory is not physically
//! contiguous; so does a device behind an IOMMU.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        code::ENOMEM,
        to_result, //
    },
    sync::atomic::{
        Acquire,
        AtomicFlag, //
    }, //
};

use crate::linux::{
    bindings as bridge_bindings,
    pci_device::{
        PciDevice,
        PciError, //
    },
    queue_memory::SharedBlock, //
};

/// Set while a device may access the memory of the one [`DmaMemory`] that there is. The memory of a
/// value that is dropped while this is set is never freed, and the next value uses the flag.
static IN_USE: AtomicFlag = AtomicFlag::new(false);

/// Coherent memory that a device can access, until this is dropped.
///
/// # Invariants
///
/// `base` is the start of `length` bytes that `dma_alloc_attrs()` gave for the device at `address`,
/// and which are not freed before this is dropped. There is no other `DmaMemory` whose memory is in
/// use.
pub(crate) struct DmaMemory {
    device: PciDevice,
    base: NonNull<u32>,
    length: usize,
    address: u64,
}

// SAFETY: The memory is mapped in the kernel's part of the address space, for every task and CPU,
// and any task may free it.
unsafe impl Send for DmaMemory {}

impl DmaMemory {
    /// Allocates `length` bytes for a device that can address 64 bits. May sleep, as may dropping
    /// it.
    ///
    /// # Errors
    ///
    /// Fails if the DMA API has no such memory.
    pub(crate) fn new(device: PciDevice, length: usize) -> Result<Self, PciError> {
        // SAFETY: By the invariants of `PciDevice` the device is valid. It is bound to us, so that
        // nobody else sets its mask, and nothing is allocated for it yet.
        to_result(unsafe { bindings::dma_set_mask_and_coherent(device.as_device(), u64::MAX) })
            .map_err(|error| PciError::new("there is no DMA for it", error))?;
        let mut address = 0;
        // SAFETY: The device is valid, as above, has a mask now, and `address` is a place for the
        // address. `dma_alloc_attrs()` (kernel/dma/mapping.c) may sleep with GFP_KERNEL, which the
        // caller may. (`BoundDevice::has_dma()` checks that; in the module it is a probe.)
        let base = unsafe {
            bindings::dma_alloc_attrs(
                device.as_device(),
                length,
                &mut address,
                bindings::GFP_KERNEL,
                0,
            )
        };
        // INVARIANT: The fields are those of the allocation above. The caller has one screen, and
        // has dropped earlier memory.
        NonNull::new(base.cast())
            .map(|base| Self {
                device,
                base,
                length,
                address,
            })
            .ok_or(PciError::new("there is no DMA memory for it", ENOMEM))
    }

    /// Returns whether the device accesses the memory through an IOMMU.
    pub(crate) fn is_behind_iommu(&self) -> bool {
        // SAFETY: By the invariants of `PciDevice` the device is valid. `use_dma_iommu()`
        // (include/linux/iommu-dma.h) reads a bit that is set before the device is probed.
        unsafe { bridge_bindings::virtgpu_bridge_behind_iommu(self.device.as_device().cast()) }
    }

    /// Returns all of the memory; `None` if a device that was not reset may still access it.
    pub(crate) fn take(&self) -> Option<SharedBlock> {
        if IN_USE.xchg(true, Acquire) {
            return None;
        }
        let words = self.length / size_of::<u32>();
        let words = NonNull::slice_from_raw_parts(self.base, words);
        // SAFETY: By the invariants. `dma_alloc_attrs()` aligns to a page and fills with zeroes
        // (`dma_direct_alloc()` in kernel/dma/direct.c, `iommu_dma_alloc()` in
        // drivers/iommu/dma-iommu.c). While the flag is set, as it is above, `drop()` does not
        // free it. The flag was clear before: what an earlier call returned is not used any more,
        // by the safety requirement of `QueueMemory::release()`.
        Some(unsafe { SharedBlock::new(words, self.address, &IN_USE) })
    }
}

impl Drop for DmaMemory {
    fn drop(&mut self) {
        // A device that was not reset may access it for good; the next one gets other memory.
        if IN_USE.xchg(false, Acquire) {
            return;
        }
        // SAFETY: By the invariants `dma_alloc_attrs()` gave this for the device, which is valid by
        // the invariants of `PciDevice`. It is not in use: no device and no log accesses it.
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
