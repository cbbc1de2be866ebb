// SPDX-License-Identifier: GPL-2.0

//! The text console on scanouts: the kernel's log, or the text of a virtual terminal, on a device
//! that has just been set up.

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
            Edid,
            GetDisplayInfo,
            GetEdid,
            Mode,
            MAX_SCANOUTS, //
        },
        Control,
        GpuError,
        Origin, //
    },
    scanout::{
        display::{
            Area,
            Display,
            DisplayError,
            RetainedScanouts,
            RESOURCE_IDS, //
        },
        layout, //
    },
    text::{
        Cell,
        Font,
        Grid,
        Palette,
        Rows,
        Screen,
        Scroll,
        Size,
        ATTRIBUTE, //
    },
    virtio::{
        adoption::InitialState,
        queue::{
            self,
            QueueError, //
        },
        setup::{
            Addresses,
            Negotiated, //
        },
        Features,
        Hal,
        VirtQueue, //
    }, //
};

/// The cells that a screen has at most: those of 3840x2160 with glyphs of 8x16.
const MAX_CELLS: usize = 65536;

/// The reason why a device shows no log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogError {
    /// GET_DISPLAY_INFO, or the probe of the origin, failed.
    Gpu(GpuError),
    /// None of the scanouts is enabled.
    NoScanout,
    /// The kernel has no font that can be used.
    NoFont,
    /// The display did not start, or not with another font.
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

/// The options of a log.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// How the screen scrolls; with `None` the device decides, see [`crate::gpu::origin`].
    pub(crate) scroll: Option<Scroll>,
    /// The mode of one of the scanouts, whatever the host prefers.
    pub(crate) mode: Option<Mode>,
    /// The kind of addresses that the device uses for the shared memory.
    pub(crate) addresses: Addresses,
    /// Whether the device may be adopted: its picture stays until there is text.
    pub(crate) adopts: bool,
}

/// The state of a framebuffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framebuffer {
    /// There is none: the text is on the screen.
    None,
    /// The resource is black, and the text is still shown.
    Cleared,
    /// It is shown.
    Shown,
}

/// A screen that shows the log, or a virtual terminal.
pub(crate) struct Log<'a, H> {
    display: Display<'a, H>,
    screen: Screen<'a>,
    /// The scanouts that can be used; not all need show the text.
    scanouts: &'a [Mode],
    /// The mode that the host prefers for one of them, and the mode that it has instead.
    mode_override: Option<(Mode, Mode)>,
    /// The state of the device before it was set up.
    initial_state: InitialState,
    /// Set if the device can be asked for an EDID.
    has_edid: bool,
    /// The number of cells that are set aside.
    cells: usize,
    /// How the screen scrolls, if there is memory for it.
    scroll: Scroll,
    /// Whether the device must not be accessed for a while: text is kept.
    paused: bool,
    /// The framebuffer that is shown in place of the text, which is kept.
    framebuffer: Framebuffer,
    /// Whether text was written that is not in the VT's buffer.
    vt_is_stale: bool,
    /// Whether the last text was urgent, and whether the urgent text held a call trace.
    urgent: bool,
    traced: bool,
    /// Whether the error was returned by [`Log::take_error`].
    error_reported: bool,
}

/// Puts the scanouts that can be used into `scanouts`, and returns how many they are. If `wanted`
/// names one of them, that scanout has this mode instead of the host's; both modes are returned,
/// too. A function of its own, because the answer is large and a kernel's stack is small.
///
/// # Errors
///
/// [`LogError::Gpu`] if the command failed, [`LogError::NoScanout`] if no scanout is enabled.
#[inline(never)]
fn query_scanouts(
    control: &mut Control<impl Hal + Clone>,
    scanouts: &mut [Mode],
    wanted: Option<Mode>,
) -> Result<(usize, Option<(Mode, Mode)>), LogError> {
    let answer = control.call(&GetDisplayInfo::new(), None);
    // By reference: a move would take as much of the stack once more.
    let info = match &answer {
        Ok(info) => info,
        Err(error) => return Err((*error).into()),
    };
    let (mut count, mut mode_override) = (0, None);
    for (to, mode) in scanouts.iter_mut().zip(layout::usable(info)) {
        *to = mode;
        if let Some(wanted) = wanted.filter(|wanted| wanted.scanout == mode.scanout) {
            *to = wanted;
            mode_override = Some((mode, wanted));
        }
        count += 1;
    }
    if count == 0 {
        return Err(LogError::NoScanout);
    }
    Ok((count, mode_override))
}

