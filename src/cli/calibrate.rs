//! `evalkit calibrate`: second moments of a model's layers, collected once for recipes of any width.

use std::path::PathBuf;

use clap::Args;

use super::args::PlanArgs;
use super::calibration::{self, Watch};
use super::plan::Plan;
use super::print;
use super::progress::{Interrupt, Talk};
use super::source;
use crate::error::{Error, Exit, Result};
use crate::eval::{Collection, MomentsFile, Timings, Walk, collect};
use crate::report::{Document, Fact, Format, Unit, Value};
use crate::{demo, model};

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
        Plan::resolve(&PlanArgs {
            model: Some(self.model.clone()),
            text: Some(text),
            recipes: Some(Vec::new()),
            protocol: self.protocol.clone(),
            bos: self.bos.clone(),
            context: self.context,
            parse_special: self.parse_special,
            ..PlanArgs::default()
        })
    }
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint and text, surroundings errors of the disk, interruption: layers that were
/// collected by then are kept beside the file.
pub fn run(args: &CalibrateArgs, talk: Talk) -> Result<Exit> {
    let plan = args.plan()?;
    let checkpoint = source::open_checkpoint(&plan.model, talk)?;
    let tokenizer = checkpoint.tokenizer()?;
    let cut = source::cut(&plan, &checkpoint, &tokenizer)?;
    let count = args.calibration_windows.unwrap_or(calibration::CODING_WINDOWS);
    let (windows, origin) = calibration::cut_windows(&plan, &plan.text, count, &cut, &tokenizer)?;
    let is_there = |file: MomentsFile| {
        let found = file.origin();
        (found.windows_hash == origin.windows_hash).then(|| file.check(&checkpoint).ok()).flatten()
    };
    let was_done = MomentsFile::open(&args.output).ok().and_then(is_there).is_some();
    if !was_done {
        let (device, interrupt) = (model::device()?, Interrupt::listen(talk)?);
        let walk = Walk {
            checkpoint: &checkpoint,
            variants: &[],
            windows: &windows,
            coded: &[],
            calibration: None,
            device: &device,
        };
        let collection = Collection { walk, path: &args.output, origin: &origin };
        let mut watch = Watch::new("collecting", &interrupt, talk);
        let collected = collect(&collection, &mut Timings::default(), &mut watch);
        watch.finish();
        collected?;
    }
    let size = std::fs::metadata(&args.output);
    let size = size.map_err(|e| Error::io("examine", &args.output, e))?.len();
    let file = MomentsFile::open(&args.output)?;
    let hash = file.origin().moments_hash.unwrap_or_default();
    let document = Document {
        title: format!("Second moments of {} on {}", checkpoint.name, origin.text_name),
        facts: vec![
            Fact::new("file", "File", args.output.display().to_string()),
            Fact::new("size", "Size", size).in_unit(Unit::Bytes),
            Fact::new("windows", "Windows", windows.len()),
            Fact::new("windows_hash", "Windows' hash", Value::Hash(origin.windows_hash)),
            Fact::new("content_hash", "Content hash", Value::Hash(hash)),
        ],
        ..Document::default()
    };
    print(args.format, &document)?;
    Ok(Exit::Done)
}
