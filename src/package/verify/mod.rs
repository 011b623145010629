//! The chain of truth: that a folder of packages is the model that was scored.
//!
//! | link | holds when |
//! |---|---|
//! | files | every file is there, with the size and hash of `model.json`, and every package is well formed |
//! | weights | every weight of every function, decoded from the file, is the coded tensor bit for bit |
//! | logits | the packages, executed, predict what the walk predicts with these coded tensors |
//! | steps | token by token through `decode` they predict the same as at once through `prefill` |
//!
//! The links are checked in this order, and a link that breaks does not keep the next from being
//! looked at, as long as there is something to look at.

mod logits;
mod weights;

use crate::error::{Error, Result};
use crate::eval::{Coder, SLICE_ROWS, Scorer, VocabularySlice};
use crate::package::bundle::{Bundle, Check};
use crate::package::execute::Precision;

pub use logits::{Walked, by_block, walked};

/// How far predictions of packages may be from the walk's.
///
/// A package rounds cosines, sines and the epsilon of its norms to fp16, and computes in another
/// order. That is all, and far below the limit, where computing is smooth. It is not smooth where
/// inputs are rounded to int8: a value on the border of two steps may fall to either side, and does
/// so the more often the further a text is from the one that ranges were chosen on.
#[derive(Debug, Clone, Copy)]
struct Tolerance {
    /// KL divergence of a token.
    kl_nats: f64,
    /// Whether tokens may go elsewhere than in the walk.
    ties: bool,
}

impl Tolerance {
    fn of(coder: &Coder<'_>) -> Self {
        let is_smooth = coder.scales.is_none_or(|scales| scales.iter().len() == 0);
        let kl_nats = if is_smooth { MAX_KL_NATS } else { MAX_INT8_KL_NATS };
        Tolerance { kl_nats, ties: coder.checkpoint.config.experts.is_some() }
    }
}

/// Allowed per token where nothing is rounded to int8; what is measured is below a tenth of it.
pub const MAX_KL_NATS: f64 = 1e-3;
/// Allowed per token where inputs are rounded to int8; random tokens reach half of it.
pub const MAX_INT8_KL_NATS: f64 = 0.5;

/// In a mixture of experts one token of so many may go elsewhere than in the walk: where two
/// experts are as likely, fp16 decides otherwise than f32, and the token's prediction with it.
const TOKENS_PER_TIE: usize = 16;

/// One link of the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// `files`, `weights`, `logits` or `steps`.
    pub name: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// What was compared, or what differs first.
    pub what: String,
    /// How far predictions are apart, where predictions were compared.
    pub distance: Option<Distance>,
}

/// How far two sets of predictions are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Distance {
    /// Tokens that were compared.
    pub tokens: usize,
    /// Mean KL divergence over tokens.
    pub kl_nats: f64,
    /// Largest KL divergence of a token.
    pub worst_kl_nats: f64,
    /// Tokens whose KL divergence is beyond what is allowed.
    pub beyond: usize,
    /// Tokens whose most likely next token is the same.
    pub top1_agree: usize,
    /// Largest difference of a logit.
    pub max_logit: f64,
}

/// What is checked, against what.
pub struct Question<'a> {
    /// The packages.
    pub bundle: &'a Bundle,
    /// The checkpoint and the recipes that they claim to be.
    pub coder: Coder<'a>,
    /// Token ids that are predicted.
    pub ids: &'a [u32],
    /// What the packages are executed in.
    pub precision: Precision,
}

/// Checks every link. `progress` is told how many of how many steps are done, and may stop it.
///
/// # Errors
/// Input errors of the checkpoint; what is wrong with the packages is in the links.
pub fn verify(
    question: &Question<'_>,
    walked: &Walked,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Link>> {
    const STEPS: usize = 4;
    let tolerance = Tolerance::of(&question.coder);
    progress(0, STEPS)?;
    let files = question.bundle.check_files(Check::Hashes).map(|()| {
        let files: usize = question.bundle.manifest.packages.iter().map(|p| p.files.len()).sum();
        let packages = question.bundle.manifest.packages.len();
        format!("{files} files in {packages} package{}", if packages == 1 { "" } else { "s" })
    });
    let mut links = vec![Link::of("files", files)];
    progress(1, STEPS)?;
    links.push(Link::of("weights", weights::check(question)));
    progress(2, STEPS)?;
    let prefilled = logits::prefilled(question);
    links.push(Link::compared("logits", prefilled.as_ref(), &walked.logits, tolerance));
    progress(3, STEPS)?;
    let stepped = logits::stepped(question);
    let mut steps = Link::compared("steps", stepped.as_ref(), &walked.logits, tolerance);
    if !steps.holds && links.last().is_some_and(|link| link.holds) {
        // The same weights, the same tokens: what differs is what stays between calls.
        steps.what += "; at once the prediction is right: its cache is stale or in the wrong place";
    }
    links.push(steps);
    progress(STEPS, STEPS)?;
    Ok(links)
}

impl Link {
    fn of(name: &'static str, found: Result<String>) -> Self {
        let (holds, what) = match found {
            Ok(what) => (true, what),
            Err(error) => (false, error.cause()),
        };
        Link { name, holds, what, distance: None }
    }

    /// Compares predictions with those of the walk.
    fn compared(
        name: &'static str,
        found: Result<&Vec<Vec<f32>>, &Error>,
        expected: &[Vec<f32>],
        tolerance: Tolerance,
    ) -> Self {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return Link { name, holds: false, what: error.cause(), distance: None };
            }
        };
        let Tolerance { kl_nats, ties } = tolerance;
        let (distance, worst) = distance(expected, found, kl_nats);
        let allowed = if ties { distance.tokens / TOKENS_PER_TIE } else { 0 };
        let holds = distance.beyond <= allowed && expected.len() == found.len();
        let what = match (holds, distance.beyond) {
            (true, 0) => format!("{} tokens", distance.tokens),
            (true, beyond) => format!(
                "{} tokens, of which {beyond} went to other experts at a tie",
                distance.tokens
            ),
            (false, _) => format!(
                "token {worst}: KL {:.2e} nats from the walk, where {kl_nats:.0e} is allowed",
                distance.worst_kl_nats
            ),
        };
        Link { name, holds, what, distance: Some(distance) }
    }
}

/// How far the predictions `found` are from `expected`, `[tokens][vocabulary]` each, and at which
/// token most. Tokens beyond `allowed_kl_nats` are counted.
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
    // What is no number is as far away as can be.
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
