//! Fits the codebook to fixed codes by least squares: the entries of tables, then the scales of
//! rows.
//!
//! Both are exact minimisers before they are rounded to their stored precision. They are used only
//! if the cost is still lower after rounding.

use half::f16;
use rayon::prelude::*;

use super::codebook::{Codebook, Scales, TableCodebook};
use super::factor::cholesky;
use super::matrix::{View, transposed};
use super::state::CodingState;
use crate::quantize::fp16::HALF_MAX;

/// Strength of the pull towards the present entries, relative to the mean diagonal of the normal
/// equations.
const RIDGE: f64 = 1e-4;
/// Parts of a tensor whose normal equations are summed separately. The number is fixed, so that
/// sums do not depend on threads.
const PARTS: usize = 8;
/// A scale may change by a factor in this range. Otherwise the row's codes do not fit its weights.
const FACTOR_CHANGE: std::ops::RangeInclusive<f64> = 0.2..=5.0;
/// A cost that grows by less than this share is equal up to rounding of sums.
const ROUNDING: f64 = 1e-6;

/// The normal equations of one table of `count` entries. Its `D` components are independent.
struct Normal<const D: usize> {
    /// `[D, count, count]`; the transpose of each has to be added.
    squares: Vec<f64>,
    /// Half the gradient `[D, count]`.
    slopes: Vec<f64>,
}

/// Sums over the codes of one vector.
struct Sums {
    /// Moments summed over the rows that have the same code `[count, in]`.
    rows: Vec<f32>,
    /// These summed over the columns that have the same code `[count, count]`.
    both: Vec<f32>,
}

impl<const D: usize, M: Codebook<D>> CodingState<'_, D, M> {
    /// Fits the tables, if the codebook has any.
    pub(super) fn fit_tables(&mut self) {
        let (inputs, codes) = (self.inputs, &self.codes);
        let (gradient, moments) = (&self.gradient, self.moments);
        let Some(tables) = self.codebook.tables() else { return };
        let own = |group: usize| {
            let first = group * tables.vectors;
            let last = (first + tables.vectors).min(codes.len() / inputs);
            let part = (last - first).div_ceil(PARTS).max(1);
            let starts: Vec<usize> = (first..last).step_by(part).collect();
            let sums: Vec<Normal<D>> = starts
                .into_par_iter()
                .map(|start| {
                    let mut normal = Normal::new(tables.count);
                    let mut sums = Sums::new(tables.count, inputs);
                    for vector in start..(start + part).min(last) {
                        let codes = &codes[vector * inputs..(vector + 1) * inputs];
                        let gradient = &gradient[vector * D * inputs..(vector + 1) * D * inputs];
                        sums.add(codes, moments);
                        normal.add(&sums, codes, gradient, &tables.factors(vector));
                    }
                    normal
                })
                .collect();
            sums.into_iter().reduce(Normal::joined)?.solved(tables, first)
        };
        let groups = tables.entries.len() / tables.count;
        let fitted: Vec<_> = (0..groups).into_par_iter().map(own).collect();
        for (old, new) in tables.entries.chunks_exact_mut(tables.count).zip(fitted) {
            if let Some(new) = new {
                old.copy_from_slice(&new);
            }
        }
        self.refresh();
    }

    /// Fits the scales of rows, or of blocks of rows. A vector keeps its scales if the new ones
    /// cost more, as they may after decoded weights are rounded.
    pub(super) fn fit_scales(&mut self) {
        let Some(Scales { values, blocks, .. }) = self.codebook.scales() else { return };
        let (old, len) = (values.to_vec(), D * blocks.len());
        let before = self.costs(&self.errors, &self.gradient);
        self.move_scales();
        self.refresh();
        let after = self.costs(&self.errors, &self.gradient);
        let mut is_any_back = false;
        if let Some(Scales { values, .. }) = self.codebook.scales() {
            let vectors = values.chunks_exact_mut(len).zip(old.chunks_exact(len));
            for ((new, old), (before, after)) in vectors.zip(before.iter().zip(&after)) {
                if *after > before * (1.0 + ROUNDING) {
                    new.copy_from_slice(old);
                    is_any_back = true;
                }
            }
        }
        if is_any_back {
            self.refresh();
        }
    }

    /// Moves one scale after the other to its best value: `s·(1 - q·g / qHq)`.
    fn move_scales(&mut self) {
        let (inputs, moments) = (self.inputs, self.moments);
        let weights = self.weights.par_chunks(D * inputs);
        let weights = weights.zip(self.products.par_chunks(D * inputs));
        let (errors, gradients) = (&mut self.errors, &mut self.gradient);
        let rows = errors.par_chunks_mut(D * inputs).zip(gradients.par_chunks_mut(D * inputs));
        let Some(Scales { values, blocks, reach, least }) = self.codebook.scales() else { return };
        let range = [least, HALF_MAX / reach];
        let scales = values.par_chunks_mut(D * blocks.len());
        weights.zip(rows).zip(scales).for_each(|((given, (errors, gradient)), scales)| {
            let (weights, products) = given;
            // From here on `errors` holds the decoded weights.
            errors.iter_mut().zip(weights).for_each(|(error, weight)| *error += weight);
            for (b, block) in blocks.iter().enumerate() {
                let sums = match blocks.len() {
                    1 => gradient.iter().zip(products).map(|(a, b)| a + b).collect(),
                    _ => weighted_rows::<D>(errors, block, moments, inputs),
                };
                for d in 0..D {
                    let row = d * inputs..(d + 1) * inputs;
                    let (decoded, gradient) =
                        (&mut errors[row.clone()], &mut gradient[row.clone()]);
                    let scale = &mut scales[d * blocks.len() + b];
                    fit_scale(scale, range, block, decoded, gradient, &sums[row]);
                }
            }
        });
    }
}

