// SPDX-License-Identifier: GPL-2.0

//! Kernels that die, at every stage and in every context, and kernels in trouble that live on.

use crate::{
    bench::{Bench, GPU, READY},
    cases::{
        case, early_panic, equal, Case,
        Expect::{Dies, Own, Survives, Warns},
        SMALL_GPU,
    },
    log,
    needs::Need,
    qemu::{Machine, Vm, LIMIT},
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    fs, hint,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// The last line of a kernel that died.
pub const END: &str = "---[ end Kernel panic - not syncing: ";
/// How its last words begin.
const PANIC: &str = "Kernel panic - not syncing: ";
/// How a call trace begins.
pub const TRACE: &str = "Call trace:";

/// How many CPUs a machine has, where both few and many are worth a look; and where it takes
/// others.
const BOTH: &[u32] = &[1, 4];
const FOUR: &[u32] = &[4];

/// What the kernel tests dying with, `lkdtm`, is told to do.
fn lkdtm(bench: &Bench, way: &str) -> Machine {
    provoke(dying(bench), way)
}

/// Has it happen in a process of its own, after some lines.
pub fn provoke(machine: Machine, way: &str) -> Machine {
    let first = "vm.lines=20 vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug";
    // Who dies of it is not init.
    let way = format!("vm.do=(echo,{way},>/sys/kernel/debug/provoke-crash/DIRECT)&");
    machine
        .append(first)
        .append(&way)
        .append("vm.do=busybox,sleep,1")
        .needing(Need::Lkdtm)
}

/// What a kernel says that panics while we paint, and one that faults there.
const IN_PAINT: &[&str] = &["dying as told", TRACE];
const IN_PAINT_BY_OOPS: &[&str] = &["Unable to handle kernel", TRACE];

fn in_paint(bench: &Bench) -> Machine {
    let machine = dying(bench).append("vm.lines=20");
    machine.append(&way("paint-panic")).append("vm.lines=1")
}

fn oops_in_paint(bench: &Bench) -> Machine {
    let machine = dying(bench).append("vm.lines=20");
    let armed = machine.append(&way("paint-oops"));
    armed.append("oops=panic vm.lines=1")
}

/// A machine whose kernel is about to die.
fn dying(bench: &Bench) -> Machine {
    dying_on(bench, GPU)
}

fn dying_on(bench: &Bench, gpu: &str) -> Machine {
    let machine = bench.vt().append("earlycon=virtgpu").direct();
    machine.device(gpu)
}

/// What the kernel is told to do by its own test of dying, see `tests/dying`.
pub fn way(way: &str) -> String {
    format!("vm.do=echo,{way},>/sys/module/virtgpu_bridge/parameters/test")
}

/// The same, and time for it to happen.
pub fn background(name: &str) -> String {
    format!("{} vm.do=busybox,sleep,1", way(name))
}

/// One where somebody has the console lock for ever.
fn held(bench: &Bench) -> Machine {
    dying(bench)
        .append("vm.lines=20")
        .append(&background("hold"))
}

/// One where another CPU is in the VT code, and in ours, and stays there.
fn hanging(bench: &Bench) -> Machine {
    let machine = dying(bench).append("vm.lines=20");
    let machine = machine.append(&way("paint-hang"));
    machine.append("vm.do=echo,hang,>/dev/tty1& vm.do=busybox,sleep,1")
}

/// With interrupts that are not masked.
pub fn with_nmi(machine: Machine) -> Machine {
    let words = "irqchip.gicv3_pseudo_nmi=1";
    let machine = machine.option("-machine", "gic-version=3").append(words);
    machine.needing(Need::Nmi)
}

/// One where a CPU makes RCU wait.
fn stalls(machine: Machine) -> Machine {
    machine
        .append("rcupdate.rcu_cpu_stall_timeout=3 vm.lines=20")
        .append(&background("stall"))
        .append("vm.do=busybox,sleep,11 vm.lines=5")
        .needing(Need::LockupDetector)
}

/// One whose kernel has no console yet but an early one.
fn early(bench: &Bench) -> Machine {
    bench.image().append("keep_bootcon nokaslr").device(GPU)
}

/// A panic, at once.
pub const SYSRQ: &str = "vm.do=echo,c,>/proc/sysrq-trigger";

/// The cases.
pub const ENDINGS: &[Case] = &[
    case(
        "lkdtm-softlockup",
        Dies(&["softlockup: hung tasks", TRACE]),
        |bench| lkdtm(bench, "SOFTLOCKUP").append("softlockup_panic=1 watchdog_thresh=2"),
    )
    .needs(&[Need::LockupDetector])
    .on(BOTH),
    case(
        "lkdtm-spinlockup",
        Dies(&["softlockup: hung tasks", TRACE]),
        |bench| {
            // The first takes the lock, and the second waits for it.
            let once = lkdtm(bench, "SPINLOCKUP");
            provoke(once, "SPINLOCKUP").append("softlockup_panic=1 watchdog_thresh=2")
        },
    )
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(FOUR),
    // Other CPUs notice.
    case("lkdtm-hardlockup", Dies(&["Hard LOCKUP", TRACE]), |bench| {
        let machine = lkdtm(bench, "HARDLOCKUP");
        machine.append("nmi_watchdog=panic watchdog_thresh=2")
    })
    .needs(&[Need::LockupDetector])
    .on(FOUR),
    case(
        "lkdtm-hardlockup-nmi",
        Dies(&["Hard LOCKUP", TRACE]),
        |bench| {
            let machine = with_nmi(lkdtm(bench, "HARDLOCKUP"));
            machine.append("nmi_watchdog=panic watchdog_thresh=2")
        },
    )
    .needs(&[Need::LockupDetector])
    .on(FOUR),
    case(
        "panic-sysrq",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| dying(bench).append("vm.lines=60").append(SYSRQ),
    )
    .on(BOTH),
    case(
        "panic-aavmf",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| bench.vt().append("vm.lines=60").append(SYSRQ).device(GPU),
    ),
    case(
        "panic-iommu-platform",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| {
            let machine = bench.vt().append("vm.lines=60").append(SYSRQ).direct();
            machine.device("virtio-gpu-pci,iommu_platform=on")
        },
    ),
    // Whatever the command line says.
    case(
        "panic-serial-only",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| {
            let machine = bench.image().append("virtgpu_bridge.handover=never");
            let machine = machine.append("vm.lines=60").append(SYSRQ);
            machine.direct().device(GPU)
        },
    ),
    case("panic-quiet", Dies(&["dying as told", TRACE]), |bench| {
        let quiet = dying(bench).append("quiet vm.lines=60");
        quiet.append(&way("panic"))
    }),
    case(
        "panic-quiet-logo",
        Dies(&["dying as told", TRACE]),
        |bench| {
            let quiet = bench.vt().append("earlycon=virtgpu quiet vm.lines=60");
            quiet.append(&way("panic")).device(GPU)
        },
    ),
    case("lkdtm-panic", Dies(&["dumptest", TRACE]), |bench| {
        lkdtm(bench, "PANIC")
    })
    .on(BOTH),
    case(
        "lkdtm-irqs-off",
        Dies(&["panic stop irqoff test", TRACE]),
        |bench| lkdtm(bench, "PANIC_STOP_IRQOFF"),
    )
    .on(FOUR),
    case(
        "lkdtm-in-interrupt",
        Dies(&["from hard IRQ context", TRACE]),
        |bench| lkdtm(bench, "PANIC_IN_HARDIRQ"),
    )
    .on(BOTH),
    case(
        "lkdtm-bug-in-interrupt",
        Dies(&["kernel BUG at", TRACE]),
        |bench| lkdtm(bench, "BUG_IN_HARDIRQ"),
    )
    .on(BOTH),
    case(
        "lkdtm-bug",
        Dies(&["kernel BUG at", TRACE, "Oops - BUG: Fatal exception"]),
        |bench| lkdtm(bench, "BUG").append("oops=panic"),
    )
    .on(BOTH),
    case(
        "lkdtm-exception",
        Dies(&["Unable to handle kernel", TRACE, "Oops: Fatal exception"]),
        |bench| lkdtm(bench, "EXCEPTION").append("oops=panic"),
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
        |bench| provoke(dying_on(bench, SMALL_GPU), "EXCEPTION").append("oops=panic"),
    ),
    // What is left of a stack is 4 KiB then.
    case(
        "lkdtm-exhaust-stack",
        Dies(&["kernel stack overflow", TRACE, "EXHAUST_STACK"]),
        |bench| lkdtm(bench, "EXHAUST_STACK"),
    )
    .on(BOTH),
    case(
        "lkdtm-warning",
        Dies(&["WARNING: ", TRACE, "panic_on_warn set"]),
        |bench| lkdtm(bench, "WARNING").append("panic_on_warn=1"),
    )
    .on(BOTH),
    case(
        "panic-in-softirq",
        Dies(&["dying as told, in softirq", TRACE]),
        |bench| dying(bench).append("vm.lines=20").append(&way("softirq")),
    )
    .on(BOTH),
    case(
        "panic-in-hardirq",
        Dies(&["dying as told, in hard interrupt", TRACE]),
        |bench| dying(bench).append("vm.lines=20").append(&way("hardirq")),
    )
    .on(BOTH),
    case(
        "panic-in-nmi",
        Dies(&["dying as told, in NMI", TRACE]),
        |bench| {
            let machine = with_nmi(dying(bench));
            machine.append("vm.lines=20").append(&way("nmi"))
        },
    )
    .on(BOTH),
    case("panic-while-others-print", Own(dies_loudly), |bench| {
        dying(bench)
            .append("vm.noise=3 vm.do=busybox,sleep,2")
            .append(SYSRQ)
    })
    .on(FOUR),
    case("panic-in-paint", Dies(IN_PAINT), in_paint).on(BOTH),
    case("panic-in-early-paint", Own(dies_early), |bench| {
        let armed = "earlycon=virtgpu virtgpu_bridge.test=paint-panic";
        early(bench).append(armed).direct()
    }),
    case(
        "panic-exception-in-paint",
        Dies(IN_PAINT_BY_OOPS),
        oops_in_paint,
    )
    .on(BOTH),
    // Nobody prints: the lock that a printing terminal has is free.
    case(
        "panic-exception-in-tty-write",
        Dies(&["Unable to handle kernel", TRACE]),
        |bench| {
            let machine = dying(bench)
                .append("vm.lines=20 vm.do=busybox,sleep,1")
                .append(&way("paint-oops"));
            machine.append("oops=panic vm.do=echo,x,>/dev/tty1")
        },
    )
    .on(BOTH),
    case(
        "panic-exception-in-every-paint",
        Own(leaves_it_to_others),
        |bench| {
            let machine = dying(bench).append("vm.lines=20 vm.do=busybox,sleep,1");
            machine
                .append(&way("paint-oops-always"))
                .append("oops=panic")
                .append(SYSRQ)
        },
    )
    .on(BOTH),
    case("panic-in-setup-arch", Own(early_panic), |bench| {
        early(bench).append("virtgpu_test=panic").direct()
    }),
    case("panic-before-vt", Own(early_panic), |bench| {
        early(bench).append("virtgpu_bridge.test=panic").direct()
    }),
    case(
        "panic-while-bars-move",
        Dies(&["dying as told", TRACE]),
        |bench| dying(bench).append("virtgpu_bridge.test=pci"),
    )
    .on(BOTH),
    case(
        "panic-while-bars-move-pl011",
        Dies(&["dying as told", TRACE]),
        |bench| {
            // It has the page of early consoles.
            let early = "earlycon=pl011,0x9000000 keep_bootcon virtgpu_bridge.test=pci";
            let machine = bench.vt().without("console=ttyAMA0").append(early);
            machine.direct().device(GPU)
        },
    ),
    case(
        "panic-while-bars-move-aavmf",
        Dies(&["dying as told", TRACE]),
        |bench| {
            bench
                .vt()
                .append("earlycon=virtgpu virtgpu_bridge.test=pci")
                .device(GPU)
        },
    ),
    case(
        "panic-in-handover",
        Dies(&["dying as told", TRACE]),
        |bench| {
            let machine = bench
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
        |bench| {
            let fails =
                "console=tty0 earlycon=virtgpu vm.native=fails vm.do=busybox,sleep,1 vm.lines=10";
            bench
                .modular()
                .append(fails)
                .append(SYSRQ)
                .direct()
                .device(GPU)
        },
    )
    .on(BOTH),
    case("panic-reboots", Own(reboots), |bench| {
        dying(bench).append("panic=1 vm.lines=20").append(SYSRQ)
    })
    .on(BOTH),
    case("silent-after-handover", Own(silent), |bench| {
        let machine = bench.log_on_screen().append("earlycon=virtgpu vm.lines=20");
        machine
            .append("vm.do=busybox,cat,/proc/consoles,>/dev/kmsg vm.wait")
            .append(SYSRQ)
            .direct()
            .device(GPU)
    })
    .needs(&[Need::NativeBuiltIn, Need::NoKasan]),
    // Who oopses but does not die is on the screen as well; here in a hundred thousand lines.
    case("lkdtm-warning-storm", Own(storm), |bench| {
        let mount = "vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug";
        let storm = dying(bench).append(mount).append("vm.storm=800");
        storm.append("vm.records").needing(Need::Lkdtm)
    })
    .on(FOUR),
    case(
        "lkdtm-warning-survived",
        Survives(&["WARNING: ", TRACE]),
        |bench| lkdtm(bench, "WARNING").append("vm.lines=5"),
    )
    .on(BOTH),
    case(
        "lkdtm-bug-survived",
        Survives(&["kernel BUG at", TRACE]),
        |bench| {
            let bug = provoke(dying(bench).append("vm.lines=20"), "BUG");
            bug.append("vm.do=busybox,sleep,1 vm.lines=5")
        },
    )
    .on(BOTH),
    case(
        "warning-in-softirq",
        Survives(&["warned as told, in softirq", TRACE]),
        |bench| {
            dying(bench)
                .append(&way("warn-softirq"))
                .append("vm.lines=5")
        },
    )
    .on(BOTH),
    case(
        "warning-in-hardirq",
        Survives(&["warned as told, in hard interrupt", TRACE]),
        |bench| {
            dying(bench)
                .append(&way("warn-hardirq"))
                .append("vm.lines=5")
        },
    )
    .on(BOTH),
    case(
        "warning-in-nmi",
        Survives(&["warned as told, in NMI", TRACE]),
        |bench| {
            with_nmi(dying(bench))
                .append(&way("warn-nmi"))
                .append("vm.lines=5")
        },
    )
    .on(BOTH),
    case("stall", Survives(&["rcu: INFO: rcu_", TRACE]), |bench| {
        stalls(dying(bench))
    })
    .on(FOUR),
    case(
        "panic-console-lock",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| held(bench).append("vm.lines=5").append(SYSRQ),
    )
    .on(BOTH),
    case(
        "lkdtm-console-lock",
        Warns(&["WARNING: ", TRACE]),
        |bench| provoke(held(bench), "WARNING"),
    )
    .on(BOTH),
    case(
        "console-lock-softirq",
        Warns(&["warned as told, in softirq", TRACE]),
        |bench| held(bench).append(&way("warn-softirq")),
    )
    .on(BOTH),
    case(
        "console-lock-hardirq",
        Warns(&["warned as told, in hard interrupt", TRACE]),
        |bench| held(bench).append(&way("warn-hardirq")),
    )
    .on(BOTH),
    case(
        "console-lock-nmi",
        Warns(&["warned as told, in NMI", TRACE]),
        |bench| with_nmi(held(bench)).append(&way("warn-nmi")),
    )
    .on(BOTH),
    case(
        "console-lock-stall",
        Warns(&["rcu: INFO: rcu_", TRACE]),
        |bench| stalls(held(bench)),
    )
    .on(FOUR),
    // Whoever shows it, it is not the CPU that says it.
    case(
        "console-lock-cpu-gone",
        Warns(&["warned as told, and gone", TRACE]),
        |bench| held(bench).append(&background("vanish")),
    )
    .on(FOUR),
    // Whoever shows it, it is not the CPU that asked first.
    case(
        "lkdtm-console-lock-cpu-gone",
        Warns(&["WARNING: ", TRACE, "lkdtm_WARNING"]),
        |bench| provoke(held(bench).append(&background("vanish")), "WARNING"),
    )
    .on(FOUR),
    case(
        "lkdtm-console-lock-for-a-while",
        Survives(&["WARNING: ", TRACE]),
        |bench| {
            let held = dying(bench).append(&background("hold-short"));
            let later = "vm.lines=5 vm.do=busybox,sleep,8 vm.lines=5";
            provoke(held, "WARNING").append(later)
        },
    )
    .on(BOTH),
    // The serial port's thread may wait for ever.
    case("lkdtm-softlockup-survived", Own(locks_up), |bench| {
        lkdtm(bench, "SOFTLOCKUP").append("watchdog_thresh=2")
    })
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(FOUR),
    case(
        "lkdtm-softlockup-console-lock",
        Warns(&["BUG: soft lockup", TRACE]),
        |bench| provoke(held(bench).append("watchdog_thresh=2"), "SOFTLOCKUP"),
    )
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(FOUR),
];

/// More, with `--long`: no device is left with half a command, however the CPUs interleave.
pub const LONG_ENDINGS: &[Case] = &[
    case("panic-in-paint-100-times", Own(dies_often), in_paint).on(FOUR),
    case(
        "panic-exception-in-paint-100-times",
        Own(faults_often),
        oops_in_paint,
    )
    .on(FOUR),
];

/// Those that need a virtual terminal, or in which tty0 is to print and our console to wait.
pub const VT_ENDINGS: &[Case] = &[
    // What is not in the log is on the terminal alone.
    case("lkdtm-terminal-again", Own(terminal_again), |bench| {
        let typed = "vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug \
            vm.do=echo,not,in,the,log,>/dev/tty1";
        let held = dying(bench).append(typed).append(&background("hold-short"));
        held.append("vm.do=echo,WARNING,>/sys/kernel/debug/provoke-crash/DIRECT")
            .append("vm.do=busybox,sleep,8 vm.lines=1")
            .needing(Need::Lkdtm)
    })
    .on(FOUR),
    case(
        "lkdtm-other-terminal",
        Dies(&["dumptest", TRACE]),
        |bench| provoke(dying(bench).append("vm.do=busybox,chvt,2"), "PANIC"),
    )
    .on(BOTH),
    case(
        "panic-vt-lock",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| hanging(bench).append(SYSRQ),
    )
    .on(FOUR),
    case(
        "panic-vt-lock-nmi",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| with_nmi(hanging(bench)).append(SYSRQ),
    )
    .on(FOUR),
    case("panic-cpu-never-stops", Own(dies_late), |bench| {
        let machine = dying(bench).append("vm.lines=20");
        let machine = machine.append(&way("paint-hang-masked"));
        let hang = "vm.do=echo,hang,>/dev/tty1& vm.do=busybox,sleep,1";
        machine.append(hang).append(SYSRQ)
    })
    .on(FOUR),
    // While another one prints, it comes late to our console.
    case("lkdtm-console-lock-noise", Own(warns_loudly), |bench| {
        let noise = held(bench).append("vm.noise=1 vm.do=busybox,sleep,1");
        provoke(noise, "WARNING").append("vm.noise=0")
    })
    .needs(&[Need::SpinningLocks])
    .on(FOUR),
    // The panic is an oops', and ours faults as well: that one waits for the first one's lock.
    case("lkdtm-exception-and-paint", Own(leaves_the_text), |bench| {
        let machine = held(bench).append(&way("paint-oops"));
        provoke(machine, "EXCEPTION").append("oops=panic")
    })
    .on(BOTH),
    // The serial port's thread does not run.
    case("lkdtm-softlockup-alone", Own(locks_up), |bench| {
        lkdtm(bench, "SOFTLOCKUP").append("watchdog_thresh=2")
    })
    .needs(&[Need::LockupDetector, Need::SpinningLocks])
    .on(&[1]),
    // Two emergencies, the second one when the first is on the screen.
    case(
        "lkdtm-paint-survived",
        Warns(&["WARNING: ", TRACE]),
        |bench| {
            let dead = dying(bench).append(&way("paint-oops"));
            provoke(
                dead.append("vm.do=echo,x,>/dev/tty1& vm.do=busybox,sleep,4"),
                "WARNING",
            )
        },
    )
    .on(FOUR),
];

/// The screen has the end of the log, with the words that say why.
pub fn dies(bench: &Bench, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    has_died(bench, &mut vm, machine, words, out)
}

/// The terminal gets the screen back from a warning that was shown in its place, with all its text.
fn terminal_again(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    const TYPED: &str = "not in the log";
    let mut vm = machine.start(out)?;
    bench.wait_for_words(&mut vm, &["WARNING: ", TRACE], out)?;
    let during = fs::read_to_string(out.join("screen.txt"))?;
    vm.wait_for(READY)?;
    let after = bench.wait_for_words(&mut vm, &[TYPED, "vm: line 1"], out)?;
    ensure!(
        !during.contains(TYPED),
        "the terminal was there all the time"
    );
    ensure!(after.contains(TRACE), "the terminal lost the warning");
    vm.check_guest_errors()?;
    Ok(format!("the terminal again, with '{TYPED}'"))
}

/// A CPU that has the screen cannot be stopped, and so the screen is taken from it at the very end,
/// some seconds after the serial port had it.
fn dies_late(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    const WORDS: &[&str] = &[
        "sysrq triggered crash",
        TRACE,
        "failed to stop secondary CPUs",
    ];
    let mut vm = machine.start(out)?;
    vm.wait_for_end(END)?;
    bench.wait_for_words(&mut vm, WORDS, out)?;
    has_died(bench, &mut vm, machine, WORDS, out)
}

fn dies_often(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    a_hundred_times(bench, machine, IN_PAINT, out)
}

fn faults_often(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    a_hundred_times(bench, machine, IN_PAINT_BY_OOPS, out)
}

/// A hundred kernels die, one after the other, on a host that has more to do than it can.
fn a_hundred_times(bench: &Bench, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
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
            let died = dies(bench, machine, words, out);
            died.map(drop).with_context(|| format!("kernel {number}"))
        });
        over.store(true, Ordering::Relaxed);
        all
    })?;
    Ok("a hundred died, and QEMU had nothing to say".into())
}

