// SPDX-License-Identifier: GPL-2.0

//! The functions that differ between architectures. Each architecture has a file here.

#[cfg(CONFIG_ARM64)]
mod arm64;

#[cfg(CONFIG_ARM64)]
pub(crate) use arm64::*;
