//! What the ranges of int8 activations are chosen on: from flags to windows, and to the scales that
//! a package needs.

use std::collections::HashMap;
use std::sync::Arc;

use half::f16;

use super::args::{CalibrationArgs, PlanArgs};
use super::plan::Plan;
use super::progress::{Interrupt, Progress, Talk};
use super::source;
use crate::checkpoint::Checkpoint;
use crate::checkpoint::config::Config;
use crate::checkpoint::tokenizer::TextTokenizer;
use crate::demo;
use crate::error::{At, Error, Exit, Result};
use crate::eval::{
    Calibration, CodedFile, Cut, InputScales, Observer, RangeMethod, State, Variant, Walk, Window,
};
use crate::{model, results};

/// Windows that ranges are chosen on unless asked otherwise.
const WINDOWS: usize = 16;
/// Windows that codes are chosen on unless asked otherwise.
const CODING_WINDOWS: usize = 32;
/// The flag that names the text.
const FLAG: &str = "--calibrate";

/// What records call the method where only codes are calibrated.
const CODES: &str = "second moments";

/// Calibration, and how records tell of it.
pub struct Prepared {
    /// What the walk needs.
    pub calibration: Calibration,
    /// What records say.
    pub record: results::Calibration,
}

/// The windows that ranges are chosen on, where any of `variants` needs ranges: the first of the
/// calibration text, or the last of the demo's, whose first ones are scored.
///
/// # Errors
/// Input errors: no such text, and a window of it that is also among those that are `scored`.
pub fn prepare(
    plan: &Plan,
    variants: &[Variant],
    cut: &Cut,
    tokenizer: &TextTokenizer,
    scored: &[Window],
) -> Result<Option<Prepared>> {
    let Some(variant) = variants.iter().find(|variant| variant.needs_calibration()) else {
        return Ok(None);
    };
    let CalibrationArgs { calibrate, calibration_windows, activation_range } = &plan.calibration();
    let text = text(calibrate.as_deref(), &plan.model, variant)?;
    let codes = variants.iter().any(Variant::is_calibrated);
    let count = calibration_windows.unwrap_or(if codes { CODING_WINDOWS } else { WINDOWS });
    let method = activation_range.as_deref().map_or(Ok(RangeMethod::default()), str::parse);
    let method = method.at(|| "--activation-range")?;
    let (text_name, windows) = windows(plan, &text, count, (cut, tokenizer), scored)?;
    let record = results::Calibration {
        text_name,
        windows: windows.len(),
        windows_hash: hash(&windows),
        method: match variants.iter().any(Variant::needs_ranges) {
            true => method.to_string(),
            false => CODES.to_owned(),
        },
    };
    Ok(Some(Prepared { calibration: Calibration { windows, method }, record }))
}

/// The windows that codes are chosen on, or would be: those of the text that `plan` names for it, or
/// the demo's own.
///
/// # Errors
/// Input errors: no such text, and a window of it that is also among those that are `scored`.
pub fn coding_windows(
    plan: &Plan,
    of: (&Cut, &TextTokenizer),
    scored: &[Window],
) -> Result<Vec<Window>> {
    let text = plan.calibrate.as_deref().unwrap_or(demo::NAME);
    let count = plan.calibration_windows.unwrap_or(CODING_WINDOWS);
    windows(plan, text, count, of, scored).map(|(_, windows)| windows)
}

/// A text's name and its first `count` windows; of the demo's the last, whose first are scored.
fn windows(
    plan: &Plan,
    text: &str,
    count: usize,
    (cut, tokenizer): (&Cut, &TextTokenizer),
    scored: &[Window],
) -> Result<(String, Vec<Window>)> {
    if count == 0 {
        return Err(Error::input("--calibration-windows: expected 1 or more, found 0"));
    }
    let is_demo = text == demo::NAME;
    let text = source::read_text(text).at(|| FLAG)?;
    let cut = Cut { limit: (!is_demo).then_some(count), ..*cut };
    let mut windows = source::windows(plan, &cut, tokenizer, &text).at(|| FLAG)?;
    windows.drain(..windows.len().saturating_sub(count));
    refuse_scored(&windows, scored, &text.name)?;
    Ok((text.name, windows))
}

/// Hash of the tokens of windows, in hexadecimal.
pub fn hash(windows: &[Window]) -> String {
    let mut hasher = blake3::Hasher::new();
    windows.iter().for_each(|window| {
        hasher.update(bytemuck::cast_slice(&window.ids));
    });
    hasher.finalize().to_hex().to_string()
}