/// Returns whether there are scanouts that can be used, and they are not `scanouts`, one of which
/// may have the second mode of `mode_override` instead of the first, the host's. A function of its
/// own, as above.
#[inline(never)]
fn scanouts_differ(
    control: &mut Control<impl Hal + Clone>,
    scanouts: &[Mode],
    mode_override: Option<(Mode, Mode)>,
) -> bool {
    control
        .call(&GetDisplayInfo::new(), None)
        .is_ok_and(|info| {
            let now = layout::usable(&info).map(|mode| match mode_override {
                Some((host, ours)) if host == mode => ours,
                _ => mode,
            });
            info.enabled().any(|mode| layout::fits(&mode)) && !now.eq(scanouts.iter().copied())
        })
}

/// The words of memory that the scanouts take.
const SCANOUT_WORDS: usize = MAX_SCANOUTS * size_of::<Mode>() / size_of::<u32>();

/// The words of memory that any text takes.
pub(crate) const TEXT_WORDS: usize = words_of(MAX_CELLS) + SCANOUT_WORDS;

/// The memory of a log.
pub(crate) struct Memory<'a> {
    /// The memory that is shared with the device, behind the virtqueue's.
    pub(crate) shared: &'a mut [u32],
    /// At least [`TEXT_WORDS`] words for the text alone. If there are none, the text is at the
    /// end of `shared`: for a device that could reach any memory all the same.
    pub(crate) text: &'a mut [u32],
}

/// Returns the words of memory that so many cells take, with the state of rows.
const fn words_of(cells: usize) -> usize {
    (size_of::<Rows>() + cells * size_of::<Cell>()).div_ceil(size_of::<u32>())
}

/// Returns all scanouts, or the first one where text does not fit all; the font for them, and the
/// number of cells that are set aside. `band_words` returns how many words are left for the band
/// beside so many cells. A function of its own, so that its stack is free again when the display
/// starts.
///
/// # Errors
///
/// [`LogError::NoFont`] if `font` returns none, [`LogError::NoScanout`] if there is no scanout.
#[inline(never)]
fn choose_layout<'a, 'f>(
    mut scanouts: &'a [Mode],
    scroll: Scroll,
    band_words: impl Fn(usize) -> usize,
    font: impl Fn(u32, u32) -> Option<Font<'f>>,
) -> Result<(&'a [Mode], Font<'f>, usize), LogError> {
    loop {
        let (Size { width, height }, _) = layout::sizes(scanouts);
        let font = font(width, height).ok_or(LogError::NoFont)?;
        // Enough for a smaller font, which the user may load.
        let fit = |side: u32, of: u32| (side / of.clamp(1, 8)) as usize;
        let cells = fit(width, font.size().width)
            .saturating_mul(fit(height, font.size().height))
            .min(MAX_CELLS);
        let band_bytes = band_words(cells) * size_of::<u32>();
        // With the first one alone, the display reports the error.
        if scanouts.len() == 1
            || layout::lay_out(scanouts, &font, scroll, cells, band_bytes).is_ok()
        {
            return Ok((scanouts, font, cells));
        }
        scanouts = scanouts.get(..1).ok_or(LogError::NoScanout)?;
    }
}

