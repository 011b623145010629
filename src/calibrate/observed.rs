//! The inputs of a linear layer on the calibration windows: the statistics that it is coded with, and the
//! errors of codes on some of the windows.

use std::ops::Range;

use candle_core::{Result as CandleResult, Tensor};
use rayon::prelude::*;

use super::correlation::Tokens;
use crate::error::Result;
use crate::model;
use crate::quantize::CodedTensor;
use crate::quantize::calibrated::{Moments, asymmetric_target};

/// One window in this many is held out when codes are judged.
const HELD_OUT: usize = 4;
/// Codes that are fitted to fewer tokens for each input may owe their small error to these tokens.
const AMPLE: usize = 4;

/// The statistics of the inputs of linear layers that are coded.
pub struct InputStats {
    /// Second moments of the inputs.
    pub moments: Moments,
    /// The errors of earlier layers that the layers compensate.
    pub correction: Correction,
    /// The windows that the statistics are of; `None` if only the statistics were saved.
    pub observed: Option<Observed>,
}

/// The errors of earlier layers that a linear layer compensates in addition to its own.
pub enum Correction {
    /// None: the target is the original weights.
    None,
    /// Its inputs differ from the reference's: `E[x x̂ᵀ]` `[in, in]`, with `x` of the reference.
    Inputs(Vec<f64>),
    /// Its outputs differ from the reference's: `E[(y - ŷ) x̂ᵀ]` `[out, in]`.
    Outputs(Vec<f64>),
}

/// The inputs of linear layers by window, and the outputs that are wanted for them.
pub struct Observed {
    /// Inputs by window, `[tokens, in]`.
    pub inputs: Vec<Tensor>,
    /// The wanted outputs.
    pub wanted: Wanted,
    /// The weights of tokens.
    pub tokens: Tokens,
}

/// The outputs that are wanted for some inputs.
pub enum Wanted {
    /// Those of the original weights.
    Original,
    /// Those of the original weights for the reference's inputs, by window `[tokens, in]`.
    OfInputs(Vec<Tensor>),
    /// Those of the original weights plus this, by window `[tokens, out]`.
    Plus(Vec<Tensor>),
}

impl InputStats {
    /// The target that weights `[out, in]` are coded to.
    ///
    /// # Errors
    /// Input errors: statistics that are not finite.
    pub fn target(&self, weights: &[f32], shape: [usize; 2]) -> Result<Vec<f32>> {
        match &self.correction {
            Correction::None => Ok(weights.to_vec()),
            Correction::Inputs(cross) => {
                asymmetric_target(weights, shape, Some(cross), &self.moments, None)
            }
            Correction::Outputs(residual) => {
                asymmetric_target(weights, shape, None, &self.moments, Some(residual))
            }
        }
    }
}

impl Observed {
    /// The statistics of all windows, with the windows.
    ///
    /// # Errors
    /// Input errors: inputs that are not finite. Bug-class errors of candle.
    pub fn into_stats(self) -> Result<InputStats> {
        let all = self.stats(0..self.inputs.len())?;
        Ok(InputStats { observed: Some(self), ..all })
    }

    /// The statistics of some windows.
    ///
    /// # Errors
    /// Those of [`into_stats`](Observed::into_stats).
    pub fn stats(&self, windows: Range<usize>) -> Result<InputStats> {
        let tokens = self.tokens.slice(windows.clone());
        let inputs = &self.inputs[windows.clone()];
        let width = inputs.first().map_or(0, |inputs| inputs.dim(1).unwrap_or(0));
        let moments = Moments::new(tokens.mean_product(inputs, inputs)?, width)?;
        let correction = match &self.wanted {
            Wanted::Original => Correction::None,
            Wanted::OfInputs(all) => {
                Correction::Inputs(tokens.mean_product(&all[windows], inputs)?)
            }
            Wanted::Plus(all) => Correction::Outputs(tokens.mean_product(&all[windows], inputs)?),
        };
        Ok(InputStats { moments, correction, observed: None })
    }

    /// The first of the windows that are held out; `None` if there is only one window.
    pub fn first_held_out(&self) -> Option<usize> {
        first_held_out(self.inputs.len())
    }

    /// Whether the windows have many tokens for each input.
    pub fn is_ample(&self) -> bool {
        let tokens: usize = self.inputs.iter().map(|inputs| inputs.dim(0).unwrap_or(0)).sum();
        let width = self.inputs.first().map_or(0, |inputs| inputs.dim(1).unwrap_or(0));
        tokens >= width * AMPLE
    }

