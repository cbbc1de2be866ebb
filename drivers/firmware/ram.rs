// SPDX-License-Identifier: GPL-2.0

//! Where RAM is, so that nobody takes it for the registers of a device.
//!
//! Registers are where a BAR or a table says. What is wrong there would be written into memory that
//! is somebody's. Firmware's memory map says where RAM is, or the devicetree, as it does to Linux;
//! where neither does, only what no address can be is refused.

use super::{
    efi,
    fdt::Tree,
    Memory, //
};
use core::{
    fmt,
    ops::Range, //
};

/// Why there can be no registers at an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Misplaced {
    /// There is RAM.
    Ram {
        /// Where the registers begin.
        at: u64,
    },
    /// They do not end where addresses do.
    Beyond {
        /// Where the registers begin.
        at: u64,
        /// The bits that addresses have.
        bits: u32,
    },
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram { at } => write!(f, "its registers cannot be at {at:#x}, where RAM is"),
            Self::Beyond { at, bits } => write!(
                f,
                "its registers cannot be at {at:#x}, beyond {bits} bits of address"
            ),
        }
    }
}

/// What is known of RAM.
pub(crate) struct Ram<'a> {
    tree: Option<Tree<'a>>,
    /// The bits that physical addresses have.
    bits: u32,
    /// Addresses without RAM: below all of it, above it, and around what was asked last. The answer
    /// takes a walk through a map, and most registers are in the first two.
    free: [Range<u64>; 3],
}

impl<'a> Ram<'a> {
    /// As the devicetree says, or the memory map that it names. Nothing is read yet. `bits` are
    /// those that a physical address has, 52 at most: page tables take others for something else.
    pub(crate) fn new(tree: Option<Tree<'a>>, bits: u32) -> Self {
        Self {
            tree,
            bits: bits.min(52),
            free: [const { 0..0 }; 3],
        }
    }

    /// Checks that `size` bytes of registers can be at the physical address `at`.
    ///
    /// # Errors
    ///
    /// [`Misplaced`] if there is RAM at any of them, or if they end where there are no addresses.
    pub(crate) fn check(
        &mut self,
        memory: &mut impl Memory,
        at: u64,
        size: u64,
    ) -> Result<(), Misplaced> {
        let (bits, top) = (self.bits, 1 << self.bits);
        let end = at
            .checked_add(size)
            .filter(|end| *end <= top)
            .ok_or(Misplaced::Beyond { at, bits })?;
        let mut free = self.free.iter();
        if free.any(|free| free.start <= at && end <= free.end) {
            return Ok(());
        }
        let mut gap = Gap::around(at..end, top);
        if let Some(tree) = self.tree {
            // Where firmware has a map, Linux does not ask the devicetree either. What cannot be
            // read says nothing, and somebody else complains about it.
            let _ = match tree.chosen().map(|chosen| chosen.memory_map) {
                Ok(Some(map)) => efi::ram(memory, map, |ram| gap.exclude(ram)).is_ok(),
                Ok(None) => tree.ram(|ram| gap.exclude(ram)).is_ok(),
                Err(_) => false,
            };
        }
        let around = gap.around.ok_or(Misplaced::Ram { at });
        self.free = [
            0..gap.lowest,
            gap.highest..top,
            around.clone().unwrap_or_default(),
        ];
        around.map(|_| ())
    }
}

/// Addresses without RAM.
struct Gap {
    wanted: Range<u64>,
    /// Those around the wanted ones; [`None`] if there is RAM at any of these.
    around: Option<Range<u64>>,
    /// Where the first RAM begins.
    lowest: u64,
    /// Where the last RAM ends.
    highest: u64,
}

impl Gap {
    /// All addresses below `top`.
    fn around(wanted: Range<u64>, top: u64) -> Self {
        Self {
            wanted,
            around: Some(0..top),
            lowest: top,
            highest: 0,
        }
    }

    /// Takes away those up to, or from, a range of RAM, or all of them.
    fn exclude(&mut self, ram: Range<u64>) {
        if ram.is_empty() {
            return;
        }
        self.lowest = self.lowest.min(ram.start);
        self.highest = self.highest.max(ram.end);
        let wanted = &self.wanted;
        self.around = self.around.take().and_then(|free| {
            if ram.end <= wanted.start {
                Some(free.start.max(ram.end)..free.end)
            } else if wanted.end <= ram.start {
                Some(free.start..free.end.min(ram.start))
            } else {
                None
            }
        });
    }
}
