//! Writes and verifies Core ML packages, for one model or for every variant of a sweep.

use std::path::Path;

use super::calibration_text;
use super::inputs;
use super::job::Job;
use super::measure::Folder;
use super::observer::{Observer, Stage};
use super::score::Finished;
use crate::checkpoint::config::Config;
use crate::error::{At, Error, Exit, Result};
use crate::eval::{Coder, InputScales, Variant};
use crate::files::Existing;
use crate::package::bundle::{
    self, Bundle, BundleRequest, FileCheck, MANIFEST_NAME, Manifest, PackageLimits, check_design,
    predicted_bytes, warnings,
};
use crate::package::execute::Precision;
use crate::package::mil::Opset;
use crate::package::program::{Cache, Compute, Design};
use crate::package::verify::{
    VerificationInput, VerificationLink, WalkPrediction, predict_by_walk, verify,
};
use crate::results::{Cell, Done, Packaged, Record, Store, VerifiedLink, Window, finite, label};

/// The folder in a run's folder that holds the packages.
const PACKAGES: &str = "packages";
/// Tokens that verification predicts with the packages, if their cache holds as many.
pub(super) const VERIFIED_TOKENS: usize = 48;

/// Default number of tokens that the cache holds.
const CONTEXT_TOKENS: usize = 2048;
/// Default number of prompt tokens that are computed at a time, on the GPU and on the Neural Engine,
/// which is reported to refuse writing more rows than this into a state.
const PREFILL_TOKENS: usize = 64;
const ANE_PREFILL_TOKENS: usize = 32;

/// How packages are written.
#[derive(Debug, Clone)]
pub struct PackageOptions {
    /// The oldest system that the packages must run on.
    pub target: Opset,
    /// The compute units that the packages are laid out for.
    pub compute: Compute,
    /// How keys and values are kept; `None` takes states where the target has them.
    pub cache: Option<Cache>,
    /// Tokens that the cache holds; the default is 2048, or the model's context if that is shorter.
    pub max_sequence_length: Option<usize>,
    /// Tokens of a prompt that are computed at a time; the default is 64, or 32 for the Neural Engine.
    pub prefill_length: Option<usize>,
    /// Largest weight file of one package, in bytes; a larger model becomes several packages.
    pub chunk_bytes: Option<u64>,
    /// The licence of the weights, for the packages' metadata.
    pub license: String,
}

impl PackageOptions {
    /// The request to write `coder`'s model with these options.
    pub fn order<'a>(&'a self, coder: Coder<'a>, existing: Existing) -> BundleRequest<'a> {
        let limits = PackageLimits::of(self.compute);
        BundleRequest {
            coder,
            design: self.design(&coder.checkpoint.config),
            limits: PackageLimits {
                chunk_bytes: self.chunk_bytes.unwrap_or(limits.chunk_bytes),
                ..limits
            },
            license: &self.license,
            existing,
        }
    }

    /// What packages of a model with this `config.json` are made for.
    pub fn design(&self, config: &Config) -> Design {
        let longest = config.max_position_embeddings;
        let context_tokens = self.max_sequence_length.unwrap_or(CONTEXT_TOKENS.min(longest));
        let prefill_tokens = match self.compute {
            Compute::Gpu => PREFILL_TOKENS,
            Compute::Ane => ANE_PREFILL_TOKENS,
        };
        let prefill_tokens = self.prefill_length.unwrap_or(prefill_tokens.min(context_tokens));
        Design {
            target: self.target,
            compute: self.compute,
            cache: self.cache.unwrap_or(Cache::of(self.target)),
            context_tokens,
            prefill_tokens,
        }
    }
}

impl Default for PackageOptions {
    fn default() -> Self {
        PackageOptions {
            target: Opset::Ios18,
            compute: Compute::default(),
            cache: None,
            max_sequence_length: None,
            prefill_length: None,
            chunk_bytes: None,
            license: String::new(),
        }
    }
}

