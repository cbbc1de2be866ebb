// SPDX-License-Identifier: GPL-2.0

//! Cases of the driver as a module.

use super::{
    case,
    fixtures::{ALONE, FBCON},
    group, Case,
    Expect::Text,
    Group,
};
use vm::guests::GPU;

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("module", Text, |guests| {
        guests.plain().append(ALONE).append(INSMOD).device(GPU)
    }),
    case("module-again", Text, |guests| {
        let twice = guests
            .plain()
            .append(ALONE)
            .append(INSMOD)
            .append(RMMOD)
            .append(INSMOD);
        twice.device(GPU)
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

const INSMOD: &str = "vm.insmod=/plain/virtgpu_bridge.ko";
const RMMOD: &str = "vm.rmmod=virtgpu_bridge";
