// SPDX-License-Identifier: GPL-2.0

//! A virtio-gpu device with one scanout, as strict as QEMU's (`hw/display/virtio-gpu.c`).
//!
//! What a person at the screen sees changes with RESOURCE_FLUSH alone, and within its rectangle.

use std::collections::HashMap;

use crate::{
    device::Backend,
    guest::Memory,
    wire::*, //
};

/// QEMU's default for `max_hostmem`.
const HOST_MEMORY: u64 = 256 << 20;
/// The most entries that QEMU takes.
const ENTRIES: usize = 16384;

/// Who keeps the pictures, and how transfers are understood.
pub(crate) trait Pictures {
    /// Makes a black picture.
    fn create(&mut self, id: u32, width: u32, height: u32);
    /// Forgets a picture.
    fn unref(&mut self, id: u32);
    /// Puts guest memory behind a picture: addresses and lengths.
    fn attach(&mut self, memory: &Memory, id: u32, entries: &[(u64, u32)]) -> bool;
    /// Copies from that memory.
    fn transfer(&mut self, memory: &Memory, id: u32, area: Area, offset: u64) -> bool;
    /// The pixels of a part of a picture, as little-endian B8G8R8X8.
    fn read(&mut self, id: u32, area: Area) -> Vec<u32>;
}

/// The device.
pub(crate) struct Host<P> {
    pictures: P,
    sizes: HashMap<u32, (u32, u32)>,
    backed: Vec<u32>,
    mode: (u32, u32),
    scanout: Option<(u32, Area)>,
    shown: Vec<u32>,
    /// What was wrong with commands that were refused.
    pub(crate) complaints: Vec<String>,
    /// So many commands more, and all are refused.
    pub(crate) patience: Option<usize>,
}

impl<P: Pictures> Host<P> {
    /// A device whose only scanout is of this size.
    pub(crate) fn new(pictures: P, width: u32, height: u32) -> Self {
        Self {
            pictures,
            sizes: HashMap::new(),
            backed: Vec::new(),
            mode: (width, height),
            scanout: None,
            shown: Vec::new(),
            complaints: Vec::new(),
            patience: None,
        }
    }

    /// What is on the screen, row by row; nothing while there is no scanout.
    pub(crate) fn shown(&self) -> &[u32] {
        &self.shown
    }

    /// Which rectangle of its resource the scanout shows.
    pub(crate) fn scanout(&self) -> Option<Area> {
        self.scanout.map(|(_, area)| area)
    }

    fn size(&self, id: u32) -> Result<(u32, u32), u32> {
        self.sizes.get(&id).copied().ok_or(ERR_INVALID_RESOURCE_ID)
    }

    fn within(&self, id: u32, area: Area) -> Result<(), u32> {
        let (width, height) = self.size(id)?;
        if area.is_within(width, height) {
            Ok(())
        } else {
            Err(ERR_INVALID_PARAMETER)
        }
    }

    fn run(&mut self, memory: &Memory, request: Request) -> Result<(), u32> {
        match request {
            Request::GetDisplayInfo => {}
            Request::Create {
                id,
                format,
                width,
                height,
            } => {
                if id == 0 || self.sizes.contains_key(&id) {
                    return Err(ERR_INVALID_RESOURCE_ID);
                }
                // B8G8R8X8: the only one that is used here.
                if format != 2 || width == 0 || height == 0 {
                    return Err(ERR_INVALID_PARAMETER);
                }
                let bytes =
                    |(width, height): &(u32, u32)| 4 * u64::from(*width) * u64::from(*height);
                let all: u64 = self.sizes.values().map(bytes).sum();
                if all + bytes(&(width, height)) >= HOST_MEMORY {
                    return Err(ERR_OUT_OF_MEMORY);
                }
                self.sizes.insert(id, (width, height));
                self.pictures.create(id, width, height);
            }
            Request::Unref { id } => {
                self.size(id)?;
                self.sizes.remove(&id);
                self.backed.retain(|&backed| backed != id);
                self.pictures.unref(id);
            }
            Request::Attach { id, entries } => {
                self.size(id)?;
                let inside = |&(address, length): &(u64, u32)| {
                    use vm_memory::{
                        GuestAddress,
                        GuestMemoryBackend, //
                    };
                    let length = usize::try_from(length).unwrap();
                    memory.check_range(GuestAddress(address), length)
                };
                let right = entries.len() <= ENTRIES && entries.iter().all(inside);
                if !right
                    || self.backed.contains(&id)
                    || !self.pictures.attach(memory, id, &entries)
                {
                    return Err(ERR_UNSPEC);
                }
                self.backed.push(id);
            }
            Request::Transfer { area, offset, id } => {
                self.within(id, area)?;
                if !self.backed.contains(&id) || !self.pictures.transfer(memory, id, area, offset) {
                    return Err(ERR_UNSPEC);
                }
            }
            Request::SetScanout { area, scanout, id } => {
                if scanout != 0 {
                    return Err(ERR_INVALID_SCANOUT_ID);
                }
                self.within(id, area)?;
                if area.width < 16 || area.height < 16 {
                    return Err(ERR_INVALID_PARAMETER);
                }
                let pixels = area.width as usize * area.height as usize;
                // Pixels that nobody has flushed yet show up in a comparison.
                self.shown.resize(pixels, 0xdead_beef);
                self.scanout = Some((id, area));
            }
            Request::Flush { area, id } => {
                self.within(id, area)?;
                let Some((shown, window)) = self.scanout.filter(|(shown, _)| *shown == id) else {
                    return Ok(());
                };
                let area = area.common(&window);
                if area.width == 0 || area.height == 0 {
                    return Ok(());
                }
                let pixels = self.pictures.read(shown, area);
                let width = window.width as usize;
                let below = (area.y - window.y) as usize * width + (area.x - window.x) as usize;
                let rows = self.shown[below..].chunks_mut(width);
                for (to, from) in rows.zip(pixels.chunks(area.width as usize)) {
                    to[..from.len()].copy_from_slice(from);
                }
            }
        }
        Ok(())
    }

    fn display_info(&self) -> Vec<u8> {
        let mut words = vec![0; (24 + 16 * 24) / 4];
        (words[0], words[8], words[9], words[10]) = (OK_DISPLAY_INFO, self.mode.0, self.mode.1, 1);
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

impl<P: Pictures> Backend for Host<P> {
    fn execute(&mut self, memory: &Memory, bytes: &[u8]) -> Vec<u8> {
        let request = Request::parse(bytes);
        if let Some(Request::GetDisplayInfo) = request {
            return self.display_info();
        }
        let text = format!("{request:x?}");
        let result = match (request, &mut self.patience) {
            (_, Some(0)) => Err(ERR_UNSPEC),
            (None, _) => Err(ERR_UNSPEC),
            (Some(request), patience) => {
                if let Some(patience) = patience {
                    *patience -= 1;
                }
                self.run(memory, request)
            }
        };
        let answer = match result {
            Ok(()) => OK_NODATA,
            Err(error) => {
                self.complaints.push(format!("{error:#x} for {text:.200}"));
                error
            }
        };
        let mut response = vec![0; 24];
        response[..4].copy_from_slice(&answer.to_le_bytes());
        response
    }
}
