// SPDX-License-Identifier: GPL-2.0

//! Cases of the early console: devices, modes, memory and addresses.

use super::{
    case,
    fixtures::{equal, first_line, modern_mmio, ALONE},
    group,
    handover::stays_ours,
    long, Case,
    Expect::{Own, Refused, Text, Unharmed},
    Group,
};
use anyhow::{ensure, Result};
use std::path::Path;
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU},
    qemu::Machine,
    screen::Screen,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[]), long(LONG_CASES, &[])];

const CASES: &[Case] = &[
    case("long-log", Text, long_log),
    case("scroll-repaint", Text, |guests| {
        long_log(guests).append("virtgpu_bridge.scroll=repaint")
    }),
    // Little memory, and memory of which the most is above 4 GiB.
    case("memory-256m", Text, |guests| {
        guests.early().option("-m", "256M").device(GPU)
    }),
    case("memory-8g", Text, |guests| {
        guests.early().option("-m", "8G").device(GPU)
    }),
    case("direct-memory-8g", Text, |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=60").direct();
        machine.option("-m", "8G").device(GPU)
    }),
    case("first-line", Own(first_line), |guests| {
        sized(guests, 640, 4080)
    })
    .needs(&[Need::ShortLog]),
    case("aavmf", Text, |guests| guests.early().device(GPU)),
    case("aavmf-root-port", Text, |guests| {
        let ports = (1..=6).fold(guests.early(), |machine, at| {
            machine.device(&format!("pcie-root-port,id=port{at},chassis={at}"))
        });
        let switch = ports.device("x3130-upstream,bus=port6,id=up");
        let leg = switch.device("xio3130-downstream,bus=up,id=leg,chassis=7");
        leg.device("virtio-gpu-pci,bus=leg")
    }),
    case("aavmf-second-root", Text, |guests| {
        let root = guests.early().device("pxb-pcie,id=root,bus_nr=128");
        let port = root.device("pcie-root-port,id=port1,bus=root,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("direct-pci", Text, |guests| {
        guests.early().direct().device(GPU)
    }),
    case("direct-pci-root-port", Text, |guests| {
        let port = guests
            .early()
            .direct()
            .device("pcie-root-port,id=port1,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("direct-mmio", Text, |guests| modern_mmio(guests.early())),
    case("direct-mmio-legacy", Refused("legacy"), |guests| {
        let early = guests.early().append(ALONE).direct();
        early.device("virtio-gpu-device")
    }),
    case("address-mmio", Text, |guests| {
        modern_mmio(guests.early_with("earlycon=virtgpu,mmio32,0xa003e00"))
    }),
    case("address-pci", Text, |guests| {
        let machine = guests.early_with("earlycon=virtgpu,pci,0x4010000000,00:01.0");
        machine.device("virtio-gpu-pci,addr=1")
    }),
    case(
        "address-wrong",
        Refused("00:02.0: no virtio-gpu there"),
        |guests| {
            let machine = guests.early_with("earlycon=virtgpu,pci,0x4010000000,00:02.0");
            machine.device("virtio-gpu-pci,addr=1")
        },
    ),
    case("address-ram", Refused("where RAM is"), |guests| {
        let machine = guests
            .early_with("earlycon=virtgpu,mmio32,0x40100000")
            .direct();
        machine.device(GPU)
    }),
    case("address-ram-pci", Refused("where RAM is"), |guests| {
        let machine = guests.early_with("earlycon=virtgpu,pci,0x50000000,00:01.0");
        machine.device(GPU)
    }),
    // The page tables of this CPU take bit 48 for something else: this would be in RAM.
    case(
        "address-beyond",
        Refused("beyond 48 bits of address"),
        |guests| {
            let machine = guests.early_with("earlycon=virtgpu,pci,0x1000050000000,00:01.0");
            machine.direct().device(GPU)
        },
    ),
    case("no-gpu", Unharmed, Guests::early),
    case("no-gpu-direct", Unharmed, |guests| guests.early().direct()),
    case("ramfb-only", Unharmed, |guests| {
        guests.early().device("ramfb")
    }),
    case("two-gpus", Own(two_gpus), |guests| {
        let early = guests.early().append(ALONE);
        let one = early.device("virtio-gpu-pci,id=one,addr=3");
        one.device("virtio-gpu-pci,id=two,addr=4")
    }),
    case("640x480", Text, |guests| sized(guests, 640, 480)),
    case("1366x768", Text, |guests| sized(guests, 1366, 768)),
    case("1920x1080", Text, |guests| sized(guests, 1920, 1080)),
    case("3840x2160", Text, |guests| sized(guests, 3840, 2160)),
    // More rows than a console may have.
    case("640x4192", Text, |guests| sized(guests, 640, 4192)),
    case("pio-notify", Own(stays_ours), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=60");
        machine.device(PIO_NOTIFY)
    }),
    case("pio-notify-direct", Own(stays_ours), |guests| {
        guests.early().direct().device(PIO_NOTIFY)
    }),
    // Buses below 0 are reached through the bridges above them.
    case("address-pci-root-port", Text, |guests| {
        let machine = guests.early_with("earlycon=virtgpu,pci,0x4010000000,02:00.0");
        let ports = (1..=3).fold(machine, |machine, at| {
            machine.device(&format!(
                "pcie-root-port,id=port{at},chassis={at},addr={at}"
            ))
        });
        ports.device("virtio-gpu-pci,bus=port2")
    }),
];

/// Cases that take long.
const LONG_CASES: &[Case] = &[
    case("eight-cpus", Text, |guests| {
        long_log(guests).option("-smp", "8")
    }),
    case("long-log-3840x2160", Text, |guests| {
        sized(guests, 3840, 2160).append(LONG_LOG)
    }),
    case("long-log-mmio", Text, |guests| {
        modern_mmio(guests.early()).append(LONG_LOG)
    }),
];

/// More than five screens of 160x50, lines longer than a row, and what is not ASCII.
const LONG_LOG: &str = "vm.lines=400 vm.bytes vm.lines=30";

fn long_log(guests: &Guests) -> Machine {
    guests.early().append(LONG_LOG).device(GPU)
}

fn sized(guests: &Guests, width: u32, height: u32) -> Machine {
    guests
        .early()
        .device(&format!("{GPU},xres={width},yres={height}"))
}

/// Checks that the first of two GPUs is used, the log says which, and the other stays dark.
fn two_gpus(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = guests.same_text(machine, Some("one"), out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(
        said.contains("00:03.0"),
        "the log does not say that 00:03.0 was chosen:\n{said}"
    );
    let (path, picture) = vm.screenshot("other.png", Some("two"))?;
    let other = Screen::read(&picture, &guests.fonts);
    ensure!(
        !other.is_console(),
        "text on the other GPU, see {}",
        path.display()
    );
    Ok(equal(rows))
}

/// A GPU that offers its notifications in an I/O BAR as well, before the one in memory.
pub const PIO_NOTIFY: &str = "virtio-gpu-pci,modern-pio-notify=on";
