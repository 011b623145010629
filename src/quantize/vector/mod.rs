//! Tables of short vectors: one code for the weights of an input in several consecutive rows.
//!
//! Each row is divided by an fp16 scale, so that all rows have the same spread. A table is fitted
//! to vectors of scaled weights and rounded to fp16. Then every vector gets the code with the least
//! error of the weights themselves, so that codes are the best ones for the table and scales that
//! ship.

mod clusters;
pub(super) mod form;

use half::f16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use form::Vector;

use super::bitpack::pack;
use super::coded::{CodedArrays, CodedTensor};
use super::fp16::{HALF_MAX, row_scale};
use super::lookup::look_up;
use super::nearest::Candidates;
use super::recipe::Recipe;
use crate::error::Result;

/// Most vectors that a table is fitted to.
const SAMPLE: usize = 65_536;
/// The seed of tables that are fitted without calibration. It is the same for every table, so that
/// slices of rows can be coded independently.
pub(super) const SEED: u64 = 0;

/// Weights `[rows, in]`, and how much their errors count.
#[derive(Clone, Copy)]
pub(super) struct Weighted<'a> {
    /// Weights `[rows, in]`.
    pub weights: &'a [f32],
    /// Weights in a row.
    pub inputs: usize,
    /// Weight of each input's squared error `[in]`; `None` if all count the same.
    pub importance: Option<&'a [f32]>,
}

/// Codes finite weights `[out, in]`, whose rows vectors divide; `seed` draws the start of tables.
/// Fails (input) if a weight is beyond fp16.
pub(super) fn quantize(
    vector: &Vector,
    weights: &[f32],
    shape: [usize; 2],
    importance: Option<&[f32]>,
    seed: u64,
) -> Result<CodedTensor> {
    let given = Weighted { weights, inputs: shape[1], importance };
    match vector.weights_per_code() {
        2 => code::<2>(vector, given, shape, seed),
        3 => code::<3>(vector, given, shape, seed),
        4 => code::<4>(vector, given, shape, seed),
        6 => code::<6>(vector, given, shape, seed),
        _ => code::<8>(vector, given, shape, seed),
    }
}

fn code<const D: usize>(
    vector: &Vector,
    given: Weighted<'_>,
    shape: [usize; 2],
    seed: u64,
) -> Result<CodedTensor> {
    let [out, inputs] = shape;
    let scales = given.row_scales(out)?;
    let (table_rows, entries) = (vector.table_rows(out), vector.code_bits().entries());
    let mut codes = vec![0u8; out / D * inputs];
    let mut tables = Vec::new();
    if !codes.is_empty() {
        let groups = codes.par_chunks_mut(table_rows / D * inputs);
        let weights = given.weights.par_chunks(table_rows * inputs);
        let coded: Vec<Vec<[f16; D]>> = groups
            .zip(weights.zip(scales.par_chunks(table_rows)))
            .map(|(codes, (weights, scales))| {
                let given = Weighted { weights, ..given };
                let table = given.table::<D>(scales, entries, seed);
                given.assign(scales, &table, codes);
                table
            })
            .collect();
        tables = coded.into_iter().flatten().flatten().collect();
    }
    let codes = pack(&codes, vector.code_bits().get());
    let stored = CodedArrays::Vector { codes, tables, channel_scales: scales };
    CodedTensor::new(Recipe::Vector(*vector), shape, stored)
}