    /// The weighted squared errors of the outputs of coded tensors on some windows. `weights`
    /// `[out, in]` are the original ones.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn errors(
        &self,
        weights: &[f32],
        coded: &[&CodedTensor],
        windows: Range<usize>,
    ) -> Result<Vec<f64>> {
        let Some(first) = coded.first() else { return Ok(Vec::new()) };
        let device = self.inputs[windows.start].device();
        let matrix = |values: Vec<f32>| {
            model::matrix(values, first.shape(), device)?.t().map_err(model::failed)
        };
        let original = matrix(weights.to_vec())?;
        let change = |coded: &&CodedTensor| {
            let decoded = coded.decode();
            matrix(decoded.iter().zip(weights).map(|(new, old)| new - old).collect())
        };
        let changes = coded.iter().map(change).collect::<Result<Vec<_>>>()?;
        let of_window =
            |window: usize| self.window_errors(window, &original, &changes).map_err(model::failed);
        let of_windows: Vec<Vec<f64>> =
            windows.into_par_iter().map(of_window).collect::<Result<_>>()?;
        Ok((0..coded.len()).map(|at| of_windows.iter().map(|window| window[at]).sum()).collect())
    }

    /// The errors of weights that differ by `changes` `[in, out]` from the `original`, on one window.
    fn window_errors(
        &self,
        window: usize,
        original: &Tensor,
        changes: &[Tensor],
    ) -> CandleResult<Vec<f64>> {
        let inputs = &self.inputs[window];
        let missing = match &self.wanted {
            Wanted::Original => None,
            Wanted::OfInputs(all) => Some(model::product(&(&all[window] - inputs)?, original)?),
            Wanted::Plus(all) => Some(all[window].clone()),
        };
        let counts = self.tokens.window(window).flatten_all()?.to_vec1::<f32>()?;
        let error = |change: &Tensor| {
            let change = model::product(inputs, change)?;
            let missing = match &missing {
                Some(missing) => (missing - change)?,
                None => change,
            };
            let values = missing.flatten_all()?.to_vec1::<f32>()?;
            let rows = values.chunks_exact((values.len() / counts.len().max(1)).max(1));
            let square = |row: &[f32]| row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            Ok(rows.zip(&counts).map(|(row, count)| square(row) * f64::from(*count)).sum())
        };
        changes.iter().map(error).collect()
    }
}

/// The first of so many windows that are held out; `None` if there is only one.
pub fn first_held_out(windows: usize) -> Option<usize> {
    (windows > 1).then(|| windows - (windows / HELD_OUT).max(1))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::quantize::quantize;

    fn window(values: &[f32], columns: usize) -> Tensor {
        Tensor::from_vec(values.to_vec(), (values.len() / columns, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn errors_are_those_of_the_wanted_outputs() {
        let weights = [0.25, 0.5];
        let coded = quantize(&"palette1".parse().unwrap(), &[0.5, 1.0], [1, 2], None);
        let coded = coded.unwrap().unwrap();
        let inputs = vec![window(&[1.0, 0.0], 2), window(&[2.0, 4.0], 2)];
        let errors = |wanted| {
            let tokens = Tokens::alike(&inputs).unwrap();
            let observed = Observed { inputs: inputs.clone(), wanted, tokens };
            observed.errors(&weights, &[&coded], 1..2).unwrap()[0]
        };
        assert_eq!(errors(Wanted::Original), 2.5 * 2.5);
        assert_eq!(
            errors(Wanted::OfInputs(vec![window(&[0.0; 2], 2), window(&[6.0, 8.0], 2)])),
            0.5 * 0.5
        );
        assert_eq!(errors(Wanted::Plus(vec![window(&[0.0], 1), window(&[2.5], 1)])), 0.0);
    }

    #[test]
    fn one_window_in_four_is_held_out() {
        let first = |windows| {
            let inputs = vec![window(&[1.0], 1); windows];
            let tokens = Tokens::alike(&inputs).unwrap();
            Observed { inputs, wanted: Wanted::Original, tokens }.first_held_out()
        };
        assert_eq!([1, 2, 4, 7, 16].map(first), [None, Some(1), Some(3), Some(6), Some(12)]);
    }
}
