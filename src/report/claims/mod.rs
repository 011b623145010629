//! Verdicts on claims as a document.

#[cfg(test)]
mod tests;

use super::number::{Detail, text, unit_name};
use super::{Column, Document, Fact, Table, Value};
use crate::compare::claims::{
    Claim, ClaimMetric, ClaimVerdict, Claims, EvidenceKind, Judged, Weighed, Weight,
};
use crate::stats::Estimate;

/// The verdicts on claims as a document.
pub fn document(claims: &Claims, judged: &[Judged]) -> Document {
    let count = |verdict: ClaimVerdict| judged.iter().filter(|one| one.verdict == verdict).count();
    let fact = |key: &str, verdict: ClaimVerdict| Fact::new(key, word(verdict), count(verdict));
    let row = |one: &Judged| {
        let claim = &one.claim;
        vec![
            Value::from(claim.says.as_str()),
            Value::from(about(claim)),
            Value::from(range(claim)),
            Value::from(word(one.verdict)),
            Value::from(evidence(one)),
            Value::from(claim.source.as_deref().unwrap_or_default()),
        ]
    };
    Document {
        title: "Claims and what is known".into(),
        facts: vec![
            Fact::new("source", "source", claims.source.as_str()),
            fact("confirmed", ClaimVerdict::Confirmed),
            fact("refuted", ClaimVerdict::Refuted),
            fact("not_measured", ClaimVerdict::NotMeasured),
        ],
        tables: vec![Table {
            title: "Claims".into(),
            columns: vec![
                Column::text("claim", "claim"),
                Column::text("about", "about"),
                Column::text("claimed", "claimed"),
                Column::text("verdict", "verdict"),
                Column::text("evidence", "evidence"),
                Column::text("where", "where").rank(1),
            ],
            rows: judged.iter().map(row).collect(),
            notes: claims.note.iter().cloned().collect(),
        }],
        notes: vec![
            "Confirmed: the known value with its interval is wholly within the claimed range. \
             Refuted: wholly outside. Predicted: computed from the model's configuration. Only \
             measurements on the device that a claim names decide it."
                .into(),
        ],
        ..Document::default()
    }
}

fn word(verdict: ClaimVerdict) -> &'static str {
    match verdict {
        ClaimVerdict::Confirmed => "confirmed",
        ClaimVerdict::Refuted => "refuted",
        ClaimVerdict::NotMeasured => "not measured",
    }
}

/// Model, variant and device in words.
fn about(claim: &Claim) -> String {
    let on = claim.device.as_ref().map(|device| format!("on {device}"));
    let parts = [Some(claim.model.clone()), claim.recipe.clone(), on];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The claimed range in words.
fn range(claim: &Claim) -> String {
    let words = |end: f64| value(claim.metric, &Estimate::exact(end));
    match (claim.low.is_finite(), claim.high.is_finite()) {
        _ if claim.low == claim.high => words(claim.low),
        (true, true) => format!("{} to {}", words(claim.low), words(claim.high)),
        (true, false) => format!("at least {}", words(claim.low)),
        _ => format!("at most {}", words(claim.high)),
    }
}

/// A value in words, with its unit.
fn value(metric: ClaimMetric, value: &Estimate) -> String {
    if metric.is_yes_or_no() {
        return if value.point > 0.5 { "yes" } else { "no" }.to_owned();
    }
    let is_exact = value.interval.is_none_or(|interval| interval.low == interval.high);
    let value = if is_exact { Value::Number(value.point) } else { Value::Estimate(*value) };
    let number = text(&value, metric.unit(), Detail::Ends);
    match unit_name(metric.unit()) {
        "" => number,
        unit => format!("{number} {unit}"),
    }
}

/// What decides a claim, or what else is known about it.
fn evidence(judged: &Judged) -> String {
    if judged.weighed.is_empty() {
        return "nothing is known".to_owned();
    }
    judged.weighed.iter().map(weighed).collect::<Vec<_>>().join("; ")
}

fn weighed(Weighed { evidence, weight }: &Weighed) -> String {
    let kind = match evidence.kind {
        EvidenceKind::Predicted => "predicted",
        EvidenceKind::Simulated => "SIMULATED",
        EvidenceKind::Measured => "measured",
    };
    let remark = match weight {
        Weight::Decides => "",
        Weight::NoInterval => ", too few repetitions for an interval",
        Weight::CrossesEnd => ", with an interval that crosses an end of the claimed range",
        Weight::Elsewhere => ", which does not decide it",
    };
    format!("{}, {kind} {}{remark}", value(evidence.metric, &evidence.value), evidence.from)
}
