// SPDX-License-Identifier: GPL-2.0

//! Text on scanouts: what [`Screen`](crate::text::Screen) wants drawn becomes pixels in the band
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
        Corner,
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

/// The scanouts that show text: all that are enabled and of a size that leaves the others their
/// text, or else the first one, whatever its size.
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
    let grid = Grid::on_several(least, most, font.size(), scroll, &limits)?;
    if grid.scroll() == Scroll::Pan || heads.len() <= 1 {
        return Ok(grid);
    }
    // A resource for each.
    let limits = Limits {
        resource_bytes: RESOURCE_BYTES / heads.len() as u64,
        ..limits
    };
    Grid::on_several(least, most, font.size(), Scroll::Repaint, &limits)
}

/// What is on a device when a display ends: resources, and the scanouts that show them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// The ID of the first resource; the others follow in steps of [`STEP`].
    resource: u32,
    /// How many they are.
    count: u32,
    /// A bit for each scanout.
    scanouts: u32,
}

/// From the ID of one of our resources to the next: bit 0 is for those that take turns.
const STEP: u32 = 2;

/// IDs that a display may use, from an even one on.
pub(crate) const IDS: u32 = STEP * SCANOUTS as u32;

/// A resource on the host: of all scanouts, or, where nothing pans, of one.
#[derive(Clone, Copy)]
struct Target {
    id: u32,
    size: Size,
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

/// Slots of the band are used by halves, left and right: most of what is drawn is not wider than
/// that, and so needs not wait for what was drawn before it.
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
    /// The ID of our first resource on the host; one that differs in bit 0 takes turns with it.
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
    /// For each half, the colour that its first columns have, and how many they are: what is blank
    /// needs no painting.
    blank: [(u32, u32); HALVES],
    failed: Option<GpuError>,
    /// Says whether the device has our resources, and none of the font before.
    is_made: bool,
}

impl Left {
    /// A resource that somebody else has left on a scanout.
    pub(crate) fn on(scanout: u32, resource: u32) -> Self {
        Self {
            resource,
            count: 1,
            scanouts: 1u32.checked_shl(scanout).unwrap_or(0),
        }
    }
}

