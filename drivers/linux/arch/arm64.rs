// SPDX-License-Identifier: GPL-2.0

//! arm64: the system counter, physical addresses, and the page of the early console.

#[cfg(not(MODULE))]
use core::ptr::NonNull;

use crate::linux::bindings;

/// Returns the system counter (CNTVCT_EL0), which counts from reset on at [`counter_hz`].
pub(crate) fn counter() -> u64 {
    // SAFETY: The function reads a system register, in any context.
    unsafe { bindings::virtgpu_bridge_counter() }
}

/// Returns the counter's frequency in Hz.
pub(crate) fn counter_hz() -> u64 {
    // SAFETY: The function reads a system register (CNTFRQ_EL0), in any context.
    hz_or_default(unsafe { bindings::virtgpu_bridge_counter_hz() })
}

/// Returns `cntfrq`, or 100 MHz if that is 0.
///
/// Firmware has to write CNTFRQ_EL0 (Arm ARM, D12.1.2). Where it did not, the register reads 0. A
/// frequency between those of real machines lets all waits end.
pub(crate) const fn hz_or_default(cntfrq: u32) -> u64 {
    match cntfrq {
        0 => 100_000_000,
        hz => hz as u64,
    }
}

/// Returns the number of bits of a physical address. More bits would get into the other fields of a
/// page table entry: `__early_ioremap()` (mm/early_ioremap.c) does not check that.
#[cfg(not(MODULE))]
pub(crate) fn address_bits() -> u32 {
    // SAFETY: The function reads a constant, or TCR_EL1, in any context.
    unsafe { bindings::virtgpu_bridge_address_bits() }
}

/// Returns the physical address of a symbol of the kernel image.
///
/// # Safety
///
/// `symbol` points into a static of the kernel image.
#[cfg(not(MODULE))]
pub(crate) unsafe fn image_address<T>(symbol: NonNull<T>) -> u64 {
    // SAFETY: `__pa_symbol()` takes a symbol of the kernel image, which this is by the safety
    // requirement.
    unsafe { bindings::virtgpu_bridge_image_address(symbol.as_ptr().cast_const().cast()) }
}

/// Maps the page of registers that contains the physical address `at` in the fixmap slot of early
/// consoles (FIX_EARLYCON_MEM_BASE), and returns the virtual address of `at`. In any context.
///
/// # Safety
///
/// `early_fixmap_init()` has run, no other early console uses the slot, and nothing uses an earlier
/// mapping of it any more. `at` has at most [`address_bits`] bits.
#[cfg(not(MODULE))]
pub(crate) unsafe fn map_early_console_page(at: u64) -> *mut u8 {
    // SAFETY: By the safety requirements. `__set_fixmap()` (arch/arm64/mm/fixmap.c) writes one page
    // table entry, which may be done in any context.
    unsafe { bindings::virtgpu_bridge_map_page(at) }.cast()
}

/// Unmaps the page of [`map_early_console_page`]. In any context.
///
/// # Safety
///
/// The slot has a mapping of this driver, or of `earlycon_map()` for this driver, and nothing uses
/// it any more.
#[cfg(not(MODULE))]
pub(crate) unsafe fn unmap_early_console_page() {
    // SAFETY: By the safety requirements. `clear_fixmap()` may be called in any context.
    unsafe { bindings::virtgpu_bridge_unmap_page() }
}

/// Returns whether devices cannot reach the guest's memory, except for what the DMA API shares: in
/// a realm (Arm CCA), and in a protected guest of KVM. Returns false before `setup_arch()` has
/// found this out.
#[cfg(not(MODULE))]
pub(crate) fn memory_is_private() -> bool {
    #[cfg(CONFIG_VIRTGPU_BRIDGE_CRASH_TEST)]
    if crate::crash_test::hides_memory() {
        return true;
    }
    // SAFETY: `cc_platform_has()` reads what `setup_arch()` has found out, in any context.
    unsafe { bindings::virtgpu_bridge_memory_is_private() }
}
