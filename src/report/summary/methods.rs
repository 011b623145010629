//! What calibrated coding took and gained: variants of one recipe side by side, step by step, with the
//! limits that no code of Gaussian weights can pass.

use std::collections::BTreeMap;

use crate::compare::summary::{CalibratedOn, CodedVariant, Summary, SummaryRow};
use crate::report::{Bar, Column, Figure, Table, Unit, Value};
use crate::results::{Calibration, Coding, StepError, TunedLayer};
use crate::stats::{lloyd_max, rate_distortion};
use crate::units::counted;

/// The widest scalar table whose limit is computed; wider ones are never close to theirs.
const MOST_SCALAR_BITS: u8 = 6;

/// What codes and ranges were chosen on, a sentence each.
pub(super) fn calibrations(all: &[CalibratedOn]) -> Vec<String> {
    let mut sentences = Vec::new();
    for CalibratedOn { calibration, has_codes } in all {
        let Calibration { text_name, windows, windows_hash, moments_hash, .. } = calibration;
        if let Some(method) = calibration.ranges() {
            sentences.push(format!(
                "Ranges of int8 activations were chosen by {method} on {windows} windows of \
                 {text_name}."
            ));
        }
        if *has_codes {
            let by = moments_hash.as_ref().map_or(String::new(), |hash| {
                format!(", from saved second moments (hash {hash:.16})")
            });
            sentences.push(format!(
                "Codes were calibrated on {windows} windows of {text_name} (hash \
                 {windows_hash:.16}){by}."
            ));
        }
    }
    sentences.sort();
    sentences.dedup();
    sentences
}

/// Which steps were on, in a few words.
fn steps_in_words(coded: &CodedVariant) -> String {
    match &coded.coding {
        None => "data-free".to_owned(),
        Some(coding) if coding.steps.is_empty() => "cal".to_owned(),
        Some(coding) => format!("cal {}", coding.steps.join(" ")),
    }
}

impl Summary {
    /// The table of calibrated variants and that of their steps; none if nothing was calibrated.
    pub(super) fn method_tables(&self) -> Vec<Table> {
        if self.coded.is_empty() {
            return Vec::new();
        }
        let mut tables = vec![self.methods_table()];
        tables.extend(self.steps_table());
        tables
    }

    fn methods_table(&self) -> Table {
        let columns = vec![
            Column::text("variant", "variant"),
            Column::text("steps", "steps").rank(1),
            Column::number("blocks", "blocks", Unit::BitsPerWeight).rank(2),
            Column::number("coding", "coding time", Unit::Millis),
            Column::number("relative_error", "output error", Unit::None),
            Column::number("rate_distortion_outputs", "bound (outputs)", Unit::None).rank(4),
            Column::number("rate_distortion", "bound (weights)", Unit::None).rank(5),
            Column::number("lloyd_max", "Lloyd-Max", Unit::None).rank(3),
            Column::estimate("kl_mean", "KL mean", Unit::Nats),
            Column::estimate("perplexity", "perplexity", Unit::None),
            Column::estimate("top1_agreement", "top-1 agreement", Unit::Share),
        ];
        let mut scalar = BTreeMap::new();
        let mut row = |(coded, row): (&CodedVariant, &SummaryRow)| {
            let coding = coded.coding.as_ref();
            let bits = row.blocks_bits_per_weight;
            let flatness = coding.and_then(|coding| coding.flatness);
            let nominal = self.nominal_bits(&coded.base).filter(|bits| *bits <= MOST_SCALAR_BITS);
            let nominal =
                nominal.map(|bits| *scalar.entry(bits).or_insert_with(|| lloyd_max(1 << bits)));
            let mut values: Vec<Value> = vec![
                row.variant.as_str().into(),
                steps_in_words(coded).into(),
                bits.into(),
                coded.coding_ms.into(),
                coding.and_then(Coding::relative_error).into(),
                bits.zip(flatness).map(|(bits, of)| of * rate_distortion(bits)).into(),
                bits.map(rate_distortion).into(),
                nominal.into(),
            ];
            match &row.outcome {
                Err(cause) => values.push(Value::Failed(cause.clone())),
                Ok(outcome) => values.extend([
                    Value::from(outcome.quality.kl_mean_nats),
                    outcome.quality.perplexity.into(),
                    outcome.quality.top1_agreement.into(),
                ]),
            }
            values
        };
        let rows = self.coded_rows().map(&mut row).collect();
        Table { title: "Calibration".into(), columns, rows, notes: self.methods_notes() }
    }

