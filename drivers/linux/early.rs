// SPDX-License-Identifier: GPL-2.0

//! Memory and registers before the driver core gives any: `early_ioremap()` and its kin
//! (mm/early_ioremap.c), and `ioremap()` for registers as soon as there is one.
//!
//! They are `__init`: their code goes with `free_initmem()`, and they have no lock. So only two may
//! come here, both on the boot CPU, before there are others: the early console's `setup()`, while
//! early parameters are read in `setup_arch()`, after `early_ioremap_init()`; and our
//! `console_initcall` (`stages::device::begin()`), in `console_init()`. What they map here is
//! unmapped before they return.

use core::{
    cell::UnsafeCell,
    ptr::NonNull,
    sync::atomic::{
        AtomicBool,
        Ordering, //
    },
};

use crate::{
    firmware::{
        efi::PAGE,
        fdt::Tree,
        Memory,
        Unreadable, //
    },
    linux::{
        bindings,
        registers::Window,
        shared::Block, //
    },
    pci::{
        Address,
        Config,
        Ecam, //
    },
    virtio::Registers, //
};

/// What one early mapping may hold: less than NR_FIX_BTMAPS pages, whatever their size is.
const MAP_BYTES: usize = 0x10000;
/// Bytes of one function's configuration space.
const FUNCTION_BYTES: usize = 4096;

fn mappable(at: u64, length: usize) -> bool {
    length != 0
        && length <= MAP_BYTES
        && at
            .checked_add(length as u64)
            .is_some_and(|end| end >> address_bits() == 0)
}

/// The bits that a physical address has. More of them would get into the other fields of a page
/// table's entry: `__early_ioremap()` (mm/early_ioremap.c) does not look.
pub(crate) fn address_bits() -> u32 {
    // SAFETY: It reads a constant, or TCR_EL1, in any context.
    unsafe { bindings::virtgpu_address_bits() }
}

// The functions called here are `__init`: `.ref.text` says that we know.

#[link_section = ".ref.text"]
#[inline(never)]
fn ioremap(at: u64, length: usize) -> *mut u8 {
    // SAFETY: The code is there, and nobody else is in it: see the module's description. It takes
    // any address, `mappable()` has checked the length, and it returns null where it cannot map.
    unsafe { bindings::early_ioremap(at, length).cast() }
}

#[link_section = ".ref.text"]
#[inline(never)]
fn iounmap(mapping: &Registered) {
    // SAFETY: The code is there, and nobody else is in it: see the module's description. By the
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
    // SAFETY: As in `iounmap()`: only `Piece::drop()` calls this, with what `memremap()` gave, and
    // its length. Nothing borrows from a piece.
    unsafe { bindings::early_memunmap(base.cast(), length) }
}

/// Registers that are mapped for a moment.
///
/// # Invariants
///
/// `base` is a mapping of `length` bytes, which nobody else unmaps: by `early_ioremap()` if `early`
/// is set, else by `ioremap()`.
pub(crate) struct Registered {
    base: NonNull<u8>,
    length: usize,
    early: bool,
}

impl Registered {
    /// Maps `length` bytes of registers at the physical address `at`, if that is possible.
    pub(crate) fn map(at: u64, length: usize) -> Option<Self> {
        if !mappable(at, length) {
            return None;
        }
        // SAFETY: It reads a variable (mm/slab_common.c).
        let early = !unsafe { kernel::bindings::slab_is_available() };
        let base = if early {
            ioremap(at, length)
        } else {
            // This one alone knows how a guest whose memory is private reaches a device.
            // SAFETY: `ioremap()` (arch/arm64/mm/ioremap.c) takes any address, and refuses
            // memory's.
            unsafe { kernel::bindings::ioremap(at, length) }.cast()
        };
        // INVARIANT: Both map all of `length` bytes, or return null.
        NonNull::new(base).map(|base| Self {
            base,
            length,
            early,
        })
    }

    /// The registers.
    pub(crate) fn window(&self) -> Window<'_> {
        // SAFETY: By the invariants it is a mapping of device memory of `length` bytes, page by
        // page. The window lives no longer than the borrow of `self`, which keeps the mapping.
        unsafe { Window::new(self.base.as_ptr(), self.length) }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.early {
            iounmap(self);
        } else {
            // SAFETY: By the invariants; windows on it borrow `self`.
            unsafe { kernel::bindings::iounmap(self.base.as_ptr().cast()) };
        }
    }
}

/// Memory that is mapped for a moment.
///
/// # Invariants
///
/// `base` is a mapping of `length` bytes by `early_memremap()`, those from the physical address
/// `at` on, which nobody else unmaps.
struct Piece {
    base: NonNull<u8>,
    at: u64,
    length: usize,
}

impl Piece {
    fn map(at: u64, length: usize) -> Option<Self> {
        // INVARIANT: `early_memremap()` maps all of `length` bytes, or returns null.
        NonNull::new(memremap(at, length)).map(|base| Self { base, at, length })
    }

    /// Copies bytes from an address on. Returns whether all of them are in the mapping.
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
        // fixmap. That there is memory is what firmware says; see `PhysicalMemory`.
        unsafe {
            let from = self.base.add(offset as usize);
            from.copy_to_nonoverlapping(NonNull::from(&mut *into).cast(), into.len());
        }
        true
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        memunmap(self.base.as_ptr(), self.length);
    }
}

