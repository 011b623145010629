//! This run against an accepted one: every metric of every variant, judged together.
//!
//! Records in, decisions out. What can be compared is compared as closely as the records allow
//! (windows of text in pairs, sizes exactly, timings by visit); what cannot is *invalid* and says
//! why. Holm's correction for many tests covers all of them.

mod history;
mod quality;
mod series;
mod speed;
#[cfg(test)]
pub(crate) mod tests;

use super::differences::{Difference, between, model_name, sameness};
use super::metric::{Metric, Tolerances};
use crate::error::Exit;
use crate::results::RunFolder;
use crate::stats::{
    Case, Decision, Effect, Estimate, Evidence, FAMILY_ALPHA, POWER, Verdict, decide,
    windows_needed,
};

pub use history::{History, Night, Trend, is_same_question};

/// One metric of one variant, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckRow {
    /// The variant.
    pub variant: String,
    /// The device, or the design of the packages; empty for what has neither.
    pub place: String,
    /// The metric.
    pub metric: Metric,
    /// The accepted value.
    pub baseline: Option<Estimate>,
    /// This run's value.
    pub candidate: Option<Estimate>,
    /// The change with the interval that decided: a ratio, or a difference in the metric's unit.
    pub change: Option<Estimate>,
    /// The verdict.
    pub verdict: Verdict,
    /// The smallest worsening that would have been found: a share for ratios, else an amount in the
    /// metric's unit; `None` for exact values, and if no change could have been found.
    pub detectable: Option<f64>,
    /// Windows (or visits) with which a change of twice the tolerance would be found, predicted; only
    /// for inconclusive rows.
    pub needed: Option<usize>,
    /// Why a result is missing, or was decided without numbers.
    pub why: String,
    /// Whether too little was measured to compare; otherwise an invalid row is about something else
    /// than the baseline.
    pub is_scarce: bool,
}

/// A finished check.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The model.
    pub model: String,
    /// Names of this run and of the baseline.
    pub names: [String; 2],
    /// Hashes of this run's folder and of the baseline's.
    pub hashes: [String; 2],
    /// What differs between the two apart from their results; this run is the first.
    pub differences: Vec<Difference>,
    /// Whether the two are one run, tolerances that hardly anything can exceed, what only one of the two
    /// has and is therefore not judged, and attempts that did not count.
    pub asides: Vec<String>,
    /// Every metric of every variant, worst verdicts first.
    pub rows: Vec<CheckRow>,
    /// What was tolerated.
    pub tolerances: Tolerances,
    /// Seed of the intervals.
    pub seed: u64,
}

/// A row before all are judged together.
struct Found {
    variant: String,
    place: String,
    metric: Metric,
    /// This run's value and the baseline's.
    values: [Option<Estimate>; 2],
    evidence: Evidence,
    /// Overrides the evidence, with the reason: a variant that failed has no evidence.
    verdict: Option<(Verdict, String)>,
    is_scarce: bool,
}

impl Found {
    fn new(variant: &str, place: &str, metric: Metric, evidence: Evidence) -> Found {
        let (variant, place) = (variant.to_owned(), place.to_owned());
        let (values, verdict) = ([None; 2], None);
        Found { variant, place, metric, values, evidence, verdict, is_scarce: false }
    }

    /// No comparison, because the two are not the same thing.
    fn invalid(variant: &str, place: &str, metric: Metric, why: impl Into<String>) -> Found {
        Found::new(variant, place, metric, Evidence::Invalid(why.into()))
    }

    /// No comparison, because too little was measured that counts.
    fn scarce(variant: &str, place: &str, metric: Metric, why: impl Into<String>) -> Found {
        Found { is_scarce: true, ..Found::invalid(variant, place, metric, why) }
    }

    /// A result that only one of the two has.
    fn result(variant: &str, place: &str, verdict: Verdict, why: impl Into<String>) -> Found {
        let row = Found::invalid(variant, place, Metric::Result, "");
        Found { verdict: Some((verdict, why.into())), ..row }
    }

    fn exact(variant: &str, place: &str, metric: Metric, [now, then]: [u64; 2]) -> Found {
        let (candidate, baseline) = (now as f64, then as f64);
        let values = [candidate, baseline].map(|value| Some(Estimate::exact(value)));
        let evidence = Evidence::Exact { candidate, baseline };
        Found { values, ..Found::new(variant, place, metric, evidence) }
    }

