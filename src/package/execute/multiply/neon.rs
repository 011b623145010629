//! The instruction set NEON, which every ARM processor of 64 bits has.

use std::arch::aarch64::float32x4_t;

use pulp::aarch64::Neon;
use pulp::{NullaryFnOnce, cast};

use super::LANES;
use super::registers::{ENTRIES, Registers, RowGroup, products};
use crate::package::constexpr::Planes;

/// Whether [`multiply`] supports codes of `bits` bits on this processor, or fp16 weights for 16.
pub(super) fn can_multiply(bits: u8) -> bool {
    matches!(bits, 1 | 2 | 4 | 16) && Neon::try_new().is_some()
}

/// Writes the products of the rows `weights` with `x` to `out`. The caller has asked
/// [`can_multiply`]; the length of `x` is a multiple of `LANES`.
pub(super) fn multiply(weights: RowGroup<'_>, x: &[f32], out: &mut [f32]) {
    if let Some(simd) = Neon::try_new() {
        simd.vectorize(NeonProducts { simd, weights, x, out });
    }
}

struct NeonProducts<'a> {
    simd: Neon,
    weights: RowGroup<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for NeonProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // With two rows of codes at a time, sums and activations would not fit in 32 registers.
        products::<Neon, 1>(self.simd, self.weights, self.x, self.out);
    }
}

impl Registers for Neon {
    type Lanes = [float32x4_t; 8];
    type Table = Planes;

    #[inline(always)]
    fn zeros(self) -> Self::Lanes {
        [self.neon.vdupq_n_f32(0.0); 8]
    }

    #[inline(always)]
    fn load(self, numbers: &[f32; LANES]) -> Self::Lanes {
        cast(*numbers)
    }

    /// Converts by integer operations and one exact product: Rust's own fp16 types are younger
    /// than the compilers that this crate supports.
    #[inline(always)]
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes {
        /// The difference of the biases of both formats' exponents, as a factor.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        /// What is infinite or not a number has at least this in place of its magnitude.
        const NOT_FINITE: u32 = 0x7c00 << 13;
        let neon = self.neon;
        let halves: [[u16; 4]; 8] = cast(*bytes);
        halves.map(|four| {
            let wide = neon.vmovl_u16(cast(four));
            let sign = neon.vshlq_n_u32::<16>(neon.vandq_u32(wide, neon.vdupq_n_u32(0x8000)));
            let magnitude = neon.vandq_u32(wide, neon.vdupq_n_u32(0x7fff));
            let magnitude = neon.vshlq_n_u32::<13>(magnitude);
            let number = neon.vmulq_f32(cast(magnitude), neon.vdupq_n_f32(REBIAS));
            let is_finite = neon.vcltq_u32(magnitude, neon.vdupq_n_u32(NOT_FINITE));
            let exponent = neon.vbicq_u32(neon.vdupq_n_u32(0x7f80_0000), is_finite);
            cast(neon.vorrq_u32(neon.vorrq_u32(cast(number), sign), exponent))
        })
    }

    #[inline(always)]
    fn table(self, entries: &[f32; ENTRIES]) -> Self::Table {
        Planes::new(entries)
    }

    #[inline(always)]
    fn look_up<const BITS: usize, const BYTES: usize>(
        self,
        table: Self::Table,
        codes: &[u8; BYTES],
    ) -> Self::Lanes {
        let mut bytes = [0; 16];
        bytes[..BYTES].copy_from_slice(codes);
        let bytes = cast(bytes);
        cast([table.look_up::<BITS>(self, bytes, 0), table.look_up::<BITS>(self, bytes, 16)])
    }

    #[inline(always)]
    fn mul_add(self, weights: Self::Lanes, x: Self::Lanes, sums: Self::Lanes) -> Self::Lanes {
        std::array::from_fn(|k| self.neon.vfmaq_f32(sums[k], weights[k], x[k]))
    }

    #[inline(always)]
    fn total(self, sums: Self::Lanes) -> f32 {
        let neon = self.neon;
        let four: [_; 4] = std::array::from_fn(|k| neon.vaddq_f32(sums[k], sums[k + 4]));
        let two: [_; 2] = std::array::from_fn(|k| neon.vaddq_f32(four[k], four[k + 2]));
        let one = neon.vaddq_f32(two[0], two[1]);
        neon.vpadds_f32(neon.vadd_f32(neon.vget_low_f32(one), neon.vget_high_f32(one)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The products in the order of the sums of every path: `LANES` sums, then halves added up.
    fn expected(weight: impl Fn(usize) -> f32, x: &[f32]) -> f32 {
        let mut lanes = [0.0f32; LANES];
        for (i, x) in x.iter().enumerate() {
            lanes[i % LANES] = weight(i).mul_add(*x, lanes[i % LANES]);
        }
        let mut width = LANES / 2;
        while width > 0 {
            (0..width).for_each(|i| lanes[i] += lanes[i + width]);
            width /= 2;
        }
        lanes[0]
    }

    #[test]
    fn products_have_the_bits_of_their_definition() {
        let inputs = 5 * LANES;
        let x: Vec<f32> = (0..inputs).map(|i| (i * 7919 % 1021) as f32 / 1021.0 - 0.5).collect();
        let bytes: Vec<u8> = (0..7 * inputs).map(|i| ((i * 193) >> 2) as u8).collect();
        for bits in [1u8, 2, 4] {
            let table = std::array::from_fn(|i| (i % (1 << bits)) as f32 * 0.37 - 1.0);
            let mut out = [0.0; 7];
            multiply(RowGroup::Codes { bits, codes: &bytes, table: &table }, &x, &mut out);
            let width = usize::from(bits);
            for (row, found) in out.iter().enumerate() {
                let weight = |i: usize| {
                    let bit = (row * inputs + i) * width;
                    table[usize::from(bytes[bit / 8] >> (bit % 8)) & ((1 << width) - 1)]
                };
                assert_eq!(found.to_bits(), expected(weight, &x).to_bits(), "{bits} bits");
            }
        }
    }

    #[test]
    fn every_half_is_converted_exactly() {
        let Some(simd) = Neon::try_new() else { return };
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for chunk in all.as_chunks::<LANES>().0 {
            let bytes: [u8; 2 * LANES] = cast(chunk.map(u16::to_le_bytes));
            let found: [f32; LANES] = cast(simd.halves(&bytes));
            for (bits, found) in chunk.iter().zip(found) {
                let exact = half::f16::from_bits(*bits).to_f32();
                let is_same =
                    found.to_bits() == exact.to_bits() || found.is_nan() && exact.is_nan();
                assert!(is_same, "{bits:#x}: {found}, expected {exact}");
            }
        }
    }

    #[test]
    fn rows_of_halves_have_the_bits_of_their_definition() {
        let inputs = 3 * LANES;
        let x: Vec<f32> = (0..inputs).map(|i| (i * 7919 % 1021) as f32 / 511.0 - 1.0).collect();
        let bytes: Vec<u8> = (0..4 * inputs)
            .flat_map(|i| [(i * 97) as u8, 0x38 + (i % 8) as u8 + (i % 3 / 2) as u8 * 128])
            .collect();
        let mut out = [0.0; 4];
        multiply(RowGroup::Half(&bytes), &x, &mut out);
        for (row, found) in out.iter().enumerate() {
            let weight = |i: usize| {
                let at = 2 * (row * inputs + i);
                half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
            };
            assert_eq!(found.to_bits(), expected(weight, &x).to_bits());
        }
    }
}
