// SPDX-License-Identifier: GPL-2.0

//! Shows firmware's picture until there is text, or where text does not cover it, so that the
//! screen of a quiet boot stays as it was.
//!
//! The picture is the one that the UEFI driver has handed over, or else the boot logo. Both are in
//! memory that the kernel uses for other purposes once it has an allocator, so only
//! `earlycon=virtgpu` can read them.

use kernel::{
    pr_info,
    pr_warn, //
};

use crate::{
    device::active,
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
        BoundedMemory, //
    },
    linux::{
        early::{
            self,
            PhysicalMemory, //
        },
        queue_memory::QueueMemory, //
    },
    scanout::log::Log,
    virtio::adoption::InitialState, //
};

/// Returns the table of the UEFI driver, if it has run. Logs an error if the table is wrong.
#[inline(never)]
pub(crate) fn handoff() -> Option<Handoff> {
    let (table, map) = firmware()?;
    let memory = &mut PhysicalMemory::new();
    // The discovery logs errors of firmware's tables.
    let at = efi::configuration_table(memory, table, Some(map), handoff::GUID).ok()??;
    match Handoff::read(memory, map, at) {
        Ok(handoff) => Some(handoff),
        Err(error) => {
            pr_warn!("handoff: {}\n", format_args!("{error}"));
            None
        }
    }
}

/// Shows the picture of the UEFI driver, or the logo, on the active device, and logs that it does,
/// or the reason if it cannot. Does nothing if firmware did not start the kernel, or if an adopted
/// device shows another picture, unless `keeps` is set. `keeps` makes text cover the picture row by
/// row. `shows_handoff` says that the device still shows the picture of the UEFI driver.
///
/// Not inlined: its stack is not needed together with that of the discovery.
#[inline(never)]
pub(crate) fn show(handoff: Option<&Handoff>, shows_handoff: bool, keeps: bool) {
    let mut adopted = false;
    active::with_log(|log| adopted = log.initial_state() == InitialState::Adopted);
    if adopted && !keeps {
        return;
    }
    // An adopted device that does not show it has another picture by now.
    let handoff = handoff.filter(|_| shows_handoff || !adopted);
    if let Some(handoff) =
        handoff.filter(|handoff| handoff.is_picture_intact(&mut PhysicalMemory::new()))
    {
        let mut memory = PhysicalMemory::new();
        active::with_log(|log| {
            log.show_picture(0..handoff.height, keeps, |x, y, pixels| {
                // Pixels that cannot be read stay black.
                let _ = handoff.paint(&mut memory, x, y, pixels);
            });
            if keeps {
                log.begin_below(handoff.text_start_y());
            }
        });
        return pr_info!("handoff: the screen as firmware left it\n");
    }
    if !adopted {
        show_logo(keeps);
    }
}

/// Shows the boot logo, and logs that it does, or the reason if it cannot.
#[inline(never)]
fn show_logo(keeps: bool) {
    let Some((table, map)) = firmware() else {
        return;
    };
    // The discovery logs errors of firmware's tables.
    let Ok(root) = efi::rsdp_address(&mut PhysicalMemory::new(), table, Some(map)) else {
        return;
    };
    match active::with_log(|log| draw_logo(log, root, map, keeps)) {
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

/// Returns the physical address of the EFI system table, and firmware's memory map; `None` if
/// firmware did not start the kernel.
#[inline(never)]
fn firmware() -> Option<(u64, MemoryMap)> {
    let tree = Tree::new(early::devicetree()).ok()?;
    let chosen = tree.chosen().ok()?;
    Some((chosen.system_table?, chosen.memory_map?))
}

/// Draws the boot logo.
///
/// # Errors
///
/// Fails if there is no logo, or if it cannot be shown.
#[inline(never)]
fn draw_logo(
    log: &mut Log<'static, QueueMemory>,
    root: u64,
    map: MemoryMap,
    keeps: bool,
) -> Result<Picture, Error> {
    let (width, height) = log.size();
    let bgrt = Bgrt::find(&mut PhysicalMemory::new(), root)?;
    // The image has to be in memory of boot services, by the memory map.
    let mut memory = BoundedMemory {
        memory: PhysicalMemory::new(),
        range: efi::memory_range(
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
        // Pixels that cannot be read stay black.
        let _ = picture.paint(&mut memory, x, y, pixels);
    });
    Ok(picture)
}
