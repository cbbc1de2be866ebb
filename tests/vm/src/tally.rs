// SPDX-License-Identifier: GPL-2.0

//! Sums the results that test runs left in their logs.

use anyhow::{ensure, Result};
use std::{fmt, ops::AddAssign, process::ExitCode};

/// How many tests passed and failed; shown as the line `N passed, N failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Tests passed.
    pub passed: u64,
    /// Tests failed.
    pub failed: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl Tally {
    /// Fails if a test failed or none passed.
    pub fn check(self) -> Result<()> {
        ensure!(self.failed == 0, "{} failed", self.failed);
        ensure!(self.passed > 0, "no test was run");
        Ok(())
    }

    /// Counts one more test.
    pub fn count(&mut self, passed: bool) {
        *self += if passed {
            Self {
                passed: 1,
                failed: 0,
            }
        } else {
            Self {
                passed: 0,
                failed: 1,
            }
        };
    }

    /// Returns the result of the run that wrote `log`: its last line `N passed, N failed`, or the
    /// sum of all of cargo's `test result: …` lines if there is no such line.
    pub fn read(log: &str) -> Option<Self> {
        log.lines().rev().find_map(plain).or_else(|| {
            log.lines().filter_map(cargo).reduce(|mut sum, tally| {
                sum += tally;
                sum
            })
        })
    }
}

/// Ends a program: prints its results, if it has any, as its last line; or its error.
pub fn finish(program: &str, result: Result<Option<Tally>>) -> ExitCode {
    let checked = result.and_then(|tally| match tally {
        Some(tally) => {
            println!("{tally}");
            tally.check()
        }
        None => Ok(()),
    });
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn plain(line: &str) -> Option<Tally> {
    let (passed, failed) = line
        .trim()
        .strip_suffix(" failed")?
        .split_once(" passed, ")?;
    Some(Tally {
        passed: passed.parse().ok()?,
        failed: failed.parse().ok()?,
    })
}

fn cargo(line: &str) -> Option<Tally> {
    let (_, counts) = line
        .trim()
        .strip_prefix("test result: ")?
        .split_once(". ")?;
    let count = |name| {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(name)?.trim().parse().ok())
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_plain_line_counts() {
        let log = "1 passed, 1 failed\nwords 9 passed, 9 failed\n12 passed, 0 failed\nend\n";
        assert_eq!(
            Tally::read(log),
            Some(Tally {
                passed: 12,
                failed: 0
            })
        );
    }

    #[test]
    fn all_lines_of_cargo_count() {
        let log = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\n\
            test result: FAILED. 4 passed; 2 failed; 0 ignored; finished in 0.1s\n";
        assert_eq!(
            Tally::read(log),
            Some(Tally {
                passed: 7,
                failed: 2
            })
        );
    }

    #[test]
    fn a_log_without_a_result_has_none() {
        assert_eq!(Tally::read("error: could not compile\n"), None);
        assert!(Tally::default().check().is_err());
    }
}
