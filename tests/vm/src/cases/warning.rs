// SPDX-License-Identifier: GPL-2.0

//! Cases of kernels in trouble that live on.

use super::{
    case,
    crash::{
        background, console_lock_held, dying, lives_on, lkdtm, provoke, trigger, with_nmi, BOTH,
        FOUR, TRACE,
    },
    fixtures::equal,
    group, Case,
    Expect::{Own, Survives, Warns},
    Group,
};
use anyhow::{bail, ensure, Context, Result};
use std::{fs, path::Path};
use vm::{
    config::Need,
    guests::{Guests, READY},
    qemu::Machine,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[]), group(VT_CASES, &[Need::Vt])];

const CASES: &[Case] = &[
    // The screen has the warnings of a kernel that lives on; here a hundred thousand lines of them.
    case("lkdtm-warning-storm", Own(storm), |guests| {
        let mount = "vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug";
        let storm = dying(guests).append(mount).append("vm.storm=800");
        storm.append("vm.records").needing(Need::Lkdtm)
    })
    .on(FOUR),
    case(
        "lkdtm-warning-survived",
        Survives(&["WARNING: ", TRACE]),
        |guests| lkdtm(guests, "WARNING").append("vm.lines=5"),
    )
    .on(BOTH),
    case(
        "lkdtm-bug-survived",
        Survives(&["kernel BUG at", TRACE]),
        |guests| {
            let bug = provoke(dying(guests).append("vm.lines=20"), "BUG");
            bug.append("vm.do=busybox,sleep,1 vm.lines=5")
        },
    )
    .on(BOTH),
    case(
        "warning-in-softirq",
        Survives(&["test warning, in softirq", TRACE]),
        |guests| {
            dying(guests)
                .append(&trigger("warn-softirq"))
                .append("vm.lines=5")
        },
    )
    .on(BOTH),
    case(
        "warning-in-hardirq",
        Survives(&["test warning, in hard interrupt", TRACE]),
        |guests| {
            dying(guests)
                .append(&trigger("warn-hardirq"))
                .append("vm.lines=5")
        },
    )
    .on(BOTH),
    case(
        "warning-in-nmi",
        Survives(&["test warning, in NMI", TRACE]),
        |guests| {
            with_nmi(dying(guests))
                .append(&trigger("warn-nmi"))
                .append("vm.lines=5")
        },
    )
    .on(BOTH),
    case("stall", Survives(&["rcu: INFO: rcu_", TRACE]), |guests| {
        rcu_stall(dying(guests))
    })
    .on(FOUR),
    case(
        "lkdtm-console-lock",
        Warns(&["WARNING: ", TRACE]),
        |guests| provoke(console_lock_held(guests), "WARNING"),
    )
    .on(BOTH),
    case(
        "console-lock-softirq",
        Warns(&["test warning, in softirq", TRACE]),
        |guests| console_lock_held(guests).append(&trigger("warn-softirq")),
    )
    .on(BOTH),
    case(
        "console-lock-hardirq",
        Warns(&["test warning, in hard interrupt", TRACE]),
        |guests| console_lock_held(guests).append(&trigger("warn-hardirq")),
    )
    .on(BOTH),
    case(
        "console-lock-nmi",
        Warns(&["test warning, in NMI", TRACE]),
        |guests| with_nmi(console_lock_held(guests)).append(&trigger("warn-nmi")),
    )
    .on(BOTH),
    case(
        "console-lock-stall",
        Warns(&["rcu: INFO: rcu_", TRACE]),
        |guests| rcu_stall(console_lock_held(guests)),
    )
    .on(FOUR),
    // It is shown by another CPU than the one that says it.
    case(
        "console-lock-cpu-lost",
        Warns(&["test warning, and gone", TRACE]),
        |guests| console_lock_held(guests).append(&background("vanish")),
    )
    .on(FOUR),
    // It is shown by another CPU than the one that asked first.
    case(
        "lkdtm-console-lock-cpu-lost",
        Warns(&["WARNING: ", TRACE, "lkdtm_WARNING"]),
        |guests| {
            provoke(
                console_lock_held(guests).append(&background("vanish")),
                "WARNING",
            )
        },
    )
    .on(FOUR),
    case(
        "lkdtm-console-lock-for-a-while",
        Survives(&["WARNING: ", TRACE]),
        |guests| {
            let locked = dying(guests).append(&background("hold-short"));
            let later = "vm.lines=5 vm.do=busybox,sleep,8 vm.lines=5";
            provoke(locked, "WARNING").append(later)
        },
    )
    .on(BOTH),
    // The serial port's thread may wait for ever.
    case("lkdtm-softlockup-survived", Own(locks_up), |guests| {
        lkdtm(guests, "SOFTLOCKUP").append("watchdog_thresh=2")
    })
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(FOUR),
    case(
        "lkdtm-softlockup-console-lock",
        Warns(&["BUG: soft lockup", TRACE]),
        |guests| {
            provoke(
                console_lock_held(guests).append("watchdog_thresh=2"),
                "SOFTLOCKUP",
            )
        },
    )
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(FOUR),
];

