//! Each metric over the last runs, and where it changed.

use super::differences::model;
use super::document::{Shape, sized};
use super::metric::Metric;
use super::{quality, speed};
use crate::report::number::{Detail, text};
use crate::report::{Align, Column, Document, Fact, Format, Table, Unit, Value};
use crate::results::RunFolder;
use crate::stats::{ChangePoint, Estimate, Observation, Search, change_points};

/// Characters of a line of bars, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Before the first run of a new level.
const MARK: char = '│';
/// A run without this value.
const GAP: char = '·';

/// One run's values.
#[derive(Debug, Clone, PartialEq)]
pub struct Night {
    name: String,
    model: String,
    values: Vec<(Series, Estimate)>,
}

/// What is followed from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Series {
    metric: Metric,
    variant: String,
    /// The device; empty for what needs none.
    place: String,
}

impl Night {
    /// The values of a run; nothing of its records is kept.
    pub fn of(side: &RunFolder, seed: u64) -> Night {
        let mut values = Vec::new();
        for cell in side.index.cells() {
            let series = |metric| Series { metric, variant: cell.label(), place: String::new() };
            let own = quality::alone(&side.index, cell, seed);
            values.extend(own.into_iter().map(|(metric, value)| (series(metric), value)));
        }
        let on_devices = speed::alone(&side.measured).into_iter();
        values.extend(
            on_devices
                .map(|(variant, place, metric, value)| (Series { metric, variant, place }, value)),
        );
        let model = model(side).unwrap_or_default();
        Night { name: side.name.clone(), model, values }
    }

    fn value(&self, series: &Series) -> Option<Estimate> {
        self.values.iter().find(|(own, _)| own == series).map(|(_, value)| *value)
    }
}

/// One metric of one variant over all runs.
struct Line {
    series: Series,
    /// A value per run, oldest first.
    values: Vec<Option<Estimate>>,
    /// Change points, their indices counted over all runs.
    changes: Vec<ChangePoint>,
}

/// The history of runs that answer one question, oldest first; `seed` is that of the permutations.
pub fn history(nights: &[Night], seed: u64, format: Format) -> Document {
    let mut all: Vec<&Series> = Vec::new();
    for (series, _) in nights.iter().flat_map(|night| &night.values) {
        if !all.contains(&series) {
            all.push(series);
        }
    }
    let search = Search::new(seed);
    let lines: Vec<Line> = all.into_iter().map(|series| line(nights, series, &search)).collect();
    let is_data = Shape::of(format).is_data;
    let of_metric = |metric| lines.iter().filter(move |line: &&Line| line.series.metric == metric);
    let metrics = Metric::ALL.into_iter().filter(|&metric| of_metric(metric).next().is_some());
    let tables = metrics.map(|metric| {
        let lines: Vec<&Line> = of_metric(metric).collect();
        if is_data { values(nights, metric, &lines) } else { bars(metric, &lines) }
    });
    let mut tables: Vec<Table> = tables.collect();
    if !is_data {
        tables.extend(changes(nights, &lines));
    }
    let ends = [nights.first(), nights.last()].map(|night| night.map_or("", |n| n.name.as_str()));
    Document {
        title: format!("{}: {} runs", nights.last().map_or("", |n| &n.model), nights.len()),
        facts: vec![Fact::new("first", "first", ends[0]), Fact::new("last", "last", ends[1])],
        tables,
        notes: vec![format!(
            "{MARK} stands before the first run of a new level, {GAP} for a run without a value; \
             bars go from the lowest to the highest value of their row. Levels: binary \
             segmentation, each split held against {} random orders of the same runs at {} % \
             (seed {seed}), with {} runs or more on either side; about 11 runs are needed to see one.",
            search.permutations,
            search.alpha * 100.0,
            search.least,
        )],
        ..Document::default()
    }
}

fn line(nights: &[Night], series: &Series, search: &Search) -> Line {
    let values: Vec<Option<Estimate>> = nights.iter().map(|night| night.value(series)).collect();
    let known: Vec<usize> = (0..values.len()).filter(|&at| values[at].is_some()).collect();
    // Windows are the same from run to run, so that their spread says nothing about runs.
    let observed = values.iter().flatten();
    let observed: Vec<Observation> =
        observed.map(|v| Observation { value: v.point, standard_error: None }).collect();
    let mut changes = change_points(&observed, search);
    for change in &mut changes {
        change.index = known[change.index];
    }
    Line { series: series.clone(), values, changes }
}

