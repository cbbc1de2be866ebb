// SPDX-License-Identifier: GPL-2.0

//! The renderer of text on scanouts: paints in the band what [`Screen`](crate::text::Screen) has it
//! draw, and adds the commands that show it to the control queue. Drawing text waits only if the
//! device still reads all slots of the band.

use core::{fmt, iter, ops::Range};

use zerocopy::IntoBytes;

use crate::{
    gpu::{
        protocol::{
            MemEntry,
            Mode,
            ResourceAttachBacking,
            ResourceCreate2d,
            ResourceFlush,
            ResourceUnref,
            SetScanout,
            TransferToHost2d,
            MAX_SCANOUTS, //
        },
        Control,
        GpuError,
        Rect, //
    },
    scanout::layout::{
        lay_out,
        Layout,
        Resource,
        ID_STEP,
        MAX_RESOURCE_BYTES, //
    },
    text::{
        Band,
        Cell,
        Corner,
        Cursor,
        Font,
        Grid,
        GridError,
        Painter,
        Palette,
        RowPositions,
        Scroll,
        Size,
        Surface,
        ATTRIBUTE, //
    },
    virtio::{
        queue::{
            BufferElement,
            QUEUE_BYTES, //
        },
        Hal, //
    }, //
};

/// The offset of the band in the shared memory: the virtqueue is before it.
const BAND_OFFSET: usize = QUEUE_BYTES;

/// The reason why there is no display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DisplayError {
    /// The text does not fit the mode, or the memory.
    Grid(GridError),
    /// A command failed.
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

/// The resources and scanouts that stay on a device when a display ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RetainedScanouts {
    /// The ID of the first resource; the others follow in steps of [`ID_STEP`].
    first_id: u32,
    /// The number of resources.
    resource_count: u32,
    /// A bit for each scanout that shows one of them.
    scanout_mask: u32,
}

/// The IDs that a display may use, from an even one on.
pub(crate) const RESOURCE_IDS: u32 = ID_STEP * MAX_SCANOUTS as u32;

/// The picture that the scanouts show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The same as before this display.
    Retained,
    /// The same as before; text is drawn on our resource, but not shown yet.
    Pending,
    /// A picture on our resource, which has no text on it.
    Picture,
    /// The text, on our resource.
    Own,
}

/// A part of the screen, in pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// The columns.
    pub(crate) x: Range<u32>,
    /// The rows.
    pub(crate) y: Range<u32>,
}

/// The halves that the slots of the band have at most. Most text is not wider than half a slot, and
/// so does not wait for the text in the other half.
const MAX_HALVES: usize = 2 * Band::MAX_SLOTS;

/// Halves of one slot, counted over the whole band: the left one (even), the right one, or both.
type Halves = Range<usize>;

/// Scanouts that show text, the same on all.
pub(crate) struct Display<'a, H> {
    control: Control<H>,
    layout: Layout<'a>,
    font: Font<'a>,
    palette: Palette,
    painter: Painter,
    /// The first text row of the window.
    top: u32,
    /// The picture that the scanouts show.
    content: Content,
    /// The resources and scanouts of an earlier display, until there is text.
    retained: RetainedScanouts,
    /// The band's pixels; shared with the device, which reads a half of a slot only while `busy`
    /// says so.
    band: &'a mut [u32],
    /// For each half, the commands that read it: the bits that [`Control`] returned for them.
    busy: [u32; MAX_HALVES],
    /// The half that is painted next.
    next: usize,
    /// For each half, the colour of its first columns and their number: cells of that colour need
    /// not be painted.
    filled: [(u32, u32); MAX_HALVES],
    failed: Option<GpuError>,
    /// Whether the device has our resources, and none of the font before.
    is_made: bool,
    /// Set if the device is known to read the `offset` of a transfer as QEMU does.
    reads_offset: bool,
}

impl RetainedScanouts {
    /// Returns the resource that another driver has left on a scanout.
    pub(crate) fn on(scanout: u32, id: u32) -> Self {
        Self {
            first_id: id,
            resource_count: 1,
            scanout_mask: 1u32.checked_shl(scanout).unwrap_or(0),
        }
    }
}

impl<'a, H: Hal + Clone> Display<'a, H> {
    /// Creates the resource, or one for each of `scanouts` where nothing pans, clears it and has
    /// the scanouts show it: at once, or, if `retains`, when there is text on it. `first_id` is
    /// even, and the first of [`RESOURCE_IDS`]. `band` is the shared memory behind the virtqueue's.
    ///
    /// # Errors
    ///
    /// As [`DisplayError`] says; the device needs a reset then.
    pub(crate) fn start(
        control: Control<H>,
        scanouts: &'a [Mode],
        font: Font<'a>,
        scroll: Scroll,
        (first_id, retains): (u32, bool),
        cells: usize,
        band: &'a mut [u32],
    ) -> Result<Self, DisplayError> {
        let grid = lay_out(scanouts, &font, scroll, cells, size_of_val(band))?;
        let mut display = Self {
            control,
            layout: Layout {
                scanouts,
                grid,
                first_id,
            },
            font,
            palette: Palette::DEFAULT,
            painter: Painter::new(),
            top: grid.top(0),
            content: if retains {
                Content::Retained
            } else {
                Content::Own
            },
            retained: RetainedScanouts::default(),
            band,
            busy: [0; MAX_HALVES],
            next: 0,
            filled: [(0, 0); MAX_HALVES],
            failed: None,
            is_made: false,
            reads_offset: false,
        };
        display.create()?;
        display.is_made = true;
        Ok(display)
    }

