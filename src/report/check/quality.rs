//! Quality and sizes: windows of text in pairs, bytes exactly.

use rayon::prelude::*;

use super::differences::short;
use super::{Found, Metric, Side};
use crate::results::{Cell, Run, Window};
use crate::stats::{
    Bootstrap, Effect, Evidence, NotPaired, Paired, Scale, Scores, Verdict, block_length_for,
    paired,
};

/// Resamples of a check: standard errors need fewer than the ends of percentile intervals do.
const RESAMPLES: usize = 2_000;

/// Rows for every variant of the baseline, and what only one of the two has.
pub(super) fn compare(now: Side<'_>, then: Side<'_>, seed: u64) -> (Vec<Found>, Vec<String>) {
    let refused = match (now.index.run(), then.index.run()) {
        (Some(new), Some(old)) => incomparable(new, old),
        _ => None,
    };
    let cells: Vec<&Cell> = then.index.cells().collect();
    let rows = cells.par_iter().map(|old| {
        let label = old.label();
        let pair = Pair { now, then, old, label: &label, seed };
        match now.index.cells().find(|cell| cell.label() == label) {
            None => vec![missing(now, &label)],
            Some(new) => pair.rows(new, refused.as_deref()),
        }
    });
    let rows: Vec<Vec<Found>> = rows.collect();
    let is_new = |cell: &&Cell| cells.iter().all(|old| old.label() != cell.label());
    let unjudged = now.index.cells().filter(is_new);
    let unjudged = unjudged.map(|cell| format!("{} is not in the baseline", cell.label()));
    (rows.into_iter().flatten().collect(), unjudged.collect())
}

fn missing(now: Side<'_>, label: &str) -> Found {
    let failed = now.index.records().iter().rev().find_map(|record| match record {
        crate::results::Record::Failure(failure) if failure.variant == label => Some(failure),
        _ => None,
    });
    match failed {
        Some(failure) => failed_now(label, &failure.cause),
        None => Found::invalid(label, "", Metric::Result, "it is not in this run"),
    }
}

fn failed_now(label: &str, cause: &str) -> Found {
    Found::result(label, "", Verdict::Regressed, format!("it failed: {cause}"))
}

/// Why no number of one run can be held against the other's.
fn incomparable(now: &Run, then: &Run) -> Option<String> {
    let hash = |hash: &String| short(hash);
    let fields = [
        ("protocol", now.protocol.clone(), then.protocol.clone()),
        ("BOS", now.bos.clone(), then.bos.clone()),
        ("tokens per window", now.window_tokens.to_string(), then.window_tokens.to_string()),
        ("stride", now.stride_tokens.to_string(), then.stride_tokens.to_string()),
        ("text", hash(&now.text_hash), hash(&then.text_hash)),
        ("tokenizer", hash(&now.tokenizer_hash), hash(&then.tokenizer_hash)),
        ("model", hash(&now.model_hash), hash(&then.model_hash)),
    ];
    let (what, now, then) = fields.into_iter().find(|(_, now, then)| now != then)?;
    Some(format!("other {what}: {now}, was {then}"))
}

/// A variant in both runs.
struct Pair<'a> {
    now: Side<'a>,
    then: Side<'a>,
    old: &'a Cell,
    label: &'a str,
    seed: u64,
}

