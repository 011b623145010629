//! fp16, the precision of tables and scales.

use half::f16;

use crate::error::{Error, Result};

/// The largest finite fp16 value.
pub(super) const HALF_MAX: f32 = 65_504.0;

/// A row's scale as it is stored: 1 for a row of zeros and for one far below fp16's range. Fails
/// (input) for a scale beyond fp16.
pub(super) fn row_scale(scale: f64) -> Result<f16> {
    let scale = f16::from_f64(scale);
    if !scale.is_finite() {
        return Err(Error::input("a row's scale is beyond fp16 (65504)"));
    }
    Ok(if scale > f16::ZERO { scale } else { f16::ONE })
}

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
