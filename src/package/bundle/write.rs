//! Writing a folder of packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::f16;

use super::compute_units::ComputeUnits;
use super::cut::{NamedPiece, PackageLimits, cut};
use super::files::{file_entry, package_files};
use super::manifest::{
    ExpertRouting, FORMAT, InputScaleEntry, MANIFEST_NAME, Manifest, ModelInfo, PackageEntry,
    PackageRole, VERSION,
};
use super::weight_file::{KeptCounts, WeightPlanner, WeightWriter};
use crate::checkpoint::config::{Config, Routing as Rule};
use crate::error::{Error, Result};
use crate::eval::{Coder, InputScales};
use crate::files::{AtomicDir, Existing};
use crate::model::Input;
use crate::package::mil::{self, Opset};
use crate::package::program::{
    Design, FUNCTIONS, Piece, PieceFunction, PlacedWeights, build, refuse_inexpressible,
    refuse_model,
};
use crate::package::spec::{Metadata, Model};
use crate::package::write::{PackageWriter, package_size_bytes};

/// What to write.
#[derive(Debug, Clone, Copy)]
pub struct BundleRequest<'a> {
    /// Codes the weights.
    pub coder: Coder<'a>,
    /// What the packages are made for.
    pub design: Design,
    /// How large a package may be.
    pub limits: PackageLimits,
    /// The licence of the weights, for the packages' metadata.
    pub license: &'a str,
    /// What to do if the folder exists.
    pub existing: Existing,
}

/// A folder of packages that has been written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenBundle {
    /// Its `model.json`.
    pub manifest: Manifest,
    /// The folder.
    pub folder: PathBuf,
}

/// Writes packages, tokenizer and `model.json` into `folder`, which appears only when it is
/// complete. `progress` is called with the number of tensors that are done and their total; an
/// error from it stops the writing.
///
/// # Errors
/// Input errors of the checkpoint, the recipes and the lengths; surroundings errors of the disk.
/// Nothing stays on the disk then.
pub fn write(
    folder: &Path,
    request: &BundleRequest<'_>,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<WrittenBundle> {
    check_design(request)?;
    let config = &request.coder.checkpoint.config;
    let partial = AtomicDir::create(folder, request.existing, &[MANIFEST_NAME])?;
    let packages = write_packages(partial.path(), request, progress)?;
    let mut files = Vec::new();
    for (name, content) in request.coder.checkpoint.companions()? {
        let path = partial.path().join(&name);
        fs::write(&path, &content).map_err(|e| Error::io("write", &path, e))?;
        files.push(file_entry(partial.path(), &name)?);
    }
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        model: model_info(request, &packages),
        routing: config.experts.as_ref().map(|experts| ExpertRouting {
            experts: experts.count,
            experts_per_token: experts.per_token,
            rule: rule(experts.routing).into(),
        }),
        input_scales: input_scales(&request.coder),
        packages: packages.into_iter().map(|written| written.entry).collect(),
        files,
    };
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|e| Error::bug("cannot write model.json").because(e))?;
    let path = partial.path().join(MANIFEST_NAME);
    fs::write(&path, text + "\n").map_err(|e| Error::io("write", &path, e))?;
    partial.put()?;
    Ok(WrittenBundle { manifest, folder: folder.to_owned() })
}

/// A package that has been written.
struct WrittenEntry {
    entry: PackageEntry,
    /// Where its functions may run.
    units: ComputeUnits,
}

/// Writes all packages into `folder`.
fn write_packages(
    folder: &Path,
    request: &BundleRequest<'_>,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<WrittenEntry>> {
    let config = &request.coder.checkpoint.config;
    let pieces = cut(&request.coder, &request.design, request.limits)?;
    let total = pieces.iter().map(|named| named.piece.tensors(config).len()).sum();
    let mut done = 0;
    let mut packages = Vec::new();
    for named in &pieces {
        for (name, only) in packages_of(named, request) {
            let mut before = || {
                progress(done, total)?;
                done = (done + 1).min(total);
                Ok(())
            };
            let path = format!("{name}.mlpackage");
            let (size_bytes, units) =
                write_piece(&folder.join(&path), named, only, request, &mut before)?;
            let files = package_files(&folder.join(&path))?;
            let (role, layers) = role(&named.piece, config);
            // An embedding can run apart from the rest, which exchanges hidden states with it.
            let is_apart = role == PackageRole::Embedding && units != ComputeUnits::All;
            let entry = PackageEntry {
                path,
                role,
                layers,
                function: only.map(str::to_owned),
                compute_units: is_apart.then_some(units),
                size_bytes,
                files,
            };
            packages.push(WrittenEntry { entry, units });
        }
    }
    Ok(packages)
}

