//! What the variants of a job are calibrated on: the windows of a text, second moments that were saved,
//! or, for weights that are coded already, what their file says.

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
    /// The windows of a text, where any variant needs them, and how ranges are chosen on them.
    pub windows: Option<Calibration>,
    /// What records say of ranges.
    ranges: Option<results::Calibration>,
    /// What codes are chosen on, where they are still to be chosen.
    pub origin: Option<Origin>,
    /// Saved second moments.
    pub moments: Option<MomentsFile>,
}

impl CalibrationData {
    /// Opens and cuts whatever `variants` need beside the windows that are `scored`. Those with a
    /// file in `coded` need nothing for their codes.
    ///
    /// # Errors
    /// Input errors: no text or one that is scored, moments of another model, damaged, or of no use
    /// to a variant.
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
            let what = "codes are calibrated by saved second moments, or on a text, not on both";
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

    /// The peak memory of choosing codes, where there are any to be chosen.
    ///
    /// # Errors
    /// Bug-class errors for tensors the checkpoint does not have.
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

    /// What records say of a variant's calibration; `file` holds its codes, where they are given.
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
        let Origin { text_name, windows, windows_hash, .. } = origin?.clone();
        Some(results::Calibration {
            text_name,
            windows: windows.len(),
            windows_hash,
            method: results::Calibration::SECOND_MOMENTS.to_owned(),
            moments_hash,
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
/// Input errors: a file of another model, one that is damaged, a recipe with steps that need more
/// than it holds.
pub fn open_moments(
    path: &Path,
    checkpoint: &Checkpoint,
    variants: &[Variant],
) -> Result<MomentsFile> {
    for variant in variants {
        let able = able(variant);
        if able != *variant {
            let what = "saved second moments are the reference's: they say nothing of what a coded \
                        model's layers will be given, which targets that repair and fine-tuning need";
            return Err(Error::input(what)
                .at(format!("recipe `{variant}`"))
                .at(FLAG)
                .hint(format!("use `{able}`, or give a text with --calibrate instead")));
        }
    }
    let file = MomentsFile::open(path).at(|| FLAG)?;
    file.check(checkpoint).at(|| FLAG)?;
    Ok(file)
}

/// The variant with the steps alone that saved moments are enough for.
fn able(variant: &Variant) -> Variant {
    let mut able = variant.clone();
    for part in able.calibrated_parts() {
        if let Method::Calibrated(steps) = part.method {
            part.method = Method::Calibrated(Steps { repair: false, ..steps.untuned() });
        }
    }
    able
}
