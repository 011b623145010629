//! Scores the cells of a job: walks over the layers and appends the results to the store.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use half::f16;

use super::calibrate;
use super::job::Job;
use super::observer::{Observer, Stage};
use super::plan_file;
use crate::error::{Error, Exit, Result};
use crate::eval::{
    self, Cause, Fp16Overflow, Outcome, Score, Scored, State, Timings, Variant, Walk, WalkObserver,
    Walked, Window,
};
use crate::files::{remove_partial_files, write_atomic_with};
use crate::model::Input;
use crate::results::{
    self, Cell, Coding, Done, Environment, Failure, InputScale, PeakSampler, Phase, Record,
    Session, Store, Window as WindowRecord, now,
};

/// Name of the file in a run's folder that holds the plan.
pub const PLAN: &str = crate::results::PLAN;
/// Name of the file in a run's folder that holds the state of an unfinished walk.
const STATE: &str = "walk.state";
/// A walk's state is saved at most this often.
const KEEP_EVERY: Duration = Duration::from_secs(20);

/// The result of a job.
pub struct Finished {
    /// All records of the folder.
    pub records: Vec<Record>,
    /// The ids of the cells that this plan asked for.
    pub asked: Vec<String>,
    /// The run's folder.
    pub folder: PathBuf,
    /// Whether everything had been measured before.
    pub was_done: bool,
}

/// Codes and scores the cells that are not measured yet.
///
/// # Errors
/// Input errors of the checkpoint, or of a folder with records of another model or text; surroundings
/// errors of the store; interruption. Everything that was measured before is kept.
pub fn execute(
    job: &mut Job,
    reports: &Path,
    is_packaged: bool,
    observer: &dyn Observer,
) -> Result<Finished> {
    let folder = job.folder(reports);
    let mut store = Store::open(&folder)?;
    if store.torn_bytes() > 0 {
        observer.message(&format!(
            "removed the last {} bytes of the records: they were an incomplete record",
            store.torn_bytes()
        ));
    }
    store.leftovers().sentences().iter().for_each(|line| observer.message(line));
    job.check_question(&store)?;
    let clock = Instant::now();
    let peak = PeakSampler::start();
    let mut session = Session {
        started: now(),
        argv: std::env::args().collect(),
        threads: rayon::current_num_threads(),
        resumed_windows: job.recorded_windows(&store),
        ..Session::default()
    };
    for (variant, how) in store.index().all_lost() {
        observer.warning(&format!("{variant}: {how}; what is missing is scored again"));
    }
    let was_done = job.pending(&store).is_empty();
    let coded = calibrate::code(job, &store, is_packaged, observer)?;
    store.append(&coded.failures)?;
    job.coded.extend(coded.files);
    let pending = job.pending(&store);
    if !was_done {
        observer.message(&format!("writing records to {}", folder.display()));
        let mut measuring = Measuring::new(job, &mut store, pending, observer);
        measuring.timings = coded.timings;
        let outcome = measuring.run();
        session.elapsed_ms = clock.elapsed().as_secs_f64() * 1e3;
        session.phases = measuring.phases();
        session.peak = peak.peak();
        session.outcome = match &outcome {
            Ok(()) => "done".into(),
            Err(error) if error.exit() == Exit::Interrupted => "interrupted".into(),
            Err(error) => error.cause(),
        };
        let kept = store.append_session(&session);
        outcome.and(kept)?;
    }
    let asked = job.cells.iter().map(|(cell, _)| cell.cell_id.clone()).collect();
    let records = store.index().records().to_vec();
    Ok(Finished { records, asked, folder, was_done })
}

/// A job that is being measured.
struct Measuring<'a> {
    job: &'a Job,
    store: &'a mut Store,
    pending: Vec<(Cell, Variant)>,
    observer: &'a dyn Observer,
    timings: Timings,
}

impl<'a> Measuring<'a> {
    /// Prepares to measure the cells `pending`.
    fn new(
        job: &'a Job,
        store: &'a mut Store,
        pending: Vec<(Cell, Variant)>,
        observer: &'a dyn Observer,
    ) -> Self {
        Measuring { job, store, pending, observer, timings: Timings::default() }
    }

    /// Where the time went so far.
    fn phases(&self) -> Vec<Phase> {
        let phase = |(name, elapsed): (&str, Duration)| Phase {
            phase: name.into(),
            elapsed_ms: elapsed.as_secs_f64() * 1e3,
        };
        self.timings.phases().map(phase).collect()
    }

