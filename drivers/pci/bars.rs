// SPDX-License-Identifier: GPL-2.0

//! Base address registers (PCI 3.0, 6.2.5.1), and the assignment of addresses to those that have
//! none (PCI-to-PCI Bridge 1.2, 3.2.5.8 to 3.2.5.10).
//!
//! Addresses are assigned from the top of the host bridge's windows downwards. Firmware and the
//! kernel assign from the bottom upwards, so that the two meet last.

use super::{
    config::{
        Address,
        Config,
        Function,
        COMMAND_IO,
        COMMAND_MEMORY, //
    },
    enumeration::Path, //
};
use core::fmt;

/// Offset of BAR 0.
const BAR_0: u16 = 0x10;
/// The number of BARs of a function that is no bridge.
const BAR_COUNT: u8 = 6;
/// Offset of a bridge's memory base (lower half) and memory limit (upper half).
const MEMORY_BASE_LIMIT: u16 = 0x20;
/// Offset of a bridge's prefetchable memory base and limit. The low nibble of the base is 1 if the
/// bridge has the registers for the upper 32 bits.
const PREFETCHABLE_BASE_LIMIT: u16 = 0x24;
/// Offset of the upper 32 bits of the prefetchable base.
const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
/// Offset of the upper 32 bits of the prefetchable limit.
const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
/// A bridge forwards multiples of this size.
const BRIDGE_GRANULARITY_BYTES: u64 = 1 << 20;
/// The value of a base and limit register that forwards nothing: the base is above the limit.
const DISABLED: u32 = 0x0000_fff0;

/// A range of addresses that a host bridge forwards to PCI.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Window {
    /// First address on the PCI bus.
    pub(crate) pci: u64,
    /// The same address as the CPU sees it.
    pub(crate) cpu: u64,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Reads have no side effects.
    pub(crate) prefetchable: bool,
    /// The range is for 64-bit BARs.
    pub(crate) bits64: bool,
}

impl Window {
    /// Returns the offset in the window of `size` bytes at the PCI address `pci`. Returns [`None`]
    /// if the window does not contain all of them.
    fn offset(&self, pci: u64, size: u64) -> Option<u64> {
        let offset = pci.checked_sub(self.pci)?;
        (offset.checked_add(size)? <= self.size).then_some(offset)
    }
}

/// The memory windows of one host bridge.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Windows {
    windows: [Window; Self::MAX],
    count: usize,
    /// The host bridge has more windows than [`Self::MAX`]; the others were dropped.
    has_more: bool,
}

impl Windows {
    /// The highest number of windows. QEMU's `virt` has two.
    pub(crate) const MAX: usize = 8;

    /// Adds a window. Returns `false` if there are [`Self::MAX`] already, or if the window is empty
    /// or wraps around.
    pub(crate) fn push(&mut self, window: Window) -> bool {
        let wraps = |start: u64| start.checked_add(window.size).is_none();
        if window.size == 0 || wraps(window.pci) || wraps(window.cpu) {
            return false;
        }
        match self.windows.get_mut(self.count) {
            Some(free) => {
                *free = window;
                self.count += 1;
                true
            }
            None => {
                self.has_more = true;
                false
            }
        }
    }

    /// Returns the windows in the order in which they were added.
    pub(crate) fn as_slice(&self) -> &[Window] {
        self.windows.get(..self.count).unwrap_or_default()
    }

    /// Returns the CPU address of `size` bytes at the PCI address `pci`. Returns [`None`] if no
    /// window contains all of them.
    ///
    /// Without any window, both addresses are the same. ACPI has the windows in the DSDT, which
    /// this driver does not interpret. A host bridge that translates addresses cannot be described
    /// by the MCFG alone.
    pub(crate) fn cpu_address(&self, pci: u64, size: u64) -> Option<u64> {
        if self.count == 0 {
            return pci.checked_add(size).map(|_| pci);
        }
        self.as_slice()
            .iter()
            .find_map(|window| Some(window.cpu + window.offset(pci, size)?))
    }
}

