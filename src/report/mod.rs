//! Documents and their five formats; nothing is measured or decided here.
//!
//! A [`Document`] has tables whose cells are still numbers with units; [`render`] turns it into text.
//! Formats for people round numbers to what the interval supports; data formats have full precision
//! under keys that end in the unit. No clock and no hash map is involved, so the same records always
//! give the same bytes.

pub mod accepted;
#[cfg(test)]
mod attacks;
pub mod check;
pub mod claims;
mod data;
pub mod devices;
mod figure;
#[cfg(test)]
mod fixture;
mod html;
mod markdown;
mod number;
mod plot;
pub mod release;
#[cfg(test)]
mod rules;
pub mod run;
pub mod splice;
mod summary;
mod terminal;
pub mod versus;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::stats::Estimate;

pub use crate::units::Unit;
pub use figure::{Axis, Bar, Bound, Distribution, Figure, Front, Point, Rise, Series};

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Columns of plain text.
    #[default]
    Terminal,
    /// GitHub-flavoured Markdown.
    Markdown,
    /// One self-contained page, with figures.
    Html,
    /// Comma-separated values, full precision; facts are repeated in each row.
    Csv,
    /// One JSON object, full precision.
    Json,
}

impl Format {
    /// Every format, in the order in which help lists them.
    pub const ALL: [Format; 5] =
        [Format::Terminal, Format::Markdown, Format::Html, Format::Csv, Format::Json];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Terminal => "terminal",
            Format::Markdown => "markdown",
            Format::Html => "html",
            Format::Csv => "csv",
            Format::Json => "json",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Format::ALL.iter().map(|format| format.name()).collect();
            Error::input(format!("expected one of {}, found {name:?}", known.join(", ")))
        })
    }
}

/// What a report shows: tables, and what a reader must know to read them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// One line.
    pub title: String,
    /// Facts that apply to every row of every table.
    pub facts: Vec<Fact>,
    /// What a reader must know before trusting the numbers.
    pub warnings: Vec<String>,
    /// The numbers.
    pub tables: Vec<Table>,
    /// Drawn on HTML pages; HTML and JSON also show their numbers as tables.
    pub figures: Vec<Figure>,
    /// How the numbers were computed.
    pub notes: Vec<String>,
}

/// One fact in the head of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// Name in data formats, without its unit: `text` for `text_bytes`.
    pub key: String,
    /// Name in formats for people.
    pub name: String,
    /// Unit of `value`.
    pub unit: Unit,
    /// The fact.
    pub value: Value,
    /// Whether a terminal leaves it out, such as hashes and versions.
    pub is_detail: bool,
}

impl Fact {
    /// A fact without a unit.
    pub fn new(key: &str, name: &str, value: impl Into<Value>) -> Fact {
        Fact {
            key: key.to_owned(),
            name: name.to_owned(),
            unit: Unit::None,
            value: value.into(),
            is_detail: false,
        }
    }

    /// The same fact with a unit.
    pub fn in_unit(self, unit: Unit) -> Fact {
        Fact { unit, ..self }
    }

    /// The same fact, left out on a terminal.
    pub fn detail(self) -> Fact {
        Fact { is_detail: true, ..self }
    }
}

/// Rows of values under named columns.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// One line, above the table.
    pub title: String,
    /// What the columns hold.
    pub columns: Vec<Column>,
    /// A value per column; missing values at the end of a row are empty.
    pub rows: Vec<Vec<Value>>,
    /// Below the table.
    pub notes: Vec<String>,
}

impl Table {
    /// The table without the columns that only data formats have.
    fn for_people(&self) -> Table {
        let is_shown = |at: usize| self.columns.get(at).is_none_or(|column| !column.is_data);
        let shown = |row: &Vec<Value>| {
            let cells = row.iter().enumerate().filter(|(at, _)| is_shown(*at));
            cells.map(|(_, value)| value.clone()).collect()
        };
        Table {
            title: self.title.clone(),
            columns: self.columns.iter().filter(|column| !column.is_data).cloned().collect(),
            rows: self.rows.iter().map(shown).collect(),
            notes: self.notes.clone(),
        }
    }
}

