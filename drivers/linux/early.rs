// SPDX-License-Identifier: GPL-2.0

//! Memory and registers before the driver core provides any: by `early_ioremap()` and
//! `early_memremap()` (mm/early_ioremap.c), and registers by `ioremap()` as soon as that works.
//!
//! The early functions are `__init`: `free_initmem()` frees their code, and they have no lock. So
//! this module has two callers, both on the boot CPU before other CPUs are up: the early console's
//! `setup()`, while early parameters are parsed in `setup_arch()`, after `early_ioremap_init()`;
//! and the driver's `console_initcall`, in `console_init()`. They unmap what they map here before
//! they return.

use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};

use kernel::sync::atomic::{
    Acquire,
    AtomicFlag, //
};

use crate::{
    firmware::{
        efi::PAGE_BYTES,
        fdt::Tree,
        Memory,
        Unreadable, //
    },
    linux::{
        arch,
        bindings,
        queue_memory::SharedBlock,
        registers::Window, //
    },
    pci::{
        Address,
        Config,
        Ecam, //
    },
    virtio::Registers, //
};

/// The size of one early mapping in bytes, at most. It is less than NR_FIX_BTMAPS pages of any
/// size.
const MAP_BYTES: usize = 0x10000;
/// Bytes of one PCI function's configuration space (PCI Express 5.0, section 7.2.2).
const FUNCTION_BYTES: usize = 4096;

/// Returns whether `length` bytes at the physical address `at` can be mapped.
fn mappable(at: u64, length: usize) -> bool {
    length != 0
        && length <= MAP_BYTES
        && at
            .checked_add(length as u64)
            .is_some_and(|end| end >> arch::address_bits() == 0)
}

// The functions called here are `__init`. `.ref.text` tells modpost that this is intended.

#[link_section = ".ref.text"]
#[inline(never)]
fn ioremap(at: u64, length: usize) -> *mut u8 {
    // SAFETY: The code is there, and nothing else runs it: see the module's description. It takes
    // any address, `mappable()` has checked the length, and it returns null if it cannot map.
    unsafe { bindings::early_ioremap(at, length).cast() }
}

#[link_section = ".ref.text"]
#[inline(never)]
fn iounmap(mapping: &EarlyRegisters) {
    // SAFETY: The code is there, and nothing else runs it: see the module's description. By the
    // invariants `early_ioremap()` has made the mapping, with this length. Windows on it have ended
    // with the borrow.
    unsafe { bindings::early_iounmap(mapping.base.as_ptr().cast(), mapping.length) }
}

#[link_section = ".ref.text"]
#[inline(never)]
fn memremap(at: u64, length: usize) -> *mut u8 {
    // SAFETY: As in `ioremap()`.
    unsafe { bindings::early_memremap(at, length).cast() }
}

#[link_section = ".ref.text"]
#[inline(never)]
fn memunmap(base: *mut u8, length: usize) {
    // SAFETY: As in `iounmap()`: only `EarlyMemory::drop()` calls this, with what `memremap()`
    // returned, and its length. Nothing borrows from an `EarlyMemory`.
    unsafe { bindings::early_memunmap(base.cast(), length) }
}

/// A short-lived mapping of registers.
///
/// # Invariants
///
/// `base` is a mapping of `length` bytes, which nobody else unmaps: by `early_ioremap()` if
/// `is_early` is set, else by `ioremap()`.
pub(crate) struct EarlyRegisters {
    base: NonNull<u8>,
    length: usize,
    is_early: bool,
}

impl EarlyRegisters {
    /// Maps `length` bytes of registers at the physical address `at`; `None` if that is not
    /// possible.
    pub(crate) fn map(at: u64, length: usize) -> Option<Self> {
        if !mappable(at, length) {
            return None;
        }
        // SAFETY: The function reads a variable (mm/slab_common.c).
        let is_early = !unsafe { kernel::bindings::slab_is_available() };
        let base = if is_early {
            ioremap(at, length)
        } else {
            // Only `ioremap()` maps registers as a realm or a protected guest has to.
            // SAFETY: `ioremap()` (arch/arm64/mm/ioremap.c) takes any address, and refuses
            // that of RAM.
            unsafe { kernel::bindings::ioremap(at, length) }.cast()
        };
        // INVARIANT: Both map all of `length` bytes, or return null.
        NonNull::new(base).map(|base| Self {
            base,
            length,
            is_early,
        })
    }

