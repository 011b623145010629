//! `evalkit package`: a checkpoint under one recipe as the packages that an app receives.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::args::{CalibrationArgs, FormatArgs, RecipeArgs, parse_size};
use super::calibration;
use super::print;
use super::progress::{Interrupt, Progress, Talk};
use super::source;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Exit, Result};
use crate::eval::Coder;
use crate::package::aside::Existing;
use crate::package::bundle::{self, Limits, Manifest, Order};
use crate::package::mil::Opset;
use crate::package::program::{Compute, Design};
use crate::report::{Column, Document, Fact, Table, Unit, Value};

/// Tokens that the cache holds unless asked otherwise.
const CONTEXT_TOKENS: usize = 2048;
/// Tokens of a prompt that are computed at a time: what engines take in one go.
const PREFILL_TOKENS: usize = 64;

/// Arguments of `evalkit package`.
#[derive(Debug, Args)]
pub struct PackageArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Take the weights from a file that evalkit quantize wrote, instead of coding them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipe", "embed", "head"])]
    coded: Option<PathBuf>,
    #[command(flatten)]
    calibration: CalibrationArgs,
    /// Folder to write
    #[arg(long, short, value_name = "FOLDER")]
    output: PathBuf,
    #[command(flatten)]
    design: DesignArgs,
    /// Replace the folder if it is there already
    #[arg(long)]
    force: bool,
    /// Say what would be written, and stop
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// What packages are made for.
#[derive(Debug, Clone, Args)]
pub struct DesignArgs {
    /// The oldest system that runs them: ios17 (one table per tensor, caches as inputs) or ios18
    #[arg(long, value_name = "SYSTEM", default_value = "ios18")]
    target: Opset,
    /// The engine they are laid out for: gpu or ane
    #[arg(long, value_name = "ENGINE", default_value = "gpu")]
    compute: Compute,
    /// Tokens that the cache holds [default: 2048, or the model's context where that is shorter]
    #[arg(long, value_name = "TOKENS")]
    max_sequence_length: Option<usize>,
    /// Tokens of a prompt that are computed at a time [default: 64]
    #[arg(long, value_name = "TOKENS")]
    prefill_length: Option<usize>,
    /// Largest weight file of one package; a larger model becomes several
    /// [default: 1GB for gpu, 500MB for ane]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    chunk_size: Option<u64>,
    /// The licence of the weights, for the packages' metadata
    #[arg(long, value_name = "TEXT", default_value = "")]
    license: String,
}

impl DesignArgs {
    /// What is to be written of `coder`'s model.
    pub fn order<'a>(&'a self, coder: Coder<'a>, existing: Existing) -> Order<'a> {
        let longest = coder.checkpoint.config.max_position_embeddings;
        let context_tokens = self.max_sequence_length.unwrap_or(CONTEXT_TOKENS.min(longest));
        let prefill_tokens = self.prefill_length.unwrap_or(PREFILL_TOKENS.min(context_tokens));
        let limits = Limits::of(self.compute);
        Order {
            coder,
            design: Design {
                target: self.target,
                compute: self.compute,
                context_tokens,
                prefill_tokens,
            },
            limits: Limits { chunk_bytes: self.chunk_size.unwrap_or(limits.chunk_bytes), ..limits },
            license: &self.license,
            existing,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// Input errors of checkpoint, recipes and lengths, surroundings errors of the disk, interruption.
pub fn run(args: &PackageArgs, talk: Talk) -> Result<Exit> {
    let checkpoint = source::open_checkpoint(&args.recipe.model, talk)?;
    let file = match &args.coded {
        Some(path) => Some(Arc::new(source::open_coded(path, &checkpoint.content_hash())?)),
        None => None,
    };
    let variant = match &file {
        Some(file) => file.variant.clone(),
        None => args.recipe.variant()?,
    };
    let interrupt = Interrupt::listen(talk)?;
    let scales = match args.dry_run {
        true => calibration::planned(&variant, &checkpoint.config)?,
        false => {
            let (model, of) = (&args.recipe.model, (&checkpoint, &variant));
            calibration::scales(&args.calibration, model, of, file.clone(), &interrupt, talk)?
        }
    };
    let scales = Some(&scales);
    let coder = Coder { checkpoint: &checkpoint, variant: &variant, file: file.as_deref(), scales };
    let existing = if args.force { Existing::Replace } else { Existing::Keep };
    let order = args.design.order(coder, existing);
    let predicted_bytes = bundle::predicted_bytes(&order)?;
    if args.dry_run {
        let title =
            format!("{} as {variant}: {predicted_bytes} bytes (predicted)", checkpoint.name);
        print(args.format.format, &Document { title, ..Document::default() })?;
        return Ok(Exit::Done);
    }
    let written = write(&order, args, &interrupt, talk)?;
    let document = document(&checkpoint, &written, args);
    print(args.format.format, &document)?;
    Ok(Exit::Done)
}

fn write(
    order: &Order<'_>,
    args: &PackageArgs,
    interrupt: &Interrupt,
    talk: Talk,
) -> Result<Manifest> {
    let bar = Progress::new("packaging", talk.quiet);
    let written = bundle::write(&args.output, order, &mut |done, total| {
        bar.set(done as u64, total as u64);
        match interrupt.is_set() {
            true => Err(Error::new(Exit::Interrupted, "interrupted; nothing was written")),
            false => Ok(()),
        }
    });
    bar.finish();
    Ok(written?.manifest)
}

fn document(checkpoint: &Checkpoint, manifest: &Manifest, args: &PackageArgs) -> Document {
    let model = &manifest.model;
    let mut table = Table {
        title: "Packages".into(),
        columns: vec![
            Column::text("package", "package"),
            Column::text("blocks", "blocks"),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    };
    for package in &manifest.packages {
        let blocks = package.layers.map_or(String::new(), |[first, count]| match count {
            1 => first.to_string(),
            _ => format!("{first}-{}", first + count - 1),
        });
        table.rows.push(vec![
            Value::from(package.path.as_str()),
            Value::from(blocks),
            Value::from(package.size_bytes),
        ]);
    }
    Document {
        title: format!("{} as {}", checkpoint.name, model.variant),
        facts: vec![
            Fact::new("folder", "Folder", args.output.display().to_string()),
            Fact::new("target", "Target", model.target.as_str()),
            Fact::new("compute", "Laid out for", model.compute.as_str()),
            Fact::new("context_tokens", "Cache", model.context_tokens),
            Fact::new("prefill_tokens", "Prefill", model.prefill_tokens),
            Fact::new("size", "Size", model.size_bytes).in_unit(Unit::Bytes),
        ],
        tables: vec![table],
        ..Document::default()
    }
}
