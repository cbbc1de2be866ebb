// SPDX-License-Identifier: GPL-2.0

//! A program that a machine needs beside it, and that ends with it.

use anyhow::{Context, Result};
use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// Returns a command that the kernel kills should this program die first.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(program.as_ref())
        .stdin(Stdio::null());
    command
}

/// A running program. It is killed when dropped.
pub struct Process(pub Child);

impl Process {
    /// Starts it; `name` is for the error.
    pub fn start(command: &mut Command, name: &str) -> Result<Self> {
        let child = command.spawn();
        Ok(Self(child.with_context(|| format!("cannot run {name}"))?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