    /// Walks over the layers until every pending cell is done or failed.
    ///
    /// # Errors
    /// Those of the walk and the store. Records that were appended before are kept.
    fn run(&mut self) -> Result<()> {
        self.open()?;
        let mut ends: Vec<Record> = Vec::new();
        for batch in self.missing_windows().chunks(self.job.batch) {
            let walked = self.pass(batch)?;
            self.timings.join(&walked.timings);
            let mut latest = self.record(batch, walked)?;
            // A cell that failed on earlier windows has failed, even if later windows succeed.
            for (end, earlier) in latest.iter_mut().zip(ends) {
                if matches!(earlier, Record::Failure(_)) {
                    *end = earlier;
                }
            }
            ends = latest;
            // The state is removed last: until the windows are recorded, a resumed run needs it.
            let _ = std::fs::remove_file(self.state_path());
        }
        self.store.append(&ends)
    }

    fn open(&mut self) -> Result<()> {
        let mut opening = vec![
            Record::Run(self.job.run.clone()),
            Record::Environment(Environment::probe(self.job.plan.backend.name())),
        ];
        opening.extend(self.job.cells.iter().map(|(cell, _)| Record::Cell(cell.clone())));
        self.store.append(&opening)?;
        remove_partial_files(self.store.folder(), STATE);
        plan_file::keep(self.store.folder(), &self.job.plan.to_toml()?)
    }

    /// Windows that are missing for any pending cell. If only final records are missing, one batch of
    /// windows is walked again to compute the hash of the codes.
    fn missing_windows(&self) -> Vec<usize> {
        let all = 0..self.job.windows.len();
        let is_missing =
            |cell: &Cell, window| self.store.index().window(&cell.cell_id, window).is_none();
        let missing: Vec<usize> = all
            .clone()
            .filter(|&window| self.pending.iter().any(|(cell, _)| is_missing(cell, window)))
            .collect();
        if missing.is_empty() { all.take(self.job.batch).collect() } else { missing }
    }

    /// One walk over the layers with the windows of `batch`.
    fn pass(&self, batch: &[usize]) -> Result<Walked> {
        let windows: Vec<Window> = batch.iter().map(|&w| self.job.windows[w].clone()).collect();
        let variants: Vec<Variant> = self.variants().map(|(_, variant)| variant.clone()).collect();
        let job = self.job;
        let file = |v: &Variant| job.coded.iter().find(|file| file.variant == *v).cloned();
        let coded: Vec<_> = variants.iter().map(file).collect();
        let key = self.state_key(batch);
        let needs_ranges = variants.iter().any(Variant::needs_ranges);
        let walk = Walk {
            checkpoint: &job.checkpoint,
            variants: &variants,
            windows: &windows,
            coded: &coded,
            calibration: job.calibration.windows.as_ref().filter(|_| needs_ranges),
            device: &job.device,
        };
        let resumed = eval::read_state(&self.state_path(), &key, &walk)?;
        if let Some(resumed) = &resumed {
            let layers = job.checkpoint.config.layers;
            self.observer
                .message(&format!("continuing at layer {} of {layers}", resumed.next_layer));
        }
        let mut watch = Watch {
            stage: Stage::new("scoring", self.observer),
            state_path: self.state_path(),
            key,
            kept: Instant::now(),
        };
        walk.run(resumed, &mut watch)
    }

    /// The pending cells without the reference.
    fn variants(&self) -> impl Iterator<Item = &(Cell, Variant)> {
        self.pending.iter().filter(|(cell, _)| !cell.is_reference)
    }

    /// Appends the windows of a batch, in an order that does not depend on the batch size, and returns
    /// the final record of each cell.
    fn record(&mut self, batch: &[usize], walked: Walked) -> Result<Vec<Record>> {
        let reference = &self.job.cells[0].0;
        let cells: Vec<&Cell> =
            std::iter::once(reference).chain(self.variants().map(|(cell, _)| cell)).collect();
        let mut records = Vec::new();
        let mut failures: Vec<Option<Cause>> = vec![None; cells.len()];
        for (place, &window) in batch.iter().enumerate() {
            for ((cell, outcome), failure) in cells.iter().zip(&walked.outcomes).zip(&mut failures)
            {
                let Ok(Scored { scores, .. }) = outcome else { continue };
                let (text, score) = (&self.job.windows[window], &scores[place]);
                match not_finite(window, score) {
                    None => records.push(window_record(cell, window, text, score)),
                    Some(cause) => _ = failure.get_or_insert(cause),
                }
            }
        }
        let outcomes = walked.outcomes.into_iter().zip(failures);
        let outcomes = outcomes.map(|(outcome, failure)| failure.map_or(outcome, Err));
        let ends =
            cells.iter().zip(outcomes).map(|(cell, outcome)| self.end(cell, &outcome)).collect();
        self.store.append(&records)?;
        Ok(ends)
    }