/// Writes a model as Core ML packages into `folder` and returns their total size in bytes.
///
/// `model` is a checkpoint as [`PlanOptions::model`](crate::PlanOptions::model) spells it; `recipe` is
/// the recipe of the decoder blocks, such as `palette4-g16-s`, or a mix by part. Recipes that need a
/// calibration text are written by the command line only.
///
/// # Errors
/// Input errors of checkpoint, recipe and lengths, or of a folder that already exists; surroundings
/// errors of the disk; interruption. An incomplete folder is removed.
pub fn package(
    model: &str,
    recipe: &str,
    options: &PackageOptions,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<u64> {
    let checkpoint = inputs::open_checkpoint(model, None, observer)?;
    let variant: Variant = recipe.parse()?;
    let scales = InputScales::default();
    let coder =
        Coder { checkpoint: &checkpoint, variant: &variant, file: None, scales: Some(&scales) };
    coder.check()?;
    let order = options.order(coder, Existing::Keep);
    warn(&order, observer)?;
    let manifest = write(&order, folder, observer)?;
    Ok(manifest.model.size_bytes)
}

/// Writes packages as one stage.
///
/// # Errors
/// As [`bundle::write()`], interruption.
pub fn write(
    order: &BundleRequest<'_>,
    folder: &Path,
    observer: &dyn Observer,
) -> Result<Manifest> {
    let stage = Stage::new("packaging", observer);
    let mut step = |done, total| stage.step(done as u64, total as u64);
    Ok(bundle::write(folder, order, &mut step)?.manifest)
}

/// Says what others report to go wrong with packages like these.
///
/// # Errors
/// Input errors of the variant.
pub fn warn(order: &BundleRequest<'_>, observer: &dyn Observer) -> Result<()> {
    warnings(order)?.iter().for_each(|line| observer.warning(line));
    Ok(())
}

/// Refuses a sweep whose packages cannot hold one of its variants, or that has no variant to package,
/// before anything is scored, and warns once of what applies to any of them.
///
/// # Errors
/// An input error that names the variant and the nearest recipe.
pub fn check_variants(job: &Job, options: &PackageOptions, observer: &dyn Observer) -> Result<()> {
    if job.cells.iter().all(|(cell, _)| cell.is_reference) {
        return Err(Error::input(
            "there is nothing to package: fp keeps the checkpoint's own types, and Core ML has no bf16",
        )
        .hint("add a recipe that can be packaged, such as --recipes fp16"));
    }
    let mut told = Vec::new();
    for (cell, variant) in job.cells.iter().filter(|(cell, _)| !cell.is_reference) {
        let coder = Coder { checkpoint: &job.checkpoint, variant, file: None, scales: None };
        let order = options.order(coder, Existing::Replace);
        check_design(&order).map_err(|error| error.at(cell.label()))?;
        for line in warnings(&order)? {
            if !told.contains(&line) {
                observer.warning(&line);
                told.push(line);
            }
        }
    }
    Ok(())
}

/// Verifies packages as one stage.
///
/// # Errors
/// As [`verify`], interruption.
pub fn check(
    question: &VerificationInput<'_>,
    walked: &WalkPrediction,
    observer: &dyn Observer,
) -> Result<Vec<VerificationLink>> {
    let stage = Stage::new("verifying", observer);
    if let Some(stop) = observer.stop_flag() {
        question.bundle.stop_by(stop);
    }
    verify(question, walked, &mut |done, total| stage.step(done as u64, total as u64))
}

/// The predicted size of each variant's packages in bytes, or why it cannot be packaged. No weights
/// are coded.
///
/// # Errors
/// Surroundings errors of reading the checkpoint.
pub fn planned<'a>(job: &'a Job, options: &PackageOptions) -> Result<Vec<(&'a Cell, Result<u64>)>> {
    let mut sizes = Vec::new();
    for (cell, variant) in job.cells.iter().filter(|(cell, _)| !cell.is_reference) {
        let file = job.coded.iter().find(|file| file.variant == *variant);
        let config = &job.checkpoint.config;
        let size = calibration_text::planned(variant, config).and_then(|scales| {
            let scales = Some(&scales);
            let coder = Coder { checkpoint: &job.checkpoint, variant, file, scales };
            predicted_bytes(&options.order(coder, Existing::Replace))
        });
        match size {
            Err(error) if error.exit() != Exit::Input => return Err(error),
            size => sizes.push((cell, size)),
        }
    }
    Ok(sizes)
}

