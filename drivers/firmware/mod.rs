// SPDX-License-Identifier: GPL-2.0

//! What firmware left: where the device is, and the picture that was on its screen.
//!
//! Before the kernel has an allocator, ACPI or a PCI core, this room finds the places where a
//! virtio-gpu may be, and the boot logo. Every answer comes from bytes that firmware or the user
//! wrote; none of them is trusted, and every table, length and bus number is checked before it is
//! followed.
//!
//! - [`cmdline`]: the user said where, in the options of `earlycon=virtgpu`.
//! - [`consoles`]: which consoles the user, a boot stub or firmware names, and which levels.
//! - [`fdt`]: the flattened devicetree; it names the EFI system table, host bridges and
//!   virtio-mmio slots.
//! - [`efi`] and [`acpi`]: from the EFI system table to ACPI's tables, and to the MCFG, which names
//!   host bridges.
//! - [`ram`]: where RAM is, and so no registers.
//! - [`bgrt`] and [`bmp`]: the boot logo that firmware keeps, and where it was drawn.
//! - [`picture`]: what of it is where on the screen.
//! - [`handoff`]: the same for the whole screen, where our UEFI driver has run.
//!
//! The folder is pure: physical memory is reached through [`Memory`].

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
    /// Fills `into` with the bytes from the physical address `at` on.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] if there is no way to reach all of these bytes.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable>;
}

/// A piece of memory, beyond which nothing is read.
pub(crate) struct Within<M> {
    /// All of it.
    pub(crate) memory: M,
    /// The physical addresses of the piece.
    pub(crate) range: Range<u64>,
}

impl<M: Memory> Memory for Within<M> {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let end = at.checked_add(into.len() as u64);
        if at < self.range.start || end.is_none_or(|end| end > self.range.end) {
            return Err(Unreadable { at });
        }
        self.memory.read(at, into)
    }
}

/// Physical memory that could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unreadable {
    /// Physical address of the first byte that was asked for.
    pub(crate) at: u64,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read memory at {:#x}", self.at)
    }
}

/// Reads a `T`, whose fields are of fixed byte order, from the physical address `at`.
///
/// # Errors
///
/// [`Unreadable`] as [`Memory::read`].
fn read<T: FromBytes + IntoBytes>(memory: &mut impl Memory, at: u64) -> Result<T, Unreadable> {
    let mut value = T::new_zeroed();
    memory.read(at, value.as_mut_bytes())?;
    Ok(value)
}
