//! The records of a run, one JSON object per line, and how a line is read back.
//!
//! Records hold raw sums, counts and hashes, never a mean or an interval: those are derived when a
//! report is made. They hold no time and no thread count either, so that a resumed run leaves the
//! same bytes as an uninterrupted one; what differs from run to run is in
//! [`Session`](super::Session).

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::coding::Coding;
use super::environment::Environment;
use super::head::to_line;
use super::inputs::{Fp16Overflow, InputScale};
use super::packaged::Packaged;
use crate::error::{Error, Result};

/// One line of `records.jsonl`; in JSON, `kind` says which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// What was asked: model, text, protocol. Exactly one in a folder, the first line.
    Run(Run),
    /// The program and machine that answered.
    Environment(Environment),
    /// A variant, and what it costs to store.
    Cell(Cell),
    /// One variant's scores on one window of text.
    Window(Window),
    /// A variant of which every window is scored.
    Done(Done),
    /// A variant that gave no result, and why.
    Failure(Failure),
    /// The packages of a variant.
    Packaged(Packaged),
}

/// What a run measures. Two runs with equal `Run` records are comparable number by number.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Name of the model, as the user knows it.
    pub model: String,
    /// Architecture, as the checkpoint names it: `LlamaForCausalLM`.
    pub architecture: String,
    /// Hash of the checkpoint's weights and configuration, in hexadecimal.
    pub model_hash: String,
    /// Hash of the tokenizer, in hexadecimal.
    pub tokenizer_hash: String,
    /// Name of the evaluation text.
    pub text_name: String,
    /// Hash of the evaluation text, in hexadecimal.
    pub text_hash: String,
    /// Size of the evaluation text (UTF-8).
    pub text_bytes: u64,
    /// Name of the perplexity protocol: `full`, `llama.cpp`, `gptq-2048`.
    pub protocol: String,
    /// How the begin-of-text token is used: `none`, `prepend`, `replace` or `text`.
    pub bos: String,
    /// Tokens in a window.
    pub window_tokens: usize,
    /// Tokens from the start of one window to the start of the next.
    pub stride_tokens: usize,
    /// Windows scored per variant.
    pub windows: usize,
    /// Tokens scored per variant, over all windows.
    pub scored_tokens: usize,
    /// Seed of everything random in coding the weights.
    pub seed: u64,
    /// Raised whenever the program's numbers change for the same input.
    pub numeric_version: u32,
    /// What computed the numbers if not the CPU: `accelerate` or `metal`. See [`Run::backend`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The program's version.
    pub evalkit_version: String,
    /// Decoder blocks.
    pub layers: usize,
    /// Weights of the model, in number.
    pub parameters: u64,
    /// Tokens in the vocabulary.
    pub vocabulary: usize,
    /// Entropy of the source that the text was drawn from, if it is known (generated text); no model
    /// can score lower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy_floor_nats_per_byte: Option<f64>,
    /// What a reader must know before trusting the numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Run {
    /// What computed the numbers: `cpu`, `accelerate` or `metal`.
    pub fn backend(&self) -> &str {
        self.backend.as_deref().unwrap_or(CPU)
    }
}

/// The backend of records that name none.
const CPU: &str = "cpu";

