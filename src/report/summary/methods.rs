//! What calibrated coding cost and gave: variants of one recipe side by side, step by step, and the
//! limits that no coding of such weights passes.

use std::collections::BTreeMap;

use super::{Row, Summary};
use crate::report::{Column, Figure, Table, Unit, Value};
use crate::results::{
    Calibration, Cell, CodedLayer, Coding, Index, StepError, TunedLayer, coding_ms,
};
use crate::stats::{lloyd_max, rate_distortion};

/// The widest scalar table whose limit is worth its time; beyond, nobody is near it.
const MOST_SCALAR_BITS: u8 = 6;

/// One way in which a recipe was coded.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// The variant's id in the records.
    pub cell_id: String,
    /// The recipe without calibration, which variants are put together by.
    pub base: String,
    /// How codes were chosen; none for the data-free variant.
    pub coding: Option<Coding>,
    /// Wall time of coding, where it is known.
    pub coding_ms: Option<f64>,
}

/// What records call the steps of tuning.
const TUNING: [&str; 2] = ["blocks", "ft"];

/// The calibrated variants, by recipe in order of appearance: data-free first, then by the number of
/// steps that are on, fine-tuned ones last.
pub(super) fn of(cells: &[&Cell], index: &Index) -> Vec<Method> {
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
    let mut methods = Vec::new();
    for base in bases {
        let of_base = cells.iter().filter_map(|cell| {
            let coding = codings.get(cell.cell_id.as_str()).copied();
            let is_base = || cell.variant.replace("-free", "") == base;
            let is_here = coding.map_or_else(is_base, |coding| coding.base == base);
            is_here.then(|| Method {
                cell_id: cell.cell_id.clone(),
                base: base.to_owned(),
                coding: coding.cloned(),
                coding_ms: None,
            })
        });
        let first = methods.len();
        methods.extend(of_base);
        methods[first..].sort_by_key(|method: &Method| {
            let steps = method.coding.as_ref().map(|coding| &coding.steps);
            let is_tuned = |steps: &Vec<String>| steps.iter().any(|step| TUNING.contains(&&**step));
            steps.map(|steps| (is_tuned(steps), steps.len()))
        });
    }
    methods
}

