//! Measures how sensitive the predictions are to each part of each layer, in one walk of the reference
//! from which lanes branch off.
//!
//! At every layer, on the reference's states:
//!
//! - Each candidate codes each tensor alone, and the tensor's part is run. The relative energy of the
//!   change in the states after the part is the tensor's error under that candidate.
//! - For each anchor, a lane branches off after the whole part was coded by it, and continues to the end
//!   with the reference's weights. Its KL divergence at the end is exact.
//!
//! Memory holds one block (or expert) in f32 with a copy of its parts per anchor, and the states of the
//! windows in two lanes per layer and anchor, so there must be few windows. A layer costs as much time as
//! a walk with one variant for each lane that has branched off so far.

use candle_core::{Result as CandleResult, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::part::{Part, Stage, distance, roles_in};
use crate::checkpoint::{Role, TensorId};
use crate::error::{At, Error, Result};
use crate::eval::final_weights::FinalWeights;
use crate::eval::lane::{Lane, Scored};
use crate::eval::setting::Walk;
use crate::eval::timing::Timings;
use crate::eval::variant::Variant;
use crate::eval::walk::{WalkObserver, stop_if_asked};
use crate::eval::weights::block_weights;
use crate::eval::windows::both;
use crate::eval::{embed, head};
use crate::model::{self, Block, BlockWeights, RopeTables};
use crate::quantize::quantize;

/// A measurement of sensitivities: the candidates, and the windows that they are measured on.
pub struct Probe<'a> {
    /// The walk, without variants.
    pub walk: Walk<'a>,
    /// Variants that code all blocks by one recipe each.
    pub candidates: &'a [Variant],
    /// Indices of the candidates that get lanes, the coarsest first. They must be able to code every
    /// tensor.
    pub anchors: &'a [usize],
}

/// Measured sensitivities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivities {
    /// Indices of the candidates whose KL divergence was measured, the coarsest first.
    pub anchors: Vec<usize>,
    /// Layer by layer: attention, then MLP or experts.
    pub parts: Vec<PartSensitivity>,
}

/// The sensitivity of one layer's attention, or of its MLP or experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartSensitivity {
    /// The layer's index.
    pub layer: usize,
    /// Mean KL divergence of each anchor's lane from the reference, in nats per token.
    pub kl_nats: Vec<f64>,
    /// By place and candidate, the mean over tokens of `|Δ|² / |y|²`, where `y` are the states after the
    /// part; `None` if the candidate cannot code the tensor, or if the layer has none in this place.
    pub errors: Vec<Vec<Option<f64>>>,
}

impl Sensitivities {
    /// Whether the lengths are right for these numbers of layers and candidates, because a file can contain
    /// anything.
    pub fn fits(&self, layers: usize, candidates: usize) -> bool {
        let is_whole = |parts: &[PartSensitivity]| {
            let errors = [0, 1].map(|part| parts[part].errors.clone());
            parts.iter().all(|part| part.kl_nats.len() == self.anchors.len())
                && errors_fit(&errors, candidates)
        };
        self.parts.len() == 2 * layers
            && !self.anchors.is_empty()
            && self.anchors.iter().all(|anchor| *anchor < candidates)
            && self.parts.chunks_exact(2).all(is_whole)
    }
}

/// Errors by place and candidate.
pub(super) type Errors = Vec<Vec<Option<f64>>>;

/// The errors of a layer: of attention, then of MLP or experts.
pub type LayerErrors = [Errors; 2];

/// Whether the lengths are right for this number of candidates, because a file can contain anything.
pub fn errors_fit(errors: &LayerErrors, candidates: usize) -> bool {
    let parts = [Part::Attention, Part::Mlp].into_iter().zip(errors);
    parts.into_iter().all(|(part, errors)| {
        errors.len() == part.places().len() && errors.iter().all(|own| own.len() == candidates)
    })
}

/// A part of a layer that is probed.
#[derive(Clone, Copy)]
struct Probed {
    part: Part,
    layer: usize,
    /// Whether an earlier walk has measured its errors.
    is_known: bool,
}

/// Weights of a part.
pub(super) type Weights = Vec<(Role, Tensor)>;

