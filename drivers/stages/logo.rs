// SPDX-License-Identifier: GPL-2.0

//! Firmware's boot logo on our screen, until there is text: for who boots quietly, the screen goes on
//! as it was.
//!
//! The image is in memory that is nobody's until there is an allocator, so that `earlycon=virtgpu` is
//! the one stage that can read it.

use kernel::pr_info;

use crate::{
    firmware::{
        bgrt::Bgrt,
        bmp::Bmp,
        efi::{
            self,
            MemoryMap, //
        },
        fdt::Tree,
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
    stages::{
        device,
        log::Log, //
    },
    virtio::adoption::Found,
};

/// Shows the logo on the device that was found, and says so, or why not. Where firmware did not start
/// the kernel there is nothing to say, nor where the screen shows what an earlier kernel left.
///
/// A function of its own: its stack comes after that of the search, not on top of it.
#[inline(never)]
pub(crate) fn show() {
    let Some((root, map)) = acpi_root() else {
        return;
    };
    let mut result = None;
    device::with_log(|log| {
        if log.found() != Found::Adopted {
            result = Some(draw(log, root, map));
        }
    });
    match result {
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

/// The physical address of ACPI's root pointer, and firmware's memory map.
#[inline(never)]
fn acpi_root() -> Option<(u64, MemoryMap)> {
    let tree = Tree::new(early::devicetree()).ok()?;
    let chosen = tree.chosen().ok()?;
    let (table, map) = (chosen.system_table?, chosen.memory_map?);
    // Who searched for the device has said what is wrong.
    let root = efi::acpi_root(&mut PhysicalMemory, table, Some(map)).ok()?;
    Some((root, map))
}

#[inline(never)]
fn draw(log: &mut Log<'static, Shared>, root: u64, map: MemoryMap) -> Result<Picture, Error> {
    let (width, height) = log.size();
    let bgrt = Bgrt::find(&mut PhysicalMemory, root)?;
    // Where there is memory, firmware's tables of ACPI are not believed alone.
    let mut memory = Within {
        memory: PhysicalMemory,
        range: efi::boot_data(&mut PhysicalMemory, map, bgrt.image).unwrap_or_default(),
    };
    let bmp = Bmp::read(&mut memory, bgrt.image)?;
    let picture = Picture::new(&bgrt, bmp, width, height)?;
    log.show_picture(picture.rows(), |x, y, pixels| {
        // What cannot be read stays black.
        let _ = picture.paint(&mut memory, x, y, pixels);
    });
    Ok(picture)
}
