// SPDX-License-Identifier: GPL-2.0

//! One boot of a guest that writes lines: what they cost, and whether the screen has them.

use crate::peers::{Extra, Peer, Shown};
use anyhow::{bail, ensure, Context, Result};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};
use vm::{
    font::Font,
    guests::{Guests, READY},
    log,
    qemu::Vm,
    screen::Screen,
    vnc::Viewer,
};

/// Lets warnings be shown, and nothing else.
pub const LEVEL: &str = "loglevel=5";

/// How long a guest may count instructions.
const LIMIT: Duration = Duration::from_secs(500);

/// How long a screen may stay wrong.
const PATIENCE: Duration = Duration::from_secs(25);

/// What the guest's clock is.
#[derive(Clone, Copy, PartialEq)]
pub enum Clock {
    /// Instructions.
    Icount,
    /// Instructions, done so slowly that waiting for the device, whose time is the host's, takes
    /// few.
    Slow,
    /// The host's.
    Wall,
    /// The same, and a VNC client receives the screen.
    Watched,
}

/// Lines that are written together.
#[derive(Clone, Copy)]
pub struct Phase {
    /// Its name, with the width behind it.
    pub name: &'static str,
    /// Where they go.
    pub path: &'static str,
    /// How wide they are.
    pub width: usize,
    /// How many they are.
    pub count: usize,
    /// How they are written.
    pub how: &'static str,
}

/// What was seen of a phase.
#[derive(Clone, Debug, Default)]
pub struct Took {
    /// How many lines were written.
    pub count: u64,
    /// How long that took, in nanoseconds: instructions, or time.
    pub time: u64,
    /// When it began.
    pub begun: u64,
    /// How often the driver notified the device.
    pub notifications: u64,
    /// How many transfers the device made.
    pub transfers: u64,
    /// Pixels that were shown anew.
    pub flushed: u64,
}

impl Took {
    /// Returns what a line cost.
    pub fn per_line(&self) -> f64 {
        self.time as f64 / self.count as f64
    }
}

/// What was seen of a boot.
pub struct Boot {
    /// Phase by phase.
    pub phases: BTreeMap<String, Took>,
    /// Memory that is free at the end, in KiB.
    pub free: u64,
    /// QEMU's processor time in the last phase, about.
    pub cpu: Duration,
    /// How many lines the log has.
    pub lines: u64,
    /// Where the kernel's `start_kernel` and `paging_init` are.
    pub symbols: BTreeMap<String, u64>,
}

impl Boot {
    /// Returns a phase.
    pub fn phase(&self, name: &str) -> Result<&Took> {
        self.phases
            .get(name)
            .with_context(|| format!("nothing was measured of {name}"))
    }
}

/// QEMU's trace events that are counted.
const TRACED: [&str; 4] = [
    "pl011_write",
    "virtio_queue_notify",
    "virtio_gpu_cmd_res_xfer_toh_2d",
    "virtio_gpu_cmd_res_flush",
];