    /// The scalar width of the blocks of a recipe, from any calibrated variant of it: the data-free one
    /// does not record its own.
    fn nominal_bits(&self, base: &str) -> Option<u8> {
        let of_base = self.coded.iter().filter(|coded| coded.base == base);
        of_base.filter_map(|coded| coded.coding.as_ref()?.nominal_bits).next()
    }

    fn methods_notes(&self) -> Vec<String> {
        let mut notes = vec![
            "Output error: relative error of a layer's outputs with the finished codes, before any \
             tuning: tr(E H Eᵀ) / tr(W H Wᵀ), where E is the error of the weights W and H holds the \
             second moments of the layer's inputs; the mean over tensors, weighted by their number of \
             weights. Coding time: wall time, summed over layers."
                .to_owned(),
            "Bound (outputs): the rate-distortion bound of that error at the stored bits R of the \
             blocks, for Gaussian weights: 2^(-2R) times the geometric over the arithmetic mean of the \
             eigenvalues of H, times the same quotient for the variances of rows. Bound (weights): \
             2^(-2R). Lloyd-Max: the best scalar table at the nominal width. Codes that use H can be \
             below the last two."
                .to_owned(),
        ];
        notes.extend(self.coded_rows().filter_map(|(coded, row)| {
            let facts = facts(coded.coding.as_ref()?);
            (!facts.is_empty()).then(|| format!("{}: {}.", row.variant, facts.join("; ")))
        }));
        notes
    }

    /// The error after each step, a column per step; `None` if no step is recorded.
    fn steps_table(&self) -> Option<Table> {
        let errors = |coded: &CodedVariant| -> Vec<StepError> {
            coded.coding.as_ref().map_or(Vec::new(), |coding| coding.errors.clone())
        };
        let longest = self.coded.iter().map(errors).max_by_key(Vec::len)?;
        let mut steps: Vec<String> = longest.into_iter().map(|error| error.step).collect();
        for error in self.coded.iter().flat_map(errors) {
            if !steps.contains(&error.step) {
                steps.push(error.step);
            }
        }
        if steps.is_empty() {
            return None;
        }
        let mut columns = vec![Column::text("variant", "variant")];
        columns.extend(
            steps.iter().map(|step| Column::number(&step.replace(' ', "_"), step, Unit::None)),
        );
        let row = |(coded, row): (&CodedVariant, &SummaryRow)| {
            let errors = errors(coded);
            let left = |step: &String| {
                let error = errors.iter().find(|error| error.step == *step);
                Value::from(error.map(|error| error.relative_error))
            };
            std::iter::once(row.variant.as_str().into()).chain(steps.iter().map(left)).collect()
        };
        let rows = self.coded_rows().filter(|(coded, _)| coded.coding.is_some()).map(row).collect();
        Some(Table {
            title: "Output error after each step".into(),
            columns,
            rows,
            notes: Vec::new(),
        })
    }

    /// Divergence after different steps of coding, a figure for each recipe.
    pub(super) fn method_figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = Vec::new();
        for (coded, row) in self.coded_rows() {
            let Ok(outcome) = &row.outcome else { continue };
            let bar = Bar {
                label: row.variant.clone(),
                value: outcome.quality.kl_mean_nats.point,
                remark: steps_in_words(coded),
            };
            let name = format!("KL divergence by steps of calibration: {}", coded.base);
            match figures.last_mut() {
                Some(Figure::Bars { title, bars, .. }) if *title == name => bars.push(bar),
                _ => figures.push(Figure::Bars {
                    title: name,
                    unit: Unit::Nats,
                    bars: vec![bar],
                    limit: None,
                }),
            }
        }
        figures
    }
}

