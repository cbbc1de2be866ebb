// SPDX-License-Identifier: GPL-2.0

//! The doorbell of the one device that we drive, where the kernel has mapped it.

use core::cell::Cell;

#[cfg(not(MODULE))]
use crate::linux::early::address_bits;
use crate::{
    linux::registers::Window,
    virtio::{
        Doorbell,
        Registers,
        Width, //
    },
};

/// A doorbell, if it is mapped; ringing another one does nothing.
pub(crate) struct Bell {
    hung: Cell<Option<(Window<'static>, Doorbell)>>,
    /// Whether the mapping is the early console's.
    #[cfg(not(MODULE))]
    early: Cell<bool>,
}

// SAFETY: There is one bell, in a static, and whoever changes it or rings it either owns the screen
// (`linux::owner`: `Owned::with()`, `wait()` or `seize()`), or there is no screen yet, or not any
// more, whose owner could. Then it is one thread at a time: the boot CPU before there are others, a
// probe (`Mutex::Probe`; `module::CLAIMED` in the module), or `module::stop()`, after the console
// is unregistered.
unsafe impl Sync for Bell {}

impl Bell {
    /// A bell that rings nowhere.
    pub(crate) const fn new() -> Self {
        Self {
            hung: Cell::new(None),
            #[cfg(not(MODULE))]
            early: Cell::new(false),
        }
    }

    /// Hangs the bell up: `window` begins with the register of `doorbell`.
    pub(crate) fn hang(&self, window: Window<'static>, doorbell: Doorbell) {
        self.take_down();
        self.hung.set(Some((window, doorbell)));
    }

    /// Takes the bell down, and the early console's mapping with it.
    pub(crate) fn take_down(&self) {
        self.hung.set(None);
        #[cfg(not(MODULE))]
        if self.early.take() {
            // SAFETY: `early` says that `hang_at()` has mapped the page, and the window on it is
            // gone since the line above. `clear_fixmap()` may be called in any context.
            unsafe { crate::linux::bindings::virtgpu_unmap_page() };
        }
    }

    /// Rings, with the number of the queue.
    pub(crate) fn ring(&self) {
        if let Some((window, doorbell)) = self.hung.get() {
            match doorbell.width {
                Width::Bits16 => window.write16(0, doorbell.queue),
                #[cfg(not(MODULE))]
                Width::Bits32 => window.write32(0, u32::from(doorbell.queue)),
            }
        }
    }
}

/// Before there is `ioremap()`, and after: the one page that the kernel keeps mapped for early
/// consoles. There is one, and one bell.
#[cfg(not(MODULE))]
impl Bell {
    /// Maps the register of `doorbell` at the physical address `at`. Returns whether that was
    /// possible; the bell is down otherwise.
    #[must_use]
    pub(crate) fn hang_at(&self, at: u64, doorbell: Doorbell) -> bool {
        self.take_down();
        if at >> address_bits() != 0
            || at == 0
            || at % 4 != 0 && doorbell.width == Width::Bits32
            || at % 2 != 0
        {
            return false;
        }
        // SAFETY: FIX_EARLYCON_MEM_BASE is the page of the early console, of which
        // drivers/tty/serial/earlycon.c registers one at a time. While early parameters are read
        // that is ours, which is being set up. `screen::reach()` comes here later, for a kernel
        // that dies, if there is no other early console.
        // `take_down()` has left no window of ours. The page can be set from `early_fixmap_init()`
        // on, in any context: `__set_fixmap()` (arch/arm64/mm/fixmap.c) writes one page table
        // entry.
        let base = unsafe { crate::linux::bindings::virtgpu_map_page(at) }.cast();
        // SAFETY: It is a mapping of device memory, to the end of the page, and 4 KiB is the
        // smallest page there is. It lasts until `take_down()`, which takes the window first.
        let window = unsafe { Window::new(base, 4096 - (at % 4096) as usize) };
        self.hung.set(Some((window, doorbell)));
        self.early.set(true);
        true
    }
}
