// SPDX-License-Identifier: GPL-2.0

//! Cases of machines that sleep, restart or power off.

use super::{
    case,
    fixtures::{equal, modern_mmio},
    group, Case,
    Expect::Own,
    Group,
};
use anyhow::Result;
use std::path::Path;
use vm::{
    config::Need,
    guests::{Guests, GPU, TIME_FOR_TEXT},
    qemu::Machine,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("suspend", Own(sleeps), |guests| {
        let sleep =
            "earlycon=virtgpu vm.lines=30 vm.sleep=freeze vm.lines=5 vm.sleep=freeze vm.lines=5";
        guests.vt().append(sleep).direct().device(GPU)
    }),
    case("suspend-mmio", Own(sleeps), |guests| {
        let sleep = guests.vt().append("vm.lines=30 vm.sleep=freeze vm.lines=5");
        modern_mmio(sleep)
    }),
    case("hibernation", Own(sleeps), |guests| {
        let sleep = guests.vt().append("vm.lines=30 vm.sleep=disk vm.lines=5");
        sleep.device(GPU)
    })
    .needs(&[Need::Hibernation]),
    case("reboot", Own(ends), |guests| {
        guests.vt().append("vm.do=busybox,reboot,-f").device(GPU)
    }),
    case("poweroff", Own(ends), |guests| {
        guests.vt().append("vm.do=busybox,poweroff,-f").device(GPU)
    }),
];

/// Checks that the screen has all of the log after sleep; counts what happened to the device.
pub fn sleeps(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().traced();
    let mut vm = machine.start(out)?;
    vm.wait_for(" entry")?;
    // Asleep, the device knows no address of ours.
    vm.wait("a device that is reset", TIME_FOR_TEXT, |vm| {
        let status = vm.gpu("virtio-status", "")?;
        Ok((!status.contains("ACKNOWLEDGE")).then_some(()))
    })?;
    let rows = guests.has_same_text(&mut vm, None, out)?;
    Ok(format!("{}, {}", equal(rows), vm.events()?))
}

/// Checks that the machine ends by itself, without an error of the device's.
fn ends(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_end()?;
    vm.check()?;
    Ok("the machine ended".into())
}