impl Probe<'_> {
    /// Walks the model. `known` are the errors of the first layers from an interrupted walk, which are not
    /// measured again. After each further layer, `keep` receives the errors of all layers so far.
    ///
    /// # Errors
    /// Input errors of the checkpoint, of candidates that cannot code it, and of states that overflow;
    /// interruption; errors of `keep`.
    pub fn measure(
        &self,
        mut known: Vec<LayerErrors>,
        keep: &mut dyn FnMut(&[LayerErrors]) -> Result<()>,
        observer: &mut dyn WalkObserver,
    ) -> Result<Sensitivities> {
        let Walk { checkpoint, windows, device, .. } = self.walk;
        let layers = checkpoint.config.layers;
        let total = layers + checkpoint.config.vocab_size.div_ceil(crate::eval::SLICE_ROWS);
        let mut lanes = vec![Lane::new(Variant::reference())];
        embed::embed(&self.walk, &mut lanes)?;
        let tokens = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
        let rope = RopeTables::new(&checkpoint.config, tokens, device)?;
        for layer in 0..layers {
            observer.progress(layer, total);
            checkpoint.check_unchanged()?;
            let measured = self.layer(layer, &rope, known.get(layer), &mut lanes);
            let errors = measured.at(|| format!("layer {layer}"))?;
            if layer == known.len() {
                known.push(errors);
                keep(&known)?;
            }
            stop_if_asked(observer)?;
        }
        let last = vec![Some(FinalWeights::read(checkpoint, device)?); lanes.len()];
        let mut timings = Timings::default();
        let outcomes = head::score(&self.walk, lanes, &last, &mut timings, &mut |slice| {
            observer.progress(layers + slice, total);
            stop_if_asked(observer)
        })?;
        let mut measured = outcomes.into_iter().skip(1);
        let mut parts = Vec::new();
        for (layer, errors) in known.into_iter().enumerate() {
            for errors in errors {
                let kl_of = |_: &usize| -> Result<f64> {
                    let scored = measured.next().ok_or_else(|| Error::bug("a lane is missing"))?;
                    let scored = scored.map_err(|cause| Error::input(cause.what).hint(cause.hint));
                    mean_kl_nats(&scored?, layer)
                };
                let kl_nats = self.anchors.iter().map(kl_of).collect::<Result<_>>()?;
                parts.push(PartSensitivity { layer, kl_nats, errors });
            }
        }
        Ok(Sensitivities { anchors: self.anchors.to_vec(), parts })
    }

    /// Measures a layer and takes every lane through it. New lanes are appended.
    fn layer(
        &self,
        layer: usize,
        rope: &RopeTables,
        known: Option<&LayerErrors>,
        lanes: &mut Vec<Lane>,
    ) -> Result<LayerErrors> {
        let config = &self.walk.checkpoint.config;
        let mut block = Block::new(config, layer, self.read(&config.block_tensors(layer))?)?;
        let parts: &[Part] = match config.mixture(layer) {
            Some(_) => &[Part::Attention],
            None => &[Part::Attention, Part::Mlp],
        };
        let mut found = [Errors::new(), Errors::new()];
        // The states before the layer, which parallel layers read again after attention.
        let is_parallel = config.placement.parallel;
        let mut first: Vec<Vec<Tensor>> = match is_parallel {
            true => lanes.iter().map(|lane| lane.hidden.clone()).collect(),
            false => Vec::new(),
        };
        for (at, &part) in parts.iter().enumerate() {
            let reference = &lanes[0].hidden;
            let x = first.first().unwrap_or(reference);
            let stage = Stage::of(part, &block, x, reference, rope)?;
            let probed = Probed { part, layer, is_known: known.is_some() };
            let (errors, states) = self.part(probed, &mut block, &stage, rope)?;
            advance(lanes, &first, |x, before| {
                let normed = part.normed(&block, x, before)?;
                part.add(&block, &part.inner(&block, &normed, rope)?, before)
            })?;
            if is_parallel {
                first.extend(std::iter::repeat_n(first[0].clone(), states.len()));
            }
            lanes.extend(states.into_iter().map(branch));
            found[at] = errors;
        }
        if config.mixture(layer).is_some() {
            found[1] = self.experts(layer, known.is_some(), &mut block, &first, lanes)?;
        }
        Ok(known.cloned().unwrap_or(found))
    }

    pub(super) fn read(&self, ids: &[TensorId]) -> Result<BlockWeights> {
        let Walk { checkpoint, device, .. } = self.walk;
        let read = |id: &TensorId| Ok((*id, checkpoint.read(*id)?));
        let tensors = ids.iter().map(read).collect::<Result<Vec<_>>>()?;
        block_weights(checkpoint, device, tensors.into_iter())
    }

    /// A weight `[out, in]` coded by a candidate and decoded; `None` if the candidate cannot code it.
    pub(super) fn coded(
        &self,
        id: TensorId,
        weight: &Tensor,
        candidate: usize,
    ) -> Result<Option<Tensor>> {
        let Walk { checkpoint, device, .. } = self.walk;
        let stored = checkpoint.stored(id)?;
        let (recipe, shape) = (self.candidates[candidate].recipe_of(id, stored), stored.matrix());
        if recipe.check_shape(shape).is_err() {
            return Ok(None);
        }
        let coded = model::with_values(weight, |values| quantize(&recipe, values, shape, None))?;
        let coded = coded.at(|| format!("tensor {}", id.name()))?;
        coded.map(|coded| model::matrix(coded.decode(), shape, device)).transpose()
    }

    /// Codes every tensor of a part by every candidate, unless its errors are known, and the whole part by
    /// every anchor. Returns the errors, and per anchor the states after the part. Leaves the block
    /// unchanged.
    fn part(
        &self,
        probed: Probed,
        block: &mut Block,
        stage: &Stage,
        rope: &RopeTables,
    ) -> Result<(Errors, Vec<Vec<Tensor>>)> {
        let Probed { part, layer, is_known } = probed;
        let mut originals: Weights = Vec::new();
        let mut anchored: Vec<Weights> = vec![Vec::new(); self.anchors.len()];
        let mut errors = Errors::new();
        for place in part.places() {
            let own = self.originals(block, layer, place)?;
            let mut place_errors = Vec::new();
            for candidate in self.needed(is_known) {
                let Some(weights) = self.coded_place(layer, &own, candidate)? else {
                    place_errors.push(None);
                    continue;
                };
                self.keep(candidate, &weights, &mut anchored);
                if !is_known {
                    replace(weights, |role, weight| block.replace(role, weight))?;
                    let states = stage.again(part, block, place, rope)?;
                    place_errors.push(Some(distance(&stage.after, &states)?));
                }
            }
            replace(own.clone(), |role, weight| block.replace(role, weight))?;
            originals.extend(own);
            errors.push(place_errors);
        }
        let mut states = Vec::new();
        for weights in anchored {
            replace(weights, |role, weight| block.replace(role, weight))?;
            states.push(stage.again(part, block, part.places().start, rope)?);
        }
        replace(originals, |role, weight| block.replace(role, weight))?;
        Ok((errors, states))
    }

    /// The candidates that must be coded: only the anchors if errors are known.
    fn needed(&self, is_known: bool) -> Vec<usize> {
        if is_known { self.anchors.to_vec() } else { (0..self.candidates.len()).collect() }
    }

    /// Keeps weights if their candidate is an anchor.
    pub(super) fn keep(&self, candidate: usize, coded: &Weights, anchored: &mut [Weights]) {
        let anchors = self.anchors.iter().zip(anchored);
        for (_, weights) in anchors.filter(|(anchor, _)| **anchor == candidate) {
            weights.extend(coded.iter().cloned());
        }
    }

    /// The weights of a block in one place, coded by a candidate; `None` if it cannot code one of them.
    pub(super) fn coded_place(
        &self,
        layer: usize,
        originals: &Weights,
        candidate: usize,
    ) -> Result<Option<Weights>> {
        let mut coded = Weights::new();
        for (role, original) in originals {
            match self.coded(TensorId::block(layer, *role), original, candidate)? {
                Some(weight) => coded.push((*role, weight)),
                None => return Ok(None),
            }
        }
        Ok((!coded.is_empty()).then_some(coded))
    }

    /// The weights of a block in one place.
    pub(super) fn originals(
        &self,
        block: &mut Block,
        layer: usize,
        place: usize,
    ) -> Result<Weights> {
        let roles = roles_in(&self.walk.checkpoint.config, layer, place).into_iter();
        roles.map(|role| Ok((role, block.weight(role)?))).collect()
    }
}

