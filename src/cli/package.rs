//! `evalkit package`: writes Core ML packages of a checkpoint under one recipe.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::args::{BackendArgs, CalibrationArgs, FormatArgs, RecipeArgs};
use super::design::DesignArgs;
use super::help;
use super::output::print;
use super::reporter::Reporter;
use crate::error::{Exit, Result};
use crate::eval::Coder;
use crate::files::Existing;
use crate::package::bundle;
use crate::report::Document;
use crate::run::calibration_text;
use crate::run::documents::packages;
use crate::run::inputs;
use crate::run::observer::Observer;
use crate::run::package::{warn, write};
use crate::run::verify::fp16_overflow;

/// Arguments of `evalkit package`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit package --recipe palette4-g16-s -o packages",
        "evalkit package -m model.gguf --coded coded.safetensors --compute ane -o packages",
    ],
    &[help::RECIPE_GRAMMAR],
))]
pub struct PackageArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Take the weights from a file of evalkit quantize
    ///
    /// Needed for calibrated recipes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipe", "embed", "head"])]
    coded: Option<PathBuf>,
    /// Folder to write
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,
    /// Replace the folder if it exists
    #[arg(long)]
    force: bool,
    /// Print the size, which is predicted exactly, and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    backend: BackendArgs,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten, next_help_heading = help::CALIBRATION)]
    calibration: CalibrationArgs,
    #[command(flatten, next_help_heading = help::PACKAGES)]
    design: DesignArgs,
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint, recipes and lengths, surroundings errors of the disk, interruption.
pub fn run(args: &PackageArgs, reporter: &Reporter) -> Result<Exit> {
    let split = args.backend.pretokenizer.as_deref();
    let checkpoint = inputs::open_checkpoint(&args.recipe.model, split, reporter)?;
    let file = match &args.coded {
        Some(path) => Some(Arc::new(inputs::open_coded(path, &checkpoint.content_hash())?)),
        None => None,
    };
    let variant = match &file {
        Some(file) => file.variant.clone(),
        None => args.recipe.variant()?,
    };
    if !args.dry_run {
        let file = file.as_ref();
        Coder { checkpoint: &checkpoint, variant: &variant, file, scales: None }.check()?;
    }
    let label = variant.label(&variant.parts(&checkpoint)?);
    reporter.listen()?;
    let scales = if args.dry_run {
        calibration_text::planned(&variant, &checkpoint.config)?
    } else {
        let (model, calibration) = (&args.recipe.model, args.calibration.options());
        let (file, backend) = (file.clone(), args.backend.backend()?);
        calibration_text::scales(
            &calibration,
            model,
            &checkpoint,
            &variant,
            file,
            backend,
            reporter,
        )?
    };
    let scales = Some(&scales);
    let coder = Coder { checkpoint: &checkpoint, variant: &variant, file: file.as_ref(), scales };
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let options = args.design.options();
    let order = options.order(coder, existing);
    let predicted_bytes = bundle::predicted_bytes(&order)?;
    warn(&order, reporter)?;
    if args.dry_run {
        let title = format!("{} as {label}: {predicted_bytes} bytes (predicted)", checkpoint.name);
        print(args.format.format, &Document { title, ..Document::default() })?;
        return Ok(Exit::Done);
    }
    let written = write(&order, &args.output, reporter)?;
    let title = format!("{} as {label}", checkpoint.name);
    let document = packages::document(title, &written, &args.output);
    print(args.format.format, &document)?;
    let Some(overflow) = fp16_overflow(&checkpoint, args.backend.backend()?, reporter)? else {
        return Ok(Exit::Done);
    };
    reporter.warning(&format!("on a phone this model overflows fp16: {overflow}"));
    Ok(Exit::No)
}
