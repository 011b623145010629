//! The router of a mixture, which chooses experts and their weights.

use half::f16;

use super::body::FunctionBody;
use super::design::Compute;
use super::weights::HalfVector;
use crate::checkpoint::config::{Experts, Groups, Routing, Score, Scored};
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::package::mil::Value;

/// What is added to the scores of groups that are not chosen: more than scores can differ by, and an
/// fp16 number.
const OUT_OF_REACH: f32 = 16_384.0;

/// The router, applied to normalized states. Its choice is in the outputs `expert_ids` and
/// `expert_weights`, `[1, tokens, experts per token]`. The factor on what is added to the hidden states
/// is in the weights.
pub(super) fn route(
    body: &mut FunctionBody<'_>,
    normed: &Value,
    layer: usize,
    experts: &Experts,
) -> Result<()> {
    body.f.scope(format!("layer_{layer}_router"));
    let mut logits = body.project(normed, TensorId::block(layer, Role::Router))?;
    if body.design.compute == Compute::Ane {
        let rows = body.f.squeeze(&logits, &[2])?;
        logits = body.f.transpose(&rows, &[0, 2, 1])?;
    }
    let mut factor = body.config.residual_scale;
    let (ids, mut weights) = match experts.routing {
        Routing::SoftmaxOfChosen => {
            let [chosen, ids] = body.f.topk(&logits, experts.per_token, -1)?;
            (ids, body.f.softmax(&chosen, -1)?)
        }
        Routing::Scored(scored) => {
            factor *= scored.factor;
            by_scores(body, &logits, layer, experts, scored)?
        }
        Routing::ChosenOfSoftmax { renormalize } => {
            let shares = body.f.softmax(&logits, -1)?;
            let [chosen, ids] = body.f.topk(&shares, experts.per_token, -1)?;
            if renormalize {
                let sum = body.f.reduce_sum(&chosen, &[-1])?;
                (ids, body.f.real_div(&chosen, &sum)?)
            } else {
                (ids, chosen)
            }
        }
    };
    if factor != 1.0 {
        weights = body.f.mul_by(&weights, factor)?;
    }
    if ids.shape() != weights.shape() {
        return Err(Error::bug("a router's ids and weights differ in shape"));
    }
    body.f.output(&ids, "expert_ids")?;
    body.f.output(&weights, "expert_weights")
}

/// The experts with the largest corrected scores in the best groups, and their scores.
fn by_scores(
    body: &mut FunctionBody<'_>,
    logits: &Value,
    layer: usize,
    experts: &Experts,
    scored: Scored,
) -> Result<(Value, Value)> {
    let scores = match scored.score {
        Score::Softmax => body.f.softmax(logits, -1)?,
        Score::Sigmoid => body.f.sigmoid(logits)?,
    };
    let mut choice = scores.clone();
    if scored.correction {
        let id = TensorId::block(layer, Role::RouterCorrection);
        let correction = body.vector("correction", HalfVector::Tensor(id), &[experts.count])?;
        choice = body.f.add(&choice, &correction)?;
    }
    if let Some(groups) = scored.groups {
        choice = in_groups(body, &choice, experts.count, groups)?;
    }
    let [chosen, ids] = body.f.topk(&choice, experts.per_token, -1)?;
    let mut weights = match scored.correction {
        true => body.f.gather_along_axis(&scores, &ids, -1)?,
        false => chosen,
    };
    if scored.renormalize {
        let sum = body.f.reduce_sum(&weights, &[-1])?;
        // fp16 does not hold the least sums of configurations; this one is the least that it divides by.
        let sum = body.f.clip(&sum, f16::MIN_POSITIVE.to_f32(), f16::MAX.to_f32())?;
        weights = body.f.real_div(&weights, &sum)?;
    }
    Ok((ids, weights))
}

/// The scores `[1, tokens, experts]`, out of reach in groups that are not chosen.
fn in_groups(
    body: &mut FunctionBody<'_>,
    choice: &Value,
    count: usize,
    groups: Groups,
) -> Result<Value> {
    let (tokens, size) = (body.tokens, count / groups.count);
    let by_group = body.f.reshape(choice, &[1, tokens, groups.count, size])?;
    let [best, _] = body.f.topk(&by_group, groups.by_largest, -1)?;
    let sums = body.f.reduce_sum(&best, &[-1])?;
    let sums = body.f.reshape(&sums, &[1, tokens, groups.count])?;
    let [_, kept] = body.f.topk(&sums, groups.chosen, -1)?;
    let is_kept = body.f.one_hot(&kept, groups.count)?;
    let is_kept = body.f.reduce_sum(&is_kept, &[-2])?;
    let is_kept = body.f.reshape(&is_kept, &[1, tokens, groups.count, 1])?;
    let distance = body.f.add_to(&is_kept, -1.0)?;
    let distance = body.f.mul_by(&distance, OUT_OF_REACH)?;
    let by_group = body.f.add(&by_group, &distance)?;
    body.f.reshape(&by_group, &[1, tokens, count])
}
