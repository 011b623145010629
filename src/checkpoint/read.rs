//! Reads weights: decodes stored bytes to f32, in parallel, and refuses weights that are not
//! finite.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use super::bytes::FileBytes;
use super::names::TensorId;
use super::open::Checkpoint;
use super::stored::{FileRange, StoredTensor};
use super::tensor_bytes::{TASK_WEIGHTS, TensorBytes, lines};
use crate::error::{At, Error, Result};

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
        hasher.update(super::identity::text(&self.config).as_bytes());
        // Tensors from the same packed tensor share its bytes, which are hashed once.
        let mut hashed = HashSet::new();
        for (id, stored) in self.tensors() {
            let header = format!(
                "{} {:?} {:?} {}",
                id.name(),
                stored.shape,
                stored.dtype,
                stored.rows.text()
            );
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
            if stored.minus_one {
                chunk.iter_mut().for_each(|value| *value += 1.0);
            }
            Ok::<u64, Error>(bad + chunk.iter().filter(|w| !w.is_finite()).count() as u64)
        },
    );
    let not_finite = finite.try_reduce(|| 0, |a, b| Ok(a + b))?;
    if not_finite > 0 {
        return Err(explain_not_finite(&out, columns, rows.start, not_finite));
    }
    Ok(out)
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
