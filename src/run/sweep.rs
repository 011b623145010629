//! A whole sweep: open, allocate, calibrate, score, package, measure.

use std::path::{Path, PathBuf};

use super::allocate::{Allocation, allocate};
use super::inputs;
use super::job::{Job, Opened};
use super::measure::{Folder, MeasureOptions, Setting, targets};
use super::observer::Observer;
use super::options::{PlanOptions, RunOptions};
use super::package::{PackageOptions, check_variants, package_all, proven};
use super::plan::Plan;
use super::score::{Finished, execute};
use crate::compare::summary::Summary;
use crate::device::client::{Runner, Target};
use crate::error::{Exit, Result};
use crate::report::run::with_devices;
use crate::report::{Format, render};
use crate::results::measurement::{Measurement, Subject};
use crate::results::{Cell, Record, RunFolder};

/// Width of a table in the terminal format, in characters.
const RENDERED_WIDTH: usize = 120;

/// What a sweep does with variants after they are scored.
#[derive(Default)]
pub struct AfterScoring {
    /// How packages are written; `None` writes none.
    pub packages: Option<PackageOptions>,
    /// How the packages are measured; `None` measures none. Without `packages` there are none.
    pub measure: Option<MeasureOptions>,
    /// The devices that the packages are measured on.
    pub devices: Vec<Target>,
}

impl AfterScoring {
    /// The single targets that the devices stand for, after looking for each that was named; none if
    /// nothing is measured. This takes moments, so a missing phone is known before hours of scoring.
    ///
    /// # Errors
    /// Surroundings errors of a device that is not there, or whose token is not known.
    pub fn find_devices(&self, observer: &dyn Observer) -> Result<Vec<Target>> {
        let Some(how) = &self.measure else { return Ok(Vec::new()) };
        let found = targets(&self.devices)?;
        let options = how.connection(observer);
        self.devices.iter().try_for_each(|device| Runner::look_for(device, &options))?;
        Ok(found)
    }
}

/// A sweep as a library user starts it: a plan, a folder for results, and what to do after scoring.
///
/// ```
/// # fn main() -> evalkit::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("evalkit-sweep-{}", std::process::id()));
/// use evalkit::{Format, PlanOptions, Silent, Sweep};
///
/// let plan = PlanOptions { bits: Some(vec![4]), limit: Some(1), ..PlanOptions::default() };
/// let swept = Sweep::new(plan).reports(&folder).run(&Silent)?;
/// println!("{}", swept.render(Format::Markdown)?);
/// # std::fs::remove_dir_all(folder).ok();
/// # Ok(())
/// # }
/// ```
pub struct Sweep {
    plan: PlanOptions,
    options: RunOptions,
    after: AfterScoring,
}

impl Sweep {
    /// A sweep that keeps its results below the folder `reports`.
    pub fn new(plan: PlanOptions) -> Self {
        Sweep { plan, options: RunOptions::default(), after: AfterScoring::default() }
    }

    /// Keeps the results below another folder; the run gets `<reports>/<date>-<model>-<hash>`.
    #[must_use]
    pub fn reports(mut self, folder: impl Into<PathBuf>) -> Self {
        self.options.reports = folder.into();
        self
    }

    /// Walks windows in batches that need at most this much memory.
    #[must_use]
    pub fn memory_bytes(mut self, budget: u64) -> Self {
        self.options.memory_bytes = Some(budget);
        self
    }

    /// Writes every variant as Core ML packages and verifies them.
    #[must_use]
    pub fn packages(mut self, options: PackageOptions) -> Self {
        self.after.packages = Some(options);
        self
    }

    /// Measures what is not measured yet and returns the results.
    ///
    /// # Errors
    /// Input errors of plan, checkpoint and text; surroundings errors of the disk; interruption. What
    /// was measured before is kept, and the same sweep continues.
    pub fn run(self, observer: &dyn Observer) -> Result<Swept> {
        let plan = Plan::resolve(&self.plan, PlanOptions::default())?;
        let Prepared { job, .. } = prepare(plan, &self.options, false, observer)?;
        run(job, &self.options, &self.after, observer)
    }
}

/// A sweep whose inputs are open and whose recipes are decided; no variant has been scored yet.
pub struct Prepared {
    /// Everything that is known before the first weight is read.
    pub job: Job,
    /// The bits that were allocated by tensor, if the plan asks for that.
    pub allocation: Option<Allocation>,
}

/// Opens what `plan` names and allocates bits if it asks for that. In a dry run nothing is measured.
///
/// # Errors
/// Input errors of the plan, checkpoint, text and files; a memory budget that is too small;
/// interruption.
pub fn prepare(
    plan: Plan,
    options: &RunOptions,
    is_dry: bool,
    observer: &dyn Observer,
) -> Result<Prepared> {
    let opened = Opened::open(&plan, observer)?;
    let allocation = allocate(&plan, &opened, options, is_dry, observer)?;
    let allocated = allocation.as_ref().map(|allocation| allocation.variant.clone());
    let job = Job::prepare(plan, opened, allocated, options, observer)?;
    Ok(Prepared { job, allocation })
}

