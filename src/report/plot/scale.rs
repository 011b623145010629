//! From values to positions on an axis, and its ticks.

use crate::report::number::{Detail, text};
use crate::report::{Unit, Value};

/// An axis from value to position.
pub(super) struct AxisScale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_linear: bool,
}

impl AxisScale {
    /// A logarithmic axis over the positive `values`, with a margin; `None` if there are none.
    pub fn logarithmic(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<AxisScale> {
        let logs: Vec<f64> = values.filter(|v| v.is_finite() && *v > 0.0).map(f64::log10).collect();
        let low = logs.iter().copied().reduce(f64::min)?;
        let high = logs.iter().copied().reduce(f64::max)?;
        let air = ((high - low) * 0.08).max(0.05);
        Some(AxisScale { low: low - air, high: high + air, from, to, is_linear: false })
    }

    /// A linear axis from `low` to `high`.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> AxisScale {
        let high = if high > low { high } else { low + 1.0 };
        AxisScale { low, high, from, to, is_linear: true }
    }

    /// The position of a value.
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.is_linear { value } else { value.log10() };
        let share = (value - self.low) / (self.high - self.low);
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round numbers on the axis, at most about `most`.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if self.is_linear { self.even_ticks(most) } else { self.power_ticks(most) }
    }

    /// Multiples of 1, 2 or 5 times a power of ten.
    fn even_ticks(&self, most: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|s| s * power).find(|s| *s >= rough);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.low / step).ceil();
        if !(first.is_finite() && step > 0.0) {
            return vec![self.low, self.high];
        }
        let all = (0..=2 * most + 2).map(|k| (first + k as f64) * step);
        all.take_while(|tick| *tick <= self.high * (1.0 + 1e-9)).collect()
    }

    /// Multiples of powers of ten: 1 to 9 of each, or fewer of them, until at most `most` remain.
    fn power_ticks(&self, most: usize) -> Vec<f64> {
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let within = |steps: &[f64], every: usize| -> Vec<f64> {
            let all = powers.clone().step_by(every);
            let all = all.flat_map(|p| steps.iter().map(move |s| s * 10_f64.powi(p)));
            all.filter(|tick| (self.low..=self.high).contains(&tick.log10())).collect()
        };
        let choices = [
            within(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], 1),
            within(&[1.0, 2.0, 5.0], 1),
            within(&[1.0, 3.0], 1),
            within(&[1.0], 1),
            within(&[1.0], 2),
            within(&[1.0], 4),
        ];
        let fits = choices.into_iter().find(|ticks| (2..=most).contains(&ticks.len()));
        fits.unwrap_or_else(|| {
            let middle = (self.low + self.high) / 2.0;
            [self.low, middle, self.high].map(|at| 10_f64.powf(at)).to_vec()
        })
    }
}

/// A tick as text, with no more digits than it needs.
pub(super) fn tick_text(tick: f64, unit: Unit) -> String {
    let trimmed = |number: &str| {
        let is_long = number.contains('.') && !number.contains('e');
        let short =
            if is_long { number.trim_end_matches('0').trim_end_matches('.') } else { number };
        short.to_owned()
    };
    match unit {
        Unit::Bytes | Unit::Millis if tick > 0.0 => {
            let written = text(&Value::Number(tick), unit, Detail::Point);
            match written.split_once(' ') {
                Some((number, unit)) => format!("{} {unit}", trimmed(number)),
                None => written,
            }
        }
        _ if tick == 0.0 => "0".to_owned(),
        _ => trimmed(&crate::units::significant(tick, 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (low, high) in [(0.0, 0.01), (5.9, 6.3), (6.0, 9.3), (-7.0, 2.0)] {
            let scale = AxisScale { low, high, from: 0.0, to: 1.0, is_linear: false };
            assert!((2..=6).contains(&scale.ticks(6).len()), "{low} {high}");
        }
        assert_eq!(AxisScale::linear(0.0, 191.0, 0.0, 1.0).ticks(5), [0.0, 50.0, 100.0, 150.0]);
        assert_eq!(AxisScale::linear(0.0, 0.0, 0.0, 1.0).ticks(2), [0.0, 0.5, 1.0]);
        for (low, high) in [(0.0, 5e-324), (1e17, 1e17), (0.0, f64::MAX), (-1e300, 1e300)] {
            assert!((1..=14).contains(&AxisScale::linear(low, high, 0.0, 1.0).ticks(5).len()));
        }
        assert_eq!(tick_text(0.02, Unit::Nats), "0.02");
        assert_eq!(tick_text(1000.0, Unit::None), "1000");
        assert_eq!(tick_text(5e6, Unit::Bytes), "5 MB");
    }
}