/// What else a reader should know about a variant's coding.
fn facts(coding: &Coding) -> Vec<String> {
    let Coding { pooled_experts, dead_inputs, data_free_tensors, tuned, tuned_whole, .. } = coding;
    let mut facts = Vec::new();
    if *pooled_experts > 0 {
        let experts = counted(*pooled_experts, "expert");
        facts.push(format!("too few tokens went to {experts}: coded on the inputs of all experts"));
    }
    if *dead_inputs > 0 {
        let was = if *dead_inputs == 1 {
            "input of a linear layer was"
        } else {
            "inputs of linear layers were"
        };
        facts.push(format!("{dead_inputs} {was} always zero"));
    }
    if *data_free_tensors > 0 {
        let tensors = counted(*data_free_tensors, "tensor");
        facts.push(format!("{tensors} kept the codes that were found from the weights alone, because calibrated codes had a larger error on held-out windows"));
    }
    if !tuned.is_empty() {
        let kept = tuned.values().filter(|layer| layer.after < layer.before).count();
        let left = |layer: &TunedLayer| {
            let is_positive = layer.before > 0.0;
            if is_positive { layer.after.min(layer.before) / layer.before } else { 1.0 }
        };
        let left = tuned.values().map(left).sum::<f64>() / tuned.len() as f64;
        facts.push(format!(
            "tuning was kept in {kept} of {} layers and left {:.1} % of their loss on held-out \
             windows (mean over layers)",
            tuned.len(),
            left * 100.0
        ));
    }
    if let Some(TunedLayer { before, after }) = tuned_whole {
        let kept = if after < before { "kept" } else { "not kept" };
        facts.push(format!(
            "tuning all layers together was {kept}: the KL divergence on held-out windows was \
             {before:.3} nats before and {after:.3} after"
        ));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::fixture::records;
    use crate::report::{Format, render};
    use crate::results::Record;

    /// The usual records, as if one variant were the other's recipe, calibrated.
    fn calibrated() -> Summary {
        let mut records = records();
        for record in &mut records {
            match record {
                Record::Cell(cell) if cell.cell_id == "b0" => {
                    let (text_name, windows_hash) = ("tales".to_owned(), "ab".repeat(32));
                    let method = Calibration::SECOND_MOMENTS.to_owned();
                    let own = Calibration {
                        text_name,
                        windows: 8,
                        windows_hash,
                        method,
                        ..Calibration::default()
                    };
                    cell.calibration = Some(own);
                    cell.variant = "palette2-g16-cal".to_owned();
                }
                Record::Done(done) if done.cell_id == "b0" => {
                    let error = |step: &str, relative_error| StepError {
                        step: step.to_owned(),
                        relative_error,
                    };
                    done.coding = Some(Coding {
                        base: "palette2-g16".to_owned(),
                        steps: ["eq", "comp"].map(str::to_owned).to_vec(),
                        nominal_bits: Some(2),
                        errors: vec![error("rounded", 0.125), error("compensated", 0.0625)],
                        flatness: Some(0.5),
                        dead_inputs: 3,
                        tuned: [(0, TunedLayer { before: 2.0, after: 1.0 })].into(),
                        ..Coding::default()
                    });
                }
                _ => {}
            }
        }
        Summary::from_records(&records, 1).unwrap().timed(&[("b0".to_owned(), 1500.0)].into())
    }

    #[test]
    fn a_recipe_and_its_calibration_stand_side_by_side_with_the_limits() {
        let summary = calibrated();
        let [methods, steps] = &summary.method_tables()[..] else { panic!("two tables") };
        let names: Vec<&Value> = methods.rows.iter().map(|row| &row[0]).collect();
        assert_eq!(names, [&"palette2-g16".into(), &Value::from("palette2-g16-cal")]);
        let row = &methods.rows[1];
        assert_eq!(row[1], "cal eq comp".into());
        assert_eq!((&row[3], &row[4]), (&1500.0.into(), &0.0625.into()));
        let [Value::Number(bound), Value::Number(of_weights)] = row[5..7] else {
            panic!("no bounds")
        };
        assert!((bound / of_weights - 0.5).abs() < 1e-12, "{bound} {of_weights}");
        let Value::Number(scalar) = methods.rows[0][7] else { panic!("no limit") };
        assert!((scalar - 0.1175).abs() < 1e-4, "{scalar}");
        assert_eq!(steps.rows, [["palette2-g16-cal".into(), 0.125.into(), Value::from(0.0625)]]);
        let [Figure::Bars { bars, .. }] = &summary.method_figures()[..] else { panic!("a figure") };
        assert_eq!(bars.len(), 2);
    }

    #[test]
    fn every_format_says_what_codes_were_calibrated_on() {
        for format in Format::ALL {
            let text = render(format, &calibrated().document(), 120).unwrap();
            if format != Format::Csv {
                let note = "Codes were calibrated on 8 windows of tales (hash abababababababab).";
                assert!(text.contains(note), "{text}");
                assert!(text.contains("3 inputs of linear layers were always zero"), "{text}");
                assert!(text.contains("left 50.0 % of"), "{text}");
            }
            assert!(!text.contains("Ranges of int8"), "{text}");
            assert!(text.contains("cal eq comp") || format == Format::Terminal, "{text}");
        }
    }

    #[test]
    fn without_calibration_there_is_nothing_to_tell() {
        let summary = Summary::from_records(&records(), 1).unwrap();
        assert!(summary.method_tables().is_empty() && summary.method_figures().is_empty());
    }
}