/// The address space of a BAR.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Space {
    /// I/O space.
    Io,
    /// Memory space below 4 GiB.
    Memory32,
    /// Memory space of 64 bits; the next BAR contains the upper 32 bits.
    Memory64,
}

/// A base address register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bar {
    /// The address space.
    pub(crate) space: Space,
    /// Reads have no side effects.
    pub(crate) prefetchable: bool,
    /// Address on the PCI bus, 0 if none was assigned, or if the BAR does not exist.
    pub(crate) address: u64,
}

impl<C: Config> Function<'_, C> {
    /// Reads BAR `index` of a function that is no bridge.
    ///
    /// Returns [`None`] for an index above 5, for the upper half of the BAR before, and for
    /// reserved types.
    pub(crate) fn bar(&mut self, index: u8) -> Option<Bar> {
        let mut at = 0;
        while at < index.min(BAR_COUNT) {
            at += match self.bar_at(at) {
                Some(Bar {
                    space: Space::Memory64,
                    ..
                }) => 2,
                _ => 1,
            };
        }
        if at != index {
            return None;
        }
        self.bar_at(index)
    }

    /// Reads BAR `index`, which must not be an upper half.
    fn bar_at(&mut self, index: u8) -> Option<Bar> {
        if index >= BAR_COUNT {
            return None;
        }
        let low = self.read32(bar_register(index));
        let (space, mask, upper) = match low & 7 {
            0 | 2 => (Space::Memory32, 0xf, 0),
            4 if index < BAR_COUNT - 1 => {
                (Space::Memory64, 0xf, self.read32(bar_register(index + 1)))
            }
            bits if bits & 1 == 1 => (Space::Io, 3, 0),
            _ => return None,
        };
        Some(Bar {
            space,
            prefetchable: space != Space::Io && low & 8 != 0,
            address: (u64::from(upper) << 32) | u64::from(low & !mask),
        })
    }

    /// Returns the size of memory BAR `index` in bytes, 0 if there is no such BAR.
    ///
    /// It disables decoding while it sizes the BAR, then restores the BAR and the command register.
    pub(crate) fn bar_size(&mut self, index: u8) -> u64 {
        let Some(bar) = self.bar(index) else { return 0 };
        if bar.space == Space::Io {
            return 0;
        }
        let command = self.command();
        self.set_command(command & !(COMMAND_IO | COMMAND_MEMORY));
        self.write_bar(index, bar.space, u64::MAX);
        let ones = self.bar_at(index);
        self.write_bar(index, bar.space, bar.address);
        self.set_command(command);
        // The lowest address bit that can be set is the size.
        match ones {
            Some(Bar { address, .. }) if address != 0 => 1 << address.trailing_zeros(),
            _ => 0,
        }
    }

    /// Writes an address to BAR `index`. Its type bits are read-only.
    fn write_bar(&mut self, index: u8, space: Space, address: u64) {
        let [low, upper] = halves(address);
        self.write32(bar_register(index), low);
        if space == Space::Memory64 {
            self.write32(bar_register(index + 1), upper);
        }
    }
}

/// Returns the offset of BAR `index` in configuration space.
fn bar_register(index: u8) -> u16 {
    BAR_0 + 4 * u16::from(index)
}

/// Splits an address into its lower and its upper 32 bits.
fn halves(address: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}

/// The reason why BARs were not assigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AssignError {
    /// No window of the host bridge has so many free bytes.
    Window(u64),
    /// This bridge forwards memory already, and firmware chose what.
    Bridge(Address),
}

impl fmt::Display for AssignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(size) => {
                write!(
                    f,
                    "no window of the host bridge has {size:#x} bytes for its BARs"
                )
            }
            Self::Bridge(at) => {
                write!(
                    f,
                    "its BARs have no address, but firmware set up bridge {at}"
                )
            }
        }
    }
}

/// A BAR that needs an address.
#[derive(Clone, Copy, Default)]
struct BarRequest {
    index: u8,
    size: u64,
    /// It gets an address in a 64-bit window.
    bits64: bool,
}

