//! The jobs that a runner knows: at most one is running, and each is in the journal.

use std::sync::Arc;

use super::journal::{JobOutcome, Journal};
use super::progress::JobProgress;
use super::store::disk::io_refusal;
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::message::Job;

/// The journal, and the job that is running.
#[derive(Debug)]
pub(super) struct Jobs {
    pub journal: Journal,
    pub running: Option<RunningJob>,
}

/// A job that is running.
#[derive(Debug, Clone)]
pub(super) struct RunningJob {
    pub job: Job,
    /// A hash of what was asked.
    pub asked: String,
    pub progress: Arc<JobProgress>,
}

/// The answer to a job.
#[derive(Debug)]
pub(super) struct JobAnswer {
    pub outcome: JobOutcome,
    /// Whether it comes from the journal.
    pub replayed: bool,
    pub attempt: u32,
}

impl JobAnswer {
    /// A refusal of an attempt that did not start.
    pub fn refused(refusal: Refusal, attempt: u32) -> JobAnswer {
        JobAnswer { outcome: JobOutcome::Failed(refusal), replayed: false, attempt }
    }
}

impl Jobs {
    /// No job is running.
    pub fn new(journal: Journal) -> Jobs {
        Jobs { journal, running: None }
    }

    /// Whether this job is running.
    pub fn is_running(&self, job: &Job) -> bool {
        self.running.as_ref().is_some_and(|running| running.job.job == job.job)
    }

    /// The journal's answer to a job that is not running; `None` if the job must be run.
    pub fn settled(&self, job: &Job, asked: &str) -> Option<JobAnswer> {
        let known = self.journal.known(&job.job)?;
        let attempt = known.attempt;
        if known.asked != asked {
            return Some(JobAnswer::refused(other_fields(job), job.attempt));
        }
        let outcome = match self.journal.outcome(&job.job) {
            Ok(Some(outcome)) => outcome,
            Ok(None) if job.attempt > attempt => return None,
            Ok(None) => {
                let what = format!(
                    "the runner's process ended during attempt {attempt}; ask with a higher attempt to run the job again"
                );
                JobOutcome::Failed(Refusal::new(Code::Interrupted, what))
            }
            Err(error) => JobOutcome::Failed(io_refusal("read", "the journal".as_ref(), &error)),
        };
        Some(JobAnswer { outcome, replayed: true, attempt })
    }
}

/// The refusal of a job whose id was used with other fields before.
pub(super) fn other_fields(job: &Job) -> Refusal {
    let what = format!("job {} was asked with other fields before", job.job);
    Refusal::new(Code::BadRequest, what)
}
