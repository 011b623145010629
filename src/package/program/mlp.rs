//! MLPs: of a dense block, of one expert, and of a shared expert.

use super::body::FunctionBody;
use super::weights::HalfVector;
use crate::checkpoint::config::Activation;
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::package::mil::Value;

/// The factor in the sigmoid of gpt-oss's activation.
const ALPHA: f32 = 1.702;
/// The largest finite fp16 value, which is no bound.
const UNBOUNDED: f32 = 65_504.0;
/// xIELU's β (Huang & Schlag 2024).
const XIELU_BETA: f32 = 0.5;

/// An MLP of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mlp {
    /// That of a dense block.
    Dense,
    /// One expert.
    Expert(usize),
    /// The expert that every token is sent to.
    Shared,
}

impl Mlp {
    fn tensors(self, layer: usize) -> [TensorId; 3] {
        match self {
            Mlp::Shared => [Role::SharedGate, Role::SharedUp, Role::SharedDown]
                .map(|role| TensorId::block(layer, role)),
            Mlp::Expert(expert) => {
                [Role::Gate, Role::Up, Role::Down].map(|role| TensorId::expert(layer, expert, role))
            }
            Mlp::Dense => {
                [Role::Gate, Role::Up, Role::Down].map(|role| TensorId::block(layer, role))
            }
        }
    }
}

/// An MLP, applied to normed states.
pub(super) fn mlp(
    body: &mut FunctionBody<'_>,
    x: &Value,
    layer: usize,
    which: Mlp,
) -> Result<Value> {
    let [gate, up, down] = which.tensors(layer);
    let mut inner = if body.config.gated {
        let gate = body.project(x, gate)?;
        let up = body.project(x, up)?;
        gated(body, &gate, &up, layer)?
    } else {
        let up = body.project(x, up)?;
        activated(body, &up, layer)?
    };
    if body.config.sub_norms && which == Mlp::Dense {
        let norm = TensorId::block(layer, Role::InnerNorm);
        inner = body.inner_norm(&inner, norm, body.config.intermediate_size)?;
    }
    body.project(&inner, down)
}

/// The shared expert, applied to normed states, and multiplied by its gate if it has one.
pub(super) fn shared(
    body: &mut FunctionBody<'_>,
    x: &Value,
    layer: usize,
    is_gated: bool,
) -> Result<Value> {
    let y = mlp(body, x, layer, Mlp::Shared)?;
    if !is_gated {
        return Ok(y);
    }
    let gate = body.project(x, TensorId::block(layer, Role::SharedRouter))?;
    let gate = body.f.sigmoid(&gate)?;
    body.f.mul(&y, &gate)
}

fn gated(body: &mut FunctionBody<'_>, gate: &Value, up: &Value, layer: usize) -> Result<Value> {
    let Activation::ClampedSwiGlu { limit } = body.config.activation else {
        let gate = activated(body, gate, layer)?;
        return body.f.mul(&gate, up);
    };
    let limit = limit as f32;
    let gate = body.f.clip(gate, -UNBOUNDED, limit)?;
    let up = body.f.clip(up, -limit, limit)?;
    let slope = body.f.mul_by(&gate, ALPHA)?;
    let slope = body.f.sigmoid(&slope)?;
    let gate = body.f.mul(&gate, &slope)?;
    let up = body.f.add_to(&up, 1.0)?;
    body.f.mul(&gate, &up)
}

/// The activation function of `x`.
fn activated(body: &mut FunctionBody<'_>, x: &Value, layer: usize) -> Result<Value> {
    match body.config.activation {
        Activation::Silu | Activation::ClampedSwiGlu { .. } => body.f.silu(x),
        Activation::Gelu => body.f.gelu(x, false),
        Activation::GeluTanh => body.f.gelu(x, true),
        Activation::ReluSquared => {
            let above = body.f.relu(x)?;
            body.f.mul(&above, &above)
        }
        Activation::Xielu => xielu(body, x, layer),
    }
}

/// `β x + softplus(p) max(x, 0)² + (β + softplus(n)) (e^min(x, 0) - 1 - min(x, 0))`, with the learned
/// numbers p and n.
fn xielu(body: &mut FunctionBody<'_>, x: &Value, layer: usize) -> Result<Value> {
    let mut learned = |role| {
        let stored = HalfVector::Tensor(TensorId::block(layer, role));
        let stored = body.vector("vector", stored, &[1])?;
        body.f.softplus(&stored)
    };
    let (positive, negative) = (learned(Role::XieluPositive)?, learned(Role::XieluNegative)?);
    let negative = body.f.add_to(&negative, XIELU_BETA)?;
    let above = body.f.relu(x)?;
    let scaled = body.f.mul(&above, &positive)?;
    let above = body.f.mul(&scaled, &above)?;
    let low = body.f.clip(x, -UNBOUNDED, 0.0)?;
    let curve = body.f.exp(&low)?;
    let curve = body.f.add_to(&curve, -1.0)?;
    let below = body.f.sub(&curve, &low)?;
    let below = body.f.mul(&below, &negative)?;
    let linear = body.f.mul_by(x, XIELU_BETA)?;
    let y = body.f.add(&linear, &above)?;
    body.f.add(&y, &below)
}
