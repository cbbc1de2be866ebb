// SPDX-License-Identifier: GPL-2.0

//! A copy of the sources, in which faults are planted, compiled and tested.

use crate::fault::{self, Fault, Part};
use anyhow::{bail, ensure, Context, Result};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{channel, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// The memory limit of a test run; a fault may allocate without end.
const MEMORY_LIMIT: &str = "--as=4294967296";

/// The limit of a test run's CPU time, as a multiple of that without a fault.
const CPU_TIME_FACTOR: u32 = 5;

/// The limit of a test run's wall-clock time, as a multiple of the CPU limit.
const WALL_TIME_FACTOR: u32 = 50;

/// The switches of the faults, for the copy's crate root; see [`fault::plant_all`].
const SWITCH: &str = "
/// Returns whether the fault of this number is switched on.
pub(crate) fn planted(number: u32) -> bool {
    static ON: std::sync::OnceLock<Option<u32>> = std::sync::OnceLock::new();
    *ON.get_or_init(|| std::env::var(\"FAULT\").ok()?.parse().ok()) == Some(number)
}
";

/// A copy of the tree, with a build of its own.
pub struct Tree {
    root: PathBuf,
    seed: u64,
    /// The limit of a test run's CPU time.
    limit: Duration,
    /// The number of programs built.
    built: usize,
}

/// A test program.
#[derive(Clone)]
pub struct Tests {
    program: PathBuf,
    /// The folder in which it runs.
    folder: PathBuf,
    seed: u64,
    limit: Duration,
}

/// The result of a build.
enum Build {
    Tests(Tests),
    /// The compiler's messages, in JSON.
    Errors(Vec<Value>),
}

impl Tree {
    /// Copies the driver and its tests to `root`. `seed` is for the tests that take random inputs.
    pub fn new(root: &Path, seed: u64) -> Result<Self> {
        for folder in ["drivers", "tests"] {
            copy(Path::new(folder), &root.join(folder))
                .with_context(|| format!("cannot copy {folder}"))?;
        }
        Ok(Self {
            // Programs run elsewhere.
            root: root.canonicalize()?,
            seed,
            limit: Duration::from_secs(3600),
            built: 0,
        })
    }

    /// Builds the tests with all faults that can have a switch, and checks that they pass while
    /// none is on. Faults that do not compile lose their switch.
    pub fn with_all(&mut self, faults: &mut [Fault]) -> Result<Tests> {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for fault in &*faults {
            if !files.contains_key(&fault.file) {
                let source = fs::read_to_string(self.root.join(&fault.file))?;
                files.insert(fault.file.clone(), source);
            }
        }
        let lib = self.root.join("tests/host/src/lib.rs");
        let root = fs::read_to_string(&lib)?;
        fs::write(&lib, format!("{root}{SWITCH}"))?;
        let tests = loop {
            let mut parts = BTreeMap::new();
            for (file, source) in &files {
                let all: Vec<_> = (0..)
                    .zip(&*faults)
                    .filter(|it| it.1.file == *file)
                    .collect();
                let (text, places) = fault::plant_all(source, &all);
                write(&self.root.join(file), &text)?;
                parts.insert(file.clone(), places);
            }
            let errors = match self.build()? {
                Build::Tests(tests) => break tests,
                Build::Errors(errors) => errors,
            };
            let mut lost = BTreeSet::new();
            for error in &errors {
                lost.extend(culprits(error, &parts));
            }
            let Some(_) = lost.first() else {
                bail!("the sources do not compile: {}", rendered(&errors));
            };
            println!("   {} of the faults want a build of their own", lost.len());
            lost.iter().for_each(|&number| faults[number].switch = None);
        };
        for (file, source) in &files {
            write(&self.root.join(file), source)?;
        }
        fs::write(&lib, root)?;
        let begin = cpu_time()?;
        tests.check_clean()?;
        self.limit = (cpu_time()? - begin) * CPU_TIME_FACTOR + Duration::from_secs(10);
        Ok(Tests {
            limit: self.limit,
            ..tests
        })
    }

    /// Builds the tests with one fault; nothing if they do not compile. The sources are restored
    /// then.
    pub fn with(&mut self, fault: &Fault) -> Result<Option<Tests>> {
        let file = self.root.join(&fault.file);
        let source = fs::read_to_string(&file)?;
        fs::write(&file, fault.plant(&source))?;
        let build = self.build();
        fs::write(&file, source)?;
        Ok(match build? {
            Build::Tests(tests) => Some(tests),
            Build::Errors(_) => None,
        })
    }

    /// Builds the unchanged tests.
    pub fn with_none(&mut self) -> Result<Tests> {
        match self.build()? {
            Build::Tests(tests) => Ok(tests),
            Build::Errors(errors) => bail!("the sources do not compile: {}", rendered(&errors)),
        }
    }

    fn build(&mut self) -> Result<Build> {
        let output = command("cargo")
            .args([
                "test",
                "--locked",
                "--no-run",
                "--package",
                "host",
                "--jobs=2",
            ])
            .arg("--manifest-path")
            .arg(self.root.join("tests/Cargo.toml"))
            .arg("--target-dir")
            .arg(self.root.join("target"))
            .arg("--message-format=json")
            // No debug information, which makes the build faster.
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .output()
            .context("cannot run cargo")?;
        let messages: Vec<Value> = String::from_utf8(output.stdout)?
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        if !output.status.success() {
            let is_error = |message: &Value| message["message"]["level"] == "error";
            let errors: Vec<_> = messages.into_iter().filter(is_error).collect();
            let message = String::from_utf8_lossy(&output.stderr);
            ensure!(!errors.is_empty(), "cargo: {message}");
            return Ok(Build::Errors(errors));
        }
        let program = messages
            .iter()
            .find_map(|message| message["executable"].as_str())
            .context("cargo names no test program")?;
        // The next build has the same name.
        let programs = self.root.join("programs");
        fs::create_dir_all(&programs)?;
        let copy = programs.join(self.built.to_string());
        fs::copy(program, &copy)?;
        self.built += 1;
        Ok(Build::Tests(Tests {
            program: copy,
            folder: self.root.join("tests/host"),
            seed: self.seed,
            limit: self.limit,
        }))
    }
}

/// The maximum distance in bytes from an error to a fault that causes it elsewhere.
const NEAR: usize = 2000;

/// Returns the faults that may have caused an error of the compiler: the innermost around its
/// position, or else all near it.
fn culprits(error: &Value, parts: &BTreeMap<String, Vec<Part>>) -> Vec<usize> {
    let places = |span: &Value| {
        let name = span["file_name"].as_str()?;
        let at = span["byte_start"].as_u64()? as usize..span["byte_end"].as_u64()? as usize;
        let (_, parts) = parts.iter().find(|(file, _)| name.ends_with(*file))?;
        Some((at, parts))
    };
    let around = |span: &Value| {
        let (at, parts) = places(span)?;
        let around = parts.iter().filter(|(_, part)| part.contains(&at.start));
        let innermost = around.min_by_key(|(_, part)| part.len())?;
        Some(vec![innermost.0])
    };
    let near = |span: &Value| {
        let (at, parts) = places(span)?;
        let near = at.start.saturating_sub(NEAR)..at.end + NEAR;
        let is_near = |part: &&Part| near.contains(&part.1.start);
        let found: Vec<_> = parts.iter().filter(is_near).map(|part| part.0).collect();
        (!found.is_empty()).then_some(found)
    };
    let spans = error["message"]["spans"].as_array();
    let (first, others): (Vec<_>, Vec<_>) = spans
        .into_iter()
        .flatten()
        .partition(|span| span["is_primary"] == true);
    let spans = || first.iter().chain(&others);
    spans()
        .find_map(|span| around(span))
        .or_else(|| spans().find_map(|span| near(span)))
        .unwrap_or_default()
}

/// Returns the compiler's messages as text.
fn rendered(errors: &[Value]) -> String {
    let messages = errors
        .iter()
        .filter_map(|error| error["message"]["rendered"].as_str());
    messages.collect()
}

impl Tests {
    /// Fails unless all tests pass without a fault.
    pub fn check_clean(&self) -> Result<()> {
        match self.notice(None)? {
            None => Ok(()),
            Some(test) => bail!("without a fault, {test} fails"),
        }
    }

    /// Runs the tests, short ones first, until one fails; returns its name. The fault `on` is
    /// switched on, if any.
    pub fn notice(&self, on: Option<usize>) -> Result<Option<String>> {
        for part in [["kunit::"].as_slice(), &["--skip", "kunit::"]] {
            if let Some(test) = self.run(on, part)? {
                return Ok(Some(test));
            }
        }
        Ok(None)
    }

    fn run(&self, on: Option<usize>, part: &[&str]) -> Result<Option<String>> {
        let mut child = command("prlimit")
            .arg(MEMORY_LIMIT)
            // A test that never ends uses CPU time only.
            .arg(format!("--cpu={}", self.limit.as_secs()))
            .arg(&self.program)
            .arg("--test-threads=1")
            .args(part)
            .current_dir(&self.folder)
            .env(
                "FAULT",
                on.map_or(String::new(), |number| number.to_string()),
            )
            .env("PROPTEST_RNG_SEED", self.seed.to_string())
            // Failing inputs need not be minimised.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run the tests")?;
        let output = child.stdout.take().context("they have no output")?;
        let (sender, lines) = channel();
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });
        let end = Instant::now() + self.limit * WALL_TIME_FACTOR;
        let (mut failed, mut last) = (None, String::new());
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.ends_with(" ... FAILED") => {
                    failed = Some(name(&line));
                    break;
                }
                Ok(line) => last = line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    failed = Some("a test that never ends".to_owned());
                    break;
                }
            }
        }
        if failed.is_some() {
            child.kill()?;
        }
        let status = child.wait()?;
        drop(lines);
        let _ = reader.join();
        Ok(failed.or_else(|| (!status.success()).then(|| name(&last))))
    }
}

/// Returns the CPU time of the ended children of this program.
fn cpu_time() -> Result<Duration> {
    /// Clock ticks per second, in Linux' statistics of a process.
    const TICKS: u64 = 100;

    let stat = fs::read_to_string("/proc/self/stat")?;
    // After the name, which may contain any characters: fields 3 and so on of proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(')').context("no process is so")?;
    let fields: Vec<_> = fields.split_whitespace().collect();
    let ticks = |field: usize| fields[field - 3].parse::<u64>();
    Ok(Duration::from_millis(
        (ticks(16)? + ticks(17)?) * 1000 / TICKS,
    ))
}

/// Returns the name of the test in a line of the test program's output.
fn name(line: &str) -> String {
    let name = line.trim_start_matches("test ");
    name.split(" ... ").next().unwrap_or_default().to_owned()
}

/// Returns a command that the kernel kills if this program dies first.
fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// Writes a file. A file with the same content keeps its time stamp.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text)?;
    }
    Ok(())
}

/// Makes a folder equal to another one. A file that is equal already keeps its time stamp.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            let bytes = fs::read(&from)?;
            if fs::read(&to).ok().as_ref() != Some(&bytes) {
                fs::write(&to, bytes)?;
            }
        }
    }
    Ok(())
}
