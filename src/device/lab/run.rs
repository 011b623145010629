//! One device: reach it, send, check, then measure in turns until enough is kept.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::conditions::{not_ready, spoiled};
use super::order::visits;
use super::subject::Prepared;
use super::tell::{Told, outcome_of, plan_share, seen};
use crate::device::client::{self, Finished, Options, Progress, Runner, Target, new_job};
use crate::device::protocol::message::{ComputeUnits, Job};
use crate::error::{Exit, Result};
use crate::results::measurement::{
    Attempt, Load, Measurement, Measurements, Method, Outcome, Repetition, Sent, Trouble, Truth,
};

/// Interval of figures during a job.
const SAMPLE_MS: u32 = 250;
/// Between looks at a device that is not ready.
const LOOK: Duration = Duration::from_secs(2);
/// Visits that may be repeated, of those that were asked for.
const MOST_REPEATED: usize = 2;
/// Failures of a package on a device after which it is left alone there.
const MOST_FAILURES: usize = 2;

/// What is measured, and how.
pub struct Question<'a> {
    /// The method, as recorded.
    pub method: &'a Method,
    /// Where packages may compute.
    pub units: ComputeUnits,
    /// Ids of the prompt.
    pub prompt: &'a [u32],
    /// The packages.
    pub subjects: &'a [Prepared],
    /// The time in RFC 3339, for the record of a device.
    pub now: &'a dyn Fn() -> String,
}

/// Measures on one device; what could not be measured is recorded, with its cause.
///
/// # Errors
/// The stop flag, and a disk that does not take records.
pub fn measure(
    question: &Question<'_>,
    target: &Target,
    options: &Options,
    file: &mut Measurements,
    hear: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let device = target.to_string();
    let runner = match Runner::connect(target, options) {
        Ok(runner) => runner,
        Err(error) if error.exit() == Exit::Interrupted => return Err(error),
        Err(error) => {
            let (step, reason) = ("reach".into(), error.cause());
            let trouble = Trouble { device, package: None, step, reason };
            return file.append(Measurement::Trouble(trouble));
        }
    };
    let mut session = Bench {
        question,
        device,
        runner,
        file,
        can_restart: true,
        failures: vec![0; question.subjects.len()],
        sent: BTreeSet::new(),
    };
    session.run(hear)
}

/// What follows a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next one.
    Go,
    /// The same once more, later.
    Repeat,
    /// Nothing more of this package here.
    Leave,
    /// Nothing more of this device.
    End,
}

/// A device that is being measured.
struct Bench<'a> {
    question: &'a Question<'a>,
    device: String,
    runner: Runner,
    file: &'a mut Measurements,
    can_restart: bool,
    /// By package.
    failures: Vec<usize>,
    /// Packages that are on the device.
    sent: BTreeSet<usize>,
}

