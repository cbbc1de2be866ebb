// SPDX-License-Identifier: GPL-2.0

//! Cases of real devices and firmware other than QEMU's 2D device and EDK2.

use crate::{
    bench::{driver_lines, Bench, GPU, READY},
    cases::{
        case, crashing, equal, handed_over, ours_again, Case,
        Expect::{Dies, Own, Text},
    },
    endings::{SYSRQ, TRACE},
    handoff::FILES,
    needs::Need,
    qemu::Machine,
    screen::Screen,
};
use anyhow::{ensure, Result};
use std::{fs, path::Path, time::Duration};

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
    case("gpu-process-early", Text, |bench| {
        gpu_process(bench.early()).append("vm.lines=120")
    }),
    case("gpu-process-vt", Text, |bench| {
        gpu_process(bench.vt()).append("earlycon=virtgpu vm.lines=100")
    }),
    case(
        "gpu-process-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| {
            let machine = gpu_process(bench.vt()).append("earlycon=virtgpu vm.lines=60");
            machine.append(SYSRQ)
        },
    ),
    // The process dies when any driver sets the device up for a second time.
    case("gpu-process-handover", Own(goes_on_without), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=20 vm.native vm.lines=20 \
            vm.do=busybox,sleep,8";
        gpu_process(bench.modular()).append(module)
    })
    .needs(&[Need::NoKasan, Need::Since(7, 3)]),
    case("gpu-process-crash", Own(stopped_by_next), |bench| {
        let first = bench.sample().append("virtgpu_bridge.handover=never");
        bench.next_kernel(crashing(gpu_process(first)))
    }),
    case("gpu-process-aavmf", Own(goes_on_without), |bench| {
        let machine = bench.early().append("vm.lines=20");
        machine.gpu_process()
    }),
    case("u-boot-booti", Own(boots_by_booti), |bench| {
        bench.early().append("vm.lines=60").u_boot().device(GPU)
    }),
    case("u-boot-booti-vt", Own(boots_by_booti), |bench| {
        bench.vt().append("vm.lines=60").u_boot().device(GPU)
    }),
    case("u-boot-bootefi", Own(boots_as_efi), |bench| {
        bench.early().append("vm.lines=60").u_boot().device(GPU)
    })
    .needs(&[Need::Firmware]),
    case("u-boot-bootefi-vt", Own(boots_as_efi), |bench| {
        bench.vt().append("vm.lines=60").u_boot().device(GPU)
    })
    .needs(&[Need::Firmware]),
    case("ramfb-before", Own(beside_ramfb), |bench| {
        let machine = bench.early().append("vm.lines=60");
        machine.device(RAMFB).device(NAMED_GPU)
    }),
    case("ramfb-after", Own(beside_ramfb), |bench| {
        let machine = bench.early().append("vm.lines=60");
        machine.device(NAMED_GPU).device(RAMFB)
    }),
    // Where the log goes to the virtual terminals, it goes to the framebuffer once that has them.
    case("ramfb-vt-before", Own(vt_on_ramfb), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=60");
        machine.device(RAMFB).device(NAMED_GPU)
    }),
    case("ramfb-vt-after", Own(vt_on_ramfb), |bench| {
        let machine = bench.vt().append("vm.lines=60");
        machine.device(NAMED_GPU).device(RAMFB)
    }),
    case("ramfb-vt-late", Own(vt_on_ramfb), |bench| {
        let machine = bench.vt().append("vm.lines=60");
        machine
            .device(&format!("{NAMED_GPU},iommu_platform=on"))
            .device(RAMFB)
    }),
    // A device of the VGA class has the framebuffer in a BAR, and does not show it once it has a
    // driver.
    case("vga", Own(vt_on_gpu), |bench| {
        let machine = bench
            .vt()
            .append("earlycon=virtgpu vm.lines=60 virtgpu_bridge.test=vga");
        machine.device(RAMFB).device(NAMED_GPU)
    }),
    case("vga-late", Own(vt_on_gpu), |bench| {
        let machine = bench.vt().append("vm.lines=60 virtgpu_bridge.test=vga");
        machine
            .device(RAMFB)
            .device(&format!("{NAMED_GPU},iommu_platform=on"))
    }),
];

