//! Fine-tunes a coded block against the reference's block: gradients move tables, scales, norms and codes
//! together, which coding one tensor at a time cannot. The result, rounded to the stored fp16, is kept
//! only if it brings the held-out windows closer to the reference.

use std::ops::Range;

use candle_core::Tensor;
use half::f16;
use rayon::prelude::*;

use super::stages::LayerFit;
use super::unit::Fitted;
use super::windows::training_windows;
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::eval::weights::block_weights;
use crate::eval::windows::both;
use crate::model::{self, Block, BlockWeights, DifferentiableBlock};
use crate::quantize::calibrated::{Adam, Tunable};
use crate::quantize::{CodedTensor, Recipe, quantize};
use crate::results::TunedLayer;

/// Windows whose gradients make one step, whatever the number of threads.
pub const BATCH: usize = 2;
/// The learning rate of a norm's gain, relative to its mean gain.
pub const NORM_RATE: f32 = 1e-3;
/// The learning rate of the last step over that of the first.
const LAST_LR_FACTOR: f32 = 0.1;

/// The weighted mean square error of a block's outputs on held-out windows, before and after tuning.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuned {
    /// Before tuning.
    pub before: f64,
    /// After tuning. If this is not smaller, tuning is discarded.
    pub after: f64,
}

impl Tuned {
    /// The form that files and records have.
    pub fn record(self) -> TunedLayer {
        TunedLayer { before: self.before, after: self.after }
    }
}

/// A tunable parameter of a block.
enum Parameter {
    /// Weights of a linear layer.
    Coded(Tunable),
    /// A norm's gain, its optimizer and its learning rate.
    Gain(Vec<f32>, Adam, f32),
}

/// Tunes a block on its `inputs`, one per window, towards the reference's outputs. Returns `None` if
/// there are too few windows to hold any out.
///
/// # Errors
/// An input error for blocks that cannot be tuned; bug-class errors of candle.
pub fn tune(fit: &LayerFit<'_>, inputs: &[Tensor], fitted: &mut [Fitted]) -> Result<Option<Tuned>> {
    let training = training_windows(inputs.len());
    let (training, held_out) = (0..training, training..inputs.len());
    if held_out.is_empty() {
        return Ok(None);
    }
    let before = loss(fit, inputs, held_out.clone(), weights(fit, fitted)?)?;
    let config = &fit.walk.checkpoint.config;
    let block = DifferentiableBlock::new(config, fit.layer, weights(fit, fitted)?)?;
    let mut parameters = parameters(&block, fitted)?;
    let batches: Vec<Range<usize>> = training
        .clone()
        .step_by(BATCH)
        .map(|first| first..(first + BATCH).min(training.end))
        .collect();
    let steps = batches.len();
    for (step, batch) in batches.into_iter().enumerate() {
        let gradients = gradients(fit, &block, inputs, batch)?;
        let lr_factor = lr_schedule(step, steps);
        parameters.par_iter_mut().try_for_each(|(role, parameter)| {
            let gradient = gradients.iter().find(|(found, _)| found == role);
            gradient.map_or(Ok(()), |(_, gradient)| {
                move_by(&block, *role, parameter, gradient, lr_factor)
            })
        })?;
    }
    let tuned = stored(&parameters, fitted)?;
    let decoded = fitted.iter().map(|one| {
        let tensor = tuned.iter().find(|(id, _)| *id == one.id).map_or(&one.tensor, |(_, t)| t);
        (one.id, tensor.decode())
    });
    let candidate = block_weights(fit.walk.checkpoint, fit.walk.device, decoded)?;
    let after = loss(fit, inputs, held_out, candidate)?;
    if after < before {
        for (id, tensor) in tuned {
            if let Some(one) = fitted.iter_mut().find(|one| one.id == id) {
                one.tensor = tensor;
            }
        }
    }
    Ok(Some(Tuned { before, after }))
}

/// The learning rate of a step relative to the first one: half a period of the cosine, from 1 down to
/// [`LAST_LR_FACTOR`].
pub fn lr_schedule(step: usize, steps: usize) -> f32 {
    let turn = std::f32::consts::PI * step as f32 / steps as f32;
    LAST_LR_FACTOR + (1.0 - LAST_LR_FACTOR) * 0.5 * (1.0 + turn.cos())
}

/// Gradients of the weighted square error of a batch, summed over its windows in order.
fn gradients(
    fit: &LayerFit<'_>,
    block: &DifferentiableBlock,
    inputs: &[Tensor],
    batch: Range<usize>,
) -> Result<Vec<(Role, Tensor)>> {
    let of = |window: usize| -> Result<Vec<(Role, Tensor)>> {
        let (target, tokens) = (&fit.reference.output[window], fit.tokens.window(window));
        let weigh = |y: &Tensor| {
            let residual = (y - target).and_then(|residual| residual.broadcast_mul(tokens));
            residual.map_err(model::failed)
        };
        Ok(block.gradients(&inputs[window], fit.rope, false, weigh)?.weights)
    };
    let all: Vec<_> = batch.into_par_iter().map(of).collect::<Result<_>>()?;
    sum(all)
}

