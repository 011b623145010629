//! A check as JUnit XML, which every CI server reads: a suite per variant, a case per metric.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::words;
use crate::compare::check::{CheckRow, Checked};
use crate::error::{Error, Result};
use crate::escape::xml;
use crate::stats::Verdict;

/// The XML. A regression is a failure. What could not be compared or decided is an error, because CI
/// servers show a skipped case as harmless.
///
/// # Errors
/// Only if the writer breaks its own rules (a bug).
pub fn junit(checked: &Checked) -> Result<String> {
    let mut report = Report::new(xml(&format!("evalkit check {}", checked.model)));
    let mut variants: Vec<&str> = Vec::new();
    for row in &checked.rows {
        if !variants.contains(&row.variant.as_str()) {
            variants.push(&row.variant);
        }
    }
    for variant in variants {
        let mut suite = TestSuite::new(xml(variant));
        for row in checked.rows.iter().filter(|row| row.variant == variant) {
            suite.add_test_case(case(checked, row));
        }
        report.add_test_suite(suite);
    }
    report.to_string().map_err(|e| Error::bug("cannot write JUnit XML").because(e))
}

fn case(checked: &Checked, row: &CheckRow) -> TestCase {
    let kind = match row.verdict {
        Verdict::Improved | Verdict::Unchanged => None,
        Verdict::Regressed => Some(NonSuccessKind::Failure),
        Verdict::Invalid(_) | Verdict::Inconclusive => Some(NonSuccessKind::Error),
    };
    let sentence = words::sentence(checked, row);
    let sentence = xml(&sentence);
    let status = match kind {
        None => TestCaseStatus::success(),
        Some(kind) => {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_type(words::verdict(&row.verdict)).set_message(&*sentence);
            status
        }
    };
    let mut case = TestCase::new(xml(&words::label(row)), status);
    case.set_classname(xml(&format!("evalkit.{}", checked.model)));
    case.set_system_out(format!("{} ({})", sentence, words::verdict(&row.verdict)));
    case
}
