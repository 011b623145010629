//! The stored bytes of a tensor, decoded to f32 by rows in the order of Hugging Face's files, or compared
//! with those of another tensor.

use std::ops::Range;

use super::bytes::FileBytes;
use super::dtype::Dtype;
use super::mxfp4;
use super::stored::{RowOrder, StoredTensor};
use crate::error::{At, Error, Result};

/// Weights per parallel task: enough to hide the scheduling, few enough to balance the load.
pub const TASK_WEIGHTS: usize = 1 << 16;

/// Rows and columns in the sense of [`RowOrder`]. A vector that is every `step`-th element of a
/// longer one has a row per element; any other vector is one row.
pub fn lines(stored: &StoredTensor) -> [usize; 2] {
    match (stored.rows, &stored.shape[..]) {
        (order, &[len]) if order.is_of_elements() => [len, 1],
        _ => stored.matrix(),
    }
}

/// The first row in which two matrices of one shape differ; `None` if all weights are equal. Matrices of
/// the same bytes are equal without decoding; otherwise values are compared, whatever their types.
///
/// # Errors
/// Input errors of the stored types.
pub fn first_difference(
    files: &[FileBytes],
    one: &StoredTensor,
    other: &StoredTensor,
) -> Result<Option<usize>> {
    let place = |stored: &StoredTensor| format!("tensor {}", stored.name);
    let a = TensorBytes::new(files, one).at(|| place(one))?;
    let b = TensorBytes::new(files, other).at(|| place(other))?;
    let is_same_form = (one.dtype, one.rows) == (other.dtype, other.rows);
    if is_same_form && a.bytes == b.bytes && a.scales == b.scales {
        return Ok(None);
    }
    let [rows, columns] = lines(one);
    let step = (TASK_WEIGHTS / columns.max(1)).max(1);
    let mut pieces = [Vec::new(), Vec::new()];
    for first in (0..rows).step_by(step) {
        let len = step.min(rows - first) * columns;
        for ((source, stored), piece) in [(&a, one), (&b, other)].into_iter().zip(&mut pieces) {
            piece.resize(len, 0.0f32);
            source.decode(stored, first, rows, piece).at(|| place(stored))?;
        }
        let [a, b] = &pieces;
        if let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) {
            return Ok(Some(first + at / columns.max(1)));
        }
    }
    Ok(None)
}

/// The stored bytes of one tensor, and of its scales if they are stored separately.
pub struct TensorBytes<'a> {
    bytes: &'a [u8],
    scales: &'a [u8],
    /// What multiplies all weights.
    factor: Option<f32>,
    row_bytes: usize,
}

impl<'a> TensorBytes<'a> {
    /// The bytes of `stored` in its file.
    ///
    /// # Errors
    /// An input error if its rows are not whole blocks of its type.
    pub fn new(files: &'a [FileBytes], stored: &StoredTensor) -> Result<Self> {
        let [_, columns] = lines(stored);
        let row_bytes = stored.dtype.row_bytes(columns).ok_or_else(|| {
            let dtype = stored.dtype.name();
            Error::input(format!(
                "rows of {columns} weights do not consist of whole {dtype} blocks"
            ))
        })?;
        let bytes = &files[stored.file][stored.range.clone()];
        let scales = stored.scales.as_ref().map_or(&[][..], |s| &files[s.file][s.range.clone()]);
        let factor = match (stored.dtype, scales) {
            (Dtype::Mxfp4, _) | (_, []) => None,
            (_, &[a, b, c, d]) => Some(f32::from_le_bytes([a, b, c, d])),
            (_, other) => {
                return Err(Error::bug(format!("{} bytes for one factor", other.len())));
            }
        };
        Ok(TensorBytes { bytes, scales, factor, row_bytes })
    }

    /// Fails (bug) if the bytes are not those of the tensor, or the rows not among its rows.
    pub fn check(&self, stored: &StoredTensor, rows: &Range<usize>) -> Result<()> {
        let [all_rows, _] = lines(stored);
        let stored_rows = stored.rows.stored_rows(all_rows);
        if self.row_bytes * stored_rows == self.bytes.len() && rows.end <= all_rows {
            return Ok(());
        }
        let (row_bytes, found) = (self.row_bytes, self.bytes.len());
        Err(Error::bug(format!(
            "cannot read rows {rows:?} of {all_rows} rows of {row_bytes} bytes each from {found} bytes"
        )))
    }

    /// Decodes consecutive logical rows from `first` on: in one call if the file's order is plain,
    /// else row by row.
    ///
    /// # Errors
    /// Those of the stored type.
    pub fn decode(
        &self,
        stored: &StoredTensor,
        first: usize,
        all_rows: usize,
        out: &mut [f32],
    ) -> Result<()> {
        self.decode_stored(stored, first, all_rows, out)?;
        if let Some(factor) = self.factor {
            out.iter_mut().for_each(|weight| *weight *= factor);
        }
        Ok(())
    }

    /// As [`TensorBytes::decode`], without the factor of the tensor.
    fn decode_stored(
        &self,
        stored: &StoredTensor,
        first: usize,
        all_rows: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let [_, columns] = lines(stored);
        let count = out.len() / columns.max(1);
        let row_bytes = self.row_bytes;
        match stored.rows {
            RowOrder::Plain if stored.dtype != Dtype::Mxfp4 => {
                let bytes = &self.bytes[first * row_bytes..(first + count) * row_bytes];
                stored.dtype.decode(bytes, out)
            }
            RowOrder::Transposed { step, first: offset, width } => {
                self.decode_columns(stored.dtype, first * step + offset, step, width, out)
            }
            order => (first..).zip(out.chunks_exact_mut(columns)).try_for_each(|(logical, row)| {
                let place = order.place(logical, all_rows);
                let bytes = &self.bytes[place * row_bytes..(place + 1) * row_bytes];
                if stored.dtype != Dtype::Mxfp4 {
                    return stored.dtype.decode(bytes, row);
                }
                let per_row = columns / mxfp4::BLOCK_WEIGHTS;
                let scales = &self.scales[place * per_row..(place + 1) * per_row];
                mxfp4::decode_row(bytes, scales, row).at(|| format!("row {place}"))
            }),
        }
    }

    /// Decodes rows that are columns of the stored matrix `[columns, width]`.
    fn decode_columns(
        &self,
        dtype: Dtype,
        first: usize,
        step: usize,
        width: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let Some(width_bytes) = dtype.row_bytes(width) else { return Ok(()) };
        let columns = self.bytes.len() / width_bytes.max(1);
        // Decode only the wanted columns of each stored row; other tasks decode the others.
        let weight_bytes = width_bytes / width.max(1);
        let mut line = vec![0.0; (out.len() / columns.max(1) * step).min(width - first)];
        let wanted = first * weight_bytes..(first + line.len()) * weight_bytes;
        for (column, bytes) in self.bytes.chunks_exact(width_bytes).enumerate() {
            dtype.decode(&bytes[wanted.clone()], &mut line)?;
            let taken = line.iter().step_by(step);
            out.iter_mut().skip(column).step_by(columns).zip(taken).for_each(|(o, v)| *o = *v);
        }
        Ok(())
    }
}
