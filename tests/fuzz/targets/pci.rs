// SPDX-License-Identifier: GPL-2.0

//! Configuration space: the walk from a host bridge to the GPUs, BARs and addresses for them, and
//! virtio's capabilities.
//!
//! An input is the numbers of the host bridge and its windows, and then functions: bus, device and
//! function, and 16 registers each. Each function has a mask of its read-only bits. Registers above
//! 0x40 are those that follow in the input.

use super::bytes::{
    is_a_line,
    Bytes, //
};
use crate::{
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
        Segment,
        Windows, //
    },
    virtio::pci::Capabilities, //
};
use core::ops::ControlFlow;
use std::collections::BTreeMap;

/// Flag: bridges without bus numbers get some.
const ASSIGN: u8 = 1;
/// Flag: registers read as different values each time.
const CHANGING: u8 = 2;
/// The maximum number of functions in an input.
const FUNCTIONS: usize = 24;

/// The registers of a function.
#[derive(Clone)]
struct Registers {
    values: [u32; 64],
    /// The writable bits of the BARs, and of a bridge's registers.
    writable: u32,
}

/// Configuration space.
struct Space<'a> {
    functions: BTreeMap<(u8, u8), Registers>,
    /// The values of the registers if they change at each read.
    noise: Option<Bytes<'a>>,
    accesses: usize,
    /// The functions that were written to, with a bit for each register.
    written: BTreeMap<(u8, u8), u64>,
}

fn bus_and_devfn(function: Address) -> (u8, u8) {
    let devfn = (function.device() << 3) | function.function();
    (function.bus(), devfn)
}

impl Config for Space<'_> {
    fn read32(&mut self, function: Address, offset: u16) -> u32 {
        assert!(offset % 4 == 0 && offset < 4096);
        self.accesses += 1;
        let Some(registers) = self.functions.get(&bus_and_devfn(function)) else {
            return u32::MAX;
        };
        let value = registers.values.get(usize::from(offset / 4));
        let value = value.copied().unwrap_or(0);
        match &mut self.noise {
            Some(noise) if !noise.is_empty() => value ^ noise.u32(),
            _ => value,
        }
    }

    fn write32(&mut self, function: Address, offset: u16, value: u32) {
        assert!(offset % 4 == 0 && offset < 4096);
        self.accesses += 1;
        *self.written.entry(bus_and_devfn(function)).or_default() |= 1u64 << (offset / 4).min(63);
        let Some(registers) = self.functions.get_mut(&bus_and_devfn(function)) else {
            panic!("a write to {function}, where nothing is");
        };
        let mask = match offset {
            0x04 => 0x0407,
            0x10..=0x24 => registers.writable | 0xfff0_0000,
            0x18..=0x2c => u32::MAX,
            _ => 0,
        };
        if let Some(register) = registers.values.get_mut(usize::from(offset / 4)) {
            *register = *register & !mask | value & mask;
        }
    }
}

pub(super) fn run(input: &[u8]) -> bool {
    let mut bytes = Bytes(input);
    let flags = bytes.u8();
    let (first, last) = (bytes.u8(), bytes.u8());
    let Some(ecam) = Ecam::new(0x40_1000_0000, Segment::Unknown, first, last) else {
        return false;
    };
    let mut windows = Windows::default();
    for _ in 0..(flags >> 4) % 6 {
        let flags = bytes.u8();
        let mut edge = || {
            // Numbers at the limits of a register's range, and any other.
            let shift = bytes.u8();
            let number = u64::from(bytes.u32());
            number.rotate_right(u32::from(shift & 63))
        };
        windows.push(Window {
            pci: edge(),
            cpu: edge(),
            size: edge(),
            prefetchable: flags & 1 != 0,
            bits64: flags & 2 != 0,
        });
    }
    let mut space = Space {
        functions: BTreeMap::new(),
        noise: None,
        accesses: 0,
        written: BTreeMap::new(),
    };
    for _ in 0..FUNCTIONS {
        if bytes.is_empty() {
            break;
        }
        let (bus, devfn, more) = (bytes.u8(), bytes.u8(), bytes.u8());
        let mut registers = Registers {
            values: [0; 64],
            // The type bits of a BAR are read-only.
            writable: u32::MAX << (more & 31) & !0xf,
        };
        let count = 16 + usize::from(more >> 5) * 8;
        for register in registers.values.iter_mut().take(count) {
            *register = bytes.u32();
        }
        space.functions.insert((bus, devfn), registers);
    }
    if flags & CHANGING != 0 {
        // The input is read again from its start.
        space.noise = Some(Bytes(input));
    }
    let numbers = match flags & ASSIGN {
        0 => BusNumbers::Keep,
        _ => BusNumbers::Assign,
    };
    walk(&mut space, &ecam, numbers, &windows) > 0
}

