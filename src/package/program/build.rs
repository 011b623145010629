//! Builds the functions of a piece.

use std::collections::BTreeMap;
use std::ops::Range;

use super::attention::AttentionContext;
use super::body::{FunctionBody, WeightUse};
use super::convolution::ConvContext;
use super::design::Design;
use super::experts::route;
use super::mlp::{Mlp, mlp, shared};
use super::piece::Piece;
use super::vocabulary::{embed, head};
use super::weights::PlacedWeights;
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};
use crate::error::{Error, Result};
use crate::package::mil::{BuiltFunction, FunctionBuilder, Opset, Value};

/// The functions of a piece: the first takes one token, the second several.
pub const FUNCTIONS: [&str; 2] = ["decode", "prefill"];

/// The output that holds the hidden states of a piece, unless it is the last one.
pub const HIDDEN_OUTPUT: &str = "output_hidden_states";

/// A function of a piece, with the names of its weights and blocks.
#[derive(Debug)]
pub struct PieceFunction {
    /// Its name in the package.
    pub name: String,
    /// The function.
    pub function: BuiltFunction,
    /// Which of its values are which weights. A weight may be listed more than once.
    pub uses: Vec<WeightUse>,
    /// For each block the name of its hidden states; in a mixture, these are before the experts.
    pub blocks: Vec<(usize, String)>,
}

/// A function to build.
struct FunctionPlan {
    name: String,
    /// The number of tokens per call.
    tokens: usize,
    /// The expert that the function computes, in a piece of experts.
    expert: Option<usize>,
}

/// The functions of a piece.
fn functions(piece: &Piece, config: &Config, design: &Design) -> Vec<FunctionPlan> {
    let lengths = FUNCTIONS.into_iter().zip([1, design.prefill_tokens]);
    match piece {
        Piece::Chain { .. } => lengths
            .map(|(name, tokens)| FunctionPlan { name: name.to_owned(), tokens, expert: None })
            .collect(),
        Piece::Experts { .. } => {
            let count = config.experts.as_ref().map_or(0, |experts| experts.count);
            let of_experts = |(name, tokens): (&'static str, usize)| {
                (0..count).map(move |expert| FunctionPlan {
                    name: format!("expert_{expert}_{name}"),
                    tokens,
                    expert: Some(expert),
                })
            };
            lengths.flat_map(of_experts).collect()
        }
    }
}

/// Builds the functions of a piece. Before iOS 18, a package can have only one function: `only`
/// says which one is built, and it is called `main`.
///
/// # Errors
/// Bug-class errors of the builder.
pub fn build(
    piece: &Piece,
    config: &Config,
    design: &Design,
    weights: &PlacedWeights,
    only: Option<&str>,
) -> Result<Vec<PieceFunction>> {
    let wanted = functions(piece, config, design).into_iter();
    let wanted = wanted.filter(|plan| only.is_none_or(|only| only == plan.name));
    let build_one = |FunctionPlan { name, tokens, expert }: FunctionPlan| {
        let name = if design.target == Opset::Ios17 { "main".to_owned() } else { name };
        let f = FunctionBuilder::new(&name, design.target);
        let mut body = FunctionBody {
            f,
            config,
            design,
            weights,
            tokens,
            uses: Vec::new(),
            rounded: BTreeMap::new(),
            position_ids: None,
        };
        let mut blocks = Vec::new();
        match (piece, expert) {
            (Piece::Experts { layer }, Some(expert)) => {
                body.f.scope(format!("layer_{layer}"));
                let x = body.hidden_input("normed_states", config.hidden_size)?;
                let y = mlp(&mut body, &x, *layer, Mlp::Expert(expert))?;
                body.f.output(&y, "expert_output")?;
            }
            (Piece::Chain { embedding, layers, head }, _) => {
                blocks = chain(&mut body, *embedding, layers, *head)?;
            }
            (Piece::Experts { .. }, None) => {}
        }
        let FunctionBody { f, uses, .. } = body;
        Ok(PieceFunction { function: f.finish()?, name, uses, blocks })
    };
    wanted.map(build_one).collect()
}