impl Bench<'_> {
    fn run(&mut self, hear: &mut dyn FnMut(usize, usize)) -> Result<()> {
        let question = self.question;
        let packages = question.subjects.len();
        let rounds = question.method.repetitions;
        let mut queue: VecDeque<usize> = self.missing(visits(packages, rounds));
        let total = packages + queue.len();
        if queue.is_empty() && question.method.sustained_ms == 0 {
            hear(total, total);
            return Ok(());
        }
        if !self.describe()? {
            return Ok(());
        }
        for at in 0..packages {
            hear(at, total);
            if self.introduce(at)? == Next::End {
                return Ok(());
            }
        }
        let mut spare = queue.len() * MOST_REPEATED;
        let mut visit = 0;
        while let Some(at) = queue.pop_front() {
            hear(total - queue.len() - 1, total);
            if !self.sent.contains(&at) {
                continue;
            }
            visit += 1;
            match self.visit(at, visit)? {
                Next::Go => {}
                Next::Repeat if spare > 0 => {
                    spare -= 1;
                    queue.push_back(at);
                }
                Next::Repeat | Next::Leave => {
                    self.sent.remove(&at);
                }
                Next::End => return Ok(()),
            }
        }
        if question.method.sustained_ms > 0 {
            self.sustain(visit)?;
        }
        hear(total, total);
        Ok(())
    }

    /// Visits without those that earlier sessions of this method have kept.
    fn missing(&self, order: Vec<usize>) -> VecDeque<usize> {
        let mut kept: Vec<usize> = self.question.subjects.iter().map(|s| self.kept(s)).collect();
        let is_missing = |at: &usize| {
            let there = kept[*at];
            kept[*at] = there.saturating_sub(1);
            there == 0
        };
        order.into_iter().filter(is_missing).collect()
    }

    fn kept(&self, prepared: &Prepared) -> usize {
        let is_kept = |one: &&Measurement| match one {
            Measurement::Repetition(one) => {
                one.attempt.outcome == Outcome::Kept
                    && one.sustained_at_ms.is_none()
                    && one.attempt.method_id == self.question.method.method_id
                    && one.attempt.device == self.device
                    && one.attempt.package == prepared.subject.package
            }
            _ => false,
        };
        self.file.all().iter().filter(is_kept).count()
    }

    fn describe(&mut self) -> Result<bool> {
        match self.runner.describe()? {
            client::Outcome::Finished(Finished { value, .. }) => {
                let device = seen(self.device.clone(), (self.question.now)(), value);
                self.file.append(Measurement::Device(device))?;
                Ok(true)
            }
            other => {
                self.trouble(None, "reach", &outcome_of(&other))?;
                Ok(false)
            }
        }
    }

    /// Sends a package, loads it for the first time, and checks what it computes.
    fn introduce(&mut self, at: usize) -> Result<Next> {
        let prepared = &self.question.subjects[at];
        let package = prepared.subject.package.as_str();
        let sent = self.runner.send(&prepared.package, &mut |_, _| ())?;
        let client::Outcome::Finished(Finished { value, .. }) = sent else {
            self.trouble(Some(package), "send", &outcome_of(&sent))?;
            return Ok(self.after(at, &outcome_of(&sent)));
        };
        self.file.append(Measurement::Sent(Sent {
            device: self.device.clone(),
            package: package.to_owned(),
            sent_bytes: value.sent_bytes,
            held_bytes: value.held_bytes,
            cuts: value.losses,
            elapsed_ms: value.elapsed.as_secs_f64() * 1e3,
        }))?;
        self.sent.insert(at);
        let next = self.load(at, 0)?;
        if next != Next::Go {
            self.sent.remove(&at);
            return Ok(next);
        }
        let next = self.check(at)?;
        if next != Next::Go {
            self.sent.remove(&at);
            return Ok(next);
        }
        let plan = self.runner.plan(&new_job(), package, self.question.units)?;
        match plan {
            client::Outcome::Finished(Finished { value, .. }) => {
                let share = plan_share(&self.device, package, &value);
                self.file.append(Measurement::Plan(share))?;
            }
            other => self.trouble(Some(package), "plan", &outcome_of(&other))?,
        }
        Ok(Next::Go)
    }

    /// Whether the device computes what this machine does.
    fn check(&mut self, at: usize) -> Result<Next> {
        let Prepared { subject, expected, .. } = &self.question.subjects[at];
        let positions: Vec<u32> = (0..expected.ids().len() as u32).collect();
        let scored = self.runner.score(&new_job(), expected.ids(), &positions, &mut |_| ())?;
        match scored {
            client::Outcome::Finished(Finished { value: (scored, logits), .. }) => {
                let logits: Vec<Vec<f32>> = logits.into_iter().map(|one| one.values).collect();
                let (device, package) = (self.device.clone(), subject.package.clone());
                let truth = Truth { device, package, ..expected.compare(&scored, &logits) };
                self.file.append(Measurement::Truth(truth))?;
                Ok(Next::Go)
            }
            other => {
                let outcome = outcome_of(&other);
                self.trouble(Some(&subject.package), "score", &outcome)?;
                Ok(self.after(at, &outcome))
            }
        }
    }

    /// Loads, warms up, and measures once.
    fn visit(&mut self, at: usize, visit: usize) -> Result<Next> {
        match self.load(at, visit)? {
            Next::Go => {}
            next => return Ok(next),
        }
        for is_warm_up in [true, false] {
            match self.generate(at, visit, is_warm_up, None)? {
                Next::Go => {}
                next => return Ok(next),
            }
        }
        Ok(Next::Go)
    }

    fn load(&mut self, at: usize, visit: usize) -> Result<Next> {
        if self.can_restart && visit > 0 {
            self.can_restart = self.runner.restart().is_ok();
        }
        let package = self.question.subjects[at].subject.package.clone();
        let job = new_job();
        if let Some(reason) = self.wait()? {
            let attempt = self.attempt(&package, visit, &job, Told::not_started(reason));
            let outcome = attempt.outcome.clone();
            let (fresh_process, loaded) = (self.can_restart, None);
            self.file.append(Measurement::Load(Load { attempt, fresh_process, loaded }))?;
            return Ok(self.after(at, &outcome));
        }
        let loaded =
            self.runner.load(&job, &package, self.question.units, SAMPLE_MS, &mut ignore)?;
        let told = Told::of(&loaded, Outcome::Kept);
        let attempt = self.attempt(&package, visit, &job, told);
        let outcome = attempt.outcome.clone();
        let loaded = value(loaded);
        let fresh_process = self.can_restart;
        self.file.append(Measurement::Load(Load { attempt, fresh_process, loaded }))?;
        Ok(self.after(at, &outcome))
    }

    fn generate(
        &mut self,
        at: usize,
        visit: usize,
        is_warm_up: bool,
        sustained_at_ms: Option<f64>,
    ) -> Result<Next> {
        let question = self.question;
        let package = question.subjects[at].subject.package.as_str();
        let job = new_job();
        // A sustained measurement is about heat, and goes on in it.
        let reason = if sustained_at_ms.is_none() { self.wait()? } else { None };
        let (told, generated) = match reason {
            Some(reason) => (Told::not_started(reason), None),
            None => {
                let tokens = question.method.tokens;
                let answer =
                    self.runner.generate(&job, question.prompt, tokens, SAMPLE_MS, &mut ignore)?;
                let good = if is_warm_up { Outcome::WarmUp } else { Outcome::Kept };
                (Told::of(&answer, good), value(answer))
            }
        };
        let mut attempt = self.attempt(package, visit, &job, told);
        if let Some(found) = &generated
            && attempt.outcome == Outcome::Kept
            && sustained_at_ms.is_none()
            && let Some(reason) = spoiled(&found.before, &found.samples, &found.after)
        {
            attempt.outcome = Outcome::Rejected { reason };
        }
        let outcome = attempt.outcome.clone();
        let repetition = Repetition { attempt, sustained_at_ms, generated };
        self.file.append(Measurement::Repetition(repetition))?;
        Ok(self.after(at, &outcome))
    }

    /// Each package for as long as was asked, one after the other.
    fn sustain(&mut self, mut visit: usize) -> Result<()> {
        for at in self.sent.clone() {
            visit += 1;
            if self.load(at, visit)? != Next::Go {
                continue;
            }
            let begun = Instant::now();
            let limit = Duration::from_millis(self.question.method.sustained_ms);
            while begun.elapsed() < limit {
                let at_ms = begun.elapsed().as_secs_f64() * 1e3;
                match self.generate(at, visit, false, Some(at_ms))? {
                    Next::Go => {}
                    Next::End => return Ok(()),
                    Next::Repeat | Next::Leave => break,
                }
            }
        }
        Ok(())
    }

    /// Waits until the device may be measured; the reason where it does not become so.
    fn wait(&mut self) -> Result<Option<String>> {
        let begun = Instant::now();
        loop {
            let figures = match self.runner.sample()? {
                client::Outcome::Finished(Finished { value, .. }) => value,
                other => return Ok(outcome_of(&other).reason().map(|(_, why)| why.to_owned())),
            };
            let Some(reason) = not_ready(&figures) else { return Ok(None) };
            if begun.elapsed() >= Duration::from_millis(self.question.method.wait_ms) {
                return Ok(Some(reason));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn attempt(&self, package: &str, visit: usize, job: &Job, told: Told) -> Attempt {
        Attempt {
            method_id: self.question.method.method_id.clone(),
            device: self.device.clone(),
            package: package.to_owned(),
            visit,
            job: job.job.clone(),
            attempts: told.attempts,
            replayed: told.replayed,
            outcome: told.outcome,
        }
    }

    /// What an outcome means for the package and the device.
    fn after(&mut self, at: usize, outcome: &Outcome) -> Next {
        match outcome {
            Outcome::Kept | Outcome::WarmUp => Next::Go,
            Outcome::Rejected { .. } => Next::Repeat,
            Outcome::NotStarted { .. } => Next::Leave,
            Outcome::Gone { .. } => Next::End,
            Outcome::Killed { .. } | Outcome::Failed { .. } => {
                self.failures[at] += 1;
                if self.failures[at] >= MOST_FAILURES { Next::Leave } else { Next::Repeat }
            }
        }
    }

    fn trouble(&mut self, package: Option<&str>, step: &str, outcome: &Outcome) -> Result<()> {
        let reason = outcome.reason().map(|(how, why)| format!("{how}: {why}"));
        self.file.append(Measurement::Trouble(Trouble {
            device: self.device.clone(),
            package: package.map(str::to_owned),
            step: step.to_owned(),
            reason: reason.unwrap_or_default(),
        }))
    }
}

fn ignore(_: Progress) {}

fn value<T>(outcome: client::Outcome<T>) -> Option<T> {
    outcome.finished().ok().map(|finished| finished.value)
}
