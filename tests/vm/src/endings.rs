// SPDX-License-Identifier: GPL-2.0

//! Kernels that die, at every stage and in every context, and kernels in trouble that live on.

use crate::{
    bench::{Bench, GPU, READY},
    cases::{
        case, early_panic, equal, Case,
        Expect::{Dies, Own},
        SMALL_GPU,
    },
    log,
    qemu::{Machine, Vm},
};
use anyhow::{ensure, Result};
use std::{path::Path, time::Duration};

/// The last line of a kernel that died.
const END: &str = "---[ end Kernel panic - not syncing: ";
const TRACE: &str = "Call trace:";

/// What the kernel tests dying with, `lkdtm`, is told to do.
fn lkdtm(bench: &Bench, cpus: u32, way: &str) -> Machine {
    provoke(dying(bench, cpus), way)
}

fn provoke(machine: Machine, way: &str) -> Machine {
    let first = "vm.lines=20 vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug";
    // Who dies of it is not init.
    let way = format!("vm.do=(echo,{way},>/sys/kernel/debug/provoke-crash/DIRECT)&");
    machine
        .append(first)
        .append(&way)
        .append("vm.do=busybox,sleep,1")
}

/// A machine whose kernel is about to die.
fn dying(bench: &Bench, cpus: u32) -> Machine {
    dying_on(bench, cpus, GPU)
}

fn dying_on(bench: &Bench, cpus: u32, gpu: &str) -> Machine {
    let machine = bench.vt().append("earlycon=virtgpu").direct();
    machine.device(gpu).option("-smp", &cpus.to_string())
}

/// What the kernel is told to do by its own test of dying, see `tests/dying`.
fn way(way: &str) -> String {
    format!("vm.do=echo,{way},>/sys/module/virtgpu_bridge/parameters/test")
}

/// The same, by a process that nobody waits for.
fn background(name: &str) -> String {
    format!("{}& vm.do=busybox,sleep,1", way(name))
}

/// One where somebody has the console lock for ever.
fn held(bench: &Bench, cpus: u32) -> Machine {
    dying(bench, cpus)
        .append("vm.lines=20")
        .append(&background("hold"))
}

/// One where another CPU is in the VT code, and in ours, and stays there.
fn hanging(bench: &Bench) -> Machine {
    let machine = dying(bench, 4).append("vm.lines=20");
    let machine = machine.append(&way("paint-hang"));
    machine.append("vm.do=echo,hang,>/dev/tty1& vm.do=busybox,sleep,1")
}

/// With interrupts that are not masked.
fn with_nmi(machine: Machine) -> Machine {
    let words = "irqchip.gicv3_pseudo_nmi=1";
    machine.option("-machine", "gic-version=3").append(words)
}

/// One whose kernel has no console yet but an early one.
fn early(bench: &Bench) -> Machine {
    bench.image().append("keep_bootcon nokaslr").device(GPU)
}

