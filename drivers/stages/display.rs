// SPDX-License-Identifier: GPL-2.0

//! Text on a scanout: what [`Screen`](crate::text::Screen) wants drawn becomes pixels in the band
//! and commands in the control queue. Nothing here waits, unless every slot of the band is with the
//! device.

use core::{
    fmt, iter,
    ops::{
        Range,
        RangeInclusive, //
    },
};

use zerocopy::IntoBytes;

use crate::{
    gpu::{
        protocol::{
            DisplayInfo,
            MemEntry,
            Mode,
            ResourceAttachBacking,
            ResourceCreate2d,
            ResourceFlush,
            ResourceUnref,
            SetScanout,
            TransferToHost2d,
            SCANOUTS, //
        },
        Control,
        GpuError,
        Rect, //
    },
    text::{
        Band,
        Cell,
        Cursor,
        Font,
        Grid,
        GridError,
        Limits,
        Painter,
        Palette,
        Places,
        Scroll,
        Size,
        Surface,
        ATTRIBUTE, //
    },
    virtio::{
        ring::{
            Part,
            RING_BYTES, //
        },
        Hal, //
    },
};

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

/// Sizes that a scanout beside others has to have: text is laid out for the smallest one.
const WIDTHS: RangeInclusive<u32> = 320..=16384;
const HEIGHTS: RangeInclusive<u32> = 200..=16384;

/// Whether a scanout can show text, whatever the font.
pub(crate) fn fits(mode: &Mode) -> bool {
    WIDTHS.contains(&mode.width) && HEIGHTS.contains(&mode.height)
}

/// The scanouts that show text: all that are enabled and of a size that leaves the others their text, or
/// else the first one, whatever its size.
pub(crate) fn usable(info: &DisplayInfo) -> impl Iterator<Item = Mode> + '_ {
    let any = info.enabled().any(|mode| fits(&mode));
    info.enabled()
        .filter(move |mode| !any || fits(mode))
        .take(if any { SCANOUTS } else { 1 })
}

/// The smallest and the largest width and height of scanouts.
pub(crate) fn sizes(heads: &[Mode]) -> (Size, Size) {
    let side = |of: fn(&Mode) -> u32| {
        let sides = || heads.iter().map(of);
        (sides().min().unwrap_or(0), sides().max().unwrap_or(0))
    };
    let ((narrow, wide), (low, high)) = (side(|mode| mode.width), side(|mode| mode.height));
    let size = |width, height| Size { width, height };
    (size(narrow, low), size(wide, high))
}

/// Lays text out on scanouts, with so many bytes of memory for pixels.
pub(crate) fn lay_out(
    heads: &[Mode],
    font: &Font<'_>,
    scroll: Scroll,
    cells: usize,
    band_bytes: usize,
) -> Result<Grid, GridError> {
    let limits = Limits {
        cells,
        band_bytes,
        // The list of entries is handed over in the band itself.
        entries: band_bytes / size_of::<MemEntry>(),
        resource_bytes: RESOURCE_BYTES,
    };
    let (least, most) = sizes(heads);
    Grid::on_several(least, most, font.size(), scroll, &limits)
}

/// What is on a device when a display ends: a resource, or 0 for none, and the scanouts that show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    resource: u32,
    /// A bit for each.
    scanouts: u32,
}

/// What came of a command that may be refused.
fn told<T>(result: Result<T, GpuError>) -> Result<(), GpuError> {
    match result {
        Err(GpuError::Refused(_)) => Ok(()),
        result => result.map(drop),
    }
}

/// What the scanouts show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shows {
    /// What it did before.
    Others,
    /// The same, though there is text by now.
    OthersYet,
    /// A picture on our resource, which has no text on it.
    Picture,
    /// Our resource.
    Ours,
}

/// Slots of the band are used by halves, left and right: most of what is drawn is not wider than that,
/// and so needs not wait for what was drawn before it.
const HALVES: usize = 2 * Band::MAX_SLOTS;

