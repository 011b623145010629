//! Weighted means over tokens of the products of two series of vectors.

use std::ops::Range;

use candle_core::{Result as CandleResult, Tensor};

use crate::error::{Error, Result};
use crate::model;

/// Tokens that are multiplied in f32 before they are added in f64: enough for a fast product, few enough
/// that its rounding does not matter.
const CHUNK_TOKENS: usize = 2048;
/// A state whose mean square is more than this many times that of the reference has gone astray.
const STRAY: f64 = 4.0;

/// The weight of each token, per window `[tokens, 1]`; the mean is about 1.
pub struct Tokens {
    weights: Vec<Tensor>,
}

impl Tokens {
    /// Weights inverse to the mean square of a block's output, per window `[tokens, hidden]`. Errors then
    /// count relative to the output, so that the few tokens with huge states do not dominate.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn by_output(outputs: &[Tensor]) -> Result<Self> {
        let inverse = |output: &Tensor| -> Result<Vec<f64>> {
            Ok(squares(output)?.into_iter().map(|mean| 1.0 / mean).collect())
        };
        let all: Vec<Vec<f64>> = outputs.iter().map(inverse).collect::<Result<_>>()?;
        let tokens = all.iter().map(Vec::len).sum::<usize>().max(1);
        let mean = all.iter().flatten().sum::<f64>() / tokens as f64;
        let window = |(inverse, output): (&Vec<f64>, &Tensor)| {
            let weights: Vec<f32> = inverse.iter().map(|w| (w / mean) as f32).collect();
            Tensor::from_vec(weights, (inverse.len(), 1), output.device()).map_err(failed)
        };
        let weights = all.iter().zip(outputs).map(window).collect::<Result<_>>()?;
        Ok(Tokens { weights })
    }

    /// These weights times the inverse mean square of each token's state, per window `[tokens, len]`: those
    /// of errors in states that are normed afterwards, and so count relative to the state.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn over(&self, states: &[Tensor]) -> Result<Self> {
        let relative = Self::by_output(states)?;
        let windows = self.weights.iter().zip(&relative.weights);
        let weights: candle_core::Result<Vec<Tensor>> = windows.map(|(own, by)| own * by).collect();
        Ok(Tokens { weights: weights.map_err(failed)? })
    }

    /// Equal weights for all rows.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn alike(rows: &[Tensor]) -> Result<Self> {
        let ones = |rows: &Tensor| -> CandleResult<Tensor> {
            Tensor::ones((rows.dim(0)?, 1), rows.dtype(), rows.device())
        };
        let weights = rows.iter().map(ones).collect::<CandleResult<Vec<_>>>().map_err(failed)?;
        Ok(Tokens { weights })
    }

    /// The weights of a window's tokens, `[tokens, 1]`.
    pub fn window(&self, window: usize) -> &Tensor {
        &self.weights[window]
    }

    /// The weights of some windows.
    pub fn slice(&self, windows: Range<usize>) -> Self {
        Tokens { weights: self.weights[windows].to_vec() }
    }

    /// The same weights, except for tokens whose state `found` is far larger than that of the
    /// `reference`, both per window `[tokens, hidden]`. A token that earlier layers took to another
    /// place cannot be repaired; with its weight, which is relative to the reference's output, it would
    /// outweigh all others.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn without_strays(&self, reference: &[Tensor], found: &[Tensor]) -> Result<Self> {
        let window = |((weights, reference), found): ((&Tensor, &Tensor), &Tensor)| {
            let (wanted, found) = (squares(reference)?, squares(found)?);
            let share = |(wanted, found): (&f64, &f64)| (STRAY * wanted / found).powi(2);
            let shares: Vec<f64> = wanted.iter().zip(&found).map(share).collect();
            if shares.iter().all(|share| *share >= 1.0) {
                return Ok(weights.clone());
            }
            let mut values = model::values(weights)?;
            let pairs = values.iter_mut().zip(shares).filter(|(_, share)| *share < 1.0);
            pairs.for_each(|(weight, share)| *weight = (f64::from(*weight) * share) as f32);
            let len = values.len();
            Tensor::from_vec(values, (len, 1), weights.device()).map_err(failed)
        };
        let windows = self.weights.iter().zip(reference).zip(found);
        Ok(Tokens { weights: windows.map(window).collect::<Result<_>>()? })
    }

    /// `E[a bᵀ]` `[p, q]` over the tokens of the windows `a` `[tokens, p]` and `b` `[tokens, q]`, which are
    /// the first windows.
    ///
    /// # Errors
    /// Bug-class errors of candle if numbers of tokens differ.
    pub fn mean_product(&self, a: &[Tensor], b: &[Tensor]) -> Result<Vec<f64>> {
        let mut sum: Vec<f64> = Vec::new();
        let of_windows = &self.weights[..a.len()];
        let total = of_windows.iter().map(Tensor::elem_count).sum::<usize>().max(1) as f64;
        let mut first = 0;
        while first < of_windows.len() {
            let mut tokens = 0;
            let fits = |weights: &&Tensor| {
                tokens += weights.elem_count();
                tokens <= CHUNK_TOKENS
            };
            let windows = of_windows[first..].iter().take_while(fits).count().max(1);
            let chunk = first..first + windows;
            let weights = &of_windows[chunk.clone()];
            let product = product(&a[chunk.clone()], &b[chunk], weights).map_err(failed)?;
            model::with_values(&product, |values| {
                sum.resize(values.len(), 0.0);
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(*value));
            })?;
            first += windows;
        }
        sum.iter_mut().for_each(|value| *value /= total);
        Ok(sum)
    }
}

