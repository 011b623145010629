//! Looks codes up in tables, a step that every packed weight goes through.
//!
//! A table for codes of up to four bits fits in vector registers, where AVX2 looks up eight codes
//! at a time, and NEON sixteen. For wider codes and on other processors, tables are read from
//! memory.

use crate::quantize::bitpack::{UNIT, code_at};

/// A table for codes of up to 8 bits. Narrower codes use its first entries only.
pub(super) type Table = [f32; 256];

/// Sets `out[i] = table[code(start + i)]` for packed codes of `bits` bits. Codes past the end of
/// `codes` are taken as zero.
pub(super) fn look_up(codes: &[u8], bits: u8, start: usize, table: &Table, out: &mut [f32]) {
    let head = (start.next_multiple_of(UNIT) - start).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    let at = |index| table[usize::from(code_at(codes, bits, index))];
    first.iter_mut().enumerate().for_each(|(i, value)| *value = at(start + i));
    let units = rest.len() / UNIT;
    let first_byte = ((start + head) / UNIT * usize::from(bits)).min(codes.len());
    let (wide, tail) = rest.split_at_mut(units * UNIT);
    let bytes = &codes[first_byte..];
    if bytes.len() < units * usize::from(bits) {
        wide.iter_mut().enumerate().for_each(|(i, value)| *value = at(start + head + i));
    } else {
        look_up_units(&bytes[..units * usize::from(bits)], bits, table, wide);
    }
    let start = start + head + units * UNIT;
    tail.iter_mut().enumerate().for_each(|(i, value)| *value = at(start + i));
}

/// Looks up whole units of eight codes.
fn look_up_units(codes: &[u8], bits: u8, table: &Table, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new()
        && avx2::look_up(simd, codes, bits, table, out)
    {
        return;
    }
    #[cfg(target_arch = "aarch64")]
    if let Some(simd) = pulp::aarch64::Neon::try_new()
        && neon::look_up(simd, codes, bits, table, out)
    {
        return;
    }
    match bits {
        1 => scalar::<1>(codes, table, out),
        2 => scalar::<2>(codes, table, out),
        3 => scalar::<3>(codes, table, out),
        4 => scalar::<4>(codes, table, out),
        6 => scalar::<6>(codes, table, out),
        _ => scalar::<8>(codes, table, out),
    }
}