/// The halves of one slot, the first or the second of them or both, from an even number on.
type Piece = Range<usize>;

/// Scanouts with text on them, the same on all.
pub(crate) struct Display<'a, H> {
    control: Control<H>,
    heads: &'a [Mode],
    grid: Grid,
    font: Font<'a>,
    palette: Palette,
    painter: Painter,
    /// Our resource's ID on the host; one that differs in bit 0 takes turns with it.
    resource: u32,
    /// The first text row of the window.
    top: u32,
    /// What of the picture is seen.
    shows: Shows,
    /// What an earlier display has left, until there is text.
    left: Left,
    /// Pixels; shared with the device, which reads a half of a slot only while `busy` says so.
    band: &'a mut [u32],
    /// For each half, the commands that read it, as [`Control::post`] names them.
    busy: [u32; HALVES],
    /// The half that is painted next.
    next: usize,
    /// For each half, the colour that its first columns have, and how many they are: what is blank needs no
    /// painting.
    blank: [(u32, u32); HALVES],
    failed: Option<GpuError>,
}

impl Left {
    /// A resource that somebody else has left on a scanout.
    pub(crate) fn on(scanout: u32, resource: u32) -> Self {
        Self {
            resource,
            scanouts: 1u32.checked_shl(scanout).unwrap_or(0),
        }
    }
}

impl<'a, H: Hal + Clone> Display<'a, H> {
    /// Creates the resource, clears it and lets the scanouts `heads` show it: at once, or if `keeps`
    /// when there is text on it. `resource` is its ID, and has bit 0 to itself. `band` is the shared
    /// memory behind the ring's.
    ///
    /// # Errors
    ///
    /// As [`DisplayError`] says; the device needs a reset then.
    pub(crate) fn start(
        control: Control<H>,
        heads: &'a [Mode],
        font: Font<'a>,
        scroll: Scroll,
        (resource, keeps): (u32, bool),
        cells: usize,
        band: &'a mut [u32],
    ) -> Result<Self, DisplayError> {
        let grid = lay_out(heads, &font, scroll, cells, size_of_val(band))?;
        let mut display = Self {
            control,
            heads,
            grid,
            font,
            palette: Palette::DEFAULT,
            painter: Painter::new(),
            resource,
            top: 1,
            shows: if keeps { Shows::Others } else { Shows::Ours },
            left: Left::default(),
            band,
            busy: [0; HALVES],
            next: 0,
            blank: [(0, 0); HALVES],
            failed: None,
        };
        display.create()?;
        Ok(display)
    }

    /// Starts again with another font, on a resource of its own. The screen is blank then, and so
    /// has the text to be.
    ///
    /// # Errors
    ///
    /// As [`DisplayError`] says: of the grid, with nothing changed; of the device, which is left
    /// alone from then on.
    pub(crate) fn set_font(
        &mut self,
        font: Font<'a>,
        scroll: Scroll,
        cells: usize,
    ) -> Result<(), DisplayError> {
        let grid = lay_out(self.heads, &font, scroll, cells, size_of_val(self.band))?;
        let old = self.resource;
        self.resource = old ^ 1;
        self.top = 1;
        let bytes = |size: Size| u64::from(size.width) * u64::from(size.height) * 4;
        // Rather dark for a moment than more than the host has.
        let first = bytes(self.grid.resource()) + bytes(grid.resource()) >= RESOURCE_BYTES;
        self.grid = grid;
        self.font = font;
        // A picture goes with the resource that it is on.
        if self.shows == Shows::Picture {
            self.shows = Shows::Ours;
        }
        self.attempt(|display| {
            display.drain()?;
            let unref = ResourceUnref::new(old);
            if first {
                display.control.call(&unref, None)?;
            }
            display.create()?;
            if !first {
                display.control.call(&unref, None)?;
            }
            Ok(())
        });
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// The font of the text.
    pub(crate) fn font(&self) -> &Font<'a> {
        &self.font
    }

