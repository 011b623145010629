//! Which weights of a pruned tensor are stored: one bit each.

use std::ops::Range;

use rayon::prelude::*;

use super::bitpack::{code_at, pack, packed_size_bytes};
use crate::error::{Error, Result};

/// One count of ones is kept for this number of weights.
const STEP: usize = 512;
/// Bytes of `STEP` weights.
const STEP_BYTES: usize = STEP / 8;

/// A bit per weight, row-major, from the lowest bit of byte 0: 1 if the weight is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask {
    bytes: Vec<u8>,
    len: usize,
    /// The number of ones before each multiple of `STEP` weights, and before the end.
    before: Vec<usize>,
}

impl Mask {
    /// The mask of `len` weights in `bytes`. Fails (input) if the number of bytes is wrong or bits
    /// past the last weight are set.
    pub(super) fn new(bytes: Vec<u8>, len: usize) -> Result<Self> {
        let expected = packed_size_bytes(len, 1);
        if bytes.len() != expected {
            let found = bytes.len();
            return Err(Error::input(format!("expected {expected} bytes, found {found}")));
        }
        if !len.is_multiple_of(8) && bytes.last().is_some_and(|last| last >> (len % 8) != 0) {
            return Err(Error::input("bits past the last weight are set"));
        }
        let mut before = vec![0];
        let mut ones = 0;
        for bytes in bytes.chunks(STEP_BYTES) {
            ones += count(bytes);
            before.push(ones);
        }
        Ok(Mask { bytes, len, before })
    }

    /// The mask of the weights for which `is_kept` holds; it gets the position and the weight.
    pub(super) fn of(weights: &[f32], is_kept: impl Fn(usize, f32) -> bool + Sync) -> Result<Self> {
        let mut bytes = vec![0u8; packed_size_bytes(weights.len(), 1)];
        let chunks = bytes.par_chunks_mut(STEP_BYTES).zip(weights.par_chunks(STEP)).enumerate();
        chunks.for_each(|(chunk, (bytes, weights))| {
            for (i, weight) in weights.iter().enumerate() {
                bytes[i / 8] |= u8::from(is_kept(chunk * STEP + i, *weight)) << (i % 8);
            }
        });
        Mask::new(bytes, weights.len())
    }

    /// The packed bits, in the order of Core ML's uint1.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The number of weights that are stored.
    pub fn kept(&self) -> usize {
        self.before.last().copied().unwrap_or(0)
    }

    /// The number of weights in `range` that are stored. Positions past the end count as pruned.
    pub fn kept_in(&self, range: Range<usize>) -> usize {
        self.kept_before(range.end).saturating_sub(self.kept_before(range.start))
    }

    /// The number of weights before position `at` that are stored.
    pub(super) fn kept_before(&self, at: usize) -> usize {
        let step = at / STEP;
        let Some(known) = self.before.get(step) else { return self.kept() };
        let (start, end) = (step * STEP_BYTES, (at / 8).min(self.bytes.len()));
        let whole = self.bytes.get(start..end).map_or(0, count);
        let last = self.bytes.get(end).map_or(0, |byte| byte & ((1u8 << (at % 8)) - 1));
        known + whole + last.count_ones() as usize
    }

    /// Whether the weight at `at` is stored.
    #[inline(always)]
    pub(super) fn keeps(&self, at: usize) -> bool {
        self.bytes[at / 8] >> (at % 8) & 1 == 1
    }

    /// The weights, with NaN in place of those that are not stored. NaN takes no part in a table.
    pub(super) fn marked(&self, weights: &[f32]) -> Vec<f32> {
        let mark = |(at, weight): (usize, &f32)| if self.keeps(at) { *weight } else { f32::NAN };
        weights.par_iter().enumerate().map(mark).collect()
    }

    /// The codes of stored weights, packed, from the packed codes of all weights.
    pub(super) fn squeeze(&self, packed: &[u8], bits: u8) -> Vec<u8> {
        let kept = (0..self.len).filter(|at| self.keeps(*at));
        pack(&kept.map(|at| code_at(packed, bits, at)).collect::<Vec<u8>>(), bits)
    }

    /// Fills `out`, the weights from position `start` on: stored weights take the next of `values`,
    /// pruned ones are 0.
    pub(super) fn scatter(&self, start: usize, values: &[f32], out: &mut [f32]) {
        let mut values = values.iter();
        for (i, out) in out.iter_mut().enumerate() {
            let kept = self.keeps(start + i);
            *out = if kept { values.next().copied().unwrap_or(0.0) } else { 0.0 };
        }
    }

    /// The mask of the weights in `range`, which must be within the tensor.
    pub(super) fn slice(&self, range: Range<usize>) -> Result<Mask> {
        let bits: Vec<u8> = range.clone().map(|at| u8::from(self.keeps(at))).collect();
        Mask::new(pack(&bits, 1), range.len())
    }
}

fn count(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| byte.count_ones() as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(len: usize) -> Mask {
        let weights: Vec<f32> = (0..len).map(|i| (i * i % 7) as f32).collect();
        Mask::of(&weights, |_, weight| weight > 1.0).unwrap()
    }

    #[test]
    fn counts_are_those_of_the_bits() {
        let mask = mask(2000);
        let count = |to: usize| (0..to.min(2000)).filter(|at| mask.keeps(*at)).count();
        for at in (0..2000).step_by(13).chain([511, 512, 513, 1024, 1999, 2000, 2001, 9999]) {
            assert_eq!(mask.kept_before(at), count(at), "{at}");
        }
        assert_eq!(mask.kept(), count(2000));
        assert_eq!(mask.kept_in(100..700), count(700) - count(100));
    }

    #[test]
    fn a_slice_keeps_the_weights_of_its_range() {
        let whole = mask(100);
        for range in [0..0, 0..8, 8..100, 13..99, 99..100] {
            let slice = whole.slice(range.clone()).unwrap();
            let kept = |at: usize| slice.keeps(at) == whole.keeps(range.start + at);
            assert!((0..range.len()).all(kept), "{range:?}");
            assert_eq!(slice.kept(), whole.kept_in(range));
        }
    }

    #[test]
    fn squeezed_codes_scatter_to_where_they_were() {
        let mask = mask(29);
        let codes: Vec<u8> = (0..29).map(|i| i % 8).collect();
        let squeezed = mask.squeeze(&pack(&codes, 3), 3);
        let values: Vec<f32> =
            (0..mask.kept()).map(|at| f32::from(code_at(&squeezed, 3, at)) + 1.0).collect();
        let mut out = [f32::NAN; 29];
        mask.scatter(0, &values, &mut out);
        for (at, value) in out.iter().enumerate() {
            let expected = if mask.keeps(at) { f32::from(codes[at]) + 1.0 } else { 0.0 };
            assert_eq!(*value, expected, "{at}");
        }
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        assert!(Mask::new(vec![0xff], 7).is_err());
        assert!(Mask::new(vec![0x7f], 7).is_ok());
        assert!(Mask::new(vec![0xff], 9).is_err());
        assert!(Mask::new(vec![], 0).is_ok());
    }
}
