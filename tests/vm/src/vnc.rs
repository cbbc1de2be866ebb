// SPDX-License-Identifier: GPL-2.0

//! A VNC client that changes the size of the display and receives no updates, or receives all of
//! them (RFC 6143; SetDesktopSize as in the RFB protocol's community version).

use anyhow::{bail, ensure, Context, Result};
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread,
    time::Duration,
};

/// A connection to QEMU's VNC server.
pub struct Viewer(UnixStream);

const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// The security type "None".
const NONE: u8 = 1;
// Messages to the server.
const UPDATE_REQUEST: u8 = 3;
const SET_ENCODINGS: u8 = 2;
const SET_DESKTOP_SIZE: u8 = 251;
/// Pixels as they are; the server has 32 bits for one.
const RAW: i32 = 0;
/// The pseudo-encoding ExtendedDesktopSize: a viewer that knows it may ask for a size.
const EXTENDED_DESKTOP_SIZE: i32 = -308;
/// Why it comes, and the result of a client's request.
const OF_THIS_VIEWER: u8 = 1;
const FORWARDED: u8 = 4;

impl Viewer {
    /// Connects to the server behind a socket.
    pub fn connect(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket).context("no VNC server")?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut version = [0; VERSION.len()];
        stream.read_exact(&mut version)?;
        stream.write_all(VERSION)?;
        let [count] = read(&mut stream)?;
        let mut types = vec![0; usize::from(count)];
        stream.read_exact(&mut types)?;
        ensure!(
            types.contains(&NONE),
            "the VNC server wants to know who we are"
        );
        stream.write_all(&[NONE])?;
        ensure!(
            read(&mut stream)? == [0; 4],
            "the VNC server does not want us"
        );
        // Other clients may be connected as well.
        stream.write_all(&[1])?;
        let init: [u8; 24] = read(&mut stream)?;
        let [.., a, b, c, d] = init;
        let mut name = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        stream.read_exact(&mut name)?;
        set_encodings(&mut stream, &[EXTENDED_DESKTOP_SIZE])?;
        Ok(Self(stream))
    }

    /// Asks for a screen of this size; it comes when the guest's driver has made it.
    pub fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        let ([w, x], [h, y]) = (width.to_be_bytes(), height.to_be_bytes());
        // One screen, number 0, at 0,0.
        let mut message = vec![SET_DESKTOP_SIZE, 0, w, x, h, y, 1, 0];
        message.extend([0, 0, 0, 0, 0, 0, 0, 0, w, x, h, y, 0, 0, 0, 0]);
        self.0.write_all(&message).context("the VNC server is gone")
    }

    /// Waits until the server has forwarded the last request to the guest's device.
    pub fn wait_for_answer(&mut self) -> Result<()> {
        let stream = &mut self.0;
        loop {
            while read(stream)? != [0] {
                // Bell messages have nothing behind them.
            }
            let [_, high, low] = read(stream)?;
            let mut answered = false;
            for _ in 0..u16::from_be_bytes([high, low]) {
                let [_, asked, _, result, _, _, _, _, encoding @ ..]: [u8; 12] = read(stream)?;
                ensure!(
                    i32::from_be_bytes(encoding) == EXTENDED_DESKTOP_SIZE,
                    "pixels that were not asked for"
                );
                let [screens, ..]: [u8; 4] = read(stream)?;
                let screens = io::copy(&mut stream.take(u64::from(screens) * 16), &mut io::sink());
                screens?;
                if asked == OF_THIS_VIEWER {
                    ensure!(result == FORWARDED, "the VNC server's answer is {result}");
                    answered = true;
                }
            }
            if answered {
                return Ok(());
            }
        }
    }

    /// Asks for what has changed, again and again, until the machine ends.
    pub fn watch(mut self) {
        thread::spawn(move || self.receive_updates());
    }

    fn receive_updates(&mut self) -> Result<()> {
        let stream = &mut self.0;
        stream.set_read_timeout(None)?;
        set_encodings(stream, &[RAW, EXTENDED_DESKTOP_SIZE])?;
        let mut incremental = 0;
        loop {
            // All of the screen, of any size.
            stream.write_all(&[UPDATE_REQUEST, incremental, 0, 0, 0, 0, 255, 255, 255, 255])?;
            incremental = 1;
            while read(stream)? != [0] {
                // Bell messages have nothing behind them, and the server copies nothing here.
            }
            let [_, high, low] = read(stream)?;
            for _ in 0..u16::from_be_bytes([high, low]) {
                let [_, _, _, _, a, b, c, d, encoding @ ..]: [u8; 12] = read(stream)?;
                let [width, height] = [[a, b], [c, d]].map(u16::from_be_bytes).map(u64::from);
                let bytes = match i32::from_be_bytes(encoding) {
                    RAW => width * height * 4,
                    // It comes with each answer to a request that is not incremental.
                    EXTENDED_DESKTOP_SIZE => {
                        let [screens, ..]: [u8; 4] = read(stream)?;
                        u64::from(screens) * 16
                    }
                    other => bail!("pixels are encoded as {other}"),
                };
                let seen = io::copy(&mut stream.take(bytes), &mut io::sink())?;
                ensure!(seen == bytes, "the VNC server is gone");
            }
        }
    }
}

/// Says which encodings are understood, a few.
fn set_encodings(stream: &mut UnixStream, encodings: &[i32]) -> io::Result<()> {
    let mut message = vec![SET_ENCODINGS, 0, 0, encodings.len() as u8];
    message.extend(encodings.iter().flat_map(|encoding| encoding.to_be_bytes()));
    stream.write_all(&message)
}

fn read<const N: usize>(stream: &mut UnixStream) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
