//! The smallest types, whose weights are rows of a grid of -1, 0 and 1, moved by an eighth: IQ1_S and
//! IQ1_M.

use half::f16;

use super::floats::{half_at, u16_at};
use super::grids::IQ1;

/// Weights of one row of the grid.
#[inline(always)]
fn row(grid: &[i8; 8], scale: f32, is_lower: bool, out: &mut [f32; 8]) {
    let offset = if is_lower { -0.125 } else { 0.125 };
    for (out, &value) in out.iter_mut().zip(grid) {
        *out = scale * (f32::from(value) + offset);
    }
}

/// `d`, the low 8 bits of 32 rows, then for every 32 weights the high 3 bits of 4 rows, a scale and the
/// sign of the offset.
#[inline(always)]
pub fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let low = block[2..34].as_chunks::<4>().0;
    for (i, (low, out)) in low.iter().zip(out.as_chunks_mut::<32>().0).enumerate() {
        let high = usize::from(u16_at(block, 34 + 2 * i));
        let scale = d * (2 * (high >> 12 & 7) + 1) as f32;
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let at = usize::from(low[k]) | (high >> (3 * k) & 7) << 8;
            row(&IQ1[at], scale, high & 0x8000 != 0, out);
        }
    }
}

/// The low 8 bits of 32 rows, 32 nibbles of the high 3 bits and the offset's sign, 4 words of 4 scales
/// and a nibble of `d`.
#[inline(always)]
pub fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let scales = [48, 50, 52, 54].map(|at| u16_at(block, at));
    let d = f16::from_bits(
        scales[0] >> 12 | scales[1] >> 8 & 0xf0 | scales[2] >> 4 & 0xf00 | scales[3] & 0xf000,
    );
    let d = d.to_f32();
    for (m, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(2 * (scales[m / 4] >> (3 * (m % 4)) & 7) + 1);
        let high = block[32 + m];
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let high = high >> (4 * k);
            let at = usize::from(block[2 * m + k]) | usize::from(high & 7) << 8;
            row(&IQ1[at], scale, high & 8 != 0, out);
        }
    }
}
