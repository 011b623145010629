//! CSV and JSON: full precision, and keys that end in the unit.
//!
//! A column of estimates becomes three columns in CSV (`kl_mean_nats`, `kl_mean_low_nats`,
//! `kl_mean_high_nats`) and an object in JSON. In CSV every row repeats the document's facts, so that
//! files of several runs can be concatenated.

use serde_json::{Map, Value as Json, json};

use super::{Column, Document, Table, Unit, Value, plot};
use crate::error::{Error, Result};
use crate::escape;
use crate::stats::Interval;

/// The key of the column with the cause of a failure.
const FAILURE: &str = "failure";

/// Tables are separated by an empty line; a single table is a plain CSV file.
pub(super) fn csv(document: &Document) -> Result<String> {
    let tables: Result<Vec<String>> =
        document.tables.iter().map(|table| table_csv(document, table)).collect();
    Ok(tables?.join("\n"))
}

fn table_csv(document: &Document, table: &Table) -> Result<String> {
    let bug = |e: csv::Error| Error::bug("cannot write CSV").because(e);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let columns: Vec<String> = table.columns.iter().flat_map(csv_keys).collect();
    // A row's own value says more than a fact of the same name.
    let named = document.facts.iter().map(|fact| (key(&fact.key, "", fact.unit), &fact.value));
    let facts: Vec<(String, &Value)> = named.filter(|(key, _)| !columns.contains(key)).collect();
    let keys = facts.iter().map(|(key, _)| key);
    let head = columns.iter().map(String::as_str).chain([FAILURE]);
    writer.write_record(head.chain(keys.map(String::as_str))).map_err(bug)?;
    for row in &table.rows {
        let values = table.columns.iter().enumerate().flat_map(|(at, column)| {
            csv_values(row.get(at).unwrap_or(&Value::Empty), column.has_interval)
        });
        let facts = facts.iter().map(|(_, value)| plain(value));
        let failure = escape::csv(failure(row)).into_owned();
        writer.write_record(values.chain([failure]).chain(facts)).map_err(bug)?;
    }
    let bytes = writer.into_inner().map_err(|e| bug(e.into_error().into()))?;
    String::from_utf8(bytes).map_err(|e| Error::bug("CSV is not UTF-8").because(e))
}

fn csv_keys(column: &Column) -> Vec<String> {
    let ends: &[&str] = if column.has_interval { &["", "_low", "_high"] } else { &[""] };
    ends.iter().map(|end| key(&column.key, end, column.unit)).collect()
}

fn csv_values(value: &Value, has_interval: bool) -> Vec<String> {
    let mut values = vec![plain(value)];
    if has_interval {
        let interval = match value {
            Value::Estimate(estimate) => estimate.interval,
            _ => None,
        };
        let end = |end: fn(Interval) -> f64| interval.map_or(String::new(), |i| number(end(i)));
        values.extend([end(|i| i.low), end(|i| i.high)]);
    }
    values
}

fn plain(value: &Value) -> String {
    match value {
        Value::Empty | Value::Struck(..) | Value::Failed(_) => String::new(),
        Value::Text(text) | Value::Hash(text) => escape::csv(text).into_owned(),
        Value::Count(count) => count.to_string(),
        Value::Number(value) => number(*value),
        Value::Estimate(estimate) => number(estimate.point),
    }
}

/// The shortest text that reads back as the same number.
fn number(value: f64) -> String {
    if value.is_finite() { json!(value).to_string() } else { String::new() }
}

fn failure(row: &[Value]) -> &str {
    let cause = row.iter().find_map(|value| match value {
        Value::Failed(cause) | Value::Struck(_, cause) => Some(cause.as_str()),
        _ => None,
    });
    cause.unwrap_or_default()
}

/// A key in data formats; it ends in the unit.
fn key(stem: &str, end: &str, unit: Unit) -> String {
    let suffix = match unit {
        Unit::None => "",
        Unit::Bytes => "_bytes",
        Unit::BitsPerWeight => "_bits_per_weight",
        Unit::Nats => "_nats",
        Unit::BitsPerByte => "_bits_per_byte",
        Unit::Ratio => "_ratio",
        Unit::Share => "_share",
        Unit::Millis => "_ms",
        Unit::TokensPerSecond => "_tokens_per_s",
    };
    format!("{stem}{end}{suffix}")
}

pub(super) fn json(document: &Document) -> Result<String> {
    let facts: Map<String, Json> = document
        .facts
        .iter()
        .map(|fact| (key(&fact.key, "", fact.unit), json_value(&fact.value)))
        .collect();
    let tables: Vec<Json> = document.tables.iter().map(table_json).collect();
    // The figures that a page draws, so that both formats show the same numbers.
    let drawn = document.figures.iter().filter(|figure| plot::svg(figure).is_some());
    let figures = drawn.map(|figure| table_json(&figure.table()));
    let whole = json!({
        "title": document.title,
        "facts": facts,
        "warnings": document.warnings,
        "tables": tables,
        "figures": figures.collect::<Vec<Json>>(),
        "notes": document.notes,
    });
    let text = serde_json::to_string_pretty(&whole)
        .map_err(|e| Error::bug("cannot write JSON").because(e))?;
    Ok(escape::json(&text).into_owned() + "\n")
}

fn table_json(table: &Table) -> Json {
    let rows: Vec<Json> = table
        .rows
        .iter()
        .map(|row| {
            let mut object: Map<String, Json> = Map::new();
            for (at, column) in table.columns.iter().enumerate() {
                let value = row.get(at).unwrap_or(&Value::Empty);
                object.insert(key(&column.key, "", column.unit), json_value(value));
            }
            if !failure(row).is_empty() {
                object.insert(FAILURE.to_owned(), json!(failure(row)));
            }
            Json::Object(object)
        })
        .collect();
    json!({ "title": table.title, "rows": rows, "notes": table.notes })
}

fn json_value(value: &Value) -> Json {
    match value {
        Value::Empty | Value::Struck(..) | Value::Failed(_) => Json::Null,
        Value::Text(text) | Value::Hash(text) => json!(text),
        Value::Count(count) => json!(count),
        Value::Number(number) => json!(number),
        Value::Estimate(estimate) => json!({
            "point": estimate.point,
            "low": estimate.interval.map(|i| i.low),
            "high": estimate.interval.map(|i| i.high),
            "level": estimate.interval.map(|i| i.level),
            "n": estimate.n,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{document, short_document};
    use super::*;

    #[test]
    fn a_summary_as_csv() {
        insta::assert_snapshot!(csv(&document()).unwrap());
    }

    #[test]
    fn a_summary_as_json() {
        let mut document = short_document();
        document.notes.clear();
        document.tables[0].columns.truncate(7);
        insta::assert_snapshot!(json(&document).unwrap());
    }

    #[test]
    fn every_csv_row_has_as_many_fields_as_the_head() {
        let mut document = document();
        document.tables.truncate(1);
        let text = csv(&document).unwrap();
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let mut names: Vec<String> = reader.headers().unwrap().iter().map(Into::into).collect();
        assert_eq!(reader.records().filter_map(Result::ok).count(), 4);
        let columns = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), columns, "two columns share a name");
    }

    #[test]
    fn a_number_that_is_not_finite_is_empty() {
        assert_eq!(number(f64::INFINITY), "");
        assert_eq!(json_value(&Value::Number(f64::NAN)), Json::Null);
    }
}
