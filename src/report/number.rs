//! Values as people read them: no more digits than the interval supports, and a unit.

use super::{Column, Unit, Value};
use crate::stats::{Estimate, Interval};
use crate::units::{BitsPerWeight, Bytes, Millis, significant};

/// How much of an estimate's interval is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// `12.3`
    Point,
    /// `12.3 ±0.4`: the larger half of the interval.
    HalfWidth,
    /// `12.3 [11.9, 12.6]`
    Ends,
}

/// Ratios from here on are shown as `×12`, not as a change of `+1100` percent.
const LARGE_RATIO: f64 = 10.0;

/// A value as text; empty for nothing.
pub(super) fn text(value: &Value, unit: Unit, detail: Detail) -> String {
    match value {
        Value::Empty => String::new(),
        Value::Text(text) => text.clone(),
        Value::Hash(hash) => hash.chars().take(16).collect(),
        Value::Count(count) if unit == Unit::Bytes => Bytes(*count).to_string(),
        Value::Count(count) => grouped(*count),
        Value::Number(number) => plain(*number, unit),
        Value::Estimate(estimate) => with_interval(estimate, unit, detail),
        Value::Failed(cause) => format!("failed: {cause}"),
    }
}

/// A column's heading: its name and, on a second line, the unit that its values leave out.
pub(super) fn heading(column: &Column) -> (&str, &'static str) {
    let unit = match column.unit {
        Unit::BitsPerWeight => "bits/w",
        Unit::Nats => "nats",
        Unit::BitsPerByte => "bits/B",
        Unit::Ratio | Unit::Share => "%",
        Unit::None | Unit::Bytes | Unit::Millis => "",
    };
    (&column.name, unit)
}

/// A whole number with a comma between thousands.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number whose uncertainty is unknown.
fn plain(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => Bytes(number.max(0.0) as u64).to_string(),
        Unit::BitsPerWeight => BitsPerWeight(number).to_string(),
        Unit::Millis => Millis(number).to_string(),
        Unit::Share => fixed(number * 100.0, 1),
        Unit::Ratio if number >= LARGE_RATIO => format!("×{}", significant(number, 3)),
        Unit::Ratio => format!("{:+.1}", (number - 1.0) * 100.0),
        Unit::None | Unit::Nats | Unit::BitsPerByte => significant(number, 3),
    }
}

/// What is put around a number, and what is done to it before.
struct Shown {
    prefix: &'static str,
    offset: f64,
    factor: f64,
    is_signed: bool,
}

fn shown(unit: Unit, point: f64) -> Shown {
    let as_is = Shown { prefix: "", offset: 0.0, factor: 1.0, is_signed: false };
    match unit {
        Unit::Ratio if point >= LARGE_RATIO => Shown { prefix: "×", ..as_is },
        Unit::Ratio => Shown { offset: 1.0, factor: 100.0, is_signed: true, ..as_is },
        Unit::Share => Shown { factor: 100.0, ..as_is },
        _ => as_is,
    }
}

fn with_interval(estimate: &Estimate, unit: Unit, detail: Detail) -> String {
    let (Some(Interval { low, high, .. }), Some(half_width)) =
        (estimate.interval, estimate.half_width())
    else {
        return plain(estimate.point, unit);
    };
    let Shown { prefix, offset, factor, is_signed } = shown(unit, estimate.point);
    let half_width = half_width * factor;
    let write = |value: f64| {
        let text = match decimals_for(half_width) {
            Some(decimals) => fixed((value - offset) * factor, decimals),
            None => significant((value - offset) * factor, 4),
        };
        if is_signed && !text.starts_with('-') { format!("+{text}") } else { text }
    };
    let point = write(estimate.point);
    match detail {
        Detail::Point => format!("{prefix}{point}"),
        Detail::HalfWidth => {
            let half_width = match decimals_for(half_width) {
                Some(decimals) => fixed(half_width, decimals),
                None => significant(half_width, 1),
            };
            format!("{prefix}{point} ±{half_width}")
        }
        Detail::Ends => format!("{prefix}{point} [{}, {}]", write(low), write(high)),
    }
}

/// Digits after the point that a half-width supports: its first digit, or two if that is a 1.
/// Negative before the point; `None` if the half-width is nothing, or too small to spell out.
fn decimals_for(half_width: f64) -> Option<i32> {
    if !(half_width.is_finite() && half_width >= 1e-6) {
        return None;
    }
    // By way of text, because rounding can raise the exponent: 0.0997 is written 0.10.
    let scientific = format!("{half_width:.1e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    Some(i32::from(mantissa.starts_with('1')) - exponent)
}

fn fixed(value: f64, decimals: i32) -> String {
    if !value.is_finite() || value.abs() >= 1e15 {
        return significant(value, 3);
    }
    let step = 10_f64.powi(-decimals.min(0));
    let text = format!("{:.*}", decimals.max(0) as usize, (value / step).round() * step);
    let text = if decimals > 0 { format!("{value:.*}", decimals as usize) } else { text };
    // A small negative number rounds to zero, which has no sign.
    let is_zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
    if is_zero { text.trim_start_matches('-').to_owned() } else { text }
}