/// The same of a machine that was started.
pub fn has_died(
    bench: &Bench,
    vm: &mut Vm,
    machine: &Machine,
    words: &[&str],
    out: &Path,
) -> Result<String> {
    vm.wait_for_end(END)?;
    // Nothing else has gone wrong on the way.
    let serial = vm.serial()?;
    let said = String::from_utf8_lossy(&serial);
    const OOPS: &str = "Unable to handle kernel";
    let times = |what: &str| said.matches(what).count();
    let (panics, oopses) = (times(PANIC) - times(END), times(OOPS));
    ensure!(panics == 1, "{panics} panics");
    // lkdtm's process with the lock cannot even fault a page in.
    if machine.word("vm.do=(echo,SPINLOCKUP").is_none() {
        let wanted = usize::from(words.contains(&OOPS));
        ensure!(oopses == wanted, "{oopses} exceptions");
    }
    let words: Vec<_> = words.iter().copied().chain([END]).collect();
    has_ending(bench, vm, &words, out)
}

fn has_ending(bench: &Bench, vm: &mut Vm, words: &[&str], out: &Path) -> Result<String> {
    let words: Vec<_> = words.iter().copied().chain([PANIC]).collect();
    has_words(bench, vm, &words, out)
}

/// The screen has the end of the log, with these words.
fn has_words(bench: &Bench, vm: &mut Vm, words: &[&str], out: &Path) -> Result<String> {
    let ending = bench.look(vm, None, out, |screen, vm| {
        let serial = vm.serial()?;
        // One that was told to be quiet did not say its first line; firmware may have said
        // something. What was not to be seen may still be on the serial port, if that had not come
        // to it before the level rose.
        let log = match log::kernel_part(&serial) {
            [] => {
                let mut rest = &serial[..];
                while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let line = &rest[..end];
                    let start = line.windows(4).position(|bytes| bytes == b"[   ");
                    let hidden = line.windows(6).any(|bytes| bytes == b"] vm: ");
                    if let Some(start) = start.filter(|_| !hidden) {
                        rest = &rest[start..];
                        break;
                    }
                    rest = &rest[end + 1..];
                }
                rest
            }
            log => log,
        };
        let ending = log::compare_ending(screen, log)?;
        let text = screen.text();
        for word in words {
            ensure!(text.contains(word), "no '{word}' on the screen:\n{text}");
        }
        Ok(ending)
    })?;
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(match &ending.left_out[..] {
        [] => format!("{} rows", ending.rows),
        left_out => format!("{} rows, {left_out:?} left out", ending.rows),
    })
}

