//! Matrix products, above all of packed weights with activations.
//!
//! A row of a packed weight is decoded into a buffer that stays in the first cache and multiplied
//! with every row of activations at once, so a weight is decoded once per call however many rows
//! there are. Rows of weights are shared among threads. Each result is one sum over fixed lanes:
//! it depends neither on the number of threads nor on how many rows are multiplied together.

use rayon::prelude::*;

use crate::package::constexpr::PackedWeight;

/// Partial sums of a result: four AVX2 registers, eight NEON ones.
const LANES: usize = 32;
/// Rows of activations that share a pass over a row of weights.
const TOGETHER: usize = 3;
/// The weights that a thread takes at a time.
const CHUNK_WEIGHTS: usize = 1 << 16;

/// `weight` `[out, in]` times each of the rows `x` `[rows, in]`, as `[out, rows]`. `in` is the
/// number of weights in a row of `weight`, whatever its rank; a remainder of `x` is ignored.
pub fn multiply(weight: &PackedWeight, x: &[f32]) -> Vec<f32> {
    let inputs = weight.len() / weight.rows().max(1);
    share(weight.rows(), inputs, x, |row, buffer| weight.fill(row * inputs, buffer))
}

/// Calls `decode(row, buffer)` for each of `outputs` rows and multiplies it with the rows of `x`.
fn share(
    outputs: usize,
    inputs: usize,
    x: &[f32],
    decode: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let rows = x.len() / inputs.max(1);
    let mut out = vec![0.0; outputs * rows];
    if out.is_empty() {
        return out;
    }
    let step = (CHUNK_WEIGHTS / inputs.max(1)).clamp(1, outputs);
    let chunk = |(i, out): (usize, &mut [f32])| {
        let mut buffer = vec![0.0; inputs];
        for (j, out) in out.chunks_exact_mut(rows).enumerate() {
            decode(i * step + j, &mut buffer);
            dots(&buffer, x, out);
        }
    };
    match outputs <= step {
        true => out.chunks_mut(step * rows).enumerate().for_each(chunk),
        false => out.par_chunks_mut(step * rows).enumerate().for_each(chunk),
    }
    out
}

/// `out[i]` is the product of `weights` and row `i` of `x`.
pub(super) fn dots(weights: &[f32], x: &[f32], out: &mut [f32]) {
    let rows = x.chunks_exact(weights.len().max(1));
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut rows = rows;
            let (groups, rest) = out.as_chunks_mut::<TOGETHER>();
            for out in groups {
                *out = dot(weights, std::array::from_fn(|_| rows.next().unwrap_or_default()));
            }
            for out in rest {
                [*out] = dot(weights, [rows.next().unwrap_or_default()]);
            }
        },
    );
}

#[inline(always)]
fn dot<const N: usize>(weights: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[0.0f32; LANES]; N];
    let (chunks, rest) = weights.as_chunks::<LANES>();
    let mut wide = rows.map(|row| row.as_chunks::<LANES>().0.iter());
    for weights in chunks {
        for (sums, row) in sums.iter_mut().zip(&mut wide) {
            let Some(row) = row.next() else { continue };
            for lane in 0..LANES {
                sums[lane] = weights[lane].mul_add(row[lane], sums[lane]);
            }
        }
    }
    let done = weights.len() - rest.len();
    for (sums, row) in sums.iter_mut().zip(rows) {
        for ((sum, weight), x) in sums.iter_mut().zip(rest).zip(row.get(done..).unwrap_or_default())
        {
            *sum = weight.mul_add(*x, *sum);
        }
    }
    sums.map(total)
}

/// The sum of the lanes, halves added to halves.
#[inline(always)]
fn total(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        width /= 2;
    }
    lanes[0]
}

/// The sum of `values` in the same fixed order.
pub(super) fn sum(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += value);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += value);
    total(lanes)
}

/// `x` `[rows, inner]` times the rows of `y` `[columns, inner]`, as `[rows, columns]`.
pub(super) fn multiply_transposed(x: &[f32], y: &[f32], inner: usize, out: &mut [f32]) {
    let columns = y.len() / inner.max(1);
    for (x, out) in x.chunks_exact(inner.max(1)).zip(out.chunks_exact_mut(columns.max(1))) {
        dots(x, y, out);
    }
}

/// `x` `[rows, inner]` times `y` `[inner, columns]`, as `[rows, columns]`; `out` begins as zeros.
pub(super) fn multiply_dense(x: &[f32], y: &[f32], inner: usize, out: &mut [f32]) {
    let columns = y.len() / inner.max(1);
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for (x, out) in x.chunks_exact(inner.max(1)).zip(out.chunks_exact_mut(columns.max(1))) {
                for (x, y) in x.iter().zip(y.chunks_exact(columns.max(1))) {
                    out.iter_mut().zip(y).for_each(|(out, y)| *out = x.mul_add(*y, *out));
                }
            }
        },
    );
}

/// `[rows, columns]` as `[columns, rows]`.
pub(super) fn transposed(values: Vec<f32>, columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    if rows <= 1 || columns <= 1 {
        return values;
    }
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns).copied()).collect()
}
