// SPDX-License-Identifier: GPL-2.0

//! Speaking virtio-gpu (VIRTIO 1.3, section 5.7): the wire's types in [`protocol`], the control
//! queue in [`control`], the device's configuration in [`config`], and what is different from
//! device to device in [`origin`].

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
