//! Quality and sizes: windows of text compared in pairs, bytes exactly.

use rayon::prelude::*;

use super::{Found, Metric};
use crate::compare::differences::incomparable;
use crate::compare::windows::{in_both, scores};
use crate::results::{Cell, Failure, Index, RunFolder, label, nameless};
use crate::stats::{
    Bootstrap, Effect, Estimate, Evidence, NotPaired, Paired, Scale, Scores, Verdict,
    block_length_for, difference, paired,
};

/// Resamples of a change: a standard error needs fewer than the ends of a percentile interval.
const RESAMPLES: usize = 2_000;
/// Resamples of a single value, whose interval decides only how many digits are shown.
const RESAMPLES_ALONE: usize = 500;

/// Rows for every variant of the baseline, and notes on what only one of the two runs has.
pub(super) fn compare(now: &RunFolder, then: &RunFolder, seed: u64) -> (Vec<Found>, Vec<String>) {
    let runs = now.index.run().zip(then.index.run());
    let refused = runs.and_then(|(new, old)| incomparable(new, old));
    let is_other_model = runs.is_some_and(|(new, old)| new.model_hash != old.model_hash);
    let cells: Vec<&Cell> = then.index.cells().collect();
    let of_cell = |old: &&Cell| {
        let label = old.label();
        let pair = Pair { now, then, old, label: &label, seed, is_other_model };
        match now.index.cells().find(|cell| cell.is_variant_of(old)) {
            None => vec![missing(&now.index, &label)],
            Some(new) => pair.rows(new, refused.as_deref()),
        }
    };
    let rows: Vec<Vec<Found>> = cells.par_iter().map(of_cell).collect();
    let mut rows: Vec<Found> = rows.into_iter().flatten().collect();
    let mut asides = Vec::new();
    let is_new = |cell: &&Cell| !cells.iter().any(|old| old.is_variant_of(cell));
    for cell in now.index.cells().filter(is_new) {
        match now.index.failure_of(&cell.cell_id) {
            Some(failure) => rows.push(failed(&cell.label(), failure)),
            None => asides.push(format!("{} is not in the baseline", cell.label())),
        }
    }
    rows.extend(without_cell(&now.index, ""));
    rows.extend(without_cell(&then.index, "in the baseline, "));
    (rows, asides)
}

/// Rows for the variants whose own record was lost: what was asked is then not known.
fn without_cell(index: &Index, place: &str) -> Vec<Found> {
    let row = |id: &str| {
        let why = format!("{place}{}", index.lost(id)?);
        Some(Found::invalid(&nameless(id), "", Metric::Result, why))
    };
    index.without_cell().into_iter().filter_map(row).collect()
}

/// Quality and size of a variant by itself; empty if it has no result.
pub(super) fn alone(index: &Index, cell: &Cell, seed: u64) -> Vec<(Metric, Estimate)> {
    let windows = scores(&index.windows_of(&cell.cell_id));
    let is_missing = index.failure_of(&cell.cell_id).is_some() || windows.is_empty();
    if is_missing || index.lost(&cell.cell_id).is_some() {
        return Vec::new();
    }
    let metrics = metrics(cell).iter();
    let mut found: Vec<(Metric, Estimate)> =
        metrics.filter_map(|&m| Some((m, value(m, &windows, seed)?))).collect();
    if !cell.parts.is_empty() {
        found.push((Metric::Size, Estimate::exact(size_bytes(cell) as f64)));
    }
    found
}

/// A variant of the baseline that this run has no cell of.
fn missing(now: &Index, name: &str) -> Found {
    match now.failures().filter(|failure| label(&failure.variant, &[]) == name).last() {
        Some(failure) => failed(name, failure),
        None => Found::invalid(name, "", Metric::Result, "it is not in this run"),
    }
}

fn failed(label: &str, failure: &Failure) -> Found {
    Found::result(label, "", Verdict::Regressed, format!("it failed: {}", failure.cause))
}

/// Why the windows of a variant are not all that were asked for; `None` if they are.
fn unsound(side: &RunFolder, cell: &Cell) -> Option<String> {
    let index = &side.index;
    if index.is_done(&cell.cell_id) {
        return None;
    }
    let unfinished = || {
        let windows = index.windows_of(&cell.cell_id).len();
        let asked = index.run().map_or(0, |run| run.windows);
        format!("it is not finished: {windows} of {asked} windows were scored")
    };
    Some(index.lost(&cell.cell_id).unwrap_or_else(unfinished))
}

/// The metrics of windows; the reference does not diverge from itself.
fn metrics(cell: &Cell) -> &'static [Metric] {
    if cell.is_reference {
        &[Metric::Perplexity]
    } else {
        &[Metric::Perplexity, Metric::Kl, Metric::Top1]
    }
}

/// A variant in both runs.
struct Pair<'a> {
    now: &'a RunFolder,
    then: &'a RunFolder,
    old: &'a Cell,
    label: &'a str,
    seed: u64,
    is_other_model: bool,
}

