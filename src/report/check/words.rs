//! Verdicts, changes and limits in words: one spelling for tables, annotations and test results.

use super::{Checked, Metric, Row};
use crate::report::Unit;
use crate::report::number::{Detail, text};
use crate::stats::{Estimate, Verdict};
use crate::units::{Bytes, significant};

/// Every verdict's word, worst first.
pub(super) const VERDICTS: [&str; 5] =
    ["regressed", "invalid", "inconclusive", "improved", "unchanged"];

/// The verdict in one word.
pub(super) fn verdict(verdict: &Verdict) -> &'static str {
    VERDICTS[rank(verdict)]
}

/// The place of a verdict in [`VERDICTS`].
pub(super) fn rank(verdict: &Verdict) -> usize {
    match verdict {
        Verdict::Regressed => 0,
        Verdict::Invalid(_) => 1,
        Verdict::Inconclusive => 2,
        Verdict::Improved => 3,
        Verdict::Unchanged => 4,
    }
}

/// How many rows have each verdict: `1 regressed, 12 unchanged`.
pub(super) fn counts(checked: &Checked) -> String {
    let count = |word: &&'static str| {
        let rows = checked.rows.iter().filter(|row| verdict(&row.verdict) == *word).count();
        (rows > 0).then(|| format!("{rows} {word}"))
    };
    VERDICTS.iter().filter_map(count).collect::<Vec<_>>().join(", ")
}

/// The verdict over all.
pub(super) fn outcome(checked: &Checked) -> &'static str {
    let worst = checked.rows.iter().map(|row| rank(&row.verdict)).min();
    match worst.map(|rank| VERDICTS[rank]) {
        Some("regressed") => "regressed",
        Some("invalid") => "not all can be compared",
        Some("inconclusive") => "inconclusive",
        _ => "no regression",
    }
}

/// The metric with its place: `decode on host`.
pub(super) fn label(row: &Row) -> String {
    format!("{}{}", row.metric.name(), place(row))
}

/// ` on host`; nothing where there is no place.
pub(super) fn place(row: &Row) -> String {
    if row.place.is_empty() { String::new() } else { format!(" on {}", row.place) }
}

/// A change with its interval and unit; exact ones by byte.
pub(super) fn change(metric: Metric, change: &Estimate, detail: Detail) -> String {
    let unit = metric.change_unit();
    let same = if unit == Unit::Ratio { 1.0 } else { 0.0 };
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

/// A size of change: `0.61 %`, `0.00021 nats`.
pub(super) fn amount(metric: Metric, amount: f64) -> String {
    match metric.change_unit() {
        Unit::Bytes => Bytes(amount as u64).to_string(),
        Unit::Nats => format!("{} nats", significant(amount, 2)),
        Unit::Share => format!("{} points", significant(amount * 100.0, 2)),
        _ => format!("{} %", significant(amount * 100.0, 2)),
    }
}

/// What a change in this unit is followed by.
fn suffix(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => " %",
        Unit::Share => " points",
        Unit::Nats => " nats",
        _ => "",
    }
}

/// Why a row is not green, or what is missing in it: empty for a plain verdict.
pub(super) fn reason(row: &Row) -> String {
    let exact = |row: &Row| match (row.candidate, row.baseline) {
        (Some(now), Some(then)) => format!("{} B, was {} B", now.point, then.point),
        _ => String::new(),
    };
    let is_exact = row.metric.change_unit() == Unit::Bytes;
    match &row.verdict {
        _ if !row.why.is_empty() => row.why.clone(),
        Verdict::Regressed | Verdict::Improved if is_exact => exact(row),
        Verdict::Inconclusive => match (row.detectable, row.needed) {
            (None, _) => "too little data to know how far it varies".into(),
            (Some(_), Some(windows)) => {
                let of = row.metric.repeats();
                format!("about {windows} {of} would show twice the tolerance (predicted)")
            }
            (Some(_), None) => "too little data".into(),
        },
        _ => String::new(),
    }
}

/// A row in one sentence: `palette4: perplexity +1.2 [+1.0, +1.4] %, tolerance 0.5 %`.
pub(super) fn sentence(checked: &Checked, row: &Row) -> String {
    let mut said = match row.metric {
        Metric::Result => format!("{}{}", row.variant, place(row)),
        _ => format!("{}: {}", row.variant, label(row)),
    };
    if let Some(found) = &row.change {
        said += &format!(" {}", change(row.metric, found, Detail::Ends));
        said += &format!(", tolerance {}", checked.tolerances.words(row.metric));
    }
    if let Some(seen) = row.detectable {
        said += &format!(", could have seen {}", amount(row.metric, seen));
    }
    match reason(row).as_str() {
        "" => said,
        why => format!("{said}: {why}"),
    }
}

/// What the data at hand could have shown, metric by metric.
pub(super) fn detectable(checked: &Checked) -> String {
    let of = |metric: Metric| {
        let rows = checked.rows.iter().filter(|row| row.metric == metric && row.change.is_some());
        let seen: Vec<Option<f64>> = rows.map(|row| row.detectable).collect();
        let known: Vec<f64> = seen.iter().copied().flatten().collect();
        let (least, most) =
            known.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), &v| (a.min(v), b.max(v)));
        let [least, most] = [least, most].map(|value| amount(metric, value));
        let name = metric.name();
        match (seen.len(), known.len()) {
            _ if metric.change_unit() == Unit::Bytes => None,
            (0, _) => None,
            (_, 0) => Some(format!("nothing of {name}")),
            _ if least == most => Some(format!("{least} of {name}")),
            _ => Some(format!("{least} to {most} of {name}, by variant")),
        }
    };
    let all: Vec<String> = Metric::ALL.into_iter().filter_map(of).collect();
    match all.is_empty() {
        true => "This check could have seen no change that chance has a part in.".into(),
        false => format!("This check could have seen a worsening of {}.", all.join("; ")),
    }
}
