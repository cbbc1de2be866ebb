// SPDX-License-Identifier: GPL-2.0

//! Counts what an update of a framebuffer costs, on this driver's DRM device and on others.

use crate::peers::{self, Extra, Peer};
use anyhow::Result;
use std::{path::Path, time::Duration};
use vm::{guests::Guests, painted};

/// The devices that are compared.
pub const DEVICES: [Device; 3] = [
    Device {
        name: "virtgpu_bridge",
        peer: peers::VT,
    },
    Device {
        name: "virtio_gpu",
        peer: peers::FBCON,
    },
    Device {
        name: "simpledrm on ramfb",
        peer: peers::SIMPLEDRM,
    },
];

/// A DRM device.
pub struct Device {
    /// Its name in tables.
    pub name: &'static str,
    /// The console beside it.
    pub peer: &'static Peer,
}

/// The sizes of updates, in pixels: a button, a frame in a mode that each device has, and a frame
/// of QEMU's screen, which firmware's framebuffer has not.
pub const SIZES: [(u32, u32); 3] = [(100, 20), (800, 600), (1280, 800)];

/// Bounds the time of a guest.
const LIMIT: Duration = Duration::from_secs(300);

impl Device {
    /// Returns the instructions of an update of each size that its screen has.
    pub fn count(
        &self,
        guests: &Guests,
        extra: &Extra,
        mode: (usize, usize),
        out: &Path,
    ) -> Result<Vec<f64>> {
        let sizes = SIZES.iter().filter(|size| size.0 as usize <= mode.0);
        let costs = sizes.clone().map(|(width, height)| {
            let place = if *width == 100 { "100:100" } else { "0:0" };
            format!("cost={place}:{width}:{height}:20")
        });
        let steps: Vec<_> = ["open".to_owned(), "show=1".to_owned()]
            .into_iter()
            .chain(costs)
            .chain(["say=counted".to_owned()])
            .collect();
        let machine = guests
            .with_programs(self.peer.machine(guests, extra, mode))
            .without("rdinit=/bench")
            .append("console=ttyAMA0 loglevel=8")
            .append(&format!("vm.do=kms,{}", steps.join(",")))
            .option("-icount", "shift=0,sleep=off");
        let mut vm = machine.start(out)?;
        vm.wait("what updates cost", LIMIT, |vm| {
            Ok(vm.serial_has("kms: counted")?.then_some(()))
        })?;
        let serial = vm.serial()?;
        let log = String::from_utf8_lossy(&serial);
        vm.check_kernel()?;
        sizes
            .map(|(width, height)| Ok(painted::cost(&log, &format!("{width}x{height}"))? as f64))
            .collect()
    }
}
