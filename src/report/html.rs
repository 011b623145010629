//! One self-contained page: tables, figures, and no network.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value as Inserted, context};

use super::number::{Detail, heading, text};
use super::{Align, Document, Figure, Table, Value, plot};
use crate::error::{Error, Result};

const PAGE: &str = include_str!("page.html");

pub(super) fn render(document: &Document) -> Result<String> {
    fill(document).map_err(|e| Error::bug("cannot write the page").because(e))
}

fn fill(document: &Document) -> Result<String, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // The name ends in .html, which makes every inserted text escaped.
    templates.add_template("page.html", PAGE)?;
    let facts = document.facts.iter().map(|fact| {
        let value = text(&fact.value, fact.unit, Detail::Ends);
        context! { name => fact.name.as_str(), value }
    });
    let figures = document.figures.iter().filter_map(|figure| {
        let (Figure::Scatter { title, .. } | Figure::Bars { title, .. }) = figure;
        Some(context! { title => title.as_str(), svg => plot::svg(figure)? })
    });
    let page = context! {
        title => document.title.as_str(),
        facts => facts.collect::<Vec<Inserted>>(),
        warnings => document.warnings.clone(),
        tables => document.tables.iter().map(table).collect::<Vec<Inserted>>(),
        figures => figures.collect::<Vec<Inserted>>(),
        notes => document.notes.clone(),
    };
    templates.get_template("page.html")?.render(page)
}

fn class(align: Align) -> &'static str {
    match align {
        Align::Left => "text",
        Align::Right => "number",
    }
}

fn table(table: &Table) -> Inserted {
    let columns = table.columns.iter().map(|column| {
        let (name, unit) = heading(column);
        context! { name, unit, class => class(column.align) }
    });
    context! {
        title => table.title.as_str(),
        columns => columns.collect::<Vec<Inserted>>(),
        rows => table.rows.iter().map(|values| row(table, values)).collect::<Vec<Inserted>>(),
        notes => table.notes.clone(),
    }
}

/// The cells of a row; a cause of failure spreads over the rest of it.
fn row(table: &Table, values: &[Value]) -> Inserted {
    let mut cells = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let value = values.get(at).unwrap_or(&Value::Empty);
        let text = text(value, column.unit, Detail::Ends);
        if matches!(value, Value::Failed(_)) {
            let columns = table.columns.len() - at;
            cells.push(context! { text, class => "failed", columns });
            break;
        }
        cells.push(context! { text, class => class(column.align), columns => 1 });
    }
    Inserted::from(cells)
}
