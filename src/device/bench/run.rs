//! Measuring on one device: reach it, send the packages, check what they compute, then visit them in
//! turns until enough repetitions are kept.

use std::collections::{BTreeSet, VecDeque};

use super::order::visits;
use super::subject::Prepared;
use super::to_records::{impossible, outcome_of, plan_share, seen};
use crate::device::client::{Finished, Options, RequestOutcome, Runner, Target, new_job};
use crate::device::protocol::message::ComputeUnits;
use crate::error::{Error, Exit, Result};
use crate::results::measurement::{
    AttemptOutcome, CorrectnessCheck, FailedStep, Measurement, Measurements, Method, Sent,
    check_measurement,
};
use crate::results::runner::Description;

/// How many visits may be repeated, per visit that was asked for.
const MOST_REPEATED: usize = 2;

/// What is measured, and how.
pub struct Question<'a> {
    /// The method, as recorded.
    pub method: &'a Method,
    /// Where packages may compute.
    pub units: ComputeUnits,
    /// Whether a runner that cannot choose these units may use the processor alone.
    pub may_narrow: bool,
    /// Token ids of the prompt.
    pub prompt: &'a [u32],
    /// The packages.
    pub subjects: &'a [Prepared],
    /// Gives the current time in RFC 3339, for the record of a device.
    pub now: &'a dyn Fn() -> String,
}

impl Question<'_> {
    /// How many repetitions of a package this method has kept on a device.
    pub fn kept(&self, all: &[Measurement], device: &str, prepared: &Prepared) -> usize {
        let is_kept = |one: &&Measurement| match one {
            Measurement::Repetition(one) => {
                one.attempt.outcome == AttemptOutcome::Kept
                    && one.sustained_at_ms.is_none()
                    && one.attempt.method_id == self.method.method_id
                    && one.attempt.device == device
                    && one.attempt.package == prepared.subject.package
            }
            _ => false,
        };
        all.iter().filter(is_kept).count()
    }

    /// Whether this runner was seen to compute a package under this method. An earlier check says nothing
    /// about a runner, a system or a program that was replaced since.
    fn is_checked(
        &self,
        all: &[Measurement],
        device: &str,
        package: &str,
        now: &Description,
    ) -> bool {
        let (mut method_id, mut by) = (None, None);
        all.iter().any(|one| {
            match one {
                Measurement::Method(method) => method_id = Some(&method.method_id),
                Measurement::Device(seen) if seen.device == device => by = Some(&seen.description),
                Measurement::CorrectnessCheck(check) => {
                    return check.device == device
                        && check.package == package
                        && method_id == Some(&self.method.method_id)
                        && by.is_some_and(|by| by.is_same_runner(now));
                }
                _ => {}
            }
            false
        })
    }

    /// The visits to a device in order, less one per repetition that earlier runs of this method have
    /// kept.
    fn missing(&self, all: &[Measurement], device: &str) -> VecDeque<usize> {
        let mut kept: Vec<usize> =
            self.subjects.iter().map(|one| self.kept(all, device, one)).collect();
        let is_missing = |at: &usize| {
            let there = kept[*at];
            kept[*at] = there.saturating_sub(1);
            there == 0
        };
        let order = visits(self.subjects.len(), self.method.repetitions);
        order.into_iter().filter(is_missing).collect()
    }
}

/// Measures on one device what has not been measured there. The device is asked even if that is nothing,
/// because what was measured says only of the same runner that it still holds. What could not be
/// measured is recorded with its cause and what to do about it. `on_progress` is called with the steps
/// done and the steps in total.
///
/// # Errors
/// The stop flag was set, a record could not be written, or another runner answers than the one that
/// this run has measured under this name (input).
pub fn measure(
    question: &Question<'_>,
    target: &Target,
    options: &Options,
    file: &mut Measurements,
    on_progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let device = target.to_string();
    let queue = question.missing(file.all(), &device);
    let runner = match Runner::connect_or_launch(target, options) {
        Ok(runner) => runner,
        Err(error) if error.exit() == Exit::Interrupted => return Err(error),
        Err(error) => {
            let (step, reason) = ("reach".into(), error.one_line());
            let failed = FailedStep { device, package: None, step, reason };
            return file.append(Measurement::FailedStep(failed));
        }
    };
    let mut bench = DeviceBench {
        question,
        device,
        runner,
        units: question.units,
        file,
        can_restart: true,
        failures: vec![0; question.subjects.len()],
        sent: BTreeSet::new(),
    };
    if queue.is_empty() && question.method.sustained_ms == 0 {
        bench.confirm()?;
        on_progress(1, 1);
        return Ok(());
    }
    bench.run(queue, on_progress)
}

