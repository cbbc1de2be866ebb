// SPDX-License-Identifier: GPL-2.0

//! The GPU device's commands and configuration (VIRTIO 1.3, section 5.7).
//!
//! | file | what it does | VIRTIO 1.3 |
//! |---|---|---|
//! | [`protocol`] | defines the structures of requests and responses | 5.7.6.7, 5.7.6.8 |
//! | [`control`] | sends typed commands on the control queue and checks their responses | 5.7.2 |
//! | [`config`] | reads and clears the events of the device configuration | 5.7.4 |
//! | [`origin`] | detects whether a device honours the origin of SET_SCANOUT's rectangle | 5.7.6.8 |

pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod origin;
pub(crate) mod protocol;

pub(crate) use self::{
    control::{
        Control,
        GpuError, //
    },
    origin::Origin,
    protocol::Rect, //
};
