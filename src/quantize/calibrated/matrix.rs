//! Products of row-major matrices, in f32 and f64.
//!
//! Every element is one sum in the order of the inner axis, so that results depend neither on
//! threads nor on the width of registers. Columns of the right-hand side are copied into panels,
//! rows of the left-hand side share them.

use rayon::prelude::*;

/// Rows that share the loads of a panel.
const ROWS: usize = 8;
/// Columns of a panel.
const COLUMNS: usize = 32;
/// The inner axis is walked in pieces of this length: a panel's piece stays in the nearest cache.
const DEPTH: usize = 256;
/// Rows that a thread takes at a time.
pub(super) const CHUNK_ROWS: usize = 64;

/// The numbers that matrices are made of.
pub(super) trait Real: Copy + Default + Send + Sync + PartialOrd {
    /// `self * a + b`, rounded once.
    fn fused(self, a: Self, b: Self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn fused(self, a: f32, b: f32) -> f32 {
        self.mul_add(a, b)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn fused(self, a: f64, b: f64) -> f64 {
        self.mul_add(a, b)
    }
}

/// A part of a row-major matrix: `rows` rows of `columns` numbers, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct View<'a, T> {
    pub values: &'a [T],
    pub rows: usize,
    pub columns: usize,
    pub stride: usize,
}

impl<'a, T: Real> View<'a, T> {
    /// A whole matrix.
    pub(super) fn whole(values: &'a [T], columns: usize) -> Self {
        View { values, rows: values.len() / columns.max(1), columns, stride: columns }
    }

    /// Some columns of a matrix whose rows are `stride` long, from `first` on.
    pub(super) fn columns(values: &'a [T], stride: usize, first: usize, columns: usize) -> Self {
        let rows = values.len() / stride.max(1);
        let values = if rows == 0 { &[] } else { &values[first..] };
        View { values, rows, columns, stride }
    }

    #[inline(always)]
    fn row(&self, at: usize) -> &'a [T] {
        &self.values[at * self.stride..at * self.stride + self.columns]
    }
}

/// Adds `left` `[m, k]` times `right` `[k, n]` to the first `n` columns, from `first` on, of `out`,
/// whose rows are `stride` long. On the caller's thread.
pub(super) fn add_product<T: Real>(
    left: View<'_, T>,
    right: View<'_, T>,
    out: &mut [T],
    stride: usize,
    first: usize,
) {
    let mut panel = vec![[T::default(); COLUMNS]; DEPTH.min(right.rows)];
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            for depth in (0..right.rows).step_by(DEPTH) {
                let len = DEPTH.min(right.rows - depth);
                for column in (0..right.columns).step_by(COLUMNS) {
                    let width = COLUMNS.min(right.columns - column);
                    for (i, line) in panel[..len].iter_mut().enumerate() {
                        let row = &right.row(depth + i)[column..column + width];
                        line[..width].copy_from_slice(row);
                        line[width..].fill(T::default());
                    }
                    let place = Place { first: first + column, width, stride, depth };
                    add_panel(left, &panel[..len], out, place);
                }
            }
        },
    );
}

/// Where a panel's products go.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    width: usize,
    stride: usize,
    depth: usize,
}

#[inline(always)]
fn add_panel<T: Real>(left: View<'_, T>, panel: &[[T; COLUMNS]], out: &mut [T], place: Place) {
    let mut row = 0;
    while row + ROWS <= left.rows {
        add_rows::<T, ROWS>(left, row, panel, out, place);
        row += ROWS;
    }
    while row < left.rows {
        add_rows::<T, 1>(left, row, panel, out, place);
        row += 1;
    }
}

#[inline(always)]
fn add_rows<T: Real, const R: usize>(
    left: View<'_, T>,
    row: usize,
    panel: &[[T; COLUMNS]],
    out: &mut [T],
    Place { first, width, stride, depth }: Place,
) {
    let lines: [&[T]; R] = std::array::from_fn(|r| &left.row(row + r)[depth..depth + panel.len()]);
    let mut sums = [[T::default(); COLUMNS]; R];
    for (sums, r) in sums.iter_mut().zip(row..) {
        let at = r * stride + first;
        sums[..width].copy_from_slice(&out[at..at + width]);
    }
    for (i, line) in panel.iter().enumerate() {
        for r in 0..R {
            let factor = lines[r][i];
            for (sum, value) in sums[r].iter_mut().zip(line) {
                *sum = factor.fused(*value, *sum);
            }
        }
    }
    for (sums, r) in sums.iter().zip(row..) {
        let at = r * stride + first;
        out[at..at + width].copy_from_slice(&sums[..width]);
    }
}

/// `left` `[m, k]` times `right` `[k, n]`, shared among threads.
pub(super) fn product<T: Real>(left: View<'_, T>, right: View<'_, T>) -> Vec<T> {
    let columns = right.columns;
    let mut out = vec![T::default(); left.rows * columns];
    if columns > 0 {
        out.par_chunks_mut(CHUNK_ROWS * columns).enumerate().for_each(|(i, out)| {
            let rows = out.len() / columns;
            let values = &left.values[i * CHUNK_ROWS * left.stride..];
            add_product(View { values, rows, ..left }, right, out, columns, 0);
        });
    }
    out
}

/// The matrix with rows and columns exchanged.
pub(super) fn transposed<T: Real>(view: View<'_, T>) -> Vec<T> {
    const SIDE: usize = 32;
    let mut out = vec![T::default(); view.rows * view.columns];
    for row in (0..view.rows).step_by(SIDE) {
        for column in (0..view.columns).step_by(SIDE) {
            for r in row..(row + SIDE).min(view.rows) {
                let own = view.row(r);
                for c in column..(column + SIDE).min(view.columns) {
                    out[c * view.rows + r] = own[c];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn products_are_those_of_the_definition_at_any_size() {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        for [m, k, n] in [[1, 1, 1], [3, 5, 7], [70, 300, 33], [9, 257, 64], [0, 4, 4], [4, 0, 4]] {
            let mut draw = |len| -> Vec<f64> { (0..len).map(|_| random.random()).collect() };
            let (a, b) = (draw(m * k), draw(k * n));
            let left = View { values: &a, rows: m, columns: k, stride: k };
            let found = product(left, View { values: &b, rows: k, columns: n, stride: n });
            for i in 0..m {
                for j in 0..n {
                    let sum: f64 = (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum();
                    assert!((found[i * n + j] - sum).abs() < 1e-9, "{m} {k} {n}: {i} {j}");
                }
            }
            let back = transposed(View::whole(&transposed(View::whole(&b, n)), k.max(1)));
            assert_eq!(back, b);
        }
    }
}