const SYSRQ: &str = "vm.do=echo,c,>/proc/sysrq-trigger";
/// The cases.
pub const ENDINGS: &[Case] = &[
    case(
        "lkdtm-softlockup",
        Dies(&["softlockup: hung tasks", TRACE]),
        |bench| lkdtm(bench, 2, "SOFTLOCKUP").append("softlockup_panic=1 watchdog_thresh=2"),
    ),
    case(
        "lkdtm-spinlockup",
        Dies(&["softlockup: hung tasks", TRACE]),
        |bench| {
            // The first takes the lock, and the second waits for it.
            let once = lkdtm(bench, 4, "SPINLOCKUP");
            provoke(once, "SPINLOCKUP").append("softlockup_panic=1 watchdog_thresh=2")
        },
    ),
    case("lkdtm-hardlockup", Dies(&["Hard LOCKUP", TRACE]), |bench| {
        let machine = lkdtm(bench, 4, "HARDLOCKUP");
        machine.append("nmi_watchdog=panic watchdog_thresh=2")
    }),
    case(
        "lkdtm-hardlockup-nmi",
        Dies(&["Hard LOCKUP", TRACE]),
        |bench| {
            let machine = with_nmi(lkdtm(bench, 4, "HARDLOCKUP"));
            machine.append("nmi_watchdog=panic watchdog_thresh=2")
        },
    ),
    case(
        "panic-sysrq",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| dying(bench, 1).append("vm.lines=60").append(SYSRQ),
    ),
    case(
        "panic-sysrq-4",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| dying(bench, 4).append("vm.lines=60").append(SYSRQ),
    ),
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
    case("lkdtm-panic", Dies(&["dumptest", TRACE]), |bench| {
        lkdtm(bench, 2, "PANIC")
    }),
    case(
        "lkdtm-irqs-off",
        Dies(&["panic stop irqoff test", TRACE]),
        |bench| lkdtm(bench, 4, "PANIC_STOP_IRQOFF"),
    ),
    case(
        "lkdtm-in-interrupt",
        Dies(&["from hard IRQ context", TRACE]),
        |bench| lkdtm(bench, 1, "PANIC_IN_HARDIRQ"),
    ),
    case(
        "lkdtm-bug-in-interrupt",
        Dies(&["kernel BUG at", TRACE]),
        |bench| lkdtm(bench, 4, "BUG_IN_HARDIRQ"),
    ),
    case(
        "lkdtm-bug",
        Dies(&["kernel BUG at", TRACE, "Oops - BUG: Fatal exception"]),
        |bench| lkdtm(bench, 4, "BUG").append("oops=panic"),
    ),
    case(
        "lkdtm-exception",
        Dies(&["Unable to handle kernel", TRACE, "Oops: Fatal exception"]),
        |bench| lkdtm(bench, 1, "EXCEPTION").append("oops=panic"),
    ),
    case(
        "lkdtm-exception-640x480",
        Dies(&["Unable to handle kernel", TRACE, "Oops: Fatal exception"]),
        |bench| provoke(dying_on(bench, 4, SMALL_GPU), "EXCEPTION").append("oops=panic"),
    ),
    case(
        "lkdtm-warning",
        Dies(&["WARNING: ", TRACE, "panic_on_warn set"]),
        |bench| lkdtm(bench, 4, "WARNING").append("panic_on_warn=1"),
    ),
    case(
        "panic-in-nmi",
        Dies(&["dying as told, in NMI", TRACE]),
        |bench| {
            let machine = with_nmi(dying(bench, 4));
            machine.append("vm.lines=20").append(&way("nmi"))
        },
    ),
    case("panic-while-others-print", Own(dies_loudly), |bench| {
        dying(bench, 4)
            .append("vm.noise=3 vm.do=busybox,sleep,2")
            .append(SYSRQ)
    }),
    case("panic-in-paint", Dies(&["dying as told", TRACE]), |bench| {
        let machine = dying(bench, 4)
            .append("vm.lines=20")
            .append(&way("paint-panic"));
        machine.append("vm.lines=1")
    }),
    case(
        "panic-exception-in-paint",
        Dies(&["Unable to handle kernel", TRACE]),
        |bench| {
            let machine = dying(bench, 1)
                .append("vm.lines=20")
                .append(&way("paint-oops"));
            machine.append("oops=panic vm.lines=1")
        },
    ),
    case(
        "panic-exception-in-every-paint",
        Own(leaves_it_to_others),
        |bench| {
            let machine = dying(bench, 4).append("vm.lines=20 vm.do=busybox,sleep,1");
            machine
                .append(&way("paint-oops-always"))
                .append("oops=panic")
                .append(SYSRQ)
        },
    ),
    case("panic-in-setup-arch", Own(early_panic), |bench| {
        early(bench).append("virtgpu_test=panic").direct()
    }),
    case("panic-before-vt", Own(early_panic), |bench| {
        early(bench).append("virtgpu_bridge.test=panic").direct()
    }),
    case(
        "panic-while-bars-move",
        Dies(&["dying as told", TRACE]),
        |bench| dying(bench, 4).append("virtgpu_bridge.test=pci"),
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
    ),
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
    ),
    case("panic-reboots", Own(reboots), |bench| {
        dying(bench, 4).append("panic=5 vm.lines=20").append(SYSRQ)
    }),
    case("silent-after-handover", Own(silent), |bench| {
        let machine = bench.log_on_screen().append("earlycon=virtgpu vm.lines=20");
        machine
            .append("vm.do=busybox,cat,/proc/consoles,>/dev/kmsg vm.wait")
            .append(SYSRQ)
            .direct()
            .device(GPU)
    }),
    // Who oopses but does not die is on the screen as well; here in a hundred thousand lines.
    case("lkdtm-warning-storm", Own(survives), |bench| {
        let mount = "vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug";
        let storm = dying(bench, 4).append(mount).append("vm.storm=735");
        storm.append("vm.do=busybox,sleep,2 vm.lines=60")
    }),
    case("lkdtm-warning-survived", Own(survives), |bench| {
        lkdtm(bench, 4, "WARNING").append("vm.lines=5")
    }),
    case("lkdtm-bug-survived", Own(survives), |bench| {
        let bug = provoke(dying(bench, 4).append("vm.lines=20"), "BUG");
        bug.append("vm.do=busybox,sleep,1 vm.lines=5")
    }),
];