/// Refuses what the design cannot have: lengths, caches, recipes, experts. Nothing is coded.
///
/// # Errors
/// Input errors that name the flag or the tensor, and what to use instead.
pub fn check_design(request: &BundleRequest<'_>) -> Result<()> {
    let BundleRequest { coder, design, .. } = request;
    let config = &coder.checkpoint.config;
    design.check(config.max_position_embeddings)?;
    refuse_model(config, design)?;
    let experts: Vec<usize> =
        (0..config.layers).filter(|layer| config.mixture(*layer).is_some()).collect();
    if !experts.is_empty() && design.target < Opset::Ios18 {
        return Err(Error::input(
            "experts need packages with several functions, which iOS 17 does not support",
        )
        .hint("use --target ios18"));
    }
    let experts = experts.into_iter().map(|layer| Piece::Experts { layer });
    let mut pieces = [Piece::whole(config)].into_iter().chain(experts);
    pieces.try_for_each(|piece| refuse_inexpressible(&piece, coder, design))
}

/// The total size of the packages that [`write()`] would write, in bytes, computed without coding
/// anything. `model.json` and the other files are not included.
///
/// # Errors
/// The errors of [`write()`] that can be found without weights.
pub fn predicted_bytes(request: &BundleRequest<'_>) -> Result<u64> {
    check_design(request)?;
    let counts = KeptCounts::default();
    let mut size_bytes = 0;
    for named in cut(&request.coder, &request.design, request.limits)? {
        for (_, only) in packages_of(&named, request) {
            let mut planner = WeightPlanner::new(request.coder, request.design.target, &counts);
            let weights =
                PlacedWeights::place(&named.piece, &request.coder, &request.design, &mut planner)?;
            let model = program(&named.piece, &weights, only, request)?;
            let weights = (!planner.is_empty()).then(|| planner.size_bytes());
            size_bytes += package_size_bytes(weights, &model);
        }
    }
    Ok(size_bytes)
}

/// The names of the packages of a piece, each with its only function, or `None` if it has all
/// functions. Before iOS 18, a package can have only one function.
fn packages_of(
    named: &NamedPiece,
    request: &BundleRequest<'_>,
) -> Vec<(String, Option<&'static str>)> {
    match request.design.target {
        Opset::Ios18 => vec![(named.name.clone(), None)],
        Opset::Ios17 => {
            let package =
                |function: &'static str| (format!("{}_{function}", named.name), Some(function));
            FUNCTIONS.map(package).to_vec()
        }
    }
}

/// The program of a piece that uses these weights.
fn program(
    piece: &Piece,
    weights: &PlacedWeights,
    only: Option<&str>,
    request: &BundleRequest<'_>,
) -> Result<Model> {
    let Coder { checkpoint, variant, .. } = request.coder;
    let functions = build(piece, &checkpoint.config, &request.design, weights, only)?;
    let facts = [("variant", variant.to_string()), ("numbers", crate::NUMERIC_VERSION.to_string())];
    let facts = facts.map(|(key, value)| (format!("evalkit.{key}"), value));
    let metadata = Metadata {
        short_description: format!("{} as {}", checkpoint.name, variant.label(&[])),
        license: request.license.to_owned(),
        user_defined: BTreeMap::from(facts),
        ..Metadata::default()
    };
    mil::model(functions.into_iter().map(|built| built.function).collect(), metadata)
}

/// Writes a package. Returns its size in bytes, and where its functions may run.
fn write_piece(
    path: &Path,
    named: &NamedPiece,
    only: Option<&str>,
    request: &BundleRequest<'_>,
    before: &mut dyn FnMut() -> Result<()>,
) -> Result<(u64, ComputeUnits)> {
    let mut package = PackageWriter::create(path, Existing::Keep)?;
    let mut writer = WeightWriter {
        coder: request.coder,
        target: request.design.target,
        context_tokens: request.design.context_tokens,
        file: package.weights(),
        before,
        last: None,
    };
    let weights = PlacedWeights::place(&named.piece, &request.coder, &request.design, &mut writer)?;
    let model = program(&named.piece, &weights, only, request)?;
    let units = ComputeUnits::of(&model);
    Ok((package.finish(&model)?.size_bytes, units))
}

