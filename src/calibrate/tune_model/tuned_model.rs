//! What tuning a model achieved.

use super::parameters::Parameters;
use crate::calibrate::tune_block::Tuned;

/// The result of tuning a model.
pub struct TunedModel<'a> {
    /// The tuned parameters, if they bring the held-out windows closer to the reference.
    pub parameters: Option<Parameters<'a>>,
    /// The mean KL divergence of the held-out windows before and after; `None` without such windows.
    pub losses: Option<Tuned>,
}
