//! What the variants of a job are calibrated on: the windows of a text, saved second moments, or, for
//! weights that are coded already, whatever their file states.

use std::path::Path;
use std::sync::Arc;

use super::calibration_text::{self, Cutter, Prepared, refuse_scored};
use super::plan::Plan;
use crate::calibrate::{MomentsFile, calibrating_memory};
use crate::checkpoint::Checkpoint;
use crate::error::{At, Error, Result};
use crate::eval::{Calibration, CodedFile, Host, MemorySum, Origin, Variant, Window};
use crate::quantize::{Method, Steps};
use crate::results;

/// The flag that names saved second moments.
const FLAG: &str = "--calibration";

/// Everything that a job's variants are calibrated on.
#[derive(Default)]
pub struct CalibrationData {
    /// The windows of a text and how ranges are chosen on them, if any variant needs them.
    pub windows: Option<Calibration>,
    /// How records describe the calibration of ranges.
    ranges: Option<results::Calibration>,
    /// What codes are calibrated on, if any variant is not coded yet.
    pub origin: Option<Origin>,
    /// Saved second moments.
    pub moments: Option<MomentsFile>,
}

impl CalibrationData {
    /// Opens the texts and moments that the variants need, and cuts the texts into windows. A variant
    /// that is coded already needs none for its codes.
    ///
    /// # Errors
    /// Input errors: a missing text, a text with windows that are also `scored`, moments that are
    /// damaged, of another model, or unusable for a variant.
    pub fn of(
        plan: &Plan,
        checkpoint: &Checkpoint,
        job: JobVariants<'_>,
        cutter: Cutter<'_>,
        scored: &[Window],
    ) -> Result<CalibrationData> {
        let uncoded = job.uncoded();
        for file in job.coded {
            if let Some(origin) = &file.calibrated.origin {
                refuse_scored(origin, scored).at(|| format!("--coded: {}", file.variant))?;
            }
        }
        let moments = match &plan.moments {
            Some(path) => Some(open_moments(Path::new(path), checkpoint, &uncoded)?),
            None => None,
        };
        let walked = job.variants.iter().filter(|variant| {
            variant.needs_ranges() || moments.is_none() && uncoded.contains(variant)
        });
        let walked: Vec<Variant> = walked.cloned().collect();
        if moments.is_some() && walked.is_empty() && plan.calibrate.is_some() {
            let what = "codes are calibrated either by saved second moments or on a text, not both";
            return Err(Error::input(what).at(FLAG).hint("leave out --calibrate"));
        }
        let prepared = calibration_text::prepare(plan, &walked, cutter, scored)?;
        let mut data = CalibrationData::default();
        if let Some(Prepared { calibration, record, origin }) = prepared {
            (data.windows, data.ranges) = (Some(calibration), Some(record));
            data.origin = Some(origin);
        }
        if let Some(moments) = moments {
            let origin = moments.origin();
            refuse_scored(&origin, scored).at(|| FLAG)?;
            (data.origin, data.moments) = (Some(origin), Some(moments));
        }
        Ok(data)
    }

    /// The peak memory of calibrating codes; `None` if every variant is coded already.
    ///
    /// # Errors
    /// Bug-class errors for tensors that the checkpoint does not have.
    pub fn memory(
        &self,
        checkpoint: &Checkpoint,
        job: JobVariants<'_>,
        host: Host,
    ) -> Result<Option<MemorySum>> {
        let uncoded = job.uncoded();
        if uncoded.is_empty() {
            return Ok(None);
        }
        let walked = self.windows.as_ref().filter(|_| self.moments.is_none());
        let windows = walked.map_or(&[][..], |calibration| &calibration.windows);
        calibrating_memory(checkpoint, &uncoded, windows, host).map(Some)
    }

    /// How records describe a variant's calibration. `file` has its codes if they were given.
    pub fn provenance(
        &self,
        variant: &Variant,
        file: Option<&Arc<CodedFile>>,
    ) -> Option<results::Calibration> {
        let origin = match file {
            _ if !variant.is_calibrated() => None,
            Some(file) => file.calibrated.origin.as_ref(),
            None => self.origin.as_ref(),
        };
        let moments_hash = origin.and_then(|origin| origin.moments_hash.clone());
        if variant.needs_ranges() {
            return Some(results::Calibration { moments_hash, ..self.ranges.clone()? });
        }
        let Origin { text_name, windows, windows_hash, backend, .. } = origin?.clone();
        Some(results::Calibration {
            text_name,
            windows: windows.len(),
            windows_hash,
            method: results::Calibration::SECOND_MOMENTS.to_owned(),
            moments_hash,
            backend,
        })
    }
}

/// The variants of a job.
#[derive(Clone, Copy)]
pub struct JobVariants<'a> {
    /// All of them.
    pub variants: &'a [Variant],
    /// Files of those that are coded already.
    pub coded: &'a [Arc<CodedFile>],
}

impl JobVariants<'_> {
    /// The calibrated variants that have no file of codes yet.
    fn uncoded(self) -> Vec<Variant> {
        let has_file = |variant: &Variant| self.coded.iter().any(|file| file.variant == *variant);
        let is_uncoded = |variant: &&Variant| variant.is_calibrated() && !has_file(variant);
        self.variants.iter().filter(is_uncoded).cloned().collect()
    }
}

/// Opens saved second moments for these variants.
///
/// # Errors
/// Input errors: a file that is damaged or of another model, a recipe with steps that need more than
/// second moments.
pub fn open_moments(
    path: &Path,
    checkpoint: &Checkpoint,
    variants: &[Variant],
) -> Result<MomentsFile> {
    for variant in variants {
        let possible = without_inputs(variant);
        if possible != *variant {
            let what = "repair and fine-tuning need the inputs that layers receive in the coded model, \
                        but saved second moments describe the reference's inputs only";
            return Err(Error::input(what)
                .at(format!("recipe `{variant}`"))
                .at(FLAG)
                .hint(format!("use `{possible}`, or give a text with --calibrate instead")));
        }
    }
    let file = MomentsFile::open(path).at(|| FLAG)?;
    file.check(checkpoint).at(|| FLAG)?;
    Ok(file)
}

/// The variant with only those steps that saved moments suffice for.
fn without_inputs(variant: &Variant) -> Variant {
    let mut possible = variant.clone();
    for part in possible.calibrated_parts() {
        if let Method::Calibrated(steps) = part.method {
            part.method = Method::Calibrated(Steps { repair: false, ..steps.untuned() });
        }
    }
    possible
}
