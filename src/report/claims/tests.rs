//! The words for verdicts and evidence.

use super::*;
use crate::compare::claims::judge;
use crate::compare::claims::tests::{FILE, estimate, one};
use crate::report::{Format, render};

#[test]
fn sizes_and_fits_are_decided_by_prediction() {
    let kind = EvidenceKind::Predicted;
    let size = one(ClaimMetric::Size, Estimate::exact(10.9e9), kind, &[]);
    let fits = one(ClaimMetric::Fits, Estimate::exact(0.0), kind, &["iPhone14,2"]);
    let claims = Claims::parse(FILE).unwrap();
    let judged = judge(&claims, &[size, fits]);
    insta::assert_snapshot!(render(Format::Markdown, &document(&claims, &judged), 0).unwrap());
}

#[test]
fn evidence_that_does_not_decide_says_why() {
    let claims = Claims::parse(FILE).unwrap();
    let speed = |point, half, kind| {
        let all = [one(ClaimMetric::Decode, estimate(point, half), kind, &["iPhone 13 Pro"])];
        evidence(&judge(&claims, &all)[1])
    };
    let simulated = speed(30.0, 2.0, EvidenceKind::Simulated);
    assert!(simulated.ends_with("SIMULATED in a test, which does not decide it"), "{simulated}");
    let wide = speed(25.0, 2.0, EvidenceKind::Measured);
    assert!(wide.ends_with("with an interval that crosses an end of the claimed range"), "{wide}");
    assert_eq!(evidence(&judge(&claims, &[])[1]), "nothing is known");
}
