// SPDX-License-Identifier: GPL-2.0

//! What a test needs of a kernel, and what a kernel has, by its configuration.

use anyhow::{Context, Result};
use std::{collections::BTreeMap, fs, path::Path};

/// A property of a kernel that a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Virtual terminals.
    Vt,
    /// No virtual terminals: the driver's screen is a console of its own.
    NoVt,
    /// What UEFI firmware and its ACPI tables need.
    Firmware,
    /// The native driver, built in.
    NativeBuiltIn,
    /// The native driver as modules.
    NativeModules,
    /// Our KMS driver.
    Kms,
    /// Modules that can be unloaded.
    Modules,
    /// Virtio as modules.
    VirtioModules,
    /// The kernel's own tests of dying, lkdtm.
    Lkdtm,
    /// The detectors of CPUs that lock up.
    LockupDetector,
    /// Interrupts that are not masked.
    Nmi,
    /// The search for memory that is lost.
    Kmemleak,
    /// IOMMUs.
    Iommu,
    /// A keyboard.
    Keyboard,
    /// Input devices that programs read.
    Evdev,
    /// A virtio console.
    Hvc,
    /// Disks.
    Disk,
    /// Disks that are encrypted.
    Crypt,
    /// Hibernation.
    Hibernation,
    /// Another kernel, started by this one.
    Kexec,
    /// Locks that spin, and consoles that do not wait for a thread: not PREEMPT_RT. Where locks
    /// sleep none locks up. Where consoles have threads a locked up CPU that is the only one runs
    /// none, and the printk core's wakeup of them waits if that CPU is the one that prints. And
    /// four CPUs print so fast that the log has lost how a warning began before its end is there.
    SpinningLocks,
    /// A log that fits on the tallest screen: that of a kernel with KASAN is longer.
    ShortLog,
    /// No KASAN. It finds that virtio_gpu writes beyond its array when it shows a panic, and that
    /// it leaks when its device has died. And its own instructions are most of those that a case
    /// counts.
    NoKasan,
    /// This version, or a later one.
    Since(u32, u32),
}

impl Need {
    /// Says what it is, after "need".
    pub fn name(self) -> String {
        let name = match self {
            Self::Vt => "virtual terminals",
            Self::NoVt => "no virtual terminals",
            Self::Firmware => "EFI and ACPI",
            Self::NativeBuiltIn => "virtio_gpu built in",
            Self::NativeModules => "virtio_gpu as modules",
            Self::Kms => "virtgpu_bridge_kms",
            Self::Modules => "modules that can be unloaded",
            Self::VirtioModules => "virtio as modules",
            Self::Lkdtm => "lkdtm",
            Self::LockupDetector => "lockup detectors",
            Self::Nmi => "pseudo-NMIs",
            Self::Kmemleak => "kmemleak",
            Self::Iommu => "IOMMU drivers",
            Self::Keyboard => "virtio-input",
            Self::Evdev => "evdev",
            Self::Hvc => "virtio-console",
            Self::Disk => "virtio-blk",
            Self::Crypt => "dm-crypt",
            Self::Hibernation => "hibernation",
            Self::Kexec => "kexec",
            Self::SpinningLocks => "spinning locks",
            Self::ShortLog => "a short log",
            Self::NoKasan => "no KASAN",
            Self::Since(major, minor) => return format!("Linux {major}.{minor}"),
        };
        name.into()
    }
}

/// A kernel's configuration.
#[derive(Default)]
pub struct Config {
    /// The values of the options that are set.
    options: BTreeMap<String, String>,
    version: (u32, u32),
}

impl Config {
    /// Reads a kernel's `.config`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("no configuration {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("no version in {}", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let version = text.lines().find_map(|line| {
            let (_, version) = line.strip_prefix("# Linux/")?.split_once(' ')?;
            let mut numbers = version.split(['.', '-', ' ']);
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })?;
        let option = |line: &str| {
            let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Some(Self {
            options: text.lines().filter_map(option).collect(),
            version,
        })
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.options.get(name).is_some_and(|is| is == value)
    }

    fn has(&self, name: &str) -> bool {
        self.is(name, "y")
    }
}

/// The configurations of the kernels that cases start.
#[derive(Default)]
pub struct Configs {
    /// Of the kernel with the driver built in.
    pub image: Config,
    /// Of the one that has the native driver as modules.
    pub modular: Config,
}

impl Configs {
    /// Reads both.
    pub fn read(image: &Path, modular: &Path) -> Result<Self> {
        Ok(Self {
            image: Config::read(image)?,
            modular: Config::read(modular)?,
        })
    }

    /// Returns what `console=` calls the driver's screen.
    pub fn console(&self) -> &'static str {
        match self.meet(Need::Vt) {
            true => "tty0",
            false => "virtgpu0",
        }
    }

    /// Returns whether the kernels have what is needed.
    pub fn meet(&self, need: Need) -> bool {
        let image = &self.image;
        match need {
            Need::Vt => image.has("VT"),
            Need::NoVt => !image.has("VT"),
            Need::Firmware => image.has("EFI") && image.has("ACPI"),
            Need::NativeBuiltIn => image.has("DRM_VIRTIO_GPU"),
            Need::NativeModules => self.modular.is("DRM_VIRTIO_GPU", "m"),
            Need::Kms => image.has("VIRTGPU_BRIDGE_KMS"),
            Need::Modules => image.has("MODULE_UNLOAD"),
            Need::VirtioModules => image.is("VIRTIO_PCI", "m"),
            Need::Lkdtm => image.has("LKDTM"),
            Need::LockupDetector => {
                image.has("SOFTLOCKUP_DETECTOR") && image.has("HARDLOCKUP_DETECTOR")
            }
            Need::Nmi => image.has("ARM64_PSEUDO_NMI"),
            Need::Kmemleak => image.has("DEBUG_KMEMLEAK"),
            Need::Iommu => image.has("ARM_SMMU_V3") && image.has("VIRTIO_IOMMU"),
            Need::Keyboard => image.has("VIRTIO_INPUT"),
            Need::Evdev => image.has("INPUT_EVDEV"),
            Need::Hvc => image.has("VIRTIO_CONSOLE"),
            Need::Disk => image.has("VIRTIO_BLK"),
            Need::Crypt => image.has("DM_CRYPT"),
            Need::Hibernation => image.has("HIBERNATION"),
            Need::Kexec => image.has("KEXEC_FILE"),
            Need::SpinningLocks => !image.has("PREEMPT_RT"),
            Need::ShortLog | Need::NoKasan => !image.has("KASAN"),
            Need::Since(major, minor) => image.version >= (major, minor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read() {
        let text = "#\n# Linux/arm64 7.3.4 Kernel Configuration\n#\nCONFIG_VT=y\n\
            CONFIG_VIRTIO_PCI=m\n# CONFIG_EFI is not set\n";
        let image = Config::parse(text).unwrap_or_default();
        let modular = Config::default();
        let configs = Configs { image, modular };
        for need in [Need::Vt, Need::VirtioModules, Need::Since(7, 3)] {
            assert!(configs.meet(need), "{need:?}");
        }
        for need in [
            Need::NoVt,
            Need::Firmware,
            Need::Since(7, 4),
            Need::Since(8, 0),
        ] {
            assert!(!configs.meet(need), "{need:?}");
        }
        assert_eq!(configs.console(), "tty0");
    }
}
