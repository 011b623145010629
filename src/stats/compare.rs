//! From sums by window to estimates: how good a variant is, and how far it is from the reference.
//!
//! The difference from the reference is taken window by window before it is resampled. Hard windows are
//! hard for both, so the paired interval is several times narrower than that of either by itself.

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

/// Estimates of one variant by itself.
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

/// Estimates of one variant; `None` without a scored token, or if an f64 cannot hold one of them.
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

/// Compares two variants on the same windows, in the same order. `None` if the windows differ (in number
/// or in a token count) or have no scored token, or if an f64 cannot hold an estimate.
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

/// Points from the sums over all windows (column 0 holds tokens), intervals from resampled sums.
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
    if points.iter().any(|point| !point.is_finite()) {
        return None;
    }
    let intervals: [Option<Interval>; S] = bootstrap.intervals(rows, statistics);
    let estimate =
        |at: usize| Estimate { point: points[at], interval: intervals[at], n: rows.len() };
    Some(std::array::from_fn(estimate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(count: usize, damage_nats: f64) -> Vec<Scores> {
        let window = |i: usize| {
            let hardness = 2.0 + (i * 5 % 13) as f64 / 6.0;
            let tokens = 100.0 + (i % 3) as f64;
            Scores {
                tokens,
                text_bytes: 4.0 * tokens,
                nll_nats: tokens * (hardness + damage_nats * (1.0 + (i % 4) as f64 / 4.0)),
                kl_nats: tokens * damage_nats,
                top1_agree: tokens - (i % 2) as f64,
            }
        };
        (0..count).map(window).collect()
    }

    fn ends(estimate: Estimate) -> (f64, f64) {
        estimate.interval.map(|i| (i.low, i.high)).unwrap()
    }

    #[test]
    fn a_variant_identical_to_the_reference_has_the_ratio_one_for_certain() {
        let reference = windows(20, 0.0);
        let same = compare(&reference, &reference, &Bootstrap::new(1, 20)).unwrap();
        assert_eq!(same.perplexity_ratio.point, 1.0);
        assert_eq!(ends(same.perplexity_ratio), (1.0, 1.0));
        assert_eq!(ends(same.nll_difference_nats), (0.0, 0.0));
    }

    #[test]
    fn pairing_makes_the_interval_narrower() {
        let (variant, reference) = (windows(40, 0.02), windows(40, 0.0));
        let bootstrap = Bootstrap::new(1, 40);
        let alone = quality(&variant, &bootstrap).unwrap().perplexity;
        let paired = compare(&variant, &reference, &bootstrap).unwrap().perplexity_ratio;
        let alone_share = alone.half_width().unwrap() / alone.point;
        assert!(paired.half_width().unwrap() < alone_share / 9.0, "{paired:?} {alone:?}");
        assert!(ends(paired).0 > 1.0, "the damage is beyond doubt: {paired:?}");
    }

    #[test]
    fn perplexity_is_that_of_all_tokens_not_the_mean_of_windows() {
        let rows = [(1.0, 2.0), (3.0, 2.0)].map(|(tokens, nll_nats)| Scores {
            tokens,
            text_bytes: 2.0 * tokens,
            nll_nats,
            top1_agree: 1.0,
            ..Scores::default()
        });
        let found = quality(&rows, &Bootstrap::new(1, 2)).unwrap();
        assert!((found.perplexity.point - 1.0_f64.exp()).abs() < 1e-12);
        assert_eq!(found.top1_agreement.point, 0.5);
        assert!((found.bits_per_byte.point - 0.5 / LN_2).abs() < 1e-12);
        assert_eq!(found.kl_mean_nats.point, 0.0);
        assert_eq!(found.perplexity.n, 2);
    }

    #[test]
    fn uniform_guessing_has_the_perplexity_of_the_vocabulary() {
        let tokens = 64.0;
        let nll_nats = tokens * 32_000.0_f64.ln();
        let one = Scores { tokens, text_bytes: 200.0, nll_nats, ..Scores::default() };
        let found = quality(&[one], &Bootstrap::new(1, 1)).unwrap();
        assert!((found.perplexity.point - 32_000.0).abs() < 1e-6);
        assert_eq!(found.perplexity.interval, None);
    }

    #[test]
    fn other_windows_than_the_references_are_not_compared() {
        let (all, bootstrap) = (windows(5, 0.0), Bootstrap::new(1, 5));
        assert_eq!(compare(&all[..4], &all, &bootstrap), None);
        let mut other = all.clone();
        other[2].tokens += 1.0;
        assert_eq!(compare(&other, &all, &bootstrap), None);
        assert_eq!(quality(&[], &bootstrap), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn the_point_is_within_its_interval(
            sums in prop::collection::vec((1.0..200.0_f64, 0.0..8.0_f64, 0.0..2.0_f64), 2..40),
            seed: u64,
        ) {
            let windows: Vec<Scores> = sums.iter().map(|&(tokens, nll, kl)| Scores {
                tokens,
                text_bytes: tokens * 4.0,
                nll_nats: tokens * nll,
                kl_nats: tokens * kl,
                top1_agree: tokens / 2.0,
            }).collect();
            let bootstrap = Bootstrap { block_length: 1, resamples: 2_000, ..Bootstrap::new(seed, 2) };
            let found = quality(&windows, &bootstrap).unwrap();
            for estimate in [found.perplexity, found.kl_mean_nats, found.bits_per_byte] {
                let (low, high) = ends(estimate);
                prop_assert!(low <= high && low.is_finite() && high.is_finite());
                let slack = 1e-9 * estimate.point;
                prop_assert!(low - slack <= estimate.point && estimate.point <= high + slack);
            }
        }
    }
}
