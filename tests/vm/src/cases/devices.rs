// SPDX-License-Identifier: GPL-2.0

//! Cases of devices other than QEMU's 2D device.

use super::{
    case,
    crash::{in_paint, BOTH, IN_PAINT, SYSRQ, TRACE},
    fixtures::equal,
    group,
    handover::{handed_over, ours_again},
    kexec::crashing,
    Case,
    Expect::{Dies, Own, Text},
    Group,
};
use anyhow::{ensure, Result};
use std::{path::Path, time::Duration};
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU, READY},
    qemu::Machine,
    screen::Screen,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    // A GPU that the PCI core finds when the kernel has been up for long: it was removed.
    case("removed-and-found", Text, |guests| {
        let machine = guests
            .vt()
            .append("earlycon=virtgpu vm.lines=60")
            .append(REMOVE);
        machine
            .append("vm.lines=60")
            .append(FIND)
            .direct()
            .device(GPU)
    }),
    case("gl-early", Text, |guests| {
        gl(guests.early()).append("vm.lines=120")
    }),
    case("gl-aavmf", Text, |guests| {
        // Firmware has the device first.
        let machine = guests.early().append("vm.lines=60");
        machine.gl().device(GL_GPU)
    }),
    case("gl-vt", Text, |guests| {
        gl(guests.vt()).append("earlycon=virtgpu vm.lines=100")
    }),
    case("gl-vt-without-earlycon", Text, |guests| {
        gl(guests.vt()).append("vm.lines=100")
    }),
    case(
        "gl-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            let machine = gl(guests.vt()).append("earlycon=virtgpu vm.lines=60");
            machine.append(SYSRQ)
        },
    ),
    case("gl-handover", Own(handed_over), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.coldplug vm.native vm.lines=60";
        gl(guests.modular()).append(module)
    }),
    case("gl-odd", Text, |guests| {
        let machine = guests.vt().append("vm.lines=100").direct();
        machine.gl().device(&format!("{GL_GPU},xres=1339,yres=757"))
    }),
    case("gl-mmio", Text, |guests| {
        let machine = guests.early().append("vm.lines=120").direct();
        let modern = machine.option("-global", "virtio-mmio.force-legacy=false");
        modern.gl().device("virtio-gpu-gl-device")
    }),
    case("gl-taken-back", Own(ours_again), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native vm.lines=60 \
            vm.native=0 vm.do=busybox,sleep,1 vm.lines=60";
        gl(guests.modular()).append(module)
    }),
    case("gpu-process-early", Text, |guests| {
        gpu_process(guests.early()).append("vm.lines=120")
    }),
    case("gpu-process-vt", Text, |guests| {
        gpu_process(guests.vt()).append("earlycon=virtgpu vm.lines=100")
    }),
    case(
        "gpu-process-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            let machine = gpu_process(guests.vt()).append("earlycon=virtgpu vm.lines=60");
            machine.append(SYSRQ)
        },
    ),
    // The process dies when any driver sets the device up for a second time. A panic must not.
    case("gpu-process-panic-in-paint", Dies(IN_PAINT), |guests| {
        in_paint(gpu_process(guests.vt()).append("earlycon=virtgpu"))
    })
    .on(BOTH),
    case("gpu-process-handover", Own(goes_on_without), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=20 vm.native vm.lines=20 \
            vm.do=busybox,sleep,8";
        gpu_process(guests.modular()).append(module)
    })
    .needs(&[Need::NoKasan, Need::Since(7, 3)]),
    case("gpu-process-crash", Own(stopped_by_next), |guests| {
        let first = guests.sample().append("virtgpu_bridge.handover=never");
        guests.next_kernel(crashing(gpu_process(first)))
    }),
    case("gpu-process-aavmf", Own(goes_on_without), |guests| {
        let machine = guests.early().append("vm.lines=20");
        machine.gpu_process()
    }),
    case("ramfb-before", Own(beside_ramfb), |guests| {
        let machine = guests.early().append("vm.lines=60");
        machine.device(RAMFB).device(NAMED_GPU)
    }),
    case("ramfb-after", Own(beside_ramfb), |guests| {
        let machine = guests.early().append("vm.lines=60");
        machine.device(NAMED_GPU).device(RAMFB)
    }),
    // Where the log goes to the virtual terminals, it goes to the framebuffer once that has them.
    case("ramfb-vt-before", Own(vt_on_ramfb), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=60");
        machine.device(RAMFB).device(NAMED_GPU)
    }),
    case("ramfb-vt-after", Own(vt_on_ramfb), |guests| {
        let machine = guests.vt().append("vm.lines=60");
        machine.device(NAMED_GPU).device(RAMFB)
    }),
    case("ramfb-vt-late", Own(vt_on_ramfb), |guests| {
        let machine = guests.vt().append("vm.lines=60");
        machine
            .device(&format!("{NAMED_GPU},iommu_platform=on"))
            .device(RAMFB)
    }),
    // A device of the VGA class has the framebuffer in a BAR, and does not show it once it has a
    // driver.
    case("vga", Own(vt_on_gpu), |guests| {
        let machine = guests
            .vt()
            .append("earlycon=virtgpu vm.lines=60 virtgpu_bridge.test=vga");
        machine.device(RAMFB).device(NAMED_GPU)
    }),
    case("vga-late", Own(vt_on_gpu), |guests| {
        let machine = guests.vt().append("vm.lines=60 virtgpu_bridge.test=vga");
        machine
            .device(RAMFB)
            .device(&format!("{NAMED_GPU},iommu_platform=on"))
    }),
];

