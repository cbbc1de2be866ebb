// SPDX-License-Identifier: GPL-2.0

//! What this driver's consoles cost, and others, side by side.

use crate::{
    first_text, framebuffer,
    measure::{self, Boot, Clock, Phase},
    peers::{self, Extra, Peer, Shown},
    plot,
};
use anyhow::{ensure, Context, Result};
use serde_json::{json, Value};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};
use vm::{guests::Guests, tally::Tally};

type Mode = (usize, usize);

/// The mode in which all is compared; firmware's framebuffer is as large as it likes.
const MODE: Mode = (1280, 800);
const RAMFB: Mode = (800, 600);
const MODES: [Mode; 5] = [(640, 480), RAMFB, MODE, (1920, 1080), (3840, 2160)];

/// How the names of this driver's consoles begin.
pub const OURS: &str = "virtgpu_bridge";

/// By how much an instruction count may grow.
const GROWTH: f64 = 1.1;

/// Returns how a line is written, where it goes, and how many are.
const fn phase(
    name: &'static str,
    path: &'static str,
    width: usize,
    count: usize,
    how: &'static str,
) -> Phase {
    Phase {
        name,
        path,
        width,
        count,
        how,
    }
}

/// The columns of a line.
const WIDTHS: [usize; 3] = [20, 82, 160];

const KMSG: &str = "/dev/kmsg";
const TTY: &str = "/dev/tty0";

/// Lines of that width that scroll, one at a time, when all the screen's memory was scrolled twice
/// by such.
fn scrolling(name: &'static str, path: &'static str, width: usize, mode: Mode) -> [Phase; 2] {
    [
        phase("fill", path, width, mode.1 / 16 * 2 + 20, "burst"),
        phase(name, path, width, 50, "apart"),
    ]
}

/// Returns the lines of a boot.
fn phases(peer: &Peer, mode: Mode) -> Vec<Phase> {
    let mut phases: Vec<_> = WIDTHS
        .map(|width| phase("still", KMSG, width, 5, "apart"))
        .into();
    if mode == MODE || peer.shown == Shown::Ramfb {
        if peer.vt {
            phases.extend(scrolling("tty", TTY, 82, mode));
            phases.push(phase("cat", TTY, 82, 10_000, "cat"));
        }
        phases.extend(scrolling("scroll", KMSG, 20, mode));
        phases.extend(scrolling("scroll", KMSG, 160, mode));
        phases.push(phase("alike", KMSG, 82, mode.1 / 16 * 2 + 20, "alike"));
        phases.push(phase("alike", KMSG, 82, 200, "alike"));
    }
    phases.extend(scrolling("scroll", KMSG, 82, mode));
    if mode == MODE || peer.shown == Shown::Ramfb {
        phases.push(phase("burst", KMSG, 82, 1000, "burst"));
    }
    phases
}

/// All that was measured.
#[derive(Default)]
struct Sheet {
    boots: BTreeMap<String, Boot>,
    other: BTreeMap<String, f64>,
    tally: Tally,
}

/// One of the goals.
struct Goal {
    what: &'static str,
    value: f64,
    most: f64,
}

fn key(peer: &Peer, (width, height): Mode) -> String {
    format!("{} {width}x{height}", peer.name)
}

/// Returns the mode in which a console is compared.
fn usual(peer: &Peer) -> Mode {
    match peer.shown {
        Shown::Ramfb => RAMFB,
        _ => MODE,
    }
}

/// Returns what the time of a line is called, in microseconds.
fn wall_key(peer: &Peer, mode: Mode, width: usize) -> String {
    format!("{} wall {width}", key(peer, mode))
}

/// Whose line is counted by the shortest case.
const SHORT: [&Peer; 3] = [peers::NONE, peers::EARLYCON, peers::VT];

const SHORTEST: &str = ", the shortest case";

fn short(peer: &Peer) -> String {
    key(peer, MODE) + SHORTEST
}

/// What is measured, and with what.
pub struct Bencher<'a> {
    /// Kernels and fonts.
    pub guests: &'a Guests,
    /// More kernels.
    pub extra: &'a Extra,
    /// Where all goes.
    pub out: &'a Path,
    /// The counts that were right.
    pub baseline: &'a Path,
}

