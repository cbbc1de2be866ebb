// SPDX-License-Identifier: GPL-2.0

//! A virtio-gpu device with several scanouts, as strict as QEMU's (`hw/display/virtio-gpu.c`).
//!
//! The visible picture only changes with RESOURCE_FLUSH, and within its rectangle.

use std::collections::HashMap;

use crate::{
    backend::Backend,
    guest::Memory,
    wire::*, //
};

/// QEMU's default for `max_hostmem`.
const HOST_MEMORY: u64 = 256 << 20;
/// The maximum number of entries that QEMU accepts.
const ENTRIES: usize = 16384;

/// Stores the resources' pixels and executes transfers.
pub(crate) trait Pictures {
    /// Makes a resource. Its pixels are those that the device gives a new one.
    fn create(&mut self, id: u32, width: u32, height: u32);
    /// Deletes a resource.
    fn unref(&mut self, id: u32);
    /// Attaches guest memory to a resource: addresses and lengths.
    fn attach(&mut self, memory: &Memory, id: u32, entries: &[(u64, u32)]) -> bool;
    /// Copies from that memory.
    fn transfer(&mut self, memory: &Memory, id: u32, area: Area, offset: u64) -> bool;
    /// Returns the pixels of a part of a resource, as little-endian B8G8R8X8.
    fn read(&mut self, id: u32, area: Area) -> Vec<u32>;
}

/// The differences of a device from QEMU's 2D device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Differences {
    /// A scanout shows all of a resource, whatever SET_SCANOUT's rectangle (QEMU with OpenGL,
    /// libkrun, crosvm), and takes rectangles of any size.
    pub(crate) whole: bool,
    /// A flush is answered, but not executed, until the device is idle again (crosvm).
    pub(crate) skips_flushes: bool,
    /// A resource on a scanout cannot be deleted (libkrun).
    pub(crate) keeps_shown: bool,
    /// A flush only reaches the last scanout that the resource was set on (QEMU's rutabaga).
    pub(crate) one_scanout: bool,
}

/// A scanout.
#[derive(Clone, Default)]
struct Scanout {
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
    scanouts: Vec<Scanout>,
    /// The error and the text of each command that was rejected.
    pub(crate) rejections: Vec<String>,
    /// The number of commands after which all are rejected.
    pub(crate) commands_left: Option<usize>,
    /// The differences from QEMU's 2D device.
    pub(crate) differences: Differences,
    /// The response to GET_EDID, if it is not the one with [`edid`].
    pub(crate) edid_response: Option<Vec<u8>>,
    /// The scanouts for which GET_EDID was sent.
    pub(crate) edid_requests: Vec<u32>,
    /// The resources that were flushed since the device was idle.
    busy: Vec<u32>,
    /// The last scanout that each resource was set on.
    set_on: HashMap<u32, usize>,
}

impl<P: Pictures> Host<P> {
    /// Returns a device of 16 scanouts; those with a size are enabled.
    pub(crate) fn new(pictures: P, modes: &[(u32, u32)]) -> Self {
        let mut scanouts = vec![Scanout::default(); 16];
        for (scanout, &(width, height)) in scanouts.iter_mut().zip(modes) {
            scanout.mode = (width != 0).then_some((width, height));
        }
        Self {
            pictures,
            sizes: HashMap::new(),
            backed: Vec::new(),
            scanouts,
            rejections: Vec::new(),
            commands_left: None,
            differences: Differences::default(),
            edid_response: None,
            edid_requests: Vec::new(),
            busy: Vec::new(),
            set_on: HashMap::new(),
        }
    }

    /// Marks the device as idle: it executes the next flush of every resource.
    pub(crate) fn idle(&mut self) {
        self.busy.clear();
    }

    /// Returns the visible pixels of a scanout, row by row; none while it has no resource.
    pub(crate) fn shown(&self, scanout: usize) -> &[u32] {
        &self.scanouts[scanout].shown
    }

    /// Returns the rectangle of its resource that a scanout shows.
    pub(crate) fn scanout(&self, scanout: usize) -> Option<Area> {
        self.scanouts[scanout].shows.map(|(_, area)| area)
    }

