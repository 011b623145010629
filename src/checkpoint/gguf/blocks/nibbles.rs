//! Types whose weights are entries of a table of 16 values: IQ4_NL, IQ4_XS, MXFP4 and NVFP4.

use super::floats::{half_at, half_of_e8m0, half_of_ue4m3, u16_at};

/// The values of IQ4_NL and IQ4_XS.
const IQ4: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];

/// Twice the values of E2M1. The scales are halved instead, as in ggml, where code 8 is +0.
const E2M1_DOUBLED: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

/// Looks up the low nibbles of `codes`, then the high ones.
#[inline(always)]
fn look_up(codes: &[u8], values: &[f32; 16], scale: f32, out: &mut [f32]) {
    let scaled = values.map(|value| value * scale);
    let (low, high) = out.split_at_mut(codes.len());
    for ((&codes, low), high) in codes.iter().zip(low).zip(high) {
        *low = scaled[usize::from(codes & 15)];
        *high = scaled[usize::from(codes >> 4)];
    }
}

/// `d`, 16 bytes of codes.
#[inline(always)]
pub fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    look_up(&block[2..], &IQ4, half_at(block, 0), out);
}

/// `d`, the high 2 bits of 8 scales, their low 4 bits, 16 bytes of codes for each.
#[inline(always)]
pub fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (half_at(block, 0), u16_at(block, 2));
    let codes = block[8..].as_chunks::<16>().0;
    for (i, (codes, out)) in codes.iter().zip(out.as_chunks_mut::<32>().0).enumerate() {
        let low = block[4 + i / 2] >> (4 * (i % 2)) & 15;
        let scale = i16::from(low) + 16 * (high >> (2 * i) & 3) as i16 - 32;
        look_up(codes, &IQ4, d * f32::from(scale), out);
    }
}

/// An E8M0 scale, 16 bytes of codes.
#[inline(always)]
pub fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    look_up(&block[1..], &E2M1_DOUBLED, half_of_e8m0(block[0]), out);
}

/// 4 scales, 8 bytes of codes for each.
#[inline(always)]
pub fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    let codes = block[4..].as_chunks::<8>().0;
    for ((codes, &scale), out) in codes.iter().zip(&block[..4]).zip(out.as_chunks_mut::<16>().0) {
        look_up(codes, &E2M1_DOUBLED, half_of_ue4m3(scale), out);
    }
}
