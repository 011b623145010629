//! Two variants on the same windows: their difference per token, and its uncertainty.
//!
//! All three effects have one form: the sum of paired differences over windows divided by the sum of
//! tokens. Its distribution comes from resampling *blocks*:
//!
//! - *No documents known*: overlapping blocks of consecutive windows that wrap around (Künsch, 1989;
//!   Politis & Romano, 1992), so that every window is equally likely. The stationary bootstrap of 1994
//!   would draw the lengths of blocks too, which costs precision with few windows.
//! - *Many documents*: whole documents are resampled as clusters (Davison & Hinkley, 1997, section
//!   3.8). This preserves any dependence within a document, such as a document that is hard as a whole.
//!   "Many" is an effective number (Kish, 1965: (Σ tokens)² ÷ Σ tokens²) of at least [`CLUSTERS`].
//! - *Few documents*: each is cut into equal blocks of about the block length, so that no block spans
//!   two documents (Carlstein, 1986: overlapping blocks would favour long documents).
//!
//! Blocks lose dependence over distances longer than themselves, which makes intervals from short blocks
//! too narrow. The loss is corrected as in prewhitening (Andrews & Monahan, 1992): the lag-1
//! autocorrelation of the differences, corrected for its bias (Marriott & Pope, 1954), gives the share
//! of the variance of an AR(1) process that blocks of this length preserve. For few blocks, Student's t
//! has one degree of freedom less than there are blocks.

use std::fmt;

use rand_chacha::ChaCha8Rng;

use super::interval::{below, block_sums};
use super::resampled::{Resampled, acceleration, draw, t_stretch};
use super::{Bootstrap, Effect, LARGEST, Scale, Scores, Spread};

/// The least effective number of documents for which whole documents are resampled: five of about equal
/// length. Fewer leave too few degrees of freedom to find anything at the level of a check.
const CLUSTERS: f64 = 4.5;
/// The largest autocorrelation that is assumed: close to 1, one series says nothing.
const MAX_AUTOCORRELATION: f64 = 0.9;

/// The largest logarithm of a perplexity, or of a ratio of two, that is told: its exponential is still
/// far from what an f64 can hold.
pub(super) const LARGEST_LOG: f64 = 600.0;

/// A candidate against a baseline, on the same windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Perplexity, as the logarithm of a ratio.
    pub perplexity: Effect,
    /// Mean KL divergence from the reference, in nats per token.
    pub kl_mean_nats: Effect,
    /// Share of tokens whose most likely token is the reference's.
    pub top1_agreement: Effect,
}

/// Why two sets of windows cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPaired {
    /// The two sides have different numbers of windows.
    Count {
        /// The candidate's windows.
        candidate: usize,
        /// The baseline's windows, tokens or documents.
        baseline: usize,
    },
    /// A window has different numbers of tokens on the two sides.
    Tokens {
        /// The window's position.
        window: usize,
    },
    /// A sum is infinite or NaN, or a number of tokens is negative.
    NotFinite {
        /// The window's position.
        window: usize,
    },
    /// A sum of a window, or a mean over all, is too large for the effect to be told.
    TooLarge,
    /// No token was scored.
    Empty,
}

impl fmt::Display for NotPaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotPaired::Count { candidate, baseline } => {
                write!(
                    f,
                    "expected as many windows on both sides, found {candidate} and {baseline}"
                )
            }
            NotPaired::Tokens { window } => {
                write!(f, "window {window} has different numbers of tokens on the two sides")
            }
            NotPaired::NotFinite { window } => write!(f, "window {window} is not finite"),
            NotPaired::TooLarge => {
                write!(f, "cannot be told: the scores are too large for a perplexity")
            }
            NotPaired::Empty => write!(f, "no token was scored"),
        }
    }
}

impl std::error::Error for NotPaired {}

