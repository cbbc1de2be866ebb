// SPDX-License-Identifier: GPL-2.0

//! A console driver of the VT's (`struct consw`): what the VT core calls, with the console lock
//! held.

use core::{
    ffi::c_void,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
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
        c_uint,
        c_ulong, //
    },
    str::CStrExt, //
};

use crate::{
    console::{
        nbcon,
        vt, //
    },
    linux::{
        bindings,
        console,
        font,
        notifier::Notifier,
        table::Table,
        vc::Vc, //
    },
    text::{
        Cell,
        Way, //
    }, //
};

/// What no console can do.
const INVALID: c_int = -(kernel::bindings::EINVAL as c_int);

static OPERATIONS: Table<bindings::consw> = Table::new(bindings::consw {
    con_startup: Some(startup),
    con_init: Some(init),
    con_deinit: Some(deinit),
    con_clear: Some(clear),
    con_putc: Some(putc),
    con_putcs: Some(putcs),
    con_cursor: Some(cursor),
    con_scroll: Some(scroll),
    con_switch: Some(switch),
    con_blank: Some(blank),
    con_font_set: Some(font_set),
    con_font_get: Some(font_get),
    con_font_default: Some(font_default),
    con_resize: Some(resize),
    con_set_palette: Some(set_palette),
    con_save_screen: Some(save_screen),
    // SAFETY: What is not set above is a pointer and optional functions, for which zeroes are null
    // and `None`.
    ..unsafe { core::mem::zeroed() }
});

/// What a virtual console of ours has as its driver.
pub(crate) fn operations() -> *const bindings::consw {
    OPERATIONS.as_ptr()
}

static UPDATES: Notifier = Notifier::new(updated);

/// Where there is a screen, we are the VT's first driver; before `con_init()`.
pub(crate) fn begin() {
    if vt::begin() {
        // SAFETY: The caller is a `console_initcall`, which `console_init()`
        // (kernel/printk/printk.c) runs before other CPUs are up. `con_init()`
        // (drivers/tty/vt/vt.c), linked behind this driver, is the first to look at the pointer; on
        // arm64 nobody has set it. The operations are static, and sound as a console driver.
        unsafe {
            if bindings::conswitchp.is_null() {
                bindings::conswitchp = operations();
                watch();
            }
        }
    }
}

/// Makes us the driver of all virtual consoles, if they have none that shows anything.
pub(crate) fn take_over() {
    let last = bindings::MAX_NR_CONSOLES as c_int - 1;
    console::locked(|| {
        // SAFETY: The pointer is only compared. `do_bind_con_driver()` (drivers/tty/vt/vt.c)
        // changes it with the console lock held, as it is here: fbcon may be about to take the
        // consoles for another card.
        let driver = unsafe { (&raw const bindings::conswitchp).read() };
        if driver == &raw const bindings::dummy_con {
            watch();
            // SAFETY: `console::locked()` holds the console lock, which `do_take_over_console()`
            // (drivers/tty/vt/vt.c) asks for. The operations are static, and sound as a console
            // driver.
            unsafe { bindings::do_take_over_console(operations(), 0, last, 1) };
        }
    });
}

fn watch() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Ordering::Relaxed) {
        // SAFETY: The notifier is static, and by the flag it is registered once.
        // `register_vt_notifier()` (drivers/tty/vt/vt.c) takes the lock of its list.
        unsafe { bindings::register_vt_notifier(UPDATES.as_ptr().cast()) };
    }
}

/// # Safety
///
/// Called by the VT core, with the console lock held as for [`Vc::new`]: only `notify_update()`
/// (drivers/tty/vt/vt.c) says VT_UPDATE.
unsafe extern "C" fn updated(
    _: *mut kernel::bindings::notifier_block,
    event: c_ulong,
    _: *mut c_void,
) -> c_int {
    if event == bindings::VT_UPDATE as c_ulong {
        vt::update();
    }
    0
}

/// What the console is called in the log.
extern "C" fn startup() -> *const c_char {
    c"virtio-gpu".as_char_ptr()
}

