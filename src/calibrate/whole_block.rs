//! Chooses between a block's calibrated codes and codes of its weights as they were read.
//!
//! Tensors are chosen one by one, but after equalisation and towards outputs that repair what came
//! before. Whether all of that helped is judged by the block's outputs on the held-out windows.

use candle_core::Tensor;

use super::correlation::relative_differences;
use super::observed::first_held_out;
use super::stages::{LayerFit, Stages};
use super::tune_block;
use super::unit::{Coder, Fitted, Unit};
use crate::error::Result;
use crate::eval::variant::Variant;
use crate::model::Block;
use crate::quantize::calibrated::Coding;

/// A coded block, and the states after it.
pub struct Outcome {
    /// The block with decoded weights.
    pub block: Block,
    /// Its codes.
    pub fitted: Vec<Fitted>,
    /// The states after it, or in a mixture those that the outputs of routed experts are added to.
    pub hidden: Vec<Tensor>,
    /// The inputs of the router; empty for a dense block.
    pub normed: Vec<Tensor>,
}

impl LayerFit<'_> {
    /// Codes a block as it was read, without calibration.
    ///
    /// # Errors
    /// Input errors: values that fp16 cannot represent, a recipe that does not fit.
    pub fn data_free(&self, unit: Unit, variant: &Variant) -> Result<Vec<Fitted>> {
        let roles = unit.linear_roles();
        let mut coder = Coder::new(self.walk.checkpoint, variant, self.walk.device, unit)?;
        for role in roles {
            coder.code(role, None)?;
        }
        Ok(coder.finish())
    }

    /// The calibrated block, or the data-free one if its outputs for `inputs` are closer to the
    /// reference's on the held-out windows.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn better(
        &self,
        calibrated: Outcome,
        free: Vec<Fitted>,
        inputs: &[Tensor],
    ) -> Result<Outcome> {
        let weights = tune_block::weights(self, &free)?;
        let config = &self.walk.checkpoint.config;
        let block = Block::new(config, self.layer, weights)?;
        let stages = Stages::of(config, self.layer, &block, inputs, self.rope)?;
        let normed = if block.mlp().is_some() { Vec::new() } else { stages.mlp };
        let (hidden, reference) = (stages.output, &self.reference.output);
        let held_out = first_held_out(inputs.len()).unwrap_or(0)..inputs.len();
        let error = |found: &[Tensor]| {
            relative_differences(&reference[held_out.clone()], &found[held_out.clone()])
        };
        if error(&calibrated.hidden)? <= error(&hidden)? {
            return Ok(calibrated);
        }
        let coding_of = |one: &Fitted| -> Option<Coding> {
            let given_up = calibrated.fitted.iter().find(|other| other.id == one.id)?;
            Some(Coding { is_data_free: true, ..given_up.coding.clone()? })
        };
        let fitted = free.into_iter().map(|one| Fitted { coding: coding_of(&one), ..one });
        Ok(Outcome { fitted: fitted.collect(), block, hidden, normed })
    }
}
