// SPDX-License-Identifier: GPL-2.0

//! Base address registers, and addresses for those that nobody assigned (PCI 3.0, 6.2.5.1;
//! PCI-to-PCI Bridge 1.2, 3.2.5.8 to 3.2.5.10).
//!
//! Addresses are taken from the top of the host bridge's windows downward. Firmware and the kernel
//! assign from the bottom up, so they meet last.

use super::{
    config::{
        Address,
        Config,
        Function,
        COMMAND_IO,
        COMMAND_MEMORY, //
    },
    walk::Path, //
};
use core::fmt;

/// The first BAR.
const BAR_0: u16 = 0x10;
/// BARs of a function that is no bridge.
const BARS: u8 = 6;
/// A bridge's memory limit and base.
const MEMORY: u16 = 0x20;
/// A bridge's prefetchable memory limit and base; the low nibble of the base is 1 if there are
/// upper halves.
const PREFETCHABLE: u16 = 0x24;
/// Upper half of the prefetchable base.
const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
/// Upper half of the prefetchable limit.
const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
/// A bridge forwards multiples of this.
const BRIDGE_UNIT: u64 = 1 << 20;
/// A bridge register pair that forwards nothing: its base is above its limit.
const CLOSED: u32 = 0x0000_fff0;

/// A range of addresses that a host bridge forwards to PCI.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Window {
    /// First address on the PCI side.
    pub(crate) pci: u64,
    /// The same as the CPU sees it.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// Reads in the range have no side effects.
    pub(crate) prefetchable: bool,
    /// The range is meant for BARs of 64 bits.
    pub(crate) bits64: bool,
}

impl Window {
    /// How far into the window `size` bytes at a PCI address are; [`None`] if they are not.
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
    /// The host bridge has more windows than are kept.
    has_more: bool,
}

impl Windows {
    /// So many windows are kept. QEMU's `virt` has two.
    pub(crate) const MAX: usize = 8;

    /// Adds a window; `false` if there is no place left, or if it is empty or wraps around.
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

    /// The windows, in the order they were given.
    pub(crate) fn as_slice(&self) -> &[Window] {
        self.windows.get(..self.count).unwrap_or_default()
    }

    /// CPU address of `size` bytes at a PCI address; [`None`] if no window holds all of them.
    ///
    /// Without any window it is the same address: ACPI's are in the DSDT, which we do not run, and
    /// a host bridge that translates is not one of those that MCFG alone describes.
    pub(crate) fn cpu(&self, pci: u64, size: u64) -> Option<u64> {
        if self.count == 0 {
            return pci.checked_add(size).map(|_| pci);
        }
        self.as_slice()
            .iter()
            .find_map(|window| Some(window.cpu + window.offset(pci, size)?))
    }
}

/// What kind of address space a BAR is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Space {
    /// I/O ports.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere; the next BAR holds the upper half.
    Memory64,
}

/// A base address register.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bar {
    /// The address space.
    pub(crate) space: Space,
    /// Reads have no side effects.
    pub(crate) prefetchable: bool,
    /// Address on the PCI side; 0 if nobody assigned one, or if there is no such BAR.
    pub(crate) address: u64,
}

impl<C: Config> Function<'_, C> {
    /// Reads BAR `index` of a function that is no bridge.
    ///
    /// [`None`] above 5, for the upper half of the BAR before, and for reserved types.
    pub(crate) fn bar(&mut self, index: u8) -> Option<Bar> {
        let mut at = 0;
        while at < index.min(BARS) {
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

    /// Reads BAR `index`, knowing that it is not an upper half.
    fn bar_at(&mut self, index: u8) -> Option<Bar> {
        if index >= BARS {
            return None;
        }
        let low = self.read32(register(index));
        let (space, mask, upper) = match low & 7 {
            0 | 2 => (Space::Memory32, 0xf, 0),
            4 if index < BARS - 1 => (Space::Memory64, 0xf, self.read32(register(index + 1))),
            bits if bits & 1 == 1 => (Space::Io, 3, 0),
            _ => return None,
        };
        Some(Bar {
            space,
            prefetchable: space != Space::Io && low & 8 != 0,
            address: (u64::from(upper) << 32) | u64::from(low & !mask),
        })
    }

    /// Bytes that memory BAR `index` decodes, 0 if there is no such BAR.
    ///
    /// Decoding is off for the time of asking, and everything is put back.
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

    /// Writes an address to BAR `index`. Its type bits cannot be written.
    fn write_bar(&mut self, index: u8, space: Space, address: u64) {
        let [low, upper] = halves(address);
        self.write32(register(index), low);
        if space == Space::Memory64 {
            self.write32(register(index + 1), upper);
        }
    }
}

/// Where BAR `index` is in configuration space.
fn register(index: u8) -> u16 {
    BAR_0 + 4 * u16::from(index)
}

/// The lower and the upper 32 bits.
fn halves(address: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = address.to_le_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_le_bytes)
}