    /// Returns the IDs of all resources.
    pub(crate) fn resources(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self.sizes.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Connects, disconnects or resizes the display of a scanout.
    pub(crate) fn set_mode(&mut self, scanout: usize, mode: Option<(u32, u32)>) {
        self.scanouts[scanout].mode = mode;
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
            Request::GetDisplayInfo | Request::GetEdid { .. } => {}
            Request::Create {
                id,
                format,
                width,
                height,
            } => {
                if id == 0 || self.sizes.contains_key(&id) {
                    return Err(ERR_INVALID_RESOURCE_ID);
                }
                // B8G8R8X8: the only format that the driver uses.
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
                let is_shown =
                    |scanout: &Scanout| scanout.shows.is_some_and(|(shown, _)| shown == id);
                if self.differences.keeps_shown && self.scanouts.iter().any(is_shown) {
                    return Err(ERR_UNSPEC);
                }
                self.sizes.remove(&id);
                self.backed.retain(|&backed| backed != id);
                self.pictures.unref(id);
                for scanout in &mut self.scanouts {
                    if scanout.shows.is_some_and(|(shown, _)| shown == id) {
                        (scanout.shows, scanout.shown) = (None, Vec::new());
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
                if at >= self.scanouts.len() {
                    return Err(ERR_INVALID_SCANOUT_ID);
                }
                if id == 0 {
                    // Some devices reject this for scanout 0.
                    if at == 0 {
                        return Err(ERR_INVALID_SCANOUT_ID);
                    }
                    (self.scanouts[at].shows, self.scanouts[at].shown) = (None, Vec::new());
                    return Ok(());
                }
                self.within(id, area)?;
                let area = if self.differences.whole {
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
                // Pixels that were never flushed show up in a comparison.
                let scanout = &mut self.scanouts[at];
                if scanout.shows.is_none_or(|(_, before)| {
                    (before.width, before.height) != (area.width, area.height)
                }) {
                    scanout.shown.clear();
                }
                scanout.shown.resize(pixels, 0xdead_beef);
                scanout.shows = Some((id, area));
            }
            Request::Flush { area, id } => {
                self.within(id, area)?;
                if self.differences.skips_flushes {
                    if self.busy.contains(&id) {
                        return Ok(());
                    }
                    self.busy.push(id);
                }
                for (at, scanout) in self.scanouts.iter_mut().enumerate() {
                    if self.differences.one_scanout && self.set_on.get(&id) != Some(&at) {
                        continue;
                    }
                    let Some((_, window)) = scanout.shows.filter(|(shown, _)| *shown == id) else {
                        continue;
                    };
                    let area = area.common(&window);
                    if area.width == 0 || area.height == 0 {
                        continue;
                    }
                    let pixels = self.pictures.read(id, area);
                    let width = window.width as usize;
                    let below = (area.y - window.y) as usize * width + (area.x - window.x) as usize;
                    let rows = scanout.shown[below..].chunks_mut(width);
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
        for (words, scanout) in words[6..].chunks_exact_mut(6).zip(&self.scanouts) {
            if let Some((width, height)) = scanout.mode {
                (words[2], words[3], words[4]) = (width, height, 1);
            }
        }
        words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}

/// Returns the EDID of a scanout's display: two blocks of bytes that name it.
pub(crate) fn edid(scanout: u32) -> Vec<u8> {
    (0..256).map(|at| (at ^ scanout ^ 0x5a) as u8).collect()
}

/// Returns a response of type OK_EDID that says that its EDID has `size` bytes.
pub(crate) fn edid_response(size: u32, edid: &[u8]) -> Vec<u8> {
    let mut response = vec![0; 1056];
    response[..4].copy_from_slice(&OK_EDID.to_le_bytes());
    response[24..28].copy_from_slice(&size.to_le_bytes());
    response[32..][..edid.len()].copy_from_slice(edid);
    response
}

impl<P: Pictures> Backend for Host<P> {
    fn execute(&mut self, memory: &Memory, bytes: &[u8]) -> Vec<u8> {
        let request = Request::parse(bytes);
        if let Some(Request::GetDisplayInfo) = request {
            return self.display_info();
        }
        if let Some(Request::GetEdid { scanout }) = request {
            self.edid_requests.push(scanout);
            let response = self.edid_response.clone();
            return response.unwrap_or_else(|| edid_response(256, &edid(scanout)));
        }
        let text = format!("{request:x?}");
        let result = match (request, &mut self.commands_left) {
            (_, Some(0)) => Err(ERR_UNSPEC),
            (None, _) => Err(ERR_UNSPEC),
            (Some(request), commands_left) => {
                if let Some(commands_left) = commands_left {
                    *commands_left -= 1;
                }
                self.run(memory, request)
            }
        };
        let answer = match result {
            Ok(()) => OK_NODATA,
            Err(error) => {
                self.rejections.push(format!("{error:#x} for {text:.200}"));
                error
            }
        };
        let mut response = vec![0; 24];
        response[..4].copy_from_slice(&answer.to_le_bytes());
        response
    }
}
