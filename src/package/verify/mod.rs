//! Verifies that a folder of packages is the model that was scored. The verification is a chain of
//! four links:
//!
//! | link | holds if |
//! |---|---|
//! | files | every file exists with the size and hash in `model.json`, and every package is well formed |
//! | weights | every weight of every function, decoded from the file, is bit for bit the coded tensor |
//! | logits | the packages, executed through `prefill`, predict what the walk predicts with the coded tensors |
//! | steps | the packages, executed token by token through `decode`, predict the same |
//!
//! The links are checked in this order. All of them are checked, even if an earlier one is broken.

mod logits;
mod weights;

use crate::error::{Error, Result};
use crate::eval::{Coder, SLICE_ROWS, Scorer, VocabularySlice};
use crate::package::bundle::{Bundle, FileCheck};
use crate::package::execute::Precision;

pub use logits::{WalkPrediction, distance_by_block, predict_by_walk};

/// How far the predictions of packages may be from those of the walk.
///
/// A package rounds cosines, sines and the epsilon of its norms to fp16, and computes in a
/// different order. Without int8 inputs, these differences are far below the limit. If inputs are
/// rounded to int8, a value close to the middle between two steps may be rounded to either. This
/// happens more often on a text that differs from the one that the ranges were chosen on.
#[derive(Debug, Clone, Copy)]
struct PredictionTolerance {
    /// The largest KL divergence that a token may have.
    kl_nats: f64,
    /// Whether a few tokens may go to other experts than in the walk.
    ties: bool,
}

impl PredictionTolerance {
    fn of(coder: &Coder<'_>) -> Self {
        let is_smooth = coder.scales.is_none_or(|scales| scales.iter().len() == 0);
        let kl_nats = if is_smooth { MAX_KL_NATS } else { MAX_INT8_KL_NATS };
        PredictionTolerance { kl_nats, ties: coder.checkpoint.config.experts.is_some() }
    }
}

/// The KL divergence allowed per token if no inputs are rounded to int8. Measured values are below
/// a tenth of it.
pub const MAX_KL_NATS: f64 = 1e-3;
/// The KL divergence allowed per token if inputs are rounded to int8. Random tokens reach half of
/// it.
pub const MAX_INT8_KL_NATS: f64 = 0.5;

/// In a mixture of experts, one token in this number may go to other experts than in the walk: if
/// two experts are almost equally likely, fp16 and f32 may choose differently, and the token's
/// prediction changes.
const TOKENS_PER_TIE: usize = 16;

/// The result for one link.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationLink {
    /// `files`, `weights`, `logits`, `steps`, or `fp16` if an activation leaves the range of fp16.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was compared, or the first difference.
    pub what: String,
    /// How far predictions are apart; `None` if the link does not compare predictions.
    pub distance: Option<Distance>,
}

/// How far two sets of predictions are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distance {
    /// The number of tokens that were compared.
    pub tokens: usize,
    /// The mean KL divergence over tokens.
    pub kl_nats: f64,
    /// The largest KL divergence of a token.
    pub worst_kl_nats: f64,
    /// The number of tokens whose KL divergence exceeds the limit.
    pub beyond: usize,
    /// The number of tokens after which both predict the same most likely token.
    pub top1_agree: usize,
    /// The largest difference of a logit.
    pub max_logit: f64,
}

/// What to verify, and what to compare it with.
pub struct VerificationInput<'a> {
    /// The packages to verify.
    pub bundle: &'a Bundle,
    /// The checkpoint and the variant that they should be.
    pub coder: Coder<'a>,
    /// The token ids to predict.
    pub ids: &'a [u32],
    /// The precision in which the packages are executed.
    pub precision: Precision,
}

