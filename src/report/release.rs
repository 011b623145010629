//! Tables to publish: of named runs, with what a reader needs in order to trust them. A table that
//! should not be published has faults.

use std::fmt;
use std::str::FromStr;

use super::{Column, Table, Unit, Value, devices, markdown};
use crate::compare::summary::Summary;
use crate::error::{Error, Result};
use crate::escape;
use crate::results::RunFolder;

/// Hexadecimal digits of a run's hash, shown below its table.
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

/// A table, and why it should not be published.
#[derive(Debug, Clone, PartialEq)]
pub struct Release {
    /// Markdown that ends in a line feed.
    pub text: String,
    /// Empty if it can be published.
    pub faults: Vec<String>,
}

/// The table of these runs, with the columns `columns` or all of them.
///
/// # Errors
/// Input errors: a run was not scored to its end, or not measured on a device; runs of different windows
/// in one table; a column is unknown. *No* if a run lost windows.
pub fn release(name: TableName, runs: &[RunFolder], columns: Option<&[String]>) -> Result<Release> {
    let (tables, mut faults) = match name {
        TableName::Ladder => ladder(runs, columns)?,
        TableName::Devices => (speeds(runs, columns)?, Vec::new()),
    };
    faults.extend(tables.iter().flat_map(without_interval));
    let mut blocks: Vec<String> = tables.iter().map(markdown::fragment).collect();
    let named = |run: &RunFolder| {
        format!("{}, hash {}", run.name, run.hash.chars().take(HASH_DIGITS).collect::<String>())
    };
    let named: Vec<String> = runs.iter().map(named).collect();
    blocks.push(format!("Records: {}.", escape::markdown(&named.join("; "))));
    Ok(Release { text: blocks.join("\n\n") + "\n", faults })
}

/// One table of all runs, and the settings in which they are incomparable.
fn ladder(runs: &[RunFolder], columns: Option<&[String]>) -> Result<(Vec<Table>, Vec<String>)> {
    let summaries = runs.iter().map(|run| Summary::of(run).map_err(|e| e.at(&run.name)));
    let summaries: Vec<Summary> = summaries.collect::<Result<_>>()?;
    runs.iter().try_for_each(finished)?;
    let faults = mixed(&summaries);
    if faults.is_empty()
        && let [first, others @ ..] = &summaries[..]
        && let Some(other) = others.iter().find(|other| other.run.windows != first.run.windows)
    {
        let (a, b) = (first.run.windows, other.run.windows);
        let what = format!("one table cannot hold runs of {a} and of {b} windows");
        return Err(Error::input(what).hint("give each run a table of its own"));
    }
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
    table = choose(table, columns)?;
    let mut about = vec!["[ ] are 95 % intervals".to_owned()];
    if table.columns.iter().any(|column| column.unit == Unit::Ratio) {
        about.push("vs. reference is paired by window".to_owned());
    }
    table.notes = vec![[titles, about, versions].concat().join("; ") + "."];
    Ok((vec![table], faults))
}

/// Refuses a run that lost windows, and one that is not finished.
fn finished(run: &RunFolder) -> Result<()> {
    run.check_whole()?;
    let Some([windows, asked]) = run.index.unfinished() else { return Ok(()) };
    let what = format!("this run is not finished: {windows} of {asked} windows are scored");
    Err(Error::input(what).at(&run.name).hint("publish it when the same sweep has ended"))
}

/// A table of speeds for every device of every run.
fn speeds(runs: &[RunFolder], columns: Option<&[String]>) -> Result<Vec<Table>> {
    let mut all = Vec::new();
    for run in runs {
        let mut tables = devices::speeds_of(&run.measured);
        if tables.iter().all(|table| table.rows.is_empty()) {
            let what = "this run measured nothing on a device";
            return Err(Error::input(what).at(&run.name).hint("measure with sweep --device"));
        }
        if let Some(last) = tables.last_mut() {
            last.notes.extend(devices::notes(&run.measured));
        }
        for table in tables {
            all.push(choose(table, columns)?);
        }
    }
    Ok(all)
}

/// A table with the columns of these keys, in this order; `None` chooses all.
fn choose(table: Table, keys: Option<&[String]>) -> Result<Table> {
    let Some(keys) = keys else { return Ok(table) };
    let known: Vec<String> = table.columns.iter().map(column_key).collect();
    let place = |key: &String| {
        known.iter().position(|known| known == key).ok_or_else(|| {
            let what = format!("unknown column {key:?}");
            Error::input(what).hint(format!("the columns are {}", known.join(", ")))
        })
    };
    let places = keys.iter().map(place).collect::<Result<Vec<usize>>>()?;
    let chosen = |row: Vec<Value>| {
        // A cause of failure is shown in the first chosen column that it spans.
        let failed = row.iter().position(|value| matches!(value, Value::Failed(_)));
        let of = |&at: &usize| match failed {
            Some(failed) if at >= failed => row[failed].clone(),
            _ => row.get(at).cloned().unwrap_or(Value::Empty),
        };
        let mut values: Vec<Value> = places.iter().map(of).collect();
        if let Some(first) = values.iter().position(|value| matches!(value, Value::Failed(_))) {
            values.truncate(first + 1);
        }
        values
    };
    // Who asks for a column sees it in every format.
    let column = |&at: &usize| Column { is_data: false, ..table.columns[at].clone() };
    let columns = places.iter().map(column).collect();
    let rows = table.rows.into_iter().map(chosen).collect();
    Ok(Table { columns, rows, ..table })
}

/// The key by which a marker names a column: changes of perplexity share a key with perplexity.
fn column_key(column: &Column) -> String {
    if column.unit == Unit::Ratio { format!("{}_ratio", column.key) } else { column.key.clone() }
}

