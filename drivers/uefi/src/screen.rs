// SPDX-License-Identifier: GPL-2.0

//! The screen: a GOP (UEFI 2.10, section 12.9) without a framebuffer, and the text on it.

use crate::{
    firmware::handoff::{
        sum,
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

/// Bytes of a pixel.
pub(crate) const PIXEL: usize = 4;

/// No more memory is taken than for a mode of this size.
const LARGEST: usize = 3840 * 2160 * PIXEL;

/// Handles of a kind that are looked through at the end, when there is no memory for more; a PCI
/// segment may have as many functions on some buses.
const HANDLES: usize = 1024;

/// A protocol that is looked at, while somebody else has it.
///
/// # Safety
///
/// The result may be used as long as the protocol is installed on `handle`; through one reference
/// at a time, if that is one which may write.
pub(crate) unsafe fn look<P: ProtocolPointer + ?Sized>(handle: Handle) -> Option<NonNull<P>> {
    let params = OpenProtocolParams {
        handle,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: The handle and the protocol have to stay until the result of this is dropped, which
    // is before this function returns. In between nothing of firmware's runs but what interrupts us
    // at a higher task priority level, where drivers are not stopped. What GET_PROTOCOL opens stays
    // valid when it is closed (UEFI 2.10, section 7.3.9).
    let protocol = unsafe { boot::open_protocol::<P>(params, OpenProtocolAttributes::GetProtocol) };
    protocol.ok()?.get_mut().map(NonNull::from)
}

/// Whether a protocol of this kind is installed on `handle`. Takes no memory.
pub(crate) fn has<P: Identify + ?Sized>(handle: Handle) -> bool {
    let mut handles = [const { MaybeUninit::uninit() }; HANDLES];
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
    /// The first such screen that is a device's.
    pub(crate) fn find() -> Option<Self> {
        let handles = boot::locate_handle_buffer(SearchType::ByProtocol(&GraphicsOutput::GUID));
        handles.ok()?.iter().find_map(|&handle| {
            // SAFETY: It is used below, right after it was found, and in the other methods after
            // `is_there()` has found it installed. Each makes one reference, and drops it.
            let gop = unsafe { look::<GraphicsOutput>(handle) }?;
            // SAFETY: It was found installed above. Nobody else uses it: boot services run on one
            // CPU, and firmware waits for us.
            let mode = unsafe { gop.as_ref() }.current_mode_info();
            let screen = Self { handle, gop };
            // SAFETY: The result is only compared with none.
            let path = unsafe { look::<DevicePath>(handle) };
            // The console that joins several screens is no device.
            (mode.pixel_format() == PixelFormat::BltOnly && path.is_some()).then_some(screen)
        })
    }

    /// Its handle.
    pub(crate) fn handle(&self) -> Handle {
        self.handle
    }

    /// Whether it is still there.
    pub(crate) fn is_there(&self) -> bool {
        has::<GraphicsOutput>(self.handle)
    }

    /// Bytes of a picture of it in its largest mode, as far as memory is taken for that.
    pub(crate) fn largest(&self) -> usize {
        if !self.is_there() {
            return 0;
        }
        // SAFETY: `is_there()` has found it installed, and firmware waits for us.
        let modes = unsafe { self.gop.as_ref() }.modes();
        let sizes = modes.map(|mode| {
            let (width, height) = mode.info().resolution();
            width.saturating_mul(height).saturating_mul(PIXEL)
        });
        sizes.filter(|&size| size <= LARGEST).max().unwrap_or(0)
    }

    /// Bytes of a picture of it in its mode, which a boot loader may still change.
    pub(crate) fn bytes(&self) -> usize {
        if !self.is_there() {
            return 0;
        }
        // SAFETY: As in `largest()`.
        let (width, height) = unsafe { self.gop.as_ref() }
            .current_mode_info()
            .resolution();
        width.saturating_mul(height).saturating_mul(PIXEL)
    }

    /// Copies it into `picture`; gives its width and height in pixels, and the sum of them all.
    pub(crate) fn copy(&mut self, picture: &mut Pages) -> Option<(u32, u32, u32)> {
        if !self.is_there() {
            return None;
        }
        // SAFETY: `is_there()` has found it installed. `look()` has made the pointer from a
        // reference that may write. No other reference to it is alive, and nobody else draws: boot
        // services run on one CPU, and firmware waits for us.
        let gop = unsafe { self.gop.as_mut() };
        let (width, height) = gop.current_mode_info().resolution();
        let count = width.checked_mul(height)?;
        let pixels: &mut [u32] = picture.items(count)?;
        // SAFETY: A `BltPixel` is four bytes of any value, `repr(C)`, as many as a `u32` has, and
        // less aligned. `pixels` is initialised, and not used before `buffer` is done with.
        let buffer =
            unsafe { slice::from_raw_parts_mut(pixels.as_mut_ptr().cast::<BltPixel>(), count) };
        gop.blt(BltOp::VideoToBltBuffer {
            buffer,
            src: (0, 0),
            dest: BltRegion::Full,
            dims: (width, height),
        })
        .ok()?;
        let sum = sum(0, picture.items(count)?);
        Some((u32::try_from(width).ok()?, u32::try_from(height).ok()?, sum))
    }
}

/// Where firmware's text goes on, if it has some.
pub(crate) fn cursor() -> Option<Cursor> {
    let system = uefi::table::system_table_raw()?;
    // SAFETY: It is the system table that the entry point was given, which stays (UEFI 2.10,
    // section 4.3). Firmware waits for us, and does not change it meanwhile.
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
