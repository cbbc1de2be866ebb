// SPDX-License-Identifier: GPL-2.0

//! Text on a scanout: what [`Screen`](crate::text::Screen) wants drawn becomes pixels in the band
//! and commands in the control queue. Nothing here waits, unless every slot of the band is with the
//! device.

use core::{
    fmt,
    ops::Range, //
};

use zerocopy::IntoBytes;

use crate::{
    gpu::{
        protocol::{
            MemEntry,
            Mode,
            ResourceAttachBacking,
            ResourceCreate2d,
            ResourceFlush,
            SetScanout,
            TransferToHost2d, //
        },
        Control,
        GpuError,
        Rect, //
    },
    text::{
        Band,
        Cell,
        Font,
        Grid,
        GridError,
        Limits,
        Painter,
        Palette,
        Places,
        Scroll,
        Size,
        Surface, //
    },
    virtio::{
        ring::{
            Part,
            RING_BYTES, //
        },
        Hal, //
    },
};

/// Our resource's ID on the host.
const RESOURCE: u32 = 1;
/// Host memory that a resource may take: QEMU's `max_hostmem` where nobody set it.
const RESOURCE_BYTES: u64 = 256 << 20;
/// The band begins where the ring ends.
const BAND: usize = RING_BYTES;

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DisplayError {
    /// The text does not fit the mode, or the memory.
    Grid(GridError),
    /// The device did not do what it was told.
    Gpu(GpuError),
}

impl From<GridError> for DisplayError {
    fn from(error: GridError) -> Self {
        Self::Grid(error)
    }
}

impl From<GpuError> for DisplayError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}

impl fmt::Display for DisplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grid(error) => error.fmt(f),
            Self::Gpu(error) => error.fmt(f),
        }
    }
}

/// A scanout with text on it.
pub(crate) struct Display<'a, H> {
    control: Control<H>,
    scanout: u32,
    grid: Grid,
    font: Font<'a>,
    painter: Painter,
    /// Pixels; shared with the device, which reads a slot of it only while `busy` says so.
    band: &'a mut [u32],
    /// For each slot of the band, the commands that read it, as [`Control::post`] names them.
    busy: [u32; Band::MAX_SLOTS],
    /// The slot that is painted next.
    next: usize,
    failed: Option<GpuError>,
}

impl<'a, H: Hal + Clone> Display<'a, H> {
    /// Creates the resource, clears it and lets the scanout of `mode` show it. `band` is the shared
    /// memory behind the ring's.
    ///
    /// # Errors
    ///
    /// As [`DisplayError`] says; the device needs a reset then.
    pub(crate) fn start(
        control: Control<H>,
        mode: Mode,
        font: Font<'a>,
        scroll: Scroll,
        cells: usize,
        band: &'a mut [u32],
    ) -> Result<Self, DisplayError> {
        let limits = Limits {
            cells,
            band_bytes: size_of_val(band),
            // The list of entries is handed over in the band itself.
            entries: size_of_val(band) / size_of::<MemEntry>(),
            resource_bytes: RESOURCE_BYTES,
        };
        let size = Size {
            width: mode.width,
            height: mode.height,
        };
        let grid = Grid::new(size, font.size(), scroll, &limits)?;
        let mut display = Self {
            control,
            scanout: mode.scanout,
            grid,
            font,
            painter: Painter::new(),
            band,
            busy: [0; Band::MAX_SLOTS],
            next: 0,
            failed: None,
        };
        display.create()?;
        Ok(display)
    }

    /// How the text is laid out.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What stopped the display for good, if anything did.
    pub(crate) fn failed(&self) -> Option<GpuError> {
        self.failed
    }

    /// Commands that the device has refused since the start, and the first of them, as an error.
    pub(crate) fn refusals(&self) -> (u32, Option<GpuError>) {
        let (count, first) = self.control.refusals();
        (count, first.map(GpuError::Refused))
    }

    /// Waits until the device has done all that it was told.
    ///
    /// # Errors
    ///
    /// The queue failed, now or before.
    #[cfg_attr(not(MODULE), allow(dead_code))]
    pub(crate) fn drain(&mut self) -> Result<(), GpuError> {
        self.control.wait(u32::MAX)
    }

