//! The Cholesky factor of a symmetric matrix, and systems solved with it, in f64 and by blocks.
//!
//! Written here rather than taken from a linear-algebra crate for the reason that `matrix.rs`
//! gives: blocks and sums have a fixed order, so the bits depend neither on threads nor on the
//! vector unit.

use rayon::prelude::*;

use super::matrix::{CHUNK_ROWS, View, add_product, transposed};
use crate::error::{Error, Result};

/// Columns that are factored together.
const BLOCK: usize = 96;

/// A lower triangular matrix `L` `[n, n]`, zero above the diagonal.
pub(super) struct Lower {
    pub values: Vec<f64>,
    pub n: usize,
}

/// The `L` for which `L·Lᵀ` is the symmetric `matrix` `[n, n]`, of which only the lower triangle is
/// read. Fails (input) if it is not positive definite, and names the row.
pub(super) fn cholesky(mut matrix: Vec<f64>, n: usize) -> Result<Lower> {
    for start in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - start);
        let end = start + width;
        let (above, below) = matrix.split_at_mut(end * n);
        factor_block(&mut above[start * n..], n, start, width)?;
        let corner = &above[start * n..];
        below.par_chunks_mut(CHUNK_ROWS * n).for_each(|rows| {
            pulp::Arch::new().dispatch(SolveRows { corner, n, start, width, rows });
        });
        // Subtract the product of the new columns with themselves from the remaining matrix.
        let rest = n - end;
        let mut panel = vec![0.0; rest * width];
        for (to, row) in panel.chunks_exact_mut(width).zip(below.chunks_exact(n)) {
            to.iter_mut().zip(&row[start..end]).for_each(|(to, value)| *to = -value);
        }
        let mut turned = transposed(View::whole(&panel, width));
        turned.iter_mut().for_each(|value| *value = -*value);
        below.par_chunks_mut(CHUNK_ROWS * n).enumerate().for_each(|(i, rows)| {
            let first = i * CHUNK_ROWS;
            let count = rows.len() / n;
            let left = View::whole(&panel[first * width..(first + count) * width], width);
            let right = View { values: &turned, rows: width, columns: first + count, stride: rest };
            add_product(left, right, rows, n, end);
        });
    }
    for (row, values) in matrix.chunks_exact_mut(n.max(1)).enumerate() {
        values[row + 1..].fill(0.0);
    }
    Ok(Lower { values: matrix, n })
}

/// Factors the block on the diagonal. `rows` are whole rows, from the block's first row on.
fn factor_block(rows: &mut [f64], n: usize, start: usize, width: usize) -> Result<()> {
    for i in 0..width {
        for j in 0..=i {
            let (a, b) = (i * n + start, j * n + start);
            let sum = rows[a + j] - dot(&rows[a..a + j], &rows[b..b + j]);
            rows[a + j] = if i > j {
                sum / rows[b + j]
            } else if sum > 0.0 && sum.is_finite() {
                sum.sqrt()
            } else {
                let row = start + i;
                return Err(Error::input(format!(
                    "expected positive definite second moments, found a pivot of {sum} in row {row}"
                )));
            };
        }
    }
    Ok(())
}

/// Solves `x · Lᵀ = row` for the columns of a block, for each of `rows`. `corner` are whole rows of
/// `L`, from the block's first row on.
struct SolveRows<'a> {
    corner: &'a [f64],
    n: usize,
    start: usize,
    width: usize,
    rows: &'a mut [f64],
}

impl pulp::NullaryFnOnce for SolveRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let SolveRows { corner, n, start, width, rows } = self;
        for row in rows.chunks_exact_mut(n) {
            for j in 0..width {
                let own = &corner[j * n + start..j * n + start + j + 1];
                let sum = row[start + j] - dot(&row[start..start + j], &own[..j]);
                row[start + j] = sum / own[j];
            }
        }
    }
}

