//! The experts of a layer, one at a time: each is coded on the tokens that the lane sends it.

use candle_core::Tensor;

use super::correlation::Tokens;
use super::moments_file::is_pooled;
use super::unit::{Coder, Fitted, Seen, Unit, Wanted};
use crate::checkpoint::Role;
use crate::error::Result;
use crate::eval::lane::Lane;
use crate::eval::setting::Walk;
use crate::eval::windows::both;
use crate::model::{self, Mlp, Routed};
use crate::quantize::Steps;
use crate::quantize::calibrated::Moments;

/// Tokens of all experts that then stand for its own.
const POOLED_TOKENS: usize = 4096;

/// What came of an expert.
pub struct Expert {
    /// Its tensors.
    pub fitted: Vec<Fitted>,
    /// Whether it had too few tokens of its own.
    pub is_pooled: bool,
}

/// Codes expert `expert` of a layer, and adds what it makes of its tokens.
///
/// # Errors
/// Input errors: states that overflow, a recipe that does not fit. Bug-class errors of candle.
pub fn code(walk: &Walk<'_>, unit: Unit, expert: usize, lane: &mut Lane) -> Result<Expert> {
    let (checkpoint, device) = (walk.checkpoint, walk.device);
    let original = Mlp::new(&checkpoint.config, unit.weights(checkpoint, device)?)?;
    let mut coder = Coder::new(checkpoint, &lane.variant, device, unit)?;
    let mut mlp = Mlp::new(&checkpoint.config, coder.weights()?)?;
    let steps = lane.variant.mlp.method.steps();
    let (given, is_pooled) = match steps {
        Some(_) => given(&lane.routed, expert, checkpoint.config.hidden_size)?,
        None => (Vec::new(), false),
    };
    let seen = seen(steps, &given, |_| Ok(Wanted::Nothing))?;
    for role in [Role::Gate, Role::Up] {
        mlp.replace(role, coder.code(role, seen.as_ref())?)?;
    }
    drop(seen);
    let inner = given.iter().map(|x| mlp.inner(x).map_err(model::failed));
    let inner = inner.collect::<Result<Vec<_>>>()?;
    let seen = self::seen(steps, &inner, |steps| {
        if steps.repair {
            let lack = both(&given, &inner, |x, inner| {
                original.down(&original.inner(x)?)? - mlp.down(inner)?
            })?;
            Ok(Wanted::Outputs(Tokens::alike(&inner)?.mean_product(&lack, &inner)?))
        } else {
            Ok(Wanted::Nothing)
        }
    })?;
    mlp.replace(Role::Down, coder.code(Role::Down, seen.as_ref())?)?;
    for routed in &mut lane.routed {
        routed.apply(expert, |x| mlp.forward(x))?;
    }
    Ok(Expert { fitted: coder.finish(), is_pooled })
}

/// What an expert is given, by window, and whether that is what all are given.
///
/// # Errors
/// Bug-class errors of candle.
pub fn given(routed: &[Routed], expert: usize, inputs: usize) -> Result<(Vec<Tensor>, bool)> {
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

/// What all experts are given, by window, as far as that is enough.
pub fn pooled(routed: &[Routed]) -> Vec<Tensor> {
    let mut all: Vec<Tensor> = Vec::new();
    for window in routed {
        if count(&all) < POOLED_TOKENS {
            all.push(window.router_input().clone());
        }
    }
    all
}

fn seen(
    steps: Option<Steps>,
    given: &[Tensor],
    wanted: impl FnOnce(Steps) -> Result<Wanted>,
) -> Result<Option<Seen>> {
    let Some(steps) = steps else { return Ok(None) };
    let inputs = given.first().map_or(0, |rows| rows.dim(1).unwrap_or(0));
    let own = Moments::new(Tokens::alike(given)?.mean_product(given, given)?, inputs)?;
    Ok(Some(Seen { own, wanted: wanted(steps)? }))
}
