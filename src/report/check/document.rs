//! A check as a document: what differs, a table for each metric, what could have been found.

use super::words;
use crate::compare::Metric;
use crate::compare::check::{CheckRow, Checked, rank};
use crate::report::number::Detail;
use crate::report::{Align, Column, Document, Fact, Format, Table, Unit, Value};
use crate::stats::{Estimate, FAMILY_ALPHA, POWER};

/// How numbers are computed in every check.
const METHOD: &str = "Perplexity, KL and top-1 agreement are paired by window, and windows are \
    resampled in blocks. Speeds, load times and memory are medians; visits of a device to a package \
    are resampled, then the repetitions within them. Sizes are exact.";

/// The document in the shape that a format wants: data formats have full precision and a column for
/// each number that people read within one text.
pub fn document(checked: &Checked, format: Format) -> Document {
    let shape = Shape::of(format);
    let tables = Metric::ALL.into_iter().filter_map(|metric| {
        let rows: Vec<&CheckRow> = checked.rows.iter().filter(|row| row.metric == metric).collect();
        (!rows.is_empty()).then(|| (rows[0], table(checked, metric, &rows, shape)))
    });
    let mut tables: Vec<(&CheckRow, Table)> = tables.collect();
    // Rows are sorted by verdict, so the first of a table is its worst.
    tables.sort_by_key(|(worst, _)| rank(&worst.verdict));
    let [now, then] = &checked.names;
    let differences = checked.differences.iter().map(words::difference);
    Document {
        title: format!(
            "{}: {} ({})",
            checked.model,
            words::outcome(checked),
            words::counts(checked)
        ),
        facts: vec![
            Fact::new("run_name", "this run", now.as_str()),
            Fact::new("baseline_name", "baseline", then.as_str()),
            Fact::new("run_hash", "hash of this run", Value::Hash(checked.hashes[0].clone()))
                .detail(),
            Fact::new(
                "baseline_hash",
                "hash of the baseline",
                Value::Hash(checked.hashes[1].clone()),
            )
            .detail(),
            Fact::new("outcome", "outcome", words::outcome(checked)).detail(),
            Fact::new("exit_code", "exit code", u64::from(checked.exit().code())).detail(),
        ],
        warnings: differences.chain(checked.asides.iter().cloned()).collect(),
        tables: tables.into_iter().map(|(_, table)| table).collect(),
        notes: vec![words::detectable(checked), method(checked)],
        ..Document::default()
    }
}

fn method(checked: &Checked) -> String {
    let (power, family) = (POWER * 100.0, FAMILY_ALPHA * 100.0);
    format!(
        "Changes are shown with the interval that decides: it is wholly beyond the tolerance for \
         regressed and improved, and wholly within it for unchanged. Its level is chosen so that in \
         at most {family} % of checks any verdict of a kind is wrong (Holm's method). \"Detectable\" \
         is the worsening that {power} % of checks like this one would find, predicted. {METHOD} \
         Seed {}.",
        checked.seed
    )
}

/// How a format wants its tables.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Whether numbers have a column each at full precision, instead of texts with units.
    pub is_data: bool,
    /// Whether reasons have a column; otherwise they are below the table, where lines can wrap.
    pub has_reasons: bool,
    /// How much of an interval is shown.
    pub detail: Detail,
}

impl Shape {
    pub fn of(format: Format) -> Shape {
        Shape {
            is_data: matches!(format, Format::Json | Format::Csv),
            has_reasons: format != Format::Terminal,
            detail: if format == Format::Terminal { Detail::HalfWidth } else { Detail::Ends },
        }
    }
}

fn table(checked: &Checked, metric: Metric, rows: &[&CheckRow], shape: Shape) -> Table {
    let has_numbers = metric != Metric::Result;
    let is_exact = matches!(metric, Metric::Size | Metric::Packages);
    let mut columns = vec![Column::text("variant", "variant")];
    if shape.is_data {
        columns.push(Column::text("place", "on"));
        columns.push(Column::text("metric", "metric"));
    }
    columns.push(Column::text("verdict", "verdict"));
    if has_numbers {
        columns.extend(number_columns(metric, is_exact, shape));
    }
    if shape.has_reasons {
        columns.push(Column::text("reason", "reason"));
    }
    let row = |row: &&CheckRow| {
        let mut cells = vec![Value::from(name(row, shape))];
        if shape.is_data {
            cells.push(row.place.as_str().into());
            cells.push(metric.name().into());
        }
        cells.push(words::verdict(&row.verdict).into());
        if has_numbers {
            cells.extend(numbers(row, is_exact, shape));
        }
        if shape.has_reasons {
            cells.push(words::reason(row).into());
        }
        cells
    };
    let title = match metric {
        Metric::Result => "Results that came or went".to_owned(),
        _ => format!("{} (tolerance {})", metric.name(), checked.tolerances.words(metric)),
    };
    let notes = if shape.has_reasons { Vec::new() } else { reasons(rows) };
    Table { title, columns, rows: rows.iter().map(row).collect(), notes }
}

fn name(row: &CheckRow, shape: Shape) -> String {
    let place = if shape.is_data { String::new() } else { words::place(row) };
    format!("{}{place}", row.variant)
}

fn number_columns(metric: Metric, is_exact: bool, shape: Shape) -> Vec<Column> {
    let unit = metric.unit();
    let text = |key: &str, name: &str| Column { align: Align::Right, ..Column::text(key, name) };
    let values = [("baseline", "baseline"), ("candidate", "this run")]
        .map(|(key, name)| Column::estimate(key, name, unit).rank(u8::from(!is_exact)));
    let mut columns = if shape.is_data {
        vec![Column::estimate("change", "change", metric.change_unit())]
    } else {
        vec![text("change", "change")]
    };
    if !is_exact {
        columns.push(match (shape.is_data, metric.change_unit()) {
            (false, _) => text("detectable", "detectable"),
            (true, Unit::Ratio) => Column::number("detectable", "detectable", Unit::Share),
            (true, unit) => Column::number("detectable", "detectable", unit),
        });
    }
    columns.extend(values);
    columns
}

fn numbers(row: &CheckRow, is_exact: bool, shape: Shape) -> Vec<Value> {
    let (change, detectable): (Value, Value) = if shape.is_data {
        (row.change.into(), row.detectable.into())
    } else {
        let change = row.change.map(|change| words::change(row.metric, &change, shape.detail));
        let detectable = row.detectable.map(|amount| words::amount(row.metric, amount));
        (change.into(), detectable.into())
    };
    let mut cells = vec![change];
    if !is_exact {
        cells.push(detectable);
    }
    cells.extend([row.baseline, row.candidate].map(|value| sized(row.metric, value)));
    cells
}

/// A value; sizes in whole bytes.
pub(super) fn sized(metric: Metric, value: Option<Estimate>) -> Value {
    match value {
        Some(value) if metric.unit() == Unit::Bytes => Value::Count(value.point as u64),
        value => value.into(),
    }
}

/// Each reason with the variants that it applies to.
fn reasons(rows: &[&CheckRow]) -> Vec<String> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows {
        let why = words::reason(row);
        let name = format!("{}{}", row.variant, words::place(row));
        match found.iter_mut().find(|(known, _)| *known == why) {
            _ if why.is_empty() => {}
            Some((_, names)) => names.push(name),
            None => found.push((why, vec![name])),
        }
    }
    found.into_iter().map(|(why, names)| format!("{}: {why}", names.join(", "))).collect()
}