/// Puts weights in place by `put`.
pub(super) fn replace(
    weights: Weights,
    mut put: impl FnMut(Role, Tensor) -> Result<()>,
) -> Result<()> {
    weights.into_iter().try_for_each(|(role, weight)| put(role, weight))
}

/// Applies a step to the states of every lane: those before the layer, which are in `first` if they differ,
/// and those before the step.
fn advance(
    lanes: &mut [Lane],
    first: &[Vec<Tensor>],
    step: impl Fn(&Tensor, &Tensor) -> CandleResult<Tensor> + Sync + Send,
) -> Result<()> {
    lanes.par_iter_mut().enumerate().try_for_each(|(at, lane)| {
        lane.hidden = both(first.get(at).unwrap_or(&lane.hidden), &lane.hidden, &step)?;
        Ok(())
    })
}

/// A lane that continues from these states with the reference's weights.
pub(super) fn branch(hidden: Vec<Tensor>) -> Lane {
    Lane { hidden, ..Lane::new(Variant::reference()) }
}

/// The mean KL divergence in nats per token after a part of `layer` was coded.
fn mean_kl_nats(scored: &Scored, layer: usize) -> Result<f64> {
    let all = || scored.scores.iter().flat_map(|score| &score.kl_nats);
    let mean = all().sum::<f64>() / all().count().max(1) as f64;
    if mean.is_finite() {
        Ok(mean)
    } else {
        Err(Error::input(format!("the KL divergence is {mean}, because an activation overflowed"))
            .at(format!("layer {layer} with a quantized part"))
            .hint("leave out the coarsest of --candidates"))
    }
}
