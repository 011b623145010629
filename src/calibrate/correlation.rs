//! Weighted means over tokens of the products of two series of vectors.

use candle_core::{Result as CandleResult, Tensor};

use crate::error::{Error, Result};
use crate::model;

/// Tokens that are multiplied in f32 before they are added in f64: enough for a fast product, few enough
/// that its rounding does not matter.
const CHUNK_TOKENS: usize = 2048;

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
            let hidden = output.dim(1).map_err(failed)?;
            model::with_values(output, |values| {
                let rows = values.chunks_exact(hidden.max(1));
                let square = |x: &f32| f64::from(*x) * f64::from(*x);
                let mean = |row: &[f32]| row.iter().map(square).sum::<f64>() / hidden as f64;
                rows.map(|row| 1.0 / mean(row).max(f64::MIN_POSITIVE)).collect()
            })
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
    fn long_windows_are_added_chunk_by_chunk() {
        let windows: Vec<Tensor> = (0..5).map(|at| window(&vec![at as f32; 1500], 1)).collect();
        let tokens = Tokens::alike(&windows).unwrap();
        assert_eq!(tokens.mean_product(&windows, &windows).unwrap(), [6.0]);
    }
}
