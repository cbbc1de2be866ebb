// SPDX-License-Identifier: GPL-2.0

//! Makes the patches: which files each has, and what is in them.

use crate::{
    edit::{self, SPDX},
    git::{Author, Repository},
    kernel,
    modules::{Modules, Name},
    plan::Patch,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Where the driver is in the kernel's tree: it is no DRM driver, has to be there without DRM, and
/// uses what drivers/video has (fonts, apertures, nomodeset).
pub const DRIVER: &str = "drivers/video/virtgpu_bridge";

/// Where the bitflags crate is in the kernel's tree, beside the other crates that it has.
pub const BITFLAGS: &str = "rust/bitflags";

/// What a patch adds that is no folder of the driver.
enum Part {
    /// The bitflags crate, as it was published.
    Bitflags,
    /// The licence of each of its files.
    BitflagsLicence,
    /// The crate's root, Kconfig and the Makefile.
    Kbuild,
    /// The KUnit tests.
    Tests,
    /// The page of the admin guide.
    AdminGuide,
    /// The parameters.
    Parameters,
    /// The entry in MAINTAINERS.
    Maintainers,
}

impl Part {
    fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "bitflags" => Self::Bitflags,
            "bitflags-licence" => Self::BitflagsLicence,
            "kbuild" => Self::Kbuild,
            "tests" => Self::Tests,
            "admin-guide" => Self::AdminGuide,
            "parameters" => Self::Parameters,
            "maintainers" => Self::Maintainers,
            _ => return None,
        })
    }
}

/// Where things are.
pub struct Places {
    /// The kernel's source.
    pub kernel: PathBuf,
    /// The unpacked source of the bitflags crate.
    pub bitflags: PathBuf,
    /// Where the patches go, and everything that is needed to make and to check them.
    pub out: PathBuf,
}

/// Folder of the texts of the series, below the project's top folder.
const TEXTS: &str = "tests/series";

/// A file of the driver that is no Rust.
struct Other {
    text: String,
    is_there: bool,
    /// The functions that it has for Rust.
    defines: BTreeSet<String>,
    /// All names in it, among which are the functions of Rust that it calls.
    names: BTreeSet<String>,
}

impl Other {
    fn read(file: &str) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
        // A header declares what others define, and so wants nothing and has nothing.
        let is_source = file.ends_with(".c");
        let words = |text: &str| -> BTreeSet<String> {
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            words
                .filter(|word| is_source && word.contains(MARK))
                .map(str::to_owned)
                .collect()
        };
        // A definition begins in the first column, and is not over with its line.
        let is_start = |line: &&str| {
            line.starts_with(|c: char| c.is_alphabetic())
                && !line.starts_with("static ")
                && line.contains('(')
                && !line.ends_with(';')
        };
        Ok(Self {
            is_there: false,
            defines: text
                .lines()
                .filter(is_start)
                .flat_map(|line| words(line.split('(').next().unwrap_or_default()))
                .collect(),
            names: words(&text),
            text,
        })
    }
}

/// What the names of functions have in them that C and Rust call of one another.
const MARK: &str = "virtgpu_";

/// What has been added so far.
struct Series<'s> {
    places: &'s Places,
    author: &'s Author,
    modules: Modules,
    repository: Repository,
    /// Modules that are there.
    is_there: BTreeSet<Name>,
    /// Files of the driver that are no Rust.
    others: BTreeMap<String, Other>,
    /// Whether the crate's root is there.
    kbuild: bool,
    /// Whether the tests are there.
    tests: bool,
}

