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
/// firmware's memory map. The device itself has said that its queue was there.
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
        // SAFETY: Memory that Linux has reserved as that of ACPI's tables, and which nobody uses: the
        // device's queue was in it, and has been reset.
        unsafe { bindings::virtgpu_free_reserved(start, end) };
    }
}