/// The settings in which runs of one table differ, so that their numbers are incomparable.
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
        differs("backends", &|summary| summary.run.backend().to_owned()),
        differs("tokenizers", &|summary| {
            summary.run.tokenizer_hash.chars().take(HASH_DIGITS).collect()
        }),
    ];
    checks.into_iter().flatten().collect()
}

/// Estimates without an interval, by row.
fn without_interval(table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    for row in &table.rows {
        let missing = table.columns.iter().zip(row).filter_map(|(column, value)| match value {
            Value::Estimate(estimate) if estimate.interval.is_none() => Some(column.name.as_str()),
            _ => None,
        });
        let missing: Vec<&str> = missing.collect();
        let name = row.iter().find_map(|value| match value {
            Value::Text(name) => Some(name.as_str()),
            _ => None,
        });
        if !missing.is_empty() {
            let name = name.unwrap_or("a row");
            faults.push(format!("{name} has no interval for {}", missing.join(", ")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::{folder, one_window, records, with_lost_windows};
    use crate::results::Record;

    fn edited(edit: impl Fn(&mut Record)) -> RunFolder {
        let mut records = records();
        records.iter_mut().for_each(edit);
        folder("2026-01-02-other", &records)
    }

    #[test]
    fn a_ladder_says_how_it_was_measured_and_from_which_records() {
        let release =
            release(TableName::Ladder, &[folder("2026-01-01-tiny", &records())], None).unwrap();
        assert_eq!(release.faults, [""; 0]);
        insta::assert_snapshot!(release.text);
    }

    #[test]
    fn runs_of_one_protocol_share_a_table_and_others_are_a_fault() {
        let first = folder("2026-01-01-tiny", &records());
        let same = release(TableName::Ladder, &[first.clone(), edited(|_| ())], None).unwrap();
        assert_eq!(same.faults, [""; 0]);
        assert!(same.text.starts_with("| run | variant |"), "{}", same.text);
        let other = edited(|record| {
            if let Record::Run(run) = record {
                run.protocol = "llama.cpp".into();
            }
        });
        let mixed = release(TableName::Ladder, &[first, other], None).unwrap();
        assert_eq!(mixed.faults, ["protocols are mixed: full and llama.cpp"]);
    }

    #[test]
    fn runs_of_two_backends_in_one_table_are_a_fault() {
        let on_gpu = edited(|record| {
            if let Record::Run(run) = record {
                run.backend = Some("metal".into());
            }
        });
        let first = folder("2026-01-01-tiny", &records());
        let mixed = release(TableName::Ladder, &[first, on_gpu], None).unwrap();
        assert_eq!(mixed.faults, ["backends are mixed: cpu and metal"]);
    }

    #[test]
    fn a_number_without_an_interval_is_a_fault() {
        let short = folder("a", &one_window(records()));
        let release = release(TableName::Ladder, &[short], None).unwrap();
        assert_eq!(release.faults.len(), 3, "{:?}", release.faults);
        assert!(release.faults[0].starts_with("reference has no interval for perplexity"));
    }

    #[test]
    fn unfinished_runs_lost_windows_and_different_windows_are_refused() {
        let refused = |runs: &[RunFolder]| {
            let error = release(TableName::Ladder, runs, None).unwrap_err();
            (error.exit().code(), error.to_string())
        };
        let mut open = records();
        open.retain(|record| !matches!(record, Record::Done(done) if done.cell_id == "c0"));
        open.retain(|one| !matches!(one, Record::Window(w) if w.cell_id == "c0" && w.window > 4));
        let (code, what) = refused(&[folder("a", &open)]);
        assert_eq!(code, 2);
        assert!(what.contains("not finished: 5 of 12 windows"), "{what}");
        let (code, what) = refused(&[folder("a", &with_lost_windows("b0", records()))]);
        assert_eq!(code, 1);
        assert!(what.contains("palette4: its records lost windows: 12 were scored, 3"), "{what}");
        let both = [folder("a", &records()), folder("b", &one_window(records()))];
        let (code, what) = refused(&both);
        assert_eq!(code, 2);
        assert!(what.contains("runs of 12 and of 1 windows"), "{what}");
    }

    #[test]
    fn a_run_without_devices_has_no_table_of_them() {
        let error = release(TableName::Devices, &[folder("a", &records())], None).unwrap_err();
        assert!(error.to_string().starts_with("a: this run measured nothing"), "{error}");
    }

    #[test]
    fn a_table_has_the_columns_that_are_chosen_and_an_unknown_one_is_refused() {
        let runs = [folder("a", &records())];
        let chosen = |keys: &[&str]| {
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            release(TableName::Ladder, &runs, Some(&keys))
        };
        let table = chosen(&["variant", "kl_mean", "perplexity_ratio", "size"]).unwrap();
        let lines: Vec<&str> = table.text.lines().collect();
        assert_eq!(lines[0], "| variant | KL mean (nats) | vs. reference (%) | size |");
        assert!(lines[2].starts_with("| reference |  |  | 2.20 MB |"), "{}", lines[2]);
        let failed = lines.iter().find(|line| line.starts_with("| palette1-c |")).unwrap();
        assert_eq!(failed.matches("logits are not finite").count(), 1, "{failed}");
        let error = chosen(&["variant", "speed"]).unwrap_err().to_string();
        assert!(error.starts_with("unknown column \"speed\"\nhint: the columns are "), "{error}");
        assert!(
            error.contains("variant, blocks, file, size, perplexity, perplexity_ratio,"),
            "{error}"
        );
    }
}