/// Makes the patches. Returns those of the list that came to something, in order.
///
/// # Errors
///
/// Fails if the sources or the kernel's files are not as this program knows them, and if something
/// of the driver is in no patch.
pub fn make<'p>(patches: &'p [Patch], places: &Places, author: &Author) -> Result<Vec<&'p Patch>> {
    let root = Path::new("drivers/virtgpu_bridge.rs");
    let tree = places.out.join("make");
    copy_base(&places.kernel, &tree)?;
    let mut series = Series {
        places,
        author,
        modules: Modules::read(root)?,
        repository: Repository::new(&tree, &places.out.join("make.git"), author)?,
        is_there: BTreeSet::from([Name::new()]),
        others: others("drivers")?,
        kbuild: false,
        tests: false,
    };
    series.repository.commit("base")?;
    let mut made = Vec::new();
    for patch in patches {
        series.add(patch).with_context(|| patch.subject.clone())?;
        if series.repository.is_unchanged()? {
            eprintln!("series: nothing is left for \"{}\"", patch.subject);
            continue;
        }
        series.repository.commit(&message(patch, author))?;
        made.push(patch);
    }
    let missing = series
        .modules
        .0
        .keys()
        .filter(|name| !series.is_there.contains(*name));
    let missing: Vec<String> = missing.map(|name| name.join("::")).collect();
    ensure!(missing.is_empty(), "in no patch: {}", missing.join(", "));
    let missing = series.others.iter().filter(|(_, other)| !other.is_there);
    let missing: Vec<&str> = missing.map(|(name, _)| name.as_str()).collect();
    ensure!(missing.is_empty(), "in no patch: {}", missing.join(", "));
    let cover = fs::read_to_string(Path::new(TEXTS).join("cover-letter.txt"))?;
    series
        .repository
        .format(&places.out.join("patches"), &cover)?;
    Ok(made)
}

fn message(patch: &Patch, author: &Author) -> String {
    format!(
        "{}\n\n{}\n\nSigned-off-by: {author}\n",
        patch.subject, patch.body
    )
}

/// Copies the files of the kernel that the series changes, without a driver that was grafted.
pub fn copy_base(kernel: &Path, tree: &Path) -> Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree)?;
    }
    for file in kernel::FILES {
        let (from, to) = (kernel.join(file), tree.join(file));
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let status = Command::new("tests/graft")
        .arg("--undo")
        .arg(tree)
        .status()?;
    ensure!(status.success(), "tests/graft --undo failed");
    Ok(())
}

/// The driver's files that are no Rust, and belong to the kernel.
fn others(folder: &str) -> Result<BTreeMap<String, Other>> {
    let output = Command::new("git").args(["ls-files", folder]).output()?;
    ensure!(output.status.success(), "git lists no files here");
    let is_other = |file: &&str| {
        let skipped = [".rs", ".md", ".svg", "drivers/Kbuild", "drivers/Kconfig"];
        !skipped.iter().any(|end| file.ends_with(end)) && !file.starts_with("drivers/uefi/")
    };
    let files = String::from_utf8(output.stdout)?;
    files
        .lines()
        .filter(is_other)
        .map(|file| Ok((file.to_owned(), Other::read(file)?)))
        .collect()
}

/// Whether a path is what a patch adds: the same, below it, or of a name that begins so before `*`.
fn selects(pattern: &str, file: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => file.starts_with(start),
        None => Path::new(file).starts_with(pattern),
    }
}

