//! Predictions of the walk, and predictions of the packages.

use candle_core::{Device, Tensor};

use super::VerificationInput;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::eval::final_weights::FinalWeights;
use crate::eval::{
    Coder, Fp16Overflow, InputScales, Lane, Resumed, SLICE_ROWS, State, Variant, Walk,
    WalkObserver, Window,
};
use crate::model::{self, Input};
use crate::package::budget::unless_stopped;
use crate::package::bundle::{PackageEntry, planned_functions};
use crate::package::chain::Chain;

/// The predictions of the walk.
#[derive(Debug, Clone, PartialEq)]
pub struct WalkPrediction {
    /// `[tokens][vocabulary]`.
    pub logits: Vec<Vec<f32>>,
    /// The hidden states after every block, `[tokens, hidden]` each.
    pub blocks: Vec<Vec<f32>>,
    /// The first activation that fp16 does not hold.
    pub fp16_overflow: Option<Fp16Overflow>,
}

/// Walks the tokens `ids` with the coded tensors of `coder`, as a sweep does.
///
/// # Errors
/// Input errors of the checkpoint and the recipes.
pub fn predict_by_walk(coder: Coder<'_>, ids: &[u32], device: &Device) -> Result<WalkPrediction> {
    let window = Window { ids: ids.to_vec(), scored: 1..ids.len(), scored_bytes: 0 };
    let walk = Walk {
        checkpoint: coder.checkpoint,
        variants: std::slice::from_ref(coder.variant),
        windows: &[window],
        coded: &[coder.file.cloned()],
        calibration: None,
        device,
    };
    let mut states = HiddenStates::default();
    let walked = walk.run(coder.scales.map(|scales| with_scales(coder, scales)), &mut states)?;
    let hidden = states.last.ok_or_else(|| {
        Error::input(format!("{} cannot be scored", coder.variant))
            .hint("run a sweep of this variant to see why")
    })?;
    let config = &coder.checkpoint.config;
    let decoded = |id: TensorId| Ok((id, coder.tensor(id)?.decode()));
    let last = FinalWeights::ids(config).into_iter().map(decoded).collect::<Result<Vec<_>>>()?;
    let last = FinalWeights::new(config, device, last.into_iter())?;
    let mut normed = model::final_norm(&hidden, &last.norm, 0..ids.len())?;
    if let Some(scale) = coder.scales.and_then(|scales| scales.get(None, Input::Head)) {
        normed = model::in_int8(&normed, scale)?;
    }
    let head = coder.tensor(TensorId::model(Role::Head))?;
    let mut logits = vec![Vec::with_capacity(config.vocab_size); ids.len()];
    for first in (0..config.vocab_size).step_by(SLICE_ROWS) {
        let rows = first..(first + SLICE_ROWS).min(config.vocab_size);
        let (shape, span) = ([rows.len(), config.hidden_size], rows.clone());
        let mut weights = vec![0.0; rows.len() * config.hidden_size];
        head.decode_rows(rows, &mut weights)?;
        let slice = last.slice(model::matrix(weights, shape, device)?, span)?;
        let values = model::values(&model::logits(&normed, &slice, config)?)?;
        for (logits, values) in logits.iter_mut().zip(values.chunks_exact(shape[0])) {
            logits.extend_from_slice(values);
        }
    }
    let own = walked.outcomes.get(1).and_then(|outcome| outcome.as_ref().ok());
    let fp16_overflow = own.and_then(|scored| scored.scores.first()?.fp16_overflow);
    Ok(WalkPrediction { logits, blocks: states.blocks, fp16_overflow })
}

/// The state of a walk before its first layer, with given scales for int8 inputs.
fn with_scales(coder: Coder<'_>, scales: &InputScales) -> Resumed {
    let variant = Lane { scales: scales.clone(), ..Lane::new(coder.variant.clone()) };
    Resumed { next_layer: 0, lanes: vec![Lane::new(Variant::reference()), variant] }
}

/// Collects the hidden states of the variant after every block.
#[derive(Default)]
struct HiddenStates {
    last: Option<Tensor>,
    blocks: Vec<Vec<f32>>,
}

impl WalkObserver for HiddenStates {
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

/// The predictions of the packages if the tokens go through `prefill`.
pub(super) fn prefill_logits(question: &VerificationInput<'_>) -> Result<Vec<Vec<f32>>> {
    let mut chain = Chain::load(question.bundle, question.precision)?;
    let ids = question.ids.to_vec();
    unless_stopped(question.bundle.budget(), move || chain.prefill(&ids))
}

/// For every block, how far the hidden states are from those of the walk if the tokens go through
/// `prefill`: the norm of the difference divided by the norm of the walk's hidden states.
///
/// # Errors
/// Input errors of the packages, interruption.
pub fn distance_by_block(
    question: &VerificationInput<'_>,
    walked: &WalkPrediction,
) -> Result<Vec<f64>> {
    let names = |entry: &PackageEntry, function: &str| {
        let functions = planned_functions(&question.coder, &question.bundle.manifest, entry)?;
        let own = functions.into_iter().find(|built| built.name == function);
        let blocks = own.map(|built| built.blocks).unwrap_or_default();
        Ok(blocks.into_iter().map(|(_, name)| name).collect())
    };
    let mut chain = Chain::recording_blocks(question.bundle, question.precision, Some(&names))?;
    let ids = question.ids.to_vec();
    let chain = unless_stopped(question.bundle.budget(), move || {
        chain.prefill(&ids)?;
        Ok(chain)
    })?;
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
    };
    let scale = question.coder.checkpoint.config.package_scale;
    let relative = |(own, walked): (&Vec<f32>, &Vec<f32>)| {
        let difference = norm(&mut own.iter().zip(walked).map(|(a, b)| a / scale - b));
        difference / norm(&mut walked.iter().copied()).max(f64::MIN_POSITIVE)
    };
    Ok(chain.blocks().iter().zip(&walked.blocks).map(relative).collect())
}

/// The predictions of the packages if the tokens go through `decode` one by one.
pub(super) fn decode_logits(question: &VerificationInput<'_>) -> Result<Vec<Vec<f32>>> {
    let mut chain = Chain::load(question.bundle, question.precision)?;
    let ids = question.ids.to_vec();
    unless_stopped(question.bundle.budget(), move || {
        ids.into_iter().map(|id| chain.decode(id)).collect()
    })
}
