//! Tables inside other files, between two markers on lines of their own:
//!
//! ```text
//! <!-- evalkit: reports/<run> ladder columns=variant,size,perplexity -->
//! …
//! <!-- /evalkit -->
//! ```
//!
//! Paths are relative to the file; several runs make one table; without `columns=` a table has all its
//! columns. Markers in fenced blocks are examples and are ignored. Text in, text out; a bad marker is an
//! error for the whole file.

use std::ops::Range;

use super::release::TableName;
use crate::error::{At, Error, Result};

const OPEN: &str = "<!-- evalkit:";
const CLOSE: &str = "<!-- /evalkit -->";
const END: &str = "-->";
const COLUMNS: &str = "columns=";
const EXAMPLE: &str = "a table is between <!-- evalkit: reports/<run> ladder --> and \
                       <!-- /evalkit -->, each on its own line";

/// A place for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSlot {
    /// Line of its first marker, from 1.
    pub line: usize,
    /// Folders of the runs, as the marker names them.
    pub runs: Vec<String>,
    /// The table.
    pub table: TableName,
    /// Keys of the columns to show, in this order; `None` for all columns.
    pub columns: Option<Vec<String>>,
    /// Bytes between the lines of the markers.
    body: Range<usize>,
}

impl TableSlot {
    /// What the marker names: `reports/demo ladder`.
    pub fn name(&self) -> String {
        let columns = self.columns.as_ref().map(|keys| format!(" {COLUMNS}{}", keys.join(",")));
        format!("{} {}{}", self.runs.join(" "), self.table, columns.unwrap_or_default())
    }

    /// The table in `text`, with plain line feeds.
    pub fn found(&self, text: &str) -> String {
        text[self.body.clone()].replace("\r\n", "\n")
    }
}

/// The places for tables in a file, in order.
///
/// # Errors
/// Input errors that name the line: there is no marker, one lacks its partner, one is inside another,
/// the same table appears twice, or a table is unknown.
pub fn slots(text: &str) -> Result<Vec<TableSlot>> {
    let mut slots: Vec<TableSlot> = Vec::new();
    let mut open: Option<TableSlot> = None;
    let (mut at, mut is_example) = (0, false);
    for (number, whole) in (1..).zip(text.split_inclusive('\n')) {
        let (start, line) = (at, whole.trim());
        at += whole.len();
        if line.starts_with("```") || line.starts_with("~~~") {
            is_example = !is_example;
        }
        let refused =
            |what: String| Err(Error::input(what).at(format!("line {number}")).hint(EXAMPLE));
        if is_example {
            continue;
        }
        match (&mut open, line) {
            (None, CLOSE) => {
                return refused(format!("{CLOSE} without a marker that begins a table"));
            }
            (Some(slot), CLOSE) => {
                slot.body.end = start;
                slots.extend(open.take());
            }
            (Some(outer), line) if line.starts_with(OPEN) => {
                let from = outer.line;
                return refused(format!(
                    "a table begins inside the one that begins in line {from}"
                ));
            }
            (None, line) if line.starts_with(OPEN) => {
                let slot = begin(line, number, at).at(|| format!("line {number}"))?;
                if let Some(twin) = slots.iter().find(|known| known.name() == slot.name()) {
                    let (name, first) = (slot.name(), twin.line);
                    return refused(format!("{name} is already in line {first}"));
                }
                open = Some(slot);
            }
            _ => {}
        }
    }
    if let Some(slot) = open {
        let what = format!("the table that begins here has no {CLOSE}");
        return Err(Error::input(what).at(format!("line {}", slot.line)).hint(EXAMPLE));
    }
    if slots.is_empty() {
        return Err(Error::input("no marker for a table was found").hint(EXAMPLE));
    }
    Ok(slots)
}

/// The place that a marker begins.
fn begin(line: &str, number: usize, body: usize) -> Result<TableSlot> {
    let inner = line.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(END));
    let mut words: Vec<&str> = inner.unwrap_or_default().split_whitespace().collect();
    let columns = words.last().and_then(|word| word.strip_prefix(COLUMNS));
    let columns: Option<Vec<String>> =
        columns.map(|keys| keys.split(',').map(str::to_owned).collect());
    if columns.is_some() {
        words.pop();
    }
    let Some((table, runs @ [_, ..])) = words.split_last() else {
        let what = format!("expected a run and a table, found {line:?}");
        return Err(Error::input(what).hint(EXAMPLE));
    };
    let runs = runs.iter().map(|run| (*run).to_owned()).collect();
    Ok(TableSlot { line: number, runs, table: table.parse()?, columns, body: body..body })
}

