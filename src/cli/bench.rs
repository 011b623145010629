//! `evalkit bench`: measures packages on devices.

use std::path::PathBuf;

use clap::Args;

use super::args::FormatArgs;
use super::help;
use super::measure_args::MeasureArgs;
use super::output::print;
use super::reporter::Reporter;
use crate::checkpoint::tokenizer::TextTokenizer;
use crate::device::client::{Target, manifest_of};
use crate::error::{Exit, Result};
use crate::package::bundle::Bundle;
use crate::report::{devices, run};
use crate::results::RunFolder;
use crate::run::folder::run_folder;
use crate::run::inputs;
use crate::run::measure::{Folder, Setting, targets};
use crate::run::pages;
use crate::run::text::read_text;

/// Arguments of `evalkit bench`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit bench packages",
        "evalkit bench packages-4 packages-2 --device host,usb --sustained 10m",
    ],
    &[help::DEVICE_NAMES],
))]
pub struct BenchArgs {
    /// Folders that evalkit package wrote
    ///
    /// Several take turns.
    #[arg(value_name = "FOLDER", required = true)]
    folders: Vec<PathBuf>,
    /// Devices, separated by commas
    ///
    /// host, usb, usb:<udid>, tcp:HOST:PORT, all.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "host")]
    device: Vec<Target>,
    #[command(flatten)]
    how: MeasureArgs,
    /// Take the prompt from this text
    ///
    /// The default is tokens spread over the vocabulary. Needs the tokenizer in the packages' folder.
    #[arg(long, short, value_name = "FILE")]
    text: Option<String>,
    /// Folder of runs
    ///
    /// This run is written to <DIR>/<date>-<model>-bench-<hash>.
    #[arg(long, value_name = "DIR", default_value = "reports")]
    reports: PathBuf,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Input errors of packages and arguments, a device that is named and not there, interruption.
pub fn run(args: &BenchArgs, reporter: &Reporter) -> Result<Exit> {
    reporter.listen()?;
    let targets = targets(&args.device)?;
    let mut hash = blake3::Hasher::new();
    for folder in &args.folders {
        hash.update(manifest_of(folder)?.package().as_bytes());
    }
    let model = Bundle::open(&args.folders[0])?.manifest.model.name;
    let question = hash.finalize().to_hex()[..8].to_string();
    let folder = run_folder(&args.reports, &format!("{model}-bench"), &question);
    let folders = args.folders.iter().map(|path| Folder { path: path.clone(), cell_id: None });
    let text = |tokens, vocabulary| ids(args, reporter, tokens, vocabulary);
    let options = args.how.options()?;
    let setting = Setting { options: &options, targets: &targets, text: &text, observer: reporter };
    let measured = setting.measure(&folder, &folders.collect::<Vec<_>>())?;
    let document = devices::document(&measured.all);
    print(args.format.format, &document)?;
    pages::keep(&run::document(&RunFolder::read(&folder)?)?, &folder)?;
    reporter.say(format!("report: {}", folder.join("report.html").display()));
    Ok(measured.exit)
}

/// The first tokens of the text, or tokens spread over the vocabulary.
fn ids(
    args: &BenchArgs,
    reporter: &Reporter,
    tokens: usize,
    vocabulary: usize,
) -> Result<Vec<u32>> {
    let Some(text) = &args.text else { return Ok(inputs::spread(tokens, vocabulary)) };
    let tokenizer = TextTokenizer::from_folder(&args.folders[0]).map_err(|e| {
        e.hint(
            "--text needs the tokenizer in the packages' folder; omit --text to use other tokens",
        )
    })?;
    read_text(text, reporter)?.first_ids(&tokenizer, tokens)
}
