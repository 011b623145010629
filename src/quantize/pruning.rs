//! Magnitude pruning: which weights become exactly 0 and are not stored (Han et al. 2015).
//!
//! Both rules choose among the weights of a whole tensor by their magnitude alone. A threshold
//! prunes a different share of every tensor; a share does not.

use std::fmt;

use super::mask::Mask;
use crate::error::{Error, Result};

/// Which weights of a tensor are pruned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pruning {
    /// `-t0.1`: weights of at most this magnitude, as coremltools' `OpThresholdPrunerConfig`.
    UpTo(Magnitude),
    /// `-p50`: this share of the weights, the smallest ones, as coremltools'
    /// `OpMagnitudePrunerConfig`. Among equal magnitudes the first in row-major order are pruned
    /// first, so that the number is exact.
    Share(Percent),
}

/// A threshold in whole millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Magnitude {
    millionths: u32,
}

/// A share from 1 to 99 per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Percent(u8);

/// Millionths in one.
const MILLION: u32 = 1_000_000;
/// Decimal places of a threshold.
const PLACES: usize = 6;

impl Magnitude {
    #[cfg(test)]
    pub(super) fn from_millionths(millionths: u32) -> Self {
        Magnitude { millionths }
    }

    /// The nearest f32, with which weights are compared.
    pub fn get(self) -> f32 {
        (f64::from(self.millionths) / f64::from(MILLION)) as f32
    }

    /// Reads a decimal number in its only spelling: digits, a point, and one to six digits without
    /// needless zeros at the end.
    fn parse(text: &str) -> Option<Self> {
        let (whole, places) = text.split_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(places) || places.len() > PLACES {
            return None;
        }
        let whole: u32 = whole.parse().ok()?;
        let places: u32 = format!("{places:0<PLACES$}").parse().ok()?;
        let millionths = whole.checked_mul(MILLION)?.checked_add(places)?;
        let magnitude = Magnitude { millionths };
        (magnitude.to_string() == text).then_some(magnitude)
    }
}

impl fmt::Display for Magnitude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, places) = (self.millionths / MILLION, self.millionths % MILLION);
        let places = format!("{places:0PLACES$}");
        let places = places.trim_end_matches('0');
        write!(f, "{whole}.{}", if places.is_empty() { "0" } else { places })
    }
}

impl Percent {
    /// `percent` as a share. Fails (input) unless it is from 1 to 99.
    pub fn new(percent: u8) -> Result<Self> {
        if (1..=99).contains(&percent) {
            return Ok(Percent(percent));
        }
        Err(Error::input(format!("expected a share from 1 to 99 per cent, found {percent}")))
    }

    /// In per cent.
    pub fn get(self) -> u8 {
        self.0
    }

    /// This share of `weights`, rounded, ties to even.
    fn of(self, weights: usize) -> usize {
        let hundredths = weights as u128 * u128::from(self.0);
        let (whole, rest) = ((hundredths / 100) as usize, hundredths % 100);
        whole + usize::from(rest > 50 || (rest == 50 && !whole.is_multiple_of(2)))
    }
}

impl fmt::Display for Pruning {
    /// The option without its dash, as [`Pruning::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pruning::UpTo(magnitude) => write!(f, "t{magnitude}"),
            Pruning::Share(percent) => write!(f, "p{}", percent.0),
        }
    }
}

impl Pruning {
    /// Reads an option of a recipe, without its dash. `None` if the option is not about pruning.
    /// Fails (input) if it is and has a wrong value.
    pub(super) fn parse(option: &str) -> Result<Option<Self>> {
        if let Some(threshold) = option.strip_prefix('t') {
            let magnitude = Magnitude::parse(threshold).ok_or_else(|| {
                Error::input(format!(
                    "option `-{option}`: expected -t8 for int8 tables, or a threshold with a \
                     decimal point and up to {PLACES} places such as -t0.1"
                ))
            })?;
            return Ok(Some(Pruning::UpTo(magnitude)));
        }
        let Some(share) = option.strip_prefix('p') else { return Ok(None) };
        let percent = share.parse().ok().and_then(|percent| Percent::new(percent).ok());
        match percent {
            Some(percent) if percent.get().to_string() == share => {
                Ok(Some(Pruning::Share(percent)))
            }
            _ => Err(Error::input(format!(
                "option `-{option}`: expected a share from 1 to 99 per cent such as -p50"
            ))),
        }
    }

    /// How many of `weights` weights are stored, or `None` if that depends on their values.
    pub fn kept(self, weights: usize) -> Option<usize> {
        match self {
            Pruning::UpTo(_) => None,
            Pruning::Share(percent) => Some(weights - percent.of(weights)),
        }
    }

    /// Which weights of a whole tensor are stored; possibly none.
    pub(super) fn select(self, weights: &[f32]) -> Result<Mask> {
        match self {
            Pruning::UpTo(magnitude) => {
                let threshold = magnitude.get();
                Mask::of(weights, |_, weight| weight.abs() > threshold)
            }
            Pruning::Share(percent) => smallest(percent.of(weights.len()), weights),
        }
    }

    /// [`select`](Pruning::select) for coding. Fails (input) if no weight is left.
    pub(super) fn mask(self, weights: &[f32]) -> Result<Mask> {
        let mask = self.select(weights)?;
        if mask.kept() > 0 || weights.is_empty() {
            return Ok(mask);
        }
        let largest = weights.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
        let found = weights.len();
        Err(Error::input(format!(
            "`-{self}` prunes all {found} weights, the largest of which is {largest}"
        ))
        .hint("-p50 prunes a share of every tensor, whatever its weights are"))
    }
}

