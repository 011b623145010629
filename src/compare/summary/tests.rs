//! Rows of a summary: their order, their independence, and what becomes of missing records.

use super::*;
use crate::compare::fixture::records;
use crate::compare::fixture::{one_window, with_lost_windows};
use crate::results::Done;

fn summary(records: &[Record]) -> Summary {
    Summary::from_records(records, 1).unwrap()
}

fn row<'a>(summary: &'a Summary, variant: &str) -> &'a SummaryRow {
    summary.rows.iter().find(|row| row.variant == variant).unwrap()
}

fn without(unwanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    records().into_iter().filter(|record| !unwanted(record)).collect()
}

#[test]
fn the_reference_comes_first_then_variants_as_recorded() {
    let mut records = records();
    let at = |records: &[Record], id| records.iter().position(|r| r.cell_id() == Some(id));
    let (a, c) = (at(&records, "a0").unwrap(), at(&records, "c0").unwrap());
    records.swap(a, c);
    let order: Vec<String> = summary(&records).rows.into_iter().map(|r| r.variant).collect();
    assert_eq!(order, ["reference", "palette2-g16", "palette4", "palette1-c"]);
}

#[test]
fn a_variants_numbers_do_not_depend_on_the_other_variants() {
    let (all, alone) = (records(), without(|r| matches!(r.cell_id(), Some("b0" | "d0"))));
    let (all, alone) = (summary(&all), summary(&alone));
    assert_eq!(row(&all, "palette2-g16"), row(&alone, "palette2-g16"));
}

#[test]
fn records_in_another_order_give_the_same_numbers() {
    let mut reversed = records();
    reversed.reverse();
    let (forward, backward) = (summary(&records()), summary(&reversed));
    for variant in ["reference", "palette4", "palette2-g16"] {
        assert_eq!(row(&forward, variant), row(&backward, variant));
    }
}

#[test]
fn an_interrupted_variant_is_a_row_that_says_so() {
    let cut = |r: &Record| match r {
        Record::Window(w) => w.cell_id == "c0" && w.window > 4,
        Record::Done(done) => done.cell_id == "c0",
        _ => false,
    };
    let summary = summary(&without(cut));
    let outcome = &row(&summary, "palette2-g16").outcome;
    assert_eq!(outcome, &Err("not finished: 5 of 12 windows scored".to_owned()));
    assert!(row(&summary, "palette4").outcome.is_ok());
}

#[test]
fn a_run_without_a_window_is_not_finished_and_nothing_failed() {
    let nothing =
        |r: &Record| matches!(r, Record::Window(_) | Record::Done(_)) || r.cell_id() == Some("d0");
    let summary = summary(&without(nothing));
    for row in &summary.rows {
        assert_eq!(row.outcome, Err("not finished: 0 of 12 windows scored".to_owned()));
    }
}

#[test]
fn a_run_interrupted_at_one_window_for_all_is_reported_on_what_there_is() {
    let cut = |r: &Record| match r {
        Record::Window(w) => w.window > 4,
        other => matches!(other, Record::Done(_)),
    };
    let summary = summary(&without(cut));
    assert_eq!(summary.windows, 5);
    assert!(row(&summary, "palette2-g16").outcome.is_ok());
    let warnings = summary.document().warnings.join("\n");
    assert!(warnings.contains("only 5 of 12 windows are scored"), "{warnings}");
}

#[test]
fn without_a_reference_variants_have_perplexity_but_nothing_to_compare_with() {
    let summary = summary(&without(|r| r.cell_id() == Some("a0")));
    let outcome = row(&summary, "palette4").outcome.as_ref().unwrap();
    assert_eq!(outcome.comparison, None);
    assert!(outcome.quality.perplexity.interval.is_some());
}

#[test]
fn a_variant_that_failed_and_then_succeeded_is_a_success() {
    let mut records = records();
    let again: Vec<Record> = records
        .iter()
        .filter_map(|record| match record {
            Record::Window(w) if w.cell_id == "c0" => {
                Some(Record::Window(Window { cell_id: "d0".into(), ..w.clone() }))
            }
            _ => None,
        })
        .collect();
    records.extend(again);
    records.push(Record::Done(Done { cell_id: "d0".into(), windows: 12, ..Done::default() }));
    assert!(row(&summary(&records), "palette1-c").outcome.is_ok());
}

#[test]
fn a_failure_without_a_size_is_still_a_row() {
    let no_cell = |r: &Record| matches!(r, Record::Cell(cell) if cell.cell_id == "d0");
    let summary = summary(&without(no_cell));
    let row = row(&summary, "palette1-c");
    assert_eq!(row.size_bytes, None);
    assert!(row.outcome.as_ref().unwrap_err().starts_with("logits are not finite"));
}

#[test]
fn a_variant_that_lost_windows_has_no_numbers_and_without_the_reference_none_has() {
    let of_b = summary(&with_lost_windows("b0", records()));
    let said = row(&of_b, "palette4").outcome.clone().unwrap_err();
    assert!(said.starts_with("its records lost windows: 12 were scored, 3 are there"), "{said}");
    assert!(row(&of_b, "palette2-g16").outcome.is_ok());
    let of_a = summary(&with_lost_windows("a0", records()));
    assert!(of_a.rows.iter().all(|row| row.outcome.is_err()));
    let tokens_each = of_a.run.scored_tokens / of_a.run.windows;
    assert_eq!((of_a.windows, of_a.scored_tokens), (3, 3 * tokens_each));
    let said = row(&of_a, "palette4").outcome.clone().unwrap_err();
    assert!(said.starts_with("cannot be compared with the reference: "), "{said}");
}

#[test]
fn a_variant_whose_own_record_was_lost_is_a_row_that_says_so() {
    let no_cell = |r: &Record| matches!(r, Record::Cell(cell) if cell.cell_id == "b0");
    let summary = summary(&without(no_cell));
    let said = row(&summary, "variant b0").outcome.clone().unwrap_err();
    assert!(said.starts_with("its records lost the line \"cell\""), "{said}");
    assert!(row(&summary, "palette2-g16").outcome.is_ok());
}

#[test]
fn likelihoods_beyond_a_perplexity_are_said_and_no_number() {
    let mut all = records();
    for record in &mut all {
        match record {
            Record::Window(w) if w.cell_id == "b0" => w.nll_nats = 4_294_967_295.0,
            _ => {}
        }
    }
    let said = row(&summary(&all), "palette4").outcome.clone().unwrap_err();
    assert!(said.starts_with("cannot be told"), "{said}");
}

#[test]
fn one_window_gives_numbers_without_intervals() {
    let summary = summary(&one_window(records()));
    let outcome = row(&summary, "palette4").outcome.as_ref().unwrap();
    assert_eq!(outcome.quality.perplexity.interval, None);
    assert!(outcome.quality.perplexity.point.is_finite());
}

#[test]
fn records_without_a_run_are_refused() {
    let error = Summary::from_records(&[], 1).unwrap_err();
    assert_eq!(error.exit().code(), 2);
}
