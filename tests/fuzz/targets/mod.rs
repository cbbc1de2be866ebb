// SPDX-License-Identifier: GPL-2.0

//! Fuzz targets for all code that reads bytes from firmware, a device or a user.
//!
//! A [`Target`] takes any bytes and checks properties that hold for all of them: the code ends
//! after a bounded number of steps, does not panic, and accesses only what it was given. The fuzzer
//! (`make fuzz`) searches for bytes that violate them. The host tests run each target on its seeds,
//! and on the inputs in `tests/fuzz/inputs` that failed before.

pub(crate) mod bytes;
mod device;
mod devicetree;
mod display;
mod pci;
mod pictures;
mod tables;
mod text;
mod virtio;
mod words;

use std::{
    fs,
    io, //
};

/// A fuzz target.
pub struct Target {
    /// Its name, which is that of its module.
    pub name: &'static str,
    /// Runs the target on an input, and returns whether the input was valid, as a table that was
    /// found, or a command that was answered.
    ///
    /// # Panics
    ///
    /// If a property does not hold.
    pub run: fn(&[u8]) -> bool,
    /// Returns the initial inputs: small and valid ones.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        [$(Target {
            name: stringify!($name),
            run: $name::run,
            seeds: $name::seeds,
        }),*]
    };
}

/// All targets.
pub static TARGETS: [Target; 8] =
    targets![devicetree, display, pci, pictures, tables, text, virtio, words,];

/// The folder of the inputs that failed before.
const INPUTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/inputs");

/// Returns the inputs of all targets that failed before: the name of the target, and the bytes.
///
/// # Panics
///
/// If a file of the folder is not such an input.
pub fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let files = fs::read_dir(INPUTS).expect("the folder of the inputs");
    let input = |file: io::Result<fs::DirEntry>| {
        let path = file.expect("a file").path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.expect("a name of plain characters");
        let target = TARGETS
            .iter()
            .find(|target| name.split('-').next() == Some(target.name));
        let target = target.expect("a file's name begins with that of its target");
        let text = fs::read_to_string(&path).expect("a readable file");
        (target.name, bytes_of(&text))
    };
    files.map(input).collect()
}

/// Returns the bytes of a file of hexadecimal digits; `#` begins a comment.
///
/// # Panics
///
/// If the file is not valid.
fn bytes_of(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .flat_map(|line| line.split('#').next())
        .flat_map(str::split_whitespace)
        .collect();
    assert!(digits.len() % 2 == 0, "half a byte");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        inputs,
        TARGETS, //
    };

    #[test]
    fn every_seed_is_valid() {
        for target in &TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            for (number, seed) in seeds.iter().enumerate() {
                assert!((target.run)(seed), "seed {number} of {}", target.name);
                assert!(seed.len() <= 4096, "seed {number} of {}", target.name);
            }
        }
    }

    #[test]
    fn inputs_of_any_length_end() {
        for target in &TARGETS {
            for seed in (target.seeds)() {
                for length in (0..seed.len()).step_by(1 + seed.len() / 64) {
                    (target.run)(&seed[..length]);
                }
            }
        }
    }

    #[test]
    fn inputs_that_failed_before() {
        let inputs = inputs();
        assert!(!inputs.is_empty(), "no inputs");
        for (name, input) in inputs {
            println!("{} bytes of {name}", input.len());
            let target = TARGETS.iter().find(|target| target.name == name).unwrap();
            (target.run)(&input);
        }
    }
}
