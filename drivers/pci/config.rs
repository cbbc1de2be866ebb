// SPDX-License-Identifier: GPL-2.0

//! PCI addresses and configuration space (PCI 3.0, chapter 6; PCI Express 5.0, chapter 7).

use core::{
    fmt,
    str::FromStr, //
};

/// Vendor and device ID of a virtio-gpu, as one register has them (virtio 1.3, 4.1.2: 0x1040 + 16).
/// The IDs from 0x1000 to 0x103f belong to transitional devices; no virtio-gpu ever had one.
pub(crate) const VIRTIO_GPU: u32 = 0x1050_1af4;

/// Offset of the vendor ID and the device ID, one register.
pub(super) const ID: u16 = 0x00;
/// Offset of the command register and the status register.
pub(super) const COMMAND: u16 = 0x04;
/// Offset of the header type: the layout of the header, and whether the device has more functions.
pub(super) const HEADER_TYPE: u16 = 0x0e;

/// Command register: I/O space enable.
pub(super) const COMMAND_IO: u16 = 1 << 0;
/// Command register: memory space enable.
pub(super) const COMMAND_MEMORY: u16 = 1 << 1;
/// Command register: bus master enable. In a bridge, it forwards the requests of the devices behind
/// the bridge.
pub(super) const COMMAND_MASTER: u16 = 1 << 2;
/// Command register: interrupt disable (INTx).
const COMMAND_INTX_DISABLE: u16 = 1 << 10;

/// The address of a PCI function: bus, device and function, printed as `bus:device.function` in
/// hexadecimal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Address {
    pub(super) bus: u8,
    pub(super) devfn: u8,
}

impl Address {
    /// Creates an address. Returns [`None`] if `device` is above 31 or `function` is above 7.
    pub(crate) const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self {
            bus,
            devfn: (device << 3) | function,
        })
    }

    /// Returns the bus number, 0 to 255.
    pub(crate) const fn bus(self) -> u8 {
        self.bus
    }

    /// Returns the device number, 0 to 31.
    pub(crate) const fn device(self) -> u8 {
        self.devfn >> 3
    }

    /// Returns the function number, 0 to 7.
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

/// The error for a string that is no [`Address`].
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
        /// Parses one or two hexadecimal digits. `from_str_radix` alone would accept a sign.
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

/// The number of a PCI segment group, and its source.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Segment {
    /// No source gives the number.
    Unknown,
    /// ACPI's MCFG gives it. Firmware uses the same number for the segment, and Linux for the
    /// domain.
    Mcfg(u16),
    /// The devicetree gives it, as `linux,pci-domain`. Linux uses it as the domain. Without this
    /// property, Linux takes any free number. Firmware numbers its segments independently.
    Devicetree(u16),
}

impl Segment {
    /// Returns whether this may be the segment that firmware calls `number`.
    pub(crate) fn matches_firmware(self, number: u16) -> bool {
        match self {
            Self::Mcfg(own) => own == number,
            Self::Devicetree(_) | Self::Unknown => true,
        }
    }

    /// Returns whether this may be the domain that Linux calls `number`.
    pub(crate) fn matches_linux(self, number: i32) -> bool {
        match self {
            Self::Mcfg(own) | Self::Devicetree(own) => i32::from(own) == number,
            Self::Unknown => true,
        }
    }
}

/// The enhanced configuration access mechanism of one host bridge (PCI Express 5.0, 7.2.2): 4 KiB
/// of memory for each function.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ecam {
    /// Physical address of the configuration space of `first_bus`.
    pub(crate) base: u64,
    /// The segment group of the host bridge.
    pub(crate) segment: Segment,
    /// The bus number of the root bus.
    pub(crate) first_bus: u8,
    /// The highest bus number behind the host bridge.
    pub(crate) last_bus: u8,
}

impl Ecam {
    /// Bytes of configuration space of one bus.
    pub(crate) const BUS_BYTES: u64 = 1 << 20;

    /// Creates an ECAM window. Returns [`None`] if `base` is not aligned to [`Self::BUS_BYTES`], if
    /// `last_bus` is below `first_bus`, or if the addresses wrap around.
    pub(crate) fn new(base: u64, segment: Segment, first_bus: u8, last_bus: u8) -> Option<Self> {
        let buses = u64::from(last_bus.checked_sub(first_bus)?) + 1;
        if base % Self::BUS_BYTES != 0 {
            return None;
        }
        base.checked_add(buses * Self::BUS_BYTES - 1)?;
        Some(Self {
            base,
            segment,
            first_bus,
            last_bus,
        })
    }

    /// Returns the size of the window in bytes. It cannot overflow, since there are at most 256
    /// buses.
    pub(crate) fn size(&self) -> u64 {
        let buses_above_first = self.last_bus.saturating_sub(self.first_bus);
        (u64::from(buses_above_first) + 1) * Self::BUS_BYTES
    }

    /// Returns the physical address of the configuration space of a function, 4 KiB. Returns
    /// [`None`] if its bus is outside of the window.
    pub(crate) fn function_address(&self, function: Address) -> Option<u64> {
        if function.bus > self.last_bus {
            return None;
        }
        let bus = function.bus.checked_sub(self.first_bus)?;
        Some(self.base + ((u64::from(bus) << 20) | (u64::from(function.devfn) << 12)))
    }
}

/// Access to the configuration space of all functions.
pub(crate) trait Config {
    /// Reads 32 bits at `offset`, a multiple of 4 below 4096. Returns all ones if there is no such
    /// function.
    fn read32(&mut self, function: Address, offset: u16) -> u32;

    /// Writes 32 bits at `offset`, a multiple of 4 below 4096.
    fn write32(&mut self, function: Address, offset: u16, value: u32);
}

/// The configuration space of one function.
pub(crate) struct Function<'c, C> {
    config: &'c mut C,
    address: Address,
}

impl<'c, C: Config> Function<'c, C> {
    /// Creates access to the function at `address`, whether it exists or not.
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
        // The upper half is the status register. Its bits are cleared by writing ones, so write
        // zeros.
        self.write32(COMMAND, command.into());
    }

    /// Clears the bits `clear` of the command register, then sets the bits `set`. Returns the old
    /// value.
    fn change_command(&mut self, clear: u16, set: u16) -> u16 {
        let command = self.command();
        self.set_command(command & !clear | set);
        command
    }

    /// Has a bridge forward memory accesses in both directions.
    pub(crate) fn enable_forwarding(&mut self) {
        self.change_command(0, COMMAND_MEMORY | COMMAND_MASTER);
    }

    /// Has the function decode memory accesses. Returns the old command register, for
    /// [`Self::restore_command`].
    pub(crate) fn enable_memory(&mut self) -> u16 {
        self.change_command(0, COMMAND_MEMORY)
    }

    /// Allows the function to master the bus.
    pub(crate) fn set_master(&mut self) {
        self.change_command(0, COMMAND_MASTER);
    }

    /// Forbids the function to master the bus. QEMU stops a vhost-user device on this. Such a
    /// device answers the reset of a queue, but its process does not get the reset.
    pub(crate) fn clear_master(&mut self) {
        self.change_command(COMMAND_MASTER, 0);
    }

    /// Writes the command register that [`Self::enable_memory`] returned, without bus mastering:
    /// the memory that the driver gave to the function is no longer the function's.
    pub(crate) fn restore_command(&mut self, command: u16) {
        self.set_command(command & !COMMAND_MASTER);
    }

    /// Disables INTx interrupts. Nothing handles them, since the queues are polled.
    pub(crate) fn disable_intx(&mut self) {
        self.change_command(0, COMMAND_INTX_DISABLE);
    }
}
