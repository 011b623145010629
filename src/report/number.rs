//! Values as text: no more digits than the interval supports, and a unit.

use std::borrow::Cow;

use super::{Column, Unit, Value};
use crate::escape;
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

/// Ratios of at least this are shown as `×12`, not as a change of `+1100` percent.
const LARGE_RATIO: f64 = 10.0;

/// A value as text on one line, without hidden characters.
pub(super) fn text(value: &Value, unit: Unit, detail: Detail) -> String {
    match value {
        Value::Empty => String::new(),
        Value::Text(text) => one_line(text),
        Value::Hash(hash) => one_line(&hash.chars().take(16).collect::<String>()),
        Value::Count(count) if unit == Unit::Bytes => Bytes(*count).to_string(),
        Value::Count(count) => grouped(*count),
        Value::Number(number) => plain(*number, unit),
        Value::Estimate(estimate) => with_interval(estimate, unit, detail),
        Value::Struck(value, _) => format!("~~{}~~", text(value, unit, detail)),
        // A variant that is not finished has not failed.
        Value::Failed(cause) if cause.starts_with("not finished: ") => one_line(cause),
        Value::Failed(cause) => format!("failed: {}", one_line(cause)),
    }
}

/// Foreign text on one line: line breaks become spaces, other hidden characters are written out.
pub(super) fn one_line(text: &str) -> String {
    let text: Cow<'_, str> = match text.contains(['\n', '\r', '\t']) {
        true => text.split_whitespace().collect::<Vec<_>>().join(" ").into(),
        false => text.into(),
    };
    escape::line(&text).into_owned()
}

/// A column's heading: its name, and the unit that its values leave out.
pub(super) fn heading(column: &Column) -> (&str, &'static str) {
    (&column.name, unit_name(column.unit))
}

/// The unit that values leave out; empty if they include it.
pub(super) fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::BitsPerWeight => "bits/weight",
        Unit::Nats => "nats",
        Unit::Ratio | Unit::Share => "%",
        Unit::TokensPerSecond => "tokens/s",
        Unit::None | Unit::Bytes | Unit::BitsPerByte | Unit::Millis => "",
    }
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

/// A number without an interval.
fn plain(number: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => Bytes(number.max(0.0) as u64).to_string(),
        Unit::BitsPerWeight => BitsPerWeight(number).to_string(),
        Unit::Millis => Millis(number).to_string(),
        Unit::Share => fixed(number * 100.0, 1),
        Unit::Ratio if number >= LARGE_RATIO => format!("×{}", rounded(number)),
        Unit::Ratio => format!("{:+.1}", (number - 1.0) * 100.0),
        Unit::None | Unit::Nats | Unit::BitsPerByte | Unit::TokensPerSecond => rounded(number),
    }
}

/// Three significant digits, also before the decimal point: 20059 is 20100.
fn rounded(number: f64) -> String {
    if number.is_finite() && (1e3..1e15).contains(&number.abs()) {
        let step = 10_f64.powi(number.abs().log10().floor() as i32 - 2);
        return significant((number / step).round() * step, 3);
    }
    significant(number, 3)
}

/// How a number is transformed before it is shown.
struct Transform {
    prefix: &'static str,
    offset: f64,
    factor: f64,
    is_signed: bool,
}

fn transform(unit: Unit, point: f64) -> Transform {
    let as_is = Transform { prefix: "", offset: 0.0, factor: 1.0, is_signed: false };
    match unit {
        Unit::Ratio if point >= LARGE_RATIO => Transform { prefix: "×", ..as_is },
        Unit::Ratio => Transform { offset: 1.0, factor: 100.0, is_signed: true, ..as_is },
        Unit::Share => Transform { factor: 100.0, ..as_is },
        _ => as_is,
    }
}

fn with_interval(estimate: &Estimate, unit: Unit, detail: Detail) -> String {
    let (Some(Interval { low, high, .. }), Some(half_width)) =
        (estimate.interval, estimate.half_width())
    else {
        return plain(estimate.point, unit);
    };
    let Transform { prefix, offset, factor, is_signed } = transform(unit, estimate.point);
    let half_width = half_width * factor;
    let first_digit = first_digit(estimate, is_signed, factor);
    let write = |value: f64| {
        let text = match decimals_for(half_width).map(|all| all.max(first_digit)) {
            Some(decimals) => fixed((value - offset) * factor, decimals),
            None => significant((value - offset) * factor, 4),
        };
        if is_signed && !text.starts_with('-') { format!("+{text}") } else { text }
    };
    let point = write(estimate.point);
    let suffix = if unit == Unit::Millis { " ms" } else { "" };
    match detail {
        Detail::Point => format!("{prefix}{point}{suffix}"),
        Detail::HalfWidth => {
            let half_width = match decimals_for(half_width) {
                Some(decimals) => fixed(half_width, decimals),
                None => significant(half_width, 1),
            };
            format!("{prefix}{point} ±{half_width}{suffix}")
        }
        Detail::Ends => format!("{prefix}{point} [{}, {}]{suffix}", write(low), write(high)),
    }
}