/// Boots, has the guest write, and reads the screen back.
pub fn boot(
    (guests, extra): (&Guests, &Extra),
    peer: &Peer,
    mode: (usize, usize),
    clock: Clock,
    phases: &[Phase],
    words: &str,
    out: &Path,
) -> Result<Boot> {
    let mut machine = peer.machine(guests, extra, mode);
    // The first one counts for what is said before the next is read.
    if words.contains("loglevel=") {
        machine = machine.without(LEVEL);
    }
    machine = machine.append(words);
    for Phase {
        name,
        path,
        width,
        count,
        how,
    } in phases
    {
        machine = machine.append(&format!(
            "vm.write={name}-{width},{path},{width},{count},{how}"
        ));
    }
    if matches!(clock, Clock::Icount | Clock::Slow) {
        machine = machine.option("-icount", "shift=0,sleep=off");
        machine = TRACED.iter().fold(machine, |machine, event| {
            machine.option("-trace", &format!("enable={event}"))
        });
    }
    let vnc = out.join("vnc");
    if clock == Clock::Watched {
        let _ = fs::remove_file(&vnc);
        machine = machine.option("-vnc", &format!("unix:{}", vnc.display()));
    }
    let mut vm = match clock {
        Clock::Slow => {
            let mut vm = machine.clone().paused().start(out)?;
            vm.human("one-insn-per-tb on")?;
            vm.go()?;
            vm
        }
        _ => machine.start(out)?,
    };
    if clock == Clock::Watched {
        Viewer::connect(&vnc)?.watch();
    }
    let last = phases
        .last()
        .map(|last| format!("vm: begin {}-{}\n", last.name, last.width));
    let mut before = None;
    vm.wait("the end of the measurements", LIMIT, |vm| {
        let serial = String::from_utf8_lossy(&vm.serial()?).replace('\r', "");
        if before.is_none() && last.as_ref().is_some_and(|last| serial.contains(last)) {
            before = Some(vm.cpu()?);
        }
        let ready = vm.serial_has(READY)?;
        if !ready {
            vm.check_kernel()?;
        }
        Ok(ready.then_some(()))
    })?;
    let cpu = vm.cpu()?;
    let serial = String::from_utf8_lossy(&vm.serial()?).replace('\r', "");
    if let Some(line) = serial
        .lines()
        .find(|line| line.starts_with("vm: ") && line.ends_with(" failed"))
    {
        bail!("the guest says '{line}'");
    }
    let small = peer.small_font || words.contains("vm.font=");
    let font = small.then(|| guests.fonts.first());
    let level = machine.word("loglevel=").context("no level")?.parse()?;
    let lines = shown(&serial, level)?;
    match peer.shown {
        Shown::Gpu | Shown::Ramfb => check_screen(guests, peer, &mut vm, mode, font, &lines, out)?,
        Shown::Serial => ensure!(
            serial.contains(&lines),
            "the serial port has not got the log"
        ),
        Shown::Nowhere => {}
    }
    vm.check_guest_errors()?;
    let mut phases = parse(&serial)?;
    if matches!(clock, Clock::Icount | Clock::Slow) {
        count(&fs::read_to_string(out.join("qemu.log"))?, &mut phases);
    }
    let word = |name: &str, at: usize| {
        let line = serial.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(at)?.parse().ok())
            .with_context(|| format!("the guest does not say {name}"))
    };
    Ok(Boot {
        phases,
        free: word("MemFree:", 1)?,
        cpu: cpu - before.unwrap_or_default(),
        lines: word("vm: lines", 2)?,
        symbols: symbols(&serial),
    })
}

fn symbols(serial: &str) -> BTreeMap<String, u64> {
    let symbol = |line: &str| {
        let mut words = line.split(' ');
        let at = u64::from_str_radix(words.next()?, 16).ok()?;
        Some((words.nth(1)?.to_owned(), at))
    };
    serial.lines().filter_map(symbol).collect()
}

/// Returns the end of the log, as far as it is shown.
fn shown(serial: &str, level: u8) -> Result<String> {
    let (_, log) = serial.split_once("vm: log\n").context("no log")?;
    let mut lines = String::new();
    for line in log.lines() {
        let prefix = line.strip_prefix('<').and_then(|line| line.split_once('>'));
        if let Some((each, text)) = prefix {
            if each.parse::<u8>()? % 8 < level {
                lines += text;
                lines += "\n";
            }
        }
    }
    Ok(lines)
}

fn check_screen(
    guests: &Guests,
    peer: &Peer,
    vm: &mut Vm,
    mode: (usize, usize),
    font: Option<&Font>,
    lines: &str,
    out: &Path,
) -> Result<()> {
    let since = Instant::now();
    loop {
        let (path, picture) = vm.screenshot("screen.png", None)?;
        ensure!(
            (picture.width, picture.height) == mode,
            "the screen is {}x{}",
            picture.width,
            picture.height
        );
        let screen = match font {
            Some(font) => Screen::read_with(&picture, font),
            None => Screen::read(&picture, &guests.fonts),
        };
        fs::write(out.join("screen.txt"), screen.text())?;
        let compare = match peer.ring {
            true => log::compare_ring,
            false => log::compare_tail,
        };
        match compare(&screen, lines.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(error) if since.elapsed() > PATIENCE => {
                return Err(error.context(format!("see {}", path.display())))
            }
            Err(_) => thread::sleep(Duration::from_millis(300)),
        }
    }
}

