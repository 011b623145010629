//! Weights in, coded weights out; pure.
//!
//! A [`Recipe`] says how weights are coded, [`quantize`] codes them, and the result is a
//! [`CodedTensor`]: codes, tables and scales in the exact precision they ship in. This room knows
//! no files, no clock and no model. Results are the same bits for any number of threads.

mod arrays;
pub(crate) mod bitpack;
pub mod calibrated;
mod coded;
mod decode;
pub(crate) mod fp16;
mod grammar;
mod kmeans;
mod layers;
mod linear;
mod lookup;
mod mask;
mod method;
mod mxfp4;
mod nearest;
mod palette;
mod pruning;
mod recipe;
mod rows;
mod vector;
mod widths;

pub use arrays::ArrayType;
pub use coded::{CodedArrays, CodedTensor};
pub use layers::LayerRecipe;
pub use mask::Mask;
pub use method::{Method, Steps};
pub use mxfp4::VALUES as MXFP4_VALUES;
pub use recipe::{Linear, MXFP4_BLOCK, Palette, REFERENCE_IS_STORED, Recipe, TableEntry};
pub use vector::form::Vector;
pub use widths::{IndexBits, LinearBits};

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use crate::error::{Error, Result};

/// Codes `weights`, row-major `[out, in]`. Returns `None` for the reference recipe, which has no
/// coded form.
///
/// `importance` `[in]` is the weight of each input channel's squared error (its second moment).
/// Tables of k-means use it; everything else ignores it. A slice of whole [`Recipe::row_unit`]s,
/// coded with [`Recipe::resolved`], gets the same codes as it has in the whole tensor.
///
/// Fails (input) if lengths and shape disagree, a weight is not finite or beyond fp16, `-unique`
/// finds too many values, pruning leaves no weight, or vectors do not divide the rows.
pub fn quantize(
    recipe: &Recipe,
    weights: &[f32],
    shape: [usize; 2],
    importance: Option<&[f32]>,
) -> Result<Option<CodedTensor>> {
    let [out, inputs] = shape;
    if out.checked_mul(inputs) != Some(weights.len()) {
        return Err(Error::input(format!("expected {shape:?} weights, found {}", weights.len())));
    }
    if let Some(importance) = importance {
        check_importance(importance, inputs)?;
    }
    if recipe.is_reference() {
        return Ok(None);
    }
    check_finite(weights, inputs)?;
    recipe.check_shape(shape)?;
    let recipe = recipe.resolved(shape);
    match recipe {
        Recipe::Reference => Ok(None),
        Recipe::Half => half(recipe, weights, shape).map(Some),
        Recipe::Palette(palette) => {
            palette::quantize(&palette, weights, shape, importance).map(Some)
        }
        Recipe::Linear(linear) => linear::quantize(&linear, weights, shape).map(Some),
        Recipe::Vector(vector) => {
            vector::quantize(&vector, weights, shape, importance, vector::SEED).map(Some)
        }
        Recipe::Mxfp4 => mxfp4::quantize(weights, shape).map(Some),
    }
}

/// Which weights of a whole tensor a pruning recipe stores, or `None` if the recipe stores all of
/// them. Sizes need only this, which is much faster than coding. Fails only if there is a bug.
pub fn kept_weights(recipe: &Recipe, weights: &[f32]) -> Result<Option<Mask>> {
    recipe.pruning().map(|pruning| pruning.select(weights)).transpose()
}

fn check_finite(weights: &[f32], inputs: usize) -> Result<()> {
    // Whole chunks without an early exit, which vectorises.
    let finite = |chunk: &[f32]| chunk.iter().fold(true, |all, weight| all & weight.is_finite());
    if weights.par_chunks(1 << 14).all(finite) {
        return Ok(());
    }
    let at = weights.iter().position(|weight| !weight.is_finite()).unwrap_or(0);
    let (row, column, found) = (at / inputs, at % inputs, weights[at]);
    Err(Error::input(format!("expected finite weights, found {found} at [{row}, {column}]")))
}

fn check_importance(importance: &[f32], inputs: usize) -> Result<()> {
    if importance.len() != inputs {
        let found = importance.len();
        return Err(Error::input(format!(
            "expected the importance of {inputs} inputs, found {found}"
        )));
    }
    match importance.iter().find(|value| !(value.is_finite() && **value >= 0.0)) {
        Some(value) => {
            Err(Error::input(format!("expected importance of 0 or more, found {value}")))
        }
        None => Ok(()),
    }
}

fn half(recipe: Recipe, weights: &[f32], shape: [usize; 2]) -> Result<CodedTensor> {
    let mut values = vec![f16::ZERO; weights.len()];
    values.convert_from_f32_slice(weights);
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        return Err(Error::input(format!("a weight of {} is beyond fp16 (65504)", weights[at])));
    }
    CodedTensor::new(recipe, shape, CodedArrays::Half(values))
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_pruning;
#[cfg(test)]
mod tests_spread;
