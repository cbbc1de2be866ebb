// SPDX-License-Identifier: GPL-2.0

//! Cases of the driver as a module.

use super::{
    case,
    displays::{resize, RESIZES},
    fixtures::{ALONE, FBCON},
    group,
    sleep::sleeps,
    Case,
    Expect::{Own, Text},
    Group,
};
use anyhow::{ensure, Result};
use std::{path::Path, thread, time::Duration};
use vm::{
    guests::{Guests, GPU},
    qemu::Machine,
    vnc::Viewer,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("module", Text, |guests| loaded(guests).device(GPU)),
    case("module-again", Text, |guests| {
        loaded(guests).append(RMMOD).append(INSMOD).device(GPU)
    }),
    case("module-suspend", Own(sleeps), |guests| {
        let sleep = "vm.lines=30 vm.sleep=freeze vm.lines=5 vm.sleep=freeze vm.lines=5";
        loaded(guests).append(sleep).direct().device(GPU)
    }),
    // The log level is another one than when the text was written.
    case("module-resize-quiet", Own(has_old_text), |guests| {
        let quiet = "vm.lines=30 vm.do=busybox,dmesg,-n,1";
        loaded(guests).append(quiet).direct().device(GPU)
    }),
    case("module-reset-function", Text, |guests| {
        let reset = "vm.lines=20 vm.do=echo,1,>/sys/bus/pci/devices/0000:01:00.0/reset vm.lines=5";
        let port = loaded(guests).append(reset).direct();
        port.device("pcie-root-port,id=port1,chassis=1")
            .device("virtio-gpu-pci,bus=port1")
    }),
    case("module-resize", Own(resize), |guests| {
        loaded(guests).append(RESIZES).direct().device(GPU)
    }),
    case("module-gives-back", Text, |guests| {
        let lent = guests
            .plain()
            .append("vm.unbind=virtio-pci")
            .append(INSMOD)
            .append(RMMOD);
        lent.append("vm.bind=virtio-pci").append(FBCON).device(GPU)
    }),
];

/// Returns a guest with the module, to which the device belongs.
fn loaded(guests: &Guests) -> Machine {
    guests.plain().append(ALONE).append(INSMOD)
}

const INSMOD: &str = "vm.insmod=/plain/virtgpu_bridge.ko";
const RMMOD: &str = "vm.rmmod=virtgpu_bridge";

/// Checks that a display of another size has the text from before.
fn has_old_text(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let mut vm = machine.clone().option("-vnc", &viewed).start(out)?;
    guests.wait_for_words(&mut vm, &["vm: line 30"], out)?;
    // The log level is set after that.
    thread::sleep(Duration::from_secs(1));
    let mut viewer = Viewer::connect(&socket)?;
    viewer.resize(1024, 768)?;
    guests.wait_for_screen(&mut vm, None, out, |screen, _| {
        ensure!(screen.columns == 128, "{} columns", screen.columns);
        ensure!(screen.text().contains("vm: line 30"), "the text is gone");
        Ok(())
    })?;
    vm.check()?;
    Ok("the text on a smaller screen".into())
}
