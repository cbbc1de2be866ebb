// SPDX-License-Identifier: GPL-2.0

//! Tests with damaged copies of what real firmware left: every parser ends, without a panic.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    time::{
        Duration,
        Instant, //
    }, //
};

use proptest::prelude::*;

use crate::{
    cases,
    firmware::{
        acpi::Mcfg,
        bgrt::Bgrt,
        bmp::Bmp,
        cmdline::DeviceAddress,
        efi,
        fdt::Tree,
        picture::{
            self,
            Picture, //
        },
        ram::{
            RamMap,
            RegistersError, //
        },
        Memory,
        Unreadable, //
    },
    kunit::handoff::handoff::{
        whole,
        Firmware, //
    },
    pci::{
        bars::Window,
        enumerate,
        enumeration::Path,
        path_to,
        Address,
        Allocator,
        BusNumbers,
        Config,
        Ecam,
        Function,
        Location,
        Segment,
        Windows, //
    },
    picture::Kind,
    virtio::pci::Capabilities, //
};

static STUB: &[u8] = include_bytes!("../../data/stub.dtb");
static VIRT: &[u8] = include_bytes!("../../data/virt.dtb");
static AAVMF: &[u8] = include_bytes!("../../data/aavmf.mem");
static PORT: &[u8] = include_bytes!("../../data/pci-port.bin");

/// The address of EFI's system table in [`AAVMF`].
const SYSTEM_TABLE: u64 = 0x4ffd_0018;
/// The address of ACPI's root pointer there.
const RSDP: u64 = 0x4f0b_e018;
/// The address of the BGRT there, of which the header was captured.
const BGRT: u64 = 0x4f0b_e898;
/// The address of an image for it.
const IMAGE: u64 = 0x4e12_3000;

/// Reads all that can be read from a tree. Returns how many items that is.
fn read_tree(blob: &[u8]) -> usize {
    let Ok(tree) = Tree::new(blob) else {
        return 0;
    };
    let _ = tree.chosen();
    let _ = tree.for_each_ram_range(|_| ());
    // A node takes 8 bytes at least; one error more may be reported.
    let most = blob.len() / 8 + 1;
    let (bridges, slots) = (
        tree.host_bridges().take(most + 1).count(),
        tree.mmio_nodes().take(most + 1).count(),
    );
    assert!(bridges <= most && slots <= most, "a tree without end");
    bridges + slots
}

