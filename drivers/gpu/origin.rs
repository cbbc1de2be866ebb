// SPDX-License-Identifier: GPL-2.0

//! Detects whether a device honours the origin of SET_SCANOUT's rectangle, so that a scanout can
//! pan over a resource that is higher than the scanout.
//!
//! The specification says that a device does (VIRTIO 1.3, section 5.7.6.8). Of the existing
//! devices, one family does, and no feature tells it from those that do not. The rule is, in this
//! order:
//!
//! | offered feature or response | origin | devices |
//! |---|---|---|
//! | VIRGL or CONTEXT_INIT | ignored | QEMU `virtio-gpu-gl`, `virtio-gpu-rutabaga`; libkrun, krunkit; crosvm with a renderer: they show a whole texture |
//! | no INDIRECT_DESC | ignored | crosvm's 2D device; ACRN, and QEMU with `indirect_desc=off`, which are not probed |
//! | ERR_INVALID_PARAMETER to a SET_SCANOUT of 1x1 px | honoured | QEMU's 2D device, which requires at least 16x16 px in all versions since 2.4 |
//! | any other response | ignored | QEMU `vhost-user-gpu` |
//!
//! An unknown device works either way, because a screen that does not pan is right on all devices.
//! The driver probes only the devices of the last two rows: one that accepts the command shows
//! 1x1 px for a moment.

use crate::{
    gpu::{
        control::{
            Control,
            GpuError, //
        },
        protocol::{
            MemEntry,
            Rect,
            ResourceAttachOne,
            ResourceCreate2d,
            ResourceUnref,
            SetScanout,
            ERR_INVALID_PARAMETER, //
        }, //
    },
    virtio::{
        Features,
        Hal, //
    }, //
};

/// Whether a device honours the origin of SET_SCANOUT's rectangle (section 5.7.6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A scanout shows the rectangle of SET_SCANOUT.
    Honoured,
    /// A scanout shows the resource from its upper left corner on, or all of it.
    Ignored,
    /// The features do not tell: [`Origin::probe`] does.
    Unknown,
}

impl Origin {
    /// Returns what the features that a device offers tell of its origin.
    pub(crate) fn from_features(offered: Features) -> Self {
        let renders = offered.intersects(Features::VIRGL | Features::CONTEXT_INIT);
        match offered.contains(Features::INDIRECT_DESC) && !renders {
            true => Self::Unknown,
            false => Self::Ignored,
        }
    }

    /// Probes the device with a SET_SCANOUT of 1x1 px, if the origin is unknown. Returns
    /// [`Origin::Honoured`] or [`Origin::Ignored`]. The caller sets `scanout` anew after this. The
    /// device must not have a resource of the ID `resource`.
    ///
    /// # Errors
    ///
    /// [`GpuError::Queue`] if the queue failed.
    pub(crate) fn probe(
        self,
        control: &mut Control<impl Hal + Clone>,
        scanout: u32,
        resource: u32,
    ) -> Result<Self, GpuError> {
        const SIDE_PX: u32 = 16;

        if self != Self::Unknown {
            return Ok(self);
        }
        // QEMU checks that there is a backing store before it checks the size. It does not read the
        // backing store.
        let backing = MemEntry::new(control.hal().device_address(0), SIDE_PX * SIDE_PX * 4);
        control.add(&ResourceCreate2d::new(resource, SIDE_PX, SIDE_PX))?;
        control.add(&ResourceAttachOne::new(resource, backing))?;
        let small = SetScanout::new(Rect::new(0, 0, 1, 1), scanout, resource);
        let origin = match control.call(&small, None) {
            Err(GpuError::Response(error)) if error.response == ERR_INVALID_PARAMETER => {
                Self::Honoured
            }
            Err(error @ GpuError::Queue(_)) => return Err(error),
            Err(GpuError::Response(_)) => Self::Ignored,
            Ok(_) => {
                // Disable the scanout: a resource must not be destroyed while a scanout shows it.
                let nothing = SetScanout::new(Rect::default(), scanout, 0);
                control.try_call(&nothing)?;
                Self::Ignored
            }
        };
        control.add(&ResourceUnref::new(resource))?;
        Ok(origin)
    }
}
