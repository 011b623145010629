//! GitHub-flavoured Markdown: for a README, a pull request, a model card.

use super::number::{Detail, heading, text};
use super::{Align, Document, Table, Value};

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
    for table in &document.tables {
        if !table.title.is_empty() {
            blocks.push(format!("## {}", escape(&table.title)));
        }
        blocks.push(table_text(table));
        blocks.extend(table.notes.iter().map(|note| escape(note)));
    }
    blocks.extend(document.notes.iter().map(|note| escape(note)));
    if !facts.is_empty() {
        blocks.push(facts.join("\n"));
    }
    blocks.join("\n\n") + "\n"
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

/// Keeps foreign text (names of models, causes of failure) from becoming markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '\\' | '~' => escaped.extend(['\\', c]),
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::fixture::document;
    use super::*;

    #[test]
    fn a_summary_as_markdown() {
        insta::assert_snapshot!(render(&document()), @r#"
        # How well variants of tiny-stories keep its predictions

        > **Warning:** generated text: compare variants, not models

        ## tiny-stories on stories \| held out (protocol full, 12 windows of 101 tokens)

        | variant | blocks (bits/w) | file (bits/w) | size | perplexity | vs. ref. (%) | KL mean (nats) | KL median (nats) | KL p99 (nats) | top-1 (%) | text (bits/B) |
        | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |
        | fp | 16.00 | 16.00 | 2.20 MB | 8.9 [8.3, 9.4] |  |  |  |  |  | 0.79 [0.76, 0.81] |
        | palette4 | 4.01 | 5.10 | 701 kB | 9.0 [8.4, 9.5] | +1.00 [+0.96, +1.03] | 0.0096 [0.0079, 0.0111] | 0.00889 | 0.0267 | 100.0 [100.0, 100.0] | 0.79 [0.77, 0.81] |
        | palette1-c | 1.00 | 2.36 | 325 kB | failed: logits are not finite in layer 1, window 0; keep the embedding at 4 bits |  |  |  |  |  |  |
        | palette2-g16 | 2.24 | 3.49 | 480 kB | 12.0 [11.1, 12.8] | +34.6 [+33.3, +35.9] | 0.29 [0.24, 0.33] | 0.267 | 0.800 | 76.8 [75.0, 78.5] | 0.89 [0.87, 0.92] |

        ± and [ ] are 95 % intervals: 10000 resamples of 12 windows in blocks of 2, seed 1; vs. ref. is paired by window. KL is from the reference, per token, over the full vocabulary.

        No model can score below perplexity 6.050 on this text: its source has 0.4500 nats per byte.

        - model: tiny-stories
        - architecture: LlamaForCausalLM
        - parameters: 1,100,000
        - layers: 2
        - vocabulary: 512
        - model hash: 3a3a3a3a3a3a3a3a
        - tokenizer hash: 5c5c5c5c5c5c5c5c
        - protocol: full
        - tokens per window: 101
        - stride in tokens: 101
        - begin-of-text token: none
        - windows: 12
        - scored tokens: 1,200
        - text: stories \| held out
        - text size: 4.80 kB
        - text hash: 7e7e7e7e7e7e7e7e
        - seed: 7
        - evalkit: 0.1.0
        - numeric version: 1
        - machine: some processor, linux
        - reference runs on: cpu
        - program hash: 9b9b9b9b9b9b9b9b
        "#);
    }

    #[test]
    fn foreign_text_does_not_become_markup() {
        assert_eq!(escape("a|b\n<i>*x*"), "a\\|b \\<i>\\*x\\*");
    }
}
