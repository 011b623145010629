//! Codes calibrated variants before they are scored. Each variant's codes are saved in the run's
//! folder, from where they are scored and packaged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::calibration_data::JobVariants;
use super::job::Job;
use super::observer::{Observer, Stage};
use crate::calibrate::{
    CalibrationJob, MomentsFile, remove_part_files, write_by_moments, write_calibrated,
};
use crate::error::{Error, Result};
use crate::eval::{Cause, CodedFile, Origin, State, Timings, Variant, Walk, WalkObserver};
use crate::results::{Cell, CodedLayer, Failure, Record, Store, label};
use crate::units::Bytes;

/// The folder in a run's folder that holds the coded weights.
const CODED: &str = "coded";
/// Digits of the calibration's hash in a file's name.
const HASH_DIGITS: usize = 8;

/// The result of coding.
#[derive(Default)]
pub struct Coded {
    /// Files of all calibrated variants that are needed.
    pub files: Vec<Arc<CodedFile>>,
    /// Records of the variants that could not be coded.
    pub failures: Vec<Record>,
    /// Where the time went.
    pub timings: Timings,
}

/// Codes the calibrated variants of a job that are not coded yet, as many in one walk as memory
/// allows. Variants that are scored already are coded only if they are packaged.
///
/// # Errors
/// Input errors of the checkpoint and of a memory budget that one variant exceeds, surroundings
/// errors of the disk, interruption. Finished layers are saved, and the next run continues from them.
pub fn code(job: &Job, store: &Store, is_packaged: bool, observer: &dyn Observer) -> Result<Coded> {
    let mut coded = Coded::default();
    let Some(origin) = &job.calibration.origin else { return Ok(coded) };
    let index = store.index();
    let is_needed = |(cell, variant): &&(Cell, Variant)| {
        let has_file = job.coded.iter().any(|file| file.variant == *variant);
        let is_open = is_packaged || !index.is_done(&cell.cell_id);
        variant.is_calibrated() && !has_file && is_open && index.failure_of(&cell.cell_id).is_none()
    };
    let folder = store.folder().join(CODED);
    let mut missing: Vec<Missing<'_>> = Vec::new();
    for (cell, variant) in job.cells.iter().filter(is_needed) {
        let path = path(&folder, cell, origin);
        match kept(&path, job, variant, origin) {
            Some(file) => {
                remove_part_files(&path)?;
                coded.files.push(Arc::new(file));
            }
            None => missing.push((cell, variant.clone(), path)),
        }
    }
    if missing.is_empty() {
        return Ok(coded);
    }
    std::fs::create_dir_all(&folder).map_err(|error| Error::io("make", &folder, error))?;
    let mut missing = missing.into_iter();
    while missing.len() > 0 {
        let count = fitting(job, missing.as_slice())?;
        let walked: Vec<Missing<'_>> = missing.by_ref().take(count).collect();
        coded.walk(job, origin, walked, store, observer)?;
    }
    Ok(coded)
}

/// A variant to be coded: its cell, the variant, the path of its file.
type Missing<'a> = (&'a Cell, Variant, PathBuf);

