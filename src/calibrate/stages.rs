//! The reference's states in a layer, and the inputs that a layer is coded with.

use candle_core::Tensor;

use super::correlation::Tokens;
use crate::error::Result;
use crate::eval::setting::Walk;
use crate::eval::windows::{both, each};
use crate::model::{Block, RopeTables};

/// The reference's states in a layer, per window `[tokens, hidden]`.
pub struct Stages {
    /// The inputs of queries, keys and values.
    pub attention: Vec<Tensor>,
    /// The states after attention.
    pub attended: Vec<Tensor>,
    /// The inputs of the MLP, or of the router and the experts.
    pub mlp: Vec<Tensor>,
    /// The states after the layer; empty in a mixture of experts.
    pub output: Vec<Tensor>,
}

impl Stages {
    /// Runs the reference's block, in a mixture up to the router.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn of(block: &Block, hidden: &[Tensor], rope: &RopeTables) -> Result<Self> {
        let attention = each(hidden, |x| block.attention_input(x))?;
        let attended =
            both(&attention, hidden, |normed, x| block.output(&block.attended(normed, rope)?, x))?;
        let mlp = both(hidden, &attended, |x, after| block.mlp_input(x, after))?;
        let output = match block.mlp() {
            Some(dense) => both(&mlp, &attended, |x, after| {
                block.add_mlp(dense.down(&dense.inner(x)?)?, after)
            })?,
            None => Vec::new(),
        };
        Ok(Stages { attention, attended, mlp, output })
    }
}

/// A layer that is being coded.
pub struct LayerFit<'a> {
    /// The walk.
    pub walk: &'a Walk<'a>,
    /// The layer's index.
    pub layer: usize,
    /// Rotary tables for the positions of the longest window.
    pub rope: &'a RopeTables,
    /// The reference's states in the layer.
    pub reference: &'a Stages,
    /// The weights of tokens.
    pub tokens: &'a Tokens,
}
