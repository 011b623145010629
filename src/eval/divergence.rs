//! Perplexity, KL divergence and top-1 agreement from slices of the vocabulary's logits, so that a
//! whole vocabulary's logits are never in memory.
//!
//! Three running sums per scored token suffice. With reference logits l, a variant's logits m and
//! M = max l:  KL(p ‖ q) = Σ e^(l−M) (l−m) / Σ e^(l−M) − (logsumexp l − logsumexp m).
//! Logits and exponentials are f32, sums f64. Sums are relative to the largest logit seen so far
//! and are rescaled when a larger one follows (online softmax, Milakov & Gimelshein 2018).

use pulp::Arch;

use super::fp16_range::Fp16Overflow;
use crate::model::{exp, max};

/// Partial sums per row; fixed, so that results do not depend on the vector unit.
const LANES: usize = 16;

/// A sum of terms scaled by e^(−max), which can be joined with another.
#[derive(Debug, Clone, Copy)]
struct Scaled {
    max: f32,
    sum: f64,
}

impl Default for Scaled {
    fn default() -> Self {
        Scaled { max: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl Scaled {
    fn join(&mut self, part: Scaled) {
        if part.max > self.max {
            self.sum *= f64::from(self.max - part.max).exp();
            self.max = part.max;
            self.sum += part.sum;
        } else {
            self.sum += part.sum * f64::from(part.max - self.max).exp();
        }
    }

    /// ln Σ eˡ, where the terms are exponentials.
    fn log(self) -> f64 {
        f64::from(self.max) + self.sum.ln()
    }
}

/// The statistics of one token's distribution after some slices.
#[derive(Debug, Clone, Copy)]
struct TokenState {
    exponentials: Scaled,
    /// Σ e^(l−M) (l−m); stays 0 for the reference.
    cross: Scaled,
    target: f32,
    best: f32,
    best_index: u32,
}

impl Default for TokenState {
    fn default() -> Self {
        let (exponentials, cross) = Default::default();
        let best = f32::NEG_INFINITY;
        TokenState { exponentials, cross, target: f32::NAN, best, best_index: 0 }
    }
}

/// Running statistics of one window under one variant.
#[derive(Debug, Clone)]
pub struct Scorer {
    states: Vec<TokenState>,
}

/// How the tokens of one window are routed in one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerRouting {
    /// Tokens that go to the same experts as in the reference.
    pub agree: u32,
    /// Tokens per expert.
    pub load: Vec<u32>,
}

/// One window's result under one variant.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Score {
    /// Negative log-likelihood of each scored token, in nats.
    pub nll_nats: Vec<f64>,
    /// KL divergence from the reference at each scored token, in nats; 0 for the reference itself.
    pub kl_nats: Vec<f64>,
    /// Scored tokens for which the variant and the reference predict the same token.
    pub top1_agree: u64,
    /// Routing of the window's tokens by layer; empty without experts.
    pub routing: Vec<LayerRouting>,
    /// The first activation that fp16 does not hold.
    pub fp16_overflow: Option<Fp16Overflow>,
}

/// A slice of the vocabulary.
#[derive(Debug, Clone, Copy)]
pub struct VocabularySlice<'a> {
    /// Id of the slice's first token.
    pub first: u32,
    /// The token to predict at each scored position.
    pub targets: &'a [u32],
}

impl Scorer {
    /// A scorer for `tokens` scored tokens.
    pub fn new(tokens: usize) -> Self {
        Scorer { states: vec![TokenState::default(); tokens] }
    }

    /// The log-sum-exp of each token's logits so far.
    pub fn log_sums(&self) -> Vec<f64> {
        self.states.iter().map(|state| state.exponentials.log()).collect()
    }

    /// The largest logit so far.
    pub fn largest_logit(&self) -> f32 {
        self.states.iter().map(|state| state.best).fold(f32::NEG_INFINITY, f32::max)
    }

    /// Adds the next slice of logits `[tokens, slice]`. `reference` has the reference's logits of that
    /// slice; it is `None` for the reference itself.
    pub fn add(&mut self, slice: VocabularySlice<'_>, logits: &[f32], reference: Option<&[f32]>) {
        let width = logits.len() / self.states.len().max(1);
        for (token, state) in self.states.iter_mut().enumerate() {
            let own = &logits[token * width..(token + 1) * width];
            let target = slice.targets[token].wrapping_sub(slice.first) as usize;
            if let Some(&logit) = own.get(target) {
                state.target = logit;
            }
            let reference = reference.map(|all| &all[token * width..(token + 1) * width]);
            Arch::new().dispatch(|| state.add(slice.first, own, reference));
        }
    }

