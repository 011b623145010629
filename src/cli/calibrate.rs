//! `evalkit calibrate`: second moments of a model's layers, collected once for recipes of any width.

use std::path::PathBuf;

use clap::Args;

use super::print;
use super::reporter::Reporter;
use crate::demo;
use crate::error::{Error, Exit, Result};
use crate::report::{Document, Fact, Format, Unit, Value};
use crate::run::collect_moments::{Collected, collect_moments};
use crate::run::options::PlanOptions;
use crate::run::plan::Plan;

/// Arguments of `evalkit calibrate`.
#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Checkpoint: a Hugging Face folder, a GGUF file, hf:owner/name[@revision], or demo
    #[arg(long, short, value_name = "CHECKPOINT", default_value = demo::NAME)]
    model: String,
    /// Text (UTF-8), other than the one that is scored; the demo has its own
    #[arg(long, value_name = "FILE")]
    calibrate: Option<String>,
    /// Windows of that text [default: 32]
    #[arg(long, value_name = "WINDOWS")]
    calibration_windows: Option<usize>,
    /// How the text is cut: full, llama.cpp or gptq-2048 [default: full]
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Where BOS goes: none, prepend, replace or text [default: as protocol and tokenizer say]
    #[arg(long, value_name = "MODE")]
    bos: Option<String>,
    /// Tokens per window [default: 512; 2048 for gptq-2048; 256 for the demo]
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// Parse special tokens such as <|start|> in the text instead of reading them as text
    #[arg(long)]
    parse_special: bool,
    /// File to write (safetensors; the layout is documented in src/eval/moments_file.rs)
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// terminal, markdown, html, csv or json
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    format: Format,
}

impl CalibrateArgs {
    fn plan(&self) -> Result<Plan> {
        let is_demo = self.model == demo::NAME;
        let text = self.calibrate.clone().or_else(|| is_demo.then(|| demo::NAME.to_owned()));
        let text = text.ok_or_else(|| {
            Error::input("no text to calibrate on").hint("give one with --calibrate FILE")
        })?;
        let options = PlanOptions {
            model: Some(self.model.clone()),
            text: Some(text),
            recipes: Some(Vec::new()),
            protocol: self.protocol.clone(),
            bos: self.bos.clone(),
            context: self.context,
            parse_special: self.parse_special,
            ..PlanOptions::default()
        };
        Plan::resolve(&options, PlanOptions::default())
    }
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint and text, surroundings errors of the disk, interruption: layers that were
/// collected by then are kept beside the file.
pub fn run(args: &CalibrateArgs, reporter: &Reporter) -> Result<Exit> {
    reporter.listen()?;
    let Collected { model, windows, origin, size_bytes, hash } =
        collect_moments(&args.plan()?, args.calibration_windows, &args.output, reporter)?;
    let document = Document {
        title: format!("Second moments of {} on {}", model, origin.text_name),
        facts: vec![
            Fact::new("file", "File", args.output.display().to_string()),
            Fact::new("size", "Size", size_bytes).in_unit(Unit::Bytes),
            Fact::new("windows", "Windows", windows),
            Fact::new("windows_hash", "Windows' hash", Value::Hash(origin.windows_hash)),
            Fact::new("content_hash", "Content hash", Value::Hash(hash)),
        ],
        ..Document::default()
    };
    print(args.format, &document)?;
    Ok(Exit::Done)
}