/// A range of PCI addresses, not empty.
#[derive(Clone, Copy)]
struct Range {
    first: u64,
    size: u64,
}

/// Assigns addresses to BARs that have none.
///
/// There is one for the whole enumeration of a host bridge, so that no address is assigned twice.
pub(crate) struct Allocator<'w> {
    windows: &'w Windows,
    /// Bytes that are allocated at the top of each window.
    allocated: [u64; Windows::MAX],
}

impl<'w> Allocator<'w> {
    /// Creates an allocator for `windows`, nothing of which is allocated yet.
    pub(crate) fn new(windows: &'w Windows) -> Self {
        Self {
            windows,
            allocated: [0; Windows::MAX],
        }
    }

    /// Assigns addresses to the memory BARs of the function `gpu` that are in none of the windows,
    /// and has the bridges of `path` forward them. Returns the number of BARs assigned.
    ///
    /// A BAR that may be in a dropped window keeps its address.
    ///
    /// The command registers do not change: call [`Function::enable_forwarding`] for the bridges,
    /// and [`Function::enable_memory`] for the function.
    ///
    /// # Errors
    ///
    /// [`AssignError`] if no window has enough space, or if a bridge forwards memory already. Then
    /// nothing has been changed.
    pub(crate) fn assign(
        &mut self,
        config: &mut impl Config,
        gpu: Address,
        path: &Path,
    ) -> Result<u8, AssignError> {
        let wide = path
            .as_slice()
            .iter()
            .all(|bridge| config.read32(*bridge, PREFETCHABLE_BASE_LIMIT) & 0xf == 1);
        let mut requests = [BarRequest::default(); BAR_COUNT as usize];
        let mut count = 0;
        for (index, free) in (0..BAR_COUNT).zip(&mut requests) {
            let mut function = Function::new(config, gpu);
            let Some(bar) = function.bar(index) else {
                continue;
            };
            if bar.space == Space::Io || self.is_assigned(bar.address) {
                continue;
            }
            let size = function.bar_size(index);
            // Behind a bridge, only prefetchable memory can be above 4 GiB.
            let bits64 = bar.space == Space::Memory64
                && (path.as_slice().is_empty() || wide && bar.prefetchable)
                && self.windows.as_slice().iter().any(|window| window.bits64);
            *free = BarRequest {
                index,
                size,
                bits64,
            };
            count += u8::from(size != 0);
        }
        if count == 0 {
            return Ok(0);
        }
        for bridge in path.as_slice() {
            if self.may_forward(config, *bridge) {
                return Err(AssignError::Bridge(*bridge));
            }
        }
        // The largest first: then all BARs are aligned to their sizes if the first one is.
        requests.sort_unstable_by_key(|request| core::cmp::Reverse(request.size));
        let unit = match path.as_slice() {
            [] => 1,
            _ => BRIDGE_GRANULARITY_BYTES,
        };
        let before = self.allocated;
        let ranges = self
            .reserve(&requests, false, unit)
            .and_then(|low| Ok([low, self.reserve(&requests, true, unit)?]));
        let [low, high] = ranges.inspect_err(|_| self.allocated = before)?;
        for bridge in path.as_slice() {
            set_bridge_windows(config, *bridge, low, high);
        }
        let mut function = Function::new(config, gpu);
        let command = function.command();
        function.set_command(command & !(COMMAND_IO | COMMAND_MEMORY));
        let mut next = [low, high].map(|range| range.map_or(0, |range| range.first));
        for request in requests.iter().filter(|request| request.size != 0) {
            let [low, high] = &mut next;
            let at = if request.bits64 { high } else { low };
            let space = function
                .bar(request.index)
                .map_or(Space::Memory32, |bar| bar.space);
            function.write_bar(request.index, space, *at);
            *at += request.size;
        }
        function.set_command(command);
        Ok(count)
    }

    /// Returns whether the address of a BAR was assigned. Address 0 counts as not assigned, even if
    /// a window begins there.
    fn is_assigned(&self, pci: u64) -> bool {
        pci != 0 && self.may_contain(pci)
    }

