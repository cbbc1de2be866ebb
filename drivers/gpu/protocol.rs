// SPDX-License-Identifier: GPL-2.0

//! The structures of the control queue's requests and responses (VIRTIO 1.3, sections 5.7.6.7 and
//! 5.7.6.8), byte for byte.
//!
//! Each command is a type of its own, which contains its header and names the type of its response.
//! All numbers are little-endian; positions and sizes are in pixels if nothing else is said.

use zerocopy::{
    little_endian::{
        U32,
        U64, //
    },
    FromBytes,
    Immutable,
    IntoBytes, //
};
use zerocopy_derive::{
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout, //
};

/// VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM (section 5.7.6.8).
const FORMAT_B8G8R8X8: u32 = 2;
/// VIRTIO_GPU_MAX_SCANOUTS: the maximum number of scanouts (section 5.7.6.8).
pub(crate) const MAX_SCANOUTS: usize = 16;
/// The size of the blocks of an EDID, in bytes.
const EDID_BLOCK_BYTES: usize = 128;
/// The maximum size of an EDID, in bytes (section 5.7.6.8).
const MAX_EDID_BYTES: usize = 1024;

/// VIRTIO_GPU_RESP_OK_NODATA (section 5.7.6.7).
pub(crate) const OK_NODATA: u32 = 0x1100;
/// VIRTIO_GPU_RESP_OK_DISPLAY_INFO (section 5.7.6.7).
const OK_DISPLAY_INFO: u32 = 0x1101;
/// VIRTIO_GPU_RESP_OK_EDID (section 5.7.6.7).
const OK_EDID: u32 = 0x1104;
/// VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER (section 5.7.6.7).
pub(crate) const ERR_INVALID_PARAMETER: u32 = 0x1205;
/// VIRTIO_GPU_CMD_RESOURCE_UNREF, the type of [`ResourceUnref`] (section 5.7.6.7).
pub(crate) const RESOURCE_UNREF: u32 = 0x0102;

/// `struct virtio_gpu_ctrl_hdr`: the header of requests and responses (section 5.7.6.7).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    /// The type of the command or response.
    pub(crate) kind: U32,
    flags: U32,
    fence_id: U64,
    ctx_id: U32,
    ring_idx: u8,
    padding: [u8; 3],
}

impl Header {
    /// Creates the header of a command of the type `kind`, without a fence.
    fn new(kind: u32) -> Self {
        Self {
            kind: U32::new(kind),
            ..Self::default()
        }
    }
}

/// `struct virtio_gpu_rect`: a rectangle (section 5.7.6.8).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub(crate) struct Rect {
    /// Left edge.
    pub(crate) x: U32,
    /// Upper edge.
    pub(crate) y: U32,
    /// Width.
    pub(crate) width: U32,
    /// Height.
    pub(crate) height: U32,
}

impl Rect {
    /// Creates a rectangle with its upper left corner at (x, y).
    pub(crate) fn new(x: u32, y: u32, width: u32, height: u32) -> Self {
        Self {
            x: U32::new(x),
            y: U32::new(y),
            width: U32::new(width),
            height: U32::new(height),
        }
    }
}

/// A command of the control queue (section 5.7.6.8).
pub(crate) trait Command: IntoBytes + Immutable {
    /// The structure of the response to a successful command.
    type Response: FromBytes + IntoBytes + Immutable;
    /// The type of that response (section 5.7.6.7).
    const OK: u32;
}

