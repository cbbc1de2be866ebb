// SPDX-License-Identifier: GPL-2.0

//! Cases of what firmware left on the screen, and of other firmware than EDK2.

use super::{
    case,
    fixtures::equal,
    group,
    uefi::{start_by_grub, start_entry, with_kernel_on_disk, FILES, SHELL_WAITS},
    Case,
    Expect::Own,
    Group,
};
use anyhow::{ensure, Context, Result};
use std::{fs, ops::Range, path::Path, thread, time::Duration};
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU, READY, TIME_FOR_TEXT},
    log,
    qemu::{Machine, Vm},
    screen::{Picture, Screen},
    vnc::Viewer,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("quiet-logo", Own(logo), |guests| quiet(guests).device(GPU)),
    case("quiet-logo-1920x1080", Own(logo), |guests| {
        quiet(guests).device(&format!("{GPU},xres=1920,yres=1080"))
    }),
    // In any place of the command line, and with any consoles.
    case("quiet-logo-said-last", Own(logo), |guests| {
        let machine = quiet(guests).without("quiet");
        machine.append("quiet").device(GPU)
    }),
    case("quiet-logo-by-level", Own(logo), |guests| {
        let machine = quiet(guests).without("quiet").without("console=tty0");
        machine.append("console=tty0 loglevel=3").device(GPU)
    }),
    case("quiet-logo-nobody", Own(logo), |guests| {
        let machine = quiet(guests).without("console=ttyAMA0");
        let nobody = machine.without("console=nowhere").without("console=tty0");
        nobody.device(GPU)
    }),
    case("quiet-logo-resize", Own(logo_stays), |guests| {
        quiet(guests).device(GPU)
    }),
    case("quiet-logo-kept", Own(kept_logo), |guests| {
        keeps(quiet(guests)).device(GPU)
    }),
    case("handoff-quiet", Own(by_shell), |guests| {
        quiet(guests).device(GPU)
    }),
    case("handoff-quiet-1920x1080", Own(by_shell), |guests| {
        quiet(guests).device(&format!("{GPU},xres=1920,yres=1080"))
    }),
    // Firmware has another mode than the host wants.
    case("handoff-quiet-mode", Own(in_another_mode), |guests| {
        quiet(guests).device(GPU)
    }),
    case("handoff-quiet-grub", Own(by_grub), |guests| {
        quiet(guests).device(GPU)
    }),
    case(
        "handoff-quiet-no-ring-reset",
        Own(picture_alone),
        |guests| quiet(guests).device("virtio-gpu-pci,queue_reset=off"),
    ),
    case("handoff-kept", Own(kept_screen), |guests| {
        // The cursor would be on the picture.
        let words = "virtgpu_bridge.picture=keep vt.global_cursor_default=0";
        quiet(guests).append(words).device(GPU)
    }),
    case("handoff-hostile", Own(hostile), |guests| {
        guests.early().append("vm.lines=30").device(GPU)
    }),
    case("u-boot-booti", Own(boots_by_booti), |guests| {
        guests.early().append("vm.lines=60").u_boot().device(GPU)
    }),
    case("u-boot-booti-vt", Own(boots_by_booti), |guests| {
        guests.vt().append("vm.lines=60").u_boot().device(GPU)
    }),
    case("u-boot-bootefi", Own(boots_as_efi), |guests| {
        guests.early().append("vm.lines=60").u_boot().device(GPU)
    })
    .needs(&[Need::Firmware]),
    case("u-boot-bootefi-vt", Own(boots_as_efi), |guests| {
        guests.vt().append("vm.lines=60").u_boot().device(GPU)
    })
    .needs(&[Need::Firmware]),
];

/// Has firmware wait for a key, for a minute.
const MENU: &str = "menu=on,splash-time=60000";

/// Returns a guest that is quiet, and writes one word when a key is sent to its serial port.
fn quiet(guests: &Guests) -> Machine {
    guests.image().append(
        "quiet earlycon=virtgpu console=tty0 virtgpu_bridge.handover=never \
            vt.global_cursor_default=1 vm.do=busybox,dmesg,>/dev/ttyAMA0 \
            vm.do=echo,vm:,quiet,>/dev/ttyAMA0 vm.wait vm.do=echo,text,>/dev/tty1",
    )
}

