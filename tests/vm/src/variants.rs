// SPDX-License-Identifier: GPL-2.0

//! Cases of devices, buses and drivers that are not the usual ones: where a device has its
//! registers, when it comes, and when its native driver is probed.

use crate::{
    bench::{driver_lines, Bench, GPU},
    cases::{
        case, handed_over, stays_ours, taken_back, Case,
        Expect::{Own, Text},
    },
    qemu::Machine,
};
use anyhow::{ensure, Result};
use std::{fs, path::Path};

/// A GPU that offers its doorbell in an I/O BAR as well, before the one in memory.
const PIO_NOTIFY: &str = "virtio-gpu-pci,modern-pio-notify=on";

/// The cases.
pub const VARIANTS: &[Case] = &[
    case("pio-notify", Own(stays_ours), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=60");
        machine.device(PIO_NOTIFY)
    }),
    case("pio-notify-direct", Own(stays_ours), |bench| {
        bench.early().direct().device(PIO_NOTIFY)
    }),
    case("pio-notify-handover", Own(handed_over), |bench| {
        let machine = bench.image().append("console=tty0 vm.lines=60");
        machine.direct().device(PIO_NOTIFY)
    }),
    // Buses below 0 are reached through the bridges on the way.
    case("told-pci-root-port", Text, |bench| {
        let told = bench.told("earlycon=virtgpu,pci,0x4010000000,02:00.0");
        let ports = (1..=3).fold(told, |machine, at| {
            machine.device(&format!(
                "pcie-root-port,id=port{at},chassis={at},addr={at}"
            ))
        });
        ports.device("virtio-gpu-pci,bus=port2")
    }),
    case("async-native", Own(handed_over), |bench| {
        probed(bench, "driver_async_probe=virtio_gpu")
    }),
    case("async-bridge", Own(handed_over), |bench| {
        probed(bench, "driver_async_probe=virtgpu_bridge")
    }),
    case("async-all", Own(handed_over), |bench| {
        probed(bench, "driver_async_probe=*")
    }),
    case("async-module", Own(handed_over), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.native=async vm.lines=60";
        bench.modular().append(module).direct().device(GPU)
    }),
    case("async-module-fails", Own(taken_back), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native=async-fails \
            vm.do=busybox,sleep,1 vm.lines=10";
        bench.modular().append(module).direct().device(GPU)
    }),
    // As on libkrun, whose device goes on after it.
    case("reset-refused", Own(kept), |bench| {
        let machine = bench.image().append("console=tty0 earlycon=virtgpu");
        let machine = machine.append("virtgpu_bridge.test=no-reset vm.lines=60");
        machine.direct().device(GPU)
    }),
];

/// The device stays ours because it cannot be reset, and one line says so.
fn kept(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let seen = stays_ours(bench, machine, out)?;
    let said = driver_lines(&fs::read(out.join("serial.log"))?);
    let times = said
        .iter()
        .filter(|line| line.contains("does not finish a reset"));
    ensure!(times.count() == 1, "not said once:\n{}", said.join("\n"));
    Ok(seen)
}

/// A guest in which the driver core probes drivers as `words` say.
fn probed(bench: &Bench, words: &str) -> Machine {
    let machine = bench.image().append("console=tty0 earlycon=virtgpu");
    let machine = machine.append(words).append("vm.lines=60");
    machine.direct().device(GPU)
}
