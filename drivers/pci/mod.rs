// SPDX-License-Identifier: GPL-2.0

//! PCI before there is a PCI core: addresses and configuration space (PCI 3.0, chapter 6; PCI
//! Express 5.0, chapter 7).
//!
//! [`find`] walks from a host bridge to the GPU; [`Allocator`] gives addresses to BARs that
//! nobody assigned. By its [`Location`] the GPU is known again when the PCI core finds it.

pub(crate) mod bars;
pub(crate) mod config;
pub(crate) mod location;
pub(crate) mod walk;

pub(crate) use bars::{
    Allocator,
    Window,
    Windows, //
};
pub(crate) use config::{
    Address,
    BadAddress,
    Config,
    Ecam,
    Function,
    Segment,
    VIRTIO_GPU, //
};
pub(crate) use location::{
    Enumerated,
    Location, //
};
pub(crate) use walk::{
    find,
    path_to,
    Numbers,
    Path, //
};
