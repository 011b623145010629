//! The inputs of a walk, which every stage reads and none changes.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::calibration::Calibration;
use super::coded_file::CodedFile;
use super::lane::Lane;
use super::protocol::Window;
use super::variant::Variant;
use crate::checkpoint::Checkpoint;

/// The inputs of a walk.
pub struct Walk<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// The variants without the reference, which is always walked too.
    pub variants: &'a [Variant],
    /// The windows that are scored.
    pub windows: &'a [Window],
    /// Per variant, the file of its coded weights; `None` if they are coded during the walk.
    pub coded: &'a [Option<Arc<CodedFile>>],
    /// The calibration of int8 inputs, if a variant has such inputs.
    pub calibration: Option<&'a Calibration>,
    /// Where forward passes run.
    pub device: &'a Device,
}

impl Walk<'_> {
    /// The windows that ranges are chosen on; empty if no variant has ranges.
    pub fn calibration_windows(&self) -> &[Window] {
        self.calibration.map_or(&[], |calibration| &calibration.windows)
    }

    /// The windows that a variant walks: those that are scored, then those that its ranges are
    /// chosen on.
    pub fn windows_of(&self, variant: &Variant) -> impl Iterator<Item = &Window> {
        let calibration = if variant.needs_ranges() { self.calibration_windows() } else { &[] };
        self.windows.iter().chain(calibration)
    }

    /// A lane's hidden states on the calibration windows.
    pub fn calibration_states<'l>(&self, lane: &'l Lane) -> &'l [Tensor] {
        lane.hidden.get(self.windows.len()..).unwrap_or_default()
    }
}
