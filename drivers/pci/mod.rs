// SPDX-License-Identifier: GPL-2.0

//! PCI before there is a PCI core: enumeration, BARs and configuration space (PCI 3.0, chapter 6;
//! PCI Express 5.0, chapter 7).
//!
//! | file | what it contains |
//! |---|---|
//! | [`config`] | addresses of functions, ECAM, access to configuration space |
//! | [`enumeration`] | finds the virtio-gpus behind a host bridge, and numbers its buses |
//! | [`bars`] | reads BARs, and assigns addresses to those that have none |
//! | [`location`] | recognises a function when the PCI core enumerates it again |
//!
//! `location` and `bars` use `enumeration` for its [`Path`](enumeration::Path), and all of them use
//! `config`. Nothing here uses another folder of the driver.

pub(crate) mod bars;
pub(crate) mod config;
pub(crate) mod enumeration;
pub(crate) mod location;

pub(crate) use bars::{
    Allocator,
    Windows, //
};
pub(crate) use config::{
    Address,
    Config,
    Ecam,
    Function,
    Segment,
    VIRTIO_GPU, //
};
pub(crate) use enumeration::{
    enumerate,
    path_to,
    BusNumbers, //
};
pub(crate) use location::{
    Enumerated,
    Location, //
};
