//! The functions of a piece.

use std::collections::BTreeMap;
use std::ops::Range;

use super::attention::Context;
use super::body::{Body, Use};
use super::design::Design;
use super::experts::{mlp, route};
use super::piece::Piece;
use super::vocabulary::{embed, head};
use super::weights::Weights;
use crate::checkpoint::config::Config;
use crate::checkpoint::{Role, TensorId};
use crate::error::Result;
use crate::package::mil::{BuiltFunction, FunctionBuilder, Opset, Value};

/// The functions of a piece: one token, several tokens.
pub const FUNCTIONS: [&str; 2] = ["decode", "prefill"];

/// The output with the hidden states of a piece that is not the last.
pub const HIDDEN_OUTPUT: &str = "output_hidden_states";

/// A function of a piece.
#[derive(Debug)]
pub struct Built {
    /// Its name in the package.
    pub name: String,
    /// The function.
    pub function: BuiltFunction,
    /// Which of its values are which weights; one may be named more than once.
    pub uses: Vec<Use>,
    /// The value that each block makes; of a mixture before its experts.
    pub blocks: Vec<(usize, String)>,
}

/// The functions of a piece: name, tokens per call and, of experts, which one.
fn functions(
    piece: &Piece,
    config: &Config,
    design: &Design,
) -> Vec<(String, usize, Option<usize>)> {
    let lens = FUNCTIONS.into_iter().zip([1, design.prefill_tokens]);
    match piece {
        Piece::Chain { .. } => lens.map(|(name, len)| (name.to_owned(), len, None)).collect(),
        Piece::Experts { .. } => {
            let count = config.experts.as_ref().map_or(0, |experts| experts.count);
            let of = |(name, len): (&'static str, usize)| {
                (0..count).map(move |e| (format!("expert_{e}_{name}"), len, Some(e)))
            };
            lens.flat_map(of).collect()
        }
    }
}

/// Builds the functions of a piece. Before iOS 18, which brought several functions per package,
/// `only` says which one the package has, under the name `main`.
///
/// # Errors
/// Bug-class errors.
pub fn build(
    piece: &Piece,
    config: &Config,
    design: &Design,
    weights: &Weights,
    only: Option<&str>,
) -> Result<Vec<Built>> {
    let wanted = functions(piece, config, design).into_iter();
    let wanted = wanted.filter(|(name, ..)| only.is_none_or(|only| only == name));
    let one = |(name, tokens, expert): (String, usize, Option<usize>)| {
        let name = if design.target == Opset::Ios17 { "main".to_owned() } else { name };
        let f = FunctionBuilder::new(&name, design.target);
        let mut body =
            Body { f, config, design, weights, tokens, uses: Vec::new(), rounded: BTreeMap::new() };
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
        let Body { f, uses, .. } = body;
        Ok(Built { function: f.finish()?, name, uses, blocks })
    };
    wanted.map(one).collect()
}

/// Builds a chain; the value that each block makes.
fn chain(
    body: &mut Body<'_>,
    embeds: bool,
    layers: &Range<usize>,
    heads: bool,
) -> Result<Vec<(usize, String)>> {
    let mut x = match embeds {
        true => embed(body)?,
        false => body.hidden_input("hidden_states", body.config.hidden_size)?,
    };
    let mut blocks = Vec::new();
    if !layers.is_empty() {
        let mut context = Context::new(body, layers.start, layers.len())?;
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
    // What comes out is called as it comes out.
    if let Some((_, name)) = blocks.last_mut() {
        HIDDEN_OUTPUT.clone_into(name);
    }
    Ok(blocks)
}

/// One block; of a mixture up to the experts, whose input and choice come out of the function.
fn block(
    body: &mut Body<'_>,
    context: &mut Context,
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
