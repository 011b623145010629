//! The record of a variant: what it is, how much it stores, what it was coded on.

use serde::{Deserialize, Serialize};

use super::inputs::Calibration;
use super::part::StoredPart;

/// One variant of the model: a row of the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Hash of (model, recipe, protocol, text, numeric version, backend), in hexadecimal.
    pub cell_id: String,
    /// Name of the variant: `palette2-g16`; `fp` for the reference.
    pub variant: String,
    /// Storage, part by part.
    pub parts: Vec<StoredPart>,
    /// Whether this is the uncompressed model that the others are compared with.
    pub is_reference: bool,
    /// What computed the scores, as in [`Run`](super::Run); `None` for the CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// What codes or the ranges of int8 inputs were chosen on; `None` for variants that are neither
    /// calibrated nor have int8 inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Of the reference: the quantized types that its checkpoint stores, `q4_0, q6_k`; `None` if its
    /// weights are f32, f16 or bf16, and in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_as: Option<String>,
}

impl Cell {
    /// Whether both are the same variant, in whichever runs: references are, even if only one of their
    /// records says how its checkpoint stores weights.
    pub fn is_variant_of(&self, other: &Cell) -> bool {
        self.is_reference && other.is_reference || self.label() == other.label()
    }

    /// The variant's label, with how the ranges of its inputs were chosen, `int8-a8 (entropy)`, the saved
    /// second moments that its codes were chosen by, and the types of a reference that is itself
    /// quantized, `reference (stored as q4_0)`.
    pub fn label(&self) -> String {
        let how = self.calibration.as_ref().and_then(Calibration::how);
        let variant = super::label(&self.variant, &self.parts);
        match (how, &self.stored_as) {
            (Some(how), _) => format!("{variant} ({how})"),
            (None, Some(types)) => format!("{variant} (stored as {types})"),
            (None, None) => variant,
        }
    }
}
