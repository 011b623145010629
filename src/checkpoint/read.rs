//! Reads weights: decodes stored bytes to f32, in parallel, and refuses weights that are not
//! finite.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::bytes::FileBytes;
use super::dtype::Dtype;
use super::names::TensorId;
use super::open::Checkpoint;
use super::stored::{FileRange, RowOrder, StoredTensor};
use super::{gguf, mxfp4};
use crate::error::{At, Error, Result};

/// Weights per parallel task: enough to hide the scheduling, few enough to balance the load.
const TASK_WEIGHTS: usize = 1 << 16;

impl Checkpoint {
    /// Decodes a whole tensor, row-major.
    ///
    /// # Errors
    /// An input error if weights are not finite, with the tensor's name and their number.
    pub fn read(&self, id: TensorId) -> Result<Vec<f32>> {
        let [rows, _] = lines(self.stored(id)?);
        self.read_rows(id, 0..rows)
    }

    /// Decodes the rows `rows` of a matrix, row-major `[rows, in]`.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_rows(&self, id: TensorId, rows: Range<usize>) -> Result<Vec<f32>> {
        let stored = self.stored(id)?;
        if self.files.is_empty() {
            return Err(Error::bug("cannot read from a checkpoint without weights").at(&self.name));
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        TensorBytes::new(&self.files, stored)
            .and_then(|source| decode_rows(&source, stored, rows))
            .at(|| format!("tensor {}", stored.name))
            .at(|| self.files[stored.file].path.display().to_string())
    }

    /// The number of tensors, or slices of tensors, decoded so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Fails (input) if the checkpoint was changed in place since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(FileBytes::check_unchanged)
    }

    /// A hash of the configuration and of every stored tensor, which identifies the model.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?}", self.config).as_bytes());
        // Tensors from the same packed tensor share its bytes, which are hashed once.
        let mut hashed = HashSet::new();
        for (id, stored) in self.tensors() {
            let header =
                format!("{} {:?} {:?} {:?}", id.name(), stored.shape, stored.dtype, stored.rows);
            hasher.update(header.as_bytes());
            let weights = FileRange { file: stored.file, range: stored.range.clone() };
            for place in std::iter::once(weights).chain(stored.scales.clone()) {
                if hashed.insert(place.clone()) {
                    hasher.update_rayon(&self.files[place.file][place.range]);
                }
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Rows and columns in the sense of [`RowOrder`]. A vector that is every `step`-th element of a
/// longer one has a row per element; any other vector is one row.
fn lines(stored: &StoredTensor) -> [usize; 2] {
    match (stored.rows, &stored.shape[..]) {
        (RowOrder::Every { .. }, &[len]) => [len, 1],
        _ => stored.matrix(),
    }
}

fn decode_rows(
    source: &TensorBytes<'_>,
    stored: &StoredTensor,
    rows: Range<usize>,
) -> Result<Vec<f32>> {
    let [all_rows, columns] = lines(stored);
    source.check(stored, &rows)?;
    let mut out = vec![0.0f32; rows.len() * columns];
    let task_rows = (TASK_WEIGHTS / columns.max(1)).max(1);
    let finite = out.par_chunks_mut((task_rows * columns).max(1)).enumerate().try_fold(
        || 0u64,
        |bad, (task, chunk)| {
            source.decode(stored, rows.start + task * task_rows, all_rows, chunk)?;
            Ok::<u64, Error>(bad + chunk.iter().filter(|w| !w.is_finite()).count() as u64)
        },
    );
    let not_finite = finite.try_reduce(|| 0, |a, b| Ok(a + b))?;
    if not_finite > 0 {
        return Err(explain_not_finite(&out, columns, rows.start, not_finite));
    }
    Ok(out)
}

/// The stored bytes of one tensor, and of its scales if they are stored separately.
struct TensorBytes<'a> {
    bytes: &'a [u8],
    scales: &'a [u8],
    row_bytes: usize,
}

impl<'a> TensorBytes<'a> {
    fn new(files: &'a [FileBytes], stored: &StoredTensor) -> Result<Self> {
        let [_, columns] = lines(stored);
        let row_bytes = stored.dtype.row_bytes(columns).ok_or_else(|| {
            let dtype = stored.dtype.name();
            Error::input(format!(
                "rows of {columns} weights do not consist of whole {dtype} blocks"
            ))
        })?;
        let bytes = &files[stored.file][stored.range.clone()];
        let scales = stored.scales.as_ref().map_or(&[][..], |s| &files[s.file][s.range.clone()]);
        Ok(TensorBytes { bytes, scales, row_bytes })
    }

    fn check(&self, stored: &StoredTensor, rows: &Range<usize>) -> Result<()> {
        let [all_rows, _] = lines(stored);
        let step = match stored.rows {
            RowOrder::Every { step, .. } | RowOrder::Transposed { step, .. } => step,
            RowOrder::Plain | RowOrder::Interleaved { .. } => 1,
        };
        if self.row_bytes * all_rows * step == self.bytes.len() && rows.end <= all_rows {
            return Ok(());
        }
        let (row_bytes, found) = (self.row_bytes, self.bytes.len());
        Err(Error::bug(format!(
            "cannot read rows {rows:?} of {all_rows} rows of {row_bytes} bytes each from {found} bytes"
        )))
    }

    /// Decodes consecutive logical rows from `first` on: in one call if the file's order is plain,
    /// else row by row.
    fn decode(
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
            RowOrder::Transposed { step, first: offset } => {
                self.decode_columns(stored.dtype, first * step + offset, step, all_rows * step, out)
            }
            order => (first..).zip(out.chunks_exact_mut(columns)).try_for_each(|(logical, row)| {
                let place = gguf::unpermute_row(order, logical, all_rows);
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

fn explain_not_finite(weights: &[f32], columns: usize, first_row: usize, count: u64) -> Error {
    let nan = weights.iter().filter(|w| w.is_nan()).count();
    let at = weights.iter().position(|w| !w.is_finite()).unwrap_or(0);
    let (row, column) = (first_row + at / columns.max(1), at % columns.max(1));
    let total = weights.len();
    Error::input(format!(
        "{count} of {total} weights are not finite ({nan} NaN, {} infinite), the first in row {row}, column {column}",
        count - nan as u64
    ))
    .hint("the checkpoint is damaged, or its training diverged; it cannot be scored")
}
