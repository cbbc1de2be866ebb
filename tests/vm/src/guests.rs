// SPDX-License-Identifier: GPL-2.0

//! What every test of a guest's screen needs: kernels, fonts and initramfs, and comparing the
//! screen until it is right.

use crate::{
    config::Need,
    font::Fonts,
    initramfs, log,
    qemu::{Board, Machine, Vm},
    screen::{Picture, Screen},
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What init says when it has run all its commands.
pub const READY: &str = "vm: ready";

/// QEMU's GPU on PCI.
pub const GPU: &str = "virtio-gpu-pci";

/// How long the firmware and the kernel may take to show text, on a busy host.
pub const TIME_FOR_TEXT: Duration = Duration::from_secs(180);

/// How long a screen that differs from the log must stay as it is to be called wrong.
const PATIENCE: Duration = Duration::from_secs(6);

/// Kernels and what goes with them.
pub struct Guests {
    /// The guest's fonts.
    pub fonts: Fonts,
    kernels: Kernels,
    initrd: PathBuf,
    sample: PathBuf,
    handoff: PathBuf,
    /// Debian's own initramfs, and the disk that it opens.
    debian: [PathBuf; 2],
    session: PathBuf,
    /// A disk with a whole Debian system.
    system: PathBuf,
}

/// Kernels of one version.
pub struct Kernels {
    /// With the driver built in, as the native one is.
    pub image: PathBuf,
    /// The same without the driver.
    pub plain: PathBuf,
    /// The driver as modules, for that one.
    pub plain_modules: Vec<PathBuf>,
    /// With the driver built in, and the native one as modules.
    pub modular: PathBuf,
    /// What `console=` calls the driver's screen: `tty0`, where there are virtual terminals.
    pub console: String,
}

impl Kernels {
    /// One with the driver for all, whose screen is `tty0`'s.
    pub fn all(image: &Path) -> Self {
        Self {
            image: image.to_owned(),
            plain: image.to_owned(),
            plain_modules: Vec::new(),
            modular: image.to_owned(),
            console: "tty0".into(),
        }
    }
}

impl Guests {
    /// Returns the machines of `kernels`; `modules` and `programs` go to the initramfs, which is
    /// written to `out`.
    pub fn new(
        kernels: Kernels,
        modules: &[PathBuf],
        programs: &[PathBuf],
        kernel_source: &Path,
        out: &Path,
    ) -> Result<Self> {
        for image in [&kernels.image, &kernels.plain, &kernels.modular] {
            ensure!(image.exists(), "no kernel image {}", image.display());
        }
        fs::create_dir_all(out)?;
        let initrd = out.join("initramfs.cpio");
        let fonts = Fonts::read(kernel_source)?;
        initramfs::write(&initrd, modules, &kernels.plain_modules, programs, &fonts)?;
        let sample = out.join("sample.cpio");
        initramfs::write_sample(&sample)?;
        Ok(Self {
            fonts,
            kernels,
            initrd,
            sample,
            handoff: PathBuf::new(),
            debian: Default::default(),
            session: PathBuf::new(),
            system: PathBuf::new(),
        })
    }

    /// Returns machines that cannot be started, for lists of cases.
    pub fn unbuilt(console: &str) -> Self {
        let kernels = Kernels {
            console: console.into(),
            ..Kernels::all(Path::new("Image"))
        };
        Self {
            fonts: Fonts::none(),
            kernels,
            initrd: PathBuf::new(),
            sample: PathBuf::new(),
            handoff: PathBuf::new(),
            debian: Default::default(),
            session: PathBuf::new(),
            system: PathBuf::new(),
        }
    }

    /// Returns machines that start from a disk with a whole Debian system, whose kernel has the
    /// fonts of `kernel_source`.
    pub fn of_disk(disk: &Path, kernel_source: &Path) -> Result<Self> {
        Ok(Self {
            fonts: Fonts::read(kernel_source)?,
            system: disk.to_owned(),
            ..Self::unbuilt("tty0")
        })
    }

    /// Returns a machine that starts from that disk, as its user does; with these words for the
    /// kernel.
    pub fn system(&self, words: &str) -> Machine {
        let drive = format!(
            "if=none,id=system,format=raw,snapshot=on,file={}",
            self.system.display()
        );
        Machine::bare(Board::Virt)
            .append(words)
            .option("-m", "2G")
            .option("-drive", &drive)
            .device("virtio-blk-pci,drive=system")
            .device("qemu-xhci")
            .device("usb-kbd")
            .device(GPU)
    }

    /// With Debian's own initramfs, and the disk that this opens, of `folder`; with these modules.
    pub fn with_debian(self, folder: &Path, modules: &[PathBuf]) -> Result<Self> {
        let initramfs = self.initrd.with_file_name("debian.cpio");
        initramfs::write_debian(&initramfs, &folder.join("initramfs"), modules)?;
        let debian = [initramfs, folder.join("disk")];
        Ok(Self { debian, ..self })
    }

    /// With the sample's graphical session, which is in that file.
    pub fn with_session(self, packed: &Path) -> Result<Self> {
        let session = self.initrd.with_file_name("session.cpio");
        initramfs::write_session(&session, packed, &self.fonts)?;
        Ok(Self { session, ..self })
    }

    /// With the UEFI driver in that folder.
    pub fn with_handoff(self, folder: &Path) -> Self {
        Self {
            handoff: folder.to_owned(),
            ..self
        }
    }

    /// Where the UEFI driver is.
    pub fn handoff(&self) -> &Path {
        &self.handoff
    }

    fn guest(&self, image: &Path) -> Machine {
        let quiet = "printk.devkmsg=on kunit.enable=0 vt.global_cursor_default=0";
        Machine::new(image).initrd(&self.initrd).append(quiet)
    }

    /// Returns a guest without the driver.
    pub fn plain(&self) -> Machine {
        self.guest(&self.kernels.plain).needing(Need::Modules)
    }

    /// Returns a guest with the driver.
    pub fn image(&self) -> Machine {
        self.guest(&self.kernels.image)
    }

    /// Returns a guest with the driver, and the native one as modules.
    pub fn modular(&self) -> Machine {
        self.guest(&self.kernels.modular)
            .needing(Need::NativeModules)
    }

    /// Returns a guest with the driver and the native one as modules, none of which is loaded, that
    /// runs the sample's init.
    pub fn sample(&self) -> Machine {
        self.modular().initrd(&self.sample)
    }

    /// Returns a guest with the driver, and the native one as modules, that runs Debian's own
    /// initramfs, which opens a disk. No word names a console.
    pub fn debian(&self) -> Machine {
        self.debian_on(&self.kernels.modular)
            .needing(Need::NativeModules)
    }

    /// Returns the same with the native driver built in, and our KMS driver.
    pub fn debian_with_drm(&self) -> Machine {
        self.debian_on(&self.kernels.image)
            .needing(Need::NativeBuiltIn)
            .needing(Need::Kms)
    }

    fn debian_on(&self, image: &Path) -> Machine {
        let [initramfs, disk] = &self.debian;
        let drive = format!(
            "if=none,id=disk,format=raw,snapshot=on,file={}",
            disk.display()
        );
        Machine::new(image)
            .without("console=ttyAMA0")
            .without("console=nowhere")
            .initrd(initramfs)
            .append("kunit.enable=0 boot=vm")
            .option("-drive", &drive)
            .device("virtio-blk-pci,drive=disk")
            .needing(Need::Crypt)
    }

    /// Returns a guest with the driver, whose device no other driver gets, that runs the sample's
    /// graphical session.
    pub fn session(&self, what: &str) -> Machine {
        (self.image().needing(Need::Kms).needing(Need::Evdev))
            .initrd(&self.session)
            .append(&format!("console=tty0 nomodeset session=\"{what}\""))
            .option("-m", "1G")
    }

    /// Returns the same with the native driver built in, which gets the device.
    pub fn sample_on_native(&self) -> Machine {
        let native = self.image().needing(Need::NativeBuiltIn);
        native.initrd(&self.sample)
    }

    /// Has the sample start the kernel with the driver, from disks, as the next one.
    pub fn next_kernel(&self, machine: Machine) -> Machine {
        let machine = machine
            .append("console=tty0 rdinit=/kexec")
            .needing(Need::Kexec)
            .option("-m", "1G");
        let next = [&self.kernels.image, &self.initrd];
        next.iter()
            .zip(["image", "initrd"])
            .fold(machine, |machine, (path, id)| {
                let drive = format!(
                    "if=none,id={id},format=raw,readonly=on,file={}",
                    path.display()
                );
                machine
                    .option("-drive", &drive)
                    .device(&format!("virtio-blk-pci,drive={id}"))
            })
    }

    /// Has a machine run the init of the cases, with its programs.
    pub fn with_programs(&self, machine: Machine) -> Machine {
        machine.initrd(&self.initrd)
    }

    /// Returns the kernel without the driver.
    pub fn plain_image(&self) -> &Path {
        &self.kernels.plain
    }

    /// Returns a guest with the driver as its early console, which stays, and so does the device.
    pub fn early(&self) -> Machine {
        self.early_with("earlycon=virtgpu")
    }

    /// Returns the same, with other words for `earlycon=virtgpu`.
    pub fn early_with(&self, words: &str) -> Machine {
        let alone = "keep_bootcon virtgpu_bridge.handover=never";
        self.guest(&self.kernels.image).append(words).append(alone)
    }

    /// Returns a guest whose log goes to the VT, on the driver's screen for good.
    pub fn vt(&self) -> Machine {
        self.log_on_screen().append("virtgpu_bridge.handover=never")
    }

    /// Returns a guest whose log goes to the screen, ours or the native driver's.
    pub fn log_on_screen(&self) -> Machine {
        self.image()
            .append(&format!("console={}", self.kernels.console))
    }

    /// Returns a guest with the driver, whose early console stays, and the kernel's own drivers,
    /// which take the device when their time comes.
    pub fn shared(&self) -> Machine {
        self.guest(&self.kernels.image)
            .append("earlycon=virtgpu keep_bootcon")
    }

    /// Boots to init and compares the screen, of the device with that id if there is one, with the
    /// log; gives the number of rows, all of them equal.
    pub fn same_text(
        &self,
        machine: &Machine,
        device: Option<&str>,
        out: &Path,
    ) -> Result<(Vm, usize)> {
        let mut vm = machine.start(out)?;
        let rows = self.has_same_text(&mut vm, device, out)?;
        Ok((vm, rows))
    }

    /// Checks the same of a machine that was started.
    pub fn has_same_text(&self, vm: &mut Vm, device: Option<&str>, out: &Path) -> Result<usize> {
        vm.wait_for(READY)?;
        vm.check_kernel()?;
        let rows = self.has_log_end(vm, device, out)?;
        vm.check()?;
        Ok(rows)
    }

    /// Waits until the screen has the end of the kernel's log. Returns the number of rows, all of
    /// them equal.
    pub fn has_log_end(&self, vm: &mut Vm, device: Option<&str>, out: &Path) -> Result<usize> {
        self.wait_for_screen(vm, device, out, |screen, vm| {
            log::compare_tail(screen, log::kernel_part(&vm.serial()?))
        })
    }

    /// Waits until all of `words` are on the screen, which is left in `screen.txt`.
    pub fn wait_for_words(&self, vm: &mut Vm, words: &[&str], out: &Path) -> Result<String> {
        vm.wait(&format!("{words:?} on the screen"), TIME_FOR_TEXT, |vm| {
            let (_, picture) = vm.screenshot("screen.png", None)?;
            let text = Screen::read(&picture, &self.fonts).text();
            fs::write(out.join("screen.txt"), &text)?;
            Ok(words.iter().all(|word| text.contains(word)).then_some(text))
        })
    }

    /// Takes screenshots until one is as `compare` wants it, or until they stay as they are.
    pub fn wait_for_screen<T>(
        &self,
        vm: &mut Vm,
        device: Option<&str>,
        out: &Path,
        compare: impl Fn(&Screen, &Vm) -> Result<T>,
    ) -> Result<T> {
        let display = device.map(|device| (device, 0));
        let read = |picture: &_| Ok(Screen::read(picture, &self.fonts));
        self.wait_for_screen_of(vm, display, out, read, compare)
    }

    /// Does the same with one of the device's displays; `read` reads its screenshot.
    pub fn wait_for_screen_of<T>(
        &self,
        vm: &mut Vm,
        display: Option<(&str, i64)>,
        out: &Path,
        read: impl Fn(&Picture) -> Result<Screen>,
        compare: impl Fn(&Screen, &Vm) -> Result<T>,
    ) -> Result<T> {
        let name = match display {
            Some((_, scanout)) if scanout != 0 => format!("screen-{scanout}"),
            _ => "screen".into(),
        };
        let mut before = None;
        let mut since = Instant::now();
        loop {
            let (path, picture) = vm.screenshot_of(&format!("{name}.png"), display)?;
            let result = read(&picture).and_then(|screen| {
                fs::write(out.join(format!("{name}.txt")), screen.text())?;
                match screen.unreadable() {
                    _ if picture.is_blank() => bail_blank(picture.width, picture.height),
                    0 => compare(&screen, vm),
                    bad => compare(&screen, vm).with_context(|| format!("{bad} cells are no text")),
                }
            });
            let now = Some((picture, vm.serial()?.len()));
            if now != before {
                (before, since) = (now, Instant::now());
            }
            match result {
                Err(error) if since.elapsed() > PATIENCE => {
                    return Err(error.context(format!(
                        "the screen is not as it should be, see {}",
                        path.display()
                    )))
                }
                Err(_) => thread::sleep(Duration::from_millis(200)),
                Ok(found) => return Ok(found),
            }
        }
    }
}

fn bail_blank<T>(width: usize, height: usize) -> Result<T> {
    bail!("the screen is blank ({width}x{height})")
}

/// Returns the lines of a log in which the driver speaks.
pub fn driver_lines(serial: &[u8]) -> Vec<String> {
    let log = String::from_utf8_lossy(serial);
    log.lines()
        .filter(|line| line.contains("virtgpu_bridge: "))
        .map(str::to_owned)
        .collect()
}
