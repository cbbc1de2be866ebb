// SPDX-License-Identifier: GPL-2.0

//! Plants faults in the driver's pure modules, one at a time, and counts how many of them the host
//! tests detect.
//!
//! | file         | contents                                              |
//! |--------------|-------------------------------------------------------|
//! | `fault.rs`   | the faults of a source file                           |
//! | `tree.rs`    | a copy of the sources, in which a fault is tested     |
//! | `allowed.rs` | the list of faults without an effect                  |
//!
//! It runs in the project's top folder and changes files below the given folder only.

mod allowed;
mod fault;
mod tree;

use anyhow::{ensure, Result};
use clap::Parser;
use fault::Fault;
use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    thread,
};
use tree::Tree;

/// Plants faults in the driver's pure modules, one at a time, and counts how many the host tests
/// detect. At least 185 of 200 planted faults have to be detected.
#[derive(Parser)]
struct Cli {
    /// The seed that selects the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The number of faults.
    #[arg(long, default_value_t = 200)]
    count: usize,
    /// The number of faults that are tested at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only faults with this text in their name: `file:line: from -> to`.
    #[arg(long, default_value = "")]
    only: String,
    /// Also prints which test has detected a fault.
    #[arg(long)]
    verbose: bool,
    /// The list of faults without an effect.
    #[arg(long, default_value = "tests/mutants.allowed")]
    allowed: PathBuf,
    /// The folder of the copy of the sources.
    #[arg(long, default_value = "build/mutants")]
    out: PathBuf,
    /// Lists the faults, and tests none.
    #[arg(long)]
    list: bool,
}

/// The files and folders in which faults are planted.
const SOURCES: &[&str] = &[
    "drivers/console/emergency.rs",
    "drivers/device/native.rs",
    "drivers/firmware",
    "drivers/gpu",
    "drivers/pci",
    "drivers/scanout",
    "drivers/text",
    "drivers/virtio",
];

/// The minimum number of detected faults, of that many.
const NOTICED: usize = 185;
const OF: usize = 200;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The result of a fault.
enum Outcome {
    /// It does not compile, and so does not count.
    Invalid,
    /// This test failed, or did not end.
    Noticed(String),
    /// All tests passed.
    Survived,
}

/// The progress of the run.
struct Progress {
    /// Faults that are not tested yet.
    left: VecDeque<(usize, Fault)>,
    /// Faults that are being tested.
    busy: usize,
    noticed: usize,
    /// Faults that no test detects, as they have no effect.
    allowed: usize,
    survived: usize,
    /// Changes that did not compile.
    invalid: usize,
}

impl Progress {
    fn tried(&self) -> usize {
        self.noticed + self.allowed + self.survived
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let mut faults = Vec::new();
    for source in SOURCES {
        find(Path::new(source), &mut faults)?;
    }
    let allowed = allowed::read(&fs::read_to_string(&cli.allowed)?)?;
    for entry in &allowed {
        let is_known = faults.iter().any(|fault| entry.is(fault));
        ensure!(is_known, "no source has this any more: {}", entry.name());
    }
    shuffle(&mut faults, cli.seed);
    let all = faults.len();
    faults.retain(|fault| fault.name().contains(&cli.only));
    if cli.list {
        faults.iter().for_each(|fault| println!("{}", fault.name()));
        return Ok(true);
    }
    println!(
        "{all} faults can be planted; {} are, with seed {}",
        cli.count, cli.seed
    );
    // Some faults will not compile.
    faults.truncate(cli.count * 3 / 2);
    let mut tree = Tree::new(&cli.out, cli.seed)?;
    let all = tree.with_all(&mut faults)?;
    let tree = Mutex::new(tree);

    let progress = Mutex::new(Progress {
        left: faults.into_iter().enumerate().collect(),
        busy: 0,
        noticed: 0,
        allowed: 0,
        survived: 0,
        invalid: 0,
    });
    let try_out = |number: usize, fault: &Fault| -> Result<Outcome> {
        let (tests, on) = match &fault.switch {
            Some(_) => (Some(all.clone()), Some(number)),
            None => (tree.lock().unwrap().with(fault)?, None),
        };
        Ok(match tests.map(|tests| tests.notice(on)).transpose()? {
            None => Outcome::Invalid,
            Some(None) => Outcome::Survived,
            Some(Some(test)) => Outcome::Noticed(test),
        })
    };
    let worker = || -> Result<()> {
        loop {
            let (number, fault) = {
                let mut progress = progress.lock().unwrap();
                if progress.tried() + progress.busy >= cli.count {
                    return Ok(());
                }
                let Some(next) = progress.left.pop_front() else {
                    return Ok(());
                };
                progress.busy += 1;
                next
            };
            let outcome = try_out(number, &fault);
            let mut progress = progress.lock().unwrap();
            progress.busy -= 1;
            let reason = allowed.iter().find(|entry| entry.is(&fault));
            match (outcome?, reason) {
                (Outcome::Invalid, _) => {
                    progress.invalid += 1;
                    continue;
                }
                (Outcome::Noticed(test), _) => {
                    progress.noticed += 1;
                    if cli.verbose {
                        println!("noticed by {test}: {}\n    {}", fault.name(), fault.text);
                    }
                }
                (Outcome::Survived, Some(_)) => progress.allowed += 1,
                (Outcome::Survived, None) => {
                    progress.survived += 1;
                    println!("not noticed: {}\n    {}", fault.name(), fault.text);
                }
            }
            if progress.tried() % 10 == 0 {
                let (tried, survived) = (progress.tried(), progress.survived);
                println!(
                    "   {tried} of {}, {survived} of them not noticed",
                    cli.count
                );
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cli.jobs).map(|_| scope.spawn(&worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap())
    })?;
    // Broken sources would detect every fault.
    tree.lock().unwrap().with_none()?.check_clean()?;

    let progress = progress.into_inner().unwrap();
    let tried = progress.tried();
    ensure!(tried > 0, "no fault was planted");
    let noticed = progress.noticed + progress.allowed;
    let passed = noticed * OF >= NOTICED * tried;
    println!(
        "{}  {noticed} of {tried} planted faults are noticed, {} of them listed as changing nothing \
         (seed {}; {} more did not compile)",
        if passed { "ok  " } else { "FAIL" },
        progress.allowed,
        cli.seed,
        progress.invalid
    );
    let (passed, failed) = (usize::from(passed), usize::from(!passed));
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Adds the faults of a file, or of all files of a folder.
fn find(path: &Path, faults: &mut Vec<Fault>) -> Result<()> {
    if !path.is_dir() {
        if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.to_string_lossy();
            faults.extend(fault::all(&file, &fs::read_to_string(path)?)?);
        }
        return Ok(());
    }
    let mut entries = fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| entry.file_name());
    entries
        .into_iter()
        .try_for_each(|entry| find(&entry.path(), faults))
}

/// Shuffles the items: the same seed has the same order (Fisher and Yates, on the numbers of
/// SplitMix64).
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    let mut random = || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    for last in (1..items.len()).rev() {
        items.swap(last, (random() % (last as u64 + 1)) as usize);
    }
}
