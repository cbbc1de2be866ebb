// SPDX-License-Identifier: GPL-2.0

//! Enumeration: from a host bridge to the virtio-gpus, through all bridges (PCI-to-PCI Bridge 1.2,
//! 3.2.5).

use super::config::{
    Address,
    Config,
    Ecam,
    Function,
    HEADER_TYPE,
    ID,
    VIRTIO_GPU, //
};
use core::{
    fmt,
    ops::ControlFlow, //
};

/// Offset of a bridge's primary, secondary and subordinate bus number and latency timer, from the
/// lowest byte up.
const BUS_NUMBERS: u16 = 0x18;

/// The bridges that lead to a function, the one on the root bus first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Path {
    bridges: [Address; Self::MAX],
    count: usize,
}

impl Path {
    /// The highest number of bridges in a row.
    pub(crate) const MAX: usize = 8;

    /// Creates an empty path, that of a function on the root bus.
    pub(crate) const fn new() -> Self {
        Self {
            bridges: [Address { bus: 0, devfn: 0 }; Self::MAX],
            count: 0,
        }
    }

    /// Returns the bridges, the one on the root bus first.
    pub(crate) fn as_slice(&self) -> &[Address] {
        self.bridges.get(..self.count).unwrap_or_default()
    }

    /// Appends a bridge. Returns `false` if there are [`Self::MAX`] already.
    fn push(&mut self, bridge: Address) -> bool {
        match self.bridges.get_mut(self.count) {
            Some(free) => {
                *free = bridge;
                self.count += 1;
                true
            }
            None => false,
        }
    }

    /// Removes the last bridge and returns it.
    fn pop(&mut self) -> Option<Address> {
        self.count = self.count.checked_sub(1)?;
        self.bridges.get(self.count).copied()
    }
}

/// The policy for bridges without bus numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BusNumbers {
    /// Skip them and report them: firmware has enumerated the buses.
    Keep,
    /// Assign numbers: no firmware has run, as in a direct boot with a devicetree.
    Assign,
}

/// The reason why a bridge was skipped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BridgeError {
    /// It has no bus number.
    NoBusNumber,
    /// All bus numbers are in use.
    BusNumbersExhausted,
    /// Its secondary bus number is not above its primary one, or above the subordinate bus number
    /// of its parent.
    InvalidBus(u8),
    /// Another bridge has the same secondary bus number.
    DuplicateBus(u8),
    /// It is below [`Path::MAX`] other bridges.
    TooDeep,
}

impl fmt::Display for BridgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBusNumber => f.write_str("has no bus number from firmware"),
            Self::BusNumbersExhausted => f.write_str("cannot get a bus number: all are in use"),
            Self::InvalidBus(bus) => write!(f, "cannot lead to bus {bus:02x}"),
            Self::DuplicateBus(bus) => write!(f, "leads to bus {bus:02x} as another bridge does"),
            Self::TooDeep => write!(f, "is behind {} others", Path::MAX),
        }
    }
}

/// The result of an enumeration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Enumeration {
    /// The number of buses: those behind bridges, and those without a bridge that have a device.
    pub(crate) buses: u16,
    /// The number of functions that answered.
    pub(crate) functions: u16,
    /// The number of virtio-gpus among them.
    pub(crate) gpus: u16,
    /// The first bridge that was skipped, and the reason.
    pub(crate) skipped: Option<(Address, BridgeError)>,
}

/// Enumerates the functions behind a host bridge, and passes each virtio-gpu to `found` until that
/// returns [`ControlFlow::Break`].
///
/// `found` gets the address of the GPU and the bridges that lead to it. If no GPU was found, and
/// firmware has enumerated the buses, buses that no bridge leads to are enumerated as well: several
/// host bridges may share the window, as QEMU's `pxb-pcie` does. Each bus is enumerated once, so
/// that the loop ends whatever the bridges contain.
pub(crate) fn enumerate<C: Config>(
    config: &mut C,
    ecam: &Ecam,
    numbers: BusNumbers,
    mut found: impl FnMut(&mut C, Address, &Path) -> ControlFlow<()>,
) -> Enumeration {
    let mut enumerator = Enumerator {
        ecam: *ecam,
        numbers,
        visited: [0; 4],
        highest: ecam.first_bus,
        result: Enumeration::default(),
    };
    let mut flow = enumerator.enumerate_tree(config, ecam.first_bus, &mut found);
    for bus in ecam.first_bus..=ecam.last_bus {
        if numbers == BusNumbers::Assign || flow.is_break() || enumerator.result.gpus > 0 {
            break;
        }
        if !enumerator.is_visited(bus) && is_populated(config, bus) {
            flow = enumerator.enumerate_tree(config, bus, &mut found);
        }
    }
    enumerator.result
}

