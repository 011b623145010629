//! Sizes and quality: every variant that both runs have, in pairs of windows.

use super::{Side, reading};
use crate::report::summary::{Row, scores};
use crate::report::{Column, Table, Unit, Value};
use crate::results::{Run, Window};
use crate::stats::{
    Better, Bootstrap, Effect, Estimate, NotPaired, Paired, Quality, Scores, paired,
};

/// A table for sizes and one for each metric; and why changes are missing, or not what they seem.
pub(super) fn tables(a: &Side<'_>, b: &Side<'_>) -> (Vec<Table>, Vec<String>) {
    let (Some(of_a), Some(of_b)) = (&a.summary, &b.summary) else { return Default::default() };
    let obstacle = obstacle(&of_a.run, &of_b.run);
    let mut warnings: Vec<String> =
        obstacle.iter().map(|why| format!("no quality is compared: {why}")).collect();
    if obstacle.is_none() && of_a.run.model_hash != of_b.run.model_hash {
        let what = "the models differ: each KL divergence is from its own run's reference";
        warnings.push(what.to_owned());
    }
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for row in &of_a.rows {
        let other = of_b.rows.iter().find(|other| other.variant == row.variant);
        pairs.push(Pair::of(a, b, Some(row), other, obstacle.is_some()));
    }
    let is_new = |row: &&Row| of_a.rows.iter().all(|other| other.variant != row.variant);
    pairs.extend(of_b.rows.iter().filter(is_new).map(|row| Pair::of(a, b, None, Some(row), false)));
    let mut tables = vec![sizes(&pairs)];
    tables.extend(METRICS.iter().filter_map(|metric| metric.table(&pairs)));
    let told = |pair: &Pair<'_>| {
        let why = pair.changes.as_ref().err()?.explained()?;
        Some(format!("{} {why}", pair.variant))
    };
    warnings.extend(pairs.iter().filter_map(told));
    (tables, warnings)
}

/// Why perplexities of two runs are not about the same thing.
fn obstacle(a: &Run, b: &Run) -> Option<String> {
    let same = [
        ("protocol", a.protocol == b.protocol),
        ("begin-of-text token", a.bos == b.bos),
        ("number of tokens per window", a.window_tokens == b.window_tokens),
        ("stride", a.stride_tokens == b.stride_tokens),
        ("text", a.text_hash == b.text_hash),
        ("tokenizer", a.tokenizer_hash == b.tokenizer_hash),
    ];
    let (what, _) = same.into_iter().find(|(_, is_same)| !is_same)?;
    Some(format!("the {what} is another"))
}

/// A variant in one run or both.
struct Pair<'a> {
    variant: &'a str,
    is_reference: bool,
    rows: [Option<&'a Row>; 2],
    changes: Result<Paired, Missing>,
}

