//! Answering jobs: from the journal, or by running them on a thread of their own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::check::check;
use super::jobs::{JobAnswer, Jobs, RunningJob, other_fields};
use super::journal::JobOutcome;
use super::locks::lock;
use super::progress::{JobProgress, PROGRESS_INTERVAL};
use super::shared::Host;
use super::store::disk::io_refusal;
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::message::{Ask, Job};
use crate::units::hex;

/// Stack of a job's thread, which reads programs recursively.
const STACK_BYTES: usize = 16 << 20;

impl Host {
    /// Answers a job: from the journal, or after running it. `on_progress` is called four times a
    /// second with tokens done and in total (0 if nothing has changed), and returns whether anybody
    /// still waits for the answer. The answer is `None` if nobody does.
    pub(super) fn answer(
        self: &Arc<Self>,
        ask: &Ask,
        job: &Job,
        arrived: Instant,
        on_progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Option<JobAnswer> {
        let refuse = |refusal| Some(JobAnswer::refused(refusal, job.attempt));
        if let Err(refusal) = check(ask, job) {
            return refuse(refusal);
        }
        let asked = hash_of(ask);
        let mut jobs = lock(&self.jobs);
        match jobs.running.clone() {
            Some(running) if running.job.job != job.job => {
                let what = format!("job {} is running", running.job.job);
                return refuse(Refusal::new(Code::Busy, what));
            }
            Some(running) if running.asked != asked => return refuse(other_fields(job)),
            Some(running) => return self.wait(jobs, &running, on_progress),
            None => {}
        }
        if let Some(answer) = jobs.settled(job, &asked) {
            return Some(answer);
        }
        if let Err(refusal) = self.check_start(ask) {
            return refuse(refusal);
        }
        if let Err(error) = jobs.journal.start(&job.job, job.attempt, kind(ask), &asked) {
            return refuse(io_refusal("write", "the journal".as_ref(), &error));
        }
        let progress = Arc::new(JobProgress::default());
        let running = RunningJob { job: job.clone(), asked, progress: Arc::clone(&progress) };
        jobs.running = Some(running.clone());
        let (host, ask, job) = (Arc::clone(self), ask.clone(), job.clone());
        let thread = std::thread::Builder::new().name("job".into()).stack_size(STACK_BYTES);
        let work = move || {
            let outcome = host.run(&ask, arrived, &progress);
            host.finish(&mut lock(&host.jobs), &job, outcome);
        };
        if let Err(error) = thread.spawn(work) {
            let refusal = io_refusal("start", "a thread".as_ref(), &error);
            self.finish(&mut jobs, &running.job, JobOutcome::Failed(refusal));
        }
        self.wait(jobs, &running, on_progress)
    }

    /// Runs a job. A panic is a failure of the engine.
    fn run(&self, ask: &Ask, arrived: Instant, progress: &JobProgress) -> JobOutcome {
        self.machine.watch_memory(true);
        let run = catch_unwind(AssertUnwindSafe(|| self.work(ask, arrived, progress)));
        self.machine.watch_memory(false);
        let outcome = run.unwrap_or_else(|panic| {
            // What is loaded may be in the middle of a computation.
            *lock(&self.loaded) = None;
            let _ = catch_unwind(AssertUnwindSafe(|| lock(&self.engine).unload()));
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            let text = text.unwrap_or_else(|| "no message".into());
            Err(Refusal::new(Code::Engine, format!("the engine panicked: {text}")))
        });
        outcome.map_or_else(JobOutcome::Failed, JobOutcome::Done)
    }

    /// Records how a job ended, and wakes those who wait for it. If the journal cannot be written,
    /// the job counts as `interrupted`.
    fn finish(&self, jobs: &mut Jobs, job: &Job, outcome: JobOutcome) {
        let _ = jobs.journal.end(&job.job, job.attempt, outcome);
        jobs.running = None;
        self.job_ended.notify_all();
    }

    /// Waits for the end of a running job.
    fn wait<'a>(
        &'a self,
        mut jobs: MutexGuard<'a, Jobs>,
        running: &RunningJob,
        on_progress: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Option<JobAnswer> {
        let mut reported = 0;
        while jobs.is_running(&running.job) {
            let waited = self.job_ended.wait_timeout(jobs, PROGRESS_INTERVAL);
            (jobs, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !jobs.is_running(&running.job) {
                break;
            }
            drop(jobs);
            let JobProgress { done, of } = &*running.progress;
            let now = done.load(Relaxed);
            if !on_progress(now, if now == reported { 0 } else { of.load(Relaxed) }) {
                return None;
            }
            reported = now;
            jobs = lock(&self.jobs);
        }
        let mut answer = jobs.settled(&running.job, &running.asked)?;
        let is_interrupted = |refusal: &Refusal| refusal.code == Code::Interrupted;
        answer.replayed &=
            matches!(&answer.outcome, JobOutcome::Failed(refusal) if is_interrupted(refusal));
        Some(answer)
    }
}

fn kind(ask: &Ask) -> &'static str {
    match ask {
        Ask::Load { .. } => "load",
        Ask::Generate { .. } => "generate",
        Ask::Score { .. } => "score",
        _ => "plan",
    }
}

/// A hash of everything that was asked except the attempt.
fn hash_of(ask: &Ask) -> String {
    let mut value = serde_json::to_value(ask).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("attempt");
    }
    hex(&Sha256::digest(value.to_string()))
}
