//! Horizontal bars, and a limit that none should cross.

use std::fmt::Write;

use super::labels::width;
use super::{WIDTH, open};
use crate::escape::html as escape;
use crate::report::figure::{Bar, Bound};
use crate::report::number::{Detail, text};
use crate::report::{Unit, Value};

const ROW: f64 = 40.0;

pub(super) fn draw(title: &str, unit: Unit, bars: &[Bar], limit: Option<&Bound>) -> Option<String> {
    let most = bars.iter().map(|bar| bar.value).chain(limit.map(|limit| limit.value));
    let longest = most.reduce(f64::max).filter(|_| !bars.is_empty())?;
    let length = |value: f64| if longest > 0.0 { value / longest * (WIDTH - 4.0) } else { 0.0 };
    let bottom = ROW * bars.len() as f64 + 4.0;
    let mut svg = open(title, bottom + if limit.is_some() { 20.0 } else { 0.0 });
    for (row, Bar { label, value, remark }) in bars.iter().enumerate() {
        let y = ROW * row as f64 + 14.0;
        let number = text(&Value::Number(*value), unit, Detail::Point);
        let remark = if remark.is_empty() { number } else { format!("{number}, {remark}") };
        let _ = write!(
            svg,
            "<text x=\"2\" y=\"{y:.1}\">{}</text>\
             <text class=\"name\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"track\" x=\"2\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/>\
             <rect x=\"2\" y=\"{:.1}\" width=\"{:.1}\" height=\"14\"/>",
            escape(label),
            WIDTH - 2.0,
            escape(&remark),
            y + 5.0,
            WIDTH - 4.0,
            y + 5.0,
            length(*value).max(1.0),
        );
    }
    if let Some(Bound { name, value }) = limit {
        let at = 2.0 + length(*value);
        let name = format!("{name}: {}", text(&Value::Number(*value), unit, Detail::Point));
        let x = (at + 4.0).min(WIDTH - width(&name)).max(2.0);
        let _ = write!(
            svg,
            "<path class=\"limit\" d=\"M{at:.1} 0V{:.1}\"/><text x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 4.0,
            bottom + 15.0,
            escape(&name)
        );
    }
    svg.push_str("</svg>");
    Some(svg)
}
