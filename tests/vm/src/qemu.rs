// SPDX-License-Identifier: GPL-2.0

//! A virtual machine: QEMU's arguments, its process, its monitor (QMP) and its serial port.

use crate::{
    config::Need,
    log,
    process::{self, Process},
    screen::Picture,
    window::Window,
};
use anyhow::{bail, ensure, Context, Result};
use qapi::{qmp, Qmp, Stream};
use serde_json::json;
use std::{
    collections::HashSet,
    fmt,
    fs::{self, File},
    io::{self, BufReader, Write},
    iter,
    net::TcpListener,
    ops::Range,
    os::unix::{fs::FileExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

/// EDK2 for QEMU's virt machine, as Debian's qemu-efi-aarch64 installs it.
const FIRMWARE: &str = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd";

/// What EDK2 is in a machine with flash memory: its code, and its variables as they are at first.
const FLASH: [[&str; 2]; 2] = [
    [
        "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ],
    [
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ],
];

/// U-Boot for the virt machine, as Debian's u-boot-qemu installs it.
const U_BOOT: &str = "/usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// What U-Boot says when it waits for commands.
const PROMPT: &str = "\n=> ";

/// QEMU's GPU in a process of its own, as Debian's qemu-system-common installs it.
const GPU_PROCESS: &str = "/usr/lib/qemu/vhost-user-gpu";
/// The memory of a machine that has one.
const GPU_PROCESS_MEMORY: &str = "1G";

/// How long the monitor may take for an answer, and a guest for what it is waited for: far longer
/// than a busy host needs, as the limit is for what never ends.
pub const LIMIT: Duration = Duration::from_secs(300);

/// The ports of VNC's displays, which begin with 0.
const VNC_PORTS: Range<u16> = 5900..6000;

/// Has the whole log on the serial port. Where there is a boot console, the console that is
/// preferred, the last one named, begins with the next line only: let that be one that never comes.
const SERIAL: &str = "console=ttyAMA0 console=nowhere";

/// What Linux' own drivers do: to QEMU's virtio-mmio, which has no shared memory regions to select,
/// and to its keyboard, which has no repetition.
const NOT_OURS: [&str; 2] = [
    "virtio_mmio_write: bad register offset (0xac)",
    "virtio_input_hid_handle_status: unknown type 20",
];

/// What QEMU says when our driver asks whether the device is QEMU's, and it is: SET_SCANOUT of 1x1
/// px is refused.
const ASKED: [&str; 2] = ["illegal scanout ", "rect (0,0)+1,1"];
/// The same as a trace event.
const ASKS: &str = ", w 1, h 1, ";

/// Where virtio_gpu complains when it is taken from a device on whose screen fbcon has just
/// printed: it does not wait for the answers to its last commands; and when it gives up a device
/// that does not answer.
const THEIRS: [&str; 2] = ["at drm_mm_takedown", "kmem_cache_destroy virtio-gpu-vbufs"];

/// QEMU's trace events of a status that is written, of a scanout that is set, and of a surface that
/// is made for the words that stand where there is no picture.
const TRACED: [&str; 3] = [
    "virtio_set_status",
    "virtio_gpu_cmd_set_scanout",
    "displaysurface_create",
];

/// How often a device that was up was reset, and how often a scanout began to show another picture.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub resets: usize,
    pub mode_sets: usize,
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} resets, {} mode sets", self.resets, self.mode_sets)
    }
}

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

/// How those begin that a dying kernel may not make either, as they have nothing to do with its
/// crash.
const FAULTS: &[&str] = &[
    "panicked at",
    "BUG: KASAN",
    "BUG: KCSAN",
    "UBSAN: ",
    "BUG: sleeping function",
    "BUG: Invalid wait context",
    "possible circular locking",
    "possible recursive locking",
    "inconsistent lock state",
];

