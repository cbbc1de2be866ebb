// SPDX-License-Identifier: GPL-2.0

//! Cases of displays that change their size, come and go.

use super::{
    case,
    crash::SYSRQ,
    fixtures::{mmio_with, modern_mmio, times, WAITING},
    group,
    kexec::ADOPTED,
    Case,
    Expect::Own,
    Group,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use vm::{
    guests::{driver_lines, Guests, GPU, READY, TIME_FOR_TEXT},
    log,
    qemu::{Machine, Vm},
    screen::{Picture, Screen},
    vnc::Viewer,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("resize", Own(resize), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu").append(RESIZES);
        machine.direct().device(GPU)
    }),
    case("resize-mmio", Own(resize_mmio), |guests| {
        modern_mmio(guests.vt()).append(RESIZES)
    }),
    case("two-displays", Own(two_displays), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=100");
        machine.device(&format!("{GPU},{TWO}"))
    }),
    case("two-displays-mmio", Own(two_displays), |guests| {
        mmio_with(guests.vt(), TWO).append("vm.lines=100")
    }),
    case("two-displays-repaint", Own(two_displays), |guests| {
        let machine = guests
            .early()
            .append("virtgpu_bridge.scroll=repaint vm.lines=100");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("two-displays-too-large", Own(one_of_two), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=100");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("two-displays-panic", Own(two_panics), |guests| {
        let machine = guests.vt().append("vm.lines=100").append(SYSRQ);
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("displays-come-and-go", Own(come_and_go), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu").append(&ticks());
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case(
        "displays-come-and-go-mmio",
        Own(come_and_go_mmio),
        |guests| mmio_with(guests.vt(), TWO).append(&ticks()),
    ),
    case("displays-of-one-picture", Own(one_picture), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.wait vm.lines=150");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
];

/// Checks that a viewer makes its window larger, and smaller, and the text follows, without a dark
/// frame.
pub fn resize(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, seen) = resized(guests, machine, out)?;
    let pictures = vm.pictures()?;
    ensure!(
        pictures.len() == SIZES.len() + 1 && !pictures.contains(&0),
        "dark between {pictures:x?}"
    );
    Ok(format!("{seen}, no dark frame"))
}

/// Checks the same on a device that has to be reset for it.
fn resize_mmio(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    Ok(resized(guests, machine, out)?.1)
}

/// More cells than there was memory for, and less than there is text.
const SIZES: [(u16, u16); 3] = [(1920, 1080), (640, 480), (1024, 768)];

/// Lines to fill each of the screens.
pub const RESIZES: &str = "vm.lines=60 vm.wait vm.lines=80 vm.wait vm.lines=80 vm.wait vm.lines=80";

const CHANGED: &str = "virtgpu_bridge: the display has changed: ";

fn resized(guests: &Guests, machine: &Machine, out: &Path) -> Result<(Vm, String)> {
    fs::create_dir_all(out)?;
    let socket = out.join("vnc");
    let server = format!("unix:{}", socket.display());
    let mut vm = machine
        .clone()
        .option("-vnc", &server)
        .traced()
        .start(out)?;
    vm.wait_for(WAITING)?;
    let mut viewer = Viewer::connect(&socket)?;
    let mut seen = Vec::new();
    for (step, (width, height)) in SIZES.into_iter().enumerate() {
        if step == 1 {
            // No text fits this, and that is seen within a second or two. The screen stays.
            viewer.resize(300, 8)?;
            thread::sleep(Duration::from_millis(2500));
        }
        viewer.resize(width, height)?;
        vm.wait("a word of the new display", TIME_FOR_TEXT, |vm| {
            Ok((times(vm, CHANGED)? > step).then_some(()))
        })?;
        // What was on the screen still is, and what comes is laid out anew.
        guests.wait_for_words(&mut vm, &[WAITING, CHANGED], out)?;
        vm.send("\n")?;
        vm.wait("all that it had to say", TIME_FOR_TEXT, |vm| {
            let said = times(vm, WAITING)? + times(vm, READY)?;
            Ok((said == step + 2).then_some(()))
        })?;
        let rows = guests.wait_for_screen(&mut vm, None, out, |screen, vm| {
            let wanted = usize::from(width) / screen.font.width;
            ensure!(screen.columns == wanted, "{} columns", screen.columns);
            log::compare_tail(screen, log::kernel_part(&vm.serial()?))
        })?;
        seen.push(format!("{rows} rows at {width}x{height}"));
    }
    vm.check()?;
    Ok((vm, seen.join(", ")))
}

/// A GPU's properties: two displays may be plugged in.
pub const TWO: &str = "id=gpu,max_outputs=2";

/// Returns the machine, with a viewer's socket for each of its two displays.
fn with_two_viewers(machine: &Machine, out: &Path) -> Result<(Machine, [PathBuf; 2])> {
    fs::create_dir_all(out)?;
    let sockets = [0, 1].map(|scanout| out.join(format!("vnc{scanout}")));
    let mut machine = machine.clone();
    for (scanout, socket) in sockets.iter().enumerate() {
        let socket = socket.display();
        let server = format!("unix:{socket},id=viewer{scanout},display=gpu,head={scanout}");
        machine = machine.option("-vnc", &server);
    }
    Ok((machine, sockets))
}

/// Starts it with the second one plugged in.
pub fn with_second(machine: &Machine, size: (u16, u16), out: &Path) -> Result<(Vm, Viewer)> {
    let (machine, sockets) = with_two_viewers(machine, out)?;
    let mut vm = machine.paused().start(out)?;
    let mut viewer = Viewer::connect(&sockets[1])?;
    viewer.resize(size.0, size.1)?;
    viewer.wait_for_answer()?;
    vm.go()?;
    Ok((vm, viewer))
}

/// Checks that each display has the end of the log, as much as fits on all that are plugged in.
pub fn same_text_on(
    guests: &Guests,
    vm: &mut Vm,
    scanouts: [Option<(u16, u16)>; 2],
    out: &Path,
) -> Result<String> {
    let sizes = || scanouts.iter().flatten().copied();
    let (width, height) = (
        sizes().map(|size| size.0).min(),
        sizes().map(|size| size.1).min(),
    );
    let (Some(width), Some(height)) = (width, height) else {
        bail!("no display");
    };
    let least = (width.into(), height.into());
    let mut rows = 0;
    for (scanout, size) in (0..).zip(scanouts) {
        let Some((width, height)) = size else {
            let (path, picture) = vm.screenshot_of("dark.png", Some(("gpu", scanout)))?;
            let dark = !Screen::read(&picture, &guests.fonts).is_console();
            ensure!(dark, "text where no display is, see {}", path.display());
            continue;
        };
        let read = |picture: &Picture| {
            let is = (picture.width, picture.height);
            ensure!(
                is == (width.into(), height.into()),
                "display {scanout} has {is:?} pixels"
            );
            Ok(Screen::read_part(picture, &guests.fonts, least))
        };
        rows = guests.wait_for_screen_of(vm, Some(("gpu", scanout)), out, read, |screen, vm| {
            let serial = vm.serial()?;
            let lines = log::kernel_part(&serial).split_inclusive(|&byte| byte == b'\n');
            // The serial port's log has what was sent to it as well: empty lines.
            let lines: Vec<_> = lines.filter(|line| *line != b"\r\n").collect();
            log::compare_tail(screen, &lines.concat())
        })?;
    }
    let sizes: Vec<String> = sizes()
        .map(|(width, height)| format!("{width}x{height}"))
        .collect();
    Ok(format!("{rows} rows at {}", sizes.join(" and ")))
}

/// Checks that two displays, one of which is narrower and the other lower, show the log from its
/// beginning.
fn two_displays(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let second = (640, 960);
    let (mut vm, _viewer) = with_second(machine, second, out)?;
    vm.wait_for(READY)?;
    let seen = same_text_on(guests, &mut vm, [Some((1280, 800)), Some(second)], out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    let named = "scanout 0, 1280x800, and scanout 1, 640x960, 80x";
    ensure!(said.contains(named), "nobody says '{named}':\n{said}");
    vm.check()?;
    Ok(seen)
}

/// Checks that the first one has the log where the host has no memory for both.
fn one_of_two(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, _viewer) = with_second(machine, (16000, 16000), out)?;
    vm.wait_for(READY)?;
    let seen = same_text_on(guests, &mut vm, [Some((1280, 800)), None], out)?;
    vm.check()?;
    Ok(seen)
}

/// Checks that a kernel that dies says so on both.
fn two_panics(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const SAYS: [&str; 3] = [
        "Kernel panic - not syncing",
        "Call trace:",
        "---[ end Kernel panic",
    ];

    let (mut vm, _viewer) = with_second(machine, (1024, 768), out)?;
    vm.wait_for_end(SAYS[2])?;
    for scanout in [0, 1] {
        let read = |picture: &Picture| Ok(Screen::read_part(picture, &guests.fonts, (1024, 768)));
        guests.wait_for_screen_of(&mut vm, Some(("gpu", scanout)), out, read, |screen, _| {
            let text = screen.text();
            for words in SAYS {
                ensure!(
                    text.contains(words),
                    "no '{words}' on display {scanout}:\n{text}"
                );
            }
            ensure!(screen.clean_edges, "the rest is not black");
            Ok(())
        })?;
    }
    vm.check_crashed()?;
    Ok("the reason, the trace and the end on both".into())
}

/// Which display gets another size, or is unplugged if it has none.
const STEPS: [(usize, Option<(u16, u16)>); 9] = [
    (1, Some((1024, 768))),
    (0, Some((1920, 1080))),
    (1, Some((1280, 1024))),
    (1, None),
    (0, Some((1024, 768))),
    (1, Some((800, 1200))),
    (0, None),
    (0, Some((1280, 800))),
    (1, None),
];

/// Returns words that have the log go on while that happens, and pause to compare it.
pub fn ticks() -> String {
    "vm.ticks vm.wait vm.noise=0 vm.wait ".repeat(STEPS.len()) + "vm.lines=80"
}

/// Checks that each display has all of the log and is dark only when it is unplugged, while
/// displays are plugged in, unplugged, and change their size.
pub fn come_and_go(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, seen) = followed(guests, machine, out)?;
    let pictures = vm.pictures()?;
    let dark = pictures.iter().filter(|&&picture| picture == 0).count();
    let unplugged = STEPS.iter().filter(|(_, size)| size.is_none()).count();
    ensure!(dark == unplugged, "dark between {pictures:x?}");
    Ok(format!("{seen}, no dark frame"))
}

/// Checks the same on a device that has to be reset for it.
fn come_and_go_mmio(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    Ok(followed(guests, machine, out)?.1)
}

/// Checks that two displays so large share one picture: the host has no memory for two.
fn one_picture(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (machine, sockets) = with_two_viewers(machine, out)?;
    let mut vm = machine.paused().start(out)?;
    let sizes = [(5120, 2160), (640, 4080)];
    let mut viewers = Vec::new();
    for (socket, (width, height)) in sockets.iter().zip(sizes) {
        let mut viewer = Viewer::connect(socket)?;
        viewer.resize(width, height)?;
        viewer.wait_for_answer()?;
        viewers.push(viewer);
    }
    vm.go()?;
    vm.wait_for(WAITING)?;
    let smaller = (640, 4000);
    viewers[1].resize(smaller.0, smaller.1)?;
    vm.wait_for(CHANGED)?;
    vm.send("\n")?;
    vm.wait_for(READY)?;
    let seen = same_text_on(guests, &mut vm, [Some(sizes[0]), Some(smaller)], out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(!said.contains(ADOPTED), "there were two pictures:\n{said}");
    vm.check_kernel()?;
    Ok(seen)
}

fn followed(guests: &Guests, machine: &Machine, out: &Path) -> Result<(Vm, String)> {
    // So many lines fill what a larger display has more.
    const MORE: usize = 25;

    let (machine, sockets) = with_two_viewers(machine, out)?;
    let mut vm = machine.traced().start(out)?;
    let mut scanouts = [Some((1280, 800)), None];
    let mut viewers = Vec::new();
    let mut seen = Vec::new();
    for (step, (scanout, size)) in STEPS.into_iter().enumerate() {
        // A screen full of them.
        vm.wait("lines", TIME_FOR_TEXT * 2, |vm| {
            let serial = vm.serial()?;
            let said = String::from_utf8_lossy(&serial);
            let since = said.split(WAITING).nth(2 * step + 1);
            Ok(since
                .filter(|said| said.matches("vm: tick").count() > 70)
                .map(drop))
        })?;
        if viewers.is_empty() {
            for socket in &sockets {
                viewers.push(Viewer::connect(socket)?);
            }
        }
        let (width, height) = size.unwrap_or((0, 0));
        viewers[scanout].resize(width, height)?;
        scanouts[scanout] = size;
        vm.wait(
            "a word of the new display, and lines",
            TIME_FOR_TEXT,
            |vm| {
                let serial = vm.serial()?;
                let said = String::from_utf8_lossy(&serial);
                let since = said.split(CHANGED).nth(step + 1);
                Ok(since
                    .filter(|said| said.matches("vm: tick").count() > MORE)
                    .map(drop))
            },
        )?;
        vm.send("\n")?;
        vm.wait("the end of the lines", TIME_FOR_TEXT, |vm| {
            Ok((times(vm, WAITING)? == 2 * step + 2).then_some(()))
        })?;
        let step = same_text_on(guests, &mut vm, scanouts, out);
        seen.push(step.with_context(|| format!("after {seen:?}"))?);
        if times(&vm, WAITING)? < 2 * STEPS.len() {
            vm.send("\n")?;
        }
    }
    // The last one is unplugged: there is nothing to follow, and a screenshot has the new text.
    viewers[0].resize(0, 0)?;
    thread::sleep(Duration::from_secs(3));
    vm.send("\n")?;
    vm.wait_for(READY)?;
    same_text_on(guests, &mut vm, scanouts, out).context("without a display")?;
    let followed = times(&vm, CHANGED)?;
    ensure!(followed == STEPS.len(), "followed {followed} times");
    vm.check()?;
    Ok((vm, seen.join(", ")))
}
