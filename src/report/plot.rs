//! Figures as inline SVG, in the page's own colours so that they follow light and dark.

use std::fmt::Write;

use super::number::{Detail, text};
use super::{Axis, Figure, Point, Unit, Value};

/// The figure as an `<svg>` element; nothing if there is nothing to show.
pub(super) fn svg(figure: &Figure) -> Option<String> {
    match figure {
        Figure::Scatter { title, x, y, points } => scatter(title, x, y, points),
        Figure::Bars { title, unit, bars } => bar_chart(title, *unit, bars),
    }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Room for the axes' numbers and names: left, right, top, bottom.
const MARGIN: [f64; 4] = [76.0, 24.0, 16.0, 52.0];

/// A logarithmic axis from value to position.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Spans the positive `values`, with some air; `None` without any.
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Scale> {
        let logs: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().reduce(f64::min)?;
        let high = logs.iter().copied().reduce(f64::max)?;
        let air = ((high - low) * 0.08).max(0.05);
        Some(Scale { low: low - air, high: high + air, from, to })
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// 1, 2 and 5 of each power of ten within; only powers if those are many.
    fn ticks(&self) -> Vec<f64> {
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let steps: &[f64] = if self.high - self.low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = powers.flat_map(|p| steps.iter().map(move |s| s * 10_f64.powi(p)));
        let ticks: Vec<f64> =
            all.filter(|tick| (self.low..=self.high).contains(&tick.log10())).collect();
        if ticks.len() >= 2 {
            return ticks;
        }
        vec![
            10_f64.powf(self.low),
            10_f64.powf((self.low + self.high) / 2.0),
            10_f64.powf(self.high),
        ]
    }
}

fn scatter(title: &str, x: &Axis, y: &Axis, points: &[Point]) -> Option<String> {
    let [left, right, top, bottom] = MARGIN;
    let points: Vec<&Point> =
        points.iter().filter(|p| p.x > 0.0 && p.y.point.is_finite() && p.y.point > 0.0).collect();
    let ends = |p: &&Point| {
        let interval = p.y.interval;
        [p.y.point, interval.map_or(p.y.point, |i| i.low), interval.map_or(p.y.point, |i| i.high)]
    };
    let across = Scale::over(points.iter().map(|p| p.x), left, WIDTH - right)?;
    let up = Scale::over(points.iter().flat_map(ends), HEIGHT - bottom, top)?;
    let mut svg = open(title, HEIGHT);
    for tick in across.ticks() {
        let (at, label) = (across.at(tick), tick_text(tick, x.unit));
        let (from, to) = (top, HEIGHT - bottom);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {from:.1}V{to:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            to + 18.0
        );
    }
    for tick in up.ticks() {
        let (at, label) = (up.at(tick), tick_text(tick, y.unit));
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{left:.1} {at:.1}H{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            WIDTH - right,
            left - 8.0,
            at + 4.0
        );
    }
    let (middle, centre) = ((left + WIDTH - right) / 2.0, (top + HEIGHT - bottom) / 2.0);
    let _ = write!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text transform=\"translate(14 {centre:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        HEIGHT - 10.0,
        axis_text(x),
        axis_text(y)
    );
    for point in points {
        mark(&mut svg, point, &across, &up);
    }
    svg.push_str("</svg>");
    Some(svg)
}

fn mark(svg: &mut String, point: &Point, across: &Scale, up: &Scale) {
    let (x, y) = (across.at(point.x), up.at(point.y.point));
    if let Some(interval) = point.y.interval.filter(|i| i.low > 0.0) {
        let (low, high) = (up.at(interval.low), up.at(interval.high));
        let _ = write!(svg, "<path class=\"interval\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>");
    }
    // Labels on the right half stand to the left of their point, so that none leaves the figure.
    let (side, anchor) = if x > WIDTH * 0.6 { (-8.0, "end") } else { (8.0, "start") };
    let _ = write!(
        svg,
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
        x + side,
        y - 6.0,
        escape(&point.label)
    );
}

fn bar_chart(title: &str, unit: Unit, bars: &[(String, f64, String)]) -> Option<String> {
    const ROW: f64 = 26.0;
    const LABEL: f64 = 180.0;
    const REMARK: f64 = 190.0;
    let longest = bars.iter().map(|(_, value, _)| *value).reduce(f64::max)?;
    let mut svg = open(title, ROW * bars.len() as f64 + 8.0);
    for (row, (label, value, remark)) in bars.iter().enumerate() {
        let y = ROW * row as f64 + 4.0;
        let length = if longest > 0.0 { value / longest * (WIDTH - LABEL - REMARK) } else { 0.0 };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABEL:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}, {}</text>",
            LABEL - 8.0,
            y + 15.0,
            escape(label),
            ROW - 6.0,
            LABEL + length + 8.0,
            y + 15.0,
            text(&Value::Number(*value), unit, Detail::Point),
            escape(remark)
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>"
    )
}

fn axis_text(axis: &Axis) -> String {
    let unit = if axis.unit == Unit::Nats { " (nats)" } else { "" };
    format!("{}{unit}, logarithmic", escape(&axis.name))
}

fn tick_text(tick: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => text(&Value::Number(tick), unit, Detail::Point),
        _ => {
            let rounded = crate::units::significant(tick, 2);
            let trimmed = rounded.trim_end_matches('0').trim_end_matches('.');
            if rounded.contains('.') && !rounded.contains('e') {
                trimmed.to_owned()
            } else {
                rounded
            }
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Estimate, Interval};

    fn point(label: &str, x: f64, y: f64) -> Point {
        let interval = Some(Interval { low: y * 0.9, high: y * 1.1, level: 0.95 });
        Point { label: label.into(), x, y: Estimate { point: y, interval, n: 9 } }
    }

    fn figure(points: Vec<Point>) -> Figure {
        let axis = |name: &str, unit| Axis { name: name.into(), unit };
        let (x, y) = (axis("size", Unit::Bytes), axis("KL mean", Unit::Nats));
        Figure::Scatter { title: "a < b".into(), x, y, points }
    }

    #[test]
    fn every_point_lies_within_the_figure() {
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
        let bars = Figure::Bars { title: String::new(), unit: Unit::Bytes, bars: Vec::new() };
        assert_eq!(svg(&bars), None);
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (low, high) in [(0.0, 0.01), (5.9, 6.3), (6.0, 9.3), (-7.0, 2.0)] {
            let ticks = Scale { low, high, from: 0.0, to: 1.0 }.ticks();
            assert!((2..=10).contains(&ticks.len()), "{ticks:?}");
        }
        assert_eq!(tick_text(0.02, Unit::Nats), "0.02");
        assert_eq!(tick_text(1000.0, Unit::None), "1000");
        assert_eq!(tick_text(5e6, Unit::Bytes), "5.00 MB");
    }
}
