// SPDX-License-Identifier: GPL-2.0

//! ACPI's SPCR table, from which Linux takes a console when nobody names one.

use crate::firmware::consoles::Console;

/// The console that Linux has taken from the table, if it has. For initcalls.
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
        firmware::consoles::of_spcr,
        linux::parameters, //
    };

    const AE_OK: u32 = 0;

    // SAFETY: A word, which is set before initcalls.
    let is_disabled = unsafe { (&raw const bindings::acpi_disabled).read() } != 0;
    if is_disabled || parameters::words().any(|word| word == "acpi=nospcr") {
        return None;
    }
    let mut table = ptr::null_mut();
    let signature = c"SPCR".as_char_ptr().cast_mut();
    // SAFETY: The signature is a string of four characters, which is not written to, and `table` is
    // a place for a pointer.
    if unsafe { bindings::acpi_get_table(signature.cast(), 0, &mut table) } != AE_OK {
        return None;
    }
    // SAFETY: Where that succeeds, `table` is mapped, and as long as its header says, until it is
    // put; it is not written to.
    let bytes = unsafe {
        let length = (*table).length as usize;
        slice::from_raw_parts(table.cast::<u8>(), length)
    };
    let found = of_spcr(bytes);
    // SAFETY: It was got above, and is not used any more.
    unsafe { bindings::acpi_put_table(table) };
    found
}

/// The console that Linux has taken from the table: none, as it does not read it.
#[cfg(not(CONFIG_ACPI_SPCR_TABLE))]
pub(crate) fn console() -> Option<Console<'static>> {
    None
}