/// Why BARs could not be assigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoRoom {
    /// No window of the host bridge has so many bytes left.
    Window(u64),
    /// This bridge forwards something already, and that was not ours to choose.
    Bridge(Address),
}

impl fmt::Display for NoRoom {
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

/// A BAR that wants an address.
#[derive(Clone, Copy, Default)]
struct Want {
    index: u8,
    size: u64,
    /// It goes to a 64-bit window.
    high: bool,
}

/// A range of PCI addresses, not empty.
#[derive(Clone, Copy)]
struct Range {
    first: u64,
    size: u64,
}

/// Gives addresses to BARs that have none.
///
/// Lives as long as its host bridge is looked at, so that no address is given twice.
pub(crate) struct Allocator<'w> {
    windows: &'w Windows,
    /// Bytes taken from the top of each window.
    taken: [u64; Windows::MAX],
}

impl<'w> Allocator<'w> {
    /// Takes addresses from `windows`, all of which are free.
    pub(crate) fn new(windows: &'w Windows) -> Self {
        Self {
            windows,
            taken: [0; Windows::MAX],
        }
    }

    /// Assigns those memory BARs of the function `gpu` that are in none of the windows, and lets
    /// the bridges of `path` forward them. Gives the number of BARs assigned.
    ///
    /// A BAR that may be in a window which is not kept is left where it is.
    ///
    /// Decoding stays as it was: [`Function::enable`] the bridges and the function.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing has been changed then.
    pub(crate) fn assign(
        &mut self,
        config: &mut impl Config,
        gpu: Address,
        path: &Path,
    ) -> Result<u8, NoRoom> {
        let wide = path
            .as_slice()
            .iter()
            .all(|bridge| config.read32(*bridge, PREFETCHABLE) & 0xf == 1);
        let mut wants = [Want::default(); BARS as usize];
        let mut count = 0;
        for (index, free) in (0..BARS).zip(&mut wants) {
            let mut function = Function::new(config, gpu);
            let Some(bar) = function.bar(index) else {
                continue;
            };
            if bar.space == Space::Io || self.is_assigned(bar.address) {
                continue;
            }
            let size = function.bar_size(index);
            // Behind a bridge, only what is prefetchable can be above 4 GiB.
            let high = bar.space == Space::Memory64
                && (path.as_slice().is_empty() || wide && bar.prefetchable)
                && self.windows.as_slice().iter().any(|window| window.bits64);
            *free = Want { index, size, high };
            count += u8::from(size != 0);
        }
        if count == 0 {
            return Ok(0);
        }
        for bridge in path.as_slice() {
            if self.forwards(config, *bridge) {
                return Err(NoRoom::Bridge(*bridge));
            }
        }
        // The largest first: so each is aligned to its size if the first is.
        wants.sort_unstable_by_key(|want| core::cmp::Reverse(want.size));
        let unit = match path.as_slice() {
            [] => 1,
            _ => BRIDGE_UNIT,
        };
        let before = self.taken;
        let ranges = self
            .reserve(&wants, false, unit)
            .and_then(|low| Ok([low, self.reserve(&wants, true, unit)?]));
        let [low, high] = ranges.inspect_err(|_| self.taken = before)?;
        for bridge in path.as_slice() {
            forward(config, *bridge, low, high);
        }
        let mut function = Function::new(config, gpu);
        let command = function.command();
        function.set_command(command & !(COMMAND_IO | COMMAND_MEMORY));
        let mut next = [low, high].map(|range| range.map_or(0, |range| range.first));
        for want in wants.iter().filter(|want| want.size != 0) {
            let [low, high] = &mut next;
            let at = if want.high { high } else { low };
            let space = function
                .bar(want.index)
                .map_or(Space::Memory32, |bar| bar.space);
            function.write_bar(want.index, space, *at);
            *at += want.size;
        }
        function.set_command(command);
        Ok(count)
    }

