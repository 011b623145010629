//! Predictions: the walk's, and those of the packages.

use candle_core::{Device, Tensor};

use super::Question;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::{Coder, Observer, SLICE_ROWS, State, Walk, Window};
use crate::model;
use crate::package::chain::Chain;

/// How far a package's prediction of one token may be from the walk's, as KL divergence. The
/// package rounds cosines, sines and the epsilon of its norms to fp16, and that is all: what is
/// measured is below a tenth of this, and what a wrong weight costs is far above.
pub const MAX_KL_NATS: f64 = 1e-3;

/// What the walk predicts.
#[derive(Debug, Clone, PartialEq)]
pub struct Walked {
    /// `[tokens][vocabulary]`.
    pub logits: Vec<Vec<f32>>,
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
        device,
    };
    let mut last = Last { layers: coder.checkpoint.config.layers, hidden: None };
    walk.run(None, &mut last)?;
    let hidden = last.hidden.ok_or_else(|| {
        Error::input(format!("{} could not be walked", coder.variant)).hint("sweep it to see why")
    })?;
    let config = &coder.checkpoint.config;
    let gain = coder.tensor(TensorId::model(Role::FinalNorm))?.decode();
    let gain = model::vector(gain, device)?;
    let normed = model::final_norm(&hidden, &gain, 0..ids.len(), config)?;
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
    Ok(Walked { logits })
}

/// Keeps the hidden states of the variant after the last layer.
struct Last {
    layers: usize,
    hidden: Option<Tensor>,
}

impl Observer for Last {
    fn progress(&mut self, _: usize, _: usize) {}

    fn interrupted(&self) -> bool {
        false
    }

    fn keep(&mut self, state: &State<'_>) -> Result<()> {
        if state.next_layer == self.layers {
            self.hidden = state.lanes.get(1).and_then(|lane| lane.hidden.first()).cloned();
        }
        Ok(())
    }
}

/// What the packages predict, prompts at once.
pub(super) fn prefilled(question: &Question<'_>) -> Result<Vec<Vec<f32>>> {
    Chain::load(question.bundle, question.precision)?.prefill(question.ids)
}

/// What the packages predict, token by token.
pub(super) fn stepped(question: &Question<'_>) -> Result<Vec<Vec<f32>>> {
    let mut chain = Chain::load(question.bundle, question.precision)?;
    question.ids.iter().map(|id| chain.decode(*id)).collect()
}
