// SPDX-License-Identifier: GPL-2.0

//! The consoles that are measured side by side, and the machines they run on.

use crate::measure::LEVEL;
use std::path::PathBuf;
use vm::{
    guests::{Guests, GPU},
    qemu::Machine,
};

/// Kernels that only the measurements need.
pub struct Extra {
    /// Without the driver; its peers are simpledrm and drm_log.
    pub peers: PathBuf,
    /// With the driver, without virtual terminals.
    pub novt: PathBuf,
    /// What the guest runs.
    pub initrd: PathBuf,
    /// The driver's memory in the kernel's image, in bytes.
    pub memory: u64,
}

/// Which kernel.
#[derive(Clone, Copy, PartialEq)]
enum Kernel {
    Ours,
    Plain,
    Peers,
    NoVt,
}

/// What shows the text.
#[derive(Clone, Copy, PartialEq)]
pub enum Shown {
    /// virtio-gpu, in any mode; the machine starts without firmware.
    Gpu,
    /// A framebuffer that firmware leaves, in a mode of its choice.
    Ramfb,
    /// The same GPU, which has no driver.
    Nowhere,
    /// The serial port.
    Serial,
}

/// A console.
pub struct Peer {
    /// Its name in tables.
    pub name: &'static str,
    kernel: Kernel,
    words: &'static str,
    /// What shows its text.
    pub shown: Shown,
    /// It begins again at the top where others scroll.
    pub ring: bool,
    /// The kernel has no font but that of 8x16.
    pub small_font: bool,
    /// Whether programs can write to it as well, as `/dev/tty0`.
    pub vt: bool,
}

/// The driver's early console.
pub const EARLYCON: &Peer = &Peer {
    name: "virtgpu_bridge, earlycon",
    kernel: Kernel::Ours,
    words: "earlycon=virtgpu keep_bootcon console=nowhere virtgpu_bridge.handover=never",
    shown: Shown::Gpu,
    ring: false,
    small_font: false,
    vt: false,
};
/// The driver's virtual terminal.
pub const VT: &Peer = &Peer {
    name: "virtgpu_bridge, VT",
    words: "console=tty0 virtgpu_bridge.handover=never",
    vt: true,
    ..*EARLYCON
};
/// The early console on a device that is not known to pan.
pub const REPAINTING: &Peer = &Peer {
    name: "virtgpu_bridge, repainting",
    words: "earlycon=virtgpu keep_bootcon console=nowhere virtgpu_bridge.handover=never \
        virtgpu_bridge.scroll=repaint",
    ..*EARLYCON
};
/// The virtual terminal on it.
pub const REPAINTING_VT: &Peer = &Peer {
    name: "virtgpu_bridge, repainting VT",
    words: "console=tty0 virtgpu_bridge.handover=never virtgpu_bridge.scroll=repaint",
    ..*VT
};
/// The driver's console in a kernel without virtual terminals.
pub const NBCON: &Peer = &Peer {
    name: "virtgpu_bridge, no VT",
    kernel: Kernel::NoVt,
    words: "console=virtgpu0 virtgpu_bridge.handover=never",
    small_font: true,
    ..*EARLYCON
};
/// The native driver's.
pub const FBCON: &Peer = &Peer {
    name: "virtio_gpu + fbcon",
    kernel: Kernel::Plain,
    words: "console=tty0",
    shown: Shown::Gpu,
    ring: false,
    small_font: false,
    vt: true,
};
/// The native driver's, without a terminal.
pub const DRM_LOG: &Peer = &Peer {
    name: "virtio_gpu + drm_log",
    kernel: Kernel::Peers,
    words: "drm_client_lib.active=log console=drm_log",
    ring: true,
    vt: false,
    ..*FBCON
};
/// The early console on a framebuffer of firmware's.
pub const EFI_EARLYCON: &Peer = &Peer {
    name: "earlycon=efifb",
    kernel: Kernel::Plain,
    words: "earlycon=efifb keep_bootcon console=nowhere",
    shown: Shown::Ramfb,
    ring: false,
    small_font: false,
    vt: false,
};
/// Its framebuffer driver.
pub const EFIFB: &Peer = &Peer {
    name: "efifb + fbcon",
    words: "console=tty0",
    vt: true,
    ..*EFI_EARLYCON
};
/// Its DRM driver.
pub const SIMPLEDRM: &Peer = &Peer {
    name: "simpledrm + fbcon",
    kernel: Kernel::Peers,
    ..*EFIFB
};
/// The serial port's early console.
pub const PL011: &Peer = &Peer {
    name: "earlycon=pl011",
    kernel: Kernel::Plain,
    words: "earlycon=pl011,0x9000000 keep_bootcon console=nowhere nomodeset",
    shown: Shown::Serial,
    ring: false,
    small_font: false,
    vt: false,
};
/// None: what printk itself costs.
pub const NONE: &Peer = &Peer {
    name: "no console",
    words: "console=nowhere nomodeset",
    shown: Shown::Nowhere,
    ..*PL011
};

/// All of them.
pub const ALL: &[&Peer] = &[
    EARLYCON,
    VT,
    REPAINTING,
    REPAINTING_VT,
    NBCON,
    FBCON,
    DRM_LOG,
    EFI_EARLYCON,
    EFIFB,
    SIMPLEDRM,
    PL011,
    NONE,
];

impl Peer {
    /// Returns a machine of one CPU whose log goes to this console only, without a screen.
    pub fn machine_of(&self, guests: &Guests, extra: &Extra) -> Machine {
        let plain = guests.plain();
        let machine = match self.kernel {
            Kernel::Ours => guests.image(),
            Kernel::Plain => plain,
            Kernel::Peers => plain.kernel(&extra.peers),
            Kernel::NoVt => plain.kernel(&extra.novt),
        };
        machine
            .initrd(&extra.initrd)
            .without("console=ttyAMA0")
            .append("rdinit=/bench nokaslr")
            .append(LEVEL)
            .append(self.words)
            .option("-smp", "1")
    }

    /// Returns the same with a screen of that size.
    pub fn machine(
        &self,
        guests: &Guests,
        extra: &Extra,
        (width, height): (usize, usize),
    ) -> Machine {
        let machine = self.machine_of(guests, extra);
        match self.shown {
            Shown::Ramfb => machine
                .append(&format!("video=efifb:{width}x{height}"))
                .device("ramfb"),
            _ => machine
                .direct()
                .device(&format!("{GPU},xres={width},yres={height}")),
        }
    }
}
