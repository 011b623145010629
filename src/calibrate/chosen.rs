//! Chooses between the codes that are calibrated and those that are found from the weights alone.
//!
//! Calibration can lose: to few tokens, or to statistics that a few tokens dominate. Both codes of a
//! tensor are judged on the last quarter of the windows. Calibrated codes are fitted to all windows, so
//! unless they win there clearly, they are judged by codes that are fitted to the other windows alone.

use super::observed::{InputStats, Observed};
use crate::error::{Error, Result};
use crate::quantize::calibrated::{self, Coding, relative_error};
use crate::quantize::{CodedTensor, REFERENCE_IS_STORED, Recipe, Steps, quantize};

/// Below this share of the data-free error, codes win on windows that they were fitted to as well.
const CLEARLY: f64 = 0.8;

/// A tensor that is coded.
pub struct TensorJob<'a> {
    /// Its recipe.
    pub recipe: Recipe,
    /// Its original weights.
    pub weights: &'a [f32],
    /// `[out, in]`.
    pub shape: [usize; 2],
    /// The steps of calibration.
    pub steps: Steps,
    /// Draws the start of tables of vectors.
    pub seed: u64,
}

impl TensorJob<'_> {
    /// The calibrated codes, or those found from the weights alone if these are better.
    ///
    /// # Errors
    /// Input errors: statistics that are not finite, a recipe that does not fit.
    pub fn code(&self, stats: &InputStats) -> Result<(CodedTensor, Coding)> {
        let (tensor, mut coding) = self.calibrated(stats)?;
        let free = quantize(&self.recipe, self.weights, self.shape, None)?;
        let free = free.ok_or_else(|| Error::input(REFERENCE_IS_STORED))?;
        let held_out = stats
            .observed
            .as_ref()
            .and_then(|observed| observed.first_held_out().map(|first| (observed, first)));
        let target = stats.target(self.weights, self.shape)?;
        let of_free = relative_error(&free, &target, &stats.moments);
        let wins = match held_out {
            Some((observed, first)) => self.wins(observed, first, &tensor, &free)?,
            None => coding.errors.last().is_none_or(|(_, error)| *error < of_free),
        };
        if wins || free == tensor {
            return Ok((tensor, coding));
        }
        coding.is_data_free = true;
        if let Some((_, error)) = coding.errors.last_mut() {
            *error = of_free;
        }
        Ok((free, coding))
    }

    fn calibrated(&self, stats: &InputStats) -> Result<(CodedTensor, Coding)> {
        let target = stats.target(self.weights, self.shape)?;
        let TensorJob { recipe, shape, steps, seed, .. } = *self;
        calibrated::code(&recipe, &target, shape, &stats.moments, steps, seed)
    }

    /// Whether calibrated codes have a smaller error than data-free ones on the windows from `first` on.
    fn wins(
        &self,
        observed: &Observed,
        first: usize,
        tensor: &CodedTensor,
        free: &CodedTensor,
    ) -> Result<bool> {
        let held_out = first..observed.inputs.len();
        let errors = observed.errors(self.weights, &[tensor, free], held_out.clone())?;
        let [fitted, of_free] = [0, 1].map(|at| errors.get(at).copied().unwrap_or(f64::NAN));
        if observed.is_ample() && fitted < of_free * CLEARLY {
            return Ok(true);
        }
        if fitted.is_nan() || fitted > of_free {
            return Ok(false);
        }
        let (others, _) = self.calibrated(&observed.stats(0..first)?)?;
        let errors = observed.errors(self.weights, &[&others], held_out)?;
        Ok(errors.iter().all(|error| *error <= of_free))
    }
}
