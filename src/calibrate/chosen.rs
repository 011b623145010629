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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::calibrate::correlation::Tokens;
    use crate::calibrate::observed::Wanted;
    use crate::quantize::calibrated::Moments;

    const SHAPE: [usize; 2] = [8, 6];

    fn values(seed: u64, len: usize) -> Vec<f32> {
        use rand::{RngExt, SeedableRng};
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        (0..len).map(|_| (0..6).map(|_| random.random::<f32>() - 0.5).sum()).collect()
    }

    fn windows(seed: u64, columns: usize, sizes: [f32; 4]) -> Vec<Tensor> {
        let window = |(at, size): (u64, f32)| {
            let values = values(seed + at, 30 * columns).iter().map(|x| x * size).collect();
            Tensor::from_vec::<_, f32>(values, (30, columns), &Device::Cpu).unwrap()
        };
        (0..4).zip(sizes).map(window).collect()
    }

    fn code(recipe: &str, stats: &InputStats) -> (CodedTensor, Coding) {
        let (weights, steps) = (values(9, SHAPE[0] * SHAPE[1]), Steps::ALL);
        let recipe = recipe.parse().unwrap();
        TensorJob { recipe, weights: &weights, shape: SHAPE, steps, seed: 1 }.code(stats).unwrap()
    }

    fn observed(wanted: Wanted) -> InputStats {
        // Six inputs that nearly move together: errors can cancel.
        let together = |(own, common): (Tensor, Tensor)| {
            (own * 0.1).unwrap().broadcast_add(&common.narrow(1, 0, 1).unwrap()).unwrap()
        };
        let own = windows(1, SHAPE[1], [1.0; 4]).into_iter();
        let inputs: Vec<Tensor> = own.zip(windows(20, SHAPE[1], [1.0; 4])).map(together).collect();
        let tokens = Tokens::alike(&inputs).unwrap();
        Observed { inputs, wanted, tokens }.into_stats().unwrap()
    }

    #[test]
    fn codes_that_lose_on_held_out_windows_give_way_to_data_free_ones() {
        for recipe in ["int4", "palette2", "palette3-g4-s"] {
            let (_, coding) = code(recipe, &observed(Wanted::Original));
            assert!(!coding.is_data_free, "{recipe}");
            // Three windows ask for outputs that have nothing to do with those of the last.
            let wrong = Wanted::Plus(windows(40, SHAPE[0], [90.0, 90.0, 90.0, 0.0]));
            let (tensor, coding) = code(recipe, &observed(wrong));
            assert!(coding.is_data_free, "{recipe}");
            let weights = values(9, SHAPE[0] * SHAPE[1]);
            let free = quantize(&recipe.parse().unwrap(), &weights, SHAPE, None).unwrap();
            assert_eq!(Some(tensor), free, "{recipe}");
        }
    }

    #[test]
    fn few_tokens_are_judged_by_codes_that_have_not_seen_them() {
        // One token in each window asks for much; the codes of all windows answer all of them.
        let one = |at: u64| windows(at, SHAPE[1], [1.0; 4]).remove(0).narrow(0, 0, 1).unwrap();
        let missing = |at: u64| windows(at, SHAPE[0], [60.0; 4]).remove(0).narrow(0, 0, 1).unwrap();
        let inputs: Vec<Tensor> = (0..4).map(one).collect();
        let wanted = Wanted::Plus((50..54).map(missing).collect());
        let tokens = Tokens::alike(&inputs).unwrap();
        let observed = Observed { inputs, wanted, tokens };
        assert!(!observed.is_ample());
        let (_, coding) = code("int8", &observed.into_stats().unwrap());
        assert!(coding.is_data_free);
    }

    #[test]
    fn saved_moments_judge_by_themselves_and_a_tie_is_data_free() {
        let moments = |values| Moments::new(values, SHAPE[1]).unwrap();
        let stats = |moments| InputStats {
            moments,
            correction: super::super::observed::Correction::None,
            observed: None,
        };
        let mut correlated = vec![0.9; 36];
        correlated.iter_mut().step_by(7).for_each(|value| *value = 1.0);
        assert!(!code("int4", &stats(moments(correlated))).1.is_data_free);
        let (_, coding) = code("int4", &stats(moments(vec![0.0; 36])));
        assert!(coding.errors.last().is_some_and(|(_, error)| error.is_finite()));
    }
}
