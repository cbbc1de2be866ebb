// SPDX-License-Identifier: GPL-2.0

//! The configuration table that describes the handoff to the kernel.

use crate::{
    firmware::handoff::{
        self,
        Handoff, //
    },
    pages::Pages, //
};
use uefi::{
    boot::{
        self,
        MemoryType, //
    },
    system,
    Guid,
    Result, //
};

static GUID: Guid = Guid::from_bytes(handoff::GUID);

/// The table. Firmware can only install it before ExitBootServices(), so it is installed early, all
/// zero. The kernel takes this for an empty table.
pub(crate) struct Table(Pages);

impl Table {
    /// Returns whether a table is installed already.
    pub(crate) fn is_installed() -> bool {
        system::with_config_table(|tables| tables.iter().any(|entry| entry.guid == GUID))
    }

    /// Installs an empty table.
    ///
    /// # Errors
    ///
    /// Firmware's status if there is no memory.
    pub(crate) fn install() -> Result<Self> {
        let pages = Pages::new(MemoryType::ACPI_RECLAIM, size_of::<handoff::Table>())?;
        // SAFETY: Firmware stores the pointer, and does not access the memory (UEFI 2.10, section
        // 7.5.6). The pages stay allocated once this has succeeded, since `Table` never frees them.
        // After ExitBootServices() the kernel keeps memory of this type until it has enabled ACPI
        // (section 7.2); Linux reserves it (`reserve_regions()` in
        // drivers/firmware/efi/efi-init.c). The `uefi` crate asks for runtime memory that does not
        // change any more. That matters to readers of a table while boot services run; this table
        // has none.
        match unsafe { boot::install_configuration_table(&GUID, pages.start().as_ptr().cast()) } {
            Ok(()) => Ok(Self(pages)),
            Err(error) => {
                pages.free();
                Err(error)
            }
        }
    }

    /// Writes the table for `handoff`, or an empty table.
    pub(crate) fn write(&mut self, handoff: Option<&Handoff>) {
        let table = handoff.map(handoff::Table::new).unwrap_or_default();
        if let Some([entry]) = self.0.as_mut_slice(1) {
            *entry = table;
        }
    }
}
