//! Writing a folder of packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;

use super::cut::{Limits, Named, cut};
use super::files::{file_entry, package_files};
use super::manifest::{
    Described, FORMAT, InputScale, MANIFEST_NAME, Manifest, PackageEntry, Role, Routing, VERSION,
};
use super::place::{Counts, Planned, Writing};
use crate::checkpoint::config::{Config, Routing as Rule};
use crate::error::{Error, Result};
use crate::eval::{Coder, InputScales};
use crate::files::{AtomicDir, Existing};
use crate::model::Input;
use crate::package::folder::{PackageWriter, package_size_bytes};
use crate::package::mil::{self, Opset};
use crate::package::program::{Built, Design, FUNCTIONS, Piece, Weights, build};
use crate::package::spec::{Metadata, Model};

/// What is to be written.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// Where coded weights come from.
    pub coder: Coder<'a>,
    /// What the packages are made for.
    pub design: Design,
    /// How large a package may be.
    pub limits: Limits,
    /// The licence of the weights, for the packages' metadata.
    pub license: &'a str,
    /// What to do with a folder that is there already.
    pub existing: Existing,
}

/// A folder that has been written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its `model.json`.
    pub manifest: Manifest,
    /// Where it is.
    pub folder: PathBuf,
}

/// Writes packages, tokenizer and `model.json` into `folder`, which appears when all of it is
/// complete. `progress` is told how many of how many tensors are done, and may stop it.
///
/// # Errors
/// Input errors of the checkpoint, the recipes and the lengths; surroundings errors of the disk.
/// Nothing is left behind then.
pub fn write(
    folder: &Path,
    order: &Order<'_>,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Written> {
    let config = &order.coder.checkpoint.config;
    order.design.check(config.max_position_embeddings)?;
    let pieces = cut(&order.coder, &order.design, order.limits)?;
    let total = pieces.iter().map(|named| named.piece.tensors(config).len()).sum();
    let mut done = 0;
    let partial = AtomicDir::create(folder, order.existing, &[MANIFEST_NAME])?;
    let mut packages = Vec::new();
    for named in &pieces {
        for (name, only) in packages_of(named, order)? {
            let mut before = || {
                progress(done, total)?;
                done = (done + 1).min(total);
                Ok(())
            };
            let path = format!("{name}.mlpackage");
            let written =
                write_piece(&partial.path().join(&path), named, only, order, &mut before)?;
            let files = package_files(&partial.path().join(&path))?;
            let (role, layers) = role(&named.piece, config);
            let function = only.map(str::to_owned);
            let size_bytes = written;
            packages.push(PackageEntry { path, role, layers, function, size_bytes, files });
        }
    }
    let mut files = Vec::new();
    for (name, content) in order.coder.checkpoint.companions()? {
        let path = partial.path().join(&name);
        fs::write(&path, &content).map_err(|e| Error::io("write", &path, e))?;
        files.push(file_entry(partial.path(), &name)?);
    }
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        model: described(order, packages.iter().map(|package| package.size_bytes).sum()),
        routing: config.experts.as_ref().map(|experts| Routing {
            experts: experts.count,
            experts_per_token: experts.per_token,
            rule: rule(experts.routing).into(),
        }),
        input_scales: input_scales(&order.coder),
        packages,
        files,
    };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|e| Error::bug("cannot describe the packages").because(e))?;
    let path = partial.path().join(MANIFEST_NAME);
    fs::write(&path, text + "\n").map_err(|e| Error::io("write", &path, e))?;
    partial.put()?;
    Ok(Written { manifest, folder: folder.to_owned() })
}

/// The bytes of all packages, known before anything is coded: the sum of what [`write()`] writes,
/// without `model.json` and what lies beside it.
///
/// # Errors
/// As [`write()`], where they can be seen without weights.
pub fn predicted_bytes(order: &Order<'_>) -> Result<u64> {
    let config = &order.coder.checkpoint.config;
    order.design.check(config.max_position_embeddings)?;
    let counts = Counts::default();
    let mut size_bytes = 0;
    for named in cut(&order.coder, &order.design, order.limits)? {
        for (_, only) in packages_of(&named, order)? {
            let mut place = Planned::new(order.coder, order.design.target, &counts);
            let weights = Weights::place(&named.piece, &order.coder, &order.design, &mut place)?;
            let model = program(&named.piece, &weights, only, order)?;
            let weights = (!place.is_empty()).then(|| place.size_bytes());
            size_bytes += package_size_bytes(weights, &model);
        }
    }
    Ok(size_bytes)
}

/// The packages of a piece and the function each of them has, or all functions. Before iOS 18 a
/// package has one function.
fn packages_of(named: &Named, order: &Order<'_>) -> Result<Vec<(String, Option<&'static str>)>> {
    match (order.design.target, &named.piece) {
        (Opset::Ios18, _) => Ok(vec![(named.name.clone(), None)]),
        (Opset::Ios17, Piece::Experts { .. }) => {
            Err(Error::input("experts need packages with several functions, which iOS 17 lacks")
                .hint("use --target ios18"))
        }
        (Opset::Ios17, Piece::Chain { .. }) => {
            let of =
                |function: &'static str| (format!("{}_{function}", named.name), Some(function));
            Ok(FUNCTIONS.map(of).to_vec())
        }
    }
}

