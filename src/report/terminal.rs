//! Plain text in columns, no wider than the terminal.
//!
//! If a table is too wide, text is wrapped first; then columns of high rank are left out, then intervals
//! from the right; then the first column is wrapped, and columns are left out from the right. A line
//! below the table names what is left out. No colours are used.

use tabled::builder::Builder;
use tabled::settings::formatting::AlignmentStrategy;
use tabled::settings::object::{Columns, Rows};
use tabled::settings::style::HorizontalLine;
use tabled::settings::{Alignment, Modify, Padding, Span, Style};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::number::{Detail, heading, one_line, text};
use super::{Align, Column, Document, Table, Value};
use crate::escape;

/// Spaces between two columns.
const GAP: usize = 2;

/// The least width to which the first column is wrapped.
const NARROWEST: usize = 8;
/// The least width to which other text is wrapped.
const NARROW: usize = 14;

pub(super) fn render(document: &Document, width: usize) -> String {
    let mut paragraphs = Vec::new();
    if !document.title.is_empty() {
        paragraphs.push(wrap(&document.title, width).join("\n"));
    }
    let facts: Vec<String> = document
        .facts
        .iter()
        .filter(|fact| !fact.is_detail)
        .map(|fact| format!("{}: {}", fact.name, text(&fact.value, fact.unit, Detail::HalfWidth)))
        .collect();
    if !facts.is_empty() {
        paragraphs.push(wrap(&facts.join("; "), width).join("\n"));
    }
    let warnings: Vec<String> = document
        .warnings
        .iter()
        .map(|warning| wrap(&format!("warning: {warning}"), width).join("\n"))
        .collect();
    if !warnings.is_empty() {
        paragraphs.push(warnings.join("\n"));
    }
    for table in document.tables.iter().map(Table::for_people) {
        paragraphs.push(table_text(&table, width));
        paragraphs.extend(left_out(&table, width));
        paragraphs.extend(table.notes.iter().map(|note| wrap(note, width).join("\n")));
    }
    paragraphs.extend(document.notes.iter().map(|note| wrap(note, width).join("\n")));
    escape::log(&(paragraphs.join("\n\n") + "\n")).into_owned()
}

/// A column that is shown.
#[derive(Clone, Copy)]
struct ShownColumn {
    /// Its index in the table.
    at: usize,
    /// How much of an interval it shows.
    detail: Detail,
}

fn table_text(table: &Table, width: usize) -> String {
    let shown = fit(table, width);
    let widths = widths(table, &shown, width);
    let mut builder = Builder::default();
    let head = shown.iter().map(|column| {
        let (name, unit) = heading(&table.columns[column.at]);
        let name = one_line(name);
        if unit.is_empty() { name } else { format!("{name}\n{unit}") }
    });
    builder.push_record(head);
    let mut spans = Vec::new();
    for row in &table.rows {
        let mut cells = Vec::new();
        for (place, column) in shown.iter().enumerate() {
            let Some(value) = row.get(column.at) else {
                cells.push(String::new());
                continue;
            };
            let written = text(value, table.columns[column.at].unit, column.detail);
            let room = match value {
                Value::Failed(_) => {
                    spans.push((builder.count_records(), place, shown.len() - place));
                    widths[place..].iter().sum::<usize>() + GAP * (shown.len() - place - 1)
                }
                _ => widths[place].max(1),
            };
            cells.push(wrap(&written, room).join("\n"));
        }
        builder.push_record(cells);
    }
    let mut built = builder.build();
    let line = HorizontalLine::full('─', '─', '─', '─');
    built.with(
        Style::empty().horizontals([(1, line.remove_left().remove_right().remove_intersection())]),
    );
    for (place, column) in shown.iter().enumerate() {
        let side = match table.columns[column.at].align {
            Align::Left => Alignment::left(),
            Align::Right => Alignment::right(),
        };
        let gap = if place + 1 == shown.len() { 0 } else { GAP };
        built.with(Modify::new(Columns::one(place)).with(side).with(Padding::new(0, gap, 0, 0)));
    }
    let head = Modify::new(Rows::first()).with(Alignment::bottom());
    built.with(head.with(AlignmentStrategy::PerLine));
    for (row, place, columns) in spans {
        let span = Modify::new((row, place)).with(Span::column(columns as isize));
        built.with(span.with(Alignment::left()).with(Padding::zero()));
    }
    let title = wrap(&table.title, width).join("\n");
    let lines = built.to_string();
    let lines: Vec<&str> = lines.lines().map(str::trim_end).collect();
    if title.is_empty() { lines.join("\n") } else { format!("{title}\n\n{}", lines.join("\n")) }
}

