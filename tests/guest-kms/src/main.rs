// SPDX-License-Identifier: GPL-2.0

//! Draws on the guest's DRM device, step by step.
//!
//!     kms STEP...
//!
//! Each step that fails is a line in the kernel's log, `kms: <step>: <errno>`, and the next one is
//! done nevertheless. Numbers of a step are divided by colons. The exit status tells whether all
//! went as it should.
//!
//! | step | what it does |
//! |---|---|
//! | `open`, `open=PATH` | opens the device, /dev/dri/card0, for which it waits a little |
//! | `info` | says what the device has |
//! | `mode=W:H` | takes the mode of that size from now on |
//! | `show=SEED` | shows a new buffer with picture SEED by SETCRTC |
//! | `dirty=X:Y:W:H:SEED` | paints that part of picture SEED into the buffer; DIRTYFB |
//! | `atomic=SEED` | as `show`, by an atomic commit |
//! | `beyond=X:Y:SEED` | as `atomic`; the plane begins X pixels left of the screen, Y above |
//! | `damage=X:Y:W:H:SEED` | as `dirty`, by an atomic commit with FB_DAMAGE_CLIPS |
//! | `paint=X:Y:W:H:SEED` | paints, and says nothing |
//! | `flip=N` | N page flips, of pictures 2, 1, 2 .., each with its event; says how long they took |
//! | `cost=X:Y:W:H:N` | DIRTYFB of that part, N times; says how much CPU time one took |
//! | `off` | turns the screen off by SETCRTC |
//! | `rmfb`, `closefb` | removes the framebuffer, or gives it up |
//! | `drop`, `master` | stops being DRM's master, or becomes it |
//! | `graphics`, `graphics=TTY` | puts a terminal, /dev/tty0, to graphics mode; `text` back |
//! | `hotplug` | waits for the kernel to say that screens have changed, and says what there is |
//! | `random=SEED:N` | N ioctls with wrong arguments |
//! | `close` | closes the device, and all that it has |
//! | `sleep=MS`, `hold` | waits, or waits for ever |
//! | `wait` | says "kms: waiting", and waits for a line from the serial port |
//! | `say=TEXT` | says "kms: TEXT" |
//! | `fails=ERRNO` | says that the step before had to fail so |

mod card;
mod kmsg;
mod pattern;
mod random;