/// Returns a machine whose picture stays under the text: that scrolls by twelve rows, and then off
/// the screen.
fn keeps(machine: Machine) -> Machine {
    machine.append(
        "virtgpu_bridge.picture=keep vm.wait vm.do=busybox,seq,60,>/dev/tty1 \
            vm.wait vm.do=busybox,seq,300,>/dev/tty1",
    )
}

/// What a guest of [`quiet`] says on the serial port.
const QUIET: &str = "vm: quiet";

/// Checks that firmware's logo is on the screen where it was, and stays until there is text.
fn logo(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(QUIET)?;
    let (_, ours) = vm.screenshot("logo.png", None)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    let (columns, rows) = logo_area(&said).with_context(|| format!("no logo:\n{said}"))?;
    let area = || {
        rows.clone()
            .flat_map(|y| columns.clone().map(move |x| (x, y)))
    };
    let visible = |picture: &Picture| area().filter(|&(x, y)| picture.at(x, y) != 0).count();
    let seen = visible(&ours);
    ensure!(seen > 100, "the logo is black");

    // Firmware shows it for as long as it waits for a key, which with a kernel to start it does
    // not.
    let mut waits = machine.clone().option("-boot", MENU);
    waits.take_kernel()?;
    let mut waits = waits.start(&out.join("firmware"))?;
    let firmware = waits.wait("firmware's logo", TIME_FOR_TEXT, |vm| {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        let fits = (picture.width, picture.height) == (ours.width, ours.height);
        Ok((fits && visible(&picture) == seen).then_some(picture))
    })?;
    for (x, y) in (0..ours.height).flat_map(|y| (0..ours.width).map(move |x| (x, y))) {
        let is_logo = columns.contains(&x) && rows.contains(&y);
        let expected = if is_logo { firmware.at(x, y) } else { 0 };
        let pixel = ours.at(x, y);
        ensure!(
            pixel == expected,
            "pixel ({x}, {y}) is {pixel:06x}, not {expected:06x}"
        );
    }

    then_text(guests, &mut vm, out)?;
    let (width, height) = (columns.len(), rows.len());
    Ok(format!("{width}x{height} pixels as firmware's, then text"))
}

/// Has a quiet guest write its word, and checks that this is all there is on the screen.
fn then_text(guests: &Guests, vm: &mut Vm, out: &Path) -> Result<()> {
    vm.send("\n")?;
    guests.wait_for_words(vm, &["text"], out)?;
    guests.wait_for_screen(vm, None, out, |screen, _| {
        let lines: Vec<String> = screen.text().lines().map(str::to_owned).collect();
        let text: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
        ensure!(
            text.iter().all(|line| line.is_empty() || *line == "text") && screen.unreadable() == 0,
            "more than the text:\n{}",
            lines.join("\n")
        );
        Ok(())
    })?;
    vm.check()
}

/// Checks that the logo stays where it is while the display changes, and text is laid out anew.
fn logo_stays(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let socket = out.join("vnc");
    let server = format!("unix:{}", socket.display());
    let machine = machine.clone().option("-vnc", &server).traced();
    let mut vm = machine.start(out)?;
    vm.wait_for(QUIET)?;
    let (_, logo) = vm.screenshot("logo.png", None)?;
    ensure!(!logo.is_black(), "no logo");
    let mut viewer = Viewer::connect(&socket)?;
    for (width, height) in [(1024, 768), (1920, 1080)] {
        viewer.resize(width, height)?;
        // No line says that it has been seen, which it is within a second.
        thread::sleep(Duration::from_secs(3));
        let (path, picture) = vm.screenshot("screen.png", None)?;
        ensure!(picture == logo, "another picture, see {}", path.display());
    }
    vm.send("\n")?;
    guests.wait_for_words(&mut vm, &["text"], out)?;
    let (_, picture) = vm.screenshot("screen.png", None)?;
    let size = (picture.width, picture.height);
    ensure!(size == (1920, 1080), "the text has {size:?} pixels");
    let pictures = vm.pictures()?;
    // Firmware's are in front of them.
    let last = &pictures[pictures.len().saturating_sub(2)..];
    ensure!(
        last.len() == 2 && !last.contains(&0),
        "dark between {pictures:x?}"
    );
    vm.check()?;
    Ok("no dark frame until there was text".into())
}

