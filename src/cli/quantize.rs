//! `evalkit quantize`: codes the weights of a checkpoint and writes them to a file.

use std::path::PathBuf;

use clap::Args;

use super::args::{BackendArgs, CalibrationArgs, FormatArgs, RecipeArgs};
use super::help;
use super::print;
use super::reporter::Reporter;
use crate::error::{Exit, Result};
use crate::eval::Variant;
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::run::inputs;
use crate::run::quantize::{QuantizeRequest, quantize};
use crate::units::BitsPerWeight;

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

/// Notes on how Core ML expresses the recipes, without repetition.
fn notes(variant: &Variant) -> Vec<String> {
    let mut notes = Vec::new();
    for recipe in variant.recipes() {
        let note = recipe.core_ml_note().map(|what| format!("{recipe} in Core ML: {what}."));
        notes.extend(note.filter(|note| !notes.contains(note)).into_iter().collect::<Vec<_>>());
    }
    notes
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint and recipes, surroundings errors of the disk, interruption.
pub fn run(args: &QuantizeArgs, reporter: &Reporter) -> Result<Exit> {
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
    let mut table = Table {
        title: "Stored".into(),
        columns: vec![
            Column::text("part", "part"),
            Column::text("recipe", "recipe"),
            Column::number("weights", "weights", Unit::None),
            Column::number("size", "size", Unit::Bytes),
            Column::number("effective", "effective", Unit::BitsPerWeight),
        ],
        ..Table::default()
    };
    let parts = variant.parts(&checkpoint)?;
    let title = format!("{} as {}", checkpoint.name, variant.label(&parts));
    for part in parts {
        table.rows.push(vec![
            Value::from(part.part),
            Value::from(part.recipe),
            Value::from(part.weights),
            Value::from(part.size_bytes),
            Value::from(BitsPerWeight::of(part.size_bytes, part.weights).0),
        ]);
    }
    let document = Document {
        title,
        facts: vec![Fact::new("file", "File", args.output.display().to_string())],
        tables: vec![table],
        notes: notes(&variant),
        ..Document::default()
    };
    print(args.format.format, &document)?;
    Ok(Exit::Done)
}