/// QEMU's GPU with OpenGL, on PCI.
const GL_GPU: &str = "virtio-gpu-gl-pci";

const RAMFB: &str = "ramfb,id=ramfb";
const NAMED_GPU: &str = "virtio-gpu-pci,id=gpu";

/// A machine without firmware, whose GPU draws with OpenGL.
fn gl(machine: Machine) -> Machine {
    machine.direct().gl().device(GL_GPU)
}

/// One without firmware, whose GPU is a process of its own.
fn gpu_process(machine: Machine) -> Machine {
    machine.direct().gpu_process()
}

/// How long a boot may take whose device has died, under a busy host's emulation.
const TIME_WITHOUT: Duration = Duration::from_secs(60);

/// The device dies on the way, and the boot goes on in bounded time. One line of the driver's says
/// that it is gone, besides the line that announced it, if there was one.
fn goes_on_without(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
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

/// The process goes on with the ring of a kernel that crashed until the device stops: a reset of
/// the queue does not reach it. So the next kernel has the device stop, by taking the bus from it.
fn stopped_by_next(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.clone().traced().start(out)?;
    vm.wait_for("vm: waiting")?;
    ensure!(vm.serial_has("sysrq triggered crash")?, "no crash");
    ensure!(vm.was_stopped()?, "the device was not stopped");
    Ok("the device was stopped before it was set up".into())
}

/// U-Boot starts the kernel that QEMU gives it, with a device tree and without EFI.
fn boots_by_booti(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    ensure!(vm.serial_has("U-Boot 20")?, "that was not U-Boot");
    ensure!(vm.serial_has("efi: UEFI not found")?, "there is EFI");
    Ok(equal(rows))
}

/// U-Boot loads kernel and initramfs from a disk and starts the kernel as an EFI application.
fn boots_as_efi(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut machine = machine.clone();
    let disk = out.join("disk");
    fs::create_dir_all(&disk)?;
    for (file, name) in machine.take_kernel()?.iter().zip(FILES) {
        fs::copy(file, disk.join(name))?;
    }
    let [image, initrd] = FILES;
    let arguments = format!("setenv bootargs 'initrd={initrd} {}'", machine.words());
    let load = format!("load virtio 0:1 ${{kernel_addr_r}} {image}");
    let mut vm = machine.disk(&disk).start(out)?;
    vm.u_boot(&[
        &arguments,
        "virtio scan",
        &load,
        "bootefi ${kernel_addr_r} ${fdtcontroladdr}",
    ])?;
    let rows = bench.has_same_text(&mut vm, None, out)?;
    ensure!(vm.serial_has("efi: EFI v")?, "the kernel finds no EFI");
    Ok(equal(rows))
}

/// The GPU shows all of the log. ramfb, where efifb has the virtual terminals by now, shows none of
/// the lines that came after that, as tty0 is no console.
fn beside_ramfb(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = bench.same_text(machine, Some("gpu"), out)?;
    let (path, picture) = vm.screenshot("ramfb.png", Some("ramfb"))?;
    let text = Screen::read(&picture, &bench.fonts).text();
    ensure!(!text.contains("vm: line"), "see {}", path.display());
    Ok(equal(rows))
}

/// efifb has the virtual terminals and shows the log; on the GPU there is nothing that gets old.
fn vt_on_ramfb(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = bench.same_text(machine, Some("ramfb"), out)?;
    let (path, picture) = vm.screenshot("gpu.png", Some("gpu"))?;
    ensure!(
        picture.is_blank(),
        "the GPU shows old text, see {}",
        path.display()
    );
    Ok(equal(rows))
}

/// The GPU has the virtual terminals, to the last line of the log.
fn vt_on_gpu(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (_, rows) = bench.same_text(machine, Some("gpu"), out)?;
    Ok(equal(rows))
}