    /// Returns whether a PCI address is in one of the windows, or may be in a dropped one.
    fn may_contain(&self, pci: u64) -> bool {
        let mut windows = self.windows.as_slice().iter();
        self.windows.has_more || windows.any(|window| window.offset(pci, 1).is_some())
    }

    /// Returns whether a bridge forwards any part of the windows, or may do so.
    ///
    /// After a reset both registers are zero, which forwards the first MiB. This counts as nothing,
    /// even if a window begins at zero.
    fn may_forward(&self, config: &mut impl Config, bridge: Address) -> bool {
        [MEMORY_BASE_LIMIT, PREFETCHABLE_BASE_LIMIT]
            .into_iter()
            .any(|register| {
                let pair = config.read32(bridge, register);
                let (mut base, mut limit) = (
                    u64::from(pair & 0xfff0) << 16,
                    u64::from(pair & 0xfff0_0000),
                );
                if register == PREFETCHABLE_BASE_LIMIT && pair & 0xf == 1 {
                    base |= u64::from(config.read32(bridge, PREFETCHABLE_BASE_UPPER)) << 32;
                    limit |= u64::from(config.read32(bridge, PREFETCHABLE_LIMIT_UPPER)) << 32;
                }
                (base, limit) != (0, 0) && base <= limit && self.may_contain(base)
            })
    }

    /// Allocates one range for all requests with this `bits64`, in multiples of `unit` bytes.
    fn reserve(
        &mut self,
        requests: &[BarRequest],
        bits64: bool,
        unit: u64,
    ) -> Result<Option<Range>, AssignError> {
        let mut size = 0u64;
        let mut align = unit;
        for request in requests.iter().filter(|request| request.bits64 == bits64) {
            size = size
                .checked_add(request.size)
                .ok_or(AssignError::Window(request.size))?;
            align = align.max(request.size);
        }
        if size == 0 {
            return Ok(None);
        }
        let size = size
            .checked_next_multiple_of(unit)
            .ok_or(AssignError::Window(size))?;
        for (window, allocated) in self.windows.as_slice().iter().zip(&mut self.allocated) {
            let below_4g = window.pci + window.size <= 1 << 32;
            if window.bits64 != bits64 || !(bits64 || below_4g) {
                continue;
            }
            let first = window
                .size
                .checked_sub(*allocated)
                .and_then(|free| free.checked_sub(size))
                .map(|offset| (window.pci + offset) & !(align - 1))
                // Never assign address 0, which counts as not assigned.
                .filter(|first| *first >= window.pci && *first != 0);
            if let Some(first) = first {
                *allocated = window.size - (first - window.pci);
                return Ok(Some(Range { first, size }));
            }
        }
        Err(AssignError::Window(size))
    }
}

/// Programs a bridge to forward these two ranges and no other memory.
fn set_bridge_windows(
    config: &mut impl Config,
    bridge: Address,
    low: Option<Range>,
    high: Option<Range>,
) {
    let pair = |first: u32, last: u32| (last & 0xfff0_0000) | ((first >> 16) & 0xfff0);
    let memory = low.map_or(DISABLED, |range| {
        let [first, _] = halves(range.first);
        let [last, _] = halves(range.first + range.size - 1);
        pair(first, last)
    });
    let (prefetchable, uppers) = high.map_or((DISABLED, [0, 0]), |range| {
        let [first, first_upper] = halves(range.first);
        let [last, last_upper] = halves(range.first + range.size - 1);
        (pair(first, last), [first_upper, last_upper])
    });
    let [base_upper, limit_upper] = uppers;
    config.write32(bridge, MEMORY_BASE_LIMIT, memory);
    config.write32(bridge, PREFETCHABLE_BASE_LIMIT, prefetchable);
    config.write32(bridge, PREFETCHABLE_BASE_UPPER, base_upper);
    config.write32(bridge, PREFETCHABLE_LIMIT_UPPER, limit_upper);
}
