// SPDX-License-Identifier: GPL-2.0

//! Cases of the command line: which consoles it makes, and what each of them shows of the log.
//!
//! The guest writes its log and `/proc/consoles` to the serial port, whatever the consoles are. The
//! screen must show each line of that log once, in its order, if its level is for consoles.

use super::{
    case,
    crash::{background, provoke, trigger, with_nmi, SYSRQ, TRACE},
    fixtures::SMALL_GPU,
    group, Case,
    Expect::{Dies, Own, Survives},
    Group,
};
use anyhow::{ensure, Context, Result};
use std::{fs, path::Path};
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU},
    log,
    qemu::{Machine, Vm, LIMIT},
    screen::{show, Screen},
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[Need::Vt])];

const CASES: &[Case] = &[
    // Only firmware names a console: SPCR, or the devicetree's stdout-path.
    case("nobody-spcr", Own(as_well), |guests| {
        said(guests, "").device(TALL)
    })
    .needs(&[Need::ShortLog]),
    case("nobody-spcr-earlycon", Own(as_well), |guests| {
        said(guests, "earlycon=virtgpu").device(TALL)
    })
    .needs(&[Need::ShortLog]),
    case("nobody-spcr-quiet", Own(as_well_quiet), |guests| {
        said(guests, "earlycon=virtgpu quiet").device(TALL)
    })
    .needs(&[Need::ShortLog]),
    case("nobody-spcr-native", Own(as_well_on_fbcon), |guests| {
        said(guests, "earlycon=virtgpu")
            .without("virtgpu_bridge.handover=never")
            .device(TALL)
    })
    .needs(&[Need::NativeBuiltIn, Need::ShortLog]),
    case("nobody-spcr-late", Own(as_well_late), |guests| {
        // Only the driver core can set such a device up.
        said(guests, "").device(&format!("{TALL},iommu_platform=on"))
    }),
    case("nobody-devicetree", Own(by_default), |guests| {
        said_on_tall(guests, "")
    }),
    case("nobody-devicetree-earlycon", Own(by_default), |guests| {
        said_on_tall(guests, "earlycon=virtgpu")
    }),
    case("nobody-login", Own(login), |guests| {
        let shell = said(guests, "earlycon=virtgpu vm.shell=tty1");
        shell.device(SMALL_GPU).device("virtio-keyboard-pci")
    }),
    case(
        "nobody-spcr-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            said(guests, "earlycon=virtgpu vm.lines=20")
                .append(SYSRQ)
                .device(GPU)
        },
    ),
    case("nobody-never", Own(never), |guests| {
        said(guests, "virtgpu_bridge.console=never").device(TALL)
    }),
    // A boot stub names hvc0, which is there or not.
    case("stub-hvc0", Own(hvc0_as_well), |guests| {
        hvc0(said_on_tall(guests, "earlycon=virtgpu console=hvc0"))
    }),
    case("stub-hvc0-last", Own(hvc0_as_well), |guests| {
        hvc0(said_on_tall(guests, "console=hvc0 earlycon=virtgpu"))
    }),
    case("stub-hvc0-absent", Own(hvc0_is_absent), |guests| {
        said(guests, "earlycon=virtgpu console=hvc0").device(TALL)
    })
    .needs(&[Need::ShortLog]),
    // A user names consoles, and not the screen.
    case("user-serial", Own(obeyed), |guests| {
        said(guests, "console=ttyAMA0").device(TALL)
    }),
    case("user-serial-earlycon", Own(obeyed), |guests| {
        said_on_tall(guests, "earlycon=virtgpu console=ttyAMA0")
    }),
    case("user-hvc0-serial", Own(obeyed), |guests| {
        said_on_tall(guests, "console=hvc0 console=ttyAMA0")
    }),
    // The user names both, in any order.
    case("user-both", Own(both_in_any_order), |guests| {
        guests
            .image()
            .append("virtgpu_bridge.handover=never")
            .direct()
            .device(TALL)
    }),
    case("user-tty1", Own(tty1), |guests| {
        said_on_tall(guests, "earlycon=virtgpu console=tty1 console=ttyAMA0")
    }),
    // What the screen is called without virtual terminals.
    case("user-virtgpu0", Own(virtgpu0), |guests| {
        said_on_tall(guests, "earlycon=virtgpu console=virtgpu0")
    }),
    // The boot console is kept.
    case("kept-serial", Own(kept), |guests| {
        said_on_tall(guests, "earlycon=virtgpu keep_bootcon console=ttyAMA0")
    }),
    case("kept-first-serial", Own(kept), |guests| {
        said_on_tall(guests, "keep_bootcon console=ttyAMA0 earlycon=virtgpu")
    }),
    case("kept-both", Own(kept_with_tty0), |guests| {
        guests
            .image()
            .append("virtgpu_bridge.handover=never")
            .direct()
            .device(TALL)
    }),
    case("kept-nobody-spcr", Own(as_well), |guests| {
        said(guests, "earlycon=virtgpu keep_bootcon").device(TALL)
    })
    .needs(&[Need::ShortLog]),
    case(
        "kept-panic",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| kept_log(guests).append(SYSRQ),
    )
    .on(&[1, 4]),
    case("kept-panic-nmi", Dies(&["crash test", TRACE]), |guests| {
        with_nmi(kept_log(guests)).append(&trigger("nmi"))
    })
    .on(&[4]),
    case("kept-panic-quiet", Dies(&["crash test", TRACE]), |guests| {
        kept_log(guests)
            .append("quiet vm.lines=60")
            .append(&trigger("panic"))
    }),
    case(
        "kept-panic-tty0",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| kept_log(guests).append("console=tty0").append(SYSRQ),
    ),
    case(
        "kept-lkdtm-warning",
        Survives(&["WARNING: ", TRACE]),
        |guests| provoke(kept_log(guests), "WARNING").append("vm.lines=5"),
    ),
    // While a process has the console lock, a boot console keeps Linux from printing on any.
    case(
        "kept-warning-console-lock",
        Survives(&["WARNING: ", TRACE]),
        |guests| {
            let locked = kept_log(guests)
                .append("console=tty0")
                .append(&background("hold-short"));
            provoke(locked, "WARNING").append("vm.lines=5 vm.do=busybox,sleep,8 vm.lines=5")
        },
    )
    .on(&[1, 4]),
    // What is to be seen does not depend on the order of words.
    case("level-in-any-order", Own(levels), |guests| {
        guests
            .image()
            .append("virtgpu_bridge.handover=never")
            .direct()
            .device(TALL)
    }),
];

