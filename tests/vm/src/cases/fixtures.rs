// SPDX-License-Identifier: GPL-2.0

//! What cases of several subjects have in common: machines, and checks.

use anyhow::{ensure, Context, Result};
use std::path::Path;
use vm::{
    guests::{driver_lines, Guests, READY, TIME_FOR_TEXT},
    log,
    qemu::{Machine, Vm},
    screen::Screen,
};

/// A GPU with a screen of 80x25 characters.
pub const SMALL_GPU: &str = "virtio-gpu-pci,xres=640,yres=400";

/// Keeps the kernel's own drivers from the device.
pub const ALONE: &str = "initcall_blacklist=virtio_pci_driver_init,virtio_mmio_init";

/// Has the log on fbcon too, and enough of it to push off what was wrapped for 80 columns.
pub const FBCON: &str = "console=tty0 vm.lines=60";

/// Returns the GPU as a virtio-mmio device of version 2, without firmware.
pub fn modern_mmio(machine: Machine) -> Machine {
    mmio_with(machine, "id=gpu")
}

/// Returns the same, with properties of its own.
pub fn mmio_with(machine: Machine, properties: &str) -> Machine {
    let modern = machine
        .direct()
        .option("-global", "virtio-mmio.force-legacy=false");
    modern.device(&format!("virtio-gpu-device,{properties}"))
}

pub fn equal(rows: usize) -> String {
    format!("{rows} of {rows} rows")
}

pub fn text(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (_, rows) = guests.same_text(machine, None, out)?;
    Ok(equal(rows))
}

pub fn unharmed(machine: &Machine, out: &Path) -> Result<String> {
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

pub fn refused(machine: &Machine, reason: &str, out: &Path) -> Result<String> {
    let lines = driver_lines(&boot(machine, out)?.serial()?);
    let line = lines.iter().find(|line| line.contains(reason));
    let line = line.with_context(|| format!("no line says '{reason}':\n{}", lines.join("\n")))?;
    Ok(line.trim().to_owned())
}

/// Boots to init, without a fault of the kernel's or a word from QEMU.
pub fn boot(machine: &Machine, out: &Path) -> Result<Vm> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    vm.check()?;
    Ok(vm)
}

pub const WAITING: &str = "vm: waiting";

/// Returns how often the guest has said this.
pub fn times(vm: &Vm, words: &str) -> Result<usize> {
    let serial = vm.serial()?;
    Ok(String::from_utf8_lossy(&serial).matches(words).count())
}

/// Checks that the log begins in the first row of a screen that is tall enough for all of it, early
/// and late.
pub fn first_line(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let (early, age) = vm.wait("text on the screen", TIME_FOR_TEXT, |vm| {
        let (_, picture) = vm.screenshot("early.png", None)?;
        let screen = Screen::read(&picture, &guests.fonts);
        Ok(screen.is_console().then(|| (screen, vm.age())))
    })?;
    vm.wait_for(READY)?;
    let all = guests.wait_for_screen(&mut vm, None, out, |screen, vm| {
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
        .with_context(|| format!("the early screen, see {}", out.join("early.png").display()))?;
    vm.check()?;
    Ok(format!(
        "{} after {:.1} s, {} at the end",
        equal(first),
        age.as_secs_f32(),
        equal(all)
    ))
}
