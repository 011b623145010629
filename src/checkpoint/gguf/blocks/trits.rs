//! Types of two to four values: TQ1_0, TQ2_0, Q1_0, Q2_0, and PrismML's PTQ1_0 and PQ2_0.

use super::floats::half_at;

/// Five digits of base 3 in a byte, as a fraction of 256, the first the most significant. Writes the
/// first digits of all bytes, then the second, as many as `out` has room for.
#[inline(always)]
fn digits(bytes: &[u8], d: f32, out: &mut [f32]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    for (out, power) in out.chunks_exact_mut(bytes.len()).zip(POWERS) {
        for (out, &byte) in out.iter_mut().zip(bytes) {
            let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
            *out = (f32::from(digit) - 1.0) * d;
        }
    }
}

/// 32 and 16 bytes of five digits, 4 bytes of four, `d`.
#[inline(always)]
pub fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let d = half_at(block, 52);
    digits(&block[..32], d, &mut out[..160]);
    digits(&block[32..48], d, &mut out[160..240]);
    digits(&block[48..52], d, &mut out[240..]);
}

/// 16 and 8 bytes of five digits, 2 bytes of four, `d`.
#[inline(always)]
pub fn ptq1_0(block: &[u8; 28], out: &mut [f32; 128]) {
    let d = half_at(block, 26);
    digits(&block[..16], d, &mut out[..80]);
    digits(&block[16..24], d, &mut out[80..120]);
    digits(&block[24..26], d, &mut out[120..]);
}

/// 64 bytes, `d`. The lowest 2 bits of 32 bytes are the first 32 weights, plus 1.
#[inline(always)]
pub fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let d = half_at(block, 64);
    let codes = block[..64].as_chunks::<32>().0;
    for (codes, out) in codes.iter().zip(out.as_chunks_mut::<128>().0) {
        for (n, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (out, &byte) in out.iter_mut().zip(codes) {
                *out = (f32::from(byte >> (2 * n) & 3) - 1.0) * d;
            }
        }
    }
}

/// `d`, 16 bytes of bits, the lowest first: 1 is `d`, 0 is `-d`.
#[inline(always)]
pub fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let d = half_at(block, 0).to_bits();
    for (&byte, out) in block[2..].iter().zip(out.as_chunks_mut::<8>().0) {
        for (k, out) in out.iter_mut().enumerate() {
            *out = f32::from_bits(d ^ (u32::from(!byte) << (31 - k) & 1 << 31));
        }
    }
}

/// `d`, four weights in a byte, the lowest bits first, plus 1.
#[inline(always)]
pub fn q2_0<const BYTES: usize, const WEIGHTS: usize>(
    block: &[u8; BYTES],
    out: &mut [f32; WEIGHTS],
) {
    let d = half_at(block, 0);
    for (&byte, out) in block[2..].iter().zip(out.as_chunks_mut::<4>().0) {
        for (k, out) in out.iter_mut().enumerate() {
            *out = (f32::from(byte >> (2 * k) & 3) - 1.0) * d;
        }
    }
}
