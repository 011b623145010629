//! Moves factors from one tensor to another without changing the function, so that one scale per
//! row fits all columns of the tensor that is coded.
//!
//! A column's spread is its root mean square, each weight taken relative to its row's root mean
//! square. Columns are multiplied by a factor, and whatever makes their input is divided by it: the
//! gain of the norm before them, or the rows of the layer before them. In exact arithmetic the
//! outputs stay the same.

use crate::error::{Error, Result};

/// Rounds in which the spreads of rows and of columns are found in turn.
const ROUNDS: usize = 10;
/// The largest factor, and the inverse of the smallest, so that gains stay far from fp16's limits.
const LARGEST: f64 = 64.0;

/// Multiplies every column of `matrices`, each `[rows, in]` with any number of rows, by a factor
/// that gives all columns the same spread, and divides `gain` `[in]`, by which their common input
/// is multiplied, by the same factors. Returns the factors `[in]`; that of a column of zeros is 1.
///
/// Fails (input) if a matrix does not consist of whole rows.
pub fn equalise_inputs(matrices: &mut [&mut [f32]], gain: &mut [f32]) -> Result<Vec<f32>> {
    let inputs = gain.len();
    for matrix in matrices.iter() {
        check_columns(matrix, inputs)?;
    }
    let views: Vec<&[f32]> = matrices.iter().map(|matrix| &**matrix).collect();
    let column: Vec<usize> = (0..inputs).collect();
    let factors = factors(&views, inputs, &column, inputs);
    for matrix in matrices.iter_mut() {
        multiply_columns(matrix, inputs, |at| factors[at]);
    }
    gain.iter_mut().zip(&factors).for_each(|(gain, factor)| *gain /= factor);
    Ok(factors)
}

/// Multiplies every column of `second` `[out, columns]` by the factor of the row of `first` that
/// makes it, and divides that row of `first` `[rows, in]` and its `bias` `[rows]` by the same
/// factor. Columns of the same row share a factor.
///
/// `row_of` gives the row of each column. For up and down it is the column's own number; for values
/// and the output projection it is the row in the key/value head that query heads share. The
/// computation between both layers must be linear in that row. Returns the factors `[rows]`.
///
/// Fails (input) if lengths disagree.
pub fn equalise_between(
    first: &mut [f32],
    bias: Option<&mut [f32]>,
    second: &mut [f32],
    row_of: &[usize],
) -> Result<Vec<f32>> {
    let (columns, rows) = (row_of.len(), row_of.iter().max().map_or(0, |row| row + 1));
    check_columns(second, columns)?;
    let biases = bias.as_ref().map_or(rows, |bias| bias.len());
    if rows == 0 || !first.len().is_multiple_of(rows) || biases != rows {
        return Err(Error::input(format!(
            "expected {rows} whole rows and {rows} biases, found {} weights and {biases} biases",
            first.len()
        )));
    }
    let factors = factors(&[second], columns, row_of, rows);
    multiply_columns(second, columns, |at| factors[row_of[at]]);
    let inputs = first.len() / rows;
    for (row, factor) in first.chunks_exact_mut(inputs.max(1)).zip(&factors) {
        row.iter_mut().for_each(|weight| *weight /= factor);
    }
    if let Some(bias) = bias {
        bias.iter_mut().zip(&factors).for_each(|(bias, factor)| *bias /= factor);
    }
    Ok(factors)
}

fn check_columns(matrix: &[f32], columns: usize) -> Result<()> {
    if columns > 0 && matrix.len().is_multiple_of(columns) {
        return Ok(());
    }
    let found = matrix.len();
    Err(Error::input(format!("expected whole rows of {columns} weights, found {found} weights")))
}

fn multiply_columns(matrix: &mut [f32], columns: usize, factor: impl Fn(usize) -> f32) {
    for row in matrix.chunks_exact_mut(columns) {
        row.iter_mut().enumerate().for_each(|(at, weight)| *weight *= factor(at));
    }
}