/// Flash memory of the virt machine, with Secure Boot and a key that everybody has, and the paths
/// of that key and its certificate without their suffixes.
const SECURE_FLASH: [&str; 2] = [
    "/usr/share/AAVMF/AAVMF_CODE.snakeoil.fd",
    "/usr/share/AAVMF/AAVMF_VARS.snakeoil.fd",
];
pub const SNAKE_OIL: &str = "/usr/share/qemu-efi-aarch64/PkKek-1-snakeoil";

/// What the machine is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// QEMU's virt machine for arm64.
    Virt,
    /// A PC of x86_64.
    Pc,
}

impl Board {
    /// Returns what UEFI calls its processor, in names of files.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Virt => "aa64",
            Self::Pc => "x64",
        }
    }

    /// Firmware's code and variables.
    fn flash(self) -> [&'static str; 2] {
        let [virt, pc] = FLASH;
        match self {
            Self::Virt => virt,
            Self::Pc => pc,
        }
    }
}

/// A machine to be started.
#[derive(Clone)]
pub struct Machine {
    board: Board,
    /// The kernel, if it is not on a disk.
    image: Option<PathBuf>,
    initrd: Option<PathBuf>,
    firmware: bool,
    display: &'static str,
    /// Whether the display is a window that is drawn with OpenGL, on an X server of its own.
    gl: bool,
    /// Whether the screen can be seen live, through VNC.
    live: bool,
    /// Whether there is a GPU in a process of its own.
    gpu_process: bool,
    options: Vec<String>,
    append: Vec<String>,
    /// What the machine's kernel needs, besides what its devices say.
    needs: Vec<Need>,
}

/// The devices that need a driver of the kernel's other than those that are tested.
const DRIVERS: [(&str, Need); 5] = [
    ("virtio-keyboard-pci", Need::Keyboard),
    ("virtio-serial-pci", Need::Hvc),
    ("virtio-blk-pci", Need::Disk),
    ("virtio-iommu-pci", Need::Iommu),
    ("iommu=smmuv3", Need::Iommu),
];

impl Machine {
    /// Returns a machine that starts `image` under UEFI firmware, with a serial port and no
    /// display.
    pub fn new(image: &Path) -> Self {
        Self {
            image: Some(image.to_owned()),
            append: SERIAL.split_whitespace().map(str::to_owned).collect(),
            ..Self::bare(Board::Virt)
        }
    }

    /// Returns a machine that has firmware and a serial port, and starts what firmware finds. Words
    /// for the kernel are kept for its disk.
    pub fn bare(board: Board) -> Self {
        Self {
            board,
            image: None,
            initrd: None,
            firmware: true,
            display: "none",
            gl: false,
            live: false,
            gpu_process: false,
            options: Vec::new(),
            append: Vec::new(),
            needs: Vec::new(),
        }
    }

    /// Declares what the machine's kernel needs.
    pub fn needing(mut self, need: Need) -> Self {
        self.needs.push(need);
        self
    }

    /// Returns what the machine's kernel needs. A machine that has no kernel needs nothing.
    pub fn needs(&self) -> Vec<Need> {
        if self.image.is_none() {
            return Vec::new();
        }
        let firmware = self.firmware.then_some(Need::Firmware);
        let drivers = DRIVERS.iter().filter(|(device, _)| {
            let is = |option: &String| option.split(',').next() == Some(device);
            self.options
                .iter()
                .any(|option| is(option) || option == device)
        });
        let mut needs = self.needs.clone();
        needs.extend(firmware);
        needs.extend(drivers.map(|&(_, need)| need));
        needs
    }

    /// Returns its board.
    pub fn board(&self) -> Board {
        self.board
    }

    /// Takes the kernel and the initramfs from QEMU's command line, for a disk.
    pub fn take_kernel(&mut self) -> Result<[PathBuf; 2]> {
        let image = self.image.take().context("no kernel")?;
        Ok([image, self.initrd.take().context("no initramfs")?])
    }

    /// Returns the words for the kernel.
    pub fn words(&self) -> String {
        self.append.join(" ")
    }

