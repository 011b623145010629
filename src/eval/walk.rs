//! The walk: layers outside, variants inside, windows innermost; every weight is read once.
//!
//! ```text
//! for each layer:  read its tensors to f32            (once, for everybody)
//!                  code them for every variant        (small: codes, tables, scales)
//!                  reference: forward, drop the f32   (one block in f32 at a time …)
//!                  each variant: decode, forward, drop (… and here it is the variant's)
//! ```
//!
//! Results of a variant do not depend on which others walk along: each window of each variant is
//! computed by itself, in a fixed order of operations. Threads share out windows and tiles only.

use std::time::Instant;

use candle_core::Tensor;
use rayon::prelude::*;

use super::embed;
use super::head;
use super::lane::{Lane, Outcome, Resumed};
use super::setting::Walk;
use super::state::State;
use super::timing::{Phase, Timings};
use super::variant::Variant;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{At, Error, Exit, Result};
use crate::model::{self, Block, BlockWeights, Linear, RopeTables};
use crate::quantize::{CodedTensor, quantize};

/// What a walk tells its caller, and asks.
pub trait Observer {
    /// `done` of `total` steps: the embedding, the layers, the slices of the head.
    fn progress(&mut self, done: usize, total: usize);

    /// Whether to stop at the next layer; the walk then ends with an interrupted error.
    fn interrupted(&self) -> bool;

    /// Keeps the state after a layer, where that is worth its time.
    ///
    /// # Errors
    /// Surroundings errors.
    fn keep(&mut self, state: &State<'_>) -> Result<()>;
}

/// What a walk found.
#[derive(Debug)]
pub struct Walked {
    /// The reference first, then the variants in the order given.
    pub outcomes: Vec<Outcome>,
    /// Where the time went.
    pub timings: Timings,
}

impl Walk<'_> {
    /// Walks every layer, from the start or from a kept state.
    ///
    /// # Errors
    /// Input errors of the checkpoint, interruption, and what the observer returns. A variant
    /// whose weights cannot be coded fails alone and leaves the others walking.
    pub fn run(&self, resume: Option<Resumed>, observer: &mut dyn Observer) -> Result<Walked> {
        let layers = self.checkpoint.config.layers;
        let total = layers + 1 + self.checkpoint.config.vocab_size.div_ceil(super::SLICE_ROWS);
        let mut timings = Timings::default();
        let (first, mut lanes) = match resume {
            Some(resumed) => (resumed.next_layer, resumed.lanes),
            None => (0, self.lanes()),
        };
        for (lane, file) in lanes.iter_mut().skip(1).zip(self.coded) {
            lane.file.clone_from(file);
        }
        if lanes[0].hidden.is_empty() {
            timings.measure(Phase::Embedding, || embed::embed(self, &mut lanes))?;
        }
        let rope = self.rope()?;
        for layer in first..layers {
            observer.progress(1 + layer, total);
            self.checkpoint.check_unchanged()?;
            self.layer(layer, &mut lanes, &rope, &mut timings)?;
            observer.keep(&State { next_layer: layer + 1, lanes: &lanes })?;
            stop_if_asked(observer)?;
        }
        let norms = self.final_norms(&mut lanes)?;
        let outcomes = head::score(self, lanes, &norms, &mut timings, &mut |slice| {
            observer.progress(1 + layers + slice, total);
            stop_if_asked(observer)
        })?;
        self.checkpoint.check_unchanged()?;
        observer.progress(total, total);
        Ok(Walked { outcomes, timings })
    }

    /// The lanes at the start.
    fn lanes(&self) -> Vec<Lane> {
        let variants = std::iter::once(Variant::reference()).chain(self.variants.iter().cloned());
        variants.map(Lane::new).collect()
    }

    fn rope(&self) -> Result<RopeTables> {
        let tokens = self.windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
        RopeTables::new(&self.checkpoint.config, tokens, self.device)
    }

