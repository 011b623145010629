//! The text that codes and the ranges of int8 activations are calibrated on: from flags to windows,
//! and to the input scales that a package needs.

use std::sync::Arc;

use half::f16;

use super::inputs;
use super::observer::{Observer, Stage};
use super::options::{CalibrationOptions, PlanOptions};
use super::plan::Plan;
use super::text::read_text;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Config;
use crate::checkpoint::tokenizer::TextTokenizer;
use crate::demo;
use crate::error::{At, Error, Result};
use crate::eval::{
    Calibration, CodedFile, Cut, InputScales, Origin, RangeMethod, Variant, Walk, Window,
};
use crate::model::{self, Backend};
use crate::results;

/// Default number of windows that ranges are chosen on.
const WINDOWS: usize = 16;
/// Default number of windows that codes are calibrated on.
pub const CODING_WINDOWS: usize = 32;
/// The same if the model is also tuned by gradients, which needs more data.
const TUNING_WINDOWS: usize = 128;
/// The flag that names the text.
const FLAG: &str = "--calibrate";

/// How texts are cut into windows.
#[derive(Clone, Copy)]
pub struct Cutter<'a> {
    /// How long windows are and how they begin.
    pub cut: &'a Cut,
    /// What turns text into tokens.
    pub tokenizer: &'a TextTokenizer,
    /// Who is told what is unusual about a text.
    pub observer: &'a dyn Observer,
}

/// A calibration, and how records describe it.
pub struct Prepared {
    /// The windows, and how ranges are chosen on them.
    pub calibration: Calibration,
    /// How records describe the calibration of ranges.
    pub record: results::Calibration,
    /// What codes are calibrated on.
    pub origin: Origin,
}

/// The calibration of `variants`, or `None` if none of them needs it. Its windows are spread over the
/// calibration text; in the demo they are the last ones, because the first ones are scored.
///
/// # Errors
/// Input errors: a missing text, or a window of it that is also `scored`.
pub fn prepare(
    plan: &Plan,
    variants: &[Variant],
    cutter: Cutter<'_>,
    scored: &[Window],
) -> Result<Option<Prepared>> {
    let Some(variant) = variants.iter().find(|variant| variant.needs_calibration()) else {
        return Ok(None);
    };
    let CalibrationOptions { calibrate, calibration_windows, activation_range } =
        &plan.calibration();
    let text = text(calibrate.as_deref(), &plan.model, variant)?;
    let count = calibration_windows.unwrap_or_else(|| {
        let any = |is_it: fn(&Variant) -> bool| variants.iter().any(is_it);
        match (any(Variant::is_calibrated), any(Variant::is_tuned) && text != demo::NAME) {
            (false, _) => WINDOWS,
            (true, false) => CODING_WINDOWS,
            (true, true) => TUNING_WINDOWS,
        }
    });
    let method = activation_range.as_deref().map_or(Ok(RangeMethod::default()), str::parse);
    let method = method.at(|| "--activation-range")?;
    let (windows, origin) = cut_windows(plan, &text, count, cutter)?;
    refuse_scored(&origin, scored).at(|| FLAG)?;
    let record = results::Calibration {
        text_name: origin.text_name.clone(),
        windows: windows.len(),
        windows_hash: origin.windows_hash.clone(),
        method: method.to_string(),
        moments_hash: None,
        backend: origin.backend.clone(),
    };
    Ok(Some(Prepared { calibration: Calibration { windows, method }, record, origin }))
}

/// `count` windows spread evenly over a text, so that they cover as many of its articles as possible.
/// In the demo they are the last ones, because the first ones are scored.
///
/// # Errors
/// Input errors: a missing text, or a `count` of 0.
pub fn cut_windows(
    plan: &Plan,
    text: &str,
    count: usize,
    cutter: Cutter<'_>,
) -> Result<(Vec<Window>, Origin)> {
    if count == 0 {
        return Err(Error::input("--calibration-windows: expected 1 or more, found 0"));
    }
    let is_demo = text == demo::NAME;
    let Cutter { cut, tokenizer, observer } = cutter;
    let text = read_text(text, observer).at(|| FLAG)?;
    text.warnings.iter().for_each(|line| observer.warning(line));
    let cut = Cut { limit: None, ..*cut };
    let choose = |available: usize| {
        if is_demo {
            (available.saturating_sub(count)..available).collect()
        } else {
            spread(available, count)
        }
    };
    let windows = text.chosen_windows(&cut, tokenizer, plan.parse_special, choose).at(|| FLAG)?;
    let origin = Origin::of(text.name, &windows, plan.backend);
    Ok((windows, origin))
}

/// Picks `count` of the `available` windows at equal distances, beginning with the first; all if there
/// are fewer.
fn spread(available: usize, count: usize) -> Vec<usize> {
    let count = count.min(available);
    (0..count).map(|at| at * available / count).collect()
}

