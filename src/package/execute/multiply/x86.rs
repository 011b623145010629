//! The instruction sets AVX2 and AVX-512.

use std::arch::x86_64::{__m256, __m256i, __m512};

use pulp::x86::{V3, V4};
use pulp::{NullaryFnOnce, cast};

use super::LANES;
use super::registers::{ENTRIES, Registers, RowGroup, products};

/// Whether [`multiply`] supports codes of `bits` bits on this processor, or fp16 weights for 16.
/// The latter need AVX-512, whose conversions from fp16 make it pay.
pub(super) fn can_multiply(bits: u8) -> bool {
    match bits {
        16 => V4::try_new().is_some(),
        _ => matches!(bits, 1 | 2 | 4) && V3::try_new().is_some(),
    }
}

/// Writes the products of the rows `weights` with `x` to `out`. The caller has asked
/// [`can_multiply`]; the length of `x` is a multiple of `LANES`.
pub(super) fn multiply(weights: RowGroup<'_>, x: &[f32], out: &mut [f32]) {
    if let Some(simd) = V4::try_new() {
        simd.vectorize(Avx512Products { simd, weights, x, out });
    } else if let Some(simd) = V3::try_new() {
        simd.vectorize(Avx2Products { simd, weights, x, out });
    }
}

struct Avx512Products<'a> {
    simd: V4,
    weights: RowGroup<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for Avx512Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        products::<V4, 4>(self.simd, self.weights, self.x, self.out);
    }
}

struct Avx2Products<'a> {
    simd: V3,
    weights: RowGroup<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for Avx2Products<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        products::<V3, 2>(self.simd, self.weights, self.x, self.out);
    }
}

/// The little-endian 32-bit word of codes at `first`.
#[inline(always)]
fn word(codes: &[u8], first: usize) -> i32 {
    i32::from_le_bytes([codes[first], codes[first + 1], codes[first + 2], codes[first + 3]])
}

/// The bit positions of the codes from `first` on within the 32-bit words that hold them.
#[inline(always)]
const fn shifts<const N: usize>(first: usize, bits: usize) -> [u32; N] {
    let mut shifts = [0; N];
    let mut i = 0;
    while i < N {
        shifts[i] = ((first + i) * bits % 32) as u32;
        i += 1;
    }
    shifts
}

impl Registers for V4 {
    type Lanes = [__m512; 2];
    type Table = __m512;

    #[inline(always)]
    fn zeros(self) -> Self::Lanes {
        [self.avx512f._mm512_setzero_ps(); 2]
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> Self::Lanes {
        cast(*numbers)
    }

    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        let [low, high]: [__m256i; 2] = cast(*bytes);
        [self.avx512f._mm512_cvtph_ps(low), self.avx512f._mm512_cvtph_ps(high)]
    }

    #[inline(always)]
    fn table(self, entries: &[f32; ENTRIES]) -> Self::Table {
        cast(*entries)
    }

    #[inline(always)]
    fn look_up<const BITS: usize, const BYTES: usize>(
        self,
        table: Self::Table,
        codes: &[u8; BYTES],
    ) -> Self::Lanes {
        let avx = self.avx512f;
        let low = |first: usize| avx._mm512_set1_epi32(word(codes, first));
        let shifted = |word, first| avx._mm512_srlv_epi32(word, cast(shifts::<16>(first, BITS)));
        let pick = |index| avx._mm512_permutevar_ps(table, index);
        match BITS {
            1 => [pick(shifted(low(0), 0)), pick(shifted(low(0), 16))],
            2 => [pick(shifted(low(0), 0)), pick(shifted(low(4), 0))],
            _ => {
                let whole = |at| avx._mm512_mask_set1_epi32(low(at), 0xff00, word(codes, at + 4));
                let pick = |index| avx._mm512_permutexvar_ps(index, table);
                [pick(shifted(whole(0), 0)), pick(shifted(whole(8), 0))]
            }
        }
    }

    #[inline(always)]
    fn mul_add(self, weights: Self::Lanes, x: Self::Lanes, sums: Self::Lanes) -> Self::Lanes {
        let avx = self.avx512f;
        [
            avx._mm512_fmadd_ps(weights[0], x[0], sums[0]),
            avx._mm512_fmadd_ps(weights[1], x[1], sums[1]),
        ]
    }

    #[inline(always)]
    fn total(self, [low, high]: Self::Lanes) -> f32 {
        let sums = self.avx512f._mm512_add_ps(low, high);
        let low = self.avx512f._mm512_castps512_ps256(sums);
        let high = self.avx512dq._mm512_extractf32x8_ps::<1>(sums);
        total_of_eight(*self, self.avx._mm256_add_ps(low, high))
    }
}

