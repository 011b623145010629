//! Builds the functions of a piece.

use std::collections::BTreeMap;
use std::ops::Range;

use super::attention::AttentionContext;
use super::body::{FunctionBody, WeightUse};
use super::design::Design;
use super::experts::{mlp, route};
use super::piece::Piece;
use super::vocabulary::{embed, head};
use super::weights::PlacedWeights;
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
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
        };
        let mut blocks = Vec::new();
        match (piece, expert) {
            (Piece::Experts { layer }, Some(_)) => {
                body.f.scope(format!("layer_{layer}"));
                let x = body.hidden_input("normed_states", config.hidden_size)?;
                let y = mlp(&mut body, &x, *layer, expert)?;
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
    if !layers.is_empty() {
        let mut context = AttentionContext::new(body, layers.start, layers.len())?;
        for (index, layer) in layers.clone().enumerate() {
            x = block(body, &mut context, &x, layer, index)?;
            blocks.push((layer, x.name().to_owned()));
        }
        context.finish(body)?;
    }
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

/// Builds one block. In a mixture it ends before the experts, whose input and choice are outputs of
/// the function.
fn block(
    body: &mut FunctionBody<'_>,
    context: &mut AttentionContext,
    x: &Value,
    layer: usize,
    index: usize,
) -> Result<Value> {
    body.f.scope(format!("layer_{layer}_attention"));
    let normed = body.norm(x, TensorId::block(layer, Role::AttentionNorm))?;
    let attended = context.attend(body, &normed, layer, index)?;
    let x = body.f.add(x, &attended)?;
    body.f.scope(format!("layer_{layer}_mlp"));
    let normed = body.norm(&x, TensorId::block(layer, Role::MlpNorm))?;
    match &body.config.experts {
        None => {
            let y = mlp(body, &normed, layer, None)?;
            body.f.add(&x, &y)
        }
        Some(experts) => {
            body.f.output(&normed, "normed_states")?;
            route(body, &normed, layer, experts)?;
            Ok(x)
        }
    }
}