impl Bencher<'_> {
    fn folder(&self, name: &str) -> PathBuf {
        self.out
            .join(name.replace(|letter: char| !letter.is_alphanumeric(), "-"))
    }

    fn boot(
        &self,
        name: &str,
        peer: &Peer,
        mode: Mode,
        clock: Clock,
        phases: &[Phase],
        words: &str,
    ) -> Result<Boot> {
        let kit = (self.guests, self.extra);
        measure::boot(kit, peer, mode, clock, phases, words, &self.folder(name))
            .with_context(|| name.to_owned())
    }

    /// Counts one thing: it is measured, and the screen has the text, or not.
    fn record<T>(&self, sheet: &mut Sheet, what: &str, result: Result<T>) -> Option<T> {
        sheet.tally.count(result.is_ok());
        match result {
            Ok(found) => {
                println!("ok   {what}");
                Some(found)
            }
            Err(error) => {
                println!("FAIL {what}: {error:#}");
                None
            }
        }
    }

    /// Measures the shortest case, against the baseline.
    pub fn check(&self) -> Result<Tally> {
        let known: Value = serde_json::from_slice(&fs::read(self.baseline)?)?;
        let mut sheet = Sheet::default();
        for peer in SHORT {
            let name = short(peer);
            let compared = self.shortest(&mut sheet, peer).and_then(|now| {
                let then = known[&name]["scroll-82"].as_f64().context("no baseline")?;
                println!("     {name}: {now:.0} instructions a line, {then:.0} in the baseline");
                ensure!(
                    now <= then * GROWTH,
                    "more than {GROWTH} times the baseline"
                );
                Ok(())
            });
            self.record(&mut sheet, &name, compared);
        }
        Ok(sheet.tally)
    }

    /// Instructions for a line on one console, waits for the device left out as far as possible:
    /// what is compared has to be the same on a busy host.
    fn shortest(&self, sheet: &mut Sheet, peer: &Peer) -> Result<f64> {
        let (name, phases) = (short(peer), scrolling("scroll", KMSG, 82, MODE));
        let boot = self.boot(&name, peer, MODE, Clock::Slow, &phases, "")?;
        sheet.boots.insert(name.clone(), boot);
        Ok(sheet.line(&name, "scroll-82"))
    }

    /// Does the same for all.
    fn all_shortest(&self, sheet: &mut Sheet) -> Result<()> {
        SHORT
            .into_iter()
            .try_for_each(|peer| self.shortest(sheet, peer).map(drop))
    }

    /// Measures all; `update` makes it the baseline.
    pub fn run(&self, update: bool, only: Option<&str>) -> Result<Tally> {
        let mut sheet = Sheet::default();
        let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
        for &peer in peers::ALL {
            let modes: &[Mode] = match peer.shown {
                Shown::Gpu => &MODES,
                Shown::Ramfb => &[RAMFB],
                _ => &[MODE],
            };
            for &mode in modes {
                let name = key(peer, mode);
                if wanted(&name) {
                    let boot = self.boot(&name, peer, mode, Clock::Icount, &phases(peer, mode), "");
                    if let Some(boot) = self.record(&mut sheet, &name, boot) {
                        sheet.boots.insert(name, boot);
                    }
                }
            }
        }
        for (name, part) in [
            (
                "one font",
                Self::one_font as fn(&Self, &mut Sheet) -> Result<()>,
            ),
            ("short", Self::all_shortest),
            ("boot", Self::whole_boots),
            ("first text", Self::first_texts),
            ("framebuffer", Self::framebuffers),
            ("VNC", Self::vnc),
            ("wall", Self::wall),
        ] {
            if wanted(name) {
                let result = part(self, &mut sheet);
                self.record(&mut sheet, name, result);
            }
        }
        self.memory(&mut sheet);
        self.report(&sheet, only.is_none())?;
        if only.is_none() {
            self.compare(&mut sheet, update)?;
        }
        Ok(sheet.tally)
    }

    /// Measures the same line with the same font, on a small and a large screen.
    fn one_font(&self, sheet: &mut Sheet) -> Result<()> {
        for mode in [RAMFB, (3840, 2160)] {
            let name = format!("{} one font", key(peers::VT, mode));
            let phases = scrolling("scroll", KMSG, 82, mode);
            let words = "vm.font=/8x16.psf";
            let boot = self.boot(&name, peers::VT, mode, Clock::Slow, &phases, words)?;
            sheet.boots.insert(name, boot);
        }
        Ok(())
    }

    /// From the kernel's entry to the last of more than 300 lines.
    fn whole_boots(&self, sheet: &mut Sheet) -> Result<()> {
        for peer in [
            peers::EARLYCON,
            peers::VT,
            peers::FBCON,
            peers::PL011,
            peers::NONE,
        ] {
            let name = format!("{} boot", key(peer, MODE));
            let clock = match peer.name.starts_with(OURS) {
                true => Clock::Slow,
                false => Clock::Icount,
            };
            let boot = |lines| {
                let phases = [phase("boot", KMSG, 82, lines, "boot")];
                self.boot(&name, peer, MODE, clock, &phases, "loglevel=8")
            };
            // Init writes as many as the kernel leaves.
            let own = boot(100)?.lines - 100;
            let boot = boot(300_usize.saturating_sub(own as usize))?;
            let took = boot.phase("boot-82")?;
            let [init, whole] = [took.begun, took.begun + took.time].map(|time| time as f64);
            sheet.other.insert(format!("{} to init", peer.name), init);
            sheet
                .other
                .insert(format!("{} whole boot", peer.name), whole);
            sheet.boots.insert(name, boot);
        }
        Ok(())
    }

    /// From `start_kernel()` to the first text.
    fn first_texts(&self, sheet: &mut Sheet) -> Result<()> {
        for (name, port) in [("bus 0", false), ("root port", true)] {
            let text = first_text::count(self.guests, self.extra, port, &self.folder(name))?;
            ensure!(
                text.before_paging,
                "{name}: the first text is after paging_init()"
            );
            sheet
                .other
                .insert(format!("first text, {name}"), text.from_start as f64);
        }
        Ok(())
    }

    /// Instructions for an update of a framebuffer, in the mode of firmware's and in QEMU's.
    fn framebuffers(&self, sheet: &mut Sheet) -> Result<()> {
        for device in &framebuffer::DEVICES {
            let mode = usual(device.peer);
            let folder = self.folder(&format!("{} framebuffer", device.name));
            let costs = device.count(self.guests, self.extra, mode, &folder)?;
            for ((width, height), cost) in framebuffer::SIZES.into_iter().zip(costs) {
                let name = format!("{}, {width}x{height} pixels", device.name);
                sheet.other.insert(name, cost);
            }
        }
        Ok(())
    }

    /// QEMU's processor time for 10,000 lines while a VNC client receives them.
    fn vnc(&self, sheet: &mut Sheet) -> Result<()> {
        for peer in [peers::VT, peers::FBCON] {
            let name = format!("{} VNC", key(peer, MODE));
            let phases = [phase("sync", KMSG, 82, 10_000, "sync")];
            let boot = self.boot(&name, peer, MODE, Clock::Watched, &phases, "")?;
            sheet
                .other
                .insert(format!("{} VNC", peer.name), boot.cpu.as_secs_f64());
        }
        Ok(())
    }

    /// Measures the time of a line: beside others, and on every screen beside fbcon.
    fn wall(&self, sheet: &mut Sheet) -> Result<()> {
        let load = fs::read_to_string("/proc/loadavg")?;
        println!("     the load before the wall times: {}", load.trim());
        for peer in [peers::VT, peers::FBCON, peers::EFI_EARLYCON, peers::PL011] {
            self.pairs(sheet, peer, [MODE, usual(peer)], 1000)?;
        }
        for mode in MODES.into_iter().filter(|&mode| mode != MODE) {
            self.pairs(sheet, peers::FBCON, [mode; 2], 200)?;
        }
        Ok(())
    }

    /// Measures the time of a line on our early console and another one, in these modes, by turns:
    /// the median of pairs.
    fn pairs(
        &self,
        sheet: &mut Sheet,
        peer: &'static Peer,
        modes: [Mode; 2],
        lines: usize,
    ) -> Result<()> {
        let mut phases = vec![phase("fill", KMSG, 82, 200, "burst")];
        phases.extend(WIDTHS.map(|width| phase("sync", KMSG, width, lines, "sync")));
        let mut times = WIDTHS.map(|_| Vec::new());
        for _ in 0..3 {
            let mut boots = Vec::new();
            for (peer, mode) in [peers::EARLYCON, peer].into_iter().zip(modes) {
                let name = format!("{} wall", key(peer, mode));
                boots.push(self.boot(&name, peer, mode, Clock::Wall, &phases, "")?);
            }
            for (times, width) in times.iter_mut().zip(WIDTHS) {
                let name = format!("sync-{width}");
                let time = |boot: &Boot| Ok(boot.phase(&name)?.per_line() / 1000.0);
                times.push(boots.iter().map(time).collect::<Result<Vec<f64>>>()?);
            }
        }
        for (times, width) in times.iter().zip(WIDTHS) {
            let median = |of: fn(&Vec<f64>) -> f64| {
                let mut values: Vec<_> = times.iter().map(of).collect();
                values.sort_by(f64::total_cmp);
                values[values.len() / 2]
            };
            let [ours, theirs] = [(peers::EARLYCON, modes[0]), (peer, modes[1])]
                .map(|(peer, mode)| wall_key(peer, mode, width));
            let ratio = format!("{theirs} ratio");
            sheet.other.insert(ours, median(|pair| pair[0]));
            sheet.other.insert(theirs, median(|pair| pair[1]));
            sheet.other.insert(ratio, median(|pair| pair[0] / pair[1]));
        }
        Ok(())
    }

    fn goals(&self, sheet: &Sheet) -> Vec<Goal> {
        let line = |peer, mode, phase: &str| sheet.line(&key(peer, mode), phase);
        let other = |name: &str| sheet.other.get(name).copied().unwrap_or(f64::NAN);
        let burst = sheet.took(&key(peers::EARLYCON, MODE), "burst-82");
        let font = |mode| sheet.line(&format!("{} one font", key(peers::VT, mode)), "scroll-82");
        let boot = |peer: &Peer| other(&format!("{} whole boot", peer.name));
        let wall = |peer: &Peer| other(&(wall_key(peer, usual(peer), 82) + " ratio"));
        let vnc = |peer: &Peer| other(&format!("{} VNC", peer.name));
        let goal = |what, value, most| Goal { what, value, most };
        use peers::*;
        vec![
            goal(
                "instructions, 82 columns, earlycon",
                line(EARLYCON, MODE, "scroll-82"),
                12_000.0,
            ),
            goal(
                "the same, lines alike",
                sheet.raw(&key(EARLYCON, MODE), "alike-82"),
                12_000.0,
            ),
            goal(
                "instructions, 82 columns, tty0",
                line(VT, MODE, "scroll-82"),
                20_000.0,
            ),
            goal(
                "the same, lines alike",
                sheet.raw(&key(VT, MODE), "alike-82"),
                20_000.0,
            ),
            goal("wall time, of pl011's", wall(PL011), 0.2),
            goal("wall time, of efifb's", wall(EFI_EARLYCON), 0.1),
            goal("wall time, of fbcon's", wall(FBCON), 0.05),
            goal(
                "3840x2160 to 800x600, one font",
                font((3840, 2160)) / font(RAMFB),
                1.1,
            ),
            goal(
                "doorbells a line",
                sheet.notifications(&key(EARLYCON, MODE)),
                1.0,
            ),
            goal(
                "doorbells for a burst of 1,000",
                burst.map_or(f64::NAN, |took| took.notifications as f64),
                100.0,
            ),
            goal(
                "start_kernel() to text, bus 0",
                other("first text, bus 0"),
                400_000.0,
            ),
            goal(
                "start_kernel() to text, root port",
                other("first text, root port"),
                400_000.0,
            ),
            goal(
                "QEMU's CPU time with VNC, of fbcon's",
                vnc(VT) / vnc(FBCON),
                0.5,
            ),
            goal(
                "an update of 100x20 pixels",
                other("virtgpu_bridge, 100x20 pixels"),
                20_000.0,
            ),
            goal(
                "an update of 1280x800 pixels",
                other("virtgpu_bridge, 1280x800 pixels"),
                600_000.0,
            ),
            goal(
                "a frame of 800x600, of simpledrm's",
                other("virtgpu_bridge, 800x600 pixels")
                    / other("simpledrm on ramfb, 800x600 pixels"),
                1.5,
            ),
            goal("KiB of memory", self.extra.memory as f64 / 1024.0, 256.0),
            goal(
                "cat of 10,000 lines, of fbcon's",
                line(VT, MODE, "cat-82") / line(FBCON, MODE, "cat-82"),
                0.1,
            ),
            goal(
                "a boot with 300 lines, of one without console",
                boot(VT) / boot(NONE),
                1.05,
            ),
        ]
    }

    /// Memory that a console holds: what is free less than without one, the kernel's image
    /// included.
    fn memory(&self, sheet: &mut Sheet) {
        let free = |peer, mode| {
            sheet
                .boots
                .get(&key(peer, mode))
                .map(|boot| boot.free as f64)
        };
        let Some(none) = free(peers::NONE, MODE) else {
            return;
        };
        let held: Vec<_> = [peers::EARLYCON, peers::VT, peers::FBCON, peers::DRM_LOG]
            .iter()
            .flat_map(|peer| MODES.map(|mode| (key(peer, mode), free(peer, mode))))
            .filter_map(|(name, free)| Some((format!("{name} KiB held"), none - free?)))
            .collect();
        sheet.other.extend(held);
    }

    fn report(&self, sheet: &Sheet, whole: bool) -> Result<()> {
        let table = sheet.table();
        print!("\n{table}\n");
        for (what, value) in &sheet.other {
            println!("{what:<48}{value:14.3}");
        }
        println!();
        let goals = self.goals(sheet);
        for Goal { what, value, most } in &goals {
            let word = match value <= most {
                true => "reached    ",
                false if value.is_nan() => "unknown    ",
                false => "not reached",
            };
            println!("{word}  {what:<46}{value:12.3} (<= {most})");
        }
        let goals: Vec<_> = goals
            .iter()
            .map(|goal| json!({ "what": goal.what, "value": goal.value, "most": goal.most, "reached": goal.value <= goal.most }))
            .collect();
        let results = json!({ "goals": goals, "lines": sheet.json(), "other": sheet.other });
        fs::write(self.out.join("results.json"), format!("{results:#}\n"))?;
        fs::write(self.out.join("table.md"), &table)?;
        if whole {
            let line = |peer: &Peer| {
                let line = sheet.line(&key(peer, usual(peer)), "scroll-82");
                (peer.name, line)
            };
            let bars: Vec<_> = peers::ALL.iter().map(|peer| line(peer)).collect();
            plot::bars(&self.out.join("lines.svg"), &bars)?;
            let curve = |peer: &&Peer| {
                let points =
                    MODES.map(|mode| (mode.0 * mode.1, sheet.line(&key(peer, mode), "scroll-82")));
                (peer.name, points.to_vec())
            };
            let curves: Vec<_> = [peers::EARLYCON, peers::VT, peers::FBCON]
                .iter()
                .map(curve)
                .collect();
            plot::curves(&self.out.join("modes.svg"), &curves)?;
        }
        Ok(())
    }

    /// Compares what repeats with the baseline, or makes it one.
    fn compare(&self, sheet: &mut Sheet, update: bool) -> Result<()> {
        let now = sheet.steady();
        if update {
            ensure!(sheet.tally.failed == 0, "what failed is no baseline");
            fs::write(self.baseline, format!("{now:#}\n"))?;
            return Ok(());
        }
        let known: Value = serde_json::from_slice(&fs::read(self.baseline)?)?;
        let mut grown = Vec::new();
        for (name, lines) in known.as_object().context("no baseline")? {
            for (phase, then) in lines.as_object().context("no baseline")? {
                let (then, now) = (then.as_f64(), now[name][phase].as_f64());
                if now.zip(then).is_none_or(|(now, then)| now > then * GROWTH) {
                    grown.push(format!("{name} {phase}: {now:?}, was {then:?}"));
                }
            }
        }
        let result = match grown.is_empty() {
            true => Ok(()),
            false => Err(anyhow::anyhow!("{}", grown.join("\n"))),
        };
        self.record(sheet, "the baseline", result);
        Ok(())
    }
}