/// Compares two variants on the same windows, in the same order. `documents` gives the document of each
/// window, if known; the windows of a document are neighbours.
///
/// # Errors
/// The windows differ, have no scored token, or a sum is not finite or too large.
pub fn paired(
    candidate: &[Scores],
    baseline: &[Scores],
    documents: Option<&[usize]>,
    bootstrap: &Bootstrap,
) -> Result<Paired, NotPaired> {
    if candidate.len() != baseline.len() {
        return Err(NotPaired::Count { candidate: candidate.len(), baseline: baseline.len() });
    }
    let differs = candidate.iter().zip(baseline).position(|(c, b)| c.tokens != b.tokens);
    if let Some(window) = differs {
        return Err(NotPaired::Tokens { window });
    }
    let tokens: Vec<f64> = baseline.iter().map(|window| window.tokens).collect();
    let total: f64 = tokens.iter().sum();
    let effect = |of: fn(&Scores) -> f64, scale: Scale| {
        let differences: Vec<f64> =
            candidate.iter().zip(baseline).map(|(c, b)| of(c) - of(b)).collect();
        let mean = baseline.iter().map(of).sum::<f64>() / total;
        let baseline = if scale == Scale::LogRatio { mean.exp() } else { mean };
        let effect = difference(&differences, &tokens, documents, bootstrap)?;
        let most = if scale == Scale::LogRatio { LARGEST_LOG } else { LARGEST };
        let is_told = mean.is_finite() && mean.abs() <= most && effect.point.abs() <= most;
        if !is_told {
            return Err(NotPaired::TooLarge);
        }
        Ok(Effect { scale, baseline, ..effect })
    };
    Ok(Paired {
        perplexity: effect(|window| window.nll_nats, Scale::LogRatio)?,
        kl_mean_nats: effect(|window| window.kl_nats, Scale::Difference)?,
        top1_agreement: effect(|window| window.top1_agree, Scale::Difference)?,
    })
}

/// The effect Σ `differences` ÷ Σ `tokens`, with one value of each per window, as a
/// [`Scale::Difference`] from a baseline of 0. With fewer than two blocks it has no spread.
///
/// # Errors
/// As [`paired`].
pub fn difference(
    differences: &[f64],
    tokens: &[f64],
    documents: Option<&[usize]>,
    bootstrap: &Bootstrap,
) -> Result<Effect, NotPaired> {
    let n = differences.len();
    for other in [tokens.len(), documents.map_or(n, <[usize]>::len)] {
        if other != n {
            return Err(NotPaired::Count { candidate: n, baseline: other });
        }
    }
    let rows: Vec<[f64; 2]> = differences.iter().zip(tokens).map(|(&d, &t)| [d, t]).collect();
    if let Some(window) =
        rows.iter().position(|[d, t]| !(d.is_finite() && t.is_finite() && *t >= 0.0))
    {
        return Err(NotPaired::NotFinite { window });
    }
    let is_large = |[d, t]: &[f64; 2]| d.abs() > LARGEST || *t > LARGEST;
    if rows.iter().any(is_large) {
        return Err(NotPaired::TooLarge);
    }
    let sums = total(&rows);
    if sums[1] <= 0.0 {
        return Err(NotPaired::Empty);
    }
    let point = sums[0] / sums[1];
    if point.abs() > LARGEST {
        return Err(NotPaired::TooLarge);
    }
    // No block is longer than the text.
    let spread = Blocks::new(&rows, documents, bootstrap.block_length.min(n))
        .and_then(|blocks| blocks.spread(&rows, documents, bootstrap));
    Ok(Effect { scale: Scale::Difference, baseline: 0.0, point, spread, n })
}

fn total(rows: &[[f64; 2]]) -> [f64; 2] {
    rows.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d])
}

/// Blocks of windows, each as the sums of its differences and tokens.
struct Blocks {
    /// What is drawn from: the block that begins at each window, or the blocks that a text is cut into.
    drawn: Vec<[f64; 2]>,
    draws: usize,
    /// Shorter blocks; one of them fills a resample up to the number of windows.
    rest: Vec<[f64; 2]>,
    /// Blocks without common windows, each of which the jackknife leaves out in turn.
    apart: Vec<[f64; 2]>,
    /// The effective number of independent blocks.
    count: f64,
    /// Windows in a block, beyond which dependence is lost; `None` if none is lost.
    length: Option<usize>,
}

impl Blocks {
    /// `None` if there are fewer than two blocks.
    fn new(rows: &[[f64; 2]], documents: Option<&[usize]>, length: usize) -> Option<Blocks> {
        let length = length.max(1);
        let Some(documents) = documents else {
            return Blocks::moving(rows, length);
        };
        let mut found: Vec<&[[f64; 2]]> = Vec::new();
        let mut rest = rows;
        for document in documents.chunk_by(|a, b| a == b) {
            let (windows, others) = rest.split_at(document.len());
            found.push(windows);
            rest = others;
        }
        let clusters = Blocks::fixed(found.iter().map(|windows| total(windows)).collect(), None);
        if clusters.count >= CLUSTERS {
            return Some(clusters);
        }
        let mut pieces = Vec::new();
        for windows in found {
            let cuts = (windows.len() / length).max(1);
            let at = |cut: usize| cut * windows.len() / cuts;
            pieces.extend((0..cuts).map(|cut| total(&windows[at(cut)..at(cut + 1)])));
        }
        Some(Blocks::fixed(pieces, Some(length))).filter(|blocks| blocks.count >= 2.0)
    }

