// SPDX-License-Identifier: GPL-2.0

//! Cases of kernels that die, at every point of the boot and in every context.

use super::{
    case,
    crash::{
        console_lock_held, dies, dying, dying_on, has_died, has_panic_end, in_paint, lkdtm,
        provoke, trigger, with_nmi, BOTH, END, FOUR, IN_PAINT, PANIC, SYSRQ, TRACE,
    },
    fixtures::{equal, SMALL_GPU},
    group, long, Case,
    Expect::{Dies, Own},
    Group,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    hint,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};
use vm::{
    config::Need,
    guests::{Guests, GPU},
    log,
    qemu::{Machine, LIMIT},
    screen::show,
};

/// The cases.
pub const GROUPS: &[Group] = &[
    group(CASES, &[]),
    long(LONG_CASES, &[]),
    group(VT_CASES, &[Need::Vt]),
];

const CASES: &[Case] = &[
    case("early-panic", Own(early_panic), |guests| {
        guests.early_with("mem=1M nokaslr").device(GPU)
    }),
    case(
        "lkdtm-softlockup",
        Dies(&["softlockup: hung tasks", TRACE]),
        |guests| lkdtm(guests, "SOFTLOCKUP").append("softlockup_panic=1 watchdog_thresh=2"),
    )
    .needs(&[Need::LockupDetector])
    .on(BOTH),
    case(
        "lkdtm-spinlockup",
        Dies(&["softlockup: hung tasks", TRACE]),
        |guests| {
            // The first takes the lock, and the second waits for it.
            let once = lkdtm(guests, "SPINLOCKUP");
            provoke(once, "SPINLOCKUP").append("softlockup_panic=1 watchdog_thresh=2")
        },
    )
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(FOUR),
    // Other CPUs notice.
    case(
        "lkdtm-hardlockup",
        Dies(&["Hard LOCKUP", TRACE]),
        |guests| {
            let machine = lkdtm(guests, "HARDLOCKUP");
            machine.append("nmi_watchdog=panic watchdog_thresh=2")
        },
    )
    .needs(&[Need::LockupDetector])
    .on(FOUR),
    case(
        "lkdtm-hardlockup-nmi",
        Dies(&["Hard LOCKUP", TRACE]),
        |guests| {
            let machine = with_nmi(lkdtm(guests, "HARDLOCKUP"));
            machine.append("nmi_watchdog=panic watchdog_thresh=2")
        },
    )
    .needs(&[Need::LockupDetector])
    .on(FOUR),
    case(
        "panic-sysrq",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| dying(guests).append("vm.lines=60").append(SYSRQ),
    )
    .on(BOTH),
    case(
        "panic-aavmf",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| guests.vt().append("vm.lines=60").append(SYSRQ).device(GPU),
    ),
    case(
        "panic-iommu-platform",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            let machine = guests.vt().append("vm.lines=60").append(SYSRQ).direct();
            machine.device("virtio-gpu-pci,iommu_platform=on")
        },
    ),
    // The command line does not matter.
    case(
        "panic-serial-only",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            let machine = guests.image().append("virtgpu_bridge.handover=never");
            let machine = machine.append("vm.lines=60").append(SYSRQ);
            machine.direct().device(GPU)
        },
    ),
    case("panic-quiet", Dies(&["crash test", TRACE]), |guests| {
        let quiet = dying(guests).append("quiet vm.lines=60");
        quiet.append(&trigger("panic"))
    }),
    case("panic-quiet-logo", Dies(&["crash test", TRACE]), |guests| {
        let quiet = guests.vt().append("earlycon=virtgpu quiet vm.lines=60");
        quiet.append(&trigger("panic")).device(GPU)
    }),
    case("lkdtm-panic", Dies(&["dumptest", TRACE]), |guests| {
        lkdtm(guests, "PANIC")
    })
    .on(BOTH),
    // Other CPUs cannot be stopped, and one of them may own the screen: with PREEMPT_RT often.
    case("lkdtm-irqs-off", Own(dies_with_irqs_off), |guests| {
        lkdtm(guests, "PANIC_STOP_IRQOFF")
    })
    .on(FOUR),
    case(
        "lkdtm-in-interrupt",
        Dies(&["from hard IRQ context", TRACE]),
        |guests| lkdtm(guests, "PANIC_IN_HARDIRQ"),
    )
    .on(BOTH),
    case(
        "lkdtm-bug-in-interrupt",
        Dies(&["kernel BUG at", TRACE]),
        |guests| lkdtm(guests, "BUG_IN_HARDIRQ"),
    )
    .on(BOTH),
    case(
        "lkdtm-bug",
        Dies(&["kernel BUG at", TRACE, "Oops - BUG: Fatal exception"]),
        |guests| lkdtm(guests, "BUG").append("oops=panic"),
    )
    .on(BOTH),
    case(
        "lkdtm-exception",
        Dies(&["Unable to handle kernel", TRACE, "Oops: Fatal exception"]),
        |guests| lkdtm(guests, "EXCEPTION").append("oops=panic"),
    )
    .on(BOTH),
    case(
        "lkdtm-exception-640x480",
        Dies(&[
            "Unable to handle kernel",
            TRACE,
            "lkdtm_EXCEPTION+",
            "Oops: Fatal exception",
        ]),
        |guests| provoke(dying_on(guests, SMALL_GPU), "EXCEPTION").append("oops=panic"),
    ),
    // What is left of a stack is 4 KiB then.
    case(
        "lkdtm-exhaust-stack",
        Dies(&["kernel stack overflow", TRACE, "EXHAUST_STACK"]),
        |guests| lkdtm(guests, "EXHAUST_STACK"),
    )
    .on(BOTH),
    case(
        "lkdtm-warning",
        Dies(&["WARNING: ", TRACE, "panic_on_warn set"]),
        |guests| lkdtm(guests, "WARNING").append("panic_on_warn=1"),
    )
    .on(BOTH),
    case(
        "panic-in-softirq",
        Dies(&["crash test, in softirq", TRACE]),
        |guests| {
            dying(guests)
                .append("vm.lines=20")
                .append(&trigger("softirq"))
        },
    )
    .on(BOTH),
    case(
        "panic-in-hardirq",
        Dies(&["crash test, in hard interrupt", TRACE]),
        |guests| {
            dying(guests)
                .append("vm.lines=20")
                .append(&trigger("hardirq"))
        },
    )
    .on(BOTH),
    case(
        "panic-in-nmi",
        Dies(&["crash test, in NMI", TRACE]),
        |guests| {
            let machine = with_nmi(dying(guests));
            machine.append("vm.lines=20").append(&trigger("nmi"))
        },
    )
    .on(BOTH),
    case("panic-while-others-print", Own(dies_loudly), |guests| {
        dying(guests)
            .append("vm.noise=3 vm.do=busybox,sleep,2")
            .append(SYSRQ)
    })
    .on(FOUR),
    case("panic-in-paint", Dies(IN_PAINT), |guests| {
        in_paint(dying(guests))
    })
    .on(BOTH),
    case("panic-in-early-paint", Own(dies_early), |guests| {
        let armed = "earlycon=virtgpu virtgpu_bridge.test=paint-panic";
        early(guests).append(armed).direct()
    }),
    case(
        "panic-exception-in-paint",
        Dies(IN_PAINT_BY_OOPS),
        oops_in_paint,
    )
    .on(BOTH),
    // No console prints: the lock that a printing terminal has is free.
    case(
        "panic-exception-in-tty-write",
        Dies(&["Unable to handle kernel", TRACE]),
        |guests| {
            let machine = dying(guests)
                .append("vm.lines=20 vm.do=busybox,sleep,1")
                .append(&trigger("paint-oops"));
            machine.append("oops=panic vm.do=echo,x,>/dev/tty1")
        },
    )
    .on(BOTH),
    case(
        "panic-exception-in-every-paint",
        Own(leaves_it_to_others),
        |guests| {
            let machine = dying(guests).append("vm.lines=20 vm.do=busybox,sleep,1");
            machine
                .append(&trigger("paint-oops-always"))
                .append("oops=panic")
                .append(SYSRQ)
        },
    )
    .on(BOTH),
    case("panic-in-setup-arch", Own(early_panic), |guests| {
        early(guests).append("virtgpu_bridge_test=panic").direct()
    }),
    case("panic-before-vt", Own(early_panic), |guests| {
        early(guests).append("virtgpu_bridge.test=panic").direct()
    }),
    case(
        "panic-while-bars-move",
        Dies(&["crash test", TRACE]),
        |guests| dying(guests).append("virtgpu_bridge.test=pci"),
    )
    .on(BOTH),
    case(
        "panic-while-bars-move-pl011",
        Dies(&["crash test", TRACE]),
        |guests| {
            // It has the page of early consoles.
            let early = "earlycon=pl011,0x9000000 keep_bootcon virtgpu_bridge.test=pci";
            let machine = guests.vt().without("console=ttyAMA0").append(early);
            machine.direct().device(GPU)
        },
    ),
    case(
        "panic-while-bars-move-aavmf",
        Dies(&["crash test", TRACE]),
        |guests| {
            guests
                .vt()
                .append("earlycon=virtgpu virtgpu_bridge.test=pci")
                .device(GPU)
        },
    ),
    case(
        "panic-in-handover",
        Dies(&["crash test", TRACE]),
        |guests| {
            let machine = guests
                .log_on_screen()
                .append("earlycon=virtgpu virtgpu_bridge.test=bind");
            machine.direct().device(GPU)
        },
    )
    .needs(&[Need::NativeBuiltIn])
    .on(BOTH),
    case(
        "panic-after-failed-handover",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| {
            let fails =
                "console=tty0 earlycon=virtgpu vm.native=fails vm.do=busybox,sleep,1 vm.lines=10";
            guests
                .modular()
                .append(fails)
                .append(SYSRQ)
                .direct()
                .device(GPU)
        },
    )
    .on(BOTH),
    case("panic-reboots", Own(reboots), |guests| {
        dying(guests).append("panic=1 vm.lines=20").append(SYSRQ)
    })
    .on(BOTH),
    case("silent-after-handover", Own(silent), |guests| {
        let machine = guests
            .log_on_screen()
            .append("earlycon=virtgpu vm.lines=20");
        machine
            .append("vm.do=busybox,cat,/proc/consoles,>/dev/kmsg vm.wait")
            .append(SYSRQ)
            .direct()
            .device(GPU)
    })
    .needs(&[Need::NativeBuiltIn, Need::NoKasan]),
    case(
        "panic-console-lock",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| console_lock_held(guests).append("vm.lines=5").append(SYSRQ),
    )
    .on(BOTH),
];

