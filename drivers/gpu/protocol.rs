// SPDX-License-Identifier: GPL-2.0

//! The structures of the control queue (VIRTIO 1.3, section 5.7.6), byte for byte.
//!
//! Each command is a type of its own that carries its header, and knows the type of its response.
//! All numbers are little-endian on the wire; sizes are in pixels unless they say otherwise.

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

/// VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM.
const FORMAT_B8G8R8X8: u32 = 2;
/// VIRTIO_GPU_MAX_SCANOUTS.
pub(crate) const SCANOUTS: usize = 16;

/// VIRTIO_GPU_RESP_OK_NODATA.
pub(crate) const OK_NODATA: u32 = 0x1100;
/// VIRTIO_GPU_RESP_OK_DISPLAY_INFO.
const OK_DISPLAY_INFO: u32 = 0x1101;
/// VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER.
pub(crate) const ERR_INVALID_PARAMETER: u32 = 0x1205;
/// The type of [`ResourceUnref`].
pub(crate) const RESOURCE_UNREF: u32 = 0x0102;

/// `struct virtio_gpu_ctrl_hdr` (section 5.7.6.7).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    /// Which command or response this is.
    pub(crate) kind: U32,
    flags: U32,
    fence_id: U64,
    ctx_id: U32,
    ring_idx: u8,
    padding: [u8; 3],
}

impl Header {
    fn new(kind: u32) -> Self {
        Self {
            kind: U32::new(kind),
            ..Self::default()
        }
    }
}

/// `struct virtio_gpu_rect`.
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
    /// A rectangle at (x, y).
    pub(crate) fn new(x: u32, y: u32, width: u32, height: u32) -> Self {
        Self {
            x: U32::new(x),
            y: U32::new(y),
            width: U32::new(width),
            height: U32::new(height),
        }
    }
}

/// A command of the control queue.
pub(crate) trait Command: IntoBytes + Immutable {
    /// What the device answers when all is well.
    type Response: FromBytes + IntoBytes + Immutable + Default;
    /// The type that such an answer has in its header.
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
        // Aligned, to be copied word by word.
        #[repr(C, align(8))]
        pub(crate) struct $name {
            header: Header,
            $($field: $type,)*
        }

        impl $name {
            /// The command with its fields in the order of the specification.
            // Some commands have nothing to leave at zero, and some are of use to one home of the
            // room alone.
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
    /// VIRTIO_GPU_CMD_GET_DISPLAY_INFO: which scanouts are there, and which mode they have.
    GetDisplayInfo = 0x0100 -> DisplayInfo, OK_DISPLAY_INFO, {}
    new() {}

    /// VIRTIO_GPU_CMD_RESOURCE_CREATE_2D: a picture on the host, of format B8G8R8X8.
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

    /// VIRTIO_GPU_CMD_RESOURCE_UNREF: a picture that is not needed any more.
    ResourceUnref = 0x0102 -> Header, OK_NODATA, { resource_id: U32, padding: U32 }
    new(resource: u32) { resource_id: U32::new(resource) }

    /// VIRTIO_GPU_CMD_SET_SCANOUT: a scanout shows a rectangle of a resource (0: of none).
    SetScanout = 0x0103 -> Header, OK_NODATA, { rect: Rect, scanout_id: U32, resource_id: U32 }
    new(rect: Rect, scanout: u32, resource: u32) {
        rect: rect,
        scanout_id: U32::new(scanout),
        resource_id: U32::new(resource),
    }

    /// VIRTIO_GPU_CMD_RESOURCE_FLUSH: what was transferred becomes visible.
    ResourceFlush = 0x0104 -> Header, OK_NODATA, { rect: Rect, resource_id: U32, padding: U32 }
    new(rect: Rect, resource: u32) { rect: rect, resource_id: U32::new(resource) }

    /// VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D: backing memory, from byte `offset` on, becomes pixels.
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

    /// VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING: `entries` [`MemEntry`] follow.
    ResourceAttachBacking = 0x0106 -> Header, OK_NODATA, { resource_id: U32, nr_entries: U32 }
    new(resource: u32, entries: u32) {
        resource_id: U32::new(resource),
        nr_entries: U32::new(entries),
    }

    /// The same with its one [`MemEntry`].
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

    /// VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING: the resource keeps its pixels, and its memory is
    /// left alone.
    ResourceDetachBacking = 0x0107 -> Header, OK_NODATA, { resource_id: U32, padding: U32 }
    new(resource: u32) { resource_id: U32::new(resource) }
}

/// `struct virtio_gpu_mem_entry`: a piece of guest memory behind a resource.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MemEntry {
    addr: U64,
    length: U32,
    padding: U32,
}

impl MemEntry {
    /// `length` bytes at the device's address `addr`.
    pub(crate) fn new(addr: u64, length: u32) -> Self {
        Self {
            addr: U64::new(addr),
            length: U32::new(length),
            padding: U32::new(0),
        }
    }
}

/// `struct virtio_gpu_display_one`: one scanout.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DisplayOne {
    /// Where it is among the others, and its size.
    pub(crate) rect: Rect,
    /// Not 0 when somebody looks at it.
    pub(crate) enabled: U32,
    flags: U32,
}

/// `struct virtio_gpu_resp_display_info`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DisplayInfo {
    header: Header,
    /// The scanouts by number.
    pub(crate) scanouts: [DisplayOne; SCANOUTS],
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
    /// The enabled scanouts that have a size.
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
