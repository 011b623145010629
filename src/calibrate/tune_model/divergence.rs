//! The KL divergence from the reference on some windows, and its gradients by the inputs of the head,
//! computed one slice of the vocabulary at a time.

use std::ops::Range;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::checkpoint::config::Config;
use crate::error::{Error, Result};
use crate::eval::divergence::{Scorer, VocabularySlice};
use crate::eval::final_weights::FinalWeights;
use crate::eval::setting::Walk;
use crate::eval::vocabulary::{Source, Vocabulary, distinct};
use crate::model::{self, HeadSlice, exp};
use crate::quantize::Recipe;

/// The reference's side of some windows.
#[derive(Clone, Copy)]
pub struct ReferenceWindows<'a> {
    /// Its states after the final norm, per window `[tokens, hidden]`.
    pub states: &'a [Tensor],
    /// Per window and token the log-sum-exp of its logits: see
    /// [`reference_sums`](Divergence::reference_sums).
    pub log_sums: &'a [Vec<f64>],
}

/// The heads of the reference and of the variant.
pub struct Divergence<'a> {
    vocabulary: Vocabulary<'a>,
    /// Index of the reference's coding in the vocabulary, and of the variant's.
    own: [usize; 2],
    device: &'a Device,
    config: &'a Config,
    /// The biases of both heads.
    last: [FinalWeights; 2],
}

impl<'a> Divergence<'a> {
    /// Prepares the reference's head and the variant's, whose source is `head` and whose bias is in `last`.
    ///
    /// # Errors
    /// Input errors of the checkpoint and of the file.
    pub fn new(walk: &Walk<'a>, head: Source, last: FinalWeights) -> Result<Self> {
        let checkpoint = walk.checkpoint;
        let reference = Source { recipe: Recipe::Reference, file: None };
        let (sources, own) = distinct([reference, head].into_iter());
        let vocabulary = Vocabulary::new(checkpoint, checkpoint.head(), &sources)?;
        Ok(Divergence {
            vocabulary,
            own: [own[0], own[1]],
            device: walk.device,
            config: &checkpoint.config,
            last: [FinalWeights::read(checkpoint, walk.device)?, last],
        })
    }

    /// The mean divergence in nats over all tokens of windows `[tokens, hidden]`.
    ///
    /// # Errors
    /// Input errors of the checkpoint and of the file, bug-class errors of candle.
    pub fn mean_nats(&mut self, reference: &[Tensor], own: &[Tensor]) -> Result<f64> {
        let pairs = self.pairs(reference, own)?;
        let kl: Vec<f64> = pairs.iter().flat_map(|[base, own]| own.finish(base).kl_nats).collect();
        Ok(kl.iter().sum::<f64>() / kl.len().max(1) as f64)
    }

    /// The log-sum-exp of the reference's logits, per window and token.
    ///
    /// # Errors
    /// As [`mean_nats`](Divergence::mean_nats).
    pub fn reference_sums(&mut self, reference: &[Tensor]) -> Result<Vec<Vec<f64>>> {
        self.sums(reference, 0)
    }

    /// The gradients of the mean divergence by `own`, per window `[tokens, hidden]`.
    ///
    /// # Errors
    /// As [`mean_nats`](Divergence::mean_nats).
    pub fn gradients(
        &mut self,
        reference: ReferenceWindows<'_>,
        own: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let ReferenceWindows { states: reference, log_sums } = reference;
        let own_sums = self.sums(own, 1)?;
        let config = self.config;
        let tokens: usize = own_sums.iter().map(Vec::len).sum();
        let weight = 1.0 / tokens.max(1) as f32;
        let zeros = own.iter().map(Tensor::zeros_like).collect::<Result<Vec<_>, _>>();
        let mut gradients = zeros.map_err(model::failed)?;
        for slice in self.vocabulary.slices() {
            let [base, head] = self.heads(slice)?;
            let sums = log_sums.par_iter().zip(&own_sums);
            let windows = gradients.par_iter_mut().zip(reference).zip(own).zip(sums);
            windows.try_for_each(|(((gradient, reference), own), sums)| -> Result<()> {
                let logits =
                    [model::logits(reference, &base, config)?, model::logits(own, &head, config)?];
                let by_logits = logit_gradients(&logits, sums, weight)?;
                let by_products = by_products(by_logits, &logits[1], config);
                let more = by_products
                    .and_then(|by| model::product(&by, &head.weight))
                    .and_then(|more| &*gradient + more);
                *gradient = more.map_err(model::failed)?;
                Ok(())
            })?;
        }
        Ok(gradients)
    }

