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
        cells.push(context! { text, class => class(column.align), columns => 1 });
    }
    Inserted::from(cells)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{document, short_document};
    use super::*;

    #[test]
    fn a_summary_as_a_page() {
        let page = render(&short_document()).unwrap();
        let body = page.split("</style>\n").nth(1).unwrap();
        insta::assert_snapshot!(body, @r#"
        </head>
        <body>
        <main>
        <h1>How well variants of tiny-stories keep its predictions</h1>
        <p class="warning" role="note"><strong>Warning:</strong> generated text: compare variants, not models</p>
        <div class="scroll" tabindex="0" role="region" aria-label="tiny-stories on stories | held out (protocol full, 12 windows of 101 tokens)">
        <table>
        <caption>tiny-stories on stories | held out (protocol full, 12 windows of 101 tokens)</caption>
        <thead>
        <tr>
        <th scope="col" class="text">variant</th>
        <th scope="col" class="number">blocks<small>bits&#x2f;w</small></th>
        <th scope="col" class="number">file<small>bits&#x2f;w</small></th>
        <th scope="col" class="number">size</th>
        <th scope="col" class="number">perplexity</th>
        <th scope="col" class="number">vs. ref.<small>%</small></th>
        <th scope="col" class="number">KL mean<small>nats</small></th>
        <th scope="col" class="number">KL median<small>nats</small></th>
        <th scope="col" class="number">KL p99<small>nats</small></th>
        <th scope="col" class="number">top-1<small>%</small></th>
        <th scope="col" class="number">text<small>bits&#x2f;B</small></th>
        </tr>
        </thead>
        <tbody>
        <tr>
        <th scope="row" class="text">palette4</th>
        <td class="number">4.01</td>
        <td class="number">5.10</td>
        <td class="number">701 kB</td>
        <td class="number">9.0 [8.4, 9.5]</td>
        <td class="number">+1.00 [+0.96, +1.03]</td>
        <td class="number">0.0096 [0.0079, 0.0111]</td>
        <td class="number">0.00889</td>
        <td class="number">0.0267</td>
        <td class="number">100.0 [100.0, 100.0]</td>
        <td class="number">0.79 [0.77, 0.81]</td>
        </tr>
        <tr>
        <th scope="row" class="text">palette1-c</th>
        <td class="number">1.00</td>
        <td class="number">2.36</td>
        <td class="number">325 kB</td>
        <td class="failed" colspan="7">failed: logits are not finite in layer 1, window 0; keep the embedding at 4 bits</td>
        </tr>
        </tbody>
        </table>
        </div>
        <p class="note">± and [ ] are 95 % intervals: 10000 resamples of 12 windows in blocks of 2, seed 1; vs. ref. is paired by window. KL is from the reference, per token, over the full vocabulary.</p>
        <p class="note">No model can score below perplexity 6.050 on this text: its source has 0.4500 nats per byte.</p>
        <figure>
        <svg viewBox="0 0 640 112" role="img" aria-label="The ladder of sizes"><title>The ladder of sizes</title><text x="172.0" y="19.0" text-anchor="end">fp</text><rect x="180.0" y="4.0" width="270.0" height="20.0"/><text x="458.0" y="19.0">2.20 MB, 16.00 bits/weight</text><text x="172.0" y="45.0" text-anchor="end">palette4</text><rect x="180.0" y="30.0" width="86.0" height="20.0"/><text x="274.0" y="45.0">701 kB, 5.10 bits/weight</text><text x="172.0" y="71.0" text-anchor="end">palette2-g16</text><rect x="180.0" y="56.0" width="58.9" height="20.0"/><text x="246.9" y="71.0">480 kB, 3.49 bits/weight</text><text x="172.0" y="97.0" text-anchor="end">palette1-c</text><rect x="180.0" y="82.0" width="39.9" height="20.0"/><text x="227.9" y="97.0">325 kB, failed</text></svg>
        <figcaption class="note">The ladder of sizes</figcaption>
        </figure>
        <h2>What was measured</h2>
        <dl>
        <dt>model</dt><dd>tiny-stories</dd>
        <dt>architecture</dt><dd>LlamaForCausalLM</dd>
        </dl>
        </main>
        </body>
        </html>
        "#);
    }

    #[test]
    fn a_page_loads_nothing_and_shows_three_figures() {
        let page = render(&document()).unwrap();
        for word in ["http:", "https:", "src=", "<script", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<svg").count(), 3);
        assert_eq!(page, render(&document()).unwrap());
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
