//! Calibrated variants next to the same recipe coded from its weights alone.

use std::collections::BTreeMap;

use super::{Summary, SummaryRow};
use crate::results::{Calibration, Cell, CodedLayer, Coding, Index, coding_ms};

/// A calibrated variant, or the data-free one of the same recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct CodedVariant {
    /// The variant's id in the records.
    pub cell_id: String,
    /// The recipe without calibration, by which variants are grouped.
    pub base: String,
    /// How codes were chosen; `None` for the data-free variant.
    pub coding: Option<Coding>,
    /// Wall time of coding, if it was recorded.
    pub coding_ms: Option<f64>,
}

/// A text that codes or ranges of int8 activations were chosen on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CalibratedOn {
    /// The text, and how ranges were chosen.
    pub calibration: Calibration,
    /// Whether codes were chosen on it.
    pub has_codes: bool,
}

/// What records call the steps of tuning.
const TUNING: [&str; 2] = ["blocks", "ft"];

/// The calibrated variants, by recipe in order of appearance: the data-free variant first, then by the
/// number of steps that are on, tuned ones last.
pub(super) fn variants(cells: &[&Cell], index: &Index) -> Vec<CodedVariant> {
    let codings = cells.iter().filter_map(|cell| {
        let coding = index.done(&cell.cell_id)?.coding.as_ref()?;
        Some((cell.cell_id.as_str(), coding))
    });
    let codings: BTreeMap<&str, &Coding> = codings.collect();
    let mut bases: Vec<&str> = Vec::new();
    for cell in cells {
        let base = codings.get(cell.cell_id.as_str()).map(|coding| coding.base.as_str());
        bases.extend(base.filter(|base| !bases.contains(base)));
    }
    let mut variants = Vec::new();
    for base in bases {
        let of_base = cells.iter().filter_map(|cell| {
            let coding = codings.get(cell.cell_id.as_str()).copied();
            let is_base = || cell.variant.replace("-free", "") == base;
            let is_here = coding.map_or_else(is_base, |coding| coding.base == base);
            is_here.then(|| CodedVariant {
                cell_id: cell.cell_id.clone(),
                base: base.to_owned(),
                coding: coding.cloned(),
                coding_ms: None,
            })
        });
        let first = variants.len();
        variants.extend(of_base);
        variants[first..].sort_by_key(|variant: &CodedVariant| {
            let steps = variant.coding.as_ref().map(|coding| &coding.steps);
            let is_tuned = |steps: &Vec<String>| steps.iter().any(|step| TUNING.contains(&&**step));
            steps.map(|steps| (is_tuned(steps), steps.len()))
        });
    }
    variants
}

/// The texts that `cells` were calibrated on, each once.
pub(super) fn calibrated_on(cells: &[&Cell], index: &Index) -> Vec<CalibratedOn> {
    let of = |cell: &&Cell| {
        let calibration = cell.calibration.clone()?;
        let is_coded = index.done(&cell.cell_id).is_some_and(|done| done.coding.is_some());
        let has_codes = is_coded || calibration.ranges().is_none();
        Some(CalibratedOn { calibration, has_codes })
    };
    let mut found: Vec<CalibratedOn> = cells.iter().filter_map(of).collect();
    found.sort();
    found.dedup();
    found
}

impl Summary {
    /// Adds how long coding took, which records do not hold.
    pub fn timed(mut self, layers: &[CodedLayer]) -> Summary {
        let sums = coding_ms(layers);
        for variant in &mut self.coded {
            variant.coding_ms = sums.get(variant.cell_id.as_str()).copied();
        }
        self
    }

    /// The calibrated variants with their rows.
    pub fn coded_rows(&self) -> impl Iterator<Item = (&CodedVariant, &SummaryRow)> {
        self.coded.iter().filter_map(|coded| {
            Some((coded, self.rows.iter().find(|row| row.cell_id == coded.cell_id)?))
        })
    }
}
