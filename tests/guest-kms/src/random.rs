// SPDX-License-Identifier: GPL-2.0

//! Ioctls with arguments that are wrong in one way or another, as they come.
//!
//! The walk neither waits for an event nor makes a buffer that is large: an answer is all it wants,
//! whichever that is.

use crate::card::{wait, Card};
use drm::{
    control::{Device as _, RawResourceHandle},
    ClientCapability, Device as _,
};
use drm_ffi::{
    drm_clip_rect, drm_gem_close, drm_mode_atomic, drm_mode_closefb, drm_mode_create_blob,
    drm_mode_create_dumb, drm_mode_crtc, drm_mode_crtc_lut, drm_mode_crtc_page_flip,
    drm_mode_cursor2, drm_mode_destroy_blob, drm_mode_destroy_dumb, drm_mode_fb_cmd,
    drm_mode_fb_cmd2, drm_mode_fb_dirty_cmd, drm_mode_get_connector, drm_mode_get_plane,
    drm_mode_get_property, drm_mode_map_dumb, drm_mode_modeinfo, drm_mode_obj_get_properties,
    drm_mode_obj_set_property, drm_mode_set_plane, drm_prime_handle, drm_set_client_cap,
    DRM_MODE_ATOMIC_ALLOW_MODESET, DRM_MODE_ATOMIC_FLAGS, DRM_MODE_ATOMIC_NONBLOCK,
    DRM_MODE_OBJECT_ANY, DRM_MODE_PAGE_FLIP_EVENT,
};
use fastrand::Rng;
use rustix::{
    io::Errno,
    ioctl::{ioctl, opcode, Ioctl, IoctlOutput, Opcode},
    mm::{mmap_anonymous, MapFlags, ProtFlags},
};
use std::{
    ffi::c_void,
    io,
    mem::size_of,
    os::fd::{AsFd, FromRawFd, OwnedFd},
    ptr,
};

/// The bytes that pointers of the walk lead to, and how far into them at most: behind that there is
/// space for every answer.
const SCRATCH: usize = 256 * 1024;
const FARTHEST: usize = 64 * 1024;

/// How many buffers there are at a time.
const BUFFERS: usize = 8;

/// Formats that exist, some of them with several planes.
const FORMATS: [&[u8; 4]; 8] = [
    b"XR24", b"AR24", b"XB24", b"RG16", b"R8  ", b"NV12", b"YU12", b"XR30",
];

/// Numbers at which something ends or overflows.
const ODD: [u32; 24] = [
    0,
    1,
    2,
    3,
    63,
    64,
    65,
    255,
    256,
    257,
    1023,
    1024,
    1025,
    4096,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_fff0,
    0xffff_fffe,
    0xffff_ffff,
];

/// Does `count` ioctls, which are the same ones each time for a `seed` and a device.
pub fn walk(card: &Card, seed: u32, count: u32) -> io::Result<()> {
    // Properties of planes are seen by those who know planes.
    card.set_client_capability(ClientCapability::UniversalPlanes, true)?;
    let mut walk = Walk::new(card, seed)?;
    for _ in 0..count {
        // The answer does not matter, and that there is one does.
        let _ = walk.step();
    }
    walk.end();
    Ok(())
}

/// An ioctl of DRM's with a value that goes in and out.
struct Call<'a, T> {
    number: u8,
    value: &'a mut T,
}

// SAFETY: The kernel reads and writes as many bytes as the opcode says, which are those of `T`.
unsafe impl<T> Ioctl for Call<'_, T> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        opcode::read_write::<T>(b'd', self.number)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.value).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// What the walk knows of the device, and has made so far.
struct Walk<'a> {
    card: &'a Card,
    rng: Rng,
    /// Memory that nothing else uses. It stays.
    scratch: *mut u8,
    crtcs: Vec<u32>,
    connectors: Vec<u32>,
    planes: Vec<u32>,
    /// Objects and the properties that they have.
    properties: Vec<(u32, Vec<u32>)>,
    modes: Vec<drm_mode_modeinfo>,
    handles: Vec<u32>,
    framebuffers: Vec<u32>,
    blobs: Vec<u32>,
}