/// The results of a sweep.
pub struct Swept {
    /// The run's folder.
    pub folder: PathBuf,
    /// Everything in that folder, including the results of earlier plans.
    pub run: RunFolder,
    /// The results of this plan's variants.
    pub summary: Summary,
    /// The measurements of this plan's variants on devices.
    pub measured: Vec<Measurement>,
    /// Whether everything had been measured before.
    pub was_done: bool,
    /// The exit code of measuring on devices; `None` if that was not asked.
    on_devices: Option<Exit>,
}

impl Swept {
    /// The results as a page or table.
    ///
    /// # Errors
    /// Bug-class errors of rendering.
    pub fn render(&self, format: Format) -> Result<String> {
        render(format, &with_devices(&self.summary, &self.measured), RENDERED_WIDTH)
    }

    /// The exit code: *no* if a variant failed, if its packages are not the model that was scored, or if
    /// a device computes another model; *surroundings* if a device was measured less than asked.
    pub fn exit(&self) -> Exit {
        let failed = self.summary.rows.iter().any(|row| row.outcome.is_err())
            || self.summary.packages.iter().any(|of| of.packaged.broken().is_some());
        if failed { Exit::No } else { self.on_devices.unwrap_or(Exit::Done) }
    }
}

/// Scores the cells of a job that are not scored yet; then writes packages and measures them on devices
/// as `after` says.
///
/// # Errors
/// Those of the checkpoint, the text, the store and the devices; recipes that the packages cannot hold;
/// interruption. Everything that was measured before is kept.
pub fn run(
    mut job: Job,
    options: &RunOptions,
    after: &AfterScoring,
    observer: &dyn Observer,
) -> Result<Swept> {
    if let Some(packages) = &after.packages {
        check_variants(&job, packages, observer)?;
        if let Some(how) = &after.measure {
            how.check(packages.design(&job.checkpoint.config).context_tokens)?;
        }
    }
    let devices = after.find_devices(observer)?;
    let mut finished = execute(&mut job, &options.reports, after.packages.is_some(), observer)?;
    if let Some(packages) = &after.packages {
        package_all(&job, &mut finished, packages, observer)?;
    }
    let on_devices = match (&after.packages, &after.measure) {
        (Some(packages), Some(how)) => {
            let folders = proven(&job, &finished, packages);
            for (cell, _) in job.cells.iter().filter(|(cell, _)| !cell.is_reference) {
                if folders.iter().all(|folder| folder.cell_id.as_ref() != Some(&cell.cell_id)) {
                    observer.warning(&unmeasured(cell, &finished));
                }
            }
            Some(on_devices(&job, &finished.folder, &folders, &devices, how, observer)?)
        }
        _ => None,
    };
    let asked = asked_records(&finished);
    let run = RunFolder::read(&finished.folder)?;
    let summary = Summary::from_records(&asked, job.plan.seed)?.timed(&run.coding_ms);
    let measured = run.measured.iter().filter(|one| is_asked(one, &finished)).cloned();
    Ok(Swept {
        summary,
        measured: measured.collect(),
        run,
        was_done: finished.was_done,
        on_devices,
        folder: finished.folder,
    })
}

/// Why the packages of a cell are not measured on devices.
fn unmeasured(cell: &Cell, finished: &Finished) -> String {
    let own = finished.records.iter().rev().find_map(|record| match record {
        Record::Packaged(packaged) if packaged.cell_id == cell.cell_id => packaged.broken(),
        _ => None,
    });
    let why = own.map_or("it has no packages".to_owned(), |broken| {
        format!("the link {} of its packages is broken: {}", broken.link, broken.what)
    });
    format!("{} is not measured on a device: {why}", cell.label())
}

/// Measures packages on devices, for the run in `folder`, and returns the exit code. A device that is
/// gone is recorded as such.
fn on_devices(
    job: &Job,
    folder: &Path,
    packages: &[Folder],
    targets: &[Target],
    options: &MeasureOptions,
    observer: &dyn Observer,
) -> Result<Exit> {
    let window = job.windows.first().map_or(&[][..], |window| &window.ids);
    let text = |tokens: usize, vocabulary: usize| {
        Ok(match window.get(..tokens) {
            Some(ids) => ids.to_vec(),
            None => inputs::spread(tokens, vocabulary),
        })
    };
    let setting = Setting { options, targets, text: &text, observer };
    setting.measure(folder, packages).map(|measured| measured.exit)
}

/// Whether a measurement belongs to a cell of this plan, or to no cell.
fn is_asked(one: &Measurement, finished: &Finished) -> bool {
    match one {
        Measurement::Subject(Subject { cell_id: Some(id), .. }) => finished.asked.contains(id),
        _ => true,
    }
}

/// The records of this plan's cells; a folder may have others from earlier plans.
fn asked_records(finished: &Finished) -> Vec<Record> {
    let is_asked = |record: &&Record| {
        record.cell_id().is_none_or(|id| finished.asked.iter().any(|asked| asked == id))
    };
    finished.records.iter().filter(is_asked).cloned().collect()
}
