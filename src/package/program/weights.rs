//! Where a piece's weights lie in its weight file.

use std::collections::BTreeMap;

use half::f16;

use super::design::{Design, HEAD_ROWS};
use super::piece::Piece;
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::{Coder, InputScales};
use crate::model::Input;
use crate::package::blob::BlobRef;
use crate::package::mil::BlobTensor;
use crate::package::program::Compute;
use crate::package::weights::{StoredWeight, WeightLayout};

/// Something that is stored as plain fp16 numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Vector {
    /// A norm's gain, a bias or attention's sinks.
    Tensor(TensorId),
    /// Cosines of the rotary embedding, `[context, head_dim / 2]`.
    Cosines,
    /// Sines, of the same shape.
    Sines,
}

/// Puts weights into a weight file, or only counts where they would go.
pub trait Place {
    /// Places the rows `rows` of a matrix in a layout.
    ///
    /// # Errors
    /// Input errors where the layout cannot express the recipe; those of reading and writing.
    fn matrix(
        &mut self,
        id: TensorId,
        rows: std::ops::Range<usize>,
        layout: WeightLayout,
    ) -> Result<StoredWeight>;

    /// Places `elements` plain numbers.
    ///
    /// # Errors
    /// Those of reading and writing.
    fn vector(&mut self, vector: Vector, elements: usize) -> Result<BlobRef>;
}

/// Where everything lies that a piece computes with.
#[derive(Debug, Default)]
pub struct Weights {
    matrices: BTreeMap<TensorId, Vec<StoredWeight>>,
    vectors: BTreeMap<Vector, BlobRef>,
    scales: InputScales,
}

impl Weights {
    /// Places the weights of `piece`, in the order in which they are computed with.
    ///
    /// # Errors
    /// As [`Place`].
    pub fn place(
        piece: &Piece,
        coder: &Coder<'_>,
        design: &Design,
        place: &mut dyn Place,
    ) -> Result<Self> {
        let config = &coder.checkpoint.config;
        let shares_head = config.tied && !coder.variant.stores_tied_head(coder.checkpoint);
        let scales = coder.scales.cloned().unwrap_or_default();
        let mut weights = Weights { scales, ..Weights::default() };
        for id in piece.tensors(config) {
            let is_int8 = Input::of(id.role).is_some_and(|input| coder.variant.has_int8(input));
            if is_int8 && !id.bias && weights.scale(id).is_none() {
                let variant = coder.variant;
                return Err(Error::bug(format!("{variant} without the scale of {}", id.name())));
            }
        }
        if piece.rotates() {
            let elements = design.context_tokens * config.head_dim / 2;
            for table in [Vector::Cosines, Vector::Sines] {
                weights.vectors.insert(table, place.vector(table, elements)?);
            }
        }
        for id in piece.tensors(config) {
            match config.shape_of(id)[..] {
                [elements] => {
                    let vector = Vector::Tensor(id);
                    weights.vectors.insert(vector, place.vector(vector, elements)?);
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
                    return Err(Error::bug(format!("{} of shape {shape:?}", id.name())));
                }
            }
        }
        Ok(weights)
    }

    /// The parts of a matrix, first rows first.
    pub(super) fn matrix(&self, id: TensorId) -> Result<&[StoredWeight]> {
        let found = self.matrices.get(&id).map(Vec::as_slice);
        found.ok_or_else(|| Error::bug(format!("{} was not placed", id.name())))
    }

    /// The scale of what a matrix multiplies, if that is rounded to int8.
    pub(super) fn scale(&self, id: TensorId) -> Option<f16> {
        self.scales.of(id)
    }

    /// A vector in the shape that it is used in.
    pub(super) fn vector(&self, vector: Vector, shape: &[usize]) -> Result<BlobTensor> {
        let found = self.vectors.get(&vector);
        let blob = found.ok_or_else(|| Error::bug(format!("{vector:?} was not placed")))?;
        Ok(BlobTensor::new(*blob, shape))
    }
}

/// Places a matrix whole, or in the slices that the layout's head computes: of as many rows as
/// they may have and the recipe can cut off.
fn place_rows(
    id: TensorId,
    coder: &Coder<'_>,
    design: &Design,
    place: &mut dyn Place,
) -> Result<Vec<StoredWeight>> {
    // Rows of an embedding are gathered, which is no convolution.
    let layout = match id.role {
        Role::Embedding => WeightLayout::Linear,
        _ => design.compute.weights(),
    };
    let is_sliced = id.role == Role::Head && design.compute == Compute::Ane;
    let (recipe, shape) = coder.recipe(id)?;
    let (out, unit) = (shape[0], recipe.slice_unit(shape));
    let step = if is_sliced { slice_rows(unit) } else { out };
    let starts = (0..out).step_by(step.max(1));
    starts.map(|start| place.matrix(id, start..(start + step).min(out), layout)).collect()
}

/// The rows of a slice of the head, where a coded tensor can be cut at multiples of `unit`.
fn slice_rows(unit: usize) -> usize {
    (HEAD_ROWS / unit * unit).max(unit)
}

/// Every tensor that `config` has of an MLP of `layer`, or of one of its experts.
pub(super) fn mlp_of(layer: usize, expert: Option<usize>, role: Role) -> TensorId {
    match expert {
        Some(expert) => TensorId::expert(layer, expert, role),
        None => TensorId::block(layer, role),
    }
}

/// The bias of a weight, where the architecture has one.
pub(super) fn bias_of(config: &Config, id: TensorId) -> Option<TensorId> {
    config.has_bias(id.role).then(|| id.with_bias())
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
