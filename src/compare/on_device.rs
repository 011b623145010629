//! What was measured of each package on each device, gathered from single measurements.

use super::origins::{Origin, origins};
use crate::results::measurement::{
    AttemptOutcome, CorrectnessCheck, Load, Measurement, Method, Repetition, SeenDevice, Subject,
};
use crate::results::runner::Figures;
use crate::stats::{Estimate, Sample, median};

/// The level of intervals.
const LEVEL: f64 = 0.95;

/// A package on a device.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow<'a> {
    /// The package.
    pub subject: &'a Subject,
    /// The first load of this content by this runner, without compilation.
    pub load_first_ms: Option<f64>,
    /// Median of every later load.
    pub load_ms: Option<Estimate>,
    /// Median time from the prompt's arrival to the first token.
    pub ttft_ms: Option<Estimate>,
    /// Median speed of reading the prompt.
    pub prefill_tokens_per_s: Option<Estimate>,
    /// Median speed of decoding.
    pub decode_tokens_per_s: Option<Estimate>,
    /// 95th percentile of the time between two tokens, over all kept repetitions.
    pub token_p95_ms: Option<f64>,
    /// The largest footprint of the process.
    pub footprint_peak_bytes: Option<u64>,
    /// The most memory of the Neural Engine that the footprint does not include.
    pub neural_bytes: Option<u64>,
    /// The largest footprint with `decode` alone, in a process of its own.
    pub decode_alone_peak_bytes: Option<u64>,
    /// Repetitions that were kept.
    pub kept: usize,
    /// Attempts that did not count, in words, in order.
    pub failures: Vec<String>,
    /// Whether the device computes the model; `None` if that was not checked.
    pub correctness: Option<&'a CorrectnessCheck>,
    /// Kept repetitions in order, without those of a sustained measurement.
    pub bursts: Vec<Burst>,
}

/// A repetition that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// The visit: between two visits the package was loaded again.
    pub visit: usize,
    /// Time from the prompt's arrival to the first token.
    pub ttft_ms: f64,
    /// Speed of decoding.
    pub decode_tokens_per_s: f64,
}

/// A device with the packages that were measured on it by one runner.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRows<'a> {
    /// The device.
    pub device: &'a SeenDevice,
    /// The packages of which anything is known there.
    pub rows: Vec<DeviceRow<'a>>,
    /// The measurements that they rest on.
    pub own: Vec<&'a Measurement>,
}

/// The measurements of one method.
#[derive(Debug, Clone, PartialEq)]
pub struct OnDevices<'a> {
    /// The method.
    pub method: &'a Method,
    /// The devices, in order of appearance; one that was measured by two runners is there twice.
    pub devices: Vec<DeviceRows<'a>>,
}

impl<'a> OnDevices<'a> {
    /// Gathers what `all` holds under its last method; `None` if it has no method.
    pub fn of(all: &'a [Measurement]) -> Option<OnDevices<'a>> {
        let method = last_method(all)?;
        let subjects = subjects(all);
        let of_origin = |origin: Origin<'a>| {
            let rows = subjects.iter().map(|subject| DeviceRow::of(&origin, method, subject));
            let is_known = |row: &DeviceRow<'_>| {
                row.kept > 0 || row.correctness.is_some() || !row.failures.is_empty()
            };
            let rows = rows.filter(is_known).collect();
            DeviceRows { device: origin.device, rows, own: origin.own }
        };
        let devices = origins(all).into_iter().map(of_origin);
        Some(OnDevices { method, devices: devices.filter(|one| !one.rows.is_empty()).collect() })
    }
}

/// The last method.
pub fn last_method(all: &[Measurement]) -> Option<&Method> {
    all.iter().rev().find_map(|one| match one {
        Measurement::Method(method) => Some(method),
        _ => None,
    })
}

/// Every package once, in order of appearance.
pub fn subjects(all: &[Measurement]) -> Vec<&Subject> {
    let mut found: Vec<&Subject> = Vec::new();
    for one in all {
        if let Measurement::Subject(subject) = one
            && !found.iter().any(|known| known.package == subject.package)
        {
            found.push(subject);
        }
    }
    found
}

