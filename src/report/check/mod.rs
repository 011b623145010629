//! This run against an accepted one: every metric of every variant, judged at once.
//!
//! Pure: records in, decisions out. What can be compared is compared as closely as the records
//! allow (windows of text in pairs, sizes exactly, timings by visit); what cannot is *invalid* and
//! says why. One correction for many looks (Holm) goes over all of it.

mod differences;
mod document;
mod github;
mod history;
mod junit;
mod metric;
mod quality;
mod speed;
#[cfg(test)]
mod tests;
mod words;

use super::{Document, Format};
use crate::error::Exit;
use crate::results::RunFolder;
use crate::stats::{
    Cell, Decision, Effect, Estimate, Evidence, FAMILY_ALPHA, POWER, Verdict, decide,
    windows_needed,
};

pub use differences::incomparable;
pub use github::annotations;
pub use history::{Night, history};
pub use junit::junit;
pub use metric::{DEFAULTS, Metric, Tolerances};

/// One metric of one variant, judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The variant.
    pub variant: String,
    /// Device or design of the packages; empty for what needs neither.
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
    /// The smallest worsening that would have been found: of ratios a share, else in the metric's
    /// unit; none where nothing could have been seen, and for exact values.
    pub detectable: Option<f64>,
    /// Windows with which a change of twice the tolerance would be found, predicted; for what is
    /// inconclusive.
    pub needed: Option<usize>,
    /// Why a result is missing, or was decided without numbers.
    pub why: String,
    /// Whether it could not be compared because too little counted, not because it is another thing.
    pub is_scarce: bool,
}

/// A check, done.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The model.
    pub model: String,
    /// Names of this run and of the baseline.
    pub names: [String; 2],
    /// Hash of this run's folder, and of the baseline's.
    pub hashes: [String; 2],
    /// What differs between the two apart from their results, one sentence each.
    pub differences: Vec<String>,
    /// What is in one of the two only and therefore not judged, and attempts that did not count.
    pub asides: Vec<String>,
    /// Every metric of every variant.
    pub rows: Vec<Row>,
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
    /// Overrides what the evidence says: a variant that failed has none.
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

    /// A result that was there and is not, or the other way round.
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

    fn judged(self, tolerances: &Tolerances, decision: Decision, first_alpha: f64) -> Row {
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
        Row {
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

/// Judges `now` against `then`; `seed` is that of the intervals. Whole runs go in: what differs
/// between them is found here too.
pub fn check(now: &RunFolder, then: &RunFolder, tolerances: &Tolerances, seed: u64) -> Checked {
    let (mut found, mut asides) = quality::compare(now, then, seed);
    let (devices, more) = speed::compare(now, then, seed);
    found.extend(devices);
    asides.extend(more);
    let cell = |row: &Found| {
        let baseline = row.values[1].map_or(0.0, |value| value.point);
        Cell { evidence: row.evidence.clone(), tolerance: tolerances.of(row.metric, baseline) }
    };
    let cells: Vec<Cell> = found.iter().map(cell).collect();
    let by_chance = cells.iter().filter(|cell| matches!(cell.evidence, Evidence::Estimated(_)));
    let first_alpha = FAMILY_ALPHA / by_chance.count().max(1) as f64;
    let judged = found.into_iter().zip(decide(&cells, FAMILY_ALPHA));
    let mut rows: Vec<Row> =
        judged.map(|(row, decision)| row.judged(tolerances, decision, first_alpha)).collect();
    // The reason for a red night is on its first lines; else variants stay together.
    rows.sort_by_key(|row| words::rank(&row.verdict));
    Checked {
        model: differences::model(now).or_else(|| differences::model(then)).unwrap_or_default(),
        names: [now.name.clone(), then.name.clone()],
        hashes: [now.hash.clone(), then.hash.clone()],
        differences: differences::between(now, then),
        asides,
        rows,
        tolerances: tolerances.clone(),
        seed,
    }
}

impl Row {
    /// What this row alone makes of the exit code.
    fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Improved | Verdict::Unchanged => Exit::Done,
            Verdict::Inconclusive => Exit::Inconclusive,
            Verdict::Invalid(_) if self.is_scarce => Exit::Inconclusive,
            // What is missing or another thing than was accepted is never green.
            Verdict::Regressed | Verdict::Invalid(_) => Exit::No,
        }
    }
}

impl Checked {
    /// One gate over all: no for any regression, failure or mismatch; else inconclusive where
    /// something could not be decided; else done.
    pub fn exit(&self) -> Exit {
        let exits: Vec<Exit> = self.rows.iter().map(Row::exit).collect();
        let worst = [Exit::No, Exit::Inconclusive].into_iter().find(|exit| exits.contains(exit));
        worst.unwrap_or(Exit::Done)
    }

    /// The document in the shape that a format wants: data formats have full precision and a
    /// column each for what people read as one text.
    pub fn document(&self, format: Format) -> Document {
        document::document(self, format)
    }
}