/// Packages, verifies and records every scored variant that is not packaged yet, or whose packages are of
/// another design or were damaged.
///
/// # Errors
/// Surroundings errors of the disk and the store, interruption. A variant that cannot be packaged
/// is recorded with its cause.
pub fn package_all(
    job: &Job,
    finished: &mut Finished,
    options: &PackageOptions,
    observer: &dyn Observer,
) -> Result<()> {
    let mut store = Store::open(&finished.folder)?;
    for (cell, variant) in job.cells.iter().filter(|(cell, _)| !cell.is_reference) {
        let file = job.coded.iter().find(|file| file.variant == *variant);
        let Some(done) = store.index().done(&cell.cell_id) else { continue };
        let scales = scales(done)?;
        let coder = Coder { checkpoint: &job.checkpoint, variant, file, scales: Some(&scales) };
        let order = options.order(coder, Existing::Replace);
        let folder = finished.folder.join(PACKAGES).join(folder_name(cell));
        let packaging = Packaging { job, cell, order, folder: &folder, observer };
        if packaging.is_current(&store.index().packaged(&cell.cell_id)) {
            continue;
        }
        let packaged = match packaging.run() {
            Ok(packaged) => with_fp16_range(packaged, &store.index().windows_of(&cell.cell_id)),
            Err(error) => packaging.failed(&error.recordable()?),
        };
        store.append(&[Record::Packaged(packaged)])?;
        finished.was_done = false;
    }
    finished.records = store.index().records().to_vec();
    Ok(())
}

/// Adds a link that does not hold if fp16 does not hold an activation on one of the scored windows.
fn with_fp16_range(mut packaged: Packaged, windows: &[&Window]) -> Packaged {
    let overflow = windows.iter().find_map(|window| window.fp16_overflow.as_ref());
    if let (Some(overflow), None) = (overflow, packaged.broken()) {
        let (link, what) = ("fp16".to_owned(), overflow.what.clone());
        packaged.links.push(VerifiedLink { link, what, ..VerifiedLink::default() });
    }
    packaged
}

/// The folders of those packages of this design that were verified to be the model that was scored.
pub fn proven(job: &Job, finished: &Finished, options: &PackageOptions) -> Vec<Folder> {
    let design = design_name(&options.design(&job.checkpoint.config));
    let is_proven = |cell: &Cell| {
        let own = finished.records.iter().rev().find_map(|record| match record {
            Record::Packaged(packaged) => Some(packaged)
                .filter(|packaged| packaged.cell_id == cell.cell_id && packaged.design == design),
            _ => None,
        });
        own.is_some_and(|packaged| packaged.broken().is_none())
    };
    let proven = job.cells.iter().filter(|(cell, _)| !cell.is_reference && is_proven(cell));
    let folder = |(cell, _): &(Cell, Variant)| Folder {
        path: finished.folder.join(PACKAGES).join(folder_name(cell)),
        cell_id: Some(cell.cell_id.clone()),
    };
    proven.map(folder).collect()
}

/// The scales that a variant's int8 inputs had when it was scored.
fn scales(done: &Done) -> Result<InputScales> {
    InputScales::named(done.input_scales.iter().map(|of| (of.layer, of.input.as_str(), of.scale)))
}

