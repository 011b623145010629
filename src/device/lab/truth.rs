//! Before a speed is believed: whether the device computes the model, from the same bytes.

use crate::device::protocol::result::Scored;
use crate::error::{At, Result};
use crate::package::bundle::Bundle;
use crate::package::chain::Chain;
use crate::package::execute::Precision;
use crate::package::verify::distance;
use crate::results::measurement::Truth;

/// Mean KL divergence from this machine's predictions up to which a device computes the model. A
/// device computes in fp16, this machine in f32; that alone costs less than a tenth of it, and what
/// is wrong (scales skipped, a block out of place) costs hundreds of times as much.
pub const MAX_MEAN_KL_NATS: f64 = 0.01;
/// The same of a single token.
pub const MAX_TOKEN_KL_NATS: f64 = 0.5;

/// What this machine predicts after each of some tokens.
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
    /// Input errors of the packages.
    pub fn of(bundle: &Bundle, ids: &[u32]) -> Result<Expected> {
        let logits =
            Chain::load(bundle, Precision::Single).and_then(|mut chain| chain.prefill(ids));
        Ok(Expected {
            ids: ids.to_vec(),
            logits: logits.at(|| bundle.folder.display().to_string())?,
        })
    }

    /// The tokens.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Holds what a device scored, with its logits after every token, against what is expected.
    pub fn compare(&self, scored: &Scored, logits: &[Vec<f32>]) -> Truth {
        let (distance, worst) = distance(&self.logits, logits, MAX_TOKEN_KL_NATS);
        let device_nll_nats: f64 = scored.nll_nats.iter().sum();
        let host_nll_nats: f64 = self.nll_nats().iter().sum();
        let what = self.fault(scored, logits).unwrap_or_else(|| match () {
            () if distance.worst_kl_nats > MAX_TOKEN_KL_NATS => format!(
                "token {worst}: KL {:.2e} nats from this machine's prediction, where {:.0e} is allowed",
                distance.worst_kl_nats, MAX_TOKEN_KL_NATS
            ),
            () if distance.kl_nats > MAX_MEAN_KL_NATS => format!(
                "mean KL {:.2e} nats from this machine's predictions, where {:.0e} is allowed",
                distance.kl_nats, MAX_MEAN_KL_NATS
            ),
            () => String::new(),
        });
        Truth {
            holds: what.is_empty(),
            what,
            tokens: distance.tokens,
            kl_nats: finite(distance.kl_nats * distance.tokens as f64),
            worst_kl_nats: finite(distance.worst_kl_nats),
            top1_agree: distance.top1_agree,
            max_logit_difference: finite(distance.max_logit),
            device_nll_nats: finite(device_nll_nats),
            host_nll_nats,
            ..Truth::default()
        }
    }

    /// What is wrong with an answer before any number in it is looked at.
    fn fault(&self, scored: &Scored, logits: &[Vec<f32>]) -> Option<String> {
        let tokens = self.ids.len();
        let vocabulary = self.logits.first().map_or(0, Vec::len);
        if logits.len() != tokens || scored.nll_nats.len() + 1 != tokens {
            return Some(format!(
                "expected predictions after {tokens} tokens, found {} and {} likelihoods",
                logits.len(),
                scored.nll_nats.len()
            ));
        }
        let other = logits.iter().map(Vec::len).find(|len| *len != vocabulary);
        if let Some(other) = other {
            return Some(format!("expected {vocabulary} logits, found {other}"));
        }
        let own = nll_nats(logits, &self.ids);
        let far = own.iter().zip(&scored.nll_nats).find(|(own, said)| {
            let difference = (*own - *said).abs();
            // Not "greater", so that what is no number is far as well.
            let is_near = difference <= 0.01 * own.abs().max(1.0);
            !is_near
        });
        far.map(|(own, said)| {
            format!("its likelihood of {said:.4} nats is not that of its own logits, {own:.4}")
        })
    }

    fn nll_nats(&self) -> Vec<f64> {
        nll_nats(&self.logits, &self.ids)
    }
}

/// The negative log-likelihood of each of `ids` but the first, from the logits before it.
fn nll_nats(logits: &[Vec<f32>], ids: &[u32]) -> Vec<f64> {
    let pairs = logits.iter().zip(ids.iter().skip(1));
    pairs
        .map(|(logits, id)| {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
            let own = logits.get(*id as usize).copied().unwrap_or(f32::NAN);
            sum.ln() - f64::from(own - max)
        })
        .collect()
}

/// What is no number, or infinite, cannot be recorded; the truth does not hold then, and says so.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::MAX }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        let logits = (0..6_u8).map(|t| (0..8_u8).map(|v| f32::from((t * 3 + v * 5) % 7)).collect());
        Expected { ids: vec![0, 3, 7, 1, 1, 2], logits: logits.collect() }
    }

    fn compare(change: impl Fn(usize, usize, f32) -> f32) -> Truth {
        let expected = expected();
        let mut logits = expected.logits.clone();
        for (t, logits) in logits.iter_mut().enumerate() {
            logits.iter_mut().enumerate().for_each(|(v, logit)| *logit = change(t, v, *logit));
        }
        let nll_nats = nll_nats(&logits, expected.ids());
        let scored = Scored { nll_nats, positions: (0..6).collect(), vocab_size: 8 };
        expected.compare(&scored, &logits)
    }

    #[test]
    fn a_device_that_rounds_computes_the_model_and_one_that_swaps_does_not() {
        let same = compare(|_, _, logit| logit);
        assert!(same.holds && same.kl_nats == 0.0 && same.top1_agree == 6, "{same:?}");
        let rounded = compare(|t, v, logit| logit + 1e-3 * ((t + v) % 3) as f32);
        assert!(rounded.holds && rounded.kl_nats > 0.0, "{rounded:?}");
        let wrong = compare(|t, v, logit| if t == 4 { -logit } else { logit + v as f32 * 0.0 });
        assert!(!wrong.holds && wrong.what.starts_with("token 4"), "{wrong:?}");
        let blurred = compare(|_, _, logit| logit * 0.8);
        assert!(!blurred.holds && blurred.what.starts_with("mean KL"), "{blurred:?}");
        let broken = compare(|_, v, logit| if v == 2 { f32::NAN } else { logit });
        assert!(!broken.holds && broken.kl_nats.is_finite(), "{broken:?}");
    }

    #[test]
    fn answers_that_contradict_themselves_are_wrong() {
        let expected = expected();
        let mut scored = Scored { nll_nats: expected.nll_nats(), ..Scored::default() };
        assert!(expected.compare(&scored, &expected.logits).holds);
        scored.nll_nats[2] += 0.5;
        let said = expected.compare(&scored, &expected.logits);
        assert!(said.what.contains("not that of its own logits"), "{}", said.what);
        scored.nll_nats.pop();
        let short = expected.compare(&scored, &expected.logits);
        assert!(short.what.contains("expected predictions after 6 tokens"), "{}", short.what);
        let narrow: Vec<Vec<f32>> = expected.logits.iter().map(|l| l[..7].to_vec()).collect();
        let scored = Scored { nll_nats: expected.nll_nats(), ..Scored::default() };
        let narrow = expected.compare(&scored, &narrow);
        assert!(narrow.what.contains("expected 8 logits, found 7"), "{}", narrow.what);
    }
}
