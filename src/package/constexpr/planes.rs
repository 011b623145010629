//! Looks codes up in NEON registers.
//!
//! A table of sixteen numbers is held as four *planes*: plane `p` has byte `p` of every number.
//! One instruction looks sixteen codes up in a plane; interleaving the four results gives the
//! numbers. Other processors do not need this, and so the file exists for ARM only.

use std::arch::aarch64::{float32x4_t, int8x16_t, uint8x16_t};

use pulp::aarch64::Neon;
use pulp::cast;

/// The number of entries of a table that fits in registers.
pub(crate) const ENTRIES: usize = 16;
/// The number of codes that are looked up together.
pub(crate) const TOGETHER: usize = 16;

/// A table of [`ENTRIES`] numbers, in registers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planes([uint8x16_t; 4]);

impl Planes {
    /// Splits the numbers of a table into planes.
    #[inline(always)]
    pub(crate) fn new(entries: &[f32; ENTRIES]) -> Planes {
        let byte = |p: usize| entries.map(|entry| entry.to_le_bytes()[p]);
        Planes(std::array::from_fn(|p| cast(byte(p))))
    }

    /// Looks up [`TOGETHER`] codes of `BITS` bits (1, 2 or 4), the first of which is code number
    /// `first` of `bytes`. Tables of codes of fewer than four bits must be repeated, because bits
    /// of the following codes are not masked off.
    #[inline(always)]
    pub(crate) fn look_up<const BITS: usize>(
        self,
        simd: Neon,
        bytes: uint8x16_t,
        first: usize,
    ) -> [float32x4_t; 4] {
        let neon = simd.neon;
        let byte: [u8; TOGETHER] = std::array::from_fn(|i| ((first + i) * BITS / 8) as u8);
        let down: [i8; TOGETHER] = std::array::from_fn(|i| -(((first + i) * BITS % 8) as i8));
        let spread = neon.vqtbl1q_u8(bytes, cast(byte));
        let shifted = neon.vshlq_u8(spread, cast::<_, int8x16_t>(down));
        let codes = neon.vandq_u8(shifted, neon.vdupq_n_u8(ENTRIES as u8 - 1));
        let [a, b, c, d] = self.0.map(|plane| neon.vqtbl1q_u8(plane, codes));
        let low: [_; 2] = [neon.vzip1q_u8(a, b), neon.vzip2q_u8(a, b)];
        let high: [_; 2] = [neon.vzip1q_u8(c, d), neon.vzip2q_u8(c, d)];
        [
            cast(neon.vzip1q_u16(cast(low[0]), cast(high[0]))),
            cast(neon.vzip2q_u16(cast(low[0]), cast(high[0]))),
            cast(neon.vzip1q_u16(cast(low[1]), cast(high[1]))),
            cast(neon.vzip2q_u16(cast(low[1]), cast(high[1]))),
        ]
    }
}
