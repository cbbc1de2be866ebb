// SPDX-License-Identifier: GPL-2.0

//! The cases of `vm test`: a machine each, and what its screen and its log must show.

use crate::{
    bench::{driver_lines, Bench, GPU, READY, TIME_FOR_TEXT},
    endings, log,
    needs::Need,
    qemu::{Events, Machine, Vm},
    screen::{show, Picture, Screen},
    streams,
    vnc::Viewer,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    fs,
    hash::{DefaultHasher, Hasher},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// A case.
pub struct Case {
    name: &'static str,
    machine: fn(&Bench) -> Machine,
    expect: Expect,
    /// With how many CPUs it is run; nothing if that does not matter.
    cpus: &'static [u32],
    /// What it needs of the kernel, besides what its machine does.
    needs: &'static [Need],
}

/// Cases of one subject, with what all of them need.
pub struct Table {
    /// The cases.
    pub cases: &'static [Case],
    /// What each of them needs of the kernel, besides what it says itself.
    pub needs: &'static [Need],
    /// Whether they take long, and are run when that is asked for.
    pub long: bool,
}

/// Returns a table of cases that need nothing else.
pub const fn table(cases: &'static [Case], needs: &'static [Need]) -> Table {
    Table {
        cases,
        needs,
        long: false,
    }
}

/// Returns the same of cases that take long.
pub const fn long(cases: &'static [Case], needs: &'static [Need]) -> Table {
    Table {
        long: true,
        ..table(cases, needs)
    }
}

impl Table {
    /// The runs that make it up.
    pub fn runs(&'static self) -> impl Iterator<Item = Run> {
        self.cases.iter().flat_map(move |case| case.runs(self))
    }
}

/// A case, on so many CPUs.
pub struct Run {
    case: &'static Case,
    table: &'static Table,
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
    Own(fn(&Bench, &Machine, &Path) -> Result<String>),
}
use Expect::{Dies, Own, Refused, Survives, Text, Unharmed, Warns};

pub const fn case(name: &'static str, expect: Expect, machine: fn(&Bench) -> Machine) -> Case {
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

    /// The runs that make up the case.
    fn runs(&'static self, table: &'static Table) -> Vec<Run> {
        let run = |cpus| Run {
            case: self,
            table,
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

    /// Whether it takes long.
    pub fn is_long(&self) -> bool {
        self.table.long
    }

    /// What it needs of the kernel.
    pub fn needs(&self, bench: &Bench) -> Vec<Need> {
        let machine = (self.case.machine)(bench).needs();
        [self.table.needs, self.case.needs, &machine].concat()
    }

    /// Runs it in the folder `out`; says what was seen.
    pub fn run(&self, bench: &Bench, out: &Path) -> Result<String> {
        let mut machine = (self.case.machine)(bench);
        if let Some(cpus) = self.cpus {
            machine = machine.option("-smp", &cpus.to_string());
        }
        match self.case.expect {
            Text => text(bench, &machine, out),
            Unharmed => unharmed(&machine, out),
            Refused(reason) => refused(&machine, reason, out),
            Dies(words) => endings::dies(bench, &machine, words, out),
            Survives(words) => endings::survives(bench, &machine, words, out),
            Warns(words) => endings::warns(bench, &machine, words, out),
            Own(run) => run(bench, &machine, out),
        }
    }
}

/// The cases, those that take long first.
pub const CASES: &[Case] = &[
    case("long-log", Text, long_log),
    case("scroll-repaint", Text, |bench| {
        long_log(bench).append("virtgpu_bridge.scroll=repaint")
    }),
    case("early-panic", Own(early_panic), |bench| {
        bench.told("mem=1M nokaslr").device(GPU)
    }),
    // Little memory, and memory of which the most is above 4 GiB.
    case("memory-256m", Text, |bench| {
        bench.early().option("-m", "256M").device(GPU)
    }),
    case("memory-8g", Text, |bench| {
        bench.early().option("-m", "8G").device(GPU)
    }),
    case("direct-memory-8g", Text, |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=60").direct();
        machine.option("-m", "8G").device(GPU)
    }),
    case("first-line", Own(first_line), |bench| {
        sized(bench, 640, 4080)
    })
    .needs(&[Need::ShortLog]),
    case("aavmf", Text, |bench| bench.early().device(GPU)),
    case("aavmf-root-port", Text, |bench| {
        let ports = (1..=6).fold(bench.early(), |machine, at| {
            machine.device(&format!("pcie-root-port,id=port{at},chassis={at}"))
        });
        let switch = ports.device("x3130-upstream,bus=port6,id=up");
        let leg = switch.device("xio3130-downstream,bus=up,id=leg,chassis=7");
        leg.device("virtio-gpu-pci,bus=leg")
    }),
    case("aavmf-second-root", Text, |bench| {
        let root = bench.early().device("pxb-pcie,id=root,bus_nr=128");
        let port = root.device("pcie-root-port,id=port1,bus=root,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("direct-pci", Text, |bench| {
        bench.early().direct().device(GPU)
    }),
    case("direct-pci-root-port", Text, |bench| {
        let port = bench
            .early()
            .direct()
            .device("pcie-root-port,id=port1,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("direct-mmio", Text, |bench| modern_mmio(bench.early())),
    case("direct-mmio-legacy", Refused("legacy"), |bench| {
        let early = bench.early().append(ALONE).direct();
        early.device("virtio-gpu-device")
    }),
    case("told-mmio", Text, |bench| {
        modern_mmio(bench.told("earlycon=virtgpu,mmio32,0xa003e00"))
    }),
    case("told-pci", Text, |bench| {
        let told = bench.told("earlycon=virtgpu,pci,0x4010000000,00:01.0");
        told.device("virtio-gpu-pci,addr=1")
    }),
    case(
        "told-wrong",
        Refused("00:02.0: no virtio-gpu there"),
        |bench| {
            let told = bench.told("earlycon=virtgpu,pci,0x4010000000,00:02.0");
            told.device("virtio-gpu-pci,addr=1")
        },
    ),
    case("told-ram", Refused("where RAM is"), |bench| {
        let told = bench.told("earlycon=virtgpu,mmio32,0x40100000").direct();
        told.device(GPU)
    }),
    case("told-ram-pci", Refused("where RAM is"), |bench| {
        let told = bench.told("earlycon=virtgpu,pci,0x50000000,00:01.0");
        told.device(GPU)
    }),
    // The page tables of this CPU take bit 48 for something else: this would be in RAM.
    case(
        "told-beyond",
        Refused("beyond 48 bits of address"),
        |bench| {
            let told = bench.told("earlycon=virtgpu,pci,0x1000050000000,00:01.0");
            told.direct().device(GPU)
        },
    ),
    case("no-gpu", Unharmed, Bench::early),
    case("no-gpu-direct", Unharmed, |bench| bench.early().direct()),
    case("ramfb-only", Unharmed, |bench| {
        bench.early().device("ramfb")
    }),
    case("two-gpus", Own(two_gpus), |bench| {
        let early = bench.early().append(ALONE);
        let one = early.device("virtio-gpu-pci,id=one,addr=3");
        one.device("virtio-gpu-pci,id=two,addr=4")
    }),
    case("640x480", Text, |bench| sized(bench, 640, 480)),
    case("1366x768", Text, |bench| sized(bench, 1366, 768)),
    case("1920x1080", Text, |bench| sized(bench, 1920, 1080)),
    case("3840x2160", Text, |bench| sized(bench, 3840, 2160)),
    // More rows than a console may have.
    case("640x4192", Text, |bench| sized(bench, 640, 4192)),
    case("handover-to-virtio", Own(handover), |bench| {
        bench.shared().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-to-virtio-mmio", Own(handover), |bench| {
        modern_mmio(bench.shared())
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-to-fbcon", Own(handover_to_fbcon), |bench| {
        bench.shared().append(FBCON).device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("vt", Text, |bench| {
        bench
            .vt()
            .append("earlycon=virtgpu vm.lines=100")
            .device(GPU)
    }),
    case("vt-without-earlycon", Text, |bench| {
        bench.vt().append("vm.lines=100").device(GPU)
    }),
    case("vt-first-line", Own(first_line), |bench| {
        let tall = bench.vt().append("earlycon=virtgpu");
        tall.device(&format!("{GPU},xres=640,yres=4080"))
    })
    .needs(&[Need::ShortLog]),
    case("vt-mmio", Text, |bench| {
        modern_mmio(bench.vt()).append("vm.lines=100")
    }),
    case("vt-root-port", Text, |bench| {
        let port = bench
            .vt()
            .append("earlycon=virtgpu")
            .device("pcie-root-port,id=port1,chassis=1");
        port.device("virtio-gpu-pci,bus=port1")
    }),
    case("vt-iommu-platform", Text, |bench| {
        bench
            .vt()
            .append("vm.lines=100")
            .device("virtio-gpu-pci,iommu_platform=on")
    }),
    case("streams", Own(same_picture), |bench| {
        terminal(bench).append("vm.streams").device(SMALL_GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("streams-512-glyphs", Own(same_picture), |bench| {
        with_font(bench, "8x16").append(SOME_STREAMS)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("streams-8x22", Own(same_picture), |bench| {
        with_font(bench, "8x22").append(SOME_STREAMS)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("streams-16x32", Own(same_picture), |bench| {
        // The kernel takes its large font.
        let large = terminal(bench).append("vm.streams=040,063,090,100,130,160");
        large.device(&format!("{GPU},xres=2560,yres=1600"))
    })
    .needs(&[Need::NativeBuiltIn]),
    case("keyboard", Own(keyboard), |bench| {
        let shells = bench.vt().append("vm.shell=tty1 vm.shell=tty2");
        shells.device(SMALL_GPU).device("virtio-keyboard-pci")
    }),
    case("passphrase", Own(passphrase), |bench| {
        let disk = bench.sample().append("console=tty0 quiet");
        disk.device(GPU)
            .device("virtio-keyboard-pci")
            .device("virtio-blk-pci,drive=disk")
    })
    .needs(&[Need::Crypt]),
    case("blank", Own(blank), |bench| {
        let blank = "consoleblank=2 vm.lines=5 vm.wait vm.unblank";
        bench.vt().append(blank).device(SMALL_GPU)
    }),
    case("resize", Own(resize), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu").append(RESIZES);
        machine.direct().device(GPU)
    }),
    case("resize-mmio", Own(resize_mmio), |bench| {
        modern_mmio(bench.vt()).append(RESIZES)
    }),
    case("two-displays", Own(two_displays), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=100");
        machine.device(&format!("{GPU},{TWO}"))
    }),
    case("two-displays-mmio", Own(two_displays), |bench| {
        mmio_with(bench.vt(), TWO).append("vm.lines=100")
    }),
    case("two-displays-repaint", Own(two_displays), |bench| {
        let machine = bench
            .early()
            .append("virtgpu_bridge.scroll=repaint vm.lines=100");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("two-displays-too-large", Own(one_of_two), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=100");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("two-displays-panic", Own(two_panics), |bench| {
        let machine = bench
            .vt()
            .append("vm.lines=100 vm.do=echo,c,>/proc/sysrq-trigger");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("displays-come-and-go", Own(come_and_go), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu").append(&ticks());
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case(
        "displays-come-and-go-mmio",
        Own(come_and_go_mmio),
        |bench| mmio_with(bench.vt(), TWO).append(&ticks()),
    ),
    case("displays-of-one-picture", Own(one_picture), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.wait vm.lines=150");
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("native-unbound", Own(ours_again), |bench| {
        let unbound = "console=tty0 earlycon=virtgpu vm.lines=60 \
            vm.do=echo,virtio0,>/sys/bus/virtio/drivers/virtio_gpu/unbind \
            vm.do=busybox,sleep,2 vm.lines=60";
        bench.image().append(unbound).direct().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("unbind-and-bind", Text, |bench| {
        let path = "/sys/bus/pci/drivers/virtgpu_bridge";
        bench.vt().append(&format!(
            "earlycon=virtgpu vm.unbind=virtgpu_bridge vm.lines=20 vm.bind=virtgpu_bridge vm.lines=10 \
            vm.do=ls,{path}/0000:00:01.0/driver/0000:00:01.0/irq,>/dev/null"
        ))
        .device("virtio-gpu-pci,addr=1")
    }),
    case("suspend", Own(sleeps), |bench| {
        let sleep =
            "earlycon=virtgpu vm.lines=30 vm.sleep=freeze vm.lines=5 vm.sleep=freeze vm.lines=5";
        bench.vt().append(sleep).direct().device(GPU)
    }),
    case("suspend-mmio", Own(sleeps), |bench| {
        let sleep = bench.vt().append("vm.lines=30 vm.sleep=freeze vm.lines=5");
        modern_mmio(sleep)
    }),
    case("hibernation", Own(sleeps), |bench| {
        let sleep = bench.vt().append("vm.lines=30 vm.sleep=disk vm.lines=5");
        sleep.device(GPU)
    })
    .needs(&[Need::Hibernation]),
    case("kexec", Own(kexec), |bench| {
        let first = bench.sample().append("virtgpu_bridge.handover=never");
        bench.next_kernel(first.direct().device(GPU))
    }),
    case("kexec-aavmf", Own(kexec), |bench| {
        let first = bench.sample().append("virtgpu_bridge.handover=never");
        bench.next_kernel(first.device(GPU))
    }),
    case("kexec-from-native", Own(kexec_from_native), |bench| {
        bench.next_kernel(bench.sample_on_native().direct().device(GPU))
    }),
    case("kexec-crash", Own(crash), |bench| {
        let first = bench.sample().append("virtgpu_bridge.handover=never");
        bench.next_kernel(crashing(first.direct().device(GPU)))
    }),
    case("kexec-crash-from-native", Own(crash), |bench| {
        bench.next_kernel(crashing(bench.sample_on_native().direct().device(GPU)))
    }),
    case("kexec-mmio", Own(kexec_mmio), |bench| {
        let first = bench.sample().append("virtgpu_bridge.handover=never");
        bench.next_kernel(modern_mmio(first))
    }),
    case("reboot", Own(ends), |bench| {
        bench.vt().append("vm.do=busybox,reboot,-f").device(GPU)
    }),
    case("poweroff", Own(ends), |bench| {
        bench.vt().append("vm.do=busybox,poweroff,-f").device(GPU)
    }),
    case("handover-built-in", Own(handed_over), |bench| {
        bench
            .image()
            .append("console=tty0 earlycon=virtgpu vm.lines=60")
            .direct()
            .device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-built-in-mmio", Own(handed_over), |bench| {
        modern_mmio(bench.image().append("console=tty0 vm.lines=60"))
    })
    .needs(&[Need::NativeBuiltIn]),
    case("handover-module", Own(handed_over), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.coldplug vm.native vm.lines=60";
        bench.modular().append(module).direct().device(GPU)
    }),
    case("handover-module-late", Own(handed_over), |bench| {
        let module = "console=tty0 vm.lines=60 vm.do=busybox,sleep,10 vm.native vm.lines=60";
        bench.modular().append(module).direct().device(GPU)
    }),
    case("handover-every-line", Own(first_line), |bench| {
        let tall = bench
            .modular()
            .append("console=tty0 earlycon=virtgpu vm.native vm.lines=9");
        tall.direct().device(&format!("{GPU},xres=640,yres=4080"))
    }),
    case("handover-ten-times", Own(ten_times), |bench| {
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native";
        let again = " vm.lines=3 vm.native=0 vm.do=busybox,sleep,1 vm.lines=3 vm.native".repeat(10);
        bench
            .modular()
            .append(module)
            .append(&again)
            .append("vm.lines=60")
            .direct()
            .device(GPU)
    }),
    case("handover-fails", Own(taken_back), |bench| {
        // The native driver refuses a device that it is told to.
        let module = "console=tty0 earlycon=virtgpu vm.lines=60 vm.native=fails vm.lines=10";
        bench.modular().append(module).direct().device(GPU)
    }),
    case("nomodeset", Own(stays_ours), |bench| {
        let module = "console=tty0 earlycon=virtgpu nomodeset vm.lines=60";
        bench.image().append(module).device(GPU)
    }),
    case("iommu-platform", Refused("ACCESS_PLATFORM"), |bench| {
        bench.early().device("virtio-gpu-pci,iommu_platform=on")
    }),
    // An IOMMU that the device does not use, and one that it does: under firmware and without.
    case("smmu", Own(behind_iommu), |bench| {
        smmu(bench.vt()).append("earlycon=virtgpu").device(GPU)
    }),
    case("smmu-platform", Own(behind_iommu), |bench| {
        smmu(bench.vt()).device(ON_PLATFORM)
    }),
    case("smmu-aavmf", Own(behind_iommu), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=100");
        machine.option("-machine", SMMU).device(GPU)
    }),
    case("smmu-platform-aavmf", Own(behind_iommu), |bench| {
        let machine = bench.vt().append("vm.lines=100");
        machine.option("-machine", SMMU).device(ON_PLATFORM)
    }),
    case("virtio-iommu", Own(behind_iommu), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu vm.lines=100").direct();
        machine.device("virtio-iommu-pci").device(GPU)
    }),
    case("virtio-iommu-platform", Own(behind_iommu), |bench| {
        let machine = bench.vt().append("vm.lines=100").direct();
        machine.device("virtio-iommu-pci").device(ON_PLATFORM)
    }),
    case(
        "smmu-platform-handover",
        Own(handed_over_behind_iommu),
        |bench| smmu(bench.image().append("console=tty0")).device(ON_PLATFORM),
    )
    .needs(&[Need::NativeBuiltIn]),
    case("module", Text, |bench| {
        bench.plain().append(ALONE).append(INSMOD).device(GPU)
    }),
    case("module-again", Text, |bench| {
        let twice = bench
            .plain()
            .append(ALONE)
            .append(INSMOD)
            .append(RMMOD)
            .append(INSMOD);
        twice.device(GPU)
    }),
    case("module-gives-back", Text, |bench| {
        let lent = bench
            .plain()
            .append("vm.unbind=virtio-pci")
            .append(INSMOD)
            .append(RMMOD);
        lent.append("vm.bind=virtio-pci").append(FBCON).device(GPU)
    }),
    // The reader itself, on a picture that the kernel's own console draws.
    case("fbcon", Text, |bench| {
        bench.plain().append(FBCON).device(GPU)
    }),
];

/// Cases of kernels without virtual terminals, where the driver is the log's console.
pub const CONSOLE_CASES: &[Case] = &[
    case("console", Text, |bench| {
        bench.vt().append("vm.lines=100").direct().device(GPU)
    }),
    case("console-after-earlycon", Text, |bench| {
        let early = bench.vt().append("earlycon=virtgpu vm.lines=100");
        early.direct().device(GPU)
    }),
    case("console-first-line", Own(first_line), |bench| {
        let tall = bench.vt().append("earlycon=virtgpu").direct();
        tall.device(&format!("{GPU},xres=640,yres=4080"))
    }),
    case("console-all-lines", Own(first_line), |bench| {
        let tall = bench.vt().direct();
        tall.device(&format!("{GPU},xres=640,yres=4080"))
    }),
    case("console-mmio", Text, |bench| {
        modern_mmio(bench.vt()).append("vm.lines=100")
    }),
    case("console-while-others-print", Text, |bench| {
        let noise = "vm.noise=3 vm.do=busybox,sleep,2 vm.noise=0 vm.lines=60";
        bench.vt().append(noise).direct().device(GPU)
    }),
    case("console-colours", Own(colours), |bench| {
        let levels = bench.vt().append("loglevel=8 vm.levels");
        levels.direct().device(GPU)
    }),
    case("console-handover", Own(handed_to_drm_log), |bench| {
        let lines = "console=drm_log earlycon=virtgpu vm.lines=60";
        let lines = bench.log_on_screen().append(lines);
        lines.direct().device(GPU)
    })
    .needs(&[Need::NativeBuiltIn]),
    case("console-resize", Own(resize), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu").append(RESIZES);
        machine.direct().device(GPU)
    }),
    case("console-two-displays", Own(come_and_go), |bench| {
        let machine = bench.vt().append("earlycon=virtgpu").append(&ticks());
        machine.direct().device(&format!("{GPU},{TWO}"))
    }),
    case("console-suspend", Own(sleeps), |bench| {
        let sleep = bench.vt().append("vm.lines=30 vm.sleep=freeze vm.lines=5");
        sleep.direct().device(GPU)
    }),
    case("console-iommu-platform", Text, |bench| {
        let late = bench.vt().append("vm.lines=100").direct();
        late.device("virtio-gpu-pci,iommu_platform=on")
    }),
];

/// More cases, with `--long`.
pub const LONG_CASES: &[Case] = &[
    case("eight-cpus", Text, |bench| {
        long_log(bench).option("-smp", "8")
    }),
    case("long-log-3840x2160", Text, |bench| {
        sized(bench, 3840, 2160).append(LONG_LOG)
    }),
    case("long-log-mmio", Text, |bench| {
        modern_mmio(bench.early()).append(LONG_LOG)
    }),
];

/// A GPU with a screen of 80x25 characters.
pub const SMALL_GPU: &str = "virtio-gpu-pci,xres=640,yres=400";

/// How often a stream is shown again that looks different.
const TRIES: usize = 3;

/// Streams enough to see that a font is right everywhere.
const SOME_STREAMS: &str =
    "vm.streams=000,040,063,072,075,079,090,100,110,120,130,139,140,151,160,180,200,220,240";

/// Keeps the kernel's own drivers from the device.
const ALONE: &str = "initcall_blacklist=virtio_pci_driver_init,virtio_mmio_init";
const INSMOD: &str = "vm.insmod=/virtgpu_bridge.ko";
const RMMOD: &str = "vm.rmmod=virtgpu_bridge";

/// More than five screens of 160x50, lines longer than a row, and what is not ASCII.
const LONG_LOG: &str = "vm.lines=400 vm.bytes vm.lines=30";

/// Has the log on fbcon too, and enough of it to push off what was wrapped for 80 columns.
const FBCON: &str = "console=tty0 vm.lines=60";

fn long_log(bench: &Bench) -> Machine {
    bench.early().append(LONG_LOG).device(GPU)
}

fn sized(bench: &Bench, width: u32, height: u32) -> Machine {
    bench
        .early()
        .device(&format!("{GPU},xres={width},yres={height}"))
}

/// A guest whose screen is a terminal's, without the log but with a cursor.
fn terminal(bench: &Bench) -> Machine {
    let cursor = "vt.global_cursor_default=1 virtgpu_bridge.handover=never";
    bench.image().append(cursor)
}

/// Streams in a font that a user loads.
fn with_font(bench: &Bench, font: &str) -> Machine {
    let load = format!("vm.font=/{font}.psf");
    terminal(bench).append(&load).device(SMALL_GPU)
}

/// The GPU as a virtio-mmio device of version 2, without firmware.
fn modern_mmio(machine: Machine) -> Machine {
    mmio_with(machine, "id=gpu")
}

/// The same, with properties of its own.
fn mmio_with(machine: Machine, properties: &str) -> Machine {
    let modern = machine
        .direct()
        .option("-global", "virtio-mmio.force-legacy=false");
    modern.device(&format!("virtio-gpu-device,{properties}"))
}

pub fn equal(rows: usize) -> String {
    format!("{rows} of {rows} rows")
}

fn text(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (_, rows) = bench.same_text(machine, None, out)?;
    Ok(equal(rows))
}

fn unharmed(machine: &Machine, out: &Path) -> Result<String> {
    let lines = driver_lines(&boot(machine, out)?.serial()?);
    let said = lines.join("\n");
    ensure!(
        lines.len() <= 1,
        "the driver says more than one line without its device:\n{said}"
    );
    Ok(if said.is_empty() {
        "not a word".into()
    } else {
        said
    })
}

fn refused(machine: &Machine, reason: &str, out: &Path) -> Result<String> {
    let lines = driver_lines(&boot(machine, out)?.serial()?);
    let line = lines.iter().find(|line| line.contains(reason));
    let line = line.with_context(|| format!("no line says '{reason}':\n{}", lines.join("\n")))?;
    Ok(line.trim().to_owned())
}

/// Boots to init, without a fault of the kernel's or a word from QEMU.
fn boot(machine: &Machine, out: &Path) -> Result<Vm> {
    let mut vm = machine.start(out)?;
    vm.wait_for(READY)?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(vm)
}

/// Whether the early console is, or was, in use.
fn registered(vm: &Vm) -> Result<bool> {
    vm.serial_has("bootconsole [virtgpu0] enabled")
}

/// Every stream gives the same picture as on the native driver's console, pixel for pixel.
fn same_picture(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let reference = machine.clone().kernel(bench.plain_image());
    let mut ours = machine.start(out)?;
    let mut theirs = reference.start(&out.join("reference"))?;
    let (mut equal, mut wrong) = (0, Vec::new());
    let chosen = machine.word("vm.streams=");
    for (number, stream) in streams::all().iter().enumerate() {
        let name = format!("{number:03}");
        if chosen.is_some_and(|chosen| !chosen.split(',').any(|one| one == name)) {
            continue;
        }
        let look = |ours: &mut Vm, theirs: &mut Vm, shown: &str| -> Result<_> {
            let mut pictures = Vec::new();
            for vm in [ours, theirs] {
                vm.wait_for(shown)?;
                pictures.push(vm.screenshot("screen.png", None)?);
            }
            let differs = pictures[0].1.differs(&pictures[1].1);
            Ok((pictures, differs))
        };
        let (mut pictures, mut differs) =
            look(&mut ours, &mut theirs, &format!("vm: shown {number:03}\r"))?;
        for times in 1..=TRIES {
            if differs.is_none() {
                break;
            }
            // Once a minute a cursor blinks, not in both at the same time; and fbcon's picture
            // comes later than its text.
            for vm in [&mut ours, &mut theirs] {
                vm.tell("again\n")?;
            }
            let again = " again".repeat(times);
            (pictures, differs) = look(
                &mut ours,
                &mut theirs,
                &format!("vm: shown {number:03}{again}\r"),
            )?;
        }
        for vm in [&mut ours, &mut theirs] {
            vm.tell("\n")?;
        }
        match differs {
            None => equal += 1,
            Some((pixels, at)) => {
                for (path, _) in &pictures {
                    fs::copy(path, path.with_file_name(format!("{number:03}.png")))?;
                }
                wrong.push(format!(
                    "{number:03} ({}): {pixels} pixels differ, the first at {at:?}",
                    stream.name
                ));
            }
        }
    }
    for vm in [&mut ours, &mut theirs] {
        vm.wait_for(READY)?;
        vm.check_kernel()?;
        vm.check_guest_errors()?;
    }
    ensure!(
        wrong.is_empty(),
        "{} of {} streams differ:\n    {}",
        wrong.len(),
        wrong.len() + equal,
        wrong.join("\n    ")
    );
    Ok(format!("{equal} streams, every pixel as fbcon's"))
}

/// What is typed on the keyboard is run by a shell, on one virtual terminal and another.
fn keyboard(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = boot(machine, out)?;
    let reads = |vm: &mut Vm, lines: &[&str]| {
        bench.look(vm, None, out, |screen, _| {
            let text = screen.text();
            // The kernel may have something to say behind a prompt.
            let own = |seen: &str| seen.split("[ ").next().unwrap_or("").trim_end() == "#";
            for line in lines {
                let equal = |seen: &str| seen.trim_end() == *line || *line == "#" && own(seen);
                ensure!(text.lines().any(equal), "no line '{line}' in:\n{text}");
            }
            Ok(())
        })
    };
    // Away from the log, and back to it: each has its own text.
    vm.press("alt-f2")?;
    reads(&mut vm, &["#"])?;
    vm.press("e c h o spc t w o spc minus minus ret")?;
    reads(&mut vm, &["# echo two --", "two --"])?;
    vm.press("alt-f1")?;
    reads(&mut vm, &["#"])?;
    vm.press("e c h o spc o n e ret")?;
    reads(&mut vm, &["# echo one", "one"])?;
    vm.press("alt-f2")?;
    reads(&mut vm, &["# echo two --", "two --", "#"])?;
    vm.press("alt-f1")?;
    reads(&mut vm, &["# echo one", "one", "#"])?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok("two shells, typed at and switched between".into())
}

/// The prompt for a disk's passphrase is on the screen before any other display driver, and what is
/// typed opens the disk.
fn passphrase(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    fs::create_dir_all(out)?;
    let disk = out.join("disk.img");
    fs::File::create(&disk)?.set_len(24 << 20)?;
    let drive = format!("if=none,id=disk,format=raw,file={}", disk.display());
    let machine = machine.clone().option("-drive", &drive);
    let maker = machine.clone().append("rdinit=/format");
    drop(boot(&maker, &out.join("format"))?);

    let mut vm = machine.start(out)?;
    let mut answer = |prompt, keys| {
        bench.wait_for_words(&mut vm, &[prompt], out)?;
        // What was typed before it asks is thrown away, right after it has asked.
        thread::sleep(Duration::from_secs(1));
        vm.press(keys)
    };
    answer("Enter passphrase for /dev/vda:", "w r o n g ret")?;
    answer(
        "No key available with this passphrase.\nEnter passphrase for /dev/vda:",
        "o p e n spc s e s a m e ret",
    )?;
    bench.wait_for_words(&mut vm, &["/dev/vda is open"], out)?;
    ensure!(
        !vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu was there"
    );
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok("asked, refused and answered on the screen".into())
}

/// A screen that is blanked is black, and has its text when it comes back.
fn blank(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_for("vm: waiting")?;
    let (_, picture) = vm.wait("a black screen", TIME_FOR_TEXT * 2, |vm| {
        let (path, picture) = vm.screenshot("black.png", None)?;
        Ok(picture.is_blank().then_some((path, picture)))
    })?;
    ensure!(picture.is_black(), "the screen is not black");
    vm.tell("\n")?;
    vm.wait_for(READY)?;
    let rows = bench.look(&mut vm, None, out, |screen, _| {
        let text = screen.text();
        ensure!(
            text.contains("vm: line 5"),
            "the text has not come back:\n{text}"
        );
        Ok(screen.written().len())
    })?;
    vm.check_guest_errors()?;
    Ok(format!("black, and {rows} rows again"))
}

/// The screen has all of the log after sleep; what the device went through is told.
fn sleeps(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().traced();
    let mut vm = machine.start(out)?;
    vm.wait_for(" entry")?;
    // Asleep, the device knows no address of ours.
    vm.wait("a device that is reset", TIME_FOR_TEXT, |vm| {
        let status = vm.gpu("virtio-status", "")?;
        Ok((!status.contains("ACKNOWLEDGE")).then_some(()))
    })?;
    let rows = bench.has_same_text(&mut vm, None, out)?;
    Ok(format!("{}, {}", equal(rows), vm.events()?))
}

/// Each level of the log has its colour.
fn colours(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    const RED: u32 = 0x00ff_5555;
    let wanted = [
        RED,
        RED,
        RED,
        RED,
        0x00ff_ff55,
        0x00ff_ffff,
        0x00aa_aaaa,
        0x0055_5555,
    ];
    let mut vm = boot(machine, out)?;
    bench.look(&mut vm, None, out, |screen, _| {
        for (level, wanted) in wanted.iter().enumerate() {
            let says = format!("vm: level {level}");
            let mut rows = screen.rows.iter().zip(&screen.colours);
            let (_, colour) = rows
                .find(|(row, _)| show(row).ends_with(&says))
                .with_context(|| format!("no '{says}' on the screen"))?;
            ensure!(
                *colour == Some(*wanted),
                "level {level} has the colour {colour:x?}, not {wanted:x}"
            );
        }
        Ok(())
    })?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok("eight levels in their colours".into())
}

const SMMU: &str = "iommu=smmuv3";
const ON_PLATFORM: &str = "virtio-gpu-pci,iommu_platform=on";

/// A machine with Arm's IOMMU, and lines to write.
fn smmu(machine: Machine) -> Machine {
    let machine = machine.append("vm.lines=100").direct();
    machine.option("-machine", SMMU)
}

/// The screen shows the log, and no IOMMU complains of what the device does.
fn behind_iommu(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    let serial = String::from_utf8_lossy(&vm.serial()?).into_owned();
    ensure!(
        serial.contains("Adding to iommu group"),
        "there is no IOMMU"
    );
    let fault = serial.lines().find(|line| {
        line.contains("arm-smmu") && line.contains("event")
            || line.contains("virtio_iommu") && line.contains("fault from EP")
    });
    ensure!(fault.is_none(), "{}", fault.unwrap_or_default());
    Ok(equal(rows))
}

/// The same when the native driver has the device.
fn handed_over_behind_iommu(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let seen = behind_iommu(bench, machine, out)?;
    let serial = fs::read(out.join("serial.log"))?;
    let said = String::from_utf8_lossy(&serial);
    ensure!(
        said.contains("handed over to the native driver"),
        "the device was not handed over"
    );
    Ok(seen)
}

/// The native driver has the screen, and its log has what ours had: as many rows as it keeps, round
/// and round.
fn handed_to_drm_log(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = boot(machine, out)?;
    let rows = bench.look(&mut vm, None, out, |screen, vm| {
        log::compare_ring(screen, log::kernel_part(&vm.serial()?))
    })?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(
        said.contains("native driver, dark for "),
        "no handover:\n{said}"
    );
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(format!("{} on drm_log", equal(rows)))
}

/// A viewer makes its window larger, and smaller, and the text follows, without a dark frame.
fn resize(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, seen) = resized(bench, machine, out)?;
    let pictures = vm.pictures()?;
    ensure!(
        pictures.len() == SIZES.len() + 1 && !pictures.contains(&0),
        "dark between {pictures:x?}"
    );
    Ok(format!("{seen}, no dark frame"))
}

/// The same on a device that has to be reset for it.
fn resize_mmio(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    Ok(resized(bench, machine, out)?.1)
}

/// More cells than there was memory for, and less than there is text.
const SIZES: [(u16, u16); 3] = [(1920, 1080), (640, 480), (1024, 768)];

/// Lines to fill each of the screens.
const RESIZES: &str = "vm.lines=60 vm.wait vm.lines=80 vm.wait vm.lines=80 vm.wait vm.lines=80";

const CHANGED: &str = "virtgpu_bridge: the display has changed: ";
const WAITING: &str = "vm: waiting";

/// How often the guest has said this.
fn times(vm: &Vm, words: &str) -> Result<usize> {
    let serial = vm.serial()?;
    Ok(String::from_utf8_lossy(&serial).matches(words).count())
}

fn resized(bench: &Bench, machine: &Machine, out: &Path) -> Result<(Vm, String)> {
    fs::create_dir_all(out)?;
    let socket = out.join("vnc");
    let server = format!("unix:{}", socket.display());
    let mut vm = machine
        .clone()
        .option("-vnc", &server)
        .traced()
        .start(out)?;
    vm.wait_for(WAITING)?;
    let mut viewer = Viewer::connect(&socket)?;
    let mut seen = Vec::new();
    for (step, (width, height)) in SIZES.into_iter().enumerate() {
        if step == 1 {
            // No text fits this, and that is seen within a second or two. The screen stays.
            viewer.resize(300, 8)?;
            thread::sleep(Duration::from_millis(2500));
        }
        viewer.resize(width, height)?;
        vm.wait("a word of the new display", TIME_FOR_TEXT, |vm| {
            Ok((times(vm, CHANGED)? > step).then_some(()))
        })?;
        // What was on the screen still is, and what comes is laid out anew.
        bench.wait_for_words(&mut vm, &[WAITING, CHANGED], out)?;
        vm.tell("\n")?;
        vm.wait("all that it had to say", TIME_FOR_TEXT, |vm| {
            let said = times(vm, WAITING)? + times(vm, READY)?;
            Ok((said == step + 2).then_some(()))
        })?;
        let rows = bench.look(&mut vm, None, out, |screen, vm| {
            let wanted = usize::from(width) / screen.font.width;
            ensure!(screen.columns == wanted, "{} columns", screen.columns);
            log::compare_tail(screen, log::kernel_part(&vm.serial()?))
        })?;
        seen.push(format!("{rows} rows at {width}x{height}"));
    }
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok((vm, seen.join(", ")))
}

/// A GPU's properties: two displays may be plugged in.
const TWO: &str = "id=gpu,max_outputs=2";

/// The machine, with a viewer's socket for each of its two displays.
fn with_two_viewers(machine: &Machine, out: &Path) -> Result<(Machine, [PathBuf; 2])> {
    fs::create_dir_all(out)?;
    let sockets = [0, 1].map(|head| out.join(format!("vnc{head}")));
    let mut machine = machine.clone();
    for (head, socket) in sockets.iter().enumerate() {
        let socket = socket.display();
        let server = format!("unix:{socket},id=viewer{head},display=gpu,head={head}");
        machine = machine.option("-vnc", &server);
    }
    Ok((machine, sockets))
}

/// Starts it with the second one plugged in.
fn with_second(machine: &Machine, size: (u16, u16), out: &Path) -> Result<(Vm, Viewer)> {
    let (machine, sockets) = with_two_viewers(machine, out)?;
    let mut vm = machine.paused().start(out)?;
    let mut viewer = Viewer::connect(&sockets[1])?;
    viewer.resize(size.0, size.1)?;
    viewer.wait_for_answer()?;
    vm.go()?;
    Ok((vm, viewer))
}

/// What each display shows is the end of the log, as far as all that are plugged in have room for
/// it.
fn same_text_on(
    bench: &Bench,
    vm: &mut Vm,
    heads: [Option<(u16, u16)>; 2],
    out: &Path,
) -> Result<String> {
    let sizes = || heads.iter().flatten().copied();
    let (width, height) = (
        sizes().map(|size| size.0).min(),
        sizes().map(|size| size.1).min(),
    );
    let (Some(width), Some(height)) = (width, height) else {
        bail!("no display");
    };
    let least = (width.into(), height.into());
    let mut rows = 0;
    for (head, size) in (0..).zip(heads) {
        let Some((width, height)) = size else {
            let (path, picture) = vm.screenshot_of("dark.png", Some(("gpu", head)))?;
            let dark = !Screen::read(&picture, &bench.fonts).is_console();
            ensure!(dark, "text where no display is, see {}", path.display());
            continue;
        };
        let read = |picture: &Picture| {
            let is = (picture.width, picture.height);
            ensure!(
                is == (width.into(), height.into()),
                "display {head} has {is:?} pixels"
            );
            Ok(Screen::read_part(picture, &bench.fonts, least))
        };
        rows = bench.look_at(vm, Some(("gpu", head)), out, read, |screen, vm| {
            let serial = vm.serial()?;
            let lines = log::kernel_part(&serial).split_inclusive(|&byte| byte == b'\n');
            // The serial port has what it is told as well: empty lines.
            let lines: Vec<_> = lines.filter(|line| *line != b"\r\n").collect();
            log::compare_tail(screen, &lines.concat())
        })?;
    }
    let sizes: Vec<String> = sizes()
        .map(|(width, height)| format!("{width}x{height}"))
        .collect();
    Ok(format!("{rows} rows at {}", sizes.join(" and ")))
}

/// Two displays, one of which is narrower and the other lower, show the log from its beginning.
fn two_displays(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let second = (640, 960);
    let (mut vm, _viewer) = with_second(machine, second, out)?;
    vm.wait_for(READY)?;
    let seen = same_text_on(bench, &mut vm, [Some((1280, 800)), Some(second)], out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    let named = "scanout 0, 1280x800, and scanout 1, 640x960, 80x";
    ensure!(said.contains(named), "nobody says '{named}':\n{said}");
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(seen)
}

/// The host has no memory for both: the first one shows the log.
fn one_of_two(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, _viewer) = with_second(machine, (16000, 16000), out)?;
    vm.wait_for(READY)?;
    let seen = same_text_on(bench, &mut vm, [Some((1280, 800)), None], out)?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(seen)
}

/// A kernel that dies says so on both.
fn two_panics(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    const SAYS: [&str; 3] = [
        "Kernel panic - not syncing",
        "Call trace:",
        "---[ end Kernel panic",
    ];

    let (mut vm, _viewer) = with_second(machine, (1024, 768), out)?;
    vm.wait_for_end(SAYS[2])?;
    for head in [0, 1] {
        let read = |picture: &Picture| Ok(Screen::read_part(picture, &bench.fonts, (1024, 768)));
        bench.look_at(&mut vm, Some(("gpu", head)), out, read, |screen, _| {
            let text = screen.text();
            for words in SAYS {
                ensure!(
                    text.contains(words),
                    "no '{words}' on display {head}:\n{text}"
                );
            }
            ensure!(screen.clean_edges, "the rest is not black");
            Ok(())
        })?;
    }
    vm.check_faults()?;
    vm.check_guest_errors()?;
    Ok("the reason, the trace and the end on both".into())
}

/// Which display has another size, or goes if it has none.
const STEPS: [(usize, Option<(u16, u16)>); 9] = [
    (1, Some((1024, 768))),
    (0, Some((1920, 1080))),
    (1, Some((1280, 1024))),
    (1, None),
    (0, Some((1024, 768))),
    (1, Some((800, 1200))),
    (0, None),
    (0, Some((1280, 800))),
    (1, None),
];

/// Lines in which the log goes on while that happens, and a rest to look at them.
fn ticks() -> String {
    "vm.ticks vm.wait vm.noise=0 vm.wait ".repeat(STEPS.len()) + "vm.lines=80"
}

/// Displays come, go, and change their size while the log goes on: each shows all of it, and is
/// dark only when it is gone.
fn come_and_go(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, seen) = followed(bench, machine, out)?;
    let pictures = vm.pictures()?;
    let dark = pictures.iter().filter(|&&picture| picture == 0).count();
    let gone = STEPS.iter().filter(|(_, size)| size.is_none()).count();
    ensure!(dark == gone, "dark between {pictures:x?}");
    Ok(format!("{seen}, no dark frame"))
}

/// The same on a device that has to be reset for it.
fn come_and_go_mmio(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    Ok(followed(bench, machine, out)?.1)
}

/// Two pictures for displays so large are more than the host has memory for.
fn one_picture(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (machine, sockets) = with_two_viewers(machine, out)?;
    let mut vm = machine.paused().start(out)?;
    let sizes = [(5120, 2160), (640, 4080)];
    let mut viewers = Vec::new();
    for (socket, (width, height)) in sockets.iter().zip(sizes) {
        let mut viewer = Viewer::connect(socket)?;
        viewer.resize(width, height)?;
        viewer.wait_for_answer()?;
        viewers.push(viewer);
    }
    vm.go()?;
    vm.wait_for(WAITING)?;
    let smaller = (640, 4000);
    viewers[1].resize(smaller.0, smaller.1)?;
    vm.wait_for(CHANGED)?;
    vm.tell("\n")?;
    vm.wait_for(READY)?;
    let seen = same_text_on(bench, &mut vm, [Some(sizes[0]), Some(smaller)], out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(!said.contains(ADOPTED), "there were two pictures:\n{said}");
    vm.check_kernel()?;
    Ok(seen)
}

fn followed(bench: &Bench, machine: &Machine, out: &Path) -> Result<(Vm, String)> {
    // So many lines fill what a larger display has more.
    const MORE: usize = 25;

    let (machine, sockets) = with_two_viewers(machine, out)?;
    let mut vm = machine.traced().start(out)?;
    let mut heads = [Some((1280, 800)), None];
    let mut viewers = Vec::new();
    let mut seen = Vec::new();
    for (step, (head, size)) in STEPS.into_iter().enumerate() {
        // A screen full of them.
        vm.wait("lines", TIME_FOR_TEXT * 2, |vm| {
            let serial = vm.serial()?;
            let said = String::from_utf8_lossy(&serial);
            let since = said.split(WAITING).nth(2 * step + 1);
            Ok(since
                .filter(|said| said.matches("vm: tick").count() > 70)
                .map(drop))
        })?;
        if viewers.is_empty() {
            for socket in &sockets {
                viewers.push(Viewer::connect(socket)?);
            }
        }
        let (width, height) = size.unwrap_or((0, 0));
        viewers[head].resize(width, height)?;
        heads[head] = size;
        vm.wait(
            "a word of the new display, and lines",
            TIME_FOR_TEXT,
            |vm| {
                let serial = vm.serial()?;
                let said = String::from_utf8_lossy(&serial);
                let since = said.split(CHANGED).nth(step + 1);
                Ok(since
                    .filter(|said| said.matches("vm: tick").count() > MORE)
                    .map(drop))
            },
        )?;
        vm.tell("\n")?;
        vm.wait("the end of the lines", TIME_FOR_TEXT, |vm| {
            Ok((times(vm, WAITING)? == 2 * step + 2).then_some(()))
        })?;
        let step = same_text_on(bench, &mut vm, heads, out);
        seen.push(step.with_context(|| format!("after {seen:?}"))?);
        if times(&vm, WAITING)? < 2 * STEPS.len() {
            vm.tell("\n")?;
        }
    }
    // The last one goes: there is nothing to follow, and who looks all the same sees what is new.
    viewers[0].resize(0, 0)?;
    thread::sleep(Duration::from_secs(3));
    vm.tell("\n")?;
    vm.wait_for(READY)?;
    same_text_on(bench, &mut vm, heads, out).context("without a display")?;
    let followed = times(&vm, CHANGED)?;
    ensure!(followed == STEPS.len(), "followed {followed} times");
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok((vm, seen.join(", ")))
}

/// The next kernel adopts the device: our picture stays until it has its own.
fn kexec(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = next_kernel(
        bench,
        machine,
        &["the next kernel gets the screen", ADOPTED],
        out,
    )?;
    let pictures = vm.pictures()?;
    // Firmware's are in front of them.
    let last = &pictures[pictures.len().saturating_sub(2)..];
    ensure!(
        last.len() == 2 && !last.contains(&0),
        "dark between {pictures:x?}"
    );
    Ok(format!("{}, no dark frame", equal(rows)))
}

/// The same with a picture of the native driver's.
fn kexec_from_native(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = next_kernel(bench, machine, &["handed over to", ADOPTED], out)?;
    let pictures = vm.pictures()?;
    // Ours, the handover, the native driver's, and ours again.
    let dark = pictures.iter().map(|&picture| picture == 0);
    ensure!(
        dark.eq([false, true, false, false]),
        "dark between {pictures:x?}"
    );
    Ok(format!(
        "{}, no dark frame after the handover's",
        equal(rows)
    ))
}

/// Its registers do not tell the next kernel whether it can be adopted: it finds a device at rest.
fn kexec_mmio(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let found = ["the next kernel gets the screen", ", was idle"];
    let (_, rows) = next_kernel(bench, machine, &found, out)?;
    Ok(equal(rows))
}

const ADOPTED: &str = ", was running, adopted";

/// Has the machine's first kernel crash once it has loaded another one, for which memory is set
/// aside.
pub fn crashing(machine: Machine) -> Machine {
    machine.append("vm.crash crashkernel=192M")
}

/// The kernel that comes after a crash adopts the device. It shows its own log, without a dark
/// frame, and from its init on neither it nor the device writes to the memory of the one that
/// crashed.
fn crash(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.clone().traced().start(out)?;
    vm.wait_for("vm: waiting")?;
    for words in ["sysrq triggered crash", ADOPTED] {
        ensure!(vm.serial_has(words)?, "nobody says '{words}'");
    }
    let before = not_reserved(&mut vm)?;
    vm.tell("\n")?;
    vm.wait_for(READY)?;
    let rows = bench.look(&mut vm, None, out, |screen, vm| {
        log::compare_tail(screen, log::kernel_part(&vm.serial()?))
    })?;
    let after = not_reserved(&mut vm)?;
    let mut pages = before.iter().zip(&after);
    if let Some(page) = pages.position(|(before, after)| before != after) {
        bail!("memory of the kernel that crashed was written, in its page {page}");
    }
    let pictures = vm.pictures()?;
    let last = &pictures[pictures.len().saturating_sub(2)..];
    ensure!(
        last.len() == 2 && !last.contains(&0),
        "dark between {pictures:x?}"
    );
    vm.check_guest_errors()?;
    Ok(format!(
        "{}, no dark frame, {} MiB as they were",
        equal(rows),
        after.len() * PAGE >> 20
    ))
}

const PAGE: usize = 4096;

/// A sum of each page of the guest's memory but what was set aside for a kernel that comes after a
/// crash.
fn not_reserved(vm: &mut Vm) -> Result<Vec<u64>> {
    const RAM: std::ops::Range<u64> = 0x4000_0000..0x8000_0000;

    let serial = vm.serial()?;
    let said = String::from_utf8_lossy(&serial);
    let reserved = said.split_once("crashkernel reserved: 0x");
    let (_, reserved) = reserved.context("no memory is set aside")?;
    let mut bounds = reserved
        .split([' ', 'x'])
        .filter_map(|word| (word.len() == 16).then(|| u64::from_str_radix(word, 16).ok())?);
    let (Some(begin), Some(end)) = (bounds.next(), bounds.next()) else {
        bail!("which memory is set aside?");
    };
    let sum = |page: &[u8]| {
        let mut sum = DefaultHasher::new();
        sum.write(page);
        sum.finish()
    };
    let mut sums = Vec::new();
    for (begin, end) in [(RAM.start, begin), (end, RAM.end)] {
        sums.extend(vm.memory(begin, end - begin)?.chunks(PAGE).map(sum));
    }
    Ok(sums)
}

fn next_kernel(bench: &Bench, machine: &Machine, said: &[&str], out: &Path) -> Result<(Vm, usize)> {
    let (vm, rows) = bench.same_text(&machine.clone().traced(), None, out)?;
    for words in said {
        ensure!(vm.serial_has(words)?, "nobody says '{words}'");
    }
    Ok((vm, rows))
}

/// The machine ends by itself, and the device has nothing to complain about.
fn ends(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    vm.wait_end()?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok("the machine ended".into())
}

/// The native driver has the device in the end, its console shows the log, and the log says for how
/// long the screen was dark.
pub fn handed_over(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let machine = machine.clone().traced();
    let (vm, rows) = bench.same_text(&machine, None, out)?;
    let said = driver_lines(&vm.serial()?);
    let dark = said
        .iter()
        .find_map(|line| line.split_once("native driver, dark for "));
    let (_, dark) = dark.with_context(|| format!("no line tells of it:\n{}", said.join("\n")))?;
    ensure!(
        vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu did not get the device"
    );
    let events = vm.events()?;
    // One reset when we let go, and two pictures: ours, and the native driver's.
    let (resets, mode_sets) = (1, 2);
    ensure!(events == Events { resets, mode_sets }, "{events}");
    Ok(format!(
        "{}, dark for {}, {events}",
        equal(rows),
        dark.trim()
    ))
}

/// The device was given away, and taken back, so many times.
pub fn changed_hands(vm: &Vm, given: usize, taken: usize) -> Result<()> {
    let said = driver_lines(&vm.serial()?).join("\n");
    let times = |text: &str| said.matches(text).count();
    let seen = (times("handed over"), times("ours again"));
    ensure!(
        seen == (given, taken),
        "handed over {} times, taken back {} times:\n{said}",
        seen.0,
        seen.1
    );
    Ok(())
}

/// The native driver comes and goes.
fn ten_times(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(&machine.clone().traced(), None, out)?;
    changed_hands(&vm, 11, 10)?;
    // Ours once when we let go. virtio_gpu's when it goes, and virtio-pci's, to which the device
    // was acknowledged again. A picture whenever somebody begins.
    let events = vm.events()?;
    let (resets, mode_sets) = (11 + 2 * 10, 11 + 11);
    ensure!(events == Events { resets, mode_sets }, "{events}");
    Ok(format!(
        "{}, given 11 times, taken back 10 times, {events}",
        equal(rows)
    ))
}

/// What the native driver loses is ours, and stays so.
pub fn ours_again(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    changed_hands(&vm, 1, 1)?;
    Ok(equal(rows))
}

/// The native driver does not want the device; the screen is ours and has all of the log.
pub fn stays_ours(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    ensure!(
        !vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu got the device"
    );
    Ok(equal(rows))
}

/// The same, after the native driver was offered the device.
pub fn taken_back(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let seen = stays_ours(bench, machine, out)?;
    // The log of the run that has just ended.
    let serial = fs::read(out.join("serial.log"))?;
    let said = driver_lines(&serial).join("\n");
    for words in ["does not take the device", "the screen is ours again"] {
        ensure!(said.contains(words), "nobody says '{words}':\n{said}");
    }
    Ok(seen)
}

/// The kernel's own driver takes the device; the boot goes on and the device sees nothing wrong.
fn handover(_: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let vm = boot(&machine.clone().append("vm.lines=50"), out)?;
    ensure!(registered(&vm)?, "the early console was not registered");
    ensure!(
        vm.serial_has("Initialized virtio_gpu")?,
        "virtio_gpu did not get the device"
    );
    Ok("the boot went on".into())
}

/// The same, and the kernel's own console then shows the log.
fn handover_to_fbcon(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (vm, rows) = bench.same_text(machine, None, out)?;
    ensure!(registered(&vm)?, "the early console was not registered");
    Ok(equal(rows))
}

/// The first of two GPUs is used, the log says which, and the other stays dark.
fn two_gpus(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let (mut vm, rows) = bench.same_text(machine, Some("one"), out)?;
    let said = driver_lines(&vm.serial()?).join("\n");
    ensure!(
        said.contains("00:03.0"),
        "the log does not say that 00:03.0 was chosen:\n{said}"
    );
    let (path, picture) = vm.screenshot("other.png", Some("two"))?;
    let other = Screen::read(&picture, &bench.fonts);
    ensure!(
        !other.is_console(),
        "text on the other GPU, see {}",
        path.display()
    );
    Ok(equal(rows))
}

/// On a screen tall enough for the whole log, that begins in the first row, early and late.
fn first_line(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let mut vm = machine.start(out)?;
    let (early, age) = vm.wait("text on the screen", TIME_FOR_TEXT, |vm| {
        let (_, picture) = vm.screenshot("early.png", None)?;
        let screen = Screen::read(&picture, &bench.fonts);
        Ok(screen.is_console().then(|| (screen, vm.age())))
    })?;
    vm.wait_for(READY)?;
    let all = bench.look(&mut vm, None, out, |screen, vm| {
        let serial = vm.serial()?;
        let rows = log::lay_out(log::kernel_part(&serial), screen.columns);
        ensure!(
            rows.len() < screen.rows.len(),
            "the log is longer than the screen"
        );
        log::compare_rows(screen, &rows)
    })?;
    let serial = vm.serial()?;
    let first = log::compare_head(&early, log::kernel_part(&serial))
        .with_context(|| format!("an early look, see {}", out.join("early.png").display()))?;
    vm.check_kernel()?;
    vm.check_guest_errors()?;
    Ok(format!(
        "{} after {:.1} s, {} at the end",
        equal(first),
        age.as_secs_f32(),
        equal(all)
    ))
}

/// A kernel that dies before it has an allocator shows all it says, as the serial port does.
pub fn early_panic(bench: &Bench, machine: &Machine, out: &Path) -> Result<String> {
    let end = "---[ end Kernel panic";
    let mut reference = machine
        .clone()
        .first("earlycon=pl011,0x9000000")
        .start(&out.join("reference"))?;
    reference.wait_for_end(end)?;
    let serial = reference.serial()?;
    drop(reference);
    let mut vm = machine.clone().first("earlycon=virtgpu").start(out)?;
    bench.wait_for_words(&mut vm, &[end], out)?;
    let rows = bench.look(&mut vm, None, out, |screen, _| {
        let expected = log::lay_out(log::kernel_part(&serial), screen.columns);
        let expected = comparable(
            expected
                .iter()
                .map(|row| String::from_utf8_lossy(row).into_owned()),
        );
        let seen = comparable(screen.written().iter().map(|row| show(row)));
        // What scrolled away cannot be seen, but of what can be nothing may be missing.
        let scrolled = expected.len().saturating_sub(seen.len());
        ensure!(
            scrolled == 0 || screen.written().len() + 1 >= screen.rows.len(),
            "only {} rows of {}",
            seen.len(),
            expected.len()
        );
        for (at, (expected, seen)) in expected[scrolled..].iter().zip(&seen).enumerate() {
            ensure!(
                expected == seen,
                "row {} from above, without the console's own lines:\n    expected |{expected}|\n    read     |{seen}|",
                at + 1
            );
        }
        ensure!(screen.clean_edges, "the strip right of or below the text is not black");
        match seen.last() {
            Some(last) if last.contains(end) && seen.len() <= expected.len() => Ok(seen.len()),
            last => bail!("the last row is {last:?}"),
        }
    })?;
    vm.check_guest_errors()?;
    Ok(equal(rows))
}

/// Rows without what two boots with different early consoles may differ in: the console's own
/// lines, times, and addresses.
fn comparable(rows: impl Iterator<Item = String>) -> Vec<String> {
    let console = ["earlycon", "bootconsole", "virtgpu"];
    rows.filter(|row| !console.iter().any(|word| row.contains(word)))
        .map(|row| {
            let message = row
                .split_once("] ")
                .filter(|_| row.starts_with('['))
                .map_or(&*row, |(_, rest)| rest);
            let hide = |part: &str| {
                let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                match word.trim_start_matches("0x") {
                    hex if hex.len() >= 8 && hex.chars().all(|c| c.is_ascii_hexdigit()) => {
                        part.replace(word, "#")
                    }
                    _ => part.to_owned(),
                }
            };
            let parts = message
                .trim_end()
                .split_inclusive(|c: char| !c.is_ascii_alphanumeric());
            parts.map(hide).collect()
        })
        .collect()
}
