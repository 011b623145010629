//! One run, estimated: a row per variant with its quality, sizes and intervals.
//!
//! The reference comes first, then the variants in the order in which they were recorded. A variant
//! without a result is a row with its cause. A variant is compared with the reference only if both
//! were scored on the same windows.

mod coded;
mod router;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use super::totals;
use super::windows::scores;
use crate::error::{Error, Result};
use crate::results::{
    BLOCK_PARTS, Cell, Environment, Failure, Index, KlQuantiles, Packaged, Record, Run, RunFolder,
    StoredPart, Window, nameless,
};
use crate::stats::{self, Bootstrap, Comparison, Quality};
use crate::units::BitsPerWeight;

pub use coded::{CalibratedOn, CodedVariant};
pub use router::Router;

/// One run, estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What was asked.
    pub run: Run,
    /// Where it was computed; several if a run was resumed elsewhere or sharded.
    pub environments: Vec<Environment>,
    /// The reference, then the variants in order of appearance.
    pub rows: Vec<SummaryRow>,
    /// Storage by part, for each variant.
    pub storage: Vec<Storage>,
    /// Where tokens go, for each variant with a result; empty for models without experts.
    pub routers: Vec<Router>,
    /// Packages that were written.
    pub packages: Vec<PackagedVariant>,
    /// The calibrated variants and their data-free counterparts; empty if none is calibrated.
    pub coded: Vec<CodedVariant>,
    /// The texts that codes and ranges of int8 activations were chosen on.
    pub calibrated_on: Vec<CalibratedOn>,
    /// The variants with activations that fp16 does not hold.
    pub fp16_overflows: Vec<OverflowingVariant>,
    /// How intervals were made.
    pub bootstrap: Bootstrap,
    /// Windows that the numbers rest on: fewer than asked for if the run was interrupted.
    pub windows: usize,
    /// Tokens scored in these windows.
    pub scored_tokens: usize,
    /// Bytes of text per scored token, if anything was scored.
    pub bytes_per_token: Option<f64>,
    /// Mean KL divergence by window, for each variant with a result.
    pub kl_by_window: Vec<KlByWindow>,
}

/// One variant, estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow {
    /// The variant's id in the records.
    pub cell_id: String,
    /// The variant's label.
    pub variant: String,
    /// Whether this is the uncompressed model.
    pub is_reference: bool,
    /// Stored bits per weight of the decoder blocks, tables and scales included.
    pub blocks_bits_per_weight: Option<f64>,
    /// Stored bits per weight of the whole file.
    pub file_bits_per_weight: Option<f64>,
    /// Size of the whole file.
    pub size_bytes: Option<u64>,
    /// The scores, or why there are none.
    pub outcome: Result<VariantScores, String>,
}

/// What was found for a variant.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantScores {
    /// Perplexity, mean KL, top-1 agreement, bits per byte.
    pub quality: Quality,
    /// Against the reference; `None` for the reference itself, or if the reference has no result.
    pub comparison: Option<Comparison>,
    /// Quantiles of the KL divergence over tokens; `None` for the reference.
    pub kl_quantiles: Option<KlQuantiles>,
}

/// Storage of one variant's parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// The variant's label.
    pub variant: String,
    /// Its parts.
    pub parts: Vec<StoredPart>,
}

/// Packages of one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct PackagedVariant {
    /// The variant's label.
    pub variant: String,
    /// Their size and whether they were verified.
    pub packaged: Packaged,
}

/// A variant with activations that fp16 does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct OverflowingVariant {
    /// The variant's label.
    pub variant: String,
    /// What overflows where, in the first window that has an overflow.
    pub what: String,
    /// Number of windows that have one.
    pub windows: usize,
}

/// Divergence of a variant along the text.
#[derive(Debug, Clone, PartialEq)]
pub struct KlByWindow {
    /// The variant's label.
    pub variant: String,
    /// In ascending order of windows.
    pub points: Vec<WindowKl>,
}

/// Divergence in one window, or in a few neighbours taken together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowKl {
    /// Index of the first of the windows.
    pub window: usize,
    /// Mean KL divergence from the reference per token.
    pub kl_mean_nats: f64,
}

/// Most points of a variant along the text; a longer run takes neighbouring windows together.
const MOST_POINTS: usize = 200;

impl Summary {
    /// Summarizes a run's folder, with intervals from the run's own seed.
    ///
    /// # Errors
    /// Input errors: the records do not say what was run.
    pub fn of(run: &RunFolder) -> Result<Summary> {
        let seed = run.index.run().map_or(0, |run| run.seed);
        Ok(Summary::from_index(&run.index, seed)?.timed(&run.coding_ms))
    }