/// What a column holds, and how important it is if there is too little room.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Name in data formats, without its unit: `size` for `size_bytes`.
    pub key: String,
    /// Name in formats for people.
    pub name: String,
    /// Unit of the values.
    pub unit: Unit,
    /// The alignment of its values.
    pub align: Align,
    /// Whether values have intervals; data formats then have columns for their ends.
    pub has_interval: bool,
    /// 0 is always shown; a narrow terminal leaves out the highest rank first.
    pub rank: u8,
    /// Whether only data formats have it, because people read it elsewhere, as in the table's title.
    pub is_data: bool,
}

impl Column {
    /// A left-aligned column of text.
    pub fn text(key: &str, name: &str) -> Column {
        Column {
            key: key.to_owned(),
            name: name.to_owned(),
            unit: Unit::None,
            align: Align::Left,
            has_interval: false,
            rank: 0,
            is_data: false,
        }
    }

    /// A column of text that only data formats have.
    pub fn data(key: &str, name: &str) -> Column {
        Column { is_data: true, ..Column::text(key, name) }
    }

    /// A right-aligned column of numbers.
    pub fn number(key: &str, name: &str, unit: Unit) -> Column {
        Column { unit, align: Align::Right, ..Column::text(key, name) }
    }

    /// A right-aligned column of estimates.
    pub fn estimate(key: &str, name: &str, unit: Unit) -> Column {
        Column { has_interval: true, ..Column::number(key, name, unit) }
    }

    /// The same column, with a rank.
    pub fn rank(self, rank: u8) -> Column {
        Column { rank, ..self }
    }
}

/// The alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// To the left, for text.
    Left,
    /// To the right, for numbers.
    Right,
}

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value, such as the reference compared with itself.
    Empty,
    /// Text.
    Text(String),
    /// A hash in hexadecimal; formats for people show its beginning.
    Hash(String),
    /// A whole number.
    Count(u64),
    /// A number without an interval.
    Number(f64),
    /// A number with an interval.
    Estimate(Estimate),
    /// A wrong value, and why it is wrong; struck out for people and left out of data formats.
    Struck(Box<Value>, String),
    /// Why this value and those to its right are missing.
    Failed(String),
}

impl Value {
    /// A number of which every digit is shown.
    pub fn exact(number: f64) -> Value {
        let count = number as u64;
        if count as f64 == number { Value::Count(count) } else { Value::Text(number.to_string()) }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Value {
        Value::Count(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Value {
        Value::Count(count as u64)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<Estimate> for Value {
    fn from(estimate: Estimate) -> Value {
        Value::Estimate(estimate)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Empty, Into::into)
    }
}

/// Writes a document in a format; `width` is that of the terminal in characters, and matters only there.
///
/// # Errors
/// Only if a renderer breaks its own rules (a bug).
pub fn render(format: Format, document: &Document, width: usize) -> Result<String> {
    match format {
        Format::Terminal => Ok(terminal::render(document, width)),
        Format::Markdown => Ok(markdown::render(document)),
        Format::Html => html::render(document),
        Format::Csv => data::csv(document),
        Format::Json => data::json(document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_by_the_names_they_print() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse::<Format>().unwrap(), format);
        }
        let error = "pdf".parse::<Format>().unwrap_err().to_string();
        assert_eq!(error, "expected one of terminal, markdown, html, csv, json, found \"pdf\"");
    }

    #[test]
    fn every_format_repeats_byte_for_byte() {
        for format in Format::ALL {
            let pages = [(); 2].map(|()| render(format, &fixture::document(), 80).unwrap());
            assert_eq!(pages[0], pages[1], "{format}");
        }
    }

    #[test]
    fn an_empty_document_and_an_empty_table_are_no_error() {
        let empty = Table { columns: vec![Column::text("name", "name")], ..Table::default() };
        let documents =
            [Document::default(), Document { tables: vec![empty], ..Document::default() }];
        for document in documents {
            for format in Format::ALL {
                render(format, &document, 0).unwrap();
            }
        }
    }
}
