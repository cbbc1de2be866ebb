// SPDX-License-Identifier: GPL-2.0

//! A virtual console (`struct vc_data`), as the VT core passes it to a console driver.

use core::{
    ops::Range,
    ptr::NonNull, //
};

use kernel::ffi::c_uint;

use crate::{
    linux::{
        bindings,
        console::{
            ConsoleLock,
            Locked, //
        },
    },
    text::{
        Cell,
        Palette,
        Size, //
    }, //
};

/// The largest number of virtual consoles.
const CONSOLES: usize = bindings::MAX_NR_CONSOLES as usize;

/// A virtual console.
///
/// Only single fields are read and written, and no reference to the whole structure is made: the
/// TTY core changes other fields, such as `port`, without the console lock.
///
/// # Invariants
///
/// The console is allocated during `'l`, and no other context accesses the fields and the cells
/// that are used here: the VT core (`vt.c`, `vt_ioctl.c`), the selection (`selection.c`) and
/// `/dev/vcs` (`vc_screen.c`, all in drivers/tty/vt) write them with the console lock alone, and
/// [`Locked`] excludes them during `'l`.
pub(crate) struct Vc<'l>(NonNull<bindings::vc_data>, &'l Locked);

/// Reads a field.
macro_rules! get {
    ($vc:ident.$($field:ident).+) => {
        // SAFETY: By the invariants of `Vc` it is allocated, and nobody writes the field meanwhile.
        unsafe { (*$vc.0.as_ptr()).$($field).+ }
    };
}

/// Writes a field.
macro_rules! set {
    ($vc:ident.$($field:ident).+ = $value:expr) => {{
        let value = $value;
        // SAFETY: By the invariants of `Vc` it is allocated, and nobody else accesses the field.
        unsafe { (*$vc.0.as_ptr()).$($field).+ = value }
    }};
}

impl<'l> Vc<'l> {
    /// Makes a console from an argument of a callback of `struct consw`; `None` if it is null.
    ///
    /// # Safety
    ///
    /// `vc` is null, or allocated during `'l`.
    pub(crate) unsafe fn new(vc: *mut bindings::vc_data, lock: &'l Locked) -> Option<Self> {
        // INVARIANT: By the safety requirement and the invariants of `Locked`.
        NonNull::new(vc).map(|vc| Self(vc, lock))
    }

    /// Calls `f` on each virtual console whose driver is `driver`.
    pub(crate) fn for_each(
        driver: *const bindings::consw,
        lock: &'l Locked,
        mut f: impl FnMut(&mut Self),
    ) {
        for number in 0..CONSOLES {
            // SAFETY: By the invariants of `Locked`. `vc_allocate()` and `vc_deallocate()`
            // (drivers/tty/vt/vt.c) change the pointer with the console lock held. A console is
            // freed after it has left the table, so one that is in the table is allocated.
            #[expect(clippy::indexing_slicing, reason = "the table has CONSOLES entries")]
            let vc = unsafe { Self::new((&raw const bindings::vc_cons[number].d).read(), lock) };
            if let Some(mut vc) = vc.filter(|vc| vc.has_driver(driver)) {
                f(&mut vc);
            }
        }
    }

    /// Returns the console in the foreground, if its driver is `driver`.
    pub(crate) fn foreground(driver: *const bindings::consw, lock: &'l Locked) -> Option<Self> {
        // SAFETY: By the invariants of `Locked` nobody changes the number or the table of consoles
        // meanwhile. A console in the table is allocated; see `for_each()`.
        #[expect(clippy::indexing_slicing, reason = "the table has CONSOLES entries")]
        let vc = unsafe {
            let number = (&raw const bindings::fg_console).read() as usize;
            Self::new(
                (&raw const bindings::vc_cons[number % CONSOLES].d).read(),
                lock,
            )
        };
        vc.filter(|vc| vc.has_driver(driver))
    }