impl Pair<'_> {
    fn rows(&self, new: &Cell, refused: Option<&str>) -> Vec<Found> {
        let failures = [self.now.index.failure_of(&new.cell_id), self.then.index.failure_of(&self.old.cell_id)];
        match failures {
            [Some(now), None] => return vec![failed_now(self.label, &now.cause)],
            [Some(now), Some(_)] => {
                let why = format!("it failed, as in the baseline: {}", now.cause);
                return vec![Found::invalid(self.label, "", Metric::Result, why)];
            }
            [None, Some(_)] => {
                let why = "it failed in the baseline and has a result now";
                return vec![Found::result(self.label, "", Verdict::Improved, why)];
            }
            [None, None] => {}
        }
        let mut rows = match refused {
            Some(why) => {
                self.metrics().iter().map(|&m| Found::invalid(self.label, "", m, why)).collect()
            }
            None => self.paired(new),
        };
        if let Some(why) = refused {
            rows.push(Found::invalid(self.label, "", Metric::Size, why));
        } else if !(new.parts.is_empty() || self.old.parts.is_empty()) {
            let size = |cell: &Cell| cell.parts.iter().map(|part| part.size_bytes).sum::<u64>() as f64;
            rows.push(Found::exact(self.label, "", Metric::Size, [size(new), size(self.old)]));
            rows.extend(self.packages(new));
        }
        rows
    }

    /// The reference has nothing to diverge from.
    fn metrics(&self) -> &'static [Metric] {
        match self.old.is_reference {
            true => &[Metric::Perplexity],
            false => &[Metric::Perplexity, Metric::Kl, Metric::Top1],
        }
    }

    /// Both on the windows that both have.
    fn paired(&self, new: &Cell) -> Vec<Found> {
        let theirs = self.then.index.windows_of(&self.old.cell_id);
        let ours = self.now.index.windows_of(&new.cell_id);
        let of_old = |new: &&Window| {
            let at = theirs.binary_search_by_key(&new.window, |old| old.window).ok()?;
            Some((scores(new), scores(theirs[at])))
        };
        let (new, old): (Vec<Scores>, Vec<Scores>) = ours.iter().filter_map(of_old).unzip();
        let bootstrap = Bootstrap {
            resamples: RESAMPLES,
            block_length: block_length_for(new.len()),
            ..Bootstrap::new(self.seed, new.len())
        };
        let metrics = self.metrics().iter();
        match paired(&new, &old, None, &bootstrap) {
            Ok(found) => metrics.map(|&metric| self.estimated(metric, &found)).collect(),
            Err(why) => {
                let why = match why {
                    NotPaired::Empty => "the two have no scored window in common".to_owned(),
                    why => why.to_string(),
                };
                metrics.map(|&m| Found::invalid(self.label, "", m, why.as_str())).collect()
            }
        }
    }

    fn estimated(&self, metric: Metric, found: &Paired) -> Found {
        let effect = match metric {
            Metric::Perplexity => found.perplexity,
            Metric::Kl => found.kl_mean_nats,
            _ => found.top1_agreement,
        };
        let values = [Some(changed(&effect)), Some(effect.baseline)];
        let evidence = Evidence::Estimated(effect);
        Found { evidence, values, ..Found::invalid(self.label, "", metric, "") }
    }

    /// Sizes of packages by design; packages that are not the model any more.
    fn packages(&self, new: &Cell) -> Vec<Found> {
        let ours = self.now.index.packaged(&new.cell_id);
        let mut rows = Vec::new();
        for old in self.then.index.packaged(&self.old.cell_id) {
            let design = old.design.as_str();
            let Some(packaged) = ours.iter().find(|packaged| packaged.design == design) else {
                rows.push(Found::invalid(self.label, design, Metric::Packages, "not packaged in this run"));
                continue;
            };
            if let (Some(link), None) = (packaged.broken(), old.broken()) {
                let why = format!("{} do not hold: {}", link.link, link.what);
                rows.push(Found::result(self.label, design, Verdict::Regressed, why));
            }
            let sizes = [packaged.size_bytes as f64, old.size_bytes as f64];
            rows.push(Found::exact(self.label, design, Metric::Packages, sizes));
        }
        rows
    }
}

/// The candidate's value, from the baseline's and the change.
pub(super) fn changed(effect: &Effect) -> f64 {
    match effect.scale {
        Scale::LogRatio => effect.baseline * effect.point.exp(),
        Scale::Difference => effect.baseline + effect.point,
    }
}

fn scores(window: &Window) -> Scores {
    Scores {
        tokens: window.scored_tokens as f64,
        text_bytes: window.scored_bytes as f64,
        nll_nats: window.nll_nats,
        kl_nats: window.kl_nats,
        top1_agree: window.top1_agree as f64,
    }
}