/// Scores of one variant on one window.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The variant.
    pub cell_id: String,
    /// Index of the window in the text, from 0.
    pub window: usize,
    /// Tokens scored in this window.
    pub scored_tokens: usize,
    /// UTF-8 bytes of the scored text.
    pub scored_bytes: u64,
    /// Sum of the negative log likelihoods of the scored tokens.
    pub nll_nats: f64,
    /// Sum of the KL divergences from the reference; 0 for the reference.
    pub kl_nats: f64,
    /// Scored tokens at which the variant's most likely token is the reference's.
    pub top1_agree: usize,
    /// KL divergence at each scored token, in nats; empty for the reference and in condensed runs.
    #[serde(default)]
    pub kl_tokens: Vec<f32>,
    /// The tokens of the window that go to the same experts as in the reference, `[layers]`; empty for
    /// models without experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub router_agree: Vec<u32>,
    /// The tokens of the window that go to each expert, `[layers][experts]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expert_load: Vec<Vec<u32>>,
    /// The window's first activation that fp16 does not hold, in which packages compute on a phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fp16_overflow: Option<Fp16Overflow>,
    /// Tokens that were routed: all tokens of the window, scored or not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub routed_tokens: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's calling convention
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The end of one variant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// The variant.
    pub cell_id: String,
    /// Windows scored.
    pub windows: usize,
    /// Hash of the coded weights that were scored, in hexadecimal.
    pub coded_hash: String,
    /// Inputs of linear layers that were rounded to int8; empty for variants without such inputs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_scales: Vec<InputScale>,
    /// How its codes were chosen on a text; `None` for variants that are not calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coding: Option<Coding>,
}

/// Why a variant has no result.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The variant.
    pub cell_id: String,
    /// Its name, because it may have failed before it had a [`Cell`].
    pub variant: String,
    /// What went wrong.
    pub cause: String,
    /// How to mend it; empty if that is not known.
    #[serde(default)]
    pub hint: String,
}

impl Record {
    /// The record as one line of JSON, without the line feed.
    ///
    /// # Errors
    /// A number that is not finite: JSON cannot write it, and it measures nothing.
    pub fn to_line(&self) -> Result<String> {
        self.check_finite()?;
        to_line(self, "a record")
    }

    /// The id of the variant that the record is about; `None` for the run and its environment.
    pub fn cell_id(&self) -> Option<&str> {
        match self {
            Record::Run(_) | Record::Environment(_) => None,
            Record::Cell(cell) => Some(&cell.cell_id),
            Record::Window(window) => Some(&window.cell_id),
            Record::Done(done) => Some(&done.cell_id),
            Record::Failure(failure) => Some(&failure.cell_id),
            Record::Packaged(packaged) => Some(&packaged.cell_id),
        }
    }

