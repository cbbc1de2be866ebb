// SPDX-License-Identifier: GPL-2.0

//! Plots of what was measured, as SVG.

use anyhow::{anyhow, Result};
use plotters::prelude::*;
use std::path::Path;

const SIZE: (u32, u32) = (900, 480);
const OURS: RGBColor = RGBColor(0x1b, 0x7f, 0x5c);
const THEIRS: RGBColor = RGBColor(0x8a, 0x8f, 0x98);
const COLOURS: [RGBColor; 3] = [OURS, RGBColor(0x2a, 0x5d, 0xb0), THEIRS];

/// Draws a bar for each console, on a logarithmic scale.
pub fn bars(path: &Path, bars: &[(&str, f64)]) -> Result<()> {
    draw_bars(path, bars).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn draw_bars(path: &Path, bars: &[(&str, f64)]) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let count = bars.len() as i32;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Instructions for a line of 82 columns that scrolls, printk included",
            ("sans-serif", 20),
        )
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(190)
        .build_cartesian_2d(
            (1000.0..10_000_000.0).log_scale(),
            (0..count).into_segmented(),
        )?;
    let name = |at: &SegmentValue<i32>| match at {
        SegmentValue::CenterOf(at) => (bars.len() as i32 - 1)
            .checked_sub(*at)
            .and_then(|at| bars.get(at as usize))
            .map_or_else(String::new, |bar| bar.0.to_owned()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(bars.len() + 1)
        .y_label_formatter(&name)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .label_style(("sans-serif", 15))
        .draw()?;
    for (at, (name, value)) in bars.iter().rev().enumerate() {
        if value.is_nan() {
            continue;
        }
        let at = at as i32;
        let colour = match name.starts_with(crate::compare::OURS) {
            true => OURS,
            false => THEIRS,
        };
        let corners = [
            (1000.0, SegmentValue::Exact(at)),
            (*value, SegmentValue::Exact(at + 1)),
        ];
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(5, 5, 0, 0);
        chart.draw_series([bar])?;
        chart.draw_series([Text::new(
            format!(" {value:.0}"),
            (*value, SegmentValue::CenterOf(at)),
            ("sans-serif", 14),
        )])?;
    }
    area.present()?;
    Ok(())
}

/// Draws a curve for each console, over the pixels of a screen.
pub fn curves(path: &Path, curves: &[(&str, Vec<(usize, f64)>)]) -> Result<()> {
    draw_curves(path, curves).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn draw_curves(
    path: &Path,
    curves: &[(&str, Vec<(usize, f64)>)],
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("The same line on larger screens", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(90)
        .build_cartesian_2d(
            (250_000.0..10_000_000.0).log_scale(),
            (1000.0..10_000_000.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc("pixels of the screen")
        .y_desc("instructions")
        .x_label_formatter(&|value| format!("{value:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS) {
        let points: Vec<_> = points
            .iter()
            .filter(|(_, value)| !value.is_nan())
            .map(|&(pixels, value)| (pixels as f64, value))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(
            points
                .into_iter()
                .map(|point| Circle::new(point, 3, colour.filled())),
        )?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(THEIRS)
        .draw()?;
    area.present()?;
    Ok(())
}
