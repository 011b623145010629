//! Lines, with a legend below the drawing; they differ in their strokes.

use std::fmt::Write;

use super::labels::{Area, width};
use super::scale::AxisScale;
use super::{FRAME, HEIGHT, WIDTH, horizontal_axis, open, ticks, vertical_axis};
use crate::escape::html as escape;
use crate::report::{Axis, Rise, Series};

/// Strokes that differ in black and white too.
const STROKES: [&str; 4] = ["none", "7 3", "2 3", "9 3 2 3"];
/// The number of colours of the page.
const COLOURS: usize = 6;

pub(super) fn draw(
    title: &str,
    x: &Axis,
    y: &Axis,
    rise: &Rise,
    series: &[Series],
) -> Option<String> {
    let is_shown = |y: f64| y.is_finite() && (y > 0.0 || *rise != Rise::Logarithmic);
    let all = || series.iter().flat_map(|line| &line.points).filter(|point| is_shown(point.1));
    let low = all().map(|point| point.0).reduce(f64::min)?;
    let high = all().map(|point| point.0).reduce(f64::max)?;
    let Area { left, right, top, bottom } = FRAME;
    let horizontal = AxisScale::linear(low, high, left, right);
    let (vertical, marks, how) = match rise {
        Rise::Logarithmic => {
            let scale = AxisScale::logarithmic(all().map(|point| point.1), bottom, top)?;
            let marks = ticks(&scale, y.unit);
            (scale, marks, ", logarithmic")
        }
        Rise::Levels(names) => {
            let scale = AxisScale::linear(-0.3, names.len() as f64 - 0.7, bottom, top);
            let mark =
                |(level, name): (usize, &&str)| (scale.at(level as f64), escape(name).into_owned());
            let marks = names.iter().enumerate().map(mark).collect();
            (scale, marks, "")
        }
    };
    let (entries, rows) = legend(series);
    let mut svg = open(title, HEIGHT + 18.0 * rows as f64);
    horizontal_axis(&mut svg, &horizontal, x, "");
    vertical_axis(&mut svg, &marks, y, how);
    let is_stepped = *rise != Rise::Logarithmic;
    for (at, line) in series.iter().enumerate() {
        let points = line.points.iter().filter(|point| is_shown(point.1));
        let points: Vec<(f64, f64)> =
            points.map(|point| (horizontal.at(point.0), vertical.at(point.1))).collect();
        svg.push_str(&format!("<path class=\"line {}\" {} d=\"", colour(at), stroke(at)));
        for (at, (x, y)) in points.iter().enumerate() {
            let _ = match at {
                0 => write!(svg, "M{x:.1} {y:.1}"),
                _ if is_stepped => write!(svg, "H{x:.1}V{y:.1}"),
                _ => write!(svg, "L{x:.1} {y:.1}"),
            };
        }
        if points.len() == 1 {
            svg.push_str("h1");
        }
        svg.push_str("\"/>");
    }
    for (at, (x, row, label)) in entries.iter().enumerate() {
        let y = HEIGHT + 18.0 * *row as f64 + 8.0;
        let _ = write!(
            svg,
            "<path class=\"line {}\" {} d=\"M{x:.1} {:.1}h26\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
            colour(at),
            stroke(at),
            y - 4.0,
            x + 32.0,
            escape(label)
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

fn colour(at: usize) -> String {
    format!("c{}", at % COLOURS)
}

fn stroke(at: usize) -> String {
    format!("stroke-dasharray=\"{}\"", STROKES[at % STROKES.len()])
}

/// The place of each name in the legend (x, row, name), and the number of rows.
fn legend(series: &[Series]) -> (Vec<(f64, usize, &str)>, usize) {
    let (mut x, mut row) = (4.0, 0);
    let mut entries = Vec::new();
    for line in series {
        let wide = 32.0 + width(&line.label) + 14.0;
        if x > 4.0 && x + wide > WIDTH {
            (x, row) = (4.0, row + 1);
        }
        entries.push((x, row, line.label.as_str()));
        x += wide;
    }
    (entries, row + 1)
}