/// The packaging of one variant.
struct Packaging<'a> {
    job: &'a Job,
    cell: &'a Cell,
    order: BundleRequest<'a>,
    folder: &'a Path,
    observer: &'a dyn Observer,
}

impl Packaging<'_> {
    /// Whether the folder holds these packages as `known`, the records of this variant, says. If they
    /// were packaged and the folder holds something else, the user is told.
    fn is_current(&self, known: &[&Packaged]) -> bool {
        let design = design_name(&self.order.design);
        let is_known = known.iter().any(|packaged| packaged.design == design);
        if !is_known || !self.folder.join(MANIFEST_NAME).exists() {
            return false;
        }
        match self.compare(&design) {
            Ok(()) => true,
            Err(error) => {
                let why = error.cause();
                self.observer.message(&format!("writing and verifying packages again: {why}"));
                false
            }
        }
    }

    /// Compares the folder's `model.json` with the design, and its files with their hashes.
    fn compare(&self, design: &str) -> Result<()> {
        let place = || self.folder.display();
        let bundle = Bundle::open(self.folder)?;
        let found = design_name(&bundle.manifest.model.design().at(place)?);
        if found != design {
            let what = format!("expected packages for {design}, found {found}");
            return Err(Error::input(what)).at(place);
        }
        bundle.check_files(FileCheck::Hashes).at(place)
    }

    fn run(&self) -> Result<Packaged> {
        let predicted_bytes = predicted_bytes(&self.order)?;
        if let Some(parent) = self.folder.parent() {
            std::fs::create_dir_all(parent).map_err(|e| Error::io("make the folder", parent, e))?;
        }
        let manifest = write(&self.order, self.folder, self.observer)?;
        let bundle = Bundle::open(self.folder)?;
        let window = self.job.windows.first().map_or(&[][..], |window| &window.ids);
        let tokens = window.len().min(VERIFIED_TOKENS).min(self.order.design.context_tokens);
        let question = VerificationInput {
            bundle: &bundle,
            coder: self.order.coder,
            ids: &window[..tokens],
            precision: Precision::Single,
        };
        let walked = predict_by_walk(question.coder, question.ids, &self.job.device)?;
        let links = check(&question, &walked, self.observer)?;
        Ok(Packaged {
            packages: manifest.packages.len(),
            size_bytes: manifest.model.size_bytes,
            predicted_bytes,
            links: links.iter().map(recorded).collect(),
            ..self.named()
        })
    }

    /// The record of a variant that could not be packaged.
    fn failed(&self, error: &Error) -> Packaged {
        let (link, what) = ("files".to_owned(), error.cause());
        let link = VerifiedLink { link, what, ..VerifiedLink::default() };
        Packaged { links: vec![link], ..self.named() }
    }

    fn named(&self) -> Packaged {
        let (cell_id, design) = (self.cell.cell_id.clone(), design_name(&self.order.design));
        Packaged { cell_id, design, ..Packaged::default() }
    }
}

fn recorded(link: &VerificationLink) -> VerifiedLink {
    let distance = link.distance.unwrap_or_default();
    VerifiedLink {
        link: link.name.to_owned(),
        holds: link.holds,
        what: link.what.clone(),
        tokens: distance.tokens,
        kl_nats: finite(distance.kl_nats * distance.tokens as f64),
        worst_kl_nats: finite(distance.worst_kl_nats),
        top1_agree: distance.top1_agree,
    }
}

fn design_name(design: &Design) -> String {
    let Design { target, compute, cache, context_tokens, prefill_tokens } = design;
    let kept = if *cache == Cache::of(*target) { "" } else { " as inputs" };
    let target = target.id();
    format!("{target} {compute}, cache {context_tokens}{kept}, prefill {prefill_tokens}")
}

/// A variant's label as the name of a folder.
fn folder_name(cell: &Cell) -> String {
    label(&cell.variant, &cell.parts).replace(':', "=")
}
