// SPDX-License-Identifier: GPL-2.0

//! Resources as QEMU stores them: a transfer's `offset` is the position of the rectangle's first
//! row in the backing store (`virtio_gpu_transfer_to_host_2d()`, `iov_to_buf()`). Alternatively as
//! libkrun and QEMU's `virtio-gpu-rutabaga` do, which ignore `offset`: the rectangle has the same
//! position in the backing store as in the resource.

use std::collections::HashMap;

use vm_memory::{
    Bytes,
    GuestAddress, //
};

use crate::{
    guest::Memory,
    host::Pictures,
    wire::Area, //
};

struct Picture {
    width: u32,
    bytes: Vec<u8>,
    backing: Vec<(u64, u32)>,
}

/// All resources of a device.
#[derive(Default)]
pub(crate) struct Qemu {
    pictures: HashMap<u32, Picture>,
    ignores_offset: bool,
}

impl Qemu {
    /// Returns the resources of a device that ignores `offset`.
    pub(crate) fn without_offset() -> Self {
        Self {
            ignores_offset: true,
            ..Self::default()
        }
    }
}

impl Picture {
    /// Copies from the backing store as much as there is. Returns whether there was enough.
    fn fetch(&mut self, memory: &Memory, from: u32, to: usize, length: usize) -> bool {
        let mut into = &mut self.bytes[to..to + length];
        let mut skip = u64::from(from);
        for &(address, length) in &self.backing {
            if let Some(rest) = u64::from(length)
                .checked_sub(skip)
                .filter(|&rest| rest != 0)
            {
                let count = into.len().min(rest.try_into().unwrap());
                let (now, later) = into.split_at_mut(count);
                memory
                    .read_slice(now, GuestAddress(address + skip))
                    .unwrap();
                into = later;
                skip = 0;
            } else {
                skip -= u64::from(length);
            }
            if into.is_empty() {
                return true;
            }
        }
        false
    }
}

impl Pictures for Qemu {
    fn create(&mut self, id: u32, width: u32, height: u32) {
        let picture = Picture {
            width,
            // Not black: a driver has to clear what it shows.
            bytes: vec![0xa5; 4 * width as usize * height as usize],
            backing: Vec::new(),
        };
        self.pictures.insert(id, picture);
    }

    fn unref(&mut self, id: u32) {
        self.pictures.remove(&id);
    }

    fn attach(&mut self, _: &Memory, id: u32, entries: &[(u64, u32)]) -> bool {
        self.pictures.get_mut(&id).unwrap().backing = entries.to_vec();
        true
    }

    fn transfer(&mut self, memory: &Memory, id: u32, area: Area, offset: u64) -> bool {
        let ignores_offset = self.ignores_offset;
        let picture = self.pictures.get_mut(&id).unwrap();
        let stride = 4 * picture.width;
        if ignores_offset {
            return (area.y..area.y + area.height).all(|y| {
                let at = stride * y + 4 * area.x;
                picture.fetch(memory, at, at as usize, 4 * area.width as usize)
            });
        }
        if offset == 0 && area.x == 0 && area.y == 0 && area.width == picture.width {
            // The height is ignored.
            let all = picture.bytes.len();
            picture.fetch(memory, 0, 0, all);
            return true;
        }
        (0..area.height).all(|row| {
            // Sums of 32 bits, as in QEMU.
            let from = (offset as u32).wrapping_add(stride.wrapping_mul(row));
            let to = (area.y + row) * stride + 4 * area.x;
            picture.fetch(memory, from, to as usize, 4 * area.width as usize)
        })
    }

    fn read(&mut self, id: u32, area: Area) -> Vec<u32> {
        let picture = &self.pictures[&id];
        let words = |row: &[u8]| -> Vec<u32> {
            row.chunks_exact(4)
                .map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()))
                .collect()
        };
        (area.y..area.y + area.height)
            .flat_map(|y| {
                let start = 4 * (y as usize * picture.width as usize + area.x as usize);
                words(&picture.bytes[start..start + 4 * area.width as usize])
            })
            .collect()
    }
}
