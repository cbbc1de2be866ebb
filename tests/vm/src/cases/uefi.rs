// SPDX-License-Identifier: GPL-2.0

//! Cases of the UEFI driver, which keeps firmware's screen beyond ExitBootServices().
//!
//! Firmware's shell loads the driver and starts a boot loader (`tests/uefi`) that loads nothing,
//! from a disk whose files are a folder of the host's; or the kernel; or GRUB does.

use super::{case, fixtures::equal, group, kexec::ADOPTED, Case, Expect::Own, Group};
use anyhow::{bail, ensure, Context, Result};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use vm::{
    config::Need,
    guests::{Guests, GPU, READY},
    qemu::{Board, Machine, Vm, SNAKE_OIL},
    screen::Picture,
};

/// The cases.
pub const GROUPS: &[Group] = &[group(CASES, &[])];

const CASES: &[Case] = &[
    case("uefi-aavmf", Own(keeps_picture), |_| aavmf().device(GPU)),
    case("uefi-aavmf-large", Own(keeps_picture), |_| {
        aavmf().device(GPU).append("1920x1080")
    }),
    case("uefi-aavmf-4k", Own(keeps_picture), |_| {
        aavmf().device("virtio-gpu-pci,xres=3840,yres=2160")
    }),
    case("uefi-too-large", Own(too_large), |_| {
        aavmf().device("virtio-gpu-pci,xres=5120,yres=2880")
    }),
    case("uefi-aavmf-again", Own(keeps_picture), |_| {
        aavmf().device(GPU).append("again")
    }),
    case("uefi-aavmf-root-port", Own(keeps_picture), |_| {
        let port = aavmf().device("pcie-root-port,id=port1,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("uefi-ovmf", Own(keeps_picture), |_| ovmf().device(GPU)),
    case("uefi-ovmf-large", Own(keeps_picture), |_| {
        ovmf().device(GPU).append("1920x1080")
    }),
    case("uefi-driver-option", Own(driver_option), |_| {
        aavmf().device(GPU)
    }),
    case("uefi-two-copies", Own(two_copies), |_| aavmf().device(GPU)),
    case("uefi-reconnected", Own(reconnected), |_| {
        aavmf().device(GPU)
    }),
    case("uefi-disconnected", Own(disconnected), |_| {
        aavmf().device(GPU)
    }),
    case("uefi-gpu-process", Own(dead), |_| aavmf().gpu_process()),
    case("uefi-systemd-boot", Own(systemd_boot), |_| {
        aavmf().device(GPU)
    }),
    case("uefi-secure-boot", Own(secure_boot), |_| {
        aavmf().device(GPU)
    }),
    case("uefi-without", Own(without), |_| aavmf().device(GPU)),
    case("uefi-ovmf-without", Own(without), |_| ovmf().device(GPU)),
    case(
        "uefi-iommu-platform",
        Own(|guests, machine, out| picture(guests, machine, "ACCESS_PLATFORM", out)),
        |_| aavmf().device("virtio-gpu-pci,iommu_platform=on"),
    ),
    case(
        "uefi-no-ring-reset",
        Own(|guests, machine, out| picture(guests, machine, "RING_RESET", out)),
        |_| aavmf().device("virtio-gpu-pci,queue_reset=off"),
    ),
    case(
        "uefi-mmio",
        Own(|guests, machine, out| picture(guests, machine, "not on PCI", out)),
        |_| {
            let modern = aavmf().option("-global", "virtio-mmio.force-legacy=false");
            modern.device("virtio-gpu-device")
        },
    ),
    case("uefi-framebuffer", Own(framebuffer), |_| {
        aavmf().device("ramfb")
    }),
    case("handoff-shell", Own(shell), |guests| {
        guests.early().device(GPU)
    }),
    case("handoff-grub", Own(grub), |guests| {
        guests.early().device(GPU)
    }),
    case("handoff-edid", Own(has_edid), |guests| {
        let guest = guests.vt().append("earlycon=virtgpu");
        guest.append("vm.do=kms,open,info").device(GPU)
    })
    .needs(&[Need::Vt, Need::Kms]),
    case("uefi-dark", Own(dark), |_| {
        let counted = aavmf().option("-icount", "shift=0,sleep=off");
        counted.option("-smp", "1").device(GPU)
    }),
];

/// The resource that the driver shows.
const RESOURCE: u32 = 1 << 30;

/// What the boot loader says.
const LOADER_READY: &str = "loader: ready";

const LOADER_ENDED: &str = "loader: gone";

/// What the shell says when a key makes it wait no longer.
pub const SHELL_WAITS: &str = "to skip";

/// The most instructions that the screen may be dark for, with what firmware does until it has
/// ended.
const DARK: u64 = 500_000;

fn aavmf() -> Machine {
    Machine::bare(Board::Virt)
}

fn ovmf() -> Machine {
    Machine::bare(Board::Pc)
}

/// Whether the shell loads the driver before it starts the boot loader.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    Loaded,
    Absent,
}

/// Returns a machine with a disk of these lines for the shell, and of the driver and the boot
/// loader.
fn with_disk(guests: &Guests, machine: &Machine, lines: &[&str], out: &Path) -> Result<Machine> {
    let folder = out.join("disk");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for name in ["virtgpu_handoff", "loader"] {
        let name = format!("{name}{}.efi", machine.board().suffix());
        fs::copy(guests.handoff().join(&name), folder.join(&name))
            .with_context(|| format!("no {name}: make handoff"))?;
    }
    fs::write(folder.join("startup.nsh"), lines.join("\r\n") + "\r\n")?;
    Ok(machine.clone().traced().disk(&folder))
}

/// Starts a machine whose boot loader is ready to end firmware.
fn start(guests: &Guests, machine: &Machine, driver: Driver, out: &Path) -> Result<Vm> {
    let suffix = machine.board().suffix();
    let load = match driver {
        Driver::Loaded => format!("load virtgpu_handoff{suffix}.efi"),
        Driver::Absent => String::new(),
    };
    let run = format!("loader{suffix}.efi {}", machine.words());
    let machine = with_disk(guests, machine, &["fs0:", &load, &run], out)?;
    let mut vm = machine.start(out)?;
    ready(&mut vm)?;
    Ok(vm)
}

/// Waits until the boot loader is ready, and does not let the shell wait.
fn ready(vm: &mut Vm) -> Result<()> {
    vm.wait_for_end(SHELL_WAITS)?;
    vm.send(" ")?;
    vm.wait_for_end(LOADER_READY)
}

/// Returns what is on the screen while firmware runs, and when it has ended.
fn across_exit(vm: &mut Vm) -> Result<[Picture; 2]> {
    let (_, before) = vm.screenshot("before.png", None)?;
    ensure!(!before.is_blank(), "firmware shows nothing");
    vm.send("\r")?;
    vm.wait_for_end(LOADER_ENDED)?;
    let (_, after) = vm.screenshot("after.png", None)?;
    vm.check_guest_errors()?;
    Ok([before, after])
}

/// Checks that the screen stays as it is, pixel for pixel, but for one moment.
fn stays(vm: &mut Vm) -> Result<String> {
    let [before, after] = across_exit(vm)?;
    if let Some((pixels, at)) = before.differs(&after) {
        bail!("{pixels} pixels are not as before, the first at {at:?}");
    }
    let pictures = vm.pictures()?;
    ensure!(
        matches!(pictures[..], [.., theirs, 0, RESOURCE] if theirs != 0),
        "the screen showed {pictures:x?}"
    );
    let table = Handoff::of(vm)?.context("there is no table")?;
    ensure!(table.flags == PICTURE | LIVE | ON_PCI, "{table:x?}");
    ensure!(table.resource == RESOURCE, "{table:x?}");
    ensure!(table.mark % 2 == 1, "{table:x?}");
    // EfiACPIReclaimMemory, EfiBootServicesData.
    ensure!(vm.serial_has("loader: kinds 0904\r")?, "kinds of memory");
    knows_no_memory(vm)?;
    table.check_picture(vm, &before)?;
    let (width, height) = (before.width, before.height);
    Ok(format!("{width}x{height} pixels are as before"))
}

/// What QEMU says of a queue that has no address.
const NO_PLACE: [&str; 3] = ["desc:", "avail:", "used:"];

/// Checks that the device knows no address of the guest's: none of its queues has an address, and
/// it has no bus.
fn knows_no_memory(vm: &mut Vm) -> Result<()> {
    for queue in 0..2 {
        let status = vm.gpu("virtio-queue-status", &queue.to_string())?;
        for what in NO_PLACE {
            let line = status
                .lines()
                .map(str::trim)
                .find(|line| line.starts_with(what));
            let (_, address) = line
                .and_then(|line| line.split_once("0x"))
                .with_context(|| format!("queue {queue}: no {what} in '{status}'"))?;
            ensure!(
                address.bytes().all(|digit| digit == b'0'),
                "queue {queue} is enabled: {status}"
            );
        }
    }
    // QEMU clears DRIVER_OK when bus mastering ends.
    let status = vm.gpu("virtio-status", "")?;
    ensure!(
        status.contains("FEATURES_OK") && !status.contains("DRIVER_OK"),
        "the device is a master of the bus: {status}"
    );
    Ok(())
}

fn keeps_picture(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start(guests, machine, Driver::Loaded, out)?;
    said(&vm, "goes on to the kernel")?;
    stays(&mut vm)
}

/// Returns the line of the driver's that holds `text`.
fn said(vm: &Vm, text: &str) -> Result<String> {
    let log = String::from_utf8_lossy(&vm.serial()?).into_owned();
    let line = log
        .lines()
        .find(|line| line.contains("virtgpu_handoff: ") && line.contains(text));
    let line = line.with_context(|| format!("the driver does not say '{text}'"))?;
    Ok(line.trim().to_owned())
}

/// Checks that the driver is loaded before there is a screen, as firmware's settings say.
fn driver_option(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let machine = with_driver_option(guests, machine, 1, out)?;
    let mut vm = start(guests, &machine, Driver::Absent, out)?;
    stays(&mut vm)
}

/// Checks that two copies are loaded before there is a screen: the second one does nothing.
fn two_copies(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let machine = with_driver_option(guests, machine, 2, out)?;
    let mut vm = start(guests, &machine, Driver::Absent, out)?;
    stays(&mut vm)
}

/// Checks that firmware's own driver leaves the device, with its screen, and takes it again.
fn reconnected(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    stays(&mut start_after(guests, machine, "reconnect", out)?)
}

/// Checks that nothing is handed over of a screen that was removed, and its memory is not used.
fn disconnected(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start_after(guests, machine, "disconnect", out)?;
    vm.send("\r")?;
    vm.wait_for_end(LOADER_ENDED)?;
    let table = Handoff::of(&vm)?;
    ensure!(
        table.as_ref().is_none_or(|table| table.flags == 0),
        "{table:x?}"
    );
    vm.check_guest_errors()?;
    Ok("nothing is handed over".into())
}

/// As [`start`], after the boot loader has done this once before.
fn start_after(guests: &Guests, machine: &Machine, first: &str, out: &Path) -> Result<Vm> {
    let suffix = machine.board().suffix();
    let lines = [
        "fs0:",
        &format!("load virtgpu_handoff{suffix}.efi"),
        &format!("loader{suffix}.efi {first} back"),
        &format!("loader{suffix}.efi"),
    ];
    let mut vm = with_disk(guests, machine, &lines, out)?.start(out)?;
    ready(&mut vm)?;
    said(&vm, "goes on to the kernel")?;
    Ok(vm)
}

/// How long the end of firmware may take at most, in nanoseconds, where the device does not answer:
/// what the driver waits for it, and what a busy host adds.
const PATIENCE: u64 = 5_000_000_000;

/// Checks that the device does not answer any more once firmware has reset it, and firmware comes
/// to its end.
fn dead(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start(guests, machine, Driver::Loaded, out)?;
    said(&vm, "goes on to the kernel")?;
    vm.send("\r")?;
    vm.wait_for_end(LOADER_ENDED)?;
    let table = Handoff::of(&vm)?;
    ensure!(
        table.as_ref().is_none_or(|table| table.flags & LIVE == 0),
        "{table:x?}"
    );
    let took = took(&vm)?;
    ensure!(took < PATIENCE, "firmware took {took} ns to end");
    Ok(format!("firmware takes {} ms to end", took / 1_000_000))
}

/// Returns how long firmware took to end, in nanoseconds.
fn took(vm: &Vm) -> Result<u64> {
    let log = String::from_utf8_lossy(&vm.serial()?).into_owned();
    let (_, rest) = log.split_once("loader: took 0x").context("no count")?;
    let (digits, _) = rest.split_once(' ').context("no count")?;
    u64::from_str_radix(digits, 16).context("no count")
}

/// Returns the machine with firmware that loads so many copies of the driver first, from its disk.
/// The kernel stays what it is.
fn with_driver_option(
    guests: &Guests,
    machine: &Machine,
    copies: usize,
    out: &Path,
) -> Result<Machine> {
    fs::create_dir_all(out)?;
    let variables = out.join("variables");
    let _ = fs::remove_file(&variables);
    let board = machine.board();
    let settings = Machine::bare(board).device(GPU).variables(&variables)?;
    let add = format!(
        "bcfg driver add 0 virtgpu_handoff{}.efi handoff",
        board.suffix()
    );
    let first = out.join("first");
    let mut lines = vec!["fs0:"];
    lines.resize(1 + copies, &add);
    lines.push("reset -s");
    let mut vm = with_disk(guests, &settings, &lines, &first)?.start(&first)?;
    vm.wait_for_end(SHELL_WAITS)?;
    vm.send(" ")?;
    vm.wait_end()?;
    machine.clone().variables(&variables)
}

/// The names of a kernel and its initramfs on a disk.
pub const FILES: [&str; 2] = ["image.efi", "initramfs.cpio"];

/// Moves a machine's kernel and its initramfs to its disk, where they have the names in [`FILES`];
/// `lines` tell the shell what to do about them.
pub fn with_kernel_on_disk(
    guests: &Guests,
    machine: &Machine,
    lines: &[&str],
    out: &Path,
) -> Result<Machine> {
    let mut machine = machine.clone();
    let files = machine.take_kernel()?;
    let machine = with_disk(guests, &machine, lines, out)?;
    for (file, name) in files.iter().zip(FILES) {
        fs::copy(file, out.join("disk").join(name))?;
    }
    Ok(machine)
}

/// Starts a machine whose shell loads the driver and then starts its kernel.
fn start_by_shell(guests: &Guests, machine: &Machine, out: &Path) -> Result<Vm> {
    let [image, initrd] = FILES;
    let load = format!("load virtgpu_handoff{}.efi", machine.board().suffix());
    let run = format!("{image} initrd={initrd} {}", machine.words());
    let machine = with_kernel_on_disk(guests, machine, &["fs0:", &load, &run], out)?;
    let mut vm = machine.start(out)?;
    vm.wait_for_end(SHELL_WAITS)?;
    vm.send(" ")?;
    Ok(vm)
}

/// Starts a machine whose firmware loads the driver, and then GRUB, which stands at its menu. Enter
/// on the serial port has it start the kernel.
pub fn start_by_grub(guests: &Guests, machine: &Machine, out: &Path) -> Result<Vm> {
    const TITLE: &str = "The kernel that the menu has";

    let machine = with_driver_option(guests, machine, 1, out)?;
    let [image, initrd] = FILES;
    // GRUB clears its menu when it starts an entry, and goes on at once when a key comes.
    let menu = format!(
        "set timeout=-1\nmenuentry '{TITLE}' {{\nlinux /{image} {}\ninitrd /{initrd}\n\
            echo 'GRUB: the last text before Linux'\nsleep --interruptible 60\n}}\n",
        // To GRUB, some letters are more than letters.
        machine
            .words()
            .split(' ')
            .map(|word| format!("'{word}'"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let machine = with_kernel_on_disk(guests, &machine, &[], out)?;
    let disk = out.join("disk");
    write(&disk.join(BOOTED), fs::read(GRUB).context(NO_LOADERS)?)?;
    write(&disk.join("EFI/debian/grub.cfg"), menu)?;
    let mut vm = machine.start(out)?;
    vm.wait_for_end(TITLE)?;
    Ok(vm)
}

/// Has GRUB start its entry, up to the last text before the kernel. Escape on the serial port ends
/// that.
pub fn start_entry(vm: &mut Vm) -> Result<()> {
    vm.send("\r")?;
    vm.wait_for_end("GRUB: the last text")
}

/// What firmware boots from a disk that it knows nothing of.
const BOOTED: &str = "EFI/BOOT/BOOTAA64.EFI";

/// Where `make vm-test` unpacks boot loaders.
const GRUB: &str = "build/loaders-arm64/usr/lib/grub/arm64-efi/monolithic/grubaa64.efi";

const SYSTEMD_BOOT: &str = "build/loaders-arm64/usr/lib/systemd/boot/efi/systemd-bootaa64.efi";

const NO_LOADERS: &str = "no boot loaders: 'make vm-test' gets them";

/// Writes a file, in folders that there may not be yet.
fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    fs::create_dir_all(path.parent().context("no folder")?)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Checks that systemd-boot loads the driver from its folder.
fn systemd_boot(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let (machine, _) = with_systemd_boot(guests, machine, out)?;
    let mut vm = machine.start(out)?;
    vm.wait_for_end(LOADER_READY)?;
    stays(&mut vm)
}

/// Returns a machine whose firmware starts systemd-boot, which loads the driver and starts the boot
/// loader that loads nothing, and what of that is on its disk, the driver last.
fn with_systemd_boot(
    guests: &Guests,
    machine: &Machine,
    out: &Path,
) -> Result<(Machine, [PathBuf; 3])> {
    let suffix = machine.board().suffix();
    let machine = with_disk(guests, machine, &[], out)?;
    let disk = out.join("disk");
    let name = format!("virtgpu_handoff{suffix}.efi");
    let driver = disk.join("EFI/systemd/drivers").join(&name);
    let boot = disk.join(BOOTED);
    write(&boot, fs::read(SYSTEMD_BOOT).context(NO_LOADERS)?)?;
    write(&driver, fs::read(disk.join(&name))?)?;
    write(&disk.join("loader/loader.conf"), "timeout 0\n")?;
    let entry = format!("title nothing\nefi /loader{suffix}.efi\n");
    write(&disk.join("loader/entries/nothing.conf"), entry)?;
    let loader = disk.join(format!("loader{suffix}.efi"));
    Ok((machine, [boot, loader, driver]))
}

/// Checks that with Secure Boot, the driver is loaded if it is signed, and only then.
fn secure_boot(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let start = |signed: usize, out: &Path| {
        let (machine, images) = with_systemd_boot(guests, machine, out)?;
        for image in &images[..signed] {
            sign(image, out)?;
        }
        let variables = out.join("variables");
        let _ = fs::remove_file(&variables);
        let mut vm = machine.secure_boot(&variables)?.start(out)?;
        vm.wait_for_end(LOADER_READY)?;
        anyhow::Ok(vm)
    };
    let unsigned = start(2, &out.join("unsigned"))?;
    ensure!(
        !unsigned.serial_has("virtgpu_handoff: ")?,
        "an unsigned driver is loaded"
    );
    drop(unsigned);
    stays(&mut start(3, out)?)
}

/// Signs an image with the key that everybody has.
fn sign(image: &Path, out: &Path) -> Result<()> {
    let key = out.join("key");
    let run = |program: &str, words: &[&OsStr]| {
        let output = Command::new(program).args(words).output();
        let output = output.with_context(|| format!("cannot run {program}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{program} says '{}'", said.trim());
        Ok(())
    };
    let [secret, certificate] = ["key", "pem"].map(|ending| format!("{SNAKE_OIL}.{ending}"));
    let unlock = ["pkey", "-passin", "pass:snakeoil", "-in", &secret, "-out"].map(OsStr::new);
    run("openssl", &[&unlock[..], &[key.as_os_str()]].concat())?;
    let image = image.as_os_str();
    let words = ["--cert", &certificate, "--key"].map(OsStr::new);
    let files = [key.as_os_str(), OsStr::new("--output"), image, image];
    run("sbsign", &[&words[..], &files].concat())
}

fn shell(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let vm = start_by_shell(guests, machine, out)?;
    goes_on(guests, vm, out)
}

fn grub(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start_by_grub(guests, machine, out)?;
    start_entry(&mut vm)?;
    vm.send("\x1b")?;
    goes_on(guests, vm, out)
}

/// Checks that the kernel has the EDID of a device that it has adopted from the driver.
fn has_edid(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start_by_shell(guests, machine, out)?;
    vm.wait_for(READY)?;
    ensure!(vm.serial_has(ADOPTED)?, "nobody says '{ADOPTED}'");
    let log = String::from_utf8_lossy(&vm.serial()?).into_owned();
    let edid = log.split_once("kms: info: edid ").map(|(_, edid)| edid);
    let edid = edid.and_then(|edid| edid.lines().next());
    let edid = edid.context("nobody tells of an EDID")?.trim();
    ensure!(edid.contains("bytes, hash "), "it is {edid}");
    vm.check()?;
    Ok(format!("the EDID of an adopted device: {edid}"))
}

/// Checks that the kernel boots and has its log on the screen, which keeps firmware's picture until
/// then but for one moment.
fn goes_on(guests: &Guests, mut vm: Vm, out: &Path) -> Result<String> {
    vm.wait_for(READY)?;
    let rows = guests.has_log_end(&mut vm, None, out)?;
    vm.check()?;
    let pictures = vm.pictures()?;
    ensure!(
        matches!(pictures[..], [.., theirs, 0, RESOURCE, ours] if theirs != 0 && ours != 0),
        "the screen showed {pictures:x?}"
    );
    Ok(format!("{}, no dark frame but firmware's", equal(rows)))
}

/// Checks that without the driver there is nothing on the screen: the test can fail.
fn without(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start(guests, machine, Driver::Absent, out)?;
    let [before, after] = across_exit(&mut vm)?;
    ensure!(before.differs(&after).is_some(), "firmware's screen stays");
    let pictures = vm.pictures()?;
    ensure!(
        pictures.last() == Some(&0),
        "the screen showed {pictures:x?}"
    );
    ensure!(Handoff::of(&vm)?.is_none(), "there is a table");
    Ok("the screen goes dark".into())
}

/// Checks that the picture alone is handed over, and the driver says why.
fn picture(guests: &Guests, machine: &Machine, why: &str, out: &Path) -> Result<String> {
    let mut vm = start(guests, machine, Driver::Loaded, out)?;
    said(&vm, "a picture of the screen goes on to the kernel")?;
    let line = said(&vm, why)?;
    let [before, _] = across_exit(&mut vm)?;
    let pictures = vm.pictures()?;
    ensure!(
        pictures.last() == Some(&0),
        "the screen showed {pictures:x?}"
    );
    let table = Handoff::of(&vm)?.context("there is no table")?;
    ensure!(table.flags & !ON_PCI == PICTURE, "{table:x?}");
    table.check_picture(&mut vm, &before)?;
    Ok(line)
}

/// Checks that nothing is kept of a mode that is larger than the memory taken, and the driver says
/// so.
fn too_large(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start(guests, machine, Driver::Loaded, out)?;
    let line = said(&vm, "too large")?;
    across_exit(&mut vm)?;
    ensure!(vm.pictures()?.last() == Some(&0), "the screen stays");
    ensure!(Handoff::of(&vm)?.is_none(), "there is a table");
    Ok(line)
}

/// Checks that a screen with a framebuffer is left alone.
fn framebuffer(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = start(guests, machine, Driver::Loaded, out)?;
    let line = said(&vm, "no screen without a framebuffer")?;
    let [before, after] = across_exit(&mut vm)?;
    ensure!(before.differs(&after).is_none(), "the screen has changed");
    ensure!(Handoff::of(&vm)?.is_none(), "there is a table");
    Ok(line)
}

/// Counts how many instructions the screen is dark for, at most: from before firmware resets the
/// device until it has ended, less what that takes without the driver.
fn dark(guests: &Guests, machine: &Machine, out: &Path) -> Result<String> {
    let count = |driver, name: &str| {
        let out = out.join(name);
        let mut vm = start(guests, machine, driver, &out)?;
        // The device's time is the host's: so slow, waiting for it takes few instructions.
        vm.human("one-insn-per-tb on")?;
        across_exit(&mut vm)?;
        took(&vm)
    };
    let with = count(Driver::Loaded, "with")?;
    let without = count(Driver::Absent, "without")?;
    ensure!(with > without, "{with} instructions, {without} without");
    ensure!(with < DARK, "{with} instructions");
    Ok(format!(
        "dark for at most {with} instructions, {} of them the driver's",
        with - without
    ))
}

/// Flags of the table's.
const PICTURE: u32 = 1;

const LIVE: u32 = 2;

const ON_PCI: u32 = 4;

/// The table, decoded by its offsets in drivers/firmware/handoff.rs.
#[derive(Debug)]
struct Handoff {
    flags: u32,
    resource: u32,
    width: usize,
    height: usize,
    pitch: usize,
    sum: u32,
    picture: u64,
    mark: u64,
}

impl Handoff {
    /// Returns the one that the boot loader has printed; none if all of it is zero.
    fn of(vm: &Vm) -> Result<Option<Self>> {
        let log = String::from_utf8_lossy(&vm.serial()?).into_owned();
        let Some((_, rest)) = log.split_once("loader: table ") else {
            return Ok(None);
        };
        let digits = rest.split_whitespace().next().unwrap_or_default();
        let bytes = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16))
            .collect::<Result<Vec<u8>, _>>()?;
        if bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        ensure!(bytes.len() == 72, "a table of {} bytes", bytes.len());
        ensure!(bytes.starts_with(b"virtgpu\0\x02\0\x48\0"), "{bytes:x?}");
        let sum = bytes.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
        ensure!(sum == 0, "the sum of {bytes:x?} is {sum}");
        let long = |at: usize| {
            let bytes = bytes[at..at + 8].try_into();
            u64::from_le_bytes(bytes.unwrap_or_default())
        };
        let word = |at| long(at) as u32;
        Ok(Some(Self {
            flags: word(12),
            resource: word(24),
            width: word(28) as usize,
            height: word(32) as usize,
            pitch: word(36) as usize,
            sum: word(40),
            picture: long(44),
            mark: long(52),
        }))
    }

    /// Checks that the picture in memory is this one.
    fn check_picture(&self, vm: &mut Vm, picture: &Picture) -> Result<()> {
        let (width, height) = (picture.width, picture.height);
        ensure!((self.width, self.height) == (width, height), "{self:x?}");
        let memory = vm.memory(self.picture, (self.pitch * height) as u64)?;
        let mut sum = 0u32;
        for y in 0..height {
            for x in 0..width {
                let at = y * self.pitch + 4 * x;
                let bytes = memory[at..at + 4].try_into();
                let pixel = u32::from_le_bytes(bytes.unwrap_or_default());
                ensure!(
                    pixel & 0xff_ffff == picture.at(x, y),
                    "the picture in memory differs at {x},{y}"
                );
                sum = sum.rotate_left(1).wrapping_add(pixel);
            }
        }
        ensure!(sum == self.sum, "the sum is {sum:#x}: {self:x?}");
        Ok(())
    }
}
