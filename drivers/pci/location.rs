// SPDX-License-Identifier: GPL-2.0

//! Where a function was found, and how it is known again when the PCI core finds it.
//!
//! The PCI core may number buses anew: with a devicetree it does so, and leaves out numbers for
//! hotplug ports (`pci=hpbussize=`); with ACPI it does so where firmware's numbers are wrong. What
//! stays is the number of a host bridge's own bus, a function's numbers on its bus, and the address
//! in a BAR until the PCI core sizes it.

use super::{
    config::{
        Address,
        Segment,
        VIRTIO_GPU, //
    },
    walk::Path, //
};
use core::{
    fmt,
    ops::RangeInclusive, //
};

/// Where a function was found before there was a PCI core.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Location {
    /// The segment of its host bridge.
    pub(crate) segment: Segment,
    /// The function.
    pub(crate) function: Address,
    /// The bridges that lead to it.
    pub(crate) path: Path,
}

/// A function that the PCI core has just found, and has changed nothing of.
#[derive(Clone, Debug)]
pub(crate) struct Enumerated {
    /// Linux' number of its segment.
    pub(crate) domain: i32,
    /// The buses behind its host bridge, from that one's own bus on.
    pub(crate) buses: RangeInclusive<u8>,
    /// Where it is, by the numbers that buses have by now.
    pub(crate) function: Address,
    /// Vendor and device id, as in configuration space.
    pub(crate) id: u32,
}

impl Location {
    /// The host bridge's own bus.
    fn root(&self) -> u8 {
        let first = self.path.as_slice().first();
        first.unwrap_or(&self.function).bus
    }

    /// Says whether a function may be behind the same host bridge. Host bridges of one segment
    /// share no bus.
    fn is_beside(&self, other: &Enumerated) -> bool {
        self.segment.agrees_with_linux(other.domain) && other.buses.contains(&self.root())
    }

    /// Says whether `other` is this function, a virtio-gpu. `is_in_bar` says whether `other` has in
    /// one of its BARs the address that this one was found with.
    ///
    /// Its bus is not compared, since that may have another number by now.
    pub(crate) fn is(&self, other: &Enumerated, is_in_bar: impl FnOnce() -> bool) -> bool {
        other.id == VIRTIO_GPU
            && other.function.devfn == self.function.devfn
            && self.is_beside(other)
            && is_in_bar()
    }

    /// Says whether `other` is the bridge on the host bridge's own bus that leads to this function.
    /// The numbers of those below it may have changed, but it comes before them all.
    pub(crate) fn is_behind(&self, other: &Enumerated) -> bool {
        self.path.as_slice().first() == Some(&other.function) && self.is_beside(other)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.segment {
            Segment::Mcfg(segment) | Segment::Devicetree(segment) if segment != 0 => {
                write!(f, "{segment:04x}:{}", self.function)
            }
            _ => self.function.fmt(f),
        }
    }
}