fn model_info(request: &BundleRequest<'_>, packages: &[WrittenEntry]) -> ModelInfo {
    let BundleRequest { coder: Coder { checkpoint, variant, .. }, design, .. } = request;
    let config = &checkpoint.config;
    let is_barred = |written: &&WrittenEntry| {
        written.entry.compute_units.is_none() && written.units != ComputeUnits::All
    };
    let barred = packages.iter().find(is_barred);
    ModelInfo {
        name: checkpoint.name.clone(),
        variant: variant.to_string(),
        model_hash: checkpoint.content_hash(),
        target: design.target.id().into(),
        compute: design.compute.name().into(),
        cache: Some(design.cache.name().into()),
        compute_units: barred.map_or(ComputeUnits::All, |written| written.units),
        context_tokens: design.context_tokens,
        prefill_tokens: design.prefill_tokens,
        layers: config.layers,
        hidden_size: config.hidden_size,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        value_dim: (config.value_dim != config.head_dim).then_some(config.value_dim),
        conv_tokens: conv_tokens(config),
        vocab_size: config.vocab_size,
        sliding_window_tokens: (0..config.layers).find_map(|layer| config.window_tokens(layer)),
        size_bytes: packages.iter().map(|written| written.entry.size_bytes).sum(),
    }
}

fn input_scales(coder: &Coder<'_>) -> Vec<InputScaleEntry> {
    let scales = coder.scales.into_iter().flat_map(InputScales::iter);
    let entry = |(layer, input, scale): (Option<usize>, Input, f16)| InputScaleEntry {
        layer,
        input: input.name().into(),
        scale: scale.to_f32(),
    };
    scales.map(entry).collect()
}

/// The number of inputs of each short convolution that a runner keeps; `None` without such layers.
fn conv_tokens(config: &Config) -> Option<usize> {
    let has_conv = (0..config.layers).any(|layer| !config.has_attention(layer));
    config.conv.filter(|_| has_conv).map(|conv| conv.kernel_tokens.saturating_sub(1))
}

/// What the runner computes with the chosen experts.
fn rule(routing: Rule) -> &'static str {
    match routing {
        Rule::SoftmaxOfChosen | Rule::ChosenOfSoftmax { .. } | Rule::Scored(_) => {
            "hidden_states + sum over chosen experts of expert_weights[i] * expert_<expert_ids[i]>(normed_states)"
        }
    }
}

/// What a piece computes, and the index of its first block with the number of its blocks.
fn role(piece: &Piece, config: &Config) -> (PackageRole, Option<[usize; 2]>) {
    let (role, layers) = match piece {
        Piece::Chain { embedding: true, head: true, layers } => {
            (PackageRole::Whole, layers.clone())
        }
        Piece::Chain { layers, .. }
            if !layers.is_empty() && config.mixture(layers.start).is_some() =>
        {
            (PackageRole::Router, layers.clone())
        }
        Piece::Chain { layers, .. } if !layers.is_empty() => (PackageRole::Blocks, layers.clone()),
        Piece::Chain { head: true, .. } => (PackageRole::Head, 0..0),
        Piece::Chain { .. } => (PackageRole::Embedding, 0..0),
        Piece::Experts { layer } => (PackageRole::Experts, *layer..layer + 1),
    };
    (role, (!layers.is_empty()).then(|| [layers.start, layers.len()]))
}

/// The functions that the package `entry` should have, with the names of their weights.
///
/// # Errors
/// Input errors if the manifest does not fit the checkpoint.
pub fn planned_functions(
    coder: &Coder<'_>,
    manifest: &Manifest,
    entry: &PackageEntry,
) -> Result<Vec<PieceFunction>> {
    let config = &coder.checkpoint.config;
    let design = manifest.model.design()?;
    design.check(config.max_position_embeddings)?;
    refuse_model(config, &design)?;
    let piece = piece_of(entry, config)?;
    let counts = KeptCounts::default();
    let mut planner = WeightPlanner::new(*coder, design.target, &counts);
    let weights = PlacedWeights::place(&piece, coder, &design, &mut planner)?;
    build(&piece, config, &design, &weights, entry.function.as_deref())
}

/// The piece that a package holds. Returns an input error if the model has no such piece.
fn piece_of(entry: &PackageEntry, config: &Config) -> Result<Piece> {
    let [first, count] = entry.layers.unwrap_or_default();
    let end = first.checked_add(count).filter(|end| *end <= config.layers);
    let layers = first..end.ok_or_else(|| {
        Error::input(format!("{} has blocks that the model does not have", entry.path))
    })?;
    let chain = |embedding, head| Piece::Chain { embedding, layers: layers.clone(), head };
    Ok(match entry.role {
        PackageRole::Whole => chain(true, true),
        PackageRole::Embedding => chain(true, false),
        PackageRole::Blocks | PackageRole::Router => chain(false, false),
        PackageRole::Head => chain(false, true),
        PackageRole::Experts => Piece::Experts { layer: first },
    })
}