impl<'a> Walk<'a> {
    fn new(card: &'a Card, seed: u32) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: It is new memory.
        let scratch =
            unsafe { mmap_anonymous(ptr::null_mut(), SCRATCH, protection, MapFlags::PRIVATE)? };
        let resources = card.resource_handles()?;
        let mut modes = Vec::new();
        let mut properties = Vec::new();
        let mut look = |object: RawResourceHandle, known: drm::control::PropertyValueSet| {
            let known = known.iter().map(|(&property, _)| property.into());
            properties.push((object.get(), known.collect()));
        };
        for &crtc in resources.crtcs() {
            look(crtc.into(), card.get_properties(crtc)?);
        }
        for &connector in resources.connectors() {
            look(connector.into(), card.get_properties(connector)?);
            let known = card.get_connector(connector, false)?;
            modes.extend(
                known
                    .modes()
                    .iter()
                    .map(|&mode| drm_mode_modeinfo::from(mode)),
            );
        }
        let planes = card.plane_handles()?;
        for &plane in &planes {
            look(plane.into(), card.get_properties(plane)?);
        }
        Ok(Self {
            card,
            rng: Rng::with_seed(seed.into()),
            scratch: scratch.cast(),
            crtcs: resources.crtcs().iter().map(|&crtc| crtc.into()).collect(),
            connectors: resources.connectors().iter().map(|&it| it.into()).collect(),
            planes: planes.into_iter().map(u32::from).collect(),
            properties,
            modes,
            handles: Vec::new(),
            framebuffers: Vec::new(),
            blobs: Vec::new(),
        })
    }

    fn call<T>(&self, number: u8, mut value: T) -> io::Result<T> {
        let call = Call {
            number,
            value: &mut value,
        };
        // SAFETY: The callers take the type that the number stands for. Pointers in it lead into
        // the scratch memory, or nowhere.
        unsafe { ioctl(self.card, call)? };
        Ok(value)
    }

    /// Returns whether it is the one time in `times`.
    fn once_in(&mut self, times: u32) -> bool {
        self.rng.u32(..times) == 0
    }

    fn odd(&mut self) -> u32 {
        match self.once_in(4) {
            true => self.rng.u32(..),
            false => ODD[self.rng.usize(..ODD.len())],
        }
    }

    /// Returns a number that is usually one of these.
    fn of(&mut self, choices: &[u32]) -> u32 {
        match self.rng.choice(choices) {
            Some(&choice) if !self.once_in(8) => choice,
            _ => self.odd(),
        }
    }

    fn crtc(&mut self) -> u32 {
        let crtcs = self.crtcs.clone();
        self.of(&crtcs)
    }

    fn connector(&mut self) -> u32 {
        let connectors = self.connectors.clone();
        self.of(&connectors)
    }

    fn plane(&mut self) -> u32 {
        let planes = self.planes.clone();
        self.of(&planes)
    }

    fn handle(&mut self) -> u32 {
        let handles = self.handles.clone();
        self.of(&handles)
    }

    fn framebuffer(&mut self) -> u32 {
        let framebuffers = self.framebuffers.clone();
        self.of(&framebuffers)
    }

    /// Returns an object and a property, which it usually has.
    fn property(&mut self) -> (u32, u32) {
        let known = self.rng.choice(&self.properties).cloned();
        let (object, properties) = known.unwrap_or_default();
        (self.of(&[object]), self.of(&properties))
    }

    /// Returns a value for a property.
    fn value(&mut self) -> u64 {
        let objects = [self.crtc(), self.framebuffer(), 0, 1];
        let blobs = self.blobs.clone();
        match self.rng.u32(..6) {
            0 => self.rng.u64(..),
            1 => u64::from(self.odd()) << 16,
            2 => self.of(&blobs).into(),
            _ => self.of(&objects).into(),
        }
    }

