//! Foreign text that attacks readers, through every renderer: a document that has it in every place has
//! the same structure as one with a plain word there.

use super::{
    Axis, Bar, Bound, Column, Distribution, Document, Fact, Figure, Format, Front, Point, Rise,
    Series, Table, Unit, Value, render,
};
use crate::escape::attacks::{ATTACKS, assert_inert_log};
use crate::escape::is_hidden;
use crate::stats::Estimate;

/// A document with `name` wherever a document has text.
fn document(name: &str) -> Document {
    let text = || name.to_owned();
    let axis = || Axis::new(name, Unit::None);
    let y = Estimate { point: 2.0, interval: None, n: 1 };
    let points = vec![Point { label: text(), x: 1.0, y }, Point { label: text(), x: 9.0, y }];
    let series = Series { label: text(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
    let distribution = Distribution::of(name, vec![1.0, 2.0, 9.0]).unwrap();
    let bars = vec![Bar { label: text(), value: 1.0, remark: text() }];
    let limit = Some(Bound { name: text(), value: 2.0 });
    Document {
        title: text(),
        facts: vec![Fact::new("name", name, name), Fact::new("hash", name, Value::Hash(text()))],
        warnings: vec![text()],
        tables: vec![Table {
            title: text(),
            columns: vec![Column::text("first", name), Column::text("second", name)],
            rows: vec![
                vec![text().into(), text().into()],
                vec![Value::Hash(text()), Value::Struck(Box::new(1.5.into()), text())],
                vec!["plain".into(), Value::Failed(text())],
            ],
            notes: vec![text()],
        }],
        figures: vec![
            Figure::Scatter {
                title: text(),
                x: axis(),
                y: axis(),
                points,
                front: Some(Front::Less),
            },
            Figure::Bars { title: text(), unit: Unit::None, bars, limit },
            Figure::Lines {
                title: text(),
                x: axis(),
                y: axis(),
                rise: Rise::Logarithmic,
                series: vec![series],
            },
            Figure::Distributions { title: text(), unit: Unit::None, rows: vec![distribution] },
        ],
        notes: vec![text()],
    }
}

/// A page for each attack, beside the page of a plain word.
fn pages(format: Format, check: impl Fn(&str, &str, &str)) {
    let plain = render(format, &document("plain"), 100).unwrap();
    for attack in ATTACKS {
        let page = render(format, &document(attack), 100).unwrap();
        assert!(!page.contains(|c| is_hidden(c) && c != '\n'), "{attack:?}: {page:?}");
        check(attack, &page, &plain);
    }
}

#[test]
fn no_attack_commands_a_terminal() {
    pages(Format::Terminal, |_, page, _| assert_inert_log(page));
}

#[test]
fn no_attack_is_markdown() {
    let unescaped = |line: &str, mark: char| -> usize {
        line.replace("\\\\", "").replace(&format!("\\{mark}"), "").matches(mark).count()
    };
    pages(Format::Markdown, |attack, page, plain| {
        assert_eq!(page.lines().count(), plain.lines().count(), "{attack:?}: {page}");
        for (line, other) in page.lines().zip(plain.lines()) {
            for mark in ['|', '*', '~', '`', '<', '_', '$', '@'] {
                assert_eq!(unescaped(line, mark), unescaped(other, mark), "{attack:?}: {line}");
            }
            // A bracket behind a backslash is only a bracket.
            let bare = line.replace("\\[", "").replace("\\]", "");
            for markup in ["](", "![", "http://", "https://", "www.", "##[", "]: "] {
                assert!(!bare.contains(markup), "{attack:?}: {line}");
            }
            // A mark at the start of a line is the renderer's own.
            let start = |line: &str| line.chars().take_while(|c| "#>-+=:".contains(*c)).count();
            assert_eq!(start(line), start(other), "{attack:?}: {line}");
        }
    });
}

/// A page without the lines from points to their labels, which depend on the widths of labels.
fn without_leaders(page: &str) -> String {
    let mut parts = page.split("<path class=\"leader\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once("/>").unwrap().1)
}

#[test]
fn no_attack_is_html_or_svg() {
    pages(Format::Html, |attack, page, plain| {
        let [page, plain] = &[page, plain].map(without_leaders);
        for mark in ['<', '>', '"', '\''] {
            let [found, expected] = [page, plain].map(|page| page.matches(mark).count());
            assert_eq!(found, expected, "{mark} of {attack:?}: {page}");
        }
    });
}

#[test]
fn no_attack_is_a_formula_in_csv() {
    pages(Format::Csv, |attack, page, plain| {
        assert_eq!(page.lines().count(), plain.lines().count(), "{attack:?}: {page}");
        let mut reader = csv::Reader::from_reader(page.as_bytes());
        for cell in reader.records().map(|record| record.unwrap()) {
            for cell in &cell {
                let is_formula = cell.trim_start().starts_with(['=', '+', '-', '@']);
                assert!(!is_formula && !cell.starts_with("::"), "{attack:?}: {cell}");
            }
        }
    });
}

#[test]
fn json_keeps_every_text_as_it_is() {
    pages(Format::Json, |attack, page, _| {
        let page: serde_json::Value = serde_json::from_str(page).unwrap();
        let row = &page["tables"][0]["rows"];
        let texts =
            [&page["title"], &page["facts"]["name"], &page["warnings"][0], &row[0]["first"]];
        for text in texts.into_iter().chain([&row[2]["failure"], &page["notes"][0]]) {
            assert_eq!(text, attack);
        }
    });
}
