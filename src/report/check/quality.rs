//! Quality and sizes: windows of text in pairs, bytes exactly.

use rayon::prelude::*;

use super::differences::incomparable;
use super::{Found, Metric};
use crate::results::{Cell, Failure, Index, RunFolder, Window};
use crate::stats::{
    Bootstrap, Effect, Estimate, Evidence, NotPaired, Paired, Scale, Scores, Verdict,
    block_length_for, difference, paired,
};

/// Resamples of a change: standard errors need fewer than the ends of percentile intervals do.
const RESAMPLES: usize = 2_000;
/// Resamples of a value by itself, whose interval decides nothing but its digits.
const RESAMPLES_ALONE: usize = 500;

/// Rows for every variant of the baseline, and what only one of the two has.
pub(super) fn compare(now: &RunFolder, then: &RunFolder, seed: u64) -> (Vec<Found>, Vec<String>) {
    let refused = match (now.index.run(), then.index.run()) {
        (Some(new), Some(old)) => incomparable(new, old),
        _ => None,
    };
    let is_other_model = match (now.index.run(), then.index.run()) {
        (Some(new), Some(old)) => new.model_hash != old.model_hash,
        _ => false,
    };
    let cells: Vec<&Cell> = then.index.cells().collect();
    let of_cell = |old: &&Cell| {
        let label = old.label();
        let pair = Pair { now, then, old, label: &label, seed, is_other_model };
        match now.index.cells().find(|cell| cell.label() == label) {
            None => vec![missing(&now.index, &label)],
            Some(new) => pair.rows(new, refused.as_deref()),
        }
    };
    let rows: Vec<Vec<Found>> = cells.par_iter().map(of_cell).collect();
    let mut rows: Vec<Found> = rows.into_iter().flatten().collect();
    let mut asides = Vec::new();
    let is_new = |cell: &&Cell| cells.iter().all(|old| old.label() != cell.label());
    for cell in now.index.cells().filter(is_new) {
        match now.index.failure_of(&cell.cell_id) {
            Some(failure) => rows.push(failed(&cell.label(), failure)),
            None => asides.push(format!("{} is not in the baseline", cell.label())),
        }
    }
    (rows, asides)
}

/// Quality and size of a variant by itself, where it has a result.
pub(super) fn alone(index: &Index, cell: &Cell, seed: u64) -> Vec<(Metric, Estimate)> {
    let windows = scores(&index.windows_of(&cell.cell_id));
    if index.failure_of(&cell.cell_id).is_some() || windows.is_empty() {
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

fn missing(now: &Index, label: &str) -> Found {
    match now.failures().filter(|failure| failure.variant == label).last() {
        Some(failure) => failed(label, failure),
        None => Found::invalid(label, "", Metric::Result, "it is not in this run"),
    }
}

fn failed(label: &str, failure: &Failure) -> Found {
    Found::result(label, "", Verdict::Regressed, format!("it failed: {}", failure.cause))
}

/// The reference has nothing to diverge from.
fn metrics(cell: &Cell) -> &'static [Metric] {
    match cell.is_reference {
        true => &[Metric::Perplexity],
        false => &[Metric::Perplexity, Metric::Kl, Metric::Top1],
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
        if !self.now.index.is_done(&new.cell_id) {
            let windows = self.now.index.windows_of(&new.cell_id).len();
            let asked = self.now.index.run().map_or(0, |run| run.windows);
            let why = format!("it was not finished: {windows} of {asked} windows were scored");
            rows.push(invalid(&why));
        }
        if !(self.is_other_model || new.parts.is_empty() || self.old.parts.is_empty()) {
            let sizes = [size_bytes(new), size_bytes(self.old)];
            rows.push(Found::exact(self.label, "", Metric::Size, sizes));
            rows.extend(self.packages(new));
        }
        rows
    }

    /// Both on the windows that both have.
    fn paired(&self, new: &Cell) -> Vec<Found> {
        let theirs = self.then.index.windows_of(&self.old.cell_id);
        let ours = self.now.index.windows_of(&new.cell_id);
        let in_both = ours.into_iter().filter_map(|new| {
            let at = theirs.binary_search_by_key(&new.window, |old| old.window).ok()?;
            Some((new, theirs[at]))
        });
        let (new, old): (Vec<&Window>, Vec<&Window>) = in_both.unzip();
        let (new, old) = (scores(&new), scores(&old));
        let metrics = metrics(self.old).iter();
        match paired(&new, &old, None, &bootstrap(self.seed, new.len(), RESAMPLES)) {
            Ok(found) => {
                let values = |metric| [&new, &old].map(|side| value(metric, side, self.seed));
                metrics.map(|&m| self.estimated(m, &found, values(m))).collect()
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

    fn estimated(&self, metric: Metric, found: &Paired, values: [Option<Estimate>; 2]) -> Found {
        let effect = match metric {
            Metric::Perplexity => found.perplexity,
            Metric::Kl => found.kl_mean_nats,
            _ => found.top1_agreement,
        };
        let evidence = Evidence::Estimated(effect);
        Found { values, ..Found::new(self.label, "", metric, evidence) }
    }

    /// Sizes of packages by design; packages that are not the model any more.
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
                let why = format!("{} do not hold: {}", link.link, link.what);
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

/// A metric by itself: the same sums as in a pair, against nothing.
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
    Some(Effect { scale, ..effect }.estimate())
}

fn size_bytes(cell: &Cell) -> u64 {
    cell.parts.iter().map(|part| part.size_bytes).sum()
}

fn scores(windows: &[&Window]) -> Vec<Scores> {
    let of_window = |window: &&Window| Scores {
        tokens: window.scored_tokens as f64,
        text_bytes: window.scored_bytes as f64,
        nll_nats: window.nll_nats,
        kl_nats: window.kl_nats,
        top1_agree: window.top1_agree as f64,
    };
    windows.iter().map(of_window).collect()
}
