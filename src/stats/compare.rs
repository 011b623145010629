//! From per-window sums to estimates: how good a variant is, and how far from the reference.
//!
//! The difference to the reference is taken window by window before it is resampled. Hard windows
//! are hard for both, so the paired interval is several times narrower than that of either alone.

use std::f64::consts::LN_2;

use super::{Bootstrap, Estimate, Interval};

/// One variant's sums over one window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Scores {
    /// Tokens scored.
    pub tokens: f64,
    /// UTF-8 bytes of the scored text.
    pub text_bytes: f64,
    /// Sum of negative log likelihoods.
    pub nll_nats: f64,
    /// Sum of KL divergences from the reference.
    pub kl_nats: f64,
    /// Tokens at which the most likely token is the reference's.
    pub top1_agree: f64,
}

/// What one variant's windows say by themselves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// exp of the mean negative log likelihood per token.
    pub perplexity: Estimate,
    /// Mean KL divergence from the reference, per token.
    pub kl_mean_nats: Estimate,
    /// Share of tokens whose most likely token is the reference's, 0 to 1.
    pub top1_agreement: Estimate,
    /// Negative log likelihood in bits, per byte of text: independent of the tokenizer.
    pub bits_per_byte: Estimate,
}

/// A variant against the reference, paired by window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    /// The variant's perplexity divided by the reference's.
    pub perplexity_ratio: Estimate,
    /// The variant's mean negative log likelihood per token less the reference's.
    pub nll_difference_nats: Estimate,
}

/// Estimates of one variant; `None` without a scored token.
pub fn quality(windows: &[Scores], bootstrap: &Bootstrap) -> Option<Quality> {
    let rows: Vec<[f64; 5]> = windows
        .iter()
        .map(|w| [w.tokens, w.text_bytes, w.nll_nats, w.kl_nats, w.top1_agree])
        .collect();
    let [perplexity, kl_mean_nats, top1_agreement, bits_per_byte] =
        estimates(&rows, bootstrap, |[tokens, text_bytes, nll_nats, kl_nats, top1_agree]| {
            [
                (nll_nats / tokens).exp(),
                kl_nats / tokens,
                top1_agree / tokens,
                nll_nats / LN_2 / text_bytes,
            ]
        })?;
    Some(Quality { perplexity, kl_mean_nats, top1_agreement, bits_per_byte })
}

/// Compares two variants on the same windows, in the same order. `None` if the windows are not
/// the same ones (their number or a token count differs) or hold no scored token.
pub fn compare(
    variant: &[Scores],
    reference: &[Scores],
    bootstrap: &Bootstrap,
) -> Option<Comparison> {
    let is_paired = variant.len() == reference.len()
        && variant.iter().zip(reference).all(|(v, r)| v.tokens == r.tokens);
    if !is_paired {
        return None;
    }
    let pairs = variant.iter().zip(reference);
    let rows: Vec<[f64; 2]> = pairs.map(|(v, r)| [v.tokens, v.nll_nats - r.nll_nats]).collect();
    let [perplexity_ratio, nll_difference_nats] =
        estimates(&rows, bootstrap, |[tokens, difference_nats]| {
            [(difference_nats / tokens).exp(), difference_nats / tokens]
        })?;
    Some(Comparison { perplexity_ratio, nll_difference_nats })
}

/// Points from the sums over all windows (column 0 is tokens), intervals from resampled sums.
fn estimates<const C: usize, const S: usize>(
    rows: &[[f64; C]],
    bootstrap: &Bootstrap,
    statistics: impl Fn(&[f64; C]) -> [f64; S],
) -> Option<[Estimate; S]> {
    let mut sums = [0.0; C];
    for row in rows {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
    if sums[0] <= 0.0 {
        return None;
    }
    let points = statistics(&sums);
    let intervals: [Option<Interval>; S] = bootstrap.intervals(rows, statistics);
    let estimate =
        |at: usize| Estimate { point: points[at], interval: intervals[at], n: rows.len() };
    Some(std::array::from_fn(estimate))
}
