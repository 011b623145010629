//! MXFP4 (OCP Microscaling Formats 1.0) as Core ML can express it.
//!
//! A weight is one of sixteen values (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives) times a
//! power of two that 32 inputs share. Core ML expresses that as a 16-entry table
//! (`constexpr_lut_to_dense`) followed by a scale per block (`constexpr_blockwise_shift_scale`).
//! Scales are fp16, so a weight takes 4.5 bits; with the one-byte exponents of the original format
//! it takes 4.25. Every product is exact, in fp16 too, so a checkpoint stored in MXFP4 is coded
//! without loss: for such a model this recipe is the model itself.

use half::f16;
use rayon::prelude::*;

use super::bitpack::{pack, unpack};
use super::coded::{CodedArrays, CodedTensor};
use super::recipe::{MXFP4_BLOCK as BLOCK, Recipe};
use crate::error::{Error, Result};

/// The values of the codes of MXFP4.
pub const VALUES: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Exponent of the largest value: 6 is 1.5 · 2².
const MAX_EXPONENT: i32 = 2;

/// The exponents of fp16 scales, subnormal ones included.
const EXPONENTS: std::ops::RangeInclusive<i32> = -24..=15;

/// Codes finite weights `[out, in]`. Fails (input) if blocks of 32 do not divide the rows, or a
/// weight is beyond fp16.
pub(super) fn quantize(weights: &[f32], shape: [usize; 2]) -> Result<CodedTensor> {
    let [_, inputs] = shape;
    if !inputs.is_multiple_of(BLOCK) {
        return Err(Error::input(format!(
            "mxfp4 has blocks of 32 inputs, but {inputs} is not a multiple of 32"
        ))
        .hint("use int4 or a palette for this part"));
    }
    let mut codes = vec![0u8; weights.len()];
    let mut scales = vec![f16::ZERO; weights.len() / BLOCK];
    let blocks = codes.par_chunks_exact_mut(BLOCK).zip(weights.par_chunks_exact(BLOCK));
    blocks.zip(&mut scales).with_min_len(256).try_for_each(|((codes, weights), scale)| {
        let largest = weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
        let exponent = exponent(largest);
        if exponent > *EXPONENTS.end() {
            return Err(Error::input(format!("a weight of {largest} is beyond fp16 (65504)")));
        }
        let shared = 2f32.powi(exponent.max(*EXPONENTS.start()));
        *scale = f16::from_f32(shared);
        codes.iter_mut().zip(weights).for_each(|(code, weight)| *code = nearest(weight / shared));
        Ok(())
    })?;
    let stored = CodedArrays::Linear { codes: pack(&codes, 4), scales, zero_points: None };
    CodedTensor::new(Recipe::Mxfp4, shape, stored)
}

/// The block's shared exponent: the exponent of its largest weight less that of the largest value.
fn exponent(largest: f32) -> i32 {
    if largest == 0.0 { 0 } else { largest.log2().floor() as i32 - MAX_EXPONENT }
}

/// The code of the nearest value; on a tie the even code (roundTiesToEven).
fn nearest(scaled: f32) -> u8 {
    /// The midpoints between neighbouring magnitudes, and whether the midpoint itself rounds up.
    const MIDDLES: [(f32, bool); 7] = [
        (0.25, false),
        (0.75, true),
        (1.25, false),
        (1.75, true),
        (2.5, false),
        (3.5, true),
        (5.0, false),
    ];
    let magnitude = scaled.abs();
    let above = |(middle, up): &(f32, bool)| magnitude > *middle || (*up && magnitude == *middle);
    let code = MIDDLES.iter().filter(|middle| above(middle)).count() as u8;
    if scaled.is_sign_negative() { code | 8 } else { code }
}

/// Decodes whole rows from `first_row` on.
pub(super) fn decode(
    codes: &[u8],
    scales: &[f16],
    first_row: usize,
    inputs: usize,
    weights: &mut [f32],
) {
    let mut row_codes = vec![0; inputs];
    for (row, weights) in (first_row..).zip(weights.chunks_exact_mut(inputs)) {
        if unpack(codes, 4, row * inputs, &mut row_codes).is_err() {
            return;
        }
        let scales = &scales[row * inputs / BLOCK..];
        let blocks = weights.chunks_exact_mut(BLOCK).zip(row_codes.chunks_exact(BLOCK));
        pulp::Arch::new().dispatch(|| {
            for ((weights, codes), scale) in blocks.zip(scales) {
                let scale = scale.to_f32();
                for (weight, code) in weights.iter_mut().zip(codes) {
                    *weight = VALUES[usize::from(code & 15)] * scale;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn weights_on_the_grid_come_back_without_loss(
            blocks in prop::collection::vec((-22i32..10, prop::array::uniform32(0usize..16)), 1..6),
        ) {
            let of_block = |(exponent, codes): &(i32, [usize; 32])| {
                codes.map(|code| VALUES[code] * 2f32.powi(*exponent))
            };
            let weights: Vec<f32> = blocks.iter().flat_map(of_block).collect();
            let coded = quantize(&weights, [1, weights.len()]).unwrap();
            prop_assert_eq!(coded.decode(), weights);
        }

        #[test]
        fn no_code_is_nearer_than_the_one_chosen(scaled in -7.9f32..7.9) {
            let error = |value: f32| (value - scaled).abs();
            let chosen = error(VALUES[usize::from(nearest(scaled))]);
            prop_assert!(VALUES.iter().all(|value| chosen <= error(*value)));
        }
    }

    #[test]
    fn a_row_that_blocks_do_not_divide_is_refused() {
        let error = quantize(&[0.0; 48], [1, 48]).unwrap_err();
        assert!(error.to_string().contains("48 is not a multiple of 32"), "{error}");
        assert!(quantize(&[7e5; 32], [1, 32]).is_err());
    }
}