    fn layer(
        &self,
        layer: usize,
        lanes: &mut [Lane],
        rope: &RopeTables,
        timings: &mut Timings,
    ) -> Result<()> {
        let tensors = timings.measure(Phase::Read, || self.read_block(layer))?;
        let mut coded: Vec<Option<CodedBlock>> = timings.measure(Phase::Code, || {
            lanes
                .iter_mut()
                .map(|lane| code_block(lane, self.checkpoint, &tensors))
                .collect::<Result<_>>()
        })?;
        let block = self.block(tensors.into_iter())?;
        timings.measure(Phase::ReferenceForward, || forward(&block, &mut lanes[0], rope))?;
        drop(block);
        for (lane, coded) in lanes.iter_mut().zip(&mut coded).skip(1) {
            let Some(coded) = coded.take() else { continue };
            let start = Instant::now();
            let block = self.block(coded.into_iter().map(|(id, tensor)| (id, tensor.decode())))?;
            timings.add(Phase::Decode, start.elapsed());
            timings.measure(Phase::Forward, || forward(&block, lane, rope))?;
        }
        Ok(())
    }

    fn read_block(&self, layer: usize) -> Result<Vec<(TensorId, Vec<f32>)>> {
        let ids = self.checkpoint.config.block_tensors(layer);
        ids.into_iter().map(|id| Ok((id, self.checkpoint.read(id)?))).collect()
    }

    /// Puts a block together from decoded tensors, which it takes without copying.
    fn block(&self, tensors: impl Iterator<Item = (TensorId, Vec<f32>)>) -> Result<Block> {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for (id, values) in tensors {
            if id.bias {
                biases.push((id.role, model::vector(values, self.device)?));
            } else {
                weights.push((id, values));
            }
        }
        let mut block = BlockWeights::default();
        for (id, values) in weights {
            if !id.role.is_linear() {
                block.norm(id.role, model::vector(values, self.device)?);
                continue;
            }
            let shape = self.checkpoint.stored(id)?.matrix();
            let bias = biases.iter().find(|(role, _)| *role == id.role).map(|(_, b)| b.clone());
            block.linear(
                id.role,
                Linear { weight: model::matrix(values, shape, self.device)?, bias },
            );
        }
        Block::new(&self.checkpoint.config, block)
    }

    /// The final norm's gain for each lane.
    fn final_norms(&self, lanes: &mut [Lane]) -> Result<Vec<Option<Tensor>>> {
        let id = TensorId::model(crate::checkpoint::Role::FinalNorm);
        let tensors = [(id, self.checkpoint.read(id)?)];
        let gain = |values: &[f32]| model::vector(values.to_vec(), self.device);
        let mut gains = vec![Some(gain(&tensors[0].1)?)];
        for lane in &mut lanes[1..] {
            let coded = code_block(lane, self.checkpoint, &tensors)?;
            gains.push(coded.map(|coded| gain(&coded[0].1.decode())).transpose()?);
        }
        Ok(gains)
    }
}

fn stop_if_asked(observer: &dyn Observer) -> Result<()> {
    match observer.interrupted() {
        true => Err(Error::new(Exit::Interrupted, "interrupted").hint("the same command goes on")),
        false => Ok(()),
    }
}

/// A block's tensors in the order of the computation, coded.
type CodedBlock = Vec<(TensorId, CodedTensor)>;

/// Codes a block for one lane; nothing for the reference, and for a lane that has failed.
fn code_block(
    lane: &mut Lane,
    checkpoint: &Checkpoint,
    tensors: &[(TensorId, Vec<f32>)],
) -> Result<Option<CodedBlock>> {
    if lane.variant.is_reference() || !lane.is_alive() {
        return Ok(None);
    }
    let mut coded = Vec::with_capacity(tensors.len());
    for (id, values) in tensors {
        let stored = checkpoint.stored(*id)?;
        let recipe = lane.variant.recipe_of(*id, stored);
        let coded_tensor = match &lane.file {
            Some(file) => file.tensor(&id.name(), recipe, stored.matrix()).map(Some),
            None => quantize(&recipe, values, stored.matrix(), None)
                .at(|| format!("tensor {}", id.name())),
        };
        match coded_tensor {
            Ok(Some(tensor)) => {
                lane.note(tensor.hash());
                coded.push((*id, tensor));
            }
            Ok(None) => return Err(Error::bug(format!("{recipe} has no coded form"))),
            Err(error) => {
                lane.fail(&error);
                return Ok(None);
            }
        }
    }
    Ok(Some(coded))
}

/// Runs a block over every window of a lane.
fn forward(block: &Block, lane: &mut Lane, rope: &RopeTables) -> Result<()> {
    lane.hidden.par_iter_mut().try_for_each(|hidden| {
        *hidden = block.forward(hidden, rope)?;
        Ok(())
    })
}