/// The program of a piece over its weights.
fn program(
    piece: &Piece,
    weights: &Weights,
    only: Option<&str>,
    order: &Order<'_>,
) -> Result<Model> {
    let Coder { checkpoint, variant, .. } = order.coder;
    let functions = build(piece, &checkpoint.config, &order.design, weights, only)?;
    let facts = [("variant", variant.to_string()), ("numbers", crate::NUMERIC_VERSION.to_string())];
    let facts = facts.map(|(key, value)| (format!("evalkit.{key}"), value));
    let metadata = Metadata {
        short_description: format!("{} as {}", checkpoint.name, variant.label(&[])),
        license: order.license.to_owned(),
        user_defined: BTreeMap::from(facts),
        ..Metadata::default()
    };
    mil::model(functions.into_iter().map(|built| built.function).collect(), metadata)
}

fn write_piece(
    path: &Path,
    named: &Named,
    only: Option<&str>,
    order: &Order<'_>,
    before: &mut dyn FnMut() -> Result<()>,
) -> Result<u64> {
    let mut package = PackageWriter::create(path, Existing::Keep)?;
    let mut place = Writing {
        coder: order.coder,
        target: order.design.target,
        context_tokens: order.design.context_tokens,
        file: package.weights(),
        before,
        last: None,
    };
    let weights = Weights::place(&named.piece, &order.coder, &order.design, &mut place)?;
    let model = program(&named.piece, &weights, only, order)?;
    Ok(package.finish(&model)?.size_bytes)
}

fn described(order: &Order<'_>, size_bytes: u64) -> Described {
    let Order { coder: Coder { checkpoint, variant, .. }, design, .. } = order;
    let config = &checkpoint.config;
    Described {
        name: checkpoint.name.clone(),
        variant: variant.to_string(),
        model_hash: checkpoint.content_hash(),
        target: design.target.id().into(),
        compute: design.compute.name().into(),
        context_tokens: design.context_tokens,
        prefill_tokens: design.prefill_tokens,
        layers: config.layers,
        hidden_size: config.hidden_size,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        vocab_size: config.vocab_size,
        sliding_window_tokens: config.sliding.iter().copied().flatten().next(),
        size_bytes,
    }
}

fn input_scales(coder: &Coder<'_>) -> Vec<InputScale> {
    let scales = coder.scales.into_iter().flat_map(InputScales::iter);
    let entry = |(layer, input, scale): (Option<usize>, Input, f16)| InputScale {
        layer,
        input: input.name().into(),
        scale: scale.to_f32(),
    };
    scales.map(entry).collect()
}

/// What the runner does with the experts that were chosen.
fn rule(routing: Rule) -> &'static str {
    match routing {
        Rule::SoftmaxOfChosen | Rule::ChosenOfSoftmax { .. } => {
            "hidden_states + sum over chosen experts of expert_weights[i] * expert_<expert_ids[i]>(normed_states)"
        }
    }
}

/// What a piece computes, and the first of its blocks and how many they are.
fn role(piece: &Piece, config: &Config) -> (Role, Option<[usize; 2]>) {
    let (role, layers) = match piece {
        Piece::Chain { embedding: true, head: true, layers } => (Role::Whole, layers.clone()),
        Piece::Chain { layers, .. } if !layers.is_empty() && config.experts.is_some() => {
            (Role::Router, layers.clone())
        }
        Piece::Chain { layers, .. } if !layers.is_empty() => (Role::Blocks, layers.clone()),
        Piece::Chain { head: true, .. } => (Role::Head, 0..0),
        Piece::Chain { .. } => (Role::Embedding, 0..0),
        Piece::Experts { layer } => (Role::Experts, *layer..layer + 1),
    };
    (role, (!layers.is_empty()).then(|| [layers.start, layers.len()]))
}

/// The functions that the package `entry` should have, with the names of their weights.
///
/// # Errors
/// Input errors of a description that does not fit the model.
pub fn planned(coder: &Coder<'_>, manifest: &Manifest, entry: &PackageEntry) -> Result<Vec<Built>> {
    let model = &manifest.model;
    let config = &coder.checkpoint.config;
    let design = Design {
        target: model.target.parse()?,
        compute: model.compute.parse()?,
        context_tokens: model.context_tokens,
        prefill_tokens: model.prefill_tokens,
    };
    design.check(config.max_position_embeddings)?;
    let piece = piece_of(entry, config)?;
    let counts = Counts::default();
    let mut place = Planned::new(*coder, design.target, &counts);
    let weights = Weights::place(&piece, coder, &design, &mut place)?;
    build(&piece, config, &design, &weights, entry.function.as_deref())
}

/// The piece that a package holds. Fails (input) where the model has no such piece.
fn piece_of(entry: &PackageEntry, config: &Config) -> Result<Piece> {
    let [first, count] = entry.layers.unwrap_or_default();
    let end = first.checked_add(count).filter(|end| *end <= config.layers);
    let layers = first
        ..end.ok_or_else(|| {
            Error::input(format!("{} has blocks that the model lacks", entry.path))
        })?;
    let chain = |embedding, head| Piece::Chain { embedding, layers: layers.clone(), head };
    Ok(match entry.role {
        Role::Whole => chain(true, true),
        Role::Embedding => chain(true, false),
        Role::Blocks | Role::Router => chain(false, false),
        Role::Head => chain(false, true),
        Role::Experts => Piece::Experts { layer: first },
    })
}
