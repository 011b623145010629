//! Linear coding: integers times an fp16 scale, per output channel or per block of inputs.
//!
//! Codes are computed with the scale as it is stored, after rounding to fp16, so that they are the
//! best codes for that scale.

use half::f16;
use rayon::prelude::*;

use super::bitpack::pack;
use super::coded::{CodedArrays, CodedTensor};
use super::fp16::{HALF_MAX, step_scale};
use super::recipe::{Linear, Recipe};
use crate::error::{Error, Result};

/// Codes finite weights `[out, in]`. Fails (input) if a weight is beyond fp16.
pub(super) fn quantize(linear: &Linear, weights: &[f32], shape: [usize; 2]) -> Result<CodedTensor> {
    let [out, inputs] = shape;
    let (block, blocks) = (linear.block_len(inputs), linear.blocks(inputs));
    let bits = linear.bits.get();
    let mut codes = vec![0u8; weights.len()];
    let mut scales = vec![f16::ZERO; out * blocks];
    let mut zero_points = vec![0u8; out * blocks];
    codes
        .par_chunks_exact_mut(block)
        .zip(weights.par_chunks_exact(block))
        .zip(scales.par_iter_mut().zip(&mut zero_points))
        .with_min_len((1 << 14) / block + 1)
        .try_for_each(|((codes, weights), (scale, zero_point))| {
            (*scale, *zero_point) =
                pulp::Arch::new().dispatch(|| code_block(linear, weights, codes));
            let (low, high) = linear.code_range();
            let furthest = (high - i32::from(*zero_point)).max(i32::from(*zero_point) - low);
            if furthest as f32 * scale.to_f32() <= HALF_MAX {
                return Ok(());
            }
            Err(Error::input(format!("a weight is beyond fp16: its block has scale {scale}")))
        })?;
    let stored = CodedArrays::Linear {
        codes: pack(&codes, bits),
        scales,
        zero_points: linear.asymmetric.then(|| pack(&zero_points, bits)),
    };
    CodedTensor::new(Recipe::Linear(*linear), shape, stored)
}

/// Writes the codes of a block; returns its scale and zero point.
#[inline(always)]
fn code_block(linear: &Linear, weights: &[f32], codes: &mut [u8]) -> (f16, u8) {
    let (low_code, high_code) = linear.code_range();
    let (low, high) = extent(weights);
    let span = if linear.asymmetric {
        // Padding and masks rely on an exact 0.
        high.max(0.0) - low.min(0.0)
    } else {
        high.max(-low)
    };
    let steps = if linear.asymmetric { high_code - low_code } else { high_code };
    // For a scale of 1, as of zeros, every code is the zero point.
    let nearest = f16::from_f32(span / steps as f32);
    let scale = step_scale(nearest, f64::from(span), f64::from(steps));
    let zero_point = if linear.asymmetric {
        (-low.min(0.0) / scale.to_f32()).round_ties_even().clamp(0.0, high_code as f32)
    } else {
        0.0
    };
    let (low_code, high_code) = (low_code as f32, high_code as f32);
    let divisor = scale.to_f32();
    for (code, weight) in codes.iter_mut().zip(weights) {
        let steps = (weight / divisor).round_ties_even() + zero_point;
        *code = steps.clamp(low_code, high_code) as i32 as u8;
    }
    (scale, zero_point as u8)
}

/// Smallest and largest of the weights.
#[inline(always)]
fn extent(weights: &[f32]) -> (f32, f32) {
    const LANES: usize = 8;
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    let (chunks, rest) = weights.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            low[lane] = if chunk[lane] < low[lane] { chunk[lane] } else { low[lane] };
            high[lane] = if chunk[lane] > high[lane] { chunk[lane] } else { high[lane] };
        }
    }
    let low = low.iter().chain(rest).fold(f32::INFINITY, |low, value| low.min(*value));
    let high = high.iter().chain(rest).fold(f32::NEG_INFINITY, |high, value| high.max(*value));
    (low, high)
}