/// The same, while the serial port's own driver may lose it.
fn dies_loudly(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let words = ["sysrq triggered crash", TRACE, END];
    let mut vm = machine.start(out)?;
    bench.wait_for_words(&mut vm, &words, out)?;
    thread::sleep(Duration::from_secs(1));
    if vm.serial_has(END)? {
        return has_ending(bench, &mut vm, &words, out);
    }
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok("all on the screen, but not on the serial port".into())
}

/// The other consoles have it all when our painting cannot be done.
fn leaves_it_to_others(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for_end(END)?;
    ensure!(
        vm.serial_has("Unable to handle kernel")?,
        "the reason is lost"
    );
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok("the serial port has it all".into())
}

/// The other consoles have it, up to where ours faults.
fn leaves_the_text(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    for words in ["Unable to handle kernel", TRACE, "lkdtm_EXCEPTION+", PANIC] {
        vm.wait_for_end(words)?;
    }
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok("reason and trace are on the serial port".into())
}

/// The text is out before the machine starts again, when it stands still for us.
fn reboots(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().option("-action", "shutdown=pause");
    let mut vm = machine.start(out)?;
    vm.wait_for_end("Rebooting in 1 seconds")?;
    vm.wait("the machine to start again", LIMIT, |vm| {
        Ok((!vm.is_running()?).then_some(()))
    })?;
    let words = ["sysrq triggered crash", TRACE, "Rebooting in"];
    let seen = has_ending(bench, &mut vm, &words, out)?;
    Ok(format!("{seen}, then rebooted"))
}

