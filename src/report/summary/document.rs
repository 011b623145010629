//! A summary as a document: facts, warnings, tables, figures and notes.

use super::methods::calibrations;
use crate::compare::summary::{Summary, SummaryRow, VariantScores};
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::stats::Bootstrap;
use crate::units::{counted, significant};

/// With fewer windows, intervals themselves are rough.
const FEW_WINDOWS: usize = 10;

impl Summary {
    /// Everything that a report shows, for any format.
    pub fn document(&self) -> Document {
        Document {
            title: format!("Quality and size of variants of {}", self.run.model),
            facts: self.facts(),
            warnings: self.warnings(),
            tables: self.tables(),
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
            Fact::new("scored_tokens", "scored tokens", self.scored_tokens),
            Fact::new("text", "text", run.text_name.as_str()),
            Fact::new("text", "text size", run.text_bytes).in_unit(Unit::Bytes).detail(),
            Fact::new("text_hash", "text hash", Value::Hash(run.text_hash.clone())),
            Fact::new("seed", "seed", run.seed).detail(),
            Fact::new("evalkit_version", "evalkit", run.evalkit_version.as_str()),
            Fact::new("numeric_version", "numeric version", u64::from(run.numeric_version))
                .detail(),
        ];
        if let Some(backend) = &run.backend {
            facts.push(Fact::new("backend", "backend", backend.as_str()));
        }
        if let Some(environment) = self.environments.first() {
            let machine = format!("{}, {}", environment.cpu_model, environment.os);
            facts.push(Fact::new("machine", "machine", machine).detail());
            facts.push(
                Fact::new("device", "reference runs on", environment.device.as_str()).detail(),
            );
            let hash = Value::Hash(environment.binary_hash.clone());
            facts.push(Fact::new("binary_hash", "program hash", hash).detail());
            let features = environment.cpu_features.join(" ");
            facts.push(Fact::new("cpu_features", "processor features", features).detail());
            let versions = environment.package_versions.iter();
            let versions: Vec<String> = versions.map(|(name, v)| format!("{name} {v}")).collect();
            if !versions.is_empty() {
                let versions = versions.join(", ");
                facts.push(Fact::new("package_versions", "arithmetic crates", versions).detail());
            }
        }
        facts
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.run.warnings.clone();
        let (windows, asked) = (self.windows, self.run.windows);
        if windows < asked {
            warnings.push(format!(
                "only {windows} of {} are scored; run the same command again for the rest",
                counted(asked, "window")
            ));
        }
        if self.environments.len() > 1 {
            warnings.push(format!("computed on {} machines or programs", self.environments.len()));
        }
        if windows < FEW_WINDOWS {
            warnings.push(format!(
                "intervals from {} are rough; score more windows for reliable ones",
                counted(windows, "window")
            ));
        }
        for of in &self.fp16_overflows {
            let (variant, what, windows) = (&of.variant, &of.what, of.windows);
            let on = if windows == 1 { "1 window".into() } else { format!("{windows} windows") };
            warnings.push(format!(
                "{variant} overflows fp16 on {on}: {what}. In f32, as it is scored here, it is fine; on a \
                 phone it is not."
            ));
        }
        warnings
    }

    fn notes(&self) -> Vec<String> {
        let Bootstrap { level, resamples, block_length, seed } = self.bootstrap;
        let mut notes = vec![format!(
            "± and [ ] are {} % intervals from {resamples} resamples of {} in blocks of \
             {block_length} (seed {seed}). vs. reference: change of perplexity, paired by window. KL: \
             divergence from the reference per token, over the full vocabulary.",
            significant(level * 100.0, 2),
            counted(self.windows, "window")
        )];
        notes.extend(calibrations(&self.calibrated_on));
        let floor = self.run.entropy_floor_nats_per_byte.zip(self.perplexity_floor());
        if let Some((nats_per_byte, perplexity)) = floor {
            notes.push(format!(
                "No model can have a perplexity below {} on this text, because the entropy of its source \
                 is {} nats per byte.",
                significant(perplexity, 4),
                significant(nats_per_byte, 4)
            ));
        }
        notes
    }

    fn tables(&self) -> Vec<Table> {
        let mut tables = vec![self.table()];
        tables.extend(self.method_tables());
        tables.extend(self.parts_table());
        tables.extend(self.packages_table());
        tables.extend(self.router_tables());
        tables
    }

    /// The main table: a row per variant.
    pub(in crate::report) fn table(&self) -> Table {
        let run = &self.run;
        let columns = vec![
            Column::text("variant", "variant"),
            Column::number("blocks", "blocks", Unit::BitsPerWeight).rank(2),
            Column::number("file", "file", Unit::BitsPerWeight).rank(1),
            Column::number("size", "size", Unit::Bytes),
            Column::estimate("perplexity", "perplexity", Unit::None),
            Column::estimate("perplexity", "vs. reference", Unit::Ratio),
            Column::estimate("kl_mean", "KL mean", Unit::Nats),
            Column::number("kl_median", "KL median", Unit::Nats).rank(4),
            Column::number("kl_p99", "KL p99", Unit::Nats).rank(3),
            Column::estimate("top1_agreement", "top-1 agreement", Unit::Share),
            Column::estimate("nll", "bits per byte", Unit::BitsPerByte),
        ];
        let title = format!(
            "{} on {} (protocol {}, {} of {} tokens)",
            run.model,
            run.text_name,
            run.protocol,
            counted(self.windows, "window"),
            run.window_tokens
        );
        let rows = self.rows.iter().map(values).collect();
        Table { title, columns, rows, notes: Vec::new() }
    }
}

/// A row's values, in the order of the table's columns.
fn values(row: &SummaryRow) -> Vec<Value> {
    let mut values = vec![
        row.variant.as_str().into(),
        row.blocks_bits_per_weight.into(),
        row.file_bits_per_weight.into(),
        row.size_bytes.into(),
    ];
    let VariantScores { quality, comparison, kl_quantiles } = match &row.outcome {
        Ok(scores) => scores,
        Err(cause) => {
            values.push(Value::Failed(cause.clone()));
            return values;
        }
    };
    // The reference agrees with itself; a number would look like a result.
    let compared = |value: Value| if row.is_reference { Value::Empty } else { value };
    values.extend([
        quality.perplexity.into(),
        comparison.map(|comparison| comparison.perplexity_ratio).into(),
        compared(quality.kl_mean_nats.into()),
        kl_quantiles.map(|quantiles| quantiles.median_nats).into(),
        kl_quantiles.map(|quantiles| quantiles.p99_nats).into(),
        compared(quality.top1_agreement.into()),
        quality.bits_per_byte.into(),
    ]);
    values
}
