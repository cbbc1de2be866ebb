// SPDX-License-Identifier: GPL-2.0

//! Cases of virtual terminals.

use super::{
    case,
    fixtures::{boot, first_line, modern_mmio, FBCON, SMALL_GPU},
    group, Case,
    Expect::{Own, Text},
    Group,
};
use anyhow::{ensure, Result};
use std::{fs, path::Path};
use vm::{
    config::Need,
    guests::{Guests, GPU, READY, TIME_FOR_TEXT},
    qemu::{Machine, Vm},
    streams,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("vt", Text, |guests| {
        guests
            .vt()
            .append("earlycon=virtgpu vm.lines=100")
            .device(GPU)
    }),
    case("vt-without-earlycon", Text, |guests| {
        guests.vt().append("vm.lines=100").device(GPU)
    }),
    case("vt-first-line", Own(first_line), |guests| {
        let tall = guests.vt().append("earlycon=virtgpu");
        tall.device(&format!("{GPU},xres=640,yres=4080"))
    })
    .needs(&[Need::ShortLog]),
    case("vt-mmio", Text, |guests| {
        modern_mmio(guests.vt()).append("vm.lines=100")
    }),
    case("vt-root-port", Text, |guests| {
        let port = guests
            .vt()
            .append("earlycon=virtgpu")
            .device("pcie-root-port,id=port1,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("streams", Own(same_picture), |guests| {
        terminal(guests).append("vm.streams").device(SMALL_GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("streams-512-glyphs", Own(same_picture), |guests| {
        with_font(guests, "8x16").append(SOME_STREAMS)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("streams-8x22", Own(same_picture), |guests| {
        with_font(guests, "8x22").append(SOME_STREAMS)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("streams-16x32", Own(same_picture), |guests| {
        // The kernel takes its large font.
        let large = terminal(guests).append("vm.streams=040,063,090,100,130,160");
        large.device(&format!("{GPU},xres=2560,yres=1600"))
    })
    .needs(&[Need::NativeBuiltIn]),
    case("keyboard", Own(keyboard), |guests| {
        let shells = guests.vt().append("vm.shell=tty1 vm.shell=tty2");
        shells.device(SMALL_GPU).device("virtio-keyboard-pci")
    }),
    case("blank", Own(blank), |guests| {
        let blank = "consoleblank=2 vm.lines=5 vm.wait vm.unblank";
        guests.vt().append(blank).device(SMALL_GPU)
    }),
    case("unbind-and-bind", Text, |guests| {
        let path = "/sys/bus/pci/drivers/virtgpu_bridge";
        guests.vt().append(&format!(
            "earlycon=virtgpu vm.unbind=virtgpu_bridge vm.lines=20 vm.bind=virtgpu_bridge vm.lines=10 \
            vm.do=ls,{path}/0000:00:01.0/driver/0000:00:01.0/irq,>/dev/null"
        ))
        .device("virtio-gpu-pci,addr=1")
    }),
    // The reader itself, on a picture that the kernel's own console draws.
    case("fbcon", Text, |guests| {
        guests.plain().append(FBCON).device(GPU)
    }),
];

/// How often a stream that differs is shown again.
const TRIES: usize = 3;

/// Streams enough to see that a font is right everywhere.
const SOME_STREAMS: &str =
    "vm.streams=000,040,063,072,075,079,090,100,110,120,130,139,140,151,160,180,200,220,240";

/// Returns a guest whose screen is a terminal's, without the log but with a cursor.
fn terminal(guests: &Guests) -> Machine {
    let cursor = "vt.global_cursor_default=1 virtgpu_bridge.handover=never";
    guests.image().append(cursor)
}

/// Streams in a font that a user loads.
fn with_font(guests: &Guests, font: &str) -> Machine {
    let load = format!("vm.font=/{font}.psf");
    terminal(guests).append(&load).device(SMALL_GPU)
}

/// Checks that every stream gives the same picture as on the native driver's console, pixel for
/// pixel.
fn same_picture(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let reference = machine.clone().kernel(guests.plain_image());
    let mut ours = machine.start(out)?;
    let mut theirs = reference.start(&out.join("reference"))?;
    let (mut equal, mut wrong) = (0, Vec::new());
    let chosen = machine.word("vm.streams=");
    for (number, stream) in streams::all().iter().enumerate() {
        let name = format!("{number:03}");
        if chosen.is_some_and(|chosen| !chosen.split(',').any(|one| one == name)) {
            continue;
        }
        let take = |ours: &mut Vm, theirs: &mut Vm, shown: &str| -> Result<_> {
            let mut pictures = Vec::new();
            for vm in [ours, theirs] {
                vm.wait_for(shown)?;
                pictures.push(vm.screenshot("screen.png", None)?);
            }
            let differs = pictures[0].1.differs(&pictures[1].1);
            Ok((pictures, differs))
        };
        let (mut pictures, mut differs) =
            take(&mut ours, &mut theirs, &format!("vm: shown {number:03}\r"))?;
        for times in 1..=TRIES {
            if differs.is_none() {
                break;
            }
            // Once a minute a cursor blinks, not in both at the same time; and fbcon's picture
            // comes later than its text.
            for vm in [&mut ours, &mut theirs] {
                vm.send("again\n")?;
            }
            let again = " again".repeat(times);
            (pictures, differs) = take(
                &mut ours,
                &mut theirs,
                &format!("vm: shown {number:03}{again}\r"),
            )?;
        }
        for vm in [&mut ours, &mut theirs] {
            vm.send("\n")?;
        }
        match differs {
            None => equal += 1,
            Some((pixels, at)) => {
                for (path, _) in &pictures {
                    fs::copy(path, path.with_file_name(format!("{number:03}.png")))?;
                }
                wrong.push(format!(
                    "{number:03} ({}): {pixels} pixels differ, the first at {at:?}",
                    stream.name
                ));
            }
        }
    }
    for vm in [&mut ours, &mut theirs] {
        vm.wait_for(READY)?;
        vm.check()?;
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} streams differ:\n    {}",
        wrong.len(),
        wrong.len() + equal,
        wrong.join("\n    ")
    );
    Ok(format!("{equal} streams, every pixel as fbcon's"))
}

/// Checks that a shell runs what is typed on the keyboard, on two virtual terminals.
fn keyboard(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = boot(machine, out)?;
    let reads = |vm: &mut Vm, lines: &[&str]| {
        guests.wait_for_screen(vm, None, out, |screen, _| {
            let text = screen.text();
            // The kernel may have something to say behind a prompt.
            let own = |seen: &str| seen.split("[ ").next().unwrap_or("").trim_end() == "#";
            for line in lines {
                let equal = |seen: &str| seen.trim_end() == *line || *line == "#" && own(seen);
                ensure!(text.lines().any(equal), "no line '{line}' in:\n{text}");
            }
            Ok(())
        })
    };
    // Away from the log, and back to it: each has its own text.
    vm.press("alt-f2")?;
    reads(&mut vm, &["#"])?;
    vm.press("e c h o spc t w o spc minus minus ret")?;
    reads(&mut vm, &["# echo two --", "two --"])?;
    vm.press("alt-f1")?;
    reads(&mut vm, &["#"])?;
    vm.press("e c h o spc o n e ret")?;
    reads(&mut vm, &["# echo one", "one"])?;
    vm.press("alt-f2")?;
    reads(&mut vm, &["# echo two --", "two --", "#"])?;
    vm.press("alt-f1")?;
    reads(&mut vm, &["# echo one", "one", "#"])?;
    vm.check()?;
    Ok("two shells, typed at and switched between".into())
}

/// Checks that a screen that is blanked is black, and has its text when it comes back.
fn blank(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("vm: waiting")?;
    let (_, picture) = vm.wait("a black screen", TIME_FOR_TEXT * 2, |vm| {
        let (path, picture) = vm.screenshot("black.png", None)?;
        Ok(picture.is_blank().then_some((path, picture)))
    })?;
    ensure!(picture.is_black(), "the screen is not black");
    vm.send("\n")?;
    vm.wait_for(READY)?;
    let rows = guests.wait_for_screen(&mut vm, None, out, |screen, _| {
        let text = screen.text();
        ensure!(
            text.contains("vm: line 5"),
            "the text has not come back:\n{text}"
        );
        Ok(screen.written().len())
    })?;
    vm.check_guest_errors()?;
    Ok(format!("black, and {rows} rows again"))
}