/// For each of `D` rows, the sum over a block's columns of decoded weight times row of the moments.
fn weighted_rows<const D: usize>(
    decoded: &[f32],
    block: &[usize],
    moments: &[f32],
    inputs: usize,
) -> Vec<f32> {
    let mut sums = vec![0.0f32; D * inputs];
    pulp::Arch::new().dispatch(WeightedRows { decoded, block, moments, sums: &mut sums, inputs });
    sums
}

struct WeightedRows<'a> {
    decoded: &'a [f32],
    block: &'a [usize],
    moments: &'a [f32],
    sums: &'a mut [f32],
    inputs: usize,
}

impl pulp::NullaryFnOnce for WeightedRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inputs = self.inputs;
        for column in self.block {
            let row = &self.moments[column * inputs..(column + 1) * inputs];
            for (d, sums) in self.sums.chunks_exact_mut(inputs).enumerate() {
                let weight = self.decoded[d * inputs + column];
                for (sum, moment) in sums.iter_mut().zip(row) {
                    *sum = weight.mul_add(*moment, *sum);
                }
            }
        }
    }
}

/// Replaces one scale if that costs less, and updates decoded weights and gradient.
fn fit_scale(
    scale: &mut f32,
    [least, most]: [f32; 2],
    block: &[usize],
    decoded: &mut [f32],
    gradient: &mut [f32],
    sums: &[f32],
) {
    let (mut slope, mut square) = (0.0f64, 0.0f64);
    for column in block {
        let weight = f64::from(decoded[*column]);
        slope += weight * f64::from(gradient[*column]);
        square += weight * f64::from(sums[*column]);
    }
    let change = 1.0 - slope / square;
    let new = f16::from_f64(f64::from(*scale) * change).to_f32();
    let step = f64::from(new) / f64::from(*scale) - 1.0;
    let allowed = FACTOR_CHANGE.contains(&change) && new >= least && new <= most;
    if !allowed || step * (2.0 * slope + step * square) >= 0.0 {
        return;
    }
    *scale = new;
    let step = step as f32;
    block.iter().for_each(|column| decoded[*column] *= 1.0 + step);
    gradient.iter_mut().zip(sums).for_each(|(value, sum)| *value += step * sum);
}

impl Sums {
    fn new(count: usize, inputs: usize) -> Self {
        Sums { rows: vec![0.0; count * inputs], both: vec![0.0; count * count] }
    }

    /// Sums the moments over the rows and columns that have the same code. Only the upper triangle
    /// is summed, with half of the diagonal.
    fn add(&mut self, codes: &[u8], moments: &[f32]) {
        self.rows.fill(0.0);
        self.both.fill(0.0);
        pulp::Arch::new().dispatch(AddRows { codes, moments, sums: &mut self.rows });
        let (inputs, count) = (codes.len(), self.rows.len() / codes.len());
        for (row, both) in self.rows.chunks_exact(inputs).zip(self.both.chunks_exact_mut(count)) {
            for (code, value) in codes.iter().zip(row) {
                both[usize::from(*code)] += value;
            }
        }
    }
}

