// SPDX-License-Identifier: GPL-2.0

//! Commands as a device decodes them: by their offsets in VIRTIO 1.3, section 5.7.6, independently
//! of the driver's own structures.

/// VIRTIO_GPU_RESP_OK_NODATA.
pub(crate) const OK_NODATA: u32 = 0x1100;
/// VIRTIO_GPU_RESP_OK_DISPLAY_INFO.
pub(crate) const OK_DISPLAY_INFO: u32 = 0x1101;
/// VIRTIO_GPU_RESP_OK_EDID.
pub(crate) const OK_EDID: u32 = 0x1104;
/// VIRTIO_GPU_RESP_ERR_UNSPEC.
pub(crate) const ERR_UNSPEC: u32 = 0x1200;
/// VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY.
pub(crate) const ERR_OUT_OF_MEMORY: u32 = 0x1201;
/// VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID.
pub(crate) const ERR_INVALID_SCANOUT_ID: u32 = 0x1202;
/// VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID.
pub(crate) const ERR_INVALID_RESOURCE_ID: u32 = 0x1203;
/// VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER.
pub(crate) const ERR_INVALID_PARAMETER: u32 = 0x1205;

/// A rectangle of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Area {
    /// Returns whether it lies within a picture of this size.
    pub(crate) fn is_within(&self, width: u32, height: u32) -> bool {
        let end = |start: u32, length: u32| u64::from(start) + u64::from(length);
        end(self.x, self.width) <= width.into() && end(self.y, self.height) <= height.into()
    }

    /// Returns the intersection; its size is 0 if there is none.
    pub(crate) fn common(&self, other: &Self) -> Self {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        let end = |a: u32, b: u32, c: u32, d: u32| (a + b).min(c + d);
        Self {
            x,
            y,
            width: end(self.x, self.width, other.x, other.width).saturating_sub(x),
            height: end(self.y, self.height, other.y, other.height).saturating_sub(y),
        }
    }
}

/// A command of the driver.
#[derive(Debug)]
pub(crate) enum Request {
    GetDisplayInfo,
    Create {
        id: u32,
        format: u32,
        width: u32,
        height: u32,
    },
    Unref {
        id: u32,
    },
    SetScanout {
        area: Area,
        scanout: u32,
        id: u32,
    },
    Flush {
        area: Area,
        id: u32,
    },
    Transfer {
        area: Area,
        offset: u64,
        id: u32,
    },
    Attach {
        id: u32,
        entries: Vec<(u64, u32)>,
    },
    GetEdid {
        scanout: u32,
    },
}

impl Request {
    /// Decodes a command; `None` if it is unknown, or its size is wrong.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from(word(at)?) | (u64::from(word(at + 4)?) << 32));
        let area = || {
            Some(Area {
                x: word(24)?,
                y: word(28)?,
                width: word(32)?,
                height: word(36)?,
            })
        };
        // No fence, no context, no ring.
        if bytes.get(4..24)?.iter().any(|&byte| byte != 0) {
            return None;
        }
        let (size, request) = match word(0)? {
            0x100 => (24, Self::GetDisplayInfo),
            0x101 => (
                40,
                Self::Create {
                    id: word(24)?,
                    format: word(28)?,
                    width: word(32)?,
                    height: word(36)?,
                },
            ),
            0x102 => (32, Self::Unref { id: word(24)? }),
            0x103 => (
                48,
                Self::SetScanout {
                    area: area()?,
                    scanout: word(40)?,
                    id: word(44)?,
                },
            ),
            0x104 => (
                48,
                Self::Flush {
                    area: area()?,
                    id: word(40)?,
                },
            ),
            0x105 => (
                56,
                Self::Transfer {
                    area: area()?,
                    offset: long(40)?,
                    id: word(48)?,
                },
            ),
            0x106 => {
                let count = usize::try_from(word(28)?).ok()?;
                let entries: Option<Vec<_>> = (0..count)
                    .map(|n| Some((long(32 + 16 * n)?, word(40 + 16 * n)?)))
                    .collect();
                (
                    32 + 16 * count,
                    Self::Attach {
                        id: word(24)?,
                        entries: entries?,
                    },
                )
            }
            0x10a => (32, Self::GetEdid { scanout: word(24)? }),
            _ => return None,
        };
        (bytes.len() == size).then_some(request)
    }
}
