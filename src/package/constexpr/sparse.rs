//! Weights most of which are zero: one bit each, and the values of those that are not.

use super::PackedWeight;
use crate::error::{Error, Result};
use crate::package::blob::read::Span;

/// Elements between two counts of the ones before them.
const STEP: usize = 512;

/// A mask and the values of its ones, in order.
#[derive(Debug, Clone)]
pub(super) struct Sparse {
    mask: Span,
    values: Box<PackedWeight>,
    /// Ones before each multiple of `STEP` elements.
    before: Vec<usize>,
}

impl Sparse {
    /// The `len` elements of `mask`, one bit each from the lowest. Fails (input) where the mask
    /// has another number of ones than there are values.
    pub fn new(mask: Span, len: usize, values: PackedWeight) -> Result<Self> {
        let mut before = Vec::with_capacity(mask.len() / (STEP / 8) + 1);
        let mut ones = 0;
        for bytes in mask.chunks(STEP / 8) {
            before.push(ones);
            ones += bytes.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        }
        if mask.len() != len.div_ceil(8) || ones != values.len() {
            return Err(Error::input(format!(
                "a mask of {len} elements with {ones} ones, but {} values",
                values.len()
            )));
        }
        Ok(Sparse { mask, values: Box::new(values), before })
    }

    /// The elements from `start` on.
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

    /// Bytes of mask and values.
    pub fn size_bytes(&self) -> usize {
        self.mask.len() + self.values.size_bytes()
    }
}
