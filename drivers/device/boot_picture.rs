// SPDX-License-Identifier: GPL-2.0

//! Firmware's picture on our screen, until there is text, or as long as text does not cover it: for
//! who boots quietly, the screen goes on as it was.
//!
//! It is what our UEFI driver has handed over, or else the boot logo. Both are in memory that is
//! nobody's until there is an allocator, so that `earlycon=virtgpu` is the one stage that can read
//! them.

use kernel::{
    pr_info,
    pr_warn, //
};

use crate::{
    device::screen,
    firmware::{
        bgrt::Bgrt,
        bmp::Bmp,
        efi::{
            self,
            MemoryMap, //
        },
        fdt::Tree,
        handoff::{
            self,
            Handoff, //
        },
        picture::{
            Error,
            Picture, //
        },
        Within, //
    },
    linux::{
        early::{
            self,
            PhysicalMemory, //
        },
        shared::Shared, //
    },
    scanout::log::Log,
    virtio::adoption::Found, //
};

/// What our UEFI driver has handed over, if it has; what is wrong with it is said.
#[inline(never)]
pub(crate) fn handed_over() -> Option<Handoff> {
    let (table, map) = firmware()?;
    let memory = &mut PhysicalMemory::new();
    // Who searches for the device says what is wrong with firmware.
    let at = efi::configuration_table(memory, table, Some(map), handoff::GUID).ok()??;
    match Handoff::read(memory, map, at) {
        Ok(handoff) => Some(handoff),
        Err(error) => {
            pr_warn!("handoff: {}\n", format_args!("{error}"));
            None
        }
    }
}

/// Shows the picture on the device that was found, and says so, or why not: what was handed over,
/// or the logo. Where firmware did not start the kernel there is nothing to say, nor where the
/// screen shows what somebody left there, unless text `keeps` it, and covers it row by row.
///
/// A function of its own: its stack comes after that of the search, not on top of it.
#[inline(never)]
pub(crate) fn show(handoff: Option<&Handoff>, live: bool, keeps: bool) {
    let mut adopted = false;
    screen::with_log(|log| adopted = log.found() == Found::Adopted);
    if adopted && !keeps {
        return;
    }
    // What runs and is not `live` shows what somebody has drawn since.
    let handoff = handoff.filter(|_| live || !adopted);
    if let Some(handoff) = handoff.filter(|handoff| handoff.has_picture(&mut PhysicalMemory::new()))
    {
        let mut memory = PhysicalMemory::new();
        screen::with_log(|log| {
            log.show_picture(0..handoff.height, keeps, |x, y, pixels| {
                // What cannot be read stays black.
                let _ = handoff.paint(&mut memory, x, y, pixels);
            });
            if keeps {
                log.begin_below(handoff.text_begins());
            }
        });
        return pr_info!("handoff: the screen as firmware left it\n");
    }
    if !adopted {
        show_logo(keeps);
    }
}

#[inline(never)]
fn show_logo(keeps: bool) {
    let Some((table, map)) = firmware() else {
        return;
    };
    // As above.
    let Ok(root) = efi::acpi_root(&mut PhysicalMemory::new(), table, Some(map)) else {
        return;
    };
    match screen::with_log(|log| draw_logo(log, root, map, keeps)) {
        Some(Ok(picture)) => {
            let (columns, rows) = (picture.columns(), picture.rows());
            pr_info!(
                "BGRT: the boot logo, {}x{} at {},{}\n",
                columns.len(),
                rows.len(),
                columns.start,
                rows.start,
            );
        }
        Some(Err(error)) => pr_info!("BGRT: {}\n", format_args!("{error}")),
        None => {}
    }
}

/// The physical address of the EFI system table, and firmware's memory map.
#[inline(never)]
fn firmware() -> Option<(u64, MemoryMap)> {
    let tree = Tree::new(early::devicetree()).ok()?;
    let chosen = tree.chosen().ok()?;
    Some((chosen.system_table?, chosen.memory_map?))
}

#[inline(never)]
fn draw_logo(
    log: &mut Log<'static, Shared>,
    root: u64,
    map: MemoryMap,
    keeps: bool,
) -> Result<Picture, Error> {
    let (width, height) = log.size();
    let bgrt = Bgrt::find(&mut PhysicalMemory::new(), root)?;
    // Where there is memory, firmware's tables of ACPI are not believed alone.
    let mut memory = Within {
        memory: PhysicalMemory::new(),
        range: efi::area(
            &mut PhysicalMemory::new(),
            map,
            efi::BOOT_SERVICES_DATA,
            bgrt.image,
        )
        .unwrap_or_default(),
    };
    let bmp = Bmp::read(&mut memory, bgrt.image)?;
    let picture = Picture::new(&bgrt, bmp, width, height)?;
    log.show_picture(picture.rows(), keeps, |x, y, pixels| {
        // What cannot be read stays black.
        let _ = picture.paint(&mut memory, x, y, pixels);
    });
    Ok(picture)
}
