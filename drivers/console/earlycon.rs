// SPDX-License-Identifier: GPL-2.0

//! The first stage: `earlycon=virtgpu`, from the kernel's first line until another console comes.

use kernel::{
    pr_err,
    pr_info,
    pr_warn, //
};

use crate::{
    device::{
        boot_picture,
        discovery::{
            Search,
            When, //
        },
        screen, //
    },
    firmware::cmdline,
    linux::{
        kmsg,
        parameters,
        shared::ticks, //
    }, //
};

/// The level up to which a kernel counts as quiet: messages of normal operation are not printed.
const QUIET: i32 = 5;

/// Finds a device and lights its screen. `options` and `mmio` are what the command line says, if it
/// does. Returns the address of the device's doorbell; `None` after it has said why not.
pub(crate) fn setup(options: Option<&[u8]>, mmio: Option<u64>) -> Option<u64> {
    let begun = ticks();
    if let Some(level) = parameters::level() {
        // What follows on the command line counts as well: this console is about to be shown the
        // log.
        kmsg::set_console_level(level);
    }
    let mut search = Search::new(When::Early);
    search.handoff = boot_picture::handed_over();
    if let Some(base) = mmio {
        search.mmio(base, true);
    } else if let Some(options) = options {
        match cmdline::Place::parse(options) {
            Ok(place) => search.told(&place),
            Err(error) => {
                pr_err!("earlycon=virtgpu: {}\n", format_args!("{error}"));
                return None;
            }
        }
    } else {
        search.everywhere();
    }
    let Some(lit) = &search.lit else {
        if search.seen == 0 {
            pr_info!("no virtio-gpu found for earlycon\n");
        }
        return None;
    };
    let (address, live) = (lit.address, lit.live);
    search.announce(begun);
    screen::found(&mut search)?;
    let keeps = parameters::keeps_picture().unwrap_or_else(|word| {
        pr_warn!("virtgpu_bridge.picture={word}: not clear or keep; taking clear\n");
        false
    });
    let is_quiet = parameters::level().is_some_and(|level| level <= QUIET);
    if keeps || is_quiet {
        boot_picture::show(search.handoff.as_ref(), live, keeps);
    }
    Some(address)
}