impl Weighted<'_> {
    /// The fp16 scale of each of `rows` rows: the root mean square of its weights under the
    /// importance, or 1 as [`row_scale`] says. Fails (input) if a scale is beyond fp16.
    pub(super) fn row_scales(&self, rows: usize) -> Result<Vec<f16>> {
        if self.inputs == 0 {
            return Ok(vec![f16::ONE; rows]);
        }
        let importance = self.importance.filter(|all| all.iter().any(|value| *value > 0.0));
        let scale = |row: &[f32]| {
            let count = |i: usize| importance.map_or(1.0, |all| f64::from(all[i]));
            let squares = row.iter().enumerate().map(|(i, w)| count(i) * f64::from(*w).powi(2));
            let total: f64 = (0..row.len()).map(count).sum();
            row_scale((squares.sum::<f64>() / total).sqrt())
        };
        self.weights.par_chunks(self.inputs).map(scale).collect()
    }

    /// The table of these rows under their scales: k-means of a sample of their vectors, rounded
    /// to fp16 and padded with its last entry.
    pub(super) fn table<const D: usize>(
        &self,
        scales: &[f16],
        entries: usize,
        seed: u64,
    ) -> Vec<[f16; D]> {
        let scales: Vec<f32> = scales.iter().map(|scale| scale.to_f32()).collect();
        let count = self.weights.len() / D;
        let taken = count.min(SAMPLE);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // One vector drawn from every `step` ones, so that no column is passed over throughout.
        let step = count as f64 / taken as f64;
        let (mut points, mut weights) = (Vec::with_capacity(taken), Vec::with_capacity(taken));
        for i in 0..taken {
            let at = if taken == count {
                i
            } else {
                (((i as f64 + random.random::<f64>()) * step) as usize).min(count - 1)
            };
            let (vector, column) = (at / self.inputs, at % self.inputs);
            let mut square = 0.0;
            let mut point = [0.0; D];
            for (d, component) in point.iter_mut().enumerate() {
                let scale = scales[vector * D + d];
                *component = self.weights[(vector * D + d) * self.inputs + column] / scale;
                square += scale * scale;
            }
            points.push(point);
            weights.push(self.importance.map_or(1.0, |all| all[column]) * square / D as f32);
        }
        let largest = weights.iter().fold(0.0f32, |most, weight| most.max(*weight));
        // Relative to the largest, so that no unit of the importance reaches the limits of f32.
        let even = |weight: &mut f32| *weight = if largest > 0.0 { *weight / largest } else { 1.0 };
        weights.iter_mut().for_each(even);
        let means = clusters::means(&points, &weights, entries, seed);
        let last = means.last().copied().unwrap_or([0.0; D]);
        let padded = means.into_iter().chain(std::iter::repeat(last)).take(entries);
        // Components are weights over their row's root mean square, far below fp16's largest value.
        // Only rows whose scale had to be 1 need the clamp. Adding zero turns -0 into 0.
        let round = |value: f32| f16::from_f32(value.clamp(-HALF_MAX, HALF_MAX) + 0.0);
        padded.map(|mean| mean.map(round)).collect()
    }

    /// Writes the code of every vector `[rows / D, in]`: that of the entry with the least squared
    /// error of the weights.
    pub(super) fn assign<const D: usize>(
        &self,
        scales: &[f16],
        table: &[[f16; D]],
        codes: &mut [u8],
    ) {
        let inputs = self.inputs;
        let entries: Vec<[f32; D]> = table.iter().map(|entry| entry.map(f16::to_f32)).collect();
        let vectors = codes.par_chunks_mut(inputs).zip(self.weights.par_chunks(D * inputs));
        let vectors = vectors.zip(scales.par_chunks(D));
        vectors.for_each_init(Candidates::<D>::default, |candidates, ((codes, rows), scales)| {
            let factors = std::array::from_fn(|d| scales[d].to_f32());
            candidates.refill(&entries, &factors);
            candidates.assign(rows, codes);
        });
    }
}

/// The stored arrays of a vector tensor, for decoding.
pub(super) struct VectorRows<'a> {
    pub vector: &'a Vector,
    pub codes: &'a [u8],
    pub tables: &'a [f16],
    pub channel_scales: &'a [f16],
}

impl VectorRows<'_> {
    /// Decodes whole rows of a tensor `[out, in]` from `first_row` on.
    pub(super) fn decode(&self, [out, inputs]: [usize; 2], first_row: usize, weights: &mut [f32]) {
        let (length, bits) = (self.vector.weights_per_code(), self.vector.code_bits());
        let table_rows = self.vector.table_rows(out);
        let mut table = [0.0; 256];
        for (row, weights) in (first_row..).zip(weights.chunks_exact_mut(inputs)) {
            let scale = self.channel_scales[row].to_f32();
            let group = row / table_rows * bits.entries();
            for (k, entry) in table[..bits.entries()].iter_mut().enumerate() {
                *entry = self.tables[(group + k) * length + row % length].to_f32() * scale;
            }
            look_up(self.codes, bits.get(), row / length * inputs, &table, weights);
        }
    }
}
