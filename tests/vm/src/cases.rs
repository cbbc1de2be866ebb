// SPDX-License-Identifier: GPL-2.0

//! The cases of `vm test`: a machine each, and what its screen and its log must show.

use crate::{
    bench::{driver_lines, Bench, GPU, READY, TIME_FOR_TEXT},
    log,
    qemu::{Machine, Vm},
    screen::{show, Screen},
};
use anyhow::{bail, ensure, Context, Result};
use std::path::Path;

/// A case.
pub struct Case {
    /// Also the name of its folder of logs and screenshots.
    pub name: &'static str,
    machine: fn(&Bench) -> Machine,
    expect: Expect,
}

/// What must be seen of a machine.
enum Expect {
    /// The text on the screen is the end of the log.
    Text,
    /// The boot goes on, and the driver has at most one line to say.
    Unharmed,
    /// The boot goes on, and a line of the driver's says why it does not use the device.
    Refused(&'static str),
    /// Something else; the path is the case's folder.
    Own(fn(&Bench, &Machine, &Path) -> Result<String>),
}
use Expect::{Own, Refused, Text, Unharmed};

const fn case(name: &'static str, expect: Expect, machine: fn(&Bench) -> Machine) -> Case {
    Case {
        name,
        machine,
        expect,
    }
}

impl Case {
    /// Runs the case in the folder `out`; says what was seen.
    pub fn run(&self, bench: &Bench, out: &Path) -> Result<String> {
        let machine = (self.machine)(bench);
        match self.expect {
            Text => text(bench, &machine, out),
            Unharmed => unharmed(&machine, out),
            Refused(reason) => refused(&machine, reason, out),
            Own(run) => run(bench, &machine, out),
        }
    }
}

/// The cases, those that take long first.
pub const CASES: &[Case] = &[
    case("long-log", Text, long_log),
    case("scroll-repaint", Text, |bench| {
        long_log(bench).append("virtgpu_bridge.scroll=repaint")
    }),
    case("early-panic", Own(early_panic), |bench| {
        bench.told("mem=1M nokaslr").device(GPU)
    }),
    case("first-line", Own(first_line), |bench| {
        sized(bench, 640, 4080)
    }),
    case("aavmf", Text, |bench| bench.early().device(GPU)),
    case("aavmf-root-port", Text, |bench| {
        let ports = (1..=6).fold(bench.early(), |machine, at| {
            machine.device(&format!("pcie-root-port,id=port{at},chassis={at}"))
        });
        let switch = ports.device("x3130-upstream,bus=port6,id=up");
        let leg = switch.device("xio3130-downstream,bus=up,id=leg,chassis=7");
        leg.device("virtio-gpu-pci,bus=leg")
    }),
    case("aavmf-second-root", Text, |bench| {
        let root = bench.early().device("pxb-pcie,id=root,bus_nr=128");
        let port = root.device("pcie-root-port,id=port1,bus=root,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("direct-pci", Text, |bench| {
        bench.early().direct().device(GPU)
    }),
    case("direct-pci-root-port", Text, |bench| {
        let port = bench
            .early()
            .direct()
            .device("pcie-root-port,id=port1,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("direct-mmio", Text, |bench| modern_mmio(bench.early())),
    case("direct-mmio-legacy", Refused("legacy"), |bench| {
        bench.early().direct().device("virtio-gpu-device")
    }),
    case("told-mmio", Text, |bench| {
        modern_mmio(bench.told("earlycon=virtgpu,mmio32,0xa003e00"))
    }),
    case("told-pci", Text, |bench| {
        let told = bench.told("earlycon=virtgpu,pci,0x4010000000,00:01.0");
        told.device("virtio-gpu-pci,addr=1")
    }),
    case(
        "told-wrong",
        Refused("00:02.0: no virtio-gpu there"),
        |bench| {
            let told = bench.told("earlycon=virtgpu,pci,0x4010000000,00:02.0");
            told.device("virtio-gpu-pci,addr=1")
        },
    ),
    case("no-gpu", Unharmed, Bench::early),
    case("no-gpu-direct", Unharmed, |bench| bench.early().direct()),
    case("ramfb-only", Unharmed, |bench| {
        bench.early().device("ramfb")
    }),
    case("two-gpus", Own(two_gpus), |bench| {
        let one = bench.early().device("virtio-gpu-pci,id=one,addr=3");
        one.device("virtio-gpu-pci,id=two,addr=4")
    }),
    case("640x480", Text, |bench| sized(bench, 640, 480)),
    case("1366x768", Text, |bench| sized(bench, 1366, 768)),
    case("1920x1080", Text, |bench| sized(bench, 1920, 1080)),
    case("3840x2160", Text, |bench| sized(bench, 3840, 2160)),
    // More rows than a console may have.
    case("640x4192", Text, |bench| sized(bench, 640, 4192)),
    case("handover-to-virtio", Own(handover), |bench| {
        bench.shared().device(GPU)
    }),
    case("handover-to-virtio-mmio", Own(handover), |bench| {
        modern_mmio(bench.shared())
    }),
    case("handover-to-fbcon", Own(handover_to_fbcon), |bench| {
        bench.shared().append(FBCON).device(GPU)
    }),
    case("iommu-platform", Own(iommu_platform), |bench| {
        bench.early().device("virtio-gpu-pci,iommu_platform=on")
    }),
    case("module", Text, |bench| {
        bench.plain().append(ALONE).append(INSMOD).device(GPU)
    }),
    case("module-again", Text, |bench| {
        let twice = bench
            .plain()
            .append(ALONE)
            .append(INSMOD)
            .append(RMMOD)
            .append(INSMOD);
        twice.device(GPU)
    }),
    case("module-gives-back", Text, |bench| {
        let lent = bench
            .plain()
            .append("vm.unbind=virtio-pci")
            .append(INSMOD)
            .append(RMMOD);
        lent.append("vm.bind=virtio-pci").append(FBCON).device(GPU)
    }),
    // The reader itself, on a picture that the kernel's own console draws.
    case("fbcon", Text, |bench| {
        bench.plain().append(FBCON).device(GPU)
    }),
];

/// More cases, with `--long`.
pub const LONG_CASES: &[Case] = &[
    case("eight-cpus", Text, |bench| {
        long_log(bench).option("-smp", "8")
    }),
    case("long-log-3840x2160", Text, |bench| {
        sized(bench, 3840, 2160).append(LONG_LOG)
    }),
    case("long-log-mmio", Text, |bench| {
        modern_mmio(bench.early()).append(LONG_LOG)
    }),
];

/// Keeps the kernel's own drivers from the device.
const ALONE: &str = "initcall_blacklist=virtio_pci_driver_init,virtio_mmio_init";
const INSMOD: &str = "vm.insmod=/virtgpu_bridge.ko";
const RMMOD: &str = "vm.rmmod=virtgpu_bridge";

/// More than five screens of 160x50, lines longer than a row, and what is not ASCII.
const LONG_LOG: &str = "vm.lines=400 vm.bytes vm.lines=30";

/// Has the log on fbcon too, and enough of it to push off what was wrapped for 80 columns.
const FBCON: &str = "console=tty0 vm.lines=60";

fn long_log(bench: &Bench) -> Machine {
    bench.early().append(LONG_LOG).device(GPU)
}

fn sized(bench: &Bench, width: u32, height: u32) -> Machine {
    bench
        .early()
        .device(&format!("{GPU},xres={width},yres={height}"))
}

/// The GPU as a virtio-mmio device of version 2, without firmware.
fn modern_mmio(machine: Machine) -> Machine {
    let modern = machine
        .direct()
        .option("-global", "virtio-mmio.force-legacy=false");
    modern.device("virtio-gpu-device")
}

fn equal(rows: usize) -> String {
    format!("{rows} of {rows} rows")
}

fn text(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (_, rows) = bench.same_text(machine, None, out)?;
    Ok(equal(rows))
}

fn unharmed(machine: &Machine, out: &Path) -> Result<String> {
    let lines = driver_lines(&boot(machine, out)?.serial()?);
    let said = lines.join("\n");
    ensure!(
        lines.len() <= 1,
        "the driver says more than one line without its device:\n{said}"
    );
    Ok(if said.is_empty() {
        "not a word".into()
    } else {
        said
    })
}

fn refused(machine: &Machine, reason: &str, out: &Path) -> Result<String> {
    let lines = driver_lines(&boot(machine, out)?.serial()?);
    let line = lines.iter().find(|line| line.contains(reason));
    let line = line.with_context(|| format!("no line says '{reason}':\n{}", lines.join("\n")))?;
    Ok(line.trim().to_owned())
}

/// Boots to init, without a fault of the kernel's or a word from QEMU.
fn boot(machine: &Machine, out: &Path) -> Result<Vm> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(vm)
}

/// Whether the early console is, or was, in use.
fn registered(vm: &Vm) -> Result<bool> {
    vm.serial_has("bootconsole [virtgpu0] enabled")
}

/// A device behind an IOMMU is either used or refused for the feature's name.
fn iommu_platform(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    if registered(&boot(machine, &out.join("first"))?)? {
        text(bench, machine, out)
    } else {
        refused(machine, "ACCESS_PLATFORM", out)
    }
}

/// The kernel's own driver takes the device; the boot goes on and the device sees nothing wrong.
fn handover(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let vm = boot(&machine.clone().append("vm.lines=50"), out)?;
    ensure!(registered(&vm)?, "the early console was not registered");
    ensure!(
        vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu did not get the device"
    );
    Ok("the boot went on".into())
}

/// The same, and the kernel's own console then shows the log.
fn handover_to_fbcon(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    ensure!(registered(&vm)?, "the early console was not registered");
    Ok(equal(rows))
}

/// The first of two GPUs is used, the log says which, and the other stays dark.
fn two_gpus(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = bench.same_text(machine, Some("one"), out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(
        said.contains("00:03.0"),
        "the log does not say that 00:03.0 was chosen:\n{said}"
    );
    let (path, picture) = vm.screenshot("other.png", Some("two"))?;
    let other = Screen::read(&picture, &bench.fonts);
    ensure!(
        !other.is_console(),
        "text on the other GPU, see {}",
        path.display()
    );
    Ok(equal(rows))
}

/// On a screen tall enough for the whole log, that begins in the first row, early and late.
fn first_line(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let (early, age) = vm.wait("text on the screen", TIME_FOR_TEXT, |vm| {
        let (_, picture) = vm.screenshot("early.png", None)?;
        let screen = Screen::read(&picture, &bench.fonts);
        Ok(screen.is_console().then(|| (screen, vm.age())))
    })?;
    vm.wait_for(READY)?;
    let all = bench.look(&mut vm, None, out, |screen, vm| {
        let serial = vm.serial()?;
        let rows = log::lay_out(log::kernel_part(&serial), screen.columns);
        ensure!(
            rows.len() < screen.rows.len(),
            "the log is longer than the screen"
        );
        log::compare_rows(screen, &rows)
    })?;
    let serial = vm.serial()?;
    let first = log::compare_head(&early, log::kernel_part(&serial))
        .with_context(|| format!("an early look, see {}", out.join("early.png").display()))?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(format!(
        "{} after {:.1} s, {} at the end",
        equal(first),
        age.as_secs_f32(),
        equal(all)
    ))
}

/// A kernel that dies before it has an allocator shows all it says, as the serial port does.
fn early_panic(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let end = "---[ end Kernel panic";
    let mut reference = machine
        .clone()
        .append("earlycon=pl011,0x9000000")
        .start(&out.join("reference"))?;
    reference.wait_for(end)?;
    let serial = reference.serial()?;
    drop(reference);
    let mut vm = machine.clone().append("earlycon=virtgpu").start(out)?;
    vm.wait("the panic's last line on the screen", TIME_FOR_TEXT, |vm| {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        Ok(Screen::read(&picture, &bench.fonts)
            .text()
            .contains(end)
            .then_some(()))
    })?;
    let rows = bench.look(&mut vm, None, out, |screen, _| {
        let expected = log::lay_out(log::kernel_part(&serial), screen.columns);
        let expected = comparable(
            expected
                .iter()
                .map(|row| String::from_utf8_lossy(row).into_owned()),
        );
        let seen = comparable(screen.written().iter().map(|row| show(row)));
        // What scrolled away cannot be seen, but of what can be nothing may be missing.
        let scrolled = expected.len().saturating_sub(seen.len());
        ensure!(
            scrolled == 0 || screen.written().len() + 1 >= screen.rows.len(),
            "only {} rows of {}",
            seen.len(),
            expected.len()
        );
        for (at, (expected, seen)) in expected[scrolled..].iter().zip(&seen).enumerate() {
            ensure!(
                expected == seen,
                "row {} from above, without the console's own lines:\n    expected |{expected}|\n    read     |{seen}|",
                at + 1
            );
        }
        ensure!(screen.clean_edges, "the strip right of or below the text is not black");
        match seen.last() {
            Some(last) if last.contains(end) && seen.len() <= expected.len() => Ok(seen.len()),
            last => bail!("the last row is {last:?}"),
        }
    })?;
    vm.check_guest_errors()?;
    Ok(equal(rows))
}

/// Rows without what two boots with different early consoles may differ in: the console's own
/// lines, times, and addresses.
fn comparable(rows: impl Iterator<Item = String>) -> Vec<String> {
    let console = ["earlycon", "bootconsole", "virtgpu"];
    rows.filter(|row| !console.iter().any(|word| row.contains(word)))
        .map(|row| {
            let message = row
                .split_once("] ")
                .filter(|_| row.starts_with('['))
                .map_or(&*row, |(_, rest)| rest);
            let hide = |part: &str| {
                let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                match word.trim_start_matches("0x") {
                    hex if hex.len() >= 8 && hex.chars().all(|c| c.is_ascii_hexdigit()) => {
                        part.replace(word, "#")
                    }
                    _ => part.to_owned(),
                }
            };
            let parts = message
                .trim_end()
                .split_inclusive(|c: char| !c.is_ascii_alphanumeric());
            parts.map(hide).collect()
        })
        .collect()
}
