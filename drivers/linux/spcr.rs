// SPDX-License-Identifier: GPL-2.0

//! ACPI's SPCR table, which names a console for a kernel without `console=`.

use crate::firmware::consoles::Console;

/// Returns the console that Linux has taken from the table, if it has. For initcalls.
#[cfg(CONFIG_ACPI_SPCR_TABLE)]
pub(crate) fn console() -> Option<Console<'static>> {
    use core::{
        ptr,
        slice, //
    };

    use kernel::{
        bindings,
        str::CStrExt, //
    };

    use crate::{
        firmware::consoles::spcr_console,
        linux::parameters, //
    };

    const AE_OK: u32 = 0;

    // SAFETY: `acpi_disabled` is a static of arch/arm64/kernel/acpi.c, a word, which is not written
    // any more when `setup_arch()` is over.
    let is_disabled = unsafe { (&raw const bindings::acpi_disabled).read() } != 0;
    if is_disabled || parameters::words().any(|word| word == "acpi=nospcr") {
        return None;
    }
    let mut table = ptr::null_mut();
    let signature = c"SPCR".as_char_ptr().cast_mut();
    // SAFETY: The signature has four characters, which `acpi_get_table()`
    // (drivers/acpi/acpica/tbxface.c) compares and does not write, and `table` is a place for a
    // pointer. It may sleep, which initcalls may; the list of tables is there since `setup_arch()`.
    if unsafe { bindings::acpi_get_table(signature.cast(), 0, &mut table) } != AE_OK {
        return None;
    }
    // SAFETY: Where that succeeds, as many bytes are mapped as the table's header says
    // (`acpi_tb_acquire_table()` in drivers/acpi/acpica/tbdata.c), until it is put below; nobody
    // writes them.
    let bytes = unsafe {
        let length = (*table).length as usize;
        slice::from_raw_parts(table.cast::<u8>(), length)
    };
    let found = spcr_console(bytes);
    // SAFETY: `acpi_get_table()` above has given it, once. The result borrows nothing of it: its
    // names are static.
    unsafe { bindings::acpi_put_table(table) };
    found
}

/// Returns `None`: without CONFIG_ACPI_SPCR_TABLE Linux does not read the table.
#[cfg(not(CONFIG_ACPI_SPCR_TABLE))]
pub(crate) fn console() -> Option<Console<'static>> {
    None
}
