//! One visit to a package: wait until the device is ready, load, warm up, measure.

use std::time::{Duration, Instant};

use super::conditions::{disturbed, not_ready};
use super::run::{AfterVisit, DeviceBench};
use super::to_records::{JobReport, outcome_of, possible};
use crate::device::client::{Finished, RequestOutcome, new_job};
use crate::device::protocol::message::Job;
use crate::error::Result;
use crate::results::measurement::{
    Attempt, AttemptOutcome, Load, Measurement, Repetition, check_generated, check_loaded,
};

/// Interval between samples of the system's figures during a job.
pub(super) const SAMPLE_MS: u32 = 250;
/// Interval between checks of a device that is not ready.
const LOOK: Duration = Duration::from_secs(2);
/// After this many failures, a package is not visited any more on the device.
const MOST_FAILURES: usize = 2;

/// What a generation is for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Purpose {
    /// Warming up; it does not count.
    WarmUp,
    /// A repetition.
    Repetition,
    /// Part of a sustained measurement, this long after its start.
    Sustained { at_ms: f64 },
}

impl DeviceBench<'_> {
    /// Loads a package, warms up, and measures once.
    pub(super) fn visit(&mut self, at: usize, visit: usize) -> Result<AfterVisit> {
        let mut next = self.load(at, visit)?;
        for purpose in [Purpose::WarmUp, Purpose::Repetition] {
            if next == AfterVisit::Continue {
                next = self.generate(at, visit, purpose)?;
            }
        }
        Ok(next)
    }

    /// Loads a package, in a new process unless it is the first load or restarting fails.
    pub(super) fn load(&mut self, at: usize, visit: usize) -> Result<AfterVisit> {
        if self.can_restart && visit > 0 {
            self.can_restart = self.runner.restart().is_ok();
        }
        let package = self.question.subjects[at].subject.package.clone();
        let job = new_job();
        let (mut report, loaded) = match self.wait_until_ready()? {
            Some(reason) => (JobReport::not_started(reason), None),
            None => {
                let answer = self.runner.load(&job, &package, self.units, &[], SAMPLE_MS)?;
                (JobReport::of(&answer, AttemptOutcome::Kept), value(answer))
            }
        };
        let loaded = possible(loaded, check_loaded, &mut report);
        // The runner may have been replaced since the last visit; a package that is loaded ties what
        // follows to this process.
        if loaded.is_some()
            && let RequestOutcome::Finished(Finished { value, .. }) = self.runner.describe()?
        {
            self.require_same(&value)?;
        }
        let attempt = self.attempt(&package, visit, &job, report);
        let outcome = attempt.outcome.clone();
        let fresh_process = self.can_restart;
        self.file.append(Measurement::Load(Load { attempt, fresh_process, loaded }))?;
        Ok(self.after(at, &outcome))
    }

    fn generate(&mut self, at: usize, visit: usize, purpose: Purpose) -> Result<AfterVisit> {
        let question = self.question;
        let package = question.subjects[at].subject.package.as_str();
        let job = new_job();
        let sustained_at_ms = match purpose {
            Purpose::Sustained { at_ms } => Some(at_ms),
            Purpose::WarmUp | Purpose::Repetition => None,
        };
        // A sustained measurement is about heat, so it goes on in it.
        let reason = if sustained_at_ms.is_none() { self.wait_until_ready()? } else { None };
        let (mut report, generated) = match reason {
            Some(reason) => (JobReport::not_started(reason), None),
            None => {
                let tokens = question.method.tokens;
                let answer = self.runner.generate(&job, question.prompt, tokens, SAMPLE_MS)?;
                let is_warm_up = purpose == Purpose::WarmUp;
                let good = if is_warm_up { AttemptOutcome::WarmUp } else { AttemptOutcome::Kept };
                (JobReport::of(&answer, good), value(answer))
            }
        };
        let generated = possible(generated, check_generated, &mut report);
        let mut attempt = self.attempt(package, visit, &job, report);
        if let Some(found) = &generated
            && attempt.outcome == AttemptOutcome::Kept
            && sustained_at_ms.is_none()
            && let Some(reason) = disturbed(&found.before, &found.samples, &found.after)
        {
            attempt.outcome = AttemptOutcome::Rejected { reason };
        }
        let outcome = attempt.outcome.clone();
        let repetition = Repetition { attempt, sustained_at_ms, generated };
        self.file.append(Measurement::Repetition(repetition))?;
        Ok(self.after(at, &outcome))
    }

    /// Generates with each package in turn, without a pause, for as long as the method says.
    pub(super) fn sustain(&mut self, mut visit: usize) -> Result<()> {
        for at in self.sent.clone() {
            visit += 1;
            if self.load(at, visit)? != AfterVisit::Continue {
                continue;
            }
            let begun = Instant::now();
            let limit = Duration::from_millis(self.question.method.sustained_ms);
            while begun.elapsed() < limit {
                let at_ms = begun.elapsed().as_secs_f64() * 1e3;
                match self.generate(at, visit, Purpose::Sustained { at_ms })? {
                    AfterVisit::Continue => {}
                    AfterVisit::DropDevice => return Ok(()),
                    AfterVisit::Repeat | AfterVisit::DropPackage => break,
                }
            }
        }
        Ok(())
    }

    /// Waits until the device may be measured; the reason if it does not become ready in time.
    fn wait_until_ready(&mut self) -> Result<Option<String>> {
        let begun = Instant::now();
        loop {
            let figures = match self.runner.sample()? {
                RequestOutcome::Finished(Finished { value, .. }) => value,
                other => return Ok(outcome_of(&other).reason().map(|(_, why)| why.to_owned())),
            };
            let Some(reason) = not_ready(&figures) else { return Ok(None) };
            if begun.elapsed() >= Duration::from_millis(self.question.method.wait_ms) {
                return Ok(Some(reason));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn attempt(&self, package: &str, visit: usize, job: &Job, report: JobReport) -> Attempt {
        Attempt {
            method_id: self.question.method.method_id.clone(),
            device: self.device.clone(),
            package: package.to_owned(),
            visit,
            job: job.job.clone(),
            attempts: report.attempts,
            replayed: report.replayed,
            outcome: report.outcome,
        }
    }

    /// What an outcome means for the package and the device.
    pub(super) fn after(&mut self, at: usize, outcome: &AttemptOutcome) -> AfterVisit {
        match outcome {
            AttemptOutcome::Kept | AttemptOutcome::WarmUp => AfterVisit::Continue,
            AttemptOutcome::Rejected { .. } => AfterVisit::Repeat,
            AttemptOutcome::NotStarted { .. } => AfterVisit::DropPackage,
            AttemptOutcome::Gone { .. } => AfterVisit::DropDevice,
            AttemptOutcome::Killed { .. } | AttemptOutcome::Failed { .. } => {
                self.failures[at] += 1;
                let is_last = self.failures[at] >= MOST_FAILURES;
                if is_last { AfterVisit::DropPackage } else { AfterVisit::Repeat }
            }
        }
    }
}

fn value<T>(outcome: RequestOutcome<T>) -> Option<T> {
    outcome.finished().ok().map(|finished| finished.value)
}
