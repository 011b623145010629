//! A tensor while it is being coded: its codes, their errors and the cost of these.

use rayon::prelude::*;

use super::codebook::{Codebook, Levels};
use super::matrix::{CHUNK_ROWS, View, product};

/// Codes and their errors. Columns are in the order in which they are coded.
pub(super) struct CodingState<'a, const D: usize, M> {
    /// The target: the weights `[out, in]` to code.
    pub weights: &'a [f32],
    /// Second moments of the inputs `[in, in]`.
    pub moments: &'a [f32],
    /// Weights times moments `[out, in]`.
    pub products: Vec<f32>,
    /// Weights in a row.
    pub inputs: usize,
    /// Codes `[out / D, in]`, one per byte.
    pub codes: Vec<u8>,
    /// The weights that codes stand for.
    pub codebook: M,
    /// Decoded weights less the target `[out, in]`.
    pub errors: Vec<f32>,
    /// Errors times moments `[out, in]`: half the gradient of their cost.
    pub gradient: Vec<f32>,
}

/// Vectors that a thread takes at a time.
pub(super) const fn chunk_vectors<const D: usize>() -> usize {
    CHUNK_ROWS / D
}

impl<'a, const D: usize, M: Codebook<D>> CodingState<'a, D, M> {
    /// The state for given codes.
    pub(super) fn new(
        weights: &'a [f32],
        moments: &'a [f32],
        inputs: usize,
        codes: Vec<u8>,
        codebook: M,
    ) -> Self {
        let (errors, gradient) = (vec![0.0; weights.len()], Vec::new());
        let products = times(weights, moments, inputs);
        let mut state =
            CodingState { weights, moments, products, inputs, codes, codebook, errors, gradient };
        state.refresh();
        state
    }

    /// Computes errors and gradient from the codes again.
    pub(super) fn refresh(&mut self) {
        let inputs = self.inputs;
        let chunk = chunk_vectors::<D>();
        let codes = self.codes.par_chunks(chunk * inputs).enumerate();
        let rows = self.errors.par_chunks_mut(chunk * D * inputs);
        let rows = rows.zip(self.weights.par_chunks(chunk * D * inputs));
        let codebook = &self.codebook;
        codes.zip(rows).for_each_init(
            M::Levels::default,
            |levels, ((i, codes), (errors, weights))| {
                let vectors = codes.chunks_exact(inputs).zip(errors.chunks_exact_mut(D * inputs));
                let vectors = vectors.zip(weights.chunks_exact(D * inputs));
                for (vector, ((codes, errors), weights)) in (i * chunk..).zip(vectors) {
                    codebook.levels(vector, levels);
                    for (column, code) in codes.iter().enumerate() {
                        let decoded = levels.weights(column, *code);
                        for (d, decoded) in decoded.iter().enumerate() {
                            let at = d * inputs + column;
                            errors[at] = decoded - weights[at];
                        }
                    }
                }
            },
        );
        self.gradient = self.times_moments(&self.errors);
    }

    /// Rows times the moments.
    pub(super) fn times_moments(&self, rows: &[f32]) -> Vec<f32> {
        times(rows, self.moments, self.inputs)
    }

    /// The cost of decoding every weight to 0.
    pub(super) fn whole(&self) -> f64 {
        self.costs(self.weights, &self.products).iter().sum()
    }

    /// The cost of all errors.
    pub(super) fn cost(&self) -> f64 {
        self.costs(&self.errors, &self.gradient).iter().sum()
    }

    /// The cost of each vector's errors, from errors and gradient `[out, in]`.
    pub(super) fn costs(&self, errors: &[f32], gradient: &[f32]) -> Vec<f64> {
        let len = D * self.inputs;
        let pairs = errors.par_chunks(len).zip(gradient.par_chunks(len));
        pairs.map(|(errors, gradient)| dot(errors, gradient)).collect()
    }
}

fn times(rows: &[f32], moments: &[f32], inputs: usize) -> Vec<f32> {
    product(View::whole(rows, inputs), View::whole(moments, inputs))
}

/// The product of two rows, in a fixed order.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    pulp::Arch::new().dispatch(Dot { a, b })
}

struct Dot<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl pulp::NullaryFnOnce for Dot<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        const LANES: usize = 16;
        let (chunks, rest) = self.a.as_chunks::<LANES>();
        let (others, other_rest) = self.b.as_chunks::<LANES>();
        let mut sums = [0.0f64; LANES];
        for (a, b) in chunks.iter().zip(others) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += f64::from(*a) * f64::from(*b);
            }
        }
        let tail: f64 = rest.iter().zip(other_rest).map(|(a, b)| f64::from(a * b)).sum();
        sums.iter().sum::<f64>() + tail
    }
}
