//! Where the weights of a piece are in its weight file.

use std::collections::BTreeMap;
use std::ops::Range;

use half::f16;

use super::design::{Compute, Design, HEAD_ROWS};
use super::piece::{Piece, ropes_of};
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::{Coder, InputScales};
use crate::model::Input;
use crate::package::blob::BlobRef;
use crate::package::mil::BlobTensor;
use crate::package::weights::{StoredWeight, WeightLayout, refuse_recipe};

/// A tensor that is stored as plain fp16 numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HalfVector {
    /// The gain of a norm, a bias, or attention sinks.
    Tensor(TensorId),
    /// The cosines of a rotary embedding, `[context, rotated / 2]`, by its place in the model.
    Cosines(usize),
    /// The sines of a rotary embedding.
    Sines(usize),
    /// The factors on queries that grow with the position, `[context]`.
    QueryGrowth,
    /// Some numbers of a vector, from the first to the end.
    Part(TensorId, usize, usize),
}

/// Places weights in a weight file, or only computes where they would go.
pub trait PlaceWeights {
    /// Places rows of a matrix.
    ///
    /// # Errors
    /// Input errors if the layout cannot express the recipe; errors of reading and writing.
    fn matrix(
        &mut self,
        id: TensorId,
        rows: Range<usize>,
        layout: WeightLayout,
    ) -> Result<StoredWeight>;

    /// Places a vector, which must have `elements` numbers.
    ///
    /// # Errors
    /// Errors of reading and writing.
    fn vector(&mut self, vector: HalfVector, elements: usize) -> Result<BlobRef>;
}

/// Where all weights of a piece are in its weight file.
#[derive(Debug, Default)]
pub struct PlacedWeights {
    matrices: BTreeMap<TensorId, Vec<StoredWeight>>,
    vectors: BTreeMap<HalfVector, BlobRef>,
    scales: InputScales,
}

impl PlacedWeights {
    /// Places the weights of `piece` in the order in which they are used.
    ///
    /// # Errors
    /// As for [`PlaceWeights`].
    pub fn place(
        piece: &Piece,
        coder: &Coder<'_>,
        design: &Design,
        place: &mut dyn PlaceWeights,
    ) -> Result<Self> {
        let config = &coder.checkpoint.config;
        let shares_head = config.tied && !coder.variant.stores_tied_head(coder.checkpoint);
        let scales = coder.scales.cloned().unwrap_or_default();
        let mut weights = PlacedWeights { scales, ..PlacedWeights::default() };
        for id in piece.tensors(config) {
            let is_int8 = Input::of(id.role).is_some_and(|input| coder.variant.has_int8(input));
            if is_int8 && !id.bias && weights.scale(id).is_none() {
                let variant = coder.variant;
                return Err(Error::bug(format!(
                    "{variant}: the scale for the input of {} is missing",
                    id.name()
                )));
            }
        }
        for (table, elements) in tables(piece, config, design) {
            weights.vectors.insert(table, place.vector(table, elements)?);
        }
        for id in piece.tensors(config) {
            match config.shape_of(id)[..] {
                [elements] => {
                    for rows in weights.parts_of(id, elements) {
                        let vector = weights.bias_part(id, &rows);
                        weights.vectors.insert(vector, place.vector(vector, rows.len())?);
                    }
                }
                [_, _] => {
                    let is_shared = id.role == Role::Head && shares_head;
                    let embedding = TensorId::model(Role::Embedding);
                    let shared = weights.matrices.get(&embedding).filter(|_| is_shared).cloned();
                    let placed = match (shared, design.compute) {
                        (Some(shared), Compute::Gpu) => shared,
                        _ => place_rows(id, coder, design, place)?,
                    };
                    weights.matrices.insert(id, placed);
                }
                ref shape => {
                    return Err(Error::bug(format!(
                        "{}: expected rank 1 or 2, found shape {shape:?}",
                        id.name()
                    )));
                }
            }
        }
        Ok(weights)
    }

    /// The parts of a matrix, in the order of its rows.
    pub(super) fn matrix(&self, id: TensorId) -> Result<&[StoredWeight]> {
        let found = self.matrices.get(&id).map(Vec::as_slice);
        found.ok_or_else(|| Error::bug(format!("{} was not placed", id.name())))
    }

