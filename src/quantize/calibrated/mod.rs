//! Calibrated coding: codes with the least error in a layer's outputs.
//!
//! The cost of errors `E = Q - W` is `tr(E H Eᵀ)`, with `H` the second moment of the layer's
//! inputs. Coding starts from the tables and codes that the recipe finds by itself with the
//! diagonal of `H` as importance. Then errors are compensated column by column, and tables and
//! scales (by least squares) and codes (by coordinate descent) are improved in turn. Every step can
//! be switched off, and none increases the cost. Pure: the same bits for any number of threads.

mod codebook;
mod compensate;
mod convert;
mod descend;
mod equalise;
mod factor;
mod fit;
mod matrix;
mod moments;
mod state;
mod target;
mod tune;

use std::fmt;

pub use equalise::{equalise_between, equalise_inputs};
pub use moments::Moments;
pub use target::asymmetric_target;
pub use tune::{Adam, Tunable};

use super::coded::CodedTensor;
use super::method::{Method, Steps};
use super::recipe::Recipe;
use super::vector;
use super::{check_finite, quantize};
use crate::error::{Error, Result};
use codebook::Codebook;
use convert::{Frame, finish, gathered, integer_codebook, table_codebook};
use matrix::{View, product};
use moments::Ordered;
use state::CodingState;

/// Rounds of least squares and descent.
const ROUNDS: usize = 3;

/// A step of coding after which the error is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodingStep {
    /// The recipe's own tables and codes, errors weighted by the mean square of their input.
    Rounded,
    /// Later columns compensate for the errors of earlier ones.
    Compensated,
    /// Tables and scales fitted to the codes.
    Fitted,
    /// Codes improved one at a time.
    Descended,
}

impl fmt::Display for CodingStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CodingStep::Rounded => "rounded",
            CodingStep::Compensated => "compensated",
            CodingStep::Fitted => "fitted",
            CodingStep::Descended => "descended",
        })
    }
}

/// What coding achieved.
#[derive(Debug, Clone, PartialEq)]
pub struct Coding {
    /// The steps in order, each with the relative error of the layer's outputs after it:
    /// `tr(E H Eᵀ) / tr(W H Wᵀ)`, or 0 if all outputs are 0.
    pub errors: Vec<(CodingStep, f64)>,
    /// Geometric over arithmetic mean, for the eigenvalues of `H` (damped) times the same for the
    /// variances of the rows. Times `2^(-2R)` it is the least relative error of any code of `R`
    /// bits per weight, if rows are Gaussian and only their variances are known (Shannon's lower
    /// bound). `None` if errors are not compensated, since only that step factors `H`.
    pub flatness: Option<f64>,
    /// The number of inputs that are always 0. Errors of their weights cost nothing.
    pub dead_inputs: usize,
    /// Whether the codes were found from the weights alone, because those that were calibrated are
    /// worse. The last error is theirs, or that of the calibrated codes if the whole block was.
    pub is_data_free: bool,
}

/// Codes `target` `[out, in]` with the least cost under `moments` `[in, in]`. `seed` draws the
/// start of tables of vectors. Of `steps`, only compensation, alternation and descent matter here.
///
/// Fails (input) if [`Method::check`] refuses the recipe, if shapes disagree, if a target is not
/// finite or beyond fp16, and if the moments are not positive definite.
pub fn code(
    recipe: &Recipe,
    target: &[f32],
    shape: [usize; 2],
    moments: &Moments,
    steps: Steps,
    seed: u64,
) -> Result<(CodedTensor, Coding)> {
    Method::Calibrated(steps).check(recipe)?;
    let [out, inputs] = shape;
    if moments.inputs() != inputs || out.checked_mul(inputs) != Some(target.len()) {
        return Err(Error::input(format!(
            "expected {shape:?} weights and moments of {inputs} inputs, found {} and {}",
            target.len(),
            moments.inputs()
        )));
    }
    recipe.check_shape(shape)?;
    check_finite(target, inputs)?;
    let ordered = moments.ordered();
    let start = start(recipe, target, shape, moments, seed)?;
    if target.is_empty() {
        let dead_inputs = moments.dead();
        return Ok((
            start,
            Coding { errors: Vec::new(), flatness: None, dead_inputs, is_data_free: false },
        ));
    }
    let frame = Frame::new(target, &ordered, &start)?;
    let job = CodingJob { ordered, frame: &frame, steps, dead_inputs: moments.dead() };
    match start.recipe() {
        Recipe::Linear(linear) => job.run(integer_codebook(&frame, &start, linear)?),
        Recipe::Vector(vector) => match vector.weights_per_code() {
            2 => job.run(table_codebook::<2>(&frame, &start)?),
            3 => job.run(table_codebook::<3>(&frame, &start)?),
            4 => job.run(table_codebook::<4>(&frame, &start)?),
            6 => job.run(table_codebook::<6>(&frame, &start)?),
            _ => job.run(table_codebook::<8>(&frame, &start)?),
        },
        _ => job.run(table_codebook::<1>(&frame, &start)?),
    }
}

