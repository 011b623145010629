//! Jobs: at most one runs, each is journaled, none is run twice unseen.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, MutexGuard};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::journal::{Journal, Outcome};
use super::store::disk::fault;
use super::work::check;
use super::{Host, lock};
use crate::device::protocol::content::Refused;
use crate::device::protocol::message::{Ask, Code, Job};
use crate::units::hex;

/// Time between two reports of progress.
pub(super) const PROGRESS: Duration = Duration::from_millis(250);
/// Stack of a job's thread: programs are read by recursion.
const STACK_BYTES: usize = 16 << 20;

/// The journal, and the job that runs.
#[derive(Debug)]
pub(super) struct Jobs {
    journal: Journal,
    running: Option<Running>,
}

/// A job that runs.
#[derive(Debug, Clone)]
struct Running {
    job: Job,
    asked: String,
    progress: Arc<Progress>,
}

/// How far a job is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Tokens done.
    pub done: AtomicU64,
    /// Of so many.
    pub of: AtomicU64,
}

/// An answer to a job.
#[derive(Debug)]
pub(super) struct Answered {
    pub outcome: Outcome,
    pub replayed: bool,
    pub attempt: u32,
}

impl Answered {
    fn refused((code, message): Refused, attempt: u32) -> Answered {
        Answered { outcome: Outcome::Failed { code, message }, replayed: false, attempt }
    }
}

impl Jobs {
    pub fn new(journal: Journal) -> Jobs {
        Jobs { journal, running: None }
    }

    /// Whether a job runs.
    pub fn is_busy(&self) -> bool {
        self.running.is_some()
    }

    /// The journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What is known of a job that does not run; nothing where it is to run.
    fn settled(&self, job: &Job, asked: &str) -> Option<Answered> {
        let known = self.journal.known(&job.job)?;
        let attempt = known.attempt;
        if known.asked != asked {
            return Some(Answered::refused(other_fields(job), job.attempt));
        }
        let outcome = match self.journal.outcome(&job.job) {
            Ok(Some(outcome)) => outcome,
            Ok(None) if job.attempt > attempt => return None,
            Ok(None) => Outcome::Failed {
                code: Code::Interrupted,
                message: format!(
                    "the runner ended during attempt {attempt}; ask with a higher attempt to run it again"
                ),
            },
            Err(e) => {
                let (code, message) = fault("read", "the journal".as_ref(), &e);
                Outcome::Failed { code, message }
            }
        };
        Some(Answered { outcome, replayed: true, attempt })
    }
}

fn other_fields(job: &Job) -> Refused {
    (Code::BadRequest, format!("job {} was asked with other fields before", job.job))
}

impl Host {
    /// Answers a job: from the journal, or when it has run. `tell` is given progress four times a
    /// second and says whether anybody still waits; nothing comes where nobody does.
    pub(super) fn answer(
        self: &Arc<Self>,
        ask: &Ask,
        job: &Job,
        arrived: Instant,
        tell: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Option<Answered> {
        let refuse = |refused| Some(Answered::refused(refused, job.attempt));
        if let Err(refused) = check(ask, job) {
            return refuse(refused);
        }
        let asked = asked(ask);
        let mut jobs = lock(&self.jobs);
        match jobs.running.clone() {
            Some(running) if running.job.job != job.job => {
                return refuse((Code::Busy, format!("job {} is running", running.job.job)));
            }
            Some(running) if running.asked != asked => return refuse(other_fields(job)),
            Some(running) => {
                return self.wait(jobs, &running, tell);
            }
            None => {}
        }
        if let Some(answered) = jobs.settled(job, &asked) {
            return Some(answered);
        }
        if let Err(refused) = self.check_start(ask) {
            return refuse(refused);
        }
        if let Err(e) = jobs.journal.start(&job.job, job.attempt, kind(ask), &asked) {
            return refuse(fault("write", "the journal".as_ref(), &e));
        }
        let progress = Arc::new(Progress::default());
        let running = Running { job: job.clone(), asked, progress: Arc::clone(&progress) };
        jobs.running = Some(running.clone());
        let (host, ask, job) = (Arc::clone(self), ask.clone(), job.clone());
        let thread = std::thread::Builder::new().name("job".into()).stack_size(STACK_BYTES);
        let work = move || {
            let outcome = host.run(&ask, arrived, &progress);
            host.finish(&mut lock(&host.jobs), &job, outcome);
        };
        if let Err(e) = thread.spawn(work) {
            let (code, message) = fault("start", "a thread".as_ref(), &e);
            self.finish(&mut jobs, &running.job, Outcome::Failed { code, message });
        }
        self.wait(jobs, &running, tell)
    }

    /// Runs a job; a panic is a failure of the engine.
    fn run(&self, ask: &Ask, arrived: Instant, progress: &Progress) -> Outcome {
        self.machine.watch(true);
        let run = catch_unwind(AssertUnwindSafe(|| self.work(ask, arrived, progress)));
        self.machine.watch(false);
        let outcome = run.unwrap_or_else(|panic| {
            // Whatever it had loaded may be half computed.
            *lock(&self.loaded) = None;
            let _ = catch_unwind(AssertUnwindSafe(|| lock(&self.engine).unload()));
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.unwrap_or_else(|| "no message".into());
            Err((Code::Engine, format!("the engine panicked: {text}")))
        });
        match outcome {
            Ok(result) => Outcome::Done(result),
            Err((code, message)) => Outcome::Failed { code, message },
        }
    }

    /// Journals how a job ended, and lets those know who wait. What cannot be journaled was not
    /// done: it is `interrupted` from then on.
    fn finish(&self, jobs: &mut Jobs, job: &Job, outcome: Outcome) {
        let _ = jobs.journal.end(&job.job, job.attempt, outcome);
        jobs.running = None;
        self.ended.notify_all();
    }

    /// Waits for the end of a job that runs.
    fn wait<'a>(
        &'a self,
        mut jobs: MutexGuard<'a, Jobs>,
        running: &Running,
        tell: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Option<Answered> {
        let mut told = 0;
        let is_running =
            |jobs: &Jobs| jobs.running.as_ref().is_some_and(|now| now.job == running.job);
        while is_running(&jobs) {
            jobs = wait_for(&self.ended, jobs);
            if !is_running(&jobs) {
                break;
            }
            drop(jobs);
            let Progress { done, of } = &*running.progress;
            let now = done.load(Relaxed);
            if !tell(now, if now == told { 0 } else { of.load(Relaxed) }) {
                return None;
            }
            told = now;
            jobs = lock(&self.jobs);
        }
        let mut answered = jobs.settled(&running.job, &running.asked)?;
        answered.replayed &=
            matches!(answered.outcome, Outcome::Failed { code: Code::Interrupted, .. });
        Some(answered)
    }
}

fn wait_for<'a>(ended: &Condvar, jobs: MutexGuard<'a, Jobs>) -> MutexGuard<'a, Jobs> {
    let (jobs, _) =
        ended.wait_timeout(jobs, PROGRESS).unwrap_or_else(std::sync::PoisonError::into_inner);
    jobs
}

fn kind(ask: &Ask) -> &'static str {
    match ask {
        Ask::Load { .. } => "load",
        Ask::Generate { .. } => "generate",
        Ask::Score { .. } => "score",
        _ => "plan",
    }
}

/// A hash of everything that was asked but for the attempt.
fn asked(ask: &Ask) -> String {
    let mut value = serde_json::to_value(ask).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("attempt");
    }
    hex(&Sha256::digest(value.to_string()))
}
