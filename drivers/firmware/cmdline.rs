// SPDX-License-Identifier: GPL-2.0

//! The device address on the command line:
//! `earlycon=virtgpu,pci,<ECAM base>,<bus:device.function>`.
//!
//! Numbers are hexadecimal, as in `lspci` and `/proc/iomem`; the base may begin with `0x`.

use crate::pci::config::{
    Address,
    BadAddress, //
};
use core::{
    fmt,
    str, //
};

/// The address of a PCI function on the command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct DeviceAddress {
    /// Physical address of the configuration space of bus 0.
    pub(crate) ecam: u64,
    /// Bus, device and function.
    pub(crate) function: Address,
}

/// The reason why options cannot be parsed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadOptions {
    /// The first word is not `pci`.
    Kind,
    /// The ECAM base is missing or not a hexadecimal number.
    Base,
    /// The ECAM base is not aligned to 1 MiB, the configuration space of one bus.
    Unaligned(u64),
    /// The function is missing or no valid address.
    Function(BadAddress),
    /// There is another word after the function.
    Trailing,
}

impl fmt::Display for BadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("only pci,<ECAM base>,<bus:dev.fn> can be told here"),
            Self::Base => {
                f.write_str("the ECAM base is no hexadecimal number such as 0x4010000000")
            }
            Self::Unaligned(base) => write!(f, "the ECAM base {base:#x} is not aligned to 1 MiB"),
            Self::Function(error) => write!(f, "the PCI function is {error}"),
            Self::Trailing => f.write_str("nothing may follow pci,<ECAM base>,<bus:dev.fn>"),
        }
    }
}

impl DeviceAddress {
    /// Parses the options that follow `earlycon=virtgpu,`.
    ///
    /// # Errors
    ///
    /// [`BadOptions`] names the first part that cannot be parsed.
    pub(crate) fn parse(options: &[u8]) -> Result<Self, BadOptions> {
        let mut words = options
            .split(|&byte| byte == b',')
            .map(|word| str::from_utf8(word).ok());
        if words.next().flatten() != Some("pci") {
            return Err(BadOptions::Kind);
        }
        let ecam = words
            .next()
            .flatten()
            .and_then(hexadecimal)
            .ok_or(BadOptions::Base)?;
        if ecam % (1 << 20) != 0 {
            return Err(BadOptions::Unaligned(ecam));
        }
        let function = words
            .next()
            .flatten()
            .ok_or(BadAddress)
            .and_then(str::parse)
            .map_err(BadOptions::Function)?;
        match words.next() {
            None => Ok(Self { ecam, function }),
            Some(_) => Err(BadOptions::Trailing),
        }
    }
}

/// Parses a number as in `/proc/iomem`, with or without `0x`. Signs and spaces are refused.
fn hexadecimal(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}