    /// Starts again with another font, on a new resource. The screen is blank then, and the text
    /// has to be blank as well.
    ///
    /// # Errors
    ///
    /// [`DisplayError::Grid`] with nothing changed; [`DisplayError::Gpu`] if the device failed,
    /// which is not used any more until [`Display::recover`].
    pub(crate) fn set_font(
        &mut self,
        font: Font<'a>,
        scroll: Scroll,
        cells: usize,
    ) -> Result<(), DisplayError> {
        let grid = lay_out(
            self.layout.scanouts,
            &font,
            scroll,
            cells,
            self.band_bytes(),
        )?;
        let (old, before) = (self.own_scanouts(), self.layout.host_bytes());
        self.layout.grid = grid;
        self.font = font;
        self.layout.first_id ^= 1;
        self.top = grid.top(0);
        let unref_first = !self.fits_beside(before);
        // A picture goes with the resource that it is on.
        if self.content == Content::Picture {
            self.content = Content::Own;
        }
        self.attempt(|display| {
            if unref_first {
                display.unref(old)?;
            }
            display.create()?;
            // After SET_SCANOUT, because some devices do not unref a resource that is shown.
            display.unref(old)
        });
        self.is_made = self.failed.is_none();
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Starts again after an operation on the display was interrupted anywhere: on new resources,
    /// with these scanouts and this font. The picture stays until there is text. The device must
    /// have used all commands; see [`is_drained`](crate::virtio::queue::is_drained).
    ///
    /// # Errors
    ///
    /// As [`Display::set_font`].
    pub(crate) fn restart(
        &mut self,
        scanouts: &'a [Mode],
        font: Font<'a>,
        scroll: Scroll,
        cells: usize,
    ) -> Result<(), DisplayError> {
        let grid = lay_out(scanouts, &font, scroll, cells, self.band_bytes())?;
        self.control.restart();
        let (old, before) = (self.own_scanouts(), self.layout.host_bytes());
        self.layout = Layout {
            scanouts,
            grid,
            // The next range of even IDs after the one that the probe of the origin has used.
            first_id: (old.first_id & !1).wrapping_add(2 * RESOURCE_IDS),
        };
        self.font = font;
        self.palette = Palette::DEFAULT;
        self.painter = Painter::new();
        self.top = grid.top(0);
        self.content = Content::Retained;
        self.retained = old;
        self.busy = [0; MAX_HALVES];
        self.failed = None;
        self.is_made = false;
        let unref_first = !self.fits_beside(before);
        self.attempt(|display| {
            if unref_first {
                let old = core::mem::take(&mut display.retained);
                display.unref(old)?;
            }
            display.create()
        });
        self.is_made = self.failed.is_none();
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Returns whether the host has memory for our resources beside earlier ones of `before` bytes.
    /// If not, those have to go first, and the screen is dark for a moment.
    fn fits_beside(&self, before: u64) -> bool {
        before.saturating_add(self.layout.host_bytes()) < MAX_RESOURCE_BYTES
    }

    /// Returns the font of the text.
    pub(crate) fn font(&self) -> &Font<'a> {
        &self.font
    }

    /// Returns the colours of the text, to be changed for what is drawn from now on.
    pub(crate) fn palette(&mut self) -> &mut Palette {
        &mut self.palette
    }

    /// Returns the layout of the text.
    pub(crate) fn grid(&self) -> &Grid {
        &self.layout.grid
    }

    /// Returns the memory that is shared with the device.
    pub(crate) fn hal(&self) -> &H {
        self.control.hal()
    }

    /// Returns the control queue, for a command that is waited for.
    pub(crate) fn control(&mut self) -> &mut Control<H> {
        &mut self.control
    }

    /// Returns the scanouts that show the text.
    pub(crate) fn scanouts(&self) -> &'a [Mode] {
        self.layout.scanouts
    }

    /// Returns our resources, and the scanouts that show them.
    fn own_scanouts(&self) -> RetainedScanouts {
        RetainedScanouts {
            first_id: self.layout.first_id,
            resource_count: self.layout.resource_count() as u32,
            scanout_mask: self.layout.scanout_mask(),
        }
    }

