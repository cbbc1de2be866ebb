// SPDX-License-Identifier: GPL-2.0

//! The flattened devicetree (Devicetree Specification 0.4, chapter 5): `/chosen`, RAM, PCI host
//! bridges and virtio-mmio nodes.
//!
//! No tree is built in memory. A traversal keeps the nodes from the root to the current one. It
//! checks and consumes each token, so that it ends on any input.

use super::efi::MemoryMap;
use crate::pci::{
    bars::{
        Window,
        Windows, //
    },
    config::{
        Ecam,
        Segment, //
    }, //
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
/// The version that 5.2 describes, and the first that has the size of the structure block.
const VERSION: u32 = 17;
/// The limit for the size of a tree, in bytes. The kernel has the same (`MAX_FDT_SIZE` of arm64).
const MAX_SIZE: u32 = 2 << 20;
/// The limit for the depth of nodes. QEMU's trees have a depth of four, the largest boards' of
/// eight.
const MAX_DEPTH: usize = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// The reason why a tree or a node cannot be used, for a log line that begins with `devicetree: `.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Error {
    /// The magic number is wrong.
    Magic(u32),
    /// The version is not supported.
    Version(u32),
    /// The sizes and offsets in the header contradict each other or the size of the tree.
    Bounds,
    /// The structure block ends inside of a token or node.
    Truncated,
    /// An unknown token, or a token at a position where it is not allowed.
    Token(u32),
    /// The nodes are nested too deeply.
    TooDeep,
    /// The value of this property has an invalid size.
    Property(&'static str),
    /// The addresses of a node cannot be translated to CPU addresses.
    Untranslatable,
    /// The configuration space of a host bridge has an invalid address or size.
    Ecam {
        /// Physical address from `reg`.
        base: u64,
        /// Size in bytes from `reg`.
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

/// The properties that the EFI stub adds to `/chosen`.
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
    /// The configuration space.
    pub(crate) ecam: Ecam,
    /// The memory windows.
    pub(crate) windows: Windows,
    /// `dma-coherent`: DMA of the devices behind it is coherent with the CPU's caches.
    pub(crate) coherent: bool,
}

/// A virtio-mmio node, `virtio,mmio`. Most have no device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct MmioNode {
    /// Physical address of the registers.
    pub(crate) base: u64,
    /// Size of the registers in bytes.
    pub(crate) size: u64,
    /// `dma-coherent`: DMA of the device is coherent with the CPU's caches.
    pub(crate) coherent: bool,
}

/// A flattened devicetree whose header has been checked.
#[derive(Clone, Copy)]
pub(crate) struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
}

impl<'a> Tree<'a> {
    /// Bytes of header that [`Self::total_size`] needs.
    pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

    /// Returns the size of the whole tree in bytes, from its header. Callers that have to map the
    /// tree need it first.
    ///
    /// # Errors
    ///
    /// [`Error`] if this is not the header of a supported tree.
    pub(crate) fn total_size(header: &[u8]) -> Result<usize, Error> {
        let header = Self::header(header)?;
        usize::try_from(header.totalsize.get()).map_err(|_| Error::Bounds)
    }

    /// Opens the tree in `blob`, which may be longer.
    ///
    /// # Errors
    ///
    /// [`Error`] for the first problem in the header.
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

    /// Checks and returns the header.
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

    /// Returns the properties of `/chosen`, the default if there is no such node.
    ///
    /// # Errors
    ///
    /// [`Error`] if the tree is damaged at or before `/chosen`, or if a property has an invalid
    /// size.
    pub(crate) fn chosen(&self) -> Result<Chosen, Error> {
        let mut traversal = Traversal::new(self);
        while let Some(nodes) = traversal.next()? {
            if let [_, node] = nodes {
                if node.name == b"chosen" {
                    return node.chosen();
                }
            }
        }
        Ok(Chosen::default())
    }