/// The text that `--calibrate` names; the demo has its own.
fn text(calibrate: Option<&str>, model: &str, variant: &Variant) -> Result<String> {
    let default = (model == demo::NAME).then_some(demo::NAME);
    let text = calibrate.or(default).ok_or_else(|| {
        Error::input(format!("{variant} needs a text to be calibrated on"))
            .hint("give one with --calibrate FILE, other than the text that is scored")
    })?;
    Ok(text.to_owned())
}

/// Ranges chosen on what is scored would flatter the score.
fn refuse_scored(windows: &[Window], scored: &[Window], text: &str) -> Result<()> {
    let places: HashMap<&[u32], usize> =
        scored.iter().enumerate().map(|(at, window)| (window.ids.as_slice(), at)).collect();
    for (at, window) in windows.iter().enumerate() {
        if let Some(place) = places.get(window.ids.as_slice()) {
            return Err(Error::input(format!(
                "window {at} of calibration is window {place} of the text that is scored"
            ))
            .at(format!("{FLAG}: {text}"))
            .hint("give other text with --calibrate FILE, or score fewer windows with --limit"));
        }
    }
    Ok(())
}

/// Scales for all int8 inputs of a package that is only planned: its size does not depend on what
/// they are, but equal ones would be stored once.
///
/// # Errors
/// An input error for `-a8` where it is not available.
pub fn planned(variant: &Variant, config: &Config) -> Result<InputScales> {
    let mut scales = InputScales::default();
    for (bits, (layer, input)) in (f16::MIN_POSITIVE.to_bits()..).zip(variant.int8_inputs(config)?)
    {
        scales.insert(layer, input, f16::from_bits(bits));
    }
    Ok(scales)
}

/// The scales of a package's int8 inputs, by a walk of the variant over the calibration windows
/// alone. `model` is the checkpoint as the command line names it, `file` holds its coded weights
/// where they are not to be coded.
///
/// # Errors
/// As [`prepare`], those of the walk, and interruption.
pub fn scales(
    args: &CalibrationArgs,
    model: &str,
    (checkpoint, variant): (&Checkpoint, &Variant),
    file: Option<Arc<CodedFile>>,
    interrupt: &Interrupt,
    talk: Talk,
) -> Result<InputScales> {
    if variant.int8_inputs(&checkpoint.config)?.is_empty() {
        return Ok(InputScales::default());
    }
    let (prepared, variants) = (of_package(args, model, checkpoint, variant)?, [variant.clone()]);
    let device = model::device()?;
    let walk = Walk {
        checkpoint,
        variants: &variants,
        windows: &[],
        coded: &[file],
        calibration: Some(&prepared.calibration),
        device: &device,
    };
    let mut watch = Watch { bar: Progress::new("calibrating", talk.quiet), interrupt };
    let walked = walk.run(None, &mut watch);
    watch.bar.finish();
    match walked?.outcomes.pop() {
        Some(Ok(scored)) => Ok(scored.scales),
        Some(Err(cause)) => Err(Error::input(cause.what).hint(cause.hint)),
        None => Err(Error::bug("a walk without outcomes")),
    }
}

/// The calibration of a package: windows as `sweep` cuts them by default.
fn of_package(
    args: &CalibrationArgs,
    model: &str,
    checkpoint: &Checkpoint,
    variant: &Variant,
) -> Result<Prepared> {
    let mut plan = Plan::resolve(&PlanArgs {
        model: Some(model.to_owned()),
        text: Some(text(args.calibrate.as_deref(), model, variant)?),
        recipes: Some(vec![variant.to_string()]),
        calibration: args.clone(),
        ..PlanArgs::default()
    })?;
    plan.context = plan.context.min(checkpoint.config.max_position_embeddings);
    let tokenizer = checkpoint.tokenizer()?;
    let cut = source::cut(&plan, checkpoint, &tokenizer)?;
    let prepared = prepare(&plan, std::slice::from_ref(variant), &cut, &tokenizer, &[])?;
    prepared.ok_or_else(|| Error::bug(format!("{variant} needs no ranges")))
}

/// Shows the progress of a walk and stops it when asked; keeps nothing.
pub struct Watch<'a> {
    /// Where it is shown.
    pub bar: Progress,
    /// What asks.
    pub interrupt: &'a Interrupt,
}

impl Observer for Watch<'_> {
    fn progress(&mut self, done: usize, total: usize) {
        self.bar.set(done as u64, total as u64);
    }

    fn interrupted(&self) -> bool {
        self.interrupt.is_set()
    }

    fn keep(&mut self, _: &State<'_>) -> Result<()> {
        match self.interrupted() {
            true => Err(Error::new(Exit::Interrupted, "interrupted; nothing was written")),
            false => Ok(()),
        }
    }
}