/// The magnitude as an integer that orders in the same way.
fn magnitude_key(weight: f32) -> u32 {
    weight.abs().to_bits()
}

/// The mask of all but the `pruned` smallest magnitudes. Among equal ones the first are pruned
/// first.
fn smallest(pruned: usize, weights: &[f32]) -> Result<Mask> {
    if pruned == 0 {
        return Mask::of(weights, |_, _| true);
    }
    let mut keys: Vec<u32> = weights.iter().map(|weight| magnitude_key(*weight)).collect();
    let (below, cut, above) = keys.select_nth_unstable(pruned - 1);
    let cut = *cut;
    // The number of weights to prune whose magnitude is exactly that of the cut.
    let ties = 1 + below.iter().filter(|key| **key == cut).count();
    let is_clean = above.iter().all(|key| *key != cut);
    let last_tie = if is_clean {
        weights.len()
    } else {
        let equal = (0..weights.len()).filter(|at| magnitude_key(weights[*at]) == cut);
        equal.take(ties).last().unwrap_or(0)
    };
    Mask::of(weights, |at, weight| {
        let key = magnitude_key(weight);
        key > cut || (key == cut && at > last_tie)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(option: &str) -> Option<Pruning> {
        Pruning::parse(option).unwrap()
    }

    #[test]
    fn thresholds_have_one_spelling_each() {
        for (text, millionths) in
            [("0.1", 100_000), ("0.0", 0), ("2.0", 2_000_000), ("0.000001", 1), ("0.05", 50_000)]
        {
            let expected = Pruning::UpTo(Magnitude::from_millionths(millionths));
            assert_eq!(parse(&format!("t{text}")), Some(expected));
            assert_eq!(expected.to_string(), format!("t{text}"));
        }
        for text in ["1", ".1", "0.", "0.10", "00.1", "-0.1", "0.0000001", "nan", "1e-3", "9999.0"]
        {
            assert!(Pruning::parse(&format!("t{text}")).is_err(), "{text}");
        }
        assert!(Pruning::parse("t").is_err());
    }

    #[test]
    fn shares_are_whole_per_cent() {
        assert_eq!(parse("p50"), Some(Pruning::Share(Percent::new(50).unwrap())));
        for text in ["p", "p0", "p100", "p05", "p+5", "p0.5", "p300"] {
            assert!(Pruning::parse(text).is_err(), "{text}");
        }
        assert_eq!(parse("g16"), None);
        let kept = |percent, weights| parse(percent).unwrap().kept(weights);
        assert_eq!(kept("p50", 3), Some(1));
        assert_eq!(kept("p50", 5), Some(3));
        assert_eq!(kept("p30", 1000), Some(700));
        assert_eq!(kept("p99", usize::MAX), Some(usize::MAX - Percent(99).of(usize::MAX)));
        assert_eq!(kept("t0.5", 3), None);
    }

    #[test]
    fn a_threshold_prunes_what_is_equal_to_it() {
        let kept = |option, weights: &[f32]| {
            let mask = parse(option).unwrap().mask(weights).unwrap();
            (0..weights.len()).map(|at| mask.keeps(at)).collect::<Vec<_>>()
        };
        assert_eq!(
            kept("t0.5", &[0.5, -0.5, 0.500_001, -0.6, 0.0]),
            [false, false, true, true, false]
        );
        assert_eq!(kept("t0.0", &[0.0, -0.0, 1e-30]), [false, false, true]);
        assert_eq!(kept("p50", &[1.0, -1.0, 1.0, 1.0]), [false, false, true, true]);
    }

    #[test]
    fn what_prunes_everything_is_refused() {
        let error = parse("t1.0").unwrap().mask(&[0.5, -0.75]).unwrap_err();
        assert_eq!(error.exit(), crate::error::Exit::Input);
        let text = error.to_string();
        assert!(
            text.contains("`-t1.0` prunes all 2 weights, the largest of which is 0.75"),
            "{text}"
        );
        assert!(parse("p60").unwrap().mask(&[1.0]).is_err());
        assert_eq!(parse("t1.0").unwrap().mask(&[]).unwrap().kept(), 0);
    }

    proptest! {
        #[test]
        fn a_share_is_what_sorting_all_magnitudes_gives(
            weights in prop::collection::vec(-4i8..5, 2..700), percent in 1u8..50,
        ) {
            let weights: Vec<f32> = weights.iter().map(|weight| f32::from(*weight) / 8.0).collect();
            let pruning = Pruning::Share(Percent::new(percent).unwrap());
            let mask = pruning.mask(&weights).unwrap();
            let mut order: Vec<usize> = (0..weights.len()).collect();
            order.sort_by(|a, b| weights[*a].abs().total_cmp(&weights[*b].abs()));
            let pruned = (weights.len() * usize::from(percent)) as f64 / 100.0;
            let pruned = pruned.round_ties_even() as usize;
            prop_assert_eq!(Some(mask.kept()), pruning.kept(weights.len()));
            for (rank, at) in order.into_iter().enumerate() {
                prop_assert_eq!(mask.keeps(at), rank >= pruned);
            }
        }
    }
}
