//! What a variant is tuned with.

use std::sync::Arc;

use candle_core::Tensor;

use super::parameters::Parameters;
use crate::calibrate::tune_block::Tuned;
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

/// What tuning a model achieved.
pub struct TunedModel<'a> {
    /// The tuned parameters, if they bring the held-out windows closer to the reference.
    pub parameters: Option<Parameters<'a>>,
    /// The mean KL divergence of the held-out windows before and after; `None` without such windows.
    pub losses: Option<Tuned>,
}
