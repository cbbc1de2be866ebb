// SPDX-License-Identifier: GPL-2.0

//! PCI addresses and configuration space (PCI 3.0, chapter 6; PCI Express 5.0, chapter 7).

use core::{
    fmt,
    str::FromStr, //
};

/// Virtio's vendor id with the device id of a GPU (virtio 1.3, 4.1.2: 0x1040 + 16). The ids from
/// 0x1000 to 0x103f are those of transitional devices; there never was such a GPU.
pub(crate) const VIRTIO_GPU: u32 = 0x1050_1af4;

/// Vendor and device id, one register.
pub(super) const ID: u16 = 0x00;
/// Command and status register.
pub(super) const COMMAND: u16 = 0x04;
/// The byte that says what kind of header this is, and whether the device has more functions.
pub(super) const HEADER_TYPE: u16 = 0x0e;

/// Command: decode I/O.
pub(super) const COMMAND_IO: u16 = 1 << 0;
/// Command: decode memory.
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: master the bus; in a bridge, forward what those behind it master.
pub(super) const COMMAND_MASTER: u16 = 1 << 2;
/// No INTx interrupts.
const COMMAND_INTX_DISABLE: u16 = 1 << 10;

/// Where a function is: bus, device and function, `bus:device.function` in hexadecimal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    pub(super) bus: u8,
    pub(super) devfn: u8,
}

impl Address {
    /// Makes an address; [`None`] if `device` is above 31 or `function` above 7.
    pub(crate) const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self {
            bus,
            devfn: (device << 3) | function,
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

/// The number of a segment group, and who says it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// Nobody.
    Unknown,
    /// ACPI's MCFG: firmware numbers its segments so, and Linux its domains.
    Mcfg(u16),
    /// The devicetree, by `linux,pci-domain`: Linux numbers its domains so. Where that is not said,
    /// Linux takes any number that is free. Firmware has numbers of its own.
    Devicetree(u16),
}

impl Segment {
    /// Says whether it may be the one that firmware calls `number`.
    pub(crate) fn agrees_with_firmware(self, number: u16) -> bool {
        match self {
            Self::Mcfg(own) => own == number,
            Self::Devicetree(_) | Self::Unknown => true,
        }
    }

    /// Says whether it may be Linux' domain `number`.
    pub(crate) fn agrees_with_linux(self, number: i32) -> bool {
        match self {
            Self::Mcfg(own) | Self::Devicetree(own) => i32::from(own) == number,
            Self::Unknown => true,
        }
    }
}

/// A host bridge's window into configuration space (PCI Express 5.0, 7.2.2): 4 KiB for each
/// function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ecam {
    /// Physical address of the configuration space of `first_bus`.
    pub(crate) base: u64,
    /// The segment group.
    pub(crate) segment: Segment,
    /// The host bridge's own bus.
    pub(crate) first_bus: u8,
    /// The last bus that can be behind it.
    pub(crate) last_bus: u8,
}

impl Ecam {
    /// Bytes of configuration space of one bus.
    pub(crate) const OF_ONE_BUS: u64 = 1 << 20;

    /// Makes one; [`None`] if `base` is not aligned, `last_bus` is before `first_bus` or the
    /// addresses wrap around.
    pub(crate) fn new(base: u64, segment: Segment, first_bus: u8, last_bus: u8) -> Option<Self> {
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

    /// Bytes of the window. Cannot overflow: it has 256 buses at most.
    pub(crate) fn size(&self) -> u64 {
        let above_first = self.last_bus.saturating_sub(self.first_bus);
        (u64::from(above_first) + 1) * Self::OF_ONE_BUS
    }

    /// Physical address of the 4 KiB of a function; [`None`] for a bus that is not in the window.
    pub(crate) fn place(&self, function: Address) -> Option<u64> {
        if function.bus > self.last_bus {
            return None;
        }
        let bus = function.bus.checked_sub(self.first_bus)?;
        Some(self.base + ((u64::from(bus) << 20) | (u64::from(function.devfn) << 12)))
    }
}

/// Access to configuration space.
pub(crate) trait Config {
    /// Reads the 32 bits at `offset`, a multiple of 4 below 4096. Where no function is, all are
    /// ones.
    fn read32(&mut self, function: Address, offset: u16) -> u32;

    /// Writes the 32 bits at `offset`, a multiple of 4 below 4096.
    fn write32(&mut self, function: Address, offset: u16, value: u32);
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

    /// Reads 8 bits at `offset`, below 4096.
    pub(crate) fn read8(&mut self, offset: u16) -> u8 {
        let [low, high] = self.read16(offset & !1).to_le_bytes();
        if offset & 1 == 0 {
            low
        } else {
            high
        }
    }

    /// Reads 16 bits at `offset`, a multiple of 2 below 4096.
    pub(crate) fn read16(&mut self, offset: u16) -> u16 {
        let [a, b, c, d] = self.read32(offset & !3).to_le_bytes();
        u16::from_le_bytes(if offset & 2 == 0 { [a, b] } else { [c, d] })
    }

    /// Reads 32 bits at `offset`, a multiple of 4 below 4096.
    pub(crate) fn read32(&mut self, offset: u16) -> u32 {
        self.config.read32(self.address, offset)
    }

    /// Writes 32 bits at `offset`, a multiple of 4 below 4096.
    pub(crate) fn write32(&mut self, offset: u16, value: u32) {
        self.config.write32(self.address, offset, value);
    }

    /// Reads the command register.
    pub(crate) fn command(&mut self) -> u16 {
        self.read16(COMMAND)
    }

    /// Writes the command register.
    pub(crate) fn set_command(&mut self, command: u16) {
        // The status register in the upper half clears where ones are written.
        self.write32(COMMAND, command.into());
    }

    /// Clears bits of the command register, and then sets some. Gives it as it was.
    fn change_command(&mut self, clear: u16, set: u16) -> u16 {
        let command = self.command();
        self.set_command(command & !clear | set);
        command
    }

    /// Lets a bridge forward accesses to memory, in both directions.
    pub(crate) fn enable(&mut self) {
        self.change_command(0, COMMAND_MEMORY | COMMAND_MASTER);
    }

    /// Lets the function decode memory. Gives the command register as it was, for
    /// [`Self::disable`] to put back.
    pub(crate) fn enable_memory(&mut self) -> u16 {
        self.change_command(0, COMMAND_MEMORY)
    }

    /// Lets the function master the bus.
    pub(crate) fn enable_master(&mut self) {
        self.change_command(0, COMMAND_MASTER);
    }

    /// Takes the bus from the function. QEMU has a device in a process of its own (vhost-user) stop
    /// by this: such a device answers a reset of a queue, but its process is not told of it.
    pub(crate) fn end_mastering(&mut self) {
        self.change_command(COMMAND_MASTER, 0);
    }

    /// Puts the command register back as [`Self::enable_memory`] gave it, without mastering the
    /// bus: what the function was told of is not its any more.
    pub(crate) fn disable(&mut self, command: u16) {
        self.set_command(command & !COMMAND_MASTER);
    }

    /// Keeps the function from raising INTx interrupts, which nobody serves: its queues are polled.
    pub(crate) fn disable_interrupts(&mut self) {
        self.change_command(0, COMMAND_INTX_DISABLE);
    }
}
