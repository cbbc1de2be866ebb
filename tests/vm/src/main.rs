// SPDX-License-Identifier: GPL-2.0

//! Boots virtgpu_bridge in real virtual machines and reads their screens back.
//!
//! | file        | what                                                            |
//! |-------------|-----------------------------------------------------------------|
//! | `cases/`    | the cases of `vm test`, and which of them a kernel runs         |
//! | `run.rs`    | `vm run`: one boot, kept as screenshots and text                |
//! | `survey.rs` | `vm survey`: what other displays show of kernels that die       |
//! | `kunit.rs`  | `vm kunit`: the driver's KUnit tests                            |
//!
//! What it shares with `bench` and `stack` is in `lib.rs`.

mod cases;
mod kunit;
mod run;
mod survey;

use anyhow::Result;
use cases::{choice::Choice, Group, Run};
use clap::{Args, Parser};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Mutex,
    },
    thread,
    time::Instant,
};
use vm::{
    guests::{Guests, Kernels},
    tally::{self, Tally},
};

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
        /// The driver as modules, for the kernel without it.
        #[arg(long = "plain-module", value_name = "FILE")]
        plain_modules: Vec<PathBuf>,
        /// Modules for the other kernels: the native driver's, and what goes with it.
        #[arg(long = "module", value_name = "FILE")]
        modules: Vec<PathBuf>,
        /// Programs for the guest, which cases call.
        #[arg(long = "program", value_name = "FILE")]
        programs: Vec<PathBuf>,
        /// The folder of the UEFI driver, and of its boot loader.
        #[arg(long, value_name = "FOLDER")]
        handoff: PathBuf,
        /// The folder of Debian's own initramfs, and of the disk that it opens.
        #[arg(long, value_name = "FOLDER")]
        debian: Option<PathBuf>,
        /// The sample with a graphical session.
        #[arg(long, value_name = "FILE")]
        session: Option<PathBuf>,
        #[command(flatten)]
        choice: Choice,
        /// How many machines run at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Boots a disk with a whole Debian system, and reads its screen.
    Debian {
        /// The disk that samples/debian/system has made.
        #[arg(long, value_name = "FILE")]
        disk: PathBuf,
        /// The kernel's source, for its fonts.
        #[arg(long, value_name = "KERNEL_SRC")]
        fonts: PathBuf,
        /// The folder for screenshots and logs.
        #[arg(long)]
        out: PathBuf,
        /// Only cases whose name holds one of these, which commas divide.
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
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
    /// Sums the results in log files.
    Tally {
        /// Logs that end with `N passed, N failed`, or with cargo's results.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
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
    tally::finish("vm", dispatch(Cli::parse()))
}

/// Runs a command. Returns its results, if it has any.
fn dispatch(cli: Cli) -> Result<Option<Tally>> {
    let tally = match cli {
        Cli::Run { guest, window } => {
            let Guest { image, fonts, out } = guest;
            println!("booting {} under UEFI firmware", image.display());
            let kernels = Kernels::all(&image);
            run::run(&Guests::new(kernels, &[], &[], &fonts, &out)?, window, &out)?;
            return Ok(None);
        }
        Cli::Test {
            guest,
            plain_image,
            modular_image,
            plain_modules,
            modules,
            programs,
            handoff,
            debian,
            session,
            choice,
            jobs,
        } => {
            let Guest { image, fonts, out } = guest;
            let chosen = choice.choose()?;
            let kernels = Kernels {
                image,
                plain: plain_image,
                plain_modules,
                modular: modular_image,
                console: chosen.configs.console().into(),
            };
            let mut guests =
                Guests::new(kernels, &modules, &programs, &fonts, &out)?.with_handoff(&handoff);
            if let Some(folder) = debian {
                guests = guests.with_debian(&folder, &modules)?;
            }
            if let Some(packed) = session {
                guests = guests.with_session(&packed)?;
            }
            let tally = test(&guests, &chosen.runs, jobs, &out);
            chosen.say_what_is_left_out();
            tally
        }
        Cli::Debian {
            disk,
            fonts,
            out,
            only,
        } => {
            let guests = Guests::of_disk(&disk, &fonts)?;
            let runs: Vec<Run> = cases::debian::GROUPS
                .iter()
                .flat_map(Group::runs)
                .filter(|run| only.is_empty() || only.iter().any(|it| run.name().contains(it)))
                .collect();
            test(&guests, &runs, 1, &out)
        }
        Cli::List { choice } => {
            let chosen = choice.choose()?;
            for run in &chosen.runs {
                println!("{}", run.name());
            }
            chosen.say_what_is_left_out();
            return Ok(None);
        }
        Cli::Survey { guest } => {
            let Guest { image, fonts, out } = guest;
            let kernels = Kernels::all(&image);
            survey::run(&Guests::new(kernels, &[], &[], &fonts, &out)?, &out)?;
            return Ok(None);
        }
        Cli::Kunit {
            image,
            kunit_py,
            out,
        } => kunit::run(&image, &kunit_py, &out)?,
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
            // A run that did not come to its result has failed, even if all others have passed.
            if silent {
                sum.count(false);
            }
            sum
        }
    };
    Ok(Some(tally))
}

/// Runs `cases`, `jobs` at a time, and says how each went as soon as it has ended.
fn test(guests: &Guests, runs: &[Run], jobs: usize, out: &Path) -> Tally {
    // One case alone is run by people who want to see more than its result.
    let live = runs.iter().all(|run| run.same_case(&runs[0]));
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let started = Instant::now();
                    let name = run.name();
                    let folder = out.join(&name);
                    let result = run.run(guests, live, &folder);
                    if result.is_ok() && !live {
                        discard_large_files(&folder);
                    }
                    let (word, what) = match &result {
                        Ok(seen) => ("ok  ", seen.clone()),
                        Err(error) => ("FAIL", format!("{error:#}")),
                    };
                    // Locked while printing, so that lines of two cases do not mix.
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

/// Deletes the files of a case that has passed, but for what people read: disks, firmware's
/// variables and memory take 100 MB of some cases.
fn discard_large_files(folder: &Path) {
    const LARGEST_KEPT: u64 = 4 << 20;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => discard_large_files(&path),
            Ok(metadata) if metadata.len() > LARGEST_KEPT => {
                let _ = fs::remove_file(path);
            }
            _ => (),
        }
    }
}
