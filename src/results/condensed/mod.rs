//! Condensed runs: the records of a run without its values per token, small enough to be committed.
//!
//! A window's line holds a KL divergence for each token, which is most of a run. A condensed run keeps
//! the sums of every window and, for each variant, the quantiles that tables show. Its numbers are
//! those of the run that it was made from, bit for bit. It has a file of its own, `condensed.jsonl`,
//! so that nothing can be appended to it.

pub(super) mod cell;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::cell::{CondensedCell, KlQuantiles, Totals};
use super::RECORDS;
use super::blocks::read_lines;
use super::head::{Head, check_schema, from_line, to_line};
use super::index::Index;
use super::measurement::MEASUREMENTS;
use super::plans::{is_plan, plans_in};
use super::record::Record;
use crate::error::{Error, Result};
use crate::files::{AtomicDir, Existing, copy_regular, is_finders};

/// Name of the file of a condensed run.
pub const CONDENSED: &str = "condensed.jsonl";

/// A run without its values per token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condensed {
    /// The run's records, without windows.
    pub records: Vec<Record>,
    /// The windows of every variant.
    pub cells: Vec<CondensedCell>,
}

/// The first line of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename = "condensed")]
struct Header {
    /// Hash of the file of records that the run was condensed from, in hexadecimal.
    records_hash: String,
    /// Lines that follow.
    lines: usize,
}

/// A variant's line.
#[derive(Serialize)]
#[serde(tag = "kind", rename = "windows")]
struct CellLine<'a> {
    #[serde(flatten)]
    cell: &'a CondensedCell,
}

/// A line of the file.
enum Line {
    Header(Header),
    Cell(CondensedCell),
    Record(Record),
}

fn parse(line: &str) -> Result<Line> {
    let what = "a line of a condensed run";
    let head = Head::of(line).map_err(|e| Error::input(format!("not {what}")).because(e))?;
    check_schema(head.schema)?;
    Ok(match &*head.kind {
        "condensed" => Line::Header(from_line(line, what)?),
        "windows" => Line::Cell(from_line(line, what)?),
        _ => Line::Record(Record::from_line(line)?),
    })
}

impl Condensed {
    /// Writes the condensed run of the folder `run` as the folder `target`, with the run's
    /// measurements and plans. An earlier condensed run of that name is replaced.
    ///
    /// # Errors
    /// Input errors: `target` is something else than a condensed run. Surroundings errors: it cannot
    /// be written; what was there is then unchanged.
    pub fn write(&self, run: &Path, target: &Path) -> Result<()> {
        refuse_others(target)?;
        let extent = read_lines(&run.join(RECORDS), |_| Ok(()), |()| Ok(()))?;
        let folder = AtomicDir::create(target, Existing::Replace, &[CONDENSED])?;
        let path = folder.path().join(CONDENSED);
        let text = self.text(extent.hasher.finalize().to_hex().to_string())?;
        std::fs::write(&path, text).map_err(|e| Error::io("write", &path, e))?;
        let measured = run.join(MEASUREMENTS).exists().then(|| MEASUREMENTS.to_owned());
        for name in plans_in(run).into_iter().chain(measured) {
            copy_regular(&run.join(&name), &folder.path().join(&name))?;
        }
        folder.put()
    }

    fn text(&self, records_hash: String) -> Result<String> {
        let header = Header { records_hash, lines: self.records.len() + self.cells.len() };
        let mut lines = vec![to_line(&header, "the first line of a condensed run")?];
        for record in &self.records {
            lines.push(record.to_line()?);
        }
        for cell in &self.cells {
            lines.push(to_line(&CellLine { cell }, "a condensed variant")?);
        }
        Ok(lines.join("\n") + "\n")
    }
}

/// Refuses (input) a target that holds anything else than a condensed run: replacing the folder would
/// delete it.
fn refuse_others(target: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(target) else { return Ok(()) };
    for entry in entries {
        let name = entry.map_err(|e| Error::io("read", target, e))?.file_name();
        let text = name.to_string_lossy();
        if !is_finders(&name) && ![CONDENSED, MEASUREMENTS].contains(&&*text) && !is_plan(&text) {
            let what = format!("this folder also holds {text}");
            return Err(Error::input(what)
                .at(target.display())
                .hint("name a new folder for the condensed run"));
        }
    }
    Ok(())
}

/// Adds the records of a condensed run to `index`, and returns the hash of the file of records that it
/// was made from.
///
/// # Errors
/// Input errors: a line is bad (names file and line), or lines are missing.
pub(super) fn read_into(path: &Path, index: &mut Index) -> Result<blake3::Hash> {
    let mut header = None;
    let mut lines = 0;
    let extent = read_lines(path, parse, |line| {
        match (line, &header) {
            (Line::Header(found), None) => header = Some(found),
            (_, None) => return Err(Error::input("expected the header line of a condensed run")),
            (Line::Header(_), Some(_)) => return Err(Error::input("a second head")),
            (Line::Record(record), _) => {
                lines += 1;
                index.insert(record)?;
            }
            (Line::Cell(cell), _) => {
                lines += 1;
                for window in cell.to_windows()? {
                    index.insert(Record::Window(window))?;
                }
                index.insert_totals(cell.cell_id, cell.totals);
            }
        }
        Ok(())
    })?;
    let Some(Header { records_hash, lines: expected }) = header else {
        return Err(Error::input("expected the header line of a condensed run").at(path.display()));
    };
    if lines != expected || extent.torn_bytes > 0 {
        let what = format!("expected {expected} lines after the first, found {lines}");
        return Err(Error::input(what)
            .at(path.display())
            .hint("condense the run again; this file was cut or edited"));
    }
    blake3::Hash::from_hex(&records_hash).map_err(|e| {
        Error::input("records_hash is not a hash").at(path.display()).because(e.to_string())
    })
}