/// Checks every link. `progress` is called with the number of links that are done and their total;
/// an error from it stops the verification.
///
/// # Errors
/// Errors of `progress`. Everything that is wrong with the packages is in the result.
pub fn verify(
    question: &VerificationInput<'_>,
    walked: &WalkPrediction,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<VerificationLink>> {
    const LINKS: usize = 4;
    let tolerance = PredictionTolerance::of(&question.coder);
    progress(0, LINKS)?;
    let files = question.bundle.check_files(FileCheck::Hashes).map(|()| {
        let files: usize = question.bundle.manifest.packages.iter().map(|p| p.files.len()).sum();
        let packages = question.bundle.manifest.packages.len();
        format!("{files} files in {packages} package{}", if packages == 1 { "" } else { "s" })
    });
    let mut links = vec![VerificationLink::of("files", files)];
    progress(1, LINKS)?;
    links.push(VerificationLink::of("weights", weights::check(question)));
    progress(2, LINKS)?;
    let prefilled = logits::prefill_logits(question);
    links.push(VerificationLink::compared("logits", prefilled.as_ref(), &walked.logits, tolerance));
    progress(3, LINKS)?;
    let stepped = logits::decode_logits(question);
    let mut steps =
        VerificationLink::compared("steps", stepped.as_ref(), &walked.logits, tolerance);
    if !steps.holds && links.last().is_some_and(|link| link.holds) {
        // Weights and tokens are the same, so the difference must come from what stays between
        // calls.
        steps.what += "; through prefill the predictions are right, so the cache is wrong";
    }
    links.push(steps);
    if let Some(overflow) = &walked.fp16_overflow {
        let what = format!("on a phone, {overflow}; --half shows the effect");
        links.push(VerificationLink { name: "fp16", holds: false, what, distance: None });
    }
    progress(LINKS, LINKS)?;
    Ok(links)
}

impl VerificationLink {
    fn of(name: &'static str, found: Result<String>) -> Self {
        let (holds, what) = match found {
            Ok(what) => (true, what),
            Err(error) => (false, error.cause()),
        };
        VerificationLink { name, holds, what, distance: None }
    }

    /// The result of comparing predictions with those of the walk.
    fn compared(
        name: &'static str,
        found: Result<&Vec<Vec<f32>>, &Error>,
        expected: &[Vec<f32>],
        tolerance: PredictionTolerance,
    ) -> Self {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return VerificationLink {
                    name,
                    holds: false,
                    what: error.cause(),
                    distance: None,
                };
            }
        };
        let PredictionTolerance { kl_nats, ties } = tolerance;
        let (distance, worst) = distance(expected, found, kl_nats);
        let allowed = if ties { distance.tokens / TOKENS_PER_TIE } else { 0 };
        let holds = distance.beyond <= allowed && expected.len() == found.len();
        let what = match (holds, distance.beyond) {
            (true, 0) => format!("{} tokens", distance.tokens),
            (true, beyond) => format!(
                "{} tokens; {beyond} of them went to other experts, which were almost equally likely",
                distance.tokens
            ),
            (false, _) => format!(
                "token {worst}: KL to the scored model is {:.2e} nats, more than the allowed {kl_nats:.0e}",
                distance.worst_kl_nats
            ),
        };
        VerificationLink { name, holds, what, distance: Some(distance) }
    }
}

/// How far the predictions `found` are from `expected`, `[tokens][vocabulary]` each, and the token
/// with the largest difference. Tokens whose KL divergence exceeds `allowed_kl_nats` are counted.
pub fn distance(
    expected: &[Vec<f32>],
    found: &[Vec<f32>],
    allowed_kl_nats: f64,
) -> (Distance, usize) {
    let tokens = expected.len().min(found.len());
    let targets = vec![0; tokens];
    let slice = VocabularySlice { first: 0, targets: &targets };
    let (mut base, mut own) = (Scorer::new(tokens), Scorer::new(tokens));
    let (expected, found) = (expected[..tokens].concat(), found[..tokens].concat());
    if expected.len() == found.len() {
        base.add(slice, &expected, None);
        own.add(slice, &found, Some(&expected));
    }
    let score = own.finish(&base);
    // NaN counts as infinitely far.
    let kl_nats = score.kl_nats.iter().map(|kl| if kl.is_nan() { f64::INFINITY } else { *kl });
    let worst = kl_nats.clone().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let (worst, worst_kl_nats) = worst.unwrap_or((0, f64::INFINITY));
    let differences = expected.iter().zip(&found).map(|(a, b)| f64::from((a - b).abs()));
    let distance = Distance {
        tokens,
        kl_nats: kl_nats.clone().sum::<f64>() / tokens.max(1) as f64,
        worst_kl_nats,
        beyond: kl_nats.filter(|kl| *kl > allowed_kl_nats).count(),
        top1_agree: usize::try_from(score.top1_agree).unwrap_or(0),
        max_logit: differences.fold(0.0, f64::max),
    };
    (distance, worst)
}

/// The negative log-likelihood of the token `target`, in nats, given `logits` over the whole
/// vocabulary. It is bit for bit what a sweep computes from the same logits. It is not finite if
/// `target` is not in the vocabulary, or if its logit or the largest logit is not finite; a NaN among
/// the other logits counts as probability 0.
pub fn nll_nats(logits: &[f32], target: u32) -> f64 {
    let mut scorer = Scorer::new(1);
    for (index, slice) in logits.chunks(SLICE_ROWS).enumerate() {
        let first = (index * SLICE_ROWS) as u32;
        scorer.add(VocabularySlice { first, targets: &[target] }, slice, None);
    }
    scorer.finish(&scorer).nll_nats[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_logits_give_the_logarithm_of_the_vocabulary_as_negative_log_likelihood() {
        for vocabulary in [8, SLICE_ROWS, 2 * SLICE_ROWS + 1] {
            let logits = vec![1000.0; vocabulary];
            let nll = nll_nats(&logits, vocabulary as u32 - 1);
            assert!((nll - (vocabulary as f64).ln()).abs() < 1e-12, "{vocabulary}: {nll}");
            assert!(!nll_nats(&logits, vocabulary as u32).is_finite());
        }
    }
}
