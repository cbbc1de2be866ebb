// SPDX-License-Identifier: GPL-2.0

//! Counts what lines cost on this driver's consoles and on others.
//!
//! | file             | what                                                            |
//! |------------------|-----------------------------------------------------------------|
//! | `compare.rs`     | the cases, their tables and the baseline                        |
//! | `peers.rs`       | the consoles that are measured, and their machines              |
//! | `measure.rs`     | a boot that writes lines: what they cost, what the screen shows |
//! | `framebuffer.rs` | what an update of a framebuffer costs                           |
//! | `first_text.rs`  | instructions until there is text                                |
//! | `plot.rs`        | plots                                                           |

mod compare;
mod first_text;
mod framebuffer;
mod measure;
mod peers;
mod plot;

use anyhow::Result;
use clap::Parser;
use compare::Bencher;
use peers::Extra;
use std::{path::PathBuf, process::ExitCode};
use vm::{
    guests::{Guests, Kernels},
    initramfs,
    tally::{self, Tally},
};

/// Counts what lines cost on this driver's consoles and on others.
#[derive(Parser)]
struct Cli {
    /// A kernel with the driver built in.
    #[arg(long)]
    image: PathBuf,
    /// The kernel's source, for its fonts.
    #[arg(long, value_name = "KERNEL_SRC")]
    fonts: PathBuf,
    /// The folder for results, screenshots and logs.
    #[arg(long)]
    out: PathBuf,
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
    /// The program that draws in the guest.
    #[arg(long)]
    kms: PathBuf,
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
}

fn main() -> ExitCode {
    tally::finish("bench", run(Cli::parse()).map(Some))
}

fn run(cli: Cli) -> Result<Tally> {
    let kernels = Kernels {
        plain: cli.plain_image,
        ..Kernels::all(&cli.image)
    };
    let guests = Guests::new(kernels, &[], &[cli.kms], &cli.fonts, &cli.out)?;
    let initrd = cli.out.join("bench.cpio");
    initramfs::write_bench(&initrd, &cli.writer, &guests.fonts)?;
    let extra = Extra {
        peers: cli.peers_image,
        novt: cli.novt_image,
        initrd,
        memory: cli.memory,
    };
    let bencher = Bencher {
        guests: &guests,
        extra: &extra,
        out: &cli.out,
        baseline: &cli.baseline,
    };
    match cli.short {
        true => bencher.check(),
        false => bencher.run(cli.update, cli.only.as_deref()),
    }
}
