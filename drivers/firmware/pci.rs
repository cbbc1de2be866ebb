// SPDX-License-Identifier: GPL-2.0

//! From a PCI host bridge to the GPU (PCI 3.0, chapter 6; PCI-to-PCI Bridge 1.2, chapter 3; PCI Express 5.0, chapter 7).

use core::{
    fmt,
    ops::ControlFlow,
    str::FromStr, //
};

/// Where a function is: bus, device and function, `bus:device.function` in hexadecimal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    bus: u8,
    devfn: u8,
}

impl Address {
    /// Makes an address; [`None`] if `device` is above 31 or `function` above 7.
    pub(crate) const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self {
            bus,
            devfn: device << 3 | function,
        })
    }

    /// The bus, 0 to 255.
    pub(crate) const fn bus(self) -> u8 {
        self.bus
    }

    /// The device on its bus, 0 to 31.
    pub(crate) const fn device(self) -> u8 {
        self.devfn >> 3
    }

    /// The function of its device, 0 to 7.
    pub(crate) const fn function(self) -> u8 {
        self.devfn & 7
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:02x}:{:02x}.{}",
            self.bus,
            self.device(),
            self.function()
        )
    }
}

/// A text that is no [`Address`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadAddress;

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no bus:device.function such as 00:01.0")
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        /// One or two hexadecimal digits: `from_str_radix` alone would take a sign.
        fn number(text: &str) -> Option<u8> {
            if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || text.len() > 2 {
                return None;
            }
            u8::from_str_radix(text, 16).ok()
        }
        let (bus, rest) = text.split_once(':').ok_or(BadAddress)?;
        let (device, function) = rest.split_once('.').ok_or(BadAddress)?;
        number(bus)
            .zip(number(device))
            .zip(number(function))
            .and_then(|((bus, device), function)| Self::new(bus, device, function))
            .ok_or(BadAddress)
    }
}

/// A host bridge's window into configuration space (PCI Express 5.0, 7.2.2): 4 KiB for each function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ecam {
    /// Physical address of the configuration space of `first_bus`.
    pub(crate) base: u64,
    /// The segment group.
    pub(crate) segment: u16,
    /// The host bridge's own bus.
    pub(crate) first_bus: u8,
    /// The last bus that can be behind it.
    pub(crate) last_bus: u8,
}

impl Ecam {
    /// Bytes of configuration space of one bus.
    pub(crate) const OF_ONE_BUS: u64 = 1 << 20;

    /// Makes one; [`None`] if `base` is not aligned, `last_bus` is before `first_bus` or the addresses wrap around.
    pub(crate) fn new(base: u64, segment: u16, first_bus: u8, last_bus: u8) -> Option<Self> {
        let buses = u64::from(last_bus.checked_sub(first_bus)?) + 1;
        if base % Self::OF_ONE_BUS != 0 {
            return None;
        }
        base.checked_add(buses * Self::OF_ONE_BUS - 1)?;
        Some(Self {
            base,
            segment,
            first_bus,
            last_bus,
        })
    }

    /// Physical address of the 4 KiB of a function; [`None`] for a bus that is not in the window.
    pub(crate) fn place(&self, function: Address) -> Option<u64> {
        if function.bus > self.last_bus {
            return None;
        }
        let bus = function.bus.checked_sub(self.first_bus)?;
        Some(self.base + (u64::from(bus) << 20 | u64::from(function.devfn) << 12))
    }
}

/// Access to configuration space.
pub(crate) trait Config {
    /// Reads the 32 bits at `offset`, a multiple of 4 below 4096. Where no function is, all are ones.
    fn read32(&mut self, function: Address, offset: u16) -> u32;

    /// Writes the 32 bits at `offset`, a multiple of 4 below 4096.
    fn write32(&mut self, function: Address, offset: u16, value: u32);
}

/// A range of addresses that a host bridge forwards to PCI.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Window {
    /// First address on the PCI side.
    pub(crate) pci: u64,
    /// The same as the CPU sees it.
    pub(crate) cpu: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// The range may be prefetched.
    pub(crate) prefetchable: bool,
    /// The range is for BARs of 64 bits.
    pub(crate) bits64: bool,
}

/// The memory windows of one host bridge, up to four. None at all means what ACPI boots take for granted: PCI addresses
/// are CPU addresses, and firmware has assigned the BARs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Windows {
    windows: [Window; 4],
    count: usize,
}

impl Windows {
    /// Adds a window; `false` if there is no room for a fifth.
    pub(crate) fn push(&mut self, window: Window) -> bool {
        let _ = window;
        false
    }

    /// The windows, in the order they were given.
    pub(crate) fn as_slice(&self) -> &[Window] {
        self.windows.get(..self.count).unwrap_or_default()
    }

    /// CPU address of `size` bytes at a PCI address; [`None`] if no window holds all of them.
    pub(crate) fn cpu(&self, pci: u64, size: u64) -> Option<u64> {
        let _ = size;
        Some(pci)
    }
}

