// SPDX-License-Identifier: GPL-2.0

//! A virtual console (`struct vc_data`), as the VT core hands it to a console driver.

use core::{
    ops::Range,
    ptr::NonNull, //
};

use kernel::ffi::c_uint;

use crate::{
    linux::bindings,
    text::{
        Cell,
        Palette,
        Size, //
    },
};

/// Virtual consoles that there can be.
const CONSOLES: usize = bindings::MAX_NR_CONSOLES as usize;

/// A virtual console.
///
/// # Invariants
///
/// It is allocated, and the console lock is held, or this CPU panics.
pub(crate) struct Vc(NonNull<bindings::vc_data>);

impl Vc {
    /// What a callback of `struct consw` was called with; `None` if it is null.
    ///
    /// # Safety
    ///
    /// It is null, or allocated as long as the new value is used, with the console lock held.
    pub(crate) unsafe fn new(vc: *mut bindings::vc_data) -> Option<Self> {
        // INVARIANT: By the safety requirement.
        NonNull::new(vc).map(Self)
    }

    /// Calls `f` on all virtual consoles that are ours.
    ///
    /// # Safety
    ///
    /// The console lock is held.
    pub(crate) unsafe fn ours(mut f: impl FnMut(&mut Self)) {
        for number in 0..CONSOLES {
            // SAFETY: A console is allocated and freed with the console lock held, which makes it
            // the one to look with.
            let vc = unsafe { Self::new((&raw const bindings::vc_cons[number].d).read()) };
            if let Some(mut vc) = vc.filter(Self::is_ours) {
                f(&mut vc);
            }
        }
    }

    /// The console in the foreground, if it is ours.
    ///
    /// # Safety
    ///
    /// The console lock is held.
    pub(crate) unsafe fn foreground() -> Option<Self> {
        // SAFETY: As in `ours()`; a number below the number of consoles.
        let vc = unsafe {
            let number = (&raw const bindings::fg_console).read() as usize;
            Self::new((&raw const bindings::vc_cons[number % CONSOLES].d).read())
        };
        vc.filter(Self::is_ours)
    }

    /// Tells the VT's dummy driver that there is text.
    ///
    /// fbcon with CONFIG_FRAMEBUFFER_CONSOLE_DEFERRED_TAKEOVER waits for the first text that the
    /// dummy gets. Once the consoles are ours the dummy gets none, and so fbcon would never begin.
    pub(crate) fn tell_dummy(&mut self) {
        // SAFETY: A constant table of the kernel's.
        let putc = unsafe { bindings::dummy_con.con_putc };
        if let Some(putc) = putc {
            // SAFETY: A valid console, with the console lock held by the invariants. The dummy
            // draws nothing.
            unsafe { putc(self.0.as_ptr(), b' '.into(), 0, 0) };
        }
    }

    fn is_ours(&self) -> bool {
        core::ptr::eq(self.get().vc_sw, super::consw::operations())
    }

    fn get(&self) -> &bindings::vc_data {
        // SAFETY: By the invariants nobody writes.
        unsafe { self.0.as_ref() }
    }

    fn get_mut(&mut self) -> &mut bindings::vc_data {
        // SAFETY: By the invariants nobody else has it.
        unsafe { self.0.as_mut() }
    }

    /// Whether it is on the screen.
    pub(crate) fn is_visible(&self) -> bool {
        // SAFETY: The VT core's pointer to the console that is, set before anything is drawn.
        self.0.as_ptr() == unsafe { *self.get().vc_display_fg }
    }

    /// Whether it shows text, and not the graphics of a display server.
    pub(crate) fn is_text(&self) -> bool {
        u32::from(self.get().vc_mode) == bindings::KD_TEXT
    }

    /// Columns.
    pub(crate) fn cols(&self) -> usize {
        self.get().vc_cols as usize
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.get().vc_rows as usize
    }

    /// Row and column of the cursor; the column is the one after the last if the next character
    /// wraps.
    pub(crate) fn position(&self) -> (usize, usize) {
        let vc = self.get();
        let wraps = usize::from(vc.vc_need_wrap() != 0);
        (vc.state.y as usize, vc.state.x as usize + wraps)
    }

    /// Moves the cursor.
    pub(crate) fn set_position(&mut self, row: usize, col: usize) {
        let (rows, cols) = (self.rows(), self.cols());
        let vc = self.get_mut();
        vc.state.y = row.min(rows.saturating_sub(1)) as c_uint;
        vc.state.x = col.min(cols.saturating_sub(1)) as c_uint;
        vc.set_vc_need_wrap((col >= cols).into());
        let offset = u64::from(vc.state.y) * u64::from(vc.vc_size_row) + 2 * u64::from(vc.state.x);
        vc.vc_pos = vc.vc_origin + offset as usize;
    }