/// Enumerates as the driver does. Returns the number of GPUs.
fn walk(space: &mut Space<'_>, ecam: &Ecam, numbers: BusNumbers, windows: &Windows) -> u16 {
    let is_changing = space.noise.is_some();
    let mut allocator = Allocator::new(windows);
    let (mut gpus, mut visited) = (0, Vec::new());
    let mut spent = 0;
    let walk = enumerate(space, ecam, numbers, |space, gpu, path| {
        gpus += 1;
        let before = space.accesses;
        if gpus <= 4 {
            check_gpu(space, &mut allocator, gpu, path, windows, is_changing);
        }
        visited.push(gpu);
        visited.extend(path.as_slice());
        spent += space.accesses - before;
        ControlFlow::Continue(())
    });
    assert_eq!(walk.gpus, gpus);
    assert!(walk.buses <= 256);
    // A bus has 256 functions, with three reads and two writes each, and a second pass over all
    // buses checks whether they have functions.
    let accesses = space.accesses - spent;
    assert!(accesses <= 256 * (256 * 6 + 32), "{accesses} accesses");
    if let Some((_, trouble)) = walk.skipped {
        is_a_line(trouble);
    }
    // Registers were only changed of bridges and of GPUs.
    for (function, registers) in &space.written {
        let values = space.functions[function].values;
        let is_bridge = is_changing || (values[3] >> 16) & 0x7f == 1;
        let is_visited = visited.iter().any(|it| bus_and_devfn(*it) == *function);
        assert!(is_visited || is_bridge, "{function:02x?} was changed");
        assert_eq!(
            registers & !0xffe,
            0,
            "registers {registers:#x} of {function:02x?}"
        );
    }
    gpus
}

/// Does the driver's operations on a GPU.
fn check_gpu(
    space: &mut Space<'_>,
    allocator: &mut Allocator<'_>,
    gpu: Address,
    path: &Path,
    windows: &Windows,
    is_changing: bool,
) {
    assert!(path.as_slice().len() <= Path::MAX);
    let before = space.accesses;
    // Reads the sizes, which restores all registers.
    let registers =
        |space: &Space<'_>| space.functions.get(&bus_and_devfn(gpu)).map(|it| it.values);
    let values = registers(space);
    let mut function = Function::new(space, gpu);
    let sizes: [u64; 6] = core::array::from_fn(|index| function.bar_size(index as u8));
    assert!(sizes
        .iter()
        .all(|size| *size == 0 || size.is_power_of_two()));
    assert!((6..=u8::MAX).all(|index| function.bar(index).is_none()));
    if !is_changing {
        assert_eq!(values, registers(space), "not put back");
    }

    let assigned = allocator.assign(space, gpu, path);
    if let Err(why) = assigned {
        is_a_line(why);
        if !is_changing {
            assert_eq!(values, registers(space), "changed, though there is no room");
        }
    }
    let mut function = Function::new(space, gpu);
    for (index, size) in (0..).zip(sizes) {
        if let Some(bar) = function.bar(index) {
            let cpu = windows.cpu_address(bar.address, size);
            assert!(cpu.is_none_or(|cpu| cpu.checked_add(size).is_some()));
        }
    }
    let read = |offset: u16| {
        assert!(offset < 0x100);
        function.read32(offset)
    };
    match Capabilities::read(read, &sizes) {
        Ok(capabilities) => {
            let regions = [capabilities.window(), capabilities.notify].into_iter();
            for region in regions.chain(capabilities.config()) {
                assert!(region.fits(sizes[usize::from(region.bar)]));
            }
            assert!(capabilities.common.length >= 56 && capabilities.notify.length >= 2);
        }
        Err(why) => is_a_line(why),
    }
    let path = path_to(space, gpu);
    assert!(path.as_slice().len() <= Path::MAX);
    // The path is searched for on each bus up to the function's, and each search reads all
    // functions of the buses on it.
    let accesses = space.accesses - before;
    assert!(accesses <= 256 * 8 * 256 * 3 + 4096, "{accesses} accesses");
}