    fn check_finite(&self) -> Result<()> {
        let refuse = |name: &str, value: f64| {
            Err(Error::bug(format!("{name} is {value}, which cannot be recorded"))
                .hint("record the variant as failed instead"))
        };
        match self {
            Record::Window(w) => {
                let place = format!("window {} of {}", w.window, w.cell_id);
                if !w.nll_nats.is_finite() {
                    return refuse("nll_nats", w.nll_nats).map_err(|e: Error| e.at(place));
                }
                let kl = w.kl_tokens.iter().map(|&kl| f64::from(kl)).chain([w.kl_nats]);
                match kl.into_iter().find(|kl| !kl.is_finite()) {
                    Some(kl) => refuse("kl_nats", kl).map_err(|e: Error| e.at(place)),
                    None => Ok(()),
                }
            }
            Record::Done(Done { coding: Some(coding), .. }) => {
                match coding.numbers().find(|number| !number.is_finite()) {
                    Some(number) => refuse("coding", number),
                    None => Ok(()),
                }
            }
            Record::Run(Run { entropy_floor_nats_per_byte: Some(floor), .. })
                if !floor.is_finite() =>
            {
                refuse("entropy_floor_nats_per_byte", *floor)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::BLOCK_PARTS;
    use crate::results::StoredPart;
    use proptest::prelude::*;

    #[test]
    fn lines_of_every_schema_are_read_and_of_the_latest_written() {
        let line = r#"{"schema":2,"kind":"window","cell_id":"c0","window":3,"scored_tokens":2,"scored_bytes":9,"nll_nats":4.25,"kl_nats":0.5,"top1_agree":1,"kl_tokens":[0.125,0.375]}"#;
        let record = Record::Window(Window {
            cell_id: "c0".into(),
            window: 3,
            scored_tokens: 2,
            scored_bytes: 9,
            nll_nats: 4.25,
            kl_nats: 0.5,
            top1_agree: 1,
            kl_tokens: vec![0.125, 0.375],
            ..Window::default()
        });
        for older in ["2", "1"] {
            let line = line.replacen('2', older, 1);
            assert_eq!(Record::from_line(&line).unwrap(), record);
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
        assert_eq!(record.to_line().unwrap(), line);
        let spaced = line.replacen(r#","kind""#, r#", "kind""#, 1);
        assert_eq!(Record::from_line(&spaced).unwrap(), record);
    }

    #[test]
    fn every_kind_comes_back_as_it_was_written() {
        let parts = vec![StoredPart { part: BLOCK_PARTS[0].into(), ..StoredPart::default() }];
        let records = [
            Record::Run(Run { entropy_floor_nats_per_byte: Some(0.5), ..Run::default() }),
            Record::Run(Run { backend: Some("metal".into()), ..Run::default() }),
            Record::Run(Run { warnings: vec!["a \"quoted\"\nwarning".into()], ..Run::default() }),
            Record::Environment(Environment::default()),
            Record::Cell(Cell { cell_id: "c0".into(), parts, ..Cell::default() }),
            Record::Window(Window::default()),
            Record::Done(Done::default()),
            Record::Failure(Failure { cause: "too hot".into(), ..Failure::default() }),
        ];
        for record in records {
            let line = record.to_line().unwrap();
            assert!(!line.contains('\n') && line.starts_with(r#"{"schema":2,"kind":""#), "{line}");
            assert_eq!(Record::from_line(&line).unwrap(), record);
        }
    }

    #[test]
    fn a_newer_schema_is_refused_with_advice() {
        let error = Record::from_line(r#"{"schema":3,"kind":"holograms"}"#).unwrap_err();
        assert_eq!(error.exit().code(), 2);
        let text = error.to_string();
        assert!(text.contains("schema 3 is newer than this program's 2"), "{text}");
        assert!(text.contains("update evalkit"), "{text}");
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_kinds_are_not() {
        let line =
            r#"{"schema":1,"kind":"done","cell_id":"c","windows":1,"coded_hash":"","x":[1]}"#;
        assert_eq!(Record::from_line(line).unwrap().cell_id(), Some("c"));
        let error = Record::from_line(r#"{"schema":1,"kind":"hologram"}"#).unwrap_err();
        assert!(error.to_string().contains("hologram"), "{error}");
    }

    #[test]
    fn lines_that_are_no_records_are_input_errors() {
        for line in ["", "{", "[]", "null", "{}", r#"{"schema":1}"#, r#"{"schema":1,"kind":"run"}"#]
        {
            assert_eq!(Record::from_line(line).unwrap_err().exit().code(), 2, "{line}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_cannot_be_recorded() {
        let windows = [
            Window { nll_nats: f64::NAN, ..Window::default() },
            Window { kl_nats: f64::INFINITY, ..Window::default() },
            Window { kl_tokens: vec![0.0, f32::NAN], ..Window::default() },
        ];
        for window in windows {
            let error = Record::Window(window).to_line().unwrap_err();
            assert!(error.to_string().contains("record the variant as failed"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_whatever_makes_reading_panic(line in ".*", tail in "[\"{}\\[\\],:0-9a-z]*") {
            let _ = Record::from_line(&line);
            let _ = Record::from_line(&format!("{{\"schema\":1,\"kind\":\"window\",{tail}"));
        }

        #[test]
        fn numbers_are_read_back_bit_for_bit(
            nll_nats in 0.0..1e6_f64,
            kl_tokens in prop::collection::vec(0.0..30.0_f32, 1..20),
        ) {
            let scored_tokens = kl_tokens.len();
            let window = Window { scored_tokens, nll_nats, kl_tokens, ..Window::default() };
            let line = Record::Window(window.clone()).to_line().unwrap();
            let Record::Window(read) = Record::from_line(&line).unwrap() else { panic!("{line}") };
            prop_assert_eq!(&read.kl_tokens, &window.kl_tokens);
            prop_assert_eq!(read.nll_nats, nll_nats);
        }
    }
}
