//! Calibrated coding: variants whose codes are chosen by what their errors cost on a text.
//!
//! All variants and the reference walk the calibration windows side by side, layer by layer. A
//! variant's own states are what its linear layers are given, so that each layer is coded for the
//! inputs that it will have, and is asked to make up for what earlier ones lost. Every layer is kept
//! in a part file as soon as it is coded; a walk that was interrupted replays those and goes on. The
//! parts become one file of coded weights, which is what is scored and packaged.
//!
//! Beside a block and the states of the windows (five times in the reference, three times in a
//! variant) this takes two matrices `[in, in]` in f64 for the linear layer at hand, and what
//! [`scratch_bytes`](crate::quantize::calibrated::scratch_bytes) says.

mod correlation;
mod equalise;
mod experts;
mod fine;
mod layer;
mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use layer::{both, dense, each};

use correlation::Tokens;
use layer::{Fit, Stages};
use unit::{Fitted, Unit};

use super::code_file::{Calibrated, Content, contents, write_contents};
use super::coded_file::CodedFile;
use super::coder::Coder;
use super::embed;
use super::lane::{Cause, Lane};
use super::layer::{Layer, finish};
use super::setting::Walk;
use super::timing::{Phase, Timings};
use super::variant::Variant;
use super::walk::{Observer, stop_if_asked};
use crate::checkpoint::TensorId;
use crate::error::{Error, Result};
use crate::model::{self, Block, RopeTables};

/// What is to be coded, and where to.
pub struct Plan<'a> {
    /// The walk: its windows are those of calibration, its variants those to be coded.
    pub walk: Walk<'a>,
    /// Per variant the file that is to be written.
    pub paths: &'a [PathBuf],
    /// Hash of the windows, kept in the files.
    pub windows_hash: &'a str,
}

/// Codes variants and writes a file for each; gives, per variant, the number of experts that had too
/// few tokens, or why there is no file.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the disk, interruption: layers that were
/// coded by then are kept.
pub fn write_calibrated(
    plan: &Plan<'_>,
    timings: &mut Timings,
    observer: &mut dyn Observer,
) -> Result<Vec<std::result::Result<usize, Cause>>> {
    let Walk { checkpoint, variants, windows, device, .. } = plan.walk;
    let layers = checkpoint.config.layers;
    let all = std::iter::once(Variant::reference()).chain(variants.iter().cloned());
    let mut lanes: Vec<Lane> = all.map(Lane::new).collect();
    timings.measure(Phase::Embedding, || embed::embed(&plan.walk, &mut lanes))?;
    let tokens = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
    let rope = RopeTables::new(&checkpoint.config, tokens, device)?;
    let mut pooled = vec![0; variants.len()];
    for layer in 0..layers {
        observer.progress(layer, layers + 1);
        checkpoint.check_unchanged()?;
        if !plan.replay(layer, &rope, &mut lanes, timings)? {
            plan.layer(layer, &rope, &mut lanes, &mut pooled, timings)?;
        }
        stop_if_asked(observer)?;
    }
    let mut outcomes = Vec::new();
    for (at, lane) in lanes.drain(1..).enumerate() {
        let done = match lane.failure {
            Some(cause) => Err(cause),
            None => plan.join(at, layers).map(|()| pooled[at]).map_err(|e| Cause::from(&e)),
        };
        outcomes.push(done);
    }
    observer.progress(layers + 1, layers + 1);
    Ok(outcomes)
}

