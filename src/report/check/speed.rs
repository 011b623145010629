//! Speed, load and memory: medians over repetitions, compared by visits of a device to a package.
//!
//! A visit loads the package anew. Repetitions of one visit share its process and its weather, so
//! that visits are what is resampled first.

use std::collections::BTreeMap;

use super::quality::changed;
use super::{Found, Metric, Side};
use crate::results::measurement::{
    Attempt, Measurement, Method, Outcome, SeenDevice, Subject, Truth,
};
use crate::results::runner::Figures;
use crate::stats::{Bootstrap, Evidence, Verdict, ratio_of_medians};

/// Resamples of a check: standard errors need fewer than the ends of percentile intervals do.
const RESAMPLES: usize = 2_000;

const METRICS: [Metric; 4] = [Metric::Decode, Metric::Ttft, Metric::Load, Metric::Memory];

/// What was measured of a package on a device.
struct Measured<'a> {
    method: &'a Method,
    device: &'a SeenDevice,
    subject: &'a Subject,
    /// Values by metric and visit.
    values: BTreeMap<Metric, BTreeMap<usize, Vec<f64>>>,
    /// What did not count, in words.
    spoiled: Vec<String>,
    truth: Option<&'a Truth>,
}

/// Variant, design and device, by which packages of two runs are paired.
type Key = (String, String, String);

/// Rows for every package that the baseline measured on a device, and what only one of the two has.
pub(super) fn compare(now: Side<'_>, then: Side<'_>, seed: u64) -> (Vec<Found>, Vec<String>) {
    let (ours, theirs) = (gather(now.measured), gather(then.measured));
    let mut rows = Vec::new();
    for (key, old) in &theirs {
        let (variant, place) = (key.0.as_str(), key.2.as_str());
        let Some(new) = ours.get(key) else {
            rows.extend(invalid(variant, place, "it was not measured there in this run"));
            continue;
        };
        if let Some(why) = incomparable(new, old) {
            rows.extend(invalid(variant, place, &why));
            continue;
        }
        let wrong = |one: &Measured<'_>| one.truth.filter(|truth| !truth.holds).map(|t| t.what.clone());
        match (wrong(new), wrong(old)) {
            (Some(what), None) => {
                let why = format!("the device computes something else: {what}");
                rows.push(Found::result(variant, place, Verdict::Regressed, why));
            }
            (Some(what), Some(_)) => {
                rows.extend(invalid(variant, place, &format!("the device computes something else: {what}")));
            }
            (None, _) => rows.extend(METRICS.iter().filter_map(|&m| row(new, old, m, seed))),
        }
    }
    let new = ours.keys().filter(|key| !theirs.contains_key(*key));
    let unjudged = new.map(|(variant, _, device)| {
        format!("{variant} on {device} is not in the baseline")
    });
    (rows, unjudged.collect())
}

fn invalid<'a>(
    variant: &'a str,
    place: &'a str,
    why: &'a str,
) -> impl Iterator<Item = Found> + 'a {
    METRICS.iter().map(move |&metric| Found::invalid(variant, place, metric, why))
}

fn row(new: &Measured<'_>, old: &Measured<'_>, metric: Metric, seed: u64) -> Option<Found> {
    let runs = |one: &Measured<'_>| -> Vec<Vec<f64>> {
        one.values.get(&metric).map(|visits| visits.values().cloned().collect()).unwrap_or_default()
    };
    let (variant, place) = (new.subject.variant.as_str(), new.device.device.as_str());
    let (ours, theirs) = (runs(new), runs(old));
    let refused = |one: &Measured<'_>, which: &str| {
        let why = one.spoiled.last().map_or(String::new(), |why| format!(": {why}"));
        Found::invalid(variant, place, metric, format!("nothing counts in {which}{why}"))
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
    let bootstrap = Bootstrap { seed, resamples: RESAMPLES, level: 0.95, block_length: 1 };
    Some(match ratio_of_medians(&ours, &theirs, &bootstrap) {
        Ok(effect) => Found {
            values: [Some(changed(&effect)), Some(effect.baseline)],
            evidence: Evidence::Estimated(effect),
            ..Found::invalid(variant, place, metric, "")
        },
        Err(why) => Found::invalid(variant, place, metric, why.to_string()),
    })
}