fn put32(blob: &mut [u8], at: usize, value: usize) {
    let value = u32::try_from(value).unwrap();
    blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

fn get32(blob: &[u8], at: usize) -> usize {
    u32::from_be_bytes(blob[at..at + 4].try_into().unwrap()) as usize
}

#[test]
fn trees_of_any_length_are_read_to_an_end() {
    assert_eq!(read_tree(VIRT), 33);
    for whole in [STUB, VIRT] {
        for length in 0..whole.len() {
            assert_eq!(read_tree(&whole[..length]), 0);
        }
        // The header gets a matching size: first of the blob, then of the structure or the strings.
        let [structure, strings] = [36, 32].map(|at| get32(whole, at));
        for (field, size) in [(36, structure), (32, strings)] {
            for length in 0..size {
                let mut blob = whole.to_vec();
                put32(&mut blob, field, length);
                read_tree(&blob);
            }
        }
    }
}

/// A large tree, of properties with names that never end, is read within 5 s, as the kernel does
/// nothing else meanwhile.
#[test]
fn names_without_end_are_read_in_little_time() {
    const HALF: usize = 1 << 19;
    const STRUCTURE: usize = 40;

    let mut blob = vec![b'x'; 2 * HALF];
    let strings = STRUCTURE + HALF;
    for (at, word) in [
        0xd00d_feed,
        2 * HALF,
        STRUCTURE,
        strings,
        STRUCTURE,
        17,
        16,
        0,
    ]
    .into_iter()
    .chain([HALF - STRUCTURE, HALF])
    .enumerate()
    {
        put32(&mut blob, 4 * at, word);
    }
    // The root, which has no name, and empty properties with the first name of the block.
    let words = [1, 0].into_iter().chain([3, 0, 0].into_iter().cycle());
    let places = (STRUCTURE..strings - 8).step_by(4);
    let mut end = STRUCTURE;
    for (at, word) in places.zip(words) {
        put32(&mut blob, at, word);
        end = at;
    }
    // Complete properties, the end of the root and of the tree.
    end -= (end - STRUCTURE - 8) % 12;
    put32(&mut blob, end, 2);
    put32(&mut blob, end + 4, 9);
    put32(&mut blob, 36, end + 8 - STRUCTURE);

    let begin = Instant::now();
    assert_eq!(read_tree(&blob), 0);
    let tree = Tree::new(&blob).unwrap();
    assert_eq!(
        tree.mmio_nodes().count(),
        0,
        "an error: the tree is not read to its end"
    );
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// Captured memory, by address.
struct Captured(HashMap<u64, Vec<u8>>);

impl Captured {
    fn new() -> Self {
        let mut pieces = HashMap::new();
        let mut rest = AAVMF;
        while !rest.is_empty() {
            let number = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().unwrap());
            let (start, size) = (number(0), number(8) as usize);
            pieces.insert(start, rest[16..16 + size].to_vec());
            rest = &rest[16 + size..];
        }
        let bgrt = pieces.get_mut(&BGRT).unwrap();
        bgrt.extend([1, 0, 1, 0]);
        bgrt.extend(IMAGE.to_le_bytes());
        bgrt.extend([100u32, 50].map(u32::to_le_bytes).concat());
        pieces.insert(IMAGE, Kind::PLAIN.file(5, &[0x12_3456; 15]));
        let mut captured = Self(pieces);
        captured.seal();
        captured
    }

    /// Corrects the checksums, so that the code after the check sees the damage.
    fn seal(&mut self) {
        let seal = |bytes: &mut [u8], at: usize| {
            let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            bytes[at] = bytes[at].wrapping_sub(sum);
        };
        for (&start, piece) in &mut self.0 {
            if start == RSDP {
                seal(&mut piece[..20], 8);
                seal(&mut piece[..36], 32);
            } else if piece.len() >= 36 {
                let length = u32::from_le_bytes(piece[4..8].try_into().unwrap()) as usize;
                if let Some(table) = piece.get_mut(..length).filter(|table| table.len() >= 36) {
                    seal(table, 9);
                }
            }
        }
    }
}

impl Memory for Captured {
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
        let bytes = self.0.iter().find_map(|(&start, piece)| {
            let offset = usize::try_from(at.checked_sub(start)?).ok()?;
            piece.get(offset..)?.get(..into.len())
        });
        into.copy_from_slice(bytes.ok_or(Unreadable { at })?);
        Ok(())
    }
}

#[test]
fn the_logo_is_found_in_real_tables() {
    let mut memory = Captured::new();
    let picture = picture(&mut memory, RSDP).unwrap();
    assert_eq!((picture.columns(), picture.rows()), (100..105, 50..53));
    let mut pixels = [0; 7];
    picture.paint(&mut memory, 99, 52, &mut pixels).unwrap();
    let it = 0x12_3456;
    assert_eq!(pixels, [0, it, it, it, it, it, 0]);
}

#[test]
fn messages_have_the_address() {
    for (segment, line) in [
        (Segment::Unknown, "03:1f.7"),
        (Segment::Mcfg(0), "03:1f.7"),
        (Segment::Devicetree(0), "03:1f.7"),
        (Segment::Mcfg(1), "0001:03:1f.7"),
        (Segment::Devicetree(0xfffe), "fffe:03:1f.7"),
    ] {
        let location = Location {
            segment,
            function: Address::new(3, 31, 7).unwrap(),
            path: Path::new(),
        };
        assert_eq!(location.to_string(), line);
    }
    assert_eq!(
        RegistersError::Ram { at: 0x4000_0000 }.to_string(),
        "its registers cannot be at 0x40000000, where RAM is"
    );
    assert_eq!(
        RegistersError::OutOfRange {
            bits: 52,
            at: 1 << 52
        }
        .to_string(),
        "its registers cannot be at 0x10000000000000, beyond 52 bits of address"
    );
}

/// Configuration space of some functions; all writes are stored.
struct Space(HashMap<(u8, u8), [u32; 64]>);

impl Space {
    fn new() -> Self {
        let functions = PORT.chunks_exact(68).map(|chunk| {
            let mut registers = [0; 64];
            for (register, bytes) in registers.iter_mut().zip(chunk[4..].chunks_exact(4)) {
                *register = u32::from_le_bytes(bytes.try_into().unwrap());
            }
            ((chunk[0], (chunk[1] << 3) | chunk[2]), registers)
        });
        Self(functions.collect())
    }

