// SPDX-License-Identifier: GPL-2.0

//! Cases of a whole Debian system, from firmware to a login, for `vm debian`. What is on the screen
//! is read, and what is not is asked for there: nothing is said on the serial port.

use super::{case, crash::TRACE, group, Case, Expect::Own, Group};
use anyhow::{ensure, Result};
use std::{fs, path::Path, thread, time::Duration};
use vm::{
    guests::Guests,
    qemu::{Machine, Vm},
    screen::Screen,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("debian-quiet", Own(to_native), |guests| {
        guests.system("quiet")
    }),
    case("debian-splash", Own(to_native), |guests| {
        guests.system("quiet splash")
    }),
    case("debian-nomodeset", Own(on_ours), |guests| {
        guests.system("quiet nomodeset")
    }),
    case("debian-panic", Own(panics), |guests| {
        guests.system("quiet nomodeset")
    }),
];

/// Limits the time from an answer to the login.
const ANSWER: Duration = Duration::from_secs(60);

/// Asks for a login.
const LOGIN: &str = "debian login:";

/// Limits the time of a step of the boot.
const STEP: Duration = Duration::from_secs(400);

/// Starts the machine. The words for its kernel are on a disk of their own.
fn start(machine: &Machine, out: &Path) -> Result<Vm> {
    let folder = out.join("words");
    fs::create_dir_all(&folder)?;
    let lines = format!("set words=\"{}\"\n", machine.words());
    fs::write(folder.join("words.cfg"), lines)?;
    machine.clone().disk(&folder).start(out)
}

/// Waits for words on the screen, in whatever colours. Returns all of its text.
fn wait_for(guests: &Guests, vm: &mut Vm, words: &str, out: &Path) -> Result<String> {
    wait_within(STEP, guests, vm, words, out)
}

/// Does the same, for so long.
fn wait_within(
    limit: Duration,
    guests: &Guests,
    vm: &mut Vm,
    words: &str,
    out: &Path,
) -> Result<String> {
    vm.wait(&format!("'{words}' on the screen"), limit, |vm| {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        let text = Screen::read(&picture.in_two_colours(), &guests.fonts).text();
        fs::write(out.join("screen.txt"), &text)?;
        Ok(text.contains(words).then_some(text))
    })
}

/// Starts the machine, and opens its disk when it asks for the passphrase.
fn unlock(guests: &Guests, machine: &Machine, out: &Path) -> Result<Vm> {
    let mut vm = start(machine, out)?;
    vm.wait("firmware's picture", STEP, |vm| {
        let (_, picture) = vm.screenshot("firmware.png", None)?;
        Ok((picture.colours() > 16).then_some(()))
    })?;
    wait_for(guests, &mut vm, "Please unlock disk system:", out)?;
    vm.screenshot("prompt.png", None)?;
    // The keyboard's driver may come after the question: what was typed before is lost.
    let mut tries = 0..4;
    loop {
        thread::sleep(Duration::from_secs(3));
        vm.press("ctrl-u o p e n spc s e s a m e ret")?;
        match wait_within(ANSWER, guests, &mut vm, LOGIN, out) {
            Ok(_) => return Ok(vm),
            Err(_) if tries.next().is_some() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Logs in on the first terminal.
fn log_in(guests: &Guests, vm: &mut Vm, out: &Path) -> Result<()> {
    wait_for(guests, vm, LOGIN, out)?;
    vm.press("r o o t ret")?;
    wait_for(guests, vm, "Password:", out)?;
    thread::sleep(Duration::from_secs(2));
    vm.press("s e s a m e ret")?;
    wait_for(guests, vm, "root@debian:~#", out)?;
    vm.screenshot("login.png", None)?;
    Ok(())
}

/// Runs a command at the prompt, and waits for words of its output.
fn run(guests: &Guests, vm: &mut Vm, keys: &str, words: &str, out: &Path) -> Result<String> {
    vm.press(&format!("ctrl-l {keys} ret"))?;
    wait_for(guests, vm, words, out)
}

/// The keys of `cat /sys/class/vtconsole/*/name`: who draws the terminals.
const ASKS_WHO_DRAWS: &str = "c a t spc slash s y s slash c l a s s slash v t c o n s o l e slash \
    shift-8 slash n a m e";

/// Checks that the prompt is on the screen, and the login on that of Debian's own virtio-gpu.ko.
fn to_native(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = unlock(guests, machine, out)?;
    log_in(guests, &mut vm, out)?;
    run(
        guests,
        &mut vm,
        ASKS_WHO_DRAWS,
        "(M) frame buffer device",
        out,
    )?;
    vm.check()?;
    Ok("prompt, and a login on virtio_gpu".into())
}

/// Checks that both are on our screen.
fn on_ours(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = unlock(guests, machine, out)?;
    log_in(guests, &mut vm, out)?;
    let text = run(guests, &mut vm, ASKS_WHO_DRAWS, "(S) virtio-gpu", out)?;
    ensure!(!text.contains("frame buffer"), "fbcon draws: {text}");
    vm.check()?;
    Ok("prompt, and a login".into())
}

/// The keys of `echo c >/proc/sysrq-trigger`.
const CRASHES: &str = "e c h o spc c shift-dot slash p r o c slash s y s r q minus t r i g g e r";

/// Checks that a panic is on our screen.
fn panics(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = unlock(guests, machine, out)?;
    log_in(guests, &mut vm, out)?;
    let text = run(guests, &mut vm, CRASHES, "---[ end Kernel panic", out)?;
    for words in ["sysrq triggered crash", TRACE] {
        ensure!(text.contains(words), "no '{words}'");
    }
    vm.check_crashed()?;
    Ok("the reason, the trace and the end".into())
}