/// Physical memory, to be read. The page that was read last stays mapped: tables are read by
/// entries.
///
/// An address that firmware made up ends in an abort, as it does for `efi_init()` a moment later:
/// what says where there is memory is read this way, too.
pub(crate) struct PhysicalMemory {
    piece: Option<Piece>,
}

impl PhysicalMemory {
    /// Memory of which nothing is mapped yet.
    pub(crate) fn new() -> Self {
        Self { piece: None }
    }
}

impl Memory for PhysicalMemory {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        if at == 0 || !mappable(at, into.len()) {
            return Err(Unreadable { at });
        }
        if self
            .piece
            .as_ref()
            .is_some_and(|piece| piece.copy(at, into))
        {
            return Ok(());
        }
        // One mapping at a time: there are seven in all.
        self.piece = None;
        let page = at & !(PAGE - 1);
        let (start, length) = match at + into.len() as u64 <= page + PAGE {
            true => (page, PAGE as usize),
            false => (at, into.len()),
        };
        let piece = Piece::map(start, length).filter(|piece| piece.copy(at, into));
        self.piece = Some(piece.ok_or(Unreadable { at })?);
        Ok(())
    }
}

/// The configuration space behind a host bridge, a function at a time.
pub(crate) struct EarlyConfig<'e> {
    ecam: &'e Ecam,
    mapped: Option<(Address, Registered)>,
}

impl<'e> EarlyConfig<'e> {
    /// Configuration space by `ecam`.
    pub(crate) fn new(ecam: &'e Ecam) -> Self {
        Self { ecam, mapped: None }
    }

    fn function(&mut self, function: Address) -> Option<Window<'_>> {
        if !matches!(&self.mapped, Some((at, _)) if *at == function) {
            // One mapping at a time: there are seven in all.
            self.mapped = None;
            let registers = Registered::map(self.ecam.place(function)?, FUNCTION_BYTES)?;
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

/// Whether devices cannot reach the guest's memory, but for what the DMA API shares: in a realm of
/// Arm's, and in a protected guest of KVM's. Before `setup_arch()` has found that out, it says no.
pub(crate) fn memory_is_private() -> bool {
    #[cfg(CONFIG_VIRTGPU_BRIDGE_DYING)]
    if crate::dying::hides_memory() {
        return true;
    }
    // SAFETY: It reads what `setup_arch()` has found out, in any context.
    unsafe { bindings::virtgpu_memory_is_private() }
}

/// The flattened devicetree that the kernel was given; empty if there is none.
pub(crate) fn devicetree() -> &'static [u8] {
    // SAFETY: `early_init_dt_verify()` (drivers/of/fdt.c) sets the pointer, which on arm64 is
    // called once, by `setup_machine_fdt()`, before any early parameter is looked at.
    let tree = unsafe { bindings::initial_boot_params }.cast::<u8>();
    if tree.is_null() {
        return &[];
    }
    // SAFETY: `fixmap_remap_fdt()` (arch/arm64/mm/fixmap.c) has mapped as many bytes as the header
    // says, for good; read-only, once `setup_machine_fdt()` is done, so that nobody writes them any
    // more. `early_init_dt_verify()` has checked the header.
    let header = unsafe { core::slice::from_raw_parts(tree, Tree::HEADER) };
    let size = Tree::size(header).unwrap_or(0);
    // SAFETY: As above.
    unsafe { core::slice::from_raw_parts(tree, size) }
}

/// Memory of the kernel image, which a device can be told of before there is an allocator.
///
/// A page's alignment is more than anything in it needs.
#[repr(C, align(4096))]
pub(crate) struct ImageMemory<const WORDS: usize> {
    words: UnsafeCell<[u32; WORDS]>,
    /// Whether somebody has it.
    lent: AtomicBool,
}

// SAFETY: `take()` is the only access to the words, and hands out one pointer to them at a time, by
// the atomic flag.
unsafe impl<const WORDS: usize> Sync for ImageMemory<WORDS> {}

impl<const WORDS: usize> ImageMemory<WORDS> {
    /// Memory of zeroes.
    pub(crate) const fn new() -> Self {
        Self {
            words: UnsafeCell::new([0; WORDS]),
            lent: AtomicBool::new(false),
        }
    }

    /// The memory, for a device that takes physical addresses; `None` if a device that was not
    /// reset may still work on it.
    pub(crate) fn take(&'static self) -> Option<Block> {
        if self.lent.swap(true, Ordering::Acquire) {
            return None;
        }
        let words = NonNull::from(&self.words).cast::<u32>();
        // SAFETY: `virtgpu_image_address()` takes a symbol of the kernel image, which this is: the
        // only value of this type is the static `stages::device::MEMORY`.
        let address = unsafe { bindings::virtgpu_image_address(words.as_ptr().cast()) };
        let words = NonNull::slice_from_raw_parts(words, WORDS);
        // SAFETY: The words come first in a structure that is aligned to a page, initialised and
        // static. The kernel image is mapped as normal memory, and a device without ACCESS_PLATFORM
        // finds it at its physical address (virtio 1.3, section 6.1); `Addresses::Physical` refuses
        // others. The flag is set from above on. It was clear: what an earlier call returned was
        // given back, and is not used any more, by the safety requirement of
        // `Shared::give_back()`.
        Some(unsafe { Block::new(words, address, &self.lent) })
    }
}