    fn register(&mut self, function: Address, offset: u16) -> Option<&mut u32> {
        assert!(offset % 4 == 0 && offset < 4096);
        let devfn = (function.device() << 3) | function.function();
        let registers = self.0.get_mut(&(function.bus(), devfn))?;
        registers.get_mut(usize::from(offset / 4))
    }
}

impl Config for Space {
    fn read32(&mut self, function: Address, offset: u16) -> u32 {
        self.register(function, offset).map_or(u32::MAX, |it| *it)
    }

    fn write32(&mut self, function: Address, offset: u16, value: u32) {
        if let Some(register) = self.register(function, offset) {
            *register = value;
        }
    }
}

/// Damaged bytes: the position, as a share of the whole, and the new value.
fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(0x80), 0..8u8];
    prop::collection::vec((any::<prop::sample::Index>(), byte), 1..12)
}

/// Numbers at the limits of a register's range, and any other.
fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..64u32, 0..3u64).prop_map(|(bit, off)| (1u64 << bit).wrapping_add(off).wrapping_sub(1)),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    (edge(), edge(), edge(), any::<bool>(), any::<bool>()).prop_map(
        |(pci, cpu, size, prefetchable, bits64)| Window {
            pci,
            cpu,
            size,
            prefetchable,
            bits64,
        },
    )
}

