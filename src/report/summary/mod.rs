//! The main table: one row per variant, from the records of one run.
//!
//! The reference comes first, then the variants in the order in which they were recorded. A
//! variant without a result is a row with its cause. A variant is compared only if it was scored
//! on the very windows that the reference was scored on.

mod details;
mod document;
mod figures;
mod methods;
mod packages;

pub use details::{Router, Storage};
pub use methods::Method;
pub use packages::PackagedVariant;

use rayon::prelude::*;

use super::Series;
use crate::error::{Error, Result};
use crate::results::{BLOCK_PARTS, Cell, Environment, Failure, Index, Record, Run, Window};
use crate::stats::{self, Bootstrap, Comparison, Quality, Sample, Scores};
use crate::units::BitsPerWeight;

/// One run, summarized.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What was asked.
    pub run: Run,
    /// Where it was computed; several if a run was resumed elsewhere or sharded.
    pub environments: Vec<Environment>,
    /// The reference, then the variants in order of appearance.
    pub rows: Vec<Row>,
    /// Storage by part, a variant each.
    pub storage: Vec<Storage>,
    /// Where tokens go, for each variant with a result; empty for models without experts.
    pub routers: Vec<Router>,
    /// Packages that were written.
    pub packages: Vec<PackagedVariant>,
    /// Ways in which recipes were coded; empty where none is calibrated.
    pub methods: Vec<Method>,
    /// What codes and ranges of int8 activations were chosen on, a sentence each.
    pub calibrations: Vec<String>,
    /// How intervals were made.
    pub bootstrap: Bootstrap,
    /// Windows that the numbers rest on: fewer than asked for if the run was interrupted.
    pub windows: usize,
    /// Bytes of text per scored token, if anything was scored.
    pub bytes_per_token: Option<f64>,
    /// Mean KL divergence by window, for each variant with a result.
    pub kl_by_window: Vec<Series>,
}

/// One variant, summarized.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The variant's id in the records.
    pub cell_id: String,
    /// The variant's name.
    pub variant: String,
    /// Whether this is the uncompressed model.
    pub is_reference: bool,
    /// Stored bits per weight of the decoder blocks, tables and scales included.
    pub blocks_bits_per_weight: Option<f64>,
    /// Stored bits per weight of the whole file.
    pub file_bits_per_weight: Option<f64>,
    /// Size of the whole file.
    pub size_bytes: Option<u64>,
    /// The results, or why there are none.
    pub outcome: Result<Outcome, String>,
}

/// What was found for a variant.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Perplexity, mean KL, top-1 agreement, bits per byte.
    pub quality: Quality,
    /// Against the reference; none for itself, or if it has no result.
    pub comparison: Option<Comparison>,
    /// Median and 99th percentile of the KL divergence over tokens.
    pub kl_quantiles_nats: Option<(f64, f64)>,
}

impl Summary {
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
        let mut rows: Vec<Row> = cells.par_iter().map(|cell| against.row(cell)).collect();
        let routers = cells.iter().filter_map(|cell| against.router(cell)).collect();
        let storage = cells
            .iter()
            .map(|cell| Storage { variant: cell.label(), parts: cell.parts.clone() })
            .collect();
        rows.extend(failures_without_cell(index));
        let tokens: usize = scored.iter().map(|w| w.scored_tokens).sum();
        let bytes: u64 = scored.iter().map(|w| w.scored_bytes).sum();
        let kl_by_window = rows.iter().filter(|row| row.outcome.is_ok() && !row.is_reference);
        let kl_by_window = kl_by_window
            .map(|row| figures::by_window(row.variant.clone(), &index.windows_of(&row.cell_id)))
            .collect();
        Ok(Summary {
            kl_by_window,
            run: run.clone(),
            environments: index.environments().cloned().collect(),
            rows,
            storage,
            routers,
            packages: packages::of(&cells, index),
            calibrations: methods::calibrations(&cells, index),
            methods: methods::of(&cells, index),
            bootstrap,
            windows,
            bytes_per_token: (tokens > 0).then(|| bytes as f64 / tokens as f64),
        })
    }

    /// Lowest perplexity per token that any model can reach on this text, where it is known.
    pub fn perplexity_floor(&self) -> Option<f64> {
        Some((self.run.entropy_floor_nats_per_byte? * self.bytes_per_token?).exp())
    }
}