impl<'a, H: Hal + Clone> Log<'a, H> {
    /// Starts a log on a device that has been set up as `negotiated` says and that can be notified.
    /// If the device was adopted, its picture stays until there is text. `resource` is even, and
    /// the device has no resource with this ID or with one of the [`RESOURCE_IDS`] IDs after it.
    /// `font` gets the size of the screen in pixels.
    ///
    /// # Errors
    ///
    /// As [`LogError`] says; the device needs a reset then.
    pub(crate) fn start(
        hal: H,
        negotiated: &Negotiated,
        Options { scroll, mode, .. }: Options,
        resource: u32,
        memory: Memory<'a>,
        font: impl Fn(u32, u32) -> Option<Font<'a>>,
    ) -> Result<Self, LogError> {
        let queue = VirtQueue::new(hal, negotiated.queue.size, negotiated.features);
        let mut control = Control::new(queue);
        let Memory {
            shared: band,
            mut text,
        } = memory;
        let is_apart = !text.is_empty();
        // Modes and cells are plain numbers: any words of memory can hold them.
        let (mut band, scanouts) = match is_apart {
            true => {
                let (rest, scanouts) = text.split_at_mut(text.len().saturating_sub(SCANOUT_WORDS));
                text = rest;
                (band, scanouts)
            }
            false => band.split_at_mut(band.len().saturating_sub(SCANOUT_WORDS)),
        };
        let scanouts = <[Mode]>::mut_from_bytes(scanouts.as_mut_bytes()).unwrap_or_default();
        let (count, mode_override) = query_scanouts(&mut control, scanouts, mode)?;
        let scanouts = scanouts.get(..count).unwrap_or_default();
        let origin = match scroll {
            Some(Scroll::Pan) => Origin::Honoured,
            Some(Scroll::Repaint) => Origin::Ignored,
            None => Origin::from_features(negotiated.offered),
        };
        let unused = resource.wrapping_add(RESOURCE_IDS);
        let first = scanouts.first().map_or(0, |mode| mode.scanout);
        let is_unknown = origin == Origin::Unknown;
        let scroll = match origin.probe(&mut control, first, unused)? {
            Origin::Honoured => Scroll::Pan,
            Origin::Ignored | Origin::Unknown => Scroll::Repaint,
        };
        let band_words = |cells| match is_apart {
            true => band.len(),
            false => band.len().saturating_sub(words_of(cells)),
        };
        let (shown, font, cells) = choose_layout(scanouts, scroll, band_words, font)?;
        if !is_apart {
            (band, text) = band.split_at_mut(band_words(cells));
        }

        let begin = (resource, negotiated.initial_state == InitialState::Adopted);
        let mut display = Display::start(control, shown, font, scroll, begin, cells, band)?;
        // Only QEMU's 2D device passes the probe of the origin.
        if is_unknown && scroll == Scroll::Pan {
            display.set_reads_offset();
        }

        let (rows, memory) =
            Rows::mut_from_prefix(text.as_mut_bytes()).map_err(|_| LogError::NoFont)?;
        let memory = <[Cell]>::mut_from_bytes(memory).unwrap_or_default();
        let screen = Screen::new(memory, rows, *display.grid(), display.font().glyph_bits())
            .ok_or(LogError::NoFont)?;
        Ok(Self {
            display,
            screen,
            scanouts,
            mode_override,
            initial_state: negotiated.initial_state,
            has_edid: negotiated.features.contains(Features::EDID),
            cells,
            scroll,
            paused: false,
            framebuffer: Framebuffer::None,
            vt_is_stale: false,
            urgent: false,
            traced: false,
            error_reported: false,
        })
    }

    /// Appends text and shows it; see [`Log::append`].
    #[cfg(MODULE)]
    pub(crate) fn write(&mut self, text: &[u8], urgent: bool) {
        self.append(text, ATTRIBUTE, urgent);
        self.show();
    }

    /// Appends text, in the colours of an attribute, which [`Log::show`] shows. A device that fails
    /// is not used any more.
    ///
    /// Urgent text is what the kernel says in an emergency or a panic. If it does not fit the
    /// screen, its beginning stays there, and the top of its first call trace.
    pub(crate) fn append(&mut self, text: &[u8], attribute: u8, urgent: bool) {
        const TRACE: &[u8] = b"Call trace:";

        if !urgent {
            self.end_urgent();
        } else if !self.urgent {
            self.screen.retain();
            self.urgent = true;
        }
        if urgent && !self.traced && text.windows(TRACE.len()).any(|window| window == TRACE) {
            self.screen.retain();
            self.traced = true;
        }
        self.screen.write(text, attribute);
        self.vt_is_stale = true;
    }

    /// Appends that so many records of the kernel's log were dropped before they could be read.
    pub(crate) fn append_dropped(&mut self, records: u64) {
        self.screen.write_dropped(records, ATTRIBUTE);
        self.vt_is_stale = true;
    }

    /// Ends urgent text: it may scroll away.
    pub(crate) fn end_urgent(&mut self) {
        if self.urgent {
            self.screen.release();
        }
        (self.urgent, self.traced) = (false, false);
    }