    /// Returns the enabled host bridges in the order of the tree.
    ///
    /// A node with invalid properties is an error item. An error in the structure block is the last
    /// item.
    pub(crate) fn host_bridges(&self) -> impl Iterator<Item = Result<HostBridge, Error>> + 'a {
        self.compatible(b"pci-host-ecam-generic", host_bridge)
    }

    /// Returns the enabled virtio-mmio nodes in the order of the tree. QEMU's `virt` has 32.
    ///
    /// Errors are items as in [`Self::host_bridges`].
    pub(crate) fn mmio_nodes(&self) -> impl Iterator<Item = Result<MmioNode, Error>> + 'a {
        self.compatible(b"virtio,mmio", |nodes| {
            let (base, size) = reg(nodes)?;
            Ok(MmioNode {
                base,
                size,
                coherent: is_coherent(nodes),
            })
        })
    }

    /// Passes each range of RAM to `found`: those of the enabled memory nodes below the root (3.4).
    ///
    /// # Errors
    ///
    /// [`Error`] if the tree or a memory node is damaged; the nodes behind it are not read.
    pub(crate) fn for_each_ram_range(
        &self,
        mut found: impl FnMut(Range<u64>),
    ) -> Result<(), Error> {
        const INVALID: Error = Error::Property("reg");
        let mut traversal = Traversal::new(self);
        while let Some(nodes) = traversal.next()? {
            let [root, node] = nodes else { continue };
            if node.property("device_type") != Some(b"memory\0") || !node.is_enabled() {
                continue;
            }
            let (address, size) = (4 * root.address_cells()?, 4 * root.size_cells()?);
            let ranges = node.property("reg").unwrap_or_default();
            if address + size == 0 || ranges.len() % (address + size) != 0 {
                return Err(INVALID);
            }
            for range in ranges.chunks_exact(address + size) {
                let (start, size) = range.split_at_checked(address).ok_or(INVALID)?;
                let (start, size) = parse_cells(start).zip(parse_cells(size)).ok_or(INVALID)?;
                found(start..start.saturating_add(size));
            }
        }
        Ok(())
    }

    /// Returns the results of `read` for all enabled nodes that are compatible with `wanted`.
    ///
    /// `read` gets the nodes from the root to the compatible one.
    fn compatible<T: 'a>(
        &self,
        wanted: &'static [u8],
        read: fn(&[Node<'a>]) -> Result<T, Error>,
    ) -> impl Iterator<Item = Result<T, Error>> + 'a {
        let mut traversal = Traversal::new(self);
        iter::from_fn(move || loop {
            match traversal.next() {
                Err(error) => return Some(Err(error)),
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

/// Returns the first `size` bytes.
fn prefix(bytes: &[u8], size: U32) -> Option<&[u8]> {
    bytes.get(..usize::try_from(size.get()).ok()?)
}

/// Splits a slice at its first zero byte, which is in neither part.
fn split_at_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// The tokens of the structure block (5.4), from a position on.
#[derive(Clone, Copy, Default)]
struct Tokens<'a> {
    remaining: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// Consumes 32 bits.
    fn word(&mut self) -> Result<u32, Error> {
        let (word, remaining) =
            U32::read_from_prefix(self.remaining).map_err(|_| Error::Truncated)?;
        self.remaining = remaining;
        Ok(word.get())
    }

    /// Consumes the next token that is not NOP.
    fn token(&mut self) -> Result<u32, Error> {
        loop {
            match self.word()? {
                NOP => {}
                token => return Ok(token),
            }
        }
    }

    /// Consumes `size` bytes and the padding to 32 bits.
    fn bytes(&mut self, size: usize) -> Result<&'a [u8], Error> {
        let padded = size.checked_next_multiple_of(4).ok_or(Error::Truncated)?;
        let bytes = self.remaining.get(..size).ok_or(Error::Truncated)?;
        self.remaining = self.remaining.get(padded..).ok_or(Error::Truncated)?;
        Ok(bytes)
    }

    /// Consumes the name of a node. The token before it is consumed already.
    fn name(&mut self) -> Result<&'a [u8], Error> {
        let (name, _) = split_at_nul(self.remaining).ok_or(Error::Truncated)?;
        self.bytes(name.len() + 1)?;
        Ok(name)
    }

    /// Consumes a property. The token before it is consumed already. Returns the offset of the name
    /// in the strings block, and the value.
    fn property(&mut self) -> Result<(u32, &'a [u8]), Error> {
        let size = self.word()?;
        let name = self.word()?;
        let size = usize::try_from(size).map_err(|_| Error::Truncated)?;
        Ok((name, self.bytes(size)?))
    }

    /// Consumes all properties up to the next token that is not PROP.
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

/// A node: its name and its properties, which come before its children.
#[derive(Clone, Copy, Default)]
struct Node<'a> {
    name: &'a [u8],
    properties: Tokens<'a>,
    strings: &'a [u8],
}

impl<'a> Node<'a> {
    /// Returns the value of a property.
    fn property(&self, wanted: &str) -> Option<&'a [u8]> {
        let mut tokens = self.properties;
        while let Ok(PROP) = tokens.token() {
            let (name, value) = tokens.property().ok()?;
            let name = self.strings.get(usize::try_from(name).ok()?..);
            // Read no more than the wanted name: the strings block may be long, and the next NUL
            // far away.
            let remaining = name.and_then(|name| name.strip_prefix(wanted.as_bytes()));
            if remaining.is_some_and(|remaining| remaining.starts_with(b"\0")) {
                return Some(value);
            }
        }
        None
    }

    /// Returns the value of a 32-bit property.
    fn u32(&self, name: &'static str) -> Result<Option<u32>, Error> {
        let number = |value| U32::read_from_bytes(value).map_err(|_| Error::Property(name));
        Ok(self.property(name).map(number).transpose()?.map(U32::get))
    }

    /// Returns the value of a property that is one address of 32 or 64 bits.
    fn u64(&self, name: &'static str) -> Result<Option<u64>, Error> {
        let number = |value: &[u8]| parse_cells(value).ok_or(Error::Property(name));
        self.property(name).map(number).transpose()
    }

    /// Returns the number of cells of an address of the children (2.3.5).
    fn address_cells(&self) -> Result<usize, Error> {
        self.cells("#address-cells", 2)
    }

    /// Returns the number of cells of a size of the children (2.3.5).
    fn size_cells(&self) -> Result<usize, Error> {
        self.cells("#size-cells", 1)
    }

    /// Returns the value of a property that is a number of cells, at most four.
    fn cells(&self, name: &'static str, default: usize) -> Result<usize, Error> {
        match self.u32(name)? {
            None => Ok(default),
            Some(count) => usize::try_from(count)
                .ok()
                .filter(|count| *count <= 4)
                .ok_or(Error::Property(name)),
        }
    }

    /// Returns whether `status` (2.3.4) is "okay", or missing.
    fn is_enabled(&self) -> bool {
        matches!(self.property("status"), None | Some(b"okay\0" | b"ok\0"))
    }

    /// Returns whether `wanted` is in the list `compatible` (2.3.1).
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

/// Returns a number of one or two cells, 0 for no cells.
fn parse_cells(value: &[u8]) -> Option<u64> {
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

/// A traversal of all nodes in the order of the tree.
struct Traversal<'a> {
    tokens: Tokens<'a>,
    strings: &'a [u8],
    /// The nodes from the root to the current one.
    nodes: [Node<'a>; MAX_DEPTH],
    depth: usize,
}

impl<'a> Traversal<'a> {
    /// Starts a traversal before the root.
    fn new(tree: &Tree<'a>) -> Self {
        Self {
            tokens: Tokens {
                remaining: tree.structure,
            },
            strings: tree.strings,
            nodes: [Node::default(); MAX_DEPTH],
            depth: 0,
        }
    }

    /// Moves to the next node. Returns the nodes from the root to it, [`None`] at the end.
    ///
    /// After an error it returns [`None`].
    fn next(&mut self) -> Result<Option<&[Node<'a>]>, Error> {
        if self.tokens.remaining.is_empty() {
            return Ok(None);
        }
        if let Err(error) = self.step() {
            self.tokens.remaining = &[];
            return Err(error);
        }
        if self.tokens.remaining.is_empty() {
            return Ok(None);
        }
        Ok(self.nodes.get(..self.depth))
    }

    /// Consumes tokens up to the end of the next node's properties, or up to the end of the tree.
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
                    self.tokens.remaining = &[];
                    return Ok(());
                }
                token => return Err(Error::Token(token)),
            }
        }
    }
}

