// SPDX-License-Identifier: GPL-2.0

//! What is fuzzed: everything that reads bytes which firmware, a device or a user wrote.
//!
//! A [`Target`] takes any bytes, and checks what has to hold whatever they are: the code ends after
//! a bounded number of steps, panics nowhere, and reaches nothing that it was not given. The fuzzer
//! (`make fuzz`) looks for bytes for which that is not so. The host tests run each target on its
//! seeds, and on the inputs in `tests/fuzz/inputs` that once failed.

mod bytes;
mod device;
mod devicetree;
mod display;
mod pci;
mod pictures;
mod tables;
mod text;
mod virtio;
mod words;

/// Something that is fuzzed.
pub struct Target {
    /// Its name, that of its module.
    pub name: &'static str,
    /// Runs it on an input, and returns whether the input was taken for what it should be: a table
    /// that was found, a command that was answered.
    ///
    /// # Panics
    ///
    /// If something does not hold.
    pub run: fn(&[u8]) -> bool,
    /// Makes inputs to begin with: small, and each of them is taken for what it should be.
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

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::{
        fs,
        path::Path, //
    };

    #[test]
    fn every_seed_is_taken_for_what_it_should_be() {
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

    /// The bytes of a file of hexadecimal digits; `#` begins a comment.
    fn input(text: &str) -> Vec<u8> {
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

    #[test]
    fn inputs_that_once_failed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/inputs");
        let mut count = 0;
        for file in fs::read_dir(folder).expect("the folder of the inputs") {
            let path = file.expect("a file").path();
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("a name of plain characters");
            let target = TARGETS
                .iter()
                .find(|target| name.split('-').next() == Some(target.name));
            let target = target.expect("a file's name begins with that of its target");
            println!("{name}");
            let text = fs::read_to_string(&path).expect("a readable file");
            (target.run)(&input(&text));
            count += 1;
        }
        assert!(count > 0, "no inputs");
    }
}
