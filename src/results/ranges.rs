//! The range of every number in a stored line. JSON holds numbers that nothing can measure: a sum of
//! 1e200 nats, more agreeing tokens than tokens, a negative time. Such a line is damaged or made up. It
//! is refused where it is read, so that file and line can be named, and no later step meets it.

use crate::error::{Error, Result};

/// The largest negative log likelihood and divergence of a token: logits are f32, so no two of them are
/// further apart.
const MOST_NATS: f64 = 2.0 * f32::MAX as f64;
/// How far below zero rounding may take a likelihood or divergence of a token.
const ROUNDING_NATS: f64 = 1e-6;
/// The largest time: about thirty years.
pub(super) const MOST_MS: f64 = 1e12;
/// The largest number of bytes or weights. A few million of them can be added.
pub(super) const MOST: u64 = 1 << 50;
/// The largest number of tokens or windows in a line. A few million of them can be added.
pub(super) const MOST_TOKENS: u64 = 1 << 32;
/// The fastest memory, in GB/s.
pub(super) const MOST_GB_PER_S: f64 = 1e9;

/// Refuses (input) an impossible distance between two sets of predictions.
pub(super) fn distance(
    tokens: usize,
    kl: Option<f64>,
    worst: Option<f64>,
    agree: usize,
) -> Result<()> {
    count("tokens", tokens as u64, MOST_TOKENS)?;
    count("top1_agree", agree as u64, tokens as u64)?;
    nats("kl_nats", kl.unwrap_or(0.0), tokens.max(1))?;
    nats("worst_kl_nats", worst.unwrap_or(0.0), 1)
}

/// Refuses (input) a time that no clock measures.
pub(super) fn millis(name: &str, value: f64) -> Result<()> {
    number(name, value, 0.0, MOST_MS)
}

/// Refuses (input) nats that so many tokens cannot have.
pub(super) fn nats(name: &str, value: f64, tokens: usize) -> Result<()> {
    let tokens = tokens as f64;
    number(name, value, -ROUNDING_NATS * tokens, MOST_NATS * tokens)
}

/// Refuses (input) a number outside of a range.
pub(super) fn number(name: &str, value: f64, least: f64, most: f64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let (value, [least, most]) = (shown(value), [least, most].map(rounded));
    Err(impossible(format!("{name} is {value}, expected {least} to {most}")))
}

/// A number in few characters, to the last digit: 4.25, 1e200.
fn shown(value: f64) -> String {
    // The sum is 0 for -0 too.
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        (value + 0.0).to_string()
    } else {
        format!("{value:e}")
    }
}

/// The end of a range, to three digits.
fn rounded(value: f64) -> String {
    format!("{value:.2e}").parse().map_or_else(|_| value.to_string(), shown)
}

/// Refuses (input) a count that is too large.
pub(super) fn count(name: &str, value: u64, most: u64) -> Result<()> {
    if value <= most {
        return Ok(());
    }
    Err(impossible(format!("{name} is {value}, expected at most {most}")))
}

/// The error for what no measurement gives.
pub(super) fn impossible(what: String) -> Error {
    Error::input(what).hint(
        "no measurement gives this number: the line is damaged or was edited; measure again in an \
         empty folder",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_take_few_characters() {
        let told = |value, tokens| nats("kl_nats", value, tokens).unwrap_err().cause();
        assert_eq!(told(1e200, 63), "kl_nats is 1e200, expected -6.3e-5 to 4.29e40");
        assert_eq!(told(-0.25, 1), "kl_nats is -0.25, expected -1e-6 to 6.81e38");
        assert_eq!(told(f64::NAN, 0), "kl_nats is NaN, expected 0 to 0");
        let told = millis("load_ms", -5.0).unwrap_err().cause();
        assert_eq!(told, "load_ms is -5, expected 0 to 1e12");
    }
}
