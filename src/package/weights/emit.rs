//! Weights in the weight file, and the operators that expand them.

use std::borrow::Cow;
use std::io::{Seek, Write};

use half::f16;

use super::WeightLayout;
use super::plan::{PlannedBlob, blobs_of};
use crate::error::{Error, Result};
use crate::package::blob::{BlobLayout, BlobRef, BlobWriter};
use crate::package::mil::{
    BlobTensor, FunctionBuilder, Literal, MIDDLE_CODE, Operand, Opset, Value,
};
use crate::quantize::{CodedTensor, MXFP4_VALUES, Recipe};

/// The axis of vectors: that of the outputs, in both layouts.
const VECTOR_AXIS: usize = 0;

/// A coded tensor `[out, in]` that is placed in the weight file. Any number of functions can use
/// it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredWeight {
    recipe: Recipe,
    shape: [usize; 2],
    target: Opset,
    layout: WeightLayout,
    blobs: Vec<(&'static str, BlobTensor)>,
}

/// A weight in a function.
#[derive(Debug, Clone)]
pub struct Emitted {
    /// The weight that the layer takes: `[out, in]` or `[out, in, 1, 1]`, fp16.
    pub weight: Value,
    /// Factors to multiply the layer's output with: `[out]` or `[1, out, 1, 1]`, fp16. `None` if
    /// the recipe has no channel scales.
    pub channel_scales: Option<Value>,
}

impl StoredWeight {
    /// Writes `coded` and remembers where.
    ///
    /// # Errors
    /// An input error if target or layout cannot express the recipe (see [`blobs_of`]);
    /// surroundings errors of the disk.
    pub fn write<W: Write + Seek>(
        file: &mut BlobWriter<W>,
        coded: &CodedTensor,
        target: Opset,
        layout: WeightLayout,
    ) -> Result<Self> {
        let parts = coded.named_arrays();
        Self::place(coded.recipe(), coded.shape(), coded.kept(), target, layout, |blob| {
            let part = parts.iter().find(|part| part.suffix == blob.suffix);
            let part = part.ok_or_else(|| {
                Error::bug(format!("the coded tensor has no part {}", blob.suffix))
            })?;
            let bytes = if blob.is_shifted {
                part.bytes.iter().map(|code| code.wrapping_add(MIDDLE_CODE)).collect()
            } else {
                Cow::Borrowed(&part.bytes[..])
            };
            file.append(blob.kind, blob.elements(), &bytes)
        })
    }

    /// Computes where [`write`](Self::write) would place a tensor, without the tensor. `kept` of
    /// its weights are stored: all of them, unless the recipe prunes.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn plan(
        file: &mut BlobLayout,
        recipe: Recipe,
        shape: [usize; 2],
        kept: usize,
        target: Opset,
        layout: WeightLayout,
    ) -> Result<Self> {
        let append = |blob: &PlannedBlob| file.append(blob.kind, blob.elements());
        Self::place(recipe, shape, kept, target, layout, append)
    }

    fn place(
        recipe: Recipe,
        shape: [usize; 2],
        kept: usize,
        target: Opset,
        layout: WeightLayout,
        mut place: impl FnMut(&PlannedBlob) -> Result<BlobRef>,
    ) -> Result<Self> {
        let mut blobs = Vec::new();
        for blob in blobs_of(recipe, shape, kept, target, layout)? {
            blobs.push((blob.suffix, BlobTensor::new(place(&blob)?, blob.shape)));
        }
        Ok(StoredWeight { recipe: recipe.resolved(shape), shape, target, layout, blobs })
    }

    /// `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Adds the operators that expand the weight to a function.
    ///
    /// # Errors
    /// A bug-class error if the function is for another target.
    pub fn emit(&self, function: &mut FunctionBuilder) -> Result<Emitted> {
        if function.opset() != self.target {
            let found = function.opset();
            return Err(Error::bug(format!(
                "a weight for {} cannot be used in a function for {found}",
                self.target
            )));
        }
        let weight = match (self.recipe, self.target) {
            (Recipe::Reference | Recipe::Half, _) => {
                function.blob("weight", self.blob("values")?)?
            }
            (Recipe::Palette(_), Opset::Ios17) => function.constexpr_lut_to_dense_ios16(
                self.blob("codes")?,
                self.blob("tables")?,
                &self.layout.shape(self.shape[0], self.shape[1]),
            )?,
            (Recipe::Palette(_), Opset::Ios18) => self.emit_palette(function)?,
            (Recipe::Linear(_), Opset::Ios17) => function.constexpr_affine_dequantize(
                self.blob("codes")?,
                self.blob("scales")?,
                self.find("zero_points"),
            )?,
            (Recipe::Linear(_), Opset::Ios18) => function.constexpr_blockwise_shift_scale(
                self.blob("codes")?,
                self.blob("scales")?,
                self.find("zero_points"),
            )?,
            (Recipe::Vector(_), _) => function.constexpr_lut_to_dense(
                self.blob("codes")?,
                self.blob("tables")?,
                Some(VECTOR_AXIS),
            )?,
            (Recipe::Mxfp4, _) => {
                let values = MXFP4_VALUES.map(f16::from_f32);
                let table = Literal::Halves(&values, &[1, 1, MXFP4_VALUES.len(), 1]);
                let values = function.constexpr_lut_to_dense(self.blob("codes")?, &table, None)?;
                function.constexpr_blockwise_shift_scale(&values, self.blob("scales")?, None)?
            }
        };
        let scales = self.find("channel_scales");
        let channel_scales = scales.map(|scales| function.blob("channel_scales", scales));
        Ok(Emitted { weight, channel_scales: channel_scales.transpose()? })
    }

    fn emit_palette(&self, function: &mut FunctionBuilder) -> Result<Value> {
        let (codes, tables) = (self.blob("codes")?, self.blob("tables")?);
        let scaled = match self.find("table_scales") {
            None => None,
            Some(scales) => Some(function.constexpr_blockwise_shift_scale(tables, scales, None)?),
        };
        let tables = scaled.as_ref().map_or(Operand::Blob(tables), Operand::Made);
        match self.find("mask") {
            None => function.constexpr_lut_to_dense(codes, tables, None),
            Some(mask) => {
                let [mask, values] = function.constexpr_lut_to_sparse(mask, codes, tables, None)?;
                function.constexpr_sparse_to_dense(&values, &mask)
            }
        }
    }

    fn find(&self, suffix: &str) -> Option<&BlobTensor> {
        self.blobs.iter().find(|(own, _)| *own == suffix).map(|(_, blob)| blob)
    }

    fn blob(&self, suffix: &str) -> Result<&BlobTensor> {
        let missing = || Error::bug(format!("{}: the blob {suffix} is missing", self.recipe));
        self.find(suffix).ok_or_else(missing)
    }
}
