// SPDX-License-Identifier: GPL-2.0

//! Text on a scanout, the kernel's log or a virtual terminal's: from a device that has just been
//! found to what is seen on its screen.

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
            Mode,
            SCANOUTS, //
        },
        Control,
        GpuError,
        Origin, //
    },
    scanout::display::{
        self,
        Display,
        DisplayError,
        Left, //
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
        adoption::Found,
        ring,
        setup::{
            Addresses,
            Agreement, //
        },
        Hal,
        Ring, //
    }, //
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

/// How the screen is to be.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    /// How it scrolls; none says that the device decides, see [`crate::gpu::origin`].
    pub(crate) scroll: Option<Scroll>,
    /// The mode of one of its scanouts, whatever the host would rather have.
    pub(crate) mode: Option<Mode>,
    /// The addresses that the memory has, which is shared with the device.
    pub(crate) addresses: Addresses,
    /// The device was somebody else's, whose picture stays until there is text.
    pub(crate) adopts: bool,
}

/// A screen that shows the log, or a virtual terminal.
pub(crate) struct Log<'a, H> {
    display: Display<'a, H>,
    screen: Screen<'a>,
    /// The scanouts there are; not all need show the text.
    heads: &'a [Mode],
    /// The mode that the host wants of one of them, and the one that it has instead.
    instead: Option<(Mode, Mode)>,
    /// What the device was doing before.
    found: Found,
    /// Cells that a screen may have.
    cells: usize,
    /// How the screen scrolls, if there is memory for it.
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

/// Puts the scanouts that can be used into `heads`, and returns how many they are. One of them may
/// have another mode than the host would like, if that is a `wish`. A function of its own, because
/// the answer is large and a kernel's stack is not.
#[inline(never)]
fn scanouts(
    control: &mut Control<impl Hal + Clone>,
    heads: &mut [Mode],
    wish: Option<Mode>,
) -> Result<(usize, Option<(Mode, Mode)>), LogError> {
    let answer = control.call(&GetDisplayInfo::new(), None);
    // It is not moved, which would take as much once more.
    let info = match &answer {
        Ok(info) => info,
        Err(error) => return Err((*error).into()),
    };
    let (mut count, mut instead) = (0, None);
    for (to, mode) in heads.iter_mut().zip(display::usable(info)) {
        *to = mode;
        if let Some(wish) = wish.filter(|wish| wish.scanout == mode.scanout) {
            *to = wish;
            instead = Some((mode, wish));
        }
        count += 1;
    }
    if count == 0 {
        return Err(LogError::NoScanout);
    }
    Ok((count, instead))
}

/// Whether there are scanouts that can be used, and they are not `heads`, one of which may have
/// another mode `instead` of the host's. A function of its own, as above.
#[inline(never)]
fn differ(
    control: &mut Control<impl Hal + Clone>,
    heads: &[Mode],
    instead: Option<(Mode, Mode)>,
) -> bool {
    control
        .call(&GetDisplayInfo::new(), None)
        .is_ok_and(|info| {
            let now = display::usable(&info).map(|mode| match instead {
                Some((host, ours)) if host == mode => ours,
                _ => mode,
            });
            info.enabled().any(|mode| display::fits(&mode)) && !now.eq(heads.iter().copied())
        })
}

/// Words of memory that the scanouts take.
const HEADS: usize = SCANOUTS * size_of::<Mode>() / size_of::<u32>();

/// Words of memory for any text.
pub(crate) const TEXT: usize = words_of(CELLS) + HEADS;

/// The memory of a log.
pub(crate) struct Memory<'a> {
    /// What the device sees as well, behind the ring's memory.
    pub(crate) shared: &'a mut [u32],
    /// At least [`TEXT`] words for the text alone. If there are none, the text lives at the end of
    /// `shared`: for a device that could reach any memory all the same.
    pub(crate) text: &'a mut [u32],
}

/// Words of memory that so many cells take, with what is kept of rows.
const fn words_of(cells: usize) -> usize {
    (size_of::<Rows>() + cells * size_of::<Cell>()).div_ceil(size_of::<u32>())
}

