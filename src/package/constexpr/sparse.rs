//! Weights most of which are zero: a mask with one bit per weight, and the values of the others.

use std::sync::Arc;

use super::{Form, PackedWeight, SparseWeight};
use crate::error::{Error, Result};
use crate::package::blob::read::SharedBytes;
use crate::package::read::literal::LiteralTensor;
use crate::package::spec::DataType;

/// The number of ones is counted every 512 elements, so that reading can start anywhere.
const STEP: usize = 512;

/// Which elements of a weight are stored: one bit per element, 1 if it is.
#[derive(Debug, Clone)]
pub(super) struct StoredMask {
    bits: SharedBytes,
    /// The number of ones before each multiple of `STEP` elements.
    before: Arc<[usize]>,
}

impl StoredMask {
    /// The mask of `len` elements, `values` of which are stored; the first is the lowest bit of
    /// `bits`. Returns an input error if the number of ones is another.
    pub fn new(bits: SharedBytes, len: usize, values: usize) -> Result<Self> {
        let mut before = Vec::with_capacity(bits.len() / (STEP / 8) + 1);
        let mut ones = 0;
        for bytes in bits.chunks(STEP / 8) {
            before.push(ones);
            ones += bytes.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
        }
        if bits.len() != len.div_ceil(8) || ones != values {
            return Err(Error::input(format!(
                "a mask of {len} elements with {ones} ones does not fit {values} values"
            )));
        }
        Ok(StoredMask { bits, before: before.into() })
    }

    /// Writes the elements from `start` on to `out`; `fill_stored` writes the stored elements from an
    /// index on.
    pub fn fill(&self, start: usize, out: &mut [f32], fill_stored: impl FnOnce(usize, &mut [f32])) {
        let is_one = |at: usize| self.bits[at / 8] >> (at % 8) & 1 == 1;
        let step = start / STEP;
        let known = self.before.get(step).copied().unwrap_or(0);
        let first = known + (step * STEP..start).filter(|at| is_one(*at)).count();
        let ones = (start..start + out.len()).filter(|at| is_one(*at)).count();
        let mut values = vec![0.0; ones];
        fill_stored(first, &mut values);
        let mut values = values.into_iter();
        for (i, out) in out.iter_mut().enumerate() {
            *out = if is_one(start + i) { values.next().unwrap_or(0.0) } else { 0.0 };
        }
    }

    /// The size of the mask in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bits.len()
    }
}

/// The weight whose elements `mask` marks as `values`, in order; the others are zero. Returns an input error
/// if these do not fit together.
pub(super) fn sparse(mask: &LiteralTensor, values: PackedWeight) -> Result<PackedWeight> {
    if mask.data_type != DataType::Uint1 {
        return Err(Error::input(format!(
            "expected a mask of type Uint1, found {:?}",
            mask.data_type
        )));
    }
    values.check_depth()?;
    let (shape, data_type) = (mask.shape.clone(), values.data_type);
    let mask = StoredMask::new(mask.bytes.clone(), shape.iter().product(), values.elements())?;
    let sparse = SparseWeight { mask, stored: Box::new(values) };
    Ok(PackedWeight::of(shape, data_type, Form::Sparse(sparse)))
}
