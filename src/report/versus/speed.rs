//! Speeds, where both runs measured a variant on a device of one kind in one way.

use std::collections::BTreeMap;

use super::{Side, reading};
use crate::report::devices::{Burst, Row, measured};
use crate::report::{Column, Table, Unit, Value};
use crate::results::measurement::{Method, SeenDevice};
use crate::stats::{Better, Bootstrap, Effect, Estimate, ratio_of_medians};

/// A table for each device and metric.
pub(super) fn tables(a: &Side<'_>, b: &Side<'_>) -> Vec<Table> {
    let (Some((method, of_a)), Some((other_method, of_b))) =
        (measured(&a.folder.measured), measured(&b.folder.measured))
    else {
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (device, rows) in &of_a {
        let Some((other, other_rows)) =
            of_b.iter().find(|(other, _)| other.device == device.device)
        else {
            continue;
        };
        let obstacle = obstacle((method, device), (other_method, other));
        for metric in &METRICS {
            tables.push(metric.table(device, rows, other_rows, obstacle));
        }
    }
    tables
}

/// Why speeds of two runs are not about the same thing.
fn obstacle(a: (&Method, &SeenDevice), b: (&Method, &SeenDevice)) -> Option<&'static str> {
    let ((method, device), (other_method, other)) = (a, b);
    let way = |method: &Method| {
        let Method { prompt_tokens, tokens, .. } = *method;
        (prompt_tokens, method.prompt_hash.clone(), tokens, method.compute_units.clone())
    };
    let kind = |seen: &SeenDevice| seen.description.device.model_identifier.clone();
    if device.description.simulated || other.description.simulated {
        Some("SIMULATED, so no measurement")
    } else if kind(device) != kind(other) {
        Some("not compared: another kind of device")
    } else if way(method) != way(other_method) {
        Some("not compared: measured in another way")
    } else {
        None
    }
}

struct Metric {
    title: &'static str,
    key: &'static str,
    unit: Unit,
    better: Better,
    median: fn(&Row<'_>) -> Option<Estimate>,
    value: fn(&Burst) -> f64,
}

const METRICS: [Metric; 2] = [
    Metric {
        title: "Decode",
        key: "decode",
        unit: Unit::TokensPerSecond,
        better: Better::Higher,
        median: |row| row.decode_tokens_per_s,
        value: |burst| burst.decode_tokens_per_s,
    },
    Metric {
        title: "Time to the first token",
        key: "ttft",
        unit: Unit::Millis,
        better: Better::Lower,
        median: |row| row.ttft_ms,
        value: |burst| burst.ttft_ms,
    },
];

impl Metric {
    fn table(
        &self,
        device: &SeenDevice,
        rows: &[Row<'_>],
        others: &[Row<'_>],
        obstacle: Option<&'static str>,
    ) -> Table {
        let row = |row: &Row<'_>| {
            let variant = row.subject.variant.as_str();
            let other = others.iter().find(|other| other.subject.variant == row.subject.variant);
            let is_wrong = |row: &Row<'_>| row.truth.is_some_and(|truth| !truth.holds);
            let change = other.and_then(|other| self.change(row, other));
            let (change, reading) = match (other, obstacle, change) {
                (None, _, _) => (Value::Empty, "only in A"),
                (_, Some(why), _) => (Value::Empty, why),
                (Some(other), None, _) if is_wrong(row) || is_wrong(other) => {
                    (Value::Empty, "not compared: the device computes another function")
                }
                (_, None, None) => (Value::Empty, "too little data"),
                (_, None, Some(change)) => {
                    let change = change.estimate();
                    (change.into(), reading(&change, 1.0, self.better))
                }
            };
            let median = |row: &Row<'_>| (self.median)(row);
            let values = [median(row), other.and_then(median)].map(Value::from);
            let [a, b] = values;
            vec![variant.into(), a, b, change, reading.into()]
        };
        Table {
            title: format!("{} on {}", self.title, device.device),
            columns: vec![
                Column::text("variant", "variant"),
                Column::estimate(&format!("a_{}", self.key), "A", self.unit),
                Column::estimate(&format!("b_{}", self.key), "B", self.unit),
                Column::estimate(&format!("{}_change", self.key), "change", Unit::Ratio),
                Column::text("reading", "reading"),
            ],
            rows: rows.iter().map(row).collect(),
            notes: Vec::new(),
        }
    }

    /// B's median over A's: visits resampled, then repetitions within each.
    fn change(&self, a: &Row<'_>, b: &Row<'_>) -> Option<Effect> {
        let visits = |row: &Row<'_>| {
            let mut visits: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
            for burst in &row.bursts {
                visits.entry(burst.visit).or_default().push((self.value)(burst));
            }
            visits.into_values().collect::<Vec<_>>()
        };
        let (a, b) = (visits(a), visits(b));
        ratio_of_medians(&b, &a, &Bootstrap::new(0, a.len().min(b.len()))).ok()
    }
}