/// Cases that take long.
const LONG_CASES: &[Case] = &[
    case("panic-in-paint-100-times", Own(dies_often), |guests| {
        in_paint(dying(guests))
    })
    .on(FOUR),
    case(
        "panic-exception-in-paint-100-times",
        Own(faults_often),
        oops_in_paint,
    )
    .on(FOUR),
];

/// Cases that need a virtual terminal, or in which tty0 prints and our console waits.
const VT_CASES: &[Case] = &[
    case(
        "lkdtm-other-terminal",
        Dies(&["dumptest", TRACE]),
        |guests| provoke(dying(guests).append("vm.do=busybox,chvt,2"), "PANIC"),
    )
    .on(BOTH),
    case(
        "panic-vt-lock",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| vt_lock_held(guests).append(SYSRQ),
    )
    .on(FOUR),
    case(
        "panic-vt-lock-nmi",
        Dies(&["sysrq triggered crash", TRACE]),
        |guests| with_nmi(vt_lock_held(guests)).append(SYSRQ),
    )
    .on(FOUR),
    case("panic-cpu-never-stops", Own(dies_late), |guests| {
        let machine = dying(guests).append("vm.lines=20");
        let machine = machine.append(&trigger("paint-hang-masked"));
        let hang = "vm.do=echo,hang,>/dev/tty1& vm.do=busybox,sleep,1";
        machine.append(hang).append(SYSRQ)
    })
    .on(FOUR),
    // The panic is an oops', and ours faults as well: that one waits for the first one's lock.
    case(
        "lkdtm-exception-and-paint",
        Own(leaves_the_text),
        |guests| {
            let machine = console_lock_held(guests).append(&trigger("paint-oops"));
            provoke(machine, "EXCEPTION").append("oops=panic")
        },
    )
    .on(BOTH),
];

