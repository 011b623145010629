//! `evalkit verify`: checks that packages are the checkpoint under their recipe.

use std::path::{Path, PathBuf};

use clap::Args;

use super::args::{BackendArgs, FormatArgs};
use super::help;
use super::print;
use super::reporter::Reporter;
use crate::error::{Exit, Result};
use crate::package::execute::Precision;
use crate::package::verify::Distance;
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::results::label;
use crate::run::verify::{Verified, VerifyRequest, verify_packages};

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
    let mut document = document(&verified, &args.folder);
    if args.layers {
        document.tables.push(blocks(&verified.differences));
    }
    print(args.format.format, &document)?;
    Ok(if verified.links.iter().all(|link| link.holds) { Exit::Done } else { Exit::No })
}

/// The distance of hidden states from those of the scored model, block by block.
fn blocks(relative: &[f64]) -> Table {
    let row = |(block, relative): (usize, &f64)| vec![Value::from(block), Value::from(*relative)];
    Table {
        title: "Hidden states after each block".into(),
        columns: vec![
            Column::number("block", "block", Unit::None),
            Column::number("difference", "relative difference", Unit::None),
        ],
        rows: relative.iter().enumerate().map(row).collect(),
        ..Table::default()
    }
}

fn document(verified: &Verified, folder: &Path) -> Document {
    let (model, links) = (&verified.manifest.model, &verified.links);
    let mut table = Table {
        title: "Chain of truth".into(),
        columns: vec![
            Column::text("link", "link"),
            Column::text("verdict", "verdict"),
            Column::number("kl", "KL mean", Unit::Nats),
            Column::number("worst_kl", "KL worst", Unit::Nats),
            Column::number("top1", "top-1", Unit::Share),
            Column::number("max_logit", "logit difference", Unit::None),
        ],
        ..Table::default()
    };
    for link in links {
        let number = |of: fn(&Distance) -> f64| {
            link.distance.as_ref().map_or(Value::Empty, |distance| Value::from(of(distance)))
        };
        table.rows.push(vec![
            Value::from(link.name),
            Value::from(if link.holds { "holds" } else { "BROKEN" }),
            number(|d| d.kl_nats),
            number(|d| d.worst_kl_nats),
            number(|d| d.top1_agree as f64 / d.tokens.max(1) as f64),
            number(|d| d.max_logit),
        ]);
        table.notes.push(format!("{}: {}", link.name, link.what));
    }
    let holds = links.iter().all(|link| link.holds);
    let verdict = if holds { "the packages are this model" } else { "NOT this model" };
    Document {
        title: format!("{}: {verdict}", folder.display()),
        facts: vec![
            Fact::new("variant", "Variant", label(&model.variant, &[])),
            Fact::new("target", "Target", model.target.as_str()),
            Fact::new("compute", "Laid out for", model.compute.as_str()),
            Fact::new("size", "Size", model.size_bytes).in_unit(Unit::Bytes),
        ],
        tables: vec![table],
        notes: vec!["Predictions are compared with those of the model that a sweep scores.".into()],
        ..Document::default()
    }
}
