// SPDX-License-Identifier: GPL-2.0

//! Cases of an initramfs that asks for the passphrase of a disk on the screen.

use super::{case, crash::TRACE, fixtures::boot, group, Case, Expect::Own, Group};
use anyhow::{bail, ensure, Result};
use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};
use vm::{
    config::Need,
    guests::{Guests, GPU},
    qemu::{Machine, Vm, LIMIT},
    screen::{Picture, Screen},
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("passphrase", Own(passphrase), |guests| {
        let disk = guests.sample().append("console=tty0 quiet");
        disk.device(GPU)
            .device("virtio-keyboard-pci")
            .device("virtio-blk-pci,drive=disk")
    })
    .needs(&[Need::Crypt]),
    case("prompt-plain", Own(unlocked), |guests| {
        asks(guests, "console=tty0 quiet")
    }),
    case("prompt-plain-early", Own(unlocked), |guests| {
        asks(guests, "earlycon=virtgpu console=tty0")
    }),
    case("prompt-splash", Own(unlocked), |guests| {
        asks(guests, "console=tty0 quiet splash")
    }),
    case("prompt-splash-early", Own(unlocked), |guests| {
        asks(guests, "earlycon=virtgpu console=tty0 quiet splash")
    }),
    case("prompt-splash-nobody", Own(unlocked), |guests| {
        asks(guests, "quiet splash")
    }),
    case("prompt-splash-serial-before", Own(unlocked), |guests| {
        asks(guests, "quiet splash console=ttyAMA0 console=tty0")
    }),
    case("prompt-splash-serial-last", Own(unlocked), |guests| {
        asks(guests, "console=tty0 console=ttyAMA0 quiet splash")
    }),
    case("prompt-splash-log", Own(unlocked), |guests| {
        asks(guests, "earlycon=virtgpu console=tty0 splash")
    }),
    case("prompt-picture", Own(same_picture), |guests| {
        shows(guests.debian_with_drm())
    }),
    // The device comes while plymouth waits for one.
    case("prompt-picture-late", Own(half_typed), |guests| {
        shows(guests.debian().append("vm.kms"))
    })
    .needs(&[Need::Kms]),
    case("prompt-picture-handover", Own(half_typed), |guests| {
        let words = "vm.kms virtgpu_bridge.framebuffer=always";
        shows(guests.debian().append(words))
    })
    .needs(&[Need::Kms]),
    case("prompt-picture-panic", Own(panics), |guests| {
        let machine = shows(guests.debian().append("vm.kms nomodeset"));
        machine.append("sysrq_always_enabled")
    })
    .needs(&[Need::Kms]),
    case("prompt-splash-wrong", Own(refused_first), |guests| {
        asks(guests, "console=tty0 quiet splash")
    }),
];

/// Checks that the prompt for a disk's passphrase is on the screen before any other display driver,
/// and that what is typed opens the disk.
fn passphrase(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let disk = out.join("disk.img");
    fs::File::create(&disk)?.set_len(24 << 20)?;
    let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
    let machine = machine.clone().option("-drive", &drive);
    let maker = machine.clone().append("rdinit=/format");
    drop(boot(&maker, &out.join("format"))?);

    let mut vm = machine.start(out)?;
    let mut answer = |prompt, keys| {
        guests.wait_for_words(&mut vm, &[prompt], out)?;
        // What was typed before it asks is thrown away, right after it has asked.
        thread::sleep(Duration::from_secs(1));
        vm.press(keys)
    };
    answer("Enter passphrase for /dev/vda:", "w r o n g ret")?;
    answer(
        "No key available with this passphrase.\nEnter passphrase for /dev/vda:",
        "o p e n spc s e s a m e ret",
    )?;
    guests.wait_for_words(&mut vm, &["/dev/vda is open"], out)?;
    ensure!(
        !vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu was there"
    );
    vm.check()?;
    Ok("asked, refused and answered on the screen".into())
}

/// What asks, with plymouth and without.
const PROMPT: &str = "Please unlock disk disk:";

/// Announces that the guest has opened the disk.
const OPENED: &str = "vm: 'what was locked' is read";

/// Returns a machine that asks for a passphrase, with a keyboard.
fn asks(guests: &Guests, words: &str) -> Machine {
    let machine = guests.debian().append(words).direct();
    machine.device(GPU).device("virtio-keyboard-pci")
}

/// Returns the machine, which asks for a passphrase in a picture.
fn shows(machine: Machine) -> Machine {
    let machine = machine.append("console=tty0 quiet splash").direct();
    machine.device(GPU).device("virtio-keyboard-pci")
}

/// Half of the passphrase, and the other one.
const HALVES: [&str; 2] = ["o p e n spc", "s e s a m e ret"];

