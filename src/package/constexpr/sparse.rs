//! Weights most of which are zero: a mask with one bit per weight, and the values of the others.

use super::PackedWeight;
use crate::error::{Error, Result};
use crate::package::blob::read::SharedBytes;

/// The number of ones is counted every 512 elements, so that reading can start anywhere.
const STEP: usize = 512;

/// A mask, and the values where it is 1, in order.
#[derive(Debug, Clone)]
pub(super) struct SparseWeight {
    mask: SharedBytes,
    values: Box<PackedWeight>,
    /// The number of ones before each multiple of `STEP` elements.
    before: Vec<usize>,
}

impl SparseWeight {
    /// A weight of `len` elements; the first is the lowest bit of `mask`. Returns an input error if
    /// the number of ones in the mask is not the number of values.
    pub fn new(mask: SharedBytes, len: usize, values: PackedWeight) -> Result<Self> {
        let mut before = Vec::with_capacity(mask.len() / (STEP / 8) + 1);
        let mut ones = 0;
        for bytes in mask.chunks(STEP / 8) {
            before.push(ones);
            ones += bytes.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        }
        if mask.len() != len.div_ceil(8) || ones != values.elements() {
            return Err(Error::input(format!(
                "a mask of {len} elements with {ones} ones does not fit {} values",
                values.elements()
            )));
        }
        Ok(SparseWeight { mask, values: Box::new(values), before })
    }

    /// Writes the elements from `start` on to `out`.
    pub fn fill(&self, start: usize, out: &mut [f32]) {
        let is_one = |at: usize| self.mask[at / 8] >> (at % 8) & 1 == 1;
        let step = start / STEP;
        let known = self.before.get(step).copied().unwrap_or(0);
        let first = known + (step * STEP..start).filter(|at| is_one(*at)).count();
        let ones = (start..start + out.len()).filter(|at| is_one(*at)).count();
        let mut values = vec![0.0; ones];
        self.values.fill(first, &mut values);
        let mut values = values.into_iter();
        for (i, out) in out.iter_mut().enumerate() {
            *out = if is_one(start + i) { values.next().unwrap_or(0.0) } else { 0.0 };
        }
    }

    /// The bytes that mask and values take.
    pub fn size_bytes(&self) -> usize {
        self.mask.len() + self.values.size_bytes()
    }
}