    /// The log-sum-exp of the logits of one head, per window and token.
    fn sums(&mut self, states: &[Tensor], own: usize) -> Result<Vec<Vec<f64>>> {
        let mut scorers = scorers(states)?;
        let config = self.config;
        for rows in self.vocabulary.slices() {
            let first = rows.start as u32;
            let head = &self.heads(rows)?[own];
            let windows = scorers.par_iter_mut().zip(states);
            windows.try_for_each(|((scorer, targets), states)| -> Result<()> {
                let slice = VocabularySlice { first, targets };
                model::with_values(&model::logits(states, head, config)?, |l| {
                    scorer.add(slice, l, None)
                })
            })?;
        }
        Ok(scorers.into_iter().map(|(scorer, _)| scorer.log_sums()).collect())
    }

    /// The scorers of the reference and the variant after all slices of the vocabulary.
    fn pairs(&mut self, reference: &[Tensor], own: &[Tensor]) -> Result<Vec<[Scorer; 2]>> {
        let mut base = scorers(reference)?;
        let mut scorers = scorers(own)?;
        let config = self.config;
        for rows in self.vocabulary.slices() {
            let first = rows.start as u32;
            let [base_head, head] = self.heads(rows)?;
            let windows = base.par_iter_mut().zip(&mut scorers).zip(reference).zip(own);
            windows.try_for_each(|((((base, targets), (scorer, _)), reference), own)| {
                let slice = VocabularySlice { first, targets };
                let reference = model::logits(reference, &base_head, config)?;
                let own = model::logits(own, &head, config)?;
                model::with_values(&reference, |reference| {
                    base.add(slice, reference, None);
                    model::with_values(&own, |own| scorer.add(slice, own, Some(reference)))
                })?
            })?;
        }
        Ok(base.into_iter().zip(scorers).map(|((base, _), (own, _))| [base, own]).collect())
    }

    /// Rows of both heads, `[rows, hidden]`.
    fn heads(&mut self, rows: Range<usize>) -> Result<[HeadSlice; 2]> {
        let decoded = self.vocabulary.decode(rows.clone())?;
        let head = |side: usize| -> Result<HeadSlice> {
            let coding = self.own[side];
            let values =
                decoded[coding].clone().ok_or_else(|| Error::bug("a head could not be decoded"))?;
            let hidden = values.len() / rows.len().max(1);
            let weight = model::matrix(values, [rows.len(), hidden], self.device)?;
            self.last[side].slice(weight, rows.clone())
        };
        Ok([head(0)?, head(1)?])
    }
}

/// A scorer for all tokens of each window, with placeholder targets: sums and divergences do not depend
/// on targets.
fn scorers(states: &[Tensor]) -> Result<Vec<(Scorer, Vec<u32>)>> {
    let tokens = states.iter().map(|x| x.dim(0).map_err(model::failed));
    tokens.map(|tokens| tokens.map(|tokens| (Scorer::new(tokens), vec![0; tokens]))).collect()
}

