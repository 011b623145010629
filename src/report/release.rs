//! Tables for release notes: of named runs, with what a reader needs to trust them, and nothing that
//! should not be trusted.

use std::fmt;
use std::str::FromStr;

use super::{Column, Table, Value, devices, markdown};
use crate::compare::summary::Summary;
use crate::error::{Error, Result};
use crate::results::RunFolder;

/// Hexadecimal digits of a run's hash below its table.
const HASH_DIGITS: usize = 16;

/// A table that can be spliced into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableName {
    /// Sizes and quality of every variant.
    Ladder,
    /// What devices measured.
    Devices,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            TableName::Ladder => "ladder",
            TableName::Devices => "devices",
        })
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(name: &str) -> Result<TableName> {
        [TableName::Ladder, TableName::Devices]
            .into_iter()
            .find(|table| table.to_string() == name)
            .ok_or_else(|| Error::input(format!("expected ladder or devices, found {name:?}")))
    }
}

/// A table, and why it should not be believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Markdown that ends in a line feed.
    pub text: String,
    /// Nothing where it can be published.
    pub faults: Vec<String>,
}

/// The table of these runs.
///
/// # Errors
/// Input errors: a run that was not scored, or not measured on a device.
pub fn release(name: TableName, runs: &[RunFolder]) -> Result<Release> {
    let (tables, mut faults) = match name {
        TableName::Ladder => ladder(runs)?,
        TableName::Devices => (speeds(runs)?, Vec::new()),
    };
    faults.extend(tables.iter().flat_map(without_interval));
    let mut blocks: Vec<String> = tables.iter().map(markdown::fragment).collect();
    let named = |run: &RunFolder| {
        format!("{}, hash {}", run.name, run.hash.chars().take(HASH_DIGITS).collect::<String>())
    };
    let named: Vec<String> = runs.iter().map(named).collect();
    blocks.push(format!("Records: {}.", markdown::escape(&named.join("; "))));
    Ok(Release { text: blocks.join("\n\n") + "\n", faults })
}

/// One table of all runs, and in what they cannot be compared.
fn ladder(runs: &[RunFolder]) -> Result<(Vec<Table>, Vec<String>)> {
    let summaries = runs.iter().map(|run| Summary::of(run).map_err(|e| e.at(&run.name)));
    let summaries: Vec<Summary> = summaries.collect::<Result<_>>()?;
    let mut tables = summaries.iter().map(Summary::table);
    let Some(mut table) = tables.next() else { return Ok((Vec::new(), Vec::new())) };
    let mut titles = vec![std::mem::take(&mut table.title)];
    if runs.len() > 1 {
        let name = |rows: Vec<Vec<Value>>, run: &RunFolder| -> Vec<Vec<Value>> {
            let named = |row: Vec<Value>| [vec![run.name.as_str().into()], row].concat();
            rows.into_iter().map(named).collect()
        };
        table.columns.insert(0, Column::text("run", "run"));
        table.rows = name(table.rows, &runs[0]);
        for (other, run) in tables.zip(&runs[1..]) {
            titles.push(other.title);
            table.rows.extend(name(other.rows, run));
        }
    }
    titles.dedup();
    let version = |summary: &Summary| format!("evalkit {}", summary.run.evalkit_version);
    let mut versions: Vec<String> = summaries.iter().map(version).collect();
    versions.dedup();
    let about = "[ ] are 95 % intervals; vs. ref. is paired by window".to_owned();
    table.notes = vec![[titles, vec![about], versions].concat().join("; ") + "."];
    Ok((vec![table], mixed(&summaries)))
}

/// Speeds of every device of every run, each under its title.
fn speeds(runs: &[RunFolder]) -> Result<Vec<Table>> {
    let mut all = Vec::new();
    for run in runs {
        let mut tables = devices::speeds_of(&run.measured);
        if tables.is_empty() {
            let what = "nothing was measured on a device in this run";
            return Err(Error::input(what).at(&run.name).hint("measure with sweep --device"));
        }
        if let Some(last) = tables.last_mut() {
            last.notes.extend(devices::notes(&run.measured));
        }
        all.extend(tables);
    }
    Ok(all)
}

/// In what runs of one table differ that makes their numbers incomparable.
fn mixed(summaries: &[Summary]) -> Vec<String> {
    let differs = |what: &str, of: &dyn Fn(&Summary) -> String| {
        let mut found: Vec<String> = summaries.iter().map(of).collect();
        found.sort();
        found.dedup();
        (found.len() > 1).then(|| format!("{what} are mixed: {}", found.join(" and ")))
    };
    let checks = [
        differs("protocols", &|summary| summary.run.protocol.clone()),
        differs("texts", &|summary| summary.run.text_name.clone()),
        differs("tokens per window", &|summary| summary.run.window_tokens.to_string()),
        differs("tokenizers", &|summary| {
            summary.run.tokenizer_hash.chars().take(HASH_DIGITS).collect()
        }),
    ];
    checks.into_iter().flatten().collect()
}

/// Numbers that chance has a part in, and no interval says which.
fn without_interval(table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    for row in &table.rows {
        let missing = table.columns.iter().zip(row).filter_map(|(column, value)| match value {
            Value::Estimate(estimate) if estimate.interval.is_none() => Some(column.name.as_str()),
            _ => None,
        });
        let missing: Vec<&str> = missing.collect();
        if let (Some(Value::Text(variant)), false) = (row.first(), missing.is_empty()) {
            faults.push(format!("{variant} has no interval for {}", missing.join(", ")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{folder, records};
    use crate::results::Record;

    fn edited(edit: impl Fn(&mut Record)) -> RunFolder {
        let mut records = records();
        records.iter_mut().for_each(edit);
        folder("2026-01-02-other", &records)
    }

    #[test]
    fn a_ladder_says_how_it_was_measured_and_from_which_records() {
        let release = release(TableName::Ladder, &[folder("2026-01-01-tiny", &records())]).unwrap();
        assert_eq!(release.faults, [""; 0]);
        insta::assert_snapshot!(release.text);
    }

    #[test]
    fn runs_of_one_protocol_share_a_table_and_others_are_a_fault() {
        let first = folder("2026-01-01-tiny", &records());
        let same = release(TableName::Ladder, &[first.clone(), edited(|_| ())]).unwrap();
        assert_eq!(same.faults, [""; 0]);
        assert!(same.text.starts_with("| run | variant |"), "{}", same.text);
        let other = edited(|record| {
            if let Record::Run(run) = record {
                run.protocol = "llama.cpp".into();
            }
        });
        let mixed = release(TableName::Ladder, &[first, other]).unwrap();
        assert_eq!(mixed.faults, ["protocols are mixed: full and llama.cpp"]);
    }

    #[test]
    fn a_number_without_an_interval_is_a_fault() {
        let one_window: Vec<Record> = records()
            .into_iter()
            .filter(|record| !matches!(record, Record::Window(window) if window.window > 0))
            .collect();
        let release = release(TableName::Ladder, &[folder("a", &one_window)]).unwrap();
        assert_eq!(release.faults.len(), 3, "{:?}", release.faults);
        assert!(release.faults[0].starts_with("fp has no interval for perplexity"));
    }

    #[test]
    fn a_run_without_devices_has_no_table_of_them() {
        let error = release(TableName::Devices, &[folder("a", &records())]).unwrap_err();
        assert!(error.to_string().starts_with("a: nothing was measured"), "{error}");
    }
}
