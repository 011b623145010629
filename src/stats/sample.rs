//! A set of values that can be summarized: at least two, all finite.

use std::fmt;

/// The largest number, up or down, that statistics take. Cubes of such numbers, and sums of very many of
/// them, are far from what an f64 can hold, so that no step on the way to a result overflows.
pub const LARGEST: f64 = 1e90;

/// At least two finite values, in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample(Vec<f64>);

/// Deviations below this are squared in a unit of their own.
const LEAST_SQUARED: f64 = 1e-140;

/// Why values are not a [`Sample`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadSample {
    /// Fewer than two values.
    TooFew {
        /// How many there are.
        n: usize,
    },
    /// A value is infinite or NaN.
    NotFinite {
        /// Its position.
        index: usize,
    },
    /// A value is beyond [`LARGEST`].
    TooLarge {
        /// Its position.
        index: usize,
    },
    /// The two sides of a ratio are too far apart for it.
    TooFarApart,
    /// A duration or size is zero or negative, so a ratio is undefined.
    NotPositive {
        /// Its position.
        index: usize,
    },
}

impl fmt::Display for BadSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadSample::TooFew { n } => write!(f, "expected at least 2 values, found {n}"),
            BadSample::NotFinite { index } => write!(f, "value {index} is not finite"),
            BadSample::TooLarge { index } => {
                write!(f, "value {index} is beyond {LARGEST:e}: its statistics cannot be told")
            }
            BadSample::TooFarApart => {
                write!(f, "the two are too far apart: their ratio cannot be told")
            }
            BadSample::NotPositive { index } => write!(f, "value {index} is not above zero"),
        }
    }
}

impl std::error::Error for BadSample {}

impl Sample {
    /// A sample of values in any order.
    ///
    /// # Errors
    /// There are fewer than two values, or one is not finite or beyond [`LARGEST`].
    pub fn new(mut values: Vec<f64>) -> Result<Sample, BadSample> {
        if values.len() < 2 {
            return Err(BadSample::TooFew { n: values.len() });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            return Err(BadSample::NotFinite { index });
        }
        if let Some(index) = values.iter().position(|value| value.abs() > LARGEST) {
            return Err(BadSample::TooLarge { index });
        }
        values.sort_unstable_by(f64::total_cmp);
        Ok(Sample(values))
    }

    /// The values in ascending order.
    pub fn sorted(&self) -> &[f64] {
        &self.0
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The standard deviation, with n - 1 in the denominator.
    pub fn standard_deviation(&self) -> f64 {
        let mean = self.mean();
        let widest = self.0.iter().map(|value| (value - mean).abs()).fold(0.0, f64::max);
        // The squares of smaller deviations vanish, and with them a spread that there is.
        let unit = if widest > 0.0 && widest < LEAST_SQUARED { widest } else { 1.0 };
        let squares: f64 = self.0.iter().map(|value| ((value - mean) / unit).powi(2)).sum();
        (squares / (self.0.len() - 1) as f64).sqrt() * unit
    }

    /// The quantile at `p`, interpolated linearly between neighbours; `p` is clamped to 0 to 1.
    pub fn quantile(&self, p: f64) -> f64 {
        let at = p.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let (below, above) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }

    /// The middle value, or the mean of the two middle ones.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
        let sample = Sample::new(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(sample.median(), 2.5);
        assert_eq!(sample.mean(), 2.5);
        assert_eq!((sample.quantile(0.0), sample.quantile(1.0)), (1.0, 4.0));
        assert_eq!(sample.quantile(0.25), 1.75);
        assert_eq!((sample.quantile(-1.0), sample.quantile(7.0)), (1.0, 4.0));
        assert!((sample.standard_deviation() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn one_value_and_values_that_are_not_finite_are_refused() {
        assert_eq!(Sample::new(vec![1.0]), Err(BadSample::TooFew { n: 1 }));
        let not_finite = Sample::new(vec![1.0, f64::NAN]);
        assert_eq!(not_finite, Err(BadSample::NotFinite { index: 1 }));
        assert_eq!(not_finite.unwrap_err().to_string(), "value 1 is not finite");
    }
}