/// Finds the bridges that lead to `function`, an address from the command line, by their current
/// bus numbers. It accesses no bus above the function's own, since the window may end there. If a
/// bridge on bus 0 leads to the function, it accesses only the buses on the path.
///
/// If no bridge on bus 0 does, it looks for another root bus, up to the function's bus.
pub(crate) fn path_to(config: &mut impl Config, function: Address) -> Path {
    (0..=function.bus)
        .find_map(|root| path_from(config, root, function.bus))
        .unwrap_or_else(Path::new)
}

/// Returns the bridges from the bus `root` to the bus `to`, [`None`] if no bridges lead there.
fn path_from(config: &mut impl Config, root: u8, to: u8) -> Option<Path> {
    let mut path = Path::new();
    let mut bus = root;
    while bus != to {
        let (bridge, secondary) = bridge_on(config, bus, to)?;
        if !path.push(bridge) {
            return None;
        }
        bus = secondary;
    }
    Some(path)
}

/// Returns the bridge on `bus` that leads to the bus `to`, and its secondary bus number.
fn bridge_on(config: &mut impl Config, bus: u8, to: u8) -> Option<(Address, u8)> {
    let mut next = 0;
    while let Ok(devfn) = u8::try_from(next) {
        next += 1;
        let address = Address { bus, devfn };
        let is_found = is_present(config.read32(address, ID));
        let header = match is_found {
            true => Function::new(config, address).read8(HEADER_TYPE),
            false => 0,
        };
        if address.function() == 0 && header & 0x80 == 0 {
            // The device has no more functions.
            next = u16::from(devfn) + 8;
        }
        if header & 0x7f == 1 {
            let [_, secondary, last, _] = config.read32(address, BUS_NUMBERS).to_le_bytes();
            // Numbers only increase, so that the path ends.
            if secondary > bus && (secondary..=last).contains(&to) {
                return Some((address, secondary));
            }
        }
    }
    None
}

/// Returns whether any device on `bus` answers.
fn is_populated(config: &mut impl Config, bus: u8) -> bool {
    (0..32u8)
        .map(|device| Address {
            bus,
            devfn: device << 3,
        })
        .any(|address| is_present(config.read32(address, ID)))
}

/// Returns whether a function answered. No vendor has ID 0; some bridges return it.
fn is_present(id: u32) -> bool {
    !matches!(id & 0xffff, 0 | 0xffff)
}

/// A bus, and the position of the enumeration on it.
#[derive(Clone, Copy)]
struct BusScan {
    bus: u8,
    /// The highest bus number that may be behind it.
    last: u8,
    /// The next device and function number, 256 behind the last one.
    next: u16,
    /// The numbers of its bridge were assigned here, and the subordinate bus number is not known
    /// yet.
    needs_subordinate: bool,
}

/// The state of an enumeration.
struct Enumerator {
    ecam: Ecam,
    numbers: BusNumbers,
    /// One bit for each bus that was visited.
    visited: [u64; 4],
    /// The highest bus number in use.
    highest: u8,
    result: Enumeration,
}

impl Enumerator {
    /// Returns whether `bus` was visited.
    fn is_visited(&self, bus: u8) -> bool {
        self.visited
            .get(usize::from(bus >> 6))
            .is_none_or(|word| (word >> (bus & 63)) & 1 != 0)
    }

    /// Marks a bus as visited. Returns `false` if it was visited before.
    fn visit(&mut self, bus: u8) -> bool {
        if self.is_visited(bus) {
            return false;
        }
        if let Some(word) = self.visited.get_mut(usize::from(bus >> 6)) {
            *word |= 1 << (bus & 63);
        }
        self.highest = self.highest.max(bus);
        self.result.buses += 1;
        true
    }

