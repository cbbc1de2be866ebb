// SPDX-License-Identifier: GPL-2.0

//! The flattened devicetree (Devicetree Specification 0.4, chapter 5): what `/chosen` says, and
//! where host bridges and virtio-mmio slots are.
//!
//! Nothing is built in memory. A walk keeps the nodes from the root to where it is; every token is
//! checked and consumed, so that it ends on any bytes whatever.

use super::efi::MemoryMap;
use crate::pci::{
    Ecam,
    Segment,
    Window,
    Windows, //
};
use core::{
    fmt,
    iter,
    ops::Range, //
};
use zerocopy::{
    big_endian::U32,
    FromBytes, //
};
use zerocopy_derive::{
    FromBytes,
    IntoBytes, //
};

/// `struct fdt_header` (5.2).
#[derive(FromBytes, IntoBytes)]
#[repr(C)]
struct Header {
    magic: U32,
    totalsize: U32,
    off_dt_struct: U32,
    off_dt_strings: U32,
    off_mem_rsvmap: U32,
    version: U32,
    last_comp_version: U32,
    boot_cpuid_phys: U32,
    size_dt_strings: U32,
    size_dt_struct: U32,
}

/// The magic number of a flattened devicetree.
const MAGIC: u32 = 0xd00d_feed;
/// The version described in 5.2; it is also the first that gives the structure's size.
const VERSION: u32 = 17;
/// The kernel refuses larger trees, too (`MAX_FDT_SIZE` of arm64).
const MAX_SIZE: u32 = 2 << 20;
/// So many nodes may be inside each other. QEMU's trees have four, the largest boards' eight.
const MAX_DEPTH: usize = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why a tree, or a node of it, cannot be used, for a line that begins with `devicetree: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// No tree begins here.
    Magic(u32),
    /// The tree is of a version that cannot be read.
    Version(u32),
    /// The header's sizes and offsets contradict each other, or what there is of the tree.
    Bounds,
    /// The structure ends in the middle of something.
    Truncated,
    /// A token that is none, or not where it may be.
    Token(u32),
    /// Too many nodes inside each other.
    TooDeep,
    /// A property's value is not of the size it must have.
    Property(&'static str),
    /// A node's addresses cannot be translated to the CPU's.
    Untranslatable,
    /// A host bridge's configuration space makes no sense.
    Ecam {
        /// Physical address from `reg`.
        base: u64,
        /// Bytes from `reg`.
        size: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "magic number is {found:#010x}"),
            Self::Version(found) => write!(f, "version {found} cannot be read"),
            Self::Bounds => f.write_str("header does not fit the tree"),
            Self::Truncated => f.write_str("ends early"),
            Self::Token(found) => write!(f, "token {found:#x} is out of place"),
            Self::TooDeep => write!(f, "more than {MAX_DEPTH} nodes deep"),
            Self::Property(name) => write!(f, "size of property {name} is wrong"),
            Self::Untranslatable => f.write_str("reg is behind a bus without ranges"),
            Self::Ecam { base, size } => write!(
                f,
                "no configuration space of {size:#x} bytes can be at {base:#x}"
            ),
        }
    }
}

/// What the EFI stub wrote in `/chosen`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Chosen {
    /// `linux,uefi-system-table`: physical address of the EFI system table.
    pub(crate) system_table: Option<u64>,
    /// `linux,uefi-mmap-*`: firmware's memory map.
    pub(crate) memory_map: Option<MemoryMap>,
}

/// A PCI host bridge, `pci-host-ecam-generic`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostBridge {
    /// Its configuration space.
    pub(crate) ecam: Ecam,
    /// Its memory windows.
    pub(crate) windows: Windows,
    /// `dma-coherent`: what devices behind it read and write goes through the CPU's caches.
    pub(crate) coherent: bool,
}

/// A virtio-mmio slot, `virtio,mmio`; most are empty.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Slot {
    /// Physical address of its registers.
    pub(crate) base: u64,
    /// Bytes of registers.
    pub(crate) size: u64,
    /// `dma-coherent`: what the device reads and writes goes through the CPU's caches.
    pub(crate) coherent: bool,
}

/// A flattened devicetree whose header was found right.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Tree<'a> {
    /// Bytes of header that [`Self::size`] wants.
    pub(crate) const HEADER: usize = size_of::<Header>();

    /// Bytes of the whole tree, by its header. For those who must map it before they can read it.
    ///
    /// # Errors
    ///
    /// [`Error`] if this is not the header of a tree that can be read.
    pub(crate) fn size(header: &[u8]) -> Result<usize, Error> {
        let header = Self::header(header)?;
        usize::try_from(header.totalsize.get()).map_err(|_| Error::Bounds)
    }

    /// Opens the tree in `blob`, which may be longer.
    ///
    /// # Errors
    ///
    /// [`Error`] names what is wrong with the header.
    pub(crate) fn new(blob: &'a [u8]) -> Result<Self, Error> {
        let header = Self::header(blob)?;
        let blob = prefix(blob, header.totalsize).ok_or(Error::Bounds)?;
        let part = |offset: U32, size: U32| {
            let offset = usize::try_from(offset.get()).ok()?;
            prefix(blob.get(offset..)?, size)
        };
        if header.off_dt_struct.get() % 4 != 0 {
            return Err(Error::Bounds);
        }
        Ok(Self {
            structure: part(header.off_dt_struct, header.size_dt_struct).ok_or(Error::Bounds)?,
            strings: part(header.off_dt_strings, header.size_dt_strings).ok_or(Error::Bounds)?,
        })
    }

    /// Checks what the header says about itself.
    fn header(blob: &[u8]) -> Result<Header, Error> {
        let (header, _) = Header::read_from_prefix(blob).map_err(|_| Error::Bounds)?;
        if header.magic.get() != MAGIC {
            return Err(Error::Magic(header.magic.get()));
        }
        if header.version.get() < VERSION || header.last_comp_version.get() > VERSION {
            return Err(Error::Version(header.version.get()));
        }
        if header.totalsize.get() > MAX_SIZE {
            return Err(Error::Bounds);
        }
        Ok(header)
    }

    /// What `/chosen` says; nothing, if there is no such node.
    ///
    /// # Errors
    ///
    /// [`Error`] if the tree is damaged at or before `/chosen`, or a property has not its size.
    pub(crate) fn chosen(&self) -> Result<Chosen, Error> {
        let mut walk = Walk::new(self);
        while let Some(nodes) = walk.next()? {
            if let [_, node] = nodes {
                if node.name == b"chosen" {
                    return node.chosen();
                }
            }
        }
        Ok(Chosen::default())
    }

    /// Every enabled host bridge, in the tree's order.
    ///
    /// A node that makes no sense is an error of its own; an error in the tree's structure is the
    /// last item.
    pub(crate) fn host_bridges(&self) -> impl Iterator<Item = Result<HostBridge, Error>> + 'a {
        self.compatible(b"pci-host-ecam-generic", host_bridge)
    }

    /// Every enabled virtio-mmio slot, in the tree's order: QEMU's `virt` has 32.
    ///
    /// Errors as in [`Self::host_bridges`].
    pub(crate) fn slots(&self) -> impl Iterator<Item = Result<Slot, Error>> + 'a {
        self.compatible(b"virtio,mmio", |nodes| {
            let (base, size) = reg(nodes)?;
            Ok(Slot {
                base,
                size,
                coherent: is_coherent(nodes),
            })
        })
    }

    /// Hands each range of RAM to `found`: what the enabled nodes for memory below the root say
    /// (3.4).
    ///
    /// # Errors
    ///
    /// [`Error`] if the tree is damaged, or such a node; nothing is known behind that.
    pub(crate) fn ram(&self, mut found: impl FnMut(Range<u64>)) -> Result<(), Error> {
        const BAD: Error = Error::Property("reg");
        let mut walk = Walk::new(self);
        while let Some(nodes) = walk.next()? {
            let [root, node] = nodes else { continue };
            if node.property("device_type") != Some(b"memory\0") || !node.is_enabled() {
                continue;
            }
            let (address, size) = (4 * root.address_cells()?, 4 * root.size_cells()?);
            let ranges = node.property("reg").unwrap_or_default();
            if address + size == 0 || ranges.len() % (address + size) != 0 {
                return Err(BAD);
            }
            for range in ranges.chunks_exact(address + size) {
                let (start, size) = range.split_at_checked(address).ok_or(BAD)?;
                let (start, size) = cells(start).zip(cells(size)).ok_or(BAD)?;
                found(start..start.saturating_add(size));
            }
        }
        Ok(())
    }

    /// What `read` makes of every enabled node that is compatible with `wanted`.
    ///
    /// `read` gets the nodes from the root down to the one in question.
    fn compatible<T: 'a>(
        &self,
        wanted: &'static [u8],
        read: fn(&[Node<'a>]) -> Result<T, Error>,
    ) -> impl Iterator<Item = Result<T, Error>> + 'a {
        let mut walk = Walk::new(self);
        iter::from_fn(move || loop {
            match walk.next() {
                Err(why) => return Some(Err(why)),
                Ok(None) => return None,
                Ok(Some(nodes)) => {
                    let node = nodes.last()?;
                    if node.is_compatible(wanted) && nodes.iter().all(Node::is_enabled) {
                        return Some(read(nodes));
                    }
                }
            }
        })
    }
}

/// The first `size` bytes.
fn prefix(bytes: &[u8], size: U32) -> Option<&[u8]> {
    bytes.get(..usize::try_from(size.get()).ok()?)
}

/// What is before and behind the first zero byte.
fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Tokens of the structure block (5.4), from one on.
#[derive(Clone, Copy, Default)]
struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// Takes 32 bits.
    fn word(&mut self) -> Result<u32, Error> {
        let (word, rest) = U32::read_from_prefix(self.rest).map_err(|_| Error::Truncated)?;
        self.rest = rest;
        Ok(word.get())
    }

    /// Takes the next token that means something.
    fn token(&mut self) -> Result<u32, Error> {
        loop {
            match self.word()? {
                NOP => {}
                token => return Ok(token),
            }
        }
    }

    /// Takes `size` bytes, and those that fill the last word.
    fn bytes(&mut self, size: usize) -> Result<&'a [u8], Error> {
        let padded = size.checked_next_multiple_of(4).ok_or(Error::Truncated)?;
        let bytes = self.rest.get(..size).ok_or(Error::Truncated)?;
        self.rest = self.rest.get(padded..).ok_or(Error::Truncated)?;
        Ok(bytes)
    }

    /// Takes a node's name, behind its token.
    fn name(&mut self) -> Result<&'a [u8], Error> {
        let (name, _) = until_nul(self.rest).ok_or(Error::Truncated)?;
        self.bytes(name.len() + 1)?;
        Ok(name)
    }

    /// Takes a property, behind its token: its value, and where its name is among the strings.
    fn property(&mut self) -> Result<(u32, &'a [u8]), Error> {
        let size = self.word()?;
        let name = self.word()?;
        let size = usize::try_from(size).map_err(|_| Error::Truncated)?;
        Ok((name, self.bytes(size)?))
    }

    /// Takes all properties up to the next token that is none.
    fn properties(&mut self) -> Result<(), Error> {
        loop {
            let mut ahead = *self;
            if ahead.token()? != PROP {
                return Ok(());
            }
            ahead.property()?;
            *self = ahead;
        }
    }
}

/// A node: its name and its properties, which come before the nodes inside it.
#[derive(Clone, Copy, Default)]
struct Node<'a> {
    name: &'a [u8],
    properties: Tokens<'a>,
    strings: &'a [u8],
}

impl<'a> Node<'a> {
    /// The value of a property.
    fn property(&self, wanted: &str) -> Option<&'a [u8]> {
        let mut tokens = self.properties;
        while let Ok(PROP) = tokens.token() {
            let (name, value) = tokens.property().ok()?;
            let name = self.strings.get(usize::try_from(name).ok()?..);
            // No more is read than the name that is wanted: the strings may be long, and their end
            // far.
            let rest = name.and_then(|name| name.strip_prefix(wanted.as_bytes()));
            if rest.is_some_and(|rest| rest.starts_with(b"\0")) {
                return Some(value);
            }
        }
        None
    }

    /// The value of a property of 32 bits.
    fn u32(&self, name: &'static str) -> Result<Option<u32>, Error> {
        let number = |value| U32::read_from_bytes(value).map_err(|_| Error::Property(name));
        Ok(self.property(name).map(number).transpose()?.map(U32::get))
    }

    /// The value of a property that is one address, of 32 or 64 bits.
    fn u64(&self, name: &'static str) -> Result<Option<u64>, Error> {
        let number = |value: &[u8]| cells(value).ok_or(Error::Property(name));
        self.property(name).map(number).transpose()
    }

    /// Cells of an address inside this node (2.3.5).
    fn address_cells(&self) -> Result<usize, Error> {
        self.cells("#address-cells", 2)
    }

    /// Cells of a size inside this node (2.3.5).
    fn size_cells(&self) -> Result<usize, Error> {
        self.cells("#size-cells", 1)
    }

    /// A number of cells, at most four.
    fn cells(&self, name: &'static str, otherwise: usize) -> Result<usize, Error> {
        match self.u32(name)? {
            None => Ok(otherwise),
            Some(count) => usize::try_from(count)
                .ok()
                .filter(|count| *count <= 4)
                .ok_or(Error::Property(name)),
        }
    }

    /// Whether `status` (2.3.4) lets the node be used.
    fn is_enabled(&self) -> bool {
        matches!(self.property("status"), None | Some(b"okay\0" | b"ok\0"))
    }

    /// Whether `wanted` is in the list `compatible` (2.3.1).
    fn is_compatible(&self, wanted: &[u8]) -> bool {
        self.property("compatible")
            .is_some_and(|list| list.split(|&byte| byte == 0).any(|name| name == wanted))
    }

    /// Reads this node as `/chosen`.
    fn chosen(&self) -> Result<Chosen, Error> {
        let memory_map = match (
            self.u64("linux,uefi-mmap-start")?,
            self.u32("linux,uefi-mmap-size")?,
            self.u32("linux,uefi-mmap-desc-size")?,
            self.u32("linux,uefi-mmap-desc-ver")?,
        ) {
            (Some(start), Some(size), Some(descriptor_size), Some(descriptor_version)) => {
                Some(MemoryMap {
                    start,
                    size,
                    descriptor_size,
                    descriptor_version,
                })
            }
            _ => None,
        };
        Ok(Chosen {
            system_table: self.u64("linux,uefi-system-table")?,
            memory_map,
        })
    }
}

/// A number of one or two cells.
fn cells(value: &[u8]) -> Option<u64> {
    match value.len() {
        0 => Some(0),
        4 | 8 => Some(
            value
                .iter()
                .fold(0, |sum, &byte| (sum << 8) | u64::from(byte)),
        ),
        _ => None,
    }
}

/// A walk through all nodes, in the tree's order.
struct Walk<'a> {
    tokens: Tokens<'a>,
    strings: &'a [u8],
    /// The nodes from the root to the current one.
    nodes: [Node<'a>; MAX_DEPTH],
    depth: usize,
}

impl<'a> Walk<'a> {
    /// Stands before the root.
    fn new(tree: &Tree<'a>) -> Self {
        Self {
            tokens: Tokens {
                rest: tree.structure,
            },
            strings: tree.strings,
            nodes: [Node::default(); MAX_DEPTH],
            depth: 0,
        }
    }

    /// Steps to the next node; gives the nodes from the root to it, or [`None`] at the end.
    ///
    /// After an error there is nothing more.
    fn next(&mut self) -> Result<Option<&[Node<'a>]>, Error> {
        if self.tokens.rest.is_empty() {
            return Ok(None);
        }
        if let Err(why) = self.step() {
            self.tokens.rest = &[];
            return Err(why);
        }
        if self.tokens.rest.is_empty() {
            return Ok(None);
        }
        Ok(self.nodes.get(..self.depth))
    }

    /// Consumes tokens up to the end of the next node's properties, or all.
    fn step(&mut self) -> Result<(), Error> {
        loop {
            match self.tokens.token()? {
                BEGIN_NODE => {
                    let node = self.nodes.get_mut(self.depth).ok_or(Error::TooDeep)?;
                    let name = self.tokens.name()?;
                    *node = Node {
                        name,
                        properties: self.tokens,
                        strings: self.strings,
                    };
                    self.depth += 1;
                    return self.tokens.properties();
                }
                END_NODE if self.depth > 0 => self.depth -= 1,
                END if self.depth == 0 => {
                    self.tokens.rest = &[];
                    return Ok(());
                }
                token => return Err(Error::Token(token)),
            }
        }
    }
}

/// Whether a node, or a bus it is on, is `dma-coherent`.
fn is_coherent(nodes: &[Node<'_>]) -> bool {
    nodes
        .iter()
        .any(|node| node.property("dma-coherent").is_some())
}

/// The first address and size in the last node's `reg` (2.3.6), as the CPU sees it.
fn reg(nodes: &[Node<'_>]) -> Result<(u64, u64), Error> {
    const BAD: Error = Error::Property("reg");
    let [above @ .., node] = nodes else {
        return Err(BAD);
    };
    let parent = above.last().ok_or(BAD)?;
    let value = node.property("reg").ok_or(BAD)?;
    let (address, rest) = value
        .split_at_checked(4 * parent.address_cells()?)
        .ok_or(BAD)?;
    let size = rest
        .get(..4 * parent.size_cells()?)
        .and_then(cells)
        .ok_or(BAD)?;
    let address = cells(address).ok_or(BAD)?;
    if size == 0 {
        return Err(BAD);
    }
    Ok((translate(above, address, size)?, size))
}

/// Translates an address on the last bus of `buses` to the CPU's, through `ranges` (2.3.8).
fn translate(buses: &[Node<'_>], mut address: u64, size: u64) -> Result<u64, Error> {
    const BAD: Error = Error::Property("ranges");
    let mut buses = buses;
    while let [above @ .., bus] = buses {
        let Some(parent) = above.last() else {
            // The root's addresses are the CPU's.
            break;
        };
        buses = above;
        let ranges = bus.property("ranges").ok_or(Error::Untranslatable)?;
        if ranges.is_empty() {
            continue;
        }
        let child_cells = 4 * bus.address_cells()?;
        let parent_cells = 4 * parent.address_cells()?;
        let entry = child_cells + parent_cells + 4 * bus.size_cells()?;
        if entry == 0 || ranges.len() % entry != 0 {
            return Err(BAD);
        }
        address = ranges
            .chunks_exact(entry)
            .find_map(|range| {
                let (child, rest) = range.split_at_checked(child_cells)?;
                let (parent, length) = rest.split_at_checked(parent_cells)?;
                let offset = address.checked_sub(cells(child)?)?;
                if offset.checked_add(size)? > cells(length)? {
                    return None;
                }
                cells(parent)?.checked_add(offset)
            })
            .ok_or(Error::Untranslatable)?;
    }
    address.checked_add(size).ok_or(Error::Untranslatable)?;
    Ok(address)
}

/// Reads the last node as a host bridge.
fn host_bridge(nodes: &[Node<'_>]) -> Result<HostBridge, Error> {
    const BUS_RANGE: Error = Error::Property("bus-range");
    const DOMAIN: &str = "linux,pci-domain";
    let node = nodes.last().ok_or(Error::Property("reg"))?;
    let (base, size) = reg(nodes)?;
    let ecam = Error::Ecam { base, size };
    let (first, last) = match node.property("bus-range") {
        None => (0, u8::MAX),
        Some(value) => match <[U32; 2]>::read_from_bytes(value).map_err(|_| BUS_RANGE)? {
            [first, last] => (
                u8::try_from(first.get()).map_err(|_| BUS_RANGE)?,
                u8::try_from(last.get()).map_err(|_| BUS_RANGE)?,
            ),
        },
    };
    if first > last {
        return Err(BUS_RANGE);
    }
    // There are no more buses than `reg` has room for.
    let room = (size / Ecam::OF_ONE_BUS).checked_sub(1).ok_or(ecam)?;
    let room = u8::try_from(room).unwrap_or(u8::MAX);
    let last = last.min(first.saturating_add(room));
    let segment = match node.u32(DOMAIN)? {
        Some(domain) => {
            Segment::Devicetree(u16::try_from(domain).map_err(|_| Error::Property(DOMAIN))?)
        }
        None => Segment::Unknown,
    };
    Ok(HostBridge {
        ecam: Ecam::new(base, segment, first, last).ok_or(ecam)?,
        windows: windows(nodes)?,
        coherent: is_coherent(nodes),
    })
}

/// Reads the memory windows in a host bridge's `ranges` (IEEE 1275 PCI binding, 2.2.1.1).
///
/// Those that the CPU cannot reach are left out. Of those beyond [`Windows::MAX`] only that they
/// exist is kept.
fn windows(nodes: &[Node<'_>]) -> Result<Windows, Error> {
    const BAD: Error = Error::Property("ranges");
    let mut windows = Windows::default();
    let [above @ .., node] = nodes else {
        return Err(BAD);
    };
    let ranges = node.property("ranges").unwrap_or_default();
    let parent_cells = 4 * above.last().ok_or(BAD)?.address_cells()?;
    let (child_cells, size_cells) = (4 * 3, 4 * 2);
    if node.address_cells()? != 3 || node.size_cells()? != 2 {
        return Err(Error::Property("#address-cells"));
    }
    let ranges = ranges.chunks_exact(child_cells + parent_cells + size_cells);
    if !ranges.remainder().is_empty() {
        return Err(BAD);
    }
    for range in ranges {
        let (flags, rest) = U32::read_from_prefix(range).map_err(|_| BAD)?;
        let (pci, rest) = rest.split_at_checked(8).ok_or(BAD)?;
        let (cpu, size) = rest.split_at_checked(parent_cells).ok_or(BAD)?;
        let (pci, cpu, size) = cells(pci)
            .zip(cells(cpu))
            .zip(cells(size))
            .map(|((pci, cpu), size)| (pci, cpu, size))
            .ok_or(BAD)?;
        // `npt000ss`: prefetchable, and the space, of which 2 and 3 are memory.
        let flags = flags.get() >> 24;
        if flags & 2 == 0 {
            continue;
        }
        let Ok(cpu) = translate(above, cpu, size) else {
            continue;
        };
        windows.push(Window {
            pci,
            cpu,
            size,
            prefetchable: flags & 0x40 != 0,
            bits64: flags & 1 != 0,
        });
    }
    Ok(windows)
}
