//! `evalkit quantize`: code a checkpoint once and keep the codes.

use std::path::PathBuf;

use clap::Args;

use super::args::{CalibrationArgs, FormatArgs, RecipeArgs};
use super::basis::open_moments;
use super::calibrated::write;
use super::calibration::{Watch, of_one};
use super::print;
use super::progress::{Interrupt, Progress, Talk};
use super::source;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Exit, Result};
use crate::eval::{self, Timings, TuningPlan, Variant, Walk};
use crate::model;
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::units::BitsPerWeight;

/// Arguments of `evalkit quantize`.
#[derive(Debug, Args)]
pub struct QuantizeArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// File to write (safetensors; the layout is documented in src/eval/coded_file.rs)
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    calibration: CalibrationArgs,
    /// Second moments that evalkit calibrate saved: a -cal recipe is coded by them, without a text
    #[arg(long = "calibration", value_name = "FILE", conflicts_with = "calibrate")]
    moments: Option<PathBuf>,
    #[command(flatten)]
    format: FormatArgs,
}

/// What a reader should know about the recipes in Core ML, once each.
fn notes(variant: &Variant) -> Vec<String> {
    let mut notes = Vec::new();
    for recipe in variant.recipes() {
        let note = recipe.core_ml_note().map(|what| format!("{recipe} in Core ML: {what}."));
        notes.extend(note.filter(|note| !notes.contains(note)).into_iter().collect::<Vec<_>>());
    }
    notes
}

/// Codes from the weights alone.
fn data_free(
    args: &QuantizeArgs,
    checkpoint: &Checkpoint,
    variant: &Variant,
    interrupt: &Interrupt,
    talk: Talk,
) -> Result<()> {
    let bar = Progress::new("coding", talk.quiet);
    let written = eval::write_coded(&args.output, checkpoint, variant, &mut |done, total| {
        bar.set(done as u64, total as u64);
        match interrupt.is_set() {
            true => Err(Error::new(Exit::Interrupted, "interrupted; nothing was written")),
            false => Ok(()),
        }
    });
    bar.finish();
    written
}

/// Codes on a text or by saved second moments; layers that were coded before an interruption are
/// kept beside the file.
fn calibrated(
    args: &QuantizeArgs,
    checkpoint: &Checkpoint,
    variant: &Variant,
    interrupt: &Interrupt,
    talk: Talk,
) -> Result<()> {
    let variants = [variant.clone()];
    let (moments, windows, origin) = match &args.moments {
        Some(path) => {
            let moments = open_moments(path, checkpoint, &variants)?;
            let origin = moments.origin();
            (Some(moments), Vec::new(), origin)
        }
        None => {
            let prepared = of_one(&args.calibration, &args.recipe.model, checkpoint, variant)?;
            (None, prepared.calibration.windows, prepared.origin)
        }
    };
    let device = model::device()?;
    let walk = Walk {
        checkpoint,
        variants: &variants,
        windows: &windows,
        coded: &[],
        calibration: None,
        device: &device,
    };
    let paths = [args.output.clone()];
    let plan = TuningPlan { walk, paths: &paths, origin: &origin };
    let mut watch = Watch::new("calibrating", interrupt, talk);
    let written = write(&plan, moments.as_ref(), &mut Timings::default(), &mut watch);
    watch.finish();
    match written?.pop() {
        Some(Ok(())) => Ok(()),
        Some(Err(cause)) => Err(Error::input(cause.what).hint(cause.hint)),
        None => Err(Error::bug("coding without an outcome")),
    }
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint and recipes, surroundings errors of the disk, interruption.
pub fn run(args: &QuantizeArgs, talk: Talk) -> Result<Exit> {
    let variant = args.recipe.variant()?;
    let checkpoint = source::open_checkpoint(&args.recipe.model, talk)?;
    let interrupt = Interrupt::listen(talk)?;
    if args.moments.is_some() && !variant.is_calibrated() {
        return Err(Error::input(format!("{variant} is not calibrated"))
            .at("--calibration")
            .hint("leave it out, or add -cal-norep to the recipe"));
    }
    match variant.is_calibrated() {
        true => calibrated(args, &checkpoint, &variant, &interrupt, talk)?,
        false => data_free(args, &checkpoint, &variant, &interrupt, talk)?,
    }
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
