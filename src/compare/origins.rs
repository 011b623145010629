//! What each runner measured: the measurements of a device, told apart by what answered under its name.
//!
//! A file of measurements may hold a simulated runner and a real one under one name, or a runner before
//! and after an update. A measurement belongs to the description that precedes it, never to a later one,
//! and a check of correctness only counts for the runner, package and method that it was made with.

use std::collections::BTreeMap;

use crate::results::measurement::{CorrectnessCheck, Measurement, SeenDevice};
use crate::results::runner::Description;

/// The measurements of a device that come from one kind of runner on one kind of machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin<'a> {
    /// The device as this runner described it last.
    pub device: &'a SeenDevice,
    /// Its measurements, in order.
    pub own: Vec<&'a Measurement>,
    /// Its checks of correctness, each with what it was made with.
    checks: Vec<Checked<'a>>,
}

/// A check of correctness, with the method and the runner that it was made with.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Checked<'a> {
    check: &'a CorrectnessCheck,
    /// `None` if no method precedes it.
    method_id: Option<&'a str>,
    by: &'a Description,
}

impl<'a> Origin<'a> {
    /// The last check of a package that was made with this method and by the runner that answered last.
    pub fn correctness(&self, package: &str, method_id: &str) -> Option<&'a CorrectnessCheck> {
        let counts = |one: &&Checked<'_>| {
            one.check.package == package
                && one.method_id.is_none_or(|own| own == method_id)
                && one.by.is_same_runner(&self.device.description)
        };
        self.checks.iter().rev().find(counts).map(|one| one.check)
    }
}

/// Every origin, in order of appearance.
pub fn origins(all: &[Measurement]) -> Vec<Origin<'_>> {
    let mut found: Vec<Origin<'_>> = Vec::new();
    let mut now: BTreeMap<&str, usize> = BTreeMap::new();
    let mut method_id = None;
    for one in all {
        match one {
            Measurement::Method(method) => method_id = Some(method.method_id.as_str()),
            Measurement::Device(seen) => {
                let is_it = |known: &Origin<'_>| {
                    known.device.device == seen.device
                        && known.device.description.is_same_origin(&seen.description)
                };
                let at = found.iter().position(is_it).unwrap_or(found.len());
                match found.get_mut(at) {
                    Some(known) => known.device = seen,
                    None => {
                        found.push(Origin { device: seen, own: Vec::new(), checks: Vec::new() });
                    }
                }
                now.insert(&seen.device, at);
            }
            _ => {
                let place = device_of(one).and_then(|device| now.get(device));
                let Some(origin) = place.and_then(|at| found.get_mut(*at)) else { continue };
                if let Measurement::CorrectnessCheck(check) = one {
                    let by = &origin.device.description;
                    origin.checks.push(Checked { check, method_id, by });
                }
                origin.own.push(one);
            }
        }
    }
    found
}

/// The device that a measurement was made on, by name.
fn device_of(one: &Measurement) -> Option<&str> {
    let device: &String = match one {
        Measurement::Method(_) | Measurement::Subject(_) => return None,
        Measurement::Device(seen) => &seen.device,
        Measurement::Sent(sent) => &sent.device,
        Measurement::Load(load) => &load.attempt.device,
        Measurement::Repetition(repetition) => &repetition.attempt.device,
        Measurement::CorrectnessCheck(check) => &check.device,
        Measurement::Plan(plan) => &plan.device,
        Measurement::DecodeAlone(alone) => &alone.device,
        Measurement::FailedStep(failed) => &failed.device,
    };
    Some(device)
}

