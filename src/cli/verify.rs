//! `evalkit verify`: checks that packages are the checkpoint under their recipe.

use std::path::PathBuf;

use clap::Args;

use super::args::{BackendArgs, FormatArgs};
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::error::{Exit, Result};
use crate::package::execute::Precision;
use crate::run::documents::chain_of_truth;
use crate::run::verify::{VerifyRequest, verify_packages};

/// Arguments of `evalkit verify`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit verify packages",
        "evalkit verify packages -m model.gguf --coded coded.safetensors --half",
    ],
    &[],
))]
pub struct VerifyArgs {
    /// Folder that evalkit package wrote
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// The checkpoint that was packaged
    ///
    /// A folder, a GGUF file, hf:owner/name[@revision] or demo.
    #[arg(long, short, value_name = "CHECKPOINT", default_value = "demo")]
    model: String,
    /// File of coded weights that the packages were made from
    #[arg(long, value_name = "FILE")]
    coded: Option<PathBuf>,
    /// Predict the first tokens of this text
    ///
    /// The default is tokens spread over the vocabulary.
    #[arg(long, short, value_name = "FILE")]
    text: Option<String>,
    /// Tokens to predict [default: 48, or as many as the cache holds]
    #[arg(long, value_name = "TOKENS")]
    tokens: Option<usize>,
    /// Round to fp16 after every operator
    ///
    /// Shows how far predictions move on engines that compute in fp16.
    #[arg(long)]
    half: bool,
    /// After every block, show the error of hidden states
    ///
    /// How far the packages' hidden states are from those that evalkit computes itself.
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Input errors of folder and checkpoint, interruption.
pub fn run(args: &VerifyArgs, reporter: &Reporter) -> Result<Exit> {
    reporter.listen()?;
    let request = VerifyRequest {
        folder: &args.folder,
        model: &args.model,
        pretokenizer: args.backend.pretokenizer.as_deref(),
        coded: args.coded.as_deref(),
        text: args.text.as_deref(),
        tokens: args.tokens,
        precision: if args.half { Precision::Half } else { Precision::Single },
        by_block: args.layers,
        backend: args.backend.backend()?,
    };
    let verified = verify_packages(&request, reporter)?;
    print(args.format.format, &chain_of_truth::document(&verified, &args.folder, args.layers))?;
    Ok(if verified.links.iter().all(|link| link.holds) { Exit::Done } else { Exit::No })
}
