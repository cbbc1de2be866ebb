// SPDX-License-Identifier: GPL-2.0

//! The guest's initramfs: busybox of Debian's arm64, our init script and perhaps a module, as a
//! newc cpio archive.

use crate::{
    font::{Font, Fonts},
    streams,
};
use anyhow::{Context, Result};
use cpio::{newc, newc::ModeFileType};
use std::{
    fs::{self, File},
    io::{Cursor, Write},
    path::{Path, PathBuf},
};

/// What the guest runs as init; it is part of this program.
const INIT: &[u8] = include_bytes!("../initramfs/init");

/// Where the Makefile unpacks Debian's packages for arm64.
const BUSYBOX: &str = "build/debian-arm64/usr/bin/busybox";

/// The sample that asks for a disk's passphrase; the Makefile makes it.
const SAMPLE: &str = "build/debian.cpio";

/// Makes an encrypted disk of `/dev/vda`, before the sample asks for it.
const FORMAT: &[u8] = include_bytes!("../initramfs/format");

/// Starts another kernel.
const KEXEC: &[u8] = include_bytes!("../initramfs/kexec");

/// Writes the sample to `path`, with these programs beside its init.
pub fn write_sample(path: &Path) -> Result<()> {
    let mut archive =
        fs::read(SAMPLE).with_context(|| format!("no {SAMPLE}: 'make run' gets it"))?;
    // Archives may follow one another.
    let programs = [("format", 1, FORMAT), ("kexec", 2, KEXEC)]
        .map(|(name, ino, text)| (file(name, 0o755).ino(ino), Cursor::new(text.to_vec())));
    archive = cpio::write_cpio(programs.into_iter(), archive)?;
    fs::write(path, archive).with_context(|| format!("cannot write {}", path.display()))
}

/// What Debian's initramfs does instead of mounting a root file system.
const PROMPTS: &[u8] = include_bytes!("../initramfs/prompts");

/// Loads modules into a kernel that runs Debian's initramfs.
const MODULES: &[u8] = include_bytes!("../initramfs/modules");

/// Writes Debian's own initramfs, as `samples/splash/build` leaves it in `packed`, with what it
/// does at last, and with `modules`.
pub fn write_debian(path: &Path, packed: &Path, modules: &[PathBuf]) -> Result<()> {
    let packed = fs::read(packed).with_context(|| format!("no {}", packed.display()))?;
    // What is compressed may follow what is not.
    let mut files = vec![
        (file("scripts/vm", 0o644), PROMPTS.to_vec()),
        (file("conf/conf.d/vm", 0o644), MODULES.to_vec()),
    ];
    for module in modules {
        let (name, bytes) = read(module)?;
        files.push((file(&format!("vm/{name}"), 0o644), bytes));
    }
    archive(path, &["scripts", "conf", "conf/conf.d", "vm"], files)?;
    let mut archive = File::options().append(true).open(path)?;
    Ok(archive.write_all(&packed)?)
}

/// Writes the sample with a graphical session, which is in `packed`, to `path`. Its xterm fills the
/// screen, in the font of the console.
pub fn write_session(path: &Path, packed: &Path, fonts: &Fonts) -> Result<()> {
    let name = Font::BDF;
    let resources = format!(
        "XTerm*font: {name}\nXTerm*geometry: 160x50+0+0\nXTerm*borderWidth: 0\n\
        XTerm*internalBorder: 0\nXTerm*background: black\nXTerm*foreground: rgb:aa/aa/aa\n"
    );
    let files = [
        (XTERM, resources),
        ("usr/share/fonts/X11/misc/kernel.bdf", fonts.first().bdf()),
        (
            "usr/share/fonts/X11/misc/fonts.dir",
            format!("1\nkernel.bdf {name}\n"),
        ),
    ];
    let mut bytes = fs::read(packed).with_context(|| format!("no {}", packed.display()))?;
    let directories = ["usr/share/fonts/X11", "usr/share/fonts/X11/misc"];
    let files = files.map(|(name, text)| (file(name, 0o644), text.into_bytes()));
    // What follows replaces what was there.
    add(&mut bytes, &directories, files.into())?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Where the session's xterm finds what it looks like.
const XTERM: &str = "etc/X11/xterm.resources";

/// Writes lines as the kernel's command line says.
const BENCH: &[u8] = include_bytes!("../initramfs/bench");

/// Writes the archive of measurements to `path`, with the program that writes lines.
pub fn write_bench(path: &Path, writer: &Path, fonts: &Fonts) -> Result<()> {
    let writer = fs::read(writer).with_context(|| format!("no {}", writer.display()))?;
    let files = vec![
        (file("bench", 0o755), BENCH.to_vec()),
        (file("bin/busybox", 0o755), busybox()?),
        (file("bin/writer", 0o755), writer),
        (link("bin/sh"), b"busybox".to_vec()),
        (file("8x16.psf", 0o644), fonts.first().psf(16)),
    ];
    archive(path, &["bin", "dev", "proc"], files)
}

/// Heights of fonts for users to load.
const HEIGHTS: [usize; 2] = [16, 22];

/// Writes the archive to `path`, with `modules` at the guest's root, those for the kernel without
/// the driver in /plain, and `programs` in /bin.
pub fn write(
    path: &Path,
    modules: &[PathBuf],
    plain_modules: &[PathBuf],
    programs: &[PathBuf],
    fonts: &Fonts,
) -> Result<()> {
    let mut files = vec![
        (file("init", 0o755), INIT.to_vec()),
        (file("bin/busybox", 0o755), busybox()?),
        (link("bin/sh"), b"busybox".to_vec()),
    ];
    for module in modules {
        let (name, bytes) = read(module)?;
        files.push((file(name, 0o644), bytes));
    }
    for module in plain_modules {
        let (name, bytes) = read(module)?;
        files.push((file(&format!("plain/{name}"), 0o644), bytes));
    }
    for program in programs {
        let (name, bytes) = read(program)?;
        files.push((file(&format!("bin/{name}"), 0o755), bytes));
    }
    for height in HEIGHTS {
        let psf = fonts.first().psf(height);
        files.push((file(&format!("8x{height}.psf"), 0o644), psf));
    }
    for (number, stream) in streams::all().into_iter().enumerate() {
        files.push((file(&format!("streams/{number:03}"), 0o644), stream.bytes));
    }
    let folders = ["bin", "dev", "plain", "proc", "streams", "sys"];
    archive(path, &folders, files)
}

/// Returns a file's name, and what is in it.
fn read(path: &Path) -> Result<(&str, Vec<u8>)> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.with_context(|| format!("{} has no name", path.display()))?;
    let bytes = fs::read(path).with_context(|| format!("no {}", path.display()))?;
    Ok((name, bytes))
}

fn busybox() -> Result<Vec<u8>> {
    fs::read(BUSYBOX).with_context(|| format!("no {BUSYBOX}: 'make run' gets it"))
}

/// Writes an archive of directories, and files in them.
fn archive(path: &Path, directories: &[&str], files: Vec<(newc::Builder, Vec<u8>)>) -> Result<()> {
    add(File::create(path)?, directories, files)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes the same to `out`.
fn add(out: impl Write, directories: &[&str], files: Vec<(newc::Builder, Vec<u8>)>) -> Result<()> {
    let directories = directories.iter().map(|name| (directory(name), Vec::new()));
    let entries = directories.chain(files);
    let inputs = entries
        .enumerate()
        .map(|(ino, (entry, bytes))| (entry.ino(ino as u32 + 1), Cursor::new(bytes)));
    cpio::write_cpio(inputs, out)?;
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
