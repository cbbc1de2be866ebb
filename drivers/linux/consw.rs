// SPDX-License-Identifier: GPL-2.0

//! A console driver of the VT core (`struct consw`).
//!
//! ```ignore
//! struct Terminal;
//!
//! impl Consw for Terminal {
//!     fn init(vc: &mut Vc<'_>, is_new: bool) { .. }
//!     ..
//! }
//!
//! static DRIVER: consw::Driver<Terminal> = consw::Driver::new();
//!
//! DRIVER.set_default();
//! ```

use core::{
    marker::PhantomData,
    ops::Range, //
};

use kernel::{
    error::{
        code::{
            EINVAL,
            ENOENT,
            ENOSPC, //
        },
        Result, //
    },
    ffi::{
        c_char,
        c_int,
        c_uchar,
        c_uint, //
    },
    str::CStrExt, //
};

use crate::{
    linux::{
        bindings,
        console::{
            ConsoleLock,
            Locked, //
        },
        font::{
            self,
            UserFont, //
        },
        table::Table,
        vc::Vc, //
    },
    text::{
        Cell,
        Font,
        ScrollDirection, //
    }, //
};

/// The callbacks of a console driver. The VT core calls them with the console lock held, or without
/// it in a panic or a debugger; see [`Locked`].
pub(crate) trait Consw {
    /// Starts driving a console that the VT core is creating (`is_new`), or takes from another
    /// driver.
    fn init(vc: &mut Vc<'_>, lock: &ConsoleLock, is_new: bool);

    /// Stops driving a console: another driver has it from now on.
    fn deinit(vc: &mut Vc<'_>);

    /// Changes cells of a row from the column `col` on.
    fn put(vc: &Vc<'_>, row: usize, col: usize, cells: impl Iterator<Item = Cell>);

    /// Shows the cursor, or hides it.
    fn cursor(vc: &mut Vc<'_>, enable: bool);

    /// Scrolls rows by a number of lines.
    fn scroll(vc: &Vc<'_>, rows: Range<usize>, direction: ScrollDirection, lines: usize);

    /// Brings a console to the foreground.
    fn switch(vc: &Vc<'_>);

    /// Blanks the screen, or unblanks it. `is_mode_switch` says that the console gets into graphics
    /// mode (KD_GRAPHICS; `blank`), or into text mode.
    fn blank(vc: &Vc<'_>, blank: bool, is_mode_switch: bool);

    /// Changes the colours.
    fn set_palette(vc: &Vc<'_>);

    /// Copies the text on the screen to the VT core's buffer.
    fn save_screen(vc: &mut Vc<'_>);

    /// Draws the changes since the last call.
    fn update(lock: &Locked);

    /// Sets the font.
    ///
    /// # Errors
    ///
    /// Fails if the screen cannot show the font.
    fn set_font(vc: &Vc<'_>, lock: &ConsoleLock, font: UserFont) -> Result;

    /// Runs `f` on the font; returns `None` if there is no screen.
    fn with_font<R>(f: impl FnOnce(&Font<'static>) -> R) -> Option<R>;

    /// Returns the largest number of columns and rows of a console.
    fn size() -> (usize, usize);

    /// Returns the width and height of the screen in pixels.
    fn pixels() -> (u32, u32);
}

/// The result of a callback that is not supported.
const INVALID: c_int = -(kernel::bindings::EINVAL as c_int);

/// A console driver, for a static: the VT core compares drivers by their address.
pub(crate) struct Driver<T> {
    operations: Table<bindings::consw>,
    user: PhantomData<fn() -> T>,
}

impl<T: Consw> Driver<T> {
    /// Makes a driver that has no consoles.
    pub(crate) const fn new() -> Self {
        Self {
            operations: Table::new(bindings::consw {
                con_startup: Some(startup),
                con_init: Some(init::<T>),
                con_deinit: Some(deinit::<T>),
                con_clear: Some(clear::<T>),
                con_putc: Some(putc::<T>),
                con_putcs: Some(putcs::<T>),
                con_cursor: Some(cursor::<T>),
                con_scroll: Some(scroll::<T>),
                con_switch: Some(switch::<T>),
                con_blank: Some(blank::<T>),
                con_font_set: Some(font_set::<T>),
                con_font_get: Some(font_get::<T>),
                con_font_default: Some(font_default::<T>),
                con_resize: Some(resize::<T>),
                con_set_palette: Some(set_palette::<T>),
                con_save_screen: Some(save_screen::<T>),
                // SAFETY: The other fields are a pointer and optional functions, for which zeroes
                // are null and `None`.
                ..unsafe { core::mem::zeroed() }
            }),
            user: PhantomData,
        }
    }

    /// Makes this the VT core's first console driver, if there is none. Returns whether it is. For
    /// a `console_initcall` before `con_init()`.
    pub(crate) fn set_default(&'static self) -> bool {
        // SAFETY: The caller is a `console_initcall`, which `console_init()`
        // (kernel/printk/printk.c) runs before other CPUs are up. `con_init()`
        // (drivers/tty/vt/vt.c), which is linked behind this driver, is the first to read the
        // pointer; on arm64 nobody has set it. The operations are static, and sound as a console
        // driver.
        unsafe {
            let is_free = bindings::conswitchp.is_null();
            if is_free {
                bindings::conswitchp = self.operations.as_ptr();
            }
            is_free
        }
    }

    /// Makes this the driver of all virtual consoles, if the dummy driver has them. Returns whether
    /// it did. May sleep.
    pub(crate) fn take_over(&'static self, _lock: &ConsoleLock) -> bool {
        let last = bindings::MAX_NR_CONSOLES as c_int - 1;
        // SAFETY: The pointer is only compared. `do_bind_con_driver()` (drivers/tty/vt/vt.c)
        // changes it with the console lock held, as it is here: fbcon may be about to take the
        // consoles for another card.
        let driver = unsafe { (&raw const bindings::conswitchp).read() };
        let has_none = driver == &raw const bindings::dummy_con;
        if has_none {
            // SAFETY: The console lock is held, which `do_take_over_console()`
            // (drivers/tty/vt/vt.c) asks for. The operations are static, and sound as a console
            // driver.
            unsafe { bindings::do_take_over_console(self.operations.as_ptr(), 0, last, 1) };
        }
        has_none
    }

    /// Calls `f` on each virtual console of this driver.
    pub(crate) fn for_each<'l>(&'static self, lock: &'l Locked, f: impl FnMut(&mut Vc<'l>)) {
        Vc::for_each(self.operations.as_ptr(), lock, f);
    }

    /// Returns the console in the foreground, if it is this driver's.
    pub(crate) fn foreground<'l>(&'static self, lock: &'l Locked) -> Option<Vc<'l>> {
        Vc::foreground(self.operations.as_ptr(), lock)
    }
}

/// Returns the driver's name for the log.
extern "C" fn startup() -> *const c_char {
    c"virtio-gpu".as_char_ptr()
}

macro_rules! callbacks {
    ($(
        $(#[$attr:meta])*
        fn $name:ident($vc:ident, $lock:ident: $proof:ident $(, $arg:ident: $type:ty)* $(,)?)
        $(-> $return:ty, $otherwise:tt)?
        $body:block
    )*) => {$(
        $(#[$attr])*
        ///
        /// # Safety
        ///
        /// Called by the VT core (drivers/tty/vt/vt.c) for a console of this driver, as `struct
        /// consw` says, with the console lock held. A callback with [`Locked`] may also be called
        /// without it, by `vt_console_print()` in a panic or a debugger.
        unsafe extern "C" fn $name<T: Consw>(
            vc: *mut bindings::vc_data
            $(, $arg: $type)*
        ) $(-> $return)? {
            // SAFETY: By the safety requirement; the proof lives no longer than this call.
            let proof = unsafe { $proof::new() };
            let $lock = &proof;
            // SAFETY: By the safety requirement. The VT core frees no console while it calls a
            // driver for it.
            let vc = unsafe { Vc::new(vc, $lock) };
            #[allow(unused_mut)]
            let Some(mut $vc) = vc else {
                return $($otherwise)?;
            };
            $body
        }
    )*};
}

fn to_errno(result: Result) -> c_int {
    result.map_or_else(|error| error.to_errno(), |()| 0)
}

callbacks! {
    /// See [`Consw::init`].
    fn init(vc, lock: ConsoleLock, init: bool) {
        T::init(&mut vc, lock, init);
    }

    /// See [`Consw::deinit`].
    fn deinit(vc, _lock: Locked) {
        T::deinit(&mut vc);
    }

    /// Erases cells of a row.
    fn clear(vc, _lock: Locked, y: c_uint, x: c_uint, count: c_uint) {
        let cells = core::iter::repeat_n(vc.erased(), count as usize);
        T::put(&vc, y as usize, x as usize, cells);
    }

    /// Changes one cell: for a mouse pointer or a software cursor, after which the VT core does not
    /// report an update.
    fn putc(vc, _lock: Locked, cell: u16, y: c_uint, x: c_uint) {
        T::put(&vc, y as usize, x as usize, core::iter::once(Cell(cell)));
        T::update(vc.lock());
    }

    /// Changes cells of a row.
    fn putcs(vc, _lock: Locked, cells: *const u16, count: c_uint, y: c_uint, x: c_uint) {
        if !cells.is_null() {
            // SAFETY: All callers (`con_putc()`, `do_update_region()`, `con_flush()` and
            // `vt_console_print()` in drivers/tty/vt/vt.c) pass `count` initialised cells, which
            // nobody writes before this returns: `T::put()` does not call into the VT core.
            let cells = unsafe { core::slice::from_raw_parts(cells, count as usize) };
            T::put(&vc, y as usize, x as usize, cells.iter().map(|&cell| Cell(cell)));
        }
    }

    /// See [`Consw::cursor`].
    fn cursor(vc, _lock: Locked, enable: bool) {
        T::cursor(&mut vc, enable);
    }

    /// Scrolls rows; false makes the VT core scroll its buffer, too.
    fn scroll(vc, _lock: Locked,
        top: c_uint,
        bottom: c_uint,
        how: bindings::con_scroll,
        lines: c_uint
    ) -> bool, false {
        let direction = if how == bindings::con_scroll::SM_UP {
            ScrollDirection::Up
        } else {
            ScrollDirection::Down
        };
        T::scroll(&vc, top as usize..bottom as usize, direction, lines as usize);
        false
    }

    /// Brings a console to the foreground; true makes the VT core draw it.
    fn switch(vc, _lock: Locked) -> bool, false {
        T::switch(&vc);
        true
    }

    /// Blanks or unblanks the screen; true makes the VT core draw it.
    fn blank(
        vc,
        _lock: Locked,
        blank: bindings::vesa_blank_mode,
        mode_switch: bool
    ) -> bool, false {
        let blanks = blank != bindings::vesa_blank_mode::VESA_NO_BLANKING;
        T::blank(&vc, blanks, mode_switch);
        blank == bindings::vesa_blank_mode::VESA_NO_BLANKING
    }

    /// Sets a font that the user loads.
    fn font_set(vc, lock: ConsoleLock,
        font: *const bindings::console_font,
        pitch: c_uint,
        _flags: c_uint
    ) -> c_int, INVALID {
        // SAFETY: `con_font_set()` (drivers/tty/vt/vt.c), the only caller, has filled all fields
        // in, and has read as much data from the user as `charcount` glyphs of `pitch` scanlines
        // take.
        let font = unsafe { font::UserFont::new(&*font, pitch) };
        to_errno(font.and_then(|font| T::set_font(&vc, lock, font)))
    }

    /// Returns the font to the user.
    fn font_get(
        _vc,
        _lock: Locked,
        to: *mut bindings::console_font,
        pitch: c_uint
    ) -> c_int, INVALID {
        let result = T::with_font(|font| {
            let size = font.size();
            // SAFETY: `con_font_get()` (drivers/tty/vt/vt.c), the only caller, passes a variable of
            // its own. Only `data` is initialised; the other fields are written and not read, and
            // no reference to it is made.
            let data = unsafe {
                ((*to).width, (*to).height) = (size.width, size.height);
                (*to).charcount = 1 << font.glyph_bits();
                (*to).data
            };
            if size.height > pitch {
                return Err(ENOSPC);
            }
            if !data.is_null() {
                // SAFETY: `con_font_get()` has allocated, and zeroed, `max_font_size` bytes: room
                // for 512 glyphs of 64 by 128 pixels, and refuses a `pitch` of more than 128. No
                // font of ours is larger: see `Font::new()`. `pitch` is checked above.
                unsafe { font::export(font, data, pitch) };
            }
            Ok(())
        });
        to_errno(result.unwrap_or(Err(EINVAL)))
    }

    /// Sets a built-in font by its name, or the default one.
    fn font_default(
        vc,
        lock: ConsoleLock,
        font: *mut bindings::console_font,
        name: *const c_char
    ) -> c_int, INVALID {
        // SAFETY: `con_font_default()` (drivers/tty/vt/vt.c), the only caller, passes null, or a
        // string that it has terminated.
        let Some(found) = (unsafe { font::named(name, T::pixels()) }) else {
            return ENOENT.to_errno();
        };
        let result = T::set_font(&vc, lock, found);
        if result.is_ok() {
            T::with_font(|now| {
                // SAFETY: `con_font_default()` passes a variable of its own, all of whose fields
                // are initialised.
                unsafe { ((*font).width, (*font).height) = (now.size().width, now.size().height) }
            });
        }
        to_errno(result)
    }

    /// Accepts or refuses another size of a console.
    fn resize(_vc, _lock: Locked, cols: c_uint, rows: c_uint, _from_user: bool) -> c_int, INVALID {
        let (most_cols, most_rows) = T::size();
        if cols as usize > most_cols || rows as usize > most_rows {
            return INVALID;
        }
        0
    }

    /// See [`Consw::set_palette`].
    fn set_palette(vc, _lock: Locked, _table: *const c_uchar) {
        T::set_palette(&vc);
    }

    /// See [`Consw::save_screen`].
    fn save_screen(vc, _lock: Locked) {
        T::save_screen(&mut vc);
    }
}
