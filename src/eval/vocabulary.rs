//! Embedding and head: the two matrices with a row per token, read in slices of rows.
//!
//! They are the largest tensors of a small model, so they are never decoded whole: a slice is
//! read once, coded and decoded for every recipe in use, and dropped. Only recipes whose tables
//! span the whole tensor force it to be coded in one piece, which then stays in its coded form.

use std::ops::Range;

use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{At, Error, Result};
use crate::quantize::{CodedTensor, Recipe, quantize};

/// Rows per slice: large enough for the product with the hidden states to run at full speed.
pub const SLICE_ROWS: usize = 4096;

/// One way in which the matrix is used.
struct Coding {
    recipe: Recipe,
    /// Present where the recipe's tables span all rows.
    whole: Option<CodedTensor>,
    failure: Option<Error>,
    hasher: blake3::Hasher,
}

/// A vocabulary matrix under every recipe that a walk needs.
pub struct Vocabulary<'a> {
    checkpoint: &'a Checkpoint,
    id: TensorId,
    shape: [usize; 2],
    slice_rows: usize,
    codings: Vec<Coding>,
}

impl<'a> Vocabulary<'a> {
    /// Prepares the tensor `id`; `codings` are the distinct recipes, the reference among them.
    ///
    /// # Errors
    /// Input errors of the checkpoint. A recipe that cannot code this tensor fails by itself.
    pub fn new(checkpoint: &'a Checkpoint, id: TensorId, recipes: &[Recipe]) -> Result<Self> {
        let shape = checkpoint.stored(id)?.matrix();
        let units: Vec<usize> =
            recipes.iter().filter_map(|recipe| recipe.row_unit(shape)).collect();
        let unit = units.into_iter().fold(1, least_common_multiple);
        let slice_rows = (SLICE_ROWS / unit).max(1) * unit;
        let mut codings = Vec::with_capacity(recipes.len());
        for &recipe in recipes {
            let (mut whole, mut failure) = (None, None);
            if recipe.row_unit(shape).is_none() {
                match quantize(&recipe, &checkpoint.read(id)?, shape, None) {
                    Ok(coded) => whole = coded,
                    Err(error) => failure = Some(error.at(id.name())),
                }
            }
            let (recipe, hasher) = (recipe.resolved(shape), blake3::Hasher::new());
            codings.push(Coding { recipe, whole, failure, hasher });
        }
        Ok(Vocabulary { checkpoint, id, shape, slice_rows, codings })
    }

    /// Ranges of rows that cover the matrix.
    pub fn slices(&self) -> Vec<Range<usize>> {
        let rows = self.shape[0];
        let starts = (0..rows).step_by(self.slice_rows);
        starts.map(|start| start..(start + self.slice_rows).min(rows)).collect()
    }

    /// Reads the rows `rows` once and decodes them under every recipe: row-major `[rows, hidden]`
    /// in the order the recipes were given, nothing for one that failed.
    ///
    /// # Errors
    /// Input errors of the checkpoint.
    pub fn decode(&mut self, rows: Range<usize>) -> Result<Vec<Option<Vec<f32>>>> {
        let stored = self.checkpoint.read_rows(self.id, rows.clone())?;
        let (id, columns) = (self.id, self.shape[1]);
        let mut decoded = Vec::with_capacity(self.codings.len());
        for coding in &mut self.codings {
            let values = coding.decode(&stored, rows.clone(), columns).at(|| id.name());
            decoded.push(coding.keep(values));
        }
        Ok(decoded)
    }

    /// The hash of everything decoded so far under one recipe: the same for the same codes,
    /// however the rows were sliced.
    pub fn hash(&self, coding: usize) -> blake3::Hash {
        self.codings[coding].hasher.finalize()
    }

    /// Why a recipe failed, if it did.
    pub fn failure(&self, coding: usize) -> Option<&Error> {
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

    fn keep(&mut self, decoded: Result<Option<Vec<f32>>>) -> Option<Vec<f32>> {
        match decoded {
            Ok(values) => {
                if let Some(values) = &values {
                    self.hasher.update_rayon(bytemuck::cast_slice(values));
                }
                values
            }
            Err(error) => {
                self.failure = Some(error);
                None
            }
        }
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}
