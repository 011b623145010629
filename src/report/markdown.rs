//! GitHub-flavoured Markdown: for a README, a pull request, a model card. Every text is escaped.

use super::number::{Detail, heading, text};
use super::{Align, Document, Table, Value};
use crate::escape::{markdown as escape, markdown_paragraph as paragraph};

pub(super) fn render(document: &Document) -> String {
    let mut blocks = Vec::new();
    if !document.title.is_empty() {
        blocks.push(format!("# {}", escape(&document.title)));
    }
    let facts: Vec<String> = document
        .facts
        .iter()
        .map(|fact| {
            let value = text(&fact.value, fact.unit, Detail::Ends);
            format!("- {}: {}", escape(&fact.name), escape(&value))
        })
        .collect();
    let warnings: Vec<String> =
        document.warnings.iter().map(|w| format!("> **Warning:** {}", escape(w))).collect();
    blocks.extend(warnings);
    for table in document.tables.iter().map(Table::for_people) {
        if !table.title.is_empty() {
            blocks.push(format!("## {}", escape(&table.title)));
        }
        blocks.push(table_text(&table));
        blocks.extend(table.notes.iter().map(|note| paragraph(note)));
    }
    blocks.extend(document.notes.iter().map(|note| paragraph(note)));
    if !facts.is_empty() {
        blocks.push(facts.join("\n"));
    }
    blocks.join("\n\n") + "\n"
}

/// A table with its title in bold and its notes, to be part of another page.
pub(super) fn fragment(table: &Table) -> String {
    let notes = table.notes.iter().map(|note| paragraph(note));
    let title = (!table.title.is_empty()).then(|| format!("**{}**", escape(&table.title)));
    let blocks = title.into_iter().chain([table_text(&table.for_people())]).chain(notes);
    blocks.collect::<Vec<_>>().join("\n\n")
}

fn table_text(table: &Table) -> String {
    let head = table.columns.iter().map(|column| match heading(column) {
        (name, "") => escape(name),
        (name, unit) => format!("{} ({unit})", escape(name)),
    });
    let rule = table.columns.iter().map(|column| match column.align {
        Align::Left => "---".to_owned(),
        Align::Right => "--:".to_owned(),
    });
    let mut lines = vec![line(head), line(rule)];
    for row in &table.rows {
        let cells = table.columns.iter().enumerate().map(|(at, column)| {
            match row.get(at).unwrap_or(&Value::Empty) {
                Value::Struck(value, _) => {
                    format!("~~{}~~", escape(&text(value, column.unit, Detail::Ends)))
                }
                value => escape(&text(value, column.unit, Detail::Ends)),
            }
        });
        lines.push(line(cells));
    }
    lines.join("\n")
}

fn line(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::document;
    use super::*;

    #[test]
    fn a_summary_as_markdown() {
        insta::assert_snapshot!(render(&document()));
    }
}
