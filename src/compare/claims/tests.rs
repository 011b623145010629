//! Every verdict, and every way in which a claim is not decided.

use super::*;
use crate::stats::{Estimate, Interval};

pub(crate) const FILE: &str = r#"
source = "somebody"

[[claim]]
says = "4-bit: 10.5 GB"
model = "big"
recipe = "palette4"
metric = "size_bytes"
value = 10.5e9
tolerance = 0.05

[[claim]]
says = "25-50 tokens/s"
model = "big"
device = "iPhone 13 Pro"
metric = "decode_tokens_per_s"
low = 25
high = 50

[[claim]]
says = "fits"
model = "big"
device = "iPhone14,2"
metric = "fits"
value = true
"#;

pub(crate) fn estimate(point: f64, half_width: f64) -> Estimate {
    let (low, high) = (point - half_width, point + half_width);
    Estimate { point, interval: Some(Interval { low, high, level: 0.95 }), n: 9 }
}

pub(crate) fn one(
    metric: ClaimMetric,
    value: Estimate,
    kind: EvidenceKind,
    device: &[&str],
) -> ClaimEvidence {
    ClaimEvidence {
        model: "Big".into(),
        recipe: "palette4".into(),
        device: device.iter().map(|name| (*name).to_owned()).collect(),
        metric,
        value,
        kind,
        from: "in a test".into(),
    }
}

fn verdicts(all: &[ClaimEvidence]) -> Vec<ClaimVerdict> {
    let claims = Claims::parse(FILE).unwrap();
    judge(&claims, all).iter().map(|judged| judged.verdict).collect()
}

#[test]
fn a_claim_is_confirmed_or_refuted_by_whole_intervals() {
    use ClaimVerdict::{Confirmed, NotMeasured, Refuted};
    let phone = ["usb:1", "iPhone14,2", "iPhone 13 Pro"];
    let speed = |point, half| {
        one(ClaimMetric::Decode, estimate(point, half), EvidenceKind::Measured, &phone)
    };
    assert_eq!(verdicts(&[speed(30.0, 2.0)])[1], Confirmed);
    assert_eq!(verdicts(&[speed(12.0, 2.0)])[1], Refuted);
    assert_eq!(verdicts(&[speed(25.0, 2.0)])[1], NotMeasured);
    assert_eq!(verdicts(&[speed(37.0, 40.0)])[1], NotMeasured);
    assert_eq!(verdicts(&[speed(30.0, 2.0), speed(12.0, 2.0)])[1], Refuted);
    let alone = Estimate { point: 30.0, interval: None, n: 1 };
    assert_eq!(
        verdicts(&[one(ClaimMetric::Decode, alone, EvidenceKind::Measured, &phone)])[1],
        NotMeasured
    );
}

#[test]
fn neither_a_simulation_nor_this_machine_speaks_for_a_phone() {
    let good = estimate(30.0, 2.0);
    let simulated = one(
        ClaimMetric::Decode,
        good,
        EvidenceKind::Simulated,
        &["tcp:x", "iPhone14,2", "iPhone 13 Pro"],
    );
    let host = one(ClaimMetric::Decode, good, EvidenceKind::Measured, &["host", "x86_64"]);
    assert_eq!(verdicts(&[simulated.clone(), host.clone()])[1], ClaimVerdict::NotMeasured);
    let judged = judge(&Claims::parse(FILE).unwrap(), &[simulated, host]);
    assert_eq!(judged[1].weighed.len(), 2);
    assert!(judged[1].weighed.iter().all(|one| one.weight == Weight::Elsewhere));
    assert!(judged[0].weighed.is_empty());
}

#[test]
fn sizes_and_fits_are_decided_by_prediction() {
    let size = one(ClaimMetric::Size, Estimate::exact(10.9e9), EvidenceKind::Predicted, &[]);
    let fits =
        one(ClaimMetric::Fits, Estimate::exact(0.0), EvidenceKind::Predicted, &["iPhone14,2"]);
    let all = [size, fits];
    assert_eq!(verdicts(&all)[0], ClaimVerdict::Confirmed);
    assert_eq!(verdicts(&all)[2], ClaimVerdict::Refuted);
    let claims = Claims::parse(FILE).unwrap();
    let judged = judge(&claims, &all);
    assert_eq!(exit(&judged), Exit::No);
    assert_eq!(exit(&judged[..1]), Exit::Done);
    assert_eq!(exit(&judged[..2]), Exit::Inconclusive);
}

#[test]
fn files_of_claims_are_refused_in_words() {
    let cases = [
        ("value = 10.5e9", "value = true", "value: expected a number, found true"),
        ("value = true", "value = 1", "value: expected true or false, found 1"),
        ("tolerance = 0.05", "tolerance = -1", "tolerance: expected a share from 0 to 1, found -1"),
        ("low = 25", "low = 75", "expected low to be at most high, found 75 and 50"),
        ("low = 25\nhigh = 50", "", "expected `value` with or without"),
        ("\"fits\"\nvalue", "\"speed\"\nvalue", "metric: expected one of size_bytes, fits"),
        ("source", "sauce", "not a file of claims"),
    ];
    for (old, new, said) in cases {
        let error = Claims::parse(&FILE.replace(old, new)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert_eq!(error.exit().code(), 2);
    }
}
