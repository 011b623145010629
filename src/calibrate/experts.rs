//! Codes the experts of a layer one at a time, each on the tokens that the lane routes to it.

use candle_core::Tensor;

use super::correlation::Tokens;
use super::moments_file::is_pooled;
use super::observed::{InputStats, Observed, Wanted};
use super::unit::{Coder, Fitted, Unit};
use crate::checkpoint::Role;
use crate::error::Result;
use crate::eval::lane::Lane;
use crate::eval::setting::Walk;
use crate::eval::windows::both;
use crate::model::{self, Mlp, Routed};
use crate::quantize::Steps;

/// Tokens of all experts that are used instead of an expert's own.
const POOLED_TOKENS: usize = 4096;

/// The result of coding an expert.
pub struct Expert {
    /// Its tensors.
    pub fitted: Vec<Fitted>,
    /// Whether it had too few tokens and was coded on those of all experts.
    pub is_pooled: bool,
}

/// Codes expert `expert` of a layer and adds its outputs to the lane.
///
/// # Errors
/// Input errors: states that overflow, a recipe that does not fit. Bug-class errors of candle.
pub fn code(walk: &Walk<'_>, unit: Unit, expert: usize, lane: &mut Lane) -> Result<Expert> {
    let (checkpoint, device) = (walk.checkpoint, walk.device);
    let original = Mlp::new(&checkpoint.config, unit.weights(checkpoint, device)?)?;
    let mut coder = Coder::new(checkpoint, &lane.variant, device, unit)?;
    let mut mlp = Mlp::new(&checkpoint.config, coder.weights()?)?;
    let steps = lane.variant.mlp.method.steps();
    let (inputs, is_pooled) = match steps {
        Some(_) => expert_inputs(&lane.routed, expert, checkpoint.config.hidden_size)?,
        None => (Vec::new(), false),
    };
    let stats = input_stats(steps, &inputs, |_| Ok(Wanted::Original))?;
    for role in mlp.first_roles() {
        mlp.replace(role, coder.code(role, stats.as_ref())?)?;
    }
    drop(stats);
    let inner = inputs.iter().map(|x| mlp.inner(x).map_err(model::failed));
    let inner = inner.collect::<Result<Vec<_>>>()?;
    let stats = input_stats(steps, &inner, |steps| {
        if !steps.repair {
            return Ok(Wanted::Original);
        }
        let missing = both(&inputs, &inner, |x, inner| {
            original.down(&original.inner(x)?)? - mlp.down(inner)?
        })?;
        Ok(Wanted::Plus(missing))
    })?;
    mlp.replace(Role::Down, coder.code(Role::Down, stats.as_ref())?)?;
    for routed in &mut lane.routed {
        routed.apply(expert, |x| mlp.forward(x))?;
    }
    Ok(Expert { fitted: coder.finish(), is_pooled })
}

/// The inputs of an expert by window. The flag says whether they are those of all experts, because the
/// expert has too few tokens.
///
/// # Errors
/// Bug-class errors of candle.
pub fn expert_inputs(
    routed: &[Routed],
    expert: usize,
    inputs: usize,
) -> Result<(Vec<Tensor>, bool)> {
    let own = routed.iter().map(|window| window.given(expert));
    let own: Vec<Tensor> = own.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    if is_pooled(count(&own) as u64, inputs) {
        Ok((pooled(routed), true))
    } else {
        Ok((own, false))
    }
}

fn count(windows: &[Tensor]) -> usize {
    windows.iter().map(|rows| rows.dim(0).unwrap_or(0)).sum()
}

/// The inputs of all experts by window, until there are enough tokens.
pub fn pooled(routed: &[Routed]) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    for window in routed {
        if count(&all) < POOLED_TOKENS {
            all.push(window.router_input().clone());
        }
    }
    all
}

fn input_stats(
    steps: Option<Steps>,
    windows: &[Tensor],
    wanted: impl FnOnce(Steps) -> Result<Wanted>,
) -> Result<Option<InputStats>> {
    let Some(steps) = steps else { return Ok(None) };
    let (wanted, tokens) = (wanted(steps)?, Tokens::alike(windows)?);
    Observed { inputs: windows.to_vec(), wanted, tokens }.into_stats().map(Some)
}