/// What every variant is held against.
struct Against<'a> {
    index: &'a Index,
    run: &'a Run,
    /// Empty if the reference has no result.
    reference: &'a [&'a Window],
    bootstrap: &'a Bootstrap,
}

impl Against<'_> {
    fn row(&self, cell: &Cell) -> Row {
        let of = |names: Option<&[&str]>| {
            let is_meant = |part: &str| names.is_none_or(|names| names.contains(&part));
            let parts = cell.parts.iter().filter(|p| is_meant(&p.part));
            parts.fold((0, 0), |(bytes, weights), p| (bytes + p.size_bytes, weights + p.weights))
        };
        let bits = |(bytes, weights)| {
            Some(BitsPerWeight::of(bytes, weights).0).filter(|_: &f64| weights > 0)
        };
        Row {
            cell_id: cell.cell_id.clone(),
            variant: cell.label(),
            is_reference: cell.is_reference,
            blocks_bits_per_weight: bits(of(Some(&BLOCK_PARTS))),
            file_bits_per_weight: bits(of(None)),
            size_bytes: (!cell.parts.is_empty()).then(|| of(None).0),
            outcome: self.outcome(cell),
        }
    }

    fn outcome(&self, cell: &Cell) -> Result<Outcome, String> {
        if let Some(failure) = self.index.failure_of(&cell.cell_id) {
            return Err(explained(failure));
        }
        let windows = self.index.windows_of(&cell.cell_id);
        let is_paired = windows.len() == self.reference.len()
            && windows.iter().zip(self.reference).all(|(w, r)| w.window == r.window);
        if !(is_paired || self.reference.is_empty() && windows.len() == self.run.windows) {
            let (found, asked) = (windows.len(), self.run.windows);
            return Err(format!("not finished: {found} of {asked} windows scored"));
        }
        let scores = scores(&windows);
        let quality = stats::quality(&scores, self.bootstrap).ok_or("no token was scored")?;
        if cell.is_reference {
            return Ok(Outcome { quality, comparison: None, kl_quantiles_nats: None });
        }
        let comparison = stats::compare(&scores, &self::scores(self.reference), self.bootstrap);
        Ok(Outcome { quality, comparison, kl_quantiles_nats: kl_quantiles_nats(&windows) })
    }
}

pub(super) fn scores(windows: &[&Window]) -> Vec<Scores> {
    let scores = windows.iter().map(|w| Scores {
        tokens: w.scored_tokens as f64,
        text_bytes: w.scored_bytes as f64,
        nll_nats: w.nll_nats,
        kl_nats: w.kl_nats,
        top1_agree: w.top1_agree as f64,
    });
    scores.collect()
}

fn kl_quantiles_nats(windows: &[&Window]) -> Option<(f64, f64)> {
    let tokens = windows.iter().flat_map(|w| &w.kl_tokens).map(|&kl| f64::from(kl)).collect();
    let sample = Sample::new(tokens).ok()?;
    Some((sample.median(), sample.quantile(0.99)))
}

fn explained(failure: &Failure) -> String {
    if failure.hint.is_empty() {
        return failure.cause.clone();
    }
    format!("{}; {}", failure.cause, failure.hint)
}

