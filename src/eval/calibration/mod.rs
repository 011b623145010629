//! Chooses the ranges and scales of int8 activations from the inputs that a variant's linear layers
//! receive on a calibration text.
//!
//! A variant's lane has the calibration windows after the windows that are scored. At each layer they
//! first run with that layer's inputs unrounded (earlier layers are already quantized), which fills a
//! histogram per input; then everything runs again with the chosen scales. Scales depend only on the
//! variant and the calibration windows, not on the scored windows, their batches or the threads. Each
//! batch computes the same scales again, so every pass over the layers runs the calibration windows
//! twice and holds their hidden states.

mod entropy;
mod histogram;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use half::f16;
use rayon::prelude::*;

use super::protocol::Window;
use crate::checkpoint::TensorId;
use crate::error::{Error, Result};
use crate::model::Input;
use crate::quantize::fp16::step_scale;
use histogram::Histogram;

/// `percentile` clips one in this many values, so it keeps 99.99 %.
const CLIPPED_ONE_IN: u64 = 10_000;
/// The largest code. Ranges are symmetric, even though codes reach -128.
const LARGEST_CODE: f32 = 127.0;

/// How a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RangeMethod {
    /// Up to the largest magnitude.
    MinMax,
    /// Up to the magnitude that 99.99 % of all values do not exceed.
    #[default]
    Percentile,
    /// Where the least information is lost (see `entropy.rs`).
    Entropy,
}

impl RangeMethod {
    /// All methods, in the order of the help text.
    pub const ALL: [RangeMethod; 3] =
        [RangeMethod::MinMax, RangeMethod::Percentile, RangeMethod::Entropy];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            RangeMethod::MinMax => "minmax",
            RangeMethod::Percentile => "percentile",
            RangeMethod::Entropy => "entropy",
        }
    }

    /// The largest magnitude that is not clipped.
    fn range(self, histogram: &Histogram) -> f32 {
        match self {
            RangeMethod::MinMax => histogram.largest(),
            RangeMethod::Percentile => histogram.all_but(CLIPPED_ONE_IN),
            RangeMethod::Entropy => {
                let bins = entropy::best_bins(&histogram.linear(entropy::BINS), entropy::LEVELS);
                histogram.largest() * (bins as f32 / entropy::BINS as f32)
            }
        }
    }
}

impl fmt::Display for RangeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for RangeMethod {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = RangeMethod::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| {
            Error::input(format!("expected minmax, percentile or entropy, found {text:?}"))
        })
    }
}

/// The windows that ranges are chosen on, and the method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calibration {
    /// Windows that are walked but not scored.
    pub windows: Vec<Window>,
    /// How ranges are chosen.
    pub method: RangeMethod,
}

/// The scales of a variant's int8 inputs, by layer (`None` for the head's input) and input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputScales(BTreeMap<(Option<usize>, Input), f16>);

impl InputScales {
    /// Builds scales from the form that files have: block, name of the input, scale.
    ///
    /// # Errors
    /// An input error for an input that does not exist.
    pub fn named<'a>(
        entries: impl IntoIterator<Item = (Option<usize>, &'a str, f32)>,
    ) -> Result<Self> {
        let mut scales = InputScales::default();
        for (layer, input, scale) in entries {
            let known = Input::named(input);
            let known =
                known.ok_or_else(|| Error::input(format!("there is no input {input:?}")))?;
            scales.insert(layer, known, f16::from_f32(scale));
        }
        Ok(scales)
    }

    /// The scale of an input, if it is rounded to int8.
    pub fn get(&self, layer: Option<usize>, input: Input) -> Option<f16> {
        self.0.get(&(layer, input)).copied()
    }

    /// The scale of the input of the linear layer `id`.
    pub fn of(&self, id: TensorId) -> Option<f16> {
        self.get(id.layer, Input::of(id.role).filter(|_| !id.bias)?)
    }

    /// Every scale: the head's first, then layer by layer in the order of the computation.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Option<usize>, Input, f16)> {
        self.0.iter().map(|((layer, input), scale)| (*layer, *input, *scale))
    }

    /// Sets a scale.
    pub fn insert(&mut self, layer: Option<usize>, input: Input, scale: f16) {
        self.0.insert((layer, input), scale);
    }
}

/// The magnitudes of one layer's inputs on the calibration windows.
#[derive(Default)]
pub struct InputHistograms {
    histograms: Mutex<BTreeMap<Input, Histogram>>,
}

impl InputHistograms {
    /// Counts values of `input`, from any thread.
    pub fn count(&self, input: Input, values: &[f32]) {
        let own = Histogram::of(values);
        let mut all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(input).or_default().add(&own);
    }

