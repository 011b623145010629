//! Tunes a coded model as a whole against the reference's logits. One block can then compensate the
//! errors of another, and the loss is the KL divergence that is measured.
//!
//! Backpropagation goes block by block, from the states before each block, which are held for the
//! windows of one step. A block's weights are decoded for its forward pass and again for its backward
//! pass; between steps, the optimizer's state is on the disk. Memory therefore holds one block with its
//! gradients, and the states `[layers, tokens, hidden]` of a step's windows.

mod divergence;
mod numbers;
mod parameters;
mod tuned_model;
mod tuning;

use std::path::Path;
use std::sync::Arc;

use candle_core::Tensor;
use rayon::prelude::*;

use super::tune_block::{Tuned, lr_schedule, sum};
use super::windows::training_windows;
use crate::error::Result;
use crate::eval::coded_file::head_name;
use crate::eval::coder::Coder;
use crate::eval::embed;
use crate::eval::final_weights::FinalWeights;
use crate::eval::lane::Lane;
use crate::eval::setting::Walk;
use crate::eval::vocabulary::Source;
use crate::eval::walk::{WalkObserver, stop_if_asked};
use crate::model::{self, Block, DifferentiableBlock};
use divergence::{Divergence, ReferenceWindows};
use parameters::Parameters;
pub use tuned_model::TunedModel;
pub use tuning::ModelTuning;

/// Number of passes over all windows.
const EPOCHS: usize = 2;
/// Windows whose gradients make one step, whatever the number of threads.
pub const BATCH: usize = 2;
/// The learning rate relative to that of tuning single blocks.
const LR_FACTOR: f32 = 4.0;