    /// The rows of a vector that belong to one part of its matrix each.
    fn parts_of(&self, id: TensorId, elements: usize) -> Vec<Range<usize>> {
        let matrix = self.matrices.get(&TensorId { bias: false, ..id });
        let Some(parts) = matrix.filter(|parts| parts.len() > 1) else {
            return std::iter::once(0..elements).collect();
        };
        let mut first = 0;
        let mut rows = |part: &StoredWeight| {
            let start = first;
            first += part.shape()[0];
            start..first
        };
        parts.iter().map(&mut rows).collect()
    }

    /// The part of a bias that belongs to these rows of its matrix.
    pub(super) fn bias_part(&self, id: TensorId, rows: &Range<usize>) -> HalfVector {
        let matrix = self.matrices.get(&TensorId { bias: false, ..id });
        match matrix.is_some_and(|parts| parts.len() > 1) {
            true => HalfVector::Part(id, rows.start, rows.end),
            false => HalfVector::Tensor(id),
        }
    }

    /// The scale of the input of a matrix, if the input is rounded to int8.
    pub(super) fn scale(&self, id: TensorId) -> Option<f16> {
        self.scales.of(id)
    }

    /// A vector in the shape in which it is used.
    pub(super) fn vector(&self, vector: HalfVector, shape: &[usize]) -> Result<BlobTensor> {
        let found = self.vectors.get(&vector);
        let blob = found.ok_or_else(|| Error::bug(format!("{vector:?} was not placed")))?;
        Ok(BlobTensor::new(*blob, shape))
    }
}

/// Refuses recipes that the design cannot have, before anything is coded.
///
/// # Errors
/// An input error that names the tensor and the nearest recipe.
pub fn refuse_inexpressible(piece: &Piece, coder: &Coder<'_>, design: &Design) -> Result<()> {
    let config = &coder.checkpoint.config;
    let matrices = piece.tensors(config).into_iter().filter(|id| config.shape_of(*id).len() == 2);
    for id in matrices {
        let (recipe, shape) = coder.recipe(id)?;
        refuse_recipe(recipe, shape, design.target, design.compute.weights())
            .map_err(|error| error.at(format!("tensor {}", id.name())))?;
    }
    Ok(())
}

/// The tables of a piece, and the number of their elements.
fn tables(piece: &Piece, config: &Config, design: &Design) -> Vec<(HalfVector, usize)> {
    let attending = piece.attending(config);
    let mut tables = Vec::new();
    for index in ropes_of(config, &attending) {
        let rotated = config.ropes.get(index).map_or(0, |rope| rope.rotated);
        let elements = design.context_tokens * (rotated / 2);
        tables
            .extend([HalfVector::Cosines(index), HalfVector::Sines(index)].map(|t| (t, elements)));
    }
    let grows = config.query_growth.is_some() && !attending.is_empty();
    tables.extend(grows.then_some((HalfVector::QueryGrowth, design.context_tokens)));
    tables
}

/// Places a matrix. The head of the Neural Engine's layout is placed in slices, each with as many
/// rows as a slice may have and the recipe allows.
fn place_rows(
    id: TensorId,
    coder: &Coder<'_>,
    design: &Design,
    place: &mut dyn PlaceWeights,
) -> Result<Vec<StoredWeight>> {
    // The rows of an embedding are gathered, and the columns of a kernel are cut out.
    let layout = match id.role {
        Role::Embedding | Role::Positions | Role::ConvKernel => WeightLayout::Linear,
        _ => design.compute.weights(),
    };
    let is_sliced = id.role == Role::Head && design.compute == Compute::Ane;
    let (recipe, shape) = coder.recipe(id)?;
    let (out, unit) = (shape[0], recipe.slice_unit(shape));
    let step = if is_sliced { slice_rows(unit) } else { out };
    let starts = (0..out).step_by(step.max(1));
    starts.map(|start| place.matrix(id, start..(start + step).min(out), layout)).collect()
}

/// The number of rows in a slice of the head, if a coded tensor can be cut at multiples of `unit`
/// rows.
fn slice_rows(unit: usize) -> usize {
    (HEAD_ROWS / unit * unit).max(unit)
}

/// The bias of a weight; `None` if the architecture has none.
pub(super) fn bias_of(config: &Config, id: TensorId) -> Option<TensorId> {
    config.has_bias(id).then(|| id.with_bias())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_cut_where_its_vectors_and_groups_end() {
        assert_eq!([1, 4, 16, 1024].map(slice_rows), [HEAD_ROWS; 4]);
        assert_eq!([3, 6, 48].map(slice_rows), [16_383, 16_380, 16_368]);
        assert_eq!(slice_rows(20_000), 20_000);
    }
}
