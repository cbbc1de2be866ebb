// SPDX-License-Identifier: GPL-2.0

//! Where RAM is, so that it is never used as the registers of a device.
//!
//! A BAR or a table gives the address of registers. If it is wrong, the driver would write to
//! memory that something else uses. Firmware's memory map says where RAM is, or else the
//! devicetree, as for Linux. If there is neither, only addresses are refused that the CPU does not
//! have.

use super::{
    efi,
    fdt::Tree,
    Memory, //
};
use core::{
    fmt,
    ops::Range, //
};

/// The reason why there can be no registers at an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RegistersError {
    /// There is RAM.
    Ram {
        /// Physical address of the registers.
        at: u64,
    },
    /// The registers are beyond the last physical address.
    OutOfRange {
        /// Physical address of the registers.
        at: u64,
        /// The number of bits in a physical address.
        bits: u32,
    },
}

impl fmt::Display for RegistersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ram { at } => write!(f, "its registers cannot be at {at:#x}, where RAM is"),
            Self::OutOfRange { at, bits } => write!(
                f,
                "its registers cannot be at {at:#x}, beyond {bits} bits of address"
            ),
        }
    }
}

/// The ranges of RAM, as far as they are known.
pub(crate) struct RamMap<'a> {
    tree: Option<Tree<'a>>,
    /// The number of bits in a physical address.
    bits: u32,
    /// Address ranges without RAM: below all RAM, above it, and around the last address that was
    /// checked. Most registers are in the first two. All others need a pass through the map.
    free: [Range<u64>; 3],
}

impl<'a> RamMap<'a> {
    /// Creates the map of RAM from the memory map that the devicetree names, or from the devicetree
    /// itself. It reads nothing yet. `bits` is the number of bits in a physical address. It is
    /// limited to 52, since page tables use the other bits for something else.
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
    /// [`RegistersError::Ram`] if there is RAM at any of them, [`RegistersError::OutOfRange`] if
    /// they end beyond the last physical address.
    pub(crate) fn check(
        &mut self,
        memory: &mut impl Memory,
        at: u64,
        size: u64,
    ) -> Result<(), RegistersError> {
        let (bits, top) = (self.bits, 1 << self.bits);
        let end = at
            .checked_add(size)
            .filter(|end| *end <= top)
            .ok_or(RegistersError::OutOfRange { at, bits })?;
        let mut free = self.free.iter();
        if free.any(|free| free.start <= at && end <= free.end) {
            return Ok(());
        }
        let mut range = FreeRange::new(at..end, top);
        if let Some(tree) = self.tree {
            // If firmware has a map, Linux does not use the devicetree either. Ignore errors: other
            // code reports them.
            let _ = match tree.chosen().map(|chosen| chosen.memory_map) {
                Ok(Some(map)) => {
                    efi::for_each_ram_range(memory, map, |ram| range.exclude(ram)).is_ok()
                }
                Ok(None) => tree.for_each_ram_range(|ram| range.exclude(ram)).is_ok(),
                Err(_) => false,
            };
        }
        let free = range.free.ok_or(RegistersError::Ram { at });
        self.free = [
            0..range.lowest,
            range.highest..top,
            free.clone().unwrap_or_default(),
        ];
        free.map(|_| ())
    }
}

/// The range without RAM around some registers.
struct FreeRange {
    registers: Range<u64>,
    /// The range that contains the registers, [`None`] if there is RAM in them.
    free: Option<Range<u64>>,
    /// The start of the first RAM.
    lowest: u64,
    /// The end of the last RAM.
    highest: u64,
}

impl FreeRange {
    /// Starts with all addresses below `top`.
    fn new(registers: Range<u64>, top: u64) -> Self {
        Self {
            registers,
            free: Some(0..top),
            lowest: top,
            highest: 0,
        }
    }

    /// Removes a range of RAM, and all addresses that it separates from the registers.
    fn exclude(&mut self, ram: Range<u64>) {
        if ram.is_empty() {
            return;
        }
        self.lowest = self.lowest.min(ram.start);
        self.highest = self.highest.max(ram.end);
        let registers = &self.registers;
        self.free = self.free.take().and_then(|free| {
            if ram.end <= registers.start {
                Some(free.start.max(ram.end)..free.end)
            } else if registers.end <= ram.start {
                Some(free.start..free.end.min(ram.start))
            } else {
                None
            }
        });
    }
}