/// The mean square of each token's state `[tokens, hidden]`, and more than 0.
/// The mean over tokens of how far states are from those of the reference, relative to the latter's
/// energy: a token that has gone astray counts as one token.
///
/// # Errors
/// Bug-class errors of candle if shapes disagree.
pub fn relative_differences(reference: &[Tensor], found: &[Tensor]) -> Result<f64> {
    /// A token that is further away than this is lost, however far it is.
    const LOST: f64 = 1.0;
    let (mut sum, mut tokens) = (0.0, 0);
    for (reference, found) in reference.iter().zip(found) {
        let energies = squares(reference)?;
        let errors = squares(&(found - reference).map_err(failed)?)?;
        let shares = errors.iter().zip(&energies).map(|(error, energy)| (error / energy).min(LOST));
        sum += shares.sum::<f64>();
        tokens += energies.len();
    }
    Ok(sum / f64::from(u32::try_from(tokens.max(1)).unwrap_or(u32::MAX)))
}

fn squares(states: &Tensor) -> Result<Vec<f64>> {
    let hidden = states.dim(1).map_err(failed)?;
    model::with_values(states, |values| {
        let rows = values.chunks_exact(hidden.max(1));
        let square = |x: &f32| f64::from(*x) * f64::from(*x);
        let mean = |row: &[f32]| row.iter().map(square).sum::<f64>() / hidden as f64;
        rows.map(|row| mean(row).max(f64::MIN_POSITIVE)).collect()
    })
}

fn product(a: &[Tensor], b: &[Tensor], weights: &[Tensor]) -> CandleResult<Tensor> {
    let weights = Tensor::cat(weights, 0)?;
    let a = Tensor::cat(a, 0)?.broadcast_mul(&weights)?;
    model::product(&a.t()?, &Tensor::cat(b, 0)?)
}

fn failed(error: candle_core::Error) -> Error {
    Error::bug("moments").because(error)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn window(values: &[f32], columns: usize) -> Tensor {
        Tensor::from_vec(values.to_vec(), (values.len() / columns, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn products_are_means_over_all_windows() {
        let a = [window(&[1.0, 2.0], 1), window(&[3.0], 1)];
        let b = [window(&[1.0, 0.0, 0.0, 1.0], 2), window(&[1.0, 1.0], 2)];
        let tokens = Tokens::alike(&a).unwrap();
        let found = tokens.mean_product(&a, &b).unwrap();
        assert_eq!(found, [4.0 / 3.0, 5.0 / 3.0]);
    }

    #[test]
    fn a_token_with_a_large_state_counts_less() {
        let outputs = [window(&[1.0, 1.0], 2), window(&[3.0, 3.0], 2)];
        let tokens = Tokens::by_output(&outputs).unwrap();
        let ones = [window(&[1.0], 1), window(&[1.0], 1)];
        let (first, second) =
            ([window(&[1.0], 1), window(&[0.0], 1)], [window(&[0.0], 1), window(&[1.0], 1)]);
        let [first, second] = [first, second].map(|at| tokens.mean_product(&at, &ones).unwrap()[0]);
        assert!((first / second - 9.0).abs() < 1e-5, "{first} {second}");
        assert!((first + second - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_token_that_went_astray_does_not_outweigh_the_others() {
        let reference = [window(&[1.0, 1.0, 1.0, 1.0], 2), window(&[2.0, 2.0], 2)];
        let found = [window(&[1.5, 1.5, 1e4, 0.0], 2), window(&[0.0, 0.0], 2)];
        let tokens = Tokens::alike(&reference).unwrap();
        let kept = tokens.without_strays(&reference, &found).unwrap();
        let weights = [0, 1].map(|at| model::values(kept.window(at)).unwrap());
        assert_eq!((weights[0][0], &weights[1][..]), (1.0, &[1.0][..]));
        // Its weight times its square, of which the others have one to four.
        assert!(weights[0][1] * 1e8 / 2.0 < 1e-6, "{weights:?}");
        assert_eq!(model::values(tokens.slice(1..2).window(0)).unwrap(), [1.0]);
    }

    #[test]
    fn long_windows_are_added_chunk_by_chunk() {
        let windows: Vec<Tensor> = (0..5).map(|at| window(&vec![at as f32; 1500], 1)).collect();
        let tokens = Tokens::alike(&windows).unwrap();
        assert_eq!(tokens.mean_product(&windows, &windows).unwrap(), [6.0]);
    }
}
