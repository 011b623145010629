//! `evalkit calibrate`: saves second moments of layer inputs, to calibrate recipes of any width.

use std::path::PathBuf;

use clap::Args;

use super::args::{BackendArgs, FormatArgs};
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::demo;
use crate::error::{Error, Exit, Result};
use crate::report::{Document, Fact, Unit, Value};
use crate::run::collect_moments::{Collected, collect_moments};
use crate::run::options::PlanOptions;
use crate::run::plan::Plan;

/// Arguments of `evalkit calibrate`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit calibrate -m model.gguf --calibrate wiki.valid.raw -o model.moments",
        "evalkit calibrate -o demo.moments",
    ],
    &[],
))]
pub struct CalibrateArgs {
    /// Folder, GGUF file, hf:owner/name[@revision] or demo
    #[arg(long, short, value_name = "CHECKPOINT", default_value = demo::NAME)]
    model: String,
    /// Text to collect on [default: the demo's, for the demo]
    ///
    /// UTF-8, and not the text that will be scored.
    #[arg(long, value_name = "FILE", help_heading = help::CALIBRATION)]
    calibrate: Option<String>,
    /// Windows of that text [default: 32]
    ///
    /// They are spread over the whole text.
    #[arg(long, value_name = "WINDOWS", help_heading = help::CALIBRATION)]
    calibration_windows: Option<usize>,
    /// How text is cut: full, llama.cpp, gptq-2048 [default: full]
    #[arg(long, value_name = "NAME")]
    protocol: Option<String>,
    /// Where the begin-of-text token goes: none, prepend, replace, text
    ///
    /// The default is what the protocol and the tokenizer say.
    #[arg(long, value_name = "MODE", hide_short_help = true)]
    bos: Option<String>,
    /// Tokens per window [default: 512]
    ///
    /// The default is 2048 for gptq-2048 and 256 for the demo.
    #[arg(long, value_name = "TOKENS")]
    context: Option<usize>,
    /// Read <|start|> and the like as special tokens, not as text
    #[arg(long, hide_short_help = true)]
    parse_special: bool,
    /// File to write (safetensors)
    ///
    /// Its layout is documented in src/calibrate/moments_file.rs.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    format: FormatArgs,
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
            backend: self.backend.backend.clone(),
            pretokenizer: self.backend.pretokenizer.clone(),
            ..PlanOptions::default()
        };
        Plan::resolve(&options, PlanOptions::default())
    }
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint and text, surroundings errors of the disk, interruption: layers that were
/// collected by then are kept next to the file.
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
    print(args.format.format, &document)?;
    Ok(Exit::Done)
}
