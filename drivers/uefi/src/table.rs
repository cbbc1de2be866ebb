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
        // SAFETY: The pages stay as long as the table, which is forever: in memory that neither
        // firmware nor the kernel takes for something else before the kernel has read it.
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
