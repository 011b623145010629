//! Figures as inline SVG, in the page's own colours, so that they follow its light and dark modes.
//!
//! Drawings are narrow and their letters large, so that the same drawing can be read on a phone. Lines
//! differ in strokes, not only in colours.

mod bars;
mod distributions;
mod labels;
mod lines;
mod scale;
mod scatter;

use std::fmt::Write;

use self::labels::Area;
use self::scale::{AxisScale, tick_text};
use super::number::unit_name;
use super::{Axis, Figure, Unit};
use crate::escape::html as escape;

/// The figure as an `<svg>` element; `None` if it has nothing to show.
pub(super) fn svg(figure: &Figure) -> Option<String> {
    match figure {
        Figure::Scatter { title, x, y, points, front } => {
            scatter::draw(title, x, y, points, *front)
        }
        Figure::Bars { title, unit, bars, limit } => bars::draw(title, *unit, bars, limit.as_ref()),
        Figure::Lines { title, x, y, rise, series } => lines::draw(title, x, y, rise, series),
        Figure::Distributions { title, unit, rows } => distributions::draw(title, *unit, rows),
    }
}

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 320.0;
/// The area inside the numbers and names of the axes.
const FRAME: Area = Area { left: 78.0, right: WIDTH - 14.0, top: 10.0, bottom: HEIGHT - 46.0 };

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>"
    )
}

/// The horizontal axis: vertical grid lines with their numbers, and the axis's name.
fn horizontal_axis(svg: &mut String, scale: &AxisScale, axis: &Axis, how: &str) {
    let Area { left, right, top, bottom } = FRAME;
    for tick in scale.ticks(5) {
        let (at, label) = (scale.at(tick), tick_text(tick, axis.unit));
        let end = at + labels::width(&label) / 2.0;
        let anchor = if end > WIDTH { "end" } else { "middle" };
        let x = if end > WIDTH { WIDTH - 1.0 } else { at };
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {top:.1}V{bottom:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>",
            bottom + 16.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}{how}</text>",
        (left + right) / 2.0,
        HEIGHT - 8.0,
        axis_text(axis),
    );
}

/// The vertical axis: horizontal grid lines with their numbers or names, and the axis's name.
fn vertical_axis(svg: &mut String, ticks: &[(f64, String)], axis: &Axis, how: &str) {
    let Area { left, right, top, bottom } = FRAME;
    for (at, label) in ticks {
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            left - 6.0,
            at + 4.0
        );
    }
    let _ = write!(
        svg,
        "<text class=\"name\" transform=\"translate(13 {:.1}) rotate(-90)\" \
         text-anchor=\"middle\">{}{how}</text>",
        (top + bottom) / 2.0,
        axis_text(axis)
    );
}

fn ticks(scale: &AxisScale, unit: Unit) -> Vec<(f64, String)> {
    scale.ticks(6).into_iter().map(|tick| (scale.at(tick), tick_text(tick, unit))).collect()
}

fn axis_text(axis: &Axis) -> String {
    match unit_name(axis.unit) {
        "" => escape(&axis.name).into_owned(),
        unit => format!("{} ({unit})", escape(&axis.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Distribution, Front, Point, Rise, Series};
    use super::*;
    use crate::stats::{Estimate, Interval};

    fn point(label: &str, x: f64, y: f64) -> Point {
        let interval = Some(Interval { low: y * 0.9, high: y * 1.1, level: 0.95 });
        Point { label: label.into(), x, y: Estimate { point: y, interval, n: 9 } }
    }

    fn figure(points: Vec<Point>) -> Figure {
        let (x, y) = (Axis::new("size", Unit::Bytes), Axis::new("KL mean", Unit::Nats));
        Figure::Scatter { title: "a < b".into(), x, y, points, front: Some(Front::Less) }
    }

    #[test]
    fn every_point_is_within_the_figure() {
        let points = vec![point("a", 1e6, 1e-7), point("b", 2e9, 40.0), point("c", 5e7, 0.02)];
        let svg = svg(&figure(points)).unwrap();
        let numbers = |attribute: &str| -> Vec<f64> {
            let parts = svg.split(attribute).skip(1);
            parts.map(|part| part.split('"').next().unwrap().parse().unwrap()).collect()
        };
        assert_eq!(numbers(" cx=\"").len(), 3);
        assert!(numbers(" cx=\"").iter().all(|x| (0.0..=WIDTH).contains(x)), "{svg}");
        assert!(numbers(" cy=\"").iter().all(|y| (0.0..=HEIGHT).contains(y)), "{svg}");
    }

    #[test]
    fn a_figure_of_one_point_has_ticks_and_escapes_its_words() {
        let svg = svg(&figure(vec![point("<a&b>", 3.3e6, 0.033)])).unwrap();
        assert!(svg.matches("class=\"grid\"").count() >= 4, "{svg}");
        assert!(svg.contains("&lt;a&amp;b&gt;") && svg.contains("a &lt; b"), "{svg}");
    }

    #[test]
    fn values_that_a_logarithm_cannot_show_are_left_out() {
        let zero = vec![point("lossless", 1e6, 0.0), point("broken", 1e6, f64::INFINITY)];
        assert_eq!(svg(&figure(zero)), None);
        assert_eq!(svg(&figure(Vec::new())), None);
        let (title, bars) = (String::new(), Vec::new());
        assert_eq!(svg(&Figure::Bars { title, unit: Unit::Bytes, bars, limit: None }), None);
    }

    #[test]
    fn lines_levels_and_distributions_are_drawn_or_left_out() {
        let lines = |rise: Rise, points: Vec<(f64, f64)>| Figure::Lines {
            title: String::new(),
            x: Axis::new("window", Unit::None),
            y: Axis::new("KL mean", Unit::Nats),
            rise,
            series: vec![Series { label: "a".into(), points }],
        };
        assert!(svg(&lines(Rise::Logarithmic, vec![(0.0, 0.0)])).is_none());
        let drawn = svg(&lines(Rise::Logarithmic, vec![(0.0, 0.1), (1.0, 2.0)])).unwrap();
        assert!(drawn.contains("<path class=\"line"), "{drawn}");
        let levels = Rise::Levels(vec!["nominal", "fair"]);
        let drawn = svg(&lines(levels, vec![(0.0, 0.0), (1.0, 1.0)])).unwrap();
        assert!(drawn.contains(">fair<"), "{drawn}");
        let row = Distribution::of("a", vec![1.0, 2.0, 9.0]).unwrap();
        let figure =
            |rows| Figure::Distributions { title: String::new(), unit: Unit::Millis, rows };
        assert!(svg(&figure(vec![row])).is_some() && svg(&figure(Vec::new())).is_none());
    }
}