/// Why two measurements of one variant cannot be held against one another.
fn incomparable(now: &Measured<'_>, then: &Measured<'_>) -> Option<String> {
    for (one, which) in [(now, "this run"), (then, "the baseline")] {
        if one.device.description.simulated {
            return Some(format!("simulated in {which}"));
        }
    }
    let fields = |one: &Measured<'_>| {
        let (description, method) = (&one.device.description, one.method);
        let device = &description.device;
        let build = device.os_build.as_ref().map_or(String::new(), |build| format!(" {build}"));
        [
            ("model", super::differences::short(&one.subject.model_hash)),
            ("device", format!("{} {}", device.model_identifier, device.chip.as_deref().unwrap_or(""))),
            ("system", format!("{}{build}", device.os)),
            ("engine", format!("{} {}", description.engine, description.runtime)),
            ("prompt", super::differences::short(&method.prompt_hash)),
            ("number of tokens", method.tokens.to_string()),
            ("compute units", method.compute_units.clone()),
        ]
    };
    let (now, then) = (fields(now), fields(then));
    let differing = now.iter().zip(&then).find(|(now, then)| now != then);
    differing.map(|((what, now), (_, then))| format!("other {what}: {}, was {}", now.trim(), then.trim()))
}

/// A device in one line.
pub(super) fn describe(seen: &SeenDevice) -> String {
    let device = &seen.description.device;
    let simulated = if seen.description.simulated { "SIMULATED " } else { "" };
    let build = device.os_build.as_ref().map_or(String::new(), |build| format!(" {build}"));
    let name = seen.marketing_name.as_deref().unwrap_or(&device.model_identifier);
    format!("{simulated}{} ({name}, {}{build})", seen.device, device.os)
}

/// Everything that counts under the last method, by variant, design and device.
fn gather(all: &[Measurement]) -> BTreeMap<Key, Measured<'_>> {
    let mut found = BTreeMap::new();
    let method = all.iter().rev().find_map(|one| match one {
        Measurement::Method(method) => Some(method),
        _ => None,
    });
    let Some(method) = method else { return found };
    let subjects = latest(all, |one| match one {
        Measurement::Subject(subject) => Some(((&subject.variant, &subject.design), subject)),
        _ => None,
    });
    let devices = latest(all, |one| match one {
        Measurement::Device(seen) => Some((&seen.device, seen)),
        _ => None,
    });
    for device in devices.values() {
        for ((variant, design), subject) in &subjects {
            let mut measured = Measured {
                method,
                device,
                subject,
                values: BTreeMap::new(),
                spoiled: Vec::new(),
                truth: None,
            };
            all.iter().for_each(|one| measured.add(one));
            let is_there = !(measured.values.is_empty() && measured.spoiled.is_empty());
            if is_there || measured.truth.is_some() {
                let key = ((*variant).clone(), (*design).clone(), device.device.clone());
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
                self.spoil("load", &load.attempt.outcome);
                if let Some(loaded) = &load.loaded {
                    if !loaded.first {
                        self.push(Metric::Load, load.attempt.visit, loaded.load_ms);
                    }
                    self.peak(load.attempt.visit, loaded.samples.iter().chain([&loaded.after]));
                }
            }
            Measurement::Repetition(one) if self.is_own(&one.attempt) => {
                self.spoil("repetition", &one.attempt.outcome);
                let kept = one.generated.as_ref().filter(|_| one.attempt.outcome == Outcome::Kept);
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
            Measurement::Truth(truth)
                if truth.device == self.device.device && truth.package == self.subject.package =>
            {
                self.truth = Some(truth);
            }
            _ => {}
        }
    }

    fn is_own(&self, attempt: &Attempt) -> bool {
        attempt.device == self.device.device
            && attempt.package == self.subject.package
            && attempt.method_id == self.method.method_id
    }

    fn spoil(&mut self, what: &str, outcome: &Outcome) {
        if let Some((how, why)) = outcome.reason() {
            self.spoiled.push(format!("{what} {how}: {why}"));
        }
    }

    fn push(&mut self, metric: Metric, visit: usize, value: f64) {
        if value.is_finite() && value > 0.0 {
            self.values.entry(metric).or_default().entry(visit).or_default().push(value);
        }
    }

    /// One peak per visit: a process holds on to its own.
    fn peak<'f>(&mut self, visit: usize, figures: impl Iterator<Item = &'f Figures>) {
        let peak = figures.filter_map(|now| now.footprint_peak_bytes.max(now.footprint_bytes)).max();
        let Some(peak) = peak.filter(|peak| *peak > 0) else { return };
        let peaks = self.values.entry(Metric::Memory).or_default().entry(visit).or_default();
        let highest = peaks.first().copied().unwrap_or(0.0).max(peak as f64);
        *peaks = vec![highest];
    }
}
