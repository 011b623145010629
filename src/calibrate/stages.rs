//! What the reference computes in a layer, and what a layer is coded with.

use candle_core::Tensor;

use super::correlation::Tokens;
use crate::error::Result;
use crate::eval::setting::Walk;
use crate::eval::windows::{both, each};
use crate::model::{Block, RopeTables};

/// What the reference computes in a layer, per window `[tokens, hidden]`.
pub struct Stages {
    /// What queries, keys and values are given.
    pub attention: Vec<Tensor>,
    /// The states after attention.
    pub attended: Vec<Tensor>,
    /// What the MLP, the router and the experts are given.
    pub mlp: Vec<Tensor>,
    /// The states after the layer; in a mixture those after its experts.
    pub output: Vec<Tensor>,
}

impl Stages {
    /// Runs the reference's block; a mixture's output is still to come.
    ///
    /// # Errors
    /// Bug-class errors of candle.
    pub fn of(block: &Block, hidden: &[Tensor], rope: &RopeTables) -> Result<Self> {
        let attention = each(hidden, |x| block.attention_input(x))?;
        let attended =
            both(&attention, hidden, |normed, x| block.output(&block.attended(normed, rope)?, x))?;
        let mlp = each(&attended, |x| block.mlp_input(x))?;
        let output = match block.mlp() {
            Some(dense) => both(&mlp, &attended, |x, to| dense.down(&dense.inner(x)?)? + to)?,
            None => Vec::new(),
        };
        Ok(Stages { attention, attended, mlp, output })
    }
}

/// A layer that is being coded.
pub struct LayerFit<'a> {
    /// What is walked.
    pub walk: &'a Walk<'a>,
    /// Which layer.
    pub layer: usize,
    /// Positions of the longest window.
    pub rope: &'a RopeTables,
    /// What the reference computes in it.
    pub reference: &'a Stages,
    /// How much each token counts.
    pub tokens: &'a Tokens,
}
