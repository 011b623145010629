//! What was measured of one package on one device, gathered from its measurements.

use crate::results::measurement::{
    CorrectnessCheck, Load, Measurement, Method, Outcome, Repetition, Subject,
};
use crate::results::runner::Figures;
use crate::stats::{Estimate, Sample, median};

/// Certainty of intervals.
const LEVEL: f64 = 0.95;

/// A package on a device.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::report) struct Row<'a> {
    pub subject: &'a Subject,
    /// The first load of this content by this runner, compilation apart.
    pub load_first_ms: Option<f64>,
    /// Compilation at that load.
    pub compile_ms: Option<f64>,
    /// Every later load.
    pub load_ms: Option<Estimate>,
    pub ttft_ms: Option<Estimate>,
    pub prefill_tokens_per_s: Option<Estimate>,
    pub decode_tokens_per_s: Option<Estimate>,
    /// 95th percentile of the time between tokens, over all of them.
    pub token_p95_ms: Option<f64>,
    pub footprint_peak_bytes: Option<u64>,
    /// Most that the footprint leaves out.
    pub neural_bytes: Option<u64>,
    /// Kept repetitions, and how many were asked for.
    pub kept: usize,
    /// What did not count, in words, in order.
    pub failures: Vec<String>,
    pub truth: Option<&'a CorrectnessCheck>,
    /// Tokens per second at minutes of a sustained measurement.
    pub sustained: Vec<(f64, f64)>,
    /// Kept repetitions outside it, in order.
    pub bursts: Vec<Burst>,
}

/// A repetition that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) struct Burst {
    /// Between two visits the package was loaded again.
    pub visit: usize,
    pub ttft_ms: f64,
    pub decode_tokens_per_s: f64,
}

impl<'a> Row<'a> {
    /// Gathers what `all` says of `subject` on `device` under `method`.
    pub fn of(
        all: &'a [Measurement],
        method: &Method,
        device: &str,
        subject: &'a Subject,
    ) -> Row<'a> {
        let is_own =
            |own_device: &str, package: &str| own_device == device && package == subject.package;
        let loads: Vec<&Load> = all
            .iter()
            .filter_map(|one| match one {
                Measurement::Load(load) => Some(load),
                _ => None,
            })
            .filter(|load| is_own(&load.attempt.device, &load.attempt.package))
            .filter(|load| load.attempt.method_id == method.method_id)
            .collect();
        let repetitions: Vec<&Repetition> = all
            .iter()
            .filter_map(|one| match one {
                Measurement::Repetition(repetition) => Some(repetition),
                _ => None,
            })
            .filter(|one| is_own(&one.attempt.device, &one.attempt.package))
            .filter(|one| one.attempt.method_id == method.method_id)
            .collect();
        let truth = all.iter().rev().find_map(|one| match one {
            Measurement::CorrectnessCheck(truth) if is_own(&truth.device, &truth.package) => {
                Some(truth)
            }
            _ => None,
        });
        let mut row = Row { truth, ..Row::empty(subject) };
        row.add_loads(&loads);
        row.add_repetitions(&repetitions);
        row
    }

    fn empty(subject: &'a Subject) -> Row<'a> {
        Row {
            subject,
            load_first_ms: None,
            compile_ms: None,
            load_ms: None,
            ttft_ms: None,
            prefill_tokens_per_s: None,
            decode_tokens_per_s: None,
            token_p95_ms: None,
            footprint_peak_bytes: None,
            neural_bytes: None,
            kept: 0,
            failures: Vec::new(),
            truth: None,
            sustained: Vec::new(),
            bursts: Vec::new(),
        }
    }

    fn add_loads(&mut self, loads: &[&Load]) {
        let kept: Vec<_> = loads.iter().filter_map(|load| load.loaded.as_ref()).collect();
        let first = kept.iter().find(|loaded| loaded.first);
        self.load_first_ms = first.map(|loaded| loaded.load_ms);
        self.compile_ms = first.and_then(|loaded| loaded.compile_ms);
        let later = kept.iter().filter(|loaded| !loaded.first).map(|loaded| loaded.load_ms);
        self.load_ms = median(&later.collect::<Vec<f64>>(), LEVEL);
        for loaded in kept {
            self.add_figures(loaded.samples.iter().chain([&loaded.after]));
        }
        self.failures.extend(loads.iter().filter_map(|load| said("load", &load.attempt.outcome)));
    }

    fn add_repetitions(&mut self, repetitions: &[&Repetition]) {
        let is_kept = |one: &&&Repetition| one.attempt.outcome == Outcome::Kept;
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
        for (_, at, generated) in kept {
            self.add_figures(generated.samples.iter().chain([&generated.after]));
            if let Some(at) = at {
                let decoded = rate(generated.token_ms.len(), generated.token_ms.iter().sum());
                self.sustained.push((at / 60_000.0, decoded));
            }
        }
        let failures =
            repetitions.iter().filter_map(|one| said("repetition", &one.attempt.outcome));
        self.failures.extend(failures);
    }

    fn add_figures<'f>(&mut self, figures: impl Iterator<Item = &'f Figures>) {
        for now in figures {
            let footprint = now.footprint_peak_bytes.max(now.footprint_bytes);
            self.footprint_peak_bytes = self.footprint_peak_bytes.max(footprint);
            self.neural_bytes = self.neural_bytes.max(now.neural_bytes);
        }
    }
}

fn rate(tokens: usize, elapsed_ms: f64) -> f64 {
    tokens as f64 * 1000.0 / elapsed_ms
}

fn said(what: &str, outcome: &Outcome) -> Option<String> {
    let (how, why) = outcome.reason()?;
    Some(format!("{what} {how}: {why}"))
}