    /// Returns the proof that the console lock is held.
    pub(crate) fn lock(&self) -> &'l Locked {
        self.1
    }

    /// Tells the VT's dummy driver that there is text.
    ///
    /// fbcon with CONFIG_FRAMEBUFFER_CONSOLE_DEFERRED_TAKEOVER takes over with the first text that
    /// the dummy driver gets. While this driver has the consoles, the dummy driver gets none.
    pub(crate) fn notify_dummy(&mut self, _lock: &ConsoleLock) {
        // SAFETY: `dummy_con` is a constant of drivers/video/console/dummycon.c.
        let putc = unsafe { bindings::dummy_con.con_putc };
        if let Some(putc) = putc {
            // SAFETY: By the invariants the console is allocated, and the console lock is held.
            // `dummycon_putc()` draws nothing, and reads no field. It calls fbcon's notifier, which
            // prints a line and queues work (`fbcon_output_notifier()` in
            // drivers/video/fbdev/core/fbcon.c).
            unsafe { putc(self.0.as_ptr(), b' '.into(), 0, 0) };
        }
    }

    /// Returns whether `driver` is the driver of the console.
    fn has_driver(&self, driver: *const bindings::consw) -> bool {
        core::ptr::eq(get!(self.vc_sw), driver)
    }

    /// Returns whether the console is on the screen.
    pub(crate) fn is_visible(&self) -> bool {
        let foreground = get!(self.vc_display_fg);
        // SAFETY: `visual_init()` (drivers/tty/vt/vt.c) has set the pointer to the address of a
        // static before it called the console driver for the first time. What is there changes
        // with the console lock, as the fields of a console do.
        self.0.as_ptr() == unsafe { *foreground }
    }

    /// Returns whether the console is in text mode (KD_TEXT), and not in the graphics mode of a
    /// display server.
    pub(crate) fn is_text(&self) -> bool {
        u32::from(get!(self.vc_mode)) == bindings::KD_TEXT
    }

    /// Returns the console's number of columns.
    pub(crate) fn cols(&self) -> usize {
        get!(self.vc_cols) as usize
    }

    /// Returns the console's number of rows.
    pub(crate) fn rows(&self) -> usize {
        get!(self.vc_rows) as usize
    }

    /// Returns the row and the column of the cursor. The column is the one after the last if the
    /// next character wraps.
    pub(crate) fn position(&self) -> (usize, usize) {
        // SAFETY: By the invariants it is allocated, and nobody writes the field meanwhile.
        let wraps = unsafe { bindings::vc_data::vc_need_wrap_raw(self.0.as_ptr()) } != 0;
        let (row, col) = (get!(self.state.y), get!(self.state.x));
        (row as usize, col as usize + usize::from(wraps))
    }

    /// Moves the cursor.
    pub(crate) fn set_position(&mut self, row: usize, col: usize) {
        let (rows, cols) = (self.rows(), self.cols());
        let wraps = col >= cols;
        let y = row.min(rows.saturating_sub(1)) as c_uint;
        let x = col.min(cols.saturating_sub(1)) as c_uint;
        set!(self.state.y = y);
        set!(self.state.x = x);
        // SAFETY: By the invariants it is allocated, and nobody else accesses the field.
        unsafe { bindings::vc_data::set_vc_need_wrap_raw(self.0.as_ptr(), wraps.into()) };
        let offset = u64::from(y) * u64::from(get!(self.vc_size_row)) + 2 * u64::from(x);
        set!(self.vc_pos = get!(self.vc_origin) + offset as usize);
    }

    /// Returns the address of a cell; `None` if there is no such cell.
    fn cell_address(&self, row: usize, col: usize) -> Option<*mut u16> {
        let (rows, cols) = (self.rows(), self.cols());
        let cells = get!(self.vc_screenbuf);
        (row < rows && col < cols && !cells.is_null()).then(|| cells.wrapping_add(row * cols + col))
    }

    /// Returns the cells of a row; none if there is no such row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = Cell> + '_ {
        (0..self.cols()).map_while(move |col| {
            let cell = self.cell_address(row, col)?;
            // SAFETY: The buffer has `vc_rows` times `vc_cols` cells, all initialised:
            // `con_init()`, `vc_allocate()` and `vc_do_resize()` (drivers/tty/vt/vt.c) allocate it
            // with `kzalloc()`. `vc_do_resize()` changes the size first and the buffer later, but
            // calls no driver in between. A panic may stop another CPU there; this is not called
            // then, since in a panic `nbcon::return_screen()` returns false, and `vt::with_log()`
            // `None`. By the invariants nobody writes the cells meanwhile.
            Some(Cell(unsafe { cell.read() }))
        })
    }

    /// Changes a cell; does nothing if there is no such cell.
    pub(crate) fn set_cell(&mut self, row: usize, col: usize, value: Cell) {
        if let Some(cell) = self.cell_address(row, col) {
            // SAFETY: As in `row()`; by the invariants nobody else accesses the cell.
            unsafe { cell.write(value.0) };
        }
    }

    /// Returns the cell that erased cells are set to.
    pub(crate) fn erased(&self) -> Cell {
        Cell(get!(self.vc_video_erase_char))
    }

    /// Returns the scanlines that the cursor covers of a cell of `height` pixels, as fbcon does.
    pub(crate) fn cursor_lines(&self, height: usize) -> Range<usize> {
        // The VT core draws a software cursor into the text.
        let cursor = get!(self.vc_cursor_type);
        if cursor & bindings::CUR_SW != 0 {
            return 0..0;
        }
        let lines = match cursor & 0xf {
            bindings::CUR_NONE => 0,
            bindings::CUR_UNDERLINE if height < 10 => 1,
            bindings::CUR_UNDERLINE => 2,
            bindings::CUR_LOWER_THIRD => height / 3,
            bindings::CUR_LOWER_HALF => height / 2,
            bindings::CUR_TWO_THIRDS => height * 2 / 3,
            _ => height,
        };
        height - lines..height
    }

    /// Returns whether the cursor is visible (DECTCEM).
    pub(crate) fn has_cursor(&self) -> bool {
        // SAFETY: By the invariants it is allocated, and nobody writes the field meanwhile.
        unsafe { bindings::vc_data::vc_deccm_raw(self.0.as_ptr()) != 0 }
    }

    /// Returns the blink interval of the cursor in milliseconds.
    pub(crate) fn blink_ms(&self) -> u32 {
        get!(self.vc_cur_blink_ms).into()
    }

    /// Returns the console's palette, in the order of attributes.
    pub(crate) fn palette(&self) -> Palette {
        let mut palette = [0; 16];
        // SAFETY: `color_table` is a constant of drivers/tty/vt/vt.c, of 16 bytes.
        let table = unsafe { &*(&raw const bindings::color_table).cast::<[u8; 16]>() };
        let colours = get!(self.vc_palette);
        for (colour, &attribute) in colours.chunks_exact(3).zip(table) {
            let to = palette.get_mut(usize::from(attribute));
            if let (&[red, green, blue], Some(to)) = (colour, to) {
                *to = u32::from_be_bytes([0, red, green, blue]);
            }
        }
        Palette(palette)
    }

    /// Tells the VT core that the console has colours, and the size and number (256 or 512) of its
    /// glyphs. The cells keep their colours and, where these exist, their glyphs.
    pub(crate) fn set_font(&mut self, glyph: Size, count: usize) {
        // SAFETY: By the invariants it is allocated, and nobody else accesses the field.
        unsafe { bindings::vc_data::set_vc_can_do_color_raw(self.0.as_ptr(), 1) };
        set!(self.vc_font.width = glyph.width);
        set!(self.vc_font.height = glyph.height);
        set!(self.vc_font.charcount = count as c_uint);
        set!(self.vc_cell_height = glyph.height);
        let (before, after) = (get!(self.vc_hi_font_mask) != 0, count > 256);
        let complement = if after { 0xee00 } else { 0x7700 };
        set!(self.vc_hi_font_mask = if after { 0x100 } else { 0 });
        set!(self.vc_complement_mask = complement);
        set!(self.vc_s_complement_mask = complement);
        if before == after {
            return;
        }
        // One bit moves from the colours to the glyph, or back.
        let change = |cell: u16| match after {
            true => (cell & 0xff00) << 1 | cell & 0xff,
            false => (cell & 0xfe00) >> 1 | cell & 0xff,
        };
        let attribute = get!(self.vc_attr);
        set!(self.vc_video_erase_char = change(get!(self.vc_video_erase_char)));
        set!(
            self.vc_attr = if after {
                attribute << 1
            } else {
                attribute >> 1
            }
        );
        for row in 0..self.rows() {
            for col in 0..self.cols() {
                if let Some(cell) = self.cell_address(row, col) {
                    // SAFETY: As in `row()` and `set_cell()`.
                    unsafe { cell.write(change(cell.read())) };
                }
            }
        }
    }

    /// Sets the size of a console that the VT core is creating.
    pub(crate) fn set_size(&mut self, cols: usize, rows: usize) {
        set!(self.vc_cols = cols as c_uint);
        set!(self.vc_rows = rows as c_uint);
    }

    /// Has the VT core resize the console, which keeps its size if there is no memory. May sleep.
    pub(crate) fn resize(&mut self, _lock: &ConsoleLock, cols: usize, rows: usize) {
        // SAFETY: By the invariants it is allocated. The console lock is held, which
        // `__vc_resize()` (drivers/tty/vt/vt.c) asks for. It calls our callbacks for this console;
        // no reference into it is alive here.
        unsafe { bindings::__vc_resize(self.0.as_ptr(), cols as c_uint, rows as c_uint, false) };
    }

    /// Has the VT core draw the whole console.
    pub(crate) fn redraw(&mut self, _lock: &ConsoleLock) {
        // SAFETY: By the invariants it is allocated. The console lock is held, which
        // `redraw_screen()` (drivers/tty/vt/vt.c) asks for. It calls our callbacks for this
        // console; no reference into it is alive here.
        unsafe { bindings::redraw_screen(self.0.as_ptr(), 0) };
    }

    /// Sets the map from Unicode to the glyphs of a built-in font, if the console has no map. May
    /// sleep.
    pub(crate) fn map_unicode(&mut self, _lock: &ConsoleLock) {
        let map = get!(self.uni_pagedict_loc);
        // SAFETY: The pointer is null before `visual_init()` (drivers/tty/vt/vt.c) sets it to the
        // address of a field of this console. The console lock is held, with which
        // drivers/tty/vt/consolemap.c changes that field, and which `con_set_default_unimap()` asks
        // for.
        unsafe {
            if !map.is_null() && (*map).is_null() {
                bindings::con_set_default_unimap(self.0.as_ptr());
            }
        }
    }
}