/// How many of the variants can be coded in one walk within the memory budget.
///
/// # Errors
/// An input error if the budget is too small for one.
fn fitting(job: &Job, missing: &[Missing<'_>]) -> Result<usize> {
    let Some(budget_bytes) = job.budget_bytes else { return Ok(missing.len()) };
    let variants: Vec<Variant> = missing.iter().map(|(_, variant, _)| variant.clone()).collect();
    let need_bytes = |count: usize| -> Result<u64> {
        let variants = JobVariants { variants: &variants[..count], coded: &[] };
        let need = job.calibration.memory(&job.checkpoint, variants, job.host)?;
        Ok(need.map_or(0, |need| need.total_bytes()))
    };
    for count in (1..=variants.len()).rev() {
        if need_bytes(count)? <= budget_bytes {
            return Ok(count);
        }
    }
    Err(Error::input(format!(
        "--memory {}: calibrating {} takes {}",
        Bytes(budget_bytes),
        variants[0],
        Bytes(need_bytes(1)?)
    ))
    .hint("allow more memory, or give fewer --calibration-windows or a shorter --context"))
}

impl Coded {
    /// Codes variants in one walk.
    fn walk(
        &mut self,
        job: &Job,
        origin: &Origin,
        missing: Vec<Missing<'_>>,
        store: &Store,
        observer: &dyn Observer,
    ) -> Result<()> {
        let variants: Vec<Variant> = missing.iter().map(|(_, v, _)| v.clone()).collect();
        let paths: Vec<PathBuf> = missing.iter().map(|(_, _, path)| path.clone()).collect();
        let walk = Walk {
            checkpoint: &job.checkpoint,
            variants: &variants,
            windows: job
                .calibration
                .windows
                .as_ref()
                .map_or(&[], |calibration| &calibration.windows),
            coded: &[],
            calibration: None,
            device: &job.device,
        };
        let plan = CalibrationJob { walk, paths: &paths, origin };
        let mut watch = Watch {
            stage: Stage::new("calibrating", observer),
            store,
            cells: missing.iter().map(|(cell, _, _)| cell.cell_id.clone()).collect(),
        };
        let outcomes =
            write(&plan, job.calibration.moments.as_ref(), &mut self.timings, &mut watch);
        for (outcome, (cell, _, path)) in outcomes?.into_iter().zip(missing) {
            self.add(outcome, cell, &path, observer)?;
        }
        Ok(())
    }

    /// Adds a variant's file, or the record of its failure.
    fn add(
        &mut self,
        outcome: std::result::Result<(), Cause>,
        cell: &Cell,
        path: &Path,
        observer: &dyn Observer,
    ) -> Result<()> {
        if let Err(Cause { what, hint }) = outcome {
            let (cell_id, variant) = (cell.cell_id.clone(), cell.variant.clone());
            let failure = Failure { cell_id, variant, cause: what, hint };
            self.failures.push(Record::Failure(failure));
            return Ok(());
        }
        let file = CodedFile::open(path)?;
        let pooled = file.calibrated.provenance.pooled_experts;
        if pooled > 0 {
            observer.message(&format!(
                "{}: {pooled} experts received too few tokens and were calibrated on the tokens of \
                 all experts",
                cell.label()
            ));
        }
        self.files.push(Arc::new(file));
        Ok(())
    }
}

/// Codes the variants of `plan` by saved moments if there are any, otherwise on its windows.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the disk, interruption.
pub fn write(
    plan: &CalibrationJob<'_>,
    moments: Option<&MomentsFile>,
    timings: &mut Timings,
    observer: &mut dyn WalkObserver,
) -> Result<Vec<std::result::Result<(), Cause>>> {
    match moments {
        Some(moments) => write_by_moments(plan, moments, timings, observer),
        None => write_calibrated(plan, timings, observer),
    }
}

/// The path of a variant's codes.
fn path(folder: &Path, cell: &Cell, origin: &Origin) -> PathBuf {
    let name = label(&cell.variant, &cell.parts).replace(['+', ':'], "_");
    let hash = origin.key().get(..HASH_DIGITS).unwrap_or(origin.key());
    folder.join(format!("{name}-{hash}.safetensors"))
}

/// A variant's file, if it exists and belongs to this model and calibration.
fn kept(path: &Path, job: &Job, variant: &Variant, origin: &Origin) -> Option<CodedFile> {
    CodedFile::open(path).ok().filter(|file| {
        file.model_hash == job.run.model_hash
            && file.variant == *variant
            && file.calibrated.origin.as_ref() == Some(origin)
    })
}

/// Shows progress, records times and stops when asked. It saves no state: calibration saves each layer
/// itself.
struct Watch<'a> {
    stage: Stage<'a>,
    store: &'a Store,
    /// The ids of the cells that are coded, in the walk's order.
    cells: Vec<String>,
}

impl WalkObserver for Watch<'_> {
    fn progress(&mut self, done: usize, total: usize) {
        self.stage.set(done as u64, total as u64);
    }

    fn interrupted(&self) -> bool {
        self.stage.is_interrupted()
    }

    fn keep(&mut self, _: &State<'_>) -> Result<()> {
        self.stage.check_stop()
    }

    fn coded(&mut self, variant: usize, layer: usize, elapsed: Duration) -> Result<()> {
        self.store.append_coded_layer(&CodedLayer {
            cell_id: self.cells[variant].clone(),
            layer,
            elapsed_ms: elapsed.as_secs_f64() * 1e3,
            threads: rayon::current_num_threads(),
        })
    }
}
