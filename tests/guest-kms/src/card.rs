// SPDX-License-Identifier: GPL-2.0

//! A DRM device, its screen, and buffers with pictures.

use crate::pattern::pixel;
use drm::{
    buffer::{Buffer as _, DrmFourcc},
    control::{
        atomic::AtomicModeReq, connector, crtc, dumbbuffer::DumbBuffer, framebuffer, plane,
        property, AtomicCommitFlags, ClipRect, Device as _, Event, Mode, ModeTypeFlags,
        PageFlipFlags, ResourceHandle,
    },
    ClientCapability, Device as _,
};
use rustix::{
    event::{poll, PollFd, PollFlags, Timespec},
    io::Errno,
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd},
};

/// How long an event may take, in seconds.
const PATIENCE: i64 = 10;

/// An open device.
pub struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

/// A part of a picture.
#[derive(Clone, Copy)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

/// A connector, its mode, and what shows a picture there.
pub struct Output {
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
}

/// A buffer in memory that a screen can show.
pub struct Buffer {
    dumb: DumbBuffer,
    framebuffer: framebuffer::Handle,
}

impl Card {
    /// Opens the device at `path`.
    pub fn open(path: &str) -> io::Result<Self> {
        Ok(Self(File::options().read(true).write(true).open(path)?))
    }

