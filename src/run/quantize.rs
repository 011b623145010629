//! Codes one variant's weights into a file: from the weights alone, on a text, or by saved moments.

use std::path::Path;

use super::calibrate;
use super::calibration_data::open_moments;
use super::calibration_text::single_calibration;
use super::observer::{Observer, Stage};
use super::options::CalibrationOptions;
use crate::calibrate::CalibrationJob;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::eval::{Timings, Variant, Walk, write_coded};
use crate::files::check_output;
use crate::model::{self, Backend};

/// The file to write, and what the codes are calibrated on.
pub struct QuantizeRequest<'a> {
    /// The checkpoint's name, as the caller gave it.
    pub model: &'a str,
    /// The file to write.
    pub output: &'a Path,
    /// The text of calibrated recipes.
    pub calibration: CalibrationOptions,
    /// A file of second moments, used instead of a text.
    pub moments: Option<&'a Path>,
    /// What runs the model on a text.
    pub backend: Backend,
}

/// Codes `variant` of `checkpoint` and writes the file of coded weights.
///
/// # Errors
/// Input errors of recipes, texts and moments, surroundings errors of the disk, interruption. Layers
/// of a calibrated variant that were coded before an interruption are saved next to the file.
pub fn quantize(
    request: &QuantizeRequest<'_>,
    checkpoint: &Checkpoint,
    variant: &Variant,
    observer: &dyn Observer,
) -> Result<()> {
    check_output(request.output)?;
    if request.moments.is_some() && !variant.is_calibrated() {
        return Err(Error::input(format!("{variant} is not calibrated"))
            .at("--calibration")
            .hint("leave the flag out, or add -cal-norep to the recipe"));
    }
    if variant.is_calibrated() {
        return calibrated(request, checkpoint, variant, observer);
    }
    let stage = Stage::new("coding", observer);
    let mut step = |done, total| stage.step(done as u64, total as u64);
    write_coded(request.output, checkpoint, variant, &mut step)
}

fn calibrated(
    request: &QuantizeRequest<'_>,
    checkpoint: &Checkpoint,
    variant: &Variant,
    observer: &dyn Observer,
) -> Result<()> {
    let variants = [variant.clone()];
    let (moments, windows, origin) = match request.moments {
        Some(path) => {
            let moments = open_moments(path, checkpoint, &variants)?;
            let origin = moments.origin();
            (Some(moments), Vec::new(), origin)
        }
        None => {
            let QuantizeRequest { calibration, model, backend, .. } = request;
            let prepared =
                single_calibration(calibration, model, checkpoint, variant, *backend, observer)?;
            (None, prepared.calibration.windows, prepared.origin)
        }
    };
    let device = model::device(request.backend)?;
    let walk = Walk {
        checkpoint,
        variants: &variants,
        windows: &windows,
        coded: &[],
        calibration: None,
        device: &device,
    };
    let paths = [request.output.to_owned()];
    let job = CalibrationJob { walk, paths: &paths, origin: &origin };
    let mut stage = Stage::new("calibrating", observer);
    let written =
        calibrate::write(&job, moments.as_ref(), &mut Timings::default(), &mut stage)?.pop();
    match written {
        Some(Ok(())) => Ok(()),
        Some(Err(cause)) => Err(Error::input(cause.what).hint(cause.hint)),
        None => Err(Error::bug("coding without an outcome")),
    }
}