/// The windows that codes are calibrated on, even if no variant needs calibration: from the text that
/// `plan` names for it, or from the demo's.
///
/// # Errors
/// Input errors: a missing text, or a window of it that is also `scored`.
pub fn coding_windows(plan: &Plan, cutter: Cutter<'_>, scored: &[Window]) -> Result<Vec<Window>> {
    let text = plan.calibrate.as_deref().unwrap_or(demo::NAME);
    let count = plan.calibration_windows.unwrap_or(CODING_WINDOWS);
    let (windows, origin) = cut_windows(plan, text, count, cutter)?;
    refuse_scored(&origin, scored).at(|| FLAG)?;
    Ok(windows)
}

/// The text that `--calibrate` names, or the demo's own text.
fn text(calibrate: Option<&str>, model: &str, variant: &Variant) -> Result<String> {
    let default = (model == demo::NAME).then_some(demo::NAME);
    let text = calibrate.or(default).ok_or_else(|| {
        Error::input(format!("{variant} needs a calibration text"))
            .hint("give one with --calibrate FILE, other than the text that is scored")
    })?;
    Ok(text.to_owned())
}

/// Refuses (input) a calibration on windows that are also scored: the score would look too good.
pub fn refuse_scored(origin: &Origin, scored: &[Window]) -> Result<()> {
    let Some((at, place)) = origin.scored(scored) else { return Ok(()) };
    Err(Error::input(format!(
        "calibration window {at} is also window {place} of the text that is scored"
    ))
    .at(origin.text_name.clone())
    .hint("give other text with --calibrate FILE, or score fewer windows with --limit"))
}

/// Placeholder scales for the int8 inputs of a package that is only planned. The package's size does
/// not depend on their values, but they must differ, because equal scales are stored once.
///
/// # Errors
/// An input error if the architecture does not support `-a8`.
pub fn planned(variant: &Variant, config: &Config) -> Result<InputScales> {
    let mut scales = InputScales::default();
    for (bits, (layer, input)) in (f16::MIN_POSITIVE.to_bits()..).zip(variant.int8_inputs(config)?)
    {
        scales.insert(layer, input, f16::from_bits(bits));
    }
    Ok(scales)
}

/// The scales of a package's int8 inputs, found by walking the variant over the calibration windows.
/// `model` is the checkpoint's name on the command line; `file` has the coded weights, if they exist.
///
/// # Errors
/// As [`prepare`], those of the walk, and interruption.
pub fn scales(
    options: &CalibrationOptions,
    model: &str,
    checkpoint: &Checkpoint,
    variant: &Variant,
    file: Option<Arc<CodedFile>>,
    backend: Backend,
    observer: &dyn Observer,
) -> Result<InputScales> {
    if variant.int8_inputs(&checkpoint.config)?.is_empty() {
        return Ok(InputScales::default());
    }
    let prepared = single_calibration(options, model, checkpoint, variant, backend, observer)?;
    let variants = [variant.clone()];
    let device = model::device(backend)?;
    let walk = Walk {
        checkpoint,
        variants: &variants,
        windows: &[],
        coded: &[file],
        calibration: Some(&prepared.calibration),
        device: &device,
    };
    let walked = walk.run(None, &mut Stage::new("calibrating", observer));
    match walked?.outcomes.pop() {
        Some(Ok(scored)) => Ok(scored.scales),
        Some(Err(cause)) => Err(Error::input(cause.what).hint(cause.hint)),
        None => Err(Error::bug("a walk without outcomes")),
    }
}

/// The calibration of a single variant, on windows that are cut as `sweep` cuts them by default.
///
/// # Errors
/// As [`prepare`].
pub fn single_calibration(
    options: &CalibrationOptions,
    model: &str,
    checkpoint: &Checkpoint,
    variant: &Variant,
    backend: Backend,
    observer: &dyn Observer,
) -> Result<Prepared> {
    let options = PlanOptions {
        model: Some(model.to_owned()),
        text: Some(text(options.calibrate.as_deref(), model, variant)?),
        recipes: Some(vec![variant.to_string()]),
        calibrate: options.calibrate.clone(),
        calibration_windows: options.calibration_windows,
        activation_range: options.activation_range.clone(),
        backend: Some(backend.name().to_owned()),
        ..PlanOptions::default()
    };
    let mut plan = Plan::resolve(&options, PlanOptions::default())?;
    plan.context = plan.context.min(checkpoint.config.max_position_embeddings);
    let tokenizer = checkpoint.tokenizer()?;
    let cut = inputs::cut(&plan, checkpoint, &tokenizer)?;
    let cutter = Cutter { cut: &cut, tokenizer: &tokenizer, observer };
    let prepared = prepare(&plan, std::slice::from_ref(variant), cutter, &[])?;
    prepared.ok_or_else(|| Error::bug(format!("{variant} needs no calibration")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_spread_evenly() {
        assert_eq!(spread(10, 3), [0, 3, 6]);
        assert_eq!(spread(7, 4), [0, 1, 3, 5]);
        assert_eq!(spread(3, 3), [0, 1, 2]);
        assert_eq!(spread(3, 9), [0, 1, 2]);
        assert_eq!(spread(490, 32).last(), Some(&474));
    }
}