/// All scanouts, or the first one where text does not fit all; the font for it, and the cells that
/// are set aside. `room` says how many words are left for the band beside so many cells. A function
/// of its own: its stack is free again when the display begins.
#[inline(never)]
fn plan<'a, 'f>(
    mut heads: &'a [Mode],
    scroll: Scroll,
    room: impl Fn(usize) -> usize,
    font: impl Fn(u32, u32) -> Option<Font<'f>>,
) -> Result<(&'a [Mode], Font<'f>, usize), LogError> {
    loop {
        let (Size { width, height }, _) = display::sizes(heads);
        let font = font(width, height).ok_or(LogError::NoFont)?;
        // Enough for a smaller font, should the user load one.
        let fit = |side: u32, of: u32| (side / of.clamp(1, 8)) as usize;
        let cells = fit(width, font.size().width)
            .saturating_mul(fit(height, font.size().height))
            .min(CELLS);
        let band_bytes = room(cells) * size_of::<u32>();
        // The first one alone has an error of its own.
        if heads.len() == 1 || display::lay_out(heads, &font, scroll, cells, band_bytes).is_ok() {
            return Ok((heads, font, cells));
        }
        heads = heads.get(..1).ok_or(LogError::NoScanout)?;
    }
}

impl<'a, H: Hal + Clone> Log<'a, H> {
    /// Starts on a device with which `agreement` was reached and whose doorbell works. If it was
    /// adopted, what it shows stays until there is text. `resource` is even, and the device has no
    /// resource of this ID, nor of as many more as [`display::IDS`] says and one. `font` gets the
    /// size of the screen in pixels.
    ///
    /// # Errors
    ///
    /// As [`LogError`] says; the device needs a reset then.
    pub(crate) fn start(
        hal: H,
        agreement: &Agreement,
        Wish { scroll, mode, .. }: Wish,
        resource: u32,
        memory: Memory<'a>,
        font: impl Fn(u32, u32) -> Option<Font<'a>>,
    ) -> Result<Self, LogError> {
        let ring = Ring::new(hal, agreement.queue.size, agreement.features);
        let mut control = Control::new(ring);
        let Memory {
            shared: band,
            mut text,
        } = memory;
        let is_apart = !text.is_empty();
        // Modes are plain numbers, and so are cells: there is no memory that cannot hold them.
        let (mut band, heads) = match is_apart {
            true => {
                let (rest, heads) = text.split_at_mut(text.len().saturating_sub(HEADS));
                text = rest;
                (band, heads)
            }
            false => band.split_at_mut(band.len().saturating_sub(HEADS)),
        };
        let heads = <[Mode]>::mut_from_bytes(heads.as_mut_bytes()).unwrap_or_default();
        let (count, instead) = scanouts(&mut control, heads, mode)?;
        let heads = heads.get(..count).unwrap_or_default();
        let origin = match scroll {
            Some(Scroll::Pan) => Origin::Honoured,
            Some(Scroll::Repaint) => Origin::Ignored,
            None => Origin::of(agreement.offered),
        };
        let unused = resource.wrapping_add(display::IDS);
        let first = heads.first().map_or(0, |head| head.scanout);
        let scroll = match origin.ask(&mut control, first, unused)? {
            Origin::Honoured => Scroll::Pan,
            Origin::Ignored | Origin::Unknown => Scroll::Repaint,
        };
        let room = |cells| match is_apart {
            true => band.len(),
            false => band.len().saturating_sub(words_of(cells)),
        };
        let (shown, font, cells) = plan(heads, scroll, room, font)?;
        if !is_apart {
            (band, text) = band.split_at_mut(room(cells));
        }

        let begin = (resource, agreement.found == Found::Adopted);
        let display = Display::start(control, shown, font, scroll, begin, cells, band)?;

        let (rows, memory) =
            Rows::mut_from_prefix(text.as_mut_bytes()).map_err(|_| LogError::NoFont)?;
        let memory = <[Cell]>::mut_from_bytes(memory).unwrap_or_default();
        let screen = Screen::new(memory, rows, *display.grid(), display.font().glyph_bits())
            .ok_or(LogError::NoFont)?;
        Ok(Self {
            display,
            screen,
            heads,
            instead,
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
    #[cfg(MODULE)]
    pub(crate) fn write(&mut self, text: &[u8], urgent: bool) {
        self.remember(text, ATTRIBUTE, urgent);
        self.show();
    }

    /// Takes text, in the colours of an attribute, which [`Log::show`] brings to the screen. A
    /// device that fails is left alone from then on.
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

    /// So many records of the kernel's log were gone before they could be read.
    pub(crate) fn remember_dropped(&mut self, records: u64) {
        self.screen.remember_dropped(records, ATTRIBUTE);
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
        self.screen.settle();
        core::mem::take(&mut self.ahead)
    }

    /// Whether scanouts came, went, or have another size. If none is enabled any more, or the
    /// device does not tell, nothing has changed.
    pub(crate) fn has_other_scanouts(&mut self) -> bool {
        !self.paused && differ(self.display.control(), self.heads, self.instead)
    }

    /// What stays on the device: see [`Display::leave`].
    pub(crate) fn leave(&mut self) -> Left {
        if self.paused {
            return Left::default();
        }
        // What waits for its frame has none to come.
        if self.is_to_be_repainted() {
            self.show();
        }
        self.display.leave()
    }

    /// Takes care of what an earlier log has left: see [`Display::inherit`].
    pub(crate) fn inherit(&mut self, left: Left) {
        self.display.inherit(left);
    }

    /// Waits until all that was written is on the screen, or the device fails. The ring's memory,
    /// which can wait, is for a reset of the device; the log goes on if that comes to nothing.
    pub(crate) fn finish(&mut self) -> H {
        if !self.paused {
            if self.is_to_be_repainted() {
                self.show();
            }
            // The display keeps the error.
            let _ = self.display.drain();
        }
        self.display.hal().clone()
    }

    /// Waits until the device has answered all commands. Returns false if it does not, has failed
    /// before, or cannot be asked now.
    #[cfg(not(MODULE))]
    pub(crate) fn settle(&mut self) -> bool {
        !self.paused && !self.has_failed() && self.display.drain().is_ok()
    }

    /// Ends a log that was left in the middle of something. Waits until the device has used what it
    /// was shown, unless it has failed before: QEMU may go on with the queue for a moment after a
    /// reset, when the resources are gone. The ring's memory is for the device's reset.
    #[cfg(not(MODULE))]
    pub(crate) fn abandon(self) -> H {
        let hal = self.display.hal().clone();
        if !self.paused && !self.has_failed() {
            // The index may have been written, and the doorbell not yet rung.
            hal.notify();
            hal.wait(&mut || ring::is_drained(&hal));
        }
        hal
    }

    /// Ends the log, once all that was written is on the screen, or the device fails. The ring's
    /// memory, which can wait, is for the device's reset; and there may be trouble to tell.
    pub(crate) fn end(mut self) -> (H, Option<GpuError>) {
        // The display keeps the error.
        let _ = self.display.drain();
        (self.display.hal().clone(), self.trouble())
    }

    /// The text, to be changed; [`Log::show`] brings it to the screen.
    pub(crate) fn screen(&mut self) -> &mut Screen<'a> {
        &mut self.screen
    }

    /// Whether [`Self::show`] draws the whole screen, which costs as much as fifty lines do
    /// elsewhere.
    pub(crate) fn is_to_be_repainted(&self) -> bool {
        !self.paused && self.screen.is_to_be_repainted()
    }

    /// Whether rows that scroll are painted again, since the device is not known to pan.
    pub(crate) fn repaints(&self) -> bool {
        self.grid().scroll() == Scroll::Repaint
    }

    /// Makes all visible once more; see [`Display::flush_again`].
    pub(crate) fn flush_again(&mut self) {
        if !self.paused {
            self.display.flush_again();
        }
    }

    /// Shows what changed. Returns whether anything did.
    pub(crate) fn show(&mut self) -> bool {
        !self.paused && self.screen.show(&mut self.display)
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
    /// As [`Display::set_font`]. If it is the device's, the log has the font.
    pub(crate) fn set_font(&mut self, font: Font<'a>) -> Result<(), LogError> {
        let result = self.display.set_font(font, self.scroll, self.cells);
        if let Err(DisplayError::Grid(_)) = result {
            return Ok(result?);
        }
        if !self.screen.renew(*self.display.grid(), font.glyph_bits()) {
            return Err(LogError::NoFont);
        }
        // The resource is black, which need not be the palette's.
        self.screen.redraw();
        Ok(result?)
    }

    /// Whether the device has failed, and is let alone.
    pub(crate) fn has_failed(&self) -> bool {
        self.display.failed().is_some()
    }

    /// Shows all of the text on a device that stalled, if it has done by now what it was told.
    /// Returns whether the screen is right again.
    pub(crate) fn recover(&mut self) -> bool {
        if self.paused || !self.display.recover() {
            return false;
        }
        self.told = false;
        self.screen.restore(&mut self.display);
        self.show();
        !self.has_failed()
    }

    /// How the text is laid out.
    pub(crate) fn grid(&self) -> &Grid {
        self.display.grid()
    }

    /// What the device was doing before.
    pub(crate) fn found(&self) -> Found {
        self.found
    }

    /// The scanouts that show the text, and their sizes. There is one at least.
    pub(crate) fn heads(&self) -> &'a [Mode] {
        self.display.heads()
    }

    /// The size of the first of them.
    pub(crate) fn size(&self) -> (u32, u32) {
        (self.heads().first()).map_or((0, 0), |mode| (mode.width, mode.height))
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
