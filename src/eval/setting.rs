//! What a walk is about: inputs that every stage reads and none changes.

use std::sync::Arc;

use candle_core::Device;

use super::coded_file::CodedFile;
use super::protocol::Window;
use super::variant::Variant;
use crate::checkpoint::Checkpoint;

/// What is walked.
pub struct Walk<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// Everything but the reference, which always walks along.
    pub variants: &'a [Variant],
    /// The text, cut.
    pub windows: &'a [Window],
    /// Per variant the file of its coded weights, where they are not to be coded in the walk.
    pub coded: &'a [Option<Arc<CodedFile>>],
    /// Where forward passes run.
    pub device: &'a Device,
}
