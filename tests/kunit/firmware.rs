// SPDX-License-Identifier: GPL-2.0

//! Tests of the search for the device, on tables and registers that real firmware left.
//!
//! The captures in `tests/data` are of QEMU 10.0 `-M virt -m 256 -cpu cortex-a57 -nodefaults`:
//!
//! - `virt.dtb`: `-M virt,dumpdtb=virt.dtb`, its `totalsize` cut to what is used.
//! - `aavmf.mem`: guest memory (QMP `pmemsave`) of a kernel that AAVMF 2025.02 started, cut to the
//!   EFI system table, the memory map and the ACPI tables: an address, a length (both 64 bits,
//!   little endian) and the bytes of each.
//! - `stub.dtb`: the devicetree that the kernel's EFI stub made in that boot.
//! - `pci-*.bin`: the first 64 bytes of every function's configuration space (`pmemsave` at
//!   0x4010000000), behind bus, device and function, and two zero bytes. `port` and `bare` have
//!   `-device pcie-root-port,chassis=1 -device pcie-root-port,chassis=2,addr=3.0,multifunction=on
//!   -device pcie-root-port,id=p,chassis=3,addr=3.1 -device virtio-gpu-pci,bus=p
//!   -device virtio-rng-pci`, under AAVMF and with nothing run (`-S`); `pxb` has
//!   `-device pcie-root-port,chassis=1 -device pxb-pcie,id=x,bus_nr=64
//!   -device pcie-root-port,id=p,chassis=2,bus=x -device virtio-gpu-pci,bus=p`, under AAVMF.

#[cfg_attr(CONFIG_KUNIT, kernel::prelude::kunit_tests(virtgpu_firmware))]
mod firmware {
    use crate::{
        firmware::{
            acpi,
            cmdline::{
                BadOptions,
                DeviceAddress, //
            },
            efi,
            fdt,
            ram::{
                RamMap,
                RegistersError, //
            },
            BoundedMemory,
            Memory,
            Unreadable, //
        },
        pci::{
            bars::{
                AssignError,
                Bar,
                Space,
                Window, //
            },
            config::BadAddress,
            enumerate,
            enumeration::{
                BridgeError,
                Enumeration,
                Path, //
            },
            path_to,
            Address,
            Allocator,
            BusNumbers,
            Config,
            Ecam,
            Enumerated,
            Function,
            Location,
            Segment,
            Windows,
            VIRTIO_GPU, //
        }, //
    };
    use core::{
        cell::Cell,
        ops::ControlFlow, //
    };

    static AAVMF: &[u8] = include_bytes!("../data/aavmf.mem");
    static STUB: &[u8; 472] = include_bytes!("../data/stub.dtb");
    static VIRT: &[u8] = include_bytes!("../data/virt.dtb");
    static PORT: &[u8] = include_bytes!("../data/pci-port.bin");
    static BARE: &[u8] = include_bytes!("../data/pci-bare.bin");
    static PXB: &[u8] = include_bytes!("../data/pci-pxb.bin");

    // The addresses in `aavmf.mem`.
    const SYSTEM_TABLE: u64 = 0x4ffd_0018;
    const CONFIGURATION_TABLE: u64 = 0x4ffd_fb18;
    const RSDP: u64 = 0x4f0b_e018;
    const XSDT: u64 = 0x4f0b_ef18;
    const FACP: u64 = 0x4f0b_eb18;
    const MCFG: u64 = 0x4f0b_e098;
    const MAP: efi::MemoryMap = efi::MemoryMap {
        start: 0x4e89_d040,
        size: 4656,
        descriptor_size: 48,
        descriptor_version: 1,
    };

    /// The host bridge of QEMU's `virt`.
    const ECAM: Ecam = Ecam {
        base: 0x40_1000_0000,
        segment: Segment::Mcfg(0),
        first_bus: 0,
        last_bus: 255,
    };

    /// Captured memory, with some bytes changed.
    struct Captured {
        changes: [(u64, u8); 40],
        count: usize,
    }

    impl Captured {
        fn new() -> Self {
            Self {
                changes: [(0, 0); 40],
                count: 0,
            }
        }

        /// Changes bytes.
        fn with(mut self, at: u64, bytes: &[u8]) -> Self {
            for (at, &byte) in (at..).zip(bytes) {
                self.changes[self.count] = (at, byte);
                self.count += 1;
            }
            self
        }

        /// Changes bytes, and corrects the checksum at another address.
        fn sealed(mut self, at: u64, bytes: &[u8], checksum: u64) -> Self {
            let mut sum = self.byte(checksum);
            for (at, &byte) in (at..).zip(bytes) {
                sum = sum.wrapping_add(self.byte(at)).wrapping_sub(byte);
            }
            self.with(at, bytes).with(checksum, &[sum])
        }

        fn byte(&mut self, at: u64) -> u8 {
            let mut byte = [0];
            let _ = self.read(at, &mut byte);
            byte[0]
        }
    }