struct AddRows<'a> {
    codes: &'a [u8],
    moments: &'a [f32],
    sums: &'a mut [f32],
}

impl pulp::NullaryFnOnce for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inputs = self.codes.len();
        let rows = self.codes.iter().zip(self.moments.chunks_exact(inputs));
        for (at, (code, row)) in rows.enumerate() {
            let first = usize::from(*code) * inputs;
            let sums = &mut self.sums[first..first + inputs];
            sums[at] += row[at] / 2.0;
            let later = sums[at + 1..].iter_mut().zip(&row[at + 1..]);
            later.for_each(|(sum, value)| *sum += value);
        }
    }
}

/// Adds `factor` times `from` to `to`.
struct AddScaled<'a> {
    factor: f64,
    from: &'a [f32],
    to: &'a mut [f64],
}

impl pulp::NullaryFnOnce for AddScaled<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (to, from) in self.to.iter_mut().zip(self.from) {
            *to += self.factor * f64::from(*from);
        }
    }
}

impl<const D: usize> Normal<D> {
    fn new(count: usize) -> Self {
        Normal { squares: vec![0.0; D * count * count], slopes: vec![0.0; D * count] }
    }

    /// Adds a vector whose rows have the scales `factors`.
    fn add(&mut self, sums: &Sums, codes: &[u8], gradient: &[f32], factors: &[f32; D]) {
        let (inputs, count) = (codes.len(), self.slopes.len() / D);
        let squares = self.squares.chunks_exact_mut(count * count);
        for (squares, factor) in squares.zip(factors) {
            let factor = f64::from(*factor).powi(2);
            pulp::Arch::new().dispatch(AddScaled { factor, from: &sums.both, to: squares });
        }
        let slopes = self.slopes.chunks_exact_mut(count).zip(gradient.chunks_exact(inputs));
        for ((slopes, gradient), factor) in slopes.zip(factors) {
            for (code, value) in codes.iter().zip(gradient) {
                slopes[usize::from(*code)] += f64::from(factor * value);
            }
        }
    }

    fn joined(mut self, other: Self) -> Self {
        self.squares.iter_mut().zip(other.squares).for_each(|(all, more)| *all += more);
        self.slopes.iter_mut().zip(other.slopes).for_each(|(all, more)| *all += more);
        self
    }

    /// The whole normal matrix of a component `[count, count]`.
    fn symmetric(&self, d: usize, count: usize) -> Vec<f64> {
        let half = &self.squares[d * count * count..(d + 1) * count * count];
        let mut whole = transposed(View::whole(half, count));
        whole.iter_mut().zip(half).for_each(|(value, other)| *value += other);
        whole
    }

    /// The new table of the group whose first vector is `first`, or `None` if it does not cost less
    /// than the old one.
    fn solved(&self, tables: &TableCodebook<D>, first: usize) -> Option<Vec<[f32; D]>> {
        let (count, old) = (tables.count, tables.of(first));
        let mut wanted: Vec<[f64; D]> = old.iter().map(|entry| entry.map(f64::from)).collect();
        let components: Vec<Vec<f64>> = (0..D).map(|d| self.symmetric(d, count)).collect();
        for d in 0..D {
            let mut squares = components[d].clone();
            let mean = squares.iter().step_by(count + 1).sum::<f64>() / count as f64;
            squares.iter_mut().step_by(count + 1).for_each(|value| *value += mean * RIDGE);
            let Ok(factor) = cholesky(squares, count) else { continue };
            let slopes = &self.slopes[d * count..(d + 1) * count];
            let mut steps: Vec<f64> = slopes.iter().map(|slope| -slope).collect();
            factor.solve_rows(&mut steps);
            wanted.iter_mut().zip(steps).for_each(|(entry, step)| entry[d] += step);
        }
        let new = tables.rounded(&wanted)?;
        let mut change = 0.0;
        for d in 0..D {
            let steps: Vec<f64> = new
                .iter()
                .zip(old)
                .map(|(new, old)| f64::from(new[d]) - f64::from(old[d]))
                .collect();
            for (k, row) in components[d].chunks_exact(count).enumerate() {
                let product: f64 = row.iter().zip(&steps).map(|(a, b)| a * b).sum();
                change += steps[k] * (2.0 * self.slopes[d * count + k] + product);
            }
        }
        (change < 0.0).then_some(new)
    }
}
