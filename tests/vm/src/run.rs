// SPDX-License-Identifier: GPL-2.0

//! `vm run`: one boot as a user sees it, kept as screenshots and text.

use anyhow::{bail, Context, Result};
use std::{fs, path::Path, process::Command, thread, time::Duration};
use vm::{
    guests::{Guests, GPU, READY, TIME_FOR_TEXT},
    qemu::Vm,
    screen::Screen,
};

/// Boots a kernel under firmware and takes screenshots until init is done. With a
/// window it stays until that is closed.
pub fn run(guests: &Guests, window: bool, out: &Path) -> Result<()> {
    for entry in fs::read_dir(out)?.flatten() {
        if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "png")
        {
            fs::remove_file(entry.path())?;
        }
    }
    let mut machine = guests.early().append("vm.lines=20").device(GPU);
    if window {
        machine = machine.window(display()?);
    }
    let mut vm = machine.start(out)?;

    // The firmware's picture is the last one that is no text; QEMU has a text of its own for a
    // display that is off.
    let (early, text) = ("early.png", "2-first-text.png");
    vm.wait("text on the screen", TIME_FOR_TEXT, |vm| {
        let (path, picture) = vm.screenshot(early, None)?;
        let screen = Screen::read(&picture, &guests.fonts);
        let is_console = screen.is_console();
        if is_console {
            fs::rename(path, out.join(text))?;
        } else if screen.unreadable() > 0 {
            fs::rename(path, out.join("1-firmware.png"))?;
        } else {
            fs::remove_file(path)?;
        }
        Ok(is_console.then_some(()))
    })?;
    moment(&vm, "first text on the screen");
    thread::sleep(Duration::from_millis(400));
    vm.screenshot("3-later.png", None)?;
    moment(&vm, "later");
    vm.wait_for(READY)?;
    let rows = guests.has_log_end(&mut vm, None, out);
    fs::rename(out.join("screen.png"), out.join("4-end.png"))?;
    moment(&vm, "init is running");

    println!("\nIn {}:", out.display());
    for (name, what) in [
        ("1-firmware.png", "the last picture of the firmware's"),
        (text, "the first text seen"),
        ("3-later.png", "0.4 s later"),
        ("4-end.png", "init is running"),
        ("screen.txt", "the text read off 4-end.png"),
        ("serial.log", "what the serial port got"),
        ("qemu.log", "what QEMU says of the guest"),
    ] {
        if out.join(name).exists() {
            println!("  {name:<18}{what}");
        }
    }
    let rows = rows?;
    println!("{rows} of {rows} rows on the screen equal the log on the serial port, character for character.");
    if window {
        println!("Close the window to end.");
        vm.wait_closed()?;
    }
    vm.check_guest_errors()
}

fn moment(vm: &Vm, what: &str) {
    println!("{:5.1} s  {what}", vm.age().as_secs_f32());
}

/// Returns the first kind of window that this QEMU has.
fn display() -> Result<&'static str> {
    let output = Command::new("qemu-system-aarch64")
        .args(["-display", "help"])
        .output()
        .context("cannot run QEMU")?;
    let known = String::from_utf8_lossy(&output.stdout).into_owned();
    match ["gtk", "sdl"]
        .into_iter()
        .find(|kind| known.lines().any(|line| line.trim() == *kind))
    {
        Some(kind) => Ok(kind),
        None => bail!("this QEMU can open no window: install qemu-system-gui"),
    }
}
