//! Calibrated coding: chooses the codes of variants so that their errors cost least on a text.
//!
//! The reference and all variants go through the layers side by side on the calibration windows. Each
//! linear layer of a variant is coded on the inputs that it receives in that variant, so that it can
//! compensate the errors of earlier layers. Every coded layer is saved in a part file at once, and an
//! interrupted walk continues after the saved layers. The part files are finally joined to one file of
//! coded weights, which is scored and packaged.
//!
//! Memory holds a block, the states of the windows (seven times for the reference, five times for a
//! variant), two matrices `[in, in]` in f64 for the current linear layer, and
//! [`scratch_bytes`](crate::quantize::calibrated::scratch_bytes).

mod checkpointing;
mod chosen;
mod collect;
mod correlation;
mod equalise;
mod experts;
mod from_moments;
mod job;
mod layer;
mod memory;
mod moments_file;
mod observed;
mod part_file;
mod stages;
mod tune_block;
mod tune_model;
mod unit;
mod whole_block;
mod windows;

use std::sync::Arc;
use std::time::Instant;

use candle_core::Tensor;

pub use collect::{Collection, collect};
use correlation::Tokens;
pub use from_moments::write_by_moments;
pub use job::CalibrationJob;
use layer::Done;
pub use memory::calibrating_memory;
pub use moments_file::MomentsFile;
use part_file::part_path;
pub use part_file::remove_part_files;
use stages::{LayerFit, Stages};
use tune_model::ModelTuning;
use unit::Unit;

use crate::error::Result;
use crate::eval::coded_file::CodedFile;
use crate::eval::embed;
use crate::eval::lane::{Cause, Lane};
use crate::eval::layer::{Layer, finish};
use crate::eval::setting::Walk;
use crate::eval::timing::{Phase, Timings};
use crate::eval::variant::Variant;
use crate::eval::walk::{WalkObserver, stop_if_asked};
use crate::eval::windows::route;
use crate::model::{self, Block, RopeTables};

/// Codes variants and writes a file for each. Returns, per variant, success or the cause of its failure.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the disk, interruption. Layers that were coded
/// before an interruption are saved.
pub fn write_calibrated(
    plan: &CalibrationJob<'_>,
    timings: &mut Timings,
    observer: &mut dyn WalkObserver,
) -> Result<Vec<std::result::Result<(), Cause>>> {
    let Walk { checkpoint, variants, windows, device, .. } = plan.walk;
    let layers = checkpoint.config.layers;
    let all = std::iter::once(Variant::reference()).chain(variants.iter().cloned());
    let mut lanes: Vec<Lane> = all.map(Lane::new).collect();
    timings.measure(Phase::Embedding, || embed::embed(&plan.walk, &mut lanes))?;
    let tokens = windows.iter().map(|window| window.ids.len()).max().unwrap_or(0);
    let rope = RopeTables::new(&checkpoint.config, tokens, device)?;
    for layer in 0..layers {
        observer.progress(layer, layers + 1);
        checkpoint.check_unchanged()?;
        if !plan.replay(layer, &rope, &mut lanes, timings)? {
            plan.layer(layer, &rope, &mut lanes, timings, observer)?;
        }
        stop_if_asked(observer)?;
    }
    let reference = if variants.iter().any(Variant::is_tuned_whole) {
        tune_model::normed(&plan.walk, &lanes[0].hidden)?
    } else {
        Vec::new()
    };
    let mut outcomes = Vec::new();
    for (at, lane) in lanes.drain(1..).enumerate() {
        let done = match lane.failure {
            Some(cause) => Err(cause),
            None => match plan.finish(at, &rope, &reference, observer) {
                Err(error) => Err(Cause::of(error)?),
                Ok(()) => Ok(()),
            },
        };
        outcomes.push(done);
    }
    observer.progress(layers + 1, layers + 1);
    Ok(outcomes)
}

