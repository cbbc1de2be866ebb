// SPDX-License-Identifier: GPL-2.0

//! Device registers behind a kernel mapping.

use core::marker::PhantomData;

use kernel::bindings;

use crate::virtio::Registers;

/// A window of registers.
///
/// # Invariants
///
/// `base` is the start of a mapping of device memory of at least `length` bytes, which lasts as
/// long as `'m`. Its lower bits are those of the physical address.
#[derive(Clone, Copy)]
pub(crate) struct Window<'m> {
    base: *mut u8,
    length: usize,
    mapping: PhantomData<&'m ()>,
}

// SAFETY: A mapping in the kernel's part of the address space is the same for every task and on
// every CPU.
unsafe impl Send for Window<'_> {}

impl<'m> Window<'m> {
    /// Makes a window on a mapping.
    ///
    /// # Safety
    ///
    /// `base` is the start of a mapping of device memory of at least `length` bytes, which lasts as
    /// long as `'m`, as `ioremap()` makes it: page by page, so that its lower bits are those of the
    /// physical address.
    pub(crate) unsafe fn new(base: *mut u8, length: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            base,
            length,
            mapping: PhantomData,
        }
    }

    /// Returns the address of `size` bytes at `offset`; `None` if they are not all within the
    /// window, or not at a multiple of `size`.
    ///
    /// No caller passes such an offset. If one did, a console must not panic: it reads ones, as
    /// from a device that is gone.
    fn at(&self, offset: usize, size: usize) -> Option<*mut u8> {
        let end = offset.checked_add(size)?;
        let at = self.base.wrapping_add(offset);
        (end <= self.length && at as usize % size == 0).then_some(at)
    }
}

macro_rules! accessors {
    ($($read:ident, $write:ident, $type:ty, $readx:ident, $writex:ident;)*) => {
        impl Registers for Window<'_> {$(
            fn $read(&self, offset: usize) -> $type {
                match self.at(offset, size_of::<$type>()) {
                    // SAFETY: By the type's invariants and `at()` this is within a mapping of
                    // device memory, and aligned, as arm64 wants it of such memory.
                    Some(at) => unsafe { bindings::$readx(at.cast()) },
                    None => <$type>::MAX,
                }
            }

            fn $write(&self, offset: usize, value: $type) {
                if let Some(at) = self.at(offset, size_of::<$type>()) {
                    // SAFETY: As above. The driver of the device is responsible for its effect.
                    unsafe { bindings::$writex(value, at.cast()) }
                }
            }
        )*}
    };
}

accessors! {
    read8, write8, u8, readb, writeb;
    read16, write16, u16, readw, writew;
    read32, write32, u32, readl, writel;
}