/// Whether the failed step at `at` was taken later: the device answered, or the package was sent,
/// checked or planned. It is history then. `false` for anything else than a failed step.
pub fn is_overcome(all: &[Measurement], at: usize) -> bool {
    let Some(Measurement::FailedStep(failed)) = all.get(at) else { return false };
    let package = failed.package.as_deref();
    all[at + 1..].iter().any(|later| {
        let of = match later {
            Measurement::Device(_) if package.is_none() => None,
            Measurement::Sent(sent) if failed.step == "send" => Some(&sent.package),
            Measurement::CorrectnessCheck(check) if failed.step == "score" => Some(&check.package),
            Measurement::Plan(plan) if failed.step == "plan" => Some(&plan.package),
            Measurement::DecodeAlone(one) if failed.step == "decode alone" => Some(&one.package),
            _ => return false,
        };
        device_of(later) == Some(failed.device.as_str()) && of.map(String::as_str) == package
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::on_device::OnDevices;
    use crate::results::measurement::{
        Attempt, AttemptOutcome, FailedStep, Method, Repetition, Subject,
    };
    use crate::results::runner::Generated;

    fn device(simulated: bool, runner: &str) -> Measurement {
        let description =
            Description { simulated, runner: runner.into(), ..Description::default() };
        let device = "tcp:127.0.0.1:1".into();
        Measurement::Device(SeenDevice { device, description, ..SeenDevice::default() })
    }

    fn method(method_id: &str) -> Measurement {
        Measurement::Method(Method { method_id: method_id.into(), ..Method::default() })
    }

    fn check(holds: bool) -> Measurement {
        let (device, package) = ("tcp:127.0.0.1:1".into(), "p".into());
        Measurement::CorrectnessCheck(CorrectnessCheck {
            device,
            package,
            holds,
            ..CorrectnessCheck::default()
        })
    }

    fn repetition(ttft_ms: f64) -> Measurement {
        let attempt = Attempt {
            method_id: "m".into(),
            device: "tcp:127.0.0.1:1".into(),
            package: "p".into(),
            outcome: AttemptOutcome::Kept,
            ..Attempt::default()
        };
        let generated = Generated { ttft_ms, token_ms: vec![1.0], ..Generated::default() };
        let generated = Some(generated);
        Measurement::Repetition(Repetition { attempt, generated, ..Repetition::default() })
    }

    fn subject() -> Measurement {
        Measurement::Subject(Subject { package: "p".into(), ..Subject::default() })
    }

    #[test]
    fn each_repetition_has_the_description_before_it_and_simulated_ones_are_never_mixed() {
        let all = [
            method("m"),
            subject(),
            device(true, "r"),
            repetition(1.0),
            device(false, "r"),
            repetition(100.0),
            repetition(102.0),
        ];
        let found = OnDevices::of(&all).unwrap().devices;
        let seen: Vec<(bool, usize, f64)> = found
            .iter()
            .map(|one| {
                let row = &one.rows[0];
                (one.device.description.simulated, row.kept, row.ttft_ms.unwrap().point)
            })
            .collect();
        assert_eq!(seen, [(true, 1, 1.0), (false, 2, 101.0)]);
    }

    #[test]
    fn a_check_counts_for_its_method_and_its_runner_only() {
        let known = |all: &[Measurement]| {
            let found = OnDevices::of(all).unwrap().devices;
            found.first().and_then(|one| one.rows[0].correctness).map(|check| check.holds)
        };
        let begun = [method("m"), subject(), device(false, "r"), check(true)];
        assert_eq!(known(&begun), Some(true));
        let same = [&begun[..], &[device(false, "r")]].concat();
        assert_eq!(known(&same), Some(true));
        let other_method = [&begun[..], &[method("n"), device(false, "r")]].concat();
        assert_eq!(known(&other_method), None);
        let other_runner = [&begun[..], &[device(false, "r 2"), repetition(1.0)]].concat();
        assert_eq!(known(&other_runner), None);
        let again = [&other_runner[..], &[check(false)]].concat();
        assert_eq!(known(&again), Some(false));
    }

    #[test]
    fn a_step_that_was_taken_later_is_overcome() {
        let failed = |step: &str, package: Option<&str>| {
            Measurement::FailedStep(FailedStep {
                device: "tcp:127.0.0.1:1".into(),
                package: package.map(str::to_owned),
                step: step.into(),
                reason: String::new(),
            })
        };
        let all = [
            failed("reach", None),
            failed("score", Some("p")),
            failed("score", Some("q")),
            device(false, "r"),
            check(true),
            failed("reach", None),
        ];
        let overcome: Vec<bool> = (0..all.len()).map(|at| is_overcome(&all, at)).collect();
        assert_eq!(overcome, [true, true, false, false, false, false]);
    }
}
