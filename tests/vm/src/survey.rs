// SPDX-License-Identifier: GPL-2.0

//! `vm survey`: the same kernel dies of the same causes, and what can be read of it then: on our
//! screen, on that of virtio_gpu (fbcon, then drm_panic), on that of efifb (fbcon, on ramfb), and
//! on the serial port.
//!
//! This measures others and fails nothing. The result is a table, for people.

use crate::cases::crash::{background, provoke, trigger, with_nmi, END, SYSRQ, TRACE};
use anyhow::Result;
use std::{fmt::Write, fs, path::Path, thread, time::Duration};
use vm::{
    guests::{Guests, GPU},
    qemu::{Machine, Vm},
    screen::Screen,
};

/// How long after its start a machine's screen is read, in seconds.
const PATIENCE: u64 = 25;

/// A kernel that dies, or is in trouble.
struct Scenario {
    name: &'static str,
    /// Why, how the call trace begins, and the last line.
    words: [&'static str; 3],
    cpus: &'static str,
    machine: fn(Machine) -> Machine,
    /// Before there is any driver: consoles are early ones.
    early: bool,
}

const TRACE_ENDS: &str = "---[ end trace";

const fn dies(
    name: &'static str,
    reason: &'static str,
    machine: fn(Machine) -> Machine,
) -> Scenario {
    Scenario {
        name,
        words: [reason, TRACE, END],
        cpus: "4",
        machine,
        early: false,
    }
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        early: true,
        ..dies("in setup_arch()", "crash test", |machine| {
            machine.append("virtgpu_bridge_test=panic nokaslr")
        })
    },
    dies("sysrq c", "sysrq triggered crash", |machine| {
        machine.append("vm.lines=60").append(SYSRQ)
    }),
    dies(
        "an exception, oops=panic",
        "Unable to handle kernel",
        |machine| provoke(machine, "EXCEPTION").append("oops=panic"),
    ),
    dies("in hard interrupt", "from hard IRQ context", |machine| {
        provoke(machine, "PANIC_IN_HARDIRQ")
    }),
    dies("in NMI", "crash test, in NMI", |machine| {
        with_nmi(machine)
            .append("vm.lines=20")
            .append(&trigger("nmi"))
    }),
    dies("of a full stack", "kernel stack overflow", |machine| {
        provoke(machine, "EXHAUST_STACK")
    }),
    dies(
        "while three CPUs print",
        "sysrq triggered crash",
        |machine| {
            let noise = machine.append("vm.noise=3 vm.do=busybox,sleep,2");
            noise.append(SYSRQ)
        },
    ),
    dies(
        "the console lock is held",
        "sysrq triggered crash",
        |machine| {
            let locked = machine.append("vm.lines=20").append(&background("hold"));
            locked.append(SYSRQ)
        },
    ),
    Scenario {
        words: ["WARNING: ", TRACE, TRACE_ENDS],
        ..dies("a warning, the console lock is held", "", |machine| {
            let locked = machine.append("vm.lines=20").append(&background("hold"));
            provoke(locked, "WARNING")
        })
    },
    Scenario {
        words: ["BUG: soft lockup", TRACE, "el0t_64_sync+"],
        cpus: "1",
        ..dies("the only CPU locks up", "", |machine| {
            provoke(machine, "SOFTLOCKUP").append("watchdog_thresh=2")
        })
    },
];

/// A display that may show it.
struct Peer {
    name: &'static str,
    machine: fn(&Guests) -> Machine,
    /// Its early console.
    early: &'static str,
}

const PEERS: &[Peer] = &[
    Peer {
        name: "virtgpu_bridge",
        machine: |guests| guests.vt().direct().device(GPU),
        early: "earlycon=virtgpu",
    },
    Peer {
        name: "virtio_gpu, fbcon, drm_panic",
        machine: |guests| {
            let native = guests.log_on_screen().append("drm.panic_screen=kmsg");
            native.direct().device(GPU)
        },
        // It has none.
        early: "",
    },
    Peer {
        name: "efifb, fbcon (ramfb)",
        machine: |guests| guests.log_on_screen().device("ramfb"),
        early: "earlycon=efifb",
    },
];

/// Returns which of the words a text has.
fn parts(text: &str, words: &[&str; 3]) -> String {
    let names = ["reason", "trace", "end"];
    let has: Vec<_> = (names.iter().zip(words))
        .filter(|(_, word)| text.contains(*word))
        .map(|(name, _)| *name)
        .collect();
    match has.len() {
        0 => "nothing".into(),
        3 => "all".into(),
        _ => has.join(", "),
    }
}

/// Reads the screen until all the words are there, or until [`PATIENCE`] is over.
fn read_until_all(guests: &Guests, vm: &mut Vm, words: &[&str; 3], out: &Path) -> Result<String> {
    loop {
        let (_, picture) = vm.screenshot("screen.png", None)?;
        let text = Screen::read(&picture, &guests.fonts).text();
        fs::write(out.join("screen.txt"), &text)?;
        let seen = parts(&text, words);
        if seen == "all" || vm.age() > Duration::from_secs(PATIENCE) {
            return Ok(seen);
        }
        thread::sleep(Duration::from_millis(500));
    }
}

/// Measures, writes the table to `out`, and says it.
pub fn run(guests: &Guests, out: &Path) -> Result<()> {
    let mut table = String::from("| the kernel dies |");
    for peer in PEERS {
        write!(table, " {} |", peer.name)?;
    }
    table += " serial port (pl011) |\n|---|---|---|---|---|\n";
    for scenario in SCENARIOS {
        write!(table, "| {} |", scenario.name)?;
        let mut serial = String::new();
        for peer in PEERS {
            let machine = (scenario.machine)((peer.machine)(guests)).option("-smp", scenario.cpus);
            let name = format!("{} {}", scenario.name, peer.name);
            let out = out.join(name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
            let machine = match scenario.early {
                true => machine.first(peer.early),
                false => machine,
            };
            let mut vm = machine.start(&out)?;
            let seen = read_until_all(guests, &mut vm, &scenario.words, &out)?;
            if serial.is_empty() && !scenario.early {
                serial = parts(&String::from_utf8_lossy(&vm.serial()?), &scenario.words);
            }
            println!("{}, {}: {seen}", scenario.name, peer.name);
            write!(table, " {seen} |")?;
        }
        if scenario.early {
            let machine = (scenario.machine)(guests.vt().direct());
            let out = out.join("early-serial");
            let mut vm = machine.first("earlycon=pl011,0x9000000").start(&out)?;
            vm.wait_for_end(END)?;
            serial = parts(&String::from_utf8_lossy(&vm.serial()?), &scenario.words);
        }
        writeln!(table, " {serial} |")?;
    }
    fs::write(out.join("survey.md"), &table)?;
    println!("\n{table}");
    Ok(())
}