/// The bridges that lead to a function, from the host bridge down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Path {
    bridges: [Address; Self::MAX],
    count: usize,
}

impl Path {
    /// So many bridges in a row are followed, no more.
    pub(crate) const MAX: usize = 8;

    /// The bridges, the one next to the host bridge first.
    pub(crate) fn as_slice(&self) -> &[Address] {
        self.bridges.get(..self.count).unwrap_or_default()
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
    /// Its secondary bus is not above its own, not below its parent's last, or beyond the host bridge's.
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
            Self::NoNumberLeft => f.write_str("cannot get a bus number, all are in use"),
            Self::Misnumbered(bus) => write!(f, "cannot lead to bus {bus:02x}"),
            Self::Twice(bus) => write!(f, "leads to bus {bus:02x} as another bridge does"),
            Self::TooDeep => write!(f, "is behind {} others", Path::MAX),
        }
    }
}

/// What a walk met.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Walk {
    /// Buses that were looked at.
    pub(crate) buses: u16,
    /// Functions that answered.
    pub(crate) functions: u16,
    /// GPUs among them.
    pub(crate) gpus: u16,
    /// The first bridge that was not followed.
    pub(crate) trouble: Option<(Address, Trouble)>,
}

/// Looks for virtio-gpus on every bus behind a host bridge and hands each to `found`, until that breaks.
///
/// `found` gets the GPU's address and the bridges before it.
pub(crate) fn find<C: Config>(
    config: &mut C,
    ecam: &Ecam,
    numbers: Numbers,
    mut found: impl FnMut(&mut C, Address, &Path) -> ControlFlow<()>,
) -> Walk {
    let _ = (config, ecam, numbers, &mut found);
    Walk::default()
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

/// A base address register (PCI 3.0, 6.2.5.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Bar {
    /// The address space.
    pub(crate) space: Space,
    /// Reads have no side effects.
    pub(crate) prefetchable: bool,
    /// Address on the PCI side; 0 if nobody assigned one (or there is no such BAR: see [`Function::bar_size`]).
    pub(crate) address: u64,
}

/// Why BARs could not be assigned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NoRoom {
    /// No window of the host bridge can hold so many bytes.
    Window(u64),
    /// This bridge is in the way: it forwards a range already, which was not ours to choose.
    Bridge(Address),
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(size) => write!(
                f,
                "no window of the host bridge has {size:#x} bytes for its BARs"
            ),
            Self::Bridge(at) => write!(
                f,
                "its BARs have no address and bridge {at} is set up already"
            ),
        }
    }
}

/// One function's configuration space.
pub(crate) struct Function<'c, C> {
    config: &'c mut C,
    address: Address,
}

impl<'c, C: Config> Function<'c, C> {
    /// The function at `address`, whether there is one or not.
    pub(crate) fn new(config: &'c mut C, address: Address) -> Self {
        Self { config, address }
    }

    /// Reads 8 bits at `offset`.
    pub(crate) fn read8(&mut self, offset: u16) -> u8 {
        let _ = offset;
        0
    }

    /// Reads 16 bits at `offset`, a multiple of 2.
    pub(crate) fn read16(&mut self, offset: u16) -> u16 {
        let _ = offset;
        0
    }

    /// Reads 32 bits at `offset`, a multiple of 4.
    pub(crate) fn read32(&mut self, offset: u16) -> u32 {
        self.config.read32(self.address, offset)
    }

    /// Lets the function (or what is behind the bridge) decode memory and master the bus. Gives the command register
    /// as it was, for [`Self::set_command`].
    pub(crate) fn enable(&mut self) -> u16 {
        0
    }

    /// Writes the command register.
    pub(crate) fn set_command(&mut self, command: u16) {
        let _ = command;
    }

    /// Reads BAR `index`; [`None`] above 5 or for the upper half of nothing.
    pub(crate) fn bar(&mut self, index: u8) -> Option<Bar> {
        let _ = index;
        None
    }

    /// Bytes that BAR `index` decodes, 0 if there is no such BAR. Decoding is off for the time of asking.
    pub(crate) fn bar_size(&mut self, index: u8) -> u64 {
        let _ = index;
        0
    }
}

/// Gives addresses to BARs that have none. Lives as long as its host bridge is in use, so that it gives none twice.
pub(crate) struct Allocator<'w> {
    windows: &'w Windows,
    taken: [u64; 4],
}

impl<'w> Allocator<'w> {
    /// All of `windows` is free.
    pub(crate) fn new(windows: &'w Windows) -> Self {
        Self {
            windows,
            taken: [0; 4],
        }
    }

    /// Assigns those memory BARs of `gpu` that are outside of every window, and lets the bridges of `path` forward
    /// them. Gives the number of BARs assigned.
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
        let _ = (config, gpu, path, self.windows, self.taken);
        Ok(0)
    }
}