/// A screen on which the whole log of a boot fits.
const TALL: &str = "virtio-gpu-pci,xres=640,yres=4080";

/// The driver's words where it adds the screen to consoles that others named, and where it does
/// not.
const AS_WELL: &str = "the log is on the screen as well";

const OBEYED: &str = "the log is not on the screen";

/// What must be seen of a guest.
struct Expected {
    /// Records of this level, and of less urgent ones, are not on the screen.
    level: u8,
    /// The consoles, in the order of `/proc/consoles`; the first one is `/dev/console`.
    consoles: &'static [&'static str],
    /// A line of the driver's has these words.
    says: &'static str,
}

/// What is expected where nothing else is said: all but debugging messages.
const INFO: u8 = 7;

/// The same of a quiet kernel.
const QUIET: u8 = 4;

/// The same of one that prints all.
const DEBUG: u8 = 8;

/// Returns a guest with these words and no other that names a console, whose device stays ours.
fn said(guests: &Guests, words: &str) -> Machine {
    let mute = guests
        .image()
        .without("console=ttyAMA0")
        .without("console=nowhere");
    mute.append(words).append("virtgpu_bridge.handover=never")
}

/// Returns the same guest without firmware, with a screen that shows all of the log.
fn said_on_tall(guests: &Guests, words: &str) -> Machine {
    said(guests, words).direct().device(TALL)
}

/// Returns a machine whose early console stays, and whose log is on the serial port as well.
fn kept_log(guests: &Guests) -> Machine {
    let kept = "earlycon=virtgpu keep_bootcon virtgpu_bridge.handover=never vm.lines=20";
    guests.image().append(kept).direct().device(GPU)
}

/// Returns the machine with a virtio console.
fn hvc0(machine: Machine) -> Machine {
    let machine = machine.option("-chardev", "ringbuf,id=hvc0,size=65536");
    machine
        .device("virtio-serial-pci")
        .device("virtconsole,chardev=hvc0")
}

fn as_well(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    check_as_well(guests, machine, INFO, out)
}

fn as_well_quiet(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    check_as_well(guests, machine, QUIET, out)
}

fn check_as_well(guests: &Guests, machine: &Machine, level: u8, out: &Path) -> Result<String> {
    let expected = Expected {
        level,
        consoles: &["ttyAMA0", "tty0"],
        says: AS_WELL,
    };
    check_screen(guests, machine, &expected, out)
}

/// Checks that the native driver has the device, and its console the log.
fn as_well_on_fbcon(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let seen = as_well(guests, machine, out)?;
    let serial = fs::read(out.join("serial.log"))?;
    let said = driver_lines(&serial).join("\n");
    ensure!(said.contains("handed over"), "not handed over:\n{said}");
    Ok(seen)
}