/// Checks that a kernel that dies before it has an allocator shows all it says, as the serial port
/// does.
fn early_panic(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let end = "---[ end Kernel panic";
    let mut reference = machine
        .clone()
        .first("earlycon=pl011,0x9000000")
        .start(&out.join("reference"))?;
    reference.wait_for_end(end)?;
    let serial = reference.serial()?;
    drop(reference);
    let mut vm = machine.clone().first("earlycon=virtgpu").start(out)?;
    guests.wait_for_words(&mut vm, &[end], out)?;
    let rows = guests.wait_for_screen(&mut vm, None, out, |screen, _| {
        let expected = log::lay_out(log::kernel_part(&serial), screen.columns);
        let expected = comparable(
            expected
                .iter()
                .map(|row| String::from_utf8_lossy(row).into_owned()),
        );
        let seen = comparable(screen.written().iter().map(|row| show(row)));
        // What scrolled away cannot be seen, but of what can be nothing may be missing.
        let scrolled = expected.len().saturating_sub(seen.len());
        ensure!(
            scrolled == 0 || screen.written().len() + 1 >= screen.rows.len(),
            "only {} rows of {}",
            seen.len(),
            expected.len()
        );
        for (at, (expected, seen)) in expected[scrolled..].iter().zip(&seen).enumerate() {
            ensure!(
                expected == seen,
                "row {} from above, without the console's own lines:\n    expected |{expected}|\n    read     |{seen}|",
                at + 1
            );
        }
        ensure!(screen.clean_edges, "the strip right of or below the text is not black");
        match seen.last() {
            Some(last) if last.contains(end) && seen.len() <= expected.len() => Ok(seen.len()),
            last => bail!("the last row is {last:?}"),
        }
    })?;
    vm.check_guest_errors()?;
    Ok(equal(rows))
}

