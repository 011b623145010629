//! Sizes and scores of every variant that either run has, compared in pairs of windows.

use super::Side;
use crate::compare::differences::obstacle;
use crate::compare::metric::Metric;
use crate::compare::summary::SummaryRow;
use crate::compare::windows::{in_both, scores};
use crate::stats::{Bootstrap, Estimate, NotPaired, Paired, paired};

/// The variants of two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantChanges {
    /// The setting that keeps all scores from being compared: another text, protocol or tokenizer.
    pub obstacle: Option<&'static str>,
    /// Whether the runs are of different models, so that each has a reference of its own.
    pub is_other_model: bool,
    /// The first run's variants, then those that only the second run has.
    pub variants: Vec<VariantChange>,
}

/// A variant of one run or both.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantChange {
    /// Its label.
    pub variant: String,
    /// Whether it is the uncompressed model.
    pub is_reference: bool,
    /// Its row in either run.
    pub rows: [Option<SummaryRow>; 2],
    /// What changes on the windows that both runs scored, or why nothing is compared.
    pub changes: Result<Paired, Uncompared>,
}

/// Why the scores of a variant are not compared; runs are named A and B.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncompared {
    /// Only this run has the variant.
    OnlyIn(&'static str),
    /// It failed in this run, for this reason.
    Failed(&'static str, String),
    /// The runs differ in a setting; see [`VariantChanges::obstacle`].
    Obstacle,
    /// The windows are not the same ones.
    Unpaired(NotPaired),
}

impl VariantChange {
    /// A metric's value in either run.
    pub fn values(&self, metric: Metric) -> [Option<Estimate>; 2] {
        self.rows.each_ref().map(|row| {
            let quality = row.as_ref()?.outcome.as_ref().ok()?.quality;
            match metric {
                Metric::Perplexity => Some(quality.perplexity),
                Metric::Kl => Some(quality.kl_mean_nats),
                Metric::Top1 => Some(quality.top1_agreement),
                _ => None,
            }
        })
    }
}

/// Every variant of either run; `None` if one of the runs scored nothing.
pub(super) fn changes(a: &Side<'_>, b: &Side<'_>) -> Option<VariantChanges> {
    let (of_a, of_b) = (a.summary.as_ref()?, b.summary.as_ref()?);
    let obstacle = obstacle(&of_a.run, &of_b.run);
    let of_first = of_a.rows.iter().map(|row| {
        let other = of_b.rows.iter().find(|other| is_same(other, row));
        let changes = match other {
            Some(other) => {
                compared(Scored { side: a, row }, Scored { side: b, row: other }, obstacle)
            }
            None => Err(Uncompared::OnlyIn("A")),
        };
        of_rows(row, [Some(row), other], changes)
    });
    let is_new = |row: &&SummaryRow| !of_a.rows.iter().any(|other| is_same(other, row));
    let of_second = of_b.rows.iter().filter(is_new);
    let of_second =
        of_second.map(|row| of_rows(row, [None, Some(row)], Err(Uncompared::OnlyIn("B"))));
    Some(VariantChanges {
        obstacle,
        is_other_model: of_a.run.model_hash != of_b.run.model_hash,
        variants: of_first.chain(of_second).collect(),
    })
}

/// Whether both rows are of one variant; references are, however their checkpoints store weights.
fn is_same(one: &SummaryRow, other: &SummaryRow) -> bool {
    one.is_reference && other.is_reference || one.variant == other.variant
}

fn of_rows(
    row: &SummaryRow,
    rows: [Option<&SummaryRow>; 2],
    changes: Result<Paired, Uncompared>,
) -> VariantChange {
    let (variant, is_reference) = (row.variant.clone(), row.is_reference);
    VariantChange { variant, is_reference, rows: rows.map(|row| row.cloned()), changes }
}

/// A variant in one of the runs.
#[derive(Clone, Copy)]
struct Scored<'a> {
    side: &'a Side<'a>,
    row: &'a SummaryRow,
}

/// What changes on the windows that both scored.
fn compared(
    a: Scored<'_>,
    b: Scored<'_>,
    obstacle: Option<&'static str>,
) -> Result<Paired, Uncompared> {
    for (one, name) in [(a, "A"), (b, "B")] {
        if let Err(cause) = &one.row.outcome {
            return Err(Uncompared::Failed(name, cause.clone()));
        }
    }
    if obstacle.is_some() {
        return Err(Uncompared::Obstacle);
    }
    let [of_a, of_b] = [a, b].map(|one| one.side.folder.index.windows_of(&one.row.cell_id));
    let (before, after) = in_both(&of_a, &of_b);
    let seed = a.side.summary.as_ref().map_or(0, |summary| summary.run.seed);
    let bootstrap = Bootstrap::new(seed, before.len());
    paired(&scores(&after), &scores(&before), None, &bootstrap).map_err(Uncompared::Unpaired)
}
