//! Verdicts, changes and limits in words: one spelling for tables, annotations and test results.

use crate::compare::Metric;
use crate::compare::check::{CheckRow, Checked, rank};
use crate::compare::differences::Difference;
use crate::report::Unit;
use crate::report::number::{Detail, text};
use crate::stats::{Estimate, Verdict};
use crate::units::{Bytes, significant};

/// The word for each verdict, in the order of [`rank`].
const VERDICTS: [&str; 5] = ["regressed", "invalid", "inconclusive", "improved", "unchanged"];

/// The verdict in one word.
pub(super) fn verdict(verdict: &Verdict) -> &'static str {
    VERDICTS[rank(verdict)]
}

/// A difference between the runs in one sentence.
pub(super) fn difference(found: &Difference) -> String {
    let Difference { what, only_first: now, only_second: then } = found;
    match (now.as_str(), then.as_str()) {
        (now, "") => format!("the runs differ: {what} only in this run: {now}"),
        ("", then) => format!("the runs differ: {what} only in the baseline: {then}"),
        (now, then) => format!("the runs differ: {what}: {now}, was {then}"),
    }
}

/// The number of rows with each verdict: `1 regressed, 12 unchanged`.
pub(super) fn counts(checked: &Checked) -> String {
    let count = |word: &&'static str| {
        let rows = checked.rows.iter().filter(|row| verdict(&row.verdict) == *word).count();
        (rows > 0).then(|| format!("{rows} {word}"))
    };
    VERDICTS.iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

/// The verdict on the whole check.
pub(super) fn outcome(checked: &Checked) -> &'static str {
    let worst = checked.rows.iter().map(|row| rank(&row.verdict)).min();
    match worst.map(|rank| VERDICTS[rank]) {
        Some("regressed") => "regressed",
        Some("invalid") => "not everything can be compared",
        Some("inconclusive") => "inconclusive",
        _ => "no regression",
    }
}

/// The metric with its device or design: `decode on host`.
pub(super) fn label(row: &CheckRow) -> String {
    format!("{}{}", row.metric.name(), place(row))
}

/// The device or design as ` on host`; empty if the row has none.
pub(super) fn place(row: &CheckRow) -> String {
    if row.place.is_empty() { String::new() } else { format!(" on {}", row.place) }
}

/// A change with its interval and unit; of sizes, without an interval.
pub(super) fn change(metric: Metric, change: &Estimate, detail: Detail) -> String {
    let unit = metric.change_unit();
    let same = metric.unchanged();
    let is_same = change.interval.is_some_and(|i| i.low == same && i.high == same);
    if is_same && unit != Unit::Bytes {
        return format!("0{}", suffix(unit));
    }
    let sign = if change.point > 0.0 && unit != Unit::Ratio { "+" } else { "" };
    match unit {
        Unit::Bytes => {
            let sign = if change.point < 0.0 { "-" } else { sign };
            format!("{sign}{}", Bytes(change.point.abs() as u64))
        }
        unit => format!("{sign}{}{}", text(&(*change).into(), unit, detail), suffix(unit)),
    }
}

/// The amount of a change: `0.61 %`, `0.00021 nats`.
pub(super) fn amount(metric: Metric, amount: f64) -> String {
    match metric.change_unit() {
        Unit::Bytes => Bytes(amount as u64).to_string(),
        Unit::Nats => format!("{} nats", significant(amount, 2)),
        Unit::Share => format!("{} points", significant(amount * 100.0, 2)),
        _ => format!("{} %", significant(amount * 100.0, 2)),
    }
}

/// What follows a change in this unit.
fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => " %",
        Unit::Share => " points",
        Unit::Nats => " nats",
        _ => "",
    }
}

/// Why a row is not green, or what is missing in it; empty if the verdict says it all.
pub(super) fn reason(row: &CheckRow) -> String {
    let exact = |row: &CheckRow| match (row.candidate, row.baseline) {
        (Some(now), Some(then)) => format!("{} B, was {} B", now.point, then.point),
        _ => String::new(),
    };
    let is_exact = row.metric.change_unit() == Unit::Bytes;
    match &row.verdict {
        _ if !row.why.is_empty() => row.why.clone(),
        Verdict::Regressed | Verdict::Improved if is_exact => exact(row),
        Verdict::Inconclusive => match (row.detectable, row.needed) {
            (None, _) => "too little data to estimate its spread".into(),
            (Some(_), Some(count)) => {
                let of = row.metric.repeats();
                format!("about {count} {of} would detect twice the tolerance (predicted)")
            }
            (Some(_), None) => "too little data".into(),
        },
        _ => String::new(),
    }
}

/// A row in one sentence: `palette4: perplexity +1.2 [+1.0, +1.4] %, tolerance 0.5 %`.
pub(super) fn sentence(checked: &Checked, row: &CheckRow) -> String {
    let mut sentence = match row.metric {
        Metric::Result => format!("{}{}", row.variant, place(row)),
        _ => format!("{}: {}", row.variant, label(row)),
    };
    if let Some(found) = &row.change {
        sentence += &format!(" {}", change(row.metric, found, Detail::Ends));
        sentence += &format!(", tolerance {}", checked.tolerances.words(row.metric));
    }
    if let Some(least) = row.detectable {
        sentence += &format!(", detectable {}", amount(row.metric, least));
    }
    match reason(row).as_str() {
        "" => sentence,
        why => format!("{sentence}: {why}"),
    }
}

/// The worsening that this check could have detected, metric by metric.
pub(super) fn detectable(checked: &Checked) -> String {
    let of = |metric: Metric| {
        let rows = checked.rows.iter().filter(|row| row.metric == metric && row.change.is_some());
        let all: Vec<Option<f64>> = rows.map(|row| row.detectable).collect();
        let known: Vec<f64> = all.iter().copied().flatten().collect();
        let (least, most) =
            known.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), &v| (a.min(v), b.max(v)));
        let [least, most] = [least, most].map(|value| amount(metric, value));
        let name = metric.name();
        match (all.len(), known.len()) {
            _ if metric.change_unit() == Unit::Bytes => None,
            (0, _) => None,
            (_, 0) => Some(format!("none in {name}")),
            _ if least == most => Some(format!("{least} in {name}")),
            _ => Some(format!("{least} to {most} in {name}, depending on the variant")),
        }
    };
    let all: Vec<String> = Metric::ALL.into_iter().filter_map(of).collect();
    if all.is_empty() {
        "This check compared exact values only.".into()
    } else {
        format!("Detectable worsening: {}.", all.join("; "))
    }
}