    /// Gives firmware a disk, with the files in `folder`.
    pub fn disk(self, folder: &Path) -> Self {
        let drive = format!("if=none,id=fat,format=raw,file=fat:rw:{}", folder.display());
        self.option("-drive", &drive)
            .device("virtio-blk-pci,drive=fat")
    }

    /// Has firmware keep its variables in `file`, which is written if there is none.
    pub fn variables(self, file: &Path) -> Result<Self> {
        let flash = self.board.flash();
        self.flash(flash, file)
    }

    /// Returns the same, on the virt machine, of firmware that starts only what the owner of
    /// [`SNAKE_OIL`] has signed.
    pub fn secure_boot(self, file: &Path) -> Result<Self> {
        self.flash(SECURE_FLASH, file)
    }

    fn flash(mut self, [code, variables]: [&str; 2], file: &Path) -> Result<Self> {
        if !file.exists() {
            fs::copy(variables, file)?;
        }
        self.firmware = false;
        Ok(self
            .option(
                "-drive",
                &format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"),
            )
            .option(
                "-drive",
                &format!("if=pflash,unit=1,format=raw,file={}", file.display()),
            ))
    }

    /// Has QEMU tell of each reset of a virtio device, and of each picture that a scanout shows.
    pub fn traced(self) -> Self {
        TRACED.iter().fold(self, |machine, event| {
            machine.option("-trace", &format!("enable={event}"))
        })
    }

    /// Starts another kernel.
    pub fn kernel(mut self, image: &Path) -> Self {
        self.image = Some(image.to_owned());
        self
    }

    /// Returns the value of a word of the kernel's command line that begins with `name`, the last
    /// one.
    pub fn word(&self, name: &str) -> Option<&str> {
        let words = self.append.iter().rev();
        words.filter_map(|word| word.strip_prefix(name)).next()
    }

    /// Starts the kernel without firmware, with a device tree.
    pub fn direct(mut self) -> Self {
        self.firmware = false;
        self
    }

    /// Starts U-Boot in the place of UEFI firmware. It starts the kernel by itself, with a device
    /// tree (`booti`); if there is none, it waits for [`Vm::u_boot`].
    pub fn u_boot(self) -> Self {
        self.direct().option("-bios", U_BOOT)
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

    /// Shows the screen of a GPU with OpenGL in a window, on an X server of its own. Screenshots
    /// are of that window.
    pub fn gl(mut self) -> Self {
        self.gl = true;
        self.window("sdl,gl=on")
    }

    /// Has [`Machine::start`] open a VNC server on a free port of this host, and print how to look
    /// at the screen. A screen with OpenGL is on its X server instead. The guest sees neither. QEMU
    /// cannot show the screen of [`Machine::gpu_process`] through VNC.
    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }

    /// Adds a GPU on PCI that runs in a process of its own (QEMU's vhost-user-gpu), which ends with
    /// the machine. The ID of the device is `gpu`.
    pub fn gpu_process(mut self) -> Self {
        self.gpu_process = true;
        self
    }