/// The text with a table in each place, in the order of the places; line ends stay those of the text.
pub fn spliced(text: &str, slots: &[TableSlot], tables: &[String]) -> String {
    let is_windows = text.contains("\r\n");
    let mut result = String::with_capacity(text.len());
    let mut kept = 0;
    for (slot, table) in slots.iter().zip(tables) {
        result.push_str(&text[kept..slot.body.start]);
        if is_windows {
            result.push_str(&table.replace('\n', "\r\n"));
        } else {
            result.push_str(table);
        }
        kept = slot.body.end;
    }
    result.push_str(&text[kept..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# A\n\n<!-- evalkit: reports/a ladder -->\nold\n<!-- /evalkit -->\nB\n";

    #[test]
    fn a_table_replaces_the_text_between_its_markers_and_nothing_else() {
        let found = slots(FILE).unwrap();
        assert_eq!((found.len(), found[0].line, found[0].found(FILE)), (1, 3, "old\n".into()));
        let new = spliced(FILE, &found, &["| new |\n".into()]);
        assert_eq!(new, FILE.replace("old", "| new |"));
        assert_eq!(spliced(&new, &slots(&new).unwrap(), &["old\n".into()]), FILE);
    }

    #[test]
    fn line_ends_are_preserved() {
        let file = FILE.replace('\n', "\r\n");
        let found = slots(&file).unwrap();
        assert_eq!(found[0].found(&file), "old\n");
        let new = spliced(&file, &found, &["a\nb\n".into()]);
        assert_eq!(new, file.replace("old", "a\r\nb"));
    }

    #[test]
    fn several_runs_make_one_table_and_examples_are_ignored() {
        let file = "```md\n<!-- evalkit: x ladder -->\n```\n<!-- evalkit: a b/c devices -->\n<!-- /evalkit -->";
        let found = slots(file).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name(), found[0].line), ("a b/c devices".into(), 4));
    }

    #[test]
    fn a_marker_can_choose_columns() {
        let open = |columns: &str| format!("<!-- evalkit: a ladder{columns} -->\n{CLOSE}\n");
        let file = open("") + &open(" columns=variant,size") + &open(" columns=size,variant");
        let found = slots(&file).unwrap();
        assert_eq!(found[0].columns, None);
        assert_eq!(found[1].columns, Some(vec!["variant".to_owned(), "size".to_owned()]));
        assert_eq!(found[2].name(), "a ladder columns=size,variant");
    }

    #[test]
    fn bad_markers_are_named_by_their_line() {
        let open = "<!-- evalkit: a ladder -->";
        let cases = [
            ("text\n".to_owned(), "no marker for a table was found"),
            (format!("{open}\nx\n"), "line 1: the table that begins here has no <!-- /evalkit -->"),
            (format!("\n{CLOSE}\n"), "line 2: <!-- /evalkit --> without a marker"),
            (
                format!("{open}\n{open}\n{CLOSE}\n"),
                "line 2: a table begins inside the one that begins in line 1",
            ),
            (format!("{open}\n{CLOSE}\n{CLOSE}\n"), "line 3: <!-- /evalkit --> without"),
            (
                format!("{open}\n{CLOSE}\n{open}\n{CLOSE}\n"),
                "line 3: a ladder is already in line 1",
            ),
            (format!("<!-- evalkit: ladder -->\n{CLOSE}\n"), "line 1: expected a run and a table"),
            (
                format!("<!-- evalkit: ladder columns=size -->\n{CLOSE}\n"),
                "line 1: expected a run and a table",
            ),
            (
                format!("<!-- evalkit: a stairs -->\n{CLOSE}\n"),
                "line 1: expected ladder or devices, found \"stairs\"",
            ),
        ];
        for (file, expected) in cases {
            let error = slots(&file).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert_eq!(error.exit().code(), 2);
        }
    }
}