    /// The cells of a row, to be written; none of a row that is not there.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [u16] {
        let cols = self.cols();
        if row >= self.rows() || self.get().vc_screenbuf.is_null() {
            return &mut [];
        }
        let row = self.get().vc_screenbuf.wrapping_add(row * cols);
        // SAFETY: The VT core allocates `vc_rows` times `vc_cols` cells; see also the invariants.
        unsafe { core::slice::from_raw_parts_mut(row, cols) }
    }

    /// What stands where there is nothing.
    pub(crate) fn erased(&self) -> Cell {
        Cell(self.get().vc_video_erase_char)
    }

    /// The scanlines of a cell of `height` that its cursor takes, as fbcon has them.
    pub(crate) fn cursor_lines(&self, height: usize) -> Range<usize> {
        // A cursor of the VT core's own making is in the text.
        if self.get().vc_cursor_type & bindings::CUR_SW != 0 {
            return 0..0;
        }
        let lines = match self.get().vc_cursor_type & 0xf {
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

    /// Whether its cursor is to be seen at all (DECTCEM).
    pub(crate) fn has_cursor(&self) -> bool {
        self.get().vc_deccm() != 0
    }

    /// Milliseconds for which the cursor is seen, and then is not.
    pub(crate) fn blink(&self) -> u32 {
        self.get().vc_cur_blink_ms.into()
    }

    /// Its colours, in the order of attributes.
    pub(crate) fn palette(&self) -> Palette {
        let mut palette = [0; 16];
        // SAFETY: A table of 16 numbers below 16.
        let table = unsafe { &*(&raw const bindings::color_table).cast::<[u8; 16]>() };
        for (colour, &attribute) in self.get().vc_palette.chunks_exact(3).zip(table) {
            if let &[red, green, blue] = colour {
                palette[usize::from(attribute % 16)] = u32::from_be_bytes([0, red, green, blue]);
            }
        }
        Palette(palette)
    }

    /// Tells the VT core what the console can do, and with which font: glyphs of this size, 256 or
    /// 512 of them. The cells keep their colours and, as far as they are there, glyphs.
    pub(crate) fn set_font(&mut self, glyph: Size, count: usize) {
        let vc = self.get_mut();
        vc.set_vc_can_do_color(1);
        vc.vc_font.width = glyph.width;
        vc.vc_font.height = glyph.height;
        vc.vc_font.charcount = count as c_uint;
        vc.vc_cell_height = glyph.height;
        let (before, after) = (vc.vc_hi_font_mask != 0, count > 256);
        vc.vc_hi_font_mask = if after { 0x100 } else { 0 };
        vc.vc_complement_mask = if after { 0xee00 } else { 0x7700 };
        vc.vc_s_complement_mask = vc.vc_complement_mask;
        if before == after {
            return;
        }
        // One bit less for the colours, or one more.
        let change = |cell: u16| match after {
            true => (cell & 0xff00) << 1 | cell & 0xff,
            false => (cell & 0xfe00) >> 1 | cell & 0xff,
        };
        vc.vc_video_erase_char = change(vc.vc_video_erase_char);
        vc.vc_attr = if after {
            vc.vc_attr << 1
        } else {
            vc.vc_attr >> 1
        };
        for row in 0..self.rows() {
            for cell in self.row_mut(row) {
                *cell = change(*cell);
            }
        }
    }

    /// Tells the VT core the size of a console that it is just making.
    pub(crate) fn set_size(&mut self, cols: usize, rows: usize) {
        let vc = self.get_mut();
        vc.vc_cols = cols as c_uint;
        vc.vc_rows = rows as c_uint;
    }

    /// Has the VT core resize the console; it stays as it is where there is no memory for it.
    pub(crate) fn resize(&mut self, cols: usize, rows: usize) {
        // SAFETY: An allocated console, and the console lock is held.
        unsafe { bindings::__vc_resize(self.0.as_ptr(), cols as c_uint, rows as c_uint, false) };
    }

    /// Has the VT core draw all of it.
    pub(crate) fn redraw(&mut self) {
        // SAFETY: An allocated console, and the console lock is held.
        unsafe { bindings::redraw_screen(self.0.as_ptr(), 0) };
    }

    /// Gives it the map from Unicode to the glyphs of a built-in font, if it has none.
    pub(crate) fn map_unicode(&mut self) {
        let map = self.get().uni_pagedict_loc;
        // SAFETY: Null, or the place of a pointer. The console lock is held.
        unsafe {
            if !map.is_null() && (*map).is_null() {
                bindings::con_set_default_unimap(self.0.as_ptr());
            }
        }
    }
}