/// Returns the boot logo on a screen.
fn picture(memory: &mut impl Memory, root: u64) -> Result<Picture, picture::Error> {
    let bgrt = Bgrt::find(memory, root)?;
    let bmp = Bmp::read(memory, bgrt.image)?;
    Picture::new(&bgrt, bmp, 1280, 800)
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn trees(whole in prop::sample::select(vec![STUB, VIRT]), damage in damage()) {
        let mut blob = whole.to_vec();
        for (at, byte) in damage {
            let at = at.index(blob.len());
            blob[at] = byte;
        }
        read_tree(&blob);
    }

    #[test]
    fn tables(
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
        sealed in any::<bool>(),
        map in prop::option::of((edge(), any::<u32>(), 0..200u32)),
        registers in prop::collection::vec((edge(), edge()), 1..8),
    ) {
        let mut memory = Captured::new();
        let mut starts: Vec<u64> = memory.0.keys().copied().collect();
        starts.sort_unstable();
        for (piece, damage) in damage {
            let piece = memory.0.get_mut(piece.get(&starts)).unwrap();
            for (at, byte) in damage {
                let at = at.index(piece.len());
                piece[at] = byte;
            }
        }
        if sealed {
            memory.seal();
        }
        // The result of one query, kept for the next one, equals that of a complete walk through
        // the map.
        let tree = Tree::new(STUB).unwrap();
        let mut ranges = Vec::new();
        let named = tree.chosen().unwrap().memory_map.unwrap();
        let _ = efi::for_each_ram_range(&mut memory, named, |range| ranges.push(range));
        let mut ram = RamMap::new(Some(tree), 52);
        for (at, size) in registers {
            let end = at.checked_add(size).filter(|&end| end <= 1 << 52);
            let expected = match end {
                None => Err(RegistersError::OutOfRange { at, bits: 52 }),
                Some(end) if ranges.iter().any(|ram| ram.start < end && at < ram.end) => {
                    Err(RegistersError::Ram { at })
                }
                Some(_) => Ok(()),
            };
            prop_assert_eq!(ram.check(&mut memory, at, size), expected);
        }
        let map = map.map(|(start, size, descriptor_size)| efi::MemoryMap {
            start,
            size,
            descriptor_size,
            descriptor_version: 1,
        });
        let root = efi::rsdp_address(&mut memory, SYSTEM_TABLE, map).unwrap_or(RSDP);
        for root in [root, RSDP] {
            if let Ok(mcfg) = Mcfg::find(&mut memory, root) {
                prop_assert!(mcfg.host_bridges(&mut memory).count() <= AAVMF.len());
            }
            if let Ok(picture) = picture(&mut memory, root) {
                for y in picture.rows() {
                    let _ = picture.paint(&mut memory, 0, y, &mut [0; 1280]);
                }
            }
        }
    }

    #[test]
    fn damaged_handoffs(words in prop::collection::vec((0..79usize, edge(), 1..9usize), 1..5)) {
        let mut firmware = Firmware::new(&whole());
        for (at, value, length) in words {
            let bytes = &value.to_le_bytes()[..length.min(79 - at)];
            firmware = firmware.with(at, bytes);
        }
        if let Ok(handoff) = firmware.read_table() {
            prop_assert_eq!(handoff.resource.is_some(), handoff.cookie % 2 == 1);
            prop_assert!(handoff.text_start_y() <= handoff.height);
            for y in [0, handoff.height - 1, handoff.height, u32::MAX] {
                for x in [0, handoff.width - 1, handoff.width, u32::MAX] {
                    // `Firmware` rejects reads outside of the memory that the map names.
                    prop_assert!(handoff.paint(&mut firmware, x, y, &mut [0; 32]).is_ok());
                }
            }
        }
    }

    #[test]
    fn configuration_spaces(
        damage in prop::collection::vec((0..6usize, 0..16usize, any::<u32>(), any::<u32>()), 0..24),
        numbers in prop::sample::select(vec![BusNumbers::Keep, BusNumbers::Assign]),
        buses in any::<(u8, u8)>(),
        windows in prop::collection::vec(window(), 0..=Windows::MAX + 1),
    ) {
        let mut space = Space::new();
        let mut functions: Vec<_> = space.0.keys().copied().collect();
        functions.sort_unstable();
        for (function, register, bits, mask) in damage {
            let registers = space.0.get_mut(&functions[function % functions.len()]).unwrap();
            registers[register] = registers[register] & !mask | bits & mask;
        }
        let (first, last) = (buses.0.min(buses.1) % 8, buses.0.max(buses.1));
        let Some(ecam) = Ecam::new(0x40_1000_0000, Segment::Unknown, first, last) else {
            return Ok(());
        };
        let mut all = Windows::default();
        for window in windows {
            all.push(window);
        }
        let mut allocator = Allocator::new(&all);
        let mut gpus = 0;
        let walk = enumerate(&mut space, &ecam, numbers, |space, gpu, path| {
            gpus += 1;
            let _ = allocator.assign(space, gpu, path);
            let mut function = Function::new(space, gpu);
            for index in 0..=u8::MAX {
                let size = function.bar_size(index);
                if let Some(bar) = function.bar(index) {
                    all.cpu_address(bar.address, size);
                }
            }
            let sizes = core::array::from_fn(|index| function.bar_size(index as u8));
            let _ = Capabilities::read(|offset| function.read32(offset), &sizes);
            let _ = path_to(space, gpu);
            ControlFlow::Continue(())
        });
        prop_assert_eq!(walk.gpus, gpus);
    }

    #[test]
    fn capability_lists(
        space in prop::collection::vec(any::<u32>(), 64),
        ids in any::<u64>(),
        sizes in any::<[u64; 6]>(),
    ) {
        let mut space = space;
        space[1] |= 1 << 20;
        for (n, dword) in space.iter_mut().enumerate().skip(16) {
            // More of virtio's capabilities, of a length that may be valid, and of the types that
            // the driver uses.
            if (ids >> n) & 1 != 0 {
                *dword = *dword & 0x0300_ff00 | 0x0014_0009;
            }
        }
        let capabilities = Capabilities::read(|offset| {
            assert!(offset % 4 == 0);
            space[usize::from(offset / 4)]
        }, &sizes);
        if let Ok(capabilities) = capabilities {
            let regions = [capabilities.window(), capabilities.notify].into_iter();
            for region in regions.chain(capabilities.config()) {
                prop_assert!(region.fits(sizes[usize::from(region.bar)]));
            }
            prop_assert!(capabilities.common.length >= 56);
            prop_assert!(capabilities.notify.length >= 2);
        }
    }

    #[test]
    fn options(text in prop::collection::vec(any::<u8>(), 0..40), like in "pci,(0x)?[0-9a-g]{0,18},[0-9a-f:.,]{0,9}") {
        let _ = DeviceAddress::parse(&text);
        let _ = DeviceAddress::parse(like.as_bytes());
    }

    #[test]
    fn options_are_parsed_as_written(
        base in 0..1u64 << 44,
        bus in any::<u8>(),
        device in 0..32u8,
        function in 0..8u8,
    ) {
        let base = base << 20;
        let text = format!("pci,{base:#x},{bus:02x}:{device:02x}.{function}");
        let function = Address::new(bus, device, function).unwrap();
        let address = DeviceAddress { ecam: base, function };
        prop_assert_eq!(DeviceAddress::parse(text.as_bytes()).ok(), Some(address));
    }
}
