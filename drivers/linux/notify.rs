// SPDX-License-Identifier: GPL-2.0

//! The register by which the driver notifies the device of new buffers (virtio 1.3, 4.1.5.2 and
//! 4.2.2), as the kernel has mapped it.

use core::cell::Cell;

#[cfg(not(MODULE))]
use crate::linux::arch;
use crate::{
    linux::registers::Window,
    virtio::{
        QueueNotify,
        Registers,
        Width, //
    }, //
};

/// The notify register of the one device that is driven; unmapped at first.
pub(crate) struct NotifyRegister {
    mapped: Cell<Option<(Window<'static>, QueueNotify)>>,
    /// Set if the mapping is the page of early consoles.
    #[cfg(not(MODULE))]
    is_early: Cell<bool>,
}

// SAFETY: There is one value, in a static. All methods are called by the owner of the screen
// (`linux::owner`: `Owned::try_with()`, `with()` or `take_over()`), or when there is no screen. In
// the latter case there is one thread at a time: the boot CPU before there are others, a probe
// (`Mutex::Probe`; `module::CLAIMED` in the module), or `module::stop()`, after the console is
// unregistered.
unsafe impl Sync for NotifyRegister {}

impl NotifyRegister {
    /// Makes a register that is not mapped.
    pub(crate) const fn new() -> Self {
        Self {
            mapped: Cell::new(None),
            #[cfg(not(MODULE))]
            is_early: Cell::new(false),
        }
    }

    /// Uses a mapping: `window` begins with the register of `notify`.
    pub(crate) fn set(&self, window: Window<'static>, notify: QueueNotify) {
        self.clear();
        self.mapped.set(Some((window, notify)));
    }

    /// Stops using the mapping, and unmaps it if it is the page of early consoles.
    pub(crate) fn clear(&self) {
        self.mapped.set(None);
        #[cfg(not(MODULE))]
        if self.is_early.take() {
            // SAFETY: `is_early` says that `map_early()` has mapped the page. The window on it is
            // gone since the first line.
            unsafe { arch::unmap_early_console_page() };
        }
    }

    /// Writes the number of the queue; does nothing if the register is not mapped.
    pub(crate) fn write(&self) {
        if let Some((window, notify)) = self.mapped.get() {
            match notify.width {
                Width::Bits16 => window.write16(0, notify.queue),
                #[cfg(not(MODULE))]
                Width::Bits32 => window.write32(0, u32::from(notify.queue)),
            }
        }
    }

    /// Maps the register of `notify` at the physical address `at` in the page of early consoles, of
    /// which there is one. Returns whether that was possible; the register is not mapped otherwise.
    /// In any context.
    #[cfg(not(MODULE))]
    #[must_use]
    pub(crate) fn map_early(&self, at: u64, notify: QueueNotify) -> bool {
        self.clear();
        if at >> arch::address_bits() != 0
            || at == 0
            || at % 4 != 0 && notify.width == Width::Bits32
            || at % 2 != 0
        {
            return false;
        }
        // SAFETY: drivers/tty/serial/earlycon.c registers one early console at a time. While early
        // parameters are read, after `early_fixmap_init()`, that is this driver's, which is being
        // set up. `EarlyDevice::map_notify_again()` calls this later, in a panic, if there is no
        // other early console. `clear()` has left no window on an earlier mapping. The address has
        // been checked above.
        let base = unsafe { arch::map_early_console_page(at) };
        // SAFETY: `base` is a mapping of device memory up to the end of the page, and 4 KiB is the
        // smallest page. It lasts until `clear()`, which drops the window first.
        let window = unsafe { Window::new(base, 4096 - (at % 4096) as usize) };
        self.mapped.set(Some((window, notify)));
        self.is_early.set(true);
        true
    }
}
