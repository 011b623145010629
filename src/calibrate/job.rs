//! The inputs of a calibration.

use std::path::PathBuf;

use crate::eval::origin::Origin;
use crate::eval::setting::Walk;

/// The variants to code, and the files to write.
pub struct CalibrationJob<'a> {
    /// The walk over the calibration windows, with the variants to be coded.
    pub walk: Walk<'a>,
    /// The file to write, one per variant.
    pub paths: &'a [PathBuf],
    /// The text or moments that codes are calibrated on, recorded in the files.
    pub origin: &'a Origin,
}