impl Plan<'_> {
    fn part(&self, variant: usize, layer: usize) -> PathBuf {
        let path = &self.paths[variant];
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        path.with_file_name(format!("{name}.layer{layer}"))
    }

    /// A layer's part file, where it is there and belongs to this calibration.
    fn kept(&self, variant: usize, layer: usize) -> Option<Arc<CodedFile>> {
        let file = CodedFile::open(&self.part(variant, layer)).ok()?;
        let is_ours = file.model_hash == self.walk.checkpoint.content_hash()
            && file.variant == self.walk.variants[variant]
            && file.calibrated.windows_hash == self.windows_hash;
        is_ours.then(|| Arc::new(file))
    }

    /// Takes every lane through a layer that is kept for all of them; whether it was.
    fn replay(
        &self,
        layer: usize,
        rope: &RopeTables,
        lanes: &mut [Lane],
        timings: &mut Timings,
    ) -> Result<bool> {
        let (_, variants) = lanes.split_at_mut(1);
        for (at, lane) in variants.iter_mut().enumerate().filter(|(_, lane)| lane.is_alive()) {
            lane.file = self.kept(at, layer);
            if lane.file.is_none() {
                return Ok(false);
            }
        }
        Layer { walk: &self.walk, layer, rope }.run(lanes, timings)?;
        lanes.iter_mut().for_each(|lane| lane.file = None);
        Ok(true)
    }

    /// Codes a layer for every lane, and keeps it.
    fn layer(
        &self,
        layer: usize,
        rope: &RopeTables,
        lanes: &mut [Lane],
        pooled: &mut [usize],
        timings: &mut Timings,
    ) -> Result<()> {
        let Walk { checkpoint, device, .. } = self.walk;
        let config = &checkpoint.config;
        let unit = timings
            .measure(Phase::Read, || Unit::read(checkpoint, &config.block_tensors(layer)))?;
        let block = Block::new(config, layer, unit.weights(checkpoint, device)?)?;
        let reference = timings
            .measure(Phase::ReferenceForward, || Stages::of(&block, &lanes[0].hidden, rope))?;
        let outputs = if block.mlp().is_some() { &reference.output } else { &reference.attended };
        let tokens = Tokens::by_output(outputs)?;
        let fit = Fit { walk: &self.walk, layer, rope, reference: &reference, tokens: &tokens };
        let mut fitted: Vec<Vec<Fitted>> = lanes[1..].iter().map(|_| Vec::new()).collect();
        for (lane, fitted) in lanes[1..].iter_mut().zip(&mut fitted) {
            if !lane.is_alive() {
                continue;
            }
            match timings.measure(Phase::Code, || fit.block(unit.clone(), lane)) {
                Ok((block, coded)) => {
                    *fitted = coded;
                    lane.routed = route(&block, &lane.hidden)?;
                }
                Err(error) => lane.fail(&error.at(format!("layer {layer}"))),
            }
        }
        lanes[0].routed = route(&block, &reference.attended)?;
        lanes[0].hidden = outputs.clone();
        drop(unit);
        let experts = config.experts.as_ref().map_or(0, |experts| experts.count);
        for expert in 0..experts {
            let ids = config.expert_tensors(layer, expert);
            let unit = timings.measure(Phase::Read, || Unit::read(checkpoint, &ids))?;
            self.expert(unit, expert, lanes, &mut fitted, pooled, timings)?;
        }
        lanes.iter_mut().try_for_each(finish)?;
        for (at, (lane, fitted)) in lanes[1..].iter().zip(&fitted).enumerate() {
            if lane.is_alive() {
                self.keep(at, layer, fitted)?;
            }
        }
        Ok(())
    }

    /// Codes an expert for every lane that lives.
    fn expert(
        &self,
        unit: Unit,
        expert: usize,
        lanes: &mut [Lane],
        fitted: &mut [Vec<Fitted>],
        pooled: &mut [usize],
        timings: &mut Timings,
    ) -> Result<()> {
        let Walk { checkpoint, device, .. } = self.walk;
        let mlp = model::Mlp::new(&checkpoint.config, unit.weights(checkpoint, device)?)?;
        timings.measure(Phase::ReferenceForward, || {
            lanes[0]
                .routed
                .iter_mut()
                .try_for_each(|routed| routed.apply(expert, |x| mlp.forward(x)))
        })?;
        for (at, lane) in lanes[1..].iter_mut().enumerate() {
            if !lane.is_alive() {
                continue;
            }
            let coded = timings
                .measure(Phase::Code, || experts::code(&self.walk, unit.clone(), expert, lane));
            match coded {
                Ok(coded) => {
                    fitted[at].extend(coded.fitted);
                    pooled[at] += usize::from(coded.is_pooled);
                }
                Err(error) => lane.fail(&error.at(format!("expert {expert}"))),
            }
        }
        Ok(())
    }

    /// Writes a layer's part file.
    fn keep(&self, variant: usize, layer: usize, fitted: &[Fitted]) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let mut contents: Vec<Content> = Vec::new();
        let mut errors = BTreeMap::new();
        for one in fitted {
            let stored = checkpoint.stored(one.id)?;
            contents.push((one.id.name(), one.id, of.recipe_of(one.id, stored)));
            if let Some(coding) = &one.coding {
                let steps = coding.errors.iter().map(|(step, error)| (step.to_string(), *error));
                errors.insert(one.id.name(), steps.collect());
            }
        }
        let calibrated = Calibrated { windows_hash: self.windows_hash.to_owned(), errors };
        let path = self.part(variant, layer);
        write_contents(&path, (checkpoint, of), &contents, &calibrated, &mut |id| {
            let found = fitted.iter().find(|one| one.id == id);
            found.map(|one| one.tensor.clone()).ok_or_else(|| Error::bug("a tensor was not coded"))
        })
    }

    /// Joins a variant's parts, and what no layer holds, to its file, and removes the parts.
    fn join(&self, variant: usize, layers: usize) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let path = &self.paths[variant];
        let mut parts = Vec::new();
        let mut calibrated =
            Calibrated { windows_hash: self.windows_hash.to_owned(), ..Calibrated::default() };
        for layer in 0..layers {
            let part = CodedFile::open(&self.part(variant, layer))?;
            calibrated.errors.extend(part.calibrated.errors.clone());
            parts.push(Arc::new(part));
        }
        let contents = contents(checkpoint, of);
        write_contents(path, (checkpoint, of), &contents, &calibrated, &mut |id: TensorId| {
            let file = id.layer.and_then(|layer| parts.get(layer));
            Coder { checkpoint, variant: of, file, scales: None }.tensor(id)
        })?;
        for layer in 0..layers {
            remove(&self.part(variant, layer))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    std::fs::remove_file(path).map_err(|error| Error::io("remove", path, error))
}

/// Where tokens go in a mixture; nothing in a dense block.
pub(super) fn route(block: &Block, hidden: &[candle_core::Tensor]) -> Result<Vec<model::Routed>> {
    if block.mlp().is_some() {
        return Ok(Vec::new());
    }
    let normed = layer::each(hidden, |x| block.mlp_input(x))?;
    Ok(normed
        .into_iter()
        .map(|x| block.route(x))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}
