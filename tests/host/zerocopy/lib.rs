// SPDX-License-Identifier: GPL-2.0

//! zerocopy as the kernel builds it: traits alone; the derive macros of the same names are imported
//! from `zerocopy_derive`. Cargo has one set of features for all users of a crate, and
//! `rutabaga_gfx` enables `derive`, which would make every such name ambiguous.

#![no_std]
#![allow(hidden_glob_reexports)]

pub use zerocopy::*;

// Private names, which hide the macros of the line above from crates that import the traits.
#[allow(unused_imports)]
use zerocopy_derive::{
    FromBytes,
    FromZeros,
    Immutable,
    IntoBytes,
    KnownLayout,
    TryFromBytes,
    Unaligned, //
};
