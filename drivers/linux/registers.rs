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
/// long as `'m`.
#[derive(Clone, Copy)]
pub(crate) struct Window<'m> {
    base: *mut u8,
    length: usize,
    mapping: PhantomData<&'m ()>,
}

// SAFETY: A mapping is the same on every CPU.
unsafe impl Send for Window<'_> {}

impl<'m> Window<'m> {
    /// A window on a mapping.
    ///
    /// # Safety
    ///
    /// `base` is the start of a mapping of device memory (as by `ioremap()`) of at least `length`
    /// bytes, which lasts as long as `'m`.
    pub(crate) unsafe fn new(base: *mut u8, length: usize) -> Self {
        // INVARIANT: By the safety requirements.
        Self {
            base,
            length,
            mapping: PhantomData,
        }
    }

    /// The address of `size` bytes at `offset`.
    ///
    /// An offset outside of the window, which no caller has, gets the window's first bytes: there
    /// is no sensible answer, and a console must not panic.
    fn at(&self, offset: usize, size: usize) -> *mut u8 {
        let fits = offset
            .checked_add(size)
            .is_some_and(|end| end <= self.length);
        self.base.wrapping_add(if fits { offset } else { 0 })
    }
}

macro_rules! accessors {
    ($($read:ident, $write:ident, $type:ty, $readx:ident, $writex:ident;)*) => {
        impl Registers for Window<'_> {$(
            fn $read(&self, offset: usize) -> $type {
                let at = self.at(offset, size_of::<$type>()).cast();
                // SAFETY: By the type's invariants and `at()`, this is within a mapping of
                // registers.
                unsafe { bindings::$readx(at) }
            }

            fn $write(&self, offset: usize, value: $type) {
                let at = self.at(offset, size_of::<$type>()).cast();
                // SAFETY: As above.
                unsafe { bindings::$writex(value, at) }
            }
        )*}
    };
}

accessors! {
    read8, write8, u8, readb, writeb;
    read16, write16, u16, readw, writew;
    read32, write32, u32, readl, writel;
}
