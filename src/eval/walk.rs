//! The walk: layers outside, variants inside, windows innermost; every weight is read once.
//!
//! ```text
//! for each layer:  read its tensors as f32              (once for all variants)
//!                  code them for every variant          (small: codes, tables, scales)
//!                  reference: forward, drop the f32     (one block in f32 at a time)
//!                  each variant: decode, forward, drop  (one block in f32 at a time)
//! ```
//!
//! In a mixture of experts the same is done for the block without its experts and then for each
//! expert (`layer.rs`).
//!
//! A variant's results do not depend on the other variants: each window of each variant is computed
//! separately, in a fixed order of operations. Threads divide only windows and tiles among them.

use std::time::Duration;

use super::embed;
use super::final_weights::FinalWeights;
use super::head;
use super::lane::{Lane, Outcome, Resumed};
use super::layer::{CodedUnit, Layer, code};
use super::setting::Walk;
use super::state::State;
use super::timing::{Phase, Timings};
use super::variant::Variant;
use crate::checkpoint::TensorId;
use crate::error::{Error, Result};
use crate::model::RopeTables;

/// Receives the progress and state of a walk, and can stop it.
pub trait WalkObserver {
    /// `done` of `total` steps: the embedding, the layers, the slices of the head.
    fn progress(&mut self, done: usize, total: usize);

    /// Whether to stop at the next layer; the walk then ends with an interrupted error.
    fn interrupted(&self) -> bool;

    /// Offers the state after a layer, which the observer may save.
    ///
    /// # Errors
    /// Surroundings errors.
    fn keep(&mut self, state: &State<'_>) -> Result<()>;

    /// A layer of a calibrated variant has been coded and saved; `variant` is its index in the walk.
    ///
    /// # Errors
    /// Surroundings errors.
    fn coded(&mut self, _variant: usize, _layer: usize, _elapsed: Duration) -> Result<()> {
        Ok(())
    }
}

/// The result of a walk.
#[derive(Debug)]
pub struct Walked {
    /// The reference first, then the variants in the order given.
    pub outcomes: Vec<Outcome>,
    /// Where the time went.
    pub timings: Timings,
}

impl Walk<'_> {
    /// Walks every layer, from the start or from a saved state.
    ///
    /// # Errors
    /// Input errors of the checkpoint, interruption, and errors of the observer. If a variant's weights
    /// cannot be coded, only that variant fails.
    pub fn run(&self, resume: Option<Resumed>, observer: &mut dyn WalkObserver) -> Result<Walked> {
        let layers = self.checkpoint.config.layers;
        let total = layers + 1 + self.checkpoint.config.vocab_size.div_ceil(super::SLICE_ROWS);
        let mut timings = Timings::default();
        let (first, mut lanes) = match resume {
            Some(resumed) => (resumed.next_layer, resumed.lanes),
            None => (0, self.lanes()?),
        };
        for (lane, file) in lanes.iter_mut().skip(1).zip(self.coded) {
            lane.file.clone_from(file);
        }
        if first == 0 {
            timings.measure(Phase::Embedding, || embed::embed(self, &mut lanes))?;
        }
        let rope = self.rope()?;
        for layer in first..layers {
            observer.progress(1 + layer, total);
            self.checkpoint.check_unchanged()?;
            let one = Layer { walk: self, layer, rope: &rope };
            one.run(&mut lanes, &mut timings)?;
            observer.keep(&State { next_layer: layer + 1, lanes: &lanes })?;
            stop_if_asked(observer)?;
        }
        let last = self.final_weights(&mut lanes)?;
        let outcomes = head::score(self, lanes, &last, &mut timings, &mut |slice| {
            observer.progress(1 + layers + slice, total);
            stop_if_asked(observer)
        })?;
        self.checkpoint.check_unchanged()?;
        observer.progress(total, total);
        Ok(Walked { outcomes, timings })
    }

    /// The lanes before the first layer.
    fn lanes(&self) -> Result<Vec<Lane>> {
        let config = &self.checkpoint.config;
        for variant in self.variants {
            variant.check(config)?;
            if !variant.int8_inputs(config)?.is_empty() && self.calibration_windows().is_empty() {
                return Err(Error::bug(format!("{variant} without calibration windows")));
            }
        }
        let variants = std::iter::once(Variant::reference()).chain(self.variants.iter().cloned());
        Ok(variants.map(Lane::new).collect())
    }

    fn rope(&self) -> Result<RopeTables> {
        let windows = self.windows.iter().chain(self.calibration_windows());
        let tokens = windows.map(|window| window.ids.len()).max().unwrap_or(0);
        RopeTables::new(&self.checkpoint.config, tokens, self.device)
    }

    /// The final norm and the bias of the head, for each lane.
    fn final_weights(&self, lanes: &mut [Lane]) -> Result<Vec<Option<FinalWeights>>> {
        let config = &self.checkpoint.config;
        let read = |id: TensorId| Ok((id, self.checkpoint.read(id)?));
        let tensors = FinalWeights::ids(config).into_iter().map(read);
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let reference = FinalWeights::new(config, self.device, tensors.iter().cloned())?;
        let mut all = vec![Some(reference)];
        for lane in &mut lanes[1..] {
            let coded = code(lane, self.checkpoint, &tensors)?;
            let decoded = |coded: CodedUnit| {
                let decoded = coded.into_iter().map(|(id, form)| (id, form.decode()));
                FinalWeights::new(config, self.device, decoded)
            };
            all.push(coded.map(decoded).transpose()?);
        }
        Ok(all)
    }
}

/// Fails if the observer asks the walk to stop.
///
/// # Errors
/// Interruption.
pub fn stop_if_asked(observer: &dyn WalkObserver) -> Result<()> {
    if observer.interrupted() { Err(Error::interrupted()) } else { Ok(()) }
}