    impl Memory for Captured {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            let mut rest = AAVMF;
            while rest.len() > 16 {
                let (head, tail) = rest.split_at(16);
                let (start, size) = (number(&head[..8]), number(&head[8..]));
                let (bytes, tail) = tail.split_at(size as usize);
                rest = tail;
                if at >= start && at < start + size && into.len() as u64 <= start + size - at {
                    let offset = (at - start) as usize;
                    into.copy_from_slice(&bytes[offset..][..into.len()]);
                    for &(changed, byte) in &self.changes[..self.count] {
                        if changed >= at && changed - at < into.len() as u64 {
                            into[(changed - at) as usize] = byte;
                        }
                    }
                    return Ok(());
                }
            }
            Err(Unreadable { at })
        }
    }

    fn rsdp_address(mut memory: Captured) -> Result<u64, efi::Error> {
        efi::rsdp_address(&mut memory, SYSTEM_TABLE, Some(MAP))
    }

    #[test]
    fn the_stub_has_the_address_of_efi() {
        let tree = fdt::Tree::new(STUB);
        assert_eq!(
            tree.and_then(|tree| tree.chosen()),
            Ok(fdt::Chosen {
                system_table: Some(SYSTEM_TABLE),
                memory_map: Some(MAP),
            })
        );
    }

    #[test]
    fn efi_has_the_address_of_acpi() {
        assert_eq!(rsdp_address(Captured::new()), Ok(RSDP));
        // A boot without the map, as with efi=novamap.
        assert_eq!(
            efi::rsdp_address(&mut Captured::new(), SYSTEM_TABLE, None),
            Ok(RSDP)
        );
    }

    #[test]
    fn acpi_2_0_goes_before_acpi_1_0() {
        // 8868e871-e4f1-11d3-bc22-0080c73c8881 and eb9d2d30-2d88-11d3-9a16-0090273fc14d.
        let acpi_20 = [
            0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0, 0x80, 0xc7, 0x3c, 0x88,
            0x81,
        ];
        let acpi_10 = [
            0x30, 0x2d, 0x9d, 0xeb, 0x88, 0x2d, 0xd3, 0x11, 0x9a, 0x16, 0, 0x90, 0x27, 0x3f, 0xc1,
            0x4d,
        ];
        let with = |first: [u8; 16], second: [u8; 16]| {
            let memory = Captured::new()
                .with(SYSTEM_TABLE + 104, &[2])
                .with(CONFIGURATION_TABLE, &first)
                .with(CONFIGURATION_TABLE + 24, &second);
            rsdp_address(memory)
        };
        let mut memory = Captured::new();
        let [one, other] = [16, 40].map(|offset| {
            let byte = |at| memory.byte(CONFIGURATION_TABLE + at);
            u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|i| offset + i).map(byte))
        });
        assert!(one != other);
        assert_eq!(with(acpi_10, [0; 16]), Ok(one));
        assert_eq!(with([0; 16], acpi_10), Ok(other));
        assert_eq!(with(acpi_10, acpi_20), Ok(other));
        assert_eq!(with(acpi_20, acpi_10), Ok(one));
        assert_eq!(with([0; 16], [0; 16]), Err(efi::Error::NoAcpi));
    }

    #[test]
    fn efi_has_the_stated_number_of_tables() {
        let mut memory = Captured::new();
        let count = memory.byte(SYSTEM_TABLE + 104);
        assert!(count > 1);
        let last = CONFIGURATION_TABLE + 24 * u64::from(count - 1);
        let guid = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map(|i| last + i);
        let guid = guid.map(|at| memory.byte(at));
        let address = [16, 17, 18, 19, 20, 21, 22, 23].map(|i| memory.byte(last + i));
        // No memory after the last table is read.
        let find = |count: u8, guid| {
            let mut memory = BoundedMemory {
                memory: Captured::new().with(SYSTEM_TABLE + 104, &[count]),
                range: SYSTEM_TABLE..last + 24,
            };
            efi::configuration_table(&mut memory, SYSTEM_TABLE, None, guid)
        };
        let found = Some(u64::from_le_bytes(address));
        assert_eq!(find(count, guid), Ok(found));
        assert_eq!(find(count - 1, guid), Ok(None));
        assert_eq!(find(count, [0xff; 16]), Ok(None));
    }

    #[test]
    fn efi_at_virtual_addresses() {
        // The map's descriptor of the runtime data that contains the tables, the 9th with a
        // mapping.
        let mut memory = Captured::new();
        let mut descriptor = MAP.start;
        while (0..8).any(|byte| {
            memory.byte(descriptor + 8 + byte) != 0x4fec_0000u64.to_le_bytes()[byte as usize]
        }) {
            descriptor += 48;
        }
        let table = (CONFIGURATION_TABLE - 0x4fec_0000 + 0x2000_0000).to_le_bytes();
        let moved = || {
            Captured::new()
                .with(SYSTEM_TABLE + 112, &table)
                .with(descriptor + 16, &0x2000_0000u64.to_le_bytes())
        };
        assert_eq!(rsdp_address(moved()), Ok(RSDP));
        // One page less, and the mapping ends before the table: the address counts as physical and
        // cannot be read.
        let pages = (CONFIGURATION_TABLE - 0x4fec_0000) >> 12;
        assert_eq!(
            rsdp_address(moved().with(descriptor + 24, &pages.to_le_bytes())),
            Err(efi::Error::Unreadable(Unreadable { at: 0x2011_fb18 }))
        );
        // No mappings were installed.
        assert_eq!(
            rsdp_address(moved().with(descriptor + 16, &[0; 8])),
            Err(efi::Error::Unreadable(Unreadable { at: 0x2011_fb18 }))
        );
        // A mapping at 0 counts as none, whatever its size: the address is physical.
        let large = Captured::new()
            .with(descriptor + 16, &[0; 8])
            .with(descriptor + 24, &u64::to_le_bytes(1 << 40));
        assert_eq!(rsdp_address(large), Ok(RSDP));
    }

    #[test]
    fn memory_of_boot_services() {
        // The map's first descriptor: its type, start and number of pages.
        let first = |kind: u32, start: u64, pages: u64| {
            Captured::new()
                .with(MAP.start, &kind.to_le_bytes())
                .with(MAP.start + 8, &start.to_le_bytes())
                .with(MAP.start + 24, &pages.to_le_bytes())
        };
        let data = |kind, start, pages, at| {
            efi::memory_range(
                &mut first(kind, start, pages),
                MAP,
                efi::BOOT_SERVICES_DATA,
                at,
            )
        };
        let range = Some(0x9000_0000..0x9000_2000);
        for at in [0x9000_0000, 0x9000_1fff] {
            assert_eq!(data(4, 0x9000_0000, 2, at), range);
        }
        for at in [0, 0x8fff_ffff, 0x9000_2000, u64::MAX] {
            assert_eq!(data(4, 0x9000_0000, 2, at), None);
        }
        // Memory of Linux or of firmware, and an invalid descriptor.
        for kind in [0, 1, 3, 5, 7, 9, u32::MAX] {
            assert_eq!(data(kind, 0x9000_0000, 2, 0x9000_0000), None);
        }
        assert_eq!(data(4, 0x9000_0000, u64::MAX, 0x9000_0000), None);
        assert_eq!(data(4, u64::MAX - 0xfff, 2, u64::MAX), None);
        // Memory with another type in the second descriptor.
        for (start, expected) in [
            (0x8fff_f000, range.clone()),
            (0x9000_1000, None),
            (0x9000_2000, range),
        ] {
            let mut memory = first(4, 0x9000_0000, 2)
                .with(MAP.start + 48 + 8, &u64::to_le_bytes(start))
                .with(MAP.start + 48 + 24, &1u64.to_le_bytes());
            assert_eq!(
                efi::memory_range(&mut memory, MAP, efi::BOOT_SERVICES_DATA, 0x9000_0000),
                expected
            );
        }

        // No memory after the map is read.
        let mut within = BoundedMemory {
            memory: Captured::new(),
            range: SYSTEM_TABLE..SYSTEM_TABLE + 8,
        };
        let mut read = |at, bytes| within.read(at, &mut [0; 16][..bytes]);
        assert_eq!(read(SYSTEM_TABLE, 8), Ok(()));
        assert_eq!(read(SYSTEM_TABLE + 7, 1), Ok(()));
        for (at, bytes) in [
            (SYSTEM_TABLE - 1, 2),
            (SYSTEM_TABLE, 9),
            (SYSTEM_TABLE + 8, 1),
            (u64::MAX, 2),
        ] {
            assert_eq!(read(at, bytes), Err(Unreadable { at }));
        }
    }

    #[test]
    fn damaged_efi_tables() {
        let with =
            |offset, bytes: &[u8]| rsdp_address(Captured::new().with(SYSTEM_TABLE + offset, bytes));
        assert_eq!(
            with(7, b"\0"),
            Err(efi::Error::Signature(u64::from_le_bytes(*b"IBI SYS\0")))
        );
        assert_eq!(with(12, &[119]), Err(efi::Error::HeaderSize(119)));
        assert_eq!(with(104, &[1, 1]), Err(efi::Error::TableCount(257)));
        assert_eq!(with(104, &[0]), Err(efi::Error::NoAcpi));
        // More entries than memory.
        assert_eq!(with(104, &[2]), Err(efi::Error::NoAcpi));
        assert_eq!(
            with(112, &[0xff; 8]),
            Err(efi::Error::Unreadable(Unreadable { at: u64::MAX }))
        );
        assert_eq!(
            efi::rsdp_address(&mut Captured::new(), 0, None),
            Err(efi::Error::Unreadable(Unreadable { at: 0 }))
        );
        for map in [
            efi::MemoryMap {
                descriptor_size: 0,
                ..MAP
            },
            efi::MemoryMap {
                descriptor_version: 2,
                ..MAP
            },
            efi::MemoryMap {
                size: u32::MAX,
                ..MAP
            },
            efi::MemoryMap {
                start: u64::MAX,
                ..MAP
            },
        ] {
            assert_eq!(
                efi::rsdp_address(&mut Captured::new(), SYSTEM_TABLE, Some(map)),
                Err(efi::Error::MemoryMap(map))
            );
        }
    }

    /// Returns the first host bridge.
    fn mcfg(mut memory: Captured) -> Result<Ecam, acpi::Error> {
        acpi::Mcfg::find(&mut memory, RSDP)?
            .host_bridges(&mut memory)
            .next()
            .unwrap_or(Err(acpi::Error::NoMcfg))
    }

    #[test]
    fn acpi_has_the_address_of_the_host_bridge() {
        assert_eq!(mcfg(Captured::new()), Ok(ECAM));
        let mut memory = Captured::new();
        let count =
            acpi::Mcfg::find(&mut memory, RSDP).map(|mcfg| mcfg.host_bridges(&mut memory).count());
        assert_eq!(count, Ok(1));
    }

    #[test]
    fn acpi_of_the_first_version() {
        // An RSDT in place of the XSDT, with the same bytes: its second address is the upper half
        // of the first one. The MCFG is put there.
        let rsdt = (XSDT as u32).to_le_bytes();
        let memory = Captured::new()
            .sealed(XSDT, b"R", XSDT + 9)
            .sealed(XSDT + 40, &(MCFG as u32).to_le_bytes(), XSDT + 9)
            .sealed(RSDP + 16, &rsdt, RSDP + 8)
            .sealed(RSDP + 15, &[0], RSDP + 8);
        assert_eq!(mcfg(memory), Ok(ECAM));
    }

    #[test]
    fn acpi_with_an_empty_entry() {
        // The first entry of the list is cleared; the MCFG follows.
        let memory = Captured::new().sealed(XSDT + 36, &[0; 8], XSDT + 9);
        assert_eq!(mcfg(memory), Ok(ECAM));
    }

    /// A root pointer, an XSDT and an MCFG of two host bridges, at address 0x1000.
    struct Written {
        bytes: [u8; 256],
    }

    impl Written {
        const START: u64 = 0x1000;

        fn new() -> Self {
            const XSDT: usize = 64;
            const MCFG: usize = 128;
            let mut written = Self { bytes: [0; 256] };
            for (at, bytes) in [
                (0, &b"RSD PTR "[..]),
                (15, &[2]),
                (20, &[36]),
                (24, &(Self::START + XSDT as u64).to_le_bytes()),
                (XSDT, b"XSDT"),
                (XSDT + 4, &[36 + 8]),
                (XSDT + 36, &(Self::START + MCFG as u64).to_le_bytes()),
                (MCFG, b"MCFG"),
                (MCFG + 4, &[44 + 2 * 16]),
                (MCFG + 44, &0x3000_0000u64.to_le_bytes()),
                (MCFG + 52, &[1, 0, 0, 0x3f]),
                (MCFG + 60, &0x40_1000_0000u64.to_le_bytes()),
                (MCFG + 68, &[0x34, 0x12, 0x40, 0x7f]),
            ] {
                written.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            }
            // Makes the sum of all bytes zero.
            for (start, size, checksum) in [
                (0, 20, 8),
                (0, 36, 32),
                (XSDT, 44, XSDT + 9),
                (MCFG, 76, MCFG + 9),
            ] {
                let bytes = &mut written.bytes;
                let sum = bytes[start..start + size]
                    .iter()
                    .fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
                bytes[checksum] = sum.wrapping_neg();
            }
            written
        }
    }

    impl Memory for Written {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
            let bytes = at
                .checked_sub(Self::START)
                .and_then(|offset| self.bytes.get(usize::try_from(offset).ok()?..))
                .and_then(|bytes| bytes.get(..into.len()))
                .ok_or(Unreadable { at })?;
            into.copy_from_slice(bytes);
            Ok(())
        }
    }

    #[test]
    fn acpi_names_several_host_bridges() {
        let mut memory = Written::new();
        let mcfg = acpi::Mcfg::find(&mut memory, Written::START);
        assert!(mcfg.is_ok());
        let Ok(mcfg) = mcfg else { return };
        let mut bridges = mcfg.host_bridges(&mut memory);
        assert_eq!(
            bridges.next(),
            Some(Ok(Ecam {
                base: 0x3000_0000,
                segment: Segment::Mcfg(1),
                first_bus: 0,
                last_bus: 0x3f
            }))
        );
        assert_eq!(
            bridges.next(),
            Some(Ok(Ecam {
                base: 0x40_1400_0000,
                segment: Segment::Mcfg(0x1234),
                first_bus: 0x40,
                last_bus: 0x7f
            }))
        );
        assert_eq!(bridges.next(), None);
    }

    #[test]
    fn acpi_tables_of_maximum_length() {
        // The length counts, and the checksum includes bytes that do not exist.
        let (with, sealed) = (
            |at, bytes: &[u8]| mcfg(Captured::new().with(at, bytes)),
            |at, bytes: &[u8], sum| mcfg(Captured::new().sealed(at, bytes, sum)),
        );
        let is_missing = |result| matches!(result, Err(acpi::Error::Unreadable(_)));
        let xsdt = acpi::Signature(*b"XSDT");
        assert!(is_missing(with(XSDT + 4, &[0, 0, 1, 0])));
        assert_eq!(
            with(XSDT + 4, &[1, 0, 1, 0]),
            Err(acpi::Error::Length(xsdt, 0x1_0001))
        );
        assert!(is_missing(sealed(RSDP + 20, &[0, 0, 1, 0], RSDP + 32)));
        assert_eq!(
            sealed(RSDP + 20, &[1, 0, 1, 0], RSDP + 32),
            Err(acpi::Error::RsdpLength(0x1_0001))
        );
    }

    #[test]
    fn damaged_acpi_tables() {
        use acpi::{
            Error,
            Signature, //
        };
        let with = |at, bytes: &[u8]| mcfg(Captured::new().with(at, bytes));
        let sealed = |at, bytes: &[u8], sum| mcfg(Captured::new().sealed(at, bytes, sum));
        let xsdt = Signature(*b"XSDT");
        let table = Signature(*b"MCFG");

        assert_eq!(with(RSDP, b"r"), Err(Error::NoRsdp(RSDP)));
        assert_eq!(with(RSDP + 9, b"x"), Err(Error::RsdpChecksum));
        assert_eq!(with(RSDP + 33, b"x"), Err(Error::RsdpChecksum));
        assert_eq!(
            sealed(RSDP + 20, &[35], RSDP + 32),
            Err(Error::RsdpLength(35))
        );
        assert_eq!(
            sealed(RSDP + 22, &[2], RSDP + 32),
            Err(Error::RsdpLength(0x2_0024))
        );
        assert_eq!(sealed(RSDP + 24, &[0; 8], RSDP + 32), Err(Error::NoTables));
        assert_eq!(
            sealed(RSDP + 24, &[0xff; 8], RSDP + 32),
            Err(Error::Unreadable(Unreadable { at: u64::MAX }))
        );
        assert_eq!(
            with(XSDT, b"Y"),
            Err(Error::Signature {
                expected: xsdt,
                found: Signature(*b"YSDT")
            })
        );
        assert_eq!(with(XSDT + 4, &[35]), Err(Error::Length(xsdt, 35)));
        assert_eq!(with(XSDT + 6, &[1]), Err(Error::Length(xsdt, 0x1_006c)));
        assert_eq!(with(XSDT + 20, b"x"), Err(Error::Checksum(xsdt)));
        // The last address is not the MCFG's any more, or cannot be read.
        assert_eq!(with(MCFG, b"m"), Err(Error::NoMcfg));
        assert_eq!(
            sealed(XSDT + 36, &[1, 0, 0, 0, 0, 0, 0, 0], XSDT + 9),
            Err(Error::Unreadable(Unreadable { at: 1 }))
        );
        assert_eq!(with(MCFG + 4, &[43]), Err(Error::Checksum(table)));
        // Correct but shorter than any MCFG: without 0x4010000000 and 0xff.
        let oem = Captured::new().byte(MCFG + 10);
        assert_eq!(
            mcfg(
                Captured::new()
                    .sealed(MCFG + 4, &[36], MCFG + 9)
                    .with(MCFG + 10, &[oem.wrapping_add(0x4f)])
            ),
            Err(Error::Length(table, 36))
        );
        assert_eq!(with(MCFG + 44, &[1]), Err(Error::Checksum(table)));
        // A base that is not aligned, one that wraps around, and buses from 1 down to 0.
        assert_eq!(
            sealed(MCFG + 44, &[1], MCFG + 9),
            Err(Error::Allocation {
                base: ECAM.base + 1,
                first: 0,
                last: 255
            })
        );
        assert_eq!(
            sealed(MCFG + 46, &[0xff; 6], MCFG + 9),
            Err(Error::Allocation {
                base: 0xffff_ffff_ffff_0000,
                first: 0,
                last: 255
            })
        );
        assert_eq!(
            sealed(MCFG + 54, &[1, 0], MCFG + 9),
            Err(Error::Allocation {
                base: ECAM.base,
                first: 1,
                last: 0
            })
        );
        // Other tables are ignored.
        assert_eq!(with(FACP + 20, b"x"), Ok(ECAM));
    }

    #[test]
    fn the_base_in_the_mcfg_is_that_of_bus_0() {
        let ecam = mcfg(Captured::new().sealed(MCFG + 54, &[0x40, 0x7f], MCFG + 9));
        assert_eq!(
            ecam,
            Ok(Ecam {
                base: ECAM.base + 0x400_0000,
                segment: Segment::Mcfg(0),
                first_bus: 0x40,
                last_bus: 0x7f
            })
        );
        let address = |bus| ecam.ok()?.function_address(Address::new(bus, 1, 2)?);
        assert_eq!(address(0x41), Some(ECAM.base + 0x410_a000));
        assert_eq!(address(0x3f), None);
        assert_eq!(address(0x80), None);
    }

    /// Returns the windows of QEMU's `virt`.
    fn windows() -> Windows {
        fdt::Tree::new(VIRT)
            .ok()
            .and_then(|tree| tree.host_bridges().next())
            .and_then(Result::ok)
            .map(|bridge| bridge.windows)
            .unwrap_or_default()
    }

    #[test]
    fn the_tree_of_qemu() {
        let tree = fdt::Tree::new(VIRT);
        assert!(tree.is_ok());
        let Ok(tree) = tree else { return };
        assert_eq!(tree.chosen(), Ok(fdt::Chosen::default()));
        let bridge = tree.host_bridges().next().and_then(Result::ok);
        let ecam = Ecam {
            segment: Segment::Devicetree(0),
            ..ECAM
        };
        assert_eq!(
            bridge.map(|bridge| (bridge.ecam, bridge.coherent)),
            Some((ecam, true))
        );
        assert_eq!(tree.host_bridges().count(), 1);
        assert!(
            windows().as_slice()
                == [
                    Window {
                        pci: 0x1000_0000,
                        cpu: 0x1000_0000,
                        size: 0x2eff_0000,
                        prefetchable: false,
                        bits64: false,
                    },
                    Window {
                        pci: 0x80_0000_0000,
                        cpu: 0x80_0000_0000,
                        size: 0x80_0000_0000,
                        prefetchable: false,
                        bits64: true,
                    },
                ]
        );
        assert_eq!(tree.mmio_nodes().count(), 32);
        // In the order of the tree the first slot is the lowest.
        for (index, slot) in (0..).zip(tree.mmio_nodes()) {
            assert_eq!(
                slot,
                Ok(fdt::MmioNode {
                    base: 0x0a00_0000 + 0x200 * index,
                    size: 0x200,
                    coherent: true
                })
            );
        }
    }

    #[test]
    fn a_tree_cut_anywhere() {
        for size in 0..VIRT.len() {
            assert!(fdt::Tree::new(&VIRT[..size]).is_err());
        }
        // The structure block, whose last word is the end token.
        let mut blob = *STUB;
        for size in 0..0xe4u8 {
            blob[39] = size;
            let chosen = fdt::Tree::new(&blob).and_then(|tree| tree.chosen());
            assert!(chosen.is_err() || size == 0 || size >= 0xdc);
        }
    }

    #[test]
    fn a_tree_with_any_byte_changed() {
        let mut blob = *STUB;
        for at in 0..blob.len() {
            for change in [0x01, 0x02, 0x80, 0xff] {
                blob[at] ^= change;
                if let Ok(tree) = fdt::Tree::new(&blob) {
                    // Any result is correct, as long as the walk ends.
                    let _ = tree.chosen();
                    assert!(tree.mmio_nodes().count() + tree.host_bridges().count() <= 2);
                }
                blob[at] ^= change;
            }
        }
    }

    #[test]
    fn headers_of_no_tree() {
        let with = |at: usize, value: u32| {
            let mut blob = *STUB;
            blob[at..at + 4].copy_from_slice(&value.to_be_bytes());
            fdt::Tree::new(&blob)
                .err()
                .map(|why| (why, fdt::Tree::total_size(&blob).is_err()))
        };
        assert_eq!(
            with(0, 0xd00d_feee),
            Some((fdt::Error::Magic(0xd00d_feee), true))
        );
        assert_eq!(with(4, 473), Some((fdt::Error::Bounds, false)));
        assert_eq!(with(4, u32::MAX), Some((fdt::Error::Bounds, true)));
        assert_eq!(with(8, 0x3a), Some((fdt::Error::Bounds, false)));
        assert_eq!(with(8, u32::MAX & !3), Some((fdt::Error::Bounds, false)));
        assert_eq!(with(12, 0x11d), Some((fdt::Error::Bounds, false)));
        assert_eq!(with(20, 16), Some((fdt::Error::Version(16), true)));
        assert_eq!(with(24, 18), Some((fdt::Error::Version(17), true)));
        assert_eq!(with(32, u32::MAX), Some((fdt::Error::Bounds, false)));
        assert_eq!(with(36, u32::MAX), Some((fdt::Error::Bounds, false)));
        assert_eq!(fdt::Tree::total_size(STUB), Ok(472));
        assert_eq!(fdt::Tree::total_size(&STUB[..39]), Err(fdt::Error::Bounds));
    }

    /// Memory that counts its reads.
    struct Counted {
        memory: Captured,
        reads: usize,
    }

    impl Memory for Counted {
        fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), Unreadable> {
            self.reads += 1;
            self.memory.read(at, into)
        }
    }

    #[test]
    fn registers_and_ram_in_firmwares_map() {
        const MIB: u64 = 1 << 20;
        let tree = fdt::Tree::new(STUB).ok();
        let ram = |at| Err(RegistersError::Ram { at });
        let places = [
            // The flash, a virtio-mmio slot, BARs, and the last bytes before RAM.
            (0, MIB, Ok(())),
            (0x400_0000, 64 * MIB, Ok(())),
            (0x0a00_0000, 0x200, Ok(())),
            (0x1000_0000, 0x1000, Ok(())),
            (0x3fff_f000, 0x1000, Ok(())),
            // RAM of Linux, and of firmware; its first byte and its last one.
            (0x3fff_f000, 0x1001, ram(0x3fff_f000)),
            (0x4000_0000, 1, ram(0x4000_0000)),
            (0x4e89_d000, 0x1000, ram(0x4e89_d000)),
            (SYSTEM_TABLE, 4, ram(SYSTEM_TABLE)),
            (0x4fff_ffff, 1, ram(0x4fff_ffff)),
            (0, 1 << 52, ram(0)),
            // The first bytes after RAM, configuration space, the other BARs.
            (0x5000_0000, 0x1000, Ok(())),
            (ECAM.base, ECAM.size(), Ok(())),
            (0x80_0000_0000, 0x4000, Ok(())),
            ((1 << 52) - 4, 4, Ok(())),
        ];
        let mut one = RamMap::new(tree, 52);
        let mut memory = Captured::new();
        for (at, size, expected) in places.into_iter().chain(places.into_iter().rev()) {
            assert_eq!(one.check(&mut memory, at, size), expected);
            // The result does not depend on earlier queries.
            assert_eq!(RamMap::new(tree, 52).check(&mut memory, at, size), expected);
        }
        // The map is not read again for addresses below all RAM, or above it.
        let mut ram = RamMap::new(tree, 52);
        let mut counted = Counted { memory, reads: 0 };
        assert_eq!(ram.check(&mut counted, ECAM.base, ECAM.size()), Ok(()));
        let reads = counted.reads;
        assert!(reads > 90);
        assert_eq!(ram.check(&mut counted, 0x80_0000_0000, 0x4000), Ok(()));
        assert_eq!(ram.check(&mut counted, 0x5000_0000, 1), Ok(()));
        assert_eq!(ram.check(&mut counted, 0x1000_0000, 1), Ok(()));
        assert_eq!(counted.reads, reads);
        // In RAM, the gap around the address is unknown.
        for asked in 2..4 {
            assert!(ram.check(&mut counted, 0x4000_0000, 1).is_err());
            assert_eq!(counted.reads, asked * reads);
        }
    }

    #[test]
    fn registers_beyond_the_address_bits() {
        for tree in [fdt::Tree::new(STUB).ok(), None] {
            let mut ram = RamMap::new(tree, 52);
            for (at, size) in [
                ((1 << 52) - 4, 5),
                (1 << 52, 1),
                (u64::MAX - 3, 4),
                (u64::MAX, 1),
                (0x40_1000_0000, u64::MAX),
            ] {
                let result = ram.check(&mut Captured::new(), at, size);
                assert_eq!(result, Err(RegistersError::OutOfRange { at, bits: 52 }));
            }
            // Page tables use the other bits differently: this address would be in RAM.
            let (mut ram, at) = (RamMap::new(tree, 48), 0x1_0000_4000_0000);
            let result = ram.check(&mut Captured::new(), at, 4);
            assert_eq!(result, Err(RegistersError::OutOfRange { at, bits: 48 }));
            let last = (1 << 48) - 4;
            assert_eq!(ram.check(&mut Captured::new(), last, 4), Ok(()));
        }
        // Without a description of RAM, there may be none.
        assert_eq!(
            RamMap::new(None, 52).check(&mut Captured::new(), 0x4000_0000, 4),
            Ok(())
        );
        // The same with a map that cannot be read.
        struct Nothing;
        impl Memory for Nothing {
            fn read(&mut self, at: u64, _: &mut [u8]) -> Result<(), Unreadable> {
                Err(Unreadable { at })
            }
        }
        let mut ram = RamMap::new(fdt::Tree::new(STUB).ok(), 52);
        assert_eq!(ram.check(&mut Nothing, 0x4000_0000, 4), Ok(()));
    }

    #[test]
    fn memory_of_every_kind() {
        // The map's first descriptor, with any cacheability.
        let check = |kind: u32, attribute: u64| {
            let mut memory = Captured::new()
                .with(MAP.start, &kind.to_le_bytes())
                .with(MAP.start + 8, &0x9000_0000u64.to_le_bytes())
                .with(MAP.start + 24, &2u64.to_le_bytes())
                .with(MAP.start + 32, &attribute.to_le_bytes());
            let mut ram = RamMap::new(fdt::Tree::new(STUB).ok(), 52);
            assert_eq!(ram.check(&mut memory, 0x8fff_fffc, 4), Ok(()));
            assert_eq!(ram.check(&mut memory, 0x9000_2000, 4), Ok(()));
            assert_eq!(ram.check(&mut memory, 0x5000_0000, 0x4000_0000), Ok(()));
            let first = ram.check(&mut memory, 0x9000_0000, 4).is_err();
            assert_eq!(ram.check(&mut memory, 0x9000_1ffc, 4).is_err(), first);
            first
        };
        for kind in 0..20 {
            // Not reserved or unusable memory, I/O, and types that are not defined yet.
            let is_ram = !matches!(kind, 0 | 8 | 11..=13 | 15..);
            for attribute in [8, 0xf, 0x8000_0000_0000_0008] {
                assert_eq!(check(kind, attribute), is_ram);
            }
            assert!(!check(kind, 0x8000_0000_0000_0007));
        }
        assert!(!check(u32::MAX, 8));
        // A descriptor without an end covers all addresses after it.
        let mut memory = Captured::new()
            .with(MAP.start + 8, &0x9000_0000u64.to_le_bytes())
            .with(MAP.start + 24, &u64::MAX.to_le_bytes());
        let mut ram = RamMap::new(fdt::Tree::new(STUB).ok(), 52);
        let at = (1 << 52) - 4;
        assert_eq!(
            ram.check(&mut memory, at, 4),
            Err(RegistersError::Ram { at })
        );
    }

    #[test]
    fn registers_and_ram_in_a_devicetree() {
        let check = |blob: &[u8], at: u64, size| {
            let tree = fdt::Tree::new(blob).ok();
            RamMap::new(tree, 52)
                .check(&mut Captured::new(), at, size)
                .is_ok()
        };
        // QEMU's, with 256 MiB.
        for (at, size, expected) in [
            (0x3fff_fffc, 4, true),
            (0x3fff_fffc, 5, false),
            (0x4000_0000, 4, false),
            (0x4fff_ffff, 1, false),
            (0x5000_0000, 4, true),
            (ECAM.base, ECAM.size(), true),
            (0x0a00_0000, 0x4000, true),
        ] {
            assert_eq!(check(VIRT, at, size), expected);
        }

        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[1]);
        // Two ranges, and an empty one; a node with a different name.
        tree.begin(b"memory@0")
            .text("device_type", b"memory\0")
            .cells("reg", &[0, 0x1000, 0x1000, 1, 0x2000, 0x1000, 0, 0x8000, 0])
            .end();
        tree.begin(b"dram")
            .text("device_type", b"memory\0")
            .cells("reg", &[0, 0x9000, 0x1000])
            .end();
        // Nodes that are disabled, of another type, or inside another node.
        tree.begin(b"memory@a000")
            .text("device_type", b"memory\0")
            .text("status", b"disabled\0")
            .cells("reg", &[0, 0xa000, 0x1000])
            .end();
        tree.begin(b"memory@b000")
            .text("device_type", b"cpu\0")
            .cells("reg", &[0, 0xb000, 0x1000])
            .end();
        tree.begin(b"soc")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[1])
            .begin(b"memory")
            .text("device_type", b"memory\0")
            .cells("reg", &[0, 0xc000, 0x1000])
            .end()
            .end();
        tree.end();
        let blob = tree.seal();
        for at in [0x1000, 0x1_0000_2000, 0x9000] {
            assert!(!check(blob, at, 4));
            assert!(!check(blob, at + 0xffc, 4));
            assert!(check(blob, at - 4, 4));
            assert!(check(blob, at + 0x1000, 4));
        }
        for at in [0x2000, 0x8000, 0xa000, 0xb000, 0xc000] {
            assert!(check(blob, at, 0x1000));
        }
        // Around the empty range.
        assert!(check(blob, 0x7000, 0x2000));

        // Remaining cells are ignored.
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1]);
        tree.begin(b"memory")
            .text("device_type", b"memory\0")
            .cells("reg", &[0x1000, 0x1000, 0x2000])
            .end();
        let blob = tree.end().seal();
        assert_eq!(
            fdt::Tree::new(blob).and_then(|tree| tree.for_each_ram_range(|_| ())),
            Err(fdt::Error::Property("reg"))
        );
        assert!(check(blob, 0x1000, 4));
    }

    /// Builds small trees.
    struct Tree {
        blob: [u8; 1024],
        end: usize,
    }

    /// The strings block of those trees.
    const STRINGS: &[u8] = b"compatible\0reg\0ranges\0status\0dma-coherent\0bus-range\0\
        linux,pci-domain\0#address-cells\0#size-cells\0device_type\0";

    impl Tree {
        fn new() -> Self {
            let mut tree = Self {
                blob: [0; 1024],
                end: 40,
            };
            tree.put(STRINGS);
            tree
        }

        fn put(&mut self, bytes: &[u8]) {
            self.blob[self.end..][..bytes.len()].copy_from_slice(bytes);
            self.end = (self.end + bytes.len()).next_multiple_of(4);
        }

        fn words(&mut self, words: &[u32]) -> &mut Self {
            for word in words {
                self.put(&word.to_be_bytes());
            }
            self
        }

        fn begin(&mut self, name: &[u8]) -> &mut Self {
            self.words(&[1]);
            self.put(name);
            self.end = (self.end + usize::from(name.len() % 4 == 0)).next_multiple_of(4);
            self
        }

        fn end(&mut self) -> &mut Self {
            self.words(&[2])
        }

        fn property(&mut self, name: &str, size: u32) -> &mut Self {
            let mut at = 0;
            while !STRINGS[at..].starts_with(name.as_bytes()) {
                at += 1;
            }
            self.words(&[3, size, at as u32])
        }

        fn text(&mut self, name: &str, value: &[u8]) -> &mut Self {
            self.property(name, value.len() as u32);
            self.put(value);
            self
        }

        fn cells(&mut self, name: &str, value: &[u32]) -> &mut Self {
            self.property(name, 4 * value.len() as u32);
            self.words(value)
        }

        /// Begins a host bridge of 16 buses at `base` that has 32-bit memory at 0x8000_0000.
        fn bridge(&mut self, base: u32) -> &mut Self {
            self.begin(b"pcie")
                .text("compatible", b"x\0pci-host-ecam-generic\0")
                .cells("#address-cells", &[3])
                .cells("#size-cells", &[2])
                .cells("reg", &[base, 0x100_0000])
                .cells(
                    "ranges",
                    &[0x0200_0000, 0, 0x8000_0000, 0x5000_0000, 0, 0x1000_0000],
                )
        }

        /// Completes the header and returns the whole tree.
        fn seal(&mut self) -> &[u8] {
            self.words(&[9]);
            let start = (40 + STRINGS.len()).next_multiple_of(4);
            let end = self.end;
            self.end = 0;
            let (size, strings) = ((end - start) as u32, STRINGS.len() as u32);
            let start = start as u32;
            self.words(&[
                0xd00d_feed,
                end as u32,
                start,
                40,
                0,
                17,
                16,
                0,
                strings,
                size,
            ]);
            &self.blob[..end]
        }
    }

    /// Returns the first host bridge, and the number of all, valid or not.
    fn bridges(blob: &[u8]) -> (Option<Result<fdt::HostBridge, fdt::Error>>, usize) {
        match fdt::Tree::new(blob) {
            Ok(tree) => (tree.host_bridges().next(), tree.host_bridges().count()),
            Err(why) => (Some(Err(why)), 0),
        }
    }

    /// Returns a tree with a host bridge on a bus that translates with these `ranges`.
    fn behind_a_bus(ranges: &[u32]) -> Tree {
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[2])
            .begin(b"soc")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .cells("ranges", ranges)
            .text("dma-coherent", b"")
            .bridge(0x4010_0000)
            .cells("bus-range", &[0x10, 0xff])
            .cells("linux,pci-domain", &[3])
            .end()
            .end()
            .end();
        tree
    }

    #[test]
    fn a_host_bridge_behind_a_bus_that_translates() {
        let ranges = [
            0,
            1,
            0,
            0x4000_0000, // 0 is at 0x1_0000_0000
            0x4000_0000,
            2,
            0,
            0x4000_0000,
        ];
        let (first, count) = bridges(behind_a_bus(&ranges).seal());
        assert_eq!(count, 1);
        assert!(matches!(first, Some(Ok(_))));
        let Some(Ok(bridge)) = first else { return };
        assert!(bridge.coherent);
        // The maximum number of buses.
        assert_eq!(
            bridge.ecam,
            Ecam {
                base: 0x2_0010_0000,
                segment: Segment::Devicetree(3),
                first_bus: 0x10,
                last_bus: 0x1f
            }
        );
        assert_eq!(
            bridge.windows.cpu_address(0x8000_1000, 0x1000),
            Some(0x2_1000_1000)
        );
        assert_eq!(bridge.windows.cpu_address(0x8000_1000, 0x1000_0000), None);
        assert_eq!(bridge.windows.cpu_address(0x7fff_ffff, 1), None);

        // Half a range too much, and ranges that do not reach that far.
        let (first, _) = bridges(behind_a_bus(&ranges[..6]).seal());
        assert_eq!(first, Some(Err(fdt::Error::Property("ranges"))));
        let (first, _) = bridges(behind_a_bus(&ranges[..4]).seal());
        assert_eq!(first, Some(Err(fdt::Error::Untranslatable)));
    }

    #[test]
    fn a_host_bridge_behind_a_bus_of_more_cells() {
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[1])
            .begin(b"soc")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[2])
            // 0x12_0000_0000 is at 0x4000_0000.
            .cells("ranges", &[0x12, 0, 0x4000_0000, 0, 0x4000_0000])
            .begin(b"pcie")
            .text("compatible", b"pci-host-ecam-generic\0")
            .cells("#address-cells", &[3])
            .cells("#size-cells", &[2])
            .cells("reg", &[0x12, 0x1000_0000, 0, 0x100_0000]);
        tree.property("ranges", 28)
            .words(&[0x0200_0000, 0, 0x8000_0000])
            .words(&[0x12, 0x2000_0000, 0, 0x1000_0000])
            .end()
            .end()
            .end();
        let (first, _) = bridges(tree.seal());
        assert!(matches!(first, Some(Ok(_))));
        let Some(Ok(bridge)) = first else { return };
        // Without `bus-range`, the buses begin with 0.
        assert_eq!(
            bridge.ecam,
            Ecam {
                base: 0x5000_0000,
                segment: Segment::Unknown,
                first_bus: 0,
                last_bus: 0xf
            }
        );
        assert_eq!(
            bridge.windows.cpu_address(0x8000_1000, 0x1000),
            Some(0x6000_1000)
        );
        assert!(!bridge.coherent);
    }

    #[test]
    fn a_bus_that_has_no_addresses_translates_none() {
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[0])
            .begin(b"bus")
            .cells("#address-cells", &[0])
            .cells("#size-cells", &[0])
            .cells("ranges", &[0])
            .begin(b"soc")
            .cells("#address-cells", &[1])
            .cells("#size-cells", &[1])
            .cells("ranges", &[0, 0x8000_0000]);
        tree.bridge(0).end().end().end().end();
        assert_eq!(
            bridges(tree.seal()).0,
            Some(Err(fdt::Error::Property("ranges")))
        );
    }

    #[test]
    fn nodes_that_are_disabled_or_not_addressable() {
        for (status, count) in [
            (&b"okay\0"[..], 1),
            (b"ok\0", 1),
            (b"disabled\0", 0),
            (b"", 0),
        ] {
            let mut tree = Tree::new();
            tree.begin(b"")
                .cells("#address-cells", &[1])
                .bridge(0)
                .text("status", status)
                .end()
                .end();
            assert_eq!(bridges(tree.seal()).1, count);
            // The same for the bus.
            let mut tree = Tree::new();
            tree.begin(b"")
                .cells("#address-cells", &[1])
                .begin(b"bus")
                .text("status", status);
            tree.cells("#address-cells", &[1])
                .text("ranges", b"")
                .bridge(0)
                .end()
                .end()
                .end();
            assert_eq!(bridges(tree.seal()).1, count);
        }
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[1])
            .begin(b"i2c")
            .cells("#address-cells", &[1]);
        tree.bridge(0).end().end().end();
        assert_eq!(
            bridges(tree.seal()).0,
            Some(Err(fdt::Error::Untranslatable))
        );
    }

    #[test]
    fn invalid_host_bridges() {
        for (name, value) in [
            ("bus-range", &[1u32, 0][..]),
            ("bus-range", &[0, 256]),
            ("bus-range", &[0]),
            ("linux,pci-domain", &[0x1_0000]),
            ("linux,pci-domain", &[]),
        ] {
            let mut tree = Tree::new();
            tree.begin(b"")
                .cells("#address-cells", &[1])
                .bridge(0)
                .cells(name, value)
                .end();
            // The next host bridge is valid.
            tree.bridge(0x1000_0000).end().end();
            let (first, count) = bridges(tree.seal());
            assert_eq!(count, 2);
            assert!(matches!(first, Some(Err(fdt::Error::Property(wrong))) if wrong == name));
        }
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[1])
            .bridge(0x1000)
            .end()
            .end();
        assert_eq!(
            bridges(tree.seal()).0,
            Some(Err(fdt::Error::Ecam {
                base: 0x1000,
                size: 0x100_0000
            }))
        );
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[5])
            .bridge(0)
            .end()
            .end();
        assert_eq!(
            bridges(tree.seal()).0,
            Some(Err(fdt::Error::Property("#address-cells")))
        );
    }

    #[test]
    fn invalid_structures() {
        let mut tree = Tree::new();
        for _ in 0..17 {
            tree.begin(b"x");
        }
        assert_eq!(bridges(tree.seal()).0, Some(Err(fdt::Error::TooDeep)));
        for (tokens, why) in [
            (&[2u32][..], fdt::Error::Token(2)),
            (&[5], fdt::Error::Token(5)),
            (&[1, 0, 2, 3, 0, 0], fdt::Error::Token(3)),
            (&[1, 0], fdt::Error::Token(9)),
            (&[4, 1, 0, 4, 3, u32::MAX, 0], fdt::Error::Truncated),
            (&[1, u32::MAX], fdt::Error::Truncated),
        ] {
            let mut tree = Tree::new();
            tree.words(tokens);
            let (first, count) = bridges(tree.seal());
            assert_eq!(first, Some(Err(why)));
            // An error in the structure is the last item.
            assert_eq!(count, 1);
        }
    }

    /// A function of a simulated machine.
    #[derive(Clone, Copy)]
    struct Simulated {
        devfn: u8,
        /// The bridge that it is behind, or its bus if that is a host bridge's.
        parent: Result<usize, u8>,
        registers: [u32; 16],
    }

    impl Simulated {
        /// Register 0x18 of a bridge: primary, secondary and subordinate bus.
        fn numbers(&self) -> [u8; 4] {
            self.registers[6].to_le_bytes()
        }

        /// Returns the writable bits of a register, as in QEMU.
        fn writable(&self, register: usize) -> u32 {
            match (self.registers[0], register) {
                (_, 1) => 0x0000_0407,
                (0x000c_1b36, 4) => 0xffff_f000,
                (0x000c_1b36, 6 | 10 | 11) => 0xffff_ffff,
                (0x000c_1b36, 8 | 9) => 0xfff0_fff0,
                // The frame buffer of `virtio-vga`.
                (0x1050_1af4, 4) if self.registers[2] >> 16 == 0x0300 => 0xff80_0000,
                (0x1050_1af4, 5) => 0xffff_f000,
                (0x1050_1af4, 8) => 0xffff_c000,
                (0x1050_1af4, 9) => 0xffff_ffff,
                _ => 0,
            }
        }
    }

    /// The configuration space of a machine; its bridges forward accesses as their registers say.
    struct Machine {
        functions: [Simulated; 12],
        count: usize,
        /// Whether an address was changed while it was decoded.
        careless: bool,
    }

    impl Machine {
        fn empty() -> Self {
            Self {
                functions: [Simulated {
                    devfn: 0,
                    parent: Err(0),
                    registers: [0; 16],
                }; 12],
                count: 0,
                careless: false,
            }
        }

        /// Returns a machine as it was captured.
        fn new(capture: &[u8]) -> Self {
            let mut machine = Self::empty();
            for record in capture.chunks_exact(68) {
                let bus = record[0];
                let bridge = machine.functions[..machine.count].iter().position(|other| {
                    other.registers[0] == 0x000c_1b36 && other.numbers()[1] == bus
                });
                let mut registers = [0; 16];
                for (register, bytes) in registers.iter_mut().zip(record[4..].chunks_exact(4)) {
                    *register = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
                }
                machine.add(bridge.filter(|_| bus != 0).ok_or(bus), record[1], registers);
            }
            machine
        }

        /// Adds a function and returns its index.
        fn add(&mut self, parent: Result<usize, u8>, devfn: u8, registers: [u32; 16]) -> usize {
            self.functions[self.count] = Simulated {
                devfn,
                parent,
                registers,
            };
            self.count += 1;
            self.count - 1
        }

        /// Adds a GPU as it is after a reset.
        fn add_gpu(&mut self, parent: Result<usize, u8>, devfn: u8) -> usize {
            let mut registers = gpu_as_captured();
            registers[1] &= 0xffff_0000;
            registers[5] = 0;
            registers[8] = 0xc;
            registers[9] = 0;
            self.add(parent, devfn, registers)
        }

        /// Adds a root port with a secondary and a subordinate bus.
        fn add_bridge(&mut self, parent: Result<usize, u8>, devfn: u8, below: [u8; 2]) -> usize {
            let mut registers = Self::new(BARE).functions[1].registers;
            registers[6] = u32::from_le_bytes([0, below[0], below[1], 0]);
            self.add(parent, devfn, registers)
        }

        /// Returns the function at an address, if the bridges forward accesses to it.
        fn route(&self, address: Address) -> Option<usize> {
            let devfn = (address.device() << 3) | address.function();
            (0..self.count).find(|&index| {
                let function = &self.functions[index];
                let mut next = function.parent;
                let mut direct = true;
                while let Ok(bridge) = next {
                    let [_, secondary, last, _] = self.functions[bridge].numbers();
                    let reached = match direct {
                        true => secondary == address.bus(),
                        false => secondary <= address.bus() && address.bus() <= last,
                    };
                    if secondary == 0 || !reached {
                        return false;
                    }
                    direct = false;
                    next = self.functions[bridge].parent;
                }
                function.devfn == devfn && (!direct || next == Err(address.bus()))
            })
        }

        fn register(&self, index: usize, register: usize) -> u32 {
            self.functions[index].registers[register]
        }
    }

    impl Config for Machine {
        fn read32(&mut self, function: Address, offset: u16) -> u32 {
            match self.route(function).filter(|_| offset % 4 == 0) {
                Some(index) => self.register(index, usize::from(offset / 4)),
                None => u32::MAX,
            }
        }

        fn write32(&mut self, function: Address, offset: u16, value: u32) {
            let Some(index) = self.route(function).filter(|_| offset % 4 == 0) else {
                return;
            };
            let register = usize::from(offset / 4);
            let function = &mut self.functions[index];
            let mask = function.writable(register);
            let bars = match function.registers[0] {
                0x000c_1b36 => 4..=5,
                _ => 4..=9,
            };
            if bars.contains(&register) && function.registers[1] & 3 != 0 {
                self.careless = true;
            }
            let old = function.registers[register];
            function.registers[register] = (old & !mask) | (value & mask);
        }
    }

    /// Returns the registers of a GPU as AAVMF left them.
    fn gpu_as_captured() -> [u32; 16] {
        Machine::new(PORT).functions[5].registers
    }

    fn at(bus: u8, device: u8, function: u8) -> Address {
        Address::new(bus, device, function).unwrap()
    }

    /// Returns all GPUs found, up to four, the path to the last, and the report.
    fn gpus(
        config: &mut impl Config,
        numbers: BusNumbers,
    ) -> ([Option<Address>; 4], Path, Enumeration) {
        let mut all = [None; 4];
        let mut last = Path::new();
        let mut count = 0;
        let walk = enumerate(config, &ECAM, numbers, |_, gpu, path| {
            all[count] = Some(gpu);
            last = *path;
            count += 1;
            match count {
                4 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        });
        (all, last, walk)
    }

    #[test]
    fn a_gpu_behind_a_root_port() {
        let (gpus, path, walk) = gpus(&mut Machine::new(PORT), BusNumbers::Keep);
        assert_eq!(gpus, [Some(at(3, 0, 0)), None, None, None]);
        assert!(path.as_slice() == [at(0, 3, 1)]);
        assert_eq!(
            walk,
            Enumeration {
                buses: 4,
                functions: 6,
                gpus: 1,
                skipped: None
            }
        );
    }

    #[test]
    fn a_gpu_behind_a_host_bridge_of_its_own() {
        let (gpus, path, walk) = gpus(&mut Machine::new(PXB), BusNumbers::Keep);
        assert_eq!(gpus, [Some(at(0x41, 0, 0)), None, None, None]);
        assert!(path.as_slice() == [at(0x40, 0, 0)]);
        assert_eq!(
            walk,
            Enumeration {
                buses: 4,
                functions: 5,
                gpus: 1,
                skipped: None
            }
        );
    }

    #[test]
    fn buses_without_a_bridge_to_them() {
        // Without firmware there are no functions on them, and each costs 32 reads.
        let (gpus, _, walk) = gpus(&mut Machine::new(PXB), BusNumbers::Assign);
        assert_eq!(gpus, [None; 4]);
        assert_eq!((walk.buses, walk.skipped), (2, None));
    }

    #[test]
    fn buses_without_a_bridge_to_them_are_not_enumerated_if_there_is_a_gpu() {
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        machine.add_gpu(Err(0x40), 8);
        let (all, _, walk) = gpus(&mut machine, BusNumbers::Keep);
        assert_eq!(all, [Some(at(0, 1, 0)), None, None, None]);
        assert_eq!((walk.buses, walk.functions), (1, 1));
    }

    #[test]
    fn a_chain_of_bridges_to_a_high_bus() {
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0), 8, [0x40, 0x4f]);
        let lower = machine.add_bridge(Ok(upper), 0, [0x41, 0x41]);
        machine.add_gpu(Ok(lower), 0);
        machine.add_gpu(Ok(upper), 0x10);
        let (gpus, path, walk) = gpus(&mut machine, BusNumbers::Keep);
        assert_eq!(
            gpus,
            [Some(at(0x41, 0, 0)), Some(at(0x40, 2, 0)), None, None]
        );
        assert!(path.as_slice() == [at(0, 1, 0)]);
        assert_eq!((walk.buses, walk.functions, walk.skipped), (3, 4, None));
    }

    /// A machine whose configuration space window has the buses from 0 to the last one. An access
    /// beyond it is an error: hardware answers with a fault.
    struct Window0To {
        machine: Machine,
        last: u8,
        /// The accessed buses of 0 to 127, a bit for each.
        accessed: u128,
        beyond: bool,
    }

    impl Window0To {
        fn new(machine: Machine, last: u8) -> Self {
            Self {
                machine,
                last,
                accessed: 0,
                beyond: false,
            }
        }

        fn access(&mut self, bus: u8) {
            self.beyond |= bus > self.last;
            self.accessed |= 1 << (bus & 0x7f);
        }
    }

    impl Config for Window0To {
        fn read32(&mut self, function: Address, offset: u16) -> u32 {
            self.access(function.bus());
            self.machine.read32(function, offset)
        }

        fn write32(&mut self, function: Address, offset: u16, value: u32) {
            self.access(function.bus());
            self.machine.write32(function, offset, value);
        }
    }

    /// Returns two ports, the first of which leads to more buses than the second.
    fn two_ports() -> Machine {
        let mut machine = Machine::empty();
        let first = machine.add_bridge(Err(0), 8, [0x20, 0x2f]);
        let below = machine.add_bridge(Ok(first), 0, [0x21, 0x2f]);
        machine.add_gpu(Ok(below), 0);
        let second = machine.add_bridge(Err(0), 0x10, [0x30, 0x30]);
        machine.add_gpu(Ok(second), 0);
        machine
    }

    #[test]
    fn buses_beyond_the_window_are_not_accessed() {
        for numbers in [BusNumbers::Keep, BusNumbers::Assign] {
            for last in [0, 1, 0x20, 0x21, 0x2f] {
                let mut window = Window0To::new(two_ports(), last);
                let ecam = Ecam::new(ECAM.base, ECAM.segment, 0, last).unwrap();
                let walk = enumerate(&mut window, &ecam, numbers, |_, _, _| {
                    ControlFlow::Continue(())
                });
                assert_eq!(walk.gpus, u16::from(last >= 0x21));
                assert!(!window.beyond);
            }
        }
        // The buses have no numbers, and none are free.
        let mut window = Window0To::new(Machine::new(BARE), 0);
        let ecam = Ecam::new(ECAM.base, ECAM.segment, 0, 0).unwrap();
        let walk = enumerate(&mut window, &ecam, BusNumbers::Assign, |_, _, _| {
            ControlFlow::Continue(())
        });
        assert_eq!(walk.gpus, 0);
        assert_eq!((window.accessed, window.beyond), (1, false));
    }

    #[test]
    fn the_path_to_a_function_accesses_no_other_bus() {
        let path_from = |machine: Machine, to: Address| {
            let mut window = Window0To::new(machine, to.bus());
            let path = path_to(&mut window, to);
            assert!(!window.beyond);
            (path, window.accessed)
        };
        let (path, accessed) = path_from(two_ports(), at(0, 1, 0));
        assert!(path.as_slice().is_empty());
        assert_eq!(accessed, 0);
        let (path, accessed) = path_from(two_ports(), at(0x21, 0, 0));
        assert!(path.as_slice() == [at(0, 1, 0), at(0x20, 0, 0)]);
        assert_eq!(accessed, 1 | 1 << 0x20);
        let (path, accessed) = path_from(two_ports(), at(0x30, 0, 0));
        assert!(path.as_slice() == [at(0, 2, 0)]);
        assert_eq!(accessed, 1);
        // A port that is the second function of its device, and one behind another host bridge.
        let (path, accessed) = path_from(Machine::new(PORT), at(3, 0, 0));
        assert!(path.as_slice() == [at(0, 3, 1)]);
        assert_eq!(accessed, 1);
        let (path, _) = path_from(Machine::new(PXB), at(0x41, 0, 0));
        assert!(path.as_slice() == [at(0x40, 0, 0)]);
        // Bridges in a cycle lead nowhere.
        let mut circle = Machine::empty();
        circle.add_bridge(Err(0), 8, [0, 0xff]);
        assert!(path_from(circle, at(5, 0, 0)).0.as_slice().is_empty());
    }

    #[test]
    fn a_path_has_the_nearest_bridges_if_there_are_too_many() {
        let mut machine = Machine::empty();
        let mut above = Err(0);
        for bus in 1..=9 {
            above = Ok(machine.add_bridge(above, 0, [bus, 9]));
        }
        let path = path_to(&mut machine, at(9, 0, 0));
        let nearest = [1, 2, 3, 4, 5, 6, 7, 8].map(|bus| at(bus, 0, 0));
        assert!(path.as_slice() == nearest);
    }

    #[test]
    fn a_bridge_with_one_function_has_no_second_one() {
        // Such a device may answer for all of its functions.
        let mut machine = Machine::empty();
        let first = machine.add_bridge(Err(0), 8, [0x20, 0x2f]);
        let second = machine.add_bridge(Err(0), 9, [0x30, 0x3f]);
        machine.add_gpu(Ok(second), 0);
        machine.functions[first].registers[3] = 0x01 << 16;
        let path = path_to(&mut machine, at(0x30, 0, 0));
        assert!(path.as_slice().is_empty());
        let walk = gpus(&mut machine, BusNumbers::Assign).2;
        assert_eq!((walk.functions, walk.gpus), (1, 0));
        machine.functions[first].registers[3] = 0x81 << 16;
        let path = path_to(&mut machine, at(0x30, 0, 0));
        assert!(path.as_slice() == [at(0, 1, 1)]);
        let walk = gpus(&mut machine, BusNumbers::Assign).2;
        assert_eq!((walk.functions, walk.gpus), (3, 1));
    }

    #[test]
    fn the_first_gpu_is_enough() {
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        machine.add_gpu(Err(0), 0x10);
        let walk = enumerate(
            &mut machine,
            &ECAM,
            BusNumbers::Keep,
            |_, gpu, path| match gpu == at(0, 1, 0) && path.as_slice().is_empty() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            },
        );
        assert_eq!((walk.functions, walk.gpus), (1, 1));
    }

    #[test]
    fn missing_functions() {
        // Function 1 of a device with one function only, and of one whose function 0 is missing.
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        machine.add_gpu(Err(0), 9);
        machine.add_gpu(Err(0), 0x11);
        let (all, _, _) = gpus(&mut machine, BusNumbers::Keep);
        assert_eq!(all, [Some(at(0, 1, 0)), None, None, None]);
        machine.functions[0].registers[3] |= 0x80 << 16;
        let (all, _, _) = gpus(&mut machine, BusNumbers::Keep);
        assert_eq!(all, [Some(at(0, 1, 0)), Some(at(0, 1, 1)), None, None]);
        // Ids before virtio 1.0, and another vendor's.
        machine.functions[0].registers[0] = 0x1010_1af4;
        machine.functions[1].registers[0] = 0x1050_1af5;
        assert_eq!(gpus(&mut machine, BusNumbers::Keep).2.gpus, 0);
    }

    #[test]
    fn bus_numbers_without_firmware() {
        let mut machine = Machine::new(BARE);
        machine.add_gpu(Ok(4), 0);
        let (all, _, walk) = gpus(&mut machine, BusNumbers::Keep);
        assert_eq!(all, [None; 4]);
        assert_eq!(walk.skipped, Some((at(0, 1, 0), BridgeError::NoBusNumber)));

        let (all, path, walk) = gpus(&mut machine, BusNumbers::Assign);
        assert_eq!(all, [Some(at(3, 0, 0)), None, None, None]);
        assert!(path.as_slice() == [at(0, 3, 1)]);
        assert_eq!((walk.buses, walk.functions, walk.skipped), (4, 6, None));
        // Firmware would have assigned the same ones.
        let firmware = Machine::new(PORT);
        for index in 0..5 {
            assert_eq!(machine.register(index, 6), firmware.register(index, 6));
        }
        // A second walk does not change them.
        assert_eq!(gpus(&mut machine, BusNumbers::Assign), (all, path, walk));
    }

    #[test]
    fn bus_numbers_below_numbered_bridges() {
        // Two chains of two; the walk stops in the first, which is completed nevertheless.
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0), 8, [0, 0]);
        let lower = machine.add_bridge(Ok(upper), 0, [0, 0]);
        machine.add_gpu(Ok(lower), 0);
        let other = machine.add_bridge(Err(0), 0x10, [0, 0]);
        let other = machine.add_bridge(Ok(other), 0, [0, 0]);
        machine.add_gpu(Ok(other), 0);
        enumerate(&mut machine, &ECAM, BusNumbers::Assign, |_, _, _| {
            ControlFlow::Break(())
        });
        assert_eq!(machine.functions[upper].numbers(), [0, 1, 2, 0]);
        assert_eq!(machine.functions[lower].numbers(), [1, 2, 2, 0]);
        assert_eq!(machine.functions[other].numbers(), [0; 4]);
        let (all, path, _) = gpus(&mut machine, BusNumbers::Assign);
        assert_eq!(all, [Some(at(2, 0, 0)), Some(at(4, 0, 0)), None, None]);
        assert!(path.as_slice() == [at(0, 2, 0), at(3, 0, 0)]);
    }

    #[test]
    fn bus_numbers_beside_those_of_firmware() {
        let mut machine = Machine::empty();
        machine.add_bridge(Err(0), 8, [1, 5]);
        let bridge = machine.add_bridge(Err(0), 0x10, [0, 0]);
        assert_eq!(gpus(&mut machine, BusNumbers::Assign).2.skipped, None);
        assert_eq!(machine.functions[bridge].numbers(), [0, 6, 6, 0]);
    }

    #[test]
    fn bridges_that_lead_nowhere() {
        for (below, trouble) in [
            ([0x40, 0x3f], BridgeError::InvalidBus(0x40)),
            ([0x40, 0x41], BridgeError::InvalidBus(0x20)),
            ([0x20, 0x3f], BridgeError::DuplicateBus(0x20)),
        ] {
            let mut machine = Machine::empty();
            machine.add_bridge(Err(0), 8, [0x20, 0x2f]);
            let second = machine.add_bridge(Err(0), 0x10, below);
            if below == [0x40, 0x41] {
                // Back to a bus above the bridge's own.
                machine.add_bridge(Ok(second), 0, [0x20, 0x41]);
            }
            let walk = gpus(&mut machine, BusNumbers::Assign).2;
            assert!(walk.skipped.is_some_and(|(_, why)| why == trouble));
        }
        // Beyond the buses that the bridge above forwards.
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0), 8, [0x20, 0x2f]);
        machine.add_bridge(Ok(upper), 0, [0x30, 0x3f]);
        let walk = gpus(&mut machine, BusNumbers::Keep).2;
        assert_eq!(
            walk.skipped,
            Some((at(0x20, 0, 0), BridgeError::InvalidBus(0x30)))
        );
        // A bridge in between that claims to forward more does not change that.
        machine.functions[1].registers[6] = 0x50_21_20;
        machine.add_bridge(Ok(1), 0, [0x30, 0x3f]);
        let walk = gpus(&mut machine, BusNumbers::Keep).2;
        assert_eq!(
            walk.skipped,
            Some((at(0x21, 0, 0), BridgeError::InvalidBus(0x30)))
        );

        // Back to the bridge's own bus.
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0), 8, [0x20, 0x2f]);
        machine.add_bridge(Ok(upper), 0, [0x20, 0x2f]);
        let walk = gpus(&mut machine, BusNumbers::Keep).2;
        assert_eq!(
            walk.skipped,
            Some((at(0x20, 0, 0), BridgeError::InvalidBus(0x20)))
        );

        // The window has one bus number left, or none.
        for (last_bus, trouble) in [
            (1, None),
            (0, Some((at(0, 1, 0), BridgeError::BusNumbersExhausted))),
        ] {
            let mut machine = Machine::empty();
            let bridge = machine.add_bridge(Err(0), 8, [0, 0]);
            machine.add_gpu(Ok(bridge), 0);
            let window = Ecam { last_bus, ..ECAM };
            let walk = enumerate(&mut machine, &window, BusNumbers::Assign, |_, _, _| {
                ControlFlow::Continue(())
            });
            assert_eq!((walk.skipped, walk.gpus == 1), (trouble, trouble.is_none()));
        }

        // The bridge above has no number left, and so no other bridge gets one.
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0), 8, [0x20, 0x20]);
        machine.add_bridge(Ok(upper), 0, [0, 0]);
        let walk = gpus(&mut machine, BusNumbers::Assign).2;
        assert_eq!(
            walk.skipped,
            Some((at(0x20, 0, 0), BridgeError::BusNumbersExhausted))
        );
        let mut machine = Machine::empty();
        machine.add_bridge(Err(0), 8, [0xff, 0xff]);
        machine.add_bridge(Err(0), 0x10, [0, 0]);
        let walk = gpus(&mut machine, BusNumbers::Assign).2;
        assert_eq!(
            walk.skipped,
            Some((at(0, 2, 0), BridgeError::BusNumbersExhausted))
        );

        let mut machine = Machine::empty();
        let mut above = Err(0);
        for _ in 0..=Path::MAX {
            above = Ok(machine.add_bridge(above, 0, [0, 0]));
        }
        machine.add_gpu(above, 0);
        let (_, _, walk) = gpus(&mut machine, BusNumbers::Assign);
        assert_eq!(walk.skipped, Some((at(8, 0, 0), BridgeError::TooDeep)));
        assert_eq!((walk.buses, walk.gpus), (9, 0));
    }

    /// Bridges everywhere, each of which leads to another bus.
    struct CyclicTopology {
        step: u8,
    }

    impl Config for CyclicTopology {
        fn read32(&mut self, function: Address, offset: u16) -> u32 {
            match offset {
                0 => 0x000c_1b36,
                0xc => 0x0081_0000,
                0x18 => {
                    self.step = self.step.wrapping_mul(77).wrapping_add(function.bus() | 1);
                    0xff_0000 | (u32::from(self.step) << 8)
                }
                _ => 0,
            }
        }

        fn write32(&mut self, _: Address, _: u16, _: u32) {}
    }

    #[test]
    fn a_cyclic_topology_ends() {
        let walk = gpus(&mut CyclicTopology { step: 1 }, BusNumbers::Keep).2;
        assert_eq!(walk.buses, 256);
        assert_eq!(walk.functions, u16::MAX);
    }

    /// Returns the GPU behind a port and a switch of the host bridge with bus 0x40, in segment 1.
    fn location() -> Location {
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0x40), 8, [0x41, 0x42]);
        let lower = machine.add_bridge(Ok(upper), 0x10, [0x42, 0x42]);
        machine.add_gpu(Ok(lower), 0x18);
        let (_, path, walk) = gpus(&mut machine, BusNumbers::Keep);
        assert_eq!((walk.gpus, path.as_slice().len()), (1, 2));
        Location {
            segment: Segment::Mcfg(1),
            function: at(0x42, 3, 0),
            path,
        }
    }

    /// Returns the same GPU as the PCI core enumerates it.
    fn enumerated() -> Enumerated {
        Enumerated {
            domain: 1,
            buses: 0x40..=0x7f,
            function: at(0x42, 3, 0),
            id: VIRTIO_GPU,
        }
    }

    #[test]
    fn a_function_is_recognised() {
        let found = location();
        let is = |other: &Enumerated| found.matches(other, || true);
        assert!(is(&enumerated()));
        assert!(!found.matches(&enumerated(), || false));
        // Its bus and the last one have other numbers now.
        for (bus, last) in [(0x41, 0x41), (0x45, 0x7f), (0x7f, 0xff)] {
            let function = at(bus, 3, 0);
            assert!(is(&Enumerated {
                function,
                buses: 0x40..=last,
                ..enumerated()
            }));
        }
        for function in [at(0x42, 2, 0), at(0x42, 3, 1), at(0x42, 0, 3)] {
            assert!(!is(&Enumerated {
                function,
                ..enumerated()
            }));
        }
        // Another host bridge, in this segment and in others.
        for buses in [0..=0x3f, 0x41..=0x7f, 0x80..=0xff] {
            assert!(!is(&Enumerated {
                buses,
                ..enumerated()
            }));
        }
        for domain in [0, 2, -1, 0x1_0001] {
            assert!(!is(&Enumerated {
                domain,
                ..enumerated()
            }));
        }
        // No virtio-gpu; its BARs are not read.
        for id in [0x1050_1af5, 0x1051_1af4, 0x000c_1b36, u32::MAX] {
            let other = Enumerated { id, ..enumerated() };
            let looked = Cell::new(false);
            assert!(!found.matches(&other, || !looked.replace(true)));
            assert!(!looked.get());
        }
    }

    #[test]
    fn a_function_of_a_segment_that_has_no_number() {
        for (segment, expected) in [
            (Segment::Unknown, [true, true, true]),
            (Segment::Devicetree(1), [false, true, false]),
            (Segment::Devicetree(0xffff), [false, false, true]),
        ] {
            let found = Location {
                segment,
                ..location()
            };
            let is = [0, 1, 0xffff].map(|domain| {
                let other = Enumerated {
                    domain,
                    ..enumerated()
                };
                let bridge = Enumerated {
                    function: at(0x40, 1, 0),
                    ..other.clone()
                };
                assert_eq!(found.matches(&other, || true), found.is_behind(&bridge));
                found.matches(&other, || true)
            });
            assert_eq!(is, expected);
        }
        let segment = |tree: &mut Tree| match bridges(tree.end().end().seal()).0 {
            Some(Ok(bridge)) => Some(bridge.ecam.segment),
            _ => None,
        };
        let mut tree = Tree::new();
        tree.begin(b"").cells("#address-cells", &[1]).bridge(0);
        assert_eq!(segment(&mut tree), Some(Segment::Unknown));
        let mut tree = Tree::new();
        tree.begin(b"").cells("#address-cells", &[1]).bridge(0);
        tree.cells("linux,pci-domain", &[0]);
        assert_eq!(segment(&mut tree), Some(Segment::Devicetree(0)));
    }

    #[test]
    fn the_first_bridge_before_a_function() {
        let found = location();
        let bridge = |function| Enumerated {
            function,
            id: 0x000c_1b36,
            ..enumerated()
        };
        assert!(found.is_behind(&bridge(at(0x40, 1, 0))));
        // The bridge below it may have any number.
        for other in [
            at(0x41, 2, 0),
            at(0x40, 2, 0),
            at(0x40, 1, 1),
            at(0x42, 3, 0),
        ] {
            assert!(!found.is_behind(&bridge(other)));
        }
        let first = bridge(at(0x40, 1, 0));
        assert!(!found.is_behind(&Enumerated {
            domain: 0,
            ..first.clone()
        }));
        assert!(!found.is_behind(&Enumerated {
            buses: 0..=0x3f,
            ..first.clone()
        }));
        // On the host bridge's own bus there is no bridge before it, and it is recognised.
        let direct = Location {
            function: at(0x40, 1, 0),
            path: Path::new(),
            ..found
        };
        assert!(!direct.is_behind(&first));
        let other = Enumerated {
            id: VIRTIO_GPU,
            ..first
        };
        assert!(direct.matches(&other, || true));
    }

    #[test]
    fn a_function_is_recognised_by_other_bus_numbers() {
        // Two ports with a GPU each, with numbers and addresses of the driver.
        let mut machine = Machine::empty();
        let ports = [8, 0x10].map(|devfn| machine.add_bridge(Err(0), devfn, [0, 0]));
        let windows = windows();
        let mut allocator = Allocator::new(&windows);
        let cards = ports.map(|port| machine.add_gpu(Ok(port), 0));
        let mut found = [None; 2];
        enumerate(
            &mut machine,
            &ECAM,
            BusNumbers::Assign,
            |config, function, path| {
                assert_eq!(allocator.assign(config, function, path), Ok(2));
                let location = Location {
                    segment: Segment::Devicetree(0),
                    function,
                    path: *path,
                };
                found[usize::from(function.bus()) - 1] = Some(location);
                ControlFlow::Continue(())
            },
        );
        let address = cards.map(|card| machine.register(card, 5) & !0xf);
        assert_ne!(address[0], address[1]);
        // As with pci=hpbussize=4: the second GPU gets a number that was free, the first keeps its
        // own.
        for (which, location) in found.into_iter().enumerate() {
            for (card, bus) in [1, 5].into_iter().enumerate() {
                let other = Enumerated {
                    domain: 0,
                    buses: 0..=0xff,
                    function: at(bus, 0, 0),
                    id: VIRTIO_GPU,
                };
                let is_it = location
                    .unwrap()
                    .matches(&other, || address[card] == address[which]);
                assert_eq!(is_it, card == which);
            }
        }
    }

    #[test]
    fn bars_as_firmware_left_them() {
        let mut machine = Machine::new(PORT);
        let before = machine.functions[5].registers;
        let mut gpu = Function::new(&mut machine, at(3, 0, 0));
        assert_eq!(
            gpu.bar(1),
            Some(Bar {
                space: Space::Memory32,
                prefetchable: false,
                address: 0x1000_0000
            })
        );
        assert_eq!(
            gpu.bar(4),
            Some(Bar {
                space: Space::Memory64,
                prefetchable: true,
                address: 0x80_0000_0000
            })
        );
        // The upper half of BAR 4, and a BAR that does not exist.
        assert_eq!(gpu.bar(5), None);
        assert_eq!(gpu.bar(6), None);
        assert_eq!(gpu.bar(255), None);
        let sizes = [0, 1, 2, 3, 4, 5, 6].map(|index| gpu.bar_size(index));
        assert_eq!(sizes, [0, 0x1000, 0, 0, 0x4000, 0, 0]);
        assert_eq!(gpu.read16(0), 0x1af4);
        assert_eq!(gpu.read16(2), 0x1050);
        assert_eq!(gpu.read8(3), 0x10);
        assert!(machine.functions[5].registers == before);
        assert!(!machine.careless);
    }

    #[test]
    fn types_of_bars() {
        // PCI 3.0, section 6.2.5.1: bit 0 is I/O space, bits 1 and 2 the type, bit 3 prefetchable.
        let bar = |low: u32| {
            let mut machine = Machine::new(PORT);
            machine.functions[5].registers[8] = 0x8000_0000 | low;
            machine.functions[5].registers[9] = 0x12;
            let bar = Function::new(&mut machine, at(3, 0, 0)).bar(4);
            bar.map(|bar| (bar.space, bar.prefetchable, bar.address))
        };
        let memory32 = |prefetchable| Some((Space::Memory32, prefetchable, 0x8000_0000));
        assert_eq!(bar(0), memory32(false));
        assert_eq!(bar(8), memory32(true));
        // Below 1 MiB, an obsolete type.
        assert_eq!(bar(2), memory32(false));
        let high = 0x12_8000_0000;
        assert_eq!(bar(4), Some((Space::Memory64, false, high)));
        assert_eq!(bar(0xc), Some((Space::Memory64, true, high)));
        assert_eq!(bar(6), None);
        // Bits 2 and 3 are part of the address in an I/O BAR.
        assert_eq!(bar(0x1), Some((Space::Io, false, 0x8000_0000)));
        assert_eq!(bar(0xd), Some((Space::Io, false, 0x8000_000c)));
        // The last BAR has no BAR after it for an upper half.
        let mut machine = Machine::new(PORT);
        machine.functions[5].registers[8] = 0;
        machine.functions[5].registers[9] = 0x8000_0004;
        assert_eq!(Function::new(&mut machine, at(3, 0, 0)).bar(5), None);
    }

    #[test]
    fn the_command_register() {
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        machine.functions[0].registers[1] |= 0x0401;
        let mut gpu = Function::new(&mut machine, at(0, 1, 0));
        assert_eq!(gpu.enable_memory(), 0x0401);
        assert_eq!(gpu.command(), 0x0403);
        gpu.set_master();
        assert_eq!(gpu.command(), 0x0407);
        gpu.clear_master();
        assert_eq!(gpu.command(), 0x0403);
        gpu.set_command(0x0401);
        assert_eq!(gpu.command(), 0x0401);
        // A bridge forwards accesses to memory in both directions.
        gpu.enable_forwarding();
        assert_eq!(gpu.command(), 0x0407);
        // The restored value has no bus master bit.
        gpu.restore_command(0x0405);
        assert_eq!(gpu.command(), 0x0401);
        gpu.set_command(0x0003);
        gpu.disable_intx();
        assert_eq!(gpu.command(), 0x0403);
    }

    #[test]
    fn nothing_is_decoded_while_addresses_are_written() {
        // I/O, memory, and both.
        for command in [1, 2, 3] {
            let mut machine = Machine::empty();
            machine.add_gpu(Err(0), 8);
            machine.functions[0].registers[1] |= command;
            let before = machine.functions[0].registers;
            let mut gpu = Function::new(&mut machine, at(0, 1, 0));
            assert_eq!([gpu.bar_size(1), gpu.bar_size(4)], [0x1000, 0x4000]);
            assert!(machine.functions[0].registers == before);
            let windows = windows();
            let result = Allocator::new(&windows).assign(&mut machine, at(0, 1, 0), &Path::new());
            assert_eq!(result, Ok(2));
            assert_eq!(machine.register(0, 1), before[1]);
            assert!(!machine.careless);
        }
    }

    #[test]
    fn bars_on_the_first_bus() {
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        machine.add_gpu(Err(0), 0x10);
        let windows = windows();
        let mut allocator = Allocator::new(&windows);
        for device in [1, 2] {
            let result = allocator.assign(&mut machine, at(0, device, 0), &Path::new());
            assert_eq!(result, Ok(2));
        }
        // From the top of the windows downwards.
        assert_eq!(machine.register(0, 5), 0x3efe_f000);
        assert_eq!(machine.register(1, 5), 0x3efe_e000);
        assert_eq!(
            [machine.register(0, 8), machine.register(0, 9)],
            [0xffff_c00c, 0xff]
        );
        assert_eq!(
            [machine.register(1, 8), machine.register(1, 9)],
            [0xffff_800c, 0xff]
        );
        assert!(!machine.careless);
        // A second call changes nothing.
        assert_eq!(
            allocator.assign(&mut machine, at(0, 1, 0), &Path::new()),
            Ok(0)
        );
        assert_eq!(machine.register(0, 5), 0x3efe_f000);
    }

    #[test]
    fn a_bar_with_an_address_keeps_it() {
        // BAR 0 of a VGA device is its frame buffer.
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        machine.functions[0].registers[2] = 0x0300_0001;
        machine.functions[0].registers[4] = 0x1000_0008;
        let windows = windows();
        let result = Allocator::new(&windows).assign(&mut machine, at(0, 1, 0), &Path::new());
        assert_eq!(result, Ok(2));
        assert_eq!(machine.register(0, 4), 0x1000_0008);
        assert_eq!(machine.register(0, 5), 0x3efe_f000);
    }

    #[test]
    fn bars_behind_bridges() {
        let mut machine = Machine::empty();
        let upper = machine.add_bridge(Err(0), 8, [0, 0]);
        let lower = machine.add_bridge(Ok(upper), 0, [0, 0]);
        let gpu = machine.add_gpu(Ok(lower), 0);
        let (found, path, _) = gpus(&mut machine, BusNumbers::Assign);
        let address = found[0].unwrap_or(at(0, 0, 0));
        let windows = windows();
        let mut allocator = Allocator::new(&windows);
        assert_eq!(allocator.assign(&mut machine, address, &path), Ok(2));
        assert_eq!(machine.register(gpu, 5), 0x3ee0_0000);
        assert_eq!(
            [machine.register(gpu, 8), machine.register(gpu, 9)],
            [0xfff0_000c, 0xff]
        );
        for bridge in [upper, lower] {
            assert_eq!(machine.register(bridge, 8), 0x3ee0_3ee0);
            assert_eq!(machine.register(bridge, 9), 0xfff1_fff1);
            assert_eq!(
                [machine.register(bridge, 10), machine.register(bridge, 11)],
                [0xff, 0xff]
            );
        }
        assert!(!machine.careless);

        // A second GPU there would need a larger window of the bridges.
        let second = machine.add_gpu(Ok(lower), 8);
        let before = machine.functions[second].registers;
        assert_eq!(
            allocator.assign(&mut machine, at(address.bus(), 1, 0), &path),
            Err(AssignError::Bridge(at(0, 1, 0)))
        );
        assert!(machine.functions[second].registers == before);
    }

    #[test]
    fn bars_behind_a_bridge_of_32_bits() {
        let mut machine = Machine::empty();
        let bridge = machine.add_bridge(Err(0), 8, [1, 1]);
        machine.functions[bridge].registers[9] = 0;
        let gpu = machine.add_gpu(Ok(bridge), 0);
        let (_, path, _) = gpus(&mut machine, BusNumbers::Keep);
        let windows = windows();
        let result = Allocator::new(&windows).assign(&mut machine, at(1, 0, 0), &path);
        assert_eq!(result, Ok(2));
        // The larger one first; both in the bridge's only window.
        assert_eq!(
            [machine.register(gpu, 8), machine.register(gpu, 9)],
            [0x3ee0_000c, 0]
        );
        assert_eq!(machine.register(gpu, 5), 0x3ee0_4000);
        assert_eq!(machine.register(bridge, 8), 0x3ee0_3ee0);
        assert_eq!(machine.register(bridge, 9), 0x0000_fff0);
    }

    #[test]
    fn bars_that_do_not_fit() {
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        let before = machine.functions[0].registers;
        let mut windows = Windows::default();
        let assign = |windows: &Windows, machine: &mut Machine| {
            Allocator::new(windows).assign(machine, at(0, 1, 0), &Path::new())
        };
        assert_eq!(
            assign(&windows, &mut machine),
            Err(AssignError::Window(0x5000))
        );
        let window = Window {
            pci: 0x1_0000,
            cpu: 0x8001_0000,
            size: 0x4fff,
            ..Window::default()
        };
        assert!(windows.push(window));
        assert_eq!(
            assign(&windows, &mut machine),
            Err(AssignError::Window(0x5000))
        );
        assert!(machine.functions[0].registers == before);
        // No room is taken for one BAR if there is none for the other.
        let mut halves = Windows::default();
        let half = Window {
            size: 0x1000,
            ..window
        };
        assert!(halves.push(half));
        assert!(halves.push(Window {
            bits64: true,
            ..half
        }));
        let mut allocator = Allocator::new(&halves);
        for _ in 0..2 {
            let result = allocator.assign(&mut machine, at(0, 1, 0), &Path::new());
            assert_eq!(result, Err(AssignError::Window(0x4000)));
        }
        assert!(machine.functions[0].registers == before);
        // The alignment needs more than the sum.
        assert!(windows.push(Window {
            size: 0x8000,
            ..window
        }));
        assert_eq!(assign(&windows, &mut machine), Ok(2));
        assert_eq!(machine.register(0, 8), 0x1_000c);
        assert_eq!(machine.register(0, 5), 0x1_4000);
        assert_eq!(windows.cpu_address(0x1_4000, 0x1000), Some(0x8001_4000));
    }

    /// Returns the host bridge of a devicetree with `count` windows of 1 MiB, 256 MiB apart.
    fn with_windows(count: u32) -> Windows {
        let mut tree = Tree::new();
        tree.begin(b"")
            .cells("#address-cells", &[1])
            .begin(b"pcie")
            .text("compatible", b"pci-host-ecam-generic\0")
            .cells("#address-cells", &[3])
            .cells("#size-cells", &[2])
            .cells("reg", &[0, 0x100_0000])
            .property("ranges", 24 * count);
        for number in 0..count {
            let at = 0x1000_0000 * (number + 1);
            tree.words(&[0x0200_0000, 0, at, at + 0x100_0000, 0, 0x10_0000]);
        }
        tree.end().end();
        match bridges(tree.seal()).0 {
            Some(Ok(bridge)) => bridge.windows,
            _ => Windows::default(),
        }
    }

    #[test]
    fn a_bar_in_the_last_of_many_windows_stays() {
        for count in [1, 4, 5, 8, 9, 11] {
            let windows = with_windows(count);
            let last = 0x1000_0000 * count;
            let mut machine = Machine::empty();
            machine.add_gpu(Err(0), 8);
            machine.functions[0].registers[5] = last;
            machine.functions[0].registers[8] = last + 0x1_0000 | 0xc;
            let before = machine.functions[0].registers;
            let mut allocator = Allocator::new(&windows);
            let result = allocator.assign(&mut machine, at(0, 1, 0), &Path::new());
            assert_eq!(result, Ok(0));
            assert!(machine.functions[0].registers == before);
            // For a window that is not stored the CPU address is unknown.
            let cpu = u64::from(last) + 0x100_0000;
            let expected = (count <= 8).then_some(cpu);
            assert_eq!(windows.cpu_address(last.into(), 0x1000), expected);
            // A BAR without an address gets one nevertheless, and only that.
            machine.functions[0].registers[5] = 0;
            let result = allocator.assign(&mut machine, at(0, 1, 0), &Path::new());
            assert_eq!(result, Ok(1));
            assert_eq!(machine.register(0, 5), 0x100f_f000);
            assert_eq!(machine.register(0, 8), before[8]);
        }
    }

    #[test]
    fn a_bridge_that_leads_to_the_last_of_many_windows_stays() {
        for count in [8, 9, 11] {
            let windows = with_windows(count);
            let mut machine = Machine::empty();
            let bridge = machine.add_bridge(Err(0), 8, [1, 1]);
            machine.functions[bridge].registers[8] = 0x1000 * count * 0x1_0001;
            machine.add_gpu(Ok(bridge), 0);
            let (_, path, _) = gpus(&mut machine, BusNumbers::Keep);
            let result = Allocator::new(&windows).assign(&mut machine, at(1, 0, 0), &path);
            assert_eq!(result, Err(AssignError::Bridge(at(0, 1, 0))));
        }
    }

    #[test]
    fn a_bridge_that_forwards_something_stays() {
        // The bridge's memory registers 0x20 and 0x24, the upper halves of a prefetchable base and
        // limit, and whether that is in one of the windows.
        for (memory, prefetchable, base, limit, is_kept) in [
            (0x1000_1000, 0, 0, 0, true),
            (0x1010_1000, 0, 0, 0, true),
            // The base is above the limit.
            (0x1000_1010, 0, 0, 0, false),
            // There is no window.
            (0x0ff0_0ff0, 0, 0, 0, false),
            (0x3f00_3f00, 0, 0, 0, false),
            (0, 0x1000_1000, 0, 0, true),
            (0, 0x0001_0001, 0x80, 0x80, true),
            (0, 0xfff1_fff1, 0xff, 0xff, true),
            (0, 0x0001_fff1, 0x80, 0x81, true),
            (0, 0xfff1_0001, 0x81, 0x80, false),
            (0, 0x0001_0001, 0x7f, 0x80, false),
            (0, 0x0001_0001, 0x100, 0x100, false),
            // The bridge has no upper halves.
            (0, 0x0010_0010, 0x80, 0x80, false),
            (0, 0x1000_1000, 0x81, 0x80, true),
            // Memory that is not prefetchable has no upper halves, either.
            (0x0011_0011, 0, 0x80, 0x80, false),
        ] {
            let mut machine = Machine::empty();
            let bridge = machine.add_bridge(Err(0), 8, [1, 1]);
            machine.add_gpu(Ok(bridge), 0);
            machine.functions[bridge].registers[8] = memory;
            machine.functions[bridge].registers[9] = prefetchable;
            machine.functions[bridge].registers[10] = base;
            machine.functions[bridge].registers[11] = limit;
            let (_, path, _) = gpus(&mut machine, BusNumbers::Keep);
            let windows = windows();
            let result = Allocator::new(&windows).assign(&mut machine, at(1, 0, 0), &path);
            let expected = match is_kept {
                true => Err(AssignError::Bridge(at(0, 1, 0))),
                false => Ok(2),
            };
            assert_eq!(result, expected);
        }
    }

    #[test]
    fn a_window_that_begins_at_zero() {
        let window = |size| {
            let mut windows = Windows::default();
            assert!(windows.push(Window {
                pci: 0,
                cpu: 0x8000_0000,
                size,
                ..Window::default()
            }));
            windows
        };
        // On the host bridge's bus, and behind a bridge in its reset state.
        let mut machine = Machine::empty();
        machine.add_gpu(Err(0), 8);
        let bridge = machine.add_bridge(Err(0), 0x10, [1, 1]);
        machine.functions[bridge].registers[8] = 0;
        machine.functions[bridge].registers[9] = 0x1_0001;
        let behind = machine.add_gpu(Ok(bridge), 0);
        let (_, path, _) = gpus(&mut machine, BusNumbers::Keep);
        let windows = window(0x100_0000);
        let mut allocator = Allocator::new(&windows);
        let result = allocator.assign(&mut machine, at(0, 1, 0), &Path::new());
        assert_eq!(result, Ok(2));
        assert_eq!(machine.register(0, 8), 0xff_800c);
        assert_eq!(machine.register(0, 5), 0xff_c000);
        let result = allocator.assign(&mut machine, at(1, 0, 0), &path);
        assert_eq!(result, Ok(2));
        assert_eq!(machine.register(behind, 8), 0xe0_000c);
        assert_eq!(machine.register(bridge, 8), 0x00e0_00e0);
        // A BAR at zero would count as one without an address.
        machine.functions[0].registers[8] = 0xc;
        machine.functions[0].registers[5] = 0;
        for (size, expected) in [
            (0x7fff, Err(AssignError::Window(0x5000))),
            (0x9000, Ok((0x400c, 0x8000))),
        ] {
            let windows = window(size);
            let result = Allocator::new(&windows).assign(&mut machine, at(0, 1, 0), &Path::new());
            let bars = result.map(|_| (machine.register(0, 8), machine.register(0, 5)));
            assert_eq!(bars, expected);
        }
    }

    #[test]
    fn invalid_windows() {
        let mut windows = Windows::default();
        assert_eq!(windows.cpu_address(0x1234_5000, 0x1000), Some(0x1234_5000));
        assert_eq!(windows.cpu_address(u64::MAX, 2), None);
        let good = Window {
            pci: 0x1000,
            cpu: 0x2000,
            size: 0x1000,
            ..Window::default()
        };
        assert!(!windows.push(Window { size: 0, ..good }));
        assert!(!windows.push(Window {
            pci: u64::MAX,
            ..good
        }));
        assert!(!windows.push(Window {
            cpu: u64::MAX,
            ..good
        }));
        for _ in 0..Windows::MAX {
            assert!(windows.push(good));
        }
        assert!(!windows.push(good));
        assert_eq!(windows.as_slice().len(), Windows::MAX);
    }

    #[test]
    fn addresses_as_text() {
        assert_eq!("40:1f.7".parse::<Address>(), Ok(at(0x40, 31, 7)));
        assert_eq!("0:1.0".parse::<Address>(), Ok(at(0, 1, 0)));
        for text in [
            "",
            "1",
            "00:20.0",
            "00:00.8",
            "100:00.0",
            "+0:00.0",
            "00:01.0 ",
            "0000:00:01.0",
        ] {
            assert_eq!(text.parse::<Address>(), Err(BadAddress));
        }
        assert!(Address::new(0, 32, 0).is_none());
        assert!(Address::new(0, 0, 8).is_none());
    }

    #[test]
    fn options_of_the_user() {
        let address = DeviceAddress {
            ecam: 0x40_1000_0000,
            function: at(0, 1, 0),
        };
        assert_eq!(
            DeviceAddress::parse(b"pci,0x4010000000,00:01.0"),
            Ok(address)
        );
        assert_eq!(DeviceAddress::parse(b"pci,4010000000,0:1.0"), Ok(address));
        for (options, why) in [
            (&b""[..], BadOptions::Kind),
            (b"mmio32,0x1000", BadOptions::Kind),
            (b"\xff,0,0", BadOptions::Kind),
            (b"pci", BadOptions::Base),
            (b"pci,", BadOptions::Base),
            (b"pci,0x,00:01.0", BadOptions::Base),
            (b"pci,-1,00:01.0", BadOptions::Base),
            (b"pci,0x+1,00:01.0", BadOptions::Base),
            (b"pci,10000000000000000,00:01.0", BadOptions::Base),
            (
                b"pci,0x4010001000,00:01.0",
                BadOptions::Unaligned(0x40_1000_1000),
            ),
            (b"pci,0x4010000000", BadOptions::Function(BadAddress)),
            (b"pci,0x4010000000,00:01", BadOptions::Function(BadAddress)),
            (b"pci,0x4010000000,\xff", BadOptions::Function(BadAddress)),
            (b"pci,0x4010000000,00:01.0,", BadOptions::Trailing),
            (b"pci,0x4010000000,00:01.0,x", BadOptions::Trailing),
        ] {
            assert_eq!(DeviceAddress::parse(options), Err(why));
        }
    }
}
