//! Collects the second moments of a model's layers on a text into a file, unless it has them already.

use std::path::Path;

use super::calibration_text::{CODING_WINDOWS, Cutter, cut_windows};
use super::inputs;
use super::observer::{Observer, Stage};
use super::plan::Plan;
use crate::calibrate::{Collection, MomentsFile, collect, remove_part_files};
use crate::error::{Error, Result};
use crate::eval::{Origin, Timings, Walk};
use crate::files::check_output;
use crate::model;

/// The result of a collection.
pub struct Collected {
    /// The model's name.
    pub model: String,
    /// Number of windows.
    pub windows: usize,
    /// The text and windows that the moments were collected on.
    pub origin: Origin,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Hash of the moments.
    pub hash: String,
}

/// Collects the second moments of the model of `plan` into `output`, on `windows` windows of its text.
///
/// # Errors
/// Input errors of checkpoint and text, surroundings errors of the disk, interruption. Layers that
/// were collected before an interruption are saved next to the file.
pub fn collect_moments(
    plan: &Plan,
    windows: Option<usize>,
    output: &Path,
    observer: &dyn Observer,
) -> Result<Collected> {
    check_output(output)?;
    let checkpoint = inputs::open_checkpoint(&plan.model, plan.pretokenizer.as_deref(), observer)?;
    let tokenizer = checkpoint.tokenizer()?;
    let cut = inputs::cut(plan, &checkpoint, &tokenizer)?;
    let count = windows.unwrap_or(CODING_WINDOWS);
    let cutter = Cutter { cut: &cut, tokenizer: &tokenizer, observer };
    let (windows, origin) = cut_windows(plan, &plan.text, count, cutter)?;
    let is_there = MomentsFile::open(output).is_ok_and(|file| {
        let kept = &file.facts().origin;
        kept.windows_hash == origin.windows_hash
            && kept.backend == origin.backend
            && file.check(&checkpoint).is_ok()
    });
    if is_there {
        // What a collection left that was killed at its very end.
        remove_part_files(output)?;
    } else {
        let device = model::device(plan.backend)?;
        let walk = Walk {
            checkpoint: &checkpoint,
            variants: &[],
            windows: &windows,
            coded: &[],
            calibration: None,
            device: &device,
        };
        let collection = Collection { walk, path: output, origin: &origin };
        let mut stage = Stage::new("collecting", observer);
        collect(&collection, &mut Timings::default(), &mut stage)?;
    }
    let metadata = std::fs::metadata(output).map_err(|e| Error::io("examine", output, e))?;
    let hash = MomentsFile::open(output)?.origin().moments_hash.unwrap_or_default();
    Ok(Collected {
        model: checkpoint.name,
        windows: windows.len(),
        origin,
        size_bytes: metadata.len(),
        hash,
    })
}