/// Chooses columns, and how much of their intervals, so that the table fits.
fn fit(table: &Table, width: usize) -> Vec<ShownColumn> {
    let all = 0..table.columns.len();
    let mut shown: Vec<ShownColumn> =
        all.map(|at| ShownColumn { at, detail: Detail::HalfWidth }).collect();
    // The first column names the rows, so it is wrapped last.
    let needed = |shown: &[ShownColumn]| {
        let first = shown.first().map_or(0, |first| column_width(table, first));
        first + shown.iter().skip(1).map(|column| least_width(table, column) + GAP).sum::<usize>()
    };
    while needed(&shown) > width {
        let rank = |column: &ShownColumn| table.columns[column.at].rank;
        let lowest = shown.iter().map(rank).max().unwrap_or(0);
        if lowest > 0 {
            let last = shown.iter().rposition(|column| rank(column) == lowest);
            last.map(|place| shown.remove(place));
            continue;
        }
        let estimate = shown
            .iter_mut()
            .rev()
            .find(|column| table.columns[column.at].has_interval && column.detail != Detail::Point);
        match estimate {
            Some(column) => column.detail = Detail::Point,
            None => break,
        }
    }
    let spare =
        shown.first().map_or(0, |first| column_width(table, first) - least_width(table, first));
    while shown.len() > 1 && needed(&shown) > width + spare {
        shown.pop();
    }
    shown
}

/// The least width of a column; numbers are not wrapped.
fn least_width(table: &Table, shown: &ShownColumn) -> usize {
    let (column, natural) = (&table.columns[shown.at], column_width(table, shown));
    match (column.align, shown.at) {
        (Align::Right, _) => natural,
        (Align::Left, 0) => natural.min(NARROWEST),
        (Align::Left, _) => natural.min(NARROW.max(one_line(&column.name).width())),
    }
}

/// Names the columns and intervals that are left out; `None` if there are none.
fn left_out(table: &Table, width: usize) -> Option<String> {
    let shown = fit(table, width);
    let missing = table.columns.iter().enumerate().filter_map(|(at, column)| {
        let name = &column.name;
        match shown.iter().find(|shown| shown.at == at) {
            None => Some(name.clone()),
            Some(shown) if column.has_interval && shown.detail == Detail::Point => {
                Some(format!("interval of {name}"))
            }
            Some(_) => None,
        }
    });
    let missing: Vec<String> = missing.collect();
    let text = format!("A wider terminal shows more: {}.", missing.join(", "));
    (!missing.is_empty()).then(|| wrap(&text, width).join("\n"))
}

/// The width that a column needs, without causes of failure, which span the columns to the right.
fn column_width(table: &Table, shown: &ShownColumn) -> usize {
    let column: &Column = &table.columns[shown.at];
    let (name, unit) = heading(column);
    let values = table.rows.iter().filter_map(|row| match row.get(shown.at)? {
        Value::Failed(_) => None,
        value => Some(text(value, column.unit, shown.detail).width()),
    });
    values.chain([one_line(name).width(), unit.width()]).max().unwrap_or(0)
}

/// The widths of columns: the widest text shrinks first, and the first column last.
fn widths(table: &Table, shown: &[ShownColumn], width: usize) -> Vec<usize> {
    let mut widths: Vec<usize> = shown.iter().map(|column| column_width(table, column)).collect();
    let least: Vec<usize> = shown.iter().map(|column| least_width(table, column)).collect();
    let gaps = GAP * shown.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > width {
        let can_give = |at: &usize| widths[*at] > least[*at];
        let widest = (1..widths.len()).filter(can_give).max_by_key(|at| widths[*at]);
        match widest.or_else(|| (!widths.is_empty()).then_some(0).filter(can_give)) {
            Some(at) => widths[at] -= 1,
            None => break,
        }
    }
    widths
}

/// Breaks text into lines of at most `width` columns of a terminal: at spaces, or within a word that is
/// longer than a line. Hidden characters are written out.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in one_line(text).split_whitespace() {
        let mut word = word;
        let mut length = word.width();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        while length > width && word.chars().nth(1).is_some() {
            let end = end_within(word, width);
            if let Some(line) = lines.last_mut() {
                line.push_str(&word[..end]);
            }
            lines.push(String::new());
            word = &word[end..];
            length = word.width();
        }
        if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
    }
    lines
}

/// The end of the first line of a word that is cut at `width` columns: at least one character.
fn end_within(word: &str, width: usize) -> usize {
    let mut used = 0;
    let is_over = |(at, c): &(usize, char)| {
        used += c.width().unwrap_or(0);
        *at > 0 && used > width
    };
    word.char_indices().find(is_over).map_or(word.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::document;
    use super::*;

    #[test]
    fn a_summary_fits_80_columns() {
        insta::assert_snapshot!(render(&document(), 80));
    }

    #[test]
    fn a_wide_terminal_shows_every_column() {
        let mut document = document();
        (document.facts, document.warnings, document.notes) = Default::default();
        insta::assert_snapshot!(render(&document, 160));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [40, 60, 72, 80, 100, 120, 200] {
            let text = render(&document(), width);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{widest:?} > {width}:\n{text}");
        }
    }

    #[test]
    fn words_longer_than_a_line_are_broken() {
        assert_eq!(wrap("a palette2-g16 b", 5), ["a", "palet", "te2-g", "16 b"]);
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("模型模型 b", 5), ["模型", "模型", "b"]);
        assert_eq!(wrap("模型", 1), ["模", "型"]);
        assert_eq!(wrap("a\u{1b}b\u{202e}", 20), ["a\\u{1b}b\\u{202e}"]);
    }
}
