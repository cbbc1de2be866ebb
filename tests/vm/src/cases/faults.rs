// SPDX-License-Identifier: GPL-2.0

//! Cases of a device that stalls, goes, comes back or is reset while the log goes on.

use super::{
    case,
    crash::{has_died, SYSRQ, TRACE},
    fixtures::{equal, times, WAITING},
    group,
    handover::{changed_hands, ours_again},
    long, Case,
    Expect::{Own, Survives, Text},
    Group,
};
use anyhow::{ensure, Context, Result};
use std::{fs, path::Path, thread, time::Duration};
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU, READY, TIME_FOR_TEXT},
    log,
    qemu::{Machine, Vm},
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[Need::Vt]), long(LONG_CASES, &[Need::Vt])];

const CASES: &[Case] = &[
    case("remove-and-rescan", Text, |guests| {
        let again =
            format!("earlycon=virtgpu vm.lines=20 {REMOVE} vm.lines=20 {RESCAN} vm.lines=9");
        guests.vt().append(&again).direct().device(AT_1)
    }),
    case("remove-and-rescan-native", Own(on_native), |guests| {
        let again = format!("console=tty0 vm.lines=20 {REMOVE} {RESCAN} {NAP} vm.lines=60");
        guests.image().append(&again).direct().device(AT_1)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("reset-function", Text, |guests| {
        let reset = "earlycon=virtgpu vm.lines=20 \
            vm.do=echo,1,>/sys/bus/pci/devices/0000:01:00.0/reset vm.lines=20";
        let port = guests.vt().append(reset).direct();
        port.device("pcie-root-port,id=port1,chassis=1")
            .device("virtio-gpu-pci,bus=port1")
    }),
    case("transport-unbound", Own(ours_again), |guests| {
        let unbound = format!(
            "console=tty0 earlycon=virtgpu vm.lines=20 \
            vm.do=echo,0000:00:01.0,>/sys/bus/pci/drivers/virtio-pci/unbind {NAP} vm.lines=60"
        );
        guests.image().append(&unbound).direct().device(AT_1)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("virtio-unloaded", Own(twice_native), |guests| {
        let words = format!(
            "console=tty0 earlycon=virtgpu vm.lines=20 vm.native vm.native=0 {NAP} \
            vm.rmmod=virtio_pci vm.rmmod=virtio_pci_modern_dev vm.rmmod=virtio \
            vm.rmmod=virtio_ring vm.native vm.native=0 {NAP} vm.lines=60"
        );
        guests.image().append(&words).direct().device(GPU)
    })
    .needs(&[Need::VirtioModules]),
    case("leaks", Own(leaks), |guests| {
        let native = format!("vm.native vm.native=0 {NAP} ").repeat(2);
        let words = format!(
            "kmemleak=on console=tty0 earlycon=virtgpu vm.lines=20 {native} {REMOVE} {RESCAN} \
            {NAP} vm.sleep=freeze vm.unbind=virtgpu_bridge vm.bind=virtgpu_bridge {NAP} vm.leaks"
        );
        guests.modular().append(&words).direct().device(AT_1)
    })
    .needs(&[Need::Kmemleak]),
    case("gpu-stops", Own(stops), |guests| {
        let waits = format!(
            "earlycon=virtgpu {} vm.lines=60",
            "vm.wait vm.lines=5 ".repeat(STOPS)
        );
        guests.vt().append(&waits).direct().gpu_process()
    }),
    case("gpu-killed", Own(killed), |guests| {
        let waits = "earlycon=virtgpu vm.wait vm.lines=200";
        guests.vt().append(waits).direct().gpu_process()
    }),
    case("bind-among-warnings", Survives(&["WARNING: "]), |guests| {
        let again = "vm.unbind=virtgpu_bridge vm.bind=virtgpu_bridge ".repeat(6);
        let words = format!("earlycon=virtgpu {WARNINGS} {again} {NAP} vm.lines=60");
        guests.vt().append(&words).direct().device(GPU)
    })
    .needs(&[Need::Lkdtm]),
    case("terminals-change-in-handover", Text, |guests| {
        let words = format!(
            "console=tty0 earlycon=virtgpu vm.lines=20 {CHANGES} vm.native vm.native=0 {NAP} \
            vm.native \
            {SETTLED} vm.lines=60"
        );
        guests.modular().append(&words).direct().device(GPU)
    }),
    case(
        "driver-override",
        Survives(&["0000:00:02.0: not a virtio-gpu"]),
        |guests| {
            let other = "/sys/bus/pci/devices/0000:00:02.0";
            let words = format!(
                "earlycon=virtgpu vm.lines=20 vm.do=echo,virtgpu_bridge,>{other}/driver_override \
            vm.do=echo,0000:00:02.0,>{other}/driver/unbind \
            vm.do=echo,0000:00:02.0,>/sys/bus/pci/drivers/virtgpu_bridge/bind vm.lines=20"
            );
            let machine = guests.vt().append(&words).direct().device(AT_1);
            machine.device("virtio-rng-pci,addr=2")
        },
    ),
    case("private-memory", Own(private_memory), |guests| {
        let words = "virtgpu_bridge.test=private vm.lines=100";
        guests.vt().append(words).direct().device(GPU)
    }),
    // Its memory is the device's for good, and the next time it gets other memory.
    case("reset-refused-unbound", Own(not_in_image), |guests| {
        let words = "virtgpu_bridge.test=no-reset vm.lines=20 vm.unbind=virtgpu_bridge \
            vm.bind=virtgpu_bridge vm.lines=60";
        guests.vt().append(words).direct().device(GPU)
    }),
    case(
        "buses-renumbered",
        Survives(&["0000:11:00.0: [1af4:1050]"]),
        |guests| {
            let words = "earlycon=virtgpu pci=hpbussize=8 vm.lines=100";
            let machine = guests.vt().append(words).direct();
            let ports = (1..=3).fold(machine, |machine, at| {
                machine.device(&format!("pcie-root-port,id=port{at},chassis={at}"))
            });
            ports.device("virtio-gpu-pci,bus=port3")
        },
    ),
    case("terminals-change-in-suspend", Text, |guests| {
        let sleep = "vm.sleep=freeze ".repeat(3);
        let words =
            format!("earlycon=virtgpu vm.lines=20 {CHANGES} {NAP} {sleep} {SETTLED} vm.lines=60");
        guests.vt().append(&words).direct().device(GPU)
    }),
    case("cpu-off-and-on", Text, |guests| {
        let cpu = "/sys/devices/system/cpu/cpu1/online";
        let off = format!("vm.do=echo,0,>{cpu} vm.lines=20 vm.do=echo,1,>{cpu} vm.lines=20 ");
        let machine = guests.vt().append("earlycon=virtgpu vm.ticks");
        let machine = machine.append(&off.repeat(3)).append("vm.noise=0");
        machine.direct().device(GPU)
    }),
    case("system-reset", Own(five_resets), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=100");
        machine
            .option("-action", "reboot=reset")
            .direct()
            .device(GPU)
    }),
    case("migration", Own(migrates), |guests| {
        let words = "earlycon=virtgpu vm.ticks vm.wait vm.noise=0 vm.lines=60";
        guests.vt().append(words).direct().device(GPU)
    }),
    case("soak", Own(soaked), |guests| soak(guests.vt(), 10_000)),
    case("soak-early", Own(soaked), |guests| {
        soak(guests.early(), 10_000)
    }),
];

/// Cases that take long.
const LONG_CASES: &[Case] = &[
    case("soak-million", Own(soaked_twice), |guests| {
        soak(guests.vt(), MILLION)
    }),
    case("system-reset-50", Own(fifty_resets), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu vm.lines=100");
        machine.option("-action", "reboot=reset").device(GPU)
    }),
];

/// How long a slow kernel takes to search all its memory, twice.
const TIME_FOR_LEAKS: Duration = Duration::from_secs(600);

/// How long the device's process stands still, at most: longer than the driver waits.
const STOPPED: Duration = Duration::from_secs(20);

/// How often it is stopped, at most.
const STOPS: usize = 5;

const MILLION: u32 = 1_000_000;

/// So many lines from four processes, and then a panic.
fn soak(machine: Machine, lines: u32) -> Machine {
    let words = format!(
        "printk.devkmsg=on vm.soak={} vm.lines=120 {SYSRQ}",
        lines / 4
    );
    let machine = machine.append(&words).direct().device(GPU);
    machine.option("-smp", "4")
}

/// The GPU at the address that the words below have.
const AT_1: &str = "virtio-gpu-pci,addr=1";

const REMOVE: &str = "vm.do=echo,1,>/sys/bus/pci/devices/0000:00:01.0/remove";

const RESCAN: &str = "vm.do=echo,1,>/sys/bus/pci/rescan";

/// Thirty warnings in the background.
const WARNINGS: &str = "vm.do=busybox,mount,-t,debugfs,none,/sys/kernel/debug \
    vm.do=(,i=0;,while,[,$i,-lt,30,];,do,i=$((i+1));,\
echo,WARNING,>/sys/kernel/debug/provoke-crash/DIRECT;,done,),&";

/// Another virtual terminal, another size and another colour again and again, until [`SETTLED`].
const CHANGES: &str = "vm.do=(,while,:;,do,busybox,chvt,2;\
    ,busybox,stty,-F,/dev/tty1,rows,30,cols,90;,printf,'\\033]P7123456',>/dev/tty1;\
    ,busybox,stty,-F,/dev/tty1,rows,50,cols,160;,busybox,chvt,1;,done,),&,noise=$!";

const SETTLED: &str = "vm.noise=0 vm.do=busybox,sleep,1 vm.do=busybox,chvt,1 \
    vm.do=busybox,stty,-F,/dev/tty1,rows,50,cols,160 vm.do=printf,'\\033]R',>/dev/tty1";

/// Says where the kernel's image is.
const IMAGE: &str = "vm.do=busybox,grep,Kernel,/proc/iomem,>/dev/kmsg";

const NAP: &str = "vm.do=busybox,sleep,2";

/// Checks that the native driver has the device in the end, and its console shows the log.
fn on_native(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    let serial = vm.serial()?;
    let times = String::from_utf8_lossy(&serial)
        .matches("Initialized virtio_gpu")
        .count();
    ensure!(times == 2, "virtio_gpu got the device {times} times");
    Ok(equal(rows))
}

fn private_memory(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let seen = not_in_image(guests, machine, out)?;
    let serial = fs::read(out.join("serial.log"))?;
    ensure!(
        String::from_utf8_lossy(&serial).contains("memory is hidden from devices"),
        "nobody says that memory is hidden"
    );
    Ok(seen)
}

/// Checks that no memory of the device's queue lies in the kernel's image.
fn not_in_image(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().append(IMAGE);
    let (mut vm, rows) = guests.same_text(&machine, None, out)?;
    let serial = vm.serial()?;
    let serial = String::from_utf8_lossy(&serial);
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let within = |line: &str| {
        let (address, _) = line.split_once(" : Kernel ")?;
        let (start, end) = address.trim().rsplit(' ').next()?.split_once('-')?;
        Some(number(start)?..=number(end)?)
    };
    let image: Vec<_> = serial.lines().filter_map(within).collect();
    ensure!(image.len() >= 2, "code and data are at {image:x?}");
    let status = vm.gpu("virtio-queue-status", "0")?;
    let address = status.split_once("desc:").context("no descriptors")?.1;
    let address = address.trim().trim_start_matches("0x");
    let address = number(&address[..address.find(char::is_whitespace).unwrap_or(address.len())]);
    let address = address.filter(|at| *at != 0).context("no queue")?;
    ensure!(
        !image.iter().any(|part| part.contains(&address)),
        "the queue is at {address:x}, the image at {image:x?}"
    );
    Ok(format!("{}, the queue is not in the image", equal(rows)))
}

/// Checks that the native driver has had the device twice, which is ours in the end.
fn twice_native(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = guests.same_text(machine, None, out)?;
    changed_hands(&vm, 2, 2)?;
    Ok(equal(rows))
}

/// Checks that no memory of ours is lost when the device goes and comes back: unloaded, removed,
/// asleep and unbound.
fn leaks(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait("a list of leaks", TIME_FOR_LEAKS, |vm| {
        Ok(vm.serial_has("vm: end of the leaks")?.then_some(()))
    })?;
    vm.check_kernel()?;
    let serial = vm.serial()?;
    let log = String::from_utf8_lossy(&serial);
    let said = log.rsplit_once("vm: the leaks").context("no leaks")?.1;
    // Each begins with this, and ends with the functions that asked for the memory.
    let all: Vec<&str> = said.split("unreferenced object").skip(1).collect();
    for leak in &all {
        ensure!(!leak.contains("virtgpu_bridge"), "lost memory:{leak}");
    }
    Ok(format!("{} leaks, none of them ours", all.len()))
}

/// Checks that the screen goes on when the device's process does, which stood still for longer than
/// the driver waits.
fn stops(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let mut is_noticed = false;
    for stop in 1..=STOPS {
        vm.wait("the next wait", TIME_FOR_TEXT, |vm| {
            Ok((times(vm, WAITING)? == stop).then_some(()))
        })?;
        if is_noticed {
            vm.send("\n")?;
            continue;
        }
        // A signal cuts off what the process sends to QEMU, and QEMU waits for the rest for ever.
        // Hence it is stopped while it has nothing to do.
        guests.has_log_end(&mut vm, Some("gpu"), out)?;
        thread::sleep(Duration::from_secs(1));
        vm.signal_gpu("-STOP")?;
        vm.send("\n")?;
        // Where the driver reads the device's configuration before it writes, QEMU waits for the
        // process, and the guest with it, until that goes on.
        let noticed = vm.wait("a device that does not answer", STOPPED, |vm| {
            Ok(vm.serial_has("the device does not answer")?.then_some(()))
        });
        is_noticed = noticed.is_ok();
        vm.signal_gpu("-CONT")?;
    }
    ensure!(is_noticed, "nobody says that the device does not answer");
    vm.wait_for("the device answers again")?;
    vm.wait_for(READY)?;
    let rows = guests.has_log_end(&mut vm, Some("gpu"), out)?;
    vm.check_kernel()?;
    Ok(equal(rows))
}

/// Checks that one line says that the device's process was killed, and that the boot goes on.
fn killed(_: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for(WAITING)?;
    vm.signal_gpu("-KILL")?;
    vm.send("\n")?;
    vm.wait_for(READY)?;
    vm.check_kernel()?;
    let said = driver_lines(&vm.serial()?);
    let stalls = said.iter().filter(|line| line.contains("does not answer"));
    let stalls = stalls.count();
    ensure!(stalls <= 1, "{stalls} lines say that it does not answer");
    Ok("the boot went on".into())
}

/// Checks that the machine goes on in another QEMU, in the middle of its log.
fn migrates(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let state = format!("file:{}", out.join("state").display());
    let mut here = machine.start(out)?;
    here.wait_for("vm: tick 20")?;
    here.human(&format!("migrate -d {state}"))?;
    here.wait("the end of the migration", TIME_FOR_TEXT, |vm| {
        let info = vm.human("info migrate")?;
        ensure!(!info.contains("failed"), "{info}");
        Ok(info.contains("completed").then_some(()))
    })?;
    let before = here.serial()?;
    drop(here);

    let there = out.join("there");
    fs::create_dir_all(&there)?;
    let mut vm = machine.clone().option("-incoming", &state).start(&there)?;
    vm.wait("more lines", TIME_FOR_TEXT, |vm| {
        Ok((vm.serial()?.len() > 1000).then_some(()))
    })?;
    vm.send("\n")?;
    vm.wait_for(READY)?;
    let rows = guests.wait_for_screen(&mut vm, None, out, |screen, vm| {
        let serial = [&before[..], &vm.serial()?].concat();
        log::compare_tail(screen, log::kernel_part(&serial))
    })?;
    vm.check_crashed()?;
    Ok(equal(rows))
}

/// Checks one machine after the other: beside each other their CPUs wait for CPUs that do not run.
fn soaked_twice(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    soaked(guests, machine, out)?;
    soaked(guests, &soak(guests.early(), MILLION), out)
}

/// Checks that all the lines are written in time, memory stays as it is, and the panic at the end
/// is on the screen.
fn soaked(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const LIMIT: Duration = Duration::from_secs(3600);
    /// What the guest does besides may take so many kB.
    const NOISE: i64 = 2048;
    let mut vm = machine.start(out)?;
    let free = vm.wait("the end of all lines", LIMIT, |vm| {
        Ok(free_memory(&String::from_utf8_lossy(&vm.serial()?)))
    })?;
    let (before, after) = free;
    ensure!(
        before - after < NOISE,
        "{before} kB were free, and {after} kB are"
    );
    let words = ["sysrq triggered crash", TRACE];
    has_died(guests, &mut vm, machine, &words, out)
}

/// Returns the memory that was free before most of the lines, and after them, in kB.
fn free_memory(serial: &str) -> Option<(i64, i64)> {
    let (_, said) = serial.split_once("vm: soaked, ")?;
    let (line, _) = said.split_once('\n')?;
    let mut numbers = line.split(' ').filter_map(|word| word.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn five_resets(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    resets(guests, machine, 5, out)
}

fn fifty_resets(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    resets(guests, machine, 50, out)
}

/// Resets the machine at so many random instants of its boots, and checks the screen of each next
/// boot.
fn resets(guests: &Guests, machine: &Machine, count: usize, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let mut seed: u32 = 14;
    let mut rows = 0;
    for number in 0..count {
        // Numerical Recipes' generator.
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(Duration::from_millis(u64::from(seed >> 20)));
        // Nothing is said between the count and the reset.
        vm.human("stop")?;
        let before = boots(&vm)?;
        vm.human("system_reset")?;
        vm.human("cont")?;
        vm.wait(&format!("boot {number}"), TIME_FOR_TEXT, |vm| {
            Ok((boots(vm)? > before).then_some(()))
        })?;
        rows = guests.has_log_end(&mut vm, None, out)?;
        vm.check()?;
    }
    Ok(format!("{}, {count} resets", equal(rows)))
}

/// Returns how many boots have come to their end.
fn boots(vm: &Vm) -> Result<usize> {
    Ok(String::from_utf8_lossy(&vm.serial()?)
        .matches(READY)
        .count())
}