    /// Clears the screen, for text that begins at its top.
    pub(crate) fn clear(&mut self) {
        (self.urgent, self.traced) = (false, false);
        self.screen.clear();
    }

    /// Returns whether the device must not be accessed.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Stops all access to the device until [`Log::resume`].
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Allows access to the device, and shows the text that was kept.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.show();
    }

    /// Returns whether text was written since [`Log::mark_vt_synced`].
    pub(crate) fn is_vt_stale(&self) -> bool {
        self.vt_is_stale
    }

    /// Marks the VT's buffer as synced with the text. Returns whether it was stale.
    pub(crate) fn mark_vt_synced(&mut self) -> bool {
        self.screen.apply_newline();
        core::mem::take(&mut self.vt_is_stale)
    }

    /// Returns whether scanouts came, went, or have another size. If none is enabled any more, or
    /// the device does not answer, nothing has changed.
    pub(crate) fn scanouts_changed(&mut self) -> bool {
        !self.paused && scanouts_differ(self.display.control(), self.scanouts, self.mode_override)
    }

    /// Reads the EDID of the first scanout that shows the text, if EDID was negotiated (section
    /// 5.7.6.8, VIRTIO_GPU_CMD_GET_EDID), to the start of `memory`. Returns its size in bytes: 0 if
    /// there is none, or if `memory` is too small for the response. Waits for the device.
    pub(crate) fn edid(&mut self, memory: &mut [u8]) -> usize {
        let may_ask = self.has_edid && !self.paused && !self.has_failed();
        let (true, Some(mode), Ok((response, _))) = (
            may_ask,
            self.scanouts().first(),
            Edid::mut_from_prefix(&mut *memory),
        ) else {
            return 0;
        };
        let command = GetEdid::new(mode.scanout);
        let control = self.display.control();
        // The next text finds that the queue has failed.
        if control.call_into(&command, None, response).is_err() {
            return 0;
        }
        let size = response.edid().len();
        memory.copy_within(Edid::OFFSET..Edid::OFFSET + size, 0);
        size
    }

    /// Returns what stays on the device for the next log: see [`Display::retain_scanouts`].
    pub(crate) fn retain_scanouts(&mut self) -> RetainedScanouts {
        if self.paused {
            return RetainedScanouts::default();
        }
        // Text that waits for the next frame is shown now, because there is none.
        if self.needs_repaint() {
            self.show();
        }
        self.display.retain_scanouts()
    }

    /// Takes over the resources of an earlier log: see [`Display::adopt_scanouts`].
    pub(crate) fn adopt_scanouts(&mut self, retained: RetainedScanouts) {
        self.display.adopt_scanouts(retained);
    }

    /// Waits until all text is on the screen, or the device fails. Returns the shared memory, which
    /// can wait, for a reset of the device; the log continues if the device is not reset.
    pub(crate) fn finish(&mut self) -> H {
        if !self.paused {
            if self.needs_repaint() {
                self.show();
            }
            // The display stores the error.
            let _ = self.display.drain();
        }
        self.display.hal().clone()
    }

    /// Waits until the device has answered all commands. Returns whether it has: not if it failed,
    /// now or before, or if the log is paused.
    pub(crate) fn drain(&mut self) -> bool {
        !self.paused && !self.has_failed() && self.display.drain().is_ok()
    }

    /// Starts the log again after its last operation was interrupted anywhere, on a blank screen.
    /// The device is not reset. `font` is as in [`Log::start`]. Returns false if the device failed,
    /// now or before; it needs a reset then.
    pub(crate) fn restart(&mut self, font: impl Fn(u32, u32) -> Option<Font<'a>>) -> bool {
        if !self.drain_interrupted() {
            return false;
        }
        let band_bytes = self.display.band_bytes();
        let band_words = |_| band_bytes / size_of::<u32>();
        let Ok((shown, font, _)) = choose_layout(self.scanouts, self.scroll, band_words, font)
        else {
            return false;
        };
        let result = (self.display).restart(shown, font, self.scroll, self.cells);
        (self.urgent, self.traced) = (false, false);
        (self.paused, self.vt_is_stale) = (false, true);
        self.framebuffer = Framebuffer::None;
        self.error_reported = false;
        result.is_ok() && self.screen.reinit(*self.display.grid(), font.glyph_bits())
    }

    /// Ends a log whose last operation was interrupted. Waits until the device has used all
    /// commands in the queue, unless it has failed before: QEMU may go on with the queue for a
    /// moment after a reset, when the resources do not exist any more. Returns the shared memory,
    /// for the device's reset.
    #[cfg(not(MODULE))]
    pub(crate) fn abandon(mut self) -> H {
        if !self.paused {
            self.drain_interrupted();
        }
        self.display.hal().clone()
    }

    /// Waits until the device has used all commands in the queue, after an operation was
    /// interrupted. Returns whether it has: not if it failed, now or before.
    fn drain_interrupted(&mut self) -> bool {
        if self.has_failed() {
            return false;
        }
        let hal = self.display.hal().clone();
        // The index may have been written without a notification.
        hal.notify();
        let is_drained = hal.wait(&mut || queue::is_drained(&hal));
        if !is_drained {
            self.display.fail(QueueError::Stalled.into());
        }
        is_drained
    }

    /// Ends the log, once all text is on the screen, or the device fails. Returns the shared
    /// memory, which can wait, for the device's reset; and the error, if there is a new one.
    pub(crate) fn end(mut self) -> (H, Option<GpuError>) {
        // The display stores the error.
        let _ = self.display.drain();
        (self.display.hal().clone(), self.take_error())
    }

    /// Returns the text, to be changed; [`Log::show`] shows it.
    pub(crate) fn screen(&mut self) -> &mut Screen<'a> {
        &mut self.screen
    }

    /// Returns whether [`Self::show`] draws the whole screen, which costs as much as fifty lines do
    /// where the screen pans.
    pub(crate) fn needs_repaint(&self) -> bool {
        self.shows_text() && self.screen.needs_repaint()
    }

    /// Returns whether rows that scroll are painted again, because the device is not known to pan.
    pub(crate) fn repaints(&self) -> bool {
        self.grid().scroll() == Scroll::Repaint
    }

    /// Flushes the whole screen once more; see [`Display::flush_again`].
    pub(crate) fn flush_again(&mut self) {
        if !self.paused {
            self.display.flush_again();
        }
    }

    /// Shows what changed. Returns whether anything did. Keeps it while a framebuffer is shown.
    pub(crate) fn show(&mut self) -> bool {
        self.shows_text() && self.screen.show(&mut self.display)
    }

    /// Returns whether the text is drawn.
    fn shows_text(&self) -> bool {
        !self.paused && !self.has_framebuffer()
    }

    /// Returns whether a framebuffer is shown in place of the text.
    pub(crate) fn has_framebuffer(&self) -> bool {
        self.framebuffer != Framebuffer::None
    }

    /// Starts to show a framebuffer in place of the text. The text stays on the screen until
    /// [`Log::show_framebuffer`]. Returns false if the device cannot be used.
    pub(crate) fn start_framebuffer(&mut self) -> bool {
        if self.paused || self.has_failed() {
            return false;
        }
        if !self.has_framebuffer() {
            self.display.clear_for_framebuffer();
            self.framebuffer = Framebuffer::Cleared;
        }
        true
    }

    /// Draws an area of the framebuffer, if one is shown: see [`Display::draw_framebuffer`].
    pub(crate) fn draw_framebuffer(
        &mut self,
        area: &Area,
        waits: bool,
        copy: impl FnMut(u32, u32, &mut [u32]),
    ) -> Option<u32> {
        match self.has_framebuffer() && !self.paused {
            true => self.display.draw_framebuffer(area, waits, copy),
            false => None,
        }
    }

    /// Shows an area that was drawn; the first time all of the screen.
    pub(crate) fn show_framebuffer(&mut self, area: &Area) {
        if self.paused {
            return;
        }
        match self.framebuffer {
            Framebuffer::None => {}
            Framebuffer::Shown => self.display.show_framebuffer(area),
            Framebuffer::Cleared => {
                self.framebuffer = Framebuffer::Shown;
                self.display.show_framebuffer(&Area {
                    x: 0..u32::MAX,
                    y: 0..self.grid().y(self.grid().window() as u32),
                });
            }
        }
    }

    /// Shows black in place of the framebuffer, if one is shown.
    pub(crate) fn blacken_framebuffer(&mut self) {
        if self.has_framebuffer() && !self.paused {
            self.display.clear_for_framebuffer();
            self.framebuffer = Framebuffer::Cleared;
            self.show_framebuffer(&Area { x: 0..0, y: 0..0 });
        }
    }

    /// Ends the framebuffer: the next [`Log::show`] draws all of the text.
    pub(crate) fn end_framebuffer(&mut self) {
        if self.has_framebuffer() {
            self.framebuffer = Framebuffer::None;
            self.screen.restore(&mut self.display);
        }
    }

    /// Shows a picture until there is text, or, if it `scrolls` with the text, until text covers
    /// it: see [`Display::show_picture`].
    pub(crate) fn show_picture(
        &mut self,
        rows: Range<u32>,
        scrolls: bool,
        paint: impl FnMut(u32, u32, &mut [u32]),
    ) {
        self.display.show_picture(rows, scrolls, paint);
        if scrolls {
            self.screen.mark_all_drawn();
        }
    }

    /// Has text begin below so many pixels of the screen, which shows a picture and no text yet.
    pub(crate) fn begin_below(&mut self, pixels: u32) {
        let row = pixels.div_ceil(self.grid().glyph().height) as usize;
        let last = self.grid().rows() - 1;
        self.screen.set_write_position(row, 0);
        self.vt_is_stale = true;
        if row > last {
            self.screen.write(b"\n", ATTRIBUTE);
        }
    }

    /// Makes the screen black until [`Screen::unblank`].
    pub(crate) fn blank(&mut self) {
        if self.shows_text() {
            self.screen.blank(&mut self.display);
        }
    }

    /// Sets the colours, in which the next [`Log::show`] draws all text again.
    pub(crate) fn set_palette(&mut self, palette: Palette) {
        if *self.display.palette() != palette {
            *self.display.palette() = palette;
            self.screen.redraw();
        }
    }

    /// Returns the font of the text.
    pub(crate) fn font(&self) -> &Font<'a> {
        self.display.font()
    }

    /// Continues with another font, on a blank screen. A framebuffer ends.
    ///
    /// # Errors
    ///
    /// As [`Display::set_font`]. After an error of the device, the log has the new font.
    pub(crate) fn set_font(&mut self, font: Font<'a>) -> Result<(), LogError> {
        let result = self.display.set_font(font, self.scroll, self.cells);
        if let Err(DisplayError::Grid(_)) = result {
            return Ok(result?);
        }
        // It was on the resource before.
        self.framebuffer = Framebuffer::None;
        if !self.screen.reinit(*self.display.grid(), font.glyph_bits()) {
            return Err(LogError::NoFont);
        }
        // The resource is black, and the palette's background may be another colour.
        self.screen.redraw();
        Ok(result?)
    }

    /// Returns whether the device has failed, and is not used any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.display.failed().is_some()
    }

    /// Shows all of the text on a device that stalled, if it has completed its commands by now.
    /// Returns whether the screen is right again.
    pub(crate) fn recover(&mut self) -> bool {
        if self.paused || !self.display.recover() {
            return false;
        }
        self.error_reported = false;
        // A framebuffer begins anew, too.
        self.framebuffer = Framebuffer::None;
        self.screen.restore(&mut self.display);
        self.show();
        !self.has_failed()
    }

    /// Returns the layout of the text.
    pub(crate) fn grid(&self) -> &Grid {
        self.display.grid()
    }

    /// Returns the state of the device before it was set up.
    pub(crate) fn initial_state(&self) -> InitialState {
        self.initial_state
    }

    /// Returns the scanouts that show the text, and their sizes. There is at least one.
    pub(crate) fn scanouts(&self) -> &'a [Mode] {
        self.display.scanouts()
    }

    /// Returns the width and the height of the first of them, in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.scanouts().first()).map_or((0, 0), |mode| (mode.width, mode.height))
    }

    /// Returns the error that keeps text, or kept some of it, from the screen: once, and `None`
    /// after that.
    pub(crate) fn take_error(&mut self) -> Option<GpuError> {
        if self.error_reported {
            return None;
        }
        let error = self.display.failed().or(self.display.error_responses().1);
        self.error_reported = error.is_some();
        error
    }
}