use card::{Buffer, Card, Output, Rect};
use drm::Device as _;
use kmsg::Kmsg;
use rustix::{
    io::Errno,
    ioctl::{ioctl, IntegerSetter},
    net::{
        bind,
        netlink::{SocketAddrNetlink, KOBJECT_UEVENT},
        recv, socket_with, AddressFamily, RecvFlags, SocketFlags, SocketType,
    },
    termios::{tcgetattr, tcsetattr, LocalModes, OptionalActions},
    time::{clock_gettime, ClockId},
};
use std::{
    env,
    fs::File,
    io::{self, BufRead, BufReader},
    os::fd::{AsFd, OwnedFd},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// How long a device may take to come, and a change of the screens, in seconds.
const COMES: u64 = 10;
const CHANGES: i64 = 20;

/// The group of the kernel's own messages about devices.
const KERNEL: u32 = 1;

/// What the steps use.
struct Kms {
    kmsg: Kmsg,
    card: Option<Card>,
    output: Option<Output>,
    /// The size of the mode, if it is not the one that the device prefers.
    size: Option<(u16, u16)>,
    /// The buffer in use.
    buffer: Option<Buffer>,
    serial: Option<BufReader<File>>,
    /// What the kernel says of devices.
    uevents: Option<OwnedFd>,
}

fn main() -> ExitCode {
    let mut kms = Kms {
        kmsg: Kmsg::open(),
        card: None,
        output: None,
        size: None,
        buffer: None,
        serial: None,
        uevents: None,
    };
    let mut good = true;
    let mut steps = env::args().skip(1).peekable();
    while let Some(step) = steps.next() {
        let result = kms.step(&step);
        let outcome = match &result {
            Ok(()) => String::new(),
            Err(error) => kmsg::name(error),
        };
        if result.is_err() {
            kms.kmsg.say(format_args!("{step}: {outcome}"));
        }
        let wanted = steps.next_if(|next| next.starts_with("fails="));
        let wanted = wanted.as_deref().map_or("", |word| &word["fails=".len()..]);
        if outcome != wanted && result.is_ok() {
            kms.kmsg
                .say(format_args!("{step}: did not fail with {wanted}"));
        }
        good &= outcome == wanted;
    }
    match good {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Returns the numbers of a step.
fn numbers<const N: usize>(value: &str) -> io::Result<[u32; N]> {
    let numbers: Result<Vec<u32>, _> = value.split(':').map(str::parse).collect();
    let numbers = numbers.ok().and_then(|numbers| numbers.try_into().ok());
    numbers.ok_or(Errno::INVAL.into())
}

/// Returns a part of the screen, and the picture that is painted there.
fn part(value: &str) -> io::Result<(Rect, u32)> {
    let [x, y, width, height, seed] = numbers(value)?;
    let rect = Rect {
        x,
        y,
        width,
        height,
    };
    Ok((rect, seed))
}

impl Kms {
    fn step(&mut self, step: &str) -> io::Result<()> {
        let (name, value) = step.split_once('=').unwrap_or((step, ""));
        let or = |default| if value.is_empty() { default } else { value };
        match name {
            "open" => self.open(or("/dev/dri/card0")),
            "info" => {
                let lines = self.card()?.info()?;
                self.tell("info", lines);
                Ok(())
            }
            "mode" => {
                let [width, height] = numbers(value)?;
                self.size = Some((width as u16, height as u16));
                Ok(())
            }
            "show" => {
                let [seed] = numbers(value)?;
                self.show(seed, false, Card::show)
            }
            "atomic" => {
                let [seed] = numbers(value)?;
                self.card()?.be_atomic()?;
                self.show(seed, true, Card::commit)
            }
            "beyond" => {
                let [left, above, seed] = numbers(value)?;
                self.card()?.be_atomic()?;
                self.show_beyond((left, above), seed)
            }
            "dirty" => self.repaint(value, |card, _, buffer, rect| card.dirty(buffer, rect)),
            "damage" => self.repaint(value, Card::damage),
            "paint" => self.repaint(value, |_, _, _, _| Ok(())),
            "flip" => {
                let [count] = numbers(value)?;
                self.flip(count)
            }
            "cost" => {
                let [x, y, width, height, count] = numbers(value)?;
                let rect = Rect {
                    x,
                    y,
                    width,
                    height,
                };
                self.cost(rect, count)
            }
            "off" => {
                let card = self.card()?;
                card.off(&card.output(self.size)?)
            }
            "rmfb" => {
                let buffer = self.buffer.take().ok_or(Errno::INVAL)?;
                self.card()?.discard(buffer)
            }
            "closefb" => {
                let buffer = self.buffer.take().ok_or(Errno::INVAL)?;
                self.card()?.give_up(buffer)
            }
            "drop" => self.card()?.release_master_lock(),
            "master" => self.card()?.acquire_master_lock(),
            "graphics" => set_mode(or("/dev/tty0"), KD_GRAPHICS),
            "text" => set_mode(or("/dev/tty0"), KD_TEXT),
            "hotplug" => self.hotplug(),
            "random" => {
                let [seed, count] = numbers(value)?;
                random::walk(self.card()?, seed, count)?;
                // It may have taken them away.
                (self.buffer, self.output) = (None, None);
                self.kmsg.say("random done");
                Ok(())
            }
            "close" => {
                (self.buffer, self.output, self.card) = (None, None, None);
                Ok(())
            }
            "sleep" => {
                let [milliseconds] = numbers(value)?;
                thread::sleep(Duration::from_millis(milliseconds.into()));
                Ok(())
            }
            "hold" => loop {
                thread::park();
            },
            "wait" => self.wait(),
            "say" => {
                self.kmsg.say(value);
                Ok(())
            }
            _ => Err(Errno::INVAL.into()),
        }
    }

    fn card(&self) -> io::Result<&Card> {
        self.card.as_ref().ok_or(Errno::BADF.into())
    }

    fn tell(&mut self, step: &str, lines: Vec<String>) {
        for line in lines {
            self.kmsg.say(format_args!("{step}: {line}"));
        }
    }

    fn open(&mut self, path: &str) -> io::Result<()> {
        // Before the screens may change.
        if self.uevents.is_none() {
            let flags = SocketFlags::CLOEXEC;
            let kind = (AddressFamily::NETLINK, SocketType::RAW);
            let uevents = socket_with(kind.0, kind.1, flags, Some(KOBJECT_UEVENT))?;
            bind(&uevents, &SocketAddrNetlink::new(0, KERNEL))?;
            self.uevents = Some(uevents);
        }
        let begun = Instant::now();
        let card = loop {
            match Card::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if begun.elapsed() > Duration::from_secs(COMES) {
                        return Err(error);
                    }
                    thread::sleep(Duration::from_millis(100));
                }
                opened => break opened?,
            }
        };
        (self.buffer, self.output, self.card) = (None, None, Some(card));
        Ok(())
    }

    /// Shows a new buffer with picture `seed`.
    fn show(
        &mut self,
        seed: u32,
        fourcc: bool,
        show: impl FnOnce(&Card, &Output, &Buffer) -> io::Result<()>,
    ) -> io::Result<()> {
        let card = self.card()?;
        let output = card.output(self.size)?;
        let buffer = card.buffer(&output, seed, fourcc)?;
        show(card, &output, &buffer)?;
        let before = self.buffer.replace(buffer);
        self.output = Some(output);
        match before {
            Some(before) => self.card()?.discard(before),
            None => Ok(()),
        }
    }

    /// Shows a new buffer with picture `seed`, which begins left of the screen and above it.
    fn show_beyond(&mut self, by: (u32, u32), seed: u32) -> io::Result<()> {
        let card = self.card()?;
        let output = card.output(self.size)?;
        let buffer = card.larger_buffer(&output, by, seed, true)?;
        card.commit_beyond(&output, &buffer, by)?;
        self.output = Some(output);
        match self.buffer.replace(buffer) {
            Some(before) => self.card()?.discard(before),
            None => Ok(()),
        }
    }

    /// Paints into the buffer in use, and tells the device by `tell`.
    fn repaint(
        &mut self,
        value: &str,
        tell: impl FnOnce(&Card, &Output, &Buffer, Rect) -> io::Result<()>,
    ) -> io::Result<()> {
        let (rect, seed) = part(value)?;
        let card = self.card.as_ref().ok_or(Errno::BADF)?;
        let output = self.output.as_ref().ok_or(Errno::INVAL)?;
        let buffer = self.buffer.as_mut().ok_or(Errno::INVAL)?;
        card.paint(buffer, rect, seed)?;
        tell(card, output, buffer, rect)
    }

    fn flip(&mut self, count: u32) -> io::Result<()> {
        let card = self.card()?;
        let output = card.output(self.size)?;
        let mut front = card.buffer(&output, 1, false)?;
        let mut back = card.buffer(&output, 2, false)?;
        card.show(&output, &front)?;
        let begun = Instant::now();
        for _ in 0..count {
            card.flip(&output, &back)?;
            (front, back) = (back, front);
        }
        let took = begun.elapsed().as_micros();
        card.discard(back)?;
        let before = self.buffer.replace(front);
        self.output = Some(output);
        if let Some(before) = before {
            self.card()?.discard(before)?;
        }
        self.kmsg
            .say(format_args!("flip: {count} frames in {took} us"));
        Ok(())
    }

    /// Says what an update of a part costs the CPU: the time that it waits for frames is not in it.
    fn cost(&mut self, rect: Rect, count: u32) -> io::Result<()> {
        let card = self.card.as_ref().ok_or(Errno::BADF)?;
        let buffer = self.buffer.as_ref().ok_or(Errno::INVAL)?;
        let now = || {
            let time = clock_gettime(ClockId::ProcessCPUTime);
            time.tv_sec * 1_000_000_000 + time.tv_nsec
        };
        let begun = now();
        for _ in 0..count {
            card.dirty(buffer, rect)?;
        }
        let each = (now() - begun) / i64::from(count.max(1));
        self.kmsg.say(format_args!(
            "cost: {}x{} pixels in {each} ns",
            rect.width, rect.height
        ));
        Ok(())
    }

    fn hotplug(&mut self) -> io::Result<()> {
        let uevents = self.uevents.as_ref().ok_or(Errno::BADF)?;
        let begun = Instant::now();
        let mut message = [0; 4096];
        loop {
            let left = CHANGES - begun.elapsed().as_secs() as i64;
            card::wait(uevents.as_fd(), left.max(0))?;
            let (length, _) = recv(uevents, &mut message[..], RecvFlags::empty())?;
            let mut words = message[..length].split(|&byte| byte == 0);
            if words.any(|word| word == b"HOTPLUG=1") {
                break;
            }
        }
        let lines = self.card()?.connectors()?;
        self.tell("hotplug", lines);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        if self.serial.is_none() {
            let file = File::open("/dev/ttyAMA0")?;
            // What is typed would come back in the middle of the log.
            let mut modes = tcgetattr(&file)?;
            modes.local_modes -= LocalModes::ECHO;
            tcsetattr(&file, OptionalActions::Now, &modes)?;
            self.serial = Some(BufReader::new(file));
        }
        self.kmsg.say("waiting");
        let serial = self.serial.as_mut().ok_or(Errno::BADF)?;
        serial.read_line(&mut String::new()).map(drop)
    }
}

/// The modes of a terminal (linux/kd.h).
const KD_TEXT: usize = 0;
const KD_GRAPHICS: usize = 1;

fn set_mode(terminal: &str, mode: usize) -> io::Result<()> {
    const KDSETMODE: u32 = 0x4b3a;
    let terminal = File::options().read(true).write(true).open(terminal)?;
    // SAFETY: This ioctl takes a number.
    unsafe { ioctl(&terminal, IntegerSetter::<KDSETMODE>::new_usize(mode))? };
    Ok(())
}
