//! The coded tensors of one variant, each made when it is asked for.

use std::sync::Arc;

use super::calibration::InputScales;
use super::coded_file::{CodedFile, head_name};
use super::variant::Variant;
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{At, Error, Result};
use crate::quantize::{CodedTensor, Recipe, kept_weights, quantize};

/// Codes a checkpoint's tensors as a variant says, or reads them from a file where they are coded
/// already. A tied head may be asked for like any other tensor.
#[derive(Debug, Clone, Copy)]
pub struct Coder<'a> {
    /// What is coded.
    pub checkpoint: &'a Checkpoint,
    /// How.
    pub variant: &'a Variant,
    /// Where the result lies already.
    pub file: Option<&'a Arc<CodedFile>>,
    /// The scales of its int8 inputs, where they are known.
    pub scales: Option<&'a InputScales>,
}

impl Coder<'_> {
    /// How a tensor is coded, and its shape `[out, in]`.
    ///
    /// # Errors
    /// Bug-class errors for a tensor the checkpoint does not have.
    pub fn recipe(&self, id: TensorId) -> Result<(Recipe, [usize; 2])> {
        let stored = self.checkpoint.stored(self.stored_as(id))?;
        Ok((self.variant.recipe_of(id, stored), stored.matrix()))
    }

    /// How many weights before each row of a tensor are stored, and last how many in all; nothing
    /// where that is all of them. The tensor is read, but not coded.
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

    /// Refuses (input) to code what is calibrated: its codes lie in a file, or nowhere.
    pub fn check(&self) -> Result<()> {
        if self.file.is_some() || !self.variant.is_calibrated() {
            return Ok(());
        }
        let what = format!("the codes of {} are chosen on a text", self.variant);
        Err(Error::input(what)
            .hint("code them with evalkit quantize, and give its file with --coded FILE"))
    }

    /// A tensor in its coded form.
    ///
    /// # Errors
    /// Input errors of the checkpoint, the file and the recipe; `fp` has no coded form.
    pub fn tensor(&self, id: TensorId) -> Result<CodedTensor> {
        let (recipe, shape) = self.recipe(id)?;
        let name = match id.role {
            Role::Head => head_name(self.checkpoint, self.variant),
            _ => id.name(),
        };
        if let Some(file) = self.file {
            return file.tensor(&name, recipe, shape);
        }
        let weights = self.checkpoint.read(self.stored_as(id))?;
        let coded = quantize(&recipe, &weights, shape, None).at(|| format!("tensor {name}"))?;
        coded.ok_or_else(|| {
            Error::input(format!("{recipe} has no coded form"))
                .at(format!("tensor {name}"))
                .hint("fp16 is the nearest recipe that has one")
        })
    }

    /// The tensor that holds it: a tied head is the embedding.
    fn stored_as(&self, id: TensorId) -> TensorId {
        if id.role == Role::Head { self.checkpoint.head() } else { id }
    }
}
