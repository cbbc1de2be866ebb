// SPDX-License-Identifier: GPL-2.0

//! The kernel's log on a scanout: from a device that has just been found to text on its screen.

use core::fmt;

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
        Screen,
        Scroll, //
    },
    virtio::{
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

/// A screen that shows the log.
pub(crate) struct Log<'a, H> {
    display: Display<'a, H>,
    screen: Screen<'a>,
    mode: Mode,
    /// Trouble was told.
    told: bool,
}

impl<'a, H: Hal + Clone> Log<'a, H> {
    /// Starts on a device with which `agreement` was reached and whose doorbell works. `memory` is
    /// the shared memory behind the ring's; the cells live at its end and the band in the rest of
    /// it. `font` gets the size of the screen in pixels.
    ///
    /// # Errors
    ///
    /// As [`LogError`] says; the device needs a reset then.
    pub(crate) fn start(
        hal: H,
        agreement: &Agreement,
        scroll: Scroll,
        memory: &'a mut [u32],
        font: impl FnOnce(u32, u32) -> Option<Font<'a>>,
    ) -> Result<Self, LogError> {
        let ring = Ring::new(hal, agreement.queue.size, agreement.features);
        let mut control = Control::new(ring);
        let info = control.call(&GetDisplayInfo::new(), None)?;
        let mode = info.first_enabled().ok_or(LogError::NoScanout)?;
        let font = font(mode.width, mode.height).ok_or(LogError::NoFont)?;

        let fit = |side: u32, of: u32| side.checked_div(of).unwrap_or(0) as usize;
        let cells = fit(mode.width, font.size().width)
            .saturating_mul(fit(mode.height, font.size().height))
            .min(CELLS);
        let words = (cells * size_of::<Cell>()).div_ceil(size_of::<u32>());
        let (band, cells_memory) = memory.split_at_mut(memory.len().saturating_sub(words));
        let display = Display::start(control, mode, font, scroll, cells, band)?;

        // Cells are plain numbers: there is no memory that cannot hold them.
        let cells = <[Cell]>::mut_from_bytes(cells_memory.as_mut_bytes()).unwrap_or_default();
        let screen = Screen::new(cells, *display.grid()).ok_or(LogError::NoFont)?;
        Ok(Self {
            display,
            screen,
            mode,
            told: false,
        })
    }

    /// Writes text. A device that fails is left alone from then on.
    pub(crate) fn write(&mut self, text: &[u8]) {
        self.screen.write(text, &mut self.display);
    }

    /// Takes note of text without drawing it; the next [`Log::write`] does.
    #[cfg(not(MODULE))]
    pub(crate) fn remember(&mut self, text: &[u8]) {
        self.screen.remember(text);
    }

    /// How the text is laid out.
    pub(crate) fn grid(&self) -> &Grid {
        self.display.grid()
    }

    /// The scanout and its size.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Waits until all that was written is on the screen, or the device fails.
    #[cfg(MODULE)]
    pub(crate) fn finish(&mut self) {
        // The display keeps the error.
        let _ = self.display.drain();
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
