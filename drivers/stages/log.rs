// SPDX-License-Identifier: GPL-2.0

//! Text on a scanout, the kernel's log or a virtual terminal's: from a device that has just been found
//! to what is seen on its screen.

use core::{
    fmt,
    ops::Range, //
};

use zerocopy::{
    FromBytes,
    IntoBytes, //
};

use crate::{
    gpu::{
        protocol::{
            GetDisplayInfo,
            Mode, //
        },
        Control,
        GpuError, //
    },
    stages::display::{
        Display,
        DisplayError, //
    },
    text::{
        Cell,
        Font,
        Grid,
        Palette,
        Rows,
        Screen,
        Scroll,
        ATTRIBUTE, //
    },
    virtio::{
        adoption::Found,
        setup::Agreement,
        Hal,
        Ring, //
    },
};

/// Cells that a screen may have: those of 3840x2160 with glyphs of 8x16.
const CELLS: usize = 65536;

/// Why a device shows no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogError {
    /// It did not tell its modes.
    Gpu(GpuError),
    /// None of its scanouts is enabled.
    NoScanout,
    /// The kernel has no font that can be used.
    NoFont,
    /// There is no picture.
    Display(DisplayError),
}

impl From<GpuError> for LogError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

impl From<DisplayError> for LogError {
    fn from(error: DisplayError) -> Self {
        Self::Display(error)
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(error) => error.fmt(f),
            Self::NoScanout => f.write_str("none of its scanouts is enabled"),
            Self::NoFont => f.write_str("the kernel has no font of 4 to 32 pixels a side"),
            Self::Display(error) => error.fmt(f),
        }
    }
}

/// A screen that shows the log, or a virtual terminal.
pub(crate) struct Log<'a, H> {
    display: Display<'a, H>,
    screen: Screen<'a>,
    mode: Mode,
    /// What the device was doing before.
    found: Found,
    /// Cells that a screen may have.
    cells: usize,
    /// How the user wants the screen to scroll.
    scroll: Scroll,
    /// The device cannot be reached for a while: text is kept.
    paused: bool,
    /// Text was written that the VT does not know of.
    ahead: bool,
    /// What was written last was urgent, and held a call trace.
    urgent: bool,
    traced: bool,
    /// Trouble was told.
    told: bool,
}

/// The mode of the first scanout. A function of its own, because the answer is large and a kernel's
/// stack is not.
#[inline(never)]
fn first_mode(control: &mut Control<impl Hal + Clone>) -> Result<Mode, LogError> {
    let info = control.call(&GetDisplayInfo::new(), None)?;
    info.first_enabled().ok_or(LogError::NoScanout)
}

impl<'a, H: Hal + Clone> Log<'a, H> {
    /// Starts on a device with which `agreement` was reached and whose doorbell works. If it was
    /// adopted, what it shows stays until there is text. `resource` is the ID of a resource that the
    /// device does not have, and has bit 0 to itself. `memory` is the shared memory behind the ring's; the cells live at its end and the band in the rest of
    /// it. `font` gets the size of the screen in pixels.
    ///
    /// # Errors
    ///
    /// As [`LogError`] says; the device needs a reset then.
    pub(crate) fn start(
        hal: H,
        agreement: &Agreement,
        scroll: Scroll,
        resource: u32,
        memory: &'a mut [u32],
        font: impl FnOnce(u32, u32) -> Option<Font<'a>>,
    ) -> Result<Self, LogError> {
        let ring = Ring::new(hal, agreement.queue.size, agreement.features);
        let mut control = Control::new(ring);
        let mode = first_mode(&mut control)?;
        let font = font(mode.width, mode.height).ok_or(LogError::NoFont)?;

        // Enough for a smaller font, should the user load one.
        let fit = |side: u32, of: u32| (side / of.clamp(1, 8)) as usize;
        let cells = fit(mode.width, font.size().width)
            .saturating_mul(fit(mode.height, font.size().height))
            .min(CELLS);
        let bytes = size_of::<Rows>() + cells * size_of::<Cell>();
        let words = bytes.div_ceil(size_of::<u32>());
        let (band, text) = memory.split_at_mut(memory.len().saturating_sub(words));
        let begin = (resource, agreement.found == Found::Adopted);
        let display = Display::start(control, mode, font, scroll, begin, cells, band)?;

        // Cells are plain numbers: there is no memory that cannot hold them.
        let (rows, memory) =
            Rows::mut_from_prefix(text.as_mut_bytes()).map_err(|_| LogError::NoFont)?;
        let memory = <[Cell]>::mut_from_bytes(memory).unwrap_or_default();
        let screen = Screen::new(memory, rows, *display.grid(), display.font().glyph_bits())
            .ok_or(LogError::NoFont)?;
        Ok(Self {
            display,
            screen,
            mode,
            found: agreement.found,
            cells,
            scroll,
            paused: false,
            ahead: false,
            urgent: false,
            traced: false,
            told: false,
        })
    }

    /// Writes text, and shows it; see [`Log::remember`].
    pub(crate) fn write(&mut self, text: &[u8], urgent: bool) {
        self.remember(text, ATTRIBUTE, urgent);
        self.show();
    }