/// Returns whether a node or one of its parents is `dma-coherent`.
fn is_coherent(nodes: &[Node<'_>]) -> bool {
    nodes
        .iter()
        .any(|node| node.property("dma-coherent").is_some())
}

/// Returns the first address and size in the last node's `reg` (2.3.6), as a CPU address.
fn reg(nodes: &[Node<'_>]) -> Result<(u64, u64), Error> {
    const INVALID: Error = Error::Property("reg");
    let [above @ .., node] = nodes else {
        return Err(INVALID);
    };
    let parent = above.last().ok_or(INVALID)?;
    let value = node.property("reg").ok_or(INVALID)?;
    let (address, remaining) = value
        .split_at_checked(4 * parent.address_cells()?)
        .ok_or(INVALID)?;
    let size = remaining
        .get(..4 * parent.size_cells()?)
        .and_then(parse_cells)
        .ok_or(INVALID)?;
    let address = parse_cells(address).ok_or(INVALID)?;
    if size == 0 {
        return Err(INVALID);
    }
    Ok((translate(above, address, size)?, size))
}

/// Translates an address on the last bus of `buses` to a CPU address, by `ranges` (2.3.8).
fn translate(buses: &[Node<'_>], mut address: u64, size: u64) -> Result<u64, Error> {
    const INVALID: Error = Error::Property("ranges");
    let mut buses = buses;
    while let [above @ .., bus] = buses {
        let Some(parent) = above.last() else {
            // The addresses below the root are CPU addresses.
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
            return Err(INVALID);
        }
        address = ranges
            .chunks_exact(entry)
            .find_map(|range| {
                let (child, remaining) = range.split_at_checked(child_cells)?;
                let (parent, length) = remaining.split_at_checked(parent_cells)?;
                let offset = address.checked_sub(parse_cells(child)?)?;
                if offset.checked_add(size)? > parse_cells(length)? {
                    return None;
                }
                parse_cells(parent)?.checked_add(offset)
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
    // `reg` limits the number of buses.
    let buses = (size / Ecam::BUS_BYTES).checked_sub(1).ok_or(ecam)?;
    let buses = u8::try_from(buses).unwrap_or(u8::MAX);
    let last = last.min(first.saturating_add(buses));
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
/// Windows that the CPU cannot access are left out. Of more than [`Windows::MAX`] windows the
/// result only says that they exist.
fn windows(nodes: &[Node<'_>]) -> Result<Windows, Error> {
    const INVALID: Error = Error::Property("ranges");
    let mut windows = Windows::default();
    let [above @ .., node] = nodes else {
        return Err(INVALID);
    };
    let ranges = node.property("ranges").unwrap_or_default();
    let parent_cells = 4 * above.last().ok_or(INVALID)?.address_cells()?;
    let (child_cells, size_cells) = (4 * 3, 4 * 2);
    if node.address_cells()? != 3 || node.size_cells()? != 2 {
        return Err(Error::Property("#address-cells"));
    }
    let ranges = ranges.chunks_exact(child_cells + parent_cells + size_cells);
    if !ranges.remainder().is_empty() {
        return Err(INVALID);
    }
    for range in ranges {
        let (flags, remaining) = U32::read_from_prefix(range).map_err(|_| INVALID)?;
        let (pci, remaining) = remaining.split_at_checked(8).ok_or(INVALID)?;
        let (cpu, size) = remaining.split_at_checked(parent_cells).ok_or(INVALID)?;
        let (pci, cpu, size) = parse_cells(pci)
            .zip(parse_cells(cpu))
            .zip(parse_cells(size))
            .map(|((pci, cpu), size)| (pci, cpu, size))
            .ok_or(INVALID)?;
        // `npt000ss`: p is prefetchable, ss is the space, in which 2 and 3 are memory.
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