impl Series<'_> {
    fn write(&self, file: &str, text: &str) -> Result<()> {
        let hooks = edit::TEST_HOOKS.trim_start_matches("CONFIG_");
        ensure!(
            !text.contains(hooks),
            "{file} has what only the project's tests need"
        );
        self.repository.write(file, text)
    }

    fn add(&mut self, patch: &Patch) -> Result<()> {
        let mut patterns = Vec::new();
        for word in &patch.adds {
            match Part::parse(word) {
                Some(part) => self.add_part(&part)?,
                None => {
                    ensure!(word.starts_with("drivers"), "unknown part {word}");
                    patterns.push(word.as_str());
                }
            }
        }
        self.add_files(&patterns);
        if self.kbuild {
            self.write_driver()?;
        }
        Ok(())
    }

    /// Adds the files that the patterns select, but for those that use something which is not there
    /// yet. A later patch that selects them brings these.
    fn add_files(&mut self, patterns: &[&str]) {
        let is_selected = |file: &str| patterns.iter().any(|pattern| selects(pattern, file));
        let file_of = |name: &Name| format!("drivers/{}", self.modules.0[name].file.display());
        // A folder's own file comes with the first of its modules.
        let is_folder = |name: &Name| file_of(name).ends_with("/mod.rs");
        let mut modules = self.is_there.clone();
        let names = self.modules.0.keys();
        modules.extend(
            names
                .filter(|name| is_selected(&file_of(name)) || is_folder(name))
                .cloned(),
        );
        let mut others: BTreeSet<String> = self
            .others
            .iter()
            .filter(|(file, other)| other.is_there || is_selected(file))
            .map(|(file, _)| file.clone())
            .collect();
        // Take out what cannot be there, until nothing is left that cannot.
        loop {
            let of_c = self
                .others
                .iter()
                .filter(|(file, _)| !others.contains(*file));
            let not_in_c: BTreeSet<&String> = of_c.flat_map(|(_, other)| &other.defines).collect();
            // The root itself has some, when it is complete.
            let is_there = |name: &Name| {
                modules.contains(name)
                    && (!name.is_empty() || self.modules.0[name].children.is_subset(&modules))
            };
            let of_rust = self.modules.0.iter().filter(|(name, _)| !is_there(name));
            let not_in_rust: BTreeSet<&String> = of_rust
                .flat_map(|(_, module)| &module.defines)
                .filter(|name| name.contains(MARK))
                .collect();
            let is_refused = |name: &Name| {
                let module = &self.modules.0[name];
                let is_empty = is_folder(name) && module.children.is_disjoint(&modules);
                let is_orphan = name
                    .split_last()
                    .is_some_and(|(_, parent)| !modules.contains(parent));
                is_empty
                    || is_orphan
                    || !module.uses.is_subset(&modules)
                    || module.names.iter().any(|name| not_in_c.contains(name))
            };
            let is_waiting = |file: &String| {
                let names = &self.others[file].names;
                names.iter().any(|name| not_in_rust.contains(name))
            };
            let refused: Vec<Name> = modules
                .iter()
                .filter(|name| is_refused(name))
                .cloned()
                .collect();
            let waiting: Vec<String> = others
                .iter()
                .filter(|file| is_waiting(file))
                .cloned()
                .collect();
            if refused.is_empty() && waiting.is_empty() {
                break;
            }
            modules.retain(|name| !refused.contains(name));
            others.retain(|file| !waiting.contains(file));
        }
        self.is_there = modules;
        for file in others {
            if let Some(other) = self.others.get_mut(&file) {
                other.is_there = true;
            }
        }
    }

    /// Writes the driver as far as it is there.
    fn write_driver(&self) -> Result<()> {
        for name in &self.is_there {
            let module = &self.modules.0[name];
            let text = if name.is_empty() {
                edit::root(module, &self.is_there, self.tests)?
            } else {
                edit::module(name, module, &self.is_there)?
            };
            self.write(&format!("{DRIVER}/{}", module.file.display()), &text)?;
        }
        let mut missing = BTreeSet::new();
        for (file, other) in &self.others {
            let name = file.strip_prefix("drivers/").context("not in drivers/")?;
            if other.is_there {
                self.write(&format!("{DRIVER}/{name}"), &other.text)?;
            } else {
                missing.insert(name.to_owned());
            }
        }
        let makefile = edit::makefile(&fs::read_to_string("drivers/Kbuild")?, &missing)?;
        self.write(&format!("{DRIVER}/Makefile"), &makefile)?;
        let kconfig = edit::kconfig(&fs::read_to_string("drivers/Kconfig")?, self.tests);
        self.write(&format!("{DRIVER}/Kconfig"), &kconfig)
    }

    fn add_part(&mut self, part: &Part) -> Result<()> {
        self.kbuild |= matches!(part, Part::Kbuild);
        self.tests |= matches!(part, Part::Tests);
        let text = |name: &str| {
            let file = Path::new(TEXTS).join(name);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let change = |file: &str, change: &dyn Fn(&str) -> Result<String>| {
            let old = self.repository.read(file)?;
            self.write(file, &change(&old)?)
        };
        match part {
            Part::Bitflags => self.add_bitflags(""),
            Part::BitflagsLicence => {
                self.add_bitflags(&format!("// {SPDX}: Apache-2.0 OR MIT\n\n"))
            }
            Part::Kbuild => {
                self.write(
                    &format!("{DRIVER}/.gitignore"),
                    &format!("# {SPDX}: GPL-2.0-only\n/linux/bindings_generated.rs\n"),
                )?;
                let line = format!("source \"{DRIVER}/Kconfig\"");
                change(kernel::KCONFIG, &|text| kernel::kconfig(text, &line))?;
                let line = "obj-$(CONFIG_VIRTGPU_BRIDGE)\t+= virtgpu_bridge/";
                change(kernel::MAKEFILE, &|text| Ok(kernel::makefile(text, line)))
            }
            Part::Tests => self.add_tests(),
            Part::AdminGuide => {
                let page = text("virtgpu-bridge.rst")?;
                self.write("Documentation/admin-guide/virtgpu-bridge.rst", &page)?;
                change(kernel::INDEX, &|text| kernel::index(text, "virtgpu-bridge"))
            }
            Part::Parameters => {
                let (earlycon, others) = (text("earlycon.txt")?, text("parameters.txt")?);
                change(kernel::PARAMETERS, &|text| {
                    kernel::parameters(text, &earlycon, &others)
                })
            }
            Part::Maintainers => {
                let section =
                    text("maintainers.txt")?.replace("@AUTHOR@", &self.author.to_string());
                change(kernel::MAINTAINERS, &|text| {
                    kernel::maintainers(text, &section)
                })
            }
        }
    }

    /// Adds the bitflags crate, without its own tests. Each file begins with `head`.
    fn add_bitflags(&self, head: &str) -> Result<()> {
        ensure!(
            !self.places.kernel.join(BITFLAGS).exists(),
            "the kernel has {BITFLAGS} already"
        );
        let source = &self.places.bitflags;
        let manifest = fs::read_to_string(source.join("Cargo.toml"))
            .with_context(|| format!("no crate in {}", source.display()))?;
        let field = |name: &str| {
            let start = format!("{name} = \"");
            let line = manifest.lines().find_map(|line| line.strip_prefix(&start));
            line.and_then(|line| line.strip_suffix('"'))
                .with_context(|| format!("bitflags has no {name}"))
        };
        ensure!(
            field("license")? == "MIT OR Apache-2.0",
            "bitflags has another licence"
        );
        let readme = fs::read_to_string(Path::new(TEXTS).join("bitflags-readme.txt"))?;
        let readme = readme.replace("@VERSION@", field("version")?);
        self.write(&format!("{BITFLAGS}/README.md"), &readme)?;
        let mut folders = vec![source.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path
                    .strip_prefix(source)?
                    .to_str()
                    .context("a name is no UTF-8")?;
                if path.is_dir() {
                    // Cargo alone builds the tests.
                    if name != "src/tests" {
                        folders.push(path);
                    }
                } else if name != "src/tests.rs" {
                    let text = fs::read_to_string(&path)?;
                    self.write(&format!("{BITFLAGS}/{name}"), &format!("{head}{text}"))?;
                }
            }
        }
        Ok(())
    }

    /// Adds the tests, and what they read as the source of arrays: a patch is text.
    fn add_tests(&self) -> Result<()> {
        for entry in fs::read_dir("tests/kunit")? {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .context("a name is no UTF-8")?;
            if !name.ends_with(".rs") {
                bail!("{} is no Rust", path.display());
            }
            let (text, data) = edit::test(&fs::read_to_string(&path)?);
            self.write(&format!("{DRIVER}/tests/{name}"), &text)?;
            for name in data {
                let bytes = fs::read(Path::new("tests/data").join(&name))?;
                self.write(
                    &format!("{DRIVER}/tests/data/{name}.rs"),
                    &edit::array(&name, &bytes),
                )?;
            }
        }
        Ok(())
    }
}
