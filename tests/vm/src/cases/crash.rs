// SPDX-License-Identifier: GPL-2.0

//! How kernels are made to die or to warn, and what must be seen of it.

use super::fixtures::equal;
use anyhow::{ensure, Result};
use std::path::Path;
use vm::{
    config::Need,
    guests::{Guests, GPU, READY},
    log,
    qemu::{Machine, Vm, LIMIT},
};

/// The last line of a kernel that died.
pub const END: &str = "---[ end Kernel panic - not syncing: ";

/// How its last words begin.
pub const PANIC: &str = "Kernel panic - not syncing: ";

/// How a call trace begins.
pub const TRACE: &str = "Call trace:";

/// How many CPUs a machine has: few and many, or many because the case takes other CPUs.
pub const BOTH: &[u32] = &[1, 4];

pub const FOUR: &[u32] = &[4];

/// Returns a machine where lkdtm causes a crash of this type.
pub fn lkdtm(guests: &Guests, crash_type: &str) -> Machine {
    provoke(dying(guests), crash_type)
}

/// Has lkdtm cause a crash of this type, in a process of its own, after some lines.
pub fn provoke(machine: Machine, crash_type: &str) -> Machine {
    let first = "vm.lines=20 vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug";
    // The process that dies of it is not init.
    let trigger = format!("vm.do=(echo,{crash_type},>/sys/kernel/debug/provoke-crash/DIRECT)&");
    machine
        .append(first)
        .append(&trigger)
        .append("vm.do=busybox,sleep,1")
        .needing(Need::Lkdtm)
}

/// Returns a machine whose kernel is about to die.
pub fn dying(guests: &Guests) -> Machine {
    dying_on(guests, GPU)
}

pub fn dying_on(guests: &Guests, gpu: &str) -> Machine {
    let machine = guests.vt().append("earlycon=virtgpu").direct();
    machine.device(gpu)
}

/// Returns words that trigger one of the hooks of `tests/crash_test`.
pub fn trigger(name: &str) -> String {
    format!("vm.do=echo,{name},>/sys/module/virtgpu_bridge/parameters/test")
}

/// Returns the same, and time for it to happen.
pub fn background(name: &str) -> String {
    format!("{} vm.do=busybox,sleep,1", trigger(name))
}

/// What a kernel says that panics while our driver paints.
pub const IN_PAINT: &[&str] = &["crash test", TRACE];

/// Has the kernel panic while our driver paints, after some lines.
pub fn in_paint(machine: Machine) -> Machine {
    let armed = machine
        .append("vm.lines=20")
        .append(&trigger("paint-panic"));
    armed.append("vm.lines=1")
}

/// Returns a machine where a process has the console lock for ever.
pub fn console_lock_held(guests: &Guests) -> Machine {
    dying(guests)
        .append("vm.lines=20")
        .append(&background("hold"))
}

/// Returns the machine with interrupts that are not masked.
pub fn with_nmi(machine: Machine) -> Machine {
    let words = "irqchip.gicv3_pseudo_nmi=1";
    let machine = machine.option("-machine", "gic-version=3").append(words);
    machine.needing(Need::Nmi)
}

/// A panic, at once.
pub const SYSRQ: &str = "vm.do=echo,c,>/proc/sysrq-trigger";

/// Checks that the screen has the end of the log, with the words that say why.
pub fn dies(guests: &Guests, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    has_died(guests, &mut vm, machine, words, out)
}

/// Checks the same of a machine that was started.
pub fn has_died(
    guests: &Guests,
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
    has_panic_end(guests, vm, &words, out)
}

pub fn has_panic_end(guests: &Guests, vm: &mut Vm, words: &[&str], out: &Path) -> Result<String> {
    let words: Vec<_> = words.iter().copied().chain([PANIC]).collect();
    has_words(guests, vm, &words, out)
}

/// Checks that the screen has the end of the log, with these words.
fn has_words(guests: &Guests, vm: &mut Vm, words: &[&str], out: &Path) -> Result<String> {
    let end = guests.wait_for_screen(vm, None, out, |screen, vm| {
        let serial = vm.serial()?;
        // A quiet kernel did not say its first line; firmware may have said
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
        let end = log::compare_end(screen, log)?;
        let text = screen.text();
        for word in words {
            ensure!(text.contains(word), "no '{word}' on the screen:\n{text}");
        }
        Ok(end)
    })?;
    vm.check_crashed()?;
    Ok(match &end.left_out[..] {
        [] => format!("{} rows", end.rows),
        left_out => format!("{} rows, {left_out:?} left out", end.rows),
    })
}

/// Checks that the kernel lives on after it has said these words, and the screen has the end of its
/// log.
pub fn survives(guests: &Guests, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    let rows = lives_on(guests, &mut vm, out)?;
    for word in words {
        ensure!(vm.serial_has(word)?, "nobody says '{word}'");
    }
    Ok(format!("{}, after '{}'", equal(rows), words[0]))
}

pub fn lives_on(guests: &Guests, vm: &mut Vm, out: &Path) -> Result<usize> {
    let rows = guests.has_log_end(vm, None, out)?;
    vm.check_crashed()?;
    Ok(rows)
}

/// Checks that an emergency is on the screen although tty0 does not print it: its words, and all
/// the log has since.
pub fn warns(guests: &Guests, machine: &Machine, words: &[&str], out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait("an emergency on the serial port", LIMIT, |vm| {
        let mut found = true;
        for word in words {
            found &= vm.serial_has(word)?;
        }
        Ok(found.then_some(()))
    })?;
    has_words(guests, &mut vm, words, out)
}