/// The native driver has the screen, and nobody else touches the device while the kernel dies.
fn silent(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
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
    vm.tell("\n")?;
    vm.wait_for_end(END)?;
    thread::sleep(Duration::from_secs(1));
    let after = vm.events()?;
    ensure!(before == after, "{before}, and after the panic {after}");
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(after.to_string())
}

/// The kernel lives on after it has said these words, and the screen has the end of its log.
pub fn survives(bench: &Bench, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    let rows = lives_on(bench, &mut vm, out)?;
    for word in words {
        ensure!(vm.serial_has(word)?, "nobody says '{word}'");
    }
    Ok(format!("{}, after '{}'", equal(rows), words[0]))
}

fn lives_on(bench: &Bench, vm: &mut Vm, out: &Path) -> Result<usize> {
    let rows = bench.look(vm, None, out, |screen, vm| {
        log::compare_tail(screen, log::kernel_part(&vm.serial()?))
    })?;
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(rows)
}

/// The same, after a hundred thousand lines.
fn storm(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    let rows = lives_on(bench, &mut vm, out)?;
    let serial = String::from_utf8_lossy(&vm.serial()?).into_owned();
    let gone = serial.lines().rev().find_map(|line| {
        let (said, _) = line.split_once(" records are gone")?;
        said.rsplit(' ').next()?.parse::<u32>().ok()
    });
    let gone = gone.context("nobody says how many records are gone")?;
    ensure!(gone >= 100_000, "only {gone} records");
    Ok(format!("{} after {gone} records", equal(rows)))
}

