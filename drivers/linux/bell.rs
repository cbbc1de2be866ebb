// SPDX-License-Identifier: GPL-2.0

//! The doorbell of the one device that we drive, where the kernel has mapped it.

use core::cell::Cell;

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

// SAFETY: A bell is changed and rung by the one who owns the screen (`linux::owner`), or while
// nobody else can know of it.
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
            // SAFETY: The mapping is ours, and the window on it is gone.
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
        if at == 0 || at % 4 != 0 && doorbell.width == Width::Bits32 || at % 2 != 0 {
            return false;
        }
        // SAFETY: FIX_EARLYCON_MEM_BASE belongs to the early console, which we are, and no window
        // on it is left. It can be set at any time from `early_ioremap_init()` on.
        let base = unsafe { crate::linux::bindings::virtgpu_map_page(at) }.cast();
        // SAFETY: The mapping reaches to the end of the page, and 4 KiB is the smallest page there
        // is. It lasts until `take_down()`, which takes the window first.
        let window = unsafe { Window::new(base, 4096 - (at % 4096) as usize) };
        self.hung.set(Some((window, doorbell)));
        self.early.set(true);
        true
    }
}
