// SPDX-License-Identifier: GPL-2.0

//! Cases of kernels without virtual terminals, where the driver is the log's console.

use super::{
    case,
    displays::{come_and_go, resize, ticks, RESIZES, TWO},
    fixtures::{boot, equal, first_line, modern_mmio},
    group,
    sleep::sleeps,
    Case,
    Expect::{Own, Text},
    Group,
};
use anyhow::{ensure, Context, Result};
use std::path::Path;
use vm::{
    config::Need,
    guests::{driver_lines, Guests, GPU},
    log,
    qemu::Machine,
    screen::show,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[Need::NoVt])];

const CASES: &[Case] = &[
    case("console", Text, |guests| {
        guests.vt().append("vm.lines=100").direct().device(GPU)
    }),
    case("console-after-earlycon", Text, |guests| {
        let early = guests.vt().append("earlycon=virtgpu vm.lines=100");
        early.direct().device(GPU)
    }),
    case("console-first-line", Own(first_line), |guests| {
        let tall = guests.vt().append("earlycon=virtgpu").direct();
        tall.device(&format!("{GPU},xres=640,yres=4080"))
    }),
    case("console-all-lines", Own(first_line), |guests| {
        let tall = guests.vt().direct();
        tall.device(&format!("{GPU},xres=640,yres=4080"))
    }),
    case("console-mmio", Text, |guests| {
        modern_mmio(guests.vt()).append("vm.lines=100")
    }),
    case("console-while-others-print", Text, |guests| {
        let noise = "vm.noise=3 vm.do=busybox,sleep,2 vm.noise=0 vm.lines=60";
        guests.vt().append(noise).direct().device(GPU)
    }),
    case("console-colours", Own(colours), |guests| {
        let levels = guests.vt().append("loglevel=8 vm.levels");
        levels.direct().device(GPU)
    }),
    case("console-handover", Own(handed_to_drm_log), |guests| {
        let lines = "console=drm_log earlycon=virtgpu vm.lines=60";
        let lines = guests.log_on_screen().append(lines);
        lines.direct().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("console-resize", Own(resize), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu").append(RESIZES);
        machine.direct().device(GPU)
    }),
    case("console-two-displays", Own(come_and_go), |guests| {
        let machine = guests.vt().append("earlycon=virtgpu").append(&ticks());
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("console-suspend", Own(sleeps), |guests| {
        let sleep = guests.vt().append("vm.lines=30 vm.sleep=freeze vm.lines=5");
        sleep.direct().device(GPU)
    }),
    case("console-iommu-platform", Text, |guests| {
        let late = guests.vt().append("vm.lines=100").direct();
        late.device("virtio-gpu-pci,iommu_platform=on")
    }),
];

/// Checks that each level of the log has its colour.
fn colours(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    const RED: u32 = 0x00ff_5555;
    let wanted = [
        RED,
        RED,
        RED,
        RED,
        0x00ff_ff55,
        0x00ff_ffff,
        0x00aa_aaaa,
        0x0055_5555,
    ];
    let mut vm = boot(machine, out)?;
    guests.wait_for_screen(&mut vm, None, out, |screen, _| {
        for (level, wanted) in wanted.iter().enumerate() {
            let says = format!("vm: level {level}");
            let mut rows = screen.rows.iter().zip(&screen.colours);
            let (_, colour) = rows
                .find(|(row, _)| show(row).ends_with(&says))
                .with_context(|| format!("no '{says}' on the screen"))?;
            ensure!(
                *colour == Some(*wanted),
                "level {level} has the colour {colour:x?}, not {wanted:x}"
            );
        }
        Ok(())
    })?;
    vm.check()?;
    Ok("eight levels in their colours".into())
}

/// Checks that the native driver has the screen, and its log has what ours had: as many rows as it
/// keeps; it begins again at the top.
fn handed_to_drm_log(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = boot(machine, out)?;
    let rows = guests.wait_for_screen(&mut vm, None, out, |screen, vm| {
        log::compare_ring(screen, log::kernel_part(&vm.serial()?))
    })?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(
        said.contains("native driver, dark for "),
        "no handover:\n{said}"
    );
    vm.check()?;
    Ok(format!("{} on drm_log", equal(rows)))
}