pub const REMOVE: &str = "vm.do=echo,1,|,busybox,tee,/sys/bus/pci/drivers/virtgpu_bridge/0*/remove";

pub const FIND: &str = "vm.do=echo,1,>/sys/bus/pci/rescan vm.lines=60";

/// QEMU's GPU with OpenGL, on PCI.
const GL_GPU: &str = "virtio-gpu-gl-pci";

const RAMFB: &str = "ramfb,id=ramfb";

const NAMED_GPU: &str = "virtio-gpu-pci,id=gpu";

/// Returns a machine without firmware, whose GPU draws with OpenGL.
fn gl(machine: Machine) -> Machine {
    machine.direct().gl().device(GL_GPU)
}

/// Returns a machine without firmware, whose GPU is a process of its own.
fn gpu_process(machine: Machine) -> Machine {
    machine.direct().gpu_process()
}

/// How long a boot may take whose device has died, under a busy host's emulation.
const TIME_WITHOUT: Duration = Duration::from_secs(60);

/// Checks that the device dies meanwhile, and the boot goes on in bounded time. One line of the
/// driver's says that it does not answer, besides the line that announced it, if there was one.
fn goes_on_without(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    vm.check_kernel()?;
    let took = vm.age();
    ensure!(took < TIME_WITHOUT, "{} s", took.as_secs());
    let mut said = driver_lines(&vm.serial()?);
    said.retain(|line| !line.contains(": scanout "));
    ensure!(
        matches!(&said[..], [line] if line.contains("the device does not answer")),
        "not one line about it:\n{}",
        said.join("\n")
    );
    Ok(said.join("\n"))
}

/// Checks that the next kernel stops the device, by taking the bus from it. The process goes on
/// with the queue of a kernel that crashed until the device stops: a reset of the queue does not
/// reach it.
fn stopped_by_next(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.clone().traced().start(out)?;
    vm.wait_for("vm: waiting")?;
    ensure!(vm.serial_has("sysrq triggered crash")?, "no crash");
    ensure!(vm.was_stopped()?, "the device was not stopped");
    Ok("the device was stopped before it was set up".into())
}

/// Checks that the GPU shows all of the log. ramfb, where efifb has the virtual terminals by now,
/// shows none of the lines that came after that, as tty0 is no console.
fn beside_ramfb(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = guests.same_text(machine, Some("gpu"), out)?;
    let (path, picture) = vm.screenshot("ramfb.png", Some("ramfb"))?;
    let text = Screen::read(&picture, &guests.fonts).text();
    ensure!(!text.contains("vm: line"), "see {}", path.display());
    Ok(equal(rows))
}

/// Checks that efifb has the virtual terminals and shows the log; on the GPU there is nothing that
/// would not be kept up to date.
fn vt_on_ramfb(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = guests.same_text(machine, Some("ramfb"), out)?;
    let (path, picture) = vm.screenshot("gpu.png", Some("gpu"))?;
    ensure!(
        picture.is_blank(),
        "the GPU shows old text, see {}",
        path.display()
    );
    Ok(equal(rows))
}

/// Checks that the GPU has the virtual terminals, to the last line of the log.
fn vt_on_gpu(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (_, rows) = guests.same_text(machine, Some("gpu"), out)?;
    Ok(equal(rows))
}