impl Line {
    fn name(&self) -> String {
        match self.series.place.as_str() {
            "" => self.series.variant.clone(),
            place => format!("{} on {place}", self.series.variant),
        }
    }

    fn is_change(&self, at: usize) -> bool {
        self.changes.iter().any(|change| change.index == at)
    }

    /// The values as bars with their change points.
    fn drawn(&self) -> String {
        let points: Vec<f64> = self.values.iter().flatten().map(|value| value.point).collect();
        let least = points.iter().copied().fold(f64::INFINITY, f64::min);
        let most = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let bar = |value: f64| {
            let share = if most > least { (value - least) / (most - least) } else { 0.0 };
            BARS[(share * (BARS.len() - 1) as f64).round() as usize]
        };
        let mut drawn = String::new();
        for (at, value) in self.values.iter().enumerate() {
            drawn.extend(self.is_change(at).then_some(MARK));
            drawn.push(value.map_or(GAP, |value| bar(value.point)));
        }
        drawn
    }
}

/// A row of bars per variant, with the last value.
fn bars(metric: Metric, lines: &[&Line]) -> Table {
    let row = |line: &&Line| {
        let last = line.values.last().copied().flatten();
        vec![Value::from(line.name()), line.drawn().into(), sized(metric, last)]
    };
    Table {
        title: metric.name().into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::text("history", "oldest to latest"),
            Column::estimate("last", "last", metric.unit()),
        ],
        rows: lines.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

/// Every value of a metric, a row each.
fn values(nights: &[Night], metric: Metric, lines: &[&Line]) -> Table {
    let of_line = |line: &&Line| {
        let row = |(at, night): (usize, &Night)| {
            vec![
                Value::from(line.series.variant.as_str()),
                Value::from(line.series.place.as_str()),
                Value::from(metric.name()),
                Value::from(night.name.as_str()),
                line.values[at].into(),
                Value::from(if line.is_change(at) { "new level" } else { "" }),
            ]
        };
        nights.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    Table {
        title: metric.name().into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::text("place", "on"),
            Column::text("metric", "metric"),
            Column::text("run", "run"),
            Column::estimate("value", "value", metric.unit()),
            Column::text("change", "change"),
        ],
        rows: lines.iter().flat_map(of_line).collect(),
        notes: Vec::new(),
    }
}

/// Every change point, a row each; nothing where there is none.
fn changes(nights: &[Night], lines: &[Line]) -> Option<Table> {
    let of_line = |line: &Line| {
        let level = |value: f64| in_unit(line.series.metric, value);
        let row = |change: &ChangePoint| {
            vec![
                Value::from(nights[change.index].name.as_str()),
                Value::from(line.name()),
                Value::from(line.series.metric.name()),
                level(change.before).into(),
                level(change.after).into(),
                Value::from(change.p),
            ]
        };
        line.changes.iter().map(row).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<Value>> = lines.iter().flat_map(of_line).collect();
    let order = |row: &[Value]| match &row[0] {
        Value::Text(name) => nights.iter().position(|night| night.name == *name),
        _ => None,
    };
    rows.sort_by_key(|row| order(row));
    let right = |key: &str, name: &str| Column { align: Align::Right, ..Column::text(key, name) };
    (!rows.is_empty()).then(|| Table {
        title: "New levels".into(),
        columns: vec![
            Column::text("run", "since"),
            Column::text("variant", "variant"),
            Column::text("metric", "metric"),
            right("before", "before"),
            right("after", "after"),
            Column::number("p", "p", Unit::None).rank(1),
        ],
        rows,
        notes: Vec::new(),
    })
}

/// A mean level in its unit.
fn in_unit(metric: Metric, value: f64) -> String {
    let shown = text(&Value::Number(value), metric.unit(), Detail::Point);
    match metric.unit() {
        // Three digits would hide the byte by which a level changed.
        Unit::Bytes if metric.change_unit() == Unit::Bytes => format!("{value:.0} B"),
        Unit::Nats => format!("{shown} nats"),
        Unit::Share => format!("{shown} %"),
        Unit::TokensPerSecond => format!("{shown} tokens/s"),
        _ => shown,
    }
}