/// Cases that need a virtual terminal, or in which tty0 prints and our console waits.
const VT_CASES: &[Case] = &[
    // What is not in the log is on the terminal alone.
    case("lkdtm-terminal-again", Own(terminal_again), |guests| {
        let typed = "vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug \
            vm.do=echo,not,in,the,log,>/dev/tty1";
        let locked = dying(guests)
            .append(typed)
            .append(&background("hold-short"));
        locked
            .append("vm.do=echo,WARNING,>/sys/kernel/debug/provoke-crash/DIRECT")
            .append("vm.do=busybox,sleep,8 vm.lines=1")
            .needing(Need::Lkdtm)
    })
    .on(FOUR),
    // While another one prints, it comes late to our console.
    case("lkdtm-console-lock-noise", Own(warns_loudly), |guests| {
        let noise = console_lock_held(guests).append("vm.noise=1 vm.do=busybox,sleep,1");
        provoke(noise, "WARNING").append("vm.noise=0")
    })
    .needs(&[Need::SpinningLocks])
    .on(FOUR),
    // The serial port's thread does not run.
    case("lkdtm-softlockup-alone", Own(locks_up), |guests| {
        lkdtm(guests, "SOFTLOCKUP").append("watchdog_thresh=2")
    })
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(&[1]),
    // Two emergencies, the second one when the first is on the screen.
    case(
        "lkdtm-paint-survived",
        Warns(&["WARNING: ", TRACE]),
        |guests| {
            let dead = dying(guests).append(&trigger("paint-oops"));
            provoke(
                dead.append("vm.do=echo,x,>/dev/tty1& vm.do=busybox,sleep,4"),
                "WARNING",
            )
        },
    )
    .on(FOUR),
];

/// Returns a machine where a CPU makes RCU wait.
fn rcu_stall(machine: Machine) -> Machine {
    machine
        .append("rcupdate.rcu_cpu_stall_timeout=3 vm.lines=20")
        .append(&background("stall"))
        .append("vm.do=busybox,sleep,11 vm.lines=5")
        .needing(Need::LockupDetector)
}

/// Checks that the terminal gets the screen back, with all its text, from a warning that replaced
/// it.
fn terminal_again(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const TYPED: &str = "not in the log";
    let mut vm = machine.start(out)?;
    guests.wait_for_words(&mut vm, &["WARNING: ", TRACE], out)?;
    let during = fs::read_to_string(out.join("screen.txt"))?;
    vm.wait_for(READY)?;
    let after = guests.wait_for_words(&mut vm, &[TYPED, "vm: line 1"], out)?;
    ensure!(
        !during.contains(TYPED),
        "the terminal was there all the time"
    );
    ensure!(after.contains(TRACE), "the terminal lost the warning");
    vm.check_guest_errors()?;
    Ok(format!("the terminal again, with '{TYPED}'"))
}

/// Checks the same, after a hundred thousand lines.
fn storm(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    let rows = lives_on(guests, &mut vm, out)?;
    let serial = String::from_utf8_lossy(&vm.serial()?).into_owned();
    let lost = serial.lines().rev().find_map(|line| {
        let (said, _) = line.split_once(" records are gone")?;
        said.rsplit(' ').next()?.parse::<u32>().ok()
    });
    let lost = lost.context("nobody says how many records are gone")?;
    ensure!(lost >= 100_000, "only {lost} records");
    Ok(format!("{} after {lost} records", equal(rows)))
}

/// Checks that a CPU does not answer, and the screen tells why.
fn locks_up(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let last = "el0t_64_sync+";
    guests.wait_for_words(&mut vm, &["BUG: soft lockup", TRACE, last], out)?;
    let also = match vm.serial_has("BUG: soft lockup")? {
        true => "also on the serial port",
        false => "not on the serial port",
    };
    vm.check_crashed()?;
    Ok(format!("reason and trace were seen; {also}"))
}

/// Checks the same in a flood of other lines, which goes on.
///
/// A host with much to do holds a CPU up for so long that the log's ring goes around meanwhile:
/// then the screen says what was dropped, and this begins again.
fn warns_loudly(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const ATTEMPTS: usize = 10;
    for attempt in 1..=ATTEMPTS {
        let mut vm = machine.start(out)?;
        vm.wait_for(READY)?;
        let text = guests.wait_for_words(&mut vm, &[READY], out)?;
        vm.check_crashed()?;
        // What follows the trace's first line is the other's, as much as is shown of it.
        let missing = ["[ cut here ]", TRACE]
            .iter()
            .find(|word| !text.contains(**word));
        match missing {
            None => {
                return Ok(format!(
                    "its beginning, its trace and the last line, at attempt {attempt}"
                ))
            }
            Some(word) => ensure!(
                text.contains(" messages dropped "),
                "no '{word}' on the screen, and nothing was dropped:\n{text}"
            ),
        }
    }
    bail!("messages were dropped in each of {ATTEMPTS} attempts: the machine has too much to do")
}