/// Returns the columns and rows of `BGRT: the boot logo, WxH at X,Y`.
fn logo_area(said: &str) -> Option<(Range<usize>, Range<usize>)> {
    let (_, area) = said.split_once("the boot logo, ")?;
    let (size, at) = area.lines().next()?.split_once(" at ")?;
    let (width, height) = size.split_once('x')?;
    let (x, y) = at.trim().split_once(',')?;
    let number = |text: &str| text.parse::<usize>().ok();
    let (x, y) = (number(x)?, number(y)?);
    Some((x..x + number(width)?, y..y + number(height)?))
}

/// Checks that text lies over firmware's logo, which scrolls away with it and does not come back.
fn kept_logo(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(QUIET)?;
    let (_, first) = vm.screenshot("logo.png", None)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    let (columns, rows) = logo_area(&said).with_context(|| format!("no logo:\n{said}"))?;
    ensure!(
        rows.clone().any(|y| first.at(columns.start, y) != 0),
        "the logo is black"
    );
    vm.send("\n")?;
    over(
        guests,
        &mut vm,
        out,
        (&first, &columns, &rows),
        0,
        &["text"],
    )?;
    let numbers = |range: std::ops::RangeInclusive<u32>| -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    };
    vm.send("\n")?;
    // The text, so many numbers and the row of the cursor are twelve rows more than there are.
    let seen = numbers(12..=60);
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    over(
        guests,
        &mut vm,
        out,
        (&first, &columns, &rows),
        12 * 16,
        &seen,
    )?;
    vm.send("\n")?;
    let seen = numbers(252..=300);
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    over(guests, &mut vm, out, (&first, &columns, &(0..0)), 0, &seen)?;
    vm.check()?;
    Ok("the logo scrolls with the text over it, and away".into())
}

/// Waits for a screen with these lines from its top, and nothing else but a part of a picture,
/// which is so many pixels further up than it was.
fn over(
    guests: &Guests,
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
        let screen = Screen::read(&seen, &guests.fonts);
        fs::write(out.join("screen.txt"), screen.text())?;
        let text = screen.text();
        let text: Vec<&str> = text.lines().map(str::trim_end).collect();
        let is_text = text.starts_with(lines) && text[lines.len()..].iter().all(|it| it.is_empty());
        Ok((same && is_text && screen.unreadable() == 0 && screen.clean_edges).then_some(()))
    })
}

/// Starts a machine whose shell does as `lines` say, loads the UEFI driver and waits for a key
/// before it starts the kernel.
fn shell(guests: &Guests, machine: &Machine, lines: &[&str], out: &Path) -> Result<Vm> {
    let [image, initrd] = FILES;
    let run = format!("{image} initrd={initrd} {}", machine.words());
    let load = "load virtgpu_handoffaa64.efi";
    let all = [
        &["@echo -off", "fs0:"],
        lines,
        &[load, "loaderaa64.efi wait back", &run],
    ]
    .concat();
    let machine = with_kernel_on_disk(guests, machine, &all, out)?;
    let mut vm = machine.start(out)?;
    vm.wait_for_end(SHELL_WAITS)?;
    vm.send(" ")?;
    vm.wait_for_end("goes on to the kernel")?;
    Ok(vm)
}

/// Returns what firmware shows when a key on the serial port, `key`, has it go on, and what the
/// kernel shows before it has text: the same, pixel for pixel.
fn same_screen(vm: &mut Vm, key: &str) -> Result<Picture> {
    let mut before: Option<Picture> = None;
    // A cursor may blink.
    let firmware = vm.wait("a picture of firmware's", TIME_FOR_TEXT, |vm| {
        let (_, now) = vm.screenshot("firmware.png", None)?;
        let same = before
            .as_ref()
            .is_some_and(|old| old.differs(&now).is_none());
        before = Some(now);
        Ok(same.then(|| before.clone()).flatten())
    })?;
    ensure!(!firmware.is_blank(), "firmware shows nothing");
    vm.send(key)?;
    vm.wait_for(QUIET)?;
    let (_, kernel) = vm.screenshot("kernel.png", None)?;
    if let Some((pixels, at)) = firmware.differs(&kernel) {
        anyhow::bail!("{pixels} pixels are not firmware's, the first at {at:?}");
    }
    Ok(firmware)
}

