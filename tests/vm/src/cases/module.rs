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
use vm::{
    guests::{Guests, GPU},
    qemu::Machine,
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