/// Returns the rows without what two boots with different early consoles may differ in: the
/// console's own lines, times, and addresses.
fn comparable(rows: impl Iterator<Item = String>) -> Vec<String> {
    let console = ["earlycon", "bootconsole", "virtgpu"];
    rows.filter(|row| !console.iter().any(|word| row.contains(word)))
        .map(|row| {
            let message = row
                .split_once("] ")
                .filter(|_| row.starts_with('['))
                .map_or(&*row, |(_, rest)| rest);
            let hide = |part: &str| {
                let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                match word.trim_start_matches("0x") {
                    hex if hex.len() >= 8 && hex.chars().all(|c| c.is_ascii_hexdigit()) => {
                        part.replace(word, "#")
                    }
                    _ => part.to_owned(),
                }
            };
            let parts = message
                .trim_end()
                .split_inclusive(|c: char| !c.is_ascii_alphanumeric());
            parts.map(hide).collect()
        })
        .collect()
}

/// What a kernel says that faults while we paint.
const IN_PAINT_BY_OOPS: &[&str] = &["Unable to handle kernel", TRACE];

fn oops_in_paint(guests: &Guests) -> Machine {
    let machine = dying(guests).append("vm.lines=20");
    let armed = machine.append(&trigger("paint-oops"));
    armed.append("oops=panic vm.lines=1")
}

/// Returns a machine where another CPU is in the VT code, and in ours, and stays there.
fn vt_lock_held(guests: &Guests) -> Machine {
    let machine = dying(guests).append("vm.lines=20");
    let machine = machine.append(&trigger("paint-hang"));
    machine.append("vm.do=echo,hang,>/dev/tty1& vm.do=busybox,sleep,1")
}

/// Returns a machine whose kernel has no console yet but an early one.
fn early(guests: &Guests) -> Machine {
    guests.image().append("keep_bootcon nokaslr").device(GPU)
}

/// Checks that the screen is taken from a CPU that has it and cannot be stopped: at the very end,
/// some seconds after the serial port had the text.
fn dies_late(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const WORDS: &[&str] = &[
        "sysrq triggered crash",
        TRACE,
        "failed to stop secondary CPUs",
    ];
    dies_with_running_cpus(guests, machine, WORDS, out)
}