/// What codes and ranges were chosen on, a sentence each.
pub(super) fn calibrations(cells: &[&Cell], index: &Index) -> Vec<String> {
    let mut sentences = Vec::new();
    for cell in cells {
        let Some(calibration) = &cell.calibration else { continue };
        let Calibration { text_name, windows, windows_hash, moments_hash, .. } = calibration;
        if let Some(method) = calibration.ranges() {
            sentences.push(format!(
                "Ranges of int8 activations were chosen by {method} on {windows} windows of \
                 {text_name}."
            ));
        }
        let has_codes = index.done(&cell.cell_id).is_some_and(|done| done.coding.is_some());
        if has_codes || calibration.ranges().is_none() {
            let by = moments_hash.as_ref().map_or(String::new(), |hash| {
                format!(", by second moments that were saved (hash {hash:.16})")
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

impl Method {
    /// Which steps were on, in a few words.
    fn words(&self) -> String {
        match &self.coding {
            None => "data-free".to_owned(),
            Some(coding) if coding.steps.is_empty() => "cal".to_owned(),
            Some(coding) => format!("cal {}", coding.steps.join(" ")),
        }
    }
}

impl Summary {
    /// Adds how long coding took, which no record has.
    pub fn timed(mut self, layers: &[CodedLayer]) -> Summary {
        let sums = coding_ms(layers);
        for method in &mut self.methods {
            method.coding_ms = sums.get(method.cell_id.as_str()).copied();
        }
        self
    }

    /// Methods with their rows.
    fn coded(&self) -> impl Iterator<Item = (&Method, &Row)> {
        self.methods.iter().filter_map(|method| {
            Some((method, self.rows.iter().find(|row| row.cell_id == method.cell_id)?))
        })
    }

    /// What coding cost and gave, where anything was calibrated.
    pub(super) fn method_tables(&self) -> Vec<Table> {
        if self.methods.is_empty() {
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
            Column::number("coding", "coding", Unit::Millis),
            Column::number("relative_error", "error", Unit::None),
            Column::number("rate_distortion_outputs", "bound", Unit::None).rank(4),
            Column::number("rate_distortion", "of weights", Unit::None).rank(5),
            Column::number("lloyd_max", "Lloyd-Max", Unit::None).rank(3),
            Column::estimate("kl_mean", "KL mean", Unit::Nats),
            Column::estimate("perplexity", "perplexity", Unit::None),
            Column::estimate("top1_agreement", "top-1", Unit::Share),
        ];
        let mut scalar = BTreeMap::new();
        let mut row = |(method, row): (&Method, &Row)| {
            let coding = method.coding.as_ref();
            let bits = row.blocks_bits_per_weight;
            let flatness = coding.and_then(|coding| coding.flatness);
            let nominal = self.nominal_bits(&method.base).filter(|bits| *bits <= MOST_SCALAR_BITS);
            let nominal =
                nominal.map(|bits| *scalar.entry(bits).or_insert_with(|| lloyd_max(1 << bits)));
            let mut values: Vec<Value> = vec![
                row.variant.as_str().into(),
                method.words().into(),
                bits.into(),
                method.coding_ms.into(),
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
        let rows = self.coded().map(&mut row).collect();
        Table { title: "Method".into(), columns, rows, notes: self.methods_notes() }
    }

    /// The scalar width of the blocks of a recipe; its data-free variant does not say it itself.
    fn nominal_bits(&self, base: &str) -> Option<u8> {
        let of_base = self.methods.iter().filter(|method| method.base == base);
        of_base.filter_map(|method| method.coding.as_ref()?.nominal_bits).next()
    }

    fn methods_notes(&self) -> Vec<String> {
        let mut notes = vec![
            "Error: tr(E H Eᵀ) / tr(W H Wᵀ) of the finished codes, before any fine-tuning, with H the \
             second moments of the layer's inputs and W what it was asked to be; arithmetic mean over \
             tensors, each counted by its weights. Coding: wall time, summed over layers."
                .to_owned(),
            "Bound: the rate-distortion bound of that error at the stored bits R of the blocks, for rows \
             of Gaussian weights: 2^(-2R) times geometric over arithmetic mean of the eigenvalues of H \
             and of the rows' variances. Of weights, and Lloyd-Max: 2^(-2R) itself and the best scalar \
             table at the nominal width, which codes that know H can be below."
                .to_owned(),
        ];
        notes.extend(self.coded().filter_map(|(method, row)| {
            let facts = facts(method.coding.as_ref()?);
            (!facts.is_empty()).then(|| format!("{}: {}.", row.variant, facts.join("; ")))
        }));
        notes
    }

    /// What each step left, a column per step; nothing where no step is known.
    fn steps_table(&self) -> Option<Table> {
        let errors = |method: &Method| -> Vec<StepError> {
            method.coding.as_ref().map_or(Vec::new(), |coding| coding.errors.clone())
        };
        let longest = self.methods.iter().map(errors).max_by_key(Vec::len)?;
        let mut steps: Vec<String> = longest.into_iter().map(|error| error.step).collect();
        for error in self.methods.iter().flat_map(errors) {
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
        let row = |(method, row): (&Method, &Row)| {
            let errors = errors(method);
            let left = |step: &String| {
                let error = errors.iter().find(|error| error.step == *step);
                Value::from(error.map(|error| error.relative_error))
            };
            std::iter::once(row.variant.as_str().into()).chain(steps.iter().map(left)).collect()
        };
        let rows = self.coded().filter(|(method, _)| method.coding.is_some()).map(row).collect();
        Some(Table { title: "Error left by each step".into(), columns, rows, notes: Vec::new() })
    }

    /// Divergence by method, a figure for each recipe.
    pub(super) fn method_figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = Vec::new();
        for (method, row) in self.coded() {
            let Ok(outcome) = &row.outcome else { continue };
            let bar = (row.variant.clone(), outcome.quality.kl_mean_nats.point, method.words());
            let name =
                format!("Divergence from the reference by the steps of coding: {}", method.base);
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

/// What else a reader should know of a variant's coding.
fn facts(coding: &Coding) -> Vec<String> {
    let Coding { pooled_experts, dead_inputs, tuned, tuned_whole, .. } = coding;
    let mut facts = Vec::new();
    if *pooled_experts > 0 {
        facts.push(format!("{pooled_experts} experts were coded on what all experts get"));
    }
    if *dead_inputs > 0 {
        facts.push(format!("{dead_inputs} inputs of linear layers were always zero"));
    }
    if !tuned.is_empty() {
        let kept = tuned.values().filter(|layer| layer.after < layer.before).count();
        let left = |layer: &TunedLayer| match layer.before > 0.0 {
            true => layer.after.min(layer.before) / layer.before,
            false => 1.0,
        };
        let left = tuned.values().map(left).sum::<f64>() / tuned.len() as f64;
        facts.push(format!(
            "tuning was kept in {kept} of {} layers and left {:.1} % of their loss on windows held \
             out (mean)",
            tuned.len(),
            left * 100.0
        ));
    }
    if let Some(TunedLayer { before, after }) = tuned_whole {
        let kept = if after < before { "kept" } else { "not kept" };
        facts.push(format!(
            "tuning all layers together was {kept}: the KL divergence on windows held out was \
             {before:.3} nats before and {after:.3} after"
        ));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::records;
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
                        moments_hash: None,
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
        let layer =
            CodedLayer { cell_id: "b0".into(), elapsed_ms: 1500.0, ..CodedLayer::default() };
        Summary::from_records(&records, 1).unwrap().timed(&[layer])
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
