// SPDX-License-Identifier: GPL-2.0

//! The screen: a GOP (UEFI 2.10, section 12.9) without a framebuffer, and the text cursor.

use crate::{
    firmware::handoff::{
        pixel_checksum,
        Cursor, //
    },
    pages::Pages, //
};
use core::{
    mem::MaybeUninit,
    ptr::NonNull,
    slice, //
};
use uefi::{
    boot::{
        self,
        OpenProtocolAttributes,
        OpenProtocolParams,
        SearchType, //
    },
    proto::{
        console::gop::{
            BltOp,
            BltPixel,
            BltRegion,
            GraphicsOutput,
            PixelFormat, //
        },
        device_path::DevicePath,
        ProtocolPointer, //
    },
    system,
    Handle,
    Identify, //
};

/// Bytes per pixel.
pub(crate) const PIXEL_BYTES: usize = 4;

/// The limit for the memory of a picture, in bytes: a mode of 3840x2160.
const MAX_PICTURE_BYTES: usize = 3840 * 2160 * PIXEL_BYTES;

/// The limit for the handles of one protocol that are searched at ExitBootServices(), when no
/// memory can be allocated. A PCI segment with functions on several buses may have as many.
const MAX_HANDLES: usize = 1024;

/// Returns the protocol `P` of `handle`, without opening it exclusively. Returns [`None`] if it is
/// not installed.
///
/// # Safety
///
/// The result may only be used while the protocol is installed on `handle`, and through one
/// reference at a time if one of them is mutable.
pub(crate) unsafe fn get_protocol<P: ProtocolPointer + ?Sized>(
    handle: Handle,
) -> Option<NonNull<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: The handle and the protocol must stay valid until the result is dropped, which is
    // before this function returns. Meanwhile only functions at a higher task priority level can
    // run, at which no driver is stopped. A pointer from GET_PROTOCOL stays valid when the protocol
    // is closed (UEFI 2.10, section 7.3.9).
    let protocol = unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) };
    protocol.ok()?.get_mut().map(NonNull::from)
}

/// Returns whether the protocol `P` is installed on `handle`. It allocates no memory.
pub(crate) fn is_installed<P: Identify + ?Sized>(handle: Handle) -> bool {
    let mut handles = [const { MaybeUninit::uninit() }; MAX_HANDLES];
    boot::locate_handle(SearchType::ByProtocol(&P::GUID), &mut handles)
        .is_ok_and(|handles| handles.contains(&handle))
}

/// A screen on which only firmware can draw.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    handle: Handle,
    gop: NonNull<GraphicsOutput>,
}

impl Screen {
    /// Returns the first such screen that belongs to a device.
    pub(crate) fn find() -> Option<Self> {
        let handles = boot::locate_handle_buffer(SearchType::ByProtocol(&GraphicsOutput::GUID));
        handles.ok()?.iter().find_map(|&handle| {
            // SAFETY: The result is used below, right after it was found, and in the other methods
            // after `is_present()` has found it installed. Each creates one reference, and drops
            // it.
            let gop = unsafe { get_protocol::<GraphicsOutput>(handle) }?;
            // SAFETY: It was found installed above. Nothing else uses it: boot services run on one
            // CPU, and firmware does not run meanwhile.
            let mode = unsafe { gop.as_ref() }.current_mode_info();
            let screen = Self { handle, gop };
            // SAFETY: The result is only compared with `None`.
            let path = unsafe { get_protocol::<DevicePath>(handle) };
            // Skip the console splitter, which is no device.
            (mode.pixel_format() == PixelFormat::BltOnly && path.is_some()).then_some(screen)
        })
    }

    /// Returns the handle.
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// Returns whether the screen still exists.
    pub(crate) fn is_present(&self) -> bool {
        is_installed::<GraphicsOutput>(self.handle)
    }

    /// Returns the bytes of a picture in the largest mode that is not above [`MAX_PICTURE_BYTES`].
    pub(crate) fn max_mode_bytes(&self) -> usize {
        if !self.is_present() {
            return 0;
        }
        // SAFETY: `is_present()` has found it installed, and firmware does not run meanwhile.
        let modes = unsafe { self.gop.as_ref() }.modes();
        let sizes = modes.map(|mode| {
            let (width, height) = mode.info().resolution();
            width.saturating_mul(height).saturating_mul(PIXEL_BYTES)
        });
        sizes
            .filter(|&size| size <= MAX_PICTURE_BYTES)
            .max()
            .unwrap_or(0)
    }

    /// Returns the bytes of a picture in the current mode, which a boot loader may still change.
    pub(crate) fn mode_bytes(&self) -> usize {
        if !self.is_present() {
            return 0;
        }
        // SAFETY: As in `max_mode_bytes()`.
        let (width, height) = unsafe { self.gop.as_ref() }
            .current_mode_info()
            .resolution();
        width.saturating_mul(height).saturating_mul(PIXEL_BYTES)
    }

    /// Copies the screen to `picture`. Returns its width and height in pixels, and the checksum of
    /// the pixels. Returns [`None`] if the screen no longer exists, if the picture does not
    /// fit, or if firmware refuses.
    pub(crate) fn copy_to(&mut self, picture: &mut Pages) -> Option<(u32, u32, u32)> {
        if !self.is_present() {
            return None;
        }
        // SAFETY: `is_present()` has found it installed. `get_protocol()` has created the pointer
        // from a mutable reference. There is no other reference to it, and nothing else draws: boot
        // services run on one CPU, and firmware does not run meanwhile.
        let gop = unsafe { self.gop.as_mut() };
        let (width, height) = gop.current_mode_info().resolution();
        let count = width.checked_mul(height)?;
        let pixels: &mut [u32] = picture.as_mut_slice(count)?;
        // SAFETY: A `BltPixel` is `repr(C)`, has four bytes of any value as a `u32` has, and a
        // smaller alignment. `pixels` is initialised, and not used while `buffer` is.
        let buffer =
            unsafe { slice::from_raw_parts_mut(pixels.as_mut_ptr().cast::<BltPixel>(), count) };
        gop.blt(BltOp::VideoToBltBuffer {
            buffer,
            src: (0, 0),
            dest: BltRegion::Full,
            dims: (width, height),
        })
        .ok()?;
        let checksum = pixel_checksum(0, picture.as_mut_slice(count)?);
        Some((
            u32::try_from(width).ok()?,
            u32::try_from(height).ok()?,
            checksum,
        ))
    }
}

/// Returns the text cursor of firmware's console, [`None`] if there is none.
pub(crate) fn cursor() -> Option<Cursor> {
    let system = uefi::table::system_table_raw()?;
    // SAFETY: It is the system table that the entry point got, which is valid as long as boot
    // services are (UEFI 2.10, section 4.3). Firmware does not change it while this function runs.
    if unsafe { system.as_ref() }.stdout.is_null() {
        return None;
    }
    system::with_stdout(|out| {
        let mode = out.current_mode().ok()??;
        let (column, row) = out.cursor_position();
        let cursor = Cursor {
            column: u16::try_from(column).ok()?,
            row: u16::try_from(row).ok()?,
            columns: u16::try_from(mode.columns()).ok()?,
            rows: u16::try_from(mode.rows()).ok()?,
        };
        (cursor.column < cursor.columns && cursor.row < cursor.rows).then_some(cursor)
    })
}