    /// Returns the resources and scanouts that stay on the device for the next display: those that
    /// are shown. Unrefs our resources if they are not. The display ends next.
    pub(crate) fn retain_scanouts(&mut self) -> RetainedScanouts {
        match self.content {
            Content::Own | Content::Picture => self.own_scanouts(),
            Content::Retained | Content::Pending => {
                let own = self.own_scanouts();
                self.attempt(|display| display.unref(own));
                self.retained
            }
        }
    }

    /// Takes over the resources of an earlier display on this device: they stay until there is
    /// text, but not on scanouts that are not ours any more.
    pub(crate) fn adopt_scanouts(&mut self, retained: RetainedScanouts) {
        self.attempt(|display| {
            let own = display.layout.scanout_mask();
            for scanout in 0..MAX_SCANOUTS as u32 {
                if retained.scanout_mask & !own & 1 << scanout != 0 {
                    let nothing = SetScanout::new(Rect::default(), scanout, 0);
                    display.control.try_call(&nothing)?;
                }
            }
            match display.content {
                Content::Own | Content::Picture => display.unref(retained)?,
                Content::Retained | Content::Pending => {
                    display.retained = RetainedScanouts {
                        scanout_mask: retained.scanout_mask & own,
                        ..retained
                    };
                }
            }
            Ok(())
        });
    }

    /// Has the host unref resources, and waits for it. A device that refuses it, because it shows
    /// them, keeps them.
    fn unref(&mut self, retained: RetainedScanouts) -> Result<(), GpuError> {
        for index in 0..retained.resource_count {
            let id = retained.first_id.wrapping_add(ID_STEP * index);
            self.control.add(&ResourceUnref::new(id))?;
        }
        self.drain()
    }

    /// Sets that the device is known to read the `offset` of a transfer as QEMU does.
    pub(crate) fn set_reads_offset(&mut self) {
        self.reads_offset = true;
    }

    /// Returns the length of the band's memory in bytes.
    pub(crate) fn band_bytes(&self) -> usize {
        size_of_val(self.band)
    }

    /// Stops the display with an error, unless it had one before.
    pub(crate) fn fail(&mut self, error: GpuError) {
        self.failed.get_or_insert(error);
    }

    /// Returns the error that stopped the display, if there was one.
    pub(crate) fn failed(&self) -> Option<GpuError> {
        self.failed
    }

    /// Resumes use of a device that stalled, if it has completed its commands by now. Returns
    /// whether it has: all text has to be drawn again then.
    pub(crate) fn recover(&mut self) -> bool {
        if self.failed.is_none() || !self.control.recover() {
            return false;
        }
        self.failed = None;
        if !self.is_made {
            self.attempt(Self::recreate);
            self.is_made = self.failed.is_none();
        } else if self.content == Content::Own {
            self.attempt(Self::add_set_scanouts);
        }
        true
    }

    /// Creates the resources of a device that stalled when it got another font. It may have any
    /// part of them, and those of the font before.
    fn recreate(&mut self) -> Result<(), GpuError> {
        let own = self.own_scanouts();
        for index in 0..own.resource_count {
            let id = own.first_id.wrapping_add(ID_STEP * index);
            self.control.try_call(&ResourceUnref::new(id))?;
            self.control.try_call(&ResourceUnref::new(id ^ 1))?;
        }
        self.create()
    }

    /// Returns how many commands the device has refused since the start, and the first of them, as
    /// an error.
    pub(crate) fn error_responses(&self) -> (u32, Option<GpuError>) {
        let (count, first) = self.control.errors();
        (count, first.map(GpuError::Response))
    }

    /// Waits until the device has completed all commands.
    ///
    /// # Errors
    ///
    /// The queue failed, now or before.
    pub(crate) fn drain(&mut self) -> Result<(), GpuError> {
        let result = self.control.wait(u32::MAX);
        if let Err(error) = result {
            self.fail(error);
        }
        result
    }

    /// Creates the resources, attaches the band to them and clears them. Has the scanouts show
    /// them, unless an earlier picture stays.
    ///
    /// # Errors
    ///
    /// The queue failed, or the device refused a command.
    fn create(&mut self) -> Result<(), GpuError> {
        self.drain()?;
        for index in 0..self.layout.resource_count() {
            let resource = self.layout.resource(index);
            let Resource { id, size } = resource;
            let create = ResourceCreate2d::new(id, size.width, size.height);
            self.control.call(&create, None)?;
            let count = match self.layout.grid.scroll() {
                Scroll::Pan => self.write_entries(self.layout.grid.band().entries()),
                Scroll::Repaint => self.write_entries(self.layout.grid.band().strip_entries(size)),
            };
            let entries = BufferElement {
                offset: BAND_OFFSET,
                length: count as usize * size_of::<MemEntry>(),
            };
            let attach = ResourceAttachBacking::new(id, count);
            self.control.call(&attach, Some(entries))?;
            self.zero_slots();
            self.control.call(&self.clear_command(resource), None)?;
        }
        if self.content == Content::Own {
            for index in 0..self.layout.scanouts.len() {
                self.control.call(&self.set_scanout_command(index), None)?;
            }
            self.flush_window()?;
            self.drain()?;
        }
        Ok(())
    }

