//! Matrix products, mainly of packed weights with activations.
//!
//! For one row of activations, most weights are decoded in registers (`stored`), and codes that
//! stand for several rows are looked up once for all of them (`vectors`). In all other cases, a few
//! rows of a packed weight are decoded into a buffer that fits in a cache, and multiplied with
//! every row of activations; so each weight is decoded once per call. The rows of a weight are
//! divided among threads. Each result is one sum over fixed lanes: it depends neither on the number
//! of threads nor on how many rows are multiplied together.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod registers;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod stored;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::package::constexpr::PackedWeight;

/// The number of partial sums of a result: four AVX2 registers, or eight NEON registers.
const LANES: usize = 32;
/// The number of rows of activations that are multiplied in one pass over a row of weights.
const TOGETHER: usize = 3;
/// The number of rows of weights that are decoded at a time if there are many rows of activations.
const TILE: usize = 16;
/// The number of weights that are decoded at a time if there are few rows of activations: as many
/// as fit in the L1 cache.
const CACHED_WEIGHTS: usize = 1 << 12;
/// The number of weights that a thread takes at a time.
const CHUNK_WEIGHTS: usize = 1 << 16;
/// For stored weights, a second thread pays only from this number of weights on.
const MIN_CHUNK_WEIGHTS: usize = 1 << 15;
/// A large stored weight is divided into this number of parts per thread, so that other threads can
/// take parts of a slow one.
const PARTS: usize = 4;

/// The product `[out, rows]` of `weight` `[out, in]` and `x` `[rows, in]`. `in` is the number of
/// elements in a row of `weight`, which may have any rank; an incomplete last row of `x` is
/// ignored.
pub fn multiply(weight: &PackedWeight, x: &[f32]) -> Vec<f32> {
    let inputs = weight.elements() / weight.rows().max(1);
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    if let Some(out) = stored::multiply(weight, inputs, x) {
        return out;
    }
    if let Some(out) = vectors::multiply(weight, inputs, x) {
        return out;
    }
    share(weight.rows(), inputs, x, |row, buffer| weight.fill(row * inputs, buffer))
}

/// Divides the `outputs` rows among threads. `decode(row, buffer)` must write the rows from `row`
/// on that fit in `buffer`; they are then multiplied with the rows of `x`.
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
    let step = (CHUNK_WEIGHTS / inputs).clamp(1, outputs);
    let tile = if rows < TOGETHER { CACHED_WEIGHTS / inputs } else { TILE }.clamp(1, step);
    let chunk = |(i, out): (usize, &mut [f32])| {
        let mut buffer = vec![0.0; tile * inputs];
        for (j, out) in out.chunks_mut(tile * rows).enumerate() {
            let weights = &mut buffer[..out.len() / rows * inputs];
            decode(i * step + j * tile, weights);
            pulp::Arch::new().dispatch(Dots { weights, x, inputs, out });
        }
    };
    if outputs <= step {
        out.chunks_mut(step * rows).enumerate().for_each(chunk);
    } else {
        out.par_chunks_mut(step * rows).enumerate().for_each(chunk);
    }
    out
}

/// Computes the `outputs` results of one row of activations, divided among threads if that pays.
/// `chunk(first, out)` computes those from `first` on; `first` is a multiple of `unit`.
fn share_stored(
    outputs: usize,
    inputs: usize,
    unit: usize,
    chunk: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut out = vec![0.0; outputs];
    let parts = (outputs * inputs / MIN_CHUNK_WEIGHTS).min(PARTS * rayon::current_num_threads());
    let step = outputs.div_ceil(parts.max(1)).next_multiple_of(unit);
    if outputs <= step {
        chunk(0, &mut out);
    } else {
        let chunks = out.par_chunks_mut(step).enumerate();
        chunks.for_each(|(i, out)| chunk(i * step, out));
    }
    out
}

/// Multiplies `weights` `[outputs, inputs]` with `x` `[rows, inputs]` into `out` `[outputs, rows]`.
struct Dots<'a> {
    weights: &'a [f32],
    x: &'a [f32],
    inputs: usize,
    out: &'a mut [f32],
}

impl WithSimd for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<S, { LANES / 16 }>(simd),
            8 => self.run::<S, { LANES / 8 }>(simd),
            4 => self.run::<S, { LANES / 4 }>(simd),
            _ => self.run::<S, LANES>(simd),
        }
    }
}

