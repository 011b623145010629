//! Two runs of the fixture, one of them edited.

use super::*;
use crate::compare::fixture::{folder, records};
use crate::report::{Format, render};
use crate::results::Record;

fn edited(edit: impl Fn(&mut Record)) -> RunFolder {
    let mut records = records();
    records.iter_mut().for_each(edit);
    folder("2026-01-02-other", &records)
}

fn first() -> RunFolder {
    folder("2026-01-01-tiny", &records())
}

/// One variant worse, one that nobody can tell from what it was, another program.
fn second() -> RunFolder {
    edited(|record| match record {
        Record::Window(w) if w.cell_id == "c0" => w.nll_nats += 5.0 + w.window as f64 / 12.0,
        Record::Window(w) if w.cell_id == "b0" => {
            w.nll_nats += [1.0, -0.4, -0.5, 0.3, -0.7][w.window % 5];
        }
        Record::Environment(environment) => environment.binary_hash = "77".repeat(32),
        _ => {}
    })
}

#[test]
fn what_differs_comes_before_any_number() {
    let document = document(&first(), &second()).unwrap();
    insta::assert_snapshot!(render(Format::Terminal, &document, 100).unwrap());
    assert_eq!(document.tables[0].rows.len(), 1, "{:?}", document.tables[0]);
    let markdown = render(Format::Markdown, &document, 0).unwrap();
    assert!(markdown.contains("| inconclusive |") && markdown.contains("| B is worse |"));
}

#[test]
fn a_run_against_itself_is_the_same_in_everything() {
    let document = document(&first(), &first()).unwrap();
    assert!(document.tables[0].rows.is_empty());
    let text = render(Format::Markdown, &document, 0).unwrap();
    assert_eq!(text.matches("| the same |").count(), 3 + 2 + 2, "{text}");
    assert!(!text.contains("| B is"), "{text}");
}

#[test]
fn another_text_is_said_and_not_compared() {
    let other = edited(|record| {
        if let Record::Run(run) = record {
            run.text_hash = "00".repeat(32);
        }
    });
    let document = document(&first(), &other).unwrap();
    assert_eq!(document.warnings[0], "scores are not compared: the text differs");
    let text = render(Format::Markdown, &document, 0).unwrap();
    assert!(text.contains("| not compared |"), "{text}");
}

#[test]
fn variants_of_one_run_alone_are_named() {
    let without: Vec<Record> =
        records().into_iter().filter(|record| record.cell_id() != Some("c0")).collect();
    let document = document(&folder("less", &without), &first()).unwrap();
    let text = render(Format::Markdown, &document, 0).unwrap();
    assert!(
        text.contains("| only in B |") && text.contains("palette1-c failed in A: logits"),
        "{text}"
    );
}
