//! Plain text in columns, no wider than the terminal.
//!
//! When there is no room, columns of high rank go first, then intervals from the right, then
//! columns from the right; the first column is wrapped. What is left out is named. Colour is never needed to read it.

use tabled::builder::Builder;
use tabled::settings::formatting::AlignmentStrategy;
use tabled::settings::object::{Columns, Rows};
use tabled::settings::style::HorizontalLine;
use tabled::settings::{Alignment, Modify, Padding, Span, Style};

use super::number::{Detail, heading, text};
use super::{Align, Column, Document, Table, Value};

/// Spaces between two columns.
const GAP: usize = 2;

/// The first column is never wrapped to less than this.
const NARROWEST: usize = 8;

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
    for table in &document.tables {
        paragraphs.push(table_text(table, width));
        paragraphs.extend(left_out(table, width));
        paragraphs.extend(table.notes.iter().map(|note| wrap(note, width).join("\n")));
    }
    paragraphs.extend(document.notes.iter().map(|note| wrap(note, width).join("\n")));
    paragraphs.join("\n\n") + "\n"
}

/// A column as it is shown: its place in the table, and how much of an interval it shows.
#[derive(Clone, Copy)]
struct Shown {
    at: usize,
    detail: Detail,
}

fn table_text(table: &Table, width: usize) -> String {
    let shown = fit(table, width);
    let (first_width, widths) = widths(table, &shown, width);
    let mut builder = Builder::default();
    let head = shown.iter().map(|column| {
        let (name, unit) = heading(&table.columns[column.at]);
        if unit.is_empty() { name.to_owned() } else { format!("{name}\n{unit}") }
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
                _ if place == 0 => first_width,
                _ => usize::MAX,
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
fn fit(table: &Table, width: usize) -> Vec<Shown> {
    let all = 0..table.columns.len();
    let mut shown: Vec<Shown> = all.map(|at| Shown { at, detail: Detail::HalfWidth }).collect();
    while total(table, &shown) > width {
        let rank = |column: &Shown| table.columns[column.at].rank;
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
    // The first column can be wrapped; the others cannot.
    let spare = shown.first().map_or(0, |c| column_width(table, c).saturating_sub(NARROWEST));
    while shown.len() > 1 && total(table, &shown) > width + spare {
        shown.pop();
    }
    shown
}

/// Names the columns and intervals for which there is no room.
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

fn total(table: &Table, shown: &[Shown]) -> usize {
    let widths: usize = shown.iter().map(|column| column_width(table, column)).sum();
    widths + GAP * shown.len().saturating_sub(1)
}

/// Characters that a column needs; causes of failure are left out, as they spread to the right.
fn column_width(table: &Table, shown: &Shown) -> usize {
    let column: &Column = &table.columns[shown.at];
    let (name, unit) = heading(column);
    let values = table.rows.iter().filter_map(|row| match row.get(shown.at)? {
        Value::Failed(_) => None,
        value => Some(text(value, column.unit, shown.detail).chars().count()),
    });
    values.chain([name.chars().count(), unit.chars().count()]).max().unwrap_or(0)
}

/// The first column's width, wrapped if need be, and the widths of all.
fn widths(table: &Table, shown: &[Shown], width: usize) -> (usize, Vec<usize>) {
    let mut widths: Vec<usize> = shown.iter().map(|column| column_width(table, column)).collect();
    let excess = total(table, shown).saturating_sub(width);
    let Some(first) = widths.first_mut() else { return (usize::MAX, widths) };
    *first = first.saturating_sub(excess).max(NARROWEST.min(*first));
    (*first, widths)
}

/// Breaks text into lines of at most `width` characters: at spaces, or within a word that is
/// longer than a line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut word = word;
        let mut length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        while length > width {
            let end = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
            if let Some(line) = lines.last_mut() {
                line.push_str(&word[..end]);
            }
            lines.push(String::new());
            word = &word[end..];
            length -= width;
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

#[cfg(test)]
mod tests {
    use super::super::fixture::document;
    use super::*;

    #[test]
    fn a_summary_fits_80_columns() {
        insta::assert_snapshot!(render(&document(), 80), @r#"
        How well variants of tiny-stories keep its predictions

        model: tiny-stories; parameters: 1,100,000; protocol: full; begin-of-text token:
        none; windows: 12; scored tokens: 1,200; text: stories | held out; text hash:
        7e7e7e7e7e7e7e7e; evalkit: 0.1.0

        warning: generated text: compare variants, not models

        tiny-stories on stories | held out (protocol full, 12 windows of 101 tokens)

                                              vs. ref.         KL mean  top-1    text
        variant          size  perplexity            %            nats      %  bits/B
        ─────────────────────────────────────────────────────────────────────────────
        fp            2.20 MB    8.9 ±0.6                                        0.79
        palette4       701 kB    9.0 ±0.6  +1.00 ±0.03  0.0096 ±0.0017  100.0    0.79
        palette1-c     325 kB  failed: logits are not finite in layer 1, window 0;
                               keep the embedding at 4 bits
        palette2-g16   480 kB   12.0 ±0.9   +34.6 ±1.3      0.29 ±0.05   76.8    0.89

        A wider terminal shows more: blocks, file, KL median, KL p99, interval of top-1,
        interval of text.

        ± and [ ] are 95 % intervals: 10000 resamples of 12 windows in blocks of 2, seed
        1; vs. ref. is paired by window. KL is from the reference, per token, over the
        full vocabulary.

        No model can score below perplexity 6.050 on this text: its source has 0.4500
        nats per byte.
        "#);
    }

    #[test]
    fn a_wide_terminal_shows_every_column() {
        let mut document = document();
        (document.facts, document.warnings, document.notes) = Default::default();
        insta::assert_snapshot!(render(&document, 160), @r#"
        How well variants of tiny-stories keep its predictions

        tiny-stories on stories | held out (protocol full, 12 windows of 101 tokens)

                      blocks    file                          vs. ref.         KL mean  KL median  KL p99      top-1        text
        variant       bits/w  bits/w     size  perplexity            %            nats       nats    nats          %      bits/B
        ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        fp             16.00   16.00  2.20 MB    8.9 ±0.6                                                             0.79 ±0.02
        palette4        4.01    5.10   701 kB    9.0 ±0.6  +1.00 ±0.03  0.0096 ±0.0017    0.00889  0.0267   100.0 ±0  0.79 ±0.02
        palette1-c      1.00    2.36   325 kB  failed: logits are not finite in layer 1, window 0; keep the embedding at 4 bits
        palette2-g16    2.24    3.49   480 kB   12.0 ±0.9   +34.6 ±1.3      0.29 ±0.05      0.267   0.800  76.8 ±1.8  0.89 ±0.03
        "#);
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
    }
}