/// Those that need a virtual terminal.
pub const VT_ENDINGS: &[Case] = &[
    case(
        "lkdtm-other-terminal",
        Dies(&["dumptest", TRACE]),
        |bench| provoke(dying(bench, 2).append("vm.do=busybox,chvt,2"), "PANIC"),
    ),
    case(
        "panic-vt-lock",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| hanging(bench).append(SYSRQ),
    ),
    case(
        "panic-vt-lock-nmi",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| with_nmi(hanging(bench)).append(SYSRQ),
    ),
    case(
        "panic-console-lock",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| held(bench, 4).append("vm.lines=5").append(SYSRQ),
    ),
    case(
        "panic-console-lock-1",
        Dies(&["sysrq triggered crash", TRACE]),
        |bench| held(bench, 1).append("vm.lines=5").append(SYSRQ),
    ),
    case("lkdtm-console-lock", Own(warns), |bench| {
        provoke(held(bench, 4), "WARNING")
    }),
    case("lkdtm-console-lock-1", Own(warns), |bench| {
        provoke(held(bench, 1), "WARNING")
    }),
    case("lkdtm-console-lock-for-a-while", Own(survives), |bench| {
        let held = dying(bench, 4).append(&background("hold-short"));
        let later = "vm.lines=5 vm.do=busybox,sleep,8 vm.lines=5";
        provoke(held, "WARNING").append(later)
    }),
    case("lkdtm-softlockup-survived-1", Own(locks_up), |bench| {
        provoke(dying(bench, 1).append("watchdog_thresh=2"), "SOFTLOCKUP")
    }),
    case("lkdtm-softlockup-console-lock", Own(locks_up), |bench| {
        provoke(held(bench, 4).append("watchdog_thresh=2"), "SOFTLOCKUP")
    }),
    // Two emergencies, the second one when the first is on the screen.
    case("lkdtm-paint-survived", Own(warns), |bench| {
        let dead = dying(bench, 4).append(&way("paint-oops"));
        provoke(
            dead.append("vm.do=echo,x,>/dev/tty1& vm.do=busybox,sleep,4"),
            "WARNING",
        )
    }),
];

/// The screen has the end of the log, with the words that say why.
pub fn dies(bench: &Bench, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for_end(END)?;
    has_ending(bench, &mut vm, words, out)
}

fn has_ending(bench: &Bench, vm: &mut Vm, words: &[&str], out: &Path) -> Result<String> {
    let ending = bench.look(vm, None, out, |screen, vm| {
        let ending = log::compare_ending(screen, log::kernel_part(&vm.serial()?))?;
        let text = screen.text();
        for word in words.iter().chain(&["Kernel panic - not syncing"]) {
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
    std::thread::sleep(Duration::from_secs(1));
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

/// The text is out before the machine starts again.
fn reboots(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for_end("Rebooting in 5 seconds")?;
    let seen = has_ending(
        bench,
        &mut vm,
        &["sysrq triggered crash", TRACE, "Rebooting in"],
        out,
    )?;
    vm.wait_end()?;
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
    std::thread::sleep(Duration::from_secs(1));
    let after = vm.events()?;
    ensure!(before == after, "{before}, and after the panic {after}");
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(after.to_string())
}

/// The kernel lives on, and the screen has the end of its log.
fn survives(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    let rows = bench.look(&mut vm, None, out, |screen, vm| {
        log::compare_tail(screen, log::kernel_part(&vm.serial()?))
    })?;
    let reports = String::from_utf8_lossy(&vm.serial()?)
        .matches("[ end trace ")
        .count();
    ensure!(reports != 0, "nothing has happened");
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(format!(
        "{} after {reports} reports on the serial port",
        equal(rows)
    ))
}

/// A warning is on the screen although somebody has the console lock for ever.
fn warns(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    // All is said by then: what is seen stays.
    vm.wait_for(READY)?;
    sees(bench, vm, "WARNING: ", out)
}

/// The same of a CPU that does not answer.
fn locks_up(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    sees(bench, machine.start(out)?, "BUG: soft lockup", out)
}

fn sees(bench: &Bench, mut vm: Vm, word: &str, out: &Path) -> Result<String> {
    bench.wait_for_words(&mut vm, &[word, TRACE], out)?;
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok(format!("'{word}' was seen"))
}