    /// Returns a pointer that usually leads into the scratch memory.
    fn pointer(&mut self) -> u64 {
        let inside = self.rng.usize(..FARTHEST);
        let scratch = self.scratch as u64;
        match self.rng.u32(..12) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << 63,
            3 => scratch + inside as u64,
            _ => scratch + (inside & !7) as u64,
        }
    }

    /// Returns a pointer to these values.
    fn array<T: Copy>(&mut self, values: &[T]) -> u64 {
        let at = self.rng.usize(..FARTHEST) & !7;
        for (index, &value) in values.iter().enumerate() {
            let at = at + index * size_of::<T>();
            assert!(at + size_of::<T>() <= SCRATCH);
            // SAFETY: It lies in the scratch memory, which nobody else uses.
            unsafe { ptr::write_unaligned(self.scratch.add(at).cast(), value) };
        }
        self.scratch as u64 + at as u64
    }

    /// Returns a size, in part one that is as large as what can be shown.
    fn size(&mut self) -> u32 {
        self.of(&[1, 16, 64, 300, 640, 800, 1024, 1280, 1600])
    }

    /// Returns a mode that is usually one of the device's, in part with one number changed.
    fn mode(&mut self) -> drm_mode_modeinfo {
        let mut mode = self.rng.choice(&self.modes).copied().unwrap_or_default();
        let odd = self.odd();
        match self.rng.u32(..10) {
            0 => mode.hdisplay = odd as u16,
            1 => mode.vdisplay = odd as u16,
            2 => mode.clock = odd,
            3 => mode.htotal = odd as u16,
            4 => mode.flags = odd,
            5 => mode.vscan = odd as u16,
            _ => {}
        }
        mode
    }

    fn step(&mut self) -> io::Result<()> {
        match self.rng.u32(..28) {
            0 | 1 => self.create_buffer()?,
            2 => {
                let handle = self.handle();
                self.call(0xb4, drm_mode_destroy_dumb { handle })?;
                self.handles.retain(|&each| each != handle);
            }
            3 => {
                let handle = self.handle();
                self.call(0x09, drm_gem_close { handle, pad: 0 })?;
                self.handles.retain(|&each| each != handle);
            }
            4 => {
                let handle = self.handle();
                let (pad, offset) = (self.odd(), 0);
                let map = drm_mode_map_dumb {
                    handle,
                    pad,
                    offset,
                };
                self.call(0xb3, map)?;
            }
            5 | 6 => self.add_framebuffer()?,
            7 | 8 => self.add_framebuffer_of_planes()?,
            9 => {
                let framebuffer = self.framebuffer();
                match self.rng.bool() {
                    true => drop(self.call(0xaf, framebuffer)?),
                    false => {
                        let (fb_id, pad) = (framebuffer, 0);
                        self.call(0xd0, drm_mode_closefb { fb_id, pad })?;
                    }
                }
                self.framebuffers.retain(|&each| each != framebuffer);
            }
            10 | 11 => self.set_crtc()?,
            12 | 13 => {
                let flip = drm_mode_crtc_page_flip {
                    crtc_id: self.crtc(),
                    fb_id: self.framebuffer(),
                    flags: self.of(&[0, DRM_MODE_PAGE_FLIP_EVENT]),
                    reserved: self.of(&[0, 0, 0]),
                    user_data: self.rng.u64(..),
                };
                self.call(0xb0, flip)?;
            }
            14 | 15 => self.dirty()?,
            16 => {
                let cursor = drm_mode_cursor2 {
                    flags: self.of(&[1, 2, 3]),
                    crtc_id: self.crtc(),
                    x: self.odd() as i32,
                    y: self.odd() as i32,
                    width: self.of(&[64]),
                    height: self.of(&[64]),
                    handle: self.handle(),
                    hot_x: self.odd() as i32,
                    hot_y: self.odd() as i32,
                };
                self.call(0xbb, cursor)?;
            }
            17 => {
                // In part one that covers the screen, and begins outside of it.
                let outside = self
                    .once_in(2)
                    .then(|| (self.rng.u32(..300), self.rng.u32(..300)));
                let plane = drm_mode_set_plane {
                    plane_id: self.plane(),
                    crtc_id: self.crtc(),
                    fb_id: self.framebuffer(),
                    flags: self.of(&[0]),
                    crtc_x: outside.map_or(self.odd() as i32, |(x, _)| -(x as i32)),
                    crtc_y: outside.map_or(self.odd() as i32, |(_, y)| -(y as i32)),
                    crtc_w: outside.map_or(self.size(), |(x, _)| 1280 + x),
                    crtc_h: outside.map_or(self.size(), |(_, y)| 800 + y),
                    src_x: outside.map_or(self.odd(), |_| 0),
                    src_y: outside.map_or(self.odd(), |_| 0),
                    src_h: outside.map_or(self.size(), |(_, y)| 800 + y) << 16,
                    src_w: outside.map_or(self.size(), |(x, _)| 1280 + x) << 16,
                };
                self.call(0xb7, plane)?;
            }
            18..=20 => self.commit()?,
            21 => {
                let (obj_id, prop_id) = self.property();
                let set = drm_mode_obj_set_property {
                    value: self.value(),
                    prop_id,
                    obj_id,
                    obj_type: self.of(&[DRM_MODE_OBJECT_ANY]),
                };
                self.call(0xba, set)?;
            }
            22 => self.create_blob()?,
            23 => {
                let blobs = self.blobs.clone();
                let blob_id = self.of(&blobs);
                self.call(0xbe, drm_mode_destroy_blob { blob_id })?;
                self.blobs.retain(|&each| each != blob_id);
            }
            24 => {
                let gamma = drm_mode_crtc_lut {
                    crtc_id: self.crtc(),
                    gamma_size: self.of(&[0, 256]),
                    red: self.pointer(),
                    green: self.pointer(),
                    blue: self.pointer(),
                };
                let number = if self.rng.bool() { 0xa4 } else { 0xa5 };
                self.call(number, gamma)?;
            }
            25 => self.ask()?,
            26 => {
                let cap = drm_set_client_cap {
                    capability: self.of(&[2, 3, 3, 4, 5]).into(),
                    value: self.of(&[0, 1, 1]).into(),
                };
                self.call(0x0d, cap)?;
            }
            _ => {
                self.share()?;
                self.read_events()?;
                // Without a master in between.
                if self.once_in(4) {
                    self.card.release_master_lock()?;
                    self.card.acquire_master_lock()?;
                }
            }
        }
        Ok(())
    }

    /// Makes a buffer. One that would be large has a size that overflows.
    fn create_buffer(&mut self) -> io::Result<()> {
        let small = |size| size <= 2048;
        let (width, height) = (self.size(), self.size());
        let bpp = self.of(&[32, 32, 16, 8]);
        let fits = small(width) && small(height) && bpp <= 64;
        let overflows = u64::from(width) * u64::from(bpp.div_ceil(8)) * u64::from(height)
            > u64::from(u32::MAX) + 1;
        if !fits && !overflows {
            return Err(Errno::INVAL.into());
        }
        if self.handles.len() == BUFFERS {
            let handle = self.handles.remove(0);
            self.call(0xb4, drm_mode_destroy_dumb { handle })?;
        }
        let create = drm_mode_create_dumb {
            height,
            width,
            bpp,
            flags: self.of(&[0]),
            ..Default::default()
        };
        let made = self.call(0xb2, create)?;
        self.handles.push(made.handle);
        Ok(())
    }

    fn add_framebuffer(&mut self) -> io::Result<()> {
        let width = self.size();
        let add = drm_mode_fb_cmd {
            width,
            height: self.size(),
            pitch: self.of(&[width.wrapping_mul(4)]),
            bpp: self.of(&[32]),
            depth: self.of(&[24]),
            handle: self.handle(),
            ..Default::default()
        };
        let added = self.call(0xae, add)?;
        self.framebuffers.push(added.fb_id);
        Ok(())
    }

    fn add_framebuffer_of_planes(&mut self) -> io::Result<()> {
        let format = FORMATS[self.rng.usize(..FORMATS.len())];
        let width = self.size();
        let mut add = drm_mode_fb_cmd2 {
            width,
            height: self.size(),
            pixel_format: self.of(&[u32::from_le_bytes(*FORMATS[0]), u32::from_le_bytes(*format)]),
            flags: self.of(&[0, 0, 2]),
            ..Default::default()
        };
        // The other planes are usually not there.
        let planes = if self.once_in(4) { 4 } else { 1 };
        for plane in 0..planes {
            add.handles[plane] = self.handle();
            add.pitches[plane] = self.of(&[width.wrapping_mul(4)]);
            add.offsets[plane] = self.of(&[0]);
            add.modifier[plane] = self.of(&[0]).into();
        }
        let added = self.call(0xb8, add)?;
        self.framebuffers.push(added.fb_id);
        Ok(())
    }

    fn set_crtc(&mut self) -> io::Result<()> {
        let connectors = [self.connector(), self.connector()];
        let good = self.array(&connectors);
        let set = drm_mode_crtc {
            set_connectors_ptr: if self.once_in(8) {
                self.pointer()
            } else {
                good
            },
            count_connectors: self.of(&[0, 1, 1, 1]),
            crtc_id: self.crtc(),
            fb_id: self.framebuffer(),
            x: self.of(&[0, 0, 0]),
            y: self.of(&[0, 0, 0]),
            gamma_size: self.odd(),
            mode_valid: self.of(&[0, 1, 1, 1]),
            mode: self.mode(),
        };
        self.call(0xa2, set)?;
        Ok(())
    }

    fn dirty(&mut self) -> io::Result<()> {
        let mut clip = || drm_clip_rect {
            x1: self.odd() as u16,
            y1: self.odd() as u16,
            x2: self.odd() as u16,
            y2: self.odd() as u16,
        };
        let clips = [clip(), clip(), clip(), clip()];
        let good = self.array(&clips);
        let dirty = drm_mode_fb_dirty_cmd {
            fb_id: self.framebuffer(),
            flags: self.of(&[0, 0, 1, 2]),
            color: self.odd(),
            num_clips: self.of(&[0, 1, 2, 4, 256]),
            clips_ptr: if self.once_in(4) {
                self.pointer()
            } else {
                good
            },
        };
        self.call(0xb1, dirty)?;
        Ok(())
    }

    fn commit(&mut self) -> io::Result<()> {
        let (mut objects, mut counts, mut properties, mut values) =
            (vec![], vec![], vec![], vec![]);
        for _ in 0..self.rng.usize(..5) {
            let (object, property) = self.property();
            objects.push(object);
            let known = self.properties.iter().find(|(id, _)| *id == object);
            let known = known.map(|(_, known)| known.clone()).unwrap_or_default();
            let count = self.rng.u32(1..5);
            counts.push(self.of(&[count]));
            properties.push(property);
            for _ in 1..count {
                properties.push(self.of(&known));
            }
            values.extend((0..count).map(|_| self.value()));
        }
        let count = objects.len() as u32;
        let any = [0, DRM_MODE_PAGE_FLIP_EVENT, DRM_MODE_ATOMIC_NONBLOCK]
            .map(|flags| flags | DRM_MODE_ATOMIC_ALLOW_MODESET);
        let some = self.rng.u32(..) & DRM_MODE_ATOMIC_FLAGS;
        let atomic = drm_mode_atomic {
            flags: if self.rng.bool() { some } else { self.of(&any) },
            count_objs: self.of(&[count, count, count]),
            objs_ptr: self.array(&objects),
            count_props_ptr: self.array(&counts),
            props_ptr: self.array(&properties),
            prop_values_ptr: if self.once_in(8) {
                self.pointer()
            } else {
                self.array(&values)
            },
            reserved: self.of(&[0, 0, 0]).into(),
            user_data: self.rng.u64(..),
        };
        self.call(0xbc, atomic)?;
        Ok(())
    }

    fn create_blob(&mut self) -> io::Result<()> {
        let mode = self.mode();
        // The kernel warns of a length that is larger than its memory.
        let lengths = [
            0,
            1,
            4,
            16,
            size_of::<drm_mode_modeinfo>() as u32,
            4096,
            0xffff_ffff,
        ];
        let length = match self.rng.bool() {
            true => size_of::<drm_mode_modeinfo>() as u32,
            false => lengths[self.rng.usize(..lengths.len())],
        };
        let create = drm_mode_create_blob {
            data: if self.once_in(8) {
                self.pointer()
            } else {
                self.array(&[mode])
            },
            length,
            blob_id: 0,
        };
        let made = self.call(0xbd, create)?;
        self.blobs.push(made.blob_id);
        Ok(())
    }

    /// Asks for lists, with space for other numbers of things than there are.
    fn ask(&mut self) -> io::Result<()> {
        match self.rng.u32(..4) {
            0 => {
                let get = drm_mode_get_connector {
                    encoders_ptr: self.pointer(),
                    modes_ptr: self.pointer(),
                    props_ptr: self.pointer(),
                    prop_values_ptr: self.pointer(),
                    count_modes: self.odd(),
                    count_props: self.odd(),
                    count_encoders: self.odd(),
                    connector_id: self.connector(),
                    ..Default::default()
                };
                self.call(0xa7, get)?;
            }
            1 => {
                let get = drm_mode_get_plane {
                    plane_id: self.plane(),
                    count_format_types: self.odd(),
                    format_type_ptr: self.pointer(),
                    ..Default::default()
                };
                self.call(0xb6, get)?;
            }
            2 => {
                let get = drm_mode_get_property {
                    values_ptr: self.pointer(),
                    enum_blob_ptr: self.pointer(),
                    prop_id: self.property().1,
                    count_values: self.odd(),
                    count_enum_blobs: self.odd(),
                    ..Default::default()
                };
                self.call(0xaa, get)?;
            }
            _ => {
                let get = drm_mode_obj_get_properties {
                    props_ptr: self.pointer(),
                    prop_values_ptr: self.pointer(),
                    count_props: self.odd(),
                    obj_id: self.property().0,
                    obj_type: self.of(&[DRM_MODE_OBJECT_ANY]),
                };
                self.call(0xb9, get)?;
            }
        }
        Ok(())
    }

    /// Makes a file of a buffer, and closes it.
    fn share(&mut self) -> io::Result<()> {
        let share = drm_prime_handle {
            handle: self.handle(),
            flags: self.of(&[0, 2, 0o200_0000]),
            fd: -1,
        };
        if let Ok(shared) = self.call(0x2d, share) {
            // SAFETY: The kernel has just opened it for us.
            drop(unsafe { OwnedFd::from_raw_fd(shared.fd) });
        }
        Ok(())
    }

    /// Makes space for more events.
    fn read_events(&mut self) -> io::Result<()> {
        while wait(self.card.as_fd(), 0).is_ok() {
            self.card.receive_events()?;
        }
        Ok(())
    }

    /// Gives back all that was made.
    fn end(&mut self) {
        let _ = self.read_events();
        for &framebuffer in &self.framebuffers {
            let _ = self.call(0xaf, framebuffer);
        }
        for &handle in &self.handles {
            let _ = self.call(0xb4, drm_mode_destroy_dumb { handle });
        }
        for &blob_id in &self.blobs {
            let _ = self.call(0xbe, drm_mode_destroy_blob { blob_id });
        }
    }
}