fn scalar<const BITS: usize>(codes: &[u8], table: &Table, out: &mut [f32]) {
    let mask = (1u64 << BITS) - 1;
    for (unit, bytes) in out.as_chunks_mut::<UNIT>().0.iter_mut().zip(codes.as_chunks::<BITS>().0) {
        let mut word = [0; 8];
        word[..BITS].copy_from_slice(bytes);
        let word = u64::from_le_bytes(word);
        for (i, value) in unit.iter_mut().enumerate() {
            *value = table[usize::from(((word >> (i * BITS)) & mask) as u8)];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    //! Tables of up to sixteen entries in AVX2 registers.

    use std::arch::x86_64::__m256i;

    use pulp::x86::V3;

    use super::Table;
    use crate::quantize::bitpack::UNIT;

    /// Looks up whole units; returns false if the codes are wider than 4 bits.
    pub fn look_up(simd: V3, codes: &[u8], bits: u8, table: &Table, out: &mut [f32]) -> bool {
        match bits {
            1 => simd.vectorize(Words::<1, 4, 4> { simd, codes, table, out }),
            2 => simd.vectorize(Words::<2, 4, 2> { simd, codes, table, out }),
            3 => simd.vectorize(Words::<3, 3, 1> { simd, codes, table, out }),
            4 => simd.vectorize(Words::<4, 4, 1> { simd, codes, table, out }),
            _ => return false,
        }
        true
    }

    /// Looks up codes in words of `BYTES` bytes, each of which holds `UNITS` units.
    struct Words<'a, const BITS: usize, const BYTES: usize, const UNITS: usize> {
        simd: V3,
        codes: &'a [u8],
        table: &'a Table,
        out: &'a mut [f32],
    }

    impl<const BITS: usize, const BYTES: usize, const UNITS: usize> pulp::NullaryFnOnce
        for Words<'_, BITS, BYTES, UNITS>
    {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Words { simd, codes, table, out } = self;
            let avx = simd.avx;
            // A table for one or two bits is repeated, so that the higher bits of an index do not
            // matter.
            let entry = |i: usize| if BITS < 3 { table[i % (1 << BITS)] } else { table[i] };
            let low: [f32; UNIT] = std::array::from_fn(entry);
            let high: [f32; UNIT] = std::array::from_fn(|i| table[UNIT + i]);
            let (low, high) = (pulp::cast(low), pulp::cast(high));
            let shifts = std::array::from_fn::<__m256i, UNITS, _>(|unit| {
                pulp::cast(std::array::from_fn::<u32, UNIT, _>(|i| {
                    ((unit * UNIT + i) * BITS) as u32
                }))
            });
            let pick = |word: __m256i, shift: __m256i| {
                let index = simd.avx2._mm256_srlv_epi32(word, shift);
                match BITS {
                    1 | 2 => avx._mm256_permutevar_ps(low, index),
                    3 => simd.avx2._mm256_permutevar8x32_ps(low, index),
                    _ => avx._mm256_blendv_ps(
                        simd.avx2._mm256_permutevar8x32_ps(low, index),
                        simd.avx2._mm256_permutevar8x32_ps(high, index),
                        avx._mm256_castsi256_ps(simd.avx2._mm256_slli_epi32::<28>(index)),
                    ),
                }
            };
            let words = codes.chunks(BYTES).zip(out.chunks_mut(UNIT * UNITS));
            for (bytes, out) in words {
                let mut word = [0; 4];
                if let Some(bytes) = bytes.first_chunk::<BYTES>() {
                    word[..BYTES].copy_from_slice(bytes);
                } else {
                    word[..bytes.len()].copy_from_slice(bytes);
                }
                let word = avx._mm256_set1_epi32(i32::from_le_bytes(word));
                for (out, shift) in out.as_chunks_mut::<UNIT>().0.iter_mut().zip(shifts) {
                    *out = pulp::cast(pick(word, shift));
                }
            }
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod neon {
    //! Tables of up to sixteen entries in NEON registers.

    use pulp::aarch64::Neon;

    use super::super::planes::{ENTRIES, Planes, TOGETHER};
    use super::{Table, scalar};
    use crate::quantize::bitpack::UNIT;

    /// Looks up whole units; returns false for codes of 3 bits and of more than 4.
    pub fn look_up(simd: Neon, codes: &[u8], bits: u8, table: &Table, out: &mut [f32]) -> bool {
        match bits {
            1 => simd.vectorize(Pairs::<1, 2> { simd, codes, table, out }),
            2 => simd.vectorize(Pairs::<2, 4> { simd, codes, table, out }),
            4 => simd.vectorize(Pairs::<4, 8> { simd, codes, table, out }),
            _ => return false,
        }
        true
    }

    /// Looks up pairs of units, which take `BYTES` bytes, and the unit that may be left.
    struct Pairs<'a, const BITS: usize, const BYTES: usize> {
        simd: Neon,
        codes: &'a [u8],
        table: &'a Table,
        out: &'a mut [f32],
    }

    impl<const BITS: usize, const BYTES: usize> pulp::NullaryFnOnce for Pairs<'_, BITS, BYTES> {
        type Output = ();

        #[inline(always)]
        fn call(self) {
            let Pairs { simd, codes, table, out } = self;
            let entries: [f32; ENTRIES] = std::array::from_fn(|i| table[i % (1 << BITS)]);
            let planes = Planes::new(&entries);
            let (pairs, left) = out.as_chunks_mut::<TOGETHER>();
            let (bytes, rest) = codes.as_chunks::<BYTES>();
            for (out, codes) in pairs.iter_mut().zip(bytes) {
                let mut bytes = [0; 16];
                bytes[..BYTES].copy_from_slice(codes);
                *out = pulp::cast(planes.look_up::<BITS>(simd, pulp::cast(bytes), 0));
            }
            debug_assert!(left.is_empty() || left.len() == UNIT);
            scalar::<BITS>(rest, table, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::bitpack::pack;

    #[test]
    fn entries_are_those_of_the_codes_from_any_start() {
        let mut table = [0.0; 256];
        table.iter_mut().enumerate().for_each(|(i, entry)| *entry = i as f32 * 0.37 - 11.0);
        for bits in [1, 2, 3, 4, 6, 8u8] {
            let mask = (1u16 << bits) - 1;
            let codes: Vec<u8> =
                (0..300u32).map(|i| (((i * 7919) >> 3) as u16 & mask) as u8).collect();
            let packed = pack(&codes, bits);
            for start in [0, 1, 5, 8, 16, 63, 250] {
                for len in [0, 1, 7, 8, 9, 24, 50] {
                    let mut out = vec![f32::NAN; len];
                    look_up(&packed, bits, start, &table, &mut out);
                    let expected = codes[start..start + len].iter().map(|c| table[usize::from(*c)]);
                    assert_eq!(out, expected.collect::<Vec<_>>(), "{bits} bits from {start}");
                }
            }
        }
        let mut out = [0.0; 16];
        look_up(&[1], 2, 0, &table, &mut out);
        assert_eq!(out[..2], [table[1], table[0]]);
    }
}
