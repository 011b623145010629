//! The step before a measurement that codes what is calibrated: each variant's codes are kept in the
//! run's folder, scored from there, and packaged from there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::job::Job;
use super::progress::{Interrupt, Progress, Talk};
use crate::error::{Error, Exit, Result};
use crate::eval::{
    CodedFile, Observer, State, Timings, TuningPlan, Variant, Walk, write_calibrated,
};
use crate::results::{Cell, Failure, Record, Store, label};

/// The folder in a run's folder that holds the coded weights.
const CODED: &str = "coded";
/// Digits of the calibration's hash in a file's name.
const HASH_DIGITS: usize = 8;

/// What was coded.
#[derive(Default)]
pub struct Coded {
    /// Files of all variants that are calibrated and needed.
    pub files: Vec<Arc<CodedFile>>,
    /// Records of the variants that could not be coded.
    pub failures: Vec<Record>,
    /// Where the time went.
    pub timings: Timings,
}

/// Codes the calibrated variants of a job that are not coded yet. Those that are scored already are
/// needed only where they are packaged.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the disk, interruption: what was coded by
/// then is kept, and gone on with.
pub fn code(
    job: &Job,
    store: &Store,
    is_packaged: bool,
    talk: Talk,
    interrupt: &Interrupt,
) -> Result<Coded> {
    let mut coded = Coded::default();
    let (Some(calibration), Some(told)) = (&job.calibration, &job.told) else { return Ok(coded) };
    let index = store.index();
    let is_needed = |(cell, variant): &&(Cell, Variant)| {
        let is_given = job.coded.iter().any(|file| file.variant == *variant);
        let is_open = is_packaged || !index.is_done(&cell.cell_id);
        variant.is_calibrated() && !is_given && is_open && index.failure_of(&cell.cell_id).is_none()
    };
    let folder = store.folder().join(CODED);
    let mut missing: Vec<(&Cell, Variant, PathBuf)> = Vec::new();
    for (cell, variant) in job.cells.iter().filter(is_needed) {
        let path = path(&folder, cell, &told.windows_hash);
        match kept(&path, job, variant, &told.windows_hash) {
            Some(file) => coded.files.push(Arc::new(file)),
            None => missing.push((cell, variant.clone(), path)),
        }
    }
    if missing.is_empty() {
        return Ok(coded);
    }
    std::fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
    let variants: Vec<Variant> = missing.iter().map(|(_, variant, _)| variant.clone()).collect();
    let paths: Vec<PathBuf> = missing.iter().map(|(_, _, path)| path.clone()).collect();
    let plan = TuningPlan {
        walk: Walk {
            checkpoint: &job.checkpoint,
            variants: &variants,
            windows: &calibration.windows,
            coded: &[],
            calibration: None,
            device: &job.device,
        },
        paths: &paths,
        windows_hash: &told.windows_hash,
    };
    let mut watch = Watch { bar: Progress::new("calibrating", talk.quiet), interrupt };
    let outcomes = write_calibrated(&plan, &mut coded.timings, &mut watch);
    watch.bar.finish();
    for (outcome, (cell, _, path)) in outcomes?.into_iter().zip(missing) {
        match outcome {
            Ok(pooled) => {
                if pooled > 0 {
                    talk.say(format!(
                        "{}: {pooled} experts had too few tokens of their own and were \
                         calibrated on those of all",
                        cell.label()
                    ));
                }
                coded.files.push(Arc::new(CodedFile::open(&path)?));
            }
            Err(cause) => coded.failures.push(Record::Failure(Failure {
                cell_id: cell.cell_id.clone(),
                variant: cell.variant.clone(),
                cause: cause.what,
                hint: cause.hint,
            })),
        }
    }
    Ok(coded)
}

/// Where a variant's codes are kept.
fn path(folder: &Path, cell: &Cell, windows_hash: &str) -> PathBuf {
    let name = label(&cell.variant, &cell.parts).replace(['+', ':'], "_");
    let hash = windows_hash.get(..HASH_DIGITS).unwrap_or(windows_hash);
    folder.join(format!("{name}-{hash}.safetensors"))
}

/// The file of a variant, where it is there and belongs to this model and calibration.
fn kept(path: &Path, job: &Job, variant: &Variant, windows_hash: &str) -> Option<CodedFile> {
    CodedFile::open(path).ok().filter(|file| {
        file.model_hash == job.run.model_hash
            && file.variant == *variant
            && file.calibrated.windows_hash == windows_hash
    })
}

/// Shows progress and stops when asked; what is kept between layers is the walk's own affair.
struct Watch<'a> {
    bar: Progress,
    interrupt: &'a Interrupt,
}

impl Observer for Watch<'_> {
    fn progress(&mut self, done: usize, total: usize) {
        self.bar.set(done as u64, total as u64);
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }

    fn keep(&mut self, _: &State<'_>) -> Result<()> {
        match self.interrupted() {
            true => Err(Error::new(Exit::Interrupted, "interrupted")),
            false => Ok(()),
        }
    }
}