impl Sheet {
    fn took(&self, name: &str, phase: &str) -> Option<&measure::Took> {
        self.boots.get(name)?.phases.get(phase)
    }

    /// Returns what a line took, as counted.
    fn raw(&self, name: &str, phase: &str) -> f64 {
        self.took(name, phase)
            .map_or(f64::NAN, measure::Took::per_line)
    }

    /// Returns what a line takes, printk included. Where a line was waited for, the timer's ticks
    /// in that time are left out: those that the same lines have without a console.
    fn line(&self, name: &str, phase: &str) -> f64 {
        let name_of_none = match name.ends_with(SHORTEST) {
            true => short(peers::NONE),
            false => key(peers::NONE, MODE),
        };
        let ticks = match self.took(&name_of_none, phase) {
            Some(none) if phase.starts_with("scroll") || phase.starts_with("still") => {
                // Those lines in a burst have hardly any.
                let width = phase.rsplit('-').next().unwrap_or_default();
                none.per_line() - self.raw(&name_of_none, &format!("fill-{width}"))
            }
            _ => 0.0,
        };
        self.raw(name, phase) - ticks
    }

    /// Returns how often a line of the log notifies the device, of all that were written: the
    /// device's thread may come to the last of a phase only in the next one.
    fn notifications(&self, name: &str) -> f64 {
        let [notified, lines] = self.boots.get(name).map_or([0; 2], |boot| {
            let log = |name: &str| !name.starts_with("tty") && !name.starts_with("cat");
            let phases = boot.phases.iter().filter(|(name, _)| log(name));
            phases.fold([0; 2], |[notified, lines], (_, took)| {
                [notified + took.notifications, lines + took.count]
            })
        });
        notified as f64 / lines as f64
    }

