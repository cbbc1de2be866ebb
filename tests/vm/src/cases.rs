// SPDX-License-Identifier: GPL-2.0

//! The cases of `vm test`: one machine each, or a few, and what its screen and its log must show.

use crate::{
    bench::{driver_lines, Bench, GPU, READY},
    log,
    qemu::Machine,
    screen::{show, Screen},
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// All that a case may use.
pub struct Kit {
    /// The kernel under test and what goes with it.
    pub bench: Bench,
    /// The same kernel without the driver.
    pub plain: PathBuf,
    /// Whether a module was given, and is in the initramfs.
    pub module: bool,
}

/// A case: what it is called, and a function that says what it saw or what is wrong.
pub struct Case {
    /// Also the name of its folder of logs and screenshots.
    pub name: &'static str,
    /// Whether it is left out without `--long`.
    pub long: bool,
    /// Runs it; the path is its folder.
    pub run: fn(&Kit, &Path) -> Result<String>,
}

const fn case(name: &'static str, run: fn(&Kit, &Path) -> Result<String>) -> Case {
    Case {
        name,
        long: false,
        run,
    }
}

const fn long(name: &'static str, run: fn(&Kit, &Path) -> Result<String>) -> Case {
    Case {
        name,
        long: true,
        run,
    }
}

/// All cases, those that take long first.
pub const CASES: &[Case] = &[
    case("long-log", |kit, out| same(kit, long_log(kit), out)),
    case("scroll-repaint", |kit, out| {
        same(
            kit,
            long_log(kit).append("virtgpu_bridge.scroll=repaint"),
            out,
        )
    }),
    case("early-panic", early_panic),
    case("first-line", first_line),
    case("aavmf", |kit, out| {
        same(kit, kit.bench.early().device(GPU), out)
    }),
    case("aavmf-root-port", |kit, out| {
        let ports = (1..=6).fold(kit.bench.early(), |machine, at| {
            machine.device(&format!("pcie-root-port,id=port{at},chassis={at}"))
        });
        let switch = ports
            .device("x3130-upstream,bus=port6,id=switch")
            .device("xio3130-downstream,bus=switch,id=leg,chassis=7");
        same(kit, switch.device("virtio-gpu-pci,bus=leg"), out)
    }),
    case("direct-pci", |kit, out| {
        same(kit, kit.bench.early().direct().device(GPU), out)
    }),
    case("direct-pci-root-port", |kit, out| {
        let machine = kit
            .bench
            .early()
            .direct()
            .device("pcie-root-port,id=port1,chassis=1");
        same(kit, machine.device("virtio-gpu-pci,bus=port1"), out)
    }),
    case("direct-mmio", |kit, out| same(kit, mmio(kit), out)),
    case("direct-mmio-legacy", |kit, out| {
        refused(
            kit.bench.early().direct().device("virtio-gpu-device"),
            "legacy",
            out,
        )
    }),
    case("told-mmio", |kit, out| {
        let told = kit.bench.told("earlycon=virtgpu,mmio32,0xa003e00");
        same(kit, modern(told.direct()), out)
    }),
    case("told-pci", |kit, out| {
        let told = kit.bench.told("earlycon=virtgpu,pci,0x4010000000,00:01.0");
        same(kit, told.device("virtio-gpu-pci,addr=1"), out)
    }),
    case("no-gpu", |kit, out| unharmed(kit.bench.early(), out)),
    case("no-gpu-direct", |kit, out| {
        unharmed(kit.bench.early().direct(), out)
    }),
    case("ramfb-only", |kit, out| {
        unharmed(kit.bench.early().device("ramfb"), out)
    }),
    case("two-gpus", two_gpus),
    case("640x480", |kit, out| same(kit, sized(kit, 640, 480), out)),
    case("1366x768", |kit, out| same(kit, sized(kit, 1366, 768), out)),
    case("1920x1080", |kit, out| {
        same(kit, sized(kit, 1920, 1080), out)
    }),
    case("3840x2160", |kit, out| {
        same(kit, sized(kit, 3840, 2160), out)
    }),
    case("handover-to-virtio", handover_to_virtio),
    case("handover-to-fbcon", handover_to_fbcon),
    case("iommu-platform", iommu_platform),
    case("module", |kit, out| {
        same(
            kit,
            module(kit)?
                .append("vm.insmod=/virtgpu_bridge.ko")
                .append(ALONE),
            out,
        )
    }),
    case("module-again", |kit, out| {
        let words =
            "vm.insmod=/virtgpu_bridge.ko vm.rmmod=virtgpu_bridge vm.insmod=/virtgpu_bridge.ko";
        same(kit, module(kit)?.append(words).append(ALONE), out)
    }),
    case("module-gives-back", |kit, out| {
        let words = "vm.unbind=virtio-pci vm.insmod=/virtgpu_bridge.ko vm.rmmod=virtgpu_bridge vm.bind=virtio-pci";
        same(kit, module(kit)?.append(words).append(FBCON), out)
    }),
    // The reader itself, on a picture that the kernel's own console draws.
    case("fbcon", |kit, out| {
        same(
            kit,
            kit.bench.guest(&kit.plain).append(FBCON).device(GPU),
            out,
        )
    }),
    long("smp", |kit, out| {
        same(kit, long_log(kit).option("-smp", "8"), out)
    }),
];

/// What the kernel says when the early console is in use.
const REGISTERED: &str = "bootconsole [virtgpu0] enabled";

/// Keeps the kernel's own drivers from the device.
const ALONE: &str = "initcall_blacklist=virtio_pci_driver_init";

/// Has the log on fbcon too, and enough of it to push off what was wrapped for 80 columns.
const FBCON: &str = "console=tty0 vm.lines=60";

fn long_log(kit: &Kit) -> Machine {
    kit.bench
        .early()
        .append("vm.lines=400 vm.bytes vm.lines=30")
        .device(GPU)
}

fn sized(kit: &Kit, width: u32, height: u32) -> Machine {
    kit.bench
        .early()
        .device(&format!("{GPU},xres={width},yres={height}"))
}

/// Adds the GPU as a virtio-mmio device of version 2.
fn modern(machine: Machine) -> Machine {
    machine
        .option("-global", "virtio-mmio.force-legacy=false")
        .device("virtio-gpu-device")
}

fn mmio(kit: &Kit) -> Machine {
    modern(kit.bench.early().direct())
}

fn module(kit: &Kit) -> Result<Machine> {
    ensure!(kit.module, "no module was given (--module)");
    Ok(kit.bench.guest(&kit.plain).device(GPU))
}

/// The text on the screen is the end of the log.
fn same(kit: &Kit, machine: Machine, out: &Path) -> Result<String> {
    let (_, rows) = kit.bench.same_text(&machine, None, out)?;
    Ok(equal(rows))
}

fn equal(rows: usize) -> String {
    format!("{rows} of {rows} rows")
}

/// The boot goes on, and the driver has at most one line to say.
fn unharmed(machine: Machine, out: &Path) -> Result<String> {
    let (lines, _) = boot(&machine, out)?;
    ensure!(
        lines.len() <= 1,
        "the driver says more than one line without its device:\n{}",
        lines.join("\n")
    );
    Ok(lines.into_iter().next().unwrap_or_else(|| "no line".into()))
}

/// The boot goes on, and one line of the driver's names the reason why it does not use the device.
fn refused(machine: Machine, reason: &str, out: &Path) -> Result<String> {
    let (lines, _) = boot(&machine, out)?;
    let line = lines
        .iter()
        .find(|line| line.to_lowercase().contains(&reason.to_lowercase()));
    let line = line.with_context(|| format!("no line says '{reason}':\n{}", lines.join("\n")))?;
    Ok(line.trim().to_owned())
}

/// Boots to init; gives what the driver says and whether its console was registered.
fn boot(machine: &Machine, out: &Path) -> Result<(Vec<String>, bool)> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    vm.check_guest_errors()?;
    Ok((driver_lines(&vm.serial()?), vm.serial_has(REGISTERED)?))
}

