//! `evalkit verify`: proves that packages are the checkpoint under their recipe.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::args::FormatArgs;
use super::help;
use super::print;
use super::reporter::Reporter;
use crate::checkpoint::Checkpoint;
use crate::error::{At, Error, Exit, Result};
use crate::eval::{Coder, Variant};
use crate::model;
use crate::package::bundle::Bundle;
use crate::package::execute::Precision;
use crate::package::verify::{Distance, Link, Question, by_block, walked};
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::results::label;
use crate::run::inputs;
use crate::run::package::check;

/// The default of `--tokens`.
const TOKENS: usize = 48;

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
    /// Tokens to predict
    #[arg(long, value_name = "TOKENS", default_value_t = TOKENS)]
    tokens: usize,
    /// Round to fp16 after every operator
    ///
    /// Shows how far predictions move on engines that compute in fp16.
    #[arg(long)]
    half: bool,
    /// Show the distance of hidden states after every block
    #[arg(long)]
    layers: bool,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs the command.
///
/// # Errors
/// Input errors of folder and checkpoint, interruption.
pub fn run(args: &VerifyArgs, reporter: &Reporter) -> Result<Exit> {
    let bundle = Bundle::open(&args.folder)?;
    let checkpoint = inputs::open_checkpoint(&args.model, reporter)?;
    let hash = checkpoint.content_hash();
    let described = &bundle.manifest.model;
    if described.model_hash != hash {
        let found = &described.model_hash;
        return Err(Error::input(format!(
            "packaged from the model with hash {found:.12}, but the checkpoint is {hash:.12}"
        ))
        .at(args.folder.display())
        .hint("give the checkpoint that was packaged with --model"));
    }
    let file = match &args.coded {
        Some(path) => Some(Arc::new(inputs::open_coded(path, &hash)?)),
        None => None,
    };
    let variant: Variant = described.variant.parse().at(|| args.folder.display().to_string())?;
    let scales = bundle.manifest.scales().at(|| args.folder.display().to_string())?;
    let coder = Coder {
        checkpoint: &checkpoint,
        variant: &variant,
        file: file.as_ref(),
        scales: Some(&scales),
    };
    coder.check()?;
    let ids = ids(args, &checkpoint, described.context_tokens)?;
    let precision = if args.half { Precision::Half } else { Precision::Single };
    let question = Question { bundle: &bundle, coder, ids: &ids, precision };
    let walked = walked(coder, &ids, &model::device()?)?;
    reporter.listen()?;
    let links = check(&question, &walked, reporter)?;
    let mut document = document(&question, &links, &args.folder);
    if args.layers {
        document.tables.push(blocks(&by_block(&question, &walked)?));
    }
    print(args.format.format, &document)?;
    Ok(if links.iter().all(|link| link.holds) { Exit::Done } else { Exit::No })
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

/// The tokens that are predicted.
fn ids(args: &VerifyArgs, checkpoint: &Checkpoint, context_tokens: usize) -> Result<Vec<u32>> {
    if !(2..=context_tokens).contains(&args.tokens) {
        let found = args.tokens;
        return Err(Error::input(format!(
            "expected 2 to {context_tokens} tokens, the size of the packages' cache, found {found}"
        ))
        .at("--tokens"));
    }
    let Some(text) = &args.text else {
        return Ok(inputs::spread(args.tokens, checkpoint.config.vocab_size));
    };
    let text = inputs::read_text(text)?;
    let mut ids = checkpoint.tokenizer()?.encode(&text.content, false)?.ids;
    if ids.len() < args.tokens {
        let found = ids.len();
        return Err(Error::input(format!("expected {} tokens, found {found}", args.tokens))
            .at(text.name)
            .hint("give a longer text, or fewer --tokens"));
    }
    ids.truncate(args.tokens);
    Ok(ids)
}

fn document(question: &Question<'_>, links: &[Link], folder: &Path) -> Document {
    let model = &question.bundle.manifest.model;
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
