//! What a variant is tuned with.

use std::sync::Arc;

use candle_core::Tensor;

use crate::eval::coded_file::CodedFile;
use crate::eval::setting::Walk;
use crate::eval::variant::Variant;
use crate::model::RopeTables;

/// A coded variant that is tuned.
pub struct ModelTuning<'a> {
    /// The windows, and what they are walked with.
    pub walk: &'a Walk<'a>,
    /// Which variant.
    pub variant: &'a Variant,
    /// Positions of the longest window.
    pub rope: &'a RopeTables,
    /// Its codes.
    pub file: &'a Arc<CodedFile>,
    /// What the reference's head is given, per window `[tokens, hidden]`.
    pub reference: &'a [Tensor],
}