/// The factor of each of `classes` classes of columns; the scales of rows are found in turn with
/// them.
fn factors(matrices: &[&[f32]], columns: usize, class_of: &[usize], classes: usize) -> Vec<f32> {
    let mut factors = vec![1.0f64; classes];
    let mut counts = vec![0.0f64; classes];
    class_of.iter().for_each(|class| counts[*class] += 1.0);
    for _ in 0..ROUNDS {
        let mut squares = vec![0.0f64; classes];
        for row in matrices.iter().flat_map(|matrix| matrix.chunks_exact(columns)) {
            let scaled = |at: usize| (f64::from(row[at]) * factors[class_of[at]]).powi(2);
            let total: f64 = (0..columns).map(scaled).sum();
            if total > 0.0 {
                (0..columns).for_each(|at| squares[class_of[at]] += scaled(at) / total);
            }
        }
        let spreads = squares.iter().zip(&counts).map(|(square, count)| square / count.max(1.0));
        let spreads: Vec<f64> = spreads.map(f64::sqrt).collect();
        let used: Vec<f64> = spreads.iter().copied().filter(|spread| *spread > 0.0).collect();
        let middle = used.iter().map(|spread| spread.ln()).sum::<f64>() / used.len().max(1) as f64;
        for (factor, spread) in factors.iter_mut().zip(&spreads).filter(|(_, s)| **s > 0.0) {
            *factor = (*factor * middle.exp() / spread).clamp(1.0 / LARGEST, LARGEST);
        }
    }
    factors.into_iter().map(|factor| factor as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `matrix · x`, in f64.
    fn apply(matrix: &[f32], x: &[f64]) -> Vec<f64> {
        let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
        matrix.chunks_exact(x.len()).map(dot).collect()
    }

    fn near(a: &[f64], b: &[f64]) -> bool {
        let size = b.iter().fold(10.0f64, |most, value| most.max(value.abs()));
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * size)
    }

    proptest! {
        #[test]
        fn the_function_is_unchanged_up_to_rounding(
            q in prop::collection::vec(-2.0f32..2.0, 3 * 4),
            k in prop::collection::vec(-2.0f32..2.0, 2 * 4),
            x in prop::collection::vec(-1.0f64..1.0, 4),
            gain in prop::collection::vec(0.01f32..3.0, 4),
        ) {
            let scaled = |gain: &[f32]| -> Vec<f64> {
                x.iter().zip(gain).map(|(x, g)| x * f64::from(*g)).collect()
            };
            let before = [apply(&q, &scaled(&gain)), apply(&k, &scaled(&gain))];
            let (mut q, mut k, mut gain) = (q, k, gain);
            equalise_inputs(&mut [&mut q, &mut k], &mut gain).unwrap();
            prop_assert!(near(&apply(&q, &scaled(&gain)), &before[0]));
            prop_assert!(near(&apply(&k, &scaled(&gain)), &before[1]));

            // Two key heads of two channels, each for two query heads: v [4, 3], o [2, 8].
            let row_of: Vec<usize> = (0..8).map(|c| c / 4 * 2 + c % 2).collect();
            let (mut v, mut o) = (q.clone(), [k.clone(), k.clone()].concat());
            let mut bias = vec![0.5f32; 4];
            let run = |v: &[f32], bias: &[f32], o: &[f32]| {
                let values = apply(v, &x[..3]);
                let spread: Vec<f64> =
                    row_of.iter().map(|r| values[*r] + f64::from(bias[*r])).collect();
                apply(o, &spread)
            };
            let before = run(&v, &bias, &o);
            equalise_between(&mut v, Some(&mut bias), &mut o, &row_of).unwrap();
            prop_assert!(near(&run(&v, &bias, &o), &before));
        }
    }

    #[test]
    fn columns_come_to_one_spread_and_dead_ones_stay() {
        let scales = [1.0f32, 10.0, 0.1, 0.0];
        let mut matrix: Vec<f32> =
            (0..64).map(|i| scales[i % 4] * (1.0 + (i * 7 % 13) as f32)).collect();
        let mut gain = vec![1.0; 4];
        let factors = equalise_inputs(&mut [&mut matrix], &mut gain).unwrap();
        let spread = |c: usize| -> f32 {
            let share = |row: &[f32]| row[c] * row[c] / row.iter().map(|w| w * w).sum::<f32>();
            matrix.chunks(4).map(share).sum()
        };
        assert!((spread(0) / spread(1) - 1.0).abs() < 0.01, "{factors:?}");
        assert!((spread(0) / spread(2) - 1.0).abs() < 0.01, "{factors:?}");
        assert_eq!((factors[3], gain[3]), (1.0, 1.0));
    }

    #[test]
    fn lengths_that_disagree_are_refused() {
        assert!(equalise_inputs(&mut [&mut [1.0; 5]], &mut [1.0; 2]).is_err());
        assert!(equalise_inputs(&mut [&mut [1.0; 5]], &mut []).is_err());
        assert!(equalise_between(&mut [1.0; 3], None, &mut [1.0; 4], &[0, 1]).is_err());
        assert!(equalise_between(&mut [1.0; 4], Some(&mut [1.0]), &mut [1.0; 4], &[0, 1]).is_err());
    }
}