/// The product of two vectors, as eight sums in a fixed order.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (chunks, rest) = a.as_chunks::<8>();
    let (others, other_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in chunks.iter().zip(others) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let tail: f64 = rest.iter().zip(other_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + tail
}

impl Lower {
    /// Replaces every row `b` of `rows` `[m, n]` by the `y` with `y · L · Lᵀ = b`.
    pub(super) fn solve_rows(&self, rows: &mut [f64]) {
        let n = self.n;
        if n == 0 {
            return;
        }
        let turned = transposed(View::whole(&self.values, n));
        rows.par_chunks_mut(CHUNK_ROWS * n).for_each(|rows| {
            self.forward(&turned, rows);
            self.backward(rows);
        });
    }

    /// Solves `z · Lᵀ = b` from the first column to the last. `turned` is `Lᵀ`.
    fn forward(&self, turned: &[f64], rows: &mut [f64]) {
        let n = self.n;
        for start in (0..n).step_by(BLOCK) {
            let width = BLOCK.min(n - start);
            let known = negated(rows, n, 0, start);
            let right = View::columns(&turned[..start * n], n, start, width);
            add_product(View::whole(&known, start), right, rows, n, start);
            let corner = &self.values[start * n..];
            pulp::Arch::new().dispatch(SolveRows { corner, n, start, width, rows });
        }
    }

    /// Solves `y · L = z` from the last column to the first.
    fn backward(&self, rows: &mut [f64]) {
        let n = self.n;
        for start in (0..n).step_by(BLOCK).rev() {
            let width = BLOCK.min(n - start);
            let end = start + width;
            let known = negated(rows, n, end, n - end);
            let right = View::columns(&self.values[end * n..], n, start, width);
            add_product(View::whole(&known, n - end), right, rows, n, start);
            for row in rows.chunks_exact_mut(n) {
                for j in (start..end).rev() {
                    let value = row[j] / self.values[j * n + j];
                    row[j] = value;
                    let own = &self.values[j * n + start..j * n + j];
                    for (other, factor) in row[start..j].iter_mut().zip(own) {
                        *other -= value * factor;
                    }
                }
            }
        }
    }
}

/// A copy of `count` columns from `first` on, negated.
fn negated(rows: &[f64], n: usize, first: usize, count: usize) -> Vec<f64> {
    let own =
        |row: &[f64]| row[first..first + count].iter().map(|value| -value).collect::<Vec<_>>();
    rows.chunks_exact(n).flat_map(own).collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// A positive definite matrix: a random one times its transpose, plus the identity.
    fn definite(n: usize) -> Vec<f64> {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(n as u64);
        let a: Vec<f64> = (0..n * n).map(|_| random.random::<f64>() - 0.5).collect();
        let dot = |i: usize, j: usize| (0..n).map(|p| a[i * n + p] * a[j * n + p]).sum::<f64>();
        (0..n * n).map(|at| dot(at / n, at % n) + f64::from(u8::from(at / n == at % n))).collect()
    }

    #[test]
    fn the_factor_times_itself_is_the_matrix_and_solutions_solve() {
        for n in [1, 2, 7, 96, 97, 210] {
            let matrix = definite(n);
            let lower = cholesky(matrix.clone(), n).unwrap();
            for i in 0..n {
                for j in 0..n {
                    let row = |i: usize| &lower.values[i * n..(i + 1) * n];
                    let found: f64 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
                    assert!((found - matrix[i * n + j]).abs() < 1e-9, "{n}: {i} {j}");
                }
            }
            let wanted: Vec<f64> = (0..3 * n).map(|i| (i % 11) as f64 - 5.0).collect();
            let mut rows: Vec<f64> = wanted
                .chunks(n)
                .flat_map(|y| {
                    let column = |j: usize| (0..n).map(|i| y[i] * matrix[i * n + j]).sum::<f64>();
                    (0..n).map(column).collect::<Vec<_>>()
                })
                .collect();
            lower.solve_rows(&mut rows);
            let error = rows.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-8, "{n}: {error}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        for matrix in [vec![1.0, 2.0, 2.0, 1.0], vec![1.0, 0.0, f64::NAN, 1.0]] {
            assert!(cholesky(matrix, 2).is_err_and(|e| e.to_string().contains("pivot")));
        }
    }
}
