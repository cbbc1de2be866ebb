// SPDX-License-Identifier: GPL-2.0

//! Feature bits (VIRTIO 1.3, sections 2.2 and 6; 5.7.3 for the GPU's own).

bitflags::bitflags! {
    /// The feature bits that this driver knows by name; others are kept as they are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Features: u64 {
        /// VIRTIO_GPU_F_VIRGL, _EDID, _RESOURCE_UUID, _RESOURCE_BLOB and _CONTEXT_INIT: more
        /// commands.
        const GPU = 0x1f;
        /// VIRTIO_GPU_F_VIRGL: the host renders.
        const VIRGL = 1 << 0;
        /// VIRTIO_GPU_F_RESOURCE_BLOB (section 5.7.3): resources may be the guest's own pages.
        const RESOURCE_BLOB = 1 << 3;
        /// VIRTIO_GPU_F_CONTEXT_INIT: it does so in more than one way.
        const CONTEXT_INIT = 1 << 4;
        /// VIRTIO_F_INDIRECT_DESC: a descriptor may be a table of descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// VIRTIO_F_EVENT_IDX: either side says from which index on it wants to be notified.
        const EVENT_IDX = 1 << 29;
        /// VIRTIO_F_VERSION_1: not a legacy device.
        const VERSION_1 = 1 << 32;
        /// VIRTIO_F_ACCESS_PLATFORM: the device reaches memory as the platform says (an IOMMU,
        /// encrypted memory), not by physical addresses.
        const ACCESS_PLATFORM = 1 << 33;
        /// VIRTIO_F_RING_RESET: a queue can be reset alone.
        const RING_RESET = 1 << 40;

        // The rest of the 64 bits.
        const _ = !0;
    }
}
