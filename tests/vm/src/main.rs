// SPDX-License-Identifier: GPL-2.0

//! Boots virtgpu_bridge in real virtual machines and reads their screens back.
//!
//! | file           | what                                                            |
//! |----------------|-----------------------------------------------------------------|
//! | `qemu.rs`      | a virtual machine: arguments, process, monitor, serial port     |
//! | `needs.rs`     | what cases need of a kernel, and what a kernel has              |
//! | `process.rs`   | a program that a machine needs beside it                        |
//! | `window.rs`    | the window of a GPU with OpenGL, on an X server                 |
//! | `vnc.rs`       | a viewer that resizes its window, or looks                      |
//! | `initramfs.rs` | what the guest runs                                             |
//! | `font.rs`      | the kernel's fonts                                              |
//! | `screen.rs`    | a screenshot, read cell by cell                                 |
//! | `streams.rs`   | bytes for a terminal                                            |
//! | `log.rs`       | the serial port's log, laid out as on a screen and compared     |
//! | `bench.rs`     | a kernel, its fonts and its initramfs; looking until it is right |
//! | `cases.rs`     | the cases of `vm test`                                          |
//! | `consoles.rs`  | cases of command lines, and the consoles that they make         |
//! | `endings.rs`   | cases of kernels that die                                       |
//! | `faults.rs`    | cases of devices that stall, go and come back                   |
//! | `pictures.rs`  | cases of what firmware left on the screen                       |
//! | `handoff.rs`   | cases of what firmware hands over                               |
//! | `variants.rs`  | cases of unusual devices, buses and ways to probe drivers        |
//! | `others.rs`    | cases of other devices and firmware                             |
//! | `prompts.rs`   | cases of Debian's own initramfs, which asks for a passphrase    |
//! | `survey.rs`    | `vm survey`: what others show of them                           |
//! | `run.rs`       | `vm run`                                                        |
//! | `kunit.rs`     | `vm kunit`                                                      |
//! | `stack.rs`     | `vm stack`: what the driver takes of the kernel's stack          |
//! | `peers.rs`     | the consoles that are measured, and their machines              |
//! | `measure.rs`   | a boot that writes lines: what they cost, what the screen shows |
//! | `first_text.rs` | instructions until there is text                               |
//! | `compare.rs`   | `vm bench`                                                      |
//! | `plot.rs`      | plots                                                           |
//! | `tally.rs`     | counting results; `vm tally`                                    |
//!
//! It runs in the project's top folder, inside the tool root (`tests/toolroot`).

mod bench;
mod cases;
mod compare;
mod consoles;
mod endings;
mod faults;
mod first_text;
mod font;
mod handoff;
mod initramfs;
mod kunit;
mod log;
mod measure;
mod needs;
mod others;
mod peers;
mod pictures;
mod plot;
mod process;
mod prompts;
mod qemu;
mod run;
mod screen;
mod stack;
mod streams;
mod survey;
mod tally;
mod variants;
mod vnc;
mod window;

use anyhow::Result;
use bench::{Bench, Kernels};
use cases::{long, table, Run, Table, CASES, CONSOLE_CASES, LONG_CASES};
use clap::{Args, Parser};
use compare::Bencher;
use consoles::COMMAND_LINES;
use endings::{ENDINGS, LONG_ENDINGS, VT_ENDINGS};
use faults::{FAULTS, LONG_FAULTS};
use handoff::HANDOFFS;
use needs::{Configs, Need, Sample};
use others::OTHERS;
use peers::Extra;
use pictures::PICTURES;
use prompts::PROMPTS;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Mutex,
    },
    thread,
    time::Instant,
};
use tally::Tally;
use variants::VARIANTS;

