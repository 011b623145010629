//! Sub-byte packing, exactly as Core ML's weight file stores it.
//!
//! Code 0 is in the least significant bits of byte 0, and codes follow without gaps, also from row
//! to row; a 3- or 6-bit code may straddle two bytes. Eight codes of `b` bits are always `b` whole
//! bytes: the unit of the fast paths here.

use crate::error::{Error, Result};

/// Codes in one unit of packing. They fill whole bytes at any width.
pub const UNIT: usize = 8;

/// Bytes that `codes` codes of `bits` bits take. Saturates rather than overflows.
pub fn packed_size_bytes(codes: usize, bits: u8) -> usize {
    let bits = usize::from(bits);
    (codes / UNIT).saturating_mul(bits).saturating_add((codes % UNIT * bits).div_ceil(UNIT))
}

/// Packs `codes` of 1 to 8 bits into [`packed_size_bytes`] bytes. Bits of a code above `bits` are
/// dropped; bits past the last code are zero.
pub fn pack(codes: &[u8], bits: u8) -> Vec<u8> {
    let mut packed = vec![0; packed_size_bytes(codes.len(), bits)];
    pack_into(codes, bits, &mut packed);
    packed
}

/// [`pack`] into a buffer of exactly the packed size.
pub(super) fn pack_into(codes: &[u8], bits: u8, packed: &mut [u8]) {
    match bits {
        1 => pack_wide::<1>(codes, packed),
        2 => pack_wide::<2>(codes, packed),
        3 => pack_wide::<3>(codes, packed),
        4 => pack_wide::<4>(codes, packed),
        5 => pack_wide::<5>(codes, packed),
        6 => pack_wide::<6>(codes, packed),
        7 => pack_wide::<7>(codes, packed),
        _ => packed.copy_from_slice(codes),
    }
}

fn pack_wide<const BITS: usize>(codes: &[u8], packed: &mut [u8]) {
    let mask = (1u64 << BITS) - 1;
    let word = |unit: &[u8]| {
        unit.iter()
            .enumerate()
            .fold(0, |word, (i, code)| word | (u64::from(*code) & mask) << (i * BITS))
    };
    let (units, rest) = codes.as_chunks::<UNIT>();
    let (wide, tail) = packed.split_at_mut(units.len() * BITS);
    for (unit, bytes) in units.iter().zip(wide.as_chunks_mut::<BITS>().0) {
        bytes.copy_from_slice(&word(unit).to_le_bytes()[..BITS]);
    }
    tail.copy_from_slice(&word(rest).to_le_bytes()[..tail.len()]);
}

/// The code at `index` of `packed`. Bytes past the end read as zero.
#[inline(always)]
pub fn code_at(packed: &[u8], bits: u8, index: usize) -> u8 {
    let (byte, shift) = (index / UNIT * usize::from(bits), index % UNIT * usize::from(bits));
    let (byte, shift) = (byte + shift / 8, shift % 8);
    let low = packed.get(byte).copied().unwrap_or(0);
    let high = packed.get(byte + 1).copied().unwrap_or(0);
    ((u16::from_le_bytes([low, high]) >> shift) & ((1 << bits) - 1)) as u8
}

/// Unpacks the codes `start .. start + out.len()`. Fails (input) if `packed` ends before that.
pub fn unpack(packed: &[u8], bits: u8, start: usize, out: &mut [u8]) -> Result<()> {
    let end = start.checked_add(out.len());
    let needed_size_bytes = end.map_or(usize::MAX, |end| packed_size_bytes(end, bits));
    if !(1..=8).contains(&bits) || packed.len() < needed_size_bytes {
        return Err(Error::input(format!(
            "packed codes: expected {needed_size_bytes} bytes for {} codes of {bits} bits from \
             {start}, found {}",
            out.len(),
            packed.len()
        )));
    }
    let head = (start.next_multiple_of(UNIT) - start).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    for (i, code) in first.iter_mut().enumerate() {
        *code = code_at(packed, bits, start + i);
    }
    let bytes = &packed[((start + head) / UNIT * usize::from(bits)).min(packed.len())..];
    match bits {
        1 => unpack_wide::<1>(bytes, rest),
        2 => unpack_wide::<2>(bytes, rest),
        3 => unpack_wide::<3>(bytes, rest),
        4 => unpack_wide::<4>(bytes, rest),
        5 => unpack_wide::<5>(bytes, rest),
        6 => unpack_wide::<6>(bytes, rest),
        7 => unpack_wide::<7>(bytes, rest),
        _ => rest.copy_from_slice(&bytes[..rest.len()]),
    }
    Ok(())
}

/// The `BITS` bytes of one unit as a word.
#[inline(always)]
pub(super) fn word_of<const BITS: usize>(bytes: &[u8; BITS]) -> u64 {
    let mut word = [0; 8];
    word[..BITS].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

fn unpack_wide<const BITS: usize>(bytes: &[u8], out: &mut [u8]) {
    let mask = (1u64 << BITS) - 1;
    let (units, rest) = out.as_chunks_mut::<UNIT>();
    let tail_start = units.len() * BITS;
    for (unit, bytes) in units.iter_mut().zip(bytes.as_chunks::<BITS>().0) {
        let word = word_of(bytes);
        for (i, code) in unit.iter_mut().enumerate() {
            *code = ((word >> (i * BITS)) & mask) as u8;
        }
    }
    for (i, code) in rest.iter_mut().enumerate() {
        *code = code_at(&bytes[tail_start..], BITS as u8, i);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_are_those_of_the_core_ml_weight_file() {
        assert_eq!(pack(&[1, 2, 3, 0], 2), [0x39]);
        assert_eq!(pack(&[1, 2], 4), [0x21]);
        assert_eq!(pack(&[1, 2, 3], 3)[0], 0b1101_0001);
        assert_eq!(pack(&[1, 2], 6)[0], 0b1000_0001);
        assert_eq!(pack(&[1, 0, 1, 1, 0, 0, 0, 0, 1], 1), [0b1101, 1]);
    }

    proptest! {
        #[test]
        fn packing_round_trips_from_any_start(
            bits in prop::sample::select(vec![1u8, 2, 3, 4, 6, 8]),
            raw in prop::collection::vec(any::<u8>(), 0..200),
            start in 0usize..40,
        ) {
            let codes: Vec<u8> = raw.iter().map(|code| (u16::from(*code) & ((1 << bits) - 1)) as u8).collect();
            let packed = pack(&codes, bits);
            prop_assert_eq!(packed.len(), (codes.len() * usize::from(bits)).div_ceil(8));
            let start = start.min(codes.len());
            let mut out = vec![0; codes.len() - start];
            unpack(&packed, bits, start, &mut out).unwrap();
            prop_assert_eq!(&out, &codes[start..]);
            for (i, code) in codes.iter().enumerate() {
                prop_assert_eq!(code_at(&packed, bits, i), *code);
            }
        }
    }

    #[test]
    fn codes_that_are_not_there_are_refused() {
        let mut out = [0; 9];
        assert!(unpack(&[0], 1, 0, &mut out).is_err());
        assert!(unpack(&[0, 0], 1, 8, &mut out).is_err());
        assert!(unpack(&[0, 0], 1, usize::MAX, &mut out).is_err());
        assert!(unpack(&[0, 0], 0, 0, &mut out).is_err());
        assert!(unpack(&[0, 0], 1, 0, &mut out).is_ok());
    }
}
