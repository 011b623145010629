//! What a history follows from run to run.

use crate::compare::metric::Metric;

/// What is followed from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The metric.
    pub metric: Metric,
    /// The variant.
    pub variant: String,
    /// The device; empty for what needs none.
    pub place: String,
}