    /// Writes the entries of a backing store into the band, which is free until something is drawn.
    /// Returns how many they are.
    fn write_entries(&mut self, entries: impl Iterator<Item = (u32, u32)>) -> u32 {
        let mut count = 0;
        for (words, (offset, length)) in self.band.chunks_exact_mut(4).zip(entries) {
            let address = self
                .control
                .hal()
                .device_address(BAND_OFFSET + offset as usize);
            words
                .as_mut_bytes()
                .copy_from_slice(MemEntry::new(address, length).as_bytes());
            count += 1;
        }
        count
    }

    /// Fills all pixels that the device reads for [`Self::clear_command`] with zeroes; it reads
    /// none of them at the moment.
    fn zero_slots(&mut self) {
        let band = self.layout.grid.band();
        let slots = match self.layout.grid.scroll() {
            Scroll::Pan => 1,
            Scroll::Repaint => band.slots(),
        };
        let all = 0..band.slot(slots - 1).end;
        if let Some(pixels) = self.band.get_mut(all) {
            pixels.fill(0);
        }
        self.filled = [(0, 0); MAX_HALVES];
        for filled in self.filled.iter_mut().take(2 * slots) {
            *filled = (0, u32::MAX);
        }
        // There may be fewer slots than before.
        self.next = 0;
    }

    /// Returns the command that clears a whole resource: one transfer of a slot of zeroes, which
    /// the backing store repeats.
    fn clear_command(&self, Resource { id, size }: Resource) -> TransferToHost2d {
        let band = self.layout.grid.band();
        let offset = match self.layout.grid.scroll() {
            Scroll::Pan => band.offset(0, 0),
            Scroll::Repaint => band.strip_offset(size, 0),
        };
        let all = Rect::new(0, 0, size.width, size.height);
        TransferToHost2d::new(all, offset, id)
    }

    /// Clears all our resources on the host.
    fn clear_all(&mut self) -> Result<(), GpuError> {
        self.drain()?;
        self.zero_slots();
        for index in 0..self.layout.resource_count() {
            let clear = self.clear_command(self.layout.resource(index));
            let bit = self.control.add(&clear)?;
            self.mark_busy(0..self.half_count(), bit);
        }
        Ok(())
    }

    /// Adds the commands that flush text rows of the window.
    fn flush(&mut self, text_rows: Range<u32>) -> Result<(), GpuError> {
        let (top, bottom) = (
            self.layout.grid.y(text_rows.start),
            self.layout.grid.y(text_rows.end),
        );
        for index in 0..self.layout.resource_count() {
            let Resource { id, size } = self.layout.resource(index);
            let width = match self.layout.grid.scroll() {
                Scroll::Pan => self.layout.grid.screen().width,
                Scroll::Repaint => size.width,
            };
            let bottom = bottom.min(size.height);
            if top < bottom {
                let rect = Rect::new(0, top, width, bottom - top);
                self.control.add(&ResourceFlush::new(rect, id))?;
            }
        }
        Ok(())
    }

    /// Adds the commands that flush the whole window.
    fn flush_window(&mut self) -> Result<(), GpuError> {
        self.flush(self.top..self.top + self.layout.grid.window() as u32)
    }

    /// Flushes the whole window once more, if the scanouts show our resource: a host that was busy
    /// with the last picture may have skipped the last flush.
    pub(crate) fn flush_again(&mut self) {
        if !matches!(self.content, Content::Own | Content::Picture) {
            return;
        }
        self.attempt(|display| {
            display.flush_window()?;
            display.control.kick();
            Ok(())
        });
    }

    /// Returns the command that shows the window on one of the scanouts, as much of it as fits.
    fn set_scanout_command(&self, index: usize) -> SetScanout {
        let (mode, id) = match (self.layout.scanouts.get(index), self.layout.grid.scroll()) {
            (Some(mode), Scroll::Pan) => (mode, self.layout.first_id),
            (Some(mode), Scroll::Repaint) => (mode, self.layout.resource(index).id),
            (None, _) => return SetScanout::new(Rect::default(), 0, 0),
        };
        let window = Rect::new(0, self.layout.grid.y(self.top), mode.width, mode.height);
        SetScanout::new(window, mode.scanout, id)
    }

    /// Adds that command for all scanouts.
    fn add_set_scanouts(&mut self) -> Result<(), GpuError> {
        for index in 0..self.layout.scanouts.len() {
            self.control.add(&self.set_scanout_command(index))?;
        }
        Ok(())
    }