/// Returns a function of an input: its registers, and more of them from 0x40 on.
fn function(bus: u8, devfn: u8, more: u8, registers: &[(usize, u32)]) -> Vec<u8> {
    let mut values = vec![0u32; 16 + usize::from(more >> 5) * 8];
    for (at, value) in registers {
        values[at / 4] = *value;
    }
    let mut bytes = vec![bus, devfn, more];
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Returns a virtio-gpu with its capabilities, and with or without an address.
fn gpu(bus: u8, devfn: u8, address: u32) -> Vec<u8> {
    let registers = [
        (0x00, 0x1050_1af4),
        (0x04, 0x0010_0003),
        (0x14, address),
        (0x20, address | 0xc),
        (0x34, 0x40),
        // Common, notify and device.
        (0x40, 0x0110_5009),
        (0x44, 4),
        (0x4c, 0x1000),
        (0x50, 0x0214_6409),
        (0x54, 4),
        (0x58, 0x3000),
        (0x5c, 0x1000),
        (0x60, 4),
        (0x64, 0x0410_0009),
        (0x68, 4),
        (0x6c, 0x2000),
        (0x70, 0x1000),
    ];
    // BARs of 16 KiB.
    function(bus, devfn, 2 << 5 | 14, &registers)
}

fn bridge(bus: u8, devfn: u8, numbers: u32) -> Vec<u8> {
    let registers = [
        (0x00, 0x000c_1b36),
        (0x0c, 0x0001_0000),
        (0x18, numbers),
        (0x24, 0x0001_0001),
    ];
    function(bus, devfn, 20, &registers)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Two windows: 256 MiB at 0x1000_0000, and 512 GiB at 0x80_0000_0000.
    let window = |flags: u8, numbers: [(u8, u32); 3]| {
        let numbers = numbers.iter();
        let numbers =
            numbers.flat_map(|(shift, number)| [&[*shift][..], &number.to_le_bytes()].concat());
        [flags].into_iter().chain(numbers).collect::<Vec<u8>>()
    };
    let windows = [
        window(0, [(0, 0x1000_0000), (0, 0x1000_0000), (0, 0x1000_0000)]),
        window(3, [(25, 0x100), (25, 0x100), (25, 0x100)]),
    ]
    .concat();
    let seed = |flags: u8, functions: &[Vec<u8>]| {
        [&[flags, 0, 255], &windows[..], &functions.concat()[..]].concat()
    };
    vec![
        seed(0x20, &[gpu(0, 8, 0x1000_0000)]),
        seed(0x21, &[bridge(0, 8, 0), gpu(1, 0, 0)]),
        seed(
            0x20,
            &[
                bridge(0, 8, 0x0003_0100),
                bridge(1, 0, 0x0003_0201),
                gpu(2, 0, 0),
            ],
        ),
        seed(0x22, &[gpu(3, 0, 0)]),
        [vec![1, 0, 255], gpu(0, 0x80, 0)].concat(),
    ]
}