/// Returns what the guest's writer said.
fn parse(serial: &str) -> Result<BTreeMap<String, Took>> {
    let mut phases = BTreeMap::new();
    // Where the serial port is the console as well, a word may come after a line's beginning.
    for line in serial.lines() {
        let Some(words) = line.strip_prefix("vm: took ") else {
            continue;
        };
        let mut words = words.split(' ');
        let name = words.next().context("no name")?.to_owned();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let &[count, time, begun] = numbers.as_slice() else {
            bail!("not three numbers: {line}");
        };
        let took = Took {
            count,
            time,
            begun,
            ..Took::default()
        };
        phases.insert(name, took);
    }
    Ok(phases)
}

/// Counts QEMU's trace events between the words that the guest's writer says.
fn count(trace: &str, phases: &mut BTreeMap<String, Took>) {
    let mut said = String::new();
    let mut now: Option<String> = None;
    for line in trace.lines() {
        let mut words = line.split_whitespace();
        let event = words.next();
        if event == Some(TRACED[0]) {
            let mut hex = words.filter_map(|word| word.strip_prefix("0x"));
            let (address, value) = (hex.next(), hex.next());
            let value = value.and_then(|value| {
                u8::from_str_radix(value.get(value.len().checked_sub(2)?..)?, 16).ok()
            });
            match (address, value) {
                (Some("000"), Some(b'\n')) => {
                    if let Some(name) = said.strip_prefix("vm: begin ") {
                        let name = name.trim();
                        // Of those that have one name, the last one counts.
                        if let Some(took) = phases.get_mut(name) {
                            (took.notifications, took.transfers, took.flushed) = (0, 0, 0);
                        }
                        now = Some(name.to_owned());
                    } else if said.starts_with("vm: took ") {
                        now = None;
                    }
                    said.clear();
                }
                (Some("000"), Some(value)) => said.push(char::from(value)),
                _ => {}
            }
            continue;
        }
        let Some(took) = now.as_ref().and_then(|name| phases.get_mut(name)) else {
            continue;
        };
        match event {
            Some(event) if event == TRACED[1] => took.notifications += 1,
            Some(event) if event == TRACED[2] => took.transfers += 1,
            Some(event) if event == TRACED[3] => {
                let number = |name: &str| -> u64 {
                    let mut words = line.split(&[' ', ','][..]);
                    words.find(|&word| word == name);
                    words.next().map_or(0, |word| {
                        match word.strip_prefix("0x") {
                            Some(hex) => u64::from_str_radix(hex, 16),
                            None => word.parse(),
                        }
                        .unwrap_or(0)
                    })
                };
                took.flushed += number("w") * number("h");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_count_for_the_lines_that_are_being_written() {
        let mut phases = parse("vm: took a-82 2 600 7\nvm: took b-82 1 5 9\n").unwrap();
        assert_eq!(phases["a-82"].per_line(), 300.0);
        let mut trace = String::from("virtio_queue_notify vdev 0x1 n 0 vq 0x2\n");
        let say = |trace: &mut String, text: &str| {
            for byte in text.bytes() {
                *trace += &format!("pl011_write addr 0x000 value 0x{byte:08x} reg DR\n");
            }
        };
        say(&mut trace, "vm: begin a-82\r\n");
        trace +=
            "virtio_queue_notify vdev 0x1 n 0 vq 0x2\nvirtio_gpu_cmd_res_xfer_toh_2d res 0x1\n";
        trace += "virtio_gpu_cmd_res_flush res 0x1, w 1280, h 16, x 0, y 0\n";
        say(&mut trace, "vm: took a-82 2 600 7\r\n");
        trace += "virtio_queue_notify vdev 0x1 n 0 vq 0x2\n";
        count(&trace, &mut phases);
        let took = &phases["a-82"];
        assert_eq!(
            (took.notifications, took.transfers, took.flushed),
            (1, 1, 1280 * 16)
        );
        assert_eq!(phases["b-82"].notifications, 0);
    }

    #[test]
    fn what_is_shown_is_more_urgent_than_the_level() {
        let log = "vm: log\n<6>[ 0.1] a\n<12>[ 0.2] b\n<3>[ 0.3] c\nvm: ready\n";
        assert_eq!(shown(log, 5).unwrap(), "[ 0.2] b\n[ 0.3] c\n");
        assert!(shown("nothing", 5).is_err());
    }
}