    /// Summarizes the records of one run; `seed` is that of the intervals.
    ///
    /// # Errors
    /// There is no `Run` record, or the records contradict one another.
    pub fn from_records(records: &[Record], seed: u64) -> Result<Summary> {
        let mut index = Index::default();
        for record in records {
            index.insert(record.clone())?;
        }
        Summary::from_index(&index, seed)
    }

    /// Summarizes the records of one run, without copying them.
    ///
    /// # Errors
    /// There is no `Run` record.
    pub fn from_index(index: &Index, seed: u64) -> Result<Summary> {
        let run = index.run().ok_or_else(|| {
            Error::input("the records do not say what was run").hint("is this the run's folder?")
        })?;
        let reference = index.cells().find(|cell| cell.is_reference);
        let scored = reference.map(|cell| index.windows_of(&cell.cell_id)).unwrap_or_default();
        let windows = if scored.is_empty() { run.windows } else { scored.len() };
        let bootstrap = Bootstrap::new(seed, windows);
        let against = Against { index, run, reference: &scored, bootstrap: &bootstrap };
        let variants = index.cells().filter(|cell| !cell.is_reference);
        let cells: Vec<&Cell> = reference.into_iter().chain(variants).collect();
        let mut rows: Vec<SummaryRow> = cells.par_iter().map(|cell| against.row(cell)).collect();
        let routers = cells.iter().filter_map(|cell| against.router(cell)).collect();
        let storage = cells
            .iter()
            .map(|cell| Storage { variant: cell.label(), parts: cell.parts.clone() })
            .collect();
        rows.extend(failures_without_cell(index));
        rows.extend(
            index
                .without_cell()
                .into_iter()
                .filter_map(|id| Some(without_result(id, nameless(id), index.lost(id)?))),
        );
        let tokens: usize = scored.iter().map(|w| w.scored_tokens).sum();
        let bytes: u64 = scored.iter().map(|w| w.scored_bytes).sum();
        let scored_rows = rows.iter().filter(|row| row.outcome.is_ok() && !row.is_reference);
        let kl_by_window = scored_rows
            .map(|row| kl_by_window(row.variant.clone(), &index.windows_of(&row.cell_id)))
            .collect();
        Ok(Summary {
            kl_by_window,
            run: run.clone(),
            environments: index.environments().cloned().collect(),
            rows,
            storage,
            routers,
            packages: packages(&cells, index),
            fp16_overflows: cells.iter().filter_map(|cell| overflowing(cell, index)).collect(),
            calibrated_on: coded::calibrated_on(&cells, index),
            coded: coded::variants(&cells, index),
            bootstrap,
            windows,
            scored_tokens: if scored.is_empty() { run.scored_tokens } else { tokens },
            bytes_per_token: (tokens > 0).then(|| bytes as f64 / tokens as f64),
        })
    }

    /// Lowest perplexity per token that any model can reach on this text; `None` if it is not known.
    pub fn perplexity_floor(&self) -> Option<f64> {
        let floor = (self.run.entropy_floor_nats_per_byte? * self.bytes_per_token?).exp();
        floor.is_finite().then_some(floor)
    }
}

/// What every variant is compared with.
struct Against<'a> {
    index: &'a Index,
    run: &'a Run,
    /// Empty if the reference has no result.
    reference: &'a [&'a Window],
    bootstrap: &'a Bootstrap,
}

