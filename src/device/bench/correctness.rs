//! The check before any speed is trusted: that the device computes the model, from the same bytes.

use crate::device::protocol::result::Scored;
use crate::error::{At, Result};
use crate::package::budget::unless_stopped;
use crate::package::bundle::Bundle;
use crate::package::chain::Chain;
use crate::package::execute::Precision;
use crate::package::verify::{Distance, distance, nll_nats};
use crate::results::finite;
use crate::results::measurement::CorrectnessCheck;

/// The largest mean KL divergence from this machine's predictions at which a device still computes
/// the model. A device computes in fp16, this machine in f32, which alone costs less than a tenth of
/// it. A real fault, such as skipped scales or a misplaced block, costs hundreds of times as much.
const MAX_MEAN_KL_NATS: f64 = 0.01;
/// The largest KL divergence of a single token.
const MAX_TOKEN_KL_NATS: f64 = 0.5;
/// How far a likelihood that a device reports may be from the one that its logits give: this share
/// of it, or this many nats if it is below 1 nat.
const MAX_NLL_DIFFERENCE: f64 = 0.01;

/// What this machine predicts after each token of a text.
#[derive(Debug)]
pub struct Expected {
    ids: Vec<u32>,
    /// `[tokens][vocabulary]`.
    logits: Vec<Vec<f32>>,
}

impl Expected {
    /// Executes the packages of `bundle` on `ids`.
    ///
    /// # Errors
    /// Input if the packages are invalid, interruption.
    pub fn of(bundle: &Bundle, ids: &[u32]) -> Result<Expected> {
        let own = ids.to_vec();
        let logits = Chain::load(bundle, Precision::Single)
            .and_then(|mut chain| unless_stopped(bundle.budget(), move || chain.prefill(&own)));
        Ok(Expected {
            ids: ids.to_vec(),
            logits: logits.at(|| bundle.folder.display().to_string())?,
        })
    }

    /// The tokens of the text.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Compares a device's scores, and its logits after every token, with what is expected. The
    /// caller fills in device and package.
    pub fn compare(&self, scored: &Scored, logits: &[Vec<f32>]) -> CorrectnessCheck {
        let (distance, worst) = distance(&self.logits, logits, MAX_TOKEN_KL_NATS);
        let inconsistency = self.inconsistency(scored, logits);
        let what = inconsistency.or_else(|| too_far(&distance, worst)).unwrap_or_default();
        CorrectnessCheck {
            holds: what.is_empty(),
            what,
            tokens: distance.tokens,
            kl_nats: finite(distance.kl_nats * distance.tokens as f64),
            worst_kl_nats: finite(distance.worst_kl_nats),
            top1_agree: distance.top1_agree,
            max_logit_difference: finite(distance.max_logit),
            device_nll_nats: finite(scored.nll_nats.iter().sum()),
            host_nll_nats: finite(self.nll_nats(&self.logits).iter().sum()),
            ..CorrectnessCheck::default()
        }
    }

    /// What contradicts itself in an answer, whatever was expected of it.
    fn inconsistency(&self, scored: &Scored, logits: &[Vec<f32>]) -> Option<String> {
        let tokens = self.ids.len();
        let vocabulary = self.logits.first().map_or(0, Vec::len);
        if logits.len() != tokens || scored.nll_nats.len() + 1 != tokens {
            return Some(format!(
                "expected logits after {tokens} tokens and {} likelihoods, found {} and {}",
                tokens.saturating_sub(1),
                logits.len(),
                scored.nll_nats.len()
            ));
        }
        let other = logits.iter().map(Vec::len).find(|len| *len != vocabulary);
        if let Some(other) = other {
            return Some(format!("expected {vocabulary} logits, found {other}"));
        }
        let own = self.nll_nats(logits);
        let is_far = |(own, reported): &(&f64, &f64)| {
            let is_near = (*own - *reported).abs() <= MAX_NLL_DIFFERENCE * own.abs().max(1.0);
            // Written this way, so that NaN counts as far.
            !is_near
        };
        own.iter().zip(&scored.nll_nats).find(is_far).map(|(own, reported)| {
            format!("it reports a likelihood of {reported:.4} nats, but its logits give {own:.4}")
        })
    }