    /// Shows a picture until there is text. `paint` gets a column and a row of the screen, and the
    /// pixels from there on; it leaves pixels alone that are not the picture's. The picture has
    /// pixels in `rows` only. If it `scrolls` with the text, it has no pixels outside of the text's
    /// columns and rows.
    ///
    /// Nothing may have been drawn before.
    pub(crate) fn show_picture(
        &mut self,
        rows: Range<u32>,
        scrolls: bool,
        mut paint: impl FnMut(u32, u32, &mut [u32]),
    ) {
        let Size { width, height } = self.layout.grid.glyph();
        let top = self.layout.grid.y(self.top);
        let (window, text) = (
            self.layout.grid.window() as u32,
            self.layout.grid.rows() as u32,
        );
        let (count, right) = match scrolls {
            false => (window, u32::MAX),
            true => (text, self.layout.grid.cols() as u32 * width),
        };
        let again = (scrolls && self.layout.grid.scroll() == Scroll::Pan).then_some(window);
        for text_row in self.top..self.top + count {
            let y = self.layout.grid.y(text_row) - top;
            if y >= rows.end || y + height <= rows.start {
                continue;
            }
            for tile in 0..self.layout.grid.band().tiles() {
                let positions = iter::once(text_row).chain(again.map(|rows| text_row + rows));
                self.attempt(|display| {
                    display.paint_tile(text_row, positions, tile, |x, row, to| {
                        let count = to.len().min(right.saturating_sub(x) as usize);
                        paint(x, y + row, to.get_mut(..count).unwrap_or_default());
                    })
                });
            }
        }
        self.attempt(|display| {
            display.show()?;
            display.control.kick();
            Ok(())
        });
        if !scrolls {
            self.content = Content::Picture;
        }
    }

    /// Blackens our resources for a framebuffer, without showing that; see
    /// [`Display::draw_framebuffer`].
    pub(crate) fn clear_for_framebuffer(&mut self) {
        self.attempt(Self::clear_all);
    }

    /// Draws an area of a framebuffer, which covers all of the screen, over the text.
    /// [`Display::show_framebuffer`] shows it. `copy` gets a column and a row of the framebuffer,
    /// and the pixels from there on; it blackens those that the framebuffer does not have.
    ///
    /// If `waits`, all of the area is drawn. If not, only the text rows that can be begun without a
    /// wait for the device. Returns the first row of pixels that is left.
    ///
    /// Where it is not known how the device reads the `offset` of a transfer, whole text rows are
    /// drawn, or strips of them, from the left edge of a tile on: only so is a transfer right under
    /// all readings; see [`Band`].
    pub(crate) fn draw_framebuffer(
        &mut self,
        area: &Area,
        waits: bool,
        mut copy: impl FnMut(u32, u32, &mut [u32]),
    ) -> Option<u32> {
        let glyph = self.layout.grid.glyph();
        let band = *self.layout.grid.band();
        let is_exact = self.reads_offset && self.layout.grid.scroll() == Scroll::Pan;
        let rows = area.y.start / glyph.height..area.y.end.div_ceil(glyph.height);
        for row in rows.start..rows.end.min(self.layout.grid.window() as u32) {
            let y = self.layout.grid.y(row);
            // A wide text row may have more tiles than the band has slots: so it is not begun anew.
            let mut may_wait = waits;
            for tile_number in 0..band.tiles() {
                let tile = band.tile(tile_number);
                let (top, bottom) = (y + tile.scanlines.start, y + tile.scanlines.end);
                let is_beside = bottom <= area.y.start
                    || top >= area.y.end
                    || tile.x >= area.x.end
                    || tile.x + band.unit() as u32 <= area.x.start;
                if is_beside {
                    continue;
                }
                let right = area.x.end.min(tile.x + band.unit() as u32);
                let part = match is_exact {
                    false => Area {
                        x: tile.x..right,
                        y: tile.scanlines,
                    },
                    true => Area {
                        x: area.x.start.max(tile.x)..right,
                        y: area.y.start.max(top) - y..area.y.end.min(bottom) - y,
                    },
                };
                let (left, width) = (part.x.start, right - part.x.start);
                let cols = width.div_ceil(glyph.width) as usize;
                if !may_wait && !self.is_free(cols, self.strip_slot(self.top + row, tile_number)) {
                    return Some(y.max(area.y.start));
                }
                may_wait = true;
                self.attempt(|display| {
                    display.copy_part(row, tile_number, part, |line, to| {
                        copy(left, y + line, to);
                    })
                });
            }
        }
        None
    }

    /// Copies a part of a tile of a row of the window into the band, as for
    /// [`Self::transfer_part`], and transfers it. `copy` gets a scanline of the row, and its
    /// pixels.
    fn copy_part(
        &mut self,
        row: u32,
        tile_number: usize,
        part: Area,
        mut copy: impl FnMut(u32, &mut [u32]),
    ) -> Result<(), GpuError> {
        let (text_row, band) = (self.top + row, *self.layout.grid.band());
        let glyph_width = self.layout.grid.glyph().width;
        let width = part.x.end - part.x.start;
        let cols = width.div_ceil(glyph_width) as usize;
        let halves = self.wait_for_halves(cols, self.strip_slot(text_row, tile_number))?;
        let first = self.first_col(&halves) * glyph_width as usize;
        let Some(pixels) = self.band.get_mut(band.slot(halves.start / 2)) else {
            return Ok(());
        };
        let scanlines = band.tile(tile_number).scanlines;
        for (line, range) in scanlines.zip(band.pixel_rows(band.unit())) {
            let start = range.start + first;
            let pixels = pixels.get_mut(start..start + width as usize);
            if let Some(pixels) = pixels.filter(|_| part.y.contains(&line)) {
                copy(line, pixels);
            }
        }
        self.transfer_part(text_row, tile_number, part, halves)
    }

