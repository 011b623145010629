//! Speed, load and memory: medians over repetitions, compared by visits of a device to a package.
//!
//! A visit loads the package anew. Repetitions within a visit share its process and the state of the
//! device, so visits are resampled first, then repetitions.

use std::collections::BTreeMap;

use super::series::Series;
use super::{Found, Metric};
use crate::compare::differences::short;
use crate::compare::on_device::{disturbance, last_method};
use crate::compare::origins::{Origin, is_overcome, origins};
use crate::results::RunFolder;
use crate::results::measurement::{
    Attempt, AttemptOutcome, CorrectnessCheck, Measurement, Method, SeenDevice, Subject,
};
use crate::results::runner::Figures;
use crate::stats::{Bootstrap, Estimate, Evidence, Verdict, median, ratio_of_medians};

/// Resamples of a change: a standard error needs fewer than the ends of a percentile interval.
const RESAMPLES: usize = 2_000;

/// The level of intervals of medians, which decide only how many digits are shown.
const LEVEL: f64 = 0.95;

const METRICS: [Metric; 4] = [Metric::Decode, Metric::Ttft, Metric::Load, Metric::Memory];

/// What was measured of a package on a device.
struct Measured<'a> {
    method: &'a Method,
    device: &'a SeenDevice,
    subject: &'a Subject,
    /// Values by metric and visit.
    values: BTreeMap<Metric, BTreeMap<usize, Vec<f64>>>,
    /// Attempts that did not count, in words.
    disturbed: Vec<String>,
    correctness: Option<&'a CorrectnessCheck>,
    /// Whether several runners measured it under the device's name.
    is_mixed: bool,
}

/// What identifies the same package on the same device in two runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    variant: String,
    design: String,
    device: String,
}

/// Rows for every package that the baseline measured on a device, and notes on what only one of the
/// two runs has and on attempts of this run that did not count.
pub(super) fn compare(now: &RunFolder, then: &RunFolder, seed: u64) -> (Vec<Found>, Vec<String>) {
    let (ours, theirs) = (gather(&now.measured), gather(&then.measured));
    let mut rows = Vec::new();
    for (key, old) in &theirs {
        let (variant, place) = (key.variant.as_str(), key.device.as_str());
        let invalid = |why: String| Found::invalid(variant, place, Metric::Result, why);
        let Some(new) = ours.get(key) else {
            let why = format!("it was not measured there in this run{}", trouble(now, place));
            rows.push(Found::scarce(variant, place, Metric::Result, why));
            continue;
        };
        if let Some(why) = incomparable(new, old) {
            rows.push(invalid(why));
            continue;
        }
        match (new.wrong(), old.wrong()) {
            (Some(correctness), None) => {
                let why = format!("the device computes a different model: {}", correctness.what);
                rows.push(Found::result(variant, place, Verdict::Regressed, why));
            }
            (Some(correctness), Some(_)) => {
                let why = "the device computes a different model, as in the baseline";
                rows.push(invalid(format!("{why}: {}", correctness.what)));
            }
            (None, _) => rows.extend(METRICS.iter().filter_map(|&m| row(new, old, m, seed))),
        }
    }
    let new = ours.keys().filter(|key| !theirs.contains_key(*key));
    let new = new
        .map(|Key { variant, device, .. }| format!("{variant} on {device} is not in the baseline"));
    let disturbed = ours.iter().filter_map(|(Key { variant, device, .. }, one)| {
        let last = one.disturbed.last()?;
        let attempts = one.disturbed.len();
        Some(format!("{variant} on {device}: attempts not counted: {attempts}; last: {last}"))
    });
    let asides = new.chain(disturbed).collect();
    (rows, asides)
}

