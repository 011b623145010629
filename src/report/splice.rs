//! Tables inside other people's files, between two markers on lines of their own:
//!
//! ```text
//! <!-- evalkit: reports/<run> ladder -->
//! …
//! <!-- /evalkit -->
//! ```
//!
//! Paths are relative to the file; several runs make one table. What stands in a fenced block is an
//! example and left alone. Pure: text in, text out, and nothing at all where a marker is amiss.

use std::ops::Range;

use super::release::TableName;
use crate::error::{At, Error, Result};

const OPEN: &str = "<!-- evalkit:";
const CLOSE: &str = "<!-- /evalkit -->";
const END: &str = "-->";
const EXAMPLE: &str = "a table stands between <!-- evalkit: reports/<run> ladder --> and \
                       <!-- /evalkit -->, each on a line of its own";

/// A place for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Line of its first marker, from 1.
    pub line: usize,
    /// Folders of the runs, as the marker names them.
    pub runs: Vec<String>,
    /// The table.
    pub table: TableName,
    /// Bytes between the lines of the markers.
    body: Range<usize>,
}

impl Place {
    /// What the marker names: `reports/demo ladder`.
    pub fn name(&self) -> String {
        format!("{} {}", self.runs.join(" "), self.table)
    }

    /// What stands there, with line feeds alone.
    pub fn found(&self, text: &str) -> String {
        text[self.body.clone()].replace("\r\n", "\n")
    }
}

/// The places of a file, in order.
///
/// # Errors
/// Input errors that name the line: no marker at all, one without its partner, one inside another,
/// the same table twice, a table that is not known.
pub fn places(text: &str) -> Result<Vec<Place>> {
    let mut places: Vec<Place> = Vec::new();
    let mut open: Option<Place> = None;
    let (mut at, mut is_example) = (0, false);
    for (number, whole) in (1..).zip(text.split_inclusive('\n')) {
        let (start, line) = (at, whole.trim());
        at += whole.len();
        if line.starts_with("```") || line.starts_with("~~~") {
            is_example = !is_example;
        }
        let is_amiss =
            |what: String| Err(Error::input(what).at(format!("line {number}")).hint(EXAMPLE));
        if is_example {
            continue;
        }
        match (&mut open, line) {
            (None, CLOSE) => {
                return is_amiss(format!("{CLOSE} without a marker that begins a table"));
            }
            (Some(place), CLOSE) => {
                place.body.end = start;
                places.extend(open.take());
            }
            (Some(outer), line) if line.starts_with(OPEN) => {
                let from = outer.line;
                return is_amiss(format!(
                    "a table begins inside the one that begins in line {from}"
                ));
            }
            (None, line) if line.starts_with(OPEN) => {
                let place = begin(line, number, at).at(|| format!("line {number}"))?;
                if let Some(twin) = places.iter().find(|known| known.name() == place.name()) {
                    let (name, first) = (place.name(), twin.line);
                    return is_amiss(format!("{name} was spliced in line {first} already"));
                }
                open = Some(place);
            }
            _ => {}
        }
    }
    if let Some(place) = open {
        let what = format!("the table that begins here has no {CLOSE}");
        return Err(Error::input(what).at(format!("line {}", place.line)).hint(EXAMPLE));
    }
    if places.is_empty() {
        Err(Error::input("no place for a table was found").hint(EXAMPLE))
    } else {
        Ok(places)
    }
}

/// The place that a marker begins.
fn begin(line: &str, number: usize, body: usize) -> Result<Place> {
    let inner = line.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(END));
    let words: Vec<&str> = inner.unwrap_or_default().split_whitespace().collect();
    let Some((table, runs @ [_, ..])) = words.split_last() else {
        let what = format!("expected a run and a table, found {line:?}");
        return Err(Error::input(what).hint(EXAMPLE));
    };
    let runs = runs.iter().map(|run| (*run).to_owned()).collect();
    Ok(Place { line: number, runs, table: table.parse()?, body: body..body })
}

/// The text with a table in each place, in the order of the places; line ends as the text has them.
pub fn spliced(text: &str, places: &[Place], tables: &[String]) -> String {
    let is_windows = text.contains("\r\n");
    let mut result = String::with_capacity(text.len());
    let mut kept = 0;
    for (place, table) in places.iter().zip(tables) {
        result.push_str(&text[kept..place.body.start]);
        if is_windows {
            result.push_str(&table.replace('\n', "\r\n"));
        } else {
            result.push_str(table);
        }
        kept = place.body.end;
    }
    result.push_str(&text[kept..]);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# A\n\n<!-- evalkit: reports/a ladder -->\nold\n<!-- /evalkit -->\nB\n";

    #[test]
    fn a_table_replaces_what_stands_between_its_markers_and_nothing_else() {
        let found = places(FILE).unwrap();
        assert_eq!((found.len(), found[0].line, found[0].found(FILE)), (1, 3, "old\n".into()));
        let new = spliced(FILE, &found, &["| new |\n".into()]);
        assert_eq!(new, FILE.replace("old", "| new |"));
        assert_eq!(spliced(&new, &places(&new).unwrap(), &["old\n".into()]), FILE);
    }

    #[test]
    fn line_ends_stay_what_they_are() {
        let file = FILE.replace('\n', "\r\n");
        let found = places(&file).unwrap();
        assert_eq!(found[0].found(&file), "old\n");
        let new = spliced(&file, &found, &["a\nb\n".into()]);
        assert_eq!(new, file.replace("old", "a\r\nb"));
    }

    #[test]
    fn several_runs_make_one_table_and_examples_are_left_alone() {
        let file = "```md\n<!-- evalkit: x ladder -->\n```\n<!-- evalkit: a b/c devices -->\n<!-- /evalkit -->";
        let found = places(file).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name(), found[0].line), ("a b/c devices".into(), 4));
    }

    #[test]
    fn markers_amiss_are_named_by_their_line() {
        let open = "<!-- evalkit: a ladder -->";
        let cases = [
            ("text\n".to_owned(), "no place for a table was found"),
            (format!("{open}\nx\n"), "line 1: the table that begins here has no <!-- /evalkit -->"),
            (format!("\n{CLOSE}\n"), "line 2: <!-- /evalkit --> without a marker"),
            (
                format!("{open}\n{open}\n{CLOSE}\n"),
                "line 2: a table begins inside the one that begins in line 1",
            ),
            (format!("{open}\n{CLOSE}\n{CLOSE}\n"), "line 3: <!-- /evalkit --> without"),
            (
                format!("{open}\n{CLOSE}\n{open}\n{CLOSE}\n"),
                "line 3: a ladder was spliced in line 1 already",
            ),
            (format!("<!-- evalkit: ladder -->\n{CLOSE}\n"), "line 1: expected a run and a table"),
            (
                format!("<!-- evalkit: a stairs -->\n{CLOSE}\n"),
                "line 1: expected ladder or devices, found \"stairs\"",
            ),
        ];
        for (file, said) in cases {
            let error = places(&file).unwrap_err();
            assert!(error.to_string().starts_with(said), "{error}");
            assert_eq!(error.exit().code(), 2);
        }
    }
}