/// Checks that the driver's lines in a quiet guest's log have these words.
fn driver_says(vm: &Vm, words: &[&str]) -> Result<()> {
    let said = driver_lines(&vm.serial()?).join("\n");
    for word in words {
        ensure!(
            said.contains(word),
            "the driver does not say '{word}':\n{said}"
        );
    }
    Ok(())
}

/// Checks that the scanout has firmware's picture, is dark once, and has the same again and then
/// text.
fn one_dark_frame(vm: &Vm) -> Result<()> {
    let pictures = vm.pictures()?;
    ensure!(
        matches!(pictures[..], [.., theirs, 0, kept, ours]
            if theirs != 0 && kept != 0 && ours != 0),
        "the screen showed {pictures:x?}"
    );
    Ok(())
}

/// Checks that the shell's screen stays until there is text.
fn by_shell(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    kept_until_text(guests, shell(guests, machine, &[], out)?, " ", out)
}

/// Checks that GRUB's screen stays until there is text.
fn by_grub(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start_by_grub(guests, machine, out)?;
    start_entry(&mut vm)?;
    kept_until_text(guests, vm, "\x1b", out)
}

fn kept_until_text(guests: &Guests, mut vm: Vm, key: &str, out: &Path) -> Result<String> {
    let firmware = same_screen(&mut vm, key)?;
    adopted_until_text(guests, vm, &firmware, out)
}

/// Checks that the device was adopted, and has text when there is some.
fn adopted_until_text(
    guests: &Guests,
    mut vm: Vm,
    firmware: &Picture,
    out: &Path,
) -> Result<String> {
    let Picture { width, height, .. } = firmware;
    driver_says(&vm, &["was running, adopted"])?;
    then_text(guests, &mut vm, out)?;
    one_dark_frame(&vm)?;
    Ok(format!("{width}x{height} pixels as firmware's, then text"))
}

/// Checks that the screen stays in the mode that firmware has set, with text as well.
fn in_another_mode(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let socket = out.join("vnc");
    let viewed = format!("unix:{}", socket.display());
    let machine = machine.clone().option("-vnc", &viewed);
    let mut vm = shell(guests, &machine, &["loaderaa64.efi 1024x768 back"], out)?;
    // The host wants something else while firmware runs, which the kernel learns of later.
    let mut viewer = Viewer::connect(&socket)?;
    viewer.resize(1600, 900)?;
    let firmware = same_screen(&mut vm, " ")?;
    thread::sleep(Duration::from_millis(2500));
    let (_, later) = vm.screenshot("later.png", None)?;
    ensure!(
        firmware.differs(&later).is_none(),
        "the picture does not stay"
    );
    let said = adopted_until_text(guests, vm, &firmware, out)?;
    let picture = Picture::read(&out.join("screen.png"))?;
    ensure!(
        (picture.width, picture.height) == (1024, 768),
        "text is on {}x{}",
        picture.width,
        picture.height
    );
    Ok(said)
}

/// Checks that a device that firmware could not leave running shows the picture again when the
/// kernel has found it.
fn picture_alone(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = shell(guests, machine, &[], out)?;
    let Picture { width, height, .. } = same_screen(&mut vm, " ")?;
    driver_says(&vm, &["was idle", "the screen as firmware left it"])?;
    then_text(guests, &mut vm, out)?;
    Ok(format!("{width}x{height} pixels as firmware's, then text"))
}