/// Medians of one run by variant, device and metric; simulated devices have none.
pub(super) fn alone(measured: &[Measurement]) -> Vec<(Series, Estimate)> {
    let mut found = Vec::new();
    for (Key { variant, device, .. }, one) in gather(measured) {
        let is_simulated = one.device.description.simulated;
        for metric in METRICS.into_iter().filter(|_| !is_simulated) {
            let value = typical(&one.visits(metric));
            let series = Series { metric, variant: variant.clone(), place: device.clone() };
            found.extend(value.map(|value| (series, value)));
        }
    }
    found
}

/// Why a device was not measured, as `: step: reason`; empty if no reason is recorded.
fn trouble(side: &RunFolder, device: &str) -> String {
    let all = &side.measured;
    let last = all.iter().enumerate().rev().find_map(|(at, one)| match one {
        Measurement::FailedStep(failed) if failed.device == device && !is_overcome(all, at) => {
            Some(failed)
        }
        _ => None,
    });
    last.map_or(String::new(), |trouble| format!(": {}: {}", trouble.step, trouble.reason))
}

fn row(new: &Measured<'_>, old: &Measured<'_>, metric: Metric, seed: u64) -> Option<Found> {
    let (variant, place) = (new.subject.variant.as_str(), new.device.device.as_str());
    let (ours, theirs) = (new.visits(metric), old.visits(metric));
    let refused = |one: &Measured<'_>, which: &str| {
        let why = one.disturbed.last().map_or(String::new(), |why| format!(": {why}"));
        Found::scarce(variant, place, metric, format!("no repetition counts in {which}{why}"))
    };
    if ours.is_empty() && theirs.is_empty() {
        return None;
    }
    if ours.is_empty() {
        return Some(refused(new, "this run"));
    }
    if theirs.is_empty() {
        return Some(refused(old, "the baseline"));
    }
    let bootstrap = Bootstrap { seed, resamples: RESAMPLES, level: LEVEL, block_length: 1 };
    Some(match ratio_of_medians(&ours, &theirs, &bootstrap) {
        Ok(effect) => Found {
            values: [typical(&ours), typical(&theirs)],
            ..Found::new(variant, place, metric, Evidence::Estimated(effect))
        },
        Err(why) => Found::invalid(variant, place, metric, why.to_string()),
    })
}

/// The median over all repetitions.
fn typical(visits: &[Vec<f64>]) -> Option<Estimate> {
    median(&visits.concat(), LEVEL)
}

/// Why two measurements of one variant cannot be compared.
fn incomparable(now: &Measured<'_>, then: &Measured<'_>) -> Option<String> {
    for (one, which) in [(now, "this run"), (then, "the baseline")] {
        if one.device.description.simulated {
            return Some(format!("simulated in {which}"));
        }
        if one.is_mixed {
            return Some(format!("several runners measured under the device's name in {which}"));
        }
    }
    let fields = |one: &Measured<'_>| {
        let (description, method) = (&one.device.description, one.method);
        let device = &description.device;
        let build = device.os_build.as_ref().map_or(String::new(), |build| format!(" {build}"));
        [
            ("model", short(&one.subject.model_hash)),
            (
                "device",
                format!("{} {}", device.model_identifier, device.chip.as_deref().unwrap_or("")),
            ),
            ("system", format!("{}{build}", device.os)),
            ("engine", format!("{} {}", description.engine, description.runtime)),
            ("prompt", short(&method.prompt_hash)),
            ("number of tokens", method.tokens.to_string()),
            ("compute units", method.compute_units.clone()),
        ]
    };
    let (now, then) = (fields(now), fields(then));
    let differing = now.iter().zip(&then).find(|(now, then)| now != then);
    differing.map(|((what, now), (_, then))| {
        format!("different {what}: {}, was {}", now.trim(), then.trim())
    })
}

