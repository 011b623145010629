//! Types whose weights are rows of a grid of positive values, with signs stored separately: IQ2_XXS,
//! IQ2_XS, IQ2_S, IQ3_XXS and IQ3_S.

use super::floats::{half_at, u16_at};
use super::grids::{IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS};

/// The signs of 8 weights of which 7 are stored: their number of ones is even.
static EVEN_SIGNS: [u8; 128] = {
    let mut signs = [0; 128];
    let mut stored = 0;
    while stored < 128 {
        signs[stored] = stored as u8 | ((stored.count_ones() as u8 & 1) << 7);
        stored += 1;
    }
    signs
};

/// Weights of one row of a grid. Bit k of `signs` says that weight k is negative.
#[inline(always)]
fn row<const N: usize>(grid: &[i8; N], scale: f32, signs: u8, out: &mut [f32; N]) {
    for (k, (out, &value)) in out.iter_mut().zip(grid).enumerate() {
        let sign = u32::from(signs) << (31 - k) & 1 << 31;
        *out = f32::from_bits((f32::from(value) * scale).to_bits() ^ sign);
    }
}

/// Eight weights of two rows of four.
#[inline(always)]
fn two_rows(grids: [&[i8; 4]; 2], scale: f32, signs: u8, out: &mut [f32; 8]) {
    let [a, b] = grids;
    row(&[a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]], scale, signs, out);
}

/// The stored signs `k` of the four in a word, extended to 8.
#[inline(always)]
fn even_signs(word: u32, k: usize) -> u8 {
    EVEN_SIGNS[(word >> (7 * k) & 127) as usize]
}

/// Nibble `i`, the low ones first.
#[inline(always)]
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 2] >> (4 * (i % 2)) & 15
}

/// `d`, then for every 32 weights 4 rows, and a word of 4 times 7 signs and a scale.
#[inline(always)]
pub fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let stored = block[2..].as_chunks::<8>().0;
    for (&[rows @ .., a, b, c, e], out) in stored.iter().zip(out.as_chunks_mut::<32>().0) {
        let word = u32::from_le_bytes([a, b, c, e]);
        let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            row(&IQ2_XXS[usize::from(rows[k])], scale, even_signs(word, k), out);
        }
    }
}

/// `d`, 32 rows of 9 bits with 7 signs, 16 scales.
#[inline(always)]
pub fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    for (m, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * (0.5 + f32::from(nibble(&block[66..], m))) * 0.25;
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let stored = u16_at(block, 2 + 2 * (2 * m + k));
            let signs = EVEN_SIGNS[usize::from(stored >> 9)];
            row(&IQ2_XS[usize::from(stored & 511)], scale, signs, out);
        }
    }
}

/// `d`, the low 8 bits of 32 rows, 32 bytes of signs, the high 2 bits of the rows, 16 scales.
#[inline(always)]
pub fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let scale = d * (0.5 + f32::from(nibble(scales, n / 2))) * 0.25;
        let high = high[n / 4] >> (2 * (n % 4)) & 3;
        let at = usize::from(low[n]) | usize::from(high) << 8;
        row(&IQ2_S[at], scale, signs[n], out);
    }
}

/// `d`, 64 rows, then for every 32 weights a word of 4 times 7 signs and a scale.
#[inline(always)]
pub fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let rows = block[2..66].as_chunks::<8>().0;
    let words = block[66..].as_chunks::<4>().0;
    for ((rows, &word), out) in rows.iter().zip(words).zip(out.as_chunks_mut::<32>().0) {
        let word = u32::from_le_bytes(word);
        let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let rows = [rows[2 * k], rows[2 * k + 1]].map(|row| &IQ3_XXS[usize::from(row)]);
            two_rows(rows, scale, even_signs(word, k), out);
        }
    }
}

/// `d`, the low 8 bits of 64 rows, their high bits, 32 bytes of signs, 8 scales.
#[inline(always)]
pub fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = half_at(block, 0);
    let (low, signs) = (block[2..66].as_chunks::<8>().0, block[74..106].as_chunks::<4>().0);
    let high = &block[66..74];
    let stored = low.iter().zip(high).zip(signs);
    for (i, (((low, &high), signs), out)) in stored.zip(out.as_chunks_mut::<32>().0).enumerate() {
        let scale = d * f32::from(1 + 2 * nibble(&block[106..], i));
        for (k, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let rows = [2 * k, 2 * k + 1]
                .map(|j| &IQ3_S[usize::from(low[j]) | usize::from(high >> j & 1) << 8]);
            two_rows(rows, scale, signs[k], out);
        }
    }
}
