// SPDX-License-Identifier: GPL-2.0

//! The window in which QEMU shows a screen, on an X server of its own that has no monitor (Xvfb).
//!
//! A device with OpenGL draws into a texture, which QEMU's screendump does not see. The pixels in
//! the window are what a user sees.

use crate::{
    process::{self, Process},
    screen::Picture,
};
use anyhow::{bail, ensure, Context, Result};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};
use x11rb::{
    connection::Connection,
    protocol::xproto::{ConnectionExt, ImageFormat, MapState, Window as Id},
    rust_connection::RustConnection,
};

/// The size of the X server's screen. QEMU's window begins in its middle with 640x480 px and grows
/// to the right and down; pixels beyond the screen cannot be read.
const SCREEN: &str = "2560x1920x24";

/// How often the window is tried while its size changes, and the server while it ends; and the time
/// between two tries.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// An X server and what is on its screen.
pub struct Window {
    /// The server's number, as `DISPLAY` has it.
    display: String,
    /// None when this goes.
    connection: Option<RustConnection>,
    root: Id,
    server: Process,
}

impl Drop for Window {
    fn drop(&mut self) {
        // Without its last client the server ends, and removes the files that it has in /tmp.
        drop(self.connection.take());
        for _ in 0..TRIES {
            if !matches!(self.server.0.try_wait(), Ok(None)) {
                break;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Window {
    /// Starts a server with a display number that is free; what it has to say goes to `log`.
    pub fn start(log: &Path) -> Result<Self> {
        let mut command = process::command("Xvfb");
        command
            // It says the number on its standard output when it can be connected to.
            .args(["-displayfd", "1", "-nolisten", "tcp", "-terminate"])
            .args(["-screen", "0", SCREEN])
            .stdout(Stdio::piped())
            .stderr(File::create(log)?);
        let mut server = Process::start(&mut command, "Xvfb")?;
        let said = server.0.stdout.take().context("Xvfb has no output")?;
        let mut number = String::new();
        BufReader::new(said).read_line(&mut number)?;
        let number = number.trim();
        ensure!(!number.is_empty(), "Xvfb ended, see {}", log.display());
        let display = format!(":{number}");
        let (connection, screen) = x11rb::connect(Some(&display))
            .with_context(|| format!("cannot connect to the X server {display}"))?;
        let root = connection.setup().roots[screen].root;
        Ok(Self {
            display,
            connection: Some(connection),
            root,
            server,
        })
    }

    /// Has a program open its window here, and draw with OpenGL without a GPU.
    pub fn receive(&self, command: &mut Command) {
        command
            .env("DISPLAY", &self.display)
            .env("SDL_VIDEODRIVER", "x11")
            .env("LIBGL_ALWAYS_SOFTWARE", "1");
    }

    /// Returns the X server's number, as `DISPLAY` has it.
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Returns whether there is a window that can be seen.
    pub fn is_open(&self) -> Result<bool> {
        Ok(self.visible()?.is_some())
    }

    /// Returns what is in the window.
    pub fn picture(&self) -> Result<Picture> {
        for _ in 0..TRIES {
            if let Some(window) = self.visible()? {
                if let Some(picture) = self.read(window)? {
                    return Ok(picture);
                }
            }
            thread::sleep(PAUSE);
        }
        bail!("no window that can be read")
    }

    fn connection(&self) -> Result<&RustConnection> {
        self.connection.as_ref().context("no X server")
    }

    /// Returns the one that can be seen: programs make others for purposes of their own.
    fn visible(&self) -> Result<Option<Id>> {
        let connection = self.connection()?;
        let tree = connection.query_tree(self.root)?.reply()?;
        for window in tree.children {
            // It may be closed by now.
            let attributes = connection.get_window_attributes(window)?.reply();
            if attributes.is_ok_and(|it| it.map_state == MapState::VIEWABLE) {
                return Ok(Some(window));
            }
        }
        Ok(None)
    }

    /// Returns the pixels of a window; nothing if it changes its size meanwhile.
    fn read(&self, window: Id) -> Result<Option<Picture>> {
        let connection = self.connection()?;
        let Ok(geometry) = connection.get_geometry(window)?.reply() else {
            return Ok(None);
        };
        let (width, height) = (geometry.width, geometry.height);
        let image = connection.get_image(ImageFormat::Z_PIXMAP, window, 0, 0, width, height, !0)?;
        let Ok(image) = image.reply() else {
            return Ok(None);
        };
        ensure!(image.depth == 24, "a window of {} bits", image.depth);
        // Xvfb has 32 bits for a pixel of 24, in the byte order of this machine.
        let pixels: Vec<u32> = image
            .data
            .chunks_exact(4)
            .map(|bytes| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0xff_ffff)
            .collect();
        Picture::of(width.into(), height.into(), pixels).map(Some)
    }
}