/// Why there are no changes.
enum Missing {
    OnlyIn(&'static str),
    Failed(&'static str, String),
    /// Another text, protocol or tokenizer, which is said once for all.
    Obstacle,
    Unpaired(NotPaired),
}

impl Missing {
    /// In a table.
    fn word(&self) -> String {
        match self {
            Missing::OnlyIn(side) => format!("only in {side}"),
            Missing::Failed(side, _) => format!("failed in {side}"),
            Missing::Obstacle | Missing::Unpaired(_) => "not compared".to_owned(),
        }
    }

    /// In a sentence that begins with the variant.
    fn explained(&self) -> Option<String> {
        match self {
            Missing::OnlyIn(_) | Missing::Obstacle => None,
            Missing::Failed(side, cause) => Some(format!("failed in {side}: {cause}")),
            Missing::Unpaired(why) => Some(format!("is not compared: {why}")),
        }
    }
}

impl<'a> Pair<'a> {
    fn of(
        a: &Side<'_>,
        b: &Side<'_>,
        of_a: Option<&'a Row>,
        of_b: Option<&'a Row>,
        has_obstacle: bool,
    ) -> Pair<'a> {
        let changes = match (of_a, of_b) {
            (Some(row), Some(other)) => match (&row.outcome, &other.outcome, has_obstacle) {
                (Err(cause), _, _) => Err(Missing::Failed("A", cause.clone())),
                (_, Err(cause), _) => Err(Missing::Failed("B", cause.clone())),
                (_, _, true) => Err(Missing::Obstacle),
                _ => changes([(a, row), (b, other)]).map_err(Missing::Unpaired),
            },
            (Some(_), None) => Err(Missing::OnlyIn("A")),
            _ => Err(Missing::OnlyIn("B")),
        };
        let row = of_a.or(of_b);
        Pair {
            variant: row.map_or("", |row| row.variant.as_str()),
            is_reference: row.is_some_and(|row| row.is_reference),
            rows: [of_a, of_b],
            changes,
        }
    }
}

/// What changes on the windows that both scored.
fn changes(sides: [(&Side<'_>, &Row); 2]) -> Result<Paired, NotPaired> {
    let [of_a, of_b] = sides.map(|(side, row)| side.folder.index.windows_of(&row.cell_id));
    let both: Vec<(&Window, &Window)> = of_a
        .iter()
        .filter_map(|window| {
            let at = of_b.binary_search_by_key(&window.window, |other| other.window).ok()?;
            Some((*window, of_b[at]))
        })
        .collect();
    let (before, after): (Vec<&Window>, Vec<&Window>) = both.into_iter().unzip();
    let seed = sides[0].0.summary.as_ref().map_or(0, |summary| summary.run.seed);
    let bootstrap = Bootstrap::new(seed, before.len());
    let [before, after]: [Vec<Scores>; 2] = [scores(&before), scores(&after)];
    paired(&after, &before, None, &bootstrap)
}

fn sizes(pairs: &[Pair<'_>]) -> Table {
    let row = |pair: &Pair<'_>| {
        let [a, b] = pair.rows.map(|row| row.and_then(|row| row.size_bytes));
        let ratio = a.zip(b).filter(|(a, _)| *a > 0).map(|(a, b)| b as f64 / a as f64);
        vec![pair.variant.into(), a.into(), b.into(), ratio.into()]
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

/// A number of each variant, and how its change is told.
struct Metric {
    title: &'static str,
    key: &'static str,
    unit: Unit,
    change_unit: Unit,
    /// The value of a change that is none.
    none: f64,
    better: Better,
    is_of_reference: bool,
    value: fn(&Quality) -> Estimate,
    change: fn(&Paired) -> Effect,
}

const METRICS: [Metric; 3] = [
    Metric {
        title: "Perplexity",
        key: "perplexity",
        unit: Unit::None,
        change_unit: Unit::Ratio,
        none: 1.0,
        better: Better::Lower,
        is_of_reference: true,
        value: |quality| quality.perplexity,
        change: |paired| paired.perplexity,
    },
    Metric {
        title: "Mean KL divergence from the reference",
        key: "kl_mean",
        unit: Unit::Nats,
        change_unit: Unit::Nats,
        none: 0.0,
        better: Better::Lower,
        is_of_reference: false,
        value: |quality| quality.kl_mean_nats,
        change: |paired| paired.kl_mean_nats,
    },
    Metric {
        title: "Top-1 agreement with the reference",
        key: "top1_agreement",
        unit: Unit::Share,
        change_unit: Unit::Share,
        none: 0.0,
        better: Better::Higher,
        is_of_reference: false,
        value: |quality| quality.top1_agreement,
        change: |paired| paired.top1_agreement,
    },
];

impl Metric {
    fn table(&self, pairs: &[Pair<'_>]) -> Option<Table> {
        let of = |row: Option<&Row>| {
            let quality = row?.outcome.as_ref().ok()?.quality;
            Some((self.value)(&quality))
        };
        let row = |pair: &Pair<'_>| {
            let [a, b] = pair.rows.map(|row| Value::from(of(row)));
            let (change, reading) = match &pair.changes {
                Ok(paired) => {
                    let change = (self.change)(paired).estimate();
                    (change.into(), reading(&change, self.none, self.better).to_owned())
                }
                Err(why) => (Value::Empty, why.word()),
            };
            vec![pair.variant.into(), a, b, change, reading.into()]
        };
        let is_shown = |pair: &&Pair<'_>| self.is_of_reference || !pair.is_reference;
        let rows: Vec<Vec<Value>> = pairs.iter().filter(is_shown).map(row).collect();
        let columns = vec![
            Column::text("variant", "variant"),
            Column::estimate(&format!("a_{}", self.key), "A", self.unit),
            Column::estimate(&format!("b_{}", self.key), "B", self.unit),
            Column::estimate(&format!("{}_change", self.key), "change", self.change_unit),
            Column::text("reading", "reading"),
        ];
        let title = self.title.to_owned();
        (!rows.is_empty()).then(|| Table { title, columns, rows, notes: Vec::new() })
    }
}
