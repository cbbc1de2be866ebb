// SPDX-License-Identifier: GPL-2.0

//! Feature bits (VIRTIO 1.3, sections 2.2 and 6; 5.7.3 for those of the GPU device).

bitflags::bitflags! {
    /// The feature bits that this driver has names for. Other bits are kept as they are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Features: u64 {
        /// The GPU's feature bits: VIRTIO_GPU_F_VIRGL, _EDID, _RESOURCE_UUID, _RESOURCE_BLOB and
        /// _CONTEXT_INIT. Each adds commands.
        const GPU = 0x1f;
        /// VIRTIO_GPU_F_VIRGL (section 5.7.3): the device supports 3D mode, rendering on the host.
        const VIRGL = 1 << 0;
        /// VIRTIO_GPU_F_EDID (section 5.7.3): the device tells the EDIDs of its displays.
        const EDID = 1 << 1;
        /// VIRTIO_GPU_F_RESOURCE_BLOB (section 5.7.3): a resource may be the guest's own pages.
        const RESOURCE_BLOB = 1 << 3;
        /// VIRTIO_GPU_F_CONTEXT_INIT (section 5.7.3): the device has several types of contexts.
        const CONTEXT_INIT = 1 << 4;
        /// VIRTIO_F_INDIRECT_DESC (section 2.7.5.3): a descriptor may refer to a table of
        /// descriptors.
        const INDIRECT_DESC = 1 << 28;
        /// VIRTIO_F_EVENT_IDX (sections 2.7.7 and 2.7.10): each side writes the index at which it
        /// wants the next notification.
        const EVENT_IDX = 1 << 29;
        /// VIRTIO_F_VERSION_1 (section 6): not a legacy device.
        const VERSION_1 = 1 << 32;
        /// VIRTIO_F_ACCESS_PLATFORM (section 6): the device accesses memory by the platform's rules
        /// (an IOMMU, encrypted memory), not by physical addresses.
        const ACCESS_PLATFORM = 1 << 33;
        /// VIRTIO_F_RING_RESET (section 2.6.1): the driver can reset one queue alone.
        const RING_RESET = 1 << 40;

        // Keep the other bits of the 64.
        const _ = !0;
    }
}
