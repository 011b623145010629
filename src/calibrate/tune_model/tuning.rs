//! The inputs and the result of tuning a variant.

use std::sync::Arc;

use candle_core::Tensor;

use crate::eval::coded_file::CodedFile;
use crate::eval::setting::Walk;
use crate::eval::variant::Variant;
use crate::model::RopeTables;

/// A coded variant that is to be tuned.
pub struct ModelTuning<'a> {
    /// The walk over the calibration windows.
    pub walk: &'a Walk<'a>,
    /// The variant.
    pub variant: &'a Variant,
    /// Rotary tables for the positions of the longest window.
    pub rope: &'a RopeTables,
    /// The variant's codes.
    pub file: &'a Arc<CodedFile>,
    /// The inputs of the reference's head, per window `[tokens, hidden]`.
    pub reference: &'a [Tensor],
}
