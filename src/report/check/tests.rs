//! Every renderer on one check and one history.

use super::*;
use crate::compare::check::History;
use crate::compare::check::tests::{checked, nights};
use crate::escape::attacks::ATTACKS;
use crate::escape::is_hidden;
use crate::report::{Format, render};

fn rendered(format: Format, width: usize) -> String {
    render(format, &document(&checked(), format), width).unwrap()
}

#[test]
fn a_check_on_a_terminal_fits_80_columns() {
    let text = rendered(Format::Terminal, 80);
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{text}");
    insta::assert_snapshot!("terminal", text);
}

#[test]
fn a_check_as_markdown() {
    insta::assert_snapshot!("markdown", rendered(Format::Markdown, 0));
}

#[test]
fn a_check_as_csv() {
    insta::assert_snapshot!("csv", rendered(Format::Csv, 0));
}

#[test]
fn no_two_columns_of_a_csv_table_share_a_name() {
    let text = rendered(Format::Csv, 0);
    for head in text.lines().filter(|line| line.starts_with("variant,")) {
        let mut names: Vec<&str> = head.split(',').collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{head}");
    }
}

#[test]
fn a_check_as_json() {
    let json: serde_json::Value = serde_json::from_str(&rendered(Format::Json, 0)).unwrap();
    let parts = serde_json::json!({"facts": json["facts"], "tables": json["tables"]});
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&parts).unwrap());
}

#[test]
fn a_check_as_a_page_has_every_verdict_and_reason() {
    let page = rendered(Format::Html, 0);
    for row in &checked().rows {
        let why = words::reason(row);
        assert!(page.contains(words::verdict(&row.verdict)) && page.contains(&why), "{why}");
    }
}

#[test]
fn a_check_as_junit_xml() {
    insta::assert_snapshot!("junit", junit(&checked()).unwrap());
}

#[test]
fn a_check_as_annotations() {
    insta::assert_snapshot!("annotations", annotations(&checked()).join("\n"));
}

#[test]
fn no_name_is_markup_in_junit_xml_or_a_command_in_annotations() {
    let named = |name: &str| {
        let mut checked = checked();
        checked.model = name.to_owned();
        for row in &mut checked.rows {
            row.variant = format!("{name} {}", row.variant);
            row.why = name.to_owned();
        }
        checked
    };
    let plain = [junit(&named("plain")).unwrap(), annotations(&named("plain")).join("\n")];
    for attack in ATTACKS {
        let checked = named(attack);
        let found = [junit(&checked).unwrap(), annotations(&checked).join("\n")];
        for (found, plain) in found.iter().zip(&plain) {
            assert!(!found.contains(|c| is_hidden(c) && c != '\n'), "{attack:?}: {found:?}");
            assert_eq!(found.lines().count(), plain.lines().count(), "{attack:?}: {found}");
        }
        assert_eq!(found[0].matches('<').count(), plain[0].matches('<').count(), "{attack:?}");
        for line in found[1].lines() {
            assert!(line.starts_with("::"), "{line}");
            let title = line.split("::").nth(1).unwrap();
            assert_eq!(title.matches(',').count(), 0, "{line}");
        }
    }
}

#[test]
fn a_history_on_a_terminal_and_as_json() {
    let of_nights = History::of(nights(), 7);
    let text = render(Format::Terminal, &history(&of_nights, Format::Terminal), 80).unwrap();
    insta::assert_snapshot!("history", text);
    let csv = render(Format::Csv, &history(&of_nights, Format::Csv), 0).unwrap();
    assert_eq!(csv.matches("new level").count(), text.matches('│').count() - 1);
}
