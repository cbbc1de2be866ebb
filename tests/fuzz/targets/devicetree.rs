// SPDX-License-Identifier: GPL-2.0

//! The flattened devicetree. An input is a tree, header and all.

use super::bytes::is_a_line;
use crate::firmware::fdt::{
    Error,
    Tree, //
};

pub(super) fn run(input: &[u8]) -> bool {
    let size = Tree::total_size(input);
    let tree = match Tree::new(input) {
        Ok(tree) => tree,
        Err(why) => {
            is_a_line(why);
            return false;
        }
    };
    assert!(size.is_ok_and(|size| size <= input.len()));
    if let Err(why) = tree.chosen() {
        is_a_line(why);
    }
    // A node takes 8 bytes at least; one error more may be reported.
    let most = input.len() / 8 + 2;
    let mut found = 0;
    for bridge in tree.host_bridges() {
        found += 1;
        assert!(found <= most, "host bridges without end");
        let bridge = match bridge {
            Ok(bridge) => bridge,
            Err(why) => {
                is_a_line(why);
                continue;
            }
        };
        let ecam = bridge.ecam;
        let buses = u64::from(ecam.last_bus.checked_sub(ecam.first_bus).unwrap()) + 1;
        assert!(ecam.base.checked_add(buses * (1 << 20) - 1).is_some());
        for window in bridge.windows.as_slice() {
            assert!(window.size != 0);
            assert!(window.pci.checked_add(window.size).is_some());
            assert!(window.cpu.checked_add(window.size).is_some());
            assert!(bridge
                .windows
                .cpu_address(window.pci, window.size)
                .is_some());
        }
    }
    let bridges = found;
    for slot in tree.mmio_nodes() {
        found += 1;
        assert!(found <= bridges + most, "slots without end");
        match slot {
            Ok(slot) => {
                assert!(slot.size != 0 && slot.base.checked_add(slot.size).is_some());
            }
            Err(why @ Error::Ecam { .. }) => panic!("a slot with {why}"),
            Err(why) => is_a_line(why),
        }
    }
    found > 0
        || tree
            .chosen()
            .is_ok_and(|chosen| chosen.system_table.is_some())
}

/// Builds trees.
struct Writer {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn new() -> Self {
        Self {
            structure: Vec::new(),
            strings: Vec::new(),
        }
    }

    fn words(mut self, words: &[u32]) -> Self {
        let words = words.iter().flat_map(|word| word.to_be_bytes());
        self.structure.extend(words);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.structure.extend(bytes);
        let length = self.structure.len().next_multiple_of(4);
        self.structure.resize(length, 0);
        self
    }

    fn begin(self, name: &str) -> Self {
        self.words(&[1]).bytes(format!("{name}\0").as_bytes())
    }

    fn end(self) -> Self {
        self.words(&[2])
    }

    fn property(mut self, name: &str, value: &[u8]) -> Self {
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.words(&[3, value.len() as u32, at]).bytes(value)
    }

    fn cells(self, name: &str, value: &[u32]) -> Self {
        let value: Vec<u8> = value.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.property(name, &value)
    }

    /// Adds a host bridge of 16 buses with a window of each kind.
    fn bridge(self) -> Self {
        self.begin("pcie@10000000")
            .property("compatible", b"pci-host-ecam-generic\0")
            .cells("#address-cells", &[3])
            .cells("#size-cells", &[2])
            .cells("reg", &[0x40, 0x1000_0000, 0, 0x100_0000])
            .cells("bus-range", &[0, 0xf])
            .cells("linux,pci-domain", &[1])
            .cells(
                "ranges",
                &[
                    0x0100_0000,
                    0,
                    0,
                    0,
                    0x3eff_0000,
                    0,
                    0x1_0000, //
                    0x0200_0000,
                    0,
                    0x1000_0000,
                    0,
                    0x1000_0000,
                    0,
                    0x2eff_0000, //
                    0x4300_0000,
                    0x80,
                    0,
                    0x80,
                    0,
                    0x80,
                    0,
                ],
            )
            .property("dma-coherent", b"")
            .end()
    }

    fn blob(self) -> Vec<u8> {
        let Self { structure, strings } = self.words(&[9]);
        let start = 40;
        let sizes = [structure.len(), strings.len()].map(|size| size as u32);
        let [structure_size, strings_size] = sizes;
        let header = [
            0xd00d_feed,
            start + structure_size + strings_size,
            start,
            start + structure_size,
            start,
            17,
            16,
            0,
            strings_size,
            structure_size,
        ];
        let header = header.map(u32::to_be_bytes).concat();
        [header, structure, strings].concat()
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let root = || {
        Writer::new()
            .begin("")
            .cells("#address-cells", &[2])
            .cells("#size-cells", &[2])
    };
    let chosen = root()
        .begin("chosen")
        .cells("linux,uefi-system-table", &[0, 0x4ffd_0018])
        .cells("linux,uefi-mmap-start", &[0, 0x4fff_0000])
        .cells("linux,uefi-mmap-size", &[0x60])
        .cells("linux,uefi-mmap-desc-size", &[0x30])
        .cells("linux,uefi-mmap-desc-ver", &[1])
        .end()
        .end();
    let behind_a_bus = root()
        .begin("soc")
        .cells("#address-cells", &[2])
        .cells("#size-cells", &[2])
        .cells("ranges", &[0x40, 0, 0x50, 0, 0x1, 0])
        .words(&[4])
        .bridge()
        .end()
        .end();
    let slot = |status: &[u8]| {
        root()
            .begin("virtio_mmio@a000000")
            .property("compatible", b"virtio,mmio\0")
            .cells("reg", &[0, 0xa00_0000, 0, 0x200])
            .property("status", status)
            .end()
            .bridge()
            .end()
    };
    [
        chosen,
        root().bridge().end(),
        behind_a_bus,
        slot(b"okay\0"),
        slot(b"disabled\0"),
    ]
    .map(Writer::blob)
    .into()
}
