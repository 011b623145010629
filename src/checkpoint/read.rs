//! Reading weights: stored bytes to f32, in parallel, refusing what is not a number.

use std::ops::Range;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::{Checkpoint, FileBytes, RowOrder, Stored, TensorId, gguf};
use crate::error::{At, Error, Result};

/// Weights per parallel task: large enough to hide the scheduling, small enough to balance.
const TASK_WEIGHTS: usize = 1 << 16;

impl Checkpoint {
    /// Decodes a whole tensor, row-major.
    ///
    /// # Errors
    /// Input errors for weights that are not finite, naming the tensor and counting them.
    pub fn read(&self, id: TensorId) -> Result<Vec<f32>> {
        let [rows, _] = self.stored(id)?.matrix();
        self.read_rows(id, 0..rows)
    }

    /// Decodes the rows `rows` of a matrix, row-major `[rows, in]`.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn read_rows(&self, id: TensorId, rows: Range<usize>) -> Result<Vec<f32>> {
        let stored = self.stored(id)?;
        let file = &self.files[stored.file];
        self.reads.fetch_add(1, Ordering::Relaxed);
        decode_rows(file, stored, rows)
            .at(|| format!("tensor {}", stored.name))
            .at(|| file.path.display().to_string())
    }

    /// How many tensors, or slices of tensors, were decoded so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Refuses a checkpoint that was changed in place since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(FileBytes::check_unchanged)
    }

    /// A hash of the configuration and every stored tensor: what makes a model this model.
    pub fn content_hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?}", self.config).as_bytes());
        for (id, stored) in self.tensors() {
            let bytes = &self.files[stored.file][stored.range.clone()];
            let header =
                format!("{} {:?} {:?} {:?}", id.name(), stored.shape, stored.dtype, stored.rows);
            hasher.update(header.as_bytes());
            hasher.update_rayon(bytes);
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn decode_rows(file: &FileBytes, stored: &Stored, rows: Range<usize>) -> Result<Vec<f32>> {
    let [all_rows, columns] = stored.matrix();
    let row_bytes = stored.dtype.row_bytes(columns).ok_or_else(|| {
        Error::input(format!(
            "rows of {columns} weights are not whole {} blocks",
            stored.dtype.name()
        ))
    })?;
    let bytes = &file[stored.range.clone()];
    if row_bytes * all_rows != bytes.len() || rows.end > all_rows {
        let found = bytes.len();
        return Err(Error::bug(format!(
            "rows {rows:?} of {all_rows} x {row_bytes} bytes, found {found}"
        )));
    }
    let mut out = vec![0.0f32; rows.len() * columns];
    let task_rows = (TASK_WEIGHTS / columns.max(1)).max(1);
    let finite = out.par_chunks_mut(task_rows * columns).enumerate().try_fold(
        || 0u64,
        |bad, (task, chunk)| {
            let first = rows.start + task * task_rows;
            decode_chunk(stored, bytes, row_bytes, first, chunk)?;
            Ok::<u64, Error>(bad + chunk.iter().filter(|w| !w.is_finite()).count() as u64)
        },
    );
    let not_finite = finite.try_reduce(|| 0, |a, b| Ok(a + b))?;
    if not_finite > 0 {
        return Err(explain_not_finite(&out, columns, rows.start, not_finite));
    }
    Ok(out)
}

/// Decodes consecutive logical rows from `first` on; one call where the file's order is plain.
fn decode_chunk(
    stored: &Stored,
    bytes: &[u8],
    row_bytes: usize,
    first: usize,
    out: &mut [f32],
) -> Result<()> {
    let [all_rows, columns] = stored.matrix();
    let count = out.len() / columns.max(1);
    if stored.rows == RowOrder::Plain {
        return stored.dtype.decode(&bytes[first * row_bytes..(first + count) * row_bytes], out);
    }
    for (logical, row) in (first..).zip(out.chunks_exact_mut(columns)) {
        let start = gguf::unpermute_row(stored.rows, logical, all_rows) * row_bytes;
        stored.dtype.decode(&bytes[start..start + row_bytes], row)?;
    }
    Ok(())
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
    .hint("the checkpoint is damaged or its training diverged; it cannot be scored")
}