/// A device behind an IOMMU is either used or refused for the feature's name.
fn iommu_platform(kit: &Kit, out: &Path) -> Result<String> {
    let machine = kit.bench.early().device("virtio-gpu-pci,iommu_platform=on");
    let (_, registered) = boot(&machine, &out.join("first"))?;
    if registered {
        same(kit, machine, out)
    } else {
        refused(machine, "ACCESS_PLATFORM", out)
    }
}

/// The kernel's own driver takes the device; the boot goes on and the device sees nothing wrong.
fn handover_to_virtio(kit: &Kit, out: &Path) -> Result<String> {
    let machine = kit.bench.early_only().append("vm.lines=50").device(GPU);
    let (_, registered) = boot(&machine, out)?;
    ensure!(registered, "the early console was not registered");
    Ok("the boot went on".into())
}

/// The same, and the kernel's own console then shows the log.
fn handover_to_fbcon(kit: &Kit, out: &Path) -> Result<String> {
    let machine = kit.bench.early_only().append(FBCON).device(GPU);
    let (vm, rows) = kit.bench.same_text(&machine, None, out)?;
    ensure!(
        vm.serial_has(REGISTERED)?,
        "the early console was not registered"
    );
    Ok(equal(rows))
}

/// The first of two GPUs is used, the log says which, and the other stays dark.
fn two_gpus(kit: &Kit, out: &Path) -> Result<String> {
    let machine = kit
        .bench
        .early()
        .device("virtio-gpu-pci,id=one,addr=3")
        .device("virtio-gpu-pci,id=two,addr=4");
    let (mut vm, rows) = kit.bench.same_text(&machine, Some("one"), out)?;
    let lines = driver_lines(&vm.serial()?);
    ensure!(
        lines.iter().any(|line| line.contains("00:03.0")),
        "the log does not say that 00:03.0 was chosen:\n{}",
        lines.join("\n")
    );
    let (path, picture) = vm.screenshot("other.png", Some("two"))?;
    ensure!(
        !Screen::read(&picture, &kit.bench.fonts).is_text(),
        "text on the other GPU, see {}",
        path.display()
    );
    Ok(equal(rows))
}

