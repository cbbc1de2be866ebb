// SPDX-License-Identifier: GPL-2.0

//! The cases of `vm test`: a machine each, and what its screen and its log must show.
//!
//! | file | cases of |
//! |---|---|
//! | `early.rs` | the early console: devices, modes, memory and addresses |
//! | `firmware.rs` | firmware's picture, and U-Boot |
//! | `panic.rs` | kernels that die |
//! | `uefi.rs` | the UEFI driver |
//! | `devices.rs` | devices other than QEMU's 2D device |
//! | `handover.rs` | the native driver |
//! | `kms.rs` | programs that draw on a DRM device |
//! | `sessions.rs` | graphical sessions |
//! | `prompts.rs` | the passphrase of a disk |
//! | `displays.rs` | displays that change, come and go |
//! | `vt.rs` | virtual terminals |
//! | `kexec.rs` | a kernel that starts another one |
//! | `iommu.rs` | machines with an IOMMU |
//! | `module.rs` | the driver as a module |
//! | `sleep.rs` | machines that sleep, restart or power off |
//! | `warning.rs` | kernels in trouble that live on |
//! | `command_line.rs` | the command line and the consoles that it makes |
//! | `faults.rs` | a device that stalls, goes, comes back or is reset |
//! | `console.rs` | kernels without virtual terminals |
//! | `debian.rs` | a whole Debian system, for `vm debian` |
//!
//! `fixtures.rs` and `crash.rs` have what they share, `choice.rs` says which of them a kernel runs.

pub mod choice;
mod command_line;
mod console;
pub mod crash;
pub mod debian;
mod devices;
mod displays;
mod early;
mod faults;
mod firmware;
mod fixtures;
mod handover;
mod iommu;
mod kexec;
mod kms;
mod module;
mod panic;
mod prompts;
mod sessions;
mod sleep;
mod uefi;
mod vt;
mod warning;

use anyhow::Result;
use std::path::Path;
use vm::{config::Need, guests::Guests, qemu::Machine};

/// All cases. Those that take long come first where there are many.
pub static SUBJECTS: &[&[Group]] = &[
    early::GROUPS,
    firmware::GROUPS,
    panic::GROUPS,
    uefi::GROUPS,
    devices::GROUPS,
    handover::GROUPS,
    kms::GROUPS,
    sessions::GROUPS,
    prompts::GROUPS,
    displays::GROUPS,
    vt::GROUPS,
    kexec::GROUPS,
    iommu::GROUPS,
    module::GROUPS,
    sleep::GROUPS,
    warning::GROUPS,
    command_line::GROUPS,
    faults::GROUPS,
    console::GROUPS,
];

/// A case.
pub struct Case {
    name: &'static str,
    machine: fn(&Guests) -> Machine,
    expect: Expect,
    /// With how many CPUs it is run; nothing if that does not matter.
    cpus: &'static [u32],
    /// What it needs of the kernel, besides what its machine does.
    needs: &'static [Need],
}

/// Cases of one subject, with what all of them need.
pub struct Group {
    /// The cases.
    pub cases: &'static [Case],
    /// What each of them needs of the kernel, besides what it says itself.
    pub needs: &'static [Need],
    /// Whether they take long, and are run when that is asked for.
    pub long: bool,
}

/// Returns a group of cases that need nothing else.
pub const fn group(cases: &'static [Case], needs: &'static [Need]) -> Group {
    Group {
        cases,
        needs,
        long: false,
    }
}

/// Returns the same of cases that take long.
pub const fn long(cases: &'static [Case], needs: &'static [Need]) -> Group {
    Group {
        long: true,
        ..group(cases, needs)
    }
}

impl Group {
    /// Returns the runs that make it up.
    pub fn runs(&'static self) -> impl Iterator<Item = Run> {
        self.cases.iter().flat_map(move |case| case.runs(self))
    }
}

/// A case, on so many CPUs.
pub struct Run {
    case: &'static Case,
    group: &'static Group,
    cpus: Option<u32>,
}

/// What must be seen of a machine.
pub enum Expect {
    /// The text on the screen is the end of the log.
    Text,
    /// The boot goes on, and the driver has at most one line to say.
    Unharmed,
    /// The boot goes on, and a line of the driver's says why it does not use the device.
    Refused(&'static str),
    /// The kernel dies, and the screen has the end of its log, with these words.
    Dies(&'static [&'static str]),
    /// The kernel says these words and lives on; the screen has the end of its log.
    Survives(&'static [&'static str]),
    /// The same of one whose terminal is stuck: the words are on the screen.
    Warns(&'static [&'static str]),
    /// Something else; the path is the case's folder.
    Own(fn(&Guests, &Machine, &Path) -> Result<String>),
}

pub const fn case(name: &'static str, expect: Expect, machine: fn(&Guests) -> Machine) -> Case {
    Case {
        name,
        machine,
        expect,
        cpus: &[],
        needs: &[],
    }
}

impl Case {
    /// Has the case run for each of these numbers of CPUs.
    pub const fn on(self, cpus: &'static [u32]) -> Self {
        Self { cpus, ..self }
    }

    /// Declares what the case needs of the kernel, besides what its machine does.
    pub const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// Returns the runs that make up the case.
    fn runs(&'static self, group: &'static Group) -> Vec<Run> {
        let run = |cpus| Run {
            case: self,
            group,
            cpus,
        };
        match self.cpus {
            [] => vec![run(None)],
            cpus => cpus.iter().map(|&cpus| run(Some(cpus))).collect(),
        }
    }
}

impl Run {
    /// Its name, which is also that of its folder of logs and screenshots.
    pub fn name(&self) -> String {
        match self.cpus {
            None => self.case.name.to_owned(),
            Some(cpus) => format!("{}-{cpus}", self.case.name),
        }
    }

    /// Returns whether both are of one case, which may be run with several numbers of CPUs.
    pub fn same_case(&self, other: &Self) -> bool {
        std::ptr::eq(self.case, other.case)
    }

    /// Returns whether it takes long.
    pub fn is_long(&self) -> bool {
        self.group.long
    }

    /// Returns the kernel's command line.
    #[cfg(test)]
    pub fn words(&self, guests: &Guests) -> String {
        (self.case.machine)(guests).words()
    }

    /// Returns what it needs of the kernel.
    pub fn needs(&self, guests: &Guests) -> Vec<Need> {
        let machine = (self.case.machine)(guests).needs();
        [self.group.needs, self.case.needs, &machine].concat()
    }

    /// Runs it in the folder `out`; says what was seen.
    ///
    /// A machine that is `live` says how to look at its screen meanwhile.
    pub fn run(&self, guests: &Guests, live: bool, out: &Path) -> Result<String> {
        let mut machine = (self.case.machine)(guests);
        if live {
            machine = machine.live();
        }
        if let Some(cpus) = self.cpus {
            machine = machine.option("-smp", &cpus.to_string());
        }
        match self.case.expect {
            Expect::Text => fixtures::text(guests, &machine, out),
            Expect::Unharmed => fixtures::unharmed(&machine, out),
            Expect::Refused(reason) => fixtures::refused(&machine, reason, out),
            Expect::Dies(words) => crash::dies(guests, &machine, words, out),
            Expect::Survives(words) => crash::survives(guests, &machine, words, out),
            Expect::Warns(words) => crash::warns(guests, &machine, words, out),
            Expect::Own(run) => run(guests, &machine, out),
        }
    }
}