/// Everything that counts under the last method, by variant, design and device.
fn gather(all: &[Measurement]) -> BTreeMap<Key, Measured<'_>> {
    let mut found = BTreeMap::new();
    let Some(method) = last_method(all) else { return found };
    let subjects = latest(all, |one| match one {
        Measurement::Subject(subject) => Some(((&subject.variant, &subject.design), subject)),
        _ => None,
    });
    for origin in &origins(all) {
        let Origin { device, own, .. } = origin;
        for ((variant, design), subject) in &subjects {
            let mut measured = Measured {
                method,
                device,
                subject,
                values: BTreeMap::new(),
                disturbed: Vec::new(),
                correctness: origin.correctness(&subject.package, &method.method_id),
                is_mixed: false,
            };
            own.iter().for_each(|one| measured.add(one));
            let is_there = !(measured.values.is_empty() && measured.disturbed.is_empty());
            if is_there || measured.correctness.is_some() {
                let (variant, design) = ((*variant).clone(), (*design).clone());
                let key = Key { variant, design, device: device.device.clone() };
                measured.is_mixed = found.contains_key(&key);
                found.insert(key, measured);
            }
        }
    }
    found
}

fn latest<'a, K: Ord, V>(
    all: &'a [Measurement],
    of: impl Fn(&'a Measurement) -> Option<(K, V)>,
) -> BTreeMap<K, V> {
    all.iter().filter_map(of).collect()
}

impl<'a> Measured<'a> {
    fn add(&mut self, one: &'a Measurement) {
        match one {
            Measurement::Load(load) if self.is_own(&load.attempt) => {
                self.note_disturbed("load", &load.attempt.outcome);
                if let Some(loaded) = &load.loaded {
                    if !loaded.first {
                        self.push(Metric::Load, load.attempt.visit, loaded.load_ms);
                    }
                    self.peak(load.attempt.visit, loaded.samples.iter().chain([&loaded.after]));
                }
            }
            Measurement::Repetition(one) if self.is_own(&one.attempt) => {
                self.note_disturbed("repetition", &one.attempt.outcome);
                let kept =
                    one.generated.as_ref().filter(|_| one.attempt.outcome == AttemptOutcome::Kept);
                let Some(generated) = kept else { return };
                let visit = one.attempt.visit;
                self.peak(visit, generated.samples.iter().chain([&generated.after]));
                if one.sustained_at_ms.is_none() {
                    let elapsed_ms: f64 = generated.token_ms.iter().sum();
                    let rate = generated.token_ms.len() as f64 * 1000.0 / elapsed_ms;
                    self.push(Metric::Decode, visit, rate);
                    self.push(Metric::Ttft, visit, generated.ttft_ms);
                }
            }
            _ => {}
        }
    }

    /// The failed check of correctness; `None` if it passed or was not made.
    fn wrong(&self) -> Option<&'a CorrectnessCheck> {
        self.correctness.filter(|correctness| !correctness.holds)
    }

    /// The values of each visit.
    fn visits(&self, metric: Metric) -> Vec<Vec<f64>> {
        let visits = self.values.get(&metric);
        visits.map_or_else(Vec::new, |visits| visits.values().cloned().collect())
    }

    fn is_own(&self, attempt: &Attempt) -> bool {
        attempt.device == self.device.device
            && attempt.package == self.subject.package
            && attempt.method_id == self.method.method_id
    }

    fn note_disturbed(&mut self, what: &str, outcome: &AttemptOutcome) {
        self.disturbed.extend(disturbance(what, outcome));
    }

    fn push(&mut self, metric: Metric, visit: usize, value: f64) {
        if value.is_finite() && value > 0.0 {
            self.values.entry(metric).or_default().entry(visit).or_default().push(value);
        }
    }

    /// One peak per visit: a process keeps its peak for its whole life.
    fn peak<'f>(&mut self, visit: usize, figures: impl Iterator<Item = &'f Figures>) {
        let peak =
            figures.filter_map(|now| now.footprint_peak_bytes.max(now.footprint_bytes)).max();
        let Some(peak) = peak.filter(|peak| *peak > 0) else { return };
        let peaks = self.values.entry(Metric::Memory).or_default().entry(visit).or_default();
        let highest = peaks.first().copied().unwrap_or(0.0).max(peak as f64);
        *peaks = vec![highest];
    }
}