/// On a screen tall enough for the whole log, that begins in the first row, early and late.
fn first_line(kit: &Kit, out: &Path) -> Result<String> {
    let fonts = &kit.bench.fonts;
    let mut vm = sized(kit, 640, 4192).start(out)?;
    let (early, age) = vm.wait("text on the screen", Duration::from_secs(60), |vm| {
        let (_, picture) = vm.screenshot("early.png", None)?;
        let screen = Screen::read(&picture, fonts);
        Ok(screen.is_text().then(|| (screen, vm.age())))
    })?;
    vm.wait_for(READY)?;
    let all = kit.bench.look(&mut vm, None, out, |screen, vm| {
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
    vm.check_guest_errors()?;
    Ok(format!(
        "{} after {:.1} s, {} at the end",
        equal(first),
        age.as_secs_f32(),
        equal(all)
    ))
}

/// A kernel that dies before it has an allocator shows all it says, as the serial port does.
fn early_panic(kit: &Kit, out: &Path) -> Result<String> {
    let machine = |console: &str| kit.bench.told(console).append("mem=1M nokaslr").device(GPU);
    let end = "---[ end Kernel panic";
    let mut reference = machine("earlycon=pl011,0x9000000").start(&out.join("reference"))?;
    reference.wait_for(end)?;
    let serial = reference.serial()?;
    drop(reference);
    let mut vm = machine("earlycon=virtgpu").start(out)?;
    let rows = kit.bench.look(&mut vm, None, out, |screen, _| {
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
