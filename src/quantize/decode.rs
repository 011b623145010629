//! Decodes stored codes to f32 weights, exactly as Core ML's operators do.
//!
//! Core ML multiplies integers by an fp16 scale in fp16, so the product is rounded to fp16 here as
//! well. A channel scale is a separate multiplication, done here in f32 on the table's entries.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::bitpack::{code_at, unpack};
use super::coded::{CodedArrays, CodedTensor, Tables};
use super::fp16::round_to_half;
use super::lookup::{Table, look_up};
use super::mxfp4;
use super::recipe::{Linear, Recipe};
use super::vector::VectorRows;
use crate::error::{Error, Result};

/// Weights that a thread decodes at a time: enough to hide the scheduling, few enough to fit in a
/// cache.
const CHUNK_WEIGHTS: usize = 1 << 15;

impl CodedTensor {
    /// All weights, row-major `[out, in]`. With memory that is allocated already,
    /// [`decode_rows`](CodedTensor::decode_rows) is several times faster.
    pub fn decode(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.weights()];
        self.decode_parallel(0, &mut weights);
        weights
    }

    /// Decodes the rows `rows` into `weights`, row-major `[rows, in]`, on several threads if there
    /// are many. Fails (bug) if the rows do not exist or `weights` does not have their length.
    pub fn decode_rows(&self, rows: Range<usize>, weights: &mut [f32]) -> Result<()> {
        let [out, inputs] = self.shape;
        if rows.start > rows.end || rows.end > out || weights.len() != rows.len() * inputs {
            return Err(Error::bug(format!(
                "cannot decode rows {rows:?} of [{out}, {inputs}] into {} weights",
                weights.len()
            )));
        }
        self.decode_parallel(rows.start, weights);
        Ok(())
    }

    fn decode_parallel(&self, first_row: usize, weights: &mut [f32]) {
        let inputs = self.shape[1].max(1);
        let rows = (CHUNK_WEIGHTS / inputs).max(1);
        weights.par_chunks_mut(rows * inputs).enumerate().for_each(|(i, chunk)| {
            self.decode_from(first_row + i * rows, chunk);
        });
    }

    /// Decodes whole rows from `first_row` on. The caller has checked that they exist.
    fn decode_from(&self, first_row: usize, weights: &mut [f32]) {
        if weights.is_empty() {
            return;
        }
        let inputs = self.shape[1];
        match (&self.stored, &self.recipe) {
            (CodedArrays::Half(values), _) => {
                let start = first_row * inputs;
                values[start..start + weights.len()].convert_to_f32_slice(weights);
            }
            (CodedArrays::Palette { codes, mask, tables, channel_scales }, recipe) => {
                let bits = recipe.nominal_bits().unwrap_or(8);
                let group = self.table_rows().unwrap_or(1);
                let (mut table, mut values) = ([0.0; 256], Vec::new());
                for (i, row) in weights.chunks_exact_mut(inputs).enumerate() {
                    let at = first_row + i;
                    if i == 0 || at.is_multiple_of(group) || channel_scales.is_some() {
                        tables.read(at / group, 1 << bits, &mut table);
                        if let Some(scales) = channel_scales {
                            let scale = scales[at].to_f32();
                            table[..1 << bits].iter_mut().for_each(|entry| *entry *= scale);
                        }
                    }
                    match mask {
                        None => look_up(codes, bits, at * inputs, &table, row),
                        Some(mask) => {
                            let first = mask.kept_before(at * inputs);
                            let kept = mask.kept_before((at + 1) * inputs) - first;
                            values.resize(kept, 0.0);
                            look_up(codes, bits, first, &table, &mut values);
                            mask.scatter(at * inputs, &values, row);
                        }
                    }
                }
            }
            (CodedArrays::Linear { codes, scales, zero_points }, Recipe::Linear(linear)) => {
                let rows =
                    LinearRows { codes, scales, zero_points: zero_points.as_deref(), linear };
                rows.decode(first_row, inputs, weights);
            }
            (CodedArrays::Linear { codes, scales, .. }, Recipe::Mxfp4) => {
                mxfp4::decode(codes, scales, first_row, inputs, weights);
            }
            (CodedArrays::Vector { codes, tables, channel_scales }, Recipe::Vector(vector)) => {
                let rows = VectorRows { vector, codes, tables, channel_scales };
                rows.decode(self.shape, first_row, weights);
            }
            // `CodedTensor::new` has checked that stored arrays and recipe agree.
            (CodedArrays::Linear { .. } | CodedArrays::Vector { .. }, _) => {}
        }
    }
}

impl Tables {
    /// The `entries` values of table `index`, as the layer sees them.
    pub(super) fn read(&self, index: usize, entries: usize, table: &mut Table) {
        let own = index * entries..(index + 1) * entries;
        match self {
            Tables::Half(values) => values[own].convert_to_f32_slice(&mut table[..entries]),
            Tables::Int8 { entries: codes, scales } => {
                let scale = scales[index].to_f32();
                for (value, code) in table.iter_mut().zip(&codes[own]) {
                    *value = round_to_half(f32::from(*code) * scale);
                }
            }
        }
    }
}

struct LinearRows<'a> {
    codes: &'a [u8],
    scales: &'a [f16],
    zero_points: Option<&'a [u8]>,
    linear: &'a Linear,
}

impl LinearRows<'_> {
    fn decode(&self, first_row: usize, inputs: usize, weights: &mut [f32]) {
        let bits = self.linear.bits.get();
        let (block, blocks) = (self.linear.block_len(inputs), self.linear.blocks(inputs));
        // Two's complement becomes an unsigned code by flipping its sign bit.
        let sign_bit = if self.zero_points.is_some() { 0 } else { 1u8 << (bits - 1) };
        let mut codes = vec![0; inputs];
        for (i, row) in weights.chunks_exact_mut(inputs).enumerate() {
            let at = first_row + i;
            if unpack(self.codes, bits, at * inputs, &mut codes).is_err() {
                return;
            }
            let chunks = row.chunks_exact_mut(block).zip(codes.chunks_exact(block));
            pulp::Arch::new().dispatch(|| {
                for (b, (row, codes)) in chunks.enumerate() {
                    let index = at * blocks + b;
                    let scale = self.scales[index].to_f32();
                    let zero = match self.zero_points {
                        Some(points) => code_at(points, bits, index),
                        None => sign_bit,
                    };
                    for (weight, code) in row.iter_mut().zip(codes) {
                        let steps = i32::from(code ^ sign_bit) - i32::from(zero);
                        *weight = round_to_half(steps as f32 * scale);
                    }
                }
            });
        }
    }
}
