// SPDX-License-Identifier: GPL-2.0

//! The configuration table that tells the kernel what there is.

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

/// The table. It can only be installed while firmware goes on as before, and so it is before there
/// is something to say: all zero, which the kernel takes for none.
pub(crate) struct Table(Pages);

impl Table {
    /// Whether there is one already.
    pub(crate) fn is_installed() -> bool {
        system::with_config_table(|tables| tables.iter().any(|entry| entry.guid == GUID))
    }

    /// Installs an empty table.
    ///
    /// # Errors
    ///
    /// Firmware has no memory.
    pub(crate) fn install() -> Result<Self> {
        let pages = Pages::new(MemoryType::ACPI_RECLAIM, size_of::<handoff::Table>())?;
        // SAFETY: Firmware keeps the pointer, and reads nothing there (UEFI 2.10, section 7.5.6).
        // The pages stay: nobody frees them once this has succeeded, since `Table` does not. After
        // ExitBootServices() the kernel keeps memory of this kind until it has enabled ACPI
        // (section 7.2); Linux reserves it (`reserve_regions()` in
        // drivers/firmware/efi/efi-init.c). The crate asks for runtime memory that does not change
        // any more, which would matter to who reads a table while boot services run: of this one
        // nobody does.
        match unsafe { boot::install_configuration_table(&GUID, pages.start().as_ptr().cast()) } {
            Ok(()) => Ok(Self(pages)),
            Err(error) => {
                pages.free();
                Err(error)
            }
        }
    }

    /// Says this, or nothing.
    pub(crate) fn say(&mut self, handoff: Option<&Handoff>) {
        let table = handoff.map(handoff::Table::new).unwrap_or_default();
        if let Some([place]) = self.0.items(1) {
            *place = table;
        }
    }
}
