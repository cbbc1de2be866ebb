// SPDX-License-Identifier: GPL-2.0

//! What each architecture does in a way of its own. Another one is one more file here.

#[cfg(CONFIG_ARM64)]
mod arm64;

#[cfg(CONFIG_ARM64)]
pub(crate) use arm64::*;