    /// The negative log-likelihood of every token but the first, given the logits before it.
    fn nll_nats(&self, logits: &[Vec<f32>]) -> Vec<f64> {
        let pairs = logits.iter().zip(self.ids.iter().skip(1));
        pairs.map(|(logits, id)| nll_nats(logits, *id)).collect()
    }
}

/// Says how far predictions are apart, if that is further than allowed; `worst` is the token at
/// which they are furthest apart.
fn too_far(distance: &Distance, worst: usize) -> Option<String> {
    let (found, allowed, whose) = if distance.worst_kl_nats > MAX_TOKEN_KL_NATS {
        (distance.worst_kl_nats, MAX_TOKEN_KL_NATS, format!("token {worst}:"))
    } else if distance.kl_nats > MAX_MEAN_KL_NATS {
        (distance.kl_nats, MAX_MEAN_KL_NATS, "mean".to_owned())
    } else {
        return None;
    };
    Some(format!(
        "{whose} KL {found:.2e} nats from this machine's predictions, expected at most {allowed:.0e}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let logits = (0..6_u8).map(|t| (0..8_u8).map(|v| f32::from((t * 3 + v * 5) % 7)).collect());
        Expected { ids: vec![0, 3, 7, 1, 1, 2], logits: logits.collect() }
    }

    fn compare(change: impl Fn(usize, usize, f32) -> f32) -> CorrectnessCheck {
        let expected = expected();
        let mut logits = expected.logits.clone();
        for (t, logits) in logits.iter_mut().enumerate() {
            logits.iter_mut().enumerate().for_each(|(v, logit)| *logit = change(t, v, *logit));
        }
        let nll_nats = expected.nll_nats(&logits);
        let scored = Scored { nll_nats, positions: (0..6).collect(), vocab_size: 8 };
        expected.compare(&scored, &logits)
    }

    #[test]
    fn a_device_that_rounds_computes_the_model_and_one_that_swaps_does_not() {
        let same = compare(|_, _, logit| logit);
        assert!(same.holds && same.kl_nats == Some(0.0) && same.top1_agree == 6, "{same:?}");
        let rounded = compare(|t, v, logit| logit + 1e-3 * ((t + v) % 3) as f32);
        assert!(rounded.holds && rounded.kl_nats > Some(0.0), "{rounded:?}");
        let wrong = compare(|t, v, logit| if t == 4 { -logit } else { logit + v as f32 * 0.0 });
        assert!(!wrong.holds && wrong.what.starts_with("token 4"), "{wrong:?}");
        let blurred = compare(|_, _, logit| logit * 0.8);
        assert!(!blurred.holds && blurred.what.starts_with("mean KL"), "{blurred:?}");
        let broken = compare(|_, v, logit| if v == 2 { f32::NAN } else { logit });
        assert!(!broken.holds && broken.kl_nats.is_none(), "{broken:?}");
    }

    #[test]
    fn answers_that_contradict_themselves_are_wrong() {
        let expected = expected();
        let nll_nats = expected.nll_nats(&expected.logits);
        let mut scored = Scored { nll_nats, ..Scored::default() };
        assert!(expected.compare(&scored, &expected.logits).holds);
        let narrow: Vec<Vec<f32>> = expected.logits.iter().map(|l| l[..7].to_vec()).collect();
        let narrow = expected.compare(&scored, &narrow);
        assert!(narrow.what.contains("expected 8 logits, found 7"), "{}", narrow.what);
        scored.nll_nats[2] += 0.5;
        let contradiction = expected.compare(&scored, &expected.logits);
        assert!(contradiction.what.contains("its logits give"), "{}", contradiction.what);
        scored.nll_nats.pop();
        let short = expected.compare(&scored, &expected.logits);
        assert!(short.what.contains("expected logits after 6 tokens"), "{}", short.what);
    }
}