/// Boots virtgpu_bridge in virtual machines and reads their screens back.
#[derive(Parser)]
enum Cli {
    /// Boots one machine under firmware; leaves screenshots and the text read off the last one.
    Run {
        #[command(flatten)]
        guest: Guest,
        /// Show the screen in a window, until that is closed.
        #[arg(long)]
        window: bool,
    },
    /// Runs the cases.
    Test {
        #[command(flatten)]
        guest: Guest,
        /// The same kernel without the driver.
        #[arg(long)]
        plain_image: PathBuf,
        /// The same kernel with the native driver as modules.
        #[arg(long)]
        modular_image: PathBuf,
        /// Modules for the guest: virtgpu_bridge.ko for the kernel without the driver, and the
        /// native driver's for the other.
        #[arg(long = "module", value_name = "FILE")]
        modules: Vec<PathBuf>,
        /// The folder of the UEFI driver, and of its boot loader.
        #[arg(long, value_name = "FOLDER")]
        handoff: PathBuf,
        /// The folder of Debian's own initramfs, and of the disk that it opens.
        #[arg(long, value_name = "FOLDER")]
        debian: Option<PathBuf>,
        #[command(flatten)]
        choice: Choice,
        /// How many machines run at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Lists the cases that a kernel would run. It need not be built.
    List {
        #[command(flatten)]
        choice: Choice,
    },
    /// Has kernels die, and says what our screen, other displays and the serial port show of it.
    Survey {
        #[command(flatten)]
        guest: Guest,
    },
    /// Runs the driver's KUnit tests at boot and counts them.
    Kunit {
        /// A kernel with the driver and its tests built in.
        #[arg(long)]
        image: PathBuf,
        /// The kernel's tools/testing/kunit/kunit.py.
        #[arg(long)]
        kunit_py: PathBuf,
        /// The folder for the log.
        #[arg(long)]
        out: PathBuf,
    },
    /// Finds the driver's deepest path of calls in a kernel's disassembly.
    Stack {
        /// A kernel with the driver built in, as linked.
        vmlinux: PathBuf,
    },
    /// Counts what lines cost on this driver's consoles and on others.
    Bench {
        #[command(flatten)]
        guest: Guest,
        /// The same kernel without the driver.
        #[arg(long)]
        plain_image: PathBuf,
        /// That kernel with simpledrm and drm_log.
        #[arg(long)]
        peers_image: PathBuf,
        /// A kernel with the driver, without virtual terminals.
        #[arg(long)]
        novt_image: PathBuf,
        /// What writes lines in the guest.
        #[arg(long)]
        writer: PathBuf,
        /// The driver's own memory in the kernel's image, in bytes.
        #[arg(long)]
        memory: u64,
        /// The instruction counts to compare with.
        #[arg(long)]
        baseline: PathBuf,
        /// Make what is counted the baseline.
        #[arg(long)]
        update: bool,
        /// Only the shortest case.
        #[arg(long)]
        short: bool,
        /// Only what has a name that holds this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Sums the results in log files.
    Tally {
        /// Logs that end with `N passed, N failed`, or with cargo's results.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Which cases are run.
#[derive(Args)]
struct Choice {
    /// The configuration of the kernel with the driver built in.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The configuration of the kernel with the native driver as modules; the same if none is
    /// named.
    #[arg(long, value_name = "FILE")]
    modular_config: Option<PathBuf>,
    /// The kernel's name, for kernels that run a sample of the cases.
    #[arg(long, default_value = "")]
    kernel: String,
    /// Only cases whose name holds one of these, which commas divide, whatever the sample is.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Not those whose name holds one of these.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// Also the cases that take long.
    #[arg(long)]
    long: bool,
}

/// All cases, those that take long last.
static TABLES: &[Table] = &[
    table(CASES, &[]),
    table(PICTURES, &[]),
    table(ENDINGS, &[]),
    table(HANDOFFS, &[]),
    table(OTHERS, &[]),
    table(VARIANTS, &[]),
    table(PROMPTS, &[]),
    table(VT_ENDINGS, &[Need::Vt]),
    table(COMMAND_LINES, &[Need::Vt]),
    table(FAULTS, &[Need::Vt]),
    table(CONSOLE_CASES, &[Need::NoVt]),
    long(LONG_CASES, &[]),
    long(LONG_FAULTS, &[Need::Vt]),
    long(LONG_ENDINGS, &[]),
];

/// The cases that were chosen, and how many were left out for what reason.
struct Chosen {
    configs: Configs,
    runs: Vec<Run>,
    left_out: BTreeMap<String, usize>,
}

impl Choice {
    fn choose(self) -> Result<Chosen> {
        let modular = self.modular_config.as_ref().unwrap_or(&self.config);
        let configs = Configs::read(&self.config, modular)?;
        let bench = Bench::unbuilt(configs.console());
        let sample = Sample::of(&self.kernel);
        let mut runs = Vec::new();
        let mut left_out = BTreeMap::new();
        for run in TABLES.iter().flat_map(Table::runs) {
            let name = run.name();
            let holds = |words: &[String]| words.iter().any(|word| name.contains(word.as_str()));
            if holds(&self.skip) || !self.only.is_empty() && !holds(&self.only) {
                continue;
            }
            let needs = run.needs(&bench);
            let unmet = needs.into_iter().find(|&need| !configs.meet(need));
            let reason = match unmet {
                Some(need) => format!("need {}", need.name()),
                None if run.is_long() && !self.long => "take long (LONG=1)".into(),
                None if self.only.is_empty() && !sample.has(&name) => {
                    format!("are not in the sample of {}", self.kernel)
                }
                None => {
                    runs.push(run);
                    continue;
                }
            };
            *left_out.entry(reason).or_default() += 1;
        }
        Ok(Chosen {
            configs,
            runs,
            left_out,
        })
    }
}

impl Chosen {
    /// Says in one line what was left out, if anything.
    fn say_what_is_left_out(&self) {
        let reasons = self.left_out.iter();
        let reasons: Vec<_> = reasons
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        if !reasons.is_empty() {
            println!("left out: {}", reasons.join(", "));
        }
    }
}

#[derive(Args)]
struct Guest {
    /// A kernel with the driver built in.
    #[arg(long)]
    image: PathBuf,
    /// The kernel's source, for its fonts.
    #[arg(long, value_name = "KERNEL_SRC")]
    fonts: PathBuf,
    /// The folder for screenshots and logs.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<()> {
    let tally = match cli {
        Cli::Run { guest, window } => {
            let Guest { image, fonts, out } = guest;
            println!("booting {} under UEFI firmware", image.display());
            let kernels = Kernels::all(&image);
            return run::run(&Bench::new(kernels, &[], &fonts, &out)?, window, &out);
        }
        Cli::Test {
            guest,
            plain_image,
            modular_image,
            modules,
            handoff,
            debian,
            choice,
            jobs,
        } => {
            let Guest { image, fonts, out } = guest;
            let chosen = choice.choose()?;
            let kernels = Kernels {
                image,
                plain: plain_image,
                modular: modular_image,
                console: chosen.configs.console().into(),
            };
            let mut bench = Bench::new(kernels, &modules, &fonts, &out)?.with_handoff(&handoff);
            if let Some(folder) = debian {
                bench = bench.with_debian(&folder)?;
            }
            let tally = test(&bench, &chosen.runs, jobs, &out);
            chosen.say_what_is_left_out();
            tally
        }
        Cli::List { choice } => {
            let chosen = choice.choose()?;
            for run in &chosen.runs {
                println!("{}", run.name());
            }
            chosen.say_what_is_left_out();
            return Ok(());
        }
        Cli::Survey { guest } => {
            let Guest { image, fonts, out } = guest;
            let kernels = Kernels::all(&image);
            return survey::run(&Bench::new(kernels, &[], &fonts, &out)?, &out);
        }
        Cli::Kunit {
            image,
            kunit_py,
            out,
        } => kunit::run(&image, &kunit_py, &out)?,
        Cli::Stack { vmlinux } => stack::run(&vmlinux)?,
        Cli::Bench {
            guest,
            plain_image,
            peers_image,
            novt_image,
            writer,
            memory,
            baseline,
            update,
            short,
            only,
        } => {
            let Guest { image, fonts, out } = guest;
            let kernels = Kernels {
                plain: plain_image,
                ..Kernels::all(&image)
            };
            let bench = Bench::new(kernels, &[], &fonts, &out)?;
            let initrd = out.join("bench.cpio");
            initramfs::write_bench(&initrd, &writer, &bench.fonts)?;
            let extra = Extra {
                peers: peers_image,
                novt: novt_image,
                initrd,
                memory,
            };
            let bencher = Bencher {
                bench: &bench,
                extra: &extra,
                out: &out,
                baseline: &baseline,
            };
            match short {
                true => bencher.check()?,
                false => bencher.run(update, only.as_deref())?,
            }
        }
        Cli::Tally { files } => {
            let mut sum = Tally::default();
            let mut silent = false;
            for path in &files {
                let log = fs::read(path).unwrap_or_default();
                match Tally::read(&String::from_utf8_lossy(&log)) {
                    Some(tally) => sum += tally,
                    None => {
                        println!("{}: no result", path.display());
                        silent = true;
                    }
                }
            }
            // A run that did not come to its result has failed, whatever others did.
            if silent {
                sum.count(false);
            }
            sum
        }
    };
    println!("{tally}");
    tally.check()
}

/// Runs `cases`, `jobs` at a time, and says how each went as soon as it has ended.
fn test(bench: &Bench, runs: &[Run], jobs: usize, out: &std::path::Path) -> Tally {
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let name = run.name();
                    let result = run.run(bench, &out.join(&name));
                    let (word, what) = match &result {
                        Ok(seen) => ("ok  ", seen.clone()),
                        Err(error) => ("FAIL", format!("{error:#}")),
                    };
                    // Held while printing, so that lines of two cases do not mix.
                    if let Ok(mut tally) = tally.lock() {
                        println!(
                            "{word} {name:<22}{:5.1} s  {what}",
                            started.elapsed().as_secs_f32()
                        );
                        tally.count(result.is_ok());
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap_or_default()
}
