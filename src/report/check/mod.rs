//! This run against an accepted one: every metric of every variant, judged at once.
//!
//! Pure: records in, decisions out. What can be compared is compared as closely as the records
//! allow (windows of text in pairs, sizes exactly, timings by run); what cannot is *invalid* and says
//! why. One correction for many looks (Holm) goes over all of it.

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

use crate::error::Exit;
use crate::results::Index;
use crate::results::measurement::Measurement;
use crate::stats::{Cell, Decision, Effect, Evidence, FAMILY_ALPHA, Tolerance, Verdict, decide};

pub use github::annotations;
pub use history::{Night, history};
pub use junit::junit;
pub use metric::{DEFAULTS, Metric, Tolerances};

/// A run's folder, read.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// What it is called where the two are told apart.
    pub name: &'a str,
    /// Hash of all that it holds, in hexadecimal.
    pub hash: &'a str,
    /// Its records; empty for a folder that holds measurements alone.
    pub index: &'a Index,
    /// What devices measured.
    pub measured: &'a [Measurement],
}

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
    pub baseline: Option<f64>,
    /// This run's value.
    pub candidate: Option<f64>,
    /// The change, where chance has a part in it.
    pub effect: Option<Effect>,
    /// What it was held against.
    pub tolerance: Tolerance,
    /// The verdict with its interval.
    pub decision: Decision,
    /// Why a result is missing, or its change needs no number.
    pub why: String,
}

/// A check, done.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The model.
    pub model: String,
    /// Names of this run and of the baseline.
    pub names: [String; 2],
    /// What differs between the two, apart from their results.
    pub differences: Vec<String>,
    /// What is in one of the two only, and therefore not judged.
    pub unjudged: Vec<String>,
    /// Every metric of every variant.
    pub rows: Vec<Row>,
    /// What was tolerated.
    pub tolerances: Tolerances,
    /// Hash of this run's folder, and of the baseline's.
    pub hashes: [String; 2],
}

/// A row before all are judged together.
struct Found {
    variant: String,
    place: String,
    metric: Metric,
    values: [Option<f64>; 2],
    evidence: Evidence,
    /// Overrides what the evidence says: a variant that failed has none.
    verdict: Option<(Verdict, String)>,
}

impl Found {
    fn invalid(variant: &str, place: &str, metric: Metric, why: impl Into<String>) -> Found {
        let evidence = Evidence::Invalid(why.into());
        let (variant, place) = (variant.to_owned(), place.to_owned());
        Found { variant, place, metric, values: [None; 2], evidence, verdict: None }
    }

    /// A result that was there and is not, or the other way round.
    fn result(variant: &str, place: &str, verdict: Verdict, why: impl Into<String>) -> Found {
        let row = Found::invalid(variant, place, Metric::Result, "");
        Found { verdict: Some((verdict, why.into())), ..row }
    }

    fn exact(variant: &str, place: &str, metric: Metric, [now, then]: [f64; 2]) -> Found {
        let evidence = Evidence::Exact { candidate: now, baseline: then };
        let values = [Some(now), Some(then)];
        Found { evidence, values, ..Found::invalid(variant, place, metric, "") }
    }
}

/// Judges `now` against `then`; `seed` is that of the intervals. Whole runs go in: what differs
/// between them is found here too.
pub fn check(now: Side<'_>, then: Side<'_>, tolerances: &Tolerances, seed: u64) -> Checked {
    let (mut found, mut unjudged) = quality::compare(now, then, seed);
    let (devices, new) = speed::compare(now, then, seed);
    found.extend(devices);
    unjudged.extend(new);
    let cells: Vec<Cell> = found
        .iter()
        .map(|row| Cell {
            evidence: row.evidence.clone(),
            tolerance: tolerances.of(row.metric),
        })
        .collect();
    let decisions = decide(&cells, FAMILY_ALPHA);
    let judged = found.into_iter().zip(cells).zip(decisions);
    let mut rows: Vec<Row> =
        judged.map(|((row, cell), decision)| row.judged(&cell, decision)).collect();
    // The reason for a red night is on its first lines; else variants stay together.
    rows.sort_by_key(|row| !matches!(row.decision.verdict, Verdict::Regressed));
    Checked {
        model: differences::model(now).or_else(|| differences::model(then)).unwrap_or_default(),
        names: [now.name.to_owned(), then.name.to_owned()],
        differences: differences::between(now, then),
        unjudged,
        rows,
        tolerances: tolerances.clone(),
        hashes: [now.hash.to_owned(), then.hash.to_owned()],
    }
}

impl Found {
    fn judged(self, cell: &Cell, mut decision: Decision) -> Row {
        let why = match (&self.verdict, &decision.verdict) {
            (Some((_, why)), _) | (None, Verdict::Invalid(why)) => why.clone(),
            _ => String::new(),
        };
        if let Some((verdict, _)) = self.verdict {
            decision.verdict = verdict;
        }
        let effect = match cell.evidence {
            Evidence::Estimated(effect) => Some(effect),
            _ => None,
        };
        let [candidate, baseline] = self.values;
        Row {
            variant: self.variant,
            place: self.place,
            metric: self.metric,
            baseline,
            candidate,
            effect,
            tolerance: cell.tolerance,
            decision,
            why,
        }
    }
}

impl Row {
    /// The metric with its place: `decode on host`.
    pub fn label(&self) -> String {
        match self.place.as_str() {
            "" => self.metric.name().to_owned(),
            place => format!("{} on {place}", self.metric.name()),
        }
    }
}

/// The verdict in one word.
pub(super) fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Improved => "improved",
        Verdict::Regressed => "regressed",
        Verdict::Unchanged => "unchanged",
        Verdict::Inconclusive => "inconclusive",
        Verdict::Invalid(_) => "invalid",
    }
}

impl Checked {
    /// How many rows have each verdict, as [`word`] names them, worst first.
    pub fn counts(&self) -> Vec<(&'static str, usize)> {
        ["regressed", "inconclusive", "invalid", "improved", "unchanged"]
            .into_iter()
            .map(|name| {
                let is_it = |row: &&Row| word(&row.decision.verdict) == name;
                (name, self.rows.iter().filter(is_it).count())
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// One gate over all: no for any regression; bad input where nothing could be compared;
    /// inconclusive where something could not be decided or compared; else done.
    pub fn exit(&self) -> Exit {
        let count = |name: &str| {
            self.counts().into_iter().find(|(found, _)| *found == name).map_or(0, |(_, n)| n)
        };
        if count("regressed") > 0 {
            Exit::No
        } else if count("invalid") == self.rows.len() {
            Exit::Input
        } else if count("inconclusive") + count("invalid") > 0 {
            Exit::Inconclusive
        } else {
            Exit::Done
        }
    }
}
