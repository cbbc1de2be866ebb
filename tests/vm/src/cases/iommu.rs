// SPDX-License-Identifier: GPL-2.0

//! Cases of machines with an IOMMU.

use super::{
    case,
    fixtures::equal,
    group, Case,
    Expect::{Own, Refused, Text},
    Group,
};
use anyhow::{ensure, Result};
use std::{fs, path::Path};
use vm::{
    config::Need,
    guests::{Guests, GPU},
    qemu::Machine,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("vt-iommu-platform", Text, |guests| {
        guests
            .vt()
            .append("vm.lines=100")
            .device("virtio-gpu-pci,iommu_platform=on")
    }),
    case("iommu-platform", Refused("ACCESS_PLATFORM"), |guests| {
        guests.early().device("virtio-gpu-pci,iommu_platform=on")
    }),
    // An IOMMU that the device does not use, and one that it does: under firmware and without.
    case("smmu", Own(behind_iommu), |guests| {
        smmu(guests.vt()).append("earlycon=virtgpu").device(GPU)
    }),
    case("smmu-platform", Own(behind_iommu), |guests| {
        smmu(guests.vt()).device(ON_PLATFORM)
    }),
    case("smmu-aavmf", Own(behind_iommu), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=100");
        machine.option("-machine", SMMU).device(GPU)
    }),
    case("smmu-platform-aavmf", Own(behind_iommu), |guests| {
        let machine = guests.vt().append("vm.lines=100");
        machine.option("-machine", SMMU).device(ON_PLATFORM)
    }),
    case("virtio-iommu", Own(behind_iommu), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=100").direct();
        machine.device("virtio-iommu-pci").device(GPU)
    }),
    case("virtio-iommu-platform", Own(behind_iommu), |guests| {
        let machine = guests.vt().append("vm.lines=100").direct();
        machine.device("virtio-iommu-pci").device(ON_PLATFORM)
    }),
    case(
        "smmu-platform-handover",
        Own(handed_over_behind_iommu),
        |guests| smmu(guests.image().append("console=tty0")).device(ON_PLATFORM),
    )
    .needs(&[Need::NativeBuiltIn]),
];

const SMMU: &str = "iommu=smmuv3";

const ON_PLATFORM: &str = "virtio-gpu-pci,iommu_platform=on";

/// Returns a machine with Arm's IOMMU, and lines to write.
fn smmu(machine: Machine) -> Machine {
    let machine = machine.append("vm.lines=100").direct();
    machine.option("-machine", SMMU)
}

/// Checks that the screen shows the log, and no IOMMU complains of what the device does.
fn behind_iommu(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    let serial = String::from_utf8_lossy(&vm.serial()?).into_owned();
    ensure!(
        serial.contains("Adding to iommu group"),
        "there is no IOMMU"
    );
    let fault = serial.lines().find(|line| {
        line.contains("arm-smmu") && line.contains("event")
            || line.contains("virtio_iommu") && line.contains("fault from EP")
    });
    ensure!(fault.is_none(), "{}", fault.unwrap_or_default());
    Ok(equal(rows))
}

/// Checks the same when the native driver has the device.
fn handed_over_behind_iommu(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let seen = behind_iommu(guests, machine, out)?;
    let serial = fs::read(out.join("serial.log"))?;
    let said = String::from_utf8_lossy(&serial);
    ensure!(
        said.contains("handed over to the native driver"),
        "the device was not handed over"
    );
    Ok(seen)
}