    /// Returns the first connector that has a screen, with the mode of that size, or the preferred
    /// one if no size is wanted, and a CRTC for it.
    pub fn output(&self, size: Option<(u16, u16)>) -> io::Result<Output> {
        let resources = self.resource_handles()?;
        for &connector in resources.connectors() {
            let info = self.get_connector(connector, true)?;
            if info.state() != connector::State::Connected {
                continue;
            }
            let modes = info.modes();
            let preferred = |mode: &&Mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED);
            let mode = match size {
                Some(size) => modes.iter().find(|mode| mode.size() == size),
                None => modes.iter().find(preferred).or(modes.first()),
            };
            let encoder = info.encoders().first();
            if let (Some(&mode), Some(&encoder)) = (mode, encoder) {
                let crtcs = self.get_encoder(encoder)?.possible_crtcs();
                if let Some(&crtc) = resources.filter_crtcs(crtcs).first() {
                    return Ok(Output {
                        connector,
                        crtc,
                        mode,
                    });
                }
            }
        }
        Err(Errno::NXIO.into())
    }

    /// Returns a buffer of the mode's size with picture `seed`. With `fourcc` it is made by ADDFB2,
    /// else by ADDFB.
    pub fn buffer(&self, output: &Output, seed: u32, fourcc: bool) -> io::Result<Buffer> {
        self.larger_buffer(output, (0, 0), seed, fourcc)
    }

    /// Returns one that is so many pixels wider and higher.
    pub fn larger_buffer(
        &self,
        output: &Output,
        by: (u32, u32),
        seed: u32,
        fourcc: bool,
    ) -> io::Result<Buffer> {
        let (width, height) = output.mode.size();
        let size = (u32::from(width) + by.0, u32::from(height) + by.1);
        let dumb = self.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32)?;
        let framebuffer = match fourcc {
            false => self.add_framebuffer(&dumb, 24, 32)?,
            true => self.add_by_fourcc(&dumb)?,
        };
        let mut buffer = Buffer { dumb, framebuffer };
        let all = Rect {
            x: 0,
            y: 0,
            width: size.0,
            height: size.1,
        };
        self.paint(&mut buffer, all, seed)?;
        Ok(buffer)
    }

    fn add_by_fourcc(&self, dumb: &DumbBuffer) -> io::Result<framebuffer::Handle> {
        let (width, height) = dumb.size();
        let format = DrmFourcc::Xrgb8888 as u32;
        let handles = [dumb.handle().into(), 0, 0, 0];
        let pitches = [dumb.pitch(), 0, 0, 0];
        let none = ([0; 4], [0; 4]);
        let added = drm_ffi::mode::add_fb2(
            self.as_fd(),
            width,
            height,
            format,
            &handles,
            &pitches,
            &none.0,
            &none.1,
            0,
        )?;
        drm::control::from_u32(added.fb_id).ok_or(Errno::IO.into())
    }

    /// Paints a rectangle of picture `seed`, as far as it lies in the buffer.
    pub fn paint(&self, buffer: &mut Buffer, rect: Rect, seed: u32) -> io::Result<()> {
        let (width, height) = buffer.dumb.size();
        let pitch = buffer.dumb.pitch() as usize;
        let columns = rect.x.min(width)..rect.x.saturating_add(rect.width).min(width);
        let rows = rect.y.min(height)..rect.y.saturating_add(rect.height).min(height);
        let mut pixels = self.map_dumb_buffer(&mut buffer.dumb)?;
        for y in rows {
            let row = &mut pixels[y as usize * pitch..][..4 * width as usize];
            let part = &mut row[4 * columns.start as usize..4 * columns.end as usize];
            for (x, bytes) in columns.clone().zip(part.chunks_exact_mut(4)) {
                bytes.copy_from_slice(&pixel(x, y, seed).to_le_bytes());
            }
        }
        Ok(())
    }

    /// Takes a buffer away.
    pub fn discard(&self, buffer: Buffer) -> io::Result<()> {
        self.destroy_framebuffer(buffer.framebuffer)?;
        self.destroy_dumb_buffer(buffer.dumb)
    }

    /// Takes a buffer away, but that a screen that shows it goes on to do so.
    pub fn give_up(&self, buffer: Buffer) -> io::Result<()> {
        self.close_framebuffer(buffer.framebuffer)?;
        self.destroy_dumb_buffer(buffer.dumb)
    }

    /// Shows a buffer by SETCRTC.
    pub fn show(&self, output: &Output, buffer: &Buffer) -> io::Result<()> {
        self.set_crtc(
            output.crtc,
            Some(buffer.framebuffer),
            (0, 0),
            &[output.connector],
            Some(output.mode),
        )
    }

    /// Shows nothing.
    pub fn off(&self, output: &Output) -> io::Result<()> {
        self.set_crtc(output.crtc, None, (0, 0), &[], None)
    }

    /// Says by DIRTYFB that a rectangle has changed.
    pub fn dirty(&self, buffer: &Buffer, rect: Rect) -> io::Result<()> {
        let Rect {
            x,
            y,
            width,
            height,
        } = rect;
        let end = |from: u32, length| from.saturating_add(length).min(u16::MAX.into()) as u16;
        let clip = ClipRect::new(end(x, 0), end(y, 0), end(x, width), end(y, height));
        self.dirty_framebuffer(buffer.framebuffer, &[clip])
    }

    /// Begins to use atomic commits.
    pub fn be_atomic(&self) -> io::Result<()> {
        self.set_client_capability(ClientCapability::UniversalPlanes, true)?;
        self.set_client_capability(ClientCapability::Atomic, true)
    }

    /// Shows a buffer by an atomic commit that sets the mode.
    pub fn commit(&self, output: &Output, buffer: &Buffer) -> io::Result<()> {
        self.commit_beyond(output, buffer, (0, 0))
    }

    /// Does the same with a plane that begins so many pixels left of the screen and above it.
    pub fn commit_beyond(
        &self,
        output: &Output,
        buffer: &Buffer,
        (left, above): (u32, u32),
    ) -> io::Result<()> {
        let plane = self.primary_plane(output)?;
        let (width, height) = output.mode.size();
        let width = u64::from(width) + u64::from(left);
        let height = u64::from(height) + u64::from(above);
        let minus = |pixels: u32| -i64::from(pixels) as u64;
        let mode = self.create_property_blob(&drm_ffi::drm_mode_modeinfo::from(output.mode))?;
        let mut request = AtomicModeReq::new();
        let crtc = u32::from(output.crtc).into();
        self.add(&mut request, output.connector, &[("CRTC_ID", crtc)])?;
        let on = [("MODE_ID", mode.into()), ("ACTIVE", 1)];
        self.add(&mut request, output.crtc, &on)?;
        let placed = [
            ("FB_ID", u32::from(buffer.framebuffer).into()),
            ("CRTC_ID", crtc),
            ("SRC_X", 0),
            ("SRC_Y", 0),
            ("SRC_W", width << 16),
            ("SRC_H", height << 16),
            ("CRTC_X", minus(left)),
            ("CRTC_Y", minus(above)),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ];
        self.add(&mut request, plane, &placed)?;
        let shown = self.atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request);
        self.destroy_property_blob(mode.into())?;
        shown
    }

    /// Says by an atomic commit that a rectangle has changed.
    pub fn damage(&self, output: &Output, buffer: &Buffer, rect: Rect) -> io::Result<()> {
        let plane = self.primary_plane(output)?;
        let end = |from: u32, length| from.saturating_add(length).min(i32::MAX as u32) as i32;
        let clip = drm_ffi::drm_mode_rect {
            x1: end(rect.x, 0),
            y1: end(rect.y, 0),
            x2: end(rect.x, rect.width),
            y2: end(rect.y, rect.height),
        };
        let clips = self.create_property_blob(&clip)?;
        let mut request = AtomicModeReq::new();
        let changed = [
            ("FB_ID", u32::from(buffer.framebuffer).into()),
            ("FB_DAMAGE_CLIPS", clips.into()),
        ];
        self.add(&mut request, plane, &changed)?;
        let shown = self.atomic_commit(AtomicCommitFlags::empty(), request);
        self.destroy_property_blob(clips.into())?;
        shown
    }

    /// Adds values of properties to a request.
    fn add<T: ResourceHandle>(
        &self,
        request: &mut AtomicModeReq,
        object: T,
        values: &[(&str, property::RawValue)],
    ) -> io::Result<()> {
        for &(name, value) in values {
            let (property, _) = self.property(object, name)?;
            request.add_raw_property(object.into(), property, value);
        }
        Ok(())
    }

    /// Returns a property of an object, and its value.
    pub fn property<T: ResourceHandle>(
        &self,
        object: T,
        name: &str,
    ) -> io::Result<(property::Handle, property::RawValue)> {
        for (&property, &value) in &self.get_properties(object)? {
            if self.get_property(property)?.name().to_bytes() == name.as_bytes() {
                return Ok((property, value));
            }
        }
        Err(Errno::NOENT.into())
    }

    fn primary_plane(&self, output: &Output) -> io::Result<plane::Handle> {
        let resources = self.resource_handles()?;
        for plane in self.plane_handles()? {
            let crtcs = self.get_plane(plane)?.possible_crtcs();
            let (_, kind) = self.property(plane, "type")?;
            if kind == u64::from(drm_ffi::DRM_PLANE_TYPE_PRIMARY)
                && resources.filter_crtcs(crtcs).contains(&output.crtc)
            {
                return Ok(plane);
            }
        }
        Err(Errno::NXIO.into())
    }

    /// Shows a buffer by a page flip, and waits for its event.
    pub fn flip(&self, output: &Output, buffer: &Buffer) -> io::Result<()> {
        let flags = PageFlipFlags::EVENT;
        self.page_flip(output.crtc, buffer.framebuffer, flags, None)?;
        loop {
            wait(self.as_fd(), PATIENCE)?;
            let mut events = self.receive_events()?;
            if events.any(|event| matches!(event, Event::PageFlip(_))) {
                return Ok(());
            }
        }
    }

    fn close_framebuffer(&self, framebuffer: framebuffer::Handle) -> io::Result<()> {
        use rustix::ioctl::{ioctl, opcode, Updater};

        type Close = drm_ffi::drm_mode_closefb;
        const CLOSEFB: rustix::ioctl::Opcode = opcode::read_write::<Close>(b'd', 0xd0);
        let mut close = Close {
            fb_id: framebuffer.into(),
            pad: 0,
        };
        // SAFETY: The type is the one that the number of the ioctl stands for.
        unsafe { ioctl(self, Updater::<CLOSEFB, Close>::new(&mut close))? };
        Ok(())
    }

    /// Returns lines about its connectors.
    pub fn connectors(&self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        for &connector in self.resource_handles()?.connectors() {
            let info = self.get_connector(connector, true)?;
            let state = match info.state() {
                connector::State::Connected => "connected",
                connector::State::Disconnected => "disconnected",
                connector::State::Unknown => "unknown",
            };
            let modes = info.modes();
            lines.push(format!("connector {info} {state}, {} modes", modes.len()));
            for mode in modes {
                let (width, height) = mode.size();
                let preferred = match mode.mode_type().contains(ModeTypeFlags::PREFERRED) {
                    true => " preferred",
                    false => "",
                };
                let rate = mode.vrefresh();
                lines.push(format!("mode {width}x{height}@{rate}{preferred}"));
            }
            lines.push(match self.property(connector, "EDID") {
                Ok((_, blob)) if blob != 0 => {
                    let edid = self.get_property_blob(blob)?;
                    let (width, height) = info.size().unwrap_or_default();
                    let (bytes, hash) = (edid.len(), hash(&edid));
                    format!("edid of {bytes} bytes, hash {hash:08x}, {width}x{height} mm")
                }
                _ => "edid none".into(),
            });
        }
        Ok(lines)
    }

    /// Returns lines about all that it has.
    pub fn info(&self) -> io::Result<Vec<String>> {
        let mut lines = vec![format!(
            "driver {}",
            self.get_driver()?.name().to_string_lossy()
        )];
        lines.extend(self.connectors()?);
        lines.push(format!("crtcs {}", self.resource_handles()?.crtcs().len()));
        self.set_client_capability(ClientCapability::UniversalPlanes, true)?;
        for plane in self.plane_handles()? {
            let mut line = match self.property(plane, "type")? {
                (_, 0) => "plane overlay".to_owned(),
                (_, 1) => "plane primary".to_owned(),
                _ => "plane cursor".to_owned(),
            };
            for format in self.get_plane(plane)?.formats() {
                line += " ";
                line.extend(format.to_le_bytes().map(char::from));
            }
            lines.push(line);
        }
        Ok(lines)
    }
}

/// Returns a hash of bytes (FNV-1a), by which two of them can be compared in a log.
fn hash(bytes: &[u8]) -> u32 {
    let next = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, next)
}

/// Waits until there is something to read.
pub fn wait(fd: BorrowedFd<'_>, seconds: i64) -> io::Result<()> {
    let limit = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit))? {
        0 => Err(Errno::TIMEDOUT.into()),
        _ => Ok(()),
    }
}