impl Pair<'_> {
    fn rows(&self, new: &Cell, refused: Option<&str>) -> Vec<Found> {
        let invalid = |why: &str| Found::invalid(self.label, "", Metric::Result, why);
        let failures = [
            self.now.index.failure_of(&new.cell_id),
            self.then.index.failure_of(&self.old.cell_id),
        ];
        match failures {
            [Some(now), None] => return vec![failed(self.label, now)],
            [Some(now), Some(_)] => {
                return vec![invalid(&format!("it failed, as in the baseline: {}", now.cause))];
            }
            [None, Some(_)] => {
                let why = "it failed in the baseline and has a result now";
                return vec![Found::result(self.label, "", Verdict::Improved, why)];
            }
            [None, None] => {}
        }
        let mut rows = match refused {
            Some(why) => vec![invalid(why)],
            None => self.paired(new),
        };
        let now = unsound(self.now, new);
        let then = unsound(self.then, self.old).map(|why| format!("in the baseline, {why}"));
        rows.extend(now.into_iter().chain(then).map(|why| invalid(&why)));
        if !(self.is_other_model || new.parts.is_empty() || self.old.parts.is_empty()) {
            let sizes = [size_bytes(new), size_bytes(self.old)];
            rows.push(Found::exact(self.label, "", Metric::Size, sizes));
            rows.extend(self.packages(new));
        }
        rows
    }

    /// Both variants, on the windows that both runs scored.
    fn paired(&self, new: &Cell) -> Vec<Found> {
        let theirs = self.then.index.windows_of(&self.old.cell_id);
        let ours = self.now.index.windows_of(&new.cell_id);
        let (new, old) = in_both(&ours, &theirs);
        let (new, old) = (scores(&new), scores(&old));
        let metrics = metrics(self.old).iter();
        match paired(&new, &old, None, &bootstrap(self.seed, new.len(), RESAMPLES)) {
            Ok(found) => {
                let values = |metric| [&new, &old].map(|side| value(metric, side, self.seed));
                metrics.filter_map(|&m| self.estimated(m, &found, values(m))).collect()
            }
            Err(why) => {
                let why = match why {
                    NotPaired::Empty => "the two have no scored window in common".to_owned(),
                    why => why.to_string(),
                };
                vec![Found::invalid(self.label, "", Metric::Result, why)]
            }
        }
    }

    fn estimated(
        &self,
        metric: Metric,
        found: &Paired,
        values: [Option<Estimate>; 2],
    ) -> Option<Found> {
        let evidence = Evidence::Estimated(metric.effect(found)?);
        Some(Found { values, ..Found::new(self.label, "", metric, evidence) })
    }

    /// Sizes of packages by design, and packages that no longer hold the model.
    fn packages(&self, new: &Cell) -> Vec<Found> {
        let ours = self.now.index.packaged(&new.cell_id);
        let mut rows = Vec::new();
        for old in self.then.index.packaged(&self.old.cell_id) {
            let design = old.design.as_str();
            let Some(packaged) = ours.iter().find(|packaged| packaged.design == design) else {
                let why = "it was not packaged in this run";
                rows.push(Found::invalid(self.label, design, Metric::Packages, why));
                continue;
            };
            if let Some(link) = packaged.broken() {
                let why =
                    format!("its packages failed verification of {}: {}", link.link, link.what);
                rows.push(match old.broken() {
                    None => Found::result(self.label, design, Verdict::Regressed, why),
                    Some(_) => Found::invalid(self.label, design, Metric::Result, why),
                });
            }
            let sizes = [packaged.size_bytes, old.size_bytes];
            rows.push(Found::exact(self.label, design, Metric::Packages, sizes));
        }
        rows
    }
}

fn bootstrap(seed: u64, windows: usize, resamples: usize) -> Bootstrap {
    Bootstrap {
        resamples,
        block_length: block_length_for(windows),
        ..Bootstrap::new(seed, windows)
    }
}

/// A metric of one run: the same sums as in a pair, compared with 0.
fn value(metric: Metric, windows: &[Scores], seed: u64) -> Option<Estimate> {
    let (of, scale): (fn(&Scores) -> f64, Scale) = match metric {
        Metric::Perplexity => (|window| window.nll_nats, Scale::LogRatio),
        Metric::Kl => (|window| window.kl_nats, Scale::Difference),
        _ => (|window| window.top1_agree, Scale::Difference),
    };
    let values: Vec<f64> = windows.iter().map(of).collect();
    let tokens: Vec<f64> = windows.iter().map(|window| window.tokens).collect();
    let bootstrap = bootstrap(seed, windows.len(), RESAMPLES_ALONE);
    let effect = difference(&values, &tokens, None, &bootstrap).ok()?;
    Some(Effect { scale, ..effect }.estimate()).filter(|value| value.point.is_finite())
}

fn size_bytes(cell: &Cell) -> u64 {
    cell.parts.iter().map(|part| part.size_bytes).sum()
}
