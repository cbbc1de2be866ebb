// SPDX-License-Identifier: GPL-2.0

//! From a host bridge to the GPU, through every bridge between (PCI-to-PCI Bridge 1.2, 3.2.5).

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

/// A bridge's latency timer, subordinate, secondary and primary bus, from the top byte down.
const BUS_NUMBERS: u16 = 0x18;

/// The bridges that lead to a function, from the host bridge down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Path {
    bridges: [Address; Self::MAX],
    count: usize,
}

impl Path {
    /// So many bridges in a row are followed, no more.
    pub(crate) const MAX: usize = 8;

    /// No bridges: the host bridge's own bus.
    pub(crate) const fn new() -> Self {
        Self {
            bridges: [Address { bus: 0, devfn: 0 }; Self::MAX],
            count: 0,
        }
    }

    /// The bridges, the one next to the host bridge first.
    pub(crate) fn as_slice(&self) -> &[Address] {
        self.bridges.get(..self.count).unwrap_or_default()
    }

    /// Adds a bridge below the others; `false` if there are too many.
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

    /// Takes the lowest bridge off.
    fn pop(&mut self) -> Option<Address> {
        self.count = self.count.checked_sub(1)?;
        self.bridges.get(self.count).copied()
    }
}

/// What to do about bridges that nobody gave a bus number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Numbers {
    /// Leave them alone and say so: firmware has been here.
    Keep,
    /// Number them: nobody has been here, as in a direct boot with a devicetree.
    Assign,
}

/// Why a bridge was not followed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Trouble {
    /// Nobody gave it a bus number.
    Unnumbered,
    /// All bus numbers are in use.
    NoNumberLeft,
    /// Its secondary bus is not above its own, or beyond the last bus of what is above it.
    Misnumbered(u8),
    /// Its secondary bus is another bridge's too.
    Twice(u8),
    /// It is below [`Path::MAX`] others.
    TooDeep,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unnumbered => f.write_str("has no bus number from firmware"),
            Self::NoNumberLeft => f.write_str("cannot get a bus number: all are in use"),
            Self::Misnumbered(bus) => write!(f, "cannot lead to bus {bus:02x}"),
            Self::Twice(bus) => write!(f, "leads to bus {bus:02x} as another bridge does"),
            Self::TooDeep => write!(f, "is behind {} others", Path::MAX),
        }
    }
}

/// What a walk met.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Walk {
    /// Buses that a bridge leads to, and those on which something was found without one.
    pub(crate) buses: u16,
    /// Functions that answered.
    pub(crate) functions: u16,
    /// GPUs among them.
    pub(crate) gpus: u16,
    /// The first bridge that was not followed.
    pub(crate) trouble: Option<(Address, Trouble)>,
}

/// Looks for virtio-gpus behind a host bridge and hands each to `found`, until that breaks.
///
/// `found` gets the GPU's address and the bridges that lead to it. If there was none, and firmware
/// has been here, buses that no bridge leads to are looked at, too: more host bridges may share the
/// window, as QEMU's `pxb-pcie` does. Each bus is looked at once, so the walk ends whatever the
/// bridges say.
pub(crate) fn find<C: Config>(
    config: &mut C,
    ecam: &Ecam,
    numbers: Numbers,
    mut found: impl FnMut(&mut C, Address, &Path) -> ControlFlow<()>,
) -> Walk {
    let mut walker = Walker {
        ecam: *ecam,
        numbers,
        seen: [0; 4],
        highest: ecam.first_bus,
        walk: Walk::default(),
    };
    let mut flow = walker.tree(config, ecam.first_bus, &mut found);
    for bus in ecam.first_bus..=ecam.last_bus {
        if numbers == Numbers::Assign || flow.is_break() || walker.walk.gpus > 0 {
            break;
        }
        if !walker.is_seen(bus) && is_populated(config, bus) {
            flow = walker.tree(config, bus, &mut found);
        }
    }
    walker.walk
}

/// Finds the bridges that lead to a function whose address somebody gave, by the numbers that they
/// have. No bus is touched that is above the function's own, since nobody says that the window goes
/// on there, and none beside the way if a bridge on bus 0 leads to it.
///
/// If none does, a host bridge of its own is looked for, on the buses up to the function's.
pub(crate) fn path_to(config: &mut impl Config, function: Address) -> Path {
    (0..=function.bus)
        .find_map(|root| path_from(config, root, function.bus))
        .unwrap_or_else(Path::new)
}

/// The bridges from `root` to the bus `to`; [`None`] if they do not lead there.
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

/// The bridge on `bus` behind which the bus `to` is, and the bus right behind it.
fn bridge_on(config: &mut impl Config, bus: u8, to: u8) -> Option<(Address, u8)> {
    let mut next = 0;
    while let Ok(devfn) = u8::try_from(next) {
        next += 1;
        let address = Address { bus, devfn };
        let is_there = is_present(config.read32(address, ID));
        let header = match is_there {
            true => Function::new(config, address).read8(HEADER_TYPE),
            false => 0,
        };
        if address.function() == 0 && header & 0x80 == 0 {
            // The device has no more functions.
            next = u16::from(devfn) + 8;
        }
        if header & 0x7f == 1 {
            let [_, secondary, last, _] = config.read32(address, BUS_NUMBERS).to_le_bytes();
            // Upwards, so that the way has an end.
            if secondary > bus && (secondary..=last).contains(&to) {
                return Some((address, secondary));
            }
        }
    }
    None
}

