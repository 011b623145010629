//! The history of each metric as lines of bars or values, and a table of its new levels.

use super::document::{Shape, sized};
use crate::compare::Metric;
use crate::compare::check::{History, Night, Trend};
use crate::report::number::{Detail, text};
use crate::report::{Align, Column, Document, Fact, Format, Table, Unit, Value};
use crate::stats::{ChangePoint, Search};
use crate::units::counted;

/// Characters of a line of bars, lowest first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Before the first run of a new level.
const MARK: char = '│';
/// A run without this value.
const GAP: char = '·';

/// The document of a history, in the shape that a format wants.
pub fn history(history: &History, format: Format) -> Document {
    let History { nights, trends, search } = history;
    let is_data = Shape::of(format).is_data;
    let of_metric = |metric| trends.iter().filter(move |one: &&Trend| one.series.metric == metric);
    let metrics = Metric::ALL.into_iter().filter(|&metric| of_metric(metric).next().is_some());
    let tables = metrics.map(|metric| {
        let trends: Vec<&Trend> = of_metric(metric).collect();
        if is_data { values(nights, metric, &trends) } else { bars(metric, &trends) }
    });
    let mut tables: Vec<Table> = tables.collect();
    if !is_data {
        tables.extend(changes(nights, trends));
    }
    let ends = [nights.first(), nights.last()].map(|night| night.map_or("", |n| n.name.as_str()));
    let Search { seed, permutations, alpha, least } = search;
    Document {
        title: format!(
            "{}: {}",
            nights.last().map_or("", |n| &n.model),
            counted(nights.len(), "run")
        ),
        facts: vec![Fact::new("first", "first", ends[0]), Fact::new("last", "last", ends[1])],
        tables,
        notes: vec![format!(
            "{MARK} marks the first run of a new level, {GAP} a run without a value. Bars span the \
             lowest to the highest value of their row. New levels are found by binary segmentation: \
             a split counts if at most {} % of {permutations} random orders of the runs separate as \
             well (seed {seed}), with at least {least} runs on either side; finding one takes about \
             11 runs.",
            alpha * 100.0,
        )],
        ..Document::default()
    }
}

/// The variant, with its device.
fn name(trend: &Trend) -> String {
    match trend.series.place.as_str() {
        "" => trend.series.variant.clone(),
        place => format!("{} on {place}", trend.series.variant),
    }
}

/// The values as bars with their change points.
fn drawn(trend: &Trend) -> String {
    let points: Vec<f64> = trend.values.iter().flatten().map(|value| value.point).collect();
    let least = points.iter().copied().fold(f64::INFINITY, f64::min);
    let most = points.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bar = |value: f64| {
        let share = if most > least { (value - least) / (most - least) } else { 0.0 };
        BARS[(share * (BARS.len() - 1) as f64).round() as usize]
    };
    let mut drawn = String::new();
    for (at, value) in trend.values.iter().enumerate() {
        drawn.extend(trend.is_change(at).then_some(MARK));
        drawn.push(value.map_or(GAP, |value| bar(value.point)));
    }
    drawn
}

/// A row of bars per variant, with the last value.
fn bars(metric: Metric, trends: &[&Trend]) -> Table {
    let row = |trend: &&Trend| {
        let last = trend.values.last().copied().flatten();
        vec![Value::from(name(trend)), drawn(trend).into(), sized(metric, last)]
    };
    Table {
        title: metric.name().into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::text("history", "oldest to latest"),
            Column::estimate("last", "last", metric.unit()),
        ],
        rows: trends.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

/// Every value of a metric, a row each.
fn values(nights: &[Night], metric: Metric, trends: &[&Trend]) -> Table {
    let of_trend = |trend: &&Trend| {
        let row = |(at, night): (usize, &Night)| {
            vec![
                Value::from(trend.series.variant.as_str()),
                Value::from(trend.series.place.as_str()),
                Value::from(metric.name()),
                Value::from(night.name.as_str()),
                trend.values[at].into(),
                Value::from(if trend.is_change(at) { "new level" } else { "" }),
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
        rows: trends.iter().flat_map(of_trend).collect(),
        notes: Vec::new(),
    }
}

/// Every change point, a row each; `None` if there is none.
fn changes(nights: &[Night], trends: &[Trend]) -> Option<Table> {
    let of_trend = |trend: &Trend| {
        let level = |value: f64| in_unit(trend.series.metric, value);
        let row = |change: &ChangePoint| {
            let row = vec![
                Value::from(nights[change.index].name.as_str()),
                Value::from(name(trend)),
                Value::from(trend.series.metric.name()),
                level(change.before).into(),
                level(change.after).into(),
                Value::from(change.p),
            ];
            (change.index, row)
        };
        trend.changes.iter().map(row).collect::<Vec<_>>()
    };
    let mut found: Vec<(usize, Vec<Value>)> = trends.iter().flat_map(of_trend).collect();
    found.sort_by_key(|(run, _)| *run);
    let rows: Vec<Vec<Value>> = found.into_iter().map(|(_, row)| row).collect();
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

/// The mean of a level, with its unit.
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