/// What follows a visit to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterVisit {
    /// Go on.
    Continue,
    /// Visit the package once more, later.
    Repeat,
    /// Visit this package no more on this device.
    DropPackage,
    /// Visit no package any more on this device.
    DropDevice,
}

/// A device that is being measured. Packages are named by their index in the question.
pub(super) struct DeviceBench<'a> {
    pub(super) question: &'a Question<'a>,
    pub(super) device: String,
    pub(super) runner: Runner,
    /// Where packages may compute on this device.
    pub(super) units: ComputeUnits,
    pub(super) file: &'a mut Measurements,
    pub(super) can_restart: bool,
    /// How often each package has failed.
    pub(super) failures: Vec<usize>,
    /// The packages that can be visited: they are on the device and passed the check.
    pub(super) sent: BTreeSet<usize>,
}

impl DeviceBench<'_> {
    fn run(
        &mut self,
        mut queue: VecDeque<usize>,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<()> {
        let question = self.question;
        let packages = question.subjects.len();
        let total = packages + queue.len();
        let Some(description) = self.describe()? else { return Ok(()) };
        self.narrow(&description);
        if !self.record(description)? {
            return Ok(());
        }
        for at in 0..packages {
            on_progress(at, total);
            if self.introduce(at)? == AfterVisit::DropDevice {
                return Ok(());
            }
        }
        let mut spare = queue.len() * MOST_REPEATED;
        let mut visit = 0;
        while let Some(at) = queue.pop_front() {
            on_progress(total - queue.len() - 1, total);
            if !self.sent.contains(&at) {
                continue;
            }
            visit += 1;
            match self.visit(at, visit)? {
                AfterVisit::Continue => {}
                AfterVisit::Repeat if spare > 0 => {
                    spare -= 1;
                    queue.push_back(at);
                }
                AfterVisit::Repeat | AfterVisit::DropPackage => {
                    self.sent.remove(&at);
                }
                AfterVisit::DropDevice => return Ok(()),
            }
        }
        if question.method.sustained_ms > 0 {
            self.sustain(visit)?;
        }
        on_progress(total, total);
        Ok(())
    }

    /// Fails if this run has measured something else under the device's name: what is simulated, or
    /// comes from another machine or engine, must not be mixed with what is measured now.
    pub(super) fn require_same(&self, now: &Description) -> Result<()> {
        let other = self.file.all().iter().find_map(|one| match one {
            Measurement::Device(seen) if seen.device == self.device => {
                Some(origin(&seen.description)).filter(|then| *then != origin(now))
            }
            _ => None,
        });
        let Some(then) = other else { return Ok(()) };
        let now = origin(now);
        let what = format!(
            "the measurements of this device in this run were {then}; with the runner that answers now \
             they would be {now}"
        );
        Err(Error::input(what).at(&self.device).hint(
            "name another folder with --reports, or start the runner that was measured before",
        ))
    }

    /// Asks a device on which everything is measured whether it is still what was measured. If its runner
    /// or its system was replaced since, it has to show again that it computes the packages.
    fn confirm(&mut self) -> Result<()> {
        let Some(now) = self.describe()? else { return Ok(()) };
        self.narrow(&now);
        let subjects = self.question.subjects;
        let is_open = |(_, one): &(usize, &Prepared)| {
            let package = &one.subject.package;
            !self.question.is_checked(self.file.all(), &self.device, package, &now)
        };
        let open: Vec<usize> =
            subjects.iter().enumerate().filter(is_open).map(|(at, _)| at).collect();
        // A device that was not reached since it was described last is described anew: the failure is
        // history then.
        let last = self.file.all().iter().rev().find(|one| match one {
            Measurement::Device(seen) => seen.device == self.device,
            Measurement::FailedStep(failed) => {
                failed.package.is_none() && failed.device == self.device
            }
            _ => false,
        });
        let is_described = matches!(last, Some(Measurement::Device(seen))
            if seen.description.is_same_runner(&now));
        if open.is_empty() && is_described {
            return Ok(());
        }
        let open = if self.record(now)? { open } else { Vec::new() };
        for at in open {
            if self.introduce(at)? == AfterVisit::DropDevice {
                break;
            }
        }
        Ok(())
    }

    /// What the device is; `None` if it does not answer.
    fn describe(&mut self) -> Result<Option<Description>> {
        match self.runner.describe()? {
            RequestOutcome::Finished(Finished { value, .. }) => {
                self.require_same(&value)?;
                Ok(Some(value))
            }
            other => {
                self.record_failure(None, "reach", &outcome_of(&other))?;
                Ok(None)
            }
        }
    }

    /// Uses the processor alone if the runner cannot choose the units, and that is allowed.
    fn narrow(&mut self, description: &Description) {
        if self.question.may_narrow && !description.compute_units.contains(&self.units) {
            self.units = ComputeUnits::Cpu;
        }
    }

    /// Records what the device is; `false` if its description is impossible.
    fn record(&mut self, description: Description) -> Result<bool> {
        let device = seen(self.device.clone(), (self.question.now)(), description);
        let refused = self.append_answer(None, "describe", Measurement::Device(device))?;
        Ok(refused.is_none())
    }

    /// Appends what a runner answered in a step. If it holds a number that nothing can measure, the step
    /// has failed on this device: that is recorded instead, and returned.
    pub(super) fn append_answer(
        &mut self,
        package: Option<&str>,
        step: &str,
        answer: Measurement,
    ) -> Result<Option<AttemptOutcome>> {
        let Err(error) = check_measurement(&answer) else {
            self.file.append(answer)?;
            return Ok(None);
        };
        let outcome = impossible(&error);
        self.record_failure(package, step, &outcome)?;
        Ok(Some(outcome))
    }

    /// Sends a package, loads it for the first time, checks what it computes, and records the
    /// system's compute plan and the memory of `decode` alone.
    fn introduce(&mut self, at: usize) -> Result<AfterVisit> {
        let prepared = &self.question.subjects[at];
        let package = prepared.subject.package.as_str();
        let sent = self.runner.send(&prepared.package, &mut |_, _| ())?;
        let RequestOutcome::Finished(Finished { value, .. }) = sent else {
            let outcome = outcome_of(&sent);
            self.record_failure(Some(package), "send", &outcome)?;
            return Ok(self.after(at, &outcome));
        };
        let sent = Measurement::Sent(Sent {
            device: self.device.clone(),
            package: package.to_owned(),
            sent_bytes: value.sent_bytes,
            held_bytes: value.held_bytes,
            cuts: value.losses,
            elapsed_ms: value.elapsed.as_secs_f64() * 1e3,
        });
        if let Some(outcome) = self.append_answer(Some(package), "send", sent)? {
            return Ok(self.after(at, &outcome));
        }
        let mut next = self.load(at, 0)?;
        if next == AfterVisit::Continue {
            next = self.check(at)?;
        }
        if next != AfterVisit::Continue {
            return Ok(next);
        }
        self.sent.insert(at);
        match self.runner.plan(&new_job(), package, self.units)? {
            RequestOutcome::Finished(Finished { value, .. }) => {
                let share = plan_share(&self.device, package, &value);
                self.append_answer(Some(package), "plan", Measurement::Plan(share))?;
            }
            other => self.record_failure(Some(package), "plan", &outcome_of(&other))?,
        }
        self.decode_alone(at)
    }

    /// Checks whether the device computes what this machine does.
    fn check(&mut self, at: usize) -> Result<AfterVisit> {
        let Prepared { subject, expected, .. } = &self.question.subjects[at];
        let positions: Vec<u32> = (0..expected.ids().len() as u32).collect();
        let scored = self.runner.score(&new_job(), expected.ids(), &positions)?;
        match scored {
            RequestOutcome::Finished(Finished { value: (scored, logits), .. }) => {
                let logits: Vec<Vec<f32>> = logits.into_iter().map(|one| one.values).collect();
                let (device, package) = (self.device.clone(), subject.package.clone());
                let compared = expected.compare(&scored, &logits);
                let check = CorrectnessCheck { device, package, ..compared };
                let check = Measurement::CorrectnessCheck(check);
                match self.append_answer(Some(&subject.package), "score", check)? {
                    Some(outcome) => Ok(self.after(at, &outcome)),
                    None => Ok(AfterVisit::Continue),
                }
            }
            other => {
                let outcome = outcome_of(&other);
                self.record_failure(Some(&subject.package), "score", &outcome)?;
                Ok(self.after(at, &outcome))
            }
        }
    }

    pub(super) fn record_failure(
        &mut self,
        package: Option<&str>,
        step: &str,
        outcome: &AttemptOutcome,
    ) -> Result<()> {
        let reason = outcome.reason().map(|(how, why)| format!("{how}: {why}"));
        self.file.append(Measurement::FailedStep(FailedStep {
            device: self.device.clone(),
            package: package.map(str::to_owned),
            step: step.to_owned(),
            reason: reason.unwrap_or_default(),
        }))
    }
}

/// What the numbers of a runner are, and what they come from.
fn origin(description: &Description) -> String {
    let how = if description.simulated { "simulated" } else { "measured" };
    let Description { device, engine, .. } = description;
    format!("{how} on {} (engine {engine})", device.model_identifier)
}