    fn create(&mut self) -> Result<(), DisplayError> {
        let Size { width, height } = self.grid.resource();
        self.control
            .call(&ResourceCreate2d::new(RESOURCE, width, height), None)?;

        // The band is free until something is drawn: it carries the list of its own pieces.
        let mut count = 0;
        for (words, (offset, length)) in self
            .band
            .chunks_exact_mut(4)
            .zip(self.grid.band().entries())
        {
            let address = self.control.hal().device_address(BAND + offset as usize);
            words
                .as_mut_bytes()
                .copy_from_slice(MemEntry::new(address, length).as_bytes());
            count += 1;
        }
        let entries = Part {
            at: BAND,
            length: count as usize * size_of::<MemEntry>(),
        };
        self.control
            .call(&ResourceAttachBacking::new(RESOURCE, count), Some(entries))?;

        // One transfer of a slot of zeroes, which the backing repeats, clears it all.
        self.band.fill(0);
        let all = Rect::new(0, 0, width, height);
        let clear = TransferToHost2d::new(all, self.grid.band().offset(0, 0), RESOURCE);
        self.control.call(&clear, None)?;
        self.control.call(&self.window(1), None)?;
        let Size { width, height } = self.grid.screen();
        let visible = Rect::new(0, self.grid.origin(1), width, height);
        self.control
            .call(&ResourceFlush::new(visible, RESOURCE), None)?;
        Ok(())
    }

    /// The command that shows the window whose first text row is `top`.
    fn window(&self, top: u32) -> SetScanout {
        let Size { width, height } = self.grid.screen();
        let rect = Rect::new(0, self.grid.origin(top), width, height);
        SetScanout::new(rect, self.scanout, RESOURCE)
    }

    /// Runs `f` unless something failed before, and keeps its error.
    fn attempt(&mut self, f: impl FnOnce(&mut Self) -> Result<(), GpuError>) {
        if self.failed.is_none() {
            self.failed = f(self).err();
        }
    }

    /// Paints one tile of a row and posts its transfers.
    fn tile(&mut self, places: Places, cells: &[Cell], tile: usize) -> Result<(), GpuError> {
        let slot = self.next;
        self.next = (slot + 1) % self.grid.band().slots();
        self.control.wait(self.busy[slot])?;
        self.busy[slot] = 0;

        let band = self.grid.band();
        let Some(pixels) = self.band.get_mut(band.slot(slot)) else {
            return Ok(());
        };
        self.painter
            .paint(&self.font, &Palette::DEFAULT, band, cells, pixels, 0);

        let Size { width, height } = self.grid.glyph();
        for row in places.iter() {
            let rect = Rect::new(
                self.grid.band().tile_x(tile),
                self.grid.y(row),
                cells.len() as u32 * width,
                height,
            );
            let offset = self.grid.band().offset(slot, tile);
            let bit = self
                .control
                .post(&TransferToHost2d::new(rect, offset, RESOURCE))?;
            // The bit belonged to a command that is done.
            for busy in &mut self.busy {
                *busy &= !bit;
            }
            self.busy[slot] |= bit;
        }
        Ok(())
    }
}

impl<H: Hal + Clone> Surface for Display<'_, H> {
    fn draw(&mut self, places: Places, cells: &[Cell], from: usize) {
        let columns = self.grid.band().tile_cols();
        for (tile, cells) in cells.chunks(columns).enumerate() {
            if tile * columns + cells.len() > from {
                self.attempt(|display| display.tile(places, cells, tile));
            }
        }
    }

    fn pan(&mut self, top: u32) {
        self.attempt(|display| {
            let window = display.window(top);
            display.control.post(&window).map(drop)
        });
    }

    fn finish(&mut self, text_rows: Range<u32>) {
        self.attempt(|display| {
            let (top, bottom) = (
                display.grid.y(text_rows.start),
                display.grid.y(text_rows.end),
            );
            let rect = Rect::new(
                0,
                top,
                display.grid.screen().width,
                bottom.saturating_sub(top),
            );
            display.control.post(&ResourceFlush::new(rect, RESOURCE))?;
            display.control.publish();
            Ok(())
        });
    }
}
