//! Codes one layer on the calibration windows, stage by stage. A stage's inputs are known before its
//! weights are coded, and its outputs with coded weights are the inputs of the next stage.
//!
//! ```text
//! norm ─> query, key, value ─> attention ─> output ─> + ─> norm ─> gate, up ─> down ─> +
//! ```

use std::time::Duration;

use candle_core::Tensor;

use super::equalise::{Factors, equalise};
use super::observed::{InputStats, Observed, Wanted};
use super::stages::LayerFit;
use super::tune_block::{self, Tuned};
use super::unit::{Coder, Fitted, Unit};
use super::whole_block::Outcome;
use super::windows::training_windows;
use crate::checkpoint::Role;
use crate::error::{Exit, Result};
use crate::eval::lane::Lane;
use crate::eval::windows::{both, dense, each};
use crate::model::Block;
use crate::quantize::Steps;

/// The result of coding a layer.
#[derive(Default)]
pub struct Done {
    /// Its tensors.
    pub fitted: Vec<Fitted>,
    /// The result of fine-tuning, if the layer was tuned.
    pub tuned: Option<Tuned>,
    /// Experts that had too few tokens of their own.
    pub pooled_experts: usize,
    /// Wall time of coding.
    pub elapsed: Duration,
}

impl LayerFit<'_> {
    /// Codes a block without its experts. The lane's states become those after the block, or in a mixture,
    /// those after attention.
    ///
    /// # Errors
    /// Input errors: states that overflow, a recipe that does not fit. Bug-class errors of candle.
    pub fn block(&self, mut unit: Unit, lane: &mut Lane) -> Result<(Block, Done)> {
        let (checkpoint, device) = (self.walk.checkpoint, self.walk.device);
        let inputs = lane.hidden.clone();
        let steps = [lane.variant.attention, lane.variant.mlp].map(|part| part.method.steps());
        let is_calibrated = steps.iter().any(Option::is_some);
        let free = match is_calibrated.then(|| self.data_free(unit.clone(), &lane.variant)) {
            // What cannot be coded without calibration is not compared with it.
            Some(Err(error)) if error.exit() == Exit::Input => None,
            free => free.transpose()?,
        };
        let factors = equalise(&mut unit, &checkpoint.config, steps, device)?;
        let mut coder = Coder::new(checkpoint, &lane.variant, device, unit)?;
        let mut block = Block::new(&checkpoint.config, self.layer, coder.weights()?)?;
        lane.hidden = self.attention(&mut block, &mut coder, &lane.hidden, steps[0], &factors)?;
        if block.mlp().is_some() {
            lane.hidden = self.mlp(&mut block, &mut coder, &lane.hidden, steps[1], &factors)?;
        }
        let mut fitted = coder.finish();
        if let Some(free) = free {
            let hidden = std::mem::take(&mut lane.hidden);
            let better = self.better(Outcome { block, fitted, hidden }, free, &inputs)?;
            (block, fitted, lane.hidden) = (better.block, better.fitted, better.hidden);
        }
        let tunes_blocks = steps.iter().flatten().any(|steps| steps.tune_blocks);
        let tuned = if tunes_blocks { tune_block::tune(self, &inputs, &mut fitted)? } else { None };
        if tuned.is_some_and(|tuned| tuned.after < tuned.before) {
            block =
                Block::new(&checkpoint.config, self.layer, tune_block::weights(self, &fitted)?)?;
            let forward = |x: &Tensor| {
                let forward = block.forward(x, self.rope);
                forward.map(|(y, _)| y).map_err(|e| candle_core::Error::Msg(e.to_string()))
            };
            lane.hidden = each(&inputs, forward)?;
        }
        Ok((block, Done { fitted, tuned, ..Done::default() }))
    }

    /// Codes attention and returns the states after it.
    fn attention(
        &self,
        block: &mut Block,
        coder: &mut Coder<'_>,
        hidden: &[Tensor],
        steps: Option<Steps>,
        factors: &Factors,
    ) -> Result<Vec<Tensor>> {
        let normed = each(hidden, |x| block.attention_input(x))?;
        let stats =
            self.input_stats(steps, &normed, &self.reference.attention, &factors.attention)?;
        for role in [Role::Query, Role::Key, Role::Value] {
            block.replace(role, coder.code(role, stats.as_ref())?)?;
        }
        let inputs = each(&normed, |normed| block.attended(normed, self.rope))?;
        let outputs = |block: &Block| both(&inputs, hidden, |inputs, x| block.output(inputs, x));
        let stats =
            self.output_stats(steps, &inputs, &self.reference.attended, || outputs(block))?;
        block.replace(Role::Output, coder.code(Role::Output, stats.as_ref())?)?;
        outputs(block)
    }

    /// Codes the MLP of a dense block and returns the states after it.
    fn mlp(
        &self,
        block: &mut Block,
        coder: &mut Coder<'_>,
        hidden: &[Tensor],
        steps: Option<Steps>,
        factors: &Factors,
    ) -> Result<Vec<Tensor>> {
        let normed = each(hidden, |x| block.mlp_input(x, x))?;
        let stats = self.input_stats(steps, &normed, &self.reference.mlp, &factors.mlp)?;
        for role in [Role::Gate, Role::Up] {
            block.replace(role, coder.code(role, stats.as_ref())?)?;
        }
        let inputs = each(&normed, |normed| dense(block)?.inner(normed))?;
        let outputs = |block: &Block| {
            both(&inputs, hidden, |inputs, x| block.add_mlp(dense(block)?.down(inputs)?, x))
        };
        let stats = self.output_stats(steps, &inputs, &self.reference.output, || outputs(block))?;
        block.replace(Role::Down, coder.code(Role::Down, stats.as_ref())?)?;
        outputs(block)
    }

    /// The statistics of linear layers that read `inputs`, which are `reference` in the reference; `None`
    /// if they are coded without calibration.
    fn input_stats(
        &self,
        steps: Option<Steps>,
        inputs: &[Tensor],
        reference: &[Tensor],
        factors: &Option<Tensor>,
    ) -> Result<Option<InputStats>> {
        let Some(steps) = steps else { return Ok(None) };
        let [inputs, reference] = [inputs, reference].map(|windows| coded_on(windows, steps));
        let wanted = match factors {
            _ if !steps.repair => Wanted::Original,
            Some(factors) => Wanted::OfInputs(each(reference, |x| x.broadcast_div(factors))?),
            None => Wanted::OfInputs(reference.to_vec()),
        };
        let tokens = self.tokens.slice(0..inputs.len());
        Observed { inputs: inputs.to_vec(), wanted, tokens }.into_stats().map(Some)
    }

    /// The statistics of a linear layer whose output is added to the states. The states after it are
    /// `reference` in the reference, and `outputs` in this lane while the layer is not coded yet.
    fn output_stats(
        &self,
        steps: Option<Steps>,
        inputs: &[Tensor],
        reference: &[Tensor],
        outputs: impl Fn() -> Result<Vec<Tensor>>,
    ) -> Result<Option<InputStats>> {
        let Some(steps) = steps else { return Ok(None) };
        let [inputs, reference] = [inputs, reference].map(|windows| coded_on(windows, steps));
        let all = self.tokens.slice(0..inputs.len());
        let (wanted, tokens) = if steps.repair {
            let outputs = outputs()?;
            let tokens = all.without_strays(reference, &outputs)?;
            (Wanted::Plus(both(reference, &outputs, |target, found| target - found)?), tokens)
        } else {
            (Wanted::Original, all)
        };
        Observed { inputs: inputs.to_vec(), wanted, tokens }.into_stats().map(Some)
    }
}

/// The windows that codes are calibrated on: all, except the held-out windows of tuning.
fn coded_on(windows: &[Tensor], steps: Steps) -> &[Tensor] {
    if steps.is_tuned() { &windows[..training_windows(windows.len())] } else { windows }
}