/// Checks that the picture is the one that the native driver's screen shows, while half of the
/// passphrase is typed, and that the other half opens the disk.
fn same_picture(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut native = machine.start(&out.join("native"))?;
    let expected = typed_half(&mut native)?;
    native.press(HALVES[1])?;
    native.wait_for(OPENED)?;
    drop(native);
    let mut vm = machine.clone().append("nomodeset").start(out)?;
    let found = typed_half(&mut vm)?;
    if let Some((count, first)) = found.differs(&expected) {
        bail!("{count} pixels are not the native driver's, the first one at {first:?}");
    }
    vm.press(HALVES[1])?;
    opened(&mut vm)?;
    Ok("the picture is as on virtio_gpu".into())
}

/// Checks that plymouth continues on the native driver's device, with what was typed before.
fn half_typed(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let before = typed_half(&mut vm)?;
    vm.send("\n")?;
    vm.wait_for("handed over to the native driver")?;
    vm.wait(
        "the same picture on the native driver's screen",
        LIMIT,
        |vm| {
            let (_, picture) = vm.screenshot("after.png", None)?;
            Ok((picture == before).then_some(()))
        },
    )?;
    vm.press(HALVES[1])?;
    vm.wait_for(OPENED)?;
    vm.check()?;
    Ok("the same picture, and what was typed".into())
}

/// Checks that a panic takes the screen from plymouth's picture.
fn panics(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    typed_half(&mut vm)?;
    vm.press("alt-sysrq-c")?;
    guests.wait_for_words(&mut vm, &["sysrq triggered crash", TRACE], out)?;
    vm.check_crashed()?;
    Ok("the panic in place of the picture".into())
}

/// Waits for a picture that asks, and types half of the passphrase. Returns the picture that shows
/// that.
fn typed_half(vm: &mut Vm) -> Result<Picture> {
    // Text has sixteen colours at most; plymouth's picture has smooth letters.
    let asks = settled(vm, |picture| picture.colours() > 16)?;
    vm.press(HALVES[0])?;
    settled(vm, |picture| *picture != asks)
}

/// Waits until the screen shows what it should for three seconds.
fn settled(vm: &mut Vm, is_right: impl Fn(&Picture) -> bool) -> Result<Picture> {
    let mut seen: Option<(Picture, Instant)> = None;
    vm.wait("a picture that stays", LIMIT, |vm| {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        match &seen {
            Some((before, since)) if *before == picture => {
                let stays = since.elapsed() > Duration::from_secs(3);
                Ok((stays && is_right(&picture)).then_some(picture))
            }
            _ => {
                seen = Some((picture, Instant::now()));
                Ok(None)
            }
        }
    })
}

fn unlocked(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let mut vm = machine.start(out)?;
    let after = prompted(guests, &mut vm, out)?;
    answer(&mut vm, "o p e n spc s e s a m e ret")?;
    opened(&mut vm)?;
    Ok(format!(
        "asked after {:.1} s, and answered",
        after.as_secs_f64()
    ))
}

/// Checks that a wrong passphrase is refused on the screen, and the next one is taken.
fn refused_first(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let mut vm = machine.start(out)?;
    prompted(guests, &mut vm, out)?;
    answer(&mut vm, "w r o n g ret")?;
    wait_for(guests, &mut vm, "bad password", out)?;
    prompted(guests, &mut vm, out)?;
    answer(&mut vm, "o p e n spc s e s a m e ret")?;
    opened(&mut vm)?;
    Ok("asked, refused and answered on the screen".into())
}

/// Waits until somebody is asked. Returns for how long the machine has run by then.
fn prompted(guests: &Guests, vm: &mut Vm, out: &Path) -> Result<Duration> {
    wait_for(guests, vm, PROMPT, out)?;
    Ok(vm.age())
}

/// Waits for words on the screen, in whatever colours: plymouth has its own.
fn wait_for(guests: &Guests, vm: &mut Vm, words: &str, out: &Path) -> Result<()> {
    vm.wait(&format!("'{words}' on the screen"), LIMIT, |vm| {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        let text = Screen::read(&picture.in_two_colours(), &guests.fonts).text();
        fs::write(out.join("screen.txt"), &text)?;
        Ok(text.contains(words).then_some(()))
    })
}

fn answer(vm: &mut Vm, keys: &str) -> Result<()> {
    // What was typed before it asks is thrown away, right after it has asked.
    thread::sleep(Duration::from_secs(1));
    vm.press(keys)
}

/// Checks that the disk was opened, and no other driver had the screen.
fn opened(vm: &mut Vm) -> Result<()> {
    vm.wait_for(OPENED)?;
    ensure!(
        !vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu was there"
    );
    vm.check()
}