    /// Shows an area of what [`Display::draw_framebuffer`] has drawn.
    pub(crate) fn show_framebuffer(&mut self, area: &Area) {
        self.attempt(|display| {
            match display.content {
                Content::Own => display.flush_area(area)?,
                _ => display.show()?,
            }
            display.control.kick();
            Ok(())
        });
    }

    /// Adds the commands that flush an area of the window.
    fn flush_area(&mut self, area: &Area) -> Result<(), GpuError> {
        let top = self.layout.grid.y(self.top);
        for index in 0..self.layout.resource_count() {
            let Resource { id, size } = self.layout.resource(index);
            let right = area.x.end.min(size.width);
            let bottom = top.saturating_add(area.y.end).min(size.height);
            let (left, top) = (area.x.start, top.saturating_add(area.y.start));
            if left < right && top < bottom {
                let rect = Rect::new(left, top, right - left, bottom - top);
                self.control.add(&ResourceFlush::new(rect, id))?;
            }
        }
        Ok(())
    }

    /// Paints a tile of a text row with something else than text, and transfers it to the text rows
    /// `positions`. `paint` gets a column and a row of pixels of the text row, and the pixels from
    /// there on.
    fn paint_tile(
        &mut self,
        text_row: u32,
        positions: impl Iterator<Item = u32>,
        tile_number: usize,
        mut paint: impl FnMut(u32, u32, &mut [u32]),
    ) -> Result<(), GpuError> {
        let band = *self.layout.grid.band();
        let tile = band.tile(tile_number);
        let halves =
            self.wait_for_halves(band.tile_cols(), self.strip_slot(text_row, tile_number))?;
        let Some(pixels) = self.band.get_mut(band.slot(halves.start / 2)) else {
            return Ok(());
        };
        pixels.fill(0);
        for (row, range) in tile.scanlines.clone().zip(band.pixel_rows(band.unit())) {
            if let Some(pixels) = pixels.get_mut(range) {
                paint(tile.x, row, pixels);
            }
        }
        for text_row in positions {
            self.transfer(text_row, tile_number, band.unit() as u32, halves.clone())?;
        }
        Ok(())
    }

    /// Returns the slot in which a tile of a text row has to be painted; `None` if any slot will
    /// do.
    fn strip_slot(&self, text_row: u32, tile: usize) -> Option<usize> {
        let pans = self.layout.grid.scroll() == Scroll::Pan;
        (!pans).then(|| self.layout.grid.band().strip_slot(text_row, tile))
    }

    /// Returns how many halves the band has.
    fn half_count(&self) -> usize {
        2 * self.layout.grid.band().slots()
    }

    /// Returns the columns of the left half of a slot.
    fn cols_per_half(&self) -> usize {
        self.layout.grid.band().tile_cols() / 2
    }

    /// Returns the column of the tile at which halves begin.
    fn first_col(&self, halves: &Halves) -> usize {
        halves.start % 2 * self.cols_per_half()
    }

    /// Returns the halves that are painted next, for so many columns, or all of `slot`.
    fn next_halves(&self, cols: usize, slot: Option<usize>) -> Halves {
        match slot {
            Some(slot) => 2 * slot..2 * slot + 2,
            None if cols > self.cols_per_half() => {
                let start = self.next.next_multiple_of(2) % self.half_count();
                start..start + 2
            }
            None => self.next..self.next + 1,
        }
    }

    /// Returns the commands that read halves: the bits that [`Control`] returned for them.
    fn busy_bits(&self, halves: &Halves) -> u32 {
        let busy = self.busy.get(halves.clone()).unwrap_or_default();
        busy.iter().fold(0, |all, bits| all | bits)
    }

    /// Returns whether [`Self::wait_for_halves`] would not wait, or fail. The device has all
    /// commands.
    fn is_free(&mut self, cols: usize, slot: Option<usize>) -> bool {
        let bits = self.busy_bits(&self.next_halves(cols, slot));
        self.control.is_done(bits).unwrap_or(true)
    }

    /// Returns the halves that are painted next, for so many columns, or all of `slot`. Waits until
    /// the device has read them.
    ///
    /// # Errors
    ///
    /// The queue failed, now or before.
    fn wait_for_halves(&mut self, cols: usize, slot: Option<usize>) -> Result<Halves, GpuError> {
        let halves = self.next_halves(cols, slot);
        self.next = halves.end % self.half_count();
        self.control.wait(self.busy_bits(&halves))?;
        for half in halves.clone() {
            if let (Some(busy), Some(filled)) = (self.busy.get_mut(half), self.filled.get_mut(half))
            {
                (*busy, *filled) = (0, (0, 0));
            }
        }
        Ok(halves)
    }