/// Sums gradients of several windows, role by role.
///
/// # Errors
/// Bug-class errors of candle.
pub fn sum(windows: Vec<Vec<(Role, Tensor)>>) -> Result<Vec<(Role, Tensor)>> {
    let mut windows = windows.into_iter();
    let mut sums = windows.next().unwrap_or_default();
    for window in windows {
        for ((_, sum), (_, gradient)) in sums.iter_mut().zip(window) {
            *sum = (&*sum + gradient).map_err(model::failed)?;
        }
    }
    Ok(sums)
}

/// The decoded weights of a coded block.
///
/// # Errors
/// Bug-class errors of candle.
pub fn weights(fit: &LayerFit<'_>, fitted: &[Fitted]) -> Result<BlockWeights> {
    let decoded = fitted.iter().map(|one| (one.id, one.tensor.decode()));
    block_weights(fit.walk.checkpoint, fit.walk.device, decoded)
}

/// The weighted mean square error of some windows against the reference's output.
fn loss(
    fit: &LayerFit<'_>,
    inputs: &[Tensor],
    windows: Range<usize>,
    weights: BlockWeights,
) -> Result<f64> {
    let block = Block::new(&fit.walk.checkpoint.config, fit.layer, weights)?;
    let forward = |x: &Tensor, target: &Tensor| {
        let (y, _) = block
            .forward(x, fit.rope)
            .map_err(|error| candle_core::Error::Msg(error.to_string()))?;
        y - target
    };
    let residual = both(&inputs[windows.clone()], &fit.reference.output[windows.clone()], forward)?;
    let mut sum = 0.0;
    for (residual, window) in residual.iter().zip(windows) {
        let squares = residual.sqr().and_then(|l| l.broadcast_mul(fit.tokens.window(window)));
        let mean = squares.and_then(|s| s.mean_all()?.to_scalar::<f32>()).map_err(model::failed)?;
        sum += f64::from(mean);
    }
    Ok(sum / residual.len().max(1) as f64)
}

fn parameters(block: &DifferentiableBlock, fitted: &[Fitted]) -> Result<Vec<(Role, Parameter)>> {
    let mut parameters = Vec::new();
    for one in fitted.iter().filter(|one| !one.id.bias) {
        let role = one.id.role;
        if role.is_linear() {
            let tunable = Tunable::of(&one.tensor)?;
            parameters.extend(tunable.map(|tunable| (role, Parameter::Coded(tunable))));
        } else if block.variable(role).is_some() {
            let gain = one.tensor.decode();
            let mean = gain.iter().map(|g| g.abs()).sum::<f32>() / gain.len().max(1) as f32;
            let adam = Adam::new(gain.len());
            parameters.push((role, Parameter::Gain(gain, adam, mean * NORM_RATE)));
        }
    }
    Ok(parameters)
}

/// Updates a parameter and the block's variable.
fn move_by(
    block: &DifferentiableBlock,
    role: Role,
    parameter: &mut Parameter,
    gradient: &Tensor,
    lr_factor: f32,
) -> Result<()> {
    let derivatives = model::values(gradient)?;
    let values = match parameter {
        Parameter::Coded(tunable) => {
            tunable.step(&derivatives, lr_factor);
            tunable.decoded()
        }
        Parameter::Gain(gain, adam, rate) => {
            adam.step(gain, &derivatives, lr_factor * *rate);
            gain.clone()
        }
    };
    let Some(variable) = block.variable(role) else { return Ok(()) };
    let moved = Tensor::from_vec(values, variable.shape(), variable.device());
    moved.and_then(|moved| variable.set(&moved)).map_err(model::failed)
}

/// The tuned tensors, rounded as they are stored.
fn stored(
    parameters: &[(Role, Parameter)],
    fitted: &[Fitted],
) -> Result<Vec<(TensorId, CodedTensor)>> {
    let mut stored = Vec::new();
    for (role, parameter) in parameters {
        let of_role = |one: &&Fitted| one.id.role == *role && !one.id.bias;
        let Some(one) = fitted.iter().find(of_role) else { continue };
        match parameter {
            Parameter::Coded(tunable) => stored.push((one.id, tunable.coded()?)),
            Parameter::Gain(gain, ..) => {
                let rounded: Vec<f32> = gain.iter().map(|g| f16::from_f32(*g).to_f32()).collect();
                let coded = quantize(&Recipe::Half, &rounded, one.tensor.shape(), None)?;
                stored.extend(coded.map(|coded| (one.id, coded)));
            }
        }
    }
    Ok(stored)
}
