//! MXFP4 (OCP Microscaling Formats 1.0): blocks of 32 four-bit floats under one shared exponent.
//!
//! An element is E2M1 (sign, two exponent bits, one mantissa bit): 0, 0.5, 1, 1.5, 2, 3, 4, 6 and
//! their negatives. The block's scale is E8M0: 2^(s − 127), with 255 for NaN. A byte of gpt-oss's
//! `*_blocks` has two elements, the lower nibble first. Every product is exact in f32, unless it is
//! beyond f32's range (from a scale of 253 on) and becomes infinite, which reading refuses.

use pulp::Arch;

use crate::error::{Error, Result};

/// Elements of a block, which share a scale.
pub const BLOCK_WEIGHTS: usize = 32;
/// Bytes of a block's elements.
pub const BLOCK_BYTES: usize = BLOCK_WEIGHTS / 2;

/// The values of the sixteen codes.
pub const VALUES: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Both values of every byte.
const PAIRS: [[f32; 2]; 256] = {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [VALUES[byte & 15], VALUES[byte >> 4]];
        byte += 1;
    }
    pairs
};

/// The scale 2^(s − 127), or `None` for NaN.
pub fn scale(stored: u8) -> Option<f32> {
    match stored {
        255 => None,
        // 2^-127 is subnormal: half of the smallest normal number.
        0 => Some(f32::from_bits(1 << 22)),
        exponent => Some(f32::from_bits(u32::from(exponent) << 23)),
    }
}

/// Decodes one row: `blocks` `[len / 2]` and `scales` `[len / 32]` to `out` `[len]`.
///
/// # Errors
/// An input error if a scale is 255, with the block's number in the row.
pub fn decode_row(blocks: &[u8], scales: &[u8], out: &mut [f32]) -> Result<()> {
    if let Some(block) = scales.iter().position(|&s| s == 255) {
        return Err(Error::input(format!("the scale of block {block} is 255, which is NaN")));
    }
    Arch::new().dispatch(|| {
        let (blocks, _) = blocks.as_chunks::<BLOCK_BYTES>();
        let (out, _) = out.as_chunks_mut::<BLOCK_WEIGHTS>();
        for ((block, &stored), out) in blocks.iter().zip(scales).zip(out) {
            let scale = scale(stored).unwrap_or(f32::NAN);
            for (byte, pair) in block.iter().zip(out.as_chunks_mut::<2>().0) {
                let [low, high] = PAIRS[usize::from(*byte)];
                *pair = [low * scale, high * scale];
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_under_every_scale_is_exact() {
        // From 2^126 on the largest products are beyond f32; such a tensor is refused as not
        // finite.
        for stored in 0..252u8 {
            let expected_scale = 2f64.powi(i32::from(stored) - 127);
            let blocks: Vec<u8> = (0..16).map(|code| code | ((15 - code) << 4)).collect();
            let mut out = [0.0; 32];
            decode_row(&blocks, &[stored], &mut out).unwrap();
            for (code, pair) in out.chunks(2).enumerate() {
                let expected =
                    [VALUES[code], VALUES[15 - code]].map(|v| f64::from(v) * expected_scale);
                // Beyond the range of f32 the cast gives infinity; within it nothing is rounded.
                let nearest = expected.map(|value| value as f32);
                assert_eq!(pair, nearest, "scale {stored}");
                if stored < 253 {
                    assert_eq!(nearest.map(f64::from), expected, "scale {stored}");
                }
            }
        }
    }

    #[test]
    fn a_scale_of_255_is_refused_with_its_block() {
        let error = decode_row(&[0; 64], &[1, 2, 255, 4], &mut [0.0; 128]).unwrap_err();
        assert!(error.to_string().contains("block 2 is 255"), "{error}");
    }
}