/// Checks that the terminal was Linux' own, of 80x25 cells, until there was a screen.
fn as_well_late(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["ttyAMA0", "tty0"],
        says: AS_WELL,
    };
    let mut vm = boot(machine, out)?;
    check_consoles(&vm, &expected)?;
    guests.wait_for_words(&mut vm, &["vm: line 1", "vm: line 5", "vm: level 6"], out)?;
    Ok("the end of the log".into())
}

/// Checks that the VT is Linux' own choice, until the serial port comes.
fn by_default(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["ttyAMA0", "tty0"],
        says: "",
    };
    check_screen(guests, machine, &expected, out)
}

fn never(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    hides(guests, machine, "virtgpu_bridge.console=never", out)
}

fn obeyed(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    hides(guests, machine, OBEYED, out)
}

fn hvc0_as_well(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["hvc0", "tty0"],
        says: AS_WELL,
    };
    let mut vm = boot(machine, out)?;
    let seen = compare(guests, &mut vm, &expected, out)?;
    let said = vm.human("ringbuf_read hvc0 65536")?;
    fs::write(out.join("hvc0.log"), &said)?;
    // Linux' virtio console drops what is printed before its port is on a list of its own, with any
    // GPU or none: most of the boot.
    for words in ["vm: line 1", "vm: line 5", TO_CONSOLE] {
        ensure!(said.contains(words), "hvc0 does not say '{words}'");
    }
    Ok(seen)
}

fn hvc0_is_absent(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    // The serial port is SPCR's.
    let expected = Expected {
        level: INFO,
        consoles: &["tty0", "ttyAMA0"],
        says: AS_WELL,
    };
    check_screen(guests, machine, &expected, out)
}

fn tty1(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["ttyAMA0", "tty1"],
        says: "",
    };
    check_screen(guests, machine, &expected, out)
}

fn virtgpu0(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["tty0"],
        says: AS_WELL,
    };
    check_screen(guests, machine, &expected, out)
}

fn kept(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["ttyAMA0", "virtgpu0"],
        says: "",
    };
    check_screen(guests, machine, &expected, out)
}

/// Checks `earlycon=virtgpu` before, between and behind two consoles, the last of which is
/// `/dev/console`.
fn both_in_any_order(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const SERIAL: &[&str] = &["ttyAMA0", "tty0"];
    const SCREEN: &[&str] = &["tty0", "ttyAMA0"];
    let orders = [
        ("earlycon=virtgpu console=tty0 console=ttyAMA0", SERIAL),
        ("console=tty0 earlycon=virtgpu console=ttyAMA0", SERIAL),
        ("console=tty0 console=ttyAMA0", SERIAL),
        ("earlycon=virtgpu console=ttyAMA0 console=tty0", SCREEN),
        ("console=ttyAMA0 console=tty0 earlycon=virtgpu", SCREEN),
        (
            "console=ttyAMA0 console=tty0 earlycon=virtgpu console=ttyAMA0",
            SERIAL,
        ),
    ];
    in_any_order(
        guests,
        machine,
        &orders.map(|(words, consoles)| (words, INFO, consoles)),
        out,
    )
}

/// Checks that the early console stays, as the user wants it, and tty0 has the same screen.
fn kept_with_tty0(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const SERIAL: &[&str] = &["ttyAMA0", "tty0"];
    const SCREEN: &[&str] = &["tty0"];
    let orders = [
        ("earlycon=virtgpu console=tty0 keep_bootcon", SCREEN),
        (
            "keep_bootcon console=tty0 console=ttyAMA0 earlycon=virtgpu",
            SERIAL,
        ),
        (
            "quiet keep_bootcon earlycon=virtgpu console=tty0 console=ttyAMA0 loglevel=7",
            SERIAL,
        ),
    ];
    in_any_order(
        guests,
        machine,
        &orders.map(|(words, consoles)| (words, INFO, consoles)),
        out,
    )
}

/// Checks that levels mean the same wherever `earlycon=virtgpu` stands.
fn levels(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const TTY0: &[&str] = &["tty0"];
    let orders = [
        ("earlycon=virtgpu console=tty0 quiet", QUIET),
        ("console=tty0 loglevel=4 earlycon=virtgpu", QUIET),
        (
            "earlycon=virtgpu loglevel=7 quiet console=tty0 -- loglevel=7",
            QUIET,
        ),
        ("quiet earlycon=virtgpu loglevel=7 console=tty0", INFO),
        ("quiet earlycon=virtgpu console=tty0 debug", DEBUG),
        ("earlycon=virtgpu ignore_loglevel console=tty0 quiet", DEBUG),
        ("quiet earlycon=virtgpu console=tty0 ignore_loglevel", DEBUG),
        ("ignore_loglevel console=tty0 quiet earlycon=virtgpu", DEBUG),
    ];
    in_any_order(
        guests,
        machine,
        &orders.map(|(words, level)| (words, level, TTY0)),
        out,
    )
}