impl<'a, H: Hal + Clone> Display<'a, H> {
    /// Creates the resource, or one for each of the scanouts `heads` where nothing pans, clears it
    /// and lets them show it: at once, or if `keeps` when there is text on it. `resource` is the
    /// first of [`IDS`], and even. `band` is the shared memory behind the ring's.
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
            top: grid.top(0),
            shows: if keeps { Shows::Others } else { Shows::Ours },
            left: Left::default(),
            band,
            busy: [0; HALVES],
            next: 0,
            blank: [(0, 0); HALVES],
            failed: None,
            is_made: false,
        };
        display.create()?;
        display.is_made = true;
        Ok(display)
    }

    /// Starts again with another font, on a resource of its own. The screen is blank then, and so
    /// has the text to be.
    ///
    /// # Errors
    ///
    /// As [`DisplayError`] says: of the grid, with nothing changed; of the device, which is left
    /// alone until [`Display::recover`].
    pub(crate) fn set_font(
        &mut self,
        font: Font<'a>,
        scroll: Scroll,
        cells: usize,
    ) -> Result<(), DisplayError> {
        let grid = lay_out(self.heads, &font, scroll, cells, size_of_val(self.band))?;
        let (old, before) = (self.ours(), self.host_bytes());
        self.grid = grid;
        self.font = font;
        self.resource ^= 1;
        self.top = grid.top(0);
        // Rather dark for a moment than more than the host has.
        let first = before.saturating_add(self.host_bytes()) >= RESOURCE_BYTES;
        // A picture goes with the resource that it is on.
        if self.shows == Shows::Picture {
            self.shows = Shows::Ours;
        }
        self.attempt(|display| {
            if first {
                display.forget(old)?;
            }
            display.create()?;
            // Not shown any more, as some want it.
            display.forget(old)
        });
        self.is_made = self.failed.is_none();
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

    /// How many resources we have.
    fn targets(&self) -> usize {
        match self.grid.scroll() {
            Scroll::Pan => 1,
            Scroll::Repaint => self.heads.len(),
        }
    }

    /// One of them.
    fn target(&self, number: usize) -> Target {
        let size = match (self.grid.scroll(), self.heads.get(number)) {
            // Text, and modes with it, may be where the device can overwrite it.
            (Scroll::Repaint, Some(head)) => Size {
                width: head.width.min(*WIDTHS.end()),
                height: head.height.min(*HEIGHTS.end()),
            },
            _ => self.grid.resource(),
        };
        Target {
            id: self.resource.wrapping_add(STEP * number as u32),
            size,
        }
    }

    /// Our resources, and the scanouts that show them.
    fn ours(&self) -> Left {
        Left {
            resource: self.resource,
            count: self.targets() as u32,
            scanouts: self.scanouts(),
        }
    }

    /// Bytes of the host's that our resources take.
    fn host_bytes(&self) -> u64 {
        let bytes = |Target { size, .. }| u64::from(size.width) * u64::from(size.height) * 4;
        (0..self.targets()).map(|n| bytes(self.target(n))).sum()
    }

    /// What stays on the device when the display ends, which it does next: what is seen.
    pub(crate) fn leave(&mut self) -> Left {
        match self.shows {
            Shows::Ours | Shows::Picture => self.ours(),
            Shows::Others | Shows::OthersYet => {
                let ours = self.ours();
                self.attempt(|display| display.forget(ours));
                self.left
            }
        }
    }

    /// Takes care of what an earlier display has left on this device: it stays until there is text,
    /// but not on scanouts that are not ours any more.
    pub(crate) fn inherit(&mut self, left: Left) {
        self.attempt(|display| {
            let ours = display.scanouts();
            for scanout in 0..SCANOUTS as u32 {
                if left.scanouts & !ours & 1 << scanout != 0 {
                    let nothing = SetScanout::new(Rect::default(), scanout, 0);
                    display.control.try_call(&nothing)?;
                }
            }
            match display.shows {
                Shows::Ours | Shows::Picture => display.forget(left)?,
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

    /// Has the host forget resources. A device that does not want to, because it shows them, keeps
    /// them.
    fn forget(&mut self, left: Left) -> Result<(), GpuError> {
        for number in 0..left.count {
            let id = left.resource.wrapping_add(STEP * number);
            self.control.post(&ResourceUnref::new(id))?;
        }
        self.drain()
    }

    /// What stopped the display for good, if anything did.
    pub(crate) fn failed(&self) -> Option<GpuError> {
        self.failed
    }

    /// Goes on with a device that stalled, if it has done by now what it was told. Returns whether
    /// it has: all is to be drawn again.
    pub(crate) fn recover(&mut self) -> bool {
        if self.failed.is_none() || !self.control.recover() {
            return false;
        }
        self.failed = None;
        if !self.is_made {
            self.attempt(Self::create_again);
            self.is_made = self.failed.is_none();
        } else if self.shows == Shows::Ours {
            self.attempt(Self::post_windows);
        }
        true
    }

    /// Creates the resources of a device that stalled when it got another font. It may have any
    /// part of them, and those of the font before.
    fn create_again(&mut self) -> Result<(), GpuError> {
        let ours = self.ours();
        for number in 0..ours.count {
            let id = ours.resource.wrapping_add(STEP * number);
            self.control.try_call(&ResourceUnref::new(id))?;
            self.control.try_call(&ResourceUnref::new(id ^ 1))?;
        }
        self.create()
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
        let result = self.control.wait(u32::MAX);
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
        result
    }

    fn create(&mut self) -> Result<(), GpuError> {
        self.drain()?;
        for number in 0..self.targets() {
            let target = self.target(number);
            let Target { id, size } = target;
            let create = ResourceCreate2d::new(id, size.width, size.height);
            self.control.call(&create, None)?;
            let count = match self.grid.scroll() {
                Scroll::Pan => self.list(self.grid.band().entries()),
                Scroll::Repaint => self.list(self.grid.band().strip_entries(size)),
            };
            let entries = Part {
                at: BAND,
                length: count as usize * size_of::<MemEntry>(),
            };
            let attach = ResourceAttachBacking::new(id, count);
            self.control.call(&attach, Some(entries))?;
            self.blacken_slots();
            self.control.call(&self.clear(target), None)?;
        }
        if self.shows == Shows::Ours {
            for head in 0..self.heads.len() {
                self.control.call(&self.window(head), None)?;
            }
            self.flush_window()?;
            self.drain()?;
        }
        Ok(())
    }

    /// Lists pieces of the band in itself, which is free until something is drawn. Returns how
    /// many.
    fn list(&mut self, pieces: impl Iterator<Item = (u32, u32)>) -> u32 {
        let mut count = 0;
        for (words, (offset, length)) in self.band.chunks_exact_mut(4).zip(pieces) {
            let address = self.control.hal().device_address(BAND + offset as usize);
            words
                .as_mut_bytes()
                .copy_from_slice(MemEntry::new(address, length).as_bytes());
            count += 1;
        }
        count
    }

    /// Makes zeroes of all pixels that the device reads for [`Self::clear`]; it has none of them.
    fn blacken_slots(&mut self) {
        let band = self.grid.band();
        let slots = match self.grid.scroll() {
            Scroll::Pan => 1,
            Scroll::Repaint => band.slots(),
        };
        let all = 0..band.slot(slots - 1).end;
        if let Some(pixels) = self.band.get_mut(all) {
            pixels.fill(0);
        }
        self.blank = [(0, 0); HALVES];
        for blank in self.blank.iter_mut().take(2 * slots) {
            *blank = (0, u32::MAX);
        }
        // There may be fewer slots than before.
        self.next = 0;
    }

    /// The command that blackens a whole resource: one transfer of a slot of zeroes, which the
    /// backing repeats.
    fn clear(&self, Target { id, size }: Target) -> TransferToHost2d {
        let band = self.grid.band();
        let offset = match self.grid.scroll() {
            Scroll::Pan => band.offset(0, 0),
            Scroll::Repaint => band.strip_offset(size, 0),
        };
        let all = Rect::new(0, 0, size.width, size.height);
        TransferToHost2d::new(all, offset, id)
    }

    /// Blackens all that we have on the host.
    fn wipe(&mut self) -> Result<(), GpuError> {
        self.drain()?;
        self.blacken_slots();
        for number in 0..self.targets() {
            let clear = self.clear(self.target(number));
            let bit = self.control.post(&clear)?;
            self.reads(0..self.halves(), bit);
        }
        Ok(())
    }

    /// Posts what makes visible what is drawn in text rows of the window.
    fn flush(&mut self, text_rows: Range<u32>) -> Result<(), GpuError> {
        let (top, bottom) = (self.grid.y(text_rows.start), self.grid.y(text_rows.end));
        for number in 0..self.targets() {
            let Target { id, size } = self.target(number);
            let width = match self.grid.scroll() {
                Scroll::Pan => self.grid.screen().width,
                Scroll::Repaint => size.width,
            };
            let bottom = bottom.min(size.height);
            if top < bottom {
                let rect = Rect::new(0, top, width, bottom - top);
                self.control.post(&ResourceFlush::new(rect, id))?;
            }
        }
        Ok(())
    }

    /// Posts what makes the whole window visible.
    fn flush_window(&mut self) -> Result<(), GpuError> {
        self.flush(self.top..self.top + self.grid.window() as u32)
    }

    /// Makes all visible once more, if anything is: a host that was busy with the last picture may
    /// have let the last flush pass without a word.
    pub(crate) fn flush_again(&mut self) {
        if !matches!(self.shows, Shows::Ours | Shows::Picture) {
            return;
        }
        self.attempt(|display| {
            display.flush_window()?;
            display.control.publish();
            Ok(())
        });
    }

    /// The command that shows the window on one of the scanouts, as much of it as that has room
    /// for.
    fn window(&self, head: usize) -> SetScanout {
        let (mode, id) = match (self.heads.get(head), self.grid.scroll()) {
            (Some(mode), Scroll::Pan) => (mode, self.resource),
            (Some(mode), Scroll::Repaint) => (mode, self.target(head).id),
            (None, _) => return SetScanout::new(Rect::default(), 0, 0),
        };
        let window = Rect::new(0, self.grid.y(self.top), mode.width, mode.height);
        SetScanout::new(window, mode.scanout, id)
    }

    /// Posts that command for all.
    fn post_windows(&mut self) -> Result<(), GpuError> {
        for head in 0..self.heads.len() {
            self.control.post(&self.window(head))?;
        }
        Ok(())
    }

    /// Shows a picture until there is text: `paint` gives its pixels from a column on, in a row of
    /// the screen, and leaves those alone that are not its own. It has pixels in `rows` only. If
    /// text `keeps` it, it scrolls with the text, and has no pixels where there is never any.
    ///
    /// Nothing was drawn before.
    pub(crate) fn show_picture(
        &mut self,
        rows: Range<u32>,
        keeps: bool,
        mut paint: impl FnMut(u32, u32, &mut [u32]),
    ) {
        let Size { width, height } = self.grid.glyph();
        let top = self.grid.y(self.top);
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
                    display.paint(text_row, places, tile, |x, row, to| {
                        let count = to.len().min(right.saturating_sub(x) as usize);
                        paint(x, y + row, to.get_mut(..count).unwrap_or_default());
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

    /// Paints a tile of a text row with other things than text, and puts it into `places`. `paint`
    /// gets a column and a row of pixels of the text row, and the pixels from there on.
    fn paint(
        &mut self,
        text_row: u32,
        places: impl Iterator<Item = u32>,
        number: usize,
        mut paint: impl FnMut(u32, u32, &mut [u32]),
    ) -> Result<(), GpuError> {
        let band = *self.grid.band();
        let tile = band.tile(number);
        let piece = self.free_piece(band.tile_cols(), self.slot_of(text_row, number))?;
        let Some(pixels) = self.band.get_mut(band.slot(piece.start / 2)) else {
            return Ok(());
        };
        pixels.fill(0);
        for (row, place) in tile.lines.clone().zip(band.rows(band.unit())) {
            if let Some(pixels) = pixels.get_mut(place) {
                paint(tile.x, row, pixels);
            }
        }
        for text_row in places {
            self.transfer(text_row, number, band.unit() as u32, piece.clone())?;
        }
        Ok(())
    }

    /// The slot in which a tile of a text row is to be painted, if it may not be any.
    fn slot_of(&self, text_row: u32, tile: usize) -> Option<usize> {
        let pans = self.grid.scroll() == Scroll::Pan;
        (!pans).then(|| self.grid.band().strip_slot(text_row, tile))
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

    /// The piece that is painted next, of so many columns, or all of a slot, when the device has
    /// read it.
    fn free_piece(&mut self, cols: usize, slot: Option<usize>) -> Result<Piece, GpuError> {
        let piece = match slot {
            Some(slot) => 2 * slot..2 * slot + 2,
            None if cols > self.half() => {
                let start = self.next.next_multiple_of(2) % self.halves();
                start..start + 2
            }
            None => self.next..self.next + 1,
        };
        self.next = piece.end % self.halves();
        let busy = self.busy.get(piece.clone()).unwrap_or_default();
        let bits = busy.iter().fold(0, |all, bits| all | bits);
        self.control.wait(bits)?;
        for half in piece.clone() {
            if let (Some(busy), Some(blank)) = (self.busy.get_mut(half), self.blank.get_mut(half)) {
                (*busy, *blank) = (0, (0, 0));
            }
        }
        Ok(piece)
    }

    /// Posts the transfers of so many pixels a row from a piece to a tile of a text row.
    fn transfer(
        &mut self,
        text_row: u32,
        number: usize,
        width: u32,
        piece: Piece,
    ) -> Result<(), GpuError> {
        let tile = self.grid.band().tile(number);
        let slot = piece.start / 2;
        let y = self.grid.y(text_row) + tile.lines.start;
        let height = tile.lines.end - tile.lines.start;
        for number_of_target in 0..self.targets() {
            let Target { id, size } = self.target(number_of_target);
            let (rect, offset) = match self.grid.scroll() {
                Scroll::Pan => {
                    let x = self.first_col(&piece) as u64 * u64::from(self.grid.glyph().width);
                    let offset =
                        self.grid.band().offset(slot, number) + x * size_of::<u32>() as u64;
                    (Rect::new(tile.x, y, width, height), offset)
                }
                Scroll::Repaint if y < size.height => {
                    let (width, height) = (width.min(size.width), height.min(size.height - y));
                    let offset = self.grid.band().strip_offset(size, slot);
                    (Rect::new(0, y, width, height), offset)
                }
                // A picture may be higher than this scanout.
                Scroll::Repaint => continue,
            };
            let bit = self
                .control
                .post(&TransferToHost2d::new(rect, offset, id))?;
            self.reads(piece.clone(), bit);
        }
        Ok(())
    }

    /// Has the scanouts show our resource, which is complete, from now on.
    fn show(&mut self) -> Result<(), GpuError> {
        self.shows = Shows::Ours;
        self.post_windows()?;
        self.flush_window()?;
        let left = core::mem::take(&mut self.left);
        for number in 0..left.count {
            let id = left.resource.wrapping_add(STEP * number);
            self.control.post(&ResourceUnref::new(id))?;
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
        number: usize,
        cursor: Option<&Cursor>,
    ) -> Result<(), GpuError> {
        let tile = self.grid.band().tile(number);
        let columns = tile.cols.start;
        let cursor = cursor.and_then(|cursor| {
            let col = cursor.col.checked_sub(columns)?;
            let lines = cursor.lines.clone();
            Some((*cells.get(col)?, Cursor { row: 0, col, lines }))
        });
        let colour = match cursor {
            None => self.colour_of(cells),
            Some(_) => None,
        };
        let slot = places
            .iter()
            .next()
            .and_then(|row| self.slot_of(row, number));
        let free = colour.and_then(|colour| self.blank_piece(colour, cells.len(), slot));
        let piece = match free {
            Some(piece) => piece,
            None => self.fill(cells, cursor, colour, (slot, tile.lines.start as usize))?,
        };
        let width = cells.len() as u32 * self.grid.glyph().width;
        for row in places.iter() {
            self.transfer(row, number, width, piece.clone())?;
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

    /// A piece, of this slot if there is one to be, that has this colour in so many columns
    /// already, be it with the device or not.
    fn blank_piece(&mut self, colour: u32, cols: usize, slot: Option<usize>) -> Option<Piece> {
        let (half, halves) = (self.half(), 0..self.halves());
        let fits = |at: usize, cols: usize| {
            let blank = self.blank.get(at);
            blank.is_some_and(|&(is, count)| is == colour && count as usize >= cols)
        };
        if let Some(slot) = slot {
            let rest = cols.saturating_sub(half);
            let is_blank = fits(2 * slot, cols.min(half)) && fits(2 * slot + 1, rest);
            return is_blank.then_some(2 * slot..2 * slot + 2);
        }
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

    /// Paints the cells of a tile, all of one `colour` or not, into a piece that is free, in a slot
    /// if it is to be that one, which begins with a scanline of the cells.
    fn fill(
        &mut self,
        cells: &[Cell],
        cursor: Option<(Cell, Cursor)>,
        colour: Option<u32>,
        (slot, line): (Option<usize>, usize),
    ) -> Result<Piece, GpuError> {
        let piece = self.free_piece(cells.len(), slot)?;
        let (first, half) = (self.first_col(&piece), self.half());
        let band = self.grid.band();
        let Some(pixels) = self.band.get_mut(band.slot(piece.start / 2)) else {
            return Ok(piece);
        };
        let (font, palette) = (&self.font, &self.palette);
        if let Some(colour) = colour {
            let cols = first..first + cells.len();
            Painter::fill(font, band, colour, cols, pixels);
            match self.blank.get_mut(piece.clone()).unwrap_or_default() {
                [left, right] => {
                    *left = (colour, cells.len().min(half) as u32);
                    *right = (colour, cells.len().saturating_sub(half) as u32);
                }
                all => all.fill((colour, cells.len() as u32)),
            }
            return Ok(piece);
        }
        let corner = Corner { col: first, line };
        self.painter
            .paint(font, palette, band, cells, pixels, corner);
        if let Some((cell, cursor)) = cursor {
            let cursor = Cursor {
                col: first + cursor.col,
                ..cursor
            };
            self.painter
                .paint_cursor(font, palette, band, (cell, &cursor, line), pixels);
        }
        Ok(piece)
    }

    /// The command of this bit reads a piece.
    fn reads(&mut self, piece: Piece, bit: u32) {
        // The bit belonged to a command that is done.
        for busy in &mut self.busy {
            *busy &= !bit;
        }
        for busy in self.busy.get_mut(piece).unwrap_or_default() {
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
        for number in 0..self.grid.band().tiles() {
            let Range { start, end } = self.grid.band().tile(number).cols;
            let Some(cells) = cells.get(start..end.min(cells.len())) else {
                return;
            };
            if !cells.is_empty() && start + cells.len() > from {
                self.attempt(|display| display.tile(places, cells, number, cursor));
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
                Shows::Ours => display.flush(text_rows)?,
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
                Shows::Ours => display.flush_window()?,
                _ => display.show()?,
            }
            display.control.publish();
            Ok(())
        });
    }
}