    /// The window's score after all slices were added.
    pub fn finish(&self, reference: &Scorer) -> Score {
        let mut score = Score::default();
        for (own, base) in self.states.iter().zip(&reference.states) {
            let (own_log, base_log) = (own.exponentials.log(), base.exponentials.log());
            let mean_difference = own.cross.sum / base.exponentials.sum;
            score.nll_nats.push(own_log - f64::from(own.target));
            let kl_nats = mean_difference - (base_log - own_log);
            // If the two agree, rounding can give a tiny negative number; NaN stays NaN.
            score.kl_nats.push(if kl_nats < 0.0 { 0.0 } else { kl_nats });
            score.top1_agree += u64::from(own.best_index == base.best_index);
        }
        score
    }
}

impl TokenState {
    #[inline(always)]
    fn add(&mut self, first: u32, own: &[f32], reference: Option<&[f32]>) {
        let own_max = max(own);
        if own_max > self.best {
            self.best = own_max;
            let index = own.iter().position(|&v| v == own_max).unwrap_or(0);
            self.best_index = first + index as u32;
        }
        let sum = sum2(own, own, |l, _| exp(l - own_max));
        self.exponentials.join(Scaled { max: own_max, sum });
        if let Some(reference) = reference {
            let base_max = max(reference);
            let sum = sum2(reference, own, |l, m| exp(l - base_max) * (l - m));
            self.cross.join(Scaled { max: base_max, sum });
        }
    }
}

/// Σ term(a, b) over two rows, terms in f32, sum in f64.
#[inline(always)]
fn sum2(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f64 {
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f64; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += f64::from(term(a[lane], b[lane]));
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(term(*a, *b))).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bound on the difference to a computation in f64, in nats.
    const TOLERANCE_NATS: f64 = 1e-6;

    /// The definitions, in f64 over the whole vocabulary.
    fn direct(reference: &[f32], own: &[f32], target: usize) -> (f64, f64) {
        let log_sum = |row: &[f32]| row.iter().map(|&v| f64::from(v).exp()).sum::<f64>().ln();
        let (p, q) = (log_sum(reference), log_sum(own));
        let pairs = reference.iter().zip(own).map(|(&l, &m)| (f64::from(l), f64::from(m)));
        let kl = pairs.map(|(l, m)| (l - p).exp() * ((l - p) - (m - q))).sum();
        (q - f64::from(own[target]), kl)
    }

    fn scored(reference: &[f32], own: &[f32], target: u32, width: usize) -> Score {
        let (mut base, mut variant) = (Scorer::new(1), Scorer::new(1));
        for (index, (l, m)) in reference.chunks(width).zip(own.chunks(width)).enumerate() {
            let slice = VocabularySlice { first: (index * width) as u32, targets: &[target] };
            base.add(slice, l, None);
            variant.add(slice, m, Some(l));
        }
        variant.finish(&base)
    }

    proptest! {
        #[test]
        fn slices_give_what_the_definitions_give(
            rows in prop::collection::vec((-20f32..20.0, -20f32..20.0), 2..90),
            width in 1usize..40,
        ) {
            let (reference, own): (Vec<f32>, Vec<f32>) = rows.into_iter().unzip();
            let target = reference.len() / 2;
            let score = scored(&reference, &own, target as u32, width);
            let (nll, kl) = direct(&reference, &own, target);
            prop_assert!((score.nll_nats[0] - nll).abs() < TOLERANCE_NATS * (1.0 + nll));
            prop_assert!((score.kl_nats[0] - kl).abs() < TOLERANCE_NATS * (1.0 + kl));
            prop_assert!(score.kl_nats[0] >= 0.0);
        }

        #[test]
        fn a_distribution_diverges_from_itself_by_exactly_nothing(
            row in prop::collection::vec(-30f32..30.0, 2..90),
            width in 1usize..40,
        ) {
            let score = scored(&row, &row, 0, width);
            prop_assert_eq!(score.kl_nats[0], 0.0);
            prop_assert_eq!(score.top1_agree, 1);
        }
    }

    #[test]
    fn uniform_logits_give_the_vocabulary_size_as_perplexity() {
        let score = scored(&[0.25; 1000], &[0.25; 1000], 17, 256);
        assert!((score.nll_nats[0].exp() - 1000.0).abs() < 1e-9);
    }
}
