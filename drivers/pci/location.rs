// SPDX-License-Identifier: GPL-2.0

//! The location of a function, by which it is recognised when the PCI core enumerates it.
//!
//! The PCI core may change bus numbers. With a devicetree it numbers all buses again, and leaves
//! numbers free for hotplug ports (`pci=hpbussize=`). With ACPI it does so where firmware's numbers
//! are wrong. These do not change: the number of the root bus, the device and function number, and
//! the address in a BAR, until the PCI core sizes it.

use super::{
    config::{
        Address,
        Segment,
        VIRTIO_GPU, //
    },
    enumeration::Path, //
};
use core::{
    fmt,
    ops::RangeInclusive, //
};

/// The location of a function that was found before there was a PCI core.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Location {
    /// The segment of its host bridge.
    pub(crate) segment: Segment,
    /// The address of the function.
    pub(crate) function: Address,
    /// The bridges between the host bridge and the function.
    pub(crate) path: Path,
}

/// A function that the PCI core has just enumerated and not changed yet.
#[derive(Clone, Debug)]
pub(crate) struct Enumerated {
    /// The PCI domain, Linux' number of the segment.
    pub(crate) domain: i32,
    /// The bus numbers behind its host bridge, the root bus first.
    pub(crate) buses: RangeInclusive<u8>,
    /// The address of the function, with the current bus number.
    pub(crate) function: Address,
    /// Vendor ID and device ID, as in configuration space.
    pub(crate) id: u32,
}

impl Location {
    /// Returns the number of the root bus.
    fn root_bus(&self) -> u8 {
        let first = self.path.as_slice().first();
        first.unwrap_or(&self.function).bus
    }

    /// Returns whether `other` may be behind the same host bridge. Host bridges of one segment
    /// share no bus numbers.
    fn may_share_host_bridge(&self, other: &Enumerated) -> bool {
        self.segment.matches_linux(other.domain) && other.buses.contains(&self.root_bus())
    }

    /// Returns whether `other` is this function, a virtio-gpu. `is_in_bar` returns whether one of
    /// `other`'s BARs contains the address that this function was found with.
    ///
    /// The bus number is not compared, since the PCI core may have changed it.
    pub(crate) fn matches(&self, other: &Enumerated, is_in_bar: impl FnOnce() -> bool) -> bool {
        other.id == VIRTIO_GPU
            && other.function.devfn == self.function.devfn
            && self.may_share_host_bridge(other)
            && is_in_bar()
    }

    /// Returns whether `other` is the bridge on the root bus that leads to this function. The PCI
    /// core enumerates this bridge before all bridges below it, whose bus numbers may change.
    pub(crate) fn is_behind(&self, other: &Enumerated) -> bool {
        self.path.as_slice().first() == Some(&other.function) && self.may_share_host_bridge(other)
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
