// SPDX-License-Identifier: GPL-2.0

//! Firmware's picture: what our screen makes of it.

use crate::{
    bench::{driver_lines, Bench, GPU, TIME_FOR_TEXT},
    cases::{case, Case, Expect::Own},
    qemu::{Machine, Vm},
    screen::{Picture, Screen},
};
use anyhow::{ensure, Context, Result};
use std::{fs, ops::Range, path::Path};

/// How often firmware is looked at, which is fast.
const TRIES: usize = 5;

/// The cases of pictures.
pub const PICTURES: &[Case] = &[
    case("quiet-logo", Own(logo), |bench| quiet(bench).device(GPU)),
    case("quiet-logo-1920x1080", Own(logo), |bench| {
        quiet(bench).device(&format!("{GPU},xres=1920,yres=1080"))
    }),
    case("quiet-logo-kept", Own(kept_logo), |bench| {
        keeps(quiet(bench)).device(GPU)
    }),
];

/// A guest that says nothing but, when it is told to, a word.
fn quiet(bench: &Bench) -> Machine {
    bench.image().append(
        "quiet earlycon=virtgpu console=tty0 virtgpu_bridge.handover=never \
            vt.global_cursor_default=1 vm.do=busybox,dmesg,>/dev/ttyAMA0 \
            vm.do=echo,vm:,quiet,>/dev/ttyAMA0 vm.wait vm.do=echo,text,>/dev/tty1",
    )
}

/// One whose picture stays under the text: that scrolls by twelve rows, and then off the screen.
fn keeps(machine: Machine) -> Machine {
    machine.append(
        "virtgpu_bridge.picture=keep vm.wait vm.do=busybox,seq,60,>/dev/tty1 \
            vm.wait vm.do=busybox,seq,300,>/dev/tty1",
    )
}

/// What a guest of [`quiet`] says on the serial port.
const QUIET: &str = "vm: quiet";

/// Firmware's logo is on the screen where it was, and stays until there is text.
fn logo(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(QUIET)?;
    let (_, ours) = vm.screenshot("logo.png", None)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    let (columns, rows) = place_of_logo(&said).with_context(|| format!("no logo:\n{said}"))?;
    let place = || {
        rows.clone()
            .flat_map(|y| columns.clone().map(move |x| (x, y)))
    };
    let ink = |picture: &Picture| place().filter(|&(x, y)| picture.at(x, y) != 0).count();
    let seen = ink(&ours);
    ensure!(seen > 100, "the logo is black");

    // Firmware does not show it for long.
    let plain = machine.clone().kernel(bench.plain_image());
    let mut firmware = None;
    for _ in 0..TRIES {
        let mut plain = plain.start(&out.join("firmware"))?;
        plain.wait("the end of a boot", TIME_FOR_TEXT, |vm| {
            let (_, picture) = vm.screenshot("screen.png", None)?;
            let fits = (picture.width, picture.height) == (ours.width, ours.height);
            if fits && ink(&picture) == seen {
                firmware = Some(picture);
            }
            Ok((firmware.is_some() || vm.serial_has(QUIET)?).then_some(()))
        })?;
        if firmware.is_some() {
            break;
        }
    }
    let firmware = firmware.context("firmware shows no such logo")?;
    for (x, y) in (0..ours.height).flat_map(|y| (0..ours.width).map(move |x| (x, y))) {
        let is_logo = columns.contains(&x) && rows.contains(&y);
        let expected = if is_logo { firmware.at(x, y) } else { 0 };
        let pixel = ours.at(x, y);
        ensure!(
            pixel == expected,
            "pixel ({x}, {y}) is {pixel:06x}, not {expected:06x}"
        );
    }

    vm.tell("\n")?;
    bench.wait_for_words(&mut vm, &["text"], out)?;
    bench.look(&mut vm, None, out, |screen, _| {
        let lines: Vec<String> = screen.text().lines().map(str::to_owned).collect();
        let text: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        ensure!(
            text.iter().all(|line| line.is_empty() || *line == "text") && screen.unreadable() == 0,
            "more than the text:\n{}",
            lines.join("\n")
        );
        Ok(())
    })?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    let (width, height) = (columns.len(), rows.len());
    Ok(format!("{width}x{height} pixels as firmware's, then text"))
}

/// Columns and rows of `BGRT: the boot logo, WxH at X,Y`.
fn place_of_logo(said: &str) -> Option<(Range<usize>, Range<usize>)> {
    let (_, place) = said.split_once("the boot logo, ")?;
    let (size, at) = place.lines().next()?.split_once(" at ")?;
    let (width, height) = size.split_once('x')?;
    let (x, y) = at.trim().split_once(',')?;
    let number = |text: &str| text.parse::<usize>().ok();
    let (x, y) = (number(x)?, number(y)?);
    Some((x..x + number(width)?, y..y + number(height)?))
}

/// Text lies over firmware's logo, which scrolls away with it and does not come back.
fn kept_logo(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(QUIET)?;
    let (_, first) = vm.screenshot("logo.png", None)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    let (columns, rows) = place_of_logo(&said).with_context(|| format!("no logo:\n{said}"))?;
    ensure!(
        rows.clone().any(|y| first.at(columns.start, y) != 0),
        "the logo is black"
    );
    vm.tell("\n")?;
    over(bench, &mut vm, out, (&first, &columns, &rows), 0, &["text"])?;
    let numbers = |range: std::ops::RangeInclusive<u32>| -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    };
    vm.tell("\n")?;
    // The text, so many numbers and the row of the cursor are twelve rows more than there are.
    let seen = numbers(12..=60);
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    over(
        bench,
        &mut vm,
        out,
        (&first, &columns, &rows),
        12 * 16,
        &seen,
    )?;
    vm.tell("\n")?;
    let seen = numbers(252..=300);
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    over(bench, &mut vm, out, (&first, &columns, &(0..0)), 0, &seen)?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok("the logo scrolls with the text over it, and away".into())
}

/// Waits for a screen with these lines from its top, and nothing else but a part of a picture, which is so
/// many pixels further up than it was.
fn over(
    bench: &Bench,
    vm: &mut Vm,
    out: &Path,
    (picture, columns, rows): (&Picture, &Range<usize>, &Range<usize>),
    up: usize,
    lines: &[&str],
) -> Result<()> {
    vm.wait("text over the picture", TIME_FOR_TEXT, |vm| {
        let (_, mut seen) = vm.screenshot("screen.png", None)?;
        let same = rows.clone().all(|y| {
            let mut columns = columns.clone();
            columns.all(|x| seen.at(x, y - up) == picture.at(x, y))
        });
        for y in rows.clone() {
            seen.blacken(columns.clone(), y - up);
        }
        let screen = Screen::read(&seen, &bench.fonts);
        fs::write(out.join("screen.txt"), screen.text())?;
        let text = screen.text();
        let text: Vec<&str> = text.lines().map(str::trim_end).collect();
        let is_text = text.starts_with(lines) && text[lines.len()..].iter().all(|it| it.is_empty());
        Ok((same && is_text && screen.unreadable() == 0 && screen.clean_edges).then_some(()))
    })
}