impl Dots<'_> {
    /// Computes the products with `K` registers for the partial sums of a result.
    #[inline(always)]
    fn run<S: Simd, const K: usize>(self, simd: S) {
        let Dots { weights, x, inputs, out } = self;
        let rows = x.len() / inputs;
        let mut first = 0;
        while first < rows {
            let count = if rows - first < TOGETHER { 1 } else { TOGETHER };
            let group = &x[first * inputs..(first + count) * inputs];
            let outs = out.chunks_exact_mut(rows);
            for (weights, out) in weights.chunks_exact(inputs).zip(outs) {
                let out = &mut out[first..first + count];
                if let Some(out) = out.first_chunk_mut::<TOGETHER>() {
                    let row = |i: usize| &group[i * inputs..(i + 1) * inputs];
                    *out = dot::<S, K, TOGETHER>(simd, weights, std::array::from_fn(row));
                } else {
                    [out[0]] = dot::<S, K, 1>(simd, weights, [group]);
                }
            }
            first += count;
        }
    }
}

#[inline(always)]
fn dot<S: Simd, const K: usize, const N: usize>(
    simd: S,
    weights: &[f32],
    rows: [&[f32]; N],
) -> [f32; N] {
    let whole = weights.len() / LANES * LANES;
    let (wide, rest) = weights.split_at(whole);
    let wide = S::as_simd_f32s(wide).0.as_chunks::<K>().0;
    let xs = rows.map(|row| &S::as_simd_f32s(&row[..whole]).0.as_chunks::<K>().0[..wide.len()]);
    let mut sums = [[simd.splat_f32s(0.0); K]; N];
    for (i, weights) in wide.iter().enumerate() {
        for k in 0..K {
            for n in 0..N {
                sums[n][k] = simd.mul_add_f32s(weights[k], xs[n][i][k], sums[n][k]);
            }
        }
    }
    let mut out = [0.0; N];
    for n in 0..N {
        let mut lanes = [0.0; LANES];
        lanes.copy_from_slice(bytemuck::cast_slice(&sums[n]));
        for ((lane, weight), x) in lanes.iter_mut().zip(rest).zip(&rows[n][whole..]) {
            *lane = weight.mul_add(*x, *lane);
        }
        out[n] = total(lanes);
    }
    out
}

/// Adds up the lanes, the upper half to the lower half until one is left.
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

/// The sum of `values`, in the fixed order of the products.
pub(super) fn sum(values: &[f32]) -> f32 {
    sum_of(values, |value| value)
}

/// The sum of `term(value)` over `values`, in the fixed order of the products.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += term(*value));
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += term(*value));
    total(lanes)
}

/// Writes the product `[rows, columns]` of `x` `[rows, inner]` and the transposed `y` `[columns,
/// inner]` to `out`.
pub(super) fn multiply_transposed(x: &[f32], y: &[f32], inner: usize, out: &mut [f32]) {
    if inner > 0 && !out.is_empty() {
        pulp::Arch::new().dispatch(Dots { weights: x, x: y, inputs: inner, out });
    }
}

/// Adds the product `[rows, columns]` of `x` `[rows, inner]` and `y` `[inner, columns]` to `out`,
/// which the caller has filled with zeros.
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

/// Transposes `values` `[rows, columns]`.
pub(super) fn transposed(values: Vec<f32>, columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    if rows <= 1 || columns <= 1 {
        return values;
    }
    (0..columns).flat_map(|column| values[column..].iter().step_by(columns).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::read::literal::LiteralTensor;
    use crate::package::spec::DataType;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919) % 1021) as f32 / 1021.0 - 0.5).collect()
    }

    fn weight(shape: [usize; 2]) -> PackedWeight {
        let bytes: Vec<u8> =
            numbers(shape[0] * shape[1]).iter().flat_map(|v| v.to_le_bytes()).collect();
        let (shape, data_type) = (shape.to_vec(), DataType::Float32);
        let literal = LiteralTensor { data_type, shape, bytes: bytes.into(), text: None };
        PackedWeight::plain(&literal).unwrap()
    }

    #[test]
    fn products_agree_with_their_definition() {
        for (outputs, inputs, rows) in [(5, 7, 1), (40, 100, 2), (33, 64, 7), (90, 1000, 4)] {
            let (weight, x) = (weight([outputs, inputs]), numbers(rows * inputs));
            let (dense, out) = (weight.decode(), multiply(&weight, &x));
            assert_eq!(out.len(), outputs * rows);
            for (i, found) in out.iter().enumerate() {
                let (row, column) = (&dense[i / rows * inputs..][..inputs], i % rows);
                let pairs = row.iter().zip(&x[column * inputs..]);
                let exact: f64 = pairs.map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                assert!((f64::from(*found) - exact).abs() < 1e-4, "{found} is not {exact}");
            }
        }
    }

    #[test]
    fn a_result_depends_neither_on_other_rows_nor_on_threads() {
        let (weight, x) = (weight([300, 500]), numbers(8 * 500));
        let together = multiply(&weight, &x);
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        assert_eq!(pool(1).install(|| multiply(&weight, &x)), together);
        for (row, x) in x.chunks(500).enumerate() {
            let alone = pool(2).install(|| multiply(&weight, x));
            assert!(alone.iter().zip(together.chunks(8)).all(|(a, b)| *a == b[row]));
        }
    }
}