    /// Adds an option of QEMU's and its value.
    pub fn option(mut self, option: &str, value: &str) -> Self {
        self.options.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// Waits for [`Vm::go`] before the first instruction.
    pub fn paused(mut self) -> Self {
        self.options.push("-S".to_owned());
        self
    }

    /// Adds a device.
    pub fn device(self, device: &str) -> Self {
        self.option("-device", device)
    }

    /// Takes a word from the kernel's command line.
    pub fn without(mut self, word: &str) -> Self {
        self.append.retain(|each| each != word);
        self
    }

    /// Adds a word to the kernel's command line, before all others.
    pub fn first(mut self, word: &str) -> Self {
        self.append.insert(0, word.to_owned());
        self
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
        let [serial, line, qemu, errors, socket] =
            ["serial.log", "serial", "qemu.log", "qemu.err", "monitor"].map(|name| out.join(name));
        for stale in [&serial, &line, &qemu, &socket] {
            let _ = fs::remove_file(stale);
        }
        let mut command = process::command(match self.board {
            Board::Virt => "qemu-system-aarch64",
            Board::Pc => "qemu-system-x86_64",
        });
        command.args(match self.board {
            Board::Virt => ["-machine", "virt", "-cpu", self.cpu()?],
            Board::Pc => ["-machine", "q35", "-cpu", "qemu64"],
        });
        command.args(["-accel", "tcg", "-smp", "2"]);
        command.args([
            "-m",
            "512M",
            "-nodefaults",
            "-no-reboot",
            "-display",
            self.display,
        ]);
        command.args(["-d", "guest_errors", "-D"]).arg(&qemu);
        // The guest's output is kept; its input comes through the socket.
        command
            .arg("-chardev")
            .arg(format!(
                "socket,id=serial,path={},server=on,wait=off,logfile={},logappend=off",
                line.display(),
                serial.display()
            ))
            .args(["-serial", "chardev:serial"]);
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()));
        match self.board {
            Board::Virt if self.firmware => {
                command.args(["-bios", FIRMWARE]);
            }
            Board::Pc if self.firmware => {
                let [code, _] = self.board.flash();
                let drive = format!("if=pflash,format=raw,readonly=on,file={code}");
                command.args(["-drive", &drive]);
            }
            _ => {}
        }
        if let Some(image) = &self.image {
            command
                .arg("-kernel")
                .arg(image)
                .args(["-append", &self.words()]);
        }
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(&self.options);
        // QEMU itself would search for a free port, but says so where its complaints are.
        let live = match self.live && !self.gl && !self.gpu_process {
            true => Some(free_vnc_port()?),
            false => None,
        };
        if let Some(port) = live {
            let display = port - VNC_PORTS.start;
            let server = format!("127.0.0.1:{display},id=live,share=force-shared");
            command.args(["-vnc", &server]);
        }
        let gpu = match self.gpu_process {
            true => Some(start_gpu_process(&mut command, out)?),
            false => None,
        };
        let window = match self.gl {
            true => Some(Window::start(&out.join("xvfb.err"))?),
            false => None,
        };
        if let Some(window) = &window {
            window.receive(&mut command);
        }
        fs::write(out.join("command"), format!("{command:?}\n"))?;
        command.stdout(Stdio::null()).stderr(File::create(&errors)?);
        let child = command.spawn().context("cannot run QEMU")?;
        let mut vm = Vm {
            child,
            monitor: None,
            line: None,
            window,
            gpu,
            out: out.to_owned(),
            started: Instant::now(),
        };
        // An event may come before the greeting, which ends the handshake: then once more.
        let monitor = vm.wait("QEMU's monitor", LIMIT, |_| {
            let Ok(stream) = UnixStream::connect(&socket) else {
                return Ok(None);
            };
            stream.set_read_timeout(Some(LIMIT))?;
            let mut monitor = Qmp::new(Stream::new(BufReader::new(stream.try_clone()?), stream));
            Ok(monitor.handshake().is_ok().then_some(monitor))
        })?;
        vm.monitor = Some(monitor);
        vm.wait("QEMU's window", LIMIT, |vm| {
            let open = vm.window.as_ref().map_or(Ok(true), Window::is_open)?;
            Ok(open.then_some(()))
        })?;
        if self.live {
            let screen = match (live, &vm.window) {
                (Some(port), _) => format!("vncviewer -RemoteResize=0 localhost:{port}"),
                (_, Some(window)) => format!("it is on the X server {}", window.display()),
                _ => "not with a GPU that is a process; it leaves screenshots".into(),
            };
            println!("{}: to see the screen live: {screen}", out.display());
        }
        Ok(vm)
    }
}

/// Returns a port of this host that a VNC server may have, another one each time: machines start
/// side by side.
fn free_vnc_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(VNC_PORTS.start);

    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = || NEXT.fetch_add(1, Ordering::Relaxed);
    let mut ports = iter::repeat_with(ports).take_while(|port| VNC_PORTS.contains(port));
    ports.find(is_free).context("no free port")
}

