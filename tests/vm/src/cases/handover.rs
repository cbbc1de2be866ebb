// SPDX-License-Identifier: GPL-2.0

//! Cases of the native driver, which gets the device, refuses it or gives it back.

use super::{
    case,
    devices::{FIND, REMOVE},
    early::PIO_NOTIFY,
    fixtures::{boot, equal, first_line, modern_mmio, FBCON},
    group, Case,
    Expect::Own,
    Group,
};
use anyhow::{ensure, Context, Result};
use std::{fs, path::Path};
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU},
    qemu::{Events, Machine, Vm},
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("handover-to-virtio", Own(handover), |guests| {
        guests.shared().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-to-virtio-mmio", Own(handover), |guests| {
        modern_mmio(guests.shared())
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-to-fbcon", Own(handover_to_fbcon), |guests| {
        guests.shared().append(FBCON).device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("native-unbound", Own(ours_again), |guests| {
        let unbound = "console=tty0 earlycon=virtgpu vm.lines=60 \
            vm.do=echo,virtio0,>/sys/bus/virtio/drivers/virtio_gpu/unbind \
            vm.do=busybox,sleep,2 vm.lines=60";
        guests.image().append(unbound).direct().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-built-in", Own(handed_over), |guests| {
        guests
            .image()
            .append("console=tty0 earlycon=virtgpu vm.lines=60")
            .direct()
            .device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-built-in-mmio", Own(handed_over), |guests| {
        modern_mmio(guests.image().append("console=tty0 vm.lines=60"))
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-module", Own(handed_over), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.coldplug vm.native vm.lines=60";
        guests.modular().append(module).direct().device(GPU)
    }),
    case("handover-module-late", Own(handed_over), |guests| {
        let module = "console=tty0 vm.lines=60 vm.do=busybox,sleep,10 vm.native vm.lines=60";
        guests.modular().append(module).direct().device(GPU)
    }),
    case("handover-every-line", Own(first_line), |guests| {
        let tall = guests
            .modular()
            .append("console=tty0 earlycon=virtgpu vm.native vm.lines=9");
        tall.direct().device(&format!("{GPU},xres=640,yres=4080"))
    }),
    case("handover-ten-times", Own(ten_times), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native";
        let again = " vm.lines=3 vm.native=0 vm.do=busybox,sleep,1 vm.lines=3 vm.native".repeat(10);
        guests
            .modular()
            .append(module)
            .append(&again)
            .append("vm.lines=60")
            .direct()
            .device(GPU)
    }),
    case("handover-fails", Own(taken_back), |guests| {
        // The native driver refuses the device, as a module's option wants it.
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native=fails vm.lines=10";
        guests.modular().append(module).direct().device(GPU)
    }),
    case("nomodeset", Own(stays_ours), |guests| {
        let module = "console=tty0 earlycon=virtgpu nomodeset vm.lines=60";
        guests.image().append(module).device(GPU)
    }),
    case("pio-notify-handover", Own(handed_over), |guests| {
        let machine = guests.image().append("console=tty0 vm.lines=60");
        machine.direct().device(PIO_NOTIFY)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("async-native", Own(handed_over), |guests| {
        probed(guests, "driver_async_probe=virtio_gpu")
    })
    .needs(&[Need::NativeBuiltIn]),
    case("async-bridge", Own(handed_over), |guests| {
        probed(guests, "driver_async_probe=virtgpu_bridge")
    })
    .needs(&[Need::NativeBuiltIn]),
    case("async-all", Own(handed_over), |guests| {
        probed(guests, "driver_async_probe=*")
    })
    .needs(&[Need::NativeBuiltIn]),
    case("async-module", Own(handed_over), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.native=async vm.lines=60";
        guests.modular().append(module).direct().device(GPU)
    }),
    case("async-module-fails", Own(taken_back), |guests| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native=async-fails \
            vm.do=busybox,sleep,1 vm.lines=10";
        guests.modular().append(module).direct().device(GPU)
    }),
    // As on libkrun, whose device goes on after it.
    case("reset-refused", Own(kept), |guests| {
        let machine = guests.image().append("console=tty0 earlycon=virtgpu");
        let machine = machine.append("virtgpu_bridge.test=no-reset vm.lines=60");
        machine.direct().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    // Where fbcon waits for text before it takes the VT over, which distributions want for a quiet
    // boot, it shows what was on the screen. Ours is the VT's first driver,
    case("deferred-quiet", Own(same_words), |guests| {
        quietly(guests, GPU, "earlycon=virtgpu", AFTER)
    }),
    case("deferred-quiet-silent", Own(same_words), |guests| {
        quietly(guests, GPU, "", "")
    }),
    // or takes it over from the dummy that fbcon waits for.
    case("deferred-late", Own(on_fbcon), |guests| {
        let module = "console=tty0 vm.lines=60 vm.native vm.lines=60";
        guests.modular().append(module).direct().device(LATE)
    }),
    case("deferred-late-silent", Own(on_fbcon), |guests| {
        let module = "console=tty0 vm.lines=60 vm.native";
        guests.modular().append(module).direct().device(LATE)
    }),
    case("deferred-late-quiet", Own(same_words), |guests| {
        quietly(guests, LATE, "", AFTER)
    }),
    case("deferred-late-quiet-silent", Own(same_words), |guests| {
        quietly(guests, LATE, "", "")
    }),
    case("removed-and-handed-over", Own(on_fbcon), |guests| {
        let machine = guests
            .modular()
            .append("console=tty0 earlycon=virtgpu vm.lines=60");
        let machine = machine
            .append(REMOVE)
            .append(FIND)
            .append("vm.native vm.lines=60");
        machine.direct().device(GPU)
    }),
];

/// Returns whether the early console is, or was, in use.
fn registered(vm: &Vm) -> Result<bool> {
    vm.serial_has("bootconsole [virtgpu0] enabled")
}

/// Checks that the native driver has the device in the end, its console shows the log, and the log
/// says for how long the screen was dark.
pub fn handed_over(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().traced();
    let (vm, rows) = guests.same_text(&machine, None, out)?;
    let said = driver_lines(&vm.serial()?);
    let dark = said
        .iter()
        .find_map(|line| line.split_once("native driver, dark for "));
    let (_, dark) = dark.with_context(|| format!("no line tells of it:\n{}", said.join("\n")))?;
    ensure!(
        vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu did not get the device"
    );
    let events = vm.events()?;
    // One reset when we let go, and two pictures: ours, and the native driver's.
    let (resets, mode_sets) = (1, 2);
    ensure!(events == Events { resets, mode_sets }, "{events}");
    Ok(format!(
        "{}, dark for {}, {events}",
        equal(rows),
        dark.trim()
    ))
}

/// Checks that the device was given away, and taken back, so many times.
pub fn changed_hands(vm: &Vm, given: usize, taken: usize) -> Result<()> {
    let said = driver_lines(&vm.serial()?).join("\n");
    let times = |text: &str| said.matches(text).count();
    let seen = (times("handed over"), times("ours again"));
    ensure!(
        seen == (given, taken),
        "handed over {} times, taken back {} times:\n{said}",
        seen.0,
        seen.1
    );
    Ok(())
}

/// Checks that the native driver is loaded and unloaded ten times.
fn ten_times(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(&machine.clone().traced(), None, out)?;
    changed_hands(&vm, 11, 10)?;
    // Ours once when we let go. virtio_gpu's when it goes, and virtio-pci's, to which the device
    // was acknowledged again. A picture whenever a driver begins.
    let events = vm.events()?;
    let (resets, mode_sets) = (11 + 2 * 10, 11 + 11);
    ensure!(events == Events { resets, mode_sets }, "{events}");
    Ok(format!(
        "{}, given 11 times, taken back 10 times, {events}",
        equal(rows)
    ))
}

/// Checks that a device that the native driver loses is ours, and stays so.
pub fn ours_again(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    changed_hands(&vm, 1, 1)?;
    Ok(equal(rows))
}

/// Checks that the native driver does not take the device; the screen is ours and has all of the
/// log.
pub fn stays_ours(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    ensure!(
        !vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu got the device"
    );
    Ok(equal(rows))
}

/// Checks the same, after the native driver was offered the device.
fn taken_back(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let seen = stays_ours(guests, machine, out)?;
    // The log of the run that has just ended.
    let serial = fs::read(out.join("serial.log"))?;
    let said = driver_lines(&serial).join("\n");
    for words in ["does not take the device", "the screen is ours again"] {
        ensure!(said.contains(words), "nobody says '{words}':\n{said}");
    }
    Ok(seen)
}

/// Checks that the kernel's own driver takes the device; the boot goes on and the device sees
/// nothing wrong.
fn handover(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let vm = boot(&machine.clone().append("vm.lines=50"), out)?;
    ensure!(registered(&vm)?, "the early console was not registered");
    ensure!(
        vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu did not get the device"
    );
    Ok("the boot went on".into())
}

/// Checks the same, and the kernel's own console then shows the log.
fn handover_to_fbcon(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    ensure!(registered(&vm)?, "the early console was not registered");
    Ok(equal(rows))
}

/// A GPU that is not there for the early search: its memory is the DMA API's.
const LATE: &str = "virtio-gpu-pci,iommu_platform=on";

/// What a quiet guest says last, on the serial port.
const DONE: &str = "vm: all is done";

const BEFORE: &str = "text before the handover";

const AFTER: &str = "text after the handover";

/// Returns a quiet guest that writes to its terminal before the native driver is loaded, and
/// `after` it.
fn quietly(guests: &Guests, gpu: &str, words: &str, after: &str) -> Machine {
    let write = |text: &str, to: &str| format!("vm.do=echo,{},>/dev/{to}", text.replace(' ', ","));
    let machine = guests.modular().append("console=tty0 quiet").append(words);
    let machine = machine.append(&write(BEFORE, "tty1")).append("vm.native");
    let machine = match after {
        "" => machine,
        after => machine.append(&write(after, "tty1")),
    };
    // The driver speaks when it sees that the native one has the device. The command line, which is
    // in the log as well, does not match.
    let heard = "until,busybox,dmesg,|,busybox,grep,-q,[h]anded.over;do,busybox,sleep,0.1;done";
    machine
        .append(&format!("vm.do={heard}"))
        .append("vm.do=busybox,dmesg,>/dev/ttyAMA0")
        .append(&write(DONE, "ttyAMA0"))
        .direct()
        .device(gpu)
}

/// Checks that the terminal's text is on the native driver's console.
fn same_words(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(DONE)?;
    let words = match machine.word("vm.do=echo,text,after") {
        Some(_) => vec![BEFORE, AFTER],
        None => vec![BEFORE],
    };
    handed_to_fbcon(&vm)?;
    guests.wait_for_words(&mut vm, &words, out)?;
    vm.check()?;
    Ok("the terminal's text is on fbcon".into())
}

/// Checks that the device stays ours because it cannot be reset, and one line says so.
fn kept(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let seen = stays_ours(guests, machine, out)?;
    let said = driver_lines(&fs::read(out.join("serial.log"))?);
    let times = said
        .iter()
        .filter(|line| line.contains("does not finish a reset"));
    ensure!(times.count() == 1, "not said once:\n{}", said.join("\n"));
    Ok(seen)
}

/// Checks that the log is on the native driver's console.
fn on_fbcon(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    handed_to_fbcon(&vm)?;
    Ok(equal(rows))
}

fn handed_to_fbcon(vm: &Vm) -> Result<()> {
    for words in [
        "handed over to the native driver",
        "virtio_gpudrmfb frame buffer device",
    ] {
        ensure!(vm.serial_has(words)?, "nobody says '{words}'");
    }
    Ok(())
}

/// Returns a guest in which the driver core probes drivers as `words` say.
fn probed(guests: &Guests, words: &str) -> Machine {
    let machine = guests.image().append("console=tty0 earlycon=virtgpu");
    let machine = machine.append(words).append("vm.lines=60");
    machine.direct().device(GPU)
}
