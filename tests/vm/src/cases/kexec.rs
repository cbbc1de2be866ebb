// SPDX-License-Identifier: GPL-2.0

//! Cases of a kernel that starts another one.

use super::{
    case,
    fixtures::{equal, modern_mmio},
    group, Case,
    Expect::Own,
    Group,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    hash::{DefaultHasher, Hasher},
    path::Path,
};
use vm::{
    guests::{Guests, GPU, READY},
    qemu::{Machine, Vm},
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("kexec", Own(kexec), |guests| {
        let first = guests.sample().append("virtgpu_bridge.handover=never");
        guests.next_kernel(first.direct().device(GPU))
    }),
    case("kexec-aavmf", Own(kexec), |guests| {
        let first = guests.sample().append("virtgpu_bridge.handover=never");
        guests.next_kernel(first.device(GPU))
    }),
    case("kexec-from-native", Own(kexec_from_native), |guests| {
        guests.next_kernel(guests.sample_on_native().direct().device(GPU))
    }),
    case("kexec-crash", Own(crash), |guests| {
        let first = guests.sample().append("virtgpu_bridge.handover=never");
        guests.next_kernel(crashing(first.direct().device(GPU)))
    }),
    case("kexec-crash-from-native", Own(crash), |guests| {
        guests.next_kernel(crashing(guests.sample_on_native().direct().device(GPU)))
    }),
    case("kexec-mmio", Own(kexec_mmio), |guests| {
        let first = guests.sample().append("virtgpu_bridge.handover=never");
        guests.next_kernel(modern_mmio(first))
    }),
];

/// Checks that the next kernel adopts the device: our picture stays until it has its own.
fn kexec(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = next_kernel(
        guests,
        machine,
        &["the next kernel gets the screen", ADOPTED],
        out,
    )?;
    let pictures = vm.pictures()?;
    // Firmware's are in front of them.
    let last = &pictures[pictures.len().saturating_sub(2)..];
    ensure!(
        last.len() == 2 && !last.contains(&0),
        "dark between {pictures:x?}"
    );
    Ok(format!("{}, no dark frame", equal(rows)))
}

/// Checks the same with a picture of the native driver's.
fn kexec_from_native(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = next_kernel(guests, machine, &["handed over to", ADOPTED], out)?;
    let pictures = vm.pictures()?;
    // Ours, the handover, the native driver's, and ours again.
    let dark = pictures.iter().map(|&picture| picture == 0);
    ensure!(
        dark.eq([false, true, false, false]),
        "dark between {pictures:x?}"
    );
    Ok(format!(
        "{}, no dark frame after the handover's",
        equal(rows)
    ))
}

/// Checks that the next kernel finds a device at rest: its registers do not say whether it can be
/// adopted.
fn kexec_mmio(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let found = ["the next kernel gets the screen", ", was idle"];
    let (_, rows) = next_kernel(guests, machine, &found, out)?;
    Ok(equal(rows))
}

pub const ADOPTED: &str = ", was running, adopted";

/// Has the machine's first kernel crash once it has loaded another one, for which memory is set
/// aside.
pub fn crashing(machine: Machine) -> Machine {
    machine.append("vm.crash crashkernel=192M")
}

/// Checks that the kernel that comes after a crash adopts the device. It shows its own log, without
/// a dark frame, and from its init on neither it nor the device writes to the memory of the one
/// that crashed.
fn crash(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.clone().traced().start(out)?;
    vm.wait_for("vm: waiting")?;
    for words in ["sysrq triggered crash", ADOPTED] {
        ensure!(vm.serial_has(words)?, "nobody says '{words}'");
    }
    let before = not_reserved(&mut vm)?;
    vm.send("\n")?;
    vm.wait_for(READY)?;
    let rows = guests.has_log_end(&mut vm, None, out)?;
    let after = not_reserved(&mut vm)?;
    let mut pages = before.iter().zip(&after);
    if let Some(page) = pages.position(|(before, after)| before != after) {
        bail!("memory of the kernel that crashed was written, in its page {page}");
    }
    let pictures = vm.pictures()?;
    let last = &pictures[pictures.len().saturating_sub(2)..];
    ensure!(
        last.len() == 2 && !last.contains(&0),
        "dark between {pictures:x?}"
    );
    vm.check_guest_errors()?;
    Ok(format!(
        "{}, no dark frame, {} MiB as they were",
        equal(rows),
        after.len() * PAGE >> 20
    ))
}

const PAGE: usize = 4096;

/// Returns a sum of each page of the guest's memory but what was set aside for a kernel that comes
/// after a crash.
fn not_reserved(vm: &mut Vm) -> Result<Vec<u64>> {
    const RAM: std::ops::Range<u64> = 0x4000_0000..0x8000_0000;

    let serial = vm.serial()?;
    let said = String::from_utf8_lossy(&serial);
    let reserved = said.split_once("crashkernel reserved: 0x");
    let (_, reserved) = reserved.context("no memory is set aside")?;
    let mut bounds = reserved
        .split([' ', 'x'])
        .filter_map(|word| (word.len() == 16).then(|| u64::from_str_radix(word, 16).ok())?);
    let (Some(begin), Some(end)) = (bounds.next(), bounds.next()) else {
        bail!("which memory is set aside?");
    };
    let sum = |page: &[u8]| {
        let mut sum = DefaultHasher::new();
        sum.write(page);
        sum.finish()
    };
    let mut sums = Vec::new();
    for (begin, end) in [(RAM.start, begin), (end, RAM.end)] {
        sums.extend(vm.memory(begin, end - begin)?.chunks(PAGE).map(sum));
    }
    Ok(sums)
}

fn next_kernel(
    guests: &Guests,
    machine: &Machine,
    said: &[&str],
    out: &Path,
) -> Result<(Vm, usize)> {
    let (vm, rows) = guests.same_text(&machine.clone().traced(), None, out)?;
    for words in said {
        ensure!(vm.serial_has(words)?, "nobody says '{words}'");
    }
    Ok((vm, rows))
}