    fn end(&self, cell: &Cell, outcome: &Outcome) -> Record {
        let cell_id = cell.cell_id.clone();
        match outcome {
            Ok(Scored { coded, scales, .. }) => Record::Done(Done {
                cell_id,
                windows: self.job.windows.len(),
                coded_hash: blake3::Hash::from_bytes(*coded).to_hex().to_string(),
                input_scales: scales.iter().map(scale_record).collect(),
                coding: self.coding(cell),
            }),
            Err(cause) => Record::Failure(Failure {
                cell_id,
                variant: cell.variant.clone(),
                cause: cause.what.clone(),
                hint: cause.hint.clone(),
            }),
        }
    }

    /// How a cell's codes were chosen, according to the file that was scored.
    fn coding(&self, cell: &Cell) -> Option<Coding> {
        let (_, variant) = self.pending.iter().find(|(other, _)| other.cell_id == cell.cell_id)?;
        self.job.coded.iter().find(|file| file.variant == *variant)?.coding()
    }

    fn state_path(&self) -> PathBuf {
        self.store.folder().join(STATE)
    }

    /// Identifies the walk that a saved state belongs to: these cells on these windows.
    fn state_key(&self, batch: &[usize]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for (cell, _) in std::iter::once(&self.job.cells[0]).chain(self.variants()) {
            hasher.update(cell.cell_id.as_bytes());
        }
        batch.iter().for_each(|window| {
            hasher.update(&(*window as u64).to_le_bytes());
        });
        *hasher.finalize().as_bytes()
    }
}

/// The reason why a window's score cannot be recorded, if it is not finite.
fn not_finite(window: usize, score: &Score) -> Option<Cause> {
    let sums = [
        ("negative log-likelihood", score.nll_nats.iter().sum::<f64>()),
        ("KL divergence from the reference", score.kl_nats.iter().sum::<f64>()),
    ];
    let (what, found) = sums.into_iter().find(|(_, sum)| !sum.is_finite())?;
    Some(Cause {
        what: format!("window {window}: the {what} is {found}"),
        hint: "some activation overflowed: a weight is too large, or became so when it was coded"
            .into(),
    })
}

fn window_record(cell: &Cell, window: usize, text: &Window, score: &Score) -> Record {
    let (scored_bytes, window_tokens) = (text.scored_bytes, text.ids.len() as u32);
    let kl_tokens = score.kl_nats.iter().map(|&kl| kl as f32);
    Record::Window(WindowRecord {
        cell_id: cell.cell_id.clone(),
        window,
        scored_tokens: score.nll_nats.len(),
        scored_bytes,
        nll_nats: score.nll_nats.iter().sum(),
        kl_nats: score.kl_nats.iter().sum(),
        top1_agree: score.top1_agree as usize,
        router_agree: score.routing.iter().map(|layer| layer.agree).collect(),
        expert_load: score.routing.iter().map(|layer| layer.load.clone()).collect(),
        fp16_overflow: score.fp16_overflow.as_ref().map(overflow_record),
        routed_tokens: if score.routing.is_empty() { 0 } else { window_tokens },
        kl_tokens: if cell.is_reference { Vec::new() } else { kl_tokens.collect() },
    })
}

fn overflow_record(overflow: &Fp16Overflow) -> results::Fp16Overflow {
    let magnitude = overflow.magnitude.min(f32::MAX);
    results::Fp16Overflow { layer: overflow.layer, what: overflow.to_string(), magnitude }
}

fn scale_record((layer, input, scale): (Option<usize>, Input, f16)) -> InputScale {
    InputScale { layer, input: input.name().into(), scale: scale.to_f32() }
}

/// Observes a walk: reports its progress, saves its state, and stops it when asked.
struct Watch<'a> {
    stage: Stage<'a>,
    state_path: PathBuf,
    key: [u8; 32],
    kept: Instant,
}

impl WalkObserver for Watch<'_> {
    fn progress(&mut self, done: usize, total: usize) {
        self.stage.set(done as u64, total as u64);
    }

    fn interrupted(&self) -> bool {
        self.stage.is_interrupted()
    }

    fn keep(&mut self, state: &State<'_>) -> Result<()> {
        if self.kept.elapsed() < KEEP_EVERY && !self.interrupted() {
            return Ok(());
        }
        let path = &self.state_path;
        write_atomic_with(path, |out| {
            state.write(&self.key, out).map_err(|e| Error::io("save the walk's state in", path, e))
        })?;
        self.kept = Instant::now();
        Ok(())
    }
}
