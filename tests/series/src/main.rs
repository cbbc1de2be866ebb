// SPDX-License-Identifier: GPL-2.0

//! Makes the driver into a series of patches against a kernel tree, and checks each of them.
//!
//! | file         | what                                                         |
//! |--------------|--------------------------------------------------------------|
//! | `plan.rs`    | the list of patches (`tests/series/patches.txt`)             |
//! | `modules.rs` | the crate's modules, and which others each uses              |
//! | `series.rs`  | which files each patch has                                   |
//! | `edit.rs`    | what the driver's own files are changed into for a patch     |
//! | `kernel.rs`  | the places in the kernel's own files                         |
//! | `git.rs`     | git                                                          |
//! | `check.rs`   | git am, checkpatch and a build, patch by patch               |
//!
//! It runs in the project's top folder and changes nothing but what is below the folder that it is
//! given.

mod check;
mod edit;
mod git;
mod kernel;
mod modules;
mod plan;
mod series;

use anyhow::{Context, Result};
use clap::Parser;
use git::Author;
use series::Places;
use std::{fs, path::PathBuf, process::ExitCode, thread};

/// Makes the driver into a series of patches against a kernel tree, in patches/ below --out.
#[derive(Parser)]
struct Cli {
    /// The kernel's source. It may have the driver grafted.
    #[arg(long)]
    kernel: PathBuf,
    /// The unpacked source of the bitflags crate.
    #[arg(long)]
    bitflags: PathBuf,
    /// Where the patches go.
    #[arg(long, default_value = "build/series")]
    out: PathBuf,
    /// The list of patches.
    #[arg(long, default_value = "tests/series/patches.txt")]
    list: PathBuf,
    /// Who sends the series: `Name <address>`. Git's user, if it is not said.
    #[arg(long)]
    from: Option<String>,
    /// Also applies each patch to a tree, and runs checkpatch on it.
    #[arg(long)]
    check: bool,
    /// With --check: also builds the driver after each patch, with this kernel configuration.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How it is built: in the kernel (y), as a module (m).
    #[arg(long = "as", value_delimiter = ',', default_value = "y,m")]
    values: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("series: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let author = match &cli.from {
        Some(from) => Author::parse(from).context("--from is not Name <address>")?,
        None => Author::of_git()?,
    };
    fs::create_dir_all(&cli.out)?;
    let places = Places {
        kernel: cli
            .kernel
            .canonicalize()
            .context("there is no such kernel")?,
        bitflags: cli.bitflags.clone(),
        out: cli.out.canonicalize()?,
    };
    let patches = plan::read(&cli.list)?;
    let made = series::make(&patches, &places, &author)?;
    println!(
        "{} patches in {}",
        made.len(),
        places.out.join("patches").display()
    );
    if !cli.check {
        return Ok(true);
    }
    let build = cli.config.as_ref().map(|config| check::Build {
        config: config.clone(),
        values: cli.values.clone(),
        jobs: thread::available_parallelism().map_or(1, |count| count.get()),
    });
    check::run(&made, &places, &author, build.as_ref())
}