impl Machine {
    /// Returns a CPU that has the pages of the kernel: those of 16 KiB are optional, and the
    /// image's header says whether it has them (Documentation/arch/arm64/booting.rst).
    fn cpu(&self) -> Result<&'static str> {
        const FLAGS: u64 = 24;
        const PAGES_16K: u8 = 2;
        let Some(image) = &self.image else {
            return Ok("cortex-a57");
        };
        let mut flags = [0];
        File::open(image)?.read_exact_at(&mut flags, FLAGS)?;
        Ok(match flags[0] >> 1 & 3 {
            PAGES_16K => "cortex-a76",
            _ => "cortex-a57",
        })
    }
}

/// Starts a GPU in a process of its own, and tells `command`, QEMU's, to connect to it. The process
/// reads the guest's memory, so that memory has to be shared.
fn start_gpu_process(command: &mut Command, out: &Path) -> Result<Process> {
    let socket = out.join("gpu");
    let _ = fs::remove_file(&socket);
    let mut gpu = process::command(GPU_PROCESS);
    gpu.arg("--socket-path")
        .arg(&socket)
        .stdout(Stdio::null())
        .stderr(File::create(out.join("gpu.err"))?);
    let gpu = Process::start(&mut gpu, GPU_PROCESS)?;
    let memory = format!("memory-backend-memfd,id=memory,share=on,size={GPU_PROCESS_MEMORY}");
    command
        .args(["-machine", "memory-backend=memory", "-object", &memory])
        .args(["-m", GPU_PROCESS_MEMORY])
        .arg("-chardev")
        .arg(format!("socket,id=gpu-process,path={}", socket.display()))
        .args(["-device", "vhost-user-gpu-pci,id=gpu,chardev=gpu-process"]);
    let deadline = Instant::now() + LIMIT;
    while !socket.exists() {
        ensure!(Instant::now() < deadline, "no socket of {GPU_PROCESS}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(gpu)
}

/// A running machine. It is killed when dropped.
pub struct Vm {
    child: Child,
    monitor: Option<Qmp<Stream<BufReader<UnixStream>, UnixStream>>>,
    line: Option<UnixStream>,
    window: Option<Window>,
    gpu: Option<Process>,
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
    /// Returns the time since the machine was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns the processor time that QEMU has taken.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, in parentheses, may hold anything; user and system time are numbers 14 and 15.
        let (_, words) = stat.rsplit_once(')').context("no name in stat")?;
        let ticks = words.split_whitespace().skip(11).take(2);
        let ticks = ticks
            .map(str::parse::<u64>)
            .sum::<std::result::Result<u64, _>>()?;
        // Programs see 100 ticks a second, however many Linux counts itself.
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Says a word to QEMU's monitor for people.
    pub fn human(&mut self, command_line: &str) -> Result<String> {
        let command = qmp::human_monitor_command {
            command_line: command_line.to_owned(),
            cpu_index: None,
        };
        let answer = self.monitor()?.execute(&command)?;
        ensure!(
            !answer.contains("unknown command"),
            "QEMU's monitor: {answer}"
        );
        Ok(answer)
    }

    /// Returns what QEMU's monitor says of the virtio-gpu, asked for with `info` and such a word.
    pub fn gpu(&mut self, what: &str, which: &str) -> Result<String> {
        let devices = self.human("info virtio")?;
        let gpu = devices.lines().find(|line| line.contains("virtio-gpu"));
        let path = gpu.and_then(|line| line.split_whitespace().next());
        let path = path.context("no virtio-gpu")?.trim_end_matches(':');
        self.human(&format!("info {what} {path} {which}"))
    }

    /// Lets a machine run that is [`Machine::paused`].
    pub fn go(&mut self) -> Result<()> {
        self.monitor()?.execute(&qmp::cont {})?;
        Ok(())
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

    /// Waits for `text`, with which a kernel ends, on the serial port.
    pub fn wait_for_end(&mut self, text: &str) -> Result<()> {
        self.wait(&format!("'{text}' on the serial port"), LIMIT, |vm| {
            Ok(vm.serial_has(text)?.then_some(()))
        })
    }

    /// Waits until the machine is off.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        self.wait("the guest's end", LIMIT * 2, |vm| {
            Ok(vm.child.try_wait()?)
        })
    }

    /// Waits, without a limit, until the machine's window is closed.
    pub fn wait_closed(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// Returns what QEMU itself has to complain about.
    fn complaints(&self) -> String {
        fs::read_to_string(self.out.join("qemu.err"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Returns what the serial port got so far, but for what its driver says twice.
    pub fn serial(&self) -> Result<Vec<u8>> {
        let said = fs::read(self.out.join("serial.log")).unwrap_or_default();
        Ok(log::without_replays(&said))
    }

    /// Returns whether `text` was seen on the serial port.
    pub fn serial_has(&self, text: &str) -> Result<bool> {
        Ok(String::from_utf8_lossy(&self.serial()?).contains(text))
    }

    fn last_lines(&self, count: usize) -> Result<String> {
        let serial = self.serial()?;
        let text = String::from_utf8_lossy(&serial);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(count)..].join("\n"))
    }

    /// Sends a signal to the process of the GPU.
    pub fn signal_gpu(&self, signal: &str) -> Result<()> {
        let gpu = self.gpu.as_ref().context("no process of a GPU's")?;
        let id = gpu.0.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status()?;
        ensure!(status.success(), "kill {signal}: {status}");
        Ok(())
    }

    /// Types on the serial port.
    pub fn send(&mut self, text: &str) -> Result<()> {
        if self.line.is_none() {
            let stream = UnixStream::connect(self.out.join("serial"))?;
            // What the guest says is in the log; here it would fill the socket.
            let mut said = stream.try_clone()?;
            thread::spawn(move || io::copy(&mut said, &mut io::sink()));
            self.line = Some(stream);
        }
        let line = self.line.as_mut().context("no serial port")?;
        line.write_all(text.as_bytes()).context("the serial port")
    }

    /// Types commands to U-Boot, each when the one before has ended. Does not wait for the last.
    pub fn u_boot(&mut self, commands: &[&str]) -> Result<()> {
        self.wait_for_end("Hit any key to stop autoboot")?;
        self.send(" ")?;
        for (ended, command) in commands.iter().enumerate() {
            self.wait("U-Boot's prompt", LIMIT, |vm| {
                let serial = vm.serial()?;
                let prompts = String::from_utf8_lossy(&serial).matches(PROMPT).count();
                Ok((prompts > ended).then_some(()))
            })?;
            self.send(command)?;
            self.send("\r")?;
        }
        Ok(())
    }

    /// Types on the keyboard: words of QEMU's key names, those of one word joined by `-`.
    pub fn press(&mut self, words: &str) -> Result<()> {
        for word in words.split_whitespace() {
            let key = |key: &str| json!({ "type": "qcode", "data": key });
            let keys = word
                .split('-')
                .map(|name| serde_json::from_value::<qmp::KeyValue>(key(name)));
            let command = qmp::send_key {
                keys: keys
                    .collect::<Result<_, serde_json::Error>>()
                    .with_context(|| format!("no keys: {word}"))?,
                hold_time: Some(20),
            };
            self.monitor()?.execute(&command).context("QMP send-key")?;
            // Keys that come faster than they are released would be pressed together.
            thread::sleep(Duration::from_millis(60));
        }
        Ok(())
    }

    /// Moves the pointer of a tablet to that place of a screen of that size, in pixels.
    pub fn point(&mut self, (x, y): (u32, u32), (width, height): (u32, u32)) -> Result<()> {
        // The upper end of QEMU's axes.
        const RANGE: u32 = 0x7fff;
        let axis = |axis: &str, pixel: u32, pixels: u32| {
            json!({ "type": "abs", "data": { "axis": axis,
            "value": (pixel * RANGE).div_ceil(pixels) } })
        };
        self.send_input(&[axis("x", x, width), axis("y", y, height)])
    }

    /// Presses a button of the mouse and releases it, that many times.
    pub fn click(&mut self, button: &str, times: u32) -> Result<()> {
        for is_down in [true, false].repeat(times as usize) {
            let data = json!({ "down": is_down, "button": button });
            self.send_input(&[json!({ "type": "btn", "data": data })])?;
            thread::sleep(Duration::from_millis(40));
        }
        Ok(())
    }

    fn send_input(&mut self, events: &[serde_json::Value]) -> Result<()> {
        let events = events.iter().cloned().map(serde_json::from_value);
        let command = qmp::input_send_event {
            device: None,
            head: None,
            events: events.collect::<Result<_, serde_json::Error>>()?,
        };
        let monitor = self.monitor()?;
        monitor.execute(&command).context("QMP input-send-event")?;
        Ok(())
    }

    /// Takes a screenshot of the display, or of the first one of the device with that id.
    pub fn screenshot(&mut self, name: &str, device: Option<&str>) -> Result<(PathBuf, Picture)> {
        self.screenshot_of(name, device.map(|device| (device, 0)))
    }

    /// Takes the same of one of the device's displays.
    pub fn screenshot_of(
        &mut self,
        name: &str,
        display: Option<(&str, i64)>,
    ) -> Result<(PathBuf, Picture)> {
        let path = self.out.join(name);
        if let Some(window) = &self.window {
            let picture = window.picture()?;
            picture.write(&path)?;
            return Ok((path, picture));
        }
        let command = qmp::screendump {
            filename: path.display().to_string(),
            device: display.map(|(device, _)| device.to_owned()),
            head: display.map(|(_, head)| head),
            format: Some(qmp::ImageFormat::png),
        };
        self.monitor()?
            .execute(&command)
            .context("QMP screendump")?;
        let picture = Picture::read(&path)?;
        Ok((path, picture))
    }

    /// Returns whether the machine runs, or is paused in the end.
    pub fn is_running(&mut self) -> Result<bool> {
        let status = self.monitor()?.execute(&qmp::query_status {});
        Ok(status.context("QMP query-status")?.running)
    }

    /// Reads the guest's memory from `address` on, while the guest stands still.
    pub fn memory(&mut self, address: u64, bytes: u64) -> Result<Vec<u8>> {
        let path = self.out.join("memory");
        let command = qmp::pmemsave {
            val: address,
            size: bytes,
            filename: path.display().to_string(),
        };
        let monitor = self.monitor()?;
        monitor.execute(&qmp::stop {}).context("QMP stop")?;
        monitor.execute(&command).context("QMP pmemsave")?;
        monitor.execute(&qmp::cont {}).context("QMP cont")?;
        let memory = fs::read(&path)?;
        fs::remove_file(&path)?;
        Ok(memory)
    }

    fn monitor(&mut self) -> Result<&mut Qmp<Stream<BufReader<UnixStream>, UnixStream>>> {
        self.monitor.as_mut().context("no monitor")
    }

    /// Returns what happened to the device of a machine that is [`Machine::traced`].
    pub fn events(&self) -> Result<Events> {
        let log = fs::read_to_string(self.out.join("qemu.log"))?;
        let mut events = Events::default();
        let (mut up, mut picture) = (false, None);
        for line in log.lines() {
            if line.starts_with(TRACED[0]) {
                let now = !line.ends_with(" val 0");
                if up && !now {
                    events.resets += 1;
                    picture = None;
                }
                up = now;
            } else if line.starts_with(TRACED[1]) && !line.contains(ASKS) {
                // The resource; panning shows the same one.
                let now = line.split_whitespace().nth(4).filter(|id| *id != "0x0,");
                if now.is_some() && now != picture {
                    events.mode_sets += 1;
                }
                picture = now;
            }
        }
        Ok(events)
    }

    /// Returns whether a device of such a machine's that was up was stopped without a reset: QEMU
    /// took DRIVER_OK from its status, 15, which then is 11.
    pub fn was_stopped(&self) -> Result<bool> {
        let log = fs::read_to_string(self.out.join("qemu.log"))?;
        let mut up = HashSet::new();
        for line in log.lines().filter(|line| line.starts_with(TRACED[0])) {
            let device = line.split_whitespace().nth(2);
            match line.rsplit(' ').next() {
                Some("15") => {
                    up.insert(device);
                }
                Some("11") if up.contains(&device) => return Ok(true),
                _ => {
                    up.remove(&device);
                }
            }
        }
        Ok(false)
    }

    /// Returns the resources that the scanout of such a machine showed one after the other; 0 where
    /// there was no picture in between.
    pub fn pictures(&self) -> Result<Vec<u32>> {
        let log = fs::read_to_string(self.out.join("qemu.log"))?;
        let shown = log.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            match words.next()? {
                event if event == TRACED[1] && !line.contains(ASKS) => {
                    let resource = words.nth(3)?.trim_start_matches("0x").trim_end_matches(',');
                    u32::from_str_radix(resource, 16).ok()
                }
                event if event == TRACED[2] => Some(0),
                _ => None,
            }
        });
        let mut pictures: Vec<u32> = shown.skip_while(|&resource| resource == 0).collect();
        pictures.dedup();
        Ok(pictures)
    }

    /// Fails if the kernel reports a fault, or QEMU has something to say about the guest's use of
    /// virtio.
    pub fn check(&self) -> Result<()> {
        self.check_kernel()?;
        self.check_guest_errors()
    }

    /// Does the same for a kernel that was made to die or to warn: only faults of other kinds
    /// count.
    pub fn check_crashed(&self) -> Result<()> {
        self.check_faults()?;
        self.check_guest_errors()
    }

    /// Fails with what QEMU has to say about the guest's use of virtio, if anything.
    pub fn check_guest_errors(&self) -> Result<()> {
        for path in ["qemu.log", "qemu.err"].map(|name| self.out.join(name)) {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let is_error = match path.ends_with("qemu.err") {
                // The message of a broken queue is without the word virtio.
                true => |line: &str| !line.contains("warning: "),
                false => |line: &str| {
                    let event = line.split(' ').next().unwrap_or_default();
                    let is_event = event.starts_with("virtio_") && !event.ends_with(':');
                    line.to_lowercase().contains("virtio") && !is_event
                },
            };
            let is_answer = |line: &str| ASKED.iter().all(|part| line.contains(part));
            let about =
                |line: &&str| is_error(line) && !NOT_OURS.contains(line) && !is_answer(line);
            if let Some(line) = log.lines().find(about) {
                bail!("QEMU says '{line}' ({})", path.display());
            }
        }
        Ok(())
    }

    /// Fails with the first line that even a kernel that dies does not say, if all is well.
    pub fn check_faults(&self) -> Result<()> {
        let serial = self.serial()?;
        let log = String::from_utf8_lossy(&serial);
        let bad = |line: &&str| FAULTS.iter().any(|fault| line.contains(fault));
        match log.lines().find(bad) {
            Some(line) => bail!("the guest says '{}'", line.trim()),
            None => Ok(()),
        }
    }

    /// Fails with the first line in which the kernel reports a fault, or init that it failed.
    pub fn check_kernel(&self) -> Result<()> {
        let serial = self.serial()?;
        let log = String::from_utf8_lossy(&serial);
        // A report of the native driver's, which it makes without us as well.
        let mut reports = log.split("[ cut here ]");
        let first = reports.next().unwrap_or_default().to_owned();
        let log = reports.fold(first, |log, report| {
            match report.split_once("[ end trace ") {
                Some((report, rest)) if THEIRS.iter().any(|it| report.contains(it)) => log + rest,
                _ => log + report,
            }
        });
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