macro_rules! callbacks {
    ($($(#[$attr:meta])* fn $name:ident($vc:ident $(, $arg:ident: $type:ty)*) $(-> $return:ty, $otherwise:tt)? $body:block)*) => {$(
        $(#[$attr])*
        ///
        /// # Safety
        ///
        /// Called by the VT core (drivers/tty/vt/vt.c) for a console of ours, as `struct consw`
        /// says, with the console lock held; or without it by a kernel that panics or is in a
        /// debugger, when `vt_console_print()` is what runs: see [`Vc::new`].
        unsafe extern "C" fn $name(vc: *mut bindings::vc_data $(, $arg: $type)*) $(-> $return)? {
            // SAFETY: By the safety requirement. The VT core frees no console while it calls a
            // driver for it.
            let vc = unsafe { Vc::new(vc) };
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
    /// A console begins: how large is it, and what can it do?
    fn init(vc, init: bool) {
        vt::init(&mut vc, init);
    }

    /// It gets another driver.
    fn deinit(vc) {
        vt::deinit(&mut vc);
    }

    /// Cells become empty.
    fn clear(vc, y: c_uint, x: c_uint, count: c_uint) {
        let cells = core::iter::repeat_n(vc.erased(), count as usize);
        vt::put(&vc, y as usize, x as usize, cells);
    }

    /// One cell changes: the pointer of a mouse, or a cursor of the VT core's own making. Nothing
    /// tells when that is done.
    fn putc(vc, cell: u16, y: c_uint, x: c_uint) {
        vt::put(&vc, y as usize, x as usize, core::iter::once(Cell(cell)));
        vt::update();
    }

    /// Cells of a row change.
    fn putcs(vc, cells: *const u16, count: c_uint, y: c_uint, x: c_uint) {
        if !cells.is_null() {
            // SAFETY: All who call this (`con_putc()`, `do_update_region()`, `con_flush()` and
            // `vt_console_print()` in drivers/tty/vt/vt.c) pass `count` initialised cells, which
            // nobody writes before this returns: `vt::put()` does not call into the VT core.
            let cells = unsafe { core::slice::from_raw_parts(cells, count as usize) };
            vt::put(&vc, y as usize, x as usize, cells.iter().map(|&cell| Cell(cell)));
        }
    }

    /// The cursor appears or disappears.
    fn cursor(vc, enable: bool) {
        vt::cursor(&mut vc, enable);
    }

    /// Rows move; false has the VT core move them in its buffer.
    fn scroll(vc, top: c_uint, bottom: c_uint, way: bindings::con_scroll, lines: c_uint) -> bool, false {
        let way = if way == bindings::con_scroll::SM_UP { Way::Up } else { Way::Down };
        vt::scroll(&vc, top as usize..bottom as usize, way, lines as usize);
        false
    }

    /// The console comes into the foreground; true has it drawn.
    fn switch(vc) -> bool, false {
        vt::switch(&vc);
        true
    }

    /// The screen goes dark, or comes back; then true has it drawn.
    fn blank(vc, blank: bindings::vesa_blank_mode, _mode_switch: bool) -> bool, false {
        vt::blank(&vc, blank != bindings::vesa_blank_mode::VESA_NO_BLANKING);
        blank == bindings::vesa_blank_mode::VESA_NO_BLANKING
    }

    /// The user loads a font.
    fn font_set(vc, font: *const bindings::console_font, pitch: c_uint, _flags: c_uint) -> c_int, INVALID {
        // SAFETY: `con_font_set()` (drivers/tty/vt/vt.c), the only caller, has filled all fields
        // in, and has read as much data from the user as `charcount` glyphs of `pitch` scanlines
        // take.
        let font = unsafe { font::UserFont::new(&*font, pitch) };
        to_errno(font.and_then(|font| vt::set_font(&vc, font)))
    }

    /// The user wants to know the font.
    fn font_get(_vc, to: *mut bindings::console_font, pitch: c_uint) -> c_int, INVALID {
        let result = vt::with_font(|font| {
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

    /// The user wants a font of the kernel's, by its name, or the default one.
    fn font_default(vc, font: *mut bindings::console_font, name: *const c_char) -> c_int, INVALID {
        // SAFETY: `con_font_default()` (drivers/tty/vt/vt.c), the only caller, passes null, or a
        // string that it has terminated.
        let Some(found) = (unsafe { font::named(name, vt::pixels()) }) else {
            return ENOENT.to_errno();
        };
        let result = vt::set_font(&vc, found);
        if result.is_ok() {
            vt::with_font(|now| {
                // SAFETY: `con_font_default()` passes a variable of its own, all of whose fields
                // are initialised.
                unsafe { ((*font).width, (*font).height) = (now.size().width, now.size().height) }
            });
        }
        to_errno(result)
    }

    /// May the console have another size?
    fn resize(_vc, cols: c_uint, rows: c_uint, _from_user: bool) -> c_int, INVALID {
        let (most_cols, most_rows) = vt::size();
        if cols as usize > most_cols || rows as usize > most_rows {
            return INVALID;
        }
        0
    }

    /// The colours change.
    fn set_palette(vc, _table: *const c_uchar) {
        vt::set_palette(&vc);
    }

    /// The VT core's buffer has to hold what is on the screen.
    fn save_screen(vc) {
        vt::save(&mut vc);
    }
}

/// The work of [`blink_later`].
#[no_mangle]
extern "C" fn virtgpu_bridge_blink() {
    // Whoever has the console lock moves the cursor sooner or later.
    // SAFETY: This runs in a work item, where the console lock may be tried for.
    if unsafe { bindings::console_trylock() } == 0 {
        return blink_later(200);
    }
    // SAFETY: The console lock is held until it is given up below, after the last use of `vc`.
    let vc = unsafe { Vc::foreground() };
    let again = vc.as_ref().and_then(vt::blink);
    // SAFETY: `console_trylock()` has taken the lock above.
    unsafe { bindings::console_unlock() };
    if let Some(milliseconds) = again {
        blink_later(milliseconds);
    }
}

/// The timer of `virtgpu_look_later()`.
#[no_mangle]
extern "C" fn virtgpu_bridge_look() {
    nbcon::look();
}

/// Has [`vt::blink`] called once in so many milliseconds.
pub(crate) fn blink_later(milliseconds: u32) {
    // Nobody waits for a cursor while the kernel dies.
    // SAFETY: A static of kernel/printk/printk.c: an aligned word, which is read at once. Others
    // may change it meanwhile, and either value will do.
    let dying = unsafe { (&raw const bindings::oops_in_progress).read_volatile() } != 0;
    if !dying {
        // SAFETY: `virtgpu_blink_later()` looks at a bit, writes a word, and calls
        // `irq_work_queue()`, all of which is allowed in any context, NMI included.
        unsafe { bindings::virtgpu_blink_later(milliseconds) };
    }
}