    /// The colours of what is drawn from now on.
    pub(crate) fn palette(&mut self) -> &mut Palette {
        &mut self.palette
    }

    /// How the text is laid out.
    pub(crate) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// The ring's memory and doorbell.
    pub(crate) fn hal(&self) -> &H {
        self.control.hal()
    }

    /// The control queue, for a command that is waited for.
    pub(crate) fn control(&mut self) -> &mut Control<H> {
        &mut self.control
    }

    /// The scanouts that show the text.
    pub(crate) fn heads(&self) -> &'a [Mode] {
        self.heads
    }

    fn scanouts(&self) -> u32 {
        let bit = |head: &Mode| 1u32.checked_shl(head.scanout).unwrap_or(0);
        self.heads.iter().fold(0, |bits, head| bits | bit(head))
    }

    /// What stays on the device when the display ends, which it does next: what is seen.
    pub(crate) fn leave(&mut self) -> Left {
        match self.shows {
            Shows::Ours | Shows::Picture => Left {
                resource: self.resource,
                scanouts: self.scanouts(),
            },
            Shows::Others | Shows::OthersYet => {
                self.attempt(|display| display.forget(display.resource));
                self.left
            }
        }
    }

    /// Takes care of what an earlier display has left on this device: it stays until there is text, but
    /// not on scanouts that are not ours any more.
    pub(crate) fn inherit(&mut self, left: Left) {
        self.attempt(|display| {
            let ours = display.scanouts();
            for scanout in 0..SCANOUTS as u32 {
                if left.scanouts & !ours & 1 << scanout != 0 {
                    let nothing = SetScanout::new(Rect::default(), scanout, 0);
                    told(display.control.call(&nothing, None))?;
                }
            }
            match display.shows {
                Shows::Ours | Shows::Picture => display.forget(left.resource)?,
                Shows::Others | Shows::OthersYet => {
                    display.left = Left {
                        scanouts: left.scanouts & ours,
                        ..left
                    };
                }
            }
            Ok(())
        });
    }

    /// Has the host forget a resource, if it is one.
    fn forget(&mut self, resource: u32) -> Result<(), GpuError> {
        if resource == 0 {
            return Ok(());
        }
        self.drain()?;
        let result = self.control.call(&ResourceUnref::new(resource), None);
        told(result)
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
    pub(crate) fn drain(&mut self) -> Result<(), GpuError> {
        self.control.wait(u32::MAX)
    }

    fn create(&mut self) -> Result<(), GpuError> {
        let Size { width, height } = self.grid.resource();
        self.control
            .call(&ResourceCreate2d::new(self.resource, width, height), None)?;

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
        let attach = ResourceAttachBacking::new(self.resource, count);
        self.control.call(&attach, Some(entries))?;
        let clear = self.clear();
        self.control.call(&clear, None)?;
        if self.shows == Shows::Ours {
            if let Some((first, others)) = self.heads.split_first() {
                self.control.call(&self.window(first), None)?;
                for head in others {
                    self.control.post(&self.window(head))?;
                }
            }
            self.control.call(&self.flush(), None)?;
        }
        Ok(())
    }

    /// The command that blackens the whole resource, while nothing of the band is with the device:
    /// one transfer of a slot of zeroes, which the backing repeats.
    fn clear(&mut self) -> TransferToHost2d {
        if let Some(slot) = self.band.get_mut(self.grid.band().slot(0)) {
            slot.fill(0);
        }
        self.blank = [(0, 0); HALVES];
        self.blank[..2].fill((0, u32::MAX));
        // There may be fewer slots than before.
        self.next = 0;
        let Size { width, height } = self.grid.resource();
        let all = Rect::new(0, 0, width, height);
        TransferToHost2d::new(all, self.grid.band().offset(0, 0), self.resource)
    }

    /// Blackens the whole resource.
    fn wipe(&mut self) -> Result<(), GpuError> {
        self.drain()?;
        let clear = self.clear();
        let bit = self.control.post(&clear)?;
        self.reads(0..2, bit);
        Ok(())
    }

    /// The command that makes what is drawn in the window visible.
    fn flush(&self) -> ResourceFlush {
        let Size { width, height } = self.grid.screen();
        let window = Rect::new(0, self.grid.origin(self.top), width, height);
        ResourceFlush::new(window, self.resource)
    }

    /// The command that shows the window, on a scanout as much of it as that has room for.
    fn window(&self, head: &Mode) -> SetScanout {
        let window = Rect::new(0, self.grid.origin(self.top), head.width, head.height);
        SetScanout::new(window, head.scanout, self.resource)
    }

    /// Posts that command for all.
    fn post_windows(&mut self) -> Result<(), GpuError> {
        for head in self.heads {
            self.control.post(&self.window(head))?;
        }
        Ok(())
    }

    /// Shows a picture until there is text: `paint` gives its pixels from a column on, in a row of the
    /// screen, and leaves those alone that are not its own. It has pixels in `rows` only. If text `keeps`
    /// it, it scrolls with the text, and has no pixels where there is never any.
    ///
    /// Nothing was drawn before.
    pub(crate) fn show_picture(
        &mut self,
        rows: Range<u32>,
        keeps: bool,
        mut paint: impl FnMut(u32, u32, &mut [u32]),
    ) {
        let Size { width, height } = self.grid.glyph();
        let top = self.grid.origin(self.top);
        let (window, text) = (self.grid.window() as u32, self.grid.rows() as u32);
        let (count, right) = match keeps {
            false => (window, u32::MAX),
            true => (text, self.grid.cols() as u32 * width),
        };
        let again = (keeps && self.grid.scroll() == Scroll::Pan).then_some(window);
        for text_row in self.top..self.top + count {
            let y = self.grid.y(text_row) - top;
            if y >= rows.end || y + height <= rows.start {
                continue;
            }
            for tile in 0..self.grid.band().tiles() {
                let places = iter::once(text_row).chain(again.map(|rows| text_row + rows));
                self.attempt(|display| {
                    display.paint(places, tile, |x, row, to| {
                        let count = to.len().min(right.saturating_sub(x) as usize);
                        paint(x, y + row, &mut to[..count]);
                    })
                });
            }
        }
        self.attempt(|display| {
            display.show()?;
            display.control.publish();
            Ok(())
        });
        if !keeps {
            self.shows = Shows::Picture;
        }
    }

    /// Paints a tile of text rows of the resource with other things than text.
    fn paint(
        &mut self,
        text_rows: impl Iterator<Item = u32>,
        tile: usize,
        mut paint: impl FnMut(u32, u32, &mut [u32]),
    ) -> Result<(), GpuError> {
        let band = *self.grid.band();
        let piece = self.free_piece(band.tile_cols())?;
        let x = band.tile_x(tile);
        let Some(pixels) = self.band.get_mut(band.slot(piece.start / 2)) else {
            return Ok(());
        };
        pixels.fill(0);
        for (row, place) in (0..).zip(band.rows(band.unit())) {
            if let Some(pixels) = pixels.get_mut(place) {
                paint(x, row, pixels);
            }
        }
        let (unit, height) = (band.unit() as u32, self.grid.glyph().height);
        for text_row in text_rows {
            let rect = Rect::new(x, self.grid.y(text_row), unit, height);
            self.transfer(rect, piece.clone(), tile)?;
        }
        Ok(())
    }

    /// The halves that the band has.
    fn halves(&self) -> usize {
        2 * self.grid.band().slots()
    }

    /// The columns of the first half of a slot.
    fn half(&self) -> usize {
        self.grid.band().tile_cols() / 2
    }

    /// The column of its tile with which a piece begins.
    fn first_col(&self, piece: &Piece) -> usize {
        piece.start % 2 * self.half()
    }

    /// The piece that is painted next, of so many columns, when the device has read it.
    fn free_piece(&mut self, cols: usize) -> Result<Piece, GpuError> {
        let (start, count) = match cols > self.half() {
            true => (self.next.next_multiple_of(2) % self.halves(), 2),
            false => (self.next, 1),
        };
        let piece = start..start + count;
        self.next = piece.end % self.halves();
        let bits = self.busy[piece.clone()]
            .iter()
            .fold(0, |all, bits| all | bits);
        self.control.wait(bits)?;
        self.busy[piece.clone()].fill(0);
        self.blank[piece.clone()].fill((0, 0));
        Ok(piece)
    }

    /// Posts the transfer of a piece to a part of a tile.
    fn transfer(&mut self, rect: Rect, piece: Piece, tile: usize) -> Result<(), GpuError> {
        let x = self.first_col(&piece) as u64 * u64::from(self.grid.glyph().width);
        let offset = self.grid.band().offset(piece.start / 2, tile) + x * size_of::<u32>() as u64;
        let command = TransferToHost2d::new(rect, offset, self.resource);
        let bit = self.control.post(&command)?;
        self.reads(piece, bit);
        Ok(())
    }

    /// Has the scanouts show our resource, which is complete, from now on.
    fn show(&mut self) -> Result<(), GpuError> {
        self.shows = Shows::Ours;
        self.post_windows()?;
        self.control.post(&self.flush())?;
        let left = core::mem::take(&mut self.left);
        if left.resource != 0 {
            self.control.post(&ResourceUnref::new(left.resource))?;
        }
        Ok(())
    }

    /// Runs `f` unless something failed before, and keeps its error.
    fn attempt(&mut self, f: impl FnOnce(&mut Self) -> Result<(), GpuError>) {
        if self.failed.is_none() {
            self.failed = f(self).err();
        }
    }

    /// Paints one tile of a row and posts its transfers.
    fn tile(
        &mut self,
        places: Places,
        cells: &[Cell],
        tile: usize,
        cursor: Option<&Cursor>,
    ) -> Result<(), GpuError> {
        let columns = tile * self.grid.band().tile_cols();
        let cursor = cursor.and_then(|cursor| {
            let col = cursor.col.checked_sub(columns)?;
            let lines = cursor.lines.clone();
            Some((*cells.get(col)?, Cursor { row: 0, col, lines }))
        });
        let colour = match cursor {
            None => self.colour_of(cells),
            Some(_) => None,
        };
        let piece = match colour.and_then(|colour| self.blank_piece(colour, cells.len())) {
            Some(piece) => piece,
            None => self.fill(cells, cursor, colour)?,
        };

        let Size { width, height } = self.grid.glyph();
        for row in places.iter() {
            let rect = Rect::new(
                self.grid.band().tile_x(tile),
                self.grid.y(row),
                cells.len() as u32 * width,
                height,
            );
            self.transfer(rect, piece.clone(), tile)?;
        }
        Ok(())
    }

    /// The one colour of cells of which nothing but that is seen.
    fn colour_of(&self, cells: &[Cell]) -> Option<u32> {
        let bits = self.font.glyph_bits();
        let (&first, rest) = cells.split_first()?;
        let same = self.font.is_blank(first.glyph(bits)) && rest.iter().all(|&cell| cell == first);
        same.then(|| self.palette.colours(first.attribute(bits)).1)
    }

    /// A piece that has this colour in so many columns already, be it with the device or not.
    fn blank_piece(&mut self, colour: u32, cols: usize) -> Option<Piece> {
        let (half, halves) = (self.half(), 0..self.halves());
        let fits =
            |at: usize, cols| self.blank[at].0 == colour && self.blank[at].1 as usize >= cols;
        let piece = match cols.checked_sub(half) {
            None | Some(0) => halves
                .clone()
                .find(|&at| fits(at, cols))
                .map(|at| at..at + 1),
            Some(rest) => (halves.clone().step_by(2))
                .find(|&at| fits(at, half) && fits(at + 1, rest))
                .map(|at| at..at + 2),
        }?;
        // It stays as it is for the next one.
        if piece.contains(&self.next) {
            self.next = piece.end % halves.end;
        }
        Some(piece)
    }

    /// Paints the cells of a tile into a piece that is free, all of one `colour` or not.
    fn fill(
        &mut self,
        cells: &[Cell],
        cursor: Option<(Cell, Cursor)>,
        colour: Option<u32>,
    ) -> Result<Piece, GpuError> {
        let piece = self.free_piece(cells.len())?;
        let (first, half) = (self.first_col(&piece), self.half());
        let band = self.grid.band();
        let Some(pixels) = self.band.get_mut(band.slot(piece.start / 2)) else {
            return Ok(piece);
        };
        let (font, palette) = (&self.font, &self.palette);
        if let Some(colour) = colour {
            let cols = first..first + cells.len();
            Painter::fill(font, band, colour, cols, pixels);
            match &mut self.blank[piece.clone()] {
                [left, right] => {
                    *left = (colour, half as u32);
                    *right = (colour, cells.len().saturating_sub(half) as u32);
                }
                all => all.fill((colour, cells.len() as u32)),
            }
            return Ok(piece);
        }
        self.painter
            .paint(font, palette, band, cells, pixels, first);
        if let Some((cell, cursor)) = cursor {
            let cursor = Cursor {
                col: first + cursor.col,
                ..cursor
            };
            self.painter
                .paint_cursor(font, palette, band, cell, &cursor, pixels);
        }
        Ok(piece)
    }

    /// The command of this bit reads a piece.
    fn reads(&mut self, piece: Piece, bit: u32) {
        // The bit belonged to a command that is done.
        for busy in &mut self.busy {
            *busy &= !bit;
        }
        for busy in &mut self.busy[piece] {
            *busy |= bit;
        }
    }
}

