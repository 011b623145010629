//! Products of row-major matrices, in f32 and f64.
//!
//! Every element is a single chain of fused multiply-adds along the inner axis, so the bits depend
//! neither on the number of threads nor on the vector unit. That is why no linear-algebra crate is
//! used here: their kernels split the inner axis by the size of the caches and of the registers,
//! and one changed bit can change a code, and with it the hash of the tensor. Given the same
//! moments, every machine finds the same codes.
//!
//! Columns of the right-hand side are copied into panels, which the rows of the left-hand side
//! share.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

/// Rows that share the loads of a panel. With [`WIDE`] this makes as many sums as fit in registers.
const ROWS: usize = 6;
/// Registers of a panel's row that are used at a time.
const WIDE: usize = 2;
/// Columns of a panel.
const COLUMNS: usize = 32;
/// Length of a panel along the inner axis, such that a panel stays in the first-level cache.
const DEPTH: usize = 256;
/// Rows that a thread takes at a time.
pub(super) const CHUNK_ROWS: usize = 60;

/// The element type of matrices, with registers of elements.
pub(super) trait Real: Copy + Default + Send + Sync {
    /// A register of numbers.
    type Lanes<S: Simd>: Copy;

    /// A number in every lane.
    fn splat<S: Simd>(simd: S, value: Self) -> Self::Lanes<S>;

    /// `a * b + c`, rounded once.
    fn fused<S: Simd>(
        simd: S,
        a: Self::Lanes<S>,
        b: Self::Lanes<S>,
        c: Self::Lanes<S>,
    ) -> Self::Lanes<S>;

    /// Numbers as registers.
    fn lanes<S: Simd>(values: &[Self]) -> &[Self::Lanes<S>];

    /// Numbers as registers, to be written.
    fn lanes_mut<S: Simd>(values: &mut [Self]) -> &mut [Self::Lanes<S>];
}

/// Implements [`Real`]. Only the names of pulp's functions differ between f32 and f64.
macro_rules! real {
    ($real:ty, $lanes:ident, $splat:ident, $fused:ident, $read:ident, $write:ident) => {
        impl Real for $real {
            type Lanes<S: Simd> = S::$lanes;

            #[inline(always)]
            fn splat<S: Simd>(simd: S, value: Self) -> S::$lanes {
                simd.$splat(value)
            }

            #[inline(always)]
            fn fused<S: Simd>(simd: S, a: S::$lanes, b: S::$lanes, c: S::$lanes) -> S::$lanes {
                simd.$fused(a, b, c)
            }

            #[inline(always)]
            fn lanes<S: Simd>(values: &[Self]) -> &[S::$lanes] {
                S::$read(values).0
            }

            #[inline(always)]
            fn lanes_mut<S: Simd>(values: &mut [Self]) -> &mut [S::$lanes] {
                S::$write(values).0
            }
        }
    };
}

real!(f32, f32s, splat_f32s, mul_add_f32s, as_simd_f32s, as_mut_simd_f32s);
real!(f64, f64s, splat_f64s, mul_add_f64s, as_simd_f64s, as_mut_simd_f64s);

/// A part of a row-major matrix: `rows` rows of `columns` numbers; rows start `stride` numbers
/// apart.
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

/// Adds `left` `[m, k]` times `right` `[k, n]` to `n` columns of `out`, from column `first` on.
/// Rows of `out` are `stride` long. Runs on the caller's thread.
pub(super) fn add_product<T: Real>(
    left: View<'_, T>,
    right: View<'_, T>,
    out: &mut [T],
    stride: usize,
    first: usize,
) {
    let panel = vec![[T::default(); COLUMNS]; DEPTH.min(right.rows)];
    pulp::Arch::new().dispatch(Product { left, right, out, stride, first, panel });
}

struct Product<'a, T> {
    left: View<'a, T>,
    right: View<'a, T>,
    out: &'a mut [T],
    stride: usize,
    first: usize,
    panel: Vec<[T; COLUMNS]>,
}

impl<T: Real> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Product { left, right, out, stride, first, mut panel } = self;
        for depth in (0..right.rows).step_by(DEPTH) {
            let len = DEPTH.min(right.rows - depth);
            for column in (0..right.columns).step_by(COLUMNS) {
                let width = COLUMNS.min(right.columns - column);
                for (i, line) in panel[..len].iter_mut().enumerate() {
                    let row = &right.row(depth + i)[column..column + width];
                    line[..width].copy_from_slice(row);
                    line[width..].fill(T::default());
                }
                let place = PanelPlace { first: first + column, width, stride, depth };
                add_panel(simd, left, &panel[..len], out, place);
            }
        }
    }
}

/// Where the products of a panel are added: `width` columns from `first` on.
#[derive(Clone, Copy)]
struct PanelPlace {
    first: usize,
    width: usize,
    stride: usize,
    /// The panel's position along the inner axis.
    depth: usize,
}

#[inline(always)]
fn add_panel<S: Simd, T: Real>(
    simd: S,
    left: View<'_, T>,
    panel: &[[T; COLUMNS]],
    out: &mut [T],
    place: PanelPlace,
) {
    let mut row = 0;
    while row + ROWS <= left.rows {
        add_rows::<S, T, ROWS>(simd, left, row, panel, out, place);
        row += ROWS;
    }
    while row + 2 <= left.rows {
        add_rows::<S, T, 2>(simd, left, row, panel, out, place);
        row += 2;
    }
    while row < left.rows {
        add_rows::<S, T, 1>(simd, left, row, panel, out, place);
        row += 1;
    }
}

#[inline(always)]
fn add_rows<S: Simd, T: Real, const R: usize>(
    simd: S,
    left: View<'_, T>,
    row: usize,
    panel: &[[T; COLUMNS]],
    out: &mut [T],
    PanelPlace { first, width, stride, depth }: PanelPlace,
) {
    let mut lines = [&[][..]; R];
    let mut sums = [[T::default(); COLUMNS]; R];
    for r in 0..R {
        lines[r] = &left.row(row + r)[depth..depth + panel.len()];
        let at = (row + r) * stride + first;
        sums[r][..width].copy_from_slice(&out[at..at + width]);
    }
    let registers = T::lanes::<S>(&sums[0]).len();
    for first in (0..registers).step_by(WIDE) {
        let mut held = [[T::splat(simd, T::default()); WIDE]; R];
        for r in 0..R {
            held[r].copy_from_slice(&T::lanes::<S>(&sums[r])[first..first + WIDE]);
        }
        for (i, line) in panel.iter().enumerate() {
            let values = &T::lanes::<S>(line)[first..first + WIDE];
            for r in 0..R {
                let factor = T::splat(simd, lines[r][i]);
                for w in 0..WIDE {
                    held[r][w] = T::fused(simd, factor, values[w], held[r][w]);
                }
            }
        }
        for r in 0..R {
            T::lanes_mut::<S>(&mut sums[r])[first..first + WIDE].copy_from_slice(&held[r]);
        }
    }
    for (sums, row) in sums.iter().zip(row..) {
        let at = row * stride + first;
        out[at..at + width].copy_from_slice(&sums[..width]);
    }
}

/// `left` `[m, k]` times `right` `[k, n]`, on all threads.
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