/// Whether any device of `bus` answers.
fn is_populated(config: &mut impl Config, bus: u8) -> bool {
    (0..32u8)
        .map(|device| Address {
            bus,
            devfn: device << 3,
        })
        .any(|address| is_present(config.read32(address, ID)))
}

/// Whether a function answered. A vendor id of zero is no vendor's; some bridges give it.
fn is_present(id: u32) -> bool {
    !matches!(id & 0xffff, 0 | 0xffff)
}

/// A bus whose functions are being looked at.
#[derive(Clone, Copy)]
struct Level {
    bus: u8,
    /// The last bus that may be below it.
    last: u8,
    /// The next function, 256 after the last.
    next: u16,
    /// The bridge above it got its numbers from us, and its last bus is not known yet.
    open: bool,
}

/// A walk under way.
struct Walker {
    ecam: Ecam,
    numbers: Numbers,
    /// One bit for each bus that was looked at.
    seen: [u64; 4],
    /// The highest bus number in use.
    highest: u8,
    walk: Walk,
}

impl Walker {
    /// Whether `bus` was looked at.
    fn is_seen(&self, bus: u8) -> bool {
        self.seen
            .get(usize::from(bus >> 6))
            .is_none_or(|word| (word >> (bus & 63)) & 1 != 0)
    }

    /// Takes note of a bus; `false` if it was noted before.
    fn see(&mut self, bus: u8) -> bool {
        if self.is_seen(bus) {
            return false;
        }
        if let Some(word) = self.seen.get_mut(usize::from(bus >> 6)) {
            *word |= 1 << (bus & 63);
        }
        self.highest = self.highest.max(bus);
        self.walk.buses += 1;
        true
    }

    /// Walks the tree whose root is `bus`, depth first, without recursion.
    fn tree<C: Config>(
        &mut self,
        config: &mut C,
        bus: u8,
        found: &mut impl FnMut(&mut C, Address, &Path) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut path = Path::new();
        let mut above = [None::<Level>; Path::MAX];
        let mut flow = ControlFlow::Continue(());
        let mut level = Level {
            bus,
            last: self.ecam.last_bus,
            next: 0,
            open: false,
        };
        self.see(bus);
        loop {
            let Ok(devfn) = u8::try_from(level.next) else {
                // This bus is done: go on where the one above was left.
                let Some(bridge) = path.pop() else {
                    return flow;
                };
                if level.open {
                    close(config, bridge, self.highest);
                }
                let Some(parent) = above.get_mut(path.count).and_then(Option::take) else {
                    return flow;
                };
                level = parent;
                continue;
            };
            if flow.is_break() {
                // Look at nothing more, but do not leave bridges open.
                level.next = 256;
                continue;
            }
            level.next += 1;
            let address = Address {
                bus: level.bus,
                devfn,
            };
            let id = config.read32(address, ID);
            if !is_present(id) {
                if address.function() == 0 {
                    level.next = u16::from(devfn) + 8;
                }
                continue;
            }
            self.walk.functions = self.walk.functions.saturating_add(1);
            let header = Function::new(config, address).read8(HEADER_TYPE);
            if address.function() == 0 && header & 0x80 == 0 {
                level.next = u16::from(devfn) + 8;
            }
            match header & 0x7f {
                0 if id == VIRTIO_GPU => {
                    self.walk.gpus = self.walk.gpus.saturating_add(1);
                    flow = found(config, address, &path);
                }
                1 => match self.below(config, address, &level, path.count) {
                    Ok(child) => {
                        if let Some(place) = above.get_mut(path.count) {
                            *place = Some(level);
                        }
                        path.push(address);
                        level = child;
                    }
                    Err(trouble) => {
                        self.walk.trouble.get_or_insert((address, trouble));
                    }
                },
                _ => {}
            }
        }
    }

    /// The bus below `bridge`, which is on `level` below `depth` other bridges.
    fn below(
        &mut self,
        config: &mut impl Config,
        bridge: Address,
        level: &Level,
        depth: usize,
    ) -> Result<Level, Trouble> {
        if depth >= Path::MAX {
            return Err(Trouble::TooDeep);
        }
        let numbers = config.read32(bridge, BUS_NUMBERS);
        let [_, mut secondary, mut last, latency] = numbers.to_le_bytes();
        let open = secondary == 0;
        if open {
            if self.numbers == Numbers::Keep {
                return Err(Trouble::Unnumbered);
            }
            secondary = self
                .highest
                .checked_add(1)
                .filter(|next| *next <= level.last)
                .ok_or(Trouble::NoNumberLeft)?;
            // Everything is below it until what is there has been counted.
            last = level.last;
        }
        if secondary <= level.bus || secondary > level.last || last < secondary {
            return Err(Trouble::Misnumbered(secondary));
        }
        if !self.see(secondary) {
            return Err(Trouble::Twice(secondary));
        }
        if open {
            let numbers = u32::from_le_bytes([level.bus, secondary, last, latency]);
            config.write32(bridge, BUS_NUMBERS, numbers);
        } else {
            last = last.min(level.last);
            self.highest = self.highest.max(last);
        }
        Ok(Level {
            bus: secondary,
            last,
            next: 0,
            open,
        })
    }
}

/// Tells a bridge which bus is the last below it.
fn close(config: &mut impl Config, bridge: Address, last: u8) {
    let [primary, secondary, _, latency] = config.read32(bridge, BUS_NUMBERS).to_le_bytes();
    let numbers = u32::from_le_bytes([primary, secondary, last, latency]);
    config.write32(bridge, BUS_NUMBERS, numbers);
}
