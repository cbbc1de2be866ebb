// SPDX-License-Identifier: GPL-2.0

//! A virtio-gpu device with some scanouts, as strict as QEMU's (`hw/display/virtio-gpu.c`).
//!
//! What a person at the screen sees changes with RESOURCE_FLUSH alone, and within its rectangle.

use std::collections::HashMap;

use crate::{
    backend::Backend,
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

/// What a device does otherwise than QEMU's 2D device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ways {
    /// A scanout shows all of a resource, whatever SET_SCANOUT's rectangle (QEMU with OpenGL,
    /// libkrun, crosvm), and takes rectangles of any size.
    pub(crate) whole: bool,
    /// A flush is answered, and nothing else, until the device is idle again (crosvm).
    pub(crate) skips_flushes: bool,
    /// A resource that is shown cannot be forgotten (libkrun).
    pub(crate) keeps_shown: bool,
    /// A flush reaches the scanout that the resource was set on last, and no other (QEMU's
    /// rutabaga).
    pub(crate) one_scanout: bool,
}

/// A scanout.
#[derive(Clone, Default)]
struct Head {
    /// Its size, if it is enabled.
    mode: Option<(u32, u32)>,
    shows: Option<(u32, Area)>,
    shown: Vec<u32>,
}

/// The device.
pub(crate) struct Host<P> {
    pictures: P,
    sizes: HashMap<u32, (u32, u32)>,
    backed: Vec<u32>,
    heads: Vec<Head>,
    /// What was wrong with commands that were refused.
    pub(crate) complaints: Vec<String>,
    /// So many commands more, and all are refused.
    pub(crate) patience: Option<usize>,
    /// What it does otherwise.
    pub(crate) ways: Ways,
    /// Resources of which a flush was made visible since the device was idle.
    busy: Vec<u32>,
    /// The scanout that each resource was set on last.
    set_on: HashMap<u32, usize>,
}

impl<P: Pictures> Host<P> {
    /// A device of 16 scanouts, with those enabled that have a size.
    pub(crate) fn new(pictures: P, modes: &[(u32, u32)]) -> Self {
        let mut heads = vec![Head::default(); 16];
        for (head, &(width, height)) in heads.iter_mut().zip(modes) {
            head.mode = (width != 0).then_some((width, height));
        }
        Self {
            pictures,
            sizes: HashMap::new(),
            backed: Vec::new(),
            heads,
            complaints: Vec::new(),
            patience: None,
            ways: Ways::default(),
            busy: Vec::new(),
            set_on: HashMap::new(),
        }
    }

    /// Time passes: who looks at the picture has looked.
    pub(crate) fn idle(&mut self) {
        self.busy.clear();
    }

    /// What is on a scanout, row by row; nothing while it has no resource.
    pub(crate) fn shown(&self, scanout: usize) -> &[u32] {
        &self.heads[scanout].shown
    }

    /// Which rectangle of its resource a scanout shows.
    pub(crate) fn scanout(&self, scanout: usize) -> Option<Area> {
        self.heads[scanout].shows.map(|(_, area)| area)
    }

    /// The resources there are.
    pub(crate) fn resources(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.sizes.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Plugs, unplugs or resizes the display behind a scanout.
    pub(crate) fn set_mode(&mut self, scanout: usize, mode: Option<(u32, u32)>) {
        self.heads[scanout].mode = mode;
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
                let is_shown = |head: &Head| head.shows.is_some_and(|(shown, _)| shown == id);
                if self.ways.keeps_shown && self.heads.iter().any(is_shown) {
                    return Err(ERR_UNSPEC);
                }
                self.sizes.remove(&id);
                self.backed.retain(|&backed| backed != id);
                self.pictures.unref(id);
                for head in &mut self.heads {
                    if head.shows.is_some_and(|(shown, _)| shown == id) {
                        (head.shows, head.shown) = (None, Vec::new());
                    }
                }
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
                let at = scanout as usize;
                if at >= self.heads.len() {
                    return Err(ERR_INVALID_SCANOUT_ID);
                }
                if id == 0 {
                    // As some do.
                    if at == 0 {
                        return Err(ERR_INVALID_SCANOUT_ID);
                    }
                    (self.heads[at].shows, self.heads[at].shown) = (None, Vec::new());
                    return Ok(());
                }
                self.within(id, area)?;
                let area = if self.ways.whole {
                    let (width, height) = self.size(id)?;
                    Area {
                        x: 0,
                        y: 0,
                        width,
                        height,
                    }
                } else if !self.backed.contains(&id) {
                    return Err(ERR_UNSPEC);
                } else if area.width < 16 || area.height < 16 {
                    return Err(ERR_INVALID_PARAMETER);
                } else {
                    area
                };
                self.set_on.insert(id, at);
                let pixels = area.width as usize * area.height as usize;
                // Pixels that nobody has flushed yet show up in a comparison.
                let head = &mut self.heads[at];
                if head.shows.is_none_or(|(_, before)| {
                    (before.width, before.height) != (area.width, area.height)
                }) {
                    head.shown.clear();
                }
                head.shown.resize(pixels, 0xdead_beef);
                head.shows = Some((id, area));
            }
            Request::Flush { area, id } => {
                self.within(id, area)?;
                if self.ways.skips_flushes {
                    if self.busy.contains(&id) {
                        return Ok(());
                    }
                    self.busy.push(id);
                }
                for (at, head) in self.heads.iter_mut().enumerate() {
                    if self.ways.one_scanout && self.set_on.get(&id) != Some(&at) {
                        continue;
                    }
                    let Some((_, window)) = head.shows.filter(|(shown, _)| *shown == id) else {
                        continue;
                    };
                    let area = area.common(&window);
                    if area.width == 0 || area.height == 0 {
                        continue;
                    }
                    let pixels = self.pictures.read(id, area);
                    let width = window.width as usize;
                    let below = (area.y - window.y) as usize * width + (area.x - window.x) as usize;
                    let rows = head.shown[below..].chunks_mut(width);
                    for (to, from) in rows.zip(pixels.chunks(area.width as usize)) {
                        to[..from.len()].copy_from_slice(from);
                    }
                }
            }
        }
        Ok(())
    }

    fn display_info(&self) -> Vec<u8> {
        let mut words = vec![0; (24 + 16 * 24) / 4];
        words[0] = OK_DISPLAY_INFO;
        for (words, head) in words[6..].chunks_exact_mut(6).zip(&self.heads) {
            if let Some((width, height)) = head.mode {
                (words[2], words[3], words[4]) = (width, height, 1);
            }
        }
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