/// The gradients of the divergence by the variant's logits `[tokens, rows]`: its probabilities minus the
/// reference's, times `weight`. Logits and their log-sum-exp are the reference's, then the variant's.
fn logit_gradients(
    [reference, own]: &[Tensor; 2],
    log_sums: (&Vec<f64>, &Vec<f64>),
    weight: f32,
) -> Result<Tensor> {
    let mut values = model::values(own)?;
    let (tokens, rows) = own.dims2().map_err(model::failed)?;
    model::with_values(reference, |reference| {
        let lines = values.chunks_exact_mut(rows).zip(reference.chunks_exact(rows));
        for ((own, reference), (base_sum, own_sum)) in lines.zip(log_sums.0.iter().zip(log_sums.1))
        {
            let log_sums = [*base_sum as f32, *own_sum as f32];
            pulp::Arch::new().dispatch(TokenGradient { own, reference, log_sums, weight });
        }
    })?;
    model::matrix(values, [tokens, rows], own.device())
}

/// The gradients by the products of states and head, from those by the logits that were made of them.
fn by_products(by_logits: Tensor, logits: &Tensor, config: &Config) -> candle_core::Result<Tensor> {
    let scale = f64::from(config.logit_scale);
    match config.logit_softcap {
        // The derivative of tanh is 1 minus its square.
        Some(cap) => by_logits * (((logits / cap)?.sqr()? * -scale)? + scale)?,
        None if scale != 1.0 => by_logits * scale,
        None => Ok(by_logits),
    }
}

/// One token: replaces the variant's logits `own` by the gradient.
struct TokenGradient<'a> {
    own: &'a mut [f32],
    reference: &'a [f32],
    /// Of the reference, then of the variant.
    log_sums: [f32; 2],
    weight: f32,
}

impl pulp::NullaryFnOnce for TokenGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [base_sum, own_sum] = self.log_sums;
        for (own, reference) in self.own.iter_mut().zip(self.reference) {
            *own = (exp(*own - own_sum) - exp(*reference - base_sum)) * self.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;

    #[test]
    fn gradients_agree_with_finite_differences() {
        // Plain; with a bias on the head; with a cap; with a factor.
        for model in ["mixtures/qwen3-moe-4", "families/phi", "families/gemma2", "families/granite"]
        {
            let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
            check(&std::path::Path::new(golden).join(model));
        }
    }

    fn check(model: &std::path::Path) {
        let checkpoint = Checkpoint::open(model).unwrap();
        let device = Device::Cpu;
        let (variants, windows, coded) = (&[][..], &[][..], &[][..]);
        let walk = Walk {
            checkpoint: &checkpoint,
            variants,
            windows,
            coded,
            calibration: None,
            device: &device,
        };
        let head = Source { recipe: Recipe::Reference, file: None };
        let last = FinalWeights::read(&checkpoint, &device).unwrap();
        let mut divergence = Divergence::new(&walk, head, last).unwrap();
        let (tokens, hidden) = (6, checkpoint.config.hidden_size);
        let states = |phase: f32| {
            let value = |at: usize| (at as f32 * 0.37).sin() * 2.0 + (at as f32 + phase).cos();
            let values = (0..tokens * hidden).map(value).collect();
            [model::matrix(values, [tokens, hidden], &device).unwrap()]
        };
        let (reference, own) = (states(0.0), states(0.5));
        let nats = |divergence: &mut Divergence<'_>, own: &Tensor| {
            divergence.mean_nats(&reference, std::slice::from_ref(own)).unwrap()
        };
        assert!(divergence.mean_nats(&reference, &reference).unwrap().abs() < 1e-6);
        let sums = divergence.reference_sums(&reference).unwrap();
        let windows = ReferenceWindows { states: &reference, log_sums: &sums };
        let gradient = divergence.gradients(windows, &own).unwrap().remove(0);
        let values = model::values(&gradient).unwrap();
        let square: f64 = values.iter().map(|g| f64::from(*g).powi(2)).sum();
        // Along the gradient itself, the divergence changes by the gradient's square.
        let step = 0.05 / square.sqrt();
        let moved = |by: f64| (&own[0] + (&gradient * by).unwrap()).unwrap();
        let change = nats(&mut divergence, &moved(step)) - nats(&mut divergence, &moved(-step));
        let change = change / (2.0 * step);
        let name = &checkpoint.name;
        assert!((change / square - 1.0).abs() < 0.01, "{name}: {change}, expected {square}");
    }
}
