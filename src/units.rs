//! Quantities with their unit, and how numbers are printed.
//!
//! Sizes are decimal (1 MB = 1,000,000 bytes), as those of phone storage and downloads.

use std::fmt;

/// What a number counts: decides how people see it, and how its key ends in data formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Plain numbers and text.
    None,
    /// Bytes, shown as kB, MB or GB.
    Bytes,
    /// Stored bits divided by weights.
    BitsPerWeight,
    /// Information.
    Nats,
    /// Bits of information per byte of text.
    BitsPerByte,
    /// A quotient, shown as a change in percent: 1.05 as +5.0 %.
    Ratio,
    /// A part of a whole, 0 to 1, shown in percent.
    Share,
    /// Durations, shown in ms, s, min or h.
    Millis,
    /// Speeds of a language model.
    TokensPerSecond,
}

/// A size in bytes; prints in B, kB, MB or GB with three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(f64, &str); 3] = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        let bytes = self.0 as f64;
        // A value that would round up to 1000 of a unit is printed as 1.00 of the next.
        let text = match STEPS.iter().find(|(step, _)| bytes >= step * 0.9995) {
            Some((step, unit)) => format!("{} {unit}", significant(bytes / step, 3)),
            None => format!("{} B", self.0),
        };
        f.pad(&text)
    }
}

/// A duration in milliseconds; prints in ms, s, min or h with three significant digits.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Millis(pub f64);

impl From<std::time::Duration> for Millis {
    fn from(duration: std::time::Duration) -> Self {
        Millis(duration.as_secs_f64() * 1e3)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(f64, &str); 3] = [(3.6e6, "h"), (6e4, "min"), (1e3, "s")];
        let (step, unit) =
            STEPS.iter().copied().find(|(step, _)| self.0 >= step * 0.9995).unwrap_or((1.0, "ms"));
        f.pad(&format!("{} {unit}", significant(self.0 / step, 3)))
    }
}

/// Stored bits divided by weights; prints with two decimals.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct BitsPerWeight(pub f64);

impl BitsPerWeight {
    /// The effective bits of `weights` weights stored in `size_bytes`; 0 for no weights.
    pub fn of(size_bytes: u64, weights: u64) -> Self {
        BitsPerWeight(if weights == 0 { 0.0 } else { size_bytes as f64 * 8.0 / weights as f64 })
    }
}

impl fmt::Display for BitsPerWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2}", self.0))
    }
}

/// `value` with `digits` significant digits, without an exponent between 1e-4 and 1e15.
pub fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let exponent: i32 = match scientific.split_once('e') {
        Some((_, exponent)) => exponent.parse().unwrap_or(0),
        None => 0,
    };
    if value != 0.0 && !(-4..15).contains(&exponent) {
        return scientific;
    }
    format!("{value:.*}", (digits as i32 - 1 - exponent).max(0) as usize)
}

/// A number of things in words: `1 run`, `2 runs`.
pub fn counted(count: usize, thing: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{ending}")
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_three_significant_digits_and_their_unit() {
        assert_eq!(Bytes(999).to_string(), "999 B");
        assert_eq!(Bytes(999_950).to_string(), "1.00 MB");
        assert_eq!(Bytes(13_761_264_768).to_string(), "13.8 GB");
        assert_eq!(Millis(0.123_4).to_string(), "0.123 ms");
        assert_eq!(Millis(90_000.0).to_string(), "1.50 min");
        assert_eq!(BitsPerWeight::of(1_000, 4_000).to_string(), "2.00");
        assert_eq!(significant(0.000_123_4, 3), "0.000123");
        assert_eq!(significant(0.0, 3), "0.00");
        assert_eq!(hex(&[0, 0x1f, 0xa0]), "001fa0");
        assert_eq!([0, 1, 2].map(|n| counted(n, "run")), ["0 runs", "1 run", "2 runs"]);
        assert_eq!(significant(1e-9, 3), "1.00e-9");
        assert_eq!(significant(99_220.16, 3), "99220");
    }
}
