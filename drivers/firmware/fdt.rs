// SPDX-License-Identifier: GPL-2.0

//! The flattened devicetree (Devicetree Specification 0.4, chapter 5): what `/chosen` says, and where host bridges and
//! virtio-mmio slots are.

use super::{
    efi::MemoryMap,
    pci::{
        Ecam,
        Windows, //
    }, //
};
use core::fmt;

/// Why a tree cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// No devicetree begins here.
    Magic(u32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "devicetree: magic number {found:#010x}"),
        }
    }
}

/// What the EFI stub wrote in `/chosen`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Chosen {
    /// `linux,uefi-system-table`: physical address of the EFI system table.
    pub(crate) system_table: Option<u64>,
    /// `linux,uefi-mmap-*`: firmware's memory map.
    pub(crate) memory_map: Option<MemoryMap>,
}

/// A PCI host bridge, `pci-host-ecam-generic`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostBridge {
    /// Its configuration space.
    pub(crate) ecam: Ecam,
    /// Its memory windows.
    pub(crate) windows: Windows,
    /// Devices behind it see the CPU's caches.
    pub(crate) coherent: bool,
}

/// A virtio-mmio slot, `virtio,mmio`; most are empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot {
    /// Physical address of its registers.
    pub(crate) base: u64,
    /// Bytes of registers.
    pub(crate) size: u64,
    /// The device sees the CPU's caches.
    pub(crate) coherent: bool,
}

/// A flattened devicetree whose header was found right.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Tree<'a> {
    /// Bytes of header that [`Self::size`] wants.
    pub(crate) const HEADER: usize = 40;

    /// Bytes of the whole tree, by its header. For those who must map it before they can read it.
    ///
    /// # Errors
    ///
    /// [`Error`] if the header is not that of a tree.
    pub(crate) fn size(header: &[u8]) -> Result<usize, Error> {
        let _ = header;
        Err(Error::Magic(0))
    }

    /// Opens the tree in `blob`, which may be longer.
    ///
    /// # Errors
    ///
    /// [`Error`] names the field of the header that is wrong.
    pub(crate) fn new(blob: &'a [u8]) -> Result<Self, Error> {
        let _ = blob;
        Err(Error::Magic(0))
    }

    /// What `/chosen` says.
    ///
    /// # Errors
    ///
    /// [`Error`] if the tree is damaged, at or before `/chosen`, or a property has not its size.
    pub(crate) fn chosen(&self) -> Result<Chosen, Error> {
        let _ = (self.structure, self.strings);
        Err(Error::Magic(0))
    }

    /// Every enabled host bridge, in the tree's order. After an error in the tree itself there are no more.
    pub(crate) fn host_bridges(&self) -> impl Iterator<Item = Result<HostBridge, Error>> + 'a {
        core::iter::empty()
    }

    /// Every enabled virtio-mmio slot, in the tree's order. After an error in the tree itself there are no more.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Result<Slot, Error>> + 'a {
        core::iter::empty()
    }
}
