//! Each metric over the last runs, and where its level changed.

use super::series::Series;
use super::{quality, speed};
use crate::compare::differences::{incomparable, model_name};
use crate::compare::on_device::last_method;
use crate::results::baselines::question;
use crate::results::{Cell, Run, RunFolder};
use crate::stats::{ChangePoint, Estimate, Observation, Search, change_points};

/// One run's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Night {
    /// The run's name.
    pub name: String,
    /// The model's name; empty if the run names none.
    pub model: String,
    values: Vec<(Series, Estimate)>,
}

impl Night {
    /// The values of a run, without its records; `seed` is that of the intervals.
    pub fn of(side: &RunFolder, seed: u64) -> Night {
        let mut values = Vec::new();
        for cell in side.index.cells().filter(|cell| is_whole(side, cell)) {
            let series = |metric| Series { metric, variant: cell.label(), place: String::new() };
            let own = quality::alone(&side.index, cell, seed);
            values.extend(own.into_iter().map(|(metric, value)| (series(metric), value)));
        }
        values.extend(speed::alone(&side.measured));
        let model = model_name(side).unwrap_or_default();
        Night { name: side.name.clone(), model, values }
    }

    fn value(&self, series: &Series) -> Option<Estimate> {
        self.values.iter().find(|(own, _)| own == series).map(|(_, value)| *value)
    }
}

/// Whether a variant was scored on every window of its run. The values of one that was not would be
/// those of a shorter text.
fn is_whole(side: &RunFolder, cell: &Cell) -> bool {
    let expected = side.index.run().map_or(0, |run| run.windows);
    side.index.windows_of(&cell.cell_id).len() >= expected
}

/// Whether two runs belong to one history: they answer the same question on a text of the same length,
/// and devices were asked for the same number of tokens.
pub fn is_same_question(now: &RunFolder, then: &RunFolder) -> bool {
    let is_same = match (now.index.run(), then.index.run()) {
        (Some(now), Some(then)) => {
            let length = |run: &Run| (run.windows, run.scored_tokens);
            incomparable(now, then).is_none() && length(now) == length(then)
        }
        _ => question(now) == question(then),
    };
    let tokens = |side: &RunFolder| {
        let method = last_method(&side.measured)?;
        Some((method.prompt_tokens, method.tokens))
    };
    let (now, then) = (tokens(now), tokens(then));
    is_same && (now.is_none() || then.is_none() || now == then)
}

/// One metric of one variant over all runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// What is followed.
    pub series: Series,
    /// A value per run, oldest first; `None` for a run without one.
    pub values: Vec<Option<Estimate>>,
    /// Where the level changed; indices count all runs.
    pub changes: Vec<ChangePoint>,
}

impl Trend {
    /// Whether a new level begins with the run at `at`.
    pub fn is_change(&self, at: usize) -> bool {
        self.changes.iter().any(|change| change.index == at)
    }
}

/// Every metric of every variant over the runs that answer one question.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The runs, oldest first.
    pub nights: Vec<Night>,
    /// What they measured, in order of appearance.
    pub trends: Vec<Trend>,
    /// How changes were searched for.
    pub search: Search,
}

impl History {
    /// Follows runs, oldest first; `seed` is that of the permutations.
    pub fn of(nights: Vec<Night>, seed: u64) -> History {
        let search = Search::new(seed);
        let mut all: Vec<&Series> = Vec::new();
        for (series, _) in nights.iter().flat_map(|night| &night.values) {
            if !all.contains(&series) {
                all.push(series);
            }
        }
        let trends = all.into_iter().map(|series| trend(&nights, series, &search)).collect();
        History { nights, trends, search }
    }
}

fn trend(nights: &[Night], series: &Series, search: &Search) -> Trend {
    let values: Vec<Option<Estimate>> = nights.iter().map(|night| night.value(series)).collect();
    let known: Vec<usize> = (0..values.len()).filter(|&at| values[at].is_some()).collect();
    // All runs score the same windows, so the spread over windows says nothing about that over runs.
    let observed = values.iter().flatten();
    let observed: Vec<Observation> =
        observed.map(|v| Observation { value: v.point, standard_error: None }).collect();
    let mut changes = change_points(&observed, search);
    for change in &mut changes {
        change.index = known[change.index];
    }
    Trend { series: series.clone(), values, changes }
}