fn in_any_order(
    guests: &Guests,
    machine: &Machine,
    orders: &[(&'static str, u8, &'static [&'static str])],
    out: &Path,
) -> Result<String> {
    let mute = machine
        .clone()
        .without("console=ttyAMA0")
        .without("console=nowhere");
    for (number, &(words, level, consoles)) in orders.iter().enumerate() {
        let expected = Expected {
            level,
            consoles,
            says: "",
        };
        // What follows "--" is init's.
        let (front, back) = words.split_once(" -- ").unwrap_or((words, ""));
        let mut machine = mute.clone().append(front).append(LOG);
        if !back.is_empty() {
            machine = machine.append("--").append(back);
        }
        let out = out.join(number.to_string());
        let seen =
            start(&machine, &out).and_then(|mut vm| compare(guests, &mut vm, &expected, &out));
        seen.with_context(|| format!("'{words}', in {}", out.display()))?;
    }
    Ok(format!("{} orders, each line once", orders.len()))
}

/// Has the guest write some lines, and its log to the serial port, and then say no more.
const LOG: &str = "vm.lines=5 vm.levels vm.log vm.do=busybox,sleep,1000";

/// What the guest writes to `/dev/console`.
const TO_CONSOLE: &str = "vm: to the console";

fn boot(machine: &Machine, out: &Path) -> Result<Vm> {
    start(&machine.clone().append(LOG), out)
}

fn start(machine: &Machine, out: &Path) -> Result<Vm> {
    let mut vm = machine.start(out)?;
    vm.wait("the guest's log on the serial port", LIMIT, |vm| {
        Ok(vm.serial_has("vm: end of the log")?.then_some(()))
    })?;
    vm.check()?;
    Ok(vm)
}

/// A guest's log, and its consoles.
struct Said {
    /// Levels and lines.
    log: Vec<(u8, String)>,
    /// Names and flags.
    consoles: Vec<(String, String)>,
}

fn said_by(vm: &Vm) -> Result<Said> {
    let serial = vm.serial()?;
    let serial = String::from_utf8_lossy(&serial).replace('\r', "");
    let part = |from: &str, to: &str| -> Result<String> {
        let (_, rest) = serial
            .rsplit_once(from)
            .with_context(|| format!("no '{from}'"))?;
        let (part, _) = rest.split_once(to).with_context(|| format!("no '{to}'"))?;
        Ok(part.to_owned())
    };
    let log = part("vm: the log\n", "vm: the consoles\n")?;
    let consoles = part("vm: the consoles\n", "vm: end of the log\n")?;
    let record = |line: &str| -> Option<(u8, String)> {
        let (level, text) = line.strip_prefix('<')?.split_once('>')?;
        Some((level.parse::<u32>().ok()? as u8 & 7, text.to_owned()))
    };
    let console = |line: &str| -> Option<(String, String)> {
        let (name, rest) = line.split_once(' ')?;
        let (_, flags) = rest.split_once('(')?;
        let (flags, _) = flags.split_once(')')?;
        Some((name.to_owned(), flags.to_owned()))
    };
    let said = Said {
        log: log.lines().filter_map(record).collect(),
        consoles: consoles.lines().filter_map(console).collect(),
    };
    ensure!(!said.log.is_empty(), "no log on the serial port");
    Ok(said)
}

/// Checks that the guest has the expected consoles, and says so.
fn check_consoles(vm: &Vm, expected: &Expected) -> Result<Said> {
    let said = said_by(vm)?;
    // The one for panics has no number where there are virtual terminals, or it was not wanted.
    let seen: Vec<&str> = (said.consoles.iter())
        .map(|(name, _)| name.as_str())
        .filter(|name| !name.starts_with("virtgpu") || expected.consoles.contains(name))
        .collect();
    ensure!(
        seen == expected.consoles,
        "the consoles are {seen:?}, not {:?}",
        expected.consoles
    );
    let first = said
        .consoles
        .iter()
        .find(|(name, _)| name == expected.consoles[0]);
    let flags = first.map_or("", |(_, flags)| flags);
    ensure!(
        flags.contains('C'),
        "{} has the flags '{flags}'",
        expected.consoles[0]
    );
    let lines: Vec<&str> = said.log.iter().map(|(_, line)| line.as_str()).collect();
    let spoken = lines
        .iter()
        .filter(|line| line.contains("virtgpu_bridge: "));
    let spoken: Vec<&str> = spoken.copied().collect();
    ensure!(
        spoken
            .iter()
            .filter(|line| line.contains(expected.says))
            .count()
            == 1
            || expected.says.is_empty(),
        "not one line of the driver's says '{}':\n{}",
        expected.says,
        spoken.join("\n")
    );
    Ok(said)
}

/// Checks that the screen has each line of the log once.
fn check_screen(
    guests: &Guests,
    machine: &Machine,
    expected: &Expected,
    out: &Path,
) -> Result<String> {
    compare(guests, &mut boot(machine, out)?, expected, out)
}

fn compare(guests: &Guests, vm: &mut Vm, expected: &Expected, out: &Path) -> Result<String> {
    let said = check_consoles(vm, expected)?;
    let mut lines = String::new();
    for (level, line) in &said.log {
        if *level < expected.level {
            lines += line;
            lines += "\n";
        }
    }
    if expected.consoles[0].starts_with("tty") && expected.consoles[0] != "ttyAMA0" {
        lines += TO_CONSOLE;
        lines += "\n";
    }
    let has_early = vm.serial_has("earlycon: virtgpu0")?;
    let rows = guests.wait_for_screen(vm, None, out, |screen, _| {
        let rows = match has_early {
            true => log::lay_out(lines.as_bytes(), screen.columns),
            false => log::lay_out_of_vt(lines.as_bytes(), screen.columns),
        };
        ensure!(
            rows.len() < screen.rows.len(),
            "the log is longer than the screen"
        );
        log::compare_rows(screen, &rows)
    })?;
    if expected.consoles.contains(&"ttyAMA0") {
        once_on_serial(vm, &said, expected)?;
    }
    Ok(format!(
        "{rows} rows, each line once; consoles {}",
        expected.consoles.join(", ")
    ))
}

/// Checks that the serial port, as a console, has the last lines once.
fn once_on_serial(vm: &Vm, said: &Said, expected: &Expected) -> Result<()> {
    let serial = String::from_utf8_lossy(&vm.serial()?).replace('\r', "");
    let (printed, _) = serial.rsplit_once("vm: the log\n").context("no log")?;
    let last = said
        .log
        .iter()
        .rev()
        .filter(|(level, _)| *level < expected.level);
    for (_, line) in last.take(5) {
        let times = printed
            .lines()
            .filter(|seen| seen.trim_end().ends_with(line.trim_end()))
            .count();
        ensure!(times == 1, "{times} times on the serial port: {line}");
    }
    if expected.consoles[0] == "ttyAMA0" {
        ensure!(
            printed.contains(TO_CONSOLE),
            "/dev/console is not the serial port"
        );
    }
    Ok(())
}

/// Checks that the serial port is the only console: the screen has nothing that was said after it
/// had come.
fn hides(guests: &Guests, machine: &Machine, says: &'static str, out: &Path) -> Result<String> {
    let expected = Expected {
        level: INFO,
        consoles: &["ttyAMA0"],
        says,
    };
    let mut vm = boot(machine, out)?;
    let said = check_consoles(&vm, &expected)?;
    once_on_serial(&vm, &said, &expected)?;
    let (_, picture) = vm.screenshot("screen.png", None)?;
    let screen = Screen::read(&picture, &guests.fonts);
    let text = screen.text();
    fs::write(out.join("screen.txt"), &text)?;
    ensure!(
        !text.contains("vm: line"),
        "the log is on the screen:\n{text}"
    );
    // What the early console has shown before is there once.
    let mut seen: Vec<String> = (screen.written().iter().map(|row| show(row)))
        .filter(|row| row.starts_with("[ "))
        .collect();
    let count = seen.len();
    seen.dedup();
    ensure!(
        count == seen.len(),
        "lines are on the screen twice:\n{text}"
    );
    Ok(format!(
        "{count} rows of the early console's, and nothing else"
    ))
}

/// Checks that a shell is on the screen with the log, and answers.
fn login(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = boot(machine, out)?;
    let expected = Expected {
        level: INFO,
        consoles: &["ttyAMA0", "tty0"],
        says: AS_WELL,
    };
    check_consoles(&vm, &expected)?;
    vm.press("e c h o spc h e l l o ret")?;
    guests.wait_for_words(&mut vm, &["vm: line 5", "echo hello", "\nhello"], out)?;
    Ok("the log and a shell that answers".into())
}