/// An emergency is on the screen although tty0 does not print it: its words, and all the log has
/// since.
pub fn warns(bench: &Bench, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait("an emergency on the serial port", LIMIT, |vm| {
        let mut found = true;
        for word in words {
            found &= vm.serial_has(word)?;
        }
        Ok(found.then_some(()))
    })?;
    has_words(bench, &mut vm, words, out)
}

/// A CPU does not answer, and the screen tells why.
fn locks_up(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let last = "el0t_64_sync+";
    bench.wait_for_words(&mut vm, &["BUG: soft lockup", TRACE, last], out)?;
    let also = match vm.serial_has("BUG: soft lockup")? {
        true => "also on the serial port",
        false => "not on the serial port",
    };
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(format!("reason and trace were seen; {also}"))
}

/// The same in a flood of other lines, which goes on.
///
/// A host with much to do holds a CPU up for so long that the log's ring goes around meanwhile:
/// then the screen says what was dropped, and this begins again.
fn warns_loudly(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    const ATTEMPTS: usize = 10;
    for attempt in 1..=ATTEMPTS {
        let mut vm = machine.start(out)?;
        vm.wait_for(READY)?;
        let text = bench.wait_for_words(&mut vm, &[READY], out)?;
        vm.check_faults()?;
        vm.check_guest_errors()?;
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

/// A kernel that dies with nothing but its early console shows it.
fn dies_early(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    bench.wait_for_words(&mut vm, &["dying as told", TRACE, END], out)?;
    vm.check_guest_errors()?;
    Ok("reason, trace and end were seen".into())
}
