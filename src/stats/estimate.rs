//! A number with its uncertainty.

/// A range that contains the true value with a given probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// That probability, such as 0.95.
    pub level: f64,
}

/// A number with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value computed from all the data.
    pub point: f64,
    /// Its interval; `None` if there is too little data for one.
    pub interval: Option<Interval>,
    /// The number of windows (or repetitions) that it rests on.
    pub n: usize,
}

impl Interval {
    /// The interval, if both ends are finite.
    pub fn finite(self) -> Option<Interval> {
        (self.low.is_finite() && self.high.is_finite()).then_some(self)
    }
}

impl Estimate {
    /// A number that is known exactly, such as the size of a file: its interval has no width.
    pub fn exact(point: f64) -> Estimate {
        let interval = Some(Interval { low: point, high: point, level: 1.0 });
        Estimate { point, interval, n: 1 }
    }

    /// The larger of the distances from the point to the ends of the interval.
    pub fn half_width(&self) -> Option<f64> {
        let Interval { low, high, .. } = self.interval?;
        Some((self.point - low).max(high - self.point))
    }
}