    /// Enumerates the tree of buses below `bus`, depth first, without recursion.
    fn enumerate_tree<C: Config>(
        &mut self,
        config: &mut C,
        bus: u8,
        found: &mut impl FnMut(&mut C, Address, &Path) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut path = Path::new();
        let mut above = [None::<BusScan>; Path::MAX];
        let mut flow = ControlFlow::Continue(());
        let mut scan = BusScan {
            bus,
            last: self.ecam.last_bus,
            next: 0,
            needs_subordinate: false,
        };
        self.visit(bus);
        loop {
            let Ok(devfn) = u8::try_from(scan.next) else {
                // This bus is complete: continue on its parent.
                let Some(bridge) = path.pop() else {
                    return flow;
                };
                if scan.needs_subordinate {
                    set_subordinate(config, bridge, self.highest);
                }
                let Some(parent) = above.get_mut(path.count).and_then(Option::take) else {
                    return flow;
                };
                scan = parent;
                continue;
            };
            if flow.is_break() {
                // Visit nothing more, but assign the subordinate bus numbers that are missing.
                scan.next = 256;
                continue;
            }
            scan.next += 1;
            let address = Address {
                bus: scan.bus,
                devfn,
            };
            let id = config.read32(address, ID);
            if !is_present(id) {
                if address.function() == 0 {
                    scan.next = u16::from(devfn) + 8;
                }
                continue;
            }
            self.result.functions = self.result.functions.saturating_add(1);
            let header = Function::new(config, address).read8(HEADER_TYPE);
            if address.function() == 0 && header & 0x80 == 0 {
                scan.next = u16::from(devfn) + 8;
            }
            match header & 0x7f {
                0 if id == VIRTIO_GPU => {
                    self.result.gpus = self.result.gpus.saturating_add(1);
                    flow = found(config, address, &path);
                }
                1 => match self.enter_bridge(config, address, &scan, path.count) {
                    Ok(child) => {
                        if let Some(parent) = above.get_mut(path.count) {
                            *parent = Some(scan);
                        }
                        path.push(address);
                        scan = child;
                    }
                    Err(error) => {
                        self.result.skipped.get_or_insert((address, error));
                    }
                },
                _ => {}
            }
        }
    }

    /// Checks or assigns the bus numbers of `bridge`, a bridge on the bus of `scan` below `depth`
    /// others. Returns its secondary bus.
    ///
    /// # Errors
    ///
    /// [`BridgeError`] if the bridge has to be skipped.
    fn enter_bridge(
        &mut self,
        config: &mut impl Config,
        bridge: Address,
        scan: &BusScan,
        depth: usize,
    ) -> Result<BusScan, BridgeError> {
        if depth >= Path::MAX {
            return Err(BridgeError::TooDeep);
        }
        let numbers = config.read32(bridge, BUS_NUMBERS);
        let [_, mut secondary, mut last, latency] = numbers.to_le_bytes();
        let needs_subordinate = secondary == 0;
        if needs_subordinate {
            if self.numbers == BusNumbers::Keep {
                return Err(BridgeError::NoBusNumber);
            }
            secondary = self
                .highest
                .checked_add(1)
                .filter(|next| *next <= scan.last)
                .ok_or(BridgeError::BusNumbersExhausted)?;
            // The final number is set when everything behind the bridge has been counted.
            last = scan.last;
        }
        if secondary <= scan.bus || secondary > scan.last || last < secondary {
            return Err(BridgeError::InvalidBus(secondary));
        }
        if !self.visit(secondary) {
            return Err(BridgeError::DuplicateBus(secondary));
        }
        if needs_subordinate {
            let numbers = u32::from_le_bytes([scan.bus, secondary, last, latency]);
            config.write32(bridge, BUS_NUMBERS, numbers);
        } else {
            last = last.min(scan.last);
            self.highest = self.highest.max(last);
        }
        Ok(BusScan {
            bus: secondary,
            last,
            next: 0,
            needs_subordinate,
        })
    }
}

/// Writes the subordinate bus number of a bridge.
fn set_subordinate(config: &mut impl Config, bridge: Address, last: u8) {
    let [primary, secondary, _, latency] = config.read32(bridge, BUS_NUMBERS).to_le_bytes();
    let numbers = u32::from_le_bytes([primary, secondary, last, latency]);
    config.write32(bridge, BUS_NUMBERS, numbers);
}
