//! `evalkit quantize`: codes the weights of a checkpoint and writes them to a file.

use std::path::PathBuf;

use clap::Args;

use super::args::{BackendArgs, CalibrationArgs, FormatArgs, RecipeArgs};
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::error::{Error, Exit, Result};
use crate::run::documents::coded;
use crate::run::inputs;
use crate::run::quantize::{QuantizeRequest, quantize};

/// Arguments of `evalkit quantize`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit quantize --recipe palette2-g16-s -o coded.safetensors",
        "evalkit quantize --recipe vector2-d4-cal --calibrate TEXT -m MODEL -o coded.safetensors",
    ],
    &[help::RECIPE_GRAMMAR],
))]
pub struct QuantizeArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// File to write (safetensors)
    ///
    /// sweep --coded and package --coded read it. Its layout is documented in src/eval/coded_file.rs.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten, next_help_heading = help::CALIBRATION)]
    calibration: CalibrationArgs,
    /// Quantize a -cal recipe from a file of evalkit calibrate
    #[arg(
        long = "calibration",
        value_name = "FILE",
        conflicts_with = "calibrate",
        help_heading = help::CALIBRATION,
        hide_short_help = true
    )]
    moments: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint and recipes, surroundings errors of the disk, interruption.
pub fn run(args: &QuantizeArgs, reporter: &Reporter) -> Result<Exit> {
    if args.calibration.activation_range.is_some() {
        return Err(Error::input("a file of coded weights has no ranges of int8 inputs")
            .at("--activation-range")
            .hint("give the flag to sweep or package, which choose them"));
    }
    let variant = args.recipe.variant()?;
    let split = args.backend.pretokenizer.as_deref();
    let checkpoint = inputs::open_checkpoint(&args.recipe.model, split, reporter)?;
    reporter.listen()?;
    let request = QuantizeRequest {
        model: &args.recipe.model,
        output: &args.output,
        calibration: args.calibration.options(),
        moments: args.moments.as_deref(),
        backend: args.backend.backend()?,
    };
    quantize(&request, &checkpoint, &variant, reporter)?;
    let document = coded::document(&checkpoint, &variant, &args.output)?;
    print(args.format.format, &document)?;
    Ok(Exit::Done)
}
