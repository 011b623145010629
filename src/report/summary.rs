//! The main table: one row per variant, from the records of one run.
//!
//! The reference comes first, then the variants in the order in which they were recorded. A
//! variant without a result is a row with its cause. A variant is compared only if it was scored
//! on the very windows that the reference was scored on.

use super::{Axis, Column, Document, Fact, Figure, Point, Table, Unit, Value};
use crate::error::{Error, Result};
use crate::results::{BLOCKS, Cell, Environment, Failure, Index, Record, Run, Window};
use crate::stats::{self, Bootstrap, Comparison, Estimate, Quality, Sample, Scores};
use crate::units::{BitsPerWeight, significant};

/// Below this many windows, intervals are themselves rough.
const FEW_WINDOWS: usize = 10;

/// One run, summarized.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// What was asked.
    pub run: Run,
    /// Where it was computed; several if a run was resumed elsewhere or sharded.
    pub environments: Vec<Environment>,
    /// The reference, then the variants in order of appearance.
    pub rows: Vec<Row>,
    /// How intervals were made.
    pub bootstrap: Bootstrap,
    /// Windows that the numbers rest on: fewer than asked for if the run was interrupted.
    pub windows: usize,
    /// Bytes of text per scored token, if anything was scored.
    pub bytes_per_token: Option<f64>,
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
        let mut rows: Vec<Row> =
            reference.into_iter().chain(variants).map(|cell| against.row(cell)).collect();
        rows.extend(failures_without_cell(index));
        let tokens: usize = scored.iter().map(|w| w.scored_tokens).sum();
        let bytes: u64 = scored.iter().map(|w| w.scored_bytes).sum();
        let environments = index.records().iter().filter_map(|record| match record {
            Record::Environment(environment) => Some(environment.clone()),
            _ => None,
        });
        Ok(Summary {
            run: run.clone(),
            environments: environments.collect(),
            rows,
            bootstrap,
            windows,
            bytes_per_token: (tokens > 0).then(|| bytes as f64 / tokens as f64),
        })
    }

    /// Lowest perplexity per token that any model can reach on this text, where it is known.
    pub fn perplexity_floor(&self) -> Option<f64> {
        Some((self.run.entropy_floor_nats_per_byte? * self.bytes_per_token?).exp())
    }

    /// Everything to show, in any format.
    pub fn document(&self) -> Document {
        Document {
            title: format!("How well variants of {} keep its predictions", self.run.model),
            facts: self.facts(),
            warnings: self.warnings(),
            tables: vec![self.table()],
            figures: self.figures(),
            notes: self.notes(),
        }
    }

    fn facts(&self) -> Vec<Fact> {
        let run = &self.run;
        let mut facts = vec![
            Fact::new("model", "model", run.model.as_str()),
            Fact::new("architecture", "architecture", run.architecture.as_str()).detail(),
            Fact::new("parameters", "parameters", run.parameters),
            Fact::new("layers", "layers", run.layers).detail(),
            Fact::new("vocabulary", "vocabulary", run.vocabulary).detail(),
            Fact::new("model_hash", "model hash", Value::Hash(run.model_hash.clone())).detail(),
            Fact::new("tokenizer_hash", "tokenizer hash", Value::Hash(run.tokenizer_hash.clone()))
                .detail(),
            Fact::new("protocol", "protocol", run.protocol.as_str()),
            Fact::new("window_tokens", "tokens per window", run.window_tokens).detail(),
            Fact::new("stride_tokens", "stride in tokens", run.stride_tokens).detail(),
            Fact::new("bos", "begin-of-text token", run.bos.as_str()),
            Fact::new("windows", "windows", self.windows),
            Fact::new("scored_tokens", "scored tokens", run.scored_tokens),
            Fact::new("text", "text", run.text_name.as_str()),
            Fact::new("text", "text size", run.text_bytes).in_unit(Unit::Bytes).detail(),
            Fact::new("text_hash", "text hash", Value::Hash(run.text_hash.clone())),
            Fact::new("seed", "seed", run.seed).detail(),
            Fact::new("evalkit_version", "evalkit", run.evalkit_version.as_str()),
            Fact::new("numeric_version", "numeric version", u64::from(run.numeric_version))
                .detail(),
        ];
        if let Some(environment) = self.environments.first() {
            let machine = format!("{}, {}", environment.cpu_model, environment.os);
            facts.push(Fact::new("machine", "machine", machine).detail());
            facts.push(
                Fact::new("device", "reference runs on", environment.device.as_str()).detail(),
            );
            let hash = Value::Hash(environment.binary_hash.clone());
            facts.push(Fact::new("binary_hash", "program hash", hash).detail());
        }
        facts
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.run.warnings.clone();
        let (windows, asked) = (self.windows, self.run.windows);
        if windows < asked {
            warnings.push(format!(
                "only {windows} of {asked} windows are scored; resume the run for the rest"
            ));
        }
        if self.environments.len() > 1 {
            warnings.push(format!("computed on {} machines or programs", self.environments.len()));
        }
        if windows < FEW_WINDOWS {
            warnings.push(format!(
                "intervals from {windows} windows are rough; score more windows to trust them"
            ));
        }
        warnings
    }

    fn notes(&self) -> Vec<String> {
        let Bootstrap { level, resamples, block_length, seed } = self.bootstrap;
        let mut notes = vec![format!(
            "± and [ ] are {} % intervals: {resamples} resamples of {} windows in blocks of \
             {block_length}, seed {seed}; vs. ref. is paired by window. KL is from the \
             reference, per token, over the full vocabulary.",
            significant(level * 100.0, 2),
            self.windows
        )];
        let floor = self.run.entropy_floor_nats_per_byte.zip(self.perplexity_floor());
        if let Some((nats_per_byte, perplexity)) = floor {
            notes.push(format!(
                "No model can score below perplexity {} on this text: its source has {} nats \
                 per byte.",
                significant(perplexity, 4),
                significant(nats_per_byte, 4)
            ));
        }
        notes
    }

    fn table(&self) -> Table {
        let run = &self.run;
        let columns = vec![
            Column::text("variant", "variant"),
            Column::number("blocks", "blocks", Unit::BitsPerWeight).rank(1),
            Column::number("file", "file", Unit::BitsPerWeight),
            Column::number("size", "size", Unit::Bytes),
            Column::estimate("perplexity", "perplexity", Unit::None),
            Column::estimate("perplexity", "vs. ref.", Unit::Ratio),
            Column::estimate("kl_mean", "KL mean", Unit::Nats),
            Column::number("kl_median", "KL median", Unit::Nats).rank(4),
            Column::number("kl_p99", "KL p99", Unit::Nats).rank(2),
            Column::estimate("top1_agreement", "top-1", Unit::Share),
            Column::estimate("nll", "text", Unit::BitsPerByte).rank(3),
        ];
        let title = format!(
            "{}, {} (protocol {}, {} windows of {} tokens)",
            run.model, run.text_name, run.protocol, self.windows, run.window_tokens
        );
        let rows = self.rows.iter().map(Row::values).collect();
        Table { title, columns, rows, notes: Vec::new() }
    }

    fn figures(&self) -> Vec<Figure> {
        let found = |value: fn(&Outcome) -> Estimate| -> Vec<Point> {
            let points = self.rows.iter().filter_map(|row| {
                let y = value(row.outcome.as_ref().ok()?);
                let label = row.variant.clone();
                Some(Point { label, x: row.size_bytes? as f64, y })
            });
            points.collect()
        };
        let axis = |name: &str, unit| Axis { name: name.to_owned(), unit };
        let kl = found(|outcome| outcome.quality.kl_mean_nats);
        let rungs = self.rows.iter().filter_map(|row| {
            let remark = match (&row.outcome, row.file_bits_per_weight) {
                (Err(_), _) => "failed".to_owned(),
                (Ok(_), bits) => format!("{} bits/weight", BitsPerWeight(bits?)),
            };
            Some((row.variant.clone(), row.size_bytes? as f64, remark))
        });
        vec![
            Figure::Bars {
                title: "The ladder of sizes".to_owned(),
                unit: Unit::Bytes,
                bars: rungs.collect(),
            },
            Figure::Scatter {
                title: "Divergence from the reference against size".to_owned(),
                x: axis("size", Unit::Bytes),
                y: axis("KL mean", Unit::Nats),
                points: kl,
            },
            Figure::Scatter {
                title: "Perplexity against size".to_owned(),
                x: axis("size", Unit::Bytes),
                y: axis("perplexity", Unit::None),
                points: found(|outcome| outcome.quality.perplexity),
            },
        ]
    }
}