impl CalibrationJob<'_> {
    /// Writes a variant's file from its part files, and removes those.
    fn finish_coded(&self, variant: usize) -> Result<()> {
        let path = &self.paths[variant];
        self.join(variant, path)?;
        remove_part_files(path)
    }

    /// Writes a variant's file, after tuning the whole model if its steps say so, and removes the part
    /// files.
    fn finish(
        &self,
        variant: usize,
        rope: &RopeTables,
        reference: &[Tensor],
        observer: &mut dyn WalkObserver,
    ) -> Result<()> {
        let path = &self.paths[variant];
        let of = &self.walk.variants[variant];
        if !of.is_tuned_whole() {
            return self.finish_coded(variant);
        }
        let (coded, state) = (part_path(path, "coded"), part_path(path, "tuning"));
        self.join(variant, &coded)?;
        let file = Arc::new(CodedFile::open(&coded)?);
        let tuning = ModelTuning { walk: &self.walk, variant: of, rope, file: &file, reference };
        let clock = Instant::now();
        let tuned = tuning.tune(&state, observer)?;
        observer.coded(variant, self.walk.checkpoint.config.layers, clock.elapsed())?;
        self.write_tuned(variant, &file, tuned)?;
        remove_part_files(path)
    }

    /// Takes every lane through a layer if its codes are saved for all of them; returns whether they are.
    fn replay(
        &self,
        layer: usize,
        rope: &RopeTables,
        lanes: &mut [Lane],
        timings: &mut Timings,
    ) -> Result<bool> {
        let (_, variants) = lanes.split_at_mut(1);
        for (at, lane) in variants.iter_mut().enumerate().filter(|(_, lane)| lane.is_alive()) {
            lane.file = self.saved(at, layer);
            if lane.file.is_none() {
                return Ok(false);
            }
        }
        Layer { walk: &self.walk, layer, rope }.run(lanes, timings)?;
        lanes.iter_mut().for_each(|lane| lane.file = None);
        Ok(true)
    }

    /// Codes a layer for every lane and saves it.
    fn layer(
        &self,
        layer: usize,
        rope: &RopeTables,
        lanes: &mut [Lane],
        timings: &mut Timings,
        observer: &mut dyn WalkObserver,
    ) -> Result<()> {
        let Walk { checkpoint, device, .. } = self.walk;
        let config = &checkpoint.config;
        let unit = timings
            .measure(Phase::Read, || Unit::read(checkpoint, &config.block_tensors(layer)))?;
        let block = Block::new(config, layer, unit.weights(checkpoint, device)?)?;
        let reference = timings.measure(Phase::ReferenceForward, || {
            Stages::of(config, layer, &block, &lanes[0].hidden, rope)
        })?;
        let outputs = &reference.output;
        let tokens = Tokens::by_output(outputs)?;
        let fit =
            LayerFit { walk: &self.walk, layer, rope, reference: &reference, tokens: &tokens };
        let mut done: Vec<Done> = lanes[1..].iter().map(|_| Done::default()).collect();
        for (lane, done) in lanes[1..].iter_mut().zip(&mut done) {
            if !lane.is_alive() {
                continue;
            }
            let clock = Instant::now();
            match timings.measure(Phase::Code, || fit.block(unit.clone(), lane)) {
                Ok((block, coded, normed)) => {
                    *done = Done { elapsed: clock.elapsed(), ..coded };
                    lane.routed = route(&block, &normed)?;
                }
                Err(error) => lane.fail(error.at(format!("layer {layer}")))?,
            }
        }
        lanes[0].routed = route(&block, &reference.mlp)?;
        lanes[0].hidden = outputs.clone();
        drop(unit);
        for expert in 0..config.expert_count(layer) {
            let ids = config.expert_tensors(layer, expert);
            let unit = timings.measure(Phase::Read, || Unit::read(checkpoint, &ids))?;
            self.expert(unit, expert, lanes, &mut done, timings)?;
        }
        lanes.iter_mut().try_for_each(|lane| finish(lane, config))?;
        for (at, (lane, done)) in lanes[1..].iter().zip(&done).enumerate() {
            if lane.is_alive() {
                self.save(at, layer, done)?;
                observer.coded(at, layer, done.elapsed)?;
            }
        }
        Ok(())
    }

    /// Codes an expert for every lane that has not failed.
    fn expert(
        &self,
        unit: Unit,
        expert: usize,
        lanes: &mut [Lane],
        done: &mut [Done],
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
        for (lane, done) in lanes[1..].iter_mut().zip(done) {
            if !lane.is_alive() {
                continue;
            }
            let clock = Instant::now();
            let coded = timings
                .measure(Phase::Code, || experts::code(&self.walk, unit.clone(), expert, lane));
            match coded {
                Ok(coded) => {
                    done.fitted.extend(coded.fitted);
                    done.pooled_experts += usize::from(coded.is_pooled);
                    done.elapsed += clock.elapsed();
                }
                Err(error) => lane.fail(error.at(format!("expert {expert}")))?,
            }
        }
        Ok(())
    }
}