    /// Adds the transfers of the left `width` pixels of a tile of a text row, from halves of a
    /// slot.
    fn transfer(
        &mut self,
        text_row: u32,
        tile_number: usize,
        width: u32,
        halves: Halves,
    ) -> Result<(), GpuError> {
        let tile = self.layout.grid.band().tile(tile_number);
        let part = Area {
            x: tile.x..tile.x + width,
            y: tile.scanlines,
        };
        self.transfer_part(text_row, tile_number, part, halves)
    }

    /// Adds the transfers of a part of a tile: columns of the resource, and scanlines of the text
    /// row. A part that does not begin at the tile's upper left is right only if the device reads
    /// the `offset` as QEMU does.
    fn transfer_part(
        &mut self,
        text_row: u32,
        tile_number: usize,
        part: Area,
        halves: Halves,
    ) -> Result<(), GpuError> {
        let slot = halves.start / 2;
        let y = self.layout.grid.y(text_row) + part.y.start;
        let (width, height) = (part.x.end - part.x.start, part.y.end - part.y.start);
        for index in 0..self.layout.resource_count() {
            let Resource { id, size } = self.layout.resource(index);
            let (rect, offset) = match self.layout.grid.scroll() {
                Scroll::Pan => {
                    let x =
                        self.first_col(&halves) as u64 * u64::from(self.layout.grid.glyph().width);
                    let rows = u64::from(part.y.start) * u64::from(size.width);
                    let offset = self.layout.grid.band().offset(slot, tile_number)
                        + (x + rows) * size_of::<u32>() as u64;
                    (Rect::new(part.x.start, y, width, height), offset)
                }
                Scroll::Repaint if y < size.height => {
                    let (width, height) = (width.min(size.width), height.min(size.height - y));
                    let offset = self.layout.grid.band().strip_offset(size, slot);
                    (Rect::new(0, y, width, height), offset)
                }
                // A picture may be higher than this scanout.
                Scroll::Repaint => continue,
            };
            let bit = self.control.add(&TransferToHost2d::new(rect, offset, id))?;
            self.mark_busy(halves.clone(), bit);
        }
        Ok(())
    }

    /// Has the scanouts show our resource, which is complete, from now on.
    fn show(&mut self) -> Result<(), GpuError> {
        self.content = Content::Own;
        self.add_set_scanouts()?;
        self.flush_window()?;
        let retained = core::mem::take(&mut self.retained);
        for index in 0..retained.resource_count {
            let id = retained.first_id.wrapping_add(ID_STEP * index);
            self.control.add(&ResourceUnref::new(id))?;
        }
        Ok(())
    }

    /// Runs `f` unless something failed before, and stores its error.
    fn attempt(&mut self, f: impl FnOnce(&mut Self) -> Result<(), GpuError>) {
        if self.failed.is_none() {
            self.failed = f(self).err();
        }
    }

    /// Paints a tile of a row and adds its transfers.
    fn draw_tile(
        &mut self,
        positions: RowPositions,
        cells: &[Cell],
        tile_number: usize,
        cursor: Option<&Cursor>,
    ) -> Result<(), GpuError> {
        let tile = self.layout.grid.band().tile(tile_number);
        let first_col = tile.cols.start;
        let cursor = cursor.and_then(|cursor| {
            let col = cursor.col.checked_sub(first_col)?;
            let scanlines = cursor.scanlines.clone();
            Some((
                *cells.get(col)?,
                Cursor {
                    row: 0,
                    col,
                    scanlines,
                },
            ))
        });
        let colour = match cursor {
            None => self.colour_of(cells),
            Some(_) => None,
        };
        let slot = positions
            .iter()
            .next()
            .and_then(|row| self.strip_slot(row, tile_number));
        let filled = colour.and_then(|colour| self.find_filled(colour, cells.len(), slot));
        let halves = match filled {
            Some(halves) => halves,
            None => {
                self.paint_cells(cells, cursor, colour, (slot, tile.scanlines.start as usize))?
            }
        };
        let width = cells.len() as u32 * self.layout.grid.glyph().width;
        for row in positions.iter() {
            self.transfer(row, tile_number, width, halves.clone())?;
        }
        Ok(())
    }

    /// Returns the colour of cells that show one colour only; `None` for other cells.
    fn colour_of(&self, cells: &[Cell]) -> Option<u32> {
        let bits = self.font.glyph_bits();
        let (&first, rest) = cells.split_first()?;
        let same = self.font.is_blank(first.glyph(bits)) && rest.iter().all(|&cell| cell == first);
        same.then(|| self.palette.colours(first.attribute(bits)).1)
    }