impl Row {
    /// The row's values, in the order of the table's columns.
    fn values(&self) -> Vec<Value> {
        let mut values = vec![
            self.variant.as_str().into(),
            self.blocks_bits_per_weight.into(),
            self.file_bits_per_weight.into(),
            self.size_bytes.into(),
        ];
        let Outcome { quality, comparison, kl_quantiles_nats } = match &self.outcome {
            Ok(outcome) => outcome,
            Err(cause) => {
                values.push(Value::Failed(cause.clone()));
                return values;
            }
        };
        // The reference agrees with itself; saying so would look like a result.
        let beside = |value: Value| if self.is_reference { Value::Empty } else { value };
        values.extend([
            quality.perplexity.into(),
            comparison.map(|comparison| comparison.perplexity_ratio).into(),
            beside(quality.kl_mean_nats.into()),
            kl_quantiles_nats.map(|(median, _)| median).into(),
            kl_quantiles_nats.map(|(_, p99)| p99).into(),
            beside(quality.top1_agreement.into()),
            quality.bits_per_byte.into(),
        ]);
        values
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
        let of = |name: Option<&str>| {
            let parts = cell.parts.iter().filter(|p| name.is_none_or(|name| p.part == name));
            parts.fold((0, 0), |(bytes, weights), p| (bytes + p.size_bytes, weights + p.weights))
        };
        let bits = |(bytes, weights)| {
            Some(BitsPerWeight::of(bytes, weights).0).filter(|_: &f64| weights > 0)
        };
        Row {
            cell_id: cell.cell_id.clone(),
            variant: cell.variant.clone(),
            is_reference: cell.is_reference,
            blocks_bits_per_weight: bits(of(Some(BLOCKS))),
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

fn scores(windows: &[&Window]) -> Vec<Scores> {
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
    for record in index.records() {
        let Record::Failure(failure) = record else { continue };
        let is_known = index.cell(&failure.cell_id).is_some()
            || rows.iter().any(|row| row.cell_id == failure.cell_id);
        if is_known {
            continue;
        }
        rows.push(Row {
            cell_id: failure.cell_id.clone(),
            variant: failure.variant.clone(),
            is_reference: false,
            blocks_bits_per_weight: None,
            file_bits_per_weight: None,
            size_bytes: None,
            outcome: Err(explained(failure)),
        });
    }
    rows
}