/// Checks that text lies over firmware's, and begins below it.
fn kept_screen(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = shell(guests, machine, &[], out)?;
    let firmware = same_screen(&mut vm, " ")?;
    let visible = |y: usize| (0..firmware.width).any(|x| firmware.at(x, y) != 0);
    let last = (0..firmware.height)
        .rfind(|&y| visible(y))
        .context("no text of firmware's")?;
    vm.send("\n")?;
    let row = vm.wait("text below firmware's", TIME_FOR_TEXT, |vm| {
        let (_, seen) = vm.screenshot("screen.png", None)?;
        let mut ours = seen.clone();
        for y in 0..=last {
            if (0..firmware.width).any(|x| seen.at(x, y) != firmware.at(x, y)) {
                return Ok(None);
            }
            ours.blacken(0..firmware.width, y);
        }
        let screen = Screen::read(&ours, &guests.fonts);
        let text = screen.text();
        let row = text.lines().position(|line| line.trim() == "text");
        Ok(row.filter(|_| text.trim() == "text" && screen.unreadable() == 0))
    })?;
    vm.check()?;
    Ok(format!("text in row {row}, below firmware's"))
}

/// Checks that the boot goes on with tables that are not what they should be: its text is on the
/// screen, and a line says why.
fn hostile(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    // A table in which the device runs, and nothing is wrong but what is changed.
    let table = |changes: &[(usize, &[u8])]| {
        let mut table = [0u8; 72];
        let fields: [(usize, &[u8]); 8] = [
            (0, b"virtgpu\0\x02\0\x48\0"),
            (12, &[6]),
            // PCI 00:01.0 or 00:02.0, for all that is known here.
            (19, &[1 << 3]),
            (24, &[1]),
            (28, &1280u32.to_le_bytes()),
            (32, &800u32.to_le_bytes()),
            (36, &5120u32.to_le_bytes()),
            (52, &[1]),
        ];
        for (at, bytes) in fields.iter().chain(changes) {
            table[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let sum = table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        table[71] = sum.wrapping_neg();
        table.map(|byte| format!("{byte:02x}")).concat()
    };
    let far = u64::MAX.to_le_bytes();
    let tables = [
        (table(&[(8, &[1])]), "handoff: version 1 is not known"),
        (
            table(&[(12, &[5]), (44, &far)]),
            "handoff: no picture can be at",
        ),
        (table(&[(52, &[2])]), "handoff: no mark is 0x2"),
        // A device that does not have the mark.
        (table(&[]), "was idle"),
    ];
    for (number, (table, line)) in tables.iter().enumerate() {
        let out = out.join(number.to_string());
        let [image, initrd] = FILES;
        let install = format!("loaderaa64.efi table={table} back");
        let run = format!("{image} initrd={initrd} {}", machine.words());
        let machine = with_kernel_on_disk(guests, machine, &["fs0:", &install, &run], &out)?;
        let mut vm = machine.start(&out)?;
        vm.wait_for_end(SHELL_WAITS)?;
        vm.send(" ")?;
        vm.wait_for(READY)?;
        guests.wait_for_screen(&mut vm, None, &out, |screen, vm| {
            log::compare_tail(screen, log::kernel_part(&vm.serial()?))
        })?;
        driver_says(&vm, &[line])?;
        vm.check()?;
    }
    Ok(format!(
        "{} tables refused, text all the same",
        tables.len()
    ))
}

/// Checks that U-Boot starts the kernel that QEMU gives it, with a device tree and without EFI.
fn boots_by_booti(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    ensure!(vm.serial_has("U-Boot 20")?, "that was not U-Boot");
    ensure!(vm.serial_has("efi: UEFI not found")?, "there is EFI");
    Ok(equal(rows))
}

/// Checks that U-Boot loads kernel and initramfs from a disk and starts the kernel as an EFI
/// application.
fn boots_as_efi(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut machine = machine.clone();
    let disk = out.join("disk");
    fs::create_dir_all(&disk)?;
    for (file, name) in machine.take_kernel()?.iter().zip(FILES) {
        fs::copy(file, disk.join(name))?;
    }
    let [image, initrd] = FILES;
    let arguments = format!("setenv bootargs 'initrd={initrd} {}'", machine.words());
    let load = format!("load virtio 0:1 ${{kernel_addr_r}} {image}");
    let mut vm = machine.disk(&disk).start(out)?;
    vm.u_boot(&[
        &arguments,
        "virtio scan",
        &load,
        "bootefi ${kernel_addr_r} ${fdtcontroladdr}",
    ])?;
    let rows = guests.has_same_text(&mut vm, None, out)?;
    ensure!(vm.serial_has("efi: EFI v")?, "the kernel finds no EFI");
    Ok(equal(rows))
}