    /// Says whether a BAR's address is one that somebody gave it. Zero is none, wherever windows
    /// begin.
    fn is_assigned(&self, pci: u64) -> bool {
        pci != 0 && self.may_hold(pci)
    }

    /// Says whether a PCI address is in one of the windows, or may be in one that is not kept.
    fn may_hold(&self, pci: u64) -> bool {
        let mut windows = self.windows.as_slice().iter();
        self.windows.has_more || windows.any(|window| window.offset(pci, 1).is_some())
    }

    /// Says whether a bridge forwards anything of the windows, or may do so.
    ///
    /// After a reset both registers are zero, which forwards the first MiB. Nobody chose that, even
    /// where a window begins at zero.
    fn forwards(&self, config: &mut impl Config, bridge: Address) -> bool {
        [MEMORY, PREFETCHABLE].into_iter().any(|register| {
            let pair = config.read32(bridge, register);
            let (mut base, mut limit) = (
                u64::from(pair & 0xfff0) << 16,
                u64::from(pair & 0xfff0_0000),
            );
            if register == PREFETCHABLE && pair & 0xf == 1 {
                base |= u64::from(config.read32(bridge, PREFETCHABLE_BASE_UPPER)) << 32;
                limit |= u64::from(config.read32(bridge, PREFETCHABLE_LIMIT_UPPER)) << 32;
            }
            (base, limit) != (0, 0) && base <= limit && self.may_hold(base)
        })
    }

    /// Takes one range for all that want a high (or a low) address, in multiples of `unit`.
    fn reserve(&mut self, wants: &[Want], high: bool, unit: u64) -> Result<Option<Range>, NoRoom> {
        let mut size = 0u64;
        let mut align = unit;
        for want in wants.iter().filter(|want| want.high == high) {
            size = size
                .checked_add(want.size)
                .ok_or(NoRoom::Window(want.size))?;
            align = align.max(want.size);
        }
        if size == 0 {
            return Ok(None);
        }
        let size = size
            .checked_next_multiple_of(unit)
            .ok_or(NoRoom::Window(size))?;
        for (window, taken) in self.windows.as_slice().iter().zip(&mut self.taken) {
            let below_4g = window.pci + window.size <= 1 << 32;
            if window.bits64 != high || !(high || below_4g) {
                continue;
            }
            let first = window
                .size
                .checked_sub(*taken)
                .and_then(|left| left.checked_sub(size))
                .map(|offset| (window.pci + offset) & !(align - 1))
                // A BAR at zero counts as one without an address.
                .filter(|first| *first >= window.pci && *first != 0);
            if let Some(first) = first {
                *taken = window.size - (first - window.pci);
                return Ok(Some(Range { first, size }));
            }
        }
        Err(NoRoom::Window(size))
    }
}

/// Makes a bridge forward these two ranges and no other memory.
fn forward(config: &mut impl Config, bridge: Address, low: Option<Range>, high: Option<Range>) {
    let pair = |first: u32, last: u32| (last & 0xfff0_0000) | ((first >> 16) & 0xfff0);
    let memory = low.map_or(CLOSED, |range| {
        let [first, _] = halves(range.first);
        let [last, _] = halves(range.first + range.size - 1);
        pair(first, last)
    });
    let (prefetchable, uppers) = high.map_or((CLOSED, [0, 0]), |range| {
        let [first, first_upper] = halves(range.first);
        let [last, last_upper] = halves(range.first + range.size - 1);
        (pair(first, last), [first_upper, last_upper])
    });
    let [base_upper, limit_upper] = uppers;
    config.write32(bridge, MEMORY, memory);
    config.write32(bridge, PREFETCHABLE, prefetchable);
    config.write32(bridge, PREFETCHABLE_BASE_UPPER, base_upper);
    config.write32(bridge, PREFETCHABLE_LIMIT_UPPER, limit_upper);
}
