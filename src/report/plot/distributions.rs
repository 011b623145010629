//! Distributions, a row each: the middle half as a box, the 5th to 95th percentile as a line, the median
//! as a stroke and the largest value as a dot.

use std::fmt::Write;

use super::scale::{AxisScale, tick_text};
use super::{WIDTH, open};
use crate::escape::html as escape;
use crate::report::number::{Detail, text};
use crate::report::{Distribution, Unit, Value};

const ROW: f64 = 40.0;
/// If the largest value exceeds this many times the smallest, the axis is logarithmic, because a linear
/// one would show only the largest.
const FAR: f64 = 12.0;

pub(super) fn draw(title: &str, unit: Unit, rows: &[Distribution]) -> Option<String> {
    let largest = rows.iter().map(|row| row.at[5]).reduce(f64::max)?;
    let smallest = rows.iter().map(|row| row.at[0]).reduce(f64::min)?;
    let (from, to) = (8.0, WIDTH - 10.0);
    let is_far = smallest > 0.0 && largest / smallest > FAR;
    let scale = if is_far {
        AxisScale::logarithmic([smallest, largest].into_iter(), from, to)?
    } else {
        AxisScale::linear(0.0, largest, from, to)
    };
    let bottom = ROW * rows.len() as f64 + 4.0;
    let mut svg = open(title, bottom + 20.0);
    let mut last = f64::NEG_INFINITY;
    for tick in scale.ticks(6) {
        let at = scale.at(tick);
        let _ = write!(svg, "<path class=\"grid\" d=\"M{at:.1} 0V{bottom:.1}\"/>");
        if at - last < 58.0 {
            continue;
        }
        last = at;
        let anchor = match at {
            at if at < 30.0 => "start",
            at if at > WIDTH - 40.0 => "end",
            _ => "middle",
        };
        let label = tick_text(tick, unit);
        let y = bottom + 15.0;
        let _ =
            write!(svg, "<text x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>");
    }
    for (place, row) in rows.iter().enumerate() {
        let y = ROW * place as f64 + 14.0;
        let [p5, p25, median, p75, p95, most] = row.at.map(|value| scale.at(value));
        let middle = y + 13.0;
        let written = text(&Value::Number(row.at[2]), unit, Detail::Point);
        let _ = write!(
            svg,
            "<text class=\"halo\" x=\"2\" y=\"{y:.1}\">{}</text>\
             <text class=\"name halo\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">median {written}</text>\
             <path class=\"interval\" d=\"M{p5:.1} {middle:.1}H{p95:.1}\"/>\
             <rect x=\"{p25:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\"/>\
             <path class=\"median\" d=\"M{median:.1} {:.1}v16\"/>\
             <circle cx=\"{most:.1}\" cy=\"{middle:.1}\" r=\"2.5\"/>",
            escape(&row.label),
            WIDTH - 2.0,
            middle - 6.0,
            (p75 - p25).max(1.5),
            middle - 8.0,
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}
