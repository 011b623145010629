//! Embedding and head: the two matrices with a row per token, read in slices of rows.
//!
//! They are the largest tensors of a small model, so they are never decoded as a whole: each slice is
//! read once, coded and decoded for every recipe in use, and dropped. A recipe whose tables span more
//! than a slice is coded in one piece, which stays in memory in its coded form.
//!
//! The ends of slices affect the last bits of a score, so slices are the same for every recipe.

use std::ops::Range;
use std::sync::Arc;

use super::coded_file::CodedFile;
use super::lane::Cause;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{At, Result};
use crate::quantize::{CodedTensor, Recipe, quantize};

/// Rows per slice: enough for the product with the hidden states to run at full speed.
pub const SLICE_ROWS: usize = 4096;

/// Whether a table of `recipe` spans more than a slice of a matrix of this shape, or ends inside one.
pub fn is_coded_whole(recipe: &Recipe, shape: [usize; 2]) -> bool {
    recipe.row_unit(shape).is_none_or(|unit| !SLICE_ROWS.is_multiple_of(unit))
}

/// Where one variant's weights of the matrix come from.
#[derive(Debug, Clone)]
pub struct Source {
    /// The recipe.
    pub recipe: Recipe,
    /// The file that has the codes, and the tensor's name there; `None` if they are computed.
    pub file: Option<(Arc<CodedFile>, String)>,
}

impl PartialEq for Source {
    fn eq(&self, other: &Self) -> bool {
        let same_file = match (&self.file, &other.file) {
            (None, None) => true,
            (Some((a, a_name)), Some((b, b_name))) => Arc::ptr_eq(a, b) && a_name == b_name,
            _ => false,
        };
        same_file && self.recipe == other.recipe
    }
}

/// The distinct sources in order, and for every source its index among them.
pub fn distinct(sources: impl Iterator<Item = Source>) -> (Vec<Source>, Vec<usize>) {
    let (mut found, mut own) = (Vec::new(), Vec::new());
    for source in sources {
        own.push(found.iter().position(|f| *f == source).unwrap_or(found.len()));
        if !found.contains(&source) {
            found.push(source);
        }
    }
    (found, own)
}

/// The matrix under one recipe.
struct Coding {
    recipe: Recipe,
    /// The whole coded matrix, if the recipe's tables span all rows or if it comes from a file.
    whole: Option<CodedTensor>,
    failure: Option<Cause>,
    hasher: blake3::Hasher,
}

/// A vocabulary matrix under every recipe that a walk needs.
pub struct Vocabulary<'a> {
    checkpoint: &'a Checkpoint,
    id: TensorId,
    shape: [usize; 2],
    codings: Vec<Coding>,
}

impl<'a> Vocabulary<'a> {
    /// Prepares the tensor `id` for distinct `sources`, the reference among them.
    ///
    /// # Errors
    /// Input errors of the checkpoint. A recipe that cannot code this tensor fails without affecting the
    /// others.
    pub fn new(checkpoint: &'a Checkpoint, id: TensorId, sources: &[Source]) -> Result<Self> {
        let shape = checkpoint.stored(id)?.matrix();
        let codes_whole =
            |source: &Source| source.file.is_none() && is_coded_whole(&source.recipe, shape);
        let weights =
            if sources.iter().any(codes_whole) { checkpoint.read(id)? } else { Vec::new() };
        let mut codings = Vec::with_capacity(sources.len());
        for source in sources {
            let Source { recipe, file } = source;
            let whole = match file {
                Some((file, name)) => file.tensor(name, *recipe, shape).map(Some),
                None if codes_whole(source) => {
                    quantize(recipe, &weights, shape, None).at(|| id.name())
                }
                None => Ok(None),
            };
            let (whole, failure) = match whole {
                Ok(whole) => (whole, None),
                Err(error) => (None, Some(Cause::of(error)?)),
            };
            let (recipe, hasher) = (recipe.resolved(shape), blake3::Hasher::new());
            codings.push(Coding { recipe, whole, failure, hasher });
        }
        Ok(Vocabulary { checkpoint, id, shape, codings })
    }

    /// Ranges of rows that cover the matrix.
    pub fn slices(&self) -> Vec<Range<usize>> {
        let rows = self.shape[0];
        let starts = (0..rows).step_by(SLICE_ROWS);
        starts.map(|start| start..(start + SLICE_ROWS).min(rows)).collect()
    }

    /// Reads the rows `rows` once and decodes them under every recipe: row-major `[rows, hidden]`
    /// in the order of the recipes, `None` for a recipe that failed.
    ///
    /// # Errors
    /// Input errors of the checkpoint.
    pub fn decode(&mut self, rows: Range<usize>) -> Result<Vec<Option<Vec<f32>>>> {
        let stored = self.checkpoint.read_rows(self.id, rows.clone())?;
        let (id, columns) = (self.id, self.shape[1]);
        let mut decoded = Vec::with_capacity(self.codings.len());
        for coding in &mut self.codings {
            let values = coding.decode(&stored, rows.clone(), columns).at(|| id.name());
            decoded.push(coding.keep(values)?);
        }
        Ok(decoded)
    }

    /// The hash of everything decoded so far under one recipe: the same for the same codes,
    /// however the rows were sliced.
    pub fn hash(&self, coding: usize) -> blake3::Hash {
        self.codings[coding].hasher.finalize()
    }

    /// Why a recipe failed, if it did.
    pub fn failure(&self, coding: usize) -> Option<&Cause> {
        self.codings[coding].failure.as_ref()
    }
}

impl Coding {
    fn decode(
        &self,
        stored: &[f32],
        rows: Range<usize>,
        columns: usize,
    ) -> Result<Option<Vec<f32>>> {
        if self.failure.is_some() {
            return Ok(None);
        }
        if let Some(whole) = &self.whole {
            let mut values = vec![0.0; stored.len()];
            whole.decode_rows(rows, &mut values)?;
            return Ok(Some(values));
        }
        let coded = quantize(&self.recipe, stored, [rows.len(), columns], None)?;
        Ok(Some(coded.map_or_else(|| stored.to_vec(), |coded| coded.decode())))
    }

    fn keep(&mut self, decoded: Result<Option<Vec<f32>>>) -> Result<Option<Vec<f32>>> {
        match decoded {
            Ok(values) => {
                if let Some(values) = &values {
                    self.hasher.update_rayon(bytemuck::cast_slice(values));
                }
                Ok(values)
            }
            Err(error) => {
                self.failure = Some(Cause::of(error)?);
                Ok(None)
            }
        }
    }
}