/// Builds a chain. Returns for each block the name of its hidden states.
fn chain(
    body: &mut FunctionBody<'_>,
    embeds: bool,
    layers: &Range<usize>,
    heads: bool,
) -> Result<Vec<(usize, String)>> {
    let mut x = if embeds {
        embed(body)?
    } else {
        body.hidden_input("hidden_states", body.config.hidden_size)?
    };
    let mut blocks = Vec::new();
    let mut mixers = Mixers::new(body, layers)?;
    for layer in layers.clone() {
        x = block(body, &mut mixers, &x, layer)?;
        blocks.push((layer, x.name().to_owned()));
    }
    mixers.finish(body)?;
    if heads {
        head(body, &x)?;
        return Ok(blocks);
    }
    body.f.output(&x, HIDDEN_OUTPUT)?;
    // The last block's value is renamed, since it is an output.
    if let Some((_, name)) = blocks.last_mut() {
        HIDDEN_OUTPUT.clone_into(name);
    }
    Ok(blocks)
}

/// What mixes tokens in the layers of a function.
struct Mixers {
    attention: Option<AttentionContext>,
    convolutions: Option<ConvContext>,
}

impl Mixers {
    fn new(body: &mut FunctionBody<'_>, layers: &Range<usize>) -> Result<Self> {
        let of_kind = |attends: bool| -> Vec<usize> {
            layers.clone().filter(|layer| body.config.has_attention(*layer) == attends).collect()
        };
        let (attending, convolving) = (of_kind(true), of_kind(false).len());
        let attention = match attending.is_empty() {
            true => None,
            false => Some(AttentionContext::new(body, &attending)?),
        };
        let convolutions = match convolving {
            0 => None,
            _ => Some(ConvContext::new(body, convolving)?),
        };
        Ok(Mixers { attention, convolutions })
    }

    fn mix(&mut self, body: &mut FunctionBody<'_>, x: &Value, layer: usize) -> Result<Value> {
        match (body.config.has_attention(layer), &mut self.attention, &mut self.convolutions) {
            (true, Some(attention), _) => attention.attend(body, x, layer),
            (false, _, Some(convolutions)) => convolutions.convolve(body, x, layer),
            _ => Err(Error::bug(format!("nothing mixes the tokens of layer {layer}"))),
        }
    }

    fn finish(self, body: &mut FunctionBody<'_>) -> Result<()> {
        if let Some(attention) = self.attention {
            attention.finish(body)?;
        }
        self.convolutions.map_or(Ok(()), |convolutions| convolutions.finish(body))
    }
}

/// Builds one block. In a mixture it ends before the experts, whose input and choice are outputs of
/// the function.
fn block(
    body: &mut FunctionBody<'_>,
    mixers: &mut Mixers,
    x: &Value,
    layer: usize,
) -> Result<Value> {
    let (config, placement) = (body.config, body.config.placement);
    let of = |role| TensorId::block(layer, role);
    body.f.scope(format!("layer_{layer}_attention"));
    let input = body.norm_if(placement.before_attention, x, of(Role::AttentionNorm))?;
    let mixed = mixers.mix(body, &input, layer)?;
    let mixed = body.branch(placement.after_attention, &mixed, of(Role::PostAttentionNorm))?;
    let after = add(body, x, &mixed)?;
    body.f.scope(format!("layer_{layer}_mlp"));
    let norm = of(Role::MlpNorm);
    let normed = match (placement.parallel, placement.before_mlp) {
        (true, false) => input,
        (true, true) => body.norm(x, norm)?,
        (false, is_there) => body.norm_if(is_there, &after, norm)?,
    };
    let Some(experts) = config.mixture(layer) else {
        let y = mlp(body, &normed, layer, Mlp::Dense)?;
        let y = body.branch(placement.after_mlp, &y, of(Role::PostMlpNorm))?;
        return add(body, &after, &y);
    };
    let after = match experts.shared {
        Some(of_all) => {
            let y = shared(body, &normed, layer, of_all.gated)?;
            add(body, &after, &y)?
        }
        None => after,
    };
    body.f.output(&normed, "normed_states")?;
    route(body, &normed, layer, experts)?;
    Ok(after)
}

/// `x` plus what attention or MLP adds to it.
fn add(body: &mut FunctionBody<'_>, x: &Value, y: &Value) -> Result<Value> {
    match body.config.residual_scale {
        1.0 => body.f.add(x, y),
        scale => {
            let y = body.f.mul_by(y, scale)?;
            body.f.add(x, &y)
        }
    }
}
