//! Tables of sizes and scores: every variant that either run has.

use super::reading;
use crate::compare::Metric;
use crate::compare::versus::{Reading, Uncompared, VariantChange, VariantChanges};
use crate::report::{Column, Table, Unit, Value};

/// A table of sizes and one for each metric.
pub(super) fn tables(all: &VariantChanges) -> Vec<Table> {
    let mut tables = vec![sizes(&all.variants)];
    tables.extend(METRICS.iter().filter_map(|metric| metric.table(&all.variants)));
    tables
}

/// Why changes are missing, and what a reader must know about those that are there.
pub(super) fn warnings(all: &VariantChanges) -> Vec<String> {
    let obstacle = all.obstacle.map(|what| format!("scores are not compared: the {what} differs"));
    let mut warnings: Vec<String> = obstacle.into_iter().collect();
    if all.obstacle.is_none() && all.is_other_model {
        let what = "the models differ: each KL divergence is from its own run's reference";
        warnings.push(what.to_owned());
    }
    let explained = |pair: &VariantChange| {
        let why = match pair.changes.as_ref().err()? {
            Uncompared::OnlyIn(_) | Uncompared::Obstacle => return None,
            Uncompared::Failed(side, cause) => format!("failed in {side}: {cause}"),
            Uncompared::Unpaired(why) => format!("is not compared: {why}"),
        };
        Some(format!("{} {why}", pair.variant))
    };
    warnings.extend(all.variants.iter().filter_map(explained));
    warnings
}

/// Why a change is missing, in a table.
fn missing(why: &Uncompared) -> String {
    match why {
        Uncompared::OnlyIn(side) => format!("only in {side}"),
        Uncompared::Failed(side, _) => format!("failed in {side}"),
        Uncompared::Obstacle | Uncompared::Unpaired(_) => "not compared".to_owned(),
    }
}

fn sizes(pairs: &[VariantChange]) -> Table {
    let row = |pair: &VariantChange| {
        let [a, b] = pair.rows.each_ref().map(|row| row.as_ref().and_then(|row| row.size_bytes));
        let ratio = a.zip(b).filter(|(a, _)| *a > 0).map(|(a, b)| b as f64 / a as f64);
        vec![pair.variant.as_str().into(), a.into(), b.into(), ratio.into()]
    };
    Table {
        title: "Size".into(),
        columns: vec![
            Column::text("variant", "variant"),
            Column::number("a_size", "A", Unit::Bytes),
            Column::number("b_size", "B", Unit::Bytes),
            Column::number("size_change", "change", Unit::Ratio),
        ],
        rows: pairs.iter().map(row).collect(),
        notes: Vec::new(),
    }
}

/// How the table of a metric is named.
struct MetricTable {
    metric: Metric,
    title: &'static str,
    key: &'static str,
    is_of_reference: bool,
}

const METRICS: [MetricTable; 3] = [
    MetricTable {
        metric: Metric::Perplexity,
        title: "Perplexity",
        key: "perplexity",
        is_of_reference: true,
    },
    MetricTable {
        metric: Metric::Kl,
        title: "Mean KL divergence from the reference",
        key: "kl_mean",
        is_of_reference: false,
    },
    MetricTable {
        metric: Metric::Top1,
        title: "Top-1 agreement with the reference",
        key: "top1_agreement",
        is_of_reference: false,
    },
];

impl MetricTable {
    fn table(&self, pairs: &[VariantChange]) -> Option<Table> {
        let row = |pair: &VariantChange| {
            let [a, b] = pair.values(self.metric).map(Value::from);
            let change = pair.changes.as_ref().map(|paired| self.metric.effect(paired));
            let (change, reading) = match change {
                Ok(effect) => {
                    let change = effect?.estimate();
                    (change.into(), reading(Reading::of(self.metric, &change)).to_owned())
                }
                Err(why) => (Value::Empty, missing(why)),
            };
            Some(vec![pair.variant.as_str().into(), a, b, change, reading.into()])
        };
        let is_shown = |pair: &&VariantChange| self.is_of_reference || !pair.is_reference;
        let rows: Vec<Vec<Value>> = pairs.iter().filter(is_shown).filter_map(row).collect();
        let (key, unit) = (self.key, self.metric.unit());
        let columns = vec![
            Column::text("variant", "variant"),
            Column::estimate(&format!("a_{key}"), "A", unit),
            Column::estimate(&format!("b_{key}"), "B", unit),
            Column::estimate(&format!("{key}_change"), "change", self.metric.change_unit()),
            Column::text("reading", "reading"),
        ];
        let title = self.title.to_owned();
        (!rows.is_empty()).then(|| Table { title, columns, rows, notes: Vec::new() })
    }
}