    /// Returns halves that have this colour in so many columns already, in use by the device or
    /// not; in `slot`, if that is given.
    fn find_filled(&mut self, colour: u32, cols: usize, slot: Option<usize>) -> Option<Halves> {
        let (half, all) = (self.cols_per_half(), 0..self.half_count());
        let fits = |at: usize, cols: usize| {
            let filled = self.filled.get(at);
            filled.is_some_and(|&(is, count)| is == colour && count as usize >= cols)
        };
        if let Some(slot) = slot {
            let rest = cols.saturating_sub(half);
            let is_filled = fits(2 * slot, cols.min(half)) && fits(2 * slot + 1, rest);
            return is_filled.then_some(2 * slot..2 * slot + 2);
        }
        let halves = match cols.checked_sub(half) {
            None | Some(0) => all.clone().find(|&at| fits(at, cols)).map(|at| at..at + 1),
            Some(rest) => (all.clone().step_by(2))
                .find(|&at| fits(at, half) && fits(at + 1, rest))
                .map(|at| at..at + 2),
        }?;
        // These halves keep their colour, so others are painted next.
        if halves.contains(&self.next) {
            self.next = halves.end % all.end;
        }
        Some(halves)
    }

    /// Paints the cells of a tile, all of one `colour` or not, into halves that the device has
    /// read, in `slot`, if that is given. The slot begins with scanline `scanline` of the cells.
    fn paint_cells(
        &mut self,
        cells: &[Cell],
        cursor: Option<(Cell, Cursor)>,
        colour: Option<u32>,
        (slot, scanline): (Option<usize>, usize),
    ) -> Result<Halves, GpuError> {
        let halves = self.wait_for_halves(cells.len(), slot)?;
        let (first, half) = (self.first_col(&halves), self.cols_per_half());
        let band = self.layout.grid.band();
        let Some(pixels) = self.band.get_mut(band.slot(halves.start / 2)) else {
            return Ok(halves);
        };
        let (font, palette) = (&self.font, &self.palette);
        if let Some(colour) = colour {
            let cols = first..first + cells.len();
            Painter::fill(font, band, colour, cols, pixels);
            match self.filled.get_mut(halves.clone()).unwrap_or_default() {
                [left, right] => {
                    *left = (colour, cells.len().min(half) as u32);
                    *right = (colour, cells.len().saturating_sub(half) as u32);
                }
                all => all.fill((colour, cells.len() as u32)),
            }
            return Ok(halves);
        }
        let corner = Corner {
            col: first,
            scanline,
        };
        self.painter
            .paint(font, palette, band, cells, pixels, corner);
        if let Some((cell, cursor)) = cursor {
            let cursor = Cursor {
                col: first + cursor.col,
                ..cursor
            };
            self.painter
                .paint_cursor(font, palette, band, (cell, &cursor, scanline), pixels);
        }
        Ok(halves)
    }

    /// Marks halves as busy: the command of this bit reads them.
    fn mark_busy(&mut self, halves: Halves, bit: u32) {
        // The bit belonged to a command that is done.
        for busy in &mut self.busy {
            *busy &= !bit;
        }
        for busy in self.busy.get_mut(halves).unwrap_or_default() {
            *busy |= bit;
        }
    }
}

impl<H: Hal + Clone> Surface for Display<'_, H> {
    fn draw(
        &mut self,
        positions: RowPositions,
        cells: &[Cell],
        from: usize,
        cursor: Option<&Cursor>,
    ) {
        if matches!(self.content, Content::Retained | Content::Picture) {
            let blank = Cell::blank(self.font.glyph_bits());
            let is_text = cells.iter().any(|&cell| cell != blank);
            if self.content == Content::Picture {
                // Without the picture the resource is black, and so is a blank cell in most
                // palettes.
                if !is_text && self.palette.colours(ATTRIBUTE).1 == 0 {
                    return;
                }
                self.attempt(Self::clear_all);
                self.content = Content::Pending;
            } else if is_text {
                self.content = Content::Pending;
            }
        }
        for tile_number in 0..self.layout.grid.band().tiles() {
            let Range { start, end } = self.layout.grid.band().tile(tile_number).cols;
            let Some(cells) = cells.get(start..end.min(cells.len())) else {
                return;
            };
            if !cells.is_empty() && start + cells.len() > from {
                self.attempt(|display| display.draw_tile(positions, cells, tile_number, cursor));
            }
        }
    }

    fn pan(&mut self, top: u32) {
        self.top = top;
        if self.content == Content::Own {
            self.attempt(Self::add_set_scanouts);
        }
    }

    fn finish(&mut self, text_rows: Range<u32>) {
        self.attempt(|display| {
            match display.content {
                Content::Retained | Content::Picture => {}
                Content::Pending => display.show()?,
                Content::Own => display.flush(text_rows)?,
            }
            display.control.kick();
            Ok(())
        });
    }

    fn blacken(&mut self, top: u32) {
        self.top = top;
        self.attempt(|display| {
            display.clear_all()?;
            match display.content {
                Content::Own => display.flush_window()?,
                _ => display.show()?,
            }
            display.control.kick();
            Ok(())
        });
    }
}
