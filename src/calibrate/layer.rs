//! Codes one layer on the calibration windows, stage by stage. A stage's inputs are known before its
//! weights are coded, and its outputs with coded weights are the inputs of the next stage.
//!
//! ```text
//! norm ─> query, key, value ─> attention ─> output ─> + ─> norm ─> gate, up ─> down ─> +
//! ```
//!
//! In latent attention, the projections of narrow states are stages of their own. If a result is normed
//! before it is added, or if it is that of a shared expert, the layer that makes it is coded towards the
//! reference's result, and otherwise towards the reference's states after the sum.

use std::time::Duration;

use candle_core::Tensor;

use super::equalise::{Factors, equalise};
use super::observed::{InputStats, Observed, Wanted};
use super::stages::{LayerFit, latent};
use super::tune_block::{self, Tuned};
use super::unit::{Coder, Fitted, Unit};
use super::whole_block::Outcome;
use super::windows::training_windows;
use crate::error::{Exit, Result};
use crate::eval::lane::Lane;
use crate::eval::windows::{both, each, with_shared};
use crate::model::{Block, Input, Mlp};
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

/// A part of a block that is being coded.
struct Part<'a, 'b> {
    block: &'a mut Block,
    coder: &'a mut Coder<'b>,
    factors: &'a Factors,
    /// `None` if it is coded without calibration.
    steps: Option<Steps>,
}

impl Part<'_, '_> {
    /// Codes the linear layers that read an input.
    fn code(&mut self, input: Input, stats: Option<&InputStats>) -> Result<()> {
        for role in self.coder.readers(input) {
            self.block.replace(role, self.coder.code(role, stats)?)?;
        }
        Ok(())
    }
}

/// What the last linear layer of a part is coded towards.
struct Target<'a> {
    /// The reference's results of the layer, if what follows is not linear.
    projected: Option<&'a [Tensor]>,
    /// Whether they are normed then.
    is_normed: bool,
    /// The reference's states after the part.
    states: &'a [Tensor],
}

