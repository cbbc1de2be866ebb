// SPDX-License-Identifier: GPL-2.0

//! Where a function was found.

use super::{
    Address,
    Path,
    Segment, //
};
use core::fmt;

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
