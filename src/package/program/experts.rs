//! What follows attention in a block: a dense MLP, one expert, or the router that chooses experts.

use super::body::FunctionBody;
use super::design::Compute;
use super::weights::mlp_of;
use crate::checkpoint::config::{Activation, Experts, Routing};
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::package::mil::Value;

/// The factor in the sigmoid of gpt-oss's activation.
const ALPHA: f32 = 1.702;
/// The largest finite fp16 value, which is no bound.
const UNBOUNDED: f32 = 65_504.0;

/// The MLP of a dense block or of one expert, applied to normalized states.
pub(super) fn mlp(
    body: &mut FunctionBody<'_>,
    x: &Value,
    layer: usize,
    expert: Option<usize>,
) -> Result<Value> {
    let gate = body.project(x, mlp_of(layer, expert, Role::Gate))?;
    let up = body.project(x, mlp_of(layer, expert, Role::Up))?;
    let inner = match body.config.activation {
        Activation::Silu => {
            let gate = body.f.silu(&gate)?;
            body.f.mul(&gate, &up)?
        }
        Activation::Gelu | Activation::GeluTanh | Activation::ReluSquared | Activation::Xielu => {
            return Err(Error::bug("an activation function that packages do not have"));
        }
        Activation::ClampedSwiGlu { limit } => {
            let limit = limit as f32;
            let gate = body.f.clip(&gate, -UNBOUNDED, limit)?;
            let up = body.f.clip(&up, -limit, limit)?;
            let slope = body.f.mul_by(&gate, ALPHA)?;
            let slope = body.f.sigmoid(&slope)?;
            let gate = body.f.mul(&gate, &slope)?;
            let up = body.f.add_to(&up, 1.0)?;
            body.f.mul(&gate, &up)?
        }
    };
    body.project(&inner, mlp_of(layer, expert, Role::Down))
}

/// The router, applied to normalized states. Its choice is in the outputs `expert_ids` and
/// `expert_weights`, `[1, tokens, experts per token]`.
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
    let (ids, weights) = match experts.routing {
        Routing::SoftmaxOfChosen => {
            let [chosen, ids] = body.f.topk(&logits, experts.per_token, -1)?;
            (ids, body.f.softmax(&chosen, -1)?)
        }
        Routing::Scored(_) => return Err(Error::bug("a routing that packages do not have")),
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
    if ids.shape() != weights.shape() {
        return Err(Error::bug("a router's ids and weights differ in shape"));
    }
    body.f.output(&ids, "expert_ids")?;
    body.f.output(&weights, "expert_weights")
}
