//! One layer on the calibration windows, stage by stage: what a stage is given is known before its
//! weights are coded, and what it makes of that with its codes is what the next stage is given.
//!
//! ```text
//! norm ─> query, key, value ─> attention ─> output ─> + ─> norm ─> gate, up ─> down ─> +
//! ```

use std::time::Duration;

use candle_core::Tensor;

use super::equalise::{Factors, equalise};
use super::stages::LayerFit;
use super::tune_block::{self, Tuned};
use super::unit::{Coder, Fitted, Seen, Unit, Wanted};
use super::windows::training_windows;
use crate::checkpoint::Role;
use crate::error::Result;
use crate::eval::lane::Lane;
use crate::eval::windows::{both, dense, each};
use crate::model::Block;
use crate::quantize::Steps;
use crate::quantize::calibrated::Moments;

/// What came of coding a layer.
#[derive(Default)]
pub struct Done {
    /// Its tensors.
    pub fitted: Vec<Fitted>,
    /// What fine-tuning did, where it was asked for.
    pub tuned: Option<Tuned>,
    /// Experts that had too few tokens of their own.
    pub pooled_experts: usize,
    /// Wall time of coding.
    pub elapsed: Duration,
}

impl LayerFit<'_> {
    /// Codes a block outside its experts. The lane's states become those after the block; in a
    /// mixture those after attention.
    ///
    /// # Errors
    /// Input errors: states that overflow, a recipe that does not fit. Bug-class errors of candle.
    pub fn block(&self, mut unit: Unit, lane: &mut Lane) -> Result<(Block, Done)> {
        let (checkpoint, device) = (self.walk.checkpoint, self.walk.device);
        let given = lane.hidden.clone();
        let steps = [lane.variant.attention, lane.variant.mlp].map(|part| part.method.steps());
        let factors = equalise(&mut unit, &checkpoint.config, steps, device)?;
        let mut coder = Coder::new(checkpoint, &lane.variant, device, unit)?;
        let mut block = Block::new(&checkpoint.config, self.layer, coder.weights()?)?;
        lane.hidden = self.attention(&mut block, &mut coder, &lane.hidden, steps[0], &factors)?;
        if block.mlp().is_some() {
            lane.hidden = self.mlp(&mut block, &mut coder, &lane.hidden, steps[1], &factors)?;
        }
        let mut fitted = coder.finish();
        let is_asked = steps.iter().flatten().any(|steps| steps.tune_blocks);
        let tuned = if is_asked { tune_block::tune(self, &given, &mut fitted)? } else { None };
        if tuned.is_some_and(|tuned| tuned.after < tuned.before) {
            block =
                Block::new(&checkpoint.config, self.layer, tune_block::weights(self, &fitted)?)?;
            let forward = |x: &Tensor| {
                let forward = block.forward(x, self.rope);
                forward.map(|(y, _)| y).map_err(|e| candle_core::Error::Msg(e.to_string()))
            };
            lane.hidden = each(&given, forward)?;
        }
        Ok((block, Done { fitted, tuned, ..Done::default() }))
    }

    /// Codes attention and gives the states after it.
    fn attention(
        &self,
        block: &mut Block,
        coder: &mut Coder<'_>,
        hidden: &[Tensor],
        steps: Option<Steps>,
        factors: &Factors,
    ) -> Result<Vec<Tensor>> {
        let normed = each(hidden, |x| block.attention_input(x))?;
        let seen = self.of_inputs(steps, &normed, &self.reference.attention, &factors.attention)?;
        for role in [Role::Query, Role::Key, Role::Value] {
            block.replace(role, coder.code(role, seen.as_ref())?)?;
        }
        let given = each(&normed, |normed| block.attended(normed, self.rope))?;
        let outputs = |block: &Block| both(&given, hidden, |given, x| block.output(given, x));
        let seen = self.of_outputs(steps, &given, &self.reference.attended, || outputs(block))?;
        block.replace(Role::Output, coder.code(Role::Output, seen.as_ref())?)?;
        outputs(block)
    }

    /// Codes the MLP of a dense block and gives the states after it.
    fn mlp(
        &self,
        block: &mut Block,
        coder: &mut Coder<'_>,
        hidden: &[Tensor],
        steps: Option<Steps>,
        factors: &Factors,
    ) -> Result<Vec<Tensor>> {
        let normed = each(hidden, |x| block.mlp_input(x))?;
        let seen = self.of_inputs(steps, &normed, &self.reference.mlp, &factors.mlp)?;
        for role in [Role::Gate, Role::Up] {
            block.replace(role, coder.code(role, seen.as_ref())?)?;
        }
        let given = each(&normed, |normed| dense(block)?.inner(normed))?;
        let outputs =
            |block: &Block| both(&given, hidden, |given, x| dense(block)?.down(given)? + x);
        let seen = self.of_outputs(steps, &given, &self.reference.output, || outputs(block))?;
        block.replace(Role::Down, coder.code(Role::Down, seen.as_ref())?)?;
        outputs(block)
    }

    /// What is known of layers that read `given`, where the reference's read `reference`; nothing
    /// where they are coded without calibration.
    fn of_inputs(
        &self,
        steps: Option<Steps>,
        given: &[Tensor],
        reference: &[Tensor],
        factors: &Option<Tensor>,
    ) -> Result<Option<Seen>> {
        let Some(steps) = steps else { return Ok(None) };
        let [given, reference] = [given, reference].map(|windows| coded_on(windows, steps));
        let own = self.moments(given)?;
        if !steps.repair {
            return Ok(Some(Seen { own, wanted: Wanted::Nothing }));
        }
        let cross = match factors {
            Some(factors) => {
                let reference = each(reference, |x| x.broadcast_div(factors))?;
                self.tokens.mean_product(&reference, given)?
            }
            None => self.tokens.mean_product(reference, given)?,
        };
        Ok(Some(Seen { own, wanted: Wanted::Inputs(cross) }))
    }

    /// The same of a layer that adds to the states: the reference's are then `reference`, and this
    /// lane's, while the layer is not coded, `outputs`.
    fn of_outputs(
        &self,
        steps: Option<Steps>,
        given: &[Tensor],
        reference: &[Tensor],
        outputs: impl Fn() -> Result<Vec<Tensor>>,
    ) -> Result<Option<Seen>> {
        let Some(steps) = steps else { return Ok(None) };
        let [given, reference] = [given, reference].map(|windows| coded_on(windows, steps));
        let own = self.moments(given)?;
        let wanted = if steps.repair {
            let lack = both(reference, &outputs()?[..given.len()], |wanted, found| wanted - found)?;
            Wanted::Outputs(self.tokens.mean_product(&lack, given)?)
        } else {
            Wanted::Nothing
        };
        Ok(Some(Seen { own, wanted }))
    }

    fn moments(&self, given: &[Tensor]) -> Result<Moments> {
        let inputs = given.first().map_or(0, |given| given.dim(1).unwrap_or(0));
        Moments::new(self.tokens.mean_product(given, given)?, inputs)
    }
}

/// The windows that codes are chosen on: all, but for those that tuning holds out.
fn coded_on(windows: &[Tensor], steps: Steps) -> &[Tensor] {
    if steps.is_tuned() { &windows[..training_windows(windows.len())] } else { windows }
}