    /// Returns the registers.
    pub(crate) fn window(&self) -> Window<'_> {
        // SAFETY: By the invariants it is a mapping of device memory of `length` bytes, page by
        // page. The window lives no longer than the borrow of `self`, which keeps the mapping.
        unsafe { Window::new(self.base.as_ptr(), self.length) }
    }
}

impl Drop for EarlyRegisters {
    fn drop(&mut self) {
        if self.is_early {
            iounmap(self);
        } else {
            // SAFETY: By the invariants; windows on it borrow `self`.
            unsafe { kernel::bindings::iounmap(self.base.as_ptr().cast()) };
        }
    }
}

/// A short-lived mapping of memory.
///
/// # Invariants
///
/// `base` is a mapping by `early_memremap()` of the `length` bytes from the physical address `at`
/// on, which nobody else unmaps.
struct EarlyMemory {
    base: NonNull<u8>,
    at: u64,
    length: usize,
}

impl EarlyMemory {
    fn map(at: u64, length: usize) -> Option<Self> {
        // INVARIANT: `early_memremap()` maps all of `length` bytes, or returns null.
        NonNull::new(memremap(at, length)).map(|base| Self { base, at, length })
    }

    /// Copies bytes from the physical address `at` on. Returns whether the mapping has all of them.
    fn copy(&self, at: u64, into: &mut [u8]) -> bool {
        let Some(offset) = at.checked_sub(self.at) else {
            return false;
        };
        let rest = (self.length as u64).checked_sub(offset);
        if rest.is_none_or(|rest| rest < into.len() as u64) {
            return false;
        }
        // SAFETY: By the invariants and the check above the mapping holds as many bytes as `into`
        // from `offset` on. `into` is not part of it: the mapping has addresses of its own, in the
        // fixmap. Firmware says that there is memory; see `PhysicalMemory`.
        unsafe {
            let from = self.base.add(offset as usize);
            from.copy_to_nonoverlapping(NonNull::from(&mut *into).cast(), into.len());
        }
        true
    }
}

impl Drop for EarlyMemory {
    fn drop(&mut self) {
        memunmap(self.base.as_ptr(), self.length);
    }
}

/// Read access to physical memory. The page that was read last stays mapped, because tables are
/// read entry by entry.
///
/// An address without memory ends in an abort, as it does for `efi_init()` a moment later: the
/// memory map itself is read this way, too.
pub(crate) struct PhysicalMemory {
    mapped: Option<EarlyMemory>,
}

impl PhysicalMemory {
    /// Makes an accessor that has mapped nothing yet.
    pub(crate) fn new() -> Self {
        Self { mapped: None }
    }
}

impl Memory for PhysicalMemory {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        if at == 0 || !mappable(at, into.len()) {
            return Err(Unreadable { at });
        }
        if self
            .mapped
            .as_ref()
            .is_some_and(|mapped| mapped.copy(at, into))
        {
            return Ok(());
        }
        // One mapping at a time: there are seven in all.
        self.mapped = None;
        let page = at & !(PAGE_BYTES - 1);
        let (start, length) = match at + into.len() as u64 <= page + PAGE_BYTES {
            true => (page, PAGE_BYTES as usize),
            false => (at, into.len()),
        };
        let mapped = EarlyMemory::map(start, length).filter(|mapped| mapped.copy(at, into));
        self.mapped = Some(mapped.ok_or(Unreadable { at })?);
        Ok(())
    }
}

/// Access to the configuration space of a host bridge by ECAM, one function at a time.
pub(crate) struct EarlyConfig<'e> {
    ecam: &'e Ecam,
    mapped: Option<(Address, EarlyRegisters)>,
}