impl Registers for V3 {
    type Lanes = [__m256; 4];
    type Table = [__m256; 2];

    #[inline(always)]
    fn zeros(self) -> Self::Lanes {
        [self.avx._mm256_setzero_ps(); 4]
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> Self::Lanes {
        cast(*numbers)
    }

    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        let half = |bytes: [u8; 2]| half::f16::from_le_bytes(bytes).to_f32();
        cast(std::array::from_fn::<f32, LANES, _>(|i| half([bytes[2 * i], bytes[2 * i + 1]])))
    }

    #[inline(always)]
    fn table(self, entries: &[f32; ENTRIES]) -> Self::Table {
        cast(*entries)
    }

    #[inline(always)]
    fn look_up<const BITS: usize, const BYTES: usize>(
        self,
        [low, high]: Self::Table,
        codes: &[u8; BYTES],
    ) -> Self::Lanes {
        let (avx, avx2) = (self.avx, self.avx2);
        let index = |unit: usize| {
            let first = unit * 8 * BITS;
            let word = avx._mm256_set1_epi32(word(codes, first / 32 * 4));
            avx2._mm256_srlv_epi32(word, cast(shifts::<8>(unit * 8, BITS)))
        };
        let mut out = self.zeros();
        for (unit, out) in out.iter_mut().enumerate() {
            let index = index(unit);
            *out = match BITS {
                1 | 2 => avx._mm256_permutevar_ps(low, index),
                _ => avx._mm256_blendv_ps(
                    avx2._mm256_permutevar8x32_ps(low, index),
                    avx2._mm256_permutevar8x32_ps(high, index),
                    avx._mm256_castsi256_ps(avx2._mm256_slli_epi32::<28>(index)),
                ),
            };
        }
        out
    }

    #[inline(always)]
    fn mul_add(self, weights: Self::Lanes, x: Self::Lanes, sums: Self::Lanes) -> Self::Lanes {
        let mut sums = sums;
        for (k, sum) in sums.iter_mut().enumerate() {
            *sum = self.fma._mm256_fmadd_ps(weights[k], x[k], *sum);
        }
        sums
    }

    #[inline(always)]
    fn total(self, [a, b, c, d]: Self::Lanes) -> f32 {
        let avx = self.avx;
        let (first, second) = (avx._mm256_add_ps(a, c), avx._mm256_add_ps(b, d));
        total_of_eight(self, avx._mm256_add_ps(first, second))
    }
}

/// Adds up eight lanes, the upper half to the lower half until one is left.
#[inline(always)]
fn total_of_eight(simd: V3, lanes: __m256) -> f32 {
    let (low, high) =
        (simd.avx._mm256_castps256_ps128(lanes), simd.avx._mm256_extractf128_ps::<1>(lanes));
    let four = simd.sse._mm_add_ps(low, high);
    let two = simd.sse._mm_add_ps(four, simd.sse._mm_movehl_ps(four, four));
    let one = simd.sse._mm_shuffle_ps::<1>(two, two);
    simd.sse._mm_cvtss_f32(simd.sse._mm_add_ss(two, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_instruction_sets_give_the_same_bits() {
        let (Some(wide), Some(narrow)) = (V4::try_new(), V3::try_new()) else { return };
        let inputs = 5 * LANES;
        let x: Vec<f32> = (0..inputs).map(|i| (i * 7919 % 1021) as f32 / 1021.0 - 0.5).collect();
        let bytes: Vec<u8> = (0..7 * inputs * 2).map(|i| (i * 193 % 120) as u8).collect();
        for bits in [1u8, 2, 4, 16] {
            let table = std::array::from_fn(|i| (i % (1 << bits)) as f32 * 0.37 - 1.0);
            let weights = match bits {
                16 => RowGroup::Half(&bytes),
                _ => RowGroup::Codes { bits, codes: &bytes, table: &table },
            };
            let (mut one, mut other) = ([0.0; 7], [0.0; 7]);
            let (x, out) = (x.as_slice(), one.as_mut_slice());
            wide.vectorize(Avx512Products { simd: wide, weights, x, out });
            let out = other.as_mut_slice();
            narrow.vectorize(Avx2Products { simd: narrow, weights, x, out });
            assert!(one == other && one.iter().all(|v| v.is_finite() && *v != 0.0), "{one:?}");
        }
    }
}