    /// Takes text, in the colours of an attribute, which [`Log::show`] brings to the screen. A device
    /// that fails is left alone from then on.
    ///
    /// Urgent text is what the kernel says of its own end, or fears to be. If it does not fit the
    /// screen, how it begins stays there, and the top of the first call trace.
    pub(crate) fn remember(&mut self, text: &[u8], attribute: u8, urgent: bool) {
        const TRACE: &[u8] = b"Call trace:";

        if !urgent {
            self.calm();
        } else if !self.urgent {
            self.screen.keep();
            self.urgent = true;
        }
        if urgent && !self.traced && text.windows(TRACE.len()).any(|window| window == TRACE) {
            self.screen.keep();
            self.traced = true;
        }
        self.screen.remember(text, attribute);
        self.ahead = true;
    }

    /// What is urgent is over: it may scroll away.
    pub(crate) fn calm(&mut self) {
        if self.urgent {
            self.screen.let_go();
        }
        (self.urgent, self.traced) = (false, false);
    }

    /// Blanks the screen, for text that begins at its top.
    pub(crate) fn clear(&mut self) {
        (self.urgent, self.traced) = (false, false);
        self.screen.clear();
    }

    /// Whether the device is let alone.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Lets the device alone until [`Log::resume`].
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Shows what was kept.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.show();
    }

    /// Whether text was written since [`Log::catch_up`].
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead
    }

    /// The VT knows now what was written. Returns whether that was news.
    pub(crate) fn catch_up(&mut self) -> bool {
        core::mem::take(&mut self.ahead)
    }

    /// The mode that the scanout has by now; `None` if it is not enabled any more, or the device does not
    /// tell.
    pub(crate) fn mode_by_now(&mut self) -> Option<Mode> {
        if self.paused {
            return None;
        }
        first_mode(self.display.control()).ok()
    }

    /// The resource that has the text.
    pub(crate) fn resource(&self) -> u32 {
        self.display.resource()
    }

    /// Gives a resource back that an earlier log had on this device.
    pub(crate) fn forget(&mut self, resource: u32) {
        self.display.forget(resource);
    }

    /// Ends the log, once all that was written is on the screen, or the device fails. The ring's memory,
    /// which can wait, is for the device's reset; and there may be trouble to tell.
    pub(crate) fn end(mut self) -> (H, Option<GpuError>) {
        // The display keeps the error.
        let _ = self.display.drain();
        (self.display.hal().clone(), self.trouble())
    }

    /// The text, to be changed; [`Log::show`] brings it to the screen.
    pub(crate) fn screen(&mut self) -> &mut Screen<'a> {
        &mut self.screen
    }

    /// Shows what changed.
    pub(crate) fn show(&mut self) {
        if self.paused {
            return;
        }
        self.screen.show(&mut self.display);
    }

    /// Shows a picture until there is text, or as long as text does not cover it: see
    /// [`Display::show_picture`].
    pub(crate) fn show_picture(
        &mut self,
        rows: Range<u32>,
        keeps: bool,
        paint: impl FnMut(u32, u32, &mut [u32]),
    ) {
        self.display.show_picture(rows, keeps, paint);
        if keeps {
            self.screen.lie_over();
        }
    }

    /// Has text begin below so many pixels of the screen, which shows a picture and no text yet.
    pub(crate) fn begin_below(&mut self, pixels: u32) {
        let row = pixels.div_ceil(self.grid().glyph().height) as usize;
        let last = self.grid().rows() - 1;
        self.screen.set_position(row, 0);
        self.ahead = true;
        if row > last {
            self.screen.remember(b"\n", ATTRIBUTE);
        }
    }

    /// Makes the screen black until [`Screen::unblank`].
    pub(crate) fn blank(&mut self) {
        if !self.paused {
            self.screen.blank(&mut self.display);
        }
    }

    /// Draws all text again, in these colours, with the next [`Log::show`].
    pub(crate) fn set_palette(&mut self, palette: Palette) {
        if *self.display.palette() != palette {
            *self.display.palette() = palette;
            self.screen.redraw();
        }
    }

    /// The font of the text.
    pub(crate) fn font(&self) -> &Font<'a> {
        self.display.font()
    }

    /// Goes on with another font, on a blank screen.
    ///
    /// # Errors
    ///
    /// As [`Display::set_font`].
    pub(crate) fn set_font(&mut self, font: Font<'a>) -> Result<(), LogError> {
        self.display
            .set_font(self.mode, font, self.scroll, self.cells)?;
        if self.screen.renew(*self.display.grid(), font.glyph_bits()) {
            // The resource is black, which need not be the palette's.
            self.screen.redraw();
            Ok(())
        } else {
            Err(LogError::NoFont)
        }
    }

    /// How the text is laid out.
    pub(crate) fn grid(&self) -> &Grid {
        self.display.grid()
    }

    /// What the device was doing before.
    pub(crate) fn found(&self) -> Found {
        self.found
    }

    /// The scanout and its size.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// What keeps the text from the screen, or kept some of it; told once.
    pub(crate) fn trouble(&mut self) -> Option<GpuError> {
        if self.told {
            return None;
        }
        let trouble = self.display.failed().or(self.display.refusals().1);
        self.told = trouble.is_some();
        trouble
    }
}
