// SPDX-License-Identifier: GPL-2.0

//! The firmware's tables and the command line: where the device is, and the picture on its screen.
//!
//! This runs before the kernel has an allocator, ACPI or a PCI core. Its input is bytes that
//! firmware or the user wrote. It trusts none of them: it checks each table, length and bus number
//! before it uses it.
//!
//! | file | what it contains |
//! |---|---|
//! | [`cmdline`] | the device address in the options of `earlycon=virtgpu` |
//! | [`consoles`] | consoles and log level on the command line, the console of ACPI's SPCR |
//! | [`fdt`] | the flattened devicetree: EFI system table, host bridges, virtio-mmio nodes, RAM |
//! | [`efi`] | the EFI system table: the RSDP, other configuration tables, the memory map |
//! | [`acpi`] | ACPI's tables: from the RSDP to the MCFG, which lists the host bridges |
//! | [`ram`] | where RAM is, and therefore no device registers |
//! | [`bgrt`] | ACPI's BGRT: where the boot logo is, in memory and on the screen |
//! | [`bmp`] | bitmap files, the format of the boot logo |
//! | [`picture`] | the part of the boot logo that is on the screen |
//! | [`handoff`] | the table and the picture that our UEFI driver hands over |
//!
//! The folder is pure (see `drivers/README.md`): it reads physical memory through [`Memory`].

use core::{
    fmt,
    ops::Range, //
};
use zerocopy::{
    FromBytes,
    IntoBytes, //
};

pub(crate) mod acpi;
pub(crate) mod bgrt;
pub(crate) mod bmp;
pub(crate) mod cmdline;
pub(crate) mod consoles;
pub(crate) mod efi;
pub(crate) mod fdt;
pub(crate) mod handoff;
pub(crate) mod picture;
pub(crate) mod ram;

/// Read access to physical memory.
pub(crate) trait Memory {
    /// Copies the bytes at the physical address `at` to `into`.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if not all of these bytes can be read.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable>;
}

/// A range of physical memory; reads outside of it fail.
pub(crate) struct BoundedMemory<M> {
    /// All of the memory.
    pub(crate) memory: M,
    /// The physical addresses of the range.
    pub(crate) range: Range<u64>,
}

impl<M: Memory> Memory for BoundedMemory<M> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let end = at.checked_add(into.len() as u64);
        if at < self.range.start || end.is_none_or(|end| end > self.range.end) {
            return Err(Unreadable { at });
        }
        self.memory.read(at, into)
    }
}

/// The error for physical memory that cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unreadable {
    /// Physical address of the first byte of the read.
    pub(crate) at: u64,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read memory at {:#x}", self.at)
    }
}

/// Reads a `T`, whose fields have a fixed byte order, at the physical address `at`.
///
/// # Errors
///
/// [`Unreadable`] as [`Memory::read`].
fn read<T: FromBytes + IntoBytes>(memory: &mut impl Memory, at: u64) -> Result<T, Unreadable> {
    let mut value = T::new_zeroed();
    memory.read(at, value.as_mut_bytes())?;
    Ok(value)
}
