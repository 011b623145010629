//! Second moments of a layer's inputs, which give the cost of weight errors in its outputs.

use super::factor::{Lower, cholesky};
use crate::error::{Error, Result};

/// Added to the diagonal, as a share of its mean. GPTQ (section 3.3) uses 1 %; `RIDGE` in
/// `target.rs` gives the reason for more.
const DAMPING: f64 = 0.05;
/// Largest difference of two mirrored entries, as a share of the largest value that the diagonal
/// permits for them.
const ASYMMETRY: f64 = 1e-3;

/// The second moment `E[x xᵀ]` `[in, in]` of the inputs of a linear layer.
///
/// An input that is always zero is called dead; its diagonal entry is 0. Errors of its weights cost
/// nothing; damping gives them a cost that is independent of all other weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    values: Vec<f64>,
    inputs: usize,
}

impl Moments {
    /// Moments from `values` `[in, in]`, row-major, in any unit. Fails (input) if the length is
    /// wrong, a value is not finite, the diagonal has a negative value, or the matrix is not
    /// symmetric.
    pub fn new(values: Vec<f64>, inputs: usize) -> Result<Self> {
        if inputs.checked_mul(inputs) != Some(values.len()) {
            let found = values.len();
            return Err(Error::input(format!(
                "second moments: expected {inputs} x {inputs} values, found {found}"
            )));
        }
        check_finite(&values, inputs, "second moments")?;
        let mut moments = Moments { values, inputs };
        let diagonal = moments.diagonal();
        if let Some(at) = diagonal.iter().position(|value| *value < 0.0) {
            let found = diagonal[at];
            return Err(Error::input(format!(
                "second moments: expected 0 or more on the diagonal, found {found} at {at}"
            )));
        }
        moments.symmetrise(&diagonal)?;
        Ok(moments)
    }

    fn symmetrise(&mut self, diagonal: &[f64]) -> Result<()> {
        let n = self.inputs;
        let mean = diagonal.iter().sum::<f64>() / n.max(1) as f64;
        for row in 0..n {
            for column in 0..row {
                let (a, b) = (self.values[row * n + column], self.values[column * n + row]);
                let bound = (diagonal[row] * diagonal[column]).sqrt();
                if (a - b).abs() > ASYMMETRY * bound.max(mean * ASYMMETRY) {
                    return Err(Error::input(format!(
                        "second moments: not symmetric, {a} at [{row}, {column}] and {b} at \
                         [{column}, {row}]"
                    )));
                }
                // The moments of a dead input with others can only be rounding errors.
                let value = if bound > 0.0 { (a + b) / 2.0 } else { 0.0 };
                self.values[row * n + column] = value;
                self.values[column * n + row] = value;
            }
        }
        Ok(())
    }

    /// The number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The moments `[in, in]`, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The mean square of every input `[in]`.
    pub fn diagonal(&self) -> Vec<f64> {
        self.values.iter().step_by(self.inputs + 1).copied().collect()
    }

    /// The number of inputs that are always zero.
    pub fn dead(&self) -> usize {
        self.diagonal().iter().filter(|value| **value == 0.0).count()
    }

    /// The moments of the inputs divided by a factor each `[in]`, for columns that were equalised
    /// after the moments were collected. Fails (input) for a wrong number of factors or for a
    /// factor that is not a positive number.
    pub fn divided_by(mut self, factors: &[f32]) -> Result<Self> {
        if factors.len() != self.inputs || factors.iter().any(|f| !(f.is_normal() && *f > 0.0)) {
            return Err(Error::input(format!(
                "expected a positive factor for each of {} inputs, found {} factors",
                self.inputs,
                factors.len()
            )));
        }
        let rows = self.values.chunks_exact_mut(self.inputs.max(1));
        for (row, own) in rows.zip(factors) {
            for (value, other) in row.iter_mut().zip(factors) {
                *value /= f64::from(*own) * f64::from(*other);
            }
        }
        Ok(self)
    }

    /// The value that damping adds to the diagonal: `share` of its mean, or 1 if all inputs are
    /// dead.
    pub(super) fn damping(&self, share: f64) -> f64 {
        let mean = self.diagonal().iter().sum::<f64>() / self.inputs.max(1) as f64;
        if mean > 0.0 { mean * share } else { 1.0 }
    }

    /// The Cholesky factor of the moments with `share` of their mean diagonal added.
    pub(super) fn damped_factor(&self, share: f64) -> Result<Lower> {
        let mut values = self.values.clone();
        let damping = self.damping(share);
        values.iter_mut().step_by(self.inputs + 1).for_each(|value| *value += damping);
        cholesky(values, self.inputs)
    }

    /// The damped moments with inputs in the order in which they are coded, scaled so that the mean
    /// of the diagonal is 1.
    pub(super) fn ordered(&self) -> Ordered {
        let (n, damping) = (self.inputs, self.damping(DAMPING));
        let diagonal = self.diagonal();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
        let unit = 1.0 / (diagonal.iter().sum::<f64>() / n.max(1) as f64 + damping);
        let mut values = Vec::with_capacity(n * n);
        for row in &order {
            for column in &order {
                let extra = if row == column { damping } else { 0.0 };
                values.push(counted((self.values[row * n + column] + extra) * unit));
            }
        }
        Ordered { order, values }
    }
}