/// The relative error of a tensor's outputs as [`Coding::errors`] has it, for codes from anywhere;
/// 0 if all outputs are 0.
pub fn relative_error(coded: &CodedTensor, target: &[f32], moments: &Moments) -> f64 {
    let inputs = moments.inputs();
    if target.is_empty() {
        return 0.0;
    }
    let ordered = moments.ordered();
    let squares: Vec<f32> = ordered.values.iter().map(|value| *value as f32).collect();
    let cost = |rows: &[f32]| -> f64 {
        let rows = gathered(rows, inputs, &ordered.order);
        let products = product(View::whole(&rows, inputs), View::whole(&squares, inputs));
        rows.iter().zip(&products).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let whole = cost(target);
    let errors: Vec<f32> = coded.decode().iter().zip(target).map(|(q, w)| q - w).collect();
    if whole > 0.0 { cost(&errors).max(0.0) / whole } else { 0.0 }
}

/// The most memory in bytes that [`code`] takes besides its arguments and its result, not counting
/// the normal equations of tables (about ten megabytes).
pub fn scratch_bytes([out, inputs]: [usize; 2]) -> u64 {
    let (square, weights) = ((inputs as u64).pow(2), out as u64 * inputs as u64);
    // Squares: the ordered moments in f64, which are factored in place, and moments and feedback in
    // f32. Weights: weights and their products with moments, errors and gradients twice each, all
    // in f32, and codes twice in bytes.
    square * (8 + 2 * 4) + weights * (6 * 4 + 2)
}

/// The codes that the recipe finds by itself.
fn start(
    recipe: &Recipe,
    target: &[f32],
    shape: [usize; 2],
    moments: &Moments,
    seed: u64,
) -> Result<CodedTensor> {
    let diagonal = moments.diagonal();
    let largest = diagonal.iter().fold(0.0f64, |most, value| most.max(*value));
    let unit = if largest > 0.0 { largest } else { 1.0 };
    let importance: Vec<f32> = diagonal.iter().map(|value| (value / unit) as f32).collect();
    if let Recipe::Vector(vector) = recipe.resolved(shape) {
        return vector::quantize(&vector, target, shape, Some(&importance), seed);
    }
    quantize(recipe, target, shape, Some(&importance))?
        .ok_or_else(|| Error::bug(format!("recipe {recipe} has no codes to calibrate")))
}

/// One tensor to code: what all steps share.
struct CodingJob<'a> {
    ordered: Ordered,
    frame: &'a Frame,
    steps: Steps,
    dead_inputs: usize,
}

impl CodingJob<'_> {
    fn run<const D: usize, M: Codebook<D> + convert::Stores>(
        self,
        codebook: M,
    ) -> Result<(CodedTensor, Coding)> {
        let CodingJob { ordered, frame, steps, dead_inputs } = self;
        let moments: Vec<f32> = ordered.values.iter().map(|value| *value as f32).collect();
        let feedback = steps.compensate.then(|| ordered.feedback()).transpose()?;
        let of_moments = feedback.as_ref().map(|(_, geometric_mean)| *geometric_mean);
        let feedback = feedback.map(|(feedback, _)| feedback);
        let inputs = frame.shape[1];
        let codes = frame.codes.clone();
        let mut state = CodingState::new(&frame.weights, &moments, inputs, codes, codebook);
        let whole = state.whole();
        let energy = flat_energy(&frame.weights, inputs);
        let flatness = of_moments.filter(|_| whole > 0.0).map(|of| of * energy / whole);
        let mut errors = Vec::new();
        let mut note = |step, state: &CodingState<'_, D, M>| {
            let error = if whole > 0.0 { state.cost().max(0.0) / whole } else { 0.0 };
            errors.push((step, error));
        };
        note(CodingStep::Rounded, &state);
        if let Some(feedback) = feedback {
            state.compensate(&feedback);
            note(CodingStep::Compensated, &state);
        }
        let rounds = if steps.alternate { ROUNDS } else { 1 };
        for _ in 0..rounds {
            if steps.alternate {
                state.fit_tables();
                state.fit_scales();
                note(CodingStep::Fitted, &state);
            }
            if steps.descend {
                state.descend();
                note(CodingStep::Descended, &state);
            }
        }
        let CodingState { codes, codebook, .. } = state;
        let coding = Coding { errors, flatness, dead_inputs, is_data_free: false };
        Ok((finish(frame, codes, codebook)?, coding))
    }
}

/// The sum of squares of weights `[out, in]` if each row had the geometric mean of the rows' sums.
fn flat_energy(weights: &[f32], inputs: usize) -> f64 {
    let square = |row: &[f32]| row.iter().map(|w| f64::from(*w).powi(2)).sum::<f64>();
    let rows = weights.chunks_exact(inputs.max(1));
    let (count, sum) = rows.fold((0, 0.0), |(count, sum), row| (count + 1, sum + square(row).ln()));
    f64::from(count) * (sum / f64::from(count.max(1))).exp()
}

#[cfg(test)]
mod tests;
