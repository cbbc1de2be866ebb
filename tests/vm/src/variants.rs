// SPDX-License-Identifier: GPL-2.0

//! Cases of devices, buses and drivers that are not the usual ones: where a device has its
//! registers, when it comes, and when its native driver is probed.

use crate::{
    bench::{driver_lines, Bench, GPU},
    cases::{
        case, equal, handed_over, stays_ours, taken_back, Case,
        Expect::{Own, Text},
    },
    needs::Need,
    qemu::{Machine, Vm},
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
    })
    .needs(&[Need::NativeBuiltIn]),
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
    })
    .needs(&[Need::NativeBuiltIn]),
    case("async-bridge", Own(handed_over), |bench| {
        probed(bench, "driver_async_probe=virtgpu_bridge")
    })
    .needs(&[Need::NativeBuiltIn]),
    case("async-all", Own(handed_over), |bench| {
        probed(bench, "driver_async_probe=*")
    })
    .needs(&[Need::NativeBuiltIn]),
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
    })
    .needs(&[Need::NativeBuiltIn]),
    // Where fbcon waits for text before it takes the VT over, which distributions want for a quiet
    // boot, it shows what was on the screen. Ours is the VT's first driver,
    case("deferred-quiet", Own(same_words), |bench| {
        quietly(bench, GPU, "earlycon=virtgpu", AFTER)
    }),
    case("deferred-quiet-silent", Own(same_words), |bench| {
        quietly(bench, GPU, "", "")
    }),
    // or takes it over from the dummy that fbcon waits for.
    case("deferred-late", Own(on_fbcon), |bench| {
        let module = "console=tty0 vm.lines=60 vm.native vm.lines=60";
        bench.modular().append(module).direct().device(LATE)
    }),
    case("deferred-late-silent", Own(on_fbcon), |bench| {
        let module = "console=tty0 vm.lines=60 vm.native";
        bench.modular().append(module).direct().device(LATE)
    }),
    case("deferred-late-quiet", Own(same_words), |bench| {
        quietly(bench, LATE, "", AFTER)
    }),
    case("deferred-late-quiet-silent", Own(same_words), |bench| {
        quietly(bench, LATE, "", "")
    }),
    // A GPU that the PCI core finds when the kernel has been up for long: it was gone.
    case("removed-and-found", Text, |bench| {
        let machine = bench
            .vt()
            .append("earlycon=virtgpu vm.lines=60")
            .append(REMOVE);
        machine
            .append("vm.lines=60")
            .append(FIND)
            .direct()
            .device(GPU)
    }),
    case("removed-and-handed-over", Own(on_fbcon), |bench| {
        let machine = bench
            .modular()
            .append("console=tty0 earlycon=virtgpu vm.lines=60");
        let machine = machine
            .append(REMOVE)
            .append(FIND)
            .append("vm.native vm.lines=60");
        machine.direct().device(GPU)
    }),
];

const REMOVE: &str = "vm.do=echo,1,|,busybox,tee,/sys/bus/pci/drivers/virtgpu_bridge/0*/remove";
const FIND: &str = "vm.do=echo,1,>/sys/bus/pci/rescan vm.lines=60";

/// A GPU that is not there for the early search: its memory is the DMA API's.
const LATE: &str = "virtio-gpu-pci,iommu_platform=on";

/// What a quiet guest says last, on the serial port.
const DONE: &str = "vm: all is done";
const BEFORE: &str = "text before the handover";
const AFTER: &str = "text after the handover";

/// A quiet guest that writes to its terminal before the native driver is loaded, and `after` it.
fn quietly(bench: &Bench, gpu: &str, words: &str, after: &str) -> Machine {
    let write = |text: &str, to: &str| format!("vm.do=echo,{},>/dev/{to}", text.replace(' ', ","));
    let machine = bench.modular().append("console=tty0 quiet").append(words);
    let machine = machine.append(&write(BEFORE, "tty1")).append("vm.native");
    let machine = match after {
        "" => machine,
        after => machine.append(&write(after, "tty1")),
    };
    // The driver speaks when it sees that the native one has the device. The command line, which is
    // in the log as well, does not match.
    let heard = "until,busybox,dmesg,|,busybox,grep,-q,[h]anded.over;do,busybox,sleep,0.1;done";
    machine
        .append(&format!("vm.do={heard}"))
        .append("vm.do=busybox,dmesg,>/dev/ttyAMA0")
        .append(&write(DONE, "ttyAMA0"))
        .direct()
        .device(gpu)
}

/// The terminal's text is on the native driver's console.
fn same_words(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(DONE)?;
    let words = match machine.word("vm.do=echo,text,after") {
        Some(_) => vec![BEFORE, AFTER],
        None => vec![BEFORE],
    };
    handed_to_fbcon(&vm)?;
    bench.wait_for_words(&mut vm, &words, out)?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok("the terminal's text is on fbcon".into())
}

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

/// The log is on the native driver's console.
fn on_fbcon(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    handed_to_fbcon(&vm)?;
    Ok(equal(rows))
}

fn handed_to_fbcon(vm: &Vm) -> Result<()> {
    for words in [
        "handed over to the native driver",
        "virtio_gpudrmfb frame buffer device",
    ] {
        ensure!(vm.serial_has(words)?, "nobody says '{words}'");
    }
    Ok(())
}

/// A guest in which the driver core probes drivers as `words` say.
fn probed(bench: &Bench, words: &str) -> Machine {
    let machine = bench.image().append("console=tty0 earlycon=virtgpu");
    let machine = machine.append(words).append("vm.lines=60");
    machine.direct().device(GPU)
}
