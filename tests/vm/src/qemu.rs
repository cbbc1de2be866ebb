// SPDX-License-Identifier: GPL-2.0

//! A virtual machine: QEMU's arguments, its process, its monitor (QMP) and its serial port.

use crate::screen::Picture;
use anyhow::{bail, ensure, Context, Result};
use qapi::{qmp, Qmp, Stream};
use std::{
    fs::{self, File},
    io::BufReader,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// EDK2 for QEMU's virt machine, as Debian's qemu-efi-aarch64 installs it.
const FIRMWARE: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";

/// How long the monitor may take for an answer, and a guest for what it is waited for: far longer
/// than a busy host needs, as the limit is there for what hangs.
const LIMIT: Duration = Duration::from_secs(90);

/// Has the whole log on the serial port. Where there is a boot console, the console that is
/// preferred, the last one named, begins with the next line only: let that be one that never comes.
const SERIAL: &str = "console=ttyAMA0 console=nowhere";

/// What Linux' own driver does to QEMU's virtio-mmio, which has no shared memory regions to select.
const NOT_OURS: &str = "virtio_mmio_write: bad register offset (0xac)";

/// How the kernel's reports of its own faults begin.
const REPORTS: &[&str] = &[
    "panicked at",
    "BUG: ",
    "WARNING: ",
    "Internal error",
    "Kernel panic",
    "Call trace:",
    "INFO: ",
];

/// A machine to be started.
#[derive(Clone)]
pub struct Machine {
    image: PathBuf,
    initrd: Option<PathBuf>,
    firmware: bool,
    display: &'static str,
    options: Vec<String>,
    append: Vec<String>,
}

impl Machine {
    /// A machine that starts `image` under UEFI firmware, with a serial port and no display.
    pub fn new(image: &Path) -> Self {
        Self {
            image: image.to_owned(),
            initrd: None,
            firmware: true,
            display: "none",
            options: Vec::new(),
            append: SERIAL.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// Starts the kernel without firmware, with a device tree.
    pub fn direct(mut self) -> Self {
        self.firmware = false;
        self
    }

    /// Gives the guest an initramfs.
    pub fn initrd(mut self, path: &Path) -> Self {
        self.initrd = Some(path.to_owned());
        self
    }

    /// Opens a window for the guest's screen.
    pub fn window(mut self, display: &'static str) -> Self {
        self.display = display;
        self
    }

    /// Adds an option of QEMU's and its value.
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.options.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a device.
    pub fn device(self, device: &str) -> Self {
        self.option("-device", device)
    }

    /// Adds words to the kernel's command line.
    pub fn append(mut self, words: &str) -> Self {
        self.append
            .extend(words.split_whitespace().map(str::to_owned));
        self
    }

    /// Starts the machine; its logs, its monitor and its screenshots go to `out`.
    pub fn start(&self, out: &Path) -> Result<Vm> {
        fs::create_dir_all(out)?;
        let [serial, qemu, errors, socket] =
            ["serial.log", "qemu.log", "qemu.err", "monitor"].map(|name| out.join(name));
        for stale in [&serial, &qemu, &socket] {
            let _ = fs::remove_file(stale);
        }
        // The kernel kills QEMU should this program die first.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-aarch64"]);
        command.args([
            "-machine",
            "virt",
            "-cpu",
            "cortex-a57",
            "-accel",
            "tcg",
            "-smp",
            "2",
        ]);
        command.args([
            "-m",
            "512M",
            "-nodefaults",
            "-no-reboot",
            "-display",
            self.display,
        ]);
        command.args(["-d", "guest_errors", "-D"]).arg(&qemu);
        command
            .arg("-serial")
            .arg(format!("file:{}", serial.display()));
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()));
        if self.firmware {
            command.args(["-bios", FIRMWARE]);
        }
        command
            .arg("-kernel")
            .arg(&self.image)
            .args(["-append", &self.append.join(" ")]);
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(&self.options);
        fs::write(out.join("command"), format!("{command:?}\n"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors)?);
        let child = command.spawn().context("cannot run qemu-system-aarch64")?;
        let mut vm = Vm {
            child,
            monitor: None,
            out: out.to_owned(),
            started: Instant::now(),
        };
        let stream = vm.wait("QEMU's monitor", LIMIT, |_| {
            Ok(UnixStream::connect(&socket).ok())
        })?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut monitor = Qmp::new(Stream::new(BufReader::new(stream.try_clone()?), stream));
        monitor
            .handshake()
            .with_context(|| format!("QEMU says '{}'", vm.complaints()))?;
        vm.monitor = Some(monitor);
        Ok(vm)
    }
}

/// A running machine. It is killed when dropped.
pub struct Vm {
    child: Child,
    monitor: Option<Qmp<Stream<BufReader<UnixStream>, UnixStream>>>,
    out: PathBuf,
    started: Instant,
}

impl Drop for Vm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Vm {
    /// The time since the machine was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Calls `poll` until it has something, QEMU ends, or `limit` is over.
    pub fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut poll: impl FnMut(&mut Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait()?;
            if let Some(found) = poll(self)? {
                return Ok(found);
            }
            if let Some(status) = ended {
                bail!("QEMU ended ({status}) before {what}: {}", self.complaints());
            }
            ensure!(
                Instant::now() < deadline,
                "no sign of {what} in {} s; the log ends with:\n{}",
                limit.as_secs(),
                self.last_lines(5)?
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for `text` on the serial port, or for the kernel's death.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        self.wait(&format!("'{text}' on the serial port"), LIMIT, |vm| {
            let found = vm.serial_has(text)?;
            if !found && vm.serial_has("---[ end Kernel panic")? {
                vm.check_kernel()?;
            }
            Ok(found.then_some(()))
        })
    }

    /// Waits until the machine is off.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        self.wait("the guest's end", LIMIT * 2, |vm| {
            Ok(vm.child.try_wait()?)
        })
    }

    /// Waits, without a limit, until somebody closes the machine's window.
    pub fn wait_closed(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// What QEMU itself has to complain about.
    fn complaints(&self) -> String {
        fs::read_to_string(self.out.join("qemu.err"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// What the serial port got so far.
    pub fn serial(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.out.join("serial.log")).unwrap_or_default())
    }

    /// Whether `text` was seen on the serial port.
    pub fn serial_has(&self, text: &str) -> Result<bool> {
        Ok(String::from_utf8_lossy(&self.serial()?).contains(text))
    }

    fn last_lines(&self, count: usize) -> Result<String> {
        let serial = self.serial()?;
        let text = String::from_utf8_lossy(&serial);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(count)..].join("\n"))
    }

    /// Takes a screenshot of the display, or of the one of the device with that id.
    pub fn screenshot(&mut self, name: &str, device: Option<&str>) -> Result<(PathBuf, Picture)> {
        let path = self.out.join(name);
        let command = qmp::screendump {
            filename: path.display().to_string(),
            device: device.map(str::to_owned),
            head: device.map(|_| 0),
            format: Some(qmp::ImageFormat::png),
        };
        self.monitor()?
            .execute(&command)
            .context("QMP screendump")?;
        let picture = Picture::read(&path)?;
        Ok((path, picture))
    }

    fn monitor(&mut self) -> Result<&mut Qmp<Stream<BufReader<UnixStream>, UnixStream>>> {
        self.monitor.as_mut().context("no monitor")
    }

    /// Fails with what QEMU has to say about the guest's use of virtio, if anything.
    pub fn check_guest_errors(&self) -> Result<()> {
        for path in ["qemu.log", "qemu.err"].map(|name| self.out.join(name)) {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let about = |line: &&str| line.to_lowercase().contains("virtio") && *line != NOT_OURS;
            if let Some(line) = log.lines().find(about) {
                bail!("QEMU says '{line}' ({})", path.display());
            }
        }
        Ok(())
    }

    /// Fails with the first line in which the kernel reports a fault, or init that it failed.
    pub fn check_kernel(&self) -> Result<()> {
        let serial = self.serial()?;
        let log = String::from_utf8_lossy(&serial);
        let bad = |line: &&str| {
            REPORTS.iter().any(|report| line.contains(report))
                || (line.contains("] vm: ") && line.ends_with(" failed"))
        };
        if let Some(line) = log.lines().find(bad) {
            bail!(
                "the guest says '{}', see {}",
                line.trim(),
                self.out.join("serial.log").display()
            );
        }
        Ok(())
    }
}
