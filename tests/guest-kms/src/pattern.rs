// SPDX-License-Identifier: GPL-2.0

//! The pictures that the guest draws, and that the host expects. Both include this file.

/// Returns a pixel of picture `seed`, as 0x00RRGGBB.
///
/// A picture moved by less than 256 pixels differs in every pixel, and so does another picture,
/// among those up to 255. Blue tells blocks of 16x16 pixels apart, by which a picture that was
/// moved farther is noticed.
pub const fn pixel(x: u32, y: u32, seed: u32) -> u32 {
    let red = x.wrapping_add(seed.wrapping_mul(37)) as u8;
    let green = y.wrapping_add(seed.wrapping_mul(91)) as u8;
    let block = (x >> 4).wrapping_mul(0x9e37_79b1) ^ (y >> 4).wrapping_mul(0x85eb_ca77);
    let mixed = (block ^ seed.wrapping_mul(0xc2b2_ae3d)).wrapping_mul(0x2c1b_3c6d);
    u32::from_be_bytes([0, red, green, (mixed >> 24) as u8])
}