/// Variants that failed before they had a size.
fn failures_without_cell(index: &Index) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for failure in index.failures() {
        let is_known = index.cell(&failure.cell_id).is_some()
            || rows.iter().any(|row| row.cell_id == failure.cell_id);
        if is_known {
            continue;
        }
        rows.push(Row {
            cell_id: failure.cell_id.clone(),
            variant: crate::results::label(&failure.variant, &[]),
            is_reference: false,
            blocks_bits_per_weight: None,
            file_bits_per_weight: None,
            size_bytes: None,
            outcome: Err(explained(failure)),
        });
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::fixture::records;
    use super::*;
    use crate::results::Done;

    fn summary(records: &[Record]) -> Summary {
        Summary::from_records(records, 1).unwrap()
    }

    fn row<'a>(summary: &'a Summary, variant: &str) -> &'a Row {
        summary.rows.iter().find(|row| row.variant == variant).unwrap()
    }

    fn without(unwanted: impl Fn(&Record) -> bool) -> Vec<Record> {
        records().into_iter().filter(|record| !unwanted(record)).collect()
    }

    #[test]
    fn the_reference_comes_first_then_variants_as_recorded() {
        let mut records = records();
        let at = |records: &[Record], id| records.iter().position(|r| r.cell_id() == Some(id));
        let (a, c) = (at(&records, "a0").unwrap(), at(&records, "c0").unwrap());
        records.swap(a, c);
        let order: Vec<String> = summary(&records).rows.into_iter().map(|r| r.variant).collect();
        assert_eq!(order, ["fp", "palette2-g16", "palette4", "palette1-c"]);
    }

    #[test]
    fn a_variants_numbers_do_not_depend_on_the_other_variants() {
        let (all, alone) = (records(), without(|r| matches!(r.cell_id(), Some("b0" | "d0"))));
        let (all, alone) = (summary(&all), summary(&alone));
        assert_eq!(row(&all, "palette2-g16"), row(&alone, "palette2-g16"));
    }

    #[test]
    fn records_in_another_order_give_the_same_numbers() {
        let mut reversed = records();
        reversed.reverse();
        let (forward, backward) = (summary(&records()), summary(&reversed));
        for variant in ["fp", "palette4", "palette2-g16"] {
            assert_eq!(row(&forward, variant), row(&backward, variant));
        }
    }

    #[test]
    fn an_interrupted_variant_is_a_row_that_says_so() {
        let cut = |r: &Record| matches!(r, Record::Window(w) if w.cell_id == "c0" && w.window > 4);
        let summary = summary(&without(cut));
        let outcome = &row(&summary, "palette2-g16").outcome;
        assert_eq!(outcome, &Err("not finished: 5 of 12 windows scored".to_owned()));
        assert!(row(&summary, "palette4").outcome.is_ok());
    }

    #[test]
    fn a_run_interrupted_at_one_window_for_all_is_reported_on_what_there_is() {
        let cut = |r: &Record| match r {
            Record::Window(w) => w.window > 4,
            other => matches!(other, Record::Done(_)),
        };
        let summary = summary(&without(cut));
        assert_eq!(summary.windows, 5);
        assert!(row(&summary, "palette2-g16").outcome.is_ok());
        let warnings = summary.document().warnings.join("\n");
        assert!(warnings.contains("only 5 of 12 windows are scored"), "{warnings}");
    }

    #[test]
    fn without_a_reference_variants_have_perplexity_but_nothing_to_compare_with() {
        let summary = summary(&without(|r| r.cell_id() == Some("a0")));
        let outcome = row(&summary, "palette4").outcome.as_ref().unwrap();
        assert_eq!(outcome.comparison, None);
        assert!(outcome.quality.perplexity.interval.is_some());
    }

    #[test]
    fn a_variant_that_failed_and_then_succeeded_is_a_success() {
        let mut records = records();
        let again: Vec<Record> = records
            .iter()
            .filter_map(|record| match record {
                Record::Window(w) if w.cell_id == "c0" => {
                    Some(Record::Window(Window { cell_id: "d0".into(), ..w.clone() }))
                }
                _ => None,
            })
            .collect();
        records.extend(again);
        records.push(Record::Done(Done { cell_id: "d0".into(), ..Done::default() }));
        assert!(row(&summary(&records), "palette1-c").outcome.is_ok());
    }

    #[test]
    fn a_failure_without_a_size_is_still_a_row() {
        let no_cell = |r: &Record| matches!(r, Record::Cell(cell) if cell.cell_id == "d0");
        let summary = summary(&without(no_cell));
        let row = row(&summary, "palette1-c");
        assert_eq!(row.size_bytes, None);
        assert!(row.outcome.as_ref().unwrap_err().starts_with("logits are not finite"));
    }

    #[test]
    fn one_window_gives_numbers_without_intervals() {
        let summary = summary(&without(|r| matches!(r, Record::Window(w) if w.window > 0)));
        let outcome = row(&summary, "palette4").outcome.as_ref().unwrap();
        assert_eq!(outcome.quality.perplexity.interval, None);
        assert!(outcome.quality.perplexity.point.is_finite());
    }

    #[test]
    fn records_without_a_run_are_refused() {
        let error = Summary::from_records(&[], 1).unwrap_err();
        assert_eq!(error.exit().code(), 2);
    }
}
