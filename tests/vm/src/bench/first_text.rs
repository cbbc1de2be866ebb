// SPDX-License-Identifier: GPL-2.0

//! Counts instructions from `start_kernel()` to the first text, before there is a clock: QEMU
//! writes down each one.

use crate::{
    measure::{self, Clock, LEVEL},
    peers::{self, Extra},
};
use anyhow::{ensure, Context, Result};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    time::Duration,
};
use vm::guests::Guests;

/// What was counted.
pub struct FirstText {
    /// From `start_kernel()`.
    pub from_start: u64,
    /// `paging_init()` had not run.
    pub before_paging: bool,
}

/// The address at which kernels run by default, and how many bytes from there on are counted.
const KERNEL: u64 = 0xffff_8000_8000_0000;
const SIZE: u64 = 0x1000_0000;

const NOTIFY: &str = "virtio_queue_notify ";
const FLUSH: &str = "virtio_gpu_cmd_res_flush ";

/// Boots with a GPU on bus 0, or behind a root port, until something is shown.
pub fn count(guests: &Guests, extra: &Extra, port: bool, out: &Path) -> Result<FirstText> {
    let mode = (1280, 800);
    // Where functions are; this boot is an ordinary one.
    let symbols: BTreeMap<String, u64> = measure::boot(
        (guests, extra),
        peers::EARLYCON,
        mode,
        Clock::Icount,
        &[],
        "",
        out,
    )?
    .symbols;
    let symbol = |name: &str| {
        symbols
            .get(name)
            .copied()
            .with_context(|| format!("no {name}"))
    };
    let (start, paging) = (symbol("start_kernel")?, symbol("paging_init")?);

    let gpu = match port {
        true => "virtio-gpu-pci,bus=port1,xres=1280,yres=800",
        false => "virtio-gpu-pci,xres=1280,yres=800",
    };
    let mut machine = peers::EARLYCON.machine_of(guests, extra);
    if port {
        machine = machine.device("pcie-root-port,id=port1,chassis=1");
    }
    // Firmware, as its devicetree is small: Linux sums up the whole 1 MiB of QEMU's own, 12
    // instructions a byte. The first lines only: a kernel with little memory dies soon.
    let machine = machine
        .device(gpu)
        .without(LEVEL)
        .append("loglevel=8 mem=1M")
        .option("-d", "guest_errors,exec,nochain")
        .option("-dfilter", &format!("{KERNEL:#x}+{SIZE:#x}"))
        .option("-trace", "enable=virtio_queue_notify")
        .option("-trace", "enable=virtio_gpu_cmd_res_flush")
        .paused();
    let mut vm = machine.start(out)?;
    vm.human("one-insn-per-tb on")?;
    vm.go()?;
    let log = out.join("qemu.log");
    let (mut at, mut from_start, mut paged) = (0_u64, None, false);
    let mut notified = None;
    let mut lines = BufReader::new(File::open(&log)?);
    let mut line = String::new();
    vm.wait("the first text", Duration::from_secs(120), |_| {
        // A line that is not all there yet is read on.
        while lines.read_line(&mut line)? > 0 && line.ends_with('\n') {
            if line.starts_with("Trace ") {
                let pc = line
                    .split('/')
                    .nth(1)
                    .and_then(|pc| u64::from_str_radix(pc, 16).ok());
                at += 1;
                match pc.context("no address")? {
                    pc if pc == start => (from_start, notified) = (Some(at), None),
                    pc if pc == paging => paged = true,
                    _ => {}
                }
            } else if line.starts_with(NOTIFY) {
                notified = Some((at, !paged));
            } else if line.starts_with(FLUSH) && from_start.is_some() {
                return Ok(Some(()));
            }
            line.clear();
        }
        Ok(None)
    })?;
    drop(vm);
    let (notified, before_paging) = notified.context("no notification before the first text")?;
    ensure!(from_start.is_some(), "start_kernel() was not seen");
    Ok(FirstText {
        from_start: notified - from_start.unwrap_or_default(),
        before_paging,
    })
}
