//! fp16, the precision of tables and scales.

use half::f16;

use crate::error::{Error, Result};

/// The largest finite fp16 value.
pub(super) const HALF_MAX: f32 = 65_504.0;

/// The smallest scale of a row that is not all zeros: the smallest normal fp16 value, 2^-14.
pub(super) const MIN_ROW_SCALE: f32 = 1.0 / (1 << 14) as f32;

/// A row's scale as it is stored: 1 for a row of zeros, and at least [`MIN_ROW_SCALE`] for
/// all others. Below it fp16 has fewer and fewer bits, and hardware may read it as 0. The row's table
/// entries become smaller instead, which fp16 holds down to rows of about 1e-9. Fails
/// (input) for a scale beyond fp16.
pub(super) fn row_scale(scale: f64) -> Result<f16> {
    let half = f16::from_f64(scale);
    if !half.is_finite() {
        return Err(Error::input("a row's scale is beyond fp16 (65504)"));
    }
    Ok(if scale > 0.0 { half.max(f16::from_f32(MIN_ROW_SCALE)) } else { f16::ONE })
}

/// The stored scale of integers up to `steps` that have to reach `span`, given the fp16 value
/// `nearest` to their quotient.
///
/// A normal fp16 value is precise enough. Rounding to a subnormal one may cut off so much that the
/// largest weights would be clipped by more than half a step; the next larger scale is used then.
/// It is 1 if every weight is nearer to 0 than to the smallest fp16 value, as for zeros.
#[inline(always)]
pub(crate) fn step_scale(nearest: f16, span: f64, steps: f64) -> f16 {
    if nearest >= f16::MIN_POSITIVE {
        nearest
    } else if span <= SMALLEST / 2.0 {
        f16::ONE
    } else if span > (steps + 0.5) * nearest.to_f64() {
        f16::from_bits(nearest.to_bits() + 1)
    } else {
        nearest
    }
}

/// The scale of a table of int8 entries whose largest magnitude is `reach`.
pub(super) fn int8_scale(reach: f64) -> f16 {
    let steps = f64::from(i8::MAX);
    step_scale(f16::from_f64(reach / steps), reach, steps)
}

/// The smallest positive fp16 value, 2^-24.
const SMALLEST: f64 = 1.0 / (1 << 24) as f64;

/// Rounds magnitudes below 65520 to the nearest fp16 value, ties to even. Larger ones become the
/// next power of two rather than infinity. Plain arithmetic, so that loops vectorise.
#[inline(always)]
pub(crate) fn round_to_half(value: f32) -> f32 {
    /// Adding and subtracting 0.5 leaves multiples of 2^-24, the spacing of fp16 subnormals.
    const SUBNORMAL: f32 = 0.5;
    const SMALLEST_NORMAL: f32 = 6.103_515_6e-5;
    let bits = value.to_bits();
    let normal = f32::from_bits((bits + 0x0fff + ((bits >> 13) & 1)) & !0x1fff);
    let magnitude = value.abs();
    let subnormal = ((magnitude + SUBNORMAL) - SUBNORMAL).copysign(value);
    if magnitude < SMALLEST_NORMAL { subnormal } else { normal }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_scale_is_subnormal_and_only_that_of_zeros_is_one() {
        let found = [0.0, 1e-30, 1e-7, 6.2e-5, 0.5].map(|scale| row_scale(scale).unwrap());
        let least = f16::MIN_POSITIVE;
        assert_eq!(found, [f16::ONE, least, least, f16::from_f64(6.2e-5), f16::from_f64(0.5)]);
        assert!(row_scale(7e4).is_err());
    }

    #[test]
    fn steps_reach_the_span_up_to_half_a_step() {
        for steps in [7.0, 15.0, 127.0, 255.0] {
            let mut span = 3e-8;
            while span < 6e4 {
                let nearest = f16::from_f64(span / steps);
                let scale = step_scale(nearest, span, steps);
                let missing = span - scale.to_f64() * steps;
                assert!(missing <= scale.to_f64() * 0.5, "{span} {steps}: {scale}");
                assert!(scale == nearest || nearest < f16::MIN_POSITIVE, "{span} {steps}: {scale}");
                span *= 1.07;
            }
            assert_eq!(step_scale(f16::ZERO, 0.0, steps), f16::ONE);
            assert_eq!(step_scale(f16::ZERO, 2e-8, steps), f16::ONE);
        }
    }

    #[test]
    fn rounding_to_half_agrees_with_the_half_crate() {
        let mut value = 1.0e-9f32;
        while value < 65_000.0 {
            for x in [value, -value, value * 1.000_488_3] {
                assert_eq!(round_to_half(x).to_bits(), f16::from_f32(x).to_f32().to_bits(), "{x}");
            }
            value *= 1.000_31;
        }
        for bits in 0..0x7c00 {
            let exact = f16::from_bits(bits).to_f32();
            let next = f16::from_bits(bits + 1).to_f32();
            assert_eq!(round_to_half(exact), exact);
            if next.is_finite() {
                let middle = (exact + next) / 2.0;
                assert_eq!(round_to_half(middle), f16::from_f32(middle).to_f32(), "{middle}");
            }
        }
    }
}