impl<H: Hal + Clone> Surface for Display<'_, H> {
    fn draw(&mut self, places: Places, cells: &[Cell], from: usize, cursor: Option<&Cursor>) {
        if matches!(self.shows, Shows::Others | Shows::Picture) {
            let blank = Cell::blank(self.font.glyph_bits());
            let is_text = cells.iter().any(|&cell| cell != blank);
            if self.shows == Shows::Picture {
                // Without the picture the resource is black, and so is a cell of nothing, mostly.
                if !is_text && self.palette.colours(ATTRIBUTE).1 == 0 {
                    return;
                }
                self.attempt(Self::wipe);
                self.shows = Shows::OthersYet;
            } else if is_text {
                self.shows = Shows::OthersYet;
            }
        }
        let columns = self.grid.band().tile_cols();
        for (tile, cells) in cells.chunks(columns).enumerate() {
            if tile * columns + cells.len() > from {
                self.attempt(|display| display.tile(places, cells, tile, cursor));
            }
        }
    }

    fn pan(&mut self, top: u32) {
        self.top = top;
        if self.shows == Shows::Ours {
            self.attempt(Self::post_windows);
        }
    }

    fn finish(&mut self, text_rows: Range<u32>) {
        self.attempt(|display| {
            match display.shows {
                Shows::Others | Shows::Picture => {}
                Shows::OthersYet => display.show()?,
                Shows::Ours => {
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
                    let flush = ResourceFlush::new(rect, display.resource);
                    display.control.post(&flush)?;
                }
            }
            display.control.publish();
            Ok(())
        });
    }

    fn blacken(&mut self, top: u32) {
        self.top = top;
        self.attempt(|display| {
            display.wipe()?;
            match display.shows {
                Shows::Ours => display.control.post(&display.flush()).map(drop)?,
                _ => display.show()?,
            }
            display.control.publish();
            Ok(())
        });
    }
}
