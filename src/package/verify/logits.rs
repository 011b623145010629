//! Predictions: the walk's, and those of the packages.

use candle_core::{Device, Tensor};

use super::Question;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::{
    Coder, InputScales, Lane, Resumed, SLICE_ROWS, State, Variant, Walk, WalkObserver, Window,
};
use crate::model::{self, Input};
use crate::package::bundle::{PackageEntry, planned};
use crate::package::chain::Chain;

/// What the walk predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Walked {
    /// `[tokens][vocabulary]`.
    pub logits: Vec<Vec<f32>>,
    /// Hidden states after every block, `[tokens, hidden]` each.
    pub blocks: Vec<Vec<f32>>,
}

/// Walks the tokens `ids` with the coded tensors of `coder`, the way a sweep does.
///
/// # Errors
/// Input errors of the checkpoint and the recipes.
pub fn walked(coder: Coder<'_>, ids: &[u32], device: &Device) -> Result<Walked> {
    let window = Window { ids: ids.to_vec(), scored: 1..ids.len(), scored_bytes: 0 };
    let walk = Walk {
        checkpoint: coder.checkpoint,
        variants: std::slice::from_ref(coder.variant),
        windows: &[window],
        coded: &[coder.file.cloned()],
        calibration: None,
        device,
    };
    let mut kept = Kept::default();
    walk.run(coder.scales.map(|scales| with_scales(coder, scales)), &mut kept)?;
    let hidden = kept.last.ok_or_else(|| {
        Error::input(format!("{} could not be walked", coder.variant)).hint("sweep it to see why")
    })?;
    let config = &coder.checkpoint.config;
    let gain = coder.tensor(TensorId::model(Role::FinalNorm))?.decode();
    let gain = model::vector(gain, device)?;
    let mut normed = model::final_norm(&hidden, &gain, 0..ids.len(), config)?;
    if let Some(scale) = coder.scales.and_then(|scales| scales.get(None, Input::Head)) {
        normed = model::in_int8(&normed, scale)?;
    }
    let head = coder.tensor(TensorId::model(Role::Head))?;
    let mut logits = vec![Vec::with_capacity(config.vocab_size); ids.len()];
    for first in (0..config.vocab_size).step_by(SLICE_ROWS) {
        let rows = first..(first + SLICE_ROWS).min(config.vocab_size);
        let shape = [rows.len(), config.hidden_size];
        let mut weights = vec![0.0; rows.len() * config.hidden_size];
        head.decode_rows(rows, &mut weights)?;
        let slice = model::logits(&normed, &model::matrix(weights, shape, device)?)?;
        let values = model::values(&slice)?;
        for (logits, values) in logits.iter_mut().zip(values.chunks_exact(shape[0])) {
            logits.extend_from_slice(values);
        }
    }
    Ok(Walked { logits, blocks: kept.blocks })
}

/// A walk before its first layer whose scales of int8 inputs are given, not chosen.
fn with_scales(coder: Coder<'_>, scales: &InputScales) -> Resumed {
    let variant = Lane { scales: scales.clone(), ..Lane::new(coder.variant.clone()) };
    Resumed { next_layer: 0, lanes: vec![Lane::new(Variant::reference()), variant] }
}

/// Keeps the hidden states of the variant after every block.
#[derive(Default)]
struct Kept {
    last: Option<Tensor>,
    blocks: Vec<Vec<f32>>,
}

impl WalkObserver for Kept {
    fn progress(&mut self, _: usize, _: usize) {}

    fn interrupted(&self) -> bool {
        false
    }

    fn keep(&mut self, state: &State<'_>) -> Result<()> {
        self.last = state.lanes.get(1).and_then(|lane| lane.hidden.first()).cloned();
        self.blocks.extend(self.last.as_ref().map(model::values).transpose()?);
        Ok(())
    }
}

/// What the packages predict, prompts at once.
pub(super) fn prefilled(question: &Question<'_>) -> Result<Vec<Vec<f32>>> {
    Chain::load(question.bundle, question.precision)?.prefill(question.ids)
}

/// How far hidden states are from the walk's after every block, prompts at once: the norm of the
/// difference over the norm.
///
/// # Errors
/// Input errors of the packages.
pub fn by_block(question: &Question<'_>, walked: &Walked) -> Result<Vec<f64>> {
    let watch = |entry: &PackageEntry, function: &str| {
        let functions = planned(&question.coder, &question.bundle.manifest, entry)?;
        let own = functions.into_iter().find(|built| built.name == function);
        let blocks = own.map(|built| built.blocks).unwrap_or_default();
        Ok(blocks.into_iter().map(|(_, name)| name).collect())
    };
    let mut chain = Chain::watching(question.bundle, question.precision, Some(&watch))?;
    chain.prefill(question.ids)?;
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
    };
    let relative = |(own, walked): (&Vec<f32>, &Vec<f32>)| {
        let difference = norm(&mut own.iter().zip(walked).map(|(a, b)| a - b));
        difference / norm(&mut walked.iter().copied()).max(f64::MIN_POSITIVE)
    };
    Ok(chain.blocks().iter().zip(&walked.blocks).map(relative).collect())
}

/// What the packages predict, token by token.
pub(super) fn stepped(question: &Question<'_>) -> Result<Vec<Vec<f32>>> {
    let mut chain = Chain::load(question.bundle, question.precision)?;
    question.ids.iter().map(|id| chain.decode(*id)).collect()
}
