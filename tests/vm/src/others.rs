// SPDX-License-Identifier: GPL-2.0

//! Cases of real devices and firmware other than QEMU's 2D device and EDK2.

use crate::{
    cases::{
        case, handed_over, ours_again, Case,
        Expect::{Dies, Own, Text},
    },
    endings::{SYSRQ, TRACE},
    qemu::Machine,
};

/// The cases.
pub const OTHERS: &[Case] = &[
    case("gl-early", Text, |bench| {
        gl(bench.early()).append("vm.lines=120")
    }),
    case("gl-aavmf", Text, |bench| {
        // Firmware has the device first.
        let machine = bench.early().append("vm.lines=60");
        machine.gl().device(GL_GPU)
    }),
    case("gl-vt", Text, |bench| {
        gl(bench.vt()).append("earlycon=virtgpu vm.lines=100")
    }),
    case("gl-vt-without-earlycon", Text, |bench| {
        gl(bench.vt()).append("vm.lines=100")
    }),
    case(
        "gl-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| {
            let machine = gl(bench.vt()).append("earlycon=virtgpu vm.lines=60");
            machine.append(SYSRQ)
        },
    ),
    case("gl-handover", Own(handed_over), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.coldplug vm.native vm.lines=60";
        gl(bench.modular()).append(module)
    }),
    case("gl-odd", Text, |bench| {
        let machine = bench.vt().append("vm.lines=100").direct();
        machine.gl().device(&format!("{GL_GPU},xres=1339,yres=757"))
    }),
    case("gl-mmio", Text, |bench| {
        let machine = bench.early().append("vm.lines=120").direct();
        let modern = machine.option("-global", "virtio-mmio.force-legacy=false");
        modern.gl().device("virtio-gpu-gl-device")
    }),
    case("gl-taken-back", Own(ours_again), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native vm.lines=60 \
            vm.native=0 vm.do=busybox,sleep,1 vm.lines=60";
        gl(bench.modular()).append(module)
    }),
];

/// QEMU's GPU with OpenGL, on PCI.
const GL_GPU: &str = "virtio-gpu-gl-pci";

/// A machine without firmware, whose GPU draws with OpenGL.
fn gl(machine: Machine) -> Machine {
    machine.direct().gl().device(GL_GPU)
}