impl LayerFit<'_> {
    /// Codes a block without its experts. The lane's states become those after the block, or in a mixture,
    /// those that the outputs of routed experts are added to. The tensors are the inputs of the router, and
    /// none for a dense block.
    ///
    /// # Errors
    /// Input errors: states that overflow, a recipe that does not fit. Bug-class errors of candle.
    pub fn block(&self, mut unit: Unit, lane: &mut Lane) -> Result<(Block, Done, Vec<Tensor>)> {
        let (checkpoint, device) = (self.walk.checkpoint, self.walk.device);
        let inputs = lane.hidden.clone();
        let steps = [lane.variant.attention, lane.variant.mlp].map(|part| part.method.steps());
        let is_calibrated = steps.iter().any(Option::is_some);
        let free = match is_calibrated.then(|| self.data_free(unit.clone(), &lane.variant)) {
            // What cannot be coded without calibration is not compared with it.
            Some(Err(error)) if error.exit() == Exit::Input => None,
            free => free.transpose()?,
        };
        let factors = equalise(&mut unit, &checkpoint.config, self.layer, steps, device)?;
        let mut coder = Coder::new(checkpoint, &lane.variant, device, unit)?;
        let mut block = Block::new(&checkpoint.config, self.layer, coder.weights()?)?;
        let (factors, coder_of) = (&factors, &mut coder);
        let mut part = Part { block: &mut block, coder: coder_of, factors, steps: steps[0] };
        let after = self.attention(&mut part, &lane.hidden)?;
        part.steps = steps[1];
        let (hidden, normed) = self.mlp(&mut part, &lane.hidden, after)?;
        let fitted = coder.finish();
        lane.hidden = Vec::new();
        let mut outcome = Outcome { block, fitted, hidden, normed };
        if let Some(free) = free {
            outcome = self.better(outcome, free, &inputs)?;
        }
        let Outcome { mut block, mut fitted, hidden, normed } = outcome;
        lane.hidden = hidden;
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
        Ok((block, Done { fitted, tuned, ..Done::default() }, normed))
    }

    /// Codes what mixes tokens and returns the states after it.
    fn attention(&self, part: &mut Part<'_, '_>, hidden: &[Tensor]) -> Result<Vec<Tensor>> {
        let normed = each(hidden, |x| part.block.attention_input(x))?;
        let stats = self.input_stats(part, &normed, &self.reference.attention, Input::Attention)?;
        part.code(Input::Attention, stats.as_ref())?;
        for (input, reference) in &self.reference.latents {
            let states = latent(part.block, *input, &normed)?;
            let stats = self.input_stats(part, &states, reference, *input)?;
            part.code(*input, stats.as_ref())?;
        }
        let inputs = each(&normed, |normed| part.block.attended(normed, self.rope))?;
        let projected = |block: &Block| each(&inputs, |inputs| block.projected(inputs));
        let outputs = |block: &Block| both(&inputs, hidden, |inputs, x| block.output(inputs, x));
        let target = Target {
            projected: self.reference.projected.as_deref(),
            is_normed: true,
            states: &self.reference.attended,
        };
        let block = &*part.block;
        let found = || if target.projected.is_some() { projected(block) } else { outputs(block) };
        let stats = self.output_stats(part, &inputs, &target, found)?;
        part.code(Input::Output, stats.as_ref())?;
        outputs(part.block)
    }

    /// Codes the MLP of a dense block, or the shared expert of a mixture. Returns the states after it, and
    /// in a mixture, the inputs of the router. `after` are the states after attention.
    fn mlp(
        &self,
        part: &mut Part<'_, '_>,
        hidden: &[Tensor],
        after: Vec<Tensor>,
    ) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let normed = both(hidden, &after, |x, after| part.block.mlp_input(x, after))?;
        let is_shared = part.block.mlp().is_none();
        if is_shared && part.block.shared().is_none() {
            return Ok((after, normed));
        }
        let stats = self.input_stats(part, &normed, &self.reference.mlp, Input::Mlp)?;
        part.code(Input::Mlp, stats.as_ref())?;
        let inputs = each(&normed, |normed| first_mlp(part.block)?.inner(normed))?;
        let projected = |block: &Block| each(&inputs, |inputs| first_mlp(block)?.down(inputs));
        let outputs = |block: &Block| {
            if is_shared {
                return with_shared(block, &normed, &inputs, &after);
            }
            both(&inputs, &after, |inputs, x| block.add_mlp(first_mlp(block)?.down(inputs)?, x))
        };
        let target = Target {
            projected: self.reference.down.as_deref(),
            is_normed: !is_shared,
            states: &self.reference.output,
        };
        let block = &*part.block;
        let found = || if target.projected.is_some() { projected(block) } else { outputs(block) };
        let stats = self.output_stats(part, &inputs, &target, found)?;
        part.code(if is_shared { Input::SharedDown } else { Input::Down }, stats.as_ref())?;
        let outputs = outputs(part.block)?;
        Ok((outputs, if is_shared { normed } else { Vec::new() }))
    }

    /// The statistics of linear layers that read `inputs`, which are `reference` in the reference; `None`
    /// if they are coded without calibration.
    fn input_stats(
        &self,
        part: &Part<'_, '_>,
        inputs: &[Tensor],
        reference: &[Tensor],
        input: Input,
    ) -> Result<Option<InputStats>> {
        let Some(steps) = part.steps else { return Ok(None) };
        let [inputs, reference] = [inputs, reference].map(|windows| coded_on(windows, steps));
        let wanted = match part.factors.of(input) {
            _ if !steps.repair => Wanted::Original,
            Some(factors) => Wanted::OfInputs(each(reference, |x| x.broadcast_div(factors))?),
            None => Wanted::OfInputs(reference.to_vec()),
        };
        let tokens = self.tokens.slice(0..inputs.len());
        Observed { inputs: inputs.to_vec(), wanted, tokens }.into_stats().map(Some)
    }

    /// The statistics of the last linear layer of a part. `found` are this lane's states after the part, or
    /// results of the layer, while the layer is not coded yet.
    fn output_stats(
        &self,
        part: &Part<'_, '_>,
        inputs: &[Tensor],
        target: &Target<'_>,
        found: impl FnOnce() -> Result<Vec<Tensor>>,
    ) -> Result<Option<InputStats>> {
        let Some(steps) = part.steps else { return Ok(None) };
        let inputs = coded_on(inputs, steps);
        let reference = coded_on(target.projected.unwrap_or(target.states), steps);
        let all = self.tokens.slice(0..inputs.len());
        let all = match target.projected {
            Some(_) if target.is_normed => all.over(reference)?,
            _ => all,
        };
        let (wanted, tokens) = if steps.repair {
            let found = found()?;
            let tokens = all.without_strays(reference, &found)?;
            let scale = match target.projected {
                Some(_) => 1.0,
                None => part.block.residual_scale(),
            };
            let missing = |target: &Tensor, found: &Tensor| match scale {
                1.0 => target - found,
                scale => (target - found)? / f64::from(scale),
            };
            (Wanted::Plus(both(reference, &found, missing)?), tokens)
        } else {
            (Wanted::Original, all)
        };
        Observed { inputs: inputs.to_vec(), wanted, tokens }.into_stats().map(Some)
    }
}

/// The MLP of a dense block, or the shared expert of a mixture.
fn first_mlp(block: &Block) -> candle_core::Result<&Mlp> {
    let none = || candle_core::Error::Msg("a block without an MLP and a shared expert".into());
    block.mlp().or(block.shared()).ok_or_else(none)
}

/// The windows that codes are calibrated on: all, except the held-out windows of tuning.
fn coded_on(windows: &[Tensor], steps: Steps) -> &[Tensor] {
    if steps.is_tuned() { &windows[..training_windows(windows.len())] } else { windows }
}