    fn json(&self) -> Value {
        let line = |took: &measure::Took| {
            let lines = took.count as f64;
            json!({
                "lines": took.count,
                "instructions": took.per_line(),
                "doorbells": took.notifications as f64 / lines,
                "transfers": took.transfers as f64 / lines,
                "flushed_pixels": took.flushed as f64 / lines,
            })
        };
        let boot = |(name, boot): (&String, &Boot)| {
            let phases = boot
                .phases
                .iter()
                .map(|(name, took)| (name.clone(), line(took)));
            let phases: serde_json::Map<_, _> = phases.collect();
            (
                name.clone(),
                json!({ "free_kib": boot.free, "phases": phases }),
            )
        };
        self.boots
            .iter()
            .map(boot)
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Returns what is the same each time: consoles that print at once, in modes and widths in
    /// which the driver does not wait for the device, whose time is the host's.
    fn steady(&self) -> Value {
        let mut all = serde_json::Map::new();
        let names = peers::ALL
            .iter()
            .filter(|peer| !peer.ring)
            .flat_map(|peer| [RAMFB, MODE].map(|mode| key(peer, mode)))
            .chain(SHORT.map(short));
        for name in names {
            let Some(boot) = self.boots.get(&name) else {
                continue;
            };
            let phases = boot
                .phases
                .keys()
                .filter(|phase| ["scroll-20", "scroll-82"].contains(&phase.as_str()));
            let phases =
                phases.map(|phase| (phase.clone(), self.line(&name, phase).round().into()));
            all.insert(
                name.clone(),
                phases.collect::<serde_json::Map<_, _>>().into(),
            );
        }
        all.into()
    }

    /// Returns the table, in Markdown.
    fn table(&self) -> String {
        let mut table = String::from(
            "| console | mode | 20 | 82 | 160 | 82, no scrolling | 82, alike | 82, burst | doorbells | transfers |\n\
             |---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        for peer in peers::ALL {
            for mode in MODES {
                let name = key(peer, mode);
                if !self.boots.contains_key(&name) {
                    continue;
                }
                let number = |value: f64| match value.is_nan() {
                    true => String::new(),
                    false => thousands(value),
                };
                let columns = [
                    "scroll-20",
                    "scroll-82",
                    "scroll-160",
                    "still-82",
                    "alike-82",
                    "burst-82",
                ]
                .map(|phase| number(self.line(&name, phase)));
                let events = self.took(&name, "scroll-82").map_or([0.0; 2], |took| {
                    [took.notifications, took.transfers]
                        .map(|count| count as f64 / took.count as f64)
                });
                let _ = writeln!(
                    table,
                    "| {} | {}x{} | {} | {:.2} | {:.2} |",
                    peer.name,
                    mode.0,
                    mode.1,
                    columns.join(" | "),
                    events[0],
                    events[1]
                );
            }
        }
        table
    }
}

/// Returns a number as people read it.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(123.0), "123");
        assert_eq!(thousands(1000.0), "1,000");
    }
}