impl ModelTuning<'_> {
    /// Tunes the variant. Every step is saved in the file `state` and in files with longer names next to
    /// it, from which an interrupted tuning continues; the caller removes them. Nothing is tuned if there
    /// are too few windows to hold any out.
    ///
    /// # Errors
    /// Input errors of the checkpoint, surroundings errors of the disk, interruption.
    pub fn tune<'k>(
        &'k self,
        state: &'k Path,
        observer: &mut dyn WalkObserver,
    ) -> Result<TunedModel<'k>> {
        let training = training_windows(self.reference.len());
        if training == self.reference.len() {
            return Ok(TunedModel { parameters: None, losses: None });
        }
        let first = self.embedded()?;
        let mut divergence = Divergence::new(self.walk, self.head(), self.last_weights()?)?;
        let (mut parameters, before) = Parameters::new(self, state)?;
        let loss = |parameters: &Parameters<'_>, divergence: &mut Divergence<'_>| -> Result<f64> {
            let states = self.last(parameters, &first[training..])?;
            let normed = parameters.normed(&states)?;
            divergence.mean_nats(&self.reference[training..], &normed)
        };
        let before = match before {
            Some(before) => before,
            None => loss(&parameters, &mut divergence)?,
        };
        let sums = divergence.reference_sums(&self.reference[..training])?;
        let batches = training.div_ceil(BATCH);
        let steps = EPOCHS * batches;
        while parameters.step() < steps {
            observer.progress(parameters.step(), steps);
            let start = parameters.step() % batches * BATCH;
            let batch = start..(start + BATCH).min(training);
            let lr_factor = LR_FACTOR * lr_schedule(parameters.step(), steps);
            let reference = ReferenceWindows {
                states: &self.reference[batch.clone()],
                log_sums: &sums[batch.clone()],
            };
            self.step(&mut parameters, &mut divergence, &first[batch], reference, lr_factor)?;
            parameters.finish_step(before)?;
            stop_if_asked(observer)?;
        }
        let after = loss(&parameters, &mut divergence)?;
        let parameters = (after < before).then_some(parameters);
        Ok(TunedModel { parameters, losses: Some(Tuned { before, after }) })
    }

    /// The source of the variant's head.
    fn head(&self) -> Source {
        let recipe = self.variant.head.weights;
        let name = head_name(self.walk.checkpoint, self.variant);
        let file = (!recipe.is_reference()).then(|| (Arc::clone(self.file), name));
        Source { recipe, file }
    }

    /// The variant's final norm and the bias of its head.
    fn last_weights(&self) -> Result<FinalWeights> {
        let Walk { checkpoint, device, .. } = *self.walk;
        let coder =
            Coder { checkpoint, variant: self.variant, file: Some(self.file), scales: None };
        let ids = FinalWeights::ids(&checkpoint.config).into_iter();
        let decoded = ids.map(|id| Ok((id, coder.tensor(id)?.decode())));
        let decoded = decoded.collect::<Result<Vec<_>>>()?;
        FinalWeights::new(&checkpoint.config, device, decoded.into_iter())
    }

    /// The variant's states before the first block, per window.
    fn embedded(&self) -> Result<Vec<Tensor>> {
        let mut lane = Lane::new(self.variant.clone());
        lane.file = Some(Arc::clone(self.file));
        let mut lanes = [lane];
        embed::embed(self.walk, &mut lanes)?;
        let [lane] = lanes;
        Ok(lane.hidden)
    }

    /// One gradient step on some windows, whose states before the first block are `first`.
    fn step(
        &self,
        parameters: &mut Parameters<'_>,
        divergence: &mut Divergence<'_>,
        first: &[Tensor],
        reference: ReferenceWindows<'_>,
        lr_factor: f32,
    ) -> Result<()> {
        let layers = self.walk.checkpoint.config.layers;
        let mut states = vec![first.to_vec()];
        for layer in 0..layers {
            let next = self.forward(parameters, layer, &states[layer])?;
            states.push(next);
        }
        let last = states.pop().unwrap_or_default();
        let by_normed = divergence.gradients(reference, &parameters.normed(&last)?)?;
        let mut by_states = parameters.final_norm(&last, &by_normed, lr_factor)?;
        drop(last);
        for layer in (0..layers).rev() {
            let inputs = states.pop().unwrap_or_default();
            by_states = self.backward(parameters, layer, &inputs, &by_states, lr_factor)?;
        }
        Ok(())
    }

    /// The windows' states after block `layer`.
    fn forward(
        &self,
        parameters: &Parameters<'_>,
        layer: usize,
        inputs: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let weights = parameters.weights(layer)?;
        let block = Block::new(&self.walk.checkpoint.config, layer, weights)?;
        let next = inputs.par_iter().map(|x| block.forward(x, self.rope).map(|(y, _)| y));
        next.collect()
    }

    /// The windows' states after the last block.
    fn last(&self, parameters: &Parameters<'_>, first: &[Tensor]) -> Result<Vec<Tensor>> {
        let layers = 0..self.walk.checkpoint.config.layers;
        layers.into_iter().try_fold(first.to_vec(), |x, layer| self.forward(parameters, layer, &x))
    }

    /// Turns gradients by the outputs of block `layer` into gradients by its inputs, and updates the
    /// block's parameters.
    fn backward(
        &self,
        parameters: &mut Parameters<'_>,
        layer: usize,
        inputs: &[Tensor],
        by_output: &[Tensor],
        lr_factor: f32,
    ) -> Result<Vec<Tensor>> {
        let config = &self.walk.checkpoint.config;
        let block = DifferentiableBlock::new(config, layer, parameters.weights(layer)?)?;
        let of = |(x, by_output): (&Tensor, &Tensor)| -> Result<_> {
            block.gradients(x, self.rope, true, |_| Ok(by_output.clone()))
        };
        let windows = inputs.par_iter().zip(by_output);
        let all: Vec<_> = windows.map(of).collect::<Result<_>>()?;
        let (by_weights, by_input): (Vec<_>, Vec<_>) =
            all.into_iter().map(|gradients| (gradients.weights, gradients.input)).unzip();
        parameters.update_layer(layer, &sum(by_weights)?, lr_factor)?;
        Ok(by_input.into_iter().flatten().collect())
    }
}

/// The inputs of the reference's head: its states after the last block, normed.
///
/// # Errors
/// Input errors of the checkpoint, bug-class errors of candle.
pub fn normed(walk: &Walk<'_>, states: &[Tensor]) -> Result<Vec<Tensor>> {
    let last = FinalWeights::read(walk.checkpoint, walk.device)?;
    let norm = |x: &Tensor| {
        let tokens = x.dim(0).map_err(model::failed)?;
        model::final_norm(x, &last.norm, 0..tokens)
    };
    states.par_iter().map(norm).collect()
}