    fn moving(rows: &[[f64; 2]], length: usize) -> Option<Blocks> {
        let n = rows.len();
        let draws = n / length;
        if draws < 2 {
            return None;
        }
        let rest = if n.is_multiple_of(length) { Vec::new() } else { block_sums(rows, n % length) };
        let apart = rows.chunks(length).map(total).collect();
        let count = draws as f64;
        Some(Blocks {
            drawn: block_sums(rows, length),
            draws,
            rest,
            apart,
            count,
            length: Some(length),
        })
    }

    fn fixed(drawn: Vec<[f64; 2]>, length: Option<usize>) -> Blocks {
        let tokens: f64 = drawn.iter().map(|[_, tokens]| tokens).sum();
        let count = tokens.powi(2) / drawn.iter().map(|[_, tokens]| tokens.powi(2)).sum::<f64>();
        Blocks { draws: drawn.len(), rest: Vec::new(), apart: drawn.clone(), count, drawn, length }
    }

    fn spread(
        &self,
        rows: &[[f64; 2]],
        documents: Option<&[usize]>,
        bootstrap: &Bootstrap,
    ) -> Option<Spread> {
        let sums = total(rows);
        let point = sums[0] / sums[1];
        let ratios = |[d, t]: &[f64; 2]| (sums[0] - d) / (sums[1] - t);
        let left_out: Vec<f64> = self.apart.iter().map(ratios).collect();
        let values = draw(bootstrap, |random| self.resample(random));
        let resampled = Resampled::new(point, values, acceleration(&[&left_out]))?;
        let correction = match self.length {
            Some(length) => 1.0 / seen_share(autocorrelation(rows, documents, point), length),
            None => 1.0,
        };
        let widen = (correction * self.count / (self.count - 1.0)).sqrt();
        let degrees_of_freedom = self.count - 1.0;
        let stretch = widen * t_stretch(bootstrap.level, degrees_of_freedom);
        let spread = Spread {
            standard_error: widen * resampled.standard_error(),
            degrees_of_freedom,
            percentile: resampled.percentile(bootstrap.level, stretch),
            bca: resampled.bca(bootstrap.level, stretch),
            within_run_only: false,
        };
        spread.finite()
    }

    fn resample(&self, random: &mut ChaCha8Rng) -> f64 {
        let [mut difference, mut tokens] = match self.rest.len() {
            0 => [0.0; 2],
            windows => self.rest[below(random, windows)],
        };
        for _ in 0..self.draws {
            let [d, t] = self.drawn[below(random, self.drawn.len())];
            difference += d;
            tokens += t;
        }
        difference / tokens
    }
}

/// The lag-1 autocorrelation, 0 to [`MAX_AUTOCORRELATION`], of the windows' contributions to the effect
/// `point`; only neighbours within a document count. The estimate r from n windows is too low by about
/// (1 + 3 r) ÷ n, which is added.
fn autocorrelation(rows: &[[f64; 2]], documents: Option<&[usize]>, point: f64) -> f64 {
    let residual = |[d, t]: [f64; 2]| d - point * t;
    let (mut products, mut pairs) = (0.0, 0.0);
    for (at, pair) in rows.windows(2).enumerate() {
        if documents.is_none_or(|documents| documents[at] == documents[at + 1]) {
            products += residual(pair[0]) * residual(pair[1]);
            pairs += 1.0;
        }
    }
    let squares: f64 = rows.iter().map(|&row| residual(row).powi(2)).sum();
    let n = rows.len() as f64;
    if pairs == 0.0 || squares == 0.0 || n <= 3.0 {
        return 0.0;
    }
    let found = products / squares * (n - 1.0) / pairs;
    ((n * found + 1.0) / (n - 3.0)).clamp(0.0, MAX_AUTOCORRELATION)
}

/// The share of the variance of the mean of an AR(1) process that blocks of `length` preserve:
/// (1 + 2 Σ_{k < length} (1 - k ÷ length) φ^k) · (1 - φ) ÷ (1 + φ).
fn seen_share(phi: f64, length: usize) -> f64 {
    let mut seen = 1.0;
    let mut power = 1.0;
    for lag in 1..length {
        power *= phi;
        seen += 2.0 * (1.0 - lag as f64 / length as f64) * power;
    }
    seen * (1.0 - phi) / (1.0 + phi)
}

#[cfg(test)]
mod tests;
