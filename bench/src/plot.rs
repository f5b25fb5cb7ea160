//! Plots of the results, in SVG.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::report::{Report, Work, amount};

const WIDTH: u32 = 900;
const ROW: u32 = 44;
const LABELS: i32 = 250;
const VALUES: i32 = 110;
const HEAD: i32 = 66;
const FOOT: i32 = 34;
const OURS: RGBColor = RGBColor(0, 114, 178);
const OTHERS: RGBColor = RGBColor(160, 160, 160);

/// Draws each work with more than one side into `directory`; returns the files.
pub(crate) fn draw(report: &Report, directory: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(directory)?;
    let mut files = Vec::new();
    for work in report.works.iter().filter(|work| work.sides.len() > 1) {
        let file = directory.join(work.name).with_extension("svg");
        bars(work, &report.host.line(), &file)
            .map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))?;
        files.push(file);
    }
    Ok(files)
}

/// Text that is anchored at the middle of its height.
fn anchored(size: i32, horizontal: HPos, color: &RGBColor) -> TextStyle<'_> {
    let position = Pos::new(horizontal, VPos::Center);
    TextStyle::from(("sans-serif", size).into_font()).pos(position).color(color)
}

/// One bar a side, of logarithmic length: the sides differ by orders of magnitude.
fn bars(work: &Work, host: &str, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let rows = u32::try_from(work.sides.len())?;
    let height = ROW * rows + u32::try_from(HEAD + FOOT)?;
    let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let heading = anchored(19, HPos::Left, &BLACK);
    area.draw_text(work.name, &heading, (16, 22))?;
    let small = anchored(13, HPos::Left, &RGBColor(70, 70, 70));
    area.draw_text(&work.what, &small, (16, 46))?;

    let smallest = work.sides.iter().map(|side| side.median).fold(f64::INFINITY, f64::min);
    let largest = work.sides.iter().map(|side| side.high).fold(0.0, f64::max);
    // The axis begins up to a decade and a half before the shortest bar.
    let start = (smallest.max(1e-12).log10() - 0.5).floor();
    let room = f64::from(i32::try_from(WIDTH)? - LABELS - VALUES);
    let span = (largest.max(1e-12).log10() - start).max(0.1);
    let x = |value: f64| {
        let part = ((value.max(1e-12).log10() - start) / span).clamp(0.0, 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "within the width of the plot")]
        let pixels = (part * room).round() as i32;
        LABELS + pixels
    };
    let bottom = HEAD + i32::try_from(ROW * rows)?;
    let names_any = work.sides.iter().any(|side| side.name.starts_with("capscache"));
    let mut decade = start;
    while decade <= start + span {
        let value = 10_f64.powf(decade);
        let line = [(x(value), HEAD - 4), (x(value), bottom)];
        area.draw(&PathElement::new(line, RGBColor(225, 225, 225)))?;
        let tick = anchored(11, HPos::Center, &RGBColor(120, 120, 120));
        area.draw_text(&amount(value, work.unit), &tick, (x(value), bottom + 10))?;
        decade += 1.0;
    }
    for (row, side) in (0_i32..).zip(&work.sides) {
        let middle = HEAD + row * i32::try_from(ROW)? + i32::try_from(ROW / 2)?;
        // If no side is named after capscache, all are its own.
        let is_ours = side.name.starts_with("capscache") || !names_any;
        let color = if is_ours { OURS } else { OTHERS };
        let name = anchored(14, HPos::Right, &BLACK);
        area.draw_text(&side.name, &name, (LABELS - 10, middle))?;
        let bar = [(LABELS, middle - 12), (x(side.median), middle + 12)];
        area.draw(&Rectangle::new(bar, color.filled()))?;
        let spread = [(x(side.low), middle), (x(side.high), middle)];
        area.draw(&PathElement::new(spread, BLACK.stroke_width(1)))?;
        let value = anchored(14, HPos::Left, &BLACK);
        let end = x(side.high).max(x(side.median)) + 8;
        area.draw_text(&amount(side.median, work.unit), &value, (end, middle))?;
    }
    let foot = anchored(11, HPos::Left, &RGBColor(120, 120, 120));
    area.draw_text(&format!("{host}; logarithmic"), &foot, (16, bottom + 26))?;
    area.present()?;
    Ok(())
}
