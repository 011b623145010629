//! Codes variants by saved second moments, without a text. Layers are coded one by one. A variant's own
//! inputs are unknown, so layers cannot compensate the errors of earlier ones.

use std::time::Instant;

use super::equalise::{Factors, equalise};
use super::job::CalibrationJob;
use super::layer::Done;
use super::moments_file::MomentsFile;
use super::observed::{Correction, InputStats};
use super::unit::{Coder, Unit};
use crate::checkpoint::TensorId;
use crate::error::Result;
use crate::eval::lane::Cause;
use crate::eval::setting::Walk;
use crate::eval::timing::{Phase, Timings};
use crate::eval::variant::Variant;
use crate::eval::walk::{WalkObserver, stop_if_asked};
use crate::model::{self, Input};
use crate::quantize::calibrated::Moments;

/// Codes the variants of `plan` by saved moments and writes a file for each. Returns, per variant,
/// success or the cause of its failure. The windows of `plan` are not used.
///
/// # Errors
/// Input errors of the checkpoint, surroundings errors of the disk, interruption. Layers that were coded
/// before an interruption are saved.
pub fn write_by_moments(
    plan: &CalibrationJob<'_>,
    moments: &MomentsFile,
    timings: &mut Timings,
    observer: &mut dyn WalkObserver,
) -> Result<Vec<std::result::Result<(), Cause>>> {
    let Walk { checkpoint, variants, .. } = plan.walk;
    let layers = checkpoint.config.layers;
    let mut failures: Vec<Option<Cause>> = vec![None; variants.len()];
    for layer in 0..layers {
        observer.progress(layer, layers + 1);
        checkpoint.check_unchanged()?;
        let coding = LayerCoding { plan, moments, layer };
        coding.code(&mut failures, timings, observer)?;
        stop_if_asked(observer)?;
    }
    let finish = |(at, failure): (usize, Option<Cause>)| match failure {
        Some(cause) => Ok(Err(cause)),
        None => plan.finish_coded(at).map(Ok).or_else(|error| Cause::of(error).map(Err)),
    };
    let outcomes = failures.into_iter().enumerate().map(finish).collect::<Result<_>>()?;
    observer.progress(layers + 1, layers + 1);
    Ok(outcomes)
}

/// A layer that is being coded.
struct LayerCoding<'a> {
    plan: &'a CalibrationJob<'a>,
    moments: &'a MomentsFile,
    layer: usize,
}

impl LayerCoding<'_> {
    /// Codes the layer for every variant without a saved one, and saves it.
    fn code(
        &self,
        failures: &mut [Option<Cause>],
        timings: &mut Timings,
        observer: &mut dyn WalkObserver,
    ) -> Result<()> {
        let (plan, layer) = (self.plan, self.layer);
        let Walk { checkpoint, variants, .. } = plan.walk;
        let is_uncoded = |at: &usize| failures[*at].is_none() && plan.saved(*at, layer).is_none();
        let mut uncoded: Vec<(usize, Done)> =
            (0..variants.len()).filter(is_uncoded).map(|at| (at, Done::default())).collect();
        if uncoded.is_empty() {
            return Ok(());
        }
        let config = &checkpoint.config;
        let experts =
            (0..config.expert_count(layer)).map(|e| (Some(e), config.expert_tensors(layer, e)));
        for (expert, ids) in std::iter::once((None, config.block_tensors(layer))).chain(experts) {
            let unit = timings.measure(Phase::Read, || Unit::read(checkpoint, &ids))?;
            for (at, done) in &mut uncoded {
                if failures[*at].is_some() {
                    continue;
                }
                let clock = Instant::now();
                let coded = timings.measure(Phase::Code, || {
                    self.unit(unit.clone(), &ids, &variants[*at], expert, done)
                });
                done.elapsed += clock.elapsed();
                if let Err(error) = coded {
                    failures[*at] = Some(Cause::of(error.at(format!("layer {layer}")))?);
                }
            }
        }
        for (at, done) in uncoded {
            if failures[at].is_none() {
                plan.save(at, layer, &done)?;
                observer.coded(at, layer, done.elapsed)?;
            }
        }
        Ok(())
    }

    /// Codes a block without its experts, or one expert.
    fn unit(
        &self,
        mut unit: Unit,
        ids: &[TensorId],
        variant: &Variant,
        expert: Option<usize>,
        done: &mut Done,
    ) -> Result<()> {
        let Walk { checkpoint, device, .. } = self.plan.walk;
        let steps = [variant.attention, variant.mlp].map(|part| part.method.steps());
        let factors = match expert {
            None => equalise(&mut unit, &checkpoint.config, self.layer, steps, device)?,
            Some(_) => Factors::default(),
        };
        let mut coder = Coder::new(checkpoint, variant, device, unit)?;
        for input in Input::BLOCK {
            let reads = |id: &&TensorId| Input::of(id.role) == Some(input) && !id.bias;
            let roles: Vec<TensorId> = ids.iter().filter(reads).copied().collect();
            let Some(first) = roles.first() else { continue };
            let is_calibrated = match input {
                input if input.is_of_mixer() => steps[0].is_some(),
                _ => steps[1].is_some(),
            };
            let stats =
                if is_calibrated { self.input_stats(*first, &factors, input)? } else { None };
            for id in &roles {
                coder.code(id.role, stats.as_ref())?;
            }
        }
        let pools = |expert| self.moments.pools(checkpoint, self.layer, expert);
        let is_pooled = steps[1].is_some() && expert.is_some_and(pools);
        done.fitted.extend(coder.finish());
        done.pooled_experts += usize::from(is_pooled);
        Ok(())
    }

    /// The statistics of a tensor's inputs, after columns were equalised.
    fn input_stats(
        &self,
        id: TensorId,
        factors: &Factors,
        input: Input,
    ) -> Result<Option<InputStats>> {
        let Some(moments) = self.moments.moments(self.plan.walk.checkpoint, id)? else {
            return Ok(None);
        };
        let divide = |moments: Moments| match factors.of(input) {
            Some(factors) => moments.divided_by(&model::values(factors)?),
            None => Ok(moments),
        };
        let (moments, correction) = (divide(moments)?, Correction::None);
        Ok(Some(InputStats { moments, correction, observed: None }))
    }
}
