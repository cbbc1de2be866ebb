// SPDX-License-Identifier: GPL-2.0

//! Resources of `rutabaga_gfx`'s 2D device, which crosvm and rust-vmm use. It adds the position of
//! the rectangle to a transfer's `offset`.

use std::{
    ffi::c_void,
    io::IoSliceMut, //
};

use rutabaga_gfx::{
    ResourceCreate3D,
    Rutabaga,
    RutabagaBuilder,
    RutabagaComponentType,
    RutabagaFenceHandler,
    RutabagaIovec,
    Transfer3D, //
};
use vm_memory::{
    GuestAddress,
    GuestMemoryBackend, //
};

use crate::{
    guest::Memory,
    host::Pictures,
    wire::Area, //
};

/// All resources of a device.
pub(crate) struct Crosvm(Rutabaga);

impl Crosvm {
    /// Returns a new device.
    pub(crate) fn new() -> Self {
        let builder = RutabagaBuilder::new(0, RutabagaFenceHandler::new(|_| ()))
            .set_default_component(RutabagaComponentType::Rutabaga2D);
        Self(builder.build().unwrap())
    }
}

impl Pictures for Crosvm {
    fn create(&mut self, id: u32, width: u32, height: u32) {
        // crosvm sets these for RESOURCE_CREATE_2D: a texture that is a render target.
        let create = ResourceCreate3D {
            target: 2,
            format: 2,
            bind: 2,
            width,
            height,
            depth: 1,
            array_size: 1,
            last_level: 0,
            nr_samples: 0,
            flags: 0,
        };
        self.0.resource_create_3d(id, create).unwrap();
    }

    fn unref(&mut self, id: u32) {
        self.0.unref_resource(id).unwrap();
    }

    fn attach(&mut self, memory: &Memory, id: u32, entries: &[(u64, u32)]) -> bool {
        let iovec = |&(address, length): &(u64, u32)| RutabagaIovec {
            base: memory
                .get_host_address(GuestAddress(address))
                .unwrap()
                .cast::<c_void>(),
            len: length as usize,
        };
        self.0
            .attach_backing(id, entries.iter().map(iovec).collect())
            .is_ok()
    }

    fn transfer(&mut self, _: &Memory, id: u32, area: Area, offset: u64) -> bool {
        let transfer = Transfer3D::new_2d(area.x, area.y, area.width, area.height, offset);
        self.0.transfer_write(0, id, transfer, None).is_ok()
    }

    fn read(&mut self, id: u32, area: Area) -> Vec<u32> {
        // The rectangle is copied to its own position, in a picture that is just large enough.
        let stride = area.x + area.width;
        let mut transfer = Transfer3D::new_2d(area.x, area.y, area.width, area.height, 0);
        transfer.stride = 4 * stride;
        let mut bytes = vec![0; transfer.stride as usize * (area.y + area.height) as usize];
        self.0
            .transfer_read(0, id, transfer, Some(IoSliceMut::new(&mut bytes)))
            .unwrap();
        bytes
            .chunks_exact(4 * stride as usize)
            .skip(area.y as usize)
            .flat_map(|row| row.chunks_exact(4).skip(area.x as usize))
            .map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()))
            .collect()
    }
}