    /// Adds the scales of `inputs` of `layer` to `scales`.
    ///
    /// # Errors
    /// An input error, with layer and input, if an input has no range.
    pub fn choose(
        &self,
        method: RangeMethod,
        layer: Option<usize>,
        inputs: &[Input],
        scales: &mut InputScales,
    ) -> Result<()> {
        let all = self.histograms.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |input: &Input| {
            let none = Histogram::default();
            let scale = scale(method, all.get(input).unwrap_or(&none)).map_err(|error| {
                let layer = layer.map_or(String::new(), |layer| format!("layer {layer}, "));
                error.at(format!("calibration, {layer}input of {}", input.name()))
            })?;
            Ok((*input, scale))
        };
        for (input, scale) in inputs.par_iter().map(of).collect::<Result<Vec<_>>>()? {
            scales.insert(layer, input, scale);
        }
        Ok(())
    }
}

/// The fp16 scale for values with these counts: range / 127, or 1 if all of them are 0.
fn scale(method: RangeMethod, histogram: &Histogram) -> Result<f16> {
    let refuse = |what: String| {
        Err(Error::input(what)
            .hint("quantize these layers without -a8, or calibrate on other text"))
    };
    let (not_finite, total) = (histogram.not_finite(), histogram.total());
    if total == 0 {
        return refuse("no token of the calibration text gets here".to_owned());
    }
    if not_finite > 0 {
        return refuse(format!("{not_finite} of {total} values are not finite in fp16"));
    }
    // So few values may differ from 0 that a method takes them for outliers.
    let chosen = method.range(histogram);
    let range = if chosen > 0.0 { chosen } else { histogram.largest() };
    let nearest = f16::from_f32(range / LARGEST_CODE);
    Ok(step_scale(nearest, f64::from(range), f64::from(LARGEST_CODE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bell with a few values far outside it.
    fn bell() -> Vec<f32> {
        let bell = (0..200_000).map(|i| {
            let unit = f64::from((i * 7919) % 200_000) / 200_000.0;
            statrs::function::erf::erf_inv(2.0 * unit - 1.0) as f32
        });
        bell.filter(|value| value.is_finite()).chain([20.0, -19.0, 25.0]).collect()
    }

    #[test]
    fn methods_keep_less_and_less_of_a_bells_outliers() {
        let histogram = Histogram::of(&bell());
        let range = |method: RangeMethod| method.range(&histogram);
        assert_eq!(range(RangeMethod::MinMax), 25.0);
        let (percentile, entropy) = (range(RangeMethod::Percentile), range(RangeMethod::Entropy));
        assert!((2.0..3.5).contains(&percentile), "{percentile}");
        assert!((1.5..5.0).contains(&entropy), "{entropy}");
    }

    #[test]
    fn scales_are_fp16_and_reach_the_range_at_127() {
        let histogram = Histogram::of(&[12.7, -3.0]);
        let found = scale(RangeMethod::MinMax, &histogram).unwrap();
        assert_eq!(found, f16::from_f32(f16::from_f32(12.7).to_f32() / 127.0));
    }

    #[test]
    fn an_input_of_zeros_has_the_scale_1_and_rare_or_tiny_values_count() {
        let mut rare = vec![0.0; 100_000];
        let of = |values: &[f32]| {
            let histogram = Histogram::of(values);
            RangeMethod::ALL.map(|method| scale(method, &histogram).unwrap().to_f32())
        };
        assert_eq!(of(&[0.0, -0.0]), [1.0; 3]);
        assert_eq!(of(&rare), [1.0; 3]);
        rare[7] = 127.0;
        let found = of(&rare);
        assert!(found.iter().all(|scale| *scale <= 1.01), "{found:?}");
        // 127 smallest values of fp16 are exact; three of them are nearer to that than to 0.
        assert_eq!(of(&[127.0 / 16_777_216.0])[0], 1.0 / 16_777_216.0);
        assert_eq!(of(&[3.0 / 16_777_216.0])[0], 1.0 / 16_777_216.0);
    }

    #[test]
    fn inputs_without_a_range_are_refused_by_layer_and_name() {
        for (values, found) in [
            (&[1.0, f32::NAN][..], "1 of 2 values are not finite in fp16"),
            (&[f32::INFINITY, 1e9], "2 of 2 values"),
            (&[], "no token of the calibration text"),
        ] {
            let histograms = InputHistograms::default();
            histograms.count(Input::Down, values);
            let mut scales = InputScales::default();
            for method in RangeMethod::ALL {
                let chosen = histograms.choose(method, Some(3), &[Input::Down], &mut scales);
                let error = chosen.unwrap_err().to_string();
                assert!(error.contains("calibration, layer 3, input of down: "), "{error}");
                assert!(error.contains(found) && error.contains("without -a8"), "{error}");
            }
        }
    }

    #[test]
    fn the_order_in_which_windows_come_changes_no_scale() {
        let (values, mut scales) = (bell(), [InputScales::default(), InputScales::default()]);
        for (reversed, scales) in [false, true].into_iter().zip(&mut scales) {
            let histograms = InputHistograms::default();
            let mut windows: Vec<&[f32]> = values.chunks(1000).collect();
            if reversed {
                windows.reverse();
            }
            windows.into_iter().for_each(|window| histograms.count(Input::Mlp, window));
            histograms.choose(RangeMethod::Entropy, Some(0), &[Input::Mlp], scales).unwrap();
        }
        assert_eq!(scales[0], scales[1]);
    }
}
