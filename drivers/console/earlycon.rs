// SPDX-License-Identifier: GPL-2.0

//! The early console, `earlycon=virtgpu`: from the kernel's first line until another console
//! prints.

use kernel::{
    pr_err,
    pr_info,
    pr_warn, //
};

use crate::{
    console::{
        pacing,
        preferred, //
    },
    device::{
        active,
        boot_picture,
        discovery::{
            Discovery,
            Phase, //
        }, //
    },
    firmware::cmdline,
    linux::{
        clock::ticks,
        earlycon::{
            declare_earlycon,
            Earlycon, //
        },
        kmsg,
        owner::{
            oops_in_progress,
            panic_on_this_cpu, //
        },
        parameters,
        queue_memory::QueueMemory, //
    },
    scanout::log::Log,
    text::ATTRIBUTE, //
};

/// The highest console loglevel of a quiet kernel, which does not print messages of normal
/// operation.
const QUIET_LOGLEVEL: i32 = 5;

/// The early console.
struct Early;

declare_earlycon!(rust_virtgpu_bridge_earlycon_setup, Early);

impl Earlycon for Early {
    fn setup(options: Option<&[u8]>, mmio: Option<u64>) -> Option<u64> {
        let start = ticks();
        if let Some(loglevel) = parameters::loglevel() {
            // The log is printed when this returns, before the rest of the command line is parsed.
            kmsg::set_console_level(loglevel);
        }
        let mut discovery = Discovery::new(Phase::EarlyParameters);
        discovery.handoff = boot_picture::handoff();
        if let Some(base) = mmio {
            discovery.mmio(base, true);
        } else if let Some(options) = options {
            match cmdline::DeviceAddress::parse(options) {
                Ok(address) => discovery.pci_at(&address),
                Err(error) => {
                    pr_err!("earlycon=virtgpu: {}\n", format_args!("{error}"));
                    return None;
                }
            }
        } else {
            discovery.scan();
        }
        let Some(gpu) = &discovery.discovered else {
            if discovery.seen == 0 {
                pr_info!("no virtio-gpu found for earlycon\n");
            }
            return None;
        };
        let (address, shows_handoff) = (gpu.address, gpu.shows_handoff);
        discovery.announce(start);
        active::activate(&mut discovery)?;
        let keeps = parameters::keeps_picture().unwrap_or_else(|word| {
            pr_warn!("virtgpu_bridge.picture={word}: not clear or keep; taking clear\n");
            false
        });
        let is_quiet = parameters::loglevel().is_some_and(|loglevel| loglevel <= QUIET_LOGLEVEL);
        if keeps || is_quiet {
            boot_picture::show(discovery.handoff.as_ref(), shows_handoff, keeps);
        }
        Some(address)
    }

    fn write(text: &[u8]) {
        if preferred::earlycon_is_muted() {
            return;
        }
        let write = |log: &mut Log<'static, QueueMemory>| {
            log.append(text, ATTRIBUTE, oops_in_progress());
            pacing::show(log);
        };
        if panic_on_this_cpu() {
            active::take_over(false, |log, _, _| write(log));
        } else {
            active::with_log(write);
        }
    }
}