/// Damped moments in the order in which columns are coded: the largest mean square first.
pub(super) struct Ordered {
    /// The input of each column.
    pub order: Vec<usize>,
    /// Moments `[in, in]` in that order, scaled to a mean diagonal of 1.
    pub values: Vec<f64>,
}

impl Ordered {
    /// The feedback `[in, in]`: how much an error (coded less wanted) of each column `i` adds to
    /// the target of every later column `k`. It is the negated strictly upper triangle of the unit
    /// factor `U` for which `U·D·Uᵀ` are the moments.
    ///
    /// Feedback of the original errors through this factor is equivalent to updating the remaining
    /// weights with the factor of the inverse (Chee et al. 2023, theorem 6, on Frantar et al.
    /// 2022).
    ///
    /// Also returns the geometric mean of the moments' eigenvalues, whose arithmetic mean is 1.
    pub(super) fn feedback(mut self) -> Result<(Vec<f32>, f64)> {
        let n = self.order.len();
        // Reverse rows and columns, so that the lower factor becomes an upper one.
        self.values.reverse();
        let lower = cholesky(self.values, n)?.values;
        let mut upper = vec![0.0f32; n * n];
        let logarithms = lower.iter().step_by(n + 1).map(|pivot| 2.0 * pivot.ln());
        let geometric_mean = (logarithms.sum::<f64>() / n.max(1) as f64).exp();
        let pivots: Vec<f64> =
            lower.iter().step_by(n + 1).rev().map(|pivot| -1.0 / pivot).collect();
        for (row, own) in upper.chunks_exact_mut(n.max(1)).enumerate() {
            let from = &lower[(n - 1 - row) * n..(n - row) * n];
            for column in row + 1..n {
                own[column] = counted(from[n - 1 - column] * pivots[column]) as f32;
            }
        }
        Ok((upper, geometric_mean))
    }
}

/// Replaces a value far below the mean of 1 by 0, since subnormal numbers, which would arise in f32
/// and in products, are slow.
fn counted(value: f64) -> f64 {
    const SMALLEST: f64 = 1e-20;
    if value.abs() < SMALLEST { 0.0 } else { value }
}

/// Fails (input) if one of `values` `[rows, columns]` is not finite, and names the first.
pub(super) fn check_finite(values: &[f64], columns: usize, what: &str) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, column, found) = (at / columns.max(1), at % columns.max(1), values[at]);
            Err(Error::input(format!(
                "{what}: expected finite, found {found} at [{row}, {column}]"
            ))
            .hint("a variant whose hidden states overflow cannot be calibrated further"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_that_cannot_be_are_refused_with_the_place() {
        let refusal = |values: &[f64]| Moments::new(values.to_vec(), 2).unwrap_err().to_string();
        assert!(refusal(&[1.0, 0.0, f64::NAN, 1.0]).contains("found NaN at [1, 0]"));
        assert!(refusal(&[1.0, f64::INFINITY, 0.0, 1.0]).contains("found inf at [0, 1]"));
        assert!(refusal(&[-1.0, 0.0, 0.0, 1.0]).contains("found -1 at 0"));
        assert!(refusal(&[1.0, 0.5, 0.0, 1.0]).contains("not symmetric"));
        assert!(refusal(&[1.0]).contains("expected 2 x 2 values, found 1"));
        assert!(Moments::new(vec![], usize::MAX).is_err());
    }

    #[test]
    fn dead_inputs_stand_alone_and_come_last() {
        let moments = Moments::new(vec![0.0, 1e-9, 2e-9, 4.0], 2).unwrap();
        assert_eq!(moments.dead(), 1);
        let ordered = moments.ordered();
        assert_eq!(ordered.order, [1, 0]);
        assert!(ordered.values[3] > 0.0);
        assert_eq!(ordered.feedback().unwrap().0, [0.0; 4]);
        let nothing = Moments::new(vec![0.0; 4], 2).unwrap();
        assert_eq!(nothing.ordered().values, [1.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn feedback_of_two_columns_is_their_regression() {
        let moments = Moments::new(vec![4.0, 1.0, 1.0, 2.0], 2).unwrap();
        let (feedback, _) = moments.ordered().feedback().unwrap();
        let damped = 2.0 + 0.05 * 3.0;
        assert!((f64::from(feedback[1]) + 1.0 / damped).abs() < 1e-6, "{feedback:?}");
    }

    #[test]
    fn dividing_inputs_divides_their_moments_twice() {
        let moments = Moments::new(vec![4.0, 2.0, 2.0, 8.0], 2).unwrap();
        let divided = moments.clone().divided_by(&[1.0, 2.0]).unwrap();
        assert_eq!(divided.values(), [4.0, 1.0, 1.0, 2.0]);
        assert!(moments.clone().divided_by(&[1.0, 0.0]).is_err());
        assert!(moments.divided_by(&[1.0]).is_err());
    }
}