impl<'e> EarlyConfig<'e> {
    /// Makes an accessor of the configuration space at `ecam`.
    pub(crate) fn new(ecam: &'e Ecam) -> Self {
        Self { ecam, mapped: None }
    }

    fn function(&mut self, function: Address) -> Option<Window<'_>> {
        if !matches!(&self.mapped, Some((at, _)) if *at == function) {
            // One mapping at a time: there are seven in all.
            self.mapped = None;
            let registers =
                EarlyRegisters::map(self.ecam.function_address(function)?, FUNCTION_BYTES)?;
            self.mapped = Some((function, registers));
        }
        self.mapped
            .as_ref()
            .map(|(_, registers)| registers.window())
    }
}

impl Config for EarlyConfig<'_> {
    fn read32(&mut self, function: Address, offset: u16) -> u32 {
        self.function(function)
            .map_or(u32::MAX, |window| window.read32(offset.into()))
    }

    fn write32(&mut self, function: Address, offset: u16, value: u32) {
        if let Some(window) = self.function(function) {
            window.write32(offset.into(), value);
        }
    }
}

/// Returns the flattened devicetree that the boot loader passed to the kernel; empty if there is
/// none.
pub(crate) fn devicetree() -> &'static [u8] {
    // SAFETY: `early_init_dt_verify()` (drivers/of/fdt.c) sets the pointer. On arm64
    // `setup_machine_fdt()` calls that once, before any early parameter is parsed.
    let tree = unsafe { bindings::initial_boot_params }.cast::<u8>();
    if tree.is_null() {
        return &[];
    }
    // SAFETY: `fixmap_remap_fdt()` (arch/arm64/mm/fixmap.c) has mapped as many bytes as the header
    // says, for good. The mapping is read-only since `setup_machine_fdt()`, so nobody writes them.
    // `early_init_dt_verify()` has checked the header.
    let header = unsafe { core::slice::from_raw_parts(tree, Tree::HEADER_BYTES) };
    let size = Tree::total_size(header).unwrap_or(0);
    // SAFETY: As above.
    unsafe { core::slice::from_raw_parts(tree, size) }
}

/// Memory of the kernel image that a device can access before there is an allocator.
///
/// The memory is aligned to a page, which is more than anything in it needs.
#[repr(C, align(4096))]
pub(crate) struct ImageMemory<const WORDS: usize> {
    words: UnsafeCell<[u32; WORDS]>,
    in_use: AtomicFlag,
}

// SAFETY: Only `take()` accesses the words. By the atomic flag it returns one pointer to them at a
// time.
unsafe impl<const WORDS: usize> Sync for ImageMemory<WORDS> {}

impl<const WORDS: usize> ImageMemory<WORDS> {
    /// Makes memory that is all zero.
    pub(crate) const fn new() -> Self {
        Self {
            words: UnsafeCell::new([0; WORDS]),
            in_use: AtomicFlag::new(false),
        }
    }

    /// Returns the memory, for a device that takes physical addresses; `None` if it is in use, for
    /// example by a device that was not reset.
    pub(crate) fn take(&'static self) -> Option<SharedBlock> {
        if self.in_use.xchg(true, Acquire) {
            return None;
        }
        let words = NonNull::from(&self.words).cast::<u32>();
        // SAFETY: The words are in the kernel image: the only value of this type is the static
        // `device::bring_up::MEMORY`.
        let address = unsafe { arch::image_address(words) };
        let words = NonNull::slice_from_raw_parts(words, WORDS);
        // SAFETY: The words come first in a structure that is aligned to a page, initialised and
        // static. The kernel image is mapped as normal memory, and a device without ACCESS_PLATFORM
        // finds it at its physical address (virtio 1.3, section 6.1); `Addresses::Physical` refuses
        // other devices. The flag is set above. It was clear before: what an earlier call returned
        // is not used any more, by the safety requirement of `QueueMemory::release()`.
        Some(unsafe { SharedBlock::new(words, address, &self.in_use) })
    }
}
