//! The small floats in which blocks store their scales.

use half::f16;

/// The f16 at byte `at`.
#[inline(always)]
pub fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(u16_at(block, at)).to_f32()
}

/// The u16 at byte `at`.
#[inline(always)]
pub fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Half of the scale 2^(stored - 127).
#[inline(always)]
pub fn half_of_e8m0(stored: u8) -> f32 {
    f32::from_bits(match stored {
        // 2^-128 and 2^-127 are subnormal.
        0 => 1 << 21,
        1 => 1 << 22,
        exponent => u32::from(exponent - 1) << 23,
    })
}

/// Half of an E4M3 float without a sign. ggml takes no notice of the highest bit, and reads 127 as 0.
#[inline(always)]
pub fn half_of_ue4m3(stored: u8) -> f32 {
    HALVES_OF_UE4M3[usize::from(stored)]
}

static HALVES_OF_UE4M3: [f32; 256] = {
    let mut values = [0.0; 256];
    let mut stored = 1;
    while stored < 256 {
        let (exponent, mantissa) = ((stored >> 3 & 15) as u32, (stored & 7) as f32);
        values[stored] = match (stored, exponent) {
            (127, _) => 0.0,
            (_, 0) => mantissa / 1024.0,
            _ => (1.0 + mantissa / 8.0) * (1u32 << exponent) as f32 / 256.0,
        };
        stored += 1;
    }
    values
};
