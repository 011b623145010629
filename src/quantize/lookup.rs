//! Looks up packed codes in a table of f32: the inner loop of decoding palettes and vectors.

use super::bitpack::{UNIT, code_at, word_of};

/// A table for codes of up to 8 bits. Entries past the recipe's own are zero and never used.
pub(super) type Table = [f32; 256];

/// `out[i] = table[code(start + i)]`.
pub(super) fn look_up(codes: &[u8], bits: u8, start: usize, table: &Table, out: &mut [f32]) {
    let head = (start.next_multiple_of(UNIT) - start).min(out.len());
    let (first, rest) = out.split_at_mut(head);
    for (i, value) in first.iter_mut().enumerate() {
        *value = table[usize::from(code_at(codes, bits, start + i))];
    }
    let codes = &codes[(start + head) / UNIT * usize::from(bits)..];
    match bits {
        1 => pulp::Arch::new().dispatch(|| look_up_bits(codes, table, rest)),
        2 => look_up_units::<2>(codes, table, rest),
        3 => look_up_units::<3>(codes, table, rest),
        4 => look_up_units::<4>(codes, table, rest),
        6 => look_up_units::<6>(codes, table, rest),
        _ => look_up_units::<8>(codes, table, rest),
    }
}

#[inline(always)]
fn look_up_units<const BITS: usize>(codes: &[u8], table: &Table, out: &mut [f32]) {
    let mask = (1u64 << BITS) - 1;
    let (units, rest) = out.as_chunks_mut::<UNIT>();
    let tail_start = units.len() * BITS;
    for (unit, bytes) in units.iter_mut().zip(codes.as_chunks::<BITS>().0) {
        let word = word_of(bytes);
        for (i, value) in unit.iter_mut().enumerate() {
            *value = table[usize::from(((word >> (i * BITS)) & mask) as u8)];
        }
    }
    for (i, value) in rest.iter_mut().enumerate() {
        *value = table[usize::from(code_at(&codes[tail_start..], BITS as u8, i))];
    }
}

/// [`look_up_units`] for codes of one bit, as a choice between two values, which vectorises.
#[inline(always)]
fn look_up_bits(codes: &[u8], table: &Table, out: &mut [f32]) {
    let (low, high) = (table[0], table[1]);
    let (units, rest) = out.as_chunks_mut::<UNIT>();
    let tail_start = units.len();
    for (unit, byte) in units.iter_mut().zip(codes) {
        for (i, value) in unit.iter_mut().enumerate() {
            *value = if u32::from(*byte) & (1 << i) != 0 { high } else { low };
        }
    }
    for (i, value) in rest.iter_mut().enumerate() {
        *value = table[usize::from(code_at(&codes[tail_start..], 1, i))];
    }
}
