// SPDX-License-Identifier: GPL-2.0

//! Whether a device honours the origin of SET_SCANOUT's rectangle, so that a scanout can be panned
//! over a resource that is higher than it.
//!
//! The specification says that it does (VIRTIO 1.3, section 5.7.6.8). Of the devices that there
//! are, one family does, and nothing in the features tells it from those that do not. The rule is,
//! in this order:
//!
//! | what the device offers or answers | origin | devices |
//! |---|---|---|
//! | VIRGL or CONTEXT_INIT | ignored | QEMU `virtio-gpu-gl`, `virtio-gpu-rutabaga`; libkrun, krunkit; crosvm with a renderer: they show a whole texture |
//! | no INDIRECT_DESC | ignored | crosvm's 2D device; ACRN, and QEMU with `indirect_desc=off`, which are not asked |
//! | SET_SCANOUT of 1x1 px refused with ERR_INVALID_PARAMETER | honoured | QEMU's 2D device, which wants 16x16 px at least in all versions since 2.4 |
//! | any other answer | ignored | QEMU `vhost-user-gpu` |
//!
//! A device that nobody has met is right either way, because a screen that does not pan is right on
//! all. The question is asked of devices of the second half alone: who takes it shows 1x1 px for a
//! moment.

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
        },
    },
    virtio::{
        Features,
        Hal, //
    },
};

/// What is known of the origin of a device's scanouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The scanout shows the rectangle that SET_SCANOUT names.
    Honoured,
    /// It shows the resource from its upper left, or all of it.
    Ignored,
    /// The device is to be asked, see [`Origin::ask`].
    Unknown,
}

impl Origin {
    /// What the features tell that a device offers.
    pub(crate) fn of(offered: Features) -> Self {
        let renders = offered.intersects(Features::VIRGL | Features::CONTEXT_INIT);
        match offered.contains(Features::INDIRECT_DESC) && !renders {
            true => Self::Unknown,
            false => Self::Ignored,
        }
    }

    /// Asks the device, if nothing else tells, on a scanout that is set to something else after
    /// that. The device has no resource of the ID `resource`.
    ///
    /// # Errors
    ///
    /// The queue failed.
    pub(crate) fn ask(
        self,
        control: &mut Control<impl Hal + Clone>,
        scanout: u32,
        resource: u32,
    ) -> Result<Self, GpuError> {
        const SIDE: u32 = 16;

        if self != Self::Unknown {
            return Ok(self);
        }
        // QEMU looks whether there is a backing store before it looks at the size. Nothing is read
        // from it.
        let backing = MemEntry::new(control.hal().device_address(0), SIDE * SIDE * 4);
        control.post(&ResourceCreate2d::new(resource, SIDE, SIDE))?;
        control.post(&ResourceAttachOne::new(resource, backing))?;
        let small = SetScanout::new(Rect::new(0, 0, 1, 1), scanout, resource);
        let origin = match control.call(&small, None) {
            Err(GpuError::Refused(refusal)) if refusal.response == ERR_INVALID_PARAMETER => {
                Self::Honoured
            }
            Err(error @ GpuError::Ring(_)) => return Err(error),
            Err(GpuError::Refused(_)) => Self::Ignored,
            Ok(_) => {
                // What is shown may not be forgotten.
                let nothing = SetScanout::new(Rect::default(), scanout, 0);
                control.try_call(&nothing)?;
                Self::Ignored
            }
        };
        control.post(&ResourceUnref::new(resource))?;
        Ok(origin)
    }
}
