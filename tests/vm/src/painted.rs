// SPDX-License-Identifier: GPL-2.0

//! What the guest's `kms` draws, pixel by pixel.

use crate::{pattern::pixel, screen::Picture};
use anyhow::{ensure, Context, Result};
use std::ops::Range;

/// A screen on which the guest has drawn.
#[derive(Clone)]
pub struct Painted {
    width: usize,
    height: usize,
    /// The size of the picture; the screen is black beyond it.
    drawn: (u32, u32),
    /// Which pixel of the picture is at the top left.
    first: (u32, u32),
    /// The picture that was drawn first.
    seed: u32,
    /// Parts of other pictures, the last one on top.
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    columns: Range<u32>,
    rows: Range<u32>,
    seed: u32,
}

impl Painted {
    /// Returns a screen of that size with picture `seed`.
    pub fn new((width, height): (usize, usize), seed: u32) -> Self {
        Self {
            width,
            height,
            drawn: (width as u32, height as u32),
            first: (0, 0),
            seed,
            parts: Vec::new(),
        }
    }

    /// Puts the picture on a screen of another size.
    pub fn on(self, (width, height): (usize, usize)) -> Self {
        Self {
            width,
            height,
            ..self
        }
    }

    /// Makes the picture smaller than the screen.
    pub fn of(self, (width, height): (u32, u32)) -> Self {
        Self {
            drawn: (width, height),
            ..self
        }
    }

    /// Moves the picture to the left and up.
    pub fn from(self, x: u32, y: u32) -> Self {
        Self {
            first: (x, y),
            ..self
        }
    }

    /// Puts a part of picture `seed` on it. It may lie beyond the screen.
    pub fn with(mut self, [x, y, width, height]: [u32; 4], seed: u32) -> Self {
        self.parts.push(Part {
            columns: x..x.saturating_add(width),
            rows: y..y.saturating_add(height),
            seed,
        });
        self
    }

    /// Returns a pixel, as 0x00RRGGBB.
    fn at(&self, x: u32, y: u32) -> u32 {
        if x >= self.drawn.0 || y >= self.drawn.1 {
            return 0;
        }
        let (x, y) = (x + self.first.0, y + self.first.1);
        let mut parts = self.parts.iter().rev();
        let part = parts.find(|part| part.columns.contains(&x) && part.rows.contains(&y));
        pixel(x, y, part.map_or(self.seed, |part| part.seed))
    }

    /// Checks that every pixel of `picture` is as it was drawn.
    pub fn check(&self, picture: &Picture) -> Result<()> {
        ensure!(
            (picture.width, picture.height) == (self.width, self.height),
            "{}x{} pixels instead of {}x{}",
            picture.width,
            picture.height,
            self.width,
            self.height
        );
        let mut first = None;
        let mut count = 0;
        for (y, x) in (0..self.height).flat_map(|y| (0..self.width).map(move |x| (y, x))) {
            let (is, wanted) = (picture.at(x, y), self.at(x as u32, y as u32));
            if is != wanted {
                first.get_or_insert((x, y, is, wanted));
                count += 1;
            }
        }
        match first {
            None => Ok(()),
            Some((x, y, is, wanted)) => anyhow::bail!(
                "{count} of {} pixels differ, the first one at {x},{y}: {is:06x} instead of {wanted:06x}",
                self.width * self.height
            ),
        }
    }
}

/// Returns the nanoseconds that an update of so many pixels took, as `kms` says in the log.
pub fn cost(log: &str, size: &str) -> Result<u64> {
    let cost = log.split_once(&format!("kms: cost: {size} pixels in "));
    let (cost, _) = (cost.and_then(|(_, cost)| cost.split_once(' ')))
        .with_context(|| format!("nobody tells the cost of {size} pixels"))?;
    Ok(cost.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (600, 300);

    /// Returns what a screen shows on which `painted` was drawn.
    fn shown(painted: &Painted) -> Picture {
        let pixels = (0..painted.height as u32)
            .flat_map(|y| (0..painted.width as u32).map(move |x| painted.at(x, y)))
            .collect();
        Picture::of(painted.width, painted.height, pixels).unwrap()
    }

    #[test]
    fn what_was_drawn_is_recognised() {
        let painted = Painted::new(SIZE, 1).with([590, 0, 100, 10], 2);
        painted.check(&shown(&painted)).unwrap();
        let under = painted.clone().with([595, 5, 1, 1], 3);
        let error = painted.check(&shown(&under)).unwrap_err().to_string();
        assert!(error.starts_with("1 of 180000 pixels differ, the first one at 595,5: "));
        assert!(Painted::new((300, 600), 1).check(&shown(&painted)).is_err());
    }

    #[test]
    fn a_screen_is_black_beyond_the_picture() {
        let painted = Painted::new(SIZE, 1).on((300, 400));
        let picture = shown(&painted);
        painted.check(&picture).unwrap();
        assert_eq!(picture.at(299, 300), 0);
        assert_eq!(picture.at(299, 299), pixel(299, 299, 1));
    }

    #[test]
    fn pictures_that_are_old_or_moved_differ_everywhere() {
        for seed in [1, 2, 77] {
            for (x, y) in [(0, 0), (5, 0), (599, 299), (130, 7)] {
                let is = pixel(x, y, seed);
                assert!((0..256).all(|other| other == seed || pixel(x, y, other) != is));
                assert!((1..256).all(|by| pixel(x + by, y, seed) != is));
                assert!((1..256).all(|by| pixel(x, y + by, seed) != is));
            }
        }
    }

    #[test]
    fn pictures_moved_by_256_pixels_differ() {
        let differs = |at, x, y| pixel(at, at, 1) != pixel(at + x, at + y, 1);
        assert!((0..300).filter(|&at| differs(at, 256, 0)).count() > 200);
        assert!((0..300).filter(|&at| differs(at, 0, 256)).count() > 200);
    }
}
