// SPDX-License-Identifier: GPL-2.0

//! Memory that firmware had a device use, and which Linux keeps as it keeps ACPI's tables. It is given
//! back once there is an allocator, if the device uses it no more.

use core::{
    ops::Range,
    sync::atomic::{
        AtomicU64,
        Ordering, //
    },
};

use crate::linux::bindings;

static START: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);

/// The device uses these physical addresses no more: whole pages of 4 KiB in memory for ACPI's tables, by
/// firmware's memory map. The device itself has said that its queue was at their start.
pub(crate) fn give_back_later(memory: &Range<u64>) {
    START.store(memory.start, Ordering::Relaxed);
    END.store(memory.end, Ordering::Relaxed);
}

/// Gives them back, if there are any. Called once, by an initcall.
pub(crate) fn give_back() {
    let (start, end) = (
        START.load(Ordering::Relaxed),
        END.swap(0, Ordering::Relaxed), //
    );
    if start < end {
        // SAFETY: The table and the device agree that the device's queue was at the start, which has been
        // reset, and the table says that what follows went with it. What Linux has not reserved stays.
        unsafe { bindings::virtgpu_free_reserved(start, end) };
    }
}
