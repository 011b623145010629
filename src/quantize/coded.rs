//! A tensor as it is stored: codes, tables and scales in the exact precision they ship in.
//!
//! This is the only product of quantization. Its decoded form is scored, its bytes are packaged,
//! and sizes are counted from it, so that no number is ever computed from weights that could not be
//! shipped. Decoding is in `decode.rs`, the named arrays of a file in `arrays.rs`.

use half::f16;

use super::mask::Mask;
use super::recipe::Recipe;
use crate::error::{Error, Result};
use crate::units::Bytes;

/// A tensor `[out, in]` as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedTensor {
    pub(super) recipe: Recipe,
    pub(super) shape: [usize; 2],
    pub(super) stored: CodedArrays,
}

/// The stored arrays. Codes are row-major `[out, in]`, flattened and packed without row padding. A
/// pruned tensor has codes only for the weights that it keeps, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub enum CodedArrays {
    /// fp16 weights `[out, in]`.
    Half(Vec<f16>),
    /// Codes into lookup tables.
    Palette {
        /// Packed table indices of all weights, or of those that the mask keeps.
        codes: Vec<u8>,
        /// Which weights are stored, if some are pruned. Pruned weights decode to 0.
        mask: Option<Mask>,
        /// One table per group of rows.
        tables: Tables,
        /// fp16 scales `[out]`, by which the table entries of a row are multiplied.
        channel_scales: Option<Vec<f16>>,
    },
    /// Integers, or four-bit floats, times a scale per block.
    Linear {
        /// Packed integers: unsigned if there are zero points, else two's complement.
        codes: Vec<u8>,
        /// fp16 scales `[out, in / block]`.
        scales: Vec<f16>,
        /// Packed zero points `[out, in / block]`, in the type of the codes.
        zero_points: Option<Vec<u8>>,
    },
    /// Codes into tables of vectors; a vector holds the weights of consecutive rows.
    Vector {
        /// Packed table indices `[out / d, in]`.
        codes: Vec<u8>,
        /// fp16 entries `[groups, 2^bits, d]`.
        tables: Vec<f16>,
        /// fp16 scales `[out]`, by which the table entries of a row are multiplied.
        channel_scales: Vec<f16>,
    },
}

/// Lookup tables `[groups, 2^bits]`, each ascending.
#[derive(Debug, Clone, PartialEq)]
pub enum Tables {
    /// fp16 entries.
    Half(Vec<f16>),
    /// int8 entries and one fp16 scale per table.
    Int8 {
        /// Entries `[groups, 2^bits]`.
        entries: Vec<i8>,
        /// Scales `[groups]`.
        scales: Vec<f16>,
    },
}

impl CodedTensor {
    /// A tensor of these arrays. Fails (bug) if they are not as large as the recipe says.
    pub(super) fn new(recipe: Recipe, shape: [usize; 2], stored: CodedArrays) -> Result<Self> {
        let tensor = CodedTensor { recipe: recipe.resolved(shape), shape, stored };
        let expected = tensor.recipe.stored_size_of(shape, tensor.kept());
        let found = tensor.stored_bytes();
        if expected == Some(found) {
            return Ok(tensor);
        }
        Err(Error::bug(format!(
            "{recipe} of {shape:?}: expected a stored size of {expected:?}, found {found:?}"
        )))
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// The recipe with the group and block sizes that this tensor actually has.
    pub fn recipe(&self) -> Recipe {
        self.recipe
    }

    /// The stored arrays, for writing them into a package.
    pub fn stored(&self) -> &CodedArrays {
        &self.stored
    }

    /// The number of weights.
    pub fn weights(&self) -> usize {
        self.shape[0] * self.shape[1]
    }

    /// The number of codes: one per stored weight, or per vector of them.
    pub(super) fn codes(&self) -> usize {
        match self.recipe {
            Recipe::Vector(vector) => self.weights() / vector.weights_per_code(),
            _ => self.kept(),
        }
    }

    /// The number of weights that are stored: all of them unless the recipe prunes.
    pub fn kept(&self) -> usize {
        match &self.stored {
            CodedArrays::Palette { mask: Some(mask), .. } => mask.kept(),
            _ => self.weights(),
        }
    }

    /// Rows that share a table, or `None` if the recipe has no tables.
    pub fn table_rows(&self) -> Option<usize> {
        match self.recipe {
            Recipe::Palette(palette) => Some(palette.table_rows(self.shape[0])),
            Recipe::Vector(vector) => Some(vector.table_rows(self.shape[0])),
            _ => None,
        }
    }

    /// The size of everything stored: codes, tables, scales, zero points.
    pub fn stored_bytes(&self) -> Bytes {
        Bytes(self.named_arrays().iter().map(|part| part.bytes.len() as u64).sum())
    }

    /// A hash of the content: recipe, shape and every stored array in a fixed order.
    pub fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update_rayon(bytes);
        };
        field(self.recipe.to_string().as_bytes());
        self.shape.iter().for_each(|len| field(&(*len as u64).to_le_bytes()));
        for part in self.named_arrays() {
            field(part.suffix.as_bytes());
            field(part.dtype.name().as_bytes());
            field(&part.bytes);
        }
        hasher.finalize()
    }
}
