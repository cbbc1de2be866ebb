// SPDX-License-Identifier: GPL-2.0

//! Applies the series to a tree of its own, patch by patch, and checks what each leaves.

use crate::{
    git::{Author, Repository},
    kernel,
    plan::Patch,
    series::{self, Places, BITFLAGS, DRIVER},
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// How the patches are built.
pub struct Build {
    /// A kernel configuration that can have the driver.
    pub config: PathBuf,
    /// Values of CONFIG_VIRTGPU_BRIDGE: y or m.
    pub values: Vec<String>,
    /// How many jobs make has.
    pub jobs: usize,
}

/// What checkpatch says of each new file. The entry in MAINTAINERS comes with the last patch.
const IGNORED: &str = "FILE_PATH_CHANGES";

/// Checks the series, and says of each patch what became of it. Returns whether all is well.
///
/// # Errors
///
/// Fails if something else goes wrong than a patch.
pub fn run(
    patches: &[&Patch],
    places: &Places,
    author: &Author,
    build: Option<&Build>,
) -> Result<bool> {
    let tree = places.out.join("linux");
    make_tree(&places.kernel, &tree)?;
    let repository = Repository::new(&tree, &places.out.join("linux.git"), author)?;
    for file in kernel::FILES {
        repository.run(&["add", file])?;
    }
    repository.run(&["commit", "--quiet", "--message", "base"])?;
    let mut files: Vec<PathBuf> = fs::read_dir(places.out.join("patches"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    ensure!(
        files.len() == patches.len() + 1,
        "there are not as many patches as commits"
    );
    let (mut passed, mut failed) = (0, 0);
    for (file, patch) in files.iter().skip(1).zip(patches) {
        let begun = Instant::now();
        let outcome = check(file, patch, &repository, places, build);
        let took = begun.elapsed().as_secs();
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match outcome {
            Ok(what) => {
                println!("ok   {name}: {what}, {took} s");
                passed += 1;
            }
            Err(error) => {
                println!("FAIL {name}: {error:#}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

fn check(
    file: &Path,
    patch: &Patch,
    repository: &Repository,
    places: &Places,
    build: Option<&Build>,
) -> Result<&'static str> {
    let path = file.to_str().context("a name is no UTF-8")?;
    repository.run(&["am", "--quiet", path])?;
    let tree = places.out.join("linux");
    let style = checkpatch(file, patch, &tree);
    let result = match build {
        None => Ok("applies"),
        Some(_) if !tree.join(DRIVER).exists() => Ok("applies, nothing to build yet"),
        Some(build) => build
            .values
            .iter()
            .try_for_each(|value| {
                compile(places, build, value)
                    .with_context(|| format!("CONFIG_VIRTGPU_BRIDGE={value}"))
            })
            .map(|()| "applies and builds"),
    };
    // What is wrong with the style says nothing about the rest.
    match (style, result) {
        (Ok(()), result) => result,
        (Err(style), Ok(what)) => bail!("{what}, but {style:#}"),
        (Err(style), Err(error)) => bail!("{error:#}\n{style:#}"),
    }
}

/// Has the kernel's checkpatch look at a patch; `tests/checkpatch` says what does not count.
fn checkpatch(file: &Path, patch: &Patch, tree: &Path) -> Result<()> {
    let ignored = [&[IGNORED.to_owned()], &patch.ignores[..]]
        .concat()
        .join(",");
    let output = Command::new("tests/checkpatch")
        .arg(tree)
        .args(["--ignore", &ignored])
        .arg(file)
        .output()
        .context("cannot run tests/checkpatch")?;
    let complaints = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "checkpatch complains:\n{complaints}"
    );
    Ok(())
}

/// Builds the driver, in the kernel or as a module. A warning is an error, and so is a function of
/// ours that somebody calls and nobody has.
fn compile(places: &Places, build: &Build, value: &str) -> Result<()> {
    let tree = places.out.join("linux");
    let kconfig = fs::read_to_string(tree.join(DRIVER).join("Kconfig"))?;
    let tests = value == "y" && kconfig.contains("KUNIT");
    // One folder for each configuration: with another one, the kernel crate is built anew.
    let name = if tests { "kunit" } else { value };
    let objects = places.out.join(format!("obj-{name}"));
    fs::create_dir_all(&objects)?;
    let make = |targets: &[&str]| -> Result<String> {
        let output = Command::new("make")
            .arg(format!("-j{}", build.jobs))
            .arg(format!("O={}", objects.display()))
            .args(["LLVM=1", "ARCH=arm64", "LOCALVERSION="])
            .args(targets)
            .current_dir(&tree)
            .env_remove("MAKEFLAGS")
            .env_remove("MAKELEVEL")
            .output()?;
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let is_bad = |line: &&str| {
            ["warning:", "error:", "error[", "--> ", "***", "undefined"]
                .iter()
                .any(|word| line.contains(word))
        };
        let bad: Vec<&str> = said.lines().filter(is_bad).take(20).collect();
        ensure!(
            output.status.success() && bad.is_empty(),
            "make {}:\n{}",
            targets.join(" "),
            bad.join("\n")
        );
        Ok(said.into_owned())
    };
    let config = fs::read_to_string(&build.config)
        .with_context(|| format!("cannot read {}", build.config.display()))?;
    let mut config: String = config
        .lines()
        .filter(|line| !line.contains("CONFIG_VIRTGPU_BRIDGE"))
        .flat_map(|line| [line, "\n"])
        .collect();
    config += &format!("CONFIG_VIRTGPU_BRIDGE={value}\n");
    if tests {
        config += "CONFIG_VIRTGPU_BRIDGE_KUNIT_TEST=y\n";
    }
    let file = objects.join(".config");
    fs::write(&file, &config)?;
    make(&["olddefconfig"])?;
    let is_set = fs::read_to_string(&file)?.contains(&format!("CONFIG_VIRTGPU_BRIDGE={value}\n"));
    ensure!(is_set, "Kconfig does not offer it");
    make(&[&format!("{DRIVER}/")])?;
    let object = if value == "y" {
        "built-in.a"
    } else {
        "virtgpu_bridge.o"
    };
    let output = Command::new("llvm-nm")
        .arg(objects.join(DRIVER).join(object))
        .output()?;
    ensure!(output.status.success(), "there is no {object}");
    let names = String::from_utf8_lossy(&output.stdout);
    let of_kind = |is_undefined: bool| -> BTreeSet<&str> {
        names
            .lines()
            .filter(|line| line.contains(" U ") == is_undefined)
            .filter_map(|line| line.split(' ').next_back())
            .filter(|name| name.starts_with("virtgpu_"))
            .collect()
    };
    let missing: Vec<&str> = of_kind(true).difference(&of_kind(false)).copied().collect();
    ensure!(missing.is_empty(), "nobody has {}", missing.join(", "));
    Ok(())
}

/// Makes a tree in which everything is a link to the kernel's, but what the series changes and the
/// folders of that. It costs nothing, and the kernel's own tree stays as it is.
fn make_tree(source: &Path, tree: &Path) -> Result<()> {
    series::copy_base(source, tree)?;
    let new = [DRIVER, BITFLAGS].map(|folder| format!("{folder}/x"));
    let files = kernel::FILES
        .iter()
        .copied()
        .chain(new.iter().map(String::as_str));
    let mut folders = BTreeSet::from([PathBuf::new()]);
    for file in files {
        folders.extend(Path::new(file).ancestors().skip(1).map(Path::to_owned));
    }
    for folder in folders {
        let from = source.join(&folder);
        // Neither what the series brings, nor what tests/graft has put there.
        if folder == Path::new(DRIVER) || folder == Path::new(BITFLAGS) {
            continue;
        }
        fs::create_dir_all(tree.join(&folder))?;
        for entry in fs::read_dir(&from).with_context(|| format!("no folder {}", from.display()))? {
            let name = entry?.file_name();
            let (path, to) = (folder.join(&name), tree.join(&folder).join(&name));
            let is_folder = [DRIVER, BITFLAGS]
                .iter()
                .any(|new| Path::new(new).starts_with(&path))
                || kernel::FILES
                    .iter()
                    .any(|file| Path::new(file).starts_with(&path));
            if !is_folder && name != ".git" {
                symlink(from.join(&name), &to)
                    .with_context(|| format!("cannot link {}", to.display()))?;
            }
        }
    }
    Ok(())
}