impl<'a> DeviceRow<'a> {
    /// Gathers what `origin` measured of `subject` under `method`.
    fn of(origin: &Origin<'a>, method: &Method, subject: &'a Subject) -> DeviceRow<'a> {
        let is_own = |package: &str| package == subject.package;
        let all = &origin.own;
        let loads: Vec<&Load> = all
            .iter()
            .filter_map(|one| match one {
                Measurement::Load(load) => Some(load),
                _ => None,
            })
            .filter(|load| is_own(&load.attempt.package))
            .filter(|load| load.attempt.method_id == method.method_id)
            .collect();
        let repetitions: Vec<&Repetition> = all
            .iter()
            .filter_map(|one| match one {
                Measurement::Repetition(repetition) => Some(repetition),
                _ => None,
            })
            .filter(|one| is_own(&one.attempt.package))
            .filter(|one| one.attempt.method_id == method.method_id)
            .collect();
        let correctness = origin.correctness(&subject.package, &method.method_id);
        let decode_alone_peak_bytes = all.iter().rev().find_map(|one| match one {
            Measurement::DecodeAlone(one)
                if is_own(&one.package)
                    && one.method_id == method.method_id
                    && one.fresh_process =>
            {
                one.footprint_peak_bytes()
            }
            _ => None,
        });
        let empty = DeviceRow::empty(subject);
        let mut row = DeviceRow { correctness, decode_alone_peak_bytes, ..empty };
        row.add_loads(&loads);
        row.add_repetitions(&repetitions);
        row
    }

    fn empty(subject: &'a Subject) -> DeviceRow<'a> {
        DeviceRow {
            subject,
            load_first_ms: None,
            load_ms: None,
            ttft_ms: None,
            prefill_tokens_per_s: None,
            decode_tokens_per_s: None,
            token_p95_ms: None,
            footprint_peak_bytes: None,
            neural_bytes: None,
            decode_alone_peak_bytes: None,
            kept: 0,
            failures: Vec::new(),
            correctness: None,
            bursts: Vec::new(),
        }
    }

    fn add_loads(&mut self, loads: &[&Load]) {
        let kept: Vec<_> = loads.iter().filter_map(|load| load.loaded.as_ref()).collect();
        let first = kept.iter().find(|loaded| loaded.first);
        self.load_first_ms = first.map(|loaded| loaded.load_ms);
        let later = kept.iter().filter(|loaded| !loaded.first).map(|loaded| loaded.load_ms);
        self.load_ms = median(&later.collect::<Vec<f64>>(), LEVEL);
        for loaded in kept {
            self.add_figures(loaded.samples.iter().chain([&loaded.after]));
        }
        self.failures
            .extend(loads.iter().filter_map(|load| disturbance("load", &load.attempt.outcome)));
    }

    fn add_repetitions(&mut self, repetitions: &[&Repetition]) {
        let is_kept = |one: &&&Repetition| one.attempt.outcome == AttemptOutcome::Kept;
        let kept: Vec<_> = repetitions
            .iter()
            .filter(is_kept)
            .filter_map(|one| {
                Some((one.attempt.visit, one.sustained_at_ms, one.generated.as_ref()?))
            })
            .collect();
        let bursts: Vec<_> = kept.iter().filter(|(_, at, _)| at.is_none()).collect();
        self.bursts = bursts
            .iter()
            .map(|(visit, _, one)| Burst {
                visit: *visit,
                ttft_ms: one.ttft_ms,
                decode_tokens_per_s: rate(one.token_ms.len(), one.token_ms.iter().sum()),
            })
            .collect();
        self.kept = self.bursts.len();
        let of = |value: fn(&Burst) -> f64| {
            median(&self.bursts.iter().map(value).collect::<Vec<f64>>(), LEVEL)
        };
        self.ttft_ms = of(|burst| burst.ttft_ms);
        self.decode_tokens_per_s = of(|burst| burst.decode_tokens_per_s);
        let prefills: Vec<f64> =
            bursts.iter().map(|(_, _, one)| rate(one.prompt_tokens, one.ttft_ms)).collect();
        self.prefill_tokens_per_s = median(&prefills, LEVEL);
        let gaps: Vec<f64> = bursts.iter().flat_map(|(_, _, one)| &one.token_ms).copied().collect();
        self.token_p95_ms = Sample::new(gaps).ok().map(|sample| sample.quantile(0.95));
        for (_, _, generated) in kept {
            self.add_figures(generated.samples.iter().chain([&generated.after]));
        }
        let failures =
            repetitions.iter().filter_map(|one| disturbance("repetition", &one.attempt.outcome));
        self.failures.extend(failures);
    }

    fn add_figures<'f>(&mut self, figures: impl Iterator<Item = &'f Figures>) {
        for now in figures {
            let footprint = now.footprint_peak_bytes.max(now.footprint_bytes);
            self.footprint_peak_bytes = self.footprint_peak_bytes.max(footprint);
            self.neural_bytes = self.neural_bytes.max(now.neural_bytes).max(now.neural_peak_bytes);
        }
    }
}

fn rate(tokens: usize, elapsed_ms: f64) -> f64 {
    tokens as f64 * 1000.0 / elapsed_ms
}

/// What kept an attempt from counting, in words; `None` if it counts or was a warm-up.
pub(super) fn disturbance(what: &str, outcome: &AttemptOutcome) -> Option<String> {
    let (how, why) = outcome.reason()?;
    Some(format!("{what} {how}: {why}"))
}
