//! One self-contained page of tables and figures, which loads nothing from the network.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value as Inserted, context, escape_formatter};

use super::number::{Detail, heading, text};
use super::{Align, Document, Table, Value, plot};
use crate::error::{Error, Result};
use crate::escape;

const PAGE: &str = include_str!("page.html");

pub(super) fn render(document: &Document) -> Result<String> {
    fill(document).map_err(|e| Error::bug("cannot write the page").because(e))
}

fn fill(document: &Document) -> Result<String, minijinja::Error> {
    let mut templates = Environment::new();
    templates.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // Every inserted text is escaped, except drawings, which escape their own.
    templates.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => out.write_str(&escape::html(text)).map_err(Into::into),
        _ => escape_formatter(out, state, value),
    });
    templates.add_template("page.html", PAGE)?;
    let facts = document.facts.iter().map(|fact| {
        let value = match &fact.value {
            Value::Hash(whole) => whole.clone(),
            value => text(value, fact.unit, Detail::Ends),
        };
        let short = text(&fact.value, fact.unit, Detail::Ends);
        context! { name => fact.name.as_str(), value, short, is_detail => fact.is_detail }
    });
    let figures = document.figures.iter().filter_map(|figure| {
        let svg = plot::svg(figure)?;
        Some(context! { title => figure.title(), svg, table => table(&figure.table()) })
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
    let table = &table.for_people();
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

/// The cells of a row; a cause of failure spans the rest of the row.
fn row(table: &Table, values: &[Value]) -> Inserted {
    let mut cells = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let value = values.get(at).unwrap_or(&Value::Empty);
        if let Value::Struck(value, why) = value {
            let text = text(value, column.unit, Detail::Ends);
            cells.push(context! { text, class => "struck", columns => 1, why });
            continue;
        }
        let text = text(value, column.unit, Detail::Ends);
        if matches!(value, Value::Failed(_)) {
            let columns = table.columns.len() - at;
            cells.push(context! { text, class => "failed", columns });
            break;
        }
        let (text, ends) = match value {
            Value::Estimate(_) => stacked(&text),
            _ => (text, String::new()),
        };
        cells.push(context! { text, ends, class => class(column.align), columns => 1 });
    }
    Inserted::from(cells)
}

/// A number, and its interval on the line below: `20 [10, 90] ms` as `20 ms` and `[10, 90]`.
fn stacked(text: &str) -> (String, String) {
    let parts = text.split_once(" [").and_then(|(point, rest)| {
        let (ends, unit) = rest.split_once(']')?;
        Some((format!("{point}{unit}"), format!("[{ends}]")))
    });
    parts.unwrap_or_else(|| (text.to_owned(), String::new()))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{document, short_document};
    use super::*;

    #[test]
    fn a_summary_as_a_page() {
        let page = render(&short_document()).unwrap();
        let body = page.split("</style>\n").nth(1).unwrap();
        insta::assert_snapshot!(body);
    }

    #[test]
    fn a_page_loads_nothing_and_shows_every_figure() {
        let page = render(&document()).unwrap();
        for word in ["http:", "https:", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<svg").count(), document().figures.len());
        assert_eq!(page.matches("<details").count(), document().figures.len());
        assert_eq!(page, render(&document()).unwrap());
    }

    #[test]
    fn intervals_are_below_their_numbers() {
        let whole = |text: &str| stacked(text);
        assert_eq!(whole("20 [10, 90] ms"), ("20 ms".into(), "[10, 90]".into()));
        assert_eq!(whole("12.3"), ("12.3".into(), String::new()));
    }

    #[test]
    fn foreign_text_does_not_become_markup() {
        let mut document = short_document();
        document.title = "<script>alert(1)</script>".into();
        document.tables[0].rows[1][4] = Value::Failed("<img src=x>".into());
        let page = render(&document).unwrap();
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
    }
}
