// SPDX-License-Identifier: GPL-2.0

//! The guest's initramfs: busybox of Debian's arm64, our init script and perhaps a module, as a
//! newc cpio archive.

use anyhow::{Context, Result};
use cpio::{newc, newc::ModeFileType};
use std::{
    fs::{self, File},
    io::Cursor,
    path::Path,
};

/// What the guest runs as init; it is part of this program.
const INIT: &[u8] = include_bytes!("../initramfs/init");

/// Where the Makefile unpacks Debian's busybox-static for arm64.
const BUSYBOX: &str = "build/arm64/usr/bin/busybox";

/// Writes the archive to `path`, with `module` at the guest's root if there is one.
pub fn write(path: &Path, module: Option<&Path>) -> Result<()> {
    let busybox = fs::read(BUSYBOX).with_context(|| format!("no {BUSYBOX}: 'make run' gets it"))?;
    let mut files = vec![
        (file("init", 0o755), INIT.to_vec()),
        (file("bin/busybox", 0o755), busybox),
        (link("bin/sh"), b"busybox".to_vec()),
    ];
    if let Some(module) = module {
        let name = module
            .file_name()
            .and_then(|name| name.to_str())
            .context("the module has no name")?;
        let bytes = fs::read(module).with_context(|| format!("no module {}", module.display()))?;
        files.push((file(name, 0o644), bytes));
    }
    let directories = ["bin", "dev", "proc", "sys"].map(|name| (directory(name), Vec::new()));
    let entries = directories.into_iter().chain(files);
    let inputs = entries
        .enumerate()
        .map(|(ino, (entry, bytes))| (entry.ino(ino as u32 + 1), Cursor::new(bytes)));
    cpio::write_cpio(inputs, File::create(path)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

fn file(name: &str, mode: u32) -> newc::Builder {
    newc::Builder::new(name)
        .mode(mode)
        .set_mode_file_type(ModeFileType::Regular)
}

fn link(name: &str) -> newc::Builder {
    newc::Builder::new(name)
        .mode(0o777)
        .set_mode_file_type(ModeFileType::Symlink)
}

fn directory(name: &str) -> newc::Builder {
    newc::Builder::new(name)
        .mode(0o755)
        .set_mode_file_type(ModeFileType::Directory)
}
