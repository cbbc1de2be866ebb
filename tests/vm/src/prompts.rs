// SPDX-License-Identifier: GPL-2.0

//! Cases of Debian's own initramfs, with cryptsetup and plymouth and without virtio_gpu: it asks
//! for the passphrase of a disk on the screen.

use crate::{
    bench::{Bench, GPU},
    cases::{case, Case, Expect::Own},
    qemu::{Machine, Vm, LIMIT},
    screen::Screen,
};
use anyhow::{ensure, Result};
use std::{fs, path::Path, thread, time::Duration};

/// The cases.
pub const PROMPTS: &[Case] = &[
    case("prompt-plain", Own(unlocked), |bench| {
        asks(bench, "console=tty0 quiet")
    }),
    case("prompt-plain-early", Own(unlocked), |bench| {
        asks(bench, "earlycon=virtgpu console=tty0")
    }),
    case("prompt-splash", Own(unlocked), |bench| {
        asks(bench, "console=tty0 quiet splash")
    }),
    case("prompt-splash-early", Own(unlocked), |bench| {
        asks(bench, "earlycon=virtgpu console=tty0 quiet splash")
    }),
    case("prompt-splash-nobody", Own(unlocked), |bench| {
        asks(bench, "quiet splash")
    }),
    case("prompt-splash-serial-before", Own(unlocked), |bench| {
        asks(bench, "quiet splash console=ttyAMA0 console=tty0")
    }),
    case("prompt-splash-serial-last", Own(unlocked), |bench| {
        asks(bench, "console=tty0 console=ttyAMA0 quiet splash")
    }),
    case("prompt-splash-log", Own(unlocked), |bench| {
        asks(bench, "earlycon=virtgpu console=tty0 splash")
    }),
    case("prompt-splash-wrong", Own(refused_first), |bench| {
        asks(bench, "console=tty0 quiet splash")
    }),
];

/// What asks, with plymouth and without.
const PROMPT: &str = "Please unlock disk disk:";

/// A machine that asks for a passphrase, with a keyboard.
fn asks(bench: &Bench, words: &str) -> Machine {
    let machine = bench.debian().append(words).direct();
    machine.device(GPU).device("virtio-keyboard-pci")
}

fn unlocked(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let mut vm = machine.start(out)?;
    let after = prompted(bench, &mut vm, out)?;
    answer(&mut vm, "o p e n spc s e s a m e ret")?;
    opened(&mut vm)?;
    Ok(format!(
        "asked after {:.1} s, and answered",
        after.as_secs_f64()
    ))
}

/// A wrong passphrase is refused on the screen, and the next one is taken.
fn refused_first(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let mut vm = machine.start(out)?;
    prompted(bench, &mut vm, out)?;
    answer(&mut vm, "w r o n g ret")?;
    wait_for(bench, &mut vm, "bad password", out)?;
    prompted(bench, &mut vm, out)?;
    answer(&mut vm, "o p e n spc s e s a m e ret")?;
    opened(&mut vm)?;
    Ok("asked, refused and answered on the screen".into())
}

/// Waits until somebody is asked. Returns for how long the machine has run by then.
fn prompted(bench: &Bench, vm: &mut Vm, out: &Path) -> Result<Duration> {
    wait_for(bench, vm, PROMPT, out)?;
    Ok(vm.age())
}

/// Waits for words on the screen, in whatever colours: plymouth has its own.
fn wait_for(bench: &Bench, vm: &mut Vm, words: &str, out: &Path) -> Result<()> {
    vm.wait(&format!("'{words}' on the screen"), LIMIT, |vm| {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        let text = Screen::read(&picture.in_two_colours(), &bench.fonts).text();
        fs::write(out.join("screen.txt"), &text)?;
        Ok(text.contains(words).then_some(()))
    })
}

fn answer(vm: &mut Vm, keys: &str) -> Result<()> {
    // What was typed before it asks is thrown away, right after it has asked.
    thread::sleep(Duration::from_secs(1));
    vm.press(keys)
}

/// The disk was opened, and nobody but us had the screen.
fn opened(vm: &mut Vm) -> Result<()> {
    vm.wait_for("vm: 'what was locked' is read")?;
    ensure!(
        !vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu was there"
    );
    vm.check_kernel()?;
    vm.check_guest_errors()
}