/// Does the same with CPUs that have interrupts masked.
fn dies_with_irqs_off(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    dies_with_running_cpus(guests, machine, &["panic stop irqoff test", TRACE], out)
}

fn dies_with_running_cpus(
    guests: &Guests,
    machine: &Machine,
    words: &[&str],
    out: &Path,
) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for_end(END)?;
    guests.wait_for_words(&mut vm, words, out)?;
    has_died(guests, &mut vm, machine, words, out)
}

fn dies_often(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    a_hundred_times(guests, machine, IN_PAINT, out)
}

fn faults_often(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    a_hundred_times(guests, machine, IN_PAINT_BY_OOPS, out)
}

/// Checks a hundred kernels that die, one after the other, on a host that has more to do than it
/// can.
fn a_hundred_times(
    guests: &Guests,
    machine: &Machine,
    words: &[&str],
    out: &Path,
) -> Result<String> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        let all = (1..=100).try_for_each(|number| {
            let died = dies(guests, machine, words, out);
            died.map(drop).with_context(|| format!("kernel {number}"))
        });
        over.store(true, Ordering::Relaxed);
        all
    })?;
    Ok("a hundred died, and QEMU had nothing to say".into())
}

/// Checks the same, while the serial port's own driver may lose it.
fn dies_loudly(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let words = ["sysrq triggered crash", TRACE, END];
    let mut vm = machine.start(out)?;
    guests.wait_for_words(&mut vm, &words, out)?;
    thread::sleep(Duration::from_secs(1));
    if vm.serial_has(END)? {
        return has_panic_end(guests, &mut vm, &words, out);
    }
    vm.check_crashed()?;
    Ok("all on the screen, but not on the serial port".into())
}

/// Checks that the other consoles have all of the text when ours faults.
fn leaves_it_to_others(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for_end(END)?;
    ensure!(
        vm.serial_has("Unable to handle kernel")?,
        "the reason is lost"
    );
    vm.check_crashed()?;
    Ok("the serial port has it all".into())
}

/// Checks that the other consoles have the text, up to where ours faults.
fn leaves_the_text(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    for words in ["Unable to handle kernel", TRACE, "lkdtm_EXCEPTION+", PANIC] {
        vm.wait_for_end(words)?;
    }
    vm.check_crashed()?;
    Ok("reason and trace are on the serial port".into())
}

/// Checks that the text is on the screen before the machine starts again; it stands still then.
fn reboots(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().option("-action", "shutdown=pause");
    let mut vm = machine.start(out)?;
    vm.wait_for_end("Rebooting in 1 seconds")?;
    vm.wait("the machine to start again", LIMIT, |vm| {
        Ok((!vm.is_running()?).then_some(()))
    })?;
    let words = ["sysrq triggered crash", TRACE, "Rebooting in"];
    let seen = has_panic_end(guests, &mut vm, &words, out)?;
    Ok(format!("{seen}, then rebooted"))
}

/// Checks that the native driver has the screen, and no other driver touches the device while the
/// kernel dies.
fn silent(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.clone().traced().start(out)?;
    vm.wait_for("vm: waiting")?;
    // /proc/consoles has a name, and blanks behind it; whether it was wanted or not.
    let is_ours = |line: &str| {
        let said = line.split_once("] ").map_or(line, |(_, said)| said);
        said.starts_with("virtgpu-1 ") || said.starts_with("virtgpu0 ")
    };
    ensure!(
        !String::from_utf8_lossy(&vm.serial()?).lines().any(is_ours),
        "our console is still there"
    );
    let before = vm.events()?;
    vm.send("\n")?;
    vm.wait_for_end(END)?;
    thread::sleep(Duration::from_secs(1));
    let after = vm.events()?;
    ensure!(before == after, "{before}, and after the panic {after}");
    vm.check_crashed()?;
    Ok(after.to_string())
}

/// Checks that a kernel that dies shows it if its early console is the only one.
fn dies_early(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    guests.wait_for_words(&mut vm, &["crash test", TRACE, END], out)?;
    vm.check_guest_errors()?;
    Ok("reason, trace and end were seen".into())
}