    fn judged(self, tolerances: &Tolerances, decision: Decision, first_alpha: f64) -> CheckRow {
        let effect = match self.evidence {
            Evidence::Estimated(effect) => Some(effect),
            _ => None,
        };
        let change = match (&self.evidence, decision.interval) {
            (Evidence::Estimated(effect), interval) => {
                Some(Estimate { interval, point: effect.shown(effect.point), n: effect.n })
            }
            (Evidence::Exact { candidate, baseline }, _) => {
                Some(Estimate::exact(candidate - baseline))
            }
            (Evidence::Invalid(_), _) => None,
        };
        let (verdict, why) = match (self.verdict, decision.verdict) {
            (Some((verdict, why)), _) => (verdict, why),
            (None, Verdict::Invalid(why)) => (Verdict::Invalid(why.clone()), why),
            (None, verdict) => (verdict, String::new()),
        };
        let is_open = verdict == Verdict::Inconclusive;
        let needed = |effect: Effect| {
            let bound =
                tolerances.of(self.metric, effect.baseline).bound(effect.scale, effect.baseline);
            windows_needed(&effect, 2.0 * bound, bound, first_alpha, POWER)
        };
        CheckRow {
            variant: self.variant,
            place: self.place,
            metric: self.metric,
            candidate: self.values[0],
            baseline: self.values[1],
            change,
            detectable: decision.detectable.filter(|_| effect.is_some()),
            needed: effect.filter(|_| is_open).and_then(needed),
            verdict,
            why,
            is_scarce: self.is_scarce,
        }
    }
}

/// Judges the run `now` against the accepted run `then`; `seed` is that of the intervals.
pub fn check(now: &RunFolder, then: &RunFolder, tolerances: &Tolerances, seed: u64) -> Checked {
    let (mut found, mut asides) = quality::compare(now, then, seed);
    let (devices, more) = speed::compare(now, then, seed);
    found.extend(devices);
    asides.extend(more);
    let wide = too_wide(&found, tolerances);
    let first = sameness(now, then).map(str::to_owned);
    let asides = first.into_iter().chain(wide).chain(asides).collect();
    let case = |row: &Found| {
        let baseline = row.values[1].map_or(0.0, |value| value.point);
        Case { evidence: row.evidence.clone(), tolerance: tolerances.of(row.metric, baseline) }
    };
    let cases: Vec<Case> = found.iter().map(case).collect();
    let by_chance = cases.iter().filter(|case| matches!(case.evidence, Evidence::Estimated(_)));
    let first_alpha = FAMILY_ALPHA / by_chance.count().max(1) as f64;
    let judged = found.into_iter().zip(decide(&cases, FAMILY_ALPHA));
    let mut rows: Vec<CheckRow> =
        judged.map(|(row, decision)| row.judged(tolerances, decision, first_alpha)).collect();
    // The first lines tell why a check fails; within a verdict, variants stay together.
    rows.sort_by_key(|row| rank(&row.verdict));
    Checked {
        model: model_name(now).or_else(|| model_name(then)).unwrap_or_default(),
        names: [now.name.clone(), then.name.clone()],
        hashes: [now.hash.clone(), then.hash.clone()],
        differences: between(now, then),
        asides,
        rows,
        tolerances: tolerances.clone(),
        seed,
    }
}

/// Tolerances that hardly any change exceeds, in words, each once.
fn too_wide(found: &[Found], tolerances: &Tolerances) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for row in found {
        let baseline = row.values[1].map(|value| value.point);
        let is_wide = baseline.is_some_and(|value| tolerances.is_too_wide(row.metric, value));
        let (name, words) = (row.metric.name(), tolerances.words(row.metric));
        let what = format!(
            "the tolerance of {name}, {words}, is as large as the value itself: hardly any change can \
             exceed it"
        );
        if is_wide && !said.contains(&what) {
            said.push(what);
        }
    }
    said
}

/// How bad a verdict is: 0 is the worst.
pub fn rank(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Regressed => 0,
        Verdict::Invalid(_) => 1,
        Verdict::Inconclusive => 2,
        Verdict::Improved => 3,
        Verdict::Unchanged => 4,
    }
}

impl CheckRow {
    /// What this row alone makes of the exit code.
    fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Improved | Verdict::Unchanged => Exit::Done,
            Verdict::Inconclusive => Exit::Inconclusive,
            Verdict::Invalid(_) if self.is_scarce => Exit::Inconclusive,
            // A missing result, or one of something else than was accepted, never passes.
            Verdict::Regressed | Verdict::Invalid(_) => Exit::No,
        }
    }
}

impl Checked {
    /// The exit code: no if anything regressed, failed or does not match; otherwise inconclusive if
    /// anything could not be decided; otherwise done.
    pub fn exit(&self) -> Exit {
        let exits: Vec<Exit> = self.rows.iter().map(CheckRow::exit).collect();
        let worst = [Exit::No, Exit::Inconclusive].into_iter().find(|exit| exits.contains(exit));
        worst.unwrap_or(Exit::Done)
    }
}