/// Decimals up to the first significant digit, which a number above zero always shows, however wide its
/// interval: 400 [100, 2200], not 0 [0, 2000].
fn first_digit(estimate: &Estimate, is_signed: bool, factor: f64) -> i32 {
    let is_above_zero = estimate.interval.is_some_and(|interval| interval.low > 0.0);
    if is_signed || !is_above_zero {
        return i32::MIN;
    }
    -(estimate.point * factor).log10().floor().clamp(-300.0, 300.0) as i32
}

/// Decimals that a half-width supports: up to its first digit, or its second if the first is a 1.
/// Negative before the decimal point; `None` if the half-width is 0 or too small to write out.
fn decimals_for(half_width: f64) -> Option<i32> {
    if !(half_width.is_finite() && half_width >= 1e-6) {
        return None;
    }
    // Formatted first, because rounding can raise the exponent: 0.0997 is written 0.10.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(point: f64, half_width: f64) -> Estimate {
        let (low, high) = (point - half_width, point + half_width);
        Estimate { point, interval: Some(Interval { low, high, level: 0.95 }), n: 9 }
    }

    fn shown(point: f64, half_width: f64, unit: Unit) -> String {
        text(&estimate(point, half_width).into(), unit, Detail::HalfWidth)
    }

    #[test]
    fn digits_end_where_the_interval_begins() {
        assert_eq!(shown(12.3456, 0.42, Unit::None), "12.3 ±0.4");
        assert_eq!(shown(12.3456, 0.142, Unit::None), "12.35 ±0.14");
        assert_eq!(shown(12.3456, 0.0997, Unit::None), "12.35 ±0.10");
        assert_eq!(shown(12.3456, 4.2, Unit::None), "12 ±4");
        assert_eq!(shown(157_058.0, 12_345.0, Unit::None), "157000 ±12000");
        assert_eq!(shown(157_058.0, 42_345.0, Unit::None), "160000 ±40000");
        assert_eq!(shown(0.028_24, 0.001_13, Unit::Nats), "0.0282 ±0.0011");
        let (low, high) = (60.0, 2_180.0);
        let wide =
            Estimate { point: 412.0, interval: Some(Interval { low, high, level: 0.95 }), n: 6 };
        assert_eq!(text(&wide.into(), Unit::None, Detail::Ends), "400 [100, 2200]");
        assert_eq!(shown(2.5e19, 3e18, Unit::None), "2.50e19 ±3.00e18");
    }

    #[test]
    fn ratios_read_as_changes_in_percent_and_as_factors_when_large() {
        assert_eq!(shown(1.123, 0.004, Unit::Ratio), "+12.3 ±0.4");
        assert_eq!(shown(0.998, 0.004, Unit::Ratio), "-0.2 ±0.4");
        assert_eq!(shown(0.999_9, 0.004, Unit::Ratio), "+0.0 ±0.4");
        assert_eq!(shown(25.31, 0.4, Unit::Ratio), "×25.3 ±0.4");
        assert_eq!(text(&Value::Number(1.05), Unit::Ratio, Detail::Point), "+5.0");
        let ends = text(&estimate(1.05, 0.02).into(), Unit::Ratio, Detail::Ends);
        assert_eq!(ends, "+5 [+3, +7]");
    }

    #[test]
    fn certainty_and_the_lack_of_an_interval_both_read_well() {
        assert_eq!(shown(1.0, 0.0, Unit::Share), "100.0 ±0");
        let alone = Estimate { point: 12.3456, interval: None, n: 1 };
        assert_eq!(text(&alone.into(), Unit::None, Detail::Ends), "12.3");
        assert_eq!(text(&Value::Number(f64::INFINITY), Unit::None, Detail::Point), "inf");
        assert_eq!(shown(1e300, f64::INFINITY, Unit::None), "1.000e300 ±inf");
    }

    #[test]
    fn whole_numbers_have_commas_and_sizes_have_units() {
        assert_eq!(text(&Value::Count(1_234_567), Unit::None, Detail::Point), "1,234,567");
        assert_eq!(text(&Value::Count(123), Unit::None, Detail::Point), "123");
        for (cause, said) in
            [("no", "failed: no"), ("not finished: 0 of 2", "not finished: 0 of 2")]
        {
            assert_eq!(text(&Value::Failed(cause.into()), Unit::None, Detail::Point), said);
        }
        assert_eq!(text(&Value::Count(1_880_000), Unit::Bytes, Detail::Point), "1.88 MB");
        assert_eq!(text(&Value::Number(90_000.0), Unit::Millis, Detail::Point), "1.50 min");
        assert_eq!(text(&Value::Number(0.5), Unit::Share, Detail::Point), "50.0");
        let speed = text(&Value::Number(20_059.0), Unit::TokensPerSecond, Detail::Point);
        assert_eq!(speed, "20100");
    }
}