macro_rules! commands {
    ($(
        $(#[$attr:meta])*
        $name:ident = $kind:literal -> $response:ty, $ok:expr, { $($field:ident: $type:ty),* $(,)? }
        new($($arg:ident: $arg_type:ty),*) { $($set:ident: $value:expr),* $(,)? }
    )*) => {$(
        $(#[$attr])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
        // Aligned, so that it can be copied word by word.
        #[repr(C, align(8))]
        pub(crate) struct $name {
            header: Header,
            $($field: $type,)*
        }

        impl $name {
            /// Creates the command from its fields.
            // Some commands have no field that stays zero, and Linux and the UEFI driver each use
            // some commands alone.
            #[allow(clippy::needless_update, dead_code)]
            pub(crate) fn new($($arg: $arg_type),*) -> Self {
                Self {
                    header: Header::new($kind),
                    $($set: $value,)*
                    ..Self::default()
                }
            }
        }

        impl Command for $name {
            type Response = $response;
            const OK: u32 = $ok;
        }
    )*};
}

commands! {
    /// VIRTIO_GPU_CMD_GET_DISPLAY_INFO: returns which scanouts are enabled, and their preferred
    /// modes.
    GetDisplayInfo = 0x0100 -> DisplayInfo, OK_DISPLAY_INFO, {}
    new() {}

    /// VIRTIO_GPU_CMD_RESOURCE_CREATE_2D: creates a resource on the host, of format B8G8R8X8.
    ResourceCreate2d = 0x0101 -> Header, OK_NODATA, {
        resource_id: U32,
        format: U32,
        width: U32,
        height: U32,
    }
    new(resource: u32, width: u32, height: u32) {
        resource_id: U32::new(resource),
        format: U32::new(FORMAT_B8G8R8X8),
        width: U32::new(width),
        height: U32::new(height),
    }

    /// VIRTIO_GPU_CMD_RESOURCE_UNREF: destroys a resource.
    ResourceUnref = 0x0102 -> Header, OK_NODATA, { resource_id: U32, padding: U32 }
    new(resource: u32) { resource_id: U32::new(resource) }

    /// VIRTIO_GPU_CMD_SET_SCANOUT: has a scanout show a rectangle of a resource. Resource 0
    /// disables the scanout.
    SetScanout = 0x0103 -> Header, OK_NODATA, { rect: Rect, scanout_id: U32, resource_id: U32 }
    new(rect: Rect, scanout: u32, resource: u32) {
        rect: rect,
        scanout_id: U32::new(scanout),
        resource_id: U32::new(resource),
    }

    /// VIRTIO_GPU_CMD_RESOURCE_FLUSH: makes transferred pixels visible on the scanouts.
    ResourceFlush = 0x0104 -> Header, OK_NODATA, { rect: Rect, resource_id: U32, padding: U32 }
    new(rect: Rect, resource: u32) { rect: rect, resource_id: U32::new(resource) }

    /// VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D: copies pixels from the backing store, from byte `offset`
    /// on, to a rectangle of the resource.
    TransferToHost2d = 0x0105 -> Header, OK_NODATA, {
        rect: Rect,
        offset: U64,
        resource_id: U32,
        padding: U32,
    }
    new(rect: Rect, offset: u64, resource: u32) {
        rect: rect,
        offset: U64::new(offset),
        resource_id: U32::new(resource),
    }

    /// VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING: attaches a backing store to a resource. `entries`
    /// [`MemEntry`] follow, in a second element of the buffer.
    ResourceAttachBacking = 0x0106 -> Header, OK_NODATA, { resource_id: U32, nr_entries: U32 }
    new(resource: u32, entries: u32) {
        resource_id: U32::new(resource),
        nr_entries: U32::new(entries),
    }

    /// VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING with its one [`MemEntry`].
    ResourceAttachOne = 0x0106 -> Header, OK_NODATA, {
        resource_id: U32,
        nr_entries: U32,
        entry: MemEntry,
    }
    new(resource: u32, entry: MemEntry) {
        resource_id: U32::new(resource),
        nr_entries: U32::new(1),
        entry: entry,
    }

    /// VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING: detaches the backing store. The resource keeps its
    /// pixels, and the device does not access that memory any more.
    ResourceDetachBacking = 0x0107 -> Header, OK_NODATA, { resource_id: U32, padding: U32 }
    new(resource: u32) { resource_id: U32::new(resource) }

    /// VIRTIO_GPU_CMD_GET_EDID: returns the EDID of the display of a scanout. For devices with
    /// VIRTIO_GPU_F_EDID.
    GetEdid = 0x010a -> Edid, OK_EDID, { scanout: U32, padding: U32 }
    new(scanout: u32) { scanout: U32::new(scanout) }
}

/// `struct virtio_gpu_mem_entry`: a range of guest memory in a backing store (section 5.7.6.8).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MemEntry {
    addr: U64,
    length: U32,
    padding: U32,
}

impl MemEntry {
    /// Creates an entry of `length` bytes at the device's address `addr`.
    pub(crate) fn new(addr: u64, length: u32) -> Self {
        Self {
            addr: U64::new(addr),
            length: U32::new(length),
            padding: U32::new(0),
        }
    }
}

/// `struct virtio_gpu_display_one`: one scanout (section 5.7.6.8).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DisplayOne {
    /// The preferred position relative to the other scanouts, and the preferred size.
    pub(crate) rect: Rect,
    /// Not 0 if the user has enabled the display.
    pub(crate) enabled: U32,
    flags: U32,
}

/// `struct virtio_gpu_resp_display_info`: the response to [`GetDisplayInfo`] (section 5.7.6.8).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DisplayInfo {
    header: Header,
    /// The scanouts, by number.
    pub(crate) scanouts: [DisplayOne; MAX_SCANOUTS],
}

/// The preferred mode of a scanout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Mode {
    /// The scanout's number.
    pub(crate) scanout: u32,
    /// Width.
    pub(crate) width: u32,
    /// Height.
    pub(crate) height: u32,
}

impl DisplayInfo {
    /// Returns the preferred modes of the enabled scanouts that have a size.
    pub(crate) fn enabled(&self) -> impl Iterator<Item = Mode> + '_ {
        self.scanouts.iter().zip(0..).filter_map(|(one, scanout)| {
            let (width, height) = (one.rect.width.get(), one.rect.height.get());
            (one.enabled.get() != 0 && width != 0 && height != 0).then_some(Mode {
                scanout,
                width,
                height,
            })
        })
    }
}

/// `struct virtio_gpu_resp_edid`: the response to [`GetEdid`] (section 5.7.6.8).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Edid {
    header: Header,
    size: U32,
    padding: U32,
    edid: [u8; MAX_EDID_BYTES],
}

impl Edid {
    /// The offset of the EDID, in bytes.
    pub(crate) const OFFSET: usize = core::mem::offset_of!(Self, edid);

    /// Returns the EDID, whose content is not checked: one to eight blocks of 128 bytes. Returns
    /// nothing if its size is another.
    pub(crate) fn edid(&self) -> &[u8] {
        let size = self.size.get() as usize;
        match self.edid.get(..size) {
            Some(edid) if size % EDID_BLOCK_BYTES == 0 => edid,
            _ => &[],
        }
    }
}
