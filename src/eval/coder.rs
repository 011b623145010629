//! Gives the coded tensors of one variant, one at a time.

use std::sync::Arc;

use super::calibration::InputScales;
use super::coded_file::{CodedFile, head_name};
use super::variant::Variant;
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{At, Error, Result};
use crate::quantize::{CodedTensor, REFERENCE_IS_STORED, Recipe, kept_weights, quantize};

/// Codes a checkpoint's tensors by the recipes of a variant, or reads them from a file if they are
/// coded already. A tied head can be requested like any other tensor.
#[derive(Debug, Clone, Copy)]
pub struct Coder<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// The recipes.
    pub variant: &'a Variant,
    /// The file with the codes, if they exist.
    pub file: Option<&'a Arc<CodedFile>>,
    /// The scales of the variant's int8 inputs, if they are known.
    pub scales: Option<&'a InputScales>,
}

impl Coder<'_> {
    /// A tensor's recipe and shape `[out, in]`.
    ///
    /// # Errors
    /// Bug-class errors for a tensor that the checkpoint does not have.
    pub fn recipe(&self, id: TensorId) -> Result<(Recipe, [usize; 2])> {
        let stored = self.checkpoint.stored(self.stored_as(id))?;
        Ok((self.variant.recipe_of(id, stored), stored.matrix()))
    }

    /// How many weights of a pruned tensor are stored before each row, and last, how many in total;
    /// `None` if the tensor is not pruned. The tensor is read but not coded.
    ///
    /// # Errors
    /// Input errors of the checkpoint.
    pub fn kept_before_rows(&self, id: TensorId) -> Result<Option<Vec<usize>>> {
        let (recipe, [rows, inputs]) = self.recipe(id)?;
        if recipe.pruning().is_none() {
            return Ok(None);
        }
        let mask = kept_weights(&recipe, &self.checkpoint.read(self.stored_as(id))?)?;
        Ok(mask.map(|mask| (0..=rows).map(|row| mask.kept_in(0..row * inputs)).collect()))
    }

    /// Refuses (input) a calibrated variant without a file, because only calibration can code it.
    pub fn check(&self) -> Result<()> {
        if self.file.is_some() || !self.variant.is_calibrated() {
            return Ok(());
        }
        let what =
            format!("{} is calibrated, so the weights alone do not give its codes", self.variant);
        Err(Error::input(what)
            .hint(
                "give its codes with --coded FILE: the file that evalkit quantize wrote, or that of the \
                 variant in the folder coded/ of a sweep's run",
            ))
    }

    /// A tensor in its coded form.
    ///
    /// # Errors
    /// Input errors of the checkpoint, the file and the recipe; `fp` keeps the weights as they are.
    pub fn tensor(&self, id: TensorId) -> Result<CodedTensor> {
        let (recipe, shape) = self.recipe(id)?;
        let name = match id.role {
            Role::Head if !id.bias => head_name(self.checkpoint, self.variant),
            _ => id.name(),
        };
        if let Some(file) = self.file {
            return file.tensor(&name, recipe, shape);
        }
        let weights = self.checkpoint.read(self.stored_as(id))?;
        let coded = quantize(&recipe, &weights, shape, None).at(|| format!("tensor {name}"))?;
        coded.ok_or_else(|| {
            Error::input(REFERENCE_IS_STORED).at(format!("tensor {name}")).hint("use `fp16`")
        })
    }

    /// The checkpoint's tensor with these weights: the embedding for a tied head, but not for its bias.
    fn stored_as(&self, id: TensorId) -> TensorId {
        if id.role == Role::Head && !id.bias { self.checkpoint.head() } else { id }
    }
}