impl Against<'_> {
    fn row(&self, cell: &Cell) -> SummaryRow {
        let of = |names: Option<&[&str]>| {
            let is_meant = |part: &str| names.is_none_or(|names| names.contains(&part));
            let parts = cell.parts.iter().filter(|p| is_meant(&p.part));
            parts.fold((0, 0), |(bytes, weights), p| (bytes + p.size_bytes, weights + p.weights))
        };
        let bits = |(bytes, weights)| {
            Some(BitsPerWeight::of(bytes, weights).0).filter(|_: &f64| weights > 0)
        };
        SummaryRow {
            cell_id: cell.cell_id.clone(),
            variant: cell.label(),
            is_reference: cell.is_reference,
            blocks_bits_per_weight: bits(of(Some(&BLOCK_PARTS))),
            file_bits_per_weight: bits(of(None)),
            size_bytes: (!cell.parts.is_empty()).then(|| of(None).0),
            outcome: self.outcome(cell),
        }
    }

    fn outcome(&self, cell: &Cell) -> Result<VariantScores, String> {
        if let Some(failure) = self.index.failure_of(&cell.cell_id) {
            return Err(explained(failure));
        }
        if let Some(lost) = self.index.lost(&cell.cell_id) {
            return Err(lost);
        }
        if let Some(lost) = self
            .index
            .cells()
            .find(|cell| cell.is_reference)
            .and_then(|cell| self.index.lost(&cell.cell_id))
        {
            return Err(format!("cannot be compared with the reference: {lost}"));
        }
        let windows = self.index.windows_of(&cell.cell_id);
        let is_paired = windows.len() == self.reference.len()
            && windows.iter().zip(self.reference).all(|(w, r)| w.window == r.window);
        let is_begun = !windows.is_empty() || self.run.windows == 0;
        if !(is_begun && is_paired
            || self.reference.is_empty() && windows.len() == self.run.windows)
        {
            let (found, asked) = (windows.len(), self.run.windows);
            return Err(format!("not finished: {found} of {asked} windows scored"));
        }
        let scores = scores(&windows);
        let quality = stats::quality(&scores, self.bootstrap);
        let is_empty = scores.iter().all(|window| window.tokens == 0.0);
        let quality = quality.ok_or(if is_empty {
            "no token was scored"
        } else {
            "cannot be told: the likelihoods are too small for a perplexity"
        })?;
        if cell.is_reference {
            return Ok(VariantScores { quality, comparison: None, kl_quantiles: None });
        }
        let comparison = stats::compare(&scores, &self::scores(self.reference), self.bootstrap);
        Ok(VariantScores {
            quality,
            comparison,
            kl_quantiles: totals::kl_quantiles(self.index, &cell.cell_id),
        })
    }
}

fn explained(failure: &Failure) -> String {
    if failure.hint.is_empty() {
        return failure.cause.clone();
    }
    format!("{}; {}", failure.cause, failure.hint)
}

/// Variants that failed before they had a size.
fn failures_without_cell(index: &Index) -> Vec<SummaryRow> {
    let mut rows: Vec<SummaryRow> = Vec::new();
    for failure in index.failures() {
        let is_known = index.cell(&failure.cell_id).is_some()
            || rows.iter().any(|row| row.cell_id == failure.cell_id);
        if is_known {
            continue;
        }
        let variant = crate::results::label(&failure.variant, &[]);
        rows.push(without_result(&failure.cell_id, variant, explained(failure)));
    }
    rows
}

/// The row of a variant of which only this is known.
fn without_result(cell_id: &str, variant: String, why: String) -> SummaryRow {
    SummaryRow {
        cell_id: cell_id.to_owned(),
        variant,
        is_reference: false,
        blocks_bits_per_weight: None,
        file_bits_per_weight: None,
        size_bytes: None,
        outcome: Err(why),
    }
}

/// The packages of every variant.
fn packages(cells: &[&Cell], index: &Index) -> Vec<PackagedVariant> {
    let of = |cell: &&Cell| {
        let variant = crate::results::label(&cell.variant, &cell.parts);
        let named = move |packaged: &Packaged| PackagedVariant {
            variant: variant.clone(),
            packaged: packaged.clone(),
        };
        index.packaged(&cell.cell_id).into_iter().map(named).collect::<Vec<_>>()
    };
    cells.iter().flat_map(of).collect()
}

/// The variant's activations that fp16 does not hold, if it has any.
fn overflowing(cell: &Cell, index: &Index) -> Option<OverflowingVariant> {
    let windows = index.windows_of(&cell.cell_id);
    let overflows: Vec<_> = windows.iter().filter_map(|w| w.fp16_overflow.as_ref()).collect();
    let what = overflows.first()?.what.clone();
    Some(OverflowingVariant { variant: cell.label(), what, windows: overflows.len() })
}

/// Mean KL divergence by window, or by groups of neighbours if there are more than [`MOST_POINTS`].
fn kl_by_window(variant: String, windows: &[&Window]) -> KlByWindow {
    let together = windows.len().div_ceil(MOST_POINTS).max(1);
    let mean = |windows: &[&Window]| {
        let kl: f64 = windows.iter().map(|w| w.kl_nats).sum();
        let tokens: usize = windows.iter().map(|w| w.scored_tokens).sum();
        let kl_mean_nats = kl / tokens.max(1) as f64;
        Some(WindowKl { window: windows.first()?.window, kl_mean_nats })
    };
    KlByWindow { variant, points: windows.chunks(together).filter_map(mean).collect() }
}
