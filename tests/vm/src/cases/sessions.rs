// SPDX-License-Identifier: GPL-2.0

//! Cases of programs that people know, on the DRM device of the bridge.

use super::{case, crash::TRACE, group, Case, Expect::Own, Group};
use anyhow::{bail, Context, Result};
use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};
use vm::{
    config::Need,
    guests::{Guests, GPU, TIME_FOR_TEXT},
    qemu::{Machine, Vm},
    screen::Picture,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("session-weston", Own(weston), |guests| {
        with_input(guests, "weston")
    }),
    case("session-xorg", Own(xorg), |guests| {
        with_input(guests, "xorg")
    }),
    case("session-modetest", Own(flips), |guests| {
        says(
            guests,
            "modetest -M virtgpu_bridge -s Virtual-1:1280x800 -v",
        )
    })
    .needs(&[Need::NoKasan]),
    case("session-drm-info", Own(is_described), |guests| {
        says(guests, "drm_info")
    }),
];

/// The size of QEMU's screen.
const SIZE: (u32, u32) = (1280, 800);

/// How long a program may take to show what it was told.
const PATIENCE: Duration = Duration::from_secs(20);

fn with_input(guests: &Guests, what: &str) -> Machine {
    let machine = guests.session(what).direct().device(GPU);
    machine
        .device("virtio-keyboard-pci")
        .device("virtio-tablet-pci")
}

/// Returns a guest that runs a command whose output is in the log of the serial port.
fn says(guests: &Guests, command: &str) -> Machine {
    let machine = guests.session(command).append("console=ttyAMA0");
    machine.direct().device(GPU)
}

/// Colours of the sample's weston.ini, and places that have them.
const PANEL: (usize, usize, u32) = (640, 16, 0x10_20_30);
const BACKGROUND: (usize, usize, u32) = (10, 700, 0x20_40_60);
/// The button on the panel that starts a terminal.
const LAUNCHER: (u32, u32) = (22, 16);

/// Checks that weston can be used with a mouse and a keyboard, gives the screen to another terminal
/// and gets it back, and that a panic takes it.
fn weston(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let places = [PANEL, BACKGROUND];
    let is_there = |picture: &Picture| {
        let mut places = places.iter();
        places.all(|&(x, y, colour)| picture.at(x, y) == colour)
    };
    wait_for_picture(&mut vm, "weston's desktop", is_there)?;
    // The first terminal is the desktop's, the second one the mouse's.
    vm.wait("a terminal for the mouse", TIME_FOR_TEXT, |vm| {
        vm.point(LAUNCHER, SIZE)?;
        vm.click("left", 1)?;
        thread::sleep(Duration::from_secs(3));
        say(vm, "t t y")?;
        Ok(vm.serial_has("/dev/pts/1")?.then_some(()))
    })?;
    terminal_and_back(guests, &mut vm, out)?;
    panics(guests, &mut vm, out)?;
    Ok("mouse, keyboard, another terminal, a panic".into())
}

/// Checks the same of Xorg, whose terminal is read back.
fn xorg(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let wait_for = |vm: &mut Vm, begin: &str| {
        vm.wait(&format!("'{begin}' in the terminal"), TIME_FOR_TEXT, |vm| {
            let text = guests.wait_for_words(vm, &["#"], out)?;
            Ok(text.starts_with(begin).then_some(()))
        })
    };
    wait_for(&mut vm, "# ")?;
    vm.press("e c h o spc s e l e c t e d ret")?;
    wait_for(&mut vm, "# echo selected\nselected\n# ")?;
    // Two clicks on the second row select a word, which the middle button pastes.
    vm.point((20, 24), SIZE)?;
    vm.click("left", 2)?;
    vm.click("middle", 1)?;
    guests.wait_for_words(&mut vm, &["\n# selected"], out)?;
    vm.press("ctrl-u")?;
    terminal_and_back(guests, &mut vm, out)?;
    panics(guests, &mut vm, out)?;
    Ok("text, mouse, keyboard, another terminal, a panic".into())
}

/// Has the terminal write what a command says to the kernel's log.
fn say(vm: &mut Vm, keys: &str) -> Result<()> {
    vm.press(keys)?;
    vm.press("shift-dot slash d e v slash k m s g ret")
}

/// Checks that another terminal can be used, and the picture comes back afterwards.
fn terminal_and_back(guests: &Guests, vm: &mut Vm, out: &Path) -> Result<()> {
    let before = stable(vm)?;
    vm.press("ctrl-alt-f2")?;
    guests.wait_for_words(vm, &["/ #"], out)?;
    vm.press("e c h o spc s e e n ret")?;
    guests.wait_for_words(vm, &["/ # echo seen\nseen\n"], out)?;
    vm.press("ctrl-alt-f1")?;
    before.write(&out.join("before.png"))?;
    wait_for_picture(vm, "the picture as it was", |picture| *picture == before)?;
    // The program gets its keyboard back a moment later.
    thread::sleep(Duration::from_secs(2));
    Ok(())
}

/// Checks that a panic from the session's own terminal is on the screen.
fn panics(guests: &Guests, vm: &mut Vm, out: &Path) -> Result<()> {
    vm.press("e c h o spc c shift-dot slash p r o c slash s y s r q minus t r i g g e r ret")?;
    guests.wait_for_words(vm, &["sysrq triggered crash", TRACE], out)?;
    vm.check_crashed()
}

/// Checks that flips come at the rate of the timer, 60 Hz.
fn flips(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    // The host may be busy for some of the seconds.
    const RATE: std::ops::Range<f64> = 57.0..61.0;
    let mut rates = Vec::new();
    vm.wait("flips at 60 Hz", PATIENCE * 3, |vm| {
        let serial = vm.serial()?;
        let log = String::from_utf8_lossy(&serial);
        let found = log.split("freq: ").skip(1);
        let found = found.filter_map(|rest| rest.split_once("Hz")?.0.parse().ok());
        rates = found.collect::<Vec<f64>>();
        Ok(rates.iter().any(|rate| RATE.contains(rate)).then_some(()))
    })
    .with_context(|| format!("{rates:?} Hz"))?;
    vm.check()?;
    Ok(format!("{rates:?} Hz"))
}

/// Checks what programs can learn of the device.
fn is_described(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let words = [
        "Driver: virtgpu_bridge (The screen of virtgpu_bridge)",
        "Status: connected",
        "1280x800",
        "XRGB8888",
        "FB_DAMAGE_CLIPS",
    ];
    for word in words {
        vm.wait_for(word)?;
    }
    vm.check()?;
    Ok(format!("{} properties", words.len()))
}

/// Waits until the screen stays as it is for two seconds. Returns the picture.
fn stable(vm: &mut Vm) -> Result<Picture> {
    let mut since = Instant::now();
    let (_, mut picture) = vm.screenshot("session.png", None)?;
    let begun = Instant::now();
    while since.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(200));
        let (_, next) = vm.screenshot("session.png", None)?;
        if next != picture {
            (picture, since) = (next, Instant::now());
        }
        if begun.elapsed() > PATIENCE {
            bail!("the screen changes all the time");
        }
    }
    Ok(picture)
}

fn wait_for_picture(vm: &mut Vm, what: &str, is_there: impl Fn(&Picture) -> bool) -> Result<()> {
    vm.wait(what, TIME_FOR_TEXT, |vm| {
        let (_, picture) = vm.screenshot("session.png", None)?;
        let is_ours = (picture.width, picture.height) == (SIZE.0 as usize, SIZE.1 as usize);
        Ok((is_ours && is_there(&picture)).then_some(()))
    })
}
