// SPDX-License-Identifier: GPL-2.0

//! The bindings that bindgen makes of `bindings_helper.h`: the parts of Linux that the kernel crate
//! does not wrap.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::indexing_slicing,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;

include!(env!("VIRTGPU_BRIDGE_BINDINGS"));
