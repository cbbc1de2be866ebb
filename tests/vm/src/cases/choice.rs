// SPDX-License-Identifier: GPL-2.0

//! Which cases a kernel runs: those whose needs its configuration meets, or a sample of them, and
//! of these the ones that the user names.

use super::{Group, Run, SUBJECTS};
use anyhow::Result;
use clap::Args;
use std::{collections::BTreeMap, path::PathBuf};
use vm::{config::Configs, guests::Guests};

/// Which cases are run.
#[derive(Args)]
pub struct Choice {
    /// The configuration of the kernel with the driver built in.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The configuration of the kernel with the native driver as modules; the same if none is
    /// named.
    #[arg(long, value_name = "FILE")]
    modular_config: Option<PathBuf>,
    /// The kernel's name, for kernels that run a sample of the cases.
    #[arg(long, default_value = "")]
    kernel: String,
    /// Only cases whose name holds one of these, which commas divide, whatever the sample is.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Not those whose name holds one of these.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<String>,
    /// Also the cases that take long.
    #[arg(long)]
    long: bool,
}

/// The cases that were chosen, and how many were left out for what reason.
pub struct Chosen {
    /// The kernels' configurations.
    pub configs: Configs,
    /// The cases that are run.
    pub runs: Vec<Run>,
    left_out: BTreeMap<String, usize>,
}

impl Choice {
    /// Matches all cases with the kernels' configurations.
    ///
    /// # Errors
    ///
    /// Fails if a configuration cannot be read.
    pub fn choose(self) -> Result<Chosen> {
        let modular = self.modular_config.as_ref().unwrap_or(&self.config);
        let configs = Configs::read(&self.config, modular)?;
        let guests = Guests::unbuilt(configs.console());
        let sample = Sample::of(&self.kernel);
        let mut runs = Vec::new();
        let mut left_out = BTreeMap::new();
        for run in SUBJECTS.iter().copied().flatten().flat_map(Group::runs) {
            let name = run.name();
            let holds = |words: &[String]| words.iter().any(|word| name.contains(word.as_str()));
            if holds(&self.skip) || !self.only.is_empty() && !holds(&self.only) {
                continue;
            }
            let needs = run.needs(&guests);
            let unmet = needs.into_iter().find(|&need| !configs.meet(need));
            let reason = match unmet {
                Some(need) => format!("need {}", need.name()),
                None if run.is_long() && !self.long => "take long (LONG=1)".into(),
                None if self.only.is_empty() && !sample.has(&name) => {
                    format!("are not in the sample of {}", self.kernel)
                }
                None => {
                    runs.push(run);
                    continue;
                }
            };
            *left_out.entry(reason).or_default() += 1;
        }
        Ok(Chosen {
            configs,
            runs,
            left_out,
        })
    }
}

impl Chosen {
    /// Says in one line what was left out, if anything.
    pub fn say_what_is_left_out(&self) {
        let reasons = self.left_out.iter();
        let reasons: Vec<_> = reasons
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        if !reasons.is_empty() {
            println!("left out: {}", reasons.join(", "));
        }
    }
}

/// The cases that a kernel runs, of those whose needs it meets.
#[derive(Clone, Copy)]
pub struct Sample {
    /// The kernel, as make calls it: its version and its variant.
    kernel: &'static str,
    /// Cases whose names hold one of these; all if there are none.
    only: &'static [&'static str],
    /// Not those whose names hold one of these.
    not: &'static [&'static str],
}

/// Boots, sleeps, dies, is in trouble, and has consoles.
const SMALL: &[&str] = &[
    "direct-", "vt-mmio", "suspend", "console", "panic", "silent", "warning", "stall", "lkdtm",
];

/// The kernels that run a sample, to save time; others run all that they can.
const SAMPLES: &[Sample] = &[
    // What the UEFI driver does where there is no kernel is the same for each of them.
    sample("7.2", &[], &["uefi-"]),
    sample("7.3-debug", &[], &["uefi-"]),
    sample("7.3-kcsan", SMALL, &["lkdtm"]),
    sample("7.3-novt", SMALL, &[]),
    sample("7.3-rt", SMALL, &[]),
    sample("7.3-cfi", SMALL, &[]),
    sample("7.3-modules", &["direct-pci", "virtio-unloaded"], &[]),
    sample("7.3-16k", PAGES, &[]),
    sample("7.3-64k", PAGES, &[]),
];

/// Boots, follows the display, sleeps and dies.
const PAGES: &[&str] = &[
    "direct-",
    "vt-mmio",
    "resize",
    "suspend",
    "panic-in",
    "panic-before",
    "panic-while",
];

const fn sample(
    kernel: &'static str,
    only: &'static [&'static str],
    not: &'static [&'static str],
) -> Sample {
    Sample { kernel, only, not }
}

impl Sample {
    /// Returns the sample of the kernel of this name.
    pub fn of(kernel: &str) -> Self {
        let found = SAMPLES.iter().find(|sample| sample.kernel == kernel);
        found.copied().unwrap_or(sample("", &[], &[]))
    }

    /// Returns whether the case of this name is in it.
    pub fn has(&self, name: &str) -> bool {
        let holds = |words: &[&str]| words.iter().any(|word| name.contains(word));
        (self.only.is_empty() || holds(self.only)) && !holds(self.not)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_is_named() {
        assert!(Sample::of("7.3").has("uefi-aavmf"));
        assert!(!Sample::of("7.2").has("uefi-aavmf"));
        assert!(Sample::of("7.3-kcsan").has("panic-sysrq-1"));
        assert!(!Sample::of("7.3-kcsan").has("lkdtm-panic-1"));
    }

    #[test]
    fn a_case_needs_what_its_machine_uses() {
        use vm::config::Need;

        // Words on the kernel's command line, and what they take.
        const USED: &[(&str, Need)] = &[
            ("provoke-crash", Need::Lkdtm),
            ("vm.storm=", Need::Lkdtm),
            ("gicv3_pseudo_nmi", Need::Nmi),
            ("kmemleak=on", Need::Kmemleak),
            ("vm.sleep=disk", Need::Hibernation),
            ("rdinit=/kexec", Need::Kexec),
            ("vm.insmod=", Need::Modules),
            ("watchdog_thresh", Need::LockupDetector),
        ];

        let guests = Guests::unbuilt("tty0");
        for run in SUBJECTS.iter().copied().flatten().flat_map(Group::runs) {
            let (words, needs) = (run.words(&guests), run.needs(&guests));
            for (used, need) in USED.iter().filter(|(used, _)| words.contains(used)) {
                assert!(needs.contains(need), "{} has {used}", run.name());
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let runs = SUBJECTS.iter().copied().flatten().flat_map(Group::runs);
        let mut names: Vec<_> = runs.map(|run| run.name()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
