// SPDX-License-Identifier: GPL-2.0

//! Where the user says the device is: `earlycon=virtgpu,pci,<ECAM base>,<bus:device.function>`.
//!
//! Numbers are hexadecimal, as in `lspci` and `/proc/iomem`; the base may begin with `0x`.

use crate::pci::{
    Address,
    BadAddress, //
};
use core::{
    fmt,
    str, //
};

/// A PCI function that the command line names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// Physical address of the configuration space of bus 0.
    pub(crate) ecam: u64,
    /// The function.
    pub(crate) function: Address,
}

/// Options that say nothing usable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BadOptions {
    /// The first word is no way of reaching a device.
    Kind,
    /// The ECAM base is missing or no hexadecimal number.
    Base,
    /// The ECAM base is not aligned to one bus, 1 MiB.
    Unaligned(u64),
    /// The function is missing or no address.
    Function(BadAddress),
    /// Something follows the function.
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
            Self::Function(why) => write!(f, "the PCI function is {why}"),
            Self::Trailing => f.write_str("nothing may follow pci,<ECAM base>,<bus:dev.fn>"),
        }
    }
}

impl Place {
    /// Reads the options that follow `earlycon=virtgpu,`.
    ///
    /// # Errors
    ///
    /// [`BadOptions`] says which part cannot be read.
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

/// Reads a number as `/proc/iomem` writes it, with or without `0x`. No sign, no spaces.
fn hexadecimal(word: &str) -> Option<u64> {
    let digits = word.strip_prefix("0x").unwrap_or(word);
    if digits.starts_with('+') {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}
